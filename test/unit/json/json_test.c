/* json_test.c - terms to canonical JSON: RFC 8785's own examples, Convex's limits, random maps. */

#include "test.h"
#include "json/json.h"
#include "json/json_read.h"
#include "term/term_cases.h"

#include <math.h>

static enum err put(struct slice body, enum json_rules rules, struct buf *out,
                    struct json_weight *weight, struct fault *fault)
{
    struct buf message = {0};
    enum err e = json_put_term(out, term_of(body, &message), rules, weight, fault);

    buf_free(&message);
    return e;
}

TEST(terms_and_their_json)
{
    static const struct {
        struct slice body;
        const char *json;
        size_t weight;
        unsigned nesting;
    } rows[] = {
        {ROW("a\5"), "5", 9, 0},
        {ROW("b\377\377\377\377"), "-1", 9, 0},
        {ROW("n\7\0\0\0\0\0\0\0\40"), "9007199254740992", 9, 0},
        {ROW("n\7\1\0\0\0\0\0\0\40"), "-9007199254740992", 9, 0},
        {ROW("n\7\0\1\0\0\0\0\0\40"), "{\"$integer\":\"AQAAAAAAIAA=\"}", 9, 0},
        {ROW("n\7\1\1\0\0\0\0\0\40"), "{\"$integer\":\"////////3/8=\"}", 9, 0},
        {ROW("n\10\0\377\377\377\377\377\377\377\177"), "{\"$integer\":\"/////////38=\"}", 9, 0},
        {ROW("n\10\1\0\0\0\0\0\0\0\200"), "{\"$integer\":\"AAAAAAAAAIA=\"}", 9, 0},
        {ROW("F\77\370\0\0\0\0\0\0"), "1.5", 9, 0},
        {ROW("F\200\0\0\0\0\0\0\0"), "0", 9, 0},
        {ROW("F\100\24\0\0\0\0\0\0"), "5", 9, 0},
        {ROW("w\3nil"), "null", 1, 0},
        {ROW("d\0\4null"), "null", 1, 0},
        {ROW("s\11undefined"), "null", 1, 0},
        {ROW("w\4true"), "true", 1, 0},
        {ROW("d\0\5false"), "false", 1, 0},
        {ROW("w\4none"), "\"none\"", 6, 0},
        {ROW("w\0"), "\"\"", 2, 0},
        {ROW("d\0\2\366k"), "\"\303\266k\"", 5, 0},
        {ROW("d\0\3\177\200\377"), "\"\177\302\200\303\277\"", 7, 0},
        {ROW("m\0\0\0\4true"), "\"true\"", 6, 0},
        {ROW("m\0\0\0\0"), "\"\"", 2, 0},
        {ROW("m\0\0\0\12\0\b\t\n\f\r\"\\/\177"), "\"\\u0000\\b\\t\\n\\f\\r\\\"\\\\/\177\"", 12, 0},
        {ROW("m\0\0\0\24abcdefgh\1bcdefghijk\""), "\"abcdefgh\\u0001bcdefghijk\\\"\"", 22, 0},
        {ROW("m\0\0\0\4\360\237\230\200"), "\"\360\237\230\200\"", 6, 0},
        {ROW("j"), "[]", 2, 1},
        {ROW("k\0\2\1\377"), "[1,255]", 20, 1},
        {ROW("l\0\0\0\2ja\1j"), "[[],1]", 13, 2},
        {ROW("t\0\0\0\0"), "{}", 2, 1},
        {ROW("t\0\0\0\1m\0\0\0\1aa\5"), "{\"a\":5}", 13, 1},
        {ROW("t\0\0\0\2w\1ba\1m\0\0\0\1aj"), "{\"a\":[],\"b\":1}", 17, 2},
        {ROW("t\0\0\0\1w\3nilw\3nil"), "{\"nil\":null}", 7, 1},
        {ROW("t\0\0\0\1m\0\0\0\12__struct__a\1"), "{\"__struct__\":1}", 22, 1},
    };
    struct json_weight weight;
    struct buf out = {0};
    struct fault fault;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int rules = JSON_PLAIN; rules <= JSON_CONVEX; rules++) {
            out.len = 0;
            buf_str(&out, "before");
            ck_assert_int_eq(put(rows[i].body, (enum json_rules)rules, &out, &weight, &fault),
                             ERR_OK);
            ck_assert_slice(slice_of(out.data + 6, out.len - 6), rows[i].json);
            ck_assert_msg(weight.bytes == rows[i].weight && weight.nesting == rows[i].nesting,
                          "%s: %zu, %u", rows[i].json, weight.bytes, weight.nesting);
        }
    buf_free(&out);
}

