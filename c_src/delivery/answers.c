/*
 * answers.c - processes answers: which documents are settled, which are in trouble, which scopes
 * accepted something.
 *
 * The happy path: everything is done.  Each document's settlement goes to the outbox (E4), each
 * kind and the endpoint have accepted something in that call; once the settlements are on disk (E5)
 * each document is looked up once more: gone, or a newer version came meanwhile, which is due when
 * the document's interval is over.
 *
 * What can go wrong, and the one thing done: a document that is not settled goes back to where it
 * is sent again.
 *   again                                    it is clean, or as it was; the endpoint waits
 *   the whole call, of several documents     they become a group for the search
 *   the whole call, of one document          that document is in trouble
 *   some items                               they are in trouble; so is their kind, if no
 *                                            item of it was done
 * The documents are told first, then the scopes: so a refusal that proves a scope bad is void as
 * evidence against its document.
 *
 * Runs on the delivery thread only.
 */

#include "delivery/delivery_inside.h"

#include "ground/clock.h"
#include "ground/log.h"
#include "ground/metrics.h"

#define ANSWER_MAX_BYTES 4096 /* of an answer kept in a dead letter */
#define LOG_EVERY_MS     10000
#define REMEMBER_US      10000000 /* only longer waits: an outage must not rewrite every record */
#define GROW_AFTER       32       /* full calls of the size that fits */

/* An answer while it is processed. */
struct taking {
    struct delivery *d;
    struct call *call;
    const struct sink_answer *answer;
    struct entries settled; /* what goes to the outbox */
    struct settlement *first, **end;
};

/* ---- acceptances ---------------------------------------------------------------- */

static void end_waits(struct delivery *d, struct kind_slot *k)
{
    for (struct entry *e = k->troubled.first; e != NULL; e = e->next)
        e->due_us = d->now_us;
    k->is_quiet = false;
}

/* Rewind the cursors to what they skipped meanwhile. */
static void look_back(struct delivery *d, struct kind_slot *k)
{
    for (size_t lane = 0; lane < 2; lane++) {
        if (k->skipped[lane].low != 0)
            cursors_rewind(&d->cursors, k->skipped[lane].low);
        k->skipped[lane] = (struct range){0};
    }
}

static void accept_kind(struct delivery *d, struct kind_slot *k, uint64_t ordinal)
{
    enum scope_state was = k->scope.state;
    bool is_well_again = scope_accepted(&k->scope, ordinal);

    k->is_quiet = k->is_quiet && k->troubled.count == 0;
    if (is_well_again) {
        end_waits(d, k);
        outbox_well(d->outbox, slice_of(k->name, k->name_len));
    }
    if (k->is_full && k->troubled.count <= DELIVERY_TROUBLED_MAX / 2)
        k->is_full = false;
    if ((k->skipped[0].low | k->skipped[1].low) != 0 && delivery_is_open(k))
        look_back(d, k);
    if (was != k->scope.state)
        delivery_moved(d, k, was);
}

/* A document that was there already, or is older than what is there, was not written: it does not
 * show whether one of its kind would be.  Nor does a removal, which no schema checks. */
static bool is_witness(const struct verdict *v)
{
    return v->outcome != OUTCOME_UNCHANGED && v->outcome != OUTCOME_STALE;
}

static void witness(struct kind_slot *k, uint64_t ordinal)
{
    k->written_in = ordinal;
    if (ordinal > k->written)
        k->written = ordinal;
}

static void accept_endpoint(struct delivery *d, uint64_t ordinal)
{
    enum scope_state was = d->endpoint.state;

    d->endpoint_accepted_heard = d->ordinal;
    bool was_ill = d->endpoint.failures > 0;
    if (scope_accepted(&d->endpoint, ordinal)) {
        for (size_t i = 0; i < delivery_kind_slots(d); i++)
            end_waits(d, &d->kinds[i]);
        if (was_ill) { /* it may be another deployment, or a restored one */
            peer_ask(&d->peer);
            outbox_well(d->outbox, slice_str(""));
        }
    }
    if (was != d->endpoint.state)
        delivery_moved(d, NULL, was);
}

/* ---- documents -------------------------------------------------------------------- */

