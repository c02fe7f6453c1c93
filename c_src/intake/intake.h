/* intake.h - the table of messages: what each request means and how it is answered. */

#ifndef INTAKE_H
#define INTAKE_H

#include "dist/dist.h"
#include "ground/base.h"
#include "intake/control.h"

struct intake; /* opaque */
struct outbox;
struct kinds;

struct intake_options {
    const struct kinds *kinds;
    const char *projection_version; /* when a request names none */
    bool hash;                      /* add projection_hash */
    struct dist_session *answers;   /* of the store thread, which is sent after it has settled */
};

/**
 * intake_open(o, control, options):
 * Ready to be given to dist as its handler; ${o}, ${control} and what ${options} points at are
 * borrowed until intake_close.
 */
struct intake *intake_open(struct outbox *o, struct control *control,
                           const struct intake_options *options);
/** intake_handler(i): The functions dist calls. */
struct dist_handler intake_handler(struct intake *i);
/** intake_close(i): After dist and outbox are closed.  NULL is harmless. */
void intake_close(struct intake *i);

#endif
