/*
 * term_fuzz.c - no bytes make term_check, or a reader of what it let through, go astray.
 *
 * Bytes that pass are walked by every reader, and each must end where term_next says.
 * Build: clang-14 -std=c11 -D_GNU_SOURCE -g -fsanitize=fuzzer,address,undefined -Ic_src
 *        test/fuzz/term_fuzz.c c_src/{buf,term,term_walk,term_put}.c -lm
 */

#include "term/term.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static term visit(term t)
{
    enum term_type type = term_type(t);
    term behind = term_next(t), at;
    uint64_t parts = term_arity(t);
    int64_t v;
    bool negative;

    PRE(term_type_name(type) != NULL && term_raw(t).data + term_raw(t).len == behind);
    PRE(term_integer(t, &v) == (type == TERM_INTEGER));
    PRE(type != TERM_FLOAT || isfinite(term_float(t)));
    PRE(type != TERM_BIGNUM || term_magnitude(t, &negative).len >= 8);
    PRE(type != TERM_STRING || term_string(t).data + term_string(t).len == behind);
    PRE(term_text(t).data == NULL || term_text(t).data + term_text(t).len == behind);
    term_is_nil_atom(t);
    if (type != TERM_LIST && type != TERM_TUPLE && type != TERM_MAP)
        return behind;
    parts = type == TERM_MAP ? 2 * parts : type == TERM_LIST ? parts + 1 : parts;
    for (at = term_items(t); parts > 0; parts--)
        at = visit(at);
    PRE(at == behind);
    return behind;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fault fault;
    size_t used = 0;
    term t;

    if (term_check(slice_of(data, size), &t, &fault) == ERR_OK) {
        PRE(visit(t) == data + size);
        term_get(t, "a");
        term_element(t, 1);
        PRE(!term_is_proper(t) || term_type(t) == TERM_LIST || term_type(t) == TERM_NIL ||
            term_type(t) == TERM_STRING);
    } else {
        PRE(fault.why[0] != 0);
    }
    if (term_check_some(slice_of(data, size), 2, &used, &fault) == ERR_OK)
        PRE(visit(visit(data)) == data + used && used <= size);
    return 0;
}
