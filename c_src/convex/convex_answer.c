/*
 * convex_answer.c - what an answer of Convex means.
 *
 * The happy path: the call was answered with 200 and
 * {"status":"success","value":{"results":[...]}}; each result has an outcome, and each outcome is
 * a verdict.  "stale" counts as done: Convex holds something newer than what we sent.
 *
 * Everything else is read into a few facts (how it ended, status, form of the body, code, first
 * useful line of the message), and the first row of convex_answer.def that fits them is the
 * verdict. An answer that is not understood is UNKNOWN: the documents are sent again, which the
 * functions' guard makes harmless.
 *
 * The body comes from outside: bounded by http, parsed by jansson (but for the one form that is a
 * whole success, letter for letter), of any type until checked.  No state, any thread.
 */

#include "convex/convex_answer.h"

#include <jansson.h>

/* What the body of an answer is. */
enum form {
    FORM_ANY,     /* in the table only: fits every form */
    FORM_SUCCESS, /* {"status":"success","value":...} */
    FORM_THROWN,  /* {"status":"error",...,"errorData":...}: the function threw a ConvexError */
    FORM_ERROR,   /* {"status":"error","errorMessage":...} */
    FORM_CODE,    /* {"code":...,"message":...} */
    FORM_OTHER    /* not JSON, or none of these */
};

struct row {
    const char *note;
    long from, to;
    enum http_end end;
    enum form form;
    enum verdict_kind verdict;
    bool is_endpoints;
};

enum { SCOPE_ROW_ANY, SCOPE_ROW_ENDPOINT };

static const struct row rows[] = {
#define ROW(end_, from_, to_, form_, verdict_, scope_, note_, source_)                             \
    {.end = end_,                                                                                  \
     .from = from_,                                                                                \
     .to = to_,                                                                                    \
     .form = form_,                                                                                \
     .verdict = VERDICT_##verdict_,                                                                \
     .is_endpoints = SCOPE_ROW_##scope_ == SCOPE_ROW_ENDPOINT,                                     \
     .note = note_},
#include "convex/convex_answer.def"
#undef ROW
};

#define ROW_COUNT (sizeof rows / sizeof rows[0])

/* The outcomes of upsertBatch that need nothing more. */
static const char *const done_outcomes[] = {
    [OUTCOME_INSERTED] = "inserted",   [OUTCOME_UPDATED] = "updated",
    [OUTCOME_UNCHANGED] = "unchanged", [OUTCOME_STALE] = "stale",
    [OUTCOME_REMOVED] = "removed",
};

#define OUTCOMES (sizeof done_outcomes / sizeof done_outcomes[0])

struct facts {
    enum http_end end;
    long status;
    enum form form;
    char code[64];       /* Convex's, or the errorData's; "" for none */
    char request_id[40]; /* of a function error; "" for none */
    const char *message; /* borrowed from root or answer; "" for none */
    const json_t *value; /* of FORM_SUCCESS; borrowed from root */
    json_t *root;        /* owned */
};

/* ---- text ------------------------------------------------------------------------------------ */

