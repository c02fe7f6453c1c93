/*
 * json_time.c - the text of the Elixir structs that JSON knows: times, dates, decimals.
 *
 * The happy path: the struct's name selects one row of a table, the row's function reads the
 * fields, checks each against its range, and appends the text that Jason would write, so that a
 * document made here equals one made in the VM, digit for digit: the precision of the microseconds
 * is kept, UTC is "Z", any other zone its offset.
 *
 * What can go wrong: another struct, another calendar, a field missing or out of its range.  Each
 * is refused with a sentence and nothing is appended.
 *
 * Any thread: there is no state here.
 */

#include "json_time.h"

#define MICROSECOND_DIGITS 6
#define DAY_SECONDS        86400
#define DECIMAL_MAX_BYTES  64 /* of a coefficient: 154 digits, where Decimal's default is 28 */
#define DECIMAL_DIGITS     160
#define LIMB_DIGITS        9
#define LIMB               1000000000U

struct reader {
    term map;
    struct fault *fault;
};

static bool refuse(struct reader *r, const char *what, const char *why)
{
    *r->fault = (struct fault){0};
    snprintf(r->fault->why, sizeof r->fault->why, "%s%s", what, why);
    return false;
}

static bool in_range(struct reader *r, term t, const char *name, int64_t min, int64_t max,
                     int64_t *v)
{
    if (t != NULL && term_integer(t, v) && *v >= min && *v <= max)
        return true;
    return refuse(r, name, ": the struct's field is missing or out of range");
}

static bool field(struct reader *r, const char *name, int64_t min, int64_t max, int64_t *v)
{
    return in_range(r, term_get(r->map, name), name, min, max, v);
}

/* Decimal digits of `v` >= 0, zeros in front up to `width`. */
static void put_padded(struct buf *out, int64_t v, size_t width)
{
    char text[8];

    PRE(width < sizeof text);
    for (size_t i = width; i > 0; i--, v /= 10)
        text[i - 1] = (char)('0' + v % 10);
    buf_add(out, text, width);
}

static int64_t days_in(int64_t year, int64_t month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

    return days[month - 1] + (month == 2 && leap);
}

static bool put_date(struct buf *out, struct reader *r)
{
    int64_t year, month, day;

    if (!field(r, "year", -9999, 9999, &year) || !field(r, "month", 1, 12, &month) ||
        !field(r, "day", 1, days_in(year, month), &day))
        return false;
    if (year < 0)
        buf_byte(out, '-');
    put_padded(out, year < 0 ? -year : year, 4);
    buf_byte(out, '-');
    put_padded(out, month, 2);
    buf_byte(out, '-');
    put_padded(out, day, 2);
    return true;
}

static bool put_time(struct buf *out, struct reader *r)
{
    int64_t hour, minute, second, fraction, digits;
    term microsecond = term_get(r->map, "microsecond");

    if (!field(r, "hour", 0, 23, &hour) || !field(r, "minute", 0, 59, &minute) ||
        !field(r, "second", 0, 60, &second)) /* 60: leap seconds, old Elixirs let them in */
        return false;
    if (microsecond == NULL || term_type(microsecond) != TERM_TUPLE || term_arity(microsecond) != 2)
        return refuse(r, "microsecond", ": the struct's field is no pair");
    if (!in_range(r, term_element(microsecond, 0), "microsecond", 0, 999999, &fraction) ||
        !in_range(r, term_element(microsecond, 1), "microsecond", 0, MICROSECOND_DIGITS, &digits))
        return false;
    put_padded(out, hour, 2);
    buf_byte(out, ':');
    put_padded(out, minute, 2);
    buf_byte(out, ':');
    put_padded(out, second, 2);
    if (digits > 0) {
        buf_byte(out, '.');
        put_padded(out, fraction, MICROSECOND_DIGITS);
        out->len -= MICROSECOND_DIGITS - (size_t)digits;
    }
    return true;
}

static bool put_naive(struct buf *out, struct reader *r)
{
    if (!put_date(out, r))
        return false;
    buf_byte(out, 'T');
    return put_time(out, r);
}

static bool put_zoned(struct buf *out, struct reader *r)
{
    int64_t utc, std;
    term zone = term_get(r->map, "time_zone");

    if (!put_naive(out, r) || !field(r, "utc_offset", -DAY_SECONDS, DAY_SECONDS, &utc) ||
        !field(r, "std_offset", -DAY_SECONDS, DAY_SECONDS, &std))
        return false;
    if (utc == 0 && std == 0 && term_is_text(zone, "Etc/UTC")) {
        buf_byte(out, 'Z');
        return true;
    }
    int64_t total = utc + std, seconds = total < 0 ? -total : total;
    buf_byte(out, total < 0 ? '-' : '+');
    put_padded(out, seconds / 3600, 2);
    buf_byte(out, ':');
    put_padded(out, seconds % 3600 / 60, 2);
    return true;
}

