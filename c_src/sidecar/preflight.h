/* preflight.h - would a sidecar with this configuration deliver? */

#ifndef PREFLIGHT_H
#define PREFLIGHT_H

#include "ground/base.h"

struct config;

/* What it found, the worst of all lines. */
enum preflight {
    PREFLIGHT_WELL,
    PREFLIGHT_BAD,    /* something is refused or far off: an operator has to act */
    PREFLIGHT_UNKNOWN /* Convex does not answer, or has a transient fault */
};

/**
 * preflight_run(c, out):
 * Open the sink of the finished ${c}, ask it which functions there are and have it write a control
 * for each kind, within PREFLIGHT_MS; a line to ${out} for each thing.  No store is opened: it may
 * run beside the sidecar.
 */
enum preflight preflight_run(const struct config *c, FILE *out);

#endif
