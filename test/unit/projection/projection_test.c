/* Documents byte for byte, the fold in every portion, times that rise, and every refusal. */

#include "projection/projection.h"
#include "ground/hex.h"
#include "ground/time_text.h"
#include "term/term_text.h"
#include "test.h"

#define AT 1771531200000000 /* date -u -d 2026-02-19T20:00:00Z +%s */
#define DATE_TIME(us)                                                                              \
    "{__struct__: Elixir.DateTime, calendar: Elixir.Calendar.ISO, day: 19, hour: 20, "             \
    "microsecond: (" us ", 6), minute: 0, month: 2, second: 1, std_offset: 0, "                    \
    "time_zone: 'Etc/UTC', utc_offset: 0, year: 2026, zone_abbr: 'UTC'}"
#define ROW                                                                                        \
    "{thread_id: 'thr_1', status: 'running', owner_user_id: 7, owner_guest_scope: nil, "           \
    "terminal_reason_class: nil, terminal_at: undefined, updated_at: " DATE_TIME(                  \
        "500000") ", "                                                                             \
                  "latest_seq: 41, secret: 'not copied'}"
#define EVENT(n, type) "{seq: " #n ", event_type: '" type "', inserted_at: 't" #n "', payload: {}}"

/* One request and what became of it; each test has one at a time. */
static struct {
    struct kinds *kinds;
    struct buf row, events, now;
    struct projection_options options;
    struct draft *draft;
    struct document document;
    struct fault fault;
    char fold[4096]; /* what the last good finish gave */
    size_t fold_len;
    char recent[64]; /* and this */
    size_t recent_len;
} t;

/* The columns that the documents below have, whatever else the built-in kinds may copy one day. */
static void set_fields(const char *name, const char *fields)
{
    ck_assert_int_eq(kinds_set(t.kinds, name, "fields", fields, &t.fault), ERR_OK);
}

static void start(void)
{
    memset(&t, 0, sizeof t);
    t.kinds = kinds_new();
    set_fields("run_summary", "thread_id status owner_user_id owner_guest_scope "
                              "terminal_reason_class terminal_reason terminal_at updated_at");
    set_fields("codex_worker_summary", "status owner_user_id owner_guest_scope workspace_ref "
                                       "codex_home_ref adapter metadata:map started_at stopped_at "
                                       "last_heartbeat_at updated_at");
    t.options.version = slice_str("convex_summary_v1");
    ck_assert_int_eq(kinds_finish(t.kinds, &t.fault), ERR_OK);
}

static void stop(void)
{
    draft_free(t.draft);
    kinds_free(t.kinds);
    buf_free(&t.row);
    buf_free(&t.events);
    buf_free(&t.now);
}

static const struct kind *kind(const char *name)
{
    const struct kind *k = kinds_find(t.kinds, slice_str(name));
    ck_assert_ptr_nonnull(k);
    return k;
}

static void now(const char *text)
{
    t.options.now = text ? term_of(&t.now, text) : NULL;
}

static enum err prepare_as(const char *kind_name, const char *id, const char *row,
                           const char *events)
{
    draft_free(t.draft);
    t.draft = NULL;
    memset(&t.fault, 0, sizeof t.fault);
    enum err e = projection_prepare(kind(kind_name), slice_str(id), term_of(&t.row, row),
                                    term_of(&t.events, events), &t.options, &t.draft, &t.fault);
    ck_assert((e == ERR_OK) == (t.draft != NULL));
    ck_assert((e == ERR_OK) == (t.fault.why[0] == '\0'));
    buf_free(&t.row); /* the draft borrows nothing */
    buf_free(&t.events);
    return e;
}

static enum err prepare(const char *row, const char *events)
{
    return prepare_as("run_summary", "run_1", row, events);
}

static enum err adopt(const char *id, const char *summary)
{
    draft_free(t.draft);
    t.draft = NULL;
    memset(&t.fault, 0, sizeof t.fault);
    enum err e = projection_adopt(kind("run_summary"), slice_str(id), term_of(&t.row, summary),
                                  &t.options, &t.draft, &t.fault);
    ck_assert((e == ERR_OK) == (t.draft != NULL));
    ck_assert((e == ERR_OK) == (t.fault.why[0] == '\0'));
    buf_free(&t.row);
    return e;
}

static enum err finish_after(int64_t after_us, int64_t now_us)
{
    memset(&t.fault, 0, sizeof t.fault);
    struct past past = {slice_of(t.fold, t.fold_len), slice_of(t.recent, t.recent_len)};
    enum err e = projection_finish(t.draft, past, after_us, now_us, &t.document, &t.fault);
    ck_assert((e == ERR_OK) == (t.fault.why[0] == '\0'));
    if (e == ERR_OK) {
        ck_assert_uint_le(t.document.past.fold.len, sizeof t.fold);
        if (t.document.past.fold.len > 0)
            memcpy(t.fold, t.document.past.fold.data, t.document.past.fold.len);
        t.fold_len = t.document.past.fold.len;
        struct slice recent = t.document.past.recent;
        ck_assert_uint_le(recent.len, sizeof t.recent);
        if (recent.len > 0)
            memcpy(t.recent, recent.data, recent.len);
        t.recent_len = recent.len;
    }
    return e;
}

static enum err finish(void)
{
    return finish_after(0, AT);
}

/* The whole way, without a fault. */
static void project(const char *row, const char *events)
{
    ck_assert_msg(prepare(row, events) == ERR_OK, "%s: %s", t.fault.path, t.fault.why);
    ck_assert_msg(finish() == ERR_OK, "%s: %s", t.fault.path, t.fault.why);
}

static void take(const char *id, const char *summary)
{
    ck_assert_msg(adopt(id, summary) == ERR_OK, "%s: %s", t.fault.path, t.fault.why);
    ck_assert_msg(finish() == ERR_OK, "%s: %s", t.fault.path, t.fault.why);
}

static void faulted(enum err got, enum err wanted, const char *path, const char *why)
{
    ck_assert_msg(got == wanted, "%s, %s: %s", err_text(got), t.fault.path, t.fault.why);
    ck_assert_str_eq(t.fault.path, path);
    ck_assert_msg(strstr(t.fault.why, why) != NULL, "why is \"%s\"", t.fault.why);
}

static void has(const char *part)
{
    char *json = base_strndup(t.document.json.data, t.document.json.len);
    ck_assert_msg(strstr(json, part) != NULL, "no %s in %s", part, json);
    free(json);
}

