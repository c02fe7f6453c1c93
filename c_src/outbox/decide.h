/* decide.h - write or skip: the decision table, a pure function. */

#ifndef DECIDE_H
#define DECIDE_H

#include "store/kept.h"

/* The reasons for a decision, in the words of the runtime's checkpoint table, and one of our own.
 */
#define DECIDE_REASON_LIST(X)                                                                      \
    X(DECIDE_NO_REASON, NULL)                                                                      \
    X(DECIDE_CHECKPOINT_AHEAD, "checkpoint_ahead")                                                 \
    X(DECIDE_IDEMPOTENT, "idempotent")                                                             \
    X(DECIDE_SUMMARY_HASH_MISMATCH, "summary_hash_mismatch")                                       \
    X(DECIDE_PROJECTION_VERSION_CHANGED, "projection_version_changed")                             \
    X(DECIDE_DEAD, "dead") /* set by round_put: the same version is a dead letter */

enum decide_reason {
#define X(name, text) name,
    DECIDE_REASON_LIST(X)
#undef X
};

struct decision {
    bool write;                /* else skip */
    bool coalesced;            /* written in place of a pending version; set by round_put */
    enum decide_reason reason; /* why it is skipped, or the drift for which it is written */
    int64_t lag_events;        /* how far the incoming version is ahead of the standing one */
};

/** decide(standing, incoming): What to do with ${incoming}, given ${standing} (NULL: none). */
struct decision decide(const struct outbox_version *standing,
                       const struct outbox_version *incoming);

/** decide_reason_text(r): The reason's word, NULL for DECIDE_NO_REASON; static storage. */
const char *decide_reason_text(enum decide_reason r);

#endif
