/*
 * courier.c - fills calls with pending documents, takes the answers, settles the documents.
 *
 * The happy path: the scan reads the outbox in arrival order (E2), a call is
 * filled until it is full or nothing is left, and sent (E3).  Its answer makes a
 * chain of settlements (E4) for the outbox to commit (E5); then each document is
 * looked up once more: gone, or a newer version came meanwhile, which is due
 * when the document's interval is over.
 *
 * What can go wrong, and the one thing done: a document that is not settled goes
 * back into the agenda or a group, to be read again and sent again.
 *   again, unknown   the agenda; after three unknowns in a row it travels alone
 *   refused, many    the call is halved, and each half sent by itself
 *   refused, some    each of them is sent alone once a document was done
 *   refused, alone   a dead letter (E6) if it is the document's fault (suspects)
 *   stop             the agenda
 *   cannot be read   the agenda: the store is being opened again
 *   cannot be sent   a dead letter at once, with the reason (gate.h)
 * Documents from the agenda and from the scan take turns, so that neither hot
 * documents nor new ones can starve the other.
 *
 * Runs on the delivery thread only.
 */

#include "delivery/courier.h"

#include "delivery/parcel.h"
#include "delivery/spacing.h"
#include "delivery/suspects.h"
#include "ground/clock.h"
#include "ground/metrics.h"
#include "projection/gate.h"

#define UNKNOWNS_ALONE   3      /* unknown so often in a row: it may be what breaks the call */
#define STORE_AGAIN_US   100000 /* a store that cannot be read is asked again after so long */
#define ANSWER_MAX_BYTES 4096   /* of an answer kept in a dead letter */

/* Parcels that stay together: a group to be sent by itself, or a chain of settlements. */
struct batch {
    struct batch *next;
    struct parcels parcels;
    uint64_t ticket; /* unsettled only */
};

struct courier_call {
    struct courier *courier;
    struct sink_call *sink_call; /* from the first document until it is sent */
    struct parcels parcels;      /* in the order of add */
    bool trial, is_group;
    int64_t sent_us;
};

struct courier {
    /* fixed after open */
    struct outbox *outbox;
    struct sink *sink;
    struct courier_options options;
    courier_reported *reported;
    void *arg;
    struct outbox_reader *reader;

    uint64_t random;
    uint64_t scanned;   /* the scan's cursor: an arrival number */
    bool is_scans_turn; /* the scan's, or the agenda's */
    int64_t stopped_us; /* when delivery last stopped */
    unsigned in_flight;

    struct spacing *spacing;
    struct suspects suspects;
    struct parcels agenda;
    struct batch *groups; /* the next first */
    struct batch *unsettled, **unsettled_end;
    size_t unsettled_count; /* documents */
};

struct courier *courier_open(struct outbox *o, struct sink *sink,
                             const struct courier_options *options, courier_reported *reported,
                             void *arg)
{
    struct courier *c = base_alloc(sizeof *c);

    c->outbox = o;
    c->sink = sink;
    c->options = *options;
    c->reported = reported;
    c->arg = arg;
    c->reader = outbox_reader_open(o);
    c->random = options->seed;
    c->stopped_us = INT64_MIN;
    c->spacing = spacing_new(options->min_interval_us);
    c->unsettled_end = &c->unsettled;
    return c;
}

static void batches_free(struct batch *b)
{
    while (b != NULL) {
        struct batch *next = b->next;
        parcels_free(&b->parcels);
        free(b);
        b = next;
    }
}

void courier_close(struct courier *c)
{
    if (c == NULL)
        return;
    PRE(c->in_flight == 0);
    batches_free(c->unsettled);
    batches_free(c->groups);
    parcels_free(&c->agenda);
    suspects_free(&c->suspects);
    spacing_free(c->spacing);
    outbox_reader_close(c->reader);
    free(c);
}

void courier_release(struct courier *c)
{
    outbox_release(c->reader);
}

unsigned courier_in_flight(const struct courier *c)
{
    return c->in_flight;
}

bool courier_has_unsettled(const struct courier *c)
{
    return c->unsettled != NULL;
}

bool courier_is_idle(const struct courier *c)
{
    return c->in_flight == 0 && c->groups == NULL && c->agenda.count == 0 &&
           c->suspects.waiting.count == 0;
}