/* Copy the first line of ${text}, control characters as blanks, cut between UTF-8 characters. */
static void copy_line(char *out, size_t size, const char *text)
{
    size_t len = 0;

    while (len < size - 1 && text[len] && text[len] != '\n') {
        unsigned char byte = (unsigned char)text[len];
        out[len] = byte < 0x20 || byte == 0x7f ? ' ' : text[len];
        len++;
    }
    if (text[len] && text[len] != '\n')
        while (len && ((unsigned char)text[len] & 0xc0) == 0x80)
            len--;
    out[len] = 0;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

/*
 * "[Request ID: 0123] Server Error\nUncaught Error: x\n  at ..." -> "Uncaught Error: x", with the
 * id aside; "" when the deployment hides the rest (REDACT_LOGS_TO_CLIENT).
 */
static const char *useful_line(const char *message, char *request_id, size_t size)
{
    static const char opening[] = "[Request ID: ", closing[] = "] Server Error";
    const char *end;

    request_id[0] = 0;
    if (strncmp(message, opening, sizeof opening - 1) == 0 &&
        (end = strstr(message, closing)) != NULL) {
        message += sizeof opening - 1;
        snprintf(request_id, size, "%.*s",
                 (int)((size_t)(end - message) < size ? (size_t)(end - message) : size - 1),
                 message);
        message = end + sizeof closing - 1;
    }
    while (*message == '\n' || *message == ' ')
        message++;
    return message;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* A ConvexError's data: an object with a code, if the function follows the convention, or anything.
 */
static void read_thrown(struct facts *f, const json_t *data)
{
    const char *message = text_of(data, "message");

    copy_line(f->code, sizeof f->code, text_of(data, "code"));
    if (json_is_string(data))
        f->message = json_string_value(data);
    else if (message[0] || f->code[0])
        f->message = message;
}

static enum form read_mutation(struct facts *f)
{
    const json_t *data = json_object_get(f->root, "errorData");

    if (strcmp(text_of(f->root, "status"), "success") == 0) {
        f->value = json_object_get(f->root, "value");
        return FORM_SUCCESS;
    }
    f->message = useful_line(text_of(f->root, "errorMessage"), f->request_id, sizeof f->request_id);
    if (f->status == 560)
        f->status = 200;
    if (data == NULL)
        return FORM_ERROR;
    read_thrown(f, data);
    return FORM_THROWN;
}

static enum form read_body(struct facts *f)
{
    const char *status = text_of(f->root, "status");

    if ((strcmp(status, "error") == 0 || strcmp(status, "success") == 0))
        return read_mutation(f);
    if (json_is_string(json_object_get(f->root, "code"))) {
        copy_line(f->code, sizeof f->code, text_of(f->root, "code"));
        f->message = text_of(f->root, "message");
        return FORM_CODE;
    }
    return FORM_OTHER;
}

/* The one place where an answer is parsed.  Numbers may be of any size, texts may hold NUL. */
static void read_facts(struct facts *f, const struct http_answer *answer)
{
    *f = (struct facts){.end = answer->end, .status = answer->status, .message = ""};
    if (answer->end != HTTP_ANSWERED) {
        f->form = FORM_OTHER;
        f->message = answer->detail;
        return;
    }
    if (answer->body.len)
        f->root = json_loadb((const char *)answer->body.data, answer->body.len,
                             JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, NULL);
    f->form = read_body(f);
}

/* ---- judging --------------------------------------------------------------------------------- */

static bool fits(const struct row *r, const struct facts *f)
{
    return r->end == f->end && f->status >= r->from && f->status <= r->to &&
           (r->form == FORM_ANY || r->form == f->form);
}

/* The last row matches every status, so a row is always found. */
static const struct row *find_row(const struct facts *f)
{
    for (size_t i = 0; i < ROW_COUNT; i++)
        if (fits(&rows[i], f))
            return &rows[i];
    return &rows[ROW_COUNT - 1];
}

/* "HTTP 503 CommitterFullError: Too many ...", the most helpful part first. */
static void explain(const struct row *r, const struct facts *f, char *out, size_t size)
{
    bool in_function = f->form == FORM_ERROR || f->form == FORM_THROWN;
    const char *parts[4];
    size_t count = 0, len = 0;
    char first[96] = "", hidden[96] = "", line[256];

    if (f->end == HTTP_ANSWERED && !in_function)
        snprintf(first, sizeof first, "HTTP %ld%s%s", f->status, f->code[0] ? " " : "", f->code);
    else if (f->end == HTTP_ANSWERED)
        snprintf(first, sizeof first, "%s", f->code);
    if (in_function && !first[0] && !f->message[0])
        snprintf(hidden, sizeof hidden, "Server Error, hidden by the deployment (request id %s)",
                 f->request_id[0] ? f->request_id : "unknown");
    parts[count++] = first;
    parts[count++] = r->note ? r->note : "";
    parts[count++] = f->message;
    parts[count++] = hidden;
    out[0] = 0;
    for (size_t i = 0; i < count; i++) {
        copy_line(line, sizeof line, parts[i]);
        if (line[0] == 0 || len >= size - 3)
            continue;
        if (len)
            len += (size_t)snprintf(out + len, size - len, ": ");
        copy_line(out + len, size - len, line);
        len += strlen(out + len);
    }
}

/* Step over ${text}, if ${s} begins with it. */
static bool take(struct slice *s, const char *text)
{
    size_t len = strlen(text);

    if (!slice_starts(*s, slice_str(text)))
        return false;
    *s = slice_of(s->data + len, s->len - len);
    return true;
}

static bool take_digits(struct slice *s)
{
    size_t n = 0;

    while (n < s->len && s->data[n] >= '0' && s->data[n] <= '9')
        n++;
    *s = slice_of(s->data + n, s->len - n);
    return n > 0;
}

static bool take_done_outcome(struct slice *s, enum outbox_outcome *outcome)
{
    for (size_t i = OUTCOME_INSERTED; i < OUTCOMES; i++)
        if (take(s, done_outcomes[i])) {
            *outcome = (enum outbox_outcome)i;
            return take(s, "\"");
        }
    return false;
}

/* {"outcome":"updated","seq":7} after the brace, as priv/convex answers; 7.0 as well. */
static bool take_done_result(struct slice *s, struct verdict *v)
{
    *v = (struct verdict){.kind = VERDICT_DONE};
    if (!take(s, "\"outcome\":\"") || !take_done_outcome(s, &v->outcome))
        return false;
    bool has_seq = take(s, ",\"seq\":");
    if (has_seq && (!take_digits(s) || (take(s, ".") && !take_digits(s))))
        return false;
    return take(s, "}");
}

/* A count, 7 or 7.0, below 10^16. */
static bool take_count(struct slice *s, uint64_t *n)
{
    size_t digits = 0;

    *n = 0;
    while (digits < s->len && digits <= 16 && s->data[digits] >= '0' && s->data[digits] <= '9')
        *n = *n * 10 + (uint64_t)(s->data[digits++] - '0');
    *s = slice_of(s->data + digits, s->len - digits);
    (void)take(s, ".0");
    return digits > 0 && digits <= 16;
}

/* A string without escapes, and its closing quote. */
static bool take_text(struct slice *s, char *out, size_t size)
{
    size_t n = 0;

    while (n < s->len && n < size && s->data[n] >= ' ' && s->data[n] < 0x7f && s->data[n] != '"' &&
           s->data[n] != '\\')
        n++;
    if (n == size)
        return false;
    memcpy(out, s->data, n);
    out[n] = 0;
    *s = slice_of(s->data + n, s->len - n);
    return take(s, "\"");
}

/* The echo of functions of version 2, which comes first: Convex writes the keys of an object in
 * order. */
static bool take_echo(struct slice *s, struct convex_echo *e)
{
    uint64_t functions = 0, mark = 0;

    if (!take(s, "{\"call\":") || !take_count(s, &e->call) || !take(s, ",\"deployment\":\"") ||
        !take_text(s, e->deployment, sizeof e->deployment) || !take(s, ",\"functions\":") ||
        !take_count(s, &functions) || functions > 1000 || !take(s, ",\"mark\":"))
        return false;
    e->functions = (int)functions;
    if (!take(s, "null") && !take_count(s, &mark))
        return false;
    e->mark = mark > 0 ? (int64_t)mark : -1;
    return take(s, ",");
}

/*
 * Recognize the most common answer without building a JSON tree: exactly the text that Convex
 * writes when every document succeeded, with a verdict for each.  Anything else is left to
 * jansson.  ${echo} is NULL if the call had no number.
 */
static bool is_plain_success(struct slice body, enum convex_call call, struct convex_echo *echo,
                             struct verdict *overall, struct verdict *each, size_t count)
{
    *overall = (struct verdict){.kind = VERDICT_DONE};
    if (!take(&body, "{\"status\":\"success\",\"value\":"))
        return false;
    if (call == CONVEX_SINGLE && echo == NULL && take(&body, "null"))
        return slice_eq(body, slice_str("}"));
    if ((call != CONVEX_SINGLE && call != CONVEX_BATCH) ||
        !(echo ? take_echo(&body, echo) : take(&body, "{")))
        return false;
    if (call == CONVEX_SINGLE)
        return take_done_result(&body, overall) && slice_eq(body, slice_str("}"));
    if (!take(&body, "\"results\":["))
        return false;
    for (size_t i = 0; i < count; i++)
        if ((i > 0 && !take(&body, ",")) || !take(&body, "{") || !take_done_result(&body, &each[i]))
            return false;
    return slice_eq(body, slice_str("]}}"));
}

static enum outbox_outcome outcome_of(const char *text)
{
    for (size_t i = OUTCOME_INSERTED; i < OUTCOMES; i++)
        if (strcmp(text, done_outcomes[i]) == 0)
            return (enum outbox_outcome)i;
    return OUTCOME_UNSAID;
}

/* One result of a batch; false: it is unknown. */
static bool judge_result(const json_t *result, struct verdict *v)
{
    const char *outcome = text_of(result, "outcome");
    char ignored[40];

    *v = (struct verdict){.kind = VERDICT_DONE, .outcome = outcome_of(outcome)};
    if (v->outcome != OUTCOME_UNSAID)
        return true;
    if (strcmp(outcome, "rejected") != 0)
        return false;
    v->kind = VERDICT_REFUSED;
    copy_line(v->why, sizeof v->why,
              useful_line(text_of(result, "error"), ignored, sizeof ignored));
    if (v->why[0] == 0)
        snprintf(v->why, sizeof v->why, "rejected without a reason");
    return true;
}

/*
 * Functions of version 1 catch what they should throw: the transaction exceeded a limit, and the
 * item at which that happened need not be the cause.
 */
static bool is_transactions(const struct verdict *v)
{
    return v->kind == VERDICT_REFUSED && strstr(v->why, " in a single function execution") != NULL;
}

/* The results of a batch that succeeded as a whole; anything unexpected makes all of it unknown. */
static bool judge_batch(const json_t *value, struct verdict *overall, struct verdict *each,
                        size_t count)
{
    const json_t *results = json_object_get(value, "results");

    if (json_is_array(results) && json_array_size(results) == count) {
        size_t i = 0;
        while (i < count && judge_result(json_array_get(results, i), &each[i]) &&
               !is_transactions(&each[i]))
            i++;
        if (i == count)
            return true;
        if (is_transactions(&each[i])) {
            *overall = each[i];
            return false;
        }
        snprintf(overall->why, sizeof overall->why,
                 "the batch mutation answered an unknown outcome for document %zu", i + 1);
    } else if (json_is_array(results)) {
        snprintf(overall->why, sizeof overall->why,
                 "the batch mutation answered %zu results for %zu documents",
                 json_array_size(results), count);
    } else {
        snprintf(overall->why, sizeof overall->why, "the batch mutation answered no results");
    }
    overall->kind = VERDICT_UNKNOWN;
    return false;
}

/* ---- who answered ---------------------------------------------------------------------------- */

static uint64_t count_of(const json_t *object, const char *key)
{
    double v = json_number_value(json_object_get(object, key));

    return v >= 0 && v <= 9007199254740991.0 ? (uint64_t)v : 0;
}

static void read_echo(const json_t *value, struct convex_echo *e)
{
    uint64_t mark = count_of(value, "mark"), functions = count_of(value, "functions");

    e->call = count_of(value, "call");
    e->functions = functions > 1000 ? 0 : (int)functions;
    e->mark = mark > 0 ? (int64_t)mark : -1;
    copy_line(e->deployment, sizeof e->deployment, text_of(value, "deployment"));
}

/* A success that does not echo the number of its call is the answer to another call. */
static bool is_answer_to(uint64_t number, const struct convex_echo *echo, struct verdict *overall)
{
    if (number == 0 || echo->call == number)
        return true;
    *overall = (struct verdict){.kind = VERDICT_UNKNOWN};
    if (echo->call == 0)
        snprintf(overall->why, sizeof overall->why, "the answer does not say to which call it is");
    else
        snprintf(overall->why, sizeof overall->why, "the answer is to another call");
    return false;
}

bool convex_answer_judge_numbered(const struct http_answer *answer, enum convex_call call,
                                  uint64_t number, struct convex_echo *echo,
                                  struct verdict *overall, struct verdict *each, size_t count)
{
    struct facts f;
    const struct row *r;
    bool has_each = false;

    *echo = (struct convex_echo){.mark = -1};
    if (answer->end == HTTP_ANSWERED && answer->status == 200 &&
        is_plain_success(answer->body, call, number ? echo : NULL, overall, each, count))
        return is_answer_to(number, echo, overall) && call == CONVEX_BATCH;
    *echo = (struct convex_echo){.mark = -1};
    read_facts(&f, answer);
    r = find_row(&f);
    *overall = (struct verdict){.kind = r->verdict, .is_endpoints = r->is_endpoints};
    if (r->verdict == VERDICT_AGAIN || r->verdict == VERDICT_UNKNOWN)
        overall->after_ms = answer->retry_after_ms;
    if (r->verdict == VERDICT_DONE && number)
        read_echo(f.value, echo);
    if (r->verdict != VERDICT_DONE)
        explain(r, &f, overall->why, sizeof overall->why);
    else if (is_answer_to(number, echo, overall) && call == CONVEX_BATCH)
        has_each = judge_batch(f.value, overall, each, count);
    else if (overall->kind == VERDICT_DONE)
        overall->outcome = outcome_of(text_of(f.value, "outcome"));
    json_decref(f.root);
    return has_each;
}

bool convex_answer_judge(const struct http_answer *answer, enum convex_call call,
                         struct verdict *overall, struct verdict *each, size_t count)
{
    struct convex_echo echo;

    return convex_answer_judge_numbered(answer, call, 0, &echo, overall, each, count);
}

bool convex_answer_attached(const struct http_answer *answer, struct convex_echo *echo,
                            char (*controls)[CONVEX_PATH_BYTES], size_t max, size_t *count)
{
    struct facts f;
    const json_t *names, *name;
    size_t i;

    *echo = (struct convex_echo){.mark = -1};
    *count = 0;
    read_facts(&f, answer);
    read_echo(f.value, echo);
    names = json_object_get(f.value, "controls");
    json_array_foreach(names, i, name)
    {
        if (*count < max && json_is_string(name))
            copy_line(controls[(*count)++], CONVEX_PATH_BYTES, json_string_value(name));
    }
    json_decref(f.root);
    return echo->functions >= 2 && echo->deployment[0] != 0;
}

bool convex_answer_is_done(const struct http_answer *answer)
{
    struct facts f;

    read_facts(&f, answer);
    bool is_done = json_is_true(json_object_get(f.value, "is_done"));
    json_decref(f.root);
    return is_done;
}
