/*
 * clock.c - the time, from the kernel.
 *
 * Two clocks: the wall clock tells when a document was made, the
 * monotonic one measures waits.  Nothing that orders documents trusts the wall
 * clock alone: the store makes projected_at strictly increasing per document.
 *
 * Any thread.
 */

#include "ground/clock.h"

#include <time.h>

static int64_t read_us(clockid_t which)
{
    struct timespec t;

    PRE(clock_gettime(which, &t) == 0);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_wall_us(void)
{
    return read_us(CLOCK_REALTIME);
}

int64_t clock_mono_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}
