/*
 * audit.c - compares what Convex holds with what was confirmed.
 *
 * The happy path: for each kind, portions of checkpoints (read in short rounds of the store
 * thread) and pages of digests are merged in order of the ids (drift).  What differs is only a
 * doubt, since a write may have happened between the two reads: doubts are collected, checked
 * again by id (doubts), and what still differs is a finding.  So live writes never cause a false
 * finding.
 *
 * With repair, an orphan is cleared; the checkpoint of any other document is marked as doubtful,
 * so that its next projection is written whatever Convex holds.  The store keeps no delivered
 * document: whoever has the history has to send it again.
 *
 * What can go wrong: Convex or the store fails, somebody cancels, the sidecar ends.  In each case
 * the audit stops, and reports what it has found, why it stopped, and where to go on.
 *
 * Memory is bounded: one portion, two pages, the list of doubts, DRIFT_LINES_MAX findings.
 * Runs on a thread of its own.
 */

#include "audit/audit.h"

#include "audit/digests.h"
#include "audit/doubts.h"
#include "audit/look.h"
#include "ground/buf.h"
#include "ground/beat.h"
#include "ground/clock.h"
#include "ground/log.h"
#include "ground/metrics.h"
#include "ground/thread.h"
#include "ground/wake.h"
#include "json/json.h"
#include "outbox/outbox.h"
#include "projection/projection.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define PORTION  500 /* checkpoints of one round */
#define BUSY_MS  10  /* before a full store queue is tried again */
#define ID_BYTES 511 /* the longest id in the store */

struct audit {
    /* fixed after open */
    struct audit_options options;
    pthread_t thread;
    int wake_fd; /* readable when whatever runs must end */
    /* any thread */
    atomic_uint_fast64_t checked, findings;
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_running, is_stopping;
    struct drift_request request; /* its `after` is in the next field */
    char *after;
    audit_done *done;
    audit_looked *looked; /* instead of done: read the document `after` */
    void *done_arg;
    const struct kind *kind; /* at present */
    int64_t started_ms;
    bool is_whole; /* all kinds from the first: the total is known */
    /* of the owner */
    bool is_joined;
};

/* Checkpoints in order; the ids of items point into `ids`. */
struct portion {
    struct buf ids;
    size_t count;
    bool is_last;
    struct drift_ours items[PORTION];
};

/* One audit.  Lives on the heap of the audit's thread. */
struct run {
    struct audit *a;
    struct digests *pages, *looks; /* two, since a page is in use while doubts are read */
    const struct kind *kind;
    struct drift_merge merge;
    struct portion portion;
    struct buf our_after, their_after; /* where the next portion and page begin */
    struct buf last;                   /* the last id merged */
    struct doubts *doubts;
    struct fault fault;
    struct drift_report report;
};

static void set_text(struct buf *b, struct slice s)
{
    b->len = 0;
    buf_slice(b, s);
}

static enum err stop(struct run *u, const char *why)
{
    return fault_fail(&u->fault, ERR_CLOSED, NULL, "%s", why);
}

/* ---- the two streams ------------------------------------------------------------------------ */

static bool collect(void *arg, struct slice id, const struct checkpoint *cp)
{
    struct portion *p = arg;
    struct drift_ours *o = &p->items[p->count++];

    *o = doubts_ours(cp);
    o->id.len = id.len;
    buf_slice(&p->ids, id);
    return p->count < PORTION;
}

static enum err work_portion(void *arg, struct round *r)
{
    struct run *u = arg;
    struct portion *p = &u->portion;

    p->count = 0;
    p->ids.len = 0;
    return round_each_checkpoint(r, slice_str(u->kind->prefix), buf_view(&u->our_after), collect,
                                 p);
}

static enum err feed_ours(struct run *u)
{
    struct portion *p = &u->portion;
    size_t at = 0;
    enum err e;

    while ((e = look_at(u->a->options.outbox, work_portion, u, &u->fault)) == ERR_BUSY)
        if (!digests_pause(u->pages, BUSY_MS))
            return stop(u, "cancelled");
    if (e != ERR_OK)
        return e;
    for (size_t i = 0; i < p->count; at += p->items[i].id.len, i++)
        p->items[i].id.data = p->ids.data + at;
    if (p->count > 0)
        set_text(&u->our_after, p->items[p->count - 1].id);
    drift_feed_ours(&u->merge, p->items, p->count, p->count < PORTION);
    return ERR_OK;
}

