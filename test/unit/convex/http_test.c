/* http_test.c - http against a scripted server (fake_server.c). */

#include "test.h"

#include "ground/buf.h"
#include "ground/clock.h"
#include "convex/http.h"

#include <sys/eventfd.h>
#include <time.h>

#include "convex/fake_server.c"

/* ---- the client's side ----------------------------------------------------------------------- */

struct result {
    unsigned count;
    enum http_end end;
    long status, retry_after_ms;
    struct buf body;
    char detail[160];
    struct http *again; /* the callback starts another call on it */
    struct http *distrust;
    unsigned more;
};

static void on_done(void *arg, const struct http_answer *a)
{
    struct result *r = arg;

    r->count++;
    r->end = a->end;
    r->status = a->status;
    r->retry_after_ms = a->retry_after_ms;
    r->body.len = 0;
    buf_slice(&r->body, a->body);
    memcpy(r->detail, a->detail, sizeof r->detail);
    ck_assert_int_ge(a->took_us, 0);
    if (r->distrust)
        http_distrust(r->distrust, a);
    if (r->again && r->more) {
        r->more--;
        http_get(r->again, "/again", on_done, r);
    }
}

static struct http_options plain_options(char *url, size_t size, int port, const char *path)
{
    snprintf(url, size, "http://127.0.0.1:%d%s", port, path);
    return (struct http_options){
        .base_url = url,
        .user_agent = "test/1",
        .extra_header = "Convex-Client: test-1.0.0",
        .connect_timeout_ms = 5000,
        .timeout_ms = 10000,
        .max_answer_bytes = 10000,
        .max_connections = 4,
    };
}

static struct http *open_with(const struct http_options *options)
{
    struct fault fault = {0};
    struct http *h = NULL;

    ck_assert_msg(http_open(options, &h, &fault) == ERR_OK, "%s %s", fault.path, fault.why);
    return h;
}

static struct http *open_plain(int port)
{
    char url[100];
    struct http_options options = plain_options(url, sizeof url, port, "");

    return open_with(&options);
}

static struct slice heap_body(const char *text)
{
    return slice_of(base_strndup(text, strlen(text)), strlen(text));
}

static void wait_count(struct http *h, struct result *r, unsigned count)
{
    int64_t until = clock_mono_ms() + 20000;

    while (r->count < count) {
        http_wait(h, -1, 1000);
        ck_assert_msg(clock_mono_ms() < until, "no answer");
    }
    ck_assert_uint_eq(r->count, count);
}

/* The one call under way ends, then the client, then the server. */
static void settle(struct server *s, struct http *h, struct result *r)
{
    wait_count(h, r, 1);
    http_close(h);
    server_end(s);
}

static void forget(struct server *s, struct result *r)
{
    buf_free(&s->seen);
    buf_free(&r->body);
}

/* One POST against ${script}, with ${timeout_ms} for the whole call. */
static struct result post_against(const struct step *script, long timeout_ms)
{
    struct server s;
    struct result r = {0};
    char url[100];
    struct http_options options;
    struct http *h;

    server_start(&s, script);
    options = plain_options(url, sizeof url, s.port, "");
    options.timeout_ms = timeout_ms;
    h = open_with(&options);
    http_post_json(h, "/api/mutation", heap_body("{}"), on_done, &r);
    settle(&s, h, &r);
    buf_free(&s.seen);
    ck_assert_uint_eq(r.count, 1);
    return r;
}

static void assert_end(const struct step *script, long timeout_ms, enum http_end end)
{
    struct result r = post_against(script, timeout_ms);

    ck_assert_msg(r.end == end, "ended as %d (%s), wanted %d", r.end, r.detail, end);
    ck_assert_int_eq(r.status, 0);
    ck_assert(r.detail[0]);
    buf_free(&r.body);
}

static void assert_answer(const struct step *script, long status, const char *body)
{
    struct result r = post_against(script, 10000);

    ck_assert_msg(r.end == HTTP_ANSWERED, "ended as %d (%s)", r.end, r.detail);
    ck_assert_int_eq(r.status, status);
    ck_assert_msg(slice_is(buf_view(&r.body), body), "%.*s", SLICE_ARG(buf_view(&r.body)));
    buf_free(&r.body);
}

