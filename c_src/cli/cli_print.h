/* cli_print.h - a sidecar's answer for people (aligned text, tables) or for programs (JSON). */

/* Private to cli/. */

#ifndef CLI_PRINT_H
#define CLI_PRINT_H

#include "ground/base.h"
#include "term/term.h"

/**
 * cli_print_answer(answer, json, out, err):
 * Print {ok, Value} to ${out}: an atom as a word, a map as aligned "key value" lines, a list of
 * maps as a table; with ${json} as one line of JSON.  {error, Reason} goes to ${err} as a sentence,
 * and with ${json} to ${out} as {"error": ...}.  Whether it was an ok.
 */
bool cli_print_answer(term answer, bool json, FILE *out, FILE *err);

/** cli_print_text(text, out): ${text}, with control characters escaped. */
void cli_print_text(struct slice text, FILE *out);

/** cli_print_json(t, out): ${t} as JSON, escaped likewise. */
void cli_print_json(term t, FILE *out);

/** cli_print_absent(store_dir, fault, out): That no sidecar answers in ${store_dir}, and why. */
void cli_print_absent(const char *store_dir, const struct fault *fault, FILE *out);

#endif
