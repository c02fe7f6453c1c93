/*
 * projection_finish.c - the second half: a draft and a past become a document.
 *
 * The happy path: the events are added to the fold, or, where the log ends before the fold, the
 * fold goes back to the end of the log; projected_at is chosen later than the one before, and all
 * pieces are copied into place in the canonical order that the kind's slots have.  The hash is
 * taken over the finished bytes around projected_at and projection_hash: nothing is rendered twice.
 *
 * What can go wrong: events are missing after the fold, the stored fold is
 * broken, the document weighs more than Convex takes.  Then there is no
 * document, the fault says why, and the caller's fold is unchanged.
 *
 * Runs on the store thread.
 */

#include "ground/hex.h"
#include "ground/time_text.h"
#include "json/json.h"
#include "projection/cut_hash.h"
#include "projection/draft.h"
#include "projection/fold.h"
#include "projection/gate.h"
#include "projection/kind_slot.h"
#include "projection/projection.h"
#include "projection/recent.h"

#define RANGE_WEIGHT 20 /* an array (2) of two numbers (9): crates/value/src/size.rs */
#define NO_HASH_YET  "\"0000000000000000000000000000000000000000000000000000000000000000\""

/* The row in Convex besides the summary (priv/convex/schema.ts), all names included: _id 38 and
 * _creationTime 23, seq, content_hash, three times; and some 200 for the owner.  The texts of kind
 * and document_id come on top. */
#define ROW_WEIGHT 512

/* ---- what the past says -------------------------------------------------------- */

static enum err refuse_gap(struct fault *fault, int64_t expected, int64_t got)
{
    fault->expected = expected;
    fault->got = got;
    return fault_fail(fault, ERR_GAP, "events[0].seq", "events from %lld on are missing",
                      (long long)expected);
}

/* The fold, and what is remembered of the events in it. */
struct known {
    struct fold fold; /* its texts borrow the past */
    struct recent recent;
};

static enum err read_past(const struct draft *d, struct past past, struct known *k,
                          struct fault *fault)
{
    if (d->reset)
        past = (struct past){0};
    enum err e = fold_read(past.fold, &k->fold, fault);
    if (e == ERR_OK)
        recent_read(past.recent, k->fold.seq, &k->recent);
    return e;
}

static enum err fold_new(struct draft *d, struct known *k, struct fault *fault)
{
    struct fold *f = &k->fold;
    int64_t folded = d->reset ? d->first_seq - 1 : f->seq;

    if (d->first_seq > folded + 1)
        return refuse_gap(fault, folded + 1, d->first_seq);
    f->event_count += d->events_before + d->last_seq - folded;
    f->seq = d->last_seq;
    recent_follow(&k->recent, &d->given);
    return ERR_OK;
}

/* The log ends before the fold: whether its last event differs from the one folded there. */
static bool is_other_history(const struct draft *d, const struct known *k)
{
    return d->last_seq > 0 && recent_differs(&k->recent, d->last_seq, recent_last_mark(&d->given));
}

/* The last event of the log, which may replace one or many, becomes the last one folded.  If the
 * history now begins earlier than before, only the given events are counted. */
static void fold_back(const struct draft *d, struct known *k)
{
    struct fold *f = &k->fold;
    int64_t lost = f->seq - d->log_end;

    f->event_count = f->event_count > lost ? f->event_count - lost : d->last_seq - d->first_seq + 1;
    f->seq = d->log_end;
    if (f->seq == 0)
        *k = (struct known){0};
    else
        recent_end(&k->recent, f->seq, recent_last_mark(&d->given));
}

/* Bring what is known (its texts still borrowed from the past) and the draft's events together. */
static enum err fold_events(struct draft *d, struct known *k, struct document *document,
                            struct fault *fault)
{
    struct fold *f = &k->fold;
    bool says_end = d->log_end >= 0, is_shorter = says_end && d->log_end < f->seq;
    int64_t after =
        says_end && d->last_seq == 0 && d->log_end > d->after_seq ? d->log_end : d->after_seq;
    enum err e = ERR_OK;

