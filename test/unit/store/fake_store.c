/*
 * fake_store.c - a store in memory, for tests of what stands on the store.
 *
 * It keeps the contract of store.h and is stricter than LMDB where that finds bugs: a value that
 * was found is freed by the next change (ASan sees who still looks at it), a view is a copy of its
 * own.  fake_store_fail_at says which call fails; the "disk" outlives store_close, so that a test
 * can open it again.  One disk, whatever the directory is called.
 */

#include "store/store.h"

#include <pthread.h>

struct fake_entry {
    uint8_t *key, *value;
    size_t key_len, value_len;
};

struct fake_tables {
    struct fake_entry *entries[STORE_TABLE_COUNT];
    size_t count[STORE_TABLE_COUNT];
};

struct store {
    struct fake_tables work;
    bool in_transaction, broken;
    char why[64];
};

struct store_view {
    enum store_table table;
    struct fake_tables seen;
    bool active;
};

static pthread_mutex_t fake_lock = PTHREAD_MUTEX_INITIALIZER;
static struct fake_tables fake_disk; /* under fake_lock */
static bool fake_is_open;
/* Set and read under fake_lock as well: the store thread counts while the test looks. */
static unsigned long fake_calls, fake_fail_at, fake_fail_count;
static bool fake_commit_lies; /* a failing commit has reached the disk all the same */

/** fake_store_fail_at(n, count): The ${n}-th call from now on (1: the next) and ${count} - 1 after
 * it fail. */
static void fake_store_fail_at(unsigned long n, unsigned long count)
{
    pthread_mutex_lock(&fake_lock);
    fake_calls = 0;
    fake_fail_at = n;
    fake_fail_count = count;
    pthread_mutex_unlock(&fake_lock);
}

/* Whether the call that was to fail has come. */
static bool fake_store_has_failed(void)
{
    pthread_mutex_lock(&fake_lock);
    bool has = fake_fail_at != 0 && fake_calls >= fake_fail_at;
    pthread_mutex_unlock(&fake_lock);
    return has;
}

static bool fake_fails(void)
{
    pthread_mutex_lock(&fake_lock);
    fake_calls++;
    bool fails = fake_fail_at != 0 && fake_calls >= fake_fail_at &&
                 fake_calls - fake_fail_at < fake_fail_count;
    pthread_mutex_unlock(&fake_lock);
    return fails;
}

static void fake_tables_free(struct fake_tables *t)
{
    for (int i = 0; i < STORE_TABLE_COUNT; i++) {
        for (size_t n = 0; n < t->count[i]; n++) {
            free(t->entries[i][n].key);
            free(t->entries[i][n].value);
        }
        free(t->entries[i]);
    }
    *t = (struct fake_tables){0};
}

static void fake_tables_copy(struct fake_tables *to, const struct fake_tables *from)
{
    for (int i = 0; i < STORE_TABLE_COUNT; i++) {
        to->count[i] = from->count[i];
        to->entries[i] = base_alloc(from->count[i] * sizeof *to->entries[i]);
        for (size_t n = 0; n < from->count[i]; n++) {
            struct fake_entry *e = &from->entries[i][n];
            to->entries[i][n] = (struct fake_entry){(uint8_t *)base_strndup(e->key, e->key_len),
                                                    (uint8_t *)base_strndup(e->value, e->value_len),
                                                    e->key_len, e->value_len};
        }
    }
}

