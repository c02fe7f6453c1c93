/*
 * dispatch_test.c - delivery against an outbox in memory, a scripted sink and a clock that stands.
 *
 * Time moves only by fake_advance, so waits are exact and tests take no time.  A test waits for a
 * condition (UNTIL); to say that nothing more happens it asks the delivery thread for one whole
 * pass more (rest).
 */

#include "test.h"
#include "beat_kit.h"

#include "delivery/dispatch.h"
#include "ground/metrics.h"

#include "outbox/fake_outbox.c"
#include "sink/fake_sink.c"

#include <time.h>

struct house {
    struct outbox *outbox;
    struct fake_sink *sink;
    struct dispatch *dispatch;
};

static const struct dispatch_options usual = {.max_in_flight = 4,
                                              .min_interval_ms = 50,
                                              .backoff_min_ms = 100,
                                              .backoff_max_ms = 1000,
                                              .probe_ms = 30000};

static void open_house(struct house *h, size_t max_documents,
                       const struct dispatch_options *options)
{
    h->outbox = fake_outbox_new();
    h->sink = fake_sink_new(max_documents);
    h->dispatch = dispatch_open(h->outbox, &h->sink->base, options);
    h->outbox->on_work_arg = h->dispatch;
    h->outbox->on_work = dispatch_wake;
}

static void close_house(struct house *h)
{
    dispatch_stop(h->dispatch, 0);
    dispatch_close(h->dispatch);
    ck_assert_uint_eq(h->outbox->order_faults, 0);
    fake_sink_free(h->sink);
    fake_outbox_free(h->outbox);
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
}

