/*
 * record.c - msgpack records, written by msgpack-c, read in place.
 *
 * The happy path of writing: fields are packed one after the other into a buffer
 * the caller uses again and again.  Of reading: unpack goes over the value and
 * gives slices of it; nothing is copied or allocated, since a commit round reads
 * and writes thousands of checkpoints.
 *
 * What can go wrong: the bytes are not what was written (a torn page, a foreign
 * file).  unpack remembers the first field that is wrong; the end looks once.
 *
 * Any thread.
 */

#include "store/record.h"
#include "ground/unpack.h"

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

static void get_version(struct unpack *r, struct outbox_version *v)
{
    unpack_array(r, 8);
    uint64_t op = unpack_uint(r);
    v->op = op == OUTBOX_REMOVE ? OUTBOX_REMOVE : OUTBOX_UPSERT;
    v->reset = unpack_bool(r);
    v->seq = unpack_int(r);
    v->event_count = unpack_int(r);
    v->projected_at_us = unpack_int(r);
    struct slice hash = unpack_bin(r);
    v->version = unpack_str(r, RECORD_MAX_VERSION);
    v->revision = unpack_uint(r);
    if (op > OUTBOX_REMOVE)
        unpack_spoil(r, "an unknown operation");
    if (hash.len != sizeof v->hash)
        unpack_spoil(r, "a hash is not 32 bytes");
    else
        memcpy(v->hash, hash.data, sizeof v->hash);
    if (v->revision == 0)
        unpack_spoil(r, "a version without a revision");
}

static bool get_version_or_nil(struct unpack *r, struct outbox_version *v)
{
    if (unpack_nil(r))
        return false;
    get_version(r, v);
    return true;
}

/* To be asked last: what was wrong with the record under ${key}, if anything. */
static enum err finish(struct unpack *r, const char *table, struct slice key, struct fault *fault)
{
    if (unpack_end(r))
        return ERR_OK;
    fault_at(fault, "%s/%.*s", table, (int)(key.len < 200 ? key.len : 200), (const char *)key.data);
    return fault_fail(fault, ERR_STORE, NULL, "damaged record: %s", r->bad);
}

enum err record_get_counters(struct slice value, struct counters *c, struct fault *fault)
{
    struct unpack r = unpack_over(value);

    unpack_array(&r, 4);
    c->next_no = unpack_uint(&r);
    c->next_revision = unpack_uint(&r);
    c->pending_bytes = unpack_uint(&r);
    c->dead_bytes = unpack_uint(&r);
    if (c->next_no == 0 || c->next_revision == 0)
        unpack_spoil(&r, "counters begin at 1");
    return finish(&r, "meta", slice_str("counters"), fault);
}

enum err record_get_pending(struct slice key, struct slice value, struct pending *p,
                            struct fault *fault)
{
    struct unpack r = unpack_over(value);
    char text[32];

    *p = (struct pending){0};
    if (key.len == sizeof p->no)
        memcpy(&p->no, key.data, sizeof p->no);
    unpack_array(&r, 5);
    p->id = unpack_str(&r, RECORD_MAX_TEXT);
    p->kind = unpack_str(&r, RECORD_MAX_TEXT);
    get_version(&r, &p->version);
    p->kept_at_us = unpack_int(&r);
    p->json = unpack_bin(&r);
    if (p->id.len == 0 || p->no == 0)
        unpack_spoil(&r, "a document without an id or a number");
    if (unpack_end(&r))
        return ERR_OK;
    snprintf(text, sizeof text, "%llu", (unsigned long long)p->no);
    return finish(&r, "pending", slice_str(text), fault);
}

enum err record_get_checkpoint(struct slice key, struct slice value, struct checkpoint_record *c,
                               struct fault *fault)
{
    struct unpack r = unpack_over(value);
    struct checkpoint *cp = &c->cp;

    *c = (struct checkpoint_record){0};
    unpack_array(&r, 10);
    cp->kind = unpack_str(&r, RECORD_MAX_TEXT);
    cp->last_projected_us = unpack_int(&r);
    c->reset_revision = unpack_uint(&r);
    cp->is_dead = unpack_bool(&r);
    cp->pending_no = unpack_uint(&r);
    c->pending_bytes = unpack_uint(&r);
    c->pending_kept_at_us = unpack_int(&r);
    cp->has_pending = get_version_or_nil(&r, &cp->pending);
    cp->has_delivered = get_version_or_nil(&r, &cp->delivered);
    cp->fold = unpack_bin(&r);
    if (cp->has_pending != (cp->pending_no != 0))
        unpack_spoil(&r, "a pending version without a number, or the other way round");
    return finish(&r, "checkpoints", key, fault);
}

enum err record_get_dead(struct slice key, struct slice value, struct dead_letter *d,
                         struct fault *fault)
{
    struct unpack r = unpack_over(value);

    *d = (struct dead_letter){.id = key};
    unpack_array(&r, 7);
    d->kind = unpack_str(&r, RECORD_MAX_TEXT);
    get_version(&r, &d->version);
    uint64_t attempts = unpack_uint(&r);
    d->attempts = attempts > UINT32_MAX ? UINT32_MAX : (uint32_t)attempts;
    d->died_at_us = unpack_int(&r);
    d->why = unpack_str(&r, RECORD_MAX_TEXT);
    d->answer = unpack_bin(&r);
    d->json = unpack_bin(&r);
    return finish(&r, "dead", key, fault);
}
