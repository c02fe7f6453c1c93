/*
 * config.c - the options: one list, four places they may come from.
 *
 * The happy path: config_new sets the defaults of config.def, config_read_file reads an INI file
 * (inih), config_read_environment reads CONVEX_SIDECAR_* variables, and read_stdin standard input;
 * later ones win, and the command line's --store wins over all.  config_finish.c checks how
 * options fit together.
 *
 * What can go wrong: a value out of bounds, an unknown or repeated key, a line too long, a file
 * that cannot be read.  Nothing is guessed or ignored: the first fault ends the reading, and names
 * file, line, and what would be right.
 *
 * Secrets are wiped at their source (the file's text, the environment) once they are read, and
 * here by config_free.  Start-up only, one thread.
 */

#include "config/config.h"

#include "config/config_file.h"
#include "config/option.h"
#include "ground/buf.h"
#include "ground/log.h"
#include "ground/roff.h"
#include "projection/projection.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES     1048576 /* of a configuration file at most */
#define LINE_BYTES     8192    /* with newline and terminator */
#define INI_NAME_BYTES 49      /* inih cuts longer section names silently */
#define ENVIRON_MAX    1024    /* our variables at most */

#define OPTION(s, k, kind, text, number, lo, hi, list, about)                                      \
    {#s, #k, kind, text, number, lo, hi, list, about, offsetof(struct config, s##_##k)},

static const struct option options[] = {
#define SECTION(name, help)
#define TEXT(s, k, deflt, help)           OPTION(s, k, OPTION_TEXT, deflt, 0, 0, 0, NULL, help)
#define SECRET(s, k, help)                OPTION(s, k, OPTION_SECRET, "", 0, 0, 0, NULL, help)
#define NUMBER(s, k, deflt, lo, hi, help) OPTION(s, k, OPTION_NUMBER, "", deflt, lo, hi, NULL, help)
#define BYTES(s, k, deflt, lo, hi, help)  OPTION(s, k, OPTION_BYTES, "", deflt, lo, hi, NULL, help)
#define FLAG(s, k, deflt, help)           OPTION(s, k, OPTION_FLAG, "", deflt, 0, 1, NULL, help)
#define CHOICE(s, k, deflt, list, help)   OPTION(s, k, OPTION_CHOICE, deflt, 0, 0, 0, list, help)
#include "config/config.def"
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

struct config *config_new(void)
{
    struct config *c = base_alloc(sizeof *c);

    for (size_t i = 0; i < OPTION_COUNT; i++)
        option_set_default(&options[i], c);
    c->kinds = kinds_new();
    c->source = base_strndup("", 0);
    return c;
}

void config_free(struct config *c)
{
    if (c == NULL)
        return;
    free(c->source);
    kinds_free(c->kinds);
    for (size_t i = 0; i < OPTION_COUNT; i++)
        option_clear(&options[i], c);
    free(c);
}

static enum err set(const struct option *o, struct config *c, const char *value, char *why,
                    size_t size)
{
    enum err e = option_set(o, c, value, why, size);

    if (e == ERR_OK && o->offset == offsetof(struct config, sink_type))
        c->is_sink_type_given = true;
    return e;
}

/* --- INI text ----------------------------------------------------------- */

/* One reading of one text. */
struct reading {
    struct config *c;
    const char *name; /* of the text, for faults */
    const char *at;   /* what is not yet read */
    int line;
    bool seen[OPTION_COUNT]; /* in this text; a second time is an error */
    bool has_secret;
    bool failed; /* then fault is filled */
    struct fault *fault;
};

/* The first fault counts.  Returns false, for inih. */
static bool fail_at(struct reading *r, const char *why)
{
    if (!r->failed) {
        fault_at(r->fault, "%.200s:%d", r->name, r->line);
        fault_say(r->fault, NULL, "%s", why);
    }
    r->failed = true;
    return false;
}

/*
 * Refuse what inih would cut silently: a line longer than its buffer, a section name longer than
 * its array.
 */
static bool check_line(struct reading *r, size_t len, size_t room)
{
    const char *p = r->at + strspn(r->at, " \t");
    char why[100];

    if (len >= room) {
        snprintf(why, sizeof why, "a line has at most %zu bytes", room - 2);
        return fail_at(r, why);
    }
    if (*p == '[' && strcspn(p + 1, "]\n") > INI_NAME_BYTES) {
        snprintf(why, sizeof why, "a section's name has at most %d bytes", INI_NAME_BYTES);
        return fail_at(r, why);
    }
    return true;
}

/* inih's reader: the next line, as fgets would give it, counted. */
static char *next_line(char *out, int size, void *arg)
{
    struct reading *r = arg;
    size_t len = strcspn(r->at, "\n");

    if (r->failed || *r->at == '\0')
        return NULL;
    r->line++;
    len += r->at[len] == '\n';
    if (!check_line(r, len, (size_t)size))
        return NULL;
    memcpy(out, r->at, len);
    out[len] = '\0';
    r->at += len;
    return out;
}

/* [kind.NAME] key = value. */
static bool take_kind(struct reading *r, const char *kind, const char *key, const char *value)
{
    struct fault fault = {0};
    char why[sizeof fault.why];

    if (kinds_set(r->c->kinds, kind, key, value, &fault) == ERR_OK)
        return true;
    snprintf(why, sizeof why, "[kind.%.49s] %.49s: %.140s", kind, key, fault.why);
    return fail_at(r, why);
}

/* inih's handler: one key. */
static int take_option(void *arg, const char *section, const char *key, const char *value)
{
    struct reading *r = arg;
    char why[sizeof r->fault->why];

    if (strncmp(section, "kind.", 5) == 0)
        return take_kind(r, section + 5, key, value);
    const struct option *o = option_find(all, section, key);
    if (o == NULL) {
        option_suggest(all, section, key, why, sizeof why);
        return fail_at(r, why);
    }
    if (r->seen[o - options]) {
        snprintf(why, sizeof why, "[%s] %s is given a second time", section, key);
        return fail_at(r, why);
    }
    r->seen[o - options] = true;
    r->has_secret |= o->type == OPTION_SECRET && *value != '\0';
    if (set(o, r->c, value, why, sizeof why) != ERR_OK)
        return fail_at(r, why);
    return true;
}

static enum err read_ini(struct reading *r)
{
    /* Debian's libinih has its build switches as variables. */
    ini_use_stack = false;
    ini_initial_alloc = LINE_BYTES;
    ini_allow_realloc = false;
    ini_allow_multiline = false;
    ini_allow_no_value = false;
    ini_stop_on_first_error = true;
    int error = ini_parse_stream(next_line, r, take_option, r);

    PRE(error >= 0); /* negative: it cannot open a file, or has no memory */
    if (error > 0)
        fail_at(r, "neither [section] nor key = value");
    return r->failed ? ERR_INVALID : ERR_OK;
}

enum err config_read_text(struct config *c, const char *name, const char *text, struct fault *fault)
{
    struct reading r = {.c = c, .name = name, .at = text, .fault = fault};

    return read_ini(&r);
}

/* --- files -------------------------------------------------------------- */

enum err config_read_file(struct config *c, const char *path, struct fault *fault)
{
    struct reading r = {.c = c, .name = path, .fault = fault};
    const char *why = NULL;
    struct stat s;
    char quoted[300];

    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &s) < 0) {
        why = strerror(errno);
        if (fd >= 0)
            close(fd);
        return fault_fail(fault, ERR_SYSTEM, path, "%s", why);
    }
    char *text = config_file_read(fd, FILE_BYTES, &why);
    close(fd);
    if (text == NULL)
        return fault_fail(fault, ERR_SYSTEM, path, "%s", why);
    r.at = text;
    enum err e = read_ini(&r);
    config_file_wipe(text);
    free(c->source);
    c->source = base_strndup(path, strlen(path));
    if (e == ERR_OK && r.has_secret && (s.st_mode & (S_IRWXG | S_IRWXO)))
        log_event(LOG_WARNING, "config.secret_readable", "file=%s mode=%04o",
                  log_quote(slice_str(path), quoted, sizeof quoted), s.st_mode & 07777U);
    return e;
}

