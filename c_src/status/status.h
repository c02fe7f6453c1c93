/* status.h - the state of the sidecar, as one map: for `status`, /status, /readyz and the log. */

#ifndef STATUS_H
#define STATUS_H

#include "ground/base.h"
#include "ground/buf.h"
#include "delivery/dispatch.h"

struct control;
struct dist;
struct letters;
struct sweeps;

/* Where it is read from; sidecar.c fills it.  Everything is borrowed. */
struct status {
    const char *node, *sink, *store;
    const char *base_url;       /* of the Convex deployment; "": another sink */
    const char *batch_mutation; /* "": documents go to Convex one a call, or not to Convex at all */
    bool details;               /* ids over HTTP */
    struct letters *letters;    /* for the page; NULL: none are shown */
    const char *sandbox;        /* what is in force */
    int64_t started_us;         /* wall clock */
    struct outbox *outbox;
    struct dispatch *dispatch;
    struct control *control;
    struct sweeps *sweeps;
    struct dist *dist; /* NULL until it is open */
};

/** status_put_term(s, b): The map of docs/PROTOCOL.md, as a term.  Any thread; never waits. */
void status_put_term(const struct status *s, struct buf *b);
/* The state whose changes are reported (changes.h), without its reasons: a new reason alone is not
 * a change. */
struct status_stand {
    enum dispatch_state endpoint;
    bool is_well, is_mending; /* the store takes documents; what was confirmed is sent again */
    struct {
        char name[64];
        enum dispatch_state state;
    } kinds[DISPATCH_KINDS]; /* those that are not running */
};

/** status_stand(s, stand): The state of the sidecar.  Any thread; never waits. */
void status_stand(const struct status *s, struct status_stand *stand);
/** status_put_stand(s, number, b): The same with its number and reasons, the map of {changes, N}.
 */
void status_put_stand(const struct status *s, int64_t number, struct buf *b);

/** status_put_peers(s, b): The BEAM nodes that are connected, as a list of maps. */
void status_put_peers(const struct status *s, struct buf *b);
/** status_put_json(s, b): The same as a JSON object, for HTTP clients: ids of documents only if
 * details may be shown. */
void status_put_json(const struct status *s, struct buf *b);

/** status_put_letters_json(s, b): The first STATUS_LETTERS dead letters, each with its reason, as a
 * JSON list; none if details must not be shown.  One thread. */
void status_put_letters_json(const struct status *s, struct buf *b);
enum { STATUS_LETTERS = 20 };

/** status_put_sentence(s, b): The same in one line for people: state, since when, why, what to do,
 * and what waits. */
void status_put_sentence(const struct status *s, struct buf *b);

/**
 * status_is_ready(s, why):
 * Whether documents are taken and delivered; a line into ${why} for each fault.
 */
bool status_is_ready(const struct status *s, struct buf *why);

#endif
