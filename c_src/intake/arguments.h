/* arguments.h - reads the arguments of messages: the kind they name, and options by a table. */

/* Private to intake/. */

#ifndef ARGUMENTS_H
#define ARGUMENTS_H

#include "ground/base.h"
#include "term/term.h"

struct kind;
struct kinds;

/** arguments_kind(kinds, name, kind, fault): The kind that the text ${name} names.
 * ERR_UNKNOWN_KIND: ${fault}->path is the name. */
enum err arguments_kind(const struct kinds *kinds, term name, const struct kind **kind,
                        struct fault *fault) MUST_CHECK;

/* What the value of an option is, and what it is read into. */
enum argument_type {
    ARGUMENT_FLAG,   /* true or false: bool */
    ARGUMENT_NUMBER, /* an integer from min to max: int64_t */
    ARGUMENT_RANGE,  /* two of them, the first not above the second: int64_t[2] */
    ARGUMENT_CHOICE, /* one of choices: unsigned, its place in them from 1 */
    ARGUMENT_TEXT,   /* text other than nil: struct slice, which borrows the message */
    ARGUMENT_ID,     /* a binary, or nil for an empty one: struct slice, likewise */
    ARGUMENT_TERM    /* anything; nil is NULL: term, likewise */
};

struct argument {
    const char *name;
    enum argument_type type;
    size_t offset;       /* of the value in the caller's struct */
    int64_t min, max;    /* NUMBER, RANGE */
    const char *choices; /* CHOICE: "a|b|c", atoms or binaries */
    const char *wanted;  /* the answer to a value that does not fit */
};

/**
 * arguments_options(opts, table, count, target, fault):
 * Read ${opts}, a map or a proplist of pairs, into the struct at ${target}; a field that it does
 * not name stays as it is.  ERR_INVALID: ${fault}->path is "opts.NAME", ->why what is wanted.
 */
enum err arguments_options(term opts, const struct argument *table, size_t count, void *target,
                           struct fault *fault) MUST_CHECK;

/** arguments_refuse(fault, name, why): Say in ${fault} what is wrong with option ${name}; gives
 * ERR_INVALID. */
enum err arguments_refuse(struct fault *fault, struct slice name, const char *why);

#endif
