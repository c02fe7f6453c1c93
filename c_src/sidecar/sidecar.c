/*
 * sidecar.c - opens all parts and connects them.
 *
 * The happy path: the parts are opened from the store outwards (outbox; sink, dispatch and audit;
 * control, intake and dist; observe; the control socket), and closed in reverse order.  Requests
 * flow
 *
 *     dist -> intake -> outbox -> dispatch -> sink
 *
 * and nothing flows back but answers: the outbox tells intake what is kept, the sink tells dispatch
 * what became of it.  Intake and delivery know nothing of each other; they meet only here, by the
 * functions below that one part calls and another one serves.
 *
 * What can go wrong: a part cannot be opened; those that are open are closed again.
 *
 * Opening and closing: the owner's thread.  Threads of the parts: dist has one to accept and one a
 * BEAM node, the control socket one to accept and one a command; the outbox one, the store thread;
 * dispatch one, the delivery thread; the audit one; libmicrohttpd its own.
 */

#include "sidecar/sidecar.h"

#include "audit/audit.h"
#include "config/config.h"
#include "delivery/dispatch.h"
#include "dist/control_socket.h"
#include "dist/dist.h"
#include "ground/beat.h"
#include "ground/clock.h"
#include "ground/log.h"
#include "ground/metrics.h"
#include "intake/control.h"
#include "intake/intake.h"
#include "intake/sweeps.h"
#include "outbox/outbox.h"
#include "projection/projection.h"
#include "projection/rehash.h"
#include "sidecar/sandbox.h"
#include "sidecar/service.h"
#include "sidecar/sinks.h"
#include "status/changes.h"
#include "status/history.h"
#include "status/observe.h"
#include "status/status.h"
#include "store/crash_mark.h"

#include <unistd.h>

#define SETTLED_MS 60000

/* The open parts; NULL while closed. */
struct sidecar {
    const struct config *config;
    int64_t opened_ms;
    bool is_settled;              /* the start is over (crash_mark_settle) */
    struct dist_session *answers; /* of the store thread */
    struct outbox *outbox;
    _Atomic(struct dispatch *) dispatch; /* the store thread may have work before it is open */
    struct audit *audit;                 /* NULL: the sink cannot be read back */
    struct control *control;
    struct sweeps *sweeps;
    struct changes *changes;
    struct intake *intake;
    struct dist *dist;
    struct control_socket *control_socket;
    struct observe *observe;
    struct history *history;
    struct status status;
    int64_t ticked_ms; /* main's */
};

#define TICK_MAX_MS 2000 /* a longer gap: the whole process stood still */

/* ---- wires between the parts --------------------------------------------------- */

static void wire_work(void *arg)
{
    struct sidecar *s = arg;
    struct dispatch *dispatch = s->dispatch;

    if (dispatch)
        dispatch_wake(dispatch);
}

static void wire_pause(void *arg)
{
    dispatch_pause(((struct sidecar *)arg)->dispatch);
}

static void wire_resume(void *arg)
{
    dispatch_resume(((struct sidecar *)arg)->dispatch);
}

static void wire_reload(void *arg)
{
    dispatch_reload(((struct sidecar *)arg)->dispatch);
}

/* What `adopt` confirms: a sink that delivers nothing, a new deployment that is held, or documents
 * that were confirmed, may be gone, and cannot be projected again. */
static void wire_adopt(void *arg, bool dry_run, char *text)
{
    struct sidecar *s = arg;
    const size_t size = 300;
    struct destination_change change = {0};
    struct destination_known known;
    struct dispatch_status d;

    outbox_destination(s->outbox, &known);
    dispatch_status(s->dispatch, &d);
    snprintf(text, size, "nothing is to be adopted");
    if (outbox_kept_for(s->outbox)->is_withheld && strcmp(known.sink, s->config->sink_type) != 0) {
        change.what = DESTINATION_SINK;
        snprintf(change.sink, sizeof change.sink, "%s", s->config->sink_type);
        snprintf(text, size, "sink %s: what waits here for %s is confirmed to it",
                 s->config->sink_type, known.sink);
    } else if (*d.next) {
        snprintf(text, size, "%.200s: everything is sent there again", sinks_address(s->config));
    } else if (known.has_doubt && known.is_swept) {
        change.what = DESTINATION_BELIEVE;
        snprintf(text, size, "what is left in doubt is believed to stand there");
    }
    if (dry_run)
        return;
    if (change.what != 0)
        outbox_change_destination(s->outbox, &change);
    if (change.what != DESTINATION_BELIEVE)
        dispatch_adopt(s->dispatch);
    log_event(LOG_WARNING, "destination.adopted", "%s", text);
}

