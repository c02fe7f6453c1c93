/* http_sink.h - Convex: what to ask it, and what each answer means. */

#ifndef HTTP_SINK_H
#define HTTP_SINK_H

#include "convex/http.h"
#include "sink/sink.h"

struct kinds;

struct http_sink_options {
    struct http_options http;
    const struct kinds *kinds; /* for the mutation path of each kind */
    const char *admin_key;     /* NULL: from admin_key_file, or none */
    const char
        *admin_key_file; /* read at open, on reload, and after a 401; mode 0600 or stricter */
    const char *batch_mutation;  /* "runtime:upsertBatch"; "" = one call a document */
    const char *remove_mutation; /* "runtime:remove" */
    size_t batch_documents;      /* at most, in one call */
    size_t batch_bytes;          /* of JSON, at most, in one call */
    /* Tombstones older than this are deleted, once a day, first after so long; 0: never. */
    int64_t tombstone_days, sweep_first_ms;
};

/** http_sink_open(options, sink, fault): ERR_INVALID: ${fault} says which option and why. */
enum err http_sink_open(const struct http_sink_options *options, struct sink **sink,
                        struct fault *fault) MUST_CHECK;

#endif
