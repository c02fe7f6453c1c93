/* base_test.c - slices, and what a fault says. */

#include "ground/base.h"

#include "test.h"

TEST(slices_stand_in_byte_order)
{
    ck_assert_int_lt(slice_order(slice_str(""), slice_str("a")), 0);
    ck_assert_int_lt(slice_order(slice_of(NULL, 0), slice_str("a")), 0);
    ck_assert_int_lt(slice_order(slice_str("a"), slice_str("ab")), 0);
    ck_assert_int_lt(slice_order(slice_str("ab"), slice_str("b")), 0);
    ck_assert_int_lt(slice_order(slice_str("z"), slice_str("\xc3\xa9")), 0);
    ck_assert_int_gt(slice_order(slice_str("ab"), slice_str("a")), 0);
    ck_assert_int_eq(slice_order(slice_str("ab"), slice_str("ab")), 0);
}

TEST(a_slice_starts_with_its_prefix)
{
    ck_assert(slice_starts(slice_str("runtime/run:1"), slice_str("runtime/run:")));
    ck_assert(slice_starts(slice_str("ab"), slice_str("ab")));
    ck_assert(slice_starts(slice_of(NULL, 0), slice_str("")));
    ck_assert(!slice_starts(slice_str("a"), slice_str("ab")));
    ck_assert(!slice_starts(slice_str("ba"), slice_str("a")));
}

TEST(a_fault_says_where_and_why)
{
    struct fault f = {0};

    ck_assert_int_eq(fault_say(&f, "base_url", "names no %s", "host"), ERR_INVALID);
    ck_assert_str_eq(f.path, "base_url");
    ck_assert_str_eq(f.why, "names no host");
    ck_assert_int_eq(fault_fail(&f, ERR_STORE, NULL, "%d", 5), ERR_STORE);
    ck_assert_str_eq(f.path, "base_url");
    ck_assert_str_eq(f.why, "5");
    fault_at(&f, "events[%d]", 3);
    ck_assert_str_eq(f.path, "events[3]");
    ck_assert_str_eq(f.why, "5");
}

TEST(a_fault_is_made_of_what_it_says_so_far)
{
    struct fault f = {.path = "x[3]", .why = "too long"};

    fault_at(&f, "metadata.%s", f.path);
    fault_say(&f, f.path, "line 4: %s", f.why);
    ck_assert_str_eq(f.path, "metadata.x[3]");
    ck_assert_str_eq(f.why, "line 4: too long");
}

TEST(what_does_not_fit_is_cut_between_characters)
{
    struct fault f;
    char text[400] = "", wanted[256];

    for (size_t odd = 0; odd < 3; odd++) {
        size_t len = odd;
        memset(text, 'a', odd);
        while (len < 300) {
            memcpy(text + len, "\xe2\x82\xac", 4); /* the euro sign */
            len += 3;
        }
        size_t kept = odd + (252 - odd) / 3 * 3;
        memcpy(wanted, text, kept);
        memcpy(wanted + kept, "...", 4);
        fault_say(&f, text, "%s", text);
        ck_assert_str_eq(f.path, wanted);
        ck_assert_str_eq(f.why, wanted);
    }
    memset(text, 'a', 255);
    text[255] = '\0';
    fault_say(&f, text, "%s", text); /* just fits */
    ck_assert_str_eq(f.why, text);
}