#define OK_5 "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

/* ---- what is sent ---------------------------------------------------------------------------- */

TEST(a_post_is_these_bytes)
{
    struct server s;
    struct result r = {0};
    char expected[600];
    struct http *h;

    server_start(&s, SCRIPT(ACCEPT, READ, SEND(OK_5), HOLD));
    h = open_plain(s.port);
    http_set_authorization(h, "Convex a|b");
    http_post_json(h, "/api/mutation", heap_body("{\"a\":1}"), on_done, &r);
    settle(&s, h, &r);
    snprintf(expected, sizeof expected,
             "POST /api/mutation HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
             "Content-Type: application/json\r\nUser-Agent: test/1\r\n"
             "Accept-Encoding: identity\r\nAccept: application/json\r\n"
             "Convex-Client: test-1.0.0\r\nAuthorization: Convex a|b\r\n"
             "Content-Length: 7\r\n\r\n{\"a\":1}",
             s.port);
    ck_assert_slice(buf_view(&s.seen), expected);
    ck_assert_int_eq(r.end, HTTP_ANSWERED);
    ck_assert_str_eq(r.detail, "");
    forget(&s, &r);
}

TEST(a_get_is_these_bytes_and_a_path_prefix_is_kept)
{
    struct server s;
    struct result r = {0};
    char url[100], expected[600];
    struct http_options options;
    struct http *h;

    server_start(&s, SCRIPT(ACCEPT, READ, SEND(OK_5), HOLD));
    options = plain_options(url, sizeof url, s.port, "/convex//");
    options.extra_header = options.user_agent = NULL;
    h = open_with(&options);
    http_get(h, "/version", on_done, &r);
    settle(&s, h, &r);
    snprintf(expected, sizeof expected,
             "GET /convex/version HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept-Encoding: identity\r\n"
             "Accept: application/json\r\n\r\n",
             s.port);
    ck_assert_slice(buf_view(&s.seen), expected);
    forget(&s, &r);
}

TEST(an_empty_body_and_a_large_one_go_at_once)
{
    static const size_t sizes[] = {0, 2 << 20}; /* curl would ask first beyond 1 MiB */

    for (size_t i = 0; i < 2; i++) {
        struct server s;
        struct result r = {0};
        char length[60];
        server_start(&s, SCRIPT(ACCEPT, READ, SEND(OK_5), HOLD));
        struct http *h = open_plain(s.port);
        http_post_json(h, "/x", slice_of(base_alloc(sizes[i]), sizes[i]), on_done, &r);
        settle(&s, h, &r);
        buf_byte(&s.seen, 0);
        snprintf(length, sizeof length, "\r\nContent-Length: %zu\r\n\r\n", sizes[i]);
        const char *at = strstr((char *)s.seen.data, length);
        ck_assert_ptr_nonnull(at);
        ck_assert_ptr_null(strstr((char *)s.seen.data, "Expect"));
        ck_assert_ptr_eq((const uint8_t *)at + strlen(length) + sizes[i],
                         s.seen.data + s.seen.len - 1);
        forget(&s, &r);
    }
}

TEST(a_new_authorization_counts_for_calls_from_then_on)
{
    struct server s;
    struct result r = {0};
    struct http *h;

    server_start(&s, SCRIPT(ACCEPT, READ, SEND(OK_5), READ, SEND(OK_5), READ, SEND(OK_5), HOLD));
    h = open_plain(s.port);
    http_set_authorization(h, "Convex old");
    http_get(h, "/1", on_done, &r);
    http_set_authorization(h, "Convex new"); /* the first call is not even begun */
    wait_count(h, &r, 1);
    http_get(h, "/2", on_done, &r);
    wait_count(h, &r, 2);
    http_set_authorization(h, NULL);
    http_get(h, "/3", on_done, &r);
    wait_count(h, &r, 3);
    http_close(h);
    server_end(&s);
    buf_byte(&s.seen, 0);
    char *first = strstr((char *)s.seen.data, "GET /1"), *second = strstr(first, "GET /2"),
         *third = strstr(second, "GET /3");
    ck_assert_ptr_eq(strstr(second, "Authorization"), strstr(second, "Authorization: Convex new"));
    ck_assert_ptr_null(strstr(third, "Authorization"));
    ck_assert(strstr(first, "Convex old") < second);
    ck_assert_uint_eq(s.accepted, 1);
    forget(&s, &r);
}

