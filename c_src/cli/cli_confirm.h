/* cli_confirm.h - the question before something is lost. */

/* Private to cli/. */

#ifndef CLI_CONFIRM_H
#define CLI_CONFIRM_H

#include "ground/base.h"

struct ask;

/**
 * cli_confirm(store_dir, word, ask):
 * Whether the loss that ${ask} causes is wanted: --yes was given, or the answer on the terminal is
 * yes.  Without a terminal there is no question, and the answer is no.  The question, or why there
 * is none and what to do, goes to standard error.
 */
bool cli_confirm(const char *store_dir, const char *word, const struct ask *ask) MUST_CHECK;

#endif
