/* status_test.c - every member of the map of `status`, and what is said of it in other forms. */

#include "status/status.h"

#include "dist/dist.h"
#include "ground/clock.h"
#include "ground/metrics.h"
#include "intake/control.h"
#include "intake/sweeps.h"
#include "json/json.h"
#include "outbox/letters.h"
#include "outbox/outbox.h"
#include "term/term.h"
#include "test.h"

#include <unistd.h>

/* 2026-11-29T01:02:03.000000Z, and seconds after it. */
#define AT 1795914123000000
#define S  1000000

/* ---- what lies around it ---------------------------------------------------------- */

static struct dispatch_status dispatched;
static struct destination_known known;
static struct doubtful_count doubtful;
static struct sweeps_shown sweep;
static bool is_well, is_draining, is_published;
static int peers, letters;

void dispatch_status(struct dispatch *d, struct dispatch_status *s)
{
    (void)d;
    *s = dispatched;
}

const char *dispatch_state_text(enum dispatch_state s)
{
    static const char *const words[] = {"running", "waiting", "stopped", "paused"};

    return words[s];
}

const char *dispatch_next_text(enum dispatch_state s)
{
    return s == DISPATCH_RUNNING ? "" : "its next";
}

const char *dispatch_kind_next_text(enum dispatch_state s)
{
    return s == DISPATCH_RUNNING ? "" : "the kind's next";
}

bool outbox_is_well(const struct outbox *o)
{
    (void)o;
    return is_well;
}

void outbox_why_ill(struct outbox *o, char why[OUTBOX_WHY_BYTES])
{
    (void)o;
    snprintf(why, OUTBOX_WHY_BYTES, "%s", is_well ? "" : "No space left");
}

void outbox_destination(struct outbox *o, struct destination_known *k)
{
    (void)o;
    *k = known;
}

void outbox_doubtful(struct outbox *o, struct doubtful_count *count)
{
    (void)o;
    *count = doubtful;
}

void sweeps_show(struct sweeps *s, struct sweeps_shown *shown)
{
    (void)s;
    *shown = sweep;
}

bool control_is_draining(const struct control *c)
{
    (void)c;
    return is_draining;
}

bool dist_is_published(const struct dist *d)
{
    (void)d;
    return is_published;
}

void dist_each_peer(struct dist *d, void (*show)(void *arg, const struct dist_peer *peer),
                    void *arg)
{
    (void)d;
    for (int i = 0; i < peers; i++)
        show(arg, &(struct dist_peer){i ? "b@h" : "a@h", "1.2.3.4", AT, (uint64_t)(7 + i)});
}

void letters_each(struct letters *l, bool (*visit)(void *arg, const struct dead_letter *d),
                  void *arg)
{
    struct dead_letter d = {
        .id = slice_str("a:1"), .why = slice_str("refused"), .died_at_us = AT, .attempts = 5};
    (void)l;
    for (int i = 0; i < letters; i++, d.next_try_us = AT + S)
        if (!visit(arg, &d))
            return;
}

static struct status status_of(void)
{
    memset(&dispatched, 0, sizeof dispatched);
    memset(&known, 0, sizeof known);
    memset(&doubtful, 0, sizeof doubtful);
    memset(&sweep, 0, sizeof sweep);
    dispatched.endpoint.since_us = AT;
    sweep.eta_s = -1;
    is_well = is_published = true;
    is_draining = false;
    peers = letters = 0;
    return (struct status){.node = "side@h",
                           .sink = "http",
                           .store = "/store",
                           .base_url = "http://c",
                           .batch_mutation = "m:batch",
                           .details = true,
                           .sandbox = "seccomp",
                           .started_us = AT + S,
                           .letters = (struct letters *)&letters,
                           .dist = (struct dist *)&peers};
}

/* Everything that there can be. */
static struct status troubled(void)
{
    struct status s = status_of();

