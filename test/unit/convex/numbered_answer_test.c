/* numbered_answer_test.c - answers to calls that had a number: told from the text, or from a tree.
 */

#include "test.h"

#include "convex/convex_answer.h"
#include "edge.h"

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
    struct http_answer a = {.end = HTTP_ANSWERED, .status = 200, .body = edge_slice(body, len)};
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

/* ---- the two ways to read it agree ------------------------------------------------------------
 */

static const char *const plain_bodies[] = {
    WHOLE(SAID RESULTS),
    WHOLE(
        "\"call\":9007199254740991,\"deployment\":\"\",\"functions\":1000,\"mark\":null," RESULTS),
    WHOLE("\"call\":9007199254740991.0,\"deployment\":\"a "
          "b~!\",\"functions\":2.0,\"mark\":1234567890123456.0,"
          "\"results\":[{\"outcome\":\"inserted\"},{\"outcome\":\"removed\",\"seq\":"
          "19876543210987654321.25}]"),
    WHOLE(
        "\"results\":[{\"outcome\":\"unchanged\",\"seq\":9},{\"outcome\":\"stale\",\"seq\":8.75}]"),
    WHOLE(SAID "\"outcome\":\"updated\",\"seq\":1.0"),
    WHOLE("\"outcome\":\"inserted\",\"seq\":12"),
    "{\"status\":\"success\",\"value\":null}",
};

/* JSON allows no number like 07; the text is not looked at so closely. */
static bool has_odd_number(const char *body)
{
    for (const char *at = body; (at = strchr(at, ':')) != NULL; at++)
        if (at[1] == '0' && at[2] >= '0' && at[2] <= '9')
            return true;
    return false;
}

static void change(char *body, size_t size, unsigned *seed)
{
    static const char alphabet[] = "{}[]:,\"\\. 012789truenslupdcaio\x7f\x1f";
    size_t len = strlen(body), at = (size_t)rand_r(seed) % (len + 1);
    char c = alphabet[(size_t)rand_r(seed) % (sizeof alphabet - 1)];

    switch (rand_r(seed) % 3) {
    case 0:
        body[at] = at < len ? c : '\0';
        break;
    case 1:
        memmove(body + at, body + at + (at < len), len - at + (at == len));
        break;
    default:
        if (len + 2 < size) {
            memmove(body + at + 1, body + at, len - at + 1);
            body[at] = c;
        }
    }
}

/* A blank before it is enough for a body to be read as a tree. */
static void assert_both_ways(const char *body, enum convex_call call, uint64_t number)
{
    char blank[700];
    struct convex_echo text_echo;
    struct verdict text_overall, text_each[4];

    (void)judge(body, strlen(body), call, number);
    bool text_has_each = has_each;
    text_echo = echo;
    if (text_echo.call > NUMBER || text_echo.mark > NUMBER) /* more than a float64 holds exactly */
        return;
    text_overall = overall;
    memcpy(text_each, each, sizeof each);
    snprintf(blank, sizeof blank, " %s", body);
    (void)judge(blank, strlen(blank), call, number);
    ck_assert_msg(text_overall.kind == overall.kind && text_has_each == has_each, "%s", body);
    ck_assert_msg(text_overall.outcome == overall.outcome, "%s", body);
    ck_assert_str_eq(text_overall.why, overall.why);
    ck_assert_int_eq(text_overall.after_ms, 0);
    for (size_t i = 0; has_each && i < 2; i++)
        ck_assert_msg(text_each[i].kind == each[i].kind && text_each[i].outcome == each[i].outcome,
                      "%s", body);
    ck_assert_msg(text_echo.call == echo.call, "%s", body);
    ck_assert_msg(text_echo.mark == echo.mark, "%s", body);
    ck_assert_msg(text_echo.functions == echo.functions, "%s", body);
    ck_assert_msg(strcmp(text_echo.deployment, echo.deployment) == 0, "%s", body);
}

TEST(text_and_tree_say_the_same)
{
    const size_t kinds = sizeof plain_bodies / sizeof *plain_bodies;
    unsigned seed = 11;
    char body[600];

    for (unsigned round = 0; round < 30000; round++) {
        snprintf(body, sizeof body, "%s", plain_bodies[round % kinds]);
        for (int changes = rand_r(&seed) % 3; changes > 0; changes--)
            change(body, sizeof body, &seed);
        if (!has_odd_number(body))
            assert_both_ways(body, round / kinds % 2 ? CONVEX_BATCH : CONVEX_SINGLE,
                             round / kinds % 3 ? NUMBER : 0);
    }
}

TEST(the_same_at_the_bounds_of_each_number_and_text)
{
    static const char *const counts[] = {"0",
                                         "1",
                                         "999",
                                         "1000",
                                         "1001",
                                         "1000.0",
                                         "1001.0",
                                         "9007199254740991",
                                         "9007199254740992",
                                         "9007199254740993",
                                         "9999999999999999",
                                         "10000000000000000",
                                         "10000000000000001",
                                         "null",
                                         "-1"};
    char body[700], deployment[100];

    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        static const char *const forms[] = {
            WHOLE("\"call\":%s,\"deployment\":\"d\",\"functions\":2,\"mark\":3," RESULTS),
            WHOLE("\"call\":9007199254740991,\"deployment\":\"d\",\"functions\":%s,\"mark\":"
                  "3," RESULTS),
        };
        for (size_t f = 0; f < 2; f++) {
            snprintf(body, sizeof body, forms[f], counts[i]);
            assert_both_ways(body, CONVEX_BATCH, NUMBER);
        }
    }
    for (int len = 62; len <= 67; len++) {
        memset(deployment, 'd', sizeof deployment);
        snprintf(body, sizeof body,
                 WHOLE("\"call\":9007199254740991,\"deployment\":\"%.*s\",\"functions\":2,\"mark\":"
                       "3," RESULTS),
                 len, deployment);
        assert_both_ways(body, CONVEX_BATCH, NUMBER);
        ck_assert_uint_eq(strlen(echo.deployment), (size_t)(len < 64 ? len : 64));
    }
}

TEST(versions_and_marks_are_taken_up_to_a_bound)
{
    ck_assert_int_eq(judge_text(" " WHOLE("\"call\":9007199254740991,\"functions\":1000,\"mark\":0,"
                                          "\"deployment\":\"d\"," RESULTS),
                                CONVEX_BATCH),
                     VERDICT_DONE);
    assert_echo(NUMBER, "d", 1000, -1);
    ck_assert_int_eq(
        judge_text(WHOLE("\"call\":9007199254740991,\"deployment\":\"d\",\"functions\":1001,"
                         "\"mark\":1," RESULTS),
                   CONVEX_BATCH),
        VERDICT_DONE);
    assert_echo(NUMBER, "d", 0, 1);
    ck_assert_int_eq(
        judge_text(WHOLE("\"call\":9007199254740991,\"deployment\":\"d\",\"functions\":-1,"
                         "\"mark\":9007199254740993," RESULTS),
                   CONVEX_BATCH),
        VERDICT_DONE);
    assert_echo(NUMBER, "d", 0, -1);
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
        (void)judge(body, len, round % 2 ? CONVEX_BATCH : CONVEX_SINGLE, NUMBER);
        ck_assert_ptr_null(strchr(overall.why, '\n'));
    }
}
