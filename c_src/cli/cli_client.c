/*
 * cli_client.c - gen_server:call from C.
 *
 * The happy path: epmd says the sidecar's port, ei connects and shakes hands under a name nobody
 * else has (cli_PID_RANDOM at the same host, hidden, not in epmd).  Then come our own frames:
 * {'$gen_call', {Pid, Ref}, Request} goes to the registered name, ticks are answered, and
 * {Ref, Answer} is the result.  Several calls may be under way, each with a reference of its own.
 *
 * Why not ei_receive: it reports an unknown name ({21, ...}, the call's end) as a lost connection,
 * and believes what it decodes.  Here every frame is bounded and checked (term_check_some) first.
 *
 * What can go wrong: nobody there, another cookie, no answer in time, the connection ends, frames
 * that are none.  All end the call with a sentence that says what to look at.  One thread.
 */

#include "cli/cli_client.h"

#include "ground/clock.h"

#include <ei.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGE_BYTES                                                                              \
    16777216               /* of one frame: a page of dead letters, a document with its answer */
#define FILES_MAX     1024 /* ei makes a table as long as the limit */
#define NODE_BYTES    256
#define ENCODED_BYTES 2048 /* a pid or reference: an atom of 255 characters and some integers */

enum control {
    CONTROL_SEND = 2,
    CONTROL_REG_SEND = 6,
    CONTROL_EXIT = 21,
    CONTROL_SEND_SENDER = 22
};
enum { PASS_THROUGH = 112, VERSION = 131 };

#define EPMD_PORT "4369"
enum { EPMD_PORT_PLEASE = 122, EPMD_PORT_ANSWER = 119 };

struct cli_client {
    ei_cnode self;
    int fd;
    const struct cli_peer *peer;
    struct buf refs[CLI_CLIENT_CALLS]; /* by ticket, encoded: the answer's tag; empty: free */
    /* of the function that is at work */
    int64_t deadline_ms;
    struct fault *fault;
};

static enum err fail(struct cli_client *c, enum err e, const char *why)
{
    snprintf(c->fault->path, sizeof c->fault->path, "%.250s", c->peer->node);
    snprintf(c->fault->why, sizeof c->fault->why, "%s", why);
    return e;
}

