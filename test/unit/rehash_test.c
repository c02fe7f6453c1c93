/* rehash_test.c - the hash taken again is the one that projection_finish gave. */

#include "rehash.h"

#include "projection.h"
#include "term_text.h"
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
    ck_assert_int_eq(projection_finish(draft, slice_of("", 0), 0, AT, &d, &fault), ERR_OK);
    buf_slice(json, d.json);
    draft_free(draft);
    kinds_free(kinds);
    buf_free(&r);
    buf_free(&e);
    return d;
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
        for (size_t at = 0; at < json.len; at++) { /* no change goes unnoticed, or past the end */
            struct buf changed = {0};
            buf_slice(&changed, buf_view(&json));
            changed.data[at] ^= 0x20;
            bool is_shaped = rehash_json(buf_view(&changed), hash);
            const char *text = (const char *)json.data;
            const char *time = strstr(text, "\"projected_at\""),
                       *own = strstr(text, "\"projection_h");
            size_t from = (size_t)(time - text),
                   to = from + sizeof "\"projected_at\":\"2026-02-19T20:00:00.000000Z\"" - 2;
            bool is_covered = at < from || at > to;
            if (own != NULL)
                is_covered =
                    is_covered && (at < (size_t)(own - text) || at > (size_t)(own - text) + 83);
            if (is_covered)
                ck_assert(!is_shaped || memcmp(hash, d.hash, 32) != 0);
            buf_free(&changed);
        }
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
