/* tap_test.c - who looks on is told, and costs nobody anything. */

#include "test.h"

#include "ground/tap.h"

#include <pthread.h>

static void tell(enum tap_event event, const char *kind, const char *id)
{
    tap_tell(event, slice_str(kind), slice_str(id), 7, "why");
}

TEST(without_a_tap_nothing_is_kept)
{
    struct tap_record r[4];
    uint64_t dropped = 9;

    ck_assert(!tap_is_open());
    tell(TAP_KEPT, "k", "k:1");
    struct tap *t = tap_open(slice_str(""), slice_str(""));
    ck_assert(tap_is_open());
    ck_assert_uint_eq(tap_take(t, r, 4, &dropped), 0);
    ck_assert_uint_eq(dropped, 0);
    tap_close(t);
    ck_assert(!tap_is_open());
    tap_close(NULL);
}

TEST(a_tap_has_what_it_asked_for_in_order)
{
    struct tap *all = tap_open(slice_str(""), slice_str(""));
    struct tap *of_kind = tap_open(slice_str("k"), slice_str(""));
    struct tap *of_id = tap_open(slice_str(""), slice_str("k:2"));
    struct tap_record r[8];
    uint64_t dropped;

    tell(TAP_KEPT, "k", "k:1");
    tell(TAP_SENT, "k", "k:2");
    tell(TAP_DEAD, "other", "o:1");
    ck_assert_uint_eq(tap_take(all, r, 2, &dropped), 2);
    ck_assert_uint_eq(tap_take(all, r, 8, &dropped), 1);
    ck_assert_int_eq(r[0].event, TAP_DEAD);
    ck_assert_str_eq(tap_text(r[0].event), "dead");
    ck_assert_uint_eq(tap_take(of_kind, r, 8, &dropped), 2);
    ck_assert_str_eq(r[0].id, "k:1");
    ck_assert_str_eq(r[1].id, "k:2");
    ck_assert_uint_eq(tap_take(of_id, r, 8, &dropped), 1);
    ck_assert_str_eq(r[0].id, "k:2");
    ck_assert_str_eq(r[0].kind, "k");
    ck_assert_str_eq(r[0].why, "why");
    ck_assert_int_eq(r[0].seq, 7);
    ck_assert_int_gt(r[0].at_us, 0);
    tap_close(all);
    tap_close(of_kind);
    tap_close(of_id);
}

TEST(what_is_not_read_is_dropped_and_counted)
{
    struct tap *t = tap_open(slice_str(""), slice_str(""));
    struct tap_record r[1];
    uint64_t dropped;

    for (int i = 0; i < TAP_RECORDS + 5; i++)
        tell(TAP_KEPT, "k", "k:1");
    ck_assert_uint_eq(tap_take(t, r, 1, &dropped), 1);
    ck_assert_uint_eq(dropped, 5);
    tell(TAP_KEPT, "k", "k:1"); /* there is room again */
    ck_assert_uint_eq(tap_take(t, r, 1, &dropped), 1);
    ck_assert_uint_eq(dropped, 5);
    tap_close(t);
}

TEST(texts_are_cut_and_taps_are_few)
{
    struct tap *open[TAP_COUNT];
    struct tap_record r[1];
    uint64_t dropped;
    char id[2 * TAP_ID_BYTES];

    memset(id, 'x', sizeof id);
    for (size_t i = 0; i < TAP_COUNT; i++)
        ck_assert_ptr_nonnull(open[i] = tap_open(slice_str(""), slice_str("")));
    ck_assert_ptr_null(tap_open(slice_str(""), slice_str("")));
    tap_tell(TAP_KEPT, slice_of(id, sizeof id), slice_of(id, sizeof id), 1, NULL);
    ck_assert_uint_eq(tap_take(open[0], r, 1, &dropped), 1);
    ck_assert_uint_eq(strlen(r[0].id), TAP_ID_BYTES - 1);
    ck_assert_str_eq(r[0].why, "");
    for (size_t i = 0; i < TAP_COUNT; i++)
        tap_close(open[i]);
}

static void *tell_many(void *arg)
{
    for (int i = 0; i < 20000; i++)
        tell(TAP_SENT, "k", arg);
    return NULL;
}

TEST(many_tell_while_one_takes_and_leaves)
{
    pthread_t threads[3];
    struct tap_record r[64];
    uint64_t dropped = 0, taken = 0;
    struct tap *t = tap_open(slice_str(""), slice_str(""));

    for (size_t i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, tell_many, "k:1"), 0);
    for (int i = 0; i < 2000; i++)
        taken += tap_take(t, r, 64, &dropped);
    tap_close(tap_open(slice_str("z"), slice_str("")));
    for (size_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    for (size_t n; (n = tap_take(t, r, 64, &dropped)) > 0;)
        taken += n;
    ck_assert_uint_eq(taken + dropped, 60000);
    tap_close(t);
}

/* What is as long as its place, or longer, is cut; what stands after it is as it was. */
TEST(long_texts_are_cut)
{
    struct tap *t = tap_open(slice_str(""), slice_str(""));
    struct tap_record r;
    uint64_t dropped;
    char kind[100], id[TAP_ID_BYTES + 10], why[TAP_WHY_BYTES + 10];

    memset(kind, 'k', sizeof kind);
    memset(id, 'i', sizeof id);
    memset(why, 'w', sizeof why);
    for (size_t more = 0; more < 3; more++) { /* one less than the place, as long, one more */
        why[TAP_WHY_BYTES - 1 + more] = '\0';
        tap_tell(TAP_KEPT, slice_of(kind, 63 + more), slice_of(id, TAP_ID_BYTES - 1 + more), 7,
                 why);
        why[TAP_WHY_BYTES - 1 + more] = 'w';
        ck_assert_uint_eq(tap_take(t, &r, 1, &dropped), 1);
        ck_assert_uint_eq(strlen(r.kind), 63);
        ck_assert_uint_eq(strlen(r.id), TAP_ID_BYTES - 1);
        ck_assert_uint_eq(strlen(r.why), TAP_WHY_BYTES - 1);
    }
    tap_close(t);
}
