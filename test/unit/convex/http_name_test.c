/* http_name_test.c - a name that moves to another address while calls go on.
 *
 * The resolver of this program is a test's: the one name leads to the port that the test says.
 */

#include "test.h"

#include "convex/http.h"

#include "convex/fake_server.c"

#include <netdb.h>
#include <stdatomic.h>

#define OK(text) "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" text

static atomic_int port_now, questions;

/* libcurl's, as the program's own symbols come before those of the C library. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **out)
{
    struct {
        struct addrinfo info;
        struct sockaddr_in address;
    } *found = base_alloc(sizeof *found);

    (void)node, (void)service, (void)hints;
    questions++;
    found->address = (struct sockaddr_in){.sin_family = AF_INET,
                                          .sin_port = htons((uint16_t)port_now),
                                          .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    found->info = (struct addrinfo){.ai_family = AF_INET,
                                    .ai_socktype = SOCK_STREAM,
                                    .ai_addrlen = sizeof found->address,
                                    .ai_addr = (struct sockaddr *)&found->address};
    *out = &found->info;
    return 0;
}

void freeaddrinfo(struct addrinfo *info)
{
    free(info);
}

struct heard {
    unsigned count;
    enum http_end end;
    char body[8];
};

static void on_done(void *arg, const struct http_answer *a)
{
    struct heard *heard = arg;

    heard->count++;
    heard->end = a->end;
    snprintf(heard->body, sizeof heard->body, "%.*s", SLICE_ARG(a->body));
}

static void post(struct http *h, struct heard *heard)
{
    unsigned before = heard->count;

    http_post_json(h, "/x", slice_of(base_strndup("{}", 2), 2), on_done, heard);
    while (heard->count == before)
        http_wait(h, -1, 1000);
}

static struct http *open_name(long timeout_ms)
{
    struct http_options options = {.base_url = "http://convex.test:1",
                                   .max_connections = 1,
                                   .connect_timeout_ms = 2000,
                                   .timeout_ms = timeout_ms,
                                   .max_answer_bytes = 1000};
    struct fault fault;
    struct http *h;

    ck_assert_msg(http_open(&options, &h, &fault) == ERR_OK, "%s %s", fault.path, fault.why);
    return h;
}

/* The old address answers nothing any more: what was kept of it is of no use at once. */
static void move_away_from(const struct step *script, long timeout_ms, unsigned lost)
{
    struct server old, new;
    struct heard heard = {0};
    struct http *h = open_name(timeout_ms);

    server_start(&old, script);
    server_start(&new, SCRIPT(ACCEPT, READ, SEND(OK("new")), HOLD));
    port_now = old.port;
    post(h, &heard);
    ck_assert_str_eq(heard.body, "old");
    port_now = new.port;
    for (unsigned i = 0; i < lost; i++) {
        post(h, &heard);
        ck_assert_int_ne(heard.end, HTTP_ANSWERED);
    }
    post(h, &heard);
    ck_assert_int_eq(heard.end, HTTP_ANSWERED);
    ck_assert_str_eq(heard.body, "new");
    ck_assert_int_ge(questions, 2);
    http_close(h);
    server_end(&old);
    server_end(&new);
    buf_free(&old.seen);
    buf_free(&new.seen);
}

TEST(a_name_that_moves_is_asked_for_by_the_next_connection)
{
    move_away_from(SCRIPT(ACCEPT, READ, SEND(OK("old")), STOP_LISTEN, SHUT), 5000, 0);
}

TEST(a_name_that_moves_from_an_address_that_falls_silent_is_followed_after_one_timeout)
{
    move_away_from(SCRIPT(ACCEPT, READ, SEND(OK("old")), READ, HOLD), 200, 1);
}
