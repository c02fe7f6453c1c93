/*
 * http_sink.c - Convex: what to ask it.
 *
 * The happy path: begin opens the JSON of one /api/mutation call, add appends a document to it
 * (its JSON goes in as it is, byte for byte, straight into the buffer that will be sent), send
 * closes it and gives it to http, and the answer comes back through wait: convex_answer says what
 * it means, the verdicts go to whoever sent.
 *
 * Two shapes: a batch of items to the batch mutation, or, without one, a call a document, with
 * exactly the body of the runtime's own HttpSink.
 *
 * What can go wrong: whatever http or Convex say is a verdict (convex_answer.def).  Three things
 * are answered from inside send, without asking: a document whose kind is no longer configured
 * (STOP: nothing is thrown away for a slip in the configuration), a body over Convex's limit
 * (REFUSED), and a call sent while the sink closes (UNKNOWN).  After a 401 the key file is read
 * again, so that a rotated key is in use at the next call.
 *
 * The admin key is held by http alone, wiped from every buffer here, and in no log or fault text.
 *
 * Delivery thread only, but for http_sink_open.
 */

#include "convex/admin_key.h"
#include "convex/convex_answer.h"
#include "convex/http_sink.h"
#include "ground/buf.h"
#include "ground/hex.h"
#include "ground/log.h"
#include "ground/time_text.h"
#include "json/json.h"
#include "projection/projection.h"

#ifndef SIDECAR_VERSION
#define SIDECAR_VERSION "0.0.0" /* built without the Makefile, which knows */
#endif

/* Convex's own limit (crates/common/src/knobs.rs, MAX_BACKEND_PUBLIC_API_REQUEST_SIZE). */
#define MAX_BODY_BYTES (16777216 + 2000)
#define MAX_DOCUMENTS  1024
#define MUTATION_PATH  "/api/mutation"
#define BATCH_END      "]}}"

struct http_sink {
    struct sink sink;
    /* fixed after open */
    struct http *http;
    const struct kinds *kinds;
    struct buf batch_opening; /* the body up to the first item; empty: one call a document */
    char *remove_mutation, *key_file;
    size_t batch_bytes;
    /* of the delivery thread */
    size_t usual_bytes; /* of the last body: the next one is likely as long, and grows once */
    bool has_key, closing;
    int64_t key_failed_us; /* log_limited's memory */
};

struct sink_call {
    struct http_sink *owner;
    struct buf body;
    size_t count;
    struct verdict fault; /* STOP: answered from inside send */
    bool has_fault;
    sink_answered *answered;
    void *arg;
};

struct probe {
    struct http_sink *owner;
    enum convex_call call;
    sink_probed *probed;
    void *arg;
};

static struct http_sink *sink_of(struct sink *s)
{
    return (struct http_sink *)s;
}

/* ---- the admin key --------------------------------------------------------------------------- */

/* The old key stays in use when the file is not good. */
static enum err read_key_file(struct http_sink *s, struct fault *fault)
{
    enum err e = admin_key_read(s->http, s->key_file, fault);

    s->has_key = s->has_key || e == ERR_OK;
    return e;
}

static enum err reload(struct sink *base, struct fault *fault)
{
    struct http_sink *s = sink_of(base);

    return s->key_file ? read_key_file(s, fault) : ERR_OK;
}

/* Convex does not know the key: perhaps it was replaced and the file knows the new one. */
static void reload_after_401(struct http_sink *s)
{
    struct fault fault = {0};

    if (s->closing || reload(&s->sink, &fault) == ERR_OK)
        return;
    if (log_limited(&s->key_failed_us, 60000))
        log_event(LOG_WARNING, "http_sink.key_unreadable", "why=\"%s %s\"", fault.path, fault.why);
}

/* ---- filling a call -------------------------------------------------------------------------- */

static struct sink_call *begin(struct sink *base)
{
    struct sink_call *c = base_alloc(sizeof *c);

    c->owner = sink_of(base);
    buf_reserve(&c->body, c->owner->usual_bytes);
    buf_slice(&c->body, buf_view(&c->owner->batch_opening));
    return c;
}

static void call_free(struct sink_call *c)
{
    buf_free(&c->body);
    free(c);
}

static void put_key(struct buf *b, const char *opening_and_key)
{
    buf_str(b, opening_and_key);
    buf_byte(b, ':');
}

static void put_projected_at(struct buf *b, const struct pending *p)
{
    char time[32];

    time_text_put(p->version.projected_at_us, time);
    put_key(b, ",\"projected_at\"");
    json_put_string(b, slice_str(time));
}

