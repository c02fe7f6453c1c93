/*
 * trouble.c - what one document is accused of, and what the next answer makes of it.
 *
 * The happy path: nothing, for as long as a document travels in company and is done.
 *
 * What can go wrong, and the one thing done: it is refused, or its outcome is unknown.  Then it
 * travels alone, and either is done, or is refused twice with a witness between, or stays.
 *
 *   none     refused beside one done -> trial      refused among others -> lone
 *   lone     refused alone -> refused              unknown -> failing
 *   refused  witness -> trial                      refused again -> refused, heard anew
 *   trial    refused alone -> dead                 the control beside it refused, too -> lone
 *            the call refused: dead, if it was refused alone before, else -> refused
 *   failing  refused alone -> refused              unknown -> failing, waits longer
 *   any      a newer version -> lone, if it was not none
 *   any      its kind or the endpoint was found bad since: lone -> none, refused and trial -> lone
 *
 * Pure: no clock, no I/O.
 */

#include "delivery/trouble.h"

const char *trouble_text(enum trouble_state s)
{
    static const char *const texts[] = {"none", "lone", "refused", "on trial", "failing"};

    PRE((size_t)s < sizeof texts / sizeof *texts);
    return texts[s];
}

static void become(struct trouble *t, enum trouble_state state, uint64_t heard)
{
    t->state = state;
    t->heard = heard;
    t->is_short = false;
}

void trouble_refresh(struct trouble *t, const struct evidence *e)
{
    bool is_void = e->proven >= t->heard;

    if (t->state == TROUBLE_LONE && is_void)
        become(t, TROUBLE_NONE, 0);
    else if ((t->state == TROUBLE_REFUSED || t->state == TROUBLE_TRIAL) && is_void)
        become(t, TROUBLE_LONE, e->now + 1);
    else if (t->state == TROUBLE_REFUSED && e->accepted > t->heard)
        t->state = TROUBLE_TRIAL;
}

bool trouble_hear(struct trouble *t, enum trouble_event event, const struct evidence *e)
{
    uint64_t heard = e->now;

    switch (event) {
    case TROUBLE_BESIDE:
        become(t, TROUBLE_TRIAL, heard);
        t->is_short = true;
        return false;
    case TROUBLE_AMONG:
    case TROUBLE_SOUGHT:
    case TROUBLE_WITH_OTHERS:
        become(t, TROUBLE_LONE, heard);
        return false;
    case TROUBLE_ALONE:
    case TROUBLE_WHOLE:
        t->alone++;
        /* the refusal of the item then, and of the call now, may be two faults of others */
        if (t->state == TROUBLE_TRIAL && !(event == TROUBLE_WHOLE && t->is_short))
            return true;
        become(t, TROUBLE_REFUSED, heard);
        return false;
    case TROUBLE_UNKNOWN:
        t->alone++;
        become(t, TROUBLE_FAILING, heard);
        return false;
    case TROUBLE_NEWER:
        t->alone = 0;
        if (t->state != TROUBLE_NONE)
            become(t, TROUBLE_LONE, heard);
        return false;
    }
    return false;
}

int64_t trouble_wait_ms(const struct trouble *t, int64_t max_ms)
{
    int64_t ms = 1000;

    for (uint32_t i = 1; i < t->alone && ms < max_ms; i++)
        ms *= 2;
    return ms < max_ms ? ms : max_ms;
}
