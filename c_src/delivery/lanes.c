/*
 * lanes.c - in which order pending documents are met: the newest changes, and the oldest.
 *
 * The happy path: there is no backlog, the two cursors are one, and each document is met once.
 *
 * A document may be met twice, by fresh and by old, or after a rewind: whoever asks knows which
 * documents it holds already.
 *
 * Pure but for the reader.  Runs on the delivery thread only.
 */

#include "delivery/lanes.h"

static void advance_fresh(struct lanes *l, uint64_t to)
{
    if (l->old >= l->fresh) /* they were one */
        l->old = to;
    l->fresh = to;
}

bool lanes_old(struct lanes *l, struct pending *p)
{
    if (l->old >= l->fresh || !outbox_next(l->reader, l->old, p) || p->no > l->fresh) {
        if (l->old < l->fresh)
            l->old = l->fresh;
        return false;
    }
    l->old = p->no;
    return true;
}

bool lanes_fresh(struct lanes *l, int64_t wall_us, struct pending *p)
{
    if (!outbox_next(l->reader, l->fresh, p))
        return false;
    if (wall_us - p->kept_at_us <= LANES_FRESH_US) {
        advance_fresh(l, p->no);
        return true;
    }
    l->fresh = outbox_last(l->reader); /* old stays, and has what is between */
    return lanes_old(l, p);
}

void lanes_rewind(struct lanes *l, uint64_t no)
{
    if (no > 0 && no - 1 < l->old)
        l->old = no - 1;
}
