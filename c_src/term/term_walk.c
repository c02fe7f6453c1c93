/*
 * term_walk.c - the layout of the external term format: checking a message, and skipping terms.
 *
 * The happy path: term_check walks a message once.  At each term it asks head() how many bytes the
 * term has before its first part and how many parts follow, remembers the parts still to come for
 * each open level, and ends when none is left.  term_next asks the same head() without bounds, so
 * the layout of the format is written down once.
 *
 * What can go wrong: a message can be cut short, lie about its counts, nest too deep, or use a form
 * we do not accept (compressed, atom cache, local).  Each is refused with a reason and the byte
 * offset; nothing is read beyond the end, nothing is allocated, nothing recurses.  What a checked
 * term means (whether a binary is UTF-8, whether a key occurs twice) is up to whoever reads it.
 *
 * Any thread: there is no state here.  Terms lie unaligned; all reads go byte by byte.
 */

#include "term/term.h"
#include "term/term_tag.h"

#include <math.h>

#define ATOM_MAX_CHARS      255
#define ATOM_MAX_BYTES      1020 /* of UTF-8 */
#define REFERENCE_MAX_WORDS 5

/* What a term's first bytes say. */
struct head {
    size_t size;  /* bytes up to its first part; all of it when it has none */
    size_t parts; /* terms that follow and belong to it */
    size_t whole; /* bytes from tag to end where the term states them; else 0 */
};

static const char cut_short[] = "the message ends in the middle of a term";

/*
 * The readers of the layout.  Each returns NULL, or why the bytes are not a term.  `left` is how
 * many bytes there are from `p`; SIZE_MAX for checked terms: the compiler then drops the
 * comparisons.
 */
#define LAYOUT static inline __attribute__((always_inline)) const char *

LAYOUT leaf(size_t size, size_t left, struct head *h)
{
    *h = (struct head){.size = size};
    return size <= left ? NULL : cut_short;
}

LAYOUT parent(size_t size, size_t arity, size_t parts, size_t left, struct head *h)
{
    *h = (struct head){.size = size, .parts = parts};
    if (size > left || parts > left - size) /* each part has at least one byte */
        return cut_short;
    return arity <= TERM_MAX_ARITY ? NULL : "a list, tuple or map has too many elements";
}

LAYOUT leaf_len8(const uint8_t *p, size_t before, size_t left, struct head *h)
{
    if (left < 2)
        return cut_short;
    return leaf(before + p[1], left, h);
}

LAYOUT leaf_len16(const uint8_t *p, size_t max, size_t left, struct head *h)
{
    if (left < 3)
        return cut_short;
    if (be16(p + 1) > max)
        return "an atom is longer than 255 characters";
    return leaf(3 + (size_t)be16(p + 1), left, h);
}

LAYOUT leaf_len32(const uint8_t *p, size_t before, size_t left, struct head *h)
{
    if (left < 5)
        return cut_short;
    return leaf(before + be32(p + 1), left, h);
}

LAYOUT parent_len32(const uint8_t *p, size_t each, size_t more, size_t left, struct head *h)
{
    if (left < 5)
        return cut_short;
    return parent(5, be32(p + 1), be32(p + 1) * each + more, left, h);
}

static bool float_is_finite(const uint8_t *p)
{
    double v;

    if (p[0] == TAG_NEW_FLOAT)
        return (be16(p + 1) & 0x7ff0) != 0x7ff0;
    return term_old_float(p + 1, &v);
}

LAYOUT head_float(const uint8_t *p, size_t size, size_t left, struct head *h)
{
    if (left < size)
        return cut_short;
    if (left != SIZE_MAX && !float_is_finite(p))
        return "a float is no finite number";
    return leaf(size, left, h);
}

/* Bits in the last byte: 1 to 8, or 0 when there is no byte. */
LAYOUT head_bits(const uint8_t *p, size_t left, struct head *h)
{
    if (left < 6)
        return cut_short;
    if (p[5] > 8 || (p[5] == 0) != (be32(p + 1) == 0))
        return "a bit string has an impossible number of bits";
    return leaf(6 + (size_t)be32(p + 1), left, h);
}

LAYOUT head_atom(const uint8_t *p, size_t left, struct head *h)
{
    if (left == 0)
        return cut_short;
    switch (p[0]) {
    case TAG_SMALL_ATOM:
    case TAG_SMALL_ATOM_UTF8:
        return leaf_len8(p, 2, left, h);
    case TAG_ATOM:
        return leaf_len16(p, ATOM_MAX_CHARS, left, h);
    case TAG_ATOM_UTF8:
        return leaf_len16(p, ATOM_MAX_BYTES, left, h);
    default:
        return "an atom is expected here";
    }
}

