/* cli_words_test.c - each word as its request, wrong usage, help. */

#include "cli/cli.h"
#include "cli/cli_words.h"

#include "ground/buf.h"
#include "term/term.h"
#include "test.h"

#include <inttypes.h>

/* A term as Erlang writes it; enough for requests. */
static void show(struct buf *b, term t)
{
    struct slice text = term_text(t);
    int64_t v;
    if (term_type(t) == TERM_BINARY)
        buf_printf(b, "<<%.*s>>", SLICE_ARG(text));
    else if (term_type(t) == TERM_ATOM)
        buf_slice(b, text);
    else if (term_integer(t, &v))
        buf_printf(b, "%" PRId64, v);
    else if (term_type(t) == TERM_MAP) {
        term at = term_items(t);
        for (uint32_t i = 0; i < 2 * term_arity(t); i++, at = term_next(at)) {
            buf_str(b, i == 0 ? "#{" : i % 2 ? "=>" : ",");
            show(b, at);
        }
        buf_byte(b, '}');
    } else {
        ck_assert_int_eq(term_type(t), TERM_TUPLE);
        for (uint32_t i = 0; i < term_arity(t); i++) {
            buf_str(b, i ? "," : "{");
            show(b, term_element(t, i));
        }
        buf_byte(b, '}');
    }
}

/* ${line}: word and arguments, blank-separated. */
static enum err parse(const char *line, struct ask *ask, char *why)
{
    static char copy[200]; /* what is asked for lies in it */
    char *rest = copy, *argv[16];
    int argc = 0;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word; (word = strsep(&rest, " ")) != NULL;)
        argv[argc++] = word;
    why[0] = '\0';
    enum err e = cli_words_parse(argv[0], argc - 1, argv + 1, ask, why, 200);
    return e;
}

