/* term.h - Erlang's external term format over bytes: checked once, then read without errors. */

#ifndef TERM_H
#define TERM_H

#include "ground/base.h"
#include "ground/buf.h"
#include "term/term_tag.h"

/*
 * A checked term is a pointer to its tag byte.  It borrows the message it lies
 * in and is valid as long as that message.  Only term_check makes terms
 * out of bytes; every function below may trust what it is given.
 * Format: OTP erts/doc/src/erl_ext_dist.xml.
 */
typedef const uint8_t *term;

/* Bounds put on anything from outside before it is believed. */
#define TERM_MAX_DEPTH 200      /* nesting of lists, tuples, maps */
#define TERM_MAX_ARITY 16777216 /* elements of one list, tuple or map */

enum term_type {
    TERM_INTEGER, /* fits in int64: SMALL_INTEGER, INTEGER, SMALL_BIG */
    TERM_BIGNUM,  /* any other integer */
    TERM_FLOAT,   /* NEW_FLOAT, FLOAT */
    TERM_ATOM,    /* ATOM, SMALL_ATOM (latin1), ATOM_UTF8, SMALL_ATOM_UTF8 */
    TERM_BINARY,  /* BINARY */
    TERM_BITS,    /* BIT_BINARY */
    TERM_NIL,     /* [] */
    TERM_LIST,    /* LIST; may be improper */
    TERM_STRING,  /* STRING: a list of bytes */
    TERM_TUPLE,   /* SMALL_TUPLE, LARGE_TUPLE */
    TERM_MAP,     /* MAP */
    TERM_PID,
    TERM_PORT,
    TERM_REFERENCE,
    TERM_FUN, /* NEW_FUN, FUN */
    TERM_EXPORT
};

/**
 * term_check(bytes, t, fault):
 * Walk all of ${bytes} as one encoded message: the version byte 131, one term,
 * nothing after it.  Every length, count and depth is checked against the bytes
 * that are there, iteratively.  On ERR_OK set ${t} to the term.  ERR_INVALID: not a
 * well-formed term; ${fault}->why says what and at which byte.
 */
enum err term_check(struct slice bytes, term *t, struct fault *fault) MUST_CHECK;

/**
 * term_check_some(bytes, count, used, fault):
 * As term_check, for ${count} terms in a row that may be followed
 * by other bytes, without version byte; ${used} is set to the bytes they take.
 * For distribution headers, where control tuple and payload follow each other.
 */
enum err term_check_some(struct slice bytes, unsigned count, size_t *used,
                         struct fault *fault) MUST_CHECK;

/** term_type(t): What ${t} is. */
static inline enum term_type term_type(term t);
/** term_type_name(type): "integer", "pid", ... for refusals; static storage. */
const char *term_type_name(enum term_type type);
/** term_next(t): The term after ${t} (or the end of the message). */
static inline term term_next(term t);
/** term_raw(t): The encoded bytes of ${t}, without version byte. */
struct slice term_raw(term t);

/** term_arity(t): Elements of a tuple, list (without tail), string; pairs of a map; 0 for nil. */
uint32_t term_arity(term t);
/** term_items(t): The first element of a tuple or list, first key of a map (PRE: not a string). */
term term_items(term t);
/** term_is_proper(t): Whether ${t} is nil, a string, or a list that ends in nil. */
bool term_is_proper(term t);
/** term_element(t, i): Element ${i} from 0 of a tuple; NULL when ${t} is not a tuple or is shorter.
 */
term term_element(term t, uint32_t i);
/** term_get(map, key): The value of the atom or UTF-8 binary ${key}; NULL when absent or not a map.
 */
term term_get(term map, const char *key);

/** term_integer(t, v): Whether ${t} is TERM_INTEGER; if so, ${v} is its value. */
static inline bool term_integer(term t, int64_t *v);
/**
 * term_magnitude(t, negative):
 * The magnitude of a TERM_BIGNUM, lowest byte first, without zeros at the end.
 */
