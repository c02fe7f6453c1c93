/*
 * cli_client.c - calls to a running sidecar.
 *
 * The happy path: the store's folder is opened, control.sock in it belongs to our user (or we are
 * root), the sidecar accepts the connection and says {welcome, Version}.  Then {call, Ref,
 * Request} goes out, and {more, Ref, Part} ... {reply, Ref, Answer} comes back, each in a frame:
 * four bytes of length, then a term.  Several calls may be under way, each with a number of its
 * own.
 *
 * What can go wrong: no store, no sidecar in it, one of another user, an older one; no answer in
 * time, the connection ends, unknown frames.  All end the call with a sentence that says what to
 * do.  One thread.
 */

#include "cli/cli_client.h"

#include "ground/clock.h"
#include "ground/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGE_BYTES                                                                              \
    16777216 /* the longest frame: a page of dead letters, a document with its answer */

struct cli_client {
    int fd;
    unsigned last_ticket;
    /* of the function that is at work */
    int64_t deadline_ms;
    struct fault *fault;
};

static int left_ms(const struct cli_client *c)
{
    int64_t left = c->deadline_ms - clock_mono_ms();

    return left <= 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

static enum err lost(struct cli_client *c)
{
    return fault_fail(c->fault, ERR_CLOSED, NULL,
                      "the connection ended before the answer came; see its log");
}

static enum err too_late(struct cli_client *c)
{
    return fault_fail(c->fault, ERR_BUSY, NULL,
                      "it did not answer in time; --timeout SECONDS waits longer");
}

/* Send (POLLOUT) or receive (POLLIN) all of ${len} bytes. */
static enum err move_all(struct cli_client *c, short direction, uint8_t *at, size_t len)
{
    while (len > 0) {
        struct pollfd p = {.fd = c->fd, .events = direction};
        ssize_t n = direction == POLLIN ? recv(c->fd, at, len, MSG_DONTWAIT)
                                        : send(c->fd, at, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        } else if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
            return lost(c);
        } else if (poll(&p, 1, left_ms(c)) == 0) {
            return too_late(c);
        }
    }
    return ERR_OK;
}

/* ---- frames ---------------------------------------------------------------------- */

/* One frame into ${message}, as the checked term ${t}.  Length 0 is a keep-alive. */
static enum err receive_frame(struct cli_client *c, struct buf *message, term *t)
{
    struct fault ignored;
    uint8_t head[4] = {0};
    uint32_t len = 0;
    enum err e = ERR_OK;

    while (e == ERR_OK && len == 0) {
        e = left_ms(c) > 0 ? move_all(c, POLLIN, head, sizeof head) : too_late(c);
        len = e == ERR_OK ? be32(head) : 0;
    }
    if (e == ERR_OK && len > MESSAGE_BYTES)
        e = fault_fail(c->fault, ERR_INVALID, NULL, "its answer is longer than a sidecar's can be");
    if (e != ERR_OK)
        return e;
    message->len = 0;
    buf_reserve(message, len);
    e = move_all(c, POLLIN, message->data, len);
    message->len = e == ERR_OK ? len : 0;
    if (e == ERR_OK && term_check(buf_view(message), t, &ignored) != ERR_OK)
        e = fault_fail(c->fault, ERR_INVALID, NULL, "it sent a message that is no Erlang term");
    return e;
}

/* {refused, Why}, or a frame that this program does not know. */
static enum err not_understood(struct cli_client *c, term t)
{
    struct slice why = term_is(term_element(t, 0), "refused") && term_element(t, 1) != NULL
                           ? term_text(term_element(t, 1))
                           : slice_of(NULL, 0);

    if (why.data == NULL)
        return fault_fail(
            c->fault, ERR_INVALID, NULL,
            "it sent a message this program does not know; next: use the program of its version");
    return fault_fail(c->fault, ERR_CLOSED, NULL, "%.*s", (int)(why.len < 200 ? why.len : 200),
                      (const char *)why.data);
}

static enum err receive_welcome(struct cli_client *c)
{
    struct buf message = {0};
    term t;
    enum err e = receive_frame(c, &message, &t);

    if (e == ERR_OK && !term_is(term_element(t, 0), "welcome"))
        e = not_understood(c, t);
    buf_free(&message);
    return e;
}

/* ---- the way there --------------------------------------------------------------- */

