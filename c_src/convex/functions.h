/* functions.h - what the deployed functions know: their version, and what a call of ours carries.
 */

/* Private to convex/. */

#ifndef FUNCTIONS_H
#define FUNCTIONS_H

#include "convex/convex_answer.h"
#include "ground/buf.h"
#include "sink/sink.h"

#define FUNCTIONS_CONTROLS 32 /* of attach's answer; more are not looked at */

struct functions; /* opaque; one thread */

/**
 * functions_new(mutation):
 * Nothing is known yet.  ${mutation} is the one that is called most: attach and whatever else is
 * ours are looked for in its module ("runtime" of "runtime:upsertBatch").
 */
struct functions *functions_new(const char *mutation);
void functions_free(struct functions *f);

/** functions_peer(f): What is known of the other side. */
const struct sink_peer *functions_peer(const struct functions *f);

/** functions_path(f, name, out): Of a function that stands beside attach: "runtime:sweep". */
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
    int64_t mark;   /* that stands there */
    char store[33]; /* who we are */
};

/** functions_sent(f, us, sent): What is known now. */
void functions_sent(const struct functions *f, const struct sink_store *us,
                    struct functions_sent *sent);
/**
 * functions_learn(f, answer, sent):
 * Take what attach was answered, which was asked when ${sent} was known.  False:
 * nothing was learnt, what was known stays: it was not answered by Convex.
 */
bool functions_learn(struct functions *f, const struct http_answer *answer,
                     const struct functions_sent *sent);
/**
 * functions_hear(f, echo, sent, heard):
 * A numbered call, sent when ${sent} was known, was answered so, by ${heard}. False:
 * whoever answers is not the one that attach spoke of, or was put back since.
 */
bool functions_hear(struct functions *f, const struct convex_echo *echo,
                    const struct functions_sent *sent, struct sink_peer *heard);

#endif
