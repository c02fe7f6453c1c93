/* wake_test.c - rings are kept until they are drained. */

#include "ground/wake.h"

#include "test.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

static bool is_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) == 1;
}

TEST(rings_before_a_drain_are_one)
{
    int fd = wake_open();

    ck_assert_int_ge(fd, 0);
    ck_assert(!is_readable(fd));
    ck_assert(!wake_drain(fd));
    wake_ring(fd);
    wake_ring(fd);
    ck_assert(is_readable(fd));
    ck_assert(wake_drain(fd));
    ck_assert(!is_readable(fd));
    ck_assert(!wake_drain(fd));
    close(fd);
}

TEST(a_full_counter_stays_readable)
{
    const uint64_t most = UINT64_MAX - 1;
    int fd = wake_open();

    ck_assert_int_eq(write(fd, &most, sizeof most), sizeof most);
    errno = 17;
    wake_ring(fd);
    ck_assert_int_eq(errno, 17);
    ck_assert(is_readable(fd));
    close(fd);
}
