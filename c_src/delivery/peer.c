/*
 * peer.c - which deployment is on the other side, and when it is asked again.
 *
 * The happy path: the sink asks it at the start, and it says that it is the same as before
 * (whom.c).  Once a minute, while something is delivered, the store records a number that was
 * never used; the next call raises the mark to it, and its answer confirms that.
 *
 * What can go wrong: the deployment is wiped, restored to an older state, or another one answers
 * under its name.  Answers show it: another deployment or a lower mark (the sink asks at once), a
 * document that was confirmed is inserted, something newer stands than was ever sent, or the
 * endpoint recovers after a time in which anything may have been done to it (a key that was
 * refused, and another that is accepted, is such a time).  The latter have the sink ask attach at
 * most once a minute.  What follows is recorded before anything is concluded: what was confirmed
 * is doubtful, and a new number is asked for at once, since only what is confirmed under that
 * number is certain.
 *
 * Runs on the delivery thread only.
 */

#include "delivery/peer.h"

#include "ground/log.h"
#include "ground/metrics.h"

#define EVERY_US 60000000
#define HELD_US  5000000
#define AGAIN_US 1000000 /* a change that the store did not take is sent to it once more */

static void set_us(struct peer *p)
{
    const struct destination_known *k = &p->known;
    struct sink_peer now;

    sink_peer(p->sink, &now);
    snprintf(p->sink->us.id, sizeof p->sink->us.id, "%s", k->store_id);
    p->sink->us.from = now.mark;
    p->sink->us.to = k->wanted > k->mark ? (int64_t)k->wanted : 0;
}

void peer_init(struct peer *p, struct outbox *o, struct sink *sink, const char *address,
               int64_t mark_us, bool stops)
{
    *p = (struct peer){.outbox = o,
                       .sink = sink,
                       .address = address,
                       .mark_us = mark_us,
                       .stops = stops,
                       .contradictions = outbox_contradictions(o),
                       .revision = outbox_destination_revision(o)};
    outbox_destination(o, &p->known);
    set_us(p);
    p->is_wanted = peer_holds(p);
}

void peer_ask(struct peer *p)
{
    p->is_wanted = true;
}

static void ask_now(struct peer *p)
{
    p->is_wanted = true;
    p->due_us = 0;
}

/* Without an answer it is asked again in a minute. */
static void told(void *arg, const struct verdict *verdict)
{
    struct peer *p = arg;

    p->is_out = false;
    if (verdict->kind != VERDICT_DONE && verdict->kind != VERDICT_NONE)
        p->is_wanted = true;
}

/* Tell the outbox who answers: dead letters that other functions refused are tried again. */
static void tell(struct peer *p, const struct sink_peer *now)
{
    if (now->functions == p->told.functions && strcmp(now->deployment, p->told.deployment) == 0)
        return;
    p->told = *now;
    outbox_peer(p->outbox, (unsigned)now->functions, now->deployment);
}

/* ---- what is recorded -------------------------------------------------------------- */

static void submit(struct peer *p, int64_t now_us)
{
    p->is_changing = true;
    p->again_us = now_us + AGAIN_US;
    outbox_change_destination(p->outbox, &p->change);
}

/* What was asked for is on disk, and so is all that others recorded. */
static void take_known(struct peer *p)
{
    uint64_t revision = outbox_destination_revision(p->outbox);
    uint64_t wanted = p->known.wanted;

    if (revision == p->revision)
        return;
    p->revision = revision;
    p->is_changing = false;
    outbox_destination(p->outbox, &p->known);
    set_us(p);
    /* A new number is raised by the next call of many documents; a doubt does not wait for one, nor
     * does the first. */
    bool is_doubt = (p->change.what & DESTINATION_DOUBT) != 0;
    if (p->known.wanted != wanted && (is_doubt || wanted == 0 || p->sink->max_documents == 1))
        ask_now(p);
}

static void say(const struct peer *p, enum whom w, const struct sink_peer *now)
{
    bool is_bad = w != WHOM_FIRST && w != WHOM_SAME;

    if (w == WHOM_SAME && strcmp(p->known.address, p->address) == 0)
        return;
    if (is_bad)
        metric_add(METRIC_DESTINATION_CHANGES, 1);
    log_event(w == WHOM_AHEAD ? LOG_ERROR
              : is_bad        ? LOG_WARNING
                              : LOG_INFO,
              is_bad ? "convex.deployment_changed" : "convex.deployment",
              "it_is=%s deployment=\"%s\" was=\"%s\" mark=%lld ours=%llu base_url=\"%s\"%s%s%s",
              whom_text(w), now->deployment, p->known.deployment, (long long)now->mark,
              (unsigned long long)p->known.mark, p->address, is_bad ? " why=\"" : "", p->change.why,
              is_bad ? "; what was confirmed there is sent again\"" : "");
}

