/* scope.h - whether the endpoint, or one kind of document, is served at present. */

/* Private to delivery/. */

#ifndef SCOPE_H
#define SCOPE_H

#include "delivery/pace.h"
#include "ground/base.h"
#include "sink/sink.h"

#define SCOPE_MAX_AFTER_MS 600000 /* the longest wait the other side can ask for (Retry-After) */

/* The one machine for every scope; scope.c has its moves. */
enum scope_state {
    SCOPE_RUNNING, /* all calls may be sent */
    SCOPE_DOUBTED, /* several failed, nothing passed between: documents or scope? */
    SCOPE_WAITING, /* found bad, by transient faults: trials, one at a time, by back-off */
    SCOPE_STOPPED  /* found bad, by refusals: trials, by waits that double to probe_ms */
};

struct scope_options {
    struct pace_options backoff;
    int64_t probe_ms;
};

struct scope {
    enum scope_state state;
    uint64_t accepted; /* the highest ordinal of a call that brought an acceptance */
    uint64_t proven;   /* the last ordinal given when it was last found bad; 0: never */
    uint64_t trial;    /* the ordinal of the trial under way; 0: none */
    uint32_t mark;  /* on the documents one of which may have caused all failures; 0: no failures */
    uint32_t marks; /* marks given so far */
    unsigned failures;      /* of trials, in a row */
    enum verdict_kind last; /* of the last of them */
    int64_t until_us;       /* no trial before */
    int64_t since_us;       /* wall clock: in this state */
    char why[200];          /* "" when running */
};

/* A failed call, as it concerns one scope. */
struct scope_fault {
    uint64_t ordinal, heard;       /* of the call; the last one given when its answer came */
    const struct verdict *verdict; /* is_endpoints: counts at once, whatever was in it */
    bool is_another; /* no document was in all the calls that failed since something passed */
    bool is_proof;   /* of a trial: with a control, or a document that had not failed */
};

/** scope_accepted(s, ordinal): A call brought an acceptance.  True: it has recovered. */
bool scope_accepted(struct scope *s, uint64_t ordinal);
/** scope_failed(s, fault, options, random, now_us): True: it was found bad by this. */
bool scope_failed(struct scope *s, const struct scope_fault *fault,
                  const struct scope_options *options, uint64_t *random, int64_t now_us);

/** scope_is_bad(s): Found bad, and not recovered: only trials are sent. */
bool scope_is_bad(const struct scope *s);
/** scope_may_try(s, now_us, is_failed): Whether a trial may be sent; ${is_failed}: of a document
 * that has failed. */
bool scope_may_try(const struct scope *s, int64_t now_us, bool is_failed);
/** scope_try(s, ordinal): Call ${ordinal} is the trial. */
void scope_try(struct scope *s, uint64_t ordinal);
/** scope_give_up(s, ordinal, ...): The answer to that trial is overdue: another may go, later. */
void scope_give_up(struct scope *s, uint64_t ordinal, const struct scope_options *options,
                   uint64_t *random, int64_t now_us);
/** scope_try_now(s, now_us): For an operator: the next trial may go at once. */
void scope_try_now(struct scope *s, int64_t now_us);
/** scope_begin(s, state, why, wall_us): Begin as ${state}, without a wait. */
void scope_begin(struct scope *s, enum scope_state state, const char *why, int64_t wall_us);

#endif
