/*
 * intake.c - the table of messages: what each request means and how it is answered.
 *
 * The happy path of a projection: dist hands over a call; its word is looked up in the table
 * below; the document's first half is made (projection_prepare) and becomes a request, an intent
 * of the outbox (E1).  The requests of one read are submitted together.  On the store thread
 * request_apply makes the second half from what the store knows and puts it; after the commit it
 * is settled (E2), and the last request of a job to be settled writes and sends the answer to all.
 *
 * A job is one call or cast: one request, or those of a batch.
 *
 * What can go wrong: the request is wrong (bad_request, invalid, unknown_kind,
 * not_projector_owned: answered here, nothing submitted); the queue is full, or too much waits for
 * Convex, or too many refusals wait for the rest of their batch (busy: nothing of the job was
 * taken); the round fails (store: nothing was promised).  In every case each request is answered
 * exactly once.
 *
 * Memory: what waits for the store is counted in the queue.  What waits longer is counted here:
 * the documents of callers who want them written, though only their ids are kept (and summaries
 * that were asked for), and the refused requests of a batch.
 *
 * Reading threads run everything up to the submit, the store thread the rest;
 * a job belongs to one of them at a time.  Operators' words are in control.c.
 */

#include "intake/intake.h"

#include "ground/buf.h"
#include "ground/clock.h"
#include "ground/metrics.h"
#include "ground/tap.h"
#include "intake/answer.h"
#include "intake/arguments.h"
#include "intake/control.h"
#include "outbox/outbox.h"
#include "outbox/decide.h"
#include "projection/projection.h"

#include <stdatomic.h>

enum {
    BATCH_MAX = 10000,         /* requests in one batch */
    GATHER_MAX = 1024,         /* requests gathered before they are submitted */
    GATHER_BYTES = 4 << 20,    /* or their weight */
    AWAITED_BYTES = 256 << 20, /* of documents whose callers wait until they are written */
    REFUSED_BYTES = 16 << 20,  /* of refused items, in all batches that are not answered yet */
    DEADLINE_MS = 30000,       /* of ack => written, unless the request says otherwise */
    DEADLINE_MAX_MS = 86400000
};

struct intake {
    /* fixed after open */
    struct outbox *outbox;
    struct intake_options options;
    struct control *control;
    /* any thread */
    atomic_size_t awaited_bytes, refused_bytes;
    /* of the store thread */
    struct buf made; /* where documents are finished, one after the other */
};

/* One document asked for: an intent of the outbox. */
struct request {
    struct intent intent; /* first: the outbox hands this back */
    struct job *job;
    struct draft *draft;
    struct fault *fault; /* while it is read: the reader's; after apply: heap, or NULL */
    int64_t deadline_ms;
    unsigned how; /* enum put_how */
    bool wait_written, want_summary, want_nothing;
    /* made by apply */
    const struct kind *kind;
    uint8_t hash[32];
    char *id;                    /* what is left of the draft, once it is put, and */
    struct buf summary;          /* the document, when it is wanted */
    struct answer_result result; /* borrows hash, id and summary */
    struct buf refusal;          /* the answer, when there is no result */
};

/* One call or cast.  The store thread owns it from the submit on. */
struct job {
    struct job *next_gathered;
    struct intake *intake;
    struct caller *caller; /* NULL: a cast */
    bool is_batch;
    size_t count, unsettled;
    size_t cost_bytes;
    size_t awaited_bytes; /* cost_bytes, if one of them waits until it is written */
    size_t refused_bytes; /* what the refused requests take until the others are settled */
    struct request requests[];
};

/* What was read in one session and is not yet submitted; it belongs to the session. */
struct gather {
    struct job *first, **last;
    size_t count, cost_bytes;
};

/* ---- answers --------------------------------------------------------------- */