struct slice term_magnitude(term t, bool *negative);
/** term_string(t): The elements of a TERM_STRING, a byte each. */
struct slice term_string(term t);
/** term_float(t): The value of a TERM_FLOAT. */
double term_float(term t);
/** term_text(t): The bytes of an atom or binary; for any other type a slice with data NULL. */
static inline struct slice term_text(term t);
/** term_is_latin1(t): Whether ${t} is an atom in the old latin1 encoding. */
static inline bool term_is_latin1(term t);
/** term_is(t, name): Whether ${t} is the atom ${name} (ASCII).  ${t} may be NULL: false. */
static inline bool term_is(term t, const char *name);
/** term_is_text(t, name): Whether ${t} is the atom or the binary ${name}.  ${t} may be NULL. */
static inline bool term_is_text(term t, const char *name);
/** term_is_nil_atom(t): Whether ${t} is nil, null or undefined: null in JSON. */
bool term_is_nil_atom(term t);

/* ---- asked of every term, so inline for those that most messages are made of ---- */

/* The size of ${t}, of which five bytes can be read; 0 when it is not one of these. */
static inline size_t term_leaf_size(term t)
{
    switch (t[0]) {
    case TAG_SMALL_INTEGER:
        return 2;
    case TAG_INTEGER:
        return 5;
    case TAG_SMALL_ATOM_UTF8:
        return 2 + (size_t)t[1];
    case TAG_BINARY:
        return 5 + (size_t)be32(t + 1);
    case TAG_NIL:
        return 1;
    default:
        return 0;
    }
}

term term_next_any(term t); /* term_next for any other term */

static inline term term_next(term t)
{
    size_t size = term_leaf_size(t);

    return size > 0 ? t + size : term_next_any(t);
}

bool term_big_integer(term t, int64_t *v); /* term_integer for SMALL_BIG and LARGE_BIG */

static inline bool term_integer(term t, int64_t *v)
{
    switch (t[0]) {
    case TAG_SMALL_INTEGER:
        *v = t[1];
        return true;
    case TAG_INTEGER:
        *v = (int32_t)be32(t + 1);
        return true;
    case TAG_SMALL_BIG:
    case TAG_LARGE_BIG:
        return term_big_integer(t, v);
    default:
        return false;
    }
}

static inline enum term_type term_type(term t)
{
    int64_t v;

    if (t[0] == TAG_SMALL_BIG || t[0] == TAG_LARGE_BIG)
        return term_big_integer(t, &v) ? TERM_INTEGER : TERM_BIGNUM;
    PRE(term_tag_types[t[0]] != 0);
    return (enum term_type)(term_tag_types[t[0]] - 1);
}

static inline struct slice term_text(term t)
{
    switch (t[0]) {
    case TAG_SMALL_ATOM:
    case TAG_SMALL_ATOM_UTF8:
        return slice_of(t + 2, t[1]);
    case TAG_ATOM:
    case TAG_ATOM_UTF8:
        return slice_of(t + 3, be16(t + 1));
    case TAG_BINARY:
        return slice_of(t + 5, be32(t + 1));
    default:
        return slice_of(NULL, 0);
    }
}

static inline bool term_is_latin1(term t)
{
    return t[0] == TAG_ATOM || t[0] == TAG_SMALL_ATOM;
}

bool term_is_ascii(struct slice text); /* no byte of ${text} is 0x80 or above */

/* Whether ${t} is the atom or binary ${name}; a latin1 atom beyond ASCII never is. */
static inline bool term_is_name(term t, struct slice name)
{
    struct slice text = term_text(t);

    return text.data != NULL && slice_eq(text, name) && (!term_is_latin1(t) || term_is_ascii(text));
}

static inline bool term_is_text(term t, const char *name)
{
    return t != NULL && term_is_name(t, slice_str(name));
}

static inline bool term_is(term t, const char *name)
{
    return term_is_text(t, name) && t[0] != TAG_BINARY;
}

/* Writers for replies.  A reply is built front to back; counts come first. */
void term_put_version(struct buf *b);
void term_put_atom(struct buf *b, const char *name); /* ASCII, at most 255 bytes */
void term_put_integer(struct buf *b, int64_t v);
void term_put_float(struct buf *b, double v);
void term_put_binary(struct buf *b, struct slice s);
void term_put_text(struct buf *b, const char *text); /* as a binary */
void term_put_bool(struct buf *b, bool v);
void term_put_tuple(struct buf *b, uint32_t arity);
void term_put_map(struct buf *b, uint32_t pairs);
void term_put_list(struct buf *b, uint32_t length); /* elements, then term_put_nil */
void term_put_nil(struct buf *b);
void term_put_raw(struct buf *b, struct slice encoded); /* a term's bytes, no version byte */

#endif
