/*
 * trace_test.c - what delivery does in a few scripts, call by call and wait by wait, to the
 * millisecond: traces.txt, which a reader can follow.
 *
 * No thread: the clock jumps to when delivery says that its next step is due, so that a wait that
 * is too long, too short or forgotten is another trace.  A change that is meant shows as a
 * difference of that file (TEST_UPDATE=1 writes it); one that is not meant does, too.
 */

#include "test.h"
#include "manual.h"

#include "delivery/delivery_inside.h"
#include "ground/buf.h"
#include "ground/crc32c.h"
#include "ground/fake_log.c"
#include "ground/metrics.h"
#include "ground/tap.h"

#include "outbox/fake_outbox.c"
#include "sink/fake_sink.c"

#define START_US 1000000000

static struct buf trace; /* of all scripts */

static struct {
    struct outbox *outbox;
    struct fake_sink *sink;
    struct delivery *delivery;
    struct tap *tap;
    fake_rule *rule;
    unsigned steps, controls, attaches, reloads;
    char state[6000];
    bool is_summed; /* in one line: too long to be read */
    struct buf events;
} h;

/* ---- the trace ---------------------------------------------------------------------------------
 */

static int64_t now_ms(void)
{
    return (fake_now_us - START_US) / 1000;
}

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
    char line[6200];
    va_list ap;

    va_start(ap, format);
    int len = vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    ck_assert_int_lt(len, (int)sizeof line);
    buf_printf(&h.events, "%8.3f  %s\n", (double)(fake_now_us - START_US) / 1e6, line);
}

static const char *const verdict_words[] = {"done", "again", "unknown", "refused", "none"};

/* "3 a1..a3 -> done" */
static bool traced(struct fake_sink *s, const struct sink_call *c, struct verdict *overall,
                   struct verdict *each, bool *use_each)
{
    char text[300];
    bool is_answered = h.rule(s, c, overall, each, use_each);
    int len = snprintf(text, sizeof text, "call %u: %zu %s", c->no, c->count, c->ids[0]);

    if (c->count > 1)
        len += snprintf(text + len, sizeof text - (size_t)len, "..%s", c->ids[c->count - 1]);
    if (!is_answered)
        say("%s -> later", text);
    else if (!*use_each)
        say("%s -> %s", text, verdict_words[overall->kind]);
    else
        say("%s -> each", text);
    return is_answered;
}

static void say_taps(void)
{
    static struct tap_record records[TAP_RECORDS];
    uint64_t dropped = 0;
    size_t count = tap_take(h.tap, records, TAP_RECORDS, &dropped);
    bool is_long = count > 8;

    for (size_t i = 0; i < count && !is_long; i++)
        say("  %s %s %lld%s%s", tap_text(records[i].event), records[i].id,
            (long long)records[i].seq, records[i].why[0] ? ": " : "", records[i].why);
    if (is_long) {
        uint32_t crc = 0;
        for (size_t i = 0; i < count; i++) {
            char one[900];
            int len = snprintf(one, sizeof one, "%d %s %s", records[i].event, records[i].id,
                               records[i].why);
            crc = crc32c(crc, slice_of(one, (size_t)len));
        }
        say("  %zu events, %08x", count, crc);
    }
}

static const char *shown_scope(const struct dispatch_scope *s)
{
    static char text[2][400];
    static unsigned next;
    char *out = text[next++ % 2];
    int64_t next_ms = s->next_us ? (s->next_us - 1700000000000000 - START_US) / 1000 : -1;

    snprintf(out, sizeof text[0], "%s failures=%u next=%.3f why=%s", dispatch_state_text(s->state),
             s->failures, (double)next_ms / 1000, s->why);
    return out;
}