/* --- standard input ------------------------------------------------------ */

/* Byte by byte: what follows the last line is for others to read. */
static bool read_to_dot(struct buf *text)
{
    uint8_t byte;

    for (;;) {
        ssize_t n = read(STDIN_FILENO, &byte, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || text->len == FILE_BYTES)
            return false;
        buf_byte(text, byte);
        if (text->len >= 2 && memcmp(text->data + text->len - 2, ".\n", 2) == 0 &&
            (text->len == 2 || text->data[text->len - 3] == '\n'))
            return true;
    }
}

static enum err read_stdin(struct config *c, struct fault *fault)
{
    struct buf text = {0};
    enum err e;

    if (!read_to_dot(&text)) {
        e = fault_say(fault, "standard input",
                      "the configuration is not ended by a line with a single \".\"");
    } else if (memchr(text.data, '\0', text.len) != NULL) {
        e = fault_say(fault, "standard input", "the configuration holds a NUL byte");
    } else {
        text.len -= 2;
        buf_byte(&text, 0);
        e = config_read_text(c, "standard input", (const char *)text.data, fault);
    }
    if (text.data)
        explicit_bzero(text.data, text.cap);
    buf_free(&text);
    return e;
}

/* --- environment -------------------------------------------------------- */

/* CONVEX_SIDECAR_${name}=${value}. */
static enum err take_variable(struct config *c, const char *name, const char *value,
                              struct fault *fault)
{
    const struct option *o = option_find_variable(all, name);

