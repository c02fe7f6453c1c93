/* page.h - the status page: one file that names no other, and what a browser may do with it. */

/* Private to status/. */

#ifndef PAGE_H
#define PAGE_H

#include "ground/base.h"
#include "ground/buf.h"

/** page_put(out): The page, as HTML. */
void page_put(struct buf *out);

/** page_put_policy(out): Its Content-Security-Policy: this style and this script by their hashes,
 * and requests to its own origin; nothing else. */
void page_put_policy(struct buf *out);

/**
 * page_allows_host(host, allowed):
 * Whether the page may be shown to a client that asked for ${host} (the Host header; NULL: none):
 * an address, localhost, or one of the blank-separated names ${allowed}.  Any other name may be an
 * attacker's, resolved to this machine so that the attacker's page can read ours (DNS rebinding).
 */
bool page_allows_host(const char *host, const char *allowed);

#endif
