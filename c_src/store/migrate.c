/*
 * migrate.c - migrates a store to another format.
 *
 * The happy path: the directory is held throughout.  The remains of an earlier attempt
 * (data.mdb.new/) are removed (0); the space needed is computed and is free (1); every record is
 * read (survey.c) and put into data.mdb.new/data.mdb, the tables one after the other (2, 3); what
 * was read must be what was written, and is synced (4); the old file gets a second name,
 * data.mdb.format-N (5); the new one is renamed over the first (6).  Only that rename changes
 * anything.
 *
 * What can go wrong: no space, no hard links, the disk; or the process is killed.  Then data.mdb is
 * still the old store, and the next start begins again: nothing is ever resumed.  Damage that only
 * a repair can judge is refused.  Records that cannot be read do not end a migration (migrate_up.c,
 * migrate_down.c).
 *
 * Before the store is opened, on one thread.  docs/adr/0010 has the table of steps.
 */

#include "store/migrate.h"

#include "ground/clock.h"
#include "ground/log.h"
#include "store/crash_mark.h"
#include "store/migrate_inside.h"
#include "store/replace.h"
#include "store/store.h"
#include "store/store_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define DATA              "data.mdb"
#define OLD               "data.mdb.format-"
#define BROKEN            "data.mdb.broken-" /* of a repair */
#define COMMIT_RECORDS    50000
#define COMMIT_BYTES      ((size_t)64 << 20)
#define STEP_RECORDS      1000 /* between two readings of the clock */
#define PROGRESS_US       2000000
#define ROOM_BYTES        ((uint64_t)16 << 20) /* beyond what the records need */
#define ROOM_A_CHECKPOINT 64

/* ---- the copy ----------------------------------------------------------------- */

bool migrate_good(struct migration *m, enum err e)
{
    if (e == ERR_STORE && m->failed == ERR_OK)
        m->failed = e;
    return e == ERR_OK;
}

void migrate_note(uint64_t *next, uint64_t used)
{
    if (used >= *next && used < UINT64_MAX)
        *next = used + 1;
}

static void commit(struct migration *m)
{
    m->uncommitted = m->uncommitted_bytes = 0;
    if (migrate_good(m, store_commit(m->to)))
        migrate_good(m, store_begin(m->to));
    migrate_step(2);
}

void migrate_put(struct migration *m, enum store_table t, struct slice key, bool is_last)
{
    if (m->failed != ERR_OK)
        return;
    enum err e = is_last ? store_append(m->to, t, key, buf_view(&m->record))
                         : store_put(m->to, t, key, buf_view(&m->record));
    m->uncommitted_bytes += m->record.len;
    if (migrate_good(m, e) &&
        (++m->uncommitted >= COMMIT_RECORDS || m->uncommitted_bytes >= COMMIT_BYTES))
        commit(m);
}

void migrate_put_numbered(struct migration *m, enum store_table t, uint64_t no, bool is_last)
{
    migrate_put(m, t, slice_of(&no, sizeof no), is_last);
}

static void tell_progress(const struct migration *m)
{
    if (m->wires != NULL && m->wires->progress != NULL)
        m->wires->progress(m->wires->arg, m->seen, m->of);
}

static void show_progress(struct migration *m)
{
    int64_t now_us = clock_mono_us();
    int64_t left_us = m->seen > 0 && m->of > m->seen
                          ? (now_us - m->began_us) / (int64_t)m->seen * (int64_t)(m->of - m->seen)
                          : 0;

    if (now_us - m->said_us < PROGRESS_US)
        return;
    m->said_us = now_us;
    log_event(LOG_INFO, "store.migrating", "done=%llu of=%llu eta_s=%lld",
              (unsigned long long)m->seen, (unsigned long long)m->of,
              (long long)((left_us + 999999) / 1000000));
    tell_progress(m);
}

static void take_entry(void *arg, const struct survey_entry *e)
{
    struct migration *m = arg;

    if (m->failed != ERR_OK || m->damage[0] != '\0')
        return;
    m->seen++;
    m->has_format = m->has_format || (e->table == STORE_META && slice_is(e->key, "format"));
    if (m->report->from < m->report->to)
        migrate_up_entry(m, e);
    else
        migrate_down_entry(m, e);
    if (m->seen % STEP_RECORDS == 0) {
        show_progress(m);
        migrate_step(3);
    }
}

static void take_damage(void *arg, const char *what)
{
    struct migration *m = arg;

    if (m->damage[0] == '\0')
        snprintf(m->damage, sizeof m->damage, "%.150s", what);
}

