/* destination_test.c - what is recorded of the other side, and read again from the disk. */

#include "outbox/destination.h"
#include "outbox/outbox.h"

#include "test.h"
#include "ground/fake_log.c"
#include "outbox/outbox_kit.h"
#include "temp_dir.h"

static struct temp_dir dir;
static struct outbox *box;

static void begin(void)
{
    dir = temp_dir_make();
    box = kit_outbox(dir.path);
}

static void end(void)
{
    outbox_close(box);
    temp_dir_remove(&dir);
}

static struct destination_known known(void)
{
    struct destination_known k;

    outbox_destination(box, &k);
    return k;
}

static void assert_same(const struct destination_known *a, const struct destination_known *b)
{
    ck_assert_str_eq(a->sink, b->sink);
    ck_assert_str_eq(a->address, b->address);
    ck_assert_str_eq(a->store_id, b->store_id);
    ck_assert_str_eq(a->deployment, b->deployment);
    ck_assert_uint_eq(a->functions, b->functions);
    ck_assert_uint_eq(a->mark, b->mark);
    ck_assert_uint_eq(a->wanted, b->wanted);
    ck_assert_int_eq(a->raised_at_us, b->raised_at_us);
    ck_assert_int_eq(a->has_doubt, b->has_doubt);
    ck_assert_int_eq(a->is_swept, b->is_swept);
    ck_assert_uint_eq(a->doubt_from, b->doubt_from);
    ck_assert_uint_eq(a->doubt_to, b->doubt_to);
    ck_assert_int_eq(a->doubt_since_us, b->doubt_since_us);
    ck_assert_str_eq(a->doubt_why, b->doubt_why);
}

/* Record it, and read it again after a restart. */
static struct destination_known changed(struct destination_change c)
{
    uint64_t revision = outbox_destination_revision(box);

    outbox_change_destination(box, &c);
    do_look(box, "anything"); /* a round later */
    ck_assert_uint_eq(outbox_destination_revision(box), revision + 1);
    struct destination_known now = known();
    outbox_close(box);
    box = kit_outbox(dir.path);
    struct destination_known again = known();
    assert_same(&now, &again);
    return now;
}

TEST(a_new_store_speaks_to_nobody)
{
    begin();
    struct destination_known k = known();
    ck_assert_uint_eq(strlen(k.store_id), 32);
    ck_assert_str_eq(k.address, "");
    ck_assert_str_eq(k.deployment, "");
    ck_assert(k.mark == 0 && k.wanted == 0 && k.functions == 0 && !k.has_doubt);
    end();
}

TEST(who_it_is_and_what_stands_there)
{
    begin();
    struct destination_known k =
        changed((struct destination_change){.what = DESTINATION_PEER | DESTINATION_MARK,
                                            .address = "http://here",
                                            .deployment = "d1",
                                            .functions = 2,
                                            .mark = 5});
    ck_assert_str_eq(k.address, "http://here");
    ck_assert_str_eq(k.deployment, "d1");
    ck_assert_uint_eq(k.functions, 2);
    ck_assert_uint_eq(k.mark, 5);
    ck_assert_uint_eq(k.wanted, 0);
    k = changed((struct destination_change){.what = DESTINATION_SINK, .sink = "file", .mark = 9});
    ck_assert_str_eq(k.sink, "file");
    ck_assert_uint_eq(k.mark, 5); /* nothing else */
    ck_assert_str_eq(k.address, "http://here");
    char was[33];
    snprintf(was, sizeof was, "%s", k.store_id);
    k = changed((struct destination_change){.what = DESTINATION_NEW_ID});
    ck_assert_str_ne(k.store_id, was);
    ck_assert_uint_eq(k.mark, 0); /* it stands there under the other name */
    end();
}

