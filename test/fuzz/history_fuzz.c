/*
 * history_fuzz.c - any file is read as event history, and as an export: entities and requests that
 * are terms, or lines that are refused.
 */

#include "cli/cli_history.h"
#include "cli/cli_import.c"

#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void is_term(struct slice bytes)
{
    struct fault fault;
    size_t used = 0;

    PRE(term_check_some(bytes, 1, &used, &fault) == ERR_OK && used == bytes.len);
}

static void read_history(int fd)
{
    static const volatile sig_atomic_t never;
    struct cli_history *h = cli_history_open(fd, 1, &never);
    struct cli_entity entity;
    struct fault fault;
    uint64_t line;
    enum err e;

    while ((e = cli_history_next(h, &entity, &line, &fault)) != ERR_NOT_FOUND) {
        if (e != ERR_OK) {
            PRE(fault.why[0] != '\0');
            continue;
        }
        PRE(entity.kind.len > 0 && entity.id.len > 0 && entity.event_count >= 0);
        is_term(entity.row);
        if (entity.event.len > 0)
            is_term(entity.event);
    }
    cli_history_close(h);
}

static void read_export(FILE *in)
{
    struct import m = {.path = "export", .in = in};
    struct fault fault = {0};
    term map;
    enum err e;

    (void)check_whole(&m, &fault);
    rewind(in);
    while ((e = read_line(&m, &map, &fault)) != ERR_NOT_FOUND) {
        struct buf request = {0};
        if (e == ERR_OK &&
            (put_upsert(&request, map) || (request.len = 0, put_remove(&request, map))))
            is_term(buf_view(&request));
        buf_free(&request);
    }
    free(m.text);
    buf_free(&m.term);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fd = memfd_create("history", MFD_CLOEXEC);

    PRE(fd >= 0 && write(fd, data, size) == (ssize_t)size && lseek(fd, 0, SEEK_SET) == 0);
    read_history(fd);
    PRE(lseek(fd, 0, SEEK_SET) == 0);
    FILE *in = fdopen(fd, "r");
    read_export(in);
    fclose(in);
    return 0;
}
