/* crc32c_test.c - the known answers, by the instruction and by the table. */

#include "ground/crc32c.c"

#include "test.h"

TEST(known_answers)
{
    uint8_t bytes[32];

    ck_assert_uint_eq(crc32c(0, slice_str("123456789")), 0xE3069283u);
    ck_assert_uint_eq(crc32c(0, slice_str("")), 0);
    memset(bytes, 0, sizeof bytes);
    ck_assert_uint_eq(crc32c(0, slice_of(bytes, sizeof bytes)), 0x8A9136AAu); /* RFC 3720, B.4 */
    memset(bytes, 0xff, sizeof bytes);
    ck_assert_uint_eq(crc32c(0, slice_of(bytes, sizeof bytes)), 0x62A8AB43u);
}

TEST(the_table_and_the_instruction_agree_however_it_is_cut)
{
    uint8_t bytes[200];

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 37 + 11);
    for (size_t len = 0; len <= sizeof bytes; len++) {
        uint32_t whole = crc32c(0, slice_of(bytes, len));
        ck_assert_uint_eq(whole, ~by_table(~0u, slice_of(bytes, len)));
        size_t cut = len / 3;
        uint32_t first = crc32c(0, slice_of(bytes, cut));
        ck_assert_uint_eq(whole, crc32c(first, slice_of(bytes + cut, len - cut)));
    }
}
