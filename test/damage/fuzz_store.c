/*
 * fuzz_store.c - stores damaged in every way: what check says of them, what starts make of them,
 * and what is delivered in the end.
 *
 *   make fuzz-store MUTANTS=3000 FROM=1
 *
 * Each mutant is checked, started up to five times (a start is: rescue as main does it, open,
 * deliver all that waits, keep and replace documents, end), and, a copy of it, repaired and
 * started.  What must hold:
 *   - a store that check calls sound is served by its first start, and all of it delivered;
 *   - check and repair never die, whatever LMDB does;
 *   - no crash loop: the start after the second that failed serves, or nothing can be read at all;
 *   - what is delivered is a document under its own hash;
 *   - nothing readable is lost: each waiting version that the reader of pages finds whole, as 0.1.0
 *     did, is delivered in the end, by the starts and by the repair;
 *   - a repaired store is sound, and served.
 */

#include "plain_check.h"

#include "mutate.h"
#include "projection/rehash.h"
#include "sidecar/rescue.h"
#include "store/crash_mark.h"
#include "store/migrate.h"
#include "store/store_kit.h"
#include "store/survey.h"
#include "store_tools/records.h"
#include "store_tools/store_check.h"
#include "store_tools/store_repair.h"

#include <dirent.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#define STARTS_MAX  5
#define SETTLED_MAX 12 /* confirmed in one start; the others are read */
#define VERSIONS    4096
#define SECONDS     150 /* for one step */
#define BASES       5

/* How a child ended. */
enum outcome { SERVED, REFUSED, FAILING, CRASHED, HUNG, STRANGE };
static const char *const outcomes[] = {"served",  "refused", "failing",
                                       "crashed", "hung",    "strange"};

/* A version that waits in a base. */
struct version {
    uint8_t hash[32];
    uint64_t revision;
    char id[32];
};

struct base {
    char dir[200];
    const char *name;
    struct version *list;
    size_t count;
};

/* What the children of one mutant saw. */
struct shared {
    bool delivered[VERSIONS], readable[VERSIONS];
    uint64_t false_documents;
    int check; /* findings; -1: it cannot be read */
    char why[256];
};

static struct shared *shared;
static char root[100], program[PATH_MAX];

/* ---- bases ------------------------------------------------------------------------ */

/* The version in ${b} that this is; -1: another one. */
static int find_version(const struct base *b, const struct pending *p)
{
    for (size_t i = 0; i < b->count; i++)
        if (b->list[i].revision == p->version.revision && slice_is(p->id, b->list[i].id) &&
            memcmp(b->list[i].hash, p->version.hash, 32) == 0)
            return (int)i;
    return -1;
}

struct reading {
    struct base *base;
    unsigned format;
    bool is_base;
};

static void take_entry(void *arg, const struct survey_entry *e)
{
    struct reading *r = arg;
    struct pending p;
    struct fault fault;

    if (e->table != STORE_PENDING && e->table != STORE_TABLE_COUNT)
        return;
    if (records_get_pending(r->format, e->key, e->value, &p, &fault) != ERR_OK ||
        !records_is_document(&p.version, p.json))
        return;
    if (r->is_base) {
        struct version *v = &r->base->list[r->base->count++];
        ck_assert(r->base->count <= VERSIONS);
        memcpy(v->hash, p.version.hash, sizeof v->hash);
        v->revision = p.version.revision;
        snprintf(v->id, sizeof v->id, "%.*s", SLICE_ARG(p.id));
        return;
    }
    int i = find_version(r->base, &p);
    if (i >= 0)
        shared->readable[i] = true;
}

static void pass_damage(void *arg, const char *what)
{
    (void)arg;
    (void)what;
}

/* Every waiting version that the reader of pages finds in ${dir}. */
static void read_all(const char *dir, struct base *b, bool is_base)
{
    struct reading r = {.base = b, .is_base = is_base};
    const struct survey_visitor visitor = {&r, take_entry, pass_damage};
    struct survey *s;
    struct fault fault = {0};

    if (survey_open(dir, SURVEY_BY_PAGES, &visitor, &s, &fault) != ERR_OK) {
        ck_assert(!is_base);
        return;
    }
    r.format = survey_format(s);
    for (enum store_table t = 0; t < STORE_TABLE_COUNT; t++)
        survey_table(s, t);
    survey_lost(s);
    survey_close(s);
}

/* Written over many times: old pages among the new, free ones between, values of many pages. */
static struct outbox *churned(const char *dir)
{
    struct outbox *o = NULL;
    struct fault fault = {0};
    char id[32];