TEST(refusals_name_path_and_reason)
{
    static const struct {
        struct slice body;
        bool plain_too;
        const char *path, *why;
    } rows[] = {
        {ROW("h\0"), true, "", "tuple"},
        {ROW("Xd\0\3a@b\0\0\0\1\0\0\0\2\0\0\0\3"), true, "", "a pid"},
        {ROW("M\0\0\0\1\3\340"), true, "", "a bit string"},
        {ROW("qw\1mw\1fa\1"), true, "", "a function"},
        {ROW("n\10\0\0\0\0\0\0\0\0\200"), true, "", "beyond 64 bits"},
        {ROW("m\0\0\0\1\377"), true, "", "UTF-8"},
        {ROW("m\0\0\0\2\300\200"), true, "", "UTF-8"},
        {ROW("m\0\0\0\3\355\240\200"), true, "", "UTF-8"},
        {ROW("m\0\0\0\4\364\220\200\200"), true, "", "UTF-8"},
        {ROW("m\0\0\0\2\342\202"), true, "", "UTF-8"},
        {ROW("w\1\377"), true, "", "UTF-8"},
        {ROW("l\0\0\0\1a\1a\2"), true, "", "improper"},
        {ROW("t\0\0\0\1w\10metadatat\0\0\0\1m\0\0\0\1xl\0\0\0\4a\1a\2a\3h\0j"), true,
         "metadata.x[3]", "tuple"},
        {ROW("l\0\0\0\1l\0\0\0\1t\0\0\0\1w\1ah\0jj"), true, "[0][0].a", "tuple"},
        {ROW("t\0\0\0\1m\0\0\0\3a.bt\0\0\0\1w\1ch\0"), true, "[\"a.b\"].c", "tuple"},
        {ROW("t\0\0\0\1m\0\0\0\3a\"\\h\0"), true, "[\"a?\\\"]", "tuple"},
        {ROW("t\0\0\0\1m\0\0\0\0h\0"), true, "[\"\"]", "tuple"},
        {ROW("t\0\0\0\1a\1a\1"), true, "", "key is neither"},
        {ROW("t\0\0\0\1m\0\0\0\1\377a\1"), true, "[\"?\"]", "the key "},
        {ROW("t\0\0\0\2w\1aa\1m\0\0\0\1aa\2"), true, "a", "twice"},
        {ROW("t\0\0\0\3w\1aa\1w\1bj"
             "m\0\0\0\1aa\2"),
         true, "a", "twice"},
        {ROW("t\0\0\0\1w\12__struct__w\3Foo"), true, "", "struct Foo"},
        {ROW("t\0\0\0\1w\1dt\0\0\0\1w\12__struct__w\13Elixir.Date"), true, "d", "calendar"},
        {ROW("t\0\0\0\1w\12__struct__m\0\0\0\1x"), true, "", "struct x"},
        {ROW("t\0\0\0\1w\12__struct__a\1"), true, "", "struct"},
        {ROW("t\0\0\0\1m\0\0\0\2$xa\1"), false, "[\"$x\"]", "begins with $, which Convex reserves"},
        {ROW("t\0\0\0\1m\0\0\0\11__proto__a\1"), false, "__proto__", "lost in JavaScript"},
        {ROW("t\0\0\0\1m\0\0\0\2\303\266a\1"), false, "[\"\303\266\"]", "printable ASCII"},
        {ROW("t\0\0\0\1m\0\0\0\1\177a\1"), false, "[\"?\"]", "printable ASCII"},
    };
    struct buf out = {0};
    struct fault fault;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int rules = JSON_PLAIN; rules <= JSON_CONVEX; rules++) {
            bool refused = rules == JSON_CONVEX || rows[i].plain_too;

            out.len = 0;
            buf_str(&out, "before");
            memset(&fault, 'x', sizeof fault);
            ck_assert_msg((put(rows[i].body, (enum json_rules)rules, &out, NULL, &fault) ==
                           ERR_INVALID) == refused,
                          "row %zu", i);
            if (!refused)
                continue;
            ck_assert_slice(buf_view(&out), "before");
            ck_assert_str_eq(fault.path, rows[i].path);
            ck_assert_msg(strstr(fault.why, rows[i].why) != NULL, "row %zu: %s", i, fault.why);
        }
    buf_free(&out);
}

