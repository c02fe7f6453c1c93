/* observe_test.c - the pages over real HTTP on loopback: raw requests, whole answers. */

#include "status/observe.h"

#include "ground/beat.h"
#include "ground/metrics.h"
#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

static _Atomic(const char *) not_well; /* "" = ready */

static bool is_ready(void *arg, struct buf *why)
{
    ck_assert_ptr_eq(arg, &not_well);
    buf_str(why, not_well);
    return *not_well == '\0';
}

static void put_status(void *arg, struct buf *json)
{
    ck_assert_ptr_eq(arg, &not_well);
    buf_str(json, "{\"state\":\"running\"}");
}

static void put_history(void *arg, struct buf *json)
{
    ck_assert_ptr_eq(arg, &not_well);
    buf_str(json, "{\"samples\":[]}");
}

static void put_letters(void *arg, struct buf *json)
{
    ck_assert_ptr_eq(arg, &not_well);
    buf_str(json, "[]");
}

static const struct observe_source source = {.arg = (void *)&not_well,
                                             .is_ready = is_ready,
                                             .status = put_status,
                                             .history = put_history,
                                             .letters = put_letters,
                                             .hosts = "side.example other"};

static struct observe *opened(void)
{
    struct observe *o = NULL;
    struct fault fault = {0};
    not_well = "";
    enum err e = observe_open("127.0.0.1", 0, &source, &o, &fault);
    ck_assert_msg(e == ERR_OK, "%s: %s", fault.path, fault.why);
    ck_assert_uint_ne(observe_port(o), 0);
    return o;
}

static int connected(uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    struct timeval limit = {.tv_sec = 5};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return fd;
}

