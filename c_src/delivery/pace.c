/*
 * pace.c - how many calls at once.
 *
 * The happy path: the limit starts at its floor.  Once in each mean round-trip time it is judged:
 * one more call if the limit was reached, the endpoint did not push back, and answers came no
 * later than usual; a tenth fewer if it pushed back, or if answers at the limit came 2.5 standard
 * deviations later than usual.  The numbers are those of Vector's adaptive request concurrency
 * (vectordotdev/vector, src/sinks/util/adaptive_concurrency), whose scenarios are in pace_test.c.
 *
 * What can go wrong: a call is not answered.  Once it is overdue (half a second, or eight times
 * the mean) it takes no slot any more: delivery counts those.
 *
 * Pure: no clock, no thread, no I/O.  A struct pace belongs to one thread.
 */

#include "delivery/pace.h"
#include "ground/backoff.h"

#include <math.h>

#define EWMA_ALPHA      0.4
#define DECREASE_RATIO  0.9
#define DEVIATION_SCALE 2.5
#define OVERDUE_MIN_US  500000
#define OVERDUE_MEANS   8

void pace_init(struct pace *p, const struct pace_options *options)
{
    PRE(options->max_limit >= 1);
    PRE(options->backoff_min_ms >= 1 && options->backoff_max_ms >= 1);
    *p = (struct pace){.options = *options, .floor = PACE_FLOOR};
    if (p->floor > options->max_limit)
        p->floor = options->max_limit;
    p->limit = p->floor;
}

uint64_t pace_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

int64_t pace_backoff_ms(const struct pace_options *options, uint64_t failures, uint64_t *random)
{
    int64_t min = options->backoff_min_ms, max = options->backoff_max_ms;
    int64_t top = backoff_next(0, min, max);

    for (uint64_t i = 1; i < failures && top < max; i++)
        top = backoff_next(top, min, max);
    PRE(top > 0);
    return 1 + (int64_t)(pace_random(random) % (uint64_t)top);
}

/* ---- the limit ------------------------------------------------------------- */

/* Exponentially weighted mean and variance, as in Finch, "Incremental calculation of weighted
 * mean and variance", 2009. */
static void learn(struct pace *p, double rtt_us)
{
    if (!p->has_mean) {
        p->has_mean = true;
        p->mean_us = rtt_us;
        return;
    }
    double difference = rtt_us - p->mean_us, increment = EWMA_ALPHA * difference;
    p->mean_us += increment;
    p->variance = (1 - EWMA_ALPHA) * (p->variance + difference * increment);
}

static void judge(struct pace *p, bool measured, double rtt_us)
{
    double late_us = p->mean_us + DEVIATION_SCALE * sqrt(p->variance);

    if (p->limit < p->options.max_limit && p->reached_limit && !p->had_back_pressure && measured &&
        rtt_us <= p->mean_us)
        p->limit++;
    else if (p->had_back_pressure || (p->reached_limit && measured && rtt_us >= late_us))
        p->limit = (unsigned)((double)p->limit * DECREASE_RATIO);
    if (p->limit < p->floor)
        p->limit = p->floor;
    POST(p->limit <= p->options.max_limit);
}

/* End the round if its time is over: judge the limit, learn, begin the next. */
static void turn_round(struct pace *p, int64_t now_us)
{
    bool measured = p->round_count > 0;
    double rtt_us = measured ? (double)p->round_sum_us / (double)p->round_count : 0;

    if (p->has_mean ? now_us < p->round_ends_us : !measured)
        return;
    if (p->has_mean) {
        judge(p, measured, rtt_us);
        p->had_back_pressure = p->reached_limit = false;
    }
    if (measured)
        learn(p, rtt_us);
    p->round_ends_us = now_us + (int64_t)p->mean_us;
    p->round_sum_us = p->round_count = 0;
}

/* ---- calls ------------------------------------------------------------------- */

void pace_sent(struct pace *p, unsigned in_flight)
{
    if (in_flight >= p->limit)
        p->reached_limit = true;
}

void pace_done(struct pace *p, int64_t now_us, int64_t rtt_us, bool is_timely)
{
    if (is_timely) {
        p->round_sum_us += rtt_us;
        p->round_count++;
    }
    turn_round(p, now_us);
}

void pace_pushed(struct pace *p, int64_t now_us)
{
    p->had_back_pressure = true;
    turn_round(p, now_us);
}

uint64_t pace_calls_a_second(const struct pace *p)
{
    return p->mean_us >= 1 ? (uint64_t)(p->limit * 1e6 / p->mean_us) : 0;
}

int64_t pace_overdue_us(const struct pace *p)
{
    int64_t means_us = (int64_t)(OVERDUE_MEANS * p->mean_us);

    return means_us > OVERDUE_MIN_US ? means_us : OVERDUE_MIN_US;
}
