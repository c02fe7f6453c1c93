/*
 * outbox.c - the queue in front of the store thread, and its rounds.
 *
 * The happy path: intents are submitted (E1) and queued; the store thread takes what
 * has been queued, settlements first, and turns it into one transaction with one
 * commit (round.c); then every intent is settled: its caller is told that the
 * document is kept (E2).  During a commit the queue fills for the next round, so a
 * loaded outbox makes few, large commits and an idle one answers at once.  Verdicts
 * wait a little to be batched (verdicts.c).
 *
 * What can go wrong: begin, put or commit fails (no space, i/o error).  The round is
 * aborted as a whole; its intents get ERR_STORE with the reason and nothing is
 * promised; its settlements go back to the front of the queue and are tried again,
 * with a delay that doubles from 100 ms to 2 s, until a round commits.  Failure and
 * recovery are logged and shown (store_ok); nothing else is done.
 *
 * Submitting and settling are for any thread and wait for no disk; the rounds, apply
 * and settled run on the store thread.  What is committed is read in reader.c.
 */

#include "outbox/outbox.h"

#include "outbox/ahead.h"
#include "ground/backoff.h"
#include "ground/beat.h"
#include "ground/clock.h"
#include "ground/log.h"
#include "ground/metrics.h"
#include "ground/thread.h"
#include "outbox/damage.h"
#include "outbox/doubtful.h"
#include "outbox/heal.h"
#include "outbox/reader.h"
#include "outbox/round_inside.h"
#include "outbox/settle.h"
#include "outbox/verdicts.h"
#include "outbox/waiting.h"
#include "store/format.h"
#include "store/store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define ROUND_MAX_INTENTS 16384
#define ROUND_MAX_BYTES   ((size_t)32 << 20)
#define SMALL_ROUND       8 /* intents */
#define RETRY_MIN_MS      100
#define RETRY_MAX_MS      2000
#define TICK_US           1000000 /* how often the age of the oldest document is updated */
#define LOG_PERIOD_MS     1000
/*
 * Callers that were answered together return one by one.  The round waits up to this long
 * for as many as the last one had: less than the commit that this saves.
 */
#define GATHER_US 200

struct outbox {
    /* fixed after open */
    size_t queue_count, queue_bytes;
    void (*on_work)(void *);
    void *on_work_arg;
    void (*after_settled)(void *); /* or NULL */
    void *after_settled_arg;
    bool is_hasty;
    struct store *store;
    struct damage *damage;
    struct kept_for kept_for;
    pthread_t thread;
    /* any thread; set by the store thread */
    atomic_bool is_well;
    atomic_uint_fast64_t pending, checkpoints, contradictions, destination_revision, moved_no;
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct intent *first, *last;
    size_t queued_count, queued_bytes;
    size_t wanted_count; /* how many intents wake the store thread; 0: any */
    struct verdicts *verdicts;
    bool closing;
    struct destination_known destination;
    struct doubtful_count doubtful_count;
    char why_ill[OUTBOX_WHY_BYTES]; /* of the last round that failed */
    /* the store thread's */
    struct round round;
    struct waiting *waiting;
    struct heal *heal;
    struct doubtful *doubtful;
    int64_t retry_ms, retry_at_us;                 /* delay before settlements are tried again */
    int64_t failure_logged_us, recovery_logged_us; /* log_limited's memory */
    int64_t oldest_kept_at_us, next_tick_us;
    size_t round_count; /* intents of the last round */
};

/* What the store thread has taken from the queue for one round. */
struct work {
    struct intent *intents;
    struct verdicts_taken verdicts;
    bool is_probe; /* the store fails: try it again, with or without work */
    bool heals;    /* dead letters are due, or may be */
    bool counts;   /* a portion of the doubtful walk is due */
};

/* ---- the queue ------------------------------------------------------------ */

enum err outbox_submit(struct outbox *o, struct intent *first, size_t count, size_t cost_bytes)
{
    struct intent *last = first;
    size_t n = 1, bytes = first->cost_bytes;
    enum err e = ERR_OK;
    bool is_awaited = false;

