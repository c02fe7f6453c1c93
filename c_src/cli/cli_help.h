/* cli_help.h - what the words take and do: --help, the man pages, the completion. */

/* Private to cli/. */

#ifndef CLI_HELP_H
#define CLI_HELP_H

#include "ground/base.h"

/** cli_help_word(word, out): Print what ${word} does and takes; NULL: all words.  False: it is
 * unknown.
 */
bool cli_help_word(const char *word, FILE *out);

/** cli_help_man(out): convex_sidecar(1), in man(7). */
void cli_help_man(FILE *out);
/** cli_help_completion(out): What bash needs to complete a command line. */
void cli_help_completion(FILE *out);

#endif