TEST(a_latin1_atom_is_the_same_key_as_its_utf8_text)
{
    struct buf out = {0};
    struct fault fault;

    struct slice twice = BYTES("t\0\0\0\2d\0\1\366a\1m\0\0\0\2\303\266a\2");
    ck_assert_int_eq(put(twice, JSON_PLAIN, &out, NULL, &fault), ERR_INVALID);
    ck_assert(strstr(fault.why, "twice") != NULL);
    struct slice backwards = BYTES("t\0\0\0\3m\0\0\0\2\303\267a\3d\0\1\366a\2d\0\1za\1");
    ck_assert_int_eq(put(backwards, JSON_PLAIN, &out, NULL, &fault), ERR_OK);
    ck_assert_slice(buf_view(&out), "{\"z\":1,\"\303\266\":2,\"\303\267\":3}");
    buf_free(&out);
}

/* JSON to canonical JSON, by way of a term. */
static void canonical(const char *text, const char *wanted)
{
    struct buf body = {0}, out = {0};
    struct fault fault;

    ck_assert_msg(json_read_term(&body, slice_str(text), &fault) == ERR_OK, "%s", fault.why);
    ck_assert_int_eq(put(buf_view(&body), JSON_PLAIN, &out, NULL, &fault), ERR_OK);
    ck_assert_slice(buf_view(&out), wanted);
    buf_free(&out);
    buf_free(&body);
}

TEST(rfc_8785_examples)
{
    canonical("[56, {\"d\": true, \"10\": null, \"1\": [ ]}]", /* arrays */
              "[56,{\"1\":[],\"10\":null,\"d\":true}]");
    canonical("{\"peach\":\"This sorting order\",\"p\\u00e9ch\\u00e9\":\"is wrong according to "
              "French\",\"p\\u00eache\":\"but canonicalization MUST\",\"sin\":\"ignore locale\"}",
              "{\"peach\":\"This sorting order\",\"p\303\251ch\303\251\":\"is wrong according to "
              "French\",\"p\303\252che\":\"but canonicalization MUST\",\"sin\":\"ignore locale\"}");
    canonical("{\"1\": {\"f\": {\"f\": \"hi\",\"F\": 5} ,\"\\n\": 56.0},\"10\": { },\"\": "
              "\"empty\",\"a\": { },\"111\": [ {\"e\": \"yes\",\"E\": \"no\" } ],\"A\": { }}",
              "{\"\":\"empty\",\"1\":{\"\\n\":56,\"f\":{\"F\":5,\"f\":\"hi\"}},\"10\":{},"
              "\"111\":[{\"E\":\"no\",\"e\":\"yes\"}],\"A\":{},\"a\":{}}");
    canonical("{\"Unnormalized Unicode\":\"A\\u030a\"}",
              "{\"Unnormalized Unicode\":\"A\314\212\"}");
    canonical("{\"numbers\": [333333333.33333329, 1E30, 4.50, 2e-3, "
              "0.000000000000000000000000001],\"string\": "
              "\"\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\\"\\/\","
              "\"literals\": [null, true, false]}",
              "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,"
              "1e-27],\"string\":\"\342\202\254$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}");
    canonical("{\"\\u20ac\": \"Euro Sign\",\"\\r\": \"Carriage Return\",\"\\u000a\": \"Newline\","
              "\"1\": \"One\",\"\\u0080\": \"Control\\u007f\",\"\\ud83d\\ude02\": \"Smiley\","
              "\"\\u00f6\": \"Latin Small Letter O With Diaeresis\",\"\\ufb33\": "
              "\"Hebrew Letter Dalet With Dagesh\",\"</script>\": \"Browser Challenge\"}",
              "{\"\\n\":\"Newline\",\"\\r\":\"Carriage Return\",\"1\":\"One\",\"</script>\":"
              "\"Browser Challenge\",\"\302\200\":\"Control\177\",\"\303\266\":"
              "\"Latin Small Letter O With Diaeresis\",\"\342\202\254\":\"Euro Sign\","
              "\"\360\237\230\202\":\"Smiley\",\"\357\254\263\":"
              "\"Hebrew Letter Dalet With Dagesh\"}");
}

