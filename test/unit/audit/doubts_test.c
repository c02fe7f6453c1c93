/* doubts_test.c - the second look, on a real store, with a Convex that is a table. */

#include "audit/doubts.h"
#include "ground/clock.h"
#include "outbox/outbox.h"
#include "projection/projection.h"
#include "store/store.h"

#include "test.h"
#include "temp_dir.h"
#include "outbox/outbox_kit.h"

#define A "runtime/run_summary:a"
#define B "runtime/run_summary:b"
#define C "runtime/run_summary:c"

/* ---- a Convex that is a table ---- */

static struct {
    struct drift_theirs rows[8];
    size_t count, at_once; /* at_once: documents answered by one question; 0: all */
    unsigned asked, pauses;
    int64_t paused_ms;
    bool is_woken;
    enum err fails;
    void (*meanwhile)(void); /* between the first look and the answer */
} convex;
static struct drift_theirs page_items[DIGESTS_PAGE];
static struct outbox *box;

static void stands(const char *id, int64_t seq, uint8_t hash)
{
    struct drift_theirs *t = &convex.rows[convex.count++];

    *t = (struct drift_theirs){
        .id = slice_str(id), .is_intact = true, .has_hash = true, .seq = seq, .projected_at_us = 1};
    memset(t->hash, hash, sizeof t->hash);
    memset(t->actual, hash, sizeof t->actual);
}

enum err digests_get(struct digests *d, const struct digests_ask *ask, struct digests_page *page,
                     struct fault *fault)
{
    size_t count =
        convex.at_once && convex.at_once < ask->id_count ? convex.at_once : ask->id_count;

    (void)d;
    convex.asked++;
    if (convex.meanwhile)
        convex.meanwhile();
    if (convex.fails) {
        snprintf(fault->why, sizeof fault->why, "no answer");
        return convex.fails;
    }
    *page = (struct digests_page){.items = page_items, .is_last = count == ask->id_count};
    for (size_t i = 0; i < count; i++)
        for (size_t r = 0; r < convex.count; r++)
            if (slice_eq(ask->ids[i], convex.rows[r].id))
                page_items[page->count++] = convex.rows[r];
    if (!page->is_last)
        page->next = ask->ids[count - 1];
    return ERR_OK;
}

bool digests_pause(struct digests *d, int64_t ms)
{
    (void)d;
    convex.pauses++;
    convex.paused_ms += ms;
    return !convex.is_woken;
}

enum err digests_open(const struct digests_options *options, struct digests **d,
                      struct fault *fault)
{
    (void)options, (void)d, (void)fault;
    return ERR_OK;
}

void digests_close(struct digests *d)
{
    (void)d;
}

/* ---- a second look ---- */

struct second {
    struct temp_dir dir;
    struct doubts *doubts;
    struct drift_report report;
    struct fault fault;
};

static struct second second_open(bool repair)
{
    struct second s = {.dir = temp_dir_make()};

    memset(&convex, 0, sizeof convex);
    box = kit_outbox(s.dir.path);
    s.doubts = doubts_new(box, NULL, repair);
    doubts_begin(s.doubts, &kit_kind);
    return s;
}

static void second_close(struct second *s)
{
    doubts_free(s->doubts);
    drift_report_clear(&s->report);
    outbox_close(box);
    temp_dir_remove(&s->dir);
}

static enum err look_again(struct second *s, const char *id)
{
    ck_assert(doubts_add(s->doubts, slice_str(id), slice_str("before"), 6));
    return doubts_settle(s->doubts, &s->report, &s->fault);
}

static void confirmed(const char *id, int64_t seq, uint8_t hash)
{
    do_put(box, id, seq, hash);
    kit_done(box, id);
}

/* The one finding about ${id}, or DRIFT_NONE. */
static enum drift found(const struct second *s, const char *id, bool repaired)
{
    for (size_t i = 0; i < s->report.line_count; i++)
        if (strcmp(s->report.lines[i].id, id) == 0) {
            ck_assert_int_eq(s->report.lines[i].is_repaired, repaired);
            return s->report.lines[i].finding;
        }
    return DRIFT_NONE;
}

