/* audit_run_test.c - whole audits of a real store, with a Convex that is a table, page by page. */

#include "audit/audit.h"
#include "ground/metrics.h"
#include "projection/projection.h"

#include "test.h"
#include "temp_dir.h"
#include "ground/fake_log.c"
#include "outbox/outbox_kit.h"

#include <poll.h>

#define RUN    "runtime/run_summary:"
#define WORKER "runtime/codex_worker_summary:"

/* ---- a Convex that is a table ---------------------------------------------------------------- */

#define ROWS_MAX 2600

static struct {
    struct drift_theirs rows[ROWS_MAX]; /* in the order of their ids */
    size_t count, page;
    char asks[4000]; /* "run_summary>a " of each page, "run_summary#2 " of a look at two ids */
    unsigned pages, opened, closed;
    unsigned fails_at; /* this page, from 1; 0: none does */
    enum err failure;
    unsigned opens_badly_at;
    int tries;
    pthread_mutex_t gate; /* held: no page comes */
    atomic_uint at_gate;
} convex = {.gate = PTHREAD_MUTEX_INITIALIZER};

struct digests {
    int wake_fd;
    struct drift_theirs items[DIGESTS_PAGE];
};

enum err digests_open(const struct digests_options *options, struct digests **d,
                      struct fault *fault)
{
    if (++convex.opened == convex.opens_badly_at)
        return fault_say(fault, "base_url", "is missing");
    *d = base_alloc(sizeof **d);
    (*d)->wake_fd = options->wake_fd;
    convex.tries = options->tries;
    return ERR_OK;
}

void digests_close(struct digests *d)
{
    convex.closed += d != NULL;
    free(d);
}

bool digests_pause(struct digests *d, int64_t ms)
{
    struct pollfd fd = {.fd = d->wake_fd, .events = POLLIN};

    return poll(&fd, 1, (int)ms) <= 0;
}

static bool is_asked_for(const struct digests_ask *ask, struct slice id)
{
    for (size_t i = 0; i < ask->id_count; i++)
        if (slice_eq(ask->ids[i], id))
            return true;
    return ask->id_count == 0 && slice_order(id, ask->after) > 0 &&
           memmem(id.data, id.len, ask->kind, strlen(ask->kind)) != NULL;
}

enum err digests_get(struct digests *d, const struct digests_ask *ask, struct digests_page *page,
                     struct fault *fault)
{
    size_t used = strlen(convex.asks), room = ask->id_count ? DIGESTS_PAGE : convex.page;

    if (ask->id_count)
        snprintf(convex.asks + used, sizeof convex.asks - used, "%s#%zu ", ask->kind,
                 ask->id_count);
    else
        snprintf(convex.asks + used, sizeof convex.asks - used, "%s>%.*s ", ask->kind,
                 SLICE_ARG(ask->after));
    convex.at_gate++;
    pthread_mutex_lock(&convex.gate);
    pthread_mutex_unlock(&convex.gate);
    if (!digests_pause(d, 0))
        return ERR_CLOSED;
    if (++convex.pages == convex.fails_at) {
        if (convex.failure == ERR_SINK)
            snprintf(fault->why, sizeof fault->why, "HTTP 503");
        return convex.failure;
    }
    *page = (struct digests_page){.items = d->items, .is_last = true};
    for (size_t i = 0; i < convex.count && page->is_last; i++) {
        if (!is_asked_for(ask, convex.rows[i].id))
            continue;
        if (page->count < room)
            d->items[page->count++] = convex.rows[i];
        else
            page->is_last = false;
    }
    if (!page->is_last)
        page->next = d->items[page->count - 1].id;
    return ERR_OK;
}

static void stands(const char *id, int64_t seq, uint8_t hash)
{
    struct drift_theirs *t = &convex.rows[convex.count++];

    ck_assert_uint_le(convex.count, ROWS_MAX);
    *t = (struct drift_theirs){
        .id = slice_str(id), .is_intact = true, .has_hash = true, .seq = seq, .projected_at_us = 1};
    memset(t->hash, hash, sizeof t->hash);
    memset(t->actual, hash, sizeof t->actual);
}

/* ---- an audit -------------------------------------------------------------------------------- */

struct scene {
    struct temp_dir dir;
    struct outbox *box;
    struct kinds *kinds;
    struct audit *audit;
};

/* The report of the last audit, copied in its callback. */
static struct {
    struct drift_report report;
    char next[600], lines[DRIFT_LINES_MAX][40], log[600];
    bool has_next;
    atomic_uint count;
} told;

