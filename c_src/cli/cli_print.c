/*
 * cli_print.c - a sidecar's answer, printed.
 *
 * The happy path: the answer is {ok, Value}.  As text, a map becomes lines "key  value", aligned, a
 * map inside it an indented block; a list of maps becomes a table; whatever lies deeper is shown as
 * JSON.  With --json the whole value is one line of canonical JSON.
 *
 * What can go wrong: {error, Reason} becomes a sentence that says what to do; an answer that is
 * neither (another version?) is shown as it is and counts as an error.  Text comes from documents
 * and from Convex: control characters are escaped, so that no terminal interprets them.
 *
 * Any thread; the term is checked and borrowed.
 */

#include "cli/cli_print.h"

#include "ground/buf.h"
#include "json/json.h"

#include <inttypes.h>

#define COLUMN_BYTES 60 /* of a table's cell at most, but for the last one */

/* --- values --------------------------------------------------------------- */

/* Text is UTF-8 for people; control characters, and what is not UTF-8, as \xNN or \u{NNNN}. */
static void put_plain(struct buf *b, struct slice text)
{
    bool utf8 = json_is_utf8(text);

    for (size_t i = 0, wild; i<text.len; i += wild> 0 ? wild : 1) {
        uint8_t c = text.data[i];
        unsigned code = c;
        wild = utf8 ? json_wild_len(slice_of(text.data + i, text.len - i), &code) : 0;
        if (c < ' ' || c == 0x7f || (wild > 0 && code < 0x100) || (c >= 0x80 && !utf8))
            buf_printf(b, "\\x%02x", code);
        else if (wild > 0)
            buf_printf(b, "\\u{%x}", code);
        else
            buf_byte(b, c);
    }
}

/* ${quote} goes around the words for a term that has no JSON. */
static void put_json(struct buf *b, term t, const char *quote)
{
    struct fault fault = {0};
    struct buf json = {0};

    if (json_put_term(&json, t, JSON_SHOWN, NULL, &fault) != ERR_OK)
        buf_printf(&json, "%s(a %s that cannot be shown)%s", quote, term_type_name(term_type(t)),
                   quote);
    json_put_tame(b, buf_view(&json));
    buf_free(&json);
}

/* One value on one line. */
static void put_value(struct buf *b, term t)
{
    struct slice text = term_text(t);
    int64_t number;

    if (term_is_nil_atom(t) || (text.data != NULL && text.len == 0))
        buf_byte(b, '-');
    else if (text.data != NULL)
        put_plain(b, text);
    else if (term_integer(t, &number))
        buf_printf(b, "%" PRId64, number);
    else
        put_json(b, t, "");
}

void cli_print_text(struct slice text, FILE *out)
{
    struct buf b = {0};

    put_plain(&b, text);
    if (b.len > 0)
        fwrite(b.data, 1, b.len, out);
    buf_free(&b);
}

void cli_print_json(term t, FILE *out)
{
    struct buf b = {0};

    put_json(&b, t, "\"");
    fwrite(b.data, 1, b.len, out);
    buf_free(&b);
}

void cli_print_absent(const char *store_dir, const struct fault *fault, FILE *out)
{
    fputs("convex_sidecar: no sidecar answers in ", out);
    cli_print_text(slice_str(store_dir), out);
    fputs(": ", out);
    cli_print_text(slice_str(fault->why), out);
    fputc('\n', out);
}

/* Characters, not bytes. */
static int width_of(struct slice text)
{
    int n = 0;

    for (size_t i = 0; i < text.len; i++)
        n += (text.data[i] & 0xc0) != 0x80;
    return n;
}

static void pad(int n, FILE *out)
{
    fprintf(out, "%*s", n > 0 ? n : 0, "");
}

/* --- tables --------------------------------------------------------------- */

#define COLUMNS_MAX 10

/* The columns shown of a row, in order: the longest, free text, last.  Rows that have none of the
 * first columns here show their own keys. */
static const char *const orders[][COLUMNS_MAX] = {
    {"finding", "finding", "kind", "seq", "convex_seq", "repaired", "document_id"},
    {"died_at", "document_id", "kind", "seq", "attempts", "died_at", "next_try", "why"},
    {"kept_at", "document_id", "kind", "seq", "attempts", "kept_at", "state", "why"},
    {"next_at", "kind", "state", "since", "next_at", "why", "next"},
};

