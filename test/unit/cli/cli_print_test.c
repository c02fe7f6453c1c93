/* cli_print_test.c - answers as text for people and JSON for programs. */

#include "cli/cli_print.h"

#include "ground/buf.h"
#include "term/term.h"
#include "test.h"

static void put_ok(struct buf *b)
{
    term_put_version(b);
    term_put_tuple(b, 2);
    term_put_atom(b, "ok");
}

/* What cli_print_answer makes of ${message} (taken): standard output and error, one after the
 * other. */
static char *printed(struct buf *message, bool json, bool wanted)
{
    char *text = NULL, *errors = NULL, *both = NULL;
    size_t len = 0;
    struct fault fault = {0};
    term t;
    ck_assert_int_eq(term_check(buf_view(message), &t, &fault), ERR_OK);
    FILE *out = open_memstream(&text, &len), *err = open_memstream(&errors, &len);
    ck_assert_int_eq(cli_print_answer(t, json, out, err), wanted);
    fclose(out);
    fclose(err);
    ck_assert_int_ge(asprintf(&both, "%s%s%s", text, *errors ? "! " : "", errors), 0);
    free(text);
    free(errors);
    buf_free(message);
    return both;
}

static void assert_printed(struct buf *message, bool json, bool ok, const char *wanted)
{
    char *text = printed(message, json, ok);
    ck_assert_str_eq(text, wanted);
    free(text);
}

static void put_status(struct buf *b)
{
    put_ok(b);
    term_put_map(b, 5);
    term_put_atom(b, "node");
    term_put_text(b, "convex_sidecar@127.0.0.1");
    term_put_atom(b, "metrics");
    term_put_map(b, 2);
    term_put_atom(b, "pending");
    term_put_integer(b, 3);
    term_put_atom(b, "delivered_total");
    term_put_integer(b, 1234567);
    term_put_atom(b, "why");
    term_put_text(b, "");
    term_put_atom(b, "draining");
    term_put_bool(b, false);
    term_put_atom(b, "pid");
    term_put_integer(b, 42);
}

TEST(a_map_is_aligned_lines_blocks_last)
{
    struct buf b = {0};
    put_status(&b);
    assert_printed(&b, false, true,
                   "node      convex_sidecar@127.0.0.1\n"
                   "why       -\n"
                   "draining  false\n"
                   "pid       42\n"
                   "metrics\n"
                   "  pending          3\n"
                   "  delivered_total  1234567\n");
    put_status(&b);
    assert_printed(&b, true, true,
                   "{\"draining\":false,\"metrics\":{\"delivered_total\":1234567,\"pending\":3},"
                   "\"node\":\"convex_sidecar@127.0.0.1\",\"pid\":42,\"why\":\"\"}\n");
}

TEST(words_and_counts)
{
    struct buf b = {0};
    put_ok(&b);
    term_put_atom(&b, "paused");
    assert_printed(&b, false, true, "paused\n");
    put_ok(&b);
    term_put_atom(&b, "paused");
    assert_printed(&b, true, true, "\"paused\"\n");
    put_ok(&b);
    term_put_map(&b, 1);
    term_put_atom(&b, "pending");
    term_put_integer(&b, 0);
    assert_printed(&b, false, true, "pending  0\n");
}

static void put_letter(struct buf *b, const char *id, int64_t seq, const char *why)
{
    term_put_map(b, 7);
    term_put_atom(b, "document_id");
    term_put_text(b, id);
    term_put_atom(b, "kind");
    term_put_text(b, "run_summary");
    term_put_atom(b, "seq");
    term_put_integer(b, seq);
    term_put_atom(b, "why");
    term_put_text(b, why);
    term_put_atom(b, "attempts");
    term_put_integer(b, 1);
    term_put_atom(b, "died_at");
    term_put_text(b, "2026-11-22T10:00:00.000000Z");
    term_put_atom(b, "next_try");
    if (seq == 7)
        term_put_text(b, "2026-11-22T10:01:00.000000Z");
    else
        term_put_atom(b, "nil");
}

TEST(dead_letters_are_a_table)
{
    struct buf b = {0};
    put_ok(&b);
    term_put_list(&b, 2);
    put_letter(&b, "runtime/run_summary:r\xc3\xbcn", 7, "too \x1b[31mlarge");
    put_letter(&b, "runtime/run_summary:long_one", 12345, "no \xc2\x9b such function");
    term_put_nil(&b);
    assert_printed(
        &b, false, true,
        "document_id                   kind         seq    attempts  died_at                      "
        "next_try                     why\n"
        "runtime/run_summary:r\xc3\xbcn       run_summary  7      1         "
        "2026-11-22T10:00:00.000000Z  2026-11-22T10:01:00.000000Z  "
        "too \\x1b[31mlarge\n"
        "runtime/run_summary:long_one  run_summary  12345  1         2026-11-22T10:00:00.000000Z  "
        "-                            no \\x9b such function\n");
    put_ok(&b);
    term_put_nil(&b);
    assert_printed(&b, false, true, "none\n");
    put_ok(&b);
    term_put_nil(&b);
    assert_printed(&b, true, true, "[]\n");
}

