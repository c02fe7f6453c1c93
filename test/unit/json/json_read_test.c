/* json_read_test.c - JSON text to terms and back. */

#include "test.h"
#include "json/json_read.h"
#include "json/json.h"
#include "term/term_cases.h"

TEST(json_and_its_term)
{
    static const struct {
        const char *json;
        struct slice body;
    } rows[] = {
        {"null", ROW("w\3nil")},
        {"true", ROW("w\4true")},
        {" false ", ROW("w\5false")},
        {"5", ROW("a\5")},
        {"5.0", ROW("a\5")},
        {"-0.0", ROW("a\0")},
        {"-1e0", ROW("b\377\377\377\377")},
        {"1.5", ROW("F\77\370\0\0\0\0\0\0")},
        {"100000000000000000000", ROW("F\104\25\257\35\170\265\214\100")},
        {"[1,-100000000000000000000]", ROW("l\0\0\0\2a\1F\304\25\257\35\170\265\214\100j")},
        {"1e21", ROW("F\104\113\32\344\326\342\357\120")},
        {"9223372036854775807", ROW("n\10\0\377\377\377\377\377\377\377\177")},
        {"\"\"", ROW("m\0\0\0\0")},
        {"\"a\\u0000\\u00f6\"", ROW("m\0\0\0\4a\0\303\266")},
        {"[]", ROW("j")},
        {"[1,[2]]", ROW("l\0\0\0\2a\1l\0\0\0\1a\2jj")},
        {"{}", ROW("t\0\0\0\0")},
        {"{\"a\":{\"b\":null}}", ROW("t\0\0\0\1m\0\0\0\1at\0\0\0\1m\0\0\0\1bw\3nil")},
        {"{\"$integer\":\"AAAAAAAAIAA=\"}", ROW("n\7\0\0\0\0\0\0\0\40")},
        {"{\"$integer\":\"AAAAAAAAAIA=\"}", ROW("n\10\1\0\0\0\0\0\0\0\200")},
        {"{\"$integer\":\"//////////8=\"}", ROW("b\377\377\377\377")},
        {"{\"$integer\":\"AAAAAAAAIA=\"}", ROW("t\0\0\0\1m\0\0\0\10$integerm\0\0\0\13AAAAAAAAIA=")},
        {"{\"$integer\":\"AAAA*AAAIAA=\"}",
         ROW("t\0\0\0\1m\0\0\0\10$integerm\0\0\0\14AAAA*AAAIAA=")},
        {"{\"$integer\":5}", ROW("t\0\0\0\1m\0\0\0\10$integera\5")},
    };
    struct buf out = {0};
    struct fault fault;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        out.len = 0;
        ck_assert_msg(json_read_term(&out, slice_str(rows[i].json), &fault) == ERR_OK, "%s: %s",
                      rows[i].json, fault.why);
        ck_assert_msg(slice_eq(buf_view(&out), rows[i].body), "%s", rows[i].json);
    }
    buf_free(&out);
}

TEST(what_is_no_json_is_refused_with_its_place)
{
    static const struct {
        struct slice text;
        const char *why;
    } rows[] = {
        {ROW(""), "line 1"},      {ROW("{\"a\":1,\n\"b\":}"), "line 2, column"},
        {ROW("[1] x"), "column"}, {ROW("{\"a\":1,\"a\":2}"), "duplicate"},
        {ROW("1e999"), "real"},   {ROW("\"\377\""), "column"},
        {ROW("nul"), "column"},   {ROW("\0"), "line 1"},
    };
    struct buf out = {0};
    struct fault fault;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ck_assert_int_eq(json_read_term(&out, rows[i].text, &fault), ERR_INVALID);
        ck_assert_msg(strstr(fault.why, rows[i].why) != NULL, "row %zu: %s", i, fault.why);
        ck_assert_uint_eq(out.len, 0);
    }
    buf_free(&out);
}

TEST(nesting_is_bounded_as_term_check_bounds_it)
{
    struct buf text = {0}, out = {0}, message = {0};
    struct fault fault;

    for (size_t depth = TERM_MAX_DEPTH; depth <= TERM_MAX_DEPTH + 1; depth++) {
        text.len = out.len = 0;
        for (size_t i = 0; i < depth; i++)
            buf_byte(&text, '[');
        for (size_t i = 0; i < depth; i++)
            buf_byte(&text, ']');
        enum err e = json_read_term(&out, buf_view(&text), &fault);
        ck_assert_int_eq(e, depth == TERM_MAX_DEPTH ? ERR_OK : ERR_INVALID);
        if (e == ERR_OK)
            term_of(buf_view(&out), &message);
        else
            ck_assert(out.len == 0 && strstr(fault.why, "nested") != NULL);
    }
    buf_free(&text);
    buf_free(&out);
    buf_free(&message);
}

TEST(no_digit_of_a_foreign_integer_is_lost)
{
    static const int64_t numbers[] = {9007199254740993, -9007199254740993, 1234567890123456789,
                                      INT64_MAX, INT64_MIN};
    struct buf body = {0}, message = {0};
    struct fault fault;

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char text[32];
        int64_t v = 0;
        snprintf(text, sizeof text, "%lld", (long long)numbers[i]);
        body.len = 0;
        ck_assert_int_eq(json_read_term(&body, slice_str(text), &fault), ERR_OK);
        ck_assert(term_integer(term_of(buf_view(&body), &message), &v));
        ck_assert_int_eq(v, numbers[i]);
    }
    buf_free(&body);
    buf_free(&message);
}

TEST(canonical_json_comes_back_byte_for_byte)
{
    static const char *const texts[] = {
        "{\"a\":[1,2.5,-3,1e+21,{\"$integer\":\"AQAAAAAAIAA=\"}],\"b\":{\"c\":null,\"d\":\"\\n\"}}",
        "[\"\303\266\",true,false,[],{}]",
        "9007199254740992",
        "[9007199254740994,-1152921504606847000,2251799813685249.5,9223372036854776000]",
    };
    struct buf body = {0}, message = {0}, out = {0};
    struct fault fault;

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        body.len = out.len = 0;
        ck_assert_int_eq(json_read_term(&body, slice_str(texts[i]), &fault), ERR_OK);
        term t = term_of(buf_view(&body), &message);
        ck_assert_int_eq(json_put_term(&out, t, JSON_CONVEX, NULL, &fault), ERR_OK);
        ck_assert_slice(buf_view(&out), texts[i]);
    }
    buf_free(&body);
    buf_free(&message);
    buf_free(&out);
}
