/* backoff_test.c - waits that double. */

#include "ground/backoff.h"

#include "test.h"

TEST(the_wait_doubles_from_min_to_max)
{
    static const int64_t wanted[] = {100, 200, 400, 800, 1000, 1000};
    int64_t wait = 0;

    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        wait = backoff_next(wait, 100, 1000);
        ck_assert_int_eq(wait, wanted[i]);
    }
    ck_assert_int_eq(backoff_next(0, 100, 1000), 100);
    ck_assert_int_eq(backoff_next(0, 100, 50), 50);
    ck_assert_int_eq(backoff_next(INT64_MAX, 1, INT64_MAX), INT64_MAX);
}
