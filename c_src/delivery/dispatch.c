/*
 * dispatch.c - decides which kept document goes to the sink, and when.
 *
 * The happy path: somebody wakes the delivery thread, the courier loads a call
 * with all that is due, the pace says that one more call may be under way, it is
 * sent; its answer settles the documents and lets the next one go.  An idle
 * sidecar so sends at once, a loaded one in full batches.
 *
 * What can go wrong, and the one thing done:
 *   again, unknown    WAITING: nothing is sent for a back-off, then one trial
 *   refused           the courier finds the culprit; delivery goes on
 *   stop, or nothing  STOPPED: keys are read again, the sink is probed, and when
 *   but refusals      the probe is done one document is tried
 *   the store fails   what is sent and not settled is bounded; then it waits
 * In every case a document stays in the outbox until a verdict is on disk.
 *
 *   RUNNING <--> WAITING      PAUSED lies over any of the three: nothing new is
 *      ^  \       /  ^        sent, answers move the state beneath it, and that
 *      |   v     v   |        is where `resume` leads.
 *      +-- STOPPED --+
 *
 * All of it runs on the delivery thread; only the functions of dispatch.h at
 * the end are called by others, who leave their orders under the lock.
 */

#include "delivery/dispatch.h"

#include "delivery/courier.h"
#include "delivery/pace.h"
#include "ground/clock.h"
#include "ground/log.h"
#include "ground/metrics.h"
#include "ground/thread.h"
#include "ground/wake.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/random.h>
#include <unistd.h>

#define CALLS_A_PASS         64     /* then orders and answers are looked at again */
#define SETTLE_LOOK_US       5000   /* between looks at settlements nobody announced ... */
#define SETTLE_LOOK_MAX_US   250000 /* ... doubling up to this while the store is slow */
#define WAIT_MAX_MS          60000
#define WAITING_LOG_EVERY_MS 10000 /* of a sink that fails and recovers in turns */

struct dispatch {
    /* fixed after open */
    struct outbox *outbox;
    struct sink *sink;
    struct dispatch_options options;
    pthread_t thread;
    int wake_fd;

    /* any thread */
    atomic_bool is_awake; /* wake_fd is written, or about to be, and not read since */

    /* under lock */
    pthread_mutex_t lock;
    struct orders {
        bool paused, reload, resume, closing;
        int64_t close_by_us;
    } orders;
    int64_t paused_since_us;
    struct dispatch_status shown; /* the state beneath a pause */

    /* the delivery thread's own */
    struct courier *courier;
    struct pace pace;
    enum dispatch_state state; /* never PAUSED */
    char why[200];
    int64_t since_us, changed_us;
    bool paused, closing;
    int64_t close_by_us;
    int64_t settle_look_us;
    int64_t waiting_logged_us; /* log_limited's memory */
    bool is_waiting_logged;
    struct stop {
        bool has_probed, is_probing; /* ever; now */
        bool may_try, is_trying;     /* one document, after a good probe */
        bool is_fault_logged;
        int64_t probed_us, probe_at_us;
    } stop;
};

/* ---- states ---------------------------------------------------------------- */

#define MAY(s) (1u << (s))

static const struct state {
    const char *name, *event;
    enum log_level level;
    unsigned next; /* the states it may move to */
} states[] = {
    [DISPATCH_RUNNING] = {"running", "dispatch.running", LOG_INFO,
                          MAY(DISPATCH_WAITING) | MAY(DISPATCH_STOPPED)},
    [DISPATCH_WAITING] = {"waiting", "dispatch.waiting", LOG_WARNING,
                          MAY(DISPATCH_RUNNING) | MAY(DISPATCH_STOPPED)},
    [DISPATCH_STOPPED] = {"stopped", "dispatch.stopped", LOG_ERROR,
                          MAY(DISPATCH_RUNNING) | MAY(DISPATCH_WAITING)},
    [DISPATCH_PAUSED] = {"paused", "dispatch.paused", LOG_INFO, 0}, /* lies over the others */
};

