/*
 * main.c - the roof: the only room that knows all others.
 *
 * `run` reads as the life of the sidecar: configuration, then the rooms from
 * the well outwards (outbox; sink and dispatch; control, intake and dist;
 * observe), ready, wait, and the same way back.  Requests flow
 *
 *     dist -> intake -> outbox -> dispatch -> sink
 *
 * and nothing flows back but answers: the outbox tells intake what is kept,
 * the sink tells dispatch what became of it.  The two wings meet only here.
 *
 * Threads: this one waits for signals, for the end of standard input and for
 * the watchdog; dist has one to accept and one a BEAM node; the outbox one, the
 * store thread; dispatch one, the delivery thread; libmicrohttpd its own.
 *
 * What can go wrong: a room cannot open: say why, close those that are open,
 * exit 2 for a configuration fault, 1 for any other.
 */

#include "audit/audit.h"
#include "cli/cli.h"
#include "config/config.h"
#include "convex/http_sink.h"
#include "delivery/dispatch.h"
#include "dist/dist.h"
#include "ground/base.h"
#include "ground/buf.h"
#include "ground/clock.h"
#include "ground/log.h"
#include "intake/control.h"
#include "intake/intake.h"
#include "outbox/outbox.h"
#include "projection/projection.h"
#include "sink/file_sink.h"
#include "sink/noop_sink.h"
#include "status/observe.h"
#include "status/status.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };
enum { STDIN_CONFIG_MAX = 1 << 20 };

/* The open rooms; NULL while closed. */
struct sidecar {
    struct config *config;
    bool managed; /* standard input is the lifeline */
    int signal_fd;
    int64_t end_by_ms; /* once it ends: when to stop delivering, by the monotonic clock */
    struct outbox *outbox;
    struct dispatch *dispatch;
    struct audit *audit; /* NULL: the sink cannot be read back */
    struct control *control;
    struct intake *intake;
    struct dist *dist;
    struct observe *observe;
    struct status status;
    char control_file[4096];
};

/* ---- wires between the wings ------------------------------------------------ */

static void wire_work(void *arg)
{
    struct sidecar *s = arg;

    if (s->dispatch)
        dispatch_wake(s->dispatch);
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

static void wire_status(void *arg, struct buf *b)
{
    status_put_term(&((struct sidecar *)arg)->status, b);
}

static void wire_status_json(void *arg, struct buf *b)
{
    status_put_json(&((struct sidecar *)arg)->status, b);
}

static bool wire_is_ready(void *arg, struct buf *why)
{
    return status_is_ready(&((struct sidecar *)arg)->status, why);
}

/* ---- configuration ----------------------------------------------------------- */

/* Standard input up to a line with a single "." (docs/PROTOCOL.md, managed mode), byte by byte:
 * what follows the line is not ours to read. */
static enum err read_stdin_config(struct config *c, struct fault *fault)
{
    struct buf text = {0};
    uint8_t byte;
    enum err e;

    for (;;) {
        ssize_t n = read(STDIN_FILENO, &byte, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || text.len == STDIN_CONFIG_MAX) {
            snprintf(fault->path, sizeof fault->path, "standard input");
            snprintf(fault->why, sizeof fault->why,
                     "the configuration is not ended by a line with a single \".\"");
            e = ERR_INVALID;
            goto done;
        }
        buf_byte(&text, byte);
        if (text.len >= 2 && memcmp(text.data + text.len - 2, ".\n", 2) == 0 &&
            (text.len == 2 || text.data[text.len - 3] == '\n'))
            break;
    }
    text.len -= 2;
    buf_byte(&text, 0);
    e = config_read_text(c, "standard input", (const char *)text.data, fault);
done:
    if (text.data)
        explicit_bzero(text.data, text.cap);
    buf_free(&text);
    return e;
}

static enum err load_config(struct config *c, const char *file, bool managed, struct fault *fault)
{
    enum err e = file ? config_read_file(c, file, fault) : ERR_OK;

    if (e == ERR_OK)
        e = config_read_environment(c, fault);
    if (e == ERR_OK && managed)
        e = read_stdin_config(c, fault);
    return e;
}

static void say_fault(const char *event, const struct fault *fault)
{
    char quoted[600];

    log_event(LOG_ERROR, event, "at=\"%s\" why=%s", fault->path,
              log_quote(slice_str(fault->why), quoted, sizeof quoted));
}

/* ---- opening ------------------------------------------------------------------ */

/* No core dump may hold a key, no signal may end a thread in the middle of its work.  When the
 * owner dies while we are stopped (SIGSTOP), the kernel's SIGCONT lets us see the end of stdin.
 * What a managed sidecar found of the service manager is about its owner's unit. */
static void harden(struct sidecar *s)
{
    const struct rlimit none = {0, 0};
    sigset_t watched;

    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0);
    if (s->managed) {
        prctl(PR_SET_PDEATHSIG, SIGCONT);
        unsetenv("NOTIFY_SOCKET");
        unsetenv("WATCHDOG_USEC");
        unsetenv("WATCHDOG_PID");
    }
    umask(0077);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    sigemptyset(&watched);
    sigaddset(&watched, SIGTERM);
    sigaddset(&watched, SIGINT);
    sigaddset(&watched, SIGHUP);
    PRE(sigprocmask(SIG_BLOCK, &watched, NULL) == 0);
    s->signal_fd = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
    PRE(s->signal_fd >= 0);
}

