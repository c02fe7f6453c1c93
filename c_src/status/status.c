/*
 * status.c - the state of the sidecar, as one map.
 *
 * The map is built as a term; the JSON form is made from that term, so the two cannot differ.
 * Everything is read from atomics or copied under a short lock, so that status never waits for
 * disk or network.
 *
 * Any thread.
 */

#include "status/status.h"

#include "delivery/dispatch.h"
#include "dist/dist.h"
#include "ground/clock.h"
#include "ground/metrics.h"
#include "ground/time_text.h"
#include "intake/control.h"
#include "intake/sweeps.h"
#include "json/json.h"
#include "outbox/outbox.h"
#include "term/term.h"

#include <unistd.h>

#define WAITING_READY_US 60000000

static void put_text(struct buf *b, const char *key, const char *value)
{
    term_put_atom(b, key);
    term_put_text(b, value);
}

static void put_time(struct buf *b, const char *key, int64_t us)
{
    char text[32];

    time_text_put(us, text);
    put_text(b, key, text);
}

static void put_flag(struct buf *b, const char *key, bool value)
{
    term_put_atom(b, key);
    term_put_bool(b, value);
}

static void put_count(struct buf *b, const char *key, int64_t n)
{
    term_put_atom(b, key);
    term_put_integer(b, n);
}

static void put_metrics(struct buf *b)
{
    term_put_atom(b, "metrics");
    term_put_map(b, METRIC_COUNT);
    for (int m = 0; m < METRIC_COUNT; m++) {
        term_put_atom(b, metric_name((enum metric)m));
        term_put_integer(b, (int64_t)metric_get((enum metric)m));
    }
}

/* The outcomes of each kind since the start; kinds without any are left out. */
static void put_by_kind(struct buf *b)
{
    struct buf items = {0};
    uint32_t count = 0;
    const char *name;

    for (size_t k = 0; (name = metric_kind_name(k)) != NULL; k++) {
        uint64_t taken = 0;
        for (unsigned reason = 0; reason < METRIC_VALUES_MAX; reason++)
            taken += metric_labelled_get(LABELLED_PROJECTIONS, k, reason);
        if (taken == 0)
            continue;
        term_put_map(&items, 3);
        put_text(&items, "kind", name);
        put_count(&items, "taken", (int64_t)taken);
        put_count(&items, "skipped",
                  (int64_t)metric_labelled_get(LABELLED_PROJECTIONS, k, DECIDE_IDEMPOTENT));
        count++;
    }
    term_put_atom(b, "by_kind");
    if (count > 0)
        term_put_list(b, count);
    buf_slice(b, buf_view(&items));
    term_put_nil(b);
    buf_free(&items);
}

/* How long things took since the start, in seconds. */
static void put_latencies(struct buf *b)
{
    static const struct {
        double q;
        const char *name;
    } quantiles[] = {{0.5, "p50"}, {0.99, "p99"}};

    term_put_atom(b, "times");
    term_put_map(b, HISTOGRAM_COUNT);
    for (enum metric_histogram h = 0; h < HISTOGRAM_COUNT; h++) {
        struct metric_pile pile;
        metric_pile_get(h, &pile);
        term_put_atom(b, metric_histogram_about(h)->name);
        term_put_map(b, 2);
        for (size_t i = 0; i < 2; i++) {
            term_put_atom(b, quantiles[i].name);
            term_put_float(b, metric_pile_quantile(&pile, quantiles[i].q));
        }
    }
}

/* What the deployed functions last reported about themselves. */
static void put_peer(struct buf *b, const struct sink_peer *peer)
{
    term_put_atom(b, "functions");
    term_put_integer(b, peer->functions);
    put_text(b, "deployment", peer->deployment);
    term_put_atom(b, "mark");
    term_put_integer(b, peer->mark > 0 ? peer->mark : 0);
}

