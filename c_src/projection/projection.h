/* projection.h - from a row and its events to a finished document. */

#ifndef PROJECTION_H
#define PROJECTION_H

#include "ground/base.h"
#include "ground/buf.h"
#include "term/term.h"

/*
 * Kinds are data.  A kind says how documents of one read model are named and
 * which columns of the row they copy; those of priv/kinds.ini are built in,
 * others come from configuration ([kind.NAME]).
 */
#define KIND_MAX_FIELDS 64

struct kind_field {
    char *name;
    size_t name_len;
    bool is_map; /* absent or nil becomes {} instead of null */
};

struct kind {
    char *name;     /* "run_summary" */
    char *prefix;   /* "runtime/run_summary:"; ids under it are projector-owned */
    char *entity;   /* "run": runtime_source.entity */
    char *id_field; /* "run_id": the name of the entity's id in document and runtime_source */
    char *mutation; /* "runtime:upsertRunSummary": for one document a call */
    int64_t min_interval_ms; /* between two writes of one document; -1: delivery's default */
    struct kind_field fields[KIND_MAX_FIELDS];
    size_t field_count;
    struct kind_slot *slots; /* the document's keys in canonical order; made by kinds_finish */
    size_t slot_count;
};

struct kinds; /* opaque: the table, fixed after start */

/** kinds_new(): A table with the runtime's own kinds: those of priv/kinds.ini. */
struct kinds *kinds_new(void);
void kinds_free(struct kinds *k);

/**
 * kinds_set(k, name, key, value, fault):
 * Set ${key} (prefix, entity, id_field, mutation, fields, min_interval_ms) of kind ${name},
 * making the kind when it is new.  `fields` is a blank-separated list of column names,
 * `name:map` for one that defaults to {}.  ERR_INVALID: ${fault} says why.
 */
enum err kinds_set(struct kinds *k, const char *name, const char *key, const char *value,
                   struct fault *fault) MUST_CHECK;

/**
 * kinds_finish(k, fault):
 * Check the table (nothing missing, no prefix inside another, no field named
 * like one the document has anyway) and prepare it for use; once, before the
 * first projection.
 */
enum err kinds_finish(struct kinds *k, struct fault *fault) MUST_CHECK;

/** kinds_find(k, name): The kind of that name, or NULL.  Any thread. */
const struct kind *kinds_find(const struct kinds *k, struct slice name);
/** kinds_of_id(k, id): The kind under whose prefix document ${id} lies, or NULL.  Any thread. */
const struct kind *kinds_of_id(const struct kinds *k, struct slice id);
size_t kinds_count(const struct kinds *k);
const struct kind *kinds_at(const struct kinds *k, size_t i);

/* What a request may say besides row and events. */
struct projection_options {
    struct slice version; /* the request's or the configured one; not for adopt */
    term now;             /* DateTime or ISO 8601 text for projected_at; NULL or nil: the clock */
    bool has_range;       /* seq_range: [first, last] goes into runtime_source */
    int64_t range[2];
    bool has_row_version; /* row_version: orders the row's versions of one seq, in runtime_source */
    int64_t row_version;
    bool reset;            /* forget the fold, start at the first event given */
    int64_t events_before; /* with reset: how many events lie before it, by the caller's count */
    int64_t after_seq;     /* the caller believes that events up to this are folded; 0: not given */
    bool has_log_end;      /* log_end: the log ended with this event when it was read */
    int64_t log_end;
    bool below;   /* the document goes to that seq, even if more is folded */
    bool no_hash; /* leave projection_hash out (configuration) */
};

/*
 * A draft is one document between its two halves.  The first half (prepare,
 * adopt) reads the request and knows nothing of the past; it runs on the thread
 * that read the message.  The second (finish) runs on the store thread, knows
 * the fold so far, and makes the bytes.  A draft owns its bytes and borrows
 * nothing: the message may go once it is prepared.
 */
struct draft;

/* What is kept of the events of a document, opaque bytes; both may be empty. */
struct past {
    struct slice fold;
    struct slice recent; /* the last few events, to know whether the log still has them */
};

/* The finished document; its slices borrow the draft. */
struct document {
    const struct kind *kind;
    struct slice id;      /* "runtime/run_summary:<run_id>" */
    struct slice version; /* projection_version */
    struct slice json;    /* the whole document, canonical */
    struct past past;     /* the fold after these events, to be kept beside it */
    bool is_behind;       /* the log that was read is shorter than the fold: do not keep */
    bool may_go_below;    /* may have a lower seq: what is folded is no longer in the log */
    int64_t seq;
    int64_t event_count;
    int64_t projected_at_us; /* microseconds since 1970, UTC */
    uint8_t hash[32];
};

/**
 * projection_prepare(k, entity_id, row, events, options, draft, fault):
 * The first half for a row and events: ${row} a map with atom or binary keys,
 * ${events} a proper list of maps with seq, event_type, inserted_at, ascending
 * without holes.  On ERR_OK ${draft} is returned, the caller's to free.
 * ERR_INVALID names the path ("metadata.x[3]"); ERR_GAP: a gap in ${events};
 * ERR_NOT_OWNED an id that can't be one (empty, over 300 bytes, not printable
 * UTF-8; codex worker style rules are the runtime's own).
 */
enum err projection_prepare(const struct kind *k, struct slice entity_id, term row, term events,
                            const struct projection_options *options, struct draft **draft,
                            struct fault *fault) MUST_CHECK;

/**
 * projection_adopt(k, document_id, summary, options, draft, fault):
 * The first half for a finished document, as the Sink behaviour hands it over:
 * ${summary} carries runtime_source.seq, projection_version and projected_at.
 * ERR_NOT_OWNED: ${document_id} is not under the kind's prefix.  ERR_INVALID's
 * words are the runtime's: runtime_seq_missing, projection_version_missing,
 * projected_at_missing, projected_at_invalid.
 */
enum err projection_adopt(const struct kind *k, struct slice document_id, term summary,
                          const struct projection_options *options, struct draft **draft,
                          struct fault *fault) MUST_CHECK;

/** draft_id(d): The document id the draft is for; borrowed from ${d}. */
struct slice draft_id(const struct draft *d);

/**
 * projection_finish(d, past, after_us, now_us, document, fault):
 * The second half.  ${past} is what an earlier finish gave for this document; events already folded
 * are ignored, unless the request says where the log ends: then the last one is compared with the
 * fold (docs/adr/0014-the-log-and-second-looks.md).  projected_at becomes the
 * request's own (its text as given, when it is RFC 3339), or ${now_us}, but always
 * later than ${after_us} (0: no bound).  Times before 1970 are refused.
 * ${document} borrows ${d} until draft_free or the next finish.
 * ERR_GAP: ${fault}->expected and ->got; nothing changed.
 * ERR_INVALID: heavier than Convex takes; seq_range does not end at the document's
 * seq; the stored fold is broken (reset heals it); projected_at after year 9999.
 */
enum err projection_finish(struct draft *d, struct past past, int64_t after_us, int64_t now_us,
                           struct document *document, struct fault *fault) MUST_CHECK;

/**
 * draft_swap_out(d, out):
 * Exchange the buffer that finish fills for ${out}, so that many drafts finished in turn can share
 * one.  The document that finish returned goes with the buffer, except id, kind and version.
 */
void draft_swap_out(struct draft *d, struct buf *out);

/** draft_bytes(d): The memory it takes. */
size_t draft_bytes(const struct draft *d);

void draft_free(struct draft *d);

#endif
