/* intake_test.c - projections: what is kept of them, what is answered, and when. */

#include "test.h"

#include "ground/fake_log.c"
#include "ground/metrics.h"
#include "ground/tap.h"
#include "intake/intake_kit.h"

static const struct control_wires no_wires = {0};

static void begin(void)
{
    kit_begin(&no_wires, 1 << 26);
}

#define EVENT(seq) "{seq: " #seq ", event_type: 'run.delta', inserted_at: '" T0 "', payload: {}}"
#define ROW        "{status: 'running'}"
#define RESULT(id) "(ok, {document_id: '" RUN id "', write: "

/* The answer without its hash. */
static const char *short_of(const char *answer)
{
    static char text[4][2000];
    static unsigned next;
    char *out = text[next++ % 4];
    const char *hash = strstr(answer, ", projection_hash: '");

    if (hash == NULL)
        return answer;
    ck_assert_uint_eq(strspn(hash + 20, "0123456789abcdef"), 64);
    snprintf(out, 2000, "%.*s%s", (int)(hash - answer), answer, hash + 20 + 65);
    return out;
}

#define assert_short(wanted, ...) ck_assert_str_eq(short_of(ask(__VA_ARGS__)), wanted)

static const char *project(const char *id, const char *events, const char *opts)
{
    return short_of(ask("(project, run_summary, '%s', " ROW ", [%s], %s)", id, events, opts));
}

/* ---- one document ---- */

TEST(a_projection_is_kept_and_what_was_kept_is_skipped)
{
    begin();
    ck_assert_str_eq(
        project("a", EVENT(1) EVENT(2), "{}"),
        RESULT("a") "'queued', reason: nil, coalesced: false, seq: 2, lag_events: 2})");
    ck_assert_str_eq(project("a", EVENT(1) EVENT(2), "{}"),
                     RESULT("a") "'skipped', reason: 'idempotent', coalesced: false, seq: 2, "
                                 "lag_events: 0})");
    ck_assert_str_eq(project("a", EVENT(3), "{}"),
                     RESULT("a") "'queued', reason: nil, coalesced: true, seq: 3, lag_events: 1})");
    ck_assert_str_eq(project("a", EVENT(5), "{}"), "(error, (gap, 4, 5))");
    ck_assert_str_eq(project("a", EVENT(1), "{reset: true}"),
                     RESULT("a") "'queued', reason: 'checkpoint_ahead', coalesced: true, seq: 1, "
                                 "lag_events: 0})");
    ck_assert_str_eq(project("a", EVENT(1), "{force: true}"),
                     RESULT("a") "'queued', reason: nil, coalesced: true, seq: 1, "
                                 "lag_events: 0})");
    ck_assert_uint_eq(outbox_pending(kit.box), 1);
    kit_end();
}

TEST(what_is_wrong_is_named)
{
    begin();
    assert_ask("(error, (unknown_kind, 'what'))", "(project, what, 'a', " ROW ", [], {})");
    assert_ask("(error, (invalid, 'entity_id', 'is not text'))",
               "(project, run_summary, 7, " ROW ", [], {})");
    assert_ask("(error, (invalid, 'document_id', 'is not text'))",
               "(upsert, run_summary, 7, {}, {})");
    assert_ask("(error, not_projector_owned)", "%s",
               kit_upsert_text("run_summary", WORKER "a", 1, "{}"));
    assert_ask("(error, bad_request)", "(project, run_summary, 'a', " ROW ", [])");
    assert_ask("(error, bad_request)", "(upsert, run_summary, 'a', {})");
    assert_ask("(error, bad_request)", "(upsert, run_summary, 'a', {}, {}, {})");
    assert_ask("(error, bad_request)", "(project, run_summary, 'a', " ROW ", [], {}, {})");
    kit_end();
}