static enum err open_outbox(struct sidecar *s, struct fault *fault)
{
    const struct config *c = s->config;
    const struct outbox_options options = {.dir = c->store_dir,
                                           .sink = c->sink_type,
                                           .limit_bytes = (uint64_t)c->store_limit_bytes,
                                           .dead_limit = (uint64_t)c->store_dead_letters,
                                           .queue_count = (size_t)c->store_queue_requests,
                                           .queue_bytes = (size_t)c->store_queue_bytes,
                                           .on_work = wire_work,
                                           .on_work_arg = s,
                                           .before_settled = dist_cork,
                                           .after_settled = dist_uncork};

    return outbox_open(&options, &s->outbox, fault);
}

static const char *text_or_null(const char *text)
{
    return text && *text ? text : NULL;
}

static struct http_options http_options_of(const struct config *c)
{
    return (struct http_options){.base_url = c->sink_base_url,
                                 .ca_file = text_or_null(c->sink_ca_file),
                                 .user_agent = "convex-sidecar/" SIDECAR_VERSION,
                                 .connect_timeout_ms = (long)c->sink_connect_timeout_ms,
                                 .timeout_ms = (long)c->sink_request_timeout_ms,
                                 .max_answer_bytes = (size_t)c->sink_max_answer_bytes,
                                 .max_connections = (long)c->delivery_max_in_flight};
}

static enum err open_http_sink(const struct config *c, struct sink **sink, struct fault *fault)
{
    const struct http_sink_options options = {.http = http_options_of(c),
                                              .kinds = c->kinds,
                                              .admin_key = text_or_null(c->sink_admin_key),
                                              .admin_key_file =
                                                  text_or_null(c->sink_admin_key_file),
                                              .batch_mutation = c->sink_batch_mutation,
                                              .remove_mutation = c->sink_remove_mutation,
                                              .batch_documents = (size_t)c->sink_batch_documents,
                                              .batch_bytes = (size_t)c->sink_batch_bytes};

    return http_sink_open(&options, sink, fault);
}

/* Only Convex can be read back. */
static void open_audit(struct sidecar *s)
{
    const struct config *c = s->config;
    const struct audit_options options = {
        .outbox = s->outbox,
        .kinds = c->kinds,
        .digests = {.http = http_options_of(c),
                    .query = c->sink_digests_query,
                    .admin_key = text_or_null(c->sink_admin_key),
                    .admin_key_file = text_or_null(c->sink_admin_key_file)}};

    if (strcmp(c->sink_type, "http") == 0)
        s->audit = audit_open(&options);
}

static enum err open_delivery(struct sidecar *s, struct fault *fault)
{
    const struct config *c = s->config;
    const struct kept_for *kept_for = outbox_kept_for(s->outbox);
    const struct dispatch_options options = {.max_in_flight = (unsigned)c->delivery_max_in_flight,
                                             .min_interval_ms = c->delivery_min_interval_ms,
                                             .backoff_min_ms = c->delivery_backoff_min_ms,
                                             .backoff_max_ms = c->delivery_backoff_max_ms,
                                             .probe_ms = c->delivery_probe_ms,
                                             .stopped_why =
                                                 kept_for->is_withheld ? kept_for->why : NULL};
    struct sink *sink = NULL;
    enum err e = ERR_OK;

