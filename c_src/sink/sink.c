/*
 * sink.c - what all sinks share: waiting, for those without I/O of their own.
 *
 * A sink that answers from inside send has nothing to wait for but the wake of
 * the delivery thread and the time.  An interrupted wait is a short wait: the
 * caller looks at its clock and comes again.
 *
 * Runs on the delivery thread only.
 */

#include "sink/sink.h"

#include <errno.h>
#include <poll.h>

void sink_wait_plain(int wake_fd, int timeout_ms)
{
    struct pollfd fd = {.fd = wake_fd, .events = POLLIN};

    if (poll(&fd, 1, timeout_ms) < 0)
        PRE(errno == EINTR || errno == ENOMEM || errno == EAGAIN);
}
