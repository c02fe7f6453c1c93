/* unpack.h - reading msgpack in place, from bytes that may be damaged. */

#ifndef UNPACK_H
#define UNPACK_H

#include "ground/base.h"

/* A cursor.  After the first error, every read returns zero or empty. */
struct unpack {
    const uint8_t *at, *end;
    const char *bad; /* the first error; NULL: none yet */
};

static inline struct unpack unpack_over(struct slice bytes)
{
    return (struct unpack){bytes.data, bytes.data + bytes.len, NULL};
}

/** unpack_spoil(u, bad): Set an error that the caller found; the first one is kept. */
void unpack_spoil(struct unpack *u, const char *bad);
/** unpack_end(u): Whether there was no error and no bytes are left. */
bool unpack_end(struct unpack *u);

uint64_t unpack_uint(struct unpack *u);
/** unpack_uint_to(u, max): A number; more than ${max} is an error. */
uint64_t unpack_uint_to(struct unpack *u, uint64_t max);
int64_t unpack_int(struct unpack *u);
bool unpack_bool(struct unpack *u);
/** unpack_nil(u): Whether nil comes next; if so it is consumed. */
bool unpack_nil(struct unpack *u);
/** unpack_array(u, fields): The head of an array of exactly ${fields} elements (at most 15); they
 * come next. */
void unpack_array(struct unpack *u, uint64_t fields);
/** unpack_str(u, max), unpack_bin(u): Borrows the bytes; a text of more than ${max} bytes is an
 * error.
 */
struct slice unpack_str(struct unpack *u, size_t max);
struct slice unpack_bin(struct unpack *u);
/** unpack_bin_to(u, max): The same; more than ${max} bytes are an error. */
struct slice unpack_bin_to(struct unpack *u, size_t max);
/** unpack_map(u, max): How many pairs come next; more than ${max} are an error. */
uint32_t unpack_map(struct unpack *u, uint32_t max);
/** unpack_any(u): The encoded bytes of one value of any type, at most eight levels deep. */
struct slice unpack_any(struct unpack *u);

#endif
