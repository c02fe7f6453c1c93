/* epmd.h - the node's registration with epmd, the BEAM's port mapper. */

/* Private to dist/. */

#ifndef EPMD_H
#define EPMD_H

#include "ground/base.h"

/**
 * epmd_register(alive, port, fd, fault):
 * Tell the epmd on this machine (127.0.0.1, port $ERL_EPMD_PORT or 4369) that the hidden node
 * ${alive} (the part before the @) listens on ${port}.  The registration lasts as long as
 * ${fd} (returned, the caller's to close) is open on both sides: readable means that epmd is gone.
 * ERR_SYSTEM: no epmd, no answer within a second, or the name is taken; ${fault}->why says which.
 */
enum err epmd_register(const char *alive, int port, int *fd, struct fault *fault) MUST_CHECK;

#endif
