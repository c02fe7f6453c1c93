/* beat.h - threads show that they move; who watches learns of one that does not. */

#ifndef BEAT_H
#define BEAT_H

#include "ground/base.h"

#define BEAT_WAIT_MS  10000 /* no thread that beats waits longer than this without a beat */
#define BEAT_STUCK_MS 30000 /* without one it stands still */
#define BEAT_NAME     16

/**
 * beat_begin(name), beat_end():
 * From here to there the calling thread beats, under ${name} (static text).
 */
void beat_begin(const char *name);
void beat_end(void);

/** beat(): The calling thread moves.  Does nothing in one that has not begun. */
void beat(void);
/** beat_rest(): It has no work, and may wait for some as long as it likes, until its next beat. */
void beat_rest(void);

/**
 * beats_tick(elapsed_ms):
 * Main's, about each second: look at all of them.  Time counts as main has seen it pass, so that a
 * process that was stopped as a whole finds nobody late.
 */
void beats_tick(int64_t elapsed_ms);

/**
 * beats_are_well(who):
 * Whether all threads move; else ${who} is one that does not ("main": nobody has looked for so
 * long).  Any thread.
 */
bool beats_are_well(char who[BEAT_NAME]);

#endif