const char *dispatch_state_text(enum dispatch_state s)
{
    PRE((size_t)s < sizeof states / sizeof *states);
    return states[s].name;
}

static void check_state(const struct dispatch *d)
{
    PRE(d->state != DISPATCH_PAUSED);
    PRE(d->state != DISPATCH_RUNNING || d->pace.breaker == PACE_CLOSED);
    PRE(d->state != DISPATCH_WAITING || d->pace.breaker != PACE_CLOSED);
    PRE((d->state == DISPATCH_RUNNING) == (d->why[0] == '\0'));
    PRE(d->state == DISPATCH_STOPPED || !d->stop.may_try);
    PRE(d->pace.limit <= d->options.max_in_flight);
}

/* Whether a change to ${to} is worth a line: a sink that flaps would write two for each flap. */
static bool is_logged(struct dispatch *d, enum dispatch_state to)
{
    if (to == DISPATCH_WAITING)
        return d->is_waiting_logged = log_limited(&d->waiting_logged_us, WAITING_LOG_EVERY_MS);
    return d->state != DISPATCH_WAITING || to != DISPATCH_RUNNING || d->is_waiting_logged;
}

static void move(struct dispatch *d, enum dispatch_state to, const char *why)
{
    char quoted[300];
    int64_t now_us = clock_mono_us();
    bool logged = is_logged(d, to);

    PRE((states[d->state].next & MAY(to)) != 0);
    if (logged && to == DISPATCH_RUNNING)
        log_event(states[to].level, states[to].event, "was=%s for_ms=%lld", states[d->state].name,
                  (long long)(now_us - d->changed_us) / 1000);
    else if (logged)
        log_event(states[to].level, states[to].event, "why=%s",
                  log_quote(slice_str(why), quoted, sizeof quoted));
    d->state = to;
    d->changed_us = now_us;
    d->since_us = clock_wall_us();
    snprintf(d->why, sizeof d->why, "%s", why);
    metric_set(METRIC_STOPPED, to == DISPATCH_STOPPED);
    if (to != DISPATCH_STOPPED)
        d->stop.may_try = d->stop.is_trying = false;
    check_state(d);
}

static void show(struct dispatch *d)
{
    unsigned in_flight = courier_in_flight(d->courier);
    struct sink_peer peer;

    sink_peer(d->sink, &peer);
    metric_set(METRIC_IN_FLIGHT, in_flight);
    metric_set(METRIC_CONCURRENCY_LIMIT, d->pace.limit);
    pthread_mutex_lock(&d->lock);
    d->shown = (struct dispatch_status){.state = d->state,
                                        .since_us = d->since_us,
                                        .limit = d->pace.limit,
                                        .in_flight = in_flight,
                                        .failures = d->pace.failures,
                                        .peer = peer};
    memcpy(d->shown.why, d->why, sizeof d->why);
    pthread_mutex_unlock(&d->lock);
}

void dispatch_status(struct dispatch *d, struct dispatch_status *s)
{
    pthread_mutex_lock(&d->lock);
    *s = d->shown;
    if (d->orders.paused) {
        s->state = DISPATCH_PAUSED;
        s->since_us = d->paused_since_us;
    }
    pthread_mutex_unlock(&d->lock);
}

/* ---- stopped: probes and the trial ------------------------------------------- */

/* At once, but never more than one probe in probe_ms unless an operator asks. */
static void plan_probe(struct dispatch *d, int64_t now_us)
{
    int64_t next_us = d->stop.probed_us + 1000 * d->options.probe_ms;

    d->stop.may_try = d->stop.is_trying = false;
    d->stop.probe_at_us = d->stop.has_probed && next_us > now_us ? next_us : now_us;
}

static void stop(struct dispatch *d, const char *why, int64_t now_us)
{
    if (d->state != DISPATCH_STOPPED) {
        d->stop.is_fault_logged = false;
        move(d, DISPATCH_STOPPED, why[0] != '\0' ? why : "the sink says stop");
    }
    courier_stopped(d->courier, now_us);
    plan_probe(d, now_us);
}

