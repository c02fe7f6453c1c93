/*
 * cli_help.c - what the words take and do: --help, the man page, the completion.
 *
 * All three are printed from words.def and CLI_STATUS_LIST.  docs/man/convex_sidecar.1 and
 * priv/convex_sidecar.bash-completion are what the last two print; a test compares the files with
 * it, and TEST_UPDATE=1 cli_help_test writes them.
 *
 * Only the output can fail, and the caller checks that.
 */

#include "cli/cli_help.h"

#include "cli/cli.h"
#include "cli/cli_words.h"
#include "ground/roff.h"

#include <ctype.h>

#define WIDTH 92 /* of a line of help */

static const char *const statuses[] = {
#define X(name, text) [name] = text,
    CLI_STATUS_LIST(X)
#undef X
};

#define STATUS_COUNT (sizeof statuses / sizeof *statuses)

/* ---- --help ------------------------------------------------------------------------- */

/* ${text} in lines of at most WIDTH characters, all but the first after ${indent} blanks. */
static void put_wrapped(const char *text, size_t indent, FILE *out)
{
    size_t column = indent;

    while (*text != '\0') {
        size_t blanks = strspn(text, " "), len = strcspn(text + blanks, " ");
        bool fits = column + blanks + len <= WIDTH;
        if (!fits)
            fprintf(out, "\n%*s", (int)indent, "");
        fprintf(out, "%.*s", (int)(fits ? blanks + len : len), text + (fits ? 0 : blanks));
        column = fits ? column + blanks + len : indent + len;
        text += blanks + len;
    }
    fputc('\n', out);
}

static void put_option(const char *name, const char *value, const char *help, FILE *out)
{
    char both[60];

    snprintf(both, sizeof both, "%s%s%s", name, *value ? " " : "", value);
    fprintf(out, "  %-18s %s\n", both, help);
}

static bool has_option(const struct cli_word *w, const struct cli_option *o)
{
    bool is_common = strcmp(o->name, "--json") == 0 || strcmp(o->name, "--timeout") == 0;

    return is_common ? cli_words_asks_sidecar(w) : cli_words_takes(w->takes, o->name);
}

static void put_word(const struct cli_word *w, FILE *out)
{
    fprintf(out, "usage: convex_sidecar %s%s%s [OPTION]...\n\n", w->name, *w->takes ? " " : "",
            w->takes);
    put_wrapped(w->does, 0, out);
    fputc('\n', out);
    const struct cli_option *o;
    for (size_t i = 0; (o = cli_words_option_at(i)) != NULL; i++)
        if (has_option(w, o))
            put_option(o->name, o->value, o->help, out);
    put_option("--config", "FILE", "read this configuration file", out);
    put_option("--store", "DIR", "the store's directory (option store.dir)", out);
    fputs("\nExit status:\n", out);
    for (size_t i = 0; i < STATUS_COUNT; i++) {
        fprintf(out, "  %zu  ", i);
        put_wrapped(statuses[i], 5, out);
    }
    fprintf(out, "\nExample: %s\n", w->example);
}

/* The first sentence of what a word does. */
static int brief_len(const char *does)
{
    int len = (int)strcspn(does, ".;(");

    while (len > 0 && does[len - 1] == ' ')
        len--;
    return len;
}

static void put_all(FILE *out)
{
    const struct cli_word *w;

    fputs("usage: convex_sidecar COMMAND [ARGUMENT]... [--config FILE] [--store DIR]\n\n", out);
    for (size_t i = 0; (w = cli_words_at(i)) != NULL; i++)
        fprintf(out, "  %-13s %.*s\n", w->name, brief_len(w->does), w->does);
    fputs("\nconvex_sidecar help COMMAND says more.  The commands from status on speak to the "
          "running\n"
          "sidecar of that store: run them on its machine, as its user or root.\n",
          out);
}

