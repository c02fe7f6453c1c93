/*
 * store_repair.c - the files of a repair.
 *
 * The happy path: a copy is filled with what can be read (salvage.c), checked as any store is
 * (store_check.c), and put in the old one's place (replace.c), which is kept as
 * data.mdb.broken-TIME; what cannot be read becomes lines of quarantine-TIME.jsonl beside it.  The
 * crash mark (crash_mark.c) is removed, as its reason is gone.
 *
 * What can go wrong: no space, no permission, a new store that is not sound (our bug).  Then the
 * copy is removed, and the store is unchanged.
 *
 * Offline, one thread, under the lock of the directory.
 */

#include "store_tools/store_repair.h"

#include "ground/clock.h"
#include "store/crash_mark.h"
#include "store/record.h"
#include "store/replace.h"
#include "store/store.h"
#include "store_tools/store_check.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAP_BYTES ((uint64_t)1 << 30) /* it grows */

static void name_places(struct repair_places *places)
{
    int64_t now_us = clock_wall_us();
    time_t now = (time_t)(now_us / 1000000);
    struct tm utc;
    char stamp[40];

    gmtime_r(&now, &utc);
    size_t len = strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%S", &utc);
    snprintf(stamp + len, sizeof stamp - len, ".%03dZ", (int)(now_us / 1000 % 1000));
    snprintf(places->broken, sizeof places->broken, "data.mdb.broken-%s", stamp);
    snprintf(places->quarantine, sizeof places->quarantine, "quarantine-%s.jsonl", stamp);
}

static FILE *open_in(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;

    if (f == NULL && fd >= 0)
        close(fd);
    return f;
}

static void first_finding(void *arg, const char *text)
{
    struct fault *fault = arg;

    if (fault->why[0] == '\0')
        fault_fail(fault, ERR_STORE, NULL, "the new store is not sound (a bug): %.200s", text);
}

static enum err check_copy(const char *dir, struct fault *fault)
{
    char path[4200];
    struct store_report report;

    snprintf(path, sizeof path, "%s/" REPLACE_NEW, dir);
    fault_clear(fault);
    enum err e = store_check(path, first_finding, fault, &report, fault);
    return e == ERR_OK && report.findings > 0 ? ERR_STORE : e;
}

/* The copy, whole and on disk. */
static enum err fill(const char *dir, FILE *quarantine, void (*say)(void *arg, const char *text),
                     void *arg, struct salvage_report *report, struct fault *fault)
{
    struct store *copy = NULL;
    enum err e = replace_open(dir, STORE_FORMAT, MAP_BYTES, &copy, fault);

    if (e != ERR_OK)
        return e;
    e = salvage(dir, copy, quarantine, say, arg, report, fault);
    if (e == ERR_OK && store_sync(copy) != ERR_OK)
        e = fault_fail(fault, ERR_STORE, NULL, "%s", store_why(copy));
    store_close(copy);
    return e == ERR_OK ? check_copy(dir, fault) : e;
}

/* root repairs what belongs to the sidecar's user. */
static enum err finish_quarantine(const char *dir, int dir_fd, FILE *f, struct fault *fault)
{
    struct stat st;
    bool good = fstat(dir_fd, &st) == 0 && fflush(f) == 0 && fsync(fileno(f)) == 0 &&
                (st.st_uid == geteuid() || fchown(fileno(f), st.st_uid, st.st_gid) == 0);

    return good ? ERR_OK
                : fault_fail(fault, ERR_SYSTEM, dir, "the quarantine: %s", strerror(errno));
}

static enum err run(const char *dir, int dir_fd, void (*say)(void *arg, const char *text),
                    void *arg, struct salvage_report *report, struct repair_places *places,
                    struct fault *fault)
{
    char name[sizeof places->broken];
    enum err e = replace_clear(dir_fd, fault);
    FILE *f = e == ERR_OK ? open_in(dir_fd, places->quarantine) : NULL;

    if (e == ERR_OK && f == NULL)
        e = fault_fail(fault, ERR_SYSTEM, places->quarantine, "%s", strerror(errno));
    if (f == NULL)
        return e;
    e = fill(dir, f, say, arg, report, fault);
    if (e == ERR_OK)
        e = finish_quarantine(dir, dir_fd, f, fault);
    fclose(f);
    memcpy(name, places->broken, sizeof name);
    if (e == ERR_OK)
        e = replace_put(dir_fd, name, places->broken, fault);
    struct fault ignored;
    if (e != ERR_OK)
        (void)replace_clear(dir_fd, &ignored);
    if (e == ERR_OK)
        crash_mark_clear(dir);
    if (e != ERR_OK || report->quarantined == 0) {
        (void)unlinkat(dir_fd, places->quarantine, 0);
        places->quarantine[0] = '\0';
    }
    return e;
}

enum err store_repair(const char *dir, void (*say)(void *arg, const char *text), void *arg,
                      struct salvage_report *report, struct repair_places *places,
                      struct fault *fault)
{
    int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    *report = (struct salvage_report){0};
    name_places(places);
    if (dir_fd < 0)
        return fault_fail(fault, ERR_SYSTEM, dir, "%s", strerror(errno));
    enum err e = run(dir, dir_fd, say, arg, report, places, fault);
    close(dir_fd);
    if (e != ERR_OK && fault->path[0] == '\0')
        fault_at(fault, "%.200s", dir);
    return e;
}
