/*
 * projection_prepare.c - the first half for a row and its events: what a request brings, rendered.
 *
 * The happy path: each column of the row that the kind names becomes a piece of
 * JSON, so do the last event's type and time; of the other events only their
 * number remains.  The second half (projection_finish.c) assembles them with
 * what only the past can tell.
 *
 * What can go wrong: the request breaks a rule or its events have a hole.  The
 * fault says where and why, the draft is freed, nothing has changed anywhere.
 *
 * Runs on the thread that read the message; terms are borrowed until return.
 */

#include "json/json.h"
#include "projection/draft.h"
#include "projection/fold.h"
#include "projection/gate.h"
#include "projection/projection.h"

#define NO_EVENTS "must be a proper list of maps"

/* The path so far is that inside the value: prepend the value's name. */
static enum err refuse_within(struct fault *fault, const char *name)
{
    json_path_key(fault, slice_str(name));
    return ERR_INVALID;
}

/* ---- the row ------------------------------------------------------------- */

struct columns {
    term values[KIND_MAX_FIELDS];
    term latest_seq;
};

static term *find_column(const struct kind *k, struct columns *c, struct slice name)
{
    if (name.len == 0)
        return NULL;
    for (size_t i = 0; i < k->field_count; i++) {
        const struct kind_field *f = &k->fields[i];
        if (f->name_len == name.len && memcmp(f->name, name.data, name.len) == 0)
            return &c->values[i];
    }
    return slice_is(name, "latest_seq") ? &c->latest_seq : NULL;
}

static enum err find_columns(const struct kind *k, term row, struct columns *c, struct fault *fault)
{
    *c = (struct columns){0};
    if (term_type(row) != TERM_MAP)
        return fault_say(fault, "", "the row must be a map, not a %s",
                         term_type_name(term_type(row)));
    uint32_t pairs = term_arity(row);
    term key = term_items(row);
    for (uint32_t i = 0; i < pairs; i++) {
        term value = term_next(key);
        struct slice name = term_text(key);
        term *column = name.data ? find_column(k, c, name) : NULL;
        if (column != NULL && *column != NULL) {
            fault_at(fault, "%.*s", SLICE_ARG(name));
            return fault_say(fault, NULL, "is there twice, as atom and as binary");
        }
        if (column != NULL)
            *column = value;
        key = term_next(value);
    }
    return ERR_OK;
}

static enum err put_field(struct draft *d, size_t i, term value, struct fault *fault)
{
    const struct kind_field *field = &d->kind->fields[i];
    struct json_weight weight;
    size_t at = d->text.len;

    if (value == NULL || term_is_nil_atom(value)) {
        buf_str(&d->text, field->is_map ? "{}" : "null");
        d->fields[i] = (struct piece){at, d->text.len - at, field->is_map ? 2 : 1};
        return ERR_OK;
    }
    if (json_put_term(&d->text, value, JSON_CONVEX, &weight, fault) != ERR_OK)
        return refuse_within(fault, field->name);
    if (weight.nesting >= JSON_MAX_NESTING) /* the document itself is one level */
        return fault_say(fault, field->name, "nested %u levels deep, Convex takes %d here",
                         weight.nesting, JSON_MAX_NESTING - 1);
    if (field->is_map && (term_type(value) != TERM_MAP || d->text.data[at] != '{'))
        return fault_say(fault, field->name, "must be a map");
    d->fields[i] = (struct piece){at, d->text.len - at, weight.bytes};
    return ERR_OK;
}

static enum err put_row(struct draft *d, term row, struct fault *fault)
{
    struct columns c;
    enum err e = find_columns(d->kind, row, &c, fault);
    for (size_t i = 0; e == ERR_OK && i < d->kind->field_count; i++)
        e = put_field(d, i, c.values[i], fault);
    if (e != ERR_OK)
        return e;
    /* counts only while there is no event; the runtime's rows may well have none or nil */
    if (c.latest_seq != NULL && term_integer(c.latest_seq, &d->seq) && !draft_is_seq(d->seq))
        return fault_say(fault, "latest_seq", "must be from 0 to 2^53 - 1");
    return ERR_OK;
}

/* ---- the events ------------------------------------------------------------ */

static enum err refuse_event(struct fault *fault, uint32_t i, const char *key, const char *why)
{
    fault_at(fault, "events[%u]%s", i, key);
    return fault_say(fault, NULL, "%s", why);
}

