/*
 * sweeps.c - asks a VM to project everything again when documents are doubtful.
 *
 * The happy path: each VM that has an event log calls {sweep, #{vm => Name}}, and the call waits.
 * When a doubt begins (outbox/destination.h), the one that has waited longest is answered with its
 * number; it calls again, #{running => Number}, projects all its entities, and says #{done =>
 * Number}.  What is not doubtful is answered `idempotent`, so a sweep may be done twice.
 *
 * What can go wrong: its link ends, or it does not call again.  Then the next one is asked.  A
 * sidecar that restarts asks again: the doubt is on disk, and a VM that is still sweeping says so.
 * If no VM can sweep, the doubt stays, and status says so.
 *
 * Calls come on reading threads, ticks on the owner's; under the lock.
 */

#include "intake/sweeps.h"

#include "ground/buf.h"
#include "ground/clock.h"
#include "ground/log.h"
#include "intake/answer.h"
#include "intake/arguments.h"
#include "outbox/outbox.h"

#include <pthread.h>

#define VMS_MAX    256
#define AGAIN_US   10000000 /* how long a VM that was asked may take to call again */
#define NAME_BYTES 128

struct vm {
    char name[NAME_BYTES];
    struct caller *caller; /* NULL: it was answered, and has not called again */
    uint64_t running, done, asked;
    int64_t asked_us;
};

struct sweeps {
    struct outbox *outbox;
    pthread_mutex_t lock;
    struct vm vms[VMS_MAX]; /* in the order in which they came */
    size_t count;
    uint64_t sweep;           /* the one that is under way, or was last */
    char sweeper[NAME_BYTES]; /* "": none */
    uint64_t from_count;      /* documents when it began */
    int64_t from_us;          /* 0: not counted yet */
    int64_t eta_s;
    bool was_in_doubt, is_left_said;
};

/* ---- what is asked ------------------------------------------------------------------ */

/* Free a call that nobody waits for any more. */
static void give_back(struct caller *caller)
{
    struct buf answer = {0};

    if (caller == NULL)
        return;
    answer_ok_atom(&answer, "replaced");
    dist_reply(caller, NULL, buf_view(&answer));
    buf_free(&answer);
}

static void forget(struct sweeps *s, size_t i)
{
    give_back(s->vms[i].caller);
    memmove(&s->vms[i], &s->vms[i + 1], (s->count - i - 1) * sizeof *s->vms);
    s->count--;
}

static void drop_gone(struct sweeps *s, int64_t now_us)
{
    for (size_t i = s->count; i-- > 0;) {
        const struct vm *v = &s->vms[i];
        if (v->caller ? dist_caller_is_gone(v->caller) : now_us - v->asked_us > AGAIN_US)
            forget(s, i);
    }
}

/* What a sweep is called: the first of all doubts ends with 0. */
static uint64_t sweep_of(const struct destination_known *k)
{
    return k->doubt_to + 1;
}

static void ask(struct vm *v, const struct destination_known *k, int64_t now_us)
{
    struct buf answer = {0};

    answer_ok_map(&answer, 2);
    answer_key_integer(&answer, "sweep", (int64_t)sweep_of(k));
    answer_key_text(&answer, "why", slice_str(k->doubt_why));
    dist_reply(v->caller, NULL, buf_view(&answer));
    buf_free(&answer);
    v->caller = NULL;
    v->asked = sweep_of(k);
    v->asked_us = now_us;
    log_event(LOG_INFO, "sweep.asked", "vm=%s why=\"%s\"", v->name, k->doubt_why);
}

/* Not before new confirmations are certain. */
static bool is_wanted(const struct destination_known *k)
{
    bool is_known = k->functions > 0 || strcmp(k->sink, "http") != 0;

    return k->has_doubt && !k->is_swept && is_known && (k->functions < 2 || k->wanted == k->mark);
}

/* The VM that sweeps, or was just asked to; NULL: none. */
static struct vm *sweeper(struct sweeps *s, uint64_t sweep)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->vms[i].running == sweep || s->vms[i].asked == sweep)
            return &s->vms[i];
    return NULL;
}

static bool is_done(const struct sweeps *s, uint64_t sweep)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->vms[i].done == sweep)
            return true;
    return false;
}

static void look(struct sweeps *s, const struct destination_known *k, int64_t now_us)
{
    struct destination_change swept = {.what = DESTINATION_SWEPT, .to = k->doubt_to};

    s->sweeper[0] = '\0';
    if (!k->has_doubt || k->is_swept)
        return;
    if (is_done(s, sweep_of(k))) {
        outbox_change_destination(s->outbox, &swept);
        return;
    }
    struct vm *v = sweeper(s, sweep_of(k));
    for (size_t i = 0; v == NULL && is_wanted(k) && i < s->count; i++)
        if (s->vms[i].caller) {
            v = &s->vms[i];
            ask(v, k, now_us);
        }
    if (v != NULL)
        snprintf(s->sweeper, sizeof s->sweeper, "%s", v->name);
}

/* ---- how far it is ---------------------------------------------------------------------- */

static void estimate(struct sweeps *s, const struct destination_known *k,
                     const struct doubtful_count *n, int64_t now_us)
{
    s->eta_s = -1;
    if (!k->has_doubt || !n->is_whole)
        return;
    if (s->sweep != sweep_of(k) || s->from_us == 0) {
        s->sweep = sweep_of(k);
        s->from_count = n->logged;
        s->from_us = now_us;
    }
    int64_t done = (int64_t)s->from_count - (int64_t)n->logged;
    if (n->logged == 0)
        s->eta_s = 0;
    else if (done > 0)
        s->eta_s = (now_us - s->from_us) / 1000 * (int64_t)n->logged / done / 1000 + 1;
}

