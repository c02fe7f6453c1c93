/* status.h - how the sidecar stands, as one map: for `status`, /status, /readyz and the log. */

#ifndef STATUS_H
#define STATUS_H

#include "ground/base.h"
#include "ground/buf.h"
#include "delivery/dispatch.h"

struct control;
struct dist;
struct letters;
struct sweeps;

/* Where it is read from; sidecar fills it.  Everything is borrowed. */
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

/** status_put_term(s, b): The map of docs/PROTOCOL.md, as a term.  Any thread; waits for nobody. */
void status_put_term(const struct status *s, struct buf *b);
/* What a change of is told (changes.h); without its reasons, which alone are no change. */
struct status_stand {
    enum dispatch_state endpoint;
    bool is_well, is_mending; /* the store takes documents; what was confirmed is sent again */
    struct {
        char name[64];
        enum dispatch_state state;
    } kinds[DISPATCH_KINDS]; /* those that are not running */
};

/** status_stand(s, stand): How the sidecar stands.  Any thread; waits for nobody. */
void status_stand(const struct status *s, struct status_stand *stand);
/** status_put_stand(s, number, b): The same with its number and reasons, the map of {changes, N}.
 */
void status_put_stand(const struct status *s, int64_t number, struct buf *b);

/** status_put_peers(s, b): The BEAM nodes that are connected, as a list of maps. */
void status_put_peers(const struct status *s, struct buf *b);
/** status_put_json(s, b): The same as a JSON object, for who has come by HTTP: ids of documents
 * only where details are wanted. */
void status_put_json(const struct status *s, struct buf *b);

/** status_put_letters_json(s, b): The first STATUS_LETTERS dead letters, each with its reason, as a
 * JSON list; none where details are not wanted.  One thread. */
void status_put_letters_json(const struct status *s, struct buf *b);
enum { STATUS_LETTERS = 20 };

/** status_put_sentence(s, b): The same in one line for people: state, since when, why, what to do,
 * and what waits. */
void status_put_sentence(const struct status *s, struct buf *b);

/**
 * status_is_ready(s, why):
 * Whether documents are taken and delivered; a line into ${why} for each thing that is not well.
 */
bool status_is_ready(const struct status *s, struct buf *why);

#endif