TEST(what_is_still_different_is_a_finding)
{
    struct second s = second_open(false);
    struct slice safe;
    uint64_t checked;

    confirmed(A, 5, 1);
    confirmed(B, 5, 1);
    stands(B, 5, 1);
    stands(C, 3, 1);
    doubts_add(s.doubts, slice_str(A), slice_str("0"), 0);
    doubts_add(s.doubts, slice_str(B), slice_str(A), 1);
    ck_assert(doubts_safe(s.doubts, &safe, &checked));
    ck_assert_slice(safe, "0");
    ck_assert_uint_eq(checked, 0);
    ck_assert_int_eq(look_again(&s, C), ERR_OK);
    ck_assert_int_eq(found(&s, A, false), DRIFT_MISSING);
    ck_assert_int_eq(found(&s, B, false), DRIFT_NONE);
    ck_assert_int_eq(found(&s, C, false), DRIFT_ORPHANED);
    ck_assert(s.report.second_look == 3 && s.report.unsettled == 0 && convex.asked == 1);
    ck_assert(!doubts_safe(s.doubts, &safe, &checked));
    ck_assert_uint_eq(kit_count_pending(box), 0);
    second_close(&s);
}

/* A newer version is kept and delivered while Convex is asked. */
static void write_once(void)
{
    convex.meanwhile = NULL;
    confirmed(A, 6, 2);
    convex.count = 0;
    stands(A, 6, 2);
}

TEST(what_moves_meanwhile_is_looked_at_again)
{
    struct second s = second_open(false);

    confirmed(A, 5, 1);
    stands(A, 4, 1); /* an answer from before the write that comes */
    convex.meanwhile = write_once;
    ck_assert_int_eq(look_again(&s, A), ERR_OK);
    ck_assert_int_eq(found(&s, A, false), DRIFT_NONE);
    ck_assert(convex.asked == 2 && convex.pauses == 1 && s.report.unsettled == 0);
    second_close(&s);
}

TEST(what_is_judged_is_not_judged_again_with_what_moved)
{
    struct second s = second_open(false);

    confirmed(A, 5, 1);
    confirmed(B, 5, 1); /* missing, at the first look */
    stands(A, 4, 1);
    convex.meanwhile = write_once;
    doubts_add(s.doubts, slice_str(B), slice_str("0"), 0);
    ck_assert_int_eq(look_again(&s, A), ERR_OK);
    ck_assert_int_eq(found(&s, A, false), DRIFT_NONE);
    ck_assert_int_eq(found(&s, B, false), DRIFT_MISSING);
    ck_assert_uint_eq(s.report.line_count, 1);
    ck_assert_uint_eq(s.report.second_look, 2);
    second_close(&s);
}

TEST(what_is_on_its_way_for_too_long_is_not_judged)
{
    struct second s = second_open(true);
    struct slice safe;
    uint64_t checked;

    confirmed(A, 5, 1);
    do_put(box, A, 6, 2);
    ck_assert_int_eq(look_again(&s, A), ERR_OK);
    ck_assert(s.report.unsettled == 1 && s.report.line_count == 0);
    ck_assert(convex.asked == 0 && convex.paused_ms > 1000 && convex.paused_ms < 10000);
    ck_assert(!doubts_safe(s.doubts, &safe, &checked));
    /* The patience is the audit's, not the document's. */
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(look_again(&s, A), ERR_OK);
    ck_assert_int_le(convex.paused_ms, 60000);
    second_close(&s);
}

TEST(a_doubted_document_is_written_whatever_stands)
{
    struct second s = second_open(true);

    confirmed(A, 5, 1);
    int64_t future_us = clock_wall_us() + 3600000000;
    stands(A, 9, 3);
    convex.rows[0].projected_at_us = future_us;
    ck_assert_int_eq(look_again(&s, A), ERR_OK);
    ck_assert_int_eq(found(&s, A, true), DRIFT_AHEAD);
    ck_assert_uint_eq(s.report.repaired, 1);
    struct checkpoint cp = do_look(box, A);
    ck_assert(cp.has_delivered && !cp.has_pending && cp.delivered.seq == 5);

    struct decision d = do_put(box, A, 5, 1);
    ck_assert(d.write && d.reason == DECIDE_NO_REASON);
    cp = do_look(box, A);
    ck_assert(cp.pending.reset && cp.pending.projected_at_us > future_us);
    kit_done(box, A);
    d = do_put(box, A, 5, 1);
    ck_assert(!d.write && d.reason == DECIDE_IDEMPOTENT);
    second_close(&s);
}