static void has_not(const char *part)
{
    char *json = base_strndup(t.document.json.data, t.document.json.len);
    ck_assert_msg(strstr(json, part) == NULL, "%s in %s", part, json);
    free(json);
}

static void gap(enum err got, int64_t expected, int64_t seen)
{
    ck_assert_msg(got == ERR_GAP, "%s, %s: %s", err_text(got), t.fault.path, t.fault.why);
    ck_assert_int_eq(t.fault.expected, expected);
    ck_assert_int_eq(t.fault.got, seen);
}

/* ---- the two documents ---------------------------------------------------------- */

/* printf '%s' '{"document_id":...}' | sha256sum, without projected_at and projection_hash */
#define RUN_HASH    "9d3efd13e9e818a387cbfbd69b3d4161b1e09f4aa14b190f14f2e56a8665354f"
#define WORKER_HASH "1cfe4a0b7f2d7754239a299012068c28400a2eb009cf0abacb12923f4d4c0144"

#define RUN_EVENTS                                                                                 \
    "[{seq: 1, event_type: 'run.started', inserted_at: " DATE_TIME(                                \
        "0") "},"                                                                                  \
             " {seq: 2, event_type: run.delta, inserted_at: " DATE_TIME("0") "}]"

#define RUN_HEAD                                                                                   \
    "{\"document_id\":\"runtime/run_summary:run_1\",\"event_count\":2,\"kind\":\"run_summary\","   \
    "\"latest_event_at\":\"2026-02-19T20:00:01.000000Z\",\"latest_event_type\":\"run.delta\","     \
    "\"latest_seq\":2,\"owner_guest_scope\":null,\"owner_user_id\":7,"
#define RUN_TAIL                                                                                   \
    "\"projection_version\":\"convex_summary_v1\",\"run_id\":\"run_1\","                           \
    "\"runtime_source\":{\"entity\":\"run\",\"run_id\":\"run_1\",\"seq\":2},"                      \
    "\"status\":\"running\",\"terminal_at\":null,\"terminal_reason\":null,"                        \
    "\"terminal_reason_class\":null,\"thread_id\":\"thr_1\","                                      \
    "\"updated_at\":\"2026-02-19T20:00:01.500000Z\"}"

TEST(run_summary_byte_for_byte)
{
    start();
    now("'2026-02-19T20:00:02Z'");
    project(ROW, RUN_EVENTS);
    ck_assert_slice(t.document.json, RUN_HEAD "\"projected_at\":\"2026-02-19T20:00:02Z\","
                                              "\"projection_hash\":\"" RUN_HASH "\"," RUN_TAIL);
    ck_assert_ptr_eq(t.document.kind, kind("run_summary"));
    ck_assert_slice(t.document.id, "runtime/run_summary:run_1");
    ck_assert_slice(draft_id(t.draft), "runtime/run_summary:run_1");
    ck_assert_slice(t.document.version, "convex_summary_v1");
    ck_assert_int_eq(t.document.seq, 2);
    ck_assert_int_eq(t.document.event_count, 2);
    ck_assert_int_eq(t.document.projected_at_us, AT + 2000000);
    char hex[65];
    hex_put(t.document.hash, 32, hex);
    ck_assert_str_eq(hex, RUN_HASH);
    stop();
}

TEST(without_hash_the_document_has_the_same_hash)
{
    start();
    t.options.no_hash = true;
    project(ROW, RUN_EVENTS);
    ck_assert_slice(t.document.json,
                    RUN_HEAD "\"projected_at\":\"2026-02-19T20:00:00.000000Z\"," RUN_TAIL);
    char hex[65];
    hex_put(t.document.hash, 32, hex);
    ck_assert_str_eq(hex, RUN_HASH);
    stop();
}

TEST(codex_worker_summary_byte_for_byte)
{
    start();
    ck_assert_int_eq(prepare_as("codex_worker_summary", "w.1",
                                "{'adapter': 'in_memory', 'metadata': {z: true, a: [1, {b: c}]}, "
                                "'started_at': '2026-02-19T20:00:00Z', 'status': running, "
                                "'workspace_ref': 'ws', 'owner_guest_scope': 'guest'}",
                                "[{'seq': 1, 'event_type': 'worker.started', 'inserted_at': nil}]"),
                     ERR_OK);
    ck_assert_int_eq(finish(), ERR_OK);
    ck_assert_slice(
        t.document.json,
        "{\"adapter\":\"in_memory\",\"codex_home_ref\":null,"
        "\"document_id\":\"runtime/codex_worker_summary:w.1\",\"event_count\":1,"
        "\"kind\":\"codex_worker_summary\",\"last_heartbeat_at\":null,\"latest_event_at\":null,"
        "\"latest_event_type\":\"worker.started\",\"latest_seq\":1,"
        "\"metadata\":{\"a\":[1,{\"b\":\"c\"}],\"z\":true},\"owner_guest_scope\":\"guest\","
        "\"owner_user_id\":null,\"projected_at\":\"2026-02-19T20:00:00.000000Z\","
        "\"projection_hash\":\"" WORKER_HASH "\",\"projection_version\":\"convex_summary_v1\","
        "\"runtime_source\":{\"entity\":\"codex_worker\",\"seq\":1,\"worker_id\":\"w.1\"},"
        "\"started_at\":\"2026-02-19T20:00:00Z\",\"status\":\"running\",\"stopped_at\":null,"
        "\"updated_at\":null,\"worker_id\":\"w.1\",\"workspace_ref\":\"ws\"}");
    stop();
}

TEST(order_and_form_of_keys_do_not_matter)
{
    uint8_t hash[32];
    start();
    project("{status: 'a', thread_id: 'b', owner_user_id: 1}", "[" EVENT(1, "x") "]");
    memcpy(hash, t.document.hash, sizeof hash);
    t.fold_len = 0;
    project("{'owner_user_id': 1, 'thread_id': b, 'x': self, 'status': 'a'}",
            "[{'inserted_at': 't1', 'event_type': x, 'seq': 1}]");
    ck_assert_mem_eq(hash, t.document.hash, sizeof hash);
    t.fold_len = 0;
    project("{'owner_user_id': 2, 'thread_id': b, 'status': 'a'}", "[" EVENT(1, "x") "]");
    ck_assert_mem_ne(hash, t.document.hash, sizeof hash);
    stop();
}

