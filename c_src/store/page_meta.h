/* page_meta.h - the start of LMDB's file: numbers, headers, and the two meta pages. */

/* Private to store/. */

#ifndef PAGE_META_H
#define PAGE_META_H

#include "ground/base.h"

#define PAGE_HEADER_BYTES 16 /* page number (8), pad (2), flags (2), lower (2), upper (2) */
#define PAGE_TREE_BYTES   48 /* MDB_db */
#define PAGE_META_MAGIC   0xBEEFC0DEu /* after the header of a meta page */

enum page_flag {
    PAGE_BRANCH = 1,
    PAGE_LEAF = 2,
    PAGE_OVERFLOW = 4,
    PAGE_META = 8,
    PAGE_DIRTY = 16
};

/* A tree of pages, as in its MDB_db. */
struct page_tree {
    uint64_t entries, root;
    unsigned flags; /* of mdb_dbi_open */
    int depth;
    bool is_there;
};

/* The contents of a meta page. */
struct page_meta {
    size_t page_bytes;
    struct page_tree free, directory;
    uint64_t last_page, transaction;
};

/* Numbers in the machine's byte order, from unaligned addresses. */
static inline uint16_t page_u16(const uint8_t *at)
{
    uint16_t v;

    memcpy(&v, at, sizeof v);
    return v;
}

static inline uint32_t page_u32(const uint8_t *at)
{
    uint32_t v;

    memcpy(&v, at, sizeof v);
    return v;
}

static inline uint64_t page_u64(const uint8_t *at)
{
    uint64_t v;

    memcpy(&v, at, sizeof v);
    return v;
}

/** page_tree_of(at): The MDB_db at ${at}. */
struct page_tree page_tree_of(const uint8_t *at);

/**
 * page_read_at(fd, out, bytes, offset):
 * Read all of ${bytes}; false: errno says why not, 0 for the end of the file.
 */
bool page_read_at(int fd, void *out, size_t bytes, uint64_t offset);

/**
 * page_meta_choose(fd, m):
 * The newer of the intact meta pages, in ${m}.  Returns how many are damaged; -1: both.
 */
int page_meta_choose(int fd, struct page_meta *m);

#endif
