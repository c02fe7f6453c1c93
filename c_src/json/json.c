/*
 * json.c - canonical JSON (RFC 8785) out of Erlang terms, with Convex's values and limits.
 *
 * The happy path: one walk over a checked term.  Each value is appended where it is met.  An
 * object's members are written in the order the map has them, and while that is the order of RFC
 * 8785 (it is for small Erlang maps with binary keys) nothing more is done; otherwise the texts of
 * the members are put in order once the object is complete.  What the value weighs in Convex is
 * added up on the way.
 *
 * What can go wrong: a value JSON does not have, text that is not UTF-8, a key given twice, one of
 * Convex's limits.  The function that sees it writes the reason, its callers prepend their steps to
 * the path as they return, and what was appended is removed.
 *
 * An Elixir struct is recognized late: at its __struct__ key, or when one of its fields (a
 * microsecond pair) was refused.  Then what was written of it is removed and json_time writes its
 * text.
 *
 * Any thread: all state is in the writer on the stack.  The recursion is as deep as the term, which
 * term_check bounds.
 */

#include "json/json.h"

#include "json/json_bytes.h"
#include "json/json_time.h"

#include <stdarg.h>

#define MEMBERS_AT_FIRST 64
#define ATOM_MAX_LATIN1  255

/* A member of an object that is being written; its text is in the output. */
struct member {
    struct slice key;
    bool latin1;    /* an atom beyond ASCII in the old encoding */
    size_t at, end; /* "key":value */
};

struct writer {
    struct buf *out;
    struct fault *fault;
    bool convex, shown;
    bool whole; /* the fault is about the whole value: it has no path */
    unsigned depth;
    struct json_weight weight;
    struct member *members; /* of all objects being written, the innermost last */
    size_t count, cap;
    struct member *grown; /* `members` when it no longer fits on the stack */
    struct buf scratch;
};

static bool put_value(struct writer *w, term *t);

static bool PRINTF(2, 3) refuse(struct writer *w, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    fault_vsay(w->fault, "", fmt, args);
    va_end(args);
    return false;
}

static bool refuse_type(struct writer *w, term t)
{
    const char *name = term_type_name(term_type(t)), *an = strchr("aeiou", *name) ? "an" : "a";

    if (term_type(t) == TERM_BIGNUM)
        return refuse(w, "an integer beyond 64 bits has no form in Convex");
    if (term_type(t) == TERM_TUPLE)
        return refuse(w, "a tuple has no JSON form (a keyword list is a list of tuples)");
    return refuse(w, "%s %s has no JSON form", an, name);
}

static bool refuse_weight(struct writer *w)
{
    w->whole = true;
    return refuse(w, "the value weighs over %d bytes (1 MiB), more than Convex takes",
                  JSON_MAX_VALUE_BYTES);
}

static inline bool too_heavy(const struct writer *w)
{
    return w->convex && w->weight.bytes > JSON_MAX_VALUE_BYTES;
}

/* One level deeper. */
static bool enter(struct writer *w)
{
    w->weight.bytes += 2;
    w->depth++;
    if (w->convex && w->depth > JSON_MAX_NESTING)
        return refuse(w, "nested deeper than the %d levels Convex takes", JSON_MAX_NESTING);
    if (w->depth > w->weight.nesting)
        w->weight.nesting = w->depth;
    return true;
}

/* The term after an atom or binary, whose text is the end of the term. */
static inline term behind(struct slice text)
{
    return text.data + text.len;
}

/* The text of an atom or binary as UTF-8; `room` is for atoms in latin1. */
static struct slice utf8_text(term t, struct slice text, uint8_t room[2 * ATOM_MAX_LATIN1])
{
    size_t n = 0;

    if (!term_is_latin1(t) || json_bytes_are(text, json_word_is_ascii))
        return text;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];

        if (c >= 0x80)
            room[n++] = 0xc0 | c >> 6;
        room[n++] = c >= 0x80 ? 0x80 | (c & 0x3f) : c;
    }
    return slice_of(room, n);
}

