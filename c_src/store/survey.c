/*
 * survey.c - every record of a store, by LMDB's own cursors.
 *
 * The happy path: the file is opened for reading only, without a lock of LMDB's (the caller holds
 * the store), and each table is walked from its first entry to its last.  What LMDB returns is
 * checked before it is used: it must lie inside the file, on a leaf whose entries fill it as LMDB
 * fills one, or on the pages of a large value; keys must rise; and the key, looked for from the
 * root, must lead to the same place.  At the end of survey_try every page must be accounted for:
 * the leaves and large values that were seen, the free ones, and as many branches as the tables
 * say.
 *
 * What can go wrong: anything, since LMDB trusts its file: it returns an error, crashes on an
 * assertion or a missing page, or loops.  Callers that do not know the file call survey_try first,
 * which finds out in a process of its own; pages.c reads what no cursor reaches.
 *
 * One thread.
 */

#include "store/survey.h"

#include "store/format.h"
#include "store/page_meta.h"
#include "store/pages.h"
#include "store/record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <lmdb.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_VALUE_BYTES ((size_t)1 << 30)
#define NODE_BYTES      8 /* size or child (4), flags (2), key length (2) */
#define NODE_BIG        1
#define FREE_LIST       0 /* LMDB's handle for it */

enum page_state { PAGE_UNSEEN, PAGE_USED, PAGE_UNUSED };

struct survey {
    const struct survey_visitor *visitor;
    unsigned format;
    struct pages *pages; /* NULL: by cursors */
    /* by cursors */
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi root, dbi[STORE_TABLE_COUNT];
    bool has[STORE_TABLE_COUNT];
    const uint8_t *map;
    size_t page_bytes, count, in_file; /* pages: of the committed state, that the file has */
    uint8_t *state;                    /* of each page: enum page_state */
};

PRINTF(2, 3) static void damaged(struct survey *s, const char *fmt, ...)
{
    char what[256];
    va_list args;

    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    s->visitor->damage(s->visitor->arg, what);
}

/* ---- pages ------------------------------------------------------------------------ */

static const uint8_t *page_at(const struct survey *s, size_t no)
{
    return s->map + no * s->page_bytes;
}

/* The page that ${at} lies on; 0, a meta page: not on a page with entries. */
static size_t page_of(const struct survey *s, const void *at)
{
    uintptr_t offset = (uintptr_t)at - (uintptr_t)s->map;

    return (uintptr_t)at < (uintptr_t)s->map || offset / s->page_bytes >= s->in_file
               ? 0
               : offset / s->page_bytes;
}

/* Bytes that the entry at ${at} takes on its page; 0: it extends beyond the page. */
static size_t entry_bytes(const struct survey *s, const uint8_t *page, size_t at, bool is_leaf)
{
    if (at % 2 != 0 || at + NODE_BYTES > s->page_bytes)
        return 0;
    size_t bytes = NODE_BYTES + (size_t)page_u16(page + at + 6);
    if (is_leaf)
        bytes += page_u16(page + at + 4) & NODE_BIG ? sizeof(uint64_t) : page_u32(page + at);
    return bytes <= s->page_bytes - at ? (bytes + 1) & ~(size_t)1 : 0;
}

/* Whether the page is a branch, or a leaf, and filled as LMDB fills one: without gaps, without
 * overlaps. */
static bool is_tidy(const struct survey *s, size_t no, unsigned kind)
{
    const uint8_t *page = page_at(s, no);
    size_t lower = page_u16(page + 12), upper = page_u16(page + 14), sum = 0;

    if (page_u64(page) != no || (page_u16(page + 10) & ~(unsigned)PAGE_DIRTY) != kind ||
        lower < PAGE_HEADER_BYTES || lower % 2 != 0 || lower > upper || upper > s->page_bytes)
        return false;
    for (size_t slot = PAGE_HEADER_BYTES; slot < lower; slot += 2) {
        size_t at = page_u16(page + slot),
               bytes = at < upper ? 0 : entry_bytes(s, page, at, kind == PAGE_LEAF);
        if (bytes == 0)
            return false;
        sum += bytes;
    }
    return sum == s->page_bytes - upper;
}