TEST(kinds_and_documents_of_a_status_are_tables_of_their_own)
{
    static const char *const keys[] = {"kind", "state", "why", "next", "since", "next_at"};
    static const char *const values[] = {"run_summary",          "stopped", "no such function",
                                         "deploy the functions", "10:00",   "10:01"};
    struct buf b = {0};

    put_ok(&b);
    term_put_map(&b, 2);
    term_put_atom(&b, "kinds");
    term_put_list(&b, 1);
    term_put_map(&b, 6);
    for (int i = 0; i < 6; i++) {
        term_put_atom(&b, keys[i]);
        term_put_text(&b, values[i]);
    }
    term_put_nil(&b);
    term_put_atom(&b, "documents");
    term_put_list(&b, 1);
    term_put_map(&b, 2);
    term_put_atom(&b, "document_id");
    term_put_text(&b, "a:1");
    term_put_atom(&b, "why");
    term_put_text(&b, "403");
    term_put_nil(&b);
    assert_printed(&b, false, true,
                   "kinds\n"
                   "kind         state    since  next_at  why               next\n"
                   "run_summary  stopped  10:00  10:01    no such function  deploy the functions\n"
                   "documents\n"
                   "document_id  why\n"
                   "a:1          403\n");
}

TEST(findings_are_a_table_below_the_counts)
{
    struct buf b = {0};
    put_ok(&b);
    term_put_map(&b, 2);
    term_put_atom(&b, "findings");
    term_put_list(&b, 1);
    term_put_map(&b, 6);
    term_put_atom(&b, "document_id");
    term_put_text(&b, "runtime/run_summary:a");
    term_put_atom(&b, "kind");
    term_put_text(&b, "run_summary");
    term_put_atom(&b, "finding");
    term_put_text(&b, "missing");
    term_put_atom(&b, "seq");
    term_put_integer(&b, 3);
    term_put_atom(&b, "convex_seq");
    term_put_atom(&b, "nil");
    term_put_atom(&b, "repaired");
    term_put_bool(&b, false);
    term_put_nil(&b);
    term_put_atom(&b, "checked");
    term_put_integer(&b, 7);
    assert_printed(&b, false, true,
                   "checked   7\n"
                   "findings\n"
                   "finding  kind         seq  convex_seq  repaired  document_id\n"
                   "missing  run_summary  3    -           false     runtime/run_summary:a\n");
}

static void put_error(struct buf *b)
{
    term_put_version(b);
    term_put_tuple(b, 2);
    term_put_atom(b, "error");
}

TEST(errors_are_sentences)
{
    struct buf b = {0};
    put_error(&b);
    term_put_atom(&b, "not_found");
    assert_printed(&b, false, false,
                   "! convex_sidecar: the sidecar answers: not_found: the sidecar knows no such "
                   "document; next: give the whole id, prefix and all; `dead list` and `pending` "
                   "name those they are about\n");
    put_error(&b);
    term_put_tuple(&b, 2);
    term_put_atom(&b, "store");
    term_put_text(&b, "No space left on device");
    assert_printed(&b, true, false,
                   "{\"error\":\"store: No space left on device\"}\n"
                   "! convex_sidecar: the sidecar answers: store: No space left on device; next: "
                   "make room on its disk, or see in its log why it fails; it tries again by "
                   "itself\n");
    term_put_version(&b);
    term_put_atom(&b, "what");
    assert_printed(
        &b, false, false,
        "! convex_sidecar: the sidecar answers: what; next: `status` shows how it stands; "
        "docs/PROTOCOL.md says what the word means\n");
}

TEST(what_cannot_be_json_is_named)
{
    struct buf b = {0};
    put_ok(&b);
    term_put_map(&b, 1);
    term_put_atom(&b, "odd");
    term_put_tuple(&b, 0);
    assert_printed(&b, false, true, "odd  (a tuple that cannot be shown)\n");
    put_ok(&b);
    term_put_binary(&b, slice_of("\xff\n", 2));
    assert_printed(&b, false, true, "\\xff\\x0a\n");
}

/* DEL, CSI, a right-to-left override: in JSON for programs, too, nobody's terminal obeys them. */
TEST(what_a_terminal_would_obey_is_escaped_everywhere)
{
    static const char wild[] = "a\x7f\xc2\x9b\xe2\x80\xae\xd8\x9c"
                               "b\xc3\xbc";
    struct buf b = {0};

    put_ok(&b);
    term_put_text(&b, wild);
    assert_printed(&b, true, true, "\"a\\u007f\\u009b\\u202e\\u061cb\xc3\xbc\"\n");
    put_ok(&b);
    term_put_text(&b, wild);
    assert_printed(&b, false, true, "a\\x7f\\x9b\\u{202e}\\u{61c}b\xc3\xbc\n");
    put_ok(&b);
    term_put_tuple(&b, 0);
    assert_printed(&b, true, true, "\"(a tuple that cannot be shown)\"\n");
    put_ok(&b); /* the head of a table, which is of the rows' own keys */
    term_put_list(&b, 1);
    term_put_map(&b, 1);
    term_put_text(&b, "ki\xee\x1b");
    term_put_integer(&b, 7);
    term_put_nil(&b);
    assert_printed(&b, false, true, "ki\\xee\\x1b\n7\n");
}

/* A list nobody has named columns for shows its own: the kinds of a status, the peers. */
TEST(other_lists_show_their_own_keys)
{
    struct buf b = {0};

    put_ok(&b);
    term_put_list(&b, 2);
    for (int i = 0; i < 2; i++) {
        term_put_map(&b, 2);
        term_put_atom(&b, "node");
        term_put_text(&b, i ? "b@h" : "long_name@h");
        term_put_atom(&b, "calls");
        term_put_integer(&b, i);
    }
    term_put_nil(&b);
    assert_printed(&b, false, true,
                   "node         calls\n"
                   "long_name@h  0\n"
                   "b@h          1\n");
}
