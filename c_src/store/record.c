/*
 * record.c - the records of format 2.
 *
 * The happy path: the fields are packed one after the other into a buffer that the caller reuses,
 * then the optional members, then the checksum.  To read, the checksum is verified first, then the
 * fields, which are slices of the value.
 *
 * What can go wrong: the checksum is wrong (a flipped bit, a value under another key), or a field
 * is invalid although the checksum is right.  Both are reported with the key; a right checksum does
 * not make a field trusted.
 *
 * Any thread.
 */

#include "store/record.h"

#include "store/record_inside.h"

/* ---- a tail without members of ours ------------------------------------------ */

static void put_no_member(struct buf *out, unsigned key, const void *record)
{
    (void)out;
    (void)key;
    (void)record;
}

static void put_plain_tail(struct buf *out, struct slice tail)
{
    record_put_tail(out, tail, 0, 0, put_no_member, NULL);
}

static struct slice get_plain_tail(struct unpack *u)
{
    return record_get_tail(u, 0, NULL, NULL);
}

/* ---- meta ------------------------------------------------------------------- */

#define COUNTERS    slice_str("counters")
#define DESTINATION slice_str("destination")
#define DOUBT       slice_str("doubt")

enum { COUNTERS_AHEAD = 1, COUNTERS_KNOWN = 2 };

static void put_counters_member(struct buf *out, unsigned key, const void *record)
{
    (void)key;
    pack_uint(out, ((const struct counters *)record)->ahead_from);
}

static void take_counters_member(void *record, unsigned key, struct unpack *value)
{
    (void)key;
    ((struct counters *)record)->ahead_from = unpack_uint_to(value, LANE_LIVE - 1);
}

void record_put_counters(struct buf *out, const struct counters *c)
{
    size_t from = out->len;

    pack_array(out, 7);
    pack_uint(out, c->next_no);
    pack_uint(out, c->next_document);
    pack_uint(out, c->next_revision);
    pack_uint(out, c->next_quarantine);
    pack_uint(out, c->pending_bytes);
    pack_uint(out, c->dead_bytes);
    record_put_tail(out, c->tail, COUNTERS_KNOWN, c->ahead_from != 0 ? 1u << COUNTERS_AHEAD : 0u,
                    put_counters_member, c);
    record_seal(out, from, STORE_META, COUNTERS);
}

enum err record_get_counters(struct slice value, struct counters *c, struct fault *fault)
{
    struct unpack u = record_open(STORE_META, COUNTERS, value);

    unpack_array(&u, 7);
    c->next_no = unpack_uint_to(&u, LANE_LIVE - 1);
    c->next_document = unpack_uint(&u);
    c->next_revision = unpack_uint(&u);
    c->next_quarantine = unpack_uint(&u);
    c->pending_bytes = unpack_uint(&u);
    c->dead_bytes = unpack_uint(&u);
    c->ahead_from = 0;
    c->tail = record_get_tail(&u, COUNTERS_KNOWN, take_counters_member, c);
    if (c->next_no == 0 || c->next_document == 0 || c->next_revision == 0 ||
        c->next_quarantine == 0)
        unpack_spoil(&u, "counters begin at 1");
    return record_finish(&u, STORE_FORMAT, STORE_META, COUNTERS, fault);
}

void record_put_destination(struct buf *out, const struct destination *d)
{
    size_t from = out->len;

    pack_array(out, 9);
    pack_str(out, d->sink);
    pack_str(out, d->address);
    pack_bin(out, slice_of(d->store_id, sizeof d->store_id));
    pack_str(out, d->deployment);
    pack_uint(out, d->mark);
    pack_uint(out, d->mark_wanted);
    pack_int(out, d->raised_at_us);
    pack_uint(out, d->functions);
    put_plain_tail(out, d->tail);
    record_seal(out, from, STORE_META, DESTINATION);
}

enum err record_get_destination(struct slice value, struct destination *d, struct fault *fault)
{
    struct unpack u = record_open(STORE_META, DESTINATION, value);

