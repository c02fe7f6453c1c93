/*
 * cli_rebuild.c - rebuilds documents from a file of event history, through a running sidecar.
 *
 * The happy path: entities (cli_history) become requests {project, ...} with reset and force, up
 * to BATCH_ENTITIES of them a batch; up to WINDOW batches are under way, so that reading,
 * transport and the sidecar's disk overlap.  Live writes go on beside it: what the sidecar knows
 * to be newer is skipped (unless_ahead).
 *
 * What can go wrong:
 *   a bad line, a refused entity   told with its line, counted, the rest goes on; status 1
 *   busy, draining, a full disk    those entities wait (doubling) and are sent again
 *   no answer, the connection ends the end, with the line to go on from (--from-line); status 3
 *   SIGINT, SIGTERM                what is under way is waited for, then the same; status 1
 * An entity sent twice is rebuilt twice, which does no harm.
 *
 * One thread.
 */

#include "cli/cli_rebuild.h"

#include "cli/cli.h"
#include "cli/cli_client.h"
#include "cli/cli_history.h"
#include "cli/cli_print.h"
#include "ground/backoff.h"
#include "ground/buf.h"
#include "ground/clock.h"
#include "term/term.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define WINDOW         4       /* batches under way */
#define BATCH_ENTITIES 256     /* in one of them */
#define BATCH_BYTES    1048576 /* or so, together */
#define REST_MIN_MS    50
#define REST_MAX_MS    2000
#define BAR_MS         200   /* between two updates of the bar */
#define LINE_MS        10000 /* between two lines, where there is no terminal */
#define BAR_CELLS      24
#define TOLD_MAX       1000 /* refusals reported one by one */

struct entry {
    size_t at, len; /* of its request */
    uint64_t line;
};

struct batch {
    struct buf requests;
    struct entry entries[BATCH_ENTITIES];
    size_t count; /* 0: the batch is free */
    bool is_out;
    unsigned ticket;
};

struct rebuild {
    const struct cli_rebuild_options *options;
    struct cli_client *client;
    struct cli_history *history;
    struct batch batches[WINDOW];
    uint64_t size_bytes; /* of the file; 0: unknown */
    uint64_t written, skipped, failed;
    uint64_t read; /* and not sent, with --dry-run */
    bool is_at_end;
    enum err broken; /* why the sidecar cannot be asked any more; ERR_OK: it can */
    int64_t rest_ms, moved_at_ms;
    /* what is shown */
    int64_t started_ms, shown_ms;
    bool is_terminal, has_bar;
};

static volatile sig_atomic_t is_stopped;

static void on_signal(int number)
{
    (void)number;
    is_stopped = 1;
}

/* ---- what is shown ------------------------------------------------------------------ */

static uint64_t done(const struct rebuild *r)
{
    return r->written + r->skipped + r->read + r->failed;
}

static double seconds(const struct rebuild *r)
{
    int64_t ms = clock_mono_ms() - r->started_ms;

    return (double)(ms > 0 ? ms : 1) / 1000;
}

/* "[=====>    ] 41%", as far as the size is known. */
static void put_bar(const struct rebuild *r, double share)
{
    int cells = (int)(share * BAR_CELLS);

    if (r->is_terminal) {
        fputs("\r\033[K[", stderr);
        for (int i = 0; i < BAR_CELLS; i++)
            fputc(i < cells ? '=' : i == cells ? '>' : ' ', stderr);
        fputs("] ", stderr);
    }
    fprintf(stderr, "%d%% ", (int)(share * 100));
}

static void show(struct rebuild *r)
{
    double s = seconds(r), share = 0;

    if (r->size_bytes > 0) {
        share = (double)cli_history_bytes(r->history) / (double)r->size_bytes;
        put_bar(r, share < 1 ? share : 1);
    } else if (r->is_terminal) {
        fputs("\r\033[K", stderr);
    }
    fprintf(stderr, "%llu entities, %.0f/s", (unsigned long long)done(r), (double)done(r) / s);
    if (r->failed > 0)
        fprintf(stderr, ", %llu failed", (unsigned long long)r->failed);
    if (share > 0 && share < 1)
        fprintf(stderr, ", %.0f s left", s / share - s);
    if (!r->is_terminal)
        fputc('\n', stderr);
    r->has_bar = r->is_terminal;
    r->shown_ms = clock_mono_ms();
}

