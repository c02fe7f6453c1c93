/* cli_tap.h - prints what happens to documents, a line for each event, as it happens. */

/* Private to cli/. */

#ifndef CLI_TAP_H
#define CLI_TAP_H

#include "ground/base.h"
#include "term/term.h"

/**
 * cli_tap_run(store_dir, request, limit_ms, json):
 * Print the parts that ${request} is answered with, until SIGINT or SIGTERM, or for ${limit_ms} (0:
 * no limit).  Returns the exit status.
 */
int cli_tap_run(const char *store_dir, struct slice request, int64_t limit_ms, bool json);

/** cli_tap_put(part, json, out): The events of a part, a line each; with ${json} as JSON. */
void cli_tap_put(term part, bool json, FILE *out);

#endif
