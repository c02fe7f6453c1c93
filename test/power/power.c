/*
 * power.c - power cuts, out of a recorded trace.
 *
 *   make power IMAGES=600 SEED=1
 *
 * An outbox keeps, replaces and confirms documents while each write to its file, each sync and each
 * promise ("kept") is noted (trace.c).  Then the power is cut at random moments of that trace. What
 * was synced is there; of what was written since, any part: each sector of 512 bytes is there or is
 * not.  Of each such image must hold: store check calls it sound, a start serves it, and every
 * document is there in the last version that somebody was told is kept, or a later one.
 *
 * The same with every sync ignored must lose something, or the test has no teeth.
 */

#include "plain_check.h"

#include "store/store_kit.h"
#include "store_tools/store_check.h"
#include "trace.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#define DOCUMENTS    120
#define STEPS        700
#define BATCH        6
#define SECTOR       512
#define FILE_MAX     ((size_t)64 << 20)
#define UNSYNCED_MAX 200 /* writes that a machine holds back, when nobody asks it to sync */
#define SECONDS      30

static uint64_t state = 1;
static char root[100];

static uint64_t pick(uint64_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % n;
}

/* ---- the work --------------------------------------------------------------------- */

static void name_of(unsigned document, char id[32])
{
    snprintf(id, 32, "document:%03u", document);
}

/* Told on the store's thread, as a BEAM is. */
static void told(struct intent *i, enum err e, const char *why)
{
    struct op *op = (struct op *)i;

    if (e == ERR_OK)
        trace_told((unsigned)op->until_us, op->seq);
    kit_settled(i, e, why);
}

/* Several documents at once, which share a commit. */
static void keep_some(struct outbox *o, int64_t step)
{
    struct op ops[BATCH];
    char ids[BATCH][32];
    unsigned first = (unsigned)pick(DOCUMENTS), n = 1 + (unsigned)pick(BATCH);

    for (unsigned i = 0; i < n; i++) {
        unsigned document = (first + i) % DOCUMENTS;
        name_of(document, ids[i]);
        ops[i] = (struct op){.fn = fn_put_real,
                             .id = ids[i],
                             .seq = step,
                             .json_len = (size_t)(pick(12) == 0 ? 8000 : pick(900))};
        ops[i].in.apply = kit_apply;
        ops[i].in.settled = told;
        ops[i].in.cost_bytes = sizeof ops[i];
        ops[i].until_us = document;
        ck_assert(outbox_submit(o, &ops[i].in, 1, sizeof ops[i]) == ERR_OK);
    }
    for (unsigned i = 0; i < n; i++)
        while (!kit_is_settled(&ops[i]))
            usleep(100);
}

/* Convex has confirmed what waits longest. */
static void confirm_some(struct outbox *o)
{
    struct outbox_reader *r = outbox_reader_open(o);
    struct settlement *sent[BATCH];
    struct pending p;
    uint64_t ticket = 0;
    int count = 0;

    for (uint64_t after = 0; count < BATCH && outbox_next(r, after, &p); after = p.no)
        sent[count++] = settlement_new(&p);
    outbox_reader_close(r);
    for (int i = 0; i < count; i++)
        ticket = outbox_settle(o, sent[i]);
    while (count > 0 && !outbox_is_settled(o, ticket))
        usleep(100);
}

static const struct trace *work(const char *dir)
{
    struct outbox *o = NULL;
    struct fault fault = {0};
    char path[200];

    snprintf(path, sizeof path, "%s/data.mdb", dir);
    trace_begin(path);
    ck_assert(kit_open(dir, 1 << 28, 100, &o, &fault) == ERR_OK);
    for (int64_t step = 1; step <= STEPS; step++) {
        keep_some(o, step);
        if (pick(2) == 0)
            confirm_some(o);
    }
    outbox_close(o);
    return trace_end();
}

/* ---- images ----------------------------------------------------------------------- */

/* A disk under a trace. */
struct disk {
    uint8_t *bytes;
    size_t len;
    const struct trace_event *unsynced[UNSYNCED_MAX];
    size_t count;
    int64_t kept[DOCUMENTS]; /* as somebody was told */
};

static void apply(uint8_t *bytes, size_t *len, const struct trace_event *e, bool is_torn)
{
    ck_assert(e->offset + e->len <= FILE_MAX);
    for (uint64_t at = 0; at < e->len; at += SECTOR) {
        size_t part = e->len - at < SECTOR ? e->len - at : SECTOR;
        if (is_torn && pick(2))
            continue;
        memcpy(bytes + e->offset + at, e->data + at, part);
        if (e->offset + at + part > *len)
            *len = e->offset + at + part;
    }
}

static void settle(struct disk *d, size_t n)
{
    for (size_t i = 0; i < n; i++)
        apply(d->bytes, &d->len, d->unsynced[i], false);
    d->count -= n;
    memmove(d->unsynced, d->unsynced + n, d->count * sizeof *d->unsynced);
}

static void take(struct disk *d, const struct trace_event *e, bool ignores_sync)
{
    switch (e->what) {
    case TRACE_SYNC:
        if (!ignores_sync)
            settle(d, d->count);
        break;
    case TRACE_WRITE_SYNC:
        if (!ignores_sync) {
            apply(d->bytes, &d->len, e, false);
            break;
        }
        /* fall through */
    case TRACE_WRITE:
        if (d->count == UNSYNCED_MAX)
            settle(d, 1);
        d->unsynced[d->count++] = e;
        break;
    default:
        d->kept[e->document] = e->seq;
    }
}

