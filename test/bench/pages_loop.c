/*
 * pages_loop.c - bytes written for a further version of a known document, kept and confirmed.
 *
 *   pages_loop DIR IDS COUNT BATCH
 *
 * IDS is a file with ids, a line each, of documents that the store in DIR knows; COUNT of them,
 * picked at random, get a version, BATCH in a round; each round is confirmed before the next.
 * Prints pages of 4 KiB written a version, by /proc/self/io, which counts too much where the kernel
 * keeps large folios: test/bench/pages counts by strace.  It builds with 0.1.1 as well.
 */

#include "outbox/outbox.h"
#include "projection/projection.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

#define ID_BYTES 128

struct put {
    struct intent in; /* first */
    const char *id;
    int64_t seq;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static size_t unsettled;
#ifndef FOLD /* 0.1.1: -DFOLD=fold */
#define FOLD past.fold
#define BE_HASTY(options)                                                                          \
    ((options)->is_hasty = true) /* nobody comes for its verdicts to wait for */
#else
#define BE_HASTY(options) ((void)0)
#endif

static struct kind kind = {.name = (char *)(uintptr_t) "run_summary"};

static enum err apply(struct intent *in, struct round *r)
{
    struct put *p = (struct put *)in;
    struct checkpoint cp;
    struct decision decision;
    char json[1200];
    enum err e = round_checkpoint(r, slice_str(p->id), &cp);

    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    int n = snprintf(json, sizeof json, "{\"id\":\"%s\",\"pad\":\"%0900d\",\"seq\":%lld}", p->id, 0,
                     (long long)p->seq);
    struct document d = {.kind = &kind,
                         .id = slice_str(p->id),
                         .version = slice_str("convex_summary_v1"),
                         .json = slice_of(json, (size_t)n),
                         .FOLD = slice_str("0123456789012345678901234567890123456789"),
                         .seq = p->seq,
                         .event_count = p->seq,
                         .projected_at_us = round_now_us(r)};
    if (d.projected_at_us <= cp.last_projected_us)
        d.projected_at_us = cp.last_projected_us + 1;
    memset(d.hash, (int)p->seq, sizeof d.hash);
    return round_put(r, &d, 0, &decision);
}

static void settled(struct intent *in, enum err e, const char *why)
{
    (void)in;
    if (e != ERR_OK) {
        fprintf(stderr, "%s %s\n", err_text(e), why);
        exit(1);
    }
    pthread_mutex_lock(&lock);
    unsettled--;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

static void put_all(struct outbox *o, struct put *puts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        puts[i].in = (struct intent){.apply = apply, .settled = settled};
        puts[i].in.next = i + 1 < count ? &puts[i + 1].in : NULL;
    }
    unsettled = count;
    if (outbox_submit(o, &puts[0].in, count, 0) != ERR_OK)
        exit(1);
    pthread_mutex_lock(&lock);
    while (unsettled > 0)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

/* Everything pending is confirmed. */
static void confirm_all(struct outbox *o, uint64_t *after)
{
    struct outbox_reader *r = outbox_reader_open(o);
    struct settlement *first = NULL;
    struct pending p;

    for (; outbox_next(r, *after, &p); *after = p.no) {
        struct settlement *s = settlement_new(&p);
        s->next = first;
        first = s;
    }
    outbox_reader_close(r);
    uint64_t ticket = outbox_settle(o, first);
    while (!outbox_is_settled(o, ticket))
        usleep(200);
}

static uint64_t written(void)
{
    char line[100];
    unsigned long long bytes = 0;
    FILE *f = fopen("/proc/self/io", "r");

    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        (void)sscanf(line, "write_bytes: %llu", &bytes);
    if (f != NULL)
        fclose(f);
    return bytes;
}

static char (*read_ids(const char *path, size_t *count))[ID_BYTES]
{
    size_t room = 1 << 20;
    char(*ids)[ID_BYTES] = base_alloc(room * ID_BYTES);
    FILE *f = fopen(path, "r");

    for (*count = 0; f != NULL && *count < room && fgets(ids[*count], ID_BYTES, f) != NULL;
         ++*count)
        ids[*count][strcspn(ids[*count], "\n")] = '\0';
    return ids;
}

int main(int argc, char **argv)
{
    struct outbox_options options = {.dir = argc > 1 ? argv[1] : "",
                                     .limit_bytes = (uint64_t)4 << 30,
                                     .dead_limit = 1000,
                                     .queue_count = 100000,
                                     .queue_bytes = 1 << 30};
    struct outbox *o;
    struct fault fault = {0};
    struct put puts[1024];
    size_t count;
    uint64_t after = 0, x = 88172645463325252u;

    if (argc != 5)
        return 2;
    BE_HASTY(&options);
    char(*ids)[ID_BYTES] = read_ids(argv[2], &count);
    long total = atol(argv[3]), batch = atol(argv[4]);
    if (count == 0 || batch < 1 || batch > 1024 || outbox_open(&options, &o, &fault) != ERR_OK) {
        fprintf(stderr, "%s: %s\n", fault.path, fault.why);
        return 1;
    }
    int64_t first_seq = (int64_t)time(NULL) * 1000000; /* above that of an earlier run */
    uint64_t before = written();
    for (long done = 0; done < total; done += batch) {
        for (long i = 0; i < batch; i++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            puts[i] = (struct put){.id = ids[x % count], .seq = first_seq + done};
        }
        put_all(o, puts, (size_t)batch);
        confirm_all(o, &after);
    }
    printf("%.2f pages a version\n", (double)(written() - before) / 4096 / (double)total);
    outbox_close(o);
    free(ids);
    return 0;
}
