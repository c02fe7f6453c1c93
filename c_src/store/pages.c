/*
 * pages.c - LMDB's file format (0.9), read without trusting any of it.
 *
 * The happy path: of the two meta pages the one with the higher transaction number
 * says where the two trees begin: the list of free pages, and the directory, whose
 * entries are the roots of our tables.  A tree is walked from its root, branch pages
 * first to last child, leaf pages first to last entry; a large value lies on pages of
 * its own.  Each page is read with pread into a buffer of its level.
 *
 * What can go wrong: anything.  A page number beyond the file, a page that is not
 * what its parent says, a pointer out of its page, a page met twice, keys out of
 * order, a read error.  Each is reported in one sentence with the page; that page (or
 * entry) is left out and the walk goes on.  LMDB itself trusts its file and crashes
 * on much of this, which is why it is not used here.
 *
 * The layout is defined in mdb.c of LMDB 0.9 (MDB_page, MDB_node), here as on a
 * 64-bit little-endian machine, which made the file.  One thread.
 */

#include "store/pages.h"

#include "ground/buf.h"
#include "store/format.h"
#include "store/page_meta.h"
#include "store/record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#define NODE_BYTES      8 /* size or child (4), flags (2), key length (2) */
#define MAX_DEPTH       32
#define MAX_VALUE_BYTES ((uint64_t)1 << 30)
#define INTEGER_KEY     8 /* MDB_INTEGERKEY */
#define NO_PAGE         UINT64_MAX

enum node_flag { NODE_BIG = 1, NODE_TREE = 2 };
enum page_state { PAGE_UNSEEN, PAGE_IN_USE, PAGE_FREE };

struct pages {
    int fd;
    const struct survey_visitor *visitor;
    size_t page_bytes;
    uint64_t count;   /* of pages, in use by the committed state */
    uint64_t in_file; /* whole pages the file has */
    unsigned format;  /* as meta says, or the tables */
    uint8_t *state;   /* of each page: enum page_state */
    struct page_tree tables[STORE_TABLE_COUNT];
    struct buf value;
    bool tables_damaged;
    /* while it is opened: */
    bool is_opening, is_silent;
    struct buf early; /* what was found meanwhile, each sentence terminated */
};

/* A walk over one tree. */
struct walk {
    struct pages *p;
    const char *name;
    int table; /* enum store_table; -1: another tree */
    void (*entry)(struct walk *w, uint16_t flags, struct slice key, struct slice value);
    bool is_quiet;  /* damage on a lost page is not reported */
    unsigned flags; /* that the tree must have */
    int depth;      /* of its leaves, from 1; as the tree says */
    uint64_t found;
    struct buf last_key;
    bool has_last;
};

PRINTF(2, 3) static void say(struct pages *p, const char *fmt, ...)
{
    char what[256];
    va_list args;

    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    if (p->is_silent)
        return;
    if (p->is_opening)
        buf_add(&p->early, what, strlen(what) + 1);
    else
        p->visitor->damage(p->visitor->arg, what);
}

/* ---- pages ---------------------------------------------------------------- */

static void damaged(struct walk *w, uint64_t no, const char *what)
{
    if (w->is_quiet)
        return;
    w->p->tables_damaged = w->p->tables_damaged || w->table >= 0;
    say(w->p, "%s: page %llu %s", w->name, (unsigned long long)no, what);
}

/* Count ${n} pages from ${no} as used; false: one is used already, or not in the file. */
static bool claim(struct walk *w, uint64_t no, uint64_t n)
{
    struct pages *p = w->p;

    if (no < 2 || no >= p->count || n > p->count - no) {
        damaged(w, no, "is not a page of the store");
        return false;
    }
    if (no + n > p->in_file) {
        damaged(w, no, "lies behind the end of the file");
        return false;
    }
    bool was_free = false;
    for (uint64_t i = no; i < no + n; i++) {
        if (p->state[i] == PAGE_IN_USE) {
            damaged(w, i, "is used twice");
            return false;
        }
        was_free = was_free || p->state[i] == PAGE_FREE;
        p->state[i] = PAGE_IN_USE;
    }
    if (was_free)
        damaged(w, no, "is in use and in the list of free pages");
    return true;
}

