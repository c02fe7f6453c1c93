/*
 * survey_try.c - whether LMDB can read a store, tried in a process that may crash.
 *
 * The happy path: a process of our own reads everything, and ends with 0.  While it reads, it notes
 * in shared memory which entry it is at; at the first damage it notes that and ends.
 *
 * What can go wrong: it dies of a signal, which is reported with the last entry before; or the
 * entry stays the same for half a minute, then it is killed.
 *
 * Only in a process with one thread.
 */

#include "ground/clock.h"
#include "store/record.h"
#include "store/survey.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEADLINE_MS 30000 /* for one record */
#define LOOK_MS     20
#define DAMAGED     1 /* exit status */
#define UNREADABLE  2
#define NOT_THERE   3

/* What both processes see. */
struct seen {
    atomic_ullong count;
    char at[256]; /* the last entry, for people; "": none yet */
    struct fault fault;
};

static void take_entry(void *arg, const struct survey_entry *e)
{
    struct seen *s = arg;

    record_key_text(e->table, e->key, s->at);
    s->count++;
}

static void take_damage(void *arg, const char *what)
{
    struct seen *s = arg;

    snprintf(s->fault.why, sizeof s->fault.why, "%s", what);
    _exit(DAMAGED); /* no need to wait for LMDB any longer */
}

static int look(const char *dir, struct seen *seen)
{
    const struct survey_visitor visitor = {seen, take_entry, take_damage};
    struct survey *s;
    enum err e = survey_open(dir, SURVEY_BY_CURSORS, &visitor, &s, &seen->fault);

    if (e != ERR_OK)
        return e == ERR_NOT_FOUND ? NOT_THERE : UNREADABLE;
    for (enum store_table t = 0; t < STORE_TABLE_COUNT; t++)
        survey_table(s, t);
    survey_account(s);
    survey_close(s);
    return 0;
}

/* In the process that may crash: LMDB's own last words are suppressed, the parent reports it. */
_Noreturn static void look_and_end(const char *dir, struct seen *seen)
{
    static const int deadly[] = {SIGSEGV, SIGBUS, SIGABRT};

    /* The parent holds the store's lock; after a kill of the parent we must not keep it. */
    (void)close_range(STDERR_FILENO + 1, ~0U, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++)
        signal(deadly[i], SIG_DFL);
    if (null >= 0)
        (void)dup2(null, STDERR_FILENO);
    _exit(look(dir, seen));
}

/* False: no record was read for DEADLINE_MS, and the process was killed. */
static bool wait_for(pid_t pid, struct seen *seen, int *status)
{
    unsigned long long count = 0;
    int64_t since_ms = clock_mono_ms();

    while (waitpid(pid, status, WNOHANG) == 0) {
        if (seen->count != count) {
            count = seen->count;
            since_ms = clock_mono_ms();
        } else if (clock_mono_ms() - since_ms > DEADLINE_MS) {
            kill(pid, SIGKILL);
            (void)waitpid(pid, status, 0);
            return false;
        }
        poll(NULL, 0, count == 0 ? 1 : LOOK_MS);
    }
    return true;
}

static enum err judge(const struct seen *seen, bool in_time, int status, struct fault *fault)
{
    const char *at = seen->at[0] != '\0' ? seen->at : "its beginning";

    if (!in_time)
        return fault_fail(fault, ERR_STORE, NULL, "LMDB stands still after %.120s", at);
    if (WIFSIGNALED(status))
        return fault_fail(fault, ERR_STORE, NULL, "LMDB fails after %.120s: %s", at,
                          strsignal(WTERMSIG(status)));
    if (WEXITSTATUS(status) == 0)
        return ERR_OK;
    if (WEXITSTATUS(status) > NOT_THERE) /* a sanitizer has stopped it */
        return fault_fail(fault, ERR_STORE, NULL, "LMDB fails after %.120s: status %d", at,
                          WEXITSTATUS(status));
    *fault = seen->fault;
    return WEXITSTATUS(status) == NOT_THERE ? ERR_NOT_FOUND : ERR_STORE;
}

enum err survey_try(const char *dir, struct fault *fault)
{
    struct seen *seen =
        mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bool in_time = true;
    int status = 0;

    PRE(seen != MAP_FAILED);
    pid_t pid = fork();
    if (pid == 0)
        look_and_end(dir, seen);
    enum err e = ERR_STORE;
    if (pid < 0) {
        fault_fail(fault, e, NULL, "no process to read it with: %s", strerror(errno));
    } else {
        in_time = wait_for(pid, seen, &status);
        e = judge(seen, in_time, status, fault);
    }
    munmap(seen, sizeof *seen);
    return e;
}

enum survey_by survey_choose(const char *dir, struct fault *fault)
{
    return survey_try(dir, fault) == ERR_OK ? SURVEY_BY_CURSORS : SURVEY_BY_PAGES;
}
