/* Every row of the decision table (docs/DESIGN.md), without and with a version that waits. */

#include "projection/decide.h"
#include "test.h"

static struct version version(int64_t seq, const char *name, uint8_t hash)
{
    struct version v = {.seq = seq, .version = slice_str(name)};
    memset(v.hash, hash, sizeof v.hash);
    return v;
}

static void expect(struct decision d, bool write, bool coalesced, const char *reason, int64_t lag)
{
    ck_assert_int_eq(d.write, write);
    ck_assert_int_eq(d.coalesced, coalesced);
    ck_assert_pstr_eq(decide_reason_text(d.reason), reason);
    ck_assert_int_eq(d.lag_events, lag);
}

TEST(nothing_known_is_written)
{
    struct version in = version(7, "v1", 1);
    expect(decide(NULL, NULL, &in), true, false, NULL, 7);
}

TEST(checkpoint_ahead_is_skipped)
{
    struct version standing = version(8, "v1", 2), in = version(7, "v1", 1);
    expect(decide(NULL, &standing, &in), false, false, "checkpoint_ahead", 0);
    expect(decide(&standing, NULL, &in), false, false, "checkpoint_ahead", 0);
}

TEST(same_again_is_skipped)
{
    struct version standing = version(7, "v1", 1), in = version(7, "v1", 1);
    expect(decide(NULL, &standing, &in), false, false, "idempotent", 0);
    expect(decide(&standing, NULL, &in), false, false, "idempotent", 0);
}

TEST(other_hash_is_written)
{
    struct version standing = version(7, "v1", 2), in = version(7, "v1", 1);
    expect(decide(NULL, &standing, &in), true, false, "summary_hash_mismatch", 0);
    expect(decide(&standing, NULL, &in), true, true, "summary_hash_mismatch", 0);
    standing = in;
    standing.hash[31] ^= 1; /* the last byte counts too */
    expect(decide(NULL, &standing, &in), true, false, "summary_hash_mismatch", 0);
}

TEST(other_projection_version_is_written)
{
    struct version standing = version(7, "v1", 1), in = version(7, "v2", 1);
    expect(decide(NULL, &standing, &in), true, false, "projection_version_changed", 0);
    expect(decide(&standing, NULL, &in), true, true, "projection_version_changed", 0);
    standing = version(7, "v1", 2); /* and is the better reason when the hash differs as well */
    expect(decide(NULL, &standing, &in), true, false, "projection_version_changed", 0);
    standing = version(7, "v22", 1);
    expect(decide(NULL, &standing, &in), true, false, "projection_version_changed", 0);
}

TEST(newer_is_written)
{
    struct version standing = version(4, "v1", 1), in = version(7, "v1", 1);
    expect(decide(NULL, &standing, &in), true, false, NULL, 3);
}

TEST(newer_takes_the_place_of_a_pending_one)
{
    struct version pending = version(5, "v1", 1), in = version(7, "v1", 1);
    expect(decide(&pending, NULL, &in), true, true, NULL, 2);
}

TEST(pending_counts_before_the_checkpoint)
{
    struct version checkpoint = version(3, "v1", 1), pending = version(6, "v1", 2);
    struct version same = version(6, "v1", 2), between = version(5, "v1", 1);
    struct version like_checkpoint = version(3, "v1", 1), newer = version(7, "v1", 1);
    expect(decide(&pending, &checkpoint, &same), false, false, "idempotent", 0);
    expect(decide(&pending, &checkpoint, &between), false, false, "checkpoint_ahead", 0);
    expect(decide(&pending, &checkpoint, &like_checkpoint), false, false, "checkpoint_ahead", 0);
    expect(decide(&pending, &checkpoint, &newer), true, true, NULL, 1);
}
