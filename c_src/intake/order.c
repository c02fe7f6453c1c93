/*
 * order.c - an operator's word that needs the store.
 *
 * The happy path: an order is submitted as an intent, so that it sees everything that was asked for
 * before it.  order_apply does the work in the round, order_settled sends the answer after the
 * commit, or submits the order again for its next portion.
 *
 * What can go wrong: the queue is full, the work or the store fails.  The error is the answer.
 *
 * Made and submitted on a reading thread; the store thread's from then on.
 */

#include "intake/order.h"

#include "intake/answer.h"

static void order_free(struct order *d)
{
    free(d->id);
    free(d->own);
    buf_free(&d->answer);
    free(d);
}

struct slice order_id(const struct order *d)
{
    return slice_of(d->id, d->id_len);
}

void order_set_id(struct order *d, struct slice id)
{
    char *copy = base_strndup(id.data, id.len);

    free(d->id);
    d->id = copy;
    d->id_len = id.len;
}

void order_finish(struct order *d, struct dist_session *session)
{
    dist_reply(d->caller, session, buf_view(&d->answer));
    order_free(d);
}

void order_refuse(struct order *d, struct dist_session *session, enum err e, const char *why)
{
    d->answer.len = 0;
    if (e == ERR_SINK)
        answer_error_atom(&d->answer, "timeout");
    else
        answer_error(&d->answer, e, &d->fault, why);
    order_finish(d, session);
}

void order_submit(struct order *d, struct dist_session *session)
{
    enum err e = outbox_submit(d->context->outbox, &d->intent, 1, 0);

    if (e != ERR_OK)
        order_refuse(d, session, e, "");
}

static enum err order_apply(struct intent *in, struct round *r)
{
    struct order *d = (struct order *)in;
    enum err e = d->work(d, r);

    if (e == ERR_INVALID && d->fault.why[0] == '\0')
        d->fault = *round_fault(r);
    return e;
}

static void order_settled(struct intent *in, enum err e, const char *why)
{
    struct order *d = (struct order *)in;
    struct dist_session *session = d->context->answers;

    if (e != ERR_OK) {
        order_refuse(d, session, e, why);
    } else if (d->again) {
        d->again = false;
        d->intent.next = NULL;
        order_submit(d, session);
    } else if (d->then != NULL) {
        d->then(d);
    } else {
        order_finish(d, session);
    }
}

static bool order_is_gone(const struct intent *in)
{
    return dist_caller_is_gone(((const struct order *)in)->caller);
}

struct order *order_new(const struct order_context *c, struct caller *caller, order_work *work)
{
    struct order *d = base_alloc(sizeof *d);

    d->context = c;
    d->caller = caller;
    d->work = work;
    d->intent.apply = order_apply;
    d->intent.settled = order_settled;
    d->intent.is_gone = order_is_gone;
    return d;
}