/* E3 -> E4: done, or a dead letter; ${v} is of this document. */
static void settle(struct taking *t, struct entry *e, const struct verdict *v)
{
    const struct sink_peer *peer = t->answer->peer;
    bool is_ours = peer != NULL && peer->mark > 0 && (uint64_t)peer->mark <= peer_mark(&t->d->peer);

    e->settlement->mark = is_ours ? (uint64_t)peer->mark : t->call->mark;
    e->settlement->outcome = v->outcome;
    *t->end = e->settlement;
    t->end = &e->settlement->next;
    e->settlement = NULL;
    entries_append(&t->settled, e);
}

static void bury(struct taking *t, struct entry *e, const struct verdict *v)
{
    struct settlement *s = e->settlement;
    struct slice body = t->answer->body;

    s->dead = true;
    s->why = base_strndup(v->why, strlen(v->why));
    if (t->answer->count == 1 && body.len > 0) /* otherwise it is about others as well */
        s->answer =
            base_strndup(body.data, body.len < ANSWER_MAX_BYTES ? body.len : ANSWER_MAX_BYTES);
    told_dead(e, v->why);
    settle(t, e, v);
}

/* For status: the first documents in trouble, and what was last said about them. */
static void note(struct delivery *d, struct entry *e, const struct verdict *v)
{
    struct note *n = NULL;
    char id[700], why[300];

    free(e->why);
    e->why = base_strndup(v->why, strlen(v->why));

    for (size_t i = 0; i < DISPATCH_NOTES; i++)
        if (d->notes[i].document == e->document || (n == NULL && d->notes[i].document == 0))
            n = &d->notes[i];
    if (n != NULL) {
        n->document = e->document;
        snprintf(n->id, sizeof n->id, "%.127s", e->settlement->id);
        snprintf(n->why, sizeof n->why, "%.159s", v->why);
    }
    if (log_limited(&d->refused_logged_us, LOG_EVERY_MS))
        log_event(LOG_WARNING, "dispatch.document", "document_id=%s state=%s why=%s",
                  log_quote(slice_str(e->settlement->id), id, sizeof id),
                  trouble_text(e->trouble.state), log_quote(slice_str(v->why), why, sizeof why));
}

/* ${due_us}, or the end of its interval, if that comes later. */
static int64_t spaced(struct delivery *d, const struct entry *e, int64_t due_us)
{
    const struct settlement *s = e->settlement;
    int64_t spaced_us =
        spacing_due_us(d->kinds[e->kind].spacing, slice_of(s->id, s->id_len), d->now_us);

    return due_us > spaced_us ? due_us : spaced_us;
}

/* So that it travels alone after a restart as well. */
static void remember(struct delivery *d, struct entry *e, int64_t due_us)
{
    struct settlement *s = e->settlement;

    e->settlement = NULL;
    s->later = true;
    s->next_try_us = d->wall_us + (due_us - d->now_us);
    (void)outbox_settle(d->outbox, s);
}

/* Into the agenda, or to the troubled; due at ${due_us} or at the end of its interval. */
static void send_again(struct delivery *d, struct entry *e, int64_t due_us)
{
    due_us = spaced(d, e, due_us);
    if (e->trouble.state != TROUBLE_NONE && due_us - d->now_us >= REMEMBER_US &&
        !scope_is_bad(&d->endpoint))
        remember(d, e, due_us);
    settlement_free(e->settlement);
    e->settlement = NULL;
    if (e->trouble.state == TROUBLE_NONE)
        delivery_postpone(d, e, due_us);
    else
        delivery_trouble(d, e, due_us);
}

static void accuse(struct taking *t, struct entry *e, const struct verdict *v,
                   enum trouble_event event)
{
    struct delivery *d = t->d;
    struct evidence evidence = delivery_evidence(d, &d->kinds[e->kind]);
    /* A witness that came while it was in flight asks for another trial. */
    const struct evidence as_sent = {.proven = evidence.proven, .now = evidence.now};
    int64_t wait_ms = 0;

