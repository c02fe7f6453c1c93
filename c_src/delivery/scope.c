/*
 * scope.c - whether the endpoint, or one kind of document, is served at present.
 *
 * The happy path: running, and every acceptance says so again.
 *
 * What can go wrong, and the one thing done: calls fail.  As long as one document can have caused
 * all failures since something passed, nothing is concluded.  When none can, the scope is doubted:
 * one trial decides, and an acceptance of any age ends the doubt.  A trial that fails proves the
 * scope bad; from then on only trials are sent, by back-off, until one passes.  The table has all
 * moves; because of `proven`, answers to older calls count for their documents alone.
 *
 * Pure: no clock, no I/O.
 */

#include "delivery/scope.h"

enum event {
    PASSED,        /* something was accepted in a call sent since it was found bad */
    PASSED_LATE,   /* in a call sent before that */
    FAILED,        /* and one document may have caused it */
    FAILED_OTHER,  /* and no one document can have */
    TRIED_PASSING, /* a trial: again or unknown */
    TRIED_REFUSED, /* a trial: refused */
    EVENTS
};

static const enum scope_state moves[][EVENTS] = {
    [SCOPE_RUNNING] = {[PASSED] = SCOPE_RUNNING,
                       [PASSED_LATE] = SCOPE_RUNNING,
                       [FAILED] = SCOPE_RUNNING,
                       [FAILED_OTHER] = SCOPE_DOUBTED,
                       [TRIED_PASSING] = SCOPE_WAITING,
                       [TRIED_REFUSED] = SCOPE_STOPPED},
    [SCOPE_DOUBTED] = {[PASSED] = SCOPE_RUNNING,
                       [PASSED_LATE] = SCOPE_RUNNING,
                       [FAILED] = SCOPE_DOUBTED,
                       [FAILED_OTHER] = SCOPE_DOUBTED,
                       [TRIED_PASSING] = SCOPE_WAITING,
                       [TRIED_REFUSED] = SCOPE_STOPPED},
    [SCOPE_WAITING] = {[PASSED] = SCOPE_RUNNING,
                       [PASSED_LATE] = SCOPE_WAITING,
                       [FAILED] = SCOPE_WAITING,
                       [FAILED_OTHER] = SCOPE_WAITING,
                       [TRIED_PASSING] = SCOPE_WAITING,
                       [TRIED_REFUSED] = SCOPE_STOPPED},
    [SCOPE_STOPPED] = {[PASSED] = SCOPE_RUNNING,
                       [PASSED_LATE] = SCOPE_STOPPED,
                       [FAILED] = SCOPE_STOPPED,
                       [FAILED_OTHER] = SCOPE_STOPPED,
                       [TRIED_PASSING] = SCOPE_WAITING,
                       [TRIED_REFUSED] = SCOPE_STOPPED},
};

bool scope_is_bad(const struct scope *s)
{
    return s->state == SCOPE_WAITING || s->state == SCOPE_STOPPED;
}

void scope_begin(struct scope *s, enum scope_state state, const char *why, int64_t wall_us)
{
    *s = (struct scope){.state = state, .since_us = wall_us};
    snprintf(s->why, sizeof s->why, "%s", why);
}

bool scope_accepted(struct scope *s, uint64_t ordinal)
{
    bool is_since = ordinal > s->proven || s->state == SCOPE_RUNNING;
    enum scope_state next = moves[s->state][is_since ? PASSED : PASSED_LATE];
    bool was_bad = scope_is_bad(s);

    if (ordinal > s->accepted)
        s->accepted = ordinal;
    if (next != SCOPE_RUNNING)
        return false;
    s->state = next;
    s->mark = 0;
    s->failures = 0;
    s->trial = 0;
    s->last = VERDICT_DONE;
    s->why[0] = '\0';
    return was_bad;
}

/* Doubling: without jitter to probe_ms while stopped, else with full jitter to the longest
 * back-off. */
static void wait(struct scope *s, const struct scope_options *options, uint64_t *random,
                 int64_t after_ms, int64_t now_us)
{
    int64_t ms = options->backoff.backoff_min_ms;

    if (s->state == SCOPE_STOPPED) {
        for (unsigned i = 1; i < s->failures && ms < options->probe_ms; i++)
            ms *= 2;
        ms = ms < options->probe_ms ? ms : options->probe_ms;
    } else {
        ms = pace_backoff_ms(&options->backoff, s->failures, random);
    }
    if (after_ms > SCOPE_MAX_AFTER_MS)
        after_ms = SCOPE_MAX_AFTER_MS;
    s->until_us = now_us + 1000 * (ms > after_ms ? ms : after_ms);
}

static enum event event_of(const struct scope_fault *fault, bool is_trial)
{
    const struct verdict *v = fault->verdict;

    if (v->is_endpoints || v->kind == VERDICT_AGAIN || (is_trial && fault->is_proof))
        return v->kind == VERDICT_REFUSED ? TRIED_REFUSED : TRIED_PASSING;
    return fault->is_another ? FAILED_OTHER : FAILED;
}

/* An answer that is too old to say anything else asked for a wait. */
static void wait_at_least(struct scope *s, const struct verdict *v, int64_t now_us)
{
    int64_t after_ms = v->after_ms < SCOPE_MAX_AFTER_MS ? v->after_ms : SCOPE_MAX_AFTER_MS;

    if (scope_is_bad(s) && s->until_us < now_us + 1000 * after_ms)
        s->until_us = now_us + 1000 * after_ms;
}

bool scope_failed(struct scope *s, const struct scope_fault *fault,
                  const struct scope_options *options, uint64_t *random, int64_t now_us)
{
    bool is_trial = s->trial == fault->ordinal && fault->ordinal != 0;
    enum scope_state was = s->state;

    if (!is_trial && (scope_is_bad(s) || fault->ordinal <= s->proven)) {
        wait_at_least(s, fault->verdict, now_us);
        return false;
    }
    enum event event = event_of(fault, is_trial);
    s->state = moves[was][event];
    if (is_trial)
        s->trial = 0;
    if (s->state == SCOPE_RUNNING)
        return false;
    bool is_proven = event == TRIED_PASSING || event == TRIED_REFUSED;
    if (was == SCOPE_RUNNING || (was == SCOPE_DOUBTED && is_proven))
        s->failures = 0;
    if (is_proven)
        s->proven = fault->heard;
    s->failures++;
    s->last = fault->verdict->kind;
    snprintf(s->why, sizeof s->why, "%s", fault->verdict->why);
    if (is_trial || was != s->state)
        wait(s, options, random, fault->verdict->after_ms, now_us);
    return is_proven;
}

bool scope_may_try(const struct scope *s, int64_t now_us, bool is_failed)
{
    bool is_over = now_us >= s->until_us;

    return s->trial == 0 && (is_over || (s->state == SCOPE_DOUBTED && !is_failed));
}

void scope_try(struct scope *s, uint64_t ordinal)
{
    s->trial = ordinal;
}

void scope_give_up(struct scope *s, uint64_t ordinal, const struct scope_options *options,
                   uint64_t *random, int64_t now_us)
{
    if (s->trial != ordinal || ordinal == 0)
        return;
    s->trial = 0;
    s->failures++;
    wait(s, options, random, 0, now_us);
}

void scope_try_now(struct scope *s, int64_t now_us)
{
    if (scope_is_bad(s))
        s->until_us = now_us;
}
