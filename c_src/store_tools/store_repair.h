/* store_repair.h - a damaged store's place taken by a sound one. */

#ifndef STORE_REPAIR_H
#define STORE_REPAIR_H

#include "ground/base.h"
#include "store_tools/salvage.h"

/* Where things are afterwards, in the store's directory. */
struct repair_places {
    char broken[64];     /* the old file, as it was */
    char quarantine[64]; /* what could not be read; "" when that is nothing */
};

/**
 * store_repair(dir, say, arg, report, places, fault):
 * Make a sound store of what can be read of the one in ${dir} (held by the caller), in a file of
 * its own, and put it in its place at one stroke; the old one is kept.  Needs as much room on the
 * disk again.  ${say} hears of each damage and of every document that has to be projected again.
 * Any error: the old store is in its place, unchanged; ${fault} says why.
 */
enum err store_repair(const char *dir, void (*say)(void *arg, const char *text), void *arg,
                      struct salvage_report *report, struct repair_places *places,
                      struct fault *fault) MUST_CHECK;

#endif
