/* config_file.h - reads a small file whole. */

/* Private to config/. */

#ifndef CONFIG_FILE_H
#define CONFIG_FILE_H

#include "ground/base.h"

/**
 * config_file_read(fd, max, why):
 * The rest of ${fd}, returned, terminated, the caller's to free.  NULL: it cannot be read, has more
 * than ${max} bytes, or holds a NUL; ${why} says which.
 */
char *config_file_read(int fd, size_t max, const char **why);

/** config_file_wipe(text): Wipe and free what config_file_read gave; NULL is harmless. */
void config_file_wipe(char *text);

#endif
