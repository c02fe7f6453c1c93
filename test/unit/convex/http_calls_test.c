/* http_calls_test.c - numbered calls: attach, echoes, controls, marks, and functions rolled back.
 */

#include "test.h"

#include "convex/fake_http.c"
#include "convex/http_sink.h"
#include "ground/clock.h"
#include "ground/fake_log.c"
#include "projection/projection.h"

/* ---- helpers --------------------------------------------------------------------------------- */

/* The time is what a test says. */
static int64_t wall_us = 1771531200000000, mono_ms = 5000000; /* 2026-02-19T20:00:00Z */

int64_t clock_wall_us(void)
{
    return wall_us;
}

int64_t clock_mono_us(void)
{
    return mono_ms * 1000 + 999;
}

static struct kinds *kinds;
static struct sink *sink;

static int64_t sweep_days, sweep_first_ms;

static void open_sink(const char *batch_mutation)
{
    struct fault fault = {0};

    kinds = kinds_new();
    ck_assert_int_eq(kinds_finish(kinds, &fault), ERR_OK);
    struct http_sink_options o = {.http = {.base_url = "http://127.0.0.1:3210"},
                                  .kinds = kinds,
                                  .batch_mutation = batch_mutation,
                                  .remove_mutation = "runtime:remove",
                                  .batch_documents = 64,
                                  .batch_bytes = 100000,
                                  .tombstone_days = sweep_days,
                                  .sweep_first_ms = sweep_first_ms};
    ck_assert_int_eq(http_sink_open(&o, &sink, &fault), ERR_OK);
    ck_assert_uint_eq(strlen(sink->us.id), 32); /* until somebody knows better */
    snprintf(sink->us.id, sizeof sink->us.id, "00112233445566778899aabbccddeeff");
}

static void close_sink(void)
{
    sink->ops->close(sink);
    kinds_free(kinds);
    fake_http_reset();
}

#define STORE "\"store\":\"00112233445566778899aabbccddeeff\""

#define ATTACHED(more)                                                                             \
    "{\"status\":\"success\",\"value\":{\"controls\":[\"runtime:upsertRunSummary\"],"              \
    "\"deployment\":\"d1\",\"functions\":2.0,\"mark\":null" more "}}"
#define NOT_FOUND                                                                                  \
    "{\"status\":\"error\",\"errorMessage\":\"[Request ID: 1] Server Error\\nCould not find "      \
    "public function for 'runtime:attach'.\"}"
#define EXTRA_FIELD                                                                                \
    "{\"status\":\"error\",\"errorMessage\":\"[Request ID: 1] Server Error\\n"                     \
    "ArgumentValidationError: Object contains extra field `call`\"}"

/* The last call that was made. */
static unsigned last(void)
{
    ck_assert_uint_gt(fake_http.count, 0);
    return fake_http.count - 1;
}

static const char *body(void)
{
    return fake_http.calls[last()].body;
}

static void attach_with(const char *answer)
{
    sink->ops->wait(sink, -1, 0);
    ck_assert_ptr_nonnull(strstr(body(), "\"path\":\"runtime:attach\""));
    fake_http_answer(last(), 200, answer);
}

static struct sink_peer peer_now(void)
{
    struct sink_peer peer;

    sink_peer(sink, &peer);
    return peer;
}

struct told {
    unsigned count;
    struct verdict overall, each, control;
    bool has_each, has_control, has_peer;
    char body[200];
    size_t body_len;
    int64_t took_us;
    struct sink_peer peer;
};

static void on_answer(void *arg, const struct sink_answer *a)
{
    struct told *t = arg;

    t->count++;
    t->overall = a->overall;
    t->has_each = a->each != NULL;
    t->has_control = a->control != NULL;
    t->has_peer = a->peer != NULL;
    snprintf(t->body, sizeof t->body, "%.*s", SLICE_ARG(a->body));
    t->body_len = a->body.len;
    t->took_us = a->took_us;
    if (a->each)
        t->each = a->each[0];
    if (a->control)
        t->control = *a->control;
    if (a->peer)
        t->peer = *a->peer;
}

static void on_told(void *arg, const struct verdict *v)
{
    struct told *t = arg;

    t->count++;
    t->overall = *v;
}

static const struct pending document = {.id = {(const uint8_t *)"d", 1},
                                        .kind = {(const uint8_t *)"run_summary", 11},
                                        .json = {(const uint8_t *)"{}", 2},
                                        .version = {.op = OUTBOX_UPSERT, .seq = 1}};

static void send_one(struct told *told, bool with_control)
{
    struct sink_call *call = sink->ops->begin(sink);

    *told = (struct told){0};
    if (with_control)
        ck_assert(sink->ops->add_control(call, document.kind));
    ck_assert(sink->ops->add(call, &document));
    sink->ops->send(call, on_answer, told);
}

/* The number of the last call; 0: it has none. */
static uint64_t number(void)
{
    const char *at = strstr(body(), "\"call\":");

    return at ? strtoull(at + 7, NULL, 10) : 0;
}

/* Answer the last call as functions 2 do; ${results} with or without its array. */
static void answer_echo(uint64_t call, const char *deployment, const char *mark,
                        const char *results)
{
    char text[1000];

    snprintf(text, sizeof text,
             "{\"status\":\"success\",\"value\":{\"call\":%llu.0,\"deployment\":\"%s\","
             "\"functions\":2.0,\"mark\":%s,%s}}",
             (unsigned long long)call, deployment, mark, results);
    fake_http_answer(last(), 200, text);
}

#define DONE           "{\"outcome\":\"updated\",\"seq\":1.0}"
#define REJECTED       "{\"error\":\"no\",\"outcome\":\"rejected\"}"
#define RESULTS(items) "\"results\":[" items "]"

