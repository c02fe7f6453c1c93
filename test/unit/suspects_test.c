/* suspects_test.c - when a refusal is the document's own fault, and when it is everybody's. */

#include "test.h"

#include "suspects.h"

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
