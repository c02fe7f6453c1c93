/* roff.h - text for man pages. */

#ifndef ROFF_H
#define ROFF_H

#include "ground/base.h"

/** roff_put(text, out): Print ${text}, escaped, so that man shows it unchanged; it may begin a
 * line. */
void roff_put(const char *text, FILE *out);

#endif
