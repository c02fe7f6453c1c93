/* cli.h - the words of the command line that speak to a running sidecar. */

#ifndef CLI_H
#define CLI_H

#include "ground/base.h"

struct config;

/* Exit statuses, of every word; a sentence each for help and the man page. */
#define CLI_STATUS_LIST(X)                                                                         \
    X(CLI_DONE, "done; audit and store check: nothing differs")                                    \
    X(CLI_ERROR, "the sidecar answered an error; audit: something differs; preflight: something "  \
                 "is refused; store check: it is damaged; rebuild: some was not taken")            \
    X(CLI_USAGE, "wrong usage, a fault in the configuration, or a question that was not answered " \
                 "with yes")                                                                       \
    X(CLI_ABSENT, "no sidecar there, or no answer in time")                                        \
    X(CLI_UNKNOWN, "audit, preflight and store check: it could not be found out, or not to the "   \
                   "end")

enum cli_status {
#define X(name, text) name,
    CLI_STATUS_LIST(X)
#undef X
};

/**
 * cli_run(c, word, argc, argv):
 * Ask the running sidecar whose store is ${c}->store_dir: send the request that ${word} (of
 * words.def) and its ${argv} stand for, print the answer as text (or JSON with --json).  Returns
 * the exit status; what is wrong goes to standard error.  A word that loses something asks first,
 * on a terminal (cli_confirm.h).  ${c} need not be finished.
 */
int cli_run(const struct config *c, const char *word, int argc, char **argv);

/** cli_help(word, out): Print what ${word} does and takes; NULL: all words.  False: it is unknown.
 */
bool cli_help(const char *word, FILE *out);

#endif
