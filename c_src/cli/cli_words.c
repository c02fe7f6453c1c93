/*
 * cli_words.c - the words of the command line, as requests.
 *
 * One table (words.def): each word with what it takes, what it does, an example, and the function
 * that makes its request (docs/PROTOCOL.md, "Queries and control").  Help, the man page, the
 * completion and parsing all read it, so a word cannot be without help, and an option is taken
 * exactly where the help shows it.  `run`, `check-config` and `version` are main's.
 *
 * What can go wrong: too few or too many arguments, an option that belongs to another word, a
 * missing or malformed number.  It is reported in one sentence, and nothing is sent.
 *
 * Pure: no files, no network, no printing.
 */

#include "cli/cli_words.h"

#include "term/term.h"

#include <ctype.h>
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
    /* the options, as words.def names their fields */
    bool json, all, troubled, lower, repair, dry_run, yes;
    const char *kind, *id, *from, *after; /* NULL: not given */
    int64_t from_line, looks, timeout_ms; /* 0: not given */
    char *why;                            /* gets a sentence on what is wrong */
    size_t why_size;
};

struct word;
typedef bool make_request(const struct word *w, struct arguments *a, struct ask *ask);

static make_request make_plain, make_top, make_tap, make_pending, make_wait, make_one, make_clear,
    make_dead, make_adopt, make_rebuild, make_audit;

static const struct word {
    struct cli_word shown;
    make_request *make; /* NULL: main's */
} words[] = {
#define WORD(name, takes, does, example, make) {{name, takes, does, example}, make},
#include "cli/words.def"
};

enum option_type { FLAG, TEXT, PATH, LINE, SECONDS };

static const struct option {
    struct cli_option shown;
    enum option_type type;
    size_t offset;
} options[] = {
#define OPTION(name, value, type, field, help)                                                     \
    {{name, value, help, type == PATH}, type, offsetof(struct arguments, field)},
#include "cli/words.def"
};

#define WORD_COUNT   (sizeof words / sizeof *words)
#define OPTION_COUNT (sizeof options / sizeof *options)

const struct cli_word *cli_words_at(size_t i)
{
    return i < WORD_COUNT ? &words[i].shown : NULL;
}

bool cli_words_asks_sidecar(const struct cli_word *w)
{
    return ((const struct word *)(const void *)w)->make != NULL; /* shown is its first member */
}

const struct cli_option *cli_words_option_at(size_t i)
{
    return i < OPTION_COUNT ? &options[i].shown : NULL;
}

bool cli_words_takes(const char *takes, const char *name)
{
    size_t len = strlen(name);

    for (const char *at = takes; (at = strstr(at, name)) != NULL; at += len) {
        char before = at == takes ? ' ' : at[-1], after = at[len];
        if ((before == ' ' || before == '[') && !isalnum((unsigned char)after) && after != '-')
            return true;
    }
    return false;
}

static bool refuse(struct arguments *a, const char *why)
{
    snprintf(a->why, a->why_size, "%s", why);
    return false;
}

/* ---- the requests ------------------------------------------------------------------ */

/* Whether there are ${min} to ${max} plain arguments. */
static bool takes(struct arguments *a, int min, int max)
{
    if (a->count < min)
        return refuse(a, "an argument is missing");
    return a->count <= max || refuse(a, "too many arguments");
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
    if (!takes(a, 0, 0))
        return false;
    term_put_atom(&ask->request, w->shown.name);
    return true;
}

static bool make_top(const struct word *w, struct arguments *a, struct ask *ask)
{
    (void)w;
    if (!takes(a, 0, 0))
        return false;
    term_put_atom(&ask->request, "status");
    ask->top = true;
    ask->looks = a->looks;
    return true;
}

/* {pending, #{troubled, kind}} */
static bool make_pending(const struct word *w, struct arguments *a, struct ask *ask)
{
    struct buf *b = &ask->request;

    if (!takes(a, 0, 0))
        return false;
    term_put_tuple(b, 2);
    term_put_atom(b, w->shown.name);
    term_put_map(b, a->kind != NULL ? 2 : 1);
    term_put_atom(b, "troubled");
    term_put_bool(b, a->troubled);
    if (a->kind != NULL) {
        term_put_atom(b, "kind");
        term_put_text(b, a->kind);
    }
    return true;
}

