/* intake.h - the table of messages: what each request means and how it is answered. */

#ifndef INTAKE_H
#define INTAKE_H

#include "base.h"
#include "dist.h"

struct intake; /* opaque */
struct outbox;
struct kinds;
struct buf;

struct intake_options {
    const struct kinds *kinds;
    const char *projection_version; /* when a request names none */
    bool hash;                      /* add projection_hash */
};

/* What lies outside the intake wing: main connects these. */
struct intake_controls {
    void *arg;
    void (*pause)(void *arg);
    void (*resume)(void *arg);
    void (*reload)(void *arg);
    /* Append the status map as a term. */
    void (*status)(void *arg, struct buf *term);
};

/** intake_open(o, options, controls): Ready to be given to dist as its handler. */
struct intake *intake_open(struct outbox *o, const struct intake_options *options,
                           const struct intake_controls *controls);
/** intake_handler(i): The functions dist calls. */
struct dist_handler intake_handler(struct intake *i);
/** intake_drain(i, on): From now on new projections are answered {error, draining} (or not). */
void intake_drain(struct intake *i, bool on);
/** intake_close(i): After dist and outbox are closed.  NULL is harmless. */
void intake_close(struct intake *i);

#endif
