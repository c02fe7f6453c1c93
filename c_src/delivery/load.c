/*
 * load.c - filling calls.
 *
 * The happy path: a call is filled from the agenda (documents that wait for their interval) and the
 * cursors in turns, so that neither hot documents nor new ones can starve the other, until it is
 * full or nothing is left.
 *
 * What can go wrong, and the one thing done:
 *   a kind is not served     its documents are skipped; only the range they lie in is kept
 *   cannot be read           later: the store is being opened again
 *   cannot be sent           a dead letter at once, with the reason (gate.h)
 *   does not fit             it begins the next call
 *
 * Runs on the delivery thread only.
 */

#include "delivery/delivery_inside.h"

#include "ground/metrics.h"
#include "projection/gate.h"

#define WALK_MAX 256 /* records read for the trial of a kind */

static struct call *call_new(struct delivery *d, enum call_sort sort)
{
    struct call *c = base_alloc(sizeof *c);

    c->delivery = d;
    c->sort = sort;
    c->max_documents = SIZE_MAX;
    c->max_bytes = SIZE_MAX;
    return c;
}

/* NULL if nothing is in it. */
static struct call *call_or_nothing(struct call *c)
{
    if (c->entries.count > 0)
        return c;
    free(c);
    return NULL;
}

/* ---- reading ------------------------------------------------------------------- */

/* A dead letter without a call: E2 -> E4. */
static void bury_unsent(struct delivery *d, struct entry *e, const struct pending *document,
                        const struct fault *fault)
{
    struct settlement *s = settlement_new(document);
    struct entries one = {0};
    char why[400];

    snprintf(why, sizeof why,
             "it cannot be sent: its %.40s %.180s; put Convex right by hand if need be, then drop "
             "this letter",
             fault->path, fault->why);
    s->dead = true;
    s->why = base_strndup(why, strlen(why));
    s->attempts = e->attempts++;
    e->revision = document->version.revision;
    entries_append(&one, e);
    delivery_hand_over(d, &one, s);
}

/* Whether ${document} may go to the sink.  A store from before 0.1.1, or a bad disk, may hold one
 * that no call can carry; it must neither abort the process nor delay the others. */
static bool is_let_out(struct delivery *d, struct entry *e, const struct pending *document)
{
    struct fault fault;
    enum err err = gate_version(document->id, document->kind, document->version.op == OUTBOX_REMOVE,
                                document->json, document->version.projected_at_us, &fault);

    if (err != ERR_OK)
        bury_unsent(d, e, document, &fault);
    return err == ERR_OK;
}

void load_meet_newer(struct delivery *d, struct entry *e)
{
    struct evidence evidence = delivery_evidence(d, &d->kinds[e->kind]);

    e->attempts = 0;
    e->revision = 0;
    free(e->why);
    e->why = NULL;
    trouble_hear(&e->trouble, TROUBLE_NEWER, &evidence); /* never fatal */
}

/* Read the pending version of ${e}, which is in no list.  False: ${e} was put elsewhere. */
static bool read_again(struct delivery *d, struct entry *e, struct pending *document)
{
    enum err err = outbox_get(d->cursors.reader, e->no, document);

    if (err == ERR_STORE) {
        delivery_postpone(d, e, d->now_us + STORE_AGAIN_US);
        return false;
    }
    if (err != ERR_OK && entry_follow(e))
        return read_again(d, e, document);
    if (err != ERR_OK) {
        delivery_forget(d, e);
        return false;
    }
    if (e->revision != 0 && document->version.revision != e->revision)
        load_meet_newer(d, e);
    return is_let_out(d, e, document);
}

/* Put ${document} into ${c}; false: it does not fit any more. */
static bool put(struct call *c, struct entry *e, const struct pending *document)
{
    struct delivery *d = c->delivery;
    struct kind_slot *k = delivery_kind(d, document->kind);
    bool is_first = c->entries.count == 0;

    if (k->fits_documents != 0 && c->sort == CALL_PLAIN) {
        c->max_documents =
            c->max_documents < k->fits_documents ? c->max_documents : k->fits_documents;
        c->max_bytes = c->max_bytes < k->fits_bytes ? c->max_bytes : k->fits_bytes;
        c->is_limited = true;
    }
    if (!is_first &&
        (c->entries.count >= c->max_documents || c->bytes + document->json.len > c->max_bytes))
        return false;
    if (c->sink_call == NULL)
        c->sink_call = d->sink->ops->begin(d->sink);
    if (!d->sink->ops->add(c->sink_call, document)) {
        PRE(!is_first); /* the first document always fits */
        return false;
    }
    if (e->attempts > 0)
        metric_add(METRIC_RETRIED, 1);
    e->kind = (uint16_t)(k - d->kinds);
    e->attempts++;
    e->revision = document->version.revision;
    e->settlement = settlement_new(document);
    e->settlement->attempts = e->attempts;
    c->bytes += document->json.len;
    entries_append(&c->entries, e);
    spacing_wrote(k->spacing, document->id, d->now_us);
    return true;
}

