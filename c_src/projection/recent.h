/* recent.h - the last few events that were folded, as checksums: whether the log still has them. */

/* Private to projection/. */

#ifndef RECENT_H
#define RECENT_H

#include "ground/base.h"
#include "ground/buf.h"

#define RECENT_EVENTS 8

/* Of the events after last - count up to last; empty: count is 0. */
struct recent {
    int64_t last;
    size_t count;
    uint16_t marks[RECENT_EVENTS]; /* of event seq at seq % RECENT_EVENTS */
};

/** recent_mark(type_json, at_json): The checksum of an event, from its two texts in the document.
 */
uint16_t recent_mark(struct slice type_json, struct slice at_json);

/** recent_add(r, seq, mark): Event ${seq} comes next; after a gap, ${r} starts over. */
void recent_add(struct recent *r, int64_t seq, uint16_t mark);
/** recent_follow(r, given): Add what ${given} has after the last of ${r}. */
void recent_follow(struct recent *r, const struct recent *given);
/** recent_end(r, seq, mark): Event ${seq}, which may lie before the last, is the last one. */
void recent_end(struct recent *r, int64_t seq, uint16_t mark);
/** recent_differs(r, seq, mark): Whether event ${seq} is known, with another checksum. */
bool recent_differs(const struct recent *r, int64_t seq, uint16_t mark);
/** recent_last_mark(r): The checksum of the last event; ${r} is not empty. */
uint16_t recent_last_mark(const struct recent *r);

/** recent_put(out, r): Append ${r}; nothing for an empty one. */
void recent_put(struct buf *out, const struct recent *r);
/**
 * recent_read(bytes, last, r):
 * What recent_put wrote of a fold whose last event is ${last}.  Empty if ${bytes} are of another
 * fold: an older program, which does not write them, has folded more.
 */
void recent_read(struct slice bytes, int64_t last, struct recent *r);

#endif
