/* drift_test.c - the judgement, case by case; the merge against a naive comparison. */

#include "audit/drift.h"

#include "test.h"

static struct drift_ours ours(int64_t seq, uint8_t hash)
{
    struct drift_ours o = {
        .is_delivered = true, .seq = seq, .projected_at_us = 1000, .last_projected_us = 1000};

    o.hash[0] = hash;
    return o;
}

static struct drift_theirs theirs(int64_t seq, uint8_t hash)
{
    struct drift_theirs t = {
        .is_intact = true, .has_hash = true, .seq = seq, .projected_at_us = 1000};

    t.hash[0] = t.actual[0] = hash;
    return t;
}

static void judged(const struct drift_ours *o, const struct drift_theirs *t, enum drift wanted)
{
    ck_assert_str_eq(drift_text(drift_judge(o, t)), drift_text(wanted));
}

TEST(what_is_confirmed_and_stands)
{
    struct drift_ours o = ours(5, 1);
    struct drift_theirs t = theirs(5, 1);

    judged(&o, &t, DRIFT_NONE);
    judged(&o, NULL, DRIFT_MISSING);
    t.is_removed = true;
    judged(&o, &t, DRIFT_MISSING);
    judged(NULL, &t, DRIFT_NONE);
    judged(NULL, NULL, DRIFT_NONE);
}

TEST(an_older_or_a_newer_version_stands)
{
    struct drift_ours o = ours(5, 1);
    struct drift_theirs t = theirs(4, 2);

    judged(&o, &t, DRIFT_STALE);
    t = theirs(6, 2);
    judged(&o, &t, DRIFT_AHEAD);
    t = theirs(5, 2); /* of the same seq: the time tells */
    t.projected_at_us = 999;
    judged(&o, &t, DRIFT_STALE);
    t.projected_at_us = 1000;
    judged(&o, &t, DRIFT_ALTERED);
    t.projected_at_us = 0;
    judged(&o, &t, DRIFT_ALTERED);
}

TEST(what_stands_was_edited)
{
    struct drift_ours o = ours(5, 1);
    struct drift_theirs t = theirs(5, 1);

    t.actual[31] = 7;
    judged(&o, &t, DRIFT_ALTERED);
    t = theirs(5, 1);
    t.is_intact = false;
    judged(&o, &t, DRIFT_ALTERED);
    t = theirs(5, 1); /* written by somebody who gives no hash */
    t.has_hash = false;
    t.hash[0] = 0;
    judged(&o, &t, DRIFT_NONE);
    t.actual[0] = 2;
    judged(&o, &t, DRIFT_ALTERED);
}

TEST(what_the_store_does_not_know)
{
    struct drift_ours o = {0};
    struct drift_theirs t = theirs(5, 1);

    judged(NULL, &t, DRIFT_ORPHANED);
    judged(&o, &t, DRIFT_ORPHANED); /* cleared, and yet it stands */
    o.is_pending = true;            /* on its way */
    judged(&o, &t, DRIFT_NONE);
    judged(&o, NULL, DRIFT_NONE);
    o = (struct drift_ours){.is_dead = true}; /* accounted for as a dead letter */
    judged(&o, &t, DRIFT_NONE);
}

TEST(whatever_moves_between_two_looks_is_no_last_word)
{
    struct drift_ours before = ours(5, 1), after = before;

    ck_assert(drift_is_still(&before, &after));
    after.is_pending = true;
    ck_assert(!drift_is_still(&before, &after));
    ck_assert(!drift_is_still(&after, &before));
    ck_assert(!drift_is_still(&after, &after));
    after = before;
    after.revision++;
    ck_assert(!drift_is_still(&before, &after));
    after = before;
    after.last_projected_us++;
    ck_assert(!drift_is_still(&before, &after));
    after = before;
    after.is_delivered = false;
    ck_assert(!drift_is_still(&before, &after));
    after = before;
    after.is_dead = true;
    ck_assert(!drift_is_still(&before, &after));
    before = after = (struct drift_ours){0};
    ck_assert(drift_is_still(&before, &after));
}