static bool use_pages(struct survey *s, const char *name, size_t no, size_t n)
{
    for (size_t i = no; i < no + n; i++) {
        if (s->state[i] != PAGE_UNSEEN) {
            damaged(s, "%s: page %zu is used twice", name, i);
            return false;
        }
        s->state[i] = PAGE_USED;
    }
    return true;
}

/* The leaf that an entry lies on; ${last} is that of the entry before. */
static bool use_leaf(struct survey *s, const char *name, size_t no, size_t *last)
{
    if (no == *last)
        return true;
    *last = no;
    if (no < 2 || no >= s->count || !is_tidy(s, no, PAGE_LEAF)) {
        damaged(s, "%s: page %zu is not the page it should be", name, no);
        return false;
    }
    return use_pages(s, name, no, 1);
}

/* Whether all of the value lies where one can: on its key's page, or on pages of its own. */
static bool use_value(struct survey *s, const char *name, size_t leaf, const MDB_val *v)
{
    size_t no = page_of(s, v->mv_data), at = (size_t)((const uint8_t *)v->mv_data - page_at(s, no));

    if (no == leaf && v->mv_size <= s->page_bytes - at)
        return true;
    if (no < 2 || at != PAGE_HEADER_BYTES || v->mv_size > MAX_VALUE_BYTES) {
        damaged(s, "%s: page %zu has a value that reaches out of it", name, leaf);
        return false;
    }
    const uint8_t *page = page_at(s, no);
    size_t run = page_u32(page + 12);
    if (page_u64(page) != no || (page_u16(page + 10) & ~(unsigned)PAGE_DIRTY) != PAGE_OVERFLOW ||
        run > s->count - no || run > s->in_file - no ||
        v->mv_size > run * s->page_bytes - PAGE_HEADER_BYTES) {
        damaged(s, "%s: page %zu is not the large value it should be", name, no);
        return false;
    }
    return use_pages(s, name, no, run);
}

/* ---- a tree ----------------------------------------------------------------------- */

/* A tree that is being walked. */
struct tree {
    const char *name;
    MDB_dbi dbi;
    bool is_numbered, is_searched;
    size_t leaf; /* of the last entry */
    MDB_val last;
    uint64_t found;
};

static bool is_after(const struct tree *t, MDB_val key)
{
    uint64_t a, b;

    PRE(t->last.mv_data != NULL);
    if (!t->is_numbered)
        return slice_order(slice_of(key.mv_data, key.mv_size),
                           slice_of(t->last.mv_data, t->last.mv_size)) > 0;
    memcpy(&a, key.mv_data, sizeof a);
    memcpy(&b, t->last.mv_data, sizeof b);
    return a > b;
}

/* Whether a search from the root ends at this entry. */
static bool is_found(struct survey *s, const struct tree *t, MDB_val key, MDB_val value)
{
    MDB_val v;

    return !t->is_searched ||
           (mdb_get(s->txn, t->dbi, &key, &v) == 0 && v.mv_data == value.mv_data);
}

/* Whether the entry may be read. */
static bool take(struct survey *s, struct tree *t, MDB_val key, MDB_val value)
{
    size_t no = page_of(s, key.mv_data);

    t->found++;
    if (!use_leaf(s, t->name, no, &t->leaf) || !use_value(s, t->name, no, &value))
        return false;
    if (key.mv_size == 0 || key.mv_size > STORE_MAX_KEY ||
        (t->is_numbered && key.mv_size != sizeof(uint64_t))) {
        damaged(s, "%s: page %zu has an invalid key", t->name, no);
        return false;
    }
    if (t->found > 1 && !is_after(t, key))
        damaged(s, "%s: page %zu has keys out of order", t->name, no);
    if (!is_found(s, t, key, value))
        damaged(s, "%s: a search does not find what lies on page %zu", t->name, no);
    t->last = key;
    return true;
}