/* ---- which functions there are --------------------------------------------------------------- */

TEST(attach_is_asked_at_start_and_tells_who_is_there)
{
    open_sink("runtime:upsertBatch");
    ck_assert_int_eq(peer_now().functions, 0);
    sink->ops->wait(sink, -1, 0);
    ck_assert_uint_eq(fake_http.count, 1);
    ck_assert_str_eq(fake_http.calls[0].path, "/api/mutation");
    ck_assert_ptr_nonnull(strstr(body(),
                                 "{\"path\":\"runtime:attach\",\"format\":\"json\",\"args\":{" STORE
                                 ",\"propose\":\""));
    ck_assert_ptr_null(strstr(body(), "raise"));
    fake_http_answer(0, 200, ATTACHED());
    ck_assert_int_eq(peer_now().functions, 2);
    ck_assert_str_eq(peer_now().deployment, "d1");
    ck_assert_int_eq(peer_now().mark, -1);
    sink->ops->wait(sink, -1, 0);
    ck_assert_uint_eq(fake_http.count, 1);
    close_sink();
}

TEST(whatever_is_no_attach_is_version_1)
{
    static const struct {
        long status;
        const char *body;
        int functions;
    } answers[] = {
        {200, NOT_FOUND, 1},
        {404, "{\"code\":\"FunctionPathNotFound\",\"message\":\"m\"}", 1},
        {200, "{\"status\":\"error\",\"errorMessage\":\"[Request ID: 1] Server Error\"}", 1},
        {200, "{\"status\":\"success\",\"value\":null}", 1},
        {200, "{\"status\":\"success\",\"value\":{\"functions\":1,\"deployment\":\"d\"}}", 1},
        {200, "{\"status\":\"success\",\"value\":{\"functions\":2.0,\"deployment\":7}}", 1},
        {200, "<html>", 0},
        {401, "{\"code\":\"BadAdminKey\",\"message\":\"m\"}", 0},
        {503, "{\"code\":\"Full\",\"message\":\"m\"}", 0},
        {0, "", 0},
    };
    struct told told;

    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        open_sink("runtime:upsertBatch");
        sink->ops->wait(sink, -1, 0);
        fake_http_answer(0, answers[i].status, answers[i].body);
        ck_assert_int_eq(peer_now().functions, answers[i].functions);
        send_one(&told, false);
        ck_assert_uint_eq(number(), 0);
        struct sink_call *call = sink->ops->begin(sink);
        ck_assert(!sink->ops->add_control(call, document.kind));
        ck_assert(sink->ops->add(call, &document));
        sink->ops->send(call, on_answer, &told);
        close_sink();
    }
}

TEST(attach_without_an_answer_is_asked_again_when_something_is_done)
{
    struct told told;

    open_sink("runtime:upsertBatch");
    sink->ops->wait(sink, -1, 0);
    fake_http_answer(0, 0, "");
    for (int i = 0; i < 3; i++)
        sink->ops->wait(sink, -1, 0);
    ck_assert_uint_eq(fake_http.count, 1); /* nothing came through since */
    send_one(&told, false);
    fake_http_answer(1, 200, "{\"status\":\"success\",\"value\":{\"results\":[" DONE "]}}");
    sink->ops->wait(sink, -1, 0);
    ck_assert_uint_eq(fake_http.count, 2); /* not within the second */
    struct fault fault;
    ck_assert_int_eq(sink->ops->reload(sink, &fault), ERR_OK);
    sink->ops->wait(sink, -1, 0);
    ck_assert_uint_eq(fake_http.count, 3); /* but after a reload */
    close_sink();
}

TEST(functions_of_another_module_are_asked_there)
{
    struct told told;

    open_sink("own/projections:upsertBatch");
    sink->ops->wait(sink, -1, 0);
    ck_assert_ptr_nonnull(strstr(body(), "\"path\":\"own/projections:attach\""));
    fake_http_answer(0, 200, ATTACHED());
    send_one(&told, false);
    ck_assert_uint_gt(number(), 0);
    close_sink();
    open_sink("runtime:myOwnBatch");
    attach_with(ATTACHED());
    send_one(&told, false);
    ck_assert_uint_eq(number(), 0); /* that one is not ours */
    close_sink();
}

/* ---- numbers --------------------------------------------------------------------------------- */

TEST(a_numbered_call_is_these_bytes_and_its_answer_says_who_answered)
{
    struct told told;
    char wanted[400];

    open_sink("runtime:upsertBatch");
    attach_with(ATTACHED());
    send_one(&told, false);
    uint64_t first = number();
    ck_assert_uint_gt(first, 0);
    ck_assert_uint_le(first, 9007199254740991);
    snprintf(wanted, sizeof wanted, ",\"summary\":{}}],\"call\":%llu," STORE "}}",
             (unsigned long long)first);
    ck_assert_str_eq(strstr(body(), ",\"summary\""), wanted);
    answer_echo(first, "d1", "7.0", RESULTS(DONE));
    ck_assert_int_eq(told.overall.kind, VERDICT_DONE);
    ck_assert(told.has_peer && !told.has_control);
    ck_assert_str_eq(told.peer.deployment, "d1");
    ck_assert_int_eq(told.peer.mark, 7);
    ck_assert_int_eq(peer_now().mark, 7);
    send_one(&told, false);
    ck_assert_uint_eq(number(), first + 1);
    answer_echo(number(), "d2", "null", RESULTS(REJECTED)); /* no plain success */
    ck_assert(told.has_each && told.has_peer);
    ck_assert_int_eq(told.each.kind, VERDICT_REFUSED);
    ck_assert_str_eq(told.peer.deployment, "d2");
    ck_assert_int_eq(told.peer.mark, -1);
    close_sink();
}

