/* trace.h - what a program writes to one file, and when it is synced, for images of a power cut. */

#ifndef TRACE_H
#define TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum trace_what {
    TRACE_WRITE,      /* in the machine's memory */
    TRACE_WRITE_SYNC, /* on the disk when it returns (O_DSYNC) */
    TRACE_SYNC,       /* all earlier writes are on the disk when it returns */
    TRACE_TOLD        /* somebody was told that something is kept */
};

struct trace_event {
    enum trace_what what;
    uint64_t offset, len; /* of a write */
    uint8_t *data;
    unsigned document; /* what was told: this document, up to this version */
    int64_t seq;
};

struct trace {
    struct trace_event *events;
    size_t count, room;
};

/** trace_begin(path): From now on, of the file at ${path}, which need not be there yet.  Any thread
 * may write.  The recorder takes the place of pwrite, writev and their like in this program. */
void trace_begin(const char *path);
/** trace_told(document, seq): A promise was made. */
void trace_told(unsigned document, int64_t seq);
/** trace_end(): No more; the trace is the caller's until the program ends. */
const struct trace *trace_end(void);

#endif
