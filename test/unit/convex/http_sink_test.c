/* http_sink_test.c - the bodies we send, the key we send them with, and who is told what. */

#include "test.h"

#include "convex/fake_http.c"
#include "ground/fake_log.c"
#include "convex/http_sink.h"
#include "projection/projection.h"

#include <sys/stat.h>
#include <unistd.h>

/* ---- helpers --------------------------------------------------------------------------------- */

static struct kinds *kinds;

static struct http_sink_options batch_options(void)
{
    struct fault fault;

    if (kinds == NULL) {
        kinds = kinds_new();
        ck_assert_int_eq(kinds_finish(kinds, &fault), ERR_OK);
    }
    return (struct http_sink_options){
        .http = {.base_url = "http://127.0.0.1:3210"},
        .kinds = kinds,
        .admin_key = "name|0123",
        .batch_mutation = "runtime:upsertBatch",
        .remove_mutation = "runtime:remove",
        .batch_documents = 3,
        .batch_bytes = 1000,
    };
}

static struct http_sink_options single_options(void)
{
    struct http_sink_options o = batch_options();

    o.batch_mutation = "";
    return o;
}

static struct sink *open_with(const struct http_sink_options *options)
{
    struct fault fault = {0};
    struct sink *sink = NULL;

    ck_assert_msg(http_sink_open(options, &sink, &fault) == ERR_OK, "%s %s", fault.path, fault.why);
    return sink;
}

static void close_all(struct sink *sink)
{
    sink->ops->close(sink);
    ck_assert_uint_eq(fake_http.opened, fake_http.closed);
    fake_http_reset();
    kinds_free(kinds);
    kinds = NULL;
}

static struct pending upsert(const char *id, int64_t seq, const char *json)
{
    struct pending p = {.id = slice_str(id),
                        .kind = slice_str("run_summary"),
                        .json = slice_str(json),
                        .version = {.op = OUTBOX_UPSERT, .seq = seq}};

    memset(p.version.hash, 0xab, sizeof p.version.hash);
    return p;
}

static struct pending removal(const char *id, int64_t seq)
{
    struct pending p = upsert(id, seq, "");

    p.version.op = OUTBOX_REMOVE;
    p.version.projected_at_us = 1771531200000001; /* 2026-02-19T20:00:00.000001Z */
    return p;
}

#define AB8 "abababababababab"
#define AB  AB8 AB8 AB8 AB8

struct told {
    unsigned count, each_count;
    struct verdict overall, each[8];
    bool has_each;
    char body[200];
    int64_t took_us;
};

static void on_answer(void *arg, const struct sink_answer *a)
{
    struct told *t = arg;

    t->count++;
    t->overall = a->overall;
    t->each_count = (unsigned)a->count;
    t->has_each = a->each != NULL;
    for (size_t i = 0; a->each && i < a->count; i++)
        t->each[i] = a->each[i];
    snprintf(t->body, sizeof t->body, "%.*s", SLICE_ARG(a->body));
    t->took_us = a->took_us;
}

static struct told *send_all(struct sink *sink, const struct pending *p, size_t count)
{
    struct told *told = base_alloc(sizeof *told);
    struct sink_call *call = sink->ops->begin(sink);

    for (size_t i = 0; i < count; i++)
        ck_assert(sink->ops->add(call, &p[i]));
    sink->ops->send(call, on_answer, told);
    return told;
}

/* ---- bodies ---------------------------------------------------------------------------------- */

