/* arguments_test.c - options by a table: every type, what fits and what does not, and where. */

#include "ground/buf.h"
#include "intake/arguments.h"
#include "projection/projection.h"

#include "test.h"

struct target {
    bool flag;
    int64_t number, range[2];
    unsigned choice;
    struct slice text, id;
    term any;
};

#define AT(member) offsetof(struct target, member)

static const struct argument table[] = {
    {"flag", ARGUMENT_FLAG, AT(flag), .wanted = "a flag"},
    {"number", ARGUMENT_NUMBER, AT(number), .min = 1, .max = 9, .wanted = "1 to 9"},
    {"range", ARGUMENT_RANGE, AT(range), .max = 1000, .wanted = "a range"},
    {"choice", ARGUMENT_CHOICE, AT(choice), .choices = "a|bc|b", .wanted = "a, bc or b"},
    {"text", ARGUMENT_TEXT, AT(text), .wanted = "text"},
    {"id", ARGUMENT_ID, AT(id), .wanted = "an id"},
    {"any", ARGUMENT_TERM, AT(any), .wanted = NULL},
};

static struct buf opts;
static struct fault fault;

static enum err read_opts(struct target *t)
{
    fault = (struct fault){0};
    return arguments_options(opts.data, table, sizeof table / sizeof *table, t, &fault);
}

/* The value of option ${name} goes after this. */
static struct buf *one(const char *name)
{
    opts.len = 0;
    term_put_map(&opts, 1);
    term_put_atom(&opts, name);
    return &opts;
}

static void check_fits(struct target *t)
{
    ck_assert_msg(read_opts(t) == ERR_OK, "%s: %s", fault.path, fault.why);
}

static void check_refused(const char *path, const char *why)
{
    struct target t = {0};

    ck_assert_int_eq(read_opts(&t), ERR_INVALID);
    ck_assert_str_eq(fault.path, path);
    ck_assert_str_eq(fault.why, why);
}

TEST(a_map_and_a_proplist_are_read_and_what_they_do_not_name_stays)
{
    struct target t = {.number = 7};

    opts.len = 0;
    term_put_map(&opts, 2);
    term_put_atom(&opts, "flag");
    term_put_bool(&opts, true);
    term_put_text(&opts, "text");
    term_put_text(&opts, "x");
    check_fits(&t);
    ck_assert(t.flag);
    ck_assert_slice(t.text, "x");
    ck_assert_int_eq(t.number, 7);

    opts.len = 0;
    term_put_list(&opts, 2);
    term_put_tuple(&opts, 2);
    term_put_atom(&opts, "flag");
    term_put_bool(&opts, false);
    term_put_tuple(&opts, 2);
    term_put_atom(&opts, "number");
    term_put_integer(&opts, 9);
    term_put_nil(&opts);
    check_fits(&t);
    ck_assert(!t.flag);
    ck_assert_int_eq(t.number, 9);

    opts.len = 0;
    term_put_nil(&opts);
    check_fits(&t);
    opts.len = 0;
    term_put_map(&opts, 0);
    check_fits(&t);
    ck_assert_int_eq(t.number, 9);
    buf_free(&opts);
}

TEST(each_type_takes_what_it_wants)
{
    struct target t = {0};

    term_put_integer(one("number"), 1);
    check_fits(&t);
    ck_assert_int_eq(t.number, 1);
    term_put_atom(one("choice"), "b");
    check_fits(&t);
    ck_assert_uint_eq(t.choice, 3);
    term_put_text(one("choice"), "a");
    check_fits(&t);
    ck_assert_uint_eq(t.choice, 1);
    term_put_text(one("id"), "doc:1");
    check_fits(&t);
    ck_assert_slice(t.id, "doc:1");
    term_put_atom(one("id"), "nil");
    check_fits(&t);
    ck_assert_slice(t.id, "");
    term_put_integer(one("any"), 5);
    check_fits(&t);
    ck_assert_ptr_nonnull(t.any);
    term_put_atom(one("any"), "nil");
    check_fits(&t);
    ck_assert_ptr_null(t.any);

    term_put_tuple(one("range"), 2);
    term_put_integer(&opts, 3);
    term_put_integer(&opts, 300);
    check_fits(&t);
    ck_assert(t.range[0] == 3 && t.range[1] == 300);
    buf_str(one("range"), "k");
    buf_be16(&opts, 2);
    buf_str(&opts, "\x01\x02"); /* [1, 2] as the BEAM sends it */
    check_fits(&t);
    ck_assert(t.range[0] == 1 && t.range[1] == 2);
    buf_free(&opts);
}

