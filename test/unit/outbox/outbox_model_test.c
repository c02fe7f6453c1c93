/*
 * outbox_model_test.c - the outbox against a plain model of it, under random work and crashes.
 *
 * The model says in sixty lines what rounds do to documents; numbers and revisions included.  A
 * random step is chosen from the model, done to both, and both are compared.  The seed is printed
 * on a failure; SEED=n repeats it.
 */

#include "outbox/outbox.h"

#include "test.h"
#include "temp_dir.h"
#include "outbox/outbox_kit.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#define DOCS       6
#define DEAD_LIMIT 3 /* as kit_outbox */

struct model_version {
    bool present;
    enum outbox_op op;
    bool reset;
    int64_t seq;
    uint8_t hash;
    uint64_t revision;
    bool heals; /* pending: a dead letter */
};

struct model_doc {
    struct model_version pending, delivered, dead, in_flight;
    uint64_t no, in_flight_no, reset_revision; /* no: with its lane */
};

struct model {
    struct model_doc docs[DOCS];
    uint64_t next_no, next_revision;
};

enum what { PUT, CLEAR, SEND, DONE, REFUSE, LOSE, RETRY, DROP, WHATS };

struct step {
    enum what what;
    int doc;
    int64_t seq;
    uint8_t hash;
    bool reset;
};

static const char *const ids[DOCS] = {"d:0", "d:1", "d:2", "d:3", "d:4", "d:5"};

/* ---- the model ------------------------------------------------------------ */

