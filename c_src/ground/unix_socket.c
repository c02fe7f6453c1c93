/*
 * unix_socket.c - a socket in a folder.
 *
 * The happy path: the listener removes the socket of an earlier one and binds to
 * /proc/self/fd/FOLDER/NAME; the socket's mode is set before it has a name, so it is never
 * accessible to others.  The other end opens the name without following a link, checks that it is a
 * socket and who owns it, and connects to /proc/self/fd/THAT: exactly what it has checked.
 *
 * What can go wrong: a file system without sockets, no /proc, no permission.  errno says which.
 *
 * Any thread.
 */

#include "ground/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 32

/* Close ${fd} and leave errno as it is; -1. */
static int give_up(int fd)
{
    int error = errno;

    close(fd);
    errno = error;
    return -1;
}

static struct sockaddr_un address_of(int fd, const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    snprintf(a.sun_path, sizeof a.sun_path, "/proc/self/fd/%d%s%s", fd, *name ? "/" : "", name);
    return a;
}

int unix_socket_listen(int dir_fd, const char *name)
{
    const struct sockaddr_un a = address_of(dir_fd, name);

    if (unlinkat(dir_fd, name, 0) != 0 && errno != ENOENT)
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    /* bind gives the name the mode of the descriptor. */
    if (fchmod(fd, 0600) != 0 || bind(fd, (const struct sockaddr *)&a, sizeof a) != 0)
        return give_up(fd);
    if (listen(fd, BACKLOG) != 0) {
        int error = errno;
        unlinkat(dir_fd, name, 0);
        errno = error;
        return give_up(fd);
    }
    return fd;
}

int unix_socket_find(int dir_fd, const char *name, uid_t *owner)
{
    struct stat s;
    int fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return -1;
    if (fstat(fd, &s) != 0)
        return give_up(fd);
    *owner = s.st_uid;
    if (S_ISSOCK(s.st_mode))
        return fd;
    errno = ENOTSOCK;
    return give_up(fd);
}

int unix_socket_connect(int found_fd, int wait_ms)
{
    const struct sockaddr_un a = address_of(found_fd, "");
    /* To the kernel, 0 means no limit. */
    const struct timeval wait = {wait_ms / 1000, wait_ms % 1000 * 1000 + (wait_ms == 0)};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait) != 0 ||
        connect(fd, (const struct sockaddr *)&a, sizeof a) != 0)
        return give_up(fd);
    return fd;
}