    dispatched.peer = (struct sink_peer){.functions = 2, .deployment = "dep", .mark = 41};
    dispatched.endpoint =
        (struct dispatch_scope){DISPATCH_WAITING, "HTTP 502", AT + 2 * S, AT + 3 * S, 1};
    dispatched.troubled = 11;
    dispatched.sought = 12;
    dispatched.overdue = 13;
    dispatched.kind_count = 2;
    dispatched.kinds[0] =
        (struct dispatch_kind){"k", {DISPATCH_STOPPED, "refused", AT + 4 * S, AT + 5 * S, 1}};
    dispatched.kinds[1] = (struct dispatch_kind){"l", {DISPATCH_PAUSED, "", AT + 6 * S, 0, 0}};
    dispatched.note_count = 2;
    dispatched.notes[0] = (struct dispatch_note){"a:1", "one"};
    dispatched.notes[1] = (struct dispatch_note){"a:2", "two"};
    known = (struct destination_known){.sink = "http",
                                       .address = "http://d",
                                       .store_id = "fe01",
                                       .deployment = "depl",
                                       .mark = 42,
                                       .has_doubt = true,
                                       .is_swept = true,
                                       .doubt_since_us = AT + 6 * S,
                                       .doubt_why = "it was emptied"};
    doubtful = (struct doubtful_count){
        .is_whole = true, .logged = 21, .unlogged = 22, .id_count = 2, .ids = {"x:1", "x:2"}};
    sweep = (struct sweeps_shown){"vm@h", 31};
    is_draining = true;
    return s;
}

/* ---- the map ------------------------------------------------------------------------ */

/* The JSON of ${s}, without the numbers of metrics, times and the process. */
static char *json(const struct status *s)
{
    static char text[1 << 16];
    struct buf b = {0};

    status_put_json(s, &b);
    snprintf(text, sizeof text, "%.*s", SLICE_ARG(buf_view(&b)));
    buf_free(&b);
    static const char *const cut[] = {"\"metrics\":{", "\"times\":{"};
    for (size_t i = 0; i < 2; i++) {
        char *at = strstr(text, cut[i]), *end = at;
        ck_assert_ptr_nonnull(at);
        at += strlen(cut[i]);
        for (int depth = 1; depth > 0; end++)
            if (end >= at)
                depth += (*end == '{') - (*end == '}');
        memmove(at, end - 1, strlen(end - 1) + 1);
    }
    char *pid = strstr(text, "\"pid\":") + 6;
    ck_assert_int_eq(strtol(pid, &pid, 10), getpid());
    return text;
}

#define AT_3 "\"2026-11-29T01:02:03.000000Z\""
#define AT_4 "\"2026-11-29T01:02:04.000000Z\""
#define AT_5 "\"2026-11-29T01:02:05.000000Z\""
#define AT_6 "\"2026-11-29T01:02:06.000000Z\""
#define AT_7 "\"2026-11-29T01:02:07.000000Z\""
#define AT_8 "\"2026-11-29T01:02:08.000000Z\""
#define AT_9 "\"2026-11-29T01:02:09.000000Z\""

TEST(the_map_has_all_that_there_can_be)
{
    struct status s = troubled();
    char wanted[8000];

    metric_count(LABELLED_PROJECTIONS, "k", 0);
    for (int i = 0; i < 2; i++)
        metric_count(LABELLED_PROJECTIONS, "k", DECIDE_IDEMPOTENT);
    snprintf(
        wanted, sizeof wanted,
        "{\"base_url\":\"http://"
        "c\",\"batch_mutation\":\"m:batch\",\"batching\":true,\"by_kind\":[{\"kind\":\"other\","
        "\"skipped\":2,\"taken\":3}],\"calls_overdue\":13,\"deployment\":\"dep\",\"destination\":{"
        "\"address\":\"http://"
        "d\",\"deployment\":\"depl\",\"doubt\":{\"counted\":true,\"documents\":21,\"documents_"
        "without_log\":22,\"first_without_log\":[\"x:1\",\"x:2\"],\"since\":" AT_9
        ",\"swept\":true,\"why\":\"it was "
        "emptied\"},\"eta_s\":31,\"mark\":42,\"sink\":\"http\",\"store_id\":\"fe01\",\"swept_by\":"
        "\"vm@h\"},\"documents\":[{\"document_id\":\"a:1\",\"why\":\"one\"},{\"document_id\":\"a:"
        "2\",\"why\":\"two\"}],\"documents_alone\":11,\"documents_searched\":12,\"draining\":true,"
        "\"functions\":2,\"kinds\":[{\"kind\":\"k\",\"next\":\"the kind's next\",\"next_at\":" AT_8
        ",\"since\":" AT_7 ",\"state\":\"stopped\",\"why\":\"refused\"},{\"kind\":\"l\",\"next\":"
        "\"the kind's next\",\"next_at\":\"\",\"since\":" AT_9
        ",\"state\":\"paused\",\"why\":\"\"}],\"mark\":41,\"metrics\":{},\"next\":\"its "
        "next\",\"next_at\":" AT_6
        ",\"node\":\"side@h\",\"pid\":%d,\"published\":true,\"sandbox\":\"seccomp\",\"since\":" AT_5
        ",\"sink\":\"http\",\"started_at\":" AT_4 ",\"state\":\"waiting\",\"store\":\"/"
        "store\",\"store_ok\":true,\"times\":{},\"version\":\"" SIDECAR_VERSION
        "\",\"why\":\"HTTP 502\"}",
        (int)getpid());
    ck_assert_str_eq(json(&s), wanted);
    /* Who comes by HTTP sees ids where that is wanted, a BEAM node always. */
    s.details = false;
    ck_assert_ptr_nonnull(strstr(json(&s), "\"first_without_log\":[],"));
    ck_assert_ptr_nonnull(strstr(json(&s), "\"documents\":[],"));
    struct buf b = {0};
    struct fault fault;
    term t;
    term_put_version(&b);
    status_put_term(&s, &b);
    ck_assert_int_eq(term_check(buf_view(&b), &t, &fault), ERR_OK);
    ck_assert_uint_eq(term_arity(term_get(t, "documents")), 2);
    buf_free(&b);
}

