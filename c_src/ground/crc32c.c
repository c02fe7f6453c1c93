/*
 * crc32c.c - CRC-32C, the polynomial 0x1EDC6F41 in reflected form (RFC 3720, B.4).
 *
 * The happy path: the processor's own instruction, eight bytes at a time.  A processor without it
 * uses a table of 256 entries, made once, a byte at a time; both give the same result.
 *
 * Nothing can go wrong.  Any thread.
 */

#include "ground/crc32c.h"

#include <pthread.h>

#define POLYNOMIAL 0x82F63B78u /* reflected */

static uint32_t table[256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void make_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c >> 1 ^ (c & 1 ? POLYNOMIAL : 0);
        table[i] = c;
    }
}

static uint32_t by_table(uint32_t c, struct slice s)
{
    pthread_once(&table_once, make_table);
    for (size_t i = 0; i < s.len; i++)
        c = c >> 8 ^ table[(c ^ s.data[i]) & 0xff];
    return c;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t c, struct slice s)
{
    uint64_t wide = c;
    size_t at = 0;

    for (; s.len - at >= sizeof wide; at += sizeof wide) {
        uint64_t word;
        memcpy(&word, s.data + at, sizeof word);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    c = (uint32_t)wide;
    for (; at < s.len; at++)
        c = __builtin_ia32_crc32qi(c, s.data[at]);
    return c;
}

static uint32_t update(uint32_t c, struct slice s)
{
    return __builtin_cpu_supports("sse4.2") ? by_instruction(c, s) : by_table(c, s);
}
#else
static uint32_t update(uint32_t c, struct slice s)
{
    return by_table(c, s);
}
#endif

uint32_t crc32c(uint32_t crc, struct slice bytes)
{
    return ~update(~crc, bytes);
}
