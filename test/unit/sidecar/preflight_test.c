/* preflight_test.c - what is said before a start, and the worst of it. */

#include "test.h"

#include "config/config.h"
#include "sidecar/preflight.h"

#include "convex/fake_server.c"

/* Run with ${text} as configuration; what it prints in ${said}. */
static enum preflight run(const char *text, char *said, size_t size)
{
    struct config *c = config_new();
    struct fault fault = {0};
    FILE *out = fmemopen(said, size, "w");

    ck_assert_msg(config_read_text(c, "test", text, &fault) == ERR_OK, "%s", fault.why);
    ck_assert_msg(config_finish(c, &fault) == ERR_OK, "%s", fault.why);
    enum preflight is = preflight_run(c, out);
    fclose(out);
    config_free(c);
    return is;
}

static enum preflight ask(struct server *s, char *said, size_t size)
{
    char text[200];

    snprintf(text, sizeof text,
             "[sink]\ntype = http\nbase_url = http://127.0.0.1:%d\nadmin_key = a|b\n", s->port);
    return run(text, said, size);
}

TEST(who_delivers_nowhere_has_nobody_to_ask)
{
    char said[1000] = "";

    ck_assert_int_eq(run("[sink]\ntype = noop\n", said, sizeof said), PREFLIGHT_WELL);
    ck_assert_ptr_nonnull(strstr(said, "there is nobody to ask"));
}

TEST(a_key_that_is_refused_is_bad)
{
    struct server s;
    char said[1000] = "";

    server_start(&s, SCRIPT(ACCEPT, READ,
                            SEND("HTTP/1.1 401 Unauthorized\r\nContent-Length: 41\r\n\r\n"
                                 "{\"code\":\"BadAdminKey\",\"message\":\"is bad\"}"),
                            HOLD));
    ck_assert_int_eq(ask(&s, said, sizeof said), PREFLIGHT_BAD);
    ck_assert_ptr_nonnull(strstr(said, "BAD      Convex: HTTP 401 BadAdminKey"));
    ck_assert_ptr_nonnull(strstr(said, "next: look at base_url and at the key"));
    server_end(&s);
}

TEST(nobody_there_is_unknown)
{
    struct server s;
    char said[1000] = "";

    server_start(&s, SCRIPT(STOP_LISTEN));
    pthread_join(s.thread, NULL);
    ck_assert_int_eq(ask(&s, said, sizeof said), PREFLIGHT_UNKNOWN);
    ck_assert_ptr_nonnull(strstr(said, "UNKNOWN  Convex: not sent"));
}

/* Functions of version 1 have no attach: that Convex says so proves the key, and no more. */
#define NO_ATTACH                                                                                  \
    "Content-Length: 93\r\n\r\n{\"status\":\"error\",\"errorMessage\":\"Could not find public "    \
    "function for 'runtime:attach'.     \"}"

TEST(older_functions_and_a_clock_that_is_off_are_said)
{
    struct server s;
    char said[2000] = "";

    server_start(
        &s,
        SCRIPT(ACCEPT, READ,
               SEND("HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n" NO_ATTACH), HOLD));
    ck_assert_int_eq(ask(&s, said, sizeof said), PREFLIGHT_BAD);
    ck_assert_ptr_nonnull(strstr(said, "ok       Convex: answers, and takes the key"));
    ck_assert_ptr_nonnull(strstr(said, "ok       functions: older than this sidecar"));
    ck_assert_ptr_nonnull(strstr(said, "BAD      clock: "));
    ck_assert_ptr_nonnull(strstr(said, " s ahead of Convex'; next: set it (NTP)"));
    ck_assert_ptr_null(strstr(said, "kind "));
    server_end(&s);
}
