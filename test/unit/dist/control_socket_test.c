/*
 * control_socket_test.c - the command line's way in, met by guests that write their own bytes.
 *
 * The clock is the test's: it goes on by itself, and jumps when told.
 */

#include "dist/control_socket.h"

#include "ground/buf.h"
#include "ground/clock.h"
#include "ground/fake_log.c"
#include "ground/unix_socket.h"

#include "ground/metrics.h"

#include "test.h"

#include "temp_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NOBODY 65534

static _Atomic int64_t jumped_us;

int64_t clock_mono_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000 + t.tv_nsec / 1000 + jumped_us;
}

int64_t clock_wall_us(void)
{
    return clock_mono_us();
}

/* --- a handler that echoes, keeps, and answers in parts --- */

static _Atomic(struct caller *) kept;

static void put_number(struct caller *c, struct dist_session *session, int64_t n, bool is_part)
{
    struct buf b = {0};

    term_put_integer(&b, n);
    if (is_part)
        ck_assert(dist_part(c, buf_view(&b)));
    else
        dist_reply(c, session, buf_view(&b));
    buf_free(&b);
}

static void on_call(void *arg, struct dist_session *session, struct caller *caller, term request)
{
    (void)arg;
    if (term_is(request, "keep")) {
        kept = caller;
    } else if (term_is(request, "count")) {
        for (int64_t n = 1; n < 4; n++)
            put_number(caller, session, n, true);
        put_number(caller, session, 4, false);
    } else {
        dist_reply(caller, session, term_raw(request));
    }
}

static void on_cast(void *arg, struct dist_session *session, term request)
{
    (void)arg, (void)session, (void)request;
}

static void on_gathered(void *arg, struct dist_session *session)
{
    (void)arg, (void)session;
}

static struct control_socket *open_in(const char *dir)
{
    const struct control_socket_options options = {dir, 1 << 20, 1 << 20};
    const struct dist_handler handler = {NULL, on_call, on_cast, on_gathered, NULL};

    return control_socket_open(&options, &handler);
}

/* --- guests --- */

static int dial(const char *dir)
{
    uid_t owner;
    int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int found = unix_socket_find(dir_fd, CONTROL_SOCKET_NAME, &owner);

    ck_assert_msg(found >= 0, "%s", strerror(errno));
    ck_assert_uint_eq(owner, geteuid());
    int fd = unix_socket_connect(found, 10000);
    ck_assert_msg(fd >= 0, "%s", strerror(errno));
    close(found);
    close(dir_fd);
    return fd;
}

static void send_frame(int fd, const struct buf *what)
{
    struct buf frame = {0};

    buf_be32(&frame, (uint32_t)what->len);
    buf_slice(&frame, buf_view(what));
    ck_assert_int_eq(send(fd, frame.data, frame.len, MSG_NOSIGNAL), (ssize_t)frame.len);
    buf_free(&frame);
}

/* {call, ${ref}, ${request}} */
static void call(int fd, int64_t ref, const char *request)
{
    struct buf b = {0};

    term_put_version(&b);
    term_put_tuple(&b, 3);
    term_put_atom(&b, "call");
    term_put_integer(&b, ref);
    term_put_atom(&b, request);
    send_frame(fd, &b);
    buf_free(&b);
}

