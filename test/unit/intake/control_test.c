/* control_test.c - the words for looking and steering, and what each is answered, word for word. */

#include "test.h"

#include "ground/fake_log.c"
#include "intake/intake_kit.h"

/* ---- what lies outside ---- */

static struct {
    char done[200];
    enum err look_fails;
    const char *look_why;
    bool stands, is_removed;
    struct drift_theirs theirs;
    struct explain_place place;
    uint64_t placed;
    struct pending_place places[3];
    size_t place_count;
} outside;

static void note(const char *what)
{
    size_t len = strlen(outside.done);

    snprintf(outside.done + len, sizeof outside.done - len, "%s ", what);
}

static void on_pause(void *arg)
{
    ck_assert_ptr_eq(arg, &outside);
    note("pause");
}

static void on_resume(void *arg)
{
    ck_assert_ptr_eq(arg, &outside);
    note("resume");
}

static void on_reload(void *arg)
{
    ck_assert_ptr_eq(arg, &outside);
    note("reload");
}

static void on_adopt(void *arg, bool dry_run, char *text)
{
    (void)arg;
    note(dry_run ? "adopt?" : "adopt");
    strcpy(text, "what follows");
}

static void on_changes(void *arg, struct dist_session *session, struct caller *caller, int64_t seen)
{
    struct buf b = {0};

    (void)arg;
    term_put_integer(&b, seen + 1);
    dist_reply(caller, session, buf_view(&b));
    buf_free(&b);
}

static void put_status(void *arg, struct buf *b)
{
    ck_assert_ptr_eq(arg, &outside);
    term_put_text(b, "the status");
}

static void put_peers(void *arg, struct buf *b)
{
    (void)arg;
    term_put_text(b, "the peers");
}

static void on_place(void *arg, uint64_t document, explain_placed *placed, void *told)
{
    ck_assert_ptr_eq(arg, &outside);
    outside.placed = document;
    placed(told, &outside.place);
}

static enum err on_look(void *arg, const struct kind *kind, struct slice id, explain_looked *looked,
                        void *told, struct fault *fault)
{
    struct fault unknown = {0};

    ck_assert_ptr_eq(arg, &outside);
    ck_assert_str_eq(kind->name, "run_summary");
    ck_assert(slice_starts(id, slice_str(RUN)));
    if (outside.look_fails != ERR_OK) {
        if (outside.look_why)
            snprintf(fault->why, sizeof fault->why, "%s", outside.look_why);
        return outside.look_fails;
    }
    if (outside.look_why)
        snprintf(unknown.why, sizeof unknown.why, "%s", outside.look_why);
    looked(told, outside.stands ? &outside.theirs : NULL, &unknown);
    return ERR_OK;
}

static void on_list(void *arg, pending_listed *listed, void *told)
{
    ck_assert_ptr_eq(arg, &outside);
    listed(told, outside.places, outside.place_count);
}

static struct control_wires all_wires(void)
{
    return (struct control_wires){.arg = &outside,
                                  .pause = on_pause,
                                  .resume = on_resume,
                                  .reload = on_reload,
                                  .adopt = on_adopt,
                                  .changes = on_changes,
                                  .status = put_status,
                                  .peers = put_peers,
                                  .explain = {&outside, on_place, on_look},
                                  .pending = {&outside, on_list}};
}

static void begin(void)
{
    struct control_wires w = all_wires();

    memset(&outside, 0, sizeof outside);
    outside.place = (struct explain_place){.endpoint = "running", .what = "", .why = ""};
    kit_wall_us = T0_US;
    kit_begin(&w, 1 << 24);
}

/* ---- what is no word ---- */

