/*
 * outbox_model_test.c - the outbox against a plain model of it, under random work and crashes.
 *
 * The model says what rounds do to documents: numbers, revisions, bytes and counters included.  Two
 * versions of a document may be on their way at once, so verdicts come late and overtake each
 * other. A random step is chosen from the model, done to both, and both are compared: with what the
 * outbox says, and with what is found in the store.  The seed is printed on a failure; SEED=n
 * repeats it.
 */

#include "outbox/outbox.h"

#include "ground/metrics.h"

#include "test.h"
#include "temp_dir.h"
#include "outbox/outbox_kit.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#define DOCS       4
#define FLIGHTS    2
#define DEAD_LIMIT 3 /* as kit_outbox */

struct model_version {
    bool present;
    enum outbox_op op;
    bool reset;
    int64_t seq;
    uint8_t hash;
    uint64_t revision;
    bool heals; /* pending: a dead letter */
    uint32_t attempts;
};

/* A version on its way; it may be sent again, and be overtaken by a newer one. */
struct model_flight {
    struct model_version sent;
    uint64_t no;
};

struct model_doc {
    struct model_version pending, delivered, dead;
    struct model_flight flights[FLIGHTS];
    uint64_t no, reset_revision; /* no: with its lane */
    int64_t fold;                /* the seq of the last put; 0: none, or cleared since */
    bool is_known;
};

/* What the metrics count. */
struct model_counts {
    uint64_t kept, coalesced, skipped, drift, died, healed;
};

struct model {
    struct model_doc docs[DOCS];
    uint64_t next_no, next_revision;
    struct model_counts counts;
};

enum what { PUT, CLEAR, SEND, DONE, REFUSE, LATER, LOSE, RETRY, DROP };

struct step {
    enum what what;
    int doc, flight;
    int64_t seq;
    uint8_t hash;
    bool reset;
};

static const char *const ids[DOCS] = {"d:0", "d:1", "d:2", "d:3"};

/* ---- the model ------------------------------------------------------------ */

static void model_keep(struct model *m, struct model_doc *d, enum outbox_origin origin,
                       struct model_version v)
{
    if (!d->pending.present)
        d->no = lane_of(origin) | m->next_no++;
    else
        d->no |= lane_of(origin); /* a live version takes it along */
    d->is_known = v.present = true;
    v.heals = origin == ORIGIN_HEALED;
    v.revision = m->next_revision++;
    d->pending = v;
}

static bool is_equal(const struct model_version *a, const struct model_version *b)
{
    return a->op == OUTBOX_UPSERT && b->op == OUTBOX_UPSERT && a->seq == b->seq &&
           a->hash == b->hash;
}

/* What is in the dead letters heals by itself. */
static bool is_dead_already(const struct model_doc *d, const struct model_version *v)
{
    return !d->pending.present && d->dead.present && is_equal(&d->dead, v);
}

/* What is measured against: NULL when anything is newer. */
static const struct model_version *model_standing(const struct model_doc *d)
{
    if (d->pending.present)
        return d->pending.op == OUTBOX_UPSERT ? &d->pending : NULL;
    return d->delivered.present && d->reset_revision == 0 ? &d->delivered : NULL;
}

static void model_put(struct model *m, struct model_doc *d, const struct step *s)
{
    const struct model_version *stands = model_standing(d);
    struct model_version v = {.seq = s->seq, .hash = s->hash};
    bool is_behind = stands != NULL && stands->seq > s->seq;
    bool is_same = stands != NULL && is_equal(stands, &v);
    bool is_mismatch = stands != NULL && stands->seq == s->seq && !is_same;
    bool is_written = !is_same && (s->reset || !is_behind);

    if (is_written && !s->reset && is_dead_already(d, &v))
        is_written = is_mismatch = false;
    m->counts.drift += is_behind || is_mismatch;
    m->counts.kept += is_written;
    m->counts.skipped += !is_written;
    m->counts.coalesced += is_written && d->pending.present;
    d->fold = s->seq;
    if (!is_written)
        return;
    if (s->reset)
        d->reset_revision = m->next_revision;
    v.reset = d->reset_revision != 0;
    model_keep(m, d, ORIGIN_LIVE, v);
}