/* The whole answer to ${request}, up to the end of the connection; the caller frees it. */
static char *answer_to(struct observe *o, const char *request)
{
    struct buf b = {0};
    int fd = connected(observe_port(o));
    char some[4096];
    ssize_t n;
    ck_assert_int_eq(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
    while ((n = recv(fd, some, sizeof some, 0)) > 0)
        buf_add(&b, some, (size_t)n);
    close(fd);
    buf_byte(&b, 0);
    return (char *)b.data;
}

static char *get(struct observe *o, const char *method, const char *path)
{
    char request[200];
    snprintf(request, sizeof request,
             "%s %s HTTP/1.1\r\nHost: 127.0.0.1:1\r\nConnection: close\r\n\r\n", method, path);
    return answer_to(o, request);
}

static const char *body_of(const char *answer)
{
    const char *end = strstr(answer, "\r\n\r\n");
    ck_assert_ptr_nonnull(end);
    return end + 4;
}

static void assert_status(const char *answer, int status)
{
    int got = 0;
    ck_assert_int_eq(sscanf(answer, "HTTP/1.1 %d", &got), 1);
    ck_assert_msg(got == status, "wanted %d, got:\n%s", status, answer);
}

static void assert_header(const char *answer, const char *line)
{
    ck_assert_msg(strcasestr(answer, line) != NULL, "no \"%s\" in:\n%s", line, answer);
}

TEST(metrics_are_openmetrics)
{
    struct observe *o = opened();
    metric_set(METRIC_PENDING, 17);
    char *a = get(o, "GET", "/metrics");
    assert_status(a, 200);
    assert_header(
        a, "\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n");
    assert_header(a, "\r\nCache-Control: no-store\r\n");
    ck_assert_ptr_nonnull(strstr(body_of(a), "\nconvex_sidecar_pending 17\n"));
    ck_assert_str_eq(a + strlen(a) - 6, "# EOF\n");
    free(a);
    a = answer_to(o, "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: text/plain;version=0.0.4\r\n"
                     "Connection: close\r\n\r\n");
    assert_header(a, "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n");
    ck_assert_ptr_nonnull(strstr(body_of(a), "\nconvex_sidecar_pending 17\n"));
    ck_assert_ptr_null(strstr(a, "# EOF"));
    free(a);
    observe_close(o);
}

TEST(health_readiness_status)
{
    struct observe *o = opened();
    char *a = get(o, "GET", "/healthz");
    assert_status(a, 200);
    ck_assert_str_eq(body_of(a), "ok\n");
    free(a);

    a = get(o, "GET", "/readyz");
    assert_status(a, 200);
    ck_assert_str_eq(body_of(a), "ready\n");
    free(a);

    not_well = "the store fails: nothing is taken\ndelivery is stopped: bad key\n";
    a = get(o, "GET", "/readyz");
    assert_status(a, 503);
    assert_header(a, "\r\nContent-Type: text/plain; charset=utf-8\r\n");
    ck_assert_str_eq(body_of(a), not_well);
    free(a);
    a = get(o, "GET", "/healthz"); /* alive, not ready */
    assert_status(a, 200);
    free(a);

    a = get(o, "GET", "/status");
    assert_status(a, 200);
    assert_header(a, "\r\nContent-Type: application/json\r\n");
    ck_assert_str_eq(body_of(a), "{\"state\":\"running\"}\n");
    free(a);
    observe_close(o);
}

TEST(health_fails_while_a_thread_stands_still)
{
    struct observe *o = opened();

    beat_begin("store");
    for (int s = 0; s <= BEAT_STUCK_MS / 1000; s++)
        beats_tick(1000);
    char *a = get(o, "GET", "/healthz");
    assert_status(a, 503);
    ck_assert_str_eq(body_of(a), "the store thread stands still\n");
    free(a);
    beat();
    beats_tick(1000);
    a = get(o, "GET", "/healthz");
    assert_status(a, 200);
    free(a);
    beat_end();
    observe_close(o);
}

TEST(the_page_names_nothing_but_itself)
{
    struct observe *o = opened();
    char *a = get(o, "GET", "/");
    assert_status(a, 200);
    assert_header(a, "\r\nContent-Type: text/html; charset=utf-8\r\n");
    assert_header(a, "\r\nContent-Security-Policy: default-src 'none'; style-src 'sha256-");
    assert_header(a, "; script-src 'sha256-");
    assert_header(a, "frame-ancestors 'none'\r\n");
    assert_header(a, "\r\nCache-Control: no-store\r\n");
    assert_header(a, "\r\nX-Content-Type-Options: nosniff\r\n");
    assert_header(a, "\r\nReferrer-Policy: no-referrer\r\n");
    assert_header(a, "\r\nX-Frame-Options: DENY\r\n");
    ck_assert_ptr_null(strstr(a, "Allow:"));
    ck_assert_ptr_null(strstr(a, "unsafe"));
    ck_assert_ptr_null(strstr(a, "page.css"));
    ck_assert_ptr_null(strstr(body_of(a), "src="));
    ck_assert_ptr_nonnull(strstr(body_of(a), "</html>"));
    free(a);
    a = get(o, "GET", "/history");
    assert_header(a, "\r\nContent-Type: application/json\r\n");
    ck_assert_str_eq(body_of(a), "{\"samples\":[]}\n");
    ck_assert_ptr_null(strstr(a, "Content-Security-Policy"));
    free(a);
    a = get(o, "GET", "/dead");
    assert_header(a, "\r\nContent-Type: application/json\r\n");
    ck_assert_str_eq(body_of(a), "[]\n");
    free(a);
    observe_close(o);
}

/* A stranger's name that was made to lead here (DNS rebinding) must not read what is for people. */
TEST(only_names_of_its_own_are_answered_to_people)
{
    static const struct {
        const char *host;
        int status;
    } cases[] = {{"127.0.0.1", 200},
                 {"127.0.0.1:9464", 200},
                 {"[::1]:9464", 200},
                 {"localhost", 200},
                 {"LOCALHOST:1", 200},
                 {"10.1.2.3:80", 200},
                 {"side.example", 200},
                 {"Other:80", 200},
                 {"evil.example", 421},
                 {"side", 421},
                 {"127.0.0.1.evil", 421},
                 {"localhost.evil:1", 421},
                 {"", 421},
                 {"[evil]", 421}};
    static const char *const paths[] = {"/", "/status", "/history", "/dead"};
    struct observe *o = opened();
    char request[200];

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t k = 0; k < sizeof paths / sizeof *paths; k++) {
            snprintf(request, sizeof request,
                     "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", paths[k],
                     cases[i].host);
            char *a = answer_to(o, request);
            assert_status(a, cases[i].status);
            if (cases[i].status != 200)
                ck_assert_ptr_nonnull(strstr(body_of(a), "[observe] hosts"));
            free(a);
        }
    /* machines come by any name */
    char *a = answer_to(o, "GET /metrics HTTP/1.1\r\nHost: sidecar.svc\r\n"
                           "Connection: close\r\n\r\n");
    assert_status(a, 200);
    free(a);
    observe_close(o);
}

