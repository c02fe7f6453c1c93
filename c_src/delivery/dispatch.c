/*
 * dispatch.c - decides which kept document goes to the sink, and when.
 *
 * The happy path: somebody wakes the delivery thread, it takes its orders and makes a step of
 * delivery (delivery.c), which sends what may be sent; then it waits in the sink for answers, a
 * wake or the time of the next step.  So an idle sidecar sends at once, and a loaded one sends
 * full batches.
 *
 * Failures are judged by delivery.c.  In every case a document stays in the outbox until a verdict
 * is on disk.  A pause overrides every state: nothing new is sent.  Answers still move the states,
 * and `resume` returns to them.
 *
 * All of this runs on the delivery thread; the functions of dispatch.h at the end are called from
 * other threads, and leave their orders under the lock.
 */

#include "delivery/dispatch.h"

#include "delivery/delivery.h"
#include "ground/beat.h"
#include "ground/clock.h"
#include "ground/log.h"
#include "ground/metrics.h"
#include "ground/thread.h"
#include "ground/wake.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/random.h>
#include <unistd.h>

struct question {
    struct question *next;
    uint64_t document;
    dispatch_told *told;
    dispatch_listed *listed; /* or this: all in trouble */
    void *arg;
};

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
        bool paused, reload, resume, adopt, closing;
        int64_t close_by_us;
    } orders;
    struct question *questions;
    bool has_ended; /* questions are answered on the caller's thread */
    int64_t paused_since_us;
    struct dispatch_status shown; /* the state, apart from a pause */

    /* the delivery thread's own */
    struct delivery *delivery;
    struct dispatch_status status; /* a draft of what is shown */
    bool paused, closing, closed;  /* closed: the sink is gone */
    int64_t close_by_us;
};

/* ---- states, for people ---------------------------------------------------------- */

static const char waits[] = "nothing: it is tried again by itself; resume tries at once";

static const struct state {
    const char *name, *next, *kind_next;
} states[] = {
    [DISPATCH_RUNNING] = {"running", "", ""},
    [DISPATCH_WAITING] = {"waiting", waits, waits},
    [DISPATCH_STOPPED] = {"stopped",
                          "look at the reason: the key, the functions that are deployed, "
                          "the plan; it is tried again by itself, reload tries at once",
                          "deploy its mutation, or a schema and a validator that take it; it is "
                          "tried again by itself, resume tries at once"},
    [DISPATCH_PAUSED] = {"paused", "resume sends what waits", "resume sends what waits"},
};

const char *dispatch_state_text(enum dispatch_state s)
{
    PRE((size_t)s < sizeof states / sizeof *states);
    return states[s].name;
}

const char *dispatch_next_text(enum dispatch_state s)
{
    PRE((size_t)s < sizeof states / sizeof *states);
    return states[s].next;
}

const char *dispatch_kind_next_text(enum dispatch_state s)
{
    PRE((size_t)s < sizeof states / sizeof *states);
    return states[s].kind_next;
}

static void show(struct dispatch *d)
{
    const struct dispatch_status *s = &d->status;

    delivery_status(d->delivery, &d->status);
    if (!d->closed)
        sink_peer(d->sink, &d->status.peer);
    metric_set(METRIC_IN_FLIGHT, d->status.in_flight);
    metric_set(METRIC_CONCURRENCY_LIMIT, d->status.limit);
    pthread_mutex_lock(&d->lock);
    memcpy(&d->shown, s,
           s->kind_count + s->note_count > 0 ? sizeof *s : offsetof(struct dispatch_status, kinds));
    pthread_mutex_unlock(&d->lock);
}

void dispatch_status(struct dispatch *d, struct dispatch_status *s)
{
    pthread_mutex_lock(&d->lock);
    *s = d->shown;
    if (d->orders.paused) {
        s->endpoint.state = DISPATCH_PAUSED;
        s->endpoint.since_us = d->paused_since_us;
    }
    pthread_mutex_unlock(&d->lock);
}

/* ---- the thread ---------------------------------------------------------------- */

static void take_orders(struct dispatch *d, int64_t now_us)
{
    pthread_mutex_lock(&d->lock);
    struct orders orders = d->orders;
    d->orders.reload = d->orders.resume = d->orders.adopt = false;
    pthread_mutex_unlock(&d->lock);

    if (orders.paused != d->paused) {
        d->paused = orders.paused;
        metric_set(METRIC_PAUSED, d->paused);
        log_event(LOG_INFO, d->paused ? "dispatch.paused" : "dispatch.resumed", "state=%s",
                  dispatch_state_text(d->status.endpoint.state));
        delivery_pause(d->delivery, d->paused);
    }
    if (orders.reload)
        delivery_reload(d->delivery);
    if (orders.adopt)
        delivery_adopt(d->delivery);
    if (orders.reload || orders.resume)
        delivery_try_now(d->delivery, now_us);
    if (orders.closing && !d->closing)
        delivery_end(d->delivery);
    d->closing = orders.closing;
    d->close_by_us = orders.close_by_us;
}