/* The next frame as "word number value" or "word text"; "" at the end of the connection. */
static const char *hear(int fd, char out[256])
{
    struct buf b = {0};
    struct fault fault;
    uint8_t head[4];
    int64_t n = 0, value = 0;
    term t;

    out[0] = '\0';
    if (recv(fd, head, 4, MSG_WAITALL) != 4)
        return out;
    buf_reserve(&b, be32(head));
    b.len = be32(head);
    ck_assert_int_eq(recv(fd, b.data, b.len, MSG_WAITALL), (ssize_t)b.len);
    ck_assert_int_eq(term_check(buf_view(&b), &t, &fault), ERR_OK);
    struct slice word = term_text(term_element(t, 0));
    if (term_arity(t) == 2) {
        struct slice text = term_text(term_element(t, 1));
        snprintf(out, 256, "%.*s %.*s", SLICE_ARG(word), SLICE_ARG(text));
    } else if (term_integer(term_element(t, 1), &n) && term_integer(term_element(t, 2), &value)) {
        snprintf(out, 256, "%.*s %d %d", SLICE_ARG(word), (int)n, (int)value);
    } else {
        term answer = term_element(t, 2);
        bool is_error = term_is(term_element(answer, 0), "error");
        term reason = is_error ? term_element(answer, 1) : answer;
        if (term_element(reason, 2) != NULL)
            reason = term_element(reason, 2);
        snprintf(out, 256, "%.*s %d %s%.*s", SLICE_ARG(word), (int)n, is_error ? "error " : "",
                 SLICE_ARG(term_text(reason)));
    }
    buf_free(&b);
    return out;
}

#define ck_assert_hears(fd, wanted)                                                                \
    do {                                                                                           \
        char heard_[256];                                                                          \
        ck_assert_str_eq(hear(fd, heard_), wanted);                                                \
    } while (0)

static int enter(const char *dir)
{
    int fd = dial(dir);

    ck_assert_hears(fd, "welcome " SIDECAR_VERSION);
    return fd;
}

static struct caller *take_kept(void)
{
    for (int i = 0; kept == NULL; i++) {
        ck_assert_int_lt(i, 10000);
        poll(NULL, 0, 1);
    }
    return atomic_exchange(&kept, NULL);
}

/* Since it was last asked. */
static int warnings(void)
{
    return atomic_exchange(&fake_log_lines[LOG_WARNING], 0);
}

static mode_t mode_of(const char *dir)
{
    char path[200];
    struct stat s;

    snprintf(path, sizeof path, "%s/" CONTROL_SOCKET_NAME, dir);
    ck_assert_int_eq(lstat(path, &s), 0);
    return s.st_mode;
}

