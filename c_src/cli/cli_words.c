/*
 * cli_words.c - the words of the command line.
 *
 * One table: each word with what it takes, what it does, an example, and the function that makes
 * its request (docs/PROTOCOL.md, "Looking and steering").  Help and parsing both read it, so a word
 * cannot be without help.  `run`, `check-config` and `version` are main's; they stand here for
 * their help.
 *
 * What can go wrong: too few or too many arguments, a number that is none.  A word's function says
 * so in one sentence and nothing is sent.
 *
 * Pure: no files, no network, no printing but help.
 */

#include "cli/cli_words.h"

#include "term/term.h"

#include <errno.h>

#define DEFAULT_TIMEOUT_MS 5000
#define DEFAULT_WAIT_MS    10000   /* of flush and drain */
#define WAIT_MAX_MS        3600000 /* an hour */
#define TIMEOUT_MAX_S      7200
#define REBUILD_TIMEOUT_MS 60000 /* of rebuild, without progress */
#define AUDIT_TIMEOUT_MS   7200000
#define LINES_MAX          INT64_MAX
#define ARGUMENTS_MAX      2
#define ID_BYTES           4096 /* longer than any id can be */

/* The arguments, sorted. */
struct arguments {
    const char *list[ARGUMENTS_MAX]; /* those without -- */
    int count;
    const char *kind;  /* --kind K */
    bool all;          /* --all */
    bool json;         /* --json */
    const char *from;  /* --from FILE */
    int64_t from_line; /* --from-line N; 0: not given */
    bool lower;        /* --lower */
    bool repair;       /* --repair */
    const char *after; /* --after ID */
    int64_t timeout_ms;
    char *why; /* for a sentence on what is wrong */
    size_t why_size;
};

struct word {
    const char *name, *takes, *does, *example;
    bool (*make)(const struct word *w, struct arguments *a, struct ask *ask); /* NULL: main's */
};

static bool make_plain(const struct word *w, struct arguments *a, struct ask *ask);
static bool make_wait(const struct word *w, struct arguments *a, struct ask *ask);
static bool make_checkpoint(const struct word *w, struct arguments *a, struct ask *ask);
static bool make_clear(const struct word *w, struct arguments *a, struct ask *ask);
static bool make_dead(const struct word *w, struct arguments *a, struct ask *ask);
static bool make_rebuild(const struct word *w, struct arguments *a, struct ask *ask);
static bool make_audit(const struct word *w, struct arguments *a, struct ask *ask);

static const struct word words[] = {
    {"run", "[--managed]",
     "Be the sidecar, until SIGTERM or SIGINT.  With --managed it is a BEAM's child: "
     "configuration\n"
     "comes on standard input, whose end is also the sidecar's.",
     "convex_sidecar run --config /etc/convex_sidecar/sidecar.ini", NULL},
    {"check-config", "",
     "Read the configuration as run would, say what is wrong with it (exit status 2) or print all\n"
     "options in force, secrets as ***.",
     "convex_sidecar check-config --config sidecar.ini", NULL},
    {"store", "check | dump | repair",
     "Look into the store of a sidecar that does not run (docs/OPERATIONS.md).  check walks all "
     "of\n"
     "it and says what is damaged (exit status 1); dump writes every record as a line of JSON;\n"
     "repair makes a sound store of what can be read, puts it in place, and keeps the old one\n"
     "beside it.",
     "convex_sidecar store check --store /var/lib/convex_sidecar", NULL},
    {"version", "", "Print the version.", "convex_sidecar version", NULL},
    {"status", "", "Show how the sidecar stands, with all its metrics.",
     "convex_sidecar status --json", make_plain},
    {"flush", "[MILLISECONDS]",
     "Wait until everything kept by now is delivered or a dead letter (default: 10000 ms at most).",
     "convex_sidecar flush 60000", make_wait},
    {"pause", "", "Send nothing until resume; documents are taken and kept meanwhile.",
     "convex_sidecar pause", make_plain},
    {"resume", "", "End pause and drain; when delivery was stopped by a fault, try again at once.",
     "convex_sidecar resume", make_plain},
    {"drain", "[MILLISECONDS]",
     "Take nothing new and wait until all is delivered (default: 10000 ms at most), as before an\n"
     "upgrade.  resume opens again.",
     "convex_sidecar drain 30000", make_wait},
    {"reload", "", "Read the admin key file again; try again at once when delivery was stopped.",
     "convex_sidecar reload", make_plain},
    {"checkpoint", "ID", "Show what is known of one document.",
     "convex_sidecar checkpoint runtime/run_summary:run_1", make_checkpoint},
    {"clear", "ID | --kind KIND | --all",
     "Remove documents from Convex and forget their checkpoints, so that a rebuild starts fresh.",
     "convex_sidecar clear --kind run_summary", make_clear},
    {"dead", "list [AFTER] | show ID | retry ID | retry --all | drop ID",
     "The dead letters: documents that Convex refused.  list shows up to 1000, after the id "
     "AFTER;\n"
     "show says why one was refused; retry makes them pending again; drop forgets one for good.",
     "convex_sidecar dead retry --all", make_dead},
    {"rebuild", "--from FILE [--from-line N] [--lower]",
     "Project every entity of a file of event history anew (JSON lines, docs/OPERATIONS.md; - is\n"
     "standard input), beside live writes: what the sidecar knows to be newer is skipped, unless\n"
     "--lower is given.  --from-line goes on where an earlier rebuild ended.  --timeout is how "
     "long\n"
     "the sidecar may take nothing (default: 60).",
     "convex_sidecar rebuild --from history.jsonl", make_rebuild},
    {"audit", "[--kind KIND] [--repair] [--after ID] | status | cancel",
     "Compare what Convex holds with what it has confirmed, and list what differs (exit status 1 "
     "when\n"
     "something does).  --repair removes documents the store does not know, and has the others "
     "written\n"
     "again by their next projection (`rebuild`, or mix runtime.convex.audit --repair); a store "
     "that\n"
     "was lost knows none, so rebuild that first.  --after goes on behind a document.  Ctrl-C "
     "cancels.",
     "convex_sidecar audit --kind run_summary", make_audit},
};

