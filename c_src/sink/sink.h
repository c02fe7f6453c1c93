/* sink.h - where documents go: the contract every sink keeps. */

#ifndef SINK_H
#define SINK_H

#include "ground/base.h"
#include "outbox/outbox.h"

/* What an answer means for a document (docs/CONVEX.md has the table with sources). */
enum verdict_kind {
    VERDICT_DONE,    /* it stands there, or something newer does */
    VERDICT_AGAIN,   /* not written, for a passing reason: send it again */
    VERDICT_UNKNOWN, /* nobody knows whether it was written: send it again, the guard makes it safe
                      */
    VERDICT_REFUSED, /* not written, for a reason that may last */
    VERDICT_NONE     /* of ask only: nothing was asked, for there is nothing to ask with */
};

struct verdict {
    enum verdict_kind kind;
    bool is_endpoints; /* by nature about the other side, not about what was in the call */
    enum outbox_outcome outcome; /* DONE: what was done */
    int64_t after_ms; /* AGAIN: the other side asked for this wait (Retry-After); 0: it did not */
    char why[200];    /* one line for logs, status and dead letters; "" when DONE */
};

/* What our store is called on the other side, and the mark that is to stand there (docs/adr/0010).
 */
struct sink_store {
    char id[33]; /* 32 hex digits */
    /* A raise that is due rides on the next call: to ${to}, which was never used before, where
     * ${from} stands (-1: nothing).  to = 0: none is. */
    int64_t from, to;
};

/* What the other side said of itself last. */
struct sink_peer {
    int functions;       /* version of what is deployed: 0 unknown, 1 or one's own, 2 */
    char deployment[65]; /* "": unknown */
    int64_t mark;        /* of our store; -1: nothing stands there, or it did not say */
    bool has_clock;      /* it said what time it is */
    int64_t ahead_ms;    /* by how much its clock is ahead of ours, to about a second */
    uint64_t learnt;     /* how often it was asked who it is (SINK_ATTACH), and said so */
    char store[33];      /* as whom: struct sink_store */
};

/* The answer to a call; borrowed by the callee until it returns. */
struct sink_answer {
    struct verdict overall;     /* for the call as a whole */
    const struct verdict *each; /* one a document, in the order of add; NULL: overall for all */
    size_t count;
    const struct verdict *control; /* of the control in it; NULL: there was none */
    struct slice body;             /* what was said, as far as it was read; may be empty */
    const struct sink_peer *peer; /* who answered, in the same transaction; NULL: it does not say */
    int64_t took_us;
};

/* What can be asked of the other side without a document. */
enum sink_question {
    /* Write what stands for a document of a kind: the same way, the same checks, read by nobody.
     * DONE: such a document would be accepted now.  NONE: no control is known here. */
    SINK_CONTROL,
    /* Which functions, which deployment, what it knows of us.  The sink keeps what it learns; DONE:
     * it has learnt.  NONE: there is nobody to ask. */
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
    /* A new, empty call, which is sent: at least one document is added first. */
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
     * come; one that is neither DONE nor NONE means of the question what it means of a document. */
    void (*ask)(struct sink *s, enum sink_question question, struct slice kind, sink_told *told,
                void *arg);
    /* Read keys and the like again; ERR_INVALID says what is wrong with them. */
    enum err (*reload)(struct sink *s, struct fault *fault);
    /* Do I/O until an answer came, ${wake_fd} is readable, or ${timeout_ms} are over (-1: no
     * limit). The caller empties wake_fd. */
    void (*wait)(struct sink *s, int wake_fd, int timeout_ms);
    /* What is known of the other side.  NULL: nothing ever is. */
    void (*peer)(struct sink *s, struct sink_peer *out);
    /* Answer every call still in flight with VERDICT_UNKNOWN, then free the sink. */
    void (*close)(struct sink *s);
};

struct sink {
    const struct sink_ops *ops;
    size_t max_documents; /* in one call */
    struct sink_store us; /* set by delivery, between calls; id "": the sink makes one up */
};

/** sink_peer(s, out): What is known of the other side; nothing of a sink that has none. */
void sink_peer(struct sink *s, struct sink_peer *out);

/** sink_wait_plain(wake_fd, timeout_ms): wait for sinks without I/O of their own (poll(2)). */
void sink_wait_plain(int wake_fd, int timeout_ms);

#endif
