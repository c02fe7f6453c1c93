/* verdicts_test.c - how long verdicts wait for company. */

#include "outbox/verdicts.h"

#include "store/kept.h"

#include "test.h"

static struct settlement *verdict(uint64_t document)
{
    const struct pending p = {.document = document, .no = document, .id = slice_str("d")};

    return settlement_new(&p);
}

static bool add(struct verdicts *v, uint64_t document, int64_t now_us)
{
    uint64_t ticket;

    return verdicts_add(v, verdict(document), now_us, 7, &ticket);
}

static void let_go(const struct verdicts_taken *t)
{
    for (struct settlement *s = t->first, *next; s != NULL; s = next) {
        next = s->next;
        settlement_free(s);
    }
}

TEST(verdicts_wait_for_company_but_not_for_ever)
{
    struct verdicts *v = verdicts_new();

    ck_assert_int_eq(verdicts_due_us(v), INT64_MAX);
    ck_assert(add(v, 1, 1000)); /* the first one: the thread has to know when */
    ck_assert(!add(v, 2, 2000));
    ck_assert_int_eq(verdicts_due_us(v), 101000);
    verdicts_want(v, VERDICTS_ALL, 10);
    ck_assert_int_eq(verdicts_due_us(v), 101000);
    verdicts_want(v, VERDICTS_EACH, 10);
    ck_assert_int_eq(verdicts_due_us(v), 0);
    verdicts_free(v);
}

TEST(many_are_due_at_once)
{
    struct verdicts *v = verdicts_new();
    int called = 0;

    for (uint64_t i = 1; i <= 5000; i++)
        called += add(v, i, 1000);
    ck_assert_int_eq(called, 2);
    ck_assert_int_eq(verdicts_due_us(v), 0);
    verdicts_free(v);
}

/* A flush is over with the last verdict. */
TEST(all_that_is_pending_is_due_at_once_for_a_flush)
{
    struct verdicts *v = verdicts_new();

    verdicts_want(v, VERDICTS_ALL, 2);
    ck_assert(add(v, 1, 1000));
    ck_assert_int_eq(verdicts_due_us(v), 101000);
    ck_assert(add(v, 2, 1000));
    ck_assert_int_eq(verdicts_due_us(v), 0);
    verdicts_free(v);
}

TEST(a_refusal_is_not_kept_from_people)
{
    struct verdicts *v = verdicts_new();
    struct settlement *bad = verdict(2);
    uint64_t ticket;

    ck_assert(add(v, 1, 1000));
    bad->dead = true;
    ck_assert(verdicts_add(v, bad, 5000, 7, &ticket));
    ck_assert_int_eq(verdicts_due_us(v), 15000);
    ck_assert_int_eq(bad->answered_us, 7);
    verdicts_free(v);
}

TEST(a_ticket_is_done_when_its_round_is_committed)
{
    struct verdicts *v = verdicts_new();
    uint64_t first, second;

    ck_assert(verdicts_add(v, verdict(1), 1000, 7, &first));
    struct verdicts_taken t = verdicts_take(v);
    ck_assert(verdicts_add(v, verdict(2), 2000, 7, &second));
    ck_assert(!verdicts_is_done(v, first));
    verdicts_done(v, &t);
    ck_assert(verdicts_is_done(v, first) && !verdicts_is_done(v, second));
    const struct verdicts_taken none = {0};
    verdicts_done(v, &none); /* a round without verdicts */
    ck_assert(verdicts_is_done(v, first));
    let_go(&t);
    verdicts_free(v);
}

/* What could not be written comes first the next time, and is known of meanwhile. */
TEST(verdicts_of_a_failed_round_are_queued_again)
{
    struct verdicts *v = verdicts_new();

    ck_assert(add(v, 1, 1000));
    ck_assert(verdicts_has(v, 1) && !verdicts_has(v, 2));
    struct verdicts_taken t = verdicts_take(v);
    ck_assert(!verdicts_has(v, 1));
    ck_assert(add(v, 2, 2000));
    verdicts_give_back(v, &t);
    ck_assert(verdicts_has(v, 1) && verdicts_has(v, 2));
    t = verdicts_take(v);
    ck_assert_uint_eq(t.first->document, 1);
    ck_assert_uint_eq(t.first->next->document, 2);
    ck_assert_ptr_eq(t.first->next, t.last);
    let_go(&t);
    verdicts_free(v);
}