TEST(a_batch_is_these_bytes)
{
    struct http_sink_options o = batch_options();
    struct sink *sink = open_with(&o);
    struct pending p[3] = {upsert("runtime/run_summary:a\"b", 5, "{\"x\":1}"),
                           upsert("runtime/run_summary:c", 6, "{\"y\":\"\xc3\xa9\"}"),
                           removal("runtime/run_summary:d", 7)};

    p[1].version.reset = true;
    ck_assert_uint_eq(sink->max_documents, 3);
    struct told *told = send_all(sink, p, 3);
    ck_assert_uint_eq(fake_http.count, 1);
    ck_assert_str_eq(fake_http.calls[0].path, "/api/mutation");
    ck_assert_str_eq(
        fake_http.calls[0].body,
        "{\"path\":\"runtime:upsertBatch\",\"format\":\"json\",\"args\":{\"items\":["
        "{\"kind\":\"run_summary\",\"document_id\":\"runtime/run_summary:a\\\"b\",\"seq\":5,"
        "\"content_hash\":\"" AB "\",\"summary\":{\"x\":1}},"
        "{\"kind\":\"run_summary\",\"document_id\":\"runtime/run_summary:c\",\"seq\":6,"
        "\"content_hash\":\"" AB "\",\"reset\":true,\"summary\":{\"y\":\"\xc3\xa9\"}},"
        "{\"kind\":\"run_summary\",\"document_id\":\"runtime/run_summary:d\",\"seq\":7,"
        "\"op\":\"remove\",\"projected_at\":\"2026-02-19T20:00:00.000001Z\"}]}}");
    fake_http_answer(0, 200,
                     "{\"status\":\"success\",\"value\":{\"results\":[{\"outcome\":\"inserted\"},"
                     "{\"outcome\":\"rejected\",\"error\":\"no\"},{\"outcome\":\"removed\"}]}}");
    ck_assert_uint_eq(told->count, 1);
    ck_assert(told->has_each && told->each_count == 3);
    ck_assert_int_eq(told->overall.kind, VERDICT_DONE);
    ck_assert_int_eq(told->each[0].kind, VERDICT_DONE);
    ck_assert_int_eq(told->each[1].kind, VERDICT_REFUSED);
    ck_assert_str_eq(told->each[1].why, "no");
    ck_assert_int_eq(told->each[2].kind, VERDICT_DONE);
    ck_assert_int_eq(told->took_us, 1234);
    ck_assert(strncmp(told->body, "{\"status\"", 9) == 0);
    free(told);
    close_all(sink);
}

TEST(one_document_a_call_is_what_the_runtimes_http_sink_sends)
{
    struct http_sink_options o = single_options();
    struct sink *sink = open_with(&o);
    struct pending p = upsert("runtime/run_summary:r1", 5, "{\"x\":1}");
    struct told *told;

    ck_assert_uint_eq(sink->max_documents, 1);
    told = send_all(sink, &p, 1);
    ck_assert_str_eq(fake_http.calls[0].path, "/api/mutation");
    ck_assert_str_eq(
        fake_http.calls[0].body,
        "{\"path\":\"runtime:upsertRunSummary\",\"format\":\"convex_encoded_json\","
        "\"args\":[{\"document_id\":\"runtime/run_summary:r1\",\"summary\":{\"x\":1}}]}");
    fake_http_answer(0, 200, "{\"status\":\"success\",\"value\":null}");
    ck_assert_uint_eq(told->count, 1);
    ck_assert_int_eq(told->overall.kind, VERDICT_DONE);
    ck_assert(!told->has_each);
    free(told);

    p.version.reset = true;
    p.kind = slice_str("codex_worker_summary");
    told = send_all(sink, &p, 1);
    ck_assert_str_eq(fake_http.calls[1].body,
                     "{\"path\":\"runtime:upsertCodexWorkerSummary\",\"format\":\"convex_encoded_"
                     "json\",\"args\":[{\"document_id\":\"runtime/run_summary:r1\","
                     "\"summary\":{\"x\":1},\"reset\":true}]}");
    fake_http_answer(1, 503, "{\"code\":\"CommitterFullError\",\"message\":\"m\"}");
    ck_assert_int_eq(told->overall.kind, VERDICT_AGAIN);
    free(told);

    p = removal("runtime/run_summary:r1", 8);
    told = send_all(sink, &p, 1);
    ck_assert_str_eq(fake_http.calls[2].body,
                     "{\"path\":\"runtime:remove\",\"format\":\"convex_encoded_json\",\"args\":[{"
                     "\"kind\":\"run_summary\",\"document_id\":\"runtime/run_summary:r1\","
                     "\"projected_at\":\"2026-02-19T20:00:00.000001Z\",\"seq\":8}]}");
    fake_http_answer(2, 0, "");
    ck_assert_int_eq(told->overall.kind, VERDICT_UNKNOWN);
    free(told);
    close_all(sink);
}

TEST(a_batch_ends_at_its_count)
{
    struct http_sink_options o = batch_options();
    struct sink *sink = open_with(&o);
    struct sink_call *call = sink->ops->begin(sink);
    struct pending p = upsert("d", 1, "{}");
    struct told told = {0};

    for (int i = 0; i < 3; i++)
        ck_assert(sink->ops->add(call, &p));
    ck_assert(!sink->ops->add(call, &p));
    sink->ops->send(call, on_answer, &told);
    close_all(sink);
    ck_assert_uint_eq(told.count, 1);
}

