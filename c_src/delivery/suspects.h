/* suspects.h - a document was refused: is it the document's fault, or is everything refused? */

/* Private to delivery/. */

#ifndef SUSPECTS_H
#define SUSPECTS_H

#include "delivery/parcel.h"

#define SUSPECTS_ROW      8        /* so many calls refused in a row, none done: everything is */
#define SUSPECTS_TRIES    3        /* refused so often, alone, with nothing to compare: dead */
#define SUSPECTS_PROOF_US 60000000 /* for so long a document done proves the other side works */

/* Zero-initialised is empty and ready. */
struct suspects {
    uint64_t row[SUSPECTS_ROW]; /* arrival numbers, one a call, since a document was last done */
    size_t row_count;
    bool has_proof;         /* a document was done ... */
    int64_t proof_us;       /* ... at this time */
    struct parcels waiting; /* refused while nothing proved that the other side works */
};

/** suspects_free(s): What waits is forgotten; it is still pending in the outbox. */
void suspects_free(struct suspects *s);

/** suspects_proof(s, now_us): A document was done: the other side works. */
void suspects_proof(struct suspects *s, int64_t now_us);
/**
 * suspects_next_trial(s, sent_us, p): Something in a call sent at ${sent_us} was done: take out a
 * suspect refused in that call or before, to be sent alone; false: there is none.  One refused
 * since then waits on, as everything may be refused since then.
 */
bool suspects_next_trial(struct suspects *s, int64_t sent_us, struct parcel *p);
/** suspects_no_proof(s): Delivery stopped: what was done before proves nothing any more. */
void suspects_no_proof(struct suspects *s);

/**
 * suspects_count(s, no): A call was refused, alone document ${no} or all of many, of which ${no} is
 * the first; whether everything is refused now.
 */
bool suspects_count(struct suspects *s, uint64_t no);
/** suspects_is_all(s): Whether everything is refused, as far as is known. */
bool suspects_is_all(const struct suspects *s);
/** suspects_is_guilty(s, p, now_us): Whether ${p}, refused again, is at fault itself. */
bool suspects_is_guilty(const struct suspects *s, const struct parcel *p, int64_t now_us);

#endif
