/* doubtful.h - how many documents may not stand in Convex as they were confirmed. */

/* Private to outbox/. */

#ifndef DOUBTFUL_H
#define DOUBTFUL_H

#include "ground/base.h"

struct round;
struct checkpoint_record;
struct doubtful; /* opaque; the store thread's */

#define DOUBTFUL_IDS      10
#define DOUBTFUL_ID_BYTES 128

/* What is known of them. */
struct doubtful_count {
    bool is_whole;     /* all documents were looked at since the doubt began */
    uint64_t logged;   /* an event log makes them again */
    uint64_t unlogged; /* that only upsert gave */
    size_t id_count;   /* the first of these */
    char ids[DOUBTFUL_IDS][DOUBTFUL_ID_BYTES];
};

struct doubtful *doubtful_new(void);
/** doubtful_free(d): NULL is harmless. */
void doubtful_free(struct doubtful *d);

/** doubtful_due_us(d): When a portion is to be looked at (monotonic); INT64_MAX: not. */
int64_t doubtful_due_us(const struct doubtful *d);
/** doubtful_walk(d, r): Look at a portion; the last one ends a doubt that concerns nobody. */
enum err doubtful_walk(struct doubtful *d, struct round *r) MUST_CHECK;
/** doubtful_note(r, c, was): The checkpoint ${c}, which ${was} doubtful, is about to be saved. */
void doubtful_note(struct round *r, const struct checkpoint_record *c, bool was);
/** doubtful_is(r, c): Whether it is. */
bool doubtful_is(const struct round *r, const struct checkpoint_record *c);
/** doubtful_end_round(d, r, mono_us): The round is committed.  Returns whether ${count} changed. */
bool doubtful_end_round(struct doubtful *d, struct round *r, int64_t mono_us);
/** doubtful_get(d): What is known. */
const struct doubtful_count *doubtful_get(const struct doubtful *d);

#endif