    if (after > f->seq)
        return refuse_gap(fault, f->seq + 1, after + 1);
    document->may_go_below = d->below || (is_shorter && is_other_history(d, k));
    document->is_behind = is_shorter && !document->may_go_below;
    bool takes_last =
        d->last_seq > f->seq || document->may_go_below || (says_end && d->log_end == f->seq);
    if (d->last_seq > f->seq)
        e = fold_new(d, k, fault);
    else if (takes_last && (d->last_seq > 0 || is_shorter))
        fold_back(d, k);
    if (e != ERR_OK)
        return e;
    if (takes_last && d->last_seq > 0) {
        d->values[SLOT_EVENT_TYPE] = d->event_type;
        d->values[SLOT_EVENT_AT] = d->event_at;
    } else {
        struct slice null = slice_str("null");
        d->values[SLOT_EVENT_TYPE] = draft_put_raw(d, f->seq > 0 ? f->type_json : null);
        d->values[SLOT_EVENT_AT] = draft_put_raw(d, f->seq > 0 ? f->inserted_at_json : null);
    }
    return ERR_OK;
}

static enum err put_past(struct draft *d, struct past past, struct known *k,
                         struct document *document, struct fault *fault)
{
    struct fold *f = &k->fold;
    enum err e = read_past(d, past, k, fault);
    if (e == ERR_OK)
        e = fold_events(d, k, document, fault);
    if (e != ERR_OK)
        return e;
    document->seq = f->seq > 0 ? f->seq : d->seq;
    document->event_count = f->event_count;
    if (d->has_range && d->range[1] != document->seq)
        return fault_say(fault, "seq_range", "ends at %lld, the document stands at %lld",
                         (long long)d->range[1], (long long)document->seq);
    d->values[SLOT_SEQ] = draft_put_number(d, document->seq);
    d->values[SLOT_EVENT_COUNT] = draft_put_number(d, document->event_count);
    if (d->has_range) {
        size_t at = d->text.len;
        buf_byte(&d->text, '[');
        json_put_integer(&d->text, d->range[0]);
        buf_byte(&d->text, ',');
        json_put_integer(&d->text, d->range[1]);
        buf_byte(&d->text, ']');
        d->values[SLOT_SEQ_RANGE] = (struct piece){at, d->text.len - at, RANGE_WEIGHT};
    }
    return ERR_OK;
}

static enum err put_time(struct draft *d, int64_t after_us, int64_t now_us, int64_t *at_us,
                         struct fault *fault)
{
    bool has_own = d->own_time.len > 0;
    enum err e = gate_time(after_us, has_own ? d->own_time_us : now_us, at_us, fault);
    if (e != ERR_OK)
        return e;
    if (has_own && *at_us == d->own_time_us) {
        d->values[SLOT_PROJECTED_AT] = d->own_time;
        return ERR_OK;
    }
    char text[32];
    time_text_put(*at_us, text);
    d->values[SLOT_PROJECTED_AT] = draft_put_string(d, slice_str(text));
    return ERR_OK;
}

/* ---- the bytes ------------------------------------------------------------------- */

static struct piece value_of(const struct draft *d, const struct kind_slot *slot)
{
    return slot->value == SLOT_FIELD ? d->fields[slot->field] : d->values[slot->value];
}

static bool is_left_out(const struct kind_slot *slot, struct piece value)
{
    return value.len == 0 && (slot->value == SLOT_SEQ_RANGE || slot->value == SLOT_ROW_VERSION ||
                              slot->value == SLOT_HASH);
}

/* How long the document will be, and whether Convex accepts it. */
static enum err measure(const struct draft *d, size_t *bytes, struct fault *fault)
{
    size_t weight = ROW_WEIGHT + d->id.len + strlen(d->kind->name);
    *bytes = 0;
    for (size_t i = 0; i < d->slot_count; i++) {
        struct piece value = value_of(d, &d->slots[i]);
        if (is_left_out(&d->slots[i], value))
            continue;
        *bytes += d->slots[i].len + value.len;
        weight += d->slots[i].weight + value.weight;
    }
    if (weight <= JSON_MAX_VALUE_BYTES)
        return ERR_OK;
    size_t hundredths = (weight * 100 + JSON_MAX_VALUE_BYTES - 1) / JSON_MAX_VALUE_BYTES;
    return fault_say(fault, "", "the document weighs %zu.%02zu MiB, Convex takes 1 MiB",
                     hundredths / 100, hundredths % 100);
}