/* {tap, #{kind, id}} */
static bool make_tap(const struct word *w, struct arguments *a, struct ask *ask)
{
    struct buf *b = &ask->request;

    if (!takes(a, 0, 0))
        return false;
    term_put_tuple(b, 2);
    term_put_atom(b, w->shown.name);
    term_put_map(b, 2);
    term_put_atom(b, "kind");
    term_put_text(b, a->kind != NULL ? a->kind : "");
    term_put_atom(b, "id");
    term_put_text(b, a->id != NULL ? a->id : "");
    ask->tap = true;
    ask->timeout_ms = a->timeout_ms;
    return true;
}

static bool make_wait(const struct word *w, struct arguments *a, struct ask *ask)
{
    int64_t wait_ms = DEFAULT_WAIT_MS;

    if (!takes(a, 0, 1))
        return false;
    if (a->count == 1 && !parse_number(a->list[0], WAIT_MAX_MS, &wait_ms))
        return refuse(a, "a number of milliseconds from 0 to 3600000 is wanted");
    term_put_tuple(&ask->request, 2);
    term_put_atom(&ask->request, w->shown.name);
    term_put_integer(&ask->request, wait_ms);
    if (a->timeout_ms == 0) /* the sidecar answers by then; leave it time to */
        ask->timeout_ms = wait_ms + DEFAULT_TIMEOUT_MS;
    return true;
}

static bool make_one(const struct word *w, struct arguments *a, struct ask *ask)
{
    if (!takes(a, 1, 1))
        return false;
    put_pair(&ask->request, w->shown.name, a->list[0]);
    return true;
}

/* {adopt, #{dry_run => ...}} */
static void put_adopt(struct buf *b, bool dry_run)
{
    term_put_tuple(b, 2);
    term_put_atom(b, "adopt");
    term_put_map(b, 1);
    term_put_atom(b, "dry_run");
    term_put_bool(b, dry_run);
}

static bool make_adopt(const struct word *w, struct arguments *a, struct ask *ask)
{
    (void)w;
    if (!takes(a, 0, 0))
        return false;
    put_adopt(&ask->request, a->dry_run);
    if (!a->dry_run)
        ask->loss = "takes the destination for the one that is meant";
    return true;
}

/* {clear, Id | {kind, Kind} | all}, or with #{dry_run => true} for a third. */
static void put_clear(struct buf *b, const struct word *w, const struct arguments *a, bool dry_run)
{
    term_put_tuple(b, dry_run ? 3 : 2);
    term_put_atom(b, w->shown.name);
    if (a->all)
        term_put_atom(b, "all");
    else if (a->kind != NULL)
        put_pair(b, "kind", a->kind);
    else
        term_put_text(b, a->list[0]);
    if (!dry_run)
        return;
    term_put_map(b, 1);
    term_put_atom(b, "dry_run");
    term_put_bool(b, true);
}

static bool make_clear(const struct word *w, struct arguments *a, struct ask *ask)
{
    if (!takes(a, 0, 1))
        return false;
    if (a->count + (a->kind != NULL) + a->all != 1)
        return refuse(a, "one of ID, --kind KIND or --all is wanted");
    put_clear(&ask->request, w, a, a->dry_run);
    if (a->count == 0 && !a->dry_run) {
        ask->loss = "removes documents from Convex";
        put_clear(&ask->preview, w, a, true);
    }
    return true;
}

static bool make_dead(const struct word *w, struct arguments *a, struct ask *ask)
{
    if (a->count == 0 || a->count > 2)
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
    term_put_atom(&ask->request, w->shown.name);
    if (a->count == 2) {
        put_pair(&ask->request, what, a->list[1]);
    } else if (a->all) {
        term_put_tuple(&ask->request, 2);
        term_put_atom(&ask->request, what);
        term_put_atom(&ask->request, "all");
    } else {
        term_put_atom(&ask->request, what);
    }
    if (strcmp(what, "drop") == 0)
        ask->loss = "forgets a document that Convex never took";
    return true;
}

static bool make_rebuild(const struct word *w, struct arguments *a, struct ask *ask)
{
    (void)w; /* its requests are made from the file */
    if (a->count > 0 || a->from == NULL || *a->from == '\0')
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

    if (a->count > is_word)
        return refuse(a, "status, cancel, or --kind, --repair and --after are wanted");
    if (is_word && (a->kind || a->repair || a->after || a->dry_run || a->yes))
        return refuse(a, "status and cancel stand alone");
    term_put_tuple(b, is_word ? 2 : 3);
    term_put_atom(b, w->shown.name);
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
    term_put_bool(b, a->repair && !a->dry_run);
    term_put_atom(b, "after");
    term_put_text(b, a->after ? a->after : "");
    ask->audit = true;
    if (a->repair && !a->dry_run)
        ask->loss = "removes from Convex every document that this store does not know";
    if (a->timeout_ms == 0)
        ask->timeout_ms = AUDIT_TIMEOUT_MS;
    return true;
}

