/*
 * json_text.c - strings and numbers as RFC 8785 writes them.
 *
 * The happy path of a string: the text is scanned eight bytes at a time; a run of printable ASCII
 * that needs no escape is appended at once.  UTF-8 is checked in the same pass and copied; quote,
 * backslash and control characters get the shortest escape.
 *
 * A double with few decimals is found by scaling; any other is printed with 15, 16 and 17 digits
 * until strtod reads the same double again, then its digits are put in the form of ECMAScript's
 * Number::toString.  Printing and reading use the same locale and only digits are taken out of the
 * text, so the locale does not matter.
 *
 * What can go wrong: text that is not UTF-8 (json_try_string says so and appends nothing).
 *
 * Any thread: there is no state here.
 */

#include "json/json.h"

#include "json/json_bytes.h"

#include <float.h>
#include <math.h>

#define MAX_PLAIN_INTEGER (INT64_C(1) << 53)
#define MAX_DIGITS        17
#define MAX_SHORT         1e15 /* DBL_DIG digits: every such decimal has a double of its own */
#define MAX_EXACT_POWER   22   /* 10^22 is the last power of ten that is a double */

static inline bool continues(uint8_t byte)
{
    return (byte & 0xc0) == 0x80;
}

/* Bytes of the character at `p`, which is not ASCII; 0 when it is not well formed (RFC 3629). */
static size_t utf8_bytes(const uint8_t *p, size_t left)
{
    if (p[0] < 0xc2 || p[0] > 0xf4 || left < 2 || !continues(p[1]))
        return 0;
    if (p[0] < 0xe0)
        return 2;
    if (left < 3 || !continues(p[2]))
        return 0;
    if (p[0] < 0xf0) {
        bool overlong = p[0] == 0xe0 && p[1] < 0xa0, surrogate = p[0] == 0xed && p[1] > 0x9f;

        return overlong || surrogate ? 0 : 3;
    }
    if (left < 4 || !continues(p[3]) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return 4;
}

static void put_escape(struct buf *out, uint8_t c)
{
    static const char shorts[0x20] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    char text[7];

    text[0] = '\\';
    text[1] = c >= 0x20 ? (char)c : shorts[c];
    if (text[1] != 0) {
        buf_add(out, text, 2);
        return;
    }
    snprintf(text, sizeof text, "\\u%04x", c);
    buf_add(out, text, 6);
}

/* A string some of whose bytes are not plain. */
static bool put_mixed(struct buf *out, struct slice text)
{
    const uint8_t *p = text.data, *run = p, *end = p + text.len;
    size_t start = out->len;

    buf_byte(out, '"');
    while (p < end) {
        if (end - p >= 8 && json_word_is_plain(json_word(p))) {
            p += 8;
        } else if (*p >= 0x80) {
            size_t n = utf8_bytes(p, (size_t)(end - p));

            if (n == 0) {
                out->len = start;
                return false;
            }
            p += n;
        } else if (*p >= 0x20 && *p != '"' && *p != '\\') {
            p++;
        } else {
            buf_add(out, run, (size_t)(p - run));
            put_escape(out, *p);
            run = ++p;
        }
    }
    buf_add(out, run, (size_t)(p - run));
    buf_byte(out, '"');
    return true;
}

bool json_try_string(struct buf *out, struct slice text)
{
    buf_reserve(out, text.len + 2);
    if (!json_bytes_are(text, json_word_is_plain))
        return put_mixed(out, text);

    uint8_t *to = out->data + out->len;
    to[0] = '"';
    if (text.len > 0)
        memcpy(to + 1, text.data, text.len);
    to[text.len + 1] = '"';
    out->len += text.len + 2;
    return true;
}

void json_put_string(struct buf *out, struct slice text)
{
    bool utf8 = json_try_string(out, text);

    PRE(utf8); /* text from outside goes to json_try_string or json_put_shown (json.h) */
}

size_t json_utf8_len(struct slice text)
{
    size_t i = 0;

    while (i < text.len) {
        bool is_ascii = text.len - i >= 8 && json_word_is_ascii(json_word(text.data + i));
        size_t n = is_ascii ? 8 : text.data[i] < 0x80 ? 1 : utf8_bytes(text.data + i, text.len - i);

        if (n == 0)
            break;
        i += n;
    }
    return i;
}

bool json_is_utf8(struct slice text)
{
    return json_utf8_len(text) == text.len;
}

/* C0 and DEL are bytes, C1 (U+0080 to U+009F) is two. */
size_t json_printable_len(struct slice text)
{
    if (json_bytes_are(text, json_word_is_printable))
        return text.len;
    size_t len = json_utf8_len(text), i = 0;
    while (i < len && text.data[i] >= 0x20 && text.data[i] != 0x7f &&
           (text.data[i] != 0xc2 || text.data[i + 1] >= 0xa0))
        i++;
    return i;
}

bool json_is_printable(struct slice text)
{
    return json_printable_len(text) == text.len;
}

void json_put_shown(struct buf *out, struct slice text)
{
    struct buf escaped = {0};

    while (text.len > 0) {
        size_t good = json_utf8_len(text);
        buf_add(&escaped, text.data, good);
        text = slice_of(text.data + good, text.len - good);
        if (text.len > 0) {
            buf_printf(&escaped, "\\x%02x", text.data[0]);
            text = slice_of(text.data + 1, text.len - 1);
        }
    }
    json_put_string(out, buf_view(&escaped));
    buf_free(&escaped);
}

/* Three bytes each: U+200E, U+200F, U+2028 to U+202E, U+2066 to U+2069. */
static bool is_wild_mark(unsigned code)
{
    return code == 0x200e || code == 0x200f || (code >= 0x2028 && code <= 0x202e) ||
           (code >= 0x2066 && code <= 0x2069);
}

size_t json_wild_len(struct slice text, unsigned *code)
{
    const uint8_t *p = text.data;

    if (text.len >= 1 && p[0] == 0x7f) {
        *code = p[0];
        return 1;
    }
    if (text.len >= 2 && ((p[0] == 0xc2 && p[1] < 0xa0) || (p[0] == 0xd8 && p[1] == 0x9c))) {
        *code = (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu);
        return 2;
    }
    if (text.len < 3 || p[0] != 0xe2)
        return 0;
    *code = 0x2000u | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
    return is_wild_mark(*code) ? 3 : 0;
}

void json_put_tame(struct buf *out, struct slice json)
{
    size_t from = 0, n;
    unsigned code = 0;

    for (size_t i = 0; i<json.len; i += n> 0 ? n : 1) {
        n = json.data[i] < 0x7f ? 0 : json_wild_len(slice_of(json.data + i, json.len - i), &code);
        if (n == 0)
            continue;
        buf_add(out, json.data + from, i - from);
        buf_printf(out, "\\u%04x", code);
        from = i + n;
    }
    if (from < json.len)
        buf_add(out, json.data + from, json.len - from);
}

/* Write the digits of `v` at the end of `text`; returns how many. */
static size_t digits_of(uint64_t v, char text[20])
{
    size_t at = 20;

    do
        text[--at] = (char)('0' + v % 10);
    while ((v /= 10) > 0);
    return 20 - at;
}

static void put_decimal(struct buf *out, int64_t v)
{
    char text[20];
    size_t n = digits_of(v < 0 ? ~(uint64_t)v + 1 : (uint64_t)v, text);

    if (v < 0)
        buf_byte(out, '-');
    buf_add(out, text + sizeof text - n, n);
}

/* Convex's int64: base64 of the eight bytes, lowest first. */
static void put_tagged(struct buf *out, int64_t v)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t bytes[9] = {0};
    char text[12];

    for (size_t i = 0; i < 8; i++)
        bytes[i] = (uint8_t)((uint64_t)v >> (8 * i));
    for (size_t i = 0; i < 3; i++) {
        uint32_t group = (uint32_t)bytes[3 * i] << 16 | (uint32_t)bytes[3 * i + 1] << 8 |
                         (uint32_t)bytes[3 * i + 2];

        for (size_t k = 0; k < 4; k++)
            text[4 * i + k] = digits[group >> (18 - 6 * k) & 63];
    }
    text[11] = '=';
    buf_str(out, "{\"$integer\":\"");
    buf_add(out, text, sizeof text);
    buf_str(out, "\"}");
}