static void model_keep(struct model *m, struct model_doc *d, enum outbox_origin origin,
                       struct model_version v)
{
    if (!d->pending.present)
        d->no = lane_of(origin) | m->next_no++;
    else
        d->no |= lane_of(origin); /* a live version takes it along */
    v.present = true;
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

static void model_put(struct model *m, struct model_doc *d, const struct step *s)
{
    const struct model_version *stands = d->pending.present       ? &d->pending
                                         : d->reset_revision == 0 ? &d->delivered
                                                                  : NULL;
    struct model_version v = {.seq = s->seq, .hash = s->hash};

    if (stands != NULL && stands->present && stands->op == OUTBOX_UPSERT) {
        if (stands->seq == s->seq && stands->hash == s->hash)
            return;
        if (stands->seq > s->seq && !s->reset)
            return;
    }
    if (!s->reset && is_dead_already(d, &v))
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
    d->reset_revision = m->next_revision;
    model_keep(m, d, ORIGIN_LIVE, (struct model_version){.op = OUTBOX_REMOVE, .reset = true});
}

static void model_done(struct model_doc *d)
{
    struct model_version sent = d->in_flight;

    if (d->pending.present && d->pending.revision == sent.revision)
        d->pending.present = false;
    if (d->dead.present && d->dead.revision <= sent.revision)
        d->dead.present = false;
    d->delivered = sent;
    d->delivered.present = sent.op == OUTBOX_UPSERT;
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

static void model_refuse(struct model *m, struct model_doc *d)
{
    bool is_newest = d->pending.present && d->pending.revision == d->in_flight.revision;

    if (!is_newest || (!d->dead.present && model_count_dead(m) >= DEAD_LIMIT))
        return;
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
    model_keep(m, d, ORIGIN_HEALED, v);
}

static void model_drop(struct model_doc *d)
{
    d->dead.present = false;
    d->pending.present = d->pending.present && !d->pending.heals;
}

static void model_step(struct model *m, const struct step *s)
{
    struct model_doc *d = &m->docs[s->doc];

    if (s->what == PUT)
        model_put(m, d, s);
    if (s->what == CLEAR)
        model_clear(m, d);
    if (s->what == DONE)
        model_done(d);
    if (s->what == REFUSE)
        model_refuse(m, d);
    if (s->what == RETRY)
        model_retry(m, d);
    if (s->what == DROP)
        model_drop(d);
    if (s->what == SEND) {
        d->in_flight = d->pending;
        d->in_flight_no = d->no;
    }
    if (s->what == DONE || s->what == REFUSE || s->what == LOSE)
        d->in_flight.present = false;
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
        return d->pending.present && !d->in_flight.present;
    if (s->what == DONE || s->what == REFUSE || s->what == LOSE)
        return d->in_flight.present;
    if (s->what == RETRY || s->what == DROP)
        return d->dead.present;
    return true;
}

static struct step choose(const struct model *m, uint64_t *x)
{
    struct step s;

    do {
        uint64_t r = next_random(x) >> 8;
        s = (struct step){.what = (enum what)(r % (WHATS + 4)),
                          .doc = (int)(r / 16 % DOCS),
                          .seq = (int64_t)(r / 128 % 8) + 1,
                          .hash = (uint8_t)(r / 1024 % 3),
                          .reset = r / 4096 % 8 == 0};
        if (s.what >= WHATS)
            s.what = PUT;
    } while (!is_possible(m, &s));
    return s;
}

/* ---- the same with the outbox --------------------------------------------- */

static void settle_real(struct outbox *o, const struct model_doc *d, const struct step *s)
{
    struct pending p = {.no = d->in_flight_no,
                        .id = slice_str(ids[s->doc]),
                        .version = {.op = d->in_flight.op,
                                    .reset = d->in_flight.reset,
                                    .seq = d->in_flight.seq,
                                    .version = slice_str("v1"),
                                    .revision = d->in_flight.revision}};
    memset(p.version.hash, d->in_flight.hash, sizeof p.version.hash);
    struct settlement *verdict = settlement_new(&p);
    verdict->dead = s->what == REFUSE;
    kit_settle(o, verdict);
}

static void real_step(struct outbox *o, const struct model *before, const struct step *s)
{
    struct op put = {
        .fn = fn_put, .id = ids[s->doc], .seq = s->seq, .hash = s->hash, .reset = s->reset};

    if (s->what == PUT)
        ck_assert_int_eq(kit_do(o, &put), ERR_OK);
    if (s->what == CLEAR)
        ck_assert_int_eq(do_simple(o, fn_clear, ids[s->doc]), ERR_OK);
    if (s->what == DONE || s->what == REFUSE)
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

/* The pending table against the model: every one there, once, in the order of numbers. */
static bool is_pending_same(struct outbox *o, const struct model *m)
{
    struct outbox_reader *r = outbox_reader_open(o);
    struct pending p;
    size_t expected = 0, found = 0;
    bool same = true;

    for (int i = 0; i < DOCS; i++)
        expected += m->docs[i].pending.present;
    for (uint64_t after = 0; outbox_next(r, after, &p); after = p.no) {
        const struct model_doc *d = &m->docs[(p.id.data[2] - '0') % DOCS];
        char json[64];
        struct op op = {.id = ids[d - m->docs], .seq = d->pending.seq, .hash = d->pending.hash};
        size_t len = d->pending.op == OUTBOX_UPSERT ? kit_json(json, sizeof json, &op) : 0;
        same = same && lane_arrival(p.no) > lane_arrival(after) && p.no == d->no &&
               is_same(&d->pending, true, &p.version) && slice_eq(p.json, slice_of(json, len));
        found++;
    }
    outbox_reader_close(r);
    return same && found == expected;
}

static bool is_all_same(struct outbox *o, const struct model *m)
{
    for (int i = 0; i < DOCS; i++) {
        const struct model_doc *d = &m->docs[i];
        struct checkpoint cp = do_look(o, ids[i]);
        if (!is_same(&d->pending, cp.has_pending, &cp.pending) ||
            !is_same(&d->delivered, cp.has_delivered, &cp.delivered) ||
            d->dead.present != cp.is_dead || (cp.has_pending && cp.pending_no != d->no))
            return false;
    }
    return is_pending_same(o, m);
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

    for (int i = 0; i < 500; i++) {
        struct step s = choose(&m, &x);
        real_step(o, &m, &s);
        model_step(&m, &s);
        if (i % 97 == 0) {
            outbox_close(o);
            o = kit_outbox(dir.path);
        }
        if (i % 5 == 0)
            ck_assert_msg(is_all_same(o, &m), "SEED=%llu step %d: what %d on %s",
                          (unsigned long long)seed, i, (int)s.what, ids[s.doc]);
    }
    ck_assert_msg(is_all_same(o, &m), "SEED=%llu at the end", (unsigned long long)seed);
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