static void job_free(struct job *j)
{
    for (size_t i = 0; i < j->count; i++) {
        draft_free(j->requests[i].draft);
        free(j->requests[i].fault);
        free(j->requests[i].id);
        buf_free(&j->requests[i].summary);
        buf_free(&j->requests[i].refusal);
    }
    atomic_fetch_sub(&j->intake->awaited_bytes, j->awaited_bytes);
    atomic_fetch_sub(&j->intake->refused_bytes, j->refused_bytes);
    free(j);
}

/* Whether the caller wants no result, and this one needs no mention. */
static bool is_ok_enough(const struct request *q)
{
    enum decide_reason reason = q->result.decision.reason;

    return q->want_nothing && (reason == DECIDE_NO_REASON || reason == DECIDE_IDEMPOTENT);
}

static void put_answer(struct buf *b, const struct request *q)
{
    if (q->refusal.len > 0)
        buf_slice(b, buf_view(&q->refusal));
    else if (is_ok_enough(q))
        term_put_atom(b, "ok");
    else
        answer_result(b, &q->result);
}

/* All requests are settled: answer them and free the job. */
static void job_finish(struct job *j, struct dist_session *session)
{
    struct buf b = {0};

    if (j->caller && j->is_batch) {
        term_put_tuple(&b, 2);
        term_put_atom(&b, "ok");
        if (j->count)
            term_put_list(&b, (uint32_t)j->count);
    }
    for (size_t i = 0; j->caller && i < j->count; i++)
        put_answer(&b, &j->requests[i]);
    if (j->caller && j->is_batch)
        term_put_nil(&b);
    if (j->caller)
        dist_reply(j->caller, session, buf_view(&b));
    buf_free(&b);
    job_free(j);
}

static void request_refuse(struct request *q, enum err e, const char *why)
{
    static const struct fault unsaid;

    metric_add(e == ERR_BUSY ? METRIC_BUSY : METRIC_REFUSED, 1);
    if (q->job->caller)
        answer_error(&q->refusal, e, q->fault ? q->fault : &unsaid, why);
}

/* ---- on the store thread --------------------------------------------------- */

/* The second half.  A refusal is rare, and answered only after the round: it is kept until then. */
static enum err finish_draft(struct request *q, const struct checkpoint *known, int64_t now_us,
                             struct document *document)
{
    struct fault fault;

    fault_clear(&fault);
    int64_t after_us = q->how & PUT_UNLESS_NEWER ? 0 : known->last_projected_us;
    struct past past = {known->fold, known->recent};
    enum err e = projection_finish(q->draft, past, after_us, now_us, document, &fault);

    if (e != ERR_OK) {
        q->fault = base_alloc(sizeof *q->fault);
        *q->fault = fault;
    }
    return e;
}

/* Keep what the answer needs of ${document}; free the draft, which may be long. */
static void keep_result(struct request *q, const struct document *document,
                        struct decision decision)
{
    q->kind = document->kind;
    memcpy(q->hash, document->hash, sizeof q->hash);
    q->id = base_strndup(document->id.data, document->id.len);
    if (q->want_summary)
        buf_slice(&q->summary, document->json);
    q->result = (struct answer_result){.document_id = slice_of(q->id, document->id.len),
                                       .decision = decision,
                                       .confirmed = q->wait_written,
                                       .seq = document->seq,
                                       .hash = q->hash,
                                       .summary = buf_view(&q->summary)};
    draft_free(q->draft);
    q->draft = NULL;
}

/* Report the outcome to taps. */
static void tell(const struct request *q, enum err e, const char *why)
{
    const struct decision *is = &q->result.decision;

    if (!tap_is_open())
        return;
    struct slice id = q->draft != NULL ? draft_id(q->draft) : q->result.document_id;
    const struct kind *kind = kinds_of_id(q->job->intake->options.kinds, id);
    enum tap_event event = e != ERR_OK ? TAP_NOT_KEPT : is->write ? TAP_KEPT : TAP_SKIPPED;
    const char *reason = e == ERR_OK ? decide_reason_text(is->reason) : *why ? why : err_text(e);
    tap_tell(event, slice_str(kind != NULL ? kind->name : ""), id, q->result.seq, reason);
}

