/*
 * store.c - six tables in one LMDB environment, and the thread that writes.
 *
 * The happy path: take DIR/lock, open DIR/data.mdb, then for each transaction
 * begin, get and put, commit.  A commit is LMDB's default, durable one: pages are
 * written beside the old ones, fdatasync, then the meta page with O_DSYNC; a crash
 * at any instant leaves the last committed state.  Threads that only read have views
 * of that state (store_view.c).
 *
 * What can go wrong:
 *   no space, i/o error   the transaction is aborted and says why
 *   the meta page failed  LMDB declares the environment broken (MDB_PANIC): it is
 *                         closed and opened again by the next begin
 *   the file is damaged   LMDB returns an error, or a key that cannot come next: the store
 *                         is marked, so that the next start copies what can be read
 *                         (crash_mark.c), and nothing more is written; or LMDB crashes,
 *                         with the same mark
 *   the map fills up      it is doubled at a begin, before it is full
 *   another process       refused by flock(2), with its pid
 * The map is moved only while no view is active (see `active`).
 *
 * One thread.
 */

#include "store/store_inside.h"

#include "ground/log.h"
#include "store/crash_mark.h"
#include "store/format.h"
#include "store/record.h"
#include "store/store_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <sys/stat.h>
#include <unistd.h>

#define FULL_BYTES    ((uint64_t)1 << 20) /* a disk with less space is full */
#define COUNTED_PAGES 8192                /* 32 MiB */

bool store_is_damage(int rc)
{
    return rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND || rc == MDB_INVALID ||
           rc == MDB_CURSOR_FULL || rc == MDB_PAGE_FULL;
}

void store_mark_damaged(struct store *s, const char *why)
{
    if ((s->flags & MDB_NOLOCK) || atomic_exchange(&s->is_marked, true))
        return;
    crash_mark_leave(s->dir, why);
    log_event(LOG_ERROR, "store.damaged", "dir=%s why=\"%s\" next=\"%s\"", s->dir, why,
              "the next start copies what can be read");
}

