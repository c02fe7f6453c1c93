/*
 * cli_history.c - event history as JSON lines, entity by entity.
 *
 * The happy path: a line with a row begins an entity, the lines of the same kind and id without a
 * row that follow it bring more events.  Of the events only what a fold needs is kept: their
 * number, and the last one; so a history of any length takes the memory of one line.  To know that
 * an entity is complete, the line after it is read ahead.
 *
 * What can go wrong: a line is not JSON, is too long, or lacks a key; its events have a gap; it
 * continues no entity; or its writer said that more follows, and nothing does (a truncated file).
 * The line is named, its entity is left out, further lines of that entity are skipped, and reading
 * goes on.
 *
 * One thread, blocking reads.
 */

#include "cli/cli_history.h"

#include "json/json_read.h"
#include "term/term.h"

#include <errno.h>
#include <unistd.h>

#define LINE_BYTES  33554432 /* of one line: a row of a MiB and 100,000 events are less */
#define BLOCK_BYTES 65536

/* A line as it was read. */
struct line {
    uint64_t number;
    struct buf encoded; /* the terms below lie in it */
    term row, events;   /* NULL: it has none */
    struct slice kind, id;
    bool more;
};

struct cli_history {
    int fd;
    const volatile sig_atomic_t *stop;
    uint64_t first_line, untaken_line, number, bytes;
    /* what is read and not yet a line */
    uint8_t block[BLOCK_BYTES];
    size_t at, have;
    struct buf text;
    /* the line that is read ahead: read is the outcome */
    bool is_ahead;
    enum err ahead;
    struct line line;
    struct fault line_fault;
    /* the entity being read; after a failure, the one being skipped */
    struct buf kind, id, row, event;
    int64_t event_count, last_seq;
    bool more, is_passed_over;
};

struct cli_history *cli_history_open(int fd, uint64_t first_line, const volatile sig_atomic_t *stop)
{
    struct cli_history *h = base_alloc(sizeof *h);

    h->fd = fd;
    h->first_line = h->untaken_line = first_line;
    h->stop = stop;
    return h;
}

void cli_history_close(struct cli_history *h)
{
    if (h == NULL)
        return;
    buf_free(&h->event);
    buf_free(&h->row);
    buf_free(&h->id);
    buf_free(&h->kind);
    buf_free(&h->line.encoded);
    buf_free(&h->text);
    free(h);
}

uint64_t cli_history_bytes(const struct cli_history *h)
{
    return h->bytes;
}

uint64_t cli_history_line(const struct cli_history *h)
{
    return h->untaken_line;
}

/* ---- lines --------------------------------------------------------------------- */

/* ERR_NOT_FOUND: the end. */
static enum err fill_block(struct cli_history *h, struct fault *fault)
{
    ssize_t n;

    do
        n = read(h->fd, h->block, sizeof h->block);
    while (n < 0 && errno == EINTR && !*h->stop);
    if (n < 0 && errno != EINTR)
        return fault_fail(fault, ERR_SYSTEM, NULL, "it can't be read: %s", strerror(errno));
    h->at = 0;
    h->have = n > 0 ? (size_t)n : 0;
    return n > 0 ? ERR_OK : ERR_NOT_FOUND;
}

/* Take bytes up to a newline off the block; whether there was one. */
static bool take_bytes(struct cli_history *h, bool *is_long)
{
    const uint8_t *from = h->block + h->at;
    const uint8_t *end = memchr(from, '\n', h->have - h->at);
    size_t len = end != NULL ? (size_t)(end - from) : h->have - h->at;

    if (h->text.len + len > LINE_BYTES)
        *is_long = true;
    if (!*is_long)
        buf_add(&h->text, from, len);
    h->at += len + (end != NULL);
    h->bytes += len + (end != NULL);
    return end != NULL;
}

/* The next line into h->text. */
static enum err read_text(struct cli_history *h, struct fault *fault)
{
    uint64_t start = h->bytes;
    bool is_long = false, is_whole = false;

    h->text.len = 0;
    while (!is_whole) {
        enum err e = h->at < h->have ? ERR_OK : fill_block(h, fault);
        if (e == ERR_NOT_FOUND && h->bytes > start && !*h->stop)
            break; /* the last line has no newline */
        if (e != ERR_OK)
            return e;
        is_whole = take_bytes(h, &is_long);
    }
    h->number++;
    return is_long ? fault_say(fault, NULL, "it is longer than 32 MiB") : ERR_OK;
}

static bool is_blank(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] != ' ' && text.data[i] != '\t' && text.data[i] != '\r')
            return false;
    return true;
}

static bool take_name(term value, struct slice *name)
{
    bool is_name = value != NULL && term_type(value) == TERM_BINARY && term_text(value).len > 0;

    *name = is_name ? term_text(value) : slice_of("", 0);
    return is_name;
}

static enum err parse_line(struct line *l, struct slice text, struct fault *fault)
{
    l->encoded.len = 0;
    enum err e = json_read_term(&l->encoded, text, fault);
    if (e != ERR_OK)
        return e;
    term whole = l->encoded.data;
    if (term_type(whole) != TERM_MAP)
        return fault_say(fault, NULL, "it is no object");
    if (!take_name(term_get(whole, "kind"), &l->kind) || !take_name(term_get(whole, "id"), &l->id))
        return fault_say(fault, NULL, "\"kind\" and \"id\" must be there, as text");
    l->row = term_get(whole, "row");
    l->events = term_get(whole, "events");
    l->more = term_is(term_get(whole, "more"), "true");
    if (l->row != NULL && term_type(l->row) != TERM_MAP)
        return fault_say(fault, NULL, "\"row\" must be an object");
    if (l->events != NULL && term_type(l->events) != TERM_NIL && term_type(l->events) != TERM_LIST)
        return fault_say(fault, NULL, "\"events\" must be an array");
    return ERR_OK;
}

