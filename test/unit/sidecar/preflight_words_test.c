/* preflight_words_test.c - all that a preflight says, with a sink that is a script. */

#include "sidecar/preflight.h"

#include "config/config.h"
#include "ground/clock.h"
#include "projection/projection.h"
#include "sidecar/sinks.h"
#include "sink/sink.h"
#include "test.h"

/* ---- a sink that answers at once, or never ------------------------------------- */

static struct verdict attach, control;
static struct sink_peer peer;
static bool is_silent;
static char asked[2000];
static enum err opens;
static int waits[4], wait_count;

static void ask(struct sink *s, enum sink_question question, struct slice kind, sink_told *told,
                void *arg)
{
    ck_assert_str_eq(s->us.id, "00000000000000000000000000000000");
    snprintf(asked + strlen(asked), sizeof asked - strlen(asked), "%s %.*s\n",
             question == SINK_ATTACH ? "attach" : "control", SLICE_ARG(kind));
    if (!is_silent)
        told(arg, question == SINK_ATTACH ? &attach : &control);
}

/* The clock is this test's: it goes on while one waits. */
static int64_t now_us;

int64_t clock_mono_us(void)
{
    return now_us;
}

int64_t clock_wall_us(void)
{
    return now_us;
}

static void wait_for(struct sink *s, int wake_fd, int timeout_ms)
{
    (void)s;
    ck_assert_int_eq(wake_fd, -1);
    ck_assert_int_gt(timeout_ms, 0);
    waits[wait_count++ % 4] = timeout_ms;
    now_us += timeout_ms > 6000 ? 6000000 : (int64_t)timeout_ms * 1000;
}

static void show_peer(struct sink *s, struct sink_peer *out)
{
    (void)s;
    *out = peer;
}

static void shut(struct sink *s)
{
    snprintf(asked + strlen(asked), sizeof asked - strlen(asked), "close\n");
    free(s);
}

enum err sinks_open(const struct config *c, struct sink **sink, struct fault *fault)
{
    static const struct sink_ops ops = {
        .ask = ask, .wait = wait_for, .peer = show_peer, .close = shut};
    (void)c;
    if (opens != ERR_OK)
        return fault_fail(fault, opens, "admin_key_file", "there is none");
    *sink = base_alloc(sizeof **sink);
    (*sink)->ops = &ops;
    return ERR_OK;
}

/* ---- tests ------------------------------------------------------------------------ */

static void well(void)
{
    attach = control = (struct verdict){.kind = VERDICT_DONE};
    peer = (struct sink_peer){.functions = 2, .deployment = "dep", .has_clock = true};
    opens = ERR_OK;
    asked[0] = '\0';
    is_silent = false;
}

static char said[8000];

static void says(const char *sink, enum preflight is, const char *wanted)
{
    struct config *c = config_new();
    struct fault fault = {0};
    FILE *out = fmemopen(said, sizeof said, "w");

    ck_assert_int_eq(config_read_text(c, "test", sink, &fault), ERR_OK);
    ck_assert_int_eq(config_finish(c, &fault), ERR_OK);
    ck_assert_int_eq(preflight_run(c, out), is);
    fclose(out);
    ck_assert_str_eq(said, wanted);
    config_free(c);
}

#define HTTP  "[sink]\ntype = http\nbase_url = http://c\nadmin_key = a|b\n"
#define TO    "ok       destination: http http://c\n"
#define TAKES "ok       Convex: answers, and takes the key\n"
#define TWO   "ok       functions: version 2, deployment dep\n"
#define CLOCK "ok       clock: agrees with Convex' to a second\n"

/* A line for each kind: ${is} what it has, after its name. */
static const char *with_kinds(const char *is, const char *text)
{
    static char all[8000];
    struct kinds *k = kinds_new();
    struct fault fault;
    size_t n = (size_t)snprintf(all, sizeof all, "%s", TO TAKES TWO);

    ck_assert_int_eq(kinds_finish(k, &fault), ERR_OK);
    ck_assert_uint_gt(kinds_count(k), 1);
    for (size_t i = 0; i < kinds_count(k); i++)
        n += (size_t)snprintf(all + n, sizeof all - n, "%-8s kind %s: %s\n", is,
                              kinds_at(k, i)->name, text);
    snprintf(all + n, sizeof all - n, "%s", CLOCK);
    kinds_free(k);
    return all;
}