TEST(the_answer_to_another_call_answers_nothing)
{
    struct told told;

    open_sink("runtime:upsertBatch");
    attach_with(ATTACHED());
    for (int i = 0; i < 2; i++) {
        send_one(&told, false);
        answer_echo(number() - 1, "foreign", "3.0", i ? RESULTS(REJECTED) : RESULTS(DONE));
        ck_assert_uint_eq(told.count, 1);
        ck_assert_int_eq(told.overall.kind, VERDICT_UNKNOWN);
        ck_assert_str_eq(told.overall.why, "the answer is to another call");
        ck_assert(!told.has_each && !told.has_peer);
        ck_assert_uint_eq(fake_http.distrusted, (unsigned)i + 1);
    }
    ck_assert_str_eq(peer_now().deployment, "d1");
    close_sink();
}

TEST(one_document_a_call_is_numbered_where_its_mutation_knows)
{
    struct told told;
    struct pending worker = document;

    open_sink("");
    attach_with(ATTACHED());
    send_one(&told, false);
    ck_assert_ptr_nonnull(strstr(body(), "\"summary\":{},\"call\":"));
    ck_assert_str_eq(body() + strlen(body()) - 4, "\"}]}");
    answer_echo(number(), "d1", "null", "\"outcome\":\"inserted\",\"seq\":1.0");
    ck_assert_int_eq(told.overall.kind, VERDICT_DONE);
    ck_assert(told.has_peer);

    worker.kind = slice_str("codex_worker_summary"); /* attach did not name its mutation */
    struct sink_call *call = sink->ops->begin(sink);
    ck_assert(sink->ops->add(call, &worker));
    sink->ops->send(call, on_answer, &told);
    ck_assert_uint_eq(number(), 0);
    worker.version.op = OUTBOX_REMOVE;
    call = sink->ops->begin(sink);
    ck_assert(sink->ops->add(call, &worker));
    sink->ops->send(call, on_answer, &told);
    ck_assert_uint_gt(number(), 0);
    close_sink();
}

/* ---- marks ----------------------------------------------------------------------------------- */

TEST(a_raise_rides_on_one_call_until_it_stands)
{
    struct told told[3];

    open_sink("runtime:upsertBatch");
    attach_with(ATTACHED());
    sink->us.from = -1;
    sink->us.to = 1;
    send_one(&told[0], false);
    ck_assert_ptr_nonnull(strstr(body(), STORE ",\"raise\":{\"from\":null,\"to\":1}}}"));
    unsigned first = last();
    uint64_t first_number = number();
    send_one(&told[1], false);
    ck_assert_ptr_null(strstr(body(), "raise")); /* one carries it already */
    fake_http_answer(first, 0, "");
    send_one(&told[2], false);
    ck_assert_ptr_nonnull(strstr(body(), "raise"));
    ck_assert_uint_eq(number(), first_number + 2);
    answer_echo(number(), "d1", "1.0", RESULTS(DONE));
    ck_assert_int_eq(told[2].peer.mark, 1);
    send_one(&told[2], false);
    ck_assert_ptr_null(strstr(body(), "raise"));
    sink->us.from = 1;
    sink->us.to = 2;
    struct fault fault;
    ck_assert_int_eq(sink->ops->reload(sink, &fault), ERR_OK);
    sink->ops->wait(sink, -1, 0);
    ck_assert_ptr_nonnull(strstr(body(), ",\"raise\":{\"from\":1,\"to\":2}}}"));
    close_sink();
}

TEST(a_deployment_whose_rows_are_gone_is_asked_at_once_and_named_anew)
{
    struct told told;
    char first[33];

    open_sink("runtime:upsertBatch");
    attach_with(ATTACHED());
    snprintf(first, sizeof first, "%s", strstr(body(), "propose\":\"") + 10);
    send_one(&told, false);
    answer_echo(number(), "", "null", RESULTS(DONE));
    ck_assert_str_eq(told.peer.deployment, "");
    attach_with(ATTACHED());
    ck_assert_ptr_null(strstr(body(), first));
    close_sink();
}

/* ---- controls -------------------------------------------------------------------------------- */

TEST(a_control_is_the_first_item_and_has_a_verdict_of_its_own)
{
    struct told told;

    open_sink("runtime:upsertBatch");
    attach_with(ATTACHED());
    send_one(&told, true);
    ck_assert_ptr_nonnull(strstr(body(),
                                 "\"items\":[{\"kind\":\"_control\",\"document_id\":"
                                 "\"00112233445566778899aabbccddeeff\",\"projected_at\":\"2"));
    ck_assert_ptr_nonnull(strstr(body(), "Z\",\"summary\":{\"kind\":\"run_summary\"}},{\"kind\":"));
    answer_echo(number(), "d1", "null", RESULTS(DONE "," REJECTED));
    ck_assert(told.has_each && told.has_control);
    ck_assert_int_eq(told.control.kind, VERDICT_DONE);
    ck_assert_int_eq(told.each.kind, VERDICT_REFUSED);
    send_one(&told, true);
    answer_echo(number(), "d1", "null", RESULTS(DONE "," DONE));
    ck_assert(told.has_each && told.has_control);
    ck_assert_int_eq(told.control.kind, VERDICT_DONE);
    send_one(&told, true);
    answer_echo(number(), "d1", "null", RESULTS(DONE)); /* one result for two items */
    ck_assert_int_eq(told.overall.kind, VERDICT_UNKNOWN);
    close_sink();
}

