/* outbox_test.c - each promise of outbox.h, on a real store. */

#include "outbox/outbox.h"
#include "ground/clock.h"
#include "ground/metrics.h"
#include "ground/time_text.h"
#include "outbox/waiting.h"
#include "store/crash_mark.h"
#include "store/record.h"
#include "store/store.h"

#include "test.h"
#include "beat_kit.h"
#include "temp_dir.h"
#include "store/record.h"
#include "store/store_kit.h"

#include <signal.h>
#include <sys/resource.h>

#define A "runtime/run_summary:a"
#define B "runtime/run_summary:b"

struct house {
    struct temp_dir dir;
    struct outbox *o;
};

static struct house house_open(void)
{
    struct house h = {.dir = temp_dir_make()};

    h.o = kit_outbox(h.dir.path);
    return h;
}

static void house_reopen(struct house *h)
{
    outbox_close(h->o);
    h->o = kit_outbox(h->dir.path);
}

static void house_close(struct house *h)
{
    outbox_close(h->o);
    temp_dir_remove(&h->dir);
}

static void check_decision(struct decision d, bool write, bool coalesced, enum decide_reason reason,
                           int64_t lag)
{
    ck_assert_int_eq(d.write, write);
    ck_assert_int_eq(d.coalesced, coalesced);
    ck_assert_int_eq(d.reason, reason);
    ck_assert_int_eq(d.lag_events, lag);
}

static int64_t soon_us(int64_t ms)
{
    return clock_mono_us() + ms * 1000;
}

/* ---- put ------------------------------------------------------------------ */

TEST(a_new_document_is_kept_and_can_be_read)
{
    struct house h = house_open();
    struct pending p;

    check_decision(do_put(h.o, A, 3, 1), true, false, DECIDE_NO_REASON, 3);
    struct outbox_reader *r = outbox_reader_open(h.o);
    ck_assert(outbox_next(r, 0, &p));
    ck_assert_uint_eq(p.no, LANE_LIVE | 1);
    ck_assert_slice(p.id, A);
    ck_assert_slice(p.kind, "run_summary");
    ck_assert_slice(p.json, "{" A " 3 1}");
    ck_assert_slice(p.version.version, "v1");
    ck_assert_int_eq(p.version.op, OUTBOX_UPSERT);
    ck_assert_int_eq(p.version.seq, 3);
    ck_assert_int_eq(p.version.hash[31], 1);
    ck_assert(!p.version.reset);
    ck_assert_int_gt(p.kept_at_us, 0);
    ck_assert(!outbox_next(r, 1, &p));
    ck_assert_int_eq(outbox_get(r, LANE_LIVE | 1, &p), ERR_OK);
    ck_assert_int_eq(outbox_get(r, 2, &p), ERR_NOT_FOUND);
    outbox_reader_close(r);
    outbox_reader_close(NULL);
    struct checkpoint cp = do_look(h.o, A);
    ck_assert(cp.has_pending && !cp.has_delivered && !cp.is_dead);
    ck_assert_uint_eq(lane_arrival(cp.pending_no), 1);
    ck_assert_int_gt(atomic_load(&kit_works), 0);
    house_close(&h);
    outbox_close(NULL);
}

/* Whether on_work was called, soon, as often as said since ${was}, which moves on. */
static void check_works(int *was, int more)
{
    for (int i = 0; i < 5000 && atomic_load(&kit_works) < *was + more; i++)
        usleep(1000);
    ck_assert_int_eq(atomic_load(&kit_works), *was + more);
    *was += more;
}

TEST(delivery_is_woken_by_each_round_that_brings_work_and_by_no_other)
{
    struct house h = house_open();

    do_look(h.o, A);
    int works = atomic_load(&kit_works);
    do_look(h.o, A);
    check_works(&works, 0);
    do_put(h.o, A, 1, 1);
    check_works(&works, 1);
    do_put(h.o, A, 1, 1); /* the same */
    do_look(h.o, A);
    check_works(&works, 0);
    kit_done(h.o, A); /* what is settled is looked up again */
    check_works(&works, 1);
    ck_assert_int_eq(do_simple(h.o, fn_clear, A), ERR_OK);
    check_works(&works, 1);
    kit_dead(h.o, A, "refused");
    check_works(&works, 1);
    do_look(h.o, A);
    check_works(&works, 0);
    house_close(&h);
}

TEST(the_decision_table_holds_for_pending_and_delivered)
{
    struct house h = house_open();

    for (int delivered = 0; delivered < 2; delivered++) {
        const char *id = delivered ? A : B;
        do_put(h.o, id, 5, 1);
        if (delivered)
            kit_done(h.o, id);
        check_decision(do_put(h.o, id, 4, 1), false, false, DECIDE_CHECKPOINT_AHEAD, 0);
        check_decision(do_put(h.o, id, 5, 1), false, false, DECIDE_IDEMPOTENT, 0);
        check_decision(do_put(h.o, id, 5, 2), true, !delivered, DECIDE_SUMMARY_HASH_MISMATCH, 0);
        check_decision(do_put(h.o, id, 8, 3), true, true, DECIDE_NO_REASON, 3);
    }
    ck_assert_uint_eq(kit_count_pending(h.o), 2);
    house_close(&h);
}

TEST(what_waits_counts_before_what_was_delivered)
{
    struct house h = house_open();

    do_put(h.o, A, 3, 1);
    kit_done(h.o, A);
    do_put(h.o, A, 6, 2);
    check_decision(do_put(h.o, A, 6, 2), false, false, DECIDE_IDEMPOTENT, 0);
    check_decision(do_put(h.o, A, 5, 1), false, false, DECIDE_CHECKPOINT_AHEAD, 0);
    check_decision(do_put(h.o, A, 3, 1), false, false, DECIDE_CHECKPOINT_AHEAD,
                   0); /* as delivered */
    check_decision(do_put(h.o, A, 7, 1), true, true, DECIDE_NO_REASON, 1);
    house_close(&h);
}

TEST(a_newer_version_takes_number_and_time_of_the_one_that_waits)
{
    struct house h = house_open();
    struct pending first, second;

    do_put(h.o, A, 1, 1);
    do_put(h.o, B, 1, 1);
    struct outbox_reader *r = outbox_reader_open(h.o);
    ck_assert_int_eq(outbox_get(r, LANE_LIVE | 1, &first), ERR_OK);
    uint64_t revision = first.version.revision;
    int64_t at_us = first.version.projected_at_us, kept_at_us = first.kept_at_us;
    do_put(h.o, A, 2, 2);
    ck_assert_int_eq(outbox_get(r, LANE_LIVE | 1, &second), ERR_OK); /* the view is of before */
    ck_assert_int_eq(second.version.seq, 1);
    outbox_release(r);
    ck_assert_int_eq(outbox_get(r, LANE_LIVE | 1, &second), ERR_OK);
    ck_assert_slice(second.id, A);
    ck_assert_int_eq(second.version.seq, 2);
    ck_assert_uint_gt(second.version.revision, revision);
    ck_assert_int_gt(second.version.projected_at_us, at_us);
    ck_assert_int_eq(second.kept_at_us, kept_at_us);
    outbox_reader_close(r);
    house_close(&h);
}

TEST(the_fold_is_kept_with_every_put)
{
    struct house h = house_open();
    struct op op = {.fn = fn_put, .id = A, .seq = 5, .fold = "one"};
    struct op look = {.fn = fn_look, .id = A};

    ck_assert_int_eq(kit_do(h.o, &op), ERR_OK);
    op.seq = 4; /* skipped */
    op.fold = "two";
    ck_assert_int_eq(kit_do(h.o, &op), ERR_OK);
    ck_assert(!op.decision.write);
    ck_assert_int_eq(kit_do(h.o, &look), ERR_OK);
    ck_assert_str_eq(look.fold_found, "two");
    ck_assert_str_eq(look.kind_found, "run_summary");
    house_reopen(&h);
    ck_assert_int_eq(kit_do(h.o, &look), ERR_OK);
    ck_assert_str_eq(look.fold_found, "two");
    ck_assert_int_eq(do_simple(h.o, fn_look, B), ERR_NOT_FOUND);
    house_close(&h);
}

