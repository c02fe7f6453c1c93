/* suspects_test.c - when a refusal is the document's own fault, and when it is everybody's. */

#include "test.h"

#include "delivery/suspects.h"

TEST(proof_of_the_last_minute_convicts)
{
    struct suspects s = {0};
    struct parcel p = {.no = 1, .refusals = 1};

    ck_assert(!suspects_is_guilty(&s, &p, 0));
    suspects_proof(&s, 1000);
    ck_assert(suspects_is_guilty(&s, &p, 1000 + SUSPECTS_PROOF_US));
    ck_assert(!suspects_is_guilty(&s, &p, 1001 + SUSPECTS_PROOF_US));
    suspects_no_proof(&s);
    ck_assert(!suspects_is_guilty(&s, &p, 1000));
    p.refusals = SUSPECTS_TRIES;
    ck_assert(suspects_is_guilty(&s, &p, 1000));
    suspects_free(&s);
}

TEST(eight_distinct_in_a_row_are_everything)
{
    struct suspects s = {0};
    struct parcel p = {.no = 1, .refusals = SUSPECTS_TRIES};

    for (int again = 0; again < 3; again++)
        for (uint64_t no = 1; no < SUSPECTS_ROW; no++)
            ck_assert(!suspects_count(&s, no));
    ck_assert(suspects_count(&s, 99));
    ck_assert(suspects_count(&s, 1));
    ck_assert(suspects_is_all(&s));
    ck_assert(!suspects_is_guilty(&s, &p, 0)); /* then nobody is */
    suspects_proof(&s, 0);
    ck_assert(!suspects_is_all(&s));
    ck_assert(!suspects_count(&s, 1));
    suspects_free(&s);
}

TEST(only_who_was_refused_before_the_proof_was_sent_is_tried)
{
    struct suspects s = {0};
    struct parcel p;

    for (int64_t us = 1; us <= 3; us++)
        parcels_push(&s.waiting, (struct parcel){.no = (uint64_t)us, .refused_us = us});
    ck_assert(!suspects_next_trial(&s, 0, &p));
    ck_assert(suspects_next_trial(&s, 2, &p));
    ck_assert(p.no == 1 && p.is_on_trial);
    ck_assert(suspects_next_trial(&s, 2, &p));
    ck_assert(p.no == 2);
    ck_assert(!suspects_next_trial(&s, 2, &p));
    ck_assert(s.waiting.count == 1 && s.waiting.items[0].no == 3 &&
              !s.waiting.items[0].is_on_trial);
    suspects_free(&s);
}