TEST(what_is_no_word_is_a_bad_request)
{
    static const char *const bad[] = {
        "nonsense",
        "7",
        "[]",
        "()",
        "'status'",
        "(status)",
        "(status, 1)",
        "(pause, 1)",
        "checkpoint",
        "(checkpoint, 7)",
        "(checkpoint, atom)",
        "(checkpoint, 'a', 'b')",
        "(clear, 7)",
        "(clear, some)",
        "(clear, (kind, 7))",
        "(clear, (kind))",
        "(clear, (sort, run_summary))",
        "(flush, -1)",
        "(flush, soon)",
        "(flush, 86400001)",
        "(drain, -1)",
        "(drain, soon)",
        "(dead, all)",
        "(dead, (list, 7))",
        "(dead, (show, 7))",
        "(dead, (eat, 'a'))",
        "(dead, (retry, some))",
        "(dead, retry)",
        "(changes, soon)",
        "(explain, 7)",
        "(audit, sometimes)",
        "(audit, all, {}, 1)",
        "(sweep)",
    };

    begin();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(strcmp(ask("%s", bad[i]), "(error, bad_request)") == 0, "%s: %s", bad[i],
                      ask("%s", bad[i]));
    kit_end();
}

/* ---- at once ---- */

TEST(words_that_are_done_at_once)
{
    begin();
    assert_ask("(ok, paused)", "pause");
    assert_ask("(ok, running)", "resume");
    assert_ask("(ok, reloaded)", "reload");
    assert_ask("(ok, 'the status')", "status");
    assert_ask("(ok, 'the peers')", "peers");
    assert_ask("8", "(changes, 7)");
    assert_ask("(ok, {adopted: 'what follows'})", "(adopt, {})");
    assert_ask("(ok, {would_adopt: 'what follows'})", "(adopt, {dry_run: true})");
    assert_ask("(error, (invalid, 'opts.dry_run', 'true or false is wanted'))",
               "(adopt, {dry_run: 7})");
    ck_assert_str_eq(outside.done, "pause resume reload adopt adopt? ");
    kit_end();

    struct control_wires w = all_wires();
    w.changes = NULL; /* nobody to ask */
    kit_begin(&w, 1 << 24);
    assert_ask("(error, bad_request)", "(changes, 7)");
    kit_end();
}

TEST(a_drain_refuses_what_comes_until_resume)
{
    begin();
    kit_upsert(RUN "a", 1);
    assert_ask("(error, timeout)", "(drain, 1)");
    assert_ask("(error, draining)", "%s", kit_upsert_text("run_summary", RUN "b", 1, "{}"));
    ck_assert(control_is_draining(kit.control));
    ck_assert_str_eq(fake_log_last, "intake.draining ");
    control_drain(kit.control, true);
    ck_assert_int_eq(fake_log_lines[LOG_INFO], 1); /* it was already */
    assert_ask("(ok, running)", "resume");
    ck_assert(!control_is_draining(kit.control));
    ck_assert_int_eq(fake_log_lines[LOG_INFO], 2);
    kit_upsert(RUN "b", 1);
    kit_done(kit.box, RUN "a");
    struct caller *waits = ask_later("(flush, 60000)");
    ck_assert_ptr_null(kit_answer_now(waits));
    kit_done(kit.box, RUN "b");
    ck_assert_str_eq(kit_answer(waits), "(ok, {pending: 0})");
    assert_ask("(ok, {pending: 0})", "drain");
    assert_ask("(ok, {pending: 0})", "(flush, 86400000)");
    kit_end();
}

/* ---- checkpoint ---- */

#define ZEROS32 "0000000000000000000000000000000000000000000000000000000000000000"

/* The answer to {checkpoint, Id}, but for its hash. */
static void assert_checkpoint(const char *id, const char *state, int64_t seq, const char *version,
                              const char *at, const char *delivered)
{
    char wanted[600];
    const char *got = ask("(checkpoint, '%s')", id);

    snprintf(wanted, sizeof wanted,
             "(ok, {document_id: '%s', kind: 'run_summary', state: '%s', seq: %lld, "
             "event_count: 0, projection_version: '%s', projection_hash: '",
             id, state, (long long)seq, version);
    ck_assert_msg(strncmp(got, wanted, strlen(wanted)) == 0, "got %s\nwanted %s", got, wanted);
    const char *rest = got + strlen(wanted);
    ck_assert_uint_eq(strspn(rest, "0123456789abcdef"), 64);
    snprintf(wanted, sizeof wanted, "', projected_at: '%s', folded_seq: 0, delivered_seq: %s})", at,
             delivered);
    ck_assert_str_eq(rest + 64, wanted);
}

