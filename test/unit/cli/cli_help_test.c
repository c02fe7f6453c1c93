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
                ck_assert_msg(strlen(line) <= 100, "%zu: %s", strlen(line), line);
        free(text);
    }
}