/* The body of two documents, the second with a summary of ${len} bytes; NULL when it did not fit.
 */
static char *body_of_two(struct sink *sink, size_t len, struct told *told)
{
    struct pending p = upsert("d", 1, "{}");
    struct sink_call *call = sink->ops->begin(sink);
    char json[2000];
    bool fits;

    snprintf(json, sizeof json, "\"%0*d\"", (int)len - 2, 0);
    ck_assert(sink->ops->add(call, &p));
    p.json = slice_str(json);
    fits = sink->ops->add(call, &p);
    sink->ops->send(call, on_answer, told);
    char *body = fake_http.calls[fake_http.count - 1].body;
    ck_assert_ptr_nonnull(strstr(body, ",\"summary\":{}}")); /* the first is whole either way */
    ck_assert_str_eq(body + strlen(body) - 4, "}]}}");
    ck_assert_int_eq(strstr(strstr(body, "document_id") + 1, "document_id") != NULL, fits);
    return fits ? body : NULL;
}

TEST(a_batch_ends_at_its_bytes_and_not_a_byte_before)
{
    struct http_sink_options o = batch_options();
    struct sink *sink = open_with(&o);
    struct told told = {0};
    size_t overhead = strlen(body_of_two(sink, 100, &told)) - 100;

    ck_assert_uint_eq(strlen(body_of_two(sink, 1000 - overhead, &told)), 1000);
    ck_assert_ptr_null(body_of_two(sink, 1001 - overhead, &told));
    ck_assert_ptr_null(body_of_two(sink, 1500, &told));
    close_all(sink);
    ck_assert_uint_eq(told.count, 4);
}

TEST(the_first_document_always_fits)
{
    struct http_sink_options o = batch_options();
    struct sink *sink = open_with(&o);
    struct sink_call *call = sink->ops->begin(sink);
    struct told told = {0};
    char json[2000];

    snprintf(json, sizeof json, "\"%01800d\"", 0);
    struct pending p = upsert("d", 1, json);
    ck_assert(sink->ops->add(call, &p));
    ck_assert(!sink->ops->add(call, &p));
    sink->ops->send(call, on_answer, &told);
    close_all(sink);
    ck_assert_uint_eq(told.count, 1);
}

/* ---- answered without asking ----------------------------------------------------------------- */

TEST(a_kind_that_is_not_configured_stops_and_is_named)
{
    struct http_sink_options o = single_options();
    struct sink *sink = open_with(&o);
    struct pending p = upsert("runtime/lost:1", 1, "{}");
    struct told *told;

    p.kind = slice_str("lost_kind");
    told = send_all(sink, &p, 1);
    ck_assert_uint_eq(fake_http.count, 0);
    ck_assert_uint_eq(told->count, 1);
    ck_assert_int_eq(told->overall.kind, VERDICT_REFUSED);
    ck_assert_str_eq(told->overall.why, "kind lost_kind is not configured: no mutation path");
    free(told);
    p.version.op = OUTBOX_REMOVE; /* needs no mutation of its kind */
    told = send_all(sink, &p, 1);
    ck_assert_uint_eq(fake_http.count, 1);
    close_all(sink);
    free(told);
}

TEST(what_is_over_convexs_limit_is_refused_unsent)
{
    struct http_sink_options o = single_options();
    struct sink *sink = open_with(&o);
    size_t len = 16777216 + 2000;
    char *json = base_alloc(len + 1);

    memset(json, '1', len);
    struct pending p = upsert("d", 1, json);
    struct told *told = send_all(sink, &p, 1);
    ck_assert_uint_eq(fake_http.count, 0);
    ck_assert_int_eq(told->overall.kind, VERDICT_REFUSED);
    free(told);
    free(json);
    close_all(sink);
}

struct late {
    struct sink *sink;
    struct told told, again;
};

/* Somebody who sends again from inside the answer, while the sink closes. */
static void send_again(void *arg, const struct sink_answer *a)
{
    struct late *late = arg;
    struct pending p = upsert("d", 1, "{}");
    struct sink_call *call = late->sink->ops->begin(late->sink);

    on_answer(&late->told, a);
    ck_assert(late->sink->ops->add(call, &p));
    late->sink->ops->send(call, on_answer, &late->again);
}

