/* destination.h - whom the store speaks to: what is known of the other side, on disk. */

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
    char deployment[65];   /* "": it never said */
    unsigned functions;    /* struct sink_peer */
    uint64_t mark, wanted; /* what stood there last; the highest that was ever asked for */
    int64_t raised_at_us;  /* when that was */
    bool has_doubt, is_swept;
    uint64_t doubt_from, doubt_to; /* what was confirmed under these may not stand there */
    int64_t doubt_since_us;
    char doubt_why[DESTINATION_WHY];
};

/* What is to be recorded, or'ed together. */
enum destination_what {
    DESTINATION_SINK = 1,  /* sink */
    DESTINATION_PEER = 2,  /* address, deployment and functions */
    DESTINATION_MARK = 4,  /* mark */
    DESTINATION_RAISE = 8, /* a number that was never used is wanted */
    DESTINATION_DOUBT =
        16, /* from ${from} to the highest used, because of ${why}; a RAISE as well */
    DESTINATION_NEW_ID = 32,
    DESTINATION_SWEPT = 64,   /* everything was asked for, for the doubt that ends with ${to} */
    DESTINATION_BELIEVE = 128 /* the doubt goes */
};

struct destination_change {
    unsigned what;
    char sink[33], address[DESTINATION_ADDRESS], deployment[65], why[DESTINATION_WHY];
    unsigned functions;
    uint64_t mark, from, to;
    uint64_t above; /* of RAISE and DOUBT: others have used numbers up to this */
};

/** destination_read(r, known): What the store says in this round. */
enum err destination_read(struct round *r, struct destination_known *known) MUST_CHECK;
/** destination_change(r, c): Record ${c}; the round has it in r->destination once it is committed.
 */
enum err destination_change(struct round *r, const struct destination_change *c) MUST_CHECK;

#endif
