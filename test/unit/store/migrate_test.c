/* migrate_test.c - a store of format 1 becomes one of this format and back, whatever happens
 * meanwhile. */

#include "store/migrate.h"
#include "store/format.h"
#include "store/survey.h"
#include "store/record_1.h"
#include "store_tools/store_check.h"
#include "store_tools/store_dump.h"

#include "test.h"
#include "ground/fake_log.c"
#include "store/store_kit.h"
#include "temp_dir.h"

#include <sys/wait.h>

/* ---- the moments: another migrate_step.c ------------------------------------------ */

static unsigned long die_at; /* the moment at which this process ends; 0: never */

void migrate_step(unsigned step)
{
    (void)step;
    if (die_at > 0 && --die_at == 0)
        _exit(42);
}

/* ---- a store of 0.1.1 ---------------------------------------------------------------- */

struct old_store {
    struct store *s;
    struct counters counters;
    struct buf b;
};

static struct outbox_version version(struct old_store *o, int64_t seq, struct slice json)
{
    struct outbox_version v = {.seq = seq,
                               .event_count = seq,
                               .projected_at_us = 1771531200000000 + seq,
                               .version = slice_str("v1"),
                               .revision = o->counters.next_revision++};

    ck_assert(rehash_json(json, v.hash));
    return v;
}

static void put(struct old_store *o, enum store_table t, struct slice key)
{
    ck_assert_int_eq(store_put(o->s, t, key, buf_view(&o->b)), ERR_OK);
    o->b.len = 0;
}

/* Document ${i}: every fourth is pending, every seventh dead, every fifth never delivered. */
static void put_document(struct old_store *o, int i)
{
    char id[64], text[1200], pad[1001];
    struct checkpoint_record c = {.cp = {.kind = slice_str("run_summary"),
                                         .fold = slice_str("fold"),
                                         .last_projected_us = 1771531200000009}};

    snprintf(id, sizeof id, "runtime/run_summary:%08x-%04d", (unsigned)i * 2654435761u, i);
    snprintf(pad, sizeof pad, "%0*d", i % 1000 + 1, i);
    snprintf(text, sizeof text, "{\"id\":\"%s\",\"pad\":\"%s\"}", id, pad);
    struct slice json = slice_str(text);
    if (i % 5 != 0) {
        c.cp.has_delivered = true;
        c.cp.delivered = version(o, 5, json);
    }
    if (i % 7 == 0) {
        struct dead_letter d = {.kind = c.cp.kind,
                                .json = json,
                                .why = slice_str("refused"),
                                .answer = slice_str("answer"),
                                .version = version(o, 6, json),
                                .attempts = 3,
                                .died_at_us = 1771531200000007};
        c.cp.is_dead = true;
        record_1_put_dead(&o->b, &d);
        put(o, STORE_DEAD, slice_str(id));
        o->counters.dead_bytes += json.len;
    }
    if (i % 4 == 0) {
        struct pending p = {.no = o->counters.next_no++,
                            .id = slice_str(id),
                            .kind = c.cp.kind,
                            .json = json,
                            .version = version(o, 7, json),
                            .kept_at_us = 1771531200000008};
        c.cp.has_pending = true;
        c.cp.pending_no = p.no;
        c.cp.pending = p.version;
        c.pending_bytes = json.len;
        c.pending_kept_at_us = p.kept_at_us;
        record_1_put_pending(&o->b, &p);
        put(o, STORE_PENDING, slice_of(&p.no, sizeof p.no));
        o->counters.pending_bytes += json.len;
    }
    record_1_put_checkpoint(&o->b, &c);
    put(o, STORE_CHECKPOINTS, slice_str(id));
}

static void make_old(const char *dir, int documents)
{
    struct old_store o = {.counters = record_first_counters()};
    struct fault fault = {0};
    enum err e = store_open_copy(dir, 1, 1 << 28, &o.s, &fault);

    ck_assert_msg(e == ERR_OK, "%s: %s", fault.path, fault.why);
    ck_assert_int_eq(store_begin(o.s), ERR_OK);
    for (int i = 1; i <= documents; i++)
        put_document(&o, i);
    record_1_put_counters(&o.b, &o.counters);
    put(&o, STORE_META, slice_str("counters"));
    buf_str(&o.b, "http");
    put(&o, STORE_META, slice_str(RECORD_1_SINK));
    ck_assert_int_eq(format_put(o.s, 1), ERR_OK);
    ck_assert_int_eq(store_commit(o.s), ERR_OK);
    ck_assert_int_eq(store_sync(o.s), ERR_OK);
    store_close(o.s);
    buf_free(&o.b);
}

