/*
 * bad_record_test.c - records that are whole, and say what no record may: one table, each with its
 * word, beside what is just still good.
 */

#include "store/record.h"
#include "store/pack.h"
#include "store/record_inside.h"

#include "test.h"

static struct slice key_of(const uint64_t *n)
{
    return slice_of(n, sizeof *n);
}

static void seal(struct buf *out, enum store_table t, struct slice key)
{
    record_seal(out, 0, t, key);
}

/* ---- records made by hand ----------------------------------------------------- */

/*
 * A record in words: [N and {N an array and a map of N; uN and iN a number, s:TEXT and b:TEXT a
 * text and bytes, SN and BN a text and bytes of that length, T F and n.
 */
static void put_word(struct buf *out, const char *word)
{
    char filling[6000];
    size_t n = strtoull(word + 1, NULL, 10);

    memset(filling, 'x', sizeof filling);
    ck_assert(strchr("SB", word[0]) == NULL || n <= sizeof filling);
    switch (word[0]) {
    case '[':
        pack_array(out, (uint32_t)n);
        break;
    case '{':
        pack_map(out, (uint32_t)n);
        break;
    case 'u':
        pack_uint(out, n);
        break;
    case 'i':
        pack_int(out, strtoll(word + 1, NULL, 10));
        break;
    case 's':
        pack_str(out, slice_str(word + 2));
        break;
    case 'b':
        pack_bin(out, slice_str(word + 2));
        break;
    case 'S':
        pack_str(out, slice_of(filling, n));
        break;
    case 'B':
        pack_bin(out, slice_of(filling, n));
        break;
    case 'n':
        pack_nil(out);
        break;
    default:
        ck_assert(strcmp(word, "T") == 0 || strcmp(word, "F") == 0);
        pack_bool(out, word[0] == 'T');
    }
}

/* What reads ${value} says of it: "" when it is good. */
static void read_made(enum store_table t, const char *name, uint64_t number, struct buf *made,
                      char why[300])
{
    struct slice key = t == STORE_META || t == STORE_IDS ? slice_str(name) : key_of(&number);
    struct fault fault = {0};
    enum err e = ERR_OK;
    union {
        struct counters counters;
        struct destination destination;
        struct doubt doubt;
        struct pending pending;
        struct checkpoint_record checkpoint;
        struct dead_letter dead;
        struct quarantined quarantined;
    } to;

    seal(made, t, key);
    struct slice v = buf_view(made);
    if (t == STORE_META && strcmp(name, "counters") == 0)
        e = record_get_counters(v, &to.counters, &fault);
    else if (t == STORE_META && strcmp(name, "destination") == 0)
        e = record_get_destination(v, &to.destination, &fault);
    else if (t == STORE_META)
        e = record_get_doubt(v, &to.doubt, &fault);
    else if (t == STORE_PENDING)
        e = record_get_pending(key, v, &to.pending, &fault);
    else if (t == STORE_CHECKPOINTS)
        e = record_get_checkpoint(key, v, &to.checkpoint, &fault);
    else if (t == STORE_DEAD)
        e = record_get_dead(key, v, &to.dead, &fault);
    else
        e = record_get_quarantined(key, v, &to.quarantined, &fault);
    ck_assert_int_eq(e, fault.why[0] == '\0' ? ERR_OK : ERR_STORE);
    snprintf(why, 300, "%s", fault.why);
}

static void make(struct buf *out, const char *words)
{
    char copy[400], *at = copy;

    ck_assert_uint_lt(strlen(words), sizeof copy);
    strcpy(copy, words);
    for (char *word; (word = strsep(&at, " ")) != NULL;)
        put_word(out, word);
}

