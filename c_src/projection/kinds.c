/*
 * kinds.c - the table of kinds: what a read model's documents are called and made of.
 *
 * The happy path: kinds_new adds the runtime's own kinds (priv/kinds.ini), the
 * configuration changes or adds some key by key (kinds_set), kinds_finish checks the table and
 * lays out each kind's document once: its keys in canonical order, as slots
 * (kind_slot.h).  From then on the table is constant.
 *
 * What can go wrong: the configuration.  Each fault names its key,
 * "kind.NAME.key", and changes nothing; the program does not start.  No prefix
 * may begin with another, or an id would belong to two kinds, and no column may
 * have a name that the document has anyway.
 *
 * Set up on the main thread; afterwards read by all without a lock.
 */

#include "projection/kind_slot.h"
#include "projection/projection.h"

#include <stdarg.h>

#define MAX_KINDS       256
#define MAX_NAME        63  /* of a kind, an entity, a column */
#define MAX_PREFIX      100 /* with the longest entity id still an LMDB key (511 bytes) */
#define MAX_MUTATION    256
#define MAX_INTERVAL_MS 60000 /* as delivery.min_interval_ms */
#define MAX_FIELDS_TEXT ((MAX_NAME + sizeof ":map ") * KIND_MAX_FIELDS * 2)

struct kinds {
    struct kind *list[MAX_KINDS];
    size_t count;
    bool is_finished;
};

/* Kind, key, value: made from priv/kinds.ini by tools/kinds.awk. */
static const char *const built_in[][3] = {
#include "projection/kinds.inc"
};

/* A key of a document, or of its runtime_source. */
struct key {
    const char *name;
    enum slot_value value;
    size_t field;
    const char *constant; /* for SLOT_LITERAL */
};

/* The keys every document has, beside its columns and its id. */
static const struct key document_keys[] = {
    {.name = "document_id", .value = SLOT_DOCUMENT_ID},
    {.name = "kind", .value = SLOT_LITERAL},
    {.name = "latest_seq", .value = SLOT_SEQ},
    {.name = "event_count", .value = SLOT_EVENT_COUNT},
    {.name = "latest_event_type", .value = SLOT_EVENT_TYPE},
    {.name = "latest_event_at", .value = SLOT_EVENT_AT},
    {.name = "runtime_source", .value = SLOT_SOURCE},
    {.name = "projection_version", .value = SLOT_VERSION},
    {.name = "projected_at", .value = SLOT_PROJECTED_AT},
    {.name = "projection_hash", .value = SLOT_HASH},
};
#define DOCUMENT_KEYS (sizeof document_keys / sizeof document_keys[0])

static const char *const source_keys[] = {"entity", "row_version", "seq", "seq_range"};
#define SOURCE_KEYS (sizeof source_keys / sizeof source_keys[0])

/* ---- faults and names ------------------------------------------------------ */

