/* record_test.c - every record reads as it was written, and no damage to one is believed or
 * crashes. */

#include "store/record.h"
#include "store/record_1.h"
#include "store/record_inside.h"

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
                            .document = 1234567,
                            .id = slice_str("runtime/run_summary:run_1"),
                            .kind = slice_str("run_summary"),
                            .json = slice_str("{\"a\":1}"),
                            .version = sample_version(OUTBOX_UPSERT, seq),
                            .kept_at_us = 1771531200000000,
                            .origin = ORIGIN_CATCH_UP,
                            .attempts = 3,
                            .next_try_us = 1771531300000000,
                            .has_moved = true,
                            .is_ahead = true,
                            .fold = slice_str("fold"),
                            .recent = slice_str("recent")};
}

static struct checkpoint_record sample_checkpoint(void)
{
    return (struct checkpoint_record){.id = slice_str("runtime/run_summary:run_1"),
                                      .cp = {.document = 99,
                                             .has_pending = true,
                                             .has_delivered = true,
                                             .is_dead = true,
                                             .pending_no = LANE_LIVE | 1 << 20,
                                             .delivered_mark = 70000,
                                             .delivered = sample_version(OUTBOX_UPSERT, 299),
                                             .kind = slice_str("codex_worker_summary"),
                                             .fold = slice_str("some fold with \x01\x02 bytes"),
                                             .recent = slice_str("recent \x03"),
                                             .last_projected_us = -5},
                                      .reset_revision = 12,
                                      .row_version = slice_str("\x01\x02"),
                                      .has_origin = true,
                                      .origin = ORIGIN_SWEEP};
}

static struct dead_letter sample_dead(void)
{
    return (struct dead_letter){.document = 99,
                                .id = slice_str("some id"),
                                .kind = slice_str("run_summary"),
                                .json = slice_str("{}"),
                                .why = slice_str("ArgumentValidationError"),
                                .answer = slice_str("{\"status\":\"error\"}"),
                                .version = sample_version(OUTBOX_UPSERT, 0),
                                .attempts = UINT32_MAX,
                                .tries = 4,
                                .died_at_us = 5,
                                .next_try_us = 60000005,
                                .functions = 2,
                                .deployment = slice_str("happy-otter-123")};
}

/* End a record made by hand. */
static void seal(struct buf *out, enum store_table t, struct slice key)
{
    record_seal(out, 0, t, key);
}

static const uint64_t number = 99, no = 77;
static const char sample_id[] = "runtime/run_summary:run_1";

static struct slice key_of(const uint64_t *n)
{
    return slice_of(n, sizeof *n);
}

static struct destination sample_destination(void)
{
    struct destination d = {.sink = slice_str("http"),
                            .address = slice_str("https://happy-otter-123.convex.cloud"),
                            .deployment = slice_str("happy-otter-123"),
                            .mark = 7,
                            .mark_wanted = 8,
                            .raised_at_us = -1,
                            .functions = 2};

    memset(d.store_id, 0xab, sizeof d.store_id);
    return d;
}

static struct doubt sample_doubt(void)
{
    return (struct doubt){.from = 3,
                          .to = UINT64_MAX,
                          .since_us = 1771531200000000,
                          .why = slice_str("the deployment was restored"),
                          .is_swept = true};
}

static struct quarantined sample_quarantined(void)
{
    return (struct quarantined){.no = 77,
                                .table = STORE_IDS,
                                .key = slice_str("key"),
                                .value = slice_str("\xff\x00"),
                                .why = slice_str("its checksum is another one"),
                                .at_us = 5};
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
        ck_assert_uint_eq(read.document, 1234567);
        ck_assert_int_eq(read.origin, ORIGIN_CATCH_UP);
        ck_assert_uint_eq(read.attempts, 3);
        ck_assert_int_eq(read.next_try_us, 1771531300000000);
        ck_assert(read.has_moved && read.is_ahead);
        ck_assert_slice(read.fold, "fold");
        ck_assert_slice(read.recent, "recent");
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
    ck_assert_int_eq(record_get_checkpoint(key_of(&number), buf_view(&out), &read, &fault), ERR_OK);
    ck_assert(read.cp.has_pending && read.cp.has_delivered && read.cp.is_dead);
    ck_assert_uint_eq(read.cp.document, 99);
    ck_assert_slice(read.id, sample_id);
    ck_assert_uint_eq(read.cp.pending_no, c.cp.pending_no);
    check_version(&read.cp.delivered, &c.cp.delivered);
    ck_assert_uint_eq(read.cp.delivered_mark, 70000);
    ck_assert(slice_eq(read.cp.kind, c.cp.kind) && slice_eq(read.cp.fold, c.cp.fold));
    ck_assert_int_eq(read.cp.last_projected_us, -5);
    ck_assert_uint_eq(read.reset_revision, 12);
    ck_assert_slice(read.row_version, "\x01\x02");
    ck_assert_slice(read.cp.recent, "recent \x03");
    ck_assert(read.has_origin && read.origin == ORIGIN_SWEEP);
    out.len = 0;
    struct checkpoint_record empty = {.id = slice_str("x"), .cp = {.document = 99}};
    record_put_checkpoint(&out, &empty);
    ck_assert_int_eq(record_get_checkpoint(key_of(&number), buf_view(&out), &read, &fault), ERR_OK);
    ck_assert(!read.cp.has_pending && !read.cp.has_delivered && !read.cp.is_dead);
    ck_assert(!read.has_origin && read.row_version.len == 0 && read.tail.len == 0);
    ck_assert_uint_eq(read.cp.recent.len, 0);
    buf_free(&out);
}