/* Every entry of ${t}, to ${give}. */
static void walk(struct survey *s, struct tree *t,
                 void (*give)(struct survey *s, const struct tree *t, MDB_val k, MDB_val v))
{
    MDB_cursor *cursor = NULL;
    MDB_stat st = {0};
    MDB_val k, v;
    int rc = mdb_stat(s->txn, t->dbi, &st);

    if (rc == 0)
        rc = mdb_cursor_open(s->txn, t->dbi, &cursor);
    for (MDB_cursor_op op = MDB_FIRST;
         rc == 0 && (rc = mdb_cursor_get(cursor, &k, &v, op)) == 0 && t->found <= st.ms_entries;
         op = MDB_NEXT)
        if (take(s, t, k, v))
            give(s, t, k, v);
    if (rc != 0 && rc != MDB_NOTFOUND)
        damaged(s, "%s: after %" PRIu64 " of %zu entries: %s", t->name, t->found, st.ms_entries,
                mdb_strerror(rc));
    else if (t->found != st.ms_entries)
        damaged(s, "%s: %" PRIu64 " entries were found, there should be %zu", t->name, t->found,
                st.ms_entries);
    if (cursor != NULL)
        mdb_cursor_close(cursor);
}

static void give_entry(struct survey *s, const struct tree *t, MDB_val k, MDB_val v)
{
    struct survey_entry e = {.key = slice_of(k.mv_data, k.mv_size),
                             .value = slice_of(v.mv_data, v.mv_size)};

    while (strcmp(store_table_name(e.table), t->name) != 0)
        e.table++;
    s->visitor->entry(s->visitor->arg, &e);
}

void survey_table(struct survey *s, enum store_table t)
{
    if (s->pages != NULL) {
        pages_walk(s->pages, t);
    } else if (s->has[t]) {
        struct tree tree = {.name = store_table_name(t),
                            .dbi = s->dbi[t],
                            .is_numbered = store_table_is_numbered(t, s->format),
                            .is_searched = true};
        walk(s, &tree, give_entry);
    } else if ((int)t < store_table_count(s->format)) {
        damaged(s, "%s: the table is missing", store_table_name(t));
    }
}

void survey_lost(struct survey *s)
{
    if (s->pages != NULL)
        pages_walk_lost(s->pages);
}

/* ---- all pages -------------------------------------------------------------------- */

/* A list of free pages: how many, then their numbers. */
static void give_free(struct survey *s, const struct tree *t, MDB_val k, MDB_val v)
{
    const uint8_t *at = v.mv_data;

    (void)k;
    if (v.mv_size < sizeof(uint64_t) || page_u64(at) > v.mv_size / sizeof(uint64_t) - 1) {
        damaged(s, "%s: a list is damaged", t->name);
        return;
    }
    for (uint64_t i = 1; i <= page_u64(at); i++) {
        uint64_t no = page_u64(at + sizeof(uint64_t) * i);
        if (no < 2 || no >= s->count || s->state[no] != PAGE_UNSEEN)
            damaged(s, "%s: page %" PRIu64 " cannot be free", t->name, no);
        else
            s->state[no] = PAGE_UNUSED;
    }
}

static void give_nothing(struct survey *s, const struct tree *t, MDB_val k, MDB_val v)
{
    (void)s;
    (void)t;
    (void)k;
    (void)v;
}

static size_t branches_of(struct survey *s, MDB_dbi dbi)
{
    MDB_stat st;

    return mdb_stat(s->txn, dbi, &st) == 0 ? st.ms_branch_pages : 0;
}

/* The pages left are the branches, which no cursor shows: there must be as many as recorded. */
static void count_branches(struct survey *s)
{
    size_t wanted = branches_of(s, FREE_LIST) + branches_of(s, s->root), found = 0;

    for (enum store_table t = 0; t < STORE_TABLE_COUNT; t++)
        wanted += s->has[t] ? branches_of(s, s->dbi[t]) : 0;
    for (size_t no = 2; no < s->count && no < s->in_file; no++)
        found += s->state[no] == PAGE_UNSEEN && is_tidy(s, no, PAGE_BRANCH);
    if (found < wanted)
        damaged(s, "of %zu pages that lead to others, %zu are sound", wanted, found);
}

