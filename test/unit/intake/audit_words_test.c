/* audit_words_test.c - what is asked of the audit, and how its reports are answered. */

#include "test.h"

#include "dist/fake_dist.c"
#include "intake/audit_words.h"
#include "projection/projection.h"

#define RUN "runtime/run_summary:"

/* ---- an audit that does what a test says ---- */

static struct {
    enum err fails;
    struct drift_request request;
    char after[600];
    void (*done)(void *arg, const struct drift_report *report);
    void *done_arg;
    bool cancels;
    struct drift_progress progress;
} audit;
static struct kinds *kinds;

static enum err on_start(void *arg, const struct drift_request *request,
                         void (*done)(void *done_arg, const struct drift_report *report),
                         void *done_arg, struct fault *fault)
{
    ck_assert_ptr_eq(arg, &audit);
    audit.request = *request;
    snprintf(audit.after, sizeof audit.after, "%.*s", SLICE_ARG(request->after));
    audit.done = done;
    audit.done_arg = done_arg;
    if (audit.fails != ERR_OK)
        snprintf(fault->why, sizeof fault->why, "the sink cannot be read back");
    return audit.fails;
}

static bool on_cancel(void *arg)
{
    ck_assert_ptr_eq(arg, &audit);
    return audit.cancels;
}

static void on_progress(void *arg, struct drift_progress *p)
{
    ck_assert_ptr_eq(arg, &audit);
    *p = audit.progress;
}

static const struct audit_wires wires = {&audit, on_start, on_cancel, on_progress};

static void begin(void)
{
    struct fault fault;

    memset(&audit, 0, sizeof audit);
    kinds = kinds_new();
    ck_assert_int_eq(kinds_finish(kinds, &fault), ERR_OK);
}

static void end(void)
{
    kinds_free(kinds);
    fake_dist_reset();
}

/* The answer to ${request}; NULL: it comes later. */
static const char *ask(const char *request)
{
    struct caller *c = kit_caller();
    struct buf b = {0};

    ck_assert(audit_words_take(&wires, kinds, &kit_session, c, term_of(&b, request)));
    buf_free(&b);
    return kit_answer_now(c);
}

TEST(other_words_are_not_taken)
{
    static const char *const others[] = {
        "audit",          "(audit)", "(audit, later)", "(audit, status, 1, 2)", "(audits, status)",
        "[audit, status]"};
    struct buf b = {0};

    begin();
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        ck_assert(!audit_words_take(&wires, kinds, &kit_session, NULL, term_of(&b, others[i])));
    buf_free(&b);
    end();
}

/* ---- what is asked for ---- */

static void assert_started(const char *request, const char *kind, const char *after, bool repair)
{
    struct drift_report none = {0};

    ck_assert_ptr_null(ask(request));
    if (kind == NULL)
        ck_assert_ptr_null(audit.request.kind);
    else
        ck_assert_str_eq(audit.request.kind->name, kind);
    ck_assert_str_eq(audit.after, after);
    ck_assert_int_eq(audit.request.repair, repair);
    audit.done(audit.done_arg, &none);
}

TEST(an_audit_is_of_all_or_of_a_kind_or_goes_on_after_a_document)
{
    begin();
    assert_started("(audit, all, {})", NULL, "", false);
    assert_started("(audit, 'all', [(repair, true)])", NULL, "", true);
    assert_started("(audit, run_summary, {repair: false})", "run_summary", "", false);
    assert_started("(audit, run_summary, {after: '" RUN "a'})", "run_summary", RUN "a", false);
    assert_started("(audit, all, {after: '" RUN "a', repair: true})", NULL, RUN "a", true);
    assert_started("(audit, all, {after: nil})", NULL, "", false);
    end();
}

TEST(what_cannot_be_asked_for_is_named)
{
    static const struct {
        const char *request, *answer;
    } cases[] = {
        {"(audit, some_kind, {})", "(error, (unknown_kind, 'some_kind'))"},
        {"(audit, 7, {})", "(error, (unknown_kind, ''))"},
        {"(audit, all, {repair: 1})",
         "(error, (invalid, 'opts.repair', 'true or false is wanted'))"},
        {"(audit, all, {after: here})",
         "(error, (invalid, 'opts.after', 'a document id is wanted'))"},
        {"(audit, all, {after: 'of/nobody:a'})",
         "(error, (invalid, 'opts.after', 'an id of the kind is wanted'))"},
        {"(audit, codex_worker_summary, {after: '" RUN "a'})",
         "(error, (invalid, 'opts.after', 'an id of the kind is wanted'))"},
        {"(audit, all, {after: '" RUN "\xff'})",
         "(error, (invalid, 'opts.after', 'is not UTF-8'))"},
        {"(audit, all, {what: 1})", "(error, (invalid, 'opts.what', 'there is no such option'))"},
    };

    begin();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        ck_assert_str_eq(ask(cases[i].request), cases[i].answer);
    ck_assert_ptr_null(audit.done);
    audit.fails = ERR_BUSY;
    ck_assert_str_eq(ask("(audit, all, {})"), "(error, audit_running)");
    audit.fails = ERR_DRAINING;
    ck_assert_str_eq(ask("(audit, all, {})"), "(error, draining)");
    audit.fails = ERR_INVALID;
    ck_assert_str_eq(ask("(audit, all, {})"),
                     "(error, (invalid, '', 'the sink cannot be read back'))");
    end();
}

