/* numbered_answer_test.c - answers to calls that had a number: told from the text, or from a tree.
 */

#include "test.h"

#include "convex/convex_answer.h"

#define NUMBER       9007199254740991
#define SAID         "\"call\":9007199254740991.0,\"deployment\":\"d1\",\"functions\":2.0,\"mark\":7.0,"
#define WHOLE(value) "{\"status\":\"success\",\"value\":{" value "}}"
#define RESULTS                                                                                    \
    "\"results\":[{\"outcome\":\"updated\",\"seq\":7.0},{\"outcome\":\"stale\",\"seq\":9.0}]"

static struct convex_echo echo;
static struct verdict overall, each[4];
static bool has_each;

static enum verdict_kind judge(const char *body, size_t len, enum convex_call call, uint64_t number)
{
    struct http_answer a = {.end = HTTP_ANSWERED, .status = 200, .body = slice_of(body, len)};
    size_t count = call == CONVEX_BATCH ? 2 : 1;

    has_each = convex_answer_judge_numbered(&a, call, number, &echo, &overall, each, count);
    return overall.kind;
}

static enum verdict_kind judge_text(const char *body, enum convex_call call)
{
    return judge(body, strlen(body), call, NUMBER);
}

static void assert_echo(uint64_t call, const char *deployment, int functions, int64_t mark)
{
    ck_assert_uint_eq(echo.call, call);
    ck_assert_str_eq(echo.deployment, deployment);
    ck_assert_int_eq(echo.functions, functions);
    ck_assert_int_eq(echo.mark, mark);
}

TEST(a_plain_success_is_whole_or_none)
{
    static const char *const bodies[] = {WHOLE(SAID RESULTS),
                                         WHOLE(SAID "\"outcome\":\"inserted\",\"seq\":1.0")};
    char changed[400];

    for (int i = 0; i < 2; i++) {
        enum convex_call call = i ? CONVEX_SINGLE : CONVEX_BATCH;
        size_t len = strlen(bodies[i]);
        ck_assert_int_eq(judge(bodies[i], len, call, NUMBER), VERDICT_DONE);
        ck_assert_int_eq(has_each, call == CONVEX_BATCH);
        ck_assert_int_eq((has_each ? each : &overall)->outcome,
                         has_each ? OUTCOME_UPDATED : OUTCOME_INSERTED);
        assert_echo(NUMBER, "d1", 2, 7);
        for (size_t cut = 0; cut < len; cut++)
            ck_assert_int_eq(judge(bodies[i], cut, call, NUMBER), VERDICT_UNKNOWN);
        ck_assert_int_eq(judge(bodies[i], len, call, NUMBER - 1), VERDICT_UNKNOWN);
        ck_assert_str_eq(overall.why, "the answer is to another call");
        snprintf(changed, sizeof changed, "%s?", bodies[i]);
        ck_assert_int_eq(judge_text(changed, call), VERDICT_UNKNOWN);
    }
}

TEST(the_same_is_told_from_a_tree)
{
    ck_assert_int_eq(judge_text(WHOLE(RESULTS ", " SAID "\"more\":{}"), CONVEX_BATCH),
                     VERDICT_DONE);
    ck_assert(has_each);
    assert_echo(NUMBER, "d1", 2, 7);
    ck_assert_int_eq(
        judge_text(WHOLE(SAID "\"results\":[{\"error\":\"no\",\"outcome\":\"rejected\"},"
                              "{\"outcome\":\"stale\",\"seq\":9.0}]"),
                   CONVEX_BATCH),
        VERDICT_DONE);
    ck_assert(has_each && each[0].kind == VERDICT_REFUSED && each[1].kind == VERDICT_DONE);
    assert_echo(NUMBER, "d1", 2, 7);
    ck_assert_int_eq(judge_text(WHOLE(SAID "\"results\":[]"), CONVEX_BATCH), VERDICT_UNKNOWN);
    ck_assert_ptr_nonnull(strstr(overall.why, "0 results for 2"));
}