static void on_done(void *arg, const struct drift_report *r)
{
    ck_assert_ptr_eq(arg, &told);
    told.report = *r;
    told.has_next = r->next != NULL;
    snprintf(told.next, sizeof told.next, "%.*s", (int)r->next_len, r->next ? r->next : "");
    for (size_t i = 0; i < r->line_count; i++)
        snprintf(told.lines[i], sizeof told.lines[i], "%.*s %s", (int)r->lines[i].id_len,
                 r->lines[i].id, drift_text(r->lines[i].finding));
    snprintf(told.log, sizeof told.log, "%s", fake_log_last);
    told.count++;
}

static struct scene scene_open(void)
{
    struct scene s = {.dir = temp_dir_make(), .kinds = kinds_new()};
    struct fault fault;

    ck_assert_int_eq(kinds_finish(s.kinds, &fault), ERR_OK);
    ck_assert_uint_eq(kinds_count(s.kinds), 2);
    convex.count = convex.pages = convex.opened = convex.closed = convex.fails_at = 0;
    convex.opens_badly_at = 0;
    convex.page = 2;
    convex.asks[0] = '\0';
    told.count = 0;
    s.box = kit_outbox(s.dir.path);
    struct audit_options options = {.outbox = s.box, .kinds = s.kinds};
    s.audit = audit_open(&options);
    return s;
}

static void scene_close(struct scene *s)
{
    audit_stop(s->audit);
    audit_close(s->audit);
    ck_assert_uint_eq(convex.closed + (convex.opens_badly_at > 0), convex.opened);
    outbox_close(s->box);
    kinds_free(s->kinds);
    temp_dir_remove(&s->dir);
}

static void confirmed(struct scene *s, const char *id, int64_t seq, uint8_t hash)
{
    do_put(s->box, id, seq, hash);
    kit_done(s->box, id);
}

static void begin(struct scene *s, const char *kind, const char *after, bool repair)
{
    struct drift_request q = {.after = slice_str(after), .repair = repair};
    struct fault fault = {0};

    for (size_t i = 0; i < kinds_count(s->kinds); i++)
        if (kind && strcmp(kinds_at(s->kinds, i)->name, kind) == 0)
            q.kind = kinds_at(s->kinds, i);
    ck_assert_int_eq(audit_start(s->audit, &q, on_done, &told, &fault), ERR_OK);
}

static void await(unsigned count)
{
    for (int i = 0; told.count < count; i++) {
        ck_assert_int_lt(i, 200000);
        usleep(100);
    }
}

static void run(struct scene *s, const char *kind, const char *after, bool repair)
{
    unsigned before = told.count;

    convex.asks[0] = '\0';
    convex.pages = 0;
    begin(s, kind, after, repair);
    await(before + 1);
}

static void assert_counts(uint64_t checked, uint64_t missing, uint64_t stale, uint64_t orphaned)
{
    const struct drift_report *r = &told.report;

    ck_assert_uint_eq(r->checked, checked);
    ck_assert_uint_eq(r->count[DRIFT_MISSING], missing);
    ck_assert_uint_eq(r->count[DRIFT_STALE], stale);
    ck_assert_uint_eq(r->count[DRIFT_ORPHANED], orphaned);
    ck_assert_uint_eq(r->line_count, missing + stale + orphaned);
    ck_assert_uint_eq(metric_get(METRIC_AUDIT_FINDINGS), missing + stale + orphaned);
}

/* Five documents of one kind and two of the other: one is missing, one stale, two are orphaned. */
static void both_kinds(struct scene *s)
{
    static const char *const runs[] = {RUN "a", RUN "b", RUN "d", RUN "e"};

    for (int i = 0; i < 4; i++)
        confirmed(s, runs[i], 5, 1);
    confirmed(s, WORKER "v", 5, 1);
    stands(WORKER "u", 1, 9);
    stands(WORKER "v", 5, 1);
    stands(RUN "a", 5, 1);
    stands(RUN "b", 4, 2);
    stands(RUN "c", 3, 1);
    stands(RUN "e", 5, 1);
}

