/*
 * survey_trace_test.c - what is found of a small store in each of many damages: survey_traces.txt.
 *
 * The store is made with LMDB itself, so that it is the same each time: branches, large values, a
 * list of free pages, numbered keys and others.  Each damage is one number of one page.
 * TEST_UPDATE=1 writes the file anew.
 */

#include "store/record.h"
#include "store/page_meta.h"
#include "store/survey.h"

#include "test.h"
#include "manual.h"
#include "temp_dir.h"

#include "ground/buf.h"
#include "ground/crc32c.h"

#include <fcntl.h>
#include <lmdb.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE       4096
#define LMDB_PATCH 24 /* of 0.9: which the traces were written with */

static struct buf trace;
static uint8_t image[100 * PAGE];
static size_t image_bytes;

/* ---- the store
 * ----------------------------------------------------------------------------------- */

static void put(MDB_txn *txn, MDB_dbi dbi, const void *key, size_t key_len, size_t value_len)
{
    static uint8_t value[20000];
    MDB_val k = {key_len, (void *)(uintptr_t)key}, v = {value_len, value};

    memset(value, 'v', sizeof value);
    memcpy(value, key, key_len < 8 ? key_len : 8);
    ck_assert_int_eq(mdb_put(txn, dbi, &k, &v, 0), 0);
}

static MDB_dbi table(MDB_txn *txn, enum store_table t)
{
    MDB_dbi dbi;
    unsigned flags = MDB_CREATE;

    if (store_table_is_numbered(t, STORE_FORMAT))
        flags |= MDB_INTEGERKEY;
    ck_assert_int_eq(mdb_dbi_open(txn, store_table_name(t), flags, &dbi), 0);
    return dbi;
}

