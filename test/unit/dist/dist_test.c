/*
 * dist_test.c - the C node met by peers that a BEAM would never be: twins, mutes, babblers.
 *
 * The peers are C nodes of ei (which dials out; the rooms under test never do), epmd is a thread
 * that says yes.  What real BEAM nodes see is in test/dist_test.exs.
 */

#include "dist/dist.h"
#include "ground/log.h"
#include "ground/clock.h"
#include "ground/metrics.h"
#include "dist/node.h"

#include "test.h"

#include <dirent.h>
#include <ei.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NODE "c@127.0.0.1"

/* --- an accept that fails when a test says so --- */

static atomic_int accept_error; /* of the next; 0: none */
static atomic_uint accept_failures;

int accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
    int error = atomic_exchange(&accept_error, 0);

    if (error == 0)
        return (int)syscall(SYS_accept4, fd, address, len, flags);
    accept_failures++;
    errno = error;
    return -1;
}

/* --- an epmd that says yes to everybody --- */

static struct {
    int listener;
    atomic_int connection;
    atomic_bool is_fickle;    /* closes as soon as it has said yes */
    atomic_bool is_talkative; /* goes on talking when it has said yes */
    atomic_uint registrations;
    pthread_t thread;
} epmd;

static void talk_until_it_hangs_up(int fd)
{
    char babble[4096] = "";

    while (send(fd, babble, sizeof babble, MSG_NOSIGNAL) > 0)
        ;
}

static void *epmd_run(void *arg)
{
    (void)arg;
    for (;;) {
        char request[100];
        int fd = accept(epmd.listener, NULL, NULL);
        if (fd < 0)
            return NULL;
        ck_assert(recv(fd, request, sizeof request, 0) > 0);
        ck_assert_int_eq(send(fd, "\x76\0\0\0\0\1", 6, MSG_NOSIGNAL), 6);
        epmd.registrations++;
        if (epmd.is_talkative)
            talk_until_it_hangs_up(fd);
        if (epmd.is_fickle || epmd.is_talkative)
            close(fd);
        else
            epmd.connection = fd;
    }
}

static void epmd_start(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t len = sizeof a;
    char port[16];

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    epmd.listener = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(epmd.listener, (struct sockaddr *)&a, len), 0);
    ck_assert_int_eq(listen(epmd.listener, 8), 0);
    ck_assert_int_eq(getsockname(epmd.listener, (struct sockaddr *)&a, &len), 0);
    snprintf(port, sizeof port, "%d", ntohs(a.sin_port));
    setenv("ERL_EPMD_PORT", port, 1);
    pthread_create(&epmd.thread, NULL, epmd_run, NULL);
}

static void epmd_stop(void)
{
    shutdown(epmd.listener, SHUT_RDWR);
    pthread_join(epmd.thread, NULL);
    close(epmd.listener);
    close(epmd.connection);
}

/* --- the node under test: keeps its callers until told --- */

static atomic_uint calls, casts, lefts;
static struct caller *kept;

static void on_call(void *arg, struct dist_session *session, struct caller *caller, term request)
{
    (void)arg;
    if (term_is(request, "keep"))
        kept = caller;
    else
        dist_reply(caller, session, term_raw(request));
    calls++;
}

static void on_cast(void *arg, struct dist_session *session, term request)
{
    (void)arg, (void)session, (void)request;
    casts++;
}

static void on_gathered(void *arg, struct dist_session *session)
{
    (void)arg, (void)session;
}

static void on_left(void *arg)
{
    (void)arg;
    lefts++;
}

static enum err open_node(const char *node, const char *cookie, const char *address,
                          struct dist **d, struct fault *fault)
{
    const struct dist_options options = {.node = node,
                                         .cookie = cookie,
                                         .listen_address = address,
                                         .registered_name = "srv",
                                         .max_message_bytes = 1 << 20,
                                         .max_unsent_bytes = 1 << 20,
                                         .max_peers = 8};
    const struct dist_handler handler = {NULL, on_call, on_cast, on_gathered, on_left};

    return dist_open(&options, &handler, d, fault);
}

static struct dist *start(void)
{
    struct dist *d = NULL;
    struct fault fault;

    epmd_start();
    ck_assert_msg(open_node(NODE, "secret", NULL, &d, &fault) == ERR_OK, "%s", fault.why);
    /* one that is hung up on, or hangs up, may be gone again by now */
    ck_assert(epmd.is_fickle || epmd.is_talkative || dist_is_published(d));
    return d;
}

static void stop(struct dist *d)
{
    dist_close(d);
    epmd_stop();
}