static void probed(void *arg, const struct verdict *v)
{
    struct dispatch *d = arg;

    d->stop.is_probing = false;
    if (d->state != DISPATCH_STOPPED || d->closing)
        return;
    if (v->kind == VERDICT_DONE)
        d->stop.may_try = true;
    else if (v->why[0] != '\0')
        snprintf(d->why, sizeof d->why, "%s", v->why);
}

static void reload(struct dispatch *d)
{
    struct fault fault = {0};
    char why[300];

    if (d->sink->ops->reload(d->sink, &fault) == ERR_OK || d->stop.is_fault_logged)
        return;
    d->stop.is_fault_logged = true;
    log_event(LOG_ERROR, "dispatch.reload_failed", "where=%s why=%s", fault.path,
              log_quote(slice_str(fault.why), why, sizeof why));
}

static bool is_probe_due(const struct dispatch *d, int64_t now_us)
{
    return d->state == DISPATCH_STOPPED && !d->paused && !d->closing && !d->stop.is_probing &&
           !d->stop.may_try && !d->stop.is_trying && now_us >= d->stop.probe_at_us;
}

static void probe(struct dispatch *d, int64_t now_us)
{
    d->stop.has_probed = d->stop.is_probing = true;
    d->stop.probed_us = now_us;
    d->stop.probe_at_us = now_us + 1000 * d->options.probe_ms;
    reload(d);
    d->sink->ops->probe(d->sink, probed, d);
}

/* ---- sending ----------------------------------------------------------------- */

static enum pace_turn whose_turn(const struct dispatch *d, int64_t now_us)
{
    unsigned in_flight = courier_in_flight(d->courier);

    if (d->paused || d->closing)
        return PACE_WAIT;
    if (d->state == DISPATCH_STOPPED)
        return d->stop.may_try && in_flight < d->pace.limit ? PACE_TRIAL : PACE_WAIT;
    return pace_turn(&d->pace, now_us, in_flight);
}

/* Make one call, if one may be made and something is due. */
static bool send_call(struct dispatch *d, int64_t now_us)
{
    enum pace_turn turn = whose_turn(d, now_us);
    bool trial = turn == PACE_TRIAL, stopped = d->state == DISPATCH_STOPPED;
    size_t max = d->sink->max_documents;

    if (turn == PACE_WAIT)
        return false;
    if (trial)
        max = stopped ? 1 : pace_trial_size(&d->pace, max);
    struct courier_call *call = courier_load(d->courier, now_us, max, trial);
    if (call == NULL) {
        if (stopped && courier_is_idle(d->courier) && d->pace.breaker == PACE_CLOSED)
            move(d, DISPATCH_RUNNING, ""); /* the probe was good, and there is nothing to try */
        return false;
    }
    d->stop.is_trying = stopped;
    d->stop.may_try = false;
    pace_sent(&d->pace, courier_in_flight(d->courier) + 1, trial);
    courier_send(call);
    return true;
}

/* Whether there may be more to send at once. */
static bool send_calls(struct dispatch *d)
{
    int sent = 0;

    while (sent < CALLS_A_PASS && send_call(d, clock_mono_us()))
        sent++;
    return sent == CALLS_A_PASS;
}

static void tell_pace(struct dispatch *d, const struct courier_report *r, int64_t now_us)
{
    switch (r->verdict->kind) {
    case VERDICT_DONE:
        pace_done(&d->pace, now_us, r->took_us, r->trial);
        break;
    case VERDICT_AGAIN:
    case VERDICT_UNKNOWN:
        pace_fault(&d->pace, now_us, r->sent_us, r->verdict->after_ms, r->trial);
        break;
    case VERDICT_REFUSED:
    case VERDICT_STOP:
    case VERDICT_NONE:
        pace_answered(&d->pace, r->trial);
        break;
    }
}

