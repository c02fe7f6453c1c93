/*
 * convex_answer_test.c - every row of the verdict table, what the verdicts say, and docs/CONVEX.md.
 *
 * The room is included, not linked, so that the tests see its table: a row that no case reaches
 * fails the last test.
 */

#include "test.h"
#include "edge.h"
#include "manual.h"

#include "convex/convex_answer.c"

#include <ctype.h>

#define ERROR_200(text)                                                                            \
    "{\"status\":\"error\",\"errorMessage\":\"[Request ID: 0123456789abcdef] Server Error\\n" text \
    "\\n    at handler (../convex/x.ts:9:3)\\n\"}"
#define CODE(code, message) "{\"code\":\"" code "\",\"message\":\"" message "\"}"
#define HTML                "<html><body>502 Bad Gateway</body></html>"

struct expectation {
    enum http_end end;
    long status;
    enum convex_call call;
    const char *body; /* or the detail, when there is no answer */
    enum verdict_kind verdict;
    const char *why;
};

static const struct expectation cases[] = {
    /* no answer */
    {HTTP_NOT_SENT, 0, CONVEX_SINGLE, "Connection refused", VERDICT_AGAIN,
     "not sent: Connection refused"},
    {HTTP_TIMEOUT, 0, CONVEX_SINGLE, "after 30000 ms", VERDICT_UNKNOWN,
     "no whole answer in time: after 30000 ms"},
    {HTTP_BROKEN, 0, CONVEX_SINGLE, "reset by peer", VERDICT_UNKNOWN,
     "the connection broke: reset by peer"},
    {HTTP_TOO_LARGE, 0, CONVEX_SINGLE, "over 4096 bytes", VERDICT_UNKNOWN,
     "the answer is not Convex's: over 4096 bytes"},
    {HTTP_ABANDONED, 0, CONVEX_SINGLE, "given up on shutdown", VERDICT_UNKNOWN,
     "no answer: given up on shutdown"},
    /* 200, success */
    {HTTP_ANSWERED, 200, CONVEX_SINGLE, "{\"status\":\"success\",\"value\":null}", VERDICT_DONE,
     ""},
    {HTTP_ANSWERED, 200, CONVEX_SINGLE, "{\"status\":\"success\"}", VERDICT_DONE, ""},
    {HTTP_ANSWERED, 200, CONVEX_SINGLE,
     "{\"status\":\"success\",\"value\":[1e21,99999999999999999999,\"\\u0000\"],\"logLines\":[]}",
     VERDICT_DONE, ""},
    /* 200, a failure of the function */
    {HTTP_ANSWERED, 200, CONVEX_SINGLE,
     "{\"status\":\"error\",\"errorMessage\":\"[Request ID: a] Server Error\","
     "\"errorData\":{\"code\":\"BAD_SEQ\",\"document_id\":\"d\"}}",
     VERDICT_REFUSED, "BAD_SEQ"},
    {HTTP_ANSWERED, 200, CONVEX_SINGLE,
     "{\"status\":\"error\",\"errorMessage\":\"[Request ID: a] Server Error\\nUncaught\","
     "\"errorData\":{\"code\":\"BAD_SEQ\",\"message\":\"seq is\\t-1\\nmore\"}}",
     VERDICT_REFUSED, "BAD_SEQ: seq is -1"},
    {HTTP_ANSWERED, 200, CONVEX_SINGLE,
     "{\"status\":\"error\",\"errorMessage\":\"x\",\"errorData\":\"Cannot run functions while this "
     "deployment is paused\"}",
     VERDICT_REFUSED, "Cannot run functions while this deployment is paused"},
    {HTTP_ANSWERED, 200, CONVEX_SINGLE,
     "{\"status\":\"error\",\"errorMessage\":\"[Request ID: a] Server Error\\nUncaught "
     "ConvexError: "
     "7\",\"errorData\":7.0}",
     VERDICT_REFUSED, "Uncaught ConvexError: 7"},
    {HTTP_ANSWERED, 200, CONVEX_BATCH, ERROR_200("Could not find public function for 'runtime:x'."),
     VERDICT_REFUSED, "Could not find public function for 'runtime:x'."},
    {HTTP_ANSWERED, 200, CONVEX_BATCH,
     ERROR_200("Trying to execute runtime.js:x as Mutation, but it is defined as Query."),
     VERDICT_REFUSED, "Trying to execute runtime.js:x as Mutation, but it is defined as Query."},
    {HTTP_ANSWERED, 200, CONVEX_BATCH,
     ERROR_200("Convex functions at or below version 0.19.1 are no longer supported."),
     VERDICT_REFUSED, "Convex functions at or below version 0.19.1 are no longer supported."},
    {HTTP_ANSWERED, 200, CONVEX_BATCH,
     ERROR_200("Cannot run functions while this deployment is paused. Resume it."), VERDICT_REFUSED,
     "Cannot run functions while this deployment is paused. Resume it."},
    {HTTP_ANSWERED, 200, CONVEX_BATCH,
     ERROR_200("Cannot run functions while this deployment is suspended."), VERDICT_REFUSED,
     "Cannot run functions while this deployment is suspended."},
    {HTTP_ANSWERED, 200, CONVEX_BATCH,
     ERROR_200("You have exceeded the free plan limits, so your deployments have been disabled."),
     VERDICT_REFUSED,
     "You have exceeded the free plan limits, so your deployments have been disabled."},
    {HTTP_ANSWERED, 200, CONVEX_BATCH,
     ERROR_200("You do not have permission to perform this operation (x)."), VERDICT_REFUSED,
     "You do not have permission to perform this operation (x)."},
    {HTTP_ANSWERED, 200, CONVEX_BATCH, ERROR_200("Uncaught Error: boom"), VERDICT_REFUSED,
     "Uncaught Error: boom"},
    {HTTP_ANSWERED, 200, CONVEX_BATCH,
     ERROR_200("Uncaught Error: Cannot run functions while this deployment is paused."),
     VERDICT_REFUSED, "Uncaught Error: Cannot run functions while this deployment is paused."},
    {HTTP_ANSWERED, 200, CONVEX_BATCH,
     ERROR_200("ArgumentValidationError: Object contains extra field `op`"), VERDICT_REFUSED,
     "ArgumentValidationError: Object contains extra field `op`"},
    {HTTP_ANSWERED, 200, CONVEX_BATCH,
     ERROR_200("Function execution timed out (maximum duration: 1s)"), VERDICT_REFUSED,
     "Function execution timed out (maximum duration: 1s)"},
    {HTTP_ANSWERED, 200, CONVEX_BATCH,
     ERROR_200("Uncaught Error: Too many bytes read in a single function execution (limit: "
               "16777216 bytes)."),
     VERDICT_REFUSED,
     "Uncaught Error: Too many bytes read in a single function execution (limit: 16777216 "
     "bytes)."},
    {HTTP_ANSWERED, 200, CONVEX_SINGLE,
     "{\"status\":\"error\",\"errorMessage\":\"[Request ID: 0123] Server Error\"}", VERDICT_REFUSED,
     "Server Error, hidden by the deployment (request id 0123)"},
    {HTTP_ANSWERED, 200, CONVEX_SINGLE, "{\"status\":\"error\"}", VERDICT_REFUSED,
     "Server Error, hidden by the deployment (request id unknown)"},
    {HTTP_ANSWERED, 560, CONVEX_SINGLE, ERROR_200("Uncaught Error: boom"), VERDICT_REFUSED,
     "Uncaught Error: boom"},
    /* 200, not from Convex */
    {HTTP_ANSWERED, 200, CONVEX_SINGLE, "{\"status\":\"success\",\"value\":nu", VERDICT_UNKNOWN,
     "HTTP 200: not an answer of Convex"},
    {HTTP_ANSWERED, 200, CONVEX_SINGLE, "", VERDICT_UNKNOWN, "HTTP 200: not an answer of Convex"},
    {HTTP_ANSWERED, 200, CONVEX_SINGLE, "[\"success\"]", VERDICT_UNKNOWN,
     "HTTP 200: not an answer of Convex"},
    {HTTP_ANSWERED, 200, CONVEX_SINGLE, "{\"status\":{}}", VERDICT_UNKNOWN,
     "HTTP 200: not an answer of Convex"},
    {HTTP_ANSWERED, 204, CONVEX_SINGLE, "", VERDICT_UNKNOWN, "HTTP 204: not an answer of Convex"},
    /* 3xx, 4xx */
    {HTTP_ANSWERED, 308, CONVEX_SINGLE, "", VERDICT_REFUSED,
     "HTTP 308: a redirect: is base_url right?"},
    {HTTP_ANSWERED, 400, CONVEX_SINGLE, CODE("InvalidClientVersion", "m"), VERDICT_REFUSED,
     "HTTP 400 InvalidClientVersion: m"},
    {HTTP_ANSWERED, 400, CONVEX_SINGLE, CODE("ClientVersionUnsupported", "m"), VERDICT_REFUSED,
     "HTTP 400 ClientVersionUnsupported: m"},
    {HTTP_ANSWERED, 400, CONVEX_SINGLE, CODE("InvalidHeaderFailure", "m"), VERDICT_REFUSED,
     "HTTP 400 InvalidHeaderFailure: m"},
    {HTTP_ANSWERED, 400, CONVEX_SINGLE, CODE("HeaderParseFailure", "m"), VERDICT_REFUSED,
     "HTTP 400 HeaderParseFailure: m"},
    {HTTP_ANSWERED, 400, CONVEX_SINGLE, CODE("InvalidAdminKey", "m"), VERDICT_REFUSED,
     "HTTP 400 InvalidAdminKey: m"},
    {HTTP_ANSWERED, 400, CONVEX_SINGLE, CODE("BadConvexFunctionIdentifier", "m"), VERDICT_REFUSED,
     "HTTP 400 BadConvexFunctionIdentifier: m"},
    {HTTP_ANSWERED, 400, CONVEX_SINGLE, CODE("BadFormat", "m"), VERDICT_REFUSED,
     "HTTP 400 BadFormat: m"},
    {HTTP_ANSWERED, 400, CONVEX_SINGLE, CODE("BadJsonBody", "length limit exceeded"),
     VERDICT_REFUSED, "HTTP 400 BadJsonBody: length limit exceeded"},
    {HTTP_ANSWERED, 400, CONVEX_SINGLE, HTML, VERDICT_REFUSED, "HTTP 400"},
    {HTTP_ANSWERED, 401, CONVEX_SINGLE, CODE("BadAdminKey", "The provided admin key was invalid"),
     VERDICT_REFUSED, "HTTP 401 BadAdminKey: The provided admin key was invalid"},
    {HTTP_ANSWERED, 404, CONVEX_SINGLE, "", VERDICT_REFUSED, "HTTP 404: is base_url right?"},
    {HTTP_ANSWERED, 404, CONVEX_SINGLE, CODE("FunctionPathNotFound", "Could not find x"),
     VERDICT_REFUSED, "HTTP 404 FunctionPathNotFound: is base_url right?: Could not find x"},
    {HTTP_ANSWERED, 403, CONVEX_BATCH, CODE("BadDeployKey", "m"), VERDICT_REFUSED,
     "HTTP 403 BadDeployKey: m"},
    {HTTP_ANSWERED, 405, CONVEX_SINGLE, "", VERDICT_REFUSED, "HTTP 405: is base_url right?"},
    {HTTP_ANSWERED, 408, CONVEX_SINGLE, "", VERDICT_UNKNOWN, "HTTP 408"},
    {HTTP_ANSWERED, 409, CONVEX_SINGLE, CODE("Conflict", "m"), VERDICT_AGAIN,
     "HTTP 409 Conflict: m"},
    {HTTP_ANSWERED, 413, CONVEX_SINGLE, HTML, VERDICT_REFUSED,
     "HTTP 413: the body is over the limit of a proxy"},
    {HTTP_ANSWERED, 422, CONVEX_SINGLE, "", VERDICT_REFUSED, "HTTP 422"},
    {HTTP_ANSWERED, 421, CONVEX_SINGLE, "", VERDICT_AGAIN, "HTTP 421"},
    {HTTP_ANSWERED, 425, CONVEX_SINGLE, "", VERDICT_AGAIN, "HTTP 425"},
    {HTTP_ANSWERED, 429, CONVEX_SINGLE, CODE("TooManyWrites", "m"), VERDICT_AGAIN,
     "HTTP 429 TooManyWrites: m"},
    {HTTP_ANSWERED, 429, CONVEX_SINGLE, HTML, VERDICT_AGAIN, "HTTP 429"},
    {HTTP_ANSWERED, 499, CONVEX_SINGLE, "", VERDICT_UNKNOWN, "HTTP 499"},
    {HTTP_ANSWERED, 402, CONVEX_SINGLE, "", VERDICT_REFUSED, "HTTP 402"},
    {HTTP_ANSWERED, 407, CONVEX_SINGLE, HTML, VERDICT_REFUSED, "HTTP 407"},
    {HTTP_ANSWERED, 411, CONVEX_SINGLE, "", VERDICT_REFUSED, "HTTP 411"},
    {HTTP_ANSWERED, 451, CONVEX_SINGLE, "", VERDICT_REFUSED, "HTTP 451"},
    /* 5xx and what is none */
    {HTTP_ANSWERED, 503, CONVEX_BATCH, CODE("OptimisticConcurrencyControlFailure", "m"),
     VERDICT_AGAIN, "HTTP 503 OptimisticConcurrencyControlFailure: m"},
    {HTTP_ANSWERED, 503, CONVEX_BATCH, CODE("CommitterFullError", "m"), VERDICT_AGAIN,
     "HTTP 503 CommitterFullError: m"},
    {HTTP_ANSWERED, 503, CONVEX_BATCH, HTML, VERDICT_UNKNOWN, "HTTP 503"},
    {HTTP_ANSWERED, 500, CONVEX_BATCH, CODE("InternalServerError", "Try again later."),
     VERDICT_UNKNOWN, "HTTP 500 InternalServerError: Try again later."},
    {HTTP_ANSWERED, 502, CONVEX_BATCH, HTML, VERDICT_UNKNOWN, "HTTP 502"},
    {HTTP_ANSWERED, 504, CONVEX_BATCH, "", VERDICT_UNKNOWN, "HTTP 504"},
    {HTTP_ANSWERED, 560, CONVEX_BATCH, "", VERDICT_UNKNOWN, "HTTP 560"},
    {HTTP_ANSWERED, 999, CONVEX_BATCH, "", VERDICT_UNKNOWN, "HTTP 999: not an answer of Convex"},
    {HTTP_ANSWERED, 101, CONVEX_BATCH, "", VERDICT_UNKNOWN, "HTTP 101: not an answer of Convex"},
};