bool cli_help_word(const char *word, FILE *out)
{
    const struct cli_word *w;

    if (word == NULL) {
        put_all(out);
        return true;
    }
    for (size_t i = 0; (w = cli_words_at(i)) != NULL; i++)
        if (strcmp(w->name, word) == 0) {
            put_word(w, out);
            return true;
        }
    return false;
}

/* ---- the man page -------------------------------------------------------------------- */

/* What a word takes: capitals, which stand for a value, in italics; the rest bold. */
static void put_takes(const char *takes, FILE *out)
{
    while (*takes != '\0') {
        size_t len = strcspn(takes, " []|");
        char part[60];
        snprintf(part, sizeof part, "%.*s", (int)len, takes);
        if (len > 0) {
            fputs(isupper((unsigned char)*takes) ? "\\fI" : "\\fB", out);
            roff_put(part, out);
            fputs("\\fR", out);
        }
        takes += len;
        for (len = strspn(takes, " []|"); len > 0; len--)
            fputc(*takes++, out);
    }
}

static void put_man_words(FILE *out)
{
    const struct cli_word *w;

    fputs(".SH COMMANDS\n", out);
    for (size_t i = 0; (w = cli_words_at(i)) != NULL; i++) {
        fputs(".TP\n\\fB", out);
        roff_put(w->name, out);
        fputs("\\fR", out);
        if (*w->takes)
            fputc(' ', out);
        put_takes(w->takes, out);
        fputc('\n', out);
        roff_put(w->does, out);
        fputc('\n', out);
    }
}

static void put_man_option(const char *name, const char *value, const char *help, FILE *out)
{
    fputs(".TP\n\\fB", out);
    roff_put(name, out);
    fprintf(out, "\\fR%s\\fI%s\\fR\n", *value ? " " : "", value);
    roff_put(help, out);
    fputc('\n', out);
}

static void put_man_options(FILE *out)
{
    const struct cli_option *o;

    fputs(".SH OPTIONS\nAll words take these:\n", out);
    put_man_option("--config", "FILE", "read this configuration file", out);
    put_man_option("--store", "DIR", "the store's directory (option store.dir)", out);
    put_man_option("--help", "", "show what the command does and takes", out);
    fputs(".PP\nThese go with the words that show them, the first two with all that speak to a "
          "sidecar:\n",
          out);
    for (size_t i = 0; (o = cli_words_option_at(i)) != NULL; i++)
        put_man_option(o->name, o->value, o->help, out);
}

static void put_man_examples(FILE *out)
{
    const struct cli_word *w;

    fputs(".SH EXAMPLES\n.nf\n", out);
    for (size_t i = 0; (w = cli_words_at(i)) != NULL; i++) {
        roff_put(w->example, out);
        fputc('\n', out);
    }
    fputs(".fi\n", out);
}

void cli_help_man(FILE *out)
{
    fputs(".\\\" Printed from c_src/cli/words.def; TEST_UPDATE=1 build/cli/cli_help_test writes "
          "it.\n"
          ".TH CONVEX_SIDECAR 1 \"\" \"convex\\-sidecar\" \"User Commands\"\n"
          ".SH NAME\n"
          "convex_sidecar \\- keeps projections of a BEAM runtime and delivers them to Convex\n"
          ".SH SYNOPSIS\n"
          ".B convex_sidecar\n"
          "\\fICOMMAND\\fR [\\fIARGUMENT\\fR]... [\\fB\\-\\-config\\fR \\fIFILE\\fR] "
          "[\\fB\\-\\-store\\fR \\fIDIR\\fR]\n"
          ".SH DESCRIPTION\n"
          "\\fBconvex_sidecar run\\fR is a C node beside a BEAM cluster.  It makes projection "
          "documents, keeps them durably, and writes them to a Convex deployment over HTTP.\n"
          ".PP\n"
          "The commands from status on speak to the running sidecar of the given store, over a "
          "socket in its directory: run them on its machine, as its user or root.\n",
          out);
    put_man_words(out);
    put_man_options(out);
    fputs(".SH EXIT STATUS\n", out);
    for (size_t i = 0; i < STATUS_COUNT; i++) {
        fprintf(out, ".TP\n.B %zu\n", i);
        roff_put(statuses[i], out);
        fputc('\n', out);
    }
    fputs(".SH ENVIRONMENT\n"
          ".TP\n"
          "\\fBCONVEX_SIDECAR_\\fISECTION\\fB_\\fIKEY\\fR\n"
          "sets an option of convex_sidecar.ini(5), in upper case; it wins over the file\n"
          ".SH FILES\n"
          ".TP\n"
          ".I /etc/convex_sidecar/sidecar.ini\n"
          "the configuration that the systemd unit names\n"
          ".TP\n"
          ".I /var/lib/convex_sidecar/store\n"
          "what is kept, and control.sock while the sidecar runs\n",
          out);
    put_man_examples(out);
    fputs(".SH SEE ALSO\n.BR convex_sidecar.ini (5)\n", out);
}