TEST(each_kind_is_asked_of_functions_that_know_controls)
{
    well();
    says(HTTP, PREFLIGHT_WELL, with_kinds("ok", "a document would be taken"));
    ck_assert_int_eq(strncmp(asked, "attach \ncontrol ", 16), 0);
    ck_assert_str_eq(asked + strlen(asked) - 7, "\nclose\n");
    well();
    control.kind = VERDICT_NONE;
    says(HTTP, PREFLIGHT_WELL, with_kinds("ok", "not tried"));
    well();
    control = (struct verdict){.kind = VERDICT_REFUSED, .why = "no such table"};
    says(HTTP, PREFLIGHT_BAD,
         with_kinds("BAD", "no such table; next: deploy the functions that write it"));
    well();
    control = (struct verdict){.kind = VERDICT_AGAIN, .why = "busy"};
    says(HTTP, PREFLIGHT_UNKNOWN,
         with_kinds("UNKNOWN",
                    "busy; next: see whether Convex runs there; a sidecar would wait for it"));
}

TEST(older_functions_are_asked_no_more)
{
    well();
    peer = (struct sink_peer){.functions = 1};
    says(HTTP, PREFLIGHT_WELL,
         TO TAKES "ok       functions: older than this sidecar, or your own: whether they take "
                  "documents is not known; next: deploy those of priv/convex\n"
                  "ok       clock: Convex does not say what time it is\n");
    ck_assert_str_eq(asked, "attach \nclose\n");
    well();
    peer = (struct sink_peer){.functions = 0};
    attach.kind = VERDICT_NONE;
    says("[sink]\ntype = file\nfile = /f\n", PREFLIGHT_WELL,
         "ok       destination: file /f\nok       sink: there is nobody to ask\n");
}

static void check_clock(int64_t ahead_ms, enum preflight is, const char *line)
{
    char wanted[1000];

    well();
    peer.functions = 1;
    peer.ahead_ms = ahead_ms;
    snprintf(wanted, sizeof wanted,
             TO TAKES "ok       functions: older than this sidecar, or your own: whether they take "
                      "documents is not known; next: deploy those of priv/convex\n%s\n",
             line);
    says(HTTP, is, wanted);
}

TEST(a_clock_is_off_by_more_than_a_second)
{
    check_clock(1000, PREFLIGHT_WELL, "ok       clock: agrees with Convex' to a second");
    check_clock(-1000, PREFLIGHT_WELL, "ok       clock: agrees with Convex' to a second");
    check_clock(1001, PREFLIGHT_WELL, "ok       clock: 1.0 s behind Convex'");
    check_clock(-1234, PREFLIGHT_WELL, "ok       clock: 1.2 s ahead of Convex'");
    check_clock(10000, PREFLIGHT_WELL, "ok       clock: 10.0 s behind Convex'");
    check_clock(10001, PREFLIGHT_BAD, "BAD      clock: 10.0 s behind Convex'; next: set it (NTP)");
    check_clock(-10900, PREFLIGHT_BAD,
                "BAD      clock: 10.9 s ahead of Convex'; next: set it (NTP)");
}

TEST(the_worst_decides_the_status)
{
    well();
    opens = ERR_INVALID;
    says(HTTP, PREFLIGHT_BAD,
         TO "BAD      admin_key_file: there is none; next: mend it in the configuration\n");
    ck_assert_str_eq(asked, "");
    well();
    attach = (struct verdict){.kind = VERDICT_REFUSED, .why = "HTTP 401"};
    says(HTTP, PREFLIGHT_BAD,
         TO "BAD      Convex: HTTP 401; next: look at base_url and at the key\n");
    well();
    control = (struct verdict){.kind = VERDICT_AGAIN, .why = "busy"};
    peer.ahead_ms = 20000;
    char wanted[8000];
    snprintf(wanted, sizeof wanted, "%s",
             with_kinds("UNKNOWN",
                        "busy; next: see whether Convex runs there; a sidecar would wait for it"));
    strcpy(strstr(wanted, CLOCK), "BAD      clock: 20.0 s behind Convex'; next: set it (NTP)\n");
    says(HTTP, PREFLIGHT_BAD, wanted);
}

TEST(no_answer_within_ten_seconds_is_none)
{
    well();
    is_silent = true;
    says(HTTP, PREFLIGHT_UNKNOWN,
         TO "UNKNOWN  Convex: no answer in time; next: see whether Convex runs there; a sidecar "
            "would wait for it\n");
    ck_assert_int_eq(wait_count, 2);
    ck_assert_int_eq(waits[0], 10000);
    ck_assert_int_eq(waits[1], 4000);
}
