/* retime.h - a finished document, projected at another time. */

#ifndef RETIME_H
#define RETIME_H

#include "ground/base.h"
#include "ground/buf.h"

/**
 * retime(json, us, out):
 * Append the document ${json} to ${out}, with ${us} as its projected_at, which its hash does not
 * cover.  One that has none is appended as it is.
 */
void retime(struct slice json, int64_t us, struct buf *out);

#endif
