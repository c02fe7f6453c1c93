/* redact.h - overwrites a secret that an answer repeats. */

/* Private to convex/. */

#ifndef REDACT_H
#define REDACT_H

#include "ground/base.h"

/**
 * redact_text(text, len, secret):
 * Overwrite every ${secret} (printable ASCII, not empty) in ${text} with "*", as it stands and with
 * any of its characters escaped as JSON may do.  JSON stays JSON, unless the secret is a part of
 * it.
 */
void redact_text(uint8_t *text, size_t len, const char *secret);

#endif