    for (; last->next != NULL; last = last->next, n++)
        bytes += last->next->cost_bytes;
    PRE(n == count && bytes == cost_bytes);
    pthread_mutex_lock(&o->lock);
    if (o->closing) {
        e = ERR_DRAINING;
    } else if (o->first != NULL && (o->queued_count + count > o->queue_count ||
                                    o->queued_bytes + cost_bytes > o->queue_bytes)) {
        e = ERR_BUSY;
    } else {
        is_awaited = o->first == NULL && o->wanted_count == 0;
        if (o->first == NULL)
            o->first = first;
        else
            o->last->next = first;
        o->last = last;
        o->queued_count += count;
        o->queued_bytes += cost_bytes;
        is_awaited |= o->wanted_count > 0 && o->queued_count >= o->wanted_count;
    }
    pthread_mutex_unlock(&o->lock);
    if (is_awaited)
        pthread_cond_signal(&o->changed);
    return e;
}

void outbox_gone(struct outbox *o)
{
    pthread_mutex_lock(&o->lock);
    waiting_gone(o->waiting);
    pthread_mutex_unlock(&o->lock);
    pthread_cond_signal(&o->changed);
}

uint64_t outbox_settle(struct outbox *o, struct settlement *first)
{
    uint64_t ticket;

    pthread_mutex_lock(&o->lock);
    bool is_awaited = verdicts_add(o->verdicts, first, clock_mono_us(), clock_wall_us(), &ticket);
    pthread_mutex_unlock(&o->lock);
    if (is_awaited)
        pthread_cond_signal(&o->changed);
    return ticket;
}

void outbox_peer(struct outbox *o, unsigned functions, const char *deployment)
{
    pthread_mutex_lock(&o->lock);
    heal_hear_peer(o->heal, functions, deployment);
    pthread_mutex_unlock(&o->lock);
    pthread_cond_signal(&o->changed);
}

void outbox_well(struct outbox *o, struct slice kind)
{
    pthread_mutex_lock(&o->lock);
    heal_hear_well(o->heal, kind, clock_wall_us());
    pthread_mutex_unlock(&o->lock);
    pthread_cond_signal(&o->changed);
}

bool outbox_is_settled(struct outbox *o, uint64_t ticket)
{
    pthread_mutex_lock(&o->lock);
    bool settled = verdicts_is_done(o->verdicts, ticket);
    pthread_mutex_unlock(&o->lock);
    return settled;
}

/* Under lock.  The first intents, as many as fit into one round. */
static struct intent *take_intents(struct outbox *o)
{
    struct intent *first = o->first, **end = &first;
    size_t count = 0, bytes = 0;

    for (; *end != NULL && count < ROUND_MAX_INTENTS && bytes < ROUND_MAX_BYTES; count++) {
        bytes += (*end)->cost_bytes;
        end = &(*end)->next;
    }
    o->first = *end;
    *end = NULL;
    if (o->first == NULL)
        o->last = NULL;
    o->queued_count -= count;
    o->queued_bytes -= bytes;
    return first;
}

/* Under lock.  When the queued verdicts are to be written. */
static int64_t settle_us(const struct outbox *o)
{
    int64_t at_us = verdicts_due_us(o->verdicts);

    if (o->closing && at_us != INT64_MAX)
        return 0;
    return at_us > o->retry_at_us ? at_us : o->retry_at_us;
}

/* A small round costs the same pages with verdicts in it, since those are of documents kept just
 * before, on the same pages. */
static bool is_small(const struct intent *i)
{
    size_t count = 0;

    for (; i != NULL && count <= SMALL_ROUND; i = i->next)
        count++;
    return count > 0 && count <= SMALL_ROUND;
}

/* Under lock. */
static void take(struct outbox *o, struct work *w, int64_t now_us)
{
    w->intents = take_intents(o);
    if (now_us >= settle_us(o) || (is_small(w->intents) && now_us >= o->retry_at_us))
        w->verdicts = verdicts_take(o->verdicts);
    w->is_probe = !o->is_well;
    w->heals = now_us >= heal_due_us(o->heal);
    w->counts = now_us >= doubtful_due_us(o->doubtful);
}

/* ---- one round ------------------------------------------------------------ */

static enum err settle_all(struct round *r, const struct work *w)
{
    enum err e = ERR_OK;

    for (struct settlement *s = w->verdicts.first; e == ERR_OK && s != NULL; s = s->next)
        e = settle_apply(r, s);
    return e;
}

/* This round keeps a version of a document whose verdict is queued: settle that first. */
static enum err settle_now(struct outbox *o, struct work *w)
{
    if (w->verdicts.first != NULL)
        return ERR_OK; /* the verdict came in the meantime */
    pthread_mutex_lock(&o->lock);
    w->verdicts = verdicts_take(o->verdicts);
    pthread_mutex_unlock(&o->lock);
    return settle_all(&o->round, w);
}

