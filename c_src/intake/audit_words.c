/*
 * audit_words.c - the words about the audit.
 *
 * The happy path: {audit, Kind | all, Opts} becomes a drift_request and goes to the audit through
 * its wires; the report comes back on the audit's thread and is the answer.  {audit, status} and
 * {audit, cancel} are answered at once.
 *
 * What can go wrong: an unknown option, an unknown kind, an audit that is already running, a sink
 * that cannot be read back.  Each is answered as an error.  An audit that could not even begin to
 * compare is {error, {sink_read_failed, Why}}; one that stopped later answers what it has found.
 *
 * Reading threads; put_report on the audit's.
 */

#include "intake/audit_words.h"

#include "ground/buf.h"
#include "intake/answer.h"
#include "intake/arguments.h"
#include "json/json.h"
#include "projection/projection.h"

#define STOPPED_EARLY "sink_read_failed"

/* ---- answers -------------------------------------------------------------------------------- */

static void answer_and_free(struct caller *caller, struct dist_session *session, struct buf *b)
{
    dist_reply(caller, session, buf_view(b));
    buf_free(b);
}

static void key_seq(struct buf *b, const char *key, bool has, int64_t seq)
{
    if (has)
        answer_key_integer(b, key, seq);
    else
        answer_key_word(b, key, NULL);
}

static void put_line(struct buf *b, const struct drift_line *line)
{
    term_put_map(b, 6);
    answer_key_text(b, "document_id", slice_of(line->id, line->id_len));
    answer_key_word(b, "kind", line->kind);
    answer_key_word(b, "finding", drift_text(line->finding));
    key_seq(b, "seq", line->has_seq, line->seq);
    key_seq(b, "convex_seq", line->has_convex_seq, line->convex_seq);
    term_put_atom(b, "repaired");
    term_put_bool(b, line->is_repaired);
}

static void put_report(struct buf *b, const struct drift_report *r)
{
    answer_ok_map(b, DRIFT_COUNT - 1 + 8);
    answer_key_integer(b, "checked", (int64_t)r->checked);
    for (enum drift f = DRIFT_NONE + 1; f < DRIFT_COUNT; f++)
        answer_key_integer(b, drift_text(f), (int64_t)r->count[f]);
    answer_key_integer(b, "second_look", (int64_t)r->second_look);
    answer_key_integer(b, "unsettled", (int64_t)r->unsettled);
    answer_key_integer(b, "repaired", (int64_t)r->repaired);
    answer_key_integer(b, "took_ms", r->took_ms);
    answer_key_word(b, "stopped", r->stopped[0] ? r->stopped : NULL);
    term_put_atom(b, "next");
    if (r->next)
        term_put_binary(b, slice_of(r->next, r->next_len));
    else
        term_put_atom(b, "nil");
    term_put_atom(b, "findings");
    if (r->line_count > 0)
        term_put_list(b, (uint32_t)r->line_count);
    for (size_t i = 0; i < r->line_count; i++)
        put_line(b, &r->lines[i]);
    term_put_nil(b);
}

static void put_failed(struct buf *b, const struct drift_report *r)
{
    term_put_tuple(b, 2);
    term_put_atom(b, "error");
    term_put_tuple(b, 2);
    term_put_atom(b, STOPPED_EARLY);
    term_put_text(b, r->stopped);
}

static void on_done(void *arg, const struct drift_report *r)
{
    struct buf b = {0};

    if (r->is_failed && r->checked == 0)
        put_failed(&b, r);
    else
        put_report(&b, r);
    answer_and_free(arg, NULL, &b);
}

/* ---- reading the request -------------------------------------------------------------------- */

static const struct argument audit_arguments[] = {
    {"repair", ARGUMENT_FLAG, offsetof(struct drift_request, repair),
     .wanted = "true or false is wanted"},
    {"after", ARGUMENT_ID, offsetof(struct drift_request, after),
     .wanted = "a document id is wanted"},
};

enum { AUDIT_ARGUMENTS = sizeof audit_arguments / sizeof *audit_arguments };

static enum err refuse_after(struct fault *fault, const char *why)
{
    return arguments_refuse(fault, slice_str("after"), why);
}

static enum err read_request(const struct kinds *kinds, term what, term opts,
                             struct drift_request *q, struct fault *fault)
{
    enum err e = ERR_OK;

    *q = (struct drift_request){.after = slice_of("", 0)};
    if (!term_is_text(what, "all"))
        e = arguments_kind(kinds, what, &q->kind, fault);
    if (e == ERR_OK)
        e = arguments_options(opts, audit_arguments, AUDIT_ARGUMENTS, q, fault);
    if (e != ERR_OK || q->after.len == 0)
        return e;
    const struct kind *kind = kinds_of_id(kinds, q->after);
    if (kind == NULL || (q->kind && q->kind != kind))
        return refuse_after(fault, "an id of the kind is wanted");
    return json_is_utf8(q->after) ? ERR_OK : refuse_after(fault, "is not UTF-8");
}

/* ---- the words ------------------------------------------------------------------------------ */

static void take_audit(const struct audit_wires *w, const struct kinds *kinds,
                       struct dist_session *session, struct caller *caller, term request)
{
    struct drift_request q;
    struct fault fault = {0};
    struct buf b = {0};

    enum err e =
        read_request(kinds, term_element(request, 1), term_element(request, 2), &q, &fault);
    if (e == ERR_OK)
        e = w->start(w->arg, &q, on_done, caller, &fault);
    if (e == ERR_OK)
        return;
    if (e == ERR_BUSY)
        answer_error_atom(&b, "audit_running");
    else
        answer_error(&b, e, &fault, "");
    answer_and_free(caller, session, &b);
}

static void take_status(const struct audit_wires *w, struct dist_session *session,
                        struct caller *caller)
{
    struct drift_progress p;
    struct buf b = {0};

    w->progress(w->arg, &p);
    answer_ok_map(&b, 7);
    answer_key_word(&b, "state", p.is_running ? "running" : "idle");
    answer_key_word(&b, "kind", p.kind[0] ? p.kind : NULL);
    answer_key_integer(&b, "checked", (int64_t)p.checked);
    answer_key_integer(&b, "findings", (int64_t)p.findings);
    term_put_atom(&b, "rate");
    term_put_float(&b, p.rate);
    key_seq(&b, "eta_s", p.eta_s >= 0, p.eta_s);
    answer_key_integer(&b, "took_ms", p.took_ms);
    answer_and_free(caller, session, &b);
}

static void take_cancel(const struct audit_wires *w, struct dist_session *session,
                        struct caller *caller)
{
    struct buf b = {0};

    answer_ok_atom(&b, w->cancel(w->arg) ? "cancelled" : "idle");
    answer_and_free(caller, session, &b);
}

bool audit_words_take(const struct audit_wires *w, const struct kinds *kinds,
                      struct dist_session *session, struct caller *caller, term request)
{
    uint32_t arity = term_type(request) == TERM_TUPLE ? term_arity(request) : 0;

    if (!term_is(term_element(request, 0), "audit"))
        return false;
    if (arity == 2 && term_is(term_element(request, 1), "status"))
        take_status(w, session, caller);
    else if (arity == 2 && term_is(term_element(request, 1), "cancel"))
        take_cancel(w, session, caller);
    else if (arity == 3)
        take_audit(w, kinds, session, caller, request);
    else
        return false;
    return true;
}
