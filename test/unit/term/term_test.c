/* term_test.c - every tag, every cut, every lie a message can tell. */

#include "test.h"
#include "term/term.h"
#include "term/term_cases.h"

#include <math.h>
#include <sys/mman.h>
#include <unistd.h>

/* Bytes that end where a page without access begins: reading one too far is a crash. */
struct fence {
    uint8_t *map;
    size_t size;
};

static struct fence fence_new(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct fence f = {.size = 32 * page};

    f.map = mmap(NULL, f.size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert(f.map != MAP_FAILED);
    ck_assert_int_eq(mprotect(f.map + f.size, page, PROT_NONE), 0);
    return f;
}

static struct slice fence_put(struct fence *f, struct slice bytes)
{
    MUST(bytes.len <= f->size);
    uint8_t *at = f->map + f->size - bytes.len;
    if (bytes.len > 0)
        memcpy(at, bytes.data, bytes.len);
    return slice_of(at, bytes.len);
}

static void fence_free(struct fence *f)
{
    munmap(f->map, f->size + (size_t)sysconf(_SC_PAGESIZE));
}

/* Ask a checked term everything there is to ask. */
static term visit(term t)
{
    enum term_type type = term_type(t);
    term at = t, behind = term_next(t);
    int64_t v;

    MUST(term_type_name(type) != NULL);
    MUST(term_raw(t).len == (size_t)(behind - t));
    term_integer(t, &v);
    term_is_nil_atom(t);
    term_get(t, "b");
    if (type == TERM_FLOAT)
        MUST(isfinite(term_float(t)));
    if (type == TERM_BIGNUM) {
        bool negative;
        MUST(term_magnitude(t, &negative).len >= 8);
    }
    struct slice text = type == TERM_STRING ? term_string(t) : term_text(t);
    MUST(text.data == NULL || text.data + text.len == behind);
    if (type == TERM_LIST || type == TERM_TUPLE || type == TERM_MAP) {
        uint64_t parts = term_arity(t);

        parts = type == TERM_MAP ? 2 * parts : type == TERM_LIST ? parts + 1 : parts;
        for (at = term_items(t); parts > 0; parts--)
            at = visit(at);
        MUST(at == behind);
        term_is_proper(t);
        if (type == TERM_TUPLE)
            MUST(term_element(t, term_arity(t)) == NULL);
    }
    return behind;
}

#define NODE "d\0\3a@b"
static const struct {
    struct slice bytes;
    enum term_type type;
} corpus[] = {
    {ROW("a\377"), TERM_INTEGER},
    {ROW("b\377\377\377\377"), TERM_INTEGER},
    {ROW("n\0\0"), TERM_INTEGER},
    {ROW("n\5\0\1\2\3\4\5"), TERM_INTEGER},
    {ROW("n\10\0\377\377\377\377\377\377\377\177"), TERM_INTEGER},
    {ROW("n\10\1\0\0\0\0\0\0\0\200"), TERM_INTEGER},
    {ROW("n\11\0\1\0\0\0\0\0\0\0\0"), TERM_INTEGER},
    {ROW("n\10\0\0\0\0\0\0\0\0\200"), TERM_BIGNUM},
    {ROW("n\10\1\1\0\0\0\0\0\0\200"), TERM_BIGNUM},
    {ROW("n\11\0\0\0\0\0\0\0\0\0\1"), TERM_BIGNUM},
    {ROW("o\0\0\0\1\1\7"), TERM_INTEGER},
    {ROW("o\0\0\0\12\0\1\2\3\4\5\6\7\10\11\12"), TERM_BIGNUM},
    {ROW("F\77\370\0\0\0\0\0\0"), TERM_FLOAT},
    {ROW("c-1.50000000000000000000e+02\0\0\0\0"), TERM_FLOAT},
    {ROW("d\0\2ok"), TERM_ATOM},
    {ROW("s\2ok"), TERM_ATOM},
    {ROW("v\0\3\303\266k"), TERM_ATOM},
    {ROW("w\0"), TERM_ATOM},
    {ROW("w\3nil"), TERM_ATOM},
    {ROW("m\0\0\0\0"), TERM_BINARY},
    {ROW("m\0\0\0\3abc"), TERM_BINARY},
    {ROW("M\0\0\0\2\3a\340"), TERM_BITS},
    {ROW("M\0\0\0\0\0"), TERM_BITS},
    {ROW("j"), TERM_NIL},
    {ROW("k\0\3\1\2\3"), TERM_STRING},
    {ROW("l\0\0\0\2a\1a\2j"), TERM_LIST},
    {ROW("l\0\0\0\1a\1w\4tail"), TERM_LIST},
    {ROW("h\0"), TERM_TUPLE},
    {ROW("h\3a\1m\0\0\0\1xj"), TERM_TUPLE},
    {ROW("i\0\0\0\2a\1h\1a\2"), TERM_TUPLE},
    {ROW("t\0\0\0\0"), TERM_MAP},
    {ROW("t\0\0\0\2w\1aa\1m\0\0\0\1bt\0\0\0\1a\1j"), TERM_MAP},
    {ROW("g" NODE "\0\0\0\1\0\0\0\2\3"), TERM_PID},
    {ROW("X" NODE "\0\0\0\1\0\0\0\2\0\0\0\3"), TERM_PID},
    {ROW("f" NODE "\0\0\0\1\2"), TERM_PORT},
    {ROW("Y" NODE "\0\0\0\1\0\0\0\2"), TERM_PORT},
    {ROW("x" NODE "\0\0\0\0\0\0\0\1\0\0\0\2"), TERM_PORT},
    {ROW("e" NODE "\0\0\0\1\2"), TERM_REFERENCE},
    {ROW("r\0\3" NODE "\1\0\0\0\1\0\0\0\2\0\0\0\3"), TERM_REFERENCE},
    {ROW("Z\0\2" NODE "\0\0\0\1\0\0\0\1\0\0\0\2"), TERM_REFERENCE},
    {ROW("p\0\0\0\76\1" /* 62 bytes */
         "0123456789abcdef\0\0\0\1\0\0\0\1"
         "w\1ma\1b\0\0\0\2X" NODE "\0\0\0\1\0\0\0\2\0\0\0\3w\2fv"),
     TERM_FUN},
    {ROW("u\0\0\0\1g" NODE "\0\0\0\1\0\0\0\2\3w\1ma\1a\2j"), TERM_FUN},
    {ROW("qw\5listsw\3mapa\2"), TERM_EXPORT},
};
#define CORPUS (sizeof corpus / sizeof *corpus)

TEST(every_tag_is_taken_and_typed)
{
    struct buf message = {0};

    for (size_t i = 0; i < CORPUS; i++) {
        term t = term_of(corpus[i].bytes, &message);

        ck_assert_msg(term_type(t) == corpus[i].type, "row %zu is %s", i,
                      term_type_name(term_type(t)));
        MUST(visit(t) == message.data + message.len);
    }
    buf_free(&message);
}

static void put_corpus(struct buf *b)
{
    term_put_tuple(b, CORPUS);
    for (size_t i = 0; i < CORPUS; i++)
        term_put_raw(b, corpus[i].bytes);
}

TEST(every_cut_is_refused_and_nothing_beyond_is_read)
{
    struct fence fence = fence_new();
    struct buf message = {0};
    struct fault fault;
    term t;

    term_put_version(&message);
    put_corpus(&message);
    ck_assert_int_eq(term_check(fence_put(&fence, buf_view(&message)), &t, &fault), ERR_OK);
    MUST(visit(t) == fence.map + fence.size);
    for (size_t len = 0; len < message.len; len++) {
        fault.why[0] = 0;
        MUST(term_check(fence_put(&fence, slice_of(message.data, len)), &t, &fault) == ERR_INVALID);
        MUST(fault.why[0] != 0);
    }
    buf_byte(&message, 'j');
    ck_assert_int_eq(term_check(fence_put(&fence, buf_view(&message)), &t, &fault), ERR_INVALID);
    ck_assert(strstr(fault.why, "behind the term") != NULL);
    buf_free(&message);
    fence_free(&fence);
}

TEST(damaged_messages_are_refused_or_harmless)
{
    struct fence fence = fence_new();
    struct buf message = {0};
    struct fault fault;
    size_t taken = 0;
    term t;

    term_put_version(&message);
    put_corpus(&message);
    for (int round = 0; round < 30000; round++) {
        struct slice copy = fence_put(&fence, buf_view(&message));
        uint8_t *bytes = fence.map + fence.size - copy.len;

        for (uint64_t n = 1 + test_random() % 3; n > 0; n--)
            bytes[test_random() % copy.len] = (uint8_t)test_random();
        if (term_check(copy, &t, &fault) != ERR_OK)
            continue;
        MUST(visit(t) == fence.map + fence.size);
        taken++;
    }
    ck_assert(taken > 100 && taken < 30000);
    buf_free(&message);
    fence_free(&fence);
}

TEST(lies_are_refused_with_a_sentence)
{
    static const struct {
        struct slice bytes;
        const char *why;
    } rows[] = {
        {ROW(""), "131"},
        {ROW("\202j"), "131"},
        {ROW("\203"), "ends in the middle"},
        {ROW("\203P\0\0\0\1x"), "compressed"},
        {ROW("\203R\0"), "atom cache"},
        {ROW("\203y\0\0\0\0\0\0\0\0a\1"), "local"},
        {ROW("\203\0"), "no term begins"},
        {ROW("\203\377"), "no term begins"},
        {ROW("\203l\377\377\377\377j"), "ends in the middle"},
        {ROW("\203t\377\377\377\377j"), "ends in the middle"},
        {ROW("\203i\377\377\377\377j"), "ends in the middle"},
        {ROW("\203m\377\377\377\377j"), "ends in the middle"},
        {ROW("\203o\377\377\377\377\0"), "ends in the middle"},
        {ROW("\203jj"), "behind the term (byte 2)"},
        {ROW("\203F\177\360\0\0\0\0\0\0"), "finite"},
        {ROW("\203F\377\370\0\0\0\0\0\0"), "finite"},
        {ROW("\203cnan\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), "finite"},
        {ROW("\203c9.00000000000000000000e+999\0\0\0\0"), "finite"},
        {ROW("\203c1.0.000000000000000000e+1\0\0\0\0\0\0"), "finite"},
        {ROW("\203c1.00000000000000000000e+1x\0\0\0\0\0"), "finite"},
        {ROW("\203M\0\0\0\1\11a"), "number of bits"},
        {ROW("\203M\0\0\0\1\0a"), "number of bits"},
        {ROW("\203M\0\0\0\0\1"), "number of bits"},
        {ROW("\203d\1\0"), "255"},
        {ROW("\203v\4\0"), "255"},
        {ROW("\203Xj\0\0\0\1\0\0\0\2\0\0\0\3"), "atom is expected"},
        {ROW("\203r\0\6" NODE "\1"), "reference"},
        {ROW("\203qw\1mw\1fm\0\0\0\0"), "other parts"},
        {ROW("\203p\0\0\0\75\1" /* one byte short of the fun above */
             "0123456789abcdef\0\0\0\1\0\0\0\1"
             "w\1ma\1b\0\0\0\2X" NODE "\0\0\0\1\0\0\0\2\0\0\0\3w\2fv"),
         "not as long"},
    };
    struct fault fault;
    term t;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ck_assert_int_eq(term_check(rows[i].bytes, &t, &fault), ERR_INVALID);
        ck_assert_msg(strstr(fault.why, rows[i].why) != NULL, "row %zu: %s", i, fault.why);
        ck_assert_str_eq(fault.path, "");
    }
}

TEST(depth_is_bounded)
{
    static const char *const levels[] = {"h\1", "l\0\0\0\1", "t\0\0\0\1a\1"};
    static const size_t lens[] = {2, 5, 7}, depths[] = {TERM_MAX_DEPTH, TERM_MAX_DEPTH + 1, 100000};
    struct fault fault;
    term t;

    for (size_t kind = 0; kind < 3; kind++)
        for (size_t n = 0; n < 3; n++) {
            size_t depth = depths[n];
            struct buf b = {0};

            term_put_version(&b);
            for (size_t i = 0; i < depth; i++)
                buf_add(&b, levels[kind], lens[kind]);
            term_put_nil(&b);
            for (size_t i = 0; kind == 1 && i < depth; i++)
                term_put_nil(&b);
            enum err e = term_check(buf_view(&b), &t, &fault);
            ck_assert_int_eq(e, depth == TERM_MAX_DEPTH ? ERR_OK : ERR_INVALID);
            if (e == ERR_OK)
                visit(t);
            else
                ck_assert(strstr(fault.why, "too deep") != NULL);
            buf_free(&b);
        }
}

TEST(arity_is_bounded)
{
    struct buf b = {0};
    struct fault fault;
    term t;

    term_put_version(&b);
    term_put_tuple(&b, TERM_MAX_ARITY);
    buf_reserve(&b, TERM_MAX_ARITY + 1);
    memset(b.data + b.len, 'j', TERM_MAX_ARITY + 1);
    b.len += TERM_MAX_ARITY;
    ck_assert_int_eq(term_check(buf_view(&b), &t, &fault), ERR_OK);
    ck_assert_uint_eq(term_arity(t), TERM_MAX_ARITY);
    b.data[5]++; /* the count's last byte */
    b.len++;
    ck_assert_int_eq(term_check(buf_view(&b), &t, &fault), ERR_INVALID);
    ck_assert(strstr(fault.why, "too many") != NULL);
    buf_free(&b);
}

TEST(some_terms_before_other_bytes)
{
    struct slice bytes = BYTES("h\2a\1a\2jrest");
    struct fault fault;
    size_t used = 99;

    ck_assert_int_eq(term_check_some(bytes, 2, &used, &fault), ERR_OK);
    ck_assert_uint_eq(used, 7);
    ck_assert_int_eq(term_check_some(bytes, 0, &used, &fault), ERR_OK);
    ck_assert_uint_eq(used, 0);
    used = 99;
    ck_assert_int_eq(term_check_some(slice_of(bytes.data, 6), 2, &used, &fault), ERR_INVALID);
    ck_assert_uint_eq(used, 99);
}

TEST(integers_at_the_edges)
{
    static const int64_t values[] = {0,
                                     1,
                                     255,
                                     256,
                                     -1,
                                     INT32_MAX,
                                     INT32_MIN,
                                     (int64_t)INT32_MAX + 1,
                                     (int64_t)INT32_MIN - 1,
                                     INT64_C(1) << 53,
                                     -(INT64_C(1) << 53),
                                     INT64_MAX,
                                     INT64_MIN,
                                     INT64_MIN + 1};
    struct buf body = {0}, message = {0};
    int64_t v = 0;

    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        body.len = 0;
        term_put_integer(&body, values[i]);
        term t = term_of(buf_view(&body), &message);
        ck_assert(term_type(t) == TERM_INTEGER && term_integer(t, &v) && v == values[i]);
    }
    term t = term_of(BYTES("n\10\1\1\0\0\0\0\0\0\200"), &message);
    bool negative = false;
    ck_assert(!term_integer(t, &v));
    ck_assert(slice_eq(term_magnitude(t, &negative), BYTES("\1\0\0\0\0\0\0\200")) && negative);
    buf_free(&body);
    buf_free(&message);
}

TEST(floats_old_and_new)
{
    struct buf body = {0}, message = {0};

    term_put_float(&body, -0.1);
    ck_assert(term_float(term_of(buf_view(&body), &message)) == -0.1);
    term t = term_of(BYTES("c-1.50000000000000000000e+02\0\0\0\0"), &message);
    ck_assert(term_float(t) == -150.0);
    t = term_of(BYTES("c2.22507385850720138309e-308\0\0\0\0"), &message);
    ck_assert(term_float(t) == 2.2250738585072014e-308);
    buf_free(&body);
    buf_free(&message);
}

TEST(writers_and_readers_agree)
{
    struct buf body = {0}, message = {0};

    term_put_map(&body, 4);
    term_put_atom(&body, "a");
    term_put_text(&body, "text");
    term_put_text(&body, "list");
    term_put_list(&body, 2);
    term_put_bool(&body, true);
    term_put_bool(&body, false);
    term_put_nil(&body);
    term_put_text(&body, "empty");
    term_put_list(&body, 0);
    term_put_nil(&body);
    term_put_atom(&body, "tuple");
    term_put_tuple(&body, 300);
    for (int i = 0; i < 300; i++)
        term_put_integer(&body, i);
    term t = term_of(buf_view(&body), &message);
    visit(t);

    ck_assert_uint_eq(term_arity(t), 4);
    ck_assert_slice(term_text(term_get(t, "a")), "text");
    term list = term_get(t, "list");
    ck_assert(term_type(list) == TERM_LIST && term_is_proper(list) && term_arity(list) == 2);
    ck_assert(term_is(term_items(list), "true") && term_element(list, 0) == NULL);
    ck_assert(term_type(term_get(t, "empty")) == TERM_NIL && term_is_proper(term_get(t, "empty")));
    int64_t v = 0;
    ck_assert(term_integer(term_element(term_get(t, "tuple"), 299), &v) && v == 299);
    ck_assert(term_element(term_get(t, "tuple"), 300) == NULL);
    ck_assert(term_get(t, "absent") == NULL && term_get(list, "a") == NULL);
    buf_free(&body);
    buf_free(&message);
}

TEST(atoms_and_binaries_as_names)
{
    struct buf message = {0};

    term t = term_of(BYTES("d\0\3nil"), &message);
    ck_assert(term_is(t, "nil") && term_is_text(t, "nil") && term_is_nil_atom(t));
    t = term_of(BYTES("m\0\0\0\3nil"), &message);
    ck_assert(!term_is(t, "nil") && term_is_text(t, "nil") && !term_is_nil_atom(t));
    ck_assert(!term_is(NULL, "nil") && !term_is_text(NULL, "nil") && !term_is_nil_atom(NULL));
    t = term_of(BYTES("w\11undefined"), &message);
    ck_assert(term_is_nil_atom(t) && !term_is_latin1(t));
    t = term_of(BYTES("d\0\2\303\266"), &message); /* two latin1 letters, not one of UTF-8 */
    ck_assert(term_is_latin1(t) && !term_is_text(t, "\303\266"));
    t = term_of(BYTES("w\2\303\266"), &message);
    ck_assert(term_is_text(t, "\303\266"));
    t = term_of(BYTES("m\0\0\0\0"), &message);
    ck_assert(term_is_text(t, "") && term_text(t).data != NULL);
    t = term_of(BYTES("h\0"), &message);
    ck_assert(!term_is_text(t, "") && term_text(t).data == NULL);
    buf_free(&message);
}

TEST(improper_lists_are_known)
{
    struct buf message = {0};

    ck_assert(!term_is_proper(term_of(BYTES("l\0\0\0\1a\1a\2"), &message)));
    ck_assert(term_is_proper(term_of(BYTES("l\0\0\0\1a\1j"), &message)));
    ck_assert(term_is_proper(term_of(BYTES("k\0\1a"), &message)));
    ck_assert(!term_is_proper(term_of(BYTES("a\1"), &message)));
    buf_free(&message);
}
