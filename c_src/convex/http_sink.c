/*
 * http_sink.c - Convex: what to ask it.
 *
 * The happy path: begin opens the JSON of one /api/mutation call, add appends a document to it
 * (its JSON goes in as it is, byte for byte, straight into the buffer that will be sent), send
 * closes it and gives it to http, and the answer comes back through wait: convex_answer says what
 * it means, the verdicts go to the sender.
 *
 * Two shapes: a batch of items to the batch mutation, or, without one, a call a document, with
 * exactly the body of the runtime's own HttpSink.
 *
 * http_calls.c sends them, with a number where the functions take one, and asks which functions
 * there are.
 *
 * What can go wrong: whatever http or Convex say is a verdict (convex_answer.def).  Three things
 * are answered from inside send, without a call: a document whose kind is no longer configured
 * (REFUSED, as its kind will be), a body over Convex's limit (REFUSED), and a call sent while the
 * sink closes (UNKNOWN).  After a 401 the key file is read again, so that a rotated key is in use
 * at the next call.
 *
 * The admin key is held by http alone, wiped from every buffer here, and in no log or fault text.
 *
 * Delivery thread only, but for http_sink_open.
 */

#include "convex/admin_key.h"
#include "convex/bodies.h"
#include "convex/http_sink_inside.h"
#include "ground/clock.h"
#include "ground/hex.h"
#include "ground/log.h"
#include "projection/projection.h"

#include <sys/random.h>

#ifndef SIDECAR_VERSION
#define SIDECAR_VERSION "0.0.0" /* built without the Makefile, which defines it */
#endif

#define MAX_BATCH_BYTES (16777216 + 2000) /* Convex takes no more */
#define MAX_DOCUMENTS   1024

static struct http_sink *sink_of(struct sink *s)
{
    return (struct http_sink *)s;
}

/* ---- the admin key --------------------------------------------------------------------------- */

/* The old key stays in use if the file is invalid. */
static enum err read_key_file(struct http_sink *s, struct fault *fault)
{
    return admin_key_read(s->http, s->key_file, fault);
}

static enum err reload(struct sink *base, struct fault *fault)
{
    struct http_sink *s = sink_of(base);

    s->attach.is_due = true;
    return s->key_file ? read_key_file(s, fault) : ERR_OK;
}

/* Convex refused the key: perhaps it was rotated, and the file has the new one. */
void http_sink_reload_after_401(struct http_sink *s)
{
    struct fault fault = {0};

    if (s->closing || s->key_file == NULL || read_key_file(s, &fault) == ERR_OK)
        return;
    if (log_limited(&s->key_failed_us, 60000))
        log_event(LOG_WARNING, "http_sink.key_unreadable", "why=\"%s %s\"", fault.path, fault.why);
}

/* ---- filling a call -------------------------------------------------------------------------- */

struct sink_call *http_sink_begin(struct sink *base)
{
    struct sink_call *c = base_alloc(sizeof *c);

    c->owner = sink_of(base);
    c->path = c->owner->batch_mutation;
    buf_reserve(&c->body, c->owner->usual_bytes);
    buf_slice(&c->body, buf_view(&c->owner->batch_opening));
    c->number = c->path != NULL ? functions_number(c->owner->functions, c->path) : 0;
    return c;
}

void http_sink_free_call(struct sink_call *c)
{
    buf_free(&c->body);
    buf_free(&c->said);
    free(c);
}

static bool add_to_batch(struct sink_call *c, const struct pending *p)
{
    const struct http_sink *s = c->owner;
    const size_t before = c->body.len, end = c->number ? NUMBER_BYTES : sizeof "]}}" - 1;

    if (c->count >= s->sink.max_documents)
        return false;
    if (c->count && before + p->json.len > s->batch_bytes) /* avoids a large useless copy */
        return false;
    if (c->count || c->control_end)
        buf_byte(&c->body, ',');
    body_put_item(&c->body, p);
    if (c->count && c->body.len + end > s->batch_bytes) {
        c->body.len = before;
        return false;
    }
    c->count++;
    return true;
}

static void put_single(struct sink_call *c, const char *path, const struct pending *p)
{
    c->number = functions_number(c->owner->functions, path);
    body_put_single(&c->body, path, p);
}

static bool add_single(struct sink_call *c, const struct pending *p)
{
    const struct http_sink *s = c->owner;
    const struct kind *kind = kinds_find(s->kinds, p->kind);

    if (c->count)
        return false;
    c->count = 1;
    if (p->version.op == OUTBOX_REMOVE) {
        put_single(c, s->remove_mutation, p);
    } else if (kind && kind->mutation && kind->mutation[0]) {
        put_single(c, kind->mutation, p);
    } else {
        c->has_fault = true;
        c->fault.kind = VERDICT_REFUSED;
        snprintf(c->fault.why, sizeof c->fault.why, "kind %.*s is not configured: no mutation path",
                 p->kind.len < 100 ? (int)p->kind.len : 100, (const char *)p->kind.data);
    }
    return true;
}

static bool add(struct sink_call *c, const struct pending *p)
{
    PRE(p->version.op == OUTBOX_REMOVE || p->json.len > 0); /* by gate_version, on reading */
    return http_sink_is_batch(c->owner) ? add_to_batch(c, p) : add_single(c, p);
}

