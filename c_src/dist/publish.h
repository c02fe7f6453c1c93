/* publish.h - keeps the node's name with epmd, over epmd's own restarts. */

/* Private to dist/. */

#ifndef PUBLISH_H
#define PUBLISH_H

#include "ground/base.h"

struct publish; /* opaque */

/** publish_open(alive, port, p, fault): Register ${alive} for ${port}; as epmd_register. */
enum err publish_open(const char *alive, int port, struct publish **p,
                      struct fault *fault) MUST_CHECK;
/** publish_close(p): Take the name back.  NULL is harmless. */
void publish_close(struct publish *p);

/** publish_stands(p): Whether epmd has the name at present.  Any thread.  NULL, here and below:
 * nobody is to be told, and that stands. */
bool publish_stands(const struct publish *p);
/** publish_fd(p): To be polled for reading; -1 while epmd is gone. */
int publish_fd(const struct publish *p);
/** publish_due_ms(p): When (clock_mono_ms) to tend it at the latest; INT64_MAX while it stands. */
int64_t publish_due_ms(const struct publish *p);

/**
 * publish_tend(p):
 * The descriptor is readable, or the time has come: find out whether epmd is gone, and if so
 * register again, at once and then every 2 s until it works.  Waits for epmd at most a second.
 */
void publish_tend(struct publish *p);

#endif
