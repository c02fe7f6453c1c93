/* unpack_test.c - msgpack as it is written, cut short, and of other types than wanted. */

#include "ground/unpack.h"

#include "test.h"

#define OVER(bytes) unpack_over(slice_of("" bytes, sizeof bytes - 1))

TEST(each_form_of_a_number)
{
    struct unpack u = OVER("\x07\xcc\xff\xcd\x01\x00\xce\x00\x01\x00\x00"
                           "\xcf\xff\xff\xff\xff\xff\xff\xff\xff");

    ck_assert_uint_eq(unpack_uint(&u), 7);
    ck_assert_uint_eq(unpack_uint(&u), 255);
    ck_assert_uint_eq(unpack_uint(&u), 256);
    ck_assert_uint_eq(unpack_uint(&u), 65536);
    ck_assert_uint_eq(unpack_uint(&u), UINT64_MAX);
    ck_assert(unpack_end(&u));

    u = OVER(
        "\x07\xff\xd0\x80\xd1\x80\x00\xd2\x80\x00\x00\x00\xd3\x80\x00\x00\x00\x00\x00\x00\x00");
    ck_assert_int_eq(unpack_int(&u), 7);
    ck_assert_int_eq(unpack_int(&u), -1);
    ck_assert_int_eq(unpack_int(&u), INT8_MIN);
    ck_assert_int_eq(unpack_int(&u), INT16_MIN);
    ck_assert_int_eq(unpack_int(&u), INT32_MIN);
    ck_assert_int_eq(unpack_int(&u), INT64_MIN);
    ck_assert(unpack_end(&u));

    u = OVER("\xcf\x80\x00\x00\x00\x00\x00\x00\x00");
    ck_assert_int_eq(unpack_int(&u), 0);
    ck_assert_str_eq(u.bad, "a number is out of range");
}

TEST(texts_bytes_and_flags)
{
    struct unpack u = OVER("\x94\xa2hi\xd9\x02ho\xc4\x01x\xc3\xc0");

    unpack_array(&u, 4);
    ck_assert_slice(unpack_str(&u, 2), "hi");
    ck_assert_slice(unpack_str(&u, 2), "ho");
    ck_assert(!unpack_nil(&u));
    ck_assert_slice(unpack_bin(&u), "x");
    ck_assert(unpack_bool(&u));
    ck_assert(unpack_nil(&u));
    ck_assert(unpack_end(&u));

    u = OVER("\xa3too");
    ck_assert_slice(unpack_str(&u, 2), "");
    ck_assert_str_eq(u.bad, "a text is too long");
}

TEST(the_first_wrong_thing_is_kept)
{
    struct unpack u = OVER("\xa2hi\x07\x07");

    ck_assert_uint_eq(unpack_uint(&u), 0);
    ck_assert_slice(unpack_bin(&u), "");
    ck_assert_int_eq(unpack_int(&u), 0);
    ck_assert(!unpack_bool(&u));
    ck_assert(!unpack_nil(&u));
    unpack_spoil(&u, "something else");
    ck_assert(!unpack_end(&u));
    ck_assert_str_eq(u.bad, "a count is no unsigned integer");
}

TEST(the_end_comes_too_early_or_too_late)
{
    struct unpack u = OVER("\xdb\xff\xff\xff\xff");

    ck_assert_slice(unpack_str(&u, SIZE_MAX), "");
    ck_assert_str_eq(u.bad, "it ends too early");
    u = OVER("\xcd\x01");
    ck_assert_uint_eq(unpack_uint(&u), 0);
    ck_assert_str_eq(u.bad, "it ends too early");
    u = OVER("\x01\x01");
    ck_assert_uint_eq(unpack_uint(&u), 1);
    ck_assert(!unpack_end(&u));
    ck_assert_str_eq(u.bad, "bytes are left over");
}