/* How it stands, as the status, the metrics and the lists have it. */
static void show_state(char *out, size_t size)
{
    static struct dispatch_status s;
    static struct dispatch_troubled troubled[50];
    struct buf b = {0};

    delivery_status(h.delivery, &s);
    buf_printf(&b, "limit=%u in_flight=%u overdue=%u troubled=%u sought=%u %s", s.limit,
               s.in_flight, s.overdue, s.troubled, s.sought, shown_scope(&s.endpoint));
    if (s.next[0])
        buf_printf(&b, "\n            next: %s", s.next);
    for (uint64_t document = 1; document <= 2; document++) {
        struct dispatch_place place;
        delivery_place(h.delivery, document, &place);
        if (strcmp(place.what, "ahead") != 0)
            buf_printf(&b, "\n            #%llu is %s attempts=%u next=%lld %s",
                       (unsigned long long)document, place.what, place.attempts,
                       place.next_us
                           ? (long long)((place.next_us - 1700000000000000 - START_US) / 1000)
                           : 0,
                       place.why);
    }
    for (size_t i = 0; i < s.kind_count; i++)
        buf_printf(&b, "\n            kind %s %s", s.kinds[i].name, shown_scope(&s.kinds[i].scope));
    for (size_t i = 0; i < s.note_count && i < 2; i++)
        buf_printf(&b, "\n            note %s %s", s.notes[i].id, s.notes[i].why);
    size_t count = delivery_troubled(h.delivery, troubled, 50);
    for (size_t i = 0; i < count && i < 2; i++)
        buf_printf(
            &b, "\n            #%llu %s attempts=%u next=%lld %s",
            (unsigned long long)troubled[i].document, troubled[i].place.what,
            troubled[i].place.attempts,
            troubled[i].place.next_us
                ? (long long)((troubled[i].place.next_us - 1700000000000000 - START_US) / 1000)
                : 0,
            troubled[i].place.why);
    buf_printf(&b, "%s metrics stopped=%llu states=", count > 2 ? "\n            ..." : "",
               (unsigned long long)metric_get(METRIC_STOPPED));
    for (unsigned i = 0; i <= DISPATCH_PAUSED; i++)
        buf_printf(&b, "%llu",
                   (unsigned long long)metric_labelled_get(LABELLED_ENDPOINT_STATE, 0, i));
    for (size_t no = 0; metric_kind_name(no) != NULL; no++) {
        buf_str(&b, " ");
        for (unsigned i = 0; i < DISPATCH_PAUSED; i++)
            buf_printf(&b, "%llu",
                       (unsigned long long)metric_labelled_get(LABELLED_KIND_STATE, no, i));
        buf_printf(&b, "/%llu",
                   (unsigned long long)metric_labelled_get(LABELLED_KIND_FAILING, no, 0));
    }
    snprintf(out, size, "%.*s", (int)b.len, (const char *)b.data);
    buf_free(&b);
}

static void say_what_happened(void)
{
    char state[6000];

    say_taps();
    if (h.sink->controls != h.controls)
        say("%u controls", h.sink->controls - h.controls);
    if (h.sink->attaches != h.attaches)
        say("%u questions who is there", h.sink->attaches - h.attaches);
    if (h.sink->reloads != h.reloads)
        say("%u reloads", h.sink->reloads - h.reloads);
    h.controls = h.sink->controls;
    h.attaches = h.sink->attaches;
    h.reloads = h.sink->reloads;
    show_state(state, sizeof state);
    if (strcmp(state, h.state) != 0)
        say("%s", state);
    memcpy(h.state, state, sizeof state);
}

/* ---- a script
 * ------------------------------------------------------------------------------------ */

static const struct dispatch_options usual = {.max_in_flight = 4,
                                              .min_interval_ms = 50,
                                              .backoff_min_ms = 100,
                                              .backoff_max_ms = 4000,
                                              .probe_ms = 5000};

