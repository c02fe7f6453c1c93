/* round_inside.h - one write transaction of the store thread: the struct that round.h hides. */

/* Private to outbox/. */

#ifndef ROUND_INSIDE_H
#define ROUND_INSIDE_H

#include "ground/base.h"
#include "ground/buf.h"
#include "ground/metrics.h"
#include "outbox/destination.h"
#include "store/kept.h"
#include "store/record.h"

struct ahead;
struct damage;
struct intent;
struct store;
struct verdicts;

/* What a round did; counted in metrics when it is committed. */
struct round_tally {
    uint64_t kept, coalesced, skipped, drift, died, damaged;
    uint64_t contradicted; /* answers that contradict what was believed to be in Convex */
    uint64_t confirmed, confirmed_early; /* early: before their last event, by another clock */
    bool brought_work;                   /* something for the delivery side */
    bool meets_verdict; /* keeps a version of a document that may have a queued verdict */
    uint64_t moved_no;  /* the lowest that moved from the bulk to the live lane; 0: none */
    uint64_t mended_logged,
        mended_unlogged; /* doubtful documents that were confirmed (doubtful.h) */
    int64_t healing;     /* healings begun minus healings ended */
    struct {
        uint32_t died, healed;
    } by_kind[METRIC_KINDS_MAX + 1];
    struct metric_pile kept_to_confirmed, append_to_confirmed;
};

/* How full the store is at the end of a round. */
struct round_levels {
    uint64_t pending, checkpoints, dead, quarantined;
    int64_t oldest_kept_at_us; /* 0: nothing pending */
};

/* Who answers at present. */
struct round_peer {
    unsigned functions;  /* struct sink_peer; 0: unknown */
    char deployment[65]; /* "": unknown */
};

struct round {
    /* fixed after open */
    struct store *store;
    struct damage *damage;           /* what readers could not read; borrowed */
    const struct verdicts *verdicts; /* borrowed; NULL in the first rounds */
    struct ahead *ahead;             /* as committed, and what this round has done */
    bool is_ahead_stale;             /* to be rebuilt: a round has failed */
    uint64_t limit_bytes, dead_limit;
    int64_t damaged_logged_us, dead_full_logged_us,
        contradicted_logged_us; /* log_limited's memory */
    struct round_peer peer;     /* set between rounds */
    /* of the round */
    int64_t now_us;
    struct fault fault; /* of the last ERR_INVALID */
    size_t hold_room;   /* intents that may still be held */
    bool failed;        /* the transaction can only be aborted */
    bool changed;       /* something was written: there is something to commit */
    struct counters counters;
    struct doubt doubt; /* its texts are not kept */
    bool has_doubt;
    uint64_t doubtful_at;     /* documents up to this number were counted; kept between rounds */
    bool has_new_destination; /* destination was changed, and is to be published */
    struct destination_known destination;
    struct round_tally tally;
    struct round_levels levels;
    struct buf body, head; /* records being made */
    struct buf tail;       /* what counters.tail borrows */
    struct buf retimed;    /* the JSON of a version that is healed */
    /* a copy of the checkpoint that was read last, as a cache */
    bool is_loaded; /* nothing was written since */
    enum err loaded_err;
    struct buf loaded_id, loaded;
    struct buf loaded_past; /* fold and recent events of a pending version that is ahead */
    char loaded_version[RECORD_MAX_VERSION]; /* of what is pending */
    struct checkpoint_record loaded_record;
};

/** round_init(r, s, damage, limit_bytes, dead_limit), round_free(r): ${s} and ${damage} are
 * borrowed; the limits are those of outbox_options. */
void round_init(struct round *r, struct store *s, struct damage *damage, uint64_t limit_bytes,
                uint64_t dead_limit);
void round_free(struct round *r);

/**
 * round_begin(r, hold_room, must_write), round_commit(r), round_abort(r):
 * One round.  ERR_STORE: nothing of it is kept, store_why has the reason.  A round
 * that only reads costs no commit, unless it ${must_write} to find out whether the
 * store takes writes.
 */
enum err round_begin(struct round *r, size_t hold_room, bool must_write) MUST_CHECK;
enum err round_commit(struct round *r) MUST_CHECK;
void round_abort(struct round *r);

/** round_is_through(r, intent): Whether all that the held flush ${intent} waits for are delivered.
 */
bool round_is_through(struct round *r, struct intent *intent);

/*
 * For the other files of the round, and settle.c.
 *
 * round_check(r, e) remembers that the store failed and gives ${e} back; round_wrote
 * does so for a write.  ERR_STORE with r->failed still false means one damaged
 * record that could not be moved away: the round goes on.
 */
