/* cut_hash.h - the SHA-256 of a document without some of its members. */

/* Private to projection/. */

#ifndef CUT_HASH_H
#define CUT_HASH_H

#include "ground/base.h"

struct cut {
    size_t from, to; /* bytes left out */
};

/** cut_hash(json, cuts, count, hash): Hash ${json} without the ${count} ${cuts}, which ascend. */
void cut_hash(struct slice json, const struct cut *cuts, size_t count, uint8_t hash[32]);

#endif
