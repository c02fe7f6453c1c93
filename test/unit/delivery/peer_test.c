/* peer_test.c - who the other side is: when it is asked, what is recorded, when a mark is raised.
 */

#include "test.h"

#include "delivery/peer.h"
#include "ground/fake_log.c"
#include "ground/metrics.h"

#define HERE  "http://here"
#define SEC   INT64_C(1000000)
#define MARKS (60 * SEC)

/* ---- a store and a sink that say what a test says -------------------------------------------- */

static struct {
    struct destination_known known;
    uint64_t revision, contradictions;
    struct destination_change change;
    unsigned changes, tellings;
    unsigned functions;
    char deployment[65];
} store;

static struct {
    struct sink sink;
    struct sink_peer now;
    unsigned asked;
    sink_told *told;
    void *arg;
} other;

static struct peer p;
static struct peer_step at;

uint64_t outbox_contradictions(const struct outbox *o)
{
    (void)o;
    return store.contradictions;
}

void outbox_destination(struct outbox *o, struct destination_known *k)
{
    (void)o;
    *k = store.known;
}

uint64_t outbox_destination_revision(const struct outbox *o)
{
    (void)o;
    return store.revision;
}

void outbox_change_destination(struct outbox *o, const struct destination_change *c)
{
    (void)o;
    store.change = *c;
    store.changes++;
}

void outbox_peer(struct outbox *o, unsigned functions, const char *deployment)
{
    (void)o;
    store.tellings++;
    store.functions = functions;
    snprintf(store.deployment, sizeof store.deployment, "%s", deployment);
}

static void on_peer(struct sink *s, struct sink_peer *out)
{
    (void)s;
    *out = other.now;
}

static void on_ask(struct sink *s, enum sink_question question, struct slice kind, sink_told *told,
                   void *arg)
{
    ck_assert_ptr_eq(s, &other.sink);
    ck_assert_int_eq(question, SINK_ATTACH);
    ck_assert_uint_eq(kind.len, 0);
    other.asked++;
    other.told = told;
    other.arg = arg;
}

/* ---- helpers ------------------------------------------------------------------------------------
 */

static void set_known(const char *address, const char *deployment, uint64_t mark, uint64_t wanted)
{
    store.known = (struct destination_known){.functions = 2, .mark = mark, .wanted = wanted};
    snprintf(store.known.address, sizeof store.known.address, "%s", address);
    snprintf(store.known.deployment, sizeof store.known.deployment, "%s", deployment);
    snprintf(store.known.store_id, sizeof store.known.store_id, "us");
    snprintf(store.known.sink, sizeof store.known.sink, "http");
}

static void begin(const char *address, bool stops)
{
    static const struct sink_ops ops = {.ask = on_ask, .peer = on_peer};

    other.sink = (struct sink){.ops = &ops, .max_documents = 64};
    other.now = (struct sink_peer){.mark = -1};
    other.asked = 0;
    store.revision = 5;
    store.changes = store.tellings = 0;
    at = (struct peer_step){
        .is_open = true, .ordinal = 10, .now_us = 1000 * SEC, .wall_us = 5000 * SEC};
    peer_init(&p, NULL, &other.sink, address, MARKS, stops);
}

static void says(int functions, const char *deployment, int64_t mark)
{
    other.now.functions = functions;
    other.now.mark = mark;
    other.now.learnt++;
    snprintf(other.now.deployment, sizeof other.now.deployment, "%s", deployment);
    snprintf(other.now.store, sizeof other.now.store, "us");
}

static void step(void)
{
    peer_step(&p, &at);
}

static void pass(int64_t us)
{
    at.now_us += us;
    at.wall_us += us;
}

/* The store has recorded the change. */
static void recorded(void)
{
    struct destination_known *k = &store.known;
    const struct destination_change *c = &store.change;

    if (c->what & DESTINATION_PEER) {
        memcpy(k->address, c->address, sizeof k->address);
        memcpy(k->deployment, c->deployment, sizeof k->deployment);
        k->functions = c->functions;
    }
    if (c->what & DESTINATION_MARK)
        k->mark = c->mark;
    if (c->what & (DESTINATION_RAISE | DESTINATION_DOUBT)) {
        k->wanted++;
        k->raised_at_us = at.wall_us;
    }
    k->has_doubt = k->has_doubt || (c->what & DESTINATION_DOUBT);
    store.revision++;
}

static void answered(enum verdict_kind kind)
{
    other.told(other.arg, &(struct verdict){.kind = kind});
}

/* ---- asking
 * --------------------------------------------------------------------------------------- */