TEST(what_is_known_of_a_document)
{
    begin();
    assert_ask("(error, not_found)", "(checkpoint, '" RUN "a')");
    assert_ask("(error, not_found)", "(checkpoint, '%0400d')", 1);
    assert_ask("(error, (invalid, 'document_id', 'a document's id has at most 400 bytes, this one "
               "has 401'))",
               "(checkpoint, '%0401d')", 1);
    kit_upsert(RUN "a", 5);
    assert_checkpoint(RUN "a", "pending", 5, "v1", T0, "nil");
    kit_done(kit.box, RUN "a");
    assert_checkpoint(RUN "a", "delivered", 5, "v1", T0, "5");
    kit_wall_us += 1000000;
    kit_upsert(RUN "a", 7);
    assert_checkpoint(RUN "a", "pending", 7, "v1", "2026-02-19T20:00:01.000000Z", "5");
    kit_dead(kit.box, RUN "a", "no");
    assert_checkpoint(RUN "a", "dead", 5, "v1", "2026-02-19T20:00:01.000000Z", "5");
    assert_ask("(ok, {cleared: 1})", "(clear, '" RUN "a')");
    assert_checkpoint(RUN "a", "cleared", 0, "", "2026-02-19T20:00:01.000001Z", "nil");
    kit_end();
}

/* ---- clear ---- */

TEST(one_document_is_cleared)
{
    begin();
    kit_upsert(RUN "a", 5);
    kit_done(kit.box, RUN "a");
    assert_ask("(ok, {would_clear: 1})", "(clear, '" RUN "a', {dry_run: true})");
    ck_assert_uint_eq(outbox_pending(kit.box), 0);
    assert_ask("(error, (invalid, 'opts.dry_run', 'true or false is wanted'))",
               "(clear, '" RUN "a', {dry_run: 1})");
    assert_ask("(error, (invalid, 'opts.unless_newer', 'a time, and the id of a document, are "
               "wanted'))",
               "(clear, '" RUN "a', {unless_newer: 'yesterday'})");
    assert_ask("(error, (invalid, 'opts.unless_newer', 'a time, and the id of a document, are "
               "wanted'))",
               "(clear, all, {unless_newer: '" T0 "'})");
    assert_ask("(error, (invalid, 'opts.unless_newer', 'a time, and the id of a document, are "
               "wanted'))",
               "(clear, '" RUN "a', {unless_newer: '1970-01-01T00:00:00Z'})");
    /* what it removes was removed before, or at, the version that is known */
    assert_ask("(ok, {cleared: 0})",
               "(clear, '" RUN "a', {unless_newer: '2026-02-19T19:59:59.999999Z'})");
    assert_ask("(ok, {cleared: 0})", "(clear, '" RUN "a', {unless_newer: '" T0 "'})");
    ck_assert_uint_eq(outbox_pending(kit.box), 0);
    assert_ask("(ok, {cleared: 1})",
               "(clear, '" RUN "a', {unless_newer: '2026-02-19T20:00:00.000001Z'})");
    ck_assert_uint_eq(outbox_pending(kit.box), 1);
    assert_ask("(ok, {cleared: 1})", "(clear, '" RUN "unknown', {unless_newer: '" T0 "'})");
    ck_assert_uint_eq(outbox_pending(kit.box), 2);
    assert_ask("(error, not_projector_owned)", "(clear, 'of/nobody:a')");
    assert_ask("(error, (unknown_kind, 'of_nobody'))", "(clear, (kind, of_nobody))");
    kit_end();
}

