/*
 * bodies.c - what is posted to /api/mutation, piece by piece.
 *
 * A document's JSON goes in as it is, byte for byte.  Nothing here can go wrong: ids and kinds were
 * checked when they were kept.
 *
 * No state, any thread.
 */

#include "convex/bodies.h"

#include "ground/hex.h"
#include "ground/time_text.h"
#include "json/json.h"

static void put_key(struct buf *b, const char *opening_and_key)
{
    buf_str(b, opening_and_key);
    buf_byte(b, ':');
}

static void put_projected_at(struct buf *b, int64_t us)
{
    char time[32];

    time_text_put(us, time);
    put_key(b, ",\"projected_at\"");
    json_put_string(b, slice_str(time));
}

void body_put_opening(struct buf *b, const char *batch_mutation)
{
    put_key(b, "{\"path\"");
    json_put_string(b, slice_str(batch_mutation));
    buf_str(b, ",\"format\":\"json\",\"args\":{\"items\":[");
}

void body_put_item(struct buf *b, const struct pending *p)
{
    char hash[65];

    put_key(b, "{\"kind\"");
    json_put_string(b, p->kind);
    put_key(b, ",\"document_id\"");
    json_put_string(b, p->id);
    put_key(b, ",\"seq\"");
    json_put_integer(b, p->version.seq);
    if (p->version.op == OUTBOX_REMOVE) {
        buf_str(b, ",\"op\":\"remove\"");
        put_projected_at(b, p->version.projected_at_us);
    } else {
        hex_put(p->version.hash, 32, hash);
        put_key(b, ",\"content_hash\"");
        json_put_string(b, slice_str(hash));
        if (p->version.reset)
            buf_str(b, ",\"reset\":true");
        put_key(b, ",\"summary\"");
        buf_slice(b, p->json);
    }
    buf_byte(b, '}');
}

/* The members that both forms of a control have. */
static void put_control(struct buf *b, const char *store_id, struct slice kind, int64_t at_us)
{
    put_key(b, ",\"document_id\"");
    json_put_string(b, slice_str(store_id));
    put_projected_at(b, at_us);
    buf_str(b, ",\"summary\":{\"kind\":");
    json_put_string(b, kind);
    buf_byte(b, '}');
}

void body_put_control_item(struct buf *b, const char *store_id, struct slice kind, int64_t at_us)
{
    buf_str(b, "{\"kind\":\"_control\"");
    put_control(b, store_id, kind, at_us);
    buf_byte(b, '}');
}

static void put_single_opening(struct buf *b, const char *path)
{
    put_key(b, "{\"path\"");
    json_put_string(b, slice_str(path));
    buf_str(b, ",\"format\":\"convex_encoded_json\",\"args\":[{");
}

void body_put_single(struct buf *b, const char *path, const struct pending *p)
{
    put_single_opening(b, path);
    if (p->version.op == OUTBOX_REMOVE) {
        put_key(b, "\"kind\"");
        json_put_string(b, p->kind);
        buf_byte(b, ',');
    }
    put_key(b, "\"document_id\"");
    json_put_string(b, p->id);
    if (p->version.op == OUTBOX_REMOVE) {
        put_projected_at(b, p->version.projected_at_us);
        put_key(b, ",\"seq\"");
        json_put_integer(b, p->version.seq);
    } else {
        put_key(b, ",\"summary\"");
        buf_slice(b, p->json);
        if (p->version.reset)
            buf_str(b, ",\"reset\":true");
    }
}

void body_put_single_control(struct buf *b, const char *path, const char *store_id,
                             struct slice kind, int64_t at_us)
{
    put_single_opening(b, path);
    buf_str(b, "\"control\":true");
    put_control(b, store_id, kind, at_us);
}
