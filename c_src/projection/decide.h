/* decide.h - write or skip: the decision table, a pure function. */

#ifndef DECIDE_H
#define DECIDE_H

#include "ground/base.h"

/* One version of a document, as far as a decision looks at it. */
struct version {
    int64_t seq;
    uint8_t hash[32];     /* SHA-256 of the canonical form without projected_at, projection_hash */
    struct slice version; /* projection_version */
};

/* The reasons a decision gives, in the words of the runtime (reference: its checkpoint table). */
#define DECIDE_REASON_LIST(X)                                                                      \
    X(DECIDE_NO_REASON, NULL, false)                                                               \
    X(DECIDE_CHECKPOINT_AHEAD, "checkpoint_ahead", true)                                           \
    X(DECIDE_IDEMPOTENT, "idempotent", false)                                                      \
    X(DECIDE_SUMMARY_HASH_MISMATCH, "summary_hash_mismatch", true)                                 \
    X(DECIDE_PROJECTION_VERSION_CHANGED, "projection_version_changed", true)

enum decide_reason {
#define X(name, text, drift) name,
    DECIDE_REASON_LIST(X)
#undef X
};

struct decision {
    bool write;                /* else skip */
    bool coalesced;            /* write, in the place of a version still pending */
    enum decide_reason reason; /* why it is skipped, or which drift makes it written */
    int64_t lag_events;        /* how far the incoming version is ahead of what stands */
};

/**
 * decide(pending, checkpoint, incoming):
 * What to do with ${incoming}, given the version still waiting to be delivered
 * (${pending}, NULL for none) and the one delivered (${checkpoint}, NULL for
 * none).  The newer of the two counts: ${pending} when there is one.
 */
struct decision decide(const struct version *pending, const struct version *checkpoint,
                       const struct version *incoming);

/** decide_reason_text(r): The reason's word, NULL for DECIDE_NO_REASON; static storage. */
const char *decide_reason_text(enum decide_reason r);

#endif