PRINTF(4, 5)
static enum err refuse(struct fault *fault, const char *kind, const char *key, const char *why, ...)
{
    va_list args;
    va_start(args, why);
    fault_at(fault, "kind.%.100s.%.100s", kind, key);
    fault_vsay(fault, NULL, why, args);
    va_end(args);
    return ERR_INVALID;
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_name_char(char c)
{
    return is_letter(c) || (c >= '0' && c <= '9');
}

/* Names go into JSON as they are and into mutation arguments: identifiers never need an escape. */
static bool is_name(const char *s, size_t len)
{
    if (len == 0 || len > MAX_NAME || !is_letter(s[0]))
        return false;
    for (size_t i = 1; i < len; i++)
        if (!is_name_char(s[i]))
            return false;
    return true;
}

static bool is_prefix(const char *s)
{
    size_t len = strlen(s);
    if (len == 0 || len > MAX_PREFIX || s[len - 1] != ':')
        return false;
    for (size_t i = 0; i < len; i++)
        if (s[i] <= ' ' || s[i] > '~')
            return false;
    return true;
}

/* "dir/module:function": convex/sync_types/src/{path,module_path,udf_path}.rs. */
static bool is_mutation(const char *s)
{
    const char *colon = strchr(s, ':');
    if (strlen(s) > MAX_MUTATION || colon == NULL || !is_name(colon + 1, strlen(colon + 1)))
        return false;
    size_t component = 0;
    for (; s < colon; s++) {
        if (*s == '/' && component > 0)
            component = 0;
        else if ((is_name_char(*s) || *s == '.') && component < 64)
            component++;
        else
            return false;
    }
    return component > 0;
}

/* ---- the table -------------------------------------------------------------- */

static struct kind *find(const struct kinds *k, struct slice name)
{
    for (size_t i = 0; i < k->count; i++)
        if (slice_is(name, k->list[i]->name))
            return k->list[i];
    return NULL;
}

static struct kind *find_or_add(struct kinds *k, const char *name)
{
    struct kind *kind = find(k, slice_str(name));
    if (kind != NULL)
        return kind;
    kind = base_alloc(sizeof *kind);
    kind->name = base_strndup(name, strlen(name));
    kind->min_interval_ms = -1;
    k->list[k->count++] = kind;
    return kind;
}

static void free_fields(struct kind_field *fields, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(fields[i].name);
}

static void free_kind(struct kind *kind)
{
    for (size_t i = 0; i < kind->slot_count; i++)
        free(kind->slots[i].text);
    free(kind->slots);
    free_fields(kind->fields, kind->field_count);
    free(kind->mutation);
    free(kind->id_field);
    free(kind->entity);
    free(kind->prefix);
    free(kind->name);
    free(kind);
}

void kinds_free(struct kinds *k)
{
    if (k == NULL)
        return;
    for (size_t i = 0; i < k->count; i++)
        free_kind(k->list[i]);
    free(k);
}

struct kinds *kinds_new(void)
{
    struct kinds *k = base_alloc(sizeof *k);
    struct fault fault;
    for (size_t i = 0; i < sizeof built_in / sizeof built_in[0]; i++) {
        enum err e = kinds_set(k, built_in[i][0], built_in[i][1], built_in[i][2], &fault);
        PRE(e == ERR_OK);
    }
    return k;
}

const struct kind *kinds_find(const struct kinds *k, struct slice name)
{
    return find(k, name);
}

const struct kind *kinds_of_id(const struct kinds *k, struct slice id)
{
    for (size_t i = 0; i < k->count; i++) {
        size_t n = strlen(k->list[i]->prefix);
        if (id.len > n && memcmp(id.data, k->list[i]->prefix, n) == 0)
            return k->list[i];
    }
    return NULL;
}

size_t kinds_count(const struct kinds *k)
{
    return k->count;
}

const struct kind *kinds_at(const struct kinds *k, size_t i)
{
    PRE(i < k->count);
    return k->list[i];
}

/* ---- setting ----------------------------------------------------------------- */

static bool is_listed(const struct kind_field *fields, size_t count, const char *name, size_t len)
{
    for (size_t i = 0; i < count; i++)
        if (slice_is(slice_of(name, len), fields[i].name))
            return true;
    return false;
}

/* One word of the list, "name" or "name:map", into ${field}; returns NULL, or why not. */
static const char *read_field(const char *word, size_t len, const struct kind_field *fields,
                              size_t count, struct kind_field *field)
{
    const char *colon = memchr(word, ':', len);
    size_t name_len = colon ? (size_t)(colon - word) : len;
    if (colon != NULL && !slice_is(slice_of(colon, len - name_len), ":map"))
        return "the only type there is is :map";
    if (!is_name(word, name_len))
        return "a column's name is 1 to 63 letters, digits and _, no digit first";
    if (is_listed(fields, count, word, name_len))
        return "the column is there twice";
    if (count == KIND_MAX_FIELDS)
        return "more than 64 columns";
    *field = (struct kind_field){base_strndup(word, name_len), name_len, colon != NULL};
    return NULL;
}

/* Replace the columns of ${name}, or none of them when a word of ${value} is bad. */
static enum err set_fields(struct kinds *k, const char *name, const char *value,
                           struct fault *fault)
{
    static const char blanks[] = " \t\r\n";
    struct kind_field fields[KIND_MAX_FIELDS + 1];
    size_t count = 0;

    if (strnlen(value, MAX_FIELDS_TEXT + 1) > MAX_FIELDS_TEXT)
        return refuse(fault, name, "fields", "too long");
    for (const char *word = value + strspn(value, blanks); *word != '\0';) {
        size_t len = strcspn(word, blanks);
        const char *why = read_field(word, len, fields, count, &fields[count]);
        if (why != NULL) {
            free_fields(fields, count);
            return refuse(fault, name, "fields", "\"%.*s\": %s", (int)(len < 80 ? len : 80), word,
                          why);
        }
        count++;
        word += len;
        word += strspn(word, blanks);
    }
    struct kind *kind = find_or_add(k, name);
    free_fields(kind->fields, kind->field_count);
    memcpy(kind->fields, fields, count * sizeof fields[0]);
    kind->field_count = count;
    return ERR_OK;
}

static enum err set_interval(struct kinds *k, const char *name, const char *value,
                             struct fault *fault)
{
    char *end;
    long ms = *value >= '0' && *value <= '9' ? strtol(value, &end, 10) : -1;