    *d = (struct destination){0};
    unpack_array(&u, 9);
    d->sink = unpack_str(&u, RECORD_MAX_DEPLOYMENT);
    d->address = unpack_str(&u, RECORD_MAX_ADDRESS);
    struct slice id = unpack_bin_to(&u, sizeof d->store_id);
    d->deployment = unpack_str(&u, RECORD_MAX_DEPLOYMENT);
    d->mark = unpack_uint(&u);
    d->mark_wanted = unpack_uint(&u);
    d->raised_at_us = unpack_int(&u);
    d->functions = (unsigned)unpack_uint_to(&u, UINT32_MAX);
    d->tail = get_plain_tail(&u);
    if (id.len != sizeof d->store_id)
        unpack_spoil(&u, "a store id is not 16 bytes");
    else
        memcpy(d->store_id, id.data, sizeof d->store_id);
    return record_finish(&u, STORE_FORMAT, STORE_META, DESTINATION, fault);
}

void record_put_doubt(struct buf *out, const struct doubt *d)
{
    size_t from = out->len;

    pack_array(out, 6);
    pack_uint(out, d->from);
    pack_uint(out, d->to);
    pack_int(out, d->since_us);
    pack_str(out, d->why);
    pack_bool(out, d->is_swept);
    put_plain_tail(out, d->tail);
    record_seal(out, from, STORE_META, DOUBT);
}

enum err record_get_doubt(struct slice value, struct doubt *d, struct fault *fault)
{
    struct unpack u = record_open(STORE_META, DOUBT, value);

    *d = (struct doubt){0};
    unpack_array(&u, 6);
    d->from = unpack_uint(&u);
    d->to = unpack_uint(&u);
    d->since_us = unpack_int(&u);
    d->why = unpack_str(&u, RECORD_MAX_WHY);
    d->is_swept = unpack_bool(&u);
    d->tail = get_plain_tail(&u);
    if (d->from > d->to)
        unpack_spoil(&u, "a range that ends before it begins");
    return record_finish(&u, STORE_FORMAT, STORE_META, DOUBT, fault);
}

/* ---- ids -------------------------------------------------------------------- */

void record_put_id(struct buf *out, struct slice id, uint64_t document)
{
    size_t from = out->len;

    record_put_le(out, document, sizeof document);
    record_seal(out, from, STORE_IDS, id);
}

enum err record_get_id(struct slice id, struct slice value, uint64_t *document, struct fault *fault)
{
    struct unpack u = record_open(STORE_IDS, id, value);

    *document = 0;
    if (u.bad == NULL && u.end - u.at == (ptrdiff_t)sizeof *document) {
        *document = record_get_le(u.at, sizeof *document);
        u.at = u.end;
    }
    if (*document == 0)
        unpack_spoil(&u, "an id without a number");
    return record_finish(&u, STORE_FORMAT, STORE_IDS, id, fault);
}

/* ---- checkpoints ------------------------------------------------------------ */

enum {
    CHECKPOINT_ROW_VERSION = 1,
    CHECKPOINT_ORIGIN = 2,
    CHECKPOINT_RECENT = 3,
    CHECKPOINT_KNOWN = 14
};

static void put_checkpoint_member(struct buf *out, unsigned key, const void *record)
{
    const struct checkpoint_record *c = record;

    if (key == CHECKPOINT_ROW_VERSION)
        pack_bin(out, c->row_version);
    else if (key == CHECKPOINT_RECENT)
        pack_bin(out, c->cp.recent);
    else
        pack_uint(out, (uint64_t)c->origin);
}

static void take_checkpoint_member(void *record, unsigned key, struct unpack *value)
{
    struct checkpoint_record *c = record;

    if (key == CHECKPOINT_ROW_VERSION) {
        c->row_version = unpack_bin_to(value, RECORD_MAX_ROW_VERSION);
    } else if (key == CHECKPOINT_RECENT) {
        c->cp.recent = unpack_bin_to(value, RECORD_MAX_RECENT);
    } else {
        c->origin = (enum outbox_origin)unpack_uint_to(value, ORIGIN_COUNT - 1);
        c->has_origin = true;
    }
}