TEST(head_has_no_body)
{
    struct observe *o = opened();
    char *a = get(o, "HEAD", "/healthz");
    assert_status(a, 200);
    assert_header(a, "\r\nContent-Length: 3\r\n");
    ck_assert_str_eq(body_of(a), "");
    free(a);
    observe_close(o);
}

TEST(other_paths_and_methods)
{
    struct observe *o = opened();
    char *a = get(o, "GET", "/metrics/");
    assert_status(a, 404);
    ck_assert_ptr_nonnull(
        strstr(body_of(a), "/metrics, /healthz, /readyz, /status, /history and /dead"));
    free(a);
    a = get(o, "DELETE", "/status");
    assert_status(a, 405);
    assert_header(a, "\r\nAllow: GET, HEAD\r\n");
    free(a);
    a = answer_to(o, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
                     "Connection: close\r\n\r\nhello");
    assert_status(a, 405);
    free(a);
    a = get(o, "GET", "/metrics?x=1"); /* a query is ignored, as Prometheus' params may send one */
    assert_status(a, 200);
    free(a);
    observe_close(o);
}

TEST(nonsense_and_oversize_do_no_harm)
{
    struct observe *o = opened();
    char *big = base_alloc(40001);
    memset(big, 'x', 40000);
    memcpy(big, "GET /", 5);
    char *a = answer_to(o, "\x16\x03\x01 not http\r\n\r\n");
    free(a);
    a = answer_to(o, big);
    free(a);
    free(big);
    a = get(o, "GET", "/healthz");
    assert_status(a, 200);
    free(a);
    observe_close(o);
}