    trouble_refresh(&e->trouble, &as_sent);
    if (trouble_hear(&e->trouble, event, &evidence)) {
        bury(t, e, v);
        return;
    }
    if (e->trouble.state == TROUBLE_REFUSED || e->trouble.state == TROUBLE_FAILING)
        wait_ms = trouble_wait_ms(&e->trouble, d->options.backoff_max_ms);
    note(d, e, v);
    send_again(d, e, d->now_us + 1000 * wait_ms);
}

/* ---- failures ---------------------------------------------------------------------- */

/*
 * Whether no one document was in all the calls that failed since something of the scope passed.
 * Those that were in all of them, this one included, carry the scope's mark.
 */
static bool is_another(struct scope *s, struct entry *first, enum entry_mark which)
{
    uint32_t was = s->mark, is = ++s->marks;
    bool any = false;

    for (struct entry *e = first; e != NULL; e = e->next)
        if (was == 0 || e->marks[which] == was) {
            e->marks[which] = is;
            any = true;
        }
    if (any)
        s->mark = is;
    return !any;
}

static struct scope_fault fault_of(const struct taking *t, const struct verdict *v)
{
    return (struct scope_fault){.ordinal = t->call->ordinal,
                                .heard = t->d->ordinal,
                                .verdict = v,
                                .is_proof = t->call->is_proof};
}

/* A search is pointless while the endpoint is bad: its documents are not at fault. */
static void end_search(struct delivery *d)
{
    struct entries all = {0};
    struct entry *e;

    search_end(&d->search, &all);
    while ((e = entries_pop(&all)) != NULL)
        if (e->trouble.state == TROUBLE_NONE)
            delivery_postpone(d, e, d->now_us);
        else
            delivery_trouble(d, e, d->now_us);
}

static void fail_endpoint(struct taking *t, const struct verdict *v, bool another)
{
    struct delivery *d = t->d;
    /* At the start it waits for its first trial; no fault was logged yet. */
    enum scope_state was = d->endpoint.failures > 0 ? d->endpoint.state : SCOPE_RUNNING;
    struct scope_fault fault = fault_of(t, v);

    fault.is_another = another;
    (void)scope_failed(&d->endpoint, &fault, &d->scopes, &d->random, d->now_us);
    if (scope_is_bad(&d->endpoint))
        end_search(d);
    if (was != d->endpoint.state)
        delivery_moved(d, NULL, was);
}

static void fail_kind(struct taking *t, struct kind_slot *k, const struct verdict *v, bool another)
{
    struct delivery *d = t->d;
    enum scope_state was = k->scope.state;
    struct scope_fault fault = fault_of(t, v);

    fault.is_another = another;
    (void)scope_failed(&k->scope, &fault, &d->scopes, &d->random, d->now_us);
    if (was != k->scope.state)
        delivery_moved(d, k, was);
}

/* With one document a call: if two kinds were found bad and nothing passed since, the fault is
 * wider than a kind. */
static bool are_two_kinds_bad(const struct delivery *d)
{
    unsigned bad = 0;

    for (size_t i = 0; i < delivery_kind_slots(d); i++)
        bad += scope_is_bad(&d->kinds[i].scope) &&
               d->kinds[i].scope.proven > d->endpoint_accepted_heard;
    return bad >= 2;
}

/* ---- the whole call ------------------------------------------------------------------ */

/* Everything is sent again unchanged once the endpoint is running. */
static void take_again(struct taking *t, const struct verdict *v)
{
    struct entry *e;

    while ((e = entries_pop(&t->call->entries)) != NULL)
        send_again(t->d, e, t->d->now_us);
    if (t->call->trial_of != NULL)
        fail_kind(t, t->call->trial_of, v, false);
    fail_endpoint(t, v, false);
}

static void take_group(struct taking *t, const struct verdict *v)
{
    struct delivery *d = t->d;
    struct call *c = t->call;
    bool another = is_another(&d->endpoint, c->entries.first, ENTRY_ENDPOINT);

    for (struct entry *e = c->entries.first; e != NULL; e = e->next) {
        settlement_free(e->settlement);
        e->settlement = NULL;
    }
    if (c->sort == CALL_SEARCH)
        search_again(&d->search, &c->entries, d->ordinal, d->now_us);
    else
        search_add(&d->search, &c->entries, d->ordinal, d->now_us);
    fail_endpoint(t, v, another);
}