TEST(an_answer_that_repeats_the_key_loses_it)
{
    static const char echo[] = "HTTP/1.1 401 No\r\nContent-Length: 43\r\n\r\n"
                               "{\"m\":\"no: name|0123abcd, or \\u0030123abcd\"}";
    struct server s;
    struct result r = {0};
    struct http *h;

    server_start(&s, SCRIPT(ACCEPT, READ, SEND(echo), READ, SEND(echo), HOLD));
    h = open_plain(s.port);
    http_set_authorization(h, "Convex name|0123abcd");
    http_get(h, "/1", on_done, &r);
    http_set_authorization(h, "Convex short|0123"); /* each call by its own key */
    wait_count(h, &r, 1);
    ck_assert_ptr_nonnull(memmem(r.body.data, r.body.len, "name|********,", 14));
    ck_assert_ptr_null(memmem(r.body.data, r.body.len, "123abcd", 7));
    http_get(h, "/2", on_done, &r);
    wait_count(h, &r, 2);
    ck_assert_ptr_nonnull(memmem(r.body.data, r.body.len, "0123abcd", 8));
    http_close(h);
    server_end(&s);
    forget(&s, &r);
}

TEST(a_proxy_of_the_environment_is_not_asked_for_loopback)
{
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    assert_answer(SCRIPT(ACCEPT, READ, SEND(OK_5)), 200, "hello");
    unsetenv("http_proxy");
}

/* ---- answers --------------------------------------------------------------------------------- */

TEST(answers_come_in_many_shapes)
{
    const char *close_ended = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello";
    const char *chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                          "2\r\nhe\r\n3;ext=1\r\nllo\r\n0\r\n\r\n";

    assert_answer(SCRIPT(ACCEPT, READ, SEND(OK_5)), 200, "hello");
    assert_answer(SCRIPT(ACCEPT, READ, DRIBBLE(OK_5)), 200, "hello");
    assert_answer(SCRIPT(ACCEPT, READ, SEND(close_ended)), 200, "hello");
    assert_answer(SCRIPT(ACCEPT, READ, SEND(chunked)), 200, "hello");
    assert_answer(SCRIPT(ACCEPT, READ, DRIBBLE(chunked)), 200, "hello");
}

/* Something in front compresses, though nobody asked for it. */
TEST(a_compressed_answer_is_read)
{
    const char *deflated =
        "HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nContent-Length: 20\r\n\r\n"
        "\x78\x01\x4b\xce\xcc\x2d\x49\x4a\xcc\x2a\x2d\x49\x04\x32\x4a\x01\x2b\x8a\x05\xe4";

    assert_answer(SCRIPT(ACCEPT, READ, SEND(deflated), HOLD), 200, "cimtbajutaimtu");
    assert_answer(SCRIPT(ACCEPT, READ, DRIBBLE(deflated), HOLD), 200, "cimtbajutaimtu");
}

TEST(every_status_is_an_answer)
{
    assert_answer(SCRIPT(ACCEPT, READ, SEND("HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n")),
                  408, "");
    assert_answer(SCRIPT(ACCEPT, READ, SEND("HTTP/1.1 204 No Content\r\n\r\n")), 204, "");
    assert_answer(
        SCRIPT(ACCEPT, READ, SEND("HTTP/1.1 560 UDF failed\r\nContent-Length: 1\r\n\r\nx")), 560,
        "x");
    assert_answer(SCRIPT(ACCEPT, READ, SEND("HTTP/1.1 100 Continue\r\n\r\n" OK_5)), 200, "hello");
}

TEST(a_redirect_is_not_followed)
{
    assert_answer(SCRIPT(ACCEPT, READ,
                         SEND("HTTP/1.1 307 x\r\nLocation: http://127.0.0.1:1/\r\n"
                              "Content-Length: 0\r\n\r\n")),
                  307, "");
}

