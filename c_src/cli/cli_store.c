/*
 * cli_store.c - store check, dump and repair.
 *
 * The happy path: the store is held against a sidecar that might start, walked by the
 * room of that word, and the outcome is told: check a line for each finding and a
 * summary, dump a line for each record, repair what it did and where things are.
 *
 * What can go wrong: a sidecar has the store: its pid is named, nothing is done.  The
 * store is damaged beyond reading, or the disk fails: said on standard error.
 *
 * One thread, then the end.
 */

#include "cli/cli_store.h"

#include "cli/cli.h"
#include "cli/cli_print.h"
#include "store/store_dir.h"
#include "store_tools/store_check.h"
#include "store_tools/store_dump.h"
#include "store_tools/store_repair.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <unistd.h>

#define LINES_MAX 100 /* findings shown; the rest is counted */

/* Lines on ${out}, up to a bound. */
struct listing {
    FILE *out;
    uint64_t count;
};

static void list(void *arg, const char *text)
{
    struct listing *l = arg;

    if (l->count++ >= LINES_MAX)
        return;
    cli_print_text(slice_str(text), l->out);
    fputc('\n', l->out);
}

static void end_list(const struct listing *l)
{
    if (l->count > LINES_MAX)
        fprintf(l->out, "... and %" PRIu64 " more\n", l->count - LINES_MAX);
}

static int complain(const struct fault *fault)
{
    fputs("convex_sidecar store: ", stderr);
    if (fault->path[0] != '\0') {
        cli_print_text(slice_str(fault->path), stderr);
        fputs(": ", stderr);
    }
    cli_print_text(slice_str(fault->why), stderr);
    fputc('\n', stderr);
    return CLI_ERROR;
}

static int finish(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    fprintf(stderr, "convex_sidecar store: standard output: %s\n", strerror(errno));
    return CLI_ERROR;
}

static int check(const char *dir)
{
    struct listing l = {.out = stdout};
    struct store_report r;
    struct fault fault = {0};

    if (store_check(dir, list, &l, &r, &fault) != ERR_OK)
        return complain(&fault);
    end_list(&l);
    printf("%s: %" PRIu64 " pending (%" PRIu64 " bytes), %" PRIu64 " dead letters (%" PRIu64
           " bytes), %" PRIu64 " checkpoints: ",
           dir, r.pending, r.pending_bytes, r.dead, r.dead_bytes, r.checkpoints);
    if (r.findings == 0 && r.unsendable > 0)
        printf("sound, but %" PRIu64 " pending will be dead letters\n", r.unsendable);
    else if (r.findings == 0)
        printf("sound\n");
    else
        printf("damaged, %" PRIu64 " findings; see convex_sidecar store repair --help\n",
               r.findings);
    return finish(r.findings == 0 ? CLI_DONE : CLI_ERROR);
}

static int dump(const char *dir)
{
    struct fault fault = {0};
    uint64_t damaged = 0;

    if (store_dump(dir, stdout, &damaged, &fault) != ERR_OK)
        return complain(&fault);
    if (damaged > 0)
        fprintf(stderr, "convex_sidecar store: %" PRIu64 " lines say \"damaged\"\n", damaged);
    return damaged == 0 ? CLI_DONE : CLI_ERROR;
}

static void print_repair(const char *dir, const struct salvage_report *r,
                         const struct repair_places *places)
{
    printf("%s: repaired: %" PRIu64 " pending, %" PRIu64 " dead letters, %" PRIu64 " checkpoints\n",
           dir, r->pending, r->dead, r->checkpoints);
    printf("pending versions lost: %" PRIu64 "; left out because a newer one is there: %" PRIu64
           "\n",
           r->pending_lost, r->pending_overtaken);
    printf("checkpoints made anew: %" PRIu64 ", mended: %" PRIu64 "\n", r->checkpoints_made,
           r->checkpoints_mended);
    if (r->quarantined > 0)
        printf("damaged records: %" PRIu64 ", their bytes are in %s\n", r->quarantined,
               places->quarantine);
    printf("the old store is %s; remove it when all is well\n", places->broken);
}

static int repair(const char *dir)
{
    struct listing l = {.out = stdout};
    struct store_report before;
    struct salvage_report report = {0};
    struct repair_places places;
    struct fault fault = {0};

    if (store_check(dir, NULL, NULL, &before, &fault) != ERR_OK)
        return complain(&fault);
    if (before.findings == 0) {
        printf("%s: sound; nothing was changed\n", dir);
        return finish(CLI_DONE);
    }
    if (store_repair(dir, list, &l, &report, &places, &fault) != ERR_OK)
        return complain(&fault);
    end_list(&l);
    print_repair(dir, &report, &places);
    return finish(CLI_DONE);
}

int cli_store_run(const char *dir, int argc, char **argv)
{
    int (*word)(const char *) = argc != 1                        ? NULL
                                : strcmp(argv[0], "check") == 0  ? check
                                : strcmp(argv[0], "dump") == 0   ? dump
                                : strcmp(argv[0], "repair") == 0 ? repair
                                                                 : NULL;
    char real[PATH_MAX], file[PATH_MAX];
    struct fault fault = {0};
    int fd, unknown = word == check ? CLI_UNKNOWN : CLI_ERROR;

    if (word == NULL) {
        fprintf(stderr, "convex_sidecar store: check, dump or repair is wanted; see "
                        "convex_sidecar store --help\n");
        return CLI_USAGE;
    }
    /* Nothing is made in a directory that is no store. */
    if (snprintf(file, sizeof file, "%s/data.mdb", dir) >= (int)sizeof file ||
        realpath(dir, real) == NULL || access(file, F_OK) != 0) {
        fprintf(stderr, "convex_sidecar store: there is no store in %s: %s\n", dir,
                strerror(errno));
        return unknown;
    }
    if (store_hold(real, &fd, &fault) != ERR_OK) {
        complain(&fault);
        return unknown;
    }
    int status = word(real);
    if (fd >= 0)
        close(fd);
    return status;
}