/* ---- options ------------------------------------------------------------------------ */

static const struct option *find_option(const char *name)
{
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (strcmp(options[i].shown.name, name) == 0)
            return &options[i];
    return NULL;
}

static bool belongs(const struct word *w, const struct option *o)
{
    return o->offset == offsetof(struct arguments, json) ||
           o->offset == offsetof(struct arguments, timeout_ms) ||
           cli_words_takes(w->shown.takes, o->shown.name);
}

/* Report that ${o} belongs to another word, and to which. */
static bool refuse_foreign(struct arguments *a, const struct option *o)
{
    size_t n = (size_t)snprintf(a->why, a->why_size, "%s does not belong here; it goes with",
                                o->shown.name);
    const char *between = " ";

    for (size_t i = 0; i < WORD_COUNT && n < a->why_size; i++)
        if (belongs(&words[i], o)) {
            n +=
                (size_t)snprintf(a->why + n, a->why_size - n, "%s%s", between, words[i].shown.name);
            between = ", ";
        }
    return false;
}

static bool take_value(struct arguments *a, const struct option *o, const char *value)
{
    void *field = (char *)a + o->offset;
    int64_t seconds;

    if (value == NULL) {
        snprintf(a->why, a->why_size, "%s needs a value", o->shown.name);
        return false;
    }
    switch (o->type) {
    case LINE:
        if (parse_number(value, LINES_MAX, field) && *(int64_t *)field > 0)
            return true;
        snprintf(a->why, a->why_size, "%s wants a number from 1", o->shown.name);
        return false;
    case SECONDS:
        if (!parse_number(value, TIMEOUT_MAX_S, &seconds) || seconds == 0)
            return refuse(a, "--timeout wants a number of seconds from 1 to 7200");
        a->timeout_ms = seconds * 1000;
        return true;
    case FLAG:
    case TEXT:
    case PATH:
        break;
    }
    *(const char **)field = value;
    return o->type == PATH || strlen(value) < ID_BYTES || refuse(a, "that is too long");
}

static bool take_plain(struct arguments *a, const char *text)
{
    if (a->count == ARGUMENTS_MAX || strlen(text) >= ID_BYTES)
        return refuse(a, a->count == ARGUMENTS_MAX ? "too many arguments" : "that is too long");
    a->list[a->count++] = text;
    return true;
}

static bool sort_arguments(const struct word *w, int argc, char **argv, struct arguments *a)
{
    bool plain_only = false;

    for (int i = 0; i < argc; i++) {
        const char *arg = argv[i];
        const struct option *o = find_option(arg);
        bool ok = true;
        if (plain_only || strncmp(arg, "--", 2) != 0) {
            ok = take_plain(a, arg);
        } else if (strcmp(arg, "--") == 0) {
            plain_only = true;
        } else if (o == NULL) {
            snprintf(a->why, a->why_size, "%.60s is not understood", arg);
            ok = false;
        } else if (!belongs(w, o)) {
            ok = refuse_foreign(a, o);
        } else if (o->type == FLAG) {
            *(bool *)((char *)a + o->offset) = true;
        } else {
            i++;
            ok = take_value(a, o, i < argc ? argv[i] : NULL);
        }
        if (!ok)
            return false;
    }
    return true;
}

static const struct word *find_word(const char *name)
{
    for (size_t i = 0; i < WORD_COUNT; i++)
        if (strcmp(words[i].shown.name, name) == 0)
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
    if (!sort_arguments(w, argc, argv, &a))
        return ERR_INVALID;
    ask->json = a.json;
    ask->yes = a.yes;
    ask->dry_run = a.dry_run;
    ask->timeout_ms = a.timeout_ms ? a.timeout_ms : DEFAULT_TIMEOUT_MS;
    if (w->make(w, &a, ask))
        return ERR_OK;
    cli_words_free(ask);
    return ERR_INVALID;
}

void cli_words_free(struct ask *ask)
{
    buf_free(&ask->request);
    buf_free(&ask->preview);
    *ask = (struct ask){0};
}
