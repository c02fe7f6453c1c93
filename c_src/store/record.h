/* record.h - what the store's values look like: a msgpack array and a checksum, checked field by
 * field when read. */

#ifndef RECORD_H
#define RECORD_H

#include "ground/base.h"
#include "ground/buf.h"
#include "store/kept.h"
#include "store/tables.h"

/*
 * A value is BODY, then crc32c(table (1 byte), length of the key (2, little-endian), key, BODY) in
 * 4 bytes, little-endian: a value under another key, or of another table, is damaged.  BODY is a
 * msgpack array; its last element, TAIL, is a map of optional members, keys 0 to 255, ascending.
 * Members that a program does not know are preserved: `tail` of a record that was read is merged
 * into what is written.  At most 16 members and 4 KiB.
 *
 * meta         "format"       see format.c; without a checksum, as older programs read it
 *              "counters"     [next_no, next_document, next_revision, next_quarantine,
 *                              pending_bytes, dead_bytes, TAIL]; 1 ahead_from
 *              "destination"  [sink, address, store_id, deployment, mark, mark_wanted,
 *                              raised_at_us, functions, TAIL]
 *              "doubt"        [from, to, since_us, why, swept, TAIL]; absent: nothing is doubtful
 * ids          id      ->  the document's number, 8 bytes, little-endian (no array, no TAIL)
 * checkpoints  number  ->  [id, kind, last_projected_us, reset_revision, pending_no, is_dead,
 *                           [VERSION, mark] or nil (delivered), fold, TAIL]
 *              1 row_version, 2 origin of what is delivered; 3 recent events of the fold
 * pending      no      ->  [number, id, kind, VERSION, kept_at_us, origin, json, TAIL]
 *              1 attempts, 2 next_try_us, 3 moved; of one that is ahead: 4 fold, 5 recent events
 * dead         number  ->  [id, kind, VERSION, attempts, tries, died_at_us, next_try_us, why,
 *                           answer, json, TAIL]; 1 functions, 2 deployment it died under
 * quarantine   rising  ->  [table, key, value, why, at_us, TAIL]
 * VERSION      [op, reset, seq, event_count, projected_at_us, hash, projection_version, revision]
 *
 * Texts are str; hash, json, fold, recent, answer, store_id, row_version, key and value are bin.
 *
 * If you change what is written here and an older program must not ignore it:
 *   1. Increase STORE_FORMAT.
 *   2. Move this format's reader and writer to a file of its own, as record_1.c is, and change
 *      them here together.
 *   3. In migrate.c, write the way there and back.
 *   4. In migrate_test.c, make a store by the old writer and take it both ways.
 * What an older program may ignore is a new optional member.
 */
#define STORE_FORMAT 2

#define RECORD_MAX_VERSION     63  /* bytes of projection_version */
#define RECORD_MAX_TEXT        511 /* of an id, a kind, a reason */
#define RECORD_MAX_FOLD        4096
#define RECORD_MAX_ANSWER      4096
#define RECORD_MAX_ADDRESS     1024
#define RECORD_MAX_DEPLOYMENT  64
#define RECORD_MAX_ROW_VERSION 64
#define RECORD_MAX_RECENT      64
#define RECORD_MAX_WHY         200 /* of a doubt, a quarantine */
#define RECORD_CRC_BYTES       4

/* What the store counts; one for all documents. */
struct counters {
    /* from 1; never given twice.  next_no is without its lane */
    uint64_t next_no, next_document, next_revision, next_quarantine;
    uint64_t pending_bytes, dead_bytes; /* JSON kept */
    struct slice tail;
    uint64_t ahead_from; /* no pending version that arrived before is ahead; 0: none is */
};

/** record_first_counters(): Those of an empty store. */
static inline struct counters record_first_counters(void)
{
    return (struct counters){
        .next_no = 1, .next_document = 1, .next_revision = 1, .next_quarantine = 1};
}

