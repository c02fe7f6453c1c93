/*
 * shown.c - the state of delivery, for people: log lines and status.
 *
 * A state is shown as what it means for the documents: doubt that lasts a round trip is not shown;
 * doubt that lasts longer, for want of a control and of clean documents, is shown as waiting or
 * stopped.
 *
 * Runs on the delivery thread only.
 */

#include "delivery/delivery_inside.h"

#include "ground/clock.h"
#include "ground/log.h"
#include "ground/metrics.h"

#define LOG_EVERY_MS 10000 /* for an endpoint that alternately fails and recovers */

/* ---- states, for people -------------------------------------------------------- */

static const char *state_words[] = {"running", "running", "waiting", "stopped"};

static void log_endpoint(struct delivery *d, enum scope_state was)
{
    static const char *const events[] = {"dispatch.running", "dispatch.running", "dispatch.waiting",
                                         "dispatch.stopped"};
    static const enum log_level levels[] = {LOG_INFO, LOG_INFO, LOG_WARNING, LOG_ERROR};
    enum scope_state is = d->endpoint.state;
    char quoted[300];
    bool logged = true;

    if (is == SCOPE_WAITING)
        logged = d->is_waiting_logged = log_limited(&d->endpoint_logged_us, LOG_EVERY_MS);
    else if (is == SCOPE_RUNNING && was == SCOPE_WAITING)
        logged = d->is_waiting_logged;
    if (is != SCOPE_STOPPED && !logged)
        return;
    log_event(levels[is], events[is], "was=%s why=%s", state_words[was],
              log_quote(slice_str(d->endpoint.why), quoted, sizeof quoted));
}

static void log_kind(const struct kind_slot *k)
{
    char quoted[300], name[300];

    log_event(
        scope_is_bad(&k->scope) ? LOG_ERROR : LOG_INFO, "dispatch.kind", "kind=%s state=%s why=%s",
        log_quote(slice_of(k->name, k->name_len), name, sizeof name), state_words[k->scope.state],
        log_quote(slice_str(k->scope.why), quoted, sizeof quoted));
}

void delivery_moved(struct delivery *d, struct kind_slot *k, enum scope_state was)
{
    struct scope *s = k != NULL ? &k->scope : &d->endpoint;

    if (s->state == was)
        return;
    s->since_us = clock_wall_us();
    bool is_news = scope_is_bad(s) || was == SCOPE_WAITING || was == SCOPE_STOPPED;
    if (k == NULL && is_news)
        log_endpoint(d, was);
    else if (is_news)
        log_kind(k);
}

static bool is_shown_running(const struct scope *s)
{
    return s->state == SCOPE_RUNNING || (s->state == SCOPE_DOUBTED && s->failures < 2) ||
           (s->state == SCOPE_WAITING && s->failures == 0);
}

static enum dispatch_state shown_state(const struct scope *s)
{
    if (is_shown_running(s))
        return DISPATCH_RUNNING;
    if (s->state == SCOPE_DOUBTED) /* for long, as nothing ends the doubt */
        return s->last == VERDICT_REFUSED ? DISPATCH_STOPPED : DISPATCH_WAITING;
    return s->state == SCOPE_STOPPED ? DISPATCH_STOPPED : DISPATCH_WAITING;
}

static void show_scope(const struct delivery *d, const struct scope *s, struct dispatch_scope *out)
{
    int64_t left_us = s->until_us > d->now_us ? s->until_us - d->now_us : 0;

    out->state = shown_state(s);
    out->since_us = s->since_us;
    out->failures = s->failures;
    out->why[0] = '\0';
    out->next_us = 0;
    if (out->state == DISPATCH_RUNNING)
        return;
    snprintf(out->why, sizeof out->why, "%s", s->why);
    out->next_us = d->wall_us + left_us;
}

static void show_kinds(const struct delivery *d, struct dispatch_status *s)
{
    for (size_t i = 0; i < delivery_kind_slots(d); i++) {
        const struct kind_slot *k = &d->kinds[i];
        s->troubled += (unsigned)k->troubled.count;
        if (is_shown_running(&k->scope) || s->kind_count == DISPATCH_KINDS)
            continue;
        struct dispatch_kind *out = &s->kinds[s->kind_count++];
        snprintf(out->name, sizeof out->name, "%.60s", k->name != NULL ? k->name : "others");
        show_scope(d, &k->scope, &out->scope);
    }
}

/* A hold overrides the state of the endpoint, of which nothing new is heard meanwhile. */
static void show_hold(const struct delivery *d, struct dispatch_status *s)
{
    const char *why = d->options.held_why, *next = d->options.held_next;

    s->next[0] = '\0';
    if (!d->is_held)
        return;
    if (why == NULL) {
        why = peer_why(&d->peer);
        next = "convex_sidecar adopt, if this is the deployment that is meant; else put base_url "
               "right and restart";
    }
    s->endpoint.state = DISPATCH_STOPPED;
    s->endpoint.next_us = 0;
    snprintf(s->endpoint.why, sizeof s->endpoint.why, "%.199s", why);
    snprintf(s->next, sizeof s->next, "%s", next != NULL ? next : "");
}