#define IS(part) ck_assert_msg(strstr(json(&s), part) != NULL, "%s is not in %s", part, json(&s))

TEST(when_all_is_well_there_is_little)
{
    struct status s = status_of();

    IS("\"by_kind\":[],");
    IS("\"doubt\":null,\"eta_s\":null,");
    IS("\"documents\":[],\"documents_alone\":0,\"documents_searched\":0,\"draining\":false,");
    IS("\"functions\":0,\"kinds\":[],\"mark\":0,");
    IS("\"next\":\"\",\"next_at\":\"\",");
    IS("\"published\":true,");
    sweep.eta_s = 0;
    IS("\"eta_s\":0,");
    dispatched.peer.mark = -1;
    IS("\"mark\":0,\"metrics\"");
    dispatched.peer.mark = 1;
    IS("\"mark\":1,\"metrics\"");
    strcpy(dispatched.next, "adopt");
    IS("\"next\":\"adopt\",");
    is_well = false;
    IS("\"next\":\"make room on its disk, or see in the log why it fails; it tries again by "
       "itself\",");
    IS("\"store_ok\":false,");
    IS("\"why\":\"No space left\"");
    s.dist = NULL;
    s.batch_mutation = "";
    IS("\"published\":false,");
    IS("\"batch_mutation\":\"\",\"batching\":false,");
    s.dist = (struct dist *)&peers;
    is_published = false;
    IS("\"published\":false,");
}

/* A list of none is [], and no list of none. */
TEST(an_empty_list_is_nil)
{
    static const char *const keys[] = {"by_kind", "kinds", "documents"};
    struct status s = status_of();
    struct buf b = {0};
    struct fault fault;
    term t;

    known.has_doubt = true;
    term_put_version(&b);
    status_put_term(&s, &b);
    ck_assert_int_eq(term_check(buf_view(&b), &t, &fault), ERR_OK);
    for (size_t i = 0; i < 3; i++)
        ck_assert_int_eq(term_type(term_get(t, keys[i])), TERM_NIL);
    term doubt = term_get(term_get(t, "destination"), "doubt");
    ck_assert_int_eq(term_type(term_get(doubt, "first_without_log")), TERM_NIL);
    b.len = 0;
    status_put_peers(&s, &b);
    ck_assert_uint_eq(b.len, 1);
    ck_assert_int_eq(term_type(b.data), TERM_NIL);
    buf_free(&b);
}

