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
        ck_assert_slice(value, "convex-sidecar outbox 1");
        ck_assert_int_eq(store_get(s, STORE_META, slice_str("counters"), &value), ERR_OK);
        ck_assert_int_eq(record_get_counters(value, &c, &fault), ERR_OK);
        ck_assert_uint_eq(c.next_no, 1);
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
        {"convex-sidecar outbox 2", "newer"},
        {"convex-sidecar outbox 999999999", "newer"},
        {"convex-sidecar outbox 9999999999", "not a store"},
        {"convex-sidecar outbox ", "not a store"},
        {"convex-sidecar outbox 1x", "not a store"},
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

    put(s, STORE_DEAD, slice_str("id"), slice_str("x"));
    check_refused(s, "no format");
    close_fake(s);

    s = open_fake();
    put(s, STORE_META, slice_str("format"), slice_str("convex-sidecar outbox 1"));
    check_refused(s, "missing");
    put(s, STORE_META, slice_str("counters"), slice_str("?"));
    check_refused(s, "damaged");
    close_fake(s);

    s = open_fake();
    ck_assert_int_eq(format_check(s, &fault), ERR_OK);
    put(s, STORE_PENDING, slice_of(&no, sizeof no), slice_str("x"));
    check_refused(s, "behind");
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

/* ---- migration, of a store of this format to one that is not there yet ---- */

static unsigned steps_run;

/* Format 1 -> 2, as it might be: every checkpoint gets a byte more, and meta a record. */
static enum err lengthen(struct store *s)
{
    char id[STORE_MAX_KEY], longer[512];
    struct slice at = slice_of("", 0), key, value;
    enum err e = store_put(s, STORE_META, slice_str("made-by-step"), slice_str("2"));

    steps_run++;
    while (e == ERR_OK) {
        e = store_seek(s, STORE_CHECKPOINTS, at, at.len > 0, &key, &value);
        if (e != ERR_OK)
            break;
        memcpy(id, key.data, key.len);
        memcpy(longer, value.data, value.len);
        longer[value.len] = '+';
        at = slice_of(id, key.len);
        e = store_put(s, STORE_CHECKPOINTS, at, slice_of(longer, value.len + 1));
    }
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static enum err nothing(struct store *s)
{
    (void)s;
    steps_run++;
    return ERR_OK;
}

static format_step *const next_steps[] = {NULL, lengthen, nothing};

static void make_format_1(struct store *s)
{
    struct fault fault;

    ck_assert_int_eq(format_check(s, &fault), ERR_OK);
    put(s, STORE_CHECKPOINTS, slice_str("a"), slice_str("one"));
    put(s, STORE_CHECKPOINTS, slice_str("b"), slice_str("two"));
}

static void check_value(struct store *s, enum store_table t, const char *key, const char *text)
{
    struct slice value;

    ck_assert_int_eq(store_begin(s), ERR_OK);
    enum err e = store_get(s, t, slice_str(key), &value);
    if (text == NULL) {
        ck_assert_int_eq(e, ERR_NOT_FOUND);
    } else {
        ck_assert_int_eq(e, ERR_OK);
        ck_assert_slice(value, text);
    }
    store_abort(s);
}

TEST(an_older_store_goes_through_its_steps_once)
{
    struct store *s = open_fake();
    struct fault fault = {0};

    make_format_1(s);
    steps_run = 0;
    for (int again = 0; again < 2; again++) {
        ck_assert_int_eq(format_migrate(s, next_steps, 3, &fault), ERR_OK);
        ck_assert_uint_eq(steps_run, 2);
        check_value(s, STORE_META, "format", "convex-sidecar outbox 3");
        check_value(s, STORE_CHECKPOINTS, "a", "one+");
        check_value(s, STORE_CHECKPOINTS, "b", "two+");
    }
    check_refused(s,
                  "format 3 is of a newer sidecar; this one knows up to 1: run the newer one, or "
                  "\"convex_sidecar store migrate --to 1\" with it");
    check_value(s, STORE_CHECKPOINTS, "a", "one+");
    close_fake(s);
}

TEST(a_migration_that_fails_leaves_the_old_store)
{
    for (unsigned long n = 1;; n++) {
        struct store *s = open_fake();
        struct fault fault = {0};

        make_format_1(s);
        fake_store_fail_at(n, 1);
        enum err e = format_migrate(s, next_steps, 3, &fault);
        bool has_failed = fake_store_has_failed();
        fake_store_fail_at(0, 0);
        ck_assert_int_eq(e, has_failed ? ERR_STORE : ERR_OK);
        check_value(s, STORE_META, "format",
                    has_failed ? "convex-sidecar outbox 1" : "convex-sidecar outbox 3");
        check_value(s, STORE_META, "made-by-step", has_failed ? NULL : "2");
        check_value(s, STORE_CHECKPOINTS, "b", has_failed ? "two" : "two+");
        ck_assert_int_eq(format_migrate(s, next_steps, 3, &fault), ERR_OK);
        close_fake(s);
        if (!has_failed)
            return;
    }
}
