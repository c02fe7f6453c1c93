/* changes.h - tells BEAM nodes when the sidecar's state changes. */

#ifndef CHANGES_H
#define CHANGES_H

#include "dist/dist.h"
#include "ground/base.h"

struct changes; /* opaque */
struct status;

/** changes_new(s): ${s} is borrowed. */
struct changes *changes_new(const struct status *s);
/** changes_free(c): Waiting calls are answered {error, draining}.  NULL is harmless. */
void changes_free(struct changes *c);

/**
 * changes_take(c, session, caller, seen):
 * Answer ${caller} with the sidecar's state: at once if it is not the one numbered ${seen},
 * otherwise as soon as it changes.  Takes ${caller}.  A reading thread; never waits.
 */
void changes_take(struct changes *c, struct dist_session *session, struct caller *caller,
                  int64_t seen);

/** changes_tick(c): About once a second: compare the state, and answer waiting calls if it has
 * changed. */
void changes_tick(struct changes *c);

#endif