TEST(close_answers_everything_once)
{
    struct http_sink_options o = batch_options();
    struct late late = {.sink = open_with(&o)};
    struct pending p = upsert("d", 1, "{}");
    struct sink_call *call = late.sink->ops->begin(late.sink);

    ck_assert(late.sink->ops->add(call, &p));
    late.sink->ops->send(call, send_again, &late);
    close_all(late.sink);
    ck_assert_uint_eq(late.told.count, 1);
    ck_assert_int_eq(late.told.overall.kind, VERDICT_UNKNOWN);
    ck_assert_uint_eq(late.again.count, 1);
    ck_assert_int_eq(late.again.overall.kind, VERDICT_UNKNOWN);
}

static void on_told(void *arg, const struct verdict *v)
{
    *(enum verdict_kind *)arg = v->kind;
}

TEST(no_control_is_known)
{
    struct http_sink_options o = batch_options();
    struct sink *sink = open_with(&o);
    struct sink_call *call = sink->ops->begin(sink);
    struct pending p = upsert("d", 1, "{}");
    enum verdict_kind kind = VERDICT_DONE;

    sink->ops->ask(sink, SINK_CONTROL, slice_str("run_summary"), on_told, &kind);
    ck_assert_int_eq(kind, VERDICT_NONE);
    ck_assert(!sink->ops->add_control(call, slice_str("run_summary")));
    ck_assert(sink->ops->add(call, &p));
    struct told told = {0};
    sink->ops->send(call, on_answer, &told);
    close_all(sink);
}

/* ---- the key --------------------------------------------------------------------------------- */

static char key_dir[60], key_path[100];

static void write_key(const char *text, size_t len, mode_t mode)
{
    FILE *f;

    if (key_path[0] == 0) {
        strcpy(key_dir, "/tmp/http_sink_test.XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(key_dir));
        snprintf(key_path, sizeof key_path, "%s/key", key_dir);
    }
    unlink(key_path);
    f = fopen(key_path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(text, 1, len, f), len);
    ck_assert_int_eq(fclose(f), 0);
    ck_assert_int_eq(chmod(key_path, mode), 0);
}

static void forget_keys(void)
{
    unlink(key_path);
    rmdir(key_dir);
    key_path[0] = 0;
}

static struct http_sink_options file_options(void)
{
    struct http_sink_options o = batch_options();

    o.admin_key = NULL;
    o.admin_key_file = key_path;
    return o;
}

TEST(the_key_is_read_from_its_file_and_read_again)
{
    struct fault fault = {0};

    write_key("name|01ab\n", 10, 0600);
    struct http_sink_options o = file_options();
    struct sink *sink = open_with(&o);
    ck_assert_str_eq(fake_http.authorization, "Convex name|01ab");
    write_key("name|02cd\r\n", 11, 0400);
    ck_assert_int_eq(sink->ops->reload(sink, &fault), ERR_OK);
    ck_assert_str_eq(fake_http.authorization, "Convex name|02cd");
    write_key("", 0, 0600);
    ck_assert_int_eq(sink->ops->reload(sink, &fault), ERR_INVALID);
    ck_assert_str_eq(fault.why, "holds no key");
    ck_assert_str_eq(fake_http.authorization, "Convex name|02cd"); /* the good one stays */
    close_all(sink);
    forget_keys();
}

TEST(after_a_401_the_next_call_has_the_new_key)
{
    write_key("old", 3, 0600);
    struct http_sink_options o = file_options();
    struct sink *sink = open_with(&o);
    struct pending p = upsert("d", 1, "{}");
    struct told *told = send_all(sink, &p, 1);

    write_key("new", 3, 0600);
    fake_http_answer(0, 401, "{\"code\":\"BadAdminKey\",\"message\":\"m\"}");
    ck_assert_int_eq(told->overall.kind, VERDICT_REFUSED);
    ck_assert_str_eq(told->overall.why, "HTTP 401 BadAdminKey: m");
    ck_assert_str_eq(fake_http.authorization, "Convex new");
    free(told);
    write_key("newer", 5, 0600);
    told = send_all(sink, &p, 1);
    fake_http_answer(1, 401, "");
    free(told);
    ck_assert_str_eq(fake_http.authorization, "Convex newer");
    close_all(sink);
    forget_keys();
}

TEST(a_key_that_cannot_be_read_again_is_warned_about_once_and_stays_in_use)
{
    struct pending p = upsert("d", 1, "{}");

    write_key("old", 3, 0600);
    struct http_sink_options o = file_options();
    struct sink *sink = open_with(&o);
    unlink(key_path);
    for (unsigned i = 0; i < 2; i++) {
        struct told *told = send_all(sink, &p, 1);
        fake_http_answer(i, 401, "");
        ck_assert_int_eq(fake_log_lines[LOG_WARNING], 1);
        ck_assert_str_eq(fake_log_last,
                         "http_sink.key_unreadable why=\"admin_key_file cannot be opened: No such "
                         "file or directory\"");
        ck_assert_str_eq(fake_http.authorization, "Convex old");
        free(told);
    }
    close_all(sink);
    o = batch_options(); /* a key given outright has no file */
    sink = open_with(&o);
    struct told *told = send_all(sink, &p, 1);
    fake_http_answer(0, 401, "");
    ck_assert_int_eq(fake_log_lines[LOG_WARNING], 1);
    free(told);
    close_all(sink);
    forget_keys();
}

/* Convex does not know the key: of no other answer is that said, whatever was asked. */
TEST(the_key_is_read_again_after_a_401_alone)
{
    static const long others[] = {0, 400, 403, 404, 503};
    struct pending p = upsert("d", 1, "{}");

    write_key("old", 3, 0600);
    struct http_sink_options o = file_options();
    struct sink *sink = open_with(&o);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct told *told = send_all(sink, &p, 1);
        fake_http_answer(fake_http.count - 1, others[i], "");
        free(told);
        struct fault fault;
        ck_assert_int_eq(sink->ops->reload(sink, &fault), ERR_OK); /* reads it, and asks attach */
        unsigned before = fake_http.authorizations;
        sink->ops->wait(sink, -1, 0);
        fake_http_answer(fake_http.count - 1, others[i], "");
        ck_assert_uint_eq(fake_http.authorizations, before);
        ck_assert_uint_eq(before, 2 + i);
    }
    write_key("new", 3, 0600);
    ck_assert_str_eq(fake_http.authorization, "Convex old");
    sink->ops->ask(sink, SINK_ATTACH, slice_str(""), on_told, &(enum verdict_kind){VERDICT_NONE});
    fake_http_answer(fake_http.count - 1, 401, "");
    ck_assert_str_eq(fake_http.authorization, "Convex new");
    close_all(sink);
    forget_keys();
}

