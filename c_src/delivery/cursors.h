/* cursors.h - in which order pending documents are met: the newest changes, and the oldest. */

/* Private to delivery/. */

#ifndef CURSORS_H
#define CURSORS_H

#include "ground/base.h"
#include "outbox/outbox.h"

#define CURSORS_FRESH_US 1000000 /* what was kept longer ago is the old cursor's */

/*
 * Three cursors over the pending documents.  Fresh walks the newest end of the live lane: when
 * what it meets was kept too long ago, and more lies there than is sent soon, it jumps to the end,
 * and leaves what it skips to old.  Old walks from the lowest number and never beyond fresh; when
 * it has caught up the two are one.  Bulk walks the bulk lane.
 */
enum cursor { CURSOR_FRESH, CURSOR_OLD, CURSOR_BULK, CURSORS };

struct cursors {
    struct outbox_reader *reader;
    uint64_t fresh, old, bulk;
    uint64_t soon; /* documents that are sent within a second; set by the caller */
};

/** cursors_init(c, reader): At the beginning of both lanes; ${reader} is borrowed. */
void cursors_init(struct cursors *c, struct outbox_reader *reader);

/** cursors_next(c, which, wall_us, p): The next document; false: there is none.  ${p} borrows the
 * reader. */
bool cursors_next(struct cursors *c, enum cursor which, int64_t wall_us, struct pending *p);
/** cursors_rewind(c, no): Its lane is walked again from ${no}, which was skipped. */
void cursors_rewind(struct cursors *c, uint64_t no);

#endif
