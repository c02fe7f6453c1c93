/*
 * projection.c - from a row and its events, or a finished summary, to the document Convex gets.
 *
 * The happy path: prepare renders what the request brings, each column once,
 * into the draft's one text; finish adds what only the past can tell (seq, count
 * and last event from the fold; a projected_at later than the one before) and
 * copies all pieces into place, in the canonical order the kind's slots have.
 * adopt cuts a finished summary into such pieces, so that finish treats both
 * alike.  The hash is taken over the bytes between projected_at and
 * projection_hash: nothing is rendered twice.
 *
 * What can go wrong: the request breaks a rule, the events have a hole, the
 * document weighs more than Convex takes.  Then the fault says where and why,
 * and there is no document; the caller's fold stands as it was.
 *
 * prepare and adopt run on the thread that read the message, finish on the store
 * thread; a draft is only ever with one of them.
 */

#include "projection.h"
#include "fold.h"
#include "json.h"
#include "kind_slot.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdarg.h>

#define MAX_ENTITY_ID   300 /* with the longest prefix still an LMDB key (511 bytes) */
#define MAX_VERSION     63
#define MAX_TIME_TEXT   64
#define HASH_JSON_LEN   66 /* 64 hex digits in quotes */
#define NUMBER_WEIGHT   9  /* crates/value/src/size.rs, here and below */
#define RANGE_WEIGHT    (2 + 2 * NUMBER_WEIGHT)
#define NO_HASH_YET     "\"0000000000000000000000000000000000000000000000000000000000000000\""
#define PROJECTED_AT    "projected_at"
#define PROJECTION_HASH "projection_hash"

/* The row in Convex beside the summary: _id, _creationTime, kind, document_id, seq, content_hash,
 * two times; names and all, but for the texts of kind and document_id (priv/convex/schema.ts). */
#define ROW_WEIGHT 320

/* A run of bytes in the draft's text, and its size as Convex counts it. */
struct piece {
    size_t at, len, weight;
};

struct draft {
    /* from the request, fixed once it is prepared */
    const struct kind *kind;
    const struct kind_slot *slots;
    size_t slot_count;
    size_t text_len;       /* of text, as far as the request filled it */
    struct piece id;       /* raw, as are slices in struct document */
    struct piece version;  /* raw */
    struct piece own_time; /* projected_at as given; len 0: the clock */
    int64_t own_time_us;
    int64_t first_seq, last_seq;       /* of the events; 0: none */
    struct piece event_type, event_at; /* of the last event */
    int64_t seq;                       /* the row's latest_seq; of an adopted one: its seq */
    int64_t event_count;               /* of an adopted one */
    bool adopted, reset, no_hash, has_range;
    int64_t range[2];
    /* filled up by finish */
    struct buf text;                  /* what the pieces lie in */
    struct buf out;                   /* the document, behind it its fold */
    struct piece values[SLOT_VALUES]; /* by enum slot_value; len 0: left out */
    struct piece fields[];            /* the columns; of an adopted one its three parts */
};

PRINTF(3, 4)
static enum err refuse(struct fault *fault, const char *path, const char *why, ...)
{
    va_list args;
    va_start(args, why);
    snprintf(fault->path, sizeof fault->path, "%.*s", (int)sizeof fault->path - 1, path);
    vsnprintf(fault->why, sizeof fault->why, why, args);
    va_end(args);
    return ERR_INVALID;
}

/* json says where in the value it is; say where the value is. */
static enum err refuse_within(struct fault *fault, const char *name)
{
    char inner[sizeof fault->path];
    memcpy(inner, fault->path, sizeof inner);
    const char *dot = inner[0] == '\0' || inner[0] == '[' ? "" : ".";
    snprintf(fault->path, sizeof fault->path, "%.63s%s%.190s", name, dot, inner);
    return ERR_INVALID;
}

static bool is_seq(int64_t v)
{
    return v >= 0 && v <= FOLD_MAX_SEQ;
}

