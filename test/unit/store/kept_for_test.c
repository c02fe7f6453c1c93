/* kept_for_test.c - which sink may have the documents of which store. */

#include "store/kept_for.h"
#include "store/format.h"
#include "store/record.h"
#include "store/store.h"

#include "test.h"
#include "ground/fake_log.c"
#include "store/fake_store.c"

static const char *const names[] = {"noop", "file", "http", NULL};

/* What a store has: its record (NULL: none), and whether a document is delivered, pending, dead. */
struct content {
    const char *record;
    bool delivered, pending, dead;
};

static struct store *open_fake(const struct content *c)
{
    struct store *s = NULL;
    struct fault fault;
    uint64_t no = 1;

    ck_assert_int_eq(store_open("fake", 0, &s, &fault), ERR_OK);
    ck_assert_int_eq(store_begin(s), ERR_OK);
    if (c->record != NULL) {
        struct destination d = {.sink = slice_str(c->record), .address = slice_str("")};
        d.deployment = d.tail = slice_str("");
        ck_assert_int_eq(format_put_destination(s, &d), ERR_OK);
    }
    if (c->delivered || c->pending || c->dead)
        ck_assert_int_eq(store_put(s, STORE_CHECKPOINTS, slice_of(&no, sizeof no), slice_str("x")),
                         ERR_OK);
    if (c->pending)
        ck_assert_int_eq(store_put(s, STORE_PENDING, slice_of(&no, sizeof no), slice_str("x")),
                         ERR_OK);
    if (c->dead)
        ck_assert_int_eq(store_put(s, STORE_DEAD, slice_of(&no, sizeof no), slice_str("x")),
                         ERR_OK);
    ck_assert_int_eq(store_commit(s), ERR_OK);
    return s;
}

static void check_record(struct store *s, const char *wanted)
{
    struct destination d;
    struct buf value = {0};
    bool is_sound;

    ck_assert_int_eq(store_begin(s), ERR_OK);
    ck_assert_int_eq(format_destination(s, &value, &d, &is_sound), ERR_OK);
    ck_assert_slice(d.sink, wanted != NULL ? wanted : "");
    ck_assert_int_eq(is_sound, wanted != NULL);
    store_abort(s);
    buf_free(&value);
}

/* ${record}: what the store's record is afterwards. */
static void check(struct content c, const char *sink, bool withheld, const char *record)
{
    struct store *s = open_fake(&c);
    struct kept_for k;
    struct fault fault = {0};

    for (int again = 0; again < 2; again++) {
        ck_assert_int_eq(kept_for_check(s, names, sink, &k, &fault), ERR_OK);
        ck_assert_msg(k.is_withheld == withheld, "%s on %s", sink, c.record ? c.record : "none");
        ck_assert_int_eq(k.why[0] != '\0', withheld);
        ck_assert_int_eq(k.next[0] != '\0', withheld);
        check_record(s, record);
    }
    store_close(s);
    fake_store_wipe();
}

TEST(an_empty_store_is_for_any_sink)
{
    check((struct content){0}, "noop", false, "noop");
    check((struct content){0}, "file", false, "file");
    check((struct content){0}, "http", false, "http");
    check((struct content){.record = "http"}, "noop", false, "noop");
    check((struct content){.record = "http"}, "file", false, "file");
}

TEST(what_is_kept_for_convex_or_was_confirmed_by_it_waits)
{
    check((struct content){.record = "http", .pending = true}, "noop", true, "http");
    check((struct content){.record = "http", .pending = true}, "file", true, "http");
    check((struct content){.record = "http", .delivered = true}, "noop", true, "http");
    check((struct content){.record = "http", .dead = true}, "file", true, "http");
    check((struct content){.record = "http", .pending = true}, "http", false, "http");
    check((struct content){.record = "file", .pending = true}, "noop", true, "file");
}

TEST(a_sink_that_delivers_further_takes_it_over)
{
    check((struct content){.record = "noop", .delivered = true}, "http", false, "http");
    check((struct content){.record = "noop", .pending = true}, "file", false, "file");
    check((struct content){.record = "file", .delivered = true}, "http", false, "http");
    check((struct content){.record = "noop", .pending = true}, "noop", false, "noop");
    check((struct content){.record = "file", .pending = true}, "file", false, "file");
}

TEST(a_store_of_an_older_sidecar)
{
    check((struct content){.delivered = true}, "noop", false, "noop");
    check((struct content){.delivered = true}, "file", false, "file");
    check((struct content){.pending = true}, "http", false, "http");
    check((struct content){.pending = true}, "noop", true, NULL);
    check((struct content){.pending = true}, "file", true, NULL);
    check((struct content){.dead = true}, "noop", true, NULL);
}

