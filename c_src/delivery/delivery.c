/*
 * delivery.c - one step of delivery: take what came, choose whose turn it is, send.
 *
 * The happy path: documents whose settlements are on disk are looked up once more, and as many
 * calls as may be under way are filled (load.c) and sent (E3).  Slots go in a cycle of four:
 * fresh, fresh, old, bulk or trouble; a turn that has nothing passes on.  Answers are taken in
 * answers.c.
 *
 * What can go wrong is judged in four places, each of which knows nothing of the others:
 *   scope.c    is the endpoint, or a kind, served at present?
 *   trouble.c  is this document at fault?
 *   search.c   which document of a call was it, or was it the size?
 *   pace.c     how many calls at once?
 * Here they are asked, in this order: an endpoint that is not running gets one trial at a time; a
 * kind that is not running is skipped, and gets one trial at a time; documents in trouble, halves
 * of groups and trials of kinds take a quarter of the slots; a call that is overdue takes none.
 *
 * Runs on the delivery thread only.
 */

#include "delivery/delivery_inside.h"

#include "ground/log.h"
#include "ground/metrics.h"

#define CALLS_A_STEP 64   /* then orders and answers are checked again */
#define SCANS_A_STEP 4096 /* records */
#define SOON_MAX     4096 /* documents, however fast the endpoint: the disk may be slower */

#define LIVE_ABOUT_US    1000000 /* after a call of the live lane */
#define BULK_REST        2       /* times what its last call took */
#define BULK_REST_MAX_US 1000000

#define SETTLE_LOOK_US     5000   /* between checks for settlements that were not announced ... */
#define SETTLE_LOOK_MAX_US 250000 /* ... doubling up to this while the store is slow */

/* ---- open and close ----------------------------------------------------------- */

struct delivery *delivery_open(struct outbox *o, struct sink *sink,
                               const struct dispatch_options *options, uint64_t seed,
                               int64_t now_us, int64_t wall_us)
{
    struct delivery *d = base_alloc(sizeof *d);
    struct pace_options pace = {.max_limit = options->max_in_flight,
                                .backoff_min_ms = options->backoff_min_ms,
                                .backoff_max_ms = options->backoff_max_ms};

    d->outbox = o;
    d->sink = sink;
    d->options = *options;
    d->scopes = (struct scope_options){.backoff = pace, .probe_ms = options->probe_ms};
    d->is_single = sink->max_documents == 1;
    d->random = ~seed;
    pace_init(&d->pace, &pace);
    d->kinds[DELIVERY_KINDS_MAX].spacing = spacing_new(1000 * options->min_interval_ms);
    d->known = known_new();
    cursors_init(&d->cursors, outbox_reader_open(o));
    peer_init(&d->peer, o, sink, options->address != NULL ? options->address : "",
              1000 * options->mark_ms, options->stops_at_new);
    d->is_held = options->held_why != NULL || peer_holds(&d->peer);
    d->unsettled_end = &d->unsettled;
    d->now_us = now_us;
    d->wall_us = wall_us;
    d->control_us = now_us - CONTROL_EVERY_US;
    d->live_us = now_us - LIVE_ABOUT_US;
    scope_begin(&d->endpoint, SCOPE_WAITING, "", wall_us);
    return d;
}

void delivery_close(struct delivery *d)
{
    if (d == NULL)
        return;
    PRE(d->in_flight == 0);
    struct entries rest = {0};
    search_end(&d->search, &rest);
    while (d->unsettled != NULL) {
        struct unsettled *next = d->unsettled->next;
        free(d->unsettled);
        d->unsettled = next;
    }
    for (size_t i = 0; i <= DELIVERY_KINDS_MAX; i++) {
        free(d->kinds[i].name);
        spacing_free(d->kinds[i].spacing);
    }
    agenda_free(&d->agenda);
    known_free(d->known);
    outbox_reader_close(d->cursors.reader);
    free(d);
}

/* ---- kinds --------------------------------------------------------------------- */

/* Slots in use; the one for all other kinds comes after the last. */
size_t delivery_kind_slots(const struct delivery *d)
{
    return d->kind_count + (d->kind_count == DELIVERY_KINDS_MAX);
}

static bool is_named(const struct kind_slot *k, struct slice name)
{
    return k->name_len == name.len && memcmp(k->name, name.data, name.len) == 0;
}