/* ---- the merge ---- */

#define IDS 64

struct side {
    bool has[IDS];
    size_t at, portion;
};

static char names[IDS][8];
static uint32_t seed;

static uint32_t dice(uint32_t sides)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % sides;
}

/* The next up to ${max} ids of a side from ${s}->at; whether it is the last portion. */
static size_t next_ids(struct side *s, struct slice *ids, size_t max, bool *is_last)
{
    size_t count = 0;

    while (s->at < IDS && count < max) {
        if (s->has[s->at])
            ids[count++] = slice_str(names[s->at]);
        s->at++;
    }
    /* At times only an empty portion says that there is no more. */
    *is_last = s->at == IDS && (count == 0 || dice(2) == 0);
    return count;
}

static void merge_once(void)
{
    struct drift_merge m = {0};
    struct drift_ours o_items[IDS];
    struct drift_theirs t_items[IDS];
    struct side a = {0}, b = {0};
    const struct drift_ours *o;
    const struct drift_theirs *t;
    enum drift_step step;
    size_t expected = 0;
    bool is_last;

    for (size_t i = 0; i < IDS; i++) {
        a.has[i] = dice(3) > 0;
        b.has[i] = dice(3) > 0;
    }
    while ((step = drift_next(&m, &o, &t)) != DRIFT_END) {
        struct slice ids[IDS];
        size_t count;
        if (step == DRIFT_WANT_OURS) {
            count = next_ids(&a, ids, dice(9), &is_last);
            for (size_t i = 0; i < count; i++)
                o_items[i] = (struct drift_ours){.id = ids[i]};
            drift_feed_ours(&m, o_items, count, is_last);
            continue;
        }
        if (step == DRIFT_WANT_THEIRS) {
            count = next_ids(&b, ids, dice(9), &is_last);
            for (size_t i = 0; i < count; i++)
                t_items[i] = (struct drift_theirs){.id = ids[i]};
            drift_feed_theirs(&m, t_items, count, is_last);
            continue;
        }
        while (expected < IDS && !a.has[expected] && !b.has[expected])
            expected++;
        ck_assert_uint_lt(expected, IDS);
        ck_assert(a.has[expected] == (o != NULL) && b.has[expected] == (t != NULL));
        ck_assert_slice(o ? o->id : t->id, names[expected]);
        ck_assert_slice(t ? t->id : o->id, names[expected]);
        expected++;
    }
    while (expected < IDS && !a.has[expected] && !b.has[expected])
        expected++;
    ck_assert_uint_eq(expected, IDS);
}

TEST(the_merge_sees_what_a_naive_comparison_sees)
{
    for (size_t i = 0; i < IDS; i++)
        snprintf(names[i], sizeof names[i], "%c%c", 'a' + (int)(i / 8), 'a' + (int)(i % 8));
    for (uint32_t round = 0; round < 2000; round++) {
        seed = round;
        merge_once();
    }
}

/* ---- the report ---- */

TEST(findings_are_counted_beyond_the_list)
{
    struct drift_report r = {.second_look = 7}; /* which are no findings */

    for (int i = 0; i < DRIFT_LINES_MAX + 5; i++)
        drift_add_line(&r, (struct drift_line){.id = base_strndup("x", 1),
                                               .id_len = 1,
                                               .finding = i % 2 ? DRIFT_STALE : DRIFT_MISSING,
                                               .is_repaired = i % 5 == 0});
    ck_assert_uint_eq(r.line_count, DRIFT_LINES_MAX);
    ck_assert_uint_eq(r.count[DRIFT_STALE], 502);
    ck_assert_uint_eq(r.count[DRIFT_MISSING], 503);
    ck_assert_uint_eq(drift_findings(&r), 1005);
    ck_assert_uint_eq(r.repaired, 201);
    drift_report_clear(&r);
    ck_assert(r.lines == NULL && r.line_count == 0 && drift_findings(&r) == 0);
}
