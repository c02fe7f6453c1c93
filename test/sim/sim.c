/*
 * sim.c - delivery's judgement against thousands of scripts, without a thread and without a wait.
 *
 * A seed makes a script: documents (healthy, or ill in one of five ways), kinds, the form, whether
 * there is a control, versions that come meanwhile, faults with a scope, a beginning and an end,
 * answers that are lost or late, restarts.  Dead letters are tried again as outbox/heal.c does, by
 * the clock and when something is well again.  The clock jumps to whatever is next.  After each
 * step the invariants of docs/adr/0012 are looked at; when the faults are over, everything must
 * settle, and whoever was healthy and buried must be healed.
 *
 * Included by main.c and by test/unit/delivery/sim_test.c.  The outbox is
 * test/unit/outbox/fake_outbox.c; world.h, endpoint.h and script.h are parts of it.  A seed that
 * fails is told by as few lines of its script as fail, too; `mutants` says what it finds.
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
#include "script.h"

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
    s->healed += d->is_dead && !kept->dead && kept->was_healed;
    if (!kept->dead)
        d->is_dead = false;
    if (!kept->dead || d->is_dead)
        return;
    d->is_dead = true;
    sim_say(s, "%s is dead", d->id);
    if (d->refusals < 2)
        sim_fail(s, "%s died of %u refusals", d->id, d->refusals);
    else if (d->refused[1] <= d->proven)
        sim_fail(s, "%s died of a refusal of before its kind or the endpoint was found bad", d->id);
    if (d->ill[kept->dead_seq] != HEALTHY)
        return;
    /* with a control in the trial's own transaction no number of faults can; a refusal of the whole
     * call has no such control */
    if (s->refusing_faults < 2 ||
        (d->is_control_known && !s->is_single && strcmp(kept->why, "rejected") == 0))
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
    for (int i = 0; i < s->document_count; i++) {
        const struct fake_document *k = fake_document(s->outbox, s->documents[i].id);
        if (is_pending(s, i) && s->documents[i].ill[s->documents[i].seq] == HEALTHY)
            sim_fail(s, "%s is healthy and pending for ever", s->documents[i].id);
        if (k->dead && s->documents[i].ill[k->dead_seq] == HEALTHY)
            sim_fail(s, "%s is healthy and stays dead", s->documents[i].id);
    }
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
        fake_outbox_keep(s->outbox, d->id, d->seq,
                         d->seq == 1 && d->is_bulk ? ORIGIN_REBUILD : ORIGIN_LIVE);
        sim_say(s, "put %s %lld%s", d->id, (long long)d->seq, d->ill[d->seq] ? " ill" : "");
        if (!s->is_once && chance_of(s, i, d->seq, SALT_AGAIN, 3) == 0)
            d->next_put_us =
                sim_now_us + 1000 * (int64_t)chance_of(s, i, d->seq, SALT_LATER, 20000);
    }
}

/* When the dead letter of ${k} is tried again, on the clock of the simulation. */
static int64_t heal_us(const struct sim *s, const struct fake_document *k)
{
    static const int64_t waits_s[] = {60, 600, 3600, 21600, 86400};
    unsigned step = k->tries < 4 ? k->tries : 4;
    bool is_early = s->outbox->well_us > k->died_us; /* a step earlier, at once the first time */
    int64_t wait_s = !is_early ? waits_s[step] : step > 0 ? waits_s[step - 1] : 0;

    return k->died_us - (clock_wall_us() - sim_now_us) + wait_s * SIM_SECOND;
}

static bool may_heal(const struct fake_document *k)
{
    return k->dead && k->no == 0;
}