TEST(a_bad_key_file_is_refused_without_showing_the_key)
{
    static const struct {
        const char *text;
        mode_t mode;
        const char *why;
    } bad[] = {
        {"", 0600, "holds no key"},
        {"\n", 0600, "holds no key"},
        {"SECRET", 0640, "can be reached by group or others: chmod 600"},
        {"SECRET", 0604, "can be reached by group or others: chmod 600"},
        {"SEC RET", 0600, "holds a blank, a control character or one beyond ASCII"},
        {"SECRET\nX: y", 0600, "holds a blank, a control character or one beyond ASCII"},
        {"SECRET\n\n", 0600, "holds a blank, a control character or one beyond ASCII"},
        {"SECRET\xc3\xa9", 0600, "holds a blank, a control character or one beyond ASCII"},
    };
    char long_key[4200];
    struct fault fault;
    struct sink *sink = NULL;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_key(bad[i].text, strlen(bad[i].text), bad[i].mode);
        struct http_sink_options o = file_options();
        ck_assert_int_eq(http_sink_open(&o, &sink, &fault), ERR_INVALID);
        ck_assert_str_eq(fault.path, "admin_key_file");
        ck_assert_str_eq(fault.why, bad[i].why);
    }
    memset(long_key, 'k', sizeof long_key);
    struct http_sink_options o = file_options();
    write_key(long_key, 4097, 0600);
    ck_assert_int_eq(http_sink_open(&o, &sink, &fault), ERR_INVALID);
    ck_assert_str_eq(fault.why, "is longer than 4096 bytes");
    write_key(long_key, sizeof long_key, 0600);
    ck_assert_int_eq(http_sink_open(&o, &sink, &fault), ERR_INVALID);
    long_key[4096] = '\n';
    write_key(long_key, 4097, 0600);
    close_all(open_with(&o));
    if (geteuid() == 0) { /* only root can give a file away */
        ck_assert_int_eq(chown(key_path, 12345, 12345), 0);
        ck_assert_int_eq(http_sink_open(&o, &sink, &fault), ERR_INVALID);
        ck_assert_str_eq(fault.why, "belongs to neither this user nor root");
    }
    o = file_options();
    unlink(key_path);
    ck_assert_int_eq(http_sink_open(&o, &sink, &fault), ERR_INVALID);
    ck_assert_str_eq(fault.why, "cannot be opened: No such file or directory");
    ck_assert_int_eq(mkfifo(key_path, 0600), 0);
    ck_assert_int_eq(http_sink_open(&o, &sink, &fault), ERR_INVALID);
    ck_assert_str_eq(fault.why, "is no regular file");
    forget_keys();
    ck_assert_uint_eq(fake_http.opened, fake_http.closed);
    kinds_free(kinds);
    kinds = NULL;
}

