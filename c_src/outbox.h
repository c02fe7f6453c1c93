/* outbox.h - the promise: what is put here and committed will be delivered. */

#ifndef OUTBOX_H
#define OUTBOX_H

#include "base.h"
#include "decide.h"

/*
 * States of a document version (docs/DESIGN.md, "The promise"):
 *   E1 received   in an intent, nothing promised
 *   E2 kept       committed in `pending`; the caller is told
 *   E3 sent       given to the sink
 *   E4 answered   the sink has given a verdict; a settlement is queued
 *   E5 done       gone from `pending`, the checkpoint says so
 *   E6 dead       in the dead letters, with the reason
 *
 * Invariants, after each committed round:
 *   1. A document has at most one pending version, the newest kept one.
 *   2. A pending version has an arrival number; numbers only rise; a version that
 *      takes the place of a pending one takes its number and a new revision.
 *   3. checkpoint.delivered is a version the sink has confirmed, none newer was.
 *   4. projected_at rises strictly from one kept version of a document to the next.
 *   5. Nothing leaves `pending` but by done (E5), dead (E6) or a newer version.
 */

struct outbox; /* opaque */
struct document;
struct store_options;

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

struct outbox_options {
    const char *dir;         /* made when absent, mode 0700 */
    uint64_t limit_bytes;    /* of pending and dead JSON together; intake is refused above */
    uint64_t dead_limit;     /* dead letters at most */
    size_t queue_count;      /* intents that may wait for the store thread */
    size_t queue_bytes;      /* and their cost together */
    void (*on_work)(void *); /* called on the store thread after a commit that brought work */
    void *on_work_arg;
    void (*before_settled)(void); /* both on the store thread, around all the settled of a round: */
    void (*after_settled)(void);  /* so that their answers can leave together; NULL: not wanted */
};

/**
 * outbox_open(options, o, fault):
 * Open or make the store and start its thread.  ERR_STORE: ${fault} says why
 * (another process has it, newer format, no space, no permission).
 */
enum err outbox_open(const struct outbox_options *options, struct outbox **o,
                     struct fault *fault) MUST_CHECK;

/**
 * outbox_stop(o):
 * Commit what was submitted, settle every intent (held ones with ERR_DRAINING), end the thread.
 * From then on outbox_submit answers ERR_DRAINING.  The owner's thread only; NULL is harmless.
 */
void outbox_stop(struct outbox *o);
/** outbox_close(o): Stop, if it is not yet, and close the store.  NULL is harmless. */
void outbox_close(struct outbox *o);

/* ---- the intake side ------------------------------------------------------ */

struct round; /* opaque: one write transaction of the store thread */

/*
 * An intent is a piece of work for the store thread.  The submitter embeds it at
 * the start of its own struct; the outbox owns it from submit until settled.
 *
 * apply    runs inside the round.  It may use the round_ functions below and
 *          must return what they returned.  An error concerns this intent alone,
 *          but when the store itself failed: that ends the round and all intents
 *          in it.  (ERR_STORE for one intent: a record of its document is damaged.)
 * settled  runs once, after the commit (or with the error), on the store thread:
 *          here the caller is answered.  ${why} is "" or a sentence.  The intent
 *          is the submitter's again.
 */
struct intent {
    struct intent *next;
    enum err (*apply)(struct intent *, struct round *);
    void (*settled)(struct intent *, enum err, const char *why);
    size_t cost_bytes;
    /* the outbox's own, from submit to settled (waiting.h says what held_ means) */
    struct intent *held_next;
    uint64_t held_no, held_revision, held_front;
    int64_t held_until_us;
    enum err applied;
};

/**
 * outbox_submit(o, first, count, cost_bytes):
 * Hand over a chain of ${count} intents (linked by next), kept or refused
 * together.  E1: nothing is promised before settled(ERR_OK).  ERR_BUSY: the queue
 * is full, nothing was taken; while nothing waits, a chain of any length is taken.
 * ${cost_bytes} is the sum of theirs.  ERR_DRAINING after outbox_close began.
 * Any thread; never waits for disk.
 */
enum err outbox_submit(struct outbox *o, struct intent *first, size_t count,
                       size_t cost_bytes) MUST_CHECK;

/** round_now_us(r): One wall-clock time for the whole round. */
int64_t round_now_us(const struct round *r);

/**
 * round_checkpoint(r, id, cp):
 * What is known of document ${id}, including what this round has put.
 * ERR_NOT_FOUND: nothing.  Slices in ${cp} are good until the next round_ call.
 */
enum err round_checkpoint(struct round *r, struct slice id, struct checkpoint *cp) MUST_CHECK;

/* How a document is put, or'ed together; 0: by the decision table alone. */
enum put_how {
    /* It may go below what stands in Convex: it is written, with DECIDE_CHECKPOINT_AHEAD as the
     * reason, where it would be skipped. */
    PUT_RESET = 1,
    /* It is written, without a reason, even if it is what stands (DECIDE_IDEMPOTENT): Convex
     * replaces whatever it has instead. */
    PUT_FORCE = 2,
    /* In spite of PUT_RESET it is skipped when what stands has a higher seq; the fold stays as it
     * is, too. */
    PUT_UNLESS_AHEAD = 4
};

/**
 * round_put(r, document, how, decision):
 * Decide, and keep ${document} if it is to be written (E1 -> E2 at the commit).
 * The fold is kept in any case but that of PUT_UNLESS_AHEAD.  ${how}: words of enum put_how.
 * Its projected_at_us is later than the checkpoint's last_projected_us.  ERR_FULL: the limit is
 * reached, nothing is kept.
 */
enum err round_put(struct round *r, const struct document *document, unsigned how,
                   struct decision *decision) MUST_CHECK;