static bool put_text(struct writer *w, struct slice text)
{
    w->weight.bytes += 2 + text.len;
    if (json_try_string(w->out, text))
        return true;
    if (!w->shown)
        return refuse(w, "the text is not UTF-8");
    json_put_shown(w->out, text);
    return true;
}

/* The JSON literal for an atom (null, true, false); NULL for any other. */
static const char *word_of(struct slice text)
{
    switch (text.len) {
    case 3:
        return memcmp(text.data, "nil", 3) == 0 ? "null" : NULL;
    case 4:
        return memcmp(text.data, "null", 4) == 0   ? "null"
               : memcmp(text.data, "true", 4) == 0 ? "true"
                                                   : NULL;
    case 5:
        return memcmp(text.data, "false", 5) == 0 ? "false" : NULL;
    case 9:
        return memcmp(text.data, "undefined", 9) == 0 ? "null" : NULL;
    default:
        return NULL;
    }
}

static bool put_atom(struct writer *w, term t, struct slice name)
{
    uint8_t room[2 * ATOM_MAX_LATIN1];
    const char *word = word_of(name);

    if (word == NULL)
        return put_text(w, utf8_text(t, name, room));
    w->weight.bytes += 1;
    buf_str(w->out, word);
    return true;
}

static void put_integer(struct writer *w, int64_t v)
{
    w->weight.bytes += 9;
    json_put_integer(w->out, v);
}

static bool put_list(struct writer *w, term *t)
{
    uint32_t length = term_arity(*t);
    term at = term_items(*t);

    if (w->convex && length > JSON_MAX_ARRAY)
        return refuse(w, "the list has %u elements; Convex takes %d", length, JSON_MAX_ARRAY);
    if (!enter(w))
        return false;
    buf_byte(w->out, '[');
    for (uint32_t i = 0; i < length; i++) {
        if (i > 0)
            buf_byte(w->out, ',');
        if (!put_value(w, &at)) {
            json_path_index(w->fault, i);
            return false;
        }
    }
    if (length > 0 && term_type(at) != TERM_NIL)
        return refuse(w, "an improper list has no JSON form");
    buf_byte(w->out, ']');
    w->depth--;
    *t = length > 0 ? term_next(at) : at;
    return true;
}

/* A list of small integers, which the BEAM sends as bytes. */
static bool put_byte_list(struct writer *w, term *t)
{
    struct slice bytes = term_string(*t);

    if (w->convex && bytes.len > JSON_MAX_ARRAY)
        return refuse(w, "the list has %zu elements; Convex takes %d", bytes.len, JSON_MAX_ARRAY);
    if (!enter(w))
        return false;
    buf_byte(w->out, '[');
    for (size_t i = 0; i < bytes.len; i++) {
        if (i > 0)
            buf_byte(w->out, ',');
        put_integer(w, bytes.data[i]);
    }
    buf_byte(w->out, ']');
    w->depth--;
    *t = term_next(*t);
    return true;
}

/* Why Convex would not accept `key` as the name of a field; NULL when it would. */
static const char *bad_name(struct slice key)
{
    if (key.len > 0 && key.data[0] == '$')
        return "the key begins with $, which Convex reserves";
    if (slice_eq(key, slice_str("__proto__")))
        return "the key is __proto__, which is lost in JavaScript";
    if (key.len > JSON_MAX_FIELD_NAME)
        return "the key is longer than the 1024 bytes Convex takes";
    if (!json_bytes_are(key, json_word_is_printable))
        return "the key has a character that is no printable ASCII; Convex takes no other";
    return NULL;
}

