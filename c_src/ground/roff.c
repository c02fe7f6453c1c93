/* roff.c - text for man pages: roff interprets backslashes, dashes, and . or ' at the start of a
 * line.
 */

#include "ground/roff.h"

void roff_put(const char *text, FILE *out)
{
    if (*text == '.' || *text == '\'')
        fputs("\\&", out);
    for (; *text != '\0'; text++)
        if (*text == '\\')
            fputs("\\e", out);
        else if (*text == '-')
            fputs("\\-", out);
        else
            fputc(*text, out);
}