void survey_account(struct survey *s)
{
    struct tree directory = {.name = "directory", .dbi = s->root};
    struct tree free_list = {.name = "free pages", .dbi = FREE_LIST, .is_numbered = true};

    if (s->map == NULL) /* empty */
        return;
    walk(s, &directory, give_nothing);
    walk(s, &free_list, give_free);
    count_branches(s);
}

/* ---- open and close --------------------------------------------------------------- */

static enum err check_file(const char *dir, size_t *size, struct fault *fault)
{
    char path[4200];
    struct stat st;

    snprintf(path, sizeof path, "%s/data.mdb", dir);
    if (lstat(path, &st) != 0) {
        int bad = errno;
        return fault_fail(fault, bad == ENOENT ? ERR_NOT_FOUND : ERR_STORE, path, "%s",
                          strerror(bad));
    }
    if (!S_ISREG(st.st_mode))
        return fault_fail(fault, ERR_STORE, path, "not a file");
    *size = (size_t)st.st_size;
    if (st.st_size == 0) /* LMDB fills an empty one */
        return fault_fail(fault, ERR_NOT_FOUND, path,
                          "is empty (0 bytes): there is nothing to read");
    return ERR_OK;
}

static int open_env(struct survey *s, const char *dir, size_t size)
{
    MDB_envinfo info;
    MDB_stat st;
    int rc = mdb_env_create(&s->env);

    if (rc == 0)
        rc = mdb_env_set_maxdbs(s->env, STORE_TABLE_COUNT);
    if (rc == 0)
        rc = mdb_env_set_mapsize(s->env, size);
    if (rc == 0)
        rc = mdb_env_open(s->env, dir, MDB_RDONLY | MDB_NOLOCK | MDB_NOTLS, 0);
    if (rc == 0)
        rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &s->txn);
    if (rc == 0)
        rc = mdb_env_info(s->env, &info);
    if (rc == 0)
        rc = mdb_env_stat(s->env, &st);
    if (rc == 0)
        rc = mdb_dbi_open(s->txn, NULL, 0, &s->root);
    if (rc != 0)
        return rc;
    s->page_bytes = st.ms_psize;
    s->in_file = size / st.ms_psize;
    s->count = info.me_last_pgno + 1;
    if (s->count > 2 * s->in_file + 1024) /* the last ones may be free and never written */
        return MDB_CORRUPTED;
    s->state = base_alloc(s->count);
    return 0;
}

/* The address of LMDB's map, from an entry of the directory. */
static int find_map(struct survey *s)
{
    MDB_envinfo info;
    MDB_cursor *cursor;
    MDB_val k, v;
    int rc = mdb_env_info(s->env, &info);

    if (rc == 0)
        rc = mdb_cursor_open(s->txn, s->root, &cursor);
    if (rc != 0)
        return rc;
    rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST);
    mdb_cursor_close(cursor);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? 0 : rc;
    /* The page has its own number, so its address gives that of page 0. */
    const uint8_t *key = k.mv_data;
    const uint8_t *page = key - ((uintptr_t)key & (s->page_bytes - 1));
    s->map = page - page_u64(page) * s->page_bytes;
    return page_u64(page) < s->in_file && page_u32(s->map + 16) == PAGE_META_MAGIC ? 0
                                                                                   : MDB_CORRUPTED;
}

static int open_tables(struct survey *s)
{
    for (enum store_table t = 0; t < STORE_TABLE_COUNT; t++) {
        int rc = mdb_dbi_open(s->txn, store_table_name(t), 0, &s->dbi[t]);
        if (rc != 0 && rc != MDB_NOTFOUND)
            return rc;
        s->has[t] = rc == 0;
    }
    return 0;
}

