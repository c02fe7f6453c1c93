/*
 * mutate.c - damage to a store's file, as disks, memory and half a write make it.
 *
 * Pages that nothing uses can be hit, too: that must cost nothing.
 */

#include "mutate.h"

#include "plain_check.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096

static uint64_t state;

static uint64_t pick(uint64_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % n;
}

const char *mutate_text(enum mutate_kind kind)
{
    static const char *const texts[] = {
#define X(name, text) text,
        MUTATE_KINDS
#undef X
    };

    return texts[kind];
}

struct file {
    int fd;
    uint64_t pages;
};

static void get(const struct file *f, uint64_t no, uint8_t page[PAGE])
{
    ck_assert(pread(f->fd, page, PAGE, (off_t)(no * PAGE)) == PAGE);
}

static void put(const struct file *f, uint64_t at, const void *bytes, size_t len)
{
    ck_assert(pwrite(f->fd, bytes, len, (off_t)at) == (ssize_t)len);
}

static uint16_t u16(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

/* A page of the kind, if one is soon found: branch 1, leaf 2, overflow 4. */
static uint64_t page_of(const struct file *f, unsigned flags, uint8_t page[PAGE])
{
    uint64_t first = pick(f->pages);

    for (uint64_t i = 0; i < f->pages; i++) {
        uint64_t no = (first + i) % f->pages;
        get(f, no, page);
        if (no >= 2 && u16(page + 10) == flags)
            return no;
    }
    get(f, first, page);
    return first;
}

static void flip(const struct file *f, uint64_t at)
{
    uint8_t byte;

    ck_assert(pread(f->fd, &byte, 1, (off_t)at) == 1);
    byte ^= (uint8_t)(1u << pick(8));
    put(f, at, &byte, 1);
}

/* Where an entry of the page begins; 0: it has none. */
static unsigned entry_of(const uint8_t page[PAGE])
{
    unsigned n = (u16(page + 12) - 16u) / 2;

    if (u16(page + 12) <= 16 || n == 0 || n > PAGE / 2 - 8)
        return 0;
    unsigned at = u16(page + 16 + 2 * pick(n));
    return at + 16 < PAGE ? at : 0;
}

static void zero(const struct file *f)
{
    static const uint8_t zeros[PAGE];

    put(f, pick(f->pages) * PAGE, zeros, PAGE);
}

static void change_places(const struct file *f, enum mutate_kind kind)
{
    uint8_t a[PAGE], b[PAGE];
    uint64_t one = pick(f->pages), two = pick(f->pages);

    get(f, one, a);
    get(f, two, b);
    put(f, one * PAGE, b, kind == MUTATE_TORN ? 512 * (1 + pick(7)) : PAGE);
    if (kind == MUTATE_SWAP)
        put(f, two * PAGE, a, PAGE);
}

static void change_page(const struct file *f, enum mutate_kind kind)
{
    uint8_t page[PAGE], byte = (uint8_t)pick(256);
    uint64_t no = kind == MUTATE_FLAGS && pick(2) ? page_of(f, 4, page)
                                                  : page_of(f, kind == MUTATE_BRANCH ? 1 : 2, page);

    if (kind == MUTATE_FLAGS) {
        put(f, no * PAGE + 10 + pick(2), &byte, 1);
        return;
    }
    unsigned at = entry_of(page);
    if (at == 0) {
        zero(f);
    } else if (kind == MUTATE_BRANCH) {
        flip(f, no * PAGE + at + (pick(2) ? pick(4) : 8 + pick(8)));
    } else { /* its size: a little more, or much */
        uint16_t size = (uint16_t)(u16(page + at) + 1 + pick(pick(2) ? 64 : PAGE));
        put(f, no * PAGE + at, &size, sizeof size);
    }
}

static void hit_record(const struct file *f)
{
    uint8_t page[PAGE];
    uint64_t no = page_of(f, 2, page);

    for (int i = 0; i < 40 && memmem(page, PAGE, "{\"id\":\"", 7) == NULL; i++)
        no = page_of(f, 2, page);
    unsigned at = entry_of(page);
    flip(f, at == 0 ? pick(f->pages * PAGE) : no * PAGE + at + 16 + pick(PAGE - at - 16));
}

static void change_bytes(const struct file *f, enum mutate_kind kind)
{
    for (uint64_t i = 0, n = 1 + pick(kind == MUTATE_HEAD ? 3 : 20); i < n; i++) {
        uint8_t byte = (uint8_t)pick(256);
        if (kind == MUTATE_BITS)
            flip(f, pick(f->pages * PAGE));
        else
            put(f, pick(f->pages) * PAGE + pick(64), &byte, 1);
    }
}

void mutate(const char *dir, enum mutate_kind kind, uint64_t seed)
{
    char path[300];
    struct stat st;
    struct file f;

    state = seed * 0x9e3779b97f4a7c15u + 1;
    snprintf(path, sizeof path, "%s/data.mdb", dir);
    f.fd = open(path, O_RDWR | O_CLOEXEC);
    ck_assert(f.fd >= 0 && fstat(f.fd, &st) == 0);
    f.pages = (uint64_t)st.st_size / PAGE;
    uint8_t byte = (uint8_t)pick(256);
    switch (kind) {
    case MUTATE_BIT:
        flip(&f, pick(f.pages * PAGE));
        break;
    case MUTATE_BITS:
    case MUTATE_HEAD:
        change_bytes(&f, kind);
        break;
    case MUTATE_RECORD:
        hit_record(&f);
        break;
    case MUTATE_META:
        put(&f, pick(2) * PAGE + 16 + pick(136), &byte, 1);
        break;
    case MUTATE_ZEROS:
        for (uint64_t i = pick(6); i > 0; i--)
            zero(&f);
        zero(&f);
        break;
    case MUTATE_ZERO:
        zero(&f);
        break;
    case MUTATE_TORN:
    case MUTATE_SWAP:
    case MUTATE_COPY:
        change_places(&f, kind);
        break;
    case MUTATE_CUT:
        ck_assert(ftruncate(f.fd, (off_t)pick(f.pages * PAGE)) == 0);
        break;
    default:
        change_page(&f, kind);
    }
    close(f.fd);
}