/* UTF-8 without control characters: C0 and DEL as bytes, C1 as U+0080 to U+009F. */
static bool is_printable(struct slice s)
{
    if (!json_is_utf8(s))
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] < 0x20 || s.data[i] == 0x7f ||
            (s.data[i] == 0xc2 && i + 1 < s.len && s.data[i + 1] < 0xa0))
            return false;
    return true;
}

/* ---- the draft and its pieces ------------------------------------------------- */

static struct draft *draft_new(const struct kind *k, const struct kind_slot *slots,
                               size_t slot_count, size_t field_count)
{
    struct draft *d = base_alloc(sizeof *d + field_count * sizeof d->fields[0]);
    d->kind = k;
    d->slots = slots;
    d->slot_count = slot_count;
    return d;
}

void draft_free(struct draft *d)
{
    if (d == NULL)
        return;
    buf_free(&d->out);
    buf_free(&d->text);
    free(d);
}

static struct slice view(const struct draft *d, struct piece p)
{
    return slice_of(d->text.data + p.at, p.len);
}

/* The piece from ${at} to the end of the text.  Strings weigh what their JSON is long: 2 and their
 * bytes; where there are escapes that is a little more than Convex counts, never less. */
static struct piece piece_since(const struct draft *d, size_t at)
{
    return (struct piece){at, d->text.len - at, d->text.len - at};
}

static struct piece put_raw(struct draft *d, struct slice s)
{
    size_t at = d->text.len;
    buf_slice(&d->text, s);
    return piece_since(d, at);
}

static struct piece put_string(struct draft *d, struct slice s)
{
    size_t at = d->text.len;
    json_put_string(&d->text, s);
    return piece_since(d, at);
}

static struct piece put_number(struct draft *d, int64_t v)
{
    size_t at = d->text.len;
    json_put_integer(&d->text, v);
    return (struct piece){at, d->text.len - at, NUMBER_WEIGHT};
}

struct slice draft_id(const struct draft *d)
{
    return view(d, d->id);
}

/* ---- names ---------------------------------------------------------------------- */

static enum err check_entity_id(struct slice id, struct fault *fault)
{
    if (id.len >= 1 && id.len <= MAX_ENTITY_ID && is_printable(id))
        return ERR_OK;
    refuse(fault, "", "an entity's id has 1 to %d bytes of printable UTF-8", MAX_ENTITY_ID);
    return ERR_NOT_OWNED;
}

static enum err check_version(struct slice version, struct fault *fault)
{
    if (version.len >= 1 && version.len <= MAX_VERSION && is_printable(version))
        return ERR_OK;
    return refuse(fault, "projection_version", "must be 1 to %d bytes of printable UTF-8",
                  MAX_VERSION);
}

static void put_names(struct draft *d, struct slice entity_id, struct slice version)
{
    size_t at = d->text.len;
    buf_str(&d->text, d->kind->prefix);
    buf_slice(&d->text, entity_id);
    d->id = piece_since(d, at);
    d->version = put_raw(d, version);
    /* json_put_string reads while the text may move: give it bytes that don't */
    char id[512];
    PRE(d->id.len < sizeof id);
    memcpy(id, d->text.data + d->id.at, d->id.len);
    d->values[SLOT_DOCUMENT_ID] = put_string(d, slice_of(id, d->id.len));
    d->values[SLOT_ENTITY_ID] = put_string(d, entity_id);
    d->values[SLOT_VERSION] = put_string(d, version);
}

/* ---- prepare: the row ------------------------------------------------------------- */

struct columns {
    term values[KIND_MAX_FIELDS];
    term latest_seq;
};

static term *find_column(const struct kind *k, struct columns *c, struct slice name)
{
    if (name.len == 0)
        return NULL;
    for (size_t i = 0; i < k->field_count; i++)
        if (k->fields[i].name[0] == (char)name.data[0] && slice_is(name, k->fields[i].name))
            return &c->values[i];
    return slice_is(name, "latest_seq") ? &c->latest_seq : NULL;
}