void record_put_checkpoint(struct buf *out, const struct checkpoint_record *c)
{
    const struct checkpoint *cp = &c->cp;
    size_t from = out->len;

    /* So they are read, too: record_get_checkpoint. */
    PRE(cp->document != 0 && cp->has_pending == (cp->pending_no != 0));
    PRE(c->row_version.len <= RECORD_MAX_ROW_VERSION && cp->recent.len <= RECORD_MAX_RECENT);
    pack_array(out, 9);
    pack_str(out, c->id);
    pack_str(out, cp->kind);
    pack_int(out, cp->last_projected_us);
    pack_uint(out, c->reset_revision);
    pack_uint(out, cp->pending_no);
    pack_bool(out, cp->is_dead);
    if (cp->has_delivered) {
        pack_array(out, 2);
        record_put_version(out, &cp->delivered);
        pack_uint(out, cp->delivered_mark);
    } else {
        pack_nil(out);
    }
    pack_bin(out, cp->fold);
    record_put_tail(out, c->tail, CHECKPOINT_KNOWN,
                    (c->row_version.len > 0 ? 1u << CHECKPOINT_ROW_VERSION : 0u) |
                        (c->has_origin ? 1u << CHECKPOINT_ORIGIN : 0u) |
                        (cp->recent.len > 0 ? 1u << CHECKPOINT_RECENT : 0u),
                    put_checkpoint_member, c);
    record_seal(out, from, STORE_CHECKPOINTS, slice_of(&cp->document, sizeof cp->document));
}

static uint64_t number_of(struct unpack *u, struct slice key)
{
    uint64_t no = 0;

    if (key.len == sizeof no)
        memcpy(&no, key.data, sizeof no);
    if (no == 0)
        unpack_spoil(u, "a key is no number");
    return no;
}

static struct slice get_id(struct unpack *u)
{
    struct slice id = unpack_str(u, RECORD_MAX_TEXT);

    if (id.len == 0)
        unpack_spoil(u, "a document without an id");
    return id;
}

enum err record_get_checkpoint(struct slice key, struct slice value, struct checkpoint_record *c,
                               struct fault *fault)
{
    struct unpack u = record_open(STORE_CHECKPOINTS, key, value);
    struct checkpoint *cp = &c->cp;

    *c = (struct checkpoint_record){0};
    cp->document = number_of(&u, key);
    unpack_array(&u, 9);
    c->id = get_id(&u);
    cp->kind = unpack_str(&u, RECORD_MAX_TEXT);
    cp->last_projected_us = unpack_int(&u);
    c->reset_revision = unpack_uint(&u);
    cp->pending_no = unpack_uint(&u);
    cp->has_pending = cp->pending_no != 0;
    cp->is_dead = unpack_bool(&u);
    cp->has_delivered = !unpack_nil(&u);
    if (cp->has_delivered) {
        unpack_array(&u, 2);
        record_get_version(&u, &cp->delivered);
        cp->delivered_mark = unpack_uint(&u);
    }
    cp->fold = unpack_bin_to(&u, RECORD_MAX_FOLD);
    c->tail = record_get_tail(&u, CHECKPOINT_KNOWN, take_checkpoint_member, c);
    return record_finish(&u, STORE_FORMAT, STORE_CHECKPOINTS, key, fault);
}

/* ---- pending ---------------------------------------------------------------- */

enum {
    PENDING_ATTEMPTS = 1,
    PENDING_NEXT_TRY = 2,
    PENDING_MOVED = 3,
    PENDING_FOLD = 4,
    PENDING_RECENT = 5,
    PENDING_KNOWN = 62
};