    fault_at(fault, OPTION_VARIABLE_PREFIX "%.200s", name);
    if (o != NULL)
        return set(o, c, value, fault->why, sizeof fault->why);
    if (strncmp(name, "KIND_", 5) == 0)
        return fault_say(
            fault, NULL,
            "kinds are not read from the environment; put them into a [kind.NAME] section");
    option_suggest(all, NULL, name, fault->why, sizeof fault->why);
    return ERR_INVALID;
}

/* Remove a secret from the environment, and so from /proc/PID/environ. */
static void forget_variable(const char *name, size_t name_len)
{
    char *copy = base_strndup(name, name_len), *value = getenv(copy);

    if (value != NULL)
        explicit_bzero(value, strlen(value));
    unsetenv(copy);
    free(copy);
}

enum err config_read_environment(struct config *c, struct fault *fault)
{
    const char *ours[ENVIRON_MAX];
    size_t count = 0, prefix = strlen(OPTION_VARIABLE_PREFIX);

    /* Collected first: removing one moves the others. */
    for (char **v = environ; v != NULL && *v != NULL; v++)
        if (strncmp(*v, OPTION_VARIABLE_PREFIX, prefix) == 0 && strchr(*v, '=') != NULL) {
            if (count == ENVIRON_MAX)
                return fault_say(fault, "environment",
                                 "too many " OPTION_VARIABLE_PREFIX "* variables");
            ours[count++] = *v;
        }

    enum err result = ERR_OK;
    for (size_t i = 0; i < count; i++) {
        struct fault local = {0};
        size_t name_len = (size_t)(strchr(ours[i], '=') - ours[i]);
        char *name = base_strndup(ours[i] + prefix, name_len - prefix);
        const struct option *o = option_find_variable(all, name);
        enum err e = take_variable(c, name, ours[i] + name_len + 1, &local);
        free(name);
        if (o != NULL && o->type == OPTION_SECRET)
            forget_variable(ours[i], name_len);
        if (e != ERR_OK && result == ERR_OK) {
            result = e;
            *fault = local;
        }
    }
    return result;
}

/* --- all places -------------------------------------------------------- */

enum err config_set_store(struct config *c, const char *dir, struct fault *fault)
{
    fault_at(fault, "--store");
    return set(option_find(all, "store", "dir"), c, dir, fault->why, sizeof fault->why);
}

enum err config_read(struct config *c, const char *file, bool managed, struct fault *fault)
{
    enum err e = file != NULL ? config_read_file(c, file, fault) : ERR_OK;

    if (e == ERR_OK)
        e = config_read_environment(c, fault);
    return e == ERR_OK && managed ? read_stdin(c, fault) : e;
}

/* --- printing ----------------------------------------------------------- */

static const struct {
    const char *name, *help;
} sections[] = {
#define SECTION(name, help) {#name, help},
#define TEXT(section, key, deflt, help)
#define SECRET(section, key, help)
#define NUMBER(section, key, deflt, min, max, help)
#define BYTES(section, key, deflt, min, max, help)
#define FLAG(section, key, deflt, help)
#define CHOICE(section, key, deflt, choices, help)
#include "config/config.def"
#undef SECTION
#undef TEXT
#undef SECRET
#undef NUMBER
#undef BYTES
#undef FLAG
#undef CHOICE
};

static void print_kind(const struct kind *k, FILE *out)
{
    fprintf(out, "\n[kind.%s]\nprefix = %s\nentity = %s\nid_field = %s\nmutation = %s\nfields =",
            k->name, k->prefix, k->entity, k->id_field, k->mutation);
    for (size_t i = 0; i < k->field_count; i++)
        fprintf(out, " %s%s", k->fields[i].name, k->fields[i].is_map ? ":map" : "");
    fputc('\n', out);
    if (k->min_interval_ms >= 0)
        fprintf(out, "min_interval_ms = %" PRId64 "\n", k->min_interval_ms);
}

void config_print(const struct config *c, FILE *out)
{
    const char *section = "";

    for (const struct option *o = options; o < options + OPTION_COUNT; o++) {
        if (strcmp(section, o->section) != 0)
            fprintf(out, "%s[%s]\n", *section ? "\n" : "", o->section);
        section = o->section;
        fprintf(out, "%s = ", o->key);
        option_print_value(o, c, out);
        fputc('\n', out);
    }
    for (size_t i = 0; i < kinds_count(c->kinds); i++)
        print_kind(kinds_at(c->kinds, i), out);
}

