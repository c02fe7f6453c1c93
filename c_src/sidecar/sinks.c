/*
 * sinks.c - the table of sinks.
 *
 * One table: the name that [sink] type gives, what the sink needs of the options, how it is
 * opened, and whether its documents can be read back (the audit).  The rows stand in order of how
 * far they deliver: a store that keeps documents for one of them is not emptied into an earlier
 * one (kept_for.h).  A new sink is its own files, a row here, and its options in config.def.
 *
 * What can go wrong: an option is missing or wrong; the fault names it.
 *
 * Start-up only, one thread.
 */

#include "sidecar/sinks.h"

#include "audit/audit.h"
#include "config/config.h"
#include "convex/base_url.h"
#include "convex/http_sink.h"
#include "sink/file_sink.h"
#include "sink/noop_sink.h"

static const char *text_or_null(const char *text)
{
    return *text ? text : NULL;
}

/* ---- noop and file ---------------------------------------------------------- */

static enum err open_noop(const struct config *c, struct sink **sink, struct fault *fault)
{
    (void)c;
    (void)fault;
    *sink = noop_sink_open();
    return ERR_OK;
}

static const char *file_lacks(const struct config *c)
{
    return *c->sink_file ? NULL : "[sink] file: type = file needs the path to write to";
}

static enum err try_file(const struct config *c, struct fault *fault)
{
    return file_sink_try(c->sink_file, fault);
}

static enum err open_file(const struct config *c, struct sink **sink, struct fault *fault)
{
    return file_sink_open(c->sink_file, sink, fault);
}

/* ---- Convex ----------------------------------------------------------------- */

static const char *http_lacks(const struct config *c)
{
    struct base_url url = {0};
    const char *why = base_url_read(&url, c->sink_base_url);

    base_url_free(&url);
    return why == NULL ? NULL
                       : "[sink] base_url: type = http needs http://HOST[:PORT] or https://, "
                         "without user, query or fragment";
}

/* So that a sidecar that restarts often does not sweep each time. */
#define SWEEP_FIRST_MS 600000

static struct http_options http_options_of(const struct config *c)
{
    return (struct http_options){.base_url = c->sink_base_url,
                                 .ca_file = text_or_null(c->sink_ca_file),
                                 .user_agent = "convex-sidecar/" SIDECAR_VERSION,
                                 .connect_timeout_ms = (long)c->sink_connect_timeout_ms,
                                 .timeout_ms = (long)c->sink_request_timeout_ms,
                                 .max_answer_bytes = (size_t)c->sink_max_answer_bytes,
                                 /* as many calls may be overdue as in flight, and one for what is
                                  * asked beside: attach, sweep */
                                 .max_connections = 2 * (long)c->delivery_max_in_flight + 1};
}

static enum err open_http(const struct config *c, struct sink **sink, struct fault *fault)
{
    const struct http_sink_options options = {.http = http_options_of(c),
                                              .kinds = c->kinds,
                                              .admin_key = text_or_null(c->sink_admin_key),
                                              .admin_key_file =
                                                  text_or_null(c->sink_admin_key_file),
                                              .batch_mutation = c->sink_batch_mutation,
                                              .remove_mutation = c->sink_remove_mutation,
                                              .batch_documents = (size_t)c->sink_batch_documents,
                                              .batch_bytes = (size_t)c->sink_batch_bytes,
                                              .tombstone_days = c->delivery_tombstone_days,
                                              .sweep_first_ms = SWEEP_FIRST_MS};

    return http_sink_open(&options, sink, fault);
}

/* Opening reads the key and the certificates, and makes no call. */
static enum err try_http(const struct config *c, struct fault *fault)
{
    struct sink *sink = NULL;
    enum err e = open_http(c, &sink, fault);

    if (e == ERR_OK)
        sink->ops->close(sink);
    return e;
}

static struct audit *open_convex_audit(const struct config *c, struct outbox *o)
{
    const struct audit_options options = {
        .outbox = o,
        .kinds = c->kinds,
        .digests = {.http = http_options_of(c),
                    .query = c->sink_digests_query,
                    .admin_key = text_or_null(c->sink_admin_key),
                    .admin_key_file = text_or_null(c->sink_admin_key_file)}};

    return audit_open(&options);
}

/* ---- the table -------------------------------------------------------------- */

static const struct row {
    const char *name;
    const char *(*lacks)(const struct config *c); /* a sentence, or NULL; NULL: it needs nothing */
    enum err (*try)(const struct config *c, struct fault *fault); /* NULL: it cannot fail */
    enum err (*open)(const struct config *c, struct sink **sink, struct fault *fault);
    struct audit *(*open_audit)(const struct config *c, struct outbox *o); /* NULL: none */
    bool has_batches; /* [sink] batch_mutation applies to it */
} sinks[] = {
    {"noop", NULL, NULL, open_noop, NULL, false},
    {"file", file_lacks, try_file, open_file, NULL, false},
    {"http", http_lacks, try_http, open_http, open_convex_audit, true},
};

enum { SINK_COUNT = sizeof sinks / sizeof *sinks };

/* The option takes no other names: its choices in config.def are those of the table. */
static const struct row *chosen(const struct config *c)
{
    size_t i = 0;

    while (i < SINK_COUNT && strcmp(sinks[i].name, c->sink_type) != 0)
        i++;
    PRE(i < SINK_COUNT);
    return &sinks[i];
}

enum err sinks_check(const struct config *c, struct fault *fault)
{
    const struct row *row = chosen(c);
    const char *lacking = row->lacks != NULL ? row->lacks(c) : NULL;

    return lacking != NULL ? config_misfit(c, fault, lacking) : ERR_OK;
}

enum err sinks_try(const struct config *c, struct fault *fault)
{
    const struct row *row = chosen(c);

    return row->try != NULL ? row->try(c, fault) : ERR_OK;
}

const char *const *sinks_names(void)
{
    static const char *names[SINK_COUNT + 1];

    for (size_t i = 0; i < SINK_COUNT; i++)
        names[i] = sinks[i].name;
    return names;
}

enum err sinks_open(const struct config *c, struct sink **sink, struct fault *fault)
{
    return chosen(c)->open(c, sink, fault);
}

const char *sinks_address(const struct config *c)
{
    return chosen(c)->has_batches ? c->sink_base_url : "";
}

struct audit *sinks_open_audit(const struct config *c, struct outbox *o)
{
    const struct row *row = chosen(c);

    return row->open_audit != NULL ? row->open_audit(c, o) : NULL;
}

const char *sinks_batch_mutation(const struct config *c)
{
    return chosen(c)->has_batches ? c->sink_batch_mutation : "";
}