TEST(a_doubt_outlives_the_sidecar)
{
    struct second s = second_open(true);

    confirmed(A, 5, 1);
    ck_assert_int_eq(look_again(&s, A), ERR_OK);
    outbox_close(box);
    box = kit_outbox(s.dir.path);
    ck_assert(do_put(box, A, 5, 1).write);
    second_close(&s);
}

TEST(an_orphan_is_cleared_behind_what_stands)
{
    struct second s = second_open(true);
    int64_t future_us = clock_wall_us() + 3600000000;

    stands(C, 3, 1);
    convex.rows[0].projected_at_us = future_us;
    ck_assert_int_eq(look_again(&s, C), ERR_OK);
    ck_assert_int_eq(found(&s, C, true), DRIFT_ORPHANED);
    struct checkpoint cp = do_look(box, C);
    ck_assert(cp.has_pending && cp.pending.op == OUTBOX_REMOVE);
    ck_assert_int_gt(cp.pending.projected_at_us, future_us);
    second_close(&s);
}

TEST(what_no_clock_says_is_named_and_left)
{
    struct second s = second_open(true);

    confirmed(A, 5, 1);
    stands(A, 9, 3);
    stands(C, 3, 1);
    convex.rows[0].projected_at_us = convex.rows[1].projected_at_us = 253402300799000000;
    doubts_add(s.doubts, slice_str(A), slice_str("0"), 0);
    ck_assert_int_eq(look_again(&s, C), ERR_OK);
    ck_assert_int_eq(found(&s, A, false), DRIFT_AHEAD);
    ck_assert_int_eq(found(&s, C, false), DRIFT_ORPHANED);
    ck_assert(s.report.repaired == 0 && kit_count_pending(box) == 0);
    ck_assert(!do_put(box, A, 5, 1).write);
    second_close(&s);
}

/* Convex may stop early (rows are large), and is then asked for the rest. */
TEST(an_answer_in_parts)
{
    struct second s = second_open(false);
    char ids[300][32];
    size_t missing = 0;

    convex.at_once = 7;
    for (int i = 0; i < 300; i++) {
        snprintf(ids[i], sizeof ids[i], "runtime/run_summary:%03d", i);
        do_put(box, ids[i], 1, 1);
    }
    for (int i = 0; i < 300; i++)
        kit_done(box, ids[i]);
    stands(ids[6], 1, 1);
    stands(ids[7], 1, 1);
    stands(ids[299], 1, 1);
    for (int i = 0; i < 300; i++)
        ck_assert(doubts_add(s.doubts, slice_str(ids[i]), slice_str("0"), i));
    ck_assert_int_eq(doubts_settle(s.doubts, &s.report, &s.fault), ERR_OK);
    for (size_t i = 0; i < s.report.line_count; i++)
        missing += s.report.lines[i].finding == DRIFT_MISSING;
    ck_assert_uint_eq(missing, 297);
    ck_assert_uint_eq(s.report.line_count, 297);
    ck_assert_uint_eq(convex.asked, 29 + 15);
    second_close(&s);
}

TEST(a_fault_leaves_what_is_not_judged_in_the_list)
{
    struct second s = second_open(false);
    struct slice safe;
    uint64_t checked;

    confirmed(A, 5, 1);
    convex.fails = ERR_SINK;
    ck_assert_int_eq(look_again(&s, A), ERR_SINK);
    ck_assert_str_eq(s.fault.why, "no answer");
    ck_assert(doubts_safe(s.doubts, &safe, &checked));
    ck_assert_slice(safe, "before");
    ck_assert_uint_eq(checked, 6);
    convex.fails = ERR_CLOSED;
    ck_assert_int_eq(doubts_settle(s.doubts, &s.report, &s.fault), ERR_CLOSED);
    ck_assert_str_eq(s.fault.why, "cancelled");
    convex.fails = ERR_OK;
    ck_assert_int_eq(doubts_settle(s.doubts, &s.report, &s.fault), ERR_OK);
    ck_assert_int_eq(found(&s, A, false), DRIFT_MISSING);
    second_close(&s);
}

