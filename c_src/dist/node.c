/*
 * node.c - our identity in the BEAM cluster, and the handshake with others.
 *
 * ei (erl_interface) does the handshake, and gets callbacks for the sockets, which
 * are ours.  So the listener closes on exec, and whoever polls it accepts; a
 * handshake runs on the thread that has the accepted socket, with one deadline for
 * all of it; and ei forgets the socket afterwards, since link reads and writes it
 * from then on.
 *
 * The happy path of node_welcome: the peer's name, our status and challenge, its
 * reply (a digest of cookie and challenge), our digest.
 *
 * What can go wrong: the peer is silent, leaves, speaks something else, or has
 * another cookie.  ei reports EIO for all of these; what the callbacks saw
 * tells them apart.  The cookie lives in ei's structures until node_close.
 *
 * node_welcome: any thread.  The rest: the thread that owns the node.
 */

#include "dist/node.h"

#include "ground/buf.h"
#include "ground/clock.h"

#include <arpa/inet.h>
#include <ei.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define NAME_BYTES     255 /* of our own name: an atom */
#define MAX_OPEN_FILES 65536
#define BACKLOG        1024 /* the kernel takes at most net.core.somaxconn */
#define PID_BYTES      (MAXATOMLEN_UTF8 + 32)
#define HELLO_BYTES    300 /* of a peer's first message: length, flags, creation, name */
#define HELLO_NAME     17  /* where the name begins, and where it did before OTP 23 */
#define HELLO_OLD_NAME 9

/* What ei calls a context: a socket and what happened on it.  The fd is never closed by ei. */
struct wire {
    int fd;
    int64_t deadline_ms;
    int error;       /* what ended it, 0 while nothing did */
    unsigned writes; /* messages we have sent: status, challenge, digest */
    size_t heard;    /* bytes in hello, the peer's first message */
    uint8_t hello[HELLO_BYTES];
};

struct node {
    ei_cnode ei;
    struct wire listener;
    int port;
    char self[PID_BYTES];
    int self_len;
};

/* The socket that ei's accept callback returns: the one that node_welcome was given. */
static _Thread_local struct wire *handed_over;

/* --- ei's callbacks; they return errno values --- */

static int wire_socket(void **ctx, void *setup_ctx)
{
    struct wire *w = setup_ctx;

    w->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    *ctx = w;
    return w->error = w->fd < 0 ? errno : 0;
}

static int wire_close(void *ctx)
{
    (void)ctx;
    return 0;
}

