/* confirmed_test.c - how long documents took to be confirmed, by two clocks. */

#include "outbox/confirmed.h"

#include "ground/buf.h"
#include "ground/metrics.h"
#include "outbox/round_inside.h"
#include "projection/fold.h"
#include "test.h"

#define SECOND 1000000

static uint64_t total(const struct metric_pile *p)
{
    uint64_t sum = 0;
    for (size_t i = 0; i <= METRIC_BUCKET_COUNT; i++)
        sum += p->count[i];
    return sum;
}

/* 2026-02-19T20:00:00Z */
#define APPENDED (1771531200LL * SECOND)

/* What is noted of a document kept at ${kept_us}, with ${event_at} as JSON, confirmed at ${now_us}.
 */
static void note(struct round_tally *t, const char *event_at, int64_t kept_us, int64_t now_us)
{
    const struct fold f = {.seq = 1,
                           .event_count = 1,
                           .type_json = slice_str("\"t\""),
                           .inserted_at_json = slice_str(event_at)};
    struct checkpoint_record c = {.pending_kept_at_us = kept_us, .cp.pending.op = OUTBOX_UPSERT};
    struct buf fold = {0};

    fold_put(&fold, &f);
    c.cp.fold = buf_view(&fold);
    confirmed_note(t, &c, now_us);
    buf_free(&fold);
}

TEST(both_times_end_with_the_confirmation)
{
    struct round_tally t = {0};

    note(&t, "\"2026-02-19T20:00:00.000000Z\"", APPENDED + SECOND, APPENDED + 3 * SECOND);
    ck_assert_uint_eq(t.confirmed, 1);
    ck_assert_uint_eq(t.confirmed_early, 0);
    ck_assert_uint_eq(t.kept_to_confirmed.sum_us, 2 * SECOND);
    ck_assert_uint_eq(t.append_to_confirmed.sum_us, 3 * SECOND);
    ck_assert_uint_eq(total(&t.append_to_confirmed), 1);
}

TEST(a_clock_that_is_ahead_is_counted_apart)
{
    struct round_tally t = {0};

    note(&t, "\"2026-02-19T20:00:00.000000Z\"", APPENDED - 2 * SECOND, APPENDED - SECOND);
    ck_assert_uint_eq(t.confirmed_early, 1);
    ck_assert_uint_eq(total(&t.append_to_confirmed), 0);
    ck_assert_uint_eq(total(&t.kept_to_confirmed), 1);
}

TEST(an_event_without_a_time_has_one_time_only)
{
    static const char *const odd[] = {"null", "\"\"", "\"yesterday\"", "5"};

    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        struct round_tally t = {0};
        note(&t, odd[i], APPENDED, APPENDED + SECOND);
        ck_assert_uint_eq(total(&t.append_to_confirmed), 0);
        ck_assert_uint_eq(total(&t.kept_to_confirmed), 1);
    }
    struct round_tally t = {0};
    const struct checkpoint_record removal = {.pending_kept_at_us = APPENDED,
                                              .cp.pending.op = OUTBOX_REMOVE};
    confirmed_note(&t, &removal, APPENDED + 1);
    ck_assert_uint_eq(total(&t.kept_to_confirmed), 1);
}

TEST(what_is_committed_is_counted)
{
    struct round_tally t = {0};
    struct metric_pile before, after;

    metric_pile_get(HISTOGRAM_KEPT_TO_CONFIRMED, &before);
    confirmed_count(&t, 7 * SECOND); /* nothing was confirmed */
    ck_assert_uint_eq(metric_get(METRIC_LAST_CONFIRMED), 0);
    note(&t, "null", APPENDED, APPENDED + SECOND);
    confirmed_count(&t, 7 * SECOND);
    metric_pile_get(HISTOGRAM_KEPT_TO_CONFIRMED, &after);
    ck_assert_uint_eq(total(&after) - total(&before), 1);
    ck_assert_uint_eq(metric_get(METRIC_LAST_CONFIRMED), 7);

    /* One more, whose event was appended 3 s before, and one after that by another clock. */
    uint64_t early = metric_get(METRIC_CONFIRMED_EARLY);
    t = (struct round_tally){0};
    metric_pile_get(HISTOGRAM_APPEND_TO_CONFIRMED, &before);
    note(&t, "\"2026-02-19T20:00:00.000000Z\"", APPENDED + SECOND, APPENDED + 3 * SECOND);
    note(&t, "\"2026-02-19T20:00:00.000000Z\"", APPENDED - 2 * SECOND, APPENDED - SECOND);
    confirmed_count(&t, 8 * SECOND);
    metric_pile_get(HISTOGRAM_APPEND_TO_CONFIRMED, &after);
    ck_assert_uint_eq(total(&after) - total(&before), 1);
    ck_assert_uint_eq(after.sum_us - before.sum_us, 3 * SECOND);
    ck_assert_uint_eq(metric_get(METRIC_CONFIRMED_EARLY), early + 1);
}
