/*
 * cli_import.c - store import: an export's lines as ordinary messages.
 *
 * The happy path: the file is read once to see that it is whole (its last line says how many there
 * are), then again: documents go in batches, removals one by one, each with unless_newer, so that
 * nothing replaces what the sidecar knows to be newer.
 *
 * What can go wrong: the file is truncated, or not an export (reported before anything is sent); a
 * line breaks a rule, or the sidecar refuses it (the first 20 are named by their line); the
 * sidecar takes nothing for a while (retried), or is gone (the import ends, and can be repeated).
 *
 * One thread, one call at a time.
 */

#include "cli/cli_import.h"

#include "cli/cli.h"
#include "cli/cli_client.h"
#include "cli/cli_print.h"
#include "ground/backoff.h"
#include "ground/buf.h"
#include "ground/clock.h"
#include "json/json_read.h"
#include "term/term.h"

#include <errno.h>
#include <inttypes.h>
#include <time.h>

#define BATCH_LINES 1000
#define BATCH_BYTES ((size_t)1 << 20)
#define LINE_BYTES  ((size_t)16 << 20)
#define TOLD_MAX    20
#define REST_MIN_MS 10
#define REST_MAX_MS 1000

struct entry {
    size_t at, len; /* its request */
    uint64_t line;
};

struct import {
    const char *path;
    FILE *in;
    struct cli_client *client;
    int64_t timeout_ms, moved_at_ms, rest_ms;
    char *text; /* the line that was read */
    size_t text_room;
    struct buf term; /* it as a term */
    uint64_t line;   /* its number */
    struct buf requests;
    struct entry entries[BATCH_LINES];
    size_t count;
    uint64_t kept, skipped, refused;
    enum err broken;
};

/* ---- the file --------------------------------------------------------------------- */

/* The next line as a map; ERR_NOT_FOUND: there is none. */
static enum err read_line(struct import *m, term *map, struct fault *fault)
{
    errno = 0;
    ssize_t n = getline(&m->text, &m->text_room, m->in);

    if (n < 0)
        return errno == 0 ? ERR_NOT_FOUND
                          : fault_fail(fault, ERR_SYSTEM, m->path, "%s", strerror(errno));
    m->line++;
    if ((size_t)n > LINE_BYTES)
        return fault_say(fault, NULL, "is longer than 16 MiB");
    m->term.len = 0;
    enum err e = json_read_term(&m->term, slice_of(m->text, (size_t)n), fault);
    *map = m->term.data;
    if (e == ERR_OK && term_type(*map) != TERM_MAP)
        e = fault_say(fault, NULL, "is no object");
    return e;
}

/* Whether the file is an export, from its first line to its last. */
static enum err check_whole(struct import *m, struct fault *fault)
{
    int64_t version = 0, lines = -1;
    term map, t;
    enum err e = read_line(m, &map, fault);

    t = e == ERR_OK ? term_get(map, "convex_sidecar_export") : NULL;
    if (t == NULL || !term_integer(t, &version) || version != 1)
        return fault_say(fault, m->path, "is not an export of a sidecar, or of a newer one");
    while (e == ERR_OK || e == ERR_INVALID) {
        e = read_line(m, &map, fault);
        if (e == ERR_OK && term_is(term_get(map, "end"), "true") &&
            (t = term_get(map, "lines")) != NULL && term_integer(t, &lines) &&
            lines == (int64_t)m->line - 2) {
            rewind(m->in);
            m->line = 0;
            return ERR_OK;
        }
    }
    return fault_say(fault, m->path,
                     "was cut: its last line is missing; nothing was sent. Export it again");
}

/* ---- requests --------------------------------------------------------------------- */

static void refuse(struct import *m, uint64_t line, const char *why)
{
    if (++m->refused > TOLD_MAX)
        return;
    fprintf(stderr, "line %" PRIu64 ": ", line);
    cli_print_text(slice_str(why), stderr);
    fputc('\n', stderr);
}

static bool is_text(term t)
{
    return t != NULL && term_type(t) == TERM_BINARY && term_text(t).len > 0;
}