TEST(a_number_that_is_wanted_was_never_used)
{
    begin();
    struct destination_known k = changed((struct destination_change){.what = DESTINATION_RAISE});
    ck_assert_uint_eq(k.wanted, 1); /* the first needs no chance */
    ck_assert_int_gt(k.raised_at_us, 0);
    uint64_t last = k.wanted;
    bool is_chance = false;
    for (int i = 0; i < 6; i++) {
        k = changed((struct destination_change){.what = DESTINATION_RAISE});
        ck_assert_uint_gt(k.wanted, last);
        ck_assert_uint_le(k.wanted, last + 256);
        is_chance = is_chance || k.wanted != last + 1;
        last = k.wanted;
    }
    ck_assert(is_chance); /* six times nought of 256 */
    k = changed((struct destination_change){.what = DESTINATION_RAISE, .above = 5000});
    ck_assert_uint_gt(k.wanted, 5000);
    ck_assert_uint_le(k.wanted, 5256);
    k = changed((struct destination_change){.what = DESTINATION_RAISE, .above = 3});
    ck_assert_uint_gt(k.wanted, 5000);
    ck_assert(!k.has_doubt);
    end();
}

static struct destination_known doubted(uint64_t from, uint64_t above, const char *why)
{
    struct destination_change c = {.what = DESTINATION_DOUBT, .from = from, .above = above};

    snprintf(c.why, sizeof c.why, "%s", why);
    return changed(c);
}

/* A doubt in which nothing is doubtful ends by itself. */
static void confirmed_under(const char *id, uint64_t mark)
{
    do_put(box, id, 1, 1);
    struct settlement *s = kit_send(box, id);
    s->mark = mark;
    kit_settle(box, s);
}

TEST(a_doubt_reaches_to_the_last_number_and_widens)
{
    begin();
    confirmed_under("a", 60);
    confirmed_under("b", 85);
    struct destination_known k =
        changed((struct destination_change){.what = DESTINATION_RAISE, .above = 99});
    uint64_t last = k.wanted;
    k = doubted(50, 0, "it was wiped");
    ck_assert(k.has_doubt && !k.is_swept);
    ck_assert_uint_eq(k.doubt_from, 50);
    ck_assert_uint_eq(k.doubt_to, last);
    ck_assert_str_eq(k.doubt_why, "it was wiped");
    ck_assert_int_gt(k.doubt_since_us, 0);
    ck_assert_uint_gt(k.wanted, last); /* what is confirmed from now on is beyond it */
    uint64_t first_to = k.doubt_to;
    k = changed((struct destination_change){.what = DESTINATION_SWEPT, .to = first_to + 1});
    ck_assert(!k.is_swept); /* that was for another */
    k = changed((struct destination_change){.what = DESTINATION_SWEPT, .to = first_to});
    ck_assert(k.has_doubt && k.is_swept);
    last = k.wanted;
    k = doubted(70, 9000, "it was put back");
    ck_assert_uint_eq(k.doubt_from, 50); /* the first one reached further */
    ck_assert_uint_eq(k.doubt_to, 9000);
    ck_assert(!k.is_swept);
    ck_assert_str_eq(k.doubt_why, "it was put back");
    k = doubted(20, 0, "again");
    ck_assert_uint_eq(k.doubt_from, 20);
    k = changed((struct destination_change){.what = DESTINATION_BELIEVE});
    ck_assert(!k.has_doubt);
    ck_assert_uint_eq(k.doubt_from, 0);
    k = changed((struct destination_change){.what = DESTINATION_SWEPT, .to = 0});
    ck_assert(!k.has_doubt && !k.is_swept);
    k = doubted(80, 0, "anew"); /* from its own beginning */
    ck_assert_uint_eq(k.doubt_from, 80);
    end();
}

TEST(after_the_end_nothing_is_recorded)
{
    begin();
    uint64_t revision = outbox_destination_revision(box);
    outbox_stop(box);
    outbox_change_destination(box, &(struct destination_change){.what = DESTINATION_RAISE});
    ck_assert_uint_eq(outbox_destination_revision(box), revision);
    end();
}