TEST(restart_finds_everything_again)
{
    struct house h = house_open();

    do_put(h.o, A, 1, 1);
    kit_done(h.o, A);
    do_put(h.o, A, 2, 2);
    do_put(h.o, B, 7, 7);
    kit_dead(h.o, B, "refused");
    house_reopen(&h);
    struct checkpoint a = do_look(h.o, A), b = do_look(h.o, B);
    ck_assert(a.has_pending && a.has_delivered);
    ck_assert_int_eq(a.pending.seq, 2);
    ck_assert_int_eq(a.delivered.seq, 1);
    ck_assert(b.is_dead && !b.has_pending);
    ck_assert_uint_eq(kit_count_pending(h.o), 1);
    ck_assert_uint_eq(metric_get(METRIC_PENDING), 1);
    ck_assert_uint_eq(metric_get(METRIC_DEAD), 1);
    ck_assert_uint_eq(metric_get(METRIC_CHECKPOINTS), 2);
    ck_assert_uint_eq(metric_get(METRIC_STORE_OK), 1);
    ck_assert_uint_eq(outbox_pending(h.o), 1);
    ck_assert_uint_eq(outbox_checkpoints(h.o), 2);
    ck_assert(outbox_is_well(h.o));
    /* What changes nothing is not committed. */
    uint64_t commits = metric_get(METRIC_COMMITS);
    ck_assert(!do_put(h.o, A, 2, 2).write);
    ck_assert_uint_eq(metric_get(METRIC_COMMITS), commits);
    do_put(h.o, B, 8, 8); /* numbers go on */
    ck_assert_uint_eq(metric_get(METRIC_COMMITS), commits + 1);
    ck_assert_uint_eq(outbox_pending(h.o), 2);
    ck_assert_uint_eq(lane_arrival(do_look(h.o, B).pending_no), 4);
    house_close(&h);
}

static uint64_t count_observed(enum metric_histogram h)
{
    struct metric_pile p;
    uint64_t n = 0;

    metric_pile_get(h, &p);
    for (size_t i = 0; i <= METRIC_BUCKET_COUNT; i++)
        n += p.count[i];
    return n;
}

TEST(the_store_s_own_metrics)
{
    struct house h = house_open();

    do_look(h.o, A);
    uint64_t commits = metric_get(METRIC_COMMITS), timed = count_observed(HISTOGRAM_COMMIT_TIME);
    do_put(h.o, A, 1, 1);
    do_put(h.o, B, 1, 1);
    do_look(h.o, A);
    ck_assert_uint_eq(metric_get(METRIC_COMMITS), commits + 2);
    ck_assert_uint_eq(count_observed(HISTOGRAM_COMMIT_TIME), timed + 2);
    ck_assert_uint_eq(metric_get(METRIC_STORE_LIMIT_BYTES), 1 << 20);
    for (int i = 0; i < 10000 && metric_get(METRIC_OLDEST_PENDING_SECONDS) != 1; i++)
        usleep(1000);
    ck_assert_uint_eq(metric_get(METRIC_OLDEST_PENDING_SECONDS), 1);
    kit_done(h.o, A);
    kit_done(h.o, B);
    for (int i = 0; i < 10000 && metric_get(METRIC_OLDEST_PENDING_SECONDS) != 0; i++)
        usleep(1000);
    ck_assert_uint_eq(metric_get(METRIC_OLDEST_PENDING_SECONDS), 0);
    house_close(&h);
}

TEST(the_limit_holds_for_what_is_new)
{
    struct house h = house_open();
    struct op op = {.fn = fn_put, .id = A, .seq = 1, .json_len = 600000};

    ck_assert_int_eq(kit_do(h.o, &op), ERR_OK);
    op.id = B;
    ck_assert_int_eq(kit_do(h.o, &op), ERR_FULL);
    ck_assert_str_eq(op.why, err_text(ERR_FULL));
    ck_assert_int_eq(do_simple(h.o, fn_look, B), ERR_NOT_FOUND);
    kit_dead(h.o, A, "refused"); /* still kept: still counted */
    ck_assert_int_eq(kit_do(h.o, &op), ERR_FULL);
    ck_assert_int_eq(do_simple(h.o, fn_clear, B), ERR_OK); /* a removal always goes */
    house_reopen(&h);
    ck_assert_int_eq(kit_do(h.o, &op), ERR_FULL);
    op.json_len = 300000;
    ck_assert_int_eq(kit_do(h.o, &op), ERR_OK);
    ck_assert_uint_eq(metric_get(METRIC_PENDING_BYTES), 300000);
    op.seq = 2, op.json_len = 600000;
    ck_assert_int_eq(kit_do(h.o, &op), ERR_FULL); /* what waits stays */
    ck_assert_int_eq(do_look(h.o, B).pending.seq, 1);
    ck_assert_int_eq(do_simple(h.o, fn_drop, A), ERR_OK);
    ck_assert_int_eq(kit_do(h.o, &op), ERR_OK);
    kit_done(h.o, B);
    ck_assert_uint_eq(metric_get(METRIC_PENDING_BYTES), 0);
    house_close(&h);
}

/* ---- clear and reset ------------------------------------------------------ */

TEST(clear_keeps_a_removal_and_forgets_the_rest)
{
    struct house h = house_open();
    struct outbox_reader *r = outbox_reader_open(h.o);
    struct pending p;

    do_put(h.o, A, 5, 1);
    kit_done(h.o, A);
    int64_t at_us = do_look(h.o, A).last_projected_us;
    ck_assert_int_eq(do_simple(h.o, fn_clear, A), ERR_OK);
    struct checkpoint cp = do_look(h.o, A);
    ck_assert(cp.has_pending && !cp.has_delivered);
    ck_assert_int_eq(cp.pending.op, OUTBOX_REMOVE);
    ck_assert_int_gt(cp.last_projected_us, at_us);
    ck_assert_int_eq(outbox_get(r, cp.pending_no, &p), ERR_OK);
    ck_assert_uint_eq(p.json.len, 0);
    ck_assert_slice(p.kind, "run_summary");
    uint64_t revision = p.version.revision;
    ck_assert_int_eq(do_simple(h.o, fn_clear, A), ERR_OK); /* again: nothing new */
    outbox_release(r);
    ck_assert_int_eq(outbox_get(r, cp.pending_no, &p), ERR_OK);
    ck_assert_uint_eq(p.version.revision, revision);
    outbox_reader_close(r);
    kit_done(h.o, A);
    cp = do_look(h.o, A);
    ck_assert(!cp.has_pending && !cp.has_delivered && !cp.is_dead);
    ck_assert_int_gt(cp.last_projected_us, at_us);
    /* A confirmed removal leaves nothing to be ahead of, and nothing to reset. */
    check_decision(do_put(h.o, A, 2, 1), true, false, DECIDE_NO_REASON, 2);
    ck_assert(!do_look(h.o, A).pending.reset);
    ck_assert_int_eq(do_simple(h.o, fn_clear, "runtime/run_summary:unknown"), ERR_OK);
    ck_assert_uint_eq(kit_count_pending(h.o), 2);
    house_close(&h);
}

static void put_time(struct checkpoint_record *c, struct pending *p, void *us)
{
    c->cp.last_projected_us = *(int64_t *)us;
    if (p != NULL)
        p->version.projected_at_us = *(int64_t *)us;
}

/* The newest version of ${id} was projected at ${us}. */
static void set_time(struct house *h, const char *id, int64_t us)
{
    outbox_close(h->o);
    kit_rewrite(h->dir.path, id, put_time, &us);
    h->o = kit_outbox(h->dir.path);
}

TEST(a_removal_that_could_not_be_sent_is_not_kept)
{
    struct house h = house_open();

    ck_assert_int_eq(do_simple(h.o, fn_clear, "runtime/run_summary:\xff"), ERR_INVALID);
    ck_assert_uint_eq(kit_count_pending(h.o), 0);
    /* As late as a time can be: nothing can be later. */
    ck_assert_int_eq(do_simple(h.o, fn_clear, A), ERR_OK);
    kit_done(h.o, A);
    set_time(&h, A, TIME_TEXT_MAX_US - 1);
    ck_assert_int_eq(do_simple(h.o, fn_clear, A), ERR_OK);
    ck_assert_int_eq(do_look(h.o, A).pending.projected_at_us, TIME_TEXT_MAX_US);
    kit_done(h.o, A);
    ck_assert_int_eq(do_simple(h.o, fn_clear, A), ERR_INVALID);
    ck_assert_int_eq(do_look(h.o, A).last_projected_us, TIME_TEXT_MAX_US);
    set_time(&h, A, INT64_MAX);
    ck_assert_int_eq(do_simple(h.o, fn_clear, A), ERR_INVALID);
    ck_assert_uint_eq(kit_count_pending(h.o), 0);
    house_close(&h);
}

/* 0.1.0 kept such clears, and aborted whenever it sent them. */
TEST(a_dead_letter_that_cannot_be_sent_is_not_retried)
{
    struct house h = house_open();

    ck_assert_int_eq(do_simple(h.o, fn_clear, A), ERR_OK);
    set_time(&h, A, TIME_TEXT_MAX_US + 1);
    kit_dead(h.o, A, "cannot be sent");
    ck_assert_int_eq(do_simple(h.o, fn_retry, A), ERR_INVALID);
    ck_assert(do_look(h.o, A).is_dead);
    ck_assert_uint_eq(kit_count_pending(h.o), 0);
    ck_assert_int_eq(do_simple(h.o, fn_drop, A), ERR_OK);
    ck_assert(!do_look(h.o, A).is_dead);
    house_close(&h);
}

