/* cursors.h - in which order pending documents are met: the newest changes, and the oldest. */

/* Private to delivery/. */

#ifndef CURSORS_H
#define CURSORS_H

#include "ground/base.h"
#include "outbox/outbox.h"

#define CURSORS_FRESH_US 1000000 /* what was kept longer ago is the old cursor's */

/*
 * Two cursors over the pending documents.  Fresh walks the newest end: when what it meets was kept
 * too long ago it jumps to the end, and what it leaps over is old's.  Old walks from the lowest
 * number and never beyond fresh; when it has caught up the two are one.
 */
struct cursors {
    struct outbox_reader *reader;
    uint64_t fresh, old;
};

/** cursors_fresh(l, wall_us, p), cursors_old(l, p): The next one; false: there is none.  ${p}
 * borrows the reader. */
bool cursors_fresh(struct cursors *l, int64_t wall_us, struct pending *p);
bool cursors_old(struct cursors *l, struct pending *p);
/** cursors_rewind(l, no): Old goes back to ${no}, which it has passed over. */
void cursors_rewind(struct cursors *l, uint64_t no);

#endif