#define CASE_COUNT (sizeof cases / sizeof cases[0])

static struct http_answer answer_of(const struct expectation *c)
{
    struct http_answer a = {.end = c->end, .status = c->status};

    if (c->end == HTTP_ANSWERED)
        a.body = slice_str(c->body);
    else
        snprintf(a.detail, sizeof a.detail, "%s", c->body);
    return a;
}

TEST(every_case_has_its_verdict_and_reason)
{
    for (size_t i = 0; i < CASE_COUNT; i++) {
        const struct expectation *c = &cases[i];
        struct http_answer a = answer_of(c);
        struct verdict overall, each[3];
        ck_assert(!convex_answer_judge(&a, c->call, &overall, each, 3));
        ck_assert_msg(overall.kind == c->verdict, "case %zu (%ld %s): verdict %d, wanted %d", i,
                      c->status, c->body, overall.kind, c->verdict);
        ck_assert_msg(strcmp(overall.why, c->why) == 0, "case %zu: \"%s\", wanted \"%s\"", i,
                      overall.why, c->why);
        ck_assert_int_eq(overall.after_ms, 0);
    }
}

TEST(what_is_about_the_endpoint_says_so)
{
    static const struct {
        long status;
        bool is_endpoints;
    } said[] = {{302, true}, {401, true}, {403, false}, {421, true}, {429, true}, {500, false}};

    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        struct http_answer a = {.end = HTTP_ANSWERED, .status = said[i].status};
        struct verdict v;
        convex_answer_judge(&a, CONVEX_SINGLE, &v, NULL, 1);
        ck_assert(v.is_endpoints == said[i].is_endpoints);
    }
}

