/*
 * http.c - HTTP calls over one curl_multi handle.
 *
 * The happy path: a call takes an easy handle from the free list (or makes one, with all options
 * that never change), gets its URL, headers and body, and is added to the multi handle.  http_wait
 * lets curl do its I/O, hands each ended call to its callback, and puts the handle back.
 * Connections are kept and used again; the headers of one authorization are made once and shared.
 *
 * Failures are told apart by one question: did the request begin to leave?  curl asks us just
 * before it does (PREREQFUNCTION), so a call that never got there is HTTP_NOT_SENT, whatever the
 * reason, and any other call without a complete answer is HTTP_TIMEOUT, HTTP_TOO_LARGE or
 * HTTP_BROKEN: the other side may have done what was asked.
 *
 * On a kept connection, the bytes that arrive may not be the answer (wire.c): then the connection
 * is closed, and the request is sent once more on a new one.
 *
 * The admin key lives here in the shared header lines only, which are wiped when released; curl's
 * own copy in a request buffer is beyond reach.  Nothing here logs a header, and the key is
 * overwritten in an answer that repeats it, before anybody sees it (redact.c).
 *
 * BUGS: removing a call while curl's resolver thread is at work waits for that thread.
 *
 * One thread: that of its owner (delivery).
 */

#include "convex/base_url.h"
#include "convex/http.h"
#include "convex/redact.h"
#include "convex/wire.h"
#include "ground/buf.h"
#include "ground/clock.h"
#include "ground/log.h"

#include <curl/curl.h>
#include <poll.h>
#include <unistd.h>
#include <utlist.h>

/* An answer buffer is kept for the next call unless it grew beyond this. */
#define KEPT_ANSWER_BYTES 65536
/* Longest Retry-After that is believed: a day. */
#define MAX_RETRY_AFTER_S 86400
/* One sleep in curl_multi_poll at most; a wait without limit is many of them. */
#define MAX_POLL_MS 60000

/* The header lines of one authorization, shared by the calls that were started with it. */
struct headers {
    unsigned users;
    char *secret; /* NULL: none */
    struct curl_slist *post, *get;
};

struct call {
    CURL *easy;
    CURLU *url; /* that of the handle, read once */
    struct http *owner;
    struct headers *headers;
    char *path;    /* its path; heap; NULL: none yet */
    uint8_t *body; /* heap; NULL for GET */
    size_t body_len;
    struct buf answer;
    http_done *done;
    void *arg;
    int64_t began_us;
    struct wire *kept; /* the kept connection that it went out on; NULL: a new one */
    bool sent, heard, too_large;
    bool unasked;  /* ended because what came was not its answer */
    bool is_again; /* the second try, on a new connection */
    char error[CURL_ERROR_SIZE];
    struct call *prev, *next; /* in `active` or `idle` */
};

struct http {
    /* fixed after open */
    CURLM *multi;
    struct base_url base_url;
    char *extra_header;
    char *ca_file, *user_agent_line; /* NULL: the system's, none */
    long connect_timeout_ms, timeout_ms;
    size_t max_answer_bytes;
    /* of the owner's thread */
    struct wires *wires;
    struct headers *headers;
    struct call *active, *idle;
    bool in_wait, closing;
    int64_t poll_failed_us, unasked_us; /* log_limited's memory */
};

#define CONNECTION_MAX_S 60L /* to notice a changed DNS record even while the old address works */

/* If curl refuses one of these options, that is our bug, or memory is exhausted. */
#define SET(easy, option, value) PRE(curl_easy_setopt((easy), option, (value)) == CURLE_OK)

/* ---- headers --------------------------------------------------------------------------------- */

static struct curl_slist *add_line(struct curl_slist *lines, const char *line)
{
    struct curl_slist *longer = curl_slist_append(lines, line);

    PRE(longer != NULL);
    return longer;
}

/* libcurl formats a header that is set by an option into a string, and copies that byte by byte
 * into the request; it writes a header line of ours once. */
