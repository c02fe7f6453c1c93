/*
 * json_fuzz.c - any checked term becomes JSON or a refusal, and the JSON is what it claims to be.
 *
 * The JSON of a term must be read by jansson, give a term that passes term_check, and that term
 * must give the same bytes (but for doubles beyond 2^53, which come back as integers when 64 bits
 * hold them; and keys with zeros, which jansson does not take).  Input that is no term is tried as
 * JSON text. Build: clang-14 -std=c11 -D_GNU_SOURCE -g -fsanitize=fuzzer,address,undefined -Ic_src
 *        test/fuzz/json_fuzz.c c_src/{buf,term,term_walk,term_put,json,json_text,json_path,
 *        json_time,json_read}.c -ljansson -lm
 */

#include "json/json.h"
#include "json/json_read.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool has_big_float(term t)
{
    uint64_t parts = term_arity(t);
    enum term_type type = term_type(t);

    if (type == TERM_FLOAT)
        return fabs(term_float(t)) > 9007199254740992.0;
    if (type != TERM_LIST && type != TERM_MAP)
        return false;
    parts = type == TERM_MAP ? 2 * parts : parts;
    for (term at = term_items(t); parts > 0; parts--, at = term_next(at))
        if (has_big_float(at))
            return true;
    return false;
}

/* Read `json` back and write it again into `out`. */
static enum err again(struct slice json, enum json_rules rules, struct buf *out)
{
    struct buf message = {0};
    struct fault fault;
    term t;

    term_put_version(&message);
    enum err e = json_read_term(&message, json, &fault);
    if (e == ERR_OK) {
        e = term_check(buf_view(&message), &t, &fault);
        PRE(e == ERR_OK);
        e = json_put_term(out, t, rules, NULL, &fault);
    }
    buf_free(&message);
    return e;
}

static void try_term(term t, enum json_rules rules)
{
    struct json_weight weight;
    struct buf out = {0}, back = {0};
    struct fault fault;

    if (json_put_term(&out, t, rules, &weight, &fault) != ERR_OK) {
        PRE(out.len == 0 && fault.why[0] != 0);
        PRE(memchr(fault.path, 0, sizeof fault.path) != NULL);
    } else {
        PRE(json_is_utf8(buf_view(&out)));
        PRE(rules == JSON_PLAIN ||
            (weight.bytes <= JSON_MAX_VALUE_BYTES && weight.nesting <= JSON_MAX_NESTING));
        enum err e = again(buf_view(&out), rules, &back);
        PRE(rules == JSON_PLAIN || e == ERR_OK);
        if (rules == JSON_CONVEX && !has_big_float(t))
            PRE(slice_eq(buf_view(&out), buf_view(&back)));
    }
    buf_free(&out);
    buf_free(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fault fault;
    term t;

    if (term_check(slice_of(data, size), &t, &fault) == ERR_OK) {
        try_term(t, JSON_PLAIN);
        try_term(t, JSON_CONVEX);
        return 0;
    }

    struct buf once = {0}, twice = {0};
    if (again(slice_of(data, size), JSON_PLAIN, &once) == ERR_OK)
        PRE(again(buf_view(&once), JSON_PLAIN, &twice) == ERR_OK);
    buf_free(&once);
    buf_free(&twice);
    return 0;
}