void json_put_integer(struct buf *out, int64_t v)
{
    if (v > MAX_PLAIN_INTEGER || v < -MAX_PLAIN_INTEGER)
        put_tagged(out, v);
    else
        put_decimal(out, v);
}

/* A positive double as digits without zeros at the end: 0.DIGITS * 10^point. */
struct decimal {
    char digits[MAX_DIGITS];
    int count;
    int point;
};

static struct decimal decimal_of(const char *text)
{
    struct decimal d = {.count = 0};

    for (; *text != 'e'; text++)
        if (*text >= '0' && *text <= '9' &&
            d.count < MAX_DIGITS) /* skips the locale's decimal point */
            d.digits[d.count++] = *text;
    d.point = (int)strtol(text + 1, NULL, 10) + 1;
    while (d.count > 1 && d.digits[d.count - 1] == '0')
        d.count--;
    return d;
}

/*
 * The printed decimal is the nearest with that many digits.  Only next to a power of two, where the
 * doubles below lie closer together than those above, can the next decimal up read back although
 * the nearest does not.
 */
static bool next_up_reads_back(char *text, double v)
{
    char *last = strchr(text, 'e') - 1;

    while (last >= text && (*last < '0' || *last >= '9')) {
        if (*last == '9')
            *last = '0';
        last--;
    }
    if (last < text)
        return false;
    ++*last;
    return strtod(text, NULL) == v;
}

