/* doubts.h - documents whose two sides differ, or did a moment ago: the second check of an audit.
 */

/* Private to audit/. */

#ifndef DOUBTS_H
#define DOUBTS_H

#include "audit/digests.h"
#include "audit/drift.h"

struct doubts; /* opaque; one thread */
struct checkpoint;
struct kind;
struct outbox;

/**
 * doubts_new(o, digests, repair):
 * An empty list.  Both are borrowed; ${digests} is used for nothing else meanwhile.  With
 * ${repair} findings are repaired as they are confirmed.
 */
struct doubts *doubts_new(struct outbox *o, struct digests *digests, bool repair);
/** doubts_free(d): NULL is harmless. */
void doubts_free(struct doubts *d);

/** doubts_begin(d, kind): What is added from now on is of ${kind}; PRE: the list is empty. */
void doubts_begin(struct doubts *d, const struct kind *kind);
/**
 * doubts_add(d, id, before, checked):
 * Doubt ${id}; ${before} is the last id before it that is judged, ${checked} how many were compared
 * up to there.  False: the list is full now, and has to be settled before the next.
 */
bool doubts_add(struct doubts *d, struct slice id, struct slice before, uint64_t checked);
/**
 * doubts_settle(d, report, fault):
 * Check all of them again, by id, until each is judged or has been on its way for too long, and
 * put the findings into ${report}.  ERR_CLOSED: woken, or the list of a repair is full; any other
 * error: Convex or the store failed.  ${fault}->why is a sentence; the rest stays in the list.
 */
enum err doubts_settle(struct doubts *d, struct drift_report *report,
                       struct fault *fault) MUST_CHECK;
/** doubts_safe(d, id, checked): Whether some are not judged; then all ${checked} up to ${id} are.
 */
bool doubts_safe(const struct doubts *d, struct slice *id, uint64_t *checked);

/** doubts_ours(cp): A checkpoint as the merge takes it, without an id. */
struct drift_ours doubts_ours(const struct checkpoint *cp);

#endif
