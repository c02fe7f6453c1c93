/*
 * cursors.c - in which order pending documents are met: the newest changes, and the oldest.
 *
 * The happy path: there is no backlog, the two cursors are one, and each document is met once.
 *
 * A document may be met twice, by fresh and by old, or after a rewind: whoever asks knows which
 * documents it holds already.
 *
 * Pure but for the reader.  Runs on the delivery thread only.
 */

#include "delivery/cursors.h"

static void advance_fresh(struct cursors *l, uint64_t to)
{
    if (l->old >= l->fresh) /* they were one */
        l->old = to;
    l->fresh = to;
}

bool cursors_old(struct cursors *l, struct pending *p)
{
    if (l->old >= l->fresh || !outbox_next(l->reader, l->old, p) || p->no > l->fresh) {
        if (l->old < l->fresh)
            l->old = l->fresh;
        return false;
    }
    l->old = p->no;
    return true;
}

bool cursors_fresh(struct cursors *l, int64_t wall_us, struct pending *p)
{
    if (!outbox_next(l->reader, l->fresh, p))
        return false;
    if (wall_us - p->kept_at_us <= CURSORS_FRESH_US) {
        advance_fresh(l, p->no);
        return true;
    }
    l->fresh = outbox_last(l->reader); /* old stays, and has what is between */
    return cursors_old(l, p);
}

void cursors_rewind(struct cursors *l, uint64_t no)
{
    if (no > 0 && no - 1 < l->old)
        l->old = no - 1;
}