static int64_t interval_us(const struct dispatch_options *o, struct slice kind)
{
    int64_t own_ms = o->interval_ms != NULL ? o->interval_ms(o->interval_arg, kind) : -1;

    return 1000 * (own_ms >= 0 ? own_ms : o->min_interval_ms);
}

struct kind_slot *delivery_kind(struct delivery *d, struct slice name)
{
    if (d->kind_last < d->kind_count && is_named(&d->kinds[d->kind_last], name))
        return &d->kinds[d->kind_last];
    for (size_t i = 0; i < d->kind_count; i++)
        if (is_named(&d->kinds[i], name)) {
            d->kind_last = i;
            return &d->kinds[i];
        }
    if (d->kind_count == DELIVERY_KINDS_MAX)
        return &d->kinds[DELIVERY_KINDS_MAX];
    struct kind_slot *k = &d->kinds[d->kind_count++];
    k->name = base_strndup(name.data, name.len);
    k->name_len = name.len;
    k->spacing = spacing_new(interval_us(&d->options, name));
    return k;
}

struct evidence delivery_evidence(const struct delivery *d, const struct kind_slot *k)
{
    uint64_t kind = k->scope.proven, endpoint = d->endpoint.proven;

    return (struct evidence){
        .accepted = k->written, .proven = kind > endpoint ? kind : endpoint, .now = d->ordinal};
}

bool delivery_is_open(const struct kind_slot *k)
{
    return k->scope.state == SCOPE_RUNNING && !k->is_full;
}

void delivery_skip(struct delivery *d, struct kind_slot *k, uint64_t no)
{
    struct range *r = &k->skipped[no >= LANE_LIVE];

    d->is_stirred = d->is_stirred || r->low == 0; /* it may be the trial */
    if (r->low == 0 || no < r->low)
        r->low = no;
    if (no > r->high)
        r->high = no;
}

/* ---- where entries go ---------------------------------------------------------- */

void delivery_postpone(struct delivery *d, struct entry *e, int64_t due_us)
{
    e->due_us = due_us;
    agenda_push(&d->agenda, e);
    d->is_stirred = d->is_stirred || due_us <= d->now_us;
}

void delivery_trouble(struct delivery *d, struct entry *e, int64_t due_us)
{
    struct kind_slot *k = &d->kinds[e->kind];

    e->due_us = due_us;
    entries_append(&k->troubled, e);
    k->is_quiet = false;
    if (k->quiet_until_us <= d->now_us || due_us < k->quiet_until_us)
        k->quiet_until_us = due_us;
    d->is_stirred = d->is_stirred || due_us <= d->now_us;
    k->is_full = k->troubled.count >= DELIVERY_TROUBLED_MAX;
}

void delivery_forget(struct delivery *d, struct entry *e)
{
    for (size_t i = 0; i < DISPATCH_NOTES; i++)
        if (d->notes[i].document == e->document)
            d->notes[i].document = 0;
    known_drop(d->known, e);
}

void delivery_hand_over(struct delivery *d, struct entries *entries, struct settlement *first)
{
    if (first == NULL)
        return;
    struct unsettled *u = base_alloc(sizeof *u);
    entries_move(&u->entries, entries);
    *d->unsettled_end = u;
    d->unsettled_end = &u->next;
    u->ticket = outbox_settle(d->outbox, first);
}

/* ---- calls in flight ----------------------------------------------------------- */

unsigned delivery_in_flight(const struct delivery *d)
{
    return d->in_flight;
}

bool delivery_has_unsettled(const struct delivery *d)
{
    return d->unsettled != NULL;
}

static bool is_troubled_call(const struct call *c)
{
    return c->sort != CALL_PLAIN;
}

static void enter(struct delivery *d, struct call *c)
{
    c->prev = d->flight_last;
    if (d->flight_last != NULL)
        d->flight_last->next = c;
    else
        d->flight = c;
    d->flight_last = c;
    if (d->flight_timely == NULL)
        d->flight_timely = c;
    d->in_flight++;
    d->troubled_in_flight += is_troubled_call(c);
    c->is_beside_bulk = d->bulk_in_flight > 0;
    d->bulk_in_flight += c->is_bulk;
    if (c->sort == CALL_PLAIN && !c->is_bulk)
        d->live_us = d->now_us;
}

static int64_t bulk_rest_us(int64_t took_us)
{
    return took_us < BULK_REST_MAX_US / BULK_REST ? BULK_REST * took_us : BULK_REST_MAX_US;
}