TEST(a_control_by_itself)
{
    struct told told = {0};

    open_sink("runtime:upsertBatch");
    sink->ops->ask(sink, SINK_CONTROL, document.kind, on_told, &told);
    ck_assert_int_eq(told.overall.kind, VERDICT_NONE);
    attach_with(ATTACHED());
    sink->ops->ask(sink, SINK_CONTROL, document.kind, on_told, &told);
    ck_assert_ptr_nonnull(strstr(body(), "\"summary\":{\"kind\":\"run_summary\"}}],\"call\":"));
    answer_echo(number(), "d1", "null", RESULTS(DONE));
    ck_assert_int_eq(told.overall.kind, VERDICT_DONE);
    sink->ops->ask(sink, SINK_CONTROL, document.kind, on_told, &told);
    answer_echo(number(), "d1", "null", RESULTS(REJECTED));
    ck_assert_int_eq(told.overall.kind, VERDICT_REFUSED);
    sink->ops->ask(sink, SINK_CONTROL, document.kind, on_told, &told);
    fake_http_answer(last(), 502, "");
    ck_assert_int_eq(told.overall.kind, VERDICT_UNKNOWN);
    ck_assert_uint_eq(told.count, 4);
    close_sink();
}

TEST(a_control_goes_by_a_kinds_own_mutation)
{
    struct told told = {0};

    open_sink("");
    attach_with(ATTACHED());
    sink->ops->ask(sink, SINK_CONTROL, slice_str("codex_worker_summary"), on_told, &told);
    ck_assert_int_eq(told.overall.kind, VERDICT_NONE); /* not named by attach */
    for (int i = 0; i < 2; i++) {
        sink->ops->ask(sink, SINK_CONTROL, i ? document.kind : slice_str(""), on_told, &told);
        ck_assert_ptr_nonnull(strstr(
            body(), "{\"path\":\"runtime:upsertRunSummary\",\"format\":\"convex_encoded_json\","
                    "\"args\":[{\"control\":true,\"document_id\":\"0011"));
        ck_assert_ptr_nonnull(strstr(body(), ",\"summary\":{\"kind\":\"run_summary\"},\"call\":"));
        answer_echo(number(), "d1", "null", "\"outcome\":\"updated\",\"seq\":0.0");
        ck_assert_int_eq(told.overall.kind, VERDICT_DONE);
    }
    close_sink();
}

/* ---- a rollback is no refusal ---------------------------------------------------------------- */

TEST(a_call_refused_by_functions_that_were_rolled_back_goes_out_again)
{
    struct told told;

    open_sink("runtime:upsertBatch");
    attach_with(ATTACHED());
    send_one(&told, true);
    fake_http_answer(last(), 200, EXTRA_FIELD);
    ck_assert_uint_eq(told.count, 0);
    ck_assert_ptr_nonnull(strstr(body(), "runtime:attach"));
    fake_http_answer(last(), 200, NOT_FOUND);
    ck_assert_uint_eq(told.count, 0);
    ck_assert_ptr_null(strstr(body(), "call"));
    ck_assert_ptr_null(strstr(body(), "_control"));
    ck_assert_ptr_nonnull(
        strstr(body(), "\"items\":[{\"kind\":\"run_summary\",\"document_id\":\"d\""));
    ck_assert_str_eq(strstr(body(), ",\"summary\""), ",\"summary\":{}}]}}");
    fake_http_answer(last(), 200, "{\"status\":\"success\",\"value\":{\"results\":[" DONE "]}}");
    ck_assert_uint_eq(told.count, 1);
    ck_assert_int_eq(told.overall.kind, VERDICT_DONE);
    ck_assert(!told.has_control && !told.has_peer);
    close_sink();

    open_sink(""); /* the same for one document */
    attach_with(ATTACHED());
    send_one(&told, false);
    fake_http_answer(last(), 200, EXTRA_FIELD);
    fake_http_answer(last(), 200, NOT_FOUND);
    ck_assert_str_eq(body(),
                     "{\"path\":\"runtime:upsertRunSummary\",\"format\":\"convex_encoded_json\","
                     "\"args\":[{\"document_id\":\"d\",\"summary\":{}}]}");
    fake_http_answer(last(), 200, "{\"status\":\"success\",\"value\":null}");
    ck_assert_int_eq(told.overall.kind, VERDICT_DONE);
    close_sink();
}

TEST(a_success_without_the_number_is_no_answer_until_attach_said_why)
{
    struct told told;

    open_sink("runtime:upsertBatch");
    attach_with(ATTACHED());
    for (int is_gone = 0; is_gone < 2; is_gone++) {
        send_one(&told, false);
        fake_http_answer(last(), 200,
                         "{\"status\":\"success\",\"value\":{\"results\":[" DONE "]}}");
        ck_assert_uint_eq(told.count, 0);
        fake_http_answer(last(), 200, is_gone ? NOT_FOUND : ATTACHED());
    }
    ck_assert_uint_eq(number(), 0);
    fake_http_answer(last(), 200, "{\"status\":\"success\",\"value\":{\"results\":[" DONE "]}}");
    ck_assert_int_eq(told.overall.kind, VERDICT_DONE);
    close_sink();
}

TEST(a_call_refused_by_functions_that_still_stand_is_refused)
{
    struct told told;

    open_sink("runtime:upsertBatch");
    attach_with(ATTACHED());
    send_one(&told, true);
    fake_http_answer(last(), 200, EXTRA_FIELD);
    fake_http_answer(last(), 200, ATTACHED());
    ck_assert_uint_eq(told.count, 1);
    ck_assert_int_eq(told.overall.kind, VERDICT_REFUSED);
    ck_assert_int_eq(told.control.kind, VERDICT_REFUSED);
    ck_assert_str_eq(told.body, EXTRA_FIELD); /* a dead letter shows it */
    send_one(&told, false);
    fake_http_answer(last(), 200, EXTRA_FIELD);
    fake_http_answer(last(), 502, "");
    ck_assert_int_eq(told.overall.kind, VERDICT_UNKNOWN); /* nobody knows */
    ck_assert_int_eq(peer_now().functions, 2);
    send_one(&told, false);
    fake_http_answer(last(), 403, "<html>");
    ck_assert_uint_eq(told.count, 1); /* that was no function */
    close_sink();
}

