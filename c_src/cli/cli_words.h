/* cli_words.h - the words of the command line: what each takes, and the request it stands for. */

/* Private to cli/. */

#ifndef CLI_WORDS_H
#define CLI_WORDS_H

#include "ground/base.h"
#include "ground/buf.h"

/* What a command line asks for. */
struct ask {
    struct buf request; /* one encoded term, without version byte; the owner frees it */
    bool json;          /* print the answer as JSON */
    int64_t timeout_ms; /* for the whole of it */
    /* what a second request does not undo */
    const char *loss;   /* "removes documents from Convex"; NULL: nothing is lost, do not ask */
    struct buf preview; /* a request whose answer counts them; empty: none.  The owner frees it */
    bool yes;           /* do not ask */
    /* rebuild: many requests, made of a file */
    const char *from; /* its path, an argument; NULL: another word */
    int64_t from_line;
    bool lower, dry_run;
    bool top; /* send the request again and again, looks times */
    int64_t looks;
    bool tap;   /* a streamed answer, for timeout_ms; 0: until a signal */
    bool audit; /* the answer takes long: show its progress */
};

/**
 * cli_words_parse(word, argc, argv, ask, why, size):
 * Make ${ask} of ${word} and its arguments.  ERR_NOT_FOUND: it is not a word that speaks to a
 * sidecar; ERR_INVALID: ${why} says what is wrong with the arguments.  ${ask} is empty then.
 */
enum err cli_words_parse(const char *word, int argc, char **argv, struct ask *ask, char *why,
                         size_t size) MUST_CHECK;

/** cli_words_free(ask): Free what it owns. */
void cli_words_free(struct ask *ask);

/* ---- the tables, for help ---------------------------------------------------------- */

struct cli_word {
    const char *name, *takes, *does, *example;
};

struct cli_option {
    const char *name, *value; /* value "": a flag */
    const char *help;
    bool is_path;
};

/** cli_words_at(i), cli_words_option_at(i): The i-th, or NULL after the last. */
const struct cli_word *cli_words_at(size_t i);
const struct cli_option *cli_words_option_at(size_t i);

/** cli_words_asks_sidecar(w): Whether ${w} speaks to one: --json and --timeout go with it. */
bool cli_words_asks_sidecar(const struct cli_word *w);

/** cli_words_takes(takes, name): Whether ${takes} of words.def names ${name}, an option or a word.
 */
bool cli_words_takes(const char *takes, const char *name);

#endif
