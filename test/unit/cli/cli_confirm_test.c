/* cli_confirm_test.c - what cannot be undone is asked for, on a terminal. */

#include "cli/cli_confirm.h"

#include "cli_kit.h"
#include "cli/cli_words.h"

struct call {
    const char *dir, *word;
    struct ask ask;
};

static int confirm(void *arg)
{
    struct call *c = arg;

    return cli_confirm(c->dir, c->word, &c->ask) ? 7 : 8;
}

static void put_preview(struct call *c)
{
    c->ask.preview.len = 0;
    term_put_atom(&c->ask.preview, "look");
}

TEST(without_a_terminal_nothing_is_asked)
{
    static char said[KIT_SCREEN];
    struct call c = {"/nonexistent", "clear", {.loss = "forgets them"}};

    ck_assert_int_eq(kit_caught(confirm, &c, said), 8);
    ck_assert_str_eq(
        said,
        "convex_sidecar clear: this forgets them, and there is no terminal to ask on; nothing was "
        "done; next: give --yes, or --dry-run to see what it would do\n");
    c.word = "dead";
    ck_assert_int_eq(kit_caught(confirm, &c, said), 8);
    ck_assert_str_eq(
        said,
        "convex_sidecar dead: this forgets them, and there is no terminal to ask on; nothing was "
        "done; next: give --yes\n");
    c.ask.yes = true;
    ck_assert_int_eq(kit_caught(confirm, &c, said), 7);
    ck_assert_str_eq(said, "");
}

/* The terminal is asked, ${answer} typed; what stands there then. */
static void check(struct call *c, const char *answer, int status, const char *wanted)
{
    static char said[KIT_SCREEN];
    char keys[40];
    const char *const input[] = {keys, NULL};

    snprintf(keys, sizeof keys, "[y/N] |%s", answer);
    ck_assert_int_eq(kit_terminal(confirm, c, input, said), status);
    /* What was typed is echoed by the terminal. */
    char *echo = strstr(said, "[y/N] ");
    ck_assert_ptr_nonnull(echo);
    ck_assert_msg(strncmp(said, wanted, strlen(wanted)) == 0, "%s", said);
    ck_assert_msg((strstr(echo, "Nothing was done.\n") != NULL) == (status == 8), "%s", said);
}

static int half; /* the descriptor that is no terminal */

static int confirm_by_half(void *arg)
{
    int nothing = open("/dev/null", O_RDWR);

    dup2(nothing, half);
    return confirm(arg);
}

TEST(half_a_terminal_is_none)
{
    static char said[KIT_SCREEN];
    struct call c = {"/nonexistent", "clear", {.loss = "forgets them"}};

    for (half = 0; half <= 2; half += 2) {
        ck_assert_int_eq(kit_terminal(confirm_by_half, &c, NULL, said), 8);
        ck_assert_ptr_null(strstr(said, "Go on?"));
    }
}

TEST(a_terminal_is_asked_and_told_how_many)
{
    static const char *const answers[] = {"(ok, {would_clear: 12})", NULL},
                             *const odd[] = {"(ok, 12)", NULL},
                             *const none[] = {"(error, {would_clear: 12})", NULL};
    struct kit_sidecar *k = kit_sidecar(answers);
    struct call c = {k->dir.path, "clear", {.loss = "forgets documents", .timeout_ms = 10000}};

    check(&c, "y\n", 7, "This forgets documents.  Go on? [y/N] ");
    kit_asked(k, "");
    put_preview(&c);
    check(&c, "Y\n", 7, "This forgets documents: 12 of them.  Go on? [y/N] ");
    kit_asked(k, "look\n");
    check(&c, "n\n", 8, "This forgets documents: 12 of them.  Go on? [y/N] ");
    check(&c, "\n", 8, "This forgets documents: 12 of them.  Go on? [y/N] ");
    check(&c, "\004", 8, "This forgets documents: 12 of them.  Go on? [y/N] ");
    k->answers = odd;
    check(&c, "y\n", 7, "This forgets documents.  Go on? [y/N] ");
    k->answers = none;
    check(&c, "y\n", 7, "This forgets documents.  Go on? [y/N] ");
    buf_free(&c.ask.preview);
    kit_end(k);
}
