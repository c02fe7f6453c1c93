/* outbox.h - the promise: what is put here and committed will be delivered. */

#ifndef OUTBOX_H
#define OUTBOX_H

#include "ground/base.h"
#include "outbox/destination.h"
#include "outbox/doubtful.h"
#include "outbox/letters.h"
#include "outbox/reader.h"
#include "outbox/round.h"
#include "store/kept.h"
#include "store/kept_for.h"
#include "store/migrate.h"

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
 *   3. checkpoint.delivered is the newest version that the sink has confirmed.
 *   4. projected_at rises strictly from one kept version of a document to the next.
 *   5. A version leaves `pending` only as done (E5), as dead (E6) or for a newer one.
 */

struct outbox; /* opaque */

struct outbox_options {
    const char *dir;                /* made when absent, mode 0700 */
    const char *sink;               /* its type, for which documents are kept; NULL: not recorded */
    const char *const *sinks;       /* all types, for kept_for_check */
    struct migrate_wires migrating; /* progress of a migration from an older format */
    uint64_t limit_bytes;           /* of pending and dead JSON together; intake is refused above */
    uint64_t dead_limit;            /* dead letters at most */
    size_t queue_count;             /* intents that may wait for the store thread */
    size_t queue_bytes;             /* and their cost together */
    void (*on_work)(void *); /* called on the store thread after a commit that brought work */
    void *on_work_arg;
    void (*after_settled)(void *); /* called on the store thread when it has settled what it could,
                                      so that the answers are sent together; NULL: not wanted */
    void *after_settled_arg;
    bool is_hasty; /* verdicts are not batched: for tests */
};

/**
 * outbox_open(options, o, fault):
 * Open or make the store and start its thread.  ERR_STORE: ${fault} says why
 * (another process has it, newer format, no space, no permission).
 */
enum err outbox_open(const struct outbox_options *options, struct outbox **o,
                     struct fault *fault) MUST_CHECK;

/**
 * outbox_is_well(o), outbox_pending(o), outbox_checkpoints(o):
 * Whether the last round was committed; how many documents are pending and how many are known, as
 * of the last commit.  Any thread; they never wait.
 */
bool outbox_is_well(const struct outbox *o);
/** outbox_why_ill(o, why): Why the last round was not committed; "" when it was.  Any thread. */
#define OUTBOX_WHY_BYTES 200
void outbox_why_ill(struct outbox *o, char why[OUTBOX_WHY_BYTES]);
uint64_t outbox_pending(const struct outbox *o);
uint64_t outbox_checkpoints(const struct outbox *o);

/**
 * outbox_take_moved(o):
 * The lowest number that moved from the bulk lane to the live one since the last call (a live
 * version of a document pending there keeps its arrival); 0: none.  A walk of the live lane may
 * have passed it already.
 */
uint64_t outbox_take_moved(struct outbox *o);
/** outbox_contradictions(o): How many answers contradicted what was believed to be in Convex.
 * Any thread. */
uint64_t outbox_contradictions(const struct outbox *o);

/**
 * outbox_destination(o, known), outbox_destination_revision(o):
 * The destination of the store, as of the last commit; the revision rises with each change.  Any
 * thread.
 */
void outbox_destination(struct outbox *o, struct destination_known *known);
uint64_t outbox_destination_revision(const struct outbox *o);
/** outbox_change_destination(o, c): Record ${c} as soon as the store can; the revision then rises.
 * A failure is not reported.  Any thread. */
void outbox_change_destination(struct outbox *o, const struct destination_change *c);
/** outbox_doubtful(o, count): How many confirmed documents are in doubt.  Any thread. */
void outbox_doubtful(struct outbox *o, struct doubtful_count *count);

/** outbox_kept_for(o): What kept_for_check said of the store and the sink; borrowed. */
const struct kept_for *outbox_kept_for(const struct outbox *o);

/**
 * outbox_stop(o):
 * Commit what was submitted, settle every intent (held ones with ERR_DRAINING), end the thread.
 * From then on outbox_submit answers ERR_DRAINING.  The owner's thread only; NULL is harmless.
 */
void outbox_stop(struct outbox *o);
/** outbox_close(o): Stop, unless stopped already, and close the store.  NULL is harmless. */
void outbox_close(struct outbox *o);

/* ---- the intake side ------------------------------------------------------ */

/**
 * outbox_submit(o, first, count, cost_bytes):
 * Hand over a chain of ${count} intents (linked by next), kept or refused
 * together.  E1: nothing is promised before settled(ERR_OK).  ERR_BUSY: the queue
 * is full, nothing was taken; an empty queue takes a chain of any length.
 * ${cost_bytes} is the sum of theirs.  ERR_DRAINING after outbox_close began.
 * Any thread; never waits for disk.
 */
enum err outbox_submit(struct outbox *o, struct intent *first, size_t count,
                       size_t cost_bytes) MUST_CHECK;

/** outbox_gone(o): Some caller may be gone: held intents whose is_gone returns true are settled
 * soon.  Any thread. */
void outbox_gone(struct outbox *o);

/** outbox_letters_open(o): The dead letters, for another thread to read. */
struct letters *outbox_letters_open(struct outbox *o);

/* ---- the delivery side ---------------------------------------------------- */

/** outbox_reader_open(o): A view of what is committed; reader.h says what can be read. */
struct outbox_reader *outbox_reader_open(struct outbox *o);

/**
 * outbox_settle(o, first):
 * Take a chain of verdicts and put them on disk with the next round (E4 -> E5 or
 * E6).  Returns a ticket.  Never refuses, never waits: the sender bounds how much
 * it has in flight.  While the store fails they are kept and tried again.
 * If the version was replaced meanwhile, the newer one stays pending.
 */
uint64_t outbox_settle(struct outbox *o, struct settlement *first);
/**
 * outbox_peer(o, functions, deployment), outbox_well(o, kind):
 * What dead letters wait for: who answers now (as in struct sink_peer), and that ${kind} (empty:
 * the endpoint) has recovered.  Any thread.
 */
void outbox_peer(struct outbox *o, unsigned functions, const char *deployment);
void outbox_well(struct outbox *o, struct slice kind);
/** outbox_is_settled(o, ticket): Whether those verdicts are committed. */
bool outbox_is_settled(struct outbox *o, uint64_t ticket);

#endif