/* E1 -> E2, if the round commits. */
static enum err request_apply(struct intent *in, struct round *r)
{
    struct request *q = (struct request *)in;
    struct buf *made = &q->job->intake->made; /* documents are finished in one place */
    struct checkpoint known = {0};
    struct document document;
    struct decision decision = {0};

    enum err e = q->wait_written && !round_may_hold(r)
                     ? ERR_BUSY
                     : round_checkpoint(r, draft_id(q->draft), &known);
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    draft_swap_out(q->draft, made);
    e = finish_draft(q, &known, round_now_us(r), &document);
    if (e == ERR_OK)
        e = round_put(r, &document, q->how | (document.may_go_below ? PUT_RESET : 0u), &decision);
    draft_swap_out(q->draft, made);
    if (e != ERR_OK)
        return e;
    keep_result(q, &document, decision);
    if (!q->wait_written)
        return ERR_OK;
    tell(q, ERR_OK, ""); /* settled only when it is written; a failed commit is reported then */
    return round_hold_written(r, in, q->result.document_id,
                              clock_mono_us() + q->deadline_ms * 1000);
}

static void request_settled(struct intent *in, enum err e, const char *why)
{
    struct request *q = (struct request *)in;
    struct job *j = q->job;

    if (!q->wait_written || (e != ERR_OK && e != ERR_SINK && e != ERR_DRAINING))
        tell(q, e, why);
    if (e != ERR_OK)
        request_refuse(q, e, why);
    else
        metric_count(LABELLED_PROJECTIONS, q->kind->name, q->result.decision.reason);
    PRE(j->unsettled > 0);
    if (--j->unsettled == 0)
        job_finish(j, j->intake->options.answers);
}

static bool request_is_gone(const struct intent *in)
{
    const struct job *j = ((const struct request *)in)->job;

    return j->caller != NULL && dist_caller_is_gone(j->caller);
}

/* ---- submitting ------------------------------------------------------------ */

/* Chain the requests of ${j} that have a draft after *${tail}; returns the new tail. */
static struct intent **job_chain(struct job *j, struct intent **tail)
{
    for (size_t i = 0; i < j->count; i++)
        if (j->requests[i].draft) {
            *tail = &j->requests[i].intent;
            tail = &j->requests[i].intent.next;
        }
    *tail = NULL;
    return tail;
}

static void job_refuse(struct job *j, struct dist_session *session, enum err e)
{
    for (size_t i = 0; i < j->count; i++)
        if (j->requests[i].draft)
            request_refuse(&j->requests[i], e, "");
    job_finish(j, session);
}

static void job_submit(struct job *j, struct dist_session *session)
{
    struct intent *first;

    job_chain(j, &first);
    enum err e = outbox_submit(j->intake->outbox, first, j->unsettled, j->cost_bytes);
    if (e != ERR_OK)
        job_refuse(j, session, e);
}

/* Submit what was gathered at once; if that is too much for the queue, job by job. */
static void gather_submit(struct intake *i, struct dist_session *session)
{
    struct gather *g = *dist_session_gathered(session);
    struct intent *first = NULL, **tail = &first;

    if (g == NULL)
        return;
    for (struct job *k = g->first; k; k = k->next_gathered)
        tail = job_chain(k, tail);
    enum err e = outbox_submit(i->outbox, first, g->count, g->cost_bytes);
    for (struct job *next, *j = g->first; e != ERR_OK && j; j = next) {
        next = j->next_gathered;
        job_submit(j, session);
    }
    free(g);
    *dist_session_gathered(session) = NULL;
}

static struct gather *gather_of(struct dist_session *session)
{
    void **at = dist_session_gathered(session);

    if (*at == NULL) {
        struct gather *g = *at = base_alloc(sizeof *g);
        g->last = &g->first;
    }
    return *at;
}