static enum err find_columns(const struct kind *k, term row, struct columns *c, struct fault *fault)
{
    *c = (struct columns){0};
    if (term_type(row) != TERM_MAP)
        return refuse(fault, "", "the row must be a map, not a %s", term_type_name(term_type(row)));
    uint32_t pairs = term_arity(row);
    term key = term_items(row);
    for (uint32_t i = 0; i < pairs; i++) {
        term value = term_next(key);
        struct slice name = term_text(key);
        term *column = name.data ? find_column(k, c, name) : NULL;
        if (column != NULL && *column != NULL) {
            char path[64];
            snprintf(path, sizeof path, "%.*s", SLICE_ARG(name));
            return refuse(fault, path, "is there twice, as atom and as binary");
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
        return refuse(fault, field->name, "nested %u levels deep, Convex takes %d here",
                      weight.nesting, JSON_MAX_NESTING - 1);
    if (field->is_map && (term_type(value) != TERM_MAP || d->text.data[at] != '{'))
        return refuse(fault, field->name, "must be a map");
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
    if (c.latest_seq != NULL && term_integer(c.latest_seq, &d->seq) && !is_seq(d->seq))
        return refuse(fault, "latest_seq", "must be from 0 to 2^53 - 1");
    return ERR_OK;
}

/* ---- prepare: the events ------------------------------------------------------------ */

static enum err refuse_event(struct fault *fault, uint32_t i, const char *key, const char *why)
{
    char path[64];
    snprintf(path, sizeof path, "events[%u]%s", i, key);
    return refuse(fault, path, "%s", why);
}

static enum err next_seq(struct draft *d, uint32_t i, term event, struct fault *fault)
{
    int64_t seq;
    term t = term_get(event, "seq");
    if (t == NULL || !term_integer(t, &seq) || seq < 1 || !is_seq(seq))
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
    *p = piece_since(d, at);
    bool is_string = d->text.data[at] == '"';
    if (!is_string && !(may_be_null && slice_is(view(d, *p), "null")))
        return refuse(fault, "", may_be_null ? "must be a time or text" : "must be text");
    if (p->len > FOLD_MAX_TEXT)
        return refuse(fault, "", "longer than %d bytes", FOLD_MAX_TEXT);
    return ERR_OK;
}

static enum err put_event_key(struct draft *d, uint32_t i, term event, const char *key,
                              struct fault *fault)
{
    bool is_time = strcmp(key, "inserted_at") == 0;
    struct piece *p = is_time ? &d->event_at : &d->event_type;
    char path[64];
    snprintf(path, sizeof path, "events[%u].%s", i, key);

    term t = term_get(event, key);
    if (t == NULL && is_time) {
        *p = put_raw(d, slice_str("null"));
        return ERR_OK;
    }
    if (t == NULL || (!is_time && term_type(t) != TERM_BINARY && term_type(t) != TERM_ATOM))
        return refuse(fault, path, "must be text");
    return put_event_text(d, t, is_time, p, fault) == ERR_OK ? ERR_OK : refuse_within(fault, path);
}

/* All are looked at, though the last alone is shown: the same events in other portions must not
 * come to another end. */
static enum err put_events(struct draft *d, term events, struct fault *fault)
{
    enum term_type type = term_type(events);
    if (type == TERM_NIL)
        return ERR_OK;
    if (type != TERM_LIST || !term_is_proper(events))
        return refuse(fault, "events", "must be a proper list of maps");
    uint32_t count = term_arity(events);
    size_t start = d->text.len;
    term event = term_items(events);
    for (uint32_t i = 0; i < count; i++, event = term_next(event)) {
        if (term_type(event) != TERM_MAP)
            return refuse_event(fault, i, "", "must be a map");
        d->text.len = start; /* what the event before left is not needed */
        enum err e = next_seq(d, i, event, fault);
        if (e == ERR_OK)
            e = put_event_key(d, i, event, "event_type", fault);
        if (e == ERR_OK)
            e = put_event_key(d, i, event, "inserted_at", fault);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

/* ---- prepare: the options ------------------------------------------------------------ */

/* The JSON string ${p} as a time: then it is the draft's own. */
static bool take_time(struct draft *d, struct piece p)
{
    struct slice s = view(d, p);
    if (s.len < 2 || s.len > MAX_TIME_TEXT || s.data[0] != '"')
        return false;
    if (!projection_parse_time(slice_of(s.data + 1, s.len - 2), &d->own_time_us))
        return false;
    d->own_time = (struct piece){p.at, p.len, p.len};
    return true;
}

static enum err put_options(struct draft *d, const struct projection_options *o,
                            struct fault *fault)
{
    d->reset = o->reset;
    d->no_hash = o->no_hash;
    d->has_range = o->has_range;
    memcpy(d->range, o->range, sizeof d->range);
    if (o->has_range && (o->range[0] < 0 || o->range[0] > o->range[1] || !is_seq(o->range[1])))
        return refuse(fault, "seq_range", "must be two ascending integers from 0 to 2^53 - 1");
    if (o->now == NULL || term_is_nil_atom(o->now))
        return ERR_OK;
    size_t at = d->text.len;
    if (json_put_term(&d->text, o->now, JSON_PLAIN, NULL, fault) != ERR_OK)
        return refuse_within(fault, "now");
    if (!take_time(d, piece_since(d, at)))
        return refuse(fault, "now", "must be a DateTime, or ISO 8601 text with Z or an offset");
    return ERR_OK;
}

enum err projection_prepare(const struct kind *k, struct slice entity_id, term row, term events,
                            const struct projection_options *options, struct draft **draft,
                            struct fault *fault)
{
    PRE(k->slots != NULL);
    enum err e = check_entity_id(entity_id, fault);
    if (e == ERR_OK)
        e = check_version(options->version, fault);
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

/* ---- adopt ----------------------------------------------------------------------------- */

/* A finished summary is three parts that stay as they are, and between them the two values that
 * finish sets.  projection_version stands behind all, so each part has its commas. */
enum part { PART_HEAD, PART_MIDDLE, PART_TAIL, PART_COUNT };
#define ADOPTED_TEXT(s) .text = (char[]){s}, .len = sizeof s - 1
static const struct kind_slot adopted_slots[] = {
    {ADOPTED_TEXT(""), .value = SLOT_FIELD, .field = PART_HEAD},
    {ADOPTED_TEXT("\"" PROJECTED_AT "\":"), .value = SLOT_PROJECTED_AT, .weight = 13},
    {ADOPTED_TEXT(""), .value = SLOT_FIELD, .field = PART_MIDDLE},
    {ADOPTED_TEXT(",\"" PROJECTION_HASH "\":"), .value = SLOT_HASH, .weight = 16},
    {ADOPTED_TEXT(""), .value = SLOT_FIELD, .field = PART_TAIL},
};
#define ADOPTED_SLOTS (sizeof adopted_slots / sizeof adopted_slots[0])

static size_t string_end(const uint8_t *p, size_t i)
{
    for (i++; p[i] != '"'; i++)
        if (p[i] == '\\')
            i++;
    return i + 1;
}

/* Behind the value that begins at ${i}, in JSON that json_put_term has made. */
static size_t value_end(const uint8_t *p, size_t i)
{
    unsigned depth = 0;
    do {
        if (p[i] == '"') {
            i = string_end(p, i);
            continue;
        }
        if (p[i] == '{' || p[i] == '[')
            depth++;
        else if (p[i] == '}' || p[i] == ']')
            depth--;
        i++;
    } while (depth > 0 || (p[i] != ',' && p[i] != '}'));
    return i;
}

/* Order of ${key} (as JSON has it, without quotes) and ${name}.  An escape begins with a byte
 * below any of ${name}'s, as do the bytes it stands for. */
static int compare_name(struct slice key, const char *name)
{
    size_t len = strlen(name);
    int order = memcmp(key.data, name, key.len < len ? key.len : len);
    if (order != 0)
        return order;
    return key.len == len ? 0 : key.len < len ? -1 : 1;
}

/* Cut the object ${all} around projected_at (which is there: take_time will see it) and around
 * projection_hash, or the place where it belongs. */
static void cut_parts(struct draft *d, struct piece all, struct piece *time)
{
    const uint8_t *p = d->text.data;
    size_t i = all.at + 1, head_end = 0, middle = 0, middle_end = 0, tail = 0;
    while (tail == 0) {
        PRE(p[i] == '"'); /* projection_version comes before the end */
        size_t value = string_end(p, i) + 1;
        size_t end = value_end(p, value);
        struct slice key = slice_of(p + i + 1, value - i - 3);
        if (compare_name(key, PROJECTED_AT) == 0) {
            *time = (struct piece){value, end - value, 0};
            head_end = i;
            middle = end;
        }
        int order = compare_name(key, PROJECTION_HASH);
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

/* The two values are weighed with their slots; take out what they were counted for already. */
static size_t weight_without_values(size_t bytes, term summary, struct piece time)
{
    term hash = term_get(summary, PROJECTION_HASH);
    bytes -= sizeof PROJECTED_AT + time.len;
    if (hash != NULL && term_text(hash).data != NULL && term_text(hash).len == HASH_JSON_LEN - 2)
        bytes -= sizeof PROJECTION_HASH + HASH_JSON_LEN;
    return bytes;
}

static bool is_missing(term t)
{
    return t == NULL || term_is_nil_atom(t);
}

/* What the summary says of itself; the words are those of the runtime's own checks. */
static enum err read_summary(struct draft *d, struct slice id, term summary, struct fault *fault)
{
    term seq = term_get(summary, "runtime_source");
    seq = seq ? term_get(seq, "seq") : NULL;
    if (seq == NULL || !term_integer(seq, &d->seq) || !is_seq(d->seq))
        return refuse(fault, "runtime_source.seq", "runtime_seq_missing");

    term version = term_get(summary, "projection_version");
    struct slice text = is_missing(version) ? slice_of(NULL, 0) : term_text(version);
    if (text.len == 0)
        return refuse(fault, "projection_version", "projection_version_missing");
    if (check_version(text, fault) != ERR_OK)
        return ERR_INVALID;
    d->version = put_raw(d, text);

    if (is_missing(term_get(summary, PROJECTED_AT)))
        return refuse(fault, PROJECTED_AT, "projected_at_missing");

    term own_id = term_get(summary, "document_id"), kind = term_get(summary, "kind");
    if (own_id != NULL && !slice_eq(term_text(own_id), id))
        return refuse(fault, "document_id", "is not the document_id of the request");
    if (kind != NULL && !term_is_text(kind, d->kind->name))
        return refuse(fault, "kind", "is not the kind of the request");

    term count = term_get(summary, "event_count");
    if (count != NULL && term_integer(count, &d->event_count) && !is_seq(d->event_count))
        return refuse(fault, "event_count", "must be from 0 to 2^53 - 1");
    return ERR_OK;
}

static enum err put_summary(struct draft *d, struct slice id, term summary, struct fault *fault)
{
    struct json_weight weight;
    struct piece time = {0};
    if (term_type(summary) != TERM_MAP)
        return refuse(fault, "", "the summary must be a map, not a %s",
                      term_type_name(term_type(summary)));
    d->id = put_raw(d, id);
    enum err e = read_summary(d, id, summary, fault);
    if (e != ERR_OK)
        return e;
    size_t at = d->text.len;
    e = json_put_term(&d->text, summary, JSON_CONVEX, &weight, fault);
    if (e != ERR_OK)
        return e;
    if (d->text.data[at] != '{')
        return refuse(fault, "", "the summary must be a map, not a struct");
    cut_parts(d, piece_since(d, at), &time);
    if (!take_time(d, time))
        return refuse(fault, PROJECTED_AT, "projected_at_invalid");
    d->fields[PART_HEAD].weight = weight_without_values(weight.bytes, summary, time);
    return ERR_OK;
}

enum err projection_adopt(const struct kind *k, struct slice document_id, term summary,
                          const struct projection_options *options, struct draft **draft,
                          struct fault *fault)
{
    size_t prefix_len = strlen(k->prefix);
    if (document_id.len < prefix_len || memcmp(document_id.data, k->prefix, prefix_len) != 0) {
        refuse(fault, "", "the document_id does not begin with \"%s\"", k->prefix);
        return ERR_NOT_OWNED;
    }
    struct slice rest = slice_of(document_id.data + prefix_len, document_id.len - prefix_len);
    enum err e = check_entity_id(rest, fault);
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

/* ---- finish: what the past says -------------------------------------------------------- */

static enum err refuse_gap(struct fault *fault, int64_t expected, int64_t got)
{
    refuse(fault, "events[0].seq", "events from %lld on are missing", (long long)expected);
    fault->expected = expected;
    fault->got = got;
    return ERR_GAP;
}

/* Bring ${f} (its texts still borrowed from ${bytes}) and the draft's events together. */
static enum err fold_events(struct draft *d, struct slice bytes, struct fold *f,
                            struct fault *fault)
{
    enum err e = fold_read(d->reset ? slice_of(NULL, 0) : bytes, f, fault);
    if (e != ERR_OK)
        return e;
    if (d->last_seq > f->seq) {
        int64_t folded = d->reset ? d->first_seq - 1 : f->seq;
        if (d->first_seq > folded + 1)
            return refuse_gap(fault, folded + 1, d->first_seq);
        f->event_count += d->last_seq - folded;
        f->seq = d->last_seq;
        d->values[SLOT_EVENT_TYPE] = d->event_type;
        d->values[SLOT_EVENT_AT] = d->event_at;
    } else {
        struct slice null = slice_str("null");
        d->values[SLOT_EVENT_TYPE] = put_raw(d, f->seq > 0 ? f->type_json : null);
        d->values[SLOT_EVENT_AT] = put_raw(d, f->seq > 0 ? f->inserted_at_json : null);
    }
    return ERR_OK;
}

static enum err put_past(struct draft *d, struct slice bytes, struct fold *f,
                         struct document *document, struct fault *fault)
{
    enum err e = fold_events(d, bytes, f, fault);
    if (e != ERR_OK)
        return e;
    document->seq = f->seq > 0 ? f->seq : d->seq;
    document->event_count = f->event_count;
    if (d->has_range && d->range[1] != document->seq)
        return refuse(fault, "seq_range", "ends at %lld, the document stands at %lld",
                      (long long)d->range[1], (long long)document->seq);
    d->values[SLOT_SEQ] = put_number(d, document->seq);
    d->values[SLOT_EVENT_COUNT] = put_number(d, document->event_count);
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
    int64_t us = has_own ? d->own_time_us : now_us;
    bool is_late = after_us != 0 && us <= after_us;
    if (is_late)
        us = after_us < INT64_MAX ? after_us + 1 : after_us;
    if (us < PROJECTION_TIME_MIN_US || us > PROJECTION_TIME_MAX_US)
        return refuse(fault, PROJECTED_AT, "would leave the years 0000 to 9999");
    *at_us = us;
    if (has_own && !is_late) {
        d->values[SLOT_PROJECTED_AT] = d->own_time;
        return ERR_OK;
    }
    char text[32];
    projection_time(us, text);
    d->values[SLOT_PROJECTED_AT] = put_string(d, slice_str(text));
    return ERR_OK;
}

/* ---- finish: the bytes ------------------------------------------------------------------- */

/* The two keys that the hash does not cover, each with the comma behind it. */
struct cut {
    size_t from, to;
};

static struct piece value_of(const struct draft *d, const struct kind_slot *slot)
{
    return slot->value == SLOT_FIELD ? d->fields[slot->field] : d->values[slot->value];
}

static bool is_left_out(const struct kind_slot *slot, struct piece value)
{
    return value.len == 0 && (slot->value == SLOT_SEQ_RANGE || slot->value == SLOT_HASH);
}

/* How long the document will be, and whether Convex takes it. */
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
    return refuse(fault, "", "the document weighs %zu.%02zu MiB, Convex takes 1 MiB",
                  hundredths / 100, hundredths % 100);
}

/* Put all in place; returns the number of cuts, and where the hash belongs (0: left out). */
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
        buf_slice(&d->out, view(d, value));
        if (slot->value == SLOT_PROJECTED_AT || slot->value == SLOT_HASH)
            cuts[count++] = (struct cut){start + (slot->text[0] == ','), d->out.len + 1};
    }
    return count;
}

static EVP_MD *sha256;
static pthread_key_t hash_context;
static pthread_once_t hash_once = PTHREAD_ONCE_INIT;

static void free_context(void *context)
{
    EVP_MD_CTX_free(context);
}

/* Fetching an algorithm by name takes longer than hashing a document with it: once. */
static void hash_start(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    PRE(sha256 != NULL);
    PRE(pthread_key_create(&hash_context, free_context) == 0);
}

static EVP_MD_CTX *thread_context(void)
{
    pthread_once(&hash_once, hash_start);
    EVP_MD_CTX *context = pthread_getspecific(hash_context);
    if (context == NULL) {
        context = EVP_MD_CTX_new();
        PRE(context != NULL);
        PRE(pthread_setspecific(hash_context, context) == 0);
    }
    return context;
}

static void hash_without(struct slice json, const struct cut *cuts, size_t count, uint8_t hash[32])
{
    EVP_MD_CTX *context = thread_context();
    size_t from = 0;
    PRE(EVP_DigestInit_ex2(context, sha256, NULL) == 1);
    for (size_t i = 0; i < count; i++) {
        PRE(EVP_DigestUpdate(context, json.data + from, cuts[i].from - from) == 1);
        from = cuts[i].to;
    }
    PRE(EVP_DigestUpdate(context, json.data + from, json.len - from) == 1);
    PRE(EVP_DigestFinal_ex(context, hash, NULL) == 1);
}

void projection_hash_hex(const uint8_t hash[32], char out[65])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < 32; i++) {
        out[2 * i] = digits[hash[i] >> 4];
        out[2 * i + 1] = digits[hash[i] & 15];
    }
    out[64] = '\0';
}

static enum err put_json(struct draft *d, uint8_t hash[32], struct fault *fault)
{
    struct cut cuts[2];
    size_t bytes, hash_at;
    char hex[65];
    enum err e = measure(d, &bytes, fault);
    if (e != ERR_OK)
        return e;
    buf_reserve(&d->out, bytes + 2 * FOLD_MAX_TEXT);
    size_t count = assemble(d, cuts, &hash_at);
    hash_without(buf_view(&d->out), cuts, count, hash);
    if (hash_at > 0) {
        projection_hash_hex(hash, hex);
        memcpy(d->out.data + hash_at, hex, 64);
    }
    return ERR_OK;
}

enum err projection_finish(struct draft *d, struct slice fold, int64_t after_us, int64_t now_us,
                           struct document *document, struct fault *fault)
{
    struct fold f = {0};
    *document = (struct document){.kind = d->kind, .seq = d->seq, .event_count = d->event_count};
    d->text.len = d->text_len; /* what an earlier finish added */
    d->out.len = 0;

    enum err e = d->adopted ? ERR_OK : put_past(d, fold, &f, document, fault);
    if (e == ERR_OK)
        e = put_time(d, after_us, now_us, &document->projected_at_us, fault);
    if (e != ERR_OK)
        return e;
    if (!d->no_hash)
        d->values[SLOT_HASH] = put_raw(d, slice_str(NO_HASH_YET));
    e = put_json(d, document->hash, fault);
    if (e != ERR_OK)
        return e;

    size_t json_len = d->out.len;
    if (d->adopted) {
        buf_slice(&d->out, fold);
    } else {
        f.type_json = view(d, d->values[SLOT_EVENT_TYPE]);
        f.inserted_at_json = view(d, d->values[SLOT_EVENT_AT]);
        fold_put(&d->out, &f);
    }
    document->id = view(d, d->id);
    document->version = view(d, d->version);
    document->json = slice_of(d->out.data, json_len);
    document->fold = slice_of(d->out.data + json_len, d->out.len - json_len);
    return ERR_OK;
}