#define UNTIL(condition)                                                                           \
    do {                                                                                           \
        int tries_ = 0;                                                                            \
        while (!(condition)) {                                                                     \
            ck_assert_msg(tries_++ < 200000, "never true: " #condition);                           \
            nap();                                                                                 \
        }                                                                                          \
    } while (0)

/* Until the delivery thread has made one whole pass more and waits. */
static void rest(struct house *h)
{
    unsigned asked = fake_ask(h->sink);

    UNTIL(fake_has_rested(h->sink, asked));
}

static struct dispatch_status status(struct house *h)
{
    struct dispatch_status s;

    dispatch_status(h->dispatch, &s);
    return s;
}

/* Put documents ${name}1 to ${name}N while delivery is paused, so that they go together. */
static void put_many(struct house *h, const char *name, unsigned count)
{
    char id[64];

    dispatch_pause(h->dispatch);
    rest(h);
    for (unsigned i = 1; i <= count; i++) {
        snprintf(id, sizeof id, "%s%u", name, i);
        fake_outbox_put(h->outbox, id, 1);
    }
    dispatch_resume(h->dispatch);
}

/* Let time pass in small steps, each of which delivery sees. */
static void live(struct house *h, int64_t ms, int64_t step_ms)
{
    for (int64_t t = 0; t < ms; t += step_ms) {
        fake_advance(h->sink, step_ms);
        rest(h);
    }
}

/* ---- rules ----------------------------------------------------------------------- */

static bool holds(const struct sink_call *c, const char *prefix)
{
    for (size_t i = 0; i < c->count; i++)
        if (strncmp(c->ids[i], prefix, strlen(prefix)) == 0)
            return true;
    return false;
}

static bool say(struct verdict *v, enum verdict_kind kind, const char *why)
{
    v->kind = kind;
    snprintf(v->why, sizeof v->why, "%s", why);
    return true;
}

#define RULE(name)                                                                                 \
    static bool name(struct fake_sink *s CK_ATTRIBUTE_UNUSED,                                      \
                     const struct sink_call *c CK_ATTRIBUTE_UNUSED,                                \
                     struct verdict *overall CK_ATTRIBUTE_UNUSED,                                  \
                     struct verdict *each CK_ATTRIBUTE_UNUSED, bool *use_each CK_ATTRIBUTE_UNUSED)

RULE(refuses_bad)
{
    return say(overall, holds(c, "bad") ? VERDICT_REFUSED : VERDICT_DONE, "Value is too large");
}

RULE(refuses_all)
{
    return say(overall, VERDICT_REFUSED, "Could not find public function");
}

RULE(refuses_each)
{
    *use_each = true;
    for (size_t i = 0; i < c->count; i++)
        say(&each[i], VERDICT_REFUSED, "ArgumentValidationError");
    return say(overall, VERDICT_DONE, "");
}

RULE(mixes)
{
    *use_each = true;
    for (size_t i = 0; i < c->count; i++)
        if (strncmp(c->ids[i], "bad", 3) == 0)
            say(&each[i], VERDICT_REFUSED, "ArgumentValidationError");
        else if (strncmp(c->ids[i], "later", 5) == 0 && s->calls == 1)
            say(&each[i], VERDICT_AGAIN, "busy");
    return say(overall, VERDICT_DONE, "");
}

/* As after a crash: what stands there already is done without a write, new documents are refused.
 */
RULE(writes_nothing_new)
{
    *use_each = true;
    for (size_t i = 0; i < c->count; i++)
        if (strncmp(c->ids[i], "known", 5) == 0)
            each[i].outcome = OUTCOME_UNCHANGED;
        else
            say(&each[i], VERDICT_REFUSED, "against the schema");
    return say(overall, VERDICT_DONE, "");
}

RULE(says_again)
{
    return say(overall, VERDICT_AGAIN, "503 WorkerOverloaded");
}

RULE(says_again_in_7_s)
{
    overall->after_ms = 7000;
    return say(overall, VERDICT_AGAIN, "429 TooManyWrites");
}

RULE(refuses_by_nature)
{
    overall->is_endpoints = true;
    return say(overall, VERDICT_REFUSED, "401 BadAdminKey");
}

RULE(breaks_on_poison)
{
    return say(overall, holds(c, "poison") ? VERDICT_UNKNOWN : VERDICT_DONE, "500");
}

RULE(breaks_on_poison_alone)
{
    PRE(!holds(c, "poison") || c->count == 1);
    return breaks_on_poison(s, c, overall, each, use_each);
}

/* ---- the happy path ---------------------------------------------------------------- */

TEST(sends_at_once_and_settles)
{
    struct house h;

    open_house(&h, 64, &usual);
    fake_outbox_put(h.outbox, "a", 1);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    fake_outbox_put(h.outbox, "b", 1);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    ck_assert_uint_eq(h.sink->calls, 2);
    ck_assert_int_eq(fake_outbox_look(h.outbox, "a").delivered_seq, 1);
    UNTIL(status(&h).endpoint.state == DISPATCH_RUNNING);
    ck_assert_str_eq(status(&h).endpoint.why, "");
    close_house(&h);
}

static uint64_t count_calls_timed(uint64_t *sum_us)
{
    struct metric_pile p;
    uint64_t n = 0;

    metric_pile_get(HISTOGRAM_CALL_TIME, &p);
    for (size_t i = 0; i <= METRIC_BUCKET_COUNT; i++)
        n += p.count[i];
    *sum_us = p.sum_us;
    return n;
}

/* One call of three, which is done; one that comes to nothing, and what is sent again. */
TEST(calls_and_what_became_of_them_are_counted)
{
    struct house h;
    uint64_t calls = metric_get(METRIC_CALLS), delivered = metric_get(METRIC_DELIVERED);
    uint64_t retried = metric_get(METRIC_RETRIED), sum_us, sum_later_us;
    uint64_t done = metric_labelled_get(LABELLED_VERDICTS, 0, VERDICT_DONE);
    uint64_t again = metric_labelled_get(LABELLED_VERDICTS, 0, VERDICT_AGAIN);
    uint64_t timed = count_calls_timed(&sum_us);

    open_house(&h, 64, &usual);
    put_many(&h, "d", 3);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    rest(&h);
    ck_assert_uint_eq(metric_get(METRIC_CALLS), calls + 1);
    ck_assert_uint_eq(metric_get(METRIC_DELIVERED), delivered + 3);
    ck_assert_uint_eq(metric_get(METRIC_RETRIED), retried);
    ck_assert_uint_eq(metric_labelled_get(LABELLED_VERDICTS, 0, VERDICT_DONE), done + 3);
    ck_assert_uint_eq(count_calls_timed(&sum_later_us), timed + 1);
    fake_rule_set(h.sink, says_again);
    fake_outbox_put(h.outbox, "e", 1);
    UNTIL(fake_calls(h.sink) == 2);
    rest(&h);
    ck_assert_uint_eq(metric_labelled_get(LABELLED_VERDICTS, 0, VERDICT_AGAIN), again + 1);
    fake_rule_set(h.sink, always_done);
    live(&h, 5000, 50);
    ck_assert_uint_eq(fake_outbox_pending(h.outbox), 0);
    ck_assert_uint_ge(fake_calls(h.sink), 3);
    ck_assert_uint_eq(metric_get(METRIC_DELIVERED), delivered + 4);
    ck_assert_uint_eq(metric_get(METRIC_RETRIED), retried + fake_calls(h.sink) - 2);
    ck_assert_uint_eq(metric_labelled_get(LABELLED_VERDICTS, 0, VERDICT_DONE), done + 4);
    close_house(&h);
}

TEST(what_is_under_way_and_allowed_is_shown)
{
    struct house h;

    open_house(&h, 64, &usual);
    fake_rule_set(h.sink, left_in_flight);
    fake_outbox_put(h.outbox, "a", 1);
    UNTIL(fake_calls(h.sink) == 1);
    rest(&h);
    ck_assert_uint_eq(metric_get(METRIC_IN_FLIGHT), 1);
    ck_assert_uint_eq(metric_get(METRIC_CONCURRENCY_LIMIT), status(&h).limit);
    ck_assert_uint_ge(metric_get(METRIC_CONCURRENCY_LIMIT), 1);
    ck_assert_uint_eq(metric_get(METRIC_PAUSED), 0);
    dispatch_pause(h.dispatch);
    rest(&h);
    ck_assert_uint_eq(metric_get(METRIC_PAUSED), 1);
    dispatch_resume(h.dispatch);
    fake_rule_set(h.sink, always_done);
    pthread_mutex_lock(&h.sink->lock);
    h.sink->in_flight->verdict.kind = VERDICT_DONE;
    h.sink->in_flight->is_ready = true;
    pthread_mutex_unlock(&h.sink->lock);
    fake_poke(h.sink);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    rest(&h);
    ck_assert_uint_eq(metric_get(METRIC_IN_FLIGHT), 0);
    ck_assert_uint_eq(metric_get(METRIC_PAUSED), 0);
    close_house(&h);
}

TEST(what_waits_goes_in_full_batches)
{
    struct house h;

    open_house(&h, 64, &usual);
    put_many(&h, "d", 150);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    ck_assert_uint_eq(h.sink->calls, 3);
    ck_assert_uint_eq(h.sink->sizes[0], 64);
    ck_assert_uint_eq(h.sink->sizes[1], 64);
    ck_assert_uint_eq(h.sink->sizes[2], 22);
    ck_assert_str_eq(h.sink->firsts[1], "d65"); /* arrival order */
    close_house(&h);
}

TEST(a_call_that_is_full_by_bytes_is_sent_and_the_rest_follows)
{
    struct house h;

    open_house(&h, 64, &usual);
    h.sink->bytes_max = 10;
    put_many(&h, "d", 25);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    ck_assert_uint_eq(h.sink->calls, 3);
    ck_assert_uint_eq(h.sink->sizes[0], 10);
    close_house(&h);
}

TEST(a_settlement_nobody_announces_is_found)
{
    struct house h;

    open_house(&h, 64, &usual);
    fake_rule_set(h.sink, left_in_flight);
    fake_outbox_put(h.outbox, "a", 1);
    UNTIL(fake_calls(h.sink) == 1);
    fake_outbox_put(h.outbox, "a", 2); /* while the first is in flight */
    fake_outbox_fail(h.outbox, true);
    fake_sink_answer(h.sink, 1, VERDICT_DONE);
    rest(&h);
    h.outbox->silent = true;
    fake_outbox_fail(h.outbox, false);
    ck_assert_int_eq(fake_outbox_look(h.outbox, "a").delivered_seq, 1);
    fake_rule_set(h.sink, always_done);
    for (int tries = 0; fake_outbox_look(h.outbox, "a").delivered_seq < 2; tries++) {
        ck_assert_int_lt(tries, 1000);
        fake_advance(h.sink, 5); /* no pass is asked for: the wait must be short by itself */
        nap();
    }
    close_house(&h);
}

/* ---- witnesses ------------------------------------------------------------------------ */

TEST(what_stands_there_already_is_no_witness)
{
    struct house h;
    char id[64];

    open_house(&h, 64, &usual);
    fake_rule_set(h.sink, writes_nothing_new);
    dispatch_pause(h.dispatch);
    rest(&h);
    fake_outbox_put(h.outbox, "new", 1);
    fake_outbox_put(h.outbox, "known0", 1);
    dispatch_resume(h.dispatch);
    for (unsigned i = 1; i < 50; i++) { /* none of which says whether it would be written */
        snprintf(id, sizeof id, "known%u", i);
        fake_outbox_put(h.outbox, id, 1);
        live(&h, 1000, 100);
        ck_assert(!fake_document(h.outbox, "new")->dead);
    }
    fake_rule_set(h.sink, always_done);
    live(&h, 60000, 100);
    ck_assert_int_eq(fake_outbox_look(h.outbox, "new").delivered_seq, 1);
    close_house(&h);
}

/* ---- order and spacing --------------------------------------------------------------- */

TEST(one_document_is_written_once_in_an_interval_and_its_last_version_is_not_lost)
{
    struct house h;
    int64_t begun_us = fake_now_us;

    open_house(&h, 64, &usual);
    fake_outbox_put(h.outbox, "a", 1);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    fake_outbox_put(h.outbox, "a", 2);
    fake_outbox_put(h.outbox, "a", 3);
    rest(&h);
    fake_advance(h.sink, 49);
    rest(&h);
    ck_assert_uint_eq(h.sink->calls, 1);
    fake_advance(h.sink, 1);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    ck_assert_uint_eq(h.sink->calls, 2);
    ck_assert_int_eq(h.sink->times_us[0], begun_us);
    ck_assert_int_eq(h.sink->times_us[1], begun_us + 50000);
    ck_assert_int_eq(fake_outbox_look(h.outbox, "a").delivered_seq, 3);
    fake_advance(h.sink, 50);
    fake_outbox_put(h.outbox, "a", 4);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    ck_assert_int_eq(h.sink->times_us[2], begun_us + 100000);
    close_house(&h);
}

static int64_t slow_beats(const void *beat_ms, struct slice kind)
{
    return slice_is(kind, "beat") ? *(const int64_t *)beat_ms : -1;
}

TEST(a_kind_has_an_interval_of_its_own)
{
    struct house h;
    const int64_t begun_us = fake_now_us, beat_ms = 1000;
    struct dispatch_options options = usual;

    options.interval_ms = slow_beats;
    options.interval_arg = &beat_ms;
    open_house(&h, 1, &options);
    for (int64_t seq = 1; seq <= 2; seq++) {
        fake_outbox_put(h.outbox, "beat:a", seq);
        fake_outbox_put(h.outbox, "run:b", seq);
        UNTIL(fake_outbox_look(h.outbox, "run:b").delivered_seq == seq);
        if (seq == 1)
            UNTIL(fake_outbox_pending(h.outbox) == 0);
        fake_advance(h.sink, seq == 1 ? 50 : 949);
    }
    rest(&h);
    ck_assert_int_eq(fake_outbox_look(h.outbox, "beat:a").delivered_seq, 1);
    fake_advance(h.sink, 1);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    ck_assert_int_eq(fake_outbox_look(h.outbox, "beat:a").delivered_seq, 2);
    ck_assert_int_eq(h.sink->times_us[h.sink->calls - 1], begun_us + 1000000);
    close_house(&h);
}

TEST(a_version_kept_while_an_older_one_is_in_flight_follows_it)
{
    struct house h;

    open_house(&h, 64, &usual);
    fake_rule_set(h.sink, left_in_flight);
    fake_outbox_put(h.outbox, "a", 1);
    UNTIL(fake_calls(h.sink) == 1);
    fake_outbox_put(h.outbox, "a", 2);
    fake_outbox_put(h.outbox, "a", 3);
    fake_advance(h.sink, 1000);
    rest(&h);
    ck_assert_uint_eq(fake_calls(h.sink), 1); /* never two at once */
    fake_sink_answer(h.sink, 1, VERDICT_DONE);
    UNTIL(fake_calls(h.sink) == 2);
    fake_sink_answer(h.sink, 2, VERDICT_DONE);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    ck_assert_uint_eq(fake_outbox_look(h.outbox, "a").deliveries, 2);
    ck_assert_int_eq(fake_outbox_look(h.outbox, "a").delivered_seq, 3);
    close_house(&h);
}

TEST(delivery_that_is_held_sends_nothing_until_it_is_adopted)
{
    struct house h;
    struct dispatch_options options = usual;

    options.held_why = "kept for others";
    options.held_next = "say adopt";
    h.outbox = fake_outbox_new();
    h.sink = fake_sink_new(64);
    h.dispatch = dispatch_open(h.outbox, &h.sink->base, &options);
    h.outbox->on_work_arg = h.dispatch;
    h.outbox->on_work = dispatch_wake;
    ck_assert_int_eq(status(&h).endpoint.state, DISPATCH_STOPPED); /* before the thread has begun */
    ck_assert_str_eq(status(&h).endpoint.why, "kept for others");
    fake_outbox_put(h.outbox, "a", 1);
    dispatch_resume(h.dispatch);
    dispatch_reload(h.dispatch);
    live(&h, 120000, 10000);
    ck_assert_uint_eq(fake_calls(h.sink), 0);
    ck_assert_int_eq(status(&h).endpoint.state, DISPATCH_STOPPED);
    ck_assert_str_eq(status(&h).endpoint.why, "kept for others");
    ck_assert_str_eq(status(&h).next, "say adopt");
    ck_assert_uint_eq(metric_get(METRIC_STOPPED), 1);
    dispatch_adopt(h.dispatch);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    close_house(&h);
}

/* One document changes whenever it was sent; the others still go in the order of arrival. */
TEST(a_hot_document_does_not_starve_others)
{
    struct house h;
    struct dispatch_options options = usual;
    unsigned hot = 0;
    char id[16];

    options.min_interval_ms = 0;
    options.max_in_flight = 1;
    open_house(&h, 1, &options);
    fake_rule_set(h.sink, left_in_flight);
    fake_outbox_put(h.outbox, "hot", 1);
    UNTIL(fake_calls(h.sink) == 1);
    for (int i = 0; i < 10; i++) {
        snprintf(id, sizeof id, "cold%d", i);
        fake_outbox_put(h.outbox, id, 1);
    }
    for (unsigned no = 1; no <= 20; no++) {
        fake_outbox_put(h.outbox, "hot", no + 1);
        fake_sink_answer(h.sink, no, VERDICT_DONE);
        UNTIL(fake_calls(h.sink) == no + 1);
        hot += strcmp(h.sink->firsts[no], "hot") == 0;
    }
    ck_assert_uint_ge(hot, 9);
    ck_assert_uint_le(hot, 11);
    ck_assert_int_eq(fake_outbox_look(h.outbox, "cold8").delivered_seq, 1);
    close_house(&h);
}

static uint64_t dice = 12345;

RULE(is_moody)
{
    dice = dice * 6364136223846793005u + 1442695040888963407u;
    switch (dice >> 61) {
    case 0:
        return say(overall, VERDICT_AGAIN, "503");
    case 1:
        return say(overall, VERDICT_UNKNOWN, "timeout");
    case 2:
        return false;
    default:
        return say(overall, VERDICT_DONE, "");
    }
}

static void *submit_versions(void *arg)
{
    struct house *h = arg;
    char id[16];

    for (int64_t seq = 1; seq <= 200; seq++)
        for (int i = 0; i < 10; i++) {
            snprintf(id, sizeof id, "d%d", i);
            fake_outbox_put(h->outbox, id, seq);
        }
    return NULL;
}

TEST(order_per_document_holds_under_retries)
{
    struct house h;
    pthread_t submitter;
    char id[16];

    open_house(&h, 4, &usual);
    fake_rule_set(h.sink, is_moody);
    ck_assert_int_eq(pthread_create(&submitter, NULL, submit_versions, &h), 0);
    for (int i = 0; i < 400; i++) {
        fake_advance(h.sink, 20);
        pthread_mutex_lock(&h.sink->lock);
        for (struct sink_call *c = h.sink->in_flight; c != NULL; c = c->next) {
            c->verdict.kind = i % 3 == 0 ? VERDICT_UNKNOWN : VERDICT_DONE;
            c->is_ready = true;
        }
        pthread_mutex_unlock(&h.sink->lock);
        fake_poke(h.sink);
        nap();
    }
    pthread_join(submitter, NULL);
    fake_rule_set(h.sink, always_done);
    pthread_mutex_lock(&h.sink->lock);
    for (struct sink_call *c = h.sink->in_flight; c != NULL; c = c->next)
        c->is_ready = true;
    pthread_mutex_unlock(&h.sink->lock);
    live(&h, 5000, 50);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    for (int i = 0; i < 10; i++) {
        snprintf(id, sizeof id, "d%d", i);
        ck_assert_int_eq(fake_outbox_look(h.outbox, id).delivered_seq, 200);
    }
    close_house(&h); /* checks the order of settlements, and that no document was in two calls */
}

/* ---- refused --------------------------------------------------------------------------- */

TEST(what_cannot_be_sent_is_dead_at_once_and_holds_nobody_up)
{
    struct house h;

    open_house(&h, 64, &usual);
    dispatch_pause(h.dispatch);
    rest(&h);
    fake_outbox_put(h.outbox, "bad\xff", 1);
    for (int i = 0; i < 5; i++) {
        char id[16];
        snprintf(id, sizeof id, i % 2 ? "worse\xc3%d" : "good%d", i);
        fake_outbox_put(h.outbox, id, 1);
    }
    dispatch_resume(h.dispatch);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    struct fake_document bad = fake_outbox_look(h.outbox, "bad\xff");
    ck_assert(bad.dead);
    ck_assert_uint_eq(bad.attempts, 0);
    ck_assert_ptr_nonnull(strstr(bad.why, "its document_id is not UTF-8: byte 3 is 0xff"));
    ck_assert_ptr_nonnull(strstr(bad.why, "drop this letter"));
    ck_assert(fake_outbox_look(h.outbox, "worse\xc3"
                                         "3")
                  .dead);
    ck_assert_uint_eq(fake_outbox_look(h.outbox, "good4").deliveries, 1);
    ck_assert_uint_eq(h.sink->calls, 1);
    ck_assert_int_eq(status(&h).endpoint.state, DISPATCH_RUNNING);
    close_house(&h);
}

TEST(a_refused_batch_is_halved_to_the_culprit)
{
    struct house h;

    open_house(&h, 64, &usual);
    fake_rule_set(h.sink, refuses_bad);
    dispatch_pause(h.dispatch);
    rest(&h);
    for (int i = 0; i < 64; i++) {
        char id[16];
        snprintf(id, sizeof id, i == 37 ? "bad" : "good%d", i);
        fake_outbox_put(h.outbox, id, 1);
    }
    dispatch_resume(h.dispatch);
    live(&h, 5000, 100);
    fake_outbox_put(h.outbox, "witness", 1);
    live(&h, 500, 100);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    struct fake_document bad = fake_outbox_look(h.outbox, "bad");
    ck_assert(bad.dead);
    ck_assert_str_eq(bad.why, "Value is too large");
    ck_assert_uint_eq(bad.answer_bytes, 4096);
    ck_assert_uint_ge(bad.attempts, 7);
    ck_assert_uint_eq(bad.deliveries, 0);
    ck_assert_uint_le(h.sink->calls, 22);
    ck_assert_int_eq(fake_outbox_look(h.outbox, "good63").delivered_seq, 1);
    UNTIL(status(&h).endpoint.state == DISPATCH_RUNNING);
    close_house(&h);
}

/* It is sent, refused and kept for as long as there is no room for its letter: not in a hot loop.
 */
TEST(what_the_outbox_keeps_for_want_of_room_for_letters_is_sent_at_a_distance)
{
    struct house h;

    open_house(&h, 64, &usual);
    h.outbox->letters_full = true;
    fake_rule_set(h.sink, refuses_bad);
    fake_outbox_put(h.outbox, "bad", 1);
    for (int i = 0; i < 100; i++) {
        char id[16];
        snprintf(id, sizeof id, "witness%d", i);
        fake_outbox_put(h.outbox, id, 1);
        live(&h, 100, 50);
    }
    unsigned calls = fake_calls(h.sink);
    ck_assert_uint_ge(calls, 100 + 5);
    ck_assert_uint_le(calls, 100 + 100);
    ck_assert(!fake_outbox_look(h.outbox, "bad").dead);
    ck_assert_uint_eq(fake_outbox_pending(h.outbox), 1);
    h.outbox->letters_full = false;
    live(&h, 5000, 50);
    ck_assert(fake_outbox_look(h.outbox, "bad").dead);
    ck_assert_uint_eq(fake_outbox_pending(h.outbox), 0);
    close_house(&h);
}

TEST(verdicts_for_each_document_are_followed)
{
    struct house h;

    open_house(&h, 64, &usual);
    fake_rule_set(h.sink, mixes);
    dispatch_pause(h.dispatch);
    rest(&h);
    fake_outbox_put(h.outbox, "good", 1);
    fake_outbox_put(h.outbox, "bad", 1);
    fake_outbox_put(h.outbox, "later", 1);
    dispatch_resume(h.dispatch);
    UNTIL(fake_calls(h.sink) == 1);
    live(&h, 50, 50);
    UNTIL(fake_outbox_look(h.outbox, "bad").dead);
    ck_assert_int_eq(fake_outbox_look(h.outbox, "good").delivered_seq, 1);
    UNTIL(status(&h).endpoint.state == DISPATCH_RUNNING); /* the fault is not the endpoint's */
    rest(&h);
    fake_outbox_put(h.outbox, "other", 1); /* goes on meanwhile */
    UNTIL(fake_outbox_look(h.outbox, "other").delivered_seq == 1);
    fake_advance(h.sink, 100);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    ck_assert_int_eq(fake_outbox_look(h.outbox, "later").delivered_seq, 1);
    close_house(&h);
}

static void put_around(struct house *h, unsigned before, unsigned bad, unsigned after)
{
    dispatch_pause(h->dispatch);
    rest(h);
    h->outbox->on_work = NULL;
    for (unsigned i = 0; i < before + bad + after; i++) {
        char id[16];
        snprintf(id, sizeof id, i >= before && i < before + bad ? "bad%u" : "good%u", i);
        fake_outbox_put(h->outbox, id, 1);
    }
    h->outbox->on_work = dispatch_wake;
    dispatch_resume(h->dispatch);
}

static unsigned dead_among(struct house *h, const char *name, unsigned from, unsigned to)
{
    unsigned dead = 0;

    for (unsigned i = from; i < to; i++) {
        char id[16];
        snprintf(id, sizeof id, "%s%u", name, i);
        dead += fake_outbox_look(h->outbox, id).dead;
    }
    return dead;
}

/* All good ones are delivered and all bad ones die, at once and without a stop. */
static void bad_ones_among_good_ones(unsigned before, unsigned bad, unsigned after)
{
    struct house h;

    open_house(&h, 64, &usual);
    fake_rule_set(h.sink, mixes);
    h.sink->control.kind = VERDICT_DONE; /* the last of them have no other witness */
    put_around(&h, before, bad, after);
    live(&h, 20000, 100);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    ck_assert_uint_eq(dead_among(&h, "bad", before, before + bad), bad);
    ck_assert_uint_eq(dead_among(&h, "good", 0, before), 0);
    ck_assert_uint_eq(dead_among(&h, "good", before + bad, before + bad + after), 0);
    ck_assert_uint_le(fake_calls(h.sink), (before + bad + after) / 64 + 3 + 2 * bad);
    UNTIL(status(&h).endpoint.state == DISPATCH_RUNNING);
    close_house(&h);
}

TEST(ten_refused_in_the_answer_that_accepts_the_rest_do_not_stop_delivery)
{
    bad_ones_among_good_ones(20, 10, 30);
}

TEST(eight_refused_among_512_do_not_stop_delivery)
{
    bad_ones_among_good_ones(256, 8, 256);
}

TEST(whole_calls_of_refused_ones_between_good_ones_do_not_stop_delivery)
{
    bad_ones_among_good_ones(500, 300, 500);
}

RULE(refuses_bad_in_company)
{
    *use_each = true;
    for (size_t i = 0; i < c->count && c->count > 1; i++)
        if (strncmp(c->ids[i], "bad", 3) == 0)
            say(&each[i], VERDICT_REFUSED, "Too many bytes in all");
    return say(overall, VERDICT_DONE, "");
}

TEST(what_is_refused_in_company_and_accepted_alone_is_delivered)
{
    struct house h;

    open_house(&h, 64, &usual);
    fake_rule_set(h.sink, refuses_bad_in_company);
    put_around(&h, 3, 3, 3);
    live(&h, 200, 50);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    ck_assert_uint_eq(dead_among(&h, "bad", 3, 6), 0);
    ck_assert_int_eq(fake_outbox_look(h.outbox, "bad4").delivered_seq, 1);
    close_house(&h);
}

/* Everything is refused: delivery is stopped, nothing dies, trials are few, and it ends by itself.
 */
static void everything_refused(fake_rule *rule, unsigned count, const char *why)
{
    struct house h;

    open_house(&h, 64, &usual);
    fake_outbox_put(h.outbox, "before", 1); /* something was done a moment ago */
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    fake_rule_set(h.sink, rule);
    put_many(&h, "d", count);
    live(&h, 10000, 100);
    ck_assert_str_eq(rule == refuses_each ? status(&h).kinds[0].scope.why : status(&h).endpoint.why,
                     why);
    ck_assert_uint_eq(dead_among(&h, "d", 1, count + 1), 0);
    unsigned calls = fake_calls(h.sink);
    live(&h, 90000, 10000);
    ck_assert_uint_le(fake_calls(h.sink), calls + 10);
    ck_assert_uint_eq(h.sink->sizes[calls], 1);
    ck_assert_uint_eq(fake_outbox_pending(h.outbox), count);
    fake_rule_set(h.sink, always_done);
    live(&h, 60000, 10000);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    UNTIL(status(&h).endpoint.state == DISPATCH_RUNNING);
    ck_assert_uint_eq(status(&h).kind_count, 0);
    close_house(&h);
}

TEST(everything_refused_stops_the_endpoint)
{
    everything_refused(refuses_all, 100, "Could not find public function");
}

TEST(everything_refused_document_by_document_stops_the_kind)
{
    everything_refused(refuses_each, 100, "ArgumentValidationError");
}

TEST(by_nature_the_endpoints_is_said_by_one_answer)
{
    struct house h;

    open_house(&h, 64, &usual);
    fake_rule_set(h.sink, refuses_by_nature);
    put_many(&h, "d", 100);
    UNTIL(status(&h).endpoint.state == DISPATCH_STOPPED);
    rest(&h);
    ck_assert_uint_eq(fake_calls(h.sink), 1);
    live(&h, 300000, 5000);
    ck_assert_int_eq(status(&h).endpoint.state, DISPATCH_STOPPED);
    ck_assert_uint_le(fake_calls(h.sink), 20);
    ck_assert_uint_ge(h.sink->reloads, fake_calls(h.sink) - 2); /* a key before each trial */
    ck_assert_uint_eq(fake_outbox_pending(h.outbox), 100);
    fake_rule_set(h.sink, always_done);
    dispatch_reload(h.dispatch);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    UNTIL(status(&h).endpoint.state == DISPATCH_RUNNING);
    close_house(&h);
}

/* What waits, with nobody to compare it with, is tried ever more rarely, and named. */
TEST(one_refused_document_without_a_witness_waits_and_is_named)
{
    struct house h;

    open_house(&h, 1, &usual);
    fake_outbox_put(h.outbox, "before", 1);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    fake_rule_set(h.sink, refuses_bad);
    fake_outbox_put(h.outbox, "bad", 1);
    live(&h, 60000, 500);
    ck_assert(!fake_outbox_look(h.outbox, "bad").dead);
    ck_assert_int_eq(status(&h).endpoint.state, DISPATCH_RUNNING);
    ck_assert_uint_eq(status(&h).note_count, 1);
    ck_assert_str_eq(status(&h).notes[0].id, "bad");
    ck_assert_str_eq(status(&h).notes[0].why, "Value is too large");
    fake_outbox_put(h.outbox, "good", 1);
    UNTIL(fake_outbox_look(h.outbox, "good").delivered_seq == 1);
    live(&h, 2000, 100);
    ck_assert(fake_outbox_look(h.outbox, "bad").dead); /* refused, a witness, refused */
    UNTIL(status(&h).note_count == 0);
    close_house(&h);
}

/* A sidecar that has just started knows of no control before the functions have said who they are.
 */
TEST(a_control_that_was_not_known_is_asked_for_once_other_functions_answer)
{
    struct house h;

    open_house(&h, 1, &usual);
    fake_learn(h.sink, 0, VERDICT_NONE);
    fake_outbox_put(h.outbox, "before", 1);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    fake_rule_set(h.sink, refuses_bad);
    fake_outbox_put(h.outbox, "bad", 1);
    live(&h, 5000, 100); /* it waits for a witness, and there is none */
    ck_assert(!fake_outbox_look(h.outbox, "bad").dead);
    fake_learn(h.sink, 2, VERDICT_DONE);
    live(&h, 5000, 100);
    ck_assert_uint_ge(fake_controls(h.sink), 1);
    ck_assert(fake_outbox_look(h.outbox, "bad").dead);
    close_house(&h);
}

RULE(leaves_bad_in_flight)
{
    return !holds(c, "bad") && say(overall, VERDICT_DONE, "");
}

/* The trial has to be sent after the witness was accepted: both may have met a fault that passed.
 */
TEST(what_was_sent_before_the_witness_was_accepted_kills_nobody)
{
    struct house h;

    open_house(&h, 1, &usual);
    fake_outbox_put(h.outbox, "before", 1);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    fake_rule_set(h.sink, refuses_bad);
    fake_outbox_put(h.outbox, "bad", 1);
    UNTIL(status(&h).note_count == 1);
    fake_rule_set(h.sink, leaves_bad_in_flight);
    unsigned calls = fake_calls(h.sink);
    for (int i = 0; fake_calls(h.sink) == calls; i++) {
        ck_assert_int_lt(i, 1000);
        live(&h, 50, 50);
    }
    fake_outbox_put(h.outbox, "good", 1);
    UNTIL(fake_outbox_look(h.outbox, "good").delivered_seq == 1);
    fake_sink_answer(h.sink, calls + 1, VERDICT_REFUSED);
    rest(&h);
    ck_assert(!fake_outbox_look(h.outbox, "bad").dead);
    fake_rule_set(h.sink, refuses_bad);
    for (int i = 0; !fake_outbox_look(h.outbox, "bad").dead; i++) {
        ck_assert_int_lt(i, 1000);
        char id[16];
        snprintf(id, sizeof id, "good%d", i);
        fake_outbox_put(h.outbox, id, 1);
        live(&h, 100, 50);
    }
    close_house(&h);
}

/* A schema that refuses all of a kind lets removals through. */
TEST(a_removal_is_no_witness)
{
    struct house h;
    char id[16];

    open_house(&h, 1, &usual);
    fake_outbox_put(h.outbox, "before", 1);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    fake_rule_set(h.sink, refuses_bad);
    fake_outbox_put(h.outbox, "bad", 1);
    UNTIL(status(&h).note_count == 1);
    for (int i = 0; i < 20; i++) {
        snprintf(id, sizeof id, "gone%d", i);
        dispatch_pause(h.dispatch); /* so that it is a removal before it is met */
        rest(&h);
        fake_outbox_remove(h.outbox, id, 1);
        dispatch_resume(h.dispatch);
        UNTIL(fake_outbox_look(h.outbox, id).delivered_seq == 1);
        live(&h, 1000, 100);
    }
    ck_assert(!fake_outbox_look(h.outbox, "bad").dead);
    fake_outbox_put(h.outbox, "good", 1);
    for (int i = 0; !fake_outbox_look(h.outbox, "bad").dead; i++) {
        ck_assert_int_lt(i, 1000);
        live(&h, 100, 50);
    }
    close_house(&h);
}

TEST(with_a_control_one_refused_document_alone_in_the_world_dies)
{
    struct house h;

    open_house(&h, 1, &usual);
    h.sink->control.kind = VERDICT_DONE;
    fake_outbox_put(h.outbox, "before", 1);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    fake_rule_set(h.sink, refuses_bad);
    fake_outbox_put(h.outbox, "bad", 1);
    live(&h, 5000, 100);
    ck_assert(fake_outbox_look(h.outbox, "bad").dead);
    ck_assert_uint_eq(fake_outbox_look(h.outbox, "bad").attempts, 2);
    ck_assert_uint_ge(fake_controls(h.sink), 1);
    close_house(&h);
}

static unsigned attaches(struct house *h)
{
    rest(h);
    pthread_mutex_lock(&h->sink->lock);
    unsigned n = h->sink->attaches;
    pthread_mutex_unlock(&h->sink->lock);
    return n;
}

static void contradict(struct house *h)
{
    h->outbox->contradictions++;
    dispatch_wake(h->dispatch);
}

TEST(answers_that_speak_against_what_stands_have_the_other_side_asked_once_a_minute)
{
    struct house h;

    open_house(&h, 8, &usual);
    fake_outbox_put(h.outbox, "a", 1);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    live(&h, 120000, 10000);
    ck_assert_uint_eq(attaches(&h), 0);
    contradict(&h);
    ck_assert_uint_eq(attaches(&h), 1);
    contradict(&h);
    live(&h, 50000, 10000);
    ck_assert_uint_eq(attaches(&h), 1);
    live(&h, 10000, 1000);
    ck_assert_uint_eq(attaches(&h), 2);
    live(&h, 120000, 10000);
    ck_assert_uint_eq(attaches(&h), 2);
    close_house(&h);
}

/* Also a key that was refused, and another that is accepted: 401 is about the endpoint. */
TEST(an_endpoint_that_is_well_again_is_asked_who_it_is)
{
    struct house h;

    open_house(&h, 8, &usual);
    fake_rule_set(h.sink, refuses_all);
    put_many(&h, "d", 3);
    live(&h, 5000, 100);
    ck_assert_uint_eq(attaches(&h), 0);
    fake_rule_set(h.sink, always_done);
    live(&h, 31000, 1000);
    ck_assert_uint_eq(fake_outbox_pending(h.outbox), 0);
    ck_assert_uint_eq(attaches(&h), 1);
    close_house(&h);
}

/* One kind is refused in the one-document form: its documents wait, the others never do. */
RULE(refuses_a_kind)
{
    return say(overall, holds(c, "broken:") ? VERDICT_REFUSED : VERDICT_DONE, "not deployed");
}

static const char *kind_name(const void *arg, size_t i)
{
    static const char *const names[] = {"broken", "run_summary", "unseen"};

    (void)arg;
    return names[i];
}

static uint64_t gauge(enum metric_labelled f, size_t kind, enum dispatch_state s)
{
    return metric_labelled_get(f, kind, s);
}

TEST(a_kind_that_is_refused_holds_up_no_other)
{
    struct house h;

    metrics_name_kinds(kind_name, NULL, 3);
    open_house(&h, 1, &usual);
    fake_rule_set(h.sink, refuses_a_kind);
    put_many(&h, "broken:", 300);
    put_many(&h, "good", 300);
    for (int i = 0; i < 100 && fake_outbox_pending(h.outbox) > 300; i++)
        live(&h, 100, 10);
    ck_assert_uint_eq(fake_outbox_pending(h.outbox), 300);
    ck_assert_int_eq(status(&h).endpoint.state, DISPATCH_RUNNING);
    ck_assert_uint_eq(status(&h).kind_count, 1);
    ck_assert_str_eq(status(&h).kinds[0].name, "broken");
    ck_assert_int_eq(status(&h).kinds[0].scope.state, DISPATCH_STOPPED);
    ck_assert_str_eq(status(&h).kinds[0].scope.why, "not deployed");
    ck_assert_uint_eq(gauge(LABELLED_ENDPOINT_STATE, 0, DISPATCH_RUNNING), 1);
    ck_assert_uint_eq(gauge(LABELLED_KIND_STATE, 0, DISPATCH_STOPPED), 1);
    ck_assert_uint_eq(gauge(LABELLED_KIND_STATE, 0, DISPATCH_RUNNING), 0);
    ck_assert_uint_ge(gauge(LABELLED_KIND_FAILING, 0, 0), 2);
    for (size_t kind = 1; kind < 3; kind++) {
        ck_assert_uint_eq(gauge(LABELLED_KIND_STATE, kind, DISPATCH_RUNNING), 1);
        ck_assert_uint_eq(gauge(LABELLED_KIND_STATE, kind, DISPATCH_STOPPED), 0);
        ck_assert_uint_eq(gauge(LABELLED_KIND_FAILING, kind, 0), 0);
    }
    dispatch_pause(h.dispatch);
    rest(&h);
    ck_assert_uint_eq(gauge(LABELLED_ENDPOINT_STATE, 0, DISPATCH_PAUSED), 1);
    ck_assert_uint_eq(gauge(LABELLED_ENDPOINT_STATE, 0, DISPATCH_RUNNING), 0);
    fake_rule_set(h.sink, always_done);
    dispatch_resume(h.dispatch);
    for (int i = 0; i < 100 && fake_outbox_pending(h.outbox) > 0; i++)
        live(&h, 100, 10);
    ck_assert_uint_eq(fake_outbox_pending(h.outbox), 0);
    ck_assert_uint_eq(dead_among(&h, "broken:", 1, 301), 0);
    rest(&h);
    ck_assert_uint_eq(gauge(LABELLED_KIND_STATE, 0, DISPATCH_RUNNING), 1);
    ck_assert_uint_eq(gauge(LABELLED_KIND_STATE, 0, DISPATCH_STOPPED), 0);
    ck_assert_uint_eq(gauge(LABELLED_KIND_FAILING, 0, 0), 0);
    close_house(&h);
}

/* A call that hangs takes a slot for half a second, and then none. */
RULE(hangs_on_slow)
{
    return holds(c, "slow") ? false : say(overall, VERDICT_DONE, "");
}

TEST(calls_that_hang_keep_nobody_waiting)
{
    struct house h;

    open_house(&h, 1, &usual);
    fake_rule_set(h.sink, hangs_on_slow);
    fake_outbox_put(h.outbox, "before", 1);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    put_many(&h, "slow", 4); /* as many as the limit */
    UNTIL(fake_calls(h.sink) == 5);
    put_many(&h, "good", 50);
    live(&h, 600, 100);
    UNTIL(fake_outbox_pending(h.outbox) == 4);
    ck_assert_uint_eq(status(&h).overdue, 4);
    close_house(&h);
}

RULE(leaves_the_backlog)
{
    return holds(c, "back") && s->calls > 4 ? false : say(overall, VERDICT_DONE, "");
}

TEST(a_fresh_document_does_not_wait_for_the_backlog)
{
    struct house h;

    open_house(&h, 8, &usual);
    fake_rule_set(h.sink, leaves_the_backlog);
    dispatch_pause(h.dispatch);
    rest(&h);
    for (int i = 0; i < 500; i++) {
        char id[16];
        snprintf(id, sizeof id, "back%d", i);
        fake_outbox_put(h.outbox, id, 1);
    }
    fake_advance(h.sink, 2000); /* kept long ago */
    dispatch_resume(h.dispatch);
    UNTIL(fake_calls(h.sink) >= 5);
    rest(&h);
    fake_outbox_put(h.outbox, "fresh", 1);
    unsigned calls = fake_calls(h.sink);
    fake_sink_answer(h.sink, calls, VERDICT_DONE); /* one slot is free */
    fake_sink_answer(h.sink, calls - 1, VERDICT_DONE);
    UNTIL(fake_calls(h.sink) >= calls + 2);
    ck_assert(strcmp(h.sink->firsts[calls], "fresh") == 0 ||
              strcmp(h.sink->firsts[calls + 1], "fresh") == 0);
    close_house(&h);
}

static unsigned weight_of(const struct sink_call *c)
{
    return (unsigned)c->count;
}

RULE(takes_ten_at_most)
{
    return say(overall, weight_of(c) > 10 ? VERDICT_REFUSED : VERDICT_DONE, "too many bytes read");
}

/* ---- lanes ------------------------------------------------------------------------- */

/* Put ${name}1 to ${name}N into the bulk lane, while delivery is paused. */
static void put_bulk(struct house *h, const char *name, unsigned count)
{
    char id[64];

    dispatch_pause(h->dispatch);
    rest(h);
    for (unsigned i = 1; i <= count; i++) {
        snprintf(id, sizeof id, "%s%u", name, i);
        fake_outbox_keep(h->outbox, id, 1, ORIGIN_REBUILD);
    }
}

static unsigned mixed;

RULE(counts_mixed_calls)
{
    bool live = holds(c, "live"), bulk = holds(c, "bulk");

    mixed += live && bulk;
    return say(overall, VERDICT_DONE, "");
}

TEST(no_call_holds_documents_of_both_lanes)
{
    struct house h;

    mixed = 0;
    open_house(&h, 16, &usual);
    fake_rule_set(h.sink, counts_mixed_calls);
    put_bulk(&h, "bulk", 200);
    put_many(&h, "live", 40);
    live(&h, 3000, 10);
    ck_assert_uint_eq(fake_outbox_pending(h.outbox), 0);
    ck_assert_uint_eq(mixed, 0);
    close_house(&h);
}

#define BULK_TOOK_MS 30

/* Every call stays in flight for its time.  An endpoint that does one thing after another keeps a
 * live call that finds a bulk one under way waiting. */
static struct lanes {
    bool is_serial;
    unsigned in_flight, most, sent;
    int64_t last_us, shortest_us; /* between two bulk calls that begin */
    struct lanes_call {
        unsigned no;
        bool is_bulk;
        int64_t due_us;
    } calls[1024];
} lanes;

RULE(takes_its_time)
{
    bool is_bulk = holds(c, "bulk");
    int64_t ms = is_bulk ? BULK_TOOK_MS : lanes.is_serial && lanes.in_flight > 0 ? 20 : 2;

    ck_assert_uint_lt(lanes.sent, 1024);
    lanes.calls[lanes.sent++] =
        (struct lanes_call){.no = c->no, .is_bulk = is_bulk, .due_us = c->sent_us + 1000 * ms};
    lanes.in_flight += is_bulk;
    lanes.most = lanes.in_flight > lanes.most ? lanes.in_flight : lanes.most;
    if (is_bulk && lanes.last_us > 0 && c->sent_us - lanes.last_us < lanes.shortest_us)
        lanes.shortest_us = c->sent_us - lanes.last_us;
    if (is_bulk)
        lanes.last_us = c->sent_us;
    return false;
}

static void answer_due(struct house *h)
{
    for (unsigned i = 0; i < lanes.sent; i++)
        if (lanes.calls[i].no != 0 && lanes.calls[i].due_us <= clock_mono_us()) {
            lanes.in_flight -= lanes.calls[i].is_bulk;
            fake_sink_answer(h->sink, lanes.calls[i].no, VERDICT_DONE);
            lanes.calls[i].no = 0;
            rest(h);
        }
}

/* For ${ms}, with a live document every 10 ms, if any. */
static void live_beside_bulk(struct house *h, unsigned ms, bool is_live)
{
    static unsigned number;
    char id[32];

    lanes.most = lanes.in_flight;
    lanes.shortest_us = INT64_MAX;
    lanes.last_us = 0;
    for (unsigned t = 0; t < ms; t++) {
        if (is_live && t % 10 == 0) {
            snprintf(id, sizeof id, "live%u", number++);
            fake_outbox_put(h->outbox, id, 1);
            rest(h);
        }
        fake_advance(h->sink, 1);
        rest(h);
        answer_due(h);
    }
}

static void open_lanes(struct house *h, bool is_serial)
{
    memset(&lanes, 0, sizeof lanes);
    lanes.is_serial = is_serial;
    open_house(h, 4, &usual);
    fake_rule_set(h->sink, takes_its_time);
    live_beside_bulk(h, 200, true);
    put_bulk(h, "bulk", 600);
    dispatch_resume(h->dispatch);
    live_beside_bulk(h, 300, true); /* it learns */
}

static void close_lanes(struct house *h)
{
    ck_assert_uint_gt(fake_outbox_pending(h->outbox), 0); /* else it has shown nothing */
    for (unsigned t = 0; fake_outbox_pending(h->outbox) > 0; t++) {
        ck_assert_uint_lt(t, 20000);
        fake_advance(h->sink, 1);
        rest(h);
        answer_due(h);
    }
    close_house(h);
}

TEST(bulk_that_is_in_the_way_has_a_quarter_of_the_slots_and_rests)
{
    struct house h;

    open_lanes(&h, true);
    live_beside_bulk(&h, 900, true);
    ck_assert_uint_eq(lanes.most, 1);
    ck_assert_int_ge(lanes.shortest_us, 3 * 1000 * BULK_TOOK_MS);
    ck_assert_int_le(lanes.shortest_us, 4 * 1000 * BULK_TOOK_MS);
    live_beside_bulk(&h, 1200, false); /* nothing live came for a second: all slots */
    ck_assert_uint_eq(lanes.most, 4);
    close_lanes(&h);
}

TEST(bulk_that_is_in_nobodys_way_is_not_held_back)
{
    struct house h;

    open_lanes(&h, false);
    live_beside_bulk(&h, 300, true);
    ck_assert_uint_ge(lanes.most, 3);
    close_lanes(&h);
}

/* Rule 9: what a user changes does not wait for the sweep it lay in. */
TEST(a_new_version_of_what_lies_at_the_end_of_a_sweep_goes_with_the_live)
{
    struct house h;

    open_house(&h, 16, &usual);
    put_bulk(&h, "bulk", 2000);
    fake_outbox_put(h.outbox, "bulk2000", 2);
    unsigned calls = fake_calls(h.sink);
    fake_rule_set(h.sink, left_in_flight);
    dispatch_resume(h.dispatch);
    rest(&h);
    bool found = false;
    for (unsigned i = calls; i < fake_calls(h.sink); i++)
        found = found || strcmp(h.sink->firsts[i], "bulk2000") == 0;
    ck_assert(found);
    fake_rule_set(h.sink, always_done);
    close_house(&h);
}

/* ${turns}: so many calls before, since whose turn it is decides who meets the moved one first. */
static void move_an_ill_one(unsigned turns)
{
    struct house h;
    char id[16];

    open_house(&h, 16, &usual);
    fake_rule_set(h.sink, breaks_on_poison);
    for (unsigned i = 0; i < turns; i++) {
        snprintf(id, sizeof id, "turn%u", i);
        fake_outbox_put(h.outbox, id, 1);
        UNTIL(fake_outbox_look(h.outbox, id).delivered_seq == 1);
    }
    put_bulk(&h, "poison", 1);
    dispatch_resume(h.dispatch);
    UNTIL(status(&h).note_count == 1);
    dispatch_pause(h.dispatch);
    rest(&h);
    fake_rule_set(h.sink, always_done);
    unsigned calls = fake_calls(h.sink);
    fake_outbox_put(h.outbox, "poison1", 2);
    for (unsigned i = 0; i < 5; i++) {
        snprintf(id, sizeof id, "good%u", i);
        fake_outbox_put(h.outbox, id, 1);
    }
    fake_advance(h.sink, 2000);
    dispatch_resume(h.dispatch);
    live(&h, 5000, 50);
    ck_assert_uint_eq(fake_outbox_pending(h.outbox), 0);
    for (unsigned i = calls; i < fake_calls(h.sink); i++)
        if (strcmp(h.sink->firsts[i], "poison1") == 0)
            ck_assert_uint_eq(h.sink->sizes[i], 1);
    close_house(&h);
}

/* What was ill in the bulk lane is no stranger in the live one: its new version travels alone. */
TEST(what_was_ill_and_has_moved_travels_alone)
{
    for (unsigned turns = 0; turns < 8; turns++)
        move_an_ill_one(turns);
}

TEST(a_size_that_failed_is_remembered)
{
    struct house h;

    open_house(&h, 64, &usual);
    fake_rule_set(h.sink, takes_ten_at_most);
    fake_outbox_put(h.outbox, "before", 1);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    put_many(&h, "d", 64);
    live(&h, 10000, 100);
    ck_assert_uint_eq(fake_outbox_pending(h.outbox), 0);
    ck_assert_uint_eq(dead_among(&h, "d", 1, 65), 0);
    unsigned calls = fake_calls(h.sink);
    put_many(&h, "e", 64);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    ck_assert_uint_le(fake_calls(h.sink), calls + 9); /* 8 a call, and none is refused */
    close_house(&h);
}

/* ---- again, unknown ---------------------------------------------------------------------- */

TEST(a_passing_fault_waits_and_one_trial_decides)
{
    struct house h;

    open_house(&h, 64, &usual);
    fake_rule_set(h.sink, says_again);
    put_many(&h, "d", 100);
    UNTIL(status(&h).endpoint.state == DISPATCH_WAITING);
    rest(&h);
    ck_assert_uint_eq(fake_calls(h.sink), 1);
    ck_assert_str_eq(status(&h).endpoint.why, "503 WorkerOverloaded");
    ck_assert_uint_eq(status(&h).endpoint.failures, 1);
    fake_advance(h.sink, 100);
    UNTIL(fake_calls(h.sink) == 2);
    rest(&h);
    ck_assert_uint_eq(fake_calls(h.sink), 2);
    ck_assert_uint_eq(h.sink->sizes[1], 32); /* trials shrink */
    ck_assert_uint_eq(status(&h).endpoint.failures, 2);
    fake_rule_set(h.sink, always_done);
    fake_advance(h.sink, 200);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    UNTIL(status(&h).endpoint.state == DISPATCH_RUNNING);
    ck_assert_str_eq(status(&h).endpoint.why, "");
    ck_assert_uint_eq(status(&h).endpoint.failures, 0);
    close_house(&h);
}

TEST(retry_after_is_honoured)
{
    struct house h;
    int64_t begun_us = fake_now_us;

    open_house(&h, 64, &usual);
    fake_rule_set(h.sink, says_again_in_7_s);
    fake_outbox_put(h.outbox, "a", 1);
    UNTIL(status(&h).endpoint.state == DISPATCH_WAITING);
    fake_rule_set(h.sink, always_done);
    live(&h, 6900, 300);
    fake_outbox_put(h.outbox, "b", 1);
    rest(&h);
    ck_assert_uint_eq(fake_calls(h.sink), 1);
    fake_advance(h.sink, 100);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    ck_assert_int_eq(h.sink->times_us[1], begun_us + 7000000);
    close_house(&h);
}

TEST(work_that_comes_while_waiting_goes_when_the_wait_is_over)
{
    struct house h;

    open_house(&h, 64, &usual);
    fake_rule_set(h.sink, says_again);
    fake_outbox_put(h.outbox, "a", 1);
    UNTIL(status(&h).endpoint.state == DISPATCH_WAITING);
    fake_rule_set(h.sink, always_done);
    fake_outbox_put(h.outbox, "b", 1);
    rest(&h);
    fake_advance(h.sink, 100);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    close_house(&h);
}

TEST(a_document_that_breaks_every_call_ends_up_travelling_alone)
{
    struct house h;
    char id[16];
    unsigned left = 99;

    open_house(&h, 64, &usual);
    fake_rule_set(h.sink, breaks_on_poison);
    dispatch_pause(h.dispatch);
    rest(&h);
    fake_outbox_put(h.outbox, "poison", 1);
    for (int i = 0; i < 99; i++) {
        snprintf(id, sizeof id, "good%d", i);
        fake_outbox_put(h.outbox, id, 1);
    }
    dispatch_resume(h.dispatch);
    for (int i = 0; i < 200 && left > 0; i++) {
        live(&h, 100, 100);
        left = (unsigned)fake_outbox_pending(h.outbox) - 1;
    }
    ck_assert_uint_eq(left, 0);
    ck_assert(!fake_outbox_look(h.outbox, "poison").dead); /* it may have been written */
    fake_rule_set(h.sink, breaks_on_poison_alone);         /* from now on it harms nobody else */
    for (int i = 0; i < 50; i++) {
        snprintf(id, sizeof id, "late%d", i);
        fake_outbox_put(h.outbox, id, 1);
        live(&h, 200, 100);
    }
    ck_assert_uint_ge(fake_outbox_look(h.outbox, "late40").deliveries, 1);
    ck_assert_uint_le(fake_outbox_pending(h.outbox), 3);
    close_house(&h);
}

/* ---- pause, close, concurrency, a failing store ------------------------------------------------
 */

RULE(breaks_bad)
{
    return say(overall, holds(c, "bad") ? VERDICT_UNKNOWN : VERDICT_DONE, "500");
}

static void live_with_good_ones(struct house *h, int seconds)
{
    static int no;
    char id[16];

    for (int i = 0; i < seconds; i++) {
        snprintf(id, sizeof id, "fine%d", no++);
        fake_outbox_put(h->outbox, id, 1);
        live(h, 1000, 250);
    }
}

static unsigned calls_of_several_with_bad;

RULE(counts_bad_in_company)
{
    if (holds(c, "bad") && c->count > 1)
        calls_of_several_with_bad++;
    return say(overall, holds(c, "bad") ? VERDICT_UNKNOWN : VERDICT_DONE, "500");
}

/* What failed alone for long is known as such after a restart, and disturbs nobody. */
TEST(one_that_waits_long_travels_alone_after_a_restart_too)
{
    struct dispatch_options options = usual;
    struct house h;

    options.backoff_max_ms = 30000;
    open_house(&h, 8, &options);
    fake_rule_set(h.sink, breaks_bad);
    fake_outbox_put(h.outbox, "bad", 1);
    live_with_good_ones(&h, 4);
    struct outbox_reader *reader = outbox_reader_open(h.outbox);
    struct pending p;
    ck_assert(outbox_next_no(reader, 0, &p));
    ck_assert_uint_eq(p.attempts, 0); /* it does not wait long yet: nothing is written */
    outbox_release(reader);
    live_with_good_ones(&h, 60);
    ck_assert(outbox_next_no(reader, 0, &p));
    ck_assert_uint_ge(p.attempts, 5);
    ck_assert_int_gt(p.next_try_us, clock_wall_us());
    outbox_reader_close(reader);

    dispatch_stop(h.dispatch, 0);
    dispatch_close(h.dispatch);
    fake_sink_free(h.sink);
    h.outbox->on_work = NULL; /* there is company in each step */
    h.sink = fake_sink_new(8);
    fake_rule_set(h.sink, counts_bad_in_company);
    h.dispatch = dispatch_open(h.outbox, &h.sink->base, &options);
    for (int i = 0; i < 130; i++) {
        char id[16];
        snprintf(id, sizeof id, "good%d", i);
        fake_outbox_put(h.outbox, id, 1);
        live(&h, 250, 250);
    }
    ck_assert_uint_eq(fake_outbox_pending(h.outbox), 1);
    ck_assert_uint_eq(calls_of_several_with_bad, 0);
    fake_rule_set(h.sink, always_done);
    live(&h, 31000, 250);
    ck_assert_uint_eq(fake_outbox_pending(h.outbox), 0);
    close_house(&h);
}

TEST(pause_takes_answers_and_sends_nothing_new)
{
    struct house h;

    open_house(&h, 1, &usual);
    fake_rule_set(h.sink, left_in_flight);
    fake_outbox_put(h.outbox, "a", 1);
    UNTIL(fake_calls(h.sink) == 1);
    dispatch_pause(h.dispatch);
    ck_assert_int_eq(status(&h).endpoint.state, DISPATCH_PAUSED);
    fake_outbox_put(h.outbox, "b", 1);
    rest(&h);
    fake_sink_answer(h.sink, 1, VERDICT_AGAIN);
    rest(&h);
    live(&h, 5000, 500);
    ck_assert_uint_eq(fake_calls(h.sink), 1);
    UNTIL(status(&h).endpoint.state == DISPATCH_PAUSED);
    fake_rule_set(h.sink, always_done);
    dispatch_resume(h.dispatch);
    ck_assert_int_ne(status(&h).endpoint.state, DISPATCH_PAUSED);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    UNTIL(status(&h).endpoint.state == DISPATCH_RUNNING);
    close_house(&h);
}

static void *close_in_ten_seconds(void *arg)
{
    struct house *h = arg;

    dispatch_stop(h->dispatch, 10000);
    dispatch_close(h->dispatch);
    return NULL;
}

static void begin_to_close(struct house *h, pthread_t *closer)
{
    rest(h);
    unsigned waits = fake_waits(h->sink);
    ck_assert_int_eq(pthread_create(closer, NULL, close_in_ten_seconds, h), 0);
    UNTIL(fake_waits(h->sink) > waits); /* delivery has heard of it */
}

/* Two calls may be in flight, and are left there. */
static void open_for_two_in_flight(struct house *h, size_t max_documents)
{
    char id[16];

    open_house(h, max_documents, &usual);
    fake_rule_set(h->sink, left_in_flight);
    /* the first call is a trial, alone until it is answered */
    for (unsigned no = 1; no == 1 || status(h).limit < 2; no++) {
        snprintf(id, sizeof id, "first%u", no);
        fake_outbox_put(h->outbox, id, 1);
        UNTIL(fake_calls(h->sink) == no);
        fake_advance(h->sink, 10);
        fake_sink_answer(h->sink, no, VERDICT_DONE);
        UNTIL(fake_outbox_pending(h->outbox) == 0);
        rest(h);
    }
}

static void open_with_two_in_flight(struct house *h)
{
    open_for_two_in_flight(h, 1);
    unsigned calls = fake_calls(h->sink);
    fake_outbox_put(h->outbox, "a", 1);
    fake_outbox_put(h->outbox, "b", 1);
    UNTIL(fake_calls(h->sink) == calls + 2);
}

TEST(close_waits_for_answers_and_sends_nothing_new)
{
    struct house h;
    pthread_t closer;

    open_with_two_in_flight(&h);
    unsigned calls = fake_calls(h.sink);
    begin_to_close(&h, &closer);
    fake_outbox_put(h.outbox, "c", 1);
    fake_sink_answer(h.sink, calls, VERDICT_DONE);
    UNTIL(fake_outbox_pending(h.outbox) == 2);
    rest(&h);
    ck_assert_uint_eq(fake_calls(h.sink), calls);
    h.outbox->on_work = NULL; /* dispatch is gone when the last is settled */
    fake_sink_answer(h.sink, calls - 1, VERDICT_DONE);
    pthread_join(closer, NULL);
    ck_assert_uint_eq(fake_outbox_pending(h.outbox), 1);
    ck_assert_uint_eq(fake_calls(h.sink), calls);
    fake_sink_free(h.sink);
    fake_outbox_free(h.outbox);
}

TEST(close_gives_up_when_its_time_is_over)
{
    struct house h;
    pthread_t closer;

    open_house(&h, 64, &usual);
    fake_rule_set(h.sink, left_in_flight);
    fake_outbox_put(h.outbox, "a", 1);
    UNTIL(fake_calls(h.sink) == 1);
    begin_to_close(&h, &closer);
    fake_advance(h.sink, 9999);
    rest(&h);
    fake_advance(h.sink, 1);
    pthread_join(closer, NULL);
    ck_assert_uint_eq(fake_outbox_pending(h.outbox), 1); /* not answered: stays */
    fake_sink_free(h.sink);
    fake_outbox_free(h.outbox);
    dispatch_close(NULL);
}

TEST(a_failing_store_bounds_what_is_sent)
{
    struct house h;
    char id[32];

    open_house(&h, 128, &usual);
    dispatch_pause(h.dispatch);
    rest(&h);
    h.outbox->on_work = NULL;
    for (int i = 0; i < 70000; i++) {
        snprintf(id, sizeof id, "d%d", i);
        fake_outbox_put(h.outbox, id, 1);
    }
    h.outbox->on_work = dispatch_wake;
    fake_outbox_fail(h.outbox, true);
    dispatch_resume(h.dispatch);
    UNTIL(fake_calls(h.sink) >= 65536 / 128);
    rest(&h);
    live(&h, 2000, 250);
    ck_assert_uint_eq(fake_calls(h.sink), 65536 / 128);
    ck_assert_uint_eq(fake_outbox_pending(h.outbox), 70000);
    fake_outbox_fail(h.outbox, false);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    close_house(&h);
}

/* Found by reading, after `make torture` had shown the window: what could not be read for a moment
 * was forgotten until a restart. */
TEST(a_store_that_cannot_be_read_for_a_while_loses_no_document)
{
    struct house h;

    open_house(&h, 4, &usual);
    h.sink->control.kind = VERDICT_DONE;
    fake_rule_set(h.sink, refuses_bad); /* halves of a batch are groups, others are on the agenda */
    put_many(&h, "d", 3);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    fake_rule_set(h.sink, says_again);
    put_many(&h, "e", 3);
    put_many(&h, "bad", 1);
    UNTIL(status(&h).endpoint.state == DISPATCH_WAITING);
    rest(&h);
    fake_outbox_hide(h.outbox, true);
    fake_rule_set(h.sink, refuses_bad);
    live(&h, 2000, 50);
    fake_outbox_hide(h.outbox, false);
    live(&h, 10000, 50);
    ck_assert_uint_eq(fake_outbox_pending(h.outbox), 0);
    close_house(&h);
}

static void *submit_documents(void *arg)
{
    struct house *h = arg;
    char id[32];

    for (int i = 0; i < 3000; i++) {
        snprintf(id, sizeof id, "d%d", i);
        fake_outbox_put(h->outbox, id, 1);
    }
    return NULL;
}

TEST(no_wake_is_lost)
{
    struct house h;
    pthread_t submitter;

    open_house(&h, 16, &usual);
    for (int round = 0; round < 300; round++) { /* one at a time: each needs its own wake */
        char id[32];
        snprintf(id, sizeof id, "single%d", round);
        fake_outbox_put(h.outbox, id, 1);
        UNTIL(fake_outbox_pending(h.outbox) == 0);
    }
    ck_assert_int_eq(pthread_create(&submitter, NULL, submit_documents, &h), 0);
    for (int i = 0; i < 50; i++) {
        (void)status(&h);
        nap();
    }
    pthread_join(submitter, NULL);
    UNTIL(fake_outbox_pending(h.outbox) == 0);
    close_house(&h);
}

TEST(a_delivery_thread_that_the_sink_holds_up_stands_still)
{
    struct house h;

    open_house(&h, 1, &usual);
    rest(&h);
    pthread_mutex_lock(&h.sink->lock);
    dispatch_wake(h.dispatch);
    beat_kit_stands("delivery");
    pthread_mutex_unlock(&h.sink->lock);
    dispatch_wake(h.dispatch);
    beat_kit_moves();
    rest(&h);
    close_house(&h);
}