/* Add ${bytes} to *${sum}; false: it was not empty, and is more than ${max} now. */
static bool is_within(atomic_size_t *sum, size_t bytes, size_t max)
{
    size_t before = bytes > 0 ? atomic_fetch_add(sum, bytes) : 0;

    return before == 0 || before + bytes <= max;
}

/* Count the memory that the job holds beyond its time in the queue; false: it is too much. */
static bool count_waiting(struct job *j)
{
    for (size_t i = 0; i < j->count; i++) {
        const struct request *q = &j->requests[i];
        if (q->draft == NULL)
            j->refused_bytes += sizeof *q + q->refusal.cap;
        else if (q->wait_written)
            j->awaited_bytes = j->cost_bytes;
    }
    bool is_awaitable = is_within(&j->intake->awaited_bytes, j->awaited_bytes, AWAITED_BYTES);
    return is_within(&j->intake->refused_bytes, j->refused_bytes, REFUSED_BYTES) && is_awaitable;
}

static void gather_job(struct job *j, struct dist_session *session)
{
    if (j->unsettled == 0) {
        job_finish(j, session);
        return;
    }
    if (!count_waiting(j)) {
        job_refuse(j, session, ERR_BUSY);
        return;
    }
    struct gather *g = gather_of(session);
    *g->last = j;
    g->last = &j->next_gathered;
    g->count += j->unsettled;
    g->cost_bytes += j->cost_bytes;
    if (g->count >= GATHER_MAX || g->cost_bytes >= GATHER_BYTES)
        gather_submit(j->intake, session);
}

/* ---- reading a request ----------------------------------------------------- */

/* Opts of a request. */
struct request_options {
    struct projection_options projection;
    int64_t deadline_ms;
    bool force, unless_ahead, unless_newer;
    unsigned origin;
    unsigned ack, answer; /* their choices; 0: not given */
};

enum { ACK_WRITTEN = 2, ANSWER_SUMMARY = 1, ANSWER_NONE = 2 };

#define AT(member) offsetof(struct request_options, member)
#define A_FLAG     "true or false is wanted"

static const struct argument request_arguments[] = {
    {"ack", ARGUMENT_CHOICE, AT(ack), .choices = "kept|written",
     .wanted = "kept or written is wanted"},
    {"now", ARGUMENT_TERM, AT(projection.now), .wanted = NULL},
    {"projection_version", ARGUMENT_TEXT, AT(projection.version), .wanted = "a binary is wanted"},
    {"seq_range", ARGUMENT_RANGE, AT(projection.range), .max = INT64_MAX,
     .wanted = "{First, Last} with First =< Last is wanted"},
    {"reset", ARGUMENT_FLAG, AT(projection.reset), .wanted = A_FLAG},
    {"force", ARGUMENT_FLAG, AT(force), .wanted = A_FLAG},
    {"unless_ahead", ARGUMENT_FLAG, AT(unless_ahead), .wanted = A_FLAG},
    {"unless_newer", ARGUMENT_FLAG, AT(unless_newer), .wanted = A_FLAG},
    {"origin", ARGUMENT_CHOICE, AT(origin), .choices = "catch_up|sweep",
     .wanted = "catch_up or sweep is wanted"},
    {"after_seq", ARGUMENT_NUMBER, AT(projection.after_seq), .max = INT64_MAX,
     .wanted = "a seq is wanted"},
    {"log_end", ARGUMENT_NUMBER, AT(projection.log_end), .max = INT64_MAX,
     .wanted = "a seq is wanted"},
    {"row_version", ARGUMENT_NUMBER, AT(projection.row_version), .max = INT64_MAX,
     .wanted = "an integer from 0 to 2^53 - 1 is wanted"},
    {"below", ARGUMENT_FLAG, AT(projection.below), .wanted = A_FLAG},
    {"events_before", ARGUMENT_NUMBER, AT(projection.events_before), .max = INT64_MAX,
     .wanted = "a number of events is wanted"},
    {"deadline_ms", ARGUMENT_NUMBER, AT(deadline_ms), .max = DEADLINE_MAX_MS,
     .wanted = "milliseconds from 0 to a day are wanted"},
    {"return", ARGUMENT_CHOICE, AT(answer), .choices = "summary|none",
     .wanted = "summary or none is wanted"},
};