/* {upsert, Kind, Id, Summary, Opts}; false: it lacks something. */
static bool put_upsert(struct buf *b, term map)
{
    term kind = term_get(map, "kind"), id = term_get(map, "document_id");
    term summary = term_get(map, "summary");

    if (!is_text(kind) || !is_text(id) || summary == NULL || term_type(summary) != TERM_MAP)
        return false;
    term_put_tuple(b, 5);
    term_put_atom(b, "upsert");
    term_put_raw(b, term_raw(kind));
    term_put_raw(b, term_raw(id));
    term_put_raw(b, term_raw(summary));
    term_put_map(b, 3);
    term_put_atom(b, "reset");
    term_put_bool(b, term_is(term_get(map, "reset"), "true"));
    term_put_atom(b, "unless_newer");
    term_put_bool(b, true);
    term_put_atom(b, "return");
    term_put_atom(b, "none");
    return true;
}

/* {clear, Id, Opts} */
static bool put_remove(struct buf *b, term map)
{
    term id = term_get(map, "document_id"), time = term_get(map, "projected_at");

    if (!is_text(id) || !is_text(time))
        return false;
    term_put_tuple(b, 3);
    term_put_atom(b, "clear");
    term_put_raw(b, term_raw(id));
    term_put_map(b, 1);
    term_put_atom(b, "unless_newer");
    term_put_raw(b, term_raw(time));
    return true;
}

/* ---- asking ----------------------------------------------------------------------- */

static bool is_passing(term reply)
{
    term reason = term_element(reply, 1);

    return reason != NULL && (term_is(reason, "busy") || term_is(reason, "draining") ||
                              term_is(term_element(reason, 0), "store"));
}

static void refuse_answer(struct import *m, uint64_t line, term reply)
{
    if (++m->refused > TOLD_MAX)
        return;
    fprintf(stderr, "line %" PRIu64 ": ", line);
    cli_print_answer(reply, false, stdout, stderr);
}

/* Whether the entry has to be sent again. */
static bool take_reply(struct import *m, uint64_t line, term reply)
{
    int64_t cleared = 1;
    term body = term_element(reply, 1);

    if (term_is(reply, "ok")) {
        m->kept++;
    } else if (term_is(term_element(reply, 0), "ok")) {
        term n = term_get(body, "cleared");
        bool is_skipped = (n != NULL && term_integer(n, &cleared) && cleared == 0) ||
                          term_is_text(term_get(body, "write"), "skipped");
        m->kept += is_skipped ? 0 : 1;
        m->skipped += is_skipped ? 1 : 0;
    } else if (is_passing(reply)) {
        return true;
    } else {
        refuse_answer(m, line, reply);
    }
    return false;
}

static enum err call(struct import *m, struct slice request, struct buf *message, term *answer)
{
    struct fault fault = {0};
    struct cli_answer a = {0};
    unsigned ticket;
    enum err e = cli_client_send(m->client, request, m->timeout_ms, &ticket, &fault);

    if (e == ERR_OK)
        e = cli_client_receive(m->client, m->timeout_ms, message, &a, &fault);
    *answer = a.term;
    m->broken = e;
    if (e != ERR_OK) {
        fputs("convex_sidecar store import: ", stderr);
        cli_print_text(slice_str(fault.why), stderr);
        fputc('\n', stderr);
    }
    return e;
}

static struct slice request_of(const struct import *m, size_t i)
{
    return slice_of(m->requests.data + m->entries[i].at, m->entries[i].len);
}

/* Send the batch once; entries that the sidecar cannot take now are left. */
static void ask(struct import *m)
{
    struct buf request = {0}, message = {0};
    term answer;
    size_t left = 0;

    term_put_tuple(&request, 2);
    term_put_atom(&request, "batch");
    term_put_list(&request, (uint32_t)m->count);
    for (size_t i = 0; i < m->count; i++)
        term_put_raw(&request, request_of(m, i));
    term_put_nil(&request);
    if (call(m, buf_view(&request), &message, &answer) == ERR_OK) {
        term replies = term_element(answer, 1);
        bool is_ok = term_is(term_element(answer, 0), "ok") && replies != NULL &&
                     term_type(replies) == TERM_LIST && term_arity(replies) == m->count;
        term reply = is_ok ? term_items(replies) : answer;
        for (size_t i = 0; i < m->count; i++) {
            if (take_reply(m, m->entries[i].line, reply))
                m->entries[left++] = m->entries[i];
            reply = is_ok && i + 1 < m->count ? term_next(reply) : reply;
        }
        if (left < m->count)
            m->moved_at_ms = clock_mono_ms();
        m->count = left;
    }
    buf_free(&request);
    buf_free(&message);
}

