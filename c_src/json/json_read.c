/*
 * json_read.c - JSON text back into Erlang terms: answers with a summary, history files.
 *
 * The happy path: jansson reads the text into a tree, one walk over the tree writes the external
 * term format: objects as maps with binary keys, arrays as lists, strings as binaries, null as nil.
 * JSON has one kind of number; one that is whole and exact in a double becomes an integer (Convex
 * prints 5 as 5.0), and {"$integer": ...} becomes the integer it stands for.  A whole number beyond
 * 2^53 is a float where it is written as RFC 8785 writes that float, else an integer: so our own
 * canonical JSON reads back unchanged, and no digit of a 64-bit integer is lost.
 *
 * What can go wrong: the text is not JSON (the fault has line and column), has a number that no
 * term can hold or a key twice, or nests deeper than term_check allows.  Then nothing is appended.
 *
 * Any thread: the tree belongs to the call.  The recursion is bounded by TERM_MAX_DEPTH.
 */

#include "json/json_read.h"

#include "term/term.h"

#include <jansson.h>
#include <math.h>

#define MAX_EXACT     9007199254740992.0 /* 2^53 */
#define DOUBLE_DIGITS 17                 /* enough for any double */
#define BASE64_CHARS  12                 /* eight bytes: eleven digits and a '=' */

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;

    return at ? (int)(at - digits) : -1;
}

/* Whether `object` is {"$integer": base64 of an int64, lowest byte first}; if so, ${v} is set. */
static bool tagged_integer(const json_t *object, int64_t *v)
{
    const json_t *tagged = json_object_get(object, "$integer");
    uint64_t bits = 0, group = 0;

    if (json_object_size(object) != 1 || !json_is_string(tagged) ||
        json_string_length(tagged) != BASE64_CHARS)
        return false;
    const char *text = json_string_value(tagged);
    for (unsigned i = 0; i < BASE64_CHARS - 1; i++) {
        int digit = base64_digit(text[i]);

        if (digit < 0)
            return false;
        group = group << 6 | (unsigned)digit;
        if (i % 4 == 3) { /* three bytes */
            for (unsigned k = 0; k < 3; k++)
                bits |= (group >> (16 - 8 * k) & 255) << (8 * (i / 4 * 3 + k));
            group = 0;
        }
    }
    if (text[BASE64_CHARS - 1] != '=' || (group & 3) != 0)
        return false;
    bits |= (group >> 10 & 255) << 48 | (group >> 2 & 255) << 56;
    memcpy(v, &bits, sizeof *v);
    return true;
}

static bool put_value(struct buf *out, json_t *value, unsigned depth);

static bool put_object(struct buf *out, json_t *object, unsigned depth)
{
    const char *key;
    json_t *value;

    if (depth == TERM_MAX_DEPTH || json_object_size(object) > TERM_MAX_ARITY)
        return false;
    term_put_map(out, (uint32_t)json_object_size(object));
    json_object_foreach(object, key, value)
    {
        term_put_text(out, key);
        if (!put_value(out, value, depth + 1))
            return false;
    }
    return true;
}

static bool put_array(struct buf *out, json_t *array, unsigned depth)
{
    size_t length = json_array_size(array);

    if (depth == TERM_MAX_DEPTH || length > TERM_MAX_ARITY)
        return false;
    term_put_list(out, (uint32_t)length);
    for (size_t i = 0; i < length; i++)
        if (!put_value(out, json_array_get(array, i), depth + 1))
            return false;
    term_put_nil(out);
    return true;
}

static void put_real(struct buf *out, double v)
{
    if (fabs(v) <= MAX_EXACT && v == floor(v))
        term_put_integer(out, (int64_t)v);
    else
        term_put_float(out, v);
}

/*
 * Whether the whole number ${v} beyond 2^53 stands for the float ${d}: RFC 8785 writes a float of
 * that size as its shortest digits that read back, filled up with zeros.
 */
static bool is_float(json_int_t v, double *d)
{
    char digits[32], text[32], literal[32];
    int count = 0;

    snprintf(literal, sizeof literal, "%lld", (long long)v);
    *d = strtod(literal, NULL);
    do
        snprintf(digits, sizeof digits, "%.*e", count++, *d);
    while (count < DOUBLE_DIGITS && !(strtod(digits, NULL) == *d));
    size_t len = 0, wanted = strlen(literal);
    for (const char *p = digits; *p != 'e'; p++)
        if (*p != '.')
            text[len++] = *p;
    while (len < wanted)
        text[len++] = '0';
    text[len] = '\0';
    return strcmp(text, literal) == 0;
}

/* An integer, or a float that was written without a fraction. */
static void put_whole(struct buf *out, json_int_t v)
{
    bool is_exact = v >= -(json_int_t)MAX_EXACT && v <= (json_int_t)MAX_EXACT;
    double d;

    if (!is_exact && is_float(v, &d))
        term_put_float(out, d);
    else
        term_put_integer(out, v);
}

/* False: nested too deep, or too many elements. */
static bool put_value(struct buf *out, json_t *value, unsigned depth)
{
    int64_t v;

    switch (json_typeof(value)) {
    case JSON_OBJECT:
        if (!tagged_integer(value, &v))
            return put_object(out, value, depth);
        term_put_integer(out, v);
        break;
    case JSON_ARRAY:
        return put_array(out, value, depth);
    case JSON_STRING:
        term_put_binary(out, slice_of(json_string_value(value), json_string_length(value)));
        break;
    case JSON_INTEGER:
        put_whole(out, json_integer_value(value));
        break;
    case JSON_REAL:
        put_real(out, json_real_value(value));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        term_put_bool(out, json_is_true(value));
        break;
    case JSON_NULL:
        term_put_atom(out, "nil");
        break;
    }
    return true;
}

/*
 * Numbers without point or exponent are read exactly as long as 64 bits hold them.  A double of up
 * to 10^21 is written so too (RFC 8785): when one is in the text all are read as doubles.
 */
static json_t *load(struct slice text, json_error_t *error)
{
    const char *bytes = text.len > 0 ? (const char *)text.data : "";
    size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL;
    json_t *root = json_loadb(bytes, text.len, flags, error);

    if (root == NULL && json_error_code(error) == json_error_numeric_overflow)
        root = json_loadb(bytes, text.len, flags | JSON_DECODE_INT_AS_REAL, error);
    return root;
}

enum err json_read_term(struct buf *out, struct slice text, struct fault *fault)
{
    json_error_t error;
    size_t start = out->len;
    json_t *root = load(text, &error);

    fault_clear(fault);
    if (root == NULL)
        return fault_say(fault, "", "line %d, column %d: %.150s", error.line, error.column,
                         error.text);
    bool ok = put_value(out, root, 0);
    json_decref(root);
    if (ok)
        return ERR_OK;
    out->len = start;
    return fault_say(fault, "", "nested deeper than %d levels, or too many elements",
                     TERM_MAX_DEPTH);
}
