/* migrate.h - a store of another format, made one of this format, and back. */

#ifndef MIGRATE_H
#define MIGRATE_H

#include "ground/base.h"

#define MIGRATE_OLDEST 1 /* the format a store can be brought back to */

/* What was done. */
struct migrate_report {
    unsigned from, to; /* the same: nothing was to be done */
    uint64_t checkpoints, pending, dead;
    uint64_t
        quarantined; /* records that could not be read, and went there; back: that stay behind */
    uint64_t room_bytes; /* that it needed at most, as computed before */
    int64_t took_ms;
    char kept[64]; /* the file in the directory that the old store is now */
};

struct migrate_wires {
    void *arg;
    /** ${done} of ${of} records are copied: at the beginning, every two seconds, and before the
     * copy is synced.  NULL: not wanted. */
    void (*progress)(void *arg, uint64_t done, uint64_t of);
    /** Whether ${json} is the document that has ${hash}, since format 1 has no checksums
     * (rehash_is). NULL: nobody knows. */
    bool (*is_document)(struct slice json, const uint8_t hash[32]);
};

/**
 * migrate(dir, to, wires, report, fault):
 * Bring the store in ${dir}, which nobody holds, to format ${to}: STORE_FORMAT, or MIGRATE_OLDEST.
 * It is copied into a new file, which takes its place at one stroke; the old one is kept under
 * another name.  Killed at any moment, it has done all or nothing, and begins again.  No store is
 * well, too; one that is damaged or newer is left to store_open, which says so.
 * ERR_STORE: nothing was changed, ${fault} says why (no room, and how much; no hard links;
 * another process has it; the disk).
 */
enum err migrate(const char *dir, unsigned to, const struct migrate_wires *wires,
                 struct migrate_report *report, struct fault *fault) MUST_CHECK;

/** migrate_at_start(dir, wires, fault): To this program's format; what earlier migrations have kept
 * is named in the log, since nobody deletes it but the operator. */
enum err migrate_at_start(const char *dir, const struct migrate_wires *wires,
                          struct fault *fault) MUST_CHECK;

/**
 * migrate_each_old(dir, visit, arg):
 * The stores that migrations have kept in ${dir}: name, bytes, and when they were written last.
 */
void migrate_each_old(const char *dir,
                      void (*visit)(void *arg, const char *name, uint64_t bytes, int64_t at_us),
                      void *arg);

#endif
