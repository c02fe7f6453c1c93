/* control.h - the words of operators: checkpoint, explain, clear, flush, drain, ... */

#ifndef CONTROL_H
#define CONTROL_H

#include "dist/dist.h"
#include "ground/base.h"
#include "intake/audit_words.h"
#include "intake/explain.h"
#include "intake/pending_words.h"

struct control; /* opaque */
struct outbox;
struct kinds;
struct sweeps;
struct buf;

/* What is outside of intake: sidecar.c connects these.  Any reading thread; must not wait. */
struct control_wires {
    void *arg;
    void (*pause)(void *arg);
    void (*resume)(void *arg);
    void (*reload)(void *arg);
    /* Adopt the destination; ${text} (300 bytes) gets what follows from that. ${dry_run}: only say
     * it. */
    void (*adopt)(void *arg, bool dry_run, char *text);
    struct sweeps *sweeps;
    /* Answer as soon as the state is not the one with that number; takes ${caller}.
     */
    void (*changes)(void *arg, struct dist_session *session, struct caller *caller, int64_t seen);
    /* Append the status map as a term. */
    void (*status)(void *arg, struct buf *term);
    struct audit_wires audit;
    struct explain_wires explain;
    struct pending_wires pending;
    /* Append the list of connected BEAM nodes as a term. */
    void (*peers)(void *arg, struct buf *term);
};

/** control_new(o, kinds, answers, wires): All borrowed but ${wires}; ${answers} is the session of
 * the store thread, which is sent after it has settled. */
struct control *control_new(struct outbox *o, const struct kinds *kinds,
                            struct dist_session *answers, const struct control_wires *wires);
/** control_free(c): After the outbox is closed.  NULL is harmless. */
void control_free(struct control *c);

/**
 * control_take(c, session, caller, request):
 * Whether ${request} is one of the words; then ${caller} is taken and will be answered.
 * Runs on the reading thread, never waits.
 */
bool control_take(struct control *c, struct dist_session *session, struct caller *caller,
                  term request);

/** control_drain(c, on): From now on new projections are refused (or not).  Any thread. */
void control_drain(struct control *c, bool on);
bool control_is_draining(const struct control *c);

#endif