static void heal_letters(struct sim *s)
{
    for (int i = 0; i < s->document_count; i++) {
        const struct fake_document *k = fake_document(s->outbox, s->documents[i].id);
        if (!may_heal(k) || heal_us(s, k) > sim_now_us)
            continue;
        sim_say(s, "heal %s, try %u", k->id, k->tries + 1);
        fake_outbox_heal(s->outbox, k->id);
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
    s->known_us = sim_now_us + 1000 * (int64_t)(s->seed % 1000);
    delivery_end(s->delivery);
    sim_close(&s->sink);
    delivery_close(s->delivery);
    s->delivery =
        delivery_open(s->outbox, &s->sink, &s->options, s->seed, sim_now_us, clock_wall_us());
    for (int i = 0; i < s->document_count; i++) /* nobody remembers who failed together */
        s->documents[i].failed_in = 0;
    s->restart_us = INT64_MAX;
}

static int64_t next_us(struct sim *s)
{
    int64_t at_us = delivery_next_us(s->delivery, sim_now_us);

    for (size_t i = 0; i < s->flight_count; i++)
        at_us = at_us < s->flight[i]->due_us ? at_us : s->flight[i]->due_us;
    for (int i = 0; i < s->document_count; i++) {
        const struct fake_document *k = fake_document(s->outbox, s->documents[i].id);
        at_us = at_us < s->documents[i].next_put_us ? at_us : s->documents[i].next_put_us;
        if (may_heal(k) && heal_us(s, k) < at_us)
            at_us = heal_us(s, k);
    }
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
        heal_letters(s);
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

/* Healthy documents that two faults have buried; letters that were delivered in the end. */
struct sim_counts {
    unsigned excused, healed, moves;
};

static void report(struct sim *s, const struct sim_cut *c, FILE *out)
{
    unsigned count = s->event_count < SIM_EVENTS ? s->event_count : SIM_EVENTS;

    fprintf(out, "seed %llu: %s (%s, %s control, %d documents, %d faults)\n",
            (unsigned long long)s->seed, s->failed, s->is_single ? "single" : "batch",
            s->has_control ? "a" : "no", s->document_count, s->fault_count);
    sim_show(s, out);
    show_script(s, c, out);
    for (unsigned i = s->event_count - count; i != s->event_count; i++)
        fprintf(out, "  %s\n", s->events[i % SIM_EVENTS]);
}

/* ${seed}'s script without what ${c} leaves out; whether all invariants held.  ${out}: where it is
 * told, if not. */
static bool sim_run_cut(uint64_t seed, struct sim_cut *c, FILE *out, struct sim_counts *counts)
{
    struct sim *s = base_alloc(sizeof *s);
    (void)sim_unused;

    sim_now_us = 1000000000;
    s->seed = seed;
    s->outbox = fake_outbox_new();
    draw(s);
    cut(s, c);
    s->delivery =
        delivery_open(s->outbox, &s->sink, &s->options, seed, sim_now_us, clock_wall_us());
    int64_t end_us =
        s->faults_end_us + (s->is_ill || s->has_hanging ? 9000 : 1200) * (int64_t)SIM_SECOND;
    run_until(s, end_us);
    if (s->failed[0] == '\0')
        check_end(s);
    bool ok = s->failed[0] == '\0';
    if (!ok && out != NULL)
        report(s, c, out);
    for (int i = 0; i < s->fault_count && !c->is_timed; i++)
        c->begin_us[i] = s->faults[i].has_begun ? s->faults[i].begin_us : 0;
    counts->excused += s->excused;
    counts->healed += s->healed;
    counts->moves += s->outbox->moves;
    delivery_end(s->delivery);
    sim_close(&s->sink);
    delivery_close(s->delivery);
    fake_outbox_free(s->outbox);
    free(s);
    return ok;
}

/* Leave ${line} out, if it fails without it, too. */
static void try_without(uint64_t seed, struct sim_cut *c, bool *line)
{
    struct sim_counts counts = {0};

    if (*line)
        return;
    *line = true;
    if (sim_run_cut(seed, c, NULL, &counts))
        *line = false;
}

/* Line by line, until nothing more can be left out. */
static void shrink(uint64_t seed, struct sim_cut *c)
{
    try_without(seed, c, &c->is_timed);
    for (int i = 0; i < SIM_FAULTS; i++)
        try_without(seed, c, &c->faults[i]);
    for (int i = SIM_DOCUMENTS - 1; i >= 0; i--)
        try_without(seed, c, &c->documents[i]);
    try_without(seed, c, &c->restart);
    try_without(seed, c, &c->losses);
    try_without(seed, c, &c->versions);
    try_without(seed, c, &c->control);
    try_without(seed, c, &c->interval);
}

/* ${seed}'s script; whether all invariants held.  If not, as little of it as fails goes to ${out}.
 */
static bool sim_run(uint64_t seed, FILE *out, struct sim_counts *counts)
{
    struct sim_cut c = {0};

    if (sim_run_cut(seed, &c, NULL, counts))
        return true;
    shrink(seed, &c);
    (void)sim_run_cut(seed, &c, out, counts);
    return false;
}
