/*
 * file_sink.c - appends documents as JSON lines to a file.
 *
 * The happy path: a call gathers its lines in a buffer, one write(2) appends
 * them, fdatasync(2) puts them on disk, and the call is done, from inside send.
 *
 * What can go wrong: the write or the sync fails, or only a part was written
 * (disk full).  The answer is `again`: the whole call is sent once more.  A torn
 * line at the end of the file, from such a failure or from a crash, is ended with
 * a newline before anything else is written, so it never damages the line after
 * it.  So a line may be written twice but is never missing; seq says which of two
 * is the newer.
 *
 * Runs on the delivery thread only.
 */

#include "sink/file_sink.h"

#include "ground/buf.h"
#include "ground/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_DOCUMENTS 1024
#define MAX_BYTES     (8u << 20) /* of lines in one call, unless it is a single line */

struct file_sink {
    struct sink base;
    char *path; /* fixed after open */
    int fd;
    bool is_torn; /* the file ends within a line */
};

struct sink_call {
    struct file_sink *sink;
    struct buf lines; /* the first byte is a newline, written only to end a torn line */
    size_t count;
};

/* ---- the file -------------------------------------------------------------- */

static bool ends_within_line(int fd, off_t size)
{
    char last;

    return size > 0 && (pread(fd, &last, 1, size - 1) != 1 || last != '\n');
}

/* A new file's name must be on disk before the first line in it is confirmed. */
static bool sync_directory(const char *path)
{
    char *copy = base_strndup(path, strlen(path));
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;

    if (fd >= 0)
        close(fd);
    free(copy);
    return ok;
}

static enum err refuse_file(const char *path, struct fault *fault)
{
    return fault_say(fault, "sink.file", "%.150s: %s", path,
                     errno == EINVAL ? "not a regular file" : strerror(errno));
}

static enum err open_file(const char *path, int *fd, bool *is_torn, struct fault *fault)
{
    struct stat st;
    int new_fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);

    if (new_fd < 0)
        goto err0;
    if (fstat(new_fd, &st) != 0)
        goto err1;
    if (!S_ISREG(st.st_mode)) {
        errno = EINVAL;
        goto err1;
    }
    if (st.st_size == 0 && !sync_directory(path))
        goto err1;
    *fd = new_fd;
    *is_torn = ends_within_line(new_fd, st.st_size);
    return ERR_OK;
err1:;
    int why = errno;
    close(new_fd);
    errno = why;
err0:
    return refuse_file(path, fault);
}

/* Whether a file can be created at ${path}; false: errno says why not. */
static bool may_make(const char *path)
{
    char *copy = base_strndup(path, strlen(path));
    bool may = access(dirname(copy), W_OK | X_OK) == 0;

    free(copy);
    return may;
}

enum err file_sink_try(const char *path, struct fault *fault)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return errno == ENOENT && may_make(path) ? ERR_OK : refuse_file(path, fault);
    if (!S_ISREG(st.st_mode)) {
        errno = EINVAL;
        return refuse_file(path, fault);
    }
    return access(path, R_OK | W_OK) == 0 ? ERR_OK : refuse_file(path, fault);
}

/* Append ${lines} and wait for the disk; false: errno says why. */
static bool append(struct file_sink *f, struct slice lines)
{
    ssize_t n;

    do
        n = write(f->fd, lines.data, lines.len);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return false;
    if (n > 0)
        f->is_torn = lines.data[n - 1] != '\n';
    if ((size_t)n < lines.len) {
        errno = ENOSPC;
        return false;
    }
    return fdatasync(f->fd) == 0;
}

/* ---- calls ----------------------------------------------------------------- */

static struct sink_call *file_begin(struct sink *s)
{
    struct sink_call *c = base_alloc(sizeof *c);

    c->sink = (struct file_sink *)s;
    buf_byte(&c->lines, '\n');
    return c;
}

