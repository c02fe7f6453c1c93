/*
 * config_finish.c - how options must fit together, and where the cookie comes from.
 *
 * The happy path: config_finish checks each option against the others and for valid forms (node
 * names, addresses), finds the service manager's credentials, and finishes the kinds.
 * config_read_cookie is separate, because some words of the command line need no more than that.
 *
 * What can go wrong: something is missing, given twice, or malformed, or somebody else could read
 * the cookie's file.  The first one is the fault; nothing is guessed.
 *
 * Start-up only, one thread.
 */

#include "config/config.h"

#include "config/config_file.h"
#include "config/option.h"
#include "ground/secret_file.h"
#include "projection/projection.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define COOKIE_BYTES     255
#define CREDENTIALS_WORD "credentials:"

enum err config_misfit(const struct config *c, struct fault *fault, const char *why)
{
    return fault_say(fault, *c->source ? c->source : "configuration", "%s", why);
}

static bool is_graphic(const char *text, size_t max)
{
    size_t len = 0;

    for (; text[len] != '\0'; len++)
        if (!isgraph((unsigned char)text[len]))
            return false;
    return len > 0 && len <= max;
}

static bool is_node_name(const char *name)
{
    const char *at = strchr(name, '@');

    return is_graphic(name, 255) && at != NULL && at != name && at[1] != '\0' &&
           strchr(at + 1, '@') == NULL;
}

/* An atom that is written without quotes. */
static bool is_plain_atom(const char *text)
{
    size_t len = strlen(text);

    return islower((unsigned char)text[0]) && len <= 255 &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@") == len;
}

static bool is_address(const char *text, bool ipv6_too)
{
    uint8_t binary[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, text, binary) == 1 ||
           (ipv6_too && inet_pton(AF_INET6, text, binary) == 1);
}

/* A file named "credentials:NAME" is the service manager's (systemd.exec(5), LoadCredential=). */
static bool is_credential(const char *path)
{
    return strncmp(path, CREDENTIALS_WORD, strlen(CREDENTIALS_WORD)) == 0;
}

/* The path of ${path}, returned; NULL and ${why} when there is no such credential. */
static char *resolve_path(const char *path, const char **why)
{
    const char *name = path + strlen(CREDENTIALS_WORD), *dir = getenv("CREDENTIALS_DIRECTORY");

    if (!is_credential(path))
        return base_strndup(path, strlen(path));
    *why = NULL;
    if (*name == '\0' || strchr(name, '/') != NULL || strcmp(name, "..") == 0)
        *why = "a credential's name has no / in it";
    else if (dir == NULL || *dir != '/')
        *why = "there is no $CREDENTIALS_DIRECTORY; is LoadCredential= in the unit?";
    if (*why != NULL)
        return NULL;
    size_t size = strlen(dir) + 1 + strlen(name) + 1;
    char *full = base_alloc(size);
    snprintf(full, size, "%s/%s", dir, name);
    return full;
}

static enum err check_node(const struct config *c, struct fault *fault)
{
    if (!is_node_name(c->node_name))
        return config_misfit(c, fault,
                             "[node] name: name@host is wanted, as in convex_sidecar@127.0.0.1");
    if (!is_plain_atom(c->node_registered_name))
        return config_misfit(c, fault,
                             "[node] registered_name: a plain atom is wanted: a small letter, "
                             "then letters, digits, _ or @");
    if (*c->node_listen_address && !is_address(c->node_listen_address, false))
        return config_misfit(c, fault, "[node] listen_address: an IPv4 address is wanted");
    if (*c->node_cookie && *c->node_cookie_file)
        return config_misfit(c, fault, "[node] cookie and cookie_file: give one of them");
    if (*c->node_cookie && !is_graphic(c->node_cookie, COOKIE_BYTES))
        return config_misfit(c, fault,
                             "[node] cookie: 1 to 255 printable characters without blanks");
    return ERR_OK;
}

/* Naming a deployment means using it; a key alone leads nowhere, and the default, noop, would
 * confirm what Convex never gets. */
static enum err follow_sink_type(struct config *c, struct fault *fault)
{
    const char *key = *c->sink_admin_key        ? "admin_key"
                      : *c->sink_admin_key_file ? "admin_key_file"
                                                : NULL;
    char why[200];

