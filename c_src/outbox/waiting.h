/* waiting.h - intents that are kept but not settled yet: they wait for a delivery. */

/* Private to outbox/. */

#ifndef WAITING_H
#define WAITING_H

#include "ground/base.h"
#include "outbox/round.h"

#define WAITING_MAX 16384 /* intents held at once */

struct waiting; /* opaque; the store thread's */

struct waiting *waiting_new(void);
/** waiting_free(w): After waiting_drain.  NULL is harmless. */
void waiting_free(struct waiting *w);

size_t waiting_count(const struct waiting *w);
/** waiting_for_one(w): Whether any of them waits for one document, not for all. */
bool waiting_for_one(const struct waiting *w);

/**
 * waiting_hold(w, intent):
 * Take ${intent}, whose held_ fields say what it waits for: held_front 0: for
 * version held_revision, or a newer one, of the document pending as number
 * held_no; held_front not 0: for everything pending up to number held_no.
 */
void waiting_hold(struct waiting *w, struct intent *intent);

/** waiting_answer(w, no, revision, e, why): Settle those who wait for ${revision} or older of
 * ${no}. */
void waiting_answer(struct waiting *w, uint64_t no, uint64_t revision, enum err e, const char *why);

/**
 * waiting_mark(w, is_through, arg):
 * Before a commit: ask for each intent that waits for everything whether all is
 * delivered.  waiting_release, after the commit: settle those.
 */
void waiting_mark(struct waiting *w, bool (*is_through)(void *arg, struct intent *), void *arg);
void waiting_release(struct waiting *w);

/** waiting_gone(w): A caller may be gone: the next waiting_expire settles intents whose is_gone
 * returns true.  Any thread. */
void waiting_gone(struct waiting *w);

/** waiting_due_us(w): The next time at which waiting_expire has work; INT64_MAX: never. */
int64_t waiting_due_us(const struct waiting *w);
/** waiting_expire(w, now_us): Settle those whose time is over (ERR_SINK "timeout"), or whose
 * caller is gone. */
void waiting_expire(struct waiting *w, int64_t now_us);
/** waiting_drain(w): Settle all of them with ERR_DRAINING. */
void waiting_drain(struct waiting *w);

#endif