static enum err apply_all(struct outbox *o, struct work *w)
{
    struct round *r = &o->round;
    enum err e = round_begin(r, WAITING_MAX - waiting_count(o->waiting), !o->is_well);

    e = e == ERR_OK ? settle_all(r, w) : e;
    for (struct intent *i = w->intents; e == ERR_OK && i != NULL; i = i->next) {
        i->held_no = 0;
        beat();
        i->applied = i->apply(i, r);
        if (r->failed)
            e = ERR_STORE;
    }
    if (e == ERR_OK && r->tally.meets_verdict)
        e = settle_now(o, w);
    if (e == ERR_OK && w->heals)
        e = heal_walk(o->heal, r);
    return e == ERR_OK && w->counts ? doubtful_walk(o->doubtful, r) : e;
}

static bool is_through(void *round, struct intent *i)
{
    return round_is_through(round, i);
}

static enum err commit(struct outbox *o)
{
    struct round *r = &o->round;

    waiting_mark(o->waiting, is_through, r);
    return r->failed ? ERR_STORE : round_commit(r);
}

/* The reason for an intent that failed alone; when a whole round fails, it is the store's reason.
 */
static const char *why_alone(enum err e)
{
    return e == ERR_STORE  ? "a record of this document is damaged; the log names it"
           : e == ERR_FULL ? err_text(e)
                           : "";
}

/* A settled intent may be freed: its successor is read before. */
static void settle_intents(struct outbox *o, struct intent *i, const char *failure)
{
    for (struct intent *next; i != NULL; i = next) {
        next = i->next;
        i->next = NULL;
        if (failure != NULL)
            i->settled(i, ERR_STORE, failure);
        else if (i->applied == ERR_OK && i->held_no != 0)
            waiting_hold(o->waiting, i);
        else
            i->settled(i, i->applied, why_alone(i->applied));
    }
}

/* Send the answers of what was settled so far. */
static void send_answers(struct outbox *o)
{
    if (o->after_settled != NULL)
        o->after_settled(o->after_settled_arg);
}

static void settle_settlements(struct outbox *o, struct settlement *s)
{
    for (struct settlement *next; s != NULL; s = next) {
        next = s->next;
        if (!s->later)
            waiting_answer(o->waiting, lane_arrival(s->no), s->revision,
                           s->dead ? ERR_SINK : ERR_OK, s->why != NULL ? s->why : "");
        settlement_free(s);
    }
}

/* Publish the destination and the doubtful count for other threads. */
static void show_destination(struct outbox *o)
{
    bool has_counted = doubtful_end_round(o->doubtful, &o->round, clock_mono_us());

    if (!has_counted && !o->round.has_new_destination)
        return;
    pthread_mutex_lock(&o->lock);
    if (o->round.has_new_destination)
        o->destination = o->round.destination;
    o->doubtful_count = *doubtful_get(o->doubtful);
    pthread_mutex_unlock(&o->lock);
    metric_set(METRIC_DOUBTFUL, o->doubtful_count.logged);
    metric_set(METRIC_DOUBTFUL_UNLOGGED, o->doubtful_count.unlogged);
    o->destination_revision += o->round.has_new_destination;
}

/* A round is committed: publish the state of the store. */
static void set_well(struct outbox *o)
{
    show_destination(o);
    o->pending = o->round.levels.pending;
    o->checkpoints = o->round.levels.checkpoints;
    heal_end_round(o->heal, &o->round, o->round.levels.dead, clock_mono_us());
    o->oldest_kept_at_us = o->round.levels.oldest_kept_at_us;
    o->is_well = true;
    metric_set(METRIC_STORE_OK, 1);
}

static void note_moved(struct outbox *o, uint64_t no)
{
    uint64_t lowest = o->moved_no;

    while (no != 0 && (lowest == 0 || no < lowest) &&
           !atomic_compare_exchange_weak(&o->moved_no, &lowest, no))
        continue;
}

/* The round is on disk: E1 -> E2 for intents, E4 -> E5 or E6 for settlements. */
static void succeed(struct outbox *o, struct work *w)
{
    bool recovered = !o->is_well, brought_work = o->round.tally.brought_work;

    o->retry_ms = 0;
    o->retry_at_us = 0;
    o->next_tick_us = 0;
    o->contradictions += o->round.tally.contradicted;
    note_moved(o, o->round.tally.moved_no);
    set_well(o);
    if (recovered && log_limited(&o->recovery_logged_us, LOG_PERIOD_MS))
        log_event(LOG_INFO, "outbox.store_recovered", "%s", "");
    pthread_mutex_lock(&o->lock);
    verdicts_done(o->verdicts, &w->verdicts);
    pthread_mutex_unlock(&o->lock);
    settle_settlements(o, w->verdicts.first);
    waiting_release(o->waiting);
    settle_intents(o, w->intents, NULL);
    send_answers(o); /* before delivery wakes */
    if ((brought_work || recovered) && o->on_work != NULL)
        o->on_work(o->on_work_arg);
}

