/*
 * observe_fuzz.c - whatever somebody sends to observe, it answers or closes, and goes on answering.
 */

#include "status/observe.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_ready(void *arg, struct buf *why)
{
    (void)arg, (void)why;
    return true;
}

static void put_object(void *arg, struct buf *json)
{
    (void)arg;
    buf_str(json, "{}");
}

static int reach(uint16_t port)
{
    const struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct linger at_once = {1, 0}; /* no port waits in TIME_WAIT */
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    PRE(fd >= 0 && connect(fd, (const struct sockaddr *)&to, sizeof to) == 0);
    PRE(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
    return fd;
}

/* Send, and read until it closes, or nothing comes for so long. */
static size_t say(uint16_t port, const void *data, size_t size, char *out, size_t room, int wait_ms)
{
    const struct timeval patience = {wait_ms / 1000, wait_ms % 1000 * 1000};
    size_t len = 0;
    ssize_t n;
    int fd = reach(port);

    PRE(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
    (void)!send(fd, data, size, MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    while (len < room && (n = recv(fd, out + len, room - len, 0)) > 0)
        len += (size_t)n;
    close(fd);
    return len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct observe_source source = {.is_ready = is_ready,
                                                 .status = put_object,
                                                 .history = put_object,
                                                 .hosts = "sidecar.example"};
    static const char health[] = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    static struct observe *o;
    static unsigned runs;
    static char out[65536];
    struct fault fault;

    if (o == NULL)
        PRE(observe_open("127.0.0.1", 0, &source, &o, &fault) == ERR_OK);
    (void)say(observe_port(o), data, size, out, sizeof out, 100);
    if (++runs % 64 == 0) {
        size_t len = say(observe_port(o), health, sizeof health - 1, out, sizeof out - 1, 20000);
        out[len] = '\0';
        PRE(strncmp(out, "HTTP/1.1 200", 12) == 0);
    }
    return 0;
}