enum { REQUEST_ARGUMENTS = sizeof request_arguments / sizeof *request_arguments };

static enum err read_options(const struct intake *i, struct request *q, term opts,
                             struct projection_options *projection)
{
    struct request_options o = {.projection = {.version = slice_str(i->options.projection_version),
                                               .no_hash = !i->options.hash,
                                               .range = {-1},
                                               .row_version = -1,
                                               .log_end = -1},
                                .deadline_ms = DEADLINE_MS};
    enum err e = arguments_options(opts, request_arguments, REQUEST_ARGUMENTS, &o, q->fault);

    *projection = o.projection;
    projection->has_range = o.projection.range[0] >= 0;
    projection->has_row_version = o.projection.row_version >= 0;
    projection->has_log_end = o.projection.log_end >= 0;
    q->deadline_ms = o.deadline_ms;
    q->how = (o.projection.reset ? PUT_RESET : 0u) | (o.force ? PUT_FORCE : 0u) |
             (o.unless_ahead ? PUT_UNLESS_AHEAD : 0u) | (o.unless_newer ? PUT_UNLESS_NEWER : 0u) |
             (o.origin == 1   ? PUT_CATCH_UP
              : o.origin == 2 ? PUT_SWEEP
                              : 0u);
    q->wait_written = o.ack == ACK_WRITTEN && q->job->caller != NULL;
    q->want_summary = o.answer == ANSWER_SUMMARY;
    q->want_nothing = o.answer == ANSWER_NONE;
    return e;
}

/* {project, Kind, EntityId, Row, Events, Opts} or {upsert, Kind, DocumentId, Summary, Opts};
 * ${end} becomes what follows it, if it was parsed that far. */
static enum err read_request(struct intake *i, struct request *q, term words, term *end)
{
    struct projection_options options;
    bool project = term_is(term_element(words, 0), "project") && term_arity(words) == 6;
    bool upsert = term_is(term_element(words, 0), "upsert") && term_arity(words) == 5;
    const struct kind *kind;

    if (!project && !upsert) {
        return fault_say(q->fault, NULL, "neither {project, ...} nor {upsert, ...}");
    }
    /* Each element is skipped once: rows are long. */
    term name = term_element(words, 1), id_text = term_next(name), row = term_next(id_text);
    term events = term_next(row), opts = project ? term_next(events) : events;
    *end = term_next(opts);
    enum err e = arguments_kind(i->options.kinds, name, &kind, q->fault);
    if (e == ERR_OK)
        e = read_options(i, q, opts, &options);
    if (e != ERR_OK)
        return e;
    struct slice id = term_text(id_text);
    if (id.data == NULL) {
        return fault_say(q->fault, upsert ? "document_id" : "entity_id", "is not text");
    }
    if (upsert)
        return projection_adopt(kind, id, row, &options, &q->draft, q->fault);
    return projection_prepare(kind, id, row, events, &options, &q->draft, q->fault);
}

/* ---- jobs ------------------------------------------------------------------ */

static struct job *job_new(struct intake *i, struct caller *caller, size_t count, bool is_batch)
{
    struct job *j = base_alloc(sizeof *j + count * sizeof j->requests[0]);

    j->intake = i;
    j->caller = caller;
    j->is_batch = is_batch;
    j->count = count;
    return j;
}

