/* script.h - what a seed makes happen, and what may be left out of it. */

/* A part of sim.c. */

#ifndef SIM_SCRIPT_H
#define SIM_SCRIPT_H

#include "endpoint.h"

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
    int ill_percent = s->is_dense ? 0 : percents[chance(s, 5)], heavy = chance(s, 3) == 0;
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
        if (s->is_dense)
            d->next_put_us = s->begun_us + 1000 * chance(s, 1500);
        else
            d->next_put_us = s->begun_us + (chance(s, 2) ? 0 : 1000 * chance(s, 40000));
    }
}

static void draw_faults(struct sim *s)
{
    s->fault_count = chance(s, 3) == 0 ? 0 : 1 + chance(s, chance(s, 3) == 0 ? SIM_FAULTS : 1);
    s->fault_count = s->is_dense ? 1 : s->fault_count;
    s->faults_end_us = s->begun_us + 45 * SIM_SECOND;
    for (int i = 0; i < s->fault_count; i++) {
        struct sim_fault *f = &s->faults[i];
        f->sort = (enum fault_sort)chance(s, FAULT_SORTS);
        f->kind = chance(s, 2) ? -1 : chance(s, s->kind_count);
        if (f->kind >= 0)
            f->sort = FAULT_REFUSES;
        f->by_nature = f->kind < 0 && chance(s, 3) == 0;
        f->lasts_us = 1000 * (1 + (int64_t)chance(s, chance(s, 2) ? 200 : 25000));
        int when = s->is_dense ? 1 : chance(s, 3);
        if (s->is_dense) {
            f->lasts_us = 1000 * (1 + (int64_t)chance(s, 150));
            f->sort = FAULT_REFUSES;
            f->by_nature = false;
        }
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
        s->refusing_faults += f->sort == FAULT_REFUSES;
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
                                        .peer = sim_peer,
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

/* Lines of a script that are left out, and faults that begin by the clock instead of at a call. */
struct sim_cut {
    bool documents[SIM_DOCUMENTS], faults[SIM_FAULTS];
    bool restart, losses, versions, control, interval; /* versions: all but the first */
    bool is_timed;
    int64_t begin_us[SIM_FAULTS]; /* as they began in the whole script; 0: not */
};

static void cut_fault(struct sim_fault *f, bool is_out, int64_t begin_us)
{
    if (is_out) { /* it has been, at no time */
        f->has_begun = true;
        f->begin_us = f->end_us = 0;
    } else if (begin_us > 0) {
        f->begin_call = f->begin_answer = 0;
        f->begin_us = begin_us;
        f->end_us = begin_us + f->lasts_us;
    }
}

static void cut(struct sim *s, const struct sim_cut *c)
{
    for (int i = 0; i < s->document_count; i++)
        if (c->documents[i])
            s->documents[i].next_put_us = INT64_MAX;
    for (int i = 0; i < s->fault_count; i++)
        cut_fault(&s->faults[i], c->faults[i], c->is_timed ? c->begin_us[i] : 0);
    s->restart_us = c->restart ? INT64_MAX : s->restart_us;
    s->lose_percent = c->losses ? 0 : s->lose_percent;
    s->is_once = s->is_once || c->versions;
    s->has_control = s->has_control && !c->control;
    s->options.min_interval_ms = c->interval ? 0 : s->options.min_interval_ms;
}

static void draw(struct sim *s)
{
    s->random = s->seed * 0x9e3779b97f4a7c15u + 1;
    set_up(s, chance(s, 3) == 0);
    s->has_control = chance(s, 2);
    s->answers_at_once = chance(s, 10) == 0;
    s->lose_percent = chance(s, 4) == 0 ? 5 : 0;
    s->restart_us = chance(s, 4) == 0 ? s->begun_us + 1000 * (int64_t)chance(s, 30000) : INT64_MAX;
    s->is_dense = chance(s, 3) == 0;
    s->known_us = s->begun_us + 1000 * (int64_t)chance(s, 1000);
    s->options.max_in_flight = chance(s, 2) ? 4 : 16;
    s->options.min_interval_ms = chance(s, 2) ? 0 : 50;
    draw_documents(s);
    draw_faults(s);
}

/* What is left of the script. */
static void show_script(const struct sim *s, const struct sim_cut *c, FILE *out)
{
    static const char *const ills[] = {"healthy", "rejected", "403", "500", "hangs"};
    static const char *const sorts[] = {"refuses", "again", "unknown", "hangs"};

    for (int i = 0; i < s->document_count; i++) {
        const struct sim_document *d = &s->documents[i];
        if (c->documents[i])
            continue;
        fprintf(out, "  document %s, weight %d, %s:", d->id, d->weight,
                d->is_bulk ? "bulk" : "live");
        for (int v = 1; v <= (d->seq > 0 ? (int)d->seq : 1); v++)
            fprintf(out, " %s", ills[d->ill[v]]);
        fputc('\n', out);
    }
    for (int i = 0; i < s->fault_count; i++) {
        const struct sim_fault *f = &s->faults[i];
        if (!c->faults[i])
            fprintf(out, "  fault of %d: %s%s from %.3f (call %u, answer %u) for %.3f s\n", f->kind,
                    sorts[f->sort], f->by_nature ? " by nature" : "",
                    (double)(f->begin_us - s->begun_us) / SIM_SECOND, f->begin_call,
                    f->begin_answer, (double)f->lasts_us / SIM_SECOND);
    }
}

#endif
