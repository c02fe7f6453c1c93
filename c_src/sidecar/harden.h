/* harden.h - what the process gives up before it holds a secret. */

#ifndef HARDEN_H
#define HARDEN_H

#include "ground/base.h"

/** harden_memory(): No core dump, no debugger of the same user.  Before any secret is read. */
void harden_memory(void);

/**
 * harden_process(managed):
 * Files for this user alone, no death by SIGPIPE or SIGXFSZ.  With ${managed}, SIGCONT when the
 * owner dies.
 */
void harden_process(bool managed);

#endif