/* --- a peer made of ei --- */

struct twin {
    ei_cnode ei;
    int fd;
};

static int dial(struct twin *t, const struct dist *d, const char *name, const char *cookie)
{
    struct in_addr loopback = {htonl(INADDR_LOOPBACK)};
    char full[64], host[] = "127.0.0.1";

    snprintf(full, sizeof full, "%s@127.0.0.1", name);
    ck_assert_int_eq(ei_connect_xinit(&t->ei, host, name, full, &loopback, cookie, 99), 0);
    return t->fd = ei_connect_host_port(&t->ei, host, dist_port(d));
}

static void ask(struct twin *t, char *name, const char *request)
{
    ei_x_buff x;
    erlang_ref ref;

    ck_assert_int_eq(ei_make_ref(&t->ei, &ref), 0);
    ei_x_new_with_version(&x);
    ei_x_encode_tuple_header(&x, 3);
    ei_x_encode_atom(&x, "$gen_call");
    ei_x_encode_tuple_header(&x, 2);
    ei_x_encode_pid(&x, ei_self(&t->ei));
    ei_x_encode_ref(&x, &ref);
    ei_x_encode_atom(&x, request);
    ck_assert_int_eq(ei_reg_send(&t->ei, t->fd, name, x.buff, x.index), 0);
    ei_x_free(&x);
}

/* Whether an answer comes whose second element is the atom. */
static bool answered(struct twin *t, const char *expected)
{
    ei_x_buff x;
    erlang_msg m;
    char atom[MAXATOMLEN] = "";
    int i = 0, v;

    ei_x_new(&x);
    int got = ei_xreceive_msg_tmo(t->fd, &m, &x, 5000);
    bool same = got == ERL_MSG && ei_decode_version(x.buff, &i, &v) == 0 &&
                ei_decode_tuple_header(x.buff, &i, &v) == 0 && ei_skip_term(x.buff, &i) == 0 &&
                ei_decode_atom(x.buff, &i, atom) == 0 && strcmp(atom, expected) == 0;
    ei_x_free(&x);
    return same;
}

/* A call whose tag is [Ref | ${bytes} of text]. */
static void ask_with_tag(struct twin *t, char *name, const char *request, int bytes)
{
    ei_x_buff x;
    erlang_ref ref;
    char *text = calloc(1, (size_t)bytes);

    ck_assert_int_eq(ei_make_ref(&t->ei, &ref), 0);
    ei_x_new_with_version(&x);
    ei_x_encode_tuple_header(&x, 3);
    ei_x_encode_atom(&x, "$gen_call");
    ei_x_encode_tuple_header(&x, 2);
    ei_x_encode_pid(&x, ei_self(&t->ei));
    ei_x_encode_tuple_header(&x, 2);
    ei_x_encode_ref(&x, &ref);
    ei_x_encode_binary(&x, text, bytes);
    ei_x_encode_atom(&x, request);
    ck_assert_int_eq(ei_reg_send(&t->ei, t->fd, name, x.buff, x.index), 0);
    ei_x_free(&x);
    free(text);
}

static bool is_closed(int fd)
{
    char rest[100];
    struct pollfd p = {fd, POLLIN, 0};

    while (poll(&p, 1, 5000) == 1)
        if (recv(fd, rest, sizeof rest, 0) <= 0)
            return true;
    return false;
}

static void wait_metric(enum metric m, uint64_t value)
{
    int64_t end_ms = clock_mono_ms() + 5000;

    while (metric_get(m) != value && clock_mono_ms() < end_ms)
        poll(NULL, 0, 1);
    ck_assert_uint_eq(metric_get(m), value);
}

TEST(bad_names_cookies_and_addresses_are_told)
{
    static const char *const nodes[] = {"",     "c",     "@h",    "c@",
                                        "c@@h", "c@h@h", "c x@h", "c@127.0.0.1\n"};
    struct dist *d = NULL;
    struct fault fault;
    char long_cookie[600];

    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++)
        ck_assert_int_eq(open_node(nodes[i], "secret", NULL, &d, &fault), ERR_INVALID);
    ck_assert_int_eq(open_node(NODE, "", NULL, &d, &fault), ERR_INVALID);
    memset(long_cookie, 'x', sizeof long_cookie - 1);
    long_cookie[sizeof long_cookie - 1] = '\0';
    ck_assert_int_eq(open_node(NODE, long_cookie, NULL, &d, &fault), ERR_INVALID);
    ck_assert_ptr_null(strstr(fault.why, "xxx"));
    ck_assert_int_eq(open_node(NODE, "secret", "localhost", &d, &fault), ERR_INVALID);
    ck_assert_int_eq(open_node(NODE, "secret", "203.0.113.7", &d, &fault), ERR_SYSTEM);
    ck_assert_ptr_null(d);
    dist_close(NULL);
}

