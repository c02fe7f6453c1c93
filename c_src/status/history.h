/* history.h - the last hour, in fixed memory. */

#ifndef HISTORY_H
#define HISTORY_H

#include "ground/base.h"
#include "ground/buf.h"

struct history; /* opaque */

enum { HISTORY_STEP_S = 10, HISTORY_SAMPLES = 360 };

/** history_new(now_us): Empty, from ${now_us} (monotonic clock) on. */
struct history *history_new(int64_t now_us);
/** history_free(h): NULL is harmless. */
void history_free(struct history *h);

/** history_tick(h, now_us, wall_us): Take a sample of the metrics when one is due.  One thread. */
void history_tick(struct history *h, int64_t now_us, int64_t wall_us);

/**
 * history_put_json(h, with_log, out):
 * {"step_s":10,"columns":["t",...],"samples":[[...],...],"log":...}, oldest first; the columns are
 * named in history.c.  log: [[Time, Line],...] of the last lines, null without ${with_log}.  Any
 * thread.
 */
void history_put_json(struct history *h, bool with_log, struct buf *out);

#endif