    if (ms < 0 || *end != '\0' || ms > MAX_INTERVAL_MS)
        return refuse(fault, name, "min_interval_ms", "\"%.80s\" is no number from 0 to %d", value,
                      MAX_INTERVAL_MS);
    find_or_add(k, name)->min_interval_ms = ms;
    return ERR_OK;
}

/* The member of ${kind} for ${key}; NULL: unknown key. */
static char **text_of(struct kind *kind, const char *key)
{
    if (strcmp(key, "prefix") == 0)
        return &kind->prefix;
    if (strcmp(key, "entity") == 0)
        return &kind->entity;
    if (strcmp(key, "id_field") == 0)
        return &kind->id_field;
    if (strcmp(key, "mutation") == 0)
        return &kind->mutation;
    return NULL;
}

/* Why ${value} is invalid for ${key}; NULL when it is valid. */
static const char *text_fault(const char *key, const char *value)
{
    if (strcmp(key, "prefix") == 0)
        return is_prefix(value) ? NULL : "1 to 100 printable ASCII characters, the last one a ':'";
    if (strcmp(key, "entity") == 0 || strcmp(key, "id_field") == 0)
        return is_name(value, strlen(value)) ? NULL
                                             : "1 to 63 letters, digits and _, no digit first";
    if (strcmp(key, "mutation") == 0)
        return is_mutation(value) ? NULL : "a Convex path like \"runtime:upsertRunSummary\"";
    return "no such option; there are prefix, entity, id_field, mutation, fields, min_interval_ms";
}

enum err kinds_set(struct kinds *k, const char *name, const char *key, const char *value,
                   struct fault *fault)
{
    PRE(!k->is_finished);
    if (!is_name(name, strlen(name)))
        return refuse(fault, name, key,
                      "a kind's name is 1 to 63 letters, digits and _, no digit first");
    if (name[0] == '_')
        return refuse(fault, name, key,
                      "kinds that begin with _ are the functions' own: marks and controls");
    if (find(k, slice_str(name)) == NULL && k->count == MAX_KINDS)
        return refuse(fault, name, key, "more than %d kinds", MAX_KINDS);
    if (strcmp(key, "fields") == 0)
        return set_fields(k, name, value, fault);
    if (strcmp(key, "min_interval_ms") == 0)
        return set_interval(k, name, value, fault);

