/* doubtful.h - how many confirmed documents may no longer be in Convex. */

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
    bool is_whole;     /* all documents were counted since the doubt began */
    uint64_t logged;   /* an event log can restore them */
    uint64_t unlogged; /* came by upsert: no event log */
    size_t id_count;   /* the first few of the unlogged */
    char ids[DOUBTFUL_IDS][DOUBTFUL_ID_BYTES];
};

struct doubtful *doubtful_new(void);
/** doubtful_free(d): NULL is harmless. */
void doubtful_free(struct doubtful *d);

/** doubtful_due_us(d): When the next portion is due (monotonic); INT64_MAX: never. */
int64_t doubtful_due_us(const struct doubtful *d);
/** doubtful_walk(d, r): Walk a portion; the last one ends a doubt in which no document is left. */
enum err doubtful_walk(struct doubtful *d, struct round *r) MUST_CHECK;
/** doubtful_note(r, c, was): The checkpoint ${c} is about to be saved; ${was}: it was doubtful. */
void doubtful_note(struct round *r, const struct checkpoint_record *c, bool was);
/** doubtful_is(r, c): Whether the document of ${c} is doubtful. */
bool doubtful_is(const struct round *r, const struct checkpoint_record *c);
/** doubtful_end_round(d, r, mono_us): The round is committed.  Returns whether the count changed.
 */
bool doubtful_end_round(struct doubtful *d, struct round *r, int64_t mono_us);
/** doubtful_get(d): The count so far. */
const struct doubtful_count *doubtful_get(const struct doubtful *d);

#endif
