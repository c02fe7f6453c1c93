/*
 * rehash.c - whether a document kept long ago is still what was kept.
 *
 * The happy path: the members of the object are passed one by one; projected_at and
 * projection_hash are cut out, each with the comma behind it (both have later
 * neighbours in key order); the rest is hashed as it stands, for it is canonical.
 * projection_finish makes the hash of the same bytes, from the other side.
 *
 * What can go wrong: the bytes are damaged.  Then they are no object, or the hash is
 * another one; nothing is read past the end.
 *
 * Any thread.
 */

#include "store_tools/rehash.h"

#include <openssl/evp.h>

#define CUTS_MAX 2

struct cut {
    size_t from, to;
};

/* Behind the string that begins at ${at}; 0: there is none. */
static size_t behind_string(struct slice json, size_t at)
{
    if (at >= json.len || json.data[at] != '"')
        return 0;
    for (size_t i = at + 1; i < json.len; i++) {
        if (json.data[i] == '\\')
            i++;
        else if (json.data[i] == '"')
            return i + 1;
    }
    return 0;
}

/* Behind the value that begins at ${at}: at the comma or brace of the object around it. */
static size_t behind_value(struct slice json, size_t at)
{
    size_t depth = 0;

    for (size_t i = at; i < json.len; i++) {
        uint8_t c = json.data[i];
        if (c == '"') {
            i = behind_string(json, i);
            if (i-- == 0)
                return 0;
        } else if (depth == 0 && (c == ',' || c == '}')) {
            return i;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return 0;
}

static bool is_left_out(struct slice name)
{
    return slice_is(name, "\"projected_at\"") || slice_is(name, "\"projection_hash\"");
}

/* How many cuts; -1: this is no object, or another one than we make. */
static int find_cuts(struct slice json, struct cut cuts[CUTS_MAX])
{
    size_t at = 1;
    int count = 0;

    if (json.len < 2 || json.data[0] != '{')
        return -1;
    for (;;) {
        size_t colon = behind_string(json, at);
        if (colon == 0 || colon >= json.len || json.data[colon] != ':')
            return -1;
        size_t end = behind_value(json, colon + 1);
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
    size_t from = 0;

    if (count < 0)
        return false;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    PRE(context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1);
    for (int i = 0; i < count; i++) {
        PRE(EVP_DigestUpdate(context, json.data + from, cuts[i].from - from) == 1);
        from = cuts[i].to;
    }
    PRE(EVP_DigestUpdate(context, json.data + from, json.len - from) == 1);
    PRE(EVP_DigestFinal_ex(context, hash, NULL) == 1);
    EVP_MD_CTX_free(context);
    return true;
}
