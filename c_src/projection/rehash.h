/* rehash.h - the projection_hash of a document, taken again from its JSON. */

#ifndef REHASH_H
#define REHASH_H

#include "ground/base.h"

/**
 * rehash_json(json, hash):
 * SHA-256 of ${json}, a canonical document, without its members projected_at and projection_hash
 * (docs/PROTOCOL.md).  False: it is not even shaped like one JSON object.
 */
bool rehash_json(struct slice json, uint8_t hash[32]);

/** rehash_is(json, hash): Whether that is ${hash}. */
bool rehash_is(struct slice json, const uint8_t hash[32]);

#endif
