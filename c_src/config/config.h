/* config.h - the options: one list (config.def), four places they may come from. */

#ifndef CONFIG_H
#define CONFIG_H

#include "ground/base.h"

struct kinds;

/* Every option is a field here; what each means is in config.def. */
struct config {
#define SECTION(name, help)
#define TEXT(section, key, deflt, help)             char *section##_##key;
#define SECRET(section, key, help)                  char *section##_##key;
#define NUMBER(section, key, deflt, min, max, help) int64_t section##_##key;
#define BYTES(section, key, deflt, min, max, help)  int64_t section##_##key;
#define FLAG(section, key, deflt, help)             bool section##_##key;
#define CHOICE(section, key, deflt, choices, help)  char *section##_##key;
#include "config/config.def"
#undef SECTION
#undef TEXT
#undef SECRET
#undef NUMBER
#undef BYTES
#undef FLAG
#undef CHOICE
    bool is_sink_type_given; /* the default is noop, which must be chosen explicitly where a
                              * deployment is named
                              */
    struct kinds *kinds;     /* the runtime's own and those of [kind.NAME] sections */
    char *source;            /* the file's path, "" when there was none */
};

/** config_new(): All defaults. */
struct config *config_new(void);
/** config_free(c): Secrets are wiped.  NULL is harmless. */
void config_free(struct config *c);

/**
 * config_read(c, file, managed, fault):
 * Read all options, later places over earlier ones: ${file} (NULL: none), the environment, and
 * with ${managed} standard input, as INI up to a line with a single "." (docs/PROTOCOL.md); what
 * follows that line is left for others to read.  Errors as below.
 */
enum err config_read(struct config *c, const char *file, bool managed,
                     struct fault *fault) MUST_CHECK;

/**
 * config_read_file(c, path, fault), config_read_text(c, name, text, fault):
 * Read INI (inih).  ERR_INVALID: ${fault}->path is "FILE:LINE", ->why names section and key and
 * what would be right; unknown sections and keys are errors.  ERR_SYSTEM: the file cannot be read.
 * What was set before the fault stays set.  Not thread-safe (inih has global switches).
 */
enum err config_read_file(struct config *c, const char *path, struct fault *fault) MUST_CHECK;
enum err config_read_text(struct config *c, const char *name, const char *text,
                          struct fault *fault) MUST_CHECK;

/**
 * config_read_environment(c, fault):
 * CONVEX_SIDECAR_<SECTION>_<KEY>, upper case, for every option (e.g. CONVEX_SIDECAR_SINK_BASE_URL).
 * An unknown variable with that prefix is an error that names it.  Values of secrets are removed
 * from the environment once read.
 */
enum err config_read_environment(struct config *c, struct fault *fault) MUST_CHECK;

/** config_set_store(c, dir, fault): store.dir as the command line gives it.  ERR_INVALID as above.
 */
enum err config_set_store(struct config *c, const char *dir, struct fault *fault) MUST_CHECK;

/**
 * config_finish(c, fault):
 * Check that options fit together; "credentials:NAME" in sink.admin_key_file becomes that file in
 * $CREDENTIALS_DIRECTORY; kinds_finish.  Once, at the end.  config_read_cookie reads the cookie.
 */
enum err config_finish(struct config *c, struct fault *fault) MUST_CHECK;

/** config_misfit(c, fault, why): Fill ${fault} with the sentence ${why} about options that do not
 * fit together; gives ERR_INVALID. */
enum err config_misfit(const struct config *c, struct fault *fault, const char *why);

/**
 * config_read_cookie(c, fault):
 * Make c->node_cookie hold the cookie: given directly, or in node.cookie_file, or in
 * $HOME/.erlang.cookie.  Nobody else may reach the file (secret_file.h).  ERR_INVALID: given
 * twice, open to others, or no cookie; ERR_SYSTEM: cannot be read.
 */
enum err config_read_cookie(struct config *c, struct fault *fault) MUST_CHECK;

/** config_print(c, out): The options in force, and the kinds, as INI; secrets as "***". */
void config_print(const struct config *c, FILE *out);
/** config_print_reference(out): Every option with default, bounds and meaning, as INI comments. */
void config_print_reference(FILE *out);
/** config_print_man(out): The same as convex_sidecar.ini(5), in man(7). */
void config_print_man(FILE *out);

#endif