TEST(a_refusal_in_the_middle_of_a_large_body_is_heard)
{
    struct server s;
    struct result r = {0};
    size_t len = 8 << 20;
    char *body = base_alloc(len);
    struct http *h;

    memset(body, ' ', len);
    server_start(&s, SCRIPT(ACCEPT, READ_SOME,
                            SEND("HTTP/1.1 413 Too Large\r\nConnection: close\r\n"
                                 "Content-Length: 4\r\n\r\nhuge"),
                            HOLD));
    h = open_plain(s.port);
    http_post_json(h, "/api/mutation", slice_of(body, len), on_done, &r);
    settle(&s, h, &r);
    ck_assert_msg(r.end == HTTP_ANSWERED, "ended as %d (%s)", r.end, r.detail);
    ck_assert_int_eq(r.status, 413);
    forget(&s, &r);
}

static long retry_after(const char *value)
{
    char answer[200];
    struct result r;

    snprintf(answer, sizeof answer,
             "HTTP/1.1 429 Slow\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n", value);
    r = post_against(SCRIPT(ACCEPT, READ, SEND(answer)), 10000);
    ck_assert_int_eq(r.status, 429);
    buf_free(&r.body);
    return r.retry_after_ms;
}

TEST(retry_after_is_seconds_or_a_date_and_bounded)
{
    char date[64];
    time_t later = time(NULL) + 100;
    struct tm parts;

    ck_assert_int_eq(retry_after("7"), 7000);
    ck_assert_int_eq(retry_after("0"), 0);
    ck_assert_int_eq(retry_after("-3"), 0);
    ck_assert_int_eq(retry_after("soon"), 0);
    ck_assert_int_ge(retry_after("99999999999"),
                     21600000); /* libcurl from 8.12 on bounds it itself */
    ck_assert_int_le(retry_after("99999999999"), 86400000);
    ck_assert_int_eq(retry_after("Fri, 31 Dec 1999 23:59:59 GMT"), 0);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&later, &parts));
    ck_assert_int_ge(retry_after(date), 80000);
    ck_assert_int_le(retry_after(date), 100000);
}

TEST(an_answer_is_read_up_to_its_bound)
{
    struct result r;

    r = post_against(SCRIPT(ACCEPT, READ, SEND("HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n"),
                            ZEROS(10000)),
                     10000);
    ck_assert_int_eq(r.end, HTTP_ANSWERED);
    ck_assert_uint_eq(r.body.len, 10000);
    buf_free(&r.body);
    r = post_against(SCRIPT(ACCEPT, READ, SEND("HTTP/1.1 200 OK\r\nContent-Length: 10001\r\n\r\n"),
                            ZEROS(10001), HOLD),
                     10000);
    ck_assert_int_eq(r.end, HTTP_TOO_LARGE);
    ck_assert_str_eq(r.detail, "the answer is over 10000 bytes");
    ck_assert_uint_eq(r.body.len, 10000);
    buf_free(&r.body);
    assert_end(SCRIPT(ACCEPT, READ, SEND("HTTP/1.1 200 OK\r\n\r\n"), ZEROS(1000000000)), 10000,
               HTTP_TOO_LARGE);
}

/* ---- no answer ------------------------------------------------------------------------------- */

TEST(what_never_left_is_not_sent)
{
    struct server s;
    struct result r = {0};
    char url[100];
    struct http_options options;
    struct http *h;

    server_listen(&s);
    close(s.listener); /* refused from now on */
    h = open_plain(s.port);
    http_post_json(h, "/x", heap_body("{}"), on_done, &r);
    wait_count(h, &r, 1);
    ck_assert_int_eq(r.end, HTTP_NOT_SENT);
    ck_assert(r.detail[0]);
    http_close(h);

    options = plain_options(url, sizeof url, 1, "");
    options.base_url = "http://192.0.2.1:9"; /* RFC 5737: nobody; unreachable or silent */
    options.connect_timeout_ms = 100;
    h = open_with(&options);
    http_post_json(h, "/x", heap_body("{}"), on_done, &r);
    wait_count(h, &r, 2);
    ck_assert_int_eq(r.end, HTTP_NOT_SENT);
    http_close(h);
    buf_free(&r.body);
}