TEST(a_mark_or_a_deployment_may_be_missing)
{
    ck_assert_int_eq(judge_text(WHOLE("\"call\":9007199254740991.0,\"deployment\":\"\","
                                      "\"functions\":3.0,\"mark\":null," RESULTS),
                                CONVEX_BATCH),
                     VERDICT_DONE);
    assert_echo(NUMBER, "", 3, -1);
}

TEST(without_its_number_it_is_no_answer)
{
    static const char *const bodies[] = {
        WHOLE(RESULTS),
        "{\"status\":\"success\",\"value\":null}",
        "{\"status\":\"success\"}",
        WHOLE("\"call\":\"9007199254740991\"," RESULTS),
        WHOLE("\"call\":-1.0," RESULTS),
        WHOLE("\"call\":1e300," RESULTS),
        WHOLE("\"call\":99999999999999999999," RESULTS),
        WHOLE("\"call\":null," RESULTS),
    };

    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        for (int call = CONVEX_BATCH; call <= CONVEX_SINGLE; call++) {
            ck_assert_int_eq(judge_text(bodies[i], (enum convex_call)call), VERDICT_UNKNOWN);
            ck_assert_str_eq(overall.why, "the answer does not say to which call it is");
            ck_assert_uint_eq(echo.call, 0);
        }
    ck_assert_int_eq(judge_text("{\"status\":\"error\",\"errorMessage\":\"x\"}", CONVEX_BATCH),
                     VERDICT_REFUSED); /* errors say no number */
}

TEST(what_attach_says)
{
    struct http_answer a = {.end = HTTP_ANSWERED, .status = 200};
    char controls[2][CONVEX_PATH_BYTES];
    size_t count;

    a.body = slice_str(WHOLE("\"controls\":[\"a:b\",7,\"c:d\",\"e:f\"],\"deployment\":\"d1\","
                             "\"functions\":2.0,\"mark\":null"));
    ck_assert(convex_answer_attached(&a, &echo, controls, 2, &count));
    assert_echo(0, "d1", 2, -1);
    ck_assert_uint_eq(count, 2);
    ck_assert_str_eq(controls[0], "a:b");
    ck_assert_str_eq(controls[1], "c:d");
    a.body = slice_str(WHOLE("\"deployment\":\"d1\",\"functions\":1.0,\"mark\":4.0"));
    ck_assert(!convex_answer_attached(&a, &echo, controls, 2, &count));
    ck_assert_uint_eq(count, 0);
    a.body = slice_str("{}");
    ck_assert(!convex_answer_attached(&a, &echo, controls, 2, &count));
}

TEST(any_bytes_are_judged)
{
    static const char *const pieces[] = {"{",
                                         "}",
                                         "[",
                                         "]",
                                         ":",
                                         ",",
                                         "\"status\":\"success\"",
                                         "\"value\":{",
                                         "\"call\":",
                                         "9007199254740991.0",
                                         "1e400",
                                         "\"deployment\":\"",
                                         "\"",
                                         "\\u0000",
                                         "\xff",
                                         "\"mark\":",
                                         "null",
                                         "\"functions\":",
                                         RESULTS,
                                         SAID};
    unsigned seed = 7;
    char body[2000];

    for (int round = 0; round < 20000; round++) {
        size_t len = 0;
        int n = rand_r(&seed) % 12;
        for (int i = 0; i < n; i++)
            len +=
                (size_t)snprintf(body + len, sizeof body - len, "%s",
                                 pieces[(size_t)rand_r(&seed) % (sizeof pieces / sizeof *pieces)]);
        char *exact = base_strndup(body, len); /* a read past its end shows under ASan */
        (void)judge(exact, len, round % 2 ? CONVEX_BATCH : CONVEX_SINGLE, NUMBER);
        free(exact);
        ck_assert_ptr_null(strchr(overall.why, '\n'));
    }
}