/* ---- looking ------------------------------------------------------------------------- */

static char said[4096];

static void note_finding(void *arg, const char *text)
{
    (void)arg;
    snprintf(said, sizeof said, "%s", text);
}

static struct store_report check(const char *dir)
{
    struct store_report r;
    struct fault fault = {0};

    said[0] = '\0';
    ck_assert_int_eq(store_check(dir, note_finding, NULL, &r, &fault), ERR_OK);
    ck_assert_msg(r.findings == 0, "%s", said);
    return r;
}

static void do_migrate(const char *dir, unsigned to)
{
    struct migrate_report r;
    struct fault fault = {0};
    enum err e = migrate(dir, to, NULL, &r, &fault);

    ck_assert_msg(e == ERR_OK, "%s: %s", fault.path, fault.why);
}

/* Every record but meta, as text; the caller frees it. */
static char *contents(const char *dir)
{
    char *text = NULL;
    size_t len = 0;
    uint64_t damaged;
    struct fault fault = {0};
    FILE *f = open_memstream(&text, &len);

    ck_assert_int_eq(store_dump(dir, f, &damaged, &fault), ERR_OK);
    fclose(f);
    ck_assert_uint_eq(damaged, 0);
    char *from = strstr(text, "{\"table\":\"pending\"");
    ck_assert_ptr_nonnull(from);
    memmove(text, from, strlen(from) + 1);
    return text;
}

