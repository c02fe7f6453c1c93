/*
 * store_kit.h - stores with real documents in every state, and ways to damage them.
 */

#ifndef STORE_KIT_H
#define STORE_KIT_H

#include "outbox/outbox_kit.h"
#include "projection/rehash.h"
#include "store/record.h"
#include "store/store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define KIT_PAGE 4096

/* As fn_put, but the document is one: JSON with its hash. */
static inline enum err fn_put_real(struct op *op, struct round *r)
{
    static char json[1 << 20]; /* the store thread's */
    char pad[8192];
    struct checkpoint cp;
    enum err e = round_checkpoint(r, slice_str(op->id), &cp);

    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    size_t pad_len = op->json_len < sizeof pad ? op->json_len : sizeof pad - 1;
    memset(pad, 'x', pad_len);
    pad[pad_len] = '\0';
    int n = snprintf(json, sizeof json,
                     "{\"id\":\"%s\",\"pad\":\"%s\",\"projected_at\":\"then\","
                     "\"projection_hash\":\"?\",\"seq\":%lld}",
                     op->id, pad, (long long)op->seq);
    struct document d = {.kind = &kit_kind,
                         .id = slice_str(op->id),
                         .version = slice_str("v1"),
                         .json = slice_of(json, (size_t)n),
                         .past.fold = slice_str("fold"),
                         .seq = op->seq,
                         .event_count = op->seq,
                         .projected_at_us = round_now_us(r)};
    if (d.projected_at_us <= cp.last_projected_us)
        d.projected_at_us = cp.last_projected_us + 1;
    ck_assert(rehash_json(d.json, d.hash));
    return round_put(r, &d, op->how, &op->decision);
}

static inline void kit_put_real(struct outbox *o, const char *id, int64_t seq, size_t json_len)
{
    struct op op = {.fn = fn_put_real, .id = id, .seq = seq, .json_len = json_len};

    ck_assert_int_eq(kit_do(o, &op), ERR_OK);
}

static inline enum err fn_put_many(struct op *op, struct round *r)
{
    char id[64];
    enum err e = ERR_OK;
    int64_t n = op->seq;
    const char *prefix = op->id;

    for (int64_t i = 0; e == ERR_OK && i < n; i++) {
        snprintf(id, sizeof id, "%s%04lld", prefix, (long long)i);
        op->id = id;
        op->seq = 1;
        e = fn_put_real(op, r);
    }
    op->id = prefix;
    op->seq = n;
    return e;
}

/* A store in which documents are pending (${n}, and a few of other kinds), delivered, dead,
 * cleared, and large; closed. */
static inline void kit_make_store(const char *dir, int64_t n)
{
    struct outbox *o = NULL;
    struct fault fault = {0};
    struct op many = {.fn = fn_put_many, .id = "many:", .seq = n, .json_len = 300};

    ck_assert_int_eq(kit_open(dir, 1 << 28, 100, &o, &fault), ERR_OK);
    kit_put_real(o, "done", 1, 10);
    kit_done(o, "done");
    kit_put_real(o, "again", 1, 10);
    kit_done(o, "again");
    kit_put_real(o, "again", 2, 10);
    kit_put_real(o, "dead", 1, 10);
    kit_dead(o, "dead", "no such field");
    kit_put_real(o, "large", 1, 8000);
    kit_put_real(o, "cleared", 1, 10);
    ck_assert_int_eq(do_simple(o, fn_clear, "cleared"), ERR_OK);
    kit_put_real(o, "gone", 1, 10);
    ck_assert_int_eq(do_simple(o, fn_clear, "gone"), ERR_OK);
    kit_done(o, "gone");
    ck_assert_int_eq(kit_do(o, &many), ERR_OK);
    outbox_close(o);
}

/* ---- records that are whole, and say something else ----------------------- */

/* What ${id} has; NULL: nothing pending. */
typedef void kit_change(struct checkpoint_record *c, struct pending *p, void *arg);

static inline struct slice kit_key(const uint64_t *no)
{
    return slice_of(no, sizeof *no);
}

