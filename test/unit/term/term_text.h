/*
 * term_text.h - terms for tests, out of text: {status: 'running', 'n': [1, -2, nil], at: (0, 6)}.
 *
 * Maps {}, lists [], tuples (), integers, binaries in '' (no escapes), and atoms as bare words
 * (letters, digits, _ . @), as keys too.  Maps keep the order of the text.
 */

#ifndef TERM_TEXT_H
#define TERM_TEXT_H

#include "term/term.h"

#include <check.h>
#include <ctype.h>

static void term_text_put(struct buf *out, const char **p);

static void term_text_blank(const char **p)
{
    *p += strspn(*p, " \n,:");
}

static void term_text_many(struct buf *out, const char **p)
{
    char open = *(*p)++, close = open == '{' ? '}' : open == '[' ? ']' : ')';
    struct buf items = {0};
    uint32_t count = 0;
    for (term_text_blank(p); **p != close; term_text_blank(p), count++) {
        ck_assert_msg(**p != '\0', "no %c in a test's term", close);
        term_text_put(&items, p);
    }
    ++*p;
    if (open == '{')
        term_put_map(out, count / 2);
    else if (open == '(')
        term_put_tuple(out, count);
    else if (count > 0)
        term_put_list(out, count);
    term_put_raw(out, buf_view(&items));
    if (open == '[')
        term_put_nil(out);
    buf_free(&items);
}

static void term_text_put(struct buf *out, const char **p)
{
    if (strchr("{[(", **p)) {
        term_text_many(out, p);
    } else if (**p == '\'') {
        size_t len = strcspn(*p + 1, "'");
        term_put_binary(out, slice_of(*p + 1, len));
        *p += len + 2;
    } else if (isdigit((unsigned char)**p) || **p == '-') {
        char *end;
        term_put_integer(out, strtoll(*p, &end, 10));
        *p = end;
    } else {
        char name[256] = "";
        size_t len =
            strspn(*p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.@");
        ck_assert(len > 0 && len < sizeof name);
        memcpy(name, *p, len);
        term_put_atom(out, name);
        *p += len;
    }
}

/* The term of ${text}, checked; it lies in ${b}, which the caller frees. */
static term term_of(struct buf *b, const char *text)
{
    struct fault fault;
    term t;
    b->len = 0;
    term_put_version(b);
    term_text_blank(&text);
    term_text_put(b, &text);
    ck_assert_msg(term_check(buf_view(b), &t, &fault) == ERR_OK, "%s", fault.why);
    return t;
}

/* Append ${t} in the same words; what has none of its own is <type>. */
static inline void term_text_show(struct buf *out, term t)
{
    enum term_type type = term_type(t);
    uint32_t count = term_arity(t) * (type == TERM_MAP ? 2 : 1);
    int64_t number;

    if (term_integer(t, &number)) {
        buf_printf(out, "%lld", (long long)number);
    } else if (type == TERM_FLOAT) {
        buf_printf(out, "%.3f", term_float(t));
    } else if (type == TERM_ATOM) {
        buf_slice(out, term_text(t));
    } else if (type == TERM_BINARY) {
        buf_printf(out, "'%.*s'", SLICE_ARG(term_text(t)));
    } else if (type == TERM_TUPLE || type == TERM_LIST || type == TERM_MAP || type == TERM_NIL) {
        buf_byte(out, type == TERM_TUPLE ? '(' : type == TERM_MAP ? '{' : '[');
        term at = count > 0 ? term_items(t) : NULL;
        for (uint32_t i = 0; i < count; i++, at = term_next(at)) {
            buf_str(out, i == 0 ? "" : type == TERM_MAP && i % 2 == 1 ? ": " : ", ");
            term_text_show(out, at);
        }
        buf_byte(out, type == TERM_TUPLE ? ')' : type == TERM_MAP ? '}' : ']');
    } else {
        buf_printf(out, "<%s>", term_type_name(type));
    }
}

#endif
