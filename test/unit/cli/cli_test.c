/*
 * cli_test.c - whole calls against a sidecar that is a script: a thread at a socket, with a list of
 * what to say.
 */

#include "cli/cli.h"

#include "cli/cli_client.h"
#include "config/config.h"
#include "dist/control_socket.h"
#include "ground/buf.h"
#include "ground/unix_socket.h"
#include "term/term.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534

enum behaviour {
    ANSWERS,
    MUTE,
    REFUSES,
    SILENT,
    HANGS_UP,
    TICKS_FIRST,
    SENDS_NONSENSE,
    SENDS_NEWS
};

struct fake {
    char dir[64];
    int dir_fd, listener;
    enum behaviour behaviour;
    pthread_t thread;
    struct buf answer; /* a term without version byte */
};

static void send_frame(int fd, const struct buf *what)
{
    struct buf frame = {0};
    buf_be32(&frame, (uint32_t)what->len);
    buf_slice(&frame, buf_view(what));
    ck_assert_int_eq(send(fd, frame.data, frame.len, MSG_NOSIGNAL), (ssize_t)frame.len);
    buf_free(&frame);
}

/* {${word}, ${ref}, ${value}}; {${word}, Text} when ${value} is NULL. */
static void say(int fd, const char *word, int64_t ref, const struct buf *value)
{
    struct buf b = {0};
    term_put_version(&b);
    term_put_tuple(&b, value ? 3 : 2);
    term_put_atom(&b, word);
    if (value) {
        term_put_integer(&b, ref);
        term_put_raw(&b, buf_view(value));
    } else {
        term_put_text(&b, "the moon is full");
    }
    send_frame(fd, &b);
    buf_free(&b);
}

/* The number of the call that comes next; 0: the client has left. */
static int64_t take_call(int fd)
{
    struct fault fault = {0};
    struct buf b = {0};
    uint8_t head[4];
    int64_t ref = 0;
    term t;
    if (recv(fd, head, 4, MSG_WAITALL) != 4)
        return 0;
    buf_reserve(&b, be32(head));
    b.len = be32(head);
    ck_assert_int_eq(recv(fd, b.data, b.len, MSG_WAITALL), (ssize_t)b.len);
    ck_assert_int_eq(term_check(buf_view(&b), &t, &fault), ERR_OK);
    ck_assert(term_is(term_element(t, 0), "call") && term_arity(t) == 3);
    ck_assert(term_integer(term_element(t, 1), &ref) && ref > 0);
    buf_free(&b);
    return ref;
}

static void reply(int fd, struct fake *f, int64_t ref)
{
    static const uint8_t ticks[8] = {0};
    struct buf nonsense = {0};
    if (f->behaviour == TICKS_FIRST)
        ck_assert_int_eq(send(fd, ticks, 8, MSG_NOSIGNAL), 8);
    buf_str(&nonsense, "\x83h\x05zzz"); /* a tuple of five that has none */
    if (f->behaviour == SENDS_NONSENSE)
        send_frame(fd, &nonsense);
    else
        say(fd, f->behaviour == SENDS_NEWS ? "news" : "reply", ref, &f->answer);
    buf_free(&nonsense);
}

static void *serve(void *arg)
{
    struct fake *f = arg;
    int fd = accept(f->listener, NULL, NULL);
    if (fd < 0)
        return NULL;
    if (f->behaviour != MUTE)
        say(fd, f->behaviour == REFUSES ? "refused" : "welcome", 0, NULL);
    for (int64_t ref; f->behaviour != REFUSES && (ref = take_call(fd)) != 0;) {
        if (f->behaviour == HANGS_UP)
            break;
        if (f->behaviour != SILENT)
            reply(fd, f, ref);
    }
    close(fd);
    return NULL;
}