static void set_ill(struct outbox *o, const char *why)
{
    metric_add(METRIC_STORE_FAILURES, 1);
    pthread_mutex_lock(&o->lock);
    snprintf(o->why_ill, sizeof o->why_ill, "%s", *why ? why : "its log says why");
    pthread_mutex_unlock(&o->lock);
    o->is_well = false;
    metric_set(METRIC_STORE_OK, 0);
    if (log_limited(&o->failure_logged_us, LOG_PERIOD_MS))
        log_event(LOG_ERROR, "outbox.store_failed", "why=\"%s\"", why);
    o->retry_ms = backoff_next(o->retry_ms, RETRY_MIN_MS, RETRY_MAX_MS);
    o->retry_at_us = clock_mono_us() + o->retry_ms * 1000;
}

/* Nothing of the round is kept; all its callers are told why. */
static void fail(struct outbox *o, struct work *w)
{
    const char *why = store_why(o->store);

    round_abort(&o->round);
    set_ill(o, why);
    pthread_mutex_lock(&o->lock);
    verdicts_give_back(o->verdicts, &w->verdicts);
    pthread_mutex_unlock(&o->lock);
    settle_intents(o, w->intents, why);
}

static void do_round(struct outbox *o, struct work *w)
{
    enum err e = apply_all(o, w);

    if (e == ERR_OK)
        e = commit(o);
    if (e == ERR_OK)
        succeed(o, w);
    else
        fail(o, w);
}

/* ---- the store thread ----------------------------------------------------- */

