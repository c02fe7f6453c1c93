/*
 * lanes.c - two ranges of numbers, read as one queue.
 *
 * The happy path: the first of each lane is looked up, and the one that arrived earlier is
 * returned. The lanes share one count of arrivals, so that is the order in which versions were
 * kept.
 *
 * What can go wrong: the errors of the store.  A key that is not a number (damage) sorts after all
 * numbers.  Any thread that may use what ${seek} uses.
 */

#include "outbox/lanes.h"

#include "store/kept.h"

uint64_t lanes_no(struct slice key)
{
    uint64_t no = 0;

    if (key.len == sizeof no)
        memcpy(&no, key.data, sizeof no);
    return no;
}

static enum err next_bulk(lanes_seek *seek, void *arg, uint64_t arrival, bool behind,
                          bool *is_through, struct slice *found, struct slice *value)
{
    if (is_through != NULL && *is_through)
        return ERR_NOT_FOUND;
    enum err e = seek(arg, slice_of(&arrival, sizeof arrival), behind, found, value);
    if (e == ERR_OK && (lanes_no(*found) == 0 || lanes_no(*found) >= LANE_LIVE))
        e = ERR_NOT_FOUND;
    if (is_through != NULL && e == ERR_NOT_FOUND)
        *is_through = true;
    return e;
}

enum err lanes_next(lanes_seek *seek, void *arg, uint64_t arrival, bool behind,
                    bool *bulk_is_through, struct slice *found, struct slice *value)
{
    struct slice bulk_found, bulk_value;
    uint64_t live = LANE_LIVE | arrival;
    enum err b = next_bulk(seek, arg, arrival, behind, bulk_is_through, &bulk_found, &bulk_value);
    enum err e = b == ERR_OK || b == ERR_NOT_FOUND
                     ? seek(arg, slice_of(&live, sizeof live), behind, found, value)
                     : b;

    if (b != ERR_OK || (e != ERR_OK && e != ERR_NOT_FOUND))
        return e;
    if (e == ERR_NOT_FOUND || lanes_no(bulk_found) < lane_arrival(lanes_no(*found))) {
        *found = bulk_found;
        *value = bulk_value;
    }
    return ERR_OK;
}