static void begin(const char *name, size_t max_documents, const struct dispatch_options *options,
                  fake_rule *rule)
{
    fake_now_us = START_US;
    memset(&h, 0, sizeof h);
    buf_printf(&h.events, "==== %s\n", name);
    h.outbox = fake_outbox_new();
    h.sink = fake_sink_new(max_documents);
    h.rule = rule;
    fake_rule_set(h.sink, traced);
    h.tap = tap_open(slice_str(""), slice_str(""));
    h.delivery = delivery_open(h.outbox, &h.sink->base, options, 7, fake_now_us, clock_wall_us());
}

static void put(const char *id, int64_t seq)
{
    fake_outbox_put(h.outbox, id, seq);
}

static void put_many(const char *prefix, int from, int to, enum outbox_origin origin)
{
    char id[40];

    for (int i = from; i <= to; i++) {
        snprintf(id, sizeof id, "%s%d", prefix, i);
        fake_outbox_keep(h.outbox, id, 1, origin);
    }
}

static void step_once(void)
{
    int again = 0;

    while (delivery_step(h.delivery, fake_now_us, clock_wall_us()))
        ck_assert_int_lt(again++, 100000);
    /* a settlement is on disk at once, and announced */
    (void)delivery_step(h.delivery, fake_now_us, clock_wall_us());
    h.steps++;
    say_what_happened();
}

/* Let delivery have its steps up to ${ms}. */
static void until(int64_t ms)
{
    const int64_t end_us = START_US + 1000 * ms;

    step_once();
    while (fake_now_us < end_us) {
        int64_t next_us = delivery_next_us(h.delivery, fake_now_us);
        ck_assert_int_gt(next_us, fake_now_us);
        fake_now_us = next_us < end_us ? next_us : end_us;
        step_once();
        ck_assert_uint_lt(h.steps, 200000);
    }
}

/* The answer of call ${no}, which was left. */
static void give(unsigned no, enum verdict_kind kind, const char *why)
{
    struct sink_call **at = &h.sink->in_flight, *c;

    while ((c = *at) != NULL && c->no != no)
        at = &c->next;
    ck_assert_msg(c != NULL, "call %u is not in flight", no);
    *at = c->next;
    h.sink->in_flight_count--;
    struct verdict v = {.kind = kind};
    snprintf(v.why, sizeof v.why, "%s", why);
    say("answer to %u: %s", no, verdict_words[kind]);
    answer(c, &v, NULL);
}

static void give_all(enum verdict_kind kind)
{
    while (h.sink->in_flight != NULL) {
        struct sink_call *oldest = h.sink->in_flight;
        while (oldest->next != NULL)
            oldest = oldest->next;
        give(oldest->no, kind, kind == VERDICT_DONE ? "" : "late");
    }
}

static int by_id(struct fake_document *a, struct fake_document *b)
{
    return a->document < b->document ? -1 : a->document > b->document;
}

static void end(void)
{
    struct fake_document *d, *next;
    unsigned count = 0;

    delivery_end(h.delivery);
    fake_rule_set(h.sink, left_in_flight);
    while (h.sink->in_flight != NULL)
        give_all(VERDICT_UNKNOWN);
    (void)delivery_step(h.delivery, fake_now_us, clock_wall_us());
    say_taps();
    HASH_SORT(h.outbox->documents, by_id);
    HASH_ITER(hh, h.outbox->documents, d, next)
    {
        struct fake_record *r = d->no ? h.outbox->slots[lane_arrival(d->no) - 1] : NULL;
        if (count++ < 6 || d->dead)
            say("%s: delivered %lld in %u%s%s", d->id, (long long)d->delivered_seq, d->deliveries,
                d->dead ? " dead: " : "", d->dead ? d->why : "");
        if (d->dead)
            say("  after %u attempts, %zu bytes of answer", d->attempts, d->answer_bytes);
        if (r && (r->attempts > 0 || r->next_try_us > 0))
            say("  pending after %u attempts, next try %lld", r->attempts,
                (long long)((r->next_try_us - 1700000000000000 - START_US) / 1000));
    }
    say("%u steps, %u calls, %zu pending, %d infos, %d warnings, %d errors", h.steps, h.sink->calls,
        h.outbox->pending, fake_log_lines[LOG_INFO], fake_log_lines[LOG_WARNING],
        fake_log_lines[LOG_ERROR]);
    if (h.is_summed) {
        uint32_t crc = crc32c(0, buf_view(&h.events));
        size_t name = strcspn((const char *)h.events.data, "\n");
        h.events.len = name;
        buf_printf(&h.events, ": %u steps, %u calls, %08x\n", h.steps, h.sink->calls, crc);
    }
    ck_assert_uint_eq(h.outbox->order_faults, 0);
    for (int i = 0; i <= LOG_DEBUG; i++)
        fake_log_lines[i] = 0;
    delivery_close(h.delivery);
    h.sink->closed = 1;
    fake_sink_free(h.sink);
    fake_outbox_free(h.outbox);
    tap_close(h.tap);
    buf_slice(&trace, buf_view(&h.events));
    buf_free(&h.events);
}

