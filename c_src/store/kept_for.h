/* kept_for.h - which kind of sink the documents of a store are kept for. */

#ifndef KEPT_FOR_H
#define KEPT_FOR_H

#include "ground/base.h"

struct store;

#define KEPT_FOR_KEY  "kept_for" /* of its record in STORE_META */
#define KEPT_FOR_TEXT 200        /* bytes of a sentence, terminator included */

struct kept_for {
    char sink[8];     /* "noop", "file" or "http" */
    bool is_withheld; /* the sink in use confirms less than they were promised: it gets none */
    char why[KEPT_FOR_TEXT], next[KEPT_FOR_TEXT]; /* for the operator; "" unless withheld */
};

/**
 * kept_for_check(s, sink, k, fault):
 * Say in ${k} whether ${sink} ("noop", "file" or "http") may have the documents of ${s}, and
 * record it when it may.  Once, after the store is opened, outside of a transaction.  ERR_STORE:
 * ${fault} says why.
 */
enum err kept_for_check(struct store *s, const char *sink, struct kept_for *k,
                        struct fault *fault) MUST_CHECK;

/** kept_for_parse(value, sink): The record's name, static storage.  ERR_STORE: it is damaged. */
enum err kept_for_parse(struct slice value, const char **sink) MUST_CHECK;

#endif
