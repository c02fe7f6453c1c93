/* answer.h - the terms of docs/PROTOCOL.md that requests are answered with. */

/* Private to intake/. */

#ifndef ANSWER_H
#define ANSWER_H

#include "ground/base.h"
#include "ground/buf.h"
#include "outbox/decide.h"

/* A pair of a result map: a key of our own and its value. */
void answer_key_integer(struct buf *b, const char *key, int64_t v);
void answer_key_text(struct buf *b, const char *key, struct slice v);
/* The term form of JSON we made ourselves; empty: nil. */
void answer_key_json(struct buf *b, const char *key, struct slice json);
/* NULL is the atom nil. */
void answer_key_word(struct buf *b, const char *key, const char *v);

/** answer_ok_atom(b, word): {ok, Word}. */
void answer_ok_atom(struct buf *b, const char *word);
/** answer_ok_count(b, key, n): {ok, #{Key => N}}. */
void answer_ok_count(struct buf *b, const char *key, uint64_t n);
/** answer_ok_map(b, pairs): {ok, #{ ... of ${pairs} pairs; the pairs follow. */
void answer_ok_map(struct buf *b, uint32_t pairs);
/** answer_error_atom(b, reason): {error, Reason}. */
void answer_error_atom(struct buf *b, const char *reason);

/**
 * answer_error(b, e, fault, why):
 * {error, Reason} for ${e}: busy, draining, not_found, not_projector_owned, {invalid, Path, Why},
 * {gap, Expected, Got}, {unknown_kind, K} (K is ${fault}->path), {store, Why}, {sink_write_failed,
 * Why}.  ${why} is what the outbox said; ${fault} what a module found.
 */
void answer_error(struct buf *b, enum err e, const struct fault *fault, const char *why);

/* The result of a projection. */
struct answer_result {
    struct slice document_id;
    struct decision decision;
    bool confirmed; /* the sink has it: "applied", not "queued" */
    int64_t seq;
    const uint8_t *hash;
    struct slice summary; /* JSON, or data NULL */
};

/** answer_result(b, r): {ok, Result}. */
void answer_result(struct buf *b, const struct answer_result *r);

#endif