/* The decimal digits of a coefficient: any non-negative integer of up to DECIMAL_MAX_BYTES. */
static size_t decimal_digits(term coefficient, char digits[DECIMAL_DIGITS])
{
    uint32_t limbs[DECIMAL_DIGITS / LIMB_DIGITS + 1] = {0};
    size_t count = 1, n;
    bool negative;
    int64_t v;

    if (term_integer(coefficient, &v))
        return v < 0 ? 0 : (size_t)snprintf(digits, DECIMAL_DIGITS, "%lld", (long long)v);
    if (term_type(coefficient) != TERM_BIGNUM)
        return 0;
    struct slice bytes = term_magnitude(coefficient, &negative);
    if (negative || bytes.len > DECIMAL_MAX_BYTES)
        return 0;
    for (size_t i = bytes.len; i > 0; i--) {
        uint64_t carry = bytes.data[i - 1];

        for (size_t k = 0; k < count; k++) {
            carry += (uint64_t)limbs[k] << 8;
            limbs[k] = (uint32_t)(carry % LIMB);
            carry /= LIMB;
        }
        if (carry > 0)
            limbs[count++] = (uint32_t)carry;
    }
    n = (size_t)snprintf(digits, DECIMAL_DIGITS, "%u", limbs[count - 1]);
    for (size_t k = count - 1; k > 0; k--, n += LIMB_DIGITS)
        snprintf(digits + n, DECIMAL_DIGITS - n, "%09u", limbs[k - 1]);
    return n;
}

/* Decimal.to_string(d, :scientific), as the library's decimal.ex has it. */
static void put_digits(struct buf *out, const char *digits, size_t len, int64_t exp)
{
    int64_t adjusted = exp + (int64_t)len - 1;

    if (exp == 0) {
        buf_add(out, digits, len);
    } else if (exp < 0 && adjusted >= -6) {
        int64_t zeros = -exp - (int64_t)len + 1; /* before the digits, one left of the point */
        size_t whole = zeros > 0 ? 0 : (size_t)(exp + (int64_t)len);

        buf_add(out, zeros > 0 ? "0" : digits, zeros > 0 ? 1 : whole);
        buf_byte(out, '.');
        for (; zeros > 1; zeros--)
            buf_byte(out, '0');
        buf_add(out, digits + whole, len - whole);
    } else {
        buf_add(out, digits, 1);
        if (len > 1)
            buf_byte(out, '.');
        buf_add(out, digits + 1, len - 1);
        buf_printf(out, "E%s%lld", exp >= 0 ? "+" : "", (long long)adjusted);
    }
}

static bool put_decimal(struct buf *out, struct reader *r)
{
    term coefficient = term_get(r->map, "coef");
    char digits[DECIMAL_DIGITS];
    int64_t sign, exp;

    if (!field(r, "sign", -1, 1, &sign) || !field(r, "exp", INT32_MIN, INT32_MAX, &exp))
        return false;
    if (sign < 0)
        buf_byte(out, '-');
    if (term_is(coefficient, "NaN") || term_is(coefficient, "qNaN")) {
        buf_str(out, "NaN");
        return true;
    }
    if (term_is(coefficient, "inf")) {
        buf_str(out, "Infinity");
        return true;
    }
    size_t len = coefficient ? decimal_digits(coefficient, digits) : 0;
    if (len == 0)
        return refuse(r, "coef", ": no integer, or one of more than 154 digits");
    put_digits(out, digits, len, exp);
    return true;
}

static const struct {
    const char *name;
    bool (*put)(struct buf *out, struct reader *r);
    bool calendar; /* only Calendar.ISO has ISO 8601 */
} structs[] = {
    {"Elixir.DateTime", put_zoned, true},   {"Elixir.NaiveDateTime", put_naive, true},
    {"Elixir.Date", put_date, true},        {"Elixir.Time", put_time, true},
    {"Elixir.Decimal", put_decimal, false},
};

/* The value of the atom key __struct__; a binary of that name is a key like any other. */
static term struct_name(term t)
{
    if (term_type(t) != TERM_MAP)
        return NULL;

    term at = term_items(t);
    for (uint32_t pairs = term_arity(t); pairs > 0; pairs--) {
        term value = term_next(at);

        if (term_is(at, "__struct__"))
            return value;
        at = term_next(value);
    }
    return NULL;
}

bool json_time_is_struct(term t)
{
    return struct_name(t) != NULL;
}

/* The name comes from outside; only what is printable ASCII is repeated. */
static bool refuse_name(struct reader *r, struct slice name)
{
    char shown[64];
    size_t n = 0;

    for (; n < name.len && n < sizeof shown - 1; n++)
        shown[n] = name.data[n] >= 0x20 && name.data[n] < 0x7f ? (char)name.data[n] : '?';
    shown[n] = 0;
    return refuse(r, "no JSON form for the struct ", shown);
}

static bool put_struct(struct buf *out, struct reader *r)
{
    term module = struct_name(r->map);
    struct slice name = module ? term_text(module) : slice_str("");

    for (size_t i = 0; i < sizeof structs / sizeof *structs; i++) {
        if (!slice_is(name, structs[i].name))
            continue;
        if (structs[i].calendar && !term_is(term_get(r->map, "calendar"), "Elixir.Calendar.ISO"))
            return refuse(r, "calendar", ": only Calendar.ISO has a JSON form");
        return structs[i].put(out, r);
    }
    return refuse_name(r, name);
}

enum err json_time_put(struct buf *out, term t, struct fault *fault)
{
    struct reader r = {.map = t, .fault = fault};
    size_t start = out->len;

    if (put_struct(out, &r))
        return ERR_OK;
    out->len = start;
    return ERR_INVALID;
}
