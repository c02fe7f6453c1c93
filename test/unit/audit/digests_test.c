/* digests_test.c - what is asked, and what each answer is taken for. */

#include "audit/digests.h"
#include "ground/beat.h"
#include "ground/buf.h"
#include "ground/clock.h"

#include "test.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- time that passes by waiting alone ---------------------------------------------------------
 */

static int64_t now_us = 5000000;
static int waits[64];
static size_t wait_count;
static unsigned beats_made, interruptions;

int64_t clock_mono_us(void)
{
    return now_us;
}

int64_t clock_wall_us(void)
{
    return now_us;
}

int poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
    const struct timespec none = {0};

    if (interruptions > 0) {
        interruptions--;
        errno = EINTR;
        return -1;
    }
    int ready = (int)syscall(SYS_ppoll, fds, n, &none, NULL, 0);
    if (ready != 0)
        return ready;
    ck_assert_uint_lt(wait_count, sizeof waits / sizeof *waits);
    waits[wait_count++] = timeout_ms;
    now_us += timeout_ms * INT64_C(1000);
    errno = EINTR; /* of something else */
    return 0;
}

void beat(void)
{
    beats_made++;
}

/* ---- an http room that answers from a list ---- */

static struct {
    struct {
        long status; /* 0: the connection broke */
        const char *body;
        long retry_after_ms;
    } answers[16];
    unsigned count, asked, opened, closed;
    struct http_options options;
    char body[4096], authorization[64];
    http_done *done; /* NULL: nothing is under way */
    void *arg;
} web;
static int wake_fd;

struct http {
    int unused;
};

enum err http_open(const struct http_options *options, struct http **h, struct fault *fault)
{
    (void)fault;
    web.options = *options;
    web.opened++;
    *h = base_alloc(sizeof **h);
    return ERR_OK;
}

void http_close(struct http *h)
{
    struct http_answer answer = {.end = HTTP_ABANDONED};

    web.closed += h != NULL;
    if (h && web.done)
        web.done(web.arg, &answer);
    web.done = NULL;
    free(h);
}

void http_set_authorization(struct http *h, const char *value)
{
    (void)h;
    snprintf(web.authorization, sizeof web.authorization, "%s", value);
}

void http_post_json(struct http *h, const char *path, struct slice body, http_done *done, void *arg)
{
    (void)h;
    ck_assert_str_eq(path, "/api/query");
    ck_assert(web.done == NULL && body.len < sizeof web.body);
    snprintf(web.body, sizeof web.body, "%.*s", SLICE_ARG(body));
    free((void *)body.data);
    web.done = done;
    web.arg = arg;
}

void http_get(struct http *h, const char *path, http_done *done, void *arg)
{
    (void)h, (void)path, (void)done, (void)arg;
    ck_abort_msg("a digest is no GET");
}

void http_wait(struct http *h, int fd, int timeout_ms)
{
    struct http_answer answer = {.end = HTTP_BROKEN};
    http_done *done = web.done;

    (void)h, (void)timeout_ms;
    ck_assert_int_eq(fd, wake_fd);
    if (web.asked == web.count)
        return; /* only a wake helps now */
    if (web.answers[web.asked].status)
        answer = (struct http_answer){.end = HTTP_ANSWERED,
                                      .status = web.answers[web.asked].status,
                                      .retry_after_ms = web.answers[web.asked].retry_after_ms,
                                      .body = slice_str(web.answers[web.asked].body)};
    web.asked++;
    web.done = NULL;
    done(web.arg, &answer);
}

static void will_answer(long status, const char *body)
{
    web.answers[web.count].status = status;
    web.answers[web.count++].body = body;
}

static struct digests_options options;

static struct digests *open_digests(void)
{
    struct digests *d = NULL;
    struct fault fault = {0};

    memset(&web, 0, sizeof web);
    wait_count = 0;
    wake_fd = eventfd(0, EFD_NONBLOCK);
    options = (struct digests_options){
        .query = "runtime:listDigests", .admin_key = "key|1", .wake_fd = wake_fd};
    ck_assert_int_eq(digests_open(&options, &d, &fault), ERR_OK);
    ck_assert_str_eq(web.authorization, "Convex key|1");
    return d;
}

static void close_digests(struct digests *d)
{
    digests_close(d);
    ck_assert_uint_eq(web.closed, web.opened);
    close(wake_fd);
}

