/*
 * http_options_test.c - what libcurl is told of each call, and of the calls together.
 *
 * curl_easy_setopt of this program stands in front of libcurl's and writes down what it passes on.
 * Most of it only shows where something else goes wrong (an address that does not answer, a proxy
 * in the environment, a name that moved), so the values themselves are compared.
 */

#define CURL_DISABLE_TYPECHECK

#include "test.h"

#include "convex/http.h"
#include "ground/buf.h"
#include "ground/fake_log.c"

#include <curl/curl.h>
#include <dlfcn.h>
#include <stdarg.h>

#include "convex/fake_server.c"

struct setting {
    CURL *easy;
    CURLoption option;
    intptr_t value;
    char text[200]; /* of an option that is one */
};

static struct setting settings[2000];
static size_t setting_count;
static long multi_settings[CURLMOPT_LASTENTRY % 10000];

static bool is_text(CURLoption option)
{
    return option == CURLOPT_PROTOCOLS_STR || option == CURLOPT_PROXY ||
           option == CURLOPT_ACCEPT_ENCODING || option == CURLOPT_CAINFO;
}

/* What a setting that is no text says, as one. */
static void put_text(struct setting *s)
{
    char *url = NULL;

    if (s->option == CURLOPT_CURLU &&
        curl_url_get((CURLU *)s->value, CURLUPART_URL, &url, 0) == CURLUE_OK)
        snprintf(s->text, sizeof s->text, "%s", url);
    curl_free(url);
    for (const struct curl_slist *l = (struct curl_slist *)s->value;
         s->option == CURLOPT_HTTPHEADER && l != NULL; l = l->next) {
        size_t len = strlen(s->text);
        snprintf(s->text + len, sizeof s->text - len, "%s|", l->data);
    }
}

/* Every option takes one argument as wide as a pointer: a long, a curl_off_t or one of them. */
CURLcode(curl_easy_setopt)(CURL *easy, CURLoption option, ...)
{
    CURLcode (*real)(CURL *, CURLoption, ...);
    struct setting *s = &settings[setting_count++];
    va_list ap;

    ck_assert_uint_le(setting_count, sizeof settings / sizeof *settings);
    va_start(ap, option);
    *s = (struct setting){easy, option, va_arg(ap, intptr_t), ""};
    va_end(ap);
    if (is_text(option))
        snprintf(s->text, sizeof s->text, "%s", (const char *)s->value);
    put_text(s);
    *(void **)&real = dlsym(RTLD_NEXT, "curl_easy_setopt");
    return real(easy, option, s->value);
}

CURLMcode(curl_multi_setopt)(CURLM *multi, CURLMoption option, ...)
{
    CURLMcode (*real)(CURLM *, CURLMoption, ...);
    va_list ap;

    va_start(ap, option);
    long value = va_arg(ap, long);
    va_end(ap);
    multi_settings[option % 10000] = value;
    *(void **)&real = dlsym(RTLD_NEXT, "curl_multi_setopt");
    return real(multi, option, value);
}

/* What ${option} is now on the handle that was set last; NULL: it was never set. */
static const struct setting *setting_of(CURLoption option)
{
    CURL *easy = setting_count ? settings[setting_count - 1].easy : NULL;

    for (size_t i = setting_count; i-- > 0;)
        if (settings[i].easy == easy && settings[i].option == option)
            return &settings[i];
    return NULL;
}

static void assert_number(CURLoption option, long value)
{
    const struct setting *s = setting_of(option);

    ck_assert_msg(s != NULL, "option %d is not set", (int)option);
    ck_assert_msg(s->value == value, "option %d is %ld, wanted %ld", (int)option, (long)s->value,
                  value);
}

static void assert_text(CURLoption option, const char *text)
{
    const struct setting *s = setting_of(option);

    ck_assert_msg(s != NULL, "option %d is not set", (int)option);
    ck_assert_str_eq(s->text, text);
}

static void assert_unset(CURLoption option)
{
    ck_assert_msg(setting_of(option) == NULL, "option %d is set", (int)option);
}

static void on_done(void *arg, const struct http_answer *a)
{
    (void)a;
    ++*(unsigned *)arg;
}

static struct http *open_at(const char *base_url, const char *ca_file)
{
    struct http_options options = {
        .base_url = base_url,
        .ca_file = ca_file,
        .user_agent = ca_file ? "test/1" : NULL,
        .connect_timeout_ms = 4321,
        .timeout_ms = 9876,
        .max_answer_bytes = 1000,
        .max_connections = 3,
    };
    struct fault fault = {0};
    struct http *h = NULL;

    ck_assert_msg(http_open(&options, &h, &fault) == ERR_OK, "%s %s", fault.path, fault.why);
    setting_count = 0;
    return h;
}

static void post(struct http *h, const char *path, unsigned *done)
{
    http_post_json(h, path, slice_of(base_strndup("{}", 2), 2), on_done, done);
}