/* What an operator can do about the endpoint. */
static const char *next_of(const struct status *s, const struct dispatch_status *d)
{
    if (!outbox_is_well(s->outbox))
        return "make room on its disk, or see in the log why it fails; it tries again by itself";
    return *d->next ? d->next : dispatch_next_text(d->endpoint.state);
}

/* Why the endpoint is not running, or why the store takes nothing, which is more serious. */
static const char *why_of(const struct status *s, const struct dispatch_status *d,
                          char ill[OUTBOX_WHY_BYTES])
{
    outbox_why_ill(s->outbox, ill);
    return *ill ? ill : d->endpoint.why;
}

static void put_next_at(struct buf *b, int64_t us)
{
    if (us > 0)
        put_time(b, "next_at", us);
    else
        put_text(b, "next_at", "");
}

/* Those that are not running, each with its reason. */
static void put_kinds(struct buf *b, const struct dispatch_status *d)
{
    term_put_atom(b, "kinds");
    if (d->kind_count > 0)
        term_put_list(b, (uint32_t)d->kind_count);
    for (size_t i = 0; i < d->kind_count; i++) {
        const struct dispatch_kind *k = &d->kinds[i];
        term_put_map(b, 6);
        put_text(b, "kind", k->name);
        put_text(b, "state", dispatch_state_text(k->scope.state));
        put_text(b, "why", k->scope.why);
        put_text(b, "next", dispatch_kind_next_text(k->scope.state));
        put_time(b, "since", k->scope.since_us);
        put_next_at(b, k->scope.next_us);
    }
    term_put_nil(b);
}

/* The first documents that are refused, failing or on trial; none if ids must not be shown.
 */
static void put_documents(struct buf *b, const struct dispatch_status *d, bool with_ids)
{
    size_t count = with_ids ? d->note_count : 0;

    term_put_atom(b, "documents");
    if (count > 0)
        term_put_list(b, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        term_put_map(b, 2);
        put_text(b, "document_id", d->notes[i].id);
        put_text(b, "why", d->notes[i].why);
    }
    term_put_nil(b);
}

void status_put_sentence(const struct status *s, struct buf *b)
{
    struct dispatch_status d;
    char since[32], ill[OUTBOX_WHY_BYTES];

    dispatch_status(s->dispatch, &d);
    time_text_put(d.endpoint.since_us, since);
    buf_printf(b, "%s since %.19sZ", dispatch_state_text(d.endpoint.state), since);
    if (d.endpoint.why[0] != '\0')
        buf_printf(b, ": %s", d.endpoint.why);
    outbox_why_ill(s->outbox, ill);
    if (*ill)
        buf_printf(b, "; the store fails, nothing is taken: %s", ill);
    if (*next_of(s, &d))
        buf_printf(b, "; next: %s", next_of(s, &d));
    buf_printf(b, "; %llu pending, %llu dead letters, sink %s",
               (unsigned long long)metric_get(METRIC_PENDING),
               (unsigned long long)metric_get(METRIC_DEAD), s->sink);
}

/* What is doubtful: how much, since when and why, and the first documents that no event log can
 * project again. */
static void put_doubt(struct buf *b, const struct destination_known *k,
                      const struct doubtful_count *n, bool with_ids)
{
    uint32_t ids = with_ids ? (uint32_t)n->id_count : 0;

    term_put_atom(b, "doubt");
    if (!k->has_doubt) {
        term_put_atom(b, "nil");
        return;
    }
    term_put_map(b, 7);
    put_text(b, "why", k->doubt_why);
    put_time(b, "since", k->doubt_since_us);
    put_flag(b, "counted", n->is_whole);
    put_flag(b, "swept", k->is_swept);
    put_count(b, "documents", (int64_t)n->logged);
    put_count(b, "documents_without_log", (int64_t)n->unlogged);
    term_put_atom(b, "first_without_log");
    if (ids > 0)
        term_put_list(b, ids);
    for (uint32_t i = 0; i < ids; i++)
        term_put_text(b, n->ids[i]);
    term_put_nil(b);
}

