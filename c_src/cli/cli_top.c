/*
 * cli_top.c - the state of a sidecar, live.
 *
 * The happy path: `status` is asked each second on one connection, and compared with the answer
 * before it (for the rates).  On a terminal it is drawn in place on the alternate screen: q
 * leaves, the space bar freezes it, a letter sorts the kinds.  Elsewhere each answer is a block of
 * plain text.
 *
 * What can go wrong: the connection ends, or no answer comes: the terminal is restored, and the
 * fault is reported, status 3.  Keys a sidecar of another version does not send count as 0.
 *
 * One thread.
 */

#include "cli/cli_top.h"

#include "cli/cli.h"
#include "cli/cli_client.h"
#include "cli/cli_print.h"
#include "ground/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define LOOK_MS      1000
#define LABEL        "  %-11s"
#define SHOWN_KINDS  8
#define KINDS_MAX    65 /* in the table: all that a sidecar counts by name, and the others */
#define ENTER_SCREEN "\033[?1049h\033[?25l"
#define LEAVE_SCREEN "\033[?25h\033[?1049l"

struct top {
    struct cli_client *client;
    const struct cli_top_options *options;
    struct buf messages[2]; /* the last answer, and the one before */
    term maps[2];
    int64_t at_ms[2];
    unsigned now; /* which of them */
    enum cli_top_sort sort;
    struct termios before;
    bool is_terminal, is_held, is_over;
    struct fault fault;
};

static volatile sig_atomic_t is_interrupted;

static void on_signal(int number)
{
    (void)number;
    is_interrupted = 1;
}

/* ---- a look as text -------------------------------------------------------------------- */

static double number_at(term map, const char *key)
{
    term t = map != NULL && term_type(map) == TERM_MAP ? term_get(map, key) : NULL;
    int64_t v = 0;

    if (t != NULL && term_type(t) == TERM_FLOAT)
        return term_float(t);
    return t != NULL && term_integer(t, &v) ? (double)v : 0;
}

static term map_at(term map, const char *key)
{
    term t = map != NULL && term_type(map) == TERM_MAP ? term_get(map, key) : NULL;

    return t != NULL && term_type(t) == TERM_MAP ? t : NULL;
}

/* The first ${max} bytes of the text at ${key}, with control characters made harmless.
 */
static void put_text(struct buf *out, term map, const char *key, size_t max)
{
    term t = map != NULL ? term_get(map, key) : NULL;
    struct slice text = t != NULL ? term_text(t) : slice_of(NULL, 0);

    for (size_t i = 0; i < text.len && i < max; i++) {
        uint8_t c = text.data[i];
        buf_byte(out, c < ' ' || c >= 0x7f ? '?' : c);
    }
}

static bool is_empty(term map, const char *key)
{
    term t = term_get(map, key);

    return t == NULL || term_text(t).len == 0;
}

static void put_seconds(struct buf *out, double s)
{
    if (s <= 0)
        buf_str(out, "-");
    else if (s < 0.001)
        buf_printf(out, "%.0f us", s * 1e6);
    else if (s < 1)
        buf_printf(out, "%.1f ms", s * 1e3);
    else
        buf_printf(out, "%.1f s", s);
}

struct rates {
    term now, before; /* the maps of metrics */
    double seconds;
};

static double rate(const struct rates *r, const char *key)
{
    double rise = number_at(r->now, key) - number_at(r->before, key);

    return r->before != NULL && r->seconds > 0 && rise > 0 ? rise / r->seconds : 0;
}

static void put_state(struct buf *out, term s)
{
    put_text(out, s, "node", 80);
    buf_str(out, "  ");
    put_text(out, s, "version", 20);
    buf_printf(out, "  pid %.0f  up since ", number_at(s, "pid"));
    put_text(out, s, "started_at", 19);
    buf_str(out, "\n\n");
    put_text(out, s, "state", 20);
    buf_str(out, " since ");
    put_text(out, s, "since", 19);
    buf_byte(out, '\n');
    for (size_t i = 0; i < 2; i++) {
        const char *key = i ? "next" : "why";
        if (is_empty(s, key))
            continue;
        buf_printf(out, LABEL, key);
        put_text(out, s, key, 200);
        buf_byte(out, '\n');
    }
}