    if (options.stopped_why)
        sink = noop_sink_open(options.stopped_why);
    else if (strcmp(c->sink_type, "http") == 0)
        e = open_http_sink(c, &sink, fault);
    else if (strcmp(c->sink_type, "file") == 0)
        e = file_sink_open(c->sink_file, &sink, fault);
    else
        sink = noop_sink_open(NULL);
    if (e == ERR_OK)
        s->dispatch = dispatch_open(s->outbox, sink, &options);
    return e;
}

static enum err open_intake(struct sidecar *s, struct fault *fault)
{
    const struct config *c = s->config;
    const struct control_wires wires = {
        s,           wire_pause,  wire_resume,
        wire_reload, wire_status, {s->audit, audit_start, audit_cancel, audit_progress}};
    const struct intake_options intake = {
        .kinds = c->kinds, .projection_version = c->projection_version, .hash = c->projection_hash};
    const struct dist_options dist = {.node = c->node_name,
                                      .cookie = c->node_cookie,
                                      .listen_address = text_or_null(c->node_listen_address),
                                      .registered_name = c->node_registered_name,
                                      .allow_nodes = c->node_allow_nodes,
                                      .max_message_bytes = (size_t)c->node_max_message_bytes,
                                      .max_unsent_bytes = (size_t)c->node_max_unsent_bytes,
                                      .max_peers = (unsigned)c->node_max_peers};

    s->control = control_new(s->outbox, c->kinds, &wires);
    s->intake = intake_open(s->outbox, s->control, &intake);
    s->status = (struct status){.node = c->node_name,
                                .sink = c->sink_type,
                                .batch_mutation =
                                    strcmp(c->sink_type, "http") == 0 ? c->sink_batch_mutation : "",
                                .store = c->store_dir,
                                .next = outbox_kept_for(s->outbox)->next,
                                .started_us = clock_wall_us(),
                                .outbox = s->outbox,
                                .dispatch = s->dispatch,
                                .control = s->control};
    const struct dist_handler handler = intake_handler(s->intake);
    enum err e = dist_open(&dist, &handler, &s->dist, fault);
    s->status.dist = s->dist;
    return e;
}

static enum err open_observe(struct sidecar *s, struct fault *fault)
{
    const struct config *c = s->config;
    const struct observe_source source = {s, wire_is_ready, wire_status_json};

    if (c->observe_port == 0)
        return ERR_OK;
    return observe_open(c->observe_address, (uint16_t)(c->observe_port < 0 ? 0 : c->observe_port),
                        &source, &s->observe, fault);
}

/* Node name and cookie for the command line, in the store's folder, readable by us alone. */
static enum err write_control_file(struct sidecar *s, struct fault *fault)
{
    char part[4110];

    snprintf(s->control_file, sizeof s->control_file, "%s/control", s->config->store_dir);
    snprintf(part, sizeof part, "%s.new", s->control_file);
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool good = fd >= 0 && dprintf(fd, "%s %s\n", s->config->node_name, s->config->node_cookie) > 0;
    if (fd >= 0)
        good = close(fd) == 0 && good;
    if (good && rename(part, s->control_file) == 0)
        return ERR_OK;
    snprintf(fault->path, sizeof fault->path, "%.200s", s->control_file);
    snprintf(fault->why, sizeof fault->why, "cannot be written: %s", strerror(errno));
    return ERR_SYSTEM;
}

static enum err open_all(struct sidecar *s, struct fault *fault)
{
    enum err e = open_outbox(s, fault);

    if (e == ERR_OK)
        e = open_delivery(s, fault);
    if (e == ERR_OK) {
        open_audit(s);
        e = open_intake(s, fault);
    }
    if (e == ERR_OK)
        e = open_observe(s, fault);
    if (e == ERR_OK)
        e = write_control_file(s, fault);
    return e;
}

/* ---- waiting and closing -------------------------------------------------------- */