/* One document, refused by the whole call, or of unknown outcome. */
static void take_alone(struct taking *t, const struct verdict *v)
{
    struct delivery *d = t->d;
    struct entry *e = t->call->entries.first;
    struct kind_slot *k = &d->kinds[e->kind];
    bool is_refused = v->kind == VERDICT_REFUSED, is_kinds = is_refused && d->is_single;
    bool kind_another = is_kinds && is_another(&k->scope, e, ENTRY_KIND);
    bool another = !is_kinds && is_another(&d->endpoint, e, ENTRY_ENDPOINT);

    entries_remove(&t->call->entries, e);
    accuse(t, e, v, is_kinds ? TROUBLE_ALONE : is_refused ? TROUBLE_WHOLE : TROUBLE_UNKNOWN);
    if (is_kinds || t->call->trial_of != NULL)
        fail_kind(t, k, v, kind_another);
    if (!is_kinds)
        fail_endpoint(t, v, another);
    else if (t->call->is_trial || are_two_kinds_bad(d))
        fail_endpoint(t, v, true);
}

static void take_control_failed(struct taking *t, const struct verdict *v)
{
    if (t->call->trial_of != NULL)
        fail_kind(t, t->call->trial_of, v, false);
    if (t->call->is_trial || v->is_endpoints)
        fail_endpoint(t, v, false);
}

static void take_whole(struct taking *t, const struct verdict *v)
{
    if (v->is_endpoints || v->kind == VERDICT_AGAIN)
        take_again(t, v);
    else if (t->call->entries.count == 0)
        take_control_failed(t, v);
    else if (t->call->entries.count == 1)
        take_alone(t, v);
    else
        take_group(t, v);
}

/* ---- a verdict for each ---------------------------------------------------------------- */

static void take_done(struct taking *t)
{
    struct delivery *d = t->d;
    struct entry *e = t->call->entries.first, *next;
    size_t done = 0;

    for (size_t i = 0; e != NULL; e = next, i++) {
        next = e->next;
        const struct verdict *v =
            t->answer->each != NULL ? &t->answer->each[i] : &t->answer->overall;
        if (v->kind != VERDICT_DONE)
            continue;
        struct kind_slot *k = &d->kinds[e->kind];
        if (k->done_in != t->call->ordinal) {
            k->done_in = t->call->ordinal;
            accept_kind(d, k, t->call->ordinal);
        }
        if (is_witness(v) && e->settlement->sent.op != OUTBOX_REMOVE)
            witness(k, t->call->ordinal);
        entries_remove(&t->call->entries, e);
        settle(t, e, v);
        done++;
    }
    metric_add(METRIC_DELIVERED, done);
}

static enum trouble_event refusal(const struct taking *t, const struct kind_slot *k)
{
    bool alone = t->answer->count == 1;

    if (alone && t->answer->control != NULL && t->answer->control->kind != VERDICT_DONE)
        return TROUBLE_WITH_OTHERS;
    if (alone)
        return TROUBLE_ALONE;
    return k->written_in == t->call->ordinal ? TROUBLE_BESIDE : TROUBLE_AMONG;
}

static void take_refused(struct taking *t, struct entry *e, const struct verdict *v)
{
    struct delivery *d = t->d;
    struct kind_slot *k = &d->kinds[e->kind];
    bool failed = k->done_in != t->call->ordinal;
    bool another = failed && is_another(&k->scope, e, ENTRY_KIND);

    accuse(t, e, v, refusal(t, k));
    if (failed)
        fail_kind(t, k, v, another);
}

/* One item is AGAIN or UNKNOWN: it waits alone. */
static void take_later(struct taking *t, struct entry *e, const struct verdict *v)
{
    struct delivery *d = t->d;

    if (v->kind == VERDICT_UNKNOWN && t->answer->count == 1) {
        accuse(t, e, v, TROUBLE_UNKNOWN);
        return;
    }
    send_again(d, e,
               d->now_us + 1000 * pace_backoff_ms(&d->scopes.backoff, e->attempts, &d->random));
}