TEST(one_question_serves_all_who_wait_when_it_is_asked)
{
    struct told told[3];

    open_sink("runtime:upsertBatch");
    attach_with(ATTACHED());
    for (int i = 0; i < 3; i++)
        send_one(&told[i], false);
    for (unsigned i = 1; i <= 3; i++)
        fake_http_answer(i, 200, EXTRA_FIELD);
    ck_assert_uint_eq(fake_http.count,
                      5); /* the first two of them were not the newest to be refused */
    fake_http_answer(4, 200, ATTACHED());
    ck_assert_uint_eq(told[0].count + told[1].count + told[2].count, 1);
    ck_assert_uint_eq(fake_http.count, 6); /* asked after the others were refused */
    fake_http_answer(5, 200, NOT_FOUND);
    ck_assert_uint_eq(fake_http.count, 8);
    close_sink();
    ck_assert_uint_eq(told[0].count + told[1].count + told[2].count, 3);
}

TEST(whoever_waits_is_told_when_the_sink_closes)
{
    struct told told[4] = {0};

    open_sink("runtime:upsertBatch");
    attach_with(ATTACHED());
    send_one(&told[0], false);
    send_one(&told[1], false);
    fake_http_answer(1, 200, EXTRA_FIELD);
    fake_http_answer(2, 200, EXTRA_FIELD);
    sink->ops->ask(sink, SINK_ATTACH, slice_str(""), on_told, &told[2]);
    sink->ops->ask(sink, SINK_CONTROL, slice_str(""), on_told, &told[3]);
    close_sink();
    for (int i = 0; i < 4; i++) {
        ck_assert_uint_eq(told[i].count, 1);
        ck_assert_int_eq(told[i].overall.kind, VERDICT_UNKNOWN);
    }
}

TEST(attach_can_be_asked_for)
{
    struct told told = {0};

    open_sink("runtime:upsertBatch");
    sink->ops->ask(sink, SINK_ATTACH, slice_str(""), on_told, &told);
    fake_http_answer(last(), 200, ATTACHED());
    ck_assert_int_eq(told.overall.kind, VERDICT_DONE);
    sink->ops->ask(sink, SINK_ATTACH, slice_str(""), on_told, &told);
    fake_http_answer(last(), 200, NOT_FOUND);
    ck_assert_int_eq(told.overall.kind, VERDICT_NONE);
    sink->ops->ask(sink, SINK_ATTACH, slice_str(""), on_told, &told);
    fake_http_answer(last(), 0, "");
    ck_assert_int_eq(told.overall.kind, VERDICT_UNKNOWN);
    ck_assert_uint_eq(told.count, 3);
    close_sink();
}

/* ---- when attach is asked -------------------------------------------------------------------- */

static void do_one(void)
{
    struct told told;

    send_one(&told, false);
    fake_http_answer(last(), 200, "{\"status\":\"success\",\"value\":{\"results\":[" DONE "]}}");
    ck_assert_int_eq(told.overall.kind, VERDICT_DONE);
}

static void wait_after(int64_t ms)
{
    mono_ms += ms;
    sink->ops->wait(sink, -1, 0);
}

static void assert_asked_after(int64_t ms)
{
    unsigned before = fake_http.count;

    wait_after(ms - 1);
    ck_assert_uint_eq(fake_http.count, before);
    wait_after(1);
    ck_assert_uint_eq(fake_http.count, before + 1);
    ck_assert_ptr_nonnull(strstr(body(), "runtime:attach"));
}

TEST(attach_without_an_answer_is_asked_again_after_a_second_at_last_each_minute)
{
    static const int64_t waits[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000};

    open_sink("runtime:upsertBatch");
    sink->ops->wait(sink, -1, 0);
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        fake_http_answer(last(), 0, "");
        do_one();
        assert_asked_after(waits[i]);
    }
    wait_after(100000);
    ck_assert_ptr_nonnull(strstr(body(), "runtime:attach")); /* one at a time */
    fake_http_answer(last(), 200, NOT_FOUND);
    unsigned before = fake_http.count;
    wait_after(600000);
    ck_assert_uint_eq(fake_http.count, before); /* nothing was done since */
    do_one();
    wait_after(0);
    ck_assert_uint_eq(fake_http.count, before + 2);
    fake_http_answer(last(), 200, NOT_FOUND);
    do_one();
    assert_asked_after(60000); /* each minute while older ones answer */
    fake_http_answer(last(), 0, "");
    do_one();
    assert_asked_after(60000); /* from where the waits were */
    fake_http_answer(last(), 200, ATTACHED());
    before = fake_http.count;
    wait_after(600000);
    ck_assert_uint_eq(fake_http.count, before);
    close_sink();
}