TEST(a_damaged_record_is_not_judged_and_the_others_are)
{
    struct second s = second_open(true);
    struct store *store;

    confirmed(A, 5, 1);
    confirmed(B, 5, 1);
    uint64_t number = do_look(box, A).document;
    outbox_close(box);
    ck_assert_int_eq(store_open(s.dir.path, 1 << 26, &store, &s.fault), ERR_OK);
    ck_assert_int_eq(store_begin(store), ERR_OK);
    ck_assert_int_eq(
        store_put(store, STORE_CHECKPOINTS, slice_of(&number, sizeof number), slice_str("garbage")),
        ERR_OK);
    ck_assert_int_eq(store_commit(store), ERR_OK);
    store_close(store);
    box = kit_outbox(s.dir.path);
    doubts_free(s.doubts);
    s.doubts = doubts_new(box, NULL, true);
    doubts_begin(s.doubts, &kit_kind);
    stands(A, 5, 1);
    doubts_add(s.doubts, slice_str(A), slice_str("0"), 0);
    ck_assert_int_eq(look_again(&s, B), ERR_OK);
    ck_assert_int_eq(found(&s, A, false), DRIFT_NONE);
    ck_assert_int_eq(found(&s, B, true), DRIFT_MISSING);
    ck_assert_uint_eq(s.report.unsettled, 1);
    second_close(&s);
}

/* What cannot be a key of the store is named, and no repair of others fails with it. */
TEST(ids_that_are_none)
{
    struct second s = second_open(true);
    char long_id[600];

    memset(long_id, 'x', sizeof long_id - 1);
    long_id[sizeof long_id - 1] = '\0';
    stands("", 1, 1);
    stands(long_id, 1, 1);
    stands(C, 1, 1);
    doubts_add(s.doubts, slice_str(""), slice_str(""), 0);
    doubts_add(s.doubts, slice_str(long_id), slice_str(""), 1);
    ck_assert_int_eq(look_again(&s, C), ERR_OK);
    ck_assert_int_eq(found(&s, "", false), DRIFT_ORPHANED);
    ck_assert_int_eq(found(&s, long_id, false), DRIFT_ORPHANED);
    ck_assert_int_eq(found(&s, C, true), DRIFT_ORPHANED);
    second_close(&s);
}

/* Nothing may be doubted that the caller is not told about. */
TEST(a_repair_stops_before_its_list_is_full)
{
    struct second s = second_open(true);
    struct slice safe;
    uint64_t checked;

    for (int i = 0; i < DRIFT_LINES_MAX - DIGESTS_LOOK + 1; i++)
        drift_add_line(&s.report,
                       (struct drift_line){.id = base_strndup("x", 1), .finding = DRIFT_STALE});
    confirmed(A, 5, 1);
    ck_assert_int_eq(look_again(&s, A), ERR_CLOSED);
    ck_assert_str_eq(s.fault.why, "the list of findings is full");
    ck_assert(doubts_safe(s.doubts, &safe, &checked) && checked == 6 && convex.asked == 0);
    ck_assert(!do_put(box, A, 5, 1).write);
    second_close(&s);
}

TEST(a_list_that_is_full_says_so)
{
    struct second s = second_open(false);
    int i = 0;

    while (doubts_add(s.doubts, slice_str(A), slice_str("0"), 0))
        ck_assert_int_lt(++i, 100000);
    ck_assert_int_eq(doubts_settle(s.doubts, &s.report, &s.fault), ERR_OK);
    ck_assert(doubts_add(s.doubts, slice_str(A), slice_str("0"), 0));
    second_close(&s);
}
