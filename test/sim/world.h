/* world.h - what there is in the simulation: documents, faults, calls, chance. */

/* A part of sim.c. */

#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#define SIM_DOCUMENTS 160
#define SIM_VERSIONS  6
#define SIM_FAULTS    6
#define SIM_CALLS     256 /* in flight */
#define SIM_BATCH     16
#define SIM_EVENTS    40
#define SIM_SECOND    1000000
#define SIM_HEAVY_CAP 20 /* weight that fits into a call */

enum illness {
    HEALTHY,
    ILL_ITEM,  /* rejected */
    ILL_CALL,  /* its call is refused as a whole: a firewall */
    ILL_500,   /* its call's outcome is unknown */
    ILL_HANGS, /* its call is not answered for a minute, and then unknown */
    ILLNESSES
};

enum fault_sort { FAULT_REFUSES, FAULT_AGAIN, FAULT_UNKNOWN, FAULT_HANGS, FAULT_SORTS };

struct sim_fault {
    enum fault_sort sort;
    int kind; /* -1: the endpoint */
    int64_t begin_us, end_us;
    unsigned begin_call;   /* not 0: it begins when that call is sent, and lasts for so long */
    unsigned begin_answer; /* or when so many answers were given, just before the next is made */
    int64_t lasts_us;
    bool by_nature; /* 401, 429: says that it is about the endpoint */
    bool has_begun;
    /* one document alone may be to blame: met once calls of two met it, or one of several, or a
     * control */
    int first; /* 1 + the document of the first call that met it; 0: none yet */
    int64_t met_us;
};

struct sim_document {
    char id[32];
    int kind, weight;
    enum illness ill[SIM_VERSIONS + 1];
    int64_t seq, standing, put_us[SIM_VERSIONS + 1], next_put_us;
    int64_t stood_us;
    unsigned calls, sent;  /* in flight with it; times it was sent */
    bool is_dead, is_bulk; /* is_bulk: its first version */
    /* its version's refusals, the last and the one before: the last ordinal given when each came,
     * and what had been found bad by then */
    int64_t refused_seq;
    bool is_control_known; /* when it was last refused alone: before it was sent */
    unsigned refusals;
    uint64_t refused[2], proven;
    unsigned failed_in; /* the last call of several with it that failed as a whole; 0: none */
};

/* A call of several that failed as a whole, until its documents were in another one that did. */
struct sim_group {
    unsigned call, count, heard; /* heard: calls sent when its answer came */
    uint64_t ordinal;            /* delivery's, then */
};

struct sink_call {
    struct sim *sim;
    int documents[SIM_BATCH];
    int64_t seqs[SIM_BATCH];
    size_t count;
    int control; /* the kind; -1: none; -2: any */
    bool is_question, has_verdicts, has_each, has_control;
    unsigned no; /* of all calls, from 1 */
    int64_t sent_us, due_us;
    struct verdict overall, each[SIM_BATCH], control_verdict;
    sink_answered *answered;
    sink_told *told;
    void *arg;
};

struct sim {
    struct sink sink;
    struct outbox *outbox;
    struct delivery *delivery;
    uint64_t random, seed;
    int64_t begun_us, faults_end_us;
    int document_count, kind_count, fault_count, refusing_faults;
    bool is_single, has_control, has_hanging, answers_at_once;
    bool is_ill;   /* nearly every document */
    bool is_once;  /* one version a document */
    bool is_dense; /* healthy ones within a second or two, and one fault between two answers */
    struct sim_document documents[SIM_DOCUMENTS];
    struct sim_fault faults[SIM_FAULTS];
    struct sink_call *flight[SIM_CALLS];
    size_t flight_count;
    struct sim_group groups[64]; /* the last ones, by call */
    unsigned accepted_call;      /* the last one sent of those that brought an acceptance */
    unsigned calls, answers, restarts;
    int64_t restart_us, attached_us;
    int64_t known_us; /* before, nobody has heard of a control: functions have not been asked yet */
    int64_t call_times_us[64]; /* of the last ones, a ring */
    int lose_percent;
    struct dispatch_options options;
    unsigned excused; /* healthy ones that two separate faults have buried */
    unsigned healed;
    char events[SIM_EVENTS][160];
    unsigned event_count;
    char failed[200]; /* "" : not yet */
};

/* ---- events and chance ------------------------------------------------------------ */

static void sim_say(struct sim *s, const char *format, ...) PRINTF(2, 3);
static void sim_say(struct sim *s, const char *format, ...)
{
    char *line = s->events[s->event_count++ % SIM_EVENTS];
    int n = snprintf(line, 160, "%10.3f ", (double)(sim_now_us - s->begun_us) / SIM_SECOND);
    va_list args;

    va_start(args, format);
    vsnprintf(line + n, (size_t)(160 - n), format, args);
    va_end(args);
    if (getenv("SIM_TRACE") != NULL)
        printf("%s\n", line);
}

static void sim_fail(struct sim *s, const char *format, ...) PRINTF(2, 3);
static void sim_fail(struct sim *s, const char *format, ...)
{
    va_list args;

    if (s->failed[0] != '\0')
        return;
    va_start(args, format);
    vsnprintf(s->failed, sizeof s->failed, format, args);
    va_end(args);
    sim_say(s, "FAILED: %s", s->failed);
}

static int chance(struct sim *s, int below)
{
    return (int)(pace_random(&s->random) % (uint64_t)below);
}

/* Chance that does not change when another line of the script is left out. */
static int chance_of(const struct sim *s, int document, int64_t seq, unsigned salt, int below)
{
    uint64_t x = s->seed + 0x9e3779b97f4a7c15u * (uint64_t)(document + 2) +
                 0xbf58476d1ce4e5b9u * (uint64_t)seq + 0x94d049bb133111ebu * salt;

    (void)pace_random(&x);
    return (int)(pace_random(&x) % (uint64_t)below);
}

enum { SALT_TIME = 1, SALT_WHEN, SALT_LOST, SALT_AGAIN, SALT_LATER, SALTS };

/* The same for a call: by its first document, and how often that was sent. */
static int chance_in(const struct sim *s, const struct sink_call *c, unsigned salt, int below)
{
    const struct sim_document *d = c->count > 0 ? &s->documents[c->documents[0]] : NULL;

    if (d == NULL)
        return chance_of(s, -1, sim_now_us, salt, below);
    return chance_of(s, c->documents[0], c->seqs[0], salt + SALTS * d->sent, below);
}

#endif