    ck_assert_int_eq(kit_open(dir, 1 << 28, 100, &o, &fault), ERR_OK);
    for (int i = 0; i < 200; i++) {
        snprintf(id, sizeof id, "churn:%02d", i % 40);
        kit_put_real(o, id, i + 1, (size_t)(i % 7 == 0 ? 8000 : i * 5));
        if (i % 3 == 0)
            kit_done(o, id);
    }
    return o;
}

/* So that versions wait that are ahead of their checkpoints. */
static void churn_and_die(const char *dir)
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        churned(dir);
        _exit(0);
    }
    ck_assert(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void make_bases(struct base bases[BASES])
{
    static const struct {
        const char *name;
        int64_t many;
    } kinds[] = {
        {"small", 120}, {"churned", 60}, {"large", 1500}, {"format 1", 100}, {"killed", 60}};
    struct migrate_report report;
    struct fault fault = {0};

    for (int i = 0; i < BASES; i++) {
        struct base *b = &bases[i];
        b->name = kinds[i].name;
        b->list = base_alloc(VERSIONS * sizeof *b->list);
        snprintf(b->dir, sizeof b->dir, "%s/base%d", root, i);
        kit_make_store(b->dir, kinds[i].many);
        if (i == 1)
            outbox_close(churned(b->dir));
        if (i == 4)
            churn_and_die(b->dir);
        if (i == 3)
            ck_assert_int_eq(migrate(b->dir, 1, NULL, &report, &fault), ERR_OK);
        read_all(b->dir, b, true);
        ck_assert(b->count > 10);
    }
}

/* ---- children --------------------------------------------------------------------- */

/* ${work} in a process of its own. */
static enum outcome apart(int (*work)(const char *dir, struct base *b), const char *dir,
                          struct base *b)
{
    fflush(stdout);
    pid_t pid = fork();
    int status;

    ck_assert(pid >= 0);
    if (pid == 0) {
        alarm(SECONDS);
        if (getenv("VERBOSE") == NULL && freopen("/dev/null", "w", stderr) == NULL)
            _exit(STRANGE);
        _exit(work(dir, b));
    }
    ck_assert(waitpid(pid, &status, 0) == pid);
    if (WIFSIGNALED(status))
        return WTERMSIG(status) == SIGALRM ? HUNG : CRASHED;
    if (WEXITSTATUS(status) == 77) /* a sanitizer: LMDB's own memmove is looked at, too */
        return CRASHED;
    return WEXITSTATUS(status) < STRANGE ? (enum outcome)WEXITSTATUS(status) : STRANGE;
}

static int check_child(const char *dir, struct base *b)
{
    struct store_report r;
    struct fault fault = {0};

    (void)b;
    shared->check = store_check(dir, NULL, NULL, &r, &fault) == ERR_OK ? (int)r.findings : -1;
    return SERVED;
}

static int read_child(const char *dir, struct base *b)
{
    read_all(dir, b, false);
    return SERVED;
}

static void say_damage(void *arg, const char *what)
{
    (void)arg;
    fprintf(stderr, "repair: %s\n", what);
}

static int repair_child(const char *dir, struct base *b)
{
    struct salvage_report report;
    struct repair_places places;
    struct fault fault = {0};

    (void)b;
    if (store_repair(dir, say_damage, NULL, &report, &places, &fault) == ERR_OK)
        return SERVED;
    snprintf(shared->why, sizeof shared->why, "%s", fault.why);
    return REFUSED;
}

static void note_delivered(const struct base *b, const struct pending *p)
{
    bool is_removal = p->version.op == OUTBOX_REMOVE;
    int i = find_version(b, p);

    if (is_removal ? p->json.len > 0 : !rehash_is(p->json, p->version.hash))
        shared->false_documents++;
    else if (i >= 0)
        shared->delivered[i] = true;
}

/* All that waits is sent; the first ones are confirmed.  False: the store fails. */
static bool deliver(struct outbox *o, const struct base *b)
{
    struct outbox_reader *r = outbox_reader_open(o);
    struct settlement *sent[SETTLED_MAX];
    struct pending p;
    uint64_t ticket = 0;
    int count = 0;

    for (uint64_t after = 0; outbox_next(r, after, &p); after = p.no) {
        note_delivered(b, &p);
        if (count < SETTLED_MAX && p.no % 3 == 0)
            sent[count++] = settlement_new(&p);
    }
    outbox_reader_close(r);
    for (int i = 0; i < count; i++)
        ticket = outbox_settle(o, sent[i]);
    for (int ms = 0; count > 0 && !outbox_is_settled(o, ticket); ms++) {
        if (ms == 3000 || !outbox_is_well(o))
            return false;
        usleep(1000);
    }
    return true;
}

/* A newer version of ${id} is kept: nobody waits for the older one. */
static void supersede(const struct base *b, const char *id)
{
    for (size_t i = 0; i < b->count; i++)
        if (strcmp(b->list[i].id, id) == 0)
            shared->delivered[i] = true;
}

/* Keep, replace, clear, look. */
static bool work_on(struct outbox *o, const struct base *b)
{
    char id[32];

    for (int i = 0; i < 24; i++) {
        struct op op = {.fn = fn_put_real,
                        .id = id,
                        .seq = 50 + i,
                        .json_len = (size_t)(i % 6 == 0 ? 8000 : 200)};
        snprintf(id, sizeof id, i % 2 ? "many:%04d" : "new:%04d", i * 3);
        if (kit_do(o, &op) != ERR_OK)
            return false;
        supersede(b, id);
    }
    if (do_simple(o, fn_clear, "large") == ERR_STORE)
        return false;
    supersede(b, "large");
    return do_simple(o, fn_look, "done") != ERR_STORE;
}

static enum err open_outbox(const char *dir, struct outbox **o, struct fault *fault)
{
    const struct outbox_options options = {.dir = dir,
                                           .limit_bytes = 1 << 28,
                                           .dead_limit = 100,
                                           .queue_count = 1000,
                                           .queue_bytes = 1 << 26,
                                           .migrating = {.is_document = rehash_is},
                                           .on_work = kit_on_work};

    return outbox_open(&options, o, fault);
}

/* As main does it. */
static int start_child(const char *dir, struct base *b)
{
    struct outbox *o = NULL;
    struct fault fault = {0};
    enum err e = rescue_store(program, dir, -1, &fault);

    if (e == ERR_OK) {
        crash_mark_begin(dir);
        e = open_outbox(dir, &o, &fault);
    }
    snprintf(shared->why, sizeof shared->why, "%s", fault.why);
    if (e != ERR_OK) {
        crash_mark_settle(dir);
        return REFUSED;
    }
    bool is_well = deliver(o, b) && work_on(o, b);
    if (!is_well)
        _exit(FAILING);
    outbox_close(o);
    crash_mark_settle(dir);
    return SERVED;
}

/* ---- a mutant --------------------------------------------------------------------- */

static struct {
    uint64_t mutants, sound, starts[6], rescued, repaired, unreadable, foreign, hidden, readable,
        waited;
    /* a row each in the table of docs/FAULTS.md */
    struct {
        uint64_t mutants, waited, readable, arrived;
    } of_kind[MUTATE_COUNT];
} tally;

static void say_bad(uint64_t seed, const struct base *b, enum mutate_kind kind, const char *what)
{
    printf("seed %" PRIu64 " (%s, %s): %s; check %d, last word: %s\n", seed, b->name,
           mutate_text(kind), what, shared->check, shared->why);
}

static void remove_dir(const char *path)
{
    char name[600];
    DIR *d = opendir(path);

    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        if (e->d_name[0] != '.' && unlink(name) != 0)
            remove_dir(name);
    }
    if (d != NULL)
        closedir(d);
    rmdir(path);
}