/* Kinds that are held up, each with its reason. */
static void put_kinds(struct buf *out, term s)
{
    term list = term_get(s, "kinds");

    if (list == NULL || term_type(list) != TERM_LIST)
        return;
    term at = term_items(list);
    for (uint32_t i = 0; i < term_arity(list) && i < SHOWN_KINDS; i++, at = term_next(at)) {
        if (term_type(at) != TERM_MAP)
            continue;
        buf_printf(out, LABEL, i ? "" : "kinds");
        put_text(out, at, "kind", 60);
        buf_byte(out, ' ');
        put_text(out, at, "state", 20);
        buf_str(out, ": ");
        put_text(out, at, "why", 120);
        buf_byte(out, '\n');
    }
}

/* ---- the table of kinds ------------------------------------------------------------------ */

struct kind_row {
    term map;
    struct slice name;
    double rate, total, skipped;
};

static term list_at(term map, const char *key)
{
    term t = map != NULL && term_type(map) == TERM_MAP ? term_get(map, key) : NULL;

    return t != NULL && term_type(t) == TERM_LIST ? t : NULL;
}

/* The map in the list at ${key} that is about the kind ${name}; NULL: there is none. */
static term kind_in(term map, const char *key, struct slice name)
{
    term list = list_at(map, key), at = list != NULL ? term_items(list) : NULL;

    for (uint32_t i = 0; list != NULL && i < term_arity(list); i++, at = term_next(at)) {
        term kind = term_type(at) == TERM_MAP ? term_get(at, "kind") : NULL;
        if (kind != NULL && slice_eq(term_text(kind), name))
            return at;
    }
    return NULL;
}

static int compare_names(const void *a, const void *b)
{
    return slice_order(((const struct kind_row *)a)->name, ((const struct kind_row *)b)->name);
}

/* The largest first; equal ones by name. */
static int compare_numbers(double a, double b, const void *x, const void *y)
{
    return a > b ? -1 : a < b ? 1 : compare_names(x, y);
}

static int compare_rates(const void *a, const void *b)
{
    return compare_numbers(((const struct kind_row *)a)->rate, ((const struct kind_row *)b)->rate,
                           a, b);
}

static int compare_totals(const void *a, const void *b)
{
    return compare_numbers(((const struct kind_row *)a)->total, ((const struct kind_row *)b)->total,
                           a, b);
}

static int compare_skipped(const void *a, const void *b)
{
    return compare_numbers(((const struct kind_row *)a)->skipped,
                           ((const struct kind_row *)b)->skipped, a, b);
}

static size_t read_kinds(term now, term before, double seconds, struct kind_row *rows)
{
    term list = list_at(now, "by_kind"), at = list != NULL ? term_items(list) : NULL;
    size_t count = 0;

    for (uint32_t i = 0; list != NULL && i < term_arity(list) && count < KINDS_MAX;
         i++, at = term_next(at)) {
        term kind = term_type(at) == TERM_MAP ? term_get(at, "kind") : NULL;
        if (kind == NULL)
            continue;
        struct kind_row *row = &rows[count++];
        term was = kind_in(before, "by_kind", term_text(kind));
        double rise = number_at(at, "taken") - number_at(was, "taken");
        *row = (struct kind_row){.map = at,
                                 .name = term_text(kind),
                                 .rate =
                                     before != NULL && seconds > 0 && rise > 0 ? rise / seconds : 0,
                                 .total = number_at(at, "taken"),
                                 .skipped = number_at(at, "skipped")};
    }
    return count;
}

static void put_table(struct buf *out, term now, term before, double seconds,
                      enum cli_top_sort sort)
{
    static int (*const compare[])(const void *,
                                  const void *) = {[CLI_TOP_BY_RATE] = compare_rates,
                                                   [CLI_TOP_BY_TOTAL] = compare_totals,
                                                   [CLI_TOP_BY_SKIPPED] = compare_skipped,
                                                   [CLI_TOP_BY_NAME] = compare_names};
    struct kind_row rows[KINDS_MAX];
    size_t count = read_kinds(now, before, seconds, rows);

    if (count == 0)
        return;
    qsort(rows, count, sizeof *rows, compare[sort]);
    buf_printf(out, "\n  %10s %10s %10s  %-8s  kind\n", "in", "total", "skipped", "state");
    for (size_t i = 0; i < count; i++) {
        term held = kind_in(now, "kinds", rows[i].name);
        struct buf state = {0};
        put_text(&state, held != NULL ? held : now, "state", 8);
        buf_printf(out, "  %8.1f/s %10.0f %10.0f  %-8.*s  ", rows[i].rate, rows[i].total,
                   rows[i].skipped, SLICE_ARG(buf_view(&state)));
        put_text(out, rows[i].map, "kind", 60);
        buf_byte(out, '\n');
        buf_free(&state);
    }
}

