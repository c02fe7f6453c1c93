/* buf.h - a growing byte buffer: the one place where bytes are appended. */

#ifndef BUF_H
#define BUF_H

#include "ground/base.h"

/* Zero-initialised is empty and ready.  Owner frees with buf_free. */
struct buf {
    uint8_t *data;
    size_t len, cap;
};

/** buf_grow(b, more): Reserve ${more} bytes after b->len; doubles, never fails. */
void buf_grow(struct buf *b, size_t more);

/** buf_free(b): Release the bytes; ${b} is empty and ready again. */
void buf_free(struct buf *b);

/** buf_printf(b, fmt, ...): Append formatted text (no terminator). */
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF(2, 3);

static inline void buf_reserve(struct buf *b, size_t more)
{
    if (b->cap - b->len < more)
        buf_grow(b, more);
}
static inline void buf_add(struct buf *b, const void *data, size_t len)
{
    buf_reserve(b, len);
    if (len)
        memcpy(b->data + b->len, data, len);
    b->len += len;
}
static inline void buf_byte(struct buf *b, uint8_t byte)
{
    buf_reserve(b, 1);
    b->data[b->len++] = byte;
}
static inline void buf_slice(struct buf *b, struct slice s)
{
    buf_add(b, s.data, s.len);
}
static inline void buf_str(struct buf *b, const char *text)
{
    buf_add(b, text, strlen(text));
}
/* The bytes so far; valid until the next append. */
static inline struct slice buf_view(const struct buf *b)
{
    return slice_of(b->data, b->len);
}
/* Big-endian, as the external term format and the distribution protocol require. */
static inline void buf_be16(struct buf *b, uint16_t v)
{
    uint8_t x[2] = {(uint8_t)(v >> 8), (uint8_t)v};
    buf_add(b, x, sizeof x);
}
static inline void buf_be32(struct buf *b, uint32_t v)
{
    uint8_t x[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    buf_add(b, x, sizeof x);
}
static inline uint16_t be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}
static inline uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

#endif