TEST(one_connection_serves_many_requests)
{
    struct observe *o = opened();
    char *a = answer_to(o, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
                           "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_status(a, 200);
    ck_assert_ptr_nonnull(strstr(a, "\r\n\r\nok\nHTTP/1.1 200"));
    ck_assert_str_eq(a + strlen(a) - 6, "ready\n");
    free(a);
    observe_close(o);
}

TEST(idle_clients_do_not_hinder_closing)
{
    struct observe *o = opened();
    int idle[8];
    for (size_t i = 0; i < 8; i++)
        idle[i] = connected(observe_port(o));
    char *a = get(o, "GET", "/healthz");
    assert_status(a, 200);
    free(a);
    observe_close(o);
    for (size_t i = 0; i < 8; i++) {
        char byte;
        ck_assert_int_le(recv(idle[i], &byte, 1, 0), 0); /* ended */
        ck_assert(errno != EAGAIN);
        close(idle[i]);
    }
    observe_close(NULL);
}

TEST(slow_clients_give_way_to_a_probe)
{
    struct observe *o = opened();
    enum { SLOW = 60 };
    int slow[SLOW];

    for (size_t i = 0; i < SLOW; i++) {
        slow[i] = connected(observe_port(o));
        ck_assert_int_eq(send(slow[i], "GET /", 5, MSG_NOSIGNAL), 5);
    }
    for (int i = 0; i < 3; i++) {
        char *a = get(o, "GET", "/healthz");
        assert_status(a, 200);
        free(a);
    }
    /* The oldest have lost their places, those beyond 32 with a probe. */
    for (size_t i = 0; i < SLOW; i++) {
        char byte;
        errno = 0;
        ssize_t n = recv(slow[i], &byte, 1, i < SLOW - 31 ? 0 : MSG_DONTWAIT);
        bool is_ended = n == 0 || (n < 0 && errno != EAGAIN);
        ck_assert_msg(is_ended == (i < SLOW - 31), "%zu", i);
    }
    for (size_t i = 0; i < SLOW; i++)
        close(slow[i]);
    observe_close(o);
}

static void *scrape(void *arg)
{
    for (int i = 0; i < 20; i++) {
        char *a = get(arg, "GET", "/metrics");
        assert_status(a, 200);
        free(a);
    }
    return NULL;
}

TEST(many_clients_while_numbers_change)
{
    struct observe *o = opened();
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, scrape, o), 0);
    for (int i = 0; i < 100000; i++)
        metric_add(METRIC_REQUESTS, 1);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    observe_close(o);
}

TEST(what_cannot_be_bound_says_why)
{
    struct observe *o = opened(), *second = NULL;
    struct fault fault = {0};
    char wanted[200];
    ck_assert_int_eq(observe_open("127.0.0.1", observe_port(o), &source, &second, &fault),
                     ERR_SYSTEM);
    ck_assert_ptr_null(second);
    snprintf(wanted, sizeof wanted,
             "cannot serve HTTP at 127.0.0.1 port %u: Address already in use", observe_port(o));
    ck_assert_str_eq(fault.why, wanted);
    observe_close(o);
    ck_assert_int_eq(observe_open("192.0.2.1", 0, &source, &o, &fault), ERR_SYSTEM);
    ck_assert_ptr_nonnull(strstr(fault.why, "Cannot assign requested address"));
    ck_assert_int_eq(observe_open("localhost", 0, &source, &o, &fault), ERR_SYSTEM);
    ck_assert_ptr_nonnull(strstr(fault.why, "Invalid argument"));
}

TEST(an_address_of_ipv6_is_served_as_well)
{
    struct observe *o = NULL;
    struct fault fault = {0};
    struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    char some[4096] = "";
    static const char request[] = "GET /healthz HTTP/1.0\r\n\r\n";

    not_well = "";
    if (observe_open("::1", 0, &source, &o, &fault) != ERR_OK) {
        ck_assert_ptr_nonnull(
            strstr(fault.why, "cannot serve HTTP at ::1 port 0: ")); /* there is no IPv6 */
        return;
    }
    ck_assert_uint_ne(observe_port(o), 0);
    to.sin6_port = htons(observe_port(o));
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    ck_assert_int_eq(send(fd, request, sizeof request - 1, MSG_NOSIGNAL), sizeof request - 1);
    for (size_t n = 0; n < sizeof some - 1;) {
        ssize_t got = recv(fd, some + n, sizeof some - 1 - n, 0);
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    assert_status(some, 200);
    close(fd);
    observe_close(o);
}

/* What was asked a moment ago keeps nobody from the port. */
TEST(a_port_is_had_again_at_once)
{
    struct observe *o = opened();
    struct fault fault = {0};
    uint16_t port = observe_port(o);

    free(get(o, "GET", "/healthz")); /* this end of it waits for a minute */
    observe_close(o);
    ck_assert_msg(observe_open("127.0.0.1", port, &source, &o, &fault) == ERR_OK, "%s", fault.why);
    ck_assert_uint_eq(observe_port(o), port);
    observe_close(o);
}