void delivery_status(const struct delivery *d, struct dispatch_status *s)
{
    s->limit = d->pace.limit;
    s->in_flight = d->in_flight;
    s->overdue = d->overdue;
    s->sought = (unsigned)d->search.count;
    s->troubled = 0;
    s->kind_count = s->note_count = 0;
    show_scope(d, &d->endpoint, &s->endpoint);
    show_hold(d, s);
    show_kinds(d, s);
    for (size_t i = 0; i < DISPATCH_NOTES; i++)
        if (d->notes[i].document != 0) {
            struct dispatch_note *n = &s->notes[s->note_count++];
            memcpy(n->id, d->notes[i].id, sizeof n->id);
            memcpy(n->why, d->notes[i].why, sizeof n->why);
        }
}

/* ---- metrics ------------------------------------------------------------------- */

static bool has_changed(struct delivery *d)
{
    enum dispatch_state state = d->paused    ? DISPATCH_PAUSED
                                : d->is_held ? DISPATCH_STOPPED
                                             : shown_state(&d->endpoint);
    bool changed = !d->is_measured || d->measured != state;

    d->is_measured = true;
    d->measured = state;
    for (size_t i = 0; i < delivery_kind_slots(d); i++) {
        struct kind_slot *k = &d->kinds[i];
        changed = changed || k->measured != shown_state(&k->scope) ||
                  k->measured_troubled != k->troubled.count;
        k->measured = shown_state(&k->scope);
        k->measured_troubled = k->troubled.count;
    }
    return changed;
}

/* A configured kind of which no document was met yet counts as running. */
void delivery_measure(struct delivery *d)
{
    uint64_t states[METRIC_KINDS_MAX + 1][DISPATCH_PAUSED] = {0};
    uint64_t troubled[METRIC_KINDS_MAX + 1] = {0}, met[METRIC_KINDS_MAX + 1] = {0};

    if (!has_changed(d))
        return;
    metric_set(METRIC_STOPPED, !d->paused && d->measured == DISPATCH_STOPPED);
    for (unsigned s = 0; s <= DISPATCH_PAUSED; s++)
        metric_labelled_set(LABELLED_ENDPOINT_STATE, 0, s, d->measured == s);
    for (size_t i = 0; i < delivery_kind_slots(d); i++) {
        const struct kind_slot *k = &d->kinds[i];
        size_t no = metric_kind_no(k->name, k->name_len);
        met[no]++;
        states[no][k->measured]++;
        troubled[no] += k->measured_troubled;
    }
    for (size_t no = 0; metric_kind_name(no) != NULL; no++) {
        bool is_other = metric_kind_name(no + 1) == NULL;
        states[no][DISPATCH_RUNNING] += met[no] == 0 && !is_other;
        for (unsigned s = 0; s < DISPATCH_PAUSED; s++)
            metric_labelled_set(LABELLED_KIND_STATE, no, s, states[no][s]);
        metric_labelled_set(LABELLED_KIND_FAILING, no, 0, troubled[no]);
    }
}

static void show_place(const struct delivery *d, const struct entry *e,
                       struct dispatch_place *place)
{
    place->what = e->settlement != NULL              ? "under way"
                  : e->trouble.state != TROUBLE_NONE ? trouble_text(e->trouble.state)
                                                     : "waits";
    place->attempts = e->attempts;
    if (e->settlement == NULL && e->due_us > d->now_us)
        place->next_us = d->wall_us + (e->due_us - d->now_us);
    snprintf(place->why, sizeof place->why, "%.159s", e->why != NULL ? e->why : "");
}

void delivery_place(const struct delivery *d, uint64_t document, struct dispatch_place *place)
{
    const struct entry *e = known_find(d->known, document);

    *place = (struct dispatch_place){.what = "ahead"};
    if (e != NULL)
        show_place(d, e, place);
}

struct troubled_list {
    const struct delivery *delivery;
    struct dispatch_troubled *items;
    size_t count, max;
};

/* ${what}: NULL: as its trouble says. */
static void list(struct troubled_list *l, const struct entry *e, const char *what)
{
    for (; e != NULL && l->count < l->max; e = e->next) {
        struct dispatch_troubled *t = &l->items[l->count++];
        *t = (struct dispatch_troubled){.document = e->document, .no = e->no};
        show_place(l->delivery, e, &t->place);
        t->place.what = what != NULL ? what : trouble_text(e->trouble.state);
    }
}

size_t delivery_troubled(const struct delivery *d, struct dispatch_troubled *items, size_t max)
{
    struct troubled_list l = {.delivery = d, .items = items, .max = max};

    for (const struct call *c = d->flight; c != NULL; c = c->next)
        if (c->sort == CALL_SEARCH || c->sort == CALL_LONE)
            list(&l, c->entries.first, c->sort == CALL_SEARCH ? "searched for" : NULL);
    for (size_t i = 0; i < delivery_kind_slots(d); i++)
        list(&l, d->kinds[i].troubled.first, NULL);
    for (const struct group *g = d->search.first; g != NULL; g = g->next)
        list(&l, g->entries.first, "searched for");
    return l.count;
}
