/* trouble_test.c - the order in which a version dies, and all that does not suffice. */

#include "test.h"

#include "delivery/trouble.h"

static struct evidence at(uint64_t now, uint64_t accepted, uint64_t proven)
{
    return (struct evidence){.now = now, .accepted = accepted, .proven = proven};
}

TEST(refused_a_witness_refused_is_death)
{
    struct trouble t = {0};
    struct evidence e = at(5, 4, 0);

    ck_assert(!trouble_hear(&t, TROUBLE_ALONE, &e));
    ck_assert_int_eq(t.state, TROUBLE_REFUSED);
    e.accepted = 5; /* sent before the refusal was heard */
    trouble_refresh(&t, &e);
    ck_assert_int_eq(t.state, TROUBLE_REFUSED);
    e = at(7, 6, 0);
    trouble_refresh(&t, &e);
    ck_assert_int_eq(t.state, TROUBLE_TRIAL);
    ck_assert(trouble_hear(&t, TROUBLE_ALONE, &e));
}

TEST(refused_again_without_a_witness_is_not)
{
    struct trouble t = {0};

    for (uint64_t now = 5; now < 50; now++) {
        struct evidence e = at(now, 4, 0);
        trouble_refresh(&t, &e);
        ck_assert(!trouble_hear(&t, TROUBLE_ALONE, &e));
    }
}

TEST(refused_beside_one_done_and_then_alone_is_death)
{
    struct trouble t = {0};
    struct evidence e = at(5, 5, 0);

    ck_assert(!trouble_hear(&t, TROUBLE_BESIDE, &e));
    ck_assert_int_eq(t.state, TROUBLE_TRIAL);
    ck_assert(trouble_hear(&t, TROUBLE_ALONE, &e));
}

/* One fault refused the item, another one the call: neither need be the document's. */
TEST(an_item_refused_beside_one_done_and_then_the_whole_call_is_not)
{
    struct trouble t = {0};
    struct evidence e = at(5, 5, 0);

    ck_assert(!trouble_hear(&t, TROUBLE_BESIDE, &e));
    ck_assert(!trouble_hear(&t, TROUBLE_WHOLE, &e));
    ck_assert_int_eq(t.state, TROUBLE_REFUSED);
    e = at(7, 6, 0); /* a firewall: refused alone, a witness, refused alone */
    trouble_refresh(&t, &e);
    ck_assert_int_eq(t.state, TROUBLE_TRIAL);
    ck_assert(trouble_hear(&t, TROUBLE_WHOLE, &e));
}

TEST(a_control_that_was_refused_too_takes_it_off_trial)
{
    struct trouble t = {0};
    struct evidence e = at(5, 5, 0);

    ck_assert(!trouble_hear(&t, TROUBLE_BESIDE, &e));
    ck_assert(!trouble_hear(&t, TROUBLE_WITH_OTHERS, &e));
    ck_assert_int_eq(t.state, TROUBLE_LONE);
}

TEST(a_scope_found_bad_since_makes_evidence_void)
{
    struct trouble t = {0};
    struct evidence e = at(5, 5, 0), bad = at(8, 5, 7), well = at(9, 9, 7);

    trouble_hear(&t, TROUBLE_BESIDE, &e);
    trouble_refresh(&t, &bad);
    ck_assert_int_eq(t.state, TROUBLE_LONE);
    ck_assert(!trouble_hear(&t, TROUBLE_ALONE, &well));
    ck_assert_int_eq(t.state, TROUBLE_REFUSED);
    trouble_hear(&t, TROUBLE_AMONG, &e); /* in company, before it was found bad */
    trouble_refresh(&t, &bad);
    ck_assert_int_eq(t.state, TROUBLE_NONE);
}

TEST(unknown_never_kills_and_a_newer_version_begins_alone)
{
    struct trouble t = {0};
    struct evidence e = at(5, 5, 0);

    for (int i = 0; i < 20; i++)
        ck_assert(!trouble_hear(&t, TROUBLE_UNKNOWN, &e));
    ck_assert_int_eq(trouble_wait_ms(&t, 30000), 30000);
    ck_assert(!trouble_hear(&t, TROUBLE_NEWER, &e));
    ck_assert_int_eq(t.state, TROUBLE_LONE);
    ck_assert(!trouble_hear(&t, TROUBLE_UNKNOWN, &e));
    ck_assert_int_eq(trouble_wait_ms(&t, 30000), 1000);
    struct trouble clean = {0};
    ck_assert(!trouble_hear(&clean, TROUBLE_NEWER, &e));
    ck_assert_int_eq(clean.state, TROUBLE_NONE);
}
