/* store_export.h - what a store has that was not delivered, as lines that another sidecar takes. */

#ifndef STORE_EXPORT_H
#define STORE_EXPORT_H

#include "ground/base.h"

/* What was written, and what could not be. */
struct export_report {
    uint64_t pending, dead; /* lines */
    uint64_t left_out;      /* damaged records, and ids that are not UTF-8 */
};

/**
 * store_export(dir, made_at_us, out, say, arg, report, fault):
 * Write every pending version and dead letter of the store in ${dir} (the caller holds it; any
 * format) to ${out}, a line each, between a first and a last line (docs/UPGRADING.md); ${say} is
 * called for each thing that is left out.  ERR_SYSTEM: ${out} cannot be written to; ERR_STORE,
 * ERR_NOT_FOUND: the store cannot be read at all; ${fault} says why.
 */
enum err store_export(const char *dir, int64_t made_at_us, FILE *out,
                      void (*say)(void *arg, const char *text), void *arg,
                      struct export_report *report, struct fault *fault) MUST_CHECK;

#endif