#define H1          "1111111111111111111111111111111111111111111111111111111111111111"
#define H2          "abababababababababababababababababababababababababababababababab"
#define ONE(fields) "{\"status\":\"success\",\"value\":{\"digests\":[{" fields "}],\"next\":null}}"
#define GOOD                                                                                       \
    "\"document_id\":\"a\",\"seq\":5.0,\"projected_at\":\"001771531200.123456001\","               \
    "\"content_hash\":\"" H1 "\",\"actual_hash\":\"" H2 "\",\"intact\":true"

TEST(a_page)
{
    struct digests *d = open_digests();
    struct digests_ask ask = {.kind = "run_summary", .after = slice_str("x\"y")};
    struct digests_page page;
    struct fault fault = {0};

    will_answer(200, "{\"status\":\"success\",\"value\":{\"digests\":[{" GOOD
                     "},{\"document_id\":\"b\",\"seq\":0,\"projected_at\":\"\",\"content_hash\":"
                     "null,\"actual_hash\":\"" H1 "\",\"intact\":false}],\"next\":\"z\"}}");
    ck_assert_int_eq(digests_get(d, &ask, &page, &fault), ERR_OK);
    ck_assert_str_eq(web.body,
                     "{\"path\":\"runtime:listDigests\",\"format\":\"json\",\"args\":{\"verify\":"
                     "true,\"kind\":\"run_summary\",\"limit\":500,\"after\":\"x\\\"y\"}}");
    ck_assert_uint_eq(page.count, 2);
    ck_assert(!page.is_last);
    ck_assert_slice(page.next, "z");
    const struct drift_theirs *t = page.items;
    ck_assert_slice(t->id, "a");
    ck_assert(t->seq == 5 && t->is_intact && t->has_hash && !t->is_removed);
    ck_assert_int_eq(t->projected_at_us, 1771531200123457); /* rounded up */
    ck_assert_uint_eq(t->hash[0], 0x11);
    ck_assert_uint_eq(t->actual[31], 0xab);
    ck_assert(!t[1].is_intact && !t[1].has_hash && t[1].seq == 0 && t[1].projected_at_us == 0);
    close_digests(d);
}

TEST(some_documents)
{
    struct digests *d = open_digests();
    struct slice ids[] = {slice_str("a"), slice_str("b")};
    struct digests_ask ask = {.kind = "k", .ids = ids, .id_count = 2};
    struct digests_page page;
    struct fault fault = {0};

    will_answer(200, ONE("\"document_id\":\"b\",\"seq\":3,\"content_hash\":null,\"removed\":true,"
                         "\"projected_at\":\"001771531200.000000000\""));
    ck_assert_int_eq(digests_get(d, &ask, &page, &fault), ERR_OK);
    ck_assert_ptr_nonnull(strstr(web.body, "\"kind\":\"k\",\"document_ids\":[\"a\",\"b\"]}}"));
    ck_assert(page.count == 1 && page.is_last && page.items[0].is_removed);
    ck_assert_int_eq(page.items[0].projected_at_us, 1771531200000000);
    close_digests(d);
}

/* What is wrong with an answer ends the question: nothing is guessed. */
TEST(answers_of_another_shape)
{
    static const struct {
        const char *body, *why;
    } cases[] = {
        {ONE("\"seq\":1"), "document_id"},
        {ONE("\"document_id\":7,\"seq\":1"), "document_id"},
        {ONE("\"document_id\":\"a\",\"seq\":-1"), "seq"},
        {ONE("\"document_id\":\"a\",\"seq\":1.5"), "seq"},
        {ONE("\"document_id\":\"a\",\"seq\":1e300"), "seq"},
        {ONE("\"document_id\":\"a\",\"seq\":\"1\""), "seq"},
        {ONE("\"document_id\":\"a\",\"seq\":1"), "projected_at"},
        {ONE("\"document_id\":\"a\",\"seq\":1,\"projected_at\":\"\""), "content_hash"},
        {ONE("\"document_id\":\"a\",\"seq\":1,\"projected_at\":\"\",\"content_hash\":7"),
         "content_hash"},
        {ONE("\"document_id\":\"a\",\"seq\":1,\"projected_at\":\"\",\"content_hash\":null"),
         "actual_hash"},
        {ONE("\"document_id\":\"a\",\"seq\":1,\"projected_at\":\"\",\"content_hash\":null,"
             "\"actual_hash\":\"11\""),
         "actual_hash"},
        {"{\"status\":\"success\",\"value\":{\"digests\":[]}}", "next"},
        {"{\"status\":\"success\",\"value\":{\"digests\":7,\"next\":null}}", "list"},
        {"{\"status\":\"success\",\"value\":{\"next\":null}}", "list"},
        {"{\"status\":\"success\",\"value\":{\"digests\":[7],\"next\":null}}", "document_id"},
        {"{\"status\":\"success\",\"value\":{\"digests\":[],\"next\":\"m\"}}", "before"},
        {"{\"status\":\"success\",\"value\":null}", "next"},
    };
    struct digests *d = open_digests();
    struct digests_ask ask = {.kind = "k", .after = slice_str("m")};
    struct digests_page page;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fault fault = {0};
        web.count = web.asked = 0;
        will_answer(200, cases[i].body);
        ck_assert_int_eq(digests_get(d, &ask, &page, &fault), ERR_SINK);
        ck_assert_msg(strstr(fault.why, cases[i].why) != NULL, "%s: %s", cases[i].body, fault.why);
    }
    close_digests(d);
}