/* The destination of the store, and how much of what may be lost there was sent again. */
static void put_destination(const struct status *s, struct buf *b, bool with_ids)
{
    struct destination_known k;
    struct doubtful_count n;
    struct sweeps_shown sweep;

    outbox_destination(s->outbox, &k);
    outbox_doubtful(s->outbox, &n);
    sweeps_show(s->sweeps, &sweep);
    term_put_atom(b, "destination");
    term_put_map(b, 8);
    put_text(b, "sink", k.sink);
    put_text(b, "address", k.address);
    put_text(b, "deployment", k.deployment);
    put_text(b, "store_id", k.store_id);
    put_count(b, "mark", (int64_t)k.mark);
    put_doubt(b, &k, &n, with_ids);
    put_text(b, "swept_by", sweep.vm);
    term_put_atom(b, "eta_s");
    if (sweep.eta_s >= 0)
        term_put_integer(b, sweep.eta_s);
    else
        term_put_atom(b, "nil");
}

static void put_map(const struct status *s, bool with_ids, struct buf *b)
{
    struct dispatch_status d;
    char ill[OUTBOX_WHY_BYTES];

    dispatch_status(s->dispatch, &d);
    term_put_map(b, 30);
    put_text(b, "node", s->node);
    put_text(b, "version", SIDECAR_VERSION);
    term_put_atom(b, "pid");
    term_put_integer(b, getpid());
    put_time(b, "started_at", s->started_us);
    put_text(b, "state", dispatch_state_text(d.endpoint.state));
    put_time(b, "since", d.endpoint.since_us);
    put_text(b, "why", why_of(s, &d, ill));
    put_text(b, "next", next_of(s, &d));
    put_next_at(b, d.endpoint.next_us);
    put_kinds(b, &d);
    put_documents(b, &d, with_ids);
    put_count(b, "documents_alone", d.troubled);
    put_count(b, "documents_searched", d.sought);
    put_count(b, "calls_overdue", d.overdue);
    put_destination(s, b, with_ids);
    put_text(b, "sink", s->sink);
    put_text(b, "base_url", s->base_url);
    put_flag(b, "batching", s->batch_mutation[0] != '\0');
    put_text(b, "batch_mutation", s->batch_mutation);
    put_peer(b, &d.peer);
    put_text(b, "store", s->store);
    put_text(b, "sandbox", s->sandbox);
    put_flag(b, "draining", control_is_draining(s->control));
    put_flag(b, "published", s->dist && dist_is_published(s->dist));
    put_flag(b, "store_ok", outbox_is_well(s->outbox));
    put_latencies(b);
    put_by_kind(b);
    put_metrics(b);
}

void status_put_term(const struct status *s, struct buf *b)
{
    put_map(s, true, b);
}

/* ---- what a change of is told ---------------------------------------------------- */

void status_stand(const struct status *s, struct status_stand *stand)
{
    struct dispatch_status d;
    struct destination_known k;

    dispatch_status(s->dispatch, &d);
    outbox_destination(s->outbox, &k);
    memset(stand, 0, sizeof *stand);
    stand->endpoint = d.endpoint.state;
    stand->is_well = outbox_is_well(s->outbox);
    stand->is_mending = k.has_doubt;
    for (size_t i = 0; i < d.kind_count; i++) {
        memcpy(stand->kinds[i].name, d.kinds[i].name, strlen(d.kinds[i].name));
        stand->kinds[i].state = d.kinds[i].scope.state;
    }
}

static void put_mending(struct buf *b, const struct destination_known *k)
{
    term_put_atom(b, "mending");
    if (!k->has_doubt) {
        term_put_atom(b, "nil");
        return;
    }
    term_put_map(b, 2);
    put_text(b, "why", k->doubt_why);
    put_time(b, "since", k->doubt_since_us);
}

