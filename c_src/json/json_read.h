/* json_read.h - JSON text back into Erlang terms: answers with a summary, history files. */

#ifndef JSON_READ_H
#define JSON_READ_H

#include "ground/base.h"
#include "ground/buf.h"

/**
 * json_read_term(out, text, fault):
 * Append the external term form (without version byte) of the JSON in ${text}:
 * objects become maps with binary keys, arrays lists, strings binaries, null the
 * atom nil, whole numbers integers (those beyond 64 bits, and those beyond 2^53 that are the RFC
 * 8785 form of a float, floats), {"$integer": ...} an integer again.
 * Parsed by jansson; nesting bounded by it (2048) and then by term_check.
 * ERR_INVALID: not JSON; ${fault}->why has line and column; nothing appended.
 */
enum err json_read_term(struct buf *out, struct slice text, struct fault *fault) MUST_CHECK;

#endif