TEST(all_kinds_are_compared_page_by_page)
{
    struct scene s = scene_open();

    both_kinds(&s);
    run(&s, NULL, "", false);
    assert_counts(7, 1, 1, 2);
    ck_assert_uint_eq(metric_get(METRIC_AUDIT_CHECKED), 7);
    ck_assert_str_eq(told.lines[0], RUN "b stale");
    ck_assert_str_eq(told.lines[1], RUN "c orphaned");
    ck_assert_str_eq(told.lines[2], RUN "d missing");
    ck_assert_str_eq(told.lines[3], WORKER "u orphaned");
    ck_assert_str_eq(convex.asks, "run_summary> run_summary>" RUN "b run_summary#3 "
                                  "codex_worker_summary> codex_worker_summary#1 ");
    ck_assert(!told.has_next && !told.report.is_failed);
    ck_assert_str_eq(told.report.stopped, "");
    ck_assert_uint_eq(told.report.second_look, 4);
    ck_assert_uint_eq(told.report.repaired, 0);
    ck_assert_uint_eq(told.report.unsettled, 0);
    ck_assert_int_ge(told.report.took_ms, 0);
    ck_assert_int_lt(told.report.took_ms, 100000);
    ck_assert_int_eq(
        strncmp(told.log,
                "audit.done checked=7 missing=1 stale=1 ahead=0 altered=0 orphaned=2 second_look=4 "
                "unsettled=0 repaired=0 took_ms=",
                strlen("audit.done checked=7 missing=1 stale=1 ahead=0 altered=0 orphaned=2 "
                       "second_look=4 unsettled=0 repaired=0 took_ms=")),
        0);
    ck_assert_ptr_nonnull(strstr(told.log, " stopped=\"\""));
    scene_close(&s);
}

TEST(one_kind_alone_or_what_comes_after_a_document)
{
    struct scene s = scene_open();

    both_kinds(&s);
    run(&s, "codex_worker_summary", "", false);
    assert_counts(2, 0, 0, 1);
    ck_assert_str_eq(convex.asks, "codex_worker_summary> codex_worker_summary#1 ");
    run(&s, "run_summary", RUN "c", false);
    assert_counts(2, 1, 0, 0); /* d and e */
    ck_assert_str_eq(convex.asks, "run_summary>" RUN "c run_summary#1 ");
    run(&s, NULL, RUN "c", false); /* and the kinds after that one, from their first */
    assert_counts(4, 1, 0, 1);
    run(&s, NULL, WORKER "u", false);
    assert_counts(1, 0, 0, 0);
    ck_assert_str_eq(convex.asks, "codex_worker_summary>" WORKER "u ");
    run(&s, NULL, RUN "zz", false);
    assert_counts(2, 0, 0, 1);
    scene_close(&s);
}

TEST(with_repair_what_differs_is_mended)
{
    struct scene s = scene_open();

    both_kinds(&s);
    run(&s, NULL, "", true);
    assert_counts(7, 1, 1, 2);
    ck_assert_uint_eq(told.report.repaired, 4);
    ck_assert_ptr_nonnull(strstr(told.log, " repaired=4 "));
    ck_assert_uint_eq(kit_count_pending(s.box), 2); /* the orphans are removed */
    ck_assert(do_put(s.box, RUN "b", 5, 1).write);
    scene_close(&s);
}

/* A portion of the store has 500. */
TEST(a_store_of_several_portions)
{
    static struct op ops[1001];
    static char ids[1001][40];

    for (size_t n = 499; n <= 1001; n += n == 501 ? 498 : 1) {
        struct scene s = scene_open();
        for (size_t i = 0; i < n; i++) {
            snprintf(ids[i], sizeof ids[i], RUN "%04zu", i);
            ops[i] = (struct op){.fn = fn_put, .id = ids[i], .seq = 1, .hash = 1};
            ck_assert_int_eq(kit_submit(s.box, &ops[i]), ERR_OK);
        }
        for (size_t i = 0; i < n; i++)
            ck_assert_int_eq(kit_wait(&ops[i]), ERR_OK);
        stands(ids[n - 1], 1, 1);
        run(&s, NULL, "", false);
        assert_counts(n, 0, 0, 0); /* all of it is on its way */
        scene_close(&s);
    }
}

