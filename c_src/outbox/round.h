/* round.h - what an intent may do inside a round, one write transaction of the store thread. */

/* Private to outbox/. */

#ifndef ROUND_H
#define ROUND_H

#include "ground/base.h"
#include "outbox/decide.h"
#include "store/kept.h"

struct document;

struct round; /* opaque: one write transaction of the store thread */

/*
 * An intent is a unit of work for the store thread.  The submitter embeds it at
 * the start of its own struct; the outbox owns it from submit until settled.
 *
 * apply    runs inside the round.  It may use the round_ functions below and
 *          must return what they returned.  An error concerns this intent alone,
 *          unless the store itself failed: that ends the round for all intents
 *          in it.  (ERR_STORE for one intent: a record of its document is damaged.)
 * settled  runs once, after the commit (or with the error), on the store thread:
 *          here the caller is answered.  ${why} is "" or a sentence.  The intent
 *          is the submitter's again.
 * is_gone  whether its caller is gone (then it is no longer held); NULL: never.
 */
struct intent {
    struct intent *next;
    enum err (*apply)(struct intent *, struct round *);
    void (*settled)(struct intent *, enum err, const char *why);
    bool (*is_gone)(const struct intent *);
    size_t cost_bytes;
    /* the outbox's own, from submit to settled (waiting.h says what held_ means) */
    struct intent *held_next;
    uint64_t held_no, held_revision, held_front;
    int64_t held_until_us;
    enum err applied;
};

/** round_fault(r): Why a round_ function has just returned ERR_INVALID. */
const struct fault *round_fault(const struct round *r);

/** round_now_us(r): One wall-clock time for the whole round. */
int64_t round_now_us(const struct round *r);

/**
 * round_checkpoint(r, id, cp):
 * What is known of document ${id}, including what this round has put.
 * ERR_NOT_FOUND: nothing; if ${cp}->document is not 0, there was a checkpoint, but damaged.
 * Slices in ${cp} are valid until the next round_ call.
 */
enum err round_checkpoint(struct round *r, struct slice id, struct checkpoint *cp) MUST_CHECK;

/** round_pending(r, cp, p): The version that is pending, of a ${cp} that has one; slices as above.
 * ERR_NOT_FOUND: it is damaged. */
enum err round_pending(struct round *r, const struct checkpoint *cp, struct pending *p) MUST_CHECK;

/* How a document is put; a bit set.  0: by the decision table alone. */
enum put_how {
    /* It may go below what is in Convex: where it would be skipped, it is written, with
     * DECIDE_CHECKPOINT_AHEAD as the reason. */
    PUT_RESET = 1,
    /* It is written, without a reason, even if it equals the standing version (DECIDE_IDEMPOTENT):
     * Convex replaces whatever it has. */
    PUT_FORCE = 2,
    /* In spite of PUT_RESET it is skipped when the standing version has a higher seq; the fold is
     * then left unchanged, too. */
    PUT_UNLESS_AHEAD = 4,
    /* It comes from an export: it is skipped unless it was projected later than every known version
     * of the document; its projected_at_us may be any. */
    PUT_UNLESS_NEWER = 8,
    /* It was not projected for a change of its own: it goes to the bulk lane. */
    PUT_CATCH_UP = 16,
    PUT_SWEEP = 32
};

/**
 * round_put(r, document, how, decision):
 * Decide, and keep ${document} if it is to be written (E1 -> E2 at the commit).
 * The fold is kept in any case except that of PUT_UNLESS_AHEAD.  ${how}: bits of enum put_how.
 * Its projected_at_us is later than the checkpoint's last_projected_us, except with
 * PUT_UNLESS_NEWER.
 * ERR_FULL: the limit is reached, nothing is kept.
 */
enum err round_put(struct round *r, const struct document *document, unsigned how,
                   struct decision *decision) MUST_CHECK;

/**
 * round_clear(r, id, kind):
 * Forget checkpoint and fold of ${id} and keep its removal from Convex as pending.
 * Works for ids the store does not know, too.  ERR_NOT_OWNED: an invalid id (empty,
 * or over 511 bytes).  ERR_INVALID: the removal could not be sent (gate.h): the id is not UTF-8, or
 * no time is left for it before the year 10000.
 */
enum err round_clear(struct round *r, struct slice id, struct slice kind) MUST_CHECK;

/**
 * round_doubt(r, id, above_us):
 * What was confirmed of ${id} is not what Convex has: from now on it is no reason to skip a
 * version, and the next one kept is written whatever Convex has, projected later than ${above_us}.
 * ERR_NOT_FOUND: unknown document.
 */
enum err round_doubt(struct round *r, struct slice id, int64_t above_us) MUST_CHECK;
/** round_evict(r, id, kind, above_us): round_clear, of a version projected at ${above_us}. */
enum err round_evict(struct round *r, struct slice id, struct slice kind,
                     int64_t above_us) MUST_CHECK;

/**
 * round_each_checkpoint(r, prefix, after, visit, arg):
 * Call ${visit} for checkpoints whose id begins with ${prefix} and sorts after
 * ${after} (empty: from the first), in byte order, until it returns false.  It may
 * use the other round_ functions; ${cp} is valid until it does.
 */
enum err round_each_checkpoint(struct round *r, struct slice prefix, struct slice after,
                               bool (*visit)(void *arg, struct slice id,
                                             const struct checkpoint *cp),
                               void *arg) MUST_CHECK;

/**
 * round_pending_at(r, no, p), round_each_pending(r, after, visit, arg):
 * The pending version with that number (ERR_NOT_FOUND: no longer pending); all that arrived after
 * ${after} (without its lane), in the order of arrival, until ${visit} returns false.
 */
enum err round_pending_at(struct round *r, uint64_t no, struct pending *p) MUST_CHECK;
enum err round_each_pending(struct round *r, uint64_t after,
                            bool (*visit)(void *arg, const struct pending *p),
                            void *arg) MUST_CHECK;
/** round_dead_get(r, id, d): The dead letter; slices are valid until the next round_ call. */
enum err round_dead_get(struct round *r, struct slice id, struct dead_letter *d) MUST_CHECK;
/** round_dead_each(r, after, visit, arg): Dead letters after that of the document ${after} (empty:
 * all), in the order in which their documents were first kept, until ${visit} returns false. */
enum err round_dead_each(struct round *r, struct slice after,
                         bool (*visit)(void *arg, const struct dead_letter *d),
                         void *arg) MUST_CHECK;
/**
 * round_dead_retry(r, id):
 * The version in the letter becomes a new one, projected now; the letter stays until that is done.
 * If a version is pending already, that one is newer, and the letter is removed.  ERR_INVALID: it
 * cannot be sent.  ERR_FULL: the limit is reached.
 */
enum err round_dead_retry(struct round *r, struct slice id) MUST_CHECK;
/** round_dead_drop(r, id): Remove the letter, and a pending version that was to heal it. */
enum err round_dead_drop(struct round *r, struct slice id) MUST_CHECK;
/** round_dead_next_us(r, d): When it is retried automatically (wall clock); 0: never, since the
 * functions that answer are unknown or not ours. */
int64_t round_dead_next_us(const struct round *r, const struct dead_letter *d);

/** round_may_hold(r): Whether one more intent can be held. */
bool round_may_hold(const struct round *r);
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

#endif
