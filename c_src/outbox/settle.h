/* settle.h - verdicts on their way to disk. */

/* Private to outbox/. */

#ifndef SETTLE_H
#define SETTLE_H

#include "ground/base.h"
#include "store/kept.h"

struct round;

/**
 * settle_apply(r, s):
 * Put the verdict ${s} into the round: E4 -> E5 or E6.  ERR_STORE: the round has
 * failed, and ${s} is to be tried again.
 */
enum err settle_apply(struct round *r, const struct settlement *s) MUST_CHECK;

#endif