static void put_time(struct buf *out, term times, const char *key, const char *name)
{
    term t = map_at(times, key);

    buf_printf(out, LABEL, name);
    buf_str(out, "p50 ");
    put_seconds(out, number_at(t, "p50"));
    buf_str(out, "   p99 ");
    put_seconds(out, number_at(t, "p99"));
    buf_byte(out, '\n');
}

static void put_numbers(struct buf *out, const struct rates *r)
{
    term m = r->now;

    buf_printf(out,
               "\n" LABEL "%9.1f/s   kept %.1f/s   skipped %.1f/s   busy %.1f/s   nodes %.0f\n",
               "in", rate(r, "requests_total"), rate(r, "kept_total"), rate(r, "skipped_total"),
               rate(r, "requests_busy_total"), number_at(m, "peers"));
    buf_printf(out, LABEL "%9.0f     oldest ", "pending", number_at(m, "pending"));
    put_seconds(out, number_at(m, "oldest_pending_age_seconds"));
    buf_printf(out, "   %.1f of %.0f MiB\n",
               (number_at(m, "pending_bytes") + number_at(m, "dead_letter_bytes")) / 1048576,
               number_at(m, "store_limit_bytes") / 1048576);
    buf_printf(out, LABEL "%9.1f/s   calls %.1f/s   in flight %.0f of %.0f   again %.1f/s\n", "out",
               rate(r, "delivered_total"), rate(r, "calls_total"), number_at(m, "calls_in_flight"),
               number_at(m, "concurrency_limit"), rate(r, "retried_total"));
    buf_printf(out, LABEL "%9.0f     store %s   commits %.1f/s   documents known %.0f\n", "dead",
               number_at(m, "dead_letters"), number_at(m, "store_ok") > 0 ? "ok" : "FAILS",
               rate(r, "commits_total"), number_at(m, "checkpoints"));
    buf_printf(out, LABEL "%9.0f checked, %.0f differ\n\n", "audit", number_at(m, "audit_checked"),
               number_at(m, "audit_findings"));
}

void cli_top_put(term now, term before, double seconds, enum cli_top_sort sort, struct buf *out)
{
    const struct rates r = {map_at(now, "metrics"), map_at(before, "metrics"), seconds};
    term times = map_at(now, "times");

    put_state(out, now);
    put_kinds(out, now);
    buf_printf(out, LABEL, "sink");
    put_text(out, now, "sink", 20);
    if (!is_empty(now, "base_url")) {
        buf_str(out, " -> ");
        put_text(out, now, "base_url", 120);
    }
    buf_byte(out, '\n');
    put_numbers(out, &r);
    put_time(out, times, "call_seconds", "call");
    put_time(out, times, "commit_seconds", "commit");
    put_time(out, times, "kept_to_confirmed_seconds", "kept ->");
    put_time(out, times, "append_to_confirmed_seconds", "append ->");
    put_table(out, now, before, seconds, sort);
}

/* ---- the terminal ------------------------------------------------------------------------ */

static void enter(struct top *t)
{
    const struct sigaction action = {.sa_handler = on_signal}; /* without SA_RESTART */
    struct termios raw;

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    t->is_terminal = !t->options->json && isatty(STDOUT_FILENO) == 1 && isatty(STDIN_FILENO) == 1 &&
                     tcgetattr(STDIN_FILENO, &t->before) == 0;
    if (!t->is_terminal)
        return;
    raw = t->before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    fputs(ENTER_SCREEN, stdout);
}

static void leave(struct top *t)
{
    if (!t->is_terminal)
        return;
    fputs(LEAVE_SCREEN, stdout);
    fflush(stdout);
    tcsetattr(STDIN_FILENO, TCSANOW, &t->before);
}

/* Draw the lines of ${text} in place, as many and as much of each as the window has. */
static void draw(struct slice text)
{
    struct winsize size = {0};
    size_t row = 0;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0)
        size = (struct winsize){.ws_row = 24, .ws_col = 80};
    fputs("\033[H", stdout);
    for (size_t at = 0; at < text.len && row + 1 < size.ws_row; row++) {
        const uint8_t *end = memchr(text.data + at, '\n', text.len - at);
        size_t len = end ? (size_t)(end - text.data) - at : text.len - at;
        printf("%.*s\033[K\n", (int)(len < size.ws_col ? len : size.ws_col),
               (const char *)text.data + at);
        at += len + 1;
    }
    fputs("\033[J", stdout);
}

