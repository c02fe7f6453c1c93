/* heal.h - dead letters are retried automatically. */

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
 * News from delivery, under the lock of the outbox, which then wakes the store thread:
 * heal_hear_peer(h, functions, deployment)   who answers now
 * heal_hear_well(h, kind, wall_us)           ${kind} (empty: the endpoint) has recovered
 */
void heal_hear_peer(struct heal *h, unsigned functions, const char *deployment);
void heal_hear_well(struct heal *h, struct slice kind, int64_t wall_us);
/** heal_take_news(h, r): Apply the news.  Under the same lock, between rounds. */
void heal_take_news(struct heal *h, struct round *r);

/** heal_due_us(h): When heal_walk has work (monotonic); INT64_MAX: never. */
int64_t heal_due_us(const struct heal *h);
/**
 * heal_walk(h, r):
 * Walk the next dead letters, and put those that are due.  ERR_STORE: the store failed.
 */
enum err heal_walk(struct heal *h, struct round *r) MUST_CHECK;
/** heal_end_round(h, r, letters, mono_us): A round is committed; ${letters} are left. */
void heal_end_round(struct heal *h, const struct round *r, uint64_t letters, int64_t mono_us);

#endif