static void model_clear(struct model *m, struct model_doc *d)
{
    if (d->pending.present && d->pending.op == OUTBOX_REMOVE)
        return;
    d->delivered.present = false;
    d->fold = 0;
    d->reset_revision = m->next_revision;
    model_keep(m, d, ORIGIN_LIVE, (struct model_version){.op = OUTBOX_REMOVE, .reset = true});
}

static bool is_newest(const struct model_doc *d, const struct model_version *sent)
{
    return d->pending.present && d->pending.revision == sent->revision;
}

static void model_done(struct model *m, struct model_doc *d, struct model_version sent)
{
    bool newest = is_newest(d, &sent);

    if (d->dead.present && d->dead.revision <= sent.revision) {
        m->counts.healed += newest && d->pending.heals;
        d->dead.present = false;
    }
    if (newest)
        d->pending.present = false;
    if (!d->delivered.present || sent.revision >= d->delivered.revision) {
        d->delivered = sent;
        d->delivered.present = sent.op == OUTBOX_UPSERT;
    }
    if (sent.revision >= d->reset_revision)
        d->reset_revision = 0;
}

static int model_count_dead(const struct model *m)
{
    int n = 0;

    for (int i = 0; i < DOCS; i++)
        n += m->docs[i].dead.present;
    return n;
}

static void model_refuse(struct model *m, struct model_doc *d, struct model_version sent)
{
    if (!is_newest(d, &sent) || (!d->dead.present && model_count_dead(m) >= DEAD_LIMIT))
        return;
    m->counts.died++;
    d->dead = d->pending;
    d->pending.present = false;
}

static void model_retry(struct model *m, struct model_doc *d)
{
    struct model_version v = d->dead;
    bool stands = d->reset_revision == 0 && d->delivered.present && v.op == OUTBOX_UPSERT &&
                  (d->delivered.seq > v.seq || is_equal(&d->delivered, &v));

    if (d->pending.present || stands) {
        d->dead.present = d->pending.present && d->pending.heals;
        return;
    }
    if (v.op == OUTBOX_REMOVE)
        d->reset_revision = m->next_revision;
    v.reset = d->reset_revision != 0;
    v.attempts = 0;
    model_keep(m, d, ORIGIN_HEALED, v);
}

static void model_drop(struct model_doc *d)
{
    d->dead.present = false;
    d->pending.present = d->pending.present && !d->pending.heals;
}

static void model_verdict(struct model *m, struct model_doc *d, const struct step *s)
{
    struct model_version sent = d->flights[s->flight].sent;

    if (s->what == DONE)
        model_done(m, d, sent);
    if (s->what == REFUSE)
        model_refuse(m, d, sent);
    if (s->what == LATER && is_newest(d, &sent))
        d->pending.attempts = s->hash + 1u;
    d->flights[s->flight].sent.present = false;
}

static void model_step(struct model *m, const struct step *s)
{
    struct model_doc *d = &m->docs[s->doc];

    if (s->what == PUT)
        model_put(m, d, s);
    if (s->what == CLEAR)
        model_clear(m, d);
    if (s->what == RETRY)
        model_retry(m, d);
    if (s->what == DROP)
        model_drop(d);
    if (s->what == SEND)
        d->flights[s->flight] = (struct model_flight){.sent = d->pending, .no = d->no};
    if (s->what == DONE || s->what == REFUSE || s->what == LATER || s->what == LOSE)
        model_verdict(m, d, s);
}

/* ---- choosing ------------------------------------------------------------- */

static uint64_t next_random(uint64_t *x)
{
    *x ^= *x << 13, *x ^= *x >> 7, *x ^= *x << 17;
    return *x;
}

static bool is_possible(const struct model *m, const struct step *s)
{
    const struct model_doc *d = &m->docs[s->doc];

    if (s->what == SEND)
        return d->pending.present && !d->flights[s->flight].sent.present;
    if (s->what == DONE || s->what == REFUSE || s->what == LATER || s->what == LOSE)
        return d->flights[s->flight].sent.present;
    if (s->what == RETRY || s->what == DROP)
        return d->dead.present;
    return true;
}