/* ${each} follows the documents; those done are out of the call already. */
static void take_others(struct taking *t, const struct verdict *each)
{
    struct entry *e;

    while ((e = entries_pop(&t->call->entries)) != NULL) {
        const struct verdict *v = &each[e->place];
        if (v->kind == VERDICT_REFUSED)
            take_refused(t, e, v);
        else
            take_later(t, e, v);
    }
}

/* The call succeeded as a whole: items are refused one by one. */
static void take_each(struct taking *t)
{
    const struct sink_answer *a = t->answer;
    size_t i = 0, count = t->call->entries.count;
    bool came_through = false;

    for (struct entry *e = t->call->entries.first; e != NULL; e = e->next, i++) {
        e->place = (uint32_t)i;
        enum verdict_kind kind = a->each != NULL ? a->each[i].kind : VERDICT_DONE;
        came_through = came_through || kind == VERDICT_DONE || kind == VERDICT_REFUSED;
    }
    if (a->control != NULL && a->control->kind == VERDICT_DONE && count > 0) {
        struct kind_slot *k = &t->d->kinds[t->call->entries.first->kind];
        k->done_in = t->call->ordinal;
        witness(k, t->call->ordinal);
        accept_kind(t->d, k, t->call->ordinal);
    }
    take_done(t);
    if (came_through)
        accept_endpoint(t->d, t->call->ordinal);
    if (a->each != NULL)
        take_others(t, a->each);
}

/* ---- sizes ------------------------------------------------------------------------------ */

static void learn_fit(struct delivery *d, const struct call *c)
{
    for (const struct entry *e = c->entries.first; e != NULL; e = e->next) {
        struct kind_slot *k = &d->kinds[e->kind];
        k->fits_documents = d->search.done_documents;
        k->fits_bytes = d->search.done_bytes;
        k->fitting = 0;
    }
}

/* While full calls of that size pass, it grows by a tenth now and then, up to what the sink takes.
 */
static void grow_fits(struct delivery *d, const struct call *c)
{
    for (const struct entry *e = c->entries.first; e != NULL; e = e->next) {
        struct kind_slot *k = &d->kinds[e->kind];
        if (k->done_in == c->ordinal || k->fits_documents == 0)
            continue;
        k->done_in = c->ordinal; /* once a kind */
        if (++k->fitting < GROW_AFTER)
            continue;
        k->fitting = 0;
        k->fits_documents += 1 + k->fits_documents / 10;
        k->fits_bytes += k->fits_bytes / 10;
        if (k->fits_documents >= d->sink->max_documents)
            k->fits_documents = k->fits_bytes = 0;
    }
    for (const struct entry *e = c->entries.first; e != NULL; e = e->next)
        d->kinds[e->kind].done_in = 0;
}

static void learn_size(struct delivery *d, const struct call *c)
{
    bool was_full = c->entries.count + 1 > c->max_documents || c->bytes > c->max_bytes / 10 * 9;

    if (c->sort == CALL_SEARCH && search_done(&d->search, c->whole, c->entries.count, c->bytes))
        learn_fit(d, c);
    else if (c->is_limited && was_full)
        grow_fits(d, c);
}

/* ---- the answer -------------------------------------------------------------------------- */

static bool is_timely(const struct call *c)
{
    return c->sort == CALL_PLAIN && !c->is_trial && !c->is_limited;
}

static void learn_live(int64_t *mean_us, int64_t took_us)
{
    *mean_us = *mean_us == 0 ? took_us : (7 * *mean_us + took_us) / 8;
}

static void tell_pace(struct delivery *d, const struct call *c, const struct verdict *v)
{
    int64_t took_us = d->now_us - c->sent_us;

    if (v->kind == VERDICT_DONE && is_timely(c) && !c->is_bulk)
        learn_live(&d->live_took_us[c->is_beside_bulk], took_us);
    if (v->kind == VERDICT_DONE && c->sort != CALL_CONTROL)
        pace_done(&d->pace, d->now_us, took_us, is_timely(c));
    else if (v->kind == VERDICT_AGAIN)
        pace_pushed(&d->pace, d->now_us);
}

/* A trial is over even if its answer moves no scope. */
static void end_trial(struct scope *s, uint64_t ordinal)
{
    if (s->trial == ordinal)
        s->trial = 0;
}

