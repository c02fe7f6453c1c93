/*
 * digests.c - reads what Convex holds, page by page.
 *
 * The happy path: the question becomes the JSON of one /api/query call, the answer comes back as a
 * term (jansson, then term_check like anything from outside), and each digest in it is read field
 * by field into the form the merge takes.
 *
 * What can go wrong:
 *   a transient fault  asked again: doubling waits, TRIES times; Retry-After is honoured
 *   401                the key file is read again, once a question
 *   a limit of Convex  the page was too large for one function (bytes, time): half as many are
 *                      asked for, down to one; as pages pass they grow, short of what failed
 *   anything else      ERR_SINK with a sentence: no such function, no key, an answer of another
 *                      shape, a page that does not advance
 *   woken              ERR_CLOSED; a call under way ends with the handle
 * A digest with a missing member, or one of another type, is an answer of another shape: nothing is
 * guessed.
 *
 * Runs on the thread that opened it, with an http handle of its own.
 */

#include "audit/digests.h"

#include "convex/admin_key.h"
#include "convex/convex_answer.h"
#include "ground/backoff.h"
#include "ground/buf.h"
#include "ground/beat.h"
#include "ground/clock.h"
#include "ground/hex.h"
#include "json/json.h"
#include "json/json_read.h"
#include "sink/sink.h"
#include "term/term.h"

#include <errno.h>
#include <poll.h>

#define QUERY_PATH     "/api/query"
#define TRIES          10
#define WAIT_MIN_MS    100
#define WAIT_MAX_MS    8000
#define ANSWER_BYTES   4194304            /* a page with the longest ids is much smaller */
#define SEQ_MAX        9007199254740992.0 /* 2^53: a number of Convex is exact up to here */
#define SECONDS_DIGITS 12
#define NANOS_DIGITS   9

struct digests {
    /* fixed after open */
    const struct digests_options *options;
    struct http *http;
    /* of all questions so far */
    size_t limit, failed; /* documents in a page: now, and the fewest that were too many */
    /* of the question under way */
    bool is_answered, has_value;
    struct verdict verdict;
    struct fault shape; /* why the answer is invalid */
    bool was_unauthorized;
    struct buf value; /* the answer as a term */
    size_t item_count;
    struct drift_theirs items[DIGESTS_PAGE];
};

/* ---- open and close ------------------------------------------------------------------------- */

static enum err use_key(struct digests *d, struct fault *fault)
{
    const struct digests_options *o = d->options;

    if (o->admin_key != NULL)
        return admin_key_use(d->http, o->admin_key, fault);
    return o->admin_key_file != NULL ? admin_key_read(d->http, o->admin_key_file, fault) : ERR_OK;
}

enum err digests_open(const struct digests_options *options, struct digests **d,
                      struct fault *fault)
{
    struct http_options http = options->http;
    struct digests *n = base_alloc(sizeof *n);

    n->options = options;
    n->limit = DIGESTS_PAGE;
    n->failed = DIGESTS_PAGE + 1;
    http.max_connections = 1;
    if (http.max_answer_bytes < ANSWER_BYTES)
        http.max_answer_bytes = ANSWER_BYTES;
    enum err e = http_open(&http, &n->http, fault);
    if (e == ERR_OK)
        e = use_key(n, fault);
    if (e != ERR_OK) {
        digests_close(n);
        return e;
    }
    *d = n;
    return ERR_OK;
}

void digests_close(struct digests *d)
{
    if (d == NULL)
        return;
    http_close(d->http);
    buf_free(&d->value);
    free(d);
}

/* ---- the question --------------------------------------------------------------------------- */

/* False: a text is not UTF-8, so Convex cannot hold such a document. */
static bool put_ask(struct buf *b, const char *query, const struct digests_ask *ask, size_t limit)
{
    bool good = true;

    buf_str(b, "{\"path\":");
    json_put_string(b, slice_str(query));
    buf_str(b, ",\"format\":\"json\",\"args\":{\"verify\":true,\"kind\":");
    json_put_string(b, slice_str(ask->kind));
    if (ask->id_count > 0) {
        buf_str(b, ",\"document_ids\":[");
        for (size_t i = 0; i < ask->id_count && good; i++) {
            if (i > 0)
                buf_byte(b, ',');
            good = json_try_string(b, ask->ids[i]);
        }
        buf_byte(b, ']');
    } else {
        buf_printf(b, ",\"limit\":%zu", limit);
        if (ask->after.len > 0) {
            buf_str(b, ",\"after\":");
            good = json_try_string(b, ask->after);
        }
    }
    buf_str(b, "}}");
    return good;
}

/* ---- the answer ----------------------------------------------------------------------------- */

static bool refuse(struct digests *d, const char *field)
{
    snprintf(d->shape.why, sizeof d->shape.why,
             "no answer of runtime:listDigests: %s; are the functions of priv/convex deployed?",
             field);
    return false;
}