TEST(time_and_hash_are_not_in_the_hash_but_the_version_is)
{
    uint8_t hash[32];
    start();
    project(ROW, "[]");
    memcpy(hash, t.document.hash, sizeof hash);
    ck_assert_int_eq(finish_after(0, AT + 12345), ERR_OK);
    ck_assert_mem_eq(hash, t.document.hash, sizeof hash);
    t.options.version = slice_str("convex_summary_v2");
    project(ROW, "[]");
    has("\"projection_version\":\"convex_summary_v2\"");
    ck_assert_slice(t.document.version, "convex_summary_v2");
    ck_assert_mem_ne(hash, t.document.hash, sizeof hash);
    stop();
}

TEST(missing_columns_are_null_and_maps_empty)
{
    start();
    ck_assert_int_eq(prepare_as("codex_worker_summary", "w1", "{}", "[]"), ERR_OK);
    ck_assert_int_eq(finish(), ERR_OK);
    has("\"metadata\":{},");
    has("\"adapter\":null,");
    ck_assert_int_eq(
        prepare_as("codex_worker_summary", "w1", "{metadata: nil, adapter: null}", "[]"), ERR_OK);
    ck_assert_int_eq(finish(), ERR_OK);
    has("\"metadata\":{},");
    has("\"adapter\":null,");
    stop();
}

TEST(ids_are_escaped_in_json_and_raw_outside)
{
    start();
    ck_assert_int_eq(prepare_as("run_summary", "a\"b\\\xc3\xa9", "{}", "[]"), ERR_OK);
    ck_assert_int_eq(finish(), ERR_OK);
    ck_assert_slice(t.document.id, "runtime/run_summary:a\"b\\\xc3\xa9");
    has("\"document_id\":\"runtime/run_summary:a\\\"b\\\\\xc3\xa9\"");
    has("\"run_id\":\"a\\\"b\\\\\xc3\xa9\"");
    stop();
}

/* ---- the fold ---------------------------------------------------------------------- */

#define E1 EVENT(1, "a")
#define E2 EVENT(2, "b")
#define E3 EVENT(3, "c")
#define E4 EVENT(4, "d")
#define E5 EVENT(5, "e")

TEST(portions_do_not_matter)
{
    static const char *const ways[][5] = {
        {"[" E1 E2 E3 E4 E5 "]"},
        {"[" E1 "]", "[" E2 "]", "[" E3 "]", "[" E4 "]", "[" E5 "]"},
        {"[" E1 E2 E3 "]", "[" E2 E3 E4 "]", "[" E1 E2 E3 E4 E5 "]"},
        {"[" E1 E2 "]", "[]", "[" E1 "]", "[" E3 E4 E5 "]", "[" E4 "]"},
    };
    char *first = NULL, *first_fold = NULL;
    start();
    for (size_t w = 0; w < 4; w++) {
        t.fold_len = 0;
        for (size_t i = 0; i < 5 && ways[w][i]; i++)
            project(ROW, ways[w][i]);
        ck_assert_int_eq(t.document.seq, 5);
        ck_assert_int_eq(t.document.event_count, 5);
        has("\"latest_event_at\":\"t5\",\"latest_event_type\":\"e\",\"latest_seq\":5");
        if (w == 0) {
            first = base_strndup(t.document.json.data, t.document.json.len);
            first_fold = base_strndup(t.fold, t.fold_len);
            continue;
        }
        ck_assert_slice(t.document.json, first);
        ck_assert_mem_eq(t.fold, first_fold, t.fold_len);
    }
    free(first);
    free(first_fold);
    stop();
}

TEST(without_events_the_row_tells_the_seq)
{
    start();
    project(ROW, "[]");
    ck_assert_int_eq(t.document.seq, 41);
    ck_assert_int_eq(t.document.event_count, 0);
    ck_assert_uint_eq(t.document.past.fold.len, 0);
    has("\"event_count\":0");
    has("\"latest_event_at\":null,\"latest_event_type\":null,\"latest_seq\":41");
    has("\"seq\":41}");
    project("{}", "[]");
    ck_assert_int_eq(t.document.seq, 0);
    project("{latest_seq: nil}", "[]");
    ck_assert_int_eq(t.document.seq, 0);
    project("{'latest_seq': 9007199254740991}", "[]");
    ck_assert_int_eq(t.document.seq, 9007199254740991);
    has("\"latest_seq\":9007199254740991");
    stop();
}

TEST(with_a_fold_the_fold_tells_the_seq)
{
    start();
    project(ROW, "[" E1 E2 "]");
    project(ROW, "[]");
    ck_assert_int_eq(t.document.seq, 2);
    ck_assert_int_eq(t.document.event_count, 2);
    has("\"latest_event_at\":\"t2\",\"latest_event_type\":\"b\"");
    stop();
}

TEST(gaps_are_named_and_change_nothing)
{
    start();
    gap(prepare(ROW, "[" E1 E2 E4 E5 "]"), 3, 4);
    ck_assert_str_eq(t.fault.path, "events[2].seq");
    ck_assert_int_eq(prepare(ROW, "[" E2 E3 "]"), ERR_OK);
    gap(finish(), 1, 2);
    project(ROW, "[" E1 "]");
    ck_assert_int_eq(prepare(ROW, "[" E3 E4 "]"), ERR_OK);
    gap(finish(), 2, 3);
    gap(finish(), 2, 3);
    project(ROW, "[" E2 E3 "]");
    ck_assert_int_eq(t.document.event_count, 3);
    /* the same draft again, after the events before it came */
    t.fold_len = 0;
    ck_assert_int_eq(prepare(ROW, "[" E2 "]"), ERR_OK);
    gap(finish(), 1, 2);
    stop();
}

TEST(reset_starts_at_the_first_event_given)
{
    start();
    project(ROW, "[" E1 E2 "]");
    t.options.reset = true;
    project(ROW, "[" E4 E5 "]");
    ck_assert_int_eq(t.document.seq, 5);
    ck_assert_int_eq(t.document.event_count, 2);
    t.options.reset = false;
    project(ROW, "[" E5 "]");
    ck_assert_int_eq(t.document.event_count, 2);
    t.options.reset = true;
    project(ROW, "[" E1 "]"); /* may go below what was */
    ck_assert_int_eq(t.document.seq, 1);
    project(ROW, "[]");
    ck_assert_int_eq(t.document.seq, 41);
    ck_assert_int_eq(t.document.event_count, 0);
    ck_assert_uint_eq(t.document.past.fold.len, 0);
    t.options.reset = false;
    project(ROW, "[" E1 "]");
    ck_assert_int_eq(t.document.seq, 1);
    stop();
}