TEST(a_put_over_a_removal_not_confirmed_may_go_below)
{
    struct house h = house_open();

    do_put(h.o, A, 5, 1);
    kit_done(h.o, A);
    ck_assert_int_eq(do_simple(h.o, fn_clear, A), ERR_OK);
    check_decision(do_put(h.o, A, 2, 1), true, true, DECIDE_NO_REASON, 2);
    ck_assert(do_look(h.o, A).pending.reset);
    ck_assert_int_eq(do_look(h.o, A).pending.op, OUTBOX_UPSERT);
    do_put(h.o, A, 3, 1); /* inherits it: the one before may never be sent */
    ck_assert(do_look(h.o, A).pending.reset);
    kit_done(h.o, A);
    do_put(h.o, A, 4, 1);
    ck_assert(!do_look(h.o, A).pending.reset);
    house_close(&h);
}

TEST(reset_goes_below_but_repeats_nothing)
{
    struct house h = house_open();
    struct op op = {.fn = fn_put, .id = A, .seq = 9, .hash = 1, .reset = true};

    do_put(h.o, A, 9, 1);
    kit_done(h.o, A);
    ck_assert_int_eq(kit_do(h.o, &op), ERR_OK);
    check_decision(op.decision, false, false, DECIDE_IDEMPOTENT, 0);
    op.seq = 4;
    ck_assert_int_eq(kit_do(h.o, &op), ERR_OK);
    check_decision(op.decision, true, false, DECIDE_CHECKPOINT_AHEAD, 0);
    ck_assert(do_look(h.o, A).pending.reset);
    /* Refused, it is still owed: what comes next is not measured against the old one. */
    kit_dead(h.o, A, "refused");
    check_decision(do_put(h.o, A, 5, 1), true, false, DECIDE_NO_REASON, 5);
    ck_assert(do_look(h.o, A).pending.reset);
    kit_done(h.o, A);
    check_decision(do_put(h.o, A, 4, 1), false, false, DECIDE_CHECKPOINT_AHEAD, 0);
    house_close(&h);
}

TEST(force_writes_what_stands_already)
{
    struct house h = house_open();
    struct op op = {.fn = fn_put, .id = A, .seq = 9, .hash = 1, .how = PUT_FORCE};

    do_put(h.o, A, 9, 1);
    ck_assert_int_eq(kit_do(h.o, &op), ERR_OK);
    check_decision(op.decision, true, true, DECIDE_NO_REASON, 0);
    kit_done(h.o, A);
    ck_assert_int_eq(kit_do(h.o, &op), ERR_OK);
    check_decision(op.decision, true, false, DECIDE_NO_REASON, 0);
    ck_assert(!do_look(h.o, A).pending.reset);
    op.how = PUT_FORCE | PUT_RESET;
    ck_assert_int_eq(kit_do(h.o, &op), ERR_OK);
    check_decision(op.decision, true, true, DECIDE_NO_REASON, 0);
    ck_assert(do_look(h.o, A).pending.reset);
    kit_done(h.o, A);
    op.hash = 2; /* a reason that there is anyway stays */
    ck_assert_int_eq(kit_do(h.o, &op), ERR_OK);
    check_decision(op.decision, true, false, DECIDE_SUMMARY_HASH_MISMATCH, 0);
    house_close(&h);
}

TEST(of_a_log_that_is_behind_nothing_is_kept)
{
    struct house h = house_open();
    struct op op = {.fn = fn_put, .id = A, .seq = 5, .hash = 1, .fold = "five"};
    struct op look = {.fn = fn_look, .id = A};

    ck_assert_int_eq(kit_do(h.o, &op), ERR_OK);
    op = (struct op){.fn = fn_put, .id = A, .seq = 5, .hash = 2, .fold = "x", .is_behind = true};
    ck_assert_int_eq(kit_do(h.o, &op), ERR_OK);
    check_decision(op.decision, false, false, DECIDE_CHECKPOINT_AHEAD, 0);
    ck_assert_int_eq(kit_do(h.o, &look), ERR_OK);
    ck_assert_str_eq(look.fold_found, "five");
    ck_assert_int_eq(look.cp.pending.hash[31], 1);
    house_close(&h);
}

TEST(unless_ahead_keeps_the_newer_one_and_its_fold)
{
    struct house h = house_open();
    unsigned how = PUT_FORCE | PUT_RESET | PUT_UNLESS_AHEAD;
    struct op op = {.fn = fn_put, .id = A, .seq = 9, .hash = 1, .fold = "nine"};
    struct op look = {.fn = fn_look, .id = A};

    ck_assert_int_eq(kit_do(h.o, &op), ERR_OK);
    uint64_t revision = do_look(h.o, A).pending.revision;
    op = (struct op){.fn = fn_put, .id = A, .seq = 4, .hash = 2, .fold = "four", .how = how};
    ck_assert_int_eq(kit_do(h.o, &op), ERR_OK);
    check_decision(op.decision, false, false, DECIDE_CHECKPOINT_AHEAD, 0);
    ck_assert_int_eq(kit_do(h.o, &look), ERR_OK);
    ck_assert_uint_eq(look.cp.pending.revision, revision);
    ck_assert_str_eq(look.fold_found, "nine");
    op.seq = 9;
    ck_assert_int_eq(kit_do(h.o, &op), ERR_OK);
    check_decision(op.decision, true, true, DECIDE_SUMMARY_HASH_MISMATCH, 0);
    house_close(&h);
}

/* ---- settlements ---------------------------------------------------------- */

TEST(a_version_replaced_while_in_flight_leaves_the_newer_one)
{
    struct house h = house_open();

    do_put(h.o, A, 1, 1);
    struct settlement *s = kit_send(h.o, A);
    do_put(h.o, A, 2, 2);
    kit_settle(h.o, s);
    struct checkpoint cp = do_look(h.o, A);
    ck_assert(cp.has_pending && cp.has_delivered);
    ck_assert_int_eq(cp.delivered.seq, 1);
    ck_assert_int_eq(cp.pending.seq, 2);
    ck_assert_uint_eq(lane_arrival(cp.pending_no), 1);
    s = kit_send(h.o, A);
    do_put(h.o, A, 3, 3);
    s->dead = true; /* refused, but a newer one decides */
    kit_settle(h.o, s);
    cp = do_look(h.o, A);
    ck_assert(cp.has_pending && !cp.is_dead);
    ck_assert_int_eq(cp.delivered.seq, 1);
    kit_done(h.o, A);
    ck_assert_int_eq(do_look(h.o, A).delivered.seq, 3);
    ck_assert_uint_eq(kit_count_pending(h.o), 0);
    house_close(&h);
}

TEST(a_late_verdict_on_an_older_version_leaves_what_was_confirmed_since)
{
    struct house h = house_open();

    do_put(h.o, A, 1, 1);
    struct settlement *first = kit_send(h.o, A);
    do_put(h.o, A, 2, 2);
    kit_done(h.o, A);
    kit_settle(h.o, first);
    struct checkpoint cp = do_look(h.o, A);
    ck_assert(cp.has_delivered && !cp.has_pending);
    ck_assert_int_eq(cp.delivered.seq, 2);
    ck_assert_int_eq(cp.delivered.hash[0], 2);
    house_close(&h);
}

TEST(a_late_verdict_on_an_older_version_leaves_the_newer_letter)
{
    struct house h = house_open();

    do_put(h.o, A, 1, 1);
    struct settlement *first = kit_send(h.o, A);
    do_put(h.o, A, 2, 2);
    kit_dead(h.o, A, "refused");
    kit_settle(h.o, first);
    struct checkpoint cp = do_look(h.o, A);
    ck_assert(cp.is_dead && cp.has_delivered && !cp.has_pending);
    ck_assert_int_eq(cp.delivered.seq, 1);
    house_close(&h);
}

struct letters {
    char ids[8][64];
    size_t count;
};

static bool note_letter(void *arg, const struct dead_letter *d)
{
    struct letters *l = arg;

    kit_copy(l->ids[l->count++], sizeof l->ids[0], d->id);
    return l->count < 2;
}

static struct letters seen_letters;

static enum err fn_letters(struct op *op, struct round *r)
{
    seen_letters.count = 0;
    return round_dead_each(r, slice_str(op->id), note_letter, &seen_letters);
}

