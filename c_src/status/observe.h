/* observe.h - metrics, health and a status page over HTTP on loopback. */

#ifndef OBSERVE_H
#define OBSERVE_H

#include "ground/base.h"
#include "ground/buf.h"

struct observe; /* opaque */

/* Where the answers come from; called on libmicrohttpd's thread, must not wait. */
struct observe_source {
    void *arg;
    /* Whether documents are taken and delivered; ${why} gets a line for each fault. */
    bool (*is_ready)(void *arg, struct buf *why);
    /* The status as one JSON object. */
    void (*status)(void *arg, struct buf *json);
    /* The last hour and, if that is configured, the last log lines, as one JSON object. */
    void (*history)(void *arg, struct buf *json);
    /* The first dead letters, if ids may be shown, as a JSON list. */
    void (*letters)(void *arg, struct buf *json);
    const char
        *hosts; /* names it may be asked by, blank-separated, beside addresses and localhost */
};

/**
 * observe_open(address, port, source, o, fault):
 * Serve GET /metrics (OpenMetrics), /healthz (200 while the process works), /readyz (200 or 503 and
 * why), and to browsers that came by an allowed name: / (the status page), /status, /history,
 * /dead (JSON).  ${port} 0 = any free one.  ERR_SYSTEM: cannot bind; ${fault} says why.
 */
enum err observe_open(const char *address, uint16_t port, const struct observe_source *source,
                      struct observe **o, struct fault *fault) MUST_CHECK;
uint16_t observe_port(const struct observe *o);
void observe_close(struct observe *o);

#endif