static bool has_file(const char *dir, const char *name)
{
    char path[300];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

/* ---- tests --------------------------------------------------------------------------- */

static void note_progress(void *arg, uint64_t done, uint64_t of)
{
    char *told = arg;
    size_t len = strlen(told);

    snprintf(told + len, 100 - len, "%llu/%llu ", (unsigned long long)done, (unsigned long long)of);
}

/* Whoever waits is told at the beginning and before the disk may take long, however short it is. */
TEST(progress_is_told_at_the_beginning_and_before_the_end)
{
    struct temp_dir d = temp_dir_make();
    char told[100] = "";
    const struct migrate_wires wires = {.arg = told, .progress = note_progress};
    struct migrate_report r;
    struct fault fault = {0};

    make_old(d.path, 8);
    ck_assert_int_eq(migrate(d.path, STORE_FORMAT, &wires, &r, &fault), ERR_OK);
    unsigned long long all = r.checkpoints + r.pending + r.dead + 3; /* and meta */
    char wanted[100];
    snprintf(wanted, sizeof wanted, "0/%llu %llu/%llu ", all, all, all);
    ck_assert_str_eq(told, wanted);
    temp_dir_remove(&d);
}

TEST(everything_goes_along_there_and_back)
{
    struct temp_dir d = temp_dir_make();
    struct migrate_report r;
    struct fault fault = {0};

    make_old(d.path, 1000);
    struct store_report old = check(d.path);
    char *before = contents(d.path);
    ck_assert_int_eq(migrate(d.path, STORE_FORMAT, NULL, &r, &fault), ERR_OK);
    ck_assert(r.from == 1 && r.to == 2 && r.quarantined == 0);
    ck_assert_str_eq(r.kept, "data.mdb.format-1");
    struct store_report new = check(d.path);
    ck_assert(new.checkpoints == 1000 && new.pending == 250 && new.dead == 142);
    ck_assert(new.pending_bytes == old.pending_bytes &&new.dead_bytes == old.dead_bytes);
    ck_assert(has_file(d.path, "data.mdb.format-1") && !has_file(d.path, "data.mdb.new"));
    ck_assert_int_eq(migrate(d.path, STORE_FORMAT, NULL, &r, &fault), ERR_OK);
    ck_assert(r.from == r.to); /* once */
    ck_assert_int_eq(migrate(d.path, 1, NULL, &r, &fault), ERR_OK);
    ck_assert_str_eq(r.kept, "data.mdb.format-2");
    check(d.path);
    char *after = contents(d.path);
    ck_assert_str_eq(before, after);
    do_migrate(d.path, STORE_FORMAT); /* the second way back has a name of its own */
    ck_assert(has_file(d.path, "data.mdb.format-1.2"));
    free(before);
    free(after);
    temp_dir_remove(&d);
}

TEST(the_sidecar_goes_on_with_it)
{
    struct temp_dir d = temp_dir_make();
    struct pending p;
    uint64_t after = 0, n = 0;

    make_old(d.path, 400);
    struct outbox *o = kit_outbox(d.path); /* migrates by itself */
    struct outbox_reader *r = outbox_reader_open(o);
    for (; outbox_next(r, after, &p); after = p.no, n++)
        ck_assert_uint_eq(p.no, LANE_LIVE | (n + 1)); /* in their order */
    ck_assert_uint_eq(n, 100);
    outbox_reader_close(r);
    char id[64];
    snprintf(id, sizeof id, "runtime/run_summary:%08x-%04d", 4 * 2654435761u, 4);
    struct checkpoint cp = do_look(o, id);
    ck_assert(cp.has_pending && cp.has_delivered && cp.pending.seq == 7 && cp.delivered.seq == 5);
    ck_assert_uint_eq(cp.delivered_mark, 0);
    ck_assert(!do_put(o, id, 7, 7).coalesced || true);
    do_put(o, id, 8, 1);
    kit_done(o, id);
    ck_assert_int_eq(do_look(o, id).delivered.seq, 8);
    outbox_close(o);
    check(d.path);
    temp_dir_remove(&d);
}

/* What only format 2 knows becomes what format 1 can say. */
TEST(the_way_back_takes_both_lanes_and_doubts)
{
    struct temp_dir d = temp_dir_make();
    struct doubt doubt = {.to = 9, .why = slice_str("test"), .tail = slice_str("")};
    struct op bulk = {.fn = fn_put_real, .how = PUT_FORCE, .seq = 1};
    struct fault fault = {0};
    struct store *s;
    struct buf value = {0};

    struct outbox *o = kit_outbox(d.path);
    bulk.id = "bulk:1";
    ck_assert_int_eq(kit_do(o, &bulk), ERR_OK);
    kit_put_real(o, "live:1", 1, 10);
    bulk.id = "bulk:2";
    ck_assert_int_eq(kit_do(o, &bulk), ERR_OK);
    kit_put_real(o, "live:2", 1, 10);
    kit_put_real(o, "doubted", 1, 10);
    kit_done(o, "doubted");
    outbox_close(o);
    ck_assert_int_eq(store_open(d.path, 1 << 26, &s, &fault), ERR_OK);
    ck_assert_int_eq(store_begin(s), ERR_OK);
    record_put_doubt(&value, &doubt);
    ck_assert_int_eq(store_put(s, STORE_META, slice_str("doubt"), buf_view(&value)), ERR_OK);
    ck_assert_int_eq(store_commit(s), ERR_OK);
    store_close(s);
    do_migrate(d.path, 1);
    check(d.path);
    char *text = contents(d.path);
    const char *l1 = strstr(text, "live:1"), *l2 = strstr(text, "live:2");
    ck_assert(l1 != NULL && l2 > l1 && strstr(text, "bulk:1") > l1);
    ck_assert_ptr_nonnull(strstr(text, "\"id\":\"doubted\",\"kind\":\"run_summary\","));
    ck_assert_ptr_null(strstr(strstr(text, "\"table\":\"checkpoints\",\"id\":\"doubted\""),
                              "\"id\":\"doubted\",\"reset_revision\":0"));
    do_migrate(d.path, STORE_FORMAT); /* it is in doubt still */
    o = kit_outbox(d.path);
    struct op again = {.fn = fn_put_real, .id = "doubted", .seq = 1, .json_len = 10};
    ck_assert_int_eq(kit_do(o, &again), ERR_OK);
    ck_assert(again.decision.write);
    outbox_close(o);
    free(text);
    buf_free(&value);
    temp_dir_remove(&d);
}

TEST(a_damaged_record_goes_to_quarantine_and_the_rest_along)
{
    struct temp_dir d = temp_dir_make();
    struct migrate_report r;
    struct fault fault = {0};
    char old[64], new[64];

    make_old(d.path, 200);
    /* Of document 8 (pending, delivered) the checkpoint, of document 12 the pending version. */
    snprintf(old, sizeof old, "runtime/run_summary:%08x-%04d", 8 * 2654435761u, 8);
    snprintf(new, sizeof new, "%s", old);
    uint8_t page[KIT_PAGE];
    bool hit = false;
    for (uint64_t no = kit_pages(d.path); !hit && no-- > 2;) {
        kit_read_page(d.path, no, page);
        uint8_t *at = memmem(page, KIT_PAGE, old, strlen(old));
        /* behind the key of a checkpoint: an array of ten */
        if (at != NULL && at[strlen(old)] == 0x9a) {
            kit_write(d.path, no * KIT_PAGE + (uint64_t)(at - page) + strlen(old), "\x9b", 1);
            hit = true;
        }
    }
    ck_assert(hit);
    ck_assert_int_eq(migrate(d.path, STORE_FORMAT, NULL, &r, &fault), ERR_OK);
    ck_assert_uint_eq(r.quarantined, 1);
    struct store_report report = check(d.path);
    ck_assert_uint_eq(report.pending, 50);
    ck_assert_uint_eq(report.checkpoints, 200); /* made anew of what waits */
    ck_assert_uint_eq(report.quarantined, 1);
    temp_dir_remove(&d);
}

/* The first place of ${text} in a record that begins with ${before}, in the newest page. */
static uint64_t place_in_record(const char *dir, const char *text, const char *before)
{
    uint8_t page[KIT_PAGE];

    for (uint64_t no = kit_pages(dir); no-- > 2;) {
        kit_read_page(dir, no, page);
        uint8_t *at = memmem(page, KIT_PAGE, before, strlen(before));
        if (page[10] == 2 && at != NULL &&
            (at = memmem(at, (size_t)(page + KIT_PAGE - at), text, strlen(text))) != NULL)
            return no * KIT_PAGE + (uint64_t)(at - page);
    }
    ck_abort_msg("%s is not in the file", text);
}

/* Format 1 has no checksums, but writes much twice. */
TEST(a_kind_that_its_checkpoint_does_not_say_is_found_and_mended)
{
    struct temp_dir d = temp_dir_make();
    struct migrate_report r;
    struct fault fault = {0};
    struct store_report report;
    struct store *s;
    struct slice value, key = {0};
    struct pending p;
    char id[64];

    make_old(d.path, 20);
    snprintf(id, sizeof id, "runtime/run_summary:%08x-%04d", 8 * 2654435761u, 8);
    char before[80]; /* of a pending version: an array of five */
    snprintf(before, sizeof before, "\x95\xd9%c%s", (int)strlen(id), id);
    kit_write(d.path, place_in_record(d.path, "\xabrun_summary", before) + 4, "\xdf", 1);
    ck_assert_int_eq(store_check(d.path, note_finding, NULL, &report, &fault), ERR_OK);
    ck_assert_uint_eq(report.findings, 1);
    ck_assert_int_eq(migrate(d.path, STORE_FORMAT, NULL, &r, &fault), ERR_OK);
    ck_assert_uint_eq(r.quarantined, 0);
    ck_assert_uint_eq(check(d.path).pending, 5);
    ck_assert_int_eq(store_open(d.path, 1 << 24, &s, &fault), ERR_OK);
    ck_assert_int_eq(store_begin(s), ERR_OK);
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(store_seek(s, STORE_PENDING, key, i > 0, &key, &value), ERR_OK);
        ck_assert_int_eq(record_get_pending(key, value, &p, &fault), ERR_OK);
        ck_assert_slice(p.kind, "run_summary");
    }
    store_close(s);
    temp_dir_remove(&d);
}

