/*
 * base_url.c - the URL that every call begins with.
 *
 * curl's own parser reads it, so that a URL that passes here means the same to http.c.
 */

#include "convex/base_url.h"

#include <arpa/inet.h>
#include <curl/curl.h>

static bool url_has(CURLU *url, CURLUPart part)
{
    char *text = NULL;
    bool has = curl_url_get(url, part, &text, 0) == CURLUE_OK && text[0];

    curl_free(text);
    return has;
}

static bool is_loopback_host(const char *host)
{
    size_t len = strlen(host);
    struct in_addr v4;
    bool is_v4 = inet_pton(AF_INET, host, &v4) == 1;

    return strcmp(host, "localhost") == 0 || (is_v4 && strncmp(host, "127.", 4) == 0) ||
           strcmp(host, "[::1]") == 0 || (len > 10 && strcmp(host + len - 10, ".localhost") == 0);
}

/* NULL if every request URL can begin with ${url}; otherwise what is wrong with it. */
static const char *url_fault(CURLU *url, const char *text)
{
    CURLUcode code = curl_url_set(url, CURLUPART_URL, text, 0);
    char *scheme = NULL;
    bool is_http = false;

    if (code != CURLUE_OK)
        return curl_url_strerror(code);
    if (curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK)
        is_http = strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0;
    curl_free(scheme);
    if (!is_http)
        return "must begin with http:// or https://";
    if (!url_has(url, CURLUPART_HOST))
        return "names no host";
    if (url_has(url, CURLUPART_USER) || url_has(url, CURLUPART_PASSWORD))
        return "must not hold a user or password";
    if (url_has(url, CURLUPART_QUERY) || url_has(url, CURLUPART_FRAGMENT))
        return "must not have a query or fragment";
    return NULL;
}

const char *base_url_read(struct base_url *out, const char *text)
{
    CURLU *url = curl_url();
    char *whole = NULL, *host = NULL;
    const char *why;
    size_t len;

    PRE(url != NULL);
    why = url_fault(url, text);
    if (why == NULL) {
        /* url_fault has found a scheme and a host.  test/fuzz/config_fuzz.c tries others. */
        PRE(curl_url_get(url, CURLUPART_URL, &whole, 0) == CURLUE_OK);
        PRE(curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK);
        why = url_fault(url, whole); /* http.c parses it again, with a path */
    }
    if (why == NULL) {
        for (len = strlen(whole); len && whole[len - 1] == '/';)
            len--;
        out->text = base_strndup(whole, len);
        out->is_loopback = is_loopback_host(host);
        out->is_tls = strncmp(whole, "https:", 6) == 0;
    }
    curl_free(host);
    curl_free(whole);
    curl_url_cleanup(url);
    return why;
}

void base_url_free(struct base_url *url)
{
    free(url->text);
    url->text = NULL;
}
