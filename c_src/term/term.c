/*
 * term.c - reading terms: types, elements, keys, numbers, text.
 *
 * The happy path: term_check (term_walk.c) has walked the message, so every reader here trusts the
 * bytes and has no error branch; a question that does not fit the term (the text of a tuple, the
 * third element of a pair) gets the "none" value that term.h names.
 *
 * What can go wrong: nothing from outside.  A pointer that is not a checked term is our own bug and
 * aborts where it is noticed.
 *
 * Any thread: there is no state here.  Terms lie unaligned; all reads go byte by byte.
 */

#include "term/term.h"
#include "term/term_tag.h"

#include <math.h>

const uint8_t term_tag_types[256] = {
#define X(name, number, type) [name] = TERM_TAG_IS(type),
    TERM_TAG_LIST(X)
#undef X
};

/* The digits go to strtod without the decimal point, so that the locale does not matter. */
bool term_old_float(const uint8_t text[TERM_OLD_FLOAT_BYTES], double *v)
{
    char plain[TERM_OLD_FLOAT_BYTES + 16];
    size_t i = 0, n = 0, digits = 0;
    bool point = false;
    int fraction = 0, exponent = 0;

    if (text[i] == '-')
        plain[n++] = (char)text[i++];
    for (; i < TERM_OLD_FLOAT_BYTES && ((text[i] >= '0' && text[i] <= '9') || text[i] == '.');
         i++) {
        if (text[i] == '.') {
            if (point)
                return false;
            point = true;
            continue;
        }
        plain[n++] = (char)text[i];
        digits++;
        fraction += point;
    }
    if (i < TERM_OLD_FLOAT_BYTES && text[i] == 'e') {
        bool minus = ++i < TERM_OLD_FLOAT_BYTES && text[i] == '-';

        if (i < TERM_OLD_FLOAT_BYTES && (text[i] == '-' || text[i] == '+'))
            i++;
        for (; i < TERM_OLD_FLOAT_BYTES && text[i] >= '0' && text[i] <= '9' && exponent < 1000; i++)
            exponent = exponent * 10 + (text[i] - '0');
        exponent = minus ? -exponent : exponent;
    }
    if (digits == 0 || (i < TERM_OLD_FLOAT_BYTES && text[i] != 0))
        return false;
    snprintf(plain + n, sizeof plain - n, "e%d", exponent - fraction);
    *v = strtod(plain, NULL);
    return isfinite(*v);
}

struct slice term_magnitude(term t, bool *negative)
{
    PRE(t[0] == TAG_SMALL_BIG || t[0] == TAG_LARGE_BIG);
    bool small = t[0] == TAG_SMALL_BIG;
    size_t n = small ? t[1] : be32(t + 1);
    const uint8_t *sign = t + (small ? 2 : 5);

    while (n > 0 && sign[n] == 0)
        n--;
    *negative = *sign != 0;
    return slice_of(sign + 1, n);
}

bool term_big_integer(term t, int64_t *v)
{
    bool negative;
    struct slice bytes = term_magnitude(t, &negative);
    uint64_t m = 0;

    if (bytes.len > 8)
        return false;
    for (size_t i = bytes.len; i > 0; i--)
        m = m << 8 | bytes.data[i - 1];
    if (m > (uint64_t)INT64_MAX + negative)
        return false;
    *v = negative && m > 0 ? -(int64_t)(m - 1) - 1 : (int64_t)m;
    return true;
}

const char *term_type_name(enum term_type type)
{
    static const char *const names[] = {
        [TERM_INTEGER] = "integer", [TERM_BIGNUM] = "integer beyond 64 bits",
        [TERM_FLOAT] = "float",     [TERM_ATOM] = "atom",
        [TERM_BINARY] = "binary",   [TERM_BITS] = "bit string",
        [TERM_NIL] = "empty list",  [TERM_LIST] = "list",
        [TERM_STRING] = "list",     [TERM_TUPLE] = "tuple",
        [TERM_MAP] = "map",         [TERM_PID] = "pid",
        [TERM_PORT] = "port",       [TERM_REFERENCE] = "reference",
        [TERM_FUN] = "function",    [TERM_EXPORT] = "function",
    };

    PRE((size_t)type < sizeof names / sizeof *names);
    return names[type];
}

uint32_t term_arity(term t)
{
    switch (t[0]) {
    case TAG_SMALL_TUPLE:
        return t[1];
    case TAG_STRING:
        return be16(t + 1);
    case TAG_LARGE_TUPLE:
    case TAG_LIST:
    case TAG_MAP:
        return be32(t + 1);
    default:
        return 0;
    }
}

term term_items(term t)
{
    switch (t[0]) {
    case TAG_NIL:
        return t + 1;
    case TAG_SMALL_TUPLE:
        return t + 2;
    default:
        PRE(t[0] == TAG_LARGE_TUPLE || t[0] == TAG_LIST || t[0] == TAG_MAP);
        return t + 5;
    }
}

/* The term after the `count` terms from `t`. */
static term skip(term t, uint32_t count)
{
    while (count-- > 0)
        t = term_next(t);
    return t;
}

bool term_is_proper(term t)
{
    if (t[0] == TAG_LIST)
        return *skip(t + 5, be32(t + 1)) == TAG_NIL;
    return t[0] == TAG_NIL || t[0] == TAG_STRING;
}

term term_element(term t, uint32_t i)
{
    if ((t[0] != TAG_SMALL_TUPLE && t[0] != TAG_LARGE_TUPLE) || i >= term_arity(t))
        return NULL;
    return skip(term_items(t), i);
}

bool term_is_ascii(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] >= 0x80)
            return false;
    return true;
}

term term_get(term map, const char *key)
{
    if (map[0] != TAG_MAP)
        return NULL;

    struct slice name = slice_str(key);
    term at = map + 5;
    for (uint32_t pairs = be32(map + 1); pairs > 0; pairs--) {
        term value = term_next(at);

        if (term_is_name(at, name))
            return value;
        at = term_next(value);
    }
    return NULL;
}

double term_float(term t)
{
    double v = 0;
    uint64_t bits = 0;

    PRE(t[0] == TAG_NEW_FLOAT || t[0] == TAG_FLOAT);
    if (t[0] == TAG_FLOAT) {
        bool number = term_old_float(t + 1, &v);
        PRE(number); /* term_check has read it */
        return v;
    }
    bits = (uint64_t)be32(t + 1) << 32 | be32(t + 5);
    memcpy(&v, &bits, sizeof v);
    return v;
}

struct slice term_string(term t)
{
    PRE(t[0] == TAG_STRING);
    return slice_of(t + 3, be16(t + 1));
}

bool term_is_nil_atom(term t)
{
    return term_is(t, "nil") || term_is(t, "null") || term_is(t, "undefined");
}
