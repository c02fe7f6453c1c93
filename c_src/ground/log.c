/*
 * log.c - one line an event, on standard error.
 *
 * The happy path: a line is put together on the caller's stack, "info dist.up port=4711", made
 * printable ASCII (so that text from a peer can do no harm to a terminal or a parser),
 * and written with one write(2), which a pipe does not mix with others up to PIPE_BUF.
 *
 * What can go wrong: the reader of standard error may be slow or gone.  Logging must not make a
 * thread wait for it, so a line that would block, or fails, is dropped and counted, and the next
 * line that gets through is preceded by "warning log.dropped lines=N".  errno is left as it was.
 * An event may come a thousand times a second (many documents are refused, say): after a burst its
 * lines are held back and counted for a while.
 *
 * Any thread; a lock keeps the check whether a write would block and the write together.
 */

#include "ground/log.h"

#include "ground/clock.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_BYTES 2048 /* with the newline; below PIPE_BUF */
#define EVENTS     32   /* whose bursts are counted at the same time */
#define KEPT_LINES 40
#define KEPT_BYTES 400 /* of a line that is remembered */

static const struct {
    const char *name;
    char priority; /* sd-daemon(3) */
} levels[] = {
    [LOG_ERROR] = {"error", '3'},
    [LOG_WARNING] = {"warning", '4'},
    [LOG_INFO] = {"info", '6'},
    [LOG_DEBUG] = {"debug", '7'},
};

static _Atomic enum log_level shown = LOG_INFO;
static atomic_bool to_journal;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t dropped; /* under lock */

/* The last lines; under lock. */
static struct {
    int64_t at_us;
    char text[KEPT_BYTES];
} kept[KEPT_LINES];
static uint64_t kept_count;
static bool may_keep;

/* The lines of an event in its current period; under lock. */
static struct burst {
    const char *event; /* NULL: free */
    int64_t since_us;
    unsigned said;
    uint64_t held;
} bursts[EVENTS];

/*
 * Whether standard error is the journal's stream.  The variable alone does not say so: a child of
 * a service, with a pipe as standard error, inherits it (systemd.exec(5)).
 */
static bool is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    char *colon = NULL, *end = NULL;
    struct stat s;

    if (stream == NULL || fstat(STDERR_FILENO, &s) != 0)
        return false;
    if (strtoull(stream, &colon, 10) != s.st_dev || *colon != ':')
        return false;
    return strtoull(colon + 1, &end, 10) == s.st_ino && *end == '\0';
}

void log_open(enum log_level level)
{
    atomic_store(&to_journal, is_journal());
    atomic_store_explicit(&shown, level, memory_order_relaxed);
}

bool log_level_parse(const char *text, enum log_level *level)
{
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (strcmp(text, levels[i].name) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    return false;
}

/* Append ${c} to ${out} as printable ASCII; whether it fitted below ${limit}. */
static bool put_char(char *out, size_t *len, size_t limit, unsigned char c, bool in_quotes)
{
    char escaped[5];
    int n;

    if (c == '\n')
        n = snprintf(escaped, sizeof escaped, "\\n");
    else if (c < ' ' || c >= 0x7f)
        n = snprintf(escaped, sizeof escaped, "\\x%02x", c);
    else if (in_quotes && (c == '"' || c == '\\'))
        n = snprintf(escaped, sizeof escaped, "\\%c", c);
    else
        n = snprintf(escaped, sizeof escaped, "%c", c);
    if (*len + (size_t)n > limit)
        return false;
    memcpy(out + *len, escaped, (size_t)n);
    *len += (size_t)n;
    return true;
}

/* At most one write(2); returns whether the whole line was written without waiting. */
static bool write_line(const char *line, size_t len)
{
    struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};

    if (poll(&ready, 1, 0) != 1 || !(ready.revents & POLLOUT))
        return false;
    ssize_t n;
    do
        n = write(STDERR_FILENO, line, len);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)len;
}

/* Log how many lines were dropped, if any; false: that line could not be written.  Under lock. */
static bool report_dropped(void)
{
    char line[80];

    if (dropped == 0)
        return true;
    int n = snprintf(line, sizeof line, "%swarning log.dropped lines=%llu\n",
                     atomic_load(&to_journal) ? "<4>" : "", (unsigned long long)dropped);
    if (!write_line(line, (size_t)n))
        return false;
    dropped = 0;
    return true;
}

void log_keep(bool on)
{
    pthread_mutex_lock(&lock);
    may_keep = on;
    pthread_mutex_unlock(&lock);
}

/* Remember a line of ${len} characters with its newline; under lock. */
static void keep_line(const char *line, size_t len)
{
    if (!may_keep)
        return;
    size_t at = kept_count++ % KEPT_LINES;
    kept[at].at_us = clock_wall_us();
    snprintf(kept[at].text, sizeof kept[at].text, "%.*s", (int)(len - 1), line);
}

