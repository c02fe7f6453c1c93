/*
 * record.c - msgpack records, written by msgpack-c, read in place.
 *
 * The happy path of writing: fields are packed one after the other into a buffer
 * the caller uses again and again.  Of reading: a cursor goes over the value and
 * gives slices of it; nothing is copied or allocated, since a commit round reads
 * and writes thousands of checkpoints (msgpack_unpack would build a tree for each).
 *
 * What can go wrong: the bytes are not what was written (a torn page, a foreign
 * file).  The first field that is wrong is remembered in `bad`; every later read
 * answers zero or empty; the end looks once.  Nothing here trusts a length.
 *
 * Any thread.
 */

#include "store/record.h"

#include <msgpack.h>

/* ---- writing -------------------------------------------------------------- */

static int append(void *out, const char *data, size_t len)
{
    buf_add(out, data, len);
    return 0;
}

static void put_str(msgpack_packer *pk, struct slice s)
{
    msgpack_pack_str(pk, s.len);
    msgpack_pack_str_body(pk, s.data, s.len);
}

static void put_bin(msgpack_packer *pk, struct slice s)
{
    msgpack_pack_bin(pk, s.len);
    msgpack_pack_bin_body(pk, s.data, s.len);
}

static void put_bool(msgpack_packer *pk, bool on)
{
    if (on)
        msgpack_pack_true(pk);
    else
        msgpack_pack_false(pk);
}

static void put_version(msgpack_packer *pk, const struct outbox_version *v)
{
    PRE(v->version.len <= RECORD_MAX_VERSION);
    msgpack_pack_array(pk, 8);
    msgpack_pack_uint8(pk, (uint8_t)v->op);
    put_bool(pk, v->reset);
    msgpack_pack_int64(pk, v->seq);
    msgpack_pack_int64(pk, v->event_count);
    msgpack_pack_int64(pk, v->projected_at_us);
    put_bin(pk, slice_of(v->hash, sizeof v->hash));
    put_str(pk, v->version);
    msgpack_pack_uint64(pk, v->revision);
}

static void put_version_or_nil(msgpack_packer *pk, bool present, const struct outbox_version *v)
{
    if (present)
        put_version(pk, v);
    else
        msgpack_pack_nil(pk);
}

void record_put_counters(struct buf *out, const struct counters *c)
{
    msgpack_packer pk;

    msgpack_packer_init(&pk, out, append);
    msgpack_pack_array(&pk, 4);
    msgpack_pack_uint64(&pk, c->next_no);
    msgpack_pack_uint64(&pk, c->next_revision);
    msgpack_pack_uint64(&pk, c->pending_bytes);
    msgpack_pack_uint64(&pk, c->dead_bytes);
}

void record_put_pending(struct buf *out, const struct pending *p)
{
    msgpack_packer pk;

    msgpack_packer_init(&pk, out, append);
    msgpack_pack_array(&pk, 5);
    put_str(&pk, p->id);
    put_str(&pk, p->kind);
    put_version(&pk, &p->version);
    msgpack_pack_int64(&pk, p->kept_at_us);
    put_bin(&pk, p->json);
}

void record_put_checkpoint(struct buf *out, const struct checkpoint_record *c)
{
    const struct checkpoint *cp = &c->cp;
    msgpack_packer pk;

    PRE(cp->has_pending == (cp->pending_no != 0));
    msgpack_packer_init(&pk, out, append);
    msgpack_pack_array(&pk, 10);
    put_str(&pk, cp->kind);
    msgpack_pack_int64(&pk, cp->last_projected_us);
    msgpack_pack_uint64(&pk, c->reset_revision);
    put_bool(&pk, cp->is_dead);
    msgpack_pack_uint64(&pk, cp->pending_no);
    msgpack_pack_uint64(&pk, c->pending_bytes);
    msgpack_pack_int64(&pk, c->pending_kept_at_us);
    put_version_or_nil(&pk, cp->has_pending, &cp->pending);
    put_version_or_nil(&pk, cp->has_delivered, &cp->delivered);
    put_bin(&pk, cp->fold);
}

void record_put_dead(struct buf *out, const struct dead_letter *d)
{
    msgpack_packer pk;

    msgpack_packer_init(&pk, out, append);
    msgpack_pack_array(&pk, 7);
    put_str(&pk, d->kind);
    put_version(&pk, &d->version);
    msgpack_pack_uint32(&pk, d->attempts);
    msgpack_pack_int64(&pk, d->died_at_us);
    put_str(&pk, d->why);
    put_bin(&pk, d->answer);
    put_bin(&pk, d->json);
}

