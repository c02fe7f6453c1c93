/* retime.h - a finished document with another projected_at. */

#ifndef RETIME_H
#define RETIME_H

#include "ground/base.h"
#include "ground/buf.h"

/**
 * retime(json, us, out):
 * Append the document ${json} to ${out}, with ${us} as its projected_at, which its hash does not
 * cover.  One without projected_at is appended unchanged.
 */
void retime(struct slice json, int64_t us, struct buf *out);

#endif
