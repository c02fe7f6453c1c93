/* sim_test.c - a few hundred scripts of test/sim; make sim runs thousands. */

#include "test.h"

#include "../../sim/sim.c"

TEST(the_invariants_hold_in_every_script)
{
    struct sim_counts counts = {0};

    ck_assert_ptr_nonnull(freopen("/dev/null", "w", stderr)); /* what delivery logs */
    for (uint64_t seed = 1; seed <= 400; seed++)
        ck_assert_msg(sim_run(seed, stdout, &counts), "make sim SEEDS=1 FROM=%llu",
                      (unsigned long long)seed);
}

/* ---- how long others wait ------------------------------------------------------- */

static struct sim *open_sim(bool is_single)
{
    struct sim *s = base_alloc(sizeof *s);

    ck_assert_ptr_nonnull(freopen("/dev/null", "w", stderr));
    sim_now_us = 1000000000;
    s->random = 7;
    s->outbox = fake_outbox_new();
    set_up(s, is_single);
    return s;
}

static void add_document(struct sim *s, const char *kind, enum illness ill, int64_t at_ms)
{
    struct sim_document *d = &s->documents[s->document_count++];

    snprintf(d->id, sizeof d->id, "%s:d%d", kind, s->document_count);
    d->kind = kind[1] - '0';
    d->weight = 1;
    d->ill[1] = ill;
    d->ill[2] = ill;
    d->next_put_us = s->begun_us + 1000 * at_ms;
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* Of the healthy ones, but for the ${spared} that waited longest: they were in calls with ill ones.
 */
static int64_t longest_wait_us(struct sim *s, int64_t for_ms, int spared)
{
    int64_t waits_us[SIM_DOCUMENTS];
    int count = 0;

    s->delivery = delivery_open(s->outbox, &s->sink, &s->options, 1, sim_now_us, clock_wall_us());
    s->is_once = true;
    run_until(s, s->begun_us + 1000 * for_ms);
    for (int i = 0; i < s->document_count; i++) {
        const struct sim_document *d = &s->documents[i];
        if (d->ill[1] != HEALTHY)
            continue;
        ck_assert_msg(d->standing > 0, "%s does not stand", d->id);
        waits_us[count++] = d->stood_us - d->put_us[1];
    }
    ck_assert_str_eq(s->failed, "");
    ck_assert_int_gt(count, spared);
    qsort(waits_us, (size_t)count, sizeof *waits_us, by_size);
    return waits_us[count - 1 - spared];
}

static void close_sim(struct sim *s)
{
    delivery_end(s->delivery);
    sim_close(&s->sink);
    delivery_close(s->delivery);
    fake_outbox_free(s->outbox);
    free(s);
}

/* 50 healthy documents a second, and ${count} ill ones that come one after the other. */
static int64_t others_wait_ms(bool is_single, enum illness ill, int count)
{
    struct sim *s = open_sim(is_single);

    for (int i = 0; i < 140; i++)
        add_document(s, "k0", HEALTHY, 20 * i);
    for (int i = 0; i < count; i++)
        add_document(s, "k0", ill, 500 + 10 * i);
    int64_t wait_ms = longest_wait_us(s, 120000, 2) / 1000;
    printf("%d ill in way %d, %s: p98 of the others %lld ms\n", count, (int)ill,
           is_single ? "single" : "batch", (long long)wait_ms);
    close_sim(s);
    return wait_ms;
}

TEST(others_do_not_wait_for_ten_that_fail_in_whatever_way)
{
    for (enum illness ill = ILL_ITEM; ill < ILLNESSES; ill++)
        for (int single = 0; single < 2; single++)
            ck_assert_int_le(others_wait_ms(single, ill, ill == ILL_HANGS ? 1 : 10), 1500);
}

/* ---- faults that come and go ------------------------------------------------------ */

static struct sim_fault *add_fault(struct sim *s, int kind, int64_t from_ms, int64_t to_ms)
{
    struct sim_fault *f = &s->faults[s->fault_count++];

    *f = (struct sim_fault){.sort = FAULT_REFUSES,
                            .kind = kind,
                            .begin_us = s->begun_us + 1000 * from_ms,
                            .end_us = s->begun_us + 1000 * to_ms};
    s->refusing_faults++;
    return f;
}

static void run_for(struct sim *s, int64_t ms)
{
    if (s->delivery == NULL)
        s->delivery =
            delivery_open(s->outbox, &s->sink, &s->options, 1, sim_now_us, clock_wall_us());
    s->is_once = true;
    run_until(s, s->begun_us + 1000 * ms);
    ck_assert_str_eq(s->failed, "");
}

static bool is_dead(struct sim *s, int i)
{
    return fake_document(s->outbox, s->documents[i].id)->dead;
}

/* ${count} documents, one each ${every_ms}; the kind, or the endpoint, refuses from 3 s on. */
static void deploy_badly(bool is_single, bool has_control, int scope, int64_t lasts_ms, int count,
                         int64_t every_ms)
{
    struct sim *s = open_sim(is_single);

    s->has_control = has_control;
    for (int i = 0; i < count; i++)
        add_document(s, "k0", HEALTHY, every_ms * i);
    add_fault(s, scope, 3000, 3000 + lasts_ms);
    run_for(s, 200000); /* a healthy one that dies is an invariant that does not hold */
    for (int i = 0; i < count; i++)
        ck_assert_msg(s->documents[i].standing == 1, "%s does not stand", s->documents[i].id);
    close_sim(s);
}

TEST(a_bad_deploy_of_seconds_buries_nobody)
{
    for (int form = 0; form < 8; form++) {
        int scope = form & 4 ? 0 : -1;
        deploy_badly(form & 1, form & 2, scope, 5000, 100, 100);
        deploy_badly(form & 1, form & 2, scope, 12000, 12, 2000);
    }
}

/* The one thing that buries a healthy document, where there is no control: a fault at its lone
 * call, an acceptance of another, and a second fault at the lone call after that. */
TEST(what_two_separate_faults_bury_is_healed)
{
    for (int single = 0; single < 2; single++) {
        struct sim *s = open_sim(single);
        add_document(s, "k0", HEALTHY, 0);
        add_document(s, "k0", HEALTHY, 1000);
        add_document(s, "k0", HEALTHY, 2000);
        add_fault(s, -1, 990, 1200);
        struct sim_fault *second = add_fault(s, -1, 0, 0);
        second->begin_call = 4; /* the one that the witness lets go */
        second->lasts_us = 200000;
        run_for(s, 10000);
        ck_assert(is_dead(s, 1));
        ck_assert_int_eq(s->documents[1].standing, 0);
        run_for(s, 59000);
        ck_assert(is_dead(s, 1));
        run_for(s, 65000);
        ck_assert(!is_dead(s, 1));
        ck_assert_int_eq(s->documents[1].standing, 1);
        ck_assert_uint_eq(s->healed, 1);
        close_sim(s);
    }
}

/* A dead letter that is ill still is tried ever more rarely, and alone: the others do not wait. */
TEST(healing_disturbs_nobody)
{
    for (enum illness ill = ILL_ITEM; ill <= ILL_CALL; ill++) {
        struct sim *s = open_sim(false);
        s->has_control = true;
        for (int i = 0; i < 10; i++)
            add_document(s, "k0", ill, 10 * i);
        for (int i = 0; i < 140; i++)
            add_document(s, "k0", HEALTHY, 55000 + 100 * i);
        int64_t wait_ms = longest_wait_us(s, 120000, 1) / 1000;
        printf("ten letters tried among others, ill in way %d: p99 of the others %lld ms\n",
               (int)ill, (long long)wait_ms);
        ck_assert_int_le(wait_ms, 150);
        ck_assert_uint_ge(fake_document(s->outbox, s->documents[0].id)->tries, 1);
        close_sim(s);
    }
}

/* ---- an endpoint that only fails --------------------------------------------------- */

struct failing {
    const char *name;
    enum fault_sort sort;
    bool by_nature;
};

#define WINDOWS 6 /* of five seconds */

/* The most calls in each window after ${from_ms}, of ${seeds} runs; documents come all the time. */
static void count_calls(const struct failing *f, int form, int64_t from_ms, int seeds,
                        unsigned most[WINDOWS])
{
    bool is_single = form & 1, has_control = form & 2;

    for (int seed = 1; seed <= seeds; seed++) {
        struct sim *s = open_sim(is_single);
        s->has_control = has_control;
        s->seed = (uint64_t)seed;
        for (int i = 0; i < SIM_DOCUMENTS; i++)
            add_document(s, i % 2 ? "k0" : "k1", HEALTHY, i < 60 ? 0 : 250 * (i - 60));
        struct sim_fault *fault = add_fault(s, -1, from_ms, 3600000);
        fault->sort = f->sort;
        fault->by_nature = f->by_nature;
        s->delivery = delivery_open(s->outbox, &s->sink, &s->options, (uint64_t)seed, sim_now_us,
                                    clock_wall_us());
        run_for(s, from_ms);
        for (int w = 0; w < WINDOWS; w++) {
            unsigned before = s->calls;
            run_for(s, from_ms + 5000 * (w + 1));
            sim_now_us = s->begun_us + 1000 * from_ms + 5000000 * (w + 1);
            most[w] = s->calls - before > most[w] ? s->calls - before : most[w];
        }
        for (int i = 0; i < SIM_DOCUMENTS; i++)
            ck_assert(!is_dead(s, i));
        close_sim(s);
    }
}

/* 0.1.0 made 5, 1, 0 and 0 calls in the first four times five seconds, by a wait without jitter. */
TEST(an_endpoint_that_only_fails_gets_few_calls)
{
    static const struct failing ways[] = {{"401", FAULT_REFUSES, true},
                                          {"403", FAULT_REFUSES, false},
                                          {"429", FAULT_AGAIN, true},
                                          {"500, 502", FAULT_UNKNOWN, false},
                                          {"nothing", FAULT_HANGS, false}};

    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        for (int form = 0; form < 8; form++) {
            unsigned most[WINDOWS] = {0};
            /* those under way when it begins; one document a call: each of two kinds is tried */
            unsigned first = form & 4 ? form & 1 ? 20 : 16 : 8;
            count_calls(&ways[i], form, form & 4 ? 1300 : 0, 20, most);
            printf("%s, %s, %s control%s: at most", ways[i].name, form & 1 ? "single" : "batch",
                   form & 2 ? "a" : "no", form & 4 ? ", after it was well" : "");
            for (int w = 0; w < WINDOWS; w++)
                printf(" %u", most[w]);
            puts(" calls in 5 s");
            for (int w = 0; w < WINDOWS; w++)
                ck_assert_uint_le(most[w], w == 0 ? first : 3);
        }
}
