/* cli_history.h - event history as JSON lines, entity by entity (docs/REBUILD.md). */

/* Private to cli/. */

#ifndef CLI_HISTORY_H
#define CLI_HISTORY_H

#include "ground/base.h"
#include "ground/buf.h"

#include <signal.h>

struct cli_history; /* opaque; one thread's */

/* One entity with all its events, of which only the last one and their number are kept. */
struct cli_entity {
    uint64_t line; /* its first */
    struct slice kind, id;
    struct slice row;    /* an encoded term: a map */
    struct slice event;  /* the last one, an encoded term: a map; empty: there is none */
    int64_t event_count; /* consecutive seqs, without a gap */
};

/**
 * cli_history_open(fd, first_line, stop):
 * Read ${fd} (which stays the caller's) from line ${first_line} on, counted from 1.  A read that a
 * signal interrupts is the end when *${stop} is set.
 */
struct cli_history *cli_history_open(int fd, uint64_t first_line,
                                     const volatile sig_atomic_t *stop);
/** cli_history_close(h): NULL is harmless. */
void cli_history_close(struct cli_history *h);

/**
 * cli_history_next(h, entity, line, fault):
 * The next entity; its slices are good until the next call.  ERR_NOT_FOUND: there is none.
 * ERR_INVALID: ${line} breaks a rule (${fault}->why), and the entity it belongs to, if any, is
 * left out; the next call goes on after it.  ERR_SYSTEM: the file cannot be read.
 */
enum err cli_history_next(struct cli_history *h, struct cli_entity *entity, uint64_t *line,
                          struct fault *fault) MUST_CHECK;

/** cli_history_bytes(h): The bytes read so far. */
uint64_t cli_history_bytes(const struct cli_history *h);
/** cli_history_line(h): The first line that no entity given so far has taken. */
uint64_t cli_history_line(const struct cli_history *h);

#endif
