/* cli_store.h - the words of the command line for a store whose sidecar does not run. */

/* Private to cli/. */

#ifndef CLI_STORE_H
#define CLI_STORE_H

#include "ground/base.h"

/**
 * cli_store_run(dir, argc, argv):
 * Do "check", "dump" or "repair" with the store in ${dir}, and print what came of it.  Returns the
 * exit status: 0 the store is sound, or dumped, or repaired; 1 damage was found, or it failed; 2
 * wrong usage.
 */
int cli_store_run(const char *dir, int argc, char **argv);

#endif
