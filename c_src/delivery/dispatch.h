/* dispatch.h - decides which kept document goes to the sink, and when. */

#ifndef DISPATCH_H
#define DISPATCH_H

#include "ground/base.h"
#include "outbox/outbox.h"
#include "sink/sink.h"

struct dispatch; /* opaque */

struct dispatch_options {
    unsigned max_in_flight;  /* calls at most; the adaptive limit stays at or below */
    int64_t min_interval_ms; /* between two writes of one document */
    /* the same for a kind; -1: as for all; NULL: no kind has its own */
    int64_t (*interval_ms)(const void *arg, struct slice kind);
    const void *interval_arg;
    int64_t backoff_min_ms, backoff_max_ms;
    int64_t probe_ms; /* between trials while stopped, at most */
    /* of the destination: where it is ("": nowhere that could change), how often its mark is
     * raised, and whether a new one is to be adopted first */
    const char *address;
    int64_t mark_ms;
    bool stops_at_new;
    /* NULL, or why nothing is sent before dispatch_adopt, and what to do about it */
    const char *held_why, *held_next;
};

enum dispatch_state {
    DISPATCH_RUNNING, /* sends what there is */
    DISPATCH_WAITING, /* a transient fault: waits its back-off, then sends again */
    DISPATCH_STOPPED, /* everything is refused: trials, one at a time; discards nothing */
    DISPATCH_PAUSED   /* by an operator */
};

#define DISPATCH_KINDS 8  /* shown at most */
#define DISPATCH_NOTES 10 /* documents shown at most */

/* The state of the endpoint or of one kind. */
struct dispatch_scope {
    enum dispatch_state state;
    char why[200]; /* the last fault; "" when running */
    int64_t since_us,
        next_us;       /* wall clock: since when, and when the next trial is due (0: none) */
    unsigned failures; /* of trials, in a row */
};

struct dispatch_kind {
    char name[64];
    struct dispatch_scope scope;
};

/* A document that is refused, failing or searched for. */
struct dispatch_note {
    char id[128], why[160];
};

struct dispatch_status {
    struct sink_peer peer;
    struct dispatch_scope endpoint;
    char next[300]; /* what an operator can do; "": what dispatch_next_text says */
    unsigned limit, in_flight, overdue;
    unsigned troubled, sought; /* documents that travel alone; that are searched for */
    size_t kind_count, note_count;
    /* the lists, last: mostly there is nothing in them to be copied */
    struct dispatch_kind kinds[DISPATCH_KINDS]; /* those that are not running */
    struct dispatch_note notes[DISPATCH_NOTES]; /* the first ones in trouble */
};

/* Where one pending document is. */
struct dispatch_place {
    const char *what; /* a word of dispatch_look; static storage */
    char why[160];    /* the last thing said of it; "": nothing, or it is not among the first */
    int64_t next_us;  /* wall clock: it is not sent before; 0: it may be sent */
    unsigned attempts;
};

/* On the delivery thread, or at once; ${place} is borrowed. */
typedef void dispatch_told(void *arg, const struct dispatch_place *place);

/* A document that travels alone, or is searched for. */
struct dispatch_troubled {
    uint64_t document, no; /* of its pending record */
    struct dispatch_place place;
};

#define DISPATCH_TROUBLED 1000 /* reported at most */

/* On the delivery thread, or at once; ${items} are borrowed. */
typedef void dispatch_listed(void *arg, const struct dispatch_troubled *items, size_t count);

/** dispatch_open(o, sink, options): Start the delivery thread; ${sink} is taken. */
struct dispatch *dispatch_open(struct outbox *o, struct sink *sink,
                               const struct dispatch_options *options);

/** dispatch_wake(d): There may be work.  Any thread; cheap; fits outbox_options.on_work. */
void dispatch_wake(void *d);
void dispatch_pause(struct dispatch *d);
void dispatch_resume(struct dispatch *d);
/** dispatch_reload(d): Have the sink read its keys again, and try at once what is not running. */
void dispatch_reload(struct dispatch *d);
/** dispatch_adopt(d): An operator adopts the destination: end the hold. */
void dispatch_adopt(struct dispatch *d);
/** dispatch_status(d, s): A copy of the current state.  Any thread. */
void dispatch_status(struct dispatch *d, struct dispatch_status *s);
/**
 * dispatch_look(d, document, told, arg):
 * Have ${told} called once with the place of the pending document of that number: "ahead"
 * (delivery has not come to it), "waits", "under way", or as what it travels alone: "lone",
 * "refused", "on trial", "failing"; "closing" when delivery has ended.  Any thread; never waits.
 */
void dispatch_look(struct dispatch *d, uint64_t document, dispatch_told *told, void *arg);
/** dispatch_list(d, listed, arg): As dispatch_look, with all that travel alone or are searched for;
 * none when delivery has ended. */
void dispatch_list(struct dispatch *d, dispatch_listed *listed, void *arg);
const char *dispatch_state_text(enum dispatch_state s);
/** dispatch_next_text(s), dispatch_kind_next_text(s): What an operator can do about the endpoint,
 * or a kind, in that state; "": nothing. */
const char *dispatch_next_text(enum dispatch_state s);
const char *dispatch_kind_next_text(enum dispatch_state s);

/**
 * dispatch_stop(d, wait_ms):
 * Send nothing new, wait at most ${wait_ms} for the answers under way, end the thread, close the
 * sink.  What was not answered stays pending.  The other functions may still be called (by readers
 * that do not know of the end yet) and do nothing.
 */
void dispatch_stop(struct dispatch *d, int64_t wait_ms);
/** dispatch_close(d): After dispatch_stop.  NULL is harmless. */
void dispatch_close(struct dispatch *d);

#endif
