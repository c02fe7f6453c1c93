/* base_url.h - the URL that every call begins with. */

#ifndef BASE_URL_H
#define BASE_URL_H

#include "ground/base.h"

struct base_url {
    char *text; /* heap, normalized, without a slash at its end */
    bool is_loopback, is_tls;
};

/**
 * base_url_read(url, text):
 * Check and normalize ${text}.  NULL: every request URL can begin with it, and ${url} is filled
 * (base_url_free frees it).  Otherwise: what is wrong with it.
 */
const char *base_url_read(struct base_url *url, const char *text) MUST_CHECK;
void base_url_free(struct base_url *url);

#endif