static enum err feed_theirs(struct run *u)
{
    const struct digests_ask ask = {.kind = u->kind->name, .after = buf_view(&u->their_after)};
    struct digests_page page;
    enum err e = digests_get(u->pages, &ask, &page, &u->fault);

    if (e == ERR_CLOSED)
        return stop(u, "cancelled");
    if (e != ERR_OK)
        return e;
    if (!page.is_last)
        set_text(&u->their_after, page.next);
    drift_feed_theirs(&u->merge, page.items, page.count, page.is_last);
    return ERR_OK;
}

/* ---- one audit ------------------------------------------------------------------------------ */

static bool has_prefix(struct slice id, const char *prefix)
{
    return id.len > strlen(prefix) && id.len <= ID_BYTES && slice_starts(id, slice_str(prefix));
}

/* False: the list of doubts is full; they must be settled first. */
static bool take_pair(struct run *u, const struct drift_ours *o, const struct drift_theirs *t)
{
    struct slice id = o ? o->id : t->id;
    bool has_room = true;

    u->report.checked++;
    atomic_store(&u->a->checked, u->report.checked);
    metric_set(METRIC_AUDIT_CHECKED, u->report.checked);
    if (drift_judge(o, t) != DRIFT_NONE)
        has_room = doubts_add(u->doubts, id, buf_view(&u->last), u->report.checked - 1);
    if (has_prefix(id, u->kind->prefix) && json_is_utf8(id))
        set_text(&u->last, id);
    return has_room;
}

static enum err settle(struct run *u)
{
    enum err e = doubts_settle(u->doubts, &u->report, &u->fault);

    atomic_store(&u->a->findings, drift_findings(&u->report));
    metric_set(METRIC_AUDIT_FINDINGS, drift_findings(&u->report));
    return e;
}

/* One step of the merge; ${is_end} is set by the last one. */
static enum err take_step(struct run *u, bool *is_end)
{
    const struct drift_ours *o;
    const struct drift_theirs *t;

    enum drift_step step = drift_next(&u->merge, &o, &t);
    if (step != DRIFT_PAIR && !digests_pause(u->pages, 0))
        return stop(u, "cancelled");
    switch (step) {
    case DRIFT_PAIR:
        return take_pair(u, o, t) ? ERR_OK : settle(u);
    case DRIFT_WANT_OURS:
        return feed_ours(u);
    case DRIFT_WANT_THEIRS:
        return feed_theirs(u);
    case DRIFT_END:
        *is_end = true;
    }
    return settle(u);
}

static enum err audit_kind(struct run *u)
{
    bool is_end = false;
    enum err e = ERR_OK;

    doubts_begin(u->doubts, u->kind);
    u->merge = (struct drift_merge){0};
    while (e == ERR_OK && !is_end)
        e = take_step(u, &is_end);
    return e;
}

static enum err audit_kinds(struct run *u, const struct drift_request *q)
{
    const struct kinds *kinds = u->a->options.kinds;
    bool is_behind = q->after.len == 0;
    enum err e = ERR_OK;

    for (size_t k = 0; k < kinds_count(kinds) && e == ERR_OK; k++) {
        const struct kind *kind = kinds_at(kinds, k);
        bool is_here = !is_behind && kinds_of_id(kinds, q->after) == kind;
        if ((q->kind && q->kind != kind) || (!is_behind && !is_here))
            continue;
        is_behind = true;
        pthread_mutex_lock(&u->a->lock);
        u->a->kind = u->kind = kind;
        pthread_mutex_unlock(&u->a->lock);
        set_text(&u->our_after, is_here ? q->after : slice_of("", 0));
        set_text(&u->their_after, is_here ? q->after : slice_of("", 0));
        e = audit_kind(u);
    }
    return e;
}

static enum err open_digests(struct run *u, bool repair)
{
    struct audit *a = u->a;
    struct fault fault = {0};
    enum err e = digests_open(&a->options.digests, &u->pages, &fault);

    if (e == ERR_OK)
        e = digests_open(&a->options.digests, &u->looks, &fault);
    if (e == ERR_OK)
        u->doubts = doubts_new(a->options.outbox, u->looks, repair);
    else
        fault_say(&u->fault, NULL, "%.100s %.150s", fault.path, fault.why);
    return e;
}

