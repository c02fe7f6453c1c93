/*
 * projection_adopt.c - the first half for a finished document, as the Sink behaviour hands it over.
 *
 * The happy path: the summary is rendered in canonical form as it is, and the
 * text is cut around the two values that the second half sets: projected_at
 * (which must rise) and projection_hash.  The three parts that remain go into
 * the document untouched, so whatever other keys a summary has are kept.
 *
 * What can go wrong: the id is not under the kind's prefix, the summary lacks
 * what a projection must have, or names another document.  The fault has the
 * runtime's own words, the draft is freed.
 *
 * Runs on the thread that read the message; terms are borrowed until return.
 */

#include "json/json.h"
#include "json/json_skip.h"
#include "projection/draft.h"
#include "projection/gate.h"
#include "projection/kind_slot.h"
#include "projection/projection.h"

#define HASH_WEIGHT 66 /* 64 hex digits and two: crates/value/src/size.rs */

/* A finished summary is three unchanged parts, and between them the two values that finish sets.
 * projection_version comes after both, so each part has its commas. */
enum part { PART_HEAD, PART_MIDDLE, PART_TAIL, PART_COUNT };
#define ADOPTED_TEXT(s) .text = (char[]){s}, .len = sizeof s - 1
static const struct kind_slot adopted_slots[] = {
    {ADOPTED_TEXT(""), .value = SLOT_FIELD, .field = PART_HEAD},
    {ADOPTED_TEXT("\"" DRAFT_PROJECTED_AT "\":"), .value = SLOT_PROJECTED_AT,
     .weight = sizeof DRAFT_PROJECTED_AT},
    {ADOPTED_TEXT(""), .value = SLOT_FIELD, .field = PART_MIDDLE},
    {ADOPTED_TEXT(",\"" DRAFT_PROJECTION_HASH "\":"), .value = SLOT_HASH,
     .weight = sizeof DRAFT_PROJECTION_HASH},
    {ADOPTED_TEXT(""), .value = SLOT_FIELD, .field = PART_TAIL},
};
#define ADOPTED_SLOTS (sizeof adopted_slots / sizeof adopted_slots[0])

/* Cut the object ${all} around projected_at (which is there: draft_take_time will see it) and
 * around projection_hash, or the place where it belongs.  Its keys can be compared as written: an
 * escape begins with a byte below any of our names', as do the bytes it stands for. */
static void cut_parts(struct draft *d, struct piece all, struct piece *time)
{
    const struct slice text = buf_view(&d->text);
    size_t i = all.at + 1, head_end = 0, middle = 0, middle_end = 0, tail = 0;
    while (tail == 0) {
        size_t value = json_skip_string(text, i) + 1, end = json_skip_value(text, value);
        /* json_put_term wrote the text, and projection_version, which is there, sorts last. */
        PRE(value > 1 && end > 0);
        struct slice key = slice_of(text.data + i + 1, value - i - 3);
        if (slice_is(key, DRAFT_PROJECTED_AT)) {
            *time = (struct piece){value, end - value, 0};
            head_end = i;
            middle = end;
        }
        int order = slice_order(key, slice_str(DRAFT_PROJECTION_HASH));
        if (order >= 0) {
            middle_end = i - 1; /* with the comma */
            tail = order == 0 ? end : i - 1;
        }
        i = end + 1;
    }
    PRE(head_end > 0 && middle <= middle_end);
    d->fields[PART_HEAD] = (struct piece){all.at, head_end - all.at, 0};
    d->fields[PART_MIDDLE] = (struct piece){middle, middle_end - middle, 0};
    d->fields[PART_TAIL] = (struct piece){tail, all.at + all.len - tail, 0};
}

/* The two values are weighed with their slots; subtract what they were already counted for. */
static size_t weight_without_values(size_t bytes, term summary, struct piece time)
{
    term hash = term_get(summary, DRAFT_PROJECTION_HASH);
    bytes -= sizeof DRAFT_PROJECTED_AT + time.len;
    if (hash != NULL && term_text(hash).data != NULL && term_text(hash).len == HASH_WEIGHT - 2)
        bytes -= sizeof DRAFT_PROJECTION_HASH + HASH_WEIGHT;
    return bytes;
}

static bool is_missing(term t)
{
    return t == NULL || term_is_nil_atom(t);
}

/* What the summary says of itself; the error texts are those of the runtime's own checks. */
static enum err read_summary(struct draft *d, struct slice id, term summary, struct fault *fault)
{
    term seq = term_get(summary, "runtime_source");
    seq = seq ? term_get(seq, "seq") : NULL;
    if (seq == NULL || !term_integer(seq, &d->seq) || !draft_is_seq(d->seq))
        return fault_say(fault, "runtime_source.seq", "runtime_seq_missing");

    term version = term_get(summary, "projection_version");
    struct slice text = is_missing(version) ? slice_of(NULL, 0) : term_text(version);
    if (text.len == 0)
        return fault_say(fault, "projection_version", "projection_version_missing");
    if (draft_check_version(text, fault) != ERR_OK)
        return ERR_INVALID;
    d->version = draft_put_raw(d, text);

    if (is_missing(term_get(summary, DRAFT_PROJECTED_AT)))
        return fault_say(fault, DRAFT_PROJECTED_AT, "projected_at_missing");

    term own_id = term_get(summary, "document_id"), kind = term_get(summary, "kind");
    if (own_id != NULL && !slice_eq(term_text(own_id), id))
        return fault_say(fault, "document_id", "is not the document_id of the request");
    if (kind != NULL && !term_is_text(kind, d->kind->name))
        return fault_say(fault, "kind", "is not the kind of the request");

    term count = term_get(summary, "event_count");
    if (count != NULL && term_integer(count, &d->event_count) && !draft_is_seq(d->event_count))
        return fault_say(fault, "event_count", "must be from 0 to 2^53 - 1");
    return ERR_OK;
}

static enum err put_summary(struct draft *d, struct slice id, term summary, struct fault *fault)
{
    struct json_weight weight;
    struct piece time = {0};
    if (term_type(summary) != TERM_MAP)
        return fault_say(fault, "", "the summary must be a map, not a %s",
                         term_type_name(term_type(summary)));
    d->id = draft_put_raw(d, id);
    enum err e = read_summary(d, id, summary, fault);
    if (e != ERR_OK)
        return e;
    size_t at = d->text.len;
    e = json_put_term(&d->text, summary, JSON_CONVEX, &weight, fault);
    if (e != ERR_OK)
        return e;
    if (d->text.data[at] != '{')
        return fault_say(fault, "", "the summary must be a map, not a struct");
    cut_parts(d, draft_since(d, at), &time);
    if (!draft_take_time(d, time))
        return fault_say(fault, DRAFT_PROJECTED_AT, "projected_at_invalid");
    d->fields[PART_HEAD].weight = weight_without_values(weight.bytes, summary, time);
    return ERR_OK;
}

enum err projection_adopt(const struct kind *k, struct slice document_id, term summary,
                          const struct projection_options *options, struct draft **draft,
                          struct fault *fault)
{
    enum err e = gate_document_id(k, document_id, fault);
    if (e != ERR_OK)
        return e;

    struct draft *d = draft_new(k, adopted_slots, ADOPTED_SLOTS, PART_COUNT);
    d->adopted = true;
    d->no_hash = options->no_hash;
    e = put_summary(d, document_id, summary, fault);
    if (e != ERR_OK) {
        draft_free(d);
        return e;
    }
    d->text_len = d->text.len;
    *draft = d;
    return ERR_OK;
}
