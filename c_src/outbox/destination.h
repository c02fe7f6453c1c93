/* destination.h - the destination of the store: what is known of the other side, on disk. */

/* Private to outbox/. */

#ifndef DESTINATION_H
#define DESTINATION_H

#include "ground/base.h"

#define DESTINATION_ADDRESS 1025
#define DESTINATION_WHY     201

struct round;

/* As of the last commit. */
struct destination_known {
    char sink[33], address[DESTINATION_ADDRESS];
    char store_id[33];     /* 32 hex digits */
    char deployment[65];   /* "": unknown */
    unsigned functions;    /* struct sink_peer */
    uint64_t mark, wanted; /* last seen in Convex; the highest ever sent */
    int64_t raised_at_us;  /* when that was */
    bool has_doubt, is_swept;
    uint64_t doubt_from, doubt_to; /* what was confirmed under these may be lost */
    int64_t doubt_since_us;
    char doubt_why[DESTINATION_WHY];
};

/* What to record; a bit set. */
enum destination_what {
    DESTINATION_SINK = 1,  /* sink */
    DESTINATION_PEER = 2,  /* address, deployment and functions */
    DESTINATION_MARK = 4,  /* mark */
    DESTINATION_RAISE = 8, /* the mark is to be raised to a new number */
    DESTINATION_DOUBT =
        16, /* from ${from} to the highest used, because of ${why}; includes RAISE */
    DESTINATION_NEW_ID = 32,
    DESTINATION_SWEPT = 64,   /* the sweep for the doubt that ends with ${to} is complete */
    DESTINATION_BELIEVE = 128 /* the doubt is over */
};

struct destination_change {
    unsigned what;
    char sink[33], address[DESTINATION_ADDRESS], deployment[65], why[DESTINATION_WHY];
    unsigned functions;
    uint64_t mark, from, to;
    uint64_t above; /* for RAISE and DOUBT: numbers up to this are in use elsewhere */
};

/** destination_read(r, known): Read the destination, within this round. */
enum err destination_read(struct round *r, struct destination_known *known) MUST_CHECK;
/** destination_change(r, c): Record ${c}; r->destination has it once the round is committed. */
enum err destination_change(struct round *r, const struct destination_change *c) MUST_CHECK;

#endif
