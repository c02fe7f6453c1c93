/* cli_tap_test.c - the events of a part, as lines. */

#include "test.h"

#include "cli/cli_tap.h"
#include "ground/buf.h"

static void put_text(struct buf *b, const char *key, const char *value)
{
    term_put_atom(b, key);
    term_put_text(b, value);
}

static void put_event(struct buf *b, const char *event, const char *id, const char *why)
{
    term_put_map(b, 6);
    put_text(b, "at", "2026-11-28T17:49:16.690170Z");
    put_text(b, "event", event);
    put_text(b, "kind", "run_summary");
    term_put_atom(b, "seq");
    term_put_integer(b, 7);
    put_text(b, "document_id", id);
    put_text(b, "why", why);
}

static char *printed(bool json)
{
    struct buf b = {0};
    struct fault fault = {0};
    char *text = NULL;
    size_t len = 0;
    term t;

    term_put_version(&b);
    term_put_map(&b, 2);
    term_put_atom(&b, "dropped");
    term_put_integer(&b, 0);
    term_put_atom(&b, "events");
    term_put_list(&b, 2);
    put_event(&b, "kept", "r:1", "");
    put_event(&b, "refused", "r:\x1b[2J", "too\nlarge");
    term_put_nil(&b);
    ck_assert_int_eq(term_check(buf_view(&b), &t, &fault), ERR_OK);
    FILE *out = open_memstream(&text, &len);
    cli_tap_put(t, json, out);
    fclose(out);
    buf_free(&b);
    return text;
}

TEST(an_event_is_a_line_that_no_terminal_obeys)
{
    char *text = printed(false);

    ck_assert_str_eq(text,
                     "2026-11-28T17:49:16.690170Z  kept       r:1  seq=7\n"
                     "2026-11-28T17:49:16.690170Z  refused    r:\\x1b[2J  seq=7  too\\x0alarge\n");
    free(text);
}

TEST(for_programs_it_is_json)
{
    char *text = printed(true);

    ck_assert_ptr_eq(
        strstr(text, "{\"at\":\"2026-11-28T17:49:16.690170Z\",\"document_id\":\"r:1\","
                     "\"event\":\"kept\",\"kind\":\"run_summary\",\"seq\":7,\"why\":\"\"}\n{"),
        text);
    ck_assert_ptr_null(strchr(text, 033));
    free(text);
}