static void wire_status(void *arg, struct buf *b)
{
    status_put_term(&((struct sidecar *)arg)->status, b);
}

static void wire_changes(void *arg, struct dist_session *session, struct caller *caller,
                         int64_t seen)
{
    changes_take(((struct sidecar *)arg)->changes, session, caller, seen);
}

static void wire_peers(void *arg, struct buf *b)
{
    status_put_peers(&((struct sidecar *)arg)->status, b);
}

/* A question of explain on its way through delivery. */
struct placing {
    struct dispatch *dispatch;
    explain_placed *placed;
    void *arg;
};

static void on_told(void *arg, const struct dispatch_place *place)
{
    struct placing p = *(struct placing *)arg;
    struct dispatch_status d;

    dispatch_status(p.dispatch, &d);
    const struct explain_place shown = {.endpoint = dispatch_state_text(d.endpoint.state),
                                        .what = place->what,
                                        .why = place->why,
                                        .next_us = place->next_us,
                                        .attempts = place->attempts};
    free(arg);
    p.placed(p.arg, &shown);
}

static void wire_place(void *arg, uint64_t document, explain_placed *placed, void *told_arg)
{
    struct sidecar *s = arg;
    struct placing *p = base_alloc(sizeof *p);

    *p = (struct placing){s->dispatch, placed, told_arg};
    dispatch_look(s->dispatch, document, on_told, p);
}

/* A question of pending on its way through delivery. */
struct listing {
    pending_listed *listed;
    void *arg;
};

static void on_listed(void *arg, const struct dispatch_troubled *items, size_t count)
{
    struct listing l = *(struct listing *)arg;
    struct pending_place *places = base_alloc(count * sizeof *places);

    for (size_t i = 0; i < count; i++)
        places[i] = (struct pending_place){.document = items[i].document,
                                           .no = items[i].no,
                                           .what = items[i].place.what,
                                           .why = items[i].place.why,
                                           .next_us = items[i].place.next_us,
                                           .attempts = items[i].place.attempts};
    free(arg);
    l.listed(l.arg, places, count);
    free(places);
}

static void wire_list(void *arg, pending_listed *listed, void *told_arg)
{
    struct sidecar *s = arg;
    struct listing *l = base_alloc(sizeof *l);

    *l = (struct listing){listed, told_arg};
    dispatch_list(s->dispatch, on_listed, l);
}

static enum err wire_look(void *arg, const struct kind *kind, struct slice id,
                          explain_looked *looked, void *told_arg, struct fault *fault)
{
    return audit_look(((struct sidecar *)arg)->audit, kind, id, looked, told_arg, fault);
}

static void wire_status_json(void *arg, struct buf *b)
{
    status_put_json(&((struct sidecar *)arg)->status, b);
}

static void wire_history_json(void *arg, struct buf *json)
{
    struct sidecar *s = arg;

    history_put_json(s->history, s->config->observe_details, json);
}

static void wire_letters_json(void *arg, struct buf *json)
{
    status_put_letters_json(&((struct sidecar *)arg)->status, json);
}

static bool wire_is_ready(void *arg, struct buf *why)
{
    return status_is_ready(&((struct sidecar *)arg)->status, why);
}

/* ---- opening -------------------------------------------------------------------- */

static const char *text_or_null(const char *text)
{
    return *text ? text : NULL;
}

/* Tell the one that waits for the ready line, a service manager or the VM, to wait longer. */
static void wire_migrating(void *arg, uint64_t done, uint64_t of)
{
    (void)arg;
    service_migrating(done, of);
    dprintf(STDOUT_FILENO, "migrating done=%llu of=%llu\n", (unsigned long long)done,
            (unsigned long long)of);
}

static enum err open_outbox(struct sidecar *s, struct fault *fault)
{
    const struct config *c = s->config;
    const struct outbox_options options = {.dir = c->store_dir,
                                           .sink = c->sink_type,
                                           .sinks = sinks_names(),
                                           .migrating = {NULL, wire_migrating, rehash_is},
                                           .limit_bytes = (uint64_t)c->store_limit_bytes,
                                           .dead_limit = (uint64_t)c->store_dead_letters,
                                           .queue_count = (size_t)c->store_queue_requests,
                                           .queue_bytes = (size_t)c->store_queue_bytes,
                                           .on_work = wire_work,
                                           .on_work_arg = s,
                                           .after_settled = dist_session_send,
                                           .after_settled_arg = s->answers};

    return outbox_open(&options, &s->outbox, fault);
}

