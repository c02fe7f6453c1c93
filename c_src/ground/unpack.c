/*
 * unpack.c - reading msgpack in place, from bytes that may be damaged.
 *
 * The happy path: a cursor moves over the bytes and returns slices of them; nothing is copied or
 * allocated (msgpack-c builds a tree, and reserves what an array claims to hold before it has seen
 * it).
 *
 * What can go wrong: the bytes are not what was written.  The first error is kept in `bad`, every
 * later read returns zero or empty, and the caller checks once at the end.  No length is trusted.
 *
 * Any thread.
 */

#include "ground/unpack.h"

#define DEPTH_MAX 8

void unpack_spoil(struct unpack *u, const char *bad)
{
    if (u->bad == NULL)
        u->bad = bad;
    u->at = u->end;
}

bool unpack_end(struct unpack *u)
{
    if (u->at != u->end)
        unpack_spoil(u, "bytes are left over");
    return u->bad == NULL;
}

/* The next ${n} bytes; when they are missing, as many zeros as any caller reads. */
static const uint8_t *take(struct unpack *u, size_t n)
{
    static const uint8_t zeros[8];

    if ((size_t)(u->end - u->at) < n) {
        unpack_spoil(u, "it ends too early");
        return zeros;
    }
    u->at += n;
    return u->at - n;
}

static uint64_t take_be(struct unpack *u, size_t n)
{
    const uint8_t *p = take(u, n);
    uint64_t v = 0;

    for (size_t i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

uint64_t unpack_uint(struct unpack *u)
{
    uint8_t tag = *take(u, 1);

    if (tag < 0x80)
        return tag;
    if (tag >= 0xcc && tag <= 0xcf)
        return take_be(u, (size_t)1 << (tag - 0xcc));
    unpack_spoil(u, "a count is no unsigned integer");
    return 0;
}

uint64_t unpack_uint_to(struct unpack *u, uint64_t max)
{
    uint64_t v = unpack_uint(u);

    if (v > max)
        unpack_spoil(u, "a number is out of range");
    return v > max ? 0 : v;
}

int64_t unpack_int(struct unpack *u)
{
    uint8_t tag = u->at < u->end ? *u->at : 0;

    if (tag >= 0xe0)
        return (int8_t)*take(u, 1);
    if (tag >= 0xd0 && tag <= 0xd3)
        take(u, 1);
    switch (tag) {
    case 0xd0:
        return (int8_t)take_be(u, 1);
    case 0xd1:
        return (int16_t)take_be(u, 2);
    case 0xd2:
        return (int32_t)take_be(u, 4);
    case 0xd3:
        return (int64_t)take_be(u, 8);
    default:
        return (int64_t)unpack_uint_to(u, INT64_MAX);
    }
}

bool unpack_bool(struct unpack *u)
{
    uint8_t tag = *take(u, 1);

    if (tag != 0xc2 && tag != 0xc3)
        unpack_spoil(u, "a flag is neither true nor false");
    return tag == 0xc3;
}

bool unpack_nil(struct unpack *u)
{
    if (u->at == u->end || *u->at != 0xc0)
        return false;
    u->at++;
    return true;
}

void unpack_array(struct unpack *u, uint64_t fields)
{
    if (*take(u, 1) != (0x90 | fields))
        unpack_spoil(u, "an array has not the fields it should have");
}

static struct slice get_body(struct unpack *u, uint64_t len)
{
    if (len > (uint64_t)(u->end - u->at)) {
        unpack_spoil(u, "it ends too early");
        return slice_of("", 0);
    }
    return slice_of(take(u, (size_t)len), (size_t)len);
}

struct slice unpack_str(struct unpack *u, size_t max)
{
    uint8_t tag = *take(u, 1);
    uint64_t len = 0;

    if (tag >= 0xa0 && tag <= 0xbf)
        len = tag & 0x1f;
    else if (tag >= 0xd9 && tag <= 0xdb)
        len = take_be(u, (size_t)1 << (tag - 0xd9));
    else
        unpack_spoil(u, "a text is no text");
    if (len > max)
        unpack_spoil(u, "a text is too long");
    return get_body(u, len);
}

struct slice unpack_bin(struct unpack *u)
{
    uint8_t tag = *take(u, 1);

    if (tag >= 0xc4 && tag <= 0xc6)
        return get_body(u, take_be(u, (size_t)1 << (tag - 0xc4)));
    unpack_spoil(u, "bytes are no bytes");
    return slice_of("", 0);
}

struct slice unpack_bin_to(struct unpack *u, size_t max)
{
    struct slice bytes = unpack_bin(u);

    if (bytes.len <= max)
        return bytes;
    unpack_spoil(u, "there are too many bytes");
    return slice_of("", 0);
}

uint32_t unpack_map(struct unpack *u, uint32_t max)
{
    uint8_t tag = *take(u, 1);
    uint64_t pairs = tag & 0x0f;

    if (tag == 0xde || tag == 0xdf)
        pairs = take_be(u, tag == 0xde ? 2 : 4);
    else if ((tag & 0xf0) != 0x80)
        unpack_spoil(u, "a map is no map");
    if (pairs > max)
        unpack_spoil(u, "a map is too large");
    return u->bad == NULL ? (uint32_t)pairs : 0;
}

/* How many bytes follow the tag, and how many values after those; false: unknown tag. */
static bool measure(struct unpack *u, uint8_t tag, uint64_t *bytes, uint64_t *values)
{
    static const uint8_t fixed[] = {/* 0xca */ 4,
                                    8,
                                    1,
                                    2,
                                    4,
                                    8,
                                    1,
                                    2,
                                    4,
                                    8,
                                    2,
                                    3,
                                    5,
                                    9,
                                    17};

    *bytes = *values = 0;
    if (tag < 0x80 || tag >= 0xe0 || tag == 0xc0 || tag == 0xc2 || tag == 0xc3)
        return true;
    if (tag < 0x90)
        *values = 2 * (uint64_t)(tag & 0x0f);
    else if (tag < 0xa0)
        *values = tag & 0x0f;
    else if (tag < 0xc0)
        *bytes = tag & 0x1f;
    else if (tag >= 0xc4 && tag <= 0xc6)
        *bytes = take_be(u, (size_t)1 << (tag - 0xc4));
    else if (tag >= 0xc7 && tag <= 0xc9)
        *bytes = take_be(u, (size_t)1 << (tag - 0xc7)) + 1;
    else if (tag >= 0xca && tag <= 0xd8)
        *bytes = fixed[tag - 0xca];
    else if (tag >= 0xd9 && tag <= 0xdb)
        *bytes = take_be(u, (size_t)1 << (tag - 0xd9));
    else if (tag >= 0xdc)
        *values = (tag >= 0xde ? 2 : 1) * take_be(u, tag % 2 == 0 ? 2 : 4);
    else
        return false;
    return true;
}

static void pass(struct unpack *u, unsigned depth)
{
    uint64_t bytes, values;

    if (depth > DEPTH_MAX)
        unpack_spoil(u, "it is nested too deep");
    else if (!measure(u, *take(u, 1), &bytes, &values))
        unpack_spoil(u, "a value is of no type");
    if (u->bad != NULL)
        return;
    (void)get_body(u, bytes);
    /* Each value has at least one byte, so a false count ends the loop at the end of the bytes. */
    for (uint64_t i = 0; i < values && u->bad == NULL; i++)
        pass(u, depth + 1);
}

struct slice unpack_any(struct unpack *u)
{
    const uint8_t *from = u->at;

    pass(u, 0);
    return u->bad == NULL ? slice_of(from, (size_t)(u->at - from)) : slice_of("", 0);
}
