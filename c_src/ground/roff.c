/* roff.c - text for man pages: backslashes and dashes are roff's, so are . and ' that begin a line.
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
