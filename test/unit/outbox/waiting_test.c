/* waiting_test.c - who waits is settled once, for the right reason. */

#include "outbox/waiting.h"

#include "test.h"

struct held {
    struct intent in;
    int settled;
    enum err e;
    char why[64];
};

static void note(struct intent *i, enum err e, const char *why)
{
    struct held *h = (struct held *)i;

    h->settled++;
    h->e = e;
    snprintf(h->why, sizeof h->why, "%s", why);
}

static void hold(struct waiting *w, struct held *h, uint64_t no, uint64_t revision,
                 int64_t until_us)
{
    *h = (struct held){
        .in = {
            .settled = note, .held_no = no, .held_revision = revision, .held_until_us = until_us}};
    waiting_hold(w, &h->in);
}

static void check(const struct held *h, enum err e, const char *why)
{
    ck_assert_int_eq(h->settled, 1);
    ck_assert_int_eq(h->e, e);
    ck_assert_str_eq(h->why, why);
}

TEST(an_answer_settles_its_revision_and_older)
{
    struct waiting *w = waiting_new();
    struct held a, b, c, other;

    hold(w, &a, 7, 10, 1000);
    hold(w, &b, 7, 11, 1000);
    hold(w, &c, 7, 12, 1000);
    hold(w, &other, 8, 9, 1000);
    waiting_answer(w, 7, 11, ERR_OK, "");
    check(&a, ERR_OK, "");
    check(&b, ERR_OK, "");
    ck_assert_int_eq(c.settled + other.settled, 0);
    waiting_answer(w, 9, 100, ERR_OK, "");
    waiting_answer(w, 7, 12, ERR_SINK, "refused");
    check(&c, ERR_SINK, "refused");
    ck_assert_uint_eq(waiting_count(w), 1);
    waiting_drain(w);
    check(&other, ERR_DRAINING, "");
    waiting_free(w);
    waiting_free(NULL);
}

static bool has_left;

static bool has_left_now(const struct intent *i)
{
    (void)i;
    return has_left;
}

TEST(who_is_gone_leaves_its_place)
{
    struct waiting *w = waiting_new();
    struct held stays, leaves, late,
        flush = {.in = {.settled = note, .held_no = 5, .held_front = 1, .held_until_us = 3000000}};

    hold(w, &stays, 1, 1, 3000000);
    hold(w, &leaves, 1, 1, 3000000);
    leaves.in.is_gone = flush.in.is_gone = has_left_now;
    waiting_hold(w, &flush.in);
    has_left = true;
    waiting_gone(w);
    ck_assert_int_le(waiting_due_us(w), 1000000);
    waiting_expire(w, 1000000);
    check(&leaves, ERR_SINK, "timeout");
    check(&flush, ERR_SINK, "timeout");
    ck_assert_uint_eq(waiting_count(w), 1);
    ck_assert_int_eq(waiting_due_us(w), 3000000);
    /* One that left while it was on its way here. */
    late = (struct held){.in = {.settled = note,
                                .is_gone = has_left_now,
                                .held_no = 6,
                                .held_front = 1,
                                .held_until_us = 3000000}};
    waiting_hold(w, &late.in);
    ck_assert_int_lt(waiting_due_us(w), 3000000);
    waiting_expire(w, 2000000);
    check(&late, ERR_SINK, "timeout");
    waiting_drain(w);
    check(&stays, ERR_DRAINING, "");
    waiting_free(w);
}

TEST(deadlines_pass)
{
    struct waiting *w = waiting_new();
    struct held a, b,
        flush = {.in = {.settled = note, .held_no = 5, .held_front = 1, .held_until_us = 2000000}};

    ck_assert_int_eq(waiting_due_us(w), INT64_MAX);
    hold(w, &a, 1, 1, 3000000);
    hold(w, &b, 1, 1, 1000000);
    waiting_hold(w, &flush.in);
    ck_assert_int_eq(waiting_due_us(w), 1000000);
    waiting_expire(w, 999999);
    ck_assert_int_eq(b.settled, 0);
    waiting_expire(w, 1000000);
    check(&b, ERR_SINK, "timeout");
    ck_assert_int_eq(waiting_due_us(w), 2000000);
    waiting_expire(w, 2000000);
    check(&flush, ERR_SINK, "timeout");
    ck_assert_int_eq(waiting_due_us(w), 3000000);
    waiting_expire(w, 5000000);
    check(&a, ERR_SINK, "timeout");
    ck_assert_int_eq(waiting_due_us(w), INT64_MAX);
    ck_assert_uint_eq(waiting_count(w), 0);
    waiting_free(w);
}

static bool is_even(void *asked, struct intent *i)
{
    ++*(int *)asked;
    return i->held_no % 2 == 0;
}

TEST(flushes_are_marked_and_then_released)
{
    struct waiting *w = waiting_new();
    struct held f[4], written;
    int asked = 0;

    hold(w, &written, 2, 1, 1000);
    for (uint64_t i = 0; i < 4; i++) {
        f[i] = (struct held){.in = {.settled = note, .held_no = i + 1, .held_front = 1}};
        f[i].in.held_until_us = 1000;
        waiting_hold(w, &f[i].in);
    }
    waiting_mark(w, is_even, &asked);
    ck_assert_int_eq(asked, 4);
    ck_assert_int_eq(f[1].settled, 0); /* not before the commit */
    waiting_release(w);
    check(&f[1], ERR_OK, "");
    check(&f[3], ERR_OK, "");
    ck_assert_int_eq(f[0].settled + f[2].settled + written.settled, 0);
    waiting_drain(w);
    check(&f[0], ERR_DRAINING, "");
    check(&written, ERR_DRAINING, "");
    waiting_free(w);
}

TEST(thousands_may_wait)
{
    struct waiting *w = waiting_new();
    struct held *h = base_alloc(WAITING_MAX * sizeof *h);

    for (uint64_t i = 0; i < WAITING_MAX; i++)
        hold(w, &h[i], i / 3 + 1, i, (int64_t)(1000 + i % 7 * 100000));
    ck_assert_uint_eq(waiting_count(w), WAITING_MAX);
    for (uint64_t no = 1; no < 1000; no++)
        waiting_answer(w, no, WAITING_MAX, ERR_OK, "");
    for (int64_t at_us = 0; at_us < 1000000; at_us += 30000)
        waiting_expire(w, at_us);
    ck_assert_uint_eq(waiting_count(w), 0);
    for (uint64_t i = 0; i < WAITING_MAX; i++)
        check(&h[i], i / 3 + 1 < 1000 ? ERR_OK : ERR_SINK, i / 3 + 1 < 1000 ? "" : "timeout");
    free(h);
    waiting_free(w);
}