static void put_item(struct buf *b, const struct pending *p)
{
    char hash[65];

    put_key(b, "{\"kind\"");
    json_put_string(b, p->kind);
    put_key(b, ",\"document_id\"");
    json_put_string(b, p->id);
    put_key(b, ",\"seq\"");
    json_put_integer(b, p->version.seq);
    if (p->version.op == OUTBOX_REMOVE) {
        buf_str(b, ",\"op\":\"remove\"");
        put_projected_at(b, p);
    } else {
        hex_put(p->version.hash, 32, hash);
        put_key(b, ",\"content_hash\"");
        json_put_string(b, slice_str(hash));
        if (p->version.reset)
            buf_str(b, ",\"reset\":true");
        put_key(b, ",\"summary\"");
        buf_slice(b, p->json);
    }
    buf_byte(b, '}');
}

static bool add_to_batch(struct sink_call *c, const struct pending *p)
{
    const struct http_sink *s = c->owner;
    size_t before = c->body.len;

    if (c->count >= s->sink.max_documents)
        return false;
    if (c->count && before + p->json.len > s->batch_bytes) /* spares a large copy in vain */
        return false;
    if (c->count)
        buf_byte(&c->body, ',');
    put_item(&c->body, p);
    if (c->count && c->body.len + sizeof BATCH_END - 1 > s->batch_bytes) {
        c->body.len = before;
        return false;
    }
    c->count++;
    return true;
}

/* The whole body for one document: what the runtime's HttpSink sends, and no field more. */
static void put_single(struct buf *b, const char *path, const struct pending *p)
{
    put_key(b, "{\"path\"");
    json_put_string(b, slice_str(path));
    buf_str(b, ",\"format\":\"convex_encoded_json\",\"args\":[{");
    if (p->version.op == OUTBOX_REMOVE) {
        put_key(b, "\"kind\"");
        json_put_string(b, p->kind);
        buf_byte(b, ',');
    }
    put_key(b, "\"document_id\"");
    json_put_string(b, p->id);
    if (p->version.op == OUTBOX_REMOVE) {
        put_projected_at(b, p);
        put_key(b, ",\"seq\"");
        json_put_integer(b, p->version.seq);
    } else {
        put_key(b, ",\"summary\"");
        buf_slice(b, p->json);
        if (p->version.reset)
            buf_str(b, ",\"reset\":true");
    }
    buf_str(b, "}]}");
}

static bool add_single(struct sink_call *c, const struct pending *p)
{
    const struct http_sink *s = c->owner;
    const struct kind *kind = kinds_find(s->kinds, p->kind);

    if (c->count)
        return false;
    c->count = 1;
    if (p->version.op == OUTBOX_REMOVE) {
        put_single(&c->body, s->remove_mutation, p);
    } else if (kind && kind->mutation && kind->mutation[0]) {
        put_single(&c->body, kind->mutation, p);
    } else {
        c->has_fault = true;
        c->fault.kind = VERDICT_STOP;
        snprintf(c->fault.why, sizeof c->fault.why, "kind %.*s is not configured: no mutation path",
                 p->kind.len < 100 ? (int)p->kind.len : 100, (const char *)p->kind.data);
    }
    return true;
}

static bool add(struct sink_call *c, const struct pending *p)
{
    PRE(p->version.op == OUTBOX_REMOVE || p->json.len > 0);
    return c->owner->batch_opening.len ? add_to_batch(c, p) : add_single(c, p);
}

/* No functions known so far understand a control (docs/adr/0011). */
static bool add_control(struct sink_call *c, struct slice kind)
{
    (void)c;
    (void)kind;
    return false;
}

/* ---- sending and answers --------------------------------------------------------------------- */

static void answer_here(struct sink_call *c, enum verdict_kind kind, const char *why)
{
    struct sink_answer answer = {.overall.kind = kind, .count = c->count};

    snprintf(answer.overall.why, sizeof answer.overall.why, "%s", why);
    c->answered(c->arg, &answer);
    call_free(c);
}

static void on_answer(void *arg, const struct http_answer *http)
{
    struct sink_call *c = arg;
    bool is_batch = c->owner->batch_opening.len > 0;
    struct verdict *each = base_alloc(c->count * sizeof *each);
    struct sink_answer answer = {.count = c->count, .body = http->body, .took_us = http->took_us};

    if (http->end == HTTP_ANSWERED && http->status == 401)
        reload_after_401(c->owner);
    if (convex_answer_judge(http, is_batch ? CONVEX_BATCH : CONVEX_SINGLE, &answer.overall, each,
                            c->count))
        answer.each = each;
    c->answered(c->arg, &answer);
    free(each);
    call_free(c);
}

static void send_call(struct sink_call *c, sink_answered *answered, void *arg)
{
    struct http_sink *s = c->owner;
    struct slice body;

    PRE(c->count > 0);
    c->answered = answered;
    c->arg = arg;
    if (s->batch_opening.len)
        buf_str(&c->body, BATCH_END);
    if (s->closing) {
        answer_here(c, VERDICT_UNKNOWN, "the sink is closing");
    } else if (c->has_fault) {
        answer_here(c, c->fault.kind, c->fault.why);
    } else if (c->body.len > MAX_BODY_BYTES) {
        answer_here(c, VERDICT_REFUSED, "larger than the 16 MiB that Convex takes in one call");
    } else {
        body = buf_view(&c->body);
        s->usual_bytes = body.len;
        c->body = (struct buf){0}; /* http has the bytes now */
        http_post_json(s->http, MUTATION_PATH, body, on_answer, c);
    }
}

