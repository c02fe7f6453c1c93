/* secret_file.h - whether a file is fit to hold a secret. */

#ifndef SECRET_FILE_H
#define SECRET_FILE_H

#include "ground/base.h"

/**
 * secret_file_fault(fd, path):
 * Whether nobody else can access the contents of the file ${fd}, opened as ${path}: NULL if so,
 * else a clause that says why not and what to do (static text).
 */
const char *secret_file_fault(int fd, const char *path);

#endif