static enum err refuse_damage(const struct migration *m, struct fault *fault)
{
    return fault_fail(
        fault, ERR_STORE, NULL,
        "damaged (%.120s): convex_sidecar store repair first makes a sound store of it", m->damage);
}

/* Whether the new store has all that was counted, and every record was read. */
static bool is_complete(struct migration *m, struct survey *p)
{
    const struct migrate_report *r = m->report;
    uint64_t checkpoints = 0, pending = 0, dead = 0, was = 0;

    migrate_good(m, store_count(m->to, STORE_CHECKPOINTS, &checkpoints));
    migrate_good(m, store_count(m->to, STORE_PENDING, &pending));
    migrate_good(m, store_count(m->to, STORE_DEAD, &dead));
    for (enum store_table t = STORE_META; t < STORE_TABLE_COUNT; t++)
        was += t == STORE_IDS ? 0 : survey_entries(p, t);
    return m->failed == ERR_OK && m->seen == was && checkpoints == r->checkpoints &&
           pending == r->pending && dead == r->dead &&
           checkpoints + pending + dead + r->quarantined + m->overtaken >=
               m->made + survey_entries(p, STORE_CHECKPOINTS) + survey_entries(p, STORE_PENDING) +
                   survey_entries(p, STORE_DEAD);
}

/* Steps 2 to 4, into the new store. */
static enum err fill(struct migration *m, struct survey *p, struct fault *fault)
{
    static const enum store_table order[] = {STORE_META, STORE_QUARANTINE, STORE_CHECKPOINTS,
                                             STORE_PENDING, STORE_DEAD};

    migrate_good(m, store_begin(m->to));
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        survey_table(p, order[i]);
    if (m->damage[0] != '\0')
        return refuse_damage(m, fault);
    if (!m->has_format && m->seen > 0) {
        take_damage(m, "meta/format: documents, but no format"); /* the tables are ours */
        return refuse_damage(m, fault);
    }
    if (m->failed == ERR_OK && !is_complete(m, p))
        return fault_fail(fault, ERR_STORE, NULL,
                          "the copy is not what was read: nothing was changed");
    if (m->report->from < m->report->to)
        migrate_up_end(m);
    else
        migrate_down_end(m);
    tell_progress(m); /* what comes now may take the disk long */
    if (m->failed == ERR_OK)
        migrate_good(m, store_commit(m->to));
    if (m->failed == ERR_OK)
        migrate_good(m, store_sync(m->to));
    if (m->failed != ERR_OK)
        return fault_fail(fault, ERR_STORE, NULL, REPLACE_NEW ": %s", store_why(m->to));
    migrate_step(4);
    return ERR_OK;
}

/* ---- files -------------------------------------------------------------------- */

/* Step 1.  The fault has both numbers, so that the operator can free space and start again. */
static enum err check_room(int dir_fd, const struct survey *p, struct migrate_report *report,
                           struct fault *fault)
{
    uint64_t used = survey_used_bytes(p);
    uint64_t need =
        used + used / 4 + ROOM_A_CHECKPOINT * survey_entries(p, STORE_CHECKPOINTS) + ROOM_BYTES;
    struct statvfs fs;

    report->room_bytes = need;
    if (fstatvfs(dir_fd, &fs) != 0)
        return fault_fail(fault, ERR_STORE, NULL, "%s", strerror(errno));
    uint64_t have = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (have >= need)
        return ERR_OK;
    return fault_fail(
        fault, ERR_STORE, NULL,
        "to bring the store from format %u to %u, %llu bytes must be free on its disk; "
        "%llu are: make room and start again; nothing was changed",
        report->from, report->to, (unsigned long long)need, (unsigned long long)have);
}

/* ---- all of it ---------------------------------------------------------------- */

static enum err copy(struct migration *m, const char *dir, struct survey *p, struct fault *fault)
{
    enum err e = replace_open(dir, m->report->to, 2 * m->report->room_bytes, &m->to, fault);
    if (e != ERR_OK)
        return e;
    migrate_step(2);
    m->counters = record_first_counters();
    m->began_us = m->said_us = clock_mono_us();
    for (enum store_table t = STORE_META; t < STORE_TABLE_COUNT; t++)
        m->of += t == STORE_IDS ? 0 : survey_entries(p, t);
    tell_progress(m);
    e = fill(m, p, fault);
    store_close(m->to);
    owners_free(&m->owners);
    buf_free(&m->sink);
    buf_free(&m->record);
    buf_free(&m->other);
    return e;
}

