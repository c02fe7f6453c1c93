/*
 * cli_audit.c - the word `audit`: progress, then the report.
 *
 * The happy path: the request goes out, and until its answer comes, {audit, status} is asked on
 * the same connection now and then: on a terminal for one line that is rewritten, elsewhere for a
 * plain line every LINE_MS.  Then the report is printed.
 *
 * What can go wrong:
 *   SIGINT, SIGTERM          the audit is cancelled; its report says so, and where to go on
 *   the connection ends      reported, status 3; the audit goes on in the sidecar until it is done
 *                            (`audit cancel` ends it)
 * One thread.
 */

#include "cli/cli_audit.h"

#include "cli/cli.h"
#include "cli/cli_client.h"
#include "cli/cli_print.h"
#include "ground/backoff.h"
#include "ground/buf.h"
#include "ground/clock.h"
#include "term/term.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#define FIRST_MS 10    /* before the first request; doubles up to */
#define BAR_MS   250   /* between two requests */
#define LINE_MS  10000 /* between two lines, where there is no terminal */

struct watch {
    struct cli_client *client;
    int64_t until_ms, shown_ms;
    unsigned audit; /* the ticket of its answer */
    bool is_terminal, has_bar, json;
    int status; /* -1: no answer yet */
    struct fault fault;
};

static volatile sig_atomic_t is_interrupted;

static void on_signal(int signal_number)
{
    (void)signal_number;
    is_interrupted = 1;
}

/* Without SA_RESTART, so that a signal ends the wait between two requests. */
static void watch_signals(void)
{
    const struct sigaction action = {.sa_handler = on_signal};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static int64_t left_ms(const struct watch *w)
{
    int64_t left = w->until_ms - clock_mono_ms();

    return left > 0 ? left : 0;
}

static void end_bar(struct watch *w)
{
    if (w->has_bar)
        fputs("\r\033[K", stderr);
    w->has_bar = false;
}

static double number_of(term map, const char *key)
{
    term t = term_get(map, key);
    int64_t v = 0;

    if (t != NULL && term_type(t) == TERM_FLOAT)
        return term_float(t);
    return t != NULL && term_integer(t, &v) ? (double)v : 0;
}

/* {ok, #{state, kind, checked, findings, rate, eta_s, ...}} */
static void show(struct watch *w, term answer)
{
    term map = term_element(answer, 1), kind = map ? term_get(map, "kind") : NULL;
    term eta = map ? term_get(map, "eta_s") : NULL;

    if (!term_is(term_element(answer, 0), "ok") || kind == NULL || term_is_nil_atom(kind))
        return;
    if (clock_mono_ms() - w->shown_ms < (w->is_terminal ? 0 : LINE_MS))
        return;
    if (w->is_terminal)
        fputs("\r\033[K", stderr);
    cli_print_text(term_text(kind), stderr);
    fprintf(stderr, " %.0f checked, %.0f found, %.0f/s", number_of(map, "checked"),
            number_of(map, "findings"), number_of(map, "rate"));
    if (eta != NULL && !term_is_nil_atom(eta))
        fprintf(stderr, ", %.0f s left", number_of(map, "eta_s"));
    if (!w->is_terminal)
        fputc('\n', stderr);
    w->has_bar = w->is_terminal;
    w->shown_ms = clock_mono_ms();
}

/* Nothing differs, something does, or the audit did not finish. */
static enum cli_status status_of(term answer, bool is_ok)
{
    term map = is_ok ? term_element(answer, 1) : NULL;
    term findings = map ? term_get(map, "findings") : NULL;
    term stopped = map ? term_get(map, "stopped") : NULL;

    if (findings != NULL && term_type(findings) != TERM_NIL)
        return CLI_ERROR;
    return findings != NULL && stopped != NULL && term_is_nil_atom(stopped) ? CLI_DONE
                                                                            : CLI_UNKNOWN;
}

/* Take answers until the one to ${ticket}; the audit's own may come first. */
static enum err take_answers(struct watch *w, unsigned ticket)
{
    struct buf message = {0};
    struct cli_answer got = {0};
    enum err e = ERR_OK;

    while (e == ERR_OK && got.ticket != ticket) {
        e = cli_client_receive(w->client, left_ms(w), &message, &got, &w->fault);
        if (e == ERR_OK && got.ticket == w->audit && w->status < 0) {
            end_bar(w);
            bool is_ok = cli_print_answer(got.term, w->json, stdout, stderr);
            w->status = status_of(got.term, is_ok);
        } else if (e == ERR_OK) {
            show(w, got.term);
        }
    }
    buf_free(&message);
    return e;
}

/* Send {audit, ${word}} and take its answer. */
static enum err ask(struct watch *w, const char *word)
{
    struct buf request = {0};
    unsigned ticket;

    term_put_tuple(&request, 2);
    term_put_atom(&request, "audit");
    term_put_atom(&request, word);
    enum err e = cli_client_send(w->client, buf_view(&request), left_ms(w), &ticket, &w->fault);
    buf_free(&request);
    return e == ERR_OK ? take_answers(w, ticket) : e;
}

/* Ask now and then until the answer comes. */
static enum err follow(struct watch *w)
{
    enum err e = ERR_OK;

    for (int64_t wait_ms = 0; e == ERR_OK && w->status < 0;) {
        wait_ms = backoff_next(wait_ms, FIRST_MS, BAR_MS);
        (void)poll(NULL, 0, (int)wait_ms);
        bool shall_end = is_interrupted;
        is_interrupted = 0;
        e = ask(w, shall_end ? "cancel" : "status");
    }
    return e;
}

int cli_audit_run(const char *store_dir, struct slice request, int64_t timeout_ms, bool json)
{
    struct watch w = {.until_ms = clock_mono_ms() + timeout_ms,
                      .shown_ms = clock_mono_ms(),
                      .is_terminal = isatty(STDERR_FILENO) == 1,
                      .json = json,
                      .status = -1};

    watch_signals();
    enum err e = cli_client_open(store_dir, left_ms(&w), &w.client, &w.fault);
    if (e == ERR_OK)
        e = cli_client_send(w.client, request, left_ms(&w), &w.audit, &w.fault);
    if (e == ERR_OK)
        e = follow(&w);
    if (e != ERR_OK && w.status < 0) {
        end_bar(&w);
        cli_print_absent(store_dir, &w.fault, stderr);
        w.status = CLI_ABSENT;
    }
    if (fflush(stdout) != 0 && w.status == CLI_DONE) {
        fprintf(stderr, "convex_sidecar: the report cannot be written: %s\n", strerror(errno));
        w.status = CLI_ERROR;
    }
    cli_client_close(w.client);
    return w.status;
}