TEST(dead_letter_and_counters_read_as_written)
{
    struct dead_letter d = sample_dead(), read;
    struct counters c = {1, 2, UINT64_MAX, 4, 300, 70000, slice_str(""), 77}, counted;
    struct fault fault;
    struct buf out = {0};

    record_put_dead(&out, &d);
    ck_assert_int_eq(record_get_dead(key_of(&number), buf_view(&out), &read, &fault), ERR_OK);
    ck_assert_slice(read.id, "some id");
    ck_assert_slice(read.why, "ArgumentValidationError");
    ck_assert_slice(read.answer, "{\"status\":\"error\"}");
    ck_assert_slice(read.json, "{}");
    ck_assert_uint_eq(read.attempts, UINT32_MAX);
    ck_assert_uint_eq(read.tries, 4);
    ck_assert_int_eq(read.next_try_us, 60000005);
    ck_assert_uint_eq(read.functions, 2);
    ck_assert_slice(read.deployment, "happy-otter-123");
    check_version(&read.version, &d.version);
    out.len = 0;
    record_put_counters(&out, &c);
    ck_assert_int_eq(record_get_counters(buf_view(&out), &counted, &fault), ERR_OK);
    ck_assert_uint_eq(counted.next_no, 1);
    ck_assert_uint_eq(counted.next_document, 2);
    ck_assert_uint_eq(counted.next_revision, UINT64_MAX);
    ck_assert_uint_eq(counted.next_quarantine, 4);
    ck_assert_uint_eq(counted.pending_bytes, 300);
    ck_assert_uint_eq(counted.dead_bytes, 70000);
    ck_assert_uint_eq(counted.ahead_from, 77);
    buf_free(&out);
}

TEST(what_is_known_of_the_destination_reads_as_written)
{
    struct destination d = sample_destination(), there;
    struct doubt doubt = sample_doubt(), doubted;
    struct quarantined q = sample_quarantined(), quarantined;
    struct fault fault;
    struct buf out = {0};
    uint64_t document;

    record_put_destination(&out, &d);
    ck_assert_int_eq(record_get_destination(buf_view(&out), &there, &fault), ERR_OK);
    ck_assert_slice(there.sink, "http");
    ck_assert(slice_eq(there.address, d.address) && slice_eq(there.deployment, d.deployment));
    ck_assert_mem_eq(there.store_id, d.store_id, sizeof d.store_id);
    ck_assert(there.mark == 7 && there.mark_wanted == 8 && there.functions == 2);
    ck_assert_int_eq(there.raised_at_us, -1);
    out.len = 0;
    record_put_doubt(&out, &doubt);
    ck_assert_int_eq(record_get_doubt(buf_view(&out), &doubted, &fault), ERR_OK);
    ck_assert(doubted.from == 3 && doubted.to == UINT64_MAX && doubted.is_swept);
    ck_assert_int_eq(doubted.since_us, doubt.since_us);
    ck_assert(slice_eq(doubted.why, doubt.why));
    out.len = 0;
    record_put_quarantined(&out, &q);
    ck_assert_int_eq(record_get_quarantined(key_of(&no), buf_view(&out), &quarantined, &fault),
                     ERR_OK);
    ck_assert(quarantined.no == 77 && quarantined.table == STORE_IDS && quarantined.at_us == 5);
    ck_assert(slice_eq(quarantined.key, q.key) && slice_eq(quarantined.value, q.value));
    ck_assert(slice_eq(quarantined.why, q.why));
    out.len = 0;
    record_put_id(&out, slice_str(sample_id), 12345678901);
    ck_assert_uint_eq(out.len, 12);
    ck_assert_int_eq(record_get_id(slice_str(sample_id), buf_view(&out), &document, &fault),
                     ERR_OK);
    ck_assert_uint_eq(document, 12345678901);
    buf_free(&out);
}

