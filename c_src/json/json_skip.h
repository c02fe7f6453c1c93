/* json_skip.h - skipping over JSON text without parsing it. */

#ifndef JSON_SKIP_H
#define JSON_SKIP_H

#include "ground/base.h"

/** json_skip_string(json, at): The offset after the string that begins at ${at}; 0: it does not
 * end. */
size_t json_skip_string(struct slice json, size_t at);

/**
 * json_skip_value(json, at):
 * The offset of the comma, or of the enclosing object's brace, that ends the value which begins at
 * ${at}; 0: it does not end.  It does not notice that a value is not JSON.
 */
size_t json_skip_value(struct slice json, size_t at);

#endif