static enum err fn_show(struct op *op, struct round *r)
{
    struct dead_letter d;
    enum err e = round_dead_get(r, slice_str(op->id), &d);

    if (e == ERR_OK) {
        ck_assert_slice(d.why, "refused");
        ck_assert_slice(d.answer, "the answer");
        ck_assert_slice(d.json, "{" A " 1 1}");
        ck_assert_uint_eq(d.attempts, 1);
        ck_assert_int_gt(d.died_at_us, 0);
    }
    return e;
}

TEST(dead_letters_are_shown_listed_retried_and_dropped)
{
    struct house h = house_open();

    do_put(h.o, A, 1, 1);
    do_put(h.o, B, 1, 1);
    kit_dead(h.o, A, "refused");
    kit_dead(h.o, B, "refused");
    ck_assert_int_eq(do_simple(h.o, fn_show, A), ERR_OK);
    ck_assert_int_eq(do_simple(h.o, fn_show, "x"), ERR_NOT_FOUND);
    ck_assert_int_eq(do_simple(h.o, fn_show, ""), ERR_NOT_FOUND);
    ck_assert_int_eq(do_simple(h.o, fn_letters, ""), ERR_OK);
    ck_assert_uint_eq(seen_letters.count, 2);
    ck_assert_str_eq(seen_letters.ids[0], A);
    ck_assert_int_eq(do_simple(h.o, fn_letters, A), ERR_OK);
    ck_assert_uint_eq(seen_letters.count, 1);
    ck_assert_str_eq(seen_letters.ids[0], B);
    ck_assert_int_eq(do_simple(h.o, fn_retry, A), ERR_OK);
    struct checkpoint cp = do_look(h.o, A);
    ck_assert(cp.has_pending && cp.is_dead);           /* until it is done */
    ck_assert_uint_eq(lane_arrival(cp.pending_no), 3); /* it arrives anew */
    ck_assert_int_eq(cp.pending.seq, 1);
    ck_assert_int_eq(do_simple(h.o, fn_retry, A), ERR_OK); /* it waits already */
    ck_assert_uint_eq(kit_count_pending(h.o), 1);
    kit_done(h.o, A);
    ck_assert(!do_look(h.o, A).is_dead);
    ck_assert_int_eq(do_simple(h.o, fn_drop, B), ERR_OK);
    ck_assert_int_eq(do_simple(h.o, fn_drop, B), ERR_NOT_FOUND);
    ck_assert_int_eq(do_simple(h.o, fn_retry, B), ERR_NOT_FOUND);
    ck_assert(!do_look(h.o, B).is_dead);
    ck_assert_uint_eq(metric_get(METRIC_DEAD), 0);
    house_close(&h);
}

TEST(a_dead_letter_goes_when_something_newer_is_delivered)
{
    struct house h = house_open();

    do_put(h.o, A, 1, 1);
    kit_dead(h.o, A, "refused");
    do_put(h.o, A, 2, 1);
    ck_assert(do_look(h.o, A).is_dead); /* not before */
    kit_done(h.o, A);
    ck_assert(!do_look(h.o, A).is_dead);
    ck_assert_int_eq(do_simple(h.o, fn_drop, A), ERR_NOT_FOUND);
    /* Retrying when a newer one waits: the newer one stays, the letter is of no use any more. */
    do_put(h.o, A, 3, 1);
    kit_dead(h.o, A, "refused");
    do_put(h.o, A, 4, 1);
    ck_assert_int_eq(do_simple(h.o, fn_retry, A), ERR_OK);
    ck_assert_int_eq(do_look(h.o, A).pending.seq, 4);
    ck_assert(!do_look(h.o, A).is_dead);
    house_close(&h);
}

TEST(full_dead_letters_leave_it_pending)
{
    struct house h = house_open();
    static const char *const ids[] = {"p:1", "p:2", "p:3", "p:4"};

    for (int i = 0; i < 4; i++) {
        do_put(h.o, ids[i], 1, 1);
        kit_dead(h.o, ids[i], "refused");
    }
    ck_assert(do_look(h.o, "p:4").has_pending && !do_look(h.o, "p:4").is_dead);
    do_put(h.o, "p:1", 2, 2);
    kit_dead(h.o, "p:1", "refused"); /* in the place of its own older one */
    ck_assert(!do_look(h.o, "p:1").has_pending);
    ck_assert_int_eq(do_simple(h.o, fn_drop, "p:2"), ERR_OK);
    kit_dead(h.o, "p:4", "refused");
    ck_assert(!do_look(h.o, "p:4").has_pending && do_look(h.o, "p:4").is_dead);
    house_close(&h);
}

/* ---- looking through checkpoints ------------------------------------------ */

static char visited[256];
static struct round *visiting;

static bool note_checkpoint(void *arg, struct slice id, const struct checkpoint *cp)
{
    (void)arg;
    strncat(visited, (const char *)id.data, id.len);
    strcat(visited, cp->pending.op == OUTBOX_REMOVE ? "- " : " ");
    return strlen(visited) < 40;
}

/* A visitor may change what it visits. */
static bool clear_checkpoint(void *arg, struct slice id, const struct checkpoint *cp)
{
    (void)arg;
    ck_assert_int_eq(round_clear(visiting, id, cp->kind), ERR_OK);
    return true;
}

static enum err fn_visit(struct op *op, struct round *r)
{
    visited[0] = '\0';
    return round_each_checkpoint(r, slice_str(op->id), slice_str(op->fold), note_checkpoint, NULL);
}

static enum err fn_clear_each(struct op *op, struct round *r)
{
    visiting = r;
    return round_each_checkpoint(r, slice_str(op->id), slice_of("", 0), clear_checkpoint, NULL);
}

static void check_visit(struct outbox *o, const char *prefix, const char *after,
                        const char *expected)
{
    struct op op = {.fn = fn_visit, .id = prefix, .fold = after};

    ck_assert_int_eq(kit_do(o, &op), ERR_OK);
    ck_assert_str_eq(visited, expected);
}

TEST(checkpoints_are_visited_by_prefix_in_order)
{
    struct house h = house_open();
    static const char *const ids[] = {"b:2", "a:1", "b:10", "b:1", "c:1"};

    for (int i = 0; i < 5; i++)
        do_put(h.o, ids[i], 1, 1);
    check_visit(h.o, "b:", "", "b:1 b:10 b:2 ");
    check_visit(h.o, "b:", "b:1", "b:10 b:2 ");
    check_visit(h.o, "b:", "a:1", "b:1 b:10 b:2 ");
    check_visit(h.o, "b:", "b:2", "");
    check_visit(h.o, "b:", "c:9", "");
    check_visit(h.o, "", "", "a:1 b:1 b:10 b:2 c:1 ");
    check_visit(h.o, "d", "", "");
    ck_assert_int_eq(do_simple(h.o, fn_clear_each, "b:"), ERR_OK);
    check_visit(h.o, "", "", "a:1 b:1- b:10- b:2- c:1 ");
    house_close(&h);
}

/* ---- after settling -------------------------------------------------------- */

/* What after_settled has seen settled: only then have the answers left. */
static atomic_int sent;

static void note_sent(void *arg)
{
    if (kit_is_settled(arg))
        sent = 1;
}

static void check_sent(void)
{
    for (int i = 0; i < 20000 && !sent; i++)
        usleep(1000);
    ck_assert(sent);
    sent = 0;
}

TEST(whatever_was_settled_is_followed_by_after_settled)
{
    struct temp_dir d = temp_dir_make();
    struct op op = {.fn = fn_put, .id = A, .seq = 1};
    struct outbox_options options = {.dir = d.path,
                                     .limit_bytes = 1 << 20,
                                     .queue_count = 100,
                                     .queue_bytes = 1 << 20,
                                     .after_settled = note_sent,
                                     .after_settled_arg = &op};
    struct outbox *o;
    struct fault fault;

    ck_assert_int_eq(outbox_open(&options, &o, &fault), ERR_OK);
    ck_assert_int_eq(kit_do(o, &op), ERR_OK);
    check_sent();
    op = (struct op){.fn = fn_hold, .id = A, .until_us = soon_us(30)};
    ck_assert_int_eq(kit_do(o, &op), ERR_SINK); /* its time is over */
    check_sent();

    op = (struct op){.fn = fn_hold, .id = A, .until_us = soon_us(60000)};
    ck_assert_int_eq(kit_submit(o, &op), ERR_OK);
    outbox_stop(o); /* held at the end */
    ck_assert(kit_is_settled(&op));
    ck_assert_int_eq(op.e, ERR_DRAINING);
    check_sent();
    outbox_close(o);
    temp_dir_remove(&d);
}

/* ---- holding -------------------------------------------------------------- */