/* A thousand doubts at most are gathered before they are looked at. */
TEST(more_doubts_than_are_gathered)
{
    static char ids[2500][40];
    struct scene s = scene_open();

    convex.page = DIGESTS_PAGE;
    for (int i = 0; i < 2500; i++) {
        snprintf(ids[i], sizeof ids[i], RUN "%04d", i);
        stands(ids[i], 1, 1);
    }
    run(&s, NULL, "", false);
    ck_assert_uint_eq(told.report.checked, 2500);
    ck_assert_uint_eq(told.report.count[DRIFT_ORPHANED], 2500);
    ck_assert_uint_eq(told.report.second_look, 2500);
    ck_assert_uint_eq(told.report.line_count, DRIFT_LINES_MAX);
    ck_assert(!told.has_next);
    run(&s, NULL, "", true); /* nothing is repaired that the list has no room for */
    ck_assert_str_eq(told.report.stopped, "the list of findings is full");
    ck_assert(!told.report.is_failed && told.has_next);
    ck_assert_uint_eq(told.report.repaired, told.report.line_count);
    ck_assert_uint_ge(told.report.line_count, DRIFT_LINES_MAX - DIGESTS_LOOK);
    ck_assert_uint_eq(told.report.checked, told.report.line_count);
    ck_assert_str_eq(told.next, ids[told.report.line_count - 1]);
    scene_close(&s);
}

/* ---- what ends one before its end ------------------------------------------------------------ */

TEST(a_failure_says_why_and_where_to_go_on)
{
    struct scene s = scene_open();

    for (int i = 0; i < 6; i++) {
        static char ids[6][40];
        snprintf(ids[i], sizeof ids[i], RUN "%d", i);
        confirmed(&s, ids[i], 5, 1);
        stands(ids[i], 5, 1);
    }
    convex.fails_at = 2;
    convex.failure = ERR_SINK;
    run(&s, NULL, "", false);
    assert_counts(2, 0, 0, 0);
    ck_assert_str_eq(told.report.stopped, "HTTP 503");
    ck_assert(told.report.is_failed && told.has_next);
    ck_assert_str_eq(told.next, RUN "1");
    ck_assert_ptr_nonnull(strstr(told.log, " stopped=\"HTTP 503\""));
    convex.rows[0].seq = 4; /* the first is in doubt: it was not judged, so it is not counted */
    run(&s, NULL, "", false);
    assert_counts(0, 0, 0, 0);
    ck_assert_str_eq(told.next, "");
    ck_assert(told.has_next);
    run(&s, NULL, RUN "0", false);
    ck_assert_str_eq(told.next, RUN "2");
    convex.failure = ERR_CLOSED;
    run(&s, NULL, "", false);
    ck_assert_str_eq(told.report.stopped, "cancelled");
    ck_assert(!told.report.is_failed);
    convex.fails_at = 4; /* the second look */
    convex.failure = ERR_SINK;
    run(&s, NULL, "", false);
    ck_assert_str_eq(told.report.stopped, "HTTP 503");
    assert_counts(0, 0, 0, 0);
    convex.fails_at = 1; /* nothing was compared: from where it was told to begin */
    run(&s, NULL, RUN "3", false);
    ck_assert_str_eq(told.next, RUN "3");
    scene_close(&s);
}

TEST(where_to_go_on_is_an_id_of_the_store)
{
    static char longest[600], too_long[600];
    struct scene s = scene_open();

    memset(longest, 'b', sizeof longest);
    memset(too_long, 'c', sizeof too_long);
    memcpy(longest, RUN, strlen(RUN));
    memcpy(too_long, RUN, strlen(RUN));
    longest[511] = too_long[512] = '\0';
    const char *const ids[] = {RUN "a", longest, too_long, RUN "d\xff", RUN};
    const char *const nexts[] = {RUN "a", longest, longest, longest, ""};
    convex.page = 1;
    convex.failure = ERR_SINK;
    for (size_t n = 1; n <= 5; n++) {
        convex.count = 0;
        for (size_t i = n == 5 ? 4 : 0; i < n; i++)
            stands(ids[i], 1, 1);
        stands(RUN "x", 1, 1);
        for (size_t i = 0; i < convex.count; i++)
            convex.rows[i].is_removed = true; /* nothing is in doubt */
        convex.fails_at = n == 5 ? 2 : (unsigned)n + 1;
        run(&s, "run_summary", "", false);
        ck_assert_str_eq(told.next, nexts[n - 1]);
    }
    scene_close(&s);
}

TEST(what_cannot_be_opened_is_named)
{
    for (unsigned n = 1; n <= 2; n++) {
        struct scene s = scene_open();
        convex.opens_badly_at = n;
        run(&s, NULL, "", false);
        ck_assert_str_eq(told.report.stopped, "base_url is missing");
        ck_assert(told.report.is_failed);
        scene_close(&s);
    }
}