static void print_reference_of(const struct option *o, FILE *out)
{
    fprintf(out, "\n; %s", o->help);
    if (o->type != OPTION_TEXT && o->type != OPTION_SECRET) {
        fputs("\n; (", out);
        option_print_wanted(o, out);
        fputc(')', out);
    }
    fprintf(out, "\n;%s = ", o->key);
    option_print_default(o, out);
    fputc('\n', out);
}

void config_print_reference(FILE *out)
{
    fputs("; Every option of convex_sidecar with its default.  Take away the ; of a line to change "
          "it.\n"
          "; A value ends at the end of its line, or at a blank followed by ;.\n"
          "; The same as a variable: " OPTION_VARIABLE_PREFIX "SECTION_KEY, in upper case.\n",
          out);
    for (size_t s = 0; s < sizeof sections / sizeof *sections; s++) {
        fprintf(out, "\n; %s.\n[%s]\n", sections[s].help, sections[s].name);
        for (size_t i = 0; i < OPTION_COUNT; i++)
            if (strcmp(options[i].section, sections[s].name) == 0)
                print_reference_of(&options[i], out);
    }
    fputs(
        "\n; A kind of document of your own; those that check-config prints without this section "
        "are built in.\n"
        "; A field is a column of the row; NAME:map becomes {} when it is absent.\n"
        "; min_interval_ms may stand alone, under a built-in kind, too: delivery's for this kind.\n"
        ";[kind.invoice_summary]\n"
        ";prefix = runtime/invoice_summary:\n"
        ";entity = invoice\n"
        ";id_field = invoice_id\n"
        ";mutation = runtime:upsertInvoiceSummary\n"
        ";fields = status amount metadata:map\n"
        ";min_interval_ms = 1000\n",
        out);
}

/* What ${print} prints of ${o}, as roff. */
static void put_man_part(void (*print)(const struct option *, FILE *), const struct option *o,
                         FILE *out)
{
    char *text = NULL;
    size_t len = 0;
    FILE *part = open_memstream(&text, &len);

    PRE(part != NULL);
    print(o, part);
    fclose(part);
    roff_put(text, out);
    free(text);
}

static void print_man_of(const struct option *o, FILE *out)
{
    fprintf(out, ".TP\n\\fB%s\\fR = ", o->key);
    put_man_part(option_print_default, o, out);
    fputc('\n', out);
    roff_put(o->help, out);
    fputs(".\n", out);
    if (o->type == OPTION_TEXT || o->type == OPTION_SECRET)
        return;
    fputs("Wanted is ", out);
    put_man_part(option_print_wanted, o, out);
    fputs(".\n", out);
}

void config_print_man(FILE *out)
{
    fputs(".\\\" Printed from c_src/config/config.def; TEST_UPDATE=1 build/config/config_test "
          "writes it.\n"
          ".TH CONVEX_SIDECAR.INI 5 \"\" \"convex\\-sidecar\" \"File Formats\"\n"
          ".SH NAME\n"
          "convex_sidecar.ini \\- configuration of convex_sidecar(1)\n"
          ".SH DESCRIPTION\n"
          "Sections and lines \"key = value\".  A value ends at the end of its line, or at a blank "
          "followed by ;.  Each option can be given as a variable of the environment, "
          "\\fB" OPTION_VARIABLE_PREFIX "\\fISECTION\\fB_\\fIKEY\\fR in upper case, which wins. "
          "\\fBconvex_sidecar check\\-config\\fR says what is wrong, or what is in force.\n"
          ".PP\n"
          "Below stands each option with its default.\n",
          out);
    for (size_t s = 0; s < sizeof sections / sizeof *sections; s++) {
        fprintf(out, ".SS [%s]\n%s.\n", sections[s].name, sections[s].help);
        for (size_t i = 0; i < OPTION_COUNT; i++)
            if (strcmp(options[i].section, sections[s].name) == 0)
                print_man_of(&options[i], out);
    }
    fputs(
        ".SS [kind.NAME]\n"
        "A kind of document of your own, with prefix, entity, id_field, mutation and fields, like "
        "those that are built in (kinds.ini beside the sample of this file).\n"
        "A kind, a built-in one too, may have a min_interval_ms in place of that of [delivery]: "
        "0 to 60000 between two writes of one of its documents.\n"
        ".SH SEE ALSO\n.BR convex_sidecar (1)\n",
        out);
}