/* One flipped bit makes it another's version: that one must not be harmed. */
TEST(a_version_that_another_document_s_checkpoint_names_goes_to_quarantine)
{
    struct temp_dir d = temp_dir_make();
    struct migrate_report r;
    struct fault fault = {0};
    struct store_report report;
    char id[64], before[80];

    make_old(d.path, 20);
    snprintf(id, sizeof id, "runtime/run_summary:%08x-%04d", 8 * 2654435761u, 8);
    snprintf(before, sizeof before, "\x95\xd9%c%s", (int)strlen(id), id);
    kit_write(d.path, place_in_record(d.path, "-0008", before) + 4, "9", 1);
    ck_assert_int_eq(store_check(d.path, note_finding, NULL, &report, &fault), ERR_OK);
    ck_assert_uint_gt(report.findings, 0);
    ck_assert_int_eq(migrate(d.path, STORE_FORMAT, NULL, &r, &fault), ERR_OK);
    ck_assert_uint_eq(r.quarantined, 1);
    ck_assert_uint_eq(r.pending, 4);
    ck_assert_uint_eq(r.checkpoints, 20); /* none was made for an id that never was */
    temp_dir_remove(&d);
}

TEST(a_document_under_another_hash_goes_to_quarantine)
{
    const struct migrate_wires wires = {.is_document = rehash_is};
    struct temp_dir d = temp_dir_make();
    struct migrate_report r;
    struct fault fault = {0};
    char id[64], before[80];

    make_old(d.path, 20);
    snprintf(id, sizeof id, "runtime/run_summary:%08x-%04d", 8 * 2654435761u, 8);
    snprintf(before, sizeof before, "\x95\xd9%c%s", (int)strlen(id), id);
    kit_write(d.path, place_in_record(d.path, "\"pad\":\"0", before) + 7, "7", 1);
    ck_assert_int_eq(migrate(d.path, STORE_FORMAT, &wires, &r, &fault), ERR_OK);
    ck_assert_uint_eq(r.quarantined, 1);
    ck_assert_uint_eq(r.pending, 4);
    temp_dir_remove(&d);
}