/* The members of an event that are used; NULL: missing. */
struct event {
    term seq, type, at;
};

/* Returns the term after the event. */
static term find_event(term map, struct event *event)
{
    term key = term_items(map);

    *event = (struct event){0};
    for (uint32_t pairs = term_arity(map); pairs > 0; pairs--) {
        term value = term_next(key);
        if (event->seq == NULL && term_is_text(key, "seq"))
            event->seq = value;
        else if (event->type == NULL && term_is_text(key, "event_type"))
            event->type = value;
        else if (event->at == NULL && term_is_text(key, "inserted_at"))
            event->at = value;
        key = term_next(value);
    }
    return key;
}

static enum err next_seq(struct draft *d, uint32_t i, term t, struct fault *fault)
{
    int64_t seq;
    if (t == NULL || !term_integer(t, &seq) || seq < 1 || !draft_is_seq(seq))
        return refuse_event(fault, i, ".seq", "must be an integer from 1 to 2^53 - 1");
    if (i == 0) {
        d->first_seq = d->last_seq = seq;
        return ERR_OK;
    }
    if (seq <= d->last_seq)
        return refuse_event(fault, i, ".seq", "events must ascend");
    if (seq > d->last_seq + 1) {
        refuse_event(fault, i, ".seq", "events are missing in front of this one");
        fault->expected = d->last_seq + 1;
        fault->got = seq;
        return ERR_GAP;
    }
    d->last_seq = seq;
    return ERR_OK;
}

/* Render ${t}, which must come out as a string (or null), as ${p}. */
static enum err put_event_text(struct draft *d, term t, bool may_be_null, struct piece *p,
                               struct fault *fault)
{
    size_t at = d->text.len;
    enum err e = json_put_term(&d->text, t, JSON_PLAIN, NULL, fault);
    if (e != ERR_OK)
        return e;
    *p = draft_since(d, at);
    bool is_string = d->text.data[at] == '"';
    if (!is_string && !(may_be_null && slice_is(draft_view(d, *p), "null")))
        return fault_say(fault, "", may_be_null ? "must be a time or text" : "must be text");
    if (p->len > FOLD_MAX_TEXT)
        return fault_say(fault, "", "longer than %d bytes", FOLD_MAX_TEXT);
    return ERR_OK;
}

static enum err put_event_key(struct draft *d, uint32_t i, term t, const char *key, struct piece *p,
                              struct fault *fault)
{
    bool is_time = p == &d->event_at;

    if (t == NULL && is_time) {
        *p = draft_put_raw(d, slice_str("null"));
        return ERR_OK;
    }
    bool is_wrong =
        t == NULL || (!is_time && term_type(t) != TERM_BINARY && term_type(t) != TERM_ATOM);
    if (is_wrong)
        fault_say(fault, "", "must be text");
    if (!is_wrong && put_event_text(d, t, is_time, p, fault) == ERR_OK)
        return ERR_OK;
    json_path_key(fault, slice_str(key));
    json_path_index(fault, i);
    return refuse_within(fault, "events");
}

/* All are checked, though only the last is shown: the same events in other portions must have the
 * same result. */
static enum err put_events(struct draft *d, term events, struct fault *fault)
{
    enum term_type type = term_type(events);
    if (type == TERM_NIL)
        return ERR_OK;
    if (type != TERM_LIST)
        return fault_say(fault, "events", NO_EVENTS);
    uint32_t count = term_arity(events);
    size_t start = d->text.len;
    term at = term_items(events);
    for (uint32_t i = 0; i < count; i++) {
        struct event event;
        if (term_type(at) != TERM_MAP)
            return refuse_event(fault, i, "", "must be a map");
        at = find_event(at, &event);
        d->text.len = start; /* the text of the event before is not needed */
        enum err e = next_seq(d, i, event.seq, fault);
        if (e == ERR_OK)
            e = put_event_key(d, i, event.type, "event_type", &d->event_type, fault);
        if (e == ERR_OK)
            e = put_event_key(d, i, event.at, "inserted_at", &d->event_at, fault);
        if (e != ERR_OK)
            return e;
        recent_add(&d->given, d->last_seq,
                   recent_mark(draft_view(d, d->event_type), draft_view(d, d->event_at)));
    }
    return term_type(at) == TERM_NIL ? ERR_OK : fault_say(fault, "events", NO_EVENTS);
}