static struct timespec timespec_of(int64_t us)
{
    return (struct timespec){.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
}

/* When a walk through the store is due: dead letters, or doubtful documents. */
static int64_t walk_us(const struct outbox *o)
{
    int64_t heal_us = heal_due_us(o->heal), count_us = doubtful_due_us(o->doubtful);

    return heal_us < count_us ? heal_us : count_us;
}

/* Under lock. */
static bool has_work(struct outbox *o, int64_t now_us)
{
    if (o->first != NULL)
        return true;
    /* A failing store is tried again even without work, to notice when it recovers. */
    if (!o->is_well && !o->closing && now_us >= o->retry_at_us)
        return true;
    if (!o->closing && o->is_well && now_us >= walk_us(o))
        return true;
    return now_us >= settle_us(o);
}

/* Under lock.  When the thread has to wake by itself. */
static int64_t wake_us(const struct outbox *o)
{
    int64_t at_us = waiting_due_us(o->waiting);

    if (settle_us(o) < at_us)
        at_us = settle_us(o);
    if (!o->is_well && o->retry_at_us < at_us)
        at_us = o->retry_at_us;
    if (o->oldest_kept_at_us != 0 && o->next_tick_us < at_us)
        at_us = o->next_tick_us;
    if (o->is_well && walk_us(o) < at_us)
        at_us = walk_us(o);
    return at_us;
}

/* Under lock.  Wait for callers that were answered together, so that they share a round again. */
static void gather(struct outbox *o)
{
    size_t last = o->round_count;

    if (o->first == NULL)
        return;
    if (last > 1) {
        struct timespec until = timespec_of(clock_mono_us() + GATHER_US);
        int timed_out = 0;
        o->wanted_count = last;
        while (o->queued_count < last && !o->closing && timed_out == 0)
            timed_out = pthread_cond_timedwait(&o->changed, &o->lock, &until);
        o->wanted_count = 0;
    }
    o->round_count = o->queued_count;
}

/* In a store that is filling up, verdicts free space. */
static bool is_filling(const struct round *r)
{
    return r->counters.pending_bytes + r->counters.dead_bytes > r->limit_bytes / 2;
}

static enum verdicts_wanted who_waits(const struct outbox *o)
{
    if (o->is_hasty || waiting_for_one(o->waiting))
        return VERDICTS_EACH;
    return waiting_count(o->waiting) > 0 || is_filling(&o->round) ? VERDICTS_ALL : VERDICTS_NOBODY;
}

/* Wait for work, a deadline or the end; false: the end, with no work left. */
static bool wait_for_work(struct outbox *o, struct work *w)
{
    *w = (struct work){0};
    pthread_mutex_lock(&o->lock);
    verdicts_want(o->verdicts, who_waits(o), o->pending);
    heal_take_news(o->heal, &o->round);
    int64_t now_us = clock_mono_us();
    while (!has_work(o, now_us) && !o->closing && now_us < wake_us(o)) {
        int64_t at_us = wake_us(o), beat_us = now_us + 1000 * (int64_t)BEAT_WAIT_MS;
        struct timespec at = timespec_of(at_us < beat_us ? at_us : beat_us);
        beat();
        pthread_cond_timedwait(&o->changed, &o->lock, &at);
        heal_take_news(o->heal, &o->round);
        now_us = clock_mono_us();
    }
    gather(o);
    bool is_due = has_work(o, now_us);
    if (is_due)
        take(o, w, clock_mono_us());
    bool goes_on = is_due || !o->closing;
    pthread_mutex_unlock(&o->lock);
    return goes_on;
}

static void tick(struct outbox *o)
{
    int64_t now_us = clock_mono_us();

    waiting_expire(o->waiting, now_us);
    send_answers(o); /* also those of a round that failed */
    if (now_us < o->next_tick_us)
        return;
    o->next_tick_us = now_us + TICK_US;
    int64_t age_us = o->oldest_kept_at_us ? clock_wall_us() - o->oldest_kept_at_us : 0;
    metric_set(METRIC_OLDEST_PENDING_SECONDS, age_us > 0 ? (uint64_t)(age_us / 1000000) : 0);
}

/* At the end the store gets one more try; verdicts lost then are sent again after a restart. */
static void drop_settlements(struct outbox *o)
{
    pthread_mutex_lock(&o->lock);
    if (o->closing)
        verdicts_drop(o->verdicts);
    pthread_mutex_unlock(&o->lock);
}

/* Write all checkpoints, in case an older program opens the store next. */
static void name_all(struct outbox *o)
{
    if (ahead_count(o->round.ahead) == 0)
        return;
    enum err e = round_begin(&o->round, 0, false);
    if (e == ERR_OK)
        e = round_name_all(&o->round);
    if (e == ERR_OK)
        e = round_commit(&o->round);
    if (e != ERR_OK)
        round_abort(&o->round); /* the next start finds them, as after a crash */
}

static void *run(void *arg)
{
    struct outbox *o = arg;
    struct work w;

    thread_give_signal_stack(); /* LMDB may die of a damaged file (crash_mark.c) */
    beat_begin("store");
    while (wait_for_work(o, &w)) {
        if (w.intents != NULL || w.verdicts.first != NULL || w.is_probe || w.heals || w.counts)
            do_round(o, &w);
        if (!o->is_well)
            drop_settlements(o);
        tick(o);
    }
    name_all(o);
    waiting_drain(o->waiting);
    send_answers(o);
    beat_end();
    return NULL;
}

static void start_thread(struct outbox *o)
{
    pthread_condattr_t attr;

    PRE(pthread_condattr_init(&attr) == 0);
    PRE(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
    PRE(pthread_cond_init(&o->changed, &attr) == 0);
    pthread_condattr_destroy(&attr);
    PRE(thread_start(&o->thread, "store", run, o));
}

/* ---- open and close ------------------------------------------------------- */

/* Space for what the limit admits, for checkpoints, and for pages not yet free. */
static uint64_t map_bytes(uint64_t limit_bytes)
{
    return 2 * limit_bytes + ((uint64_t)1 << 30);
}

static enum err empty_round(struct outbox *o, bool must_write)
{
    enum err e = round_begin(&o->round, 0, must_write);

    if (e == ERR_OK)
        e = destination_read(&o->round, &o->round.destination);
    o->round.has_new_destination = e == ERR_OK;
    if (e == ERR_OK)
        e = round_commit(&o->round);
    if (e != ERR_OK)
        round_abort(&o->round);
    return e;
}

/*
 * An empty round: it reads the levels for the metrics, and proves that the store takes writes.  A
 * store that does not, as on a full disk, can still be read: what is kept is delivered, and the
 * rounds go on trying.
 */
static enum err first_round(struct outbox *o, struct fault *fault)
{
    enum err e = empty_round(o, true);

    if (e == ERR_OK) {
        set_well(o);
        return ERR_OK;
    }
    fault_fail(fault, e, "", "%s", store_why(o->store));
    e = empty_round(o, false);
    if (e != ERR_OK)
        return e;
    set_well(o);
    set_ill(o, fault->why);
    fault_clear(fault);
    return ERR_OK;
}

enum err outbox_open(const struct outbox_options *options, struct outbox **out, struct fault *fault)
{
    struct outbox *o = base_alloc(sizeof *o);
    enum err e = migrate_at_start(options->dir, &options->migrating, fault);

    if (e == ERR_OK)
        e = store_open(options->dir, map_bytes(options->limit_bytes), &o->store, fault);
    if (e != ERR_OK)
        goto err0;
    e = format_check(o->store, fault);
    if (e == ERR_OK && options->sink != NULL)
        e = kept_for_check(o->store, options->sinks, options->sink, &o->kept_for, fault);
    if (e != ERR_OK)
        goto err1;
    o->damage = damage_new();
    round_init(&o->round, o->store, o->damage, options->limit_bytes, options->dead_limit);
    o->heal = heal_new();
    o->doubtful = doubtful_new();
    PRE(pthread_mutex_init(&o->lock, NULL) == 0);
    e = first_round(o, fault);
    if (e != ERR_OK)
        goto err2;
    o->queue_count = options->queue_count;
    o->queue_bytes = options->queue_bytes;
    o->on_work = options->on_work;
    o->on_work_arg = options->on_work_arg;
    o->after_settled = options->after_settled;
    o->after_settled_arg = options->after_settled_arg;
    o->is_hasty = options->is_hasty;
    o->waiting = waiting_new();
    o->verdicts = verdicts_new();
    o->round.verdicts = o->verdicts;
    start_thread(o);
    *out = o;
    return ERR_OK;
err2:
    pthread_mutex_destroy(&o->lock);
    doubtful_free(o->doubtful);
    heal_free(o->heal);
    round_free(&o->round);
    damage_free(o->damage);
err1:
    store_close(o->store);
err0:
    free(o);
    return e;
}

bool outbox_is_well(const struct outbox *o)
{
    return o->is_well;
}

void outbox_why_ill(struct outbox *o, char why[OUTBOX_WHY_BYTES])
{
    pthread_mutex_lock(&o->lock);
    snprintf(why, OUTBOX_WHY_BYTES, "%s", o->is_well ? "" : o->why_ill);
    pthread_mutex_unlock(&o->lock);
}

uint64_t outbox_pending(const struct outbox *o)
{
    return o->pending;
}

uint64_t outbox_checkpoints(const struct outbox *o)
{
    return o->checkpoints;
}

uint64_t outbox_take_moved(struct outbox *o)
{
    return atomic_exchange(&o->moved_no, 0);
}

uint64_t outbox_contradictions(const struct outbox *o)
{
    return o->contradictions;
}

/* ---- the destination ------------------------------------------------------ */

void outbox_destination(struct outbox *o, struct destination_known *known)
{
    pthread_mutex_lock(&o->lock);
    *known = o->destination;
    pthread_mutex_unlock(&o->lock);
}

uint64_t outbox_destination_revision(const struct outbox *o)
{
    return o->destination_revision;
}

void outbox_doubtful(struct outbox *o, struct doubtful_count *count)
{
    pthread_mutex_lock(&o->lock);
    *count = o->doubtful_count;
    pthread_mutex_unlock(&o->lock);
}

const struct kept_for *outbox_kept_for(const struct outbox *o)
{
    return &o->kept_for;
}

void outbox_stop(struct outbox *o)
{
    if (o == NULL)
        return;
    pthread_mutex_lock(&o->lock);
    bool is_first = !o->closing;
    o->closing = true;
    pthread_cond_signal(&o->changed);
    pthread_mutex_unlock(&o->lock);
    if (is_first)
        PRE(pthread_join(o->thread, NULL) == 0);
}

void outbox_close(struct outbox *o)
{
    if (o == NULL)
        return;
    outbox_stop(o);
    pthread_cond_destroy(&o->changed);
    pthread_mutex_destroy(&o->lock);
    waiting_free(o->waiting);
    verdicts_free(o->verdicts); /* and those that came after the end */
    heal_free(o->heal);
    doubtful_free(o->doubtful);
    round_free(&o->round);
    damage_free(o->damage);
    store_close(o->store);
    free(o);
}

struct letters *outbox_letters_open(struct outbox *o)
{
    return letters_new(o->store);
}

/* ---- the reader ----------------------------------------------------------- */

struct outbox_reader *outbox_reader_open(struct outbox *o)
{
    return reader_new(o->store, o->damage);
}