static int64_t interval_of_kind(const void *kinds, struct slice name)
{
    const struct kind *kind = kinds_find(kinds, name);

    return kind != NULL ? kind->min_interval_ms : -1;
}

static enum err open_delivery(struct sidecar *s, struct fault *fault)
{
    const struct config *c = s->config;
    const struct kept_for *kept_for = outbox_kept_for(s->outbox);
    const struct dispatch_options options = {
        .max_in_flight = (unsigned)c->delivery_max_in_flight,
        .min_interval_ms = c->delivery_min_interval_ms,
        .interval_ms = interval_of_kind,
        .interval_arg = c->kinds,
        .backoff_min_ms = c->delivery_backoff_min_ms,
        .backoff_max_ms = c->delivery_backoff_max_ms,
        .probe_ms = c->delivery_probe_ms,
        .address = sinks_address(c),
        .mark_ms = c->delivery_mark_ms,
        .stops_at_new = strcmp(c->delivery_on_new_destination, "stop") == 0,
        .held_why = kept_for->is_withheld ? kept_for->why : NULL,
        .held_next = kept_for->next};
    struct sink *sink = NULL;
    enum err e = sinks_open(c, &sink, fault);

    if (e != ERR_OK)
        return e;
    s->dispatch = dispatch_open(s->outbox, sink, &options);
    s->audit = sinks_open_audit(c, s->outbox);
    return ERR_OK;
}

static void open_intake(struct sidecar *s)
{
    const struct config *c = s->config;
    const struct control_wires wires = {
        .arg = s,
        .pause = wire_pause,
        .resume = wire_resume,
        .reload = wire_reload,
        .adopt = wire_adopt,
        .sweeps = s->sweeps = sweeps_new(s->outbox),
        .changes = wire_changes,
        .status = wire_status,
        .peers = wire_peers,
        .audit = {s->audit, audit_start, audit_cancel, audit_progress},
        .explain = {s, wire_place, wire_look},
        .pending = {s, wire_list}};
    const struct intake_options options = {.kinds = c->kinds,
                                           .projection_version = c->projection_version,
                                           .hash = c->projection_hash,
                                           .answers = s->answers};

    s->control = control_new(s->outbox, c->kinds, s->answers, &wires);
    s->intake = intake_open(s->outbox, s->control, &options);
    s->status =
        (struct status){.node = c->node_name,
                        .sink = c->sink_type,
                        .base_url = strcmp(c->sink_type, "http") == 0 ? c->sink_base_url : "",
                        .batch_mutation = sinks_batch_mutation(c),
                        .store = c->store_dir,
                        .details = c->observe_details,
                        .sandbox = sandbox_text(),
                        .started_us = clock_wall_us(),
                        .outbox = s->outbox,
                        .dispatch = s->dispatch,
                        .control = s->control,
                        .sweeps = s->sweeps};
    s->changes = changes_new(&s->status);
}

static enum err open_dist(struct sidecar *s, struct fault *fault)
{
    const struct config *c = s->config;
    const struct dist_options options = {.node = c->node_name,
                                         .cookie = c->node_cookie,
                                         .listen_address = text_or_null(c->node_listen_address),
                                         .port = (int)c->node_port,
                                         .is_unpublished = !c->node_epmd,
                                         .registered_name = c->node_registered_name,
                                         .allow_nodes = c->node_allow_nodes,
                                         .max_message_bytes = (size_t)c->node_max_message_bytes,
                                         .max_unsent_bytes = (size_t)c->node_max_unsent_bytes,
                                         .max_peers = (unsigned)c->node_max_peers};
    const struct dist_handler handler = intake_handler(s->intake);
    enum err e = dist_open(&options, &handler, &s->dist, fault);

    s->status.dist = s->dist;
    return e;
}

static enum err open_observe(struct sidecar *s, struct fault *fault)
{
    const struct config *c = s->config;
    const struct observe_source source = {.arg = s,
                                          .is_ready = wire_is_ready,
                                          .status = wire_status_json,
                                          .history = wire_history_json,
                                          .letters = wire_letters_json,
                                          .hosts = c->observe_hosts};

    if (c->observe_port == 0)
        return ERR_OK;
    s->status.letters = outbox_letters_open(s->outbox);
    return observe_open(c->observe_address, (uint16_t)(c->observe_port < 0 ? 0 : c->observe_port),
                        &source, &s->observe, fault);
}