TEST(events_before_are_counted_by_the_asker)
{
    start();
    t.options.reset = true;
    t.options.events_before = 3;
    project(ROW, "[" E4 E5 "]");
    ck_assert_int_eq(t.document.seq, 5);
    ck_assert_int_eq(t.document.event_count, 5);
    t.options.events_before = 4;
    faulted(prepare(ROW, "[" E4 "]"), ERR_INVALID, "events_before", "below the seq");
    t.options.events_before = 1;
    faulted(prepare(ROW, "[]"), ERR_INVALID, "events_before", "below the seq");
    t.options.reset = false;
    faulted(prepare(ROW, "[" E4 "]"), ERR_INVALID, "events_before", "goes with reset");
    stop();
}

/* ---- the log against the fold --------------------------------------------------- */

static void log_ends(int64_t seq)
{
    t.options.has_log_end = true;
    t.options.log_end = seq;
}

static void stands_at(int64_t seq, int64_t count, const char *last)
{
    ck_assert_int_eq(t.document.seq, seq);
    ck_assert_int_eq(t.document.event_count, count);
    has(last);
}

TEST(another_event_in_the_place_of_the_last_one_takes_it)
{
    start();
    log_ends(2);
    project(ROW, "[" E1 EVENT(2, "ghost") "]");
    uint8_t hash[32];
    memcpy(hash, t.document.hash, sizeof hash);
    project(ROW, "[" E2 "]");
    stands_at(2, 2, "\"latest_event_type\":\"b\"");
    ck_assert_mem_ne(hash, t.document.hash, sizeof hash);
    ck_assert(!t.document.may_go_below && !t.document.is_behind);
    log_ends(3);
    project(ROW, "[" E2 E3 "]");
    stands_at(3, 3, "\"latest_event_type\":\"c\"");
    /* who does not say where the log ends is believed nothing */
    t.options.has_log_end = false;
    project(ROW, "[" EVENT(3, "ghost") "]");
    stands_at(3, 3, "\"latest_event_type\":\"c\"");
    stop();
}

TEST(a_log_that_is_shorter_than_the_fold_is_waited_for)
{
    start();
    log_ends(5);
    project(ROW, "[" E1 E2 E3 E4 E5 "]");
    log_ends(3);
    project(ROW, "[" E3 "]");
    ck_assert(t.document.is_behind && !t.document.may_go_below);
    stands_at(5, 5, "\"latest_event_type\":\"e\"");
    log_ends(0);
    project(ROW, "[]");
    ck_assert(t.document.is_behind);
    t.options.below = true;
    log_ends(3);
    project(ROW, "[" E2 E3 "]");
    ck_assert(!t.document.is_behind && t.document.may_go_below);
    stands_at(3, 3, "\"latest_event_type\":\"c\"");
    log_ends(4);
    project(ROW, "[" E3 E4 "]");
    stands_at(4, 4, "\"latest_event_type\":\"d\"");
    log_ends(0);
    project(ROW, "[]");
    stands_at(41, 0, "\"latest_event_type\":null");
    ck_assert_uint_eq(t.document.past.fold.len + t.document.past.recent.len, 0);
    stop();
}

TEST(a_shorter_log_that_went_on_otherwise_is_followed_at_once)
{
    start();
    log_ends(5);
    project(ROW, "[" E1 E2 EVENT(3, "ghost") EVENT(4, "ghost") EVENT(5, "ghost") "]");
    log_ends(2);
    project(ROW, "[" E2 "]");
    ck_assert(t.document.is_behind);
    log_ends(3);
    project(ROW, "[" E2 E3 "]");
    ck_assert(t.document.may_go_below && !t.document.is_behind);
    stands_at(3, 3, "\"latest_event_type\":\"c\"");
    log_ends(2); /* what was known before the ghosts is known still */
    project(ROW, "[" EVENT(2, "other") "]");
    ck_assert(t.document.may_go_below);
    stands_at(2, 2, "\"latest_event_type\":\"other\"");
    stop();
}

TEST(of_the_events_the_last_eight_are_remembered)
{
    start();
    log_ends(12);
    project(ROW, "[" E1 E2 E3 E4 E5 EVENT(6, "f") EVENT(7, "g") EVENT(8, "h") EVENT(9, "i")
                     EVENT(10, "j") EVENT(11, "k") EVENT(12, "l") "]");
    ck_assert_uint_eq(t.document.past.recent.len, 18);
    log_ends(4);
    project(ROW, "[" EVENT(4, "other") "]");
    ck_assert(t.document.is_behind);
    t.recent[0]++; /* kept by somebody who folded on without it: no memory */
    log_ends(11);
    project(ROW, "[" EVENT(11, "other") "]");
    ck_assert(t.document.is_behind);
    stop();
}

TEST(of_a_history_that_began_late_what_was_given_is_counted)
{
    start();
    t.options.reset = true;
    project(ROW, "[" E4 E5 "]");
    t.options.reset = false;
    t.options.below = true;
    log_ends(3);
    project(ROW, "[" E2 E3 "]");
    stands_at(3, 2, "\"latest_event_type\":\"c\"");
    stop();
}

TEST(the_end_of_the_log_is_that_of_the_events)
{
    start();
    log_ends(3);
    faulted(prepare(ROW, "[" E1 "]"), ERR_INVALID, "log_end", "last event given");
    ck_assert_int_eq(prepare(ROW, "[]"), ERR_OK);
    gap(finish(), 1, 4);
    log_ends(INT64_MAX);
    faulted(prepare(ROW, "[]"), ERR_INVALID, "log_end", "2^53");
    t.options.below = true;
    log_ends(3);
    faulted(prepare(ROW, "[]"), ERR_INVALID, "below", "that event");
    t.options.has_log_end = false;
    faulted(prepare(ROW, "[" E1 "]"), ERR_INVALID, "below", "log_end");
    stop();
}

TEST(broken_folds_are_refused_until_reset)
{
    start();
    memcpy(t.fold, "\x94\x01", 2);
    t.fold_len = 2;
    ck_assert_int_eq(prepare(ROW, "[" E1 "]"), ERR_OK);
    faulted(finish(), ERR_INVALID, "", "the stored fold is broken");
    t.options.reset = true;
    project(ROW, "[" E1 "]");
    ck_assert_int_eq(t.document.event_count, 1);
    stop();
}