TEST(a_hash_that_is_none_of_ours_is_not_intact)
{
    struct digests *d = open_digests();
    struct digests_ask ask = {.kind = "k"};
    struct digests_page page;
    struct fault fault = {0};

    will_answer(200, ONE("\"document_id\":\"a\",\"seq\":5,\"projected_at\":\"odd\","
                         "\"content_hash\":\"ABC\",\"actual_hash\":\"" H2 "\",\"intact\":true"));
    ck_assert_int_eq(digests_get(d, &ask, &page, &fault), ERR_OK);
    ck_assert(page.items[0].has_hash && !page.items[0].is_intact);
    ck_assert_int_eq(page.items[0].projected_at_us, 0);
    close_digests(d);
}

TEST(passing_faults_are_waited_out)
{
    struct digests *d = open_digests();
    struct digests_ask ask = {.kind = "k"};
    struct digests_page page;
    struct fault fault = {0};

    will_answer(0, "");
    will_answer(503, "{\"code\":\"TooManyConcurrentRequests\",\"message\":\"\"}");
    will_answer(200, ONE(GOOD));
    ck_assert_int_eq(digests_get(d, &ask, &page, &fault), ERR_OK);
    ck_assert_uint_eq(web.asked, 3);
    close_digests(d);
}

TEST(other_faults_end_the_question_with_their_words)
{
    struct digests *d = open_digests();
    struct digests_ask ask = {.kind = "k"};
    struct digests_page page;
    struct fault fault = {0};

    will_answer(200, "{\"status\":\"error\",\"errorMessage\":\"Could not find public function for "
                     "'runtime:listDigests'\"}");
    ck_assert_int_eq(digests_get(d, &ask, &page, &fault), ERR_SINK);
    ck_assert_ptr_nonnull(strstr(fault.why, "Could not find"));
    /* A key may have been replaced: it is read and tried once more. */
    will_answer(401, "{\"code\":\"BadAdminKey\",\"message\":\"no\"}");
    will_answer(401, "{\"code\":\"BadAdminKey\",\"message\":\"no\"}");
    web.authorization[0] = '\0';
    ck_assert_int_eq(digests_get(d, &ask, &page, &fault), ERR_SINK);
    ck_assert_uint_eq(web.asked, 3);
    ck_assert_str_eq(web.authorization, "Convex key|1");
    close_digests(d);
}

static const char *asked_for(void)
{
    const char *limit = strstr(web.body, "\"limit\":");

    return limit ? limit + 8 : strstr(web.body, "\"document_ids\":") + 15;
}

#define SAYS(text)                                                                                 \
    "{\"status\":\"error\",\"errorMessage\":\"[Request ID: 1] Server Error\\n" text "\"}"

