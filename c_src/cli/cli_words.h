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
    /* rebuild: many requests, made of a file */
    const char *from; /* its path, an argument; NULL: another word */
    int64_t from_line;
    bool lower;
    bool audit; /* the answer takes long: show how far it is */
};

/**
 * cli_words_parse(word, argc, argv, ask, why, size):
 * Make ${ask} of ${word} and its arguments.  ERR_NOT_FOUND: no word that speaks to a sidecar;
 * ERR_INVALID: ${why} says what is wrong with the arguments.  ${ask} is empty then.
 */
enum err cli_words_parse(const char *word, int argc, char **argv, struct ask *ask, char *why,
                         size_t size) MUST_CHECK;

/** cli_words_help(word, out): What ${word} does and takes; NULL: all words.  False: none of them.
 */
bool cli_words_help(const char *word, FILE *out);

#endif