TEST(the_version_of_the_row_goes_into_the_source)
{
    start();
    t.options.has_row_version = true;
    t.options.row_version = 70000;
    project(ROW, "[" E1 E2 "]");
    has("\"runtime_source\":{\"entity\":\"run\",\"row_version\":70000,\"run_id\":\"run_1\",\"seq\":"
        "2}");
    t.options.row_version = INT64_MAX;
    faulted(prepare(ROW, "[]"), ERR_INVALID, "row_version", "2^53");
    t.options.has_row_version = false;
    project(ROW, "[]");
    has_not("row_version");
    stop();
}

TEST(seq_range)
{
    start();
    t.options.has_range = true;
    t.options.range[0] = 1;
    t.options.range[1] = 2;
    project(ROW, "[" E1 E2 "]");
    has("\"runtime_source\":{\"entity\":\"run\",\"run_id\":\"run_1\",\"seq\":2,\"seq_range\":[1,2]"
        "}");
    t.options.range[1] = 3;
    ck_assert_int_eq(prepare(ROW, "[" E1 E2 "]"), ERR_OK);
    faulted(finish(), ERR_INVALID, "seq_range", "ends at 3, the document stands at 2");
    static const int64_t bad[][2] = {
        {2, 1}, {-1, 2}, {1, 9007199254740992}, {INT64_MIN, INT64_MAX}};
    for (size_t i = 0; i < 4; i++) {
        memcpy(t.options.range, bad[i], sizeof bad[i]);
        faulted(prepare(ROW, "[]"), ERR_INVALID, "seq_range", "ascending");
    }
    t.options.has_range = false;
    project(ROW, "[" E1 E2 "]");
    has_not("seq_range");
    stop();
}

TEST(events_that_are_none)
{
    start();
    faulted(prepare(ROW, "nil"), ERR_INVALID, "events", "list");
    faulted(prepare(ROW, "{}"), ERR_INVALID, "events", "list");
    faulted(prepare(ROW, "[" E1 "7]"), ERR_INVALID, "events[1]", "map");
    faulted(prepare(ROW, "[" E1 E1 "]"), ERR_INVALID, "events[1].seq", "ascend");
    faulted(prepare(ROW, "[" E1 E2 E1 "]"), ERR_INVALID, "events[2].seq", "ascend");
    faulted(prepare(ROW, "[{event_type: 'a'}]"), ERR_INVALID, "events[0].seq", "integer");
    faulted(prepare(ROW, "[{event_type: 'a', seq: '1'}]"), ERR_INVALID, "events[0].seq", "integer");
    faulted(prepare(ROW, "[{event_type: 'a', seq: 0}]"), ERR_INVALID, "events[0].seq", "from 1");
    faulted(prepare(ROW, "[{event_type: 'a', seq: -1}]"), ERR_INVALID, "events[0].seq", "from 1");
    faulted(prepare(ROW, "[{event_type: 'a', seq: 9007199254740992}]"), ERR_INVALID,
            "events[0].seq", "2^53");
    faulted(prepare(ROW, "[{seq: 1}]"), ERR_INVALID, "events[0].event_type", "text");
    faulted(prepare(ROW, "[{seq: 1, event_type: nil}]"), ERR_INVALID, "events[0].event_type",
            "text");
    faulted(prepare(ROW, "[{seq: 1, event_type: true}]"), ERR_INVALID, "events[0].event_type",
            "text");
    faulted(prepare(ROW, "[{seq: 1, event_type: 5}]"), ERR_INVALID, "events[0].event_type", "text");
    faulted(prepare(ROW, "[{seq: 1, event_type: '\xff'}]"), ERR_INVALID, "events[0].event_type",
            "");
    faulted(prepare(ROW, "[{seq: 1, event_type: 'a', inserted_at: 5}]"), ERR_INVALID,
            "events[0].inserted_at", "time");
    faulted(prepare(ROW, "[{seq: 1, event_type: 'a', inserted_at: (1, 2)}" E2 "]"), ERR_INVALID,
            "events[0].inserted_at", "");
    char big[700], text[800];
    memset(big, 'x', sizeof big);
    big[600] = '\0';
    snprintf(text, sizeof text, "[{seq: 1, event_type: '%s'}]", big);
    faulted(prepare(ROW, text), ERR_INVALID, "events[0].event_type", "longer");
    project(ROW, "[{seq: 1, event_type: 'a'}]");
    has("\"latest_event_at\":null");
    stop();
}

TEST(a_string_of_bytes_is_no_list_of_events)
{
    struct buf b = {0};
    term row, events;
    start();
    row = term_of(&t.row, ROW);
    buf_add(&b, "\x83k\0\2\1\2", 6); /* STRING_EXT: what the BEAM makes of [1, 2] */
    ck_assert_int_eq(term_check(buf_view(&b), &events, &t.fault), ERR_OK);
    enum err e = projection_prepare(kind("run_summary"), slice_str("r"), row, events, &t.options,
                                    &t.draft, &t.fault);
    faulted(e, ERR_INVALID, "events", "list of maps");
    buf_free(&b);
    stop();
}

/* ---- the row and the options ----------------------------------------------------------- */

TEST(rows_that_are_refused)
{
    start();
    faulted(prepare("[]", "[]"), ERR_INVALID, "", "the row must be a map");
    faulted(prepare("{status: (1, 2)}", "[]"), ERR_INVALID, "status", "");
    faulted(prepare("{status: {x: [1, 2, (3)]}}", "[]"), ERR_INVALID, "status.x[2]", "");
    faulted(prepare("{status: [1, '\xff']}", "[]"), ERR_INVALID, "status[1]", "");
    faulted(prepare("{status: 'a', 'status': 'a'}", "[]"), ERR_INVALID, "status", "twice");
    faulted(prepare("{latest_seq: 1, 'latest_seq': 1}", "[]"), ERR_INVALID, "latest_seq", "twice");
    faulted(prepare("{latest_seq: -1}", "[]"), ERR_INVALID, "latest_seq", "2^53");
    faulted(prepare("{latest_seq: 9007199254740992}", "[]"), ERR_INVALID, "latest_seq", "2^53");
    faulted(prepare_as("codex_worker_summary", "w", "{metadata: []}", "[]"), ERR_INVALID,
            "metadata", "must be a map");
    faulted(prepare_as("codex_worker_summary", "w", "{metadata: " DATE_TIME("0") "}", "[]"),
            ERR_INVALID, "metadata", "must be a map");
    faulted(prepare_as("codex_worker_summary", "w", "{metadata: {'$ref': 1}}", "[]"), ERR_INVALID,
            "metadata[\"$ref\"]", "$");
    project("{x: (1, 2), 'y': '\xff', 7: 8}", "[]"); /* nobody asked for these */
    stop();
}