#define WORD_COUNT (sizeof words / sizeof *words)

static bool refuse(struct arguments *a, const char *why)
{
    snprintf(a->why, a->why_size, "%s", why);
    return false;
}

/* Whether exactly ${count} plain arguments are there, and --kind and --all only where allowed. */
static bool takes(struct arguments *a, int min, int max, bool selectors)
{
    if (a->count < min)
        return refuse(a, "an argument is missing");
    if (a->count > max)
        return refuse(a, "too many arguments");
    if (a->from != NULL || a->from_line != 0 || a->lower)
        return refuse(a, "--from, --from-line and --lower belong to rebuild");
    if (a->repair || a->after != NULL)
        return refuse(a, "--repair and --after belong to audit");
    if (!selectors && (a->all || a->kind != NULL))
        return refuse(a, "--all and --kind do not belong here");
    return true;
}

static bool parse_number(const char *text, int64_t max, int64_t *value)
{
    char *end;

    errno = 0;
    long long v = strtoll(text, &end, 10);
    *value = v;
    return errno == 0 && end != text && *end == '\0' && v >= 0 && v <= max;
}

/* {${name}, ${id}}: the second a binary. */
static void put_pair(struct buf *b, const char *name, const char *id)
{
    term_put_tuple(b, 2);
    term_put_atom(b, name);
    term_put_text(b, id);
}

static bool make_plain(const struct word *w, struct arguments *a, struct ask *ask)
{
    if (!takes(a, 0, 0, false))
        return false;
    term_put_atom(&ask->request, w->name);
    return true;
}

static bool make_wait(const struct word *w, struct arguments *a, struct ask *ask)
{
    int64_t wait_ms = DEFAULT_WAIT_MS;

    if (!takes(a, 0, 1, false))
        return false;
    if (a->count == 1 && !parse_number(a->list[0], WAIT_MAX_MS, &wait_ms))
        return refuse(a, "a number of milliseconds from 0 to 3600000 is wanted");
    term_put_tuple(&ask->request, 2);
    term_put_atom(&ask->request, w->name);
    term_put_integer(&ask->request, wait_ms);
    if (a->timeout_ms == 0) /* the sidecar answers by then; leave it time to */
        ask->timeout_ms = wait_ms + DEFAULT_TIMEOUT_MS;
    return true;
}

static bool make_checkpoint(const struct word *w, struct arguments *a, struct ask *ask)
{
    if (!takes(a, 1, 1, false))
        return false;
    put_pair(&ask->request, w->name, a->list[0]);
    return true;
}

