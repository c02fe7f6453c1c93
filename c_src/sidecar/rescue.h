/* rescue.h - repairs a store that crashed the last process, before this one opens it. */

#ifndef RESCUE_H
#define RESCUE_H

#include "ground/base.h"

/**
 * rescue_store(program, dir, signals, fault):
 * If the last start has left its crash mark in ${dir} (crash_mark.h), have ${program} copy what
 * can be read of the store there, in a process of its own, and wait for it; ${signals} (a
 * signalfd; -1: none) that become readable end it.  ERR_STORE: it could not, ${fault} says why;
 * the store is as it was, and so is the mark.  Before any thread, and before the sandbox.
 */
enum err rescue_store(const char *program, const char *dir, int signals,
                      struct fault *fault) MUST_CHECK;

#endif