    const char *why = text_fault(key, value);
    if (why != NULL)
        return refuse(fault, name, key, "%s", why);
    char **text = text_of(find_or_add(k, name), key);
    PRE(text != NULL);
    free(*text);
    *text = base_strndup(value, strlen(value));
    return ERR_OK;
}

/* ---- finishing --------------------------------------------------------------- */

static bool is_document_key(const char *name)
{
    for (size_t i = 0; i < DOCUMENT_KEYS; i++)
        if (strcmp(document_keys[i].name, name) == 0)
            return true;
    return false;
}

static bool is_source_key(const char *name)
{
    for (size_t i = 0; i < SOURCE_KEYS; i++)
        if (strcmp(source_keys[i], name) == 0)
            return true;
    return false;
}

static enum err check_complete(struct kind *kind, struct fault *fault)
{
    static const char *const keys[] = {"prefix", "entity", "id_field", "mutation"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (*text_of(kind, keys[i]) == NULL)
            return refuse(fault, kind->name, keys[i], "is missing");
    if (kind->field_count == 0)
        return refuse(fault, kind->name, "fields", "is missing");
    return ERR_OK;
}

static enum err check_keys(const struct kind *kind, struct fault *fault)
{
    if (is_document_key(kind->id_field) || is_source_key(kind->id_field))
        return refuse(fault, kind->name, "id_field", "every document has a \"%s\" of its own",
                      kind->id_field);
    for (size_t i = 0; i < kind->field_count; i++)
        if (is_document_key(kind->fields[i].name) ||
            strcmp(kind->fields[i].name, kind->id_field) == 0)
            return refuse(fault, kind->name, "fields", "every document has a \"%s\" anyway",
                          kind->fields[i].name);
    return ERR_OK;
}

static enum err check_prefixes(const struct kinds *k, const struct kind *kind, struct fault *fault)
{
    for (size_t i = 0; i < k->count; i++) {
        const struct kind *other = k->list[i];
        if (other != kind && other->prefix != NULL &&
            strncmp(kind->prefix, other->prefix, strlen(other->prefix)) == 0)
            return refuse(fault, kind->name, "prefix", "lies inside that of kind %s (\"%s\")",
                          other->name, other->prefix);
    }
    return ERR_OK;
}

/* ---- the document's layout ---------------------------------------------------- */

static int compare_keys(const void *a, const void *b)
{
    const struct key *x = a, *y = b;
    return strcmp(x->name, y->name);
}

PRINTF(5, 6)
static void add_slot(struct kind *kind, enum slot_value value, size_t field, size_t weight,
                     const char *text, ...)
{
    struct kind_slot *slot = &kind->slots[kind->slot_count++];
    va_list args;
    va_start(args, text);
    int len = vasprintf(&slot->text, text, args);
    va_end(args);
    PRE(len >= 0);
    slot->len = (size_t)len;
    slot->value = value;
    slot->field = field;
    slot->weight = weight;
}

static void add_source(struct kind *kind, const char *before);

/* Keys are ASCII names, so byte order is the canonical UTF-16 order and nothing needs an escape. */
static void add_object(struct kind *kind, struct key *keys, size_t count, const char *open)
{
    qsort(keys, count, sizeof keys[0], compare_keys);
    for (size_t i = 0; i < count; i++) {
        const struct key *key = &keys[i];
        const char *before = i == 0 ? open : ",";
        size_t weight = strlen(key->name) + 1;
        if (key->value == SLOT_SOURCE)
            add_source(kind, before);
        else if (key->value == SLOT_LITERAL)
            add_slot(kind, SLOT_LITERAL, 0, weight + 2 + strlen(key->constant), "%s\"%s\":\"%s\"",
                     before, key->name, key->constant);
        else
            add_slot(kind, key->value, key->field, weight, "%s\"%s\":", before, key->name);
    }
    add_slot(kind, SLOT_LITERAL, 0, 2, "}");
}

static void add_source(struct kind *kind, const char *before)
{
    struct key keys[] = {
        {.name = "entity", .value = SLOT_LITERAL, .constant = kind->entity},
        {.name = kind->id_field, .value = SLOT_ENTITY_ID},
        {.name = "row_version", .value = SLOT_ROW_VERSION},
        {.name = "seq", .value = SLOT_SEQ},
        {.name = "seq_range", .value = SLOT_SEQ_RANGE},
    };
    char open[64];
    snprintf(open, sizeof open, "%s\"runtime_source\":{", before);
    size_t first = kind->slot_count;
    add_object(kind, keys, sizeof keys / sizeof keys[0], open);
    kind->slots[first].weight += sizeof "runtime_source"; /* its length and one more */
}

static void lay_out(struct kind *kind)
{
    struct key keys[DOCUMENT_KEYS + 1 + KIND_MAX_FIELDS];
    size_t count = DOCUMENT_KEYS;

    memcpy(keys, document_keys, sizeof document_keys);
    for (size_t i = 0; i < count; i++)
        if (keys[i].value == SLOT_LITERAL)
            keys[i].constant = kind->name;
    keys[count++] = (struct key){.name = kind->id_field, .value = SLOT_ENTITY_ID};
    for (size_t i = 0; i < kind->field_count; i++)
        keys[count++] = (struct key){.name = kind->fields[i].name, .value = SLOT_FIELD, .field = i};
    /* one per key, five in runtime_source, two closing braces */
    kind->slots = base_alloc((count + SOURCE_KEYS + 1 + 2) * sizeof *kind->slots);
    add_object(kind, keys, count, "{");
}

enum err kinds_finish(struct kinds *k, struct fault *fault)
{
    PRE(!k->is_finished);
    for (size_t i = 0; i < k->count; i++) {
        enum err e = check_complete(k->list[i], fault);
        if (e == ERR_OK)
            e = check_keys(k->list[i], fault);
        if (e == ERR_OK)
            e = check_prefixes(k, k->list[i], fault);
        if (e != ERR_OK)
            return e;
    }
    for (size_t i = 0; i < k->count; i++)
        lay_out(k->list[i]);
    k->is_finished = true;
    return ERR_OK;
}
