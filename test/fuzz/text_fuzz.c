/*
 * text_fuzz.c - the small readers: times, hex, texts for logs and people, secrets in answers,
 * patterns of names.
 */

#include "convex/redact.h"
#include "dist/node.h"
#include "ground/hex.h"
#include "ground/log.h"
#include "ground/time_text.h"
#include "json/json.h"
#include "json/json_skip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_time(struct slice s)
{
    int64_t us = 0, again = 0;
    char text[32];

    if (!time_text_parse(s, &us))
        return;
    PRE(us >= TIME_TEXT_MIN_US && us <= TIME_TEXT_MAX_US);
    time_text_put(us, text);
    PRE(time_text_parse(slice_str(text), &again) && again == us);
}

static void try_texts(struct slice s)
{
    struct buf b = {0};
    char quoted[64];

    json_put_shown(&b, s);
    PRE(json_is_utf8(buf_view(&b)));
    b.len = 0;
    PRE(json_try_string(&b, s) == json_is_utf8(s));
    PRE(strlen(log_quote(s, quoted, sizeof quoted)) < sizeof quoted);
    buf_free(&b);
}

static void try_skips(struct slice s)
{
    size_t end = s.len > 0 && s.data[0] == '"' ? json_skip_string(s, 0) : 0;

    PRE(end <= s.len && json_skip_value(s, end) <= s.len);
}

/* What is redacted twice has nothing more to hide. */
static void try_secret(struct slice s)
{
    static const char secret[] = "se\"cr/et";
    struct buf once = {0}, twice = {0};

    buf_reserve(&once, 1);
    buf_slice(&once, s);
    redact_text(once.data, once.len, secret);
    PRE(once.len == s.len && memmem(once.data, once.len, secret, sizeof secret - 1) == NULL);
    buf_slice(&twice, buf_view(&once));
    redact_text(twice.data, twice.len, secret);
    PRE(slice_eq(buf_view(&once), buf_view(&twice)));
    buf_free(&once);
    buf_free(&twice);
}

static void try_names(struct slice s)
{
    char *text = base_strndup(s.data, s.len), *blank = strchr(text, '\n');

    if (blank != NULL) {
        *blank = '\0';
        (void)node_matches(text, blank + 1);
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice s = slice_of(data, size);
    uint8_t bytes[32];

    try_time(s);
    (void)hex_parse(s, bytes, sizeof bytes);
    try_texts(s);
    try_skips(s);
    try_secret(s);
    try_names(s);
    return 0;
}
