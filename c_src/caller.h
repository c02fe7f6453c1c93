/* caller.h - somebody who waits for one answer: how dist makes one for a call it has read. */

#ifndef CALLER_H
#define CALLER_H

#include "base.h"
#include "dist.h"
#include "link.h"
#include "message.h"

/**
 * caller_new(l, self, m):
 * Who sent the MESSAGE_CALL ${m} over ${l} (held from now on) to the node whose pid is ${self}.
 * Copies what it needs.  dist_reply or dist_exit takes it.
 */
struct caller *caller_new(struct link *l, struct slice self, const struct message *m);

/** caller_refuse(l, m, reason): dist_exit for a call that nobody takes. */
void caller_refuse(struct link *l, const struct message *m, const char *reason);

#endif
