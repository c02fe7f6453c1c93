/*
 * cli_fuzz.c - whatever a sidecar answers, the command line prints it: JSON that is JSON, text that
 * no terminal obeys.
 *
 * The input is what comes over the control socket after the welcome: frames of terms.  Each answer
 * is printed both ways, and shown by `top`.
 */

#include "cli/cli_client.c"
#include "cli/cli_print.h"
#include "cli/cli_top.h"
#include "json/json.h"
#include "json/json_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct text {
    char *data;
    size_t len;
    FILE *file;
};

static void text_open(struct text *t)
{
    *t = (struct text){0};
    t->file = open_memstream(&t->data, &t->len);
}

static void no_commands(const struct slice s, const char *allowed)
{
    for (size_t i = 0; i < s.len; i++)
        PRE((s.data[i] >= ' ' && s.data[i] != 0x7f) || strchr(allowed, s.data[i]) != NULL);
    PRE(json_is_utf8(s));
}

static void print(term answer, bool json)
{
    struct text out, err;

    text_open(&out);
    text_open(&err);
    (void)cli_print_answer(answer, json, out.file, err.file);
    fclose(out.file);
    fclose(err.file);
    no_commands(slice_of(out.data, out.len), "\n");
    no_commands(slice_of(err.data, err.len), "\n");
    if (json && out.len > 0) {
        PRE(strchr(out.data, '\n') == out.data + out.len - 1);
        struct buf read = {0};
        struct fault fault;
        PRE(strstr(out.data, "\\u0000") != NULL || /* jansson takes no such key */
            json_read_term(&read, slice_of(out.data, out.len), &fault) == ERR_OK);
        buf_free(&read);
    }
    free(out.data);
    free(err.data);
}

static void show(term answer)
{
    struct buf out = {0};
    term map = term_element(answer, 1);

    print(answer, true);
    print(answer, false);
    if (map == NULL || term_type(map) != TERM_MAP)
        return;
#define X(name, word) cli_top_put(map, map, 1.0, name, &out);
    CLI_TOP_SORT_LIST(X)
#undef X
    no_commands(buf_view(&out), "\n");
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int ends[2];
    struct cli_client c = {.last_ticket = 4};
    struct cli_answer answer;
    struct buf message = {0};
    struct fault fault;

    PRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    if (size > 60000)
        size = 60000; /* what a socket holds */
    PRE(write(ends[1], data, size) == (ssize_t)size);
    close(ends[1]);
    c.fd = ends[0];
    while (cli_client_receive(&c, 1000, &message, &answer, &fault) == ERR_OK)
        show(answer.term);
    PRE(fault.why[0] != '\0');
    buf_free(&message);
    close(ends[0]);
    return 0;
}