void delivery_leave(struct delivery *d, struct call *c)
{
    if (d->flight_timely == c)
        d->flight_timely = c->next;
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        d->flight = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    else
        d->flight_last = c->prev;
    d->in_flight--;
    d->overdue -= c->is_overdue;
    d->troubled_in_flight -= is_troubled_call(c) && !c->is_overdue;
    d->bulk_in_flight -= c->is_bulk && !c->is_overdue;
    if (c->is_bulk)
        d->bulk_rest_end_us = d->now_us + bulk_rest_us(d->now_us - c->sent_us);
    if (d->search.call == c->ordinal)
        d->search.call = 0;
    if (d->control == c->ordinal)
        d->control = 0;
}

/* It no longer takes a slot, and no longer delays others. */
static void become_overdue(struct delivery *d, struct call *c)
{
    c->is_overdue = true;
    d->overdue++;
    d->troubled_in_flight -= is_troubled_call(c);
    d->bulk_in_flight -= c->is_bulk;
    d->flight_timely = c->next;
    if (d->search.call == c->ordinal)
        d->search.call = 0;
    if (d->control == c->ordinal)
        d->control = 0;
    scope_give_up(&d->endpoint, c->ordinal, &d->scopes, &d->random, d->now_us);
    if (c->trial_of != NULL)
        scope_give_up(&c->trial_of->scope, c->ordinal, &d->scopes, &d->random, d->now_us);
}

static void look_for_overdue(struct delivery *d)
{
    int64_t after_us = pace_overdue_us(&d->pace);

    while (d->flight_timely != NULL && d->overdue < d->pace.limit &&
           d->flight_timely->sent_us + after_us <= d->now_us)
        become_overdue(d, d->flight_timely);
}

void delivery_send(struct delivery *d, struct call *c)
{
    struct sink_call *sink_call = c->sink_call;

    c->sink_call = NULL;
    c->ordinal = ++d->ordinal;
    c->mark = peer_mark(&d->peer);
    c->sent_us = d->now_us;
    enter(d, c);
    if (c->is_trial)
        scope_try(&d->endpoint, c->ordinal);
    if (c->trial_of != NULL)
        scope_try(&c->trial_of->scope, c->ordinal);
    if (c->sort == CALL_SEARCH)
        d->search.call = c->ordinal;
    metric_add(METRIC_CALLS, 1);
    told_sent(c);
    if (!is_troubled_call(c) && !c->is_trial)
        pace_sent(&d->pace, d->in_flight - d->overdue);
    if (c->sort != CALL_CONTROL) {
        d->sink->ops->send(sink_call, answers_take, c);
        return;
    }
    d->control = c->ordinal;
    d->control_us = d->now_us;
    d->sink->ops->ask(d->sink, SINK_CONTROL,
                      c->control_for != NULL
                          ? slice_of(c->control_for->name, c->control_for->name_len)
                          : slice_str(""),
                      answers_take_control, c);
}

bool delivery_may_control(const struct delivery *d)
{
    return d->now_us >= d->no_control_until_us || d->no_control_of != peer_functions(&d->peer);
}

bool delivery_is_control_free(const struct delivery *d)
{
    return d->control == 0 && d->now_us >= d->control_us + CONTROL_EVERY_US;
}

/* Live documents arrive, and their calls take longer beside bulk calls than alone. */
static bool is_bulk_in_the_way(const struct delivery *d)
{
    int64_t alone_us = d->live_took_us[0], beside_us = d->live_took_us[1];

    return d->now_us - d->live_us < LIVE_ABOUT_US && alone_us > 0 &&
           beside_us > alone_us + alone_us / 2;
}

/* Where bulk is in the way it has a quarter of the slots, and rests after each call twice as long
 * as that took: an endpoint that serves one call at a time is busy with it a third of the time,
 * and most live documents find it free. */
bool delivery_may_bulk(const struct delivery *d)
{
    unsigned share = d->pace.limit / 4;

    if (d->endpoint.state != SCOPE_RUNNING || !is_bulk_in_the_way(d))
        return true;
    return d->bulk_in_flight < (share > 0 ? share : 1) && d->now_us >= d->bulk_rest_end_us;
}

/* ---- whose turn ------------------------------------------------------------------ */

void delivery_reload(struct delivery *d)
{
    struct fault fault = {0};
    char why[300];

    if (d->sink->ops->reload(d->sink, &fault) == ERR_OK) {
        d->is_reload_logged = false;
        return;
    }
    if (d->is_reload_logged)
        return;
    d->is_reload_logged = true;
    log_event(LOG_ERROR, "dispatch.reload_failed", "where=%s why=%s", fault.path,
              log_quote(slice_str(fault.why), why, sizeof why));
}