TEST(rfc_8785_numbers)
{
    static const struct {
        uint64_t bits;
        const char *text;
    } rows[] = {
        {0x0000000000000000, "0"},
        {0x8000000000000000, "0"},
        {0x0000000000000001, "5e-324"},
        {0x8000000000000001, "-5e-324"},
        {0x7fefffffffffffff, "1.7976931348623157e+308"},
        {0xffefffffffffffff, "-1.7976931348623157e+308"},
        {0x4340000000000000, "9007199254740992"},
        {0xc340000000000000, "-9007199254740992"},
        {0x4430000000000000, "295147905179352830000"},
        {0x44b52d02c7e14af5, "9.999999999999997e+22"},
        {0x44b52d02c7e14af6, "1e+23"},
        {0x44b52d02c7e14af7, "1.0000000000000001e+23"},
        {0x444b1ae4d6e2ef4e, "999999999999999700000"},
        {0x444b1ae4d6e2ef4f, "999999999999999900000"},
        {0x444b1ae4d6e2ef50, "1e+21"},
        {0x3eb0c6f7a0b5ed8c, "9.999999999999997e-7"},
        {0x3eb0c6f7a0b5ed8d, "0.000001"},
        {0x41b3de4355555553, "333333333.3333332"},
        {0x41b3de4355555554, "333333333.33333325"},
        {0x41b3de4355555555, "333333333.3333333"},
        {0x41b3de4355555556, "333333333.3333334"},
        {0x41b3de4355555557, "333333333.33333343"},
        {0xbecbf647612f3696, "-0.0000033333333333333333"},
        {0x43143ff3c1cb0959, "1424953923781206.2"},
    };
    struct buf out = {0};

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double v;

        memcpy(&v, &rows[i].bits, sizeof v);
        out.len = 0;
        json_put_double(&out, v);
        ck_assert_slice(buf_view(&out), rows[i].text);
    }
    buf_free(&out);
}

static size_t significant_digits(struct slice text)
{
    size_t first = 0, last = 0, seen = 0;

    for (size_t i = 0; i < text.len && text.data[i] != 'e'; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            continue;
        seen += first > 0 || text.data[i] != '0';
        first = seen > 0;
        if (text.data[i] != '0')
            last = seen;
    }
    return last;
}

/* Every double reads back, and no rounding to fewer digits would. */
static void number_property(double v)
{
    struct buf out = {0};
    char shorter[64];
    int digits;

    json_put_double(&out, v);
    digits = (int)significant_digits(buf_view(&out));
    buf_byte(&out, 0);
    if (strtod((char *)out.data, NULL) != v)
        ck_abort_msg("%a became %s", v, (char *)out.data);
    snprintf(shorter, sizeof shorter, "%.*e", digits > 1 ? digits - 2 : 0, v);
    if (digits > 1 && strtod(shorter, NULL) == v)
        ck_abort_msg("%s is longer than %s", (char *)out.data, shorter);
    buf_free(&out);
}