TEST(each_word_is_a_request_of_the_protocol)
{
    static const struct {
        const char *line, *request;
        int64_t timeout_ms;
    } cases[] = {
        {"status", "status", 5000},
        {"top --looks 3", "status", 5000},
        {"pause", "pause", 5000},
        {"resume", "resume", 5000},
        {"reload", "reload", 5000},
        {"flush", "{flush,10000}", 15000},
        {"flush 60000", "{flush,60000}", 65000},
        {"flush 60000 --timeout 3", "{flush,60000}", 3000},
        {"drain", "{drain,10000}", 15000},
        {"drain 0", "{drain,0}", 5000},
        {"peers", "peers", 5000},
        {"adopt", "{adopt,#{dry_run=>false}}", 5000},
        {"adopt --dry-run", "{adopt,#{dry_run=>true}}", 5000},
        {"pending", "{pending,#{troubled=>false}}", 5000},
        {"pending --kind k --troubled", "{pending,#{troubled=>true,kind=><<k>>}}", 5000},
        {"explain a:1", "{explain,<<a:1>>}", 5000},
        {"tap", "{tap,#{kind=><<>>,id=><<>>}}", 0},
        {"tap --kind k --id a:1 --timeout 9", "{tap,#{kind=><<k>>,id=><<a:1>>}}", 9000},
        {"checkpoint a:1", "{checkpoint,<<a:1>>}", 5000},
        {"checkpoint -- --odd", "{checkpoint,<<--odd>>}", 5000},
        {"clear a:1", "{clear,<<a:1>>}", 5000},
        {"clear --kind run_summary", "{clear,{kind,<<run_summary>>}}", 5000},
        {"clear --all", "{clear,all}", 5000},
        {"dead list", "{dead,list}", 5000},
        {"clear --all --yes", "{clear,all}", 5000},
        {"clear --all --dry-run", "{clear,all,#{dry_run=>true}}", 5000},
        {"clear a:1 --dry-run", "{clear,<<a:1>>,#{dry_run=>true}}", 5000},
        {"audit --repair --dry-run", "{audit,all,#{repair=>false,after=><<>>}}", 7200000},
        {"dead list a:1", "{dead,{list,<<a:1>>}}", 5000},
        {"dead show a:1", "{dead,{show,<<a:1>>}}", 5000},
        {"dead retry a:1", "{dead,{retry,<<a:1>>}}", 5000},
        {"dead retry --all", "{dead,{retry,all}}", 5000},
        {"--json dead drop a:1", NULL, 0},
        {"dead drop a:1 --json", "{dead,{drop,<<a:1>>}}", 5000},
        {"audit", "{audit,all,#{repair=>false,after=><<>>}}", 7200000},
        {"audit --kind k --repair --after a:1 --timeout 60",
         "{audit,<<k>>,#{repair=>true,after=><<a:1>>}}", 60000},
        {"audit status", "{audit,status}", 5000},
        {"audit cancel --json", "{audit,cancel}", 5000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ask ask;
        char why[200];
        enum err e = parse(cases[i].line, &ask, why);
        if (cases[i].request == NULL) {
            ck_assert_int_eq(e, ERR_NOT_FOUND);
            continue;
        }
        ck_assert_msg(e == ERR_OK, "%s: %s", cases[i].line, why);
        struct buf whole = {0}, text = {0};
        struct fault fault = {0};
        term t;
        term_put_version(&whole);
        buf_slice(&whole, buf_view(&ask.request));
        ck_assert_int_eq(term_check(buf_view(&whole), &t, &fault), ERR_OK);
        show(&text, t);
        ck_assert_slice(buf_view(&text), cases[i].request);
        ck_assert_int_eq(ask.timeout_ms, cases[i].timeout_ms);
        ck_assert_int_eq(ask.json, strstr(cases[i].line, "--json") != NULL);
        buf_free(&text);
        buf_free(&whole);
        cli_words_free(&ask);
    }
}

/* What is lost is said before; what can be asked for again is not asked about. */
TEST(words_that_lose_something_say_so)
{
    static const struct {
        const char *line;
        bool asks, counts;
    } cases[] = {{"clear a:1", false, false},
                 {"clear --all", true, true},
                 {"clear --kind k", true, true},
                 {"clear --kind k --dry-run", false, false},
                 {"dead drop a:1", true, false},
                 {"dead retry --all", false, false},
                 {"audit", false, false},
                 {"audit --repair", true, false},
                 {"audit --repair --dry-run", false, false},
                 {"adopt", true, false},
                 {"adopt --dry-run", false, false},
                 {"audit --kind k --repair --after a:1", true, false},
                 {"rebuild --from f --lower", false, false}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ask ask;
        char why[200];
        ck_assert_int_eq(parse(cases[i].line, &ask, why), ERR_OK);
        ck_assert_msg((ask.loss != NULL) == cases[i].asks, "%s", cases[i].line);
        ck_assert_msg((ask.preview.len > 0) == cases[i].counts, "%s", cases[i].line);
        ck_assert(!ask.yes);
        cli_words_free(&ask);
    }
}

/* ${wanted}: the fields of struct ask that are no request, in their order. */
static void check_fields(const char *line, const char *wanted)
{
    struct ask a;
    char why[200], got[400];

    ck_assert_msg(parse(line, &a, why) == ERR_OK, "%s", why);
    snprintf(got, sizeof got, "%d%d%d%d%d%d%d %lld %lld %s %llu", a.json, a.yes, a.top, a.tap,
             a.audit, a.lower, a.dry_run, (long long)a.timeout_ms, (long long)a.looks,
             a.from ? a.from : "-", (unsigned long long)a.from_line);
    ck_assert_str_eq(got, wanted);
    cli_words_free(&a);
}

TEST(each_option_reaches_its_field)
{
    check_fields("status", "0000000 5000 0 - 0");
    check_fields("status --json --timeout 7200", "1000000 7200000 0 - 0");
    check_fields("clear --all --yes", "0100000 5000 0 - 0");
    check_fields("clear --all --dry-run", "0000001 5000 0 - 0");
    check_fields("top", "0010000 5000 0 - 0");
    check_fields("top --looks 1", "0010000 5000 1 - 0");
    check_fields("tap", "0001000 0 0 - 0");
    check_fields("audit", "0000100 7200000 0 - 0");
    check_fields("audit status", "0000000 5000 0 - 0");
    check_fields("audit cancel --timeout 1", "0000000 1000 0 - 0");
    check_fields("rebuild --from -", "0000000 60000 0 - 1");
    check_fields("rebuild --from f --from-line 7 --lower --dry-run --timeout 9",
                 "0000011 9000 0 f 7");
}

TEST(wrong_usage_says_what_is_wrong)
{
    static const char *const cases[][2] = {
        {"status now", "too many arguments"},
        {"status --all", "--all does not belong here; it goes with clear, dead"},
        {"status --yes",
         "--yes does not belong here; it goes with store, adopt, clear, dead, audit"},
        {"dead drop a --dry-run",
         "--dry-run does not belong here; it goes with adopt, clear, rebuild, audit"},
        {"status --jsn", "--jsn is not understood"},
        {"status --timeout", "--timeout needs a value"},
        {"status --timeout 0", "--timeout wants a number of seconds from 1 to 7200"},
        {"status --timeout 5s", "--timeout wants a number of seconds from 1 to 7200"},
        {"flush soon", "a number of milliseconds from 0 to 3600000 is wanted"},
        {"flush -1", "a number of milliseconds from 0 to 3600000 is wanted"},
        {"top --looks 0", "--looks wants a number from 1"},
        {"rebuild --from x --from-line -1", "--from-line wants a number from 1"},
        {"checkpoint", "an argument is missing"},
        {"checkpoint a b c", "too many arguments"},
        {"clear", "one of ID, --kind KIND or --all is wanted"},
        {"clear a --all", "one of ID, --kind KIND or --all is wanted"},
        {"clear --kind", "--kind needs a value"},
        {"dead", "list, show ID, retry ID, retry --all or drop ID is wanted"},
        {"dead bury a", "list, show, retry or drop is wanted"},
        {"dead drop --all", "--all goes with retry alone"},
        {"dead retry a --all", "--all goes with retry alone"},
        {"dead drop", "the id of a document is wanted"},
        {"dead retry", "the id of a document is wanted"},
        {"audit k", "status, cancel, or --kind, --repair and --after are wanted"},
        {"audit --all", "--all does not belong here; it goes with clear, dead"},
        {"audit status cancel", "status, cancel, or --kind, --repair and --after are wanted"},
        {"audit status --repair", "status and cancel stand alone"},
        {"audit --after", "--after needs a value"},
        {"status --timeout 7201", "--timeout wants a number of seconds from 1 to 7200"},
        {"flush 3600001", "a number of milliseconds from 0 to 3600000 is wanted"},
        {"flush 1 2", "too many arguments"},
        {"peers x", "too many arguments"},
        {"top x", "too many arguments"},
        {"tap x", "too many arguments"},
        {"pending x", "too many arguments"},
        {"adopt x", "too many arguments"},
        {"clear a b", "too many arguments"},
        {"clear a --kind k", "one of ID, --kind KIND or --all is wanted"},
        {"clear --kind k --all", "one of ID, --kind KIND or --all is wanted"},
        {"dead list a b", "too many arguments"},
        {"dead show", "the id of a document is wanted"},
        {"dead list --all", "--all goes with retry alone"},
        {"audit cancel --kind k", "status and cancel stand alone"},
        {"audit status --after a", "status and cancel stand alone"},
        {"audit status --dry-run", "status and cancel stand alone"},
        {"audit status --yes", "status and cancel stand alone"},
        {"rebuild", "--from FILE is wanted"},
        {"rebuild x --from f", "--from FILE is wanted"},
        {"rebuild --from f --from-line 0", "--from-line wants a number from 1"},
        {"rebuild --from f --from-line 1x", "--from-line wants a number from 1"},
        {"top --looks 99999999999999999999", "--looks wants a number from 1"},
        {"status --repair", "--repair does not belong here; it goes with audit"},
        {"rebuild --from x --after y", "--after does not belong here; it goes with audit"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ask ask;
        char why[200];
        ck_assert_msg(parse(cases[i][0], &ask, why) == ERR_INVALID, "%s", cases[i][0]);
        ck_assert_str_eq(why, cases[i][1]);
        ck_assert_ptr_null(ask.request.data);
    }
    struct ask ask;
    char why[200];
    ck_assert_int_eq(parse("frobnicate", &ask, why), ERR_NOT_FOUND);
    ck_assert_int_eq(parse("run", &ask, why), ERR_NOT_FOUND); /* main's */
}

TEST(every_word_has_help_with_an_example)
{
    char *all = NULL, word[50];
    size_t len = 0, count = 0;
    FILE *out = open_memstream(&all, &len);
    ck_assert(cli_help(NULL, out));
    fclose(out);
    for (const char *at = all; (at = strstr(at, "\n  ")) != NULL; count++) {
        char *text = NULL, line[100];
        ck_assert_int_eq(sscanf(at += 3, "%49s", word), 1);
        out = open_memstream(&text, &len);
        ck_assert_msg(cli_help(word, out), "%s", word);
        fclose(out);
        snprintf(line, sizeof line, "Example: convex_sidecar %s", word);
        ck_assert_msg(strstr(text, line) != NULL, "%s", text);
        free(text);
    }
    ck_assert_uint_gt(count, 0);
    free(all);
    ck_assert(!cli_help("frobnicate", stdout));
}
