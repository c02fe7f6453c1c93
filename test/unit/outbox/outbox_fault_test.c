/*
 * outbox_fault_test.c - the outbox on a store that fails: the n-th call, for every n.
 *
 * The same work is done again and again, each time with a later call failing, until none fails.
 * Who is refused tries again, as callers do; at the end everything must be as if nothing had been.
 */

#include "outbox/outbox.h"
#include "ground/metrics.h"

#include "test.h"
#include "ground/fake_log.c"
#include "store/fake_store.c"
#include "outbox/outbox_kit.h"

#include <limits.h>

/* The callers' side of the bargain: ERR_STORE says why, promises nothing, and may be tried again.
 */
static void insist(struct outbox *o, struct op *op)
{
    for (int tries = 0; kit_do(o, op) != ERR_OK; tries++) {
        ck_assert_int_lt(tries, 20);
        ck_assert_int_eq(op->e, ERR_STORE);
        ck_assert_str_eq(op->why, "No space left on device");
    }
}

static void insist_put(struct outbox *o, const char *id, int64_t seq)
{
    struct op op = {.fn = fn_put, .id = id, .seq = seq, .fold = "fold"};

    insist(o, &op);
}

static void insist_simple(struct outbox *o, enum err (*fn)(struct op *, struct round *),
                          const char *id)
{
    struct op op = {.fn = fn, .id = id};

    insist(o, &op);
}

static struct outbox *insist_open(void)
{
    struct outbox *o = NULL;
    struct fault fault = {0};

    for (int tries = 0; kit_open("fake", 1 << 20, 3, &o, &fault) != ERR_OK; tries++) {
        ck_assert_int_lt(tries, 3);
        ck_assert_str_ne(fault.why, "");
    }
    return o;
}

static bool is_there(struct outbox *o, enum err (*fn)(struct op *, struct round *), const char *id)
{
    struct op op = {.fn = fn, .id = id};
    enum err e;

    while ((e = kit_do(o, &op)) == ERR_STORE)
        continue;
    return e == ERR_OK;
}

/* Put, replace, deliver, refuse, retry, clear, hold; then look at everything. */
static void do_all(void)
{
    struct outbox *o = insist_open();
    struct op hold = {.fn = fn_put_and_hold, .id = "c", .seq = 1, .until_us = INT64_MAX};

    insist_put(o, "a", 1);
    insist_put(o, "b", 1);
    insist_put(o, "a", 2);
    kit_done(o, "a");
    kit_dead(o, "b", "refused");
    do {
        ck_assert_int_eq(kit_submit(o, &hold), ERR_OK);
        is_there(o, fn_look, "x"); /* a round later it is held, or refused */
    } while (kit_is_settled(&hold));
    kit_done(o, "c");
    ck_assert_int_eq(kit_wait(&hold), ERR_OK);
    insist_put(o, "c", 2); /* ahead of its checkpoint */
    insist_put(o, "c", 3);
    while (do_simple(o, fn_retry, "b") == ERR_STORE)
        continue; /* it may have been done when the store said it was not */
    insist_put(o, "b", 3);
    insist_simple(o, fn_clear, "a");
    insist_simple(o, fn_look, "a");
    outbox_close(o);

    o = insist_open();
    struct op a = {.fn = fn_look, .id = "a"}, b = {.fn = fn_look, .id = "b"},
              c = {.fn = fn_look, .id = "c"};
    insist(o, &a);
    insist(o, &b);
    insist(o, &c);
    ck_assert(c.cp.has_pending && c.cp.pending.seq == 3 && c.cp.delivered.seq == 1);
    ck_assert(!c.cp.pending.reset); /* nothing was believed lost meanwhile */
    ck_assert_str_eq(c.fold_found, "fold");
    ck_assert(a.cp.has_pending && a.cp.pending.op == OUTBOX_REMOVE && !a.cp.has_delivered);
    ck_assert(b.cp.has_pending && b.cp.pending.seq == 3 && b.cp.is_dead);
    ck_assert_str_eq(b.fold_found, "fold");
    ck_assert_uint_eq(kit_count_pending(o), 3);
    kit_done(o, "a");
    kit_done(o, "b");
    kit_done(o, "c");
    ck_assert_uint_eq(kit_count_pending(o), 0);
    insist(o, &b);
    ck_assert(!b.cp.is_dead);
    outbox_close(o);
}

static void fail_each_call(unsigned long in_a_row, bool lies, unsigned long stride)
{
    for (unsigned long n = 1;; n += stride) {
        fake_commit_lies = lies;
        fake_store_fail_at(n, in_a_row);
        do_all();
        bool all_passed = !fake_store_has_failed();
        fake_store_wipe();
        if (all_passed)
            return;
    }
}

TEST(each_call_of_the_store_may_fail_once)
{
    fail_each_call(1, false, 1);
}

TEST(each_call_of_the_store_may_fail_a_few_times)
{
    fail_each_call(2, false, 7);
}

/* The disk has it, but said it has not: the caller tries again, and nothing is there twice. */
TEST(each_commit_may_fail_after_it_reached_the_disk)
{
    fail_each_call(1, true, 3);
}

TEST(a_failing_store_refuses_with_the_reason_keeps_verdicts_and_recovers)
{
    struct outbox *o = insist_open();
    struct op ops[3] = {{.in = {0}}};

    insist_put(o, "a", 1);
    struct settlement *s = kit_send(o, "a");
    for (int level = LOG_ERROR; level <= LOG_DEBUG; level++)
        atomic_store(&fake_log_lines[level], 0);
    fake_store_fail_at(1, ULONG_MAX);
    uint64_t ticket = outbox_settle(o, s);
    for (int i = 0; i < 3; i++) {
        ops[i] = (struct op){.fn = fn_put, .id = "b", .seq = i + 1};
        ck_assert_int_eq(kit_do(o, &ops[i]), ERR_STORE);
        ck_assert_str_eq(ops[i].why, "No space left on device");
    }
    ck_assert_uint_eq(metric_get(METRIC_STORE_OK), 0);
    ck_assert_int_eq(atomic_load(&fake_log_lines[LOG_ERROR]), 1);
    ck_assert(!outbox_is_settled(o, ticket));
    int works = atomic_load(&kit_works);
    fake_store_fail_at(0, 0);
    while (!outbox_is_settled(o, ticket)) /* by itself */
        usleep(1000);
    ck_assert_uint_eq(metric_get(METRIC_STORE_OK), 1);
    ck_assert_int_eq(atomic_load(&fake_log_lines[LOG_INFO]), 1);
    ck_assert(do_look(o, "a").has_delivered);
    ck_assert_int_gt(atomic_load(&kit_works), works);
    ck_assert(!is_there(o, fn_look, "b")); /* nothing was kept of what was refused */
    outbox_close(o);
    fake_store_wipe();
}

TEST(an_outbox_can_be_closed_while_the_store_fails)
{
    struct outbox *o = insist_open();
    struct op put = {.fn = fn_put, .id = "b", .seq = 1};

    insist_put(o, "a", 1);
    struct settlement *s = kit_send(o, "a");
    fake_store_fail_at(1, ULONG_MAX);
    outbox_settle(o, s);
    ck_assert_int_eq(kit_submit(o, &put), ERR_OK);
    outbox_close(o);
    ck_assert_int_eq(kit_wait(&put), ERR_STORE);
    fake_store_fail_at(0, 0);
    o = insist_open();
    ck_assert(do_look(o, "a").has_pending); /* it is sent again: E4 leads back to E2 */
    outbox_close(o);
    fake_store_wipe();
}
