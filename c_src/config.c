/*
 * config.c - the options: one list, four places they may come from.
 *
 * The happy path: config_new sets the defaults of config.def, config_read_file reads an INI file
 * (inih), config_read_environment what CONVEX_SIDECAR_* variables say, config_read_text what came
 * on standard input; later ones win.  config_finish then checks what must fit together.
 *
 * What can go wrong: a value out of bounds, an unknown or repeated key, a line too long, a file
 * that cannot be read or whose cookie others could read.  Nothing is guessed and nothing ignored:
 * the first fault ends it, with file, line, and what would be right.
 *
 * Secrets are wiped where they lay (the file's text, the environment) once they are here, and here
 * at config_free.  Start-up only, one thread.
 */

#include "config.h"

#include "log.h"
#include "option.h"
#include "projection.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES       1048576 /* of a configuration file at most */
#define LINE_BYTES       8192    /* with newline and terminator */
#define INI_NAME_BYTES   49      /* inih cuts longer section names silently */
#define COOKIE_BYTES     255
#define ENVIRON_MAX      1024 /* our variables at most */
#define CREDENTIALS_WORD "credentials:"

static const struct option options[] = {
#define AT(section, key) offsetof(struct config, section##_##key)
#define SECTION(name, help)
#define TEXT(s, k, deflt, help)                                                                    \
    {.section = #s, .key = #k, .type = OPTION_TEXT, .text = deflt, .help = help, .offset = AT(s, k)},
#define SECRET(s, k, help)                                                                         \
    {.section = #s, .key = #k, .type = OPTION_SECRET, .text = "", .help = help, .offset = AT(s, k)},
#define NUMERIC(s, k, kind, deflt, lo, hi, about)                                                  \
    {.section = #s,                                                                                \
     .key = #k,                                                                                    \
     .type = kind,                                                                                 \
     .number = deflt,                                                                              \
     .min = lo,                                                                                    \
     .max = hi,                                                                                    \
     .help = about,                                                                                \
     .offset = AT(s, k)},
#define NUMBER(s, k, deflt, min, max, help) NUMERIC(s, k, OPTION_NUMBER, deflt, min, max, help)
#define BYTES(s, k, deflt, min, max, help)  NUMERIC(s, k, OPTION_BYTES, deflt, min, max, help)
#define FLAG(s, k, deflt, help)             NUMERIC(s, k, OPTION_FLAG, deflt, 0, 1, help)
#define CHOICE(s, k, deflt, list, about)                                                           \
    {.section = #s,                                                                                \
     .key = #k,                                                                                    \
     .type = OPTION_CHOICE,                                                                        \
     .text = deflt,                                                                                \
     .choices = list,                                                                              \
     .help = about,                                                                                \
     .offset = AT(s, k)},
#include "config.def"
#undef SECTION
#undef TEXT
#undef SECRET
#undef NUMBER
#undef BYTES
#undef FLAG
#undef CHOICE
};

#define OPTION_COUNT (sizeof options / sizeof *options)
static const struct option_list all = {options, OPTION_COUNT};
