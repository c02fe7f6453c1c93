/*
 * main.c - the life of the program.
 *
 * The happy path of `run`: arguments, hardening, configuration, the store copied if the last start
 * died of it, sandbox, every part opened, ready; then wait for the end (SIGTERM, SIGINT, or the
 * end of a managed sidecar's standard input), drain, close.  The other words are in cli/.
 *
 * What can go wrong: the configuration is wrong (exit status 2), or a part cannot be opened (2 when
 * the configuration is at fault, else 1); the log says why.
 *
 * Threads: this one waits for signals, for the end of standard input and for the watchdog; the
 * others are the parts' (sidecar.c).
 */

#include "cli/cli.h"
#include "cli/command.h"
#include "config/config.h"
#include "ground/base.h"
#include "ground/beat.h"
#include "ground/buf.h"
#include "ground/clock.h"
#include "ground/log.h"
#include "sidecar/harden.h"
#include "sidecar/preflight.h"
#include "sidecar/rescue.h"
#include "sidecar/sandbox.h"
#include "sidecar/service.h"
#include "sidecar/sidecar.h"
#include "sidecar/sinks.h"
#include "store/crash_mark.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define DRAIN_LOOK_MS 20
#define TICK_MS       1000

static void say_fault(const char *event, const struct fault *fault, const char *next)
{
    char quoted[600];

    log_event(LOG_ERROR, event, "at=\"%s\" why=%s%s", fault->path,
              log_quote(slice_str(fault->why), quoted, sizeof quoted), next);
}

/* ---- configuration -------------------------------------------------------------- */

/* Check what a start needs of the options, and of the files that they name. */
static enum err finish(struct config *c, bool runs, struct fault *fault)
{
    enum err e = config_finish(c, fault);

    if (e == ERR_OK)
        e = sinks_check(c, fault);
    if (e == ERR_OK)
        e = config_read_cookie(c, fault);
    return e == ERR_OK && !runs ? sinks_try(c, fault) : e; /* a start opens them anyway */
}

/* Words that speak to a sidecar need less than a start. */
static enum err configure(struct config *c, const struct command *k, struct fault *fault)
{
    bool runs = command_is(k, "run");
    enum err e = config_read(c, k->config_file, k->managed, fault);

    if (e == ERR_OK && k->store_dir)
        e = config_set_store(c, k->store_dir, fault);
    bool needs_all = runs || command_is(k, "check-config") || command_is(k, "preflight");
    return e == ERR_OK && needs_all ? finish(c, runs, fault) : e;
}

/* ---- the end -------------------------------------------------------------------- */

/* A descriptor that the signals are read from; before any thread, which inherits that they are
 * blocked. */
static int open_signals(void)
{
    sigset_t watched;

    sigemptyset(&watched);
    sigaddset(&watched, SIGTERM);
    sigaddset(&watched, SIGINT);
    sigaddset(&watched, SIGHUP);
    PRE(sigprocmask(SIG_BLOCK, &watched, NULL) == 0);
    int fd = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
    PRE(fd >= 0);
    return fd;
}

/* Take one signal; true when it asks for the end. */
static bool take_signal(struct sidecar *s, int signals)
{
    struct signalfd_siginfo info;

    if (read(signals, &info, sizeof info) != (ssize_t)sizeof info)
        return false;
    if (info.ssi_signo == SIGHUP) {
        log_event(LOG_INFO, "sidecar.reload", "signal=HUP");
        sidecar_reload(s);
        return false;
    }
    log_event(LOG_INFO, "sidecar.stopping", "signal=%s",
              info.ssi_signo == SIGTERM ? "TERM" : "INT");
    return true;
}

/* Whether standard input has ended; whatever else arrives on it is ignored. */
static bool stdin_ended(void)
{
    char ignored[256];
    ssize_t n = read(STDIN_FILENO, ignored, sizeof ignored);

    if (n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN)))
        return false;
    log_event(LOG_INFO, "sidecar.stopping", "stdin=closed");
    return true;
}

/* Tell the service manager that all threads are alive, and the state if it has changed. */
static void tell_manager(const struct sidecar *s, struct buf *told)
{
    struct buf now = {0};
    char stuck[BEAT_NAME];

    if (!beats_are_well(stuck))
        return;
    sidecar_put_sentence(s, &now);
    bool is_new = !slice_eq(buf_view(&now), buf_view(told));
    buf_byte(&now, 0);
    service_alive(is_new ? (const char *)now.data : NULL);
    now.len--;
    buf_free(told);
    *told = now;
}

/* How long to wait between two checks at most. */
static int look_ms(void)
{
    int watchdog_ms = service_watchdog_ms();

    return watchdog_ms >= 0 && watchdog_ms < TICK_MS ? watchdog_ms : TICK_MS;
}

