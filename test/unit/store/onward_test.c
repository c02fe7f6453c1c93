/* onward_test.c - a cursor of a damaged table that does not go on is damage, not a circle. */

#include "store/store_inside.h"

#include "test.h"

static bool gives(bool is_numbered, struct slice key, bool behind, struct slice found)
{
    struct slice k, v;
    MDB_val value = {1, (void *)(uintptr_t) "v"};
    int rc = store_cursor_give(is_numbered, key, behind,
                               (MDB_val){found.len, (void *)(uintptr_t)found.data}, value, &k, &v);

    ck_assert(rc == 0 || rc == MDB_CORRUPTED);
    ck_assert(slice_eq(k, found));
    ck_assert_slice(v, "v");
    return rc == 0;
}

static bool gives_number(uint64_t key, bool behind, uint64_t found)
{
    return gives(true, slice_of(&key, sizeof key), behind, slice_of(&found, sizeof found));
}

TEST(numbers_rise)
{
    uint64_t one = 1;

    ck_assert(gives_number(5, true, 6) && gives_number(5, false, 6));
    ck_assert(!gives_number(5, true, 5) && gives_number(5, false, 5));
    ck_assert(!gives_number(5, true, 4) && !gives_number(5, false, 4));
    ck_assert(gives_number(255, true, 256)); /* by value, not by bytes */
    ck_assert(gives(true, slice_str(""), true, slice_of(&one, sizeof one))); /* from the first */
    ck_assert(!gives(true, slice_str(""), true, slice_of(&one, 7)));
}

TEST(bytes_rise)
{
    static uint8_t longest[STORE_MAX_KEY + 1];

    memset(longest, 'x', sizeof longest);
    ck_assert(gives(false, slice_str("b"), true, slice_str("c")));
    ck_assert(gives(false, slice_str("b"), true, slice_str("ba")));
    ck_assert(!gives(false, slice_str("b"), true, slice_str("b")));
    ck_assert(gives(false, slice_str("b"), false, slice_str("b")));
    ck_assert(!gives(false, slice_str("b"), false, slice_str("a")));
    ck_assert(!gives(false, slice_str(""), false, slice_str("")));
    ck_assert(gives(false, slice_str(""), true, slice_of(longest, STORE_MAX_KEY)));
    ck_assert(!gives(false, slice_str(""), true, slice_of(longest, STORE_MAX_KEY + 1)));
}
