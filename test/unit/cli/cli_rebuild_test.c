/* cli_rebuild_test.c - a history as requests, batch by batch, and what is said of the answers. */

#include "cli/cli_rebuild.h"

#include "cli/cli.h"
#include "cli_kit.h"

struct call {
    const char *dir;
    struct cli_rebuild_options options;
};

static int rebuild(void *arg)
{
    struct call *c = arg;

    return cli_rebuild_run(c->dir, &c->options);
}

static char said[KIT_SCREEN], path[100];

static void write_file(const char *dir, const char *text)
{
    snprintf(path, sizeof path, "%s/history", dir);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(text, f), 0);
    fclose(f);
}

/* Numbers with a point, and those before "/s" and " s left", which are the machine's, become N. */
static const char *plain(char *text)
{
    static char out[KIT_SCREEN];
    size_t n = 0;

    for (const char *p = text; *p != '\0';) {
        size_t len = strspn(p, "0123456789.");
        if (len > 0 && (memchr(p, '.', len) || strncmp(p + len, "/s", 2) == 0 ||
                        strncmp(p + len, " s ", 3) == 0)) {
            out[n++] = 'N';
            p += len;
        } else {
            for (len += len == 0; len > 0; len--)
                out[n++] = *p++;
        }
    }
    out[n] = '\0';
    return out;
}

static struct kit_sidecar *begin(struct call *c, const char *text, const char *const *answers)
{
    struct kit_sidecar *k = kit_sidecar(answers);

    write_file(k->dir.path, text);
    c->dir = k->dir.path;
    c->options.path = path;
    c->options.timeout_ms = c->options.timeout_ms ? c->options.timeout_ms : 20000;
    c->options.first_line = c->options.first_line ? c->options.first_line : 1;
    return k;
}

/* The history ${text} with ${answers}: all that is written, and all that was asked. */
static void check(struct call c, const char *text, const char *const *answers, int status,
                  const char *wanted, const char *asked)
{
    struct kit_sidecar *k = begin(&c, text, answers);

    int got = kit_caught(rebuild, &c, said);
    ck_assert_str_eq(plain(said), wanted);
    ck_assert_int_eq(got, status);
    kit_asked(k, asked);
    kit_end(k);
}

#define ROW(n) "{\"kind\": \"k\", \"id\": \"d" #n "\", \"row\": {\"n\": " #n "}}\n"
#define OPTS   "{return: none, reset: true, force: true, unless_ahead: true}"
#define ASK(n) "(project, 'k', 'd" #n "', {'n': " #n "}, [], " OPTS ")"
#define DONE(all, w, s, f)                                                                         \
#all " entities in N s (N/s): " #w " written, " #s                                             \
         " skipped (the sidecar has newer ones), " #f " failed\n"

TEST(entities_go_with_their_last_event_and_the_number_before_it)
{
    static const char history[] = ROW(1) "{\"kind\": \"k\", \"id\": \"d2\", \"row\": {}, "
                                         "\"events\": [{\"seq\": 1, \"event_type\": \"a\"}, "
                                         "{\"seq\": 2, \"event_type\": \"b\"}]}\n"
                                         "{\"kind\": \"k\", \"id\": \"d3\", \"row\": {}, "
                                         "\"events\": [{\"seq\": 7, \"event_type\": \"c\"}]}\n";

    check(
        (struct call){0}, history,
        (const char *const[]){"(ok, [ok, (ok, {write: 'kept'}), (ok, {write: 'skipped'})])", NULL},
        CLI_DONE, "100% 3 entities, N/s\n" DONE(3, 2, 1, 0),
        "(batch, [" ASK(1) ", (project, 'k', 'd2', {}, [{'seq': 2, 'event_type': 'b'}], {return: "
                           "none, reset: true, "
                           "force: true, unless_ahead: true, events_before: 1}), (project, 'k', "
                           "'d3', {}, [{'seq': 7, 'event_type': "
                           "'c'}], " OPTS ")])\n");
    check((struct call){.options = {.lower = true, .first_line = 3, .json = true}}, history,
          (const char *const[]){"(ok, [ok])", NULL}, CLI_DONE,
          "100% 1 entities, "
          "N/s\n{\"entities\":1,\"written\":1,\"skipped\":0,\"failed\":0,\"seconds\":N}\n",
          "(batch, [(project, 'k', 'd3', {}, [{'seq': 7, 'event_type': 'c'}], {return: none, "
          "reset: true, force: "
          "true})])\n");
}

