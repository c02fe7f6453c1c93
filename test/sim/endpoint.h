/* endpoint.h - the scripted endpoint, and the sink that leads to it. */

/* A part of sim.c. */

#ifndef SIM_ENDPOINT_H
#define SIM_ENDPOINT_H

#include "world.h"

/* ---- the endpoint ------------------------------------------------------------------- */

static struct sim_fault *fault_now(struct sim *s, int kind)
{
    for (int i = 0; i < s->fault_count; i++) {
        struct sim_fault *f = &s->faults[i];
        if (f->has_begun && f->kind == kind && sim_now_us >= f->begin_us && sim_now_us < f->end_us)
            return f;
    }
    return NULL;
}

static bool is_fault_due(const struct sim *s, const struct sim_fault *f)
{
    if (f->begin_call > 0)
        return s->calls >= f->begin_call;
    if (f->begin_answer > 0)
        return s->answers >= f->begin_answer;
    return sim_now_us >= f->begin_us;
}

static void begin_faults(struct sim *s)
{
    for (int i = 0; i < s->fault_count; i++) {
        struct sim_fault *f = &s->faults[i];
        if (f->has_begun || !is_fault_due(s, f))
            continue;
        f->has_begun = true;
        if (f->begin_call + f->begin_answer > 0) {
            f->begin_us = sim_now_us;
            f->end_us = sim_now_us + f->lasts_us;
        }
        sim_say(s, "fault %d of %d begins, ends at %.3f", (int)f->sort, f->kind,
                (double)(f->end_us - s->begun_us) / SIM_SECOND);
    }
}

static struct verdict verdict(enum verdict_kind kind, const char *why)
{
    struct verdict v = {.kind = kind};

    snprintf(v.why, sizeof v.why, "%s", why);
    return v;
}

static void by_fault(struct sink_call *c, const struct sim_fault *f)
{
    static const enum verdict_kind kinds[] = {VERDICT_REFUSED, VERDICT_AGAIN, VERDICT_UNKNOWN,
                                              VERDICT_UNKNOWN};

    c->overall = verdict(kinds[f->sort], "a fault of the script");
    c->overall.is_endpoints = f->by_nature || f->sort == FAULT_AGAIN;
    if (f->sort == FAULT_HANGS)
        c->due_us = c->sent_us + 30 * SIM_SECOND;
}

static void note_meeting(struct sim_fault *f, const struct sink_call *c)
{
    int first = c->count == 1 ? 1 + c->documents[0] : -1;

    f->first = f->first != 0 ? f->first : first;
    if (f->met_us == 0 && (first < 0 || first != f->first))
        f->met_us = sim_now_us;
}

static void write_document(struct sim *s, int i, int64_t seq)
{
    if (seq <= s->documents[i].standing)
        return;
    s->documents[i].standing = seq;
    s->documents[i].stood_us = sim_now_us;
}

/* Whether the call fails as a whole, and how. */
static bool judge_whole(struct sim *s, struct sink_call *c)
{
    struct sim_fault *f = fault_now(s, -1);
    int weight = 0;

    if (f != NULL) {
        note_meeting(f, c);
        by_fault(c, f);
        return true;
    }
    for (size_t i = 0; i < c->count; i++) {
        const struct sim_document *d = &s->documents[c->documents[i]];
        weight += d->weight;
        switch (d->ill[c->seqs[i]]) {
        case ILL_CALL:
            c->overall = verdict(VERDICT_REFUSED, "403: blocked");
            return true;
        case ILL_500:
            c->overall = verdict(VERDICT_UNKNOWN, "500");
            return true;
        case ILL_HANGS:
            c->overall = verdict(VERDICT_UNKNOWN, "no answer in time");
            c->due_us = c->sent_us + 60 * SIM_SECOND;
            return true;
        default:
            break;
        }
    }
    if (weight > SIM_HEAVY_CAP && c->count > 1) {
        c->overall = verdict(VERDICT_REFUSED, "Too many bytes read in a single function execution");
        return true;
    }
    return false;
}