TEST(nesting_is_counted_from_the_document)
{
    start();
    /* JSON_MAX_NESTING levels in all, one of them the document */
    project("{status: [[[[[[[[[[[[[[]]]]]]]]]]]]]]}", "[]");
    faulted(prepare("{status: [[[[[[[[[[[[[[[]]]]]]]]]]]]]]]}", "[]"), ERR_INVALID, "status",
            "nested");
    stop();
}

TEST(ids_that_are_refused)
{
    static const struct {
        const char *id, *why;
    } ids[] = {{"", "is empty"},
               {"a\nb", "has the control character U+000A at byte 1"},
               {"long enough\x7f", "has the control character U+007F at byte 11"},
               {"\xff", "is not UTF-8: byte 0 is 0xff"},
               {"run of eight\xc3", "is not UTF-8: byte 12 is 0xc3"},
               {"a\xc2\x85", "has the control character U+0085 at byte 1"},
               {"\xed\xa0\x80", "is not UTF-8: byte 0 is 0xed"}};
    char id[302];
    start();
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        faulted(prepare_as("run_summary", ids[i].id, ROW, "[]"), ERR_INVALID, "entity_id",
                ids[i].why);
    memset(id, 'i', sizeof id);
    id[301] = '\0';
    faulted(prepare_as("run_summary", id, ROW, "[]"), ERR_INVALID, "entity_id", "300 bytes");
    id[300] = '\0';
    ck_assert_int_eq(prepare_as("run_summary", id, ROW, "[]"), ERR_OK);
    ck_assert_int_eq(prepare_as("run_summary", "\xc2\xa0\xe2\x82\xac", ROW, "[]"), ERR_OK);
    stop();
}

TEST(versions_that_are_refused)
{
    char version[65];
    start();
    memset(version, 'v', sizeof version);
    t.options.version = slice_of(NULL, 0);
    faulted(prepare(ROW, "[]"), ERR_INVALID, "projection_version", "1 to 63");
    t.options.version = slice_of(version, 64);
    faulted(prepare(ROW, "[]"), ERR_INVALID, "projection_version", "1 to 63");
    t.options.version = slice_str("a\tb");
    faulted(prepare(ROW, "[]"), ERR_INVALID, "projection_version", "printable");
    t.options.version = slice_of(version, 63);
    project(ROW, "[]");
    stop();
}

/* ---- projected_at ------------------------------------------------------------------------ */

TEST(now_keeps_its_text)
{
    start();
    now("'2026-02-19T21:00:00.5+01:00'");
    project(ROW, "[]");
    has("\"projected_at\":\"2026-02-19T21:00:00.5+01:00\"");
    ck_assert_int_eq(t.document.projected_at_us, AT + 500000);
    now(DATE_TIME("000042"));
    project(ROW, "[]");
    has("\"projected_at\":\"2026-02-19T20:00:01.000042Z\"");
    static const char *const odd[] = {"'2026-02-19T20:00:00,5Z'", "'2026-02-19 20:00:00.5Z'",
                                      "'2026-02-19T21:00:00.5+01'", "'2026-02-19T21:00:00.5+0100'",
                                      "'2026-02-19 20:00:00.5-00:30'"};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) { /* read, but not by Convex */
        now(odd[i]);
        project(ROW, "[]");
        has(i < 4 ? "\"projected_at\":\"2026-02-19T20:00:00.500000Z\""
                  : "\"projected_at\":\"2026-02-19T20:30:00.500000Z\"");
    }
    now("nil");
    project(ROW, "[]");
    has("\"projected_at\":\"2026-02-19T20:00:00.000000Z\"");
    static const char *const bad[] = {"5",
                                      "'yesterday'",
                                      "'1970-01-01T00:00:00Z'",
                                      "'1969-12-31T23:59:59Z'",
                                      "{}",
                                      "'2026-02-19T20:00:00'",
                                      "''",
                                      "[1]",
                                      "(1)"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        now(bad[i]);
        faulted(prepare(ROW, "[]"), ERR_INVALID, "now", "");
    }
    char text[128];
    snprintf(text, sizeof text, "'2026-02-19T20:00:00.%060dZ'", 1);
    now(text);
    faulted(prepare(ROW, "[]"), ERR_INVALID, "now", "");
    stop();
}

TEST(projected_at_rises_strictly)
{
    start();
    ck_assert_int_eq(prepare(ROW, "[]"), ERR_OK);
    ck_assert_int_eq(finish_after(AT - 1, AT), ERR_OK);
    ck_assert_int_eq(t.document.projected_at_us, AT);
    ck_assert_int_eq(finish_after(AT, AT), ERR_OK); /* the clock stands */
    ck_assert_int_eq(t.document.projected_at_us, AT + 1);
    has("\"projected_at\":\"2026-02-19T20:00:00.000001Z\"");
    ck_assert_int_eq(finish_after(AT + 999999, AT - 5000000), ERR_OK); /* it steps back */
    has("\"projected_at\":\"2026-02-19T20:00:01.000000Z\"");

    now("'2026-02-19T20:00:00+00:00'");
    ck_assert_int_eq(prepare(ROW, "[]"), ERR_OK);
    ck_assert_int_eq(finish_after(AT - 1, 0), ERR_OK);
    has("\"projected_at\":\"2026-02-19T20:00:00+00:00\"");
    ck_assert_int_eq(finish_after(AT, 0), ERR_OK);
    has("\"projected_at\":\"2026-02-19T20:00:00.000001Z\"");
    ck_assert_int_eq(finish_after(0, 0), ERR_OK); /* no bound; the same draft again */
    has("\"projected_at\":\"2026-02-19T20:00:00+00:00\"");
    stop();
}

