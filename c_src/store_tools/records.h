/* records.h - records of a store of any format, read as those of this one. */

/* Private to store_tools/. */

#ifndef RECORDS_H
#define RECORDS_H

#include "ground/base.h"
#include "store/record.h"

/**
 * records_get_...(format, key, value, ..., fault):
 * As record_get_.... Pending versions of format 1 are in the live lane.
 */
enum err records_get_counters(unsigned format, struct slice value, struct counters *c,
                              struct fault *fault) MUST_CHECK;
enum err records_get_pending(unsigned format, struct slice key, struct slice value,
                             struct pending *p, struct fault *fault) MUST_CHECK;
enum err records_get_checkpoint(unsigned format, struct slice key, struct slice value,
                                struct checkpoint_record *c, struct fault *fault) MUST_CHECK;
enum err records_get_dead(unsigned format, struct slice key, struct slice value,
                          struct dead_letter *d, struct fault *fault) MUST_CHECK;

/** records_is_document(v, json): Whether ${json} is what was kept as ${v}, says its hash. */
bool records_is_document(const struct outbox_version *v, struct slice json);

#endif
