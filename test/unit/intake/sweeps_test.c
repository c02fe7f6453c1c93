/* sweeps_test.c - which VM is asked to project everything once more, when, and what is said. */

#include "test.h"

#include "dist/fake_dist.c"
#include "ground/fake_log.c"
#include "intake/sweeps.h"
#include "outbox/outbox.h"

/* ---- a store that says what a test says ---------------------------------------------------------
 */

static struct outbox *const the_store = (struct outbox *)&(char){0};
static struct destination_known known;
static struct doubtful_count doubtful;
static struct destination_change changed;
static unsigned changes;
static uint64_t pending;

void outbox_destination(struct outbox *o, struct destination_known *k)
{
    ck_assert_ptr_eq(o, the_store);
    *k = known;
}

void outbox_doubtful(struct outbox *o, struct doubtful_count *n)
{
    ck_assert_ptr_eq(o, the_store);
    *n = doubtful;
}

void outbox_change_destination(struct outbox *o, const struct destination_change *c)
{
    ck_assert_ptr_eq(o, the_store);
    changed = *c;
    changes++;
}

uint64_t outbox_pending(const struct outbox *o)
{
    ck_assert_ptr_eq(o, the_store);
    return pending;
}

/* ---- helpers ---- */

static struct sweeps *sweeps;
static int64_t now_us;

/* A doubt of functions of version 2 that ends with ${to}, and that a VM may mend. */
static void begin(void)
{
    known = (struct destination_known){.functions = 2, .mark = 3, .wanted = 3, .doubt_to = 7};
    snprintf(known.sink, sizeof known.sink, "http");
    snprintf(known.doubt_why, sizeof known.doubt_why, "it was wiped");
    doubtful = (struct doubtful_count){0};
    changes = 0;
    pending = 0;
    now_us = 1000000;
    sweeps = sweeps_new(the_store);
}

static void end(void)
{
    sweeps_free(sweeps);
    fake_dist_reset();
}

static struct caller *offer(const char *request)
{
    struct buf b = {0};
    struct caller *c = kit_caller();

    ck_assert(sweeps_take(sweeps, &kit_session, c, term_of(&b, request)));
    buf_free(&b);
    return c;
}

static void tick(void)
{
    sweeps_tick(sweeps, now_us);
}

static void assert_shown(const char *vm, int64_t eta_s)
{
    struct sweeps_shown shown;

    sweeps_show(sweeps, &shown);
    ck_assert_str_eq(shown.vm, vm);
    ck_assert_int_eq(shown.eta_s, eta_s);
}

#define ASKED    "(ok, {sweep: 8, why: 'it was wiped'})"
#define REPLACED "(ok, replaced)"
#define DRAINING "(error, draining)"

/* ---- what is taken ---- */

TEST(what_is_no_offer_is_not_taken)
{
    static const char *const others[] = {"sweep", "(sweep)", "(sweep, {}, 1)", "(sweeps, {})",
                                         "[]"};
    struct buf b = {0};

    begin();
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        ck_assert(!sweeps_take(sweeps, &kit_session, NULL, term_of(&b, others[i])));
    buf_free(&b);
    end();
}

TEST(an_offer_is_checked)
{
    char request[400];

    begin();
    ck_assert_str_eq(kit_answer_now(offer("(sweep, {})")),
                     "(error, (invalid, 'opts.vm', 'a name of 1 to 127 bytes is wanted'))");
    ck_assert_str_eq(kit_answer_now(offer("(sweep, {vm: 7})")),
                     "(error, (invalid, 'opts.vm', 'a name is wanted'))");
    ck_assert_str_eq(kit_answer_now(offer("(sweep, {vm: a, running: -1})")),
                     "(error, (invalid, 'opts.running', 'the number of a sweep is wanted'))");
    ck_assert_str_eq(kit_answer_now(offer("(sweep, {vm: a, done: x})")),
                     "(error, (invalid, 'opts.done', 'the number of a sweep is wanted'))");
    snprintf(request, sizeof request, "(sweep, {vm: '%0127d'})", 1);
    ck_assert_ptr_null(kit_answer_now(offer(request)));
    snprintf(request, sizeof request, "(sweep, {vm: '%0128d'})", 1);
    ck_assert_ptr_nonnull(kit_answer_now(offer(request)));
    end();
}

