/* kept.h - what the store keeps: the types that all modules around the outbox share. */

#ifndef KEPT_H
#define KEPT_H

#include "ground/base.h"

enum outbox_op {
    OUTBOX_UPSERT,
    OUTBOX_REMOVE /* clear: the document is removed, a tombstone stays */
};

/* Why a version was kept. */
#define OUTBOX_ORIGIN_LIST(X)                                                                      \
    X(ORIGIN_LIVE, "live")                                                                         \
    X(ORIGIN_REBUILD, "rebuild")                                                                   \
    X(ORIGIN_CATCH_UP, "catch_up")                                                                 \
    X(ORIGIN_SWEEP, "sweep")                                                                       \
    X(ORIGIN_REPAIR, "repair")                                                                     \
    X(ORIGIN_HEALED, "healed")                                                                     \
    X(ORIGIN_IMPORT, "import")

enum outbox_origin {
#define X(name, text) name,
    OUTBOX_ORIGIN_LIST(X)
#undef X
        ORIGIN_COUNT
};

/** outbox_origin_text(o): Its word; static storage. */
const char *outbox_origin_text(enum outbox_origin o);

/*
 * The number of a pending version is its arrival, which rises with each one, and its lane: live
 * versions have LANE_LIVE added, so that each lane is a range in order of arrival.
 */
#define LANE_LIVE ((uint64_t)1 << 62)

static inline uint64_t lane_of(enum outbox_origin o)
{
    return o == ORIGIN_LIVE ? LANE_LIVE : 0;
}

static inline uint64_t lane_arrival(uint64_t no)
{
    return no & (LANE_LIVE - 1);
}

/* One version of a document as the store knows it.  Slices borrow the round or reader. */
struct outbox_version {
    enum outbox_op op;
    bool reset; /* may go below what is in Convex: ordered by projected_at alone */
    int64_t seq, event_count, projected_at_us;
    uint8_t hash[32];
    struct slice version; /* projection_version */
    uint64_t revision;    /* rises with each kept version of any document */
};

struct checkpoint {
    uint64_t document; /* the number of its id; 0: unknown */
    bool has_pending, has_delivered, is_dead;
    uint64_t pending_no; /* 0: nothing pending */
    struct outbox_version pending, delivered;
    uint64_t delivered_mark; /* the mark in the answer of its call; 0: from before marks */
    struct slice kind;
    struct slice fold, recent; /* opaque here: what projection_finish gave last */
    int64_t last_projected_us; /* of the newest version ever kept, clears included */
};
/* After a confirmed removal the checkpoint stays, with neither pending nor delivered and without
 * fold: the next version must still be later than last_projected_us. */

/* A dead letter: the version that Convex refused, why, and how often it was tried. */
struct dead_letter {
    uint64_t document;
    struct slice id, kind, json, why, answer;
    struct outbox_version version;
    uint32_t attempts, tries; /* calls; healings so far */
    int64_t died_at_us, next_try_us;
    unsigned functions;      /* that refused it; 0: unknown */
    struct slice deployment; /* "": unknown */
    struct slice tail;       /* optional members, record.h */
};

/* A kept version, ready to be sent.  Slices borrow the reader until outbox_release. */
struct pending {
    uint64_t no, document;
    struct slice id, kind, json; /* json is empty for OUTBOX_REMOVE */
    struct outbox_version version;
    int64_t kept_at_us;
    enum outbox_origin origin;
    uint32_t attempts;   /* of a document that failed alone; 0: none worth keeping */
    int64_t next_try_us; /* wall clock; 0: at once */
    bool has_moved;      /* to the end of the live lane, at most once */
    /* It replaces its checkpoint while that has an earlier last_projected_us, with these.
     */
    bool is_ahead;
    struct slice fold, recent;
    struct slice tail; /* optional members, record.h */
};

/* What the other side did with a version that is done. */
enum outbox_outcome {
    OUTCOME_UNSAID,
    OUTCOME_INSERTED, /* it had none */
    OUTCOME_UPDATED,
    OUTCOME_UNCHANGED, /* it had this version */
    OUTCOME_STALE,     /* it has a newer one */
    OUTCOME_REMOVED
};

/* A verdict on its way to disk (E4).  Made by dispatch, taken by outbox_settle. */
struct settlement {
    struct settlement *next;
    uint64_t no, document, revision; /* of the version that was sent */
    struct outbox_version sent;
    struct slice kind;
    const char *id; /* terminated; in texts */
    size_t id_len;
    bool dead;  /* refused: becomes a dead letter, with why and answer */
    bool later; /* no verdict: it stays, with attempts and next_try_us */
    uint32_t attempts;
    int64_t next_try_us;         /* wall clock */
    enum outbox_outcome outcome; /* of one that is not dead */
    uint64_t mark;               /* the mark in the answer of its call; 0: none */
    int64_t answered_us;         /* wall clock; set when outbox_settle takes it */
    char *why;                   /* heap or NULL, terminated: why it is dead */
    char *answer;                /* heap or NULL, terminated: what the sink said, cut to 4 KiB */
    char texts[];                /* the id, then the texts that kind and sent.version point to */
};

/** settlement_new(p), settlement_free(s): A settlement of ${p}, done unless marked dead or later.
 */
struct settlement *settlement_new(const struct pending *p);
void settlement_free(struct settlement *s);

#endif