static bool read_pages(struct walk *w, uint64_t no, void *out, size_t bytes)
{
    if (page_read_at(w->p->fd, out, bytes, no * w->p->page_bytes))
        return true;
    damaged(w, no, errno ? strerror(errno) : "is cut off");
    return false;
}

/* How many entries the tree page has; -1: not a tree page. */
static int entries_of(const struct pages *p, const uint8_t *page, uint64_t no)
{
    uint16_t kind = page_u16(page + 10) & (uint16_t)~PAGE_DIRTY;
    size_t lower = page_u16(page + 12), upper = page_u16(page + 14);

    if (page_u64(page) != no || (kind != PAGE_BRANCH && kind != PAGE_LEAF))
        return -1;
    if (lower < PAGE_HEADER_BYTES || lower % 2 != 0 || lower > upper || upper > p->page_bytes)
        return -1;
    return (int)((lower - PAGE_HEADER_BYTES) / 2);
}

/* Entry number ${i}; NULL: it does not lie inside the page with its key. */
static const uint8_t *node_at(const struct pages *p, const uint8_t *page, int i)
{
    size_t at = page_u16(page + PAGE_HEADER_BYTES + (size_t)2 * (size_t)i), end = p->page_bytes;

    if (at < page_u16(page + 14) || at + NODE_BYTES > end ||
        at + NODE_BYTES + page_u16(page + at + 6) > end)
        return NULL;
    return page + at;
}

static struct slice key_of(const uint8_t *node)
{
    return slice_of(node + NODE_BYTES, page_u16(node + 6));
}

/* How many pages the large value at page ${no} takes, at least ${least}.  More than needed if a
 * smaller value replaced a larger one in the same transaction: LMDB keeps the pages. */
static uint64_t run_of(const struct pages *p, uint64_t no, uint64_t least)
{
    uint8_t head[PAGE_HEADER_BYTES];
    bool is_run = no < p->in_file && page_read_at(p->fd, head, sizeof head, no * p->page_bytes) &&
                  page_u64(head) == no && (page_u16(head + 10) & PAGE_OVERFLOW) != 0;

    return is_run && page_u32(head + 12) > least ? page_u32(head + 12) : least;
}

/* A value too large for its page: on consecutive pages of its own, after one header. */
static bool read_big(struct walk *w, const uint8_t *at, size_t bytes, struct slice *value)
{
    struct pages *p = w->p;
    uint64_t no = page_u64(at),
             least = (PAGE_HEADER_BYTES + bytes + p->page_bytes - 1) / p->page_bytes;
    struct buf *b = &p->value;

    if (bytes > MAX_VALUE_BYTES || !claim(w, no, run_of(p, no, least)))
        return false;
    b->len = 0;
    buf_reserve(b, PAGE_HEADER_BYTES + bytes);
    if (!read_pages(w, no, b->data, PAGE_HEADER_BYTES + bytes))
        return false;
    if (page_u64(b->data) != no || !(page_u16(b->data + 10) & PAGE_OVERFLOW) ||
        page_u32(b->data + 12) < least) {
        damaged(w, no, "is not the large value it should be");
        return false;
    }
    *value = slice_of(b->data + PAGE_HEADER_BYTES, bytes);
    return true;
}

static bool read_value(struct walk *w, uint64_t no, const uint8_t *page, const uint8_t *node,
                       struct slice *value)
{
    struct slice key = key_of(node);
    const uint8_t *at = key.data + key.len;
    size_t bytes = page_u32(node), room = (size_t)(page + w->p->page_bytes - at);
    bool is_big = page_u16(node + 4) & NODE_BIG;

    if (room < (is_big ? sizeof(uint64_t) : bytes)) {
        damaged(w, no, "has a value that reaches out of it");
        return false;
    }
    if (is_big)
        return read_big(w, at, bytes, value);
    *value = slice_of(at, bytes);
    return true;
}

/* ---- trees ---------------------------------------------------------------- */

