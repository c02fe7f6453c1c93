/* bodies.h - what is posted to /api/mutation, piece by piece. */

/* Private to convex/. */

#ifndef BODIES_H
#define BODIES_H

#include "ground/buf.h"
#include "sink/sink.h"

/** body_put_opening(b, batch_mutation): The body of a batch, up to the first item. */
void body_put_opening(struct buf *b, const char *batch_mutation);
/** body_put_item(b, p): One document of a batch. */
void body_put_item(struct buf *b, const struct pending *p);
/**
 * body_put_control_item(b, store_id, kind, at_us):
 * An item that shows whether a document of ${kind} would be accepted (docs/adr/0011).  Each
 * ${at_us} is later than the last, so that it is written.
 */
void body_put_control_item(struct buf *b, const char *store_id, struct slice kind, int64_t at_us);
/**
 * body_put_single(b, path, p):
 * One document in a call of its own, with exactly the fields that the runtime's HttpSink sends, up
 * to the end of its arguments.
 */
void body_put_single(struct buf *b, const char *path, const struct pending *p);
/** body_put_single_control(b, path, store_id, kind, at_us): The control, in the same form. */
void body_put_single_control(struct buf *b, const char *path, const char *store_id,
                             struct slice kind, int64_t at_us);

#endif