TEST(what_does_not_fit_is_named_with_what_is_wanted)
{
    term_put_integer(one("flag"), 1);
    check_refused("opts.flag", "a flag");
    term_put_integer(one("number"), 0);
    check_refused("opts.number", "1 to 9");
    term_put_integer(one("number"), 10);
    check_refused("opts.number", "1 to 9");
    term_put_atom(one("number"), "one");
    check_refused("opts.number", "1 to 9");
    term_put_atom(one("choice"), "c");
    check_refused("opts.choice", "a, bc or b");
    term_put_text(one("choice"), "");
    check_refused("opts.choice", "a, bc or b");
    term_put_integer(one("choice"), 1);
    check_refused("opts.choice", "a, bc or b");
    term_put_atom(one("text"), "nil");
    check_refused("opts.text", "text");
    term_put_integer(one("text"), 1);
    check_refused("opts.text", "text");
    term_put_atom(one("id"), "doc");
    check_refused("opts.id", "an id");
    for (int64_t second = 1; second <= 1001; second += 1000) { /* {3, 1}, {3, 1001} */
        term_put_tuple(one("range"), 2);
        term_put_integer(&opts, 3);
        term_put_integer(&opts, second);
        check_refused("opts.range", "a range");
    }
    buf_str(one("range"), "k");
    buf_be16(&opts, 3);
    buf_str(&opts, "\x01\x02\x03");
    check_refused("opts.range", "a range");
    term_put_atom(one("range"), "all");
    check_refused("opts.range", "a range");
    term_put_integer(one("nonsense"), 1);
    check_refused("opts.nonsense", "there is no such option");
    buf_free(&opts);
}

TEST(opts_that_are_no_options)
{
    char long_name[200];

    opts.len = 0;
    term_put_atom(&opts, "none");
    check_refused("opts.", "a map or a proplist is wanted");
    opts.len = 0;
    term_put_map(&opts, 1);
    term_put_integer(&opts, 1);
    term_put_integer(&opts, 2);
    check_refused("opts.", "option names are atoms or binaries");
    for (uint32_t arity = 0; arity <= 3; arity++) {
        if (arity == 2)
            continue;
        opts.len = 0;
        term_put_list(&opts, 1);
        term_put_tuple(&opts, arity);
        for (uint32_t k = 0; k < arity; k++)
            term_put_atom(&opts, "flag");
        term_put_nil(&opts);
        check_refused("opts.", "pairs {Option, Value} are wanted");
    }
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    term_put_integer(one(long_name), 1);
    struct target t = {0};
    ck_assert_int_eq(read_opts(&t), ERR_INVALID);
    ck_assert_uint_eq(strlen(fault.path), strlen("opts.") + 64);
    buf_free(&opts);
}

TEST(a_kind_is_found_by_its_name)
{
    struct kinds *kinds = kinds_new();
    const struct kind *kind = NULL;

    fault = (struct fault){0};
    opts.len = 0;
    term_put_atom(&opts, "run_summary");
    ck_assert_int_eq(kinds_finish(kinds, &fault), ERR_OK);
    ck_assert_int_eq(arguments_kind(kinds, opts.data, &kind, &fault), ERR_OK);
    ck_assert_str_eq(kind->name, "run_summary");
    opts.len = 0;
    term_put_text(&opts, "no_kind");
    ck_assert_int_eq(arguments_kind(kinds, opts.data, &kind, &fault), ERR_UNKNOWN_KIND);
    ck_assert_str_eq(fault.path, "no_kind");
    opts.len = 0;
    term_put_integer(&opts, 1);
    ck_assert_int_eq(arguments_kind(kinds, opts.data, &kind, &fault), ERR_UNKNOWN_KIND);
    ck_assert_ptr_null(kind);
    kinds_free(kinds);
    buf_free(&opts);
}