TEST(each_option_is_checked)
{
    static const struct {
        const char *opts, *name, *why;
    } bad[] = {
        {"{ack: soon}", "ack", "kept or written is wanted"},
        {"{projection_version: 7}", "projection_version", "a binary is wanted"},
        {"{seq_range: (2, 1)}", "seq_range", "{First, Last} with First =< Last is wanted"},
        {"{reset: 1}", "reset", "true or false is wanted"},
        {"{force: 1}", "force", "true or false is wanted"},
        {"{unless_ahead: 1}", "unless_ahead", "true or false is wanted"},
        {"{unless_newer: 1}", "unless_newer", "true or false is wanted"},
        {"{below: 1}", "below", "true or false is wanted"},
        {"{origin: me}", "origin", "catch_up or sweep is wanted"},
        {"{after_seq: -1}", "after_seq", "a seq is wanted"},
        {"{log_end: -1}", "log_end", "a seq is wanted"},
        {"{row_version: -1}", "row_version", "an integer from 0 to 2^53 - 1 is wanted"},
        {"{events_before: -1}", "events_before", "a number of events is wanted"},
        {"{deadline_ms: 86400001}", "deadline_ms", "milliseconds from 0 to a day are wanted"},
        {"{deadline_ms: -1}", "deadline_ms", "milliseconds from 0 to a day are wanted"},
        {"{return: all}", "return", "summary or none is wanted"},
        {"{what: 1}", "what", "there is no such option"},
    };
    char wanted[200];

    begin();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(wanted, sizeof wanted, "(error, (invalid, 'opts.%s', '%s'))", bad[i].name,
                 bad[i].why);
        ck_assert_str_eq(project("a", EVENT(1), bad[i].opts), wanted);
    }
    ck_assert_uint_eq(outbox_pending(kit.box), 0);
    ck_assert_str_eq(
        project("a", EVENT(1), "{deadline_ms: 86400000, seq_range: (1, 1)}"),
        RESULT("a") "'queued', reason: nil, coalesced: false, seq: 1, lag_events: 1})");
    kit_end();
}

/* The checkpoint of run ${id}. */
static bool checkpoint_has(const char *id, const char *text)
{
    const char *got = ask("(checkpoint, '" RUN "%s')", id);

    return strstr(got, text) != NULL;
}

TEST(options_reach_what_is_kept)
{
    begin();
    project("a", EVENT(1), "{projection_version: 'v9', now: '2026-02-19T21:00:00Z'}");
    ck_assert(checkpoint_has("a", "projection_version: 'v9'"));
    ck_assert(checkpoint_has("a", "projected_at: '2026-02-19T21:00:00.000000Z'"));
    project("b", EVENT(1), "{}");
    ck_assert(checkpoint_has("b", "projection_version: 'v1'"));
    ck_assert_str_eq(project("c", EVENT(5), "{after_seq: 4}"), "(error, (gap, 1, 5))");
    ck_assert_str_eq(project("c", "", "{after_seq: 4}"), "(error, (gap, 1, 5))");
    ck_assert_ptr_nonnull(
        strstr(project("c", EVENT(5), "{reset: true, events_before: 4}"), "queued"));
    ck_assert(checkpoint_has("c", "event_count: 5"));
    ck_assert_ptr_nonnull(
        strstr(project("c", EVENT(3), "{reset: true, unless_ahead: true}"), "checkpoint_ahead"));
    ck_assert_ptr_nonnull(strstr(project("c", "", "{log_end: 4}"), "checkpoint_ahead"));
    ck_assert_ptr_nonnull(
        strstr(ask("%s", kit_upsert_text("run_summary", RUN "c", 9, "{unless_newer: true}")),
               "checkpoint_ahead")); /* kept in the same microsecond */
    kit_wall_us += 1;
    ck_assert_ptr_nonnull(strstr(
        ask("%s", kit_upsert_text("run_summary", RUN "c", 9, "{unless_newer: true}")), "queued"));
    ck_assert_ptr_nonnull(strstr(project("d", EVENT(1),
                                         "{row_version: 7, return: summary, "
                                         "seq_range: (1, 1)}"),
                                 "'row_version': 7"));
    kit_end();
}

