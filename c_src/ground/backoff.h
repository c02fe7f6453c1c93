/* backoff.h - how long to wait before one more try. */

#ifndef BACKOFF_H
#define BACKOFF_H

#include "ground/base.h"

/** backoff_next(last, min, max): The wait after ${last} (0: the first): twice that, from ${min} to
 * ${max}. */
static inline int64_t backoff_next(int64_t last, int64_t min, int64_t max)
{
    int64_t next = last > max / 2 ? max : 2 * last;

    next = next < min ? min : next;
    return next < max ? next : max;
}

#endif
