/* record_inside.h - what the readers and writers of all formats share. */

/* Private to store/. */

#ifndef RECORD_INSIDE_H
#define RECORD_INSIDE_H

#include "ground/unpack.h"
#include "store/kept.h"
#include "store/pack.h"
#include "store/tables.h"

void record_put_version(struct buf *out, const struct outbox_version *v);
void record_get_version(struct unpack *u, struct outbox_version *v);

/* Write and read ${bytes} of ${v}, lowest byte first. */
static inline void record_put_le(struct buf *out, uint64_t v, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        buf_byte(out, (uint8_t)(v >> 8 * i));
}

static inline uint64_t record_get_le(const uint8_t *at, size_t bytes)
{
    uint64_t v = 0;

    for (size_t i = bytes; i-- > 0;)
        v = v << 8 | at[i];
    return v;
}

/** record_finish(u, format, t, key, fault): ERR_OK if ${u} is at its end without an error. */
enum err record_finish(struct unpack *u, unsigned format, enum store_table t, struct slice key,
                       struct fault *fault) MUST_CHECK;

/** record_seal(out, from, t, key): End the record that begins at ${from}: its checksum. */
void record_seal(struct buf *out, size_t from, enum store_table t, struct slice key);
/** record_open(t, key, value): The fields of ${value}; empty if the checksum is wrong. */
struct unpack record_open(enum store_table t, struct slice key, struct slice value);

/**
 * record_put_tail(out, tail, known, present, put, record):
 * The optional members: those this program has (a bit each in ${present}, of those it knows,
 * ${known}), written by ${put}, and in their places those of ${tail} that it does not know.
 */
void record_put_tail(struct buf *out, struct slice tail, uint32_t known, uint32_t present,
                     void (*put)(struct buf *out, unsigned key, const void *record),
                     const void *record);
/** record_get_tail(u, known, take, record): All of them; the known ones go to ${take} as well. */
struct slice record_get_tail(struct unpack *u, uint32_t known,
                             void (*take)(void *record, unsigned key, struct unpack *value),
                             void *record);

#endif
