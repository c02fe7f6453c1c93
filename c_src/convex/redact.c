/*
 * redact.c - overwrites a secret that an answer repeats.
 *
 * The happy path: it is not there.  One walk over the text compares it at each place, a character
 * of the secret with one byte, or with the escape that JSON has for it.
 *
 * Pure; any thread.
 */

#include "convex/redact.h"

#include "ground/hex.h"

/* Bytes at ${at} that stand for the character ${c}: 1, those of its escape, or 0: it is another
 * character. */
static size_t stands_for(const uint8_t *at, const uint8_t *end, char c)
{
    uint8_t two[2] = {0, (uint8_t)c};
    char hex[5];

    if (*at != '\\')
        return *at == (uint8_t)c;
    if (end - at >= 2 && at[1] == (uint8_t)c && strchr("\"\\/", c) != NULL)
        return 2;
    if (end - at < 6 || at[1] != 'u')
        return 0;
    hex_put(two, 2, hex);
    return strncasecmp((const char *)at + 2, hex, 4) == 0 ? 6 : 0;
}

/* Bytes at ${at} that stand for ${secret}; 0: they do not. */
static size_t match(const uint8_t *at, const uint8_t *end, const char *secret)
{
    const uint8_t *p = at;

    for (; *secret != '\0'; secret++) {
        size_t n = p < end ? stands_for(p, end, *secret) : 0;
        if (n == 0)
            return 0;
        p += n;
    }
    return (size_t)(p - at);
}

void redact_text(uint8_t *text, size_t len, const char *secret)
{
    const uint8_t *end = len > 0 ? text + len : text;

    PRE(*secret != '\0'); /* a key has at least one byte (admin_key.c) */
    for (uint8_t *at = text; at < end;) {
        size_t n = match(at, end, secret);
        memset(at, '*', n);
        at += n > 0 ? n : 1;
    }
}
