/* cli_import_test.c - an export's lines as requests, and what is said of the answers. */

#include "cli/cli_import.h"

#include "cli/cli.h"
#include "cli_kit.h"

#include <time.h>

struct call {
    const char *dir;
    char path[100];
    int64_t timeout_ms;
};

static int import(void *arg)
{
    struct call *c = arg;

    return cli_import_run(c->dir, c->path, c->timeout_ms);
}

static void write_file(struct call *c, const char *text)
{
    FILE *f = fopen(c->path, "w");

    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(text, f), 0);
    fclose(f);
}

static char said[KIT_SCREEN];

/* The file ${text} with ${answers}: all that is written, and all that was asked. */
static void check(const char *text, const char *const *answers, int status, const char *wanted,
                  const char *asked)
{
    struct kit_sidecar *k = kit_sidecar(answers);
    struct call c = {.dir = k->dir.path, .timeout_ms = 20000};

    snprintf(c.path, sizeof c.path, "%s/export", k->dir.path);
    write_file(&c, text);
    int got = kit_caught(import, &c, said);
    ck_assert_str_eq(said, wanted);
    ck_assert_int_eq(got, status);
    kit_asked(k, asked);
    kit_end(k);
}

#define HEAD "{\"convex_sidecar_export\": 1}\n"
#define UP(n)                                                                                      \
    "{\"op\": \"upsert\", \"kind\": \"k\", \"document_id\": \"d" #n "\", \"summary\": {\"n\": " #n \
    "}}\n"
#define ASK(n, reset)                                                                              \
    "(upsert, 'k', 'd" #n "', {'n': " #n "}, {reset: " #reset ", unless_newer: true, return: "     \
    "none})"
#define END(n) "{\"end\": true, \"lines\": " #n "}\n"
#define OK     "(ok, [ok])"

TEST(documents_go_in_batches_and_removals_alone_in_the_order_of_the_file)
{
    check(HEAD UP(1) UP(
              2) "{\"op\": \"remove\", \"document_id\": \"d3\", \"projected_at\": \"2026\"}\n" UP(4)
              END(4),
          (const char *const[]){"(ok, [ok, (ok, {write: 'kept'})])", "(ok, {cleared: 1})",
                                "(ok, [(ok, {write: 'skipped'})])", NULL},
          CLI_DONE, "3 kept, 1 skipped (the sidecar knows something as new), 0 refused\n",
          "(batch, [" ASK(1, false) ", " ASK(2, false) "])\n"
                                                       "(clear, 'd3', {unless_newer: '2026'})\n"
                                                       "(batch, [" ASK(4, false) "])\n");
    check(HEAD "{\"op\": \"upsert\", \"kind\": \"k\", \"document_id\": \"d1\", \"summary\": "
               "{\"n\": 1}, \"reset\": true}\n"
               "{\"op\": \"remove\", \"document_id\": \"d3\", \"projected_at\": \"2026\"}\n" END(2),
          (const char *const[]){OK, "(ok, {cleared: 0})", NULL}, CLI_DONE,
          "1 kept, 1 skipped (the sidecar knows something as new), 0 refused\n",
          "(batch, [" ASK(1, true) "])\n(clear, 'd3', {unless_newer: '2026'})\n");
}

#define NEITHER ": neither an upsert with kind, document_id and summary nor a removal\n"
#define WITHOUT ": a removal without document_id or projected_at\n"