/* A call was answered; it may come from inside courier_send. */
static void reported(void *arg, const struct courier_report *r)
{
    struct dispatch *d = arg;
    int64_t now_us = clock_mono_us();
    const char *why = r->verdict->why;
    char all[sizeof d->why];

    if (d->closing)
        return;
    tell_pace(d, r, now_us);
    if (r->verdict->kind == VERDICT_STOP) {
        stop(d, why, now_us);
    } else if (r->all_refused_why != NULL) {
        snprintf(all, sizeof all, "every document is refused: %.160s", r->all_refused_why);
        stop(d, all, now_us);
    } else if (d->state == DISPATCH_STOPPED && !r->trial) {
        return; /* sent before the stop: says nothing about now */
    } else if (d->pace.breaker == PACE_CLOSED) {
        if (d->state != DISPATCH_RUNNING)
            move(d, DISPATCH_RUNNING, "");
    } else if (d->state != DISPATCH_WAITING) {
        move(d, DISPATCH_WAITING, why[0] != '\0' ? why : "the sink asks for patience");
    } else if (why[0] != '\0') {
        snprintf(d->why, sizeof d->why, "%s", why);
    }
}

/* ---- the thread ---------------------------------------------------------------- */

static void take_orders(struct dispatch *d, int64_t now_us)
{
    pthread_mutex_lock(&d->lock);
    struct orders orders = d->orders;
    d->orders.reload = d->orders.resume = false;
    pthread_mutex_unlock(&d->lock);

    if (orders.paused != d->paused) {
        d->paused = orders.paused;
        metric_set(METRIC_PAUSED, d->paused);
        log_event(LOG_INFO, d->paused ? "dispatch.paused" : "dispatch.resumed", "state=%s",
                  dispatch_state_text(d->state));
    }
    if (orders.reload) {
        d->stop.is_fault_logged = false;
        reload(d);
    }
    if ((orders.reload || orders.resume) && d->state == DISPATCH_STOPPED && !d->stop.is_trying) {
        d->stop.may_try = false;
        d->stop.probe_at_us = now_us;
    }
    d->closing = orders.closing;
    d->close_by_us = orders.close_by_us;
}

/* When documents or the state want attention next, answers and wakes aside. */
static int64_t next_us(const struct dispatch *d, int64_t now_us)
{
    if (d->closing)
        return d->close_by_us;
    if (d->paused)
        return INT64_MAX;
    if (d->state == DISPATCH_STOPPED && !d->stop.may_try)
        return d->stop.is_probing || d->stop.is_trying ? INT64_MAX : d->stop.probe_at_us;
    if (courier_in_flight(d->courier) >= d->pace.limit || d->pace.breaker == PACE_HALF_OPEN)
        return INT64_MAX;
    if (d->state == DISPATCH_WAITING && d->pace.open_until_us > now_us)
        return d->pace.open_until_us; /* there may be work that was not looked for yet */
    return courier_due_us(d->courier);
}

static int wait_ms(struct dispatch *d, int64_t now_us)
{
    int64_t until_us = next_us(d, now_us);

    if (courier_has_unsettled(d->courier) && !d->closing && until_us > now_us + d->settle_look_us) {
        until_us = now_us + d->settle_look_us;
        d->settle_look_us *= 2;
        if (d->settle_look_us > SETTLE_LOOK_MAX_US)
            d->settle_look_us = SETTLE_LOOK_MAX_US;
    }
    if (until_us <= now_us)
        return 0;
    if (until_us - now_us > 1000 * (int64_t)WAIT_MAX_MS)
        return WAIT_MAX_MS;
    return (int)((until_us - now_us + 999) / 1000);
}

/*
 * Undo what dispatch_wake did: first the descriptor, then the flag, then look for work.  The flag
 * stays up until its write has come: so whoever finds it up, and does not write, is sure of a wake.
 */
static void take_wake(struct dispatch *d)
{
    if (atomic_load(&d->is_awake) && wake_drain(d->wake_fd))
        atomic_exchange(&d->is_awake, false);
}

static bool is_over(const struct dispatch *d, int64_t now_us)
{
    return d->closing && (courier_in_flight(d->courier) == 0 || now_us >= d->close_by_us);
}