struct table {
    struct slice columns[COLUMNS_MAX];
    size_t count;
    int widths[COLUMNS_MAX];
};

static void add_column(struct table *t, struct slice name)
{
    if (t->count == COLUMNS_MAX)
        return;
    t->columns[t->count] = name;
    t->widths[t->count++] = (int)name.len;
}

static void choose_columns(struct table *t, term row)
{
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        if (term_get(row, orders[i][0]) == NULL)
            continue;
        for (size_t c = 1; c < COLUMNS_MAX && orders[i][c] != NULL; c++)
            add_column(t, slice_str(orders[i][c]));
        return;
    }
    term key = term_items(row);
    for (uint32_t i = 0; i < term_arity(row); i++, key = term_next(term_next(key)))
        add_column(t, term_text(key));
}

static void put_cell(struct buf *b, term row, struct slice column)
{
    char name[64];

    snprintf(name, sizeof name, "%.*s", SLICE_ARG(column));
    term value = term_get(row, name);
    b->len = 0;
    if (value == NULL || term_is_nil_atom(value))
        buf_byte(b, '-');
    else
        put_value(b, value);
}

static void print_row(term row, const struct table *t, FILE *out)
{
    struct buf b = {0};

    for (size_t i = 0; i < t->count; i++) {
        if (row == NULL) {
            b.len = 0;
            put_plain(&b, t->columns[i]);
        } else {
            put_cell(&b, row, t->columns[i]);
        }
        fwrite(b.data, 1, b.len, out);
        if (i + 1 < t->count)
            pad(t->widths[i] - width_of(buf_view(&b)) + 2, out);
    }
    fputc('\n', out);
    buf_free(&b);
}

static void measure_columns(struct table *t, term list)
{
    struct buf b = {0};
    term row = term_items(list);

    for (uint32_t r = 0; r < term_arity(list); r++, row = term_next(row))
        for (size_t i = 0; i < t->count; i++) {
            put_cell(&b, row, t->columns[i]);
            int width = width_of(buf_view(&b));
            width = width < COLUMN_BYTES ? width : COLUMN_BYTES;
            t->widths[i] = width > t->widths[i] ? width : t->widths[i];
        }
    buf_free(&b);
}

static void print_table(term list, FILE *out)
{
    struct table t = {0};
    term row = term_items(list);

    choose_columns(&t, row);
    measure_columns(&t, list);
    print_row(NULL, &t, out);
    for (uint32_t r = 0; r < term_arity(list); r++, row = term_next(row))
        print_row(row, &t, out);
}

static bool is_list_of_maps(term t)
{
    if (term_type(t) != TERM_LIST || !term_is_proper(t))
        return false;
    term row = term_items(t);
    for (uint32_t i = 0; i < term_arity(t); i++, row = term_next(row))
        if (term_type(row) != TERM_MAP)
            return false;
    return true;
}

/* --- maps --- */

static void print_map(term map, int indent, FILE *out);

static int key_width(term map)
{
    struct buf b = {0};
    int widest = 0;
    term key = term_items(map);

    for (uint32_t i = 0; i < term_arity(map); i++, key = term_next(term_next(key))) {
        b.len = 0;
        put_value(&b, key);
        int width = width_of(buf_view(&b));
        widest = width > widest ? width : widest;
    }
    buf_free(&b);
    return widest;
}

/* Whether ${value} is printed below its key: a map, a table. */
static bool is_block(term value, int indent)
{
    return indent == 0 && term_arity(value) > 0 &&
           (term_type(value) == TERM_MAP || is_list_of_maps(value));
}

static void print_pair(term key, term value, int indent, int width, FILE *out)
{
    struct buf b = {0};
    bool block = is_block(value, indent);

    put_value(&b, key);
    pad(indent, out);
    fwrite(b.data, 1, b.len, out);
    if (block) {
        fputc('\n', out);
        if (term_type(value) == TERM_MAP)
            print_map(value, indent + 2, out);
        else
            print_table(value, out);
    } else {
        pad(width - width_of(buf_view(&b)) + 2, out);
        b.len = 0;
        put_value(&b, value);
        fwrite(b.data, 1, b.len, out);
        fputc('\n', out);
    }
    buf_free(&b);
}