TEST(every_row_is_reached)
{
    bool reached[ROW_COUNT] = {false};

    for (size_t i = 0; i < CASE_COUNT; i++) {
        struct http_answer a = answer_of(&cases[i]);
        struct facts f;
        read_facts(&f, &a);
        reached[find_row(&f) - rows] = true;
        json_decref(f.root);
    }
    for (size_t i = 0; i < ROW_COUNT; i++)
        ck_assert_msg(reached[i], "row %zu (%ld) is reached by no case", i, rows[i].from);
}

/* ---- the table in docs/CONVEX.md ---- */

/* What convex_answer.def says, as texts: the verdict and the source as they are printed. */
static const struct {
    const char *verdict, *scope, *source;
} printed[] = {
#define ROW(end, from, to, form, verdict, scope, note, source) {#verdict, #scope, source},
#include "convex/convex_answer.def"
#undef ROW
};

/* Calls that brought no answer, in words. */
static const char *const ends[] = {
    [HTTP_NOT_SENT] = "no connection: name, refused, TLS, connect timeout",
    [HTTP_TIMEOUT] = "sent, no whole answer within `request_timeout_ms`",
    [HTTP_BROKEN] = "sent, then reset or cut short",
    [HTTP_TOO_LARGE] = "answer over `max_answer_bytes`",
    [HTTP_ABANDONED] = "in flight while the sidecar ends",
};

