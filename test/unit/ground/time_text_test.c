/* time_text_test.c - ISO 8601 and microseconds, both ways. */

#include "ground/time_text.h"
#include "test.h"

#include <time.h>

static void reads(const char *text, int64_t wanted)
{
    int64_t us = 0;
    ck_assert_msg(time_text_parse(slice_str(text), &us), "%s was refused", text);
    ck_assert_msg(us == wanted, "%s is %lld, wanted %lld", text, (long long)us, (long long)wanted);
}

static void refused(const char *text)
{
    int64_t us;
    ck_assert_msg(!time_text_parse(slice_str(text), &us), "%s was taken", text);
}

#define AT 1771531200000000 /* date -u -d 2026-02-19T20:00:00Z +%s */

TEST(reads_what_elixir_reads)
{
    reads("2026-02-19T20:00:00Z", AT);
    reads("2026-02-19 20:00:00Z", AT);
    reads("2026-02-19T20:00:00.000001Z", AT + 1);
    reads("2026-02-19T20:00:00.1234567891234Z", AT + 123456);
    reads("2026-02-19T20:00:00,25Z", AT + 250000);
    reads("2026-02-19T20:00:00.5+01:00", AT - 3599500000);
    reads("2026-02-19T20:00:00-0530", AT + 19800000000);
    reads("2026-02-19T20:00:00+01", AT - 3600000000);
    reads("1970-01-01T00:00:00Z", 0);
    reads("1969-12-31T23:59:59.999999Z", -1);
    reads("2000-02-29T00:00:00Z", 951782400000000);
    reads("2024-02-29T12:00:00+23:59", 1709121660000000);
    reads("0000-01-01T00:00:00Z", TIME_TEXT_MIN_US);
    reads("9999-12-31T23:59:59.999999Z", TIME_TEXT_MAX_US);
}

TEST(refuses_everything_else)
{
    static const char *const texts[] = {"",
                                        "Z",
                                        "2026-02-19",
                                        "2026-02-19T20:00:00",
                                        "2026-02-19T20:00:00.5",
                                        "20260219T200000Z",
                                        "2026-02-19T20:00Z",
                                        "2026-02-19T24:00:00Z",
                                        "2026-02-19T23:60:00Z",
                                        "2026-02-19T23:59:60Z",
                                        "2026-02-19t20:00:00Z",
                                        "2026-02-19T20:00:00z",
                                        "2026-02-19T20:00:00-00:00",
                                        "2026-02-19T20:00:00-00",
                                        "2026-02-19T20:00:00.Z",
                                        "2026-02-19T20:00:00+24:00",
                                        "2026-02-19T20:00:00+14:60",
                                        "2026-02-19T20:00:00+1",
                                        "2026-02-19T20:00:00+01:",
                                        "2026-02-19T20:00:00+01:0",
                                        "2026-02-19T20:00:00ZZ",
                                        "2026-02-19T20:00:00 Z",
                                        " 2026-02-19T20:00:00Z",
                                        "+2026-02-19T20:00:00Z",
                                        "-0001-02-19T20:00:00Z",
                                        "2026-00-19T20:00:00Z",
                                        "2026-13-19T20:00:00Z",
                                        "2026-02-00T20:00:00Z",
                                        "2026-02-29T20:00:00Z",
                                        "1900-02-29T20:00:00Z",
                                        "2026-04-31T20:00:00Z",
                                        "0000-01-01T00:00:00+01:00",
                                        "9999-12-31T23:59:59-01:00",
                                        "2026-02-19T2a:00:00Z",
                                        "now"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        refused(texts[i]);
    int64_t us;
    ck_assert(!time_text_parse(slice_of(NULL, 0), &us));
    ck_assert(!time_text_parse(slice_of("2026-02-19T20:00:00Z\0", 21), &us));
}

TEST(never_reads_behind_the_end)
{
    const char *text = "2026-02-19T20:00:00.123456+01:00";
    for (size_t len = 1; len < strlen(text); len++) {
        char *exact = malloc(len);
        int64_t us;
        memcpy(exact, text, len);
        bool taken = time_text_parse(slice_of(exact, len), &us);
        ck_assert(taken == (len == strlen("2026-02-19T20:00:00.123456+01")));
        free(exact);
    }
}

TEST(prints)
{
    char text[32];
    time_text_put(AT + 7, text);
    ck_assert_str_eq(text, "2026-02-19T20:00:00.000007Z");
    time_text_put(-1, text);
    ck_assert_str_eq(text, "1969-12-31T23:59:59.999999Z");
    time_text_put(TIME_TEXT_MIN_US, text);
    ck_assert_str_eq(text, "0000-01-01T00:00:00.000000Z");
    time_text_put(TIME_TEXT_MAX_US, text);
    ck_assert_str_eq(text, "9999-12-31T23:59:59.999999Z");
}

/* Against the C library, which counts the same days in another way; some 100,000 times. */
TEST(agrees_with_the_c_library)
{
    uint64_t x = 1;
    for (int i = 0; i < 100000; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        int64_t us =
            TIME_TEXT_MIN_US + (int64_t)(x % (uint64_t)(TIME_TEXT_MAX_US - TIME_TEXT_MIN_US + 1));
        int64_t rest = (us % 1000000 + 1000000) % 1000000, back;
        time_t seconds = (time_t)((us - rest) / 1000000);
        char text[32], wanted[64];
        struct tm tm;
        gmtime_r(&seconds, &tm);
        snprintf(wanted, sizeof wanted, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", tm.tm_year + 1900,
                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)rest);
        time_text_put(us, text);
        ck_assert_str_eq(text, wanted);
        ck_assert(time_text_parse(slice_str(text), &back) && back == us);
    }
}
