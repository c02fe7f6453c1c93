/* kept.h - what the store keeps, in the words all rooms around the outbox share. */

#ifndef KEPT_H
#define KEPT_H

#include "ground/base.h"

enum outbox_op {
    OUTBOX_UPSERT,
    OUTBOX_REMOVE /* clear: the document goes, a tombstone stays */
};

/* One version of a document as the store knows it.  Slices borrow the round or reader. */
struct outbox_version {
    enum outbox_op op;
    bool reset; /* may go below what stands in Convex: ordered by projected_at alone */
    int64_t seq, event_count, projected_at_us;
    uint8_t hash[32];
    struct slice version; /* projection_version */
    uint64_t revision;    /* rises with each kept version of any document */
};

struct checkpoint {
    bool has_pending, has_delivered, is_dead;
    uint64_t pending_no; /* arrival number; 0: nothing pending */
    struct outbox_version pending, delivered;
    struct slice kind;
    struct slice fold;         /* opaque here: what projection_finish gave last */
    int64_t last_projected_us; /* of the newest version ever kept, clears included */
};
/* A document that was cleared, and the removal confirmed, keeps a checkpoint with neither pending
 * nor delivered, without fold: what is kept next must still be later than last_projected_us. */

/* A dead letter: the version Convex refused, why, and how often it was tried. */
struct dead_letter {
    struct slice id, kind, json, why, answer;
    struct outbox_version version;
    uint32_t attempts;
    int64_t died_at_us;
};

/* A kept version, ready to be sent.  Slices borrow the reader until outbox_release. */
struct pending {
    uint64_t no;
    struct slice id, kind, json; /* json is empty for OUTBOX_REMOVE */
    struct outbox_version version;
    int64_t kept_at_us;
};

/* A verdict on its way to disk (E4).  Made by dispatch, taken by outbox_settle. */
struct settlement {
    struct settlement *next;
    uint64_t no, revision; /* of the version that was sent */
    struct outbox_version sent;
    const char *id; /* terminated; in texts */
    size_t id_len;
    bool dead; /* refused: to the dead letters, with why and answer */
    uint32_t attempts;
    char *why;    /* heap or NULL, terminated: why it is dead */
    char *answer; /* heap or NULL, terminated: what the sink said, cut to 4 KiB */
    char texts[]; /* the id, and behind it what sent.version points to */
};

/** settlement_new(p), settlement_free(s): One of ${p}, done until it is marked dead. */
struct settlement *settlement_new(const struct pending *p);
void settlement_free(struct settlement *s);

#endif