static const char *const forms[] = {
    [FORM_SUCCESS] = ", `\"status\":\"success\"`",
    [FORM_THROWN] = ", error with `errorData`",
    [FORM_ERROR] = ", error",
    [FORM_CODE] = ", with a `code`",
    [FORM_OTHER] = ", not JSON",
};

/* "503", "3xx", "other 4xx" (some of them have a row above), "any other". */
static void print_status(FILE *out, size_t i)
{
    bool is_split = false;

    if (rows[i].from == rows[i].to) {
        fprintf(out, "%ld", rows[i].from);
    } else if (rows[i].from % 100 != 0 || rows[i].from + 99 != rows[i].to) {
        fputs("any other", out);
    } else {
        for (size_t j = 0; j < i; j++)
            is_split |= rows[j].from >= rows[i].from && rows[j].to <= rows[i].to;
        fprintf(out, "%s%ldxx", is_split ? "other " : "", rows[i].from / 100);
    }
}

static void print_row(FILE *out, size_t i)
{
    const struct row *r = &rows[i];

    fputs("| ", out);
    if (r->end != HTTP_ANSWERED)
        fputs(ends[r->end], out);
    else
        print_status(out, i);
    if (r->form != FORM_ANY)
        fputs(forms[r->form], out);
    fputs(" | ", out);
    for (const char *c = printed[i].verdict; *c; c++)
        fputc(tolower((unsigned char)*c), out);
    fprintf(out, "%s | %s |\n", strcmp(printed[i].scope, "ENDPOINT") == 0 ? ", endpoint" : "",
            printed[i].source);
}