/* Half the batch for each failure in a row, if calls were too large; otherwise one document. */
static size_t trial_size(const struct delivery *d)
{
    const struct scope *s = &d->endpoint;
    size_t full = d->sink->max_documents, size = 1;

    if (s->failures == 0 && s->state == SCOPE_WAITING)
        return full;
    if (s->last == VERDICT_AGAIN && s->failures < 32)
        size = full >> s->failures;
    return size > 0 ? size : 1;
}

/* The trial of an endpoint that is not running: a control, a clean document, one of a group, or,
 * when the wait is over, the one tried longest ago. */
static struct call *load_trial(struct delivery *d)
{
    const struct scope *s = &d->endpoint;
    bool is_start = s->failures == 0 && s->state == SCOPE_WAITING;
    bool is_bad = scope_is_bad(s);
    struct call *c;

    if (!scope_may_try(s, d->now_us, false))
        return NULL;
    if (!is_start && delivery_may_control(d)) {
        c = d->control == 0 ? load_control(d, NULL) : NULL;
    } else {
        size_t size = trial_size(d);
        c = size == 1 ? load_newest(d) : NULL;
        if (c == NULL)
            c = load_plain(d, size, CURSOR_FRESH);
        if (c == NULL)
            c = load_any(d, scope_may_try(s, d->now_us, true));
    }
    if (c == NULL)
        return NULL;
    c->is_trial = true;
    c->is_proof = is_bad || c->sort != CALL_LONE || c->entries.first->trouble.state == TROUBLE_NONE;
    return c;
}

static bool has_troubled_slot(const struct delivery *d)
{
    unsigned share = d->pace.limit / 4;

    return d->troubled_in_flight < (share > 0 ? share : 1);
}

/* The search and each kind in turn. */
static struct call *load_from_trouble(struct delivery *d)
{
    size_t slots = delivery_kind_slots(d) + 1;
    struct call *c = NULL;

    if (!has_troubled_slot(d))
        return NULL;
    for (size_t i = 0; i < slots && c == NULL; i++) {
        size_t turn = d->troubled_turn++ % slots;
        struct kind_slot *k = &d->kinds[turn];
        if (turn == slots - 1)
            c = load_search(d);
        else if (k->scope.state != SCOPE_RUNNING)
            c = load_kind_trial(d, k);
        else if (k->troubled.count > 0)
            c = load_troubled(d, k);
    }
    return c;
}

/* Half of the slots for what is fresh, a quarter for what is old, a quarter for bulk and trouble. A
 * turn that has nothing passes on. */
static const struct turn {
    enum cursor first;
    bool is_troubles;
} turns[] = {{CURSOR_FRESH, false}, {CURSOR_FRESH, false}, {CURSOR_OLD, false},
             {CURSOR_BULK, true},   {CURSOR_FRESH, false}, {CURSOR_FRESH, false},
             {CURSOR_OLD, false},   {CURSOR_BULK, false}};

static bool may_send(const struct delivery *d)
{
    return !d->paused && !d->closing && !d->is_held && d->in_flight - d->overdue < d->pace.limit;
}

/* Make one call, if something is due.  If not, a document may have come to another place meanwhile
 * (is_stirred), where it is due. */
static bool send_next(struct delivery *d)
{
    struct call *c;

    d->is_stirred = false;
    if (d->endpoint.state != SCOPE_RUNNING) {
        c = load_trial(d);
    } else {
        const struct turn *turn = &turns[d->turn++ % (sizeof turns / sizeof *turns)];
        size_t max = d->sink->max_documents;
        c = turn->is_troubles ? load_from_trouble(d) : load_plain(d, max, turn->first);
        if (c == NULL)
            c = turn->is_troubles ? load_plain(d, max, turn->first) : load_from_trouble(d);
    }
    if (c == NULL)
        return false;
    if (d->endpoint.state == SCOPE_STOPPED || d->endpoint.state == SCOPE_DOUBTED)
        delivery_reload(d);
    delivery_send(d, c);
    return true;
}

/* Settlements are collected when delivery is woken, and otherwise now and then. */
static void collect(struct delivery *d)
{
    if (answers_collect(d) || d->unsettled == NULL)
        d->look_us = SETTLE_LOOK_US;
    else if (d->now_us < d->look_at_us)
        return;
    else if (d->look_us < SETTLE_LOOK_MAX_US)
        d->look_us *= 2;
    d->look_at_us = d->now_us + d->look_us;
}