static void say_end(const struct drift_report *r)
{
    char quoted[600];

    log_event(LOG_INFO, "audit.done",
              "checked=%llu missing=%llu stale=%llu ahead=%llu altered=%llu orphaned=%llu "
              "second_look=%llu unsettled=%llu repaired=%llu took_ms=%lld stopped=%s",
              (unsigned long long)r->checked, (unsigned long long)r->count[DRIFT_MISSING],
              (unsigned long long)r->count[DRIFT_STALE], (unsigned long long)r->count[DRIFT_AHEAD],
              (unsigned long long)r->count[DRIFT_ALTERED],
              (unsigned long long)r->count[DRIFT_ORPHANED], (unsigned long long)r->second_look,
              (unsigned long long)r->unsettled, (unsigned long long)r->repaired,
              (long long)r->took_ms, log_quote(slice_str(r->stopped), quoted, sizeof quoted));
}

static void finish(struct run *u, enum err e)
{
    struct drift_report *r = &u->report;

    if (e != ERR_OK) {
        struct slice next = buf_view(&u->last), safe;
        uint64_t checked;
        /* What was compared and not judged is not reported: the next audit counts it. */
        if (u->doubts && doubts_safe(u->doubts, &safe, &checked)) {
            next = safe;
            r->checked = checked;
        }
        snprintf(r->stopped, sizeof r->stopped, "%s", u->fault.why);
        r->is_failed = e != ERR_CLOSED;
        r->next = base_strndup(next.data, next.len);
        r->next_len = next.len;
    }
    r->took_ms = clock_mono_ms() - u->a->started_ms;
    say_end(r);
}

static void run_free(struct run *u)
{
    doubts_free(u->doubts);
    digests_close(u->pages);
    digests_close(u->looks);
    buf_free(&u->portion.ids);
    buf_free(&u->our_after);
    buf_free(&u->their_after);
    buf_free(&u->last);
    drift_report_clear(&u->report);
    free(u);
}

static void run_audit(struct audit *a, const struct drift_request *q)
{
    struct run *u = base_alloc(sizeof *u);

    u->a = a;
    set_text(&u->last, q->after);
    enum err e = open_digests(u, q->repair);
    if (e == ERR_OK)
        e = audit_kinds(u, q);
    finish(u, e);
    /* Idle before the answer, so that its receiver may start the next one. */
    pthread_mutex_lock(&a->lock);
    a->is_running = false;
    audit_done *done = a->done;
    void *arg = a->done_arg;
    pthread_mutex_unlock(&a->lock);
    done(arg, &u->report);
    run_free(u);
}

/* ---- one look ---------------------------------------------------------------------------------
 */

static enum err get_one(struct audit *a, const struct drift_request *q, struct digests **d,
                        struct digests_page *page, struct fault *fault)
{
    const struct digests_ask ask = {.kind = q->kind->name, .ids = &q->after, .id_count = 1};
    struct digests_options once = a->options.digests;

    once.tries = 1;
    enum err e = digests_open(&once, d, fault);
    return e == ERR_OK ? digests_get(*d, &ask, page, fault) : e;
}

static void run_look(struct audit *a, const struct drift_request *q)
{
    struct digests *d = NULL;
    struct digests_page page = {0};
    struct fault fault = {0};

    enum err e = get_one(a, q, &d, &page, &fault);
    if (e != ERR_OK && fault.why[0] == '\0')
        fault_say(&fault, NULL, "%s", err_text(e));
    pthread_mutex_lock(&a->lock);
    a->is_running = false;
    audit_looked *looked = a->looked;
    void *arg = a->done_arg;
    a->looked = NULL;
    pthread_mutex_unlock(&a->lock);
    looked(arg, e == ERR_OK && page.count > 0 ? &page.items[0] : NULL, &fault);
    digests_close(d);
}

/* ---- the thread ----------------------------------------------------------------------------- */

static void *work(void *arg)
{
    struct audit *a = arg;

    thread_give_signal_stack(); /* as the store thread */
    beat_begin("audit");
    pthread_mutex_lock(&a->lock);
    for (;;) {
        beat_rest();
        while (!a->is_running && !a->is_stopping)
            pthread_cond_wait(&a->changed, &a->lock);
        beat();
        if (!a->is_running)
            break;
        struct drift_request q = a->request;
        char *after = a->after;
        a->after = NULL;
        bool is_look = a->looked != NULL;
        pthread_mutex_unlock(&a->lock);
        if (is_look)
            run_look(a, &q);
        else
            run_audit(a, &q);
        free(after);
        pthread_mutex_lock(&a->lock);
    }
    pthread_mutex_unlock(&a->lock);
    beat_end();
    return NULL;
}