/* Whether the other side may be accepted: a new one, only if the options allow that. */
static bool may_take(struct peer *p, enum whom w)
{
    if (!p->stops || !whom_is_new(w) || p->is_adopted) {
        p->held = WHOM_UNKNOWN;
        p->is_adopted = false;
        return true;
    }
    if (p->held != w)
        log_event(LOG_ERROR, "convex.deployment_changed",
                  "it_is=%s why=\"%s; delivery.on_new_destination = stop\" next=\"convex_sidecar "
                  "adopt, if this is the deployment that is meant\"",
                  whom_text(w), p->change.why);
    p->held = w;
    return false;
}

static void judge(struct peer *p, const struct sink_peer *now, int64_t now_us)
{
    enum whom w = whom_judge(&p->known, now, p->address);
    bool is_news = whom_change(w, &p->known, now, p->address, &p->change);

    if (!may_take(p, w))
        return;
    p->judged = now->learnt;
    if (!is_news)
        return;
    say(p, w, now);
    submit(p, now_us);
}

static bool is_raise_due(const struct peer *p, const struct sink_peer *now,
                         const struct peer_step *step)
{
    const struct destination_known *k = &p->known;
    int64_t since_us = step->wall_us - k->raised_at_us;

    if (now->functions < 2 || k->deployment[0] == '\0' || k->wanted != k->mark)
        return false;
    return k->wanted == 0 ||
           (step->ordinal != p->raised_at && (since_us < 0 || since_us >= p->mark_us));
}

/* Record the number that Convex holds; ask for a new one when it is time. */
static void keep_mark(struct peer *p, const struct sink_peer *now, const struct peer_step *step)
{
    const struct destination_known *k = &p->known;
    bool is_raised = now->functions >= 2 && now->mark > 0 && (uint64_t)now->mark > k->mark &&
                     (uint64_t)now->mark <= k->wanted;

    if (now->mark > 0 && (uint64_t)now->mark > k->wanted && !p->is_out)
        ask_now(p); /* somebody else asked for it: attach says who is there */
    p->change = (struct destination_change){0};
    if (is_raised) {
        p->change.what = DESTINATION_MARK;
        p->change.mark = (uint64_t)now->mark;
    } else if (is_raise_due(p, now, step)) {
        p->raised_at = step->ordinal;
        p->change.what = DESTINATION_RAISE;
    }
    if (p->change.what != 0)
        submit(p, step->now_us);
}

/* A doubt waits until Convex holds a new number.  If another process has raised the mark in
 * between, ours was refused, and there may be no call that asks again. */
static bool is_raise_missed(const struct peer *p)
{
    return p->known.has_doubt && !p->known.is_swept && p->known.wanted != p->known.mark &&
           !p->is_out && !p->is_wanted && !p->is_changing;
}

/* ---- a step --------------------------------------------------------------------------- */

void peer_step(struct peer *p, const struct peer_step *step)
{
    uint64_t contradictions = outbox_contradictions(p->outbox);
    struct sink_peer now = {0};

    sink_peer(p->sink, &now);
    tell(p, &now);
    take_known(p);
    if (now.learnt > 0 && strcmp(now.store, p->known.store_id) != 0)
        now = (struct sink_peer){.mark = -1, .learnt = p->judged}; /* to an old id of ours */
    p->sink->us.from = now.mark;
    if (p->is_changing && step->now_us >= p->again_us)
        submit(p, step->now_us);
    else if (!p->is_changing && p->address[0] != '\0' && now.learnt != p->judged)
        judge(p, &now, step->now_us);
    else if (!p->is_changing && p->held == WHOM_UNKNOWN)
        keep_mark(p, &now, step);
    if (is_raise_missed(p) && step->now_us >= p->insist_us) {
        p->insist_us = step->now_us + AGAIN_US;
        ask_now(p);
    }
    if (contradictions != p->contradictions)
        p->is_wanted = true;
    p->contradictions = contradictions;
    if (!p->is_wanted || p->is_out || !step->is_open || step->now_us < p->due_us)
        return;
    p->is_wanted = false;
    p->is_out = true;
    p->due_us = step->now_us + (peer_holds(p) ? HELD_US : EVERY_US);
    p->sink->ops->ask(p->sink, SINK_ATTACH, slice_str(""), told, p);
}

int64_t peer_next_us(const struct peer *p)
{
    int64_t next_us = p->is_changing ? p->again_us : INT64_MAX;

    if (is_raise_missed(p) && p->insist_us < next_us)
        next_us = p->insist_us;
    return p->is_wanted && !p->is_out && p->due_us < next_us ? p->due_us : next_us;
}

/* ---- a new destination ------------------------------------------------------------------ */

bool peer_holds(const struct peer *p)
{
    return p->held != WHOM_UNKNOWN ||
           (p->stops && p->address[0] != '\0' && p->judged == 0 && p->known.address[0] != '\0');
}

const char *peer_why(const struct peer *p)
{
    return p->held != WHOM_UNKNOWN ? p->change.why : "the deployment has not said yet who it is";
}

void peer_adopt(struct peer *p)
{
    p->is_adopted = p->held != WHOM_UNKNOWN;
}

int peer_functions(const struct peer *p)
{
    return p->told.functions;
}

uint64_t peer_mark(const struct peer *p)
{
    return p->known.wanted;
}