/* The old cursor meets again what moved into the live lane at a place that was passed. */
static void look_at_moved(struct delivery *d)
{
    uint64_t no = outbox_take_moved(d->outbox);

    if (no != 0)
        cursors_rewind(&d->cursors, no);
}

static uint64_t sent_soon(const struct delivery *d)
{
    uint64_t calls = pace_calls_a_second(&d->pace), full = d->sink->max_documents;

    return calls < SOON_MAX / full ? calls * full : SOON_MAX;
}

static void look_at_peer(struct delivery *d)
{
    /* At the start it waits for its first trial, which there may be no document for. */
    bool is_untried = d->endpoint.state == SCOPE_WAITING && d->endpoint.failures == 0;
    bool may_ask = d->endpoint.state == SCOPE_RUNNING || is_untried || d->is_held;
    const struct peer_step step = {.is_open = !d->paused && !d->closing && may_ask,
                                   .ordinal = d->ordinal,
                                   .now_us = d->now_us,
                                   .wall_us = d->wall_us};

    peer_step(&d->peer, &step);
    d->is_held = d->options.held_why != NULL || peer_holds(&d->peer);
}

bool delivery_step(struct delivery *d, int64_t now_us, int64_t wall_us)
{
    unsigned sent = 0;

    d->now_us = now_us;
    d->wall_us = wall_us;
    d->scan_left = SCANS_A_STEP;
    d->cursors.soon = sent_soon(d);
    collect(d);
    look_at_moved(d);
    look_for_overdue(d);
    look_at_peer(d);
    while (sent < CALLS_A_STEP && may_send(d) && (send_next(d) || d->is_stirred))
        sent++;
    outbox_release(d->cursors.reader);
    delivery_measure(d);
    return sent == CALLS_A_STEP || (d->scan_left == 0 && may_send(d));
}

/* ---- when next --------------------------------------------------------------------- */

static void sooner(int64_t *next_us, int64_t at_us, int64_t now_us)
{
    if (at_us > now_us && at_us < *next_us)
        *next_us = at_us;
}

/* What is due already waits for something that comes by itself: an answer, a wake, the disk. */
int64_t delivery_next_us(const struct delivery *d, int64_t now_us)
{
    int64_t next_us = INT64_MAX;

    if (d->flight_timely != NULL)
        sooner(&next_us, d->flight_timely->sent_us + pace_overdue_us(&d->pace), now_us);
    if (d->unsettled != NULL)
        sooner(&next_us, d->look_at_us, now_us);
    if (d->is_held)
        sooner(&next_us, peer_next_us(&d->peer), now_us);
    if (d->paused || d->closing || d->is_held)
        return next_us;
    if (d->agenda.count > 0)
        sooner(&next_us, d->agenda.items[0]->due_us, now_us);
    if (d->endpoint.state != SCOPE_RUNNING)
        sooner(&next_us, d->endpoint.until_us, now_us);
    if (d->search.first != NULL)
        sooner(&next_us, d->search.first->ask_us, now_us);
    for (size_t i = 0; i < delivery_kind_slots(d); i++) {
        const struct kind_slot *k = &d->kinds[i];
        if (k->scope.state != SCOPE_RUNNING)
            sooner(&next_us, k->scope.until_us, now_us);
        if (k->troubled.count > 0)
            sooner(&next_us, k->quiet_until_us, now_us);
    }
    sooner(&next_us, d->control_us + CONTROL_EVERY_US, now_us);
    sooner(&next_us, d->bulk_rest_end_us, now_us);
    sooner(&next_us, peer_next_us(&d->peer), now_us);
    return next_us;
}

/* ---- orders ------------------------------------------------------------------------ */

void delivery_pause(struct delivery *d, bool paused)
{
    d->paused = paused;
}

void delivery_end(struct delivery *d)
{
    d->closing = true;
}

void delivery_try_now(struct delivery *d, int64_t now_us)
{
    scope_try_now(&d->endpoint, now_us);
    for (size_t i = 0; i < delivery_kind_slots(d); i++)
        scope_try_now(&d->kinds[i].scope, now_us);
    d->control_us = now_us - CONTROL_EVERY_US;
}

void delivery_adopt(struct delivery *d)
{
    d->options.held_why = NULL;
    peer_adopt(&d->peer);
}