TEST(where_it_comes_from_is_kept)
{
    static const struct {
        const char *opts;
        enum outbox_origin origin;
    } cases[] = {{"{}", ORIGIN_LIVE},
                 {"{origin: catch_up}", ORIGIN_CATCH_UP},
                 {"{origin: sweep}", ORIGIN_SWEEP}};

    for (size_t i = 0; i < 3; i++) {
        begin();
        project("a", EVENT(1), cases[i].opts);
        struct outbox_reader *r = outbox_reader_open(kit.box);
        struct pending p;
        ck_assert(outbox_next(r, 0, &p) || outbox_next(r, UINT64_MAX, &p));
        ck_assert_int_eq(p.origin, cases[i].origin);
        outbox_reader_close(r);
        kit_end();
    }
}

TEST(how_much_is_answered)
{
    begin();
    ck_assert_str_eq(project("a", EVENT(1), "{return: none}"), "ok");
    ck_assert_str_eq(project("a", EVENT(1), "{return: none}"), "ok"); /* idempotent */
    ck_assert_ptr_nonnull(
        strstr(project("a", "", "{return: none, log_end: 0}"), "checkpoint_ahead"));
    ck_assert_str_eq(project("a", EVENT(3), "{return: none}"), "(error, (gap, 2, 3))");
    const char *whole = project("a", EVENT(2), "{return: summary}");
    ck_assert_ptr_nonnull(strstr(whole, "lag_events: 1, summary: {"));
    ck_assert_ptr_nonnull(strstr(whole, "'status': 'running'"));
    ck_assert_ptr_null(strstr(project("a", EVENT(3), "{}"), "summary: {"));
    kit_end();
}

/* ---- until it is written ---- */

static struct caller *ask_written(const char *id, const char *more)
{
    char opts[100];

    snprintf(opts, sizeof opts, "{ack: written%s}", more);
    return ask_later(kit_upsert_text("run_summary", id, 5, opts));
}

TEST(who_wants_it_written_waits_for_the_sink)
{
    begin();
    struct caller *done = ask_written(RUN "a", ""), *dead = ask_written(RUN "b", "");
    assert_ask("(error, not_found)", "(checkpoint, 'x')"); /* both are kept by now */
    ck_assert_ptr_null(kit_answer_now(done));
    kit_done(kit.box, RUN "a");
    ck_assert_str_eq(short_of(kit_answer(done)),
                     RESULT("a") "'applied', reason: nil, coalesced: false, seq: 5, lag_events: "
                                 "5})");
    kit_dead(kit.box, RUN "b", "no");
    ck_assert_str_eq(kit_answer(dead), "(error, (sink_write_failed, 'no'))");
    struct caller *late = ask_written(RUN "c", ", deadline_ms: 1");
    ck_assert_int_eq(strncmp(kit_answer(late), "(error, (sink_write_failed, '", 29), 0);
    ck_assert_uint_eq(outbox_pending(kit.box), 1);  /* it stays kept */
    struct caller *same = ask_written(RUN "a", ""); /* what is confirmed is */
    ck_assert_str_eq(short_of(kit_answer(same)),
                     RESULT("a") "'skipped', reason: 'idempotent', coalesced: false, seq: 5, "
                                 "lag_events: 0})");
    kit_end();
}

TEST(who_is_gone_is_waited_for_no_more)
{
    begin();
    struct caller *c = ask_written(RUN "a", ""), *stays = ask_written(RUN "b", "");
    assert_ask("(error, not_found)", "(checkpoint, 'x')");
    c->is_gone = true;
    kit.handler.left(kit.handler.arg);
    kit_answer(c);
    ck_assert_ptr_null(kit_answer_now(stays));
    ck_assert_uint_eq(outbox_pending(kit.box), 2);
    kit_end();
}

