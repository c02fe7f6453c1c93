/*
 * command.c - the command line before a word's own arguments.
 *
 * The happy path: --config, --store and --managed are taken out, wherever they are; the word and
 * the rest are left.  Help and version are answered at once.
 *
 * What can go wrong: an unknown word beside --help, an option without its value, arguments for a
 * word that takes none.  Each is reported on standard error, and the exit status is 2.
 *
 * Pure but for what it prints.
 */

#include "cli/command.h"

#include "cli/cli.h"

static bool is_one_of(const char *text, const char *a, const char *b)
{
    return strcmp(text, a) == 0 || strcmp(text, b) == 0;
}

bool command_is(const struct command *k, const char *word)
{
    return strcmp(k->word, word) == 0;
}

static void print_usage(const char *word)
{
    if (!cli_help(word, stderr))
        fprintf(stderr,
                "convex_sidecar: unknown command \"%s\"; next: convex_sidecar help lists the "
                "commands\n",
                word);
}

/* Take --config FILE, --store DIR and --managed out of the arguments; false: one lacks its value.
 */
static bool take_options(struct command *k)
{
    int left = 0;

    for (int i = 0; i < k->argc; i++) {
        const char **value = strcmp(k->argv[i], "--config") == 0  ? &k->config_file
                             : strcmp(k->argv[i], "--store") == 0 ? &k->store_dir
                                                                  : NULL;
        if (value && i + 1 < k->argc)
            *value = k->argv[++i];
        else if (value)
            return false;
        else if (strcmp(k->argv[i], "--managed") == 0)
            k->managed = true;
        else
            k->argv[left++] = k->argv[i];
    }
    k->argc = left;
    return true;
}

static bool asks_for_help(const struct command *k)
{
    for (int i = 0; i < k->argc; i++)
        if (is_one_of(k->argv[i], "--help", "-h"))
            return true;
    return false;
}

static bool print_version(void)
{
    return printf("convex_sidecar %s\n", SIDECAR_VERSION) > 0;
}

/* These have no arguments of their own, and cli_run does not check them. */
static bool takes_none(const struct command *k)
{
    return command_is(k, "run") || command_is(k, "check-config") || command_is(k, "preflight");
}

bool command_read(int argc, char **argv, struct command *k, int *status)
{
    *k = (struct command){
        .word = argc > 1 ? argv[1] : "--help", .argc = argc > 2 ? argc - 2 : 0, .argv = argv + 2};
    *status = CLI_USAGE;
    if (is_one_of(k->word, "--help", "-h") || command_is(k, "help")) {
        const char *about = k->argc > 0 ? k->argv[0] : NULL;
        if (cli_help(about, stdout))
            *status = CLI_DONE;
        else
            print_usage(about);
    } else if (asks_for_help(k)) {
        if (cli_help(k->word, stdout))
            *status = CLI_DONE;
        else
            print_usage(k->word);
    } else if (is_one_of(k->word, "version", "--version")) {
        *status = print_version() ? CLI_DONE : CLI_ERROR;
    } else if (!take_options(k)) {
        print_usage(k->word);
    } else if (takes_none(k) && k->argc > 0) {
        fprintf(stderr, "convex_sidecar %s: \"%s\" is not understood\n", k->word, k->argv[0]);
        print_usage(k->word);
    } else {
        return true;
    }
    return false;
}
