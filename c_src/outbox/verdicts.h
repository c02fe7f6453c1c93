/* verdicts.h - verdicts on their way to disk, and when they are worth a round. */

/* Private to outbox/. */

#ifndef VERDICTS_H
#define VERDICTS_H

#include "ground/base.h"

struct settlement;
struct verdicts; /* opaque; under the outbox's lock, except verdicts_has */

/* Who waits for verdicts: this decides how long they may be batched. */
enum verdicts_wanted {
    VERDICTS_NOBODY,
    VERDICTS_ALL, /* a caller waits until nothing is pending, or the store is filling up */
    VERDICTS_EACH /* a caller waits for one document */
};

struct verdicts *verdicts_new(void);
/** verdicts_free(v): Also frees queued verdicts.  NULL is harmless.  verdicts_drop(v): Free only
 * those.
 */
void verdicts_free(struct verdicts *v);
void verdicts_drop(struct verdicts *v);

/** verdicts_add(v, first, now_us, wall_us, ticket): Queue the chain, under a new ${ticket}; the
 * times are of both clocks.  Returns whether the store thread must check again when they are due.
 */
bool verdicts_add(struct verdicts *v, struct settlement *first, int64_t now_us, int64_t wall_us,
                  uint64_t *ticket) MUST_CHECK;
/** verdicts_want(v, wanted, pending): Who waits from now on; ${pending} documents are pending. */
void verdicts_want(struct verdicts *v, enum verdicts_wanted wanted, uint64_t pending);
/** verdicts_due_us(v): When queued verdicts need a round even without an intent; INT64_MAX: none
 * is queued. */
int64_t verdicts_due_us(const struct verdicts *v);

/* A chain that was taken. */
struct verdicts_taken {
    struct settlement *first, *last;
    uint64_t ticket; /* 0: none was taken */
};

/** verdicts_take(v): Take all; verdicts_give_back: their round failed, they are first again;
 * verdicts_done: it is committed. */
struct verdicts_taken verdicts_take(struct verdicts *v);
void verdicts_give_back(struct verdicts *v, const struct verdicts_taken *t);
void verdicts_done(struct verdicts *v, const struct verdicts_taken *t);
/** verdicts_is_done(v, ticket): Whether that chain is on disk. */
bool verdicts_is_done(const struct verdicts *v, uint64_t ticket);

/** verdicts_has(v, document): Whether a verdict of that document may be queued (true for some
 * others, too).  Any thread. */
bool verdicts_has(const struct verdicts *v, uint64_t document);

#endif
