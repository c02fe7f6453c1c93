/*
 * cli_test.c - whole calls against a node in this process: ei's own listener and receiver, with an
 * epmd of the test's.
 */

#include "cli/cli.h"

#include "ground/buf.h"
#include "config/config.h"
#include "term/term.h"
#include "test.h"

#include <arpa/inet.h>
#include <ei.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum behaviour { ANSWERS, SILENT, HANGS_UP, ENDS_CALL, TICKS_FIRST, SENDS_NONSENSE };

struct fake {
    char dir[64], node[64];
    pid_t epmd;
    int listener, published;
    enum behaviour behaviour;
    pthread_t thread;
    struct buf answer; /* a term without version byte */
    char peer[300];    /* who called */
    bool got_tock;
};

static int free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    close(fd);
    return ntohs(a.sin_port);
}

/* libei reads the variable once in a process, so each epmd of this one has the same port. */
static void start_epmd(struct fake *f)
{
    static char port[20];
    if (port[0] == '\0')
        snprintf(port, sizeof port, "%d", free_port());
    setenv("ERL_EPMD_PORT", port, 1);
    f->epmd = fork();
    ck_assert_int_ge(f->epmd, 0);
    if (f->epmd == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves none behind */
        execlp("epmd", "epmd", "-address", "127.0.0.1", "-port", port, (char *)NULL);
        _exit(127);
    }
}

static ei_cnode fake_ec;

/* A frame by hand, ${what} of it after 'p'. */
static void send_frame(int fd, const struct buf *what)
{
    struct buf frame = {0};
    buf_be32(&frame, (uint32_t)(what->len + 1));
    buf_byte(&frame, 'p');
    buf_slice(&frame, buf_view(what));
    ck_assert_int_eq(send(fd, frame.data, frame.len, MSG_NOSIGNAL), (ssize_t)frame.len);
    buf_free(&frame);
}

/* Where the Pid and the Ref of {'$gen_call', {Pid, Ref}, Request} are in ${x}, encoded. */
static void find_caller(const ei_x_buff *x, struct slice *pid, struct slice *ref)
{
    struct fault fault = {0};
    term t;
    ck_assert_int_eq(term_check(slice_of(x->buff, (size_t)x->index), &t, &fault), ERR_OK);
    ck_assert(term_is(term_element(t, 0), "$gen_call"));
    term from = term_element(t, 1);
    *pid = term_raw(term_element(from, 0));
    *ref = term_raw(term_element(from, 1));
}

static void reply(int fd, struct fake *f, const ei_x_buff *x)
{
    static const uint8_t tick[4] = {0};
    struct buf out = {0};
    struct slice pid, ref;
    uint8_t tock[4];
    find_caller(x, &pid, &ref);
    if (f->behaviour == TICKS_FIRST) {
        ck_assert_int_eq(send(fd, tick, 4, MSG_NOSIGNAL), 4);
        f->got_tock = recv(fd, tock, 4, MSG_WAITALL) == 4 && memcmp(tock, tick, 4) == 0;
    }
    term_put_version(&out);
    if (f->behaviour == ENDS_CALL) {
        term_put_tuple(&out, 5);
        term_put_integer(&out, 21);
        term_put_atom(&out, "nobody");
        term_put_raw(&out, pid);
        term_put_raw(&out, ref);
        term_put_atom(&out, "noproc");
    } else {
        term_put_tuple(&out, 3);
        term_put_integer(&out, 2);
        term_put_atom(&out, "");
        term_put_raw(&out, pid);
        term_put_version(&out);
        if (f->behaviour == SENDS_NONSENSE) {
            buf_str(&out, "h\x05zzz"); /* a tuple of five that has none */
        } else {
            term_put_tuple(&out, 2);
            term_put_raw(&out, ref);
            term_put_raw(&out, buf_view(&f->answer));
        }
    }
    send_frame(fd, &out);
    buf_free(&out);
}

static void *serve(void *arg)
{
    struct fake *f = arg;
    ErlConnect peer;
    erlang_msg msg;
    ei_x_buff x;
    int fd = ei_accept(&fake_ec, f->listener, &peer);
    if (fd < 0)
        return NULL;
    snprintf(f->peer, sizeof f->peer, "%s", peer.nodename);
    ei_x_new(&x);
    if (ei_xreceive_msg(fd, &msg, &x) == ERL_MSG) {
        ck_assert_int_eq(msg.msgtype, ERL_REG_SEND);
        ck_assert_str_eq(msg.toname, "convex_sidecar");
        if (f->behaviour != SILENT && f->behaviour != HANGS_UP)
            reply(fd, f, &x);
        while (f->behaviour != HANGS_UP && ei_xreceive_msg(fd, &msg, &x) != ERL_ERROR)
            continue; /* until the client leaves */
    }
    ei_x_free(&x);
    ei_close_connection(fd);
    return NULL;
}

