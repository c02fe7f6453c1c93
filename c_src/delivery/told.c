/*
 * told.c - reports to taps what happens to documents (tap.h).
 *
 * Each function costs one read while no tap is open.  Runs on the delivery thread only.
 */

#include "delivery/delivery_inside.h"

#include "ground/tap.h"

static void tell(enum tap_event event, const struct entry *e, const char *why)
{
    const struct settlement *s = e->settlement;

    tap_tell(event, s->kind, slice_of(s->id, s->id_len), s->sent.seq, why);
}

void told_sent(const struct call *c)
{
    static const char *const whys[] = {"", "alone", "in a search", ""};

    if (!tap_is_open())
        return;
    for (const struct entry *e = c->entries.first; e != NULL; e = e->next)
        tell(TAP_SENT, e, whys[c->sort]);
}

void told_answered(const struct call *c, const struct sink_answer *a)
{
    static const enum tap_event events[] = {[VERDICT_DONE] = TAP_CONFIRMED,
                                            [VERDICT_AGAIN] = TAP_AGAIN,
                                            [VERDICT_UNKNOWN] = TAP_UNKNOWN,
                                            [VERDICT_REFUSED] = TAP_REFUSED,
                                            [VERDICT_NONE] = TAP_UNKNOWN};
    size_t i = 0;

    if (!tap_is_open())
        return;
    for (const struct entry *e = c->entries.first; e != NULL; e = e->next, i++) {
        const struct verdict *v = a->each != NULL ? &a->each[i] : &a->overall;
        tell(events[v->kind], e, v->why);
    }
}

void told_dead(const struct entry *e, const char *why)
{
    if (tap_is_open())
        tell(TAP_DEAD, e, why);
}