TEST(a_call_has_these_options)
{
    unsigned done = 0;
    struct http *h = open_at("https://convex.example/x/", "/proc/self/exe");

    post(h, "/api/mutation", &done);
    assert_number(CURLOPT_CONNECTTIMEOUT_MS, 4321);
    assert_number(CURLOPT_TIMEOUT_MS, 9876);
    assert_number(CURLOPT_NOSIGNAL, 1);
    assert_text(CURLOPT_PROTOCOLS_STR, "http,https");
    assert_number(CURLOPT_FOLLOWLOCATION, 0);
    assert_number(CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    assert_number(CURLOPT_SSL_VERIFYPEER, 1);
    assert_number(CURLOPT_SSL_VERIFYHOST, 2);
    assert_number(CURLOPT_TCP_KEEPALIVE, 1);
    assert_number(CURLOPT_TCP_KEEPIDLE, 30);
    assert_number(CURLOPT_TCP_KEEPINTVL, 15);
    assert_number(CURLOPT_DNS_CACHE_TIMEOUT, 0);
    assert_number(CURLOPT_MAXLIFETIME_CONN, 60);
    assert_text(CURLOPT_ACCEPT_ENCODING, "identity");
    assert_text(CURLOPT_CAINFO, "/proc/self/exe");
    ck_assert_ptr_nonnull(strstr(setting_of(CURLOPT_HTTPHEADER)->text, "User-Agent: test/1|"));
    assert_text(CURLOPT_CURLU, "https://convex.example/x/api/mutation");
    assert_number(CURLOPT_POST, 1);
    assert_number(CURLOPT_POSTFIELDSIZE_LARGE, 2);
    ck_assert_int_ne(setting_of(CURLOPT_HTTPHEADER)->value, 0);
    assert_unset(CURLOPT_PROXY); /* that of the environment may be the only way out */
    ck_assert_int_eq(multi_settings[CURLMOPT_MAXCONNECTS % 10000], 3);
    ck_assert_int_eq(multi_settings[CURLMOPT_MAX_TOTAL_CONNECTIONS % 10000], 3);
    http_close(h);
    ck_assert_uint_eq(done, 1);
}

TEST(what_is_not_given_is_left_to_libcurl_and_loopback_needs_no_proxy)
{
    unsigned done = 0;
    struct http *h = open_at("http://127.0.0.1:1", NULL);

    http_get(h, "/version", on_done, &done);
    assert_number(CURLOPT_HTTPGET, 1);
    assert_unset(CURLOPT_POST);
    assert_unset(CURLOPT_CAINFO);
    ck_assert_ptr_null(strstr(setting_of(CURLOPT_HTTPHEADER)->text, "User-Agent"));
    assert_text(CURLOPT_PROXY, "");
    http_close(h);
    ck_assert_uint_eq(done, 1);
}

#define OK_5 "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

static void wait_for(struct http *h, const unsigned *done, unsigned count)
{
    while (*done < count)
        http_wait(h, -1, 1000);
}

TEST(a_handle_serves_the_next_call_and_points_to_nothing_of_the_last)
{
    struct server s;
    char url[60];
    unsigned done = 0;

    server_start(&s, SCRIPT(ACCEPT, READ, SEND(OK_5), READ, SEND(OK_5), READ, SEND(OK_5), HOLD));
    snprintf(url, sizeof url, "http://127.0.0.1:%d", s.port);
    struct http *h = open_at(url, NULL);
    post(h, "/a", &done);
    wait_for(h, &done, 1);
    assert_number(CURLOPT_HTTPHEADER, 0);
    assert_number(CURLOPT_POSTFIELDS, 0);
    setting_count = 0;
    post(h, "/a", &done);
    wait_for(h, &done, 2);
    assert_unset(CURLOPT_PRIVATE); /* no new handle */
    assert_unset(CURLOPT_CURLU);   /* the same as before */
    assert_unset(CURLOPT_FRESH_CONNECT);
    assert_unset(CURLOPT_TIMEOUT_MS);
    post(h, "/b", &done);
    wait_for(h, &done, 3);
    ck_assert_ptr_nonnull(strstr(setting_of(CURLOPT_CURLU)->text, "/b"));
    http_close(h);
    server_end(&s);
    ck_assert_uint_eq(s.accepted, 1);
    buf_free(&s.seen);
}

/* Bytes that nobody asked for: again on a new connection, in the time that is left of the call. */
TEST(a_second_try_has_a_connection_of_its_own_and_what_is_left_of_the_time)
{
    struct server s;
    char url[60];
    unsigned done = 0;

    server_start(&s, SCRIPT(ACCEPT, READ, SEND(OK_5), READ_SOME, SEND("HTTP/1.1 200 OK\r\n"),
                            ACCEPT, READ, SEND(OK_5), READ, SEND(OK_5), HOLD));
    /* most of the request does not reach the server, so that what comes is early */
    int small = 4096;
    ck_assert_int_eq(setsockopt(s.listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
    snprintf(url, sizeof url, "http://127.0.0.1:%d", s.port);
    struct http *h = open_at(url, NULL);
    post(h, "/a", &done);
    wait_for(h, &done, 1);
    setting_count = 0;
    size_t len = 8 << 20;
    http_post_json(h, "/b", slice_of(base_alloc(len), len), on_done, &done);
    wait_for(h, &done, 2);
    ck_assert_uint_eq(s.accepted, 2);
    size_t at = setting_count;
    while (at > 0 && settings[at - 1].option != CURLOPT_FRESH_CONNECT)
        at--;
    ck_assert_int_eq(settings[at - 1].value, 0); /* back to what every call has */
    assert_number(CURLOPT_TIMEOUT_MS, 9876);
    long left = 0, fresh = 0;
    for (size_t i = 0; i < at - 1; i++) {
        left = settings[i].option == CURLOPT_TIMEOUT_MS ? settings[i].value : left;
        fresh |= settings[i].option == CURLOPT_FRESH_CONNECT ? settings[i].value : 0;
    }
    ck_assert_int_eq(fresh, 1);
    ck_assert_int_gt(left, 0);
    ck_assert_int_le(left, 9876);
    ck_assert_int_eq(fake_log_lines[LOG_WARNING], 1);
    setting_count = 0;
    post(h, "/c", &done);
    wait_for(h, &done, 3);
    ck_assert_uint_eq(s.accepted, 2);
    assert_unset(CURLOPT_FRESH_CONNECT); /* that was one call's */
    http_close(h);
    server_end(&s);
    buf_free(&s.seen);
}
