/*
 * recent.c - the last few events that were folded, as checksums of two bytes.
 *
 * The happy path: folded events are added, kept with the fold, and read with it; when the log turns
 * out to be shorter than the fold, its last event is compared with the one folded under its seq.
 *
 * What can go wrong: two events may have the same checksum, or one may be too old to be known. Then
 * no difference is seen, and the caller waits a while before the document may go below.  Bytes that
 * do not match their fold are ignored.
 *
 * Pure; any thread.
 */

#include "projection/recent.h"

#include "ground/crc32c.h"

enum { SIZE = 2 };

static uint16_t *place(struct recent *r, int64_t seq)
{
    return &r->marks[(uint64_t)seq % RECENT_EVENTS];
}

uint16_t recent_mark(struct slice type_json, struct slice at_json)
{
    uint32_t crc = crc32c(crc32c(0, type_json), at_json);

    return (uint16_t)(crc ^ crc >> 16);
}

void recent_add(struct recent *r, int64_t seq, uint16_t mark)
{
    if (seq != r->last + 1)
        r->count = 0;
    r->last = seq;
    r->count += r->count < RECENT_EVENTS ? 1 : 0;
    *place(r, seq) = mark;
}

void recent_follow(struct recent *r, const struct recent *given)
{
    int64_t first = given->last - (int64_t)given->count + 1;

    for (int64_t seq = first > r->last ? first : r->last + 1; seq <= given->last; seq++)
        recent_add(r, seq, given->marks[(uint64_t)seq % RECENT_EVENTS]);
}

void recent_end(struct recent *r, int64_t seq, uint16_t mark)
{
    uint64_t lost = r->last >= seq ? (uint64_t)(r->last - seq) + 1 : 0;

    r->count = lost > 0 && lost < r->count ? r->count - (size_t)lost : 0;
    r->last = seq - 1;
    recent_add(r, seq, mark);
}

bool recent_differs(const struct recent *r, int64_t seq, uint16_t mark)
{
    return seq <= r->last && seq > r->last - (int64_t)r->count &&
           r->marks[(uint64_t)seq % RECENT_EVENTS] != mark;
}

uint16_t recent_last_mark(const struct recent *r)
{
    PRE(r->count > 0);
    return r->marks[(uint64_t)r->last % RECENT_EVENTS];
}

static void put_le(struct buf *out, uint16_t v)
{
    buf_byte(out, (uint8_t)(v & 0xff));
    buf_byte(out, (uint8_t)(v >> 8));
}

static uint16_t get_le(struct slice bytes, size_t i)
{
    const uint8_t *at = bytes.data + i * SIZE;

    return (uint16_t)(at[0] | at[1] << 8);
}

/* The end of the last seq, then the checksums from the last one down. */
void recent_put(struct buf *out, const struct recent *r)
{
    if (r->count == 0)
        return;
    put_le(out, (uint16_t)((uint64_t)r->last & 0xffff));
    for (size_t i = 0; i < r->count; i++)
        put_le(out, r->marks[(uint64_t)(r->last - (int64_t)i) % RECENT_EVENTS]);
}

void recent_read(struct slice bytes, int64_t last, struct recent *r)
{
    size_t count = bytes.len / SIZE;

    *r = (struct recent){.last = last};
    if (bytes.len % SIZE != 0 || count < 2 || count > RECENT_EVENTS + 1 ||
        (int64_t)count - 1 > last || get_le(bytes, 0) != (uint16_t)((uint64_t)last & 0xffff))
        return;
    r->count = count - 1;
    for (size_t i = 0; i < r->count; i++)
        *place(r, last - (int64_t)i) = get_le(bytes, i + 1);
}