TEST(a_sink_without_an_address_is_nobody)
{
    set_known("", "", 0, 0);
    begin("", false);
    ck_assert(!peer_holds(&p));
    step();
    ck_assert_uint_eq(other.asked, 0);
    ck_assert_uint_eq(store.changes, 0);
    ck_assert_int_eq(peer_next_us(&p), INT64_MAX);
    ck_assert_str_eq(other.sink.us.id, "us");
}

TEST(it_is_asked_once_a_minute_while_it_may_be_asked)
{
    set_known(HERE, "d1", 3, 3);
    begin(HERE, false);
    peer_ask(&p);
    ck_assert_int_eq(peer_next_us(&p), 0);
    at.is_open = false;
    step();
    ck_assert_uint_eq(other.asked, 0);
    at.is_open = true;
    step();
    ck_assert_uint_eq(other.asked, 1);
    ck_assert_int_eq(peer_next_us(&p), INT64_MAX); /* it is out */
    peer_ask(&p);
    step();
    ck_assert_uint_eq(other.asked, 1);
    answered(VERDICT_DONE);
    ck_assert_int_eq(peer_next_us(&p), at.now_us + 60 * SEC);
    pass(60 * SEC - 1);
    step();
    ck_assert_uint_eq(other.asked, 1);
    pass(1);
    step();
    ck_assert_uint_eq(other.asked, 2);
    answered(VERDICT_DONE);
    pass(60 * SEC);
    step();
    ck_assert_uint_eq(other.asked, 2); /* nobody wants to know */
}

TEST(without_an_answer_it_is_asked_again_in_a_minute)
{
    static const struct {
        enum verdict_kind kind;
        bool is_again;
    } cases[] = {{VERDICT_DONE, false},
                 {VERDICT_NONE, false},
                 {VERDICT_AGAIN, true},
                 {VERDICT_UNKNOWN, true},
                 {VERDICT_REFUSED, true}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        set_known(HERE, "d1", 3, 3);
        begin(HERE, false);
        peer_ask(&p);
        step();
        answered(cases[i].kind);
        ck_assert_int_eq(peer_next_us(&p), cases[i].is_again ? at.now_us + 60 * SEC : INT64_MAX);
    }
}

TEST(answers_that_contradict_have_it_asked)
{
    set_known(HERE, "d1", 3, 3);
    store.contradictions = 7; /* of before */
    begin(HERE, false);
    step();
    ck_assert_uint_eq(other.asked, 0);
    store.contradictions = 8;
    step();
    ck_assert_uint_eq(other.asked, 1);
    answered(VERDICT_DONE);
    pass(100 * SEC);
    step();
    ck_assert_uint_eq(other.asked, 1); /* once for each */
}

/* ---- who it is
 * --------------------------------------------------------------------------------------- */

TEST(the_first_is_recorded_and_gets_a_mark)
{
    set_known("", "", 0, 0);
    begin(HERE, false);
    says(2, "d1", -1);
    step();
    ck_assert_uint_eq(store.tellings, 1);
    ck_assert_uint_eq(store.functions, 2);
    ck_assert_str_eq(store.deployment, "d1");
    ck_assert_uint_eq(store.changes, 1);
    ck_assert(store.change.what & DESTINATION_PEER);
    ck_assert_str_eq(store.change.deployment, "d1");
    ck_assert_str_eq(store.change.address, HERE);
    ck_assert_str_eq(fake_log_last, "convex.deployment it_is=first deployment=\"d1\" was=\"\" "
                                    "mark=-1 ours=0 base_url=\"" HERE "\"");
    ck_assert_int_eq(fake_log_lines[LOG_INFO], 1);
    ck_assert_int_eq(peer_next_us(&p), at.now_us + SEC);
    step();
    ck_assert_uint_eq(store.changes, 1);
    pass(SEC - 1);
    step();
    ck_assert_uint_eq(store.changes, 1);
    pass(1); /* the store did not take it: it is told once more */
    step();
    ck_assert_uint_eq(store.changes, 2);
    recorded();
    step();
    ck_assert_uint_eq(store.tellings, 1); /* the same */
    if (store.changes == 2)
        step();
    ck_assert_uint_eq(store.changes, 3);
    ck_assert_uint_eq(store.change.what, DESTINATION_RAISE); /* the first does not wait */
    ck_assert_int_eq(other.sink.us.to, 0);
    recorded();
    step();
    ck_assert_int_eq(other.sink.us.to, 1);
    ck_assert_int_eq(other.sink.us.from, -1);
    ck_assert_uint_eq(peer_mark(&p), 1);
    ck_assert_uint_eq(other.asked, 1); /* nor for a call that carries it */
    other.now.mark = 1;                /* it stands there */
    step();
    ck_assert_uint_eq(store.changes, 4);
    ck_assert_uint_eq(store.change.what, DESTINATION_MARK);
    ck_assert_uint_eq(store.change.mark, 1);
    recorded();
    step();
    ck_assert_int_eq(other.sink.us.to, 0);
    ck_assert_int_eq(other.sink.us.from, 1);
    ck_assert_uint_eq(store.changes, 4);
}

