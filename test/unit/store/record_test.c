/* record_test.c - every record reads as it was written, and no damage to one is believed or
 * crashes. */

#include "store/record.h"

#include "test.h"

static struct outbox_version sample_version(enum outbox_op op, int64_t seq)
{
    struct outbox_version v = {.op = op,
                               .reset = seq % 2 == 0,
                               .seq = seq,
                               .event_count = -seq,
                               .projected_at_us = INT64_MAX - seq,
                               .version = slice_str("convex_summary_v1"),
                               .revision = UINT64_MAX - 3};

    memset(v.hash, (int)(seq & 0xff), sizeof v.hash);
    return v;
}

static void check_version(const struct outbox_version *a, const struct outbox_version *b)
{
    ck_assert_int_eq(a->op, b->op);
    ck_assert_int_eq(a->reset, b->reset);
    ck_assert_int_eq(a->seq, b->seq);
    ck_assert_int_eq(a->event_count, b->event_count);
    ck_assert_int_eq(a->projected_at_us, b->projected_at_us);
    ck_assert(slice_eq(a->version, b->version));
    ck_assert_uint_eq(a->revision, b->revision);
    ck_assert_mem_eq(a->hash, b->hash, sizeof a->hash);
}

static struct pending sample_pending(int64_t seq)
{
    return (struct pending){.no = 77,
                            .id = slice_str("runtime/run_summary:run_1"),
                            .kind = slice_str("run_summary"),
                            .json = slice_str("{\"a\":1}"),
                            .version = sample_version(OUTBOX_UPSERT, seq),
                            .kept_at_us = 1771531200000000};
}

static struct checkpoint_record sample_checkpoint(void)
{
    return (struct checkpoint_record){.cp = {.has_pending = true,
                                             .has_delivered = true,
                                             .is_dead = true,
                                             .pending_no = 1 << 20,
                                             .pending = sample_version(OUTBOX_REMOVE, 300),
                                             .delivered = sample_version(OUTBOX_UPSERT, 299),
                                             .kind = slice_str("codex_worker_summary"),
                                             .fold = slice_str("some fold with \x01\x02 bytes"),
                                             .last_projected_us = -5},
                                      .reset_revision = 12,
                                      .pending_bytes = 70000,
                                      .pending_kept_at_us = 1};
}

static struct dead_letter sample_dead(void)
{
    return (struct dead_letter){.kind = slice_str("run_summary"),
                                .json = slice_str("{}"),
                                .why = slice_str("ArgumentValidationError"),
                                .answer = slice_str("{\"status\":\"error\"}"),
                                .version = sample_version(OUTBOX_UPSERT, 0),
                                .attempts = UINT32_MAX,
                                .died_at_us = 5};
}

TEST(pending_reads_as_written)
{
    /* At the borders of msgpack's integer forms. */
    static const int64_t seqs[] = {0,         1,          127,          128, 255, 256, 65535, 65536,
                                   INT32_MAX, 4294967296, INT64_MAX,    -1,  -32, -33, -128,  -129,
                                   -32769,    INT32_MIN,  INT64_MIN + 1};
    for (size_t i = 0; i < sizeof seqs / sizeof *seqs; i++) {
        struct pending p = sample_pending(0), read;
        struct fault fault;
        struct buf out = {0};

        p.version.seq = p.kept_at_us = seqs[i];
        p.version.event_count = -seqs[i];
        record_put_pending(&out, &p);
        ck_assert_int_eq(record_get_pending(slice_of(&p.no, 8), buf_view(&out), &read, &fault),
                         ERR_OK);
        ck_assert_uint_eq(read.no, 77);
        ck_assert(slice_eq(read.id, p.id) && slice_eq(read.kind, p.kind));
        ck_assert(slice_eq(read.json, p.json));
        ck_assert_int_eq(read.kept_at_us, p.kept_at_us);
        check_version(&read.version, &p.version);
        buf_free(&out);
    }
}

TEST(large_fields_read_as_written)
{
    static const size_t sizes[] = {0, 255, 256, 65535, 65536, 3000000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct pending p = sample_pending(1), read;
        struct fault fault;
        struct buf out = {0};
        uint8_t *json = base_alloc(sizes[i]);

        p.json = slice_of(json, sizes[i]);
        record_put_pending(&out, &p);
        ck_assert_int_eq(record_get_pending(slice_of(&p.no, 8), buf_view(&out), &read, &fault),
                         ERR_OK);
        ck_assert_uint_eq(read.json.len, sizes[i]);
        buf_free(&out);
        free(json);
    }
}

TEST(checkpoint_reads_as_written)
{
    struct checkpoint_record c = sample_checkpoint(), read;
    struct fault fault;
    struct buf out = {0};

    record_put_checkpoint(&out, &c);
    ck_assert_int_eq(record_get_checkpoint(slice_str("id"), buf_view(&out), &read, &fault), ERR_OK);
    ck_assert(read.cp.has_pending && read.cp.has_delivered && read.cp.is_dead);
    ck_assert_uint_eq(read.cp.pending_no, c.cp.pending_no);
    check_version(&read.cp.pending, &c.cp.pending);
    check_version(&read.cp.delivered, &c.cp.delivered);
    ck_assert(slice_eq(read.cp.kind, c.cp.kind) && slice_eq(read.cp.fold, c.cp.fold));
    ck_assert_int_eq(read.cp.last_projected_us, -5);
    ck_assert_uint_eq(read.reset_revision, 12);
    ck_assert_uint_eq(read.pending_bytes, 70000);
    ck_assert_int_eq(read.pending_kept_at_us, 1);
    out.len = 0;
    struct checkpoint_record empty = {0};
    record_put_checkpoint(&out, &empty);
    ck_assert_int_eq(record_get_checkpoint(slice_str("id"), buf_view(&out), &read, &fault), ERR_OK);
    ck_assert(!read.cp.has_pending && !read.cp.has_delivered && !read.cp.is_dead);
    buf_free(&out);
}