/* ---- clean documents ------------------------------------------------------------ */

/* From the agenda; one in trouble, or of a kind that is not served, goes where it belongs. */
static struct entry *take_due(struct delivery *d, struct pending *document)
{
    while (d->agenda.count > 0 && d->agenda.items[0]->due_us <= d->now_us) {
        struct entry *e = agenda_pop(&d->agenda);
        struct kind_slot *k = &d->kinds[e->kind];
        if (e->trouble.state != TROUBLE_NONE) {
            delivery_trouble(d, e, d->now_us);
        } else if (!delivery_is_open(k)) {
            delivery_skip(d, k, e->no);
            if (e->then_no != 0)
                delivery_skip(d, k, e->then_no);
            delivery_forget(d, e);
        } else if (read_again(d, e, document)) {
            return e;
        }
    }
    return NULL;
}

/* ${document} becomes known.  One that failed alone, before a restart or before it died, travels
 * alone at first. */
static struct entry *know(struct delivery *d, struct kind_slot *k, const struct pending *document)
{
    struct entry *e = known_add(d->known, document->document, document->no);
    struct evidence evidence = delivery_evidence(d, k);
    int64_t left_us = document->next_try_us - d->wall_us;

    e->kind = (uint16_t)(k - d->kinds);
    e->attempts = document->attempts;
    evidence.now++; /* what was found bad before is no excuse */
    if (document->attempts > 0 || document->origin == ORIGIN_HEALED)
        trouble_hear(&e->trouble, TROUBLE_SOUGHT, &evidence); /* never fatal */
    if (document->attempts > 0 && left_us > 0 && left_us <= 1000 * d->options.backoff_max_ms)
        e->due_us = d->now_us + left_us;
    return e;
}

/* ${document} was met by a cursor; NULL: it is known, not served at present, or not due. */
static struct entry *meet(struct delivery *d, const struct pending *document)
{
    struct entry *e = known_find(d->known, document->document);

    if (e != NULL) {
        if (e->no != document->no)
            e->then_no = document->no;
        return NULL;
    }
    struct kind_slot *k = delivery_kind(d, document->kind);
    if (!delivery_is_open(k)) {
        delivery_skip(d, k, document->no);
        return NULL;
    }
    e = know(d, k, document);
    if (!is_let_out(d, e, document))
        return NULL;
    int64_t due_us = spacing_due_us(k->spacing, document->id, d->now_us);
    due_us = due_us > e->due_us ? due_us : e->due_us;
    if (e->trouble.state != TROUBLE_NONE)
        delivery_trouble(d, e, due_us);
    else if (due_us > d->now_us)
        delivery_postpone(d, e, due_us);
    else
        return e;
    return NULL;
}

static struct entry *scan(struct delivery *d, enum cursor which, struct pending *document)
{
    while (d->scan_left > 0 && known_count(d->known) < DELIVERY_KNOWN_MAX &&
           cursors_next(&d->cursors, which, d->wall_us, document)) {
        d->scan_left--;
        struct entry *e = meet(d, document);
        if (e != NULL)
            return e;
    }
    return NULL;
}

/* A call serves one lane, so that a user's change never waits in a large call of a sweep. */
static bool is_of_call(const struct call *c, enum cursor which)
{
    bool is_bulk = which == CURSOR_BULK;

    if (c->entries.count > 0)
        return c->is_bulk == is_bulk;
    return !is_bulk || delivery_may_bulk(c->delivery);
}

static struct entry *take_next(const struct call *c, enum cursor first, struct pending *document)
{
    struct delivery *d = c->delivery;
    struct entry *e = NULL;

    d->is_agendas_turn = !d->is_agendas_turn;
    if (d->is_agendas_turn)
        e = take_due(d, document);
    for (unsigned i = 0; e == NULL && i < CURSORS; i++) {
        enum cursor which = (enum cursor)((first + i) % CURSORS);
        if (is_of_call(c, which))
            e = scan(d, which, document);
    }
    if (e == NULL && !d->is_agendas_turn)
        e = take_due(d, document);
    return e;
}

struct call *load_plain(struct delivery *d, size_t max, enum cursor first)
{
    struct call *c = call_new(d, CALL_PLAIN);
    struct pending document;
    struct entry *e;

