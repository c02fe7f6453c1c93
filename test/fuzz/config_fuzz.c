/*
 * config_fuzz.c - any text as configuration is taken or refused with a reason, and what is taken
 * can be printed and read again.
 *
 * The input is INI, as the managed form hands it over.  What reads it takes no NUL (config_read
 * refuses it before), so it ends at the first.  A base_url that is taken is read again.
 */

#include "config/config.h"
#include "convex/base_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_base_url(const char *text)
{
    struct base_url url, again;

    if (base_url_read(&url, text) != NULL)
        return;
    PRE(base_url_read(&again, url.text) == NULL && strcmp(url.text, again.text) == 0);
    free(url.text);
    free(again.text);
}

static char *print(const struct config *c)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    config_print(c, out);
    fclose(out);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = base_strndup(data, size);
    struct config *c = config_new();
    struct fault fault;

    fault_clear(&fault);
    enum err e = config_read_text(c, "input", text, &fault);
    if (e == ERR_OK) {
        try_base_url(c->sink_base_url);
        e = config_finish(c, &fault);
    }
    if (e == ERR_OK)
        free(print(c));
    else
        PRE(fault.why[0] != '\0' && memchr(fault.why, 0, sizeof fault.why) != NULL);
    config_free(c);
    free(text);
    return 0;
}