TEST(patterns_say_who_may_come)
{
    ck_assert(node_matches("", "a@h"));
    ck_assert(node_matches("  ", "a@h"));
    ck_assert(node_matches("a@h", "a@h"));
    ck_assert(node_matches("x@h  *@h ", "a@h"));
    ck_assert(!node_matches("x@h", "a@h"));
    ck_assert(!node_matches("a@h", "aa@h"));
    ck_assert(!node_matches("a", "a@h"));
    ck_assert(!node_matches("*@h", "a@hh"));
    ck_assert(node_matches("a*b*@h", "axbxbx@h"));
    ck_assert(!node_matches("a*b*@h", "ax@h"));
    ck_assert(!node_matches("[ab]@h ?@h", "a@h"));
    ck_assert(node_matches("[ab]@h", "[ab]@h"));
}

/* --- a peer made by hand --- */

static void say(int fd, const void *bytes, size_t len)
{
    const uint8_t head[2] = {(uint8_t)(len >> 8), (uint8_t)len};

    ck_assert_int_eq(send(fd, head, 2, MSG_NOSIGNAL), 2);
    ck_assert_int_eq(send(fd, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
}

static size_t hear(int fd, uint8_t *out, size_t room)
{
    uint8_t head[2];

    if (recv(fd, head, 2, MSG_WAITALL) != 2)
        return 0;
    size_t len = (size_t)head[0] << 8 | head[1];
    ck_assert_uint_le(len, room);
    return recv(fd, out, len, MSG_WAITALL) == (ssize_t)len ? len : 0;
}

/* The whole handshake under ${name}; whether we are welcome, and not closed at once. */
static bool is_welcome(struct dist *d, const char *name, size_t len)
{
    static const uint8_t flags[] = {0, 0, 0, 0xd, 0x07, 0xdf, 0x7f, 0xbd, 0, 0, 0, 1};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)dist_port(d))};
    uint8_t in[300], out[300] = {'N'};
    char text[100];
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    memcpy(out + 1, flags, sizeof flags);
    out[13] = 0;
    out[14] = (uint8_t)len;
    memcpy(out + 15, name, len);
    say(fd, out, 15 + len);
    ck_assert_uint_ge(hear(fd, in, sizeof in), 3);
    ck_assert_uint_ge(hear(fd, in, sizeof in), 19);
    uint32_t challenge =
        (uint32_t)in[9] << 24 | (uint32_t)in[10] << 16 | (uint32_t)in[11] << 8 | in[12];
    int n = snprintf(text, sizeof text, "secret%u", challenge);
    memcpy(out, "r\0\0\0\7", 5);
    ck_assert_int_eq(EVP_Digest(text, (size_t)n, out + 5, NULL, EVP_md5(), NULL), 1);
    say(fd, out, 21);
    (void)hear(fd, in, sizeof in);
    struct pollfd p = {fd, POLLIN, 0};
    bool closed = poll(&p, 1, 300) == 1 && recv(fd, in, 1, 0) <= 0;
    close(fd);
    return !closed;
}

TEST(a_name_with_a_nul_is_no_name)
{
    struct dist *d = start();

    ck_assert(is_welcome(d, "app@127.0.0.1", 13));
    ck_assert(!is_welcome(d, "app@127.0.0.1\0evil", 18));
    stop(d);
}

TEST(peers_that_come_and_go_do_not_fill_the_log)
{
    struct dist *d = start();
    int log = memfd_create("log", 0), was = dup(STDERR_FILENO);
    static char text[65536];
    unsigned lines = 0;
    int64_t start_ms = clock_mono_ms();

    ck_assert_int_eq(dup2(log, STDERR_FILENO), STDERR_FILENO);
    for (int i = 0; i < 60; i++) {
        struct twin t;
        ck_assert_int_ge(dial(&t, d, "flaps", "secret"), 0);
        close(t.fd);
    }
    wait_metric(METRIC_PEERS, 0);
    stop(d);
    ck_assert_int_eq(dup2(was, STDERR_FILENO), STDERR_FILENO);
    ck_assert_int_gt(pread(log, text, sizeof text - 1, 0), 0);
    for (const char *at = text; (at = strstr(at, " dist.peer_")) != NULL; at++)
        lines++;
    ck_assert_uint_ge(lines, 20);
    unsigned bursts = 1 + (unsigned)((clock_mono_ms() - start_ms) / LOG_BURST_MS);
    ck_assert_uint_le(lines, 2 * LOG_BURST * bursts); /* that they come, and that they go */
    close(log);
    close(was);
}

