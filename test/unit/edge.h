/* edge.h - bytes that end where readable memory ends, so that reading one too far is a crash. */

#ifndef EDGE_H
#define EDGE_H

#include "ground/base.h"

#include <check.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define EDGE_BYTES_MAX 65536

/* A copy of ${len} bytes; the one before it is overwritten. */
static inline struct slice edge_slice(const void *data, size_t len)
{
    static uint8_t *end;

    if (end == NULL) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        uint8_t *all = mmap(NULL, EDGE_BYTES_MAX + page, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ck_assert(all != MAP_FAILED);
        ck_assert_int_eq(mprotect(all + EDGE_BYTES_MAX, page, PROT_NONE), 0);
        end = all + EDGE_BYTES_MAX;
    }
    ck_assert_uint_le(len, EDGE_BYTES_MAX);
    if (len)
        memcpy(end - len, data, len);
    return slice_of(end - len, len);
}

#endif