/* Returns what follows ${words}. */
static term job_add(struct job *j, size_t index, term words)
{
    struct request *q = &j->requests[index];
    struct intake *i = j->intake;
    struct fault fault;
    enum err e = control_is_draining(i->control) ? ERR_DRAINING : ERR_OK;
    term end = NULL;

    fault_clear(&fault);
    q->job = j;
    q->fault = &fault;
    q->intent.apply = request_apply;
    q->intent.settled = request_settled;
    q->intent.is_gone = request_is_gone;
    if (e == ERR_OK)
        e = read_request(i, q, words, &end);
    if (e != ERR_OK)
        request_refuse(q, e, "");
    q->fault = NULL;
    if (end == NULL)
        end = term_next(words);
    if (e != ERR_OK)
        return end;
    q->intent.cost_bytes = sizeof *q + draft_bytes(q->draft);
    j->cost_bytes += q->intent.cost_bytes;
    j->unsettled++;
    return end;
}

static void take_one(struct intake *i, struct dist_session *session, struct caller *caller,
                     term words)
{
    struct job *j = job_new(i, caller, 1, false);

    metric_add(METRIC_REQUESTS, 1);
    (void)job_add(j, 0, words);
    gather_job(j, session);
}

/* false: the list is improper, which shows at its end; nothing is taken then. */
static bool take_batch(struct intake *i, struct dist_session *session, struct caller *caller,
                       term words)
{
    term list = term_element(words, 1);
    uint32_t n = term_arity(list);
    struct job *j = job_new(i, caller, n, true);
    term at = n ? term_items(list) : list;

    for (uint32_t k = 0; k < n; k++)
        at = job_add(j, k, at);
    if (term_type(at) != TERM_NIL) {
        job_free(j);
        return false;
    }
    metric_add(METRIC_REQUESTS, n);
    gather_job(j, session);
    return true;
}

static bool is_batch(term words)
{
    term list = term_element(words, 1);

    return term_is(term_element(words, 0), "batch") && term_arity(words) == 2 &&
           (term_type(list) == TERM_NIL ||
            (term_type(list) == TERM_LIST && term_arity(list) <= BATCH_MAX));
}

static bool is_document(term words)
{
    return (term_is(term_element(words, 0), "project") && term_arity(words) == 6) ||
           (term_is(term_element(words, 0), "upsert") && term_arity(words) == 5);
}

/* ---- what dist calls ------------------------------------------------------- */

static void on_call(void *arg, struct dist_session *session, struct caller *caller, term request)
{
    struct intake *i = arg;

    if (is_document(request)) {
        take_one(i, session, caller, request);
    } else if (!(is_batch(request) && take_batch(i, session, caller, request)) &&
               !control_take(i->control, session, caller, request)) {
        struct buf answer = {0};
        metric_add(METRIC_REFUSED, 1);
        answer_error_atom(&answer, "bad_request");
        dist_reply(caller, session, buf_view(&answer));
        buf_free(&answer);
    }
}

static void on_cast(void *arg, struct dist_session *session, term request)
{
    struct intake *i = arg;

    if (is_document(request))
        take_one(i, session, NULL, request);
    else if (!(is_batch(request) && take_batch(i, session, NULL, request)))
        metric_add(METRIC_MESSAGES_UNKNOWN, 1);
}

static void on_left(void *arg)
{
    outbox_gone(((struct intake *)arg)->outbox);
}

static void on_gathered(void *arg, struct dist_session *session)
{
    gather_submit(arg, session);
}

/* ---- open and close -------------------------------------------------------- */

struct intake *intake_open(struct outbox *o, struct control *control,
                           const struct intake_options *options)
{
    struct intake *i = base_alloc(sizeof *i);

    i->outbox = o;
    i->control = control;
    i->options = *options;
    return i;
}

struct dist_handler intake_handler(struct intake *i)
{
    return (struct dist_handler){i, on_call, on_cast, on_gathered, on_left};
}

void intake_close(struct intake *i)
{
    if (i == NULL)
        return;
    buf_free(&i->made);
    free(i);
}