/* ---- rules
 * --------------------------------------------------------------------------------------- */

static bool of_all(struct verdict *v, enum verdict_kind kind, const char *why)
{
    v->kind = kind;
    snprintf(v->why, sizeof v->why, "%s", why);
    return true;
}

static bool has(const struct sink_call *c, const char *prefix)
{
    for (size_t i = 0; i < c->count; i++)
        if (strstr(c->ids[i], prefix) != NULL)
            return true;
    return false;
}

#define RULE(name)                                                                                 \
    static bool name(struct fake_sink *s CK_ATTRIBUTE_UNUSED,                                      \
                     const struct sink_call *c CK_ATTRIBUTE_UNUSED, struct verdict *overall,       \
                     struct verdict *each CK_ATTRIBUTE_UNUSED, bool *use_each CK_ATTRIBUTE_UNUSED)

RULE(fine)
{
    return of_all(overall, VERDICT_DONE, "");
}

RULE(overloaded)
{
    return of_all(overall, VERDICT_AGAIN, "503");
}

RULE(overloaded_for_2_s)
{
    overall->after_ms = 2000;
    return of_all(overall, VERDICT_AGAIN, "429");
}

RULE(bad_key)
{
    overall->is_endpoints = true;
    return of_all(overall, VERDICT_REFUSED, "401");
}

RULE(no_function)
{
    return of_all(overall, VERDICT_REFUSED, "no such function");
}

RULE(whole_refused_for_bad)
{
    return of_all(overall, has(c, "bad") ? VERDICT_REFUSED : VERDICT_DONE, "too large");
}

RULE(unknown_for_poison)
{
    return of_all(overall, has(c, "poison") ? VERDICT_UNKNOWN : VERDICT_DONE, "500");
}

RULE(more_than_10_are_too_many)
{
    return of_all(overall, c->count > 10 ? VERDICT_REFUSED : VERDICT_DONE, "too many");
}

/* Item by item: "bad" refused, "later" again, "lost" unknown, "old" unchanged. */
RULE(items)
{
    *use_each = true;
    for (size_t i = 0; i < c->count; i++) {
        const char *id = c->ids[i];
        if (strstr(id, "bad"))
            of_all(&each[i], VERDICT_REFUSED, "against the schema");
        else if (strstr(id, "later") && fake_now_us < START_US + 3000000)
            of_all(&each[i], VERDICT_AGAIN, "busy");
        else if (strstr(id, "lost") && fake_now_us < START_US + 3000000)
            of_all(&each[i], VERDICT_UNKNOWN, "lost");
        else if (strstr(id, "old"))
            each[i].outcome = OUTCOME_UNCHANGED;
        else
            each[i].outcome = OUTCOME_UPDATED;
    }
    return of_all(overall, VERDICT_DONE, "");
}

RULE(whole_kind_refused)
{
    *use_each = true;
    for (size_t i = 0; i < c->count; i++)
        if (strncmp(c->ids[i], "beat:", 5) == 0)
            of_all(&each[i], VERDICT_REFUSED, "its table is gone");
    return of_all(overall, VERDICT_DONE, "");
}

