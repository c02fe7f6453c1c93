/* json.h - canonical JSON (RFC 8785) out of Erlang terms, with Convex's tagged values and limits.
 */

#ifndef JSON_H
#define JSON_H

#include "ground/base.h"
#include "ground/buf.h"
#include "term/term.h"

/* Convex's limits (get-convex/convex-backend crates/value, crates/common/src/document.rs). */
#define JSON_MAX_NESTING     15      /* of a summary: a document may have 16 and counts itself */
#define JSON_MAX_ARRAY       8192    /* crates/value/src/array.rs */
#define JSON_MAX_FIELDS      1024    /* crates/value/src/object.rs */
#define JSON_MAX_FIELD_NAME  1024    /* crates/value/src/field_name.rs */
#define JSON_MAX_VALUE_BYTES 1048576 /* crates/common/src/document.rs, in value size */

/* The size of a value in Convex (crates/value/src/size.rs): added up while it is written. */
struct json_weight {
    size_t bytes;     /* value size, not the length of the text */
    unsigned nesting; /* levels of objects and arrays */
};

enum json_rules {
    JSON_PLAIN,  /* RFC 8785 alone: any key, any nesting up to TERM_MAX_DEPTH */
    JSON_CONVEX, /* and Convex's rules: key names, nesting, lengths, weight */
    JSON_SHOWN   /* as JSON_PLAIN, for people: bytes that are not UTF-8 become \xNN */
};

/**
 * json_put_term(out, t, rules, weight, fault):
 * Append the canonical JSON of ${t}.  Maps become objects with keys in UTF-16
 * order (RFC 8785 3.2.3), keys may be atoms or binaries (a key given twice, as
 * atom and binary, is refused); lists become arrays; binaries must be UTF-8;
 * atoms become strings except true, false and nil, null, undefined (null);
 * integers beyond 2^53 become {"$integer": base64 of int64 LE}, beyond int64
 * are refused; floats are written as ECMAScript does; the Elixir structs
 * DateTime, NaiveDateTime, Date, Time and Decimal become strings as Jason
 * writes them.  Pids, ports, references, funs, tuples, bit strings, improper
 * lists and other structs are refused.
 * ${weight} (may be NULL) is set to what the value weighs in Convex.
 * ERR_INVALID: nothing was appended; ${fault} names the path and the reason.
 */
enum err json_put_term(struct buf *out, term t, enum json_rules rules, struct json_weight *weight,
                       struct fault *fault) MUST_CHECK;

/*
 * Three ways for a text to become JSON.  json_put_string is for our own texts and for those already
 * checked: ids and kinds (projection/gate.h, again when delivery reads them from disk),
 * options (config/option.c), times and hashes that we write.  Everything else, from a peer, Convex,
 * the disk or a person, goes to json_try_string or json_put_shown.
 */
/** json_put_string(out, text): Append ${text} (valid UTF-8) as a JSON string, RFC 8785 escapes. */
void json_put_string(struct buf *out, struct slice text);
/** json_try_string(out, text): The same for text from outside; false when it is not UTF-8. */
bool json_try_string(struct buf *out, struct slice text) MUST_CHECK;
/** json_put_integer(out, v): Append ${v}; {"$integer": ...} when beyond +-2^53. */
void json_put_integer(struct buf *out, int64_t v);
/** json_put_double(out, v): Append ${v} as ECMAScript's Number::toString; PRE: finite. */
void json_put_double(struct buf *out, double v);
/** json_put_shown(out, text): The same for people: bytes of ${text} that are not UTF-8 become \xNN.
 */
void json_put_shown(struct buf *out, struct slice text);
/** json_put_tame(out, json): Append JSON, with characters that control a terminal or change the
 * direction of text (json_wild_len) as \uXXXX. */
void json_put_tame(struct buf *out, struct slice json);
/** json_wild_len(text, code): The size of the first character of ${text} if it is DEL, C1, a line
 * separator or one that changes the direction of text, with its code point in ${code}; else 0. */
size_t json_wild_len(struct slice text, unsigned *code);
/** json_is_utf8(text): Whether ${text} is well-formed UTF-8 (no surrogates, no overlong forms). */
bool json_is_utf8(struct slice text);
/** json_utf8_len(text): Bytes of the longest prefix of ${text} that is well-formed UTF-8. */
size_t json_utf8_len(struct slice text);
/** json_printable_len(text): The same, also without control characters. */
size_t json_printable_len(struct slice text);
/** json_is_printable(text): Whether it is UTF-8 without control characters (C0, DEL, C1). */
bool json_is_printable(struct slice text);

/**
 * json_path_key(fault, key), json_path_index(fault, index):
 * Prepend one step to ${fault}->path: what was refused lies in the field ${key} or the element
 * ${index}.  "x[3]" with the key metadata becomes "metadata.x[3]"; a key that is not a plain name
 * is written as ["..."]; a path that is too long is cut at its end.
 */
void json_path_key(struct fault *fault, struct slice key);
void json_path_index(struct fault *fault, size_t index);

#endif