/* For a store without a format in meta: new, or damaged. */
static unsigned format_of_tables(const struct survey *s)
{
    unsigned flags = 0;

    if (s->has[STORE_CHECKPOINTS])
        (void)mdb_dbi_flags(s->txn, s->dbi[STORE_CHECKPOINTS], &flags);
    return !s->has[STORE_IDS] && s->has[STORE_CHECKPOINTS] && !(flags & MDB_INTEGERKEY)
               ? 1
               : STORE_FORMAT;
}

static void read_format(struct survey *s)
{
    MDB_val k = {6, (char[]){"format"}}, v;
    struct fault ignored;

    s->format = 0;
    if (s->has[STORE_META] && mdb_get(s->txn, s->dbi[STORE_META], &k, &v) == 0 &&
        format_parse(slice_of(v.mv_data, v.mv_size), &s->format, &ignored) != ERR_OK)
        s->format = 0;
    if (s->format == 0)
        s->format = format_of_tables(s);
}

static void check_kinds_of_keys(struct survey *s)
{
    unsigned flags;

    for (enum store_table t = 0; t < STORE_TABLE_COUNT; t++)
        if (s->has[t] && mdb_dbi_flags(s->txn, s->dbi[t], &flags) == 0 &&
            flags != (store_table_is_numbered(t, s->format) ? MDB_INTEGERKEY : 0u))
            damaged(s, "%s: its keys are said to be of another kind", store_table_name(t));
}

static enum err open_by_cursors(struct survey *s, const char *dir, struct fault *fault)
{
    size_t size;
    enum err e = check_file(dir, &size, fault);
    int rc = e == ERR_OK ? open_env(s, dir, size) : 0;

    if (rc == 0 && e == ERR_OK)
        rc = find_map(s);
    if (rc == 0 && e == ERR_OK)
        rc = open_tables(s);
    if (e != ERR_OK || rc != 0)
        return e != ERR_OK ? e : fault_fail(fault, ERR_STORE, dir, "%s", mdb_strerror(rc));
    read_format(s);
    if (s->format > STORE_FORMAT)
        return format_refuse_newer(s->format, STORE_FORMAT, fault);
    check_kinds_of_keys(s);
    return ERR_OK;
}

static enum err open_by_pages(struct survey *s, const char *dir, struct fault *fault)
{
    enum err e = pages_open(dir, s->visitor, &s->pages, fault);

    if (e == ERR_OK)
        s->format = pages_format(s->pages);
    return e;
}

enum err survey_open(const char *dir, enum survey_by by, const struct survey_visitor *visitor,
                     struct survey **out, struct fault *fault)
{
    struct survey *s = base_alloc(sizeof *s);

    s->visitor = visitor;
    enum err e =
        by == SURVEY_BY_PAGES ? open_by_pages(s, dir, fault) : open_by_cursors(s, dir, fault);
    if (e == ERR_OK)
        *out = s;
    else
        survey_close(s);
    return e;
}

void survey_close(struct survey *s)
{
    if (s == NULL)
        return;
    pages_close(s->pages);
    if (s->txn != NULL)
        mdb_txn_abort(s->txn);
    if (s->env != NULL)
        mdb_env_close(s->env);
    free(s->state);
    free(s);
}

unsigned survey_format(const struct survey *s)
{
    return s->format;
}

uint64_t survey_entries(const struct survey *s, enum store_table t)
{
    MDB_stat st;

    if (s->pages != NULL)
        return pages_entries(s->pages, t);
    return s->has[t] && mdb_stat(s->txn, s->dbi[t], &st) == 0 ? st.ms_entries : 0;
}

uint64_t survey_used_bytes(const struct survey *s)
{
    uint64_t pages = 2;
    MDB_stat st;

    if (s->pages != NULL)
        return pages_used_bytes(s->pages);
    for (enum store_table t = 0; t < STORE_TABLE_COUNT; t++)
        if (s->has[t] && mdb_stat(s->txn, s->dbi[t], &st) == 0)
            pages += st.ms_branch_pages + st.ms_leaf_pages + st.ms_overflow_pages;
    return (pages < s->count ? pages : s->count) * s->page_bytes; /* what it says, at most all */
}
