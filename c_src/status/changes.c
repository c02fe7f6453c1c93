/*
 * changes.c - tells BEAM nodes when the sidecar's state changes.
 *
 * The happy path: each VM calls {changes, Seen} with the number of the state it knows, and the
 * call waits.  When a tick finds another state, the number rises, and all waiting calls are
 * answered.  The VMs call again.
 *
 * What can go wrong: the link of a waiting VM ends: the next tick drops the call.  Too many wait:
 * the newest is answered {error, busy} at once.  A state that lasts less than a tick is not
 * reported.
 *
 * Numbers begin with 1 in each process, so a VM that comes anew says 0.  Calls come on reading
 * threads, ticks on the owner's; under the lock.
 */

#include "status/changes.h"

#include "ground/buf.h"
#include "status/status.h"
#include "term/term.h"

#include <pthread.h>

#define WAITING_MAX 1024

struct changes {
    const struct status *status;
    pthread_mutex_t lock;
    int64_t number; /* of `now` */
    struct status_stand now;
    struct caller *waiting[WAITING_MAX];
    size_t count;
};

static void answer(const struct changes *c, struct dist_session *session, struct caller *caller)
{
    struct buf b = {0};

    term_put_tuple(&b, 2);
    term_put_atom(&b, "ok");
    status_put_stand(c->status, c->number, &b);
    dist_reply(caller, session, buf_view(&b));
    buf_free(&b);
}

static void refuse(struct dist_session *session, struct caller *caller, const char *why)
{
    struct buf b = {0};

    term_put_tuple(&b, 2);
    term_put_atom(&b, "error");
    term_put_atom(&b, why);
    dist_reply(caller, session, buf_view(&b));
    buf_free(&b);
}

static void drop_gone(struct changes *c)
{
    size_t left = 0;

    for (size_t i = 0; i < c->count; i++)
        if (dist_caller_is_gone(c->waiting[i]))
            refuse(NULL, c->waiting[i], "gone");
        else
            c->waiting[left++] = c->waiting[i];
    c->count = left;
}

static bool is_same(const struct status_stand *a, const struct status_stand *b)
{
    bool same =
        a->endpoint == b->endpoint && a->is_well == b->is_well && a->is_mending == b->is_mending;

    for (size_t i = 0; same && i < DISPATCH_KINDS; i++)
        same = a->kinds[i].state == b->kinds[i].state &&
               strcmp(a->kinds[i].name, b->kinds[i].name) == 0;
    return same;
}

static void look(struct changes *c)
{
    struct status_stand stand;

    status_stand(c->status, &stand);
    if (c->number > 0 && is_same(&stand, &c->now))
        return;
    c->now = stand;
    c->number++;
    for (size_t i = 0; i < c->count; i++)
        answer(c, NULL, c->waiting[i]);
    c->count = 0;
}

void changes_tick(struct changes *c)
{
    pthread_mutex_lock(&c->lock);
    drop_gone(c);
    look(c);
    pthread_mutex_unlock(&c->lock);
}

void changes_take(struct changes *c, struct dist_session *session, struct caller *caller,
                  int64_t seen)
{
    pthread_mutex_lock(&c->lock);
    look(c);
    if (seen != c->number)
        answer(c, session, caller);
    else if (c->count == WAITING_MAX)
        refuse(session, caller, "busy");
    else
        c->waiting[c->count++] = caller;
    pthread_mutex_unlock(&c->lock);
}

struct changes *changes_new(const struct status *s)
{
    struct changes *c = base_alloc(sizeof *c);

    c->status = s;
    PRE(pthread_mutex_init(&c->lock, NULL) == 0);
    return c;
}

void changes_free(struct changes *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->count; i++)
        refuse(NULL, c->waiting[i], "draining");
    pthread_mutex_destroy(&c->lock);
    free(c);
}
