/*
 * wake.c - an eventfd.
 *
 * The happy path: any number of rings before a drain count as one.
 *
 * What can go wrong: the counter is at its maximum.  Then the descriptor is readable anyway.
 *
 * Any thread.
 */

#include "ground/wake.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

int wake_open(void)
{
    return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

void wake_ring(int fd)
{
    const uint64_t one = 1;
    int saved = errno;

    while (write(fd, &one, sizeof one) < 0 && errno != EAGAIN)
        PRE(errno == EINTR);
    errno = saved;
}

bool wake_drain(int fd)
{
    uint64_t rings;

    while (read(fd, &rings, sizeof rings) < 0) {
        if (errno == EAGAIN)
            return false;
        PRE(errno == EINTR);
    }
    return true;
}