/* ---- all of them ------------------------------------------------------------ */

enum { KINDS_OF_RECORD = 8 };

/* One of the records, from bytes of exactly that length (ASan watches the end). */
static enum err read_any(int which, const uint8_t *bytes, size_t len, struct fault *fault)
{
    uint8_t *exact = base_alloc(len);
    struct slice value = slice_of(exact, len);
    struct pending p;
    struct checkpoint_record c;
    struct dead_letter d;
    struct counters n;
    struct destination destination;
    struct doubt doubt;
    struct quarantined q;
    uint64_t document;
    enum err e = ERR_OK;

    if (len > 0)
        memcpy(exact, bytes, len);
    if (which == 0)
        e = record_get_pending(key_of(&no), value, &p, fault);
    if (which == 1)
        e = record_get_checkpoint(key_of(&number), value, &c, fault);
    if (which == 2)
        e = record_get_dead(key_of(&number), value, &d, fault);
    if (which == 3)
        e = record_get_counters(value, &n, fault);
    if (which == 4)
        e = record_get_destination(value, &destination, fault);
    if (which == 5)
        e = record_get_doubt(value, &doubt, fault);
    if (which == 6)
        e = record_get_quarantined(key_of(&no), value, &q, fault);
    if (which == 7)
        e = record_get_id(slice_str("some id"), value, &document, fault);
    free(exact);
    return e;
}

static void write_any(int which, struct slice tail, struct buf *out)
{
    struct pending p = sample_pending(70000);
    struct checkpoint_record c = sample_checkpoint();
    struct dead_letter d = sample_dead();
    struct counters n = {5, 6, 7, 8, 9, 10, tail, 0};
    struct destination destination = sample_destination();
    struct doubt doubt = sample_doubt();
    struct quarantined q = sample_quarantined();

    p.tail = c.tail = d.tail = destination.tail = doubt.tail = q.tail = tail;
    if (which == 0)
        record_put_pending(out, &p);
    if (which == 1)
        record_put_checkpoint(out, &c);
    if (which == 2)
        record_put_dead(out, &d);
    if (which == 3)
        record_put_counters(out, &n);
    if (which == 4)
        record_put_destination(out, &destination);
    if (which == 5)
        record_put_doubt(out, &doubt);
    if (which == 6)
        record_put_quarantined(out, &q);
    if (which == 7)
        record_put_id(out, slice_str("some id"), 3);
}

TEST(torn_records_are_refused_and_named)
{
    static const char *const names[KINDS_OF_RECORD] = {
        "pending/77",       "checkpoints/99", "dead/99",       "meta/counters",
        "meta/destination", "meta/doubt",     "quarantine/77", "ids/some id"};
    for (int which = 0; which < KINDS_OF_RECORD; which++) {
        struct buf out = {0};
        struct fault fault;

        write_any(which, slice_str(""), &out);
        for (size_t len = 0; len < out.len; len++) {
            ck_assert_int_eq(read_any(which, out.data, len, &fault), ERR_STORE);
            ck_assert_str_eq(fault.path, names[which]);
            ck_assert_ptr_nonnull(strstr(fault.why, "damaged record: "));
        }
        buf_byte(&out, 0);
        ck_assert_int_eq(read_any(which, out.data, out.len, &fault), ERR_STORE);
        buf_free(&out);
    }
}

TEST(any_changed_byte_is_found)
{
    for (int which = 0; which < KINDS_OF_RECORD; which++) {
        struct buf out = {0};
        struct fault fault;

        write_any(which, slice_str(""), &out);
        for (size_t at = 0; at < out.len; at++)
            for (unsigned x = 1; x < 256; x++) {
                out.data[at] = (uint8_t)(out.data[at] ^ x);
                ck_assert_int_eq(read_any(which, out.data, out.len, &fault), ERR_STORE);
                out.data[at] = (uint8_t)(out.data[at] ^ x);
            }
        ck_assert_int_eq(read_any(which, out.data, out.len, &fault), ERR_OK);
        buf_free(&out);
    }
}

