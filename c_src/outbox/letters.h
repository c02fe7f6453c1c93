/* letters.h - the committed dead letters, for other threads to read. */

/* Private to outbox/. */

#ifndef LETTERS_H
#define LETTERS_H

#include "store/kept.h"

struct letters; /* opaque; one thread at a time */
struct outbox;
struct store;

/** letters_new(s): For outbox_letters_open. */
struct letters *letters_new(struct store *s);
/** letters_each(l, visit, arg): Call ${visit} for each, in the order in which their documents were
 * first kept, until it returns false.  Waits for nobody; a store that cannot be read shows none. */
void letters_each(struct letters *l, bool (*visit)(void *arg, const struct dead_letter *d),
                  void *arg);
/** letters_close(l): NULL is harmless. */
void letters_close(struct letters *l);

#endif
