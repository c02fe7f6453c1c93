/*
 * store_repair.c - the directories of a repair.
 *
 * The happy path: DIR.repair is made and filled (salvage.c), checked as any store is
 * (store_check.c), given to DIR's owner and synced; then the two directories change
 * places in one rename, and the old one becomes DIR.broken-TIME.  A crash before the
 * rename leaves the old store and a DIR.repair, which the next repair removes; one
 * after it leaves the new store, and the old one under the name DIR.repair.  That
 * one has no mark of a repair in it, and is never removed.
 *
 * What can go wrong: no space, no permission, a mount point, a new store that is not
 * sound (a bug of ours).  Then DIR.repair is removed and DIR is as it was.
 *
 * Offline, one thread, under the lock of both directories.
 */

#include "store_tools/store_repair.h"

#include "ground/clock.h"
#include "store/store.h"
#include "store_tools/store_check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAP_BYTES ((uint64_t)1 << 30) /* it grows */
#define MARK      "made-by-repair"    /* a file that only a DIR.repair that is ours has */

struct repair {
    const char *dir;
    char fresh[4200];
    FILE *quarantine;
    struct store *store;
    bool is_swapped; /* fresh is the name of the old store now */
};

/* ---- the new directory ---------------------------------------------------- */

/* Remove the directory and the files in it. */
static void remove_dir(const char *path)
{
    DIR *d = opendir(path);

    if (d == NULL)
        return;
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    rmdir(path);
}

/* What an interrupted repair has left, if it is that. */
static enum err clear_place(const char *path, struct fault *fault)
{
    char mark[4300];
    struct stat st;

    if (lstat(path, &st) != 0)
        return errno == ENOENT ? ERR_OK
                               : fault_fail(fault, ERR_SYSTEM, path, "%s", strerror(errno));
    snprintf(mark, sizeof mark, "%s/" MARK, path);
    if (!S_ISDIR(st.st_mode) || lstat(mark, &st) != 0)
        return fault_fail(fault, ERR_SYSTEM, path,
                          "it is in the way: look what it is, and move it");
    remove_dir(path);
    return ERR_OK;
}

static FILE *open_in(const char *dir, const char *name)
{
    char path[4300];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (f == NULL && fd >= 0)
        close(fd);
    return f;
}

static enum err make_place(struct repair *r, const char *quarantine, struct fault *fault)
{
    enum err e = clear_place(r->fresh, fault);

    if (e != ERR_OK)
        return e;
    if (mkdir(r->fresh, 0700) != 0)
        return fault_fail(fault, ERR_SYSTEM, r->fresh, "%s", strerror(errno));
    FILE *mark = open_in(r->fresh, MARK);
    r->quarantine = open_in(r->fresh, quarantine);
    bool good = mark != NULL && r->quarantine != NULL;
    if (!good)
        fault_fail(fault, ERR_SYSTEM, r->fresh, "%s", strerror(errno));
    if (mark != NULL)
        fclose(mark);
    return good ? store_open(r->fresh, MAP_BYTES, &r->store, fault) : ERR_SYSTEM;
}

/* ---- before it is put in place -------------------------------------------- */

static void first_finding(void *arg, const char *text)
{
    struct fault *fault = arg;

    if (fault->why[0] == '\0')
        fault_say(fault, NULL, "the new store is not sound: %.200s", text);
}

static enum err check_fresh(const struct repair *r, struct fault *fault)
{
    struct store_report report;

    fault_clear(fault);
    fault_at(fault, "%s", r->fresh);
    enum err e = store_check(r->fresh, first_finding, fault, &report, fault);
    return e == ERR_OK && report.findings > 0 ? ERR_STORE : e;
}

/* root repairs what belongs to the sidecar's user. */
static bool give_to_owner(const struct repair *r)
{
    struct stat st;
    DIR *d = stat(r->dir, &st) == 0 ? opendir(r->fresh) : NULL;
    bool good = d != NULL;

    for (struct dirent *e; good && (e = readdir(d)) != NULL;)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            good = fchownat(dirfd(d), e->d_name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) == 0;
    good = good && fchown(dirfd(d), st.st_uid, st.st_gid) == 0;
    good = good && fchmod(dirfd(d), st.st_mode & 07777) == 0 && fsync(dirfd(d)) == 0;
    if (d != NULL)
        closedir(d);
    return good;
}

