/*
 * cli.c - the words of the command line that speak to a running sidecar.
 *
 * The happy path: the word and its arguments become a request (cli_words), the sidecar in the
 * store's folder is asked (cli_client), and the answer printed (cli_print).  A word that loses
 * something asks first (cli_confirm).
 *
 * What can go wrong: wrong usage (exit status 2, with a pointer to the word's help); no sidecar
 * running, not permitted, or no answer (3); an answer that is an error (1).  Each is reported once
 * on standard error, with what to do.
 *
 * One thread, one call, then the end; rebuild alone makes many (cli_rebuild).
 */

#include "cli/cli.h"

#include "cli/cli_audit.h"
#include "cli/cli_client.h"
#include "cli/cli_confirm.h"
#include "cli/cli_help.h"
#include "cli/cli_print.h"
#include "cli/cli_rebuild.h"
#include "cli/cli_store.h"
#include "cli/cli_tap.h"
#include "cli/cli_top.h"
#include "cli/cli_words.h"
#include "config/config.h"
#include "ground/buf.h"

#include <errno.h>
#include <signal.h>

static int rebuild(const struct config *c, const struct ask *ask)
{
    const struct cli_rebuild_options options = {.path = ask->from,
                                                .first_line = (uint64_t)ask->from_line,
                                                .lower = ask->lower,
                                                .dry_run = ask->dry_run,
                                                .json = ask->json,
                                                .timeout_ms = ask->timeout_ms};

    return cli_rebuild_run(c->store_dir, &options);
}

static int ask_sidecar(const struct config *c, const struct ask *ask)
{
    struct buf message = {0};
    struct fault fault = {0};
    term answer;
    int status;

    enum err e = cli_client_call(c->store_dir, buf_view(&ask->request), ask->timeout_ms, &message,
                                 &answer, &fault);
    if (e == ERR_OK) {
        status = cli_print_answer(answer, ask->json, stdout, stderr) ? CLI_DONE : CLI_ERROR;
    } else {
        cli_print_absent(c->store_dir, &fault, stderr);
        status = CLI_ABSENT;
    }
    if (fflush(stdout) != 0 && status == CLI_DONE) {
        fprintf(stderr, "convex_sidecar: the answer cannot be written: %s\n", strerror(errno));
        status = CLI_ERROR;
    }
    buf_free(&message);
    return status;
}

static int obey(const struct config *c, const struct ask *ask)
{
    if (ask->from != NULL)
        return rebuild(c, ask);
    if (ask->top) {
        const struct cli_top_options options = {buf_view(&ask->request), ask->timeout_ms,
                                                ask->looks, ask->json};
        return cli_top_run(c->store_dir, &options);
    }
    if (ask->tap)
        return cli_tap_run(c->store_dir, buf_view(&ask->request), ask->timeout_ms, ask->json);
    if (ask->audit)
        return cli_audit_run(c->store_dir, buf_view(&ask->request), ask->timeout_ms, ask->json);
    return ask_sidecar(c, ask);
}

int cli_run(const struct config *c, const char *word, int argc, char **argv)
{
    struct ask ask;
    char why[200] = "";

    if (strcmp(word, "store") == 0)
        return cli_store_run(c->store_dir, argc, argv);
    enum err e = cli_words_parse(word, argc, argv, &ask, why, sizeof why);
    if (e == ERR_NOT_FOUND) {
        fprintf(stderr,
                "convex_sidecar: unknown command \"%s\"; next: convex_sidecar help lists the "
                "commands\n",
                word);
        return CLI_USAGE;
    }
    if (e != ERR_OK) {
        fprintf(stderr, "convex_sidecar %s: %s; next: convex_sidecar %s --help\n", word, why, word);
        return CLI_USAGE;
    }
    signal(SIGPIPE, SIG_IGN); /* a closed standard output is an error to report */
    int status = CLI_USAGE;
    if (ask.loss == NULL || cli_confirm(c->store_dir, word, &ask))
        status = obey(c, &ask);
    cli_words_free(&ask);
    return status;
}

bool cli_help(const char *word, FILE *out)
{
    return cli_help_word(word, out);
}