TEST(it_listens_on_loopback_only)
{
    struct dist *d = start();
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)dist_port(d))};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1); /* 127.0.0.2: another of our addresses */
    ck_assert_int_ne(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    close(fd);
    stop(d);
}

/* Whatever the host is called: who wants more has to say the address. */
TEST(a_host_that_is_no_address_is_listened_for_on_loopback)
{
    struct dist *d = NULL;
    struct fault fault;

    epmd_start();
    ck_assert_msg(open_node("cside@some.host", "secret", NULL, &d, &fault) == ERR_OK, "%s",
                  fault.why);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)dist_port(d))};
    for (uint32_t i = 0; i < 2; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        a.sin_addr.s_addr = htonl(INADDR_LOOPBACK + i);
        ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a) == 0, i == 0);
        close(fd);
    }
    stop(d);
}

TEST(a_newer_connection_of_the_same_node_replaces_the_older)
{
    struct dist *d = start();
    struct twin older, newer;
    char srv[] = "srv";

    ck_assert_int_ge(dial(&older, d, "twin", "secret"), 0);
    ask(&older, srv, "hello");
    ck_assert(answered(&older, "hello"));
    ck_assert_int_ge(dial(&newer, d, "twin", "secret"), 0);
    ck_assert(is_closed(older.fd));
    ask(&newer, srv, "again");
    ck_assert(answered(&newer, "again"));
    wait_metric(METRIC_PEERS, 1);
    close(older.fd);
    ei_close_connection(newer.fd);
    wait_metric(METRIC_PEERS, 0);
    stop(d);
}

TEST(a_wrong_cookie_and_a_stranger_are_counted)
{
    struct dist *d = start();
    struct twin t;
    uint64_t before = metric_get(METRIC_HANDSHAKES_FAILED);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)dist_port(d))};

    ck_assert_int_lt(dial(&t, d, "wrong", "another"), 0);
    wait_metric(METRIC_HANDSHAKES_FAILED, before + 1);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(send(fd, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL), 18);
    shutdown(fd, SHUT_WR);
    ck_assert(is_closed(fd));
    wait_metric(METRIC_HANDSHAKES_FAILED, before + 2);
    close(fd);
    stop(d);
}

TEST(a_malformed_message_ends_that_connection_only)
{
    static const char *const bad[] = {"\0\0\0\1x", "\0\0\0\3p\x83\x68", "\0\0\0\4p\x83\x61\x06"};
    static const size_t lens[] = {5, 7, 8};
    struct dist *d = start();
    struct twin good, t;
    char srv[] = "srv";

    ck_assert_int_ge(dial(&good, d, "good", "secret"), 0);
    for (size_t i = 0; i < 3; i++) {
        ck_assert_int_ge(dial(&t, d, "bad", "secret"), 0);
        ck_assert_int_eq(send(t.fd, bad[i], lens[i], MSG_NOSIGNAL), (ssize_t)lens[i]);
        ck_assert(is_closed(t.fd));
        ei_close_connection(t.fd);
    }
    ask(&good, srv, "hello");
    ck_assert(answered(&good, "hello"));
    ei_close_connection(good.fd);
    stop(d);
}

TEST(answers_of_a_session_leave_when_it_is_sent)
{
    struct dist *d = start();
    struct dist_session *session = dist_session_new();
    struct twin t;
    char srv[] = "srv";
    struct buf yes = {0};
    unsigned before = calls;

    ck_assert_int_ge(dial(&t, d, "asker", "secret"), 0);
    ask(&t, srv, "keep");
    for (int i = 0; i < 5000 && calls == before; i++)
        poll(NULL, 0, 1);
    term_put_atom(&yes, "yes");
    dist_reply(kept, session, buf_view(&yes));
    struct pollfd fd = {.fd = t.fd, .events = POLLIN};
    ck_assert_int_eq(poll(&fd, 1, 0), 0);
    dist_session_send(session);
    ck_assert(answered(&t, "yes"));
    dist_session_send(session);
    dist_session_free(session);
    dist_session_free(NULL);
    buf_free(&yes);
    ei_close_connection(t.fd);
    stop(d);
}

