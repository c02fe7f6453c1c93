/* store_repair.h - replaces a damaged store by a sound one. */

#ifndef STORE_REPAIR_H
#define STORE_REPAIR_H

#include "ground/base.h"
#include "store_tools/salvage.h"

/* Where things are afterwards, in the store's directory. */
struct repair_places {
    char broken[64];     /* the old file, as it was */
    char quarantine[64]; /* what could not be read; "": everything was */
};

/**
 * store_repair(dir, say, arg, report, places, fault):
 * Make a sound store of what can be read of the one in ${dir} (held by the caller), in a file of
 * its own, and replace the old one atomically; the old one is kept.  Needs as much disk space
 * again.  ${say} is called for each damage and for every document that has to be projected again.
 * Any error: the old store is unchanged; ${fault} says why.
 */
enum err store_repair(const char *dir, void (*say)(void *arg, const char *text), void *arg,
                      struct salvage_report *report, struct repair_places *places,
                      struct fault *fault) MUST_CHECK;

#endif
