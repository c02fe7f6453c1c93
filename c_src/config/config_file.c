/*
 * config_file.c - reads a small file whole: a configuration, a cookie.
 *
 * The size is checked before the content is used.  The file may hold secrets: whatever was read is
 * wiped when it is returned or refused.  An error is a sentence for a fault that names the file.
 *
 * Start-up only, one thread.
 */

#include "config/config_file.h"

#include <errno.h>
#include <unistd.h>

char *config_file_read(int fd, size_t max, const char **why)
{
    char *text = base_alloc(max + 2);
    size_t len = 0;
    ssize_t n;

    while (len <= max && (n = read(fd, text + len, max + 1 - len)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            *why = strerror(errno);
            goto fail;
        }
        len += (size_t)n;
    }
    *why = len > max ? "is too large" : "holds a NUL byte";
    if (len <= max && memchr(text, '\0', len) == NULL)
        return text;
fail:
    explicit_bzero(text, len);
    free(text);
    return NULL;
}

void config_file_wipe(char *text)
{
    if (text == NULL)
        return;
    explicit_bzero(text, strlen(text));
    free(text);
}
