/*
 * cli_confirm.c - the question before something is lost.
 *
 * The happy path: the sidecar is asked how many documents it is about (the preview), the question
 * goes to standard error, and a line that begins with y is a yes.
 *
 * What can go wrong: there is no terminal to ask on: it is refused, with a pointer to --yes.  No
 * number: the sidecar is older and does not know the preview, or does not answer; then the
 * question is asked without it, and the request reports what is wrong.
 */

#include "cli/cli_confirm.h"

#include "cli/cli_client.h"
#include "cli/cli_words.h"
#include "ground/buf.h"
#include "term/term.h"

#include <inttypes.h>
#include <unistd.h>

/* How many documents are affected; false: unknown. */
static bool count(const char *store_dir, const struct ask *ask, int64_t *documents)
{
    struct buf message = {0};
    struct fault ignored = {0};
    term answer = NULL, number = NULL;

    if (ask->preview.len > 0 &&
        cli_client_call(store_dir, buf_view(&ask->preview), ask->timeout_ms, &message, &answer,
                        &ignored) == ERR_OK &&
        term_is(term_element(answer, 0), "ok") && term_type(term_element(answer, 1)) == TERM_MAP)
        number = term_get(term_element(answer, 1), "would_clear");
    bool is_known = number != NULL && term_integer(number, documents);
    buf_free(&message);
    return is_known;
}

bool cli_confirm(const char *store_dir, const char *word, const struct ask *ask)
{
    int64_t documents = 0;
    char line[20] = "";

    if (ask->yes)
        return true;
    if (isatty(STDIN_FILENO) != 1 || isatty(STDERR_FILENO) != 1) {
        fprintf(stderr,
                "convex_sidecar %s: this %s, and there is no terminal to ask on; nothing was done; "
                "next: "
                "give --yes%s\n",
                word, ask->loss,
                strcmp(word, "dead") == 0 ? "" : ", or --dry-run to see what it would do");
        return false;
    }
    fprintf(stderr, "This %s", ask->loss);
    if (count(store_dir, ask, &documents))
        fprintf(stderr, ": %" PRId64 " of them", documents);
    fputs(".  Go on? [y/N] ", stderr);
    if (fgets(line, sizeof line, stdin) != NULL && (line[0] == 'y' || line[0] == 'Y'))
        return true;
    fputs("Nothing was done.\n", stderr);
    return false;
}
