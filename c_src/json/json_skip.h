/* json_skip.h - stepping over JSON text without reading it. */

#ifndef JSON_SKIP_H
#define JSON_SKIP_H

#include "ground/base.h"

/** json_skip_string(json, at): Where the string that begins at ${at} has ended; 0: none does. */
size_t json_skip_string(struct slice json, size_t at);

/**
 * json_skip_value(json, at):
 * The comma or brace of the object around it that ends the value which begins at ${at}; 0: none
 * does. A value that is no JSON is not noticed.
 */
size_t json_skip_value(struct slice json, size_t at);

#endif