/* ---- batches and casts ---- */

TEST(a_batch_is_answered_in_its_order)
{
    begin();
    assert_ask("(ok, [])", "(batch, [])");
    const char *got = ask("(batch, [%s (project, what, 'b', " ROW ", [], {}) 7 "
                          "(project, run_summary, 'c', " ROW ", [" EVENT(1) "], {return: none})])",
                          kit_upsert_text("run_summary", RUN "a", 5, "{}"));
    ck_assert_str_eq(short_of(got),
                     "(ok, [" RESULT("a") "'queued', reason: nil, coalesced: false, seq: 5, "
                                          "lag_events: 5}), (error, (unknown_kind, 'what')), "
                                          "(error, (invalid, '', 'neither {project, ...} nor "
                                          "{upsert, ...}')), ok])");
    ck_assert_uint_eq(outbox_pending(kit.box), 2);
    assert_ask("(ok, [(error, (unknown_kind, 'what'))])",
               "(batch, [(project, what, 'b', " ROW ", [], {})])");
    assert_ask("(error, bad_request)", "(batch, {})");
    assert_ask("(error, bad_request)", "(batch, [], [])");
    assert_ask("(error, bad_request)", "(batches, [])");
    kit_end();
}

/* {batch, List} of ${count} times ${item}, that ends with ${tail}. */
static const char *ask_batch(size_t count, const char *item, bool is_proper)
{
    struct buf b = {0};
    struct caller *c = kit_caller();
    term t;
    struct fault fault;

    term_put_version(&b);
    term_put_tuple(&b, 2);
    term_put_atom(&b, "batch");
    term_put_list(&b, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        const char *at = item;
        term_text_put(&b, &at);
    }
    if (is_proper)
        term_put_nil(&b);
    else
        term_put_atom(&b, "tail");
    ck_assert_int_eq(term_check(buf_view(&b), &t, &fault), ERR_OK);
    kit.handler.call(kit.handler.arg, &kit_session, c, t);
    kit_gathered();
    buf_free(&b);
    return kit_answer(c);
}

TEST(a_batch_has_at_most_ten_thousand_and_is_a_list)
{
    uint64_t requests = metric_get(METRIC_REQUESTS);

    begin();
    ck_assert_int_eq(strncmp(ask_batch(10000, "7", true), "(ok, [(error, (invalid, '', ", 28), 0);
    ck_assert_str_eq(ask_batch(10001, "7", true), "(error, bad_request)");
    ck_assert_uint_eq(metric_get(METRIC_REQUESTS), requests + 10000);
    ck_assert_str_eq(
        ask_batch(1, "(project, run_summary, 'a', " ROW ", [" EVENT(1) "], {})", false),
        "(error, bad_request)");
    assert_ask("(error, not_found)", "(checkpoint, '" RUN "a')"); /* nothing of it was taken */
    kit_end();
}

TEST(a_cast_does_the_same_without_an_answer)
{
    uint64_t unknown = metric_get(METRIC_MESSAGES_UNKNOWN), refused = metric_get(METRIC_REFUSED);

    begin();
    cast("(project, run_summary, 'a', " ROW ", [" EVENT(1) "], {ack: written})");
    cast("(batch, [(project, run_summary, 'b', " ROW ", [" EVENT(1) "], {})])");
    ck_assert(checkpoint_has("a", "state: 'pending'"));
    ck_assert(checkpoint_has("b", "state: 'pending'"));
    cast("(project, what, 'a', " ROW ", [], {})");
    ck_assert_uint_eq(metric_get(METRIC_REFUSED), refused + 1);
    ck_assert_uint_eq(metric_get(METRIC_MESSAGES_UNKNOWN), unknown);
    cast("status");
    cast("(batch, 7)");
    ck_assert_uint_eq(metric_get(METRIC_MESSAGES_UNKNOWN), unknown + 2);
    kit_end();
}