static void make_store(const char *dir)
{
    MDB_env *env;
    MDB_txn *txn;
    char key[20];

    ck_assert_int_eq(mdb_env_create(&env), 0);
    ck_assert_int_eq(mdb_env_set_maxdbs(env, STORE_TABLE_COUNT), 0);
    ck_assert_int_eq(mdb_env_open(env, dir, MDB_NOLOCK, 0600), 0);
    ck_assert_int_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
    for (enum store_table t = 0; t < STORE_TABLE_COUNT; t++)
        (void)table(txn, t);
    for (uint64_t i = 1; i <= 40; i++) {
        put(txn, table(txn, STORE_PENDING), &i, sizeof i, i == 7 ? 9000 : 300);
        put(txn, table(txn, STORE_CHECKPOINTS), &i, sizeof i, 100);
        snprintf(key, sizeof key, "id%03d", (int)i);
        put(txn, table(txn, STORE_IDS), key, strlen(key), 8);
    }
    ck_assert_int_eq(mdb_txn_commit(txn), 0);
    ck_assert_int_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
    for (uint64_t i = 3; i <= 20; i++) { /* which leaves pages that are free */
        MDB_val k = {sizeof i, &i};
        ck_assert_int_eq(mdb_del(txn, table(txn, STORE_PENDING), &k, NULL), 0);
    }
    uint64_t large = 100;
    put(txn, table(txn, STORE_DEAD), &large, sizeof large, 5000);
    ck_assert_int_eq(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

static void read_image(const char *dir)
{
    char path[200];

    snprintf(path, sizeof path, "%s/data.mdb", dir);
    int fd = open(path, O_RDONLY);
    ssize_t n = read(fd, image, sizeof image);
    ck_assert_int_gt(n, 0);
    ck_assert_uint_lt((size_t)n, sizeof image);
    image_bytes = (size_t)n;
    close(fd);
}

static void write_image(const char *dir)
{
    char path[200];

    snprintf(path, sizeof path, "%s/data.mdb", dir);
    int fd = open(path, O_WRONLY | O_TRUNC);
    ck_assert_int_eq(write(fd, image, image_bytes), (ssize_t)image_bytes);
    close(fd);
}

/* ---- what is found
 * -------------------------------------------------------------------------------- */

struct found {
    unsigned entries, damages;
    uint32_t crc;
    struct buf text;
};

static void on_entry(void *arg, const struct survey_entry *e)
{
    struct found *f = arg;

    f->entries++;
    f->crc = crc32c(f->crc, slice_of(&e->table, sizeof e->table));
    f->crc = crc32c(f->crc, e->key);
    f->crc = crc32c(f->crc, e->value);
}

static void on_damage(void *arg, const char *what)
{
    struct found *f = arg;

    f->crc = crc32c(f->crc, slice_str(what));
    if (f->damages++ < 2)
        buf_printf(&f->text, "; %s", what);
}

static void look(const char *dir, enum survey_by by, struct buf *out)
{
    struct found f = {0};
    const struct survey_visitor visitor = {&f, on_entry, on_damage};
    struct survey *s;
    struct fault fault = {0};
    enum err e = survey_open(dir, by, &visitor, &s, &fault);

    if (e != ERR_OK) {
        buf_printf(out, "%s: %s", err_text(e), fault.why);
    } else {
        for (enum store_table t = 0; t < STORE_TABLE_COUNT; t++) {
            buf_printf(out, "%llu ", (unsigned long long)survey_entries(s, t));
            survey_table(s, t);
        }
        unsigned before = f.entries;
        survey_lost(s);
        if (by == SURVEY_BY_CURSORS)
            survey_account(s);
        buf_printf(out, "format %u, %llu used, %u entries, %u lost, %u damages", survey_format(s),
                   (unsigned long long)survey_used_bytes(s) / PAGE, before, f.entries - before,
                   f.damages);
        survey_close(s);
    }
    buf_printf(out, ", %08x%.*s", f.crc, (int)f.text.len, f.text.data ? (char *)f.text.data : "");
    buf_free(&f.text);
}

/* LMDB may die of a damaged file: in a process of its own. */
static void look_by_cursors(const char *dir, struct buf *out)
{
    int pipes[2], status;
    char text[2000];

    ck_assert_int_eq(pipe(pipes), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct buf b = {0};
        int null = open("/dev/null", O_WRONLY);
        dup2(null, STDERR_FILENO);
        alarm(10);
        look(dir, SURVEY_BY_CURSORS, &b);
        _exit(write(pipes[1], b.data, b.len) == (ssize_t)b.len ? 0 : 1);
    }
    close(pipes[1]);
    ssize_t n = read(pipes[0], text, sizeof text - 1);
    close(pipes[0]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    bool is_well = WIFEXITED(status) && WEXITSTATUS(status) == 0 && n > 0;
    buf_printf(out, "\n    cursors %.*s", is_well ? (int)n : 4, is_well ? text : "die");
}

/* ---- damages
 * ----------------------------------------------------------------------------------------- */

/* Where the numbers of a page's head lie, and one pointer and one node behind it. */
static const struct {
    const char *name;
    size_t at, bytes;
} fields[] = {
    {"number", 0, 8}, {"flags", 10, 2}, {"lower", 12, 2}, {"upper", 14, 2}, {"slot", 16, 2}};

static void damage(const char *dir, const char *what, size_t at, const void *bytes, size_t len,
                   bool by_cursors)
{
    uint8_t was[64];

    memcpy(was, image + at, len);
    memcpy(image + at, bytes, len);
    write_image(dir);
    buf_printf(&trace, "page %zu, %s\n    pages   ", at / PAGE, what);
    look(dir, SURVEY_BY_PAGES, &trace);
    if (by_cursors)
        look_by_cursors(dir, &trace);
    buf_byte(&trace, '\n');
    memcpy(image + at, was, len);
}

static void damage_number(const char *dir, const char *name, size_t at, size_t len, int64_t by,
                          bool by_cursors)
{
    uint64_t value = 0;
    char what[80];

    memcpy(&value, image + at, len);
    value += (uint64_t)by;
    snprintf(what, sizeof what, "%s %+lld", name, (long long)by);
    damage(dir, what, at, &value, len, by_cursors);
}

static void damage_page(const char *dir, size_t no)
{
    uint8_t *page = image + no * PAGE;
    unsigned flags = page_u16(page + 10);
    bool is_tree = no >= 2 && (flags & (PAGE_BRANCH | PAGE_LEAF));

    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (i >= 2 && !is_tree && !(flags & PAGE_OVERFLOW))
            break;
        damage_number(dir, fields[i].name, no * PAGE + fields[i].at, fields[i].bytes, 1, false);
        damage_number(dir, fields[i].name, no * PAGE + fields[i].at, fields[i].bytes, -2,
                      is_tree && (i == 2 || i == 3));
    }
    if (!is_tree || page_u16(page + 12) <= PAGE_HEADER_BYTES)
        return;
    size_t node = no * PAGE + page_u16(page + 16);
    damage_number(dir, "size", node, 4, 1, flags & PAGE_LEAF);
    damage_number(dir, "size", node, 4, 5000, false);
    damage_number(dir, "flag", node + 4, 2, 1, false);
    damage_number(dir, "flag", node + 4, 2, 2, false);
    damage_number(dir, "key length", node + 6, 2, 1, false);
    damage_number(dir, "key length", node + 6, 2, 600, false);
    damage_number(dir, "key length", node + 6, 2, -page_u16(image + node + 6), false);
    damage_number(dir, "key", node + 8, 1, 50, flags & PAGE_LEAF);
    damage_number(dir, "value", node + 8 + page_u16(image + node + 6), 2, 1, flags & PAGE_LEAF);
}

static void damage_meta(const char *dir, size_t no)
{
    static const struct {
        const char *name;
        size_t at, bytes;
    } numbers[] = {{"magic", 16, 4},      {"version", 20, 4},       {"map", 32, 8},
                   {"free depth", 46, 2}, {"free entries", 72, 8},  {"free root", 80, 8},
                   {"page size", 40, 4},  {"flags", 44, 2},         {"main flags", 92, 2},
                   {"main depth", 94, 2}, {"main entries", 120, 8}, {"main root", 128, 8},
                   {"last page", 136, 8}, {"transaction", 144, 8}};

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        for (int by = -1; by <= 3; by += 2)
            damage_number(dir, numbers[i].name, no * PAGE + numbers[i].at, numbers[i].bytes, by,
                          false);
}

TEST(what_is_found_in_each_damage)
{
    struct temp_dir d = temp_dir_make();
    int major, minor, patch;

    (void)mdb_version(&major, &minor, &patch);
    if (major != 0 || minor != 9 || patch != LMDB_PATCH) { /* it may lay its pages out otherwise */
        temp_dir_remove(&d);
        return;
    }
    make_store(d.path);
    read_image(d.path);
    buf_printf(&trace, "whole, %zu pages\n    pages   ", image_bytes / PAGE);
    look(d.path, SURVEY_BY_PAGES, &trace);
    look_by_cursors(d.path, &trace);
    buf_byte(&trace, '\n');
    for (size_t no = 0; no < 2; no++)
        damage_meta(d.path, no);
    for (size_t no = 0; no < image_bytes / PAGE; no++)
        damage_page(d.path, no);
    for (size_t pages = image_bytes / PAGE; pages-- > 0;) {
        size_t whole = image_bytes;
        image_bytes = pages * PAGE + (pages % 3) * 100;
        write_image(d.path);
        buf_printf(&trace, "cut off at %zu\n    pages   ", image_bytes);
        look(d.path, SURVEY_BY_PAGES, &trace);
        buf_byte(&trace, '\n');
        image_bytes = whole;
    }
    buf_byte(&trace, '\0');
    manual_is("test/unit/store/survey_traces.txt", (const char *)trace.data,
              "build/store/survey_trace_test");
    buf_free(&trace);
    temp_dir_remove(&d);
}