static void put_string(struct buf *out, struct slice text)
{
    buf_byte(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        uint8_t b = text.data[i];
        if (b < 0x20) {
            buf_printf(out, "\\u%04x", b);
            continue;
        }
        if (b == '"' || b == '\\')
            buf_byte(out, '\\');
        buf_byte(out, b);
    }
    buf_byte(out, '"');
}

static void put_line(struct buf *out, const struct pending *p)
{
    bool is_upsert = p->version.op == OUTBOX_UPSERT;

    buf_printf(out, "{\"op\":\"%s\",\"kind\":", is_upsert ? "upsert" : "remove");
    put_string(out, p->kind);
    buf_str(out, ",\"document_id\":");
    put_string(out, p->id);
    buf_printf(out, ",\"seq\":%" PRId64, p->version.seq);
    if (is_upsert) {
        buf_str(out, ",\"summary\":");
        buf_slice(out, p->json);
    }
    buf_str(out, "}\n");
}

static bool file_add(struct sink_call *c, const struct pending *p)
{
    size_t before = c->lines.len;

    if (c->count == MAX_DOCUMENTS)
        return false;
    put_line(&c->lines, p);
    if (c->count > 0 && c->lines.len > MAX_BYTES) {
        c->lines.len = before;
        return false;
    }
    c->count++;
    return true;
}

static bool file_add_control(struct sink_call *c, struct slice kind)
{
    (void)c;
    (void)kind;
    return false;
}

static void file_send(struct sink_call *c, sink_answered *answered, void *arg)
{
    struct file_sink *f = c->sink;
    struct sink_answer answer = {.overall = {.kind = VERDICT_DONE}, .count = c->count};
    int64_t begun_us = clock_mono_us();
    size_t skip = f->is_torn ? 0 : 1;

    if (!append(f, slice_of(c->lines.data + skip, c->lines.len - skip))) {
        answer.overall.kind = VERDICT_AGAIN;
        answer.overall.is_endpoints = true;
        snprintf(answer.overall.why, sizeof answer.overall.why, "%.120s: %s", f->path,
                 strerror(errno));
    }
    answer.took_us = clock_mono_us() - begun_us;
    buf_free(&c->lines);
    free(c);
    answered(arg, &answer);
}

static void file_ask(struct sink *s, enum sink_question question, struct slice kind,
                     sink_told *told, void *arg)
{
    struct verdict verdict = {.kind = VERDICT_DONE};

    (void)s;
    (void)question;
    (void)kind;
    told(arg, &verdict);
}

static enum err file_reload(struct sink *s, struct fault *fault)
{
    struct file_sink *f = (struct file_sink *)s;
    int fd;
    enum err e = open_file(f->path, &fd, &f->is_torn, fault);

    if (e != ERR_OK)
        return e; /* keeps using the old file */
    close(f->fd);
    f->fd = fd;
    return ERR_OK;
}

static void file_wait(struct sink *s, int wake_fd, int timeout_ms)
{
    (void)s;
    sink_wait_plain(wake_fd, timeout_ms);
}

static void file_close(struct sink *s)
{
    struct file_sink *f = (struct file_sink *)s;

    close(f->fd);
    free(f->path);
    free(f);
}

enum err file_sink_open(const char *path, struct sink **sink, struct fault *fault)
{
    static const struct sink_ops ops = {
        .begin = file_begin,
        .add = file_add,
        .add_control = file_add_control,
        .send = file_send,
        .ask = file_ask,
        .reload = file_reload,
        .wait = file_wait,
        .close = file_close,
    };
    int fd;
    bool is_torn;
    enum err e = open_file(path, &fd, &is_torn, fault);

    if (e != ERR_OK)
        return e;
    struct file_sink *f = base_alloc(sizeof *f);
    f->base = (struct sink){.ops = &ops, .max_documents = MAX_DOCUMENTS};
    f->path = base_strndup(path, strlen(path));
    f->fd = fd;
    f->is_torn = is_torn;
    *sink = &f->base;
    return ERR_OK;
}
