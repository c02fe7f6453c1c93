/* format.h - the store's format version, and the first records of a new one. */

#ifndef FORMAT_H
#define FORMAT_H

#include "ground/base.h"
#include "ground/buf.h"

struct counters;
struct destination;
struct store;

/**
 * format_check(s, fault):
 * Whether ${s} has STORE_FORMAT and counters that give no number twice.  An empty
 * store gets its first records.  ERR_STORE: ${fault} says why not (another format, a store
 * that is not the sidecar's, records that contradict each other, the disk).
 */
enum err format_check(struct store *s, struct fault *fault) MUST_CHECK;

/** format_parse(value, format, fault): The number in meta's record "format".  ERR_STORE: not ours.
 */
enum err format_parse(struct slice value, unsigned *format, struct fault *fault) MUST_CHECK;
/** format_refuse_newer(format, known, fault): ERR_STORE, and in ${fault} what to do about it. */
enum err format_refuse_newer(unsigned format, unsigned known, struct fault *fault) MUST_CHECK;

/** format_put(s, format): Write the record "format"; inside a transaction. */
enum err format_put(struct store *s, unsigned format) MUST_CHECK;
/** format_put_counters(s, c), format_put_destination(s, d): The records of these names. */
enum err format_put_counters(struct store *s, const struct counters *c) MUST_CHECK;
enum err format_put_destination(struct store *s, const struct destination *d) MUST_CHECK;
/** format_new_store_id(id): A new, unique id. */
void format_new_store_id(uint8_t id[16]);

/**
 * format_destination(s, value, d):
 * The record "destination", whose bytes are copied to ${value} and borrowed by ${d}.  If it is
 * missing or damaged, ${d} has a new store id and nothing else; ${is_sound} (may be NULL) says so.
 */
enum err format_destination(struct store *s, struct buf *value, struct destination *d,
                            bool *is_sound) MUST_CHECK;

#endif
