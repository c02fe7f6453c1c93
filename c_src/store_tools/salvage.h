/* salvage.h - makes a new store of what can be read of a damaged one. */

/* Private to store_tools/. */

#ifndef SALVAGE_H
#define SALVAGE_H

#include "ground/base.h"

struct store;

/* What became of the records. */
struct salvage_report {
    uint64_t pending, checkpoints, dead; /* in the new store */
    uint64_t quarantined;                /* damaged: bytes in the quarantine file */
    uint64_t pending_lost;               /* checkpoints whose pending version is nowhere */
    uint64_t pending_overtaken;          /* left out: a newer version is there */
    uint64_t checkpoints_made;           /* for pending versions and letters without one */
    uint64_t checkpoints_mended;         /* that named what does not exist, or not what does */
};

/**
 * salvage(dir, to, quarantine, say, arg, report, fault):
 * Walk the store in ${dir} and put every record that can be read into ${to}, a new and empty one;
 * links and counters are corrected.  Damaged records become lines of ${quarantine}; ${say} is
 * called for every document that has to be projected again.  ERR_STORE: the new store fails;
 * ERR_SYSTEM: the quarantine does; ${fault} says why.
 */
enum err salvage(const char *dir, struct store *to, FILE *quarantine,
                 void (*say)(void *arg, const char *text), void *arg, struct salvage_report *report,
                 struct fault *fault) MUST_CHECK;

#endif