static struct step choose(const struct model *m, uint64_t *x)
{
    static const enum what often[16] = {PUT,  PUT,  PUT,  PUT,    SEND,   SEND,  SEND,  SEND,
                                        DONE, DONE, DONE, REFUSE, REFUSE, LATER, RETRY, RETRY};
    static const enum what seldom[4] = {LOSE, DROP, CLEAR, CLEAR};
    struct step s;

    do {
        uint64_t r = next_random(x) >> 8;
        s = (struct step){.what = r % 32 < 30 ? often[r % 16] : seldom[r / 64 % 4],
                          .doc = (int)(r / 256 % DOCS),
                          .flight = (int)(r / (1 << 20) % FLIGHTS),
                          .seq = (int64_t)(r / 2048 % 8) + 1,
                          .hash = (uint8_t)(r / 16384 % 3),
                          .reset = r / 65536 % 16 == 0};
    } while (!is_possible(m, &s));
    return s;
}

/* ---- the same with the outbox --------------------------------------------- */

static const char *const folds[] = {"", "1", "22", "333", "4", "55", "666", "7", "88"};

/* Versions differ in length, or bytes that are counted for another would not be seen. */
static struct op put_of(const char *id, int64_t seq, uint8_t hash, bool reset)
{
    return (struct op){.fn = fn_put,
                       .id = id,
                       .seq = seq,
                       .hash = hash,
                       .reset = reset,
                       .fold = folds[seq],
                       .json_len = 16 + 5 * (size_t)seq + hash};
}

static size_t json_of(char *out, size_t size, const char *id, const struct model_version *v)
{
    struct op op = put_of(id, v->seq, v->hash, false);

    return v->op == OUTBOX_UPSERT ? kit_json(out, size, &op) : 0;
}

static void settle_real(struct outbox *o, const struct model_doc *d, const struct step *s)
{
    const struct model_flight *f = &d->flights[s->flight];
    struct pending p = {.no = f->no,
                        .id = slice_str(ids[s->doc]),
                        .version = {.op = f->sent.op,
                                    .reset = f->sent.reset,
                                    .seq = f->sent.seq,
                                    .version = slice_str("v1"),
                                    .revision = f->sent.revision}};
    memset(p.version.hash, f->sent.hash, sizeof p.version.hash);
    struct settlement *verdict = settlement_new(&p);
    verdict->dead = s->what == REFUSE;
    verdict->later = s->what == LATER;
    verdict->attempts = s->hash + 1u;
    kit_settle(o, verdict);
}

static void real_step(struct outbox *o, const struct model *before, const struct step *s)
{
    struct op put = put_of(ids[s->doc], s->seq, s->hash, s->reset);

    if (s->what == PUT)
        ck_assert_int_eq(kit_do(o, &put), ERR_OK);
    if (s->what == CLEAR)
        ck_assert_int_eq(do_simple(o, fn_clear, ids[s->doc]), ERR_OK);
    if (s->what == DONE || s->what == REFUSE || s->what == LATER)
        settle_real(o, &before->docs[s->doc], s);
    if (s->what == RETRY)
        ck_assert_int_eq(do_simple(o, fn_retry, ids[s->doc]), ERR_OK);
    if (s->what == DROP)
        ck_assert_int_eq(do_simple(o, fn_drop, ids[s->doc]), ERR_OK);
}

static bool is_same(const struct model_version *a, bool present, const struct outbox_version *v)
{
    if (a->present != present)
        return false;
    return !present || (a->op == v->op && a->reset == v->reset && a->seq == v->seq &&
                        a->hash == v->hash[0] && a->revision == v->revision);
}

/* What is found in the store, record by record. */
struct found {
    uint64_t pending, pending_bytes, dead, dead_bytes;
    bool is_as_said;
};

