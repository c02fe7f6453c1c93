/* ahead.h - documents whose checkpoint is behind: their pending version stands for it. */

/* Private to outbox/. */

#ifndef AHEAD_H
#define AHEAD_H

#include "ground/base.h"

#define AHEAD_MAX ((size_t)16384) /* documents; some 100 bytes each */

struct ahead; /* opaque; the store thread's */

struct ahead *ahead_new(void);
/** ahead_free(a): NULL is harmless.  ahead_clear(a): Nothing is in it. */
void ahead_free(struct ahead *a);
void ahead_clear(struct ahead *a);

/** ahead_add(a, document, no): Its pending version is ${no}, the newest of all that are added.
 * ahead_drop: its checkpoint is written; no harm if it was not in. */
void ahead_add(struct ahead *a, uint64_t document, uint64_t no);
void ahead_drop(struct ahead *a, uint64_t document);
/** ahead_drop_oldest(a): PRE: there is one. */
void ahead_drop_oldest(struct ahead *a);

/** ahead_find(a, document): The number of its pending version; 0: it is not in. */
uint64_t ahead_find(const struct ahead *a, uint64_t document);
/** ahead_count(a), ahead_oldest(a): How many; the number of the first that was added, 0: none. */
size_t ahead_count(const struct ahead *a);
uint64_t ahead_oldest(const struct ahead *a);

#endif
