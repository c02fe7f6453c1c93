/*
 * buf.c - a growing byte buffer.
 *
 * Growth doubles, so that n appends cost O(n).  Sizes are bounded by whoever
 * appends (a message has a cap, a document has a cap); an overflow of size_t or
 * no memory is a bug or a crash, never an error to handle.
 *
 * Any thread; a buffer belongs to one owner at a time.
 */

#include "ground/buf.h"

#include <stdarg.h>

void buf_grow(struct buf *b, size_t more)
{
    size_t cap = b->cap ? b->cap : 256;

    PRE(more <= SIZE_MAX / 4 && b->len <= SIZE_MAX / 4);
    while (cap - b->len < more)
        cap *= 2;
    if (cap != b->cap) {
        b->data = base_realloc(b->data, cap);
        b->cap = cap;
    }
}

void buf_free(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list args, again;

    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    PRE(n >= 0);
    buf_reserve(b, (size_t)n + 1);
    vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, again);
    va_end(again);
    b->len += (size_t)n;
}
