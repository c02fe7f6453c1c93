/* draft.h - a document that is being made: the pieces of a request, for the projection modules. */

/* Private to projection/. */

#ifndef DRAFT_H
#define DRAFT_H

#include "projection/kind_slot.h"
#include "ground/time_text.h"
#include "projection/projection.h"
#include "projection/recent.h"

#define DRAFT_PROJECTED_AT    "projected_at"
#define DRAFT_PROJECTION_HASH "projection_hash"

/* A run of bytes in the draft's text, and its size as Convex counts it. */
struct piece {
    size_t at, len, weight;
};

struct draft {
    /* from the request, fixed once it is prepared */
    const struct kind *kind;
    const struct kind_slot *slots;
    size_t slot_count;
    size_t text_len;       /* of text, as filled from the request */
    struct piece id;       /* raw, as the slices in struct document */
    struct piece version;  /* raw */
    struct piece own_time; /* projected_at as given; len 0: the clock */
    int64_t own_time_us;
    int64_t first_seq, last_seq;       /* of the events; 0: none */
    int64_t events_before;             /* with reset: those before first_seq that count */
    int64_t after_seq;                 /* the events given are those after this one; 0: not given */
    int64_t log_end;                   /* the last event of the log; -1: not given */
    struct recent given;               /* the last of the events */
    struct piece event_type, event_at; /* of the last event */
    int64_t seq;                       /* the row's latest_seq; of an adopted one: its seq */
    int64_t event_count;               /* of an adopted one */
    bool adopted, reset, below, no_hash, has_range;
    int64_t range[2];
    /* completed by finish */
    struct buf text; /* what the pieces lie in */
    struct buf out;  /* the document, then its fold */
    size_t field_count;
    struct piece values[SLOT_VALUES]; /* by enum slot_value; len 0: left out */
    struct piece fields[];            /* the columns; of an adopted one its three parts */
};

/** draft_new(k, slots, slot_count, field_count): An empty draft; the caller's to free. */
struct draft *draft_new(const struct kind *k, const struct kind_slot *slots, size_t slot_count,
                        size_t field_count);

/** draft_view(d, p): The bytes of ${p}; valid until the next piece is put. */
struct slice draft_view(const struct draft *d, struct piece p);

/**
 * draft_since(d, at):
 * The piece from ${at} to the end of the text.  Its weight is its length, which
 * is right for strings (2 and their bytes) and, with escapes, a little more than
 * Convex counts, never less.
 */
struct piece draft_since(const struct draft *d, size_t at);
/** draft_put_raw(d, s): Append ${s} as it is.  ${s} does not lie in ${d}. */
struct piece draft_put_raw(struct draft *d, struct slice s);
/** draft_put_string(d, s): Append ${s} (UTF-8) as a JSON string.  ${s} does not lie in ${d}. */
struct piece draft_put_string(struct draft *d, struct slice s);
/** draft_put_number(d, v): Append ${v} as JSON. */
struct piece draft_put_number(struct draft *d, int64_t v);

/**
 * draft_take_time(d, p):
 * Whether the JSON in ${p} is a string with a time from 1970 on; if so, it becomes
 * the draft's own time.  A text in the form of RFC 3339 is kept; any other that
 * time_text_parse reads is rewritten, in UTC.
 */
bool draft_take_time(struct draft *d, struct piece p);

/** draft_check_version(version, fault): ERR_INVALID when it is not a valid projection_version. */
enum err draft_check_version(struct slice version, struct fault *fault) MUST_CHECK;
/** draft_is_seq(v): Whether ${v} is from 0 to 2^53 - 1, exact as a Convex number. */
bool draft_is_seq(int64_t v);

#endif