/* What is there after the power was cut now. */
static void write_image(const struct disk *d, const char *dir)
{
    uint8_t *bytes = base_alloc(FILE_MAX);
    size_t len = d->len;
    char path[200];
    unsigned mood = (unsigned)pick(4); /* all of it, nothing, or any part of some */

    memcpy(bytes, d->bytes, d->len);
    for (size_t i = 0; mood != 1 && i < d->count; i++)
        if (mood == 0 || pick(3) > 0)
            apply(bytes, &len, d->unsynced[i], mood != 0 && pick(3) == 0);
    snprintf(path, sizeof path, "%s/data.mdb", dir);
    FILE *f = fopen(path, "w");
    ck_assert(f != NULL && fwrite(bytes, 1, len, f) == len && fclose(f) == 0);
    snprintf(path, sizeof path, "%s/lock.mdb", dir);
    unlink(path);
    free(bytes);
}

/* ---- what must hold of one -------------------------------------------------------- */

enum verdict { WHOLE, UNSOUND, INCOMPLETE, NOT_SERVED, DIED };

static enum verdict judge(const char *dir, const struct disk *d)
{
    struct store_report report;
    struct outbox *o = NULL;
    struct fault fault = {0};
    bool was_told = false;

    for (unsigned i = 0; i < DOCUMENTS; i++)
        was_told = was_told || d->kept[i] > 0;
    enum err e = store_check(dir, NULL, NULL, &report, &fault);
    if (e == ERR_OK ? report.findings > 0 : was_told)
        return UNSOUND;
    if (kit_open(dir, 1 << 28, 100, &o, &fault) != ERR_OK)
        return was_told ? NOT_SERVED : WHOLE;
    for (unsigned i = 0; i < DOCUMENTS; i++) {
        char id[32];
        name_of(i, id);
        struct op op = {.fn = fn_look, .id = id};
        e = d->kept[i] > 0 ? kit_do(o, &op) : ERR_OK;
        int64_t pending = op.cp.has_pending ? op.cp.pending.seq : 0,
                delivered = op.cp.has_delivered ? op.cp.delivered.seq : 0;
        if (d->kept[i] > 0 && (e != ERR_OK || (pending < d->kept[i] && delivered < d->kept[i])))
            return INCOMPLETE;
    }
    kit_put_real(o, "after the cut", 1, 100);
    outbox_close(o);
    return WHOLE;
}

static enum verdict judge_apart(const char *dir, const struct disk *d)
{
    int status;

    fflush(stdout);
    pid_t pid = fork();
    ck_assert(pid >= 0);
    if (pid == 0) {
        alarm(SECONDS);
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(DIED);
        _exit(judge(dir, d));
    }
    ck_assert(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) && WEXITSTATUS(status) < DIED ? (enum verdict)WEXITSTATUS(status)
                                                           : DIED;
}

static int by_number(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;

    return (x > y) - (x < y);
}

/* So many cuts; how many images were bad. */
static size_t cut(const struct trace *t, size_t images, bool ignores_sync, size_t counts[DIED + 1])
{
    struct disk *d = base_alloc(sizeof *d);
    size_t *at = base_alloc(images * sizeof *at), next = 0;
    char dir[150];

    d->bytes = base_alloc(FILE_MAX);
    snprintf(dir, sizeof dir, "%s/image", root);
    ck_assert(mkdir(dir, 0700) == 0 || errno == EEXIST);
    for (size_t i = 0; i < images; i++)
        at[i] = pick(t->count);
    qsort(at, images, sizeof *at, by_number);
    for (size_t i = 0; i < t->count; i++) {
        take(d, &t->events[i], ignores_sync);
        for (; next < images && at[next] == i; next++) {
            write_image(d, dir);
            counts[judge_apart(dir, d)]++;
        }
    }
    free(d->bytes);
    free(d);
    free(at);
    return images - counts[WHOLE];
}

/* ---- all of it -------------------------------------------------------------------- */

static void print_trace(const struct trace *t)
{
    size_t of[4] = {0};

    for (size_t i = 0; i < t->count; i++)
        of[t->events[i].what]++;
    printf("trace: %zu writes, %zu of them synced; %zu syncs; %zu promises\n",
           of[TRACE_WRITE] + of[TRACE_WRITE_SYNC], of[TRACE_WRITE_SYNC], of[TRACE_SYNC],
           of[TRACE_TOLD]);
    ck_assert(of[TRACE_WRITE] > STEPS && of[TRACE_SYNC] >= STEPS && of[TRACE_TOLD] > STEPS);
}

static void print_counts(const char *what, size_t images, const size_t counts[DIED + 1])
{
    printf(
        "%s: %zu images, %zu sound and complete, %zu unsound, %zu incomplete, %zu not served, %zu "
        "died\n",
        what, images, counts[WHOLE], counts[UNSOUND], counts[INCOMPLETE], counts[NOT_SERVED],
        counts[DIED]);
}

int main(int argc, char **argv)
{
    size_t images = argc > 1 ? strtoull(argv[1], NULL, 10) : 600, counts[2][DIED + 1] = {0};
    char dir[150], command[200];

    state = argc > 2 ? strtoull(argv[2], NULL, 10) * 0x9e3779b97f4a7c15u + 1 : 1;
    snprintf(root, sizeof root, "%s/power.XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    ck_assert(mkdtemp(root) != NULL);
    snprintf(dir, sizeof dir, "%s/store", root);
    const struct trace *t = work(dir);
    print_trace(t);
    size_t bad = cut(t, images, false, counts[0]);
    print_counts("the power is cut", images, counts[0]);
    size_t lost = cut(t, images / 4, true, counts[1]);
    print_counts("and syncs are ignored", images / 4, counts[1]);
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    ck_assert(system(command) == 0);
    if (bad == 0 && lost > 0)
        return 0;
    printf(bad > 0 ? "something was lost\n"
                   : "the test has no teeth: ignored syncs lost nothing\n");
    return 1;
}
