/*
 * suspects.c - a document was refused: is it the document's fault, or is everything refused?
 *
 * Convex answers "this document is wrong" and "nothing is deployed here" in the
 * same way (HTTP 200, status error), so one refusal alone proves nothing.
 *
 * The rules: only a document that was sent alone is judged.  Another one was done
 * within the last minute - the refused one is at fault.  Nothing was, or it was
 * refused among others - it waits as a suspect, and the others are tried: one of
 * them is done, in the same call or a later one - the suspect is on trial, which
 * is to be sent once more, alone, and now there is proof; eight calls in a row
 * are refused, nothing done between - everything is, a configuration fault.  Nothing
 * else is there to be tried - three refusals are enough.
 *
 * Pure: no clock, no I/O.  Runs on the delivery thread only.
 */

#include "delivery/suspects.h"

void suspects_free(struct suspects *s)
{
    parcels_free(&s->waiting);
    *s = (struct suspects){0};
}

void suspects_proof(struct suspects *s, int64_t now_us)
{
    s->has_proof = true;
    s->proof_us = now_us;
    s->row_count = 0;
}

bool suspects_next_trial(struct suspects *s, int64_t sent_us, struct parcel *p)
{
    struct parcels *waiting = &s->waiting;

    for (size_t i = 0; i < waiting->count; i++)
        if (waiting->items[i].refused_us <= sent_us) {
            *p = waiting->items[i];
            p->is_on_trial = true;
            waiting->items[i] = waiting->items[--waiting->count];
            return true;
        }
    return false;
}

void suspects_no_proof(struct suspects *s)
{
    s->has_proof = false;
}

bool suspects_count(struct suspects *s, uint64_t no)
{
    for (size_t i = 0; i < s->row_count; i++)
        if (s->row[i] == no)
            return suspects_is_all(s);
    if (s->row_count < SUSPECTS_ROW)
        s->row[s->row_count++] = no;
    return suspects_is_all(s);
}

bool suspects_is_all(const struct suspects *s)
{
    return s->row_count >= SUSPECTS_ROW;
}

bool suspects_is_guilty(const struct suspects *s, const struct parcel *p, int64_t now_us)
{
    bool proven = s->has_proof && now_us - s->proof_us <= SUSPECTS_PROOF_US;

    return !suspects_is_all(s) && (proven || p->refusals >= SUSPECTS_TRIES);
}
