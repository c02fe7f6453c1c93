/* rehash_test.c - the hash taken again is the one that projection_finish gave. */

#include "projection/rehash.h"

#include "projection/projection.h"
#include "term/term_text.h"
#include "test.h"

#define AT 1771531200000000 /* date -u -d 2026-02-19T20:00:00Z +%s */

/* A document of the row and one event; ${json} is a copy, the caller's to free. */
static struct document make(const char *row, bool no_hash, struct buf *json)
{
    struct kinds *kinds = kinds_new();
    struct buf r = {0}, e = {0};
    struct fault fault = {0};
    struct draft *draft = NULL;
    struct document d;
    const struct projection_options options = {.version = slice_str("v1"), .no_hash = no_hash};

    ck_assert_int_eq(kinds_finish(kinds, &fault), ERR_OK);
    ck_assert_int_eq(
        projection_prepare(kinds_find(kinds, slice_str("run_summary")), slice_str("run_1"),
                           term_of(&r, row),
                           term_of(&e, "[{seq: 1, event_type: 'a', inserted_at: 't1'}]"), &options,
                           &draft, &fault),
        ERR_OK);
    ck_assert_int_eq(projection_finish(draft, (struct past){0}, 0, AT, &d, &fault), ERR_OK);
    buf_slice(json, d.json);
    draft_free(draft);
    kinds_free(kinds);
    buf_free(&r);
    buf_free(&e);
    return d;
}

/* Whether byte ${at} lies in a member that is not hashed, the comma behind it included. */
static bool is_left_out(struct slice json, size_t at)
{
    static const char *const names[] = {"\"projected_at\":\"", "\"projection_hash\":\""};

    for (size_t i = 0; i < 2; i++) {
        const uint8_t *name = memmem(json.data, json.len, names[i], strlen(names[i]));
        if (name == NULL)
            continue;
        size_t from = (size_t)(name - json.data) + strlen(names[i]);
        const uint8_t *end = memchr(json.data + from, '"', json.len - from);
        if (at >= (size_t)(name - json.data) && at <= (size_t)(end - json.data) + 1)
            return true;
    }
    return false;
}

TEST(it_is_the_hash_of_the_projection)
{
    static const char *const rows[] = {
        "{thread_id: 't', status: 'running'}",
        "{status: 'quotes } , \" here', terminal_reason: '{}]['}",
        "{}",
    };
    for (size_t i = 0; i < 2 * (sizeof rows / sizeof *rows); i++) {
        struct buf json = {0};
        uint8_t hash[32] = {0};
        struct document d = make(rows[i / 2], i % 2 == 1, &json);

        ck_assert(rehash_json(buf_view(&json), hash));
        ck_assert_mem_eq(hash, d.hash, 32);
        struct buf changed = {0};
        for (size_t at = 0; at < json.len; at++) { /* no change goes unnoticed */
            changed.len = 0;
            buf_slice(&changed, buf_view(&json));
            changed.data[at] ^= 1;
            bool is_same = rehash_json(buf_view(&changed), hash) && memcmp(hash, d.hash, 32) == 0;
            ck_assert_msg(!is_same || is_left_out(buf_view(&json), at), "row %zu, byte %zu", i, at);
        }
        buf_free(&changed);
        buf_free(&json);
    }
}

TEST(what_is_no_object_is_refused)
{
    static const char *const bad[] = {
        "",       "{",          "{}",          "[]",
        "{\"a\"", "{\"a\":",    "{\"a\":1",    "{\"a\":\"x}",
        "{a:1}",  "{\"a\":1}}", "{\"a\":1,}",  "{\"a\":\"\\",
        "x",      "{\"a\":[}",  "{\"a\":1}\n", "{\"projected_at\":1}"};
    uint8_t hash[32];

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *exact = base_alloc(strlen(bad[i])); /* ASan sees a read behind it */
        memcpy(exact, bad[i], strlen(bad[i]));
        ck_assert_msg(!rehash_json(slice_of(exact, strlen(bad[i])), hash), "%s", bad[i]);
        free(exact);
    }
    ck_assert(rehash_json(slice_str("{\"a\":1}"), hash));
}
