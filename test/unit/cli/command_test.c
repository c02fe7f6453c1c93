/* command_test.c - the command line before a word's own arguments.  What it prints goes to the
 * program's own output; the texts are cli_words_test's and the ExUnit tests'. */

#include "cli/cli.h"
#include "cli/command.h"

#include "test.h"

#define ARGUMENTS_MAX 16

/* command_read of the blank-separated ${line}; ${words} holds what ${k} borrows. */
static bool read_line(const char *line, char words[200], struct command *k, int *status)
{
    char *argv[ARGUMENTS_MAX] = {(char *)(uintptr_t) "convex_sidecar"};
    static char *kept[ARGUMENTS_MAX];
    int argc = 1;

    snprintf(words, 200, "%s", line);
    for (char *w = strtok(words, " "); w != NULL && argc < ARGUMENTS_MAX; w = strtok(NULL, " "))
        argv[argc++] = w;
    memcpy(kept, argv, sizeof kept);
    return command_read(argc, kept, k, status);
}

TEST(options_of_all_words_are_taken_wherever_they_stand)
{
    char words[200];
    struct command k;
    int status;

    ck_assert(read_line("dead --store /s show --config c.ini id --json", words, &k, &status));
    ck_assert(command_is(&k, "dead") && !command_is(&k, "run"));
    ck_assert_str_eq(k.store_dir, "/s");
    ck_assert_str_eq(k.config_file, "c.ini");
    ck_assert(!k.managed);
    ck_assert_int_eq(k.argc, 3);
    ck_assert_str_eq(k.argv[0], "show");
    ck_assert_str_eq(k.argv[1], "id");
    ck_assert_str_eq(k.argv[2], "--json");

    ck_assert(read_line("run --managed", words, &k, &status));
    ck_assert(command_is(&k, "run") && k.managed);
    ck_assert_int_eq(k.argc, 0);
    ck_assert_ptr_null(k.store_dir);
    ck_assert_ptr_null(k.config_file);
    ck_assert(read_line("frob", words, &k, &status)); /* cli_run knows the words */
}

TEST(wrong_usage_is_status_2)
{
    static const char *const lines[] = {"run --config", "status --store",
                                        "run now",      "check-config a --managed",
                                        "frob --help",  "help frob"};
    char words[200];
    struct command k;

    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        int status = -1;
        ck_assert_msg(!read_line(lines[i], words, &k, &status), "%s", lines[i]);
        ck_assert_int_eq(status, CLI_USAGE);
    }
}

TEST(help_and_version_are_answered_at_once)
{
    static const char *const lines[] = {
        "",        "help",      "--help",    "-h", "run --help", "status -h", "run --config --help",
        "version", "--version", "help clear"};
    char words[200];
    struct command k;

    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        int status = -1;
        ck_assert_msg(!read_line(lines[i], words, &k, &status), "%s", lines[i]);
        ck_assert_int_eq(status, CLI_DONE);
    }
}