static void wait_for_end(struct sidecar *s, int signals, bool managed)
{
    struct pollfd fds[2] = {{.fd = signals, .events = POLLIN},
                            {.fd = managed ? STDIN_FILENO : -1, .events = POLLIN}};
    bool is_unit = service_is_managed(), is_over = false;
    struct buf told = {0};

    while (!is_over) {
        int n = poll(fds, 2, look_ms());
        sidecar_tick(s);
        if (is_unit)
            tell_manager(s, &told);
        is_over = n > 0 && ((fds[0].revents && take_signal(s, signals)) ||
                            (fds[1].revents && stdin_ended()));
        if (!is_over && crash_mark_is_left()) {
            log_event(LOG_ERROR, "sidecar.stopping", "store=damaged next=\"%s\"",
                      "the next start copies what can be read");
            is_over = true;
        }
    }
    buf_free(&told);
}

/* Deliver what is pending for ${drain_ms} at most; returns the milliseconds that are left.  The
 * watchdog is served meanwhile. */
static int64_t drain(struct sidecar *s, int signals, int64_t drain_ms)
{
    struct pollfd fd = {.fd = signals, .events = POLLIN};
    int64_t end_ms = clock_mono_ms() + drain_ms, told_ms = 0, left_ms;
    bool is_unit = service_is_managed(), is_asked_twice = false;
    struct buf told = {0};

    service_stopping();
    sidecar_drain(s);
    while ((left_ms = end_ms - clock_mono_ms()) > 0 && !sidecar_is_drained(s) && !is_asked_twice) {
        if (is_unit && clock_mono_ms() - told_ms >= look_ms()) {
            tell_manager(s, &told);
            told_ms = clock_mono_ms();
        }
        sidecar_tick(s);
        is_asked_twice = poll(&fd, 1, DRAIN_LOOK_MS) > 0 && take_signal(s, signals);
    }
    buf_free(&told);
    return left_ms > 0 && !is_asked_twice ? left_ms : 0;
}

/* ---- life ----------------------------------------------------------------------- */

static int run(const struct config *c, bool managed)
{
    struct sidecar *s = NULL;
    struct fault fault = {0};
    enum log_level level;

    if (managed)
        service_forget();
    harden_process(managed);
    if (log_level_parse(c->log_level, &level))
        log_open(level);
    int signals = open_signals();
    enum err e = rescue_store("/proc/self/exe", c->store_dir, signals, &fault);
    if (e == ERR_OK)
        e = sandbox_enter(c, &fault);
    if (e == ERR_OK)
        e = sidecar_open(c, &s, &fault);
    if (e == ERR_OK) {
        char status[300];
        snprintf(status, sizeof status, "%s, sink %s", c->node_name, c->sink_type);
        sidecar_say_ready(s);
        service_ready(status);
        wait_for_end(s, signals, managed);
        bool is_damaged = crash_mark_is_left();
        int64_t left_ms = is_damaged ? 0 : drain(s, signals, c->delivery_drain_ms);
        uint64_t pending = sidecar_close(s, left_ms);
        log_event(LOG_INFO, "sidecar.stopped", "pending=%llu", (unsigned long long)pending);
        e = is_damaged ? ERR_STORE : e; /* an exit after which a manager starts us again */
    } else {
        say_fault("sidecar.cannot_start", &fault, "");
    }
    close(signals);
    return e == ERR_OK ? CLI_DONE : e == ERR_INVALID ? CLI_USAGE : CLI_ERROR;
}

static int preflight(const struct config *c)
{
    static const enum cli_status statuses[] = {[PREFLIGHT_WELL] = CLI_DONE,
                                               [PREFLIGHT_BAD] = CLI_ERROR,
                                               [PREFLIGHT_UNKNOWN] = CLI_UNKNOWN};

    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0); /* what was found is printed even if we are killed */
    log_open(LOG_WARNING);
    return (int)statuses[preflight_run(c, stdout)];
}

static int obey(struct config *c, const struct command *k)
{
    if (command_is(k, "run"))
        return run(c, k->managed);
    if (command_is(k, "preflight"))
        return preflight(c);
    if (!command_is(k, "check-config"))
        return cli_run(c, k->word, k->argc, k->argv);
    config_print(c, stdout);
    return CLI_DONE;
}

int main(int argc, char **argv)
{
    struct command k;
    struct fault fault = {0};
    int status;

    if (!command_read(argc, argv, &k, &status))
        return status;
    harden_memory();
    if (command_is(&k, "run"))
        signal(SIGHUP, SIG_IGN); /* before the configuration is read there is nothing to reload */
    struct config *c = config_new();
    if (configure(c, &k, &fault) == ERR_OK) {
        status = obey(c, &k);
    } else {
        say_fault("config.invalid", &fault,
                  k.managed
                      ? ""
                      : " next=\"mend it; convex_sidecar check-config reads it without starting\"");
        status = CLI_USAGE;
    }
    config_free(c);
    return status;
}