static void on_probe_answer(void *arg, const struct http_answer *http)
{
    struct probe *p = arg;
    struct verdict verdict;

    if (http->end == HTTP_ANSWERED && http->status == 401)
        reload_after_401(p->owner);
    (void)convex_answer_judge(http, p->call, &verdict, NULL, 0);
    p->probed(p->arg, &verdict);
    free(p);
}

static void ask(struct sink *base, enum sink_question question, struct slice kind, sink_told *told,
                void *arg)
{
    struct verdict none = {.kind = VERDICT_NONE, .why = "no control is known"};

    (void)base;
    (void)question;
    (void)kind;
    told(arg, &none);
}

/* Without a key (the mutations are public then) check_admin_key would say no for ever. */
static void probe(struct sink *base, sink_probed *probed, void *arg)
{
    struct http_sink *s = sink_of(base);
    struct verdict verdict = {.kind = VERDICT_UNKNOWN, .why = "the sink is closing"};
    struct probe *p;

    if (s->closing) {
        probed(arg, &verdict);
        return;
    }
    p = base_alloc(sizeof *p);
    *p = (struct probe){s, s->has_key ? CONVEX_PROBE_KEY : CONVEX_PROBE_LIFE, probed, arg};
    http_get(s->http, s->has_key ? "/api/check_admin_key" : "/version", on_probe_answer, p);
}

static void wait_for(struct sink *base, int wake_fd, int timeout_ms)
{
    http_wait(sink_of(base)->http, wake_fd, timeout_ms);
}

/* ---- open and close -------------------------------------------------------------------------- */

static void close_sink(struct sink *base)
{
    struct http_sink *s = sink_of(base);

    s->closing = true;
    http_close(s->http);
    buf_free(&s->batch_opening);
    free(s->remove_mutation);
    free(s->key_file);
    free(s);
}

static const struct sink_ops ops = {
    .begin = begin,
    .add = add,
    .add_control = add_control,
    .send = send_call,
    .ask = ask,
    .probe = probe,
    .reload = reload,
    .wait = wait_for,
    .close = close_sink,
};

static bool is_given(const char *text)
{
    return text && text[0];
}

static enum err open_http(struct http_sink *s, const struct http_options *given,
                          struct fault *fault)
{
    struct http_options options = *given;

    options.extra_header = "Convex-Client: convex-sidecar-" SIDECAR_VERSION;
    if (!is_given(options.user_agent))
        options.user_agent = "convex-sidecar/" SIDECAR_VERSION;
    return http_open(&options, &s->http, fault);
}

/* The key given outright counts before the one in the file. */
static enum err first_key(struct http_sink *s, const struct http_sink_options *options,
                          struct fault *fault)
{
    if (is_given(options->admin_key)) {
        enum err e = admin_key_use(s->http, options->admin_key, fault);
        s->has_key = e == ERR_OK;
        return e;
    }
    if (!is_given(options->admin_key_file))
        return ERR_OK;
    s->key_file = base_strndup(options->admin_key_file, strlen(options->admin_key_file));
    return read_key_file(s, fault);
}

static void put_batch_opening(struct buf *b, const char *batch_mutation)
{
    put_key(b, "{\"path\"");
    json_put_string(b, slice_str(batch_mutation));
    buf_str(b, ",\"format\":\"json\",\"args\":{\"items\":[");
}

enum err http_sink_open(const struct http_sink_options *options, struct sink **sink,
                        struct fault *fault)
{
    struct http_sink *s;
    bool is_batch = is_given(options->batch_mutation);

    *fault = (struct fault){0};
    if (!is_given(options->http.base_url))
        return fault_say(fault, "base_url", "is missing");
    if (!is_given(options->remove_mutation))
        return fault_say(fault, "remove_mutation", "is missing");
    if (is_batch && (options->batch_documents < 1 || options->batch_documents > MAX_DOCUMENTS))
        return fault_say(fault, "batch_documents", "must be 1 to 1024");
    if (is_batch && (options->batch_bytes < 1 || options->batch_bytes > MAX_BODY_BYTES))
        return fault_say(fault, "batch_bytes", "must be 1 to 16779216");
    s = base_alloc(sizeof *s);
    s->sink = (struct sink){&ops, is_batch ? options->batch_documents : 1};
    s->kinds = options->kinds;
    s->batch_bytes = options->batch_bytes;
    s->remove_mutation = base_strndup(options->remove_mutation, strlen(options->remove_mutation));
    if (is_batch)
        put_batch_opening(&s->batch_opening, options->batch_mutation);
    if (open_http(s, &options->http, fault) != ERR_OK || first_key(s, options, fault) != ERR_OK) {
        close_sink(&s->sink);
        return ERR_INVALID;
    }
    *sink = &s->sink;
    return ERR_OK;
}