/**
 * round_clear(r, id, kind):
 * Forget checkpoint and fold of ${id} and keep its removal from Convex as pending.
 * Works for ids the store does not know, too.  ERR_NOT_OWNED: no id (empty, or
 * over 511 bytes).
 */
enum err round_clear(struct round *r, struct slice id, struct slice kind) MUST_CHECK;

/**
 * round_doubt(r, id, above_us):
 * What was confirmed of ${id} is not what stands in Convex: from now on it is no reason to skip a
 * version, and the next one kept is written whatever stands there, projected later than
 * ${above_us}.  ERR_NOT_FOUND: the store does not know it.
 */
enum err round_doubt(struct round *r, struct slice id, int64_t above_us) MUST_CHECK;
/** round_evict(r, id, kind, above_us): round_clear, of a version projected at ${above_us}. */
enum err round_evict(struct round *r, struct slice id, struct slice kind,
                     int64_t above_us) MUST_CHECK;

/**
 * round_each_checkpoint(r, prefix, after, visit, arg):
 * Call ${visit} for checkpoints whose id begins with ${prefix} and sorts behind
 * ${after} (empty: from the first), in byte order, until it returns false.  It may
 * use the other round_ functions; ${cp} is good until it does.
 */
enum err round_each_checkpoint(struct round *r, struct slice prefix, struct slice after,
                               bool (*visit)(void *arg, struct slice id,
                                             const struct checkpoint *cp),
                               void *arg) MUST_CHECK;

/* A dead letter: the version Convex refused, why, and how often it was tried. */
struct dead_letter {
    struct slice id, kind, json, why, answer;
    struct outbox_version version;
    uint32_t attempts;
    int64_t died_at_us;
};

/** round_dead_get(r, id, d): Slices are good until the next round_ call. */
enum err round_dead_get(struct round *r, struct slice id, struct dead_letter *d) MUST_CHECK;
/** round_dead_each(r, after, visit, arg): Dead letters behind ${after}, by id, until false. */
enum err round_dead_each(struct round *r, struct slice after,
                         bool (*visit)(void *arg, const struct dead_letter *d),
                         void *arg) MUST_CHECK;
/**
 * round_dead_retry(r, id):
 * E6 -> E2, with a new arrival number.  A version pending already is newer and
 * stays instead; the dead letter goes then, too.
 */
enum err round_dead_retry(struct round *r, struct slice id) MUST_CHECK;
enum err round_dead_drop(struct round *r, struct slice id) MUST_CHECK;

/**
 * round_hold_written(r, intent, id, until_us):
 * Settle ${intent} only when the version of ${id} that is pending now, or a newer
 * one, is delivered (ERR_OK), refused (ERR_SINK and the reason), or the monotonic
 * time ${until_us} is reached (ERR_SINK "timeout").  Nothing pending: at the commit.
 * ERR_BUSY: too many intents are held.
 */
enum err round_hold_written(struct round *r, struct intent *intent, struct slice id,
                            int64_t until_us) MUST_CHECK;
/** round_hold_flushed(r, intent, until_us): As above, for everything pending now. */
enum err round_hold_flushed(struct round *r, struct intent *intent, int64_t until_us) MUST_CHECK;

/* ---- the delivery side ---------------------------------------------------- */

/* A kept version, ready to be sent.  Slices borrow the reader until outbox_release. */
struct pending {
    uint64_t no;
    struct slice id, kind, json; /* json is empty for OUTBOX_REMOVE */
    struct outbox_version version;
    int64_t kept_at_us;
};

struct outbox_reader; /* opaque: a view of the committed state; one thread at a time */

struct outbox_reader *outbox_reader_open(struct outbox *o);
void outbox_reader_close(struct outbox_reader *r);
/** outbox_next(r, after, p): The pending version with the smallest number > ${after}, if any. */
bool outbox_next(struct outbox_reader *r, uint64_t after, struct pending *p);
/**
 * outbox_get(r, no, p):
 * The pending version with number ${no}.  ERR_NOT_FOUND: it is pending no more.  ERR_STORE: the
 * store cannot be read now (it is being opened again); nothing is known of it, ask again later.
 */
enum err outbox_get(struct outbox_reader *r, uint64_t no, struct pending *p) MUST_CHECK;
/** outbox_release(r): Let go of the view; the next call sees what is committed then. */
void outbox_release(struct outbox_reader *r);

/* A verdict on its way to disk (E4).  Made by dispatch, taken by outbox_settle. */
struct settlement {
    struct settlement *next;
    uint64_t no, revision; /* of the version that was sent */
    struct outbox_version sent;
    char version_text[64]; /* sent.version points here */
    char *id;              /* heap, terminated; freed with the settlement */
    size_t id_len;
    bool dead; /* refused: to the dead letters, with why and answer */
    uint32_t attempts;
    char why[256]; /* cut to 255 bytes of text; terminated */
    char *answer;  /* heap or NULL, terminated: what the sink said, cut to 4 KiB */
};

struct settlement *settlement_new(const struct pending *p);
void settlement_free(struct settlement *s);

/**
 * outbox_settle(o, first):
 * Take a chain of verdicts and put them on disk with the next round (E4 -> E5 or
 * E6).  Returns a ticket.  Never refuses, never waits: the sender bounds how much
 * it has in flight.  While the store fails they are kept and tried again.
 * A version that was replaced meanwhile leaves the newer one pending.
 */
uint64_t outbox_settle(struct outbox *o, struct settlement *first);
/** outbox_is_settled(o, ticket): Whether those verdicts are committed. */
bool outbox_is_settled(struct outbox *o, uint64_t ticket);

#endif