void status_put_stand(const struct status *s, int64_t number, struct buf *b)
{
    struct dispatch_status d;
    struct destination_known k;

    dispatch_status(s->dispatch, &d);
    outbox_destination(s->outbox, &k);
    term_put_map(b, 8);
    put_count(b, "number", number);
    put_text(b, "state", dispatch_state_text(d.endpoint.state));
    put_text(b, "why", d.endpoint.why);
    put_text(b, "next", next_of(s, &d));
    put_time(b, "since", d.endpoint.since_us);
    put_flag(b, "store_ok", outbox_is_well(s->outbox));
    put_kinds(b, &d);
    put_mending(b, &k);
}

struct peer_list {
    struct buf items;
    uint32_t count;
};

static void put_peer_map(void *arg, const struct dist_peer *peer)
{
    struct peer_list *l = arg;

    term_put_map(&l->items, 4);
    put_text(&l->items, "node", peer->node);
    put_text(&l->items, "address", peer->address);
    put_time(&l->items, "since", peer->since_us);
    put_count(&l->items, "calls", (int64_t)peer->calls);
    l->count++;
}

void status_put_peers(const struct status *s, struct buf *b)
{
    struct peer_list l = {0};

    if (s->dist != NULL)
        dist_each_peer(s->dist, put_peer_map, &l);
    if (l.count > 0)
        term_put_list(b, l.count);
    buf_slice(b, buf_view(&l.items));
    term_put_nil(b);
    buf_free(&l.items);
}

void status_put_json(const struct status *s, struct buf *b)
{
    struct buf map = {0};
    struct fault fault;

    put_map(s, s->details, &map);
    enum err e = json_put_term(b, map.data, JSON_SHOWN, NULL, &fault);
    POST(e == ERR_OK);
    buf_free(&map);
}

struct letter_list {
    struct buf items;
    uint32_t count;
};

static bool put_letter(void *arg, const struct dead_letter *d)
{
    struct letter_list *l = arg;

    term_put_map(&l->items, 5);
    term_put_atom(&l->items, "document_id");
    term_put_binary(&l->items, d->id);
    term_put_atom(&l->items, "why");
    term_put_binary(&l->items, d->why);
    put_time(&l->items, "died_at", d->died_at_us);
    put_next_at(&l->items, d->next_try_us);
    put_count(&l->items, "attempts", d->attempts);
    return ++l->count < STATUS_LETTERS;
}

void status_put_letters_json(const struct status *s, struct buf *b)
{
    struct letter_list l = {0};
    struct buf list = {0};
    struct fault fault;

    if (s->details && s->letters != NULL)
        letters_each(s->letters, put_letter, &l);
    if (l.count > 0)
        term_put_list(&list, l.count);
    buf_slice(&list, buf_view(&l.items));
    term_put_nil(&list);
    enum err e = json_put_term(b, list.data, JSON_SHOWN, NULL, &fault);
    POST(e == ERR_OK);
    buf_free(&list);
    buf_free(&l.items);
}

/* A transient fault does not concern a load balancer until it has lasted. */
static bool is_held_up(const struct dispatch_scope *endpoint)
{
    return endpoint->state == DISPATCH_STOPPED || endpoint->state == DISPATCH_PAUSED ||
           (endpoint->state == DISPATCH_WAITING &&
            clock_wall_us() - endpoint->since_us > WAITING_READY_US);
}

bool status_is_ready(const struct status *s, struct buf *why)
{
    struct dispatch_status d;
    char ill[OUTBOX_WHY_BYTES];

    dispatch_status(s->dispatch, &d);
    outbox_why_ill(s->outbox, ill);
    if (*ill)
        buf_printf(why, "the store fails, nothing is taken: %s\n", ill);
    if (control_is_draining(s->control))
        buf_str(why, "draining: nothing new is taken\n");
    if (s->dist == NULL || !dist_is_published(s->dist))
        buf_str(why, "epmd does not have the node's name: BEAM nodes cannot connect\n");
    if (is_held_up(&d.endpoint))
        buf_printf(why, "delivery is %s%s%s; next: %s\n", dispatch_state_text(d.endpoint.state),
                   *d.endpoint.why ? ": " : "", d.endpoint.why, next_of(s, &d));
    return why->len == 0;
}