    if (c->is_sink_type_given || (key == NULL && !*c->sink_base_url))
        return ERR_OK;
    if (*c->sink_base_url) {
        free(c->sink_type);
        c->sink_type = base_strndup("http", 4);
        return ERR_OK;
    }
    snprintf(why, sizeof why,
             "[sink] base_url: it is missing, though %s is given; write where Convex is, or type = "
             "noop to deliver nowhere",
             key);
    return config_misfit(c, fault, why);
}

static enum err check_sink(struct config *c, struct fault *fault)
{
    const char *why = NULL;
    enum err e = follow_sink_type(c, fault);

    if (e != ERR_OK)
        return e;
    if (*c->sink_admin_key && *c->sink_admin_key_file)
        return config_misfit(c, fault, "[sink] admin_key and admin_key_file: give one of them");
    if (*c->sink_admin_key && !is_graphic(c->sink_admin_key, OPTION_VALUE_BYTES))
        return config_misfit(c, fault,
                             "[sink] admin_key: printable characters without blanks are wanted");
    char *path = resolve_path(c->sink_admin_key_file, &why);
    if (path == NULL)
        return fault_say(fault, c->sink_admin_key_file, "%s", why);
    free(c->sink_admin_key_file);
    c->sink_admin_key_file = path;
    return ERR_OK;
}

static enum err check_rest(const struct config *c, struct fault *fault)
{
    if (*c->store_dir == '\0')
        return config_misfit(c, fault, "[store] dir: a directory is wanted");
    if (!is_graphic(c->projection_version, 63))
        return config_misfit(c, fault,
                             "[projection] version: 1 to 63 printable characters without blanks");
    if (c->delivery_backoff_min_ms > c->delivery_backoff_max_ms)
        return config_misfit(c, fault, "[delivery] backoff_min_ms is above backoff_max_ms");
    if (c->observe_port != 0 && !is_address(c->observe_address, true))
        return config_misfit(c, fault, "[observe] address: an IPv4 or IPv6 address is wanted");
    return ERR_OK;
}

enum err config_finish(struct config *c, struct fault *fault)
{
    struct fault kinds = {0};
    char why[sizeof kinds.why];
    enum err e = check_node(c, fault);

    if (e == ERR_OK)
        e = check_sink(c, fault);
    if (e == ERR_OK)
        e = check_rest(c, fault);
    if (e == ERR_OK && kinds_finish(c->kinds, &kinds) != ERR_OK) {
        snprintf(why, sizeof why, "%.80s%s%.160s", kinds.path, *kinds.path ? ": " : "", kinds.why);
        e = config_misfit(c, fault, why);
    }
    return e;
}

/* --- the cookie --------------------------------------------------------- */

static enum err read_cookie_file(struct config *c, const char *path, struct fault *fault)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fault_fail(fault, ERR_SYSTEM, path, "%s", strerror(errno));
    const char *why = secret_file_fault(fd, path);
    if (why != NULL) {
        close(fd);
        return fault_say(fault, path, "%s", why);
    }
    char *text = config_file_read(fd, COOKIE_BYTES + 2, &why);
    close(fd);
    if (text == NULL)
        return fault_say(fault, path, "%s", why);
    for (size_t len = strlen(text); len > 0 && isspace((unsigned char)text[len - 1]); len--)
        text[len - 1] = '\0';
    enum err e = ERR_OK;
    if (is_graphic(text, COOKIE_BYTES)) {
        free(c->node_cookie);
        c->node_cookie = base_strndup(text, strlen(text));
    } else {
        e = fault_say(fault, path, "a cookie has 1 to 255 printable characters without blanks");
    }
    config_file_wipe(text);
    return e;
}

enum err config_read_cookie(struct config *c, struct fault *fault)
{
    const char *home = getenv("HOME"), *why = NULL;
    char *path;

    enum err e = check_node(c, fault);
    if (e != ERR_OK || *c->node_cookie)
        return e;
    if (*c->node_cookie_file) {
        path = resolve_path(c->node_cookie_file, &why);
        if (path == NULL)
            return fault_say(fault, c->node_cookie_file, "%s", why);
    } else {
        if (home == NULL || *home != '/')
            return config_misfit(c, fault,
                                 "no cookie: give [node] cookie_file (there is no $HOME)");
        size_t size = strlen(home) + sizeof "/.erlang.cookie";
        path = base_alloc(size);
        snprintf(path, size, "%s/.erlang.cookie", home);
    }
    e = read_cookie_file(c, path, fault);
    free(path);
    return e;
}
