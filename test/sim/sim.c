/*
 * sim.c - delivery's judgement against thousands of scripts, without a thread and without a wait.
 *
 * A seed makes a script: documents (healthy, or ill in one of five ways), kinds, the form, whether
 * there is a control, versions that come meanwhile, faults with a scope, a beginning and an end,
 * answers that are lost or late, restarts.  The clock jumps to whatever is next.  After each step
 * the invariants of docs/adr/0012 are looked at; when the faults are over, everything must settle.
 *
 * Included by main.c and by test/unit/delivery/sim_test.c.  The outbox is
 * test/unit/outbox/fake_outbox.c.
 */

#include "delivery/delivery_inside.h"
#include "ground/clock.h"

#include <stdarg.h>

static int64_t sim_now_us;

int64_t clock_mono_us(void)
{
    return sim_now_us;
}

int64_t clock_wall_us(void)
{
    return sim_now_us + 1700000000000000;
}

#include "outbox/fake_outbox.c"

#define SIM_DOCUMENTS 160
#define SIM_VERSIONS  6
#define SIM_FAULTS    6
#define SIM_CALLS     256 /* in flight */
#define SIM_BATCH     16
#define SIM_EVENTS    40
#define SIM_SECOND    1000000
#define SIM_HEAVY_CAP 20 /* weight that fits into a call */

enum illness {
    HEALTHY,
    ILL_ITEM,  /* rejected */
    ILL_CALL,  /* its call is refused as a whole: a firewall */
    ILL_500,   /* its call's outcome is unknown */
    ILL_HANGS, /* its call is not answered for a minute, and then unknown */
    ILLNESSES
};

enum fault_sort { FAULT_REFUSES, FAULT_AGAIN, FAULT_UNKNOWN, FAULT_HANGS, FAULT_SORTS };

struct sim_fault {
    enum fault_sort sort;
    int kind; /* -1: the endpoint */
    int64_t begin_us, end_us;
    unsigned begin_call;   /* not 0: it begins when that call is sent, and lasts for so long */
    unsigned begin_answer; /* or when so many answers were given, just before the next is made */
    int64_t lasts_us;
    bool by_nature; /* 401, 429: says that it is about the endpoint */
    bool has_begun;
    int64_t met_us; /* the first call that met it; 0: none yet */
};

struct sim_document {
    char id[32];
    int kind, weight;
    enum illness ill[SIM_VERSIONS + 1];
    int64_t seq, standing, put_us[SIM_VERSIONS + 1], next_put_us;
    int64_t stood_us;
    unsigned calls;        /* in flight, with it */
    bool is_dead, is_bulk; /* is_bulk: its first version */
};

struct sink_call {
    struct sim *sim;
    int documents[SIM_BATCH];
    int64_t seqs[SIM_BATCH];
    size_t count;
    int control; /* the kind; -1: none; -2: any */
    bool is_question, has_verdicts, has_each, has_control;
    int64_t sent_us, due_us;
    struct verdict overall, each[SIM_BATCH], control_verdict;
    sink_answered *answered;
    sink_told *told;
    void *arg;
};

struct sim {
    struct sink sink;
    struct outbox *outbox;
    struct delivery *delivery;
    uint64_t random, seed;
    int64_t begun_us, faults_end_us;
    int document_count, kind_count, fault_count, refusing_faults;
    bool is_single, has_control, has_hanging, answers_at_once;
    bool is_ill;  /* nearly every document */
    bool is_once; /* one version a document */
    struct sim_document documents[SIM_DOCUMENTS];
    struct sim_fault faults[SIM_FAULTS];
    struct sink_call *flight[SIM_CALLS];
    size_t flight_count;
    unsigned calls, answers, restarts;
    int64_t restart_us, attached_us;
    int64_t call_times_us[64]; /* of the last ones, a ring */
    int lose_percent;
    struct dispatch_options options;
    unsigned excused; /* healthy ones that two separate faults have buried */
    char events[SIM_EVENTS][160];
    unsigned event_count;
    char failed[200]; /* "" : not yet */
};

/* ---- events and chance ------------------------------------------------------------ */