TEST(messages_and_their_bytes_are_counted)
{
    struct dist *d = start();
    struct twin t;
    char srv[] = "srv";

    ck_assert_int_ge(dial(&t, d, "counter", "secret"), 0);
    ask(&t, srv, "hello");
    ck_assert(answered(&t, "hello"));
    uint64_t messages = metric_get(METRIC_MESSAGES), bytes = metric_get(METRIC_RECEIVED_BYTES);
    ask_with_tag(&t, srv, "hello", 1000);
    ck_assert(answered(&t, "hello"));
    ck_assert_uint_eq(metric_get(METRIC_MESSAGES), messages + 1);
    ck_assert_uint_ge(metric_get(METRIC_RECEIVED_BYTES), bytes + 1000);
    ck_assert_uint_le(metric_get(METRIC_RECEIVED_BYTES), bytes + 1300);
    ei_close_connection(t.fd);
    stop(d);
}

TEST(a_tag_that_no_gen_makes_is_not_kept)
{
    struct dist *d = start();
    struct twin t;
    char srv[] = "srv";
    unsigned before = calls;
    uint64_t unknown = metric_get(METRIC_MESSAGES_UNKNOWN);

    ck_assert_int_ge(dial(&t, d, "tagger", "secret"), 0);
    ask_with_tag(&t, srv, "keep", 4096);
    ask_with_tag(&t, srv, "hello", 500);
    ck_assert(answered(&t, "hello"));
    ck_assert_uint_eq(calls, before + 1);
    ck_assert_uint_eq(metric_get(METRIC_MESSAGES_UNKNOWN), unknown + 1);
    ei_close_connection(t.fd);
    stop(d);
}

TEST(a_caller_whose_connection_has_ended_is_gone)
{
    struct dist *d = start();
    struct twin t;
    char srv[] = "srv";
    unsigned before = calls;
    struct buf yes = {0};

    ck_assert_int_ge(dial(&t, d, "leaver", "secret"), 0);
    ask(&t, srv, "keep");
    for (int i = 0; i < 5000 && calls == before; i++)
        poll(NULL, 0, 1);
    ck_assert(!dist_caller_is_gone(kept));
    ck_assert_uint_eq(lefts, 0);
    ei_close_connection(t.fd);
    for (int i = 0; i < 5000 && lefts == 0; i++)
        poll(NULL, 0, 1);
    ck_assert_uint_eq(lefts, 1);
    ck_assert(dist_caller_is_gone(kept));
    term_put_atom(&yes, "yes");
    dist_reply(kept, NULL, buf_view(&yes));
    buf_free(&yes);
    stop(d);
}

static int count_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;

    ck_assert_ptr_nonnull(d);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

/* Each caller holds its connection until it is answered, and not longer. */
TEST(callers_that_came_and_went_leave_no_descriptor)
{
    struct dist *d = start();
    char srv[] = "srv";
    int before = count_fds();

    for (int i = 0; i < 20; i++) {
        struct twin t;
        uint64_t peers = metric_get(METRIC_PEERS);
        ck_assert_int_ge(dial(&t, d, "visitor", "secret"), 0);
        ask(&t, srv, "hello");
        ck_assert(answered(&t, "hello"));
        ei_close_connection(t.fd);
        wait_metric(METRIC_PEERS, peers);
    }
    for (int i = 0; i < 5000 && count_fds() > before; i++)
        poll(NULL, 0, 1);
    ck_assert_int_le(count_fds(), before);
    stop(d);
}

TEST(an_answer_may_come_after_everything_is_gone)
{
    struct dist *d = start();
    struct twin t;
    char srv[] = "srv";
    struct buf yes = {0};
    unsigned before = calls;

    ck_assert_int_ge(dial(&t, d, "asker", "secret"), 0);
    ask(&t, srv, "keep");
    for (int i = 0; i < 5000 && calls == before; i++)
        poll(NULL, 0, 1);
    ck_assert_uint_eq(calls, before + 1);
    stop(d);
    ck_assert(is_closed(t.fd));
    ei_close_connection(t.fd);
    term_put_atom(&yes, "yes");
    dist_reply(kept, NULL, buf_view(&yes));
    buf_free(&yes);
}

TEST(epmd_is_registered_with_again)
{
    struct dist *d = start();
    int first = epmd.connection;

    shutdown(first, SHUT_RDWR);
    for (int i = 0; i < 5000 && (epmd.connection == first || !dist_is_published(d)); i++)
        poll(NULL, 0, 1);
    ck_assert_int_ne(epmd.connection, first);
    ck_assert(dist_is_published(d));
    close(first);
    stop(d);
}