TEST(what_breaks_a_rule_is_named_by_its_line)
{
    check(HEAD UP(
              1) "{\"op\": \"upsert\", \"kind\": 1, \"document_id\": \"d\", \"summary\": {}}\n"
                 "{\"op\": \"upsert\", \"kind\": \"k\", \"document_id\": \"\", \"summary\": {}}\n"
                 "{\"op\": \"upsert\", \"kind\": \"k\", \"document_id\": \"d\"}\n"
                 "{\"op\": \"upsert\", \"kind\": \"k\", \"document_id\": \"d\", \"summary\": []}\n"
                 "{\"op\": \"frob\", \"kind\": \"k\", \"document_id\": \"d\", \"summary\": {}}\n"
                 "{\"op\": \"remove\", \"document_id\": \"d\"}\n"
                 "{\"op\": \"remove\", \"projected_at\": \"d\"}\n"
                 "[]\n" UP(2) END(10),
          (const char *const[]){OK, "(ok, [(error, not_found)])", NULL}, CLI_ERROR,
          "line 3" NEITHER "line 4" NEITHER "line 5" NEITHER "line 6" NEITHER "line 7" NEITHER
          "line 8" WITHOUT "line 9" WITHOUT "line 10: is no object\n"
          "line 11: convex_sidecar: the sidecar answers: not_found: the sidecar knows no such "
          "document; next: give the whole id, prefix and all; `dead list` and `pending` name those "
          "they are about\n"
          "1 kept, 0 skipped (the sidecar knows something as new), 9 refused\n",
          "(batch, [" ASK(1, false) "])\n(batch, [" ASK(2, false) "])\n");
}

/* ${count} removals of nothing: the first 20 are named. */
TEST(only_the_first_are_named)
{
    struct buf file = {0}, wanted = {0};

    buf_str(&file, HEAD);
    for (int i = 0; i < 21; i++) {
        buf_str(&file, "{\"op\": \"frob\"}\n");
        if (i < 20)
            buf_printf(&wanted, "line %d" NEITHER, i + 2);
    }
    buf_str(&file, END(21));
    buf_str(&wanted, "0 kept, 0 skipped (the sidecar knows something as new), 21 refused\n");
    buf_byte(&file, 0);
    buf_byte(&wanted, 0);
    check((char *)file.data, (const char *const[]){OK, NULL}, CLI_ERROR, (char *)wanted.data, "");
    file.len = wanted.len = 0;
    buf_str(&file, HEAD);
    for (int i = 0; i < 21; i++) {
        buf_printf(&file,
                   "{\"op\": \"remove\", \"document_id\": \"d\", \"projected_at\": \"t\"}\n");
        if (i < 20)
            buf_printf(&wanted,
                       "line %d: convex_sidecar: the sidecar answers: odd; next: `status` shows "
                       "how it stands; docs/PROTOCOL.md says what the word means\n",
                       i + 2);
    }
    buf_str(&file, END(21));
    buf_str(&wanted, "0 kept, 0 skipped (the sidecar knows something as new), 21 refused\n");
    buf_byte(&file, 0);
    buf_byte(&wanted, 0);
    struct kit_sidecar *k = kit_sidecar((const char *const[]){"(error, odd)", NULL});
    struct call c = {.dir = k->dir.path, .timeout_ms = 20000};
    snprintf(c.path, sizeof c.path, "%s/export", k->dir.path);
    write_file(&c, (char *)file.data);
    ck_assert_int_eq(kit_caught(import, &c, said), CLI_ERROR);
    ck_assert_str_eq(said, (char *)wanted.data);
    kit_end(k);
    buf_free(&file);
    buf_free(&wanted);
}

