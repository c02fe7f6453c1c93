/*
 * round_hold.c - which versions an intent waits for, and whether all that a flush waits for are
 * delivered.
 *
 * The happy path: a held intent gets the number and revision of the pending version; waiting.c
 * settles it when those are answered.  A flush walks the queue in the order of arrival, once.
 *
 * What can go wrong: too many are held already; a damaged record cannot be delivered, and is not
 * waited for.
 *
 * Runs on the store thread only, inside a round.
 */

#include "outbox/lanes.h"
#include "outbox/round.h"
#include "outbox/round_inside.h"
#include "store/store.h"

static enum err seek_pending(void *store, struct slice key, bool behind, struct slice *found,
                             struct slice *value)
{
    return store_seek(store, STORE_PENDING, key, behind, found, value);
}

enum err round_next_pending(struct round *r, uint64_t arrival, struct slice *key,
                            struct slice *value)
{
    return round_check(r, lanes_next(seek_pending, r->store, arrival, false, NULL, key, value));
}

bool round_may_hold(const struct round *r)
{
    return r->hold_room > 0;
}

enum err round_hold_written(struct round *r, struct intent *intent, struct slice id,
                            int64_t until_us)
{
    struct checkpoint_record c;
    enum err e = round_load(r, id, &c);

    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    if (!c.cp.has_pending)
        return ERR_OK;
    if (r->hold_room == 0)
        return ERR_BUSY;
    r->hold_room--;
    intent->held_no = lane_arrival(c.cp.pending_no); /* its lane may change */
    intent->held_revision = c.cp.pending.revision;
    intent->held_front = 0;
    intent->held_until_us = until_us;
    return ERR_OK;
}

enum err round_hold_flushed(struct round *r, struct intent *intent, int64_t until_us)
{
    uint64_t pending;
    enum err e = round_check(r, store_count(r->store, STORE_PENDING, &pending));

    if (e != ERR_OK || pending == 0)
        return e;
    if (r->hold_room == 0)
        return ERR_BUSY;
    r->hold_room--;
    intent->held_no = r->counters.next_no - 1;
    intent->held_revision = r->counters.next_revision - 1;
    intent->held_front = 1;
    intent->held_until_us = until_us;
    return ERR_OK;
}

/* Whether the document of ${p} has got a version newer than the flush. */
static bool is_past(struct round *r, const struct pending *p, uint64_t revision)
{
    struct checkpoint_record c;

    if (p->version.revision <= revision)
        return false;
    return round_load_numbered(r, p->document, p->id, &c) == ERR_OK && c.cp.has_delivered &&
           c.cp.delivered.revision > revision;
}

bool round_is_through(struct round *r, struct intent *intent)
{
    struct slice key, value;
    struct fault fault;
    struct pending p;

    /* held_front only rises: each arrival is passed once, so a flush costs O(1) per document. */
    for (;;) {
        enum err e = round_next_pending(r, intent->held_front, &key, &value);
        if (e == ERR_NOT_FOUND)
            return true;
        if (e != ERR_OK)
            return false;
        bool is_read = record_get_pending(key, value, &p, &fault) == ERR_OK;
        uint64_t arrival = lane_arrival(lanes_no(key));
        if (arrival > intent->held_no)
            return true;
        if (is_read && !is_past(r, &p, intent->held_revision)) {
            intent->held_front = arrival;
            return false;
        }
        intent->held_front = arrival + 1;
    }
}
