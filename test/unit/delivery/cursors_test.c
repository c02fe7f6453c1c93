/* cursors_test.c - in which order pending documents are met. */

#include "test.h"

#include "delivery/cursors.h"

#define SECOND INT64_C(1000000)
#define NOW    (100 * SECOND)

/* Pending in the live lane: document i was kept at kept_at_us[i]. */
static int64_t kept_at_us[10000];
static uint64_t count;

bool outbox_next_no(struct outbox_reader *r, uint64_t after, struct pending *p)
{
    uint64_t i = after < LANE_LIVE ? 0 : after - LANE_LIVE;

    (void)r;
    if (i >= count)
        return false;
    *p = (struct pending){.no = LANE_LIVE + i + 1, .kept_at_us = kept_at_us[i]};
    return true;
}

uint64_t outbox_last(struct outbox_reader *r)
{
    (void)r;
    return count > 0 ? LANE_LIVE + count : 0;
}

static void keep(uint64_t more, int64_t at_us)
{
    for (; more > 0; more--)
        kept_at_us[count++] = at_us;
}

/* The place in the lane, from 0; -1: there is none. */
static int next(struct cursors *c, enum cursor which)
{
    struct pending p;

    return cursors_next(c, which, NOW, &p) ? (int)(p.no - LANE_LIVE) - 1 : -1;
}

static struct cursors open_cursors(uint64_t soon)
{
    struct cursors c;

    count = 0;
    cursors_init(&c, NULL);
    c.soon = soon;
    return c;
}

TEST(fresh_leaps_over_a_backlog_and_old_has_it)
{
    struct cursors c = open_cursors(50);

    keep(100, NOW - 5 * SECOND);
    ck_assert_int_eq(next(&c, CURSOR_FRESH), 0); /* old's, for want of something fresh */
    keep(1, NOW);
    ck_assert_int_eq(next(&c, CURSOR_FRESH), 100);
    for (int i = 1; i <= 100; i++)
        ck_assert_int_eq(next(&c, CURSOR_OLD), i); /* the last for the second time */
    ck_assert_int_eq(next(&c, CURSOR_OLD), -1);
    ck_assert_int_eq(next(&c, CURSOR_FRESH), -1);
}

/* All calls took more than a second: those who came meanwhile must not wait for the backlog. */
TEST(after_a_stall_fresh_goes_on_where_it_was)
{
    struct cursors c = open_cursors(50);

    keep(100, NOW - 50 * SECOND);
    ck_assert_int_eq(next(&c, CURSOR_FRESH), 0);
    keep(40, NOW - 2 * SECOND);
    keep(5, NOW);
    for (int i = 100; i < 145; i++)
        ck_assert_int_eq(next(&c, CURSOR_FRESH), i);
    ck_assert_int_eq(next(&c, CURSOR_OLD), 1);
}

TEST(more_than_is_sent_soon_is_leapt_over)
{
    struct cursors c = open_cursors(50);

    keep(1, NOW);
    ck_assert_int_eq(next(&c, CURSOR_FRESH), 0);
    keep(51, NOW - 2 * SECOND);
    ck_assert_int_eq(next(&c, CURSOR_FRESH), 1); /* old's */
    keep(1, NOW);
    ck_assert_int_eq(next(&c, CURSOR_FRESH), 52);
}