/* Pid, port, reference: `before` bytes, the node's name, `after` bytes. */
static const char *head_named(const uint8_t *p, size_t before, size_t after, size_t left,
                              struct head *h)
{
    struct head node = {0};

    if (left < before)
        return cut_short;
    const char *why = head_atom(p + before, left - before, &node);
    return why ? why : leaf(before + node.size + after, left, h);
}

static const char *head_reference(const uint8_t *p, size_t creation_bytes, size_t left,
                                  struct head *h)
{
    if (left < 3)
        return cut_short;
    if (be16(p + 1) > REFERENCE_MAX_WORDS)
        return "a reference is longer than any";
    return head_named(p, 3, creation_bytes + be16(p + 1) * (size_t)4, left, h);
}

static const char *head_of(const uint8_t *p, size_t left, struct head *h);

/* Funs and exports: after `at` bytes a fixed row of leaves, then the free variables. */
static const char *head_fun(const uint8_t *p, size_t at, const uint8_t *row, size_t row_len,
                            size_t free_variables, size_t left, struct head *h)
{
    for (size_t i = 0; i < row_len; i++) {
        struct head part = {0};

        if (at >= left)
            return cut_short;
        if (term_tag_types[p[at]] != row[i])
            return "a fun has other parts than funs have";
        const char *why = head_of(p + at, left - at, &part);
        if (why)
            return why;
        at += part.size;
    }
    return parent(at, free_variables, free_variables, left, h);
}

static const char *head_code(const uint8_t *p, size_t left, struct head *h)
{
    static const uint8_t export_row[] = {TERM_TAG_IS(TERM_ATOM), TERM_TAG_IS(TERM_ATOM),
                                         TERM_TAG_IS(TERM_INTEGER)};
    static const uint8_t fun_row[] = {TERM_TAG_IS(TERM_PID), TERM_TAG_IS(TERM_ATOM),
                                      TERM_TAG_IS(TERM_INTEGER), TERM_TAG_IS(TERM_INTEGER)};
    static const uint8_t new_fun_row[] = {TERM_TAG_IS(TERM_ATOM), TERM_TAG_IS(TERM_INTEGER),
                                          TERM_TAG_IS(TERM_INTEGER), TERM_TAG_IS(TERM_PID)};

    if (p[0] == TAG_EXPORT)
        return head_fun(p, 1, export_row, sizeof export_row, 0, left, h);
    if (p[0] == TAG_FUN)
        return left < 5 ? cut_short : head_fun(p, 5, fun_row, sizeof fun_row, be32(p + 1), left, h);
    if (left < 30) /* tag, size 4, arity 1, uniq 16, index 4, free variables 4 */
        return cut_short;
    const char *why = head_fun(p, 30, new_fun_row, sizeof new_fun_row, be32(p + 26), left, h);
    h->whole = 1 + (size_t)be32(p + 1);
    return why;
}

static const char *head_unknown(uint8_t tag)
{
    switch (tag) {
    case TAG_COMPRESSED:
        return "compressed terms are not taken";
    case TAG_CACHE_REF:
        return "references to the atom cache are not taken";
    case TAG_LOCAL:
        return "terms in a node's local encoding are not taken";
    default:
        return "no term begins with this byte";
    }
}

/* The head of the term at `p`, of which `left` > 0 bytes are there. */
LAYOUT head(const uint8_t *p, size_t left, struct head *h)
{
    switch (p[0]) {
    case TAG_SMALL_INTEGER:
        return leaf(2, left, h);
    case TAG_INTEGER:
        return leaf(5, left, h);
    case TAG_SMALL_BIG:
        return leaf_len8(p, 3, left, h);
    case TAG_LARGE_BIG:
        return leaf_len32(p, 6, left, h);
    case TAG_NEW_FLOAT:
        return head_float(p, 9, left, h);
    case TAG_FLOAT:
        return head_float(p, 1 + TERM_OLD_FLOAT_BYTES, left, h);
    case TAG_ATOM:
    case TAG_SMALL_ATOM:
    case TAG_ATOM_UTF8:
    case TAG_SMALL_ATOM_UTF8:
        return head_atom(p, left, h);
    case TAG_BINARY:
        return leaf_len32(p, 5, left, h);
    case TAG_BIT_BINARY:
        return head_bits(p, left, h);
    case TAG_STRING:
        return leaf_len16(p, UINT16_MAX, left, h);
    case TAG_NIL:
        return leaf(1, left, h);
    case TAG_LIST:
        return parent_len32(p, 1, 1, left, h); /* one more: its tail */
    case TAG_SMALL_TUPLE:
        return left < 2 ? cut_short : parent(2, p[1], p[1], left, h);
    case TAG_LARGE_TUPLE:
        return parent_len32(p, 1, 0, left, h);
    case TAG_MAP:
        return parent_len32(p, 2, 0, left, h);
    case TAG_PID:
        return head_named(p, 1, 9, left, h);
    case TAG_NEW_PID:
        return head_named(p, 1, 12, left, h);
    case TAG_PORT:
    case TAG_REFERENCE:
        return head_named(p, 1, 5, left, h);
    case TAG_NEW_PORT:
        return head_named(p, 1, 8, left, h);
    case TAG_V4_PORT:
        return head_named(p, 1, 12, left, h);
    case TAG_NEW_REFERENCE:
        return head_reference(p, 1, left, h);
    case TAG_NEWER_REFERENCE:
        return head_reference(p, 4, left, h);
    case TAG_NEW_FUN:
    case TAG_FUN:
    case TAG_EXPORT:
        return head_code(p, left, h);
    default:
        return head_unknown(p[0]);
    }
}