/* While a store is being opened or made, when why_cut_short cannot be used yet. */
static const char *reason(const char *dir, int rc)
{
    struct statvfs fs;
    bool is_full =
        rc == EIO && statvfs(dir, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < FULL_BYTES;

    return mdb_strerror(is_full ? ENOSPC : rc);
}

static enum err answer(struct store *s, int rc)
{
    if (store_is_damage(rc))
        store_mark_damaged(s, mdb_strerror(rc));
    if (rc == 0)
        return ERR_OK;
    if (rc == MDB_NOTFOUND)
        return ERR_NOT_FOUND;
    /* The reason is the first failure of a transaction, or of the meta page, not what follows. */
    if (rc != MDB_BAD_TXN && !(rc == MDB_PANIC && s->why[0] != '\0'))
        snprintf(s->why, sizeof s->why, "%s", mdb_strerror(rc));
    return ERR_STORE;
}

/* ---- the environment ------------------------------------------------------ */

/* The format's record, before anything is written: a newer sidecar's store is left alone. */
static int check_format(struct store *s, MDB_txn *txn)
{
    MDB_val key = store_val(slice_str("format")), value;
    struct fault ignored;
    unsigned format;
    int rc = mdb_dbi_open(txn, store_table_name(STORE_META), 0, &s->dbi[STORE_META]);

    if (rc == 0)
        rc = mdb_get(txn, s->dbi[STORE_META], &key, &value);
    if (rc == 0 && format_parse(store_slice(value), &format, &ignored) == ERR_OK &&
        format > STORE_FORMAT) {
        s->newer = format;
        return MDB_VERSION_MISMATCH;
    }
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* An LMDB file that is not ours is left unchanged: it is refused before a table is made. */
static int check_ours(struct store *s, MDB_txn *txn, bool *is_new)
{
    MDB_dbi root;
    MDB_stat st;
    MDB_val key = store_val(slice_str(store_table_name(STORE_META))), value;
    int rc = mdb_dbi_open(txn, NULL, 0, &root);

    if (rc == 0)
        rc = mdb_stat(txn, root, &st);
    *is_new = rc == 0 && st.ms_entries == 0;
    if (rc != 0 || *is_new)
        return rc;
    rc = mdb_get(txn, root, &key, &value);
    return rc == 0 ? check_format(s, txn) : rc == MDB_NOTFOUND ? MDB_INCOMPATIBLE : rc;
}

/*
 * LMDB does not notice a lost root or branch: its cursors then find fewer entries than the table
 * records.  So they are counted, unless the table is so large that the count would take too long.
 */
static int check_count(MDB_txn *txn, MDB_dbi dbi)
{
    MDB_cursor *cursor;
    MDB_stat st;
    MDB_val k, v;
    size_t found = 0;
    int rc = mdb_stat(txn, dbi, &st);

    if (rc != 0 || st.ms_leaf_pages > COUNTED_PAGES)
        return rc;
    rc = mdb_cursor_open(txn, dbi, &cursor);
    if (rc != 0)
        return rc;
    while (found <= st.ms_entries && (rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0)
        found++;
    mdb_cursor_close(cursor);
    return rc != 0 && rc != MDB_NOTFOUND ? rc : found == st.ms_entries ? 0 : MDB_CORRUPTED;
}

/* A table with keys of the other kind belongs to an older format (migrate.c). */
static int open_table(struct store *s, MDB_txn *txn, enum store_table t, bool is_new)
{
    unsigned wanted = store_table_is_numbered(t, s->format) ? MDB_INTEGERKEY : 0u, found;
    int rc =
        mdb_dbi_open(txn, store_table_name(t), (is_new ? MDB_CREATE : 0u) | wanted, &s->dbi[t]);

    if (rc == 0)
        rc = mdb_dbi_flags(txn, s->dbi[t], &found);
    if (rc == 0 && (found & MDB_INTEGERKEY) != wanted)
        return MDB_VERSION_MISMATCH;
    if (rc == MDB_NOTFOUND) /* all tables are made in one transaction */
        return MDB_CORRUPTED;
    return rc == 0 && (t == STORE_PENDING || t == STORE_DEAD) ? check_count(txn, s->dbi[t]) : rc;
}

static int open_tables(struct store *s, MDB_env *env)
{
    MDB_txn *txn;
    bool is_new = false;
    int rc = mdb_txn_begin(env, NULL, 0, &txn);

    if (rc != 0)
        return rc;
    rc = check_ours(s, txn, &is_new);
    for (int t = 0; rc == 0 && t < store_table_count(s->format); t++)
        rc = open_table(s, txn, (enum store_table)t, is_new);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    return mdb_txn_commit(txn);
}

/* NOTLS: a view may move between threads and does not end with one. */
static int open_env(struct store *s)
{
    MDB_env *env;
    int dead = 0, rc = mdb_env_create(&env);

    if (rc != 0)
        return rc;
    rc = mdb_env_set_maxdbs(env, STORE_TABLE_COUNT);
    if (rc == 0)
        rc = mdb_env_set_mapsize(env, s->map_bytes);
    if (rc == 0)
        rc = mdb_env_open(env, s->dir, MDB_NOTLS | s->flags, 0600);
    if (rc == 0 && !(s->flags & MDB_NOLOCK))
        rc = mdb_reader_check(env, &dead);
    if (rc == 0)
        rc = open_tables(s, env);
    if (rc != 0) {
        mdb_env_close(env);
        return rc;
    }
    s->env = env;
    return 0;
}

static struct store *new_store(const char *dir, unsigned format, uint64_t map_bytes)
{
    struct store *s = base_alloc(sizeof *s);

    s->dir = base_strndup(dir, strlen(dir));
    s->format = format;
    s->map_bytes = (size_t)map_bytes;
    s->lock_fd = -1;
    PRE(pthread_mutex_init(&s->lock, NULL) == 0);
    return s;
}

enum err store_open(const char *dir, uint64_t map_bytes, struct store **out, struct fault *fault)
{
    struct store *s = new_store(dir, STORE_FORMAT, map_bytes);
    int dir_fd, rc;

    if (store_dir_open(dir, &dir_fd, fault) != ERR_OK)
        goto err1;
    if (store_dir_lock(dir, dir_fd, &s->lock_fd, fault) != ERR_OK)
        goto err2;
    if (store_dir_check(dir, dir_fd, fault) != ERR_OK)
        goto err2;
    rc = store_dir_make_lock_file(dir_fd);
    if (rc == 0)
        rc = open_env(s);
    if (rc == 0)
        rc = store_dir_sync(dir, dir_fd);
    if (rc == MDB_INCOMPATIBLE) {
        fault_fail(fault, ERR_STORE, dir,
                   "data.mdb there is not a store of the sidecar; it was left as it is");
        goto err2;
    }
    if (s->newer > STORE_FORMAT && format_refuse_newer(s->newer, STORE_FORMAT, fault) != ERR_OK)
        goto err2;
    if (rc == MDB_VERSION_MISMATCH) {
        /* A start migrates first, unless the store cannot be read. */
        store_mark_damaged(s, "an older format that could not be migrated");
        fault_say(fault, dir,
                  "an older format: convex_sidecar store migrate brings it to this one");
        goto err2;
    }
    /* The last two: a meta page with an impossibly large page number. */
    if (store_is_damage(rc) || rc == ENOMEM || rc == MDB_MAP_RESIZED) {
        store_mark_damaged(s, mdb_strerror(rc));
        fault_fail(
            fault, ERR_STORE, dir,
            rc == MDB_INVALID
                ? "data.mdb there is not a store, or it is damaged: see convex_sidecar store "
                  "repair --help"
                : "damaged (%s): the next start copies what can be read",
            mdb_strerror(rc));
        goto err2;
    }
    if (rc != 0) {
        fault_fail(fault, ERR_STORE, dir, "%s", reason(dir, rc));
        goto err2;
    }
    close(dir_fd);
    *out = s;
    return ERR_OK;
err2:
    close(dir_fd);
err1:
    store_close(s);
    return ERR_STORE;
}

enum err store_open_copy(const char *dir, unsigned format, uint64_t map_bytes, struct store **out,
                         struct fault *fault)
{
    char path[4200];

    snprintf(path, sizeof path, "%s/data.mdb", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return fault_fail(fault, ERR_STORE, path, "%s", strerror(errno));
    close(fd);
    struct store *s = new_store(dir, format, map_bytes);
    s->flags = MDB_NOLOCK | MDB_NOSYNC;
    int rc = open_env(s);
    if (rc != 0) {
        fault_say(fault, path, "%s", reason(dir, rc));
        store_close(s);
        return ERR_STORE;
    }
    *out = s;
    return ERR_OK;
}

enum err store_sync(struct store *s)
{
    PRE(s->txn == NULL);
    return answer(s, mdb_env_sync(s->env, 1));
}

void store_close(struct store *s)
{
    if (s == NULL)
        return;
    PRE(s->views == NULL);
    store_abort(s);
    if (s->env != NULL)
        mdb_env_close(s->env);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    pthread_mutex_destroy(&s->lock);
    free(s->dir);
    free(s);
}

const char *store_why(const struct store *s)
{
    return s->why;
}

/* ---- transactions --------------------------------------------------------- */

/* Close a broken environment; views begin new transactions when they are used again. */
static void close_broken(struct store *s)
{
    pthread_mutex_lock(&s->lock);
    s->is_broken = true;
    if (s->active == 0 && s->env != NULL) {
        for (struct store_view *v = s->views; v != NULL; v = v->next)
            store_view_forget(v);
        mdb_env_close(s->env);
        s->env = NULL;
    }
    pthread_mutex_unlock(&s->lock);
}

/* Under lock: views must not see the environment while it is made. */
static int open_again(struct store *s)
{
    pthread_mutex_lock(&s->lock);
    int rc = open_env(s);
    s->is_broken = rc != 0;
    pthread_mutex_unlock(&s->lock);
    if (rc == 0)
        log_event(LOG_WARNING, "store.opened_again", "dir=%s", s->dir);
    return rc;
}

/* Three quarters full: double the reservation; if a view is active, at a later begin. */
static int make_room(struct store *s)
{
    MDB_envinfo info;
    MDB_stat st;
    int rc = mdb_env_info(s->env, &info);

    if (rc == 0)
        rc = mdb_env_stat(s->env, &st);
    if (rc != 0 || (info.me_last_pgno + 1) * st.ms_psize < info.me_mapsize / 4 * 3)
        return rc;
    pthread_mutex_lock(&s->lock);
    if (s->active == 0) {
        rc = mdb_env_set_mapsize(s->env, info.me_mapsize * 2);
        if (rc == 0)
            s->map_bytes = info.me_mapsize * 2;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

enum err store_begin(struct store *s)
{
    int rc = 0;

    PRE(s->txn == NULL);
    if (s->is_marked) {
        snprintf(s->why, sizeof s->why, "damaged: the next start copies what can be read");
        return ERR_STORE;
    }
    if (s->env == NULL)
        rc = open_again(s);
    if (rc == 0)
        rc = make_room(s);
    if (rc == 0)
        rc = mdb_txn_begin(s->env, NULL, 0, &s->txn);
    if (rc == MDB_PANIC)
        close_broken(s);
    return answer(s, rc);
}

static void end(struct store *s)
{
    s->txn = NULL;
    memset(s->cursors, 0, sizeof s->cursors);
}

/* LMDB reports a short write (a full disk, a quota, a limit) as an i/o error: appending one more
 * page to the file gives the real reason. */
static int why_cut_short(struct store *s)
{
    static const char page[4096];
    mdb_filehandle_t fd;
    struct stat file;

    if (mdb_env_get_fd(s->env, &fd) != 0 || fstat(fd, &file) != 0)
        return EIO;
    ssize_t n = pwrite(fd, page, sizeof page, file.st_size);
    int why = n < 0 ? errno : n < (ssize_t)sizeof page ? ENOSPC : EIO;
    return n > 0 && ftruncate(fd, file.st_size) != 0 ? EIO : why;
}

enum err store_commit(struct store *s)
{
    PRE(s->txn != NULL);
    int rc = mdb_txn_commit(s->txn);
    if (rc == EIO)
        rc = why_cut_short(s);
    else if (rc == 0 && !(s->flags & MDB_NOLOCK))
        readers_look(&s->readers, s->env);
    end(s); /* LMDB has freed the transaction and its cursors, whatever it returned */
    return answer(s, rc);
}

void store_abort(struct store *s)
{
    if (s->txn != NULL)
        mdb_txn_abort(s->txn);
    end(s);
}

/* In all of these ${key} is a number, or an id that gate.c or round_is_id has accepted. */
enum err store_get(struct store *s, enum store_table t, struct slice key, struct slice *value)
{
    MDB_val k = store_val(key), v;

    PRE(s->txn != NULL && key.len > 0 && key.len <= STORE_MAX_KEY);
    int rc = mdb_get(s->txn, s->dbi[t], &k, &v);
    if (rc == 0)
        *value = store_slice(v);
    return answer(s, rc);
}

/* Whether ${found} may come at or (${behind}) after ${key}: a walk over a damaged table must not
 * loop. */
static bool is_onward(bool is_numbered, struct slice key, bool behind, struct slice found)
{
    uint64_t from, to;
    int order;

    if (is_numbered) {
        if (found.len != sizeof to)
            return false;
        if (key.len != sizeof from)
            return true;
        memcpy(&from, key.data, sizeof from);
        memcpy(&to, found.data, sizeof to);
        order = to > from ? 1 : to < from ? -1 : 0;
    } else if (found.len == 0 || found.len > STORE_MAX_KEY) {
        return false;
    } else {
        order = slice_order(found, key);
    }
    return behind ? order > 0 : order >= 0;
}

int store_cursor_give(bool is_numbered, struct slice key, bool behind, MDB_val k, MDB_val v,
                      struct slice *found, struct slice *value)
{
    *found = store_slice(k);
    *value = store_slice(v);
    return is_onward(is_numbered, key, behind, *found) ? 0 : MDB_CORRUPTED;
}

int store_cursor_seek(MDB_cursor *cursor, bool is_numbered, struct slice key, bool behind,
                      struct slice *found, struct slice *value)
{
    MDB_val k = store_val(key), v;
    int rc = mdb_cursor_get(cursor, &k, &v, key.len == 0 ? MDB_FIRST : MDB_SET_RANGE);

    if (rc == 0 && behind && slice_eq(store_slice(k), key))
        rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    return rc == 0 ? store_cursor_give(is_numbered, key, behind, k, v, found, value) : rc;
}

enum err store_seek(struct store *s, enum store_table t, struct slice key, bool behind,
                    struct slice *found, struct slice *value)
{
    int rc = 0;

    PRE(s->txn != NULL && key.len <= STORE_MAX_KEY);
    if (s->cursors[t] == NULL)
        rc = mdb_cursor_open(s->txn, s->dbi[t], &s->cursors[t]);
    if (rc == 0)
        rc = store_cursor_seek(s->cursors[t], store_table_is_numbered(t, s->format), key, behind,
                               found, value);
    return answer(s, rc);
}

static enum err put(struct store *s, enum store_table t, struct slice key, struct slice value,
                    unsigned flags)
{
    MDB_val k = store_val(key), v = store_val(value);

    PRE(s->txn != NULL && key.len > 0 && key.len <= STORE_MAX_KEY);
    int rc = mdb_put(s->txn, s->dbi[t], &k, &v, flags);
    /* An appended key that is not the greatest: the counters are older than the table. */
    return answer(s, rc == MDB_KEYEXIST ? MDB_CORRUPTED : rc);
}

enum err store_put(struct store *s, enum store_table t, struct slice key, struct slice value)
{
    return put(s, t, key, value, 0);
}

enum err store_append(struct store *s, enum store_table t, struct slice key, struct slice value)
{
    return put(s, t, key, value, MDB_APPEND);
}

enum err store_del(struct store *s, enum store_table t, struct slice key)
{
    MDB_val k = store_val(key);

    PRE(s->txn != NULL && key.len > 0 && key.len <= STORE_MAX_KEY);
    return answer(s, mdb_del(s->txn, s->dbi[t], &k, NULL));
}

enum err store_count(struct store *s, enum store_table t, uint64_t *count)
{
    MDB_stat st;

    PRE(s->txn != NULL);
    int rc = mdb_stat(s->txn, s->dbi[t], &st);
    if (rc == 0)
        *count = st.ms_entries;
    return answer(s, rc);
}
