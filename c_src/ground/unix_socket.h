/* unix_socket.h - a socket in a folder, reached through the folder's descriptor. */

#ifndef UNIX_SOCKET_H
#define UNIX_SOCKET_H

#include <sys/types.h>

/*
 * An address holds 107 bytes, a path may have 4,095: both ends name the socket by a descriptor
 * under /proc/self/fd.  So both use the folder that they have opened, wherever its path leads by
 * now, and never follow a symbolic link at ${name}.
 */

/**
 * unix_socket_listen(dir_fd, name):
 * Listen on the stream socket ${name} in the folder ${dir_fd}, mode 0600.  An existing file of that
 * name is removed.  Returns the socket, or -1 with errno (EISDIR: it is a folder).
 */
int unix_socket_listen(int dir_fd, const char *name);

/**
 * unix_socket_find(dir_fd, name, owner):
 * Returns a descriptor that names the socket ${name} in the folder ${dir_fd}, for
 * unix_socket_connect, and sets ${owner}.  -1 with errno: ENOENT; ENOTSOCK, for a symbolic link
 * too.
 */
int unix_socket_find(int dir_fd, const char *name, uid_t *owner);

/**
 * unix_socket_connect(found_fd, wait_ms):
 * Connect to what unix_socket_find returned.  Returns the blocking socket, or -1 with errno, such
 * as ECONNREFUSED (nobody listens), EACCES, EAGAIN (not accepted within ${wait_ms}).
 */
int unix_socket_connect(int found_fd, int wait_ms);

#endif
