/*
 * fake_outbox.c - the delivery side of the outbox in memory, to be included by a test.
 *
 * It keeps the promises of outbox.h that delivery relies on: one pending record a document, numbers
 * that only rise, a newer version takes the number of the pending one, a reader sees one committed
 * state until it is released, a settlement leaves a newer version pending.  fake_outbox_fail makes
 * the store fail: settlements are kept and not committed.  Any thread may put; one reads.
 */

#include "ground/clock.h"
#include "outbox/outbox.h"

#include <pthread.h>
#include <stdatomic.h>

#define uthash_fatal(msg) base_broken(msg, __FILE__, __LINE__)
#include <uthash.h>

/* One kept version; never changed once made, freed with the outbox. */
struct fake_record {
    struct fake_record *next; /* of all that were made */
    uint64_t no, document, revision;
    enum outbox_op op;
    int64_t seq, kept_at_us, next_try_us;
    uint32_t attempts;
    enum outbox_origin origin;
    char id[64], json[64];
};

struct fake_document {
    char id[64];
    uint64_t document;     /* its number */
    uint64_t no;           /* pending; 0: none */
    int64_t delivered_seq; /* 0: none */
    unsigned deliveries;
    bool dead, was_healed; /* was_healed: a letter of it was delivered */
    int64_t dead_seq, died_us;
    unsigned tries;
    char why[256], answer[64];
    size_t answer_bytes;
    uint32_t attempts;
    UT_hash_handle hh;
};

struct outbox {
    pthread_mutex_t lock;
    struct fake_record **slots; /* by arrival - 1, of both lanes; NULL: gone */
    size_t count, cap, pending, known;
    uint64_t revision, tickets, committed;
    struct fake_record *made;
    struct fake_document *documents;
    struct settlement *queue, **queue_end;
    bool failing, silent; /* silent: commits of settlements are not announced */
    bool unreadable;      /* readers see nothing, as while the store is opened again */
    atomic_uint_fast64_t contradictions, destination_revision;
    uint64_t moved_no; /* outbox_take_moved */
    unsigned moves;    /* out of the bulk lane */
    struct destination_known destination;
    struct destination_change change; /* the last one */
    unsigned functions;               /* what delivery told */
    int64_t well_us;                  /* the endpoint, or any kind, was well again; wall clock */
    unsigned order_faults;            /* a delivered seq that did not rise */
    bool letters_full;                /* a document that dies stays pending */
    void (*on_work)(void *);
    void *on_work_arg;
};

struct outbox_reader {
    struct outbox *o;
    struct fake_record **view;
    size_t count;
    bool is_open, is_broken;
};

static struct outbox *fake_outbox_new(void)
{
    struct outbox *o = base_alloc(sizeof *o);

    pthread_mutex_init(&o->lock, NULL);
    o->queue_end = &o->queue;
    return o;
}

static void fake_outbox_free(struct outbox *o)
{
    struct fake_document *d, *next_document;

    while (o->made != NULL) {
        struct fake_record *next = o->made->next;
        free(o->made);
        o->made = next;
    }
    while (o->queue != NULL) {
        struct settlement *next = o->queue->next;
        settlement_free(o->queue);
        o->queue = next;
    }
    HASH_ITER(hh, o->documents, d, next_document)
    {
        HASH_DEL(o->documents, d);
        free(d);
    }
    pthread_mutex_destroy(&o->lock);
    free(o->slots);
    free(o);
}

static struct fake_document *fake_document(struct outbox *o, const char *id)
{
    struct fake_document *d;

    HASH_FIND_STR(o->documents, id, d);
    if (d == NULL) {
        d = base_alloc(sizeof *d);
        snprintf(d->id, sizeof d->id, "%s", id);
        d->document = ++o->known;
        HASH_ADD_STR(o->documents, id, d);
    }
    return d;
}

