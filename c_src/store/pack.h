/* pack.h - msgpack, written a value at a time. */

/* Private to store/. */

#ifndef PACK_H
#define PACK_H

#include "ground/buf.h"

/** pack_...(out, ...): Append the value, in its shortest form. */
void pack_array(struct buf *out, uint32_t elements);
void pack_map(struct buf *out, uint32_t pairs);
void pack_uint(struct buf *out, uint64_t v);
void pack_int(struct buf *out, int64_t v);
void pack_bool(struct buf *out, bool on);
void pack_nil(struct buf *out);
void pack_str(struct buf *out, struct slice s);
void pack_bin(struct buf *out, struct slice s);

#endif