static const char *const sort_words[] = {
#define X(name, word) [name] = word,
    CLI_TOP_SORT_LIST(X)
#undef X
};

enum { SORT_COUNT = sizeof sort_words / sizeof *sort_words };

static void put_keys(struct buf *out, enum cli_top_sort sort, bool is_held)
{
    buf_printf(out, "\nq leaves, space %s; kinds by", is_held ? "goes on" : "holds still");
    for (size_t i = 0; i < SORT_COUNT; i++)
        buf_printf(out, i == sort ? " [%s]" : " %s", sort_words[i]);
    buf_byte(out, '\n');
}

static void show(struct top *t)
{
    unsigned before = 1 - t->now;
    struct buf text = {0};

    if (t->options->json) {
        cli_print_json(t->maps[t->now], stdout);
        fputc('\n', stdout);
        fflush(stdout);
        return;
    }
    cli_top_put(t->maps[t->now], t->maps[before],
                (double)(t->at_ms[t->now] - t->at_ms[before]) / 1000, t->sort, &text);
    if (t->is_terminal) {
        put_keys(&text, t->sort, t->is_held);
        draw(buf_view(&text));
    } else {
        printf("%.*s\n", (int)text.len, (const char *)text.data);
    }
    fflush(stdout);
    buf_free(&text);
}

static bool take_sort(struct top *t, char key)
{
    for (size_t i = 0; i < SORT_COUNT; i++)
        if (sort_words[i][0] == key) {
            t->sort = (enum cli_top_sort)i;
            return true;
        }
    return false;
}

/* Wait until the next request is due; handle keys meanwhile. */
static void rest(struct top *t)
{
    int64_t until_ms = t->at_ms[t->now] + LOOK_MS, left_ms;

    while (!t->is_over && !is_interrupted &&
           ((left_ms = until_ms - clock_mono_ms()) > 0 || t->is_held)) {
        struct pollfd keys = {.fd = t->is_terminal ? STDIN_FILENO : -1, .events = POLLIN};
        char key = 0;
        if (poll(&keys, 1, t->is_held ? -1 : (int)left_ms) <= 0)
            continue;
        t->is_over = read(STDIN_FILENO, &key, 1) <= 0 || key == 'q' || key == 'Q';
        if (key == ' ')
            t->is_held = !t->is_held;
        if (key == ' ' || take_sort(t, key))
            show(t);
    }
}

/* ---- looking ----------------------------------------------------------------------------- */

static enum err look(struct top *t)
{
    unsigned at = 1 - t->now, ticket;
    struct cli_answer got = {.is_part = true};

    t->messages[at].len = 0;
    enum err e =
        cli_client_send(t->client, t->options->request, t->options->timeout_ms, &ticket, &t->fault);
    while (e == ERR_OK && got.is_part)
        e = cli_client_receive(t->client, t->options->timeout_ms, &t->messages[at], &got,
                               &t->fault);
    if (e != ERR_OK)
        return e;
    term map = term_is(term_element(got.term, 0), "ok") ? term_element(got.term, 1) : NULL;
    if (map == NULL || term_type(map) != TERM_MAP)
        return fault_fail(&t->fault, ERR_INVALID, NULL,
                          "its status is not one this program knows; use the program of its "
                          "version");
    t->maps[at] = map;
    t->at_ms[at] = clock_mono_ms();
    t->now = at;
    return ERR_OK;
}

/* Where each answer is printed, the first serves only for the rates of the second. */
static enum err follow(struct top *t)
{
    int64_t looks = t->options->looks > 0 ? t->options->looks : t->is_terminal ? INT64_MAX : 1;
    enum err e = look(t);

    while (e == ERR_OK && looks > 0) {
        if (t->is_terminal)
            show(t);
        rest(t);
        if (t->is_over || is_interrupted)
            break;
        e = look(t);
        looks--;
        if (e == ERR_OK && !t->is_terminal)
            show(t);
    }
    return e;
}

int cli_top_run(const char *store_dir, const struct cli_top_options *options)
{
    struct top t = {.options = options};

    enum err e = cli_client_open(store_dir, options->timeout_ms, &t.client, &t.fault);
    if (e == ERR_OK) {
        enter(&t);
        e = follow(&t);
        leave(&t);
    }
    if (e != ERR_OK && !is_interrupted)
        cli_print_absent(store_dir, &t.fault, stderr);
    cli_client_close(t.client);
    buf_free(&t.messages[0]);
    buf_free(&t.messages[1]);
    return e == ERR_OK || is_interrupted ? CLI_DONE : CLI_ABSENT;
}
