/*
 * cli_kit.h - a sidecar that is a script, and commands whose screens are read whole.
 *
 * kit_sidecar(answers) is a thread at control.sock in a folder of its own.  Each call takes the
 * next answer, a term as text (term_text.h): "(ok, nil)".  "." says nothing, "!" ends the
 * connection; before one may stand "~" (it is a part; the next one belongs to the same call) and
 * "^" (it answers the first call of all).  The last one is given again and again; one before
 * "@word" until a request has that word.  "%" ends the command by
 * SIGTERM, "&" by SIGHUP, before the rest is said.  What it was asked stands in `asked`, a line
 * each.
 *
 * kit_caught(run, arg, input, out) is run in a child of its own; what it wrote, to both outputs in
 * order, is in `out`. kit_terminal likewise, on a terminal of 24 lines of 80, on which each part of
 * `input` is typed once the screen has the text before its "|": "Go on?|y".
 */

#ifndef CLI_KIT_H
#define CLI_KIT_H

#include "test.h"
#include "temp_dir.h"
#include "term/term_text.h"

#include "ground/unix_socket.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>

#define KIT_SCREEN (1 << 16)

static pid_t kit_pid; /* of the command */

struct kit_sidecar {
    struct temp_dir dir;
    int dir_fd, listener;
    pthread_t thread;
    const char *const *answers;
    int calls;        /* so far */
    const char *last; /* request, in: */
    char asked[1 << 22];
};

static inline bool kit_say(int fd, const char *word, int64_t ref, const char *answer)
{
    struct buf b = {0}, frame = {0}, value = {0};

    term_put_version(&b);
    term_put_tuple(&b, answer ? 3 : 2);
    term_put_atom(&b, word);
    if (answer) {
        term_of(&value, answer);
        term_put_integer(&b, ref);
        term_put_raw(&b, slice_of(value.data + 1, value.len - 1));
    } else {
        term_put_text(&b, "welcome");
    }
    buf_be32(&frame, (uint32_t)b.len);
    buf_slice(&frame, buf_view(&b));
    bool sent = send(fd, frame.data, frame.len, MSG_NOSIGNAL) == (ssize_t)frame.len;
    buf_free(&b);
    buf_free(&frame);
    buf_free(&value);
    return sent;
}

/* The number of the next call, whose request is noted; 0: the client has left. */
static int64_t kit_take(struct kit_sidecar *k, int fd)
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
    if (recv(fd, b.data, b.len, MSG_WAITALL) != (ssize_t)b.len)
        return buf_free(&b), 0;
    ck_assert_int_eq(term_check(buf_view(&b), &t, &fault), ERR_OK);
    ck_assert(term_is(term_element(t, 0), "call") && term_integer(term_element(t, 1), &ref));
    term request = term_element(t, 2);
    struct buf text = {0};
    term_text_show(&text, request);
    k->last = k->asked + strlen(k->asked);
    snprintf(k->asked + strlen(k->asked), sizeof k->asked - strlen(k->asked), "%.*s\n",
             SLICE_ARG(buf_view(&text)));
    buf_free(&text);
    buf_free(&b);
    return ref;
}

/* Answer one call; false: the connection shall end. */
static inline bool kit_answer(struct kit_sidecar *k, int fd, int64_t ref)
{
    for (;;) {
        const char *answer = k->answers[k->calls], *next = k->answers[k->calls + 1];
        if (next != NULL && *next == '@') {
            size_t len = strspn(next + 1, "abcdefghijklmnopqrstuvwxyz");
            bool is_met = memmem(k->last, strlen(k->last), next + 1, len) != NULL;
            answer = is_met ? next : answer;
            k->calls += is_met ? 1 + (k->answers[k->calls + 2] != NULL) : 0;
        } else {
            k->calls += next != NULL;
        }
        answer += *answer == '@' ? 1 + strspn(answer + 1, "abcdefghijklmnopqrstuvwxyz") : 0;
        if (*answer == '%' || *answer == '&') {
            kill(kit_pid, *answer == '%' ? SIGTERM : SIGHUP);
            answer++;
        }
        if (*answer == '!')
            return false;
        if (*answer == '.')
            return true;
        bool is_part = *answer == '~', is_late = *answer == '^';
        if (!kit_say(fd, is_part ? "more" : "reply", is_late ? 1 : ref,
                     answer + (is_part || is_late)))
            return false;
        if (!is_part && !is_late)
            return true;
    }
}

