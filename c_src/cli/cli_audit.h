/* cli_audit.h - the word `audit`: progress, then the report. */

/* Private to cli/. */

#ifndef CLI_AUDIT_H
#define CLI_AUDIT_H

#include "ground/base.h"

/**
 * cli_audit_run(store_dir, request, timeout_ms, json):
 * Have the sidecar whose store is ${store_dir} do the audit of ${request} (an encoded term without
 * version byte), show its progress on standard error, and print the report to standard output.
 * SIGINT cancels the audit.  Returns the exit status: 0 everything was compared and nothing
 * differs; 1 something differs, or the audit stopped or was refused; 3 the sidecar does not answer
 * (any more).
 */
int cli_audit_run(const char *store_dir, struct slice request, int64_t timeout_ms, bool json);

#endif