TEST(a_page_that_is_too_much_is_halved_and_grows_again)
{
    static const char *const limits[] = {
        SAYS("Function execution timed out (maximum duration: 1s)"),
        SAYS("Uncaught Error: Too many bytes read in a single function execution (limit: 16777216 "
             "bytes)."),
        SAYS("Function runtime.js:listDigests return value is too large (actual: 17 MiB, limit: 16 "
             "MiB)"),
        "{\"status\":\"error\",\"errorMessage\":\"[Request ID: 1] Server Error\"}"};
    struct digests *d = open_digests();
    struct digests_ask ask = {.kind = "k"};
    struct digests_page page;
    struct fault fault = {0};

    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        will_answer(200, limits[i]);
    will_answer(200, ONE(GOOD));
    ck_assert_int_eq(digests_get(d, &ask, &page, &fault), ERR_OK);
    ck_assert_uint_eq(web.asked, 5);
    ck_assert_int_eq(strncmp(asked_for(), "31,", 3) && strncmp(asked_for(), "31}", 3), 0);
    for (int i = 0; i < 9; i++) {
        will_answer(200, ONE(GOOD));
        ck_assert_int_eq(digests_get(d, &ask, &page, &fault), ERR_OK);
    }
    ck_assert_int_eq(strncmp(asked_for(), "61}", 3), 0); /* 62 failed */
    close_digests(d);
}

TEST(documents_that_are_too_many_for_a_page_are_asked_for_in_parts)
{
    struct digests *d = open_digests();
    struct slice ids[] = {slice_str("a"), slice_str("b"), slice_str("c")};
    struct digests_ask ask = {.kind = "k", .ids = ids, .id_count = 3};
    struct digests_page page;
    struct fault fault = {0};

    will_answer(200, SAYS("Function execution timed out (maximum duration: 1s)"));
    will_answer(200, ONE(GOOD));
    ck_assert_int_eq(digests_get(d, &ask, &page, &fault), ERR_OK);
    ck_assert_int_eq(strncmp(asked_for(), "[\"a\"]", 5), 0);
    ck_assert(!page.is_last && page.count == 1);
    ck_assert_slice(page.next, "a");
    will_answer(200, SAYS("Function execution timed out (maximum duration: 1s)"));
    will_answer(200, SAYS("Function execution timed out (maximum duration: 1s)"));
    ck_assert_int_eq(digests_get(d, &ask, &page, &fault), ERR_SINK); /* not even one */
    ck_assert_ptr_nonnull(strstr(fault.why, "timed out"));
    close_digests(d);
}

TEST(an_id_that_convex_cannot_hold)
{
    struct digests *d = open_digests();
    struct digests_ask ask = {.kind = "k", .after = slice_str("a\xff")};
    struct digests_page page;
    struct fault fault = {0};

    ck_assert_int_eq(digests_get(d, &ask, &page, &fault), ERR_SINK);
    ck_assert_str_eq(fault.why, "a document id is not UTF-8");
    close_digests(d);
}

TEST(woken_whatever_is_waited_for_is_given_up)
{
    struct digests *d = open_digests();
    struct digests_ask ask = {.kind = "k"};
    struct digests_page page;
    struct fault fault = {0};
    uint64_t one = 1;

    ck_assert(digests_pause(d, 1));
    ck_assert_int_eq(write(wake_fd, &one, sizeof one), sizeof one);
    ck_assert(!digests_pause(d, 60000));
    ck_assert_int_eq(digests_get(d, &ask, &page, &fault), ERR_CLOSED);
    will_answer(503, "");
    ck_assert_ptr_nonnull(web.done); /* still under way: it ends with the handle */
    close_digests(d);
}

TEST(a_key_that_is_none)
{
    struct digests *d = NULL;
    struct fault fault = {0};

    options = (struct digests_options){.query = "q", .admin_key = "two words"};
    ck_assert_int_eq(digests_open(&options, &d, &fault), ERR_INVALID);
    ck_assert_str_eq(fault.path, "admin_key");
    ck_assert_ptr_null(strstr(fault.why, "two"));
}

/* ---- bounds -----------------------------------------------------------------------------------
 */

static enum err get(struct digests *d, struct digests_page *page, long status, const char *body)
{
    struct digests_ask ask = {.kind = "k"};
    struct fault fault = {0};

    web.count = web.asked = 0;
    will_answer(status, body);
    return digests_get(d, &ask, page, &fault);
}