/* Assemble the document; returns the number of cuts (the keys that the hash does not cover, each
 * with the comma after it), and where the hash belongs (0: left out). */
static size_t assemble(struct draft *d, struct cut cuts[2], size_t *hash_at)
{
    size_t count = 0;
    *hash_at = 0;
    for (size_t i = 0; i < d->slot_count; i++) {
        const struct kind_slot *slot = &d->slots[i];
        struct piece value = value_of(d, slot);
        if (is_left_out(slot, value))
            continue;
        size_t start = d->out.len;
        buf_add(&d->out, slot->text, slot->len);
        if (slot->value == SLOT_HASH)
            *hash_at = d->out.len + 1;
        buf_slice(&d->out, draft_view(d, value));
        if (slot->value == SLOT_PROJECTED_AT || slot->value == SLOT_HASH)
            cuts[count++] = (struct cut){start + (slot->text[0] == ','), d->out.len + 1};
    }
    return count;
}

static enum err put_json(struct draft *d, uint8_t hash[32], struct fault *fault)
{
    struct cut cuts[2];
    size_t bytes, hash_at;
    char hex[65];
    enum err e = measure(d, &bytes, fault);
    if (e != ERR_OK)
        return e;
    buf_reserve(&d->out, bytes + (size_t)2 * FOLD_MAX_TEXT);
    size_t count = assemble(d, cuts, &hash_at);
    cut_hash(buf_view(&d->out), cuts, count, hash);
    if (hash_at > 0) {
        hex_put(hash, 32, hex);
        memcpy(d->out.data + hash_at, hex, 64);
    }
    return ERR_OK;
}

/* Put the new past after the document; that of an adopted one does not change. */
static void put_kept(struct draft *d, struct past past, struct known *k, struct document *document)
{
    size_t json_len = d->out.len;

    if (d->adopted) {
        buf_slice(&d->out, past.fold);
    } else {
        k->fold.type_json = draft_view(d, d->values[SLOT_EVENT_TYPE]);
        k->fold.inserted_at_json = draft_view(d, d->values[SLOT_EVENT_AT]);
        fold_put(&d->out, &k->fold);
    }
    size_t fold_len = d->out.len - json_len;
    if (d->adopted)
        buf_slice(&d->out, past.recent);
    else
        recent_put(&d->out, &k->recent);
    const uint8_t *fold = d->out.data + json_len;
    document->json = slice_of(d->out.data, json_len);
    document->past.fold = slice_of(fold, fold_len);
    document->past.recent = slice_of(fold + fold_len, d->out.len - json_len - fold_len);
}

enum err projection_finish(struct draft *d, struct past past, int64_t after_us, int64_t now_us,
                           struct document *document, struct fault *fault)
{
    struct known known = {0};
    *document = (struct document){.kind = d->kind, .seq = d->seq, .event_count = d->event_count};
    d->text.len = d->text_len; /* drop what an earlier finish added */
    d->out.len = 0;

    enum err e = d->adopted ? ERR_OK : put_past(d, past, &known, document, fault);
    if (e == ERR_OK)
        e = put_time(d, after_us, now_us, &document->projected_at_us, fault);
    if (e != ERR_OK)
        return e;
    if (!d->no_hash)
        d->values[SLOT_HASH] = draft_put_raw(d, slice_str(NO_HASH_YET));
    e = put_json(d, document->hash, fault);
    if (e != ERR_OK)
        return e;

    put_kept(d, past, &known, document);
    document->id = draft_view(d, d->id);
    document->version = draft_view(d, d->version);
    return ERR_OK;
}
