/* recent_test.c - the last few events of a fold: which are known, from where to where, and as
 * bytes. */

#include "projection/recent.h"

#include "test.h"

/* As uint16_t: 1000 + seq. */
static uint16_t mark_of(int64_t seq)
{
    return (uint16_t)(1000 + seq);
}

static struct recent from_to(int64_t first, int64_t last)
{
    struct recent r = {0};

    for (int64_t seq = first; seq <= last; seq++)
        recent_add(&r, seq, mark_of(seq));
    return r;
}

/* Exactly those from first to last. */
static void knows(const struct recent *r, int64_t first, int64_t last)
{
    ck_assert_int_eq(r->last, last);
    ck_assert_uint_eq(r->count, (size_t)(last - first + 1));
    ck_assert_uint_eq(recent_last_mark(r), mark_of(last));
    for (int64_t seq = first > 3 ? first - 3 : 1; seq <= last + 3; seq++) {
        ck_assert(!recent_differs(r, seq, mark_of(seq)) || seq < first || seq > last);
        ck_assert_int_eq(recent_differs(r, seq, 1), seq >= first && seq <= last);
    }
}

TEST(the_last_eight_are_known)
{
    struct recent r = from_to(1, 3);

    knows(&r, 1, 3);
    r = from_to(1, 8);
    knows(&r, 1, 8);
    r = from_to(1, 20);
    knows(&r, 13, 20);
}

TEST(a_gap_begins_anew)
{
    struct recent r = from_to(1, 5);

    recent_add(&r, 7, mark_of(7));
    knows(&r, 7, 7);
    recent_add(&r, 8, mark_of(8));
    knows(&r, 7, 8);
}

TEST(what_follows_is_what_lies_after)
{
    struct recent r = from_to(1, 5), given = from_to(4, 9);

    recent_follow(&r, &given);
    knows(&r, 2, 9);
    r = from_to(1, 3);
    recent_follow(&r, &given); /* from the first that comes next */
    knows(&r, 2, 9);
    r = from_to(1, 2);
    recent_follow(&r, &given);
    knows(&r, 4, 9);
    recent_follow(&r, &(struct recent){0});
    knows(&r, 4, 9);
}

TEST(an_end_before_the_last_forgets_what_lay_behind_it)
{
    struct recent r = from_to(1, 8);

    recent_end(&r, 6, mark_of(6));
    knows(&r, 1, 6);
    recent_end(&r, 7, mark_of(7)); /* one more; what came before is not held to be its own */
    knows(&r, 7, 7);
    r = from_to(4, 6);
    recent_end(&r, 4, mark_of(4));
    knows(&r, 4, 4);
    r = from_to(4, 6);
    recent_end(&r, 2, mark_of(2));
    knows(&r, 2, 2);
}

TEST(as_bytes)
{
    struct buf b = {0};
    struct recent r = from_to(65536 + 256, 65536 + 258), read;

    recent_put(&b, &(struct recent){.last = 5});
    ck_assert_uint_eq(b.len, 0);
    recent_put(&b, &r);
    uint16_t marks[] = {258, mark_of(65536 + 258), mark_of(65536 + 257), mark_of(65536 + 256)};
    ck_assert_uint_eq(b.len, sizeof marks);
    for (size_t i = 0; i < 4; i++)
        ck_assert_uint_eq(b.data[2 * i] + 256 * b.data[2 * i + 1], marks[i]);

    struct slice s = {b.data, b.len};
    recent_read(s, 65536 + 258, &read);
    knows(&read, 65536 + 256, 65536 + 258);
    recent_read(s, 65536 + 257, &read); /* another fold's */
    ck_assert_uint_eq(read.count, 0);
    ck_assert_int_eq(read.last, 65536 + 257);
    for (size_t len = 0; len < b.len; len++) {
        recent_read((struct slice){b.data, len}, 65536 + 258, &read);
        ck_assert_uint_eq(read.count, len % 2 == 0 && len >= 4 ? len / 2 - 1 : 0);
    }
    buf_free(&b);
}

TEST(as_bytes_there_are_no_more_than_eight_and_none_before_the_first)
{
    uint8_t bytes[20] = {9, 0};
    struct recent r;

    recent_read((struct slice){bytes, 18}, 9, &r);
    ck_assert_uint_eq(r.count, 8);
    recent_read((struct slice){bytes, 20}, 9, &r);
    ck_assert_uint_eq(r.count, 0);
    bytes[0] = 3;
    recent_read((struct slice){bytes, 8}, 3, &r);
    ck_assert_uint_eq(r.count, 3);
    recent_read((struct slice){bytes, 10}, 3, &r);
    ck_assert_uint_eq(r.count, 0);
}
