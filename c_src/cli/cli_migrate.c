/*
 * cli_migrate.c - store migrate and drop-old.
 *
 * The happy path: migrate.c does the work and its report is printed; the stores it has kept are
 * named, with their size and age, and removed when the operator says so.
 *
 * What can go wrong: it is refused, and the reason printed; there is no terminal to ask on, and
 * --yes is not given.  One thread, then the end.
 */

#include "cli/cli_migrate.h"

#include "cli/cli.h"
#include "cli/cli_print.h"
#include "ground/clock.h"
#include "projection/rehash.h"
#include "store/migrate.h"

#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

#define NAMES_MAX 64
#define DAY_US    ((int64_t)86400 * 1000000)

struct old_stores {
    const char *dir;
    char names[NAMES_MAX][64];
    size_t count;
};

static void show_progress(void *arg, uint64_t done, uint64_t of)
{
    (void)arg;
    fprintf(stderr, "%" PRIu64 " of %" PRIu64 " records\n", done, of);
}

static int complain(const char *word, const struct fault *fault)
{
    fprintf(stderr, "convex_sidecar store %s: ", word);
    if (fault->path[0] != '\0') {
        cli_print_text(slice_str(fault->path), stderr);
        fputs(": ", stderr);
    }
    cli_print_text(slice_str(fault->why), stderr);
    fputc('\n', stderr);
    return CLI_ERROR;
}

int cli_migrate(const char *dir, unsigned to)
{
    const struct migrate_wires wires = {NULL, show_progress, rehash_is};
    struct migrate_report r;
    struct fault fault = {0};

    if (migrate(dir, to, &wires, &r, &fault) != ERR_OK)
        return complain("migrate", &fault);
    if (r.from == r.to) {
        printf("%s: format %u already; nothing was changed\n", dir, to);
        return CLI_DONE;
    }
    printf("%s: format %u is format %u now: %" PRIu64 " pending, %" PRIu64 " dead letters, %" PRIu64
           " checkpoints, in %.1f s\n",
           dir, r.from, r.to, r.pending, r.dead, r.checkpoints, (double)r.took_ms / 1000);
    if (r.quarantined > 0)
        printf("%" PRIu64 " records could not be read; they are in %s\n", r.quarantined,
               r.to > r.from ? "quarantine: store check names them" : r.kept);
    printf("the old store is %s/%s; convex_sidecar store drop-old removes it when all is well\n",
           dir, r.kept);
    return CLI_DONE;
}

/* ---- what is kept ------------------------------------------------------------------- */

static void print_old(void *arg, const char *name, uint64_t bytes, int64_t at_us)
{
    int64_t days = (clock_wall_us() - at_us) / DAY_US;

    (void)arg;
    printf("kept: %s, %" PRIu64 " bytes, last written %" PRId64 " days ago\n", name, bytes,
           days > 0 ? days : 0);
}

void cli_migrate_print_old(const char *dir)
{
    migrate_each_old(dir, print_old, NULL);
}

static void note_old(void *arg, const char *name, uint64_t bytes, int64_t at_us)
{
    struct old_stores *o = arg;

    if (o->count == NAMES_MAX || strlen(name) >= sizeof o->names[0])
        return;
    print_old(NULL, name, bytes, at_us);
    snprintf(o->names[o->count++], sizeof o->names[0], "%s", name);
}

static bool is_meant(void)
{
    char answer[8] = "";

    if (!isatty(STDIN_FILENO)) {
        fputs("convex_sidecar store drop-old: there is no way back to them, and no terminal to ask "
              "on; nothing was done; next: give --yes\n",
              stderr);
        return false;
    }
    printf("Remove? There is no way back to them [yes/no]: ");
    fflush(stdout);
    return fgets(answer, sizeof answer, stdin) != NULL && strcmp(answer, "yes\n") == 0;
}

int cli_migrate_drop_old(const char *dir, bool is_sure)
{
    struct old_stores o = {.dir = dir};
    char path[4300];

    migrate_each_old(dir, note_old, &o);
    if (o.count == 0) {
        printf("%s: no old store is kept here\n", dir);
        return CLI_DONE;
    }
    if (!is_sure && !is_meant())
        return CLI_USAGE;
    for (size_t i = 0; i < o.count; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, o.names[i]);
        if (unlink(path) != 0) {
            fprintf(stderr, "convex_sidecar store drop-old: %s: %s\n", path, strerror(errno));
            return CLI_ERROR;
        }
        printf("%s: removed\n", path);
    }
    return CLI_DONE;
}
