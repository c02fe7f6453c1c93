/* caller.h - whoever waits for one answer: how dist makes a caller for a call it has read. */

/* Private to dist/. */

#ifndef CALLER_H
#define CALLER_H

#include "dist/link.h"
#include "dist/message.h"
#include "ground/base.h"

struct caller; /* opaque: dist.h gives it to its handler */

/**
 * caller_new(l, self, m):
 * The sender of the MESSAGE_CALL ${m} over ${l} (held from now on) to the node whose pid is
 * ${self}. Copies what it needs.  caller_reply takes it.
 */
struct caller *caller_new(struct link *l, struct slice self, const struct message *m);

/** caller_new_guest(l, ref): The same for {call, ${ref}, Request} over the control socket. */
struct caller *caller_new_guest(struct link *l, term ref);

/** caller_reply(c, cork, answer), caller_part(c, part): What dist_reply and dist_part promise. */
void caller_reply(struct caller *c, struct cork *cork, struct slice answer);
bool caller_part(struct caller *c, struct slice part);

/** caller_too_large(c, cork, size, max): The reply to a call of ${size} bytes, where ${max} are
 * allowed.
 */
void caller_too_large(struct caller *c, struct cork *cork, size_t size, size_t max);

/** caller_refuse(l, cork, m, reason): Make the call ${m}, which nobody handles, exit with the atom
 * ${reason}. */
void caller_refuse(struct link *l, struct cork *cork, const struct message *m, const char *reason);

#endif