static struct fake *start_fake(enum behaviour behaviour)
{
    struct fake *f = base_alloc(sizeof *f);
    f->behaviour = behaviour;
    snprintf(f->dir, sizeof f->dir, "/tmp/cli_test.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(f->dir));
    f->dir_fd = open(f->dir, O_RDONLY | O_DIRECTORY);
    f->listener = unix_socket_listen(f->dir_fd, "control.sock");
    ck_assert_int_ge(f->listener, 0);
    ck_assert_int_eq(pthread_create(&f->thread, NULL, serve, f), 0);
    return f;
}

static void stop_fake(struct fake *f)
{
    shutdown(f->listener, SHUT_RDWR);
    pthread_join(f->thread, NULL);
    close(f->listener);
    ck_assert_int_eq(unlinkat(f->dir_fd, "control.sock", 0), 0);
    close(f->dir_fd);
    ck_assert_int_eq(rmdir(f->dir), 0);
    buf_free(&f->answer);
    free(f);
}

/* cli_run with standard output and error caught, one after the other in ${said}. */
static int run(const char *dir, const char *word, int argc, char **argv, char said[4096])
{
    struct config *c = config_new();
    char path[] = "/tmp/cli_test_out.XXXXXX";
    int fd = mkostemp(path, O_APPEND), out = dup(1), err = dup(2);
    unlink(path);
    fflush(NULL);
    free(c->store_dir);
    c->store_dir = base_strndup(dir, strlen(dir));
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
    config_free(c);
    return status;
}

TEST(a_call_end_to_end)
{
    struct fake *f = start_fake(ANSWERS);
    char said[4096];
    term_put_tuple(&f->answer, 2);
    term_put_atom(&f->answer, "ok");
    term_put_atom(&f->answer, "paused");
    ck_assert_int_eq(run(f->dir, "pause", 0, NULL, said), 0);
    ck_assert_str_eq(said, "paused\n");
    stop_fake(f);
}

TEST(signs_of_life_are_no_answer)
{
    struct fake *f = start_fake(TICKS_FIRST);
    char said[4096], *argv[] = {(char *)"--json"};
    term_put_tuple(&f->answer, 2);
    term_put_atom(&f->answer, "error");
    term_put_atom(&f->answer, "timeout");
    ck_assert_int_eq(run(f->dir, "drain", 1, argv, said), 1);
    ck_assert_str_eq(said, "convex_sidecar: the sidecar answers: timeout: not all was delivered in "
                           "that time; next: `status` shows what waits and why\n"
                           "{\"error\":\"timeout\"}\n");
    stop_fake(f);
}

/* A call about ${dir} ends with exit status 3 and ${why}. */
static void assert_absent(const char *dir, const char *why)
{
    char said[4096], wanted[1000], *argv[] = {(char *)"--timeout", (char *)"1"};
    ck_assert_int_eq(run(dir, "status", 2, argv, said), 3);
    snprintf(wanted, sizeof wanted, "convex_sidecar: no sidecar answers in %s: %s\n", dir, why);
    ck_assert_str_eq(said, wanted);
}

static void assert_fails(enum behaviour behaviour, const char *why)
{
    struct fake *f = start_fake(behaviour);
    term_put_atom(&f->answer, "x");
    assert_absent(f->dir, why);
    stop_fake(f);
}

TEST(no_answer_in_time)
{
    assert_fails(SILENT, "it did not answer in time; --timeout SECONDS waits longer");
    assert_fails(MUTE, "it did not answer in time; --timeout SECONDS waits longer");
}

TEST(the_connection_ends)
{
    assert_fails(HANGS_UP, "the connection ended before the answer came; see its log");
}

TEST(it_refuses)
{
    assert_fails(REFUSES, "the moon is full");
}

TEST(an_answer_that_is_no_term)
{
    assert_fails(SENDS_NONSENSE, "it sent a message that is no Erlang term");
}

TEST(an_answer_of_a_later_version)
{
    assert_fails(
        SENDS_NEWS,
        "it sent a message this program does not know; next: use the program of its version");
}

#define NOT_RUNNING                                                                                \
    "is it running? next: start it, or give another store (--store DIR or --config FILE); if it "  \
    "runs, "                                                                                       \
    "its log says why there is no control.sock"

TEST(nobody_there)
{
    char dir[] = "/tmp/cli_test.XXXXXX", target[100];
    ck_assert_ptr_nonnull(mkdtemp(dir));
    int dir_fd = open(dir, O_RDONLY | O_DIRECTORY);
    assert_absent(
        "/nonexistent/store",
        "there is no such store; next: give that of a sidecar on this machine (--store DIR or "
        "--config FILE); one elsewhere is asked from there, or from a BEAM node");
    assert_absent(dir, NOT_RUNNING);
    close(unix_socket_listen(dir_fd, "control.sock")); /* a sidecar that was killed */
    assert_absent(dir, NOT_RUNNING);
    close(openat(dir_fd, "control", O_WRONLY | O_CREAT, 0600)); /* then one of 0.1 was started */
    for (int i = 0; i < 2; i++) {
        assert_absent(
            dir, "a sidecar of version 0.1 runs there, or was killed; next: ask it with its own "
                 "program, or start it anew with this version");
        ck_assert_int_eq(unlinkat(dir_fd, i == 0 ? "control.sock" : "control", 0), 0);
    }
    snprintf(target, sizeof target, "%s/elsewhere", dir);
    ck_assert_int_eq(symlinkat(target, dir_fd, "control.sock"), 0);
    assert_absent(dir, "control.sock: Socket operation on non-socket; next: see the sidecar's log");
    ck_assert_int_eq(unlinkat(dir_fd, "control.sock", 0), 0);
    close(dir_fd);
    rmdir(dir);
}

/* What user ${uid} is told about ${dir}, on standard output of a child. */
static void assert_refused(uid_t uid, const char *dir, const char *why)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        ck_assert_int_eq(setresuid(uid, uid, uid), 0);
        assert_absent(dir, why);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child failed");
}

