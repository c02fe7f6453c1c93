/*
 * record_1.c - the records of format 1, as sidecars before 0.2 wrote them.
 *
 * For migrations, both ways, and for reading an old store.  What can go wrong: a field is invalid;
 * nothing else shows that a record is damaged.  Any thread.
 */

#include "store/record_1.h"

#include "store/record_inside.h"

static void put_version_or_nil(struct buf *out, bool present, const struct outbox_version *v)
{
    if (present)
        record_put_version(out, v);
    else
        pack_nil(out);
}

static bool get_version_or_nil(struct unpack *u, struct outbox_version *v)
{
    if (unpack_nil(u))
        return false;
    record_get_version(u, v);
    return true;
}

void record_1_put_counters(struct buf *out, const struct counters *c)
{
    pack_array(out, 4);
    pack_uint(out, c->next_no);
    pack_uint(out, c->next_revision);
    pack_uint(out, c->pending_bytes);
    pack_uint(out, c->dead_bytes);
}

enum err record_1_get_counters(struct slice value, struct counters *c, struct fault *fault)
{
    struct unpack u = unpack_over(value);

    *c = (struct counters){.next_document = 1, .next_quarantine = 1};
    unpack_array(&u, 4);
    c->next_no = unpack_uint_to(&u, LANE_LIVE - 1);
    c->next_revision = unpack_uint(&u);
    c->pending_bytes = unpack_uint(&u);
    c->dead_bytes = unpack_uint(&u);
    if (c->next_no == 0 || c->next_revision == 0)
        unpack_spoil(&u, "counters begin at 1");
    return record_finish(&u, 1, STORE_META, slice_str("counters"), fault);
}

void record_1_put_pending(struct buf *out, const struct pending *p)
{
    pack_array(out, 5);
    pack_str(out, p->id);
    pack_str(out, p->kind);
    record_put_version(out, &p->version);
    pack_int(out, p->kept_at_us);
    pack_bin(out, p->json);
}

enum err record_1_get_pending(struct slice key, struct slice value, struct pending *p,
                              struct fault *fault)
{
    struct unpack u = unpack_over(value);

    *p = (struct pending){0};
    if (key.len == sizeof p->no)
        memcpy(&p->no, key.data, sizeof p->no);
    unpack_array(&u, 5);
    p->id = unpack_str(&u, RECORD_MAX_TEXT);
    p->kind = unpack_str(&u, RECORD_MAX_TEXT);
    record_get_version(&u, &p->version);
    p->kept_at_us = unpack_int(&u);
    p->json = unpack_bin(&u);
    if (p->id.len == 0 || p->no == 0 || p->no >= LANE_LIVE)
        unpack_spoil(&u, "a document without an id or a number");
    return record_finish(&u, 1, STORE_PENDING, key, fault);
}

void record_1_put_checkpoint(struct buf *out, const struct checkpoint_record *c)
{
    const struct checkpoint *cp = &c->cp;

    PRE(cp->has_pending == (cp->pending_no != 0)); /* so they are read, too */
    pack_array(out, 10);
    pack_str(out, cp->kind);
    pack_int(out, cp->last_projected_us);
    pack_uint(out, c->reset_revision);
    pack_bool(out, cp->is_dead);
    pack_uint(out, cp->pending_no);
    pack_uint(out, c->pending_bytes);
    pack_int(out, c->pending_kept_at_us);
    put_version_or_nil(out, cp->has_pending, &cp->pending);
    put_version_or_nil(out, cp->has_delivered, &cp->delivered);
    pack_bin(out, cp->fold);
}

enum err record_1_get_checkpoint(struct slice key, struct slice value, struct checkpoint_record *c,
                                 struct fault *fault)
{
    struct unpack u = unpack_over(value);
    struct checkpoint *cp = &c->cp;

    *c = (struct checkpoint_record){.id = key};
    unpack_array(&u, 10);
    cp->kind = unpack_str(&u, RECORD_MAX_TEXT);
    cp->last_projected_us = unpack_int(&u);
    c->reset_revision = unpack_uint(&u);
    cp->is_dead = unpack_bool(&u);
    cp->pending_no = unpack_uint_to(&u, LANE_LIVE - 1);
    c->pending_bytes = unpack_uint(&u);
    c->pending_kept_at_us = unpack_int(&u);
    cp->has_pending = get_version_or_nil(&u, &cp->pending);
    cp->has_delivered = get_version_or_nil(&u, &cp->delivered);
    cp->fold = unpack_bin_to(&u, RECORD_MAX_FOLD);
    if (cp->has_pending != (cp->pending_no != 0))
        unpack_spoil(&u, "a pending version without a number, or the other way round");
    return record_finish(&u, 1, STORE_CHECKPOINTS, key, fault);
}

void record_1_put_dead(struct buf *out, const struct dead_letter *d)
{
    pack_array(out, 7);
    pack_str(out, d->kind);
    record_put_version(out, &d->version);
    pack_uint(out, d->attempts);
    pack_int(out, d->died_at_us);
    pack_str(out, d->why);
    pack_bin(out, d->answer);
    pack_bin(out, d->json);
}

enum err record_1_get_dead(struct slice key, struct slice value, struct dead_letter *d,
                           struct fault *fault)
{
    struct unpack u = unpack_over(value);

    *d = (struct dead_letter){.id = key};
    unpack_array(&u, 7);
    d->kind = unpack_str(&u, RECORD_MAX_TEXT);
    record_get_version(&u, &d->version);
    uint64_t attempts = unpack_uint(&u);
    d->attempts = attempts > UINT32_MAX ? UINT32_MAX : (uint32_t)attempts;
    d->died_at_us = unpack_int(&u);
    d->why = unpack_str(&u, RECORD_MAX_TEXT);
    d->answer = unpack_bin(&u);
    d->json = unpack_bin(&u);
    return record_finish(&u, 1, STORE_DEAD, key, fault);
}

/* ---- what is recorded twice -------------------------------------------------- */

/* Like the names of kinds. */
static bool is_plain(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] <= ' ' || text.data[i] > '~')
            return false;
    return text.len > 0;
}

bool record_1_agree(struct pending *p, struct slice kind, int64_t last_us)
{
    bool is_same = slice_eq(p->kind, kind), is_early = p->version.projected_at_us <= last_us;

    if (!is_same && (is_plain(kind) || !is_plain(p->kind)))
        p->kind = kind;
    if (!is_early)
        p->version.projected_at_us = last_us;
    return is_same && is_early;
}
