/* format.h - the store's format version, and the steps from one to the next. */

#ifndef FORMAT_H
#define FORMAT_H

#include "ground/base.h"

struct store;

/**
 * format_check(s, fault):
 * Bring ${s} to STORE_FORMAT, step by step, in one transaction.  An empty store
 * gets its first records.  ERR_STORE: ${fault} says why (a newer format, a store
 * that is not the sidecar's, records that contradict each other, the disk).
 */
enum err format_check(struct store *s, struct fault *fault) MUST_CHECK;

/* Takes the records of a store from one format to the next; inside a transaction. */
typedef enum err format_step(struct store *s);

/**
 * format_migrate(s, steps, target, fault):
 * format_check for ${target} formats of which ${steps}[n] leads from n to n + 1; what the tests of
 * the machinery call with steps of their own.
 */
enum err format_migrate(struct store *s, format_step *const *steps, unsigned target,
                        struct fault *fault) MUST_CHECK;

/** format_parse(value, format, fault): The number in meta's record "format".  ERR_STORE: not ours.
 */
enum err format_parse(struct slice value, unsigned *format, struct fault *fault) MUST_CHECK;
/** format_refuse_newer(format, known, fault): ERR_STORE, and in ${fault} what to do about it. */
enum err format_refuse_newer(unsigned format, unsigned known, struct fault *fault) MUST_CHECK;
/** format_put(s): Write the record "format" of STORE_FORMAT; inside a transaction. */
enum err format_put(struct store *s) MUST_CHECK;

#endif