/* Wait a little; false: it has taken nothing for too long. */
static bool rest(struct import *m)
{
    if (clock_mono_ms() - m->moved_at_ms > m->timeout_ms) {
        fprintf(stderr,
                "convex_sidecar store import: the sidecar has taken nothing for %" PRId64 " s\n",
                m->timeout_ms / 1000);
        m->broken = ERR_BUSY;
        return false;
    }
    m->rest_ms = backoff_next(m->rest_ms, REST_MIN_MS, REST_MAX_MS);
    struct timespec t = {.tv_sec = m->rest_ms / 1000, .tv_nsec = m->rest_ms % 1000 * 1000000};
    nanosleep(&t, NULL);
    return true;
}

static void send_batch(struct import *m)
{
    m->rest_ms = 0;
    m->moved_at_ms = clock_mono_ms();
    while (m->count > 0 && m->broken == ERR_OK) {
        ask(m);
        if (m->count > 0 && m->broken == ERR_OK && !rest(m))
            return;
    }
    m->requests.len = 0;
}

static void send_remove(struct import *m, struct slice request)
{
    struct buf message = {0};
    term answer;

    m->rest_ms = 0;
    m->moved_at_ms = clock_mono_ms();
    while (m->broken == ERR_OK && call(m, request, &message, &answer) == ERR_OK &&
           take_reply(m, m->line, answer) && rest(m))
        ;
    buf_free(&message);
}

/* ---- all of it -------------------------------------------------------------------- */

static void take_line(struct import *m, term map)
{
    term op = term_get(map, "op");
    size_t at = m->requests.len;

    if (term_get(map, "end") != NULL || term_get(map, "convex_sidecar_export") != NULL)
        return;
    if (term_is_text(op, "remove")) {
        struct buf request = {0};
        send_batch(m); /* in the order of the file */
        if (put_remove(&request, map))
            send_remove(m, buf_view(&request));
        else
            refuse(m, m->line, "a removal without document_id or projected_at");
        buf_free(&request);
    } else if (!term_is_text(op, "upsert") || !put_upsert(&m->requests, map)) {
        m->requests.len = at;
        refuse(m, m->line, "neither an upsert with kind, document_id and summary nor a removal");
    } else {
        m->entries[m->count++] = (struct entry){at, m->requests.len - at, m->line};
        if (m->count == BATCH_LINES || m->requests.len >= BATCH_BYTES)
            send_batch(m);
    }
}

static void take_lines(struct import *m, struct fault *fault)
{
    term map;
    enum err e = ERR_OK;

    while (m->broken == ERR_OK && e != ERR_NOT_FOUND && e != ERR_SYSTEM) {
        e = read_line(m, &map, fault);
        if (e == ERR_OK)
            take_line(m, map);
        else if (e == ERR_INVALID)
            refuse(m, m->line, fault->why);
    }
    if (m->broken == ERR_OK)
        send_batch(m);
}

static int complain(const struct fault *fault)
{
    fputs("convex_sidecar store import: ", stderr);
    cli_print_text(slice_str(fault->path), stderr);
    fputs(": ", stderr);
    cli_print_text(slice_str(fault->why), stderr);
    fputc('\n', stderr);
    return CLI_ERROR;
}

static int import(struct import *m, const char *store_dir)
{
    struct fault fault = {0};

    if (check_whole(m, &fault) != ERR_OK)
        return complain(&fault);
    if (cli_client_open(store_dir, m->timeout_ms, &m->client, &fault) != ERR_OK) {
        cli_print_absent(store_dir, &fault, stderr);
        return CLI_ABSENT;
    }
    take_lines(m, &fault);
    cli_client_close(m->client);
    printf("%" PRIu64 " kept, %" PRIu64 " skipped (the sidecar knows something as new), %" PRIu64
           " refused\n",
           m->kept, m->skipped, m->refused);
    return m->broken != ERR_OK ? CLI_ABSENT : m->refused > 0 ? CLI_ERROR : CLI_DONE;
}

int cli_import_run(const char *store_dir, const char *path, int64_t timeout_ms)
{
    struct import *m = base_alloc(sizeof *m);
    struct fault fault = {0};
    int status;

    m->path = path;
    m->timeout_ms = timeout_ms;
    m->in = fopen(path, "re");
    if (m->in == NULL) {
        fault_say(&fault, path, "%s", strerror(errno));
        status = complain(&fault);
    } else {
        status = import(m, store_dir);
        fclose(m->in);
    }
    free(m->text);
    buf_free(&m->term);
    buf_free(&m->requests);
    free(m);
    return status;
}