TEST(who_answers_is_logged_when_it_changes)
{
    static const struct {
        const char *answer;
        int infos, warnings;
        const char *line;
    } steps[] = {
        {ATTACHED(), 1, 0, "convex.functions version=2 was=0 deployment=\"d1\""},
        {ATTACHED(), 1, 0, "convex.functions version=2 was=0 deployment=\"d1\""},
        {"{\"status\":\"success\",\"value\":{\"functions\":2,\"deployment\":\"d2\"}}", 2, 0,
         "convex.functions version=2 was=2 deployment=\"d2\""},
        {NOT_FOUND, 2, 1,
         "convex.functions version=1 was=2 deployment=\"\" next=\"deploy priv/convex of this "
         "version\""},
        {NOT_FOUND, 2, 1, NULL},
        {"{\"status\":\"success\",\"value\":{\"functions\":3,\"deployment\":\"d2\"}}", 3, 1,
         "convex.functions version=3 was=1 deployment=\"d2\""},
    };
    struct fault fault;

    open_sink("runtime:upsertBatch");
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        ck_assert_int_eq(sink->ops->reload(sink, &fault), ERR_OK);
        sink->ops->wait(sink, -1, 0);
        fake_http_answer(last(), 200, steps[i].answer);
        ck_assert_int_eq(fake_log_lines[LOG_INFO], steps[i].infos);
        ck_assert_int_eq(fake_log_lines[LOG_WARNING], steps[i].warnings);
        if (steps[i].line)
            ck_assert_str_eq(fake_log_last, steps[i].line);
    }
    close_sink();
}

TEST(their_clock_is_compared_with_ours_at_the_middle_of_the_call)
{
    struct http_answer answer = {.end = HTTP_ANSWERED, .status = 200, .took_us = 400000};

    open_sink("runtime:upsertBatch");
    sink->ops->wait(sink, -1, 0);
    answer.body = slice_str(ATTACHED());
    fake_http_answer_with(0, &answer); /* without a Date */
    ck_assert(!peer_now().has_clock);
    struct fault fault;
    ck_assert_int_eq(sink->ops->reload(sink, &fault), ERR_OK);
    sink->ops->wait(sink, -1, 0);
    answer.date_s = wall_us / 1000000 + 3;
    fake_http_answer_with(1, &answer);
    ck_assert(peer_now().has_clock);
    ck_assert_int_eq(peer_now().ahead_ms, 3000 + 500 + 200);
    ck_assert_int_eq(sink->ops->reload(sink, &fault), ERR_OK);
    sink->ops->wait(sink, -1, 0);
    fake_http_answer(2, 200, ATTACHED()); /* no Date: what was known stays */
    ck_assert_int_eq(peer_now().ahead_ms, 3700);
    close_sink();
}

TEST(whoever_asks_while_attach_is_out_is_served_by_the_next)
{
    struct told first = {0}, late = {0};

    open_sink("runtime:upsertBatch");
    sink->ops->ask(sink, SINK_ATTACH, slice_str(""), on_told, &first);
    sink->ops->ask(sink, SINK_ATTACH, slice_str(""), on_told, &late);
    ck_assert_uint_eq(fake_http.count, 1);
    fake_http_answer(0, 200, ATTACHED());
    ck_assert_uint_eq(first.count, 1);
    ck_assert_uint_eq(late.count, 0);
    ck_assert_uint_eq(fake_http.count, 2);
    fake_http_answer(1, 200, ATTACHED());
    ck_assert_uint_eq(late.count, 1);
    ck_assert_uint_eq(fake_http.count, 2);
    close_sink();
}

/* Asks on each answer that it gets; the second is from within close. */
static void ask_more(void *arg, const struct verdict *v)
{
    struct told *told = arg;

    on_told(&told[0], v);
    sink->ops->ask(sink, SINK_ATTACH, slice_str(""), on_told, &told[1]);
    sink->ops->ask(sink, SINK_CONTROL, document.kind, on_told, &told[2]);
}

TEST(a_sink_that_closes_takes_no_question)
{
    struct told told[3] = {0};

    open_sink("runtime:upsertBatch");
    attach_with(ATTACHED());
    sink->ops->ask(sink, SINK_ATTACH, slice_str(""), ask_more, told);
    close_sink();
    for (int i = 0; i < 3; i++) {
        ck_assert_uint_eq(told[i].count, 1);
        ck_assert_int_eq(told[i].overall.kind, VERDICT_UNKNOWN);
    }
    ck_assert_str_eq(told[1].overall.why, "the sink is closing");
    ck_assert_str_eq(told[2].overall.why, "the sink is closing");
}

/* ---- more of what is refused ----------------------------------------------------------------- */

TEST(what_may_come_of_a_rollback_and_what_may_not)
{
    static const struct {
        long status;
        const char *body;
        bool is_asked;
    } cases[] = {
        {200, EXTRA_FIELD, true},
        {404, "{\"code\":\"FunctionPathNotFound\",\"message\":\"m\"}", true},
        {560, EXTRA_FIELD, true},
        {200, "{\"status\":\"success\",\"value\":null}", true},
        {200, "{\"status\":\"success\",\"value\":{\"functions\":2.0," RESULTS(DONE) "}}", false},
        {560, "", false},
        {503, "{\"code\":\"Full\",\"message\":\"m\"}", false},
        {400, EXTRA_FIELD, false},
        {500, EXTRA_FIELD, false},
    };
    struct told told;

    open_sink("runtime:upsertBatch");
    attach_with(ATTACHED());
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        send_one(&told, false);
        unsigned before = fake_http.count;
        fake_http_answer(last(), cases[i].status, cases[i].body);
        ck_assert_uint_eq(told.count, !cases[i].is_asked);
        ck_assert_uint_eq(fake_http.count, before + cases[i].is_asked);
        if (cases[i].is_asked)
            fake_http_answer(last(), 200, ATTACHED());
        ck_assert_uint_eq(told.count, 1);
        ck_assert_int_ne(told.overall.kind, VERDICT_DONE);
        ck_assert_int_eq(told.took_us, 1234);
        ck_assert_uint_eq(fake_http.distrusted, 0);
    }
    close_sink();
}

