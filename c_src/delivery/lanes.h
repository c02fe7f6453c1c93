/* lanes.h - in which order pending documents are met: the newest changes, and the oldest. */

/* Private to delivery/. */

#ifndef LANES_H
#define LANES_H

#include "ground/base.h"
#include "outbox/outbox.h"

#define LANES_FRESH_US 1000000 /* what was kept longer ago is the old cursor's */

/*
 * Two cursors over the pending documents.  Fresh walks the newest end: when what it meets was kept
 * too long ago it jumps to the end, and what it leaps over is old's.  Old walks from the lowest
 * number and never beyond fresh; when it has caught up the two are one.
 */
struct lanes {
    struct outbox_reader *reader;
    uint64_t fresh, old;
};

/** lanes_fresh(l, wall_us, p), lanes_old(l, p): The next one; false: there is none.  ${p} borrows
 * the reader. */
bool lanes_fresh(struct lanes *l, int64_t wall_us, struct pending *p);
bool lanes_old(struct lanes *l, struct pending *p);
/** lanes_rewind(l, no): Old goes back to ${no}, which it has passed over. */
void lanes_rewind(struct lanes *l, uint64_t no);

#endif