TEST(the_same_is_no_news)
{
    set_known(HERE, "d1", 3, 3);
    store.known.raised_at_us = 5000 * SEC;
    begin(HERE, false);
    says(2, "d1", 3);
    step();
    step();
    ck_assert_uint_eq(store.changes, 0);
    ck_assert_int_eq(fake_log_lines[LOG_INFO], 0);
    ck_assert_uint_eq(store.tellings, 1);
    says(3, "d1", 3); /* other functions of it */
    step();
    ck_assert_uint_eq(store.tellings, 2);
    ck_assert_uint_eq(store.functions, 3);
}

TEST(another_is_said_and_what_was_confirmed_is_in_doubt)
{
    static const struct {
        const char *deployment;
        int64_t mark;
        const char *word;
        enum log_level level;
    } cases[] = {{"d2", -1, "another", LOG_WARNING},
                 {"d1", 2, "restored", LOG_WARNING},
                 {"d1", -1, "wiped", LOG_WARNING},
                 {"d1", 9, "ahead", LOG_ERROR}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char wanted[100];
        int before = fake_log_lines[cases[i].level];
        uint64_t changes = metric_get(METRIC_DESTINATION_CHANGES);
        set_known(HERE, "d1", 3, 3);
        begin(HERE, false);
        says(2, cases[i].deployment, cases[i].mark);
        step();
        ck_assert_uint_eq(store.changes, 1);
        ck_assert(store.change.what & DESTINATION_DOUBT);
        ck_assert_int_eq(fake_log_lines[cases[i].level], before + 1);
        snprintf(wanted, sizeof wanted, "convex.deployment_changed it_is=%s deployment=\"%s\"",
                 cases[i].word, cases[i].deployment);
        ck_assert_msg(strncmp(fake_log_last, wanted, strlen(wanted)) == 0, "%s", fake_log_last);
        ck_assert_ptr_nonnull(strstr(fake_log_last, "; what was confirmed there is sent again\""));
        ck_assert_uint_eq(metric_get(METRIC_DESTINATION_CHANGES), changes + 1);
        unsigned asked = other.asked;
        recorded();
        step();
        ck_assert_uint_eq(other.asked, asked + 1); /* a doubt does not wait for a call */
    }
}

/* What was said to a store of another name is no answer to us. */
TEST(what_was_said_to_whom_we_were_says_nothing)
{
    set_known(HERE, "d1", 3, 3);
    store.known.raised_at_us = 5000 * SEC;
    begin(HERE, false);
    says(2, "d2", 9);
    snprintf(other.now.store, sizeof other.now.store, "they");
    step();
    ck_assert_uint_eq(store.changes, 0);
    ck_assert_int_eq(other.sink.us.from, -1);
    snprintf(other.now.store, sizeof other.now.store, "us");
    step();
    ck_assert_uint_eq(store.changes, 1);
}

/* ---- marks
 * --------------------------------------------------------------------------------------------- */

TEST(a_new_mark_is_wanted_each_minute_in_which_something_was_sent)
{
    set_known(HERE, "d1", 3, 3);
    store.known.raised_at_us = 5000 * SEC;
    begin(HERE, false);
    says(2, "d1", 3);
    step();
    pass(MARKS - 1);
    step();
    ck_assert_uint_eq(store.changes, 0);
    pass(1);
    step();
    ck_assert_uint_eq(store.changes, 1);
    ck_assert_uint_eq(store.change.what, DESTINATION_RAISE);
    recorded();
    step();
    ck_assert_uint_eq(other.asked, 0); /* it rides on the next call */
    ck_assert_int_eq(other.sink.us.to, 4);
    other.now.mark = 4;
    step();
    recorded();
    pass(10 * MARKS);
    step();
    ck_assert_uint_eq(store.changes, 2); /* nothing was sent since */
    at.ordinal++;
    step();
    ck_assert_uint_eq(store.changes, 3);
    ck_assert_uint_eq(store.change.what, DESTINATION_RAISE);
    recorded();
    other.now.mark = 5;
    step();
    recorded();
    at.ordinal++;
    at.wall_us -= 3600 * SEC; /* a clock that was put back */
    step();
    step();
    ck_assert_uint_eq(store.change.what, DESTINATION_RAISE);
    ck_assert_uint_eq(store.changes, 5);
}

TEST(a_raise_of_a_single_documents_sink_is_asked_for)
{
    set_known(HERE, "d1", 3, 3);
    begin(HERE, false);
    other.sink.max_documents = 1; /* no call of it carries one */
    says(2, "d1", 3);
    step();
    step();
    ck_assert_uint_eq(store.change.what, DESTINATION_RAISE);
    recorded();
    step();
    ck_assert_uint_eq(other.asked, 1);
}

