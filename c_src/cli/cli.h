/* cli.h - the words of the command line that speak to a running sidecar. */

#ifndef CLI_H
#define CLI_H

#include "ground/base.h"

struct config;

/* Exit statuses, of every word. */
enum { CLI_DONE = 0, CLI_ERROR = 1, CLI_USAGE = 2, CLI_ABSENT = 3 };

/**
 * cli_run(c, word, argc, argv):
 * Ask the running sidecar whose store is ${c}->store_dir: send the request that ${word} (status,
 * flush, pause, resume, drain, reload, checkpoint, clear, dead, audit, rebuild) and its ${argv}
 * stand for, print the answer as text (or JSON with --json).  Returns the exit status: 0 done, 1
 * the sidecar answered an error, 2 wrong usage, 3 no sidecar there; what is wrong goes to standard
 * error.  ${c} need not be finished.
 */
int cli_run(const struct config *c, const char *word, int argc, char **argv);

/** cli_help(word, out): What ${word} does and takes; NULL: all words.  False for an unknown one. */
bool cli_help(const char *word, FILE *out);

#endif