TEST(metrics_and_times_have_their_values)
{
    struct status s = status_of();
    struct buf b = {0};
    struct fault fault;
    term t;

    for (int m = 0; m < METRIC_COUNT; m++)
        metric_set((enum metric)m, (uint64_t)m + 100);
    for (int h = 0; h < HISTOGRAM_COUNT; h++)
        for (int i = 0; i < 100; i++)
            metric_observe((enum metric_histogram)h, i < 50 ? 1000 : 50000000);
    term_put_version(&b);
    status_put_term(&s, &b);
    ck_assert_int_eq(term_check(buf_view(&b), &t, &fault), ERR_OK);
    term metrics = term_get(t, "metrics"), times = term_get(t, "times");
    ck_assert_uint_eq(term_arity(metrics), METRIC_COUNT);
    for (int m = 0; m < METRIC_COUNT; m++) {
        int64_t v = 0;
        ck_assert(term_integer(term_get(metrics, metric_name((enum metric)m)), &v));
        ck_assert_int_eq(v, m + 100);
    }
    ck_assert_uint_eq(term_arity(times), HISTOGRAM_COUNT);
    for (int h = 0; h < HISTOGRAM_COUNT; h++) {
        term times_of = term_get(times, metric_histogram_about((enum metric_histogram)h)->name);
        struct metric_pile pile;
        metric_pile_get((enum metric_histogram)h, &pile);
        ck_assert_double_eq(term_float(term_get(times_of, "p50")),
                            metric_pile_quantile(&pile, 0.5));
        ck_assert_double_eq(term_float(term_get(times_of, "p99")),
                            metric_pile_quantile(&pile, 0.99));
        ck_assert_double_lt(term_float(term_get(times_of, "p50")), 1);
        ck_assert_double_gt(term_float(term_get(times_of, "p99")), 1);
    }
    buf_free(&b);
}

/* ---- other forms ------------------------------------------------------------------- */

static void check_sentence(const struct status *s, const char *wanted)
{
    struct buf b = {0};

    status_put_sentence(s, &b);
    ck_assert_slice(buf_view(&b), wanted);
    buf_free(&b);
}

TEST(a_sentence_for_people)
{
    struct status s = status_of();

    metric_set(METRIC_PENDING, 3);
    metric_set(METRIC_DEAD, 4);
    check_sentence(&s, "running since 2026-11-29T01:02:03Z; 3 pending, 4 dead letters, sink http");
    s = troubled();
    is_well = false;
    check_sentence(&s, "waiting since 2026-11-29T01:02:05Z: HTTP 502; the store fails, nothing is "
                       "taken: No space left; next: make room on its disk, or see in the log why "
                       "it fails; it tries again by itself; 3 pending, 4 dead letters, sink http");
}

static void check_term(struct buf *b, const char *wanted)
{
    struct buf text = {0};
    struct fault fault;

    ck_assert_int_eq(json_put_term(&text, b->data, JSON_SHOWN, NULL, &fault), ERR_OK);
    ck_assert_slice(buf_view(&text), wanted);
    buf_free(&text);
    buf_free(b);
    *b = (struct buf){0};
}

TEST(a_change_is_told_with_its_reasons)
{
    struct status s = troubled();
    struct status_stand stand, same;
    struct buf b = {0};

    status_put_stand(&s, 7, &b);
    check_term(&b, "{\"kinds\":[{\"kind\":\"k\",\"next\":\"the kind's next\",\"next_at\":" AT_8
                   ",\"since\":" AT_7 ",\"state\":\"stopped\",\"why\":\"refused\"},{\"kind\":\"l\","
                   "\"next\":\"the kind's next\",\"next_at\":\"\",\"since\":" AT_9
                   ",\"state\":\"paused\",\"why\":\"\"}],\"mending\":{\"since\":" AT_9
                   ",\"why\":\"it was emptied\"},\"next\":\"its next\",\"number\":7,\"since\":" AT_5
                   ",\"state\":\"waiting\",\"store_ok\":true,\"why\":\"HTTP 502\"}");
    memset(&stand, 0xff, sizeof stand);
    status_stand(&s, &stand);
    ck_assert_int_eq(stand.endpoint, DISPATCH_WAITING);
    ck_assert(stand.is_well && stand.is_mending);
    ck_assert_str_eq(stand.kinds[0].name, "k");
    ck_assert_int_eq(stand.kinds[0].state, DISPATCH_STOPPED);
    ck_assert_str_eq(stand.kinds[1].name, "l");
    ck_assert_int_eq(stand.kinds[1].state, DISPATCH_PAUSED);
    ck_assert_str_eq(stand.kinds[2].name, "");
    strcpy(dispatched.kinds[0].scope.why, "another"); /* reasons alone are no change */
    status_stand(&s, &same);
    ck_assert_mem_eq(&stand, &same, sizeof stand);
    s = status_of();
    is_well = false;
    status_stand(&s, &stand);
    ck_assert(!stand.is_well && !stand.is_mending);
    status_put_stand(&s, 8, &b);
    check_term(&b, "{\"kinds\":[],\"mending\":null,\"next\":\"make room on its disk, or see in the "
                   "log why it fails; it tries again by itself\",\"number\":8,\"since\":" AT_3
                   ",\"state\":\"running\",\"store_ok\":false,\"why\":\"\"}");
}

