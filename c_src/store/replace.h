/* replace.h - a new store made next to the present one, which it then replaces atomically. */

/* Private to store/ and store_tools/. */

#ifndef REPLACE_H
#define REPLACE_H

#include "ground/base.h"

struct store;

#define REPLACE_NEW "data.mdb.new" /* a directory in the store's, while a copy is made in it */

/** replace_clear(dir_fd, fault): Remove the remains of an earlier attempt, or of this one. */
enum err replace_clear(int dir_fd, struct fault *fault);

/** replace_open(dir, format, map_bytes, s, fault): An empty store in ${dir}/data.mdb.new, of the
 * caller's alone (store_open_copy). */
enum err replace_open(const char *dir, unsigned format, uint64_t map_bytes, struct store **s,
                      struct fault *fault) MUST_CHECK;

/**
 * replace_put(dir_fd, name, kept, fault):
 * The copy, synced and closed, becomes the store; the old one is kept as ${name}, or ${name}.2 and
 * so on: ${kept} says which.  If killed at any moment, all or nothing is done.
 */
enum err replace_put(int dir_fd, const char *name, char kept[64], struct fault *fault) MUST_CHECK;

#endif