/* What the endpoint makes of ${c}, at one moment between sending and answer. */
static void judge(struct sim *s, struct sink_call *c)
{
    c->has_verdicts = true;
    if (judge_whole(s, c))
        return;
    c->overall = verdict(VERDICT_DONE, "");
    if (c->control >= 0) {
        const struct sim_fault *f = fault_now(s, c->control);
        c->has_control = true;
        c->control_verdict = verdict(f != NULL ? VERDICT_REFUSED : VERDICT_DONE, "kind");
        if (c->is_question && f != NULL)
            c->overall = c->control_verdict;
    }
    for (size_t i = 0; i < c->count; i++) {
        const struct sim_document *d = &s->documents[c->documents[i]];
        bool refused = fault_now(s, d->kind) != NULL || d->ill[c->seqs[i]] == ILL_ITEM;
        c->each[i] = verdict(refused ? VERDICT_REFUSED : VERDICT_DONE, refused ? "rejected" : "");
        c->has_each = c->has_each || refused;
        if (!refused)
            write_document(s, c->documents[i], c->seqs[i]);
    }
    if (s->is_single && c->has_each) {
        c->has_each = false;
        c->overall = c->each[0];
    }
    if (c->count > 0 && chance_in(s, c, SALT_LOST, 100) < s->lose_percent) {
        c->has_each = c->has_control = false;
        c->overall = verdict(VERDICT_UNKNOWN, "lost");
        c->due_us += 2 * SIM_SECOND;
    }
}

/* A call of several that fails as a whole, for a reason that does not say that it is the
 * endpoint's.
 */
static void note_group(struct sim *s, const struct sink_call *c)
{
    bool is_whole = c->count > 1 && !c->has_each && !c->overall.is_endpoints &&
                    (c->overall.kind == VERDICT_REFUSED || c->overall.kind == VERDICT_UNKNOWN);

    for (size_t i = 0; i < c->count; i++)
        s->documents[c->documents[i]].failed_in = is_whole ? c->no : 0;
    if (is_whole)
        s->groups[c->no % 64] = (struct sim_group){.call = c->no,
                                                   .count = (unsigned)c->count,
                                                   .heard = s->calls,
                                                   .ordinal = s->delivery->ordinal};
}

static uint64_t proven_of(const struct sim *s, int kind)
{
    const struct delivery *d = s->delivery;
    uint64_t proven = d->endpoint.proven;

    for (size_t i = 0; i < d->kind_count; i++)
        if (d->kinds[i].name[1] - '0' == kind && d->kinds[i].scope.proven > proven)
            proven = d->kinds[i].scope.proven;
    return proven;
}

/* Before delivery hears of it. */
static void note_refusals(struct sim *s, const struct sink_call *c)
{
    for (size_t i = 0; i < c->count; i++) {
        struct sim_document *d = &s->documents[c->documents[i]];
        enum verdict_kind kind = c->has_each ? c->each[i].kind : c->overall.kind;
        d->proven = proven_of(s, d->kind);
        if (d->refused_seq != c->seqs[i])
            d->refusals = 0;
        d->refused_seq = c->seqs[i];
        if (kind != VERDICT_REFUSED || (!c->has_each && c->count > 1))
            continue;
        d->refusals++;
        d->is_control_known = s->has_control && c->sent_us > s->known_us;
        d->refused[1] = d->refused[0];
        d->refused[0] = s->delivery->ordinal;
    }
}

/* Something was done: the endpoint, as it was when the call was sent or later, is well. */
static void note_acceptance(struct sim *s, const struct sink_call *c)
{
    bool any = c->overall.kind == VERDICT_DONE && (c->count > 0 || c->is_question);

    if (any && c->no > s->accepted_call)
        s->accepted_call = c->no;
}

/* No part of a call that failed is sent in company before something was accepted in a call that was
 * sent since, or the endpoint was found bad. */
static void check_half(struct sim *s, const struct sink_call *c)
{
    unsigned in = c->count > 1 ? s->documents[c->documents[0]].failed_in : 0;
    const struct sim_group *g = &s->groups[in % 64];

    for (size_t i = 1; in > 0 && i < c->count; i++)
        if (s->documents[c->documents[i]].failed_in != in)
            return;
    if (in > 0 && g->call == in && c->count < g->count && s->accepted_call <= g->heard &&
        s->delivery->endpoint.proven < g->ordinal)
        sim_fail(s, "%zu of call %u are sent before anything was accepted since", c->count, in);
}

static void give_answer(struct sim *s, struct sink_call *c)
{
    struct sink_answer a = {.overall = c->overall,
                            .each =
                                c->has_each || (c->has_control && c->count > 0) ? c->each : NULL,
                            .count = c->count,
                            .control = c->has_control ? &c->control_verdict : NULL};

    for (size_t i = 0; i < c->count; i++)
        s->documents[c->documents[i]].calls--;
    note_group(s, c);
    note_refusals(s, c);
    note_acceptance(s, c);
    sim_say(s, "answer of %zu%s %s: %s", c->count, c->control != -1 ? "+control" : "",
            c->count > 0 ? s->documents[c->documents[0]].id : "",
            c->has_each                       ? "each"
            : c->overall.kind == VERDICT_DONE ? "done"
                                              : c->overall.why);
    if (c->is_question)
        c->told(c->arg, &c->overall);
    else
        c->answered(c->arg, &a);
    free(c);
}

