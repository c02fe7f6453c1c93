/* lanes.h - pending versions of both lanes in the order of arrival. */

/* Private to outbox/. */

#ifndef LANES_H
#define LANES_H

#include "ground/base.h"

/** As store_seek and store_view_seek, in STORE_PENDING; ${arg} is theirs. */
typedef enum err lanes_seek(void *arg, struct slice key, bool behind, struct slice *found,
                            struct slice *value);

/**
 * lanes_next(seek, arg, arrival, behind, bulk_is_through, found, value):
 * The first entry of both lanes that arrived at or (${behind}) after ${arrival}.
 * ${bulk_is_through} (may be NULL) is set when the bulk lane has none; while it is set, that lane
 * is not searched.  The caller clears it when that may have changed.  Errors as those of ${seek}.
 */
enum err lanes_next(lanes_seek *seek, void *arg, uint64_t arrival, bool behind,
                    bool *bulk_is_through, struct slice *found, struct slice *value) MUST_CHECK;

/** lanes_no(key): The number that ${key} is; 0: invalid. */
uint64_t lanes_no(struct slice key);

#endif