static void say_ready(const struct sidecar *s)
{
    int port = s->observe ? observe_port(s->observe) : 0;
    const char *batch = s->status.batch_mutation;

    log_event(LOG_INFO, "sidecar.ready",
              "node=%s port=%d sink=%s batching=%s%s store=%s observe_port=%d version=%s",
              s->config->node_name, dist_port(s->dist), s->config->sink_type,
              *batch ? "on batch_mutation=" : "off", batch, s->config->store_dir, port,
              SIDECAR_VERSION);
    dprintf(STDOUT_FILENO, "ready node=%s port=%d pid=%d observe_port=%d\n", s->config->node_name,
            dist_port(s->dist), (int)getpid(), port);
    sd_notifyf(0, "READY=1\nSTATUS=%s, sink %s", s->config->node_name, s->config->sink_type);
}

/* Take one signal; true when it asks for the end. */
static bool take_signal(struct sidecar *s)
{
    struct signalfd_siginfo info;

    if (read(s->signal_fd, &info, sizeof info) != (ssize_t)sizeof info)
        return false;
    if (info.ssi_signo == SIGHUP) {
        log_event(LOG_INFO, "sidecar.reload", "signal=HUP");
        dispatch_reload(s->dispatch);
        return false;
    }
    log_event(LOG_INFO, "sidecar.stopping", "signal=%s",
              info.ssi_signo == SIGTERM ? "TERM" : "INT");
    return true;
}

/* Whether the lifeline is cut; anything else that comes through it is ignored. */
static bool stdin_ended(void)
{
    char ignored[256];
    ssize_t n = read(STDIN_FILENO, ignored, sizeof ignored);

    if (n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN)))
        return false;
    log_event(LOG_INFO, "sidecar.stopping", "stdin=closed");
    return true;
}

static void wait_for_end(struct sidecar *s)
{
    struct pollfd fds[2] = {{.fd = s->signal_fd, .events = POLLIN},
                            {.fd = s->managed ? STDIN_FILENO : -1, .events = POLLIN}};
    uint64_t watchdog_us = 0;
    int timeout_ms = -1;

    if (sd_watchdog_enabled(0, &watchdog_us) > 0)
        timeout_ms = (int)(watchdog_us / 2000);
    for (;;) {
        int n = poll(fds, 2, timeout_ms);
        if (timeout_ms >= 0)
            sd_notify(0, "WATCHDOG=1");
        if (n <= 0)
            continue;
        if ((fds[0].revents && take_signal(s)) || (fds[1].revents && stdin_ended()))
            return;
    }
}

/* Deliver what is pending for a while, unless delivery stands still anyway. */
static void drain(struct sidecar *s)
{
    struct dispatch_status d;
    struct pollfd fd = {.fd = s->signal_fd, .events = POLLIN};

    s->end_by_ms = clock_mono_ms() + s->config->delivery_drain_ms;
    sd_notify(0, "STOPPING=1");
    control_drain(s->control, true);
    for (;;) {
        dispatch_status(s->dispatch, &d);
        bool moving = d.state == DISPATCH_RUNNING || d.state == DISPATCH_WAITING;
        if (outbox_pending(s->outbox) == 0 || !moving || clock_mono_ms() >= s->end_by_ms)
            return;
        if (poll(&fd, 1, 20) > 0 && take_signal(s)) {
            s->end_by_ms = 0; /* asked twice: do not wait */
            return;
        }
    }
}

/* The way back.  Everything accepts being closed before it was opened. */
static void close_all(struct sidecar *s)
{
    const int64_t left_ms = s->end_by_ms - clock_mono_ms();
    struct dispatch *dispatch = s->dispatch;

    observe_close(s->observe);
    audit_stop(s->audit);
    if (dispatch)
        dispatch_stop(dispatch, left_ms > 0 ? left_ms : 0); /* answers under way are still taken */
    outbox_stop(s->outbox); /* commits them; every caller is answered */
    dist_close(s->dist);
    intake_close(s->intake);
    control_free(s->control);
    audit_close(s->audit);
    outbox_close(s->outbox);
    dispatch_close(dispatch);
    if (s->control_file[0])
        unlink(s->control_file);
}