static void show_if_due(struct rebuild *r)
{
    if (clock_mono_ms() - r->shown_ms >= (r->is_terminal ? BAR_MS : LINE_MS))
        show(r);
}

/* A message must not follow the bar on its line. */
static void end_bar(struct rebuild *r)
{
    if (r->has_bar)
        fputc('\n', stderr);
    r->has_bar = false;
}

/* Count a failure; whether to report it. */
static bool count_failure(struct rebuild *r)
{
    r->failed++;
    if (r->failed > TOLD_MAX + 1)
        return false;
    end_bar(r);
    if (r->failed == TOLD_MAX + 1)
        fputs("convex_sidecar rebuild: more failures are only counted\n", stderr);
    return r->failed <= TOLD_MAX;
}

static void refuse_line(struct rebuild *r, uint64_t line, const char *why)
{
    if (!count_failure(r))
        return;
    fprintf(stderr, "line %llu: ", (unsigned long long)line);
    cli_print_text(slice_str(why), stderr);
    fputc('\n', stderr);
}

/* ---- batches ------------------------------------------------------------------------ */

static void put_flag(struct buf *b, const char *name)
{
    term_put_atom(b, name);
    term_put_bool(b, true);
}

static void put_options(const struct rebuild *r, struct buf *b, int64_t events_before)
{
    bool lower = r->options->lower, counts = events_before > 0;

    term_put_map(b, (uint32_t)(3 + !lower + counts));
    term_put_atom(b, "return");
    term_put_atom(b, "none"); /* skips are reported all the same */
    put_flag(b, "reset");
    put_flag(b, "force");
    if (!lower)
        put_flag(b, "unless_ahead");
    if (counts) {
        term_put_atom(b, "events_before");
        term_put_integer(b, events_before);
    }
}

static void add_entity(struct rebuild *r, struct batch *batch, const struct cli_entity *entity)
{
    struct buf *b = &batch->requests;
    size_t at = b->len;

    term_put_tuple(b, 6);
    term_put_atom(b, "project");
    term_put_binary(b, entity->kind);
    term_put_binary(b, entity->id);
    term_put_raw(b, entity->row);
    if (entity->event.len > 0) {
        term_put_list(b, 1);
        term_put_raw(b, entity->event);
    }
    term_put_nil(b);
    put_options(r, b, entity->event_count - 1);
    batch->entries[batch->count++] = (struct entry){at, b->len - at, entity->line};
}

static void fill(struct rebuild *r, struct batch *batch)
{
    struct cli_entity entity;
    struct fault fault;
    uint64_t line;

    batch->requests.len = 0;
    while (!r->is_at_end && batch->count < BATCH_ENTITIES && batch->requests.len < BATCH_BYTES) {
        enum err e =
            is_stopped ? ERR_NOT_FOUND : cli_history_next(r->history, &entity, &line, &fault);
        if (e == ERR_OK)
            add_entity(r, batch, &entity);
        else if (e == ERR_NOT_FOUND)
            r->is_at_end = true;
        else
            refuse_line(r, line, fault.why);
        r->is_at_end = r->is_at_end || e == ERR_SYSTEM;
        show_if_due(r);
    }
}

/* The sidecar cannot be asked any more. */
static void fall_silent(struct rebuild *r, enum err e, const char *why)
{
    end_bar(r);
    fputs("convex_sidecar rebuild: ", stderr);
    cli_print_text(slice_str(why), stderr);
    fputc('\n', stderr);
    r->broken = e;
}

static void send_batch(struct rebuild *r, struct batch *batch)
{
    struct buf request = {0};
    struct fault fault = {0};

    term_put_tuple(&request, 2);
    term_put_atom(&request, "batch");
    term_put_list(&request, (uint32_t)batch->count);
    for (size_t i = 0; i < batch->count; i++)
        term_put_raw(&request,
                     slice_of(batch->requests.data + batch->entries[i].at, batch->entries[i].len));
    term_put_nil(&request);
    enum err e = cli_client_send(r->client, buf_view(&request), r->options->timeout_ms,
                                 &batch->ticket, &fault);
    buf_free(&request);
    batch->is_out = e == ERR_OK;
    if (e != ERR_OK)
        fall_silent(r, e, fault.why);
}

