/* option.h - one option of a program: its type and bounds, and how text becomes its value. */

/* Private to config/. */

#ifndef OPTION_H
#define OPTION_H

#include "ground/base.h"

#define OPTION_VALUE_BYTES     8000 /* of any value at most */
#define OPTION_VARIABLE_PREFIX "CONVEX_SIDECAR_"

enum option_type {
    OPTION_TEXT,   /* char *, any printable text */
    OPTION_SECRET, /* the same, never shown */
    OPTION_NUMBER, /* int64_t */
    OPTION_BYTES,  /* int64_t; 64k, 16m, 2g are understood */
    OPTION_FLAG,   /* bool */
    OPTION_CHOICE  /* char *, one of choices */
};

struct option {
    const char *section, *key;
    enum option_type type;
    const char *text;    /* TEXT, CHOICE: the default */
    int64_t number;      /* NUMBER, BYTES, FLAG: the default */
    int64_t min, max;    /* NUMBER, BYTES */
    const char *choices; /* CHOICE: "a|b|c" */
    const char *help;
    size_t offset; /* of the value in the struct that holds the options */
};

/* A list of options, grouped by section. */
struct option_list {
    const struct option *options;
    size_t count;
};

/** option_find(list, section, key): That option, or NULL. */
const struct option *option_find(struct option_list list, const char *section, const char *key);

/** option_find_variable(list, name): The option of the variable SECTION_KEY (the prefix cut off).
 */
const struct option *option_find_variable(struct option_list list, const char *name);

/**
 * option_set(o, base, value, why, size):
 * Make ${value} the value of ${o} in the struct at ${base}; an old text is freed, an old secret
 * wiped.  ERR_INVALID: the value is invalid; nothing changed, ${why} gets "[section] key = value:
 * what is wanted" (a secret's value is not shown).
 */
enum err option_set(const struct option *o, void *base, const char *value, char *why,
                    size_t size) MUST_CHECK;
/** option_set_default(o, base): As option_set with the default; never fails. */
void option_set_default(const struct option *o, void *base);
/** option_clear(o, base): Free the value (a secret is wiped first). */
void option_clear(const struct option *o, void *base);

/** option_print_value(o, base, out): As INI would have it; a secret as "***" when there is one. */
void option_print_value(const struct option *o, const void *base, FILE *out);
/** option_print_default(o, out): The default, likewise. */
void option_print_default(const struct option *o, FILE *out);
/** option_print_wanted(o, out): "a number from 1 to 256"; nothing for text. */
void option_print_wanted(const struct option *o, FILE *out);

/**
 * option_suggest(list, section, key, why, size):
 * Say in ${why} that the option is unknown, and which one was probably meant.  ${section} NULL:
 * ${key} is an environment variable's SECTION_KEY, the prefix cut off.
 */
void option_suggest(struct option_list list, const char *section, const char *key, char *why,
                    size_t size);

#endif
