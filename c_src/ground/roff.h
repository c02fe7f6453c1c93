/* roff.h - text for man pages. */

#ifndef ROFF_H
#define ROFF_H

#include "ground/base.h"

/** roff_put(text, out): ${text}, which may begin a line, so that man shows it as it is. */
void roff_put(const char *text, FILE *out);

#endif
