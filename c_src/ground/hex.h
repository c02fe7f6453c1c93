/* hex.h - bytes as hexadecimal digits, and back. */

#ifndef HEX_H
#define HEX_H

#include "ground/base.h"

/** hex_put(bytes, len, out): Two lower-case digits a byte, and a terminator, into ${out}. */
void hex_put(const uint8_t *bytes, size_t len, char *out);
/** hex_parse(text, bytes, len): Whether ${text} is exactly ${len} bytes in lower-case hexadecimal;
 * if so, ${bytes} is set. */
bool hex_parse(struct slice text, uint8_t *bytes, size_t len);

#endif
