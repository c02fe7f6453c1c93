/* record.h - the store's values: msgpack arrays, checked field by field when read. */

#ifndef RECORD_H
#define RECORD_H

#include "ground/base.h"
#include "ground/buf.h"
#include "store/kept.h"

/* clang-format off */
/*
 * If you change what is written here (a field, its type, its order, a key):
 *   1. Increase STORE_FORMAT.
 *   2. In record.c, change the writer and the reader together; keep a copy of the old
 *      reader beside the step that needs it.
 *   3. In format.c, write the step that takes a store from the old number to the new one.
 *   4. In format_test.c, add a test that opens a store made by the old code.
 * A sidecar migrates an older store and refuses a newer one.
 *
 * table        key           value
 * meta         "format"      see format.c
 *              "counters"    [next_no, next_revision, pending_bytes, dead_bytes]
 *              "kept_for"    see kept_for.c; older sidecars of this format leave it alone
 * pending      number     -> [id, kind, VERSION, kept_at_us, json]
 * checkpoints  id         -> [kind, last_projected_us, reset_revision, dead,
 *                             pending_no, pending_bytes, pending_kept_at_us,
 *                             VERSION or nil (pending), VERSION or nil (delivered), fold]
 * dead         id         -> [kind, VERSION, attempts, died_at_us, why, answer, json]
 *
 * VERSION      [op, reset, seq, event_count, projected_at_us, hash, projection_version, revision]
 *
 * Texts are str; hash, json, fold and answer are bin.
 */
/* clang-format on */
#define STORE_FORMAT 1

#define RECORD_MAX_VERSION 63  /* bytes of projection_version */
#define RECORD_MAX_TEXT    511 /* of an id, a kind, a reason */

/* What the store counts; one for all documents. */
struct counters {
    uint64_t next_no, next_revision;    /* from 1; never given twice */
    uint64_t pending_bytes, dead_bytes; /* JSON kept */
};

/* A checkpoint as it is stored: what outbox.h shows, and what the rounds need beside it. */
struct checkpoint_record {
    struct checkpoint cp;
    uint64_t reset_revision; /* 0, or the version that may go below what stands in Convex and which
                                is not confirmed: until then delivered says nothing */
    uint64_t pending_bytes;  /* JSON of the pending version */
    int64_t pending_kept_at_us; /* since when something is waiting */
};

/** record_put_...(out, ...): Append the record to ${out}. */
void record_put_counters(struct buf *out, const struct counters *c);
void record_put_pending(struct buf *out, const struct pending *p);
void record_put_checkpoint(struct buf *out, const struct checkpoint_record *c);
void record_put_dead(struct buf *out, const struct dead_letter *d);

/**
 * record_get_...(key, value, ..., fault):
 * Read ${value}, found under ${key}; slices borrow both.  ERR_STORE: it is torn or
 * not ours; ${fault} names the key and what is wrong.  Nothing is read past its end.
 */
enum err record_get_counters(struct slice value, struct counters *c,
                             struct fault *fault) MUST_CHECK;
enum err record_get_pending(struct slice key, struct slice value, struct pending *p,
                            struct fault *fault) MUST_CHECK;
enum err record_get_checkpoint(struct slice key, struct slice value, struct checkpoint_record *c,
                               struct fault *fault) MUST_CHECK;
enum err record_get_dead(struct slice key, struct slice value, struct dead_letter *d,
                         struct fault *fault) MUST_CHECK;

#endif