static int run(struct config *config, bool managed)
{
    struct sidecar s = {.config = config, .managed = managed};
    struct fault fault = {0};
    enum log_level level = LOG_INFO;

    harden(&s);
    if (log_level_parse(config->log_level, &level))
        log_open(level);
    enum err e = open_all(&s, &fault);
    if (e == ERR_OK) {
        say_ready(&s);
        wait_for_end(&s);
        drain(&s);
    } else {
        say_fault("sidecar.cannot_start", &fault);
    }
    uint64_t left = e == ERR_OK ? outbox_pending(s.outbox) : 0;
    close_all(&s);
    if (e == ERR_OK)
        log_event(LOG_INFO, "sidecar.stopped", "pending=%llu", (unsigned long long)left);
    close(s.signal_fd);
    return e == ERR_OK ? EXIT_DONE : e == ERR_INVALID ? EXIT_USAGE : EXIT_FAILED;
}

/* ---- the command line ------------------------------------------------------------ */

/* What stands before and around the word's own arguments. */
struct command {
    const char *word, *config_file, *store_dir;
    bool managed;
    int argc;
    char **argv; /* what is left for the word */
};

static int usage(const char *word)
{
    if (!cli_help(word, stderr))
        fprintf(stderr,
                "convex_sidecar: there is no word \"%s\"; convex_sidecar --help lists them\n",
                word);
    return EXIT_USAGE;
}

static int do_word(struct command *k)
{
    struct config *c = config_new();
    struct fault fault = {0};
    bool needs_all = strcmp(k->word, "run") == 0 || strcmp(k->word, "check-config") == 0;
    int status;

    enum err e = load_config(c, k->config_file, k->managed, &fault);
    if (e == ERR_OK && k->store_dir) {
        free(c->store_dir);
        c->store_dir = base_strndup(k->store_dir, strlen(k->store_dir));
    }
    if (e == ERR_OK && needs_all)
        e = config_finish(c, &fault);
    if (e == ERR_OK && strcmp(k->word, "run") == 0)
        e = config_read_cookie(c, &fault);
    if (e != ERR_OK) {
        say_fault("config.invalid", &fault);
        status = EXIT_USAGE;
    } else if (strcmp(k->word, "run") == 0) {
        status = run(c, k->managed);
    } else if (strcmp(k->word, "check-config") == 0) {
        config_print(c, stdout);
        status = EXIT_DONE;
    } else {
        status = cli_run(c, k->word, k->argc, k->argv);
    }
    config_free(c);
    return status;
}

/* Take --config FILE, --store DIR and --managed out of the arguments; false: one lacks its value.
 */
static bool take_options(struct command *k)
{
    int left = 0;

    for (int i = 0; i < k->argc; i++) {
        const char **value = strcmp(k->argv[i], "--config") == 0  ? &k->config_file
                             : strcmp(k->argv[i], "--store") == 0 ? &k->store_dir
                                                                  : NULL;
        if (value && i + 1 < k->argc)
            *value = k->argv[++i];
        else if (value)
            return false;
        else if (strcmp(k->argv[i], "--managed") == 0)
            k->managed = true;
        else
            k->argv[left++] = k->argv[i];
    }
    k->argc = left;
    return true;
}

static bool asks_for_help(const struct command *k)
{
    for (int i = 0; i < k->argc; i++)
        if (strcmp(k->argv[i], "--help") == 0 || strcmp(k->argv[i], "-h") == 0)
            return true;
    return false;
}

int main(int argc, char **argv)
{
    struct command k = {.word = argc > 1 ? argv[1] : "--help", .argc = argc - 2, .argv = argv + 2};

    if (strcmp(k.word, "--help") == 0 || strcmp(k.word, "-h") == 0 || strcmp(k.word, "help") == 0)
        return cli_help(NULL, stdout) ? EXIT_DONE : EXIT_FAILED;
    if (asks_for_help(&k))
        return cli_help(k.word, stdout) ? EXIT_DONE : usage(k.word);
    if (strcmp(k.word, "version") == 0 || strcmp(k.word, "--version") == 0)
        return printf("convex_sidecar %s\n", SIDECAR_VERSION) > 0 ? EXIT_DONE : EXIT_FAILED;
    if (!take_options(&k))
        return usage(k.word);
    if ((strcmp(k.word, "run") == 0 || strcmp(k.word, "check-config") == 0) && k.argc > 0) {
        fprintf(stderr, "convex_sidecar %s: \"%s\" is not understood\n", k.word, k.argv[0]);
        return usage(k.word);
    }
    return do_word(&k);
}