/* Later than any before, so that each control is written. */
int64_t http_sink_control_time(struct http_sink *s)
{
    int64_t now_us = clock_wall_us();

    s->control_us = now_us > s->control_us ? now_us : s->control_us + 1;
    return s->control_us;
}

bool http_sink_add_control(struct sink_call *c, struct slice kind)
{
    struct http_sink *s = c->owner;

    PRE(c->count == 0 && c->control_end == 0);
    if (!http_sink_is_batch(s) || !c->number || !functions_has_batch_control(s->functions, c->path))
        return false;
    body_put_control_item(&c->body, s->sink.us.id, kind, http_sink_control_time(s));
    c->control_end = c->body.len;
    return true;
}

static void wait_for(struct sink *base, int wake_fd, int timeout_ms)
{
    struct http_sink *s = sink_of(base);

    http_calls_attach_if_due(s);
    http_sweep_if_due(s);
    http_wait(s->http, wake_fd, timeout_ms);
}

static void peer(struct sink *base, struct sink_peer *out)
{
    const struct http_sink *s = sink_of(base);

    *out = *functions_peer(s->functions);
    out->has_clock = s->has_clock;
    out->ahead_ms = s->ahead_ms;
}

/* ---- open and close -------------------------------------------------------------------------- */

static void close_sink(struct sink *base)
{
    struct http_sink *s = sink_of(base);

    s->closing = true;
    http_close(s->http);
    functions_free(s->functions);
    buf_free(&s->batch_opening);
    free(s->batch_mutation);
    free(s->remove_mutation);
    free(s->key_file);
    free(s);
}

static const struct sink_ops ops = {
    .begin = http_sink_begin,
    .add = add,
    .add_control = http_sink_add_control,
    .send = http_calls_send,
    .ask = http_calls_ask,
    .reload = reload,
    .wait = wait_for,
    .peer = peer,
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

/* A key that is given directly takes precedence over the one in the file. */
static enum err first_key(struct http_sink *s, const struct http_sink_options *options,
                          struct fault *fault)
{
    if (is_given(options->admin_key))
        return admin_key_use(s->http, options->admin_key, fault);
    if (!is_given(options->admin_key_file))
        return ERR_OK;
    s->key_file = base_strndup(options->admin_key_file, strlen(options->admin_key_file));
    return read_key_file(s, fault);
}

/* A random identity, until a store gives us its own. */
static void make_up_store(struct sink_store *us)
{
    uint8_t bytes[16];

    PRE(getrandom(bytes, sizeof bytes, 0) == (ssize_t)sizeof bytes);
    hex_put(bytes, sizeof bytes, us->id);
}

/* In clear text, anybody on the path can read the key. */
static void warn_of_clear_text(const struct http_sink *s, const struct http_sink_options *options)
{
    bool has_key = is_given(options->admin_key) || is_given(options->admin_key_file);

    if (has_key && http_is_in_the_clear(s->http))
        log_event(LOG_WARNING, "http_sink.key_in_clear_text",
                  "why=\"the admin key goes to another machine over http, where all between can "
                  "read it\" next=\"let base_url be https://, or Convex on this machine\"");
}

enum err http_sink_open(const struct http_sink_options *options, struct sink **sink,
                        struct fault *fault)
{
    struct http_sink *s;
    const bool batches = is_given(options->batch_mutation);
    const char *most_called = batches ? options->batch_mutation : options->remove_mutation;

    *fault = (struct fault){0};
    if (!is_given(options->http.base_url))
        return fault_say(fault, "base_url", "is missing");
    if (!is_given(options->remove_mutation))
        return fault_say(fault, "remove_mutation", "is missing");
    if (batches && (options->batch_documents < 1 || options->batch_documents > MAX_DOCUMENTS))
        return fault_say(fault, "batch_documents", "must be 1 to 1024");
    if (batches && (options->batch_bytes < 1 || options->batch_bytes > MAX_BATCH_BYTES))
        return fault_say(fault, "batch_bytes", "must be 1 to 16779216");
    s = base_alloc(sizeof *s);
    s->sink = (struct sink){.ops = &ops, .max_documents = batches ? options->batch_documents : 1};
    make_up_store(&s->sink.us);
    s->kinds = options->kinds;
    s->batch_bytes = options->batch_bytes;
    s->remove_mutation = base_strndup(options->remove_mutation, strlen(options->remove_mutation));
    s->functions = functions_new(most_called);
    s->attach.is_due = true;
    s->sweep.days = options->tombstone_days;
    s->sweep.next_ms = clock_mono_ms() + options->sweep_first_ms;
    if (batches) {
        s->batch_mutation = base_strndup(options->batch_mutation, strlen(options->batch_mutation));
        body_put_opening(&s->batch_opening, options->batch_mutation);
    }
    if (open_http(s, &options->http, fault) != ERR_OK || first_key(s, options, fault) != ERR_OK) {
        close_sink(&s->sink);
        return ERR_INVALID;
    }
    warn_of_clear_text(s, options);
    *sink = &s->sink;
    return ERR_OK;
}
