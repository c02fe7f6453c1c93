/*
 * clock_jumping.c - the clock room of the torture: the wall clock jumps when told to.
 *
 * The happy path: the file that TORTURE_CLOCK names holds eight bytes, an offset in microseconds
 * (this machine's byte order).  It is mapped once, before the sandbox closes; whoever writes it moves the wall clock of this
 * process, back or forth, at that instant, as a bad NTP server or an operator would.
 *
 * What can go wrong: no such variable, or a file that cannot be mapped.  Then the test itself is at
 * fault, and the process ends at once, instead of proving nothing.
 *
 * The monotonic clock is the kernel's: it never jumps.  Any thread.
 */

#include "ground/clock.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const _Atomic int64_t *offset_us;

static void map_offset(void)
{
    const char *path = getenv("TORTURE_CLOCK");

    PRE(path != NULL);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    PRE(fd >= 0 && lseek(fd, 0, SEEK_END) == (off_t)sizeof *offset_us);
    void *map = mmap(NULL, sizeof *offset_us, PROT_READ, MAP_SHARED, fd, 0);
    PRE(map != MAP_FAILED);
    close(fd);
    offset_us = map;
}

/* Before main: the sandbox lets nobody open it later. */
__attribute__((constructor)) static void map_early(void)
{
    if (getenv("TORTURE_CLOCK") != NULL)
        PRE(pthread_once(&once, map_offset) == 0);
}

static int64_t read_us(clockid_t which)
{
    struct timespec t;

    PRE(clock_gettime(which, &t) == 0);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_wall_us(void)
{
    PRE(pthread_once(&once, map_offset) == 0);
    return read_us(CLOCK_REALTIME) + atomic_load(offset_us);
}

int64_t clock_mono_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}
