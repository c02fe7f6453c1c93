/* json_skip_test.c - where strings and values end, in sound and in damaged text. */

#include "json/json_skip.h"

#include "test.h"

static void ends(const char *json, size_t at, const char *rest)
{
    size_t end = json_skip_value(slice_str(json), at);

    ck_assert_uint_gt(end, 0);
    ck_assert_str_eq(json + end, rest);
}

TEST(a_string_ends_at_its_own_quote)
{
    ck_assert_uint_eq(json_skip_string(slice_str("\"\""), 0), 2);
    ck_assert_uint_eq(json_skip_string(slice_str("x\"a\\\"b\\\\\","), 1), 9);
    ck_assert_uint_eq(json_skip_string(slice_str("\"a"), 0), 0);
    ck_assert_uint_eq(json_skip_string(slice_str("\"a\\\""), 0), 0);
    ck_assert_uint_eq(json_skip_string(slice_str("a\"\""), 0), 0);
    ck_assert_uint_eq(json_skip_string(slice_str("\"\""), 2), 0);
}

TEST(a_value_ends_at_the_comma_or_brace_around_it)
{
    ends("{\"a\":12,\"b\":1}", 5, ",\"b\":1}");
    ends("{\"a\":{\"x\":[1,{}],\"y\":2}}", 5, "}");
    ends("{\"a\":\"},\\\"\",\"b\":1}", 5, ",\"b\":1}");
}

TEST(a_value_without_end_has_none)
{
    ck_assert_uint_eq(json_skip_value(slice_str("{\"a\":12"), 5), 0);
    ck_assert_uint_eq(json_skip_value(slice_str("{\"a\":[1,2}"), 5), 0);
    ck_assert_uint_eq(json_skip_value(slice_str("{\"a\":\"}"), 5), 0);
    ck_assert_uint_eq(json_skip_value(slice_str("]]]"), 0), 0);
    ck_assert_uint_eq(json_skip_value(slice_str(""), 0), 0);
}
