/* functions_test.c - what is learnt of the deployed functions, and what a call of ours carries. */

#include "test.h"

#include "convex/functions.h"

#define US     "00112233445566778899aabbccddeeff"
#define OTHERS "ffeeddccbbaa99887766554433221100"

static const char *body_with(const char *controls, const char *deployment, int functions,
                             const char *mark)
{
    static char text[6000];

    snprintf(text, sizeof text,
             "{\"status\":\"success\",\"value\":{\"controls\":[%s],\"deployment\":\"%s\","
             "\"functions\":%d.0,\"mark\":%s}}",
             controls, deployment, functions, mark);
    return text;
}

static const char *const controls_two = "\"runtime:upsertRunSummary\",\"upsertNothing\"";

static struct sink_store store(const char *id, int64_t from, int64_t to)
{
    struct sink_store us = {.from = from, .to = to};

    snprintf(us.id, sizeof us.id, "%s", id);
    return us;
}

static struct functions_sent sent_as(const struct functions *f, const char *id)
{
    struct sink_store us = store(id, -1, 0);
    struct functions_sent sent;

    functions_sent(f, &us, &sent);
    return sent;
}

static bool learn(struct functions *f, long status, const char *body,
                  const struct functions_sent *sent)
{
    struct http_answer a = {
        .end = status ? HTTP_ANSWERED : HTTP_TIMEOUT, .status = status, .body = slice_str(body)};

    return functions_learn(f, &a, sent);
}

/* Functions of version 2, at deployment d1, that speak to us and know ${mark}. */
static struct functions *attached(const char *mark)
{
    struct functions *f = functions_new("runtime:upsertBatch");
    struct functions_sent sent = sent_as(f, US);

    ck_assert(learn(f, 200, body_with(controls_two, "d1", 2, mark), &sent));
    return f;
}

static void assert_peer(const struct functions *f, int functions, const char *deployment,
                        int64_t mark, uint64_t learnt, const char *id)
{
    const struct sink_peer *p = functions_peer(f);

    ck_assert_int_eq(p->functions, functions);
    ck_assert_str_eq(p->deployment, deployment);
    ck_assert_int_eq(p->mark, mark);
    ck_assert_uint_eq(p->learnt, learnt);
    ck_assert_str_eq(p->store, id);
}

/* ---- paths ----------------------------------------------------------------------------------- */

static void assert_attach(const char *mutation, const char *attach)
{
    struct functions *f = functions_new(mutation);
    struct sink_store us = store(US, -1, 0);
    struct buf b = {0};
    char path[CONVEX_PATH_BYTES], wanted[400];

    functions_path(f, "attach", path);
    ck_assert_str_eq(path, attach);
    functions_put_attach(f, &us, &b);
    buf_byte(&b, 0);
    snprintf(wanted, sizeof wanted,
             "{\"path\":\"%s\",\"format\":\"json\",\"args\":{\"store\":\"" US "\",\"propose\":\"",
             attach);
    ck_assert_int_eq(strncmp((char *)b.data, wanted, strlen(wanted)), 0);
    const char *propose = (char *)b.data + strlen(wanted);
    ck_assert_uint_eq(strspn(propose, "0123456789abcdef"), 32);
    ck_assert_str_eq(propose + 32, "\"}}");
    buf_free(&b);
    functions_free(f);
}

TEST(attach_is_looked_for_beside_the_mutation)
{
    char module[200], mutation[300], attach[300];

    assert_attach("runtime:upsertBatch", "runtime:attach");
    assert_attach("a:b:c", "a:b:attach");
    assert_attach("upsertBatch", "attach");
    for (int len = 143; len <= 144; len++) { /* as long as a path can be with "attach", or longer */
        memset(module, 'm', sizeof module);
        snprintf(mutation, sizeof mutation, "%.*s:x", len, module);
        snprintf(attach, sizeof attach, "%.*s:attach", len, module);
        assert_attach(mutation, len == 143 ? attach : "attach");
    }
}

TEST(a_raise_is_said_with_what_stands_there)
{
    struct functions *f = functions_new("runtime:upsertBatch");
    static const struct {
        int64_t from, to;
        const char *end;
    } cases[] = {{-1, 5, ",\"raise\":{\"from\":null,\"to\":5}"},
                 {0, 5, ",\"raise\":{\"from\":0,\"to\":5}"},
                 {7, 1, ",\"raise\":{\"from\":7,\"to\":1}"},
                 {7, 0, ""}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sink_store us = store(US, cases[i].from, cases[i].to);
        struct buf b = {0};
        char wanted[200];
        functions_put_attach(f, &us, &b);
        buf_byte(&b, 0);
        const char *end = strstr((char *)b.data, "propose\":\"") + 10 + 33;
        snprintf(wanted, sizeof wanted, "%s}}", cases[i].end);
        ck_assert_str_eq(end, wanted);
        b.len = 0;
        functions_put_number(77, &us, cases[i].to > 0, &b);
        snprintf(wanted, sizeof wanted, ",\"call\":77,\"store\":\"" US "\"%s", cases[i].end);
        ck_assert_slice(buf_view(&b), wanted);
        buf_free(&b);
    }
    functions_free(f);
}

