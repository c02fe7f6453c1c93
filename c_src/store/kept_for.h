/* kept_for.h - which kind of sink the documents of a store are kept for. */

#ifndef KEPT_FOR_H
#define KEPT_FOR_H

#include "ground/base.h"

struct store;

#define KEPT_FOR_TEXT 300 /* bytes of a sentence, terminator included */

struct kept_for {
    bool is_withheld; /* the sink in use delivers less than was promised: it gets no documents */
    char why[KEPT_FOR_TEXT], next[KEPT_FOR_TEXT]; /* for the operator; "" unless withheld */
};

/**
 * kept_for_check(s, names, sink, k, fault):
 * Say in ${k} whether ${sink} may have the documents of ${s}, and record it when it may.  ${names}
 * are all sinks, from the one that delivers least to the furthest, then NULL; ${sink} is
 * one of them.  Once, after the store is opened, outside of a transaction.  ERR_STORE: ${fault}
 * says why.
 */
enum err kept_for_check(struct store *s, const char *const *names, const char *sink,
                        struct kept_for *k, struct fault *fault) MUST_CHECK;

/** kept_for_is_name(value): Whether ${value} can be a sink's name: a few lower-case letters. */
bool kept_for_is_name(struct slice value);

#endif