TEST(random_numbers_read_back_and_are_shortest)
{
    for (int i = 0; i < 30000; i++) {
        uint64_t bits = test_random();
        double v;

        memcpy(&v, &bits, sizeof v);
        if (isfinite(v))
            number_property(v);
        bits &= UINT64_C(0xfff0000000000000); /* powers of two, where gaps differ on both sides */
        memcpy(&v, &bits, sizeof v);
        if (isfinite(v))
            number_property(v);
        number_property((double)(int64_t)(test_random() % 20000000 - 10000000) / 1000);
    }
}

/* A naive sorter: keys turned into UTF-16 code units, compared as those. */
struct naive {
    uint16_t units[16];
    size_t count;
    uint8_t text[32];
    size_t len;
};

static void naive_key(struct naive *k)
{
    static const uint32_t chars[] = {'a',    'b',     '1',     0x7f,    0x80,   0xe9,
                                     0x7ff,  0x800,   0xd7ff,  0xe000,  0xfb33, 0xfffd,
                                     0xffff, 0x10000, 0x1f600, 0x10ffff};
    *k = (struct naive){0};
    for (uint64_t n = test_random() % 5; n > 0; n--) {
        uint32_t c = chars[test_random() % (sizeof chars / sizeof *chars)];

        if (c < 0x80) {
            k->text[k->len++] = (uint8_t)c;
        } else if (c < 0x800) {
            k->text[k->len++] = (uint8_t)(0xc0 | c >> 6);
            k->text[k->len++] = (uint8_t)(0x80 | (c & 63));
        } else if (c < 0x10000) {
            k->text[k->len++] = (uint8_t)(0xe0 | c >> 12);
            k->text[k->len++] = (uint8_t)(0x80 | (c >> 6 & 63));
            k->text[k->len++] = (uint8_t)(0x80 | (c & 63));
        } else {
            k->text[k->len++] = (uint8_t)(0xf0 | c >> 18);
            k->text[k->len++] = (uint8_t)(0x80 | (c >> 12 & 63));
            k->text[k->len++] = (uint8_t)(0x80 | (c >> 6 & 63));
            k->text[k->len++] = (uint8_t)(0x80 | (c & 63));
            k->units[k->count++] = (uint16_t)(0xd800 + ((c - 0x10000) >> 10));
            c = 0xdc00 + ((c - 0x10000) & 0x3ff);
        }
        k->units[k->count++] = (uint16_t)c;
    }
}

static int naive_compare(const struct naive *a, const struct naive *b)
{
    for (size_t i = 0; i < a->count && i < b->count; i++)
        if (a->units[i] != b->units[i])
            return a->units[i] < b->units[i] ? -1 : 1;
    return (a->count > b->count) - (a->count < b->count);
}

/* Insert `k` in order; false when it is there. */
static bool naive_insert(struct naive *sorted, size_t count, const struct naive *k)
{
    size_t at = 0;

    while (at < count && naive_compare(&sorted[at], k) < 0)
        at++;
    if (at < count && naive_compare(&sorted[at], k) == 0)
        return false;
    memmove(sorted + at + 1, sorted + at, (count - at) * sizeof *sorted);
    sorted[at] = *k;
    return true;
}

TEST(random_maps_are_sorted_as_utf16)
{
    static struct naive sorted[200];
    struct buf pairs = {0}, body = {0}, out = {0}, wanted = {0};
    struct fault fault;

    for (int round = 0; round < 400; round++) {
        size_t count = 0;

        pairs.len = body.len = out.len = wanted.len = 0;
        for (uint64_t n = test_random() % 150; n > 0; n--) {
            struct naive k;

            naive_key(&k);
            if (!naive_insert(sorted, count, &k))
                continue;
            count++;
            term_put_binary(&pairs, slice_of(k.text, k.len));
            term_put_binary(&pairs, slice_of(k.text, k.len));
        }
        term_put_map(&body, (uint32_t)count);
        term_put_raw(&body, buf_view(&pairs));
        for (size_t i = 0; i < count; i++) {
            buf_str(&wanted, i > 0 ? "," : "{");
            json_put_string(&wanted, slice_of(sorted[i].text, sorted[i].len));
            buf_byte(&wanted, ':');
            json_put_string(&wanted, slice_of(sorted[i].text, sorted[i].len));
        }
        buf_str(&wanted, count > 0 ? "}" : "{}");
        MUST(put(buf_view(&body), JSON_PLAIN, &out, NULL, &fault) == ERR_OK);
        MUST(slice_eq(buf_view(&out), buf_view(&wanted)));
    }
    buf_free(&pairs);
    buf_free(&body);
    buf_free(&out);
    buf_free(&wanted);
}

