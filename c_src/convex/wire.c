/*
 * wire.c - the sockets of HTTP connections: whether what arrives on one can be the answer to our
 * request.
 *
 * HTTP/1.1 puts no number on an answer, so bytes that nobody asked for (an answer sent twice, the
 * 408 of a proxy) would pass for the answer to the next request on a kept connection.  But an
 * answer is written after its request was read, and two checks catch what was not:
 *
 * Before a request leaves: a kept connection with unread input is not used, nor is a new one on
 * plain http.  (libcurl does so itself from 8.0 on, with kept ones, TLS or not.  On TLS a session
 * ticket that comes after the first answer costs a handshake; on a new TLS connection tickets are
 * expected.)
 *
 * When an answer begins on a kept connection: all of the request was handed to the kernel, and the
 * other end acknowledged all of it.  The packets of an answer acknowledge what it answers, so
 * unacknowledged bytes prove that what arrived was sent earlier.  An honest early refusal (413 in
 * the middle of a body) looks the same; sent again on a new connection, where nothing old can be
 * in transit, it is believed.
 *
 * What remains undetected: bytes written after the other kernel (or that of a proxy between) took
 * the request, and before its program read it.  Only an answer that echoes the number of its call
 * can tell, as functions of version 2 do (functions.c).
 *
 * One thread: that of its owner.
 */

#include "convex/wire.h"

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utlist.h>

struct wire {
    int fd;
    int local_port; /* 0 until it was looked up */
    char ip[INET6_ADDRSTRLEN];
    bool is_kept;
    struct wire *prev, *next;
};

struct wires {
    struct wire *first;
};

struct wires *wires_new(void)
{
    return base_alloc(sizeof(struct wires));
}

void wires_free(struct wires *all)
{
    PRE(all == NULL || all->first == NULL);
    free(all);
}

/* An address of either family, for its port and its bytes. */
union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_storage space;
};

int wire_open(struct wires *all, int type, int protocol, const struct sockaddr *to)
{
    const union address *a = (const union address *)(const void *)to;
    const void *ip =
        to->sa_family == AF_INET6 ? (const void *)&a->v6.sin6_addr : (const void *)&a->v4.sin_addr;
    int fd = socket(to->sa_family, type | SOCK_CLOEXEC, protocol);
    struct wire *w;

    if (fd < 0)
        return -1;
    w = base_alloc(sizeof *w);
    w->fd = fd;
    (void)inet_ntop(to->sa_family, ip, w->ip, sizeof w->ip);
    DL_APPEND(all->first, w);
    return fd;
}

int wire_close(struct wires *all, int fd)
{
    struct wire *w;

    DL_SEARCH_SCALAR(all->first, w, fd, fd);
    PRE(w != NULL);
    DL_DELETE(all->first, w);
    free(w);
    return close(fd);
}

static int local_port_of(int fd)
{
    union address a = {0};
    socklen_t len = sizeof a;

    if (getsockname(fd, &a.any, &len) != 0)
        return 0;
    return ntohs(a.any.sa_family == AF_INET6 ? a.v6.sin6_port : a.v4.sin_port);
}

struct wire *wire_find(struct wires *all, const char *ip, int local_port)
{
    struct wire *w;

    DL_FOREACH(all->first, w)
    {
        if (w->local_port == 0)
            w->local_port = local_port_of(w->fd);
        if (w->local_port == local_port && strcmp(w->ip, ip) == 0)
            return w;
    }
    return NULL;
}

void wire_use(struct wire *w)
{
    w->is_kept = true;
}

bool wire_is_kept(const struct wire *w)
{
    return w->is_kept;
}

void wire_shut(const struct wire *w)
{
    (void)shutdown(w->fd, SHUT_RDWR); /* it may be gone already */
}

bool wire_has_input(const struct wire *w)
{
    int count = 0;

    return ioctl(w->fd, FIONREAD, &count) == 0 && count > 0;
}

bool wire_is_drained(const struct wire *w)
{
    int count = 0;

    return ioctl(w->fd, SIOCOUTQ, &count) == 0 && count == 0;
}