/* ---- answers ------------------------------------------------------------------------ */

/* Whether {error, Reason} may become {ok, ...} when it is asked again. */
static bool is_passing(term reply)
{
    term reason = term_element(reply, 1);

    return reason != NULL && (term_is(reason, "busy") || term_is(reason, "draining") ||
                              term_is(term_element(reason, 0), "store"));
}

static void refuse_entity(struct rebuild *r, const struct batch *batch, size_t i, term reply)
{
    term request = batch->requests.data + batch->entries[i].at;

    if (!count_failure(r))
        return;
    fprintf(stderr, "line %llu: ", (unsigned long long)batch->entries[i].line);
    cli_print_text(term_text(term_element(request, 1)), stderr);
    fputc(' ', stderr);
    cli_print_text(term_text(term_element(request, 2)), stderr);
    fputs(": ", stderr);
    if (!term_is(term_element(reply, 0), "error"))
        fputs("the answer is not one of the protocol\n", stderr);
    else
        cli_print_answer(reply, false, stdout, stderr);
}

/* Whether the entry has to be sent again. */
static bool take_reply(struct rebuild *r, const struct batch *batch, size_t i, term reply)
{
    if (term_is(reply, "ok")) {
        r->written++;
        return false;
    }
    if (term_is(term_element(reply, 0), "ok")) {
        if (term_is_text(term_get(term_element(reply, 1), "write"), "skipped"))
            r->skipped++;
        else
            r->written++;
        return false;
    }
    if (is_passing(reply))
        return true;
    refuse_entity(r, batch, i, reply);
    return false;
}

static void take_answer(struct rebuild *r, struct batch *batch, term answer)
{
    term replies = term_element(answer, 1);
    bool is_ok = term_is(term_element(answer, 0), "ok") && replies != NULL &&
                 term_type(replies) == TERM_LIST && term_arity(replies) == batch->count;
    term reply = is_ok ? term_items(replies) : answer;
    size_t left = 0, count = batch->count;

    batch->is_out = false;
    for (size_t i = 0; i < count; i++) {
        if (take_reply(r, batch, i, reply))
            batch->entries[left++] = batch->entries[i];
        reply = is_ok && i + 1 < count ? term_next(reply) : reply;
    }
    batch->count = left;
    if (left < count)
        r->moved_at_ms = clock_mono_ms();
    r->rest_ms = left == 0 ? 0 : backoff_next(r->rest_ms, REST_MIN_MS, REST_MAX_MS);
}

static void receive(struct rebuild *r)
{
    struct buf message = {0};
    struct fault fault = {0};
    struct cli_answer got;

    enum err e = cli_client_receive(r->client, r->options->timeout_ms, &message, &got, &fault);
    if (e != ERR_OK)
        fall_silent(r, e, fault.why);
    for (size_t i = 0; e == ERR_OK && i < WINDOW; i++)
        if (r->batches[i].is_out && r->batches[i].ticket == got.ticket)
            take_answer(r, &r->batches[i], got.term);
    buf_free(&message);
}

/* ---- the whole ---------------------------------------------------------------------- */

/* After busy: a pause before the next batch. */
static void rest(struct rebuild *r)
{
    struct timespec pause = {r->rest_ms / 1000, r->rest_ms % 1000 * 1000000};

    if (r->rest_ms == 0)
        return;
    nanosleep(&pause, NULL); /* a signal ends it early */
    if (clock_mono_ms() - r->moved_at_ms > r->options->timeout_ms)
        fall_silent(r, ERR_BUSY, "the sidecar has taken nothing for too long; see its status");
}

/* Send what can be sent; how many batches are under way then. */
static size_t send_all(struct rebuild *r)
{
    size_t out = 0;

    for (size_t i = 0; i < WINDOW && r->broken == ERR_OK; i++) {
        struct batch *batch = &r->batches[i];
        if (!batch->is_out && batch->count == 0)
            fill(r, batch);
        if (!batch->is_out && batch->count > 0)
            send_batch(r, batch);
        out += batch->is_out;
    }
    return out;
}

