/* scope_test.c - the machine of the endpoint and of kinds. */

#include "test.h"

#include "delivery/scope.h"

static const struct scope_options options = {
    .backoff = {.max_limit = 4, .backoff_min_ms = 100, .backoff_max_ms = 1000}, .probe_ms = 30000};
static uint64_t seed = 1;

static bool failed(struct scope *s, uint64_t ordinal, uint64_t heard, enum verdict_kind kind,
                   bool another)
{
    struct verdict v = {.kind = kind, .why = "scripted"};
    struct scope_fault f = {
        .ordinal = ordinal, .heard = heard, .verdict = &v, .is_another = another, .is_proof = true};

    return scope_failed(s, &f, &options, &seed, 1000000);
}

TEST(one_document_that_fails_again_and_again_casts_no_doubt)
{
    struct scope s = {0};

    for (uint64_t i = 1; i < 50; i++) {
        ck_assert(!failed(&s, i, i, VERDICT_REFUSED, false));
        ck_assert_int_eq(s.state, SCOPE_RUNNING);
    }
}

TEST(another_one_does_and_an_acceptance_of_any_age_ends_it)
{
    struct scope s = {0};

    failed(&s, 5, 6, VERDICT_UNKNOWN, false);
    failed(&s, 6, 6, VERDICT_UNKNOWN, true);
    ck_assert_int_eq(s.state, SCOPE_DOUBTED);
    ck_assert(scope_may_try(&s, 1000000, false)); /* a clean one at once */
    ck_assert(!scope_may_try(&s, 1000000, true)); /* one that failed by back-off */
    ck_assert(!scope_accepted(&s, 4));
    ck_assert_int_eq(s.state, SCOPE_RUNNING);
}

static void doubt_and_try(struct scope *s)
{
    failed(s, 5, 6, VERDICT_REFUSED, false);
    failed(s, 6, 6, VERDICT_REFUSED, true);
    scope_try(s, 7);
}

TEST(a_trial_that_is_refused_stops_and_only_what_was_sent_later_makes_well)
{
    struct scope s = {0};

    doubt_and_try(&s);
    ck_assert(!scope_may_try(&s, INT64_MAX, false)); /* one at a time */
    ck_assert(failed(&s, 7, 9, VERDICT_REFUSED, true));
    ck_assert_int_eq(s.state, SCOPE_STOPPED);
    ck_assert_str_eq(s.why, "scripted");
    ck_assert_int_eq(s.until_us, 1100000);
    ck_assert(!scope_accepted(&s, 9)); /* sent before it was proven */
    ck_assert_int_eq(s.state, SCOPE_STOPPED);
    ck_assert(scope_accepted(&s, 10));
    ck_assert_int_eq(s.state, SCOPE_RUNNING);
    ck_assert_str_eq(s.why, "");
    ck_assert(!failed(&s, 8, 11, VERDICT_REFUSED, true)); /* an old one: not again */
    ck_assert_int_eq(s.state, SCOPE_RUNNING);
}

TEST(stopped_waits_double_to_their_bound)
{
    struct scope s = {0};

    doubt_and_try(&s);
    failed(&s, 7, 9, VERDICT_REFUSED, true);
    for (uint64_t i = 1; i <= 10; i++) {
        int64_t want_us = i < 9 ? (100000LL << i) : 30000000;
        scope_try(&s, 9 + i);
        ck_assert(failed(&s, 9 + i, 9 + i, VERDICT_REFUSED, true));
        ck_assert_int_eq(s.until_us, 1000000 + want_us);
    }
    scope_try_now(&s, 500);
    ck_assert(scope_may_try(&s, 500, true));
}

TEST(by_nature_one_answer_is_enough_and_together_they_count_once)
{
    struct scope s = {0};
    struct verdict v = {.kind = VERDICT_AGAIN, .is_endpoints = true, .after_ms = 7000};
    struct scope_fault f = {.ordinal = 3, .heard = 8, .verdict = &v};

    ck_assert(scope_failed(&s, &f, &options, &seed, 0));
    ck_assert_int_eq(s.state, SCOPE_WAITING);
    ck_assert_int_eq(s.until_us, 7000000);
    for (f.ordinal = 4; f.ordinal <= 8; f.ordinal++)
        ck_assert(!scope_failed(&s, &f, &options, &seed, 100));
    ck_assert_uint_eq(s.failures, 1);
}

TEST(no_wait_that_is_asked_for_is_longer_than_ten_minutes)
{
    struct verdict v = {.kind = VERDICT_AGAIN, .is_endpoints = true, .after_ms = 86400000};
    struct scope_fault f = {.ordinal = 3, .heard = 8, .verdict = &v};
    struct scope s = {0};

    ck_assert(scope_failed(&s, &f, &options, &seed, 0));
    ck_assert_int_eq(s.until_us, 600000000);
    v.after_ms = INT64_MAX / 1000; /* and so of an answer that says nothing else any more */
    f.ordinal = 4;
    ck_assert(!scope_failed(&s, &f, &options, &seed, 100));
    ck_assert_int_eq(s.until_us, 100 + 1000LL * SCOPE_MAX_AFTER_MS);
    scope_try_now(&s, 200); /* resume */
    ck_assert(scope_may_try(&s, 200, true));
}

TEST(an_overdue_trial_lets_another_go_later)
{
    struct scope s = {0};

    doubt_and_try(&s);
    scope_give_up(&s, 6, &options, &seed, 0);
    ck_assert_uint_eq(s.trial, 7); /* another call's time */
    scope_give_up(&s, 7, &options, &seed, 0);
    ck_assert_uint_eq(s.trial, 0);
    ck_assert_int_gt(s.until_us, 0);
    ck_assert(!failed(&s, 7, 9, VERDICT_REFUSED, false)); /* it is the trial no more */
    ck_assert_int_eq(s.state, SCOPE_DOUBTED);
}