RULE(single_refused_by_kind)
{
    return of_all(overall, has(c, "beat:") || has(c, "step:") ? VERDICT_REFUSED : VERDICT_DONE,
                  "its mutation throws");
}

RULE(everything_is_later)
{
    (void)overall;
    return false;
}

/* ---- scripts
 * ------------------------------------------------------------------------------------- */

static void all_is_well(void)
{
    begin("all is well", 64, &usual, fine);
    until(0);
    put("a", 1);
    until(20);
    put("a", 2); /* in its interval */
    put("a", 3);
    put("b", 1);
    until(100);
    put_many("d", 1, 150, ORIGIN_LIVE);
    until(300);
    fake_outbox_remove(h.outbox, "a", 4);
    until(1000);
    end();
}

static void an_outage(void)
{
    begin("an outage", 16, &usual, fine);
    put_many("d", 1, 3, ORIGIN_LIVE);
    until(100);
    h.rule = overloaded;
    put_many("e", 1, 20, ORIGIN_LIVE);
    until(8000);
    h.rule = overloaded_for_2_s;
    until(20000);
    h.rule = fine;
    until(30000);
    end();
}

static void a_key_that_is_refused(void)
{
    begin("a key that is refused", 16, &usual, bad_key);
    put_many("d", 1, 20, ORIGIN_LIVE);
    until(12000);
    delivery_try_now(h.delivery, fake_now_us);
    until(12000);
    h.rule = fine;
    until(30000);
    end();
}

static void functions_that_are_gone(void)
{
    begin("functions that are gone, and no control", 16, &usual, fine);
    put("known", 1);
    until(100);
    h.rule = no_function;
    put_many("d", 1, 20, ORIGIN_LIVE);
    until(40000);
    h.rule = fine;
    until(60000);
    end();
    begin("functions that are gone, and a control", 16, &usual, no_function);
    h.sink->control = (struct verdict){.kind = VERDICT_REFUSED, .why = "no such function"};
    put_many("d", 1, 20, ORIGIN_LIVE);
    until(20000);
    h.sink->control.kind = VERDICT_DONE;
    h.rule = fine;
    until(40000);
    end();
}

static void one_that_spoils_its_calls(void)
{
    begin("one that spoils its calls", 16, &usual, whole_refused_for_bad);
    put_many("d", 1, 11, ORIGIN_LIVE);
    put("bad", 1);
    put_many("e", 1, 11, ORIGIN_LIVE);
    until(30000);
    end();
    begin("one that breaks its calls", 16, &usual, unknown_for_poison);
    put_many("d", 1, 11, ORIGIN_LIVE);
    put("poison", 1);
    put_many("e", 1, 11, ORIGIN_LIVE);
    until(60000);
    put("poison", 2); /* a newer version begins alone */
    put("fresh", 1);
    until(90000);
    end();
}

static void items_of_a_call(void)
{
    begin("items of a call", 8, &usual, items);
    put("bad", 1);
    put("later", 1);
    put("lost", 1);
    put("old", 1);
    put_many("d", 1, 5, ORIGIN_LIVE);
    until(5000);
    put_many("e", 1, 3, ORIGIN_LIVE);
    until(10000);
    end();
    begin("items of a call, with a control", 8, &usual, items);
    h.sink->control = (struct verdict){.kind = VERDICT_DONE};
    put("bad", 1);
    put("later", 1);
    put("lost", 1);
    until(10000);
    end();
}

static void a_kind_that_is_refused(void)
{
    begin("a kind that is refused", 8, &usual, whole_kind_refused);
    put_many("beat:", 1, 20, ORIGIN_LIVE);
    put_many("run:", 1, 20, ORIGIN_LIVE);
    until(20000);
    h.rule = items;
    until(40000);
    end();
    begin("a kind that is refused, with a control", 8, &usual, whole_kind_refused);
    h.sink->control = (struct verdict){.kind = VERDICT_DONE};
    put_many("beat:", 1, 12, ORIGIN_LIVE);
    put_many("run:", 1, 12, ORIGIN_LIVE);
    until(20000);
    end();
}

