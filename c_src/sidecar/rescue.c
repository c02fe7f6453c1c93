/*
 * rescue.c - repairs a store that crashed the last process.
 *
 * The happy path: there is no crash mark, and nothing is done.
 *
 * What can go wrong: there is one.  Then `store repair --anyway`, a process of this program,
 * copies what can be read into a new file and replaces the old one by it; its output goes to
 * standard error.  After several starts that were killed early, for which the store need not be
 * the cause, it is `store repair`, which leaves a sound store alone.  If that process dies too, or
 * the disk is full, the start fails with a message, and the next one tries again.
 *
 * Main's thread, before there is another one.
 */

#include "sidecar/rescue.h"

#include "ground/clock.h"
#include "ground/log.h"
#include "sidecar/service.h"
#include "store/crash_mark.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOK_MS   50
#define EXTEND_MS 2000

static bool has_store(const char *dir)
{
    char path[4200];
    struct stat st;

    snprintf(path, sizeof path, "%s/data.mdb", dir);
    return stat(path, &st) == 0 && st.st_size > 0;
}

/* It starts as from a shell: no signal is blocked or ignored. */
static int spawn(const char *program, const char *dir, bool anyway, pid_t *pid)
{
    char line[5][16] = {"convex_sidecar", "store", "repair", "--store", "--anyway"};
    char folder[PATH_MAX];
    char *const words[] = {line[0], line[1], line[2], line[3], folder, anyway ? line[4] : NULL,
                           NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    sigset_t none, all;
    int bad = posix_spawn_file_actions_init(&files);

    if (bad != 0)
        return bad;
    snprintf(folder, sizeof folder, "%s", dir);
    bad = posix_spawnattr_init(&how);
    if (bad != 0) {
        posix_spawn_file_actions_destroy(&files);
        return bad;
    }
    sigemptyset(&none);
    sigfillset(&all);
    (void)posix_spawnattr_setsigmask(&how, &none);
    (void)posix_spawnattr_setsigdefault(&how, &all);
    (void)posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    bad = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (bad == 0)
        bad = posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO);
    if (bad == 0)
        bad = posix_spawn(pid, program, &files, &how, words, environ);
    posix_spawnattr_destroy(&how);
    posix_spawn_file_actions_destroy(&files);
    return bad;
}

/* How it ended; meanwhile the service manager is told that this takes time. */
static int wait_for(pid_t pid, int signals)
{
    struct pollfd fd = {.fd = signals, .events = POLLIN};
    int64_t extended_ms = clock_mono_ms() - EXTEND_MS;
    int status = 0;

    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (clock_mono_ms() - extended_ms >= EXTEND_MS) {
            extended_ms = clock_mono_ms();
            service_extend("copying what can be read of a damaged store");
        }
        if (poll(&fd, 1, LOOK_MS) > 0)
            kill(pid, SIGKILL); /* we are asked to end: the next start copies again */
    }
    return status;
}

static enum err judge(const char *dir, int status, struct fault *fault)
{
    if (WIFSIGNALED(status))
        return fault_fail(
            fault, ERR_STORE, dir,
            "damaged, and its repair was ended by %s: see convex_sidecar store --help",
            strsignal(WTERMSIG(status)));
    if (WEXITSTATUS(status) != 0)
        return fault_fail(fault, ERR_STORE, dir,
                          "damaged, and its repair failed, the lines above say why (status %d)",
                          WEXITSTATUS(status));
    return ERR_OK;
}

enum err rescue_store(const char *program, const char *dir, int signals, struct fault *fault)
{
    char why[64];
    enum crash_mark mark = crash_mark_read(dir, why);
    pid_t pid;

    if (mark == CRASH_NONE)
        return ERR_OK;
    if (!has_store(dir)) {
        crash_mark_clear(dir);
        return ERR_OK;
    }
    int64_t began_ms = clock_mono_ms();
    log_event(LOG_WARNING, "store.rescuing", "dir=%s why=\"%s\" then=\"%s\"", dir, why,
              mark == CRASH_MARKED ? "what can be read is copied into a new file"
                                   : "it is checked, and repaired if it is damaged");
    int bad = spawn(program, dir, mark == CRASH_MARKED, &pid);
    if (bad != 0)
        return fault_fail(fault, ERR_STORE, dir,
                          "damaged, and no process can be had to repair it: %s", strerror(bad));
    enum err e = judge(dir, wait_for(pid, signals), fault);
    if (e != ERR_OK)
        return e;
    crash_mark_clear(dir);
    log_event(LOG_WARNING, "store.rescued", "dir=%s took_ms=%lld", dir,
              (long long)(clock_mono_ms() - began_ms));
    return ERR_OK;
}