/* ---- completion ---------------------------------------------------------------------- */

/* Whether what is at ${at} in ${takes} is there earlier as well. */
static bool is_repeated(const char *takes, const char *at, size_t len)
{
    char before[200], part[60];

    snprintf(before, sizeof before, "%.*s", (int)(at - takes), takes);
    snprintf(part, sizeof part, "%.*s", (int)len, at);
    return cli_words_takes(before, part);
}

/* What may follow a word: what it takes in small letters, options among it, and the common ones. */
static void put_candidates(const struct cli_word *w, FILE *out)
{
    for (const char *at = w->takes; *at != '\0';) {
        size_t len = strcspn(at, " []|");
        if ((islower((unsigned char)*at) || *at == '-') && !is_repeated(w->takes, at, len))
            fprintf(out, "%.*s ", (int)len, at);
        at += len + strspn(at + len, " []|");
    }
    fprintf(out, "%s--config --store --help", cli_words_asks_sidecar(w) ? "--json --timeout " : "");
}

/* Options with a value, of which ${paths}: those that name files, or all others. */
static void put_valued(bool paths, FILE *out)
{
    const struct cli_option *o;

    fputs(paths ? "--config|--store" : "", out);
    const char *between = paths ? "|" : "";
    for (size_t i = 0; (o = cli_words_option_at(i)) != NULL; i++)
        if (*o->value && o->is_path == paths) {
            fprintf(out, "%s%s", between, o->name);
            between = "|";
        }
}

void cli_help_completion(FILE *out)
{
    const struct cli_word *w;

    fputs("# bash completion for convex_sidecar.  Printed from c_src/cli/words.def; TEST_UPDATE=1 "
          "build/cli/cli_help_test writes it.\n"
          "_convex_sidecar() {\n"
          "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} can=\n"
          "    case $before in\n"
          "    ",
          out);
    put_valued(true, out);
    fputs(") compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n"
          "    ",
          out);
    put_valued(false, out);
    fputs(") return ;;\n"
          "    esac\n"
          "    case $COMP_CWORD:${COMP_WORDS[1]}:$before in\n"
          "    1:* | 2:help:*) can=\"",
          out);
    for (size_t i = 0; (w = cli_words_at(i)) != NULL; i++)
        fprintf(out, "%s%s", i ? " " : "", w->name);
    fputs("\" ;;\n", out);
    for (size_t i = 0; (w = cli_words_at(i)) != NULL; i++) {
        fprintf(out, "    *:%s:*) can=\"", w->name);
        put_candidates(w, out);
        fputs("\" ;;\n", out);
    }
    fputs("    esac\n"
          "    COMPREPLY=($(compgen -W \"$can\" -- \"$word\"))\n"
          "}\n"
          "complete -F _convex_sidecar convex_sidecar\n",
          out);
}