TEST(an_intent_is_held_until_its_version_is_delivered)
{
    struct house h = house_open();
    struct op first = {.fn = fn_put_and_hold, .id = A, .seq = 1, .until_us = soon_us(60000)};
    struct op second = {.fn = fn_put_and_hold, .id = A, .seq = 2, .until_us = soon_us(60000)};

    ck_assert_int_eq(kit_submit(h.o, &first), ERR_OK);
    do_look(h.o, B); /* the round of first is over */
    struct settlement *s = kit_send(h.o, A);
    ck_assert_int_eq(kit_submit(h.o, &second), ERR_OK);
    do_look(h.o, B);
    ck_assert(!kit_is_settled(&first));
    kit_settle(h.o, s);
    ck_assert_int_eq(kit_wait(&first), ERR_OK);
    do_look(h.o, B);
    ck_assert(!kit_is_settled(&second));
    kit_dead(h.o, A, "refused");
    ck_assert_int_eq(kit_wait(&second), ERR_SINK);
    ck_assert_str_eq(second.why, "refused");
    struct op nothing = {.fn = fn_hold, .id = A, .until_us = soon_us(60000)};
    ck_assert_int_eq(kit_do(h.o, &nothing), ERR_OK); /* nothing pending: at the commit */
    house_close(&h);
}

TEST(held_intents_have_deadlines_and_end_with_the_outbox)
{
    struct house h = house_open();
    struct op brief = {.fn = fn_put_and_hold, .id = A, .seq = 1, .until_us = soon_us(30)};
    struct op flush = {.fn = fn_flush, .until_us = soon_us(30)};
    struct op other = {.fn = fn_put_and_hold, .id = B, .seq = 1, .until_us = soon_us(60000)};

    ck_assert_int_eq(kit_do(h.o, &brief), ERR_SINK);
    ck_assert_str_eq(brief.why, "timeout");
    ck_assert_int_eq(kit_do(h.o, &flush), ERR_SINK);
    ck_assert_int_eq(kit_submit(h.o, &other), ERR_OK);
    house_close(&h);
    ck_assert_int_eq(kit_wait(&other), ERR_DRAINING);
}

/* Of each sort one more than there is room for is answered busy, and what is held stays held. */
TEST(only_so_many_may_be_held)
{
    struct house h = house_open();
    struct op *held = base_alloc(WAITING_MAX * sizeof *held);
    struct op more = {.fn = fn_put_and_hold, .id = A, .seq = 2, .until_us = soon_us(60000)};
    struct op flush = {.fn = fn_flush, .until_us = soon_us(60000)};

    do_put(h.o, A, 1, 1);
    for (size_t i = 0; i < WAITING_MAX; i++) {
        held[i] = (struct op){.fn = fn_hold, .id = A, .until_us = soon_us(60000)};
        ck_assert_int_eq(kit_submit(h.o, &held[i]), ERR_OK);
    }
    ck_assert_int_eq(kit_do(h.o, &more), ERR_BUSY);
    ck_assert_int_eq(kit_do(h.o, &flush), ERR_BUSY);
    kit_done(h.o, A);
    for (size_t i = 0; i < WAITING_MAX; i++)
        ck_assert_int_eq(kit_wait(&held[i]), ERR_OK);
    house_close(&h);
    free(held);
}

TEST(a_flush_waits_for_what_was_pending_and_not_longer)
{
    struct house h = house_open();
    struct op flush = {.fn = fn_flush, .until_us = soon_us(60000)};

    ck_assert_int_eq(kit_do(h.o, &flush), ERR_OK); /* nothing pending */
    do_put(h.o, A, 1, 1);
    do_put(h.o, B, 1, 1);
    ck_assert_int_eq(kit_submit(h.o, &flush), ERR_OK);
    kit_done(h.o, B);
    /* A is written faster than it is delivered: a newer version than the flush saw is enough. */
    struct settlement *s = kit_send(h.o, A);
    do_put(h.o, A, 2, 1);
    kit_settle(h.o, s);
    do_look(h.o, A);
    ck_assert(!kit_is_settled(&flush));
    do_put(h.o, "later", 1, 1);
    s = kit_send(h.o, A);
    do_put(h.o, A, 3, 1);
    kit_settle(h.o, s);
    ck_assert_int_eq(kit_wait(&flush), ERR_OK);
    ck_assert_uint_eq(kit_count_pending(h.o), 2);
    /* And a refused one is through as well. */
    ck_assert_int_eq(kit_submit(h.o, &flush), ERR_OK);
    kit_done(h.o, "later");
    kit_dead(h.o, A, "refused");
    ck_assert_int_eq(kit_wait(&flush), ERR_OK);
    house_close(&h);
}

/* ---- the queue ------------------------------------------------------------ */

static atomic_bool gate_is_entered, gate_is_open;

static enum err fn_gate(struct op *op, struct round *r)
{
    (void)op;
    (void)r;
    atomic_store(&gate_is_entered, true);
    while (!atomic_load(&gate_is_open))
        usleep(100);
    return ERR_OK;
}

static struct outbox *gated;
static uint64_t late_ticket;
static atomic_bool was_settled_early;

/* On the store thread, after the commit of the gate's round and before the next. */
static void note_early(struct intent *i, enum err e, const char *why)
{
    atomic_store(&was_settled_early, outbox_is_settled(gated, late_ticket));
    kit_settled(i, e, why);
}

TEST(a_verdict_is_settled_by_its_own_round_only)
{
    struct house h = house_open();
    struct op gate = {.fn = fn_gate};

    do_put(h.o, A, 1, 1);
    gated = h.o;
    gate.in = (struct intent){.apply = kit_apply, .settled = note_early};
    atomic_store(&gate_is_entered, false);
    atomic_store(&gate_is_open, false);
    ck_assert_int_eq(outbox_submit(h.o, &gate.in, 1, 0), ERR_OK);
    while (!atomic_load(&gate_is_entered))
        usleep(100);
    late_ticket = outbox_settle(h.o, kit_send(h.o, A)); /* the round has begun without it */
    atomic_store(&gate_is_open, true);
    kit_wait(&gate);
    ck_assert(!atomic_load(&was_settled_early));
    while (!outbox_is_settled(h.o, late_ticket))
        usleep(100);
    ck_assert_uint_eq(kit_count_pending(h.o), 0);
    house_close(&h);
}

/* Submit ${count} looks as one chain. */
static enum err submit_chain(struct outbox *o, struct op *ops, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        ops[i] = (struct op){.fn = fn_look, .id = A};
        ops[i].in = (struct intent){.apply = kit_apply,
                                    .settled = kit_settled,
                                    .cost_bytes = 1000,
                                    .next = i + 1 < count ? &ops[i + 1].in : NULL};
    }
    return outbox_submit(o, &ops[0].in, count, count * 1000);
}

TEST(a_full_queue_answers_busy_and_takes_nothing)
{
    struct temp_dir d = temp_dir_make();
    struct outbox_options options = {
        .dir = d.path, .limit_bytes = 1 << 20, .queue_count = 3, .queue_bytes = 2500};
    struct outbox *o;
    struct fault fault;
    struct op gate = {.fn = fn_gate}, ops[9];

    ck_assert_int_eq(outbox_open(&options, &o, &fault), ERR_OK);
    atomic_store(&gate_is_entered, false);
    atomic_store(&gate_is_open, false);
    ck_assert_int_eq(kit_submit(o, &gate), ERR_OK);
    while (!atomic_load(&gate_is_entered))
        usleep(100); /* now the queue is empty, and stays as it is */
    ck_assert_int_eq(submit_chain(o, &ops[0], 1), ERR_OK);
    ck_assert_int_eq(submit_chain(o, &ops[4], 3), ERR_BUSY); /* too many */
    ck_assert_int_eq(submit_chain(o, &ops[4], 2), ERR_BUSY); /* too large: none is taken */
    ck_assert_int_eq(submit_chain(o, &ops[1], 1), ERR_OK);
    ck_assert_int_eq(submit_chain(o, &ops[4], 1), ERR_BUSY);
    atomic_store(&gate_is_open, true);
    ck_assert_int_eq(kit_wait(&ops[0]), ERR_NOT_FOUND);
    ck_assert_int_eq(kit_wait(&ops[1]), ERR_NOT_FOUND);
    /* A chain longer than the queue is taken when nothing waits: else it never could be. */
    ck_assert_int_eq(submit_chain(o, &ops[2], 7), ERR_OK);
    ck_assert_int_eq(kit_wait(&ops[8]), ERR_NOT_FOUND);
    outbox_close(o);
    temp_dir_remove(&d);
}

