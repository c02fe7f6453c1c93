/* migrate.h - migrates a store to this program's format, or back. */

#ifndef MIGRATE_H
#define MIGRATE_H

#include "ground/base.h"

#define MIGRATE_OLDEST 1 /* the format a store can be brought back to */

/* What was done. */
struct migrate_report {
    unsigned from, to; /* equal: there was nothing to do */
    uint64_t checkpoints, pending, dead;
    uint64_t quarantined; /* unreadable records that went there; back: records left out */
    uint64_t room_bytes;  /* disk space needed at most, computed beforehand */
    int64_t took_ms;
    char kept[64]; /* the file name of the old store in the directory */
};

struct migrate_wires {
    void *arg;
    /** ${done} of ${of} records are copied: at the beginning, every two seconds, and before the
     * copy is synced.  NULL: not wanted. */
    void (*progress)(void *arg, uint64_t done, uint64_t of);
    /** Whether ${json} is the document that has ${hash}, since format 1 has no checksums
     * (rehash_is).  NULL: not checked. */
    bool (*is_document)(struct slice json, const uint8_t hash[32]);
};

/**
 * migrate(dir, to, wires, report, fault):
 * Bring the store in ${dir}, which nobody holds, to format ${to}: STORE_FORMAT, or MIGRATE_OLDEST.
 * It is copied into a new file, which replaces it atomically; the old one is kept under another
 * name.  If killed at any moment, all or nothing is done, and the next call begins again.  A
 * missing store is no error; a damaged or newer one is left to store_open, which says so.
 * ERR_STORE: nothing was changed, ${fault} says why (no space, and how much is needed; no hard
 * links; another process has it; the disk).
 */
enum err migrate(const char *dir, unsigned to, const struct migrate_wires *wires,
                 struct migrate_report *report, struct fault *fault) MUST_CHECK;

/** migrate_at_start(dir, wires, fault): Migrate to this program's format; stores kept by earlier
 * migrations are logged, since only the operator deletes them. */
enum err migrate_at_start(const char *dir, const struct migrate_wires *wires,
                          struct fault *fault) MUST_CHECK;

/**
 * migrate_each_old(dir, visit, arg):
 * The stores that migrations have kept in ${dir}: name, size, and when they were last written.
 */
void migrate_each_old(const char *dir,
                      void (*visit)(void *arg, const char *name, uint64_t bytes, int64_t at_us),
                      void *arg);

#endif
