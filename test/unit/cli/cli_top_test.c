/* cli_top_test.c - a look at a sidecar, as text. */

#include "cli/cli_top.h"

#include "cli_kit.h"
#include "cli/cli.h"

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

/* ---- a whole look ------------------------------------------------------------------------ */

#define BEFORE                                                                                     \
    "{metrics: {requests_total: 1, kept_total: 1, skipped_total: 1, requests_busy_total: 1, "      \
    "delivered_total: 1, calls_total: 1, retried_total: 1, commits_total: 1}, "                    \
    "by_kind: [{kind: 'k', taken: 3}, {kind: 'l', taken: 9}]}"
#define NOW                                                                                        \
    "{node: 'side@h', version: '0.2.0', pid: 77, started_at: '2026-11-29T01:02:03.4Z', "           \
    "state: 'stopped', since: '2026-11-29T01:02:04.5Z', why: 'it is full', next: 'wait', "         \
    "kinds: [{kind: 'k', state: 'stopped', why: 'refused'}, {kind: 'l', state: 'waiting', why: "   \
    "''}, 7], "                                                                                    \
    "sink: 'convex', base_url: 'http://c', "                                                       \
    "metrics: {requests_total: 21, kept_total: 41, skipped_total: 61, requests_busy_total: 81, "   \
    "peers: 3, pending: 4, oldest_pending_age_seconds: 5, pending_bytes: 1048576, "                \
    "dead_letter_bytes: 2097152, store_limit_bytes: 10485760, delivered_total: 101, "              \
    "calls_total: 121, calls_in_flight: 6, concurrency_limit: 7, retried_total: 141, "             \
    "dead_letters: 8, store_ok: 0, commits_total: 161, checkpoints: 9, audit_checked: 10, "        \
    "audit_findings: 11}, times: {call_seconds: {p50: 1, p99: 2}, commit_seconds: {p50: 3, p99: "  \
    "4}, "                                                                                         \
    "kept_to_confirmed_seconds: {p50: 5, p99: 6}, append_to_confirmed_seconds: {p50: 7, p99: "     \
    "8}}, "                                                                                        \
    "by_kind: [{kind: 'k', taken: 23, skipped: 2}, 5, {taken: 5}, {kind: 'l', taken: 9}, "         \
    "{kind: 'm', taken: 9, skipped: 1}]}"

#define HEAD                                                                                       \
    "side@h  0.2.0  pid 77  up since 2026-11-29T01:02:03\n"                                        \
    "\n"                                                                                           \
    "stopped since 2026-11-29T01:02:04\n"                                                          \
    "  why        it is full\n"                                                                    \
    "  next       wait\n"                                                                          \
    "  kinds      k stopped: refused\n"                                                            \
    "             l waiting: \n"                                                                   \
    "  sink       convex -> http://c\n"                                                            \
    "\n"

static const char whole[] =
    HEAD "  in               2.0/s   kept 4.0/s   skipped 6.0/s   busy 8.0/s   nodes 3\n"
         "  pending            4     oldest 5.0 s   3.0 of 10 MiB\n"
         "  out             10.0/s   calls 12.0/s   in flight 6 of 7   again 14.0/s\n"
         "  dead               8     store FAILS   commits 16.0/s   documents known 9\n"
         "  audit             10 checked, 11 differ\n"
         "\n"
         "  call       p50 1.0 s   p99 2.0 s\n"
         "  commit     p50 3.0 s   p99 4.0 s\n"
         "  kept ->    p50 5.0 s   p99 6.0 s\n"
         "  append ->  p50 7.0 s   p99 8.0 s\n"
         "\n"
         "          in      total    skipped  state     kind\n"
         "       2.0/s         23          2  stopped   k\n"
         "       0.9/s          9          1  stopped   m\n"
         "       0.0/s          9          0  waiting   l\n";