TEST(a_damaged_record_is_taken_for_http)
{
    check((struct content){.record = "h\x01tp", .delivered = true}, "http", false, "http");
    struct store *s = open_fake(&(struct content){.record = "ht?p", .delivered = true});
    struct kept_for k;
    struct fault fault = {0};
    ck_assert_int_eq(kept_for_check(s, names, "noop", &k, &fault), ERR_OK);
    ck_assert(k.is_withheld);
    store_close(s);
    fake_store_wipe();
}

/* What another sink confirmed is in doubt: up to the last mark, under a number that is new. */
static void check_taken(struct content c, const char *sink, bool is_doubted)
{
    struct store *s = open_fake(&c);
    struct kept_for k;
    struct fault fault = {0};
    struct slice value;
    struct destination d;
    struct doubt doubt;
    struct buf own = {0};
    char wanted[80];

    ck_assert_int_eq(store_begin(s), ERR_OK);
    d = (struct destination){.sink = slice_str(c.record ? c.record : ""), .mark_wanted = 41};
    d.address = d.deployment = d.tail = slice_str("");
    ck_assert_int_eq(format_put_destination(s, &d), ERR_OK);
    ck_assert_int_eq(store_commit(s), ERR_OK);
    int lines = fake_log_lines[LOG_INFO];
    ck_assert_int_eq(kept_for_check(s, names, sink, &k, &fault), ERR_OK);
    ck_assert_int_eq(fake_log_lines[LOG_INFO] - lines, is_doubted);
    ck_assert_int_eq(store_begin(s), ERR_OK);
    ck_assert_int_eq(store_get(s, STORE_META, slice_str("doubt"), &value),
                     is_doubted ? ERR_OK : ERR_NOT_FOUND);
    if (is_doubted) {
        snprintf(wanted, sizeof wanted, "store.kept_for was=%s now=%s", c.record, sink);
        ck_assert_str_eq(fake_log_last, wanted);
        ck_assert_int_eq(record_get_doubt(value, &doubt, &fault), ERR_OK);
        ck_assert_uint_eq(doubt.from, 0);
        ck_assert_uint_eq(doubt.to, 41);
        ck_assert(!doubt.is_swept);
        ck_assert_slice(doubt.why, "it was confirmed by another sink");
    }
    ck_assert_int_eq(format_destination(s, &own, &d, NULL), ERR_OK);
    ck_assert_uint_eq(d.mark_wanted, is_doubted ? 42 : 41);
    store_abort(s);
    buf_free(&own);
    store_close(s);
    fake_store_wipe();
}

TEST(what_another_sink_confirmed_is_in_doubt)
{
    check_taken((struct content){.record = "noop", .delivered = true}, "http", true);
    check_taken((struct content){.record = "file", .delivered = true}, "http", true);
    check_taken((struct content){.record = "http", .delivered = true}, "http", false);
    check_taken((struct content){.record = "noop"}, "http", false);  /* nothing was */
    check_taken((struct content){.delivered = true}, "http", false); /* nobody knows by whom */
}

TEST(the_operator_is_told_what_to_do)
{
    struct content c = {.record = "http", .pending = true};
    struct store *s = open_fake(&c);
    struct kept_for k;
    struct fault fault = {0};

    ck_assert_int_eq(kept_for_check(s, names, "noop", &k, &fault), ERR_OK);
    ck_assert_str_eq(k.why, "[sink] type is noop, but the documents of this store are kept for "
                            "http: all wait, none is confirmed");
    ck_assert_str_eq(k.next,
                     "set [sink] type = http to deliver them, give noop a [store] dir of its "
                     "own, or say convex_sidecar adopt: what waits is confirmed to noop then");
    store_close(s);
    fake_store_wipe();
}

TEST(any_call_may_fail_and_leaves_the_store_as_it_was)
{
    for (unsigned long n = 1;; n++) {
        struct content c = {.record = "noop", .delivered = true};
        struct store *s = open_fake(&c);
        struct kept_for k;
        struct fault fault = {0};

        fake_store_fail_at(n, 1);
        enum err e = kept_for_check(s, names, "http", &k, &fault);
        bool has_failed = fake_store_has_failed();
        fake_store_fail_at(0, 0);
        ck_assert_int_eq(e, has_failed ? ERR_STORE : ERR_OK);
        if (has_failed)
            ck_assert_str_eq(fault.why, "No space left on device");
        check_record(s, has_failed ? "noop" : "http");
        store_close(s);
        fake_store_wipe();
        if (!has_failed)
            return;
    }
}