TEST(the_manual_has_the_table)
{
    char *table = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&table, &len);

    fputs("| answer | verdict | because |\n| --- | --- | --- |\n", out);
    for (size_t i = 0; i < ROW_COUNT; i++)
        print_row(out, i);
    fputs("\n", out);
    fclose(out);
    manual_has("docs/CONVEX.md", table, "c_src/convex/convex_answer.def");
    free(table);
}

TEST(retry_after_counts_for_what_is_sent_again)
{
    struct verdict v;
    struct http_answer a = {.end = HTTP_ANSWERED, .status = 429, .retry_after_ms = 7000};

    convex_answer_judge(&a, CONVEX_SINGLE, &v, NULL, 1);
    ck_assert_int_eq(v.after_ms, 7000);
    a.status = 503;
    convex_answer_judge(&a, CONVEX_SINGLE, &v, NULL, 1);
    ck_assert_int_eq(v.after_ms, 7000);
    a.status = 401;
    convex_answer_judge(&a, CONVEX_SINGLE, &v, NULL, 1);
    ck_assert_int_eq(v.after_ms, 0);
}

/* ---- batches --------------------------------------------------------------------------------- */

static bool judge(const char *value, struct verdict *overall, struct verdict *each, size_t count)
{
    char body[2000];

    snprintf(body, sizeof body, "{\"status\":\"success\",\"value\":%s}", value);
    struct http_answer a = {.end = HTTP_ANSWERED, .status = 200, .body = slice_str(body)};
    return convex_answer_judge(&a, CONVEX_BATCH, overall, each, count);
}

/* Functions of version 1 answer a limit of the whole transaction as the fault of one item. */
TEST(a_limit_of_the_transaction_is_no_items_fault)
{
    struct verdict overall, v[2];

    ck_assert(!judge("{\"results\":[{\"outcome\":\"updated\"},{\"outcome\":\"rejected\",\"error\":"
                     "\"Too many bytes read in a single function execution (limit: 16777216 "
                     "bytes).\"}]}",
                     &overall, v, 2));
    ck_assert_int_eq(overall.kind, VERDICT_REFUSED);
    ck_assert_int_eq(strncmp(overall.why, "Too many bytes read", 19), 0);
}

