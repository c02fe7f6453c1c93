/* gate.h - the checks on every pending version, when it is made and when it is sent. */

#ifndef GATE_H
#define GATE_H

#include "ground/base.h"
#include "projection/projection.h"

#define GATE_MAX_ENTITY_ID   300 /* bytes; with the longest prefix still an LMDB key (511) */
#define GATE_MAX_DOCUMENT_ID 400 /* the longest prefix of a kind has 100 bytes */

/**
 * gate_entity_id(id, fault):
 * Whether a document may be named after the entity ${id}: 1 to 300 bytes of UTF-8 without control
 * characters (U+0000 to U+001F, U+007F to U+009F).  ERR_INVALID: ${fault} says what is wrong with
 * it, and at which byte.
 */
enum err gate_entity_id(struct slice id, struct fault *fault) MUST_CHECK;

/**
 * gate_document_id(k, id, fault):
 * The same for a document of kind ${k} (NULL: no kind has such ids): its prefix, then an entity's
 * id.  ERR_NOT_OWNED: another prefix.  ERR_INVALID as above.
 */
enum err gate_document_id(const struct kind *k, struct slice id, struct fault *fault) MUST_CHECK;

/**
 * gate_lookup(id, fault):
 * Whether ${id} may be looked up: any bytes, so that whatever the store holds can be shown and
 * dropped; ERR_INVALID: more than any id has.
 */
enum err gate_lookup(struct slice id, struct fault *fault) MUST_CHECK;

/**
 * gate_version(id, kind, is_removal, json, projected_at_us, fault):
 * Whether a version can be put into a call to a sink.  Called before a version becomes
 * pending, and again before it is sent: a store may come from an older sidecar or a bad disk.
 * ERR_INVALID: ${fault} says why not.
 */
enum err gate_version(struct slice id, struct slice kind, bool is_removal, struct slice json,
                      int64_t projected_at_us, struct fault *fault) MUST_CHECK;

/**
 * gate_time(after_us, wanted_us, us, fault):
 * The projected_at of a version that is to be later than ${after_us} (0: no bound): ${wanted_us},
 * or the microsecond after ${after_us}.  ERR_INVALID: that is before 1970 or after the year 9999.
 */
enum err gate_time(int64_t after_us, int64_t wanted_us, int64_t *us,
                   struct fault *fault) MUST_CHECK;

#endif