/* A new arrival number for ${d}, in its lane. */
static void arrive(struct outbox *o, struct fake_document *d, uint64_t lane)
{
    if (o->count == o->cap) {
        o->cap = o->cap > 0 ? 2 * o->cap : 64;
        o->slots = base_realloc(o->slots, o->cap * sizeof(struct fake_record *));
    }
    d->no = lane + ++o->count;
}

/* E2: keep a version of ${id}, in the place of one that is pending; a live one moves what waits in
 * the bulk lane. */
static void fake_outbox_keep(struct outbox *o, const char *id, int64_t seq,
                             enum outbox_origin origin)
{
    struct fake_record *r = base_alloc(sizeof *r);
    uint64_t lane = lane_of(origin);

    pthread_mutex_lock(&o->lock);
    struct fake_document *d = fake_document(o, id);
    if (d->no == 0) {
        arrive(o, d, lane);
        o->pending++;
    } else if (lane == LANE_LIVE && d->no < LANE_LIVE) {
        d->no |= LANE_LIVE;
        o->moves++;
        if (o->moved_no == 0 || d->no < o->moved_no)
            o->moved_no = d->no;
    }
    r->no = d->no;
    r->document = d->document;
    r->revision = ++o->revision;
    r->seq = seq;
    r->origin = origin;
    r->kept_at_us = clock_wall_us();
    snprintf(r->id, sizeof r->id, "%s", id);
    snprintf(r->json, sizeof r->json, "{\"seq\":%lld}", (long long)seq);
    r->next = o->made;
    o->made = r;
    o->slots[lane_arrival(r->no) - 1] = r;
    pthread_mutex_unlock(&o->lock);
    if (o->on_work != NULL)
        o->on_work(o->on_work_arg);
}

/* Keep the removal of ${id}. */
__attribute__((unused)) static void fake_outbox_remove(struct outbox *o, const char *id,
                                                       int64_t seq)
{
    void (*on_work)(void *) = o->on_work;

    o->on_work = NULL; /* not before it is one */
    fake_outbox_keep(o, id, seq, ORIGIN_LIVE);
    o->on_work = on_work;
    pthread_mutex_lock(&o->lock);
    o->slots[lane_arrival(fake_document(o, id)->no) - 1]->op = OUTBOX_REMOVE;
    pthread_mutex_unlock(&o->lock);
    if (on_work != NULL)
        on_work(o->on_work_arg);
}

static void fake_outbox_put(struct outbox *o, const char *id, int64_t seq)
{
    fake_outbox_keep(o, id, seq, ORIGIN_LIVE);
}

/* The dead letter of ${id}, which has nothing pending, is tried again. */
__attribute__((unused)) static void fake_outbox_heal(struct outbox *o, const char *id)
{
    fake_outbox_keep(o, id, fake_document(o, id)->dead_seq, ORIGIN_HEALED);
}

static struct fake_record *fake_record_at(struct fake_record **slots, size_t count, uint64_t no)
{
    uint64_t arrival = lane_arrival(no);

    if (arrival == 0 || arrival > count || slots[arrival - 1] == NULL ||
        slots[arrival - 1]->no != no)
        return NULL;
    return slots[arrival - 1];
}

/* The record ${r} with what is remembered of it. */
static void commit_later(struct outbox *o, struct fake_record *r, const struct settlement *s)
{
    struct fake_record *now = base_alloc(sizeof *now);

    *now = *r;
    now->attempts = s->attempts;
    now->next_try_us = s->next_try_us;
    now->next = o->made;
    o->made = now;
    o->slots[lane_arrival(s->no) - 1] = now;
}