TEST(projected_at_has_an_end)
{
    start();
    ck_assert_int_eq(prepare(ROW, "[]"), ERR_OK);
    faulted(finish_after(TIME_TEXT_MAX_US, AT), ERR_INVALID, "projected_at", "9999");
    faulted(finish_after(INT64_MAX, AT), ERR_INVALID, "projected_at", "9999");
    faulted(finish_after(0, INT64_MIN), ERR_INVALID, "projected_at", "9999");
    ck_assert_int_eq(finish_after(TIME_TEXT_MAX_US - 1, AT), ERR_OK);
    has("\"projected_at\":\"9999-12-31T23:59:59.999999Z\"");
    stop();
}

/* ---- weight ------------------------------------------------------------------------------- */

/* A row whose status is ${len} bytes of text. */
static char *heavy(size_t len)
{
    char *text = base_alloc(len + 32);
    char *p = text + sprintf(text, "{status: '");
    memset(p, 'x', len);
    strcpy(p + len, "'}");
    return text;
}

static enum err finish_heavy(size_t len)
{
    char *row = heavy(len);
    ck_assert_int_eq(prepare(row, "[]"), ERR_OK);
    free(row);
    return finish();
}

TEST(too_heavy_documents_are_refused)
{
    start();
    ck_assert_int_eq(finish_heavy(1 << 20 >> 1), ERR_OK);
    ck_assert_int_eq(finish_heavy((1 << 20) - 4096), ERR_OK);
    faulted(finish_heavy((1 << 20) - 700), ERR_INVALID, "", "the document weighs 1.01 MiB");
    /* two halves, each of which is well on its own */
    char *half = heavy(600000), *both = base_alloc(1300000);
    sprintf(both, "{thread_id: '%.*s', %s", 600000, half + strlen("{status: '"), half + 1);
    ck_assert_int_eq(prepare(both, "[]"), ERR_OK);
    faulted(finish(), ERR_INVALID, "", "1.15 MiB, Convex takes 1 MiB");
    free(half);
    free(both);
    stop();
}

/* ---- finished summaries ---------------------------------------------------------------------- */

#define SOURCE "runtime_source: {seq: 5}, projection_version: 'v9'"
#define TIME   "'2026-02-19T20:00:00.5Z'"
#define ID     "runtime/run_summary:r"
/* printf '{"a":1,"projection_version":"v9","runtime_source":{"seq":5}}' | sha256sum */
#define SMALL_HASH "6900f3f6acb1c578fa6523085f48d2ef035a3db1b77cf77028e57b64b5520aa4"
#define SMALL_TAIL "\"projection_version\":\"v9\",\"runtime_source\":{\"seq\":5}}"

TEST(adopted_summaries_stay_as_they_are)
{
    start();
    take(ID, "{projected_at: " TIME ", a: 1, " SOURCE "}");
    ck_assert_slice(
        t.document.json,
        "{\"a\":1,\"projected_at\":\"2026-02-19T20:00:00.5Z\",\"projection_hash\":\"" SMALL_HASH
        "\"," SMALL_TAIL);
    ck_assert_slice(t.document.id, ID);
    ck_assert_slice(t.document.version, "v9");
    ck_assert_int_eq(t.document.seq, 5);
    ck_assert_int_eq(t.document.event_count, 0);
    ck_assert_int_eq(t.document.projected_at_us, AT + 500000);
    /* a hash that came along gives way, whatever it was */
    take(ID, "{'projection_hash': {x: [1, '}']}, projected_at: " TIME ", a: 1, " SOURCE "}");
    ck_assert_slice(
        t.document.json,
        "{\"a\":1,\"projected_at\":\"2026-02-19T20:00:00.5Z\",\"projection_hash\":\"" SMALL_HASH
        "\"," SMALL_TAIL);
    t.options.no_hash = true;
    take(ID, "{projection_hash: 'x', projected_at: " TIME ", a: 1, " SOURCE "}");
    ck_assert_slice(t.document.json,
                    "{\"a\":1,\"projected_at\":\"2026-02-19T20:00:00.5Z\"," SMALL_TAIL);
    char hex[65];
    hex_put(t.document.hash, 32, hex);
    ck_assert_str_eq(hex, SMALL_HASH);
    take(ID, "{projected_at: " TIME ", a: 1, " SOURCE "}");
    ck_assert_slice(t.document.json,
                    "{\"a\":1,\"projected_at\":\"2026-02-19T20:00:00.5Z\"," SMALL_TAIL);
    stop();
}

TEST(adopted_summary_with_nothing_in_front_and_much_between)
{
    start();
    t.options.no_hash = true;
    take(ID, "{projected_at: " TIME ", " SOURCE "}");
    ck_assert_slice(t.document.json, "{\"projected_at\":\"2026-02-19T20:00:00.5Z\"," SMALL_TAIL);
    t.options.no_hash = false;
    /* printf '{"projection_version":"v9","runtime_source":{"seq":5}}' | sha256sum */
    take(ID, "{projected_at: " TIME ", " SOURCE "}");
    ck_assert_slice(
        t.document.json,
        "{\"projected_at\":\"2026-02-19T20:00:00.5Z\",\"projection_hash\":"
        "\"ce6cab064ee0b98d5a74da739d1e062ef001866817b7d494994dc5386d31f3c6\"," SMALL_TAIL);
    /* printf '{"projectee":"}\\",[","projection_":[{"b":"]"}],"projection_hash2":2,...' */
    take(ID, "{projected_at: " TIME ", 'projectee': '},\"[', 'projection_': [{b: ']'}], "
             "'projection_hash2': 2, " SOURCE "}");
    ck_assert_slice(t.document.json,
                    "{\"projected_at\":\"2026-02-19T20:00:00.5Z\",\"projectee\":\"},\\\"[\","
                    "\"projection_\":[{\"b\":\"]\"}],\"projection_hash\":"
                    "\"557ad9e742bc9e69a5d94251550f45ce989ba3b0b3d865ee7c9dcf047fe232b7\","
                    "\"projection_hash2\":2," SMALL_TAIL);
    stop();
}

TEST(adopted_time_rises_too)
{
    start();
    ck_assert_int_eq(adopt(ID, "{projected_at: " TIME ", a: 1, " SOURCE "}"), ERR_OK);
    ck_assert_int_eq(finish_after(AT + 500000, 1), ERR_OK);
    has("\"projected_at\":\"2026-02-19T20:00:00.500001Z\",\"projection_hash\":\"" SMALL_HASH "\"");
    ck_assert_int_eq(finish_after(AT, 1), ERR_OK);
    has("\"projected_at\":\"2026-02-19T20:00:00.5Z\"");
    take(ID, "{projected_at: '2026-02-19 21:00:00,25+01', " SOURCE "}");
    has("\"projected_at\":\"2026-02-19T20:00:00.250000Z\"");
    take(ID, "{projected_at: " DATE_TIME("000001") ", " SOURCE "}");
    has("\"projected_at\":\"2026-02-19T20:00:01.000001Z\"");
    stop();
}

