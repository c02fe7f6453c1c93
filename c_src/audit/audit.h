/* audit.h - compares what Convex holds with what was confirmed, beside the running delivery. */

#ifndef AUDIT_H
#define AUDIT_H

#include "audit/digests.h"
#include "audit/drift.h"

struct audit; /* opaque */
struct kinds;
struct outbox;

struct audit_options {
    struct outbox *outbox;
    const struct kinds *kinds;
    struct digests_options digests; /* its wake_fd is the audit's own */
};

/** Called once an audit, on the audit's thread; ${report} is borrowed. */
typedef void audit_done(void *arg, const struct drift_report *report);

/** What Convex holds; ${theirs} NULL: nothing, or, with a ${fault}->why, it is unknown.  Borrowed.
 */
typedef void audit_looked(void *arg, const struct drift_theirs *theirs, const struct fault *fault);

/** audit_open(options): Ready, with a thread that waits; what ${options} points at is borrowed. */
struct audit *audit_open(const struct audit_options *options);

/*
 * These take the struct audit as a void pointer, so that they fit audit_wires; NULL stands
 * for a sink that cannot be read back.  Any thread; they never wait.
 *
 * audit_start(a, request, done, arg, fault):
 * Begin an audit; ${done} is called at its end, however it ends.  ERR_BUSY: one is running;
 * ERR_DRAINING after audit_stop; ERR_INVALID: there is nothing to read back, ${fault} says so.
 */
enum err audit_start(void *a, const struct drift_request *request, audit_done *done, void *arg,
                     struct fault *fault) MUST_CHECK;
/**
 * audit_look(a, kind, id, looked, arg, fault):
 * Ask what Convex holds of the document ${id}; ${looked} is called once, on the audit's thread.
 * Errors as of audit_start; one audit or look at a time.
 */
enum err audit_look(void *a, const struct kind *kind, struct slice id, audit_looked *looked,
                    void *arg, struct fault *fault) MUST_CHECK;
/** audit_cancel(a): End the running audit after its current step.  False: none is running. */
bool audit_cancel(void *a);
/** audit_progress(a, p): Its progress. */
void audit_progress(void *a, struct drift_progress *p);

/** audit_stop(a): Cancel, wait for the end of it, end the thread.  Before the outbox is stopped. */
void audit_stop(struct audit *a);
/** audit_close(a): After audit_stop, when nobody can call any more.  NULL is harmless. */
void audit_close(struct audit *a);

#endif
