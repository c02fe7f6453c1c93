/* sidecar.h - opens all parts and connects them; closes them in reverse order. */

#ifndef SIDECAR_H
#define SIDECAR_H

#include "ground/base.h"
#include "ground/buf.h"

struct config;
struct sidecar; /* opaque */

/**
 * sidecar_open(c, s, fault):
 * Open every part as ${c} (finished; borrowed until the close) says; from then on documents are
 * taken and delivered.  While an older store is migrated, a line on standard output says how far
 * that is.  Signals are blocked beforehand.  On an error nothing is left open; ERR_INVALID: the
 * configuration is at fault; ${fault} says why.
 */
enum err sidecar_open(const struct config *c, struct sidecar **s, struct fault *fault) MUST_CHECK;

/** sidecar_say_ready(s): The log line, and the line on standard output that an owner waits for. */
void sidecar_say_ready(const struct sidecar *s);

/** sidecar_tick(s): About once a second: the periodic checks.  One thread. */
void sidecar_tick(struct sidecar *s);
/** sidecar_put_sentence(s, b): The state, in one line for people. */
void sidecar_put_sentence(const struct sidecar *s, struct buf *b);

/** sidecar_reload(s): Read keys again; try at once when delivery is stopped. */
void sidecar_reload(struct sidecar *s);

/** sidecar_drain(s): Take nothing new from now on. */
void sidecar_drain(struct sidecar *s);
/** sidecar_is_drained(s): Nothing is pending, or delivery does not proceed anyway. */
bool sidecar_is_drained(struct sidecar *s);

/**
 * sidecar_close(s, wait_ms):
 * Wait at most ${wait_ms} for the answers under way, keep what they say, answer every caller, end
 * all threads.  Returns how many documents were pending when it was called.  NULL is harmless.
 */
uint64_t sidecar_close(struct sidecar *s, int64_t wait_ms);

#endif
