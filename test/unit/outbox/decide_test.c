/* Every row of the decision table (docs/DESIGN.md). */

#include "outbox/decide.h"
#include "test.h"

static struct outbox_version version(int64_t seq, const char *name, uint8_t hash)
{
    struct outbox_version v = {.seq = seq, .version = slice_str(name)};
    memset(v.hash, hash, sizeof v.hash);
    return v;
}

static void expect(struct decision d, bool write, const char *reason, int64_t lag)
{
    ck_assert_int_eq(d.write, write);
    ck_assert_pstr_eq(decide_reason_text(d.reason), reason);
    ck_assert_int_eq(d.lag_events, lag);
}

TEST(nothing_known_is_written)
{
    struct outbox_version in = version(7, "v1", 1);
    expect(decide(NULL, &in), true, NULL, 7);
}

TEST(checkpoint_ahead_is_skipped)
{
    struct outbox_version standing = version(8, "v1", 2), in = version(7, "v1", 1);
    expect(decide(&standing, &in), false, "checkpoint_ahead", 0);
}

TEST(same_again_is_skipped)
{
    struct outbox_version standing = version(7, "v1", 1), in = version(7, "v1", 1);
    expect(decide(&standing, &in), false, "idempotent", 0);
}

TEST(other_hash_is_written)
{
    struct outbox_version standing = version(7, "v1", 2), in = version(7, "v1", 1);
    expect(decide(&standing, &in), true, "summary_hash_mismatch", 0);
    standing = in;
    standing.hash[31] ^= 1; /* the last byte counts too */
    expect(decide(&standing, &in), true, "summary_hash_mismatch", 0);
}

TEST(other_projection_version_is_written)
{
    struct outbox_version standing = version(7, "v1", 1), in = version(7, "v2", 1);
    expect(decide(&standing, &in), true, "projection_version_changed", 0);
    standing = version(7, "v1", 2); /* and is the better reason when the hash differs as well */
    expect(decide(&standing, &in), true, "projection_version_changed", 0);
    standing = version(7, "v22", 1);
    expect(decide(&standing, &in), true, "projection_version_changed", 0);
}

TEST(newer_is_written)
{
    struct outbox_version standing = version(4, "v1", 1), in = version(7, "v1", 1);
    expect(decide(&standing, &in), true, NULL, 3);
}
