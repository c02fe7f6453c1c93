/* wall.h - a wall clock that a test sets, beside the monotonic one. */

#ifndef WALL_H
#define WALL_H

#include "ground/clock.h"

#include <time.h>

#define T0    "2026-02-19T20:00:00.000000Z"
#define T0_US INT64_C(1771531200000000)

static _Atomic int64_t kit_wall_us = T0_US;

int64_t clock_wall_us(void)
{
    return kit_wall_us;
}

int64_t clock_mono_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

#endif
