/*
 * replace.c - a store's file replaced by a copy of it.
 *
 * The happy path: the copy is made in data.mdb.new/, a directory of its own; then the old file gets
 * a second name, and the new one is renamed over the first.  Only that rename changes
 * anything.
 *
 * What can go wrong: no space, no hard links, the disk; or the process is killed.  Then data.mdb is
 * still the old store, and the next attempt begins again: nothing is ever resumed.
 *
 * For whoever holds the store.  docs/adr/0010 has the table of steps.
 */

#include "store/replace.h"

#include "ground/log.h"
#include "store/migrate_inside.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define DATA      "data.mdb"
#define COPY      REPLACE_NEW "/" DATA
#define NAMES_MAX 9 /* of stores kept under one name */

enum err replace_clear(int dir_fd, struct fault *fault)
{
    if ((unlinkat(dir_fd, COPY, 0) == 0 || errno == ENOENT) &&
        (unlinkat(dir_fd, REPLACE_NEW, AT_REMOVEDIR) == 0 || errno == ENOENT))
        return ERR_OK;
    return fault_fail(fault, ERR_STORE, NULL, REPLACE_NEW ": %s", strerror(errno));
}

enum err replace_open(const char *dir, unsigned format, uint64_t map_bytes, struct store **s,
                      struct fault *fault)
{
    char path[4200];

    snprintf(path, sizeof path, "%s/" REPLACE_NEW, dir);
    if (mkdir(path, 0700) != 0)
        return fault_fail(fault, ERR_STORE, path, "%s", strerror(errno));
    return store_open_copy(path, format, map_bytes, s, fault);
}

/* Give the old store a second name. */
static enum err keep_old(int dir_fd, const char *name, char kept[64], struct fault *fault)
{
    struct stat data, other;

    if (fstatat(dir_fd, DATA, &data, AT_SYMLINK_NOFOLLOW) != 0)
        return fault_fail(fault, ERR_STORE, NULL, DATA ": %s", strerror(errno));
    for (int n = 1; n <= NAMES_MAX; n++) {
        int len = snprintf(kept, 64, n == 1 ? "%.60s" : "%.60s.%d", name, n);
        PRE(len < 64);
        if (linkat(dir_fd, DATA, dir_fd, kept, 0) == 0)
            return ERR_OK;
        int bad = errno;
        if (bad != EEXIST)
            return fault_fail(fault, ERR_STORE, NULL,
                              "%s: %s: a file system without hard links can't keep the old store: "
                              "copy it to another one",
                              kept, strerror(bad));
        if (fstatat(dir_fd, kept, &other, AT_SYMLINK_NOFOLLOW) == 0 &&
            other.st_ino == data.st_ino && other.st_dev == data.st_dev)
            return ERR_OK; /* by an attempt that was killed */
    }
    return fault_fail(fault, ERR_STORE, NULL,
                      "%d stores are kept as %s already: convex_sidecar store drop-old", NAMES_MAX,
                      name);
}

static enum err sync_dir(int dir_fd, struct fault *fault)
{
    return fsync(dir_fd) == 0 ? ERR_OK : fault_fail(fault, ERR_STORE, NULL, "%s", strerror(errno));
}

/* root may work on a store that belongs to the sidecar's user. */
static void give_to_owner(int dir_fd)
{
    struct stat st;

    if (fstatat(dir_fd, DATA, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_uid != geteuid() &&
        fchownat(dir_fd, COPY, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) != 0)
        log_event(LOG_WARNING, "store.owner_not_kept", "file=" COPY " why=\"%s\"", strerror(errno));
}

enum err replace_put(int dir_fd, const char *name, char kept[64], struct fault *fault)
{
    enum err e = sync_dir(dir_fd, fault);

    if (e != ERR_OK)
        return e;
    give_to_owner(dir_fd);
    e = keep_old(dir_fd, name, kept, fault);
    if (e == ERR_OK && unlinkat(dir_fd, "lock.mdb", 0) != 0 && errno != ENOENT)
        e = fault_fail(fault, ERR_STORE, NULL, "lock.mdb: %s", strerror(errno));
    if (e == ERR_OK)
        e = sync_dir(dir_fd, fault);
    migrate_step(5);
    if (e == ERR_OK && renameat(dir_fd, COPY, dir_fd, DATA) != 0)
        e = fault_fail(fault, ERR_STORE, NULL, COPY ": %s", strerror(errno));
    if (e != ERR_OK)
        return e;
    migrate_step(6);
    (void)replace_clear(dir_fd, fault); /* its directory; else the next attempt does it */
    return sync_dir(dir_fd, fault);
}
