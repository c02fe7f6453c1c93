/* beat.h - heartbeats of threads, and a watchdog that names one that has stopped. */

#ifndef BEAT_H
#define BEAT_H

#include "ground/base.h"

#define BEAT_WAIT_MS  10000 /* the longest a thread waits between two beats */
#define BEAT_STUCK_MS 30000 /* without a beat for this long, a thread is stuck */
#define BEAT_NAME     16

/**
 * beat_begin(name), beat_end():
 * Between these two calls the calling thread is watched, as ${name} (static text).
 */
void beat_begin(const char *name);
void beat_end(void);

/** beat(): The calling thread is alive.  Does nothing outside beat_begin and beat_end. */
void beat(void);
/** beat_rest(): The calling thread has no work; it is not watched until its next beat. */
void beat_rest(void);

/**
 * beats_tick(elapsed_ms):
 * Check all threads; the main thread calls it about once a second.  Only the time that the main
 * thread has seen pass counts, so that after a stop of the whole process no thread is late.
 */
void beats_tick(int64_t elapsed_ms);

/**
 * beats_are_well(who):
 * Whether no thread is stuck; else ${who} is one that is ("main": beats_tick was not called for
 * that long).  Any thread.
 */
bool beats_are_well(char who[BEAT_NAME]);

#endif