static const struct dispatch_place closing_place = {.what = "closing"};

static void answer(const struct dispatch *d, const struct question *q, bool is_end)
{
    struct dispatch_place place = closing_place;

    if (q->told != NULL) {
        if (!is_end)
            delivery_place(d->delivery, q->document, &place);
        q->told(q->arg, &place);
        return;
    }
    PRE(q->listed != NULL);
    struct dispatch_troubled *items = base_alloc(DISPATCH_TROUBLED * sizeof *items);
    q->listed(q->arg, items, is_end ? 0 : delivery_troubled(d->delivery, items, DISPATCH_TROUBLED));
    free(items);
}

/* Answer what was asked; with ${is_end} for the last time. */
static void take_questions(struct dispatch *d, bool is_end)
{
    pthread_mutex_lock(&d->lock);
    struct question *next, *q = d->questions;
    d->questions = NULL;
    d->has_ended = is_end;
    pthread_mutex_unlock(&d->lock);
    for (; q != NULL; q = next) {
        next = q->next;
        answer(d, q, is_end);
        free(q);
    }
}

static int wait_ms(struct dispatch *d, int64_t now_us)
{
    int64_t until_us = d->closing ? d->close_by_us : delivery_next_us(d->delivery, now_us);

    if (until_us <= now_us)
        return 0;
    if (until_us - now_us > 1000 * (int64_t)BEAT_WAIT_MS)
        return BEAT_WAIT_MS;
    return (int)((until_us - now_us + 999) / 1000);
}

/*
 * Undo what dispatch_wake did: first the descriptor, then the flag, then look for work.  The flag
 * stays up until its write has come: so a caller that finds it up, and does not write, is sure of
 * a wake.
 */
static void take_wake(struct dispatch *d)
{
    if (atomic_load(&d->is_awake) && wake_drain(d->wake_fd))
        atomic_exchange(&d->is_awake, false);
}

static bool is_over(const struct dispatch *d, int64_t now_us)
{
    return d->closing && (delivery_in_flight(d->delivery) == 0 || now_us >= d->close_by_us);
}

static void *deliver(void *arg)
{
    struct dispatch *d = arg;
    uint64_t seed = 0;

    thread_give_signal_stack(); /* as the store thread */
    PRE(getrandom(&seed, sizeof seed, 0) == sizeof seed);
    beat_begin("delivery");
    d->delivery =
        delivery_open(d->outbox, d->sink, &d->options, seed, clock_mono_us(), clock_wall_us());
    for (;;) {
        int64_t now_us = clock_mono_us();
        beat();
        take_wake(d);
        take_orders(d, now_us);
        if (is_over(d, now_us))
            break;
        bool more = delivery_step(d->delivery, now_us, clock_wall_us());
        take_questions(d, false);
        show(d);
        d->sink->ops->wait(d->sink, d->wake_fd, more ? 0 : wait_ms(d, clock_mono_us()));
    }
    take_questions(d, true);
    beat_rest(); /* the sink may wait for what is under way */
    d->sink->ops->close(d->sink);
    d->closed = true;
    show(d);
    delivery_close(d->delivery);
    beat_end();
    return NULL;
}

/* ---- called by others ------------------------------------------------------------ */

struct dispatch *dispatch_open(struct outbox *o, struct sink *sink,
                               const struct dispatch_options *options)
{
    struct dispatch *d = base_alloc(sizeof *d);

    d->outbox = o;
    d->sink = sink;
    d->options = *options;
    d->shown.endpoint =
        (struct dispatch_scope){.state = DISPATCH_RUNNING, .since_us = clock_wall_us()};
    if (options->held_why != NULL) {
        d->shown.endpoint.state = DISPATCH_STOPPED;
        snprintf(d->shown.endpoint.why, sizeof d->shown.endpoint.why, "%s", options->held_why);
        snprintf(d->shown.next, sizeof d->shown.next, "%s", options->held_next);
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

static void ask(struct dispatch *d, const struct question *question)
{
    struct question *q = base_alloc(sizeof *q);

    *q = *question;
    pthread_mutex_lock(&d->lock);
    bool is_taken = !d->has_ended;
    if (is_taken) {
        q->next = d->questions;
        d->questions = q;
    }
    pthread_mutex_unlock(&d->lock);
    if (is_taken) {
        dispatch_wake(d);
    } else {
        answer(d, q, true);
        free(q);
    }
}

void dispatch_look(struct dispatch *d, uint64_t document, dispatch_told *told, void *arg)
{
    ask(d, &(struct question){.document = document, .told = told, .arg = arg});
}

void dispatch_list(struct dispatch *d, dispatch_listed *listed, void *arg)
{
    ask(d, &(struct question){.listed = listed, .arg = arg});
}

void dispatch_adopt(struct dispatch *d)
{
    pthread_mutex_lock(&d->lock);
    d->orders.adopt = true;
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
