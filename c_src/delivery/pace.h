/* pace.h - how many calls at once, and when after a fault: arithmetic on time and outcomes. */

/* Private to delivery/. */

#ifndef PACE_H
#define PACE_H

#include "ground/base.h"

/*
 * No clock, no thread, no I/O: whoever uses it says what time it is and what came of each call.
 * Times are microseconds of any clock that only rises.
 */

#define PACE_MAX_AFTER_MS 3600000 /* a longer wait asked for by the other side is cut to this */

struct pace_options {
    unsigned max_limit; /* calls in flight at most, 1 or more */
    int64_t backoff_min_ms, backoff_max_ms;
};

enum pace_breaker {
    PACE_CLOSED,   /* calls flow */
    PACE_OPEN,     /* none before open_until_us, then one trial */
    PACE_HALF_OPEN /* the trial is under way; its answer decides */
};

enum pace_turn {
    PACE_WAIT, /* no call now */
    PACE_TRIAL,
    PACE_GO
};

struct pace {
    struct pace_options options;
    uint64_t random; /* state of the jitter's generator */

    /* the adaptive limit; a round lasts one mean round-trip time */
    unsigned limit;
    bool has_mean, had_back_pressure, reached_limit;
    double mean_us, variance; /* of the rounds so far, exponentially weighted */
    int64_t round_sum_us, round_count, round_ends_us;

    /* the breaker */
    enum pace_breaker breaker;
    uint64_t failures; /* in a row; calls that were under way together count once */
    int64_t tripped_us, open_until_us;
};

/** pace_init(p, options, seed): Limit 1, breaker closed; ${seed} makes the jitter reproducible. */
void pace_init(struct pace *p, const struct pace_options *options, uint64_t seed);

/** pace_turn(p, now_us, in_flight): Whether a call may be made now, with ${in_flight} under way. */
enum pace_turn pace_turn(const struct pace *p, int64_t now_us, unsigned in_flight);

/** pace_sent(p, in_flight, trial): A call goes out; ${in_flight} counts it already. */
void pace_sent(struct pace *p, unsigned in_flight, bool trial);

/** pace_done(p, now_us, rtt_us, trial): A call was answered well after ${rtt_us}. */
void pace_done(struct pace *p, int64_t now_us, int64_t rtt_us, bool trial);

/** pace_answered(p, trial): A call was answered, but not so that its time says anything. */
void pace_answered(struct pace *p, bool trial);

/**
 * pace_fault(p, now_us, sent_us, after_ms, trial):
 * A call sent at ${sent_us} failed in a passing way: fewer calls, and none before the back-off (or
 * ${after_ms}, if that is longer; 0: nothing was asked) is over.  A call sent before the breaker
 * last tripped does not trip it again; it counts for the limit and ${after_ms} only.
 */
void pace_fault(struct pace *p, int64_t now_us, int64_t sent_us, int64_t after_ms, bool trial);

/**
 * pace_trial_size(p, full): How much a trial should carry, of ${full}: half with each failure in a
 * row, at least 1, so that a call too heavy for an ailing endpoint is not tried for ever.
 */
size_t pace_trial_size(const struct pace *p, size_t full);

/** pace_backoff_ms(options, failures, random): 1 to min(max, min * 2^(failures-1)), full jitter. */
int64_t pace_backoff_ms(const struct pace_options *options, uint64_t failures, uint64_t *random);

/** pace_random(state): The next 64 bits of a small generator (splitmix64); not for secrets. */
uint64_t pace_random(uint64_t *state);

#endif
