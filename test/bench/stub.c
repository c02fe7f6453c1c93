/*
 * stub.c - a Convex that costs next to nothing: the other side of `make bench`.
 *
 *   stub            listens on a free port of 127.0.0.1, writes "ready port=PORT pid=PID",
 *                   ends when its standard input does
 *
 *   POST /api/mutation   success, at once or after the latency set; a body with "items" is a batch
 *                        and gets one result an item, any other body is one document
 *   GET /stats           {"requests":N,"documents":N,"bytes":N,"cpu_us":N}
 *   GET /await/N         the same, once N documents have come since the start
 *   GET /latency/US      from now on an answer takes that many microseconds
 *   GET /arrivals        {"count":N,"p50_us":N,"p99_us":N} of the documents that came since this was
 *                        last asked and say when they were appended ("lat:MICROSECONDS", wall clock)
 *
 * The happy path: one thread, epoll, one buffer a connection; a request is whole when its head and
 * Content-Length bytes are there; its items are counted by a search, not parsed.  Answers that are
 * to take time wait in one queue, since all of them take equally long.
 *
 * What can go wrong: a request that is too large or no HTTP ends its connection; a system call that
 * fails where it never should ends the program with a line on standard error.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_REQUEST_BYTES ((size_t)32 << 20)
#define MAX_ITEMS         4096
#define MAX_ARRIVALS      65536
#define RESULT            "{\"outcome\":\"inserted\",\"seq\":1}"

struct connection {
    int fd;
    char *in;
    size_t len, cap;
    /* an answer that waits: for its time, or for documents */
    struct connection *next;
    int64_t due_us;
    size_t items;
    bool is_batch;
    uint64_t await;
};

static struct {
    int epoll_fd;
    uint64_t requests, documents, bytes;
    int64_t latency_us;
    struct connection *late, **late_end; /* answers to mutations, in order of their time */
    struct connection *waiters;          /* GET /await */
    int64_t took_us[MAX_ARRIVALS];       /* from append to arrival */
    size_t arrivals;
} stub = {.late_end = &stub.late};

static void check(bool good, const char *what)
{
    if (good)
        return;
    perror(what);
    exit(1);
}

static int64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* ---- answering ------------------------------------------------------------ */

/* Loopback takes an answer at once unless the peer has stopped reading; then it is lost to us. */
static void send_all(struct connection *c, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        data += n;
        len -= (size_t)n;
    }
}

static void answer_json(struct connection *c, const char *json, size_t len)
{
    static char out[MAX_ITEMS * sizeof RESULT + 4096];
    int head = snprintf(out, 256,
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                        "Content-Length: %zu\r\n\r\n",
                        len);

    memcpy(out + head, json, len);
    send_all(c, out, (size_t)head + len);
}

static void answer_mutation(struct connection *c)
{
    static char json[MAX_ITEMS * sizeof RESULT + 256];
    static const char success[] = "{\"status\":\"success\",\"value\":null}";
    size_t len = 0;

    if (!c->is_batch) {
        answer_json(c, success, sizeof success - 1);
        return;
    }
    len += (size_t)sprintf(json, "{\"status\":\"success\",\"value\":{\"results\":[");
    for (size_t i = 0; i < c->items; i++) {
        if (i > 0)
            json[len++] = ',';
        memcpy(json + len, RESULT, sizeof RESULT - 1);
        len += sizeof RESULT - 1;
    }
    len += (size_t)sprintf(json + len, "]}}");
    answer_json(c, json, len);
}

