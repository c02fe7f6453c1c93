/* digests.h - reads what Convex holds: pages of runtime:listDigests, requested and checked. */

/* Private to audit/. */

#ifndef DIGESTS_H
#define DIGESTS_H

#include "audit/drift.h"
#include "convex/http.h"

#define DIGESTS_PAGE 500 /* documents of one page at most */
#define DIGESTS_LOOK 200 /* document ids of one question at most */

struct digests; /* opaque; one thread */

struct digests_options {
    struct http_options http;
    const char *query;          /* "runtime:listDigests" */
    const char *admin_key;      /* NULL: from admin_key_file, or none */
    const char *admin_key_file; /* read at open, and after a 401 */
    int tries;                  /* of a question with a transient fault; 0: for about a minute */
    int wake_fd;                /* readable: every wait is given up */
};

/* A question: a page after ${after}, or, with ids, these documents and no others. */
struct digests_ask {
    const char *kind;
    struct slice after;
    const struct slice *ids;
    size_t id_count;
};

/* An answer; borrowed from the digests until the next question. */
struct digests_page {
    const struct drift_theirs *items;
    size_t count;
    bool is_last;      /* nothing comes after these; otherwise ask again after ${next} */
    struct slice next; /* with ids: those up to this one are answered */
};

/** digests_open(options, d, fault): ${options} is borrowed until close.  ERR_INVALID: a bad option.
 */
enum err digests_open(const struct digests_options *options, struct digests **d,
                      struct fault *fault) MUST_CHECK;
/** digests_close(d): A call under way is given up.  NULL is harmless. */
void digests_close(struct digests *d);

/**
 * digests_get(d, ask, page, fault):
 * Ask Convex and wait for the answer; transient faults are retried for about a minute.  ERR_SINK:
 * it does not answer, or not with digests; ${fault}->why says so.  ERR_CLOSED: woken.
 */
enum err digests_get(struct digests *d, const struct digests_ask *ask, struct digests_page *page,
                     struct fault *fault) MUST_CHECK;

/** digests_pause(d, ms): Wait; false when woken. */
bool digests_pause(struct digests *d, int64_t ms);

#endif