    while (c->entries.count < max && (e = take_next(c, first, &document)) != NULL) {
        if (c->entries.count == 0)
            c->is_bulk = e->no < LANE_LIVE;
        if (e->trouble.state != TROUBLE_NONE) {
            delivery_trouble(d, e, d->now_us); /* a newer version of one that was in trouble */
        } else if (!put(c, e, &document)) {
            delivery_postpone(d, e, d->now_us);
            break;
        }
    }
    return call_or_nothing(c);
}

/* ---- one document alone ---------------------------------------------------------- */

/* ${e} alone, which is in no list; NULL: not now, and it was put elsewhere. */
static struct call *load_alone(struct delivery *d, struct entry *e)
{
    struct pending document;

    if (!read_again(d, e, &document))
        return NULL;
    int64_t due_us = spacing_due_us(d->kinds[e->kind].spacing, document.id, d->now_us);
    if (due_us > d->now_us) {
        delivery_trouble(d, e, due_us);
        return NULL;
    }
    struct call *c = call_new(d, CALL_LONE);
    if (e->trouble.state == TROUBLE_TRIAL && delivery_may_control(d)) {
        c->sink_call = d->sink->ops->begin(d->sink);
        (void)d->sink->ops->add_control(c->sink_call, document.kind);
    }
    (void)put(c, e, &document); /* the first always fits */
    return c;
}

/* Whether ${e}, of a kind that is served, may be sent now; it is refreshed. */
static bool is_ready(struct delivery *d, struct kind_slot *k, struct entry *e)
{
    struct evidence evidence = delivery_evidence(d, k);
    enum trouble_state was = e->trouble.state;

    trouble_refresh(&e->trouble, &evidence);
    if (e->trouble.state != was)
        e->due_us = d->now_us;
    return e->due_us <= d->now_us;
}

/* Those that may be sent, the one tried longest ago first. */
struct call *load_troubled(struct delivery *d, struct kind_slot *k)
{
    size_t left = k->troubled.count;
    int64_t quiet_until_us = INT64_MAX;

    if (k->is_quiet && d->now_us < k->quiet_until_us)
        return NULL;
    for (; left > 0 && k->troubled.count > 0; left--) {
        struct entry *e = entries_pop(&k->troubled);
        struct call *c = NULL;
        bool ready = is_ready(d, k, e);
        if (e->trouble.state == TROUBLE_NONE) {
            delivery_postpone(d, e, d->now_us);
            continue;
        }
        if (ready && e->trouble.state == TROUBLE_REFUSED && delivery_may_control(d)) {
            /* it waits for a witness, and none came */
            ready = false;
            if (delivery_is_control_free(d))
                c = load_control(d, k);
            e->due_us = d->now_us + CONTROL_EVERY_US;
        }
        if (ready)
            c = load_alone(d, e);
        else
            entries_append(&k->troubled, e);
        if (c != NULL)
            return c;
        if (k->troubled.last == e && e->due_us < quiet_until_us) /* it stays */
            quiet_until_us = e->due_us;
    }
    k->is_quiet = true;
    k->quiet_until_us = quiet_until_us;
    return NULL;
}

/* ---- trials ------------------------------------------------------------------------ */

/* ${no} is a pending document of ${k} that is not known: it becomes an entry. */
static struct entry *adopt(struct delivery *d, struct kind_slot *k, const struct pending *document)
{
    if (delivery_kind(d, document->kind) != k || known_find(d->known, document->document) != NULL)
        return NULL;
    struct entry *e = know(d, k, document);
    if (e->trouble.state == TROUBLE_NONE)
        return e;
    delivery_trouble(d, e, e->due_us); /* it would prove nothing */
    return NULL;
}

/* A document that the cursors skipped in a lane: the newest, or the first one found. */
static struct entry *take_from(struct delivery *d, struct kind_slot *k, struct range *r)
{
    struct pending document;
    struct entry *e = NULL;

    if (r->low == 0)
        return NULL;
    if (outbox_get(d->cursors.reader, r->high, &document) == ERR_OK)
        e = adopt(d, k, &document);
    for (int i = 0; e == NULL && i < WALK_MAX; i++) {
        if (!outbox_next_no(d->cursors.reader, r->low - 1, &document) || document.no > r->high) {
            *r = (struct range){0};
            return NULL;
        }
        e = adopt(d, k, &document);
        r->low = document.no + 1;
        if (r->low > r->high)
            r->high = r->low;
    }
    if (e != NULL && e->no < r->low)
        r->low = e->no;
    return e;
}

static struct entry *take_skipped(struct delivery *d, struct kind_slot *k)
{
    struct entry *e = take_from(d, k, &k->skipped[1]);