TEST(what_was_refused_is_kept_up_to_a_bound_while_attach_is_asked)
{
    struct told told;

    open_sink("runtime:upsertBatch");
    attach_with(ATTACHED());
    for (size_t len = 65535; len <= 65537; len++) {
        char *said = base_alloc(len + 1);
        memset(said, ' ', len);
        memcpy(said, EXTRA_FIELD, strlen(EXTRA_FIELD));
        send_one(&told, false);
        fake_http_answer(last(), 200, said);
        fake_http_answer(last(), 200, ATTACHED());
        ck_assert_int_eq(told.overall.kind, VERDICT_REFUSED);
        ck_assert_uint_eq(told.body_len, len < 65536 ? len : 65536);
        free(said);
    }
    close_sink();
}

TEST(a_refusal_that_attach_does_not_explain_says_both)
{
    struct told told;

    open_sink("runtime:upsertBatch");
    attach_with(ATTACHED());
    send_one(&told, true);
    fake_http_answer(last(), 200, EXTRA_FIELD);
    fake_http_answer(last(), 0, "");
    ck_assert_uint_eq(told.count, 1);
    ck_assert_str_eq(told.overall.why, "attach was not answered after: ArgumentValidationError: "
                                       "Object contains extra field `call`");
    ck_assert(told.has_control);
    close_sink();
}

TEST(a_control_that_functions_of_before_do_not_know_is_none)
{
    struct told told = {0};

    open_sink("runtime:upsertBatch");
    attach_with(ATTACHED());
    sink->ops->ask(sink, SINK_CONTROL, document.kind, on_told, &told);
    fake_http_answer(last(), 200, EXTRA_FIELD);
    unsigned asked = fake_http.count;
    fake_http_answer(last(), 200, NOT_FOUND);
    ck_assert_uint_eq(told.count, 1);
    ck_assert_int_eq(told.overall.kind, VERDICT_NONE);
    ck_assert_str_eq(told.overall.why, "no control is known");
    ck_assert_uint_eq(fake_http.count, asked);
    close_sink();
}

TEST(controls_are_written_later_than_any_before_whatever_the_clock_says)
{
    static const char *const times[] = {
        "2026-02-19T20:00:00.000000Z", "2026-02-19T20:00:00.000001Z", "2026-02-19T20:00:00.000002Z",
        "2026-02-19T20:00:00.000003Z", "2026-02-19T20:00:09.000000Z"};
    const int64_t now_us = wall_us;
    struct told told;

    open_sink("runtime:upsertBatch");
    attach_with(ATTACHED());
    for (int i = 0; i < 5; i++) {
        wall_us = now_us + (i == 3 ? -7000000 : i == 4 ? 9000000 : 0);
        send_one(&told, true);
        ck_assert_ptr_nonnull(strstr(body(), times[i]));
        answer_echo(number(), "d1", "null", RESULTS(DONE "," DONE));
    }
    close_sink();
}

TEST(no_other_batch_mutation_takes_a_control)
{
    struct told told = {0};

    open_sink("runtime:upsertRunSummary"); /* attach names it: numbered, but it takes no items */
    attach_with(ATTACHED());
    struct sink_call *call = sink->ops->begin(sink);
    ck_assert(!sink->ops->add_control(call, document.kind));
    ck_assert(sink->ops->add(call, &document));
    sink->ops->send(call, on_answer, &told);
    ck_assert_uint_gt(number(), 0);
    close_sink();
    open_sink("");
    attach_with(ATTACHED());
    call = sink->ops->begin(sink);
    ck_assert(!sink->ops->add_control(call, document.kind));
    ck_assert(sink->ops->add(call, &document));
    sink->ops->send(call, on_answer, &told);
    close_sink();
}

/* ---- bounds ---------------------------------------------------------------------------------- */

#define BODY_MAX (16777216 + 2000)

/* Send a document of ${len} bytes of JSON; the body's length, 0 when it was not sent. */
static size_t send_long(size_t len, struct told *told)
{
    struct pending p = document;
    struct sink_call *call = sink->ops->begin(sink);
    unsigned before = fake_http.count;
    char *json = base_alloc(len + 1);

    memset(json, '1', len);
    p.json = slice_of(json, len);
    *told = (struct told){0};
    ck_assert(sink->ops->add(call, &p));
    sink->ops->send(call, on_answer, told);
    free(json);
    return fake_http.count > before ? strlen(body()) : 0;
}

TEST(a_body_is_sent_up_to_convexs_limit_and_a_raise_is_not_lost_with_it)
{
    struct told told[3];

    open_sink("");
    size_t overhead = send_long(10, &told[0]) - 10;
    ck_assert_uint_eq(send_long(BODY_MAX - overhead, &told[0]), BODY_MAX);
    ck_assert_uint_eq(send_long(BODY_MAX - overhead + 1, &told[1]), 0);
    ck_assert_uint_eq(told[1].count, 1);
    ck_assert_int_eq(told[1].overall.kind, VERDICT_REFUSED);
    ck_assert_str_eq(told[1].overall.why, "larger than the 16 MiB that Convex takes in one call");
    close_sink();

    open_sink("runtime:upsertBatch");
    attach_with(ATTACHED());
    sink->us.from = -1;
    sink->us.to = 1;
    ck_assert_uint_eq(send_long(BODY_MAX, &told[0]), 0);
    send_one(&told[1], false);
    ck_assert_ptr_nonnull(strstr(body(), "raise")); /* it was to ride on the one not sent */
    ck_assert_uint_eq(send_long(BODY_MAX, &told[0]), 0);
    send_one(&told[2], false);
    ck_assert_ptr_null(strstr(body(), "raise")); /* it is still on its way */
    answer_echo(number(), "d1", "null", RESULTS(DONE));
    send_one(&told[2], false);
    ck_assert_ptr_null(strstr(body(), "raise"));
    close_sink();
}

