/* store_dump.h - what a store holds, as JSON lines. */

#ifndef STORE_DUMP_H
#define STORE_DUMP_H

#include "ground/base.h"
#include "ground/buf.h"

/**
 * store_dump(dir, out, damaged, fault):
 * Write every record of the store in ${dir} (the caller holds it) to ${out}, a line each; the
 * lines are described in docs/OPERATIONS.md.  A damaged record is a line as well, and counted in
 * ${damaged}.  ERR_SYSTEM: ${out} cannot be written to; ERR_STORE, ERR_NOT_FOUND: the store cannot
 * be read at all; ${fault} says why.
 */
enum err store_dump(const char *dir, FILE *out, uint64_t *damaged, struct fault *fault) MUST_CHECK;

/**
 * store_dump_damaged(line, table, key, why, bytes):
 * Append the line, with its newline, for a record that is damaged.
 */
void store_dump_damaged(struct buf *line, const char *table, struct slice key, const char *why,
                        struct slice bytes);

#endif