/* An audit that waits for its first page. */
static void begin_and_hold(struct scene *s, const char *kind, const char *after)
{
    pthread_mutex_lock(&convex.gate);
    convex.at_gate = 0;
    begin(s, kind, after, false);
    while (convex.at_gate == 0)
        usleep(100);
}

TEST(one_at_a_time_and_it_can_be_cancelled)
{
    struct scene s = scene_open();
    struct drift_request q = {.after = slice_str("")};
    struct fault fault = {0};

    both_kinds(&s);
    ck_assert(!audit_cancel(s.audit));
    begin_and_hold(&s, NULL, "");
    ck_assert_int_eq(audit_start(s.audit, &q, on_done, &told, &fault), ERR_BUSY);
    ck_assert(audit_cancel(s.audit));
    pthread_mutex_unlock(&convex.gate);
    await(1);
    ck_assert_str_eq(told.report.stopped, "cancelled");
    ck_assert(!told.report.is_failed);
    ck_assert(!audit_cancel(s.audit));
    run(&s, NULL, "", false); /* what was rung then does not end the next */
    assert_counts(7, 1, 1, 2);
    audit_stop(s.audit);
    ck_assert_int_eq(audit_start(s.audit, &q, on_done, &told, &fault), ERR_DRAINING);
    audit_stop(s.audit);
    ck_assert_uint_eq(told.count, 2);
    scene_close(&s);
}

static void *stop_it(void *audit)
{
    audit_stop(audit);
    return NULL;
}

TEST(a_stop_ends_the_one_that_runs)
{
    struct scene s = scene_open();

    both_kinds(&s);
    begin_and_hold(&s, NULL, "");
    pthread_t stopper;
    ck_assert_int_eq(pthread_create(&stopper, NULL, stop_it, s.audit), 0);
    struct drift_request q = {.after = slice_str("")};
    struct fault fault;
    while (audit_start(s.audit, &q, on_done, &told, &fault) != ERR_DRAINING)
        usleep(100);
    pthread_mutex_unlock(&convex.gate);
    ck_assert_int_eq(pthread_join(stopper, NULL), 0);
    ck_assert_uint_eq(told.count, 1);
    ck_assert_str_eq(told.report.stopped, "cancelled");
    scene_close(&s);
}

TEST(without_a_sink_that_can_be_read_there_is_none)
{
    struct drift_request q = {.after = slice_str("")};
    struct drift_progress p;
    struct fault fault = {0};

    ck_assert_int_eq(audit_start(NULL, &q, on_done, &told, &fault), ERR_INVALID);
    ck_assert_str_eq(fault.why, "the sink cannot be read back");
    ck_assert(!audit_cancel(NULL));
    audit_progress(NULL, &p);
    ck_assert(!p.is_running && p.eta_s == -1);
    audit_stop(NULL);
    audit_close(NULL);
}

/* ---- how far it is --------------------------------------------------------------------------- */

TEST(how_far_it_is)
{
    struct scene s = scene_open();
    struct drift_progress p;

    both_kinds(&s);
    audit_progress(s.audit, &p);
    ck_assert(!p.is_running && p.eta_s == -1 && p.checked == 0);
    begin_and_hold(&s, NULL, "");
    usleep(3000);
    audit_progress(s.audit, &p);
    ck_assert(p.is_running && p.checked == 0 && p.findings == 0);
    ck_assert_str_eq(p.kind, "run_summary");
    ck_assert_int_ge(p.took_ms, 2);
    ck_assert(p.rate < 1e-9 && p.eta_s == -1); /* nothing to reckon with */
    pthread_mutex_unlock(&convex.gate);
    await(1);
    audit_progress(s.audit, &p);
    ck_assert(!p.is_running && p.eta_s == -1);
    ck_assert_str_eq(p.kind, "");
    scene_close(&s);
}

/* Looked at again and again until it is over: five checkpoints are to be compared. */
static void progress_all_the_way(const char *after, bool is_whole)
{
    struct scene s = scene_open();
    struct drift_progress p = {0};

    both_kinds(&s);
    begin_and_hold(&s, NULL, after);
    pthread_mutex_unlock(&convex.gate);
    do {
        audit_progress(s.audit, &p);
        if (p.is_running && p.checked > 0 && p.took_ms > 0) {
            double rate = (double)p.checked * 1000 / (double)p.took_ms;
            ck_assert(p.rate > rate * 0.999 && p.rate < rate * 1.001);
            int64_t eta = p.checked < 5 ? (int64_t)((double)(5 - p.checked) / p.rate) : 0;
            ck_assert_int_eq(p.eta_s, is_whole ? eta : -1);
        }
    } while (told.count == 0);
    await(1);
    scene_close(&s);
}

