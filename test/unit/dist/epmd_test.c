/*
 * epmd_test.c - registering with a stand-in for epmd that answers what the test says.
 */

#include "dist/epmd.h"
#include "ground/buf.h"

#include "test.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

struct epmd {
    int listener, connection;
    struct slice answer;
    uint8_t request[64];
    ssize_t request_len;
    pthread_t thread;
};

static void *serve(void *arg)
{
    struct epmd *e = arg;

    e->connection = accept(e->listener, NULL, NULL);
    e->request_len = recv(e->connection, e->request, sizeof e->request, 0);
    /* In the worst pieces; who is refused may hang up after two of them. */
    for (size_t i = 0; i < e->answer.len; i++) {
        if (send(e->connection, e->answer.data + i, 1, MSG_NOSIGNAL) != 1)
            break;
        poll(NULL, 0, 2);
    }
    if (e->answer.len < 4)
        shutdown(e->connection, SHUT_RDWR);
    return NULL;
}

static void start(struct epmd *e)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t len = sizeof a;
    char port[16];

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    e->listener = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(e->listener, (struct sockaddr *)&a, len), 0);
    ck_assert_int_eq(listen(e->listener, 1), 0);
    ck_assert_int_eq(getsockname(e->listener, (struct sockaddr *)&a, &len), 0);
    snprintf(port, sizeof port, "%d", ntohs(a.sin_port));
    setenv("ERL_EPMD_PORT", port, 1);
}

static enum err ask(struct epmd *e, int *fd, struct fault *fault)
{
    start(e);
    pthread_create(&e->thread, NULL, serve, e);
    enum err result = epmd_register("me", 4711, fd, fault);
    pthread_join(e->thread, NULL);
    close(e->listener);
    return result;
}

TEST(the_request_is_the_protocols_and_the_answer_read_whole)
{
    static const char *answers[] = {"\x76\0\0\0\0\7", "\x79\0\0\7"};
    static const uint8_t request[] = "\0\x0f\x78\x12\x67\x48\0\0\6\0\6\0\2me\0";

    for (size_t i = 0; i < 2; i++) {
        struct epmd e = {.answer = slice_of(answers[i], i == 0 ? 6 : 4)};
        struct fault fault;
        int fd = -1;
        ck_assert_int_eq(ask(&e, &fd, &fault), ERR_OK);
        ck_assert_int_eq(e.request_len, sizeof request);
        ck_assert_mem_eq(e.request, request, sizeof request);
        struct pollfd p = {fd, POLLIN, 0};
        ck_assert_int_eq(poll(&p, 1, 20), 0); /* nothing left: readable will mean "gone" */
        close(e.connection);
        ck_assert_int_eq(poll(&p, 1, 5000), 1);
        close(fd);
    }
}

TEST(a_taken_name_is_told)
{
    static const char *answers[] = {"\x76\1\0\0\0\0", "\x79\1\0\0"};

    for (size_t i = 0; i < 2; i++) {
        struct epmd e = {.answer = slice_of(answers[i], i == 0 ? 6 : 4)};
        struct fault fault;
        int fd = -1;
        ck_assert_int_eq(ask(&e, &fd, &fault), ERR_SYSTEM);
        ck_assert_ptr_nonnull(strstr(fault.why, "taken"));
        ck_assert_int_eq(fd, -1);
        close(e.connection);
    }
}

TEST(a_short_or_foreign_answer_is_an_error)
{
    static const char *answers[] = {"", "\x76\0\0", "\x01\0\0\0"};
    static const size_t lens[] = {0, 3, 4};

    for (size_t i = 0; i < 3; i++) {
        struct epmd e = {.answer = slice_of(answers[i], lens[i])};
        struct fault fault;
        int fd = -1;
        ck_assert_int_eq(ask(&e, &fd, &fault), ERR_SYSTEM);
        ck_assert_ptr_nonnull(strstr(fault.why, "does not answer"));
        close(e.connection);
    }
}

TEST(no_epmd_is_told_at_once)
{
    struct epmd e = {0};
    struct fault fault;
    int fd = -1;

    start(&e);
    close(e.listener);
    ck_assert_int_eq(epmd_register("me", 4711, &fd, &fault), ERR_SYSTEM);
    ck_assert_ptr_nonnull(strstr(fault.why, "no epmd at 127.0.0.1:"));
}
