/*
 * record_frame.c - what every record has around its fields: versions, the checksum, the tail of
 * optional members, and the fault of a damaged one.
 *
 * Any thread.
 */

#include "store/record_inside.h"

#include "ground/crc32c.h"
#include "store/record.h"

#define TAIL_MAX_MEMBERS 16
#define TAIL_MAX_BYTES   4096
#define TAIL_MAX_KEY     255
#define TAIL_OURS_BYTES  256 /* what this program writes, at most */

/* ---- what all formats share ------------------------------------------------- */

void record_put_version(struct buf *out, const struct outbox_version *v)
{
    PRE(v->version.len <= RECORD_MAX_VERSION); /* draft_check_version; so it is read, too */
    pack_array(out, 8);
    pack_uint(out, (uint64_t)v->op);
    pack_bool(out, v->reset);
    pack_int(out, v->seq);
    pack_int(out, v->event_count);
    pack_int(out, v->projected_at_us);
    pack_bin(out, slice_of(v->hash, sizeof v->hash));
    pack_str(out, v->version);
    pack_uint(out, v->revision);
}

void record_get_version(struct unpack *u, struct outbox_version *v)
{
    unpack_array(u, 8);
    v->op = unpack_uint_to(u, OUTBOX_REMOVE) == OUTBOX_REMOVE ? OUTBOX_REMOVE : OUTBOX_UPSERT;
    v->reset = unpack_bool(u);
    v->seq = unpack_int(u);
    v->event_count = unpack_int(u);
    v->projected_at_us = unpack_int(u);
    struct slice hash = unpack_bin_to(u, sizeof v->hash);
    v->version = unpack_str(u, RECORD_MAX_VERSION);
    v->revision = unpack_uint(u);
    if (hash.len != sizeof v->hash)
        unpack_spoil(u, "a hash is not 32 bytes");
    else
        memcpy(v->hash, hash.data, sizeof v->hash);
    if (v->revision == 0)
        unpack_spoil(u, "a version without a revision");
}

static void put_key_text(enum store_table t, bool is_number, struct slice key, char out[256])
{
    uint64_t no;

    if (is_number && key.len == sizeof no) {
        memcpy(&no, key.data, sizeof no);
        snprintf(out, 256, "%s/%llu", store_table_name(t), (unsigned long long)no);
    } else {
        snprintf(out, 256, "%s/%.*s", store_table_name(t), (int)(key.len < 200 ? key.len : 200),
                 (const char *)key.data);
    }
}

void record_key_text(enum store_table t, struct slice key, char out[256])
{
    put_key_text(t, store_table_is_numbered(t, STORE_FORMAT), key, out);
}

enum err record_finish(struct unpack *u, unsigned format, enum store_table t, struct slice key,
                       struct fault *fault)
{
    char text[256];

    if (u->bad == NULL && u->at != u->end)
        unpack_spoil(u, "bytes are left over");
    if (u->bad == NULL)
        return ERR_OK;
    put_key_text(t, store_table_is_numbered(t, format), key, text);
    return fault_fail(fault, ERR_STORE, text, "damaged record: %s", u->bad);
}

/* ---- the checksum ----------------------------------------------------------- */

static uint32_t sum_of(enum store_table t, struct slice key, struct slice body)
{
    const uint8_t head[3] = {(uint8_t)t, (uint8_t)key.len, (uint8_t)(key.len >> 8)};
    uint32_t crc = crc32c(0, slice_of(head, sizeof head));

    return crc32c(crc32c(crc, key), body);
}

/* End the record that begins at ${from}. */
void record_seal(struct buf *out, size_t from, enum store_table t, struct slice key)
{
    struct slice body =
        out->len > from ? slice_of(out->data + from, out->len - from) : slice_str("");

    record_put_le(out, sum_of(t, key, body), RECORD_CRC_BYTES);
}

/* The body of ${value}; empty if it is damaged. */
struct unpack record_open(enum store_table t, struct slice key, struct slice value)
{
    struct unpack u = unpack_over(slice_of("", 0));
    size_t len = value.len - RECORD_CRC_BYTES;