static void commit_one(struct outbox *o, struct settlement *s)
{
    struct fake_record *r = fake_record_at(o->slots, o->count, s->no);
    struct fake_document *d = fake_document(o, s->id);

    if (s->later) {
        if (r != NULL && r->revision == s->revision)
            commit_later(o, r, s);
        return;
    }

    if (s->dead && o->letters_full)
        return;
    if (s->dead) {
        d->tries = d->dead && r != NULL && r->origin == ORIGIN_HEALED ? d->tries + 1 : 0;
        d->died_us = clock_wall_us();
        d->dead = true;
        d->dead_seq = s->sent.seq;
        snprintf(d->why, sizeof d->why, "%s", s->why);
        d->answer_bytes = s->answer != NULL ? strlen(s->answer) : 0;
        snprintf(d->answer, sizeof d->answer, "%.63s", s->answer != NULL ? s->answer : "");
        d->attempts = s->attempts;
    } else {
        o->order_faults += s->sent.seq <= d->delivered_seq;
        d->delivered_seq = s->sent.seq;
        d->was_healed = d->was_healed || (d->dead && s->sent.seq == d->dead_seq);
        d->dead = d->dead && s->sent.seq < d->dead_seq;
        d->deliveries++;
    }
    if (r != NULL && r->revision == s->revision) {
        o->slots[lane_arrival(s->no) - 1] = NULL;
        d->no = 0;
        o->pending--;
    }
}

/* Under lock. */
static void commit(struct outbox *o)
{
    while (o->queue != NULL && !o->failing) {
        struct settlement *s = o->queue;
        o->queue = s->next;
        commit_one(o, s);
        settlement_free(s);
    }
    if (o->queue == NULL) {
        o->queue_end = &o->queue;
        o->committed = o->tickets;
    }
}

static void fake_outbox_fail(struct outbox *o, bool failing)
{
    pthread_mutex_lock(&o->lock);
    o->failing = failing;
    commit(o);
    bool announce = !o->silent;
    pthread_mutex_unlock(&o->lock);
    if (announce && o->on_work != NULL)
        o->on_work(o->on_work_arg);
}

__attribute__((unused)) static void fake_outbox_hide(struct outbox *o, bool unreadable)
{
    pthread_mutex_lock(&o->lock);
    o->unreadable = unreadable;
    pthread_mutex_unlock(&o->lock);
}

__attribute__((unused)) static size_t fake_outbox_pending(struct outbox *o)
{
    pthread_mutex_lock(&o->lock);
    size_t pending = o->pending;
    pthread_mutex_unlock(&o->lock);
    return pending;
}

/* A copy of what is known of ${id}. */
__attribute__((unused)) static struct fake_document fake_outbox_look(struct outbox *o,
                                                                     const char *id)
{
    pthread_mutex_lock(&o->lock);
    struct fake_document d = *fake_document(o, id);
    pthread_mutex_unlock(&o->lock);
    return d;
}

/* ---- outbox.h ---------------------------------------------------------------- */

struct outbox_reader *outbox_reader_open(struct outbox *o)
{
    struct outbox_reader *r = base_alloc(sizeof *r);

    r->o = o;
    return r;
}

void outbox_release(struct outbox_reader *r)
{
    free(r->view);
    r->view = NULL;
    r->is_open = false;
}

void outbox_reader_close(struct outbox_reader *r)
{
    outbox_release(r);
    free(r);
}

static void look(struct outbox_reader *r)
{
    if (r->is_open)
        return;
    pthread_mutex_lock(&r->o->lock);
    r->is_broken = r->o->unreadable;
    r->count = r->is_broken ? 0 : r->o->count;
    r->view = base_alloc(r->count * sizeof(struct fake_record *));
    if (r->count > 0)
        memcpy(r->view, r->o->slots, r->count * sizeof(struct fake_record *));
    pthread_mutex_unlock(&r->o->lock);
    r->is_open = true;
}

/* An id may begin with its kind and a colon. */
static struct slice kind_of(const char *id)
{
    const char *colon = strchr(id, ':');

    return colon != NULL ? slice_of(id, (size_t)(colon - id)) : slice_str("run_summary");
}

static void fill_pending(const struct fake_record *f, struct pending *p)
{
    *p = (struct pending){
        .no = f->no,
        .document = f->document,
        .id = slice_str(f->id),
        .kind = kind_of(f->id),
        .kept_at_us = f->kept_at_us,
        .origin = f->origin,
        .attempts = f->attempts,
        .next_try_us = f->next_try_us,
        .json = slice_str(f->json),
        .version = {
            .op = f->op, .seq = f->seq, .version = slice_str("v1"), .revision = f->revision}};
}

