/* clock.h - the time: the only module that reads it, so that tests can set it. */

#ifndef CLOCK_H
#define CLOCK_H

#include "ground/base.h"

/** clock_wall_us(): Microseconds since 1970-01-01 UTC; may step back. */
int64_t clock_wall_us(void);
/** clock_mono_us(): Microseconds of a clock that never steps back (CLOCK_MONOTONIC). */
int64_t clock_mono_us(void);
static inline int64_t clock_mono_ms(void)
{
    return clock_mono_us() / 1000;
}

#endif
