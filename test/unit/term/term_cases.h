/*
 * term_cases.h - terms as C strings, for the tests of term and json.
 *
 * Most tags are letters: a and b integers, n bignum, F float, d s v w atoms, m binary, k string,
 * l list, j nil, h tuple, t map.  So "t\0\0\0\1" "m\0\0\0\1a" "a\5" is #{<<"a">> => 5}.
 */

#ifndef TERM_CASES_H
#define TERM_CASES_H

#include "term/term.h"

/* As ck_assert, for loops: Check writes a note to disk at every assert that is well. */
#define MUST(x)                                                                                    \
    do {                                                                                           \
        if (!(x))                                                                                  \
            ck_abort_msg("%s", #x);                                                                \
    } while (0)

/* A literal with the zeros inside it. */
#define BYTES(literal) slice_of(literal, sizeof(literal) - 1)
/* The same in a static table. */
#define ROW(literal)                                                                               \
    {                                                                                              \
        (const uint8_t *)(literal), sizeof(literal) - 1                                            \
    }

/* A checked copy of `body` as a message; the caller frees `message`. */
static inline term term_of(struct slice body, struct buf *message)
{
    struct fault fault;
    term t = NULL;

    message->len = 0;
    term_put_version(message);
    buf_slice(message, body);
    ck_assert_msg(term_check(buf_view(message), &t, &fault) == ERR_OK, "%s", fault.why);
    return t;
}

/* Numbers without pattern, the same in every run (xorshift64*). */
static inline uint64_t test_random(void)
{
    static uint64_t x = UINT64_C(0x9e3779b97f4a7c15);

    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}

#endif
