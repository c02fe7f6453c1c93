/* hex_test.c - bytes as hexadecimal digits, and back. */

#include "ground/hex.h"

#include "test.h"

TEST(bytes_become_digits)
{
    static const uint8_t bytes[] = {0x00, 0x0f, 0xf0, 0xab};
    char hex[9];

    hex_put(bytes, sizeof bytes, hex);
    ck_assert_str_eq(hex, "000ff0ab");
}

TEST(digits_become_bytes)
{
    uint8_t bytes[4];

    ck_assert(hex_parse(slice_str("000ff0ab"), bytes, 4));
    ck_assert_mem_eq(bytes, "\x00\x0f\xf0\xab", 4);
    ck_assert(!hex_parse(slice_str("000ff0a"), bytes, 4));
    ck_assert(!hex_parse(slice_str("000ff0abc"), bytes, 4));
    ck_assert(!hex_parse(slice_str("000fF0ab"), bytes, 4));
    ck_assert(!hex_parse(slice_str("000ff0a`"), bytes, 4));
    ck_assert(!hex_parse(slice_str("0x0ff0ab"), bytes, 4));
}