static void one_document_a_call(void)
{
    begin("one document a call, two kinds refused", 1, &usual, single_refused_by_kind);
    put_many("beat:", 1, 4, ORIGIN_LIVE);
    put_many("run:", 1, 4, ORIGIN_LIVE);
    until(8000);
    put_many("step:", 1, 4, ORIGIN_LIVE);
    until(30000);
    h.rule = fine;
    until(60000);
    end();
    begin("one document a call, one that breaks", 1, &usual, unknown_for_poison);
    put("poison", 1);
    put_many("run:", 1, 4, ORIGIN_LIVE);
    until(30000);
    end();
}

static void what_is_too_many(void)
{
    begin("what is too many for one call", 32, &usual, more_than_10_are_too_many);
    put_many("d", 1, 40, ORIGIN_LIVE);
    until(2000);
    for (int i = 0; i < 36; i++) {
        char prefix[20];
        snprintf(prefix, sizeof prefix, "e%d.", i);
        put_many(prefix, 1, 32, ORIGIN_LIVE);
        until(2000 + 100 * (i + 1));
    }
    until(20000);
    end();
}

static void calls_that_hang(void)
{
    begin("calls that hang", 4, &usual, everything_is_later);
    put_many("d", 1, 40, ORIGIN_LIVE);
    until(100);
    give_all(VERDICT_DONE); /* how long a call takes */
    until(200);
    give_all(VERDICT_DONE);
    until(40000);
    put("d1", 2);
    until(41000);
    give_all(VERDICT_UNKNOWN);
    until(42000);
    give_all(VERDICT_DONE);
    h.rule = fine;
    until(60000);
    end();
}

static void bulk_beside_live(void)
{
    begin("bulk beside live", 4, &usual, everything_is_later);
    put_many("bulk", 1, 60, ORIGIN_CATCH_UP);
    put_many("live", 1, 4, ORIGIN_LIVE);
    for (int64_t ms = 20; ms <= 2000; ms += 20) {
        char id[30];
        until(ms);
        if (ms % 60 ==
            0) /* calls are answered in turn, one each 20 ms: beside bulk it takes longer */
            snprintf(id, sizeof id, "fresh%d", (int)ms), put(id, 1);
        if (h.sink->in_flight != NULL) {
            struct sink_call *oldest = h.sink->in_flight;
            while (oldest->next != NULL)
                oldest = oldest->next;
            give(oldest->no, VERDICT_DONE, "");
        }
    }
    put("bulk60", 2); /* it goes with the live ones now, if it has not gone */
    until(2100);
    give_all(VERDICT_DONE);
    h.rule = fine;
    until(6000);
    end();
}

static void a_store_that_fails(void)
{
    begin("a store that fails", 4, &usual, fine);
    put_many("d", 1, 6, ORIGIN_LIVE);
    fake_outbox_fail(h.outbox, true);
    until(3000);
    put_many("e", 1, 6, ORIGIN_LIVE);
    until(4000);
    fake_outbox_fail(h.outbox, false);
    until(5000);
    h.outbox->unreadable = true;
    put_many("f", 1, 3, ORIGIN_LIVE);
    until(6000);
    h.outbox->unreadable = false;
    until(7000);
    end();
    begin("no room for letters", 4, &usual, items);
    h.outbox->letters_full = true;
    h.sink->control = (struct verdict){.kind = VERDICT_DONE};
    put("bad", 1);
    put("good", 1);
    until(60000);
    h.outbox->letters_full = false;
    until(70000);
    end();
}