TEST(a_dry_run_asks_nobody)
{
    struct call c = {.options = {.dry_run = true}};

    check(c, ROW(1) "{}\n" ROW(2), (const char *const[]){"!", NULL}, CLI_ERROR,
          "line 2: \"kind\" and \"id\" must be there, as text\n100% 3 entities, N/s, 1 failed\n"
          "2 entities would be sent, 1 failed; nothing was sent\n",
          "");
    c.options.json = true;
    check(c, ROW(1) ROW(2), (const char *const[]){"!", NULL}, CLI_DONE,
          "100% 2 entities, N/s\n{\"entities\":2,\"would_send\":2,\"failed\":0}\n", "");
}

TEST(what_is_refused_is_named_by_its_line)
{
    check((struct call){0}, ROW(1) "{}\n" ROW(2) ROW(3),
          (const char *const[]){"(ok, [(error, not_found), (ok, {write: 'kept'}), odd])", NULL},
          CLI_ERROR,
          "line 2: \"kind\" and \"id\" must be there, as text\n"
          "line 1: k d1: convex_sidecar: the sidecar answers: not_found: the sidecar knows no such "
          "document; next: give the whole id, prefix and all; `dead list` and `pending` name those "
          "they are about\n"
          "line 4: k d3: the answer is not one of the protocol\n"
          "100% 4 entities, N/s, 3 failed\n" DONE(4, 1, 0, 3),
          "(batch, [" ASK(1) ", " ASK(2) ", " ASK(3) "])\n");
    check((struct call){0}, ROW(1) ROW(2), (const char *const[]){"(ok, [ok])", NULL}, CLI_DONE,
          "100% 2 entities, N/s\n" DONE(2, 2, 0, 0), "(batch, [" ASK(1) ", " ASK(2) "])\n");
}

TEST(what_it_cannot_take_now_is_asked_again)
{
    check((struct call){0}, ROW(1) ROW(2) ROW(3) ROW(4),
          (const char *const[]){
              "(ok, [(error, busy), ok, (error, (store, 'full')), (error, draining)])",
              "(error, busy)", "(ok, [ok, (error, busy), ok])", "(ok, [ok])", NULL},
          CLI_DONE, "100% 4 entities, N/s\n" DONE(4, 4, 0, 0),
          "(batch, [" ASK(1) ", " ASK(2) ", " ASK(3) ", " ASK(
              4) "])\n"
                 "(batch, [" ASK(1) ", " ASK(3) ", " ASK(4) "])\n"
                                                            "(batch, [" ASK(1) ", " ASK(3) ", " ASK(
                                                                4) "])\n"
                                                                   "(batch, [" ASK(3) "])\n");
}