TEST(no_raise_rides_where_it_stands_or_where_there_are_no_batches)
{
    struct told told;

    open_sink("runtime:upsertBatch");
    attach_with("{\"status\":\"success\",\"value\":{\"deployment\":\"d1\",\"functions\":2.0,"
                "\"mark\":1.0}}");
    sink->us.to = 1;
    send_one(&told, false);
    ck_assert_ptr_null(strstr(body(), "raise"));
    close_sink();
    open_sink("");
    attach_with(ATTACHED());
    sink->us.to = 1;
    send_one(&told, false);
    ck_assert_uint_gt(number(), 0);
    ck_assert_ptr_null(strstr(body(), "raise"));
    close_sink();
}

/* Documents of one size until one does not fit; the length of the body that was sent. */
static size_t fill(size_t len)
{
    static struct told told; /* its calls end with the sink */
    struct pending p = document;
    char json[200];

    snprintf(json, sizeof json, "%0*d", (int)len, 1);
    p.json = slice_str(json);
    struct sink_call *call = sink->ops->begin(sink);
    while (sink->ops->add(call, &p))
        ;
    sink->ops->send(call, on_answer, &told);
    return strlen(body());
}

TEST(a_numbered_batch_leaves_room_for_its_end)
{
    struct http_sink_options o = {.http = {.base_url = "http://127.0.0.1:3210"},
                                  .batch_mutation = "runtime:upsertBatch",
                                  .remove_mutation = "runtime:remove",
                                  .batch_documents = 2,
                                  .batch_bytes = 600};
    size_t longest = 0;

    kinds = kinds_new();
    struct fault fault;
    ck_assert_int_eq(kinds_finish(kinds, &fault), ERR_OK);
    o.kinds = kinds;
    ck_assert_int_eq(http_sink_open(&o, &sink, &fault), ERR_OK);
    attach_with(ATTACHED());
    size_t end = 0;
    for (size_t len = 1; len < 60; len++) {
        size_t whole = fill(len);
        end = strlen(strstr(body(), "],\"call\""));
        longest = whole > longest ? whole : longest;
    }
    ck_assert_uint_ge(longest - end + 220, 599); /* two bytes a step: a digit in each document */
    ck_assert_uint_le(longest - end + 220, 600);
    close_sink();
}

/* ---- sweeping -------------------------------------------------------------------------------- */

#define SWEPT(is_done)                                                                             \
    "{\"status\":\"success\",\"value\":{\"deleted\":7.0,\"is_done\":" is_done "}}"
#define DAY_MS 86400000LL

static void assert_swept_after(int64_t ms, const char *kind)
{
    unsigned before = fake_http.count;
    char wanted[300];

    wait_after(ms - 1);
    ck_assert_uint_eq(fake_http.count, before);
    wait_after(1);
    ck_assert_uint_eq(fake_http.count, before + 1);
    snprintf(wanted, sizeof wanted,
             "{\"path\":\"own/projections:sweep\",\"format\":\"json\",\"args\":{\"kind\":\"%s\","
             "\"before\":%lld}}",
             kind, (long long)(wall_us / 1000 - 30 * DAY_MS));
    ck_assert_str_eq(body(), wanted);
    ck_assert_str_eq(fake_http.calls[last()].path, "/api/mutation");
    wait_after(0);
    ck_assert_uint_eq(fake_http.count, before + 1); /* one at a time */
}

TEST(tombstones_are_swept_kind_by_kind_and_page_by_page)
{
    struct fault fault;

    sweep_days = 30;
    sweep_first_ms = 5000;
    open_sink("own/projections:upsertBatch");
    sink->ops->wait(sink, -1, 0);
    fake_http_answer(last(), 200, NOT_FOUND);
    wait_after(6000);
    ck_assert_uint_eq(fake_http.count, 1); /* functions 1 have none */
    close_sink();
    open_sink("own/projections:upsertBatch");
    sink->ops->wait(sink, -1, 0);
    fake_http_answer(last(), 200, ATTACHED());
    assert_swept_after(5000, "run_summary");
    fake_http_answer(last(), 200, SWEPT("false"));
    assert_swept_after(1000, "run_summary"); /* the next page in a second */
    fake_http_answer(last(), 503, "");
    ck_assert_int_eq(fake_log_lines[LOG_WARNING], 1);
    ck_assert_str_eq(fake_log_last, "convex.sweep_failed kind=run_summary why=\"HTTP 503\"");
    assert_swept_after(3600000, "run_summary"); /* what failed in an hour */
    for (size_t i = 1; i < kinds_count(kinds); i++) {
        fake_http_answer(last(), 200, SWEPT("true"));
        assert_swept_after(1000, kinds_at(kinds, i)->name);
    }
    fake_http_answer(last(), 200, SWEPT("true"));
    assert_swept_after(DAY_MS, "run_summary");
    int lines = fake_log_lines[LOG_WARNING];
    close_sink(); /* with one under way */
    ck_assert_int_eq(fake_log_lines[LOG_WARNING], lines);
    sweep_days = 0;
    open_sink("own/projections:upsertBatch");
    sink->ops->wait(sink, -1, 0);
    fake_http_answer(last(), 200, ATTACHED());
    wait_after(10000);
    ck_assert_uint_eq(fake_http.count, 1); /* 0 days: never */
    ck_assert_int_eq(sink->ops->reload(sink, &fault), ERR_OK);
    close_sink();
    sweep_first_ms = 0;
}
