/* pace.h - how many calls at once: arithmetic on time and outcomes. */

/* Private to delivery/. */

#ifndef PACE_H
#define PACE_H

#include "ground/base.h"

/*
 * No clock, no thread, no I/O: the caller says what time it is and how each call ended.  Times are
 * microseconds of any clock that only rises.
 */

#define PACE_FLOOR 4 /* the limit never falls below this, or the largest that is allowed */

struct pace_options {
    unsigned max_limit; /* calls in flight at most, 1 or more */
    int64_t backoff_min_ms, backoff_max_ms;
};

struct pace {
    struct pace_options options;
    /* the adaptive limit; a round lasts one mean round-trip time */
    unsigned limit, floor;
    bool has_mean, had_back_pressure, reached_limit;
    double mean_us, variance; /* of the rounds so far, exponentially weighted */
    int64_t round_sum_us, round_count, round_ends_us;
};

/** pace_init(p, options): The limit is at its floor. */
void pace_init(struct pace *p, const struct pace_options *options);

/** pace_sent(p, in_flight): A call goes out; ${in_flight} counts it already. */
void pace_sent(struct pace *p, unsigned in_flight);

/** pace_done(p, now_us, rtt_us, is_timely): A call succeeded after ${rtt_us}; timely: that
 * time says something about the endpoint. */
void pace_done(struct pace *p, int64_t now_us, int64_t rtt_us, bool is_timely);

/** pace_pushed(p, now_us): The endpoint asked for patience. */
void pace_pushed(struct pace *p, int64_t now_us);

/** pace_calls_a_second(p): The rate that the limit allows at the recent round-trip time; 0: not
 * known yet.
 */
uint64_t pace_calls_a_second(const struct pace *p);

/** pace_overdue_us(p): How long after sending an unanswered call stops counting. */
int64_t pace_overdue_us(const struct pace *p);

/** pace_backoff_ms(options, failures, random): 1 to min(max, min * 2^(failures-1)), full jitter. */
int64_t pace_backoff_ms(const struct pace_options *options, uint64_t failures, uint64_t *random);

/** pace_random(state): The next 64 bits of a small generator (splitmix64); not for secrets. */
uint64_t pace_random(uint64_t *state);

#endif
