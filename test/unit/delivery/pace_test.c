/*
 * pace_test.c - back-off and the adaptive limit against simulated servers, with the endpoint's
 * scope.
 *
 * The simulation is a discrete-event one: a client that has requests to make asks struct pace and
 * struct scope when it may, a server answers after delay * (1 + scale * (n - 1) + knee + jitter *
 * Exp(1)) with n requests in flight, and above a level or a rate it defers (answers at once in the
 * sense of load, not written) or drops (the client's timeout of 1 s tells).  Scenarios and bands
 * are modelled on Vector's (vectordotdev/vector, tests/data/adaptive-concurrency/).  Everything is
 * seeded.
 */

#include "test.h"

#include "delivery/pace.h"
#include "delivery/scope.h"

#include <math.h>
#include <stdint.h>

#define MS      1000LL
#define TIMEOUT (1000 * MS)
#define MOST    256 /* in flight in a simulation */

enum action { DEFER, DROP };

struct scenario {
    unsigned requests, cap;
    int64_t interval_us, delay_us;
    double jitter, scale, knee_exp;
    unsigned knee_start, level_limit, rate_limit;
    enum action action;
};

struct flight {
    int64_t sent_us, ends_us;
    uint64_t ordinal;
    bool ok, trial, in_server;
};

struct simulation {
    const struct scenario *s;
    struct pace pace;
    struct scope scope;
    struct scope_options options;
    uint64_t random, jitter, ordinal;
    int64_t now_us;
    struct flight flights[MOST];
    unsigned in_flight, in_server, waiting, arrived, completed, faults;
    int64_t starts_us[8192]; /* of requests, for the rate */
    size_t first_start, start_count;
    /* time-weighted, of what the server sees */
    double area;
    unsigned max_in_server, max_limit, max_in_flight;
    int64_t at_level_us[MOST];
};

static double exponential(uint64_t *random)
{
    double u = ((double)(pace_random(random) >> 11) + 1) / 9007199254740993.0;

    return -log(u);
}

static int64_t delay_us(struct simulation *m, unsigned level)
{
    const struct scenario *s = m->s;
    double knee = s->knee_start > 0 && level > s->knee_start
                      ? pow(s->knee_exp, level - s->knee_start) - 1
                      : 0;

    return (int64_t)((double)s->delay_us *
                     (1 + s->scale * (level - 1) + knee + s->jitter * exponential(&m->random)));
}

static unsigned rate(struct simulation *m)
{
    while (m->first_start < m->start_count && m->starts_us[m->first_start] <= m->now_us - 1000 * MS)
        m->first_start++;
    return (unsigned)(m->start_count - m->first_start);
}

static void pass_time(struct simulation *m, int64_t until_us)
{
    m->area += (double)m->in_server * (double)(until_us - m->now_us);
    m->at_level_us[m->in_server] += until_us - m->now_us;
    m->now_us = until_us;
}

static void start(struct simulation *m, bool trial)
{
    const struct scenario *s = m->s;
    struct flight *f = &m->flights[m->in_flight++];

    ck_assert_uint_lt(m->in_flight, MOST);
    pace_sent(&m->pace, m->in_flight);
    *f = (struct flight){
        .sent_us = m->now_us, .ordinal = ++m->ordinal, .trial = trial, .in_server = true};
    if (trial)
        scope_try(&m->scope, f->ordinal);
    m->starts_us[m->start_count++ % 8192] = m->now_us;
    ck_assert_uint_le(m->start_count, 8192);
    m->waiting--;
    m->in_server++;
    bool over = (s->level_limit > 0 && m->in_server > s->level_limit) ||
                (s->rate_limit > 0 && rate(m) > s->rate_limit);
    f->ok = !over;
    f->ends_us = m->now_us + (over && s->action == DROP ? TIMEOUT
                              : over                    ? s->delay_us
                                                        : delay_us(m, m->in_server));
    if (over && s->action == DROP) {
        f->in_server = false;
        m->in_server--;
    }
    if (m->in_server > m->max_in_server)
        m->max_in_server = m->in_server;
    if (m->in_flight > m->max_in_flight)
        m->max_in_flight = m->in_flight;
}