    return e != NULL ? e : take_from(d, k, &k->skipped[0]);
}

/* The newest of all, if it is clean: the first ones are likely to fail as their neighbours did.
 */
struct call *load_newest(struct delivery *d)
{
    struct pending document;
    struct entry *e = NULL;
    uint64_t no = outbox_last(d->cursors.reader);

    if (no > 0 && outbox_get(d->cursors.reader, no, &document) == ERR_OK) {
        struct kind_slot *k = delivery_kind(d, document.kind);
        if (delivery_is_open(k))
            e = adopt(d, k, &document);
    }
    return e != NULL ? load_alone(d, e) : NULL;
}

struct call *load_kind_trial(struct delivery *d, struct kind_slot *k)
{
    struct call *c = NULL;
    struct entry *e;

    if (!scope_may_try(&k->scope, d->now_us, false))
        return NULL;
    if ((e = take_skipped(d, k)) != NULL) {
        c = load_alone(d, e);
        if (c != NULL)
            c->is_proof = true;
    } else if (delivery_may_control(d)) {
        if (d->control == 0)
            c = load_control(d, k);
    } else if (scope_may_try(&k->scope, d->now_us, true) &&
               (e = entries_pop(&k->troubled)) != NULL) {
        c = load_alone(d, e);
        if (c != NULL)
            c->is_proof = scope_is_bad(&k->scope);
    }
    if (c != NULL)
        c->trial_of = k;
    return c;
}

/* One document, alone, of a group that could not be searched yet. */
static struct call *load_one_of_group(struct delivery *d)
{
    struct entry *e = search_take_one(&d->search);
    struct evidence evidence = delivery_evidence(d, &d->kinds[e->kind]);

    trouble_hear(&e->trouble, TROUBLE_SOUGHT, &evidence); /* never fatal */
    return load_alone(d, e);
}

/* For the trial of the endpoint, when no document of a kind that is served is clean: one of a
 * group, one that was skipped, or the one tried longest ago, kind by kind. */
struct call *load_any(struct delivery *d, bool may_have_failed)
{
    struct call *c = NULL;
    size_t slots = delivery_kind_slots(d);

    while (c == NULL && may_have_failed && d->search.first != NULL)
        c = load_one_of_group(d);
    for (size_t i = 0; c == NULL && i < slots; i++) {
        struct kind_slot *k = &d->kinds[d->troubled_turn++ % slots];
        struct entry *e = take_skipped(d, k);
        if (e == NULL && may_have_failed)
            e = entries_pop(&k->troubled);
        if (e != NULL)
            c = load_alone(d, e);
    }
    return c;
}

struct call *load_control(struct delivery *d, struct kind_slot *k)
{
    struct call *c = call_new(d, CALL_CONTROL);

    c->control_for = c->trial_of = k;
    c->is_proof = true;
    return c;
}

/* ---- the search ---------------------------------------------------------------------- */

/* Nothing was accepted since the first group's fault was heard: send a control, or a document. */
static struct call *ask_for_group(struct delivery *d)
{
    struct group *g = d->search.first;

    if (d->now_us < g->ask_us)
        return NULL;
    if (delivery_may_control(d)) {
        if (!delivery_is_control_free(d))
            return NULL;
        g->ask_us = d->now_us + SEARCH_WAIT_US;
        struct call *c = load_control(d, NULL);
        c->is_trial = true;
        return c;
    }
    g->ask_us = d->now_us + SEARCH_WAIT_US;
    return load_one_of_group(d);
}

/* The half that is next.  What is no longer pending is left out; what does not fit stays. */
static struct call *load_half(struct delivery *d)
{
    struct call *c = call_new(d, CALL_SEARCH);
    struct entries half = {0};
    struct pending document;
    struct entry *e;

    c->whole = search_take(&d->search, &half);
    while ((e = entries_pop(&half)) != NULL)
        if (read_again(d, e, &document) && !put(c, e, &document)) {
            struct entries rest = {0};
            entries_append(&rest, e);
            entries_move(&rest, &half);
            search_put_back(&d->search, &rest, c->whole);
        }
    return call_or_nothing(c);
}

struct call *load_search(struct delivery *d)
{
    struct call *c = NULL;

    while (c == NULL && d->search.first != NULL && d->search.call == 0) {
        struct group *g = d->search.first;
        if (g->entries.count == 1)
            c = load_one_of_group(d);
        else if (g->is_half)
            c = load_half(d);
        else if (d->endpoint.accepted > g->heard)
            search_split(&d->search);
        else if (!search_brother_first(&d->search))
            return ask_for_group(d);
    }
    return c;
}