static void fly(struct sim *s, struct sink_call *c)
{
    c->sent_us = sim_now_us;
    if (c->count > 0)
        s->documents[c->documents[0]].sent++;
    c->due_us = sim_now_us + (s->answers_at_once ? 0 : 1000 * (1 + chance_in(s, c, SALT_TIME, 30)));
    s->call_times_us[s->calls++ % 64] = sim_now_us;
    c->no = s->calls;
    check_half(s, c);
    begin_faults(s);
    for (size_t i = 0; i < c->count; i++)
        if (s->documents[c->documents[i]].calls++ > 0)
            sim_fail(s, "%s is in two calls", s->documents[c->documents[i]].id);
    sim_say(s, "call %u of %zu%s %s", s->calls, c->count, c->control != -1 ? "+control" : "",
            c->count > 0 ? s->documents[c->documents[0]].id : "");
    if (chance_in(s, c, SALT_WHEN, 2) == 0)
        judge(s, c);
    if (s->answers_at_once && c->due_us == sim_now_us) {
        if (!c->has_verdicts)
            judge(s, c);
        if (c->due_us == sim_now_us) {
            give_answer(s, c);
            return;
        }
    }
    PRE(s->flight_count < SIM_CALLS);
    s->flight[s->flight_count++] = c;
}

/* ---- the sink ------------------------------------------------------------------------ */

static struct sink_call *sim_begin(struct sink *sink)
{
    struct sink_call *c = base_alloc(sizeof *c);

    c->sim = (struct sim *)sink;
    c->control = -1;
    return c;
}

static int document_of(struct sim *s, struct slice id)
{
    for (int i = 0; i < s->document_count; i++)
        if (slice_is(id, s->documents[i].id))
            return i;
    return 0;
}

static bool sim_add(struct sink_call *c, const struct pending *p)
{
    if (c->count == c->sim->sink.max_documents)
        return false;
    c->documents[c->count] = document_of(c->sim, p->id);
    c->seqs[c->count++] = p->version.seq;
    return true;
}

static bool knows_control(const struct sim *s)
{
    return s->has_control && sim_now_us >= s->known_us;
}

static void sim_peer(struct sink *sink, struct sink_peer *out)
{
    const struct sim *s = (struct sim *)sink;

    *out = (struct sink_peer){.functions = sim_now_us < s->known_us ? 0
                                           : s->has_control         ? 2
                                                                    : 1,
                              .mark = -1};
}

static bool sim_add_control(struct sink_call *c, struct slice kind)
{
    if (!knows_control(c->sim) || c->sim->is_single)
        return false;
    c->control = kind.data[1] - '0';
    return true;
}

static void sim_send(struct sink_call *c, sink_answered *answered, void *arg)
{
    c->answered = answered;
    c->arg = arg;
    fly(c->sim, c);
}

static void sim_ask(struct sink *sink, enum sink_question question, struct slice kind,
                    sink_told *told, void *arg)
{
    struct sim *s = (struct sim *)sink;
    struct verdict none = {.kind = VERDICT_NONE}, done = {.kind = VERDICT_DONE};

    if (question == SINK_ATTACH) {
        if (s->attached_us > 0 && sim_now_us - s->attached_us < 60 * (int64_t)SIM_SECOND)
            sim_fail(s, "attach is asked twice in a minute");
        s->attached_us = sim_now_us;
        told(arg, &done);
        return;
    }
    if (!knows_control(s)) {
        told(arg, &none);
        return;
    }
    struct sink_call *c = sim_begin(sink);
    c->control = kind.len > 0 ? kind.data[1] - '0' : -2;
    c->is_question = true;
    c->told = told;
    c->arg = arg;
    fly(s, c);
}

static enum err sim_reload(struct sink *sink, struct fault *fault)
{
    (void)sink, (void)fault;
    return ERR_OK;
}

static void sim_wait(struct sink *sink, int wake_fd, int timeout_ms)
{
    (void)sink, (void)wake_fd, (void)timeout_ms;
}

static void sim_close(struct sink *sink)
{
    struct sim *s = (struct sim *)sink;

    while (s->flight_count > 0) {
        struct sink_call *c = s->flight[--s->flight_count];
        if (!c->has_verdicts)
            judge(s, c);
        c->has_each = c->has_control = false;
        c->overall = verdict(VERDICT_UNKNOWN, "closing");
        give_answer(s, c);
    }
}

#endif
