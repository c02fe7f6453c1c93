/*
 * cli_store.c - the words of `store`: check, dump, repair, export; migrate, drop-old; import.
 *
 * The happy path: the store is locked against a sidecar that might start, the module of that word
 * walks it, and the outcome is printed: check prints a line for each finding and a summary, dump a
 * line for each record, repair what it did and where things are.  migrate locks the store itself,
 * drop-old needs no lock, import speaks to the running sidecar.
 *
 * What can go wrong: a sidecar holds the store: its pid is named, nothing is done.  The store
 * cannot be read at all, or the disk fails: reported on standard error.
 *
 * One thread, then the end.
 */

#include "cli/cli_store.h"

#include "cli/cli.h"
#include "cli/cli_import.h"
#include "cli/cli_migrate.h"
#include "cli/cli_print.h"
#include "ground/clock.h"
#include "store/migrate.h"
#include "store/record.h"
#include "store/store_dir.h"
#include "store_tools/store_check.h"
#include "store_tools/store_dump.h"
#include "store_tools/store_export.h"
#include "store_tools/store_repair.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#define LINES_MAX        100 /* findings shown; the rest is counted */
#define IMPORT_TIMEOUT_S 60
#define TIMEOUT_MAX_S    7200

/* What may follow a word. */
struct rest {
    const char *file;
    int64_t to, timeout_s;
    bool is_sure, anyway;
};

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

static int check(const char *dir, const struct rest *unused)
{
    struct listing l = {.out = stdout};
    struct store_report r;
    struct fault fault = {0};

    (void)unused;
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
        printf("damaged, %" PRIu64 " findings; next: convex_sidecar store repair\n", r.findings);
    cli_migrate_print_old(dir);
    return finish(r.findings == 0 ? CLI_DONE : CLI_ERROR);
}

static int dump(const char *dir, const struct rest *unused)
{
    struct fault fault = {0};
    uint64_t damaged = 0;

    (void)unused;
    if (store_dump(dir, stdout, &damaged, &fault) != ERR_OK)
        return complain(&fault);
    if (damaged > 0)
        fprintf(stderr,
                "convex_sidecar store: %" PRIu64
                " lines say \"damaged\"; next: convex_sidecar store repair\n",
                damaged);
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
        printf("damaged records: %" PRIu64 ", their bytes are in %s/%s\n", r->quarantined, dir,
               places->quarantine);
    printf("the old store is %s/%s; convex_sidecar store drop-old removes it when all is well\n",
           dir, places->broken);
}

static int repair(const char *dir, const struct rest *rest)
{
    struct listing l = {.out = stdout};
    struct store_report before;
    struct salvage_report report = {0};
    struct repair_places places;
    struct fault fault = {0};

    if (rest->anyway)
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a waiting start is killed: nothing is left half done */
    if (store_check(dir, NULL, NULL, &before, &fault) != ERR_OK)
        return complain(&fault);
    if (before.findings == 0 && !rest->anyway) {
        printf("%s: sound; nothing was changed\n", dir);
        return finish(CLI_DONE);
    }
    if (store_repair(dir, list, &l, &report, &places, &fault) != ERR_OK)
        return complain(&fault);
    end_list(&l);
    print_repair(dir, &report, &places);
    return finish(CLI_DONE);
}

static void warn(void *arg, const char *text)
{
    (void)arg;
    fputs("convex_sidecar store export: ", stderr);
    cli_print_text(slice_str(text), stderr);
    fputc('\n', stderr);
}

/* Export to a file that must not exist yet; without a name, to standard output. */
static int export(const char *dir, const struct rest *rest)
{
    const char *path = rest->file;
    struct export_report r;
    struct fault fault = {0};
    FILE *out = path != NULL ? fopen(path, "wxe") : stdout;

    if (out == NULL) {
        fault_say(&fault, path, "%s", strerror(errno));
        return complain(&fault);
    }
    enum err e = store_export(dir, clock_wall_us(), out, warn, NULL, &r, &fault);
    if (path != NULL && (fsync(fileno(out)) != 0 || fclose(out) != 0) && e == ERR_OK)
        e = fault_fail(&fault, ERR_SYSTEM, path, "%s", strerror(errno));
    if (e != ERR_OK)
        return complain(&fault);
    fprintf(stderr, "%" PRIu64 " pending, %" PRIu64 " dead letters, %" PRIu64 " left out\n",
            r.pending, r.dead, r.left_out);
    return r.left_out == 0 ? CLI_DONE : CLI_ERROR;
}

/* ---- the words ---------------------------------------------------------------------- */

