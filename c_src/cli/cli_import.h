/* cli_import.h - an export handed to a running sidecar. */

/* Private to cli/. */

#ifndef CLI_IMPORT_H
#define CLI_IMPORT_H

#include "ground/base.h"

/**
 * cli_import_run(store_dir, path, timeout_ms):
 * Hand the lines of the file ${path} to the sidecar of ${store_dir} as ordinary messages, and
 * print how many it kept, skipped because it knows something as new, and refused.  Returns the
 * exit status: 0 all were taken, 1 some were refused or the file is incomplete (then nothing is
 * sent), 3 no sidecar is running.
 */
int cli_import_run(const char *store_dir, const char *path, int64_t timeout_ms);

#endif
