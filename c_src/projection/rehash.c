/*
 * rehash.c - whether a kept document is still intact.
 *
 * The happy path: the members of the object are passed one by one; projected_at and
 * projection_hash are cut out, each with the comma after it (both have later
 * neighbours in key order); the rest is hashed unchanged, since it is canonical.
 * projection_finish hashes the same bytes when it makes the document.
 *
 * What can go wrong: the bytes are damaged.  Then they are not an object, or the hash
 * differs; nothing is read past the end.
 *
 * Any thread.
 */

#include "projection/rehash.h"

#include "json/json_skip.h"
#include "projection/cut_hash.h"

#define CUTS_MAX 2

static bool is_left_out(struct slice name)
{
    return slice_is(name, "\"projected_at\"") || slice_is(name, "\"projection_hash\"");
}

/* How many cuts; -1: not an object of the form that we write. */
static int find_cuts(struct slice json, struct cut cuts[CUTS_MAX])
{
    size_t at = 1;
    int count = 0;

    if (json.len < 2 || json.data[0] != '{')
        return -1;
    for (;;) {
        size_t colon = json_skip_string(json, at);
        if (colon == 0 || colon >= json.len || json.data[colon] != ':')
            return -1;
        size_t end = json_skip_value(json, colon + 1);
        if (end == 0)
            return -1;
        if (is_left_out(slice_of(json.data + at, colon - at))) {
            if (count == CUTS_MAX || json.data[end] != ',')
                return -1;
            cuts[count++] = (struct cut){at, end + 1};
        }
        if (json.data[end] == '}')
            return end + 1 == json.len ? count : -1;
        at = end + 1;
    }
}

bool rehash_json(struct slice json, uint8_t hash[32])
{
    struct cut cuts[CUTS_MAX];
    int count = find_cuts(json, cuts);

    if (count >= 0)
        cut_hash(json, cuts, (size_t)count, hash);
    return count >= 0;
}

bool rehash_is(struct slice json, const uint8_t hash[32])
{
    uint8_t again[32];

    return rehash_json(json, again) && memcmp(again, hash, sizeof again) == 0;
}
