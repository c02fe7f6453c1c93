/* file_sink.h - appends documents as JSON lines to a file. */

#ifndef FILE_SINK_H
#define FILE_SINK_H

#include "sink/sink.h"

/**
 * file_sink_open(path, sink, fault):
 * Append to ${path} (created with mode 0600), a line a document:
 * {"op":"upsert","kind":...,"document_id":...,"seq":...,"summary":{...}}; a call is done
 * when its lines are written and fdatasync has returned.  A torn last line of an earlier crash
 * is ended first.  reload opens the path again (log rotation).  A failed write is VERDICT_AGAIN.
 */
enum err file_sink_open(const char *path, struct sink **sink, struct fault *fault) MUST_CHECK;
/** file_sink_try(path, fault): Whether file_sink_open would succeed; creates and writes nothing. */
enum err file_sink_try(const char *path, struct fault *fault) MUST_CHECK;

#endif
