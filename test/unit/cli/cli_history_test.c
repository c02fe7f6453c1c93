/*
 * cli_history_test.c - lines as entities, and what is said of lines that are none.
 */

#include "cli/cli_history.h"

#include "term/term.h"
#include "test.h"

#include <pthread.h>
#include <unistd.h>

static volatile sig_atomic_t stop;

#define E(n)     "{\"seq\":" #n ",\"event_type\":\"t" #n "\",\"inserted_at\":\"2026-02-19T20:00:00Z\"}"
#define HEAD(id) "{\"kind\":\"run_summary\",\"id\":\"" id "\""
#define ROW      ",\"row\":{\"status\":\"running\"}"

struct feed {
    const char *text;
    size_t times;
    int fd;
};

/* A pipe holds 64 KiB: a thread of its own writes. */
static void *write_feed(void *arg)
{
    struct feed *f = arg;

    for (size_t i = 0; i < f->times; i++)
        ck_assert_int_eq(write(f->fd, f->text, strlen(f->text)), (ssize_t)strlen(f->text));
    close(f->fd);
    return NULL;
}

/* Everything that comes of ${text}: "id:seq/count " of entities, "!line:why " of refusals. */
static char *read_all(const char *text, uint64_t first_line, size_t times)
{
    static char out[4096];
    int ends[2];
    struct feed feed = {.text = text, .times = times};
    pthread_t writer;
    struct cli_entity entity;
    struct fault fault;
    uint64_t line;
    size_t len = 0;
    enum err e;

    ck_assert_int_eq(pipe(ends), 0);
    feed.fd = ends[1];
    ck_assert_int_eq(pthread_create(&writer, NULL, write_feed, &feed), 0);
    struct cli_history *h = cli_history_open(ends[0], first_line, &stop);
    out[0] = '\0';
    while ((e = cli_history_next(h, &entity, &line, &fault)) != ERR_NOT_FOUND) {
        ck_assert(len < sizeof out - 400);
        if (e == ERR_OK) {
            int64_t seq = 0;
            if (entity.event.len > 0)
                ck_assert(term_integer(term_get(entity.event.data, "seq"), &seq));
            ck_assert_int_eq(term_type(entity.row.data), TERM_MAP);
            len += (size_t)snprintf(out + len, sizeof out - len, "%llu:%.*s:%lld/%lld ",
                                    (unsigned long long)entity.line, SLICE_ARG(entity.id),
                                    (long long)seq, (long long)entity.event_count);
        } else {
            len += (size_t)snprintf(out + len, sizeof out - len, "!%llu:%s ",
                                    (unsigned long long)line, fault.why);
        }
    }
    ck_assert_uint_eq(cli_history_bytes(h), strlen(text) * times);
    ck_assert_int_eq(cli_history_next(h, &entity, &line, &fault), ERR_NOT_FOUND);
    cli_history_close(h);
    pthread_join(writer, NULL);
    close(ends[0]);
    return out;
}

TEST(entities_with_and_without_events)
{
    ck_assert_str_eq(read_all("", 1, 1), "");
    ck_assert_str_eq(read_all("\n  \r\n", 1, 1), "");
    ck_assert_str_eq(
        read_all(HEAD("a") ROW "}\n" HEAD("b") ROW ",\"events\":[" E(1) "," E(2) "]}", 1, 1),
        "1:a:0/0 2:b:2/2 ");
    ck_assert_str_eq(
        read_all(HEAD("a") ROW ",\"events\":[" E(7) "," E(8) "],\"else\":1}\r\n", 1, 1),
        "1:a:8/2 ");
}

TEST(long_histories_go_on_in_the_next_line)
{
    const char *text = HEAD("a") ROW ",\"events\":[" E(1) "," E(2) "],\"more\":true}\n" /* 1 */
        HEAD("a") ",\"events\":[" E(3) "]}\n" HEAD("a") ",\"events\":[" E(4) "]}\n"     /* 2, 3 */
        HEAD("a") ",\"events\":[]}\n" HEAD("b") ROW "}\n";                              /* 4, 5 */
    ck_assert_str_eq(read_all(text, 1, 1), "1:a:4/4 5:b:0/0 ");
    ck_assert_str_eq(read_all(text, 5, 1), "5:b:0/0 ");
    ck_assert_str_eq(read_all(text, 3, 1),
                     "!3:it has no \"row\", and continues no line before it 5:b:0/0 ");
    ck_assert_str_eq(read_all(text, 6, 1), "");
}

