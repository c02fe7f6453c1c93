/*
 * look.c - a piece of work inside a round, waited for.
 *
 * The happy path: an intent on the caller's stack runs the work on the store thread; when the round
 * is committed the caller goes on.  The outbox settles every intent, at its end too, so the wait
 * needs no time limit.
 *
 * What can go wrong: the errors of the outbox.  Any thread but the store thread.
 */

#include "audit/look.h"

#include <pthread.h>

struct look {
    struct intent intent; /* first: the outbox hands this back */
    /* fixed while it is out */
    look_work *work;
    void *arg;
    struct fault *fault;
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_settled;
    enum err result;
};

static enum err apply(struct intent *in, struct round *r)
{
    struct look *k = (struct look *)in;

    return k->work(k->arg, r);
}

static void settled(struct intent *in, enum err e, const char *why)
{
    struct look *k = (struct look *)in;

    pthread_mutex_lock(&k->lock);
    if (e != ERR_OK)
        fault_say(k->fault, NULL, "%.100s%s%.150s", err_text(e), *why ? ": " : "", why);
    k->result = e;
    k->is_settled = true;
    pthread_cond_signal(&k->changed);
    pthread_mutex_unlock(&k->lock);
}

enum err look_at(struct outbox *o, look_work *work, void *arg, struct fault *fault)
{
    struct look k = {.intent = {.apply = apply, .settled = settled},
                     .work = work,
                     .arg = arg,
                     .fault = fault,
                     .lock = PTHREAD_MUTEX_INITIALIZER,
                     .changed = PTHREAD_COND_INITIALIZER};
    enum err e = outbox_submit(o, &k.intent, 1, 0);

    if (e == ERR_OK) {
        pthread_mutex_lock(&k.lock);
        while (!k.is_settled)
            pthread_cond_wait(&k.changed, &k.lock);
        e = k.result;
        pthread_mutex_unlock(&k.lock);
    } else {
        fault_say(fault, NULL, "%s", err_text(e));
    }
    pthread_cond_destroy(&k.changed);
    pthread_mutex_destroy(&k.lock);
    return e;
}