static int count_files(const char *path)
{
    DIR *dir = opendir(path);
    int n = 0;

    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

/* --- tests --- */

TEST(calls_are_answered_by_their_number)
{
    struct temp_dir d = temp_dir_make();
    struct control_socket *s = open_in(d.path);
    int fd = enter(d.path), other = enter(d.path);

    uint64_t messages = metric_get(METRIC_MESSAGES);
    call(fd, 1, "keep");
    call(fd, 70000, "b");
    ck_assert_hears(fd, "reply 70000 b");
    ck_assert_uint_eq(metric_get(METRIC_MESSAGES), messages + 2);
    call(other, 1, "c");
    ck_assert_hears(other, "reply 1 c");
    struct caller *caller = take_kept();
    put_number(caller, NULL, 9, false);
    ck_assert_hears(fd, "reply 1 9");
    close(fd);
    close(other);
    control_socket_close(s);
    temp_dir_remove(&d);
}

TEST(an_answer_goes_on_until_its_end)
{
    struct temp_dir d = temp_dir_make();
    struct control_socket *s = open_in(d.path);
    int fd = enter(d.path);

    call(fd, 5, "count");
    ck_assert_hears(fd, "more 5 1");
    ck_assert_hears(fd, "more 5 2");
    ck_assert_hears(fd, "more 5 3");
    ck_assert_hears(fd, "reply 5 4");
    close(fd);
    control_socket_close(s);
    temp_dir_remove(&d);
}

TEST(a_stream_to_nobody_is_told_so)
{
    struct temp_dir d = temp_dir_make();
    struct control_socket *s = open_in(d.path);
    struct buf part = {0};
    int fd = enter(d.path);

    call(fd, 1, "keep");
    struct caller *caller = take_kept();
    close(fd);
    term_put_integer(&part, 1);
    for (int i = 0; dist_part(caller, buf_view(&part)); i++)
        ck_assert_int_lt(i, 1000000);
    dist_reply(caller, NULL, buf_view(&part));
    buf_free(&part);
    control_socket_close(s);
    temp_dir_remove(&d);
}

TEST(a_stream_that_nobody_reads_ends_its_connection)
{
    struct temp_dir d = temp_dir_make();
    struct control_socket *s = open_in(d.path);
    struct buf part = {0}, text = {0};
    int fd = enter(d.path);

    call(fd, 1, "keep");
    struct caller *caller = take_kept();
    buf_reserve(&text, 10000);
    memset(text.data, 'x', text.len = 10000);
    term_put_binary(&part, buf_view(&text));
    for (int i = 0; dist_part(caller, buf_view(&part)); i++)
        ck_assert_int_lt(i, 1000); /* 10 MB; 1 MiB may wait beside what the socket takes */
    dist_reply(caller, NULL, buf_view(&part));
    buf_free(&part);
    buf_free(&text);
    close(fd);
    control_socket_close(s);
    temp_dir_remove(&d);
}

TEST(it_is_ours_alone_and_gone_at_the_end)
{
    struct temp_dir d = temp_dir_make();

    umask(0);
    struct control_socket *s = open_in(d.path);
    ck_assert_uint_eq(mode_of(d.path), S_IFSOCK | 0600);
    control_socket_close(s);
    ck_assert_int_eq(count_files(d.path), 0);
    temp_dir_remove(&d);
}

/* Killed sidecars, of this version and of 0.1, and whoever may write to the folder. */
TEST(what_stands_there_is_removed_never_followed)
{
    struct temp_dir d = temp_dir_make();
    char at[200], path[200];
    int dir_fd = open(d.path, O_RDONLY | O_DIRECTORY);

    snprintf(at, sizeof at, "%s/" CONTROL_SOCKET_NAME, d.path);
    snprintf(path, sizeof path, "%s/precious", d.path);
    for (int i = 0; i < 3; i++) {
        close(open(path, O_WRONLY | O_CREAT, 0600));
        if (i == 0)
            close(open(at, O_WRONLY | O_CREAT, 0600));
        else if (i == 1)
            ck_assert_int_eq(symlink(path, at), 0);
        else
            close(unix_socket_listen(dir_fd, CONTROL_SOCKET_NAME));
        ck_assert_int_eq(symlinkat(path, dir_fd, "control"), 0);
        close(openat(dir_fd, "control.new", O_WRONLY | O_CREAT, 0600));
        struct control_socket *s = open_in(d.path);
        ck_assert_ptr_nonnull(s);
        ck_assert_uint_eq(mode_of(d.path), S_IFSOCK | 0600);
        ck_assert_int_eq(count_files(d.path), 2);
        ck_assert_int_eq(access(path, F_OK), 0);
        close(enter(d.path));
        control_socket_close(s);
    }
    close(dir_fd);
    temp_dir_remove(&d);
}

TEST(a_link_is_not_connected_to)
{
    struct temp_dir d = temp_dir_make(), other = temp_dir_make();
    struct control_socket *s = open_in(other.path);
    char path[200];
    uid_t owner;
    int dir_fd = open(d.path, O_RDONLY | O_DIRECTORY);

    snprintf(path, sizeof path, "%s/" CONTROL_SOCKET_NAME, other.path);
    ck_assert_int_eq(symlinkat(path, dir_fd, CONTROL_SOCKET_NAME), 0);
    ck_assert_int_eq(unix_socket_find(dir_fd, CONTROL_SOCKET_NAME, &owner), -1);
    ck_assert_int_eq(errno, ENOTSOCK);
    close(dir_fd);
    control_socket_close(s);
    temp_dir_remove(&other);
    temp_dir_remove(&d);
}

TEST(without_a_socket_it_warns)
{
    struct temp_dir d = temp_dir_make();
    char at[200];

    snprintf(at, sizeof at, "%s/" CONTROL_SOCKET_NAME, d.path);
    ck_assert_int_eq(mkdir(at, 0700), 0);
    ck_assert_ptr_null(open_in(d.path));
    ck_assert_int_eq(warnings(), 1);
    ck_assert_int_eq(rmdir(at), 0);
    temp_dir_remove(&d);
    ck_assert_ptr_null(open_in(d.path)); /* no folder at all */
    ck_assert_int_eq(warnings(), 1);
    control_socket_close(NULL);
}

/* As another user: exit status 0 is {refused, ...}, 1 is EACCES. */
static int knock_as_nobody(const char *dir)
{
    char heard[256];
    uid_t owner;
    int status, dir_fd = open(dir, O_PATH | O_DIRECTORY);
    pid_t pid = fork();

    if (pid == 0) {
        if (setresuid(NOBODY, NOBODY, NOBODY) != 0)
            _exit(9);
        int found = unix_socket_find(dir_fd, CONTROL_SOCKET_NAME, &owner);
        int fd = found < 0 ? -1 : unix_socket_connect(found, 10000);
        if (fd < 0)
            _exit(errno == EACCES ? 1 : 8);
        _exit(strncmp(hear(fd, heard), "refused ", 8) == 0 && *hear(fd, heard) == '\0' ? 0 : 7);
    }
    close(dir_fd);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

TEST(another_user_is_refused)
{
    struct temp_dir d = temp_dir_make();
    struct control_socket *s = open_in(d.path);
    char at[200];

    if (geteuid() == 0) {
        ck_assert_int_eq(knock_as_nobody(d.path), 1); /* the folder is 0700 */
        ck_assert_int_eq(chmod(d.path, 0755), 0);
        ck_assert_int_eq(knock_as_nobody(d.path), 1); /* the socket is 0600 */
        snprintf(at, sizeof at, "%s/" CONTROL_SOCKET_NAME, d.path);
        ck_assert_int_eq(chmod(at, 0666), 0);
        ck_assert_int_eq(knock_as_nobody(d.path), 0); /* the kernel says who it is */
        ck_assert_int_eq(warnings(), 1);
    }
    close(enter(d.path));
    control_socket_close(s);
    temp_dir_remove(&d);
}

TEST(a_path_longer_than_an_address)
{
    struct temp_dir d = temp_dir_make();
    char name[210], path[400];

    memset(name, 'd', sizeof name);
    name[sizeof name - 1] = '\0';
    snprintf(path, sizeof path, "%s/%s", d.path, name);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    struct control_socket *s = open_in(path);
    ck_assert_ptr_nonnull(s);
    int fd = enter(path);
    call(fd, 1, "x");
    ck_assert_hears(fd, "reply 1 x");
    close(fd);
    control_socket_close(s);
    ck_assert_int_eq(rmdir(path), 0);
    temp_dir_remove(&d);
}

TEST(malformed_frames_end_their_connection_alone)
{
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {{"\0\0\0\2\x83\xff", 6},                 /* no term */
               {"\0\0\0\3\x83\x61\1", 7},               /* no tuple */
               {"\0\0\0\5\x83h\3a\1", 9},               /* cut off */
               {"\0\0\0\x0d\x83h\3w\4calljw\1x", 17},   /* the reference is no integer */
               {"\0\0\0\x0d\x83h\3w\4castw\1xa\1", 17}, /* nor is this a call */
               {"\0\0\0\3\x83h\0", 7}};
    struct temp_dir d = temp_dir_make();
    struct control_socket *s = open_in(d.path);
    int witness = enter(d.path);

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int fd = enter(d.path);
        ck_assert_int_eq(send(fd, bad[i].bytes, bad[i].len, MSG_NOSIGNAL), (ssize_t)bad[i].len);
        ck_assert_hears(fd, "");
        close(fd);
    }
    ck_assert_int_eq(warnings(), (int)(sizeof bad / sizeof *bad));
    call(witness, 1, "x");
    ck_assert_hears(witness, "reply 1 x");
    close(witness);
    control_socket_close(s);
    temp_dir_remove(&d);
}

TEST(a_call_that_is_too_large_is_answered)
{
    struct temp_dir d = temp_dir_make();
    struct control_socket *s = open_in(d.path);
    struct buf b = {0};
    int fd = enter(d.path);

    term_put_version(&b);
    term_put_tuple(&b, 3);
    term_put_atom(&b, "call");
    term_put_integer(&b, 8);
    buf_byte(&b, 109);
    buf_be32(&b, 2 << 20);
    size_t size = b.len + (2 << 20);
    buf_reserve(&b, 2 << 20);
    memset(b.data + b.len, 'x', 2 << 20);
    b.len = size;
    send_frame(fd, &b);
    buf_free(&b);
    char wanted[200];
    snprintf(wanted, sizeof wanted,
             "reply 8 error message of %zu bytes; node.max_message_bytes is 1048576", size);
    ck_assert_hears(fd, wanted);
    call(fd, 9, "x");
    ck_assert_hears(fd, "reply 9 x");
    close(fd);
    control_socket_close(s);
    temp_dir_remove(&d);
}

TEST(places_are_few_and_the_silent_give_way)
{
    struct temp_dir d = temp_dir_make();
    struct control_socket *s = open_in(d.path);
    int fds[CONTROL_SOCKET_GUESTS];

    for (int i = 0; i < CONTROL_SOCKET_GUESTS; i++)
        fds[i] = enter(d.path);
    int late = dial(d.path);
    ck_assert_hears(late, "refused too many commands are connected already; try again when one has "
                          "ended");
    ck_assert_hears(late, "");
    close(late);
    call(fds[0], 1, "keep"); /* waits for its answer, however long */
    struct caller *caller = take_kept();
    jumped_us += 1000000;
    call(fds[1], 1, "x"); /* silent for a shorter time, but nobody would miss it */
    ck_assert_hears(fds[1], "reply 1 x");
    jumped_us += 11000000;
    for (int i = 2; i < CONTROL_SOCKET_GUESTS; i++) {
        call(fds[i], 1, "x");
        ck_assert_hears(fds[i], "reply 1 x");
    }
    late = enter(d.path);
    ck_assert_hears(fds[1], "refused other commands needed the place of one that was silent");
    ck_assert_hears(fds[1], "");
    put_number(caller, NULL, 3, false);
    ck_assert_hears(fds[0], "reply 1 3");
    /* One that leaves makes room at once. */
    close(fds[2]);
    for (int i = 0, fd = -1;; i++) {
        char heard[256];
        fd = dial(d.path);
        bool is_in = strncmp(hear(fd, heard), "welcome", 7) == 0;
        close(fd);
        if (is_in)
            break;
        ck_assert_int_lt(i, 10000);
    }
    for (int i = 0; i < CONTROL_SOCKET_GUESTS; i++)
        if (i != 2)
            close(fds[i]);
    close(late);
    control_socket_close(s);
    temp_dir_remove(&d);
}

TEST(it_closes_whatever_is_under_way)
{
    struct temp_dir d = temp_dir_make();
    struct control_socket *s = open_in(d.path);
    int fd = enter(d.path), half = enter(d.path);

    call(fd, 1, "keep");
    struct caller *caller = take_kept();
    ck_assert_int_eq(send(half, "\0\0\1", 3, MSG_NOSIGNAL), 3);
    control_socket_close(s);
    put_number(caller, NULL, 1, false); /* into the void */
    ck_assert_hears(fd, "");
    ck_assert_hears(half, "");
    close(fd);
    close(half);
    temp_dir_remove(&d);
}
