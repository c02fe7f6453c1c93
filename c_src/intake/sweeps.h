/* sweeps.h - asks a VM to project everything again when documents are doubtful. */

#ifndef SWEEPS_H
#define SWEEPS_H

#include "dist/dist.h"
#include "ground/base.h"

struct outbox;
struct sweeps; /* opaque */

struct sweeps_shown {
    char vm[128];  /* the VM that sweeps now; "": none */
    int64_t eta_s; /* until no document of a log is doubtful; -1: unknown */
};

struct sweeps *sweeps_new(struct outbox *o);
/** sweeps_free(s): Waiting calls are answered {error, draining}.  NULL is harmless. */
void sweeps_free(struct sweeps *s);

/**
 * sweeps_take(s, session, caller, request):
 * Whether ${request} is {sweep, Opts}: a VM offers to project everything again, and is answered
 * when that is wanted.  Then ${caller} is taken.  A reading thread; never waits.
 */
bool sweeps_take(struct sweeps *s, struct dist_session *session, struct caller *caller,
                 term request);

/** sweeps_tick(s, now_us): About once a second: ask one VM, if it is time. */
void sweeps_tick(struct sweeps *s, int64_t now_us);

/** sweeps_show(s, shown): Any thread. */
void sweeps_show(struct sweeps *s, struct sweeps_shown *shown);

#endif
