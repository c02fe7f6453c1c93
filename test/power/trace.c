/*
 * trace.c - this program's own pwrite, pwritev, writev, write, ftruncate, fsync, fdatasync and
 * msync, which note what they do to one file and then do it.
 *
 * LMDB, a shared library, finds these before the C library's.  What goes to other files is let
 * through.  A write that the recorder does not know how to note ends the program.
 */

#include "trace.h"

#include "plain_check.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct trace trace;
static char watched[300];
static bool is_on;

static bool is_watched(int fd)
{
    struct stat a, b;

    return is_on && fstat(fd, &a) == 0 && S_ISREG(a.st_mode) && stat(watched, &b) == 0 &&
           a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

/* Under lock. */
static struct trace_event *add(enum trace_what what)
{
    if (trace.count == trace.room) {
        trace.room = trace.room ? 2 * trace.room : 4096;
        trace.events = realloc(trace.events, trace.room * sizeof *trace.events);
        ck_assert(trace.events != NULL);
    }
    trace.events[trace.count] = (struct trace_event){.what = what};
    return &trace.events[trace.count++];
}

static void note_write(int fd, const struct iovec *v, int n, off_t offset, ssize_t written)
{
    ck_assert(written >= 0);
    struct trace_event *e = add(fcntl(fd, F_GETFL) & O_DSYNC ? TRACE_WRITE_SYNC : TRACE_WRITE);
    e->offset = (uint64_t)offset;
    e->data = malloc((size_t)written);
    ck_assert(e->data != NULL);
    for (int i = 0; i < n && e->len < (uint64_t)written; i++) {
        size_t part = v[i].iov_len;
        if (part > (size_t)written - e->len)
            part = (size_t)written - e->len;
        memcpy(e->data + e->len, v[i].iov_base, part);
        e->len += part;
    }
}

static ssize_t do_pwritev(int fd, const struct iovec *v, int n, off_t offset)
{
    bool notes = is_watched(fd);

    if (notes)
        pthread_mutex_lock(&lock);
    ssize_t written = syscall(SYS_pwritev, fd, v, (long)n, offset, 0L);
    if (notes) {
        note_write(fd, v, n, offset, written);
        pthread_mutex_unlock(&lock);
    }
    return written;
}

static ssize_t do_writev(int fd, const struct iovec *v, int n)
{
    bool notes = is_watched(fd);

    if (notes)
        pthread_mutex_lock(&lock);
    off_t offset = notes ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t written = syscall(SYS_writev, fd, v, (long)n);
    if (notes) {
        note_write(fd, v, n, offset, written);
        pthread_mutex_unlock(&lock);
    }
    return written;
}

static int do_sync(long call, int fd)
{
    bool notes = is_watched(fd);

    if (notes)
        pthread_mutex_lock(&lock);
    long rc = syscall(call, fd);
    if (notes) {
        ck_assert(rc == 0);
        add(TRACE_SYNC);
        pthread_mutex_unlock(&lock);
    }
    return (int)rc;
}

ssize_t pwritev(int fd, const struct iovec *v, int n, off_t offset)
{
    return do_pwritev(fd, v, n, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset)
{
    const struct iovec v = {(void *)(uintptr_t)bytes, len};

    return do_pwritev(fd, &v, 1, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off_t offset)
{
    return pwrite(fd, bytes, len, offset);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
    return do_writev(fd, v, n);
}

ssize_t write(int fd, const void *bytes, size_t len)
{
    const struct iovec v = {(void *)(uintptr_t)bytes, len};

    return do_writev(fd, &v, 1);
}

int fsync(int fd)
{
    return do_sync(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return do_sync(SYS_fdatasync, fd);
}

int ftruncate(int fd, off_t len)
{
    ck_assert(!is_watched(fd));
    return (int)syscall(SYS_ftruncate, fd, len);
}

int msync(void *at, size_t len, int flags)
{
    ck_assert(!is_on);
    return (int)syscall(SYS_msync, at, len, flags);
}

void trace_begin(const char *path)
{
    snprintf(watched, sizeof watched, "%s", path);
    is_on = true;
}

void trace_told(unsigned document, int64_t seq)
{
    pthread_mutex_lock(&lock);
    struct trace_event *e = add(TRACE_TOLD);
    e->document = document;
    e->seq = seq;
    pthread_mutex_unlock(&lock);
}

const struct trace *trace_end(void)
{
    is_on = false;
    return &trace;
}
