/*
 * epmd.c - the node's registration with epmd, the BEAM's port mapper.
 *
 * The happy path: connect, send ALIVE2_REQ, read ALIVE2_X_RESP (6 bytes) or the
 * older ALIVE2_RESP (4 bytes), keep the connection.  Closing it removes the
 * registration; if epmd closes it, epmd has ended.
 *
 * What can go wrong: nobody listens, no answer comes, the name is taken.  The
 * fault says which, and the caller decides when to try again.
 *
 * Not ei_publish: it leaves two bytes of the answer unread (so polling cannot tell
 * that epmd is gone), does not close on exec, and uses select(2) on descriptors
 * over 1023.  Protocol: OTP erts/doc/src/erl_dist_protocol.xml.
 *
 * Any thread; waits at most a second.
 */

#include "dist/epmd.h"

#include "ground/buf.h"
#include "ground/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EPMD_PORT     4369
#define WAIT_MS       1000
#define ALIVE2_REQ    120
#define ALIVE2_RESP   121
#define ALIVE2_X_RESP 118
#define HIDDEN_NODE   72
#define TCP_IPV4      0
#define DIST_VERSION  6 /* lowest and highest: the handshake of OTP 23 and later */

static int epmd_port(void)
{
    const char *text = getenv("ERL_EPMD_PORT");
    long port = text != NULL ? strtol(text, NULL, 10) : 0;

    return port > 0 && port < 65536 ? (int)port : EPMD_PORT;
}

/* Whether ${fd} becomes ready for ${events} before ${deadline_ms}; else errno is set. */
static bool ready(int fd, short events, int64_t deadline_ms)
{
    for (;;) {
        int64_t left = deadline_ms - clock_mono_ms();
        struct pollfd p = {fd, events, 0};
        int n = poll(&p, 1, left > 0 ? (int)left : 0);
        if (n > 0)
            return true;
        if (n == 0)
            errno = ETIMEDOUT;
        if (n == 0 || errno != EINTR)
            return false;
    }
}

static int connect_to(int port, int64_t deadline_ms)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int error = 0;
    socklen_t len = sizeof error;

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
        return fd;
    if (errno == EINPROGRESS && ready(fd, POLLOUT, deadline_ms) &&
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0) {
        if (error == 0)
            return fd;
        errno = error;
    }
    error = errno;
    close(fd);
    errno = error;
    return -1;
}

/* The request is far smaller than any socket buffer: one send takes it or fails. */
static bool request(int fd, const char *alive, int port)
{
    struct buf b = {0};
    size_t name_len = strlen(alive);

    buf_be16(&b, (uint16_t)(13 + name_len));
    buf_byte(&b, ALIVE2_REQ);
    buf_be16(&b, (uint16_t)port);
    buf_byte(&b, HIDDEN_NODE);
    buf_byte(&b, TCP_IPV4);
    buf_be16(&b, DIST_VERSION);
    buf_be16(&b, DIST_VERSION);
    buf_be16(&b, (uint16_t)name_len);
    buf_str(&b, alive);
    buf_be16(&b, 0);
    ssize_t n = send(fd, b.data, b.len, MSG_NOSIGNAL);
    bool all = n == (ssize_t)b.len;
    buf_free(&b);
    return all;
}

/* Read the whole answer; its result byte is 0 when the name is ours.  -1: errno. */
static int answer(int fd, int64_t deadline_ms)
{
    uint8_t got[6];
    size_t len = 0, want = 2;

    while (len < want) {
        if (!ready(fd, POLLIN, deadline_ms))
            return -1;
        ssize_t n = recv(fd, got + len, want - len, 0);
        if (n > 0)
            len += (size_t)n;
        else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            errno = n == 0 ? ECONNRESET : errno;
            return -1;
        }
        if (len == 2 && want == 2 && got[1] == 0) /* a refusal may end here */
            want = got[0] == ALIVE2_X_RESP ? 6 : 4;
    }
    if (got[0] == ALIVE2_X_RESP || got[0] == ALIVE2_RESP)
        return got[1];
    errno = EPROTO;
    return -1;
}

enum err epmd_register(const char *alive, int port, int *fd, struct fault *fault)
{
    int64_t deadline_ms = clock_mono_ms() + WAIT_MS;
    int at = epmd_port(), s = connect_to(at, deadline_ms);

    if (s < 0)
        return fault_fail(fault, ERR_SYSTEM, NULL,
                          "no epmd at 127.0.0.1:%d: %s; start one (epmd -daemon), or say [node] "
                          "epmd = off where BEAM nodes are told the port",
                          at, strerror(errno));
    int result = request(s, alive, port) ? answer(s, deadline_ms) : -1;
    if (result == 0) {
        *fd = s;
        return ERR_OK;
    }
    if (result > 0)
        fault_say(fault, NULL, "epmd refuses the name %.100s: it is taken", alive);
    else
        fault_say(fault, NULL, "epmd at 127.0.0.1:%d does not answer: %s", at, strerror(errno));
    close(s);
    return ERR_SYSTEM;
}