static void open_control_socket(struct sidecar *s)
{
    const struct config *c = s->config;
    const struct dist_handler handler = intake_handler(s->intake);
    const struct control_socket_options options = {
        .dir = c->store_dir,
        .max_message_bytes = (size_t)c->node_max_message_bytes,
        .max_unsent_bytes = (size_t)c->node_max_unsent_bytes};

    s->control_socket = control_socket_open(&options, &handler);
}

static enum err open_all(struct sidecar *s, struct fault *fault)
{
    enum err e = open_outbox(s, fault);

    if (e == ERR_OK)
        e = open_delivery(s, fault);
    if (e != ERR_OK)
        return e;
    open_intake(s);
    e = open_dist(s, fault);
    if (e == ERR_OK)
        e = open_observe(s, fault);
    if (e == ERR_OK)
        open_control_socket(s);
    return e;
}

static const char *kind_name(const void *kinds, size_t i)
{
    return kinds_at(kinds, i)->name;
}

enum err sidecar_open(const struct config *c, struct sidecar **s, struct fault *fault)
{
    struct sidecar *new = base_alloc(sizeof *new);

    new->config = c;
    new->opened_ms = clock_mono_ms();
    metrics_name_kinds(kind_name, c->kinds, kinds_count(c->kinds));
    new->answers = dist_session_new();
    log_keep(c->observe_details);
    new->history = history_new(clock_mono_us());
    crash_mark_begin(c->store_dir);
    enum err e = open_all(new, fault);
    if (e == ERR_OK)
        *s = new;
    else
        sidecar_close(new, 0);
    return e;
}

/* ---- running -------------------------------------------------------------------- */

void sidecar_say_ready(const struct sidecar *s)
{
    const struct config *c = s->config;
    const char *batch = s->status.batch_mutation;
    int port = dist_port(s->dist), observed = s->observe ? observe_port(s->observe) : 0;

    log_event(LOG_INFO, "sidecar.ready",
              "node=%s port=%d sink=%s batching=%s%s store=%s observe_port=%d version=%s",
              c->node_name, port, c->sink_type, *batch ? "on batch_mutation=" : "off", batch,
              c->store_dir, observed, SIDECAR_VERSION);
    dprintf(STDOUT_FILENO, "ready node=%s port=%d pid=%d observe_port=%d\n", c->node_name, port,
            (int)getpid(), observed);
}

void sidecar_tick(struct sidecar *s)
{
    int64_t now_ms = clock_mono_ms(), elapsed_ms = now_ms - s->ticked_ms;

    if (!s->is_settled && now_ms - s->opened_ms > SETTLED_MS) {
        s->is_settled = true;
        crash_mark_settle(s->config->store_dir);
    }
    log_tick();
    s->ticked_ms = now_ms;
    beats_tick(elapsed_ms < TICK_MAX_MS ? elapsed_ms : TICK_MAX_MS);
    history_tick(s->history, clock_mono_us(), clock_wall_us());
    sweeps_tick(s->sweeps, clock_mono_us());
    changes_tick(s->changes);
}

void sidecar_put_sentence(const struct sidecar *s, struct buf *b)
{
    status_put_sentence(&s->status, b);
}

void sidecar_reload(struct sidecar *s)
{
    dispatch_reload(s->dispatch);
}

void sidecar_drain(struct sidecar *s)
{
    control_drain(s->control, true);
}

bool sidecar_is_drained(struct sidecar *s)
{
    struct dispatch_status d;

    dispatch_status(s->dispatch, &d);
    bool moving = d.endpoint.state == DISPATCH_RUNNING || d.endpoint.state == DISPATCH_WAITING;
    return outbox_pending(s->outbox) == 0 || !moving;
}

/* ---- closing -------------------------------------------------------------------- */

/* Every close function accepts a part that was not opened. */
uint64_t sidecar_close(struct sidecar *s, int64_t wait_ms)
{
    if (s == NULL)
        return 0;
    struct dispatch *dispatch = s->dispatch;
    uint64_t pending = s->outbox ? outbox_pending(s->outbox) : 0;

    crash_mark_settle(s->config->store_dir);
    observe_close(s->observe);
    letters_close(s->status.letters);
    audit_stop(s->audit);
    if (dispatch)
        dispatch_stop(dispatch, wait_ms); /* answers under way are still taken */
    outbox_stop(s->outbox);               /* commits them; every caller is answered */
    control_socket_close(s->control_socket);
    dist_close(s->dist);
    intake_close(s->intake);
    control_free(s->control);
    changes_free(s->changes);
    sweeps_free(s->sweeps);
    audit_close(s->audit);
    outbox_close(s->outbox);
    dispatch_close(dispatch);
    dist_session_free(s->answers);
    history_free(s->history);
    free(s);
    return pending;
}