/* The pending table against the model: every one there, once, in the order of numbers. */
static void find_pending(struct outbox *o, const struct model *m, struct found *f)
{
    struct outbox_reader *r = outbox_reader_open(o);
    struct pending p;

    for (uint64_t after = 0; outbox_next(r, after, &p); after = p.no) {
        const struct model_doc *d = &m->docs[(p.id.data[2] - '0') % DOCS];
        char json[128];
        size_t len = json_of(json, sizeof json, ids[d - m->docs], &d->pending);
        f->is_as_said = f->is_as_said && lane_arrival(p.no) > lane_arrival(after) &&
                        p.no == d->no && is_same(&d->pending, true, &p.version) &&
                        p.attempts == d->pending.attempts && slice_eq(p.json, slice_of(json, len));
        f->pending++;
        f->pending_bytes += p.json.len;
    }
    outbox_reader_close(r);
}

static bool find_letter(void *arg, const struct dead_letter *l)
{
    struct found *f = arg;

    f->dead++;
    f->dead_bytes += l->json.len;
    return true;
}

static struct found find_all(struct outbox *o, const struct model *m)
{
    struct found f = {.is_as_said = true};
    struct letters *letters = outbox_letters_open(o);

    find_pending(o, m, &f);
    letters_each(letters, find_letter, &f);
    letters_close(letters);
    return f;
}

/* What the model says is there, in the same terms. */
static struct found model_all(const struct model *m)
{
    struct found f = {.is_as_said = true};
    char json[128];

    for (int i = 0; i < DOCS; i++) {
        const struct model_doc *d = &m->docs[i];
        f.pending += d->pending.present;
        f.dead += d->dead.present;
        if (d->pending.present)
            f.pending_bytes += json_of(json, sizeof json, ids[i], &d->pending);
        if (d->dead.present)
            f.dead_bytes += json_of(json, sizeof json, ids[i], &d->dead);
    }
    return f;
}

static bool is_found_same(const struct found *a, const struct found *b)
{
    return a->pending == b->pending && a->pending_bytes == b->pending_bytes && a->dead == b->dead &&
           a->dead_bytes == b->dead_bytes && a->is_as_said && b->is_as_said;
}

static bool is_document_same(struct outbox *o, const struct model *m, int doc)
{
    const struct model_doc *d = &m->docs[doc];
    struct op look = {.fn = fn_look, .id = ids[doc]};
    enum err e = kit_do(o, &look);
    const struct checkpoint cp = look.cp;

    ck_assert(e == ERR_OK || e == ERR_NOT_FOUND);
    return strcmp(look.fold_found, folds[d->fold]) == 0 &&
           is_same(&d->pending, cp.has_pending, &cp.pending) &&
           is_same(&d->delivered, cp.has_delivered, &cp.delivered) &&
           d->dead.present == cp.is_dead && (!cp.has_pending || cp.pending_no == d->no);
}

static bool is_all_same(struct outbox *o, const struct model *m)
{
    for (int i = 0; i < DOCS; i++)
        if (!is_document_same(o, m, i))
            return false;
    struct found real = find_all(o, m), said = model_all(m);
    return is_found_same(&real, &said);
}

/* The gauges against the store, the counters against the model. */
static struct found gauges(void)
{
    return (struct found){.pending = metric_get(METRIC_PENDING),
                          .pending_bytes = metric_get(METRIC_PENDING_BYTES),
                          .dead = metric_get(METRIC_DEAD),
                          .dead_bytes = metric_get(METRIC_DEAD_BYTES),
                          .is_as_said = true};
}

static struct model_counts counters(void)
{
    size_t kind = metric_kind_no("run_summary", 11);

    return (struct model_counts){.kept = metric_get(METRIC_KEPT),
                                 .coalesced = metric_get(METRIC_COALESCED),
                                 .skipped = metric_get(METRIC_SKIPPED),
                                 .drift = metric_get(METRIC_DRIFT),
                                 .died = metric_get(METRIC_REFUSED_DOCUMENTS),
                                 .healed = metric_labelled_get(LABELLED_DEAD_LETTERS, kind, 1)};
}