/* A count, which format json writes as 3.0. */
static bool read_seq(term t, int64_t *seq)
{
    if (t == NULL)
        return false;
    if (term_type(t) == TERM_FLOAT) {
        double v = term_float(t);
        if (!(v >= 0 && v <= SEQ_MAX) || v != (double)(int64_t)v)
            return false;
        *seq = (int64_t)v;
        return true;
    }
    return term_integer(t, seq) && *seq >= 0;
}

/* The sortable form of `instant` in runtime.ts, "001771531200.123456000", rounded up; else 0. */
static int64_t read_instant(struct slice text)
{
    int64_t seconds = 0, nanos = 0;

    if (text.len != SECONDS_DIGITS + 1 + NANOS_DIGITS || text.data[SECONDS_DIGITS] != '.')
        return 0;
    for (size_t i = 0; i < text.len; i++) {
        if (i == SECONDS_DIGITS)
            continue;
        if (text.data[i] < '0' || text.data[i] > '9')
            return 0;
        int64_t *part = i < SECONDS_DIGITS ? &seconds : &nanos;
        *part = *part * 10 + (text.data[i] - '0');
    }
    return seconds * 1000000 + (nanos + 999) / 1000;
}

/* What the writer called its hash; an invalid one makes the row not intact. */
static bool read_content_hash(term t, struct drift_theirs *item)
{
    if (t == NULL)
        return false;
    if (term_is_nil_atom(t))
        return true;
    item->has_hash = true;
    if (!hex_parse(term_text(t), item->hash, 32))
        item->is_intact = false;
    return term_text(t).data != NULL;
}

static bool read_item(struct digests *d, term t, struct drift_theirs *item)
{
    term id = term_get(t, "document_id"), at = term_get(t, "projected_at"),
         actual = term_get(t, "actual_hash");

    *item = (struct drift_theirs){0};
    if (id == NULL || term_type(id) != TERM_BINARY)
        return refuse(d, "a digest has no document_id");
    item->id = term_text(id);
    if (!read_seq(term_get(t, "seq"), &item->seq))
        return refuse(d, "a digest has no seq");
    if (at == NULL || term_text(at).data == NULL)
        return refuse(d, "a digest has no projected_at");
    item->projected_at_us = read_instant(term_text(at));
    item->is_removed = term_is(term_get(t, "removed"), "true");
    if (item->is_removed)
        return true;
    item->is_intact = term_is(term_get(t, "intact"), "true");
    if (!read_content_hash(term_get(t, "content_hash"), item))
        return refuse(d, "a digest has no content_hash");
    if (actual == NULL || !hex_parse(term_text(actual), item->actual, 32))
        return refuse(d, "a digest has no actual_hash");
    return true;
}

static bool read_items(struct digests *d, term list)
{
    if (list == NULL || (term_type(list) != TERM_NIL && term_type(list) != TERM_LIST) ||
        !term_is_proper(list))
        return refuse(d, "it has no list of digests");
    if (term_arity(list) > DIGESTS_PAGE)
        return refuse(d, "it has more digests than were asked for");
    d->item_count = term_arity(list);
    term t = d->item_count > 0 ? term_items(list) : NULL;
    for (size_t i = 0; i < d->item_count; i++, t = term_next(t))
        if (!read_item(d, t, &d->items[i]))
            return false;
    return true;
}

/* The whole body: {"status": "success", "value": {digests, next}}; slices borrow d->value. */
static bool read_page(struct digests *d, const struct digests_ask *ask, struct digests_page *page)
{
    struct fault fault = {0};
    size_t used = 0;

    if (!d->has_value || term_check_some(buf_view(&d->value), 1, &used, &fault) != ERR_OK)
        return refuse(d, "it is no JSON");
    term value = term_get(d->value.data, "value"), next = value ? term_get(value, "next") : NULL;
    if (next == NULL || (!term_is_nil_atom(next) && term_type(next) != TERM_BINARY))
        return refuse(d, "it has no next");
    if (!read_items(d, term_get(value, "digests")))
        return false;
    bool is_last = term_is_nil_atom(next);
    struct slice behind = is_last ? slice_of("", 0) : term_text(next);
    if (!is_last && ask->id_count == 0 && slice_order(behind, ask->after) <= 0)
        return refuse(d, "its next page lies before this one");
    *page = (struct digests_page){d->items, d->item_count, is_last, behind};
    return true;
}

static void on_answer(void *arg, const struct http_answer *answer)
{
    struct digests *d = arg;
    struct fault fault = {0};

    convex_answer_judge(answer, CONVEX_SINGLE, &d->verdict, NULL, 0);
    d->was_unauthorized = answer->end == HTTP_ANSWERED && answer->status == 401;
    d->value.len = 0;
    d->has_value = d->verdict.kind == VERDICT_DONE &&
                   json_read_term(&d->value, answer->body, &fault) == ERR_OK;
    d->is_answered = true;
}

/* ---- asking --------------------------------------------------------------------------------- */

