/*
 * http_calls.c - the calls of the http sink: sending, call numbers, answers, questions.
 *
 * The happy path: a call of functions that take a number gets one, and our store's id, at the end
 * of its body; the answer says both again, and its verdicts go to whoever sent.
 *
 * attach asks which functions there are: at start, after reload, and each minute while older ones
 * answer and something is delivered.  Delivery does not wait for it.
 *
 * What can go wrong, besides what convex_answer.def has:
 *   an answer to another call     unknown; the connection that brought it is closed
 *   refused as a whole, or        the functions may have been rolled back: nothing is concluded
 *   without the number            until attach is asked; if it supports no numbers any more, the
 *                                 call is sent again without one, and nobody hears of that
 *   attach is not answered        what was known stays, the call is unknown, and attach is asked
 *                                 again when calls are done: after a second, at last each minute
 *
 * Delivery thread only.
 */

#include "convex/bodies.h"
#include "convex/http_sink_inside.h"
#include "ground/backoff.h"
#include "ground/clock.h"
#include "ground/log.h"
#include "projection/projection.h"

#include <utlist.h>

/* Convex's own limit (crates/common/src/knobs.rs, MAX_BACKEND_PUBLIC_API_REQUEST_SIZE). */
#define MAX_BODY_BYTES (16777216 + 2000)
#define SAID_BYTES     65536 /* of an answer are kept while its call waits for attach */

/* Between questions to attach. */
#define ATTACH_EACH_MS                                                                             \
    60000                  /* while older functions answer, and after the last try without answer */
#define ATTACH_MIN_MS 1000 /* after the first without */

/* ---- telling --------------------------------------------------------------------------------- */

/* The call is over; freed. */
static void tell(struct sink_call *c, struct sink_answer *answer)
{
    const struct verdict *control = answer->control ? answer->control : &answer->overall;

    answer->count = c->count;
    PRE(c->told || c->answered);
    if (c->told)
        c->told(c->arg, control);
    else
        c->answered(c->arg, answer);
    http_sink_free_call(c);
}

static void tell_verdict(struct sink_call *c, const struct verdict *verdict)
{
    struct sink_answer answer = {
        .overall = *verdict, .body = buf_view(&c->said), .took_us = c->took_us};

    if (c->control_end)
        answer.control = verdict;
    tell(c, &answer);
}

static void answer_here(struct sink_call *c, enum verdict_kind kind, const char *why)
{
    struct verdict verdict = {.kind = kind};

    snprintf(verdict.why, sizeof verdict.why, "%s", why);
    tell_verdict(c, &verdict);
}

/* ---- sending --------------------------------------------------------------------------------- */

static http_done on_answer;

static bool raise_is_due(const struct http_sink *s)
{
    return s->sink.us.to > 0 && functions_peer(s->functions)->mark != s->sink.us.to &&
           !s->raise_is_out;
}

static void put_end(struct sink_call *c)
{
    struct http_sink *s = c->owner;

    c->items_end = c->body.len;
    if (http_sink_is_batch(s))
        buf_byte(&c->body, ']');
    if (c->number) {
        c->has_raise = http_sink_is_batch(s) && raise_is_due(s);
        s->raise_is_out = s->raise_is_out || c->has_raise;
        functions_put_number(c->number, &s->sink.us, c->has_raise, &c->body);
    }
    buf_str(&c->body, http_sink_is_batch(s) ? "}}" : "}]}");
}

static void post(struct sink_call *c)
{
    struct http_sink *s = c->owner;
    struct slice body = buf_view(&c->body);

    s->usual_bytes = body.len;
    functions_sent(s->functions, &s->sink.us, &c->sent);
    c->body = (struct buf){0}; /* http has the bytes now */
    http_post_json(s->http, MUTATION_PATH, body, on_answer, c);
}

void http_calls_send(struct sink_call *c, sink_answered *answered, void *arg)
{
    struct http_sink *s = c->owner;

    PRE(c->count > 0 || c->told);
    c->answered = answered;
    c->arg = arg;
    if (s->closing || c->has_fault) {
        answer_here(c, s->closing ? VERDICT_UNKNOWN : c->fault.kind,
                    s->closing ? "the sink is closing" : c->fault.why);
        return;
    }
    put_end(c);
    if (c->body.len <= MAX_BODY_BYTES) {
        post(c);
        return;
    }
    s->raise_is_out = s->raise_is_out && !c->has_raise;
    answer_here(c, VERDICT_REFUSED, "larger than the 16 MiB that Convex takes in one call");
}

/* ---- attach ---------------------------------------------------------------------------------- */

static void on_attach(void *arg, const struct http_answer *http);

static void ask_attach(struct http_sink *s)
{
    struct buf body = {0};

    PRE(!s->attach.is_out);
    s->attach.is_out = true;
    s->attach.is_due = s->attach.has_done = false;
    s->attach.asked_ms = clock_mono_ms();
    functions_sent(s->functions, &s->sink.us, &s->attach.sent);
    functions_put_attach(s->functions, &s->sink.us, &body);
    http_post_json(s->http, MUTATION_PATH, buf_view(&body), on_attach, s);
}

