/* json_time_test.c - Elixir structs as text; what is wanted is what Elixir 1.14 itself said. */

#include "test.h"
#include "json/json_time.h"
#include "term/term_cases.h"

/* A struct's fields as they come; every field is put with its atom key. */
struct fields {
    struct buf body;
    uint32_t count;
};

static void key(struct fields *f, const char *name)
{
    term_put_atom(&f->body, name);
    f->count++;
}

static void integer(struct fields *f, const char *name, int64_t v)
{
    key(f, name);
    term_put_integer(&f->body, v);
}

static void atom(struct fields *f, const char *name, const char *value)
{
    key(f, name);
    term_put_atom(&f->body, value);
}

static void date(struct fields *f, int64_t year, int64_t month, int64_t day)
{
    integer(f, "year", year);
    integer(f, "month", month);
    integer(f, "day", day);
}

static void clock_time(struct fields *f, int64_t hour, int64_t minute, int64_t second, int64_t us,
                       int64_t digits)
{
    integer(f, "hour", hour);
    integer(f, "minute", minute);
    integer(f, "second", second);
    key(f, "microsecond");
    term_put_tuple(&f->body, 2);
    term_put_integer(&f->body, us);
    term_put_integer(&f->body, digits);
}

static void zone(struct fields *f, const char *name, int64_t utc, int64_t std)
{
    key(f, "time_zone");
    term_put_text(&f->body, name);
    key(f, "zone_abbr");
    term_put_text(&f->body, "X");
    integer(f, "utc_offset", utc);
    integer(f, "std_offset", std);
}

/* Close the struct, ask for its text, compare; NULL: it must be refused, with ${why} in the
 * reason, or as the reason after "=". */
static void becomes(struct fields *f, const char *wanted, const char *why)
{
    struct buf body = {0}, message = {0}, out = {0};
    struct fault fault = {.why = ""};

    buf_str(&out, "x");
    term_put_map(&body, f->count);
    term_put_raw(&body, buf_view(&f->body));
    term t = term_of(buf_view(&body), &message);
    ck_assert(json_time_is_struct(t));
    enum err e = json_time_put(&out, &t, &fault);
    if (wanted != NULL) {
        ck_assert_msg(e == ERR_OK, "%s: %s", wanted, fault.why);
        ck_assert_slice(slice_of(out.data + 1, out.len - 1), wanted);
        ck_assert_ptr_eq(t, message.data + message.len);
    } else {
        ck_assert_int_eq(e, ERR_INVALID);
        bool is_whole = why[0] == '=';
        ck_assert_msg(is_whole ? strcmp(fault.why, why + 1) == 0 : strstr(fault.why, why) != NULL,
                      "%s", fault.why);
        ck_assert_slice(buf_view(&out), "x");
    }
    buf_free(&out);
    buf_free(&message);
    buf_free(&body);
    buf_free(&f->body);
    *f = (struct fields){0};
}

static struct fields of(const char *module)
{
    struct fields f = {0};

    atom(&f, "__struct__", module);
    atom(&f, "calendar", "Elixir.Calendar.ISO");
    return f;
}

TEST(dates_and_times)
{
    static const struct {
        int64_t year, month, day;
        const char *wanted;
    } dates[] = {
        {2026, 2, 19, "2026-02-19"}, {2024, 2, 29, "2024-02-29"},
        {2000, 2, 29, "2000-02-29"}, {1900, 2, 29, NULL},
        {2026, 2, 29, NULL},         {2026, 4, 31, NULL},
        {2026, 13, 1, NULL},         {2026, 0, 1, NULL},
        {2026, 1, 0, NULL},          {0, 1, 1, "0000-01-01"},
        {-1, 12, 31, "-0001-12-31"}, {9999, 12, 31, "9999-12-31"},
        {10000, 1, 1, NULL},         {-9999, 1, 31, "-9999-01-31"},
        {-10000, 1, 1, NULL},        {2026, 12, 32, NULL},
    };
    static const struct {
        int64_t hour, minute, second, us, digits;
        const char *wanted;
    } times[] = {
        {20, 0, 0, 0, 6, "20:00:00.000000"},
        {20, 0, 0, 0, 0, "20:00:00"},
        {1, 2, 3, 120000, 2, "01:02:03.12"},
        {1, 2, 3, 5, 6, "01:02:03.000005"},
        {23, 59, 59, 999999, 3, "23:59:59.999"},
        {24, 0, 0, 0, 0, NULL},
        {0, 60, 0, 0, 0, NULL},
        {0, 0, 61, 0, 0, NULL},
        {0, 0, 0, 1000000, 6, NULL},
        {0, 0, 0, 0, 7, NULL},
        {-1, 0, 0, 0, 0, NULL},
        {0, 59, 60, 0, 1, "00:59:60.0"}, /* a leap second */
        {0, -1, 0, 0, 0, NULL},
        {0, 0, -1, 0, 0, NULL},
        {0, 0, 0, -1, 0, NULL},
        {0, 0, 0, 0, -1, NULL},
    };

    for (size_t i = 0; i < sizeof dates / sizeof *dates; i++) {
        struct fields f = of("Elixir.Date");

        date(&f, dates[i].year, dates[i].month, dates[i].day);
        becomes(&f, dates[i].wanted, "out of range");
    }
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        struct fields f = of("Elixir.Time");

        clock_time(&f, times[i].hour, times[i].minute, times[i].second, times[i].us,
                   times[i].digits);
        becomes(&f, times[i].wanted, "out of range");
    }
}