static void take(struct taking *t)
{
    struct delivery *d = t->d;
    struct call *c = t->call;
    const struct sink_answer *a = t->answer;

    d->now_us = clock_mono_us();
    delivery_leave(d, c);
    if (a->each == NULL && a->overall.kind != VERDICT_DONE) {
        take_whole(t, &a->overall);
    } else {
        learn_size(d, c);
        take_each(t);
    }
    tell_pace(d, c, &a->overall);
    end_trial(&d->endpoint, c->ordinal);
    if (c->trial_of != NULL)
        end_trial(&c->trial_of->scope, c->ordinal);
    delivery_hand_over(d, &t->settled, t->first);
    free(c);
}

/* The sink's answer to a call; it may come from inside send. */
void answers_take(void *arg, const struct sink_answer *answer)
{
    struct call *c = arg;
    struct taking t = {.d = c->delivery, .call = c, .answer = answer};

    PRE(answer->count == c->entries.count); /* the sink's own count, whatever Convex says */
    t.end = &t.first;
    told_answered(c, answer);
    metric_observe(HISTOGRAM_CALL_TIME, answer->took_us);
    for (size_t i = 0; i < answer->count; i++)
        metric_count(LABELLED_VERDICTS, NULL,
                     (answer->each ? &answer->each[i] : &answer->overall)->kind);
    take(&t);
}

void answers_take_control(void *arg, const struct verdict *verdict)
{
    struct call *c = arg;
    struct delivery *d = c->delivery;
    const struct sink_answer answer = {.overall = *verdict};
    struct taking t = {.d = d, .call = c, .answer = &answer};
    struct kind_slot *k = c->control_for;

    if (verdict->kind == VERDICT_NONE) {
        d->no_control_until_us = d->now_us + CONTROL_NONE_US;
        d->no_control_of = peer_functions(&d->peer);
        d->control_us = d->now_us - CONTROL_EVERY_US;
    } else if (verdict->kind == VERDICT_DONE) {
        d->control_us = d->now_us - CONTROL_EVERY_US; /* while they pass, nothing waits for one */
        if (k != NULL) {
            witness(k, c->ordinal);
            accept_kind(d, k, c->ordinal);
        }
        accept_endpoint(d, c->ordinal);
    }
    if (verdict->kind == VERDICT_DONE || verdict->kind == VERDICT_NONE) {
        delivery_leave(d, c);
        end_trial(&d->endpoint, c->ordinal);
        if (k != NULL)
            end_trial(&k->scope, c->ordinal);
        free(c);
        return;
    }
    t.end = &t.first;
    take(&t);
}

/* ---- afterwards ---------------------------------------------------------------------------- */

/* E5 or E6 is on disk for ${e}.  A record that is still there has a newer version to be sent. */
static void look_again(struct delivery *d, struct entry *e)
{
    struct pending document;
    enum err err = outbox_get(d->cursors.reader, e->no, &document);

    if (err == ERR_NOT_FOUND && entry_follow(e)) {
        look_again(d, e);
    } else if (err == ERR_STORE) {
        delivery_postpone(d, e, d->now_us + STORE_AGAIN_US);
    } else if (err != ERR_OK) {
        delivery_forget(d, e);
    } else if (document.version.revision != e->revision) {
        load_meet_newer(d, e);
        delivery_postpone(d, e, spacing_due_us(d->kinds[e->kind].spacing, document.id, d->now_us));
    } else { /* the outbox kept it: not now, then */
        delivery_postpone(
            d, e, d->now_us + 1000 * pace_backoff_ms(&d->scopes.backoff, e->attempts, &d->random));
    }
}

bool answers_collect(struct delivery *d)
{
    bool any = false;

    while (d->unsettled != NULL && outbox_is_settled(d->outbox, d->unsettled->ticket)) {
        struct unsettled *u = d->unsettled;
        struct entry *e;
        if ((d->unsettled = u->next) == NULL)
            d->unsettled_end = &d->unsettled;
        outbox_release(d->cursors.reader); /* an older view would still show them */
        while ((e = entries_pop(&u->entries)) != NULL)
            look_again(d, e);
        free(u);
        any = true;
    }
    return any;
}