TEST(a_sidecar_that_leaves_or_takes_nothing)
{
    struct call c = {.dir = "/nonexistent",
                     .options = {.path = path, .timeout_ms = 1000, .first_line = 1}};
    struct temp_dir d = temp_dir_make();

    check((struct call){.options = {.first_line = 2}}, "\n" ROW(1) ROW(2),
          (const char *const[]){"!", NULL}, CLI_ABSENT,
          "convex_sidecar rebuild: the connection ended before the answer came; see its log\n"
          "100% 0 entities, N/s\nconvex_sidecar rebuild: not at the end; go on with --from-line "
          "2\n" DONE(0, 0, 0, 0),
          "(batch, [" ASK(1) ", " ASK(2) "])\n");
    check((struct call){.options = {.timeout_ms = 200}}, ROW(1), (const char *const[]){".", NULL},
          CLI_ABSENT,
          "convex_sidecar rebuild: it did not answer in time; --timeout SECONDS waits longer\n"
          "100% 0 entities, N/s\nconvex_sidecar rebuild: not at the end; go on with --from-line "
          "1\n" DONE(0, 0, 0, 0),
          "(batch, [" ASK(1) "])\n");
    struct kit_sidecar *k =
        begin(&(struct call){0}, ROW(1) ROW(2),
              (const char *const[]){"(ok, [ok, (error, busy)])", "(error, busy)", NULL});
    c.dir = k->dir.path;
    c.options.timeout_ms = 300;
    ck_assert_int_eq(kit_caught(rebuild, &c, said), CLI_ABSENT);
    ck_assert_str_eq(
        plain(said),
        "convex_sidecar rebuild: the sidecar has taken nothing for too long; see its status\n"
        "100% 1 entities, N/s\nconvex_sidecar rebuild: not at the end; go on with --from-line "
        "2\n" DONE(1, 1, 0, 0));
    int asked = 0;
    for (const char *at = k->asked; (at = strchr(at, '\n')) != NULL; at++)
        asked++;
    ck_assert_msg(asked >= 3 && asked <= 10, "%d", asked);
    kit_end(k);
    c.dir = "/nonexistent";
    write_file(d.path, ROW(1));
    ck_assert_int_eq(kit_caught(rebuild, &c, said), CLI_ABSENT);
    ck_assert_ptr_nonnull(
        strstr(said, "no sidecar answers in /nonexistent: there is no such store"));
    c.options.path = "/nonexistent/history";
    ck_assert_int_eq(kit_caught(rebuild, &c, said), CLI_ERROR);
    ck_assert_str_eq(said,
                     "convex_sidecar rebuild: /nonexistent/history: No such file or directory\n");
    temp_dir_remove(&d);
}

static int many(const char *text, const char *part)
{
    int n = 0;

    for (; (text = strstr(text, part)) != NULL; text++)
        n++;
    return n;
}

TEST(four_batches_of_256_are_under_way)
{
    struct buf history = {0};
    struct call c = {0};

    for (int i = 0; i < 5 * 256 + 1; i++)
        buf_str(&history, ROW(1));
    buf_byte(&history, 0);
    /* Nothing is said to the first three: a fourth is sent all the same, a fifth is not. */
    c.options.timeout_ms = 500;
    struct kit_sidecar *k = begin(&c, (char *)history.data, (const char *const[]){".", NULL});
    ck_assert_int_eq(kit_caught(rebuild, &c, said), CLI_ABSENT);
    ck_assert_int_eq(many(k->asked, "(batch, ["), 4);
    ck_assert_int_eq(many(k->asked, ASK(1)), 4 * 256);
    ck_assert_ptr_nonnull(strstr(said, "--from-line 1\n"));
    kit_end(k);
    /* All are taken, in whatever batch. */
    c.options.timeout_ms = 20000;
    k = begin(&c, (char *)history.data, (const char *const[]){"ok", NULL});
    ck_assert_int_eq(kit_caught(rebuild, &c, said), CLI_DONE);
    ck_assert_int_eq(many(k->asked, "(batch, ["), 6);
    ck_assert_int_eq(many(k->asked, ASK(1)), 5 * 256 + 1);
    ck_assert_ptr_nonnull(strstr(said, "1281 entities"));
    kit_end(k);
    buf_free(&history);
}