TEST(peers_are_listed)
{
    struct status s = status_of();
    struct buf b = {0};

    status_put_peers(&s, &b);
    check_term(&b, "[]");
    peers = 2;
    status_put_peers(&s, &b);
    check_term(&b, "[{\"address\":\"1.2.3.4\",\"calls\":7,\"node\":\"a@h\",\"since\":" AT_3
                   "},{\"address\":\"1.2.3.4\",\"calls\":8,\"node\":\"b@h\",\"since\":" AT_3 "}]");
    s.dist = NULL;
    status_put_peers(&s, &b);
    check_term(&b, "[]");
}

static void check_letters(const struct status *s, const char *wanted)
{
    struct buf b = {0};

    status_put_letters_json(s, &b);
    ck_assert_slice(buf_view(&b), wanted);
    buf_free(&b);
}

#define LETTER(next)                                                                               \
    "{\"attempts\":5,\"died_at\":" AT_3 ",\"document_id\":\"a:1\",\"next_at\":" next               \
    ",\"why\":\"refused\"}"

TEST(the_first_dead_letters_are_listed)
{
    struct status s = status_of();
    struct buf b = {0};
    int n = 0;

    check_letters(&s, "[]");
    letters = 2;
    check_letters(&s, "[" LETTER("\"\"") "," LETTER(AT_4) "]");
    s.details = false;
    check_letters(&s, "[]");
    s.details = true;
    s.letters = NULL;
    check_letters(&s, "[]");
    s.letters = (struct letters *)&letters;
    letters = 30;
    status_put_letters_json(&s, &b);
    buf_byte(&b, 0);
    for (const char *at = (char *)b.data; (at = strstr(at, "\"attempts\"")) != NULL; at++)
        n++;
    ck_assert_int_eq(n, 20);
    buf_free(&b);
}

static void check_ready(const struct status *s, const char *wanted)
{
    struct buf why = {0};

    ck_assert_int_eq(status_is_ready(s, &why), *wanted == '\0');
    ck_assert_slice(buf_view(&why), wanted);
    buf_free(&why);
}

TEST(it_is_ready_when_documents_are_taken_and_delivered)
{
    struct status s = status_of();

    check_ready(&s, "");
    is_well = false;
    check_ready(&s, "the store fails, nothing is taken: No space left\n");
    s = status_of();
    is_draining = true;
    check_ready(&s, "draining: nothing new is taken\n");
    s = status_of();
    is_published = false;
    check_ready(&s, "epmd does not have the node's name: BEAM nodes cannot connect\n");
    s = status_of();
    s.dist = NULL;
    check_ready(&s, "epmd does not have the node's name: BEAM nodes cannot connect\n");
    s = status_of();
    dispatched.endpoint.state = DISPATCH_STOPPED;
    strcpy(dispatched.endpoint.why, "the key");
    check_ready(&s, "delivery is stopped: the key; next: its next\n");
    dispatched.endpoint.state = DISPATCH_PAUSED;
    check_ready(&s, "delivery is paused: the key; next: its next\n");
    dispatched.endpoint.why[0] = '\0';
    check_ready(&s, "delivery is paused; next: its next\n");
    strcpy(dispatched.endpoint.why, "the key");
    dispatched.endpoint.state = DISPATCH_WAITING; /* passing, until it has lasted a minute */
    dispatched.endpoint.since_us = clock_wall_us() - 50 * S;
    check_ready(&s, "");
    dispatched.endpoint.since_us = clock_wall_us() - 61 * S;
    check_ready(&s, "delivery is waiting: the key; next: its next\n");
}
