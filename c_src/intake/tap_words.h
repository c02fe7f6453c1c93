/* tap_words.h - {tap, Opts}: what happens to documents, as a streamed answer. */

/* Private to intake/. */

#ifndef TAP_WORDS_H
#define TAP_WORDS_H

#include "dist/dist.h"

struct tap_words; /* opaque */

struct tap_words *tap_words_new(void);
/** tap_words_free(w): End all streams.  NULL is harmless. */
void tap_words_free(struct tap_words *w);

/**
 * tap_words_take(w, session, caller, opts):
 * Begin a stream to ${caller} (taken): parts of #{events, dropped}, until it leaves or
 * tap_words_free.  ${opts}: #{kind, id}.
 */
void tap_words_take(struct tap_words *w, struct dist_session *session, struct caller *caller,
                    term opts);

#endif