struct audit *audit_open(const struct audit_options *options)
{
    struct audit *a = base_alloc(sizeof *a);

    a->options = *options;
    a->wake_fd = wake_open();
    PRE(a->wake_fd >= 0);
    a->options.digests.wake_fd = a->wake_fd;
    PRE(pthread_mutex_init(&a->lock, NULL) == 0);
    PRE(pthread_cond_init(&a->changed, NULL) == 0);
    PRE(thread_start(&a->thread, "audit", work, a));
    return a;
}

/* Have the thread begin with ${request}, as far as it is free; under lock. */
static enum err begin(struct audit *a, const struct drift_request *request)
{
    if (a->is_stopping || a->is_running)
        return a->is_stopping ? ERR_DRAINING : ERR_BUSY;
    (void)wake_drain(a->wake_fd);
    a->request = *request;
    a->after = base_strndup(request->after.data, request->after.len);
    a->request.after = slice_of(a->after, request->after.len);
    a->is_running = true;
    pthread_cond_broadcast(&a->changed);
    return ERR_OK;
}

static enum err refuse_unreadable(struct fault *fault)
{
    return fault_say(fault, NULL, "the sink cannot be read back");
}

enum err audit_start(void *audit, const struct drift_request *request, audit_done *done, void *arg,
                     struct fault *fault)
{
    struct audit *a = audit;

    if (a == NULL)
        return refuse_unreadable(fault);
    pthread_mutex_lock(&a->lock);
    enum err e = begin(a, request);
    if (e == ERR_OK) {
        a->done = done;
        a->done_arg = arg;
        a->kind = request->kind;
        a->is_whole = request->kind == NULL && request->after.len == 0;
        a->started_ms = clock_mono_ms();
        atomic_store(&a->checked, 0);
        atomic_store(&a->findings, 0);
        metric_set(METRIC_AUDIT_CHECKED, 0);
        metric_set(METRIC_AUDIT_FINDINGS, 0);
    }
    pthread_mutex_unlock(&a->lock);
    return e;
}

enum err audit_look(void *audit, const struct kind *kind, struct slice id, audit_looked *looked,
                    void *arg, struct fault *fault)
{
    const struct drift_request request = {.kind = kind, .after = id};
    struct audit *a = audit;

    if (a == NULL)
        return refuse_unreadable(fault);
    pthread_mutex_lock(&a->lock);
    enum err e = begin(a, &request);
    if (e == ERR_OK) {
        a->looked = looked;
        a->done_arg = arg;
    }
    pthread_mutex_unlock(&a->lock);
    return e;
}

bool audit_cancel(void *audit)
{
    struct audit *a = audit;

    if (a == NULL)
        return false;
    pthread_mutex_lock(&a->lock);
    bool is_running = a->is_running && a->looked == NULL;
    if (is_running)
        wake_ring(a->wake_fd);
    pthread_mutex_unlock(&a->lock);
    return is_running;
}

void audit_progress(void *audit, struct drift_progress *p)
{
    struct audit *a = audit;

    *p = (struct drift_progress){.eta_s = -1};
    if (a == NULL)
        return;
    uint64_t all = outbox_checkpoints(a->options.outbox);
    pthread_mutex_lock(&a->lock);
    if (a->is_running && a->looked == NULL) {
        p->is_running = true;
        snprintf(p->kind, sizeof p->kind, "%s", a->kind ? a->kind->name : "");
        p->took_ms = clock_mono_ms() - a->started_ms;
        p->checked = atomic_load(&a->checked);
        p->findings = atomic_load(&a->findings);
        p->rate = p->took_ms > 0 ? (double)p->checked * 1000 / (double)p->took_ms : 0;
        if (a->is_whole && p->rate > 0)
            p->eta_s = p->checked < all ? (int64_t)((double)(all - p->checked) / p->rate) : 0;
    }
    pthread_mutex_unlock(&a->lock);
}

void audit_stop(struct audit *a)
{
    if (a == NULL || a->is_joined)
        return;
    pthread_mutex_lock(&a->lock);
    a->is_stopping = true;
    wake_ring(a->wake_fd);
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
    PRE(pthread_join(a->thread, NULL) == 0);
    a->is_joined = true;
}

void audit_close(struct audit *a)
{
    if (a == NULL)
        return;
    audit_stop(a);
    close(a->wake_fd);
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->lock);
    free(a);
}