TEST(an_empty_store_and_no_store_are_well)
{
    struct temp_dir d = temp_dir_make();

    do_migrate(d.path, STORE_FORMAT);
    ck_assert(!has_file(d.path, "lock")); /* nothing was made */
    make_old(d.path, 0);
    do_migrate(d.path, STORE_FORMAT);
    ck_assert_uint_eq(check(d.path).checkpoints, 0);
    temp_dir_remove(&d);
}

TEST(it_is_refused_while_another_process_has_it)
{
    struct temp_dir d = temp_dir_make();
    struct outbox *o = kit_outbox(d.path);
    struct migrate_report r;
    struct fault fault = {0};

    ck_assert_int_eq(migrate(d.path, 1, NULL, &r, &fault), ERR_STORE);
    ck_assert_ptr_nonnull(strstr(fault.why, "in use by process"));
    outbox_close(o);
    temp_dir_remove(&d);
}

TEST(damage_is_left_to_a_repair)
{
    static const uint8_t zeros[KIT_PAGE];
    struct temp_dir d = temp_dir_make();
    struct migrate_report r;
    struct fault fault = {0};
    uint8_t page[KIT_PAGE];

    make_old(d.path, 400);
    for (uint64_t no = kit_pages(d.path); no-- > 2;) {
        kit_read_page(d.path, no, page);
        if (page[10] == 2 && page[11] == 0 && memmem(page, KIT_PAGE, "-0004", 5) != NULL) {
            kit_write(d.path, no * KIT_PAGE, zeros, sizeof zeros);
            break;
        }
    }
    ck_assert_int_eq(migrate(d.path, STORE_FORMAT, NULL, &r, &fault), ERR_STORE);
    ck_assert_ptr_nonnull(strstr(fault.why, "store repair"));
    ck_assert(!has_file(d.path, "data.mdb.new") && !has_file(d.path, "data.mdb.format-1"));
    temp_dir_remove(&d);
}

/* A child migrates and ends at the n-th moment; false: it came to its end. */
static bool is_killed_at(const char *dir, unsigned to, unsigned long n)
{
    pid_t pid = fork();
    int status;

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct migrate_report r;
        struct fault fault = {0};
        die_at = n;
        _exit(migrate(dir, to, NULL, &r, &fault) == ERR_OK ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 42));
    return WEXITSTATUS(status) == 42;
}

static unsigned format_of(const char *dir)
{
    const struct survey_visitor visitor = {NULL, NULL, note_finding};
    struct survey *p;
    struct fault fault;

    ck_assert_int_eq(survey_open(dir, SURVEY_BY_CURSORS, &visitor, &p, &fault), ERR_OK);
    unsigned format = survey_format(p);
    survey_close(p);
    return format;
}

/* At each of its moments, there and back: what is there is one whole store, and the next try makes
 * of it what the first would have. */
TEST(a_kill_at_any_moment_leaves_all_or_nothing)
{
    struct temp_dir d = temp_dir_make();
    char copy[200];
    unsigned kills[2] = {0};

    make_old(d.path, 15000);
    char *before = contents(d.path);
    snprintf(copy, sizeof copy, "%s/copy", d.path);
    for (unsigned to = STORE_FORMAT; to >= 1; to--) {
        unsigned from = 3 - to;
        bool killed = true;
        for (unsigned long n = 1; killed; n++) {
            kit_copy_store(d.path, copy);
            killed = is_killed_at(copy, to, n);
            kills[to - 1] += killed;
            unsigned there = format_of(copy);
            ck_assert(there == from || there == to);
            struct store_report r = check(copy);
            ck_assert(r.checkpoints == 15000 && r.pending == 3750 && r.dead == 2142);
            do_migrate(copy, to);
            ck_assert_uint_eq(format_of(copy), to);
            r = check(copy);
            ck_assert(r.checkpoints == 15000 && r.pending == 3750 && r.dead == 2142);
            ck_assert(!has_file(copy, "data.mdb.new"));
            if (to == 1) {
                char *after = contents(copy);
                ck_assert_str_eq(before, after);
                free(after);
            }
            temp_dir_empty(copy);
            ck_assert_int_eq(rmdir(copy), 0);
        }
        do_migrate(d.path, to);
    }
    ck_assert_uint_ge(kills[0], 25);
    ck_assert_uint_ge(kills[1], 25);
    free(before);
    temp_dir_remove(&d);
}
