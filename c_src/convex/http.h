/* http.h - HTTP calls over libcurl multi: connections, TLS, deadlines.  With base_url, the only
 * module that uses curl. */

#ifndef HTTP_H
#define HTTP_H

#include "ground/base.h"

struct http; /* opaque; one thread */

struct http_options {
    const char *base_url;     /* http:// or https://, no trailing slash needed */
    const char *ca_file;      /* NULL: the system's */
    const char *user_agent;   /* NULL: none */
    const char *extra_header; /* NULL, or one line for every call: "Convex-Client: x-1.0.0" */
    long connect_timeout_ms;
    long timeout_ms;         /* of one whole call */
    size_t max_answer_bytes; /* more is cut, and the call ends as HTTP_TOO_LARGE */
    long max_connections;    /* at once; further calls wait for one, inside their timeout */
};

/*
 * How a call ended below HTTP.  When a kept connection turns out to be dead, curl asks again by
 * itself on a new one, and so does http, once, after unsolicited bytes on it; a call that ever
 * began to be sent never ends as HTTP_NOT_SENT.
 */
enum http_end {
    HTTP_ANSWERED,  /* a whole answer: status and body are valid */
    HTTP_NOT_SENT,  /* no connection: name, refused, TLS, connect timeout; nothing was sent */
    HTTP_TIMEOUT,   /* sent, at least in part; no whole answer in time */
    HTTP_BROKEN,    /* sent, at least in part; reset or cut short */
    HTTP_TOO_LARGE, /* the answer passed max_answer_bytes */
    HTTP_ABANDONED  /* http_close while in flight */
};

/* Borrowed by the callback until it returns. */
struct http_answer {
    enum http_end end;
    long status;          /* HTTP status, 0 unless HTTP_ANSWERED */
    struct slice body;    /* as far as it was read */
    struct slice request; /* what was posted */
    long retry_after_ms;  /* Retry-After in milliseconds (seconds or date, RFC 9110 10.2.3); 0: none
                           */
    int64_t took_us;
    int64_t date_s;         /* its Date, seconds since 1970; 0: it had none */
    char detail[160];       /* for people: curl's error, terminated */
    const void *connection; /* for http_distrust; NULL: it is closed already */
};

typedef void http_done(void *arg, const struct http_answer *answer);

/**
 * http_open(options, h, fault):
 * ${options} is borrowed until the return.  ERR_INVALID: ${fault}->path names the option
 * (base_url, ca_file), ->why says what is wrong with it.
 */
enum err http_open(const struct http_options *options, struct http **h,
                   struct fault *fault) MUST_CHECK;
/**
 * http_close(h): Every call in flight is answered HTTP_ABANDONED first; those callbacks must not
 * start new calls.  NULL is harmless.
 */
void http_close(struct http *h);

/**
 * http_set_authorization(h, value):
 * The Authorization header for calls from now on ("Convex ..."; NULL: none).  Copied, wiped once it
 * is replaced and the calls that carry it are over, never logged.  Where the answer of such a call
 * repeats its secret (what follows the last "|" or blank), that is overwritten with "*".
 */
void http_set_authorization(struct http *h, const char *value);

/**
 * http_post_json(h, path, body, done, arg):
 * POST ${body} (taken: a heap block of ${body}.len bytes freed by http) as application/json to
 * base_url + ${path}.  ${done} is called exactly once, from http_wait or http_close; it may start
 * new calls, but neither wait nor close.
 */
void http_post_json(struct http *h, const char *path, struct slice body, http_done *done,
                    void *arg);
/** http_is_in_the_clear(h): Whether calls go unencrypted to another machine. */
bool http_is_in_the_clear(const struct http *h);

/** http_get(h, path, done, arg): GET base_url + ${path}. */
void http_get(struct http *h, const char *path, http_done *done, void *arg);

/**
 * http_distrust(h, answer):
 * ${answer} is the answer to another call: do not use its connection again.  Only from within the
 * callback that has ${answer}.
 */
void http_distrust(struct http *h, const struct http_answer *answer);

/**
 * http_wait(h, wake_fd, timeout_ms):
 * Do I/O until a call ended, ${wake_fd} is readable (-1: none) or the time is up (-1: no limit).
 */
void http_wait(struct http *h, int wake_fd, int timeout_ms);

#endif
