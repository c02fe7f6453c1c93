/* retime_test.c - a finished document, projected at another time. */

#include "test.h"

#include "projection/retime.h"

#define AT 1771531200000001 /* 2026-02-19T20:00:00.000001Z */

static void check(const char *json, const char *expected)
{
    struct buf out = {0};

    buf_str(&out, "before ");
    retime(slice_str(json), AT, &out);
    ck_assert_uint_eq(out.len, strlen("before ") + strlen(expected));
    ck_assert_int_eq(memcmp(out.data + 7, expected, strlen(expected)), 0);
    buf_free(&out);
}

TEST(the_time_at_the_top_is_another_and_all_else_stays)
{
    check("{\"a\":1,\"projected_at\":\"x\",\"z\":[{\"projected_at\":\"y\"}]}",
          "{\"a\":1,\"projected_at\":\"2026-02-19T20:00:00.000001Z\",\"z\":[{\"projected_at\":"
          "\"y\"}]}");
    check("{\"projected_at\":null}", "{\"projected_at\":\"2026-02-19T20:00:00.000001Z\"}");
    check("{\"a\":\"projected_at\",\"b\\\"\":{\"projected_at\":1},\"projected_at\":\"x\"}",
          "{\"a\":\"projected_at\",\"b\\\"\":{\"projected_at\":1},"
          "\"projected_at\":\"2026-02-19T20:00:00.000001Z\"}");
}

/* What lies on a disk may be anything. */
TEST(a_text_without_one_stays_as_it_is)
{
    static const char *const texts[] = {"",
                                        "{",
                                        "{}",
                                        "{\"",
                                        "{\"projected_at\"",
                                        "{\"projected_at\":",
                                        "[1]",
                                        "{\"a\":1}",
                                        "{\"a\":{",
                                        "{\"a\"}",
                                        "{\"a\":]]]}",
                                        "{a b c}",
                                        "{,}",
                                        "{\"a\":1,",
                                        "{\"a\" 1}",
                                        "{\"a\":\"\\",
                                        "null"};

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        check(texts[i], texts[i]);
}