enum err round_check(struct round *r, enum err e);
enum err round_wrote(struct round *r, enum err e);
/**
 * round_damaged(r, t, key, fault):
 * The record under ${key} cannot be read: move it to quarantine.  ERR_NOT_FOUND: it is gone from
 * its place.  ERR_STORE: the store failed, or the quarantine is full and it stays.
 */
enum err round_damaged(struct round *r, enum store_table t, struct slice key,
                       const struct fault *fault);
/** round_take_damage(r): The same for those that readers reported. */
enum err round_take_damage(struct round *r) MUST_CHECK;

/** round_next_pending(r, arrival, key, value): The first version that arrived at or after
 * ${arrival}. */
enum err round_next_pending(struct round *r, uint64_t arrival, struct slice *key,
                            struct slice *value) MUST_CHECK;
/** round_is_id(id): Whether ${id} can be a key; an operator may type anything. */
bool round_is_id(struct slice id);
/** round_take_off(total, bytes): Subtract, but never below 0, even if a record is damaged. */
void round_take_off(uint64_t *total, uint64_t bytes);
/** round_number_of(r, id, document): The number of ${id}; ERR_NOT_FOUND: it has none. */
enum err round_number_of(struct round *r, struct slice id, uint64_t *document) MUST_CHECK;
/**
 * round_load(r, id, c), round_load_numbered(r, document, id, c):
 * The checkpoint of ${id} with its pending version, valid until another is loaded; the second is
 * for a known number.  ERR_NOT_FOUND: ${c} is all zero, except the number if there is one.
 */
enum err round_load(struct round *r, struct slice id, struct checkpoint_record *c) MUST_CHECK;
enum err round_load_numbered(struct round *r, uint64_t document, struct slice id,
                             struct checkpoint_record *c) MUST_CHECK;
/** round_believes(r, c): Whether Convex has the delivered version of ${c}, as far as we know. */
bool round_believes(const struct round *r, const struct checkpoint_record *c);
/** round_save(r, id, c): Put the checkpoint; a document without a number gets one. */
enum err round_save(struct round *r, struct slice id, struct checkpoint_record *c) MUST_CHECK;
/**
 * round_keep(r, p, c):
 * Put ${p} as the pending version of its document, with the number of the one it
 * replaces or a new one, and save ${c}.  ${p} may borrow the store.
 */
enum err round_keep(struct round *r, struct pending *p, struct checkpoint_record *c) MUST_CHECK;
/** round_may_be_ahead(r, p, c, is_new): Whether ${p}, with its number and for ${c}, needs no
 * checkpoint (round_ahead.c).  round_read_ahead(r): Which ones are, by what is committed. */
bool round_may_be_ahead(const struct round *r, const struct pending *p,
                        const struct checkpoint_record *c, bool is_new);
enum err round_read_ahead(struct round *r) MUST_CHECK;
/** round_end_ahead(r): Called before the counters are written.  round_name_all(r): Write all
 * checkpoints, so that no version is ahead.
 */
enum err round_end_ahead(struct round *r) MUST_CHECK;
enum err round_name_all(struct round *r) MUST_CHECK;
/** round_unkeep(r, c): Remove the pending version; ${c} is changed, not saved. */
enum err round_unkeep(struct round *r, struct checkpoint_record *c) MUST_CHECK;

/**
 * round_keep_document(r, p, reset, c):
 * E1 -> E2 of ${p}, whose checkpoint is ${c}, within the limit (ERR_FULL).  ${reset}: it may go
 * below what is in Convex, and carries the reset flag until it is confirmed.
 */
enum err round_keep_document(struct round *r, struct pending *p, bool reset,
                             struct checkpoint_record *c) MUST_CHECK;

/**
 * round_heal(r, document, id):
 * The dead letter of that document becomes a new version, later than any before, in the bulk lane.
 * The letter stays until that version is done (then it is removed) or refused (then it is
 * replaced). Nothing is done while a version is pending.  If Convex has the letter's version, the
 * letter is removed.
 */
enum err round_heal(struct round *r, uint64_t document, struct slice id) MUST_CHECK;
/** round_heals(r): Whether the functions that answer have the guard that makes a retry harmless. */
bool round_heals(const struct round *r);
/** round_next_try_us(now_us, tries): When a letter that died now is retried, after ${tries}
 * healings. */
int64_t round_next_try_us(int64_t now_us, uint32_t tries);

/** round_letter(r, document, d): The dead letter of a document with that number. */
enum err round_letter(struct round *r, uint64_t document, struct dead_letter *d) MUST_CHECK;
/** round_next_letter(r, document, d): The letter after that of ${document}, which is advanced. */
enum err round_next_letter(struct round *r, uint64_t *document, struct dead_letter *d) MUST_CHECK;
/** round_remove_letter(r, json_len, c): Remove the dead letter; ${c} is changed, not saved. */
enum err round_remove_letter(struct round *r, size_t json_len,
                             struct checkpoint_record *c) MUST_CHECK;

#endif
