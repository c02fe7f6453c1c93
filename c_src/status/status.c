/*
 * status.c - how the sidecar stands, as one map.
 *
 * The map is built as a term; the JSON form is made from that term, so the two
 * cannot differ.  Everything is read from atomics or copied under a short lock,
 * so that looking never waits for disk or network.
 *
 * Any thread.
 */

#include "status/status.h"

#include "delivery/dispatch.h"
#include "dist/dist.h"
#include "ground/metrics.h"
#include "ground/time_text.h"
#include "intake/control.h"
#include "json/json.h"
#include "outbox/outbox.h"
#include "term/term.h"

#include <unistd.h>

static void put_text(struct buf *b, const char *key, const char *value)
{
    term_put_atom(b, key);
    term_put_text(b, value);
}

static void put_time(struct buf *b, const char *key, int64_t us)
{
    char text[32];

    time_text_put(us, text);
    put_text(b, key, text);
}

static void put_flag(struct buf *b, const char *key, bool value)
{
    term_put_atom(b, key);
    term_put_bool(b, value);
}

static void put_metrics(struct buf *b)
{
    term_put_atom(b, "metrics");
    term_put_map(b, METRIC_COUNT);
    for (int m = 0; m < METRIC_COUNT; m++) {
        term_put_atom(b, metric_name((enum metric)m));
        term_put_integer(b, (int64_t)metric_get((enum metric)m));
    }
}

/* What the deployed functions said of themselves last. */
static void put_peer(struct buf *b, const struct sink_peer *peer)
{
    term_put_atom(b, "functions");
    term_put_integer(b, peer->functions);
    put_text(b, "deployment", peer->deployment);
    term_put_atom(b, "mark");
    term_put_integer(b, peer->mark > 0 ? peer->mark : 0);
}

void status_put_term(const struct status *s, struct buf *b)
{
    struct dispatch_status d;

    dispatch_status(s->dispatch, &d);
    term_put_map(b, 19);
    put_text(b, "node", s->node);
    put_text(b, "version", SIDECAR_VERSION);
    term_put_atom(b, "pid");
    term_put_integer(b, getpid());
    put_time(b, "started_at", s->started_us);
    put_text(b, "state", dispatch_state_text(d.state));
    put_text(b, "why", d.why);
    put_text(b, "next", s->next);
    put_time(b, "since", d.since_us);
    put_text(b, "sink", s->sink);
    put_flag(b, "batching", s->batch_mutation[0] != '\0');
    put_text(b, "batch_mutation", s->batch_mutation);
    put_peer(b, &d.peer);
    put_text(b, "store", s->store);
    put_flag(b, "draining", control_is_draining(s->control));
    put_flag(b, "published", s->dist && dist_is_published(s->dist));
    put_flag(b, "store_ok", outbox_is_well(s->outbox));
    put_metrics(b);
}

void status_put_json(const struct status *s, struct buf *b)
{
    struct buf map = {0};
    struct fault fault;

    status_put_term(s, &map);
    enum err e = json_put_term(b, map.data, JSON_SHOWN, NULL, &fault);
    POST(e == ERR_OK);
    buf_free(&map);
}

bool status_is_ready(const struct status *s, struct buf *why)
{
    struct dispatch_status d;

    dispatch_status(s->dispatch, &d);
    if (!outbox_is_well(s->outbox))
        buf_str(why, "the store fails: nothing is taken\n");
    if (control_is_draining(s->control))
        buf_str(why, "draining: nothing new is taken\n");
    if (s->dist == NULL || !dist_is_published(s->dist))
        buf_str(why, "epmd does not have the node's name: BEAM nodes cannot connect\n");
    if (d.state == DISPATCH_STOPPED)
        buf_printf(why, "delivery is stopped: %s%s%s\n", d.why, *s->next ? "; " : "", s->next);
    return why->len == 0;
}