void log_recent(void (*line)(void *arg, int64_t at_us, const char *text), void *arg)
{
    pthread_mutex_lock(&lock);
    for (uint64_t i = kept_count > KEPT_LINES ? kept_count - KEPT_LINES : 0; i < kept_count; i++)
        line(arg, kept[i % KEPT_LINES].at_us, kept[i % KEPT_LINES].text);
    pthread_mutex_unlock(&lock);
}

/* Log how many lines of ${b} were held back, and free it; under lock. */
static void end_burst(struct burst *b)
{
    char line[160];
    int head = 0;

    if (b->held > 0) {
        head = atomic_load(&to_journal) ? snprintf(line, sizeof line, "<4>") : 0;
        int n = snprintf(line + head, sizeof line - (size_t)head,
                         "warning log.limited event=%.60s lines=%llu\n", b->event,
                         (unsigned long long)b->held);
        keep_line(line + head, (size_t)n);
        if (!write_line(line, (size_t)head + (size_t)n))
            dropped++;
    }
    *b = (struct burst){0};
}

static bool is_over(const struct burst *b, int64_t now_us)
{
    return now_us - b->since_us >= LOG_BURST_MS * 1000LL;
}

/* The entry of ${event}, which may be new; NULL: all are in use. */
static struct burst *find_burst(const char *event, int64_t now_us)
{
    struct burst *place = NULL;

    for (struct burst *b = bursts; b < bursts + EVENTS; b++) {
        if (b->event != NULL && strcmp(b->event, event) == 0)
            return b;
        if (place == NULL && (b->event == NULL || is_over(b, now_us)))
            place = b;
    }
    return place;
}

/* Whether a line of ${event} may be shown now; else it is counted. */
static bool may_say(const char *event)
{
    int64_t now_us = clock_mono_us();

    pthread_mutex_lock(&lock);
    struct burst *b = find_burst(event, now_us);
    if (b != NULL && (b->event == NULL || is_over(b, now_us))) {
        end_burst(b);
        *b = (struct burst){.event = event, .since_us = now_us};
    }
    bool may = b == NULL || b->said < LOG_BURST;
    if (b != NULL && may)
        b->said++;
    else if (b != NULL)
        b->held++;
    pthread_mutex_unlock(&lock);
    return may;
}

void log_tick(void)
{
    int64_t now_us = clock_mono_us();

    pthread_mutex_lock(&lock);
    for (struct burst *b = bursts; b < bursts + EVENTS; b++)
        if (b->event != NULL && is_over(b, now_us))
            end_burst(b);
    pthread_mutex_unlock(&lock);
}

void log_event(enum log_level level, const char *event, const char *fmt, ...)
{
    int saved_errno = errno;

    if (level > atomic_load_explicit(&shown, memory_order_relaxed))
        return;
    if (level != LOG_DEBUG && !may_say(event)) {
        errno = saved_errno;
        return;
    }

    char text[LINE_BYTES], line[LINE_BYTES];
    int head =
        atomic_load(&to_journal) ? snprintf(line, sizeof line, "<%c>", levels[level].priority) : 0;
    size_t len = (size_t)head;
    int n = snprintf(text, sizeof text, "%s %s%s", levels[level].name, event, *fmt ? " " : "");
    PRE(n > 0 && (size_t)n < sizeof text);

    va_list args;
    va_start(args, fmt);
    errno = saved_errno; /* for %m */
    int more = vsnprintf(text + n, sizeof text - (size_t)n, fmt, args);
    va_end(args);

    bool whole = more >= 0 && (size_t)more < sizeof text - (size_t)n;
    for (size_t end = strlen(text); text[end - 1] == ' '; end--) /* values that came out empty */
        text[end - 1] = '\0';
    for (const char *p = text; *p != '\0'; p++)
        if (!put_char(line, &len, sizeof line - sizeof "...", (unsigned char)*p, false)) {
            whole = false;
            break;
        }
    if (!whole) {
        for (int dots = 0; dots < 3; dots++)
            line[len++] = '.';
    }
    line[len++] = '\n';

    pthread_mutex_lock(&lock);
    keep_line(line + head, len - (size_t)head);
    if (!report_dropped() || !write_line(line, len))
        dropped++;
    pthread_mutex_unlock(&lock);
    errno = saved_errno;
}

const char *log_quote(struct slice text, char *out, size_t size)
{
    size_t len = 0;

    PRE(size >= sizeof "\"...\"");
    out[len++] = '"';
    for (size_t i = 0; i < text.len; i++)
        if (!put_char(out, &len, size - sizeof "...\"", text.data[i], true)) {
            memcpy(out + len, "...", 3);
            len += 3;
            break;
        }
    out[len++] = '"';
    out[len] = '\0';
    return out;
}

bool log_limited(int64_t *last_us, int64_t period_ms)
{
    int64_t now = clock_mono_us(), last = __atomic_load_n(last_us, __ATOMIC_RELAXED);

    if (last != 0 && now - last < period_ms * 1000)
        return false;
    /* Of several threads that get here at once, one logs. */
    return __atomic_compare_exchange_n(last_us, &last, now, false, __ATOMIC_RELAXED,
                                       __ATOMIC_RELAXED);
}