/* ---- reading -------------------------------------------------------------- */

struct reader {
    const uint8_t *at, *end;
    const char *bad; /* the first thing that was wrong; NULL: nothing yet */
};

static void spoil(struct reader *r, const char *bad)
{
    if (r->bad == NULL)
        r->bad = bad;
    r->at = r->end;
}

/* The next ${n} bytes; when they are not there, as many zeros as any caller looks at. */
static const uint8_t *take(struct reader *r, size_t n)
{
    static const uint8_t zeros[8];

    if ((size_t)(r->end - r->at) < n) {
        spoil(r, "it ends too early");
        return zeros;
    }
    r->at += n;
    return r->at - n;
}

static uint64_t take_be(struct reader *r, size_t n)
{
    const uint8_t *p = take(r, n);
    uint64_t v = 0;

    for (size_t i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

static uint64_t get_uint(struct reader *r)
{
    uint8_t tag = *take(r, 1);

    if (tag < 0x80)
        return tag;
    if (tag >= 0xcc && tag <= 0xcf)
        return take_be(r, (size_t)1 << (tag - 0xcc));
    spoil(r, "a count is no unsigned integer");
    return 0;
}

static int64_t get_int(struct reader *r)
{
    uint8_t tag = r->at < r->end ? *r->at : 0;

    if (tag >= 0xe0)
        return (int8_t)*take(r, 1);
    if (tag >= 0xd0 && tag <= 0xd3)
        take(r, 1);
    switch (tag) {
    case 0xd0:
        return (int8_t)take_be(r, 1);
    case 0xd1:
        return (int16_t)take_be(r, 2);
    case 0xd2:
        return (int32_t)take_be(r, 4);
    case 0xd3:
        return (int64_t)take_be(r, 8);
    default:
        break;
    }
    uint64_t v = get_uint(r);
    if (v > INT64_MAX)
        spoil(r, "a number is out of range");
    return v > INT64_MAX ? 0 : (int64_t)v;
}

static bool get_bool(struct reader *r)
{
    uint8_t tag = *take(r, 1);

    if (tag != 0xc2 && tag != 0xc3)
        spoil(r, "a flag is neither true nor false");
    return tag == 0xc3;
}

/* Whether nil comes next; if so it is taken. */
static bool get_nil(struct reader *r)
{
    if (r->at == r->end || *r->at != 0xc0)
        return false;
    r->at++;
    return true;
}

static void get_array(struct reader *r, uint64_t fields)
{
    if (*take(r, 1) != (0x90 | fields))
        spoil(r, "an array has not the fields it should have");
}

static struct slice get_body(struct reader *r, uint64_t len)
{
    if (len > (uint64_t)(r->end - r->at)) {
        spoil(r, "it ends too early");
        return slice_of("", 0);
    }
    return slice_of(take(r, (size_t)len), (size_t)len);
}

static struct slice get_str(struct reader *r, size_t max)
{
    uint8_t tag = *take(r, 1);
    uint64_t len = 0;

    if (tag >= 0xa0 && tag <= 0xbf)
        len = tag & 0x1f;
    else if (tag >= 0xd9 && tag <= 0xdb)
        len = take_be(r, (size_t)1 << (tag - 0xd9));
    else
        spoil(r, "a text is no text");
    if (len > max)
        spoil(r, "a text is too long");
    return get_body(r, len);
}

static struct slice get_bin(struct reader *r)
{
    uint8_t tag = *take(r, 1);

    if (tag >= 0xc4 && tag <= 0xc6)
        return get_body(r, take_be(r, (size_t)1 << (tag - 0xc4)));
    spoil(r, "bytes are no bytes");
    return slice_of("", 0);
}

static void get_version(struct reader *r, struct outbox_version *v)
{
    get_array(r, 8);
    uint64_t op = get_uint(r);
    v->op = op == OUTBOX_REMOVE ? OUTBOX_REMOVE : OUTBOX_UPSERT;
    v->reset = get_bool(r);
    v->seq = get_int(r);
    v->event_count = get_int(r);
    v->projected_at_us = get_int(r);
    struct slice hash = get_bin(r);
    v->version = get_str(r, RECORD_MAX_VERSION);
    v->revision = get_uint(r);
    if (op > OUTBOX_REMOVE)
        spoil(r, "an unknown operation");
    if (hash.len != sizeof v->hash)
        spoil(r, "a hash is not 32 bytes");
    else
        memcpy(v->hash, hash.data, sizeof v->hash);
    if (v->revision == 0)
        spoil(r, "a version without a revision");
}

static bool get_version_or_nil(struct reader *r, struct outbox_version *v)
{
    if (get_nil(r))
        return false;
    get_version(r, v);
    return true;
}

static struct reader reader_over(struct slice value)
{
    return (struct reader){value.data, value.data + value.len, NULL};
}

static enum err finish(struct reader *r, const char *table, const char *key, struct fault *fault)
{
    if (r->bad == NULL && r->at != r->end)
        spoil(r, "bytes are left over");
    if (r->bad == NULL)
        return ERR_OK;
    fault_at(fault, "%s/%.200s", table, key);
    return fault_fail(fault, ERR_STORE, NULL, "damaged record: %s", r->bad);
}

static enum err finish_id(struct reader *r, const char *table, struct slice key,
                          struct fault *fault)
{
    char text[256];

    if (r->bad == NULL && r->at == r->end)
        return ERR_OK;
    snprintf(text, sizeof text, "%.*s", (int)(key.len < 200 ? key.len : 200),
             (const char *)key.data);
    return finish(r, table, text, fault);
}

enum err record_get_counters(struct slice value, struct counters *c, struct fault *fault)
{
    struct reader r = reader_over(value);

    get_array(&r, 4);
    c->next_no = get_uint(&r);
    c->next_revision = get_uint(&r);
    c->pending_bytes = get_uint(&r);
    c->dead_bytes = get_uint(&r);
    if (c->next_no == 0 || c->next_revision == 0)
        spoil(&r, "counters begin at 1");
    return finish(&r, "meta", "counters", fault);
}

enum err record_get_pending(struct slice key, struct slice value, struct pending *p,
                            struct fault *fault)
{
    struct reader r = reader_over(value);
    char text[32];

    *p = (struct pending){0};
    if (key.len == sizeof p->no)
        memcpy(&p->no, key.data, sizeof p->no);
    get_array(&r, 5);
    p->id = get_str(&r, RECORD_MAX_TEXT);
    p->kind = get_str(&r, RECORD_MAX_TEXT);
    get_version(&r, &p->version);
    p->kept_at_us = get_int(&r);
    p->json = get_bin(&r);
    if (p->id.len == 0 || p->no == 0)
        spoil(&r, "a document without an id or a number");
    snprintf(text, sizeof text, "%llu", (unsigned long long)p->no);
    return finish(&r, "pending", text, fault);
}

enum err record_get_checkpoint(struct slice key, struct slice value, struct checkpoint_record *c,
                               struct fault *fault)
{
    struct reader r = reader_over(value);
    struct checkpoint *cp = &c->cp;

    *c = (struct checkpoint_record){0};
    get_array(&r, 10);
    cp->kind = get_str(&r, RECORD_MAX_TEXT);
    cp->last_projected_us = get_int(&r);
    c->reset_revision = get_uint(&r);
    cp->is_dead = get_bool(&r);
    cp->pending_no = get_uint(&r);
    c->pending_bytes = get_uint(&r);
    c->pending_kept_at_us = get_int(&r);
    cp->has_pending = get_version_or_nil(&r, &cp->pending);
    cp->has_delivered = get_version_or_nil(&r, &cp->delivered);
    cp->fold = get_bin(&r);
    if (cp->has_pending != (cp->pending_no != 0))
        spoil(&r, "a pending version without a number, or the other way round");
    return finish_id(&r, "checkpoints", key, fault);
}

enum err record_get_dead(struct slice key, struct slice value, struct dead_letter *d,
                         struct fault *fault)
{
    struct reader r = reader_over(value);

    *d = (struct dead_letter){.id = key};
    get_array(&r, 7);
    d->kind = get_str(&r, RECORD_MAX_TEXT);
    get_version(&r, &d->version);
    uint64_t attempts = get_uint(&r);
    d->attempts = attempts > UINT32_MAX ? UINT32_MAX : (uint32_t)attempts;
    d->died_at_us = get_int(&r);
    d->why = get_str(&r, RECORD_MAX_TEXT);
    d->answer = get_bin(&r);
    d->json = get_bin(&r);
    return finish_id(&r, "dead", key, fault);
}