/* Each says what is wrong with it; the first of each table says that nothing is. */
TEST(each_bad_record_has_its_word)
{
#define VERSION  "[8 u1 T i7 i7 i5 B32 s:v1 u9"
#define RANGE    "a number is out of range"
#define COUNT    "a count is no unsigned integer"
#define TOO_LONG "a text is too long"
#define TOO_MANY "there are too many bytes"
    static const struct {
        enum store_table t;
        const char *name; /* or the number, */
        uint64_t no;
        const char *words, *why;
    } cases[] = {
        {STORE_META, "counters", 0, "[7 u1 u1 u1 u1 u0 u0 {0", ""},
        {STORE_META, "counters", 0, "[7 u4611686018427387903 u1 u1 u1 u0 u0 {0", ""},
        {STORE_META, "counters", 0, "[7 u4611686018427387904 u1 u1 u1 u0 u0 {0", RANGE},
        {STORE_META, "counters", 0, "[7 u0 u1 u1 u1 u0 u0 {0", "begin at 1"},
        {STORE_META, "counters", 0, "[7 u1 u0 u1 u1 u0 u0 {0", "begin at 1"},
        {STORE_META, "counters", 0, "[7 u1 u1 u0 u1 u0 u0 {0", "begin at 1"},
        {STORE_META, "counters", 0, "[7 u1 u1 u1 u0 u0 u0 {0", "begin at 1"},
        {STORE_META, "counters", 0, "[7 u1 u1 u1 u1 i-1 u0 {0", COUNT},
        {STORE_META, "counters", 0, "[7 u1 u1 u1 u1 u0 n {0", COUNT},
        {STORE_META, "counters", 0, "[7 u1 u1 u1 u1 u0 u0 [0", "a map is no map"},
        {STORE_META, "counters", 0, "[6 u1 u1 u1 u1 u0 {0", "has not the fields"},
        {STORE_META, "counters", 0, "[7 u1 u1 u1 u1 u0 u0 {0 n", "bytes are left over"},
        {STORE_META, "counters", 0, "[7 u1 u1 u1 u1 u0 u0", "it ends too early"},
        {STORE_META, "destination", 0, "[9 S64 S1024 B16 S64 u0 u0 i-1 u4294967295 {0", ""},
        {STORE_META, "destination", 0, "[9 S65 s: B16 s: u0 u0 i0 u0 {0", TOO_LONG},
        {STORE_META, "destination", 0, "[9 s: S1025 B16 s: u0 u0 i0 u0 {0", TOO_LONG},
        {STORE_META, "destination", 0, "[9 s: s: B16 S65 u0 u0 i0 u0 {0", TOO_LONG},
        {STORE_META, "destination", 0, "[9 s: s: B17 s: u0 u0 i0 u0 {0", TOO_MANY},
        {STORE_META, "destination", 0, "[9 s: s: B15 s: u0 u0 i0 u0 {0", "is not 16 bytes"},
        {STORE_META, "destination", 0, "[9 s: s: B16 s: u0 u0 i0 u4294967296 {0", RANGE},
        {STORE_META, "doubt", 0, "[6 u5 u5 i0 S200 T {0", ""},
        {STORE_META, "doubt", 0, "[6 u6 u5 i0 s: T {0", "ends before it begins"},
        {STORE_META, "doubt", 0, "[6 u5 u5 i0 S201 T {0", TOO_LONG},
        {STORE_META, "doubt", 0, "[6 u5 u5 i0 s: u1 {0", "neither true nor false"},
        {STORE_PENDING, NULL, 7, "[8 u1 S511 S511 " VERSION " i1 u6 B6000 {0", ""},
        {STORE_PENDING, NULL, 0, "[8 u1 s:a s:k " VERSION " i1 u0 b:{} {0", "a key is no number"},
        {STORE_PENDING, NULL, 7, "[8 u0 s:a s:k " VERSION " i1 u0 b:{} {0", "without a number"},
        {STORE_PENDING, NULL, 7, "[8 u1 s: s:k " VERSION " i1 u0 b:{} {0", "without an id"},
        {STORE_PENDING, NULL, 7, "[8 u1 S512 s:k " VERSION " i1 u0 b:{} {0", TOO_LONG},
        {STORE_PENDING, NULL, 7, "[8 u1 s:a S512 " VERSION " i1 u0 b:{} {0", TOO_LONG},
        {STORE_PENDING, NULL, 7, "[8 u1 s:a s:k " VERSION " i1 u7 b:{} {0", RANGE},
        {STORE_PENDING, NULL, 7, "[8 u1 s:a s:k " VERSION " i1 u0 s:{} {0", "bytes are no bytes"},
        {STORE_PENDING, NULL, 7, "[8 u1 b:a s:k " VERSION " i1 u0 b:{} {0", "a text is no text"},
        {STORE_PENDING, NULL, 7, "[8 u1 s:a s:k [8 u2 T i7 i7 i5 B32 s:v u9 i1 u0 b:{} {0", RANGE},
        {STORE_PENDING, NULL, 7, "[8 u1 s:a s:k [8 u1 n i7 i7 i5 B32 s:v u9 i1 u0 b:{} {0",
         "neither true nor false"},
        {STORE_PENDING, NULL, 7, "[8 u1 s:a s:k [8 u1 T i7 i7 i5 B31 s:v u9 i1 u0 b:{} {0",
         "is not 32 bytes"},
        {STORE_PENDING, NULL, 7, "[8 u1 s:a s:k [8 u1 T i7 i7 i5 B33 s:v u9 i1 u0 b:{} {0",
         TOO_MANY},
        {STORE_PENDING, NULL, 7, "[8 u1 s:a s:k [8 u1 T i7 i7 i5 B32 S64 u9 i1 u0 b:{} {0",
         TOO_LONG},
        {STORE_PENDING, NULL, 7, "[8 u1 s:a s:k [8 u1 T i7 i7 i5 B32 s:v u0 i1 u0 b:{} {0",
         "without a revision"},
        {STORE_PENDING, NULL, 7, "[8 u1 s:a s:k " VERSION " i1 u0 b:{} {1 u1 u4294967295", ""},
        {STORE_PENDING, NULL, 7, "[8 u1 s:a s:k " VERSION " i1 u0 b:{} {1 u1 u4294967296",
         "not what it should be"},
        {STORE_PENDING, NULL, 7, "[8 u1 s:a s:k " VERSION " i1 u0 b:{} {1 u2 s:soon",
         "not what it should be"},
        {STORE_PENDING, NULL, 7, "[8 u1 s:a s:k " VERSION " i1 u0 b:{} {1 u3 u1",
         "not what it should be"},
        {STORE_CHECKPOINTS, NULL, 7, "[9 S511 S511 i-1 u0 u0 F n B4096 {0", ""},
        {STORE_CHECKPOINTS, NULL, 7, "[9 s:a s:k i1 u0 u5 T [2 " VERSION " u3 b: {0", ""},
        {STORE_CHECKPOINTS, NULL, 0, "[9 s:a s:k i1 u0 u0 F n b: {0", "a key is no number"},
        {STORE_CHECKPOINTS, NULL, 7, "[9 s: s:k i1 u0 u0 F n b: {0", "without an id"},
        {STORE_CHECKPOINTS, NULL, 7, "[9 S512 s:k i1 u0 u0 F n b: {0", TOO_LONG},
        {STORE_CHECKPOINTS, NULL, 7, "[9 s:a S512 i1 u0 u0 F n b: {0", TOO_LONG},
        {STORE_CHECKPOINTS, NULL, 7, "[9 s:a s:k i1 u0 u0 F n B4097 {0", TOO_MANY},
        {STORE_CHECKPOINTS, NULL, 7, "[9 s:a s:k i1 u0 u0 F [1 " VERSION " b: {0",
         "has not the fields"},
        {STORE_CHECKPOINTS, NULL, 7, "[9 s:a s:k i1 u0 u0 F n b: {2 u1 B64 u3 B64", ""},
        {STORE_CHECKPOINTS, NULL, 7, "[9 s:a s:k i1 u0 u0 F n b: {1 u1 B65",
         "not what it should be"},
        {STORE_CHECKPOINTS, NULL, 7, "[9 s:a s:k i1 u0 u0 F n b: {1 u2 u6", ""},
        {STORE_CHECKPOINTS, NULL, 7, "[9 s:a s:k i1 u0 u0 F n b: {1 u2 u7",
         "not what it should be"},
        {STORE_CHECKPOINTS, NULL, 7, "[9 s:a s:k i1 u0 u0 F n b: {1 u3 B65",
         "not what it should be"},
        {STORE_DEAD, NULL, 7, "[11 s:a s:k " VERSION " u4294967295 u4294967295 i1 i1 S511 b: b: {0",
         ""},
        {STORE_DEAD, NULL, 0, "[11 s:a s:k " VERSION " u1 u1 i1 i1 s: b: b: {0",
         "a key is no number"},
        {STORE_DEAD, NULL, 7, "[11 s: s:k " VERSION " u1 u1 i1 i1 s: b: b: {0", "without an id"},
        {STORE_DEAD, NULL, 7, "[11 s:a S512 " VERSION " u1 u1 i1 i1 s: b: b: {0", TOO_LONG},
        {STORE_DEAD, NULL, 7, "[11 s:a s:k " VERSION " u4294967296 u1 i1 i1 s: b: b: {0", RANGE},
        {STORE_DEAD, NULL, 7, "[11 s:a s:k " VERSION " u1 u4294967296 i1 i1 s: b: b: {0", RANGE},
        {STORE_DEAD, NULL, 7, "[11 s:a s:k " VERSION " u1 u1 i1 i1 S512 b: b: {0", TOO_LONG},
        {STORE_DEAD, NULL, 7, "[11 s:a s:k " VERSION " u1 u1 i1 i1 s: b: b: {1 u2 S64", ""},
        {STORE_DEAD, NULL, 7, "[11 s:a s:k " VERSION " u1 u1 i1 i1 s: b: b: {1 u2 S65",
         "not what it should be"},
        {STORE_DEAD, NULL, 7, "[11 s:a s:k " VERSION " u1 u1 i1 i1 s: b: b: {1 u1 u4294967296",
         "not what it should be"},
        {STORE_QUARANTINE, NULL, 7, "[6 u5 B511 B6000 S200 i1 {0", ""},
        {STORE_QUARANTINE, NULL, 0, "[6 u5 b: b: s: i1 {0", "a key is no number"},
        {STORE_QUARANTINE, NULL, 7, "[6 u6 b: b: s: i1 {0", RANGE},
        {STORE_QUARANTINE, NULL, 7, "[6 u5 B512 b: s: i1 {0", TOO_MANY},
        {STORE_QUARANTINE, NULL, 7, "[6 u5 b: b: S201 i1 {0", TOO_LONG},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf made = {0};
        char why[300];

        make(&made, cases[i].words);
        read_made(cases[i].t, cases[i].name, cases[i].no, &made, why);
        ck_assert_msg(cases[i].why[0] == '\0' ? why[0] == '\0' : strstr(why, cases[i].why) != NULL,
                      "%s: %s, not: %s", cases[i].words, why, cases[i].why);
        buf_free(&made);
    }
}

TEST(an_id_without_a_number_is_none)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *why;
    } cases[] = {{"\1\0\0\0\0\0\0\0", 8, ""},
                 {"\0\0\0\0\0\0\0\0", 8, "an id without a number"},
                 {"\1\0\0\0\0\0\0", 7, "an id without a number"},
                 {"\1\0\0\0\0\0\0\0\0", 9, "an id without a number"}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf made = {0};
        struct fault fault = {0};
        uint64_t document;

        buf_add(&made, cases[i].bytes, cases[i].len);
        seal(&made, STORE_IDS, slice_str("a"));
        enum err e = record_get_id(slice_str("a"), buf_view(&made), &document, &fault);
        ck_assert_int_eq(e, cases[i].why[0] == '\0' ? ERR_OK : ERR_STORE);
        ck_assert(strstr(fault.why, cases[i].why) != NULL);
        buf_free(&made);
    }
}