TEST(a_batch_is_a_thousand_lines_or_a_mebibyte)
{
    struct kit_sidecar *k = kit_sidecar((const char *const[]){"(ok, no)", NULL});
    struct call c = {.dir = k->dir.path, .timeout_ms = 20000};
    struct buf file = {0};

    snprintf(c.path, sizeof c.path, "%s/export", k->dir.path);
    buf_str(&file, HEAD);
    for (int i = 0; i < 1001; i++)
        buf_str(&file, UP(1));
    buf_str(&file, END(1001));
    buf_byte(&file, 0);
    write_file(&c, (char *)file.data);
    ck_assert_int_eq(kit_caught(import, &c, said), CLI_DONE);
    char *second = strstr(k->asked, "(batch, [" ASK(1, false) "])\n"); /* the one that is left */
    ck_assert_ptr_nonnull(second);
    ck_assert_str_eq(second, "(batch, [" ASK(1, false) "])\n");
    ck_assert_str_eq(said,
                     "1001 kept, 0 skipped (the sidecar knows something as new), 0 refused\n");
    kit_asked(k, k->asked);
    file.len = 0;
    buf_str(&file, HEAD);
    for (int i = 0; i < 3; i++) {
        buf_printf(&file,
                   "{\"op\": \"upsert\", \"kind\": \"k\", \"document_id\": \"d%d\", \"summary\": "
                   "{\"x\": \"",
                   i);
        for (int n = 0; n < 1 << 16; n++)
            buf_str(&file, "12345678");
        buf_str(&file, "\"}}\n");
    }
    buf_str(&file, END(3));
    buf_byte(&file, 0);
    write_file(&c, (char *)file.data);
    ck_assert_int_eq(kit_caught(import, &c, said), CLI_DONE);
    ck_assert_str_eq(said, "3 kept, 0 skipped (the sidecar knows something as new), 0 refused\n");
    second = strchr(k->asked, '\n') + 1;
    ck_assert_uint_gt((size_t)(second - k->asked), 2 * (8U << 16));
    ck_assert_uint_gt(strlen(second), 8U << 16);
    ck_assert_ptr_null(strstr(second, "'d1'"));
    kit_end(k);
    buf_free(&file);
}

#define CUT  "was cut: its last line is missing; nothing was sent. Export it again\n"
#define NONE "is not an export of a sidecar, or of a newer one\n"

static void check_file(const char *text, const char *why)
{
    struct call c = {.dir = "/nonexistent", .timeout_ms = 1000};
    struct temp_dir d = temp_dir_make();
    char wanted[300];

    snprintf(c.path, sizeof c.path, "%s/export", d.path);
    if (text != NULL)
        write_file(&c, text);
    ck_assert_int_eq(kit_caught(import, &c, said), CLI_ERROR);
    snprintf(wanted, sizeof wanted, "convex_sidecar store import: %s: %s", c.path, why);
    ck_assert_str_eq(said, wanted);
    temp_dir_remove(&d);
}

TEST(a_file_that_is_none_is_said_before_anyone_is_asked)
{
    check_file(NULL, "No such file or directory\n");
    check_file("", NONE);
    check_file("[]\n" END(0), NONE);
    check_file("{\"convex_sidecar_export\": 2}\n" END(0), NONE);
    check_file("{\"convex_sidecar_export\": \"1\"}\n" END(0), NONE);
    check_file(UP(1) END(0), NONE);
    check_file(HEAD UP(1), CUT);
    check_file(HEAD UP(1) END(2), CUT);
    check_file(HEAD UP(1) END(0), CUT);
    check_file(HEAD "{\"end\": true}\n", CUT);
    check_file(HEAD "{\"end\": false, \"lines\": 0}\n", CUT);
    check_file(HEAD "{\"lines\": 0}\n", CUT);
    check_file(HEAD "{\"end\": true, \"lines\": \"0\"}\n", CUT);
}