/* ---- what it answers ---- */

static const char *answered(const struct drift_report *r)
{
    struct caller *c = kit_caller();
    struct buf b = {0};

    ck_assert(audit_words_take(&wires, kinds, &kit_session, c, term_of(&b, "(audit, all, {})")));
    buf_free(&b);
    audit.done(audit.done_arg, r);
    return kit_answer_now(c);
}

TEST(a_report_is_this_answer)
{
    struct drift_line lines[2] = {
        {.id = (char *)(uintptr_t)RUN "a",
         .id_len = strlen(RUN "a"),
         .kind = "run_summary",
         .finding = DRIFT_STALE,
         .has_seq = true,
         .seq = 5,
         .has_convex_seq = true,
         .convex_seq = 4,
         .is_repaired = true},
        {.id = (char *)(uintptr_t)RUN "b",
         .id_len = strlen(RUN "b"),
         .kind = "run_summary",
         .finding = DRIFT_ORPHANED,
         .seq = 1,
         .convex_seq = 2},
    };
    struct drift_report r = {
        .checked = 100, .second_look = 7, .unsettled = 3, .repaired = 1, .took_ms = 1234};

    begin();
    for (int f = DRIFT_NONE; f < DRIFT_COUNT; f++)
        r.count[f] = (uint64_t)(10 + f);
    ck_assert_str_eq(answered(&r),
                     "(ok, {checked: 100, missing: 11, stale: 12, ahead: 13, altered: 14, "
                     "orphaned: 15, second_look: 7, unsettled: 3, repaired: 1, took_ms: 1234, "
                     "stopped: nil, next: nil, findings: []})");
    r.lines = lines;
    r.line_count = 2;
    r.next = (char *)(uintptr_t)RUN "z";
    r.next_len = strlen(RUN "z") - 1;
    r.is_failed = true;
    snprintf(r.stopped, sizeof r.stopped, "HTTP 503");
    const char *answer = answered(&r);
    ck_assert_str_eq(strstr(answer, "stopped: "),
                     "stopped: 'HTTP 503', next: '" RUN "', findings: [{document_id: '" RUN
                     "a', kind: 'run_summary', finding: 'stale', seq: 5, convex_seq: 4, repaired: "
                     "true}, {document_id: '" RUN "b', kind: 'run_summary', finding: 'orphaned', "
                     "seq: nil, convex_seq: nil, repaired: false}]})");
    r.checked = 0; /* it could not even begin */
    ck_assert_str_eq(answered(&r), "(error, (sink_read_failed, 'HTTP 503'))");
    r.is_failed = false; /* cancelled at once */
    ck_assert_int_eq(strncmp(answered(&r), "(ok, {checked: 0, ", 18), 0);
    end();
}

TEST(how_far_it_is)
{
    begin();
    audit.progress = (struct drift_progress){.eta_s = -1};
    ck_assert_str_eq(ask("(audit, status)"),
                     "(ok, {state: 'idle', kind: nil, checked: 0, findings: 0, rate: 0.000, eta_s: "
                     "nil, took_ms: 0})");
    audit.progress = (struct drift_progress){.is_running = true,
                                             .kind = "run_summary",
                                             .checked = 10,
                                             .findings = 2,
                                             .took_ms = 4000,
                                             .rate = 2.5,
                                             .eta_s = 0};
    ck_assert_str_eq(ask("(audit, status)"),
                     "(ok, {state: 'running', kind: 'run_summary', checked: 10, findings: 2, rate: "
                     "2.500, eta_s: 0, took_ms: 4000})");
    ck_assert_str_eq(ask("(audit, cancel)"), "(ok, idle)");
    audit.cancels = true;
    ck_assert_str_eq(ask("(audit, cancel)"), "(ok, cancelled)");
    end();
}