TEST(closing_settles_what_was_submitted_and_takes_nothing_new)
{
    struct house h = house_open();
    struct op ops[50];

    for (int i = 0; i < 50; i++) {
        ops[i] = (struct op){.fn = fn_put, .id = A, .seq = i + 1};
        ck_assert_int_eq(kit_submit(h.o, &ops[i]), ERR_OK);
    }
    outbox_close(h.o);
    for (int i = 0; i < 50; i++) {
        ck_assert(ops[i].is_settled);
        ck_assert_int_eq(ops[i].e, ERR_OK);
    }
    h.o = kit_outbox(h.dir.path);
    ck_assert_int_eq(do_look(h.o, A).pending.seq, 50);
    house_close(&h);
}

TEST(a_stopped_outbox_takes_nothing_and_forgets_verdicts)
{
    struct house h = house_open();
    struct op look = {.fn = fn_look, .id = A};

    do_put(h.o, A, 1, 1);
    struct settlement *s = kit_send(h.o, A);
    outbox_stop(h.o);
    outbox_stop(h.o); /* harmless */
    ck_assert_int_eq(kit_submit(h.o, &look), ERR_DRAINING);
    ck_assert(!outbox_is_settled(h.o, outbox_settle(h.o, s)));
    house_reopen(&h);
    ck_assert(do_look(h.o, A).has_pending); /* it is sent again */
    house_close(&h);
    outbox_stop(NULL);
}

TEST(a_second_outbox_on_the_same_store_is_refused)
{
    struct house h = house_open();
    struct outbox *second;
    struct fault fault = {0};

    ck_assert_int_eq(kit_open(h.dir.path, 1 << 20, 1, &second, &fault), ERR_STORE);
    ck_assert_ptr_nonnull(strstr(fault.why, "in use by process"));
    house_close(&h);
}

/* ---- damage and failing disks --------------------------------------------- */

/* Write ${value} under ${key} behind the outbox's back. */
static void damage(const char *dir, enum store_table t, struct slice key, const char *value)
{
    struct store *s;
    struct fault fault;

    ck_assert_int_eq(store_open(dir, 1 << 26, &s, &fault), ERR_OK);
    ck_assert_int_eq(store_begin(s), ERR_OK);
    ck_assert_int_eq(store_put(s, t, key, slice_str(value)), ERR_OK);
    ck_assert_int_eq(store_commit(s), ERR_OK);
    store_close(s);
}

static uint64_t number_in_quarantine(const char *dir)
{
    struct store *s;
    struct fault fault;
    uint64_t n;

    ck_assert_int_eq(store_open(dir, 1 << 26, &s, &fault), ERR_OK);
    ck_assert_int_eq(store_begin(s), ERR_OK);
    ck_assert_int_eq(store_count(s, STORE_QUARANTINE, &n), ERR_OK);
    store_close(s);
    return n;
}

static struct slice key_of(const uint64_t *no)
{
    return slice_of(no, sizeof *no);
}

TEST(a_damaged_checkpoint_is_moved_and_made_again_by_a_put)
{
    struct house h = house_open();

    do_put(h.o, A, 5, 1);
    kit_done(h.o, A);
    do_put(h.o, B, 1, 1);
    uint64_t number = do_look(h.o, A).document;
    outbox_close(h.o);
    damage(h.dir.path, STORE_CHECKPOINTS, key_of(&number), "garbage");
    h.o = kit_outbox(h.dir.path);
    ck_assert_int_eq(do_simple(h.o, fn_clear_each, ""), ERR_OK); /* steps over it */
    ck_assert(!do_look(h.o, A).has_delivered);
    /* Nobody knows what stood: even what is older is written. */
    check_decision(do_put(h.o, A, 3, 1), true, false, DECIDE_NO_REASON, 3);
    ck_assert_uint_eq(do_look(h.o, A).document, number);
    kit_done(h.o, A);
    ck_assert_int_eq(do_look(h.o, A).delivered.seq, 3);
    ck_assert_uint_eq(metric_get(METRIC_RECORDS_DAMAGED), 1);
    ck_assert_uint_eq(metric_get(METRIC_QUARANTINED), 1);
    outbox_close(h.o);
    ck_assert_uint_eq(number_in_quarantine(h.dir.path), 1);
    h.o = kit_outbox(h.dir.path);
    house_close(&h);
}

TEST(a_damaged_checkpoint_is_made_again_by_a_settlement)
{
    for (int dead = 0; dead < 2; dead++) {
        struct house h = house_open();

        do_put(h.o, A, 5, 1);
        struct settlement *s = kit_send(h.o, A);
        uint64_t number = do_look(h.o, A).document;
        outbox_close(h.o);
        damage(h.dir.path, STORE_CHECKPOINTS, key_of(&number), "garbage");
        h.o = kit_outbox(h.dir.path);
        s->dead = dead;
        kit_settle(h.o, s);
        ck_assert_uint_eq(kit_count_pending(h.o), 0);
        struct checkpoint cp = do_look(h.o, A);
        ck_assert(cp.is_dead == dead && cp.has_delivered == !dead && !cp.has_pending);
        ck_assert_uint_eq(cp.document, number);
        /* It is in doubt: the same once more is written; what is dead heals by itself. */
        check_decision(do_put(h.o, A, 5, 1), !dead, false, dead ? DECIDE_DEAD : DECIDE_NO_REASON,
                       dead ? 0 : 5);
        house_close(&h);
    }
}

/* Nobody knows what was sent, so only what waits can say whether the verdict is on it. */
TEST(a_verdict_on_an_older_version_after_damage_leaves_the_newer_one_pending)
{
    for (int dead = 0; dead < 2; dead++) {
        struct house h = house_open();

        do_put(h.o, A, 5, 1);
        struct settlement *s = kit_send(h.o, A);
        uint64_t number = do_look(h.o, A).document;
        do_put(h.o, A, 6, 2);
        outbox_close(h.o);
        damage(h.dir.path, STORE_CHECKPOINTS, key_of(&number), "garbage");
        h.o = kit_outbox(h.dir.path);
        s->dead = dead;
        kit_settle(h.o, s);
        ck_assert_uint_eq(kit_count_pending(h.o), 1);
        kit_done(h.o, A);
        struct checkpoint cp = do_look(h.o, A);
        ck_assert(cp.has_delivered && !cp.has_pending && !cp.is_dead);
        ck_assert_int_eq(cp.delivered.seq, 6);
        house_close(&h);
    }
}

TEST(of_two_pending_versions_after_damage_each_is_delivered)
{
    struct house h = house_open();

    do_put(h.o, A, 5, 1);
    uint64_t number = do_look(h.o, A).document;
    outbox_close(h.o);
    damage(h.dir.path, STORE_CHECKPOINTS, key_of(&number), "garbage");
    h.o = kit_outbox(h.dir.path);
    do_put(h.o, A, 6, 1);
    ck_assert_uint_eq(kit_count_pending(h.o), 2);
    kit_done(h.o, A); /* the older one: only its record goes */
    ck_assert_uint_eq(kit_count_pending(h.o), 1);
    ck_assert(do_look(h.o, A).has_pending);
    kit_done(h.o, A);
    ck_assert_uint_eq(kit_count_pending(h.o), 0);
    ck_assert_int_eq(do_look(h.o, A).delivered.seq, 6);
    house_close(&h);
}

TEST(a_damaged_pending_version_is_stepped_over_and_the_next_is_written)
{
    struct house h = house_open();

    do_put(h.o, A, 5, 1);
    kit_done(h.o, A);
    do_put(h.o, A, 6, 1);
    do_put(h.o, "c", 1, 1);
    uint64_t no = do_look(h.o, A).pending_no;
    struct settlement *s = kit_send(h.o, A);
    outbox_close(h.o);
    damage(h.dir.path, STORE_PENDING, key_of(&no), "garbage");
    h.o = kit_outbox(h.dir.path);
    ck_assert_uint_eq(kit_count_pending(h.o), 1); /* the reader reports it, */
    do_put(h.o, B, 1, 1);                         /* the next round moves it */
    ck_assert_uint_eq(metric_get(METRIC_QUARANTINED), 1);
    s->dead = true;
    kit_settle(h.o, s);
    ck_assert(!do_look(h.o, A).has_pending && !do_look(h.o, A).is_dead);
    check_decision(do_put(h.o, A, 5, 1), true, false, DECIDE_NO_REASON, 5);
    house_close(&h);
}

