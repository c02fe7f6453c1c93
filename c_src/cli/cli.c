/*
 * cli.c - the words of the command line that speak to a running sidecar.
 *
 * The happy path: the word and its arguments become a request (cli_words), node name and cookie are
 * read from STORE/control, where the running sidecar has written them, the request is called
 * (cli_client), and the answer printed (cli_print).
 *
 * What can go wrong: wrong usage (exit status 2, with the word's help a line away); no control
 * file, then name and cookie of the configuration are tried; no sidecar there or no answer (3); an
 * answer that is an error (1).  Each is said on standard error, once, with what to do.
 *
 * One thread, one call, then the end; rebuild alone makes many (cli_rebuild).
 */

#include "cli/cli.h"

#include "cli/cli_audit.h"
#include "cli/cli_client.h"
#include "cli/cli_print.h"
#include "cli/cli_rebuild.h"
#include "cli/cli_store.h"
#include "cli/cli_words.h"
#include "config/config.h"
#include "ground/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONTROL_BYTES 1024 /* "NODE COOKIE\n", each up to 255 characters */

/* Who to ask; the strings lie in line, or are the configuration's. */
struct target {
    char line[CONTROL_BYTES];
    const char *node, *cookie;
};

/*
 * STORE/control, when it is there and ours: somebody else's file could send us, with our secrets,
 * to somebody else's node.  root may use any user's.
 */
static enum err read_control(const char *dir, struct target *t, char *why, size_t size)
{
    char path[4096];
    struct stat s;
    size_t len = 0;
    ssize_t n;

    if (snprintf(path, sizeof path, "%s/control", dir) >= (int)sizeof path)
        return ERR_NOT_FOUND;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        snprintf(why, size, "%.150s: %s", path, strerror(errno));
        return ERR_NOT_FOUND;
    }
    if (fstat(fd, &s) < 0 || !S_ISREG(s.st_mode) || (s.st_mode & 077) ||
        (s.st_uid != geteuid() && geteuid() != 0)) {
        close(fd);
        snprintf(why, size, "%.150s: it must be a file of this user's, mode 0600", path);
        return ERR_INVALID;
    }
    while (len < sizeof t->line - 1 && (n = read(fd, t->line + len, sizeof t->line - 1 - len)) > 0)
        len += (size_t)n;
    close(fd);
    t->line[len] = '\0';

    char *blank = strchr(t->line, ' '), *end = strchr(t->line, '\n');
    if (blank == NULL || end == NULL || end < blank || blank == t->line || end == blank + 1) {
        snprintf(why, size, "%.150s: it is not \"NODE COOKIE\"", path);
        return ERR_INVALID;
    }
    *blank = *end = '\0';
    t->node = t->line;
    t->cookie = blank + 1;
    return ERR_OK;
}

/* From STORE/control, else from the configuration.  False: neither; said on standard error. */
static bool find_target(struct config *c, struct target *t)
{
    char why[200] = "";
    struct fault fault = {0};

    enum err e = read_control(c->store_dir, t, why, sizeof why);
    if (e == ERR_OK)
        return true;
    if (e == ERR_NOT_FOUND && config_read_cookie(c, &fault) == ERR_OK) {
        t->node = c->node_name;
        t->cookie = c->node_cookie;
        return true;
    }
    fprintf(stderr, "convex_sidecar: no sidecar found in the store: %s\n", why);
    if (e == ERR_NOT_FOUND)
        fprintf(stderr,
                "convex_sidecar: and no cookie to ask %s with: %s: %s\n"
                "convex_sidecar: is it running? give its store (--store DIR) or its configuration "
                "(--config FILE), and run this as its user\n",
                c->node_name, fault.path, fault.why);
    return false;
}

static int rebuild(const struct config *c, const struct target *t, const struct ask *ask)
{
    const struct cli_peer peer = {t->node, t->cookie, c->node_registered_name};
    const struct cli_rebuild_options options = {.path = ask->from,
                                                .first_line = (uint64_t)ask->from_line,
                                                .lower = ask->lower,
                                                .json = ask->json,
                                                .timeout_ms = ask->timeout_ms};

    return cli_rebuild_run(&peer, &options);
}

static int audit(const struct config *c, const struct target *t, const struct ask *ask)
{
    const struct cli_peer peer = {t->node, t->cookie, c->node_registered_name};

    return cli_audit_run(&peer, buf_view(&ask->request), ask->timeout_ms, ask->json);
}

static int ask_sidecar(const struct config *c, const struct target *t, const struct ask *ask)
{
    const struct cli_peer peer = {t->node, t->cookie, c->node_registered_name};
    struct buf message = {0};
    struct fault fault = {0};
    term answer;
    int status;

    enum err e =
        cli_client_call(&peer, buf_view(&ask->request), ask->timeout_ms, &message, &answer, &fault);
    if (e == ERR_OK) {
        status = cli_print_answer(answer, ask->json, stdout, stderr) ? CLI_DONE : CLI_ERROR;
    } else {
        fprintf(stderr, "convex_sidecar: no sidecar answers as %s: ", t->node);
        cli_print_text(slice_str(fault.why), stderr);
        fputc('\n', stderr);
        status = CLI_ABSENT;
    }
    if (fflush(stdout) != 0 && status == CLI_DONE) {
        fprintf(stderr, "convex_sidecar: the answer cannot be written: %s\n", strerror(errno));
        status = CLI_ERROR;
    }
    buf_free(&message);
    return status;
}

int cli_run(struct config *c, const char *word, int argc, char **argv)
{
    struct target target = {0};
    struct ask ask;
    char why[200] = "";

    if (strcmp(word, "store") == 0)
        return cli_store_run(c->store_dir, argc, argv);
    enum err e = cli_words_parse(word, argc, argv, &ask, why, sizeof why);
    if (e == ERR_NOT_FOUND) {
        fprintf(stderr, "convex_sidecar: there is no word \"%s\"; --help lists them\n", word);
        return CLI_USAGE;
    }
    if (e != ERR_OK) {
        fprintf(stderr, "convex_sidecar %s: %s; see convex_sidecar %s --help\n", word, why, word);
        return CLI_USAGE;
    }
    signal(SIGPIPE, SIG_IGN); /* ei writes without MSG_NOSIGNAL */
    int status = CLI_ABSENT;
    if (find_target(c, &target))
        status = ask.from != NULL ? rebuild(c, &target, &ask)
                 : ask.audit      ? audit(c, &target, &ask)
                                  : ask_sidecar(c, &target, &ask);
    explicit_bzero(&target, sizeof target);
    buf_free(&ask.request);
    return status;
}

bool cli_help(const char *word, FILE *out)
{
    return cli_words_help(word, out);
}
