/* format_test.c - which stores are taken, and what an empty one becomes. */

#include "store/format.h"
#include "store/record.h"

#include "test.h"
#include "store/fake_store.c"

static struct store *open_fake(void)
{
    struct store *s = NULL;
    struct fault fault;

    ck_assert_int_eq(store_open("fake", 0, &s, &fault), ERR_OK);
    return s;
}

static void close_fake(struct store *s)
{
    store_close(s);
    fake_store_wipe();
}

static void put(struct store *s, enum store_table t, struct slice key, struct slice value)
{
    ck_assert_int_eq(store_begin(s), ERR_OK);
    ck_assert_int_eq(store_put(s, t, key, value), ERR_OK);
    ck_assert_int_eq(store_commit(s), ERR_OK);
}

static void check_refused(struct store *s, const char *part)
{
    struct fault fault = {0};

    ck_assert_int_eq(format_check(s, &fault), ERR_STORE);
    ck_assert_msg(strstr(fault.why, part) != NULL, "\"%s\" is not in \"%s\"", part, fault.why);
}

TEST(an_empty_store_gets_its_first_records)
{
    struct store *s = open_fake();
    struct fault fault;
    struct slice value;
    struct counters c;

    for (int again = 0; again < 2; again++) {
        ck_assert_int_eq(format_check(s, &fault), ERR_OK);
        ck_assert_int_eq(store_begin(s), ERR_OK);
        ck_assert_int_eq(store_get(s, STORE_META, slice_str("format"), &value), ERR_OK);
        ck_assert_slice(value, "convex-sidecar outbox 2");
        ck_assert_int_eq(store_get(s, STORE_META, slice_str("counters"), &value), ERR_OK);
        ck_assert_int_eq(record_get_counters(value, &c, &fault), ERR_OK);
        ck_assert_uint_eq(c.next_no, 1);
        ck_assert_uint_eq(c.next_document, 1);
        ck_assert_uint_eq(c.next_revision, 1);
        store_abort(s);
    }
    close_fake(s);
}

TEST(newer_and_foreign_stores_are_refused)
{
    static const struct {
        const char *format, *part;
    } cases[] = {
        {"convex-sidecar outbox 3", "newer"},
        {"convex-sidecar outbox 999999999", "newer"},
        {"convex-sidecar outbox 1", "store migrate"},
        {"convex-sidecar outbox 9999999999", "not a store"},
        {"convex-sidecar outbox ", "not a store"},
        {"convex-sidecar outbox 2x", "not a store"},
        {"something else altogether 1", "not a store"},
        {"", "not a store"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct store *s = open_fake();
        put(s, STORE_META, slice_str("format"), slice_str(cases[i].format));
        check_refused(s, cases[i].part);
        close_fake(s);
    }
}

TEST(records_that_contradict_each_other_are_refused)
{
    struct fault fault;
    uint64_t no = 1;
    struct store *s = open_fake();

    put(s, STORE_DEAD, slice_of(&no, sizeof no), slice_str("x"));
    check_refused(s, "no format");
    close_fake(s);

    s = open_fake();
    put(s, STORE_META, slice_str("format"), slice_str("convex-sidecar outbox 2"));
    check_refused(s, "missing");
    put(s, STORE_META, slice_str("counters"), slice_str("?"));
    check_refused(s, "damaged");
    close_fake(s);

    s = open_fake();
    ck_assert_int_eq(format_check(s, &fault), ERR_OK);
    put(s, STORE_PENDING, slice_of(&no, sizeof no), slice_str("x"));
    check_refused(s, "behind what is pending");
    close_fake(s);

    no |= LANE_LIVE;
    s = open_fake();
    ck_assert_int_eq(format_check(s, &fault), ERR_OK);
    put(s, STORE_PENDING, slice_of(&no, sizeof no), slice_str("x"));
    check_refused(s, "behind what is pending");
    close_fake(s);

    no = 1;
    s = open_fake();
    ck_assert_int_eq(format_check(s, &fault), ERR_OK);
    put(s, STORE_CHECKPOINTS, slice_of(&no, sizeof no), slice_str("x"));
    check_refused(s, "behind the documents");
    close_fake(s);
}

TEST(a_damaged_destination_gets_another_store_id_and_all_is_in_doubt)
{
    struct store *s = open_fake();
    struct destination before, after;
    struct doubt doubt;
    struct fault fault = {0};
    struct buf value = {0};
    struct slice found;
    bool is_sound;

    ck_assert_int_eq(format_check(s, &fault), ERR_OK);
    ck_assert_int_eq(store_begin(s), ERR_OK);
    ck_assert_int_eq(format_destination(s, &value, &before, &is_sound), ERR_OK);
    ck_assert(is_sound && before.sink.len == 0);
    store_abort(s);
    put(s, STORE_META, slice_str("destination"), slice_str("noise"));
    for (int again = 0; again < 2; again++)
        ck_assert_int_eq(format_check(s, &fault), ERR_OK);
    ck_assert_int_eq(store_begin(s), ERR_OK);
    ck_assert_int_eq(format_destination(s, &value, &after, &is_sound), ERR_OK);
    ck_assert(is_sound && memcmp(before.store_id, after.store_id, 16) != 0);
    ck_assert_int_eq(store_get(s, STORE_META, slice_str("doubt"), &found), ERR_OK);
    ck_assert_int_eq(record_get_doubt(found, &doubt, &fault), ERR_OK);
    ck_assert(doubt.from == 0 && doubt.to == UINT64_MAX);
    buf_free(&value);
    close_fake(s);
}

TEST(any_call_may_fail_and_leaves_the_store_as_it_was)
{
    for (unsigned long n = 1;; n++) {
        struct store *s = open_fake();
        struct fault fault = {0};

        fake_store_fail_at(n, 1);
        enum err e = format_check(s, &fault);
        bool has_failed = fake_store_has_failed();
        ck_assert_int_eq(e, has_failed ? ERR_STORE : ERR_OK);
        if (has_failed)
            ck_assert_str_eq(fault.why, "No space left on device");
        fake_store_fail_at(0, 0);
        ck_assert_int_eq(format_check(s, &fault), ERR_OK);
        close_fake(s);
        if (!has_failed)
            return;
    }
}