TEST(a_look_is_this)
{
    struct buf a = {0}, b = {0}, text = {0};

    cli_top_put(term_of(&a, NOW), term_of(&b, BEFORE), 10, CLI_TOP_BY_RATE, &text);
    buf_byte(&text, 0);
    ck_assert_str_eq((char *)text.data, whole);
    text.len = 0; /* what says nothing */
    cli_top_put(term_of(&a, "{sink: 'file', kinds: 7, times: 7, metrics: [], by_kind: {}}"), NULL,
                10, CLI_TOP_BY_RATE, &text);
    buf_byte(&text, 0);
    ck_assert_str_eq(
        (char *)text.data,
        "    pid 0  up since \n\n since \n  sink       file\n\n"
        "  in               0.0/s   kept 0.0/s   skipped 0.0/s   busy 0.0/s   nodes 0\n"
        "  pending            0     oldest -   0.0 of 0 MiB\n"
        "  out              0.0/s   calls 0.0/s   in flight 0 of 0   again 0.0/s\n"
        "  dead               0     store FAILS   commits 0.0/s   documents known 0\n"
        "  audit              0 checked, 0 differ\n\n"
        "  call       p50 -   p99 -\n  commit     p50 -   p99 -\n"
        "  kept ->    p50 -   p99 -\n  append ->  p50 -   p99 -\n");
    buf_free(&a);
    buf_free(&b);
    buf_free(&text);
}

static void put_float(struct buf *b, double p50, double p99)
{
    b->len = 0;
    term_put_version(b);
    term_put_map(b, 1);
    term_put_atom(b, "times");
    term_put_map(b, 1);
    term_put_atom(b, "call_seconds");
    term_put_map(b, 2);
    term_put_atom(b, "p50");
    term_put_float(b, p50);
    term_put_atom(b, "p99");
    term_put_float(b, p99);
}

static void check_times(double p50, double p99, const char *line)
{
    struct buf b = {0}, text = {0};
    struct fault fault = {0};
    term t;

    put_float(&b, p50, p99);
    ck_assert_int_eq(term_check(buf_view(&b), &t, &fault), ERR_OK);
    cli_top_put(t, NULL, 0, CLI_TOP_BY_RATE, &text);
    assert_has(&text, line);
    buf_free(&b);
    buf_free(&text);
}

TEST(times_have_a_unit_that_suits_them)
{
    check_times(0.0005, 0.001, "  call       p50 500 us   p99 1.0 ms\n");
    check_times(0.25, 1, "  call       p50 250.0 ms   p99 1.0 s\n");
    check_times(-1, 0, "  call       p50 -   p99 -\n");
}

/* The table has as many rows as a sidecar counts kinds, the lines of held up ones eight. */
TEST(more_than_is_counted_is_not_shown)
{
    struct buf s = {0}, a = {0}, text = {0};
    int n = 0;

    buf_str(&s, "{state: 'running', kinds: [");
    for (int i = 0; i < 9; i++)
        buf_printf(&s, "{kind: 'k%d', state: 'held', why: 'w%d'}, ", i, i);
    buf_str(&s, "], by_kind: [");
    for (int i = 0; i < 66; i++)
        buf_printf(&s, "{kind: 'n%d', taken: %d, skipped: %d}, ", i, i, 1000 - i);
    buf_str(&s, "]}");
    buf_byte(&s, 0);
    cli_top_put(term_of(&a, (char *)s.data), NULL, 0, CLI_TOP_BY_TOTAL, &text);
    assert_has(&text, "             k7 held: w7\n  sink");
    assert_has(&text, "kind\n       0.0/s         64        936  running   n64\n");
    buf_byte(&text, 0);
    for (const char *at = (char *)text.data; (at = strstr(at, "running   n")) != NULL; at++)
        n++;
    ck_assert_int_eq(n, 65);
    text.len = 0;
    cli_top_put(term_of(&a, (char *)s.data), NULL, 0, CLI_TOP_BY_SKIPPED, &text);
    assert_has(&text, "kind\n       0.0/s          0       1000  running   n0\n");
    text.len = 0;
    cli_top_put(term_of(&a, (char *)s.data), NULL, 0, CLI_TOP_BY_NAME, &text);
    assert_has(&text, "  running   n1\n       0.0/s         10        990  running   n10\n");
    buf_free(&s);
    buf_free(&a);
    buf_free(&text);
}