/* Only a question that is asked after this moment serves those who wait. */
static void await_attach(struct http_sink *s, struct sink_call *call, struct asker *asker)
{
    struct sink_call **calls = s->attach.is_out ? &s->attach.late_calls : &s->attach.calls;
    struct asker **askers = s->attach.is_out ? &s->attach.late_askers : &s->attach.askers;

    if (call)
        LL_PREPEND2(*calls, call, next);
    if (asker)
        LL_PREPEND2(*askers, asker, next);
    if (!s->attach.is_out)
        ask_attach(s);
}

static bool attach_is_due(const struct http_sink *s)
{
    if (s->attach.is_out || s->closing)
        return false;
    return s->attach.is_due || (functions_peer(s->functions)->functions < 2 && s->attach.has_done &&
                                clock_mono_ms() - s->attach.asked_ms >= s->attach.wait_ms);
}

void http_calls_attach_if_due(struct http_sink *s)
{
    if (attach_is_due(s))
        ask_attach(s);
}

/* As functions of version 1 take it: without a number, and without a control. */
static void send_plain(struct sink_call *c)
{
    struct http_sink *s = c->owner;

    if (c->control_end && c->count == 0) {
        answer_here(c, VERDICT_NONE, "no control is known");
        return;
    }
    if (c->control_end) {
        size_t opening = s->batch_opening.len, rest = c->control_end + 1;
        memmove(c->body.data + opening, c->body.data + rest, c->items_end - rest);
        c->items_end -= rest - opening;
    }
    c->body.len = c->items_end;
    c->control_end = 0;
    c->number = 0;
    put_end(c);
    post(c);
}

/* What becomes of a call that was refused by functions that took numbers a moment ago. */
static void settle_refused(struct sink_call *c, bool has_learnt)
{
    struct http_sink *s = c->owner;
    struct verdict unknown = {.kind = VERDICT_UNKNOWN};

    if (has_learnt && functions_peer(s->functions)->functions >= 2) {
        tell_verdict(c, &c->refused);
    } else if (has_learnt && !s->closing) {
        send_plain(c);
    } else {
        snprintf(unknown.why, sizeof unknown.why, "attach was not answered after: %.150s",
                 c->refused.why);
        tell_verdict(c, &unknown);
    }
}

static void log_functions(const struct sink_peer *was, const struct sink_peer *now)
{
    if (now->functions == was->functions && strcmp(now->deployment, was->deployment) == 0)
        return;
    log_event(now->functions < was->functions ? LOG_WARNING : LOG_INFO, "convex.functions",
              "version=%d was=%d deployment=\"%s\"%s", now->functions, was->functions,
              now->deployment,
              now->functions >= 2 ? "" : " next=\"deploy priv/convex of this version\"");
}

/* Date has a resolution of one second; assume that it was taken in the middle of the call. */
static void hear_clock(struct http_sink *s, const struct http_answer *http)
{
    if (http->date_s == 0)
        return;
    int64_t ours_ms = (clock_wall_us() - http->took_us / 2) / 1000;
    s->ahead_ms = http->date_s * 1000 + 500 - ours_ms;
    s->has_clock = true;
}

static void on_attach(void *arg, const struct http_answer *http)
{
    struct http_sink *s = arg;
    struct sink_call *calls, *call, *next_call;
    struct asker *askers, *asker, *next_asker;
    struct sink_peer was, now;
    struct verdict verdict;

    if (s->closing) { /* no later question follows that these could wait for */
        LL_CONCAT2(s->attach.calls, s->attach.late_calls, next);
        LL_CONCAT2(s->attach.askers, s->attach.late_askers, next);
        s->attach.late_calls = NULL;
        s->attach.late_askers = NULL;
    }
    calls = s->attach.calls;
    askers = s->attach.askers;
    if (http->end == HTTP_ANSWERED && http->status == 401)
        http_sink_reload_after_401(s);
    hear_clock(s, http);
    was = *functions_peer(s->functions);
    bool has_learnt = functions_learn(s->functions, http, &s->attach.sent);
    now = *functions_peer(s->functions);
    log_functions(&was, &now);
    s->attach.wait_ms = has_learnt ? ATTACH_EACH_MS
                                   : backoff_next(s->attach.wait_ms, ATTACH_MIN_MS, ATTACH_EACH_MS);
    s->attach.is_out = false;
    s->attach.calls = s->attach.late_calls;
    s->attach.askers = s->attach.late_askers;
    s->attach.late_calls = NULL;
    s->attach.late_askers = NULL;
    (void)convex_answer_judge(http, CONVEX_SINGLE, &verdict, NULL, 0);
    if (has_learnt)
        verdict = (struct verdict){.kind = now.functions >= 2 ? VERDICT_DONE : VERDICT_NONE};
    if ((s->attach.calls || s->attach.askers) && !s->closing)
        ask_attach(s);
    LL_FOREACH_SAFE(calls, call, next_call)
    {
        settle_refused(call, has_learnt);
    }
    LL_FOREACH_SAFE(askers, asker, next_asker)
    {
        asker->told(asker->arg, &verdict);
        free(asker);
    }
}

