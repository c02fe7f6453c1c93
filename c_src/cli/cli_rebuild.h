/* cli_rebuild.h - rebuilds documents from a file of event history, through a running sidecar. */

/* Private to cli/. */

#ifndef CLI_REBUILD_H
#define CLI_REBUILD_H

#include "ground/base.h"

struct cli_rebuild_options {
    const char *path;    /* "-": standard input */
    uint64_t first_line; /* from 1: lines before it are skipped */
    bool lower;          /* documents may go below what the sidecar has */
    bool dry_run;        /* only read the file */
    bool json;           /* the summary as JSON */
    int64_t timeout_ms;  /* without an answer, or with only busy answers */
};

/**
 * cli_rebuild_run(store_dir, options):
 * Read the history and have the sidecar whose store is ${store_dir} project each entity again.
 * Progress and refusals go to standard error, the summary to standard output.  Returns the exit
 * status: 0 everything was taken; 1 something was not, or SIGINT or SIGTERM stopped it; 3 the
 * sidecar does not answer (any more).
 */
int cli_rebuild_run(const char *store_dir, const struct cli_rebuild_options *options);

#endif