static void check_it_is_asked_every_2_s(void)
{
    struct dist *d = start();

    for (int i = 0; i < 5000 && epmd.registrations < 2; i++)
        poll(NULL, 0, 1);
    int64_t second_ms = clock_mono_ms();
    for (int i = 0; i < 5000 && epmd.registrations < 3; i++)
        poll(NULL, 0, 1);
    ck_assert_uint_eq(epmd.registrations, 3);
    ck_assert_int_gt(clock_mono_ms() - second_ms, 1500);
    stop(d);
}

TEST(an_epmd_that_closes_at_once_is_not_stormed)
{
    epmd.is_fickle = true;
    check_it_is_asked_every_2_s();
}

TEST(an_epmd_that_goes_on_talking_is_hung_up_on)
{
    epmd.is_talkative = true;
    check_it_is_asked_every_2_s();
}

static int knock(const struct dist *d)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)dist_port(d))};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

/* A BEAM gets in within a second beside ${count} others, which have said the ${bytes} first of a
 * name. */
static void get_in_beside(int count, size_t bytes)
{
    struct dist *d = start();
    struct twin t;
    int *fds = calloc((size_t)count, sizeof *fds);

    for (int i = 0; i < count; i++) {
        fds[i] = knock(d);
        ck_assert_int_eq(send(fds[i], "\0\17N", bytes, MSG_NOSIGNAL), (ssize_t)bytes);
    }
    int64_t start_ms = clock_mono_ms();
    ck_assert_int_ge(dial(&t, d, "late", "secret"), 0);
    ask(&t, "srv", "hello");
    ck_assert(answered(&t, "hello"));
    ck_assert_int_lt(clock_mono_ms() - start_ms, 1000);
    close(t.fd);
    for (int i = 0; i < count; i++)
        close(fds[i]);
    free(fds);
    stop(d);
}

TEST(a_beam_gets_in_beside_500_that_say_nothing)
{
    get_in_beside(500, 0);
}

TEST(a_beam_gets_in_beside_200_that_say_too_little)
{
    get_in_beside(200, 3);
}

/* Nothing, the beginning of a name, and a whole name with nothing after it: each has 7 s. */
TEST(who_does_not_end_a_handshake_is_cut_off_at_the_deadline)
{
    static const char name[] = "\0\30N\0\0\0\17\337\7\377\275\0\0\0\1\0\11a@b.c.d.e";
    const size_t said[] = {0, 3, sizeof name - 1};
    struct dist *d = start();
    int fds[3];

    int64_t start_ms = clock_mono_ms();
    for (int i = 0; i < 3; i++) {
        fds[i] = knock(d);
        ck_assert_int_eq(send(fds[i], name, said[i], MSG_NOSIGNAL), (ssize_t)said[i]);
    }
    for (int i = 0; i < 3; i++) {
        char rest[100];
        struct pollfd p = {fds[i], POLLIN, 0};
        while (poll(&p, 1, 20000) == 1 && recv(fds[i], rest, sizeof rest, 0) > 0)
            continue;
        ck_assert_int_ge(clock_mono_ms() - start_ms, 6500);
        ck_assert_int_lt(clock_mono_ms() - start_ms, 15000);
        close(fds[i]);
    }
    stop(d);
}

TEST(who_says_nothing_longest_gives_way_when_all_places_are_taken)
{
    enum { MANY = 1024 + 3 }; /* DOOR_PLACES and some */
    struct dist *d = start();
    static int fds[MANY];

    for (int i = 0; i < MANY; i++)
        fds[i] = knock(d);
    for (int i = 0; i < 3; i++)
        ck_assert(is_closed(fds[i]));
    struct pollfd p = {fds[3], POLLIN, 0};
    ck_assert_int_eq(poll(&p, 1, 0), 0);
    wait_metric(METRIC_HANDSHAKES_FAILED, 3);
    for (int i = 0; i < MANY; i++)
        close(fds[i]);
    stop(d);
}

TEST(closing_does_not_wait_for_a_silent_handshake)
{
    struct dist *d = start();
    int fd = knock(d);
    int64_t start_ms = clock_mono_ms();
    stop(d);
    ck_assert_int_lt(clock_mono_ms() - start_ms, 2000);
    close(fd);
}