static void many(const char *prefix, int count)
{
    static struct caller *callers[1200];
    const char *kind = strcmp(prefix, RUN) == 0 ? "run_summary" : "codex_worker_summary";
    char id[60];

    for (int i = 0; i < count; i++) {
        snprintf(id, sizeof id, "%s%04d", prefix, i);
        callers[i] = kit_caller();
        kit_call(callers[i], kit_upsert_text(kind, id, 1, "{}"));
    }
    kit_gathered();
    for (int i = 0; i < count; i++)
        ck_assert_msg(strstr(kit_answer(callers[i]), "queued") != NULL, "%s",
                      kit_answer(callers[i]));
}

TEST(a_kind_or_all_is_cleared_in_portions)
{
    begin();
    many(RUN, 501);
    many(WORKER, 3);
    assert_ask("(ok, {would_clear: 501})", "(clear, (kind, run_summary), {dry_run: true})");
    assert_ask("(ok, {would_clear: 504})", "(clear, all, {dry_run: true})");
    assert_ask("(ok, {cleared: 3})", "(clear, (kind, 'codex_worker_summary'))");
    assert_ask("(ok, {cleared: 0})", "(clear, (kind, codex_worker_summary))");
    assert_ask("(ok, {cleared: 501})", "(clear, all)");
    assert_ask("(ok, {cleared: 0})", "(clear, all)");
    kit_end();
    begin();
    many(RUN, 500); /* one whole portion, and an empty one */
    assert_ask("(ok, {cleared: 500})", "(clear, all)");
    kit_end();
}

/* No version can be projected later than the last microsecond there is. */
TEST(what_cannot_be_cleared_is_named_and_the_others_are)
{
    begin();
    const char *kept = ask("(upsert, run_summary, '" RUN "last', {status: 'running', "
                           "projection_version: 'v1', projected_at: '9999-12-31T23:59:59.999999Z', "
                           "runtime_source: {seq: 1}}, {})");
    ck_assert_msg(strstr(kept, "queued") != NULL, "%s", kept);
    kit_upsert(RUN "z", 1);
    const char *one = ask("(clear, '" RUN "last')");
    ck_assert_int_eq(strncmp(one, "(error, (invalid, 'projected_at', '", 35), 0);
    assert_ask("(ok, {cleared: 1, refused: 1})", "(clear, all)");
    kit_end();
}

TEST(what_is_dead_is_cleared_too)
{
    begin();
    kit_upsert(RUN "a", 5);
    kit_dead(kit.box, RUN "a", "no");
    assert_ask("(ok, {cleared: 1})", "(clear, all)");
    kit_done(kit.box, RUN "a"); /* the letter goes when that is confirmed */
    assert_ask("(ok, [])", "(dead, list)");
    kit_end();
}

/* ---- dead letters ---- */

#define DEAD(id, seq)                                                                              \
    "{document_id: '" RUN id "', kind: 'run_summary', seq: " seq                                   \
    ", why: 'no', attempts: 1, tries: 0, died_at: '" T0 "', next_try: nil"

