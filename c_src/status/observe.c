/*
 * observe.c - metrics, health and a status page over HTTP (libmicrohttpd).
 *
 * The happy path: a GET for one of the pages is answered at once from numbers in memory: /metrics
 * for Prometheus, /healthz while all threads move (beat.h), /readyz when documents are taken and
 * delivered (otherwise 503 and a line for each fault), /status as JSON.
 *
 * What can go wrong: the address cannot be bound: observe_open fails, and the sidecar with it,
 * because a health check that is silently missing is worse than none.  Clients are slow or many:
 * there are 32 connections, and one more closes the oldest, so that a probe gets through whatever
 * else is connected.  Nothing that clients send is stored.
 *
 * Runs on libmicrohttpd's one thread.  No page takes input; none shows a secret.
 */

#include "status/observe.h"

#include "ground/beat.h"
#include "ground/buf.h"
#include "status/exposition.h"
#include "status/page.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#define CONNECTIONS_MAX  32
#define CONNECTIONS_ALL  (4 * CONNECTIONS_MAX) /* with those that are being closed */
#define TIMEOUT_SECONDS  10
#define CONNECTION_BYTES 16384 /* libmicrohttpd's memory for one: request line and headers */
#define BACKLOG          64

#define TEXT "text/plain; charset=utf-8"
#define JSON "application/json"
#define HTML "text/html; charset=utf-8"

struct guest {
    int fd;
    struct guest *prev, *next;
};

struct observe {
    /* fixed after open */
    struct observe_source source;
    struct MHD_Daemon *daemon;
    uint16_t port;
    char *policy; /* of the status page */
    /* libmicrohttpd's thread's */
    struct guest *guests; /* the oldest first; without those being closed */
    unsigned count;
};

/* Each page appends its body and returns the HTTP status. */
static unsigned health_page(struct observe *o, struct buf *body)
{
    char who[BEAT_NAME];

    (void)o;
    if (!beats_are_well(who)) {
        buf_printf(body, "the %s thread stands still\n", who);
        return MHD_HTTP_SERVICE_UNAVAILABLE;
    }
    buf_str(body, "ok\n");
    return MHD_HTTP_OK;
}

static unsigned ready_page(struct observe *o, struct buf *body)
{
    if (!o->source.is_ready(o->source.arg, body))
        return MHD_HTTP_SERVICE_UNAVAILABLE;
    body->len = 0;
    buf_str(body, "ready\n");
    return MHD_HTTP_OK;
}

static unsigned status_page(struct observe *o, struct buf *body)
{
    o->source.status(o->source.arg, body);
    buf_byte(body, '\n');
    return MHD_HTTP_OK;
}

static unsigned history_page(struct observe *o, struct buf *body)
{
    o->source.history(o->source.arg, body);
    buf_byte(body, '\n');
    return MHD_HTTP_OK;
}

static unsigned letters_page(struct observe *o, struct buf *body)
{
    o->source.letters(o->source.arg, body);
    buf_byte(body, '\n');
    return MHD_HTTP_OK;
}

static unsigned front_page(struct observe *o, struct buf *body)
{
    (void)o;
    page_put(body);
    return MHD_HTTP_OK;
}

static const struct page {
    const char *path, *type;
    bool for_people; /* only for a Host that page_allows_host accepts */
    unsigned (*make)(struct observe *o, struct buf *body);
} pages[] = {
    {"/", HTML, true, front_page},
    {"/metrics", NULL, false, NULL}, /* as the client accepts it */
    {"/healthz", TEXT, false, health_page},
    {"/readyz", TEXT, false, ready_page},
    {"/status", JSON, true, status_page},
    {"/history", JSON, true, history_page},
    {"/dead", JSON, true, letters_page},
};

static const struct page *find_page(const char *path)
{
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++)
        if (strcmp(path, pages[i].path) == 0)
            return &pages[i];
    return NULL;
}

/* Answer with ${body} (taken); ${policy}: what a browser may do with it, or NULL. */
static enum MHD_Result answer_page(struct MHD_Connection *connection, unsigned status,
                                   const char *type, const char *policy, struct buf *body)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(body->len, body->data, MHD_RESPMEM_MUST_COPY);

    buf_free(body);
    if (response == NULL)
        return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (policy != NULL) {
        MHD_add_response_header(response, "Content-Security-Policy", policy);
        MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
        MHD_add_response_header(response, "X-Frame-Options", "DENY");
    }
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result queued = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return queued;
}

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *type,
                              struct buf *body)
{
    return answer_page(connection, status, type, NULL, body);
}

static bool is_allowed(struct observe *o, struct MHD_Connection *connection,
                       const struct page *page)
{
    return !page->for_people ||
           page_allows_host(
               MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST),
               o->source.hosts);
}

static enum MHD_Result answer_metrics(struct MHD_Connection *connection, struct buf *body)
{
    enum exposition format = exposition_wanted(
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT));

    exposition_put(format, body);
    return answer(connection, MHD_HTTP_OK, exposition_type(format), body);
}

