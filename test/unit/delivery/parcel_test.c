/* parcel_test.c - the agenda gives back what is due first, by arrival among equals. */

#include "test.h"

#include "delivery/parcel.h"

TEST(an_agenda_is_ordered_by_due_time_then_arrival)
{
    struct parcels agenda = {0};
    uint64_t random = 1;
    struct parcel last = {.due_us = -1};

    for (uint64_t no = 1; no <= 5000; no++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        agenda_push(&agenda, (struct parcel){.no = no, .due_us = (int64_t)(random >> 33) % 100});
        if (no % 3 == 0)
            agenda_pop(&agenda);
    }
    size_t count = agenda.count;
    ck_assert_uint_eq(count, 5000 - 5000 / 3);
    while (agenda.count > 0) {
        struct parcel p = agenda_pop(&agenda);
        ck_assert(p.due_us > last.due_us || (p.due_us == last.due_us && p.no > last.no));
        last = p;
        count--;
    }
    ck_assert_uint_eq(count, 0);
    parcels_free(&agenda);
    parcels_free(&agenda);
}

TEST(a_list_keeps_order)
{
    struct parcels list = {0};

    for (uint64_t no = 0; no < 100; no++)
        parcels_push(&list, (struct parcel){.no = no, .attempts = 7});
    for (uint64_t no = 0; no < 100; no++)
        ck_assert_uint_eq(list.items[no].no, no);
    ck_assert_uint_eq(list.items[99].attempts, 7);
    parcels_free(&list);
}