int64_t courier_due_us(const struct courier *c)
{
    int64_t due_us = INT64_MAX;

    if (c->groups != NULL)
        return 0;
    if (c->agenda.count > 0)
        return c->agenda.items[0].due_us;
    for (size_t i = 0; c->in_flight == 0 && i < c->suspects.waiting.count; i++)
        if (c->suspects.waiting.items[i].due_us < due_us)
            due_us = c->suspects.waiting.items[i].due_us;
    return due_us;
}

/* ---- filling a call -------------------------------------------------------- */

static void postpone(struct courier *c, struct parcel p, int64_t due_us)
{
    p.due_us = due_us;
    p.is_on_trial = false;
    agenda_push(&c->agenda, p);
}

/* E4: hand what is settled to the outbox. */
static void hand_over(struct courier *c, struct batch *b, struct settlement *first)
{
    if (first == NULL) {
        batches_free(b);
        return;
    }
    c->unsettled_count += b->parcels.count;
    *c->unsettled_end = b;
    c->unsettled_end = &b->next;
    b->ticket = outbox_settle(c->outbox, first);
}

/* A dead letter without a call: E2 -> E4. */
static void bury_unsent(struct courier *c, struct parcel p, const struct pending *document,
                        const struct fault *fault)
{
    struct batch *b = base_alloc(sizeof *b);
    struct settlement *s = settlement_new(document);
    char why[400];

    snprintf(why, sizeof why,
             "it cannot be sent: its %.40s %.180s; put Convex right by hand if need be, then drop "
             "this letter",
             fault->path, fault->why);
    s->dead = true;
    s->why = base_strndup(why, strlen(why));
    s->attempts = p.attempts++;
    p.revision = document->version.revision;
    parcels_push(&b->parcels, p);
    hand_over(c, b, s);
}

/* Whether ${document} may go to the sink.  One that a store of before 0.1.1 or a bad disk holds may
 * be such that no call can carry it; it must not end the process, nor hold up the others. */
static bool is_let_out(struct courier *c, struct parcel p, const struct pending *document)
{
    struct fault fault;
    enum err e = gate_version(document->id, document->kind, document->version.op == OUTBOX_REMOVE,
                              document->json, document->version.projected_at_us, &fault);

    if (e != ERR_OK)
        bury_unsent(c, p, document, &fault);
    return e == ERR_OK;
}

/* Read the version of ${p} that is pending now.  When the store cannot say, ${p} is kept. */
static enum err read_again(struct courier *c, int64_t now_us, struct parcel *p,
                           struct pending *document)
{
    enum err e = outbox_get(c->reader, p->no, document);

    if (e == ERR_STORE)
        postpone(c, *p, now_us + STORE_AGAIN_US);
    else if (e == ERR_OK && document->version.revision != p->revision)
        *p = (struct parcel){.no = p->no};
    return e == ERR_OK && !is_let_out(c, *p, document) ? ERR_NOT_FOUND : e;
}

static bool take_due(struct courier *c, int64_t now_us, struct parcel *p, struct pending *document)
{
    while (c->agenda.count > 0 && c->agenda.items[0].due_us <= now_us) {
        *p = agenda_pop(&c->agenda);
        if (read_again(c, now_us, p, document) == ERR_OK)
            return true;
    }
    return false;
}

static bool scan(struct courier *c, int64_t now_us, struct parcel *p, struct pending *document)
{
    while (c->agenda.count + c->unsettled_count < COURIER_KNOWN_MAX &&
           outbox_next(c->reader, c->scanned, document)) {
        c->scanned = document->no;
        *p = (struct parcel){.no = document->no};
        if (!is_let_out(c, *p, document))
            continue;
        int64_t due_us = spacing_due_us(c->spacing, document->id, now_us);
        if (due_us <= now_us)
            return true;
        postpone(c, *p, due_us);
    }
    return false;
}

static bool take_next(struct courier *c, int64_t now_us, struct parcel *p, struct pending *document)
{
    c->is_scans_turn = !c->is_scans_turn;
    if (c->is_scans_turn)
        return scan(c, now_us, p, document) || take_due(c, now_us, p, document);
    return take_due(c, now_us, p, document) || scan(c, now_us, p, document);
}

