/*
 * sink.c - defaults for sinks: how to wait, and what is known of the other side.
 *
 * A sink that answers from inside send has nothing to wait for but the wake of
 * the delivery thread and the time.  An interrupted wait is a short wait: the
 * caller checks its clock and waits again.
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

void sink_peer(struct sink *s, struct sink_peer *out)
{
    *out = (struct sink_peer){.mark = -1};
    if (s->ops->peer != NULL)
        s->ops->peer(s, out);
}