TEST(a_sidecar_that_is_not_there_or_leaves)
{
    struct temp_dir d = temp_dir_make();
    struct call c = {.dir = "/nonexistent", .timeout_ms = 1000};

    snprintf(c.path, sizeof c.path, "%s/export", d.path);
    write_file(&c, HEAD UP(1) END(1));
    ck_assert_int_eq(kit_caught(import, &c, said), CLI_ABSENT);
    ck_assert_ptr_nonnull(
        strstr(said, "no sidecar answers in /nonexistent: there is no such store"));
    temp_dir_remove(&d);
    check(HEAD UP(
              1) "{\"op\": \"remove\", \"document_id\": \"d3\", \"projected_at\": \"2026\"}\n" UP(2)
              END(3),
          (const char *const[]){"!", NULL}, CLI_ABSENT,
          "convex_sidecar store import: the connection ended before the answer came; see its log\n"
          "0 kept, 0 skipped (the sidecar knows something as new), 0 refused\n",
          "(batch, [" ASK(1, false) "])\n");
    check(HEAD "{\"op\": \"remove\", \"document_id\": \"d3\", \"projected_at\": \"2026\"}\n" UP(2)
              END(2),
          (const char *const[]){"!", NULL}, CLI_ABSENT,
          "convex_sidecar store import: the connection ended before the answer came; see its log\n"
          "0 kept, 0 skipped (the sidecar knows something as new), 0 refused\n",
          "(clear, 'd3', {unless_newer: '2026'})\n");
}

TEST(what_it_cannot_take_now_is_asked_again)
{
    check(HEAD UP(1) UP(2) UP(3) UP(
              4) "{\"op\": \"remove\", \"document_id\": \"d5\", \"projected_at\": \"t\"}\n" END(5),
          (const char *const[]){
              "(ok, [(error, busy), ok, (error, (store, 'full')), (error, draining)])",
              "(error, busy)", "(ok, [ok, (error, busy), ok])", "(ok, [ok])", "(error, busy)",
              "(ok, {cleared: 2})", NULL},
          CLI_DONE, "5 kept, 0 skipped (the sidecar knows something as new), 0 refused\n",
          "(batch, [" ASK(1, false) ", " ASK(2, false) ", " ASK(3, false) ", " ASK(
              4,
              false) "])\n"
                     "(batch, [" ASK(1, false) ", " ASK(3, false) ", " ASK(
                         4,
                         false) "])\n"
                                "(batch, [" ASK(1, false) ", " ASK(3, false) ", " ASK(
                                    4,
                                    false) "])\n"
                                           "(batch, [" ASK(
                                               3,
                                               false) "])\n"
                                                      "(clear, 'd5', {unless_newer: 't'})\n(clear, "
                                                      "'d5', {unless_newer: 't'})\n");
}

TEST(it_waits_no_longer_than_it_is_told)
{
    struct kit_sidecar *k = kit_sidecar((const char *const[]){"(error, busy)", NULL});
    struct call c = {.dir = k->dir.path, .timeout_ms = 300};
    struct timespec began, now;

    snprintf(c.path, sizeof c.path, "%s/export", k->dir.path);
    write_file(&c, HEAD UP(1) END(1));
    clock_gettime(CLOCK_MONOTONIC, &began);
    ck_assert_int_eq(kit_caught(import, &c, said), CLI_ABSENT);
    clock_gettime(CLOCK_MONOTONIC, &now);
    ck_assert_str_eq(said, "convex_sidecar store import: the sidecar has taken nothing for 0 s\n"
                           "0 kept, 0 skipped (the sidecar knows something as new), 0 refused\n");
    ck_assert_int_ge((now.tv_sec - began.tv_sec) * 1000 + (now.tv_nsec - began.tv_nsec) / 1000000,
                     300);
    ck_assert_int_le(k->calls, 1); /* it was asked now and then, not in a circle */
    int asked = 0;
    for (const char *at = k->asked; (at = strchr(at, '\n')) != NULL; at++)
        asked++;
    ck_assert_msg(asked >= 2 && asked <= 20, "%d", asked);
    write_file(&c,
               HEAD "{\"op\": \"remove\", \"document_id\": \"d5\", \"projected_at\": \"t\"}\n" UP(2)
                   END(2));
    ck_assert_int_eq(kit_caught(import, &c, said), CLI_ABSENT);
    ck_assert_str_eq(said, "convex_sidecar store import: the sidecar has taken nothing for 0 s\n"
                           "0 kept, 0 skipped (the sidecar knows something as new), 0 refused\n");
    kit_end(k);
}
