/*
 * admin_key.c - the Convex admin key.
 *
 * The happy path: the file is opened, its owner and mode are checked, and its one line is read,
 * checked and given to an http handle as the Authorization header.  From then on that handle alone
 * holds the key.
 *
 * What can go wrong: the file is missing, belongs to somebody else, is readable by others, or
 * holds no key.  The fault names the option and the reason, never the key; the key in use stays in
 * use.
 *
 * Every buffer that held the key is wiped.  Any thread that may use the http handle.
 */

#include "convex/admin_key.h"

#include "ground/secret_file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define MAX_KEY_BYTES 4096

/* Read at most ${size} bytes; -1 and errno on failure. */
static ssize_t read_all(int fd, char *out, size_t size)
{
    size_t len = 0;

    while (len < size) {
        ssize_t n = read(fd, out + len, size - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    return (ssize_t)len;
}

/* A key is one word of printable ASCII; NULL, or what is wrong (which never shows the key). */
static const char *key_fault(const char *key, size_t len)
{
    if (len == 0)
        return "holds no key";
    if (len > MAX_KEY_BYTES)
        return "is longer than 4096 bytes";
    for (size_t i = 0; i < len; i++)
        if (key[i] <= ' ' || key[i] > '~')
            return "holds a blank, a control character or one beyond ASCII";
    return NULL;
}

static void use_key(struct http *h, const char *key, size_t len)
{
    char *value = base_alloc(sizeof "Convex " + len);

    memcpy(value, "Convex ", sizeof "Convex " - 1);
    memcpy(value + sizeof "Convex " - 1, key, len);
    http_set_authorization(h, value);
    explicit_bzero(value, sizeof "Convex " + len);
    free(value);
}

/* Take the key of an open file; NULL, or why not. */
static const char *take_key(struct http *h, int fd, const char *path)
{
    char key[MAX_KEY_BYTES + 3]; /* the longest, its line end, and a byte too many */
    const char *why = secret_file_fault(fd, path);
    ssize_t got;

    if (why)
        return why;
    got = read_all(fd, key, sizeof key);
    if (got < 0)
        return "cannot be read";
    size_t len = (size_t)got;
    if (len && key[len - 1] == '\n')
        len--;
    if (len && key[len - 1] == '\r')
        len--;
    why = key_fault(key, len);
    if (why == NULL)
        use_key(h, key, len);
    explicit_bzero(key, sizeof key);
    return why;
}

enum err admin_key_use(struct http *h, const char *key, struct fault *fault)
{
    const char *why = key_fault(key, strlen(key));

    if (why)
        return fault_say(fault, "admin_key", "%s", why);
    use_key(h, key, strlen(key));
    return ERR_OK;
}

enum err admin_key_read(struct http *h, const char *path, struct fault *fault)
{
    /* O_NONBLOCK: a named pipe must not block; whatever is not a regular file is refused below. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    const char *why;

    if (fd < 0)
        return fault_say(fault, "admin_key_file", "cannot be opened: %s", strerror(errno));
    why = take_key(h, fd, path);
    close(fd);
    return why ? fault_say(fault, "admin_key_file", "%s", why) : ERR_OK;
}