static void finish(struct simulation *m, unsigned i)
{
    struct flight f = m->flights[i];

    m->flights[i] = m->flights[--m->in_flight];
    m->in_server -= f.in_server;
    if (f.ok) {
        m->completed++;
        pace_done(&m->pace, m->now_us, m->now_us - f.sent_us, !f.trial);
        scope_accepted(&m->scope, f.ordinal);
    } else {
        m->waiting++;
        m->faults++;
        const struct verdict again = {.kind = VERDICT_AGAIN, .is_endpoints = true};
        const struct scope_fault fault = {
            .ordinal = f.ordinal, .heard = m->ordinal, .verdict = &again, .is_proof = true};
        pace_pushed(&m->pace, m->now_us);
        scope_failed(&m->scope, &fault, &m->options, &m->jitter, m->now_us);
    }
    if (m->pace.limit > m->max_limit)
        m->max_limit = m->pace.limit;
    ck_assert_uint_ge(m->pace.limit, 1);
    ck_assert_uint_le(m->pace.limit, m->s->cap);
}

enum turn { TURN_WAIT, TURN_TRIAL, TURN_GO };

static enum turn turn_of(const struct simulation *m)
{
    if (m->in_flight >= m->pace.limit)
        return TURN_WAIT;
    if (!scope_is_bad(&m->scope))
        return TURN_GO;
    return scope_may_try(&m->scope, m->now_us, true) ? TURN_TRIAL : TURN_WAIT;
}

static void simulate(struct simulation *m, const struct scenario *s, uint64_t seed)
{
    struct pace_options options = {
        .max_limit = s->cap, .backoff_min_ms = 250, .backoff_max_ms = 30000};

    *m = (struct simulation){.s = s, .random = seed, .jitter = seed + 1};
    m->options = (struct scope_options){.backoff = options, .probe_ms = 30000};
    pace_init(&m->pace, &options);
    while (m->completed < s->requests) {
        enum turn turn;
        while (m->arrived < s->requests && m->arrived * s->interval_us <= m->now_us) {
            m->arrived++;
            m->waiting++;
        }
        while (m->waiting > 0 && (turn = turn_of(m)) != TURN_WAIT)
            start(m, turn == TURN_TRIAL);
        int64_t next_us = INT64_MAX;
        unsigned ending = MOST;
        for (unsigned i = 0; i < m->in_flight; i++)
            if (m->flights[i].ends_us < next_us) {
                next_us = m->flights[i].ends_us;
                ending = i;
            }
        if (m->arrived < s->requests && m->arrived * s->interval_us < next_us) {
            next_us = m->arrived * s->interval_us;
            ending = MOST;
        }
        if (scope_is_bad(&m->scope) && m->scope.trial == 0 && m->waiting > 0 &&
            m->in_flight < m->pace.limit && m->scope.until_us < next_us) {
            next_us = m->scope.until_us;
            ending = MOST;
        }
        ck_assert_int_lt(next_us, INT64_MAX);
        pass_time(m, next_us);
        if (ending < MOST)
            finish(m, ending);
    }
}

static unsigned mode(const struct simulation *m)
{
    unsigned most = 0;

    for (unsigned i = 1; i < MOST; i++)
        if (m->at_level_us[i] > m->at_level_us[most])
            most = i;
    return most;
}

static double mean(const struct simulation *m)
{
    return m->area / (double)m->now_us;
}

static void show(const char *name, const struct simulation *m)
{
    if (getenv("SHOW"))
        printf(
            "%-22s in server mean %.2f max %u mode %u, limit max %u last %u, %u faults, %.1f s\n",
            name, mean(m), m->max_in_server, mode(m), m->max_limit, m->pace.limit, m->faults,
            (double)m->now_us / 1e6);
}

#define ck_band(value, low, high)                                                                  \
    ck_assert_msg((double)(value) >= (low) && (double)(value) <= (high),                           \
                  #value " is %.2f, should be in %.2f to %.2f", (double)(value), (double)(low),    \
                  (double)(high))

static struct simulation m;

TEST(constant_link)
{
    simulate(&m, &(struct scenario){.requests = 500, .cap = 200, .delay_us = 100 * MS}, 1);
    show("constant link", &m);
    ck_band(m.max_in_server, 30, 32);
    ck_band(mean(&m), 15, 17);
    ck_assert_uint_eq(m.faults, 0);
}