/* Byte order; numbers by value. */
static bool is_after(const struct walk *w, struct slice key, struct slice last)
{
    if ((w->flags & INTEGER_KEY) && key.len == 8 && last.len == 8)
        return page_u64(key.data) > page_u64(last.data);
    return slice_order(key, last) > 0;
}

static void check_order(struct walk *w, uint64_t no, struct slice key)
{
    if (w->has_last && !is_after(w, key, buf_view(&w->last_key)))
        damaged(w, no, "has keys out of order");
    w->last_key.len = 0;
    buf_slice(&w->last_key, key);
    w->has_last = true;
}

static void walk_leaf(struct walk *w, uint64_t no, const uint8_t *page, int n)
{
    struct slice value;

    for (int i = 0; i < n; i++) {
        const uint8_t *node = node_at(w->p, page, i);
        if (node == NULL || key_of(node).len == 0 || key_of(node).len > STORE_MAX_KEY) {
            damaged(w, no, "has an entry that reaches out of it");
            continue;
        }
        if (w->table >= 0 && (page_u16(node + 4) & ~NODE_BIG) != 0)
            damaged(w, no, "has an entry of a kind that no table has");
        if ((w->flags & INTEGER_KEY) && w->table >= 0 && key_of(node).len != sizeof(uint64_t))
            damaged(w, no, "has an invalid number");
        if (w->table >= 0)
            check_order(w, no, key_of(node));
        w->found++;
        if (read_value(w, no, page, node, &value))
            w->entry(w, page_u16(node + 4), key_of(node), value);
    }
}

static void walk_page(struct walk *w, uint64_t no, int depth);

static void walk_branch(struct walk *w, uint64_t no, const uint8_t *page, int n, int depth)
{
    for (int i = 0; i < n; i++) {
        const uint8_t *node = node_at(w->p, page, i);
        if (node == NULL)
            damaged(w, no, "has a child that reaches out of it");
        else
            walk_page(w, page_u32(node) | (uint64_t)page_u16(node + 4) << 32, depth + 1);
    }
}

static void walk_page(struct walk *w, uint64_t no, int depth)
{
    struct pages *p = w->p;

    if (depth > MAX_DEPTH) {
        damaged(w, no, "lies too deep");
        return;
    }
    if (!claim(w, no, 1))
        return;
    uint8_t *page = base_alloc(p->page_bytes);
    if (read_pages(w, no, page, p->page_bytes)) {
        int n = entries_of(p, page, no);
        bool is_leaf = page_u16(page + 10) & PAGE_LEAF;
        if (n < 0)
            damaged(w, no, "is not the page it should be");
        else if (is_leaf != (depth + 1 == w->depth))
            damaged(w, no, "lies at the wrong depth");
        if (n >= 0 && is_leaf)
            walk_leaf(w, no, page, n);
        else if (n >= 0)
            walk_branch(w, no, page, n, depth);
    }
    free(page);
}

static void walk_tree(struct walk *w, const struct page_tree *t)
{
    w->depth = t->depth;
    if (t->flags != w->flags) {
        w->p->tables_damaged = w->p->tables_damaged || w->table >= 0;
        say(w->p, "%s: its keys are said to be of another kind", w->name);
    }
    if (t->root != NO_PAGE)
        walk_page(w, t->root, 0);
    if (w->found != t->entries) {
        w->p->tables_damaged = w->p->tables_damaged || w->table >= 0;
        say(w->p, "%s: %llu entries were found, there should be %llu", w->name,
            (unsigned long long)w->found, (unsigned long long)t->entries);
    }
    buf_free(&w->last_key);
}

/* ---- what the trees hold -------------------------------------------------- */

/* A list of free pages: how many, then their numbers. */
static void take_free(struct walk *w, uint16_t flags, struct slice key, struct slice value)
{
    struct pages *p = w->p;

    if ((flags & ~NODE_BIG) != 0 || key.len != 8 || value.len < 8 ||
        page_u64(value.data) > value.len / 8 - 1) {
        say(p, "%s: a list is damaged", w->name);
        return;
    }
    for (uint64_t i = 1; i <= page_u64(value.data); i++) {
        uint64_t no = page_u64(value.data + 8 * i);
        if (no < 2 || no >= p->count || p->state[no] != PAGE_UNSEEN)
            say(p, "%s: page %llu cannot be free", w->name, (unsigned long long)no);
        else
            p->state[no] = PAGE_FREE;
    }
}

