/* cli_top_test.c - a look at a sidecar, as text. */

#include "cli/cli_top.h"

#include "test.h"

/* A status with ${delivered} documents delivered. */
static term status_of(struct buf *b, int64_t delivered, const char *why)
{
    struct fault fault = {0};
    term t;

    term_put_version(b);
    term_put_map(b, 5);
    term_put_atom(b, "node");
    term_put_text(b, "side@h\033[2J");
    term_put_atom(b, "state");
    term_put_text(b, "waiting");
    term_put_atom(b, "why");
    term_put_text(b, why);
    term_put_atom(b, "metrics");
    term_put_map(b, 2);
    term_put_atom(b, "delivered_total");
    term_put_integer(b, delivered);
    term_put_atom(b, "store_ok");
    term_put_integer(b, 1);
    term_put_atom(b, "times");
    term_put_map(b, 1);
    term_put_atom(b, "call_seconds");
    term_put_map(b, 2);
    term_put_atom(b, "p50");
    term_put_float(b, 0.0125);
    term_put_atom(b, "p99");
    term_put_float(b, 3.21);
    ck_assert_int_eq(term_check(buf_view(b), &t, &fault), ERR_OK);
    return t;
}

static void assert_has(const struct buf *text, const char *part)
{
    ck_assert_msg(memmem(text->data, text->len, part, strlen(part)) != NULL,
                  "\"%s\" is not in\n%.*s", part, (int)text->len, (const char *)text->data);
}

TEST(rates_are_what_rose_between_two_looks)
{
    struct buf a = {0}, b = {0}, text = {0};
    term before = status_of(&a, 100, ""), now = status_of(&b, 150, "HTTP 502");

    cli_top_put(now, before, 2, CLI_TOP_BY_RATE, &text);
    assert_has(&text, "waiting since ");
    assert_has(&text, "  why        HTTP 502\n");
    assert_has(&text, "  out             25.0/s");
    assert_has(&text, "store ok");
    assert_has(&text, "  call       p50 12.5 ms   p99 3.2 s\n");
    assert_has(&text, "  commit     p50 -   p99 -\n"); /* what an older sidecar does not say */
    text.len = 0;
    cli_top_put(now, NULL, 0, CLI_TOP_BY_RATE, &text);
    assert_has(&text, "  out              0.0/s");
    text.len = 0;
    cli_top_put(before, now, 2, CLI_TOP_BY_RATE, &text); /* it began anew meanwhile */
    assert_has(&text, "  out              0.0/s");
    buf_free(&a);
    buf_free(&b);
    buf_free(&text);
}

TEST(no_terminal_obeys_what_a_sidecar_says)
{
    struct buf a = {0}, text = {0};

    cli_top_put(status_of(&a, 1, "x\ny\233"), NULL, 0, CLI_TOP_BY_RATE, &text);
    ck_assert_ptr_null(memchr(text.data, 033, text.len));
    assert_has(&text, "side@h?[2J");
    assert_has(&text, "x?y?");
    buf_free(&a);
    buf_free(&text);
}

/* A status with two kinds, of which "b" is stopped, and the other waits like everything. */
static term kinds_of(struct buf *b, int64_t of_a, int64_t of_b)
{
    struct fault fault = {0};
    term t;

    term_put_version(b);
    term_put_map(b, 3);
    term_put_atom(b, "state");
    term_put_text(b, "waiting");
    term_put_atom(b, "by_kind");
    term_put_list(b, 2);
    for (int i = 0; i < 2; i++) {
        term_put_map(b, 3);
        term_put_atom(b, "kind");
        term_put_text(b, i ? "b" : "a");
        term_put_atom(b, "taken");
        term_put_integer(b, i ? of_b : of_a);
        term_put_atom(b, "skipped");
        term_put_integer(b, i ? 0 : 5);
    }
    term_put_nil(b);
    term_put_atom(b, "kinds");
    term_put_list(b, 1);
    term_put_map(b, 2);
    term_put_atom(b, "kind");
    term_put_text(b, "b");
    term_put_atom(b, "state");
    term_put_text(b, "stopped");
    term_put_nil(b);
    ck_assert_int_eq(term_check(buf_view(b), &t, &fault), ERR_OK);
    return t;
}

TEST(kinds_are_sorted_as_asked)
{
    struct buf a = {0}, b = {0}, text = {0};
    term before = kinds_of(&a, 10, 500), now = kinds_of(&b, 30, 510);
    static const char first[] = "      10.0/s         30          5  waiting   a\n"
                                "       5.0/s        510          0  stopped   b\n";
    static const char last[] = "       5.0/s        510          0  stopped   b\n"
                               "      10.0/s         30          5  waiting   a\n";
    static const char *const wanted[] = {[CLI_TOP_BY_RATE] = first,
                                         [CLI_TOP_BY_TOTAL] = last,
                                         [CLI_TOP_BY_SKIPPED] = first,
                                         [CLI_TOP_BY_NAME] = first};

    for (enum cli_top_sort sort = CLI_TOP_BY_RATE; sort <= CLI_TOP_BY_NAME; sort++) {
        text.len = 0;
        cli_top_put(now, before, 2, sort, &text);
        assert_has(&text, wanted[sort]);
    }
    buf_free(&a);
    buf_free(&b);
    buf_free(&text);
}