/* The next character of a key as a number that compares as its UTF-16 code units do. */
static uint32_t next_char(struct slice *rest, bool latin1)
{
    const uint8_t *p = rest->data;
    uint32_t c = p[0];
    size_t n = latin1 || c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;

    if (n > 1)
        c &= 0x7fU >> n;
    for (size_t i = 1; i < n; i++)
        c = c << 6 | (p[i] & 0x3f);
    *rest = slice_of(p + n, rest->len - n);
    return c >= 0xe000 && c <= 0xffff ? c + 0x110000 : c; /* after the surrogates */
}

static int compare_mixed(const struct member *a, const struct member *b)
{
    struct slice x = a->key, y = b->key;

    while (x.len > 0 && y.len > 0) {
        uint32_t c = next_char(&x, a->latin1), d = next_char(&y, b->latin1);

        if (c != d)
            return c < d ? -1 : 1;
    }
    return (x.len > 0) - (y.len > 0);
}

/* UTF-8 compares as UTF-16 does, except that U+E000 to U+FFFF come after all higher characters. */
static inline int rank(uint8_t byte)
{
    return byte == 0xee || byte == 0xef ? byte + 0x10 : byte;
}

static int compare_keys(const void *left, const void *right)
{
    const struct member *a = left, *b = right;
    size_t shorter = a->key.len < b->key.len ? a->key.len : b->key.len;

    if (a->latin1 || b->latin1)
        return compare_mixed(a, b);
    for (size_t i = 0; i < shorter; i++)
        if (a->key.data[i] != b->key.data[i])
            return rank(a->key.data[i]) - rank(b->key.data[i]);
    return (a->key.len > shorter) - (b->key.len > shorter);
}

static struct member *push_member(struct writer *w)
{
    if (w->count == w->cap) {
        struct member *grown = base_alloc(2 * w->cap * sizeof *grown);

        memcpy(grown, w->members, w->count * sizeof *grown);
        free(w->grown);
        w->members = w->grown = grown;
        w->cap *= 2;
    }
    return &w->members[w->count++];
}

/* Append the key and a colon; remember it as a member. */
static bool put_key(struct writer *w, term key, struct slice name)
{
    uint8_t room[2 * ATOM_MAX_LATIN1];
    const char *bad;

    if (name.data == NULL)
        return refuse(w, "a key is neither atom nor binary (type: %s)",
                      term_type_name(term_type(key)));

    struct slice text = utf8_text(key, name, room);
    bad = w->convex ? bad_name(text) : NULL;
    struct member *m = push_member(w);
    *m = (struct member){.key = name, .latin1 = text.data != name.data, .at = w->out->len};
    if (bad != NULL || !json_try_string(w->out, text)) {
        refuse(w, "%s", bad ? bad : "the key is not UTF-8");
        json_path_key(w->fault, name);
        return false;
    }
    w->weight.bytes += text.len + 1;
    buf_byte(w->out, ':');
    return true;
}

static bool refuse_twice(struct writer *w, struct slice key)
{
    refuse(w, "the key is given twice, as atom and as binary");
    json_path_key(w->fault, key);
    return false;
}

/* Put the texts of the members from `first` on in the order of their keys. */
static bool sort_members(struct writer *w, size_t first)
{
    struct member *m = w->members + first;
    size_t count = w->count - first, start = m[0].at, len = w->out->len - start;

    qsort(m, count, sizeof *m, compare_keys);
    w->scratch.len = 0;
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && compare_keys(&m[i - 1], &m[i]) == 0)
            return refuse_twice(w, m[i].key);
        if (i > 0)
            buf_byte(&w->scratch, ',');
        buf_add(&w->scratch, w->out->data + m[i].at, m[i].end - m[i].at);
    }
    POST(w->scratch.len == len);
    memcpy(w->out->data + start, w->scratch.data, len);
    return true;
}

static inline bool is_struct_key(term key, struct slice name)
{
    return name.len == 10 && term_is(key, "__struct__");
}