static void take_table(struct walk *w, uint16_t flags, struct slice key, struct slice value)
{
    if (flags == NODE_TREE && value.len == PAGE_TREE_BYTES)
        for (enum store_table t = 0; t < STORE_TABLE_COUNT; t++)
            if (slice_is(key, store_table_name(t))) {
                w->p->tables[t] = page_tree_of(value.data);
                return;
            }
    say(w->p, "%s: it has an entry that is not the sidecar's", w->name);
}

static void give_entry(struct walk *w, uint16_t flags, struct slice key, struct slice value)
{
    const struct survey_entry e = {(enum store_table)w->table, key, value};

    (void)flags;
    w->p->visitor->entry(w->p->visitor->arg, &e);
}

void pages_walk(struct pages *p, enum store_table t)
{
    struct walk w = {.p = p, .name = store_table_name(t), .table = (int)t, .entry = give_entry};

    w.flags = store_table_is_numbered(t, p->format) ? INTEGER_KEY : 0;
    if (p->tables[t].is_there) {
        walk_tree(&w, &p->tables[t]);
    } else if ((int)t < store_table_count(p->format)) {
        p->tables_damaged = true;
        say(p, "%s: the table is missing", w.name);
    }
}

static void give_lost(struct walk *w, uint16_t flags, struct slice key, struct slice value)
{
    const struct survey_entry e = {STORE_TABLE_COUNT, key, value};

    if (!(flags & NODE_TREE))
        w->p->visitor->entry(w->p->visitor->arg, &e);
}

/* The marks are cleared at the end, so that it can be called again. */
void pages_walk_lost(struct pages *p)
{
    struct walk w = {.p = p, .name = "lost", .table = -1, .entry = give_lost, .is_quiet = true};
    uint64_t end = p->count < p->in_file ? p->count : p->in_file;

    if (!p->tables_damaged)
        return;
    uint8_t *page = base_alloc(p->page_bytes), *marks = base_alloc((size_t)p->count);
    memcpy(marks, p->state, (size_t)p->count);
    for (uint64_t no = 2; no < end; no++) {
        if (p->state[no] != PAGE_UNSEEN ||
            !page_read_at(p->fd, page, p->page_bytes, no * p->page_bytes))
            continue;
        int n = entries_of(p, page, no);
        if (n <= 0 || !(page_u16(page + 10) & PAGE_LEAF))
            continue;
        p->state[no] = PAGE_IN_USE;
        walk_leaf(&w, no, page, n);
    }
    memcpy(p->state, marks, (size_t)p->count);
    free(marks);
    free(page);
}

/* ---- open and close ------------------------------------------------------- */

static enum err open_file(struct pages *p, const char *dir, uint64_t *size, struct fault *fault)
{
    char path[4096];
    struct stat st;

    snprintf(path, sizeof path, "%s/data.mdb", dir);
    p->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (p->fd < 0 || fstat(p->fd, &st) != 0) {
        int bad = errno;
        return fault_fail(fault, bad == ENOENT ? ERR_NOT_FOUND : ERR_STORE, path, "%s",
                          strerror(bad));
    }
    if (!S_ISREG(st.st_mode))
        return fault_fail(fault, ERR_STORE, path, "not a file");
    *size = (uint64_t)st.st_size;
    if (st.st_size == 0) /* LMDB fills an empty one */
        return fault_fail(fault, ERR_NOT_FOUND, path,
                          "is empty (0 bytes): there is nothing to read");
    return ERR_OK;
}

/* The state committed last, according to the first pages. */
static void read_roots(struct pages *p, const struct page_meta *m)
{
    struct walk free_list = {
        .p = p, .name = "free pages", .table = -1, .entry = take_free, .flags = INTEGER_KEY};
    struct walk directory = {.p = p, .name = "directory", .table = -1, .entry = take_table};

    walk_tree(&free_list, &m->free);
    walk_tree(&directory, &m->directory);
}

