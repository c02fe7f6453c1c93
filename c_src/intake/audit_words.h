/* audit_words.h - the words about the audit: {audit, Kind | all, Opts}, status, cancel. */

/* Private to intake/. */

#ifndef AUDIT_WORDS_H
#define AUDIT_WORDS_H

#include "audit/drift.h"
#include "dist/dist.h"

struct kinds;

/* The audit is in another folder: sidecar.c connects it.  Any reading thread; must not wait. */
struct audit_wires {
    void *arg;
    /* ERR_BUSY: one is running; ERR_INVALID: there is nothing to read back, ${fault} says why. */
    enum err (*start)(void *arg, const struct drift_request *request,
                      void (*done)(void *done_arg, const struct drift_report *report),
                      void *done_arg, struct fault *fault);
    bool (*cancel)(void *arg); /* false: none runs */
    void (*progress)(void *arg, struct drift_progress *p);
};

/**
 * audit_words_take(w, kinds, session, caller, request):
 * Whether ${request} is one of these words; then ${caller} is taken and will be answered: for an
 * audit when it ends, from another thread.  ${w} and ${kinds} live until then.
 */
bool audit_words_take(const struct audit_wires *w, const struct kinds *kinds,
                      struct dist_session *session, struct caller *caller, term request);

#endif
