/*
 * cli_tap.c - prints what happens to documents, a line for each event, as it happens.
 *
 * The happy path: the request is answered with parts, each a list of events, and each event is a
 * line.  SIGINT ends it, and so does the end of the time that --timeout gives.
 *
 * What can go wrong: the reader of the lines is slow: the sidecar drops events meanwhile, and a
 * line on standard error says how many.  The connection ends: reported, status 3.
 *
 * One thread.
 */

#include "cli/cli_tap.h"

#include "cli/cli.h"
#include "cli/cli_client.h"
#include "cli/cli_print.h"
#include "ground/buf.h"
#include "ground/clock.h"

#include <inttypes.h>
#include <signal.h>

#define OPEN_MS 5000
#define LOOK_MS 250 /* how long a signal may go unnoticed */

static volatile sig_atomic_t is_interrupted;

static void on_signal(int number)
{
    (void)number;
    is_interrupted = 1;
}

/* ---- a part ---------------------------------------------------------------------------- */

static int64_t number_of(term map, const char *key)
{
    term t = term_get(map, key);
    int64_t v = 0;

    return t != NULL && term_integer(t, &v) ? v : 0;
}

static void put_text(term map, const char *key, FILE *out)
{
    term t = term_get(map, key);

    if (t != NULL)
        cli_print_text(term_text(t), out);
}

static void put_line(term event, FILE *out)
{
    term word = term_get(event, "event"), why = term_get(event, "why");
    struct slice text = word != NULL ? term_text(word) : slice_str("");

    put_text(event, "at", out);
    fprintf(out, "  %-9.*s  ", SLICE_ARG(text));
    put_text(event, "document_id", out);
    fprintf(out, "  seq=%" PRId64, number_of(event, "seq"));
    if (why != NULL && term_text(why).len > 0) {
        fputs("  ", out);
        cli_print_text(term_text(why), out);
    }
    fputc('\n', out);
}

void cli_tap_put(term part, bool json, FILE *out)
{
    term list = term_type(part) == TERM_MAP ? term_get(part, "events") : NULL;

    if (list == NULL || term_type(list) != TERM_LIST)
        return;
    term event = term_items(list);
    for (uint32_t i = 0; i < term_arity(list); i++, event = term_next(event)) {
        if (term_type(event) != TERM_MAP)
            continue;
        if (!json) {
            put_line(event, out);
            continue;
        }
        cli_print_json(event, out);
        fputc('\n', out);
    }
}

/* ---- the stream ------------------------------------------------------------------------- */

/* Report how many were dropped, if the number has changed. */
static void say_dropped(term part, int64_t *said)
{
    int64_t dropped = term_type(part) == TERM_MAP ? number_of(part, "dropped") : 0;

    if (dropped > *said)
        fprintf(stderr,
                "convex_sidecar tap: %" PRId64 " events were dropped so far: more happens "
                "than is read; --kind and --id ask for less\n",
                dropped);
    *said = dropped;
}

/* Parts until the end; the status, or -1 with ${fault}. */
static int follow(struct cli_client *c, int64_t limit_ms, bool json, struct fault *fault)
{
    int64_t until_ms = limit_ms > 0 ? clock_mono_ms() + limit_ms : INT64_MAX, dropped = 0;
    struct buf message = {0};
    int status = -2;

    while (status == -2) {
        int64_t left_ms = until_ms - clock_mono_ms();
        struct cli_answer got;
        if (is_interrupted || left_ms <= 0) {
            status = CLI_DONE;
        } else if (!cli_client_is_ready(c, left_ms < LOOK_MS ? left_ms : LOOK_MS)) {
            continue;
        } else if (cli_client_receive(c, OPEN_MS, &message, &got, fault) != ERR_OK) {
            status = -1;
        } else if (got.is_part) {
            cli_tap_put(got.term, json, stdout);
            say_dropped(got.term, &dropped);
            status = fflush(stdout) == 0 ? -2 : CLI_ERROR;
        } else { /* the sidecar ends, or refuses */
            bool is_ok = term_is(term_element(got.term, 0), "ok");
            status =
                is_ok || cli_print_answer(got.term, json, stdout, stderr) ? CLI_DONE : CLI_ERROR;
        }
    }
    buf_free(&message);
    return status;
}

int cli_tap_run(const char *store_dir, struct slice request, int64_t limit_ms, bool json)
{
    const struct sigaction action = {.sa_handler = on_signal}; /* without SA_RESTART */
    struct cli_client *c = NULL;
    struct fault fault = {0};
    int status = -1;
    unsigned ticket;

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    enum err e = cli_client_open(store_dir, OPEN_MS, &c, &fault);
    if (e == ERR_OK)
        e = cli_client_send(c, request, OPEN_MS, &ticket, &fault);
    if (e == ERR_OK)
        status = follow(c, limit_ms, json, &fault);
    if (status < 0) {
        cli_print_absent(store_dir, &fault, stderr);
        status = CLI_ABSENT;
    }
    cli_client_close(c);
    return status;
}