/*
 * Most numbers have few digits after the point.  Both m and the power are exact, so their quotient
 * is rounded as strtod would round the decimal; and only one decimal of at most 15 digits reads
 * back as a given double, so it is the shortest.
 */
static bool short_fraction(double v, struct decimal *d)
{
    double power = 1;

    for (int places = 1; places <= MAX_EXACT_POWER; places++) {
        power *= 10;
        double m = rint(v * power);

        if (m >= MAX_SHORT)
            return false;
        if (m / power != v)
            continue;
        char text[20];
        size_t n = digits_of((uint64_t)m, text);
        memcpy(d->digits, text + sizeof text - n, n);
        d->count = (int)n;
        d->point = d->count - places;
        return true;
    }
    return false;
}

static struct decimal shortest(double v)
{
    int exponent, precision = v < DBL_MIN ? 1 : DBL_DIG;
    bool power_of_two = frexp(v, &exponent) == 0.5;
    char text[48];

    for (;; precision++) {
        snprintf(text, sizeof text, "%.*e", precision - 1, v);
        if (precision == MAX_DIGITS || strtod(text, NULL) == v)
            break;
        if (power_of_two && next_up_reads_back(text, v))
            break;
    }
    return decimal_of(text);
}

static void put_zeros(struct buf *out, int count)
{
    while (count-- > 0)
        buf_byte(out, '0');
}

void json_put_double(struct buf *out, double v)
{
    PRE(isfinite(v)); /* term_check and json_read admit no other */
    if (v < 0) {
        buf_byte(out, '-');
        v = -v;
    }
    if (v <= (double)MAX_PLAIN_INTEGER && v == floor(v)) {
        put_decimal(out, (int64_t)v); /* -0.0 too: RFC 8785 has one zero */
        return;
    }

    struct decimal d;
    if (!short_fraction(v, &d))
        d = shortest(v);
    if (d.point > 21 || d.point <= -6) {
        buf_add(out, d.digits, 1);
        if (d.count > 1)
            buf_byte(out, '.');
        buf_add(out, d.digits + 1, (size_t)d.count - 1);
        buf_printf(out, "e%+d", d.point - 1);
    } else if (d.point <= 0) {
        buf_str(out, "0.");
        put_zeros(out, -d.point);
        buf_add(out, d.digits, (size_t)d.count);
    } else if (d.count <= d.point) {
        buf_add(out, d.digits, (size_t)d.count);
        put_zeros(out, d.point - d.count);
    } else {
        buf_add(out, d.digits, (size_t)d.point);
        buf_byte(out, '.');
        buf_add(out, d.digits + d.point, (size_t)(d.count - d.point));
    }
}
