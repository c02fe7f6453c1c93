/* sink.h - where documents go: the interface of every sink. */

#ifndef SINK_H
#define SINK_H

#include "ground/base.h"
#include "outbox/outbox.h"

/* What an answer means for a document (docs/CONVEX.md has the table with sources). */
enum verdict_kind {
    VERDICT_DONE,    /* the other side has it, or something newer */
    VERDICT_AGAIN,   /* not written, for a temporary reason: send it again */
    VERDICT_UNKNOWN, /* unknown whether it was written: send it again, the guard makes it safe */
    VERDICT_REFUSED, /* not written, for a reason that may last */
    VERDICT_NONE     /* of ask only: the sink cannot ask this */
};

struct verdict {
    enum verdict_kind kind;
    bool is_endpoints; /* about the other side as a whole, not about what was in the call */
    enum outbox_outcome outcome; /* DONE: what was done */
    int64_t after_ms; /* AGAIN: the other side asked for this wait (Retry-After); 0: it did not */
    char why[200];    /* one line for logs, status and dead letters; "" when DONE */
};

/* The name of our store on the other side, and the mark it should have there (docs/adr/0010). */
struct sink_store {
    char id[33]; /* 32 hex digits */
    /* A raise that is due goes with the next call: from ${from} (-1: no mark) to ${to}, which was
     * never used before.  to = 0: no raise is due. */
    int64_t from, to;
};

/* What the other side last said about itself. */
struct sink_peer {
    int functions;       /* version of the deployed functions: 0 unknown, 1 (or a user's own), 2 */
    char deployment[65]; /* "": unknown */
    int64_t mark;        /* of our store; -1: it has none, or did not say */
    bool has_clock;      /* it said what time it is */
    int64_t ahead_ms;    /* by how much its clock is ahead of ours, to about a second */
    uint64_t learnt;     /* how many SINK_ATTACH questions it has answered */
    char store[33];      /* the store id we asked with (struct sink_store) */
};

/* The answer to a call; borrowed by the callee until it returns. */
struct sink_answer {
    struct verdict overall;     /* for the call as a whole */
    const struct verdict *each; /* one a document, in the order of add; NULL: overall for all */
    size_t count;
    const struct verdict *control; /* of the control in it; NULL: there was none */
    struct slice body;             /* of the response, as far as it was read; may be empty */
    const struct sink_peer
        *peer; /* who answered, from the same transaction; NULL: it did not say */
    int64_t took_us;
};

/* What can be asked of the other side without a document. */
enum sink_question {
    /* Write the control row of a kind: the same way, with the same checks, read by nobody.
     * DONE: a document of that kind would be accepted now.  NONE: controls are unknown here. */
    SINK_CONTROL,
    /* Which functions and deployment it has, and what it knows of our store.  The sink keeps the
     * answer.  DONE: there was one.  NONE: there is nobody to ask. */
    SINK_ATTACH
};

struct sink;
struct sink_call; /* opaque: one call being filled or in flight */

typedef void sink_answered(void *arg, const struct sink_answer *answer);
typedef void sink_told(void *arg, const struct verdict *verdict);

/*
 * Everything here runs on the delivery thread.  A sink may answer from inside
 * send or ask.  Each call and each question is answered exactly once, whatever happens.
 */
struct sink_ops {
    /* A new, empty call.  The caller adds at least one document and sends it. */
    struct sink_call *(*begin)(struct sink *s);
    /* Copy ${p} into the call; false (and nothing changed) when it does not fit any more.
     * The first document always fits. */
    bool (*add)(struct sink_call *c, const struct pending *p);
    /* Put a control for ${kind} into the call, before its first document: it is written in the same
     * transaction and has a verdict of its own (sink_answer.control).  False: none is known, or
     * calls have one verdict for all. */
    bool (*add_control)(struct sink_call *c, struct slice kind);
    /* Send it (taken); ${answered} is called once, now or out of wait. */
    void (*send)(struct sink_call *c, sink_answered *answered, void *arg);
    /* Ask ${question}, of documents of ${kind} (borrowed; empty: of any kind).  Any verdict may
     * come; other than DONE and NONE, it means for the question what it means for a document. */
    void (*ask)(struct sink *s, enum sink_question question, struct slice kind, sink_told *told,
                void *arg);
    /* Read keys and the like again; ERR_INVALID: ${fault} says what is wrong with them. */
    enum err (*reload)(struct sink *s, struct fault *fault);
    /* Do I/O until an answer came, ${wake_fd} is readable, or ${timeout_ms} are over (-1: no
     * limit). The caller empties wake_fd. */
    void (*wait)(struct sink *s, int wake_fd, int timeout_ms);
    /* What is known of the other side.  NULL: never anything. */
    void (*peer)(struct sink *s, struct sink_peer *out);
    /* Answer every call still in flight with VERDICT_UNKNOWN, then free the sink. */
    void (*close)(struct sink *s);
};

struct sink {
    const struct sink_ops *ops;
    size_t max_documents; /* in one call */
    struct sink_store us; /* set by delivery, between calls; id "": the sink makes one up */
};

/** sink_peer(s, out): What is known of the other side; nothing (mark -1) for a sink without peer.
 */
void sink_peer(struct sink *s, struct sink_peer *out);

/** sink_wait_plain(wake_fd, timeout_ms): The wait of sinks without I/O of their own (poll(2)). */
void sink_wait_plain(int wake_fd, int timeout_ms);

#endif
