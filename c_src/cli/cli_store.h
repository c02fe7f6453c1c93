/* cli_store.h - the words of the command line for a store. */

/* Private to cli/. */

#ifndef CLI_STORE_H
#define CLI_STORE_H

#include "ground/base.h"

/**
 * cli_store_run(dir, argc, argv):
 * Do what argv[0] says ("check", "dump", "repair", "export", "import", "migrate", "drop-old") with
 * the store in ${dir}, and print the outcome.  Returns the exit status: 0 done, and the store is
 * sound; 1 damage was found, or it failed; 2 wrong usage; 3 no sidecar is running (import).
 */
int cli_store_run(const char *dir, int argc, char **argv);

#endif
