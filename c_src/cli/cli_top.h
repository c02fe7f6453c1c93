/* cli_top.h - the state of a sidecar, live. */

/* Private to cli/. */

#ifndef CLI_TOP_H
#define CLI_TOP_H

#include "ground/base.h"
#include "ground/buf.h"
#include "term/term.h"

struct cli_top_options {
    struct slice request; /* an encoded `status` */
    int64_t timeout_ms;   /* of each request */
    int64_t looks;        /* end after so many; 0: on a terminal never, otherwise after one */
    bool json;            /* each answer as one line, as `status --json` prints it */
};

/**
 * cli_top_run(store_dir, options):
 * Ask the sidecar in ${store_dir} each second and show what it says: on a terminal in place, until
 * q or Ctrl-C; elsewhere as plain text.  Returns the exit status.
 */
int cli_top_run(const char *store_dir, const struct cli_top_options *options);

/* What the table of kinds is sorted by; the key that asks for it is the word's first letter. */
#define CLI_TOP_SORT_LIST(X)                                                                       \
    X(CLI_TOP_BY_RATE, "rate")                                                                     \
    X(CLI_TOP_BY_TOTAL, "total")                                                                   \
    X(CLI_TOP_BY_SKIPPED, "skipped")                                                               \
    X(CLI_TOP_BY_NAME, "name")

enum cli_top_sort {
#define X(name, word) name,
    CLI_TOP_SORT_LIST(X)
#undef X
};

/** cli_top_put(now, before, seconds, sort, out): One answer as lines of text: the map ${now} of
 * `status`, with rates since the map ${before} (NULL: none), ${seconds} ago. */
void cli_top_put(term now, term before, double seconds, enum cli_top_sort sort, struct buf *out);

#endif