TEST(a_key_given_outright_counts_before_the_file)
{
    struct fault fault = {0};
    struct http_sink_options o = batch_options();

    o.admin_key_file = "/nonexistent";
    struct sink *sink = open_with(&o);
    ck_assert_str_eq(fake_http.authorization, "Convex name|0123");
    ck_assert_int_eq(sink->ops->reload(sink, &fault), ERR_OK);
    ck_assert_uint_eq(fake_http.authorizations, 1);
    close_all(sink);
    o = batch_options();
    o.admin_key = "SECRET SECRET";
    ck_assert_int_eq(http_sink_open(&o, &sink, &fault), ERR_INVALID);
    ck_assert_str_eq(fault.path, "admin_key");
    ck_assert_ptr_null(strstr(fault.why, "SECRET"));
    kinds_free(kinds);
    kinds = NULL;
}

/* ---- options --------------------------------------------------------------------------------- */

TEST(options_are_checked_and_named)
{
    struct http_sink_options o;
    struct fault fault;
    struct sink *sink = NULL;

#define REFUSES(field, value, option)                                                              \
    o = batch_options();                                                                           \
    o.field = value;                                                                               \
    ck_assert_int_eq(http_sink_open(&o, &sink, &fault), ERR_INVALID);                              \
    ck_assert_str_eq(fault.path, option);                                                          \
    ck_assert(fault.why[0])
    REFUSES(http.base_url, NULL, "base_url");
    REFUSES(http.base_url, "", "base_url");
    REFUSES(http.base_url, "ftp://x", "base_url");
    REFUSES(remove_mutation, "", "remove_mutation");
    REFUSES(batch_documents, 0, "batch_documents");
    REFUSES(batch_documents, 1025, "batch_documents");
    REFUSES(batch_bytes, 0, "batch_bytes");
    REFUSES(batch_bytes, 17 << 20, "batch_bytes");
#undef REFUSES
#define TAKES(field, value)                                                                        \
    o = batch_options();                                                                           \
    o.field = value;                                                                               \
    close_all(open_with(&o))
    TAKES(batch_documents, 1);
    TAKES(batch_documents, 1024);
    TAKES(batch_bytes, 1);
    TAKES(batch_bytes, 16777216 + 2000);
#undef TAKES
    o = batch_options();
    o.batch_bytes = 16777216 + 2001;
    ck_assert_int_eq(http_sink_open(&o, &sink, &fault), ERR_INVALID);
    o = single_options(); /* there they say nothing */
    o.batch_documents = o.batch_bytes = 0;
    close_all(open_with(&o));
    o = batch_options();
    sink = open_with(&o);
    ck_assert_ptr_eq(strstr(fake_http.extra_header, "Convex-Client: convex-sidecar-"),
                     fake_http.extra_header);
    ck_assert_ptr_eq(strstr(fake_http.user_agent, "convex-sidecar/"), fake_http.user_agent);
    sink->ops->wait(sink, -1, 0);
    ck_assert_uint_eq(fake_http.waits, 1);
    close_all(sink);
}

static int warnings_of(bool is_clear, const char *key)
{
    struct http_sink_options options = batch_options();
    int before = fake_log_lines[LOG_WARNING];

    options.admin_key = key;
    fake_http.is_in_the_clear = is_clear;
    close_all(open_with(&options));
    return fake_log_lines[LOG_WARNING] - before;
}

TEST(a_key_that_others_on_the_way_can_read_is_warned_about)
{
    ck_assert_int_eq(warnings_of(true, "name|0123"), 1);
    ck_assert_int_eq(warnings_of(false, "name|0123"), 0);
    ck_assert_int_eq(warnings_of(true, NULL), 0);
}