static void put_pending_member(struct buf *out, unsigned key, const void *record)
{
    const struct pending *p = record;

    if (key == PENDING_ATTEMPTS)
        pack_uint(out, p->attempts);
    else if (key == PENDING_NEXT_TRY)
        pack_int(out, p->next_try_us);
    else if (key == PENDING_MOVED)
        pack_bool(out, true);
    else
        pack_bin(out, key == PENDING_FOLD ? p->fold : p->recent);
}

static void take_pending_member(void *record, unsigned key, struct unpack *value)
{
    struct pending *p = record;

    if (key == PENDING_ATTEMPTS)
        p->attempts = (uint32_t)unpack_uint_to(value, UINT32_MAX);
    else if (key == PENDING_NEXT_TRY)
        p->next_try_us = unpack_int(value);
    else if (key == PENDING_MOVED)
        p->has_moved = unpack_bool(value);
    else if (key == PENDING_RECENT)
        p->recent = unpack_bin_to(value, RECORD_MAX_RECENT);
    else
        p->fold = unpack_bin_to(value, RECORD_MAX_FOLD);
    p->is_ahead = p->is_ahead || key == PENDING_FOLD;
}

void record_put_pending(struct buf *out, const struct pending *p)
{
    size_t from = out->len;

    PRE(p->no != 0 && p->document != 0); /* so they are read, too */
    pack_array(out, 8);
    pack_uint(out, p->document);
    pack_str(out, p->id);
    pack_str(out, p->kind);
    record_put_version(out, &p->version);
    pack_int(out, p->kept_at_us);
    pack_uint(out, (uint64_t)p->origin);
    pack_bin(out, p->json);
    record_put_tail(out, p->tail, PENDING_KNOWN,
                    (p->attempts > 0 ? 1u << PENDING_ATTEMPTS : 0u) |
                        (p->next_try_us != 0 ? 1u << PENDING_NEXT_TRY : 0u) |
                        (p->has_moved ? 1u << PENDING_MOVED : 0u) |
                        (p->is_ahead ? 1u << PENDING_FOLD : 0u) |
                        (p->is_ahead && p->recent.len > 0 ? 1u << PENDING_RECENT : 0u),
                    put_pending_member, p);
    record_seal(out, from, STORE_PENDING, slice_of(&p->no, sizeof p->no));
}

enum err record_get_pending(struct slice key, struct slice value, struct pending *p,
                            struct fault *fault)
{
    struct unpack u = record_open(STORE_PENDING, key, value);

    *p = (struct pending){0};
    p->no = number_of(&u, key);
    unpack_array(&u, 8);
    p->document = unpack_uint(&u);
    p->id = get_id(&u);
    p->kind = unpack_str(&u, RECORD_MAX_TEXT);
    record_get_version(&u, &p->version);
    p->kept_at_us = unpack_int(&u);
    p->origin = (enum outbox_origin)unpack_uint_to(&u, ORIGIN_COUNT - 1);
    p->json = unpack_bin(&u);
    p->tail = record_get_tail(&u, PENDING_KNOWN, take_pending_member, p);
    if (p->document == 0)
        unpack_spoil(&u, "a document without a number");
    return record_finish(&u, STORE_FORMAT, STORE_PENDING, key, fault);
}

/* ---- dead ------------------------------------------------------------------- */

enum { DEAD_FUNCTIONS = 1, DEAD_DEPLOYMENT = 2, DEAD_KNOWN = 6 };

static void put_dead_member(struct buf *out, unsigned key, const void *record)
{
    const struct dead_letter *d = record;

    if (key == DEAD_FUNCTIONS)
        pack_uint(out, d->functions);
    else
        pack_str(out, d->deployment);
}

static void take_dead_member(void *record, unsigned key, struct unpack *value)
{
    struct dead_letter *d = record;

    if (key == DEAD_FUNCTIONS)
        d->functions = (unsigned)unpack_uint_to(value, UINT32_MAX);
    else
        d->deployment = unpack_str(value, RECORD_MAX_DEPLOYMENT);
}

