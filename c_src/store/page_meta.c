/*
 * page_meta.c - the beginning of LMDB's file.
 *
 * The happy path: pages 0 and 1 are meta pages, written in turn; each carries the
 * number of the transaction that wrote it, and the roots of two trees.  The newer one
 * is what was committed last.
 *
 * What can go wrong: one of them, or both, is damaged (LMDB refuses either); the page
 * size is in them as well, so if page 0 is damaged, the other is searched for at every
 * possible place.
 *
 * The layout is defined in mdb.c of LMDB 0.9 (MDB_meta, MDB_db).  Any thread.
 */

#include "store/page_meta.h"

#include <errno.h>
#include <unistd.h>

#define META_BYTES   (PAGE_HEADER_BYTES + 24 + 2 * PAGE_TREE_BYTES + 16)
#define META_VERSION 1
#define MIN_PAGE     512
#define MAX_PAGE     65536

bool page_read_at(int fd, void *out, size_t bytes, uint64_t offset)
{
    size_t done = 0;

    while (done < bytes) {
        ssize_t n = pread(fd, (uint8_t *)out + done, bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = 0;
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

struct page_tree page_tree_of(const uint8_t *at)
{
    return (struct page_tree){.entries = page_u64(at + 32),
                              .root = page_u64(at + 40),
                              .flags = page_u16(at + 4),
                              .depth = page_u16(at + 6),
                              .is_there = true};
}

/* The meta page number ${no}, if pages are ${page_bytes} long. */
static bool read_meta(int fd, uint64_t no, size_t page_bytes, struct page_meta *m)
{
    uint8_t page[META_BYTES];
    const uint8_t *at = page + PAGE_HEADER_BYTES;

    if (!page_read_at(fd, page, sizeof page, no * page_bytes))
        return false;
    if (page_u64(page) != no || !(page_u16(page + 10) & PAGE_META) ||
        page_u32(at) != PAGE_META_MAGIC || page_u32(at + 4) != META_VERSION ||
        page_u32(at + 24) != page_bytes)
        return false;
    m->page_bytes = page_bytes;
    m->free = page_tree_of(at + 24);
    m->directory = page_tree_of(at + 24 + PAGE_TREE_BYTES);
    m->last_page = page_u64(at + 24 + (size_t)2 * PAGE_TREE_BYTES);
    m->transaction = page_u64(at + 32 + (size_t)2 * PAGE_TREE_BYTES);
    return true;
}

int page_meta_choose(int fd, struct page_meta *m)
{
    struct page_meta second;

    for (size_t bytes = MIN_PAGE; bytes <= MAX_PAGE; bytes *= 2) {
        bool first = read_meta(fd, 0, bytes, m), other = read_meta(fd, 1, bytes, &second);
        if (other && (!first || second.transaction > m->transaction))
            *m = second;
        if (first || other)
            return first && other ? 0 : 1;
    }
    return -1;
}