TEST(dead_letters_are_listed_shown_sent_again_and_dropped)
{
    begin();
    kit_upsert(RUN "a", 5);
    kit_upsert(RUN "b", 6);
    kit_dead(kit.box, RUN "a", "no");
    kit_dead(kit.box, RUN "b", "no");
    const char *list = ask("(dead, list)");
    ck_assert_msg(strcmp(list, "(ok, [" DEAD("a", "5") "}, " DEAD("b", "6") "}])") == 0, "%s",
                  list);
    assert_ask("(ok, [" DEAD("b", "6") "}])", "(dead, (list, '" RUN "a'))"); /* after that one */
    const char *shown = ask("(dead, (show, '" RUN "a'))");
    ck_assert_int_eq(strncmp(shown, "(ok, " DEAD("a", "5") ", answer: 'the answer', summary: {",
                             strlen("(ok, " DEAD("a", "5") ", answer: 'the answer', summary: {")),
                     0);
    ck_assert_ptr_nonnull(strstr(shown, "'seq': 5"));
    assert_ask("(error, not_found)", "(dead, (show, '" RUN "c'))");
    assert_ask("(error, not_found)", "(dead, (retry, '" RUN "c'))");
    assert_ask("(ok, {retried: 1})", "(dead, (retry, '" RUN "a'))");
    ck_assert_uint_eq(outbox_pending(kit.box), 1);
    assert_ask("(ok, {dropped: 1})", "(dead, (drop, '" RUN "b'))");
    assert_ask("(error, not_found)", "(dead, (drop, '" RUN "b'))");
    kit_dead(kit.box, RUN "a", "no");
    assert_ask("(ok, {retried: 1})", "(dead, (retry, all))");
    kit_done(kit.box, RUN "a"); /* the letter goes when that is confirmed */
    assert_ask("(ok, [])", "(dead, list)");
    assert_ask("(ok, {retried: 0})", "(dead, (retry, all))");
    kit_end();
}

/* Everything that is pending dies, in one round. */
static void all_die(void)
{
    struct outbox_reader *r = outbox_reader_open(kit.box);
    struct settlement *first = NULL, **end = &first;
    struct pending p;

    for (uint64_t after = 0; outbox_next(r, after, &p); after = p.no) {
        struct settlement *s = *end = settlement_new(&p);
        s->dead = true;
        s->attempts = 1;
        s->why = base_strndup("no", 2);
        end = &s->next;
    }
    outbox_reader_close(r);
    kit_settle(kit.box, first);
}

TEST(all_dead_letters_go_in_portions)
{
    begin();
    many(RUN, 501);
    all_die();
    ck_assert_uint_eq(outbox_pending(kit.box), 0);
    assert_ask("(ok, {retried: 501})", "(dead, (retry, all))");
    ck_assert_uint_eq(outbox_pending(kit.box), 501);
    kit_end();
}

/* ---- explain ---- */

#define HELD(id, state) "(ok, {document_id: '" RUN id "', kind: 'run_summary', state: '" state "', "
#define NOTHING                                                                                    \
    "convex: {holds: 'nothing', seq: nil, projected_at: nil, actual_hash: nil, differs: "

#define NEXT(words) ", next: '" words "'})"
#define PROJECT_IT  NEXT("project it: no version of it was kept here")
#define STILL       NEXT("`status` says why delivery stands still, and what to do")
#define BY_ITSELF   NEXT("nothing: it is sent by itself; `tap` shows it")
#define REPAIR      NEXT("`audit --repair`, then project it again")

TEST(where_a_document_is_that_nobody_knows)
{
    begin();
    const char *got = ask("(explain, '" RUN "a')");
    ck_assert_msg(
        strncmp(got,
                HELD("a", "unknown") "delivered: nil, pending: nil, dead: nil, "
                                     "delivery: nil, " NOTHING "nil}" PROJECT_IT,
                strlen(HELD("a", "unknown") "delivered: nil, pending: nil, dead: nil, "
                                            "delivery: nil, " NOTHING "nil}" PROJECT_IT)) == 0,
        "%s", got);
    assert_ask("(ok, {document_id: 'of/nobody:a', kind: nil, state: 'unknown', delivered: nil, "
               "pending: nil, dead: nil, delivery: nil, convex: {not_asked: 'its prefix is that of "
               "no configured kind'}" PROJECT_IT,
               "(explain, 'of/nobody:a')");
    assert_ask("(error, (invalid, 'document_id', 'a document's id has at most 400 bytes, this one "
               "has 401'))",
               "(explain, '%0401d')", 1);
    kit_end();
}

