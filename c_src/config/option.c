/*
 * option.c - one option: text in, a value of its type within its bounds out.
 *
 * The happy path: option_find names an option by section and key (or by its environment variable),
 * option_set reads the text as the option's type says and stores the value in the caller's struct.
 *
 * What can go wrong: the text is not a valid value (letters in a number, out of bounds, not one of
 * the choices, control characters, not UTF-8), or the option is unknown.  Then nothing changes and
 * the caller gets a sentence that says what would be right, with the nearest known name.
 *
 * This module knows no option by name; the list is in config.c.  Any thread.
 */

#include "config/option.h"

#include "json/json.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>

#define NAME_BYTES 64 /* SECTION_KEY with terminator; longer names match nothing */

static char **text_at(const struct option *o, void *base)
{
    return (char **)(void *)((char *)base + o->offset);
}

static int64_t *number_at(const struct option *o, void *base)
{
    return (int64_t *)(void *)((char *)base + o->offset);
}

static bool *flag_at(const struct option *o, void *base)
{
    return (bool *)(void *)((char *)base + o->offset);
}

static bool is_text(const struct option *o)
{
    return o->type == OPTION_TEXT || o->type == OPTION_SECRET || o->type == OPTION_CHOICE;
}

const struct option *option_find(struct option_list list, const char *section, const char *key)
{
    for (size_t i = 0; i < list.count; i++)
        if (strcmp(list.options[i].section, section) == 0 && strcmp(list.options[i].key, key) == 0)
            return &list.options[i];
    return NULL;
}

/* "SECTION_KEY" of ${o}. */
static void variable_of(const struct option *o, char out[NAME_BYTES])
{
    int n = snprintf(out, NAME_BYTES, "%s_%s", o->section, o->key);

    PRE(n > 0 && n < NAME_BYTES);
    for (; *out != '\0'; out++)
        *out = (char)toupper((unsigned char)*out);
}

const struct option *option_find_variable(struct option_list list, const char *name)
{
    char variable[NAME_BYTES];

    for (size_t i = 0; i < list.count; i++) {
        variable_of(&list.options[i], variable);
        if (strcmp(variable, name) == 0)
            return &list.options[i];
    }
    return NULL;
}

/* Decimal digits with sign; with ${suffix}, also k, m, g for powers of 1024. */
static bool parse_number(const char *text, bool suffix, int64_t *value)
{
    char *end;
    unsigned shift = 0;

    if (!isdigit((unsigned char)text[0]) && !(text[0] == '-' && isdigit((unsigned char)text[1])))
        return false;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno != 0)
        return false;
    if (suffix && *end != '\0') {
        const char *letters = "kmg", *found = strchr(letters, tolower((unsigned char)*end));
        if (found == NULL || v < 0)
            return false;
        shift = 10 * (unsigned)(found - letters + 1);
        end++;
    }
    if (*end != '\0' || (v > 0 && v > INT64_MAX >> shift))
        return false;
    *value = shift == 0 ? v : v << shift;
    return true;
}

static bool parse_flag(const char *text, bool *value)
{
    static const char *const words[][2] = {{"false", "true"}, {"no", "yes"}, {"off", "on"}};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        for (int v = 0; v < 2; v++)
            if (strcmp(text, words[i][v]) == 0) {
                *value = v;
                return true;
            }
    return false;
}

/* Whether ${text} is one of "a|b|c". */
static bool is_choice(const char *choices, const char *text)
{
    size_t len = strlen(text);

    while (len > 0) {
        size_t n = strcspn(choices, "|");
        if (n == len && memcmp(choices, text, n) == 0)
            return true;
        if (choices[n] == '\0')
            break;
        choices += n + 1;
    }
    return false;
}

/* Text goes into logs, JSON, file names and HTTP headers: UTF-8 without control characters, of
 * bounded length. */
static bool is_plain(const char *text)
{
    size_t len = 0;

    for (; text[len] != '\0'; len++)
        if (iscntrl((unsigned char)text[len]) || len >= OPTION_VALUE_BYTES)
            return false;
    return json_is_utf8(slice_of(text, len));
}

static void put_text(const struct option *o, void *base, const char *value)
{
    char *fresh = base_strndup(value, strlen(value));

    option_clear(o, base);
    *text_at(o, base) = fresh;
}

/* The size in the largest unit that holds it exactly. */
static void put_bytes(int64_t v, char *out, size_t size)
{
    static const char units[] = {'\0', 'k', 'm', 'g', '\0'};
    size_t unit = 0;

    while (v != 0 && v % 1024 == 0 && unit < 3) {
        v /= 1024;
        unit++;
    }
    snprintf(out, size, "%" PRId64 "%.1s", v, &units[unit]);
}

/* The values that ${o} takes; "" for text, which may be anything. */
static void wanted(const struct option *o, char *out, size_t size)
{
    char min[32], max[32];

    switch (o->type) {
    case OPTION_TEXT:
    case OPTION_SECRET:
        out[0] = '\0';
        return;
    case OPTION_NUMBER:
        snprintf(out, size, "a number from %" PRId64 " to %" PRId64, o->min, o->max);
        return;
    case OPTION_BYTES:
        put_bytes(o->min, min, sizeof min);
        put_bytes(o->max, max, sizeof max);
        snprintf(out, size, "a size from %s to %s", min, max);
        return;
    case OPTION_FLAG:
        snprintf(out, size, "true or false");
        return;
    case OPTION_CHOICE:
        snprintf(out, size, "one of %s", o->choices);
        return;
    }
}

