/*
 * fold.c - the fold of an entity's events as bytes for the store.
 *
 * The happy path: fold_put writes a msgpack array of four, [seq, event_count,
 * type, inserted_at], the last two as the JSON text they have in the document;
 * fold_read takes it apart again when the next events of that entity come.
 *
 * What can go wrong: the bytes come from our own disk, and disks rot.  Whatever
 * is not exactly such an array (other arity, numbers out of range, text that is not
 * a JSON string) is ERR_INVALID, so that it can neither crash the store thread
 * nor break a document.  A projection with `reset` makes a new fold.
 *
 * To change the layout: add elements at the end, read both arities here, and
 * raise the store's format version.  Runs on the store thread.
 */

#include "ground/unpack.h"
#include "json/json.h"
#include "projection/fold.h"

#include <msgpack.h>

#define FOLD_ELEMENTS 4

static enum err broken(struct fault *fault, const char *what)
{
    return fault_say(fault, "", "the stored fold is broken (%s); project with reset and all events",
                     what);
}

static bool is_one_of(uint8_t c, const char *set)
{
    return c != 0 && strchr(set, c) != NULL;
}

/* The length of the escape at ${p}, after its backslash; 0: not an escape. */
static size_t escape_len(const uint8_t *p, size_t left)
{
    if (left == 0 || !is_one_of(p[0], "\"\\/bfnrtu"))
        return 0;
    if (p[0] != 'u')
        return 1;
    if (left < 5)
        return 0;
    for (size_t i = 1; i < 5; i++)
        if (!is_one_of(p[i], "0123456789abcdefABCDEF"))
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

/* From 1 to 2^53 - 1. */
static int64_t read_seq(struct unpack *u)
{
    uint64_t v = unpack_uint(u);

    if (v < 1 || v > FOLD_MAX_SEQ)
        unpack_spoil(u, "out of range");
    return u->bad ? 0 : (int64_t)v;
}

static struct slice read_text(struct unpack *u, bool may_be_null)
{
    struct slice text = unpack_str(u, FOLD_MAX_TEXT);

    if (!is_json_string(text) && !(may_be_null && slice_is(text, "null")))
        unpack_spoil(u, "no JSON string");
    return text;
}

enum err fold_read(struct slice bytes, struct fold *f, struct fault *fault)
{
    *f = (struct fold){0};
    if (bytes.len == 0)
        return ERR_OK;

    struct unpack u = unpack_over(bytes);
    unpack_array(&u, FOLD_ELEMENTS);
    if (u.bad)
        return broken(fault, "no array of four");
    f->seq = read_seq(&u);
    if (u.bad)
        return broken(fault, "seq");
    f->event_count = read_seq(&u);
    if (u.bad || f->event_count > f->seq)
        return broken(fault, "event_count");
    f->type_json = read_text(&u, false);
    if (u.bad)
        return broken(fault, "event type");
    f->inserted_at_json = read_text(&u, true);
    if (u.bad)
        return broken(fault, "event time");
    if (!unpack_end(&u))
        return broken(fault, "bytes behind its end");
    return ERR_OK;
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
    /* Both sources are checked: fold_get above, and put_events of projection_prepare.c. */
    PRE(f->type_json.len <= FOLD_MAX_TEXT && f->inserted_at_json.len <= FOLD_MAX_TEXT);
    msgpack_packer pack;
    msgpack_packer_init(&pack, out, append);
    msgpack_pack_array(&pack, FOLD_ELEMENTS);
    msgpack_pack_int64(&pack, f->seq);
    msgpack_pack_int64(&pack, f->event_count);
    msgpack_pack_str_with_body(&pack, f->type_json.data, f->type_json.len);
    msgpack_pack_str_with_body(&pack, f->inserted_at_json.data, f->inserted_at_json.len);
}
