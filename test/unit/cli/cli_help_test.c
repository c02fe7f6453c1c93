/* cli_help_test.c - --help, the man page and the completion say what words.def says. */

#include "cli/cli_help.h"
#include "cli/cli_words.h"

#include "test.h"
#include "manual.h"

static char *printed(void (*print)(FILE *))
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    print(out);
    fclose(out);
    return text;
}

/* TEST_UPDATE=1 writes them anew. */
TEST(the_man_page_and_the_completion_are_printed)
{
    char *text = printed(cli_help_man);
    manual_is("docs/man/convex_sidecar.1", text, "build/cli/cli_help_test");
    free(text);
    text = printed(cli_help_completion);
    ck_assert_ptr_nonnull(strstr(text,
                                 "can=\"check dump repair --anyway export import migrate --to "
                                 "drop-old --yes --config"));
    ck_assert_ptr_nonnull(strstr(text, "can=\"list show retry --all drop --yes --json"));
    manual_is("priv/convex_sidecar.bash-completion", text, "build/cli/cli_help_test");
    free(text);
}

/* An option that no word's line shows can never be given. */
TEST(every_option_is_shown_by_a_word)
{
    const struct cli_option *o;
    const struct cli_word *w;

    for (size_t i = 0; (o = cli_words_option_at(i)) != NULL; i++) {
        bool is_shown = strcmp(o->name, "--json") == 0 || strcmp(o->name, "--timeout") == 0;
        for (size_t k = 0; (w = cli_words_at(k)) != NULL; k++)
            is_shown = is_shown || cli_words_takes(w->takes, o->name);
        ck_assert_msg(is_shown, "%s", o->name);
    }
    ck_assert(!cli_words_takes("--from FILE [--from-line N]", "--from-li"));
    ck_assert(!cli_words_takes("--from-line N", "--from"));
    ck_assert(cli_words_takes("[--from-line N] --from FILE", "--from"));
}

TEST(help_is_as_wide_as_a_terminal)
{
    const struct cli_word *w;

    for (size_t k = 0; (w = cli_words_at(k)) != NULL; k++) {
        char *text = NULL, *rest;
        size_t len = 0;
        FILE *out = open_memstream(&text, &len);
        ck_assert(cli_help_word(w->name, out));
        fclose(out);
        rest = text;
        for (char *line; (line = strsep(&rest, "\n")) != NULL;)
            if (strncmp(line, "usage:", 6) != 0)
                ck_assert_msg(strlen(line) <= 92, "%zu: %s", strlen(line), line);
        free(text);
    }
}

/* ${word}'s help; NULL: all of it. */
static char *help_of(const char *word)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    ck_assert(cli_help_word(word, out));
    fclose(out);
    return text;
}

#define BOTH                                                                                       \
    "  --config FILE      read this configuration file\n"                                          \
    "  --store DIR        the store's directory (option store.dir)\n"
#define COMMON                                                                                     \
    "  --json             print the answer as JSON\n"                                              \
    "  --timeout SECONDS  wait this long for the sidecar (default: 5, or 5 more than it waits)\n"

TEST(a_words_help_is_this)
{
    char *text = help_of("clear"), *at = strstr(text, "\n\n  --json");

    ck_assert_int_eq(strncmp(text,
                             "usage: convex_sidecar clear ID | --kind KIND | --all [--dry-run] "
                             "[--yes] [OPTION]...\n\nRemove documents ",
                             100),
                     0);
    ck_assert_ptr_nonnull(at);
    *strstr(at, "\nExit status:") = '\0';
    ck_assert_str_eq(at, "\n\n" COMMON "  --kind KIND        only documents of this kind\n"
                         "  --all              all documents\n"
                         "  --dry-run          say what would be done, and do nothing\n"
                         "  --yes              do not ask\n" BOTH);
    at += strlen(at) + 1;
    ck_assert_int_eq(strncmp(at, "Exit status:\n  0  done; ", 23), 0);
    ck_assert_ptr_nonnull(
        strstr(at, "\n  4  audit, preflight and store check: it could not be found out, or not to "
                   "the end\n\nExample: convex_sidecar clear "));
    free(text);
    text = help_of("version");
    ck_assert_int_eq(
        strncmp(text,
                "usage: convex_sidecar version [OPTION]...\n\nPrint the version.\n\n" BOTH
                "\nExit status:\n",
                strlen("usage: convex_sidecar version [OPTION]...\n\nPrint the version.\n\n" BOTH)),
        0);
    free(text);
    text = help_of(NULL);
    ck_assert_int_eq(strncmp(text,
                             "usage: convex_sidecar COMMAND [ARGUMENT]... [--config FILE] [--store "
                             "DIR]\n\n  run           Run the sidecar until SIGTERM or SIGINT\n",
                             120),
                     0);
    ck_assert_ptr_nonnull(strstr(text, "\n  version       Print the version\n"));
    ck_assert_ptr_nonnull(strstr(text, "\n\nconvex_sidecar help COMMAND says more.  "));
    free(text);
}

/* The next line begins where a word does not fit, after as many blanks as it should. */
TEST(lines_are_as_long_as_they_can_be)
{
    const struct cli_word *w;

    for (size_t k = 0; (w = cli_words_at(k)) != NULL; k++) {
        char *text = help_of(w->name), *rest = text, *line, *next;
        strsep(&rest, "\n");
        strsep(&rest, "\n");
        for (line = strsep(&rest, "\n"); (next = strsep(&rest, "\n")) != NULL && *next != '\0';
             line = next)
            ck_assert_msg(strlen(line) + 1 + strcspn(next, " ") > 92, "%s", line);
        free(text);
    }
}