TEST(jittery_link)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        simulate(
            &m,
            &(struct scenario){.requests = 1000, .cap = 200, .delay_us = 100 * MS, .jitter = 0.1},
            seed);
        show("jittery link", &m);
        ck_band(m.max_in_server, 14, 40);
        ck_band(mean(&m), 6, 20);
    }
}

TEST(defers_above_level_5)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        simulate(
            &m,
            &(struct scenario){.requests = 500, .cap = 200, .delay_us = 100 * MS, .level_limit = 5},
            seed);
        show("defers above 5", &m);
        ck_band(m.max_in_server, 5, 13);
        ck_band(mode(&m), 0, 5);
        ck_band(mean(&m), 2.4, 5.0);
    }
}

TEST(defers_above_100_a_second)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        simulate(&m,
                 &(struct scenario){
                     .requests = 1000, .cap = 200, .delay_us = 100 * MS, .rate_limit = 100},
                 seed);
        show("defers above 100/s", &m);
        ck_band(m.max_in_server, 10, 24);
        ck_band(mean(&m), 5.0, 9.0);
    }
}

TEST(drops_above_level_5)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        simulate(&m,
                 &(struct scenario){.requests = 500,
                                    .cap = 200,
                                    .delay_us = 100 * MS,
                                    .level_limit = 5,
                                    .action = DROP},
                 seed);
        show("drops above 5", &m);
        ck_band(m.max_in_server, 4, 5);
        ck_band(mean(&m), 1.8, 4.0);
    }
}

TEST(slow_link)
{
    simulate(
        &m, &(struct scenario){.requests = 200, .cap = 200, .delay_us = 100 * MS, .scale = 1.0}, 1);
    show("slow link", &m);
    ck_band(m.max_in_server, 2, 7);
    ck_band(mode(&m), 1, 5);
    ck_band(mean(&m), 1.3, 5.0);
}

TEST(shallow_knee_at_10)
{
    simulate(
        &m,
        &(struct scenario){
            .requests = 1000, .cap = 200, .delay_us = 100 * MS, .knee_start = 10, .knee_exp = 1.1},
        1);
    show("knee at 10", &m);
    ck_band(m.max_in_server, 11, 12);
    ck_band(mode(&m), 9, 12);
    ck_band(mean(&m), 9, 11.5);
}

TEST(medium_send)
{
    simulate(&m,
             &(struct scenario){
                 .requests = 500, .cap = 200, .interval_us = 25 * MS, .delay_us = 100 * MS},
             1);
    show("medium send", &m);
    ck_band(m.max_in_server, 4, 8);
    ck_band(mode(&m), 4, 5);
    ck_band(mean(&m), 3.9, 4.5);
}

TEST(slow_send)
{
    simulate(&m,
             &(struct scenario){
                 .requests = 100, .cap = 200, .interval_us = 50 * MS, .delay_us = 50 * MS},
             1);
    show("slow send", &m);
    ck_band(m.max_in_server, 1, 2);
    ck_band(mode(&m), 1, 1);
    ck_band(mean(&m), 0.95, 1.2);
}

TEST(never_above_the_cap)
{
    for (unsigned cap = 1; cap <= 8; cap++) {
        simulate(&m, &(struct scenario){.requests = 500, .cap = cap, .delay_us = 100 * MS}, cap);
        show("capped", &m);
        ck_assert_uint_eq(m.max_in_flight, cap);
    }
}

TEST(backoff_doubles_to_its_bound_with_full_jitter)
{
    struct pace_options options = {.max_limit = 1, .backoff_min_ms = 100, .backoff_max_ms = 1000};
    int64_t bound[] = {100, 200, 400, 800, 1000, 1000};
    uint64_t random = 3;

    for (unsigned failures = 1; failures <= 6; failures++) {
        int64_t least = INT64_MAX, most = 0;
        for (int i = 0; i < 2000; i++) {
            int64_t ms = pace_backoff_ms(&options, failures, &random);
            least = ms < least ? ms : least;
            most = ms > most ? ms : most;
        }
        ck_assert_int_ge(least, 1);
        ck_assert_int_le(least, bound[failures - 1] / 20);
        ck_assert_int_le(most, bound[failures - 1]);
        ck_assert_int_ge(most, bound[failures - 1] * 19 / 20);
    }
    ck_assert_int_le(pace_backoff_ms(&options, UINT64_MAX, &random), 1000);
}
