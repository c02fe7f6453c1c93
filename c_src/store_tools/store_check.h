/* store_check.h - whether a store, looked at from outside, keeps its promises. */

#ifndef STORE_CHECK_H
#define STORE_CHECK_H

#include "ground/base.h"

/* What was found, counted. */
struct store_report {
    uint64_t pending, checkpoints, dead; /* records that can be read */
    uint64_t pending_bytes, dead_bytes;  /* JSON in them */
    uint64_t findings;
    uint64_t quarantined; /* records that stand in quarantine: told, but no finding */
    uint64_t unsendable;  /* pending versions that become dead letters: told, but no finding */
};

/**
 * store_check(dir, finding, arg, report, fault):
 * Walk the store in ${dir} (the caller holds it) page by page and record by record: the file's
 * structure, each record, invariants 1 to 4 of outbox.h, the counters, the hash of each document
 * that is kept.  ${finding} (may be NULL) hears each thing that is wrong in a sentence.  Writes
 * nothing.
 * ERR_OK: ${report} says how many findings, 0: the store is sound.  ERR_STORE, ERR_NOT_FOUND: it
 * cannot be read at all; ${fault} says why.
 */
enum err store_check(const char *dir, void (*finding)(void *arg, const char *text), void *arg,
                     struct store_report *report, struct fault *fault) MUST_CHECK;

#endif