/* Put ${document} into ${call}; false: it does not fit any more. */
static bool put(struct courier_call *call, struct parcel p, const struct pending *document)
{
    struct courier *c = call->courier;

    if (call->sink_call == NULL)
        call->sink_call = c->sink->ops->begin(c->sink);
    if (!c->sink->ops->add(call->sink_call, document)) {
        PRE(call->parcels.count > 0); /* the first document always fits */
        return false;
    }
    if (p.attempts > 0)
        metric_add(METRIC_RETRIED, 1);
    p.attempts++;
    p.revision = document->version.revision;
    p.settlement = settlement_new(document);
    p.settlement->attempts = p.attempts;
    parcels_push(&call->parcels, p);
    spacing_wrote(c->spacing, document->id, call->sent_us);
    return true;
}

/* From agenda and scan, until the call is full. */
static void fill(struct courier_call *call, size_t max)
{
    struct courier *c = call->courier;
    struct parcel p;
    struct pending document;

    call->is_group = false;
    while (call->parcels.count < max && take_next(c, call->sent_us, &p, &document)) {
        bool alone = p.unknowns >= UNKNOWNS_ALONE;
        if ((alone && call->parcels.count > 0) || !put(call, p, &document)) {
            postpone(c, p, call->sent_us);
            return;
        }
        if (alone)
            return;
    }
}

static void push_group(struct courier *c, const struct parcel *items, size_t count)
{
    if (count == 0)
        return;
    struct batch *b = base_alloc(sizeof *b);
    for (size_t i = 0; i < count; i++)
        parcels_push(&b->parcels, items[i]);
    b->next = c->groups;
    c->groups = b;
}

/* From the first group only; what does not fit stays a group. */
static void fill_from_group(struct courier_call *call, size_t max)
{
    struct courier *c = call->courier;
    struct batch *b = c->groups;
    struct pending document;
    size_t i = 0;

    c->groups = b->next;
    call->is_group = true;
    for (; i < b->parcels.count && call->parcels.count < max; i++) {
        struct parcel p = b->parcels.items[i];
        if (read_again(c, call->sent_us, &p, &document) == ERR_OK && !put(call, p, &document))
            break;
    }
    push_group(c, b->parcels.items + i, b->parcels.count - i);
    b->next = NULL;
    batches_free(b);
}

/* Nothing but suspects is left: the first one whose back-off is over becomes a group. */
static bool summon_lonely_suspect(struct courier *c, int64_t now_us)
{
    struct parcels *waiting = &c->suspects.waiting;

    if (c->in_flight > 0 || c->agenda.count > 0)
        return false;
    for (size_t i = 0; i < waiting->count; i++)
        if (waiting->items[i].due_us <= now_us) {
            push_group(c, &waiting->items[i], 1);
            waiting->items[i] = waiting->items[--waiting->count];
            return true;
        }
    return false;
}

struct courier_call *courier_load(struct courier *c, int64_t now_us, size_t max, bool trial)
{
    struct courier_call *call = base_alloc(sizeof *call);

    PRE(max >= 1 && max <= c->sink->max_documents);
    call->courier = c;
    call->trial = trial;
    call->sent_us = now_us;
    while (call->parcels.count == 0 && c->groups != NULL)
        fill_from_group(call, max);
    if (call->parcels.count == 0)
        fill(call, max);
    if (call->parcels.count == 0 && summon_lonely_suspect(c, now_us))
        fill_from_group(call, max);
    if (call->parcels.count > 0)
        return call;
    free(call);
    return NULL;
}

/* ---- taking an answer ------------------------------------------------------ */

/* An answer while it is taken apart. */
struct answering {
    struct courier *courier;
    struct courier_call *call;
    const struct sink_answer *answer;
    int64_t now_us;
    struct batch *batch; /* what goes to the outbox */
    struct settlement *first, **end;
    bool any_done;
    const char *all_refused_why; /* NULL: not everything is refused */
};

static const struct verdict *verdict_of(const struct sink_answer *a, size_t i)
{
    return a->each != NULL ? &a->each[i] : &a->overall;
}

/* One verdict for many documents, and it is ${kind}. */
static bool is_together(const struct sink_answer *a, enum verdict_kind kind)
{
    return a->each == NULL && a->count > 1 && a->overall.kind == kind;
}

/* E3 -> E4: done, or a dead letter. */
static void settle(struct answering *w, struct parcel p)
{
    *w->end = p.settlement;
    w->end = &p.settlement->next;
    p.settlement = NULL;
    parcels_push(&w->batch->parcels, p);
}

