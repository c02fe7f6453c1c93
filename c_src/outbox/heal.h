/* heal.h - dead letters are tried again by themselves. */

/* Private to outbox/. */

#ifndef HEAL_H
#define HEAL_H

#include "ground/base.h"

struct heal; /* opaque; the store thread's */
struct round;

struct heal *heal_new(void);
/** heal_free(h): NULL is harmless. */
void heal_free(struct heal *h);

/*
 * News of delivery, under the lock of the outbox, which wakes the store thread after them:
 * heal_hear_peer(h, functions, deployment)   who answers now
 * heal_hear_well(h, kind, wall_us)           ${kind} (empty: the endpoint) is well again
 */
void heal_hear_peer(struct heal *h, unsigned functions, const char *deployment);
void heal_hear_well(struct heal *h, struct slice kind, int64_t wall_us);
/** heal_take_news(h, r): They count from now on.  Under the same lock, between rounds. */
void heal_take_news(struct heal *h, struct round *r);

/** heal_due_us(h): When heal_walk has work (monotonic); INT64_MAX: never. */
int64_t heal_due_us(const struct heal *h);
/**
 * heal_walk(h, r):
 * Look at the next dead letters, and put those that are due.  ERR_STORE: the store failed.
 */
enum err heal_walk(struct heal *h, struct round *r) MUST_CHECK;
/** heal_end_round(h, r, letters, mono_us): A round is committed, which has left so many letters. */
void heal_end_round(struct heal *h, const struct round *r, uint64_t letters, int64_t mono_us);

#endif