TEST(a_seq_is_a_count_that_a_float64_holds)
{
    static const struct {
        const char *seq;
        int64_t value; /* -1: none */
    } cases[] = {{"0", 0},
                 {"0.0", 0},
                 {"1", 1},
                 {"9007199254740992.0", 9007199254740992},
                 {"9007199254740994.0", -1},
                 {"0.5", -1},
                 {"-1.0", -1},
                 {"-1", -1},
                 {"null", -1},
                 {"99999999999999999999", -1}};
    struct digests *d = open_digests();
    struct digests_page page;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char body[600];
        snprintf(body, sizeof body,
                 ONE("\"document_id\":\"a\",\"seq\":%s,\"projected_at\":\"\",\"content_hash\":null,"
                     "\"actual_hash\":\"" H2 "\",\"intact\":true"),
                 cases[i].seq);
        enum err e = get(d, &page, 200, body);
        ck_assert_msg(e == (cases[i].value < 0 ? ERR_SINK : ERR_OK), "%s", cases[i].seq);
        if (e == ERR_OK)
            ck_assert_int_eq(page.items[0].seq, cases[i].value);
    }
    close_digests(d);
}

TEST(an_instant_is_read_or_none)
{
    static const struct {
        const char *at;
        int64_t us;
    } cases[] = {{"001771531200.000000000", 1771531200000000},
                 {"001771531200.000000001", 1771531200000001},
                 {"001771531200.000001000", 1771531200000001},
                 {"001771531200.000001001", 1771531200000002},
                 {"001771531200.999999000", 1771531200999999},
                 {"009999999999.987654321", 9999999999987655},
                 {"0017715312000.00000000", 0},
                 {"001771531200.00000000", 0},
                 {"001771531200.0000000000", 0},
                 {"001771531200,000000000", 0},
                 {"00177153120/.000000000", 0},
                 {"00177153120:.000000000", 0},
                 {"001771531200.00000000/", 0},
                 {"001771531200.00000000:", 0}};
    struct digests *d = open_digests();
    struct digests_page page;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char body[600];
        snprintf(body, sizeof body,
                 ONE("\"document_id\":\"a\",\"seq\":1,\"projected_at\":\"%s\",\"removed\":true"),
                 cases[i].at);
        ck_assert_int_eq(get(d, &page, 200, body), ERR_OK);
        ck_assert_msg(page.items[0].projected_at_us == cases[i].us, "%s", cases[i].at);
    }
    close_digests(d);
}

TEST(a_page_has_at_most_500)
{
    struct digests *d = open_digests();
    struct digests_page page;
    struct buf body = {0};

    for (int count = 499; count <= 501; count++) {
        body.len = 0;
        buf_str(&body, "{\"status\":\"success\",\"value\":{\"digests\":[");
        for (int i = 0; i < count; i++)
            buf_printf(&body,
                       "%s{\"document_id\":\"%03d\",\"seq\":1,\"projected_at\":\"\","
                       "\"removed\":true}",
                       i ? "," : "", i);
        buf_str(&body, "],\"next\":null}}");
        buf_byte(&body, 0);
        ck_assert_int_eq(get(d, &page, 200, (char *)body.data), count > 500 ? ERR_SINK : ERR_OK);
        if (count == 500)
            ck_assert_uint_eq(page.count, 500);
    }
    ck_assert_int_eq(
        get(d, &page, 200, "{\"status\":\"success\",\"value\":{\"digests\":[],\"next\":null}}"),
        ERR_OK);
    ck_assert_uint_eq(page.count, 0);
    buf_free(&body);
    close_digests(d);
}

TEST(the_next_page_lies_after_this_one)
{
    static const struct {
        const char *next;
        bool is_taken;
    } cases[] = {{"l", false}, {"m", false}, {"n", true}, {"ma", true}};
    struct digests *d = open_digests();
    struct digests_ask ask = {.kind = "k", .after = slice_str("m")};
    struct slice id = slice_str("m");
    struct digests_page page;
    struct fault fault = {0};

    for (size_t i = 0; i < 4; i++) {
        char body[200];
        snprintf(body, sizeof body,
                 "{\"status\":\"success\",\"value\":{\"digests\":[],\"next\":\"%s\"}}",
                 cases[i].next);
        web.count = web.asked = 0;
        will_answer(200, body);
        ask.id_count = 0;
        ck_assert_int_eq(digests_get(d, &ask, &page, &fault),
                         cases[i].is_taken ? ERR_OK : ERR_SINK);
        will_answer(200, body); /* of documents by their ids it is the caller who looks */
        ask.ids = &id;
        ask.id_count = 1;
        ck_assert_int_eq(digests_get(d, &ask, &page, &fault), ERR_OK);
        ck_assert(!page.is_last);
        ck_assert_slice(page.next, cases[i].next);
    }
    close_digests(d);
}