static enum err refuse(const struct option *o, const char *value, char *why, size_t size)
{
    char what[160];

    wanted(o, what, sizeof what);
    if (what[0] == '\0')
        snprintf(why, size,
                 "[%s] %s: at most %d bytes of UTF-8 without control characters "
                 "are wanted",
                 o->section, o->key, OPTION_VALUE_BYTES);
    else
        snprintf(why, size, "[%s] %s = %.60s: %s is wanted", o->section, o->key, value, what);
    return ERR_INVALID;
}

enum err option_set(const struct option *o, void *base, const char *value, char *why, size_t size)
{
    int64_t number;

    if (!is_plain(value))
        return refuse(o, "", why, size);
    switch (o->type) {
    case OPTION_TEXT:
    case OPTION_SECRET:
        put_text(o, base, value);
        return ERR_OK;
    case OPTION_NUMBER:
    case OPTION_BYTES:
        if (!parse_number(value, o->type == OPTION_BYTES, &number) || number < o->min ||
            number > o->max)
            return refuse(o, value, why, size);
        *number_at(o, base) = number;
        return ERR_OK;
    case OPTION_FLAG:
        return parse_flag(value, flag_at(o, base)) ? ERR_OK : refuse(o, value, why, size);
    case OPTION_CHOICE:
        if (!is_choice(o->choices, value))
            return refuse(o, value, why, size);
        put_text(o, base, value);
        return ERR_OK;
    }
    return refuse(o, value, why, size);
}

void option_set_default(const struct option *o, void *base)
{
    if (is_text(o))
        put_text(o, base, o->text);
    else if (o->type == OPTION_FLAG)
        *flag_at(o, base) = o->number != 0;
    else
        *number_at(o, base) = o->number;
}

void option_clear(const struct option *o, void *base)
{
    if (!is_text(o))
        return;
    char **text = text_at(o, base);
    if (*text != NULL && o->type == OPTION_SECRET)
        explicit_bzero(*text, strlen(*text));
    free(*text);
    *text = NULL;
}

static void print_number(const struct option *o, int64_t v, FILE *out)
{
    char text[32];

    if (o->type == OPTION_FLAG) {
        fputs(v ? "true" : "false", out);
    } else if (o->type == OPTION_BYTES) {
        put_bytes(v, text, sizeof text);
        fputs(text, out);
    } else {
        fprintf(out, "%" PRId64, v);
    }
}

void option_print_value(const struct option *o, const void *base, FILE *out)
{
    const char *at = (const char *)base + o->offset;

    if (is_text(o)) {
        const char *text = *(char *const *)(const void *)at;
        fputs(o->type == OPTION_SECRET && *text ? "***" : text, out);
    } else if (o->type == OPTION_FLAG) {
        print_number(o, *(const bool *)(const void *)at, out);
    } else {
        print_number(o, *(const int64_t *)(const void *)at, out);
    }
}

void option_print_default(const struct option *o, FILE *out)
{
    if (is_text(o))
        fputs(o->text, out);
    else
        print_number(o, o->number, out);
}

void option_print_wanted(const struct option *o, FILE *out)
{
    char text[160];

    wanted(o, text, sizeof text);
    fputs(text, out);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Edits (insert, delete, replace one character, any case) from ${a} to ${b}; both are short. */
static size_t distance(const char *a, const char *b)
{
    size_t row[NAME_BYTES + 1], lb = strlen(b);

    for (size_t j = 0; j <= lb; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            bool same = tolower((unsigned char)a[i - 1]) == tolower((unsigned char)b[j - 1]);
            size_t edited = least(least(row[j], row[j - 1]) + 1, diagonal + !same);
            diagonal = row[j];
            row[j] = edited;
        }
    }
    return row[lb];
}

/* The option nearest to ${section} and ${key} by letters; NULL if none is near. */
static const struct option *nearest(struct option_list list, const char *section, const char *key)
{
    const struct option *best = NULL;
    size_t best_edits = strlen(key) / 3 + 2; /* more edits mean another word, not a typing error */
    char name[NAME_BYTES];

    if (strlen(key) >= NAME_BYTES || (section != NULL && strlen(section) >= NAME_BYTES))
        return NULL;
    for (size_t i = 0; i < list.count; i++) {
        const struct option *o = &list.options[i];
        size_t edits;
        if (section == NULL) {
            variable_of(o, name);
            edits = distance(key, name);
        } else {
            edits = distance(key, o->key) + distance(section, o->section);
        }
        if (edits < best_edits) {
            best = o;
            best_edits = edits;
        }
    }
    return best;
}

void option_suggest(struct option_list list, const char *section, const char *key, char *why,
                    size_t size)
{
    const struct option *near = nearest(list, section, key);
    char hint[2 * NAME_BYTES] = "priv/sidecar.ini lists all", name[NAME_BYTES];

    if (near != NULL && section != NULL)
        snprintf(hint, sizeof hint, "did you mean [%s] %s?", near->section, near->key);
    if (near != NULL && section == NULL) {
        variable_of(near, name);
        snprintf(hint, sizeof hint, "did you mean " OPTION_VARIABLE_PREFIX "%s?", name);
    }
    if (section != NULL)
        snprintf(why, size, "[%.40s] %.60s: there is no such option; %s", section, key, hint);
    else
        snprintf(why, size, "there is no such option; %s", hint);
}