/* ---- the terminal ------------------------------------------------------------------------ */

struct call {
    const char *dir;
    int64_t looks;
    bool json;
};

static int top(void *arg)
{
    struct call *c = arg;
    struct buf request = {0};

    term_put_atom(&request, "status");
    const struct cli_top_options options = {buf_view(&request), 10000, c->looks, c->json};
    int status = cli_top_run(c->dir, &options);
    struct termios after;
    if (tcgetattr(0, &after) == 0 && (after.c_lflag & (ICANON | ECHO)) != (ICANON | ECHO))
        status = 99; /* the terminal is left as it was */
    buf_free(&request);
    return status;
}

static char said[KIT_SCREEN];

TEST(without_a_terminal_each_look_is_text)
{
    struct kit_sidecar *k =
        kit_sidecar((const char *const[]){"(ok, " BEFORE ")", "~7", "(ok, " NOW ")", NULL});
    struct call c = {k->dir.path, 0, false};

    ck_assert_int_eq(kit_caught(top, &c, said), CLI_DONE);
    ck_assert_msg(strncmp(said, HEAD, strlen(HEAD)) == 0, "%s", said);
    ck_assert_ptr_nonnull(strstr(said, "/s         23          2  stopped   k\n"));
    ck_assert_ptr_null(strstr(said, "\033"));
    ck_assert_ptr_null(strstr(strstr(said, "side@h") + 1, "side@h"));
    ck_assert_str_eq(said + strlen(said) - 2, "\n\n");
    kit_asked(k, "status\nstatus\n");
    c.looks = 2;
    ck_assert_int_eq(kit_caught(top, &c, said), CLI_DONE);
    kit_asked(k, "status\nstatus\nstatus\n");
    kit_end(k);
}

TEST(what_is_no_status_or_no_sidecar_is_said)
{
    static const char *const odd[] = {"(error, " NOW ")", "(ok, 7)", "(ok)", "7"};
    struct call c = {"/nonexistent", 1, false};
    char wanted[300];

    for (size_t i = 0; i < 4; i++) {
        struct kit_sidecar *k = kit_sidecar((const char *const[]){odd[i], NULL});
        c.dir = k->dir.path;
        ck_assert_int_eq(kit_caught(top, &c, said), CLI_ABSENT);
        snprintf(wanted, sizeof wanted,
                 "convex_sidecar: no sidecar answers in %s: its status is not one this program "
                 "knows; use the program of its version\n",
                 c.dir);
        ck_assert_str_eq(said, wanted);
        kit_end(k);
    }
    c.dir = "/nonexistent";
    ck_assert_int_eq(kit_caught(top, &c, said), CLI_ABSENT);
    ck_assert_ptr_nonnull(
        strstr(said, "no sidecar answers in /nonexistent: there is no such store"));
}

TEST(for_programs_each_look_is_a_line)
{
    struct kit_sidecar *k = kit_sidecar((const char *const[]){"(ok, {node: 'n'})", NULL});
    struct call c = {k->dir.path, 2, true};

    ck_assert_int_eq(kit_terminal(top, &c, NULL, said), CLI_DONE);
    ck_assert_str_eq(said, "{\"node\":\"n\"}\n{\"node\":\"n\"}\n");
    kit_end(k);
}

#define ENTER    "\033[?1049h\033[?25l\033[H"
#define LEAVE    "\033[?25h\033[?1049l"
#define KEYS(by) "\033[K\nq leaves, space holds still; kinds by" by "\033[K\n\033[J"