void record_put_dead(struct buf *out, const struct dead_letter *d)
{
    size_t from = out->len;

    PRE(d->document != 0); /* so it is read, too */
    pack_array(out, 11);
    pack_str(out, d->id);
    pack_str(out, d->kind);
    record_put_version(out, &d->version);
    pack_uint(out, d->attempts);
    pack_uint(out, d->tries);
    pack_int(out, d->died_at_us);
    pack_int(out, d->next_try_us);
    pack_str(out, d->why);
    pack_bin(out, d->answer);
    pack_bin(out, d->json);
    record_put_tail(out, d->tail, DEAD_KNOWN,
                    (d->functions > 0 ? 1u << DEAD_FUNCTIONS : 0u) |
                        (d->deployment.len > 0 ? 1u << DEAD_DEPLOYMENT : 0u),
                    put_dead_member, d);
    record_seal(out, from, STORE_DEAD, slice_of(&d->document, sizeof d->document));
}

enum err record_get_dead(struct slice key, struct slice value, struct dead_letter *d,
                         struct fault *fault)
{
    struct unpack u = record_open(STORE_DEAD, key, value);

    *d = (struct dead_letter){0};
    d->document = number_of(&u, key);
    unpack_array(&u, 11);
    d->id = get_id(&u);
    d->kind = unpack_str(&u, RECORD_MAX_TEXT);
    record_get_version(&u, &d->version);
    d->attempts = (uint32_t)unpack_uint_to(&u, UINT32_MAX);
    d->tries = (uint32_t)unpack_uint_to(&u, UINT32_MAX);
    d->died_at_us = unpack_int(&u);
    d->next_try_us = unpack_int(&u);
    d->why = unpack_str(&u, RECORD_MAX_TEXT);
    d->answer = unpack_bin(&u);
    d->json = unpack_bin(&u);
    d->tail = record_get_tail(&u, DEAD_KNOWN, take_dead_member, d);
    return record_finish(&u, STORE_FORMAT, STORE_DEAD, key, fault);
}

/* ---- quarantine ------------------------------------------------------------- */

void record_put_quarantined(struct buf *out, const struct quarantined *q)
{
    size_t from = out->len;

    pack_array(out, 6);
    pack_uint(out, (uint64_t)q->table);
    pack_bin(out, q->key);
    pack_bin(out, q->value);
    pack_str(out, q->why);
    pack_int(out, q->at_us);
    put_plain_tail(out, q->tail);
    record_seal(out, from, STORE_QUARANTINE, slice_of(&q->no, sizeof q->no));
}

enum err record_get_quarantined(struct slice key, struct slice value, struct quarantined *q,
                                struct fault *fault)
{
    struct unpack u = record_open(STORE_QUARANTINE, key, value);

    *q = (struct quarantined){0};
    q->no = number_of(&u, key);
    unpack_array(&u, 6);
    q->table = (enum store_table)unpack_uint_to(&u, STORE_TABLE_COUNT - 1);
    q->key = unpack_bin_to(&u, STORE_MAX_KEY);
    q->value = unpack_bin(&u);
    q->why = unpack_str(&u, RECORD_MAX_WHY);
    q->at_us = unpack_int(&u);
    q->tail = get_plain_tail(&u);
    return record_finish(&u, STORE_FORMAT, STORE_QUARANTINE, key, fault);
}

/* ---- damaged ones ----------------------------------------------------------- */

uint64_t record_json_bytes(enum store_table t, struct slice value)
{
    struct unpack u = unpack_over(value);
    int before = t == STORE_PENDING ? 6 : 9; /* fields before it */

    if (t != STORE_PENDING && t != STORE_DEAD)
        return 0;
    unpack_array(&u, t == STORE_PENDING ? 8 : 11);
    for (int i = 0; i < before; i++)
        unpack_any(&u);
    return unpack_bin(&u).len;
}

void record_pending_owner(struct slice value, uint64_t *document, struct slice *id)
{
    struct unpack u = unpack_over(value);

    unpack_array(&u, 8);
    *document = unpack_uint(&u);
    *id = get_id(&u);
}