/* Without an epmd: who connects knows the port, which may be given, and given again. */
TEST(a_node_that_nobody_is_told_of_needs_no_epmd)
{
    struct dist_options options = {.node = NODE,
                                   .cookie = "secret",
                                   .is_unpublished = true,
                                   .registered_name = "srv",
                                   .max_message_bytes = 1 << 20,
                                   .max_unsent_bytes = 1 << 20,
                                   .max_peers = 8};
    const struct dist_handler handler = {NULL, on_call, on_cast, on_gathered, on_left};
    struct dist *d = NULL, *other = NULL;
    struct fault fault;
    struct twin t;

    ck_assert_msg(dist_open(&options, &handler, &d, &fault) == ERR_OK, "%s", fault.why);
    ck_assert(dist_is_published(d));
    for (int i = 0; i < 2; i++) {
        ck_assert_int_ge(dial(&t, d, "one", "secret"), 0);
        ask(&t, "srv", "hello");
        ck_assert(answered(&t, "hello"));
        options.port = dist_port(d);
        ck_assert_int_eq(dist_open(&options, &handler, &other, &fault), ERR_SYSTEM);
        ck_assert_ptr_nonnull(strstr(fault.why, "cannot listen on 127.0.0.1, port "));
        dist_close(d);
        close(t.fd);
        ck_assert_msg(dist_open(&options, &handler, &d, &fault) == ERR_OK, "%s", fault.why);
        ck_assert_int_eq(dist_port(d), options.port);
    }
    dist_close(d);
}

/* --- what is said of it --- */

static int log_fd, log_was;

static void log_begin(void)
{
    log_fd = memfd_create("log", 0);
    log_was = dup(STDERR_FILENO);
    ck_assert_int_eq(dup2(log_fd, STDERR_FILENO), STDERR_FILENO);
}

/* How often the log has a line of ${event} with ${text}, so far. */
static unsigned log_count(const char *event, const char *text)
{
    static char all[65536], line[1000];
    unsigned count = 0;
    ssize_t len = pread(log_fd, all, sizeof all - 1, 0);

    ck_assert_int_ge(len, 0);
    all[len] = '\0';
    for (const char *at = all; (at = strstr(at, event)) != NULL; at++) {
        snprintf(line, sizeof line, "%.*s", (int)strcspn(at, "\n"), at);
        count += strstr(line, text) != NULL;
    }
    return count;
}

static void log_has(const char *event, const char *text)
{
    int64_t end_ms = clock_mono_ms() + 5000;

    while (log_count(event, text) == 0 && clock_mono_ms() < end_ms)
        poll(NULL, 0, 1);
    ck_assert_uint_eq(log_count(event, text), 1);
}

static void log_end(void)
{
    ck_assert_int_eq(dup2(log_was, STDERR_FILENO), STDERR_FILENO);
    close(log_fd);
    close(log_was);
}

TEST(who_comes_goes_and_is_refused_is_logged)
{
    struct dist *d = start();
    struct twin t, wrong;
    uint64_t failed = metric_get(METRIC_HANDSHAKES_FAILED);

    log_begin();
    ck_assert_int_ge(dial(&t, d, "good", "secret"), 0);
    log_has("dist.peer_up", "node=\"good@127.0.0.1\" address=127.0.0.1");
    ck_assert_uint_eq(metric_get(METRIC_PEERS), 1);
    for (int i = 0; i < 3; i++)
        ck_assert_int_lt(dial(&wrong, d, "wrong", "another"), 0);
    wait_metric(METRIC_HANDSHAKES_FAILED, failed + 3);
    log_has("dist.peer_refused", "address=127.0.0.1 node=\"wrong@127.0.0.1\" why=\"wrong cookie: ");
    close(t.fd);
    log_has("dist.peer_down", "node=\"good@127.0.0.1\" why=\"closed by the peer\"");
    wait_metric(METRIC_PEERS, 0);
    log_end();
    stop(d);
}

static void meet(struct dist *d)
{
    struct twin t;

    ck_assert_int_ge(dial(&t, d, "somebody", "secret"), 0);
    ask(&t, "srv", "hello");
    ck_assert(answered(&t, "hello"));
    close(t.fd);
}

/* Whose standard input is closed has a socket of the number 0. */
TEST(a_socket_of_the_number_nought_is_one_like_others)
{
    int input = dup(STDIN_FILENO);

    for (int when = 0; when < 2; when++) {
        if (when == 0)
            close(STDIN_FILENO); /* it is what is listened on */
        struct dist *d = start();
        if (when == 1)
            close(STDIN_FILENO); /* it is a peer's */
        meet(d);
        meet(d);
        wait_metric(METRIC_PEERS, 0);
        stop(d);
        ck_assert_int_eq(dup2(input, STDIN_FILENO), STDIN_FILENO);
    }
    close(input);
}

static void count_peer(void *arg, const struct dist_peer *peer)
{
    (void)peer;
    ++*(unsigned *)arg;
}