TEST(each_outcome_is_a_verdict)
{
    struct verdict overall, v[7];

    ck_assert(judge("{\"results\":[{\"outcome\":\"inserted\",\"seq\":5.0},"
                    "{\"outcome\":\"updated\",\"seq\":6.0},{\"outcome\":\"unchanged\",\"seq\":6.0},"
                    "{\"outcome\":\"stale\",\"seq\":9.0},{\"outcome\":\"removed\",\"seq\":1e21},"
                    "{\"outcome\":\"rejected\",\"error\":\"[Request ID: a] Server Error\\nValue is "
                    "too large (1.05 MiB > maximum size 1 MiB)\\n  at x\"},"
                    "{\"outcome\":\"rejected\"}]}",
                    &overall, v, 7));
    ck_assert_int_eq(overall.kind, VERDICT_DONE);
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(v[i].kind, VERDICT_DONE);
        ck_assert_int_eq(v[i].outcome, OUTCOME_INSERTED + i);
        ck_assert_str_eq(v[i].why, "");
    }
    ck_assert_int_eq(v[5].kind, VERDICT_REFUSED);
    ck_assert_str_eq(v[5].why, "Value is too large (1.05 MiB > maximum size 1 MiB)");
    ck_assert_int_eq(v[6].kind, VERDICT_REFUSED);
    ck_assert_str_eq(v[6].why, "rejected without a reason");
}

static enum verdict_kind judged(const char *body, size_t len, enum convex_call call, size_t count)
{
    struct http_answer a = {.end = HTTP_ANSWERED, .status = 200, .body = edge_slice(body, len)};
    struct verdict overall, each[4];

    bool has_each = convex_answer_judge(&a, call, &overall, each, count);
    ck_assert_int_eq(has_each, call == CONVEX_BATCH && overall.kind == VERDICT_DONE);
    return overall.kind;
}

/* The success of all is told from its text alone: then the text must be all there, and nothing
 * else. */
TEST(a_plain_success_is_whole_or_none)
{
    static const char body[] =
        "{\"status\":\"success\",\"value\":{\"results\":[{\"outcome\":\"inserted\",\"seq\":5.0},"
        "{\"outcome\":\"unchanged\",\"seq\":12},{\"outcome\":\"stale\"}]}}";
    static const char terse[] = "{\"status\":\"success\",\"value\":{\"results\":["
                                "{\"outcome\":\"updated\"},{\"outcome\":\"removed\"}]}}";
    struct http_answer away = {.end = HTTP_ANSWERED, .status = 503, .body = slice_str(body)};
    struct verdict overall, each[4];
    char changed[sizeof body + 1];

    for (size_t len = 0; len < sizeof body - 1; len++)
        ck_assert_int_eq(judged(body, len, CONVEX_BATCH, 3), VERDICT_UNKNOWN);
    ck_assert_int_eq(judged(body, sizeof body - 1, CONVEX_BATCH, 3), VERDICT_DONE);
    ck_assert_int_eq(judged(body, sizeof body - 1, CONVEX_BATCH, 2), VERDICT_UNKNOWN);
    ck_assert_int_eq(judged(body, sizeof body - 1, CONVEX_BATCH, 4), VERDICT_UNKNOWN);
    for (size_t at = 0; at < sizeof terse - 1; at++) { /* one letter is another */
        memcpy(changed, terse, sizeof terse);
        changed[at] = '?';
        ck_assert_int_ne(judged(changed, sizeof terse - 1, CONVEX_BATCH, 2), VERDICT_DONE);
    }
    snprintf(changed, sizeof changed, "%s?", body);
    ck_assert_int_eq(judged(changed, sizeof body, CONVEX_BATCH, 3), VERDICT_UNKNOWN);
    ck_assert(!convex_answer_judge(&away, CONVEX_BATCH, &overall, each, 3));
    ck_assert_int_ne(overall.kind, VERDICT_DONE);
}

TEST(a_plain_success_of_one_document)
{
    static const char *const plain[] = {
        "{\"status\":\"success\",\"value\":null}",
        "{\"status\":\"success\",\"value\":{\"outcome\":\"updated\",\"seq\":7}}"};

    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        for (size_t len = 0; len < strlen(plain[i]); len++)
            ck_assert_int_eq(judged(plain[i], len, CONVEX_SINGLE, 1), VERDICT_UNKNOWN);
        ck_assert_int_eq(judged(plain[i], strlen(plain[i]), CONVEX_SINGLE, 1), VERDICT_DONE);
    }
    ck_assert_int_eq(judged(plain[0], strlen(plain[0]), CONVEX_BATCH, 1), VERDICT_UNKNOWN);
}

