/*
 * suspects.c - a document was refused: is it the document's fault, or is everything refused?
 *
 * Convex answers "this document is wrong" and "nothing is deployed here" in the
 * same way (HTTP 200, status error), so one refusal alone proves nothing.
 *
 * The rules: another document was done within the last minute - the refused one
 * is at fault.  Nothing was - it waits as a suspect, and the others are tried:
 * one of them is done - the suspect is sent once more, and now there is proof;
 * eight of them in a row are refused - everything is, a configuration fault.
 * Nothing else is there to be tried - three refusals are enough.
 *
 * Pure: no clock, no I/O.  Runs on the delivery thread only.
 */

#include "suspects.h"

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