/* ---- how long it waits, and how often it asks -------------------------------------------------
 */

static void waits_were(const int *wanted, size_t count)
{
    size_t at = 0;

    for (size_t i = 0; i < wait_count; i++)
        if (waits[i] > 0)
            waits[at++] = waits[i]; /* a look whether it is woken waits for nothing */
    ck_assert_uint_eq(at, count);
    for (size_t i = 0; i < count; i++)
        ck_assert_int_eq(waits[i], wanted[i]);
    wait_count = 0;
}

TEST(a_passing_fault_is_asked_ten_times_in_growing_waits)
{
    static const int wanted[] = {100, 200, 400, 800, 1600, 3200, 6400, 8000, 8000};
    struct digests *d = open_digests();
    struct digests_ask ask = {.kind = "k"};
    struct digests_page page;
    struct fault fault = {0};

    for (int i = 0; i < 12; i++)
        will_answer(503,
                    "{\"code\":\"Full\",\"message\":\"too large\"}"); /* it says what it says */
    beats_made = 0;
    ck_assert_int_eq(digests_get(d, &ask, &page, &fault), ERR_SINK);
    ck_assert_uint_eq(web.asked, 10);
    ck_assert_str_eq(fault.why, "HTTP 503 Full: too large");
    waits_were(wanted, sizeof wanted / sizeof *wanted);
    ck_assert_uint_eq(beats_made, 10 + 9);
    web.count = web.asked = 0;
    will_answer(200, ONE(GOOD));
    ck_assert_int_eq(digests_get(d, &ask, &page, &fault), ERR_OK);
    ck_assert_int_eq(strncmp(asked_for(), "500}", 4), 0); /* which was no reason to ask for less */
    ck_assert_int_eq(get(d, &page, 200, ONE(GOOD)), ERR_OK);
    ck_assert_int_eq(strncmp(asked_for(), "500}", 4), 0); /* and never for more */
    options.tries = 1;
    web.count = web.asked = 0;
    will_answer(503, "{\"code\":\"Full\",\"message\":\"\"}");
    will_answer(200, ONE(GOOD));
    ck_assert_int_eq(digests_get(d, &ask, &page, &fault), ERR_SINK);
    ck_assert_uint_eq(web.asked, 1);
    close_digests(d);
}

TEST(retry_after_counts_where_it_is_longer)
{
    static const int wanted[] = {300, 600, 10000, 10000, 5000}; /* at least twice the one before */
    struct digests *d = open_digests();
    struct digests_ask ask = {.kind = "k"};
    struct digests_page page;
    struct fault fault = {0};

    for (int i = 0; i < 3; i++)
        will_answer(503, "{\"code\":\"Full\",\"message\":\"\"}");
    will_answer(200, ONE(GOOD));
    web.answers[0].retry_after_ms = 300;
    web.answers[1].retry_after_ms = 199;
    web.answers[2].retry_after_ms = 25000;
    beats_made = 0;
    ck_assert_int_eq(digests_get(d, &ask, &page, &fault), ERR_OK);
    ck_assert_uint_eq(beats_made, 4 + 5);
    waits_were(wanted, 5);
    close_digests(d);
}

TEST(an_interrupted_wait_goes_on)
{
    static const int wanted[] = {10000, 5};
    struct digests *d = open_digests();

    interruptions = 3;
    ck_assert(digests_pause(d, 10005));
    waits_were(wanted, 2);
    ck_assert(digests_pause(d, 0));
    ck_assert_uint_eq(wait_count, 1);
    close_digests(d);
}