static enum err finish_fresh(struct repair *r, const char *quarantine, bool is_needed,
                             struct fault *fault)
{
    char path[4300];
    bool good = fflush(r->quarantine) == 0 && fsync(fileno(r->quarantine)) == 0;

    snprintf(path, sizeof path, "%s/%s", r->fresh, quarantine);
    if (good && !is_needed)
        good = unlink(path) == 0;
    return good && give_to_owner(r)
               ? ERR_OK
               : fault_fail(fault, ERR_SYSTEM, r->fresh, "%s", strerror(errno));
}

/* ---- changing places ------------------------------------------------------ */

static void sync_parent(const char *path)
{
    char parent[4300];

    snprintf(parent, sizeof parent, "%s/..", path);
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd); /* one that fails costs a repeated repair after a power cut */
        close(fd);
    }
}

static enum err swap(struct repair *r, const char *broken, struct fault *fault)
{
    char mark[4300];

    if (renameat2(AT_FDCWD, r->fresh, AT_FDCWD, r->dir, RENAME_EXCHANGE) != 0)
        return fault_fail(
            fault, ERR_SYSTEM, r->dir, "%s",
            errno == EBUSY || errno == EXDEV
                ? "it is a mount point, which cannot change places: put the store in a "
                  "folder inside it"
                : strerror(errno));
    r->is_swapped = true;
    snprintf(mark, sizeof mark, "%s/" MARK, r->dir);
    (void)unlink(mark); /* it means nothing there */
    if (rename(r->fresh, broken) != 0)
        return fault_fail(fault, ERR_SYSTEM, r->fresh,
                          "the new store is in place; this is the old one");
    sync_parent(r->dir);
    return ERR_OK;
}

/* ---- all of it ------------------------------------------------------------ */

static void name_places(struct repair *r, struct repair_places *places, char *quarantine,
                        size_t size)
{
    time_t now = (time_t)(clock_wall_us() / 1000000);
    struct tm utc;
    char stamp[32];

    gmtime_r(&now, &utc);
    strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &utc);
    snprintf(r->fresh, sizeof r->fresh, "%s.repair", r->dir);
    snprintf(places->broken, sizeof places->broken, "%s.broken-%s", r->dir, stamp);
    snprintf(quarantine, size, "quarantine-%s.jsonl", stamp);
    snprintf(places->quarantine, sizeof places->quarantine, "%s/%s", r->dir, quarantine);
}

static enum err fill(struct repair *r, const char *quarantine,
                     void (*say)(void *arg, const char *text), void *arg,
                     struct salvage_report *report, struct fault *fault)
{
    enum err e = make_place(r, quarantine, fault);

    if (e == ERR_OK)
        e = salvage(r->dir, r->store, r->quarantine, say, arg, report, fault);
    if (e == ERR_OK)
        e = check_fresh(r, fault);
    if (e == ERR_OK)
        e = finish_fresh(r, quarantine, report->quarantined > 0, fault);
    return e;
}

enum err store_repair(const char *dir, void (*say)(void *arg, const char *text), void *arg,
                      struct salvage_report *report, struct repair_places *places,
                      struct fault *fault)
{
    struct repair r = {.dir = dir};
    char quarantine[64];
    struct stat st;

    name_places(&r, places, quarantine, sizeof quarantine);
    if (lstat(places->broken, &st) == 0)
        return fault_fail(fault, ERR_SYSTEM, places->broken, "it is there already");
    enum err e = fill(&r, quarantine, say, arg, report, fault);
    bool is_ours = r.quarantine != NULL; /* DIR.repair was made by us */
    if (r.quarantine != NULL && fclose(r.quarantine) != 0 && e == ERR_OK)
        e = fault_fail(fault, ERR_SYSTEM, r.fresh, "%s", strerror(errno));
    if (e == ERR_OK)
        e = swap(&r, places->broken, fault);
    store_close(r.store);
    if (e != ERR_OK && is_ours && !r.is_swapped)
        remove_dir(r.fresh);
    if (report->quarantined == 0)
        places->quarantine[0] = '\0';
    return e;
}