TEST(where_a_pending_document_is)
{
    begin();
    outside.place = (struct explain_place){
        .endpoint = "paused", .what = "alone", .why = "refused", .next_us = T0_US, .attempts = 3};
    outside.look_fails = ERR_BUSY;
    kit_upsert(RUN "a", 5);
    assert_ask(HELD("a", "pending") "delivered: nil, pending: {op: 'upsert', seq: 5, projected_at: "
                                    "'" T0 "', kept_at: '" T0
                                    "', lane: 'live', origin: 'live', attempts: 0, "
                                    "next_try_at: nil}, dead: nil, delivery: {endpoint: 'paused', "
                                    "is: 'alone', why: "
                                    "'refused', attempts: 3, next_try_at: '" T0
                                    "'}, convex: {not_asked: 'an audit is at "
                                    "it; ask again when it is over'}" STILL,
               "(explain, '" RUN "a')");
    ck_assert_uint_eq(outside.placed, do_look(kit.box, RUN "a").document);
    outside.place = (struct explain_place){.endpoint = "running", .what = "", .why = ""};
    outside.look_fails = ERR_INVALID;
    outside.look_why = "the sink cannot be read back";
    const char *got = ask("(explain, '" RUN "a')");
    ck_assert_ptr_nonnull(strstr(got, "delivery: {endpoint: 'running', is: '', why: nil, attempts: "
                                      "0, next_try_at: nil}, convex: {not_asked: 'the sink cannot "
                                      "be read back'}" BY_ITSELF));
    outside.look_fails = ERR_DRAINING;
    outside.look_why = NULL;
    char wanted[100];
    snprintf(wanted, sizeof wanted, "convex: {not_asked: '%s'}", err_text(ERR_DRAINING));
    ck_assert_ptr_nonnull(strstr(ask("(explain, '" RUN "a')"), wanted));
    outside.look_fails = ERR_OK;
    outside.look_why = "HTTP 503";
    ck_assert_ptr_nonnull(
        strstr(ask("(explain, '" RUN "a')"), "convex: {not_asked: 'HTTP 503'}" BY_ITSELF));
    assert_ask("(ok, {cleared: 1})", "(clear, '" RUN "a')");
    ck_assert_ptr_nonnull(strstr(ask("(explain, '" RUN "a')"),
                                 HELD("a", "cleared") "delivered: nil, pending: {op: 'remove', "));
    kit_end();
}

TEST(where_a_delivered_document_is)
{
    begin();
    kit_upsert(RUN "a", 5);
    kit_done(kit.box, RUN "a");
    outside.stands = true;
    outside.theirs = (struct drift_theirs){
        .seq = 4, .projected_at_us = T0_US + 1, .is_intact = true, .has_hash = true};
    memset(outside.theirs.actual, 0xab, 32);
    memset(outside.theirs.hash, 0xab, 32);
    const char *got = ask("(explain, '" RUN "a')");
    ck_assert_int_eq(strncmp(got,
                             HELD("a", "delivered") "delivered: {seq: 5, projected_at: '" T0
                                                    "', projection_hash: '",
                             strlen(HELD("a", "delivered") "delivered: {seq: 5, projected_at: '" T0
                                                           "', projection_hash: '")),
                     0);
    ck_assert_ptr_nonnull(strstr(got,
                                 "', mark: 0}, pending: nil, dead: nil, delivery: nil, convex: "
                                 "{holds: 'the document', seq: 4, projected_at: "
                                 "'2026-02-19T20:00:00.000001Z', actual_hash: "
                                 "'abababababababababababababababababababababababababababababa"
                                 "babab', differs: 'stale'}" REPAIR));
    outside.theirs.is_removed = true;
    outside.theirs.projected_at_us = 0;
    ck_assert_ptr_nonnull(strstr(ask("(explain, '" RUN "a')"),
                                 "convex: {holds: 'a tombstone', seq: 4, projected_at: nil, "
                                 "actual_hash: nil, differs: 'missing'}" REPAIR));
    outside.stands = false;
    ck_assert_ptr_nonnull(strstr(ask("(explain, '" RUN "a')"), NOTHING "'missing'}" REPAIR));
    kit_end();
}