TEST(a_failed_tls_handshake_is_not_sent)
{
    struct server s;
    struct result r = {0};
    char url[100];
    struct http_options options;
    struct http *h;

    server_start(&s, SCRIPT(ACCEPT, READ_SOME, SEND("plain text\r\n"), HOLD));
    options = plain_options(url, sizeof url, s.port, "");
    snprintf(url, sizeof url, "https://127.0.0.1:%d", s.port);
    h = open_with(&options);
    http_set_authorization(h, "Convex secret");
    http_post_json(h, "/x", heap_body("{}"), on_done, &r);
    settle(&s, h, &r);
    ck_assert_msg(r.end == HTTP_NOT_SENT, "ended as %d (%s)", r.end, r.detail);
    ck_assert_ptr_null(strstr(r.detail, "secret"));
    forget(&s, &r);
}

TEST(what_left_and_brought_nothing_is_a_timeout)
{
    assert_end(SCRIPT(ACCEPT, READ, HOLD), 100, HTTP_TIMEOUT);
    assert_end(SCRIPT(ACCEPT, READ, SEND("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel"), HOLD),
               100, HTTP_TIMEOUT);
}

TEST(what_left_and_was_cut_is_broken)
{
    assert_end(SCRIPT(ACCEPT, READ, SHUT), 10000, HTTP_BROKEN);
    assert_end(SCRIPT(ACCEPT, READ, RESET), 10000, HTTP_BROKEN);
    assert_end(SCRIPT(ACCEPT, READ, SEND("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel"), SHUT),
               10000, HTTP_BROKEN);
    assert_end(SCRIPT(ACCEPT, READ,
                      SEND("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhe"), SHUT),
               10000, HTTP_BROKEN);
    assert_end(SCRIPT(ACCEPT, READ,
                      SEND("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), SHUT),
               10000, HTTP_BROKEN);
    assert_end(SCRIPT(ACCEPT, READ, SEND("SSH-2.0-x\r\n"), SHUT), 10000, HTTP_BROKEN);
}

/* ---- connections ----------------------------------------------------------------------------- */

TEST(a_dead_kept_connection_is_replaced)
{
    struct server s;
    struct result r = {0};
    struct http *h;

    server_start(&s, SCRIPT(ACCEPT, READ, SEND(OK_5),
                            READ, /* the server dies with the second call in hand */
                            SHUT, ACCEPT, READ, SEND(OK_5), HOLD));
    h = open_plain(s.port);
    for (unsigned i = 1; i <= 2; i++) {
        http_post_json(h, "/x", heap_body("{}"), on_done, &r);
        wait_count(h, &r, i);
        ck_assert_int_eq(r.end, HTTP_ANSWERED);
    }
    http_close(h);
    server_end(&s);
    ck_assert_uint_eq(s.accepted, 2);
    forget(&s, &r);
}

TEST(a_call_that_left_once_is_never_not_sent)
{
    struct server s;
    struct result r = {0};
    struct http *h;

    server_start(&s, SCRIPT(ACCEPT, READ, SEND(OK_5), READ,
                            STOP_LISTEN, /* so that curl's own second try is refused */
                            SHUT));
    h = open_plain(s.port);
    http_post_json(h, "/x", heap_body("{}"), on_done, &r);
    wait_count(h, &r, 1);
    ck_assert_int_eq(r.end, HTTP_ANSWERED);
    http_post_json(h, "/x", heap_body("{}"), on_done, &r);
    wait_count(h, &r, 2);
    ck_assert_msg(r.end == HTTP_BROKEN, "ended as %d (%s)", r.end, r.detail);
    http_close(h);
    server_end(&s);
    forget(&s, &r);
}

#define CREATED "HTTP/1.1 201 Created\r\nContent-Length: 3\r\n\r\nnew"

/* One call on a connection that is kept; ${unasked} comes; the next call must be answered by
 * CREATED. */
static void assert_nobodys_answer(const char *unasked)
{
    struct server s;
    struct result r = {0};
    struct http *h;
    size_t before;

    server_start(&s, SCRIPT(ACCEPT, READ, SEND(OK_5), SEND_LATE(unasked), READ, ACCEPT, READ,
                            SEND(CREATED), HOLD));
    h = open_plain(s.port);
    http_post_json(h, "/first", heap_body("{}"), on_done, &r);
    wait_count(h, &r, 1);
    ck_assert_int_eq(r.status, 200);
    server_let(&s);
    before = s.seen.len;
    http_post_json(h, "/second", heap_body("{}"), on_done, &r);
    wait_count(h, &r, 2);
    ck_assert_msg(r.end == HTTP_ANSWERED, "ended as %d (%s)", r.end, r.detail);
    ck_assert_int_eq(r.status, 201);
    ck_assert_slice(buf_view(&r.body), "new");
    http_close(h);
    server_end(&s);
    ck_assert_uint_eq(s.accepted, 2);
    ck_assert(memcmp(s.seen.data + before, "POST /second ", 13) == 0);
    ck_assert_uint_eq(s.seen.len, before + before + 1); /* once: nothing left on the first */
    forget(&s, &r);
}

TEST(what_comes_unasked_on_a_kept_connection_is_nobodys_answer)
{
    assert_nobodys_answer(OK_5);
    assert_nobodys_answer("HTTP/1.1 408 Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    assert_nobodys_answer("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    assert_nobodys_answer("H");
}

TEST(a_connection_that_is_not_trusted_is_used_no_more)
{
    struct server s;
    struct result r = {0};
    struct http *h;

    server_listen(&s);
    server_begin(&s, SCRIPT(ACCEPT, READ, SEND(OK_5), READ_OR_ACCEPT, SEND(CREATED), HOLD));
    h = open_plain(s.port);
    r.distrust = h;
    http_post_json(h, "/first", heap_body("{}"), on_done, &r);
    wait_count(h, &r, 1);
    r.distrust = NULL;
    http_post_json(h, "/second", heap_body("{}"), on_done, &r);
    wait_count(h, &r, 2);
    ck_assert_msg(r.end == HTTP_ANSWERED, "ended as %d (%s)", r.end, r.detail);
    ck_assert_int_eq(r.status, 201);
    http_close(h);
    server_end(&s);
    ck_assert_uint_eq(s.accepted, 2);
    forget(&s, &r);
}

/* The second call's answer comes with ${len} bytes of body under way; is it heard? */
static void assert_early_answer_is_asked_again(size_t len)
{
    struct server s;
    struct result r = {0};
    struct http *h;
    char *body = base_alloc(len);
    int small = 4096;

    memset(body, ' ', len);
    server_listen(&s);
    ck_assert_int_eq(setsockopt(s.listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
    server_begin(&s, SCRIPT(ACCEPT, READ, SEND(OK_5), READ_SOME, SEND(OK_5), ACCEPT, READ,
                            SEND(CREATED), HOLD));
    h = open_plain(s.port);
    http_post_json(h, "/first", heap_body("{}"), on_done, &r);
    wait_count(h, &r, 1);
    http_post_json(h, "/second", slice_of(body, len), on_done, &r);
    wait_count(h, &r, 2);
    ck_assert_msg(r.end == HTTP_ANSWERED, "ended as %d (%s)", r.end, r.detail);
    ck_assert_int_eq(r.status, 201);
    http_close(h);
    server_end(&s);
    ck_assert_uint_eq(s.accepted, 2);
    forget(&s, &r);
}

TEST(an_answer_that_outruns_its_request_on_a_kept_connection_is_asked_for_again)
{
    assert_early_answer_is_asked_again(60000);   /* all of it in our kernel, not in theirs */
    assert_early_answer_is_asked_again(8 << 20); /* most of it not even there */
}

TEST(what_follows_an_answer_in_the_same_packet_is_dropped)
{
    static const char *twice[] = {
        OK_5 OK_5,
        "HTTP/1.1 204 No Content\r\n\r\n" OK_5,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" OK_5,
    };

    for (size_t i = 0; i < 3; i++) {
        struct server s;
        struct result r = {0};
        /* closed by us or not, the second call gets its own answer */
        server_start(&s, SCRIPT(ACCEPT, READ, SEND(twice[i]), READ_OR_ACCEPT, SEND(CREATED), HOLD));
        struct http *h = open_plain(s.port);
        http_post_json(h, "/first", heap_body("{}"), on_done, &r);
        wait_count(h, &r, 1);
        ck_assert_int_eq(r.end, HTTP_ANSWERED);
        http_post_json(h, "/second", heap_body("{}"), on_done, &r);
        wait_count(h, &r, 2);
        ck_assert_int_eq(r.status, 201);
        http_close(h);
        server_end(&s);
        forget(&s, &r);
    }
}

TEST(further_calls_wait_for_a_connection_and_a_callback_may_start_calls)
{
    struct server s;
    struct result r = {.more = 1};
    char url[100];
    struct http_options options;
    struct http *h;

    server_start(&s, SCRIPT(ACCEPT, READ, SEND(OK_5), READ, SEND(OK_5), READ, SEND(OK_5), READ,
                            SEND(OK_5), HOLD));
    options = plain_options(url, sizeof url, s.port, "");
    options.max_connections = 1;
    h = r.again = open_with(&options);
    for (int i = 0; i < 3; i++)
        http_post_json(h, "/x", heap_body("{}"), on_done, &r);
    int64_t until = clock_mono_ms() + 20000;
    while (r.count < 4 && clock_mono_ms() < until)
        http_wait(h, -1, 1000);
    http_close(h);
    server_end(&s);
    ck_assert_uint_eq(r.count, 4);
    ck_assert_int_eq(r.end, HTTP_ANSWERED);
    ck_assert_uint_eq(s.accepted, 1);
    forget(&s, &r);
}

TEST(waiting_for_a_connection_counts_against_the_timeout)
{
    struct server s;
    struct result held = {0}, waiting = {0};
    char url[100];
    struct http_options options;
    struct http *h;

    server_start(&s, SCRIPT(ACCEPT, READ, HOLD));
    options = plain_options(url, sizeof url, s.port, "");
    options.max_connections = 1;
    options.timeout_ms = 200;
    h = open_with(&options);
    http_post_json(h, "/held", heap_body("{}"), on_done, &held);
    http_post_json(h, "/waiting", heap_body("{}"), on_done, &waiting);
    wait_count(h, &held, 1);
    wait_count(h, &waiting, 1);
    http_close(h);
    server_end(&s);
    ck_assert_int_eq(held.end, HTTP_TIMEOUT);
    /* or it got the connection in the instant between the two ends */
    ck_assert(waiting.end == HTTP_NOT_SENT || waiting.end == HTTP_TIMEOUT);
    buf_free(&s.seen);
    buf_free(&held.body);
    buf_free(&waiting.body);
}

/* ---- waiting, closing --------------------------------------------------------------- */

TEST(wait_ends_on_the_wake_descriptor_and_on_time)
{
    struct server s;
    struct result r = {0};
    int wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct http *h;

    server_start(&s, SCRIPT(ACCEPT, READ, HOLD));
    h = open_plain(s.port);
    http_get(h, "/x", on_done, &r);
    int64_t before = clock_mono_ms();
    http_wait(h, wake, 0);
    http_wait(h, wake, 30);
    ck_assert_int_ge(clock_mono_ms() - before, 29);
    eventfd_write(wake, 1);
    http_wait(h, wake, -1);
    ck_assert_uint_eq(r.count, 0);
    http_close(h);
    server_end(&s);
    close(wake);
    forget(&s, &r);
}

TEST(close_abandons_each_call_once)
{
    struct server s;
    struct result r[3] = {0};
    struct http *h;

    server_start(&s, SCRIPT(ACCEPT, READ, HOLD));
    h = open_plain(s.port);
    http_post_json(h, "/sent", heap_body("{}"), on_done, &r[0]);
    http_wait(h, -1, 50);
    http_post_json(h, "/never", heap_body("{}"), on_done, &r[1]);
    http_get(h, "/never", on_done, &r[2]);
    http_close(h);
    for (int i = 0; i < 3; i++) {
        ck_assert_uint_eq(r[i].count, 1);
        ck_assert_int_eq(r[i].end, HTTP_ABANDONED);
        buf_free(&r[i].body);
    }
    server_end(&s);
    buf_free(&s.seen);
    http_close(NULL);
}
