/* look.h - a piece of work inside a round of the store, which the caller waits for. */

/* Private to audit/. */

#ifndef LOOK_H
#define LOOK_H

#include "outbox/outbox.h"

/** What runs in the round: may use the round_ functions, returns what they returned. */
typedef enum err look_work(void *arg, struct round *r);

/**
 * look_at(o, work, arg, fault):
 * Have the store thread run ${work} in a round, and wait until that is committed.  ERR_BUSY: the
 * queue is full, try later; any other error: ${fault}->why says it, nothing of ${work} was kept.
 * Never on the store thread itself.
 */
enum err look_at(struct outbox *o, look_work *work, void *arg, struct fault *fault) MUST_CHECK;

#endif