TEST(dead_letter_and_counters_read_as_written)
{
    struct dead_letter d = sample_dead(), read;
    struct counters c = {1, UINT64_MAX, 300, 70000}, counted;
    struct fault fault;
    struct buf out = {0};

    record_put_dead(&out, &d);
    ck_assert_int_eq(record_get_dead(slice_str("id"), buf_view(&out), &read, &fault), ERR_OK);
    ck_assert_slice(read.id, "id");
    ck_assert_slice(read.why, "ArgumentValidationError");
    ck_assert_slice(read.answer, "{\"status\":\"error\"}");
    ck_assert_slice(read.json, "{}");
    ck_assert_uint_eq(read.attempts, UINT32_MAX);
    check_version(&read.version, &d.version);
    out.len = 0;
    record_put_counters(&out, &c);
    ck_assert_int_eq(record_get_counters(buf_view(&out), &counted, &fault), ERR_OK);
    ck_assert_mem_eq(&counted, &c, sizeof c);
    buf_free(&out);
}

/* One of the four records, from bytes of exactly that length (ASan watches the end). */
static enum err read_any(int which, const uint8_t *bytes, size_t len, struct fault *fault)
{
    uint8_t *exact = base_alloc(len);
    uint64_t no = 77;
    struct pending p;
    struct checkpoint_record c;
    struct dead_letter d;
    struct counters n;
    enum err e;

    memcpy(exact, bytes, len);
    /* calloc gives at least one byte; keep the slice honest for len 0. */
    struct slice value = slice_of(exact, len);
    if (which == 0)
        e = record_get_pending(slice_of(&no, 8), value, &p, fault);
    else if (which == 1)
        e = record_get_checkpoint(slice_str("some id"), value, &c, fault);
    else if (which == 2)
        e = record_get_dead(slice_str("some id"), value, &d, fault);
    else
        e = record_get_counters(value, &n, fault);
    free(exact);
    return e;
}

static void write_any(int which, struct buf *out)
{
    struct pending p = sample_pending(70000);
    struct checkpoint_record c = sample_checkpoint();
    struct dead_letter d = sample_dead();
    struct counters n = {5, 6, 7, 8};

    if (which == 0)
        record_put_pending(out, &p);
    else if (which == 1)
        record_put_checkpoint(out, &c);
    else if (which == 2)
        record_put_dead(out, &d);
    else
        record_put_counters(out, &n);
}

TEST(torn_records_are_refused_and_named)
{
    static const char *const names[] = {"pending/77", "checkpoints/some id", "dead/some id",
                                        "meta/counters"};
    for (int which = 0; which < 4; which++) {
        struct buf out = {0};
        struct fault fault;

        write_any(which, &out);
        for (size_t len = 0; len < out.len; len++) {
            ck_assert_int_eq(read_any(which, out.data, len, &fault), ERR_STORE);
            ck_assert_str_eq(fault.path, names[which]);
            ck_assert_ptr_nonnull(strstr(fault.why, "damaged record: "));
        }
        buf_byte(&out, 0);
        ck_assert_int_eq(read_any(which, out.data, out.len, &fault), ERR_STORE);
        ck_assert_ptr_nonnull(strstr(fault.why, "left over"));
        buf_free(&out);
    }
}

TEST(a_changed_byte_is_refused_or_read_but_never_crashes)
{
    for (int which = 0; which < 4; which++) {
        struct buf out = {0};
        struct fault fault;
        size_t refused = 0;

        write_any(which, &out);
        for (size_t at = 0; at < out.len; at++)
            for (unsigned x = 1; x < 256; x++) {
                out.data[at] = (uint8_t)(out.data[at] ^ x);
                refused += read_any(which, out.data, out.len, &fault) == ERR_STORE;
                out.data[at] = (uint8_t)(out.data[at] ^ x);
            }
        ck_assert_uint_gt(refused, out.len); /* the framing at least */
        ck_assert_int_eq(read_any(which, out.data, out.len, &fault), ERR_OK);
        buf_free(&out);
    }
}

TEST(noise_is_refused)
{
    uint64_t x = 88172645463325252u;
    struct fault fault;

    for (int i = 0; i < 20000; i++) {
        uint8_t noise[64];
        for (size_t b = 0; b < sizeof noise; b++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            noise[b] = (uint8_t)x;
        }
        noise[0] = (uint8_t[]){0x95, 0x9a, 0x97, 0x94}[i % 4];
        enum err e = read_any(i % 4, noise, 1 + x % sizeof noise, &fault);
        ck_assert(e == ERR_STORE || i % 4 == 3);
    }
}