TEST(how_long_it_takes_is_reckoned_where_the_whole_is_known)
{
    progress_all_the_way("", true);
    progress_all_the_way(RUN "a", false);
}

TEST(a_new_one_counts_from_nought)
{
    struct scene s = scene_open();
    struct drift_progress p;

    both_kinds(&s);
    run(&s, NULL, "", false);
    begin_and_hold(&s, "codex_worker_summary", "");
    audit_progress(s.audit, &p);
    ck_assert(p.is_running && p.checked == 0 && p.findings == 0);
    ck_assert_str_eq(p.kind, "codex_worker_summary");
    ck_assert_uint_eq(metric_get(METRIC_AUDIT_CHECKED), 0);
    ck_assert_uint_eq(metric_get(METRIC_AUDIT_FINDINGS), 0);
    pthread_mutex_unlock(&convex.gate);
    await(2);
    scene_close(&s);
}

/* ---- one look -------------------------------------------------------------------------------- */

static struct {
    bool has_theirs;
    int64_t seq;
    char why[256];
    atomic_uint count;
} looked;

static void on_looked(void *arg, const struct drift_theirs *theirs, const struct fault *fault)
{
    ck_assert_ptr_eq(arg, &looked);
    looked.has_theirs = theirs != NULL;
    looked.seq = theirs ? theirs->seq : 0;
    snprintf(looked.why, sizeof looked.why, "%s", fault->why);
    looked.count++;
}

static void look(struct scene *s, const char *id)
{
    struct fault fault = {0};
    unsigned before = looked.count;

    convex.asks[0] = '\0';
    convex.pages = 0;
    while (audit_look(s->audit, kinds_at(s->kinds, 0), slice_str(id), on_looked, &looked, &fault) ==
           ERR_BUSY)
        usleep(100);
    while (looked.count == before)
        usleep(100);
}

TEST(one_document_is_looked_at)
{
    struct scene s = scene_open();
    struct drift_progress p;
    struct fault fault = {0};

    stands(RUN "a", 7, 1);
    look(&s, RUN "a");
    ck_assert(looked.has_theirs && looked.seq == 7);
    ck_assert_str_eq(looked.why, "");
    ck_assert_str_eq(convex.asks, "run_summary#1 ");
    ck_assert_int_eq(convex.tries, 1);
    look(&s, RUN "b");
    ck_assert(!looked.has_theirs);
    ck_assert_str_eq(looked.why, "");
    convex.fails_at = 1;
    convex.failure = ERR_SINK;
    look(&s, RUN "a");
    ck_assert(!looked.has_theirs);
    ck_assert_str_eq(looked.why, "HTTP 503");
    convex.failure = ERR_CLOSED;
    look(&s, RUN "a");
    ck_assert_str_eq(looked.why, err_text(ERR_CLOSED));
    convex.fails_at = 0;
    convex.opens_badly_at = convex.opened + 1;
    look(&s, RUN "a");
    ck_assert_str_eq(looked.why, "is missing");

    pthread_mutex_lock(&convex.gate); /* a look is no audit: it has no progress, and no end */
    convex.at_gate = 0;
    unsigned before = looked.count;
    while (audit_look(s.audit, kinds_at(s.kinds, 0), slice_str(RUN "a"), on_looked, &looked,
                      &fault) == ERR_BUSY)
        usleep(100);
    while (convex.at_gate == 0)
        usleep(100);
    audit_progress(s.audit, &p);
    ck_assert(!p.is_running);
    ck_assert(!audit_cancel(s.audit));
    ck_assert_int_eq(
        audit_look(s.audit, kinds_at(s.kinds, 0), slice_str(RUN "a"), on_looked, &looked, &fault),
        ERR_BUSY);
    pthread_mutex_unlock(&convex.gate);
    while (looked.count == before)
        usleep(100);
    ck_assert(looked.has_theirs);
    run(&s, "run_summary", "", false); /* and the next is an audit */
    assert_counts(1, 0, 0, 1);
    ck_assert_int_eq(audit_look(NULL, NULL, slice_str(""), on_looked, &looked, &fault),
                     ERR_INVALID);
    ck_assert_str_eq(fault.why, "the sink cannot be read back");
    scene_close(&s);
}
