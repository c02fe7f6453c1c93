/* spacing_test.c - the table of recent writes: exact times, expiry, its bound. */

#include "test.h"

#include "delivery/spacing.h"

#include <malloc.h>

TEST(a_document_is_due_one_interval_after_it_was_written)
{
    struct spacing *s = spacing_new(50);

    ck_assert_int_eq(spacing_due_us(s, slice_str("a"), 1000), 1000);
    spacing_wrote(s, slice_str("a"), 1000);
    ck_assert_int_eq(spacing_due_us(s, slice_str("a"), 1010), 1050);
    ck_assert_int_eq(spacing_due_us(s, slice_str("b"), 1010), 1010);
    spacing_wrote(s, slice_str("a"), 1020);
    ck_assert_int_eq(spacing_due_us(s, slice_str("a"), 1050), 1070);
    ck_assert_int_eq(spacing_due_us(s, slice_str("a"), 1070), 1070);
    ck_assert_uint_eq(spacing_count(s), 0);
    spacing_free(s);
    spacing_free(NULL);
}

TEST(expired_entries_go_in_order_even_when_written_again)
{
    struct spacing *s = spacing_new(100);

    spacing_wrote(s, slice_str("a"), 0);
    spacing_wrote(s, slice_str("b"), 10);
    spacing_wrote(s, slice_str("a"), 20); /* now behind b */
    ck_assert_uint_eq(spacing_count(s), 2);
    ck_assert_int_eq(spacing_due_us(s, slice_str("a"), 110), 120);
    ck_assert_uint_eq(spacing_count(s), 1);
    spacing_free(s);
}

TEST(no_interval_keeps_nothing)
{
    struct spacing *s = spacing_new(0);

    spacing_wrote(s, slice_str("a"), 5);
    ck_assert_uint_eq(spacing_count(s), 0);
    ck_assert_int_eq(spacing_due_us(s, slice_str("a"), 5), 5);
    spacing_free(s);
}

TEST(the_table_is_bounded_and_forgets_the_oldest)
{
    struct spacing *s = spacing_new(1000000000);
    char id[32];

    for (int i = 0; i < SPACING_MAX + 10; i++) {
        snprintf(id, sizeof id, "d%d", i);
        spacing_wrote(s, slice_str(id), i);
    }
    ck_assert_uint_eq(spacing_count(s), SPACING_MAX);
    ck_assert_int_eq(spacing_due_us(s, slice_str("d9"), SPACING_MAX + 10), SPACING_MAX + 10);
    ck_assert_int_eq(spacing_due_us(s, slice_str("d10"), SPACING_MAX + 10), 1000000010);
    spacing_free(s);
}

/* (Under a sanitizer mallinfo2 knows nothing, and this says nothing.) */
TEST(what_expired_is_used_again)
{
    struct spacing *s = spacing_new(10);
    size_t before = 0;
    char id[32];

    for (int i = 0; i < 20000; i++) {
        snprintf(id, sizeof id, "d%d", i);
        spacing_wrote(s, slice_str(id), i);
        if (i == 1000)
            before = mallinfo2().uordblks;
    }
    ck_assert_uint_eq(spacing_count(s), 10);
    ck_assert_uint_le(mallinfo2().uordblks, before + 1000);
    spacing_free(s);
}