static void sim_say(struct sim *s, const char *format, ...) PRINTF(2, 3);
static void sim_say(struct sim *s, const char *format, ...)
{
    char *line = s->events[s->event_count++ % SIM_EVENTS];
    int n = snprintf(line, 160, "%10.3f ", (double)(sim_now_us - s->begun_us) / SIM_SECOND);
    va_list args;

    va_start(args, format);
    vsnprintf(line + n, (size_t)(160 - n), format, args);
    va_end(args);
    if (getenv("SIM_TRACE") != NULL)
        printf("%s\n", line);
}

static void sim_fail(struct sim *s, const char *format, ...) PRINTF(2, 3);
static void sim_fail(struct sim *s, const char *format, ...)
{
    va_list args;

    if (s->failed[0] != '\0')
        return;
    va_start(args, format);
    vsnprintf(s->failed, sizeof s->failed, format, args);
    va_end(args);
    sim_say(s, "FAILED: %s", s->failed);
}

static int chance(struct sim *s, int below)
{
    return (int)(pace_random(&s->random) % (uint64_t)below);
}

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
        f->met_us = f->met_us > 0 ? f->met_us : sim_now_us;
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
    if (c->count > 0 && chance(s, 100) < s->lose_percent) {
        c->has_each = c->has_control = false;
        c->overall = verdict(VERDICT_UNKNOWN, "lost");
        c->due_us += 2 * SIM_SECOND;
    }
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
    c->due_us = sim_now_us + (s->answers_at_once ? 0 : 1000 * (1 + chance(s, 30)));
    s->call_times_us[s->calls++ % 64] = sim_now_us;
    begin_faults(s);
    for (size_t i = 0; i < c->count; i++)
        if (s->documents[c->documents[i]].calls++ > 0)
            sim_fail(s, "%s is in two calls", s->documents[c->documents[i]].id);
    sim_say(s, "call %u of %zu%s %s", s->calls, c->count, c->control != -1 ? "+control" : "",
            c->count > 0 ? s->documents[c->documents[0]].id : "");
    if (chance(s, 2) == 0)
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

