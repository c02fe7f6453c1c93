/* pages.h - a store's file read page by page, without LMDB: for a file that may be damaged. */

/* Private to store/. */
/* To read a store, use survey.h. */

#ifndef PAGES_H
#define PAGES_H

#include "ground/base.h"
#include "store/survey.h"

struct pages; /* opaque; one thread */

/**
 * pages_open(dir, visitor, p, fault):
 * Open ${dir}/data.mdb for reading only, find the newest committed state and its free pages;
 * damage is reported to ${visitor} (borrowed until close) from now on.  ERR_NOT_FOUND: no such
 * file; ERR_STORE: it cannot be read at all, or a newer sidecar made it; ${fault} says why.
 * Nobody may write to the file meanwhile: hold the store first (store_hold).
 */
enum err pages_open(const char *dir, const struct survey_visitor *visitor, struct pages **p,
                    struct fault *fault) MUST_CHECK;
void pages_close(struct pages *p);

/** pages_format(p): The store's format: 1 or STORE_FORMAT. */
unsigned pages_format(const struct pages *p);
/** pages_entries(p, t): The number of entries recorded for ${t}. */
uint64_t pages_entries(const struct pages *p, enum store_table t);
/** pages_used_bytes(p): The bytes of all pages that are not free. */
uint64_t pages_used_bytes(const struct pages *p);

/**
 * pages_walk(p, t):
 * Every entry of ${t} that can be reached, in order.  What a damaged page hides is left out, and
 * reported.
 */
void pages_walk(struct pages *p, enum store_table t);

/**
 * pages_walk_lost(p):
 * After every table was walked: entries on intact pages that belong to no table and are not free,
 * because the page that led there is damaged.  When the list of free pages is damaged as well,
 * there may be outdated ones among them.  Nothing, when no page of a table is damaged.
 */
void pages_walk_lost(struct pages *p);

#endif
