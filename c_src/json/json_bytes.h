/* json_bytes.h - checks on all bytes of a text, eight at a time; for json and json_text. */

/* Private to json/. */

#ifndef JSON_BYTES_H
#define JSON_BYTES_H

#include "ground/base.h"

#define JSON_ONES  UINT64_C(0x0101010101010101)
#define JSON_HIGHS (JSON_ONES << 7)

static inline uint64_t json_word(const uint8_t *p)
{
    uint64_t word;

    memcpy(&word, p, sizeof word);
    return word;
}

/* Fewer than eight bytes as a word: some are in it twice, the rest is filled with 'a'. */
static inline uint64_t json_short_word(const uint8_t *p, size_t len)
{
    uint32_t front, back;

    if (len == 0)
        return JSON_ONES * 'a';
    if (len < 4)
        return (JSON_ONES * 'a') << 24 | (uint64_t)p[len - 1] << 16 | (uint64_t)p[len / 2] << 8 |
               p[0];
    memcpy(&front, p, sizeof front);
    memcpy(&back, p + len - 4, sizeof back);
    return (uint64_t)front << 32 | back;
}

/* The borrow or carry of a byte reaches its neighbour only when that byte is a hit itself. */
static inline bool json_word_is_ascii(uint64_t x)
{
    return (x & JSON_HIGHS) == 0;
}

static inline bool json_word_is_printable(uint64_t x)
{
    return ((x | (x - JSON_ONES * 0x20) | (x + JSON_ONES)) & JSON_HIGHS) == 0;
}

/* ASCII that needs no escape in a JSON string. */
static inline bool json_word_is_plain(uint64_t x)
{
    uint64_t quote = (x ^ JSON_ONES * '"') - JSON_ONES, slash = (x ^ JSON_ONES * '\\') - JSON_ONES;

    return ((x | (x - JSON_ONES * 0x20) | quote | slash) & JSON_HIGHS) == 0;
}

/** json_bytes_are(text, is): Whether ${is} holds for all bytes of ${text}. */
static inline __attribute__((always_inline)) bool json_bytes_are(struct slice text,
                                                                 bool (*is)(uint64_t word))
{
    if (text.len < 8)
        return is(json_short_word(text.data, text.len));
    for (size_t i = 0; i + 8 <= text.len; i += 8)
        if (!is(json_word(text.data + i)))
            return false;
    return is(json_word(text.data + text.len - 8)); /* the rest, with some of those before */
}

#endif