static void answer_stats(struct connection *c)
{
    struct rusage u;
    char json[200];

    getrusage(RUSAGE_SELF, &u);
    int len = snprintf(json, sizeof json,
                       "{\"requests\":%llu,\"documents\":%llu,\"bytes\":%llu,\"cpu_us\":%lld}\n",
                       (unsigned long long)stub.requests, (unsigned long long)stub.documents,
                       (unsigned long long)stub.bytes,
                       (long long)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 +
                           u.ru_utime.tv_usec + u.ru_stime.tv_usec);
    answer_json(c, json, (size_t)len);
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static void answer_arrivals(struct connection *c)
{
    char json[200];
    size_t n = stub.arrivals;

    qsort(stub.took_us, n, sizeof *stub.took_us, by_size);
    int len =
        snprintf(json, sizeof json, "{\"count\":%zu,\"p50_us\":%lld,\"p99_us\":%lld}\n", n,
                 n > 0 ? (long long)stub.took_us[n / 2] : 0,
                 n > 0 ? (long long)stub.took_us[n * 99 / 100] : 0);
    stub.arrivals = 0;
    answer_json(c, json, (size_t)len);
}

static void answer_waiters(void)
{
    for (struct connection **at = &stub.waiters, *c; (c = *at) != NULL;) {
        if (stub.documents < c->await) {
            at = &c->next;
            continue;
        }
        *at = c->next;
        answer_stats(c);
    }
}

static void answer_late(void)
{
    int64_t now = now_us();

    while (stub.late != NULL && stub.late->due_us <= now) {
        struct connection *c = stub.late;
        if ((stub.late = c->next) == NULL)
            stub.late_end = &stub.late;
        answer_mutation(c);
    }
}

/* ---- requests ------------------------------------------------------------- */

static size_t count_of(const char *body, size_t len, const char *word)
{
    size_t count = 0, word_len = strlen(word);
    const char *end = body + len;

    while ((body = memmem(body, (size_t)(end - body), word, word_len)) != NULL) {
        body += word_len;
        count++;
    }
    return count;
}

/* Documents of a body that say when they were appended. */
static void note_arrivals(const char *body, size_t len)
{
    static const char word[] = "\"lat:";
    const char *end = body + len;
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    while (stub.arrivals < MAX_ARRIVALS &&
           (body = memmem(body, (size_t)(end - body), word, sizeof word - 1)) != NULL) {
        body += sizeof word - 1;
        stub.took_us[stub.arrivals++] =
            t.tv_sec * 1000000 + t.tv_nsec / 1000 - strtoll(body, NULL, 10);
    }
}

static void take_mutation(struct connection *c, const char *body, size_t len)
{
    static const char batch[] = "\"items\":[";
    size_t front = len < 300 ? len : 300;

    c->is_batch = memmem(body, front, batch, sizeof batch - 1) != NULL;
    c->items = c->is_batch ? count_of(body, len, "\"content_hash\":") +
                                 count_of(body, len, "\"op\":\"remove\"")
                           : 1;
    check(c->items <= MAX_ITEMS, "items");
    stub.requests++;
    stub.documents += c->items;
    stub.bytes += len;
    note_arrivals(body, len);
    if (stub.latency_us == 0) {
        answer_mutation(c);
    } else {
        c->due_us = now_us() + stub.latency_us;
        c->next = NULL;
        *stub.late_end = c;
        stub.late_end = &c->next;
    }
    answer_waiters();
}

static void take_request(struct connection *c, const char *body, size_t len)
{
    if (strncmp(c->in, "POST /api/mutation ", 19) == 0) {
        take_mutation(c, body, len);
    } else if (strncmp(c->in, "GET /await/", 11) == 0) {
        c->await = strtoull(c->in + 11, NULL, 10);
        c->next = stub.waiters;
        stub.waiters = c;
        answer_waiters();
    } else if (strncmp(c->in, "GET /arrivals ", 14) == 0) {
        answer_arrivals(c);
    } else if (strncmp(c->in, "GET /latency/", 13) == 0) {
        stub.latency_us = strtoll(c->in + 13, NULL, 10);
        answer_stats(c);
    } else {
        answer_stats(c);
    }
}

static size_t content_length(const char *head, const char *end)
{
    static const char name[] = "\ncontent-length:";

    for (const char *at = head; (at = memchr(at, '\n', (size_t)(end - at))) != NULL; at++)
        if (strncasecmp(at, name, sizeof name - 1) == 0)
            return strtoul(at + sizeof name - 1, NULL, 10);
    return 0;
}

/* Whether the bytes so far were good; takes one request when it is whole. */
static bool take_bytes(struct connection *c)
{
    char *end = memmem(c->in, c->len, "\r\n\r\n", 4);

    if (end == NULL)
        return c->len < 65536;
    size_t head = (size_t)(end - c->in) + 4, body = content_length(c->in, end + 2);
    if (body > MAX_REQUEST_BYTES)
        return false;
    if (head + body + 1 > c->cap) {
        c->cap = head + body + 1;
        c->in = realloc(c->in, c->cap);
        check(c->in != NULL, "realloc");
    }
    if (c->len < head + body)
        return true;
    c->in[head + body] = '\0';
    take_request(c, c->in + head, body);
    c->len = 0; /* nobody here sends the next request before the answer */
    return true;
}

/* ---- connections ---------------------------------------------------------- */

/* Out of the queue it waits in, whichever that is. */
static void forget(struct connection *c)
{
    for (struct connection **at = &stub.waiters; *at != NULL; at = &(*at)->next)
        if (*at == c) {
            *at = c->next;
            break;
        }
    for (struct connection **at = &stub.late; *at != NULL; at = &(*at)->next)
        if (*at == c) {
            *at = c->next;
            break;
        }
    stub.late_end = &stub.late;
    while (*stub.late_end != NULL)
        stub.late_end = &(*stub.late_end)->next;
    close(c->fd);
    free(c->in);
    free(c);
}

static void serve(struct connection *c)
{
    ssize_t n = recv(c->fd, c->in + c->len, c->cap - 1 - c->len, 0);

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n > 0)
        c->len += (size_t)n;
    if (n <= 0 || !take_bytes(c))
        forget(c);
}

static void welcome(int listener)
{
    struct connection *c = calloc(1, sizeof *c);
    const int on = 1;

    check(c != NULL, "calloc");
    c->fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    check(c->fd >= 0, "accept");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->cap = 131072;
    c->in = malloc(c->cap);
    check(c->in != NULL, "malloc");
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    check(epoll_ctl(stub.epoll_fd, EPOLL_CTL_ADD, c->fd, &e) == 0, "epoll_ctl");
}

static int listen_somewhere(int *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    check(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 512) == 0 &&
              getsockname(fd, (struct sockaddr *)&a, &len) == 0,
          "listen");
    *port = ntohs(a.sin_port);
    return fd;
}

static int wait_ms(void)
{
    if (stub.late == NULL)
        return -1;
    int64_t left_us = stub.late->due_us - now_us();
    return left_us > 0 ? (int)((left_us + 999) / 1000) : 0;
}

int main(void)
{
    struct epoll_event events[64], in = {.events = EPOLLIN, .data.ptr = NULL};
    int port, listener = listen_somewhere(&port);
    struct epoll_event door = {.events = EPOLLIN, .data.ptr = &listener};

    stub.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    check(stub.epoll_fd >= 0, "epoll_create1");
    check(epoll_ctl(stub.epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &in) == 0, "stdin");
    check(epoll_ctl(stub.epoll_fd, EPOLL_CTL_ADD, listener, &door) == 0, "listener");
    printf("ready port=%d pid=%d\n", port, (int)getpid());
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(stub.epoll_fd, events, 64, wait_ms());
        check(n >= 0 || errno == EINTR, "epoll_wait");
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL)
                return 0;
            if (events[i].data.ptr == &listener)
                welcome(listener);
            else
                serve(events[i].data.ptr);
        }
        answer_late();
    }
}
