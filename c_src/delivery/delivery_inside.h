/* delivery_inside.h - what delivery, load and answers share. */

/* Private to delivery/. */

#ifndef DELIVERY_INSIDE_H
#define DELIVERY_INSIDE_H

#include "delivery/delivery.h"
#include "delivery/entry.h"
#include "delivery/cursors.h"
#include "delivery/pace.h"
#include "delivery/peer.h"
#include "delivery/scope.h"
#include "delivery/search.h"
#include "delivery/spacing.h"

#define STORE_AGAIN_US 100000 /* a store that cannot be read is asked again after so long */
#define CONTROL_EVERY_US                                                                           \
    1000000 /* between two controls that are no trials, unless the first passed */
#define CONTROL_NONE_US 60000000 /* none is known: asked again after so long */

struct kind_slot {
    char *name; /* NULL: all others */
    size_t name_len;
    struct scope scope;
    struct spacing *spacing; /* of its documents: kinds have intervals of their own */
    struct entries troubled;
    bool is_full;           /* of troubled ones: no more are taken */
    bool is_quiet;          /* nothing in troubled may be sent before: */
    int64_t quiet_until_us; /* ... this */
    struct range {
        uint64_t low, high; /* 0: nothing */
    } skipped[2];           /* bulk, live: what the cursors skipped is in this range */
    uint64_t done_in;       /* the ordinal of the answer being taken, if one of the kind was done */
    uint64_t written_in;    /* the same, if one was written, or the control: a witness */
    uint64_t written;       /* the last one that was sent of such calls */
    size_t fits_documents, fits_bytes; /* of one call; 0: whatever the sink takes */
    unsigned fitting;                  /* full calls that passed since that was last changed */
    enum dispatch_state measured;      /* as the metrics have it */
    size_t measured_troubled;
};

enum call_sort {
    CALL_PLAIN,  /* clean documents together */
    CALL_LONE,   /* one that is in trouble, or one of a group, or the trial of a kind */
    CALL_SEARCH, /* half of a group */
    CALL_CONTROL /* no document */
};

struct call {
    struct call *prev, *next; /* in flight, in the order of sending */
    struct delivery *delivery;
    struct sink_call *sink_call; /* from the first document until it is sent */
    struct entries entries;      /* in the order of add */
    enum call_sort sort;
    uint64_t ordinal, whole; /* whole: of a CALL_SEARCH */
    uint64_t mark;           /* of what it confirms, if the answer has none */
    int64_t sent_us;
    size_t max_documents, max_bytes, bytes; /* of JSON */
    struct kind_slot *control_for;          /* of a CALL_CONTROL; NULL: any */
    struct kind_slot *trial_of;             /* the kind it is the trial of; NULL */
    bool is_proof;                          /* as a trial: struct scope_fault */
    bool is_trial;                          /* of the endpoint */
    bool is_bulk;                           /* its first document is of the bulk lane */
    bool is_beside_bulk;                    /* a bulk call was under way when it was sent */
    bool is_overdue, is_limited;            /* limited: by what fits a kind */
};

/* Entries whose settlements are on their way to disk. */
struct unsettled {
    struct unsettled *next;
    struct entries entries;
    uint64_t ticket;
};

/* The first documents in trouble, for status. */
struct note {
    uint64_t document; /* 0: free */
    char id[128], why[160];
};

struct delivery {
    /* fixed after open */
    struct outbox *outbox;
    struct sink *sink;
    struct dispatch_options options;
    struct scope_options scopes;
    bool is_single; /* one document a call */

    uint64_t random, ordinal;
    bool paused, closing, is_reload_logged;
    bool is_held; /* nothing is sent before the destination is adopted */
    struct pace pace;
    struct peer peer;
    struct scope endpoint;
    uint64_t endpoint_accepted_heard; /* the last ordinal given when it last accepted something */
    struct kind_slot kinds[DELIVERY_KINDS_MAX + 1];
    size_t kind_count, kind_last;

    struct known *known;
    struct cursors cursors;
    struct agenda agenda;
    struct search search;
    struct unsettled *unsettled, **unsettled_end;
    int64_t look_us, look_at_us; /* for settlements that were not announced */