TEST(so_many_vms_may_wait)
{
    struct caller *first = NULL, *c = NULL;
    char request[60];

    begin();
    for (int i = 0; i < 256; i++) {
        snprintf(request, sizeof request, "(sweep, {vm: v%d})", i);
        c = offer(request);
        first = first ? first : c;
        ck_assert_ptr_null(kit_answer_now(c));
    }
    ck_assert_str_eq(kit_answer_now(offer("(sweep, {vm: one_more})")), "(error, busy)");
    c = offer("(sweep, {vm: v0})"); /* it has its place; its former call is given back */
    ck_assert_ptr_null(kit_answer_now(c));
    ck_assert_str_eq(kit_answer_now(first), REPLACED);
    sweeps_free(sweeps);
    ck_assert_str_eq(kit_answer_now(c), DRAINING);
    fake_dist_reset();
    sweeps_free(NULL);
}

/* ---- who is asked ---- */

TEST(who_has_waited_longest_is_asked_once_a_doubt_begins)
{
    begin();
    struct caller *a = offer("(sweep, {vm: a})"), *b = offer("(sweep, {vm: b})");
    tick();
    ck_assert_ptr_null(kit_answer_now(a));
    assert_shown("", -1);
    known.has_doubt = true;
    tick();
    ck_assert_str_eq(kit_answer_now(a), ASKED);
    ck_assert_str_eq(fake_log_last, "sweep.asked vm=a why=\"it was wiped\"");
    assert_shown("a", -1);
    tick();
    ck_assert_ptr_null(kit_answer_now(b)); /* a was asked */
    a = offer("(sweep, {vm: a, running: 8})");
    now_us += 60000000;
    tick();
    ck_assert_ptr_null(kit_answer_now(b)); /* and is at it */
    ck_assert_ptr_null(kit_answer_now(a));
    assert_shown("a", -1);
    a = offer("(sweep, {vm: a, done: 8})");
    tick();
    ck_assert_uint_eq(changes, 1);
    ck_assert_uint_eq(changed.what, DESTINATION_SWEPT);
    ck_assert_uint_eq(changed.to, 7);
    assert_shown("", -1);
    known.is_swept = true;
    tick();
    ck_assert_uint_eq(changes, 1);
    ck_assert_ptr_null(kit_answer_now(b));
    end();
}

TEST(it_is_wanted_only_once_what_is_confirmed_is_believed)
{
    static const struct {
        unsigned functions;
        uint64_t mark;
        const char *sink;
        bool is_swept, is_asked;
    } cases[] = {
        {2, 3, "http", false, true},  {2, 2, "http", false, false}, {1, 2, "http", false, true},
        {0, 3, "http", false, false}, {0, 2, "file", false, true},  {2, 3, "http", true, false},
        {3, 3, "http", false, true},  {3, 4, "http", false, false},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin();
        known.has_doubt = true;
        known.functions = cases[i].functions;
        known.mark = cases[i].mark;
        known.is_swept = cases[i].is_swept;
        snprintf(known.sink, sizeof known.sink, "%s", cases[i].sink);
        struct caller *a = offer("(sweep, {vm: a})");
        tick();
        ck_assert_msg((kit_answer_now(a) != NULL) == cases[i].is_asked, "case %zu", i);
        end();
    }
}

TEST(who_does_not_call_again_in_ten_seconds_is_given_up)
{
    begin();
    known.has_doubt = true;
    struct caller *a = offer("(sweep, {vm: a})"), *b = offer("(sweep, {vm: b})");
    tick();
    ck_assert_str_eq(kit_answer_now(a), ASKED);
    now_us += 10000000;
    tick();
    ck_assert_ptr_null(kit_answer_now(b));
    now_us += 1;
    tick();
    ck_assert_str_eq(kit_answer_now(b), ASKED);
    assert_shown("b", -1);
    end();
}

