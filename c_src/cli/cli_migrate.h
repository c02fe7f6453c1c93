/* cli_migrate.h - store migrate and drop-old. */

/* Private to cli/. */

#ifndef CLI_MIGRATE_H
#define CLI_MIGRATE_H

#include "ground/base.h"

/** cli_migrate(dir, to): Bring the store in ${dir} to format ${to}, and print what was done. */
int cli_migrate(const char *dir, unsigned to);

/** cli_migrate_drop_old(dir, is_sure): Remove the stores that migrations have kept in ${dir}, after
 * naming them and, unless ${is_sure}, asking on the terminal. */
int cli_migrate_drop_old(const char *dir, bool is_sure);

/** cli_migrate_print_old(dir): A line for each of them. */
void cli_migrate_print_old(const char *dir);

#endif
