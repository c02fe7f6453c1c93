/*
 * store_1.c - a store of format 1, as 0.1.x would have made it, for measuring its migration.
 *
 *   store_1 DIR CHECKPOINTS PENDING [SINK]     kept for that sink (file)
 *
 * Ids are random (UUIDs), put in the order of their arrival, so that pages are as full as they
 * become by that; a document has 1 KB.  Prints bytes of the file.
 */

#include "store/format.h"
#include "store/record_1.h"
#include "store/store.h"
#include "projection/rehash.h"

#include <sys/stat.h>

static uint64_t state = 88172645463325252u;

static uint64_t next_random(void)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state;
}

static void need(enum err e, const char *what)
{
    if (e == ERR_OK)
        return;
    fprintf(stderr, "%s: %s\n", what, err_text(e));
    exit(1);
}

static void put_one(struct store *s, struct buf *b, struct counters *c, bool waits)
{
    char id[80], json[1200];
    uint64_t x = next_random(), y = next_random();

    snprintf(id, sizeof id, "runtime/run_summary:%08x-%04x-4%03x-%04x-%012llx", (unsigned)x,
             (unsigned)(x >> 32 & 0xffff), (unsigned)(x >> 48 & 0xfff), (unsigned)(y & 0xffff),
             (unsigned long long)(y >> 16));
    struct outbox_version v = {.seq = 7,
                               .event_count = 7,
                               .projected_at_us = 1771531200000000 + (int64_t)c->next_revision,
                               .version = slice_str("convex_summary_v1"),
                               .revision = c->next_revision++};
    memset(v.hash, (int)x, sizeof v.hash);
    struct checkpoint_record r = {
        .cp = {.has_delivered = !waits,
               .delivered = v,
               .kind = slice_str("run_summary"),
               .fold =
                   slice_str("\x94\x07\x07\xad\"run.started\"\xbc\"2026-02-19T20:00:00.0000Z\""),
               .last_projected_us = v.projected_at_us}};
    if (waits) {
        int n = snprintf(json, sizeof json, "{\"id\":\"%s\",\"pad\":\"%0900d\"}", id, 0);
        struct pending p = {.no = c->next_no++,
                            .id = slice_str(id),
                            .kind = r.cp.kind,
                            .json = slice_of(json, (size_t)n),
                            .version = v,
                            .kept_at_us = v.projected_at_us};
        if (!rehash_json(p.json, p.version.hash))
            exit(1);
        r.cp.has_pending = true;
        r.cp.pending_no = p.no;
        r.cp.pending = p.version;
        r.pending_bytes = p.json.len;
        r.pending_kept_at_us = p.kept_at_us;
        c->pending_bytes += p.json.len;
        b->len = 0;
        record_1_put_pending(b, &p);
        need(store_append(s, STORE_PENDING, slice_of(&p.no, sizeof p.no), buf_view(b)), "pending");
    }
    b->len = 0;
    record_1_put_checkpoint(b, &r);
    need(store_put(s, STORE_CHECKPOINTS, slice_str(id), buf_view(b)), "checkpoint");
}

int main(int argc, char **argv)
{
    struct store *s;
    struct fault fault = {0};
    struct counters c = record_first_counters();
    struct buf b = {0};
    struct stat st;
    char path[4200];

    if (argc != 4 && argc != 5)
        return 2;
    long checkpoints = atol(argv[2]), pending = atol(argv[3]);
    mkdir(argv[1], 0700);
    if (store_open_copy(argv[1], 1, (uint64_t)8 << 30, &s, &fault) != ERR_OK) {
        fprintf(stderr, "%s: %s\n", fault.path, fault.why);
        return 1;
    }
    need(store_begin(s), "begin");
    for (long i = 0; i < checkpoints; i++) {
        put_one(s, &b, &c, i >= checkpoints - pending);
        if (i % 20000 == 19999) {
            need(store_commit(s), "commit");
            need(store_begin(s), "begin");
        }
    }
    b.len = 0;
    record_1_put_counters(&b, &c);
    need(store_put(s, STORE_META, slice_str("counters"), buf_view(&b)), "counters");
    need(store_put(s, STORE_META, slice_str(RECORD_1_SINK), slice_str(argc == 5 ? argv[4] : "file")), "sink");
    need(format_put(s, 1), "format");
    need(store_commit(s), "commit");
    need(store_sync(s), "sync");
    store_close(s);
    buf_free(&b);
    snprintf(path, sizeof path, "%s/data.mdb", argv[1]);
    if (stat(path, &st) == 0)
        printf("%lld\n", (long long)st.st_size);
    return 0;
}