/* A map with 26 letters backwards whose values are such maps again: sorted within sorted. */
static void put_backwards(struct buf *b, int levels)
{
    term_put_map(b, 26);
    for (char c = 'z'; c >= 'a'; c--) {
        term_put_binary(b, slice_of(&c, 1));
        if (levels > 1 && (c == 'c' || c == 'x'))
            put_backwards(b, levels - 1);
        else
            term_put_integer(b, c);
    }
}

TEST(unsorted_maps_within_unsorted_maps)
{
    struct buf body = {0}, once = {0}, twice = {0};
    struct fault fault;

    put_backwards(&body, 6);
    ck_assert_int_eq(put(buf_view(&body), JSON_CONVEX, &once, NULL, &fault), ERR_OK);
    body.len = 0;
    ck_assert_int_eq(json_read_term(&body, buf_view(&once), &fault), ERR_OK);
    ck_assert_int_eq(put(buf_view(&body), JSON_CONVEX, &twice, NULL, &fault), ERR_OK);
    ck_assert(slice_eq(buf_view(&once), buf_view(&twice)));
    ck_assert(memcmp(once.data, "{\"a\":97,\"b\":98,\"c\":{\"a\":97", 26) == 0);
    buf_free(&body);
    buf_free(&once);
    buf_free(&twice);
}

static enum err limited(struct buf *body, enum json_rules rules, struct fault *fault)
{
    struct buf out = {0};
    enum err e = put(buf_view(body), rules, &out, NULL, fault);

    buf_free(&out);
    body->len = 0;
    return e;
}

static void put_nested(struct buf *b, unsigned levels)
{
    for (unsigned i = 1; i < levels; i++) {
        term_put_map(b, 1);
        term_put_text(b, "k");
    }
    term_put_map(b, 0);
}

TEST(convex_limits)
{
    struct buf b = {0};
    struct fault fault;

    put_nested(&b, JSON_MAX_NESTING);
    ck_assert_int_eq(limited(&b, JSON_CONVEX, &fault), ERR_OK);
    put_nested(&b, JSON_MAX_NESTING + 1);
    ck_assert_int_eq(limited(&b, JSON_CONVEX, &fault), ERR_INVALID);
    ck_assert_str_eq(fault.path, "k.k.k.k.k.k.k.k.k.k.k.k.k.k.k");
    put_nested(&b, TERM_MAX_DEPTH);
    ck_assert_int_eq(limited(&b, JSON_PLAIN, &fault), ERR_OK);
    for (uint32_t more = 0; more < 2; more++) {
        enum err wanted = more ? ERR_INVALID : ERR_OK;

        term_put_list(&b, JSON_MAX_ARRAY + more);
        for (uint32_t i = 0; i < JSON_MAX_ARRAY + more; i++)
            term_put_atom(&b, "nil");
        term_put_nil(&b);
        ck_assert_int_eq(limited(&b, JSON_CONVEX, &fault), wanted);
        buf_byte(&b, 'k'); /* the same as bytes */
        buf_be16(&b, (uint16_t)(JSON_MAX_ARRAY + more));
        for (uint32_t i = 0; i < JSON_MAX_ARRAY + more; i++)
            buf_byte(&b, 7);
        ck_assert_int_eq(limited(&b, JSON_CONVEX, &fault), wanted);
        term_put_map(&b, JSON_MAX_FIELDS + more);
        for (uint32_t i = 0; i < JSON_MAX_FIELDS + more; i++) {
            buf_byte(&b, 'm');
            buf_be32(&b, 4);
            buf_printf(&b, "%04u", (i * 577) % 2048);
            term_put_nil(&b);
        }
        ck_assert_int_eq(limited(&b, JSON_CONVEX, &fault), wanted);
        term_put_map(&b, 1);
        buf_byte(&b, 'm');
        buf_be32(&b, JSON_MAX_FIELD_NAME + more);
        for (uint32_t i = 0; i < JSON_MAX_FIELD_NAME + more; i++)
            buf_byte(&b, 'x');
        term_put_nil(&b);
        ck_assert_int_eq(limited(&b, JSON_CONVEX, &fault), wanted);
    }
    buf_free(&b);
}

