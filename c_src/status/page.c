/*
 * page.c - the status page.
 *
 * The happy path: page.html, page.css and page.js beside this file are put together into one answer
 * (tools/page.awk makes them text for C at each build).  It asks for nothing but /status,
 * /history and /dead, where it came from, and shows what they say.
 *
 * Nothing can go wrong here.  Any thread.
 */

#include "status/page.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <openssl/evp.h>
#include <strings.h>

#include "status/page.inc"

void page_put(struct buf *out)
{
    const char *style = strstr(page_html, "/* page.css */"), *script;

    PRE(style != NULL);
    buf_add(out, page_html, (size_t)(style - page_html));
    buf_str(out, page_css);
    style += strlen("/* page.css */");
    script = strstr(style, "/* page.js */");
    PRE(script != NULL);
    buf_add(out, style, (size_t)(script - style));
    buf_str(out, page_js);
    buf_str(out, script + strlen("/* page.js */"));
}

static void put_hash(struct buf *out, const char *text)
{
    uint8_t hash[32], base64[48];
    unsigned len = 0;

    PRE(EVP_Digest(text, strlen(text), hash, &len, EVP_sha256(), NULL) == 1 && len == sizeof hash);
    EVP_EncodeBlock(base64, hash, (int)len);
    buf_printf(out, "'sha256-%s'", (const char *)base64);
}

void page_put_policy(struct buf *out)
{
    buf_str(out, "default-src 'none'; style-src ");
    put_hash(out, page_css);
    buf_str(out, "; script-src ");
    put_hash(out, page_js);
    buf_str(out, "; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
                 "frame-ancestors 'none'");
}

static bool is_address(const char *name)
{
    uint8_t bytes[16];

    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

static bool is_among(const char *name, const char *allowed)
{
    size_t len = strlen(name);

    while (*(allowed += strspn(allowed, " ")) != '\0') {
        size_t n = strcspn(allowed, " ");
        if (n == len && strncasecmp(allowed, name, n) == 0)
            return true;
        allowed += n;
    }
    return false;
}

bool page_allows_host(const char *host, const char *allowed)
{
    char name[256];
    bool is_bracketed = host != NULL && host[0] == '[';

    if (host == NULL)
        return false;
    host += is_bracketed;
    size_t len = strcspn(host, is_bracketed ? "]" : ":");
    if (len == 0 || len >= sizeof name)
        return false;
    snprintf(name, sizeof name, "%.*s", (int)len, host);
    return is_address(name) || strcasecmp(name, "localhost") == 0 || is_among(name, allowed);
}