/* It is whole, so a page is in the wrong place: what is written now would harm it. */
TEST(a_record_of_another_table_stays_and_marks_the_store)
{
    struct house h = house_open();
    struct buf record = {0};
    struct fault fault;
    struct store *s;
    char why[64];

    do_put(h.o, A, 5, 1);
    outbox_close(h.o);
    ck_assert_int_eq(store_open(h.dir.path, 1 << 26, &s, &fault), ERR_OK);
    ck_assert_int_eq(store_begin(s), ERR_OK);
    struct slice key = {0}, value;
    ck_assert_int_eq(store_seek(s, STORE_PENDING, key, false, &key, &value), ERR_OK);
    uint64_t no;
    memcpy(&no, key.data, sizeof no);
    struct checkpoint_record c = {.id = slice_str(A),
                                  .cp = {.kind = slice_str("k"), .document = no}};
    record_put_checkpoint(&record, &c);
    ck_assert_int_eq(store_put(s, STORE_PENDING, key_of(&no), buf_view(&record)), ERR_OK);
    ck_assert_int_eq(store_commit(s), ERR_OK);
    store_close(s);
    h.o = kit_outbox(h.dir.path);
    ck_assert_uint_eq(kit_count_pending(h.o), 0); /* steps over it, and reports it */
    ck_assert_int_eq(do_simple(h.o, fn_clear, B), ERR_STORE);
    ck_assert_int_eq(crash_mark_read(h.dir.path, why), CRASH_MARKED);
    ck_assert_str_eq(why, "a page of one table is found in another");
    outbox_close(h.o);
    ck_assert_uint_eq(number_in_quarantine(h.dir.path), 0);
    h.o = kit_outbox(h.dir.path);
    buf_free(&record);
    house_close(&h);
}

TEST(a_damaged_id_gets_another_number)
{
    struct house h = house_open();

    do_put(h.o, A, 5, 1);
    kit_done(h.o, A);
    uint64_t number = do_look(h.o, A).document;
    outbox_close(h.o);
    damage(h.dir.path, STORE_IDS, slice_str(A), "garbage");
    h.o = kit_outbox(h.dir.path);
    ck_assert(!do_look(h.o, A).has_delivered);
    check_decision(do_put(h.o, A, 5, 1), true, false, DECIDE_NO_REASON, 5);
    ck_assert_uint_gt(do_look(h.o, A).document, number);
    kit_done(h.o, A);
    ck_assert(do_look(h.o, A).has_delivered);
    house_close(&h);
}

TEST(a_damaged_dead_letter_is_none_any_more)
{
    struct house h = house_open();

    do_put(h.o, B, 4, 1);
    kit_dead(h.o, B, "refused");
    uint64_t number = do_look(h.o, B).document;
    outbox_close(h.o);
    damage(h.dir.path, STORE_DEAD, key_of(&number), "garbage");
    h.o = kit_outbox(h.dir.path);
    ck_assert_int_eq(do_simple(h.o, fn_letters, ""), ERR_OK);
    ck_assert_uint_eq(seen_letters.count, 0);
    ck_assert_int_eq(do_simple(h.o, fn_retry, B), ERR_NOT_FOUND);
    ck_assert_int_eq(do_simple(h.o, fn_drop, B), ERR_OK);
    ck_assert(!do_look(h.o, B).is_dead);
    house_close(&h);
}

/* 1,000 records, and no more: what comes then stays where it is, and is not written over. */
TEST(a_full_quarantine_leaves_the_damaged_where_they_are)
{
    struct house h = house_open();
    struct op put = {.fn = fn_put, .id = A, .seq = 9};
    struct store *s;
    struct fault fault;

    do_put(h.o, A, 5, 1);
    uint64_t number = do_look(h.o, A).document;
    outbox_close(h.o);
    ck_assert_int_eq(store_open(h.dir.path, 1 << 26, &s, &fault), ERR_OK);
    ck_assert_int_eq(store_begin(s), ERR_OK);
    for (uint64_t no = 1; no <= 1000; no++)
        ck_assert_int_eq(store_put(s, STORE_QUARANTINE, key_of(&no), slice_str("x")), ERR_OK);
    ck_assert_int_eq(store_commit(s), ERR_OK);
    store_close(s);
    damage(h.dir.path, STORE_CHECKPOINTS, key_of(&number), "garbage");
    h.o = kit_outbox(h.dir.path);
    ck_assert_int_eq(kit_do(h.o, &put), ERR_STORE);
    ck_assert_ptr_nonnull(strstr(put.why, "damaged"));
    check_decision(do_put(h.o, B, 2, 1), true, false, DECIDE_NO_REASON, 2);
    outbox_close(h.o);
    ck_assert_uint_eq(number_in_quarantine(h.dir.path), 1000);
    h.o = kit_outbox(h.dir.path);
    house_close(&h);
}

/* What was confirmed under these marks is no reason to skip; what is confirmed later is. */
TEST(a_doubt_holds_for_a_range_of_marks)
{
    struct house h = house_open();
    struct doubt d = {.from = 3, .to = 7, .why = slice_str("test"), .tail = slice_str("")};
    static const struct {
        const char *id;
        uint64_t mark;
        bool stands;
    } cases[] = {{"m:2", 2, true}, {"m:3", 3, false}, {"m:7", 7, false}, {"m:8", 8, true}};
    struct buf value = {0};
    struct store *s;
    struct fault fault;

    for (size_t i = 0; i < 4; i++) {
        struct op put = {.fn = fn_put,
                         .id = cases[i].id,
                         .seq = 5,
                         .hash = 1,
                         .fold = i == 2 ? "from an event log" : NULL};
        ck_assert_int_eq(kit_do(h.o, &put), ERR_OK);
        struct settlement *done = kit_send(h.o, cases[i].id);
        done->mark = cases[i].mark;
        kit_settle(h.o, done);
        ck_assert_uint_eq(do_look(h.o, cases[i].id).delivered_mark, cases[i].mark);
    }
    outbox_close(h.o);
    record_put_doubt(&value, &d);
    ck_assert_int_eq(store_open(h.dir.path, 1 << 26, &s, &fault), ERR_OK);
    ck_assert_int_eq(store_begin(s), ERR_OK);
    ck_assert_int_eq(store_put(s, STORE_META, slice_str("doubt"), buf_view(&value)), ERR_OK);
    ck_assert_int_eq(store_commit(s), ERR_OK);
    store_close(s);
    buf_free(&value);
    h.o = kit_outbox(h.dir.path);
    for (int i = 0; i < 5000 && metric_get(METRIC_DOUBTFUL_UNLOGGED) == 0; i++)
        usleep(1000);
    ck_assert_uint_eq(metric_get(METRIC_DOUBTFUL), 1);
    ck_assert_uint_eq(metric_get(METRIC_DOUBTFUL_UNLOGGED), 1);
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(do_put(h.o, cases[i].id, 5, 1).write, !cases[i].stands);
    house_close(&h);
}

static void done_as(struct outbox *o, const char *id, enum outbox_outcome outcome)
{
    struct settlement *s = kit_send(o, id);

    s->outcome = outcome;
    kit_settle(o, s);
}

TEST(answers_that_speak_against_what_was_believed_are_counted)
{
    struct house h = house_open();

    do_put(h.o, A, 1, 1);
    done_as(h.o, A, OUTCOME_INSERTED); /* nothing was believed */
    do_put(h.o, A, 2, 2);
    done_as(h.o, A, OUTCOME_UPDATED);
    do_put(h.o, A, 3, 3);
    struct settlement *late = kit_send(h.o, A);
    do_put(h.o, A, 4, 4);
    late->outcome = OUTCOME_STALE; /* and a newer one waits: it may have been written */
    kit_settle(h.o, late);
    done_as(h.o, A, OUTCOME_UNCHANGED);
    ck_assert_uint_eq(outbox_contradictions(h.o), 0);
    do_put(h.o, A, 5, 5);
    done_as(h.o, A, OUTCOME_INSERTED);
    ck_assert_uint_eq(outbox_contradictions(h.o), 1);
    do_put(h.o, A, 6, 6);
    done_as(h.o, A, OUTCOME_STALE);
    ck_assert_uint_eq(outbox_contradictions(h.o), 2);
    ck_assert_int_eq(do_simple(h.o, fn_clear, A), ERR_OK);
    do_put(h.o, A, 7, 7);
    done_as(h.o, A, OUTCOME_INSERTED); /* after a removal */
    ck_assert_uint_eq(outbox_contradictions(h.o), 2);
    house_close(&h);
}