TEST(odd_results_make_the_whole_batch_unknown)
{
    static const struct {
        const char *value, *why;
    } odd[] = {
        {"null", "the batch mutation answered no results"},
        {"[]", "the batch mutation answered no results"},
        {"{\"results\":{}}", "the batch mutation answered no results"},
        {"{\"results\":[]}", "the batch mutation answered 0 results for 2 documents"},
        {"{\"results\":[{\"outcome\":\"updated\"},{\"outcome\":\"updated\"},{\"outcome\":"
         "\"updated\"}]}",
         "the batch mutation answered 3 results for 2 documents"},
        {"{\"results\":[{\"outcome\":\"updated\"},{\"outcome\":\"eaten\"}]}",
         "the batch mutation answered an unknown outcome for document 2"},
        {"{\"results\":[null,{\"outcome\":\"updated\"}]}",
         "the batch mutation answered an unknown outcome for document 1"},
        {"{\"results\":[{\"outcome\":1},{\"outcome\":\"updated\"}]}",
         "the batch mutation answered an unknown outcome for document 1"},
    };
    struct verdict overall, v[3];

    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        ck_assert(!judge(odd[i].value, &overall, v, 2));
        ck_assert_int_eq(overall.kind, VERDICT_UNKNOWN);
        ck_assert_str_eq(overall.why, odd[i].why);
    }
}

/* ---- text from outside ----------------------------------------------------------------------- */

TEST(reasons_are_one_line_cut_between_characters)
{
    char body[2000], text[1500] = "";
    struct verdict v;

    for (int i = 0; i < 300; i++)
        strcat(text, "\xe2\x82\xac"); /* three bytes each: a cut at 199 falls inside one */
    snprintf(body, sizeof body, "{\"status\":\"error\",\"errorMessage\":\"a%s\"}", text);
    struct http_answer a = {.end = HTTP_ANSWERED, .status = 200, .body = slice_str(body)};
    convex_answer_judge(&a, CONVEX_SINGLE, &v, NULL, 1);
    ck_assert_uint_eq(strlen(v.why), 199);
    ck_assert_int_eq(strncmp(v.why + 1, text, 198), 0);
    snprintf(body, sizeof body, "{\"status\":\"error\",\"errorMessage\":\"%s\"}", text);
    a.body = slice_str(body);
    convex_answer_judge(&a, CONVEX_SINGLE, &v, NULL, 1);
    ck_assert_uint_eq(strlen(v.why), 198);
    a.body = slice_str(
        "{\"status\":\"error\",\"errorMessage\":\"\\n\\n  a\\u001b[31m\\rb\\u007f\\nc\"}");
    convex_answer_judge(&a, CONVEX_SINGLE, &v, NULL, 1);
    ck_assert_str_eq(v.why, "a [31m b ");
    a.body = slice_str("{\"status\":\"error\",\"errorMessage\":\"[Request ID: no end\"}");
    convex_answer_judge(&a, CONVEX_SINGLE, &v, NULL, 1);
    ck_assert_str_eq(v.why, "[Request ID: no end");
}

TEST(any_bytes_are_judged)
{
    static const char *const alphabet[] = {"{",
                                           "}",
                                           "[",
                                           "]",
                                           ":",
                                           ",",
                                           "\"",
                                           "\"status\"",
                                           "\"error\"",
                                           "\"code\"",
                                           "null",
                                           "1e999",
                                           "\"results\"",
                                           "\"value\"",
                                           "\\u0000",
                                           "\xff\xfe",
                                           "\"errorData\"",
                                           "\"success\""};
    unsigned seed = 7;
    char body[400];

    for (int round = 0; round < 20000; round++) {
        size_t len = 0;
        struct verdict v, each[2];
        int pieces = rand_r(&seed) % 16;
        for (int i = 0; i < pieces; i++)
            len += (size_t)snprintf(
                body + len, sizeof body - len, "%s",
                alphabet[(size_t)rand_r(&seed) % (sizeof alphabet / sizeof alphabet[0])]);
        struct http_answer a = {.end = HTTP_ANSWERED,
                                .status = 200 + rand_r(&seed) % 2 * 303,
                                .body = slice_of(body, len)};
        convex_answer_judge(&a, (enum convex_call)(rand_r(&seed) % 2), &v, each, 2);
        ck_assert_ptr_null(strchr(v.why, '\n'));
    }
}