static struct fake *start_fake(enum behaviour behaviour)
{
    struct fake *f = base_alloc(sizeof *f);
    int port = 0;
    f->behaviour = behaviour;
    snprintf(f->dir, sizeof f->dir, "/tmp/cli_test.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(f->dir));
    snprintf(f->node, sizeof f->node, "fake_%d@127.0.0.1", (int)getpid());
    start_epmd(f);
    signal(SIGPIPE, SIG_IGN);
    ei_init();
    char alive[64];
    snprintf(alive, sizeof alive, "fake_%d", (int)getpid());
    ck_assert_int_eq(ei_connect_xinit(&fake_ec, "127.0.0.1", alive, f->node, NULL, "monster", 7),
                     0);
    f->listener = ei_listen(&fake_ec, &port, 5);
    ck_assert_int_ge(f->listener, 0);
    /* epmd takes a moment to listen. */
    for (int i = 0; (f->published = ei_publish(&fake_ec, port)) < 0; i++) {
        ck_assert_int_lt(i, 500);
        usleep(10000);
    }
    ck_assert_int_eq(pthread_create(&f->thread, NULL, serve, f), 0);
    return f;
}

static void stop_fake(struct fake *f)
{
    shutdown(f->listener, SHUT_RDWR);
    pthread_join(f->thread, NULL);
    close(f->listener);
    close(f->published);
    kill(f->epmd, SIGTERM);
    waitpid(f->epmd, NULL, 0);
    unsetenv("ERL_EPMD_PORT");
    ck_assert_int_eq(rmdir(f->dir), 0);
    buf_free(&f->answer);
    free(f);
}

/* cli_run with standard output and error caught, one after the other in ${said}. */
static int run(struct config *c, const char *word, int argc, char **argv, char said[4096])
{
    char path[] = "/tmp/cli_test_out.XXXXXX";
    int fd = mkostemp(path, O_APPEND), out = dup(1), err = dup(2);
    unlink(path);
    fflush(NULL);
    dup2(fd, 1);
    dup2(fd, 2);
    int status = cli_run(c, word, argc, argv);
    fflush(NULL);
    dup2(out, 1);
    dup2(err, 2);
    ssize_t n = pread(fd, said, 4095, 0);
    said[n > 0 ? n : 0] = '\0';
    close(fd);
    close(out);
    close(err);
    return status;
}

static void set_text(char **field, const char *text)
{
    free(*field);
    *field = base_strndup(text, strlen(text));
}

static struct config *config_for(const struct fake *f, const char *cookie)
{
    struct config *c = config_new();
    set_text(&c->store_dir, f->dir);
    set_text(&c->node_name, f->node);
    set_text(&c->node_cookie, cookie);
    return c;
}

TEST(a_call_end_to_end)
{
    struct fake *f = start_fake(ANSWERS);
    struct config *c = config_for(f, "monster");
    char said[4096];
    term_put_tuple(&f->answer, 2);
    term_put_atom(&f->answer, "ok");
    term_put_atom(&f->answer, "paused");
    ck_assert_int_eq(run(c, "pause", 0, NULL, said), 0);
    ck_assert_str_eq(said, "paused\n");
    stop_fake(f);
    config_free(c);
}

TEST(the_control_file_comes_first)
{
    struct fake *f = start_fake(TICKS_FIRST);
    struct config *c = config_for(f, "another");
    char said[4096], path[100], *argv[] = {(char *)"--json"};
    set_text(&c->node_name, "somebody_else@127.0.0.1");
    snprintf(path, sizeof path, "%s/control", f->dir);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    dprintf(fd, "%s monster\n", f->node);
    close(fd);
    term_put_tuple(&f->answer, 2);
    term_put_atom(&f->answer, "error");
    term_put_atom(&f->answer, "timeout");
    int status = run(c, "drain", 1, argv, said);
    unlink(path);
    ck_assert_int_eq(status, 1);
    ck_assert_str_eq(said, "convex_sidecar: the sidecar answers: timeout: not all was delivered in "
                           "that time; `status` shows what waits and why\n"
                           "{\"error\":\"timeout\"}\n");
    ck_assert(f->got_tock);
    ck_assert_int_eq(strncmp(f->peer, "cli_", 4), 0);
    ck_assert_ptr_nonnull(strstr(f->peer, "@127.0.0.1"));
    stop_fake(f);
    config_free(c);
}

/* ${behaviour} ends a call with exit status 3 and ${why}. */
static void assert_absent(enum behaviour behaviour, const char *cookie, const char *why)
{
    struct fake *f = start_fake(behaviour);
    struct config *c = config_for(f, cookie);
    char said[4096], wanted[400], *argv[] = {(char *)"--timeout", (char *)"1"};
    ck_assert_int_eq(run(c, "status", 2, argv, said), 3);
    snprintf(wanted, sizeof wanted, "convex_sidecar: no sidecar answers as %s: %s\n", f->node, why);
    ck_assert_str_eq(said, wanted);
    stop_fake(f);
    config_free(c);
}

TEST(no_answer_in_time)
{
    assert_absent(SILENT, "monster", "it did not answer in time; --timeout SECONDS waits longer");
}

TEST(the_connection_ends)
{
    assert_absent(HANGS_UP, "monster", "the connection ended before the answer came; see its log");
}

TEST(the_name_is_not_there)
{
    assert_absent(ENDS_CALL, "monster",
                  "it ended the call (noproc): is node.registered_name \"convex_sidecar\" there?");
}

TEST(an_answer_that_is_no_term)
{
    assert_absent(SENDS_NONSENSE, "monster", "it sent a message that is no Erlang term");
}

TEST(another_cookie)
{
    assert_absent(ANSWERS, "wrong",
                  "it refused the connection: is the cookie the same, and does node.allow_nodes "
                  "let cli_* in?");
}

TEST(nobody_there)
{
    struct fake *f = start_fake(ANSWERS);
    struct config *c = config_for(f, "monster");
    char said[4096];
    set_text(&c->node_name, "nobody@127.0.0.1");
    ck_assert_int_eq(run(c, "status", 0, NULL, said), 3);
    ck_assert_str_eq(said, "convex_sidecar: no sidecar answers as nobody@127.0.0.1: is it running? "
                           "epmd does not know that name\n");
    stop_fake(f);
    config_free(c);
    unsetenv("ERL_EPMD_PORT");
    c = config_new();
    char port[20];
    snprintf(port, sizeof port, "%d", free_port()); /* no epmd at all */
    setenv("ERL_EPMD_PORT", port, 1);
    set_text(&c->store_dir, "/nonexistent");
    set_text(&c->node_cookie, "x");
    ck_assert_int_eq(run(c, "status", 0, NULL, said), 3);
    ck_assert_ptr_nonnull(strstr(said, "is it running?"));
    unsetenv("ERL_EPMD_PORT");
    config_free(c);
}

TEST(a_control_file_of_others_is_not_believed)
{
    struct config *c = config_new();
    char dir[] = "/tmp/cli_test.XXXXXX", path[100], said[4096];
    ck_assert_ptr_nonnull(mkdtemp(dir));
    set_text(&c->store_dir, dir);
    snprintf(path, sizeof path, "%s/control", dir);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    dprintf(fd, "evil@127.0.0.1 cookie\n");
    ck_assert_int_eq(fchmod(fd, 0644), 0);
    ck_assert_int_eq(run(c, "status", 0, NULL, said), 3);
    ck_assert_ptr_nonnull(strstr(said, "it must be a file of this user's, mode 0600"));
    ck_assert_int_eq(fchmod(fd, 0600), 0);
    ck_assert_int_eq(ftruncate(fd, 5), 0);
    ck_assert_int_eq(run(c, "status", 0, NULL, said), 3);
    ck_assert_ptr_nonnull(strstr(said, "it is not \"NODE COOKIE\""));
    close(fd);
    unlink(path);
    rmdir(dir);
    config_free(c);
}

TEST(usage_is_status_2)
{
    struct config *c = config_new();
    char said[4096], *argv[] = {(char *)"x"};
    ck_assert_int_eq(run(c, "status", 1, argv, said), 2);
    ck_assert_str_eq(said, "convex_sidecar status: too many arguments; see convex_sidecar status "
                           "--help\n");
    ck_assert_int_eq(run(c, "frob", 0, NULL, said), 2);
    ck_assert_str_eq(said, "convex_sidecar: there is no word \"frob\"; --help lists them\n");
    config_free(c);
}
