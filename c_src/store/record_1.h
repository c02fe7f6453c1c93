/* record_1.h - the records of format 1 (0.1.x), which the migration reads and writes. */

#ifndef RECORD_1_H
#define RECORD_1_H

#include "ground/base.h"
#include "ground/buf.h"
#include "store/record.h"

/*
 * meta         "format"    see format.c
 *              "counters"  [next_no, next_revision, pending_bytes, dead_bytes]
 *              "kept_for"  the sink's name; absent in stores of before 0.1.1
 * pending      number  ->  [id, kind, VERSION, kept_at_us, json]
 * checkpoints  id      ->  [kind, last_projected_us, reset_revision, dead, pending_no,
 *                           pending_bytes, pending_kept_at_us, VERSION or nil, VERSION or nil,
 *                           fold] (the first version is the pending one, the second what is
 *                           delivered)
 * dead         id      ->  [kind, VERSION, attempts, died_at_us, why, answer, json]
 * Nothing has a checksum.
 */
#define RECORD_1_SINK "kept_for"

/** record_1_put_...(out, ...): Append the record of format 1; what that format lacks is lost. */
void record_1_put_counters(struct buf *out, const struct counters *c);
void record_1_put_pending(struct buf *out, const struct pending *p);
void record_1_put_checkpoint(struct buf *out, const struct checkpoint_record *c);
void record_1_put_dead(struct buf *out, const struct dead_letter *d);

/**
 * record_1_get_...(key, value, ..., fault):
 * As those of record.h.  What format 1 does not have is zero: documents have no number; a pending
 * version keeps its number.
 */
enum err record_1_get_counters(struct slice value, struct counters *c,
                               struct fault *fault) MUST_CHECK;
enum err record_1_get_pending(struct slice key, struct slice value, struct pending *p,
                              struct fault *fault) MUST_CHECK;
enum err record_1_get_checkpoint(struct slice key, struct slice value, struct checkpoint_record *c,
                                 struct fault *fault) MUST_CHECK;
enum err record_1_get_dead(struct slice key, struct slice value, struct dead_letter *d,
                           struct fault *fault) MUST_CHECK;

/**
 * record_1_agree(p, kind, last_us):
 * Whether the pending version says what its checkpoint says of the document: its kind, and that
 * nothing was projected later than ${last_us}.  When not, one of them is damaged, and ${p} is
 * changed to what is likelier.
 */
bool record_1_agree(struct pending *p, struct slice kind, int64_t last_us);

#endif
