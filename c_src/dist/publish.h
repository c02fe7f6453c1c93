/* publish.h - keeps the node's name registered with epmd, across restarts of epmd. */

/* Private to dist/. */

#ifndef PUBLISH_H
#define PUBLISH_H

#include "ground/base.h"

struct publish; /* opaque */

/** publish_open(alive, port, p, fault): Register ${alive} for ${port}; errors as epmd_register. */
enum err publish_open(const char *alive, int port, struct publish **p,
                      struct fault *fault) MUST_CHECK;
/** publish_close(p): Remove the registration.  NULL is harmless. */
void publish_close(struct publish *p);

/** publish_stands(p): Whether epmd has the name at present.  Any thread.  NULL, here and below:
 * the node is unpublished, which counts as registered. */
bool publish_stands(const struct publish *p);
/** publish_fd(p): To be polled for reading; -1 while epmd is gone. */
int publish_fd(const struct publish *p);
/** publish_due_ms(p): When (clock_mono_ms) to call publish_tend at the latest; INT64_MAX while
 * the name is registered. */
int64_t publish_due_ms(const struct publish *p);

/**
 * publish_tend(p):
 * To be called when the descriptor is readable or the time has come: if epmd is gone, register
 * again, at once and then every 2 s until it works.  Waits for epmd at most a second.
 */
void publish_tend(struct publish *p);

#endif
