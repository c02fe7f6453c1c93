/*
 * raw_node.c - the link's own limit: a C node that does nothing with what it reads.
 *
 *   raw_node NAME COOKIE     registers NAME@127.0.0.1 with epmd, writes "ready pid=PID", ends when
 *                            its standard input does
 *
 * The happy path: ei shakes hands; then one thread a connection reads as much as there is, counts
 * casts by their distribution header alone, and answers calls with the request itself, all answers
 * of one read in one write.  The call `casts` is answered with how many casts have come, so that
 * a caller knows when all are read.
 *
 * What can go wrong: whatever is not as expected ends the connection; this is a bench's peer, on
 * loopback, with a BEAM that is known.
 */

#include <arpa/inet.h>
#include <ei.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_BYTES (1 << 20)
#define REG_SEND     6
#define SEND         2

static ei_cnode node;
static int listener;
static atomic_long casts;

struct connection {
    int fd;
    uint8_t *in;
    size_t len, cap;
    ei_x_buff out;
};

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* {SEND, '', To} and {Tag, Reply} behind the length; Tag is [alias | Ref] of a BEAM's own call. */
static void put_reply(struct connection *c, const erlang_pid *to, const char *tag, int tag_len,
                      const char *reply, int reply_len)
{
    ei_x_buff *x = &c->out;
    int start = x->index;
    const char pass = 112;

    ei_x_append_buf(x, "\0\0\0\0", 4);
    ei_x_append_buf(x, &pass, 1);
    ei_x_encode_version(x);
    ei_x_encode_tuple_header(x, 3);
    ei_x_encode_long(x, SEND);
    ei_x_encode_atom(x, "");
    ei_x_encode_pid(x, to);
    ei_x_encode_version(x);
    ei_x_encode_tuple_header(x, 2);
    ei_x_append_buf(x, tag, tag_len);
    ei_x_append_buf(x, reply, reply_len);
    uint32_t len = (uint32_t)(x->index - start - 4);
    uint8_t *p = (uint8_t *)x->buff + start;
    p[0] = (uint8_t)(len >> 24);
    p[1] = (uint8_t)(len >> 16);
    p[2] = (uint8_t)(len >> 8);
    p[3] = (uint8_t)len;
}

/* {'$gen_call', {From, Tag}, Request} at ${i}, behind the word */
static bool answer_call(struct connection *c, const char *b, int i, int end)
{
    erlang_pid from;
    char word[MAXATOMLEN];
    int arity;

    if (ei_decode_tuple_header(b, &i, &arity) != 0 || ei_decode_pid(b, &i, &from) != 0)
        return false;
    int tag = i;
    if (ei_skip_term(b, &i) != 0)
        return false;
    int request = i, k = i;
    if (ei_decode_atom(b, &k, word) == 0 && strcmp(word, "casts") == 0) {
        ei_x_buff x;
        ei_x_new(&x);
        ei_x_encode_long(&x, casts);
        put_reply(c, &from, b + tag, request - tag, x.buff, x.index);
        ei_x_free(&x);
    } else if (strcmp(word, "is_auth") == 0 && k > i) {
        put_reply(c, &from, b + tag, request - tag, "\x77\x03yes", 5);
    } else {
        put_reply(c, &from, b + tag, request - tag, b + request, end - request);
    }
    return true;
}

/* One message without its length. */
static bool take(struct connection *c, const char *b, int len)
{
    char word[MAXATOMLEN];
    int i = 1, version, arity;
    long what;

    if (b[0] != 112 || ei_decode_version(b, &i, &version) != 0 ||
        ei_decode_tuple_header(b, &i, &arity) != 0 || ei_decode_long(b, &i, &what) != 0)
        return false;
    if (what != REG_SEND)
        return true; /* monitors, links: of no interest */
    for (int k = 1; k < arity; k++)
        if (ei_skip_term(b, &i) != 0)
            return false;
    if (ei_decode_version(b, &i, &version) != 0 || ei_decode_tuple_header(b, &i, &arity) != 0 ||
        ei_decode_atom(b, &i, word) != 0)
        return false;
    if (strcmp(word, "$gen_call") == 0)
        return answer_call(c, b, i, len);
    casts++;
    return true;
}

static bool take_all(struct connection *c)
{
    size_t at = 0;
    bool good = true;

    while (good && c->len - at >= 4) {
        size_t size = be32(c->in + at);
        if (size > BUFFER_BYTES - 4)
            return false;
        if (c->len - at < 4 + size)
            break;
        if (size == 0)
            ei_x_append_buf(&c->out, "\0\0\0\0", 4); /* a tick */
        else
            good = take(c, (const char *)c->in + at + 4, (int)size);
        at += 4 + size;
    }
    memmove(c->in, c->in + at, c->len - at);
    c->len -= at;
    return good;
}

static bool flush(struct connection *c)
{
    int sent = 0;

    while (sent < c->out.index) {
        ssize_t n = send(c->fd, c->out.buff + sent, (size_t)(c->out.index - sent), MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0)
            sent += (int)n;
    }
    c->out.index = 0;
    return true;
}

static void *serve(void *arg)
{
    struct connection *c = arg;

    for (;;) {
        ssize_t n = read(c->fd, c->in + c->len, c->cap - c->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        c->len += (size_t)n;
        if (!take_all(c) || !flush(c))
            break;
    }
    ei_close_connection(c->fd);
    ei_x_free(&c->out);
    free(c->in);
    free(c);
    return NULL;
}

static void *welcome(void *arg)
{
    (void)arg;
    for (;;) {
        ErlConnect peer;
        const int on = 1;
        pthread_t thread;
        int fd = ei_accept_tmo(&node, listener, &peer, 2000);

        if (fd < 0)
            continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *c = calloc(1, sizeof *c);
        if (c == NULL)
            abort();
        c->fd = fd;
        c->cap = BUFFER_BYTES;
        c->in = malloc(c->cap);
        if (c->in == NULL || ei_x_new(&c->out) != 0 || pthread_create(&thread, NULL, serve, c) != 0)
            abort();
        pthread_detach(thread);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct in_addr loopback = {.s_addr = htonl(INADDR_LOOPBACK)};
    char full[300], byte[64];
    pthread_t thread;
    int port = 0;

    if (argc != 3)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    ei_init();
    snprintf(full, sizeof full, "%s@127.0.0.1", argv[1]);
    if (ei_connect_xinit(&node, "127.0.0.1", argv[1], full, &loopback, argv[2],
                         (unsigned)time(NULL) & 0x7fff) < 0)
        return 1;
    listener = ei_xlisten(&node, &loopback, &port, 16);
    if (listener < 0 || ei_publish(&node, port) < 0) {
        fprintf(stderr, "raw_node: epmd does not take %s\n", full);
        return 1;
    }
    if (pthread_create(&thread, NULL, welcome, NULL) != 0)
        return 1;
    printf("ready pid=%d\n", (int)getpid());
    fflush(stdout);
    while (read(STDIN_FILENO, byte, sizeof byte) > 0)
        continue;
    return 0;
}
