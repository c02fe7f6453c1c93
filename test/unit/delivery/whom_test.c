/* Tests of delivery/whom.h: who answers, and what is recorded of it. */

#include "test.h"
#include "delivery/whom.h"

#define HERE  "http://here"
#define THERE "http://there"

static struct destination_known known(const char *deployment, uint64_t mark, uint64_t wanted)
{
    struct destination_known k = {
        .sink = "http", .address = HERE, .functions = 2, .mark = mark, .wanted = wanted};

    snprintf(k.deployment, sizeof k.deployment, "%s", deployment);
    return k;
}

static struct sink_peer peer(int functions, const char *deployment, int64_t mark)
{
    struct sink_peer p = {.functions = functions, .mark = mark, .learnt = 1};

    snprintf(p.deployment, sizeof p.deployment, "%s", deployment);
    return p;
}

static enum whom judge(struct destination_known k, struct sink_peer p, const char *address)
{
    return whom_judge(&k, &p, address);
}

TEST(who_answers)
{
    const struct destination_known none = {0}, a5 = known("a", 5, 5), a5_6 = known("a", 5, 6);

    ck_assert_int_eq(judge(a5, peer(0, "", -1), HERE), WHOM_UNKNOWN);
    ck_assert_int_eq(judge(none, peer(2, "a", -1), HERE), WHOM_FIRST);
    ck_assert_int_eq(judge(a5, peer(2, "a", 5), HERE), WHOM_SAME);
    ck_assert_int_eq(judge(a5, peer(2, "a", 5), THERE), WHOM_SAME);  /* it goes by another name */
    ck_assert_int_eq(judge(a5_6, peer(2, "a", 6), HERE), WHOM_SAME); /* asked for, not heard of */
    ck_assert_int_eq(judge(a5_6, peer(2, "a", 4), HERE), WHOM_RESTORED);
    ck_assert_int_eq(judge(a5, peer(2, "a", -1), HERE), WHOM_CLEARED);
    ck_assert_int_eq(judge(a5, peer(2, "b", -1), HERE), WHOM_OTHER);
    ck_assert_int_eq(judge(a5, peer(2, "b", 5), THERE), WHOM_OTHER);
    ck_assert_int_eq(judge(a5_6, peer(2, "a", 7), HERE), WHOM_AHEAD);
    ck_assert_int_eq(judge(known("a", 0, 0), peer(2, "a", -1), HERE), WHOM_SAME);
}

TEST(functions_that_do_not_say_who_they_are_leave_the_address_to_go_by)
{
    const struct destination_known none = {0}, a5 = known("a", 5, 5), blind = known("", 0, 0);

    ck_assert_int_eq(judge(none, peer(1, "", -1), HERE), WHOM_SAME);
    ck_assert_int_eq(judge(a5, peer(1, "", -1), HERE), WHOM_SAME); /* rolled back */
    ck_assert_int_eq(judge(a5, peer(1, "", -1), THERE), WHOM_MOVED);
    ck_assert_int_eq(judge(blind, peer(2, "a", -1), HERE), WHOM_FIRST);
    ck_assert_int_eq(judge(blind, peer(2, "a", -1), THERE), WHOM_OTHER);
}

TEST(what_is_recorded)
{
    struct destination_known k = known("a", 5, 6);
    struct destination_change c;
    struct sink_peer p = peer(2, "a", 5);

    ck_assert(!whom_change(WHOM_SAME, &k, &p, HERE, &c));
    p = peer(2, "a", 3);
    ck_assert(whom_change(WHOM_RESTORED, &k, &p, HERE, &c));
    ck_assert_uint_eq(c.what & (DESTINATION_DOUBT | DESTINATION_MARK | DESTINATION_NEW_ID),
                      DESTINATION_DOUBT | DESTINATION_MARK);
    ck_assert_uint_eq(c.from, 3); /* that number too: it stood there when more was confirmed */
    ck_assert_uint_eq(c.mark, 3);
    p = peer(2, "b", -1);
    ck_assert(whom_change(WHOM_OTHER, &k, &p, HERE, &c));
    ck_assert_uint_eq(c.from, 0);
    ck_assert_str_eq(c.deployment, "b");
    p = peer(2, "a", 9);
    ck_assert(whom_change(WHOM_AHEAD, &k, &p, HERE, &c));
    ck_assert(c.what & DESTINATION_NEW_ID);
    ck_assert(!(c.what & DESTINATION_MARK));
    ck_assert_uint_eq(c.above, 9); /* nothing that is confirmed later may have one of theirs */
    p = peer(1, "", -1);
    ck_assert(whom_change(WHOM_SAME, &k, &p, HERE, &c));
    ck_assert_str_eq(c.deployment, "a"); /* rolled back: it is known still */
}
