/* entry_test.c - lists, the agenda, and the table of what is known; and the search over them. */

#include "test.h"

#include "delivery/search.h"

TEST(an_agenda_is_ordered_by_due_time_then_arrival)
{
    struct known *known = known_new();
    struct agenda agenda = {0};
    int64_t due_us = INT64_MIN;
    uint64_t no = 0;

    for (uint64_t i = 1; i <= 1000; i++) {
        struct entry *e = known_add(known, i, i);
        e->due_us = (int64_t)(i * 7919 % 50);
        agenda_push(&agenda, e);
    }
    while (agenda.count > 0) {
        const struct entry *e = agenda_pop(&agenda);
        ck_assert(e->due_us > due_us || (e->due_us == due_us && e->no > no));
        due_us = e->due_us;
        no = e->no;
    }
    agenda_free(&agenda);
    known_free(known);
}

TEST(what_is_known_is_found_by_its_document)
{
    struct known *known = known_new();

    for (uint64_t i = 1; i <= 5000; i++) /* several of them in a bucket */
        known_add(known, i * 65536 + i % 3, i);
    ck_assert_uint_eq(known_count(known), 5000);
    for (uint64_t i = 1; i <= 5000; i += 2)
        known_drop(known, known_find(known, i * 65536 + i % 3));
    for (uint64_t i = 1; i <= 5000; i++) {
        const struct entry *e = known_find(known, i * 65536 + i % 3);
        ck_assert(i % 2 ? e == NULL : e->no == i);
    }
    ck_assert_uint_eq(known_count(known), 2500);
    known_free(known);
}

static void fill(struct known *known, struct entries *l, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i <= to; i++)
        entries_append(l, known_add(known, i, i));
}

TEST(lists_keep_their_order)
{
    struct known *known = known_new();
    struct entries a = {0}, b = {0};

    fill(known, &a, 1, 3);
    fill(known, &b, 4, 6);
    entries_move(&a, &b);
    entries_remove(&a, a.first->next); /* 2 */
    ck_assert_uint_eq(a.count, 5);
    ck_assert_uint_eq(b.count, 0);
    for (uint64_t want = 1; a.count > 0; want += want == 1 ? 2 : 1)
        ck_assert_uint_eq(entries_pop(&a)->no, want);
    ck_assert_ptr_null(entries_pop(&a));
    known_free(known);
}

/* Of 16 documents one is ill: halves that fail come back to the front, their brothers go first. */
TEST(a_search_comes_down_to_the_culprit)
{
    struct known *known = known_new();
    struct search s = {0};
    struct entries call = {0};
    unsigned calls = 0;

    fill(known, &call, 1, 16);
    search_add(&s, &call, 7, 0);
    while (s.first->entries.count > 1) {
        if (!s.first->is_half && search_brother_first(&s))
            continue;
        if (!s.first->is_half) {
            search_split(&s);
            continue;
        }
        uint64_t whole = search_take(&s, &call);
        bool fails = false;
        for (struct entry *e = call.first; e != NULL; e = e->next)
            fails = fails || e->no == 11;
        calls++;
        if (fails)
            search_again(&s, &call, 7, 0);
        else
            ck_assert(!search_done(&s, whole, call.count, 1));
        call = (struct entries){0};
    }
    ck_assert_uint_le(calls, 8);
    ck_assert_uint_eq(s.count, 2); /* it and its neighbour, each alone from here */
    struct entry *e = search_take_one(&s), *other = search_take_one(&s);
    ck_assert(e->no == 11 || other->no == 11);
    ck_assert_ptr_null(s.first);
    known_free(known);
}

TEST(two_halves_that_pass_say_it_was_the_size)
{
    struct known *known = known_new();
    struct search s = {0};
    struct entries call = {0}, half = {0};

    fill(known, &call, 1, 9);
    search_add(&s, &call, 7, 0);
    search_split(&s);
    ck_assert(!search_done(&s, search_take(&s, &half), half.count, 400));
    half = (struct entries){0};
    uint64_t whole = search_take(&s, &half);
    ck_assert(search_done(&s, whole, half.count, 300));
    ck_assert_uint_eq(s.done_documents, 5);
    ck_assert_uint_eq(s.done_bytes, 400);
    known_free(known);
}
