/*
 * term_put.c - writing terms, for replies and answers read back.
 *
 * A term is built front to back: the counts of a tuple, list or map are given first, then its
 * parts.  The smallest form the BEAM knows is written, atoms always as UTF-8.
 *
 * What can go wrong: nothing from outside; a name too long for an atom or a float that is not
 * finite is a bug of ours and aborts.
 *
 * Any thread; the buffer belongs to its owner.
 */

#include "term/term.h"
#include "term/term_tag.h"

#include <math.h>

#define ATOM_MAX_BYTES 255 /* of the short form, the only one written */

void term_put_version(struct buf *b)
{
    buf_byte(b, TERM_VERSION);
}

void term_put_atom(struct buf *b, const char *name)
{
    size_t len = strlen(name);

    PRE(len <= ATOM_MAX_BYTES); /* our own names; a kind's has at most 63 bytes (kinds.c) */
    buf_byte(b, TAG_SMALL_ATOM_UTF8);
    buf_byte(b, (uint8_t)len);
    buf_add(b, name, len);
}

void term_put_integer(struct buf *b, int64_t v)
{
    if (v >= 0 && v <= UINT8_MAX) {
        buf_byte(b, TAG_SMALL_INTEGER);
        buf_byte(b, (uint8_t)v);
        return;
    }
    if (v >= INT32_MIN && v <= INT32_MAX) {
        buf_byte(b, TAG_INTEGER);
        buf_be32(b, (uint32_t)(int32_t)v);
        return;
    }
    uint64_t m = v < 0 ? ~(uint64_t)v + 1 : (uint64_t)v;
    uint8_t big[11] = {TAG_SMALL_BIG, 0, v < 0};
    for (; m > 0; m >>= 8)
        big[3 + big[1]++] = (uint8_t)m;
    buf_add(b, big, (size_t)3 + big[1]);
}

void term_put_float(struct buf *b, double v)
{
    uint64_t bits;

    PRE(isfinite(v)); /* json_read admits no other */
    memcpy(&bits, &v, sizeof bits);
    buf_byte(b, TAG_NEW_FLOAT);
    buf_be32(b, (uint32_t)(bits >> 32));
    buf_be32(b, (uint32_t)bits);
}

static void put_head32(struct buf *b, enum tag tag, size_t count)
{
    PRE(count <= UINT32_MAX);
    buf_byte(b, (uint8_t)tag);
    buf_be32(b, (uint32_t)count);
}

void term_put_binary(struct buf *b, struct slice s)
{
    put_head32(b, TAG_BINARY, s.len);
    buf_slice(b, s);
}

void term_put_text(struct buf *b, const char *text)
{
    term_put_binary(b, slice_str(text));
}

void term_put_bool(struct buf *b, bool v)
{
    term_put_atom(b, v ? "true" : "false");
}

void term_put_tuple(struct buf *b, uint32_t arity)
{
    if (arity > UINT8_MAX) {
        put_head32(b, TAG_LARGE_TUPLE, arity);
        return;
    }
    buf_byte(b, TAG_SMALL_TUPLE);
    buf_byte(b, (uint8_t)arity);
}

void term_put_map(struct buf *b, uint32_t pairs)
{
    put_head32(b, TAG_MAP, pairs);
}

void term_put_list(struct buf *b, uint32_t length)
{
    if (length > 0) /* the nil that follows is the empty list */
        put_head32(b, TAG_LIST, length);
}

void term_put_nil(struct buf *b)
{
    buf_byte(b, TAG_NIL);
}

void term_put_raw(struct buf *b, struct slice encoded)
{
    buf_slice(b, encoded);
}
