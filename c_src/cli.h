/* cli.h - the words of the command line that speak to a running sidecar. */

#ifndef CLI_H
#define CLI_H

#include "base.h"

struct config;

/**
 * cli_run(c, word, argc, argv):
 * Connect to the sidecar that ${c} describes as a C node of its own, send the request that ${word}
 * (status, flush, pause, resume, drain, reload, checkpoint, dead) and its ${argv} stand for, print
 * the answer as text (or JSON with --json).  Returns the exit status: 0 done, 1 the sidecar
 * answered an error, 2 wrong usage, 3 no sidecar there.
 */
int cli_run(const struct config *c, const char *word, int argc, char **argv);

/** cli_help(word, out): What ${word} does and takes; NULL: all words.  False for an unknown one. */
bool cli_help(const char *word, FILE *out);

#endif