TEST(what_is_too_much_is_told_by_its_words)
{
    static const int limits[] = {31, 35, 40, 46, 52, 59, 61, 61};
    struct digests *d = open_digests();
    struct digests_page page;
    char wanted[20];

    web.count = web.asked = 0;
    for (int i = 0; i < 4; i++)
        will_answer(i % 2 ? 500 : 200, SAYS("Function execution timed out (maximum duration: 1s)"));
    will_answer(200, ONE(GOOD));
    struct digests_ask ask = {.kind = "k"};
    struct fault fault = {0};
    ck_assert_int_eq(digests_get(d, &ask, &page, &fault), ERR_OK);
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        snprintf(wanted, sizeof wanted, "%d}", limits[i]);
        ck_assert_int_eq(strncmp(asked_for(), wanted, strlen(wanted)), 0);
        ck_assert_int_eq(get(d, &page, 200, ONE(GOOD)), ERR_OK);
    }
    /* Down to one, and no further. */
    web.count = web.asked = 0;
    for (int i = 0; i < 8; i++)
        will_answer(200, SAYS("Function execution timed out (maximum duration: 1s)"));
    ck_assert_int_eq(digests_get(d, &ask, &page, &fault), ERR_SINK);
    ck_assert_uint_eq(web.asked, 6); /* 61 30 15 7 3 1 */
    ck_assert_int_eq(strncmp(asked_for(), "1}", 2), 0);
    web.count = web.asked = 0;
    will_answer(200, SAYS("Uncaught Error: boom"));
    ck_assert_int_eq(digests_get(d, &ask, &page, &fault), ERR_SINK);
    ck_assert_uint_eq(web.asked, 1);
    close_digests(d);
}

TEST(two_are_halved_to_one)
{
    struct digests *d = open_digests();
    struct slice ids[] = {slice_str("a"), slice_str("b")};
    struct digests_ask ask = {.kind = "k", .ids = ids, .id_count = 2};
    struct digests_page page;
    struct fault fault = {0};

    will_answer(200, SAYS("Function execution timed out (maximum duration: 1s)"));
    will_answer(200, "{\"status\":\"success\",\"value\":{\"digests\":[],\"next\":\"0\"}}");
    ck_assert_int_eq(digests_get(d, &ask, &page, &fault), ERR_OK);
    ck_assert_int_eq(strncmp(asked_for(), "[\"a\"]", 5), 0);
    ck_assert(!page.is_last);
    ck_assert_slice(page.next, "0"); /* which Convex said itself */
    will_answer(200, ONE(GOOD));
    ck_assert_int_eq(digests_get(d, &ask, &page, &fault), ERR_OK);
    ck_assert_int_eq(strncmp(asked_for(), "[\"a\"]", 5), 0); /* two were too many */
    ck_assert(!page.is_last);
    ck_assert_slice(page.next, "a");
    close_digests(d);
}

/* ---- opening ----------------------------------------------------------------------------------
 */

TEST(one_connection_and_room_for_the_longest_page)
{
    static const size_t given[] = {1000, 4194303, 4194304, 4194305};
    struct fault fault = {0};

    for (size_t i = 0; i < 4; i++) {
        struct digests *d = NULL;
        memset(&web, 0, sizeof web);
        options = (struct digests_options){
            .query = "q", .http = {.max_answer_bytes = given[i], .max_connections = 9}};
        ck_assert_int_eq(digests_open(&options, &d, &fault), ERR_OK);
        ck_assert_int_eq(web.options.max_connections, 1);
        ck_assert_uint_eq(web.options.max_answer_bytes, given[i] < 4194304 ? 4194304 : given[i]);
        ck_assert_str_eq(web.authorization, ""); /* neither a key nor a file */
        digests_close(d);
        ck_assert_uint_eq(web.closed, 1);
    }
    digests_close(NULL);
    struct digests *d = NULL;
    memset(&web, 0, sizeof web);
    options = (struct digests_options){.query = "q", .admin_key_file = "/nonexistent/key"};
    ck_assert_int_eq(digests_open(&options, &d, &fault), ERR_INVALID);
    ck_assert_str_eq(fault.path, "admin_key_file");
    ck_assert_uint_eq(web.closed, 1);
}

/* No other answer than a 401 has the key read again. */
TEST(a_key_is_read_again_once_and_for_a_401)
{
    struct digests *d = open_digests();
    struct digests_ask ask = {.kind = "k"};
    struct digests_page page;
    struct fault fault = {0};

    web.authorization[0] = '\0';
    will_answer(403, "{\"code\":\"BadDeployKey\",\"message\":\"no\"}");
    ck_assert_int_eq(digests_get(d, &ask, &page, &fault), ERR_SINK);
    ck_assert_str_eq(web.authorization, "");
    will_answer(503, "{\"code\":\"Full\",\"message\":\"\"}");
    will_answer(0, "");
    will_answer(401, "{\"code\":\"BadAdminKey\",\"message\":\"no\"}");
    will_answer(200, ONE(GOOD));
    ck_assert_int_eq(digests_get(d, &ask, &page, &fault), ERR_OK);
    ck_assert_str_eq(web.authorization, "Convex key|1");
    close_digests(d);
}
