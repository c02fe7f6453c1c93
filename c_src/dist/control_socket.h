/* control_socket.h - the Unix socket for the command line, in the store's folder. */

#ifndef CONTROL_SOCKET_H
#define CONTROL_SOCKET_H

#include "dist/dist.h"
#include "ground/base.h"

struct control_socket; /* opaque */

#define CONTROL_SOCKET_NAME   "control.sock"
#define CONTROL_SOCKET_GUESTS 16 /* connected at once */

struct control_socket_options {
    const char *dir; /* the store's, whose lock this process holds until control_socket_close */
    size_t max_message_bytes; /* a larger call is drained and answered with an error */
    size_t max_unsent_bytes;  /* a client with more unread answers than that loses its connection */
};

/**
 * control_socket_open(options, handler):
 * Listen on ${options}->dir/control.sock, mode 0600, and hand the calls of this process's user and
 * of root to ${handler}, as dist does.  What an earlier sidecar left under that name, or as
 * "control" (0.1), is removed.  NULL: no socket could be made; that is logged, and the sidecar
 * runs without.
 */
struct control_socket *control_socket_open(const struct control_socket_options *options,
                                           const struct dist_handler *handler);

/** control_socket_close(s): Remove the socket, end all connections and threads.  Answers to
 * callers still open are dropped.  NULL is harmless. */
void control_socket_close(struct control_socket *s);

#endif