TEST(where_a_dead_document_is)
{
    begin();
    kit_upsert(RUN "a", 5);
    kit_dead(kit.box, RUN "a", "no");
    const char *got = ask("(explain, '" RUN "a')");
    ck_assert_msg(strstr(got, HELD("a", "dead") "delivered: nil, pending: nil, dead: {seq: 5, why: "
                                                "'no', died_at: '" T0
                                                "', attempts: 1, next_try_at: nil}, delivery: nil, "
                                                "convex: {holds: 'nothing', ") != NULL,
                  "%s", got);
    kit_end();
}

/* ---- pending ---- */

#define ROW(id, kind, seq, rest)                                                                   \
    "{document_id: '" id "', kind: '" kind "', op: 'upsert', seq: " seq ", kept_at: '" T0 "',"     \
    " " rest
#define WAITS "state: 'waits', why: nil, attempts: 0, next_try: nil}"

TEST(what_is_pending_is_listed)
{
    begin();
    assert_ask("(ok, [])", "(pending, {})");
    kit_upsert(RUN "a", 5);
    many(WORKER, 1);
    kit_upsert(RUN "c", 6);
    assert_ask("(ok, [" ROW(RUN "a", "run_summary", "5", WAITS) ", " ROW(
                   WORKER "0000", "codex_worker_summary", "1",
                   WAITS) ", " ROW(RUN "c", "run_summary", "6", WAITS) "])",
               "(pending, {})");
    assert_ask("(ok, [" ROW(WORKER "0000", "codex_worker_summary", "1", WAITS) "])",
               "(pending, {kind: codex_worker_summary})");
    assert_ask("(ok, [])", "(pending, {kind: 'codex'})");
    assert_ask("(ok, [])", "(pending, {troubled: true})");
    outside.places[0] = (struct pending_place){.document = do_look(kit.box, RUN "c").document,
                                               .no = do_look(kit.box, RUN "c").pending_no,
                                               .what = "alone",
                                               .why = "refused",
                                               .next_us = T0_US + 1000000,
                                               .attempts = 4};
    outside.places[1] = (struct pending_place){
        .document = 999, .no = do_look(kit.box, RUN "a").pending_no, .what = "x", .why = ""};
    outside.places[2] = (struct pending_place){.document = 5, .no = 123456, .what = "x", .why = ""};
    outside.place_count = 3;
#define ALONE                                                                                      \
    "state: 'alone', why: 'refused', attempts: 4, next_try: '2026-02-19T20:00:01.000000Z'}"
    assert_ask("(ok, [" ROW(RUN "c", "run_summary", "6", ALONE) "])",
               "(pending, {troubled: true})");
    assert_ask("(ok, [])", "(pending, {troubled: true, kind: codex_worker_summary})");
    assert_ask("(ok, [" ROW(RUN "a", "run_summary", "5", WAITS) ", " ROW(RUN "c", "run_summary",
                                                                         "6", ALONE) "])",
               "(pending, {kind: run_summary})");
    assert_ask("(error, (invalid, 'opts.troubled', 'must be true or false'))",
               "(pending, {troubled: 7})");
    assert_ask("(ok, [])", "(pending, {kind: '%0127d'})", 0);
    assert_ask("(error, (invalid, 'opts.kind', 'is too long'))", "(pending, {kind: '%0128d'})", 0);
    kit_end();
}

TEST(a_thousand_are_listed_and_no_more)
{
    begin();
    many(RUN, 1001);
    const char *list = ask("(pending, {})");
    size_t count = 0;
    for (const char *at = list; (at = strstr(at, "document_id")) != NULL; at++)
        count++;
    ck_assert_uint_eq(count, 1000);
    ck_assert_ptr_nonnull(strstr(list, RUN "0999"));
    kit_end();
}