static bool make_clear(const struct word *w, struct arguments *a, struct ask *ask)
{
    if (!takes(a, 0, 1, true))
        return false;
    if (a->count + (a->kind != NULL) + a->all != 1)
        return refuse(a, "one of ID, --kind KIND or --all is wanted");
    if (a->count == 1) {
        put_pair(&ask->request, w->name, a->list[0]);
        return true;
    }
    term_put_tuple(&ask->request, 2);
    term_put_atom(&ask->request, w->name);
    if (a->all)
        term_put_atom(&ask->request, "all");
    else
        put_pair(&ask->request, "kind", a->kind);
    return true;
}

static bool make_dead(const struct word *w, struct arguments *a, struct ask *ask)
{
    if (a->kind != NULL || !takes(a, 1, 2, true))
        return refuse(a, "list, show ID, retry ID, retry --all or drop ID is wanted");
    const char *what = a->list[0];
    bool is_list = strcmp(what, "list") == 0, is_retry = strcmp(what, "retry") == 0;

    if (!is_list && !is_retry && strcmp(what, "show") != 0 && strcmp(what, "drop") != 0)
        return refuse(a, "list, show, retry or drop is wanted");
    if (a->all && (!is_retry || a->count == 2))
        return refuse(a, "--all goes with retry alone");
    if (!is_list && !a->all && a->count != 2)
        return refuse(a, "the id of a document is wanted");

    term_put_tuple(&ask->request, 2);
    term_put_atom(&ask->request, w->name);
    if (a->count == 2) {
        put_pair(&ask->request, what, a->list[1]);
    } else if (a->all) {
        term_put_tuple(&ask->request, 2);
        term_put_atom(&ask->request, what);
        term_put_atom(&ask->request, "all");
    } else {
        term_put_atom(&ask->request, what);
    }
    return true;
}

static bool make_rebuild(const struct word *w, struct arguments *a, struct ask *ask)
{
    (void)w; /* its requests are made of the file */
    if (a->repair || a->after != NULL)
        return refuse(a, "--repair and --after belong to audit");
    if (a->count > 0 || a->all || a->kind != NULL || a->from == NULL || *a->from == '\0')
        return refuse(a, "--from FILE is wanted");
    ask->from = a->from;
    ask->from_line = a->from_line ? a->from_line : 1;
    ask->lower = a->lower;
    if (a->timeout_ms == 0)
        ask->timeout_ms = REBUILD_TIMEOUT_MS;
    return true;
}

/* {audit, all | Kind, #{repair, after}}, {audit, status}, {audit, cancel}. */
static bool make_audit(const struct word *w, struct arguments *a, struct ask *ask)
{
    const char *what = a->count == 1 ? a->list[0] : "";
    bool is_word = strcmp(what, "status") == 0 || strcmp(what, "cancel") == 0;
    struct buf *b = &ask->request;

    if (a->count > is_word || a->all || a->from || a->from_line || a->lower)
        return refuse(a, "status, cancel, or --kind, --repair and --after are wanted");
    if (is_word && (a->kind || a->repair || a->after))
        return refuse(a, "status and cancel stand alone");
    term_put_tuple(b, is_word ? 2 : 3);
    term_put_atom(b, w->name);
    if (is_word) {
        term_put_atom(b, what);
        return true;
    }
    if (a->kind)
        term_put_text(b, a->kind);
    else
        term_put_atom(b, "all");
    term_put_map(b, 2);
    term_put_atom(b, "repair");
    term_put_bool(b, a->repair);
    term_put_atom(b, "after");
    term_put_text(b, a->after ? a->after : "");
    ask->audit = true;
    if (a->timeout_ms == 0)
        ask->timeout_ms = AUDIT_TIMEOUT_MS;
    return true;
}

/* An option that takes a value. */
static bool take_value(struct arguments *a, const char *option, const char *value)
{
    int64_t seconds;

    if (value == NULL) {
        snprintf(a->why, a->why_size, "%s needs a value", option);
        return false;
    }
    if (strcmp(option, "--kind") == 0) {
        a->kind = value;
        return strlen(value) < ID_BYTES || refuse(a, "that is too long");
    }
    if (strcmp(option, "--after") == 0) {
        a->after = value;
        return strlen(value) < ID_BYTES || refuse(a, "that is too long");
    }
    if (strcmp(option, "--from") == 0) {
        a->from = value;
        return true;
    }
    if (strcmp(option, "--from-line") == 0)
        return (parse_number(value, LINES_MAX, &a->from_line) && a->from_line > 0) ||
               refuse(a, "--from-line wants the number of a line, from 1");
    if (!parse_number(value, TIMEOUT_MAX_S, &seconds) || seconds == 0)
        return refuse(a, "--timeout wants a number of seconds from 1 to 7200");
    a->timeout_ms = seconds * 1000;
    return true;
}