static void open_courier(struct dispatch *d, uint64_t seed)
{
    struct pace_options pace = {.max_limit = d->options.max_in_flight,
                                .backoff_min_ms = d->options.backoff_min_ms,
                                .backoff_max_ms = d->options.backoff_max_ms};
    struct courier_options options = {
        .min_interval_us = 1000 * d->options.min_interval_ms, .backoff = pace, .seed = ~seed};

    pace_init(&d->pace, &pace, seed);
    d->courier = courier_open(d->outbox, d->sink, &options, reported, d);
}

static void *deliver(void *arg)
{
    struct dispatch *d = arg;
    uint64_t seed = 0;

    PRE(getrandom(&seed, sizeof seed, 0) == sizeof seed);
    open_courier(d, seed);
    if (d->options.stopped_why != NULL)
        stop(d, d->options.stopped_why, clock_mono_us());
    for (;;) {
        int64_t now_us = clock_mono_us();
        take_wake(d);
        take_orders(d, now_us);
        if (is_over(d, now_us))
            break;
        if (courier_collect(d->courier, now_us))
            d->settle_look_us = SETTLE_LOOK_US;
        if (is_probe_due(d, now_us))
            probe(d, now_us);
        bool more = send_calls(d);
        courier_release(d->courier);
        show(d);
        d->sink->ops->wait(d->sink, d->wake_fd, more ? 0 : wait_ms(d, clock_mono_us()));
    }
    d->sink->ops->close(d->sink);
    show(d);
    courier_close(d->courier);
    return NULL;
}

/* ---- from outside -------------------------------------------------------------- */

struct dispatch *dispatch_open(struct outbox *o, struct sink *sink,
                               const struct dispatch_options *options)
{
    struct dispatch *d = base_alloc(sizeof *d);

    PRE(sink->max_documents >= 1);
    d->outbox = o;
    d->sink = sink;
    d->options = *options;
    d->since_us = clock_wall_us();
    d->changed_us = clock_mono_us();
    d->settle_look_us = SETTLE_LOOK_US;
    d->shown =
        (struct dispatch_status){.state = DISPATCH_RUNNING, .since_us = d->since_us, .limit = 1};
    if (options->stopped_why != NULL) {
        d->shown.state = DISPATCH_STOPPED;
        snprintf(d->shown.why, sizeof d->shown.why, "%s", options->stopped_why);
    }
    d->wake_fd = wake_open();
    PRE(d->wake_fd >= 0);
    PRE(pthread_mutex_init(&d->lock, NULL) == 0);
    PRE(thread_start(&d->thread, "delivery", deliver, d));
    return d;
}

void dispatch_wake(void *arg)
{
    struct dispatch *d = arg;

    if (!atomic_exchange(&d->is_awake, true))
        wake_ring(d->wake_fd);
}

void dispatch_pause(struct dispatch *d)
{
    pthread_mutex_lock(&d->lock);
    if (!d->orders.paused)
        d->paused_since_us = clock_wall_us();
    d->orders.paused = true;
    pthread_mutex_unlock(&d->lock);
    dispatch_wake(d);
}

void dispatch_resume(struct dispatch *d)
{
    pthread_mutex_lock(&d->lock);
    d->orders.paused = false;
    d->orders.resume = true;
    pthread_mutex_unlock(&d->lock);
    dispatch_wake(d);
}

void dispatch_reload(struct dispatch *d)
{
    pthread_mutex_lock(&d->lock);
    d->orders.reload = true;
    pthread_mutex_unlock(&d->lock);
    dispatch_wake(d);
}

void dispatch_stop(struct dispatch *d, int64_t wait_ms)
{
    pthread_mutex_lock(&d->lock);
    d->orders.closing = true;
    d->orders.close_by_us = clock_mono_us() + 1000 * wait_ms;
    pthread_mutex_unlock(&d->lock);
    dispatch_wake(d);
    pthread_join(d->thread, NULL);
}

void dispatch_close(struct dispatch *d)
{
    if (d == NULL)
        return;
    pthread_mutex_destroy(&d->lock);
    close(d->wake_fd);
    free(d);
}