/* ---- what is gathered ---- */

TEST(what_came_together_is_kept_together)
{
    begin();
    struct caller *c[1025];
    char id[40];
    for (int i = 0; i < 1023; i++) {
        snprintf(id, sizeof id, RUN "%04d", i);
        kit_call(c[i] = kit_caller(), kit_upsert_text("run_summary", id, 1, "{return: none}"));
    }
    usleep(20000);
    ck_assert_ptr_null(kit_answer_now(c[0])); /* until the read is over */
    kit_call(c[1023] = kit_caller(), kit_upsert_text("run_summary", RUN "x", 1, "{return: none}"));
    ck_assert_str_eq(kit_answer(c[0]), "ok"); /* or there are 1024 */
    ck_assert_str_eq(kit_answer(c[1023]), "ok");
    kit_call(c[1024] = kit_caller(), kit_upsert_text("run_summary", RUN "y", 1, "{return: none}"));
    usleep(20000);
    ck_assert_ptr_null(kit_answer_now(c[1024]));
    kit_gathered();
    ck_assert_str_eq(kit_answer(c[1024]), "ok");
    kit_gathered(); /* nothing is left */
    kit_end();
}

static struct caller *call_large(char letter)
{
    struct caller *c = kit_caller();
    size_t len = 900000;
    char *request = base_alloc(len + 1000);

    int head = snprintf(request, 500,
                        "(upsert, run_summary, '" RUN
                        "%c', {status: 'running', projection_version: 'v1', projected_at: '" T0
                        "', runtime_source: {seq: 1}, text: '",
                        letter);
    memset(request + head, letter, len);
    strcpy(request + head + len, "'}, {return: none})");
    kit_call(c, request);
    free(request);
    return c;
}

TEST(four_megabytes_are_not_gathered_further)
{
    struct caller *c[5];

    begin();
    c[0] = call_large('a');
    usleep(20000);
    ck_assert_ptr_null(kit_answer_now(c[0]));
    for (int i = 1; i < 5; i++)
        c[i] = call_large((char)('a' + i));
    kit_answer(c[0]);
    kit_gathered();
    for (int i = 0; i < 5; i++)
        ck_assert_str_eq(kit_answer(c[i]), "ok");
    kit_end();
}

/* ---- a queue that is full ---- */

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool is_at_gate;

static enum err fn_wait_at_gate(struct op *op, struct round *r)
{
    (void)op, (void)r;
    is_at_gate = true;
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
    return ERR_OK;
}

static unsigned count_of(struct caller **c, size_t count, const char *answer)
{
    unsigned n = 0;

    for (size_t i = 0; i < count; i++)
        n += strcmp(kit_answer(c[i]), answer) == 0;
    return n;
}

TEST(what_is_too_much_for_the_queue_is_tried_job_by_job)
{
    struct op held = {.fn = fn_wait_at_gate};
    struct caller *c[8];
    char id[40];
    uint64_t busy = metric_get(METRIC_BUSY), refused = metric_get(METRIC_REFUSED);

    kit.queue_count = 6;
    begin();
    pthread_mutex_lock(&gate);
    ck_assert_int_eq(kit_submit(kit.box, &held), ERR_OK);
    while (!is_at_gate)
        usleep(100);
    struct caller *first =
        ask_later(kit_upsert_text("run_summary", RUN "first", 1, "{return: none}"));
    for (int i = 0; i < 8; i++) {
        snprintf(id, sizeof id, RUN "%d", i);
        kit_call(c[i] = kit_caller(), kit_upsert_text("run_summary", id, 1, "{return: none}"));
    }
    kit_gathered();
    pthread_mutex_unlock(&gate);
    ck_assert_int_eq(kit_wait(&held), ERR_OK);
    ck_assert_str_eq(kit_answer(first), "ok");
    unsigned taken = count_of(c, 8, "ok"), turned_away = count_of(c, 8, "(error, busy)");
    ck_assert_uint_eq(taken + turned_away, 8);
    ck_assert_uint_ge(taken, 3);
    ck_assert_uint_ge(turned_away, 2);
    ck_assert_str_eq(kit_answer(c[0]), "ok");
    ck_assert_str_eq(kit_answer(c[7]), "(error, busy)");
    ck_assert_uint_eq(metric_get(METRIC_BUSY), busy + turned_away);
    ck_assert_uint_eq(metric_get(METRIC_REFUSED), refused);
    ck_assert_uint_eq(outbox_pending(kit.box), 1 + taken);
    kit_end();
    kit.queue_count = 0;
}

