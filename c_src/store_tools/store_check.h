/* store_check.h - whether a store, read from outside, keeps its promises. */

#ifndef STORE_CHECK_H
#define STORE_CHECK_H

#include "ground/base.h"

/* What was found, counted. */
struct store_report {
    uint64_t pending, checkpoints, dead; /* records that can be read */
    uint64_t pending_bytes, dead_bytes;  /* JSON in them */
    uint64_t findings;
    uint64_t quarantined; /* quarantined records: reported, but not findings */
    uint64_t unsendable; /* pending versions that become dead letters: reported, but not findings */
};

/**
 * store_check(dir, finding, arg, report, fault):
 * Walk the store in ${dir} (the caller holds it) page by page and record by record: the file's
 * structure, each record, invariants 1 to 4 of outbox.h, the counters, the hash of each document
 * that is kept.  ${finding} (may be NULL) is called with a sentence for each fault.  Writes
 * nothing.  ERR_OK: ${report} says how many findings, 0: the store is sound.  ERR_STORE,
 * ERR_NOT_FOUND: it cannot be read at all; ${fault} says why.
 */
enum err store_check(const char *dir, void (*finding)(void *arg, const char *text), void *arg,
                     struct store_report *report, struct fault *fault) MUST_CHECK;

#endif
