/* node.h - our identity in the BEAM cluster: name, cookie, listener, and the handshake with others.
 */

/* Private to dist/. */

#ifndef NODE_H
#define NODE_H

#include "ground/base.h"
#include "ground/buf.h"

struct node; /* opaque */

#define NODE_NAME_MAX 257 /* bytes of a peer's name with the terminator; ours is shorter */

/**
 * node_open(name, cookie, address, port, n, fault):
 * Become the node ${name} and listen on ${port} (0: the kernel chooses one).  ${address}: IPv4;
 * NULL or "": what the name's host resolves to if that is loopback, else 127.0.0.1. ERR_INVALID: a
 * bad name, cookie or address; ERR_SYSTEM: cannot listen; ${fault}->why says which. Raises the
 * process's limit of open files to its maximum, at most 65536 (ei allocates by it).
 */
enum err node_open(const char *name, const char *cookie, const char *address, int port,
                   struct node **n, struct fault *fault) MUST_CHECK;

/** node_close(n): Stop listening; the cookie is wiped.  NULL is harmless. */
void node_close(struct node *n);

/** node_fd(n): The listening socket, to be polled and accepted from; stays ${n}'s. */
int node_fd(const struct node *n);
int node_port(const struct node *n);
/** node_alive(n): The part of the name before the @. */
const char *node_alive(const struct node *n);
/** node_self(n): Our pid as an encoded term without version byte; borrowed. */
struct slice node_self(const struct node *n);

/* How a handshake ended. */
enum node_welcome {
    NODE_WELCOME,      /* success: the peer knows the cookie, and its name is set */
    NODE_WRONG_COOKIE, /* the peer spoke the protocol, but has another cookie */
    NODE_TIMEOUT,      /* the peer did not complete the handshake in time */
    NODE_GONE,         /* the peer closed; a BEAM does so when it expects another cookie */
    NODE_NO_BEAM       /* the peer does not speak the distribution protocol */
};

/**
 * node_welcome(n, fd, wait_ms, peer):
 * Perform the handshake on the accepted socket ${fd} (which stays the caller's) within ${wait_ms}
 * in total.  ${peer} is the peer's node name; without NODE_WELCOME it is the name it claims, or "".
 * Any thread, any number at once.
 */
enum node_welcome node_welcome(struct node *n, int fd, int64_t wait_ms, char peer[NODE_NAME_MAX]);

/** node_welcome_text(w): The reason for an operator, "" for NODE_WELCOME; static storage. */
const char *node_welcome_text(enum node_welcome w);

/** node_matches(patterns, name): Whether the node ${name} matches one of the blank-separated
 * ${patterns}, in which * stands for anything; without a pattern every name does. */
bool node_matches(const char *patterns, const char *name);

#endif