/* ---- numbers and controls -------------------------------------------------------------------- */

TEST(only_ours_are_numbered)
{
    static const struct {
        const char *path;
        bool is_numbered, has_control, has_batch_control;
    } cases[] = {
        {"runtime:upsertBatch", true, false, true},
        {"runtime:remove", true, false, false},
        {"runtime:upsertRunSummary", true, true, false},
        {"runtime:upsertOther", false, false, false},
        {"runtime:upsertNothing", false, false, false}, /* named without a module */
        {"other:upsertBatch", false, false, false},
        {"runtimes:upsertBatch", false, false, false},
        {"upsertBatch", false, false, false},
        {"runtime:", false, false, false},
    };

    for (int version = 0; version <= 3; version++) {
        struct functions *f = functions_new("runtime:upsertBatch");
        struct functions_sent sent = sent_as(f, US);
        if (version > 0)
            ck_assert(learn(f, 200, body_with(controls_two, "d1", version, "null"), &sent));
        ck_assert_int_eq(functions_peer(f)->functions, version);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            bool knows = version >= 2;
            const char *path = cases[i].path;
            ck_assert_int_eq(functions_number(f, path) != 0, knows && cases[i].is_numbered);
            ck_assert_int_eq(functions_has_control(f, path), knows && cases[i].has_control);
            ck_assert_int_eq(functions_has_batch_control(f, path),
                             knows && cases[i].has_batch_control);
        }
        functions_free(f);
    }
}

TEST(a_module_has_a_name)
{
    struct functions *f = functions_new("upsertBatch");
    struct functions_sent sent = sent_as(f, US);

    ck_assert(learn(f, 200, body_with(controls_two, "d1", 2, "null"), &sent));
    ck_assert_uint_eq(functions_number(f, "upsertBatch"), 0);
    ck_assert(!functions_has_batch_control(f, "upsertBatch"));
    functions_free(f);
}

TEST(as_many_controls_are_known_as_have_room)
{
    char names[3000] = "", path[60];

    for (int i = 0; i <= FUNCTIONS_CONTROLS; i++)
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s\"runtime:m%d\"",
                 i ? "," : "", i);
    struct functions *f = functions_new("runtime:upsertBatch");
    struct functions_sent sent = sent_as(f, US);
    ck_assert(learn(f, 200, body_with(names, "d1", 2, "null"), &sent));
    for (int i = 0; i <= FUNCTIONS_CONTROLS; i++) {
        snprintf(path, sizeof path, "runtime:m%d", i);
        ck_assert_int_eq(functions_has_control(f, path), i < FUNCTIONS_CONTROLS);
    }
    ck_assert(learn(f, 200, body_with("\"runtime:n\"", "d1", 2, "null"), &sent));
    ck_assert(!functions_has_control(f, "runtime:m0")); /* what attach named before is over */
    functions_free(f);
}

TEST(numbers_count_up_from_a_chance_of_the_process)
{
    struct functions *f = attached("null"), *g = attached("null");
    uint64_t first = functions_number(f, "runtime:remove");

    ck_assert_uint_eq(functions_number(f, "runtime:upsertBatch"), first + 1);
    ck_assert_uint_eq(first & UINT32_MAX, 1);
    ck_assert_uint_le(first, 9007199254740991);
    int differ = 0; /* 21 bits of chance: one pair in two millions is alike */
    for (int i = 0; i < 3; i++) {
        functions_free(g);
        g = attached("null");
        differ += functions_number(g, "runtime:remove") != first;
    }
    ck_assert_int_ge(differ, 2);
    functions_free(f);
    functions_free(g);
}

/* ---- learning -------------------------------------------------------------------------------- */

#define ERROR "{\"status\":\"error\",\"errorMessage\":\"no\"}"

TEST(what_convex_did_not_answer_teaches_nothing)
{
    static const struct {
        long status;
        const char *body;
        bool is_learnt;
    } cases[] = {
        {0, "", false},         {200, ERROR, true},     {404, "", true},
        {560, ERROR, true},     {560, "", false},       {400, ERROR, false},
        {201, ERROR, false},    {500, "", false},       {401, "", false},
        {200, "<html>", false}, {403, "<html>", false}, {503, "{\"code\":\"x\"}", false},
        {404, "<html>", true}, /* of Convex or of what stands in front: nobody has attach there */
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct functions *f = attached("4.0");
        struct functions_sent sent = sent_as(f, OTHERS);
        ck_assert_msg(learn(f, cases[i].status, cases[i].body, &sent) == cases[i].is_learnt,
                      "%ld %s", cases[i].status, cases[i].body);
        if (cases[i].is_learnt)
            assert_peer(f, 1, "", -1, 2, OTHERS);
        else
            assert_peer(f, 2, "d1", 4, 1, US);
        functions_free(f);
    }
}

TEST(a_success_of_another_shape_is_version_1)
{
    struct functions *f = attached("4.0");
    struct functions_sent sent = sent_as(f, US);

    ck_assert(learn(f, 200, body_with("", "d1", 1, "4.0"), &sent));
    assert_peer(f, 1, "", -1, 2, US);
    ck_assert(!functions_has_control(f, "runtime:upsertRunSummary"));
    functions_free(f);
}