static int wire_listen(void *ctx, void *addr, int *len, int backlog)
{
    struct wire *w = ctx;
    socklen_t size = (socklen_t)*len;
    int on = 1; /* a fixed port can be reused at once after a restart */

    if (setsockopt(w->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(w->fd, addr, size) != 0 || listen(w->fd, backlog) != 0 ||
        getsockname(w->fd, addr, &size) != 0)
        return w->error = errno;
    *len = (int)size;
    return 0;
}

static int wire_accept(void **ctx, void *addr, int *len, unsigned tmo)
{
    socklen_t size = (socklen_t)*len;

    (void)tmo;
    *ctx = handed_over;
    if (getpeername(handed_over->fd, addr, &size) != 0)
        return handed_over->error = errno;
    *len = (int)size;
    return 0;
}

static int wire_connect(void *ctx, void *addr, int len, unsigned tmo)
{
    (void)ctx, (void)addr, (void)len, (void)tmo;
    return ENOTSUP;
}

/* Wait until ${events}; 0, or the errno value to return instead of reading or writing. */
static int wire_wait(struct wire *w, short events)
{
    for (;;) {
        int64_t left = w->deadline_ms - clock_mono_ms();
        struct pollfd p = {w->fd, events, 0};
        int n = left > 0 ? poll(&p, 1, (int)left) : 0;
        if (n > 0)
            return 0;
        if (n == 0)
            return w->error = ETIMEDOUT;
        if (errno != EINTR)
            return w->error = errno;
    }
}

/* Keep the peer's first message: has_nul_in_name reads it after the handshake. */
static void hear(struct wire *w, const char *bytes, size_t len)
{
    size_t room = sizeof w->hello - w->heard;

    len = len < room ? len : room;
    memcpy(w->hello + w->heard, bytes, len);
    w->heard += len;
}

static int wire_read(void *ctx, char *buf, ssize_t *len, unsigned tmo)
{
    struct wire *w = ctx;

    (void)tmo;
    for (;;) {
        int error = wire_wait(w, POLLIN);
        if (error != 0)
            return error;
        ssize_t n = recv(w->fd, buf, (size_t)*len, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n <= 0)
            return w->error = n == 0 ? ECONNRESET : errno;
        hear(w, buf, (size_t)n);
        *len = n;
        return 0;
    }
}

static int wire_write(void *ctx, const char *buf, ssize_t *len, unsigned tmo)
{
    struct wire *w = ctx;

    (void)tmo;
    for (;;) {
        int error = wire_wait(w, POLLOUT);
        if (error != 0)
            return error;
        ssize_t n = send(w->fd, buf, (size_t)*len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n < 0)
            return w->error = errno;
        w->writes++;
        *len = n;
        return 0;
    }
}

static int wire_writev(void *ctx, const void *iov, int count, ssize_t *len, unsigned tmo)
{
    const struct iovec *v = iov;

    for (int i = 0; i < count; i++)
        if (v[i].iov_len > 0) { /* ei continues after a short write */
            *len = (ssize_t)v[i].iov_len;
            return wire_write(ctx, v[i].iov_base, len, tmo);
        }
    *len = 0;
    return 0;
}

static int wire_header_size(void *ctx, int *size)
{
    (void)ctx;
    *size = 2;
    return 0;
}

static int wire_complete(void *ctx)
{
    (void)ctx;
    return 0;
}

static int wire_fd(void *ctx, int *fd)
{
    *fd = ((const struct wire *)ctx)->fd;
    return 0;
}

static ei_socket_callbacks callbacks = {.flags = EI_SCLBK_FLG_FULL_IMPL,
                                        .socket = wire_socket,
                                        .close = wire_close,
                                        .listen = wire_listen,
                                        .accept = wire_accept,
                                        .connect = wire_connect,
                                        .writev = wire_writev,
                                        .write = wire_write,
                                        .read = wire_read,
                                        .handshake_packet_header_size = wire_header_size,
                                        .connect_handshake_complete = wire_complete,
                                        .accept_handshake_complete = wire_complete,
                                        .get_fd = wire_fd};

/* --- becoming a node --- */

/* Once per process, before any other ei function. */
static void prepare_ei(void)
{
    struct rlimit files;

    /* These make ei print challenges and messages to standard error. */
    unsetenv("EI_TRACELEVEL");
    unsetenv("ERL_DEBUG_DIST");
    /* ei allocates by this limit, and refuses descriptors above the limit it saw first. */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max < MAX_OPEN_FILES ? files.rlim_max : MAX_OPEN_FILES;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    PRE(ei_init() == 0);
}

#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"

/* A host may be ::ffff:127.0.0.1, by which nodes that use IPv6 reach our IPv4 address. */
static bool is_name_part(const char *text, size_t len, size_t max, const char *allowed)
{
    return len > 0 && len <= max && strspn(text, allowed) >= len;
}

static enum err check_name(const char *name, const char *cookie, struct fault *fault)
{
    const char *at = strchr(name, '@');
    size_t cookie_len = strlen(cookie);

    if (at == NULL || strlen(name) > NAME_BYTES ||
        !is_name_part(name, (size_t)(at - name), EI_MAXALIVELEN, NAME_CHARACTERS) ||
        !is_name_part(at + 1, strlen(at + 1), EI_MAXHOSTNAMELEN, NAME_CHARACTERS ":"))
        return fault_say(
            fault, NULL,
            "a node name is NAME@HOST of letters, digits, \"_\", \".\" and \"-\", at most %d "
            "bytes; not \"%.60s\"",
            NAME_BYTES, name);
    if (cookie_len == 0 || cookie_len > EI_MAX_COOKIE_SIZE)
        return fault_say(fault, NULL, "a cookie has 1 to %d bytes, this one %zu",
                         EI_MAX_COOKIE_SIZE, cookie_len);
    return ERR_OK;
}

/* The address to listen on: loopback only, unless configured otherwise. */
static enum err choose_address(const char *host, const char *wanted, struct in_addr *a,
                               struct fault *fault)
{
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;

    if (wanted != NULL && *wanted != '\0') {
        if (inet_pton(AF_INET, wanted, a) == 1)
            return ERR_OK;
        return fault_say(fault, NULL, "no IPv4 address to listen on: \"%.60s\"", wanted);
    }
    a->s_addr = htonl(INADDR_LOOPBACK);
    if (getaddrinfo(host, NULL, &hints, &found) == 0) {
        struct sockaddr_in first;
        memcpy(&first, found->ai_addr, sizeof first);
        if (ntohl(first.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET)
            *a = first.sin_addr;
        freeaddrinfo(found);
    }
    return ERR_OK;
}

/* Give ei our name, with a creation number that no earlier run had. */
static void introduce(struct node *n, const char *name, const char *cookie, struct in_addr *a)
{
    const char *host = strchr(name, '@') + 1;
    char alive[EI_MAXALIVELEN + 1];
    unsigned creation;

    snprintf(alive, sizeof alive, "%.*s", (int)(host - 1 - name), name);
    PRE(getrandom(&creation, sizeof creation, 0) == sizeof creation);
    if (creation < 4) /* 0 to 3 mean something else to older nodes */
        creation += 4;
    n->listener.fd = -1;
    /* check_name has bounded the names and the cookie. */
    PRE(ei_connect_xinit_ussi(&n->ei, host, alive, name, a, cookie, creation, &callbacks,
                              sizeof callbacks, &n->listener) == 0);
    PRE(ei_encode_pid(n->self, &n->self_len, ei_self(&n->ei)) == 0);
    POST(n->self_len < PID_BYTES);
}

enum err node_open(const char *name, const char *cookie, const char *address, int port,
                   struct node **n, struct fault *fault)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct in_addr a;
    char text[INET_ADDRSTRLEN];
    enum err e = check_name(name, cookie, fault);

    if (e == ERR_OK)
        e = choose_address(strchr(name, '@') + 1, address, &a, fault);
    if (e != ERR_OK)
        return e;
    pthread_once(&once, prepare_ei);
    struct node *new = base_alloc(sizeof *new);
    inet_ntop(AF_INET, &a, text, sizeof text);
    introduce(new, name, cookie, &a);
    new->port = port;
    if (ei_xlisten(&new->ei, &a, &new->port, BACKLOG) < 0) {
        fault_say(fault, NULL, "cannot listen on %s, port %d: %s", text, port,
                  strerror(new->listener.error));
        node_close(new);
        return ERR_SYSTEM;
    }
    *n = new;
    return ERR_OK;
}

void node_close(struct node *n)
{
    if (n == NULL)
        return;
    if (n->listener.fd >= 0) {
        ei_close_connection(n->listener.fd);
        close(n->listener.fd);
    }
    explicit_bzero(n, sizeof *n);
    free(n);
}

int node_fd(const struct node *n)
{
    return n->listener.fd;
}

int node_port(const struct node *n)
{
    return n->port;
}

const char *node_alive(const struct node *n)
{
    return ei_thisalivename(&n->ei);
}

struct slice node_self(const struct node *n)
{
    return slice_of(n->self, (size_t)n->self_len);
}

/* --- the handshake --- */

/* Why ei gave up on ${w}, judged by how far the handshake got. */
static enum node_welcome why_not(const struct wire *w)
{
    if (w->error == ETIMEDOUT)
        return NODE_TIMEOUT;
    if (w->error != 0)
        return NODE_GONE;
    /* Status and challenge were sent and a whole reply was read: its digest was wrong. */
    return w->writes >= 2 ? NODE_WRONG_COOKIE : NODE_NO_BEAM;
}

/* ei reads a name only up to a NUL, so one with a NUL would pass for another node's. */
static bool has_nul_in_name(const struct wire *w)
{
    size_t from = w->hello[2] == 'N' ? HELLO_NAME : HELLO_OLD_NAME;
    size_t to = 2 + (size_t)be16(w->hello);

    to = to < w->heard ? to : w->heard;
    return to > from && memchr(w->hello + from, '\0', to - from) != NULL;
}

enum node_welcome node_welcome(struct node *n, int fd, int64_t wait_ms, char peer[NODE_NAME_MAX])
{
    struct wire w = {.fd = fd, .deadline_ms = clock_mono_ms() + wait_ms};
    ErlConnect other = {0};

    _Static_assert(sizeof other.nodename <= NODE_NAME_MAX, "a peer's name fits");
    handed_over = &w;
    int got = ei_accept_tmo(&n->ei, n->listener.fd, &other, (unsigned)wait_ms);
    handed_over = NULL;
    snprintf(peer, NODE_NAME_MAX, "%s", other.nodename);
    if (got < 0)
        return why_not(&w);
    ei_close_connection(fd); /* ei forgets it; wire_close leaves it open */
    return has_nul_in_name(&w) ? NODE_NO_BEAM : NODE_WELCOME;
}

const char *node_welcome_text(enum node_welcome w)
{
    switch (w) {
    case NODE_WELCOME:
        return "";
    case NODE_WRONG_COOKIE:
        return "wrong cookie: the BEAM's Node.get_cookie() and our node.cookie differ";
    case NODE_TIMEOUT:
        return "no handshake in time";
    case NODE_GONE:
        return "closed during the handshake";
    case NODE_NO_BEAM:
        return "does not speak the Erlang distribution protocol";
    }
    return "?";
}

/* Whether ${name} as a whole matches ${pattern}, in which only * is special: it matches anything.
 */
static bool matches(const char *pattern, const char *name)
{
    const char *star = NULL, *resume = name;

    while (*name != '\0') {
        if (*pattern == '*') {
            star = pattern++;
            resume = name;
        } else if (*pattern == *name) {
            pattern++;
            name++;
        } else if (star != NULL) {
            pattern = star + 1;
            name = ++resume;
        } else {
            return false;
        }
    }
    return pattern[strspn(pattern, "*")] == '\0';
}

bool node_matches(const char *patterns, const char *name)
{
    char one[NODE_NAME_MAX];
    size_t len;

    if (*(patterns += strspn(patterns, " \t,")) == '\0')
        return true;
    for (; *patterns != '\0'; patterns += strspn(patterns, " \t,")) {
        len = strcspn(patterns, " \t,");
        snprintf(one, sizeof one, "%.*s", (int)(len < sizeof one ? len : 0), patterns);
        if (matches(one, name))
            return true;
        patterns += len;
    }
    return false;
}
