/*
 * make_loop.c - what a document costs inside the sidecar, to be counted by callgrind.
 *
 *   make_loop walk|make TERM_FILE COUNT
 *
 * TERM_FILE holds a {project, run_summary, Id, Row, Events, Opts} as term_to_binary writes it.
 * The happy path: `walk` reads every tag, length and byte count of the term COUNT times, recursive,
 * without checks or copies: the least that anybody who reads a term must do.  `make` does what the
 * sidecar does for it: checked, canonical JSON, hash, the records of the store.  Both stand in a
 * function of their own, bench_walk and bench_make, so that callgrind can collect just that
 * (--toggle-collect); without callgrind "us=MICROSECONDS_PER_DOCUMENT json=BYTES" is written.
 *
 * What can go wrong: a term that is no such request ends the program with status 1.
 */

#include "projection/projection.h"
#include "store/record.h"
#include "term/term.h"
#include "ground/clock.h"

static _Noreturn void fail(const char *why)
{
    fprintf(stderr, "make_loop: %s\n", why);
    exit(1);
}

/* ---- the bare walk -------------------------------------------------------- */

/* The first byte behind the term at ${p}; only the tags that requests are made of. */
static const uint8_t *step(const uint8_t *p, uint64_t *sum)
{
    uint32_t n;

    switch (*p) {
    case 97: /* SMALL_INTEGER */
        *sum += p[1];
        return p + 2;
    case 98: /* INTEGER */
        *sum += be32(p + 1);
        return p + 5;
    case 70: /* NEW_FLOAT */
        return p + 9;
    case 110: /* SMALL_BIG */
        return p + 3 + p[1];
    case 119: /* SMALL_ATOM_UTF8 */
        *sum += p[1];
        return p + 2 + p[1];
    case 100: /* ATOM */
    case 118: /* ATOM_UTF8 */
        return p + 3 + be16(p + 1);
    case 109: /* BINARY */
        n = be32(p + 1);
        *sum += n;
        return p + 5 + n;
    case 107: /* STRING */
        return p + 3 + be16(p + 1);
    case 106: /* NIL */
        return p + 1;
    case 104: /* SMALL_TUPLE */
        n = p[1];
        for (p += 2; n > 0; n--)
            p = step(p, sum);
        return p;
    case 108: /* LIST */
        n = be32(p + 1) + 1;
        for (p += 5; n > 0; n--)
            p = step(p, sum);
        return p;
    case 116: /* MAP */
        n = be32(p + 1) * 2;
        for (p += 5; n > 0; n--)
            p = step(p, sum);
        return p;
    default:
        fail("the walk does not know a tag");
    }
}

__attribute__((noinline)) static void bench_walk(struct slice bytes, long count)
{
    uint64_t sum = 0;

    for (long i = 0; i < count; i++)
        if (step(bytes.data + 1, &sum) != bytes.data + bytes.len)
            fail("the walk did not end at the end");
    if (sum == 1)
        printf(" ");
}

/* ---- the real thing ------------------------------------------------------- */

static size_t make_one(const struct kinds *kinds, struct slice bytes, struct buf *records)
{
    struct projection_options options = {.version = slice_str("convex_summary_v1")};
    struct checkpoint_record c = {0};
    struct document d;
    struct draft *draft;
    struct fault fault;
    term t;

    if (term_check(bytes, &t, &fault) != ERR_OK)
        fail(fault.why);
    term kind = term_element(t, 1), id = term_next(kind), row = term_next(id);
    if (projection_prepare(kinds_find(kinds, term_text(kind)), term_text(id), row, term_next(row),
                           &options, &draft, &fault) != ERR_OK)
        fail(fault.why);
    if (projection_finish(draft, (struct past){0}, 0, 1771531200000000, &d, &fault) != ERR_OK)
        fail(fault.why);
    struct pending p = {.no = 1,
                        .document = 1,
                        .id = d.id,
                        .kind = slice_str(d.kind->name),
                        .json = d.json,
                        .version = {.op = OUTBOX_UPSERT,
                                    .seq = d.seq,
                                    .event_count = d.event_count,
                                    .projected_at_us = d.projected_at_us,
                                    .version = d.version,
                                    .revision = 1}};
    memcpy(p.version.hash, d.hash, sizeof p.version.hash);
    c.id = d.id;
    c.cp = (struct checkpoint){.document = 1,
                               .has_pending = true,
                               .pending_no = 1,
                               .kind = p.kind,
                               .fold = d.past.fold,
                               .recent = d.past.recent};
    records->len = 0;
    record_put_pending(records, &p);
    record_put_checkpoint(records, &c);
    size_t len = d.json.len;
    draft_free(draft);
    return len;
}

__attribute__((noinline)) static size_t bench_make(const struct kinds *kinds, struct slice bytes,
                                                   long count)
{
    struct buf records = {0};
    size_t json_bytes = 0;

    for (long i = 0; i < count; i++)
        json_bytes = make_one(kinds, bytes, &records);
    buf_free(&records);
    return json_bytes;
}

/* libcrypto looks around at its first hash; that is no document's cost. */
static size_t warm_up(const struct kinds *kinds, struct slice bytes)
{
    struct buf records = {0};
    size_t json_bytes = make_one(kinds, bytes, &records);

    buf_free(&records);
    return json_bytes;
}

static struct buf read_file(const char *path)
{
    struct buf b = {0};
    FILE *f = fopen(path, "r");

    if (f == NULL)
        fail(path);
    buf_reserve(&b, 1 << 20);
    b.len = fread(b.data, 1, 1 << 20, f);
    fclose(f);
    return b;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        fail("usage: make_loop walk|make TERM_FILE COUNT");
    struct buf bytes = read_file(argv[2]);
    struct kinds *kinds = kinds_new();
    long count = atol(argv[3]);
    struct fault fault;

    if (kinds_finish(kinds, &fault) != ERR_OK)
        fail(fault.why);
    size_t json_bytes = warm_up(kinds, buf_view(&bytes));
    int64_t began_us = clock_mono_us();

    if (strcmp(argv[1], "walk") == 0)
        bench_walk(buf_view(&bytes), count);
    else
        json_bytes = bench_make(kinds, buf_view(&bytes), count);
    printf("us=%.3f json=%zu\n", (double)(clock_mono_us() - began_us) / (double)count, json_bytes);
    kinds_free(kinds);
    buf_free(&bytes);
    return 0;
}
