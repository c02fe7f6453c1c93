/*
 * epmd_test.c - registering with a stand-in for epmd that answers what the test says.
 */

#include "dist/epmd.h"
#include "ground/buf.h"

#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/syscall.h>
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

/* --- which port, and what stays open --- */

static int dialled = -1; /* the port that was asked for; no connection is made then */
static bool is_dialling_off;

int connect(int fd, const struct sockaddr *to, socklen_t len)
{
    struct sockaddr_in a;

    memcpy(&a, to, sizeof a);
    dialled = ntohs(a.sin_port);
    if (!is_dialling_off)
        return (int)syscall(SYS_connect, fd, to, len);
    ck_assert_uint_eq(ntohl(a.sin_addr.s_addr), INADDR_LOOPBACK);
    errno = ECONNREFUSED;
    return -1;
}

TEST(epmds_port_is_the_environments_or_4369)
{
    static const struct {
        const char *text;
        int port;
    } cases[] = {{NULL, 4369}, {"", 4369},      {"0", 4369}, {"-1", 4369},
                 {"x", 4369},  {"65536", 4369}, {"1", 1},    {"65535", 65535}};
    struct fault fault;
    char wanted[60];
    int fd;

    is_dialling_off = true;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (cases[i].text)
            setenv("ERL_EPMD_PORT", cases[i].text, 1);
        else
            unsetenv("ERL_EPMD_PORT");
        ck_assert_int_eq(epmd_register("me", 4711, &fd, &fault), ERR_SYSTEM);
        ck_assert_int_eq(dialled, cases[i].port);
        snprintf(wanted, sizeof wanted, "no epmd at 127.0.0.1:%d: Connection refused; start one",
                 cases[i].port);
        ck_assert_int_eq(strncmp(fault.why, wanted, strlen(wanted)), 0);
    }
}

static unsigned open_files(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;

    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

TEST(what_fails_leaves_nothing_open_and_says_why)
{
    static const struct {
        const char *answer;
        size_t len;
        const char *why;
    } cases[] = {{"", 0, "does not answer: Connection reset by peer"},
                 {"\x76\0\0", 3, "does not answer: Connection reset by peer"},
                 {"\x01\0\0\0", 4, "does not answer: Protocol error"},
                 {"\x76\1\0\0\0\0", 6, "epmd refuses the name me: it is taken"},
                 {"\x79\1", 2, "epmd refuses the name me: it is taken"}};
    unsigned before = open_files();

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct epmd e = {.answer = slice_of(cases[i].answer, cases[i].len)};
        struct fault fault;
        int fd = -1;
        ck_assert_int_eq(ask(&e, &fd, &fault), ERR_SYSTEM);
        ck_assert_msg(strstr(fault.why, cases[i].why) != NULL, "%s", fault.why);
        close(e.connection);
        ck_assert_uint_eq(open_files(), before);
    }
}

TEST(an_epmd_that_says_nothing_is_waited_for_a_second)
{
    struct epmd e = {0};
    struct fault fault;
    struct timespec before, after;
    int fd = -1;

    start(&e); /* it is connected to, and nobody takes it */
    clock_gettime(CLOCK_MONOTONIC, &before);
    ck_assert_int_eq(epmd_register("me", 4711, &fd, &fault), ERR_SYSTEM);
    clock_gettime(CLOCK_MONOTONIC, &after);
    ck_assert_ptr_nonnull(strstr(fault.why, "does not answer: Connection timed out"));
    int64_t took_ms =
        (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
    ck_assert_int_ge(took_ms, 990);
    close(e.listener);
}

TEST(a_socket_of_the_number_nought_is_one_like_others)
{
    struct epmd e = {.answer = slice_of("\x76\0\0\0\0\7", 6)};
    struct fault fault;
    int fd = -1, input = dup(STDIN_FILENO);

    start(&e);
    pthread_create(&e.thread, NULL, serve, &e);
    close(STDIN_FILENO);
    ck_assert_int_eq(epmd_register("me", 4711, &fd, &fault), ERR_OK);
    pthread_join(e.thread, NULL);
    ck_assert_int_eq(fd, STDIN_FILENO);
    ck_assert_int_eq(dup2(input, STDIN_FILENO), STDIN_FILENO);
    close(e.listener);
    close(e.connection);
    close(input);
}