static void check_metrics(struct outbox *o, const struct model *m, const struct model_counts *from)
{
    struct found real = find_all(o, m), shown = gauges();
    struct model_counts now = counters();
    uint64_t known = 0;

    for (int i = 0; i < DOCS; i++)
        known += m->docs[i].is_known;
    ck_assert_uint_eq(metric_get(METRIC_CHECKPOINTS), known);
    ck_assert(is_found_same(&real, &shown));
    ck_assert_uint_eq(now.kept - from->kept, m->counts.kept);
    ck_assert_uint_eq(now.coalesced - from->coalesced, m->counts.coalesced);
    ck_assert_uint_eq(now.skipped - from->skipped, m->counts.skipped);
    ck_assert_uint_eq(now.drift - from->drift, m->counts.drift);
    ck_assert_uint_eq(now.died - from->died, m->counts.died);
    ck_assert_uint_eq(now.healed - from->healed, m->counts.healed);
}

static uint64_t seed_of_run(void)
{
    const char *given = getenv("SEED");

    return given != NULL ? strtoull(given, NULL, 10) | 1 : ((uint64_t)time(NULL) << 8 | 1);
}

/* ---- tests ---------------------------------------------------------------- */

static const struct model fresh = {.next_no = 1, .next_revision = 1};

TEST(random_work_leaves_what_the_model_says)
{
    struct temp_dir dir = temp_dir_make();
    struct outbox *o = kit_outbox(dir.path);
    uint64_t seed = seed_of_run(), x = seed;
    struct model m = fresh;
    const struct model_counts from = counters();

    for (int i = 0; i < 1200; i++) {
        struct step s = choose(&m, &x);
        real_step(o, &m, &s);
        model_step(&m, &s);
        if (i % 97 == 0) {
            outbox_close(o);
            o = kit_outbox(dir.path);
        }
        bool same = i % 10 == 0 ? is_all_same(o, &m) : is_document_same(o, &m, s.doc);
        ck_assert_msg(same, "SEED=%llu step %d: what %d on %s", (unsigned long long)seed, i,
                      (int)s.what, ids[s.doc]);
        check_metrics(o, &m, &from);
    }
    outbox_close(o);
    temp_dir_remove(&dir);
}

/* The child works and says a byte for each step it was promised; it never ends by itself. */
static void work_for_ever(const char *dir, uint64_t x, int out)
{
    struct outbox *o = kit_outbox(dir);
    struct model m = fresh;

    for (;;) {
        struct step s = choose(&m, &x);
        real_step(o, &m, &s);
        model_step(&m, &s);
        if (write(out, "+", 1) != 1)
            _exit(1);
    }
}

static long count_promised(int in, long kill_at, pid_t child)
{
    long promised = 0;
    char c;

    while (read(in, &c, 1) == 1)
        if (++promised == kill_at)
            kill(child, SIGKILL);
    return promised;
}

/* Everything promised is there; of the step under way all or nothing. */
TEST(a_kill_loses_nothing_that_was_promised)
{
    uint64_t seed = seed_of_run();

    for (uint64_t round = 0; round < 5; round++) {
        struct temp_dir dir = temp_dir_make();
        uint64_t x = seed + 2 * round;
        struct model m = fresh;
        int ends[2], status;

        ck_assert_int_eq(pipe(ends), 0);
        pid_t child = fork();
        if (child == 0) {
            close(ends[0]);
            work_for_ever(dir.path, x, ends[1]);
        }
        close(ends[1]);
        long promised = count_promised(ends[0], (long)(next_random(&seed) % 80) + 1, child);
        close(ends[0]);
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

        for (long i = 0; i < promised; i++) {
            struct step s = choose(&m, &x);
            model_step(&m, &s);
        }
        struct model next = m;
        struct step s = choose(&next, &x);
        model_step(&next, &s);
        struct outbox *o = kit_outbox(dir.path);
        ck_assert_msg(is_all_same(o, &m) || is_all_same(o, &next), "SEED=%llu round %llu",
                      (unsigned long long)seed, (unsigned long long)round);
        outbox_close(o);
        temp_dir_remove(&dir);
    }
}