static int fake_order(enum store_table t, struct slice a, struct slice b)
{
    if (store_table_is_numbered(t, 2) && a.len == 8 && b.len == 8) {
        uint64_t x, y;
        memcpy(&x, a.data, 8);
        memcpy(&y, b.data, 8);
        return x < y ? -1 : x > y;
    }
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len ? memcmp(a.data, b.data, len) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static struct slice fake_key(const struct fake_tables *t, enum store_table table, size_t n)
{
    return slice_of(t->entries[table][n].key, t->entries[table][n].key_len);
}

/* The first entry at or (${behind}) after ${key}; the count when there is none. */
static size_t fake_find(const struct fake_tables *t, enum store_table table, struct slice key,
                        bool behind)
{
    size_t n = 0;

    while (n < t->count[table] && key.len > 0 &&
           fake_order(table, fake_key(t, table, n), key) < (behind ? 1 : 0))
        n++;
    return n;
}

static enum err fake_seek(const struct fake_tables *t, enum store_table table, struct slice key,
                          bool behind, struct slice *found, struct slice *value)
{
    size_t n = fake_find(t, table, key, behind);

    if (n == t->count[table])
        return ERR_NOT_FOUND;
    *found = fake_key(t, table, n);
    *value = slice_of(t->entries[table][n].value, t->entries[table][n].value_len);
    return ERR_OK;
}

static enum err fake_get(const struct fake_tables *t, enum store_table table, struct slice key,
                         struct slice *value)
{
    struct slice found;
    enum err e = fake_seek(t, table, key, false, &found, value);

    return e == ERR_OK && !slice_eq(found, key) ? ERR_NOT_FOUND : e;
}

static void fake_remove(struct fake_tables *t, enum store_table table, size_t n)
{
    struct fake_entry *e = t->entries[table];

    free(e[n].key);
    free(e[n].value);
    memmove(e + n, e + n + 1, (t->count[table] - n - 1) * sizeof *e);
    t->count[table]--;
}

/* Every call inside a transaction: one failure spoils all that follow. */
static enum err fake_call(struct store *s)
{
    PRE(s->in_transaction);
    if (fake_fails()) {
        s->broken = true;
        snprintf(s->why, sizeof s->why, "No space left on device");
    }
    return s->broken ? ERR_STORE : ERR_OK;
}

enum err store_open(const char *dir, uint64_t map_bytes, struct store **s, struct fault *fault)
{
    (void)map_bytes;
    if (fake_is_open || fake_fails()) {
        snprintf(fault->path, sizeof fault->path, "%s", dir);
        snprintf(fault->why, sizeof fault->why, fake_is_open ? "in use" : "Permission denied");
        return ERR_STORE;
    }
    fake_is_open = true;
    *s = base_alloc(sizeof **s);
    return ERR_OK;
}

enum err store_open_copy(const char *dir, unsigned format, uint64_t map_bytes, struct store **s,
                         struct fault *fault)
{
    return fault_fail(fault, ERR_STORE, dir, "no fake: %u %p %llu", format, (void *)s,
                      (unsigned long long)map_bytes);
}

enum err store_sync(struct store *s)
{
    return fake_call(s);
}

void store_mark_damaged(struct store *s, const char *why)
{
    (void)s;
    (void)why;
}

void store_close(struct store *s)
{
    if (s == NULL)
        return;
    store_abort(s);
    fake_is_open = false;
    free(s);
}

/* Forget the disk, between tests. */
static void fake_store_wipe(void)
{
    PRE(!fake_is_open);
    fake_tables_free(&fake_disk);
    fake_store_fail_at(0, 0);
    fake_commit_lies = false;
}

enum err store_begin(struct store *s)
{
    PRE(!s->in_transaction);
    s->broken = false;
    s->in_transaction = true;
    if (fake_call(s) != ERR_OK) {
        s->in_transaction = false;
        return ERR_STORE;
    }
    pthread_mutex_lock(&fake_lock);
    fake_tables_copy(&s->work, &fake_disk);
    pthread_mutex_unlock(&fake_lock);
    return ERR_OK;
}

enum err store_commit(struct store *s)
{
    enum err e = fake_call(s);

    if (e != ERR_OK && !fake_commit_lies) {
        store_abort(s);
        return e;
    }
    pthread_mutex_lock(&fake_lock);
    fake_tables_free(&fake_disk);
    fake_disk = s->work;
    pthread_mutex_unlock(&fake_lock);
    s->work = (struct fake_tables){0};
    s->in_transaction = false;
    return e;
}

void store_abort(struct store *s)
{
    fake_tables_free(&s->work);
    s->in_transaction = false;
}

enum err store_get(struct store *s, enum store_table t, struct slice key, struct slice *value)
{
    enum err e = fake_call(s);

    PRE(key.len > 0 && key.len <= STORE_MAX_KEY);
    return e == ERR_OK ? fake_get(&s->work, t, key, value) : e;
}

enum err store_seek(struct store *s, enum store_table t, struct slice key, bool behind,
                    struct slice *found, struct slice *value)
{
    enum err e = fake_call(s);

    return e == ERR_OK ? fake_seek(&s->work, t, key, behind, found, value) : e;
}

enum err store_put(struct store *s, enum store_table t, struct slice key, struct slice value)
{
    struct fake_tables *w = &s->work;
    enum err e = fake_call(s);

    PRE(key.len > 0 && key.len <= STORE_MAX_KEY);
    if (e != ERR_OK)
        return e;
    struct fake_entry made = {(uint8_t *)base_strndup(key.data, key.len),
                              (uint8_t *)base_strndup(value.data, value.len), key.len, value.len};
    size_t n = fake_find(w, t, key, false);
    if (n < w->count[t] && slice_eq(fake_key(w, t, n), slice_of(made.key, made.key_len)))
        fake_remove(w, t, n);
    w->entries[t] = base_realloc(w->entries[t], (w->count[t] + 1) * sizeof made);
    memmove(w->entries[t] + n + 1, w->entries[t] + n, (w->count[t] - n) * sizeof made);
    w->entries[t][n] = made;
    w->count[t]++;
    return ERR_OK;
}

enum err store_append(struct store *s, enum store_table t, struct slice key, struct slice value)
{
    PRE(fake_find(&s->work, t, key, false) == s->work.count[t]);
    return store_put(s, t, key, value);
}

enum err store_del(struct store *s, enum store_table t, struct slice key)
{
    enum err e = fake_call(s);
    size_t n = fake_find(&s->work, t, key, false);

    if (e != ERR_OK)
        return e;
    if (n == s->work.count[t] || !slice_eq(fake_key(&s->work, t, n), key))
        return ERR_NOT_FOUND;
    fake_remove(&s->work, t, n);
    return ERR_OK;
}

enum err store_count(struct store *s, enum store_table t, uint64_t *count)
{
    *count = s->work.count[t];
    return fake_call(s);
}

const char *store_why(const struct store *s)
{
    return s->why;
}

struct store_view *store_view_open(struct store *s, enum store_table t)
{
    struct store_view *v = base_alloc(sizeof *v);

    (void)s;
    v->table = t;
    return v;
}

void store_view_close(struct store_view *v)
{
    if (v == NULL)
        return;
    store_view_release(v);
    free(v);
}

void store_view_release(struct store_view *v)
{
    fake_tables_free(&v->seen);
    v->active = false;
}

static void fake_activate(struct store_view *v)
{
    if (v->active)
        return;
    pthread_mutex_lock(&fake_lock);
    fake_tables_copy(&v->seen, &fake_disk);
    pthread_mutex_unlock(&fake_lock);
    v->active = true;
}

enum err store_view_get(struct store_view *v, struct slice key, struct slice *value)
{
    fake_activate(v);
    return fake_get(&v->seen, v->table, key, value);
}

enum err store_view_seek(struct store_view *v, struct slice key, bool behind, struct slice *found,
                         struct slice *value)
{
    fake_activate(v);
    return fake_seek(&v->seen, v->table, key, behind, found, value);
}
