/* fold.h - what is remembered of all events of an entity: four values, kept with its document. */

#ifndef FOLD_H
#define FOLD_H

#include "ground/base.h"
#include "ground/buf.h"

#define FOLD_MAX_TEXT 512              /* bytes of JSON text of an event's type or time */
#define FOLD_MAX_SEQ  9007199254740991 /* 2^53 - 1: exact as a float64, which a Convex number is */

struct fold {
    int64_t seq;                   /* of the last event folded; 0: none yet */
    int64_t event_count;           /* how many were folded */
    struct slice type_json;        /* of the last event: a JSON string; borrowed */
    struct slice inserted_at_json; /* of the last event: a JSON string or null; borrowed */
};

/**
 * fold_read(bytes, f, fault):
 * Read what fold_put wrote; empty ${bytes} are the empty fold.  ${f} borrows
 * ${bytes}.  ERR_INVALID: not a fold; ${fault} says what is wrong.
 */
enum err fold_read(struct slice bytes, struct fold *f, struct fault *fault) MUST_CHECK;

/** fold_put(out, f): Append ${f}; nothing at all for the empty fold. */
void fold_put(struct buf *out, const struct fold *f);

#endif
