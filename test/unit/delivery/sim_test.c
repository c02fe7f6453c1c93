/* sim_test.c - a few hundred scripts of test/sim; make sim runs thousands. */

#include "test.h"

#include "../../sim/sim.c"

TEST(the_invariants_hold_in_every_script)
{
    unsigned excused = 0;

    ck_assert_ptr_nonnull(freopen("/dev/null", "w", stderr)); /* what delivery logs */
    for (uint64_t seed = 1; seed <= 400; seed++)
        ck_assert_msg(sim_run(seed, stdout, &excused), "make sim SEEDS=1 FROM=%llu",
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
