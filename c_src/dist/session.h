/* session.h - answers of one thread that are sent together. */

/* Private to dist/. */

#ifndef SESSION_H
#define SESSION_H

#include "dist/link.h"

/* dist.h says what a session is for. */
struct dist_session {
    struct cork cork;
    void *gathered; /* the handler's own */
};

#endif