TEST(what_attach_says_is_known_from_then_on)
{
    struct functions *f = attached("4.0");
    struct functions_sent sent = sent_as(f, OTHERS);

    assert_peer(f, 2, "d1", 4, 1, US);
    ck_assert(learn(f, 200, body_with("", "d2", 3, "null"), &sent));
    assert_peer(f, 3, "d2", -1, 2, OTHERS);
    functions_free(f);
}

/* A call raised the mark from 4 to 6 while attach was on its way, asked when 4 stood there. */
TEST(a_mark_that_was_raised_while_attach_was_asked_stays)
{
    static const struct {
        const char *deployment, *mark, *as;
        int64_t known;
    } cases[] = {
        {"d1", "4.0", US, 6}, /* the answer of before the raise */
        {"d1", "5.0", US, 6},     {"d1", "6.0", US, 6}, {"d1", "7.0", US, 7},
        {"d1", "3.0", US, 3}, /* put back since: lower than ever stood there */
        {"d1", "null", US, -1},   {"d2", "4.0", US, 4}, /* another deployment */
        {"d1", "4.0", OTHERS, 4},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct functions *f = attached("4.0");
        struct functions_sent call = sent_as(f, US), sent = sent_as(f, cases[i].as);
        struct convex_echo raised = {.call = 1, .functions = 2, .mark = 6, .deployment = "d1"};
        struct sink_peer heard;
        ck_assert(functions_hear(f, &raised, &call, &heard));
        ck_assert_int_eq(functions_peer(f)->mark, 6);
        ck_assert(learn(f, 200, body_with("", cases[i].deployment, 2, cases[i].mark), &sent));
        ck_assert_msg(functions_peer(f)->mark == cases[i].known, "case %zu: %lld", i,
                      (long long)functions_peer(f)->mark);
        functions_free(f);
    }
}

TEST(what_stood_there_is_noted_for_us_alone)
{
    struct functions *f = attached("4.0");

    ck_assert_int_eq(sent_as(f, US).mark, 4);
    ck_assert_str_eq(sent_as(f, US).store, US);
    ck_assert_int_eq(sent_as(f, OTHERS).mark, -1);
    ck_assert_str_eq(sent_as(f, OTHERS).store, OTHERS);
    functions_free(f);
}

/* ---- hearing --------------------------------------------------------------------------------- */

TEST(an_answer_says_whether_the_same_is_still_there)
{
    static const struct {
        const char *deployment;
        int64_t mark;
        bool is_known;
        int64_t then; /* our mark from then on */
    } cases[] = {
        {"d1", 4, true, 4},   {"d1", 5, true, 5},  {"d1", 3, false, 4},
        {"d1", -1, false, 4}, {"d2", 5, false, 4}, {"", 4, false, 4},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct functions *f = attached("4.0");
        struct functions_sent sent = sent_as(f, US);
        struct convex_echo echo = {.call = 9, .functions = 7, .mark = cases[i].mark};
        struct sink_peer heard;
        snprintf(echo.deployment, sizeof echo.deployment, "%s", cases[i].deployment);
        ck_assert_int_eq(functions_hear(f, &echo, &sent, &heard), cases[i].is_known);
        ck_assert_int_eq(heard.mark, cases[i].mark);
        ck_assert_str_eq(heard.deployment, cases[i].deployment);
        ck_assert_int_eq(heard.functions, 2); /* which attach spoke of */
        assert_peer(f, 2, "d1", cases[i].then, 1, US);
        functions_free(f);
    }
}

/* A late answer of before a raise that was heard: lower than what stands there, and in order. */
TEST(an_answer_that_a_raise_overtook_lowers_nothing)
{
    struct functions *f = attached("4.0");
    struct functions_sent early = sent_as(f, US);
    struct convex_echo echo = {.call = 1, .functions = 2, .mark = 6, .deployment = "d1"};
    struct sink_peer heard;

    ck_assert(functions_hear(f, &echo, &early, &heard));
    echo.mark = 4;
    ck_assert(functions_hear(f, &echo, &early, &heard));
    ck_assert_int_eq(heard.mark, 4);
    assert_peer(f, 2, "d1", 6, 1, US);
    functions_free(f);
}

TEST(an_answer_to_who_we_were_or_of_before_a_rollback_tells_nothing)
{
    struct functions *f = attached("4.0");
    struct functions_sent others = sent_as(f, OTHERS), ours = sent_as(f, US);
    struct convex_echo echo = {.call = 1, .functions = 2, .mark = 9, .deployment = "d2"};
    struct sink_peer heard;

    ck_assert(functions_hear(f, &echo, &others, &heard));
    ck_assert_int_eq(heard.functions, 2);
    ck_assert_str_eq(heard.deployment, "d2");
    assert_peer(f, 2, "d1", 4, 1, US);
    ck_assert(learn(f, 200, ERROR, &ours));
    ck_assert(functions_hear(f, &echo, &ours, &heard));
    assert_peer(f, 1, "", -1, 2, US);
    functions_free(f);
}
