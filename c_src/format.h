/* format.h - the store's format version, and the steps from one to the next. */

#ifndef FORMAT_H
#define FORMAT_H

#include "base.h"

struct store;

/**
 * format_check(s, fault):
 * Bring ${s} to STORE_FORMAT, step by step, in one transaction.  An empty store
 * gets its first records.  ERR_STORE: ${fault} says why (a newer format, a store
 * that is not the sidecar's, records that contradict each other, the disk).
 */
enum err format_check(struct store *s, struct fault *fault) MUST_CHECK;

#endif
