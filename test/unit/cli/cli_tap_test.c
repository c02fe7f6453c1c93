/* cli_tap_test.c - the events of a part, as lines. */

#include "cli_kit.h"
#include "cli/cli.h"

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

/* ---- the stream ------------------------------------------------------------------------- */

struct call {
    const char *dir;
    int64_t limit_ms;
    bool json;
};

static int tap(void *arg)
{
    struct call *c = arg;
    struct buf request = {0};

    term_put_atom(&request, "tap");
    int status = cli_tap_run(c->dir, buf_view(&request), c->limit_ms, c->json);
    buf_free(&request);
    return status;
}

static char said[KIT_SCREEN];

static void check(const char *const *answers, struct call c, int status, const char *wanted)
{
    struct kit_sidecar *k = kit_sidecar(answers);

    c.dir = k->dir.path;
    int got = kit_caught(tap, &c, said);
    ck_assert_str_eq(said, wanted);
    ck_assert_int_eq(got, status);
    kit_asked(k, "tap\n");
    kit_end(k);
}

#define EVENT(n) "{at: 't', event: 'kept', seq: " #n ", document_id: 'd'}"
#define LINE(n)  "t  kept       d  seq=" #n "\n"
#define DROPPED(n)                                                                                 \
    "convex_sidecar tap: " #n                                                                      \
    " events were dropped so far: more happens than is read; --kind and --id ask for less\n"

TEST(parts_are_shown_as_they_come_until_the_reply)
{
    check((const char *const[]){"~{events: [" EVENT(1) ", 7, " EVENT(2) "], dropped: 0}",
                                "~{events: [" EVENT(3) "], dropped: 2}",
                                "~{events: [], dropped: 2}", "~7", "~{events: [], dropped: 3}",
                                "(ok, nil)", NULL},
          (struct call){0}, CLI_DONE, LINE(1) LINE(2) LINE(3) DROPPED(2) DROPPED(3));
    check((const char *const[]){"~{events: [" EVENT(1) "]}", "(ok, nil)", NULL},
          (struct call){.json = true}, CLI_DONE,
          "{\"at\":\"t\",\"document_id\":\"d\",\"event\":\"kept\",\"seq\":1}\n");
    check((const char *const[]){"(error, busy)", NULL}, (struct call){0}, CLI_ERROR,
          "convex_sidecar: the sidecar answers: busy: its queue is full; next: try again\n");
}

TEST(it_ends_in_time_by_a_signal_or_with_the_sidecar)
{
    struct kit_sidecar *k =
        kit_sidecar((const char *const[]){"~{events: [" EVENT(1) "]}", ".", NULL});
    struct call c = {k->dir.path, 300, false};

    ck_assert_int_eq(kit_caught(tap, &c, said), CLI_DONE);
    ck_assert_str_eq(said, LINE(1));
    c.limit_ms = 0;
    k->calls = 0;
    ck_assert_int_eq(kit_terminal(tap, &c, (const char *const[]){"seq=1|\003", NULL}, said),
                     CLI_DONE);
    kit_end(k);
    k = kit_sidecar((const char *const[]){"%~{events: [" EVENT(1) "]}", ".", NULL});
    c.dir = k->dir.path;
    ck_assert_int_eq(kit_caught(tap, &c, said), CLI_DONE);
    kit_end(k);
    k = kit_sidecar((const char *const[]){"~{events: [" EVENT(1) "]}", "!", NULL});
    c.dir = k->dir.path;
    ck_assert_int_eq(kit_caught(tap, &c, said), CLI_ABSENT);
    ck_assert_ptr_nonnull(strstr(said, "no sidecar answers in "));
    ck_assert_ptr_nonnull(
        strstr(said, ": the connection ended before the answer came; see its log\n"));
    kit_end(k);
    c.dir = "/nonexistent";
    ck_assert_int_eq(kit_caught(tap, &c, said), CLI_ABSENT);
    ck_assert_ptr_nonnull(
        strstr(said, "no sidecar answers in /nonexistent: there is no such store"));
}