/* ---- answers --------------------------------------------------------------------------------- */

/* Whether it may have been the number that was refused: the functions may have been rolled back. */
static bool may_be_rolled_back(const struct sink_call *c, const struct http_answer *http,
                               const struct convex_echo *echo, const struct verdict *overall)
{
    if (c->number == 0 || c->owner->closing || http->end != HTTP_ANSWERED ||
        (http->status != 200 && http->status != 404 && http->status != 560))
        return false;
    if (overall->kind == VERDICT_UNKNOWN)
        return http->status == 200 && echo->functions == 0 && echo->call == 0;
    return overall->kind != VERDICT_DONE && overall->kind != VERDICT_AGAIN;
}

/* What the answer says about the other side, and about the raise that its call carried. */
static void hear(struct sink_call *c, const struct http_answer *http,
                 const struct convex_echo *echo, const struct verdict *overall)
{
    struct http_sink *s = c->owner;

    s->raise_is_out = s->raise_is_out && !c->has_raise;
    if (http->end == HTTP_ANSWERED && http->status == 401)
        http_sink_reload_after_401(s);
    s->attach.has_done = s->attach.has_done || overall->kind == VERDICT_DONE;
    if (c->number == 0 || echo->call == 0)
        return;
    if (echo->call != c->number)
        http_distrust(s->http, http);
}

static void on_answer(void *arg, const struct http_answer *http)
{
    struct sink_call *c = arg;
    struct http_sink *s = c->owner;
    size_t controls = c->control_end > 0;
    struct verdict *each = base_alloc((c->count + controls) * sizeof *each);
    struct sink_answer answer = {.body = http->body, .took_us = http->took_us};
    struct convex_echo echo;
    struct sink_peer peer;
    bool has_each =
        convex_answer_judge_numbered(http, http_sink_is_batch(s) ? CONVEX_BATCH : CONVEX_SINGLE,
                                     c->number, &echo, &answer.overall, each, c->count + controls);

    hear(c, http, &echo, &answer.overall);
    if (!has_each && may_be_rolled_back(c, http, &echo, &answer.overall)) {
        c->refused = answer.overall;
        c->took_us = http->took_us;
        buf_add(&c->said, http->body.data,
                http->body.len < SAID_BYTES ? http->body.len : SAID_BYTES);
        buf_slice(&c->body, http->request);
        await_attach(s, c, NULL);
        free(each);
        return;
    }
    if (controls)
        answer.control = has_each ? each : &answer.overall;
    if (has_each)
        answer.each = each + controls;
    if (c->number && echo.call == c->number) {
        if (!functions_hear(s->functions, &echo, &c->sent, &peer))
            s->attach.is_due = true; /* who is there now? */
        answer.peer = &peer;
    }
    tell(c, &answer);
    free(each);
}

/* ---- questions ------------------------------------------------------------------------------- */

/* A mutation of that kind, or of any, that takes a control by itself; NULL: none does. */
static const struct kind *kind_with_control(const struct http_sink *s, struct slice kind)
{
    for (size_t i = 0; i < kinds_count(s->kinds); i++) {
        const struct kind *k = kinds_at(s->kinds, i);
        if ((kind.len == 0 || slice_eq(kind, slice_str(k->name))) && k->mutation &&
            functions_has_control(s->functions, k->mutation))
            return k;
    }
    return NULL;
}

/* A call of one control and nothing else; NULL: none is known. */
static struct sink_call *control_call(struct http_sink *s, struct slice kind)
{
    struct sink_call *c = http_sink_begin(&s->sink);
    const struct kind *one = http_sink_is_batch(s) ? NULL : kind_with_control(s, kind);

    if (one != NULL) {
        c->number = functions_number(s->functions, one->mutation);
        body_put_single_control(&c->body, one->mutation, s->sink.us.id, slice_str(one->name),
                                http_sink_control_time(s));
        c->control_end = c->body.len;
    }
    if (one != NULL || http_sink_add_control(c, kind))
        return c;
    http_sink_free_call(c);
    return NULL;
}

void http_calls_ask(struct sink *base, enum sink_question question, struct slice kind,
                    sink_told *told, void *arg)
{
    struct http_sink *s = (struct http_sink *)base;
    struct verdict none = {.kind = VERDICT_NONE, .why = "no control is known"};
    struct verdict closing = {.kind = VERDICT_UNKNOWN, .why = "the sink is closing"};
    struct sink_call *c;

    if (s->closing) {
        told(arg, &closing);
    } else if (question == SINK_ATTACH) {
        struct asker *asker = base_alloc(sizeof *asker);
        *asker = (struct asker){.told = told, .arg = arg};
        await_attach(s, NULL, asker);
    } else if ((c = control_call(s, kind)) != NULL) {
        c->told = told;
        http_calls_send(c, NULL, arg);
    } else {
        told(arg, &none);
    }
}