/* Once for each doubt: log what is left for an operator. */
static void say_what_is_left(struct sweeps *s, const struct destination_known *k,
                             const struct doubtful_count *n)
{
    struct buf ids = {0};
    char quoted[700];

    if (s->was_in_doubt && !k->has_doubt)
        log_event(LOG_INFO, "sweep.mended", "%s", "everything that was doubtful is confirmed anew");
    s->is_left_said = s->is_left_said && k->has_doubt && k->is_swept;
    s->was_in_doubt = k->has_doubt;
    if (!k->has_doubt || !k->is_swept || !n->is_whole || s->is_left_said ||
        n->logged + n->unlogged == 0 || (n->logged > 0 && outbox_pending(s->outbox) > 0))
        return;
    s->is_left_said = true;
    for (size_t i = 0; i < n->id_count; i++)
        buf_printf(&ids, "%s%s", i > 0 ? " " : "", n->ids[i]);
    log_event(LOG_WARNING, "sweep.left",
              "documents=%llu without_log=%llu first=%s next=\"upsert them again, or say "
              "convex_sidecar adopt if Convex is right\"",
              (unsigned long long)n->logged, (unsigned long long)n->unlogged,
              log_quote(buf_view(&ids), quoted, sizeof quoted));
    buf_free(&ids);
}

void sweeps_tick(struct sweeps *s, int64_t now_us)
{
    struct destination_known k;
    struct doubtful_count n;

    outbox_destination(s->outbox, &k);
    outbox_doubtful(s->outbox, &n);
    pthread_mutex_lock(&s->lock);
    drop_gone(s, now_us);
    look(s, &k, now_us);
    estimate(s, &k, &n, now_us);
    say_what_is_left(s, &k, &n);
    pthread_mutex_unlock(&s->lock);
}

void sweeps_show(struct sweeps *s, struct sweeps_shown *shown)
{
    pthread_mutex_lock(&s->lock);
    memcpy(shown->vm, s->sweeper, sizeof shown->vm);
    shown->eta_s = s->eta_s;
    pthread_mutex_unlock(&s->lock);
}

/* ---- calls -------------------------------------------------------------------------------- */

struct offer {
    struct slice vm;
    int64_t running, done;
};

static const struct argument arguments[] = {
    {"vm", ARGUMENT_TEXT, offsetof(struct offer, vm), .wanted = "a name is wanted"},
    {"running", ARGUMENT_NUMBER, offsetof(struct offer, running), .max = INT64_MAX,
     .wanted = "the number of a sweep is wanted"},
    {"done", ARGUMENT_NUMBER, offsetof(struct offer, done), .max = INT64_MAX,
     .wanted = "the number of a sweep is wanted"},
};

/* The VM of that name, in the place that it has already; NULL: there are too many. */
static struct vm *place(struct sweeps *s, struct slice name)
{
    for (size_t i = 0; i < s->count; i++)
        if (slice_is(name, s->vms[i].name))
            return &s->vms[i];
    if (s->count == VMS_MAX)
        return NULL;
    struct vm *v = &s->vms[s->count++];
    *v = (struct vm){0};
    snprintf(v->name, sizeof v->name, "%.*s", (int)name.len, (const char *)name.data);
    return v;
}

static bool keep(struct sweeps *s, const struct offer *offer, struct caller *caller)
{
    struct vm *v = place(s, offer->vm);

    if (v == NULL)
        return false;
    give_back(v->caller);
    v->caller = caller;
    v->running = (uint64_t)offer->running;
    v->done = (uint64_t)offer->done;
    v->asked = 0;
    return true;
}

static void refuse(struct dist_session *session, struct caller *caller, enum err e,
                   const struct fault *fault)
{
    struct buf answer = {0};

    answer_error(&answer, e, fault, "");
    dist_reply(caller, session, buf_view(&answer));
    buf_free(&answer);
}

bool sweeps_take(struct sweeps *s, struct dist_session *session, struct caller *caller,
                 term request)
{
    struct offer offer = {.vm = slice_str("")};
    struct fault fault = {0};

    if (term_type(request) != TERM_TUPLE || term_arity(request) != 2 ||
        !term_is(term_element(request, 0), "sweep"))
        return false;
    enum err e = arguments_options(term_element(request, 1), arguments, 3, &offer, &fault);
    if (e == ERR_OK && (offer.vm.len == 0 || offer.vm.len >= NAME_BYTES))
        e = arguments_refuse(&fault, slice_str("vm"), "a name of 1 to 127 bytes is wanted");
    pthread_mutex_lock(&s->lock);
    if (e == ERR_OK && !keep(s, &offer, caller))
        e = ERR_BUSY;
    pthread_mutex_unlock(&s->lock);
    if (e != ERR_OK)
        refuse(session, caller, e, &fault);
    return true;
}

/* ---- new and free ---------------------------------------------------------------------------- */

struct sweeps *sweeps_new(struct outbox *o)
{
    struct sweeps *s = base_alloc(sizeof *s);

    s->outbox = o;
    s->eta_s = -1;
    PRE(pthread_mutex_init(&s->lock, NULL) == 0);
    return s;
}

void sweeps_free(struct sweeps *s)
{
    struct fault fault = {0};

    if (s == NULL)
        return;
    for (size_t i = 0; i < s->count; i++)
        if (s->vms[i].caller)
            refuse(NULL, s->vms[i].caller, ERR_DRAINING, &fault);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
