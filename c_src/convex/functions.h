/* functions.h - what the deployed functions support: their version, and what a call of ours
 * carries.
 */

/* Private to convex/. */

#ifndef FUNCTIONS_H
#define FUNCTIONS_H

#include "convex/convex_answer.h"
#include "ground/buf.h"
#include "sink/sink.h"

#define FUNCTIONS_CONTROLS 32 /* of attach's answer; further ones are ignored */

struct functions; /* opaque; one thread */

/**
 * functions_new(mutation):
 * Nothing is known yet.  ${mutation} is the one that is called most: attach and our other
 * functions are expected in its module ("runtime" of "runtime:upsertBatch").
 */
struct functions *functions_new(const char *mutation);
void functions_free(struct functions *f);

/** functions_peer(f): What is known of the other side. */
const struct sink_peer *functions_peer(const struct functions *f);

/** functions_path(f, name, out): The path of a function in attach's module: "runtime:sweep". */
void functions_path(const struct functions *f, const char *name, char out[CONVEX_PATH_BYTES]);

/** functions_number(f, path): The number of a call of ${path}; 0: it takes no number. */
uint64_t functions_number(struct functions *f, const char *path);
/** functions_has_control(f, path): Whether the mutation takes `control: true`. */
bool functions_has_control(const struct functions *f, const char *path);
/** functions_has_batch_control(f, path): Whether it takes items of the kind _control. */
bool functions_has_batch_control(const struct functions *f, const char *path);

/** functions_put_attach(f, us, b): The body of the question. */
void functions_put_attach(const struct functions *f, const struct sink_store *us, struct buf *b);
/** functions_put_number(number, us, raise, b): What follows the arguments of a numbered call. */
void functions_put_number(uint64_t number, const struct sink_store *us, bool raise, struct buf *b);

/* What was known when a question or a call was sent. */
struct functions_sent {
    int64_t mark;   /* the one that Convex holds */
    char store[33]; /* our store's id */
};

/** functions_sent(f, us, sent): What is known now. */
void functions_sent(const struct functions *f, const struct sink_store *us,
                    struct functions_sent *sent);
/**
 * functions_learn(f, answer, sent):
 * Take the answer to attach, which was asked when ${sent} was known.  False: it did not come from
 * Convex; nothing was learnt, and what was known stays.
 */
bool functions_learn(struct functions *f, const struct http_answer *answer,
                     const struct functions_sent *sent);
/**
 * functions_hear(f, echo, sent, heard):
 * Take the ${echo} of a numbered call that was sent when ${sent} was known; ${heard} becomes who
 * answered.  False: it is not the deployment that answered attach, or it was restored since.
 */
bool functions_hear(struct functions *f, const struct convex_echo *echo,
                    const struct functions_sent *sent, struct sink_peer *heard);

#endif