static struct curl_slist *add_shared(struct curl_slist *lines, const char *authorization,
                                     const struct http *h)
{
    const char *const shared[] = {h->user_agent_line, "Accept-Encoding: identity",
                                  "Accept: application/json", h->extra_header, authorization};

    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++)
        if (shared[i] != NULL)
            lines = add_line(lines, shared[i]);
    return lines;
}

/* A shorter text is not a secret, and would match where nobody repeats it. */
#define SECRET_BYTES_MIN 8

/* The part of the authorization "Convex NAME|SECRET" that must not be shown; NULL: none. */
static char *secret_of(const char *authorization)
{
    const char *blank = authorization ? strrchr(authorization, ' ') : NULL;
    const char *bar = blank ? strrchr(blank, '|') : NULL;
    const char *secret = bar && strlen(bar + 1) >= SECRET_BYTES_MIN ? bar + 1
                         : blank                                    ? blank + 1
                                                                    : "";

    return strlen(secret) >= SECRET_BYTES_MIN ? base_strndup(secret, strlen(secret)) : NULL;
}

static struct headers *headers_new(const char *authorization, const struct http *h)
{
    struct headers *headers = base_alloc(sizeof *headers);

    headers->users = 1;
    headers->secret = secret_of(authorization);
    headers->get = add_shared(NULL, authorization, h);
    headers->post = add_line(NULL, "Content-Type: application/json");
    headers->post = add_line(headers->post, "Expect:"); /* no 100-continue: a round trip less */
    headers->post = add_shared(headers->post, authorization, h);
    return headers;
}

static void wipe_lines(struct curl_slist *lines)
{
    for (struct curl_slist *at = lines; at; at = at->next)
        explicit_bzero(at->data, strlen(at->data));
    curl_slist_free_all(lines);
}

static void headers_release(struct headers *headers)
{
    if (headers == NULL || --headers->users > 0)
        return;
    wipe_lines(headers->post);
    wipe_lines(headers->get);
    if (headers->secret)
        explicit_bzero(headers->secret, strlen(headers->secret));
    free(headers->secret);
    free(headers);
}

void http_set_authorization(struct http *h, const char *value)
{
    struct buf line = {0};

    if (value) {
        buf_printf(&line, "Authorization: %s", value);
        for (size_t i = 0; i < line.len; i++)
            PRE(line.data[i] >= 0x20 && line.data[i] != 0x7f); /* admin_key.c has checked it */
        buf_byte(&line, 0);
    }
    headers_release(h->headers);
    h->headers = headers_new((const char *)line.data, h);
    if (line.data)
        explicit_bzero(line.data, line.cap);
    buf_free(&line);
}

/* ---- what curl calls ------------------------------------------------------------------------- */

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *to)
{
    struct http *h = arg;

    (void)purpose; /* there is only one */
    return wire_open(h->wires, to->socktype, to->protocol, &to->addr);
}

static int close_socket(void *arg, curl_socket_t fd)
{
    struct http *h = arg;

    return wire_close(h->wires, fd);
}

/* The connection is made, TLS and all; with CURL_PREREQFUNC_OK the request begins to leave. */
static int before_sending(void *arg, char *ip, char *local_ip, int port, int local_port)
{
    struct call *c = arg;
    struct wire *w = wire_find(c->owner->wires, ip, local_port);

    (void)local_ip, (void)port;
    c->kept = w && wire_is_kept(w) ? w : NULL;
    if (w && (c->kept || !c->owner->base_url.is_tls) && wire_has_input(w)) {
        c->unasked = true;
        return CURL_PREREQFUNC_ABORT; /* curl closes the connection, as it does below */
    }
    if (w)
        wire_use(w);
    c->sent = true;
    return CURL_PREREQFUNC_OK;
}

/* Whether the other end's kernel has acknowledged all of the request. */
static bool has_arrived(const struct call *c)
{
    curl_off_t handed = 0;

    PRE(curl_easy_getinfo(c->easy, CURLINFO_SIZE_UPLOAD_T, &handed) == CURLE_OK);
    return (uint64_t)handed >= c->body_len && wire_is_drained(c->kept);
}