/* Lines first, blocks after them, so that the block of metrics does not split the rest. */
static void print_map(term map, int indent, FILE *out)
{
    int width = key_width(map);

    for (int blocks = 0; blocks < 2; blocks++) {
        term key = term_items(map);
        for (uint32_t i = 0; i < term_arity(map); i++) {
            term value = term_next(key);
            if (is_block(value, indent) == blocks)
                print_pair(key, value, indent, width, out);
            key = term_next(value);
        }
    }
}

/* --- the whole ------------------------------------------------------------ */

static void print_ok(term value, FILE *out)
{
    struct buf b = {0};

    if (term_type(value) == TERM_MAP) {
        print_map(value, 0, out);
    } else if (is_list_of_maps(value)) {
        print_table(value, out);
    } else if (term_type(value) == TERM_NIL) {
        fputs("none\n", out);
    } else {
        put_value(&b, value);
        fwrite(b.data, 1, b.len, out);
        fputc('\n', out);
        buf_free(&b);
    }
}

/* {store, Why} as "store: Why". */
static void put_reason(struct buf *b, term reason)
{
    if (term_type(reason) != TERM_TUPLE) {
        put_value(b, reason);
        return;
    }
    for (uint32_t i = 0; i < term_arity(reason); i++) {
        if (i > 0)
            buf_str(b, ": ");
        put_value(b, term_element(reason, i));
    }
}

/* What an error's word means ("": it is clear by itself), and what to do. */
struct hint {
    const char *reason, *means, *next;
};

static const struct hint *hint_for(term reason)
{
    static const struct hint hints[] = {
        {"audit_running", ": one at a time",
         "`audit status` shows how far it is, `audit cancel` ends it"},
        {"not_found", ": the sidecar knows no such document",
         "give the whole id, prefix and all; `dead list` and `pending` name those they are about"},
        {"timeout", ": not all was delivered in that time", "`status` shows what waits and why"},
        {"draining", ": nothing new is taken", "`resume` opens it again"},
        {"busy", ": its queue is full", "try again"},
        {"bad_request", ": it does not know this word", "use the program of the sidecar's version"},
        {"unknown_kind", "", "`check-config` names the kinds, as [kind.NAME]"},
        {"not_projector_owned", ": no kind's documents begin so",
         "give the whole id, prefix and all; `check-config` names the prefixes"},
        {"gap", "", "give the events from the first that is missing"},
        {"invalid", "", "mend what it names"},
        {"store", "",
         "make room on its disk, or see in its log why it fails; it tries again by itself"},
        {"sink_read_failed", "", "`preflight` asks Convex what a start would"},
        {"", "", "`status` shows how it stands; docs/PROTOCOL.md says what the word means"},
    };
    term word = term_type(reason) == TERM_TUPLE ? term_element(reason, 0) : reason;
    const struct hint *h = hints;

    while (*h->reason && !(word != NULL && term_is(word, h->reason)))
        h++;
    return h;
}

static void print_error(term reason, bool json, FILE *out, FILE *err)
{
    struct buf b = {0}, quoted = {0};
    const struct hint *hint = hint_for(reason);

    put_reason(&b, reason);
    fprintf(err, "convex_sidecar: the sidecar answers: %.*s%s; next: %s\n", SLICE_ARG(buf_view(&b)),
            hint->means, hint->next);
    if (json) {
        json_put_shown(&quoted, buf_view(&b)); /* put_reason has escaped it */
        fprintf(out, "{\"error\":%.*s}\n", SLICE_ARG(buf_view(&quoted)));
    }
    buf_free(&quoted);
    buf_free(&b);
}

bool cli_print_answer(term answer, bool json, FILE *out, FILE *err)
{
    term tag = term_element(answer, 0), value = term_element(answer, 1);
    struct buf b = {0};

    if (tag == NULL || value == NULL || !term_is(tag, "ok")) {
        print_error(term_is(tag, "error") && value != NULL ? value : answer, json, out, err);
        return false;
    }
    if (json) {
        put_json(&b, value, "\"");
        fprintf(out, "%.*s\n", SLICE_ARG(buf_view(&b)));
        buf_free(&b);
    } else {
        print_ok(value, out);
    }
    return true;
}
