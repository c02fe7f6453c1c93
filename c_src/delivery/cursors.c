/*
 * cursors.c - in which order pending documents are met: the newest changes, and the oldest.
 *
 * The happy path: there is no backlog, the two cursors are one, and each document is met once.
 *
 * A document may be met twice, by fresh and by old, or after a rewind: the caller knows which
 * documents it already holds.
 *
 * Pure but for the reader.  Runs on the delivery thread only.
 */

#include "delivery/cursors.h"

void cursors_init(struct cursors *c, struct outbox_reader *reader)
{
    *c = (struct cursors){.reader = reader, .fresh = LANE_LIVE, .old = LANE_LIVE};
}

static void advance_fresh(struct cursors *c, uint64_t to)
{
    if (c->old >= c->fresh) /* they were one */
        c->old = to;
    c->fresh = to;
}

static bool next_old(struct cursors *c, struct pending *p)
{
    if (c->old >= c->fresh || !outbox_next_no(c->reader, c->old, p) || p->no > c->fresh) {
        if (c->old < c->fresh)
            c->old = c->fresh;
        return false;
    }
    c->old = p->no;
    return true;
}

/* A few old documents go before the rest: otherwise those that came while all calls were slow would
 * wait for the whole backlog. */
static bool is_fresh(struct cursors *c, int64_t wall_us, const struct pending *p)
{
    return wall_us - p->kept_at_us <= CURSORS_FRESH_US || outbox_last(c->reader) - p->no < c->soon;
}

static bool next_fresh(struct cursors *c, int64_t wall_us, struct pending *p)
{
    if (!outbox_next_no(c->reader, c->fresh, p))
        return false;
    if (is_fresh(c, wall_us, p)) {
        advance_fresh(c, p->no);
        return true;
    }
    c->fresh = outbox_last(c->reader); /* old stays, and has what is between */
    return next_old(c, p);
}

static bool next_bulk(struct cursors *c, struct pending *p)
{
    if (!outbox_next_no(c->reader, c->bulk, p) || p->no >= LANE_LIVE)
        return false;
    c->bulk = p->no;
    return true;
}

bool cursors_next(struct cursors *c, enum cursor which, int64_t wall_us, struct pending *p)
{
    if (which == CURSOR_BULK)
        return next_bulk(c, p);
    return which == CURSOR_FRESH ? next_fresh(c, wall_us, p) : next_old(c, p);
}

void cursors_rewind(struct cursors *c, uint64_t no)
{
    uint64_t *cursor = no >= LANE_LIVE ? &c->old : &c->bulk;

    if (no > 0 && no - 1 < *cursor)
        *cursor = no - 1;
}