    struct call *flight, *flight_last; /* the oldest first */
    struct call *flight_timely;        /* the oldest that is not overdue */
    unsigned in_flight, overdue, troubled_in_flight, bulk_in_flight; /* bulk: none overdue */
    int64_t live_us;          /* when a call of the live lane was last sent */
    int64_t live_took_us[2];  /* weighted means: alone, and beside a bulk call; 0: not known */
    int64_t bulk_rest_end_us; /* no bulk call before, while bulk is in the way of live calls */
    unsigned turn;
    size_t troubled_turn;
    bool is_agendas_turn, is_stirred;
    size_t scan_left; /* records that this step may still read */

    uint64_t control; /* the ordinal of the one under way; 0: none */
    int64_t control_us, no_control_until_us;
    int no_control_of; /* the functions that had none: others may take one */

    int64_t now_us, wall_us;                                       /* of this step */
    int64_t endpoint_logged_us, kind_logged_us, refused_logged_us; /* log_limited's memory */
    bool is_waiting_logged, is_measured;
    enum dispatch_state measured; /* as the metrics have it */
    struct note notes[DISPATCH_NOTES];
};

/* delivery.c */
size_t delivery_kind_slots(const struct delivery *d);
struct kind_slot *delivery_kind(struct delivery *d, struct slice name);
struct evidence delivery_evidence(const struct delivery *d, const struct kind_slot *k);
bool delivery_is_open(const struct kind_slot *k); /* its documents may travel */
/** delivery_may_bulk(d): A call of the bulk lane may be sent. */
bool delivery_may_bulk(const struct delivery *d);
/** delivery_postpone(d, e, due_us): Into the agenda. */
void delivery_postpone(struct delivery *d, struct entry *e, int64_t due_us);
/** delivery_trouble(d, e, due_us): To the troubled of its kind. */
void delivery_trouble(struct delivery *d, struct entry *e, int64_t due_us);
/** delivery_forget(d, e): It is pending no more, or a cursor will meet it again. */
void delivery_forget(struct delivery *d, struct entry *e);
void delivery_skip(struct delivery *d, struct kind_slot *k, uint64_t no);
/** delivery_hand_over(d, entries, first): E4: settlements to the outbox, ${entries} (taken) wait.
 */
void delivery_hand_over(struct delivery *d, struct entries *entries, struct settlement *first);
/** delivery_may_control(d), delivery_is_control_free(d): Whether there may be a control; whether
 * one may be sent now. */
bool delivery_may_control(const struct delivery *d);
bool delivery_is_control_free(const struct delivery *d);
void delivery_send(struct delivery *d, struct call *call);
void delivery_leave(struct delivery *d, struct call *call);
/** delivery_moved(d, k, was): Log it, if the state of ${k} (NULL: the endpoint) is no longer
 * ${was}. */
void delivery_moved(struct delivery *d, struct kind_slot *k, enum scope_state was);

/** delivery_measure(d): Update the metrics. */
void delivery_measure(struct delivery *d);

/* load.c: NULL: nothing of the sort is due */
struct call *load_plain(struct delivery *d, size_t max, enum cursor first);
struct call *load_troubled(struct delivery *d, struct kind_slot *k);
struct call *load_kind_trial(struct delivery *d, struct kind_slot *k);
struct call *load_search(struct delivery *d);
struct call *load_newest(struct delivery *d);
struct call *load_any(struct delivery *d, bool may_have_failed);
struct call *load_control(struct delivery *d, struct kind_slot *k);
/** load_meet_newer(d, e): Another version of it is pending. */
void load_meet_newer(struct delivery *d, struct entry *e);

/* told.c: reports to taps */
void told_sent(const struct call *c);
void told_answered(const struct call *c, const struct sink_answer *a);
void told_dead(const struct entry *e, const char *why);

/* answers.c */
void answers_take(void *arg, const struct sink_answer *answer);
void answers_take_control(void *arg, const struct verdict *verdict);
bool answers_collect(struct delivery *d);

#endif
