/* unpack.h - reading msgpack in place, from bytes that may be damaged. */

#ifndef UNPACK_H
#define UNPACK_H

#include "ground/base.h"

/* A cursor.  Once something was wrong, all that is read later is zero or empty. */
struct unpack {
    const uint8_t *at, *end;
    const char *bad; /* the first thing that was wrong; NULL: nothing yet */
};

static inline struct unpack unpack_over(struct slice bytes)
{
    return (struct unpack){bytes.data, bytes.data + bytes.len, NULL};
}

/** unpack_spoil(u, bad): For what the reader's owner finds wrong; the first one counts. */
void unpack_spoil(struct unpack *u, const char *bad);
/** unpack_end(u): Whether nothing was wrong, and nothing is left. */
bool unpack_end(struct unpack *u);

uint64_t unpack_uint(struct unpack *u);
/** unpack_uint_to(u, max): One of at most ${max}; more is wrong. */
uint64_t unpack_uint_to(struct unpack *u, uint64_t max);
int64_t unpack_int(struct unpack *u);
bool unpack_bool(struct unpack *u);
/** unpack_nil(u): Whether nil comes next; if so it is taken. */
bool unpack_nil(struct unpack *u);
/** unpack_array(u, fields): An array of exactly that many (at most 15), which come next. */
void unpack_array(struct unpack *u, uint64_t fields);
/** unpack_str(u, max), unpack_bin(u): Borrows the bytes; a text of more than ${max} bytes is wrong.
 */
struct slice unpack_str(struct unpack *u, size_t max);
struct slice unpack_bin(struct unpack *u);
/** unpack_bin_to(u, max): The same; more than ${max} bytes are wrong. */
struct slice unpack_bin_to(struct unpack *u, size_t max);
/** unpack_map(u, max): How many pairs come next; more than ${max} are wrong. */
uint32_t unpack_map(struct unpack *u, uint32_t max);
/** unpack_any(u): One value of any type, as it stands; at most eight levels deep. */
struct slice unpack_any(struct unpack *u);

#endif
