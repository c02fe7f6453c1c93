/* ahead.h - documents whose checkpoint is older than their pending version, which replaces it. */

/* Private to outbox/. */

#ifndef AHEAD_H
#define AHEAD_H

#include "ground/base.h"

#define AHEAD_MAX ((size_t)16384) /* documents; some 100 bytes each */

struct ahead; /* opaque; the store thread's */

struct ahead *ahead_new(void);
/** ahead_free(a): NULL is harmless.  ahead_clear(a): Remove all. */
void ahead_free(struct ahead *a);
void ahead_clear(struct ahead *a);

/** ahead_add(a, document, no): The pending version is ${no}, the newest of all that were added.
 * ahead_drop(a, document): Its checkpoint is written; harmless if it was not in the table. */
void ahead_add(struct ahead *a, uint64_t document, uint64_t no);
void ahead_drop(struct ahead *a, uint64_t document);
/** ahead_drop_oldest(a): PRE: not empty. */
void ahead_drop_oldest(struct ahead *a);

/** ahead_find(a, document): The number of its pending version; 0: not in the table. */
uint64_t ahead_find(const struct ahead *a, uint64_t document);
/** ahead_count(a), ahead_oldest(a): How many; the number of the first that was added, 0: none. */
size_t ahead_count(const struct ahead *a);
uint64_t ahead_oldest(const struct ahead *a);

#endif