    if (value.len < RECORD_CRC_BYTES)
        unpack_spoil(&u, "it ends too early");
    else if (record_get_le(value.data + len, RECORD_CRC_BYTES) !=
             sum_of(t, key, slice_of(value.data, len)))
        unpack_spoil(&u, "its checksum is another one");
    else
        u = unpack_over(slice_of(value.data, len));
    return u;
}

bool record_is_of_another(enum store_table t, struct slice key, struct slice value)
{
    size_t len = value.len - RECORD_CRC_BYTES;

    if (value.len < RECORD_CRC_BYTES)
        return false;
    uint64_t crc = record_get_le(value.data + len, RECORD_CRC_BYTES);
    for (enum store_table other = 0; other < STORE_TABLE_COUNT; other++)
        if (other != t && crc == sum_of(other, key, slice_of(value.data, len)))
            return true;
    return false;
}

/* ---- optional members ------------------------------------------------------- */

/* The next pair of ${u}: its key, and its encoded value. */
static unsigned get_member(struct unpack *u, struct slice *value)
{
    unsigned key = (unsigned)unpack_uint_to(u, TAIL_MAX_KEY);

    *value = unpack_any(u);
    return key;
}

/* The tail; the members with a bit in ${known} go to ${take}. */
struct slice record_get_tail(struct unpack *u, uint32_t known,
                             void (*take)(void *record, unsigned key, struct unpack *value),
                             void *record)
{
    uint32_t count = unpack_map(u, TAIL_MAX_MEMBERS);
    const uint8_t *from = u->at;
    unsigned next = 0;

    for (uint32_t i = 0; i < count && u->bad == NULL; i++) {
        struct slice bytes;
        unsigned key = get_member(u, &bytes);
        if (u->bad == NULL && key < next)
            unpack_spoil(u, "optional members are out of order");
        next = key + 1;
        if (u->bad != NULL || key >= 32 || !(known >> key & 1))
            continue;
        struct unpack value = unpack_over(bytes);
        take(record, key, &value);
        if (value.bad != NULL || value.at != value.end)
            unpack_spoil(u, "an optional member is not what it should be");
    }
    if (u->bad == NULL && u->at - from > TAIL_MAX_BYTES)
        unpack_spoil(u, "there are too many optional members");
    return u->bad == NULL ? slice_of(from, (size_t)(u->at - from)) : slice_of("", 0);
}

static bool is_known(unsigned key, uint32_t known)
{
    return key < 32 && (known >> key & 1);
}

static uint32_t count_unknown(struct slice tail, uint32_t known)
{
    struct unpack u = unpack_over(tail);
    struct slice value;
    uint32_t n = 0;

    while (u.at < u.end)
        n += !is_known(get_member(&u, &value), known);
    PRE(u.bad == NULL); /* it was read by get_tail */
    return n;
}

/* The members that this program knows (${known}) and has (${present}, a bit each), merged in order
 * with those of ${tail} that it does not know. */
void record_put_tail(struct buf *out, struct slice tail, uint32_t known, uint32_t present,
                     void (*put)(struct buf *out, unsigned key, const void *record),
                     const void *record)
{
    uint32_t mine = (uint32_t)__builtin_popcount(present), others = count_unknown(tail, known);
    bool fits = mine + others <= TAIL_MAX_MEMBERS && tail.len + TAIL_OURS_BYTES <= TAIL_MAX_BYTES;
    struct unpack u = unpack_over(fits ? tail : slice_of("", 0));
    unsigned next = 0;

    pack_map(out, u.at < u.end ? mine + others : mine);
    for (;;) {
        bool has_other = u.at < u.end;
        struct slice value = {0};
        unsigned key = has_other ? get_member(&u, &value) : 32;
        for (; next < 32 && next <= key; next++)
            if (present >> next & 1) {
                pack_uint(out, next);
                put(out, next, record);
            }
        if (!has_other)
            return;
        if (is_known(key, known))
            continue;
        pack_uint(out, key);
        buf_slice(out, value);
    }
}