TEST(weight_is_bounded_without_a_path)
{
    struct buf b = {0};
    struct fault fault;

    for (uint32_t more = 0; more < 2; more++) {
        uint32_t len = JSON_MAX_VALUE_BYTES - 2 - 2 - 2 + more; /* map, key, string */

        term_put_map(&b, 1);
        term_put_text(&b, "k");
        buf_byte(&b, 'm');
        buf_be32(&b, len);
        buf_reserve(&b, len);
        memset(b.data + b.len, 'x', len);
        b.len += len;
        ck_assert_int_eq(limited(&b, JSON_CONVEX, &fault), more ? ERR_INVALID : ERR_OK);
    }
    ck_assert_str_eq(fault.path, "");
    ck_assert(strstr(fault.why, "1 MiB") != NULL);
    buf_free(&b);
}

TEST(paths_are_cut_to_fit)
{
    struct fault fault = {.why = "w"};
    char name[201];

    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    json_path_key(&fault, slice_str(name));
    ck_assert(strlen(fault.path) == 64 + 7 && strstr(fault.path, "...\"]") != NULL);
    for (int i = 0; i < 60; i++)
        json_path_key(&fault, slice_str("abcdefgh"));
    json_path_index(&fault, 3);
    ck_assert_uint_eq(strlen(fault.path), sizeof fault.path - 1);
    ck_assert(memcmp(fault.path, "[3].abcdefgh.", 13) == 0);
    ck_assert_str_eq(fault.path + sizeof fault.path - 4, "...");
    ck_assert_str_eq(fault.why, "w");
}

TEST(utf8_is_checked)
{
    static const struct {
        struct slice text;
        bool utf8;
    } rows[] = {
        {ROW(""), true},
        {ROW("plain ascii \0 \177"), true},
        {ROW("\302\200\337\277"), true},
        {ROW("\340\240\200\355\237\277\356\200\200\357\277\277"), true},
        {ROW("\360\220\200\200\364\217\277\277"), true},
        {ROW("\200"), false},
        {ROW("\301\277"), false},
        {ROW("\340\237\277"), false},
        {ROW("\355\240\200"), false},
        {ROW("\360\217\277\277"), false},
        {ROW("\364\220\200\200"), false},
        {ROW("\365\200\200\200"), false},
        {ROW("abcdefg\342\202"), false},
        {ROW("\342(\241"), false},
    };
    struct buf out = {0};

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ck_assert_msg(json_is_utf8(rows[i].text) == rows[i].utf8, "row %zu", i);
        ck_assert_msg(json_try_string(&out, rows[i].text) == rows[i].utf8, "row %zu", i);
        ck_assert(rows[i].utf8 == (out.len > 0));
        out.len = 0;
    }
    buf_free(&out);
}

TEST(text_for_people_shows_the_bytes_that_are_not_utf8)
{
    struct buf out = {0}, t = {0};
    struct fault f = {0};

    json_put_shown(&out, slice_str("a\xff\xc3\xa9\xc3\"\n"));
    ck_assert_slice(buf_view(&out), "\"a\\\\xff\xc3\xa9\\\\xc3\\\"\\n\"");
    out.len = 0;
    term_put_map(&t, 1);
    term_put_text(&t, "k");
    term_put_text(&t, "\xff");
    ck_assert_int_eq(json_put_term(&out, t.data, JSON_PLAIN, NULL, &f), ERR_INVALID);
    ck_assert_int_eq(json_put_term(&out, t.data, JSON_SHOWN, NULL, &f), ERR_OK);
    ck_assert_slice(buf_view(&out), "{\"k\":\"\\\\xff\"}");
    buf_free(&t);
    buf_free(&out);
}
