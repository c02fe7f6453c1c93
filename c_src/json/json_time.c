/*
 * json_time.c - the text of the Elixir structs that JSON knows: times, dates, decimals.
 *
 * The happy path: the struct's name selects one row of a table, the row's function reads the
 * fields, checks each against its range, and appends the text that Jason would write, so that a
 * document made here equals one made in the VM, digit for digit: the precision of the microseconds
 * is kept, UTC is "Z", any other zone its offset.
 *
 * What can go wrong: another struct, another calendar, a field missing or out of its range.  Each
 * is refused with a reason and nothing is appended.  One walk over the map finds all fields: the
 * BEAM sends them in the order of the table, so the first guess is usually right.
 *
 * Any thread: there is no state here.
 */

#include "json/json_time.h"

#include "ground/time_text.h"

#define MICROSECOND_DIGITS 6
#define DAY_SECONDS        86400
#define DECIMAL_MAX_BYTES  64 /* of a coefficient: 154 digits, where Decimal's default is 28 */
#define DECIMAL_DIGITS     160
#define LIMB_DIGITS        9
#define LIMB               1000000000U

/* The fields of all these structs, in the order in which the BEAM sends them. */
#define FIELD_LIST(X)                                                                              \
    X(STRUCT, "__struct__")                                                                        \
    X(CALENDAR, "calendar")                                                                        \
    X(COEF, "coef")                                                                                \
    X(DAY, "day")                                                                                  \
    X(EXP, "exp")                                                                                  \
    X(HOUR, "hour")                                                                                \
    X(MICROSECOND, "microsecond")                                                                  \
    X(MINUTE, "minute")                                                                            \
    X(MONTH, "month")                                                                              \
    X(SECOND, "second")                                                                            \
    X(SIGN, "sign")                                                                                \
    X(STD_OFFSET, "std_offset")                                                                    \
    X(TIME_ZONE, "time_zone")                                                                      \
    X(UTC_OFFSET, "utc_offset")                                                                    \
    X(YEAR, "year")                                                                                \
    X(ZONE_ABBR, "zone_abbr") /* unused, but sent */

enum field {
#define X(name, text) name,
    FIELD_LIST(X)
#undef X
};
#define FIELDS (ZONE_ABBR + 1)

static const struct {
    const char *text;
    size_t len;
} names[] = {
#define X(name, text) {text, sizeof text - 1},
    FIELD_LIST(X)
#undef X
};

struct reader {
    term fields[FIELDS]; /* NULL: not there */
    struct fault *fault;
};

/* Find all fields in one walk over the map; returns the term after it. */
static term read_fields(struct reader *r, term map)
{
    term at = term_items(map);
    size_t guess = 0; /* the field that the next key probably is */

    for (uint32_t pairs = term_arity(map); pairs > 0; pairs--) {
        struct slice name = term_text(at);
        bool atom = name.data != NULL && term_type(at) == TERM_ATOM;

        at = term_next(at);
        for (size_t n = 0, i = guess; atom && n < FIELDS; n++, i++) {
            if (i == FIELDS)
                i = 0;
            if (name.len != names[i].len || memcmp(name.data, names[i].text, name.len) != 0)
                continue;
            r->fields[i] = at;
            guess = i + 1;
            break;
        }
        at = term_next(at);
    }
    return at;
}

static bool refuse(struct reader *r, const char *what, const char *why)
{
    fault_say(r->fault, "", "%s%s", what, why);
    return false;
}

static bool in_range(struct reader *r, term t, enum field f, int64_t min, int64_t max, int64_t *v)
{
    if (t != NULL && term_integer(t, v) && *v >= min && *v <= max)
        return true;
    return refuse(r, names[f].text, ": the struct's field is missing or out of range");
}

static bool field(struct reader *r, enum field f, int64_t min, int64_t max, int64_t *v)
{
    return in_range(r, r->fields[f], f, min, max, v);
}

/* Decimal digits of `v` >= 0, with leading zeros up to `width`. */
static void put_padded(struct buf *out, int64_t v, size_t width)
{
    buf_reserve(out, width);
    uint32_t rest = (uint32_t)v;
    for (size_t i = width; i > 0; i--, rest /= 10)
        out->data[out->len + i - 1] = (uint8_t)('0' + rest % 10);
    out->len += width;
}

static bool put_date(struct buf *out, struct reader *r)
{
    int64_t year, month, day;

    if (!field(r, YEAR, -9999, 9999, &year) || !field(r, MONTH, 1, 12, &month) ||
        !field(r, DAY, 1, time_text_month_days(year, month), &day))
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
    term microsecond = r->fields[MICROSECOND];

    if (!field(r, HOUR, 0, 23, &hour) || !field(r, MINUTE, 0, 59, &minute) ||
        !field(r, SECOND, 0, 60, &second)) /* 60: leap seconds, old Elixirs let them in */
        return false;
    if (microsecond == NULL || term_type(microsecond) != TERM_TUPLE || term_arity(microsecond) != 2)
        return refuse(r, "microsecond", ": the struct's field is no pair");
    if (!in_range(r, term_element(microsecond, 0), MICROSECOND, 0, 999999, &fraction) ||
        !in_range(r, term_element(microsecond, 1), MICROSECOND, 0, MICROSECOND_DIGITS, &digits))
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
    term zone = r->fields[TIME_ZONE];

    if (!put_naive(out, r) || !field(r, UTC_OFFSET, -DAY_SECONDS, DAY_SECONDS, &utc) ||
        !field(r, STD_OFFSET, -DAY_SECONDS, DAY_SECONDS, &std))
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

/* Decimal.to_string(d, :scientific), as in the library's decimal.ex. */
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
    term coefficient = r->fields[COEF];
    char digits[DECIMAL_DIGITS];
    int64_t sign, exp;

    if (!field(r, SIGN, -1, 1, &sign) || !field(r, EXP, INT32_MIN, INT32_MAX, &exp))
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

bool json_time_is_struct(term t)
{
    if (term_type(t) != TERM_MAP)
        return false;

    term at = term_items(t);
    for (uint32_t pairs = term_arity(t); pairs > 0; pairs--) {
        if (term_is(at, names[STRUCT].text)) /* a binary of that name is an ordinary key */
            return true;
        at = term_next(term_next(at));
    }
    return false;
}

/* The name comes from outside; only printable ASCII is quoted. */
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
    term module = r->fields[STRUCT];
    struct slice name = module ? term_text(module) : slice_str("");

    for (size_t i = 0; i < sizeof structs / sizeof *structs; i++) {
        if (!slice_is(name, structs[i].name))
            continue;
        if (structs[i].calendar && !term_is(r->fields[CALENDAR], "Elixir.Calendar.ISO"))
            return refuse(r, "calendar", ": only Calendar.ISO has a JSON form");
        return structs[i].put(out, r);
    }
    return refuse_name(r, name);
}

enum err json_time_put(struct buf *out, term *t, struct fault *fault)
{
    struct reader r = {.fault = fault};
    size_t start = out->len;

    term behind = term_type(*t) == TERM_MAP ? read_fields(&r, *t) : term_next(*t);
    if (put_struct(out, &r)) {
        *t = behind;
        return ERR_OK;
    }
    out->len = start;
    return ERR_INVALID;
}
