/* parcel.h - what delivery remembers of one pending document, and the containers for it. */

/* Private to delivery/. */

#ifndef PARCEL_H
#define PARCEL_H

#include "ground/base.h"

struct settlement;

/*
 * A parcel is a pending record by its arrival number.  It holds no document: that is read from the
 * outbox each time it is sent, so what goes is always the newest version.
 */
struct parcel {
    uint64_t no;                   /* arrival number */
    uint64_t revision;             /* of the version last sent; 0: none yet */
    int64_t due_us;                /* not to be sent before (monotonic) */
    uint32_t attempts;             /* times this version was sent */
    uint32_t unknowns;             /* of these, with an unknown outcome, in a row */
    uint32_t refusals;             /* refused when sent alone */
    int64_t refused_us;            /* of a suspect: only a call sent since then tries it */
    bool is_on_trial;              /* refused, then another was done, so it is sent alone */
    struct settlement *settlement; /* while in a call: its verdict-to-be, owned; else NULL */
};

/* A growing array; zero-initialised is empty. */
struct parcels {
    struct parcel *items;
    size_t count, cap;
};

void parcels_push(struct parcels *ps, struct parcel p);
/** parcels_free(ps): The array only; settlements are the owner's to free. */
void parcels_free(struct parcels *ps);

/*
 * An agenda is the same array kept as a binary heap: the parcel due first is items[0]; of those
 * due at the same time, the one that arrived first.
 */
void agenda_push(struct parcels *agenda, struct parcel p);
/** agenda_pop(agenda): Take out the parcel due first; PRE: there is one. */
struct parcel agenda_pop(struct parcels *agenda);

#endif
