/*
 * decide.c - write or skip, as a pure function.
 *
 * The happy path: the incoming version is newer than the standing one, so it is
 * written.  The standing version is the pending one, or, if none is pending, the
 * one delivered last.
 *
 * Nothing can go wrong here: no memory, no I/O, no clock.  The order of the
 * tests is that of the table in docs/DESIGN.md, "Write or skip".  A version is compared
 * before a hash, since another projection_version nearly always means another
 * hash as well and is the better reason to give.  Runs on any thread.
 */

#include "outbox/decide.h"

static struct decision skip(enum decide_reason reason)
{
    return (struct decision){.write = false, .reason = reason};
}

struct decision decide(const struct outbox_version *standing, const struct outbox_version *incoming)
{
    struct decision write = {.write = true};

    if (standing == NULL) {
        write.lag_events = incoming->seq;
        return write;
    }
    if (standing->seq > incoming->seq)
        return skip(DECIDE_CHECKPOINT_AHEAD);
    if (standing->seq < incoming->seq) {
        write.lag_events = incoming->seq - standing->seq;
        return write;
    }
    if (!slice_eq(standing->version, incoming->version)) {
        write.reason = DECIDE_PROJECTION_VERSION_CHANGED;
        return write;
    }
    if (memcmp(standing->hash, incoming->hash, sizeof incoming->hash) != 0) {
        write.reason = DECIDE_SUMMARY_HASH_MISMATCH;
        return write;
    }
    return skip(DECIDE_IDEMPOTENT);
}

const char *decide_reason_text(enum decide_reason r)
{
    switch (r) {
#define X(name, text)                                                                              \
    case name:                                                                                     \
        return text;
        DECIDE_REASON_LIST(X)
#undef X
    }
    return NULL;
}