TEST(bad_lines_are_named_and_the_rest_goes_on)
{
    static const struct {
        const char *text, *wanted;
    } cases[] = {
        {"{\n" HEAD("a") ROW "}\n", "!1:line 1, column 1: "},
        {"[]\n", "!1:it is no object "},
        {"{\"kind\":\"k\",\"row\":{}}\n", "!1:\"kind\" and \"id\" must be there, as text "},
        {"{\"kind\":\"k\",\"id\":\"\",\"row\":{}}\n", "!1:\"kind\" and \"id\" must be there"},
        {"{\"kind\":null,\"id\":\"a\",\"row\":{}}\n", "!1:\"kind\" and \"id\" must be there"},
        {HEAD("a") ",\"row\":[]}\n", "!1:\"row\" must be an object "},
        {HEAD("a") ROW ",\"events\":{}}\n", "!1:\"events\" must be an array "},
        {HEAD("a") ROW ",\"events\":[1]}\n", "!1:events[0]: it has no \"seq\" from 1 on "},
        {HEAD("a") ROW ",\"events\":[{\"seq\":0,\"event_type\":\"t\"}]}\n", "!1:events[0]: it has"},
        {HEAD("a") ROW ",\"events\":[{\"seq\":1}]}\n", "!1:events[0]: its \"event_type\" is no"},
        {HEAD("a") ROW ",\"events\":[{\"seq\":1,\"event_type\":\"t\",\"inserted_at\":1}]}\n",
         "!1:events[0]: its \"inserted_at\" is neither text nor null "},
        {HEAD("a") ROW ",\"events\":[" E(1) "," E(3) "]}\n",
         "!1:events[1]: after event 1 comes 3 "},
        /* the whole entity is left out, and said to be once */
        {HEAD("a") ROW ",\"events\":[" E(1) "]}\n" HEAD("a") ",\"events\":[" E(3) "]}\n" HEAD(
             "a") ",\"events\":[" E(4) "]}\n" HEAD("b") ROW "}\n",
         "!2:events[0]: after event 1 comes 3 4:b:0/0 "},
        {HEAD("a") ROW ",\"more\":true}\n" HEAD("b") ROW "}\n",
         "!1:it says that more follows, and nothing does 2:b:0/0 "},
        {HEAD("a") ROW
         ",\"events\":[" E(1) "],\"more\":true}\nx\n" HEAD("a") ",\"events\":[" E(2) "]}\n",
         "!1:it says that more follows, and nothing does !2:"},
        {HEAD("a") ",\"events\":[]}\n" HEAD("a") ",\"events\":[]}\n" HEAD("b") ROW "}\n",
         "!1:it has no \"row\", and continues no line before it 3:b:0/0 "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *got = read_all(cases[i].text, 1, 1);
        ck_assert_msg(strncmp(got, cases[i].wanted, strlen(cases[i].wanted)) == 0,
                      "%s\ngot \"%s\"\nwanted \"%s\"", cases[i].text, got, cases[i].wanted);
    }
}

TEST(a_line_without_end_is_bounded)
{
    static char block[1 << 20];

    memset(block, 'x', sizeof block - 1);
    ck_assert_str_eq(read_all(block, 1, 40), "!1:it is longer than 32 MiB ");
}

TEST(a_file_that_cannot_be_read)
{
    struct cli_entity entity;
    struct fault fault;
    uint64_t line;
    struct cli_history *h = cli_history_open(-1, 1, &stop);

    ck_assert_int_eq(cli_history_next(h, &entity, &line, &fault), ERR_SYSTEM);
    ck_assert(strstr(fault.why, "can't be read") != NULL);
    cli_history_close(h);
    cli_history_close(NULL);
}