static void work(struct rebuild *r)
{
    while (r->broken == ERR_OK && send_all(r) > 0) {
        receive(r);
        if (r->broken == ERR_OK)
            rest(r);
        show_if_due(r);
    }
}

/* With --dry-run: read the whole file, and send nothing. */
static void read_all(struct rebuild *r)
{
    struct batch *batch = &r->batches[0];

    while (!r->is_at_end) {
        fill(r, batch);
        r->read += batch->count;
        batch->count = 0;
    }
}

/* The first line whose entity is not known to be taken. */
static uint64_t line_to_go_on_from(const struct rebuild *r)
{
    uint64_t line = cli_history_line(r->history);

    for (size_t i = 0; i < WINDOW; i++)
        for (size_t k = 0; k < r->batches[i].count; k++)
            if (r->batches[i].entries[k].line < line)
                line = r->batches[i].entries[k].line;
    return line;
}

static void summarize(const struct rebuild *r)
{
    unsigned long long all = done(r), written = r->written, skipped = r->skipped,
                       failed = r->failed;

    if (r->options->dry_run && r->options->json)
        printf("{\"entities\":%llu,\"would_send\":%llu,\"failed\":%llu}\n", all,
               (unsigned long long)r->read, failed);
    else if (r->options->dry_run)
        printf("%llu entities would be sent, %llu failed; nothing was sent\n",
               (unsigned long long)r->read, failed);
    else if (r->options->json)
        printf("{\"entities\":%llu,\"written\":%llu,\"skipped\":%llu,\"failed\":%llu,"
               "\"seconds\":%.3f}\n",
               all, written, skipped, failed, seconds(r));
    else
        printf("%llu entities in %.1f s (%.0f/s): %llu written, %llu skipped (the sidecar has "
               "newer ones), %llu failed\n",
               all, seconds(r), (double)all / seconds(r), written, skipped, failed);
}

static int finish(struct rebuild *r)
{
    bool is_whole = r->broken == ERR_OK && !is_stopped;

    show(r);
    end_bar(r);
    if (!is_whole)
        fprintf(stderr, "convex_sidecar rebuild: not at the end; go on with --from-line %llu\n",
                (unsigned long long)line_to_go_on_from(r));
    summarize(r);
    if (fflush(stdout) != 0)
        return CLI_ERROR;
    if (r->broken != ERR_OK)
        return CLI_ABSENT;
    return r->failed > 0 || !is_whole ? CLI_ERROR : CLI_DONE;
}

static int open_history(const char *path, uint64_t *size_bytes)
{
    struct stat s;
    int fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        fprintf(stderr, "convex_sidecar rebuild: %s: %s\n", path, strerror(errno));
    *size_bytes = fd >= 0 && fstat(fd, &s) == 0 && S_ISREG(s.st_mode) ? (uint64_t)s.st_size : 0;
    return fd;
}

/* An orderly end; a second signal ends it at once. */
static void watch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

    is_stopped = 0;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

int cli_rebuild_run(const char *store_dir, const struct cli_rebuild_options *options)
{
    struct rebuild *r = base_alloc(sizeof *r);
    struct fault fault = {0};
    int status = CLI_ERROR, fd = open_history(options->path, &r->size_bytes);

    r->options = options;
    r->started_ms = r->shown_ms = r->moved_at_ms = clock_mono_ms();
    r->is_terminal = isatty(STDERR_FILENO);
    if (fd < 0)
        goto out;
    if (!options->dry_run &&
        cli_client_open(store_dir, options->timeout_ms, &r->client, &fault) != ERR_OK) {
        cli_print_absent(store_dir, &fault, stderr);
        status = CLI_ABSENT;
        goto out;
    }
    watch_signals();
    r->history = cli_history_open(fd, options->first_line, &is_stopped);
    if (options->dry_run)
        read_all(r);
    else
        work(r);
    status = finish(r);
    for (size_t i = 0; i < WINDOW; i++)
        buf_free(&r->batches[i].requests);
    cli_history_close(r->history);
    cli_client_close(r->client);
out:
    if (fd > STDIN_FILENO)
        close(fd);
    free(r);
    return status;
}