/*
 * libmicrohttpd's handler: called with the headers, then again while there is a body, then once
 * more.  An answer at the first call would cost the connection, so it is given at the last; a body
 * is thrown away.
 */
static enum MHD_Result handle(void *arg, struct MHD_Connection *connection, const char *path,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_len, void **state)
{
    struct observe *o = arg;
    const struct page *page = find_page(path);
    struct buf body = {0};

    (void)version;
    (void)upload;
    if (*state == NULL || *upload_len > 0) {
        *state = o;
        *upload_len = 0;
        return MHD_YES;
    }
    if (page == NULL) {
        buf_str(
            &body,
            "There are / (for people), /metrics, /healthz, /readyz, /status, /history and /dead "
            "here.\n");
        return answer(connection, MHD_HTTP_NOT_FOUND, TEXT, &body);
    }
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        buf_str(&body, "Only GET and HEAD: nothing can be changed here.\n");
        return answer(connection, MHD_HTTP_METHOD_NOT_ALLOWED, TEXT, &body);
    }
    if (!is_allowed(o, connection, page)) {
        buf_str(&body,
                "This name is not one of the sidecar's: ask by address or localhost, or name "
                "it in [observe] hosts.\n");
        return answer(connection, MHD_HTTP_MISDIRECTED_REQUEST, TEXT, &body);
    }
    if (page->make == NULL)
        return answer_metrics(connection, &body);
    unsigned status = page->make(o, &body);
    return answer_page(connection, status, page->type, page->make == front_page ? o->policy : NULL,
                       &body);
}

static void forget(struct observe *o, struct guest *g)
{
    DL_DELETE(o->guests, g);
    g->prev = NULL;
    o->count--;
}

/* libmicrohttpd's: a connection has come, or is about to be closed. */
static void count_guest(void *arg, struct MHD_Connection *connection, void **place,
                        enum MHD_ConnectionNotificationCode code)
{
    struct observe *o = arg;
    struct guest *g = *place;

    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (g->prev != NULL)
            forget(o, g);
        free(g);
        return;
    }
    *place = g = base_alloc(sizeof *g);
    g->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    DL_APPEND(o->guests, g);
    if (++o->count <= CONNECTIONS_MAX)
        return;
    shutdown(o->guests->fd, SHUT_RDWR); /* libmicrohttpd closes it */
    forget(o, o->guests);
}

/* An IPv4 or IPv6 address in text, as the system wants it; its length, or 0. */
static socklen_t parse_address(const char *text, uint16_t port, struct sockaddr_storage *address)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)address;

    memset(address, 0, sizeof *address);
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        return sizeof *v4;
    }
    if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        return sizeof *v6;
    }
    return 0;
}

/* A listening socket, and the port it got in ${port}; -1 with errno. */
static int listen_at(const char *text, uint16_t *port)
{
    struct sockaddr_storage address;
    const int on = 1;
    socklen_t len = parse_address(text, *port, &address);

    if (len == 0) {
        errno = EINVAL;
        return -1;
    }
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, len) < 0 || listen(fd, BACKLOG) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) < 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    *port = address.ss_family == AF_INET
                ? ntohs(((struct sockaddr_in *)(void *)&address)->sin_port)
                : ntohs(((struct sockaddr_in6 *)(void *)&address)->sin6_port);
    return fd;
}

static enum err fail(struct fault *fault, const char *address, uint16_t port)
{
    return fault_fail(fault, ERR_SYSTEM, "[observe] address, port",
                      "cannot serve HTTP at %.60s port %u: %s", address, port, strerror(errno));
}

enum err observe_open(const char *address, uint16_t port, const struct observe_source *source,
                      struct observe **o, struct fault *fault)
{
    struct buf policy = {0};
    uint16_t bound = port;
    int fd = listen_at(address, &bound);

    if (fd < 0)
        return fail(fault, address, port);
    struct observe *fresh = base_alloc(sizeof *fresh);
    fresh->source = *source;
    fresh->port = bound;
    page_put_policy(&policy);
    fresh->policy = base_strndup((char *)policy.data, policy.len);
    buf_free(&policy);
    fresh->daemon = MHD_start_daemon(
        MHD_USE_AUTO_INTERNAL_THREAD, 0, NULL, NULL, handle, fresh, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_ALL, MHD_OPTION_NOTIFY_CONNECTION,
        count_guest, fresh, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)TIMEOUT_SECONDS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES, MHD_OPTION_END);
    if (fresh->daemon == NULL) {
        enum err e = fail(fault, address, port);
        close(fd);
        free(fresh->policy);
        free(fresh);
        return e;
    }
    *o = fresh;
    return ERR_OK;
}

uint16_t observe_port(const struct observe *o)
{
    return o->port;
}

void observe_close(struct observe *o)
{
    if (o == NULL)
        return;
    MHD_stop_daemon(o->daemon); /* closes the socket, ends the thread */
    free(o->policy);
    free(o);
}
