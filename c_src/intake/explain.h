/* explain.h - {explain, Id}: where one document is between the event log and Convex. */

/* Private to intake/. */

#ifndef EXPLAIN_H
#define EXPLAIN_H

#include "audit/drift.h"
#include "dist/dist.h"
#include "ground/base.h"

struct kind;
struct order;
struct order_context;
struct checkpoint;
struct round;

/* Where a pending document is; texts are borrowed. */
struct explain_place {
    const char *endpoint;   /* its state: "running", ... */
    const char *what, *why; /* a word, and the last fault; "": none */
    int64_t next_us;        /* wall clock: it is not sent before; 0: it may be sent */
    unsigned attempts;
};

typedef void explain_placed(void *told_arg, const struct explain_place *place);
typedef void explain_looked(void *told_arg, const struct drift_theirs *theirs,
                            const struct fault *fault);

/* Delivery and Convex are in other folders: sidecar.c connects them.  Any thread; they must not
 * wait, and call what they are given once, on any thread, or at once. */
struct explain_wires {
    void *arg;
    void (*place)(void *arg, uint64_t document, explain_placed *placed, void *told_arg);
    /* Any error: ${looked} is not called, ${fault} may say why. */
    enum err (*look)(void *arg, const struct kind *kind, struct slice id, explain_looked *looked,
                     void *told_arg, struct fault *fault);
};

/** explain_state(cp): "pending", "dead", "delivered" or "cleared". */
const char *explain_state(const struct checkpoint *cp);

/** explain_checkpoint(d, r): The order_work of {checkpoint, Id}: a summary of what the store knows.
 */
enum err explain_checkpoint(struct order *d, struct round *r);

/**
 * explain_take(w, orders, session, caller, id):
 * Answer ${caller} (taken) with what the store, delivery and Convex say of ${id}.  ${w} and
 * ${orders} are borrowed until then.
 */
void explain_take(const struct explain_wires *w, const struct order_context *orders,
                  struct dist_session *session, struct caller *caller, struct slice id);

#endif