bool outbox_next_no(struct outbox_reader *r, uint64_t after, struct pending *p)
{
    look(r);
    for (uint64_t lane = after & LANE_LIVE; lane <= LANE_LIVE; lane += LANE_LIVE)
        for (uint64_t i = after > lane ? lane_arrival(after) : 0; i < r->count; i++)
            if (r->view[i] != NULL && (r->view[i]->no & LANE_LIVE) == lane) {
                fill_pending(r->view[i], p);
                return true;
            }
    return false;
}

uint64_t outbox_last(struct outbox_reader *r)
{
    uint64_t last = 0;

    look(r);
    for (uint64_t i = 0; i < r->count; i++)
        if (r->view[i] != NULL && r->view[i]->no > last)
            last = r->view[i]->no;
    return last;
}

enum err outbox_get(struct outbox_reader *r, uint64_t no, struct pending *p)
{
    look(r);
    if (r->is_broken)
        return ERR_STORE;
    const struct fake_record *f = fake_record_at(r->view, r->count, no);
    if (f == NULL)
        return ERR_NOT_FOUND;
    fill_pending(f, p);
    return ERR_OK;
}

uint64_t outbox_take_moved(struct outbox *o)
{
    pthread_mutex_lock(&o->lock);
    uint64_t no = o->moved_no;
    o->moved_no = 0;
    pthread_mutex_unlock(&o->lock);
    return no;
}

uint64_t outbox_contradictions(const struct outbox *o)
{
    return o->contradictions;
}

void outbox_well(struct outbox *o, struct slice kind)
{
    (void)kind;
    pthread_mutex_lock(&o->lock);
    o->well_us = clock_wall_us();
    pthread_mutex_unlock(&o->lock);
}

/* The store speaks to nobody in particular; what is to be recorded is. */
void outbox_destination(struct outbox *o, struct destination_known *known)
{
    pthread_mutex_lock(&o->lock);
    *known = o->destination;
    pthread_mutex_unlock(&o->lock);
}

uint64_t outbox_destination_revision(const struct outbox *o)
{
    return o->destination_revision;
}

void outbox_change_destination(struct outbox *o, const struct destination_change *c)
{
    struct destination_known *k = &o->destination;

    pthread_mutex_lock(&o->lock);
    o->change = *c;
    if (c->what & DESTINATION_PEER) {
        memcpy(k->address, c->address, sizeof k->address);
        memcpy(k->deployment, c->deployment, sizeof k->deployment);
        k->functions = c->functions;
    }
    if (c->what & DESTINATION_MARK)
        k->mark = c->mark;
    if (c->what & (DESTINATION_RAISE | DESTINATION_DOUBT))
        k->wanted++;
    o->destination_revision++;
    pthread_mutex_unlock(&o->lock);
}

void outbox_peer(struct outbox *o, unsigned functions, const char *deployment)
{
    (void)deployment;
    pthread_mutex_lock(&o->lock);
    o->functions = functions;
    pthread_mutex_unlock(&o->lock);
}

uint64_t outbox_settle(struct outbox *o, struct settlement *first)
{
    pthread_mutex_lock(&o->lock);
    uint64_t ticket = ++o->tickets;
    *o->queue_end = first;
    while (*o->queue_end != NULL)
        o->queue_end = &(*o->queue_end)->next;
    commit(o);
    bool announce = !o->failing && !o->silent;
    pthread_mutex_unlock(&o->lock);
    if (announce && o->on_work != NULL)
        o->on_work(o->on_work_arg);
    return ticket;
}

bool outbox_is_settled(struct outbox *o, uint64_t ticket)
{
    pthread_mutex_lock(&o->lock);
    bool settled = ticket <= o->committed;
    pthread_mutex_unlock(&o->lock);
    return settled;
}
