/* process.h - the resources that this process uses. */

#ifndef PROCESS_H
#define PROCESS_H

#include "ground/base.h"

struct process_facts {
    double cpu_seconds, start_seconds; /* start: since 1970 */
    uint64_t resident_bytes, virtual_bytes, threads, open_fds, max_fds;
};

/** process_read(facts): The kernel's current numbers; zero where they cannot be read.  Any thread.
 */
void process_read(struct process_facts *facts);

#endif