/* What no reader finds is lost; what one finds must have come. */
static const char *lost(const struct base *b)
{
    for (size_t i = 0; i < b->count; i++)
        if (shared->readable[i] && !shared->delivered[i]) {
            snprintf(shared->why, sizeof shared->why, "%s", b->list[i].id);
            return "a version that can be read was not delivered";
        }
    return shared->false_documents > 0 ? "a document under another hash was delivered" : NULL;
}

static bool is_marked(const char *dir)
{
    char why[64];

    return crash_mark_read(dir, why) == CRASH_MARKED;
}

/* A lost branch hides what lies below from LMDB without an error.  It must not be called sound, and
 * a repair must find all of it, also after a start has worked on the store. */
static const char *find_what_is_hidden(const char *dir, struct base *b)
{
    if (shared->false_documents > 0)
        return lost(b);
    if (apart(check_child, dir, b) != SERVED || shared->check == 0)
        return "what is hidden is called sound";
    if (apart(repair_child, dir, b) != SERVED || apart(start_child, dir, b) != SERVED)
        return "what is hidden cannot be repaired";
    tally.hidden++;
    return lost(b);
}

static const char *run_starts(const char *dir, struct base *b)
{
    enum outcome o = STRANGE;
    int n = 0;

    for (; n < STARTS_MAX && (o != SERVED || is_marked(dir)); n++) {
        o = apart(start_child, dir, b);
        tally.starts[o]++;
        if (o == STRANGE)
            return "a start ended strangely";
        if (n == 0 && o != SERVED && shared->check == 0)
            return "a store that is called sound is not served";
    }
    tally.rescued += o == SERVED && n > 1;
    if (o == SERVED)
        return lost(b) == NULL ? NULL : find_what_is_hidden(dir, b);
    /* Of a file that may be another program's nothing is made without an operator's word. */
    bool is_foreign = o == REFUSED && (strstr(shared->why, "not a store") != NULL ||
                                       strstr(shared->why, "newer sidecar") != NULL);
    tally.foreign += is_foreign;
    return is_foreign || shared->check < 0 ? NULL : "starts fail for ever";
}