/* ---- the options ------------------------------------------------------------ */

static enum err put_log_end(struct draft *d, const struct projection_options *o,
                            struct fault *fault)
{
    d->log_end = o->has_log_end && !o->reset ? o->log_end : -1;
    d->below = o->below && !o->reset;
    if (o->has_log_end && !draft_is_seq(o->log_end))
        return fault_say(fault, "log_end", "must be from 0 to 2^53 - 1");
    if (o->has_log_end && d->last_seq > 0 && o->log_end != d->last_seq)
        return fault_say(fault, "log_end", "must be the seq of the last event given");
    if (d->below && (d->log_end == -1 || d->log_end != d->last_seq))
        return fault_say(fault, "below", "goes with log_end and that event, or with reset");
    return ERR_OK;
}

static enum err put_options(struct draft *d, const struct projection_options *o,
                            struct fault *fault)
{
    d->reset = o->reset;
    d->no_hash = o->no_hash;
    d->has_range = o->has_range;
    memcpy(d->range, o->range, sizeof d->range);
    d->events_before = o->events_before;
    d->after_seq = o->reset ? 0 : o->after_seq;
    if (!draft_is_seq(o->after_seq))
        return fault_say(fault, "after_seq", "must be from 0 to 2^53 - 1");
    if (put_log_end(d, o, fault) != ERR_OK)
        return ERR_INVALID;
    bool counts_before = o->events_before != 0;
    if (counts_before && (!o->reset || o->events_before < 0 || o->events_before >= d->first_seq))
        return fault_say(fault, "events_before",
                         "goes with reset, and is below the seq of the first event given");
    if (o->has_range &&
        (o->range[0] < 0 || o->range[0] > o->range[1] || !draft_is_seq(o->range[1])))
        return fault_say(fault, "seq_range", "must be two ascending integers from 0 to 2^53 - 1");
    if (o->has_row_version && !draft_is_seq(o->row_version))
        return fault_say(fault, "row_version", "must be from 0 to 2^53 - 1");
    if (o->has_row_version)
        d->values[SLOT_ROW_VERSION] = draft_put_number(d, o->row_version);
    if (o->now == NULL || term_is_nil_atom(o->now))
        return ERR_OK;
    size_t at = d->text.len;
    if (json_put_term(&d->text, o->now, JSON_PLAIN, NULL, fault) != ERR_OK)
        return refuse_within(fault, "now");
    if (!draft_take_time(d, draft_since(d, at)))
        return fault_say(fault, "now", "must be a DateTime, or ISO 8601 text with Z or an offset");
    return ERR_OK;
}

static void put_names(struct draft *d, struct slice entity_id, struct slice version)
{
    UNSET char id[512];
    size_t prefix = strlen(d->kind->prefix);
    PRE(prefix + entity_id.len < sizeof id); /* 100 at most (kinds.c), and 300 (gate.c) */
    memcpy(id, d->kind->prefix, prefix);
    memcpy(id + prefix, entity_id.data, entity_id.len);
    struct slice document_id = slice_of(id, prefix + entity_id.len);
    d->id = draft_put_raw(d, document_id);
    d->version = draft_put_raw(d, version);
    d->values[SLOT_DOCUMENT_ID] = draft_put_string(d, document_id);
    d->values[SLOT_ENTITY_ID] = draft_put_string(d, entity_id);
    d->values[SLOT_VERSION] = draft_put_string(d, version);
}

enum err projection_prepare(const struct kind *k, struct slice entity_id, term row, term events,
                            const struct projection_options *options, struct draft **draft,
                            struct fault *fault)
{
    PRE(k->slots != NULL);
    enum err e = gate_entity_id(entity_id, fault);
    if (e == ERR_OK)
        e = draft_check_version(options->version, fault);
    if (e != ERR_OK)
        return e;

    struct draft *d = draft_new(k, k->slots, k->slot_count, k->field_count);
    put_names(d, entity_id, options->version);
    e = put_row(d, row, fault);
    if (e == ERR_OK)
        e = put_events(d, events, fault);
    if (e == ERR_OK)
        e = put_options(d, options, fault);
    if (e != ERR_OK) {
        draft_free(d);
        return e;
    }
    d->text_len = d->text.len;
    *draft = d;
    return ERR_OK;
}
