/*
 * preflight.c - would a sidecar with this configuration deliver?
 *
 * The happy path: the sink is opened as a start would, attach is asked (which proves address and
 * key, and says which functions are deployed and what its clock shows), and for each kind a
 * control is written, the way its documents are.  Each is a line: ok, or what is wrong and what to
 * do.
 *
 * Its purpose is to find what is wrong.  A refusal is BAD; no answer, or a transient fault, is
 * UNKNOWN: a sidecar would wait and go on by itself.  Functions without controls leave that
 * question open, which is reported and is not a fault.
 *
 * The controls belong to a store id that no store has, always the same one: a row for each kind,
 * which nobody reads.  One thread.
 */

#include "sidecar/preflight.h"

#include "config/config.h"
#include "ground/buf.h"
#include "ground/clock.h"
#include "projection/projection.h"
#include "sidecar/sinks.h"
#include "sink/sink.h"

#include <inttypes.h>

#define PREFLIGHT_MS 10000
#define CLOCK_BAD_MS 10000
#define NOBODY       "00000000000000000000000000000000" /* a store id that no store has */

struct flight {
    struct sink *sink;
    FILE *out;
    int64_t until_ms;
    enum preflight worst;
    struct verdict verdict; /* of the question asked last */
    bool is_told;
};

static void say(struct flight *f, enum preflight is, const char *what, const char *text,
                const char *next)
{
    static const char *const words[] = {"ok", "BAD", "UNKNOWN"};

    fprintf(f->out, "%-8s %s: %s%s%s\n", words[is], what, text, *next ? "; next: " : "", next);
    if (is > PREFLIGHT_WELL && (f->worst == PREFLIGHT_WELL || is == PREFLIGHT_BAD))
        f->worst = is;
}

static void take_verdict(void *arg, const struct verdict *verdict)
{
    struct flight *f = arg;

    f->verdict = *verdict;
    f->is_told = true;
}

/* The verdict of ${question}; UNKNOWN when the time is up. */
static void ask(struct flight *f, enum sink_question question, const char *kind)
{
    int64_t left_ms;

    f->is_told = false;
    f->sink->ops->ask(f->sink, question, slice_str(kind), take_verdict, f);
    while (!f->is_told && (left_ms = f->until_ms - clock_mono_ms()) > 0)
        f->sink->ops->wait(f->sink, -1, (int)left_ms);
    if (!f->is_told)
        f->verdict = (struct verdict){.kind = VERDICT_UNKNOWN, .why = "no answer in time"};
}

/* Whether the last verdict is bad; if so, print it. */
static bool is_held_up(struct flight *f, const char *what, const char *next)
{
    switch (f->verdict.kind) {
    case VERDICT_REFUSED:
        say(f, PREFLIGHT_BAD, what, f->verdict.why, next);
        return true;
    case VERDICT_AGAIN:
    case VERDICT_UNKNOWN:
        say(f, PREFLIGHT_UNKNOWN, what, f->verdict.why,
            "see whether Convex runs there; a sidecar would wait for it");
        return true;
    case VERDICT_DONE:
    case VERDICT_NONE:
        break;
    }
    return false;
}

static void say_functions(struct flight *f, const struct sink_peer *peer)
{
    char text[200];

    if (peer->functions < 2) {
        say(f, PREFLIGHT_WELL, "functions",
            "older than this sidecar, or your own: whether they take documents is not known",
            "deploy those of priv/convex");
        return;
    }
    snprintf(text, sizeof text, "version %d, deployment %s", peer->functions, peer->deployment);
    say(f, PREFLIGHT_WELL, "functions", text, "");
}

static void say_clock(struct flight *f, const struct sink_peer *peer)
{
    int64_t off_ms = peer->ahead_ms < 0 ? -peer->ahead_ms : peer->ahead_ms;
    bool is_bad = off_ms > CLOCK_BAD_MS;
    char text[100];

    if (!peer->has_clock) {
        say(f, PREFLIGHT_WELL, "clock", "Convex does not say what time it is", "");
        return;
    }
    if (off_ms <= 1000)
        snprintf(text, sizeof text, "agrees with Convex' to a second");
    else
        snprintf(text, sizeof text, "%" PRId64 ".%" PRId64 " s %s Convex'", off_ms / 1000,
                 off_ms % 1000 / 100, peer->ahead_ms > 0 ? "behind" : "ahead of");
    say(f, is_bad ? PREFLIGHT_BAD : PREFLIGHT_WELL, "clock", text, is_bad ? "set it (NTP)" : "");
}

static void ask_kind(struct flight *f, const char *kind)
{
    char text[200];

    ask(f, SINK_CONTROL, kind);
    snprintf(text, sizeof text, "kind %.100s", kind);
    if (is_held_up(f, text, "deploy the functions that write it"))
        return;
    say(f, PREFLIGHT_WELL, text,
        f->verdict.kind == VERDICT_DONE ? "a document would be taken" : "not tried", "");
}

static void ask_all(struct flight *f, const struct config *c)
{
    struct sink_peer peer;

    ask(f, SINK_ATTACH, "");
    sink_peer(f->sink, &peer);
    if (is_held_up(f, "Convex", "look at base_url and at the key"))
        return;
    if (peer.functions == 0) {
        say(f, PREFLIGHT_WELL, "sink", "there is nobody to ask", "");
        return;
    }
    say(f, PREFLIGHT_WELL, "Convex", "answers, and takes the key", "");
    say_functions(f, &peer);
    for (size_t i = 0; peer.functions >= 2 && i < kinds_count(c->kinds); i++)
        ask_kind(f, kinds_at(c->kinds, i)->name);
    say_clock(f, &peer);
}

enum preflight preflight_run(const struct config *c, FILE *out)
{
    struct flight f = {.out = out, .until_ms = clock_mono_ms() + PREFLIGHT_MS};
    struct fault fault = {0};
    char text[700];

    snprintf(text, sizeof text, "%s %.600s", c->sink_type,
             strcmp(c->sink_type, "http") == 0 ? c->sink_base_url : c->sink_file);
    say(&f, PREFLIGHT_WELL, "destination", text, "");
    if (sinks_open(c, &f.sink, &fault) != ERR_OK) {
        say(&f, PREFLIGHT_BAD, fault.path, fault.why, "mend it in the configuration");
        return f.worst;
    }
    memcpy(f.sink->us.id, NOBODY, sizeof f.sink->us.id);
    ask_all(&f, c);
    f.sink->ops->close(f.sink);
    return f.worst;
}
