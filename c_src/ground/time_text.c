/*
 * time_text.c - ISO 8601 text to microseconds since 1970 and back, in UTC.
 *
 * The happy path: projected_at is compared as a number (it must rise) and kept
 * as text (it must not change).  The format is the one that Elixir's
 * DateTime.from_iso8601 reads: "2026-02-19T20:00:00[.digits](Z|+hh:mm|+hhmm|+hh)",
 * also with a blank for the T or a comma for the point; digits after the
 * microseconds are cut.  Years 0000 to 9999, proleptic Gregorian, no leap seconds.
 *
 * What can go wrong: the text has another form; then it is refused.  Days are
 * counted by arithmetic (Howard Hinnant's days_from_civil), so neither locale
 * nor time zone of the process matters.  Pure functions, any thread.
 */

#include "ground/time_text.h"

#define DAY_SECONDS 86400
#define SECOND_US   1000000

/* Years that begin in March put the leap day last; an era is 400 of them, 146097 days. */
static int64_t days_from_civil(int64_t year, int64_t month, int64_t day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static void civil_from_days(int64_t days, int *year, int *month, int *day)
{
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t day_of_era = z - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t m = (5 * day_of_year + 2) / 153;
    *day = (int)(day_of_year - (153 * m + 2) / 5 + 1);
    *month = (int)(m < 10 ? m + 3 : m - 9);
    *year = (int)(year_of_era + era * 400 + (*month <= 2 ? 1 : 0));
}

static char *put_digits(char *out, int value, int width)
{
    for (int i = width - 1; i >= 0; i--, value /= 10)
        out[i] = (char)('0' + value % 10);
    return out + width;
}

void time_text_put(int64_t us, char out[32])
{
    if (us < TIME_TEXT_MIN_US)
        us = TIME_TEXT_MIN_US;
    if (us > TIME_TEXT_MAX_US)
        us = TIME_TEXT_MAX_US;
    int64_t since_year_0 = us - TIME_TEXT_MIN_US; /* not negative, so / and % round down */
    int64_t day_us = (int64_t)DAY_SECONDS * SECOND_US;
    int year, month, day;
    civil_from_days(since_year_0 / day_us + TIME_TEXT_MIN_US / day_us, &year, &month, &day);
    int second = (int)(since_year_0 % day_us / SECOND_US);

    char *p = put_digits(out, year, 4);
    *p++ = '-';
    p = put_digits(p, month, 2);
    *p++ = '-';
    p = put_digits(p, day, 2);
    *p++ = 'T';
    p = put_digits(p, second / 3600, 2);
    *p++ = ':';
    p = put_digits(p, second / 60 % 60, 2);
    *p++ = ':';
    p = put_digits(p, second % 60, 2);
    *p++ = '.';
    p = put_digits(p, (int)(since_year_0 % SECOND_US), 6);
    *p++ = 'Z';
    *p = '\0';
}

/* A cursor over the text; `bad` is set at the first mismatch and stays set. */
struct scan {
    const uint8_t *p, *end;
    bool bad;
};

static bool take(struct scan *s, char a, char b)
{
    if (s->p == s->end || (*s->p != (uint8_t)a && *s->p != (uint8_t)b))
        return false;
    s->p++;
    return true;
}

static void expect(struct scan *s, char a, char b)
{
    if (!take(s, a, b))
        s->bad = true;
}

static bool at_digit(const struct scan *s)
{
    return s->p < s->end && *s->p >= '0' && *s->p <= '9';
}

static int64_t number(struct scan *s, int width, int64_t min, int64_t max)
{
    int64_t v = 0;
    for (int i = 0; i < width; i++) {
        if (!at_digit(s)) {
            s->bad = true;
            return min;
        }
        v = v * 10 + (*s->p++ - '0');
    }
    if (v < min || v > max)
        s->bad = true;
    return v;
}

int64_t time_text_month_days(int64_t year, int64_t month)
{
    static const int8_t days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && is_leap ? 1 : 0);
}

static int64_t date_days(struct scan *s)
{
    int64_t year = number(s, 4, 0, 9999);
    expect(s, '-', '-');
    int64_t month = number(s, 2, 1, 12);
    expect(s, '-', '-');
    if (s->bad)
        return 0;
    int64_t day = number(s, 2, 1, time_text_month_days(year, month));
    return days_from_civil(year, month, day);
}

static int64_t clock_us(struct scan *s)
{
    int64_t hour = number(s, 2, 0, 23);
    expect(s, ':', ':');
    int64_t minute = number(s, 2, 0, 59);
    expect(s, ':', ':');
    int64_t us = (hour * 3600 + minute * 60 + number(s, 2, 0, 59)) * SECOND_US;
    if (!take(s, '.', ','))
        return us;
    if (!at_digit(s))
        s->bad = true;
    for (int64_t unit = SECOND_US / 10; at_digit(s); unit /= 10)
        us += unit * (*s->p++ - '0'); /* after the sixth digit the unit is 0 */
    return us;
}

static int64_t offset_us(struct scan *s)
{
    if (take(s, 'Z', 'Z'))
        return 0;
    bool is_west = take(s, '-', '-');
    if (!is_west)
        expect(s, '+', '+');
    int64_t minutes = 60 * number(s, 2, 0, 23);
    if (take(s, ':', ':') || at_digit(s))
        minutes += number(s, 2, 0, 59);
    if (is_west && minutes == 0)
        s->bad = true; /* -00:00 means "offset unknown" */
    return (is_west ? -minutes : minutes) * 60 * SECOND_US;
}

bool time_text_parse(struct slice text, int64_t *us)
{
    if (text.len == 0)
        return false;
    struct scan s = {.p = text.data, .end = text.data + text.len};
    int64_t at = date_days(&s) * DAY_SECONDS * SECOND_US;
    expect(&s, 'T', ' ');
    at += clock_us(&s);
    at -= offset_us(&s);
    if (s.bad || s.p != s.end || at < TIME_TEXT_MIN_US || at > TIME_TEXT_MAX_US)
        return false;
    *us = at;
    return true;
}
