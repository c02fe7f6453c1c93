/* admin_key.h - the Convex admin key: checked, and given to an http handle, which alone keeps it.
 */

#ifndef ADMIN_KEY_H
#define ADMIN_KEY_H

#include "convex/http.h"

/**
 * admin_key_use(h, key, fault):
 * Have ${h} send ${key} with every call from now on.  ERR_INVALID: the key is malformed; ${fault}
 * says what is wrong and never shows the key.
 */
enum err admin_key_use(struct http *h, const char *key, struct fault *fault) MUST_CHECK;
/**
 * admin_key_read(h, path, fault):
 * The same for the key in a file: one line, in a file that nobody else can reach (secret_file.h).
 * ERR_INVALID: ${fault} says why; the old key stays in use.
 */
enum err admin_key_read(struct http *h, const char *path, struct fault *fault) MUST_CHECK;

#endif