static void bury(struct answering *w, struct parcel p, const struct verdict *v)
{
    struct settlement *s = p.settlement;
    struct slice body = w->answer->body;

    s->dead = true;
    s->why = base_strndup(v->why, strlen(v->why));
    if (w->answer->count == 1 && body.len > 0) /* else it speaks of others, too */
        s->answer =
            base_strndup(body.data, body.len < ANSWER_MAX_BYTES ? body.len : ANSWER_MAX_BYTES);
    settle(w, p);
}

/* Only a document that was sent alone is judged; the others wait for a call of their own. */
static void take_refused(struct answering *w, struct parcel p, const struct verdict *v)
{
    struct courier *c = w->courier;
    bool alone = w->answer->count == 1;

    p.refusals += alone;
    p.refused_us = w->any_done ? w->call->sent_us : w->now_us;
    p.is_on_trial = false;
    if (alone && suspects_is_guilty(&c->suspects, &p, w->now_us)) {
        bury(w, p, v);
        return;
    }
    settlement_free(p.settlement);
    p.settlement = NULL;
    p.due_us = w->now_us + 1000 * pace_backoff_ms(&c->options.backoff, p.refusals, &c->random);
    parcels_push(&c->suspects.waiting, p);
}

/* When a document that failed is due: with its call, or, if it failed by itself, after a while. */
static int64_t again_us(struct answering *w, const struct parcel *p, const struct verdict *v)
{
    struct courier *c = w->courier;
    int64_t after_ms = v->after_ms < PACE_MAX_AFTER_MS ? v->after_ms : PACE_MAX_AFTER_MS;
    int64_t wait_ms = 0;

    if (w->answer->each != NULL)
        wait_ms = pace_backoff_ms(&c->options.backoff, p->attempts, &c->random);
    else if (p->unknowns >= UNKNOWNS_ALONE)
        wait_ms =
            pace_backoff_ms(&c->options.backoff, p->unknowns - UNKNOWNS_ALONE + 1, &c->random);
    return w->now_us + 1000 * (wait_ms > after_ms ? wait_ms : after_ms);
}

static void take_failed(struct answering *w, struct parcel p, const struct verdict *v)
{
    settlement_free(p.settlement);
    p.settlement = NULL;
    if (v->kind == VERDICT_UNKNOWN)
        p.unknowns++;
    postpone(w->courier, p, v->kind == VERDICT_STOP ? w->now_us : again_us(w, &p, v));
}

/* The whole call stays together: as it is, or in two halves, the first of which goes next. */
static void regroup(struct answering *w, bool halve)
{
    struct parcels *ps = &w->call->parcels;
    size_t first = halve ? ps->count / 2 : ps->count;

    for (size_t i = 0; i < ps->count; i++) {
        settlement_free(ps->items[i].settlement);
        ps->items[i].settlement = NULL;
    }
    push_group(w->courier, ps->items + first, ps->count - first);
    push_group(w->courier, ps->items, first);
}

static void take_done(struct answering *w)
{
    struct parcels *ps = &w->call->parcels;
    size_t done = 0;

    for (size_t i = 0; i < ps->count; i++)
        if (verdict_of(w->answer, i)->kind == VERDICT_DONE) {
            settle(w, ps->items[i]);
            done++;
        }
    metric_add(METRIC_DELIVERED, done);
    w->any_done = done > 0;
}

/*
 * A call with refusals and nothing done adds one to the row.  A document on trial adds nothing:
 * that it would be refused again was known, and something else was done between.
 */
static void count_refused(struct answering *w)
{
    struct parcels *ps = &w->call->parcels;
    size_t i = 0;

    while (i < ps->count && verdict_of(w->answer, i)->kind != VERDICT_REFUSED)
        i++;
    if (i < ps->count && !ps->items[i].is_on_trial &&
        suspects_count(&w->courier->suspects, ps->items[i].no))
        w->all_refused_why = verdict_of(w->answer, i)->why;
}

static void take_others(struct answering *w)
{
    struct parcels *ps = &w->call->parcels;

    for (size_t i = 0; i < ps->count; i++) {
        const struct verdict *v = verdict_of(w->answer, i);
        if (v->kind == VERDICT_REFUSED)
            take_refused(w, ps->items[i], v);
        else if (v->kind != VERDICT_DONE)
            take_failed(w, ps->items[i], v);
    }
}

