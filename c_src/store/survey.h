/* survey.h - every record of a store that nobody has open. */

#ifndef SURVEY_H
#define SURVEY_H

#include "ground/base.h"
#include "store/tables.h"

struct survey; /* opaque; one thread */

/* An entry found.  Slices are valid until the visitor returns. */
struct survey_entry {
    enum store_table table; /* STORE_TABLE_COUNT: unknown, on a lost page */
    struct slice key, value;
};

struct survey_visitor {
    void *arg;
    void (*entry)(void *arg, const struct survey_entry *e);
    /** The file is damaged: one sentence, naming the page or the table. */
    void (*damage)(void *arg, const char *what);
};

enum survey_by {
    SURVEY_BY_CURSORS, /* LMDB's own; it trusts its file, and may crash on a damaged one */
    SURVEY_BY_PAGES    /* page by page (pages.c), where cursors do not get through */
};

/**
 * survey_try(dir, fault):
 * Whether LMDB gets through the store in ${dir}: a process of its own reads every record, looks it
 * up again from the root, and counts every page.  ERR_STORE: it does not, ${fault} says where; that
 * process may have crashed, or hung for half a minute, which affects no one else.
 * ERR_NOT_FOUND: no such file.  Only in a process with one thread.
 */
enum err survey_try(const char *dir, struct fault *fault) MUST_CHECK;

/** survey_choose(dir, fault): How to read the store in ${dir}, by survey_try; ${fault} as there. */
enum survey_by survey_choose(const char *dir, struct fault *fault);

/**
 * survey_open(dir, by, visitor, s, fault):
 * Open ${dir}/data.mdb for reading only, in its last committed state; damage is reported to
 * ${visitor} (borrowed until close) from now on.  ERR_NOT_FOUND: no such file, or an empty one;
 * ERR_STORE: it cannot be read at all, or a newer sidecar made it; ${fault} says why. Nobody may
 * write to the file meanwhile: hold the store first (store_hold).
 */
enum err survey_open(const char *dir, enum survey_by by, const struct survey_visitor *visitor,
                     struct survey **s, struct fault *fault) MUST_CHECK;
void survey_close(struct survey *s);

/** survey_format(s): The store's format: 1 or STORE_FORMAT. */
unsigned survey_format(const struct survey *s);
/** survey_entries(s, t): The number of entries recorded for ${t}. */
uint64_t survey_entries(const struct survey *s, enum store_table t);
/** survey_used_bytes(s): The bytes of all pages that are not free. */
uint64_t survey_used_bytes(const struct survey *s);

/**
 * survey_table(s, t):
 * Every entry of ${t} that can be reached, in order.  What damage hides is left out, and reported.
 */
void survey_table(struct survey *s, enum store_table t);

/** survey_account(s): By cursors, after every table: whether each page is used once, or free. */
void survey_account(struct survey *s);
/** survey_lost(s): By pages, after every table: as pages_walk_lost.  By cursors: nothing. */
void survey_lost(struct survey *s);

#endif