TEST(a_batch_is_a_mebibyte)
{
    struct buf history = {0};
    struct call c = {0};

    for (int i = 0; i < 3; i++) {
        buf_printf(&history, "{\"kind\": \"k\", \"id\": \"d%d\", \"row\": {\"x\": \"", i);
        for (int n = 0; n < 1 << 16; n++)
            buf_str(&history, "12345678");
        buf_str(&history, "\"}}\n");
    }
    buf_byte(&history, 0);
    struct kit_sidecar *k = begin(&c, (char *)history.data, (const char *const[]){"ok", NULL});
    ck_assert_int_eq(kit_caught(rebuild, &c, said), CLI_DONE);
    ck_assert_int_eq(many(k->asked, "(batch, ["), 2);
    ck_assert_ptr_null(strstr(strchr(k->asked, '\n'), "'d1'"));
    kit_end(k);
    buf_free(&history);
}

TEST(a_thousand_refusals_are_told_the_rest_is_counted)
{
    struct buf history = {0};
    struct call c = {.options = {.dry_run = true}};

    for (int i = 0; i < 1003; i++)
        buf_str(&history, "{}\n");
    buf_byte(&history, 0);
    struct kit_sidecar *k = begin(&c, (char *)history.data, (const char *const[]){"ok", NULL});
    ck_assert_int_eq(kit_caught(rebuild, &c, said), CLI_ERROR);
    ck_assert_int_eq(many(said, "must be there"), 1000);
    ck_assert_int_eq(many(said, "more failures are only counted"), 1);
    ck_assert_ptr_nonnull(strstr(said, "line 1000: "));
    ck_assert_ptr_nonnull(
        strstr(said, "0 entities would be sent, 1003 failed; nothing was sent\n"));
    kit_end(k);
    buf_free(&history);
}

TEST(a_signal_ends_it_in_order_without_a_terminal)
{
    struct buf history = {0};
    struct call c = {0};

    for (int i = 0; i < 5 * 256; i++)
        buf_str(&history, ROW(1));
    buf_byte(&history, 0);
    struct kit_sidecar *k =
        begin(&c, (char *)history.data, (const char *const[]){"%(error, busy)", "ok", NULL});
    ck_assert_int_eq(kit_caught(rebuild, &c, said), CLI_ERROR);
    ck_assert_ptr_nonnull(strstr(said, "not at the end; go on with --from-line "));
    kit_end(k);
    buf_free(&history);
}

#define BAR "\r\033[K[========================] 100% "

TEST(a_terminal_sees_a_bar)
{
    struct call c = {0};
    struct kit_sidecar *k =
        begin(&c, ROW(1) "{}\n" ROW(2), (const char *const[]){"(ok, [ok, odd])", NULL});

    ck_assert_int_eq(kit_terminal(rebuild, &c, NULL, said), CLI_ERROR);
    ck_assert_str_eq(plain(said), "line 2: \"kind\" and \"id\" must be there, as text\n"
                                  "line 3: k d2: the answer is not one of the protocol\n" BAR
                                  "3 entities, N/s, 2 failed\n" DONE(3, 1, 0, 2));
    kit_end(k);
    /* An interrupt ends it in order: what is under way is waited for. */
    struct buf history = {0};
    for (int i = 0; i < 5 * 256; i++)
        buf_str(&history, ROW(1));
    buf_byte(&history, 0);
    k = begin(&c, (char *)history.data,
              (const char *const[]){"(error, busy)", "(error, busy)", "(error, busy)",
                                    "(error, busy)", "(error, busy)", "ok", NULL});
    const char *const keys[] = {"entities|\003", NULL};
    ck_assert_int_eq(kit_terminal(rebuild, &c, keys, said), CLI_ERROR);
    ck_assert_ptr_nonnull(strstr(plain(said),
                                 "\nconvex_sidecar rebuild: not at the end; go on with "
                                 "--from-line 1025\n" DONE(1024, 1024, 0, 0)));
    ck_assert_ptr_nonnull(strstr(
        plain(said), "\r\033[K[===================>    ] 80% 0 entities, N/s, N s left\r\033"));
    kit_end(k);
    buf_free(&history);
}
