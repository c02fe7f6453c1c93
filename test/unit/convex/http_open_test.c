/* http_open_test.c - the options http takes and those it refuses. */

#include "test.h"

#include "convex/http.h"

static struct http_options plain_options(void)
{
    return (struct http_options){
        .base_url = "http://127.0.0.1:1",
        .connect_timeout_ms = 1000,
        .timeout_ms = 1000,
        .max_answer_bytes = 1000,
        .max_connections = 1,
    };
}

TEST(a_base_url_is_checked)
{
    static const struct {
        const char *url, *why;
    } bad[] = {
        {"", NULL},
        {"127.0.0.1:3210", NULL},
        {"ftp://host", "must begin with http:// or https://"},
        {"file:///etc/passwd", "must begin with http:// or https://"},
        {"http://", NULL},
        {"http://ho st/", NULL},
        {"http://host:99999", NULL},
        {"http://me:secret@host", "must not hold a user or password"},
        {"http://host/?q=1", "must not have a query or fragment"},
        {"http://host/#f", "must not have a query or fragment"},
    };
    struct http_options options = plain_options();

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct fault fault = {0};
        struct http *h = NULL;
        options.base_url = bad[i].url;
        ck_assert_msg(http_open(&options, &h, &fault) == ERR_INVALID, "took \"%s\"", bad[i].url);
        ck_assert_str_eq(fault.path, "base_url");
        ck_assert(fault.why[0]);
        if (bad[i].why)
            ck_assert_str_eq(fault.why, bad[i].why);
        ck_assert_ptr_null(strstr(fault.why, "secret"));
        ck_assert_ptr_null(h);
    }
    options.base_url = "https://convex.example.com/some/prefix/";
    struct fault fault = {0};
    struct http *h = NULL;
    ck_assert_int_eq(http_open(&options, &h, &fault), ERR_OK);
    http_close(h);
}

TEST(plain_http_to_another_machine_is_in_the_clear)
{
    static const struct {
        const char *url;
        bool is_clear;
    } cases[] = {
        {"http://convex.example", true}, {"https://convex.example", false},
        {"http://10.0.0.1:3210", true},  {"http://127.0.0.1:3210", false},
        {"http://[::1]:3210", false},    {"http://localhost", false},
        {"http://127.example", true},
    };
    struct http_options options = plain_options();

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fault fault = {0};
        struct http *h = NULL;
        options.base_url = cases[i].url;
        ck_assert_int_eq(http_open(&options, &h, &fault), ERR_OK);
        ck_assert_msg(http_is_in_the_clear(h) == cases[i].is_clear, "%s", cases[i].url);
        http_close(h);
    }
}

TEST(a_ca_file_must_be_readable)
{
    struct http_options options = plain_options();
    struct fault fault = {0};
    struct http *h = NULL;

    options.ca_file = "/nonexistent/ca.pem";
    ck_assert_int_eq(http_open(&options, &h, &fault), ERR_INVALID);
    ck_assert_str_eq(fault.path, "ca_file");
}
