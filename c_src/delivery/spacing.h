/* spacing.h - when a document was last written, for as long as that matters. */

/* Private to delivery/. */

#ifndef SPACING_H
#define SPACING_H

#include "ground/base.h"

/*
 * A document is written at most once in the interval of its kind: a table for each kind knows which
 * ones were written within the last.  It is bounded: beyond SPACING_MAX documents in one interval
 * the oldest is forgotten, which lets that document go earlier than it should, and harms nothing
 * else.
 */
#define SPACING_MAX 262144

struct spacing; /* opaque */

/** spacing_new(interval_us): An empty table; ${interval_us} may be 0: nothing is ever too early. */
struct spacing *spacing_new(int64_t interval_us);
/** spacing_free(s): NULL is harmless. */
void spacing_free(struct spacing *s);

/** spacing_due_us(s, id, now_us): From when on ${id} may be written; ${now_us} if it may now. */
int64_t spacing_due_us(struct spacing *s, struct slice id, int64_t now_us);

/** spacing_wrote(s, id, now_us): ${id} is being written; ${now_us} never steps back. */
void spacing_wrote(struct spacing *s, struct slice id, int64_t now_us);

/** spacing_count(s): Documents in the table. */
size_t spacing_count(const struct spacing *s);

#endif