static const char *run_repair(const char *dir, struct base *b)
{
    memset(shared->delivered, 0, sizeof shared->delivered);
    if (apart(repair_child, dir, b) != SERVED)
        return "it cannot be repaired";
    tally.repaired++;
    if (apart(check_child, dir, b) != SERVED || shared->check != 0)
        return "repaired, it is not sound";
    if (apart(start_child, dir, b) != SERVED)
        return "repaired, it is not served";
    return lost(b);
}

static void note_kind(enum mutate_kind kind, const struct base *b)
{
    tally.of_kind[kind].mutants++;
    tally.of_kind[kind].waited += b->count;
    for (size_t i = 0; i < b->count; i++) {
        tally.of_kind[kind].readable += shared->readable[i];
        tally.of_kind[kind].arrived += shared->delivered[i];
    }
}

static const char *run_mutant(struct base *b, enum mutate_kind kind, uint64_t seed)
{
    char one[200], two[200];

    memset(shared, 0, sizeof *shared);
    snprintf(one, sizeof one, "%s/one", root);
    snprintf(two, sizeof two, "%s/two", root);
    remove_dir(one);
    remove_dir(two);
    kit_copy_store(b->dir, one);
    mutate(one, kind, seed);
    kit_copy_store(one, two);
    enum outcome o = apart(check_child, one, b);
    if (o != SERVED)
        return o == HUNG ? "check stands still" : "check dies";
    if (apart(read_child, one, b) != SERVED)
        return "the reader of pages dies";
    tally.sound += shared->check == 0;
    tally.unreadable += shared->check < 0;
    for (size_t i = 0; i < b->count; i++)
        tally.readable += shared->readable[i];
    tally.waited += b->count;
    bool is_damaged = shared->check > 0;
    const char *bad = run_starts(one, b);
    note_kind(kind, b);
    return bad == NULL && is_damaged ? run_repair(two, b) : bad;
}

static void print_tally(uint64_t failed, int64_t seconds)
{
    printf("%" PRIu64 " mutants in %lld s, %" PRIu64 " failed: %" PRIu64 " called sound, %" PRIu64
           " not readable at all, %" PRIu64 " repaired; %" PRIu64
           " served after a start that failed\n",
           tally.mutants, (long long)seconds, failed, tally.sound, tally.unreadable, tally.repaired,
           tally.rescued);
    printf("%" PRIu64 " left to an operator (not a store, says their beginning); %" PRIu64
           " had something hidden, which the repair found\nstarts:",
           tally.foreign, tally.hidden);
    for (int i = SERVED; i < STRANGE; i++)
        printf(" %s %" PRIu64, outcomes[i], tally.starts[i]);
    printf("; waiting versions readable: %" PRIu64 " of %" PRIu64 "\n", tally.readable,
           tally.waited);
}

int main(int argc, char **argv)
{
    uint64_t mutants = argc > 2 ? strtoull(argv[2], NULL, 10) : 300;
    uint64_t from = argc > 3 ? strtoull(argv[3], NULL, 10) : 1, failed = 0;
    struct base bases[BASES] = {0};
    time_t began = time(NULL);

    ck_assert(argc > 1 && realpath(argv[1], program) != NULL);
    snprintf(root, sizeof root, "%s/fuzz-store.XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    ck_assert(mkdtemp(root) != NULL);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(shared != MAP_FAILED);
    make_bases(bases);
    for (uint64_t seed = from; seed < from + mutants && failed < 10; seed++, tally.mutants++) {
        enum mutate_kind kind = (enum mutate_kind)(seed % MUTATE_COUNT);
        struct base *b = &bases[seed / MUTATE_COUNT % BASES];
        const char *bad = run_mutant(b, kind, seed);
        if (bad != NULL) {
            say_bad(seed, b, kind, bad);
            failed++;
        }
    }
    print_tally(failed, time(NULL) - began);
    for (int i = 0; i < MUTATE_COUNT; i++)
        printf("| %s | %" PRIu64 " | %" PRIu64 " | %" PRIu64 " | %" PRIu64 " |\n",
               mutate_text((enum mutate_kind)i), tally.of_kind[i].mutants, tally.of_kind[i].waited,
               tally.of_kind[i].readable, tally.of_kind[i].arrived);
    for (int i = 0; i < BASES; i++)
        free(bases[i].list);
    if (getenv("KEEP") == NULL) /* to look at the last mutant: two/ is the one that was repaired */
        remove_dir(root);
    return failed == 0 && tally.mutants == mutants ? 0 : 1;
}
