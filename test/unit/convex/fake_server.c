/*
 * fake_server.c - a TCP server that follows a script, for a test to include.
 *
 * The peer is a thread that takes a list of steps, one connection at a time: what it shall read,
 * send, and how it ends.  No step sleeps: what shall be late is sent when the test says so, or
 * never, and the client's own limits end the call.
 */

#include "ground/base.h"
#include "ground/buf.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <linux/sockios.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum op {
    DO_END,
    DO_ACCEPT,
    DO_READ,
    DO_READ_SOME,
    DO_READ_OR_ACCEPT,
    DO_SEND,
    DO_SEND_LATE,
    DO_DRIBBLE,
    DO_ZEROS,
    DO_SHUT,
    DO_RESET,
    DO_HOLD,
    DO_STOP_LISTEN
};

struct step {
    enum op op;
    const char *text;
    size_t count;
};

/* clang-format off */
#define ACCEPT        {DO_ACCEPT, NULL, 0}      /* the next connection */
#define READ          {DO_READ, NULL, 0}        /* one whole request, kept in server.seen */
#define READ_SOME     {DO_READ_SOME, NULL, 0}   /* a first piece, not kept */
#define READ_OR_ACCEPT {DO_READ_OR_ACCEPT, NULL, 0} /* one whole request, here or on a new connection */
#define SEND(text)    {DO_SEND, text, 0}
#define SEND_LATE(text) {DO_SEND_LATE, text, 0} /* when server_let says so */
#define DRIBBLE(text) {DO_DRIBBLE, text, 0}     /* a byte a packet */
#define ZEROS(count)  {DO_ZEROS, NULL, count}   /* until the client has enough of them */
#define SHUT          {DO_SHUT, NULL, 0}        /* end of file, politely */
#define RESET         {DO_RESET, NULL, 0}
#define HOLD          {DO_HOLD, NULL, 0}        /* until the client goes away */
#define STOP_LISTEN   {DO_STOP_LISTEN, NULL, 0} /* connections are refused from now on */
#define SCRIPT(...)   (struct step[]){__VA_ARGS__, {DO_END, NULL, 0}}
/* clang-format on */

struct server {
    int listener, peer, port;
    unsigned accepted;
    struct buf seen;
    const struct step *script;
    sem_t let, is_there;
    pthread_t thread;
};

static bool read_byte(struct server *s)
{
    char byte;

    if (recv(s->peer, &byte, 1, 0) != 1)
        return false;
    buf_byte(&s->seen, (uint8_t)byte);
    return true;
}

static void read_bytes(struct server *s, size_t count)
{
    ssize_t n;

    buf_reserve(&s->seen, count);
    while (count && (n = recv(s->peer, s->seen.data + s->seen.len, count, 0)) > 0) {
        s->seen.len += (size_t)n;
        count -= (size_t)n;
    }
}

static void read_request(struct server *s)
{
    size_t from = s->seen.len, body = 0;
    const char *length;

    do {
        if (!read_byte(s))
            return;
    } while (s->seen.len - from < 4 || memcmp(s->seen.data + s->seen.len - 4, "\r\n\r\n", 4) != 0);
    buf_byte(&s->seen, 0);
    length = strstr((char *)s->seen.data + from, "Content-Length: ");
    s->seen.len--;
    if (length)
        body = strtoul(length + 16, NULL, 10);
    read_bytes(s, body);
}

static void send_text(struct server *s, const char *text, size_t piece)
{
    for (size_t len = strlen(text), at = 0; at < len; at += piece)
        if (send(s->peer, text + at, len - at < piece ? len - at : piece, MSG_NOSIGNAL) < 0)
            return;
}

static void send_zeros(struct server *s, size_t count)
{
    char zeros[4096];

    memset(zeros, '0', sizeof zeros);
    while (count) {
        size_t piece = count < sizeof zeros ? count : sizeof zeros;
        if (send(s->peer, zeros, piece, MSG_NOSIGNAL) < 0)
            return;
        count -= piece;
    }
}

/* Send, and wait until it is in the client's kernel. */
static void send_late(struct server *s, const char *text)
{
    int left = 1;

    while (sem_wait(&s->let) != 0)
        ;
    send_text(s, text, SIZE_MAX / 2);
    while (ioctl(s->peer, SIOCOUTQ, &left) == 0 && left > 0)
        sched_yield();
    sem_post(&s->is_there);
}

static void end_peer(struct server *s)
{
    if (s->peer >= 0)
        close(s->peer);
    s->peer = -1;
}

static void take_step(struct server *s, const struct step *step);

/* A client may have closed the connection: then its request comes on the next. */
static void read_anywhere(struct server *s)
{
    size_t before = s->seen.len;

    read_request(s);
    if (s->seen.len > before)
        return;
    take_step(s, &(struct step)ACCEPT);
    read_request(s);
}

static void take_step(struct server *s, const struct step *step)
{
    char some[256];
    struct linger abort_now = {1, 0};
    struct timeval limit = {20, 0};
    int one = 1;

    switch (step->op) {
    case DO_ACCEPT:
        end_peer(s);
        s->peer = accept(s->listener, NULL, NULL);
        s->accepted++;
        setsockopt(s->peer, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        setsockopt(s->peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        break;
    case DO_READ:
        read_request(s);
        break;
    case DO_READ_OR_ACCEPT:
        read_anywhere(s);
        break;
    case DO_READ_SOME:
        ck_assert_int_gt(recv(s->peer, some, sizeof some, 0), 0);
        break;
    case DO_SEND:
        send_text(s, step->text, SIZE_MAX / 2);
        break;
    case DO_SEND_LATE:
        send_late(s, step->text);
        break;
    case DO_DRIBBLE:
        send_text(s, step->text, 1);
        break;
    case DO_ZEROS:
        send_zeros(s, step->count);
        break;
    case DO_SHUT:
        end_peer(s);
        break;
    case DO_RESET:
        setsockopt(s->peer, SOL_SOCKET, SO_LINGER, &abort_now, sizeof abort_now);
        end_peer(s);
        break;
    case DO_HOLD:
        while (recv(s->peer, some, sizeof some, 0) > 0)
            ;
        break;
    case DO_STOP_LISTEN:
        close(s->listener);
        s->listener = -1;
        break;
    case DO_END:
        break;
    }
}

static void *serve(void *arg)
{
    struct server *s = arg;

    for (const struct step *step = s->script; step->op != DO_END; step++)
        take_step(s, step);
    end_peer(s);
    return NULL;
}

static void server_listen(struct server *s)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;

    *s = (struct server){.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .peer = -1};
    ck_assert_int_eq(bind(s->listener, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(listen(s->listener, 16), 0);
    ck_assert_int_eq(getsockname(s->listener, (struct sockaddr *)&a, &len), 0);
    s->port = ntohs(a.sin_port);
}

static void server_begin(struct server *s, const struct step *script)
{
    s->script = script;
    ck_assert_int_eq(sem_init(&s->let, 0, 0), 0);
    ck_assert_int_eq(sem_init(&s->is_there, 0, 0), 0);
    ck_assert_int_eq(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void server_start(struct server *s, const struct step *script)
{
    server_listen(s);
    server_begin(s, script);
}

/* The next SEND_LATE is sent, and waits unread at the client. */
__attribute__((unused)) static void server_let(struct server *s)
{
    sem_post(&s->let);
    while (sem_wait(&s->is_there) != 0)
        ;
}

/* Call after the client has closed: a script may hold until then. */
static void server_end(struct server *s)
{
    ck_assert_int_eq(pthread_join(s->thread, NULL), 0);
    if (s->listener >= 0)
        close(s->listener);
}