TEST(on_a_terminal_keys_sort_and_leave)
{
    struct kit_sidecar *k =
        kit_sidecar((const char *const[]){"(ok, {node: 'n', by_kind: []})", NULL});
    struct call c = {k->dir.path, 0, false};

    ck_assert_int_eq(kit_terminal(top, &c,
                                  (const char *const[]){" [rate] total skipped name|t",
                                                        " rate [total] skipped name|s",
                                                        " rate total [skipped] name|n",
                                                        " rate total skipped [name]|r",
                                                        " [rate] total skipped name|q", NULL},
                                  said),
                     CLI_DONE);
    ck_assert_msg(strncmp(said, ENTER "n    pid 0  up since \033[K\n\033[K\n since \033[K\n",
                          strlen(ENTER "n    pid 0  up since \033[K\n\033[K\n since \033[K\n")) ==
                      0,
                  "%s", said);
    ck_assert_ptr_nonnull(strstr(said, KEYS(" [rate] total skipped name") "\033[Hn "));
    ck_assert_ptr_nonnull(strstr(said, KEYS(" [rate] total skipped name") LEAVE));
    ck_assert_str_eq(said + strlen(said) - strlen(LEAVE), LEAVE);
    kit_asked(k, "status\n");
    ck_assert_int_eq(kit_terminal(top, &c, (const char *const[]){"[rate]|Q", NULL}, said),
                     CLI_DONE);
    kit_asked(k, "status\n");
    ck_assert_int_eq(kit_terminal(top, &c, (const char *const[]){"[rate]|\003", NULL}, said),
                     CLI_DONE);
    ck_assert_str_eq(said + strlen(said) - strlen(LEAVE), LEAVE);
    kit_end(k);
}

TEST(signals_to_end_leave_the_terminal_as_it_was)
{
    static const char *const both[] = {"%(ok, {node: 'n'})", "&(ok, {node: 'n'})"};

    for (int i = 0; i < 2; i++) {
        struct kit_sidecar *k = kit_sidecar((const char *const[]){both[i], NULL});
        struct call c = {k->dir.path, 0, false};
        ck_assert_int_eq(kit_terminal(top, &c, NULL, said), CLI_DONE);
        ck_assert_str_eq(said + strlen(said) - strlen(LEAVE), LEAVE);
        kit_end(k);
    }
}

TEST(a_screen_has_no_more_than_it_shows)
{
    struct kit_sidecar *k = kit_sidecar((const char *const[]){"(ok, " NOW ")", NULL});
    struct call c = {k->dir.path, 1, false};
    int rows = 0;

    /* The table is longer than 24 lines, and the second look is shown as well. */
    ck_assert_int_eq(kit_terminal(top, &c, NULL, said), CLI_DONE);
    char *end = strstr(said, "\033[J");
    ck_assert_ptr_nonnull(end);
    for (char *at = said; at < end; at++)
        rows += *at == '\n';
    ck_assert_int_eq(rows, 23);
    ck_assert_ptr_nonnull(strstr(
        said,
        "  in               0.0/s   kept 0.0/s   skipped 0.0/s   busy 0.0/s   nodes 3\033[K\n"));
    kit_asked(k, "status\nstatus\n");
    kit_end(k);
    /* Held still, nobody is asked; then again. */
    k = kit_sidecar((const char *const[]){
        "(ok, {node: '0123456789012345678901234567890123456789012345678901234567890123456789', "
        "version: '0123456789'})",
        NULL});
    c = (struct call){k->dir.path, 0, false};
    ck_assert_int_eq(
        kit_terminal(top, &c, (const char *const[]){"[rate]| ", "[J|t", "[total]|q", NULL}, said),
        CLI_DONE);
    ck_assert_ptr_nonnull(
        strstr(said, "\033[H0123456789012345678901234567890123456789012345678901234567890123456789 "
                     " 01234567\033[K\n"));
    kit_asked(k, "status\n");
    kit_end(k);
}