TEST(what_waits_alone_is_remembered_with_its_version)
{
    struct house h = house_open();
    struct op hold = {.fn = fn_put_and_hold, .id = A, .seq = 1, .until_us = soon_us(3600000)};
    struct outbox_reader *reader;
    struct pending p;

    ck_assert_int_eq(kit_submit(h.o, &hold), ERR_OK);
    do_look(h.o, A);
    struct settlement *s = kit_send(h.o, A), *late = kit_send(h.o, A);
    s->later = true;
    s->attempts = 7;
    s->next_try_us = 123;
    kit_settle(h.o, s);
    ck_assert(!kit_is_settled(&hold));
    house_reopen(&h);
    reader = outbox_reader_open(h.o);
    ck_assert(outbox_next(reader, 0, &p));
    ck_assert_uint_eq(p.attempts, 7);
    ck_assert_int_eq(p.next_try_us, 123);
    ck_assert_int_eq(p.version.seq, 1);
    outbox_release(reader);
    do_put(h.o, A, 2, 2);
    late->later = true; /* of an older version */
    kit_settle(h.o, late);
    ck_assert(outbox_next(reader, 0, &p));
    ck_assert_uint_eq(p.attempts, 0);
    outbox_reader_close(reader);
    kit_done(h.o, A);
    ck_assert_uint_eq(kit_count_pending(h.o), 0);
    house_close(&h);
}

/* What a rebuild asks for waits in a lane of its own; both are one queue, in order of arrival. */
TEST(both_lanes_are_read_in_the_order_of_arrival)
{
    struct house h = house_open();
    struct op bulk = {.fn = fn_put, .how = PUT_UNLESS_AHEAD, .reset = true, .seq = 1};
    static const char *const ids[] = {"b:1", "l:1", "b:2", "b:3", "l:2", "b:4"};
    struct pending p;
    size_t n = 0;

    for (size_t i = 0; i < 6; i++) {
        bulk.id = ids[i];
        if (ids[i][0] == 'b')
            ck_assert_int_eq(kit_do(h.o, &bulk), ERR_OK);
        else
            do_put(h.o, ids[i], 1, 1);
    }
    ck_assert_uint_eq(outbox_take_moved(h.o), 0);
    do_put(h.o, "b:2", 2, 1); /* one that waits keeps its arrival, and takes it to the live lane */
    ck_assert_uint_eq(outbox_take_moved(h.o), LANE_LIVE | 3);
    ck_assert_uint_eq(outbox_take_moved(h.o), 0);
    for (int again = 0; again < 2; again++) {
        struct outbox_reader *r = outbox_reader_open(h.o);
        uint64_t after = 0;
        for (n = 0; outbox_next(r, after, &p); n++, after = p.no) {
            ck_assert_slice(p.id, ids[n]);
            ck_assert_uint_eq(lane_arrival(p.no), n + 1);
            ck_assert_int_eq(p.no >= LANE_LIVE, n == 2 || ids[n][0] == 'l');
            ck_assert_int_eq(p.origin, n == 2 || ids[n][0] == 'l' ? ORIGIN_LIVE : ORIGIN_REBUILD);
        }
        ck_assert_uint_eq(n, 6);
        outbox_reader_close(r);
        outbox_close(h.o);
        h.o = kit_outbox(h.dir.path);
    }
    struct op flush = {.fn = fn_flush, .until_us = INT64_MAX};
    ck_assert_int_eq(kit_submit(h.o, &flush), ERR_OK);
    for (size_t i = 0; i < 6; i++) {
        ck_assert(!kit_is_settled(&flush));
        kit_done(h.o, ids[5 - i]);
    }
    ck_assert_int_eq(kit_wait(&flush), ERR_OK);
    house_close(&h);
}

TEST(a_full_disk_refuses_with_the_reason_and_passes)
{
    struct house h = house_open();
    struct rlimit old, small;
    struct op big = {.fn = fn_put, .id = A, .seq = 1, .json_len = 900000};
    char why[OUTBOX_WHY_BYTES];

    do_put(h.o, B, 1, 1);
    outbox_why_ill(h.o, why);
    ck_assert_str_eq(why, "");
    struct settlement *s = kit_send(h.o, B);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 100000;
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    ck_assert_int_eq(kit_do(h.o, &big), ERR_STORE);
    ck_assert_str_ne(big.why, "");
    ck_assert_uint_eq(metric_get(METRIC_STORE_OK), 0);
    ck_assert(!outbox_is_well(h.o));
    outbox_why_ill(h.o, why);
    ck_assert_str_eq(why, big.why);
    ck_assert_uint_eq(outbox_pending(h.o), 1); /* what the last good round has left */
    ck_assert_uint_ge(metric_get(METRIC_STORE_FAILURES), 1);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    while (!outbox_is_well(h.o)) /* by itself: nobody asks for anything */
        usleep(1000);
    outbox_why_ill(h.o, why);
    ck_assert_str_eq(why, "");
    kit_settle(h.o, s);
    ck_assert_int_eq(kit_do(h.o, &big), ERR_OK);
    ck_assert(do_look(h.o, B).has_delivered);
    house_close(&h);
}

TEST(a_start_that_cannot_write_delivers_what_is_kept)
{
    struct house h = house_open();
    struct rlimit old, small;

    do_put(h.o, A, 1, 1);
    outbox_close(h.o);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 8192; /* no page but the first two */
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    h.o = kit_outbox(h.dir.path);
    ck_assert(!outbox_is_well(h.o));
    ck_assert_uint_eq(metric_get(METRIC_STORE_OK), 0);
    ck_assert_uint_eq(outbox_pending(h.o), 1);
    ck_assert_uint_eq(kit_count_pending(h.o), 1);
    uint64_t ticket = outbox_settle(h.o, kit_send(h.o, A));
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    while (!outbox_is_well(h.o) || !outbox_is_settled(h.o, ticket))
        usleep(1000);
    ck_assert(do_look(h.o, A).has_delivered);
    house_close(&h);
}

/* ---- many threads --------------------------------------------------------- */

#define THREADS 4
#define PUTS    150

static struct outbox *shared;
static atomic_bool delivery_ends;

static void *put_many(void *arg)
{
    char id[32];
    unsigned thread = *(unsigned *)arg;

    for (int i = 1; i <= PUTS; i++) {
        snprintf(id, sizeof id, "doc:%d", i % 7);
        struct op op = {.fn = i % 10 == 0 ? fn_put_and_hold : fn_put,
                        .id = id,
                        .seq = i * THREADS + (int64_t)thread,
                        .until_us = soon_us(60000)};
        ck_assert_int_eq(kit_do(shared, &op), ERR_OK);
    }
    return NULL;
}

static void *deliver_all(void *arg)
{
    struct outbox_reader *r = outbox_reader_open(shared);
    struct pending p;

    (void)arg;
    for (bool ends = false; !ends;) {
        ends = atomic_load(&delivery_ends); /* then once more */
        struct settlement *first = NULL;
        for (uint64_t after = 0; outbox_next(r, after, &p); after = p.no) {
            struct settlement *s = settlement_new(&p);
            ck_assert_uint_gt(p.json.len, 0);
            s->next = first;
            first = s;
        }
        outbox_release(r);
        if (first != NULL)
            kit_settle(shared, first);
        else
            usleep(200);
    }
    outbox_reader_close(r);
    return NULL;
}

TEST(many_threads_put_while_one_delivers)
{
    struct house h = house_open();
    pthread_t putting[THREADS], delivering;
    unsigned numbers[THREADS];

    shared = h.o;
    atomic_store(&delivery_ends, false);
    ck_assert_int_eq(pthread_create(&delivering, NULL, deliver_all, NULL), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        numbers[i] = i;
        ck_assert_int_eq(pthread_create(&putting[i], NULL, put_many, &numbers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(putting[i], NULL);
    atomic_store(&delivery_ends, true);
    pthread_join(delivering, NULL);
    ck_assert_uint_eq(kit_count_pending(h.o), 0);
    for (int i = 0; i < 7; i++) {
        char id[32];
        snprintf(id, sizeof id, "doc:%d", i);
        struct checkpoint cp = do_look(h.o, id);
        ck_assert(cp.has_delivered && !cp.has_pending);
        ck_assert_int_ge(cp.delivered.seq, (PUTS - 7) * THREADS);
    }
    house_close(&h);
}

/* ---- beats ---------------------------------------------------------------- */

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool is_at_the_gate;

static enum err fn_wait(struct op *op, struct round *r)
{
    (void)op, (void)r;
    is_at_the_gate = true;
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
    return ERR_OK;
}

TEST(a_store_thread_that_is_held_up_stands_still)
{
    struct temp_dir d = temp_dir_make();
    struct outbox *o = NULL;
    struct fault fault = {0};
    struct op op = {.fn = fn_wait};

    ck_assert_int_eq(kit_open(d.path, 1 << 20, 10, &o, &fault), ERR_OK);
    pthread_mutex_lock(&gate);
    ck_assert_int_eq(kit_submit(o, &op), ERR_OK);
    while (!is_at_the_gate)
        sched_yield();
    beat_kit_stands("store");
    pthread_mutex_unlock(&gate);
    beat_kit_moves();
    ck_assert_int_eq(kit_wait(&op), ERR_OK);
    outbox_close(o);
    temp_dir_remove(&d);
}