/* ---- who looks on ---- */

static size_t seen(struct tap *tap, struct tap_record *records)
{
    uint64_t dropped = 0;

    return tap_take(tap, records, 20, &dropped);
}

TEST(who_looks_on_hears_what_became_of_each)
{
    static struct tap_record r[20];

    begin();
    struct tap *tap = tap_open(slice_str(""), slice_str(""));
    project("a", EVENT(1), "{}");
    project("a", EVENT(1), "{}");
    project("a", EVENT(3), "{}");
    ck_assert_uint_eq(seen(tap, r), 3);
    static const struct {
        enum tap_event event;
        const char *why;
        int64_t seq;
    } wanted[] = {{TAP_KEPT, "", 1}, {TAP_SKIPPED, "idempotent", 1}, {TAP_NOT_KEPT, NULL, 0}};
    for (size_t i = 0; i < 3; i++) {
        ck_assert_int_eq(r[i].event, wanted[i].event);
        ck_assert_str_eq(r[i].kind, "run_summary");
        ck_assert_str_eq(r[i].id, RUN "a");
        ck_assert_int_eq(r[i].seq, wanted[i].seq);
        if (wanted[i].why)
            ck_assert_str_eq(r[i].why, wanted[i].why);
        else
            ck_assert(r[i].why[0]);
    }
    struct caller *c = ask_written(RUN "b", ""); /* told when it is kept, and once */
    while (seen(tap, r) == 0)
        usleep(1000);
    ck_assert_int_eq(r[0].event, TAP_KEPT);
    ck_assert_str_eq(r[0].id, RUN "b");
    assert_ask("(error, not_found)", "(checkpoint, 'x')"); /* it is committed by now */
    kit_done(kit.box, RUN "b");
    kit_answer(c);
    ck_assert_uint_eq(seen(tap, r), 0);
    tap_close(tap);
    kit_end();
}

TEST(projections_are_counted_by_what_became_of_them)
{
    begin();
    uint64_t requests = metric_get(METRIC_REQUESTS), refused = metric_get(METRIC_REFUSED);
    size_t run = metric_kind_no("run_summary", strlen("run_summary"));
    uint64_t fine = metric_labelled_get(LABELLED_PROJECTIONS, run, DECIDE_NO_REASON),
             same = metric_labelled_get(LABELLED_PROJECTIONS, run, DECIDE_IDEMPOTENT);
    project("a", EVENT(1), "{}");
    project("a", EVENT(1), "{}");
    project("a", EVENT(3), "{}");
    ask("nonsense");
    ask("(batch, [7, 7])");
    ck_assert_uint_eq(metric_get(METRIC_REQUESTS), requests + 3 + 2);
    ck_assert_uint_eq(metric_get(METRIC_REFUSED), refused + 1 + 1 + 2);
    ck_assert_uint_eq(metric_labelled_get(LABELLED_PROJECTIONS, run, DECIDE_NO_REASON), fine + 1);
    ck_assert_uint_eq(metric_labelled_get(LABELLED_PROJECTIONS, run, DECIDE_IDEMPOTENT), same + 1);
    kit_end();
}