TEST(whose_connection_has_ended_is_forgotten)
{
    begin();
    struct caller *a = offer("(sweep, {vm: a, running: 8})"), *b = offer("(sweep, {vm: b})");
    known.has_doubt = true;
    tick();
    assert_shown("a", -1);
    a->is_gone = true;
    tick();
    ck_assert_str_eq(kit_answer_now(a), REPLACED);
    ck_assert_str_eq(kit_answer_now(b), ASKED);
    end();
}

/* One that still speaks of a former sweep is asked anew. */
TEST(another_doubt_is_another_sweep)
{
    begin();
    known.has_doubt = true;
    struct caller *a = offer("(sweep, {vm: a, running: 5, done: 4})");
    tick();
    ck_assert_str_eq(kit_answer_now(a), ASKED);
    ck_assert_uint_eq(changes, 0);
    end();
}

/* ---- how far it is ---- */

static void count(uint64_t logged, uint64_t unlogged)
{
    doubtful.is_whole = true;
    doubtful.logged = logged;
    doubtful.unlogged = unlogged;
}

TEST(how_long_it_takes_is_reckoned_from_what_was_done)
{
    begin();
    count(100, 0);
    tick();
    assert_shown("", -1); /* nothing is in doubt */
    known.has_doubt = true;
    doubtful.is_whole = false;
    tick();
    assert_shown("", -1); /* not counted yet */
    count(100, 0);
    tick();
    assert_shown("", -1); /* nothing done yet */
    now_us += 10000000;
    count(80, 0);
    tick();
    assert_shown("", 41); /* 80 at 2 a second, and one for the rest */
    now_us += 10000000;
    count(50, 0);
    tick();
    assert_shown("", 21);
    count(0, 5);
    tick();
    assert_shown("", 0);
    known.doubt_to = 9; /* another doubt is reckoned anew */
    count(40, 0);
    tick();
    assert_shown("", -1);
    now_us += 1000000;
    count(39, 0);
    tick();
    assert_shown("", 40);
    known.has_doubt = false;
    tick();
    assert_shown("", -1);
    end();
}

/* ---- what is left for an operator ---- */

#define LEFT                                                                                       \
    "sweep.left documents=2 without_log=1 first=\"a b\" next=\"upsert them again, or say "         \
    "convex_sidecar adopt if Convex is right\""

TEST(what_is_left_is_said_once_a_doubt)
{
    begin();
    known.has_doubt = true;
    count(2, 1);
    doubtful.id_count = 2;
    snprintf(doubtful.ids[0], sizeof doubtful.ids[0], "a");
    snprintf(doubtful.ids[1], sizeof doubtful.ids[1], "b");
    tick();
    ck_assert_int_eq(fake_log_lines[LOG_WARNING], 0); /* not swept */
    known.is_swept = true;
    pending = 1;
    tick();
    ck_assert_int_eq(fake_log_lines[LOG_WARNING], 0); /* some of it is on its way */
    pending = 0;
    doubtful.is_whole = false;
    tick();
    ck_assert_int_eq(fake_log_lines[LOG_WARNING], 0);
    doubtful.is_whole = true;
    tick();
    ck_assert_int_eq(fake_log_lines[LOG_WARNING], 1);
    ck_assert_str_eq(fake_log_last, LEFT);
    tick();
    ck_assert_int_eq(fake_log_lines[LOG_WARNING], 1);
    known.is_swept = false; /* it is swept once more: then it is said once more */
    tick();
    known.is_swept = true;
    tick();
    ck_assert_int_eq(fake_log_lines[LOG_WARNING], 2);
    known.has_doubt = false;
    tick();
    ck_assert_int_eq(fake_log_lines[LOG_INFO], 1);
    ck_assert_str_eq(fake_log_last, "sweep.mended everything that was doubtful is confirmed anew");
    tick();
    ck_assert_int_eq(fake_log_lines[LOG_INFO], 1);
    end();
}

TEST(what_has_no_log_is_said_whatever_is_pending)
{
    begin();
    known.has_doubt = known.is_swept = true;
    count(0, 0);
    tick();
    ck_assert_int_eq(fake_log_lines[LOG_WARNING], 0); /* nothing is left */
    count(0, 1);
    pending = 5;
    tick();
    ck_assert_int_eq(fake_log_lines[LOG_WARNING], 1);
    end();
}