static inline void *kit_serve(void *arg)
{
    struct kit_sidecar *k = arg;

    for (int fd; (fd = accept(k->listener, NULL, NULL)) >= 0; close(fd)) {
        kit_say(fd, "welcome", 0, NULL);
        for (int64_t ref; (ref = kit_take(k, fd)) != 0 && kit_answer(k, fd, ref);)
            ;
    }
    return NULL;
}

static inline struct kit_sidecar *kit_sidecar(const char *const *answers)
{
    struct kit_sidecar *k = base_alloc(sizeof *k);

    k->answers = answers;
    k->dir = temp_dir_make();
    k->dir_fd = open(k->dir.path, O_RDONLY | O_DIRECTORY);
    k->listener = unix_socket_listen(k->dir_fd, "control.sock");
    ck_assert_int_ge(k->listener, 0);
    ck_assert_int_eq(pthread_create(&k->thread, NULL, kit_serve, k), 0);
    return k;
}

/* Compare what it was asked. */
static inline void kit_asked(struct kit_sidecar *k, const char *wanted)
{
    if (wanted != k->asked)
        ck_assert_str_eq(k->asked, wanted);
    k->asked[0] = '\0';
    k->calls = 0;
}

static inline void kit_end(struct kit_sidecar *k)
{
    shutdown(k->listener, SHUT_RDWR);
    pthread_join(k->thread, NULL);
    close(k->listener);
    close(k->dir_fd);
    temp_dir_remove(&k->dir);
    free(k);
}

typedef int kit_command(void *arg);

static inline int kit_status(pid_t pid)
{
    int status;

    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status), "the command ended by signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

static inline int kit_caught(kit_command *run, void *arg, char out[KIT_SCREEN])
{
    int ends[2];
    size_t n = 0;

    ck_assert_int_eq(pipe(ends), 0);
    fflush(NULL);
    pid_t pid = kit_pid = fork();
    if (pid == 0) {
        int nothing = open("/dev/null", O_RDONLY);
        dup2(nothing, 0);
        dup2(ends[1], 1);
        dup2(ends[1], 2);
        close(ends[0]);
        close(ends[1]);
        setvbuf(stdout, NULL, _IONBF, 0);
        int status = run(arg);
        fflush(NULL);
        _exit(status);
    }
    close(ends[1]);
    for (ssize_t got; (got = read(ends[0], out + n, KIT_SCREEN - 1 - n)) > 0;)
        n += (size_t)got;
    out[n] = '\0';
    close(ends[0]);
    return kit_status(pid);
}

static inline int kit_terminal(kit_command *run, void *arg, const char *const *input,
                               char out[KIT_SCREEN])
{
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    size_t n = 0, from = 0;
    int fd;

    fflush(NULL);
    pid_t pid = kit_pid = forkpty(&fd, NULL, NULL, &size);
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct termios plain;
        tcgetattr(0, &plain);
        plain.c_oflag &= ~(tcflag_t)OPOST;
        tcsetattr(0, TCSANOW, &plain);
        int status = run(arg);
        fflush(NULL);
        _exit(status);
    }
    for (ssize_t got; (got = read(fd, out + n, KIT_SCREEN - 1 - n)) > 0;) {
        n += (size_t)got;
        out[n] = '\0';
        while (input != NULL && *input != NULL) {
            size_t len = strcspn(*input, "|");
            const char *at = memmem(out + from, n - from, *input, len);
            if (at == NULL)
                break;
            from = (size_t)(at - out) + len;
            const char *keys = *input++ + len + 1;
            ck_assert_int_eq(write(fd, keys, strlen(keys)), (ssize_t)strlen(keys));
        }
    }
    out[n] = '\0';
    close(fd);
    return kit_status(pid);
}

#endif