/* Read ahead, unless that is done. */
static void look_ahead(struct cli_history *h)
{
    if (h->is_ahead)
        return;
    h->is_ahead = true;
    do {
        h->line_fault = (struct fault){0};
        h->ahead = read_text(h, &h->line_fault);
    } while (h->ahead == ERR_OK && (h->number < h->first_line || is_blank(buf_view(&h->text))));
    h->line.number = h->number + (h->ahead == ERR_NOT_FOUND || h->ahead == ERR_SYSTEM);
    if (h->ahead == ERR_OK)
        h->ahead = parse_line(&h->line, buf_view(&h->text), &h->line_fault);
}

/* ---- entities -------------------------------------------------------------------- */

static void set(struct buf *b, struct slice bytes)
{
    b->len = 0;
    buf_slice(b, bytes);
}

/* Whether the line ahead is one more of the entity at hand. */
static bool continues(const struct cli_history *h)
{
    return h->ahead == ERR_OK && h->line.row == NULL &&
           slice_eq(h->line.kind, buf_view(&h->kind)) && slice_eq(h->line.id, buf_view(&h->id));
}

static enum err take_event(struct cli_history *h, uint32_t i, term event, struct fault *fault)
{
    term at = term_get(event, "inserted_at"), type = term_get(event, "event_type");
    term t = term_get(event, "seq");
    int64_t seq;

    if (t == NULL || !term_integer(t, &seq) || seq < 1)
        return fault_say(fault, NULL, "events[%u]: it has no \"seq\" from 1 on", i);
    if (type == NULL || term_type(type) != TERM_BINARY)
        return fault_say(fault, NULL, "events[%u]: its \"event_type\" is no text", i);
    if (at != NULL && term_type(at) != TERM_BINARY && !term_is_nil_atom(at))
        return fault_say(fault, NULL, "events[%u]: its \"inserted_at\" is neither text nor null",
                         i);
    if (h->event_count > 0 && seq != h->last_seq + 1)
        return fault_say(fault, NULL, "events[%u]: after event %lld comes %lld", i,
                         (long long)h->last_seq, (long long)seq);
    h->last_seq = seq;
    h->event_count++;
    return ERR_OK;
}

/* Take the events of the line ahead, and so the line. */
static enum err take_events(struct cli_history *h, struct fault *fault)
{
    term events = h->line.events, event = NULL, last = NULL;
    uint32_t count = events != NULL ? term_arity(events) : 0;
    enum err e = ERR_OK;

    h->is_ahead = false;
    h->more = h->line.more;
    for (uint32_t i = 0; e == ERR_OK && i < count; i++) {
        last = event = i == 0 ? term_items(events) : term_next(event);
        e = take_event(h, i, event, fault);
    }
    if (last != NULL)
        set(&h->event, term_raw(last));
    return e;
}

/* The line ahead begins an entity. */
static enum err begin(struct cli_history *h, struct fault *fault)
{
    set(&h->kind, h->line.kind);
    set(&h->id, h->line.id);
    if (h->line.row == NULL) {
        h->is_ahead = false;
        return fault_say(fault, NULL, "it has no \"row\", and continues no line before it");
    }
    set(&h->row, term_raw(h->line.row));
    h->event.len = 0;
    h->event_count = h->last_seq = 0;
    return take_events(h, fault);
}

/* The entity that begins with the line ahead; ${line} is the last one taken. */
static enum err gather(struct cli_history *h, uint64_t *line, struct fault *fault)
{
    enum err e = begin(h, fault);

    for (look_ahead(h); e == ERR_OK && continues(h); look_ahead(h)) {
        *line = h->line.number;
        e = take_events(h, fault);
    }
    if (e == ERR_OK && h->more)
        e = fault_say(fault, NULL, "it says that more follows, and nothing does");
    return e;
}

/* Lines that cannot be read count as taken: they were reported. */
static enum err take_next(struct cli_history *h, struct cli_entity *entity, uint64_t *line,
                          struct fault *fault)
{
    if (h->ahead != ERR_OK) {
        h->is_ahead = h->ahead != ERR_INVALID; /* the end stays the end */
        *fault = h->line_fault;
        return h->ahead;
    }
    *fault = (struct fault){0};
    enum err e = gather(h, line, fault);
    if (h->ahead == ERR_NOT_FOUND && *h->stop)
        return ERR_NOT_FOUND; /* it may be incomplete */
    h->is_passed_over = e != ERR_OK;
    entity->kind = buf_view(&h->kind);
    entity->id = buf_view(&h->id);
    entity->row = buf_view(&h->row);
    entity->event = buf_view(&h->event);
    entity->event_count = h->event_count;
    return e;
}

enum err cli_history_next(struct cli_history *h, struct cli_entity *entity, uint64_t *line,
                          struct fault *fault)
{
    for (look_ahead(h); h->is_passed_over && continues(h); look_ahead(h))
        h->is_ahead = false;
    h->is_passed_over = false;
    entity->line = *line = h->line.number;
    enum err e = take_next(h, entity, line, fault);
    if (e == ERR_OK || e == ERR_INVALID)
        h->untaken_line = h->is_ahead ? h->line.number : h->number + 1;
    return e;
}