static void log_done(const struct migrate_report *r)
{
    log_event(LOG_INFO, "store.migrated",
              "from=%u to=%u records=%llu quarantined=%llu took_ms=%lld kept=%s", r->from, r->to,
              (unsigned long long)r->checkpoints + r->pending + r->dead,
              (unsigned long long)r->quarantined, (long long)r->took_ms, r->kept);
    if (r->from < r->to)
        log_event(LOG_INFO, "store.way_back", "next=\"%s\"",
                  "convex_sidecar store migrate --to 1, with this program; an older one calls "
                  "this store damaged and must not repair it");
}

/* With the directory held and the old store open for reading. */
static enum err run_steps(const char *dir, int dir_fd, struct survey *p, struct migration *m,
                          struct fault *fault)
{
    int64_t began_ms = clock_mono_ms();
    char name[40];
    enum err e = check_room(dir_fd, p, m->report, fault);

    migrate_step(1);
    if (e == ERR_OK)
        e = copy(m, dir, p, fault);
    snprintf(name, sizeof name, OLD "%u", m->report->from);
    if (e == ERR_OK)
        e = replace_put(dir_fd, name, m->report->kept, fault);
    if (e != ERR_OK) {
        struct fault ignored;
        (void)replace_clear(dir_fd, &ignored);
        return e;
    }
    m->report->took_ms = clock_mono_ms() - began_ms;
    log_done(m->report);
    return ERR_OK;
}

static enum err migrate_held(const char *dir, int dir_fd, unsigned to,
                             const struct migrate_wires *wires, struct migrate_report *report,
                             struct fault *fault)
{
    struct migration m = {.wires = wires, .report = report};
    const struct survey_visitor visitor = {&m, take_entry, take_damage};
    struct survey *p;

    enum err e = replace_clear(dir_fd, fault);
    migrate_step(0);
    if (e != ERR_OK)
        return e;
    /* A store that cannot be read is left to store_open, which refuses every damage alike. */
    if (survey_open(dir, SURVEY_BY_CURSORS, &visitor, &p, fault) != ERR_OK)
        return ERR_OK;
    report->from = survey_format(p);
    report->to = to;
    /* A migration reads everything: try in another process first, where LMDB may crash. */
    if (report->from != to && m.damage[0] == '\0' && survey_try(dir, fault) != ERR_OK)
        take_damage(&m, fault->why);
    if (report->from != to && m.damage[0] != '\0')
        e = refuse_damage(&m, fault);
    else if (report->from != to)
        e = run_steps(dir, dir_fd, p, &m, fault);
    if (m.damage[0] != '\0')
        crash_mark_leave(dir, m.damage);
    survey_close(p);
    return e;
}

enum err migrate(const char *dir, unsigned to, const struct migrate_wires *wires,
                 struct migrate_report *report, struct fault *fault)
{
    char path[4200];
    int dir_fd, lock_fd = -1;

    PRE(to == STORE_FORMAT || to == MIGRATE_OLDEST);
    *report = (struct migrate_report){.from = to, .to = to};
    fault_clear(fault);
    snprintf(path, sizeof path, "%s/" DATA, dir);
    if (access(path, F_OK) != 0)
        return ERR_OK;
    enum err e = store_dir_open(dir, &dir_fd, fault);
    if (e != ERR_OK)
        return e;
    e = store_dir_lock(dir, dir_fd, &lock_fd, fault);
    if (e == ERR_OK)
        e = migrate_held(dir, dir_fd, to, wires, report, fault);
    if (e != ERR_OK && fault->path[0] == '\0')
        fault_at(fault, "%s", dir);
    close(dir_fd);
    if (lock_fd >= 0)
        close(lock_fd);
    return e;
}

void migrate_each_old(const char *dir,
                      void (*visit)(void *arg, const char *name, uint64_t bytes, int64_t at_us),
                      void *arg)
{
    DIR *d = opendir(dir);
    struct stat st;

    if (d == NULL)
        return;
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        if ((strncmp(e->d_name, OLD, strlen(OLD)) == 0 ||
             strncmp(e->d_name, BROKEN, strlen(BROKEN)) == 0) &&
            fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
            visit(arg, e->d_name, (uint64_t)st.st_size,
                  (int64_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000);
    closedir(d);
}

static void log_old(void *arg, const char *name, uint64_t bytes, int64_t at_us)
{
    (void)arg;
    (void)at_us;
    log_event(LOG_INFO, "store.old_kept", "file=%s bytes=%llu next=\"%s\"", name,
              (unsigned long long)bytes, "convex_sidecar store drop-old, when all is well");
}

enum err migrate_at_start(const char *dir, const struct migrate_wires *wires, struct fault *fault)
{
    struct migrate_report report;
    enum err e = migrate(dir, STORE_FORMAT, wires, &report, fault);

    if (e == ERR_OK)
        migrate_each_old(dir, log_old, NULL);
    return e;
}