TEST(date_times_with_and_without_zone)
{
    static const struct {
        const char *name;
        int64_t utc, std;
        const char *wanted;
    } zones[] = {
        {"Etc/UTC", 0, 0, "2026-02-19T20:00:07.120000Z"},
        {"Europe/London", 0, 0, "2026-02-19T20:00:07.120000+00:00"},
        {"Europe/Warsaw", 3600, 3600, "2026-02-19T20:00:07.120000+02:00"},
        {"America/St_Johns", -12600, 0, "2026-02-19T20:00:07.120000-03:30"},
        {"Etc/UTC", -3600, 3600, "2026-02-19T20:00:07.120000+00:00"},
        {"Etc/UTC", 0, 3600, "2026-02-19T20:00:07.120000+01:00"},
        {"Etc/UTC", 0, -1, "2026-02-19T20:00:07.120000-00:00"},
        {"X", 86400, 86400, "2026-02-19T20:00:07.120000+48:00"},
        {"X", -86400, -86400, "2026-02-19T20:00:07.120000-48:00"},
        {"X", 86401, 0, NULL},
        {"X", -86401, 0, NULL},
        {"X", 0, 86401, NULL},
        {"X", 0, -86401, NULL},
        {"Etc/UTC", 100000, 0, NULL},
    };

    for (size_t i = 0; i < sizeof zones / sizeof *zones; i++) {
        struct fields f = of("Elixir.DateTime");

        date(&f, 2026, 2, 19);
        clock_time(&f, 20, 0, 7, 120000, 6);
        zone(&f, zones[i].name, zones[i].utc, zones[i].std);
        becomes(&f, zones[i].wanted, "out of range");
    }

    struct fields f = of("Elixir.NaiveDateTime");
    date(&f, 2026, 2, 19);
    clock_time(&f, 20, 0, 7, 0, 0);
    becomes(&f, "2026-02-19T20:00:07", NULL);
}

TEST(decimals)
{
    static const struct {
        int64_t sign, coef, exp;
        const char *wanted;
    } rows[] = {
        {1, 0, 0, "0"},
        {1, 123, 0, "123"},
        {-1, 123, -2, "-1.23"},
        {1, 5, -1, "0.5"},
        {1, 5, -6, "0.000005"},
        {1, 5, -7, "5E-7"},
        {1, 12, -8, "1.2E-7"},
        {1, 1, 3, "1E+3"},
        {1, 125, 3, "1.25E+5"},
        {-1, 1000, -3, "-1.000"},
        {1, 123456, -6, "0.123456"},
        {1, 0, -2, "0.00"},
        {1, INT64_MAX, -18, "9.223372036854775807"},
        {1, -5, 0, NULL},
        {0, 5, 0, "5"},
        {1, 5, -7, "5E-7"},
        {1, 123, -3, "0.123"},
        {1, 123, -9, "1.23E-7"},
        {1, 123, -8, "0.00000123"},
        {1, 5, INT32_MAX, "5E+2147483647"},
        {1, 5, INT32_MIN, "5E-2147483648"},
    };
    static const int64_t wrong[][2] = {
        {2, 0}, {-2, 0}, {1, (int64_t)INT32_MAX + 1}, {1, (int64_t)INT32_MIN - 1}};
    struct fields f = {0};

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        atom(&f, "__struct__", "Elixir.Decimal");
        integer(&f, "sign", rows[i].sign);
        integer(&f, "coef", rows[i].coef);
        integer(&f, "exp", rows[i].exp);
        becomes(&f, rows[i].wanted, "coef");
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        atom(&f, "__struct__", "Elixir.Decimal");
        integer(&f, "coef", 1);
        integer(&f, "sign", wrong[i][0]);
        integer(&f, "exp", wrong[i][1]);
        becomes(&f, NULL, "out of range");
    }
}