static size_t take_header(char *line, size_t size, size_t count, void *arg)
{
    struct call *c = arg;

    (void)line;
    if (!c->heard && c->kept && !has_arrived(c)) {
        c->unasked = true;
        return 0; /* any other number than size * count ends the transfer */
    }
    c->heard = true;
    return size * count;
}

static size_t take_answer(char *data, size_t size, size_t count, void *arg)
{
    struct call *c = arg;
    size_t len = size * count; /* curl documents that size is 1 */
    size_t room = c->owner->max_answer_bytes - c->answer.len;

    if (len > room) {
        buf_add(&c->answer, data, room);
        c->too_large = true;
        return 0; /* any other number than len ends the transfer */
    }
    buf_add(&c->answer, data, len);
    return len;
}

/* ---- calls ----------------------------------------------------------------------------------- */

static struct call *call_new(struct http *h)
{
    struct call *c = base_alloc(sizeof *c);

    c->owner = h;
    c->easy = curl_easy_init();
    c->url = curl_url();
    PRE(c->easy != NULL && c->url != NULL);
    SET(c->easy, CURLOPT_PRIVATE, c);
    SET(c->easy, CURLOPT_ERRORBUFFER, c->error);
    SET(c->easy, CURLOPT_WRITEFUNCTION, take_answer);
    SET(c->easy, CURLOPT_WRITEDATA, c);
    SET(c->easy, CURLOPT_HEADERFUNCTION, take_header);
    SET(c->easy, CURLOPT_HEADERDATA, c);
    SET(c->easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(c->easy, CURLOPT_OPENSOCKETDATA, h);
    SET(c->easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
    SET(c->easy, CURLOPT_CLOSESOCKETDATA, h);
    SET(c->easy, CURLOPT_PREREQFUNCTION, before_sending);
    SET(c->easy, CURLOPT_PREREQDATA, c);
    SET(c->easy, CURLOPT_NOSIGNAL, 1L);
    SET(c->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    SET(c->easy, CURLOPT_FOLLOWLOCATION, 0L);
    SET(c->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(c->easy, CURLOPT_CONNECTTIMEOUT_MS, h->connect_timeout_ms);
    SET(c->easy, CURLOPT_TIMEOUT_MS, h->timeout_ms);
    SET(c->easy, CURLOPT_TCP_KEEPALIVE, 1L);
    SET(c->easy, CURLOPT_TCP_KEEPIDLE, 30L);
    SET(c->easy, CURLOPT_TCP_KEEPINTVL, 15L);
    SET(c->easy, CURLOPT_DNS_CACHE_TIMEOUT, 0L); /* a new connection resolves the name again ... */
    SET(c->easy, CURLOPT_MAXLIFETIME_CONN, CONNECTION_MAX_S); /* ... and none lives for ever */
    /* We ask for no compression (add_shared); with this set, libcurl decodes what is compressed all
     * the same.
     */
    SET(c->easy, CURLOPT_ACCEPT_ENCODING, "identity");
    SET(c->easy, CURLOPT_SSL_VERIFYPEER, 1L);
    SET(c->easy, CURLOPT_SSL_VERIFYHOST, 2L);
    if (h->ca_file)
        SET(c->easy, CURLOPT_CAINFO, h->ca_file);
    if (h->base_url.is_loopback) /* http_proxy in the environment is not meant for this machine */
        SET(c->easy, CURLOPT_PROXY, "");
    return c;
}

/* An idle one: it has neither headers nor a body. */
static void call_free(struct call *c)
{
    curl_easy_cleanup(c->easy);
    curl_url_cleanup(c->url);
    free(c->path);
    buf_free(&c->answer);
    free(c);
}

/* libcurl would parse a URL given as text again for each call. */
static void set_path(struct call *c, const char *path)
{
    struct buf url = {0};

    if (c->path != NULL && strcmp(c->path, path) == 0)
        return;
    buf_printf(&url, "%s%s", c->owner->base_url.text, path);
    buf_byte(&url, 0);
    /* base_url.c has read the beginning; the paths are ours. */
    PRE(curl_url_set(c->url, CURLUPART_URL, (char *)url.data, 0) == CURLUE_OK);
    SET(c->easy, CURLOPT_CURLU, c->url);
    buf_free(&url);
    free(c->path);
    c->path = base_strndup(path, strlen(path));
}

static struct call *call_take(struct http *h, const char *path, http_done *done, void *arg)
{
    struct call *c = h->idle;

    PRE(path[0] == '/' && !h->closing);
    if (c)
        DL_DELETE(h->idle, c);
    else
        c = call_new(h);
    set_path(c, path);
    c->headers = h->headers;
    c->headers->users++;
    c->done = done;
    c->arg = arg;
    c->began_us = clock_mono_us();
    return c;
}

static void call_start(struct http *h, struct call *c)
{
    DL_APPEND(h->active, c);
    PRE(curl_multi_add_handle(h->multi, c->easy) == CURLM_OK);
}

/* Back to the free list, without anything of the call that is over. */
static void call_recycle(struct http *h, struct call *c)
{
    SET(c->easy, CURLOPT_HTTPHEADER, (struct curl_slist *)NULL);
    SET(c->easy, CURLOPT_POSTFIELDS, (char *)NULL);
    headers_release(c->headers);
    free(c->body);
    if (c->answer.cap > KEPT_ANSWER_BYTES)
        buf_free(&c->answer);
    if (c->is_again) {
        SET(c->easy, CURLOPT_FRESH_CONNECT, 0L);
        SET(c->easy, CURLOPT_TIMEOUT_MS, h->timeout_ms);
    }
    c->headers = NULL;
    c->body = NULL;
    c->body_len = 0;
    c->answer.len = 0;
    c->sent = c->heard = c->too_large = c->unasked = c->is_again = false;
    c->error[0] = 0;
    DL_PREPEND(h->idle, c);
}

void http_post_json(struct http *h, const char *path, struct slice body, http_done *done, void *arg)
{
    struct call *c = call_take(h, path, done, arg);

    c->body = (uint8_t *)body.data; /* it is taken, so dropping const is safe */
    c->body_len = body.len;
    SET(c->easy, CURLOPT_POST, 1L);
    SET(c->easy, CURLOPT_POSTFIELDS, body.len ? (const char *)body.data : "");
    SET(c->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
    SET(c->easy, CURLOPT_HTTPHEADER, c->headers->post);
    call_start(h, c);
}

bool http_is_in_the_clear(const struct http *h)
{
    return !h->base_url.is_tls && !h->base_url.is_loopback;
}

void http_get(struct http *h, const char *path, http_done *done, void *arg)
{
    struct call *c = call_take(h, path, done, arg);

    SET(c->easy, CURLOPT_HTTPGET, 1L);
    SET(c->easy, CURLOPT_HTTPHEADER, c->headers->get);
    call_start(h, c);
}

/* ---- endings --------------------------------------------------------------------------------- */

static enum http_end end_of(const struct call *c, CURLcode code)
{
    if (code == CURLE_OK)
        return HTTP_ANSWERED;
    if (!c->sent)
        return HTTP_NOT_SENT;
    if (c->too_large)
        return HTTP_TOO_LARGE;
    return code == CURLE_OPERATION_TIMEDOUT ? HTTP_TIMEOUT : HTTP_BROKEN;
}

static long retry_after_ms(CURL *easy)
{
    curl_off_t seconds = 0;

    if (curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &seconds) != CURLE_OK || seconds <= 0)
        return 0;
    return (long)(seconds < MAX_RETRY_AFTER_S ? seconds : MAX_RETRY_AFTER_S) * 1000;
}

static int64_t date_s(CURL *easy)
{
    struct curl_header *date;

    if (curl_easy_header(easy, "date", 0, CURLH_HEADER, -1, &date) != CURLHE_OK)
        return 0;
    time_t at = curl_getdate(date->value, NULL);
    return at > 0 ? (int64_t)at : 0;
}

static void describe(const struct call *c, enum http_end end, CURLcode code, char *out, size_t size)
{
    if (end == HTTP_ABANDONED)
        snprintf(out, size, "given up on shutdown");
    else if (end == HTTP_TOO_LARGE)
        snprintf(out, size, "the answer is over %zu bytes", c->owner->max_answer_bytes);
    else if (c->unasked)
        snprintf(out, size, "bytes came that nobody asked for; the connection was closed");
    else if (end != HTTP_ANSWERED)
        snprintf(out, size, "%.*s", (int)size - 1,
                 c->error[0] ? c->error : curl_easy_strerror(code));
}

/* The connection that the answer came on; NULL: curl closed it. */
static const struct wire *connection_of(const struct call *c)
{
    char *ip = NULL;
    long local_port = 0;

    PRE(curl_easy_getinfo(c->easy, CURLINFO_PRIMARY_IP, &ip) == CURLE_OK);
    PRE(curl_easy_getinfo(c->easy, CURLINFO_LOCAL_PORT, &local_port) == CURLE_OK);
    return ip ? wire_find(c->owner->wires, ip, (int)local_port) : NULL;
}

void http_distrust(struct http *h, const struct http_answer *answer)
{
    const struct wire *w = answer->connection;

    if (log_limited(&h->unasked_us, 10000))
        log_event(LOG_WARNING, "http.foreign_answer",
                  "why=\"the answer to another call came\" then=\"closed the connection\"");
    if (w != NULL)
        wire_shut(w);
}

/* Overwrite the key in an answer that repeats it, before anybody reads the answer. */
static void redact(const struct call *c, struct http_answer *answer)
{
    PRE(c->headers != NULL); /* released with the call, when it is over */
    if (c->headers->secret == NULL)
        return;
    redact_text(c->answer.data, c->answer.len, c->headers->secret);
    redact_text((uint8_t *)answer->detail, strlen(answer->detail), c->headers->secret);
}

/* The call is over and out of the multi handle: report it, and reuse its easy handle. */
static void finish(struct call *c, enum http_end end, CURLcode code)
{
    struct http *h = c->owner;
    struct http_answer answer = {
        .end = end,
        .body = buf_view(&c->answer),
        .request = slice_of(c->body, c->body_len),
        .took_us = clock_mono_us() - c->began_us,
    };

    if (end == HTTP_ANSWERED) {
        PRE(curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &answer.status) == CURLE_OK);
        answer.retry_after_ms = retry_after_ms(c->easy);
        answer.date_s = date_s(c->easy);
        answer.connection = connection_of(c);
    }
    describe(c, end, code, answer.detail, sizeof answer.detail);
    redact(c, &answer);
    DL_DELETE(h->active, c);
    c->done(c->arg, &answer);
    call_recycle(h, c);
}

/*
 * Unsolicited bytes ended ${c}, which is out of the multi handle: send it once more on a new
 * connection, within the time it has left.  False: it is over.
 */
static bool ask_again(struct http *h, struct call *c)
{
    int64_t left_ms = h->timeout_ms - (clock_mono_us() - c->began_us) / 1000;

    if (!c->unasked)
        return false;
    if (log_limited(&h->unasked_us, 10000))
        log_event(LOG_WARNING, "http.unasked_bytes",
                  "why=\"bytes came that nobody asked for\" then=\"closed the connection\"");
    if (c->is_again || left_ms <= 0)
        return false;
    c->is_again = true;
    c->unasked = c->heard = false;
    c->error[0] = 0;
    SET(c->easy, CURLOPT_FRESH_CONNECT, 1L);
    SET(c->easy, CURLOPT_TIMEOUT_MS, (long)left_ms);
    PRE(curl_multi_add_handle(h->multi, c->easy) == CURLM_OK);
    return true;
}

/* Let curl do what can be done now; true when a call ended. */
static bool advance(struct http *h)
{
    int count;
    bool ended = false;

    PRE(curl_multi_perform(h->multi, &count) == CURLM_OK);
    for (CURLMsg *m; (m = curl_multi_info_read(h->multi, &count)) != NULL;) {
        struct call *c;
        CURLcode code = m->data.result;
        PRE(m->msg == CURLMSG_DONE);
        PRE(curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&c) == CURLE_OK);
        PRE(curl_multi_remove_handle(h->multi, c->easy) == CURLM_OK);
        if (ask_again(h, c))
            continue;
        finish(c, end_of(c, code), code);
        ended = true;
    }
    return ended;
}

/* Sleep until something is readable or ${left_ms} have passed; true when ${wake_fd} is readable. */
static bool sleep_until_ready(struct http *h, int wake_fd, int left_ms)
{
    struct curl_waitfd wake = {.fd = wake_fd, .events = CURL_WAIT_POLLIN};
    CURLMcode code = curl_multi_poll(h->multi, &wake, wake_fd >= 0, left_ms, NULL);

    if (code != CURLM_OK) { /* poll(2) itself failed: no memory in the kernel; don't spin */
        if (log_limited(&h->poll_failed_us, 10000))
            log_event(LOG_ERROR, "http.poll_failed", "why=\"%s\"", curl_multi_strerror(code));
        poll(NULL, 0, left_ms < 100 ? left_ms : 100);
    }
    return wake.revents != 0;
}

void http_wait(struct http *h, int wake_fd, int timeout_ms)
{
    int64_t until = timeout_ms < 0 ? INT64_MAX : clock_mono_ms() + timeout_ms;
    bool woken = false;

    PRE(!h->in_wait && !h->closing);
    h->in_wait = true;
    while (!advance(h) && !woken) {
        int64_t left = until - clock_mono_ms();
        if (left <= 0)
            break;
        woken = sleep_until_ready(h, wake_fd, (int)(left < MAX_POLL_MS ? left : MAX_POLL_MS));
    }
    h->in_wait = false;
}

/* ---- open and close -------------------------------------------------------------------------- */

static char *copy_or_null(const char *text)
{
    return text && text[0] ? base_strndup(text, strlen(text)) : NULL;
}

static char *user_agent_line(const char *name)
{
    struct buf line = {0};

    if (name == NULL || name[0] == '\0')
        return NULL;
    buf_printf(&line, "User-Agent: %s", name);
    buf_byte(&line, 0);
    return (char *)line.data; /* heap, as all of a buf */
}

enum err http_open(const struct http_options *options, struct http **out, struct fault *fault)
{
    struct http *h = base_alloc(sizeof *h);
    const char *why;

    PRE(options->max_connections > 0 && options->max_answer_bytes > 0);
    PRE(options->timeout_ms > 0 && options->connect_timeout_ms > 0);
    PRE(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    why = base_url_read(&h->base_url, options->base_url ? options->base_url : "");
    if (why) {
        fault_say(fault, "base_url", "%s", why);
        goto err0;
    }
    h->ca_file = copy_or_null(options->ca_file);
    if (h->ca_file && access(h->ca_file, R_OK) != 0) {
        fault_say(fault, "ca_file", "cannot be read");
        goto err0;
    }
    h->extra_header = copy_or_null(options->extra_header);
    h->user_agent_line = user_agent_line(options->user_agent);
    h->connect_timeout_ms = options->connect_timeout_ms;
    h->timeout_ms = options->timeout_ms;
    h->max_answer_bytes = options->max_answer_bytes;
    h->headers = headers_new(NULL, h);
    h->wires = wires_new();
    h->multi = curl_multi_init();
    PRE(h->multi != NULL);
    PRE(curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, options->max_connections) == CURLM_OK);
    PRE(curl_multi_setopt(h->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, options->max_connections) ==
        CURLM_OK);
    *out = h;
    return ERR_OK;

err0:
    http_close(h);
    return ERR_INVALID;
}

void http_close(struct http *h)
{
    struct call *c, *next;

    if (h == NULL)
        return;
    PRE(!h->in_wait);
    h->closing = true;
    while ((c = h->active) != NULL) {
        PRE(curl_multi_remove_handle(h->multi, c->easy) == CURLM_OK);
        finish(c, HTTP_ABANDONED, CURLE_OK);
    }
    DL_FOREACH_SAFE(h->idle, c, next)
    {
        call_free(c);
    }
    if (h->multi)
        PRE(curl_multi_cleanup(h->multi) == CURLM_OK);
    wires_free(h->wires);
    headers_release(h->headers);
    free(h->user_agent_line);
    free(h->ca_file);
    free(h->extra_header);
    base_url_free(&h->base_url);
    free(h);
    curl_global_cleanup();
}