TEST(a_value_under_another_key_or_of_another_table_is_damaged)
{
    struct checkpoint_record c = sample_checkpoint();
    struct dead_letter dead;
    struct fault fault;
    struct buf out = {0};
    uint64_t other = 100, document;

    record_put_checkpoint(&out, &c);
    ck_assert_int_eq(record_get_checkpoint(key_of(&other), buf_view(&out), &c, &fault), ERR_STORE);
    ck_assert_str_eq(fault.why, "damaged record: its checksum is another one");
    ck_assert_int_eq(record_get_dead(key_of(&number), buf_view(&out), &dead, &fault), ERR_STORE);
    ck_assert(record_is_of_another(STORE_DEAD, key_of(&number), buf_view(&out)));
    ck_assert(!record_is_of_another(STORE_CHECKPOINTS, key_of(&number), buf_view(&out)));
    ck_assert(!record_is_of_another(STORE_DEAD, key_of(&other), buf_view(&out)));
    out.len = 0;
    record_put_id(&out, slice_str("a"), 3);
    ck_assert_int_eq(record_get_id(slice_str("b"), buf_view(&out), &document, &fault), ERR_STORE);
    buf_free(&out);
}

/* {0: nil, 9: [1, {"x": <2 bytes>}], 200: "later"}: members that nobody knows. */
static const char strange[] = "\x00\xc0"
                              "\x09\x92\x01\x81\xa1x\xc4\x02\xff\xfe"
                              "\xcc\xc8\xa5later";

TEST(members_nobody_knows_are_handed_through_in_order)
{
    struct slice tail = slice_of(strange, sizeof strange - 1);

    for (int which = 0; which < KINDS_OF_RECORD - 1; which++) {
        struct buf out = {0};
        struct fault fault;
        write_any(which, tail, &out);
        ck_assert_int_eq(read_any(which, out.data, out.len, &fault), ERR_OK);
        ck_assert_ptr_nonnull(memmem(out.data, out.len, strange + 2, 10));
        ck_assert_ptr_nonnull(memmem(out.data, out.len, "later", 5));
        buf_free(&out);
    }
    struct checkpoint_record c = sample_checkpoint(), read;
    struct fault fault;
    struct buf out = {0}, again = {0};
    c.tail = tail;
    record_put_checkpoint(&out, &c);
    ck_assert_int_eq(record_get_checkpoint(key_of(&number), buf_view(&out), &read, &fault), ERR_OK);
    record_put_checkpoint(&again, &read);
    ck_assert(slice_eq(buf_view(&out), buf_view(&again)));
    read.has_origin = false; /* a member of ours goes, theirs stay */
    again.len = 0;
    record_put_checkpoint(&again, &read);
    ck_assert_uint_eq(again.len, out.len - 2);
    ck_assert_int_eq(record_get_checkpoint(key_of(&number), buf_view(&again), &read, &fault),
                     ERR_OK);
    ck_assert(!read.has_origin && read.row_version.len == 2);
    buf_free(&out);
    buf_free(&again);
}

/* What is read can be written, and read once more, however much there is that nobody knows. */
TEST(members_nobody_knows_give_way_to_ours)
{
    struct buf tail = {0}, out = {0};
    struct checkpoint_record c = sample_checkpoint(), read;
    struct fault fault;

    buf_add(&tail, "\xcc\xc8\xc5\x0f\xf8", 5); /* 200: 4088 bytes */
    for (int i = 0; i < 4088; i++)
        buf_byte(&tail, 'x');
    c.tail = buf_view(&tail);
    record_put_checkpoint(&out, &c);
    ck_assert_int_eq(record_get_checkpoint(key_of(&number), buf_view(&out), &read, &fault), ERR_OK);
    ck_assert(read.has_origin && slice_eq(read.row_version, c.row_version));
    buf_free(&out);
    buf_free(&tail);
}

/* Under a right checksum: out of order, twice the same, too many, too long, too deep, wrong type.
 */
TEST(bad_members_spoil_a_record)
{
    static const struct {
        const char *tail, *why;
        size_t len;
    } cases[] = {{"\x82\x05\xc0\x04\xc0", "out of order", 5},
                 {"\x82\x05\xc0\x05\xc0", "out of order", 5},
                 {"\xde\x00\x11", "too large", 3},
                 {"\x81\xcd\x01\x00\xc0", "out of range", 5},
                 {"\x81\x05\xc1", "no type", 3},
                 {"\x81\x05\x91\x91\x91\x91\x91\x91\x91\x91\x91\xc0", "too deep", 12},
                 {"\x81\x01\xc0", "not what it should be", 3},
                 {"\x81\x05\xdd\xff\xff\xff\xff", "too early", 7}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dead_letter d = sample_dead();
        struct buf out = {0};
        struct fault fault = {0};

        d.functions = 0;
        d.deployment = slice_str("");
        record_put_dead(&out, &d);
        out.len -= RECORD_CRC_BYTES + 1; /* the empty map goes */
        buf_add(&out, cases[i].tail, cases[i].len);
        seal(&out, STORE_DEAD, key_of(&number));
        ck_assert_int_eq(record_get_dead(key_of(&number), buf_view(&out), &d, &fault), ERR_STORE);
        ck_assert_msg(strstr(fault.why, cases[i].why) != NULL, "%s: %s", cases[i].why, fault.why);
        buf_free(&out);
    }
}

