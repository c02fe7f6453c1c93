/*
 * pack.c - msgpack values into a buffer, by msgpack-c.
 *
 * Nothing can go wrong.  ground/unpack.c reads them.  Any thread.
 */

#include "store/pack.h"

#include <msgpack.h>

static int append(void *out, const char *data, size_t len)
{
    buf_add(out, data, len);
    return 0;
}

static msgpack_packer packer(struct buf *out)
{
    msgpack_packer pk;

    msgpack_packer_init(&pk, out, append);
    return pk;
}

void pack_array(struct buf *out, uint32_t elements)
{
    msgpack_packer pk = packer(out);

    msgpack_pack_array(&pk, elements);
}

void pack_map(struct buf *out, uint32_t pairs)
{
    msgpack_packer pk = packer(out);

    msgpack_pack_map(&pk, pairs);
}

void pack_uint(struct buf *out, uint64_t v)
{
    msgpack_packer pk = packer(out);

    msgpack_pack_uint64(&pk, v);
}

void pack_int(struct buf *out, int64_t v)
{
    msgpack_packer pk = packer(out);

    msgpack_pack_int64(&pk, v);
}

void pack_bool(struct buf *out, bool on)
{
    buf_byte(out, on ? 0xc3 : 0xc2);
}

void pack_nil(struct buf *out)
{
    buf_byte(out, 0xc0);
}

void pack_str(struct buf *out, struct slice s)
{
    msgpack_packer pk = packer(out);

    msgpack_pack_str(&pk, s.len);
    msgpack_pack_str_body(&pk, s.data, s.len);
}

void pack_bin(struct buf *out, struct slice s)
{
    msgpack_packer pk = packer(out);

    msgpack_pack_bin(&pk, s.len);
    msgpack_pack_bin_body(&pk, s.data, s.len);
}
