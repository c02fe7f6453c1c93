/*
 * fold.c - the fold of an entity's events as bytes for the store.
 *
 * The happy path: fold_put writes a msgpack array of four, [seq, event_count,
 * type, inserted_at], the last two as the JSON text they have in the document;
 * fold_read takes it apart again when the next events of that entity come.
 *
 * What can go wrong: the bytes come from our own disk, and disks rot.  Whatever
 * is not exactly such an array (other arity, numbers out of range, text that is
 * no JSON string) is ERR_INVALID, so that it can neither crash the store thread
 * nor break a document.  A projection with `reset` makes a new fold.
 *
 * To change the layout: add elements at the end, read both arities here, and
 * raise the store's format version.  Runs on the store thread.
 */

#include "fold.h"
#include "json.h"

#include <msgpack.h>

#define FOLD_ELEMENTS 4

static enum err broken(struct fault *fault, const char *what)
{
    fault->path[0] = '\0';
    snprintf(fault->why, sizeof fault->why,
             "the stored fold is broken (%s); project with reset and all events", what);
    return ERR_INVALID;
}

/* The characters after a backslash: how many of them ${p} spells, 0 when they are no escape. */
static size_t escape_len(const uint8_t *p, size_t left)
{
    if (left == 0 || memchr("\"\\/bfnrtu", p[0], 9) == NULL)
        return 0;
    if (p[0] != 'u')
        return 1;
    if (left < 5)
        return 0;
    for (size_t i = 1; i < 5; i++)
        if (memchr("0123456789abcdefABCDEF", p[i], 22) == NULL)
            return 0;
    return 5;
}

static bool is_json_string(struct slice s)
{
    if (s.len < 2 || s.len > FOLD_MAX_TEXT || s.data[0] != '"' || s.data[s.len - 1] != '"')
        return false;
    if (!json_is_utf8(s))
        return false;
    for (size_t i = 1; i < s.len - 1; i++) {
        if (s.data[i] < 0x20 || s.data[i] == '"')
            return false;
        if (s.data[i] != '\\')
            continue;
        size_t n = escape_len(s.data + i + 1, s.len - 2 - i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

static bool read_seq(const msgpack_object *o, int64_t *v)
{
    if (o->type != MSGPACK_OBJECT_POSITIVE_INTEGER || o->via.u64 < 1 || o->via.u64 > FOLD_MAX_SEQ)
        return false;
    *v = (int64_t)o->via.u64;
    return true;
}

static bool read_text(const msgpack_object *o, bool may_be_null, struct slice *text)
{
    if (o->type != MSGPACK_OBJECT_STR)
        return false;
    *text = slice_of(o->via.str.ptr, o->via.str.size);
    return is_json_string(*text) || (may_be_null && slice_is(*text, "null"));
}

static enum err read_object(const msgpack_object *o, struct fold *f, struct fault *fault)
{
    if (o->type != MSGPACK_OBJECT_ARRAY || o->via.array.size != FOLD_ELEMENTS)
        return broken(fault, "no array of four");
    const msgpack_object *e = o->via.array.ptr;
    if (!read_seq(&e[0], &f->seq))
        return broken(fault, "seq");
    if (!read_seq(&e[1], &f->event_count) || f->event_count > f->seq)
        return broken(fault, "event_count");
    if (!read_text(&e[2], false, &f->type_json))
        return broken(fault, "event type");
    if (!read_text(&e[3], true, &f->inserted_at_json))
        return broken(fault, "event time");
    return ERR_OK;
}

enum err fold_read(struct slice bytes, struct fold *f, struct fault *fault)
{
    *f = (struct fold){0};
    if (bytes.len == 0)
        return ERR_OK;

    msgpack_unpacked unpacked;
    size_t used = 0;
    msgpack_unpacked_init(&unpacked);
    enum err e;
    if (msgpack_unpack_next(&unpacked, (const char *)bytes.data, bytes.len, &used) !=
            MSGPACK_UNPACK_SUCCESS ||
        used != bytes.len)
        e = broken(fault, "no msgpack");
    else
        e = read_object(&unpacked.data, f, fault);
    msgpack_unpacked_destroy(&unpacked); /* its strings lie in bytes, not in the zone */
    return e;
}

static int append(void *out, const char *data, size_t len)
{
    buf_add(out, data, len);
    return 0;
}

void fold_put(struct buf *out, const struct fold *f)
{
    if (f->seq == 0)
        return;
    PRE(f->type_json.len <= FOLD_MAX_TEXT && f->inserted_at_json.len <= FOLD_MAX_TEXT);
    msgpack_packer pack;
    msgpack_packer_init(&pack, out, append);
    msgpack_pack_array(&pack, FOLD_ELEMENTS);
    msgpack_pack_int64(&pack, f->seq);
    msgpack_pack_int64(&pack, f->event_count);
    msgpack_pack_str_with_body(&pack, f->type_json.data, f->type_json.len);
    msgpack_pack_str_with_body(&pack, f->inserted_at_json.data, f->inserted_at_json.len);
}
