/*
 * crash_mark.c - two small files in the store's directory.
 *
 * The happy path: a start writes to `starting` how many starts there were since the last one that
 * ran for a minute or ended normally (usually 1), and removes the file when it has done so itself.
 *
 * What can go wrong: LMDB trusts its file and crashes on a damaged one.  The handler writes
 * `crashed` with the signal's name and lets the signal take its course.  Where no handler runs (a
 * watchdog's SIGKILL), `starting` stays, and after three such starts the store is checked as well.
 * If a file cannot be written, only the mark is lost.
 *
 * The handler runs in the thread that fails, on that thread's alternate signal stack (thread.c).
 */

#include "store/crash_mark.h"

#include "ground/log.h"
#include "ground/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#define MARK       "crashed"
#define STARTING   "starting"
#define STARTS_MAX 3
#define OPEN_WRITE (O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)

static atomic_bool is_left;
static int marked_dir = -1; /* the handler's; set once, before the handler is */

static int open_in(const char *dir, const char *name, int flags)
{
    int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = dir_fd >= 0 ? openat(dir_fd, name, flags, 0600) : -1;

    if (dir_fd >= 0)
        close(dir_fd);
    return fd;
}

static void put_file(const char *dir, const char *name, const char *text)
{
    int fd = open_in(dir, name, OPEN_WRITE);

    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        log_event(LOG_WARNING, "store.mark_not_written", "file=%s why=\"%s\"", name,
                  strerror(errno));
    if (fd >= 0)
        close(fd);
}

/* The start of the file, without its newline; false: no such file. */
static bool get_file(const char *dir, const char *name, char text[64])
{
    int fd = open_in(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, 63) : -1;

    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static void remove_file(const char *dir, const char *name)
{
    char path[4200];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    (void)unlink(path);
}

static unsigned long starts_in(const char *dir)
{
    char text[64];

    return get_file(dir, STARTING, text) ? strtoul(text, NULL, 10) : 0;
}

enum crash_mark crash_mark_read(const char *dir, char why[64])
{
    if (get_file(dir, MARK, why))
        return CRASH_MARKED;
    unsigned long starts = starts_in(dir);
    snprintf(why, 64, "%lu starts in a row", starts);
    return starts >= STARTS_MAX ? CRASH_STARTS : CRASH_NONE;
}

void crash_mark_leave(const char *dir, const char *why)
{
    char text[64];

    snprintf(text, sizeof text, "%.62s\n", why);
    put_file(dir, MARK, text);
    is_left = true;
}

bool crash_mark_is_left(void)
{
    return is_left;
}

void crash_mark_clear(const char *dir)
{
    remove_file(dir, MARK);
    remove_file(dir, STARTING);
}

/* The handler was reset when it was called, so raising the signal again ends the process. */
static void leave_and_die(int signal)
{
    const char *name = signal == SIGSEGV  ? "SIGSEGV\n"
                       : signal == SIGBUS ? "SIGBUS\n"
                                          : "SIGABRT\n";
    int fd = openat(marked_dir, MARK, OPEN_WRITE, 0600);

    if (fd >= 0) {
        ssize_t written = write(fd, name, strlen(name));
        (void)written;
        close(fd);
    }
    raise(signal);
}

void crash_mark_begin(const char *dir)
{
    static const int deadly[] = {SIGSEGV, SIGBUS, SIGABRT};
    struct sigaction how = {.sa_handler = leave_and_die,
                            .sa_flags = (int)(SA_RESETHAND | SA_ONSTACK)};
    char text[64];

    snprintf(text, sizeof text, "%lu\n", starts_in(dir) + 1);
    put_file(dir, STARTING, text);
    marked_dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (marked_dir < 0)
        return;
    thread_give_signal_stack();
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++)
        (void)sigaction(deadly[i], &how, NULL);
}

void crash_mark_settle(const char *dir)
{
    remove_file(dir, STARTING);
}