/* A map as an object; false: it was refused, or it is a struct (then perhaps without a fault). */
static bool put_object(struct writer *w, term *t)
{
    uint32_t pairs = term_arity(*t);
    size_t first = w->count;
    bool sorted = true;
    term at = term_items(*t);

    if (w->convex && pairs > JSON_MAX_FIELDS)
        return refuse(w, "the map has %u keys; Convex takes %d", pairs, JSON_MAX_FIELDS);
    if (!enter(w))
        return false;
    buf_byte(w->out, '{');
    for (uint32_t i = 0; i < pairs; i++) {
        term key = at;
        struct slice name = term_text(key);

        if (i > 0)
            buf_byte(w->out, ',');
        if (is_struct_key(key, name) || !put_key(w, key, name))
            return false;
        if (i > 0 && sorted) {
            int order = compare_keys(&w->members[w->count - 2], &w->members[w->count - 1]);

            if (order == 0)
                return refuse_twice(w, name);
            sorted = order < 0;
        }
        at = behind(name);
        if (!put_value(w, &at)) {
            json_path_key(w->fault, name);
            return false;
        }
        w->members[w->count - 1].end = w->out->len;
    }
    if (!sorted && !sort_members(w, first))
        return false;
    buf_byte(w->out, '}');
    w->count = first;
    w->depth--;
    *t = at;
    return true;
}

static bool put_struct(struct writer *w, term *t)
{
    size_t start = w->out->len;

    buf_byte(w->out, '"');
    if (json_time_put(w->out, t, w->fault) != ERR_OK)
        return false;
    buf_byte(w->out, '"');
    w->weight.bytes += w->out->len - start; /* the quotes weigh the 2 of a string */
    return true;
}

static bool put_map(struct writer *w, term *t)
{
    size_t len = w->out->len, count = w->count;
    struct json_weight weight = w->weight;
    unsigned depth = w->depth;

    if (put_object(w, t))
        return true;
    if (!json_time_is_struct(*t))
        return false;
    w->out->len = len;
    w->count = count;
    w->weight = weight;
    w->depth = depth;
    w->whole = false;
    return put_struct(w, t);
}

/* Append the value at `t` and move `t` past it. */
static bool put_value(struct writer *w, term *t)
{
    struct slice text;
    int64_t v;

    switch (term_type(*t)) {
    case TERM_BINARY:
        text = term_text(*t);
        if (!put_text(w, text))
            return false;
        *t = behind(text);
        break;
    case TERM_ATOM:
        text = term_text(*t);
        if (!put_atom(w, *t, text))
            return false;
        *t = behind(text);
        break;
    case TERM_INTEGER:
        if (term_integer(*t, &v))
            put_integer(w, v);
        *t = term_next(*t);
        break;
    case TERM_FLOAT:
        w->weight.bytes += 9;
        json_put_double(w->out, term_float(*t));
        *t = term_next(*t);
        break;
    case TERM_MAP:
        if (!put_map(w, t))
            return false;
        break;
    case TERM_NIL:
    case TERM_LIST:
        if (!put_list(w, t))
            return false;
        break;
    case TERM_STRING:
        if (!put_byte_list(w, t))
            return false;
        break;
    default:
        return refuse_type(w, *t);
    }
    return too_heavy(w) ? refuse_weight(w) : true;
}

enum err json_put_term(struct buf *out, term t, enum json_rules rules, struct json_weight *weight,
                       struct fault *fault)
{
    UNSET struct member members[MEMBERS_AT_FIRST];
    struct writer w = {
        .out = out,
        .fault = fault,
        .convex = rules == JSON_CONVEX,
        .shown = rules == JSON_SHOWN,
        .members = members,
        .cap = MEMBERS_AT_FIRST,
    };
    size_t start = out->len;
    bool ok = put_value(&w, &t);

    if (ok && weight != NULL)
        *weight = w.weight;
    if (!ok)
        out->len = start;
    if (!ok && w.whole)
        fault->path[0] = 0;
    buf_free(&w.scratch);
    free(w.grown);
    return ok ? ERR_OK : ERR_INVALID;
}