/* Why the store's folder, or the socket in it, cannot be reached; by errno. */
static enum err not_there(struct cli_client *c, int dir_fd)
{
    switch (errno) {
    case EACCES:
    case EPERM:
        return fault_fail(c->fault, ERR_NOT_OWNED, NULL,
                          "not permitted; next: run this as the sidecar's user or as root");
    case EAGAIN:
        return fault_fail(
            c->fault, ERR_BUSY, NULL,
            "it does not take the connection; next: see in its log whether it is stuck");
    case ENOENT:
    case ENOTDIR:
    case ECONNREFUSED:
        break;
    default:
        return fault_fail(c->fault, ERR_SYSTEM, NULL,
                          "control.sock: %s; next: see the sidecar's log", strerror(errno));
    }
    if (dir_fd < 0)
        return fault_fail(
            c->fault, ERR_NOT_FOUND, NULL,
            "there is no such store; next: give that of a sidecar on this machine (--store DIR "
            "or --config FILE); one elsewhere is asked from there, or from a BEAM node");
    if (faccessat(dir_fd, "control", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return fault_fail(
            c->fault, ERR_NOT_FOUND, NULL,
            "a sidecar of version 0.1 runs there, or was killed; next: ask it with its own "
            "program, or start it anew with this version");
    return fault_fail(
        c->fault, ERR_NOT_FOUND, NULL,
        "is it running? next: start it, or give another store (--store DIR or --config FILE); if "
        "it runs, its log says why there is no control.sock");
}

/* Another user's socket may not be a sidecar's; root may use any user's. */
static enum err check_owner(struct cli_client *c, uid_t owner)
{
    if (geteuid() == 0 || geteuid() == owner)
        return ERR_OK;
    return fault_fail(c->fault, ERR_NOT_OWNED, NULL,
                      "not permitted: it is user %ld's; next: run this as that user or as root",
                      (long)owner);
}

static enum err reach(struct cli_client *c, const char *store_dir)
{
    uid_t owner;
    int dir_fd = open(store_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int found_fd = dir_fd < 0 ? -1 : unix_socket_find(dir_fd, "control.sock", &owner);
    enum err e = found_fd < 0 ? not_there(c, dir_fd) : check_owner(c, owner);

    if (e == ERR_OK) {
        c->fd = unix_socket_connect(found_fd, left_ms(c));
        e = c->fd < 0 ? not_there(c, dir_fd) : receive_welcome(c);
    }
    if (found_fd >= 0)
        close(found_fd);
    if (dir_fd >= 0)
        close(dir_fd);
    return e;
}

/* ---- what the others call -------------------------------------------------------- */

static void begin(struct cli_client *c, int64_t timeout_ms, struct fault *fault)
{
    c->deadline_ms = clock_mono_ms() + timeout_ms;
    c->fault = fault;
}

enum err cli_client_open(const char *store_dir, int64_t timeout_ms, struct cli_client **client,
                         struct fault *fault)
{
    struct cli_client *c = base_alloc(sizeof *c);

    c->fd = -1;
    begin(c, timeout_ms, fault);
    enum err e = reach(c, store_dir);
    if (e != ERR_OK) {
        cli_client_close(c);
        c = NULL;
    }
    *client = c;
    return e;
}

void cli_client_close(struct cli_client *c)
{
    if (c != NULL && c->fd >= 0)
        close(c->fd);
    free(c);
}

enum err cli_client_send(struct cli_client *c, struct slice request, int64_t timeout_ms,
                         unsigned *ticket, struct fault *fault)
{
    struct buf frame = {0};

    begin(c, timeout_ms, fault);
    *ticket = ++c->last_ticket;
    buf_be32(&frame, 0); /* the length, below */
    term_put_version(&frame);
    term_put_tuple(&frame, 3);
    term_put_atom(&frame, "call");
    term_put_integer(&frame, *ticket);
    term_put_raw(&frame, request);
    for (int i = 0; i < 4; i++)
        frame.data[i] = (uint8_t)((frame.len - 4) >> (24 - 8 * i));
    enum err e = move_all(c, POLLOUT, frame.data, frame.len);
    buf_free(&frame);
    return e;
}

bool cli_client_is_ready(struct cli_client *c, int64_t wait_ms)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};

    return poll(&p, 1, (int)wait_ms) > 0;
}

enum err cli_client_receive(struct cli_client *c, int64_t timeout_ms, struct buf *message,
                            struct cli_answer *answer, struct fault *fault)
{
    term t;
    int64_t ref = 0;

    begin(c, timeout_ms, fault);
    enum err e = receive_frame(c, message, &t);
    if (e != ERR_OK)
        return e;
    term word = term_element(t, 0), number = term_element(t, 1);
    *answer = (struct cli_answer){.is_part = term_is(word, "more"), .term = term_element(t, 2)};
    if ((!answer->is_part && !term_is(word, "reply")) || answer->term == NULL ||
        !term_integer(number, &ref) || ref < 1 || ref > c->last_ticket)
        return not_understood(c, t);
    answer->ticket = (unsigned)ref;
    return ERR_OK;
}

enum err cli_client_call(const char *store_dir, struct slice request, int64_t timeout_ms,
                         struct buf *message, term *answer, struct fault *fault)
{
    int64_t deadline_ms = clock_mono_ms() + timeout_ms;
    struct cli_answer got = {.is_part = true};
    struct cli_client *c;
    unsigned ticket;

    enum err e = cli_client_open(store_dir, timeout_ms, &c, fault);
    if (e == ERR_OK)
        e = cli_client_send(c, request, deadline_ms - clock_mono_ms(), &ticket, fault);
    while (e == ERR_OK && got.is_part)
        e = cli_client_receive(c, deadline_ms - clock_mono_ms(), message, &got, fault);
    *answer = got.term;
    cli_client_close(c);
    return e;
}