TEST(another_user_is_told_so)
{
    struct fake *f = start_fake(ANSWERS);
    char path[100];
    snprintf(path, sizeof path, "%s/control.sock", f->dir);
    if (geteuid() == 0) {
        assert_refused(NOBODY, f->dir,
                       "not permitted; next: run this as the sidecar's user or as root");
        ck_assert_int_eq(chmod(f->dir, 0755), 0);
        ck_assert_int_eq(chmod(path, 0666), 0);
        assert_refused(NOBODY, f->dir,
                       "not permitted: it is user 0's; next: run this as that user or as root");
    }
    stop_fake(f);
}

/* --- against the real other end --- */

static void on_call(void *arg, struct dist_session *session, struct caller *caller, term request)
{
    struct buf b = {0};
    (void)arg;
    term_put_integer(&b, 1);
    for (int i = 0; i < 3 && term_is(request, "count"); i++)
        ck_assert(dist_part(caller, buf_view(&b)));
    dist_reply(caller, session, term_raw(request));
    buf_free(&b);
}

static void on_cast(void *arg, struct dist_session *session, term request)
{
    (void)arg, (void)session, (void)request;
}

static void on_gathered(void *arg, struct dist_session *session)
{
    (void)arg, (void)session;
}

TEST(parts_come_before_the_reply)
{
    char dir[] = "/tmp/cli_test.XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(dir));
    const struct dist_handler handler = {NULL, on_call, on_cast, on_gathered, NULL};
    const struct control_socket_options options = {dir, 1 << 20, 1 << 20};
    struct control_socket *s = control_socket_open(&options, &handler);
    struct cli_client *c;
    struct cli_answer a;
    struct fault fault = {0};
    struct buf message = {0}, request = {0};
    unsigned first, second;
    int parts = 0;
    term answer;

    ck_assert_int_eq(cli_client_open(dir, 10000, &c, &fault), ERR_OK);
    term_put_atom(&request, "count");
    ck_assert_int_eq(cli_client_send(c, buf_view(&request), 10000, &first, &fault), ERR_OK);
    ck_assert_int_eq(cli_client_send(c, buf_view(&request), 10000, &second, &fault), ERR_OK);
    ck_assert_uint_ne(first, second);
    for (int replies = 0; replies < 2; parts += a.is_part, replies += !a.is_part) {
        ck_assert_int_eq(cli_client_receive(c, 10000, &message, &a, &fault), ERR_OK);
        ck_assert(a.ticket == (replies == 0 ? first : second));
        ck_assert(a.is_part || term_is(a.term, "count"));
    }
    ck_assert_int_eq(parts, 6);
    cli_client_close(c);
    ck_assert_int_eq(cli_client_call(dir, buf_view(&request), 10000, &message, &answer, &fault),
                     ERR_OK);
    ck_assert(term_is(answer, "count")); /* a call that does not want parts passes over them */
    control_socket_close(s);
    buf_free(&message);
    buf_free(&request);
    rmdir(dir);
}

TEST(usage_is_status_2)
{
    char said[4096], *argv[] = {(char *)"x"};
    ck_assert_int_eq(run("/nonexistent", "status", 1, argv, said), 2);
    ck_assert_str_eq(said, "convex_sidecar status: too many arguments; next: convex_sidecar status "
                           "--help\n");
    ck_assert_int_eq(run("/nonexistent", "frob", 0, NULL, said), 2);
    ck_assert_str_eq(
        said,
        "convex_sidecar: unknown command \"frob\"; next: convex_sidecar help lists the commands\n");
}