static bool takes_value(const char *option)
{
    static const char *const options[] = {"--kind", "--timeout", "--from", "--from-line",
                                          "--after"};

    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (strcmp(option, options[i]) == 0)
            return true;
    return false;
}

static bool sort_arguments(int argc, char **argv, struct arguments *a)
{
    bool plain_only = false;

    for (int i = 0; i < argc; i++) {
        const char *arg = argv[i];
        if (plain_only || strncmp(arg, "--", 2) != 0) {
            if (a->count == ARGUMENTS_MAX || strlen(arg) >= ID_BYTES)
                return refuse(a, a->count == ARGUMENTS_MAX ? "too many arguments"
                                                           : "that is too long");
            a->list[a->count++] = arg;
        } else if (strcmp(arg, "--") == 0) {
            plain_only = true;
        } else if (strcmp(arg, "--json") == 0) {
            a->json = true;
        } else if (strcmp(arg, "--all") == 0) {
            a->all = true;
        } else if (strcmp(arg, "--lower") == 0) {
            a->lower = true;
        } else if (strcmp(arg, "--repair") == 0) {
            a->repair = true;
        } else if (takes_value(arg)) {
            i++;
            if (!take_value(a, arg, i < argc ? argv[i] : NULL))
                return false;
        } else {
            snprintf(a->why, a->why_size, "%.60s is not understood", arg);
            return false;
        }
    }
    return true;
}

static const struct word *find_word(const char *name)
{
    for (size_t i = 0; i < WORD_COUNT; i++)
        if (strcmp(words[i].name, name) == 0)
            return &words[i];
    return NULL;
}

enum err cli_words_parse(const char *word, int argc, char **argv, struct ask *ask, char *why,
                         size_t size)
{
    struct arguments a = {.why = why, .why_size = size};
    const struct word *w = find_word(word);

    *ask = (struct ask){0};
    if (w == NULL || w->make == NULL)
        return ERR_NOT_FOUND;
    if (!sort_arguments(argc, argv, &a))
        return ERR_INVALID;
    ask->json = a.json;
    ask->timeout_ms = a.timeout_ms ? a.timeout_ms : DEFAULT_TIMEOUT_MS;
    if (w->make(w, &a, ask))
        return ERR_OK;
    buf_free(&ask->request);
    *ask = (struct ask){0};
    return ERR_INVALID;
}

static void print_word(const struct word *w, FILE *out)
{
    fprintf(out, "usage: convex_sidecar %s%s%s [OPTION]...\n\n%s\n\n", w->name,
            *w->takes ? " " : "", w->takes, w->does);
    fputs("  --config FILE      read this configuration file\n"
          "  --store DIR        the store's directory (option store.dir)\n",
          out);
    if (w->make != NULL)
        fputs("  --json             print the answer as JSON\n"
              "  --timeout SECONDS  wait this long for the sidecar (default: 5, and what the word "
              "waits)\n"
              "\nExit status: 0 done, 1 the sidecar answered an error, 2 wrong usage, 3 no sidecar "
              "there.\n",
              out);
    fprintf(out, "\nExample: %s\n", w->example);
}

static void print_all(FILE *out)
{
    fputs("usage: convex_sidecar WORD [ARGUMENT]... [--config FILE] [--store DIR]\n\n", out);
    for (size_t i = 0; i < WORD_COUNT; i++) {
        const char *does = words[i].does;
        int len = (int)strcspn(does, ".;(\n");
        while (len > 0 && does[len - 1] == ' ')
            len--;
        fprintf(out, "  %-13s %.*s\n", words[i].name, len, does);
    }
    fputs("\nconvex_sidecar WORD --help says more.  The words from status on speak to the running "
          "sidecar\n"
          "whose store this is: run them on its machine, as its user or root.\n",
          out);
}

bool cli_words_help(const char *word, FILE *out)
{
    const struct word *w = word == NULL ? NULL : find_word(word);

    if (word != NULL && w == NULL)
        return false;
    if (w != NULL)
        print_word(w, out);
    else
        print_all(out);
    return true;
}