TEST(no_mark_is_wanted_of_functions_that_keep_none)
{
    static const struct {
        int functions;
        const char *deployment;
        uint64_t wanted;
    } cases[] = {{1, "d1", 3}, {2, "", 3}, {2, "d1", 4}};

    for (size_t i = 0; i < 3; i++) {
        set_known(HERE, cases[i].deployment, 3, cases[i].wanted);
        begin("", false); /* it is not judged */
        says(cases[i].functions, "d1", 3);
        step();
        ck_assert_uint_eq(store.changes, 0);
    }
}

TEST(a_mark_that_nobody_of_us_wanted_has_it_asked_who_is_there)
{
    set_known(HERE, "d1", 3, 3);
    store.known.raised_at_us = 5000 * SEC;
    begin(HERE, false);
    says(2, "d1", 3);
    step();
    other.now.mark = 4; /* heard of by a call */
    step();
    ck_assert_uint_eq(other.asked, 1);
    ck_assert_uint_eq(store.changes, 0); /* and nothing is recorded of it */
    step();
    ck_assert_uint_eq(other.asked, 1); /* while that is out */
}

TEST(a_raise_that_was_missed_is_asked_for_each_second)
{
    set_known(HERE, "d1", 3, 4);
    store.known.has_doubt = true;
    begin(HERE, false);
    says(2, "d1", 3);
    ck_assert_int_eq(peer_next_us(&p), 0);
    step();
    ck_assert_uint_eq(other.asked, 1);
    answered(VERDICT_DONE);
    ck_assert_int_eq(peer_next_us(&p), at.now_us + SEC);
    pass(SEC - 1);
    step();
    ck_assert_uint_eq(other.asked, 1);
    pass(1);
    step();
    ck_assert_uint_eq(other.asked, 2);
    answered(VERDICT_DONE);
    store.known.is_swept = true; /* the doubt waits for nothing any more */
    store.revision++;
    pass(10 * SEC);
    step();
    ck_assert_uint_eq(other.asked, 2);
    ck_assert_int_eq(peer_next_us(&p), INT64_MAX);
}

/* ---- a new destination that is to be adopted
 * ------------------------------------------------------------ */

TEST(a_new_one_holds_until_it_is_adopted)
{
    set_known(HERE, "d1", 3, 3);
    begin(HERE, true);
    ck_assert(peer_holds(&p)); /* it has not said who it is */
    ck_assert_str_eq(peer_why(&p), "the deployment has not said yet who it is");
    step();
    ck_assert_uint_eq(other.asked, 1);
    answered(VERDICT_UNKNOWN);
    ck_assert_int_eq(peer_next_us(&p),
                     at.now_us + 5 * SEC); /* while it holds it is asked oftener */
    says(2, "d2", -1);
    step();
    ck_assert(peer_holds(&p));
    ck_assert_str_eq(peer_why(&p), "another deployment answers, or this one was made anew");
    ck_assert_uint_eq(store.changes, 0);
    ck_assert_int_eq(fake_log_lines[LOG_ERROR], 1);
    ck_assert_ptr_nonnull(strstr(fake_log_last, "convex.deployment_changed it_is=another why=\""));
    step();
    ck_assert_int_eq(fake_log_lines[LOG_ERROR], 1); /* once */
    peer_adopt(&p);
    step();
    ck_assert(!peer_holds(&p));
    ck_assert_uint_eq(store.changes, 1);
    ck_assert(store.change.what & DESTINATION_DOUBT);
    recorded();
    says(2, "d3", -1); /* adopted was the one before */
    step();
    step();
    ck_assert(peer_holds(&p));
    ck_assert_int_eq(fake_log_lines[LOG_ERROR], 2);
    says(2, "d2", -1); /* it is back */
    step();
    ck_assert(!peer_holds(&p));
}

TEST(what_is_no_new_one_does_not_hold)
{
    set_known("", "", 0, 0);
    begin(HERE, true);
    ck_assert(!peer_holds(&p)); /* there was none before */
    says(2, "d1", -1);
    step();
    ck_assert(!peer_holds(&p));
    ck_assert_uint_eq(store.changes, 1);
    set_known(HERE, "d1", 3, 3);
    begin(HERE, true);
    says(2, "d1", 2); /* put back: the one that is meant all the same */
    step();
    ck_assert(!peer_holds(&p));
    ck_assert_uint_eq(store.changes, 1);
    peer_adopt(&p); /* nothing is held: it counts for nothing later */
    recorded();
    says(2, "d2", -1);
    step();
    step();
    ck_assert(peer_holds(&p));
}