bool digests_pause(struct digests *d, int64_t ms)
{
    struct pollfd fd = {.fd = d->options->wake_fd, .events = POLLIN};
    const int64_t until_ms = clock_mono_ms() + ms;
    int n;

    do {
        int64_t left_ms = until_ms - clock_mono_ms();
        beat();
        n = poll(&fd, 1, left_ms > BEAT_WAIT_MS ? BEAT_WAIT_MS : left_ms > 0 ? (int)left_ms : 0);
    } while ((n < 0 && errno == EINTR) || (n == 0 && clock_mono_ms() < until_ms));
    return n <= 0;
}

/* One call; false when woken before it was answered. */
static bool ask_once(struct digests *d, struct slice body)
{
    d->is_answered = false;
    http_post_json(d->http, QUERY_PATH, slice_of(base_strndup(body.data, body.len), body.len),
                   on_answer, d);
    while (!d->is_answered) {
        beat();
        http_wait(d->http, d->options->wake_fd, BEAT_WAIT_MS);
        if (!d->is_answered && !digests_pause(d, 0))
            return false;
    }
    return true;
}

/* Whether asking again may help; ${wait_ms} is the wait before, doubled for the next time. */
static bool is_passing(struct digests *d, int64_t *wait_ms, bool *key_was_read)
{
    struct fault fault = {0};

    if (d->was_unauthorized && !*key_was_read && use_key(d, &fault) == ERR_OK) {
        *key_was_read = true;
        return true;
    }
    if (d->verdict.kind != VERDICT_AGAIN && d->verdict.kind != VERDICT_UNKNOWN)
        return false;
    *wait_ms = backoff_next(*wait_ms, WAIT_MIN_MS, WAIT_MAX_MS);
    if (*wait_ms < d->verdict.after_ms)
        *wait_ms = d->verdict.after_ms;
    return true;
}

/*
 * Whether Convex ended the function because of how much it read, answered or took.  If it hides
 * its messages (REDACT_LOGS_TO_CLIENT), that may be the reason: then all its errors begin alike.
 */
static bool is_too_much(const struct verdict *v)
{
    static const char *const texts[] = {" in a single function execution", "timed out", "too large",
                                        "hidden by the deployment"};

    if (v->kind == VERDICT_DONE || v->kind == VERDICT_AGAIN)
        return false;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strstr(v->why, texts[i]) != NULL)
            return true;
    return false;
}

static enum err ask_until_answered(struct digests *d, struct slice body)
{
    int64_t wait_ms = 0;
    bool key_was_read = false;
    int max = d->options->tries > 0 ? d->options->tries : TRIES;

    for (int tries = 1;; tries++) {
        if (!ask_once(d, body))
            return ERR_CLOSED;
        if (d->verdict.kind == VERDICT_DONE)
            return ERR_OK;
        if (tries == max || is_too_much(&d->verdict) || !is_passing(d, &wait_ms, &key_was_read))
            return ERR_SINK;
        if (!digests_pause(d, wait_ms))
            return ERR_CLOSED;
    }
}

/* ---- pages that are too much ---------------------------------------------------------------- */

/* A page of ${count} was too large; false: there is no smaller one. */
static bool shrink(struct digests *d, size_t count)
{
    if (count < 2)
        return false;
    d->failed = count < d->failed ? count : d->failed;
    d->limit = count / 2;
    return true;
}

static void grow(struct digests *d)
{
    size_t more = d->limit + d->limit / 8 + 1;

    d->limit = more < d->failed ? more : d->failed - 1;
}

/* Ask for as much of ${ask} as one page may have; ${asked} is that much.  ERR_INVALID: an id is not
 * UTF-8. */
static enum err ask_page(struct digests *d, const struct digests_ask *ask,
                         struct digests_ask *asked)
{
    struct buf body = {0};
    enum err e;

    do {
        *asked = *ask;
        if (asked->id_count > d->limit)
            asked->id_count = d->limit;
        body.len = 0;
        e = put_ask(&body, d->options->query, asked, d->limit)
                ? ask_until_answered(d, buf_view(&body))
                : ERR_INVALID;
    } while (e == ERR_SINK && is_too_much(&d->verdict) &&
             shrink(d, asked->id_count ? asked->id_count : d->limit));
    buf_free(&body);
    return e;
}

enum err digests_get(struct digests *d, const struct digests_ask *ask, struct digests_page *page,
                     struct fault *fault)
{
    struct digests_ask asked;
    enum err e = ask_page(d, ask, &asked);

    if (e == ERR_INVALID)
        return fault_fail(fault, ERR_SINK, NULL, "a document id is not UTF-8");
    if (e == ERR_SINK)
        return fault_fail(fault, ERR_SINK, NULL, "%s", d->verdict.why);
    if (e != ERR_OK)
        return e;
    if (!read_page(d, &asked, page)) {
        *fault = d->shape;
        return ERR_SINK;
    }
    if (asked.id_count < ask->id_count && page->is_last) { /* of those that were asked for */
        page->is_last = false;
        page->next = asked.ids[asked.id_count - 1];
    }
    grow(d);
    return ERR_OK;
}