static const char *head_of(const uint8_t *p, size_t left, struct head *h)
{
    return head(p, left, h);
}

static enum err refuse(struct fault *fault, const char *why, const uint8_t *start, const uint8_t *p)
{
    return fault_say(fault, "", "%s (byte %zu)", why, (size_t)(p - start));
}

/* Walk `count` terms from `start`; set `stop` to the byte after them. */
static enum err walk(struct slice bytes, const uint8_t *start, size_t count, const uint8_t **stop,
                     struct fault *fault)
{
    UNSET struct {
        size_t todo;        /* terms of this level still to come */
        const uint8_t *end; /* where the level must end; NULL: unknown */
    } above[TERM_MAX_DEPTH];
    const uint8_t *p = start, *end = bytes.data + bytes.len, *level_end = NULL;
    size_t depth = 0, todo = count;
    struct head h;

    for (;;) {
        while (todo == 0) {
            if (level_end != NULL && level_end != p)
                return refuse(fault, "a fun is not as long as it says", bytes.data, p);
            if (depth == 0) {
                *stop = p;
                return ERR_OK;
            }
            todo = above[--depth].todo;
            level_end = above[depth].end;
        }
        todo--;
        size_t left = (size_t)(end - p), size = left >= 5 ? term_leaf_size(p) : 0;
        if (size > 0 && size <= left) { /* most terms; same result as head() */
            p += size;
            continue;
        }
        const char *why = p < end ? head(p, left, &h) : cut_short;
        if (why)
            return refuse(fault, why, bytes.data, p);
        if (h.parts > 0 || h.whole > 0) {
            if (depth == TERM_MAX_DEPTH)
                return refuse(fault, "the term is nested too deep", bytes.data, p);
            if (h.whole > left)
                return refuse(fault, cut_short, bytes.data, p);
            above[depth].todo = todo;
            above[depth++].end = level_end;
            todo = h.parts;
            level_end = h.whole ? p + h.whole : NULL;
        }
        p += h.size;
    }
}

enum err term_check(struct slice bytes, term *t, struct fault *fault)
{
    const uint8_t *stop;

    if (bytes.len == 0 || bytes.data[0] != TERM_VERSION)
        return refuse(fault, "the message does not begin with 131", bytes.data, bytes.data);
    enum err e = walk(bytes, bytes.data + 1, 1, &stop, fault);
    if (e != ERR_OK)
        return e;
    if (stop != bytes.data + bytes.len)
        return refuse(fault, "there are bytes behind the term", bytes.data, stop);
    *t = bytes.data + 1;
    return ERR_OK;
}

enum err term_check_some(struct slice bytes, unsigned count, size_t *used, struct fault *fault)
{
    const uint8_t *stop;
    enum err e = walk(bytes, bytes.data, count, &stop, fault);

    if (e == ERR_OK)
        *used = (size_t)(stop - bytes.data);
    return e;
}

term term_next_any(term t)
{
    size_t todo = 1;

    do {
        struct head h;
        size_t size = term_leaf_size(t);
        if (size > 0) {
            t += size;
            todo--;
            continue;
        }
        const char *why = head(t, SIZE_MAX, &h);
        PRE(why == NULL); /* term_check has accepted it */
        t += h.size;
        todo += h.parts - 1;
    } while (todo > 0);
    return t;
}

struct slice term_raw(term t)
{
    return slice_of(t, (size_t)(term_next(t) - t));
}