/* Where confirmed documents went. */
struct destination {
    struct slice sink;    /* "noop", "file", "http"; "": nothing was ever confirmed */
    struct slice address; /* base_url or path, without a key */
    uint8_t store_id[16];
    struct slice deployment; /* "": unknown */
    uint64_t mark, mark_wanted;
    int64_t raised_at_us;
    unsigned functions; /* 0: unknown, 1: ours or one's own, 2 */
    struct slice tail;
};

/* What was confirmed under these marks may be lost. */
struct doubt {
    uint64_t from, to;
    int64_t since_us;
    struct slice why;
    bool is_swept; /* the sweep is complete */
    struct slice tail;
};

/* A checkpoint as stored: struct checkpoint (kept.h), and what the rounds need besides. */
struct checkpoint_record {
    struct checkpoint cp; /* of the pending version pending_no alone is stored here */
    struct slice id;
    uint64_t reset_revision;  /* 0, or the unconfirmed version that may go below what is in Convex:
                                 until it is confirmed, delivered says nothing */
    struct slice row_version; /* of what is delivered; "": none */
    enum outbox_origin origin;
    bool has_origin; /* of what is delivered */
    struct slice tail;
    /* of the pending version, from its own record */
    uint64_t pending_bytes;
    int64_t pending_kept_at_us;
    enum outbox_origin pending_origin;
    bool is_stored; /* there is a checkpoint */
    bool is_ahead;  /* it does not name the pending version, which replaces it */
};

/* A record that could not be read, unchanged. */
struct quarantined {
    uint64_t no;
    enum store_table table;
    struct slice key, value, why;
    int64_t at_us;
    struct slice tail;
};

/** record_put_...(out, ...): Append the record, under the key that it has, to ${out}. */
void record_put_counters(struct buf *out, const struct counters *c);
void record_put_destination(struct buf *out, const struct destination *d);
void record_put_doubt(struct buf *out, const struct doubt *d);
void record_put_id(struct buf *out, struct slice id, uint64_t document);
void record_put_pending(struct buf *out, const struct pending *p);
void record_put_checkpoint(struct buf *out, const struct checkpoint_record *c);
void record_put_dead(struct buf *out, const struct dead_letter *d);
void record_put_quarantined(struct buf *out, const struct quarantined *q);

/**
 * record_get_...(key, value, ..., fault):
 * Read ${value}, found under ${key}; slices borrow it.  ERR_STORE: it is damaged or
 * not ours; ${fault} names the key and what is wrong.  Nothing is read past its end.
 */
enum err record_get_counters(struct slice value, struct counters *c,
                             struct fault *fault) MUST_CHECK;
enum err record_get_destination(struct slice value, struct destination *d,
                                struct fault *fault) MUST_CHECK;
enum err record_get_doubt(struct slice value, struct doubt *d, struct fault *fault) MUST_CHECK;
enum err record_get_id(struct slice id, struct slice value, uint64_t *document,
                       struct fault *fault) MUST_CHECK;
enum err record_get_pending(struct slice key, struct slice value, struct pending *p,
                            struct fault *fault) MUST_CHECK;
enum err record_get_checkpoint(struct slice key, struct slice value, struct checkpoint_record *c,
                               struct fault *fault) MUST_CHECK;
enum err record_get_dead(struct slice key, struct slice value, struct dead_letter *d,
                         struct fault *fault) MUST_CHECK;
enum err record_get_quarantined(struct slice key, struct slice value, struct quarantined *q,
                                struct fault *fault) MUST_CHECK;

/** record_is_of_another(t, key, value): Whether ${value} is whole, as a record of another table:
 * the page it lies on is in the wrong place. */
bool record_is_of_another(enum store_table t, struct slice key, struct slice value);
/** record_json_bytes(t, value): JSON bytes in a damaged pending or dead record, as far as known. */
uint64_t record_json_bytes(enum store_table t, struct slice value);
/** record_pending_owner(value, document, id): The document of a damaged pending record, as far as
 * known; 0 and "": unknown. */
void record_pending_owner(struct slice value, uint64_t *document, struct slice *id);
/** record_key_text(t, key, out): "table/key", for people; a number's digits, else up to 200 bytes.
 */
void record_key_text(enum store_table t, struct slice key, char out[256]);

#endif