TEST(adopting_leaves_the_fold_alone)
{
    start();
    project(ROW, "[" E1 E2 "]");
    char before[sizeof t.fold];
    size_t len = t.fold_len;
    memcpy(before, t.fold, len);
    take(ID, "{projected_at: " TIME ", event_count: 77, " SOURCE "}");
    ck_assert_uint_eq(t.fold_len, len);
    ck_assert_mem_eq(t.fold, before, len);
    ck_assert_int_eq(t.document.event_count, 77);
    stop();
}

/* What prepare makes can be adopted, and comes out as it was. */
TEST(adopting_a_projection_changes_nothing)
{
    start();
    now("'2026-02-19T20:00:02Z'");
    take("runtime/run_summary:run_1",
         "{latest_seq: 2, document_id: 'runtime/run_summary:run_1', kind: run_summary, "
         "event_count: 2, latest_event_type: 'run.delta', latest_event_at: " DATE_TIME(
             "0") ", "
                  "owner_guest_scope: nil, owner_user_id: 7, projected_at: '2026-02-19T20:00:02Z', "
                  "projection_version: 'convex_summary_v1', run_id: 'run_1', "
                  "runtime_source: {entity: run, run_id: 'run_1', seq: 2}, status: 'running', "
                  "terminal_at: nil, terminal_reason: nil, terminal_reason_class: nil, thread_id: "
                  "'thr_1', "
                  "updated_at: " DATE_TIME("500000") "}");
    ck_assert_slice(t.document.json, RUN_HEAD "\"projected_at\":\"2026-02-19T20:00:02Z\","
                                              "\"projection_hash\":\"" RUN_HASH "\"," RUN_TAIL);
    stop();
}

TEST(summaries_that_are_refused)
{
    start();
    faulted(adopt("runtime/codex_worker_summary:r", "{}"), ERR_NOT_OWNED, "document_id", "begin");
    faulted(adopt("runtime/run_summary:", "{}"), ERR_INVALID, "document_id", "names no entity");
    faulted(adopt("runtime/run_summary", "{}"), ERR_NOT_OWNED, "document_id", "begin");
    faulted(adopt("runtime/run_summary:a\nb", "{}"), ERR_INVALID, "document_id", "at byte 21");
    char id[400];
    memset(id, 'i', sizeof id);
    memcpy(id, "runtime/run_summary:", 20);
    id[321] = '\0';
    faulted(adopt(id, "{}"), ERR_INVALID, "document_id", "300 bytes");

    faulted(adopt(ID, "[]"), ERR_INVALID, "", "map");
    faulted(adopt(ID, DATE_TIME("0")), ERR_INVALID, "runtime_source.seq", "runtime_seq_missing");
    faulted(adopt(ID, "{}"), ERR_INVALID, "runtime_source.seq", "runtime_seq_missing");
    faulted(adopt(ID, "{runtime_source: 5}"), ERR_INVALID, "runtime_source.seq",
            "runtime_seq_missing");
    faulted(adopt(ID, "{runtime_source: {seq: '5'}}"), ERR_INVALID, "runtime_source.seq",
            "runtime_seq_missing");
    faulted(adopt(ID, "{runtime_source: {seq: -1}}"), ERR_INVALID, "runtime_source.seq",
            "runtime_seq_missing");
    faulted(adopt(ID, "{runtime_source: {seq: 1}, projected_at: " TIME "}"), ERR_INVALID,
            "projection_version", "projection_version_missing");
    faulted(adopt(ID, "{runtime_source: {seq: 1}, projection_version: nil}"), ERR_INVALID,
            "projection_version", "projection_version_missing");
    faulted(adopt(ID, "{runtime_source: {seq: 1}, projection_version: ''}"), ERR_INVALID,
            "projection_version", "projection_version_missing");
    faulted(adopt(ID, "{runtime_source: {seq: 1}, projection_version: 'a\nb'}"), ERR_INVALID,
            "projection_version", "printable");
    faulted(adopt(ID, "{" SOURCE "}"), ERR_INVALID, "projected_at", "projected_at_missing");
    faulted(adopt(ID, "{projected_at: nil, " SOURCE "}"), ERR_INVALID, "projected_at",
            "projected_at_missing");
    static const char *const times[] = {"5",      "'soon'",
                                        "''",     "true",
                                        "[]",     "'1969-01-01T00:00:00Z'",
                                        "{x: 1}", "'2026-02-19T20:00:00'"};
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        char text[200];
        snprintf(text, sizeof text, "{projected_at: %s, " SOURCE "}", times[i]);
        faulted(adopt(ID, text), ERR_INVALID, "projected_at", "projected_at_invalid");
    }
    faulted(adopt(ID, "{document_id: 'runtime/run_summary:s', projected_at: " TIME ", " SOURCE "}"),
            ERR_INVALID, "document_id", "request");
    faulted(adopt(ID, "{kind: codex_worker_summary, projected_at: " TIME ", " SOURCE "}"),
            ERR_INVALID, "kind", "request");
    faulted(adopt(ID, "{event_count: -1, projected_at: " TIME ", " SOURCE "}"), ERR_INVALID,
            "event_count", "2^53");
    faulted(adopt(ID, "{x: {y: [(1)]}, projected_at: " TIME ", " SOURCE "}"), ERR_INVALID, "x.y[0]",
            "");
    faulted(adopt(ID, "{'projected_at': " TIME ", projected_at: " TIME ", " SOURCE "}"),
            ERR_INVALID, "projected_at", "");
    stop();
}

TEST(adopted_weight_counts)
{
    char *text = base_alloc(1100000);
    start();
    sprintf(text, "{projected_at: " TIME ", " SOURCE ", x: '");
    size_t head = strlen(text);
    memset(text + head, 'x', 1 << 20);
    strcpy(text + head + (1 << 20) - 2000, "'}");
    take(ID, text);
    memset(text + head, 'x', 1 << 20);
    strcpy(text + head + (1 << 20) - 600, "'}");
    ck_assert_int_eq(adopt(ID, text), ERR_OK);
    faulted(finish(), ERR_INVALID, "", "weighs");
    free(text);
    stop();
}
