/* command_test.c - the command line before a word's own arguments.  What it prints goes to the
 * program's own output; the texts are cli_words_test's and the ExUnit tests'. */

#include "cli/cli.h"
#include "cli/command.h"

#include "cli_kit.h"

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

/* ---- what is said ------------------------------------------------------------------ */

static int run_line(void *arg)
{
    char words[200];
    struct command k;
    int status;

    return read_line(arg, words, &k, &status) ? 50 : status;
}

/* ${line} ends with ${status}, and with words that begin with ${begin}. */
static void says(const char *line, int status, const char *begin)
{
    static char said[KIT_SCREEN];
    char copy[200];

    snprintf(copy, sizeof copy, "%s", line);
    ck_assert_int_eq(kit_caught(run_line, copy, said), status);
    ck_assert_msg(strncmp(said, begin, strlen(begin)) == 0, "%s", said);
}

TEST(what_is_wrong_is_said_in_one_or_two_lines)
{
    says("version", CLI_DONE, "convex_sidecar " SIDECAR_VERSION "\n");
    says("--version", CLI_DONE, "convex_sidecar " SIDECAR_VERSION "\n");
    says("run --config", CLI_USAGE, "usage: convex_sidecar run [--managed] [OPTION]...\n");
    says("status --store", CLI_USAGE, "usage: convex_sidecar status [OPTION]...\n");
    says("run now", CLI_USAGE,
         "convex_sidecar run: \"now\" is not understood\nusage: convex_sidecar run [--managed]");
    says("run --help", CLI_DONE, "usage: convex_sidecar run [--managed] [OPTION]...\n");
    says("help run", CLI_DONE, "usage: convex_sidecar run [--managed] [OPTION]...\n");
    says("help", CLI_DONE, "usage: convex_sidecar COMMAND [ARGUMENT]...");
    says("-h", CLI_DONE, "usage: convex_sidecar COMMAND [ARGUMENT]...");
    says("", CLI_DONE, "usage: convex_sidecar COMMAND [ARGUMENT]...");
    says(
        "frob --help", CLI_USAGE,
        "convex_sidecar: unknown command \"frob\"; next: convex_sidecar help lists the commands\n");
    says(
        "help frob", CLI_USAGE,
        "convex_sidecar: unknown command \"frob\"; next: convex_sidecar help lists the commands\n");
}