/* A document was done, so the suspects get their fair trial, each alone. */
static void accept_proof(struct answering *w)
{
    struct courier *c = w->courier;
    struct parcel p;

    if (w->call->sent_us < c->stopped_us)
        return; /* sent before delivery stopped: says nothing about now */
    suspects_proof(&c->suspects, w->now_us);
    while (suspects_next_trial(&c->suspects, w->call->sent_us, &p))
        push_group(c, &p, 1);
}

static const struct verdict *whole_verdict(const struct sink_answer *a)
{
    for (size_t i = 0; a->each != NULL && i < a->count; i++)
        if (a->each[i].kind == VERDICT_STOP)
            return &a->each[i];
    return &a->overall;
}

/* The sink's answer to a call; it may come from inside send. */
static void answered(void *arg, const struct sink_answer *answer)
{
    struct courier_call *call = arg;
    struct courier *c = call->courier;
    struct answering w = {.courier = c, .call = call, .answer = answer};

    PRE(answer->count == call->parcels.count);
    w.now_us = clock_mono_us();
    w.batch = base_alloc(sizeof *w.batch);
    w.end = &w.first;
    c->in_flight--;
    metric_add(METRIC_CALL_MICROSECONDS, answer->took_us > 0 ? (uint64_t)answer->took_us : 0);
    if (is_together(answer, VERDICT_REFUSED)) {
        regroup(&w, true);
    } else if (call->is_group && is_together(answer, VERDICT_AGAIN)) {
        regroup(&w, false);
    } else {
        take_done(&w);
        if (!w.any_done)
            count_refused(&w);
        take_others(&w);
        if (w.any_done)
            accept_proof(&w);
    }
    hand_over(c, w.batch, w.first);
    struct courier_report report = {.verdict = whole_verdict(answer),
                                    .trial = call->trial,
                                    .all_refused_why = w.all_refused_why,
                                    .sent_us = call->sent_us,
                                    .took_us = w.now_us - call->sent_us};
    parcels_free(&call->parcels);
    free(call);
    c->reported(c->arg, &report);
}

void courier_send(struct courier_call *call)
{
    struct courier *c = call->courier;
    struct sink_call *sink_call = call->sink_call;

    call->sink_call = NULL;
    c->in_flight++;
    metric_add(METRIC_CALLS, 1);
    c->sink->ops->send(sink_call, answered, call);
}

/* ---- afterwards ------------------------------------------------------------ */

/* E5 or E6 is on disk for ${p}.  A record that is still there has a newer version to be sent. */
static void look_again(struct courier *c, struct parcel p, int64_t now_us)
{
    struct pending document;
    enum err e = outbox_get(c->reader, p.no, &document);

    if (e == ERR_STORE)
        postpone(c, p, now_us + STORE_AGAIN_US);
    else if (e != ERR_OK)
        return;
    else if (document.version.revision != p.revision)
        postpone(c, p, spacing_due_us(c->spacing, document.id, now_us));
    else /* the outbox kept it: not now, then */
        postpone(c, p,
                 now_us + 1000 * pace_backoff_ms(&c->options.backoff, p.attempts, &c->random));
}

bool courier_collect(struct courier *c, int64_t now_us)
{
    bool any = false;

    while (c->unsettled != NULL && outbox_is_settled(c->outbox, c->unsettled->ticket)) {
        struct batch *b = c->unsettled;
        if ((c->unsettled = b->next) == NULL)
            c->unsettled_end = &c->unsettled;
        c->unsettled_count -= b->parcels.count;
        outbox_release(c->reader); /* an older view would still show them */
        for (size_t i = 0; i < b->parcels.count; i++)
            look_again(c, b->parcels.items[i], now_us);
        b->next = NULL;
        batches_free(b);
        any = true;
    }
    return any;
}

void courier_stopped(struct courier *c, int64_t now_us)
{
    struct parcels *waiting = &c->suspects.waiting;

    for (struct batch *b = c->groups; b != NULL; b = b->next)
        for (size_t i = 0; i < b->parcels.count; i++)
            postpone(c, b->parcels.items[i], now_us);
    batches_free(c->groups);
    c->groups = NULL;
    for (size_t i = 0; i < waiting->count; i++)
        postpone(c, waiting->items[i], now_us + 1); /* the others are tried first */
    waiting->count = 0;
    for (size_t i = 0; i < c->agenda.count; i++)
        c->agenda.items[i].refusals = 0;
    suspects_no_proof(&c->suspects);
    c->stopped_us = now_us;
}