/* Change the records of ${id} behind the outbox's back; its id as well. */
static inline void kit_rewrite(const char *dir, const char *id, kit_change *how, void *arg)
{
    struct store *s;
    struct fault fault = {0};
    struct slice value;
    struct checkpoint_record c;
    struct pending p;
    struct buf checkpoint = {0}, pending = {0}, name = {0};
    uint64_t number;

    ck_assert_int_eq(store_open(dir, 1 << 26, &s, &fault), ERR_OK);
    ck_assert_int_eq(store_begin(s), ERR_OK);
    ck_assert_int_eq(store_get(s, STORE_IDS, slice_str(id), &value), ERR_OK);
    ck_assert_int_eq(record_get_id(slice_str(id), value, &number, &fault), ERR_OK);
    ck_assert_int_eq(store_get(s, STORE_CHECKPOINTS, kit_key(&number), &value), ERR_OK);
    ck_assert_int_eq(record_get_checkpoint(kit_key(&number), value, &c, &fault), ERR_OK);
    uint64_t no = c.cp.pending_no;
    if (no != 0) {
        ck_assert_int_eq(store_get(s, STORE_PENDING, kit_key(&no), &value), ERR_OK);
        ck_assert_int_eq(record_get_pending(kit_key(&no), value, &p, &fault), ERR_OK);
    }
    how(&c, no != 0 ? &p : NULL, arg);
    record_put_checkpoint(&checkpoint, &c);
    record_put_id(&name, c.id, number);
    char *new_id = base_strndup(c.id.data, c.id.len);
    size_t len = c.id.len;
    if (no != 0) {
        record_put_pending(&pending, &p);
        ck_assert_int_eq(store_put(s, STORE_PENDING, kit_key(&no), buf_view(&pending)), ERR_OK);
    }
    ck_assert_int_eq(store_put(s, STORE_CHECKPOINTS, kit_key(&number), buf_view(&checkpoint)),
                     ERR_OK);
    ck_assert_int_eq(store_del(s, STORE_IDS, slice_str(id)), ERR_OK);
    ck_assert_int_eq(store_put(s, STORE_IDS, slice_of(new_id, len), buf_view(&name)), ERR_OK);
    ck_assert_int_eq(store_commit(s), ERR_OK);
    store_close(s);
    free(new_id);
    buf_free(&checkpoint);
    buf_free(&pending);
    buf_free(&name);
}

/* ---- bytes of the file ---------------------------------------------------- */

static inline int kit_open_file(const char *dir)
{
    char path[300];

    snprintf(path, sizeof path, "%s/data.mdb", dir);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    return fd;
}

static inline uint64_t kit_pages(const char *dir)
{
    struct stat st;
    int fd = kit_open_file(dir);

    ck_assert_int_eq(fstat(fd, &st), 0);
    close(fd);
    return (uint64_t)st.st_size / KIT_PAGE;
}

static inline void kit_read_page(const char *dir, uint64_t no, uint8_t page[KIT_PAGE])
{
    int fd = kit_open_file(dir);

    ck_assert_int_eq(pread(fd, page, KIT_PAGE, (off_t)(no * KIT_PAGE)), KIT_PAGE);
    close(fd);
}

static inline void kit_write(const char *dir, uint64_t offset, const void *bytes, size_t len)
{
    int fd = kit_open_file(dir);

    ck_assert_int_eq(pwrite(fd, bytes, len, (off_t)offset), (ssize_t)len);
    close(fd);
}

/* Every ${old} in the file becomes ${new}, which is as long. */
static inline void kit_replace(const char *dir, struct slice old, struct slice new)
{
    uint8_t page[KIT_PAGE];

    ck_assert_uint_eq(old.len, new.len);
    for (uint64_t no = 0; no < kit_pages(dir); no++) {
        kit_read_page(dir, no, page);
        for (uint8_t *at = page;
             (at = memmem(at, (size_t)(page + KIT_PAGE - at), old.data, old.len)) != NULL;
             at += old.len)
            kit_write(dir, no * KIT_PAGE + (uint64_t)(at - page), new.data, new.len);
    }
}

static inline void kit_copy_store(const char *from, const char *to)
{
    static const char *const names[] = {"data.mdb"};
    char path[300], *bytes = base_alloc(1 << 22);

    ck_assert(mkdir(to, 0700) == 0);
    snprintf(path, sizeof path, "%s/%s", from, names[0]);
    int in = open(path, O_RDONLY);
    snprintf(path, sizeof path, "%s/%s", to, names[0]);
    int out = open(path, O_WRONLY | O_CREAT, 0600);
    for (ssize_t n; (n = read(in, bytes, 1 << 22)) > 0;)
        ck_assert_int_eq(write(out, bytes, (size_t)n), n);
    close(in);
    close(out);
    free(bytes);
}

#endif