static bool sim_add_control(struct sink_call *c, struct slice kind)
{
    if (!c->sim->has_control || c->sim->is_single)
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
    if (!s->has_control) {
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

/* ---- scripts ---------------------------------------------------------------------------- */

static enum illness draw_illness(struct sim *s, int ill_percent)
{
    if (chance(s, 100) >= ill_percent)
        return HEALTHY;
    enum illness ill = (enum illness)(1 + chance(s, ILLNESSES - 1));
    if (ill == ILL_HANGS && !s->has_hanging)
        return ILL_ITEM;
    return ill;
}

static void draw_documents(struct sim *s)
{
    static const int percents[] = {0, 2, 5, 20, 100};
    int ill_percent = percents[chance(s, 5)], heavy = chance(s, 3) == 0;
    int counts[] = {2, 5, 20, 60, 160};

    s->is_ill = ill_percent > 20;
    s->document_count = counts[chance(s, 5)];
    s->kind_count = 1 + chance(s, 4);
    s->has_hanging = chance(s, 4) == 0;
    for (int i = 0; i < s->document_count; i++) {
        struct sim_document *d = &s->documents[i];
        d->kind = chance(s, s->kind_count);
        d->is_bulk = chance(s, 3) == 0;
        snprintf(d->id, sizeof d->id, "k%d:d%d", d->kind, i);
        d->weight = heavy && chance(s, 4) == 0 ? 6 : 1;
        for (int v = 1; v <= SIM_VERSIONS; v++)
            d->ill[v] = draw_illness(s, v == 1 ? ill_percent : ill_percent / 3);
        d->next_put_us = s->begun_us + (chance(s, 2) ? 0 : 1000 * chance(s, 40000));
    }
}

static void draw_faults(struct sim *s)
{
    s->fault_count = chance(s, 3) == 0 ? 0 : 1 + chance(s, chance(s, 3) == 0 ? SIM_FAULTS : 1);
    s->faults_end_us = s->begun_us + 45 * SIM_SECOND;
    for (int i = 0; i < s->fault_count; i++) {
        struct sim_fault *f = &s->faults[i];
        f->sort = (enum fault_sort)chance(s, FAULT_SORTS);
        f->kind = chance(s, 2) ? -1 : chance(s, s->kind_count);
        if (f->kind >= 0)
            f->sort = FAULT_REFUSES;
        s->refusing_faults += f->sort == FAULT_REFUSES;
        f->by_nature = f->kind < 0 && chance(s, 3) == 0;
        f->lasts_us = 1000 * (1 + (int64_t)chance(s, chance(s, 2) ? 200 : 25000));
        int when = chance(s, 3);
        if (when == 0) {
            f->begin_call = 1 + (unsigned)chance(s, 60);
        } else if (when == 1) {
            f->begin_answer = 1 + (unsigned)chance(s, 60);
        } else {
            f->begin_us = s->begun_us + 1000 * (int64_t)chance(s, 40000);
            f->end_us = f->begin_us + f->lasts_us;
            if (f->end_us > s->faults_end_us)
                s->faults_end_us = f->end_us;
        }
    }
}

/* The sink of ${s}, and nothing that goes wrong. */
static void set_up(struct sim *s, bool is_single)
{
    static const struct sink_ops ops = {.begin = sim_begin,
                                        .add = sim_add,
                                        .add_control = sim_add_control,
                                        .send = sim_send,
                                        .ask = sim_ask,
                                        .reload = sim_reload,
                                        .wait = sim_wait,
                                        .close = sim_close};

    s->begun_us = sim_now_us;
    s->restart_us = INT64_MAX;
    s->is_single = is_single;
    s->sink = (struct sink){.ops = &ops, .max_documents = is_single ? 1 : SIM_BATCH};
    s->options = (struct dispatch_options){.max_in_flight = 8,
                                           .min_interval_ms = 50,
                                           .backoff_min_ms = 250,
                                           .backoff_max_ms = 30000,
                                           .probe_ms = 30000};
}

static void draw(struct sim *s)
{
    s->random = s->seed * 0x9e3779b97f4a7c15u + 1;
    set_up(s, chance(s, 3) == 0);
    s->has_control = chance(s, 2);
    s->answers_at_once = chance(s, 10) == 0;
    s->lose_percent = chance(s, 4) == 0 ? 5 : 0;
    s->restart_us = chance(s, 4) == 0 ? s->begun_us + 1000 * (int64_t)chance(s, 30000) : INT64_MAX;
    s->options.max_in_flight = chance(s, 2) ? 4 : 16;
    s->options.min_interval_ms = chance(s, 2) ? 0 : 50;
    draw_documents(s);
    draw_faults(s);
}

/* ---- the invariants ------------------------------------------------------------------------ */

static bool is_pending(struct sim *s, int i)
{
    return fake_document(s->outbox, s->documents[i].id)->no != 0;
}

static void check_document(struct sim *s, int i)
{
    struct sim_document *d = &s->documents[i];
    const struct fake_document *kept = fake_document(s->outbox, d->id);

    if (kept->delivered_seq > d->standing)
        sim_fail(s, "%s counts as delivered and does not stand", d->id);
    if (!kept->dead || d->is_dead)
        return;
    d->is_dead = true;
    sim_say(s, "%s is dead", d->id);
    if (d->ill[kept->dead_seq] != HEALTHY)
        return;
    /* with a control in the trial's own transaction no number of faults can; a refusal of the whole
     * call has no such control */
    if (s->refusing_faults < 2 ||
        (s->has_control && !s->is_single && strcmp(kept->why, "rejected") == 0))
        sim_fail(s, "%s is healthy and dead", d->id);
    else
        s->excused++;
}

/* Proven bad, an endpoint gets few calls: controls a second apart, trials by back-off. */
static void check_calls(struct sim *s)
{
    const struct sim_fault *f = fault_now(s, -1);

    if (f == NULL || f->met_us == 0 || sim_now_us - f->met_us < 15 * SIM_SECOND ||
        f->sort == FAULT_HANGS)
        return;
    unsigned recent = 0;
    for (size_t i = 0; i < 64 && i < s->calls; i++)
        recent += s->call_times_us[i] > sim_now_us - 5 * SIM_SECOND;
    if (recent > 8u + (s->is_single ? 4u * (unsigned)s->kind_count : 0u)) /* each kind has trials */
        sim_fail(s, "%u calls in 5 s to an endpoint that fails", recent);
}

static void check(struct sim *s)
{
    for (int i = 0; i < s->document_count; i++)
        check_document(s, i);
    check_calls(s);
    if (s->outbox->order_faults > 0)
        sim_fail(s, "a document went back");
    if (known_count(s->delivery->known) > DELIVERY_KNOWN_MAX + SIM_BATCH)
        sim_fail(s, "too many are known");
}

/* In quiet scripts: nobody healthy waits for the ill ones. */
static void check_waits(struct sim *s)
{
    bool quiet = s->fault_count == 0 && !s->has_hanging && s->lose_percent == 0;

    for (int i = 0; quiet && i < s->document_count; i++) {
        const struct sim_document *d = &s->documents[i];
        int64_t wait_us = sim_now_us - d->put_us[d->seq];
        bool always_healthy = true;
        for (int64_t v = 1; v <= d->seq; v++)
            always_healthy = always_healthy && d->ill[v] == HEALTHY;
        if (always_healthy && d->seq > 0 && is_pending(s, i) &&
            wait_us > 30 * SIM_SECOND + 2 * SIM_SECOND * s->document_count / 4)
            sim_fail(s, "%s is healthy and waits for %.1f s", d->id, (double)wait_us / SIM_SECOND);
    }
}

/* Faults are over and all waits are finite: what is left is ill.  Where nearly everything is ill
 * and no control speaks for the others, their turns come half a minute apart: that takes too long
 * to wait. */
static void check_end(struct sim *s)
{
    if (s->is_ill && !s->has_control)
        return;
    for (int i = 0; i < s->document_count; i++)
        if (is_pending(s, i) && s->documents[i].ill[s->documents[i].seq] == HEALTHY)
            sim_fail(s, "%s is healthy and pending for ever", s->documents[i].id);
}

/* ---- running ----------------------------------------------------------------------------------
 */

static void put_versions(struct sim *s)
{
    for (int i = 0; i < s->document_count; i++) {
        struct sim_document *d = &s->documents[i];
        if (d->next_put_us > sim_now_us)
            continue;
        d->next_put_us = INT64_MAX;
        if (d->is_dead || d->seq == SIM_VERSIONS)
            continue;
        d->seq++;
        d->put_us[d->seq] = sim_now_us;
        fake_outbox_put_in(s->outbox, d->id, d->seq, d->seq == 1 && d->is_bulk ? 0 : LANE_LIVE);
        sim_say(s, "put %s %lld%s", d->id, (long long)d->seq, d->ill[d->seq] ? " ill" : "");
        if (!s->is_once && chance(s, 3) == 0)
            d->next_put_us = sim_now_us + 1000 * (int64_t)chance(s, 20000);
    }
}

static void answer_due(struct sim *s)
{
    for (size_t i = 0; i < s->flight_count;) {
        struct sink_call *c = s->flight[i];
        if (c->due_us > sim_now_us) {
            i++;
            continue;
        }
        begin_faults(s);
        if (!c->has_verdicts) {
            judge(s, c);
            if (c->due_us > sim_now_us)
                continue; /* it hangs */
        }
        s->answers++;
        s->flight[i] = s->flight[--s->flight_count];
        give_answer(s, c);
        i = 0;
    }
}

static void restart(struct sim *s)
{
    sim_say(s, "restart");
    s->attached_us = 0;
    delivery_end(s->delivery);
    sim_close(&s->sink);
    delivery_close(s->delivery);
    s->delivery =
        delivery_open(s->outbox, &s->sink, &s->options, s->seed, sim_now_us, clock_wall_us());
    s->restart_us = INT64_MAX;
}

static int64_t next_us(struct sim *s)
{
    int64_t at_us = delivery_next_us(s->delivery, sim_now_us);

    for (size_t i = 0; i < s->flight_count; i++)
        at_us = at_us < s->flight[i]->due_us ? at_us : s->flight[i]->due_us;
    for (int i = 0; i < s->document_count; i++)
        at_us = at_us < s->documents[i].next_put_us ? at_us : s->documents[i].next_put_us;
    for (int i = 0; i < s->fault_count; i++)
        if (s->faults[i].begin_call + s->faults[i].begin_answer == 0 && !s->faults[i].has_begun &&
            s->faults[i].begin_us < at_us)
            at_us = s->faults[i].begin_us;
    return at_us < s->restart_us ? at_us : s->restart_us;
}

static void run_until(struct sim *s, int64_t end_us)
{
    unsigned steps = 0;

    while (s->failed[0] == '\0' && sim_now_us < end_us) {
        begin_faults(s);
        put_versions(s);
        answer_due(s);
        if (sim_now_us >= s->restart_us)
            restart(s);
        bool more = delivery_step(s->delivery, sim_now_us, clock_wall_us());
        check(s);
        check_waits(s);
        steps++;
        if (steps > 200000)
            sim_fail(s, "it spins");
        if (more)
            continue;
        int64_t at_us = next_us(s);
        if (at_us == INT64_MAX)
            break;
        if (at_us > sim_now_us)
            sim_now_us = at_us;
    }
}

static void sim_show(struct sim *s, FILE *out)
{
    const struct delivery *d = s->delivery;

    fprintf(out,
            "  endpoint %d until %.3f trial %llu, ordinal %llu, in flight %u (%u overdue, %u "
            "troubled), "
            "agenda %zu, search %zu, known %zu\n",
            (int)d->endpoint.state, (double)(d->endpoint.until_us - s->begun_us) / SIM_SECOND,
            (unsigned long long)d->endpoint.trial, (unsigned long long)d->ordinal, d->in_flight,
            d->overdue, d->troubled_in_flight, d->agenda.count, d->search.count,
            known_count(d->known));
    for (size_t i = 0; i < d->kind_count; i++) {
        const struct kind_slot *k = &d->kinds[i];
        fprintf(out,
                "  kind %s: state %d until %.3f trial %llu troubled %zu quiet %d until %.3f range "
                "%llu-%llu\n",
                k->name, (int)k->scope.state,
                (double)(k->scope.until_us - s->begun_us) / SIM_SECOND,
                (unsigned long long)k->scope.trial, k->troubled.count, k->is_quiet,
                (double)(k->quiet_until_us - s->begun_us) / SIM_SECOND,
                (unsigned long long)k->skipped[1].low, (unsigned long long)k->skipped[1].high);
    }
}

/* What only other tests use of the fake outbox. */
static void (*const sim_unused[])(void) = {
    (void (*)(void))fake_outbox_put,

    (void (*)(void))fake_outbox_look, (void (*)(void))fake_outbox_pending,
    (void (*)(void))fake_outbox_hide, (void (*)(void))fake_outbox_fail};

/* ${seed}'s script; whether all invariants held.  ${out}: where the last events go if not. */
static bool sim_run(uint64_t seed, FILE *out, unsigned *excused)
{
    struct sim *s = base_alloc(sizeof *s);
    (void)sim_unused;

    sim_now_us = 1000000000;
    s->seed = seed;
    s->outbox = fake_outbox_new();
    draw(s);
    s->delivery =
        delivery_open(s->outbox, &s->sink, &s->options, seed, sim_now_us, clock_wall_us());
    int64_t end_us =
        s->faults_end_us + (s->is_ill || s->has_hanging ? 9000 : 1200) * (int64_t)SIM_SECOND;
    run_until(s, end_us);
    if (s->failed[0] == '\0')
        check_end(s);
    bool ok = s->failed[0] == '\0';
    if (!ok && out != NULL) {
        fprintf(out, "seed %llu: %s (%s, %s control, %d documents, %d faults)\n",
                (unsigned long long)seed, s->failed, s->is_single ? "single" : "batch",
                s->has_control ? "a" : "no", s->document_count, s->fault_count);
        sim_show(s, out);
        unsigned count = s->event_count < SIM_EVENTS ? s->event_count : SIM_EVENTS;
        for (unsigned i = s->event_count - count; i != s->event_count; i++)
            fprintf(out, "  %s\n", s->events[i % SIM_EVENTS]);
    }
    *excused += s->excused;
    delivery_end(s->delivery);
    sim_close(&s->sink);
    delivery_close(s->delivery);
    fake_outbox_free(s->outbox);
    free(s);
    return ok;
}