/* ---- format 1 --------------------------------------------------------------- */

TEST(format_1_reads_as_it_was_written)
{
    struct checkpoint_record c = sample_checkpoint(), read;
    struct pending p = sample_pending(5), pending;
    struct dead_letter d = sample_dead(), dead;
    struct counters n = {5, 1, 6, 1, 7, 8, slice_str(""), 0}, counted;
    struct fault fault;
    struct buf out = {0};

    c.cp.pending_no = 20;
    c.cp.pending = sample_version(OUTBOX_REMOVE, 300);
    c.pending_bytes = 70000;
    c.pending_kept_at_us = 1;
    record_1_put_checkpoint(&out, &c);
    ck_assert_int_eq(record_1_get_checkpoint(slice_str("id"), buf_view(&out), &read, &fault),
                     ERR_OK);
    ck_assert_slice(read.id, "id");
    ck_assert(read.cp.has_pending && read.cp.has_delivered && read.cp.is_dead);
    ck_assert_uint_eq(read.cp.pending_no, 20);
    check_version(&read.cp.pending, &c.cp.pending);
    check_version(&read.cp.delivered, &c.cp.delivered);
    ck_assert(read.pending_bytes == 70000 && read.pending_kept_at_us == 1);
    ck_assert(read.reset_revision == 12 && slice_eq(read.cp.fold, c.cp.fold));
    out.len = 0;
    record_1_put_pending(&out, &p);
    ck_assert_int_eq(record_1_get_pending(key_of(&no), buf_view(&out), &pending, &fault), ERR_OK);
    ck_assert(slice_eq(pending.id, p.id) && slice_eq(pending.json, p.json) && pending.no == 77);
    check_version(&pending.version, &p.version);
    out.len = 0;
    record_1_put_dead(&out, &d);
    ck_assert_int_eq(record_1_get_dead(slice_str("id"), buf_view(&out), &dead, &fault), ERR_OK);
    ck_assert(slice_eq(dead.why, d.why) && slice_eq(dead.json, d.json));
    out.len = 0;
    record_1_put_counters(&out, &n);
    ck_assert_int_eq(record_1_get_counters(buf_view(&out), &counted, &fault), ERR_OK);
    ck_assert(counted.next_no == 5 && counted.next_revision == 6 && counted.pending_bytes == 7);
    ck_assert(counted.dead_bytes == 8 && counted.next_document == 1);
    for (int which = 0; which < 2; which++) { /* they begin at 1 */
        struct counters none = n;
        *(which ? &none.next_no : &none.next_revision) = 0;
        out.len = 0;
        record_1_put_counters(&out, &none);
        ck_assert_int_eq(record_1_get_counters(buf_view(&out), &counted, &fault), ERR_STORE);
        ck_assert_ptr_nonnull(strstr(fault.why, "counters begin at 1"));
    }
    buf_free(&out);
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
        size_t len = 1 + x % sizeof noise;
        noise[0] = (uint8_t[]){0x98, 0x99, 0x9b, 0x97, 0x99, 0x96, 0x96, 0x01}[i % 8];
        struct buf sealed = {0};
        static const char *const keys[] = {"counters", "destination", "doubt"};
        buf_add(&sealed, noise, len);
        ck_assert_int_eq(read_any(i % 8, noise, len, &fault), ERR_STORE);
        /* Under a right checksum as well; an id is any eight bytes. */
        if (i % 8 < 7) {
            seal(&sealed,
                 (enum store_table[]){STORE_PENDING, STORE_CHECKPOINTS, STORE_DEAD, STORE_META,
                                      STORE_META, STORE_META, STORE_QUARANTINE}[i % 8],
                 i % 8 >= 3 && i % 8 < 6    ? slice_str(keys[i % 8 - 3])
                 : i % 8 == 0 || i % 8 == 6 ? key_of(&no)
                                            : key_of(&number));
            ck_assert_int_eq(read_any(i % 8, sealed.data, sealed.len, &fault), ERR_STORE);
        }
        buf_free(&sealed);
    }
}