static int left_ms(const struct cli_client *c)
{
    int64_t left = c->deadline_ms - clock_mono_ms();

    return left <= 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

/* ei allocates for every file there may be, and prints secrets when these variables say so. */
static void tame_ei(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur > FILES_MAX) {
        files.rlim_cur = FILES_MAX;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    unsetenv("EI_TRACELEVEL");
    unsetenv("ERL_DEBUG_DIST");
    PRE(ei_init() == 0);
}

static enum err lost(struct cli_client *c)
{
    return fail(c, ERR_CLOSED, "the connection ended before the answer came; see its log");
}

static enum err too_late(struct cli_client *c)
{
    return fail(c, ERR_BUSY, "it did not answer in time; --timeout SECONDS waits longer");
}

/* Wait until ${events}; ERR_BUSY at the deadline. */
static enum err wait_for(struct cli_client *c, short events)
{
    struct pollfd p = {.fd = c->fd, .events = events};
    int n;

    do
        n = poll(&p, 1, left_ms(c));
    while (n < 0 && errno == EINTR);
    if (n == 0)
        return too_late(c);
    return n < 0 ? lost(c) : ERR_OK;
}

static bool would_wait(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

static enum err send_all(struct cli_client *c, struct slice bytes)
{
    enum err e = ERR_OK;

    while (e == ERR_OK && bytes.len > 0) {
        ssize_t n = send(c->fd, bytes.data, bytes.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n >= 0)
            bytes = slice_of(bytes.data + n, bytes.len - (size_t)n);
        else if (would_wait())
            e = wait_for(c, POLLOUT);
        else
            e = lost(c);
    }
    return e;
}

static enum err receive_all(struct cli_client *c, uint8_t *out, size_t len)
{
    enum err e = ERR_OK;

    while (e == ERR_OK && len > 0) {
        ssize_t n = recv(c->fd, out, len, MSG_DONTWAIT);
        if (n > 0) {
            out += n;
            len -= (size_t)n;
        } else if (n < 0 && would_wait()) {
            e = wait_for(c, POLLIN);
        } else {
            e = lost(c);
        }
    }
    return e;
}

/* A connection to epmd where the node lives, as c->fd. */
static enum err connect_epmd(struct cli_client *c, const char *host)
{
    const struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    const char *port = getenv("ERL_EPMD_PORT");
    struct addrinfo *found = NULL;
    int error = 0;
    socklen_t size = sizeof error;

    if (getaddrinfo(host, port ? port : EPMD_PORT, &hints, &found) != 0)
        return fail(c, ERR_CLOSED, "its host part leads to no IPv4 address");
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    PRE(c->fd >= 0);
    enum err e = ERR_OK;
    if (connect(c->fd, found->ai_addr, found->ai_addrlen) < 0) {
        error = errno;
        e = error == EINPROGRESS ? wait_for(c, POLLOUT) : ERR_OK;
        if (e == ERR_OK && error == EINPROGRESS)
            PRE(getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0);
    }
    freeaddrinfo(found);
    if (e == ERR_OK && error != 0)
        e = fail(c, ERR_CLOSED, "is it running? there is not even an epmd at its host");
    return e;
}

/* PORT_PLEASE2_REQ (OTP erts/doc, "Distribution Protocol"): the port of ${alive}. */
static enum err look_up(struct cli_client *c, const char *alive, size_t alive_len, const char *host,
                        int *port)
{
    struct buf request = {0};
    uint8_t answer[4]; /* tag, result, port */

    enum err e = connect_epmd(c, host);
    if (e == ERR_OK) {
        buf_be16(&request, (uint16_t)(alive_len + 1));
        buf_byte(&request, EPMD_PORT_PLEASE);
        buf_add(&request, alive, alive_len);
        e = send_all(c, buf_view(&request));
        buf_free(&request);
    }
    if (e == ERR_OK)
        e = receive_all(c, answer, 2);
    if (e == ERR_OK && (answer[0] != EPMD_PORT_ANSWER || answer[1] != 0))
        e = fail(c, ERR_CLOSED, "is it running? epmd does not know that name");
    if (e == ERR_OK)
        e = receive_all(c, answer + 2, 2);
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    *port = e == ERR_OK ? be16(answer + 2) : 0;
    return e;
}

static enum err connect_peer(struct cli_client *c)
{
    const char *at = strchr(c->peer->node, '@');
    char alive[64], node[NODE_BYTES + 64], host[NODE_BYTES];
    uint32_t random[2];
    int port;

    if (at == NULL || at == c->peer->node || strlen(c->peer->node) >= NODE_BYTES)
        return fail(c, ERR_INVALID, "that is no node name: name@host is wanted");
    snprintf(host, sizeof host, "%s", at + 1);
    enum err e = look_up(c, c->peer->node, (size_t)(at - c->peer->node), host, &port);
    if (e != ERR_OK)
        return e;
    PRE(getrandom(random, sizeof random, 0) == (ssize_t)sizeof random);
    snprintf(alive, sizeof alive, "cli_%d_%08x", (int)getpid(), random[0]);
    snprintf(node, sizeof node, "%s@%s", alive, host);
    tame_ei();
    if (ei_connect_xinit(&c->self, host, alive, node, NULL, c->peer->cookie, random[1]) < 0)
        return fail(c, ERR_INVALID, "the node name or the cookie is too long");
    c->fd = ei_connect_host_port_tmo(&c->self, host, port, (unsigned)(left_ms(c) + 1));
    if (c->fd >= 0)
        return ERR_OK;
    if (erl_errno == ETIMEDOUT)
        return fail(c, ERR_BUSY, "it did not take the connection in time; is it stuck?");
    return fail(c, ERR_CLOSED,
                "it refused the connection: is the cookie the same, and does node.allow_nodes "
                "let cli_* in?");
}

/* The request in a frame: control tuple {6, Self, '', Name}, message {'$gen_call', {Self, Ref}, R}.
 */
static enum err send_request(struct cli_client *c, struct slice request, struct buf *tag)
{
    char pid[ENCODED_BYTES], encoded[ENCODED_BYTES];
    int pid_len = 0, len = 0;
    erlang_ref ref;
    struct buf frame = {0};

    PRE(ei_encode_pid(pid, &pid_len, ei_self(&c->self)) == 0);
    PRE(ei_make_ref(&c->self, &ref) == 0 && ei_encode_ref(encoded, &len, &ref) == 0);
    struct slice self = slice_of(pid, (size_t)pid_len);
    buf_slice(tag, slice_of(encoded, (size_t)len));

    buf_be32(&frame, 0); /* the length, below */
    buf_byte(&frame, PASS_THROUGH);
    term_put_version(&frame);
    term_put_tuple(&frame, 4);
    term_put_integer(&frame, CONTROL_REG_SEND);
    term_put_raw(&frame, self);
    term_put_atom(&frame, "");
    term_put_atom(&frame, c->peer->name);
    term_put_version(&frame);
    term_put_tuple(&frame, 3);
    term_put_atom(&frame, "$gen_call");
    term_put_tuple(&frame, 2);
    term_put_raw(&frame, self);
    term_put_raw(&frame, buf_view(tag));
    term_put_raw(&frame, request);

    uint32_t body = (uint32_t)(frame.len - 4);
    for (int i = 0; i < 4; i++)
        frame.data[i] = (uint8_t)(body >> (24 - 8 * i));
    enum err e = send_all(c, buf_view(&frame));
    buf_free(&frame);
    return e;
}

/* One frame into ${message}; its length 0 is a tick, already answered. */
static enum err receive_frame(struct cli_client *c, struct buf *message)
{
    static const uint8_t tock[4] = {0};
    uint8_t head[4];
    enum err e = receive_all(c, head, sizeof head);

    message->len = 0;
    if (e != ERR_OK)
        return e;
    uint32_t len = be32(head);
    if (len == 0)
        return send_all(c, slice_of(tock, sizeof tock));
    if (len > MESSAGE_BYTES)
        return fail(c, ERR_INVALID, "its answer is longer than a sidecar's can be");
    buf_reserve(message, len);
    e = receive_all(c, message->data, len);
    if (e == ERR_OK)
        message->len = len;
    return e;
}

/* One checked term behind its version byte, cut off the front of ${rest}; NULL: there is none. */
static term take_term(struct slice *rest)
{
    struct fault ignored = {0};
    size_t used = 0;

    if (rest->len < 2 || rest->data[0] != VERSION)
        return NULL;
    struct slice body = slice_of(rest->data + 1, rest->len - 1);
    if (term_check_some(body, 1, &used, &ignored) != ERR_OK)
        return NULL;
    *rest = slice_of(body.data + used, body.len - used);
    return body.data;
}

/* The ticket of the call whose reference ${t} is; CLI_CLIENT_CALLS: none of ours. */
static unsigned find_call(const struct cli_client *c, term t)
{
    unsigned i = 0;

    while (i < CLI_CLIENT_CALLS &&
           !(t != NULL && c->refs[i].len > 0 && slice_eq(term_raw(t), buf_view(&c->refs[i]))))
        i++;
    return i;
}

/* {21, Name, Pid, Ref, Reason}: a call was ended. */
static enum err ended(struct cli_client *c, term reason)
{
    struct slice text = reason ? term_text(reason) : slice_str("?");
    char why[200];

    snprintf(why, sizeof why, "it ended the call (%.*s): is node.registered_name \"%.60s\" there?",
             (int)(text.len > 60 ? 60 : text.len), text.data ? (const char *)text.data : "",
             c->peer->name);
    return fail(c, ERR_NOT_FOUND, why);
}

/*
 * What a frame means: ${answer} of the call ${ticket}, a call at its end (ERR_NOT_FOUND), or
 * nothing to us.  {2, '', Pid} and {22, From, Pid} carry a message.
 */
static enum err read_frame(struct cli_client *c, const struct buf *message, unsigned *ticket,
                           term *answer)
{
    struct slice rest = slice_of(message->data + 1, message->len - 1);
    int64_t operation;

    if (message->data[0] != PASS_THROUGH)
        return fail(c, ERR_INVALID, "it does not speak the distribution protocol");
    term control = take_term(&rest), first = control ? term_element(control, 0) : NULL;
    if (first == NULL || !term_integer(first, &operation))
        return fail(c, ERR_INVALID, "it sent a control message that is none");
    if (operation == CONTROL_EXIT && find_call(c, term_element(control, 3)) < CLI_CLIENT_CALLS)
        return ended(c, term_element(control, 4));
    if (operation != CONTROL_SEND && operation != CONTROL_SEND_SENDER)
        return ERR_OK;
    term payload = take_term(&rest);
    if (payload == NULL)
        return fail(c, ERR_INVALID, "it sent a message that is no Erlang term");
    *ticket = find_call(c, term_element(payload, 0));
    if (*ticket < CLI_CLIENT_CALLS)
        *answer = term_element(payload, 1);
    return ERR_OK;
}

/* ---- what the others call ------------------------------------------------------ */

static void begin(struct cli_client *c, int64_t timeout_ms, struct fault *fault)
{
    c->deadline_ms = clock_mono_ms() + timeout_ms;
    c->fault = fault;
}

enum err cli_client_open(const struct cli_peer *peer, int64_t timeout_ms,
                         struct cli_client **client, struct fault *fault)
{
    struct cli_client *c = base_alloc(sizeof *c);

    c->fd = -1;
    c->peer = peer;
    begin(c, timeout_ms, fault);
    enum err e = connect_peer(c);
    if (e != ERR_OK) {
        cli_client_close(c);
        c = NULL;
    }
    *client = c;
    return e;
}

void cli_client_close(struct cli_client *c)
{
    if (c == NULL)
        return;
    if (c->fd >= 0)
        ei_close_connection(c->fd);
    for (unsigned i = 0; i < CLI_CLIENT_CALLS; i++)
        buf_free(&c->refs[i]);
    explicit_bzero(&c->self, sizeof c->self);
    free(c);
}

enum err cli_client_send(struct cli_client *c, struct slice request, int64_t timeout_ms,
                         unsigned *ticket, struct fault *fault)
{
    unsigned i = 0;

    while (i < CLI_CLIENT_CALLS && c->refs[i].len > 0)
        i++;
    PRE(i < CLI_CLIENT_CALLS);
    *ticket = i;
    begin(c, timeout_ms, fault);
    return send_request(c, request, &c->refs[i]);
}

enum err cli_client_receive(struct cli_client *c, int64_t timeout_ms, struct buf *message,
                            unsigned *ticket, term *answer, struct fault *fault)
{
    enum err e = ERR_OK;

    *answer = NULL;
    begin(c, timeout_ms, fault);
    while (e == ERR_OK && *answer == NULL) {
        e = left_ms(c) > 0 ? receive_frame(c, message) : too_late(c);
        if (e == ERR_OK && message->len > 0)
            e = read_frame(c, message, ticket, answer);
    }
    if (e == ERR_OK)
        c->refs[*ticket].len = 0;
    return e;
}

enum err cli_client_call(const struct cli_peer *peer, struct slice request, int64_t timeout_ms,
                         struct buf *message, term *answer, struct fault *fault)
{
    int64_t deadline_ms = clock_mono_ms() + timeout_ms;
    struct cli_client *c;
    unsigned ticket;

    *answer = NULL;
    enum err e = cli_client_open(peer, timeout_ms, &c, fault);
    if (e == ERR_OK)
        e = cli_client_send(c, request, deadline_ms - clock_mono_ms(), &ticket, fault);
    if (e == ERR_OK)
        e = cli_client_receive(c, deadline_ms - clock_mono_ms(), message, &ticket, answer, fault);
    cli_client_close(c);
    return e;
}
