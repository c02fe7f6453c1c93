/* cli_confirm.h - the question before something is lost. */

/* Private to cli/. */

#ifndef CLI_CONFIRM_H
#define CLI_CONFIRM_H

#include "ground/base.h"

struct ask;

/**
 * cli_confirm(store_dir, word, ask):
 * Whether what ${ask} loses is wanted: it was said with --yes, or is answered yes on the terminal.
 * Without a terminal nobody is asked, and the answer is no.  The question, or why there is none,
 * goes to standard error; so does what to do.
 */
bool cli_confirm(const char *store_dir, const char *word, const struct ask *ask) MUST_CHECK;

#endif