TEST(decimals_beyond_64_bits_and_without_digits)
{
    static const struct {
        struct slice coef;
        int64_t sign;
        const char *wanted;
    } rows[] = {
        /* 2^64, 10^28 - 1, 10^27 with exponent -27 */
        {ROW("n\11\0\0\0\0\0\0\0\0\0\1"), 1, "18446744073709551616"},
        {ROW("n\14\0\377\377\377\17\141\2\45\76\136\316\117\40"), -1,
         "-9999999999999999999999999999"},
        {ROW("n\14\0\0\0\0\350\74\200\320\237\74\56\73\3"), 1, "1000000000000000000000000000"},
        {ROW("w\3NaN"), 1, "NaN"},
        {ROW("w\3inf"), -1, "-Infinity"},
        {ROW("m\0\0\0\1"
             "1"),
         1, NULL},
    };
    struct fields f = {0};
    struct buf huge = {0};

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        atom(&f, "__struct__", "Elixir.Decimal");
        integer(&f, "sign", rows[i].sign);
        key(&f, "coef");
        term_put_raw(&f.body, rows[i].coef);
        integer(&f, "exp", 0);
        becomes(&f, rows[i].wanted, "coef");
    }
    for (uint8_t len = 64; len <= 65; len++) { /* 2^512 - 1 is the last that is taken */
        atom(&f, "__struct__", "Elixir.Decimal");
        integer(&f, "sign", 1);
        integer(&f, "exp", 0);
        key(&f, "coef");
        uint8_t head[] = {'n', len, 0};
        buf_add(&f.body, head, sizeof head);
        for (int i = 0; i < len; i++)
            buf_byte(&f.body, 0xff);
        becomes(&f,
                len == 65 ? NULL
                          : "134078079299425970995740249982058461274793658205923933777235614437217"
                            "640300735469768018742981669034276900318581864860508537538828119465699"
                            "46433649006084095",
                "154 digits");
    }
    buf_free(&huge);
}

TEST(what_is_no_struct_of_ours)
{
    struct buf message = {0}, out = {0};
    struct fault fault;
    struct fields f = of("Elixir.MapSet");

    becomes(&f, NULL, "MapSet");
    atom(&f, "__struct__", "Elixir.Date");
    atom(&f, "calendar", "Elixir.Other");
    date(&f, 2026, 1, 1);
    becomes(&f, NULL, "Calendar.ISO");
    f = of("Elixir.Time");
    becomes(&f, NULL, "hour");
    f = of("Elixir.Time");
    clock_time(&f, 1, 1, 1, 0, 0);
    f.body.len -= 4; /* the pair's two integers, 2 bytes each */
    f.body.len -= 2;
    term_put_nil(&f.body);
    becomes(&f, NULL, "no pair");
    f = of("Elixir.Time"); /* three, a list of two, none */
    clock_time(&f, 1, 1, 1, 0, 0);
    f.body.data[f.body.len - 5] = 3;
    term_put_integer(&f.body, 0);
    becomes(&f, NULL, "no pair");
    f = of("Elixir.Time");
    clock_time(&f, 1, 1, 1, 0, 0);
    f.body.len -= 6;
    term_put_list(&f.body, 2);
    term_put_integer(&f.body, 0);
    term_put_integer(&f.body, 0);
    term_put_nil(&f.body);
    becomes(&f, NULL, "no pair");
    f = of("Elixir.Time");
    integer(&f, "hour", 1);
    integer(&f, "minute", 1);
    integer(&f, "second", 1);
    becomes(&f, NULL, "no pair");
    f = of("Elixir.AnamethatislongerthanwhatisshownofitanamethatislongerthanwhatX\x7f\x01");
    becomes(&f, NULL,
            "=no JSON form for the struct "
            "Elixir.Anamethatislongerthanwhatisshownofitanamethatislongertha");
    f = of("A\x7f\x1f \xfe~");
    becomes(&f, NULL, "=no JSON form for the struct A?? ?~");

    ck_assert(!json_time_is_struct(term_of(BYTES("t\0\0\0\0"), &message)));
    ck_assert(!json_time_is_struct(term_of(BYTES("a\1"), &message)));
    ck_assert(json_time_is_struct(
        term_of(BYTES("t\0\0\0\2w\1aa\1w\12__struct__w\13Elixir.Date"), &message)));
    ck_assert(!json_time_is_struct(term_of(BYTES("t\0\0\0\2w\1aw\12__struct__w\1ba\1"), &message)));
    term t = term_of(BYTES("t\0\0\0\1m\0\0\0\12__struct__w\13Elixir.Date"), &message);
    ck_assert(!json_time_is_struct(t));
    ck_assert_int_eq(json_time_put(&out, &t, &fault), ERR_INVALID);
    buf_free(&message);
    buf_free(&out);
}
