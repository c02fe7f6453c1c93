/*
 * answer.c - the terms of docs/PROTOCOL.md that requests are answered with.
 *
 * Every function appends one term, or one pair of a map, to a buffer; counts
 * are given first, as the external term format wants them.  Nothing here can
 * fail: what goes in has been checked or made by us.
 *
 * Any thread; a buffer belongs to one owner at a time.
 *
 * To change an answer: change it here, in docs/PROTOCOL.md, in the test of its
 * row (test/protocol_test.exs) and in src/convex_sidecar.erl's types.
 */

#include "intake/answer.h"

#include "ground/hex.h"
#include "json/json_read.h"
#include "term/term.h"

void answer_key_integer(struct buf *b, const char *key, int64_t v)
{
    term_put_atom(b, key);
    term_put_integer(b, v);
}

void answer_key_text(struct buf *b, const char *key, struct slice v)
{
    term_put_atom(b, key);
    term_put_binary(b, v);
}

void answer_key_word(struct buf *b, const char *key, const char *v)
{
    term_put_atom(b, key);
    if (v == NULL)
        term_put_atom(b, "nil");
    else
        term_put_text(b, v);
}

void answer_key_json(struct buf *b, const char *key, struct slice json)
{
    struct fault fault;

    term_put_atom(b, key);
    if (json.len == 0) {
        term_put_atom(b, "nil");
    } else if (json_read_term(b, json, &fault) != ERR_OK) {
        term_put_binary(b, json); /* a damaged record: shown as it is */
    }
}

void answer_ok_map(struct buf *b, uint32_t pairs)
{
    term_put_tuple(b, 2);
    term_put_atom(b, "ok");
    term_put_map(b, pairs);
}

void answer_ok_atom(struct buf *b, const char *word)
{
    term_put_tuple(b, 2);
    term_put_atom(b, "ok");
    term_put_atom(b, word);
}

void answer_ok_count(struct buf *b, const char *key, uint64_t n)
{
    answer_ok_map(b, 1);
    answer_key_integer(b, key, (int64_t)n);
}

void answer_error_atom(struct buf *b, const char *reason)
{
    term_put_tuple(b, 2);
    term_put_atom(b, "error");
    term_put_atom(b, reason);
}

/* {error, {Word, Why}} */
static void error_pair(struct buf *b, const char *word, const char *why)
{
    term_put_tuple(b, 2);
    term_put_atom(b, "error");
    term_put_tuple(b, 2);
    term_put_atom(b, word);
    term_put_text(b, why);
}

static void error_invalid(struct buf *b, const struct fault *fault)
{
    term_put_tuple(b, 2);
    term_put_atom(b, "error");
    term_put_tuple(b, 3);
    term_put_atom(b, "invalid");
    term_put_text(b, fault->path);
    term_put_text(b, fault->why);
}

static void error_gap(struct buf *b, const struct fault *fault)
{
    term_put_tuple(b, 2);
    term_put_atom(b, "error");
    term_put_tuple(b, 3);
    term_put_atom(b, "gap");
    term_put_integer(b, fault->expected);
    term_put_integer(b, fault->got);
}

void answer_error(struct buf *b, enum err e, const struct fault *fault, const char *why)
{
    const char *sentence = why && *why ? why : err_text(e);

    switch (e) {
    case ERR_BUSY:
        answer_error_atom(b, "busy");
        return;
    case ERR_DRAINING:
        answer_error_atom(b, "draining");
        return;
    case ERR_NOT_FOUND:
        answer_error_atom(b, "not_found");
        return;
    case ERR_NOT_OWNED:
        answer_error_atom(b, "not_projector_owned");
        return;
    case ERR_INVALID:
        error_invalid(b, fault);
        return;
    case ERR_GAP:
        error_gap(b, fault);
        return;
    case ERR_UNKNOWN_KIND:
        error_pair(b, "unknown_kind", fault->path);
        return;
    case ERR_SINK:
        error_pair(b, "sink_write_failed", sentence);
        return;
    default:
        error_pair(b, "store", sentence);
        return;
    }
}

void answer_result(struct buf *b, const struct answer_result *r)
{
    const char *done = r->confirmed ? "applied" : "queued";
    char hex[65];

    hex_put(r->hash, 32, hex);
    answer_ok_map(b, r->summary.data ? 8 : 7);
    answer_key_text(b, "document_id", r->document_id);
    answer_key_word(b, "write", r->decision.write ? done : "skipped");
    answer_key_word(b, "reason", decide_reason_text(r->decision.reason));
    term_put_atom(b, "coalesced");
    term_put_bool(b, r->decision.coalesced);
    answer_key_integer(b, "seq", r->seq);
    answer_key_integer(b, "lag_events", r->decision.lag_events);
    answer_key_word(b, "projection_hash", hex);
    if (r->summary.data)
        answer_key_json(b, "summary", r->summary);
}
