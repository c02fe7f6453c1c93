/* ahead_places_test.c - which documents' checkpoints are behind, the oldest first. */

#include "outbox/ahead.h"

#include "test.h"

TEST(the_first_that_was_added_is_the_oldest)
{
    struct ahead *a = ahead_new();

    ck_assert_uint_eq(ahead_count(a), 0);
    ck_assert_uint_eq(ahead_oldest(a), 0);
    ck_assert_uint_eq(ahead_find(a, 7), 0);
    for (uint64_t i = 1; i <= 4; i++)
        ahead_add(a, 10 * i, 100 + i);
    ck_assert_uint_eq(ahead_count(a), 4);
    ck_assert_uint_eq(ahead_oldest(a), 101);
    ck_assert_uint_eq(ahead_find(a, 30), 103);
    ahead_drop_oldest(a);
    ck_assert_uint_eq(ahead_find(a, 10), 0);
    ck_assert_uint_eq(ahead_oldest(a), 102);
    ahead_drop(a, 30);
    ahead_drop(a, 30); /* no harm */
    ck_assert_uint_eq(ahead_count(a), 2);
    ck_assert_uint_eq(ahead_find(a, 30), 0);
    ck_assert_uint_eq(ahead_find(a, 40), 104);
    ahead_add(a, 30, 105); /* it is the newest now */
    ahead_drop_oldest(a);
    ck_assert_uint_eq(ahead_oldest(a), 104);
    ahead_clear(a);
    ck_assert_uint_eq(ahead_count(a), 0);
    ck_assert_uint_eq(ahead_oldest(a), 0);
    ahead_add(a, 1, 2);
    ck_assert_uint_eq(ahead_oldest(a), 2);
    ahead_free(a);
    ahead_free(NULL);
}