static void note_format(struct walk *w, uint16_t flags, struct slice key, struct slice value)
{
    struct fault ignored;

    (void)flags;
    if (slice_is(key, "format") && format_parse(value, &w->p->format, &ignored) != ERR_OK)
        w->p->format = 0;
}

/* For a store without a format in meta: new, or damaged. */
static unsigned format_of_tables(const struct pages *p)
{
    const struct page_tree *checkpoints = &p->tables[STORE_CHECKPOINTS];

    return !p->tables[STORE_IDS].is_there && checkpoints->is_there && checkpoints->flags == 0
               ? 1
               : STORE_FORMAT;
}

/* A store of a newer sidecar is not damaged and must not be reported so: the format is read before
 * anything is reported.  The marks are cleared, since meta will be walked. */
static void read_format(struct pages *p)
{
    struct walk w = {.p = p, .name = "meta", .table = -1, .entry = note_format};
    bool were_damaged = p->tables_damaged;
    uint8_t *marks = base_alloc((size_t)p->count);

    memcpy(marks, p->state, (size_t)p->count);
    p->is_silent = true;
    if (p->tables[STORE_META].is_there)
        walk_tree(&w, &p->tables[STORE_META]);
    p->is_silent = false;
    p->tables_damaged = were_damaged;
    memcpy(p->state, marks, (size_t)p->count);
    free(marks);
    if (p->format == 0)
        p->format = format_of_tables(p);
}

/* Report the damage found while opening, in order. */
static void say_early(struct pages *p)
{
    p->is_opening = false;
    for (size_t at = 0; at < p->early.len; at += strlen((char *)p->early.data + at) + 1)
        p->visitor->damage(p->visitor->arg, (char *)p->early.data + at);
    buf_free(&p->early);
}

enum err pages_open(const char *dir, const struct survey_visitor *visitor, struct pages **out,
                    struct fault *fault)
{
    struct pages *p = base_alloc(sizeof *p);
    struct page_meta m = {0};
    uint64_t size = 0;

    p->visitor = visitor;
    enum err e = open_file(p, dir, &size, fault);
    int bad = e == ERR_OK ? page_meta_choose(p->fd, &m) : 0;
    if (bad < 0)
        e = fault_fail(fault, ERR_STORE, dir,
                       "data.mdb is not a store, or its first pages are damaged");
    if (e != ERR_OK) {
        pages_close(p);
        return e;
    }
    p->page_bytes = m.page_bytes;
    p->in_file = size / m.page_bytes;
    /* A damaged number must not make us allocate without bound: no page in use lies after the end
     * of the file, but the last ones may be free and never written. */
    p->count = m.last_page < 2 * p->in_file + 1024 ? m.last_page + 1 : p->in_file;
    p->state = base_alloc((size_t)p->count);
    p->is_opening = true;
    if (bad > 0)
        say(p, "one of the two meta pages is damaged");
    if (p->count != m.last_page + 1)
        say(p, "the meta page speaks of %llu pages, the file has %llu",
            (unsigned long long)m.last_page, (unsigned long long)p->in_file);
    read_roots(p, &m);
    read_format(p);
    if (p->format > STORE_FORMAT) {
        e = format_refuse_newer(p->format, STORE_FORMAT, fault);
        POST(e != ERR_OK);
        pages_close(p);
        return e;
    }
    say_early(p);
    *out = p;
    return ERR_OK;
}

unsigned pages_format(const struct pages *p)
{
    return p->format;
}

uint64_t pages_entries(const struct pages *p, enum store_table t)
{
    return p->tables[t].is_there ? p->tables[t].entries : 0;
}

uint64_t pages_used_bytes(const struct pages *p)
{
    uint64_t used = 0;

    for (uint64_t no = 0; no < p->count; no++)
        used += p->state[no] != PAGE_FREE;
    return used * p->page_bytes;
}

void pages_close(struct pages *p)
{
    if (p == NULL)
        return;
    if (p->fd >= 0)
        close(p->fd);
    buf_free(&p->value);
    buf_free(&p->early);
    free(p->state);
    free(p);
}