static void paused_held_and_ended(void)
{
    struct dispatch_options held = usual;

    begin("paused", 4, &usual, everything_is_later);
    put_many("d", 1, 6, ORIGIN_LIVE);
    until(10);
    delivery_pause(h.delivery, true);
    give_all(VERDICT_DONE);
    put("late", 1);
    until(500);
    delivery_pause(h.delivery, false);
    h.rule = fine;
    until(1000);
    delivery_end(h.delivery);
    put("too_late", 1);
    until(1500);
    end();
    held.held_why = "it is another one";
    held.held_next = "adopt it";
    begin("held", 4, &held, fine);
    put_many("d", 1, 6, ORIGIN_LIVE);
    until(1000);
    delivery_adopt(h.delivery);
    until(2000);
    end();
}

static void contradictions(void)
{
    begin("answers that speak against what is known", 4, &usual, fine);
    put("a", 1);
    until(100);
    h.outbox->contradictions = 1;
    until(200);
    h.outbox->contradictions = 2;
    until(59000);
    h.outbox->contradictions = 3;
    put("b", 1);
    until(130000);
    end();
}

/* ---- by chance
 * ------------------------------------------------------------------------------------ */

static uint32_t seed;

static uint32_t dice(uint32_t sides)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % sides;
}

/* Ill documents, faults that come and go, answers that are late. */
RULE(by_chance)
{
    uint32_t phase = (uint32_t)(now_ms() / 4000) % 6;

    if (dice(12) == 0)
        return false;
    if (phase == 2)
        return of_all(overall, dice(2) ? VERDICT_AGAIN : VERDICT_UNKNOWN, "503");
    if (phase == 4 && dice(3) == 0)
        return of_all(overall, VERDICT_REFUSED, "refused");
    if (c->count == 1 && has(c, "bad") && dice(2))
        return of_all(overall, VERDICT_REFUSED, "bad");
    return items(s, c, overall, each, use_each);
}

static void script_by_chance(uint32_t number)
{
    static const size_t sizes[] = {1, 4, 16, 64};
    static const char *const prefixes[] = {"d", "bad", "later", "old", "beat:", "beat:bad", "lost"};
    char name[60], id[40];

    seed = number;
    snprintf(name, sizeof name, "by chance, %u", number);
    begin(name, sizes[number % 4], &usual, by_chance);
    if (number % 3 == 0)
        h.sink->control = (struct verdict){.kind = number % 9 ? VERDICT_DONE : VERDICT_REFUSED};
    for (int64_t ms = 0; ms < 30000; ms += 50 + dice(400)) {
        for (uint32_t n = dice(6); n > 0; n--) {
            snprintf(id, sizeof id, "%s%u", prefixes[dice(7)], dice(40));
            fake_outbox_keep(h.outbox, id, ms + 1, dice(3) ? ORIGIN_LIVE : ORIGIN_CATCH_UP);
        }
        until(ms);
        if (h.sink->in_flight != NULL && dice(2))
            give(h.sink->in_flight->no, dice(4) ? VERDICT_DONE : VERDICT_UNKNOWN, "late");
    }
    h.rule = fine;
    give_all(VERDICT_DONE);
    until(300000);
    h.is_summed = true;
    end();
}

static const char *kind_name(const void *arg, size_t i)
{
    return ((const char *const *)arg)[i];
}

TEST(what_delivery_does)
{
    static const char *const kinds[] = {"beat", "run", "run_summary"}; /* steps are others */

    metrics_name_kinds(kind_name, kinds, 3);
    all_is_well();
    an_outage();
    a_key_that_is_refused();
    functions_that_are_gone();
    one_that_spoils_its_calls();
    items_of_a_call();
    a_kind_that_is_refused();
    one_document_a_call();
    what_is_too_many();
    calls_that_hang();
    bulk_beside_live();
    a_store_that_fails();
    paused_held_and_ended();
    contradictions();
    for (uint32_t number = 1; number <= 24; number++)
        script_by_chance(number);
    buf_byte(&trace, '\0');
    manual_is("test/unit/delivery/traces.txt", (const char *)trace.data,
              "build/delivery/trace_test");
    buf_free(&trace);
}