static unsigned shown_peers(struct dist *d)
{
    unsigned count = 0;

    dist_each_peer(d, count_peer, &count);
    return count;
}

TEST(so_many_peers_and_no_more)
{
    struct dist *d = start(); /* 8 */
    struct twin t[9];
    char name[20];

    log_begin();
    for (int i = 0; i < 9; i++) {
        snprintf(name, sizeof name, "peer%d", i);
        ck_assert_int_ge(dial(&t[i], d, name, "secret"), 0);
        if (i < 8)
            wait_metric(METRIC_PEERS, (uint64_t)i + 1);
    }
    ck_assert(is_closed(t[8].fd));
    log_has("dist.peer_refused", "node=\"peer8@127.0.0.1\" why=\"node.max_peers are connected\"");
    ck_assert_uint_eq(shown_peers(d), 8);
    ck_assert_uint_eq(metric_get(METRIC_PEERS), 8);
    close(t[3].fd);
    wait_metric(METRIC_PEERS, 7);
    ck_assert_uint_eq(shown_peers(d), 7);
    ck_assert_int_ge(dial(&t[3], d, "peer3", "secret"), 0);
    wait_metric(METRIC_PEERS, 8);
    for (int i = 0; i < 9; i++)
        close(t[i].fd);
    wait_metric(METRIC_PEERS, 0);
    log_end();
    stop(d);
}

TEST(names_and_cookies_have_their_length)
{
    char name[400], cookie[700];
    struct dist *d;
    struct fault fault;

    epmd_start();
    memset(name, 'n', sizeof name);
    memset(cookie, 'c', sizeof cookie);
    for (size_t len = 244; len <= 247; len++) { /* with "@127.0.0.1" 255 bytes at most */
        snprintf(name, sizeof name, "%.*s@127.0.0.1", (int)len,
                 "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
                 "nnnnnn"
                 "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
                 "nnnnnn"
                 "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
                 "nnnnnn"
                 "nnnnnnnnnnnnnnnnnnnnnnnnnn");
        enum err e = open_node(name, "secret", NULL, &d, &fault);
        ck_assert_int_eq(e, strlen(name) <= 255 && len <= EI_MAXALIVELEN ? ERR_OK : ERR_INVALID);
        if (e == ERR_OK)
            dist_close(d);
    }
    for (size_t len = EI_MAX_COOKIE_SIZE; len <= EI_MAX_COOKIE_SIZE + 1; len++) {
        cookie[len] = '\0';
        enum err e = open_node(NODE, cookie, NULL, &d, &fault);
        ck_assert_int_eq(e, len <= EI_MAX_COOKIE_SIZE ? ERR_OK : ERR_INVALID);
        if (e == ERR_OK)
            dist_close(d);
        cookie[len] = 'c';
    }
    epmd_stop();
}

/* One comes while accept fails with ${error}; how long it took to get in. */
static int64_t get_in_after(struct dist *d, int error)
{
    struct twin t;
    int64_t began_ms = clock_mono_ms();

    accept_failures = 0;
    accept_error = error;
    ck_assert_int_ge(dial(&t, d, "late", "secret"), 0);
    ck_assert_uint_eq(accept_failures, 1);
    int64_t took_ms = clock_mono_ms() - began_ms;
    close(t.fd);
    wait_metric(METRIC_PEERS, 0);
    return took_ms;
}

TEST(an_accept_that_fails_is_no_end)
{
    struct dist *d = start();

    log_begin();
    get_in_after(d, ECONNABORTED); /* who knocked went away: the next */
    get_in_after(d, EINTR);
    ck_assert_uint_eq(log_count("dist.accept_failed", ""), 0);
    ck_assert_int_ge(get_in_after(d, EMFILE), 95); /* a breath, in which others may end */
    log_has("dist.accept_failed", "why=\"Too many open files\"");
    ck_assert_int_ge(get_in_after(d, EIO), 95);
    ck_assert_uint_eq(log_count("dist.accept_failed", ""), 1); /* in ten seconds */
    uint64_t failed = metric_get(METRIC_HANDSHAKES_FAILED);
    for (int i = 0; i < 2; i++) { /* one that says nothing gives way */
        int fd = knock(d);
        poll(NULL, 0, 50);
        get_in_after(d, i == 0 ? EMFILE : ENFILE);
        ck_assert(is_closed(fd));
        close(fd);
    }
    ck_assert_uint_eq(metric_get(METRIC_HANDSHAKES_FAILED), failed + 2);
    log_end();
    stop(d);
}