enum takes {
    TAKES_NOTHING = 0,
    TAKES_FILE = 1,
    WANTS_FILE = 2,
    TAKES_TO = 4,
    TAKES_YES = 8,
    TAKES_TIMEOUT = 16,
    TAKES_ANYWAY = 32
};

static const struct store_word {
    const char *name;
    unsigned takes;
    int (*held)(const char *dir, const struct rest *rest); /* NULL: the store is not held for it */
} store_words[] = {{"check", TAKES_NOTHING, check},
                   {"dump", TAKES_NOTHING, dump},
                   {"repair", TAKES_ANYWAY, repair},
                   {"export", TAKES_FILE, export},
                   {"migrate", TAKES_TO, NULL},
                   {"drop-old", TAKES_YES, NULL},
                   {"import", WANTS_FILE | TAKES_TIMEOUT, NULL}};

static bool parse_number(const char *text, int64_t min, int64_t max, int64_t *value)
{
    char *end = NULL;
    long long v = text != NULL ? strtoll(text, &end, 10) : 0;

    *value = v;
    return text != NULL && end != text && *end == '\0' && v >= min && v <= max;
}

static bool take_rest(const struct store_word *w, int argc, char **argv, struct rest *r)
{
    for (int i = 0; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : NULL;
        if ((w->takes & TAKES_YES) && strcmp(argv[i], "--yes") == 0)
            r->is_sure = true;
        else if ((w->takes & TAKES_ANYWAY) && strcmp(argv[i], "--anyway") == 0)
            r->anyway = true;
        else if ((w->takes & TAKES_TO) && strcmp(argv[i], "--to") == 0)
            i += parse_number(next, MIGRATE_OLDEST, STORE_FORMAT, &r->to) ? 1 : argc;
        else if ((w->takes & TAKES_TIMEOUT) && strcmp(argv[i], "--timeout") == 0)
            i += parse_number(next, 1, TIMEOUT_MAX_S, &r->timeout_s) ? 1 : argc;
        else if ((w->takes & (TAKES_FILE | WANTS_FILE)) && r->file == NULL && argv[i][0] != '-')
            r->file = argv[i];
        else
            return false;
        if (i >= argc)
            return false;
    }
    return r->file != NULL || !(w->takes & WANTS_FILE);
}

static const struct store_word *find_word(const char *name)
{
    for (size_t i = 0; i < sizeof store_words / sizeof *store_words; i++)
        if (strcmp(store_words[i].name, name) == 0)
            return &store_words[i];
    return NULL;
}

/* A store that cannot be read is neither sound nor damaged. */
static int unknown_of(const struct store_word *w)
{
    return w->held == check ? CLI_UNKNOWN : CLI_ERROR;
}

static int run_held(const struct store_word *w, const char *dir, const struct rest *rest)
{
    struct fault fault = {0};
    int fd;

    if (store_hold(dir, &fd, &fault) != ERR_OK) {
        complain(&fault);
        return unknown_of(w);
    }
    int status = w->held(dir, rest);
    if (fd >= 0)
        close(fd);
    return status;
}

int cli_store_run(const char *dir, int argc, char **argv)
{
    const struct store_word *w = argc > 0 ? find_word(argv[0]) : NULL;
    struct rest rest = {.to = STORE_FORMAT, .timeout_s = IMPORT_TIMEOUT_S};
    char real[PATH_MAX], file[PATH_MAX];

    if (w == NULL || !take_rest(w, argc - 1, argv + 1, &rest)) {
        fprintf(stderr, "convex_sidecar store: check, dump, repair [--anyway], export [FILE], "
                        "import FILE, migrate [--to 1] or drop-old [--yes] is wanted; next: "
                        "convex_sidecar store --help\n");
        return CLI_USAGE;
    }
    if (w->takes & WANTS_FILE)
        return finish(cli_import_run(dir, rest.file, rest.timeout_s * 1000));
    /* Create nothing in a directory that is not a store. */
    if (snprintf(file, sizeof file, "%s/data.mdb", dir) >= (int)sizeof file ||
        realpath(dir, real) == NULL || access(file, F_OK) != 0) {
        fprintf(stderr,
                "convex_sidecar store: there is no store in %s: %s; next: give its folder "
                "(--store DIR or --config FILE)\n",
                dir, strerror(errno));
        return unknown_of(w);
    }
    if (w->held != NULL)
        return run_held(w, real, &rest);
    return finish(w->takes & TAKES_TO ? cli_migrate(real, (unsigned)rest.to)
                                      : cli_migrate_drop_old(real, rest.is_sure));
}
