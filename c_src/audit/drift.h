/* drift.h - what an audit finds: two sorted streams merged, each pair judged.  Pure. */

#ifndef DRIFT_H
#define DRIFT_H

#include "ground/base.h"

/* In the order in which a pair is tested; docs/REBUILD.md, "Drift", says what to do. */
#define DRIFT_LIST(X)                                                                              \
    X(DRIFT_NONE, "none")         /* Convex holds what was confirmed, or it is not known yet */    \
    X(DRIFT_MISSING, "missing")   /* confirmed, and no longer in Convex */                         \
    X(DRIFT_STALE, "stale")       /* Convex holds an older version */                              \
    X(DRIFT_AHEAD, "ahead")       /* a higher seq than was ever confirmed */                       \
    X(DRIFT_ALTERED, "altered")   /* edited: it does not match its hash, or it is not ours */      \
    X(DRIFT_ORPHANED, "orphaned") /* Convex holds it, and the store does not know it */

enum drift {
#define X(name, text) name,
    DRIFT_LIST(X)
#undef X
        DRIFT_COUNT
};

/** drift_text(f): The finding's word; static storage. */
const char *drift_text(enum drift f);

/* What the store says of a document. */
struct drift_ours {
    struct slice id;
    bool is_pending, is_dead, is_delivered;
    int64_t last_projected_us; /* of the newest version ever kept: it changes with each */
    /* of the version confirmed last, when is_delivered */
    int64_t seq, projected_at_us;
    uint64_t revision;
    uint8_t hash[32];
};

/* What Convex says of it. */
struct drift_theirs {
    struct slice id;
    bool is_removed; /* a tombstone: no document */
    bool is_intact;  /* the row's own columns (owner, order) follow from the document */
    bool has_hash;   /* the writer gave one */
    int64_t seq, projected_at_us; /* projected_at_us 0: not given */
    uint8_t hash[32];             /* as it was written */
    uint8_t actual[32];           /* computed from what Convex holds */
};

/**
 * drift_judge(ours, theirs):
 * What is wrong with a document; either side may be NULL: it does not know it.  The answer holds
 * only while no version is on its way (drift_is_still).
 */
enum drift drift_judge(const struct drift_ours *ours, const struct drift_theirs *theirs);

/**
 * drift_is_still(before, after):
 * Whether nothing was kept, confirmed or cleared between two reads of the store, and nothing was
 * on its way: then what Convex said between them counts.
 */
bool drift_is_still(const struct drift_ours *before, const struct drift_ours *after);

/*
 * The merge.  Both sides come in portions, in byte order of the ids.  Zero-initialised it needs
 * both first portions; drift_feed_... gives one (borrowed until the next is asked for).
 */
struct drift_merge {
    const struct drift_ours *ours;
    size_t our_count, our_at;
    bool ours_end; /* there is no further portion */
    const struct drift_theirs *theirs;
    size_t their_count, their_at;
    bool theirs_end;
};

enum drift_step {
    DRIFT_PAIR,        /* one id: ${o} and ${t}, one of them perhaps NULL */
    DRIFT_WANT_OURS,   /* feed the next portion of the store */
    DRIFT_WANT_THEIRS, /* feed the next page of Convex */
    DRIFT_END
};

void drift_feed_ours(struct drift_merge *m, const struct drift_ours *items, size_t count,
                     bool is_last);
void drift_feed_theirs(struct drift_merge *m, const struct drift_theirs *items, size_t count,
                       bool is_last);
/** drift_next(m, o, t): The next id of either side, each id once. */
enum drift_step drift_next(struct drift_merge *m, const struct drift_ours **o,
                           const struct drift_theirs **t);

/* ---- what is asked for and answered --------------------------------------------------------- */

#define DRIFT_LINES_MAX 1000 /* findings listed; the rest is counted */

struct kind;

struct drift_request {
    const struct kind *kind; /* NULL: all */
    struct slice after;      /* go on after this document; empty: from the first */
    bool repair;
};

/* One finding. */
struct drift_line {
    char *id; /* heap, terminated */
    size_t id_len;
    const char *kind; /* of the table of kinds */
    enum drift finding;
    bool has_seq, has_convex_seq; /* of ours, of what Convex holds */
    int64_t seq, convex_seq;
    bool is_repaired;
};

struct drift_report {
    uint64_t checked; /* up to next */
    uint64_t count[DRIFT_COUNT];
    uint64_t second_look; /* documents that were checked again */
    uint64_t unsettled;   /* of these: still on their way after several checks, so not judged */
    uint64_t repaired;
    int64_t took_ms;
    struct drift_line *lines;
    size_t line_count;
    char *next; /* heap: where to go on; NULL: the end was reached */
    size_t next_len;
    char stopped[256]; /* why before the end; "" = the end was reached */
    bool is_failed;    /* Convex or the store failed: stopped says how */
};

/** drift_add_line(r, line): Count a finding and list it (taken), up to DRIFT_LINES_MAX. */
void drift_add_line(struct drift_report *r, struct drift_line line);
/** drift_findings(r): All of them. */
uint64_t drift_findings(const struct drift_report *r);
/** drift_report_clear(r): Release what it holds; empty and ready again. */
void drift_report_clear(struct drift_report *r);

/* The progress of an audit. */
struct drift_progress {
    bool is_running;
    char kind[64]; /* at present; "" when idle */
    uint64_t checked, findings;
    int64_t took_ms;
    double rate;   /* documents a second */
    int64_t eta_s; /* -1: not known */
};

#endif
