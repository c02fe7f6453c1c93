/* heal_test.c - dead letters that are tried again, on a real store and a wall clock that is set. */

#include "outbox/outbox.h"

#include "ground/clock.h"
#include "ground/metrics.h"
#include "ground/time_text.h"

#include "test.h"
#include "temp_dir.h"
#include "outbox/outbox_kit.h"

#include <stdatomic.h>
#include <time.h>

#define A      "runtime/run_summary:a"
#define MINUTE 60
#define HOUR   3600

static _Atomic int64_t ahead_us;

static int64_t clock_us(clockid_t id)
{
    struct timespec t;

    ck_assert_int_eq(clock_gettime(id, &t), 0);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_mono_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

int64_t clock_wall_us(void)
{
    return clock_us(CLOCK_REALTIME) + ahead_us;
}

struct house {
    struct temp_dir dir;
    struct outbox *o;
};

static struct house house_open(unsigned functions)
{
    struct house h = {.dir = temp_dir_make()};
    struct fault fault = {0};

    ck_assert_int_eq(kit_open(h.dir.path, 1 << 20, 200, &h.o, &fault), ERR_OK);
    outbox_peer(h.o, functions, "d1");
    return h;
}

static void house_close(struct house *h)
{
    outbox_close(h->o);
    temp_dir_remove(&h->dir);
}

/* The round after the news walks the letters. */
static void walk(struct house *h)
{
    outbox_well(h->o, slice_str("nobody's kind"));
    do_look(h->o, "x");
}

static void pass(struct house *h, int64_t seconds)
{
    ahead_us += 1000000 * seconds;
    walk(h);
}

static bool is_tried(struct house *h, const char *id)
{
    return do_look(h->o, id).has_pending;
}

/* ---- what is put: JSON with a time ----------------------------------------------- */

static enum err fn_project(struct op *op, struct round *r)
{
    char json[200], time[32];
    struct checkpoint cp;
    enum err e = round_checkpoint(r, slice_str(op->id), &cp);

    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    struct document d = {.kind = &kit_kind,
                         .id = slice_str(op->id),
                         .version = slice_str("v1"),
                         .past.fold = slice_str("fold"),
                         .seq = op->seq,
                         .event_count = op->seq,
                         .projected_at_us = round_now_us(r)};
    if (d.projected_at_us <= cp.last_projected_us)
        d.projected_at_us = cp.last_projected_us + 1;
    time_text_put(d.projected_at_us, time);
    snprintf(json, sizeof json,
             "{\"a\":{\"projected_at\":\"mine\"},\"projected_at\":\"%s\",\"seq\":%lld}", time,
             (long long)op->seq);
    d.json = slice_str(json);
    memset(d.hash, op->hash, sizeof d.hash);
    return round_put(r, &d, op->how, &op->decision);
}

static struct decision project(struct house *h, const char *id, int64_t seq, uint8_t hash,
                               unsigned how)
{
    struct op op = {.fn = fn_project, .id = id, .seq = seq, .hash = hash, .how = how};

    ck_assert_int_eq(kit_do(h->o, &op), ERR_OK);
    return op.decision;
}

static enum err fn_doubt(struct op *op, struct round *r)
{
    return round_doubt(r, slice_str(op->id), 0);
}

/* ---- letters ---------------------------------------------------------------------- */

static struct {
    uint32_t attempts, tries;
    int64_t next_us, left_us;
    unsigned functions;
} letter;

static enum err fn_letter(struct op *op, struct round *r)
{
    struct dead_letter d;
    enum err e = round_dead_get(r, slice_str(op->id), &d);

    if (e != ERR_OK)
        return e;
    letter.attempts = d.attempts;
    letter.tries = d.tries;
    letter.next_us = round_dead_next_us(r, &d);
    letter.left_us = letter.next_us - d.died_at_us;
    letter.functions = d.functions;
    return ERR_OK;
}

static bool has_letter(struct house *h, const char *id)
{
    enum err e = do_simple(h->o, fn_letter, id);

    ck_assert(e == ERR_OK || e == ERR_NOT_FOUND);
    return e == ERR_OK;
}

static void die(struct house *h, const char *id)
{
    kit_dead(h->o, id, "refused");
    ck_assert(!is_tried(h, id) && has_letter(h, id));
}

static void project_and_die(struct house *h, const char *id)
{
    project(h, id, 1, 1, 0);
    die(h, id);
}

/* ---- when -------------------------------------------------------------------------- */

TEST(a_letter_is_tried_after_a_minute_ten_an_hour_six_and_then_daily)
{
    static const int64_t waits_s[] = {MINUTE, 10 * MINUTE, HOUR, 6 * HOUR, 24 * HOUR, 24 * HOUR};
    struct house h = house_open(2);

    project_and_die(&h, A);
    for (uint32_t i = 0; i < sizeof waits_s / sizeof *waits_s; i++) {
        ck_assert_uint_eq(letter.tries, i);
        ck_assert_uint_eq(letter.attempts, i + 1); /* all calls, those of before too */
        ck_assert_int_eq(letter.left_us, 1000000 * waits_s[i]);
        pass(&h, waits_s[i] - 5);
        ck_assert(!is_tried(&h, A));
        pass(&h, 6);
        ck_assert(is_tried(&h, A));
        die(&h, A);
    }
    house_close(&h);
}

TEST(what_is_tried_is_a_later_version_of_the_same_content_in_the_bulk_lane)
{
    struct house h = house_open(2);
    char time[32], json[200];
    struct pending p;

    project_and_die(&h, A);
    pass(&h, MINUTE + 1);
    struct checkpoint cp = do_look(h.o, A);
    struct outbox_reader *reader = outbox_reader_open(h.o);
    ck_assert(outbox_next(reader, 0, &p));
    ck_assert_uint_lt(p.no, LANE_LIVE);
    ck_assert_int_eq(p.origin, ORIGIN_HEALED);
    ck_assert_int_eq(p.version.seq, 1);
    ck_assert(!p.version.reset);
    ck_assert_int_eq(p.version.projected_at_us, cp.last_projected_us);
    time_text_put(cp.last_projected_us, time);
    snprintf(json, sizeof json,
             "{\"a\":{\"projected_at\":\"mine\"},\"projected_at\":\"%s\",\"seq\":1}", time);
    ck_assert_slice(p.json, json);
    outbox_reader_close(reader);
    ck_assert(has_letter(&h, A)); /* until that is done */
    uint64_t healed = metric_labelled_get(LABELLED_DEAD_LETTERS, 0, 1);
    kit_done(h.o, A);
    ck_assert(!has_letter(&h, A));
    ck_assert_int_eq(do_look(h.o, A).delivered.seq, 1);
    ck_assert_uint_eq(metric_labelled_get(LABELLED_DEAD_LETTERS, 0, 1), healed + 1);
    house_close(&h);
}

TEST(other_functions_or_another_deployment_have_it_tried_at_once)
{
    struct house h = house_open(2);

    project_and_die(&h, A);
    walk(&h);
    ck_assert(!is_tried(&h, A));
    outbox_peer(h.o, 3, "d1");
    walk(&h);
    ck_assert(is_tried(&h, A));
    die(&h, A);
    ck_assert_uint_eq(letter.functions, 3);
    outbox_peer(h.o, 3, "d2");
    walk(&h);
    ck_assert(is_tried(&h, A));
    die(&h, A);
    walk(&h);
    ck_assert(!is_tried(&h, A));
    house_close(&h);
}

static void become_well(struct house *h, const char *kind)
{
    ahead_us += 1000;
    outbox_well(h->o, slice_str(kind));
    do_look(h->o, "x");
}

TEST(a_kind_that_is_well_again_has_its_letters_tried_at_once_and_then_a_step_early)
{
    struct house h = house_open(2);

    become_well(&h, "run_summary");
    ahead_us += 1000;
    project_and_die(&h, A);
    walk(&h); /* it was well before that, too */
    become_well(&h, "another_kind");
    ck_assert(!is_tried(&h, A));
    become_well(&h, "run_summary");
    ck_assert(is_tried(&h, A));
    die(&h, A);
    become_well(&h, ""); /* the endpoint: all kinds.  A minute, in place of ten */
    ck_assert(!is_tried(&h, A));
    pass(&h, MINUTE + 1);
    ck_assert(is_tried(&h, A));
    die(&h, A);
    pass(&h, 10 * MINUTE + 1); /* and nothing was well again since */
    ck_assert(!is_tried(&h, A));
    house_close(&h);
}

TEST(nothing_heals_by_itself_for_functions_that_are_not_ours)
{
    struct house h = house_open(1);

    project_and_die(&h, A);
    ck_assert_int_eq(letter.next_us, 0);
    pass(&h, 48 * HOUR);
    become_well(&h, "run_summary");
    ck_assert(!is_tried(&h, A));
    ck_assert_int_eq(do_simple(h.o, fn_retry, A), ERR_OK);
    ck_assert(is_tried(&h, A));
    die(&h, A);
    outbox_peer(h.o, 2, "d1"); /* and when ours are deployed, at once */
    walk(&h);
    ck_assert(is_tried(&h, A));
    house_close(&h);
}

TEST(at_most_64_wait_to_be_tried)
{
    struct house h = house_open(2);
    char id[40];

    for (int i = 0; i < 100; i++) {
        snprintf(id, sizeof id, "%s%d", A, i);
        project_and_die(&h, id);
    }
    pass(&h, MINUTE + 5);
    ck_assert_uint_eq(kit_count_pending(h.o), 64);
    for (int i = 0; i < 10; i++) {
        snprintf(id, sizeof id, "%s%d", A, i);
        kit_done(h.o, id);
    }
    walk(&h);
    ck_assert_uint_eq(kit_count_pending(h.o), 64);
    for (int i = 10; i < 74; i++) {
        snprintf(id, sizeof id, "%s%d", A, i);
        if (i % 2)
            kit_done(h.o, id);
        else
            kit_dead(h.o, id, "refused");
    }
    walk(&h);
    ck_assert_uint_eq(kit_count_pending(h.o), 26);
    house_close(&h);
}

TEST(letters_are_tried_after_a_restart_too)
{
    struct house h = house_open(2);
    struct fault fault;

    project_and_die(&h, A);
    outbox_close(h.o);
    ahead_us += 1000000 * (MINUTE + 1);
    ck_assert_int_eq(kit_open(h.dir.path, 1 << 20, 200, &h.o, &fault), ERR_OK);
    do_look(h.o, "x");
    ck_assert(!is_tried(&h, A)); /* nobody knows yet who answers */
    outbox_peer(h.o, 2, "d1");
    do_look(h.o, "x");
    ck_assert(is_tried(&h, A));
    house_close(&h);
}

/* ---- what stops it ------------------------------------------------------------------ */

TEST(what_waits_is_newer_and_decides)
{
    struct house h = house_open(2);

    project_and_die(&h, A);
    project(&h, A, 2, 2, 0);
    pass(&h, MINUTE + 1);
    ck_assert_int_eq(do_look(h.o, A).pending.seq, 2);
    kit_done(h.o, A);
    ck_assert(!has_letter(&h, A));
    house_close(&h);
}

TEST(a_newer_version_takes_the_place_of_one_that_heals)
{
    struct house h = house_open(2);

    project_and_die(&h, A);
    pass(&h, MINUTE + 1);
    project(&h, A, 2, 2, 0);
    die(&h, A);
    ck_assert_uint_eq(letter.tries, 0); /* of another content */
    ck_assert_uint_eq(letter.attempts, 1);
    house_close(&h);
}

TEST(drop_ends_it)
{
    struct house h = house_open(2);

    project_and_die(&h, A);
    pass(&h, MINUTE + 1);
    struct settlement *s = kit_send(h.o, A);
    ck_assert_int_eq(do_simple(h.o, fn_drop, A), ERR_OK);
    ck_assert(!is_tried(&h, A) && !has_letter(&h, A));
    s->dead = true; /* it was under way */
    kit_settle(h.o, s);
    ck_assert(!is_tried(&h, A) && !has_letter(&h, A));
    pass(&h, 48 * HOUR);
    ck_assert(!is_tried(&h, A));
    house_close(&h);
}

TEST(a_projection_that_equals_its_dead_letter_is_skipped)
{
    struct house h = house_open(2);
    uint64_t drift = metric_get(METRIC_DRIFT);

    project_and_die(&h, A);
    struct decision d = project(&h, A, 1, 1, 0);
    ck_assert(!d.write && !d.coalesced);
    ck_assert_str_eq(decide_reason_text(d.reason), "dead");
    ck_assert_int_eq(d.lag_events, 0);
    ck_assert_uint_eq(metric_get(METRIC_DRIFT), drift);
    ck_assert(!is_tried(&h, A));
    ck_assert(project(&h, A, 1, 1, PUT_FORCE).write); /* a rebuild asks for it */
    die(&h, A);
    ck_assert(project(&h, A, 1, 2, 0).write); /* another content */
    kit_done(h.o, A);
    ck_assert_int_eq(project(&h, A, 1, 2, 0).reason, DECIDE_IDEMPOTENT);
    house_close(&h);
}

/* ---- what was believed when it died (finding A12) ------------------------------------ */

TEST(a_letter_that_is_tried_after_a_doubt_may_go_below_and_is_later)
{
    struct house h = house_open(2);

    project(&h, A, 1, 1, 0);
    kit_done(h.o, A);
    project(&h, A, 2, 2, 0);
    die(&h, A);
    int64_t died_us = do_look(h.o, A).last_projected_us;
    ck_assert_int_eq(do_simple(h.o, fn_doubt, A), ERR_OK);
    ck_assert_int_eq(do_simple(h.o, fn_retry, A), ERR_OK);
    struct checkpoint cp = do_look(h.o, A);
    ck_assert(cp.has_pending && cp.pending.reset);
    ck_assert_int_gt(cp.pending.projected_at_us, died_us);
    kit_done(h.o, A);
    ck_assert_int_eq(project(&h, A, 2, 2, 0).reason, DECIDE_IDEMPOTENT);
    ck_assert(!has_letter(&h, A));
    house_close(&h);
}

TEST(a_removal_that_died_is_tried_as_a_removal)
{
    struct house h = house_open(2);
    struct pending p;

    project(&h, A, 1, 1, 0);
    kit_done(h.o, A);
    ck_assert_int_eq(do_simple(h.o, fn_clear, A), ERR_OK);
    die(&h, A);
    pass(&h, MINUTE + 1);
    struct outbox_reader *reader = outbox_reader_open(h.o);
    ck_assert(outbox_next(reader, 0, &p));
    ck_assert_int_eq(p.version.op, OUTBOX_REMOVE);
    ck_assert(p.version.reset && p.json.len == 0);
    outbox_reader_close(reader);
    kit_done(h.o, A);
    struct checkpoint cp = do_look(h.o, A);
    ck_assert(!cp.has_delivered && !cp.has_pending && !cp.is_dead);
    house_close(&h);
}

TEST(a_letter_whose_content_stands_by_now_goes)
{
    struct house h = house_open(2);

    project(&h, A, 1, 1, 0);
    kit_done(h.o, A);
    project(&h, A, 1, 1, PUT_FORCE); /* a rebuild of the same */
    die(&h, A);
    pass(&h, MINUTE + 1);
    ck_assert(!is_tried(&h, A) && !has_letter(&h, A));
    house_close(&h);
}
