/* store_check_test.c - a sound store has no findings, and whatever is wrong is found. */

#include "store_tools/store_check.h"
#include "store/format.h"
#include "store/record.h"

#include "test.h"
#include "ground/fake_log.c"
#include "store/store_kit.h"
#include "temp_dir.h"

static char found[8192];

static void collect(void *arg, const char *text)
{
    (void)arg;
    size_t len = strlen(found);
    snprintf(found + len, sizeof found - len, "%s\n", text);
}

static struct store_report check(const char *dir)
{
    struct store_report r;
    struct fault fault = {0};

    found[0] = '\0';
    enum err e = store_check(dir, collect, NULL, &r, &fault);
    ck_assert_msg(e == ERR_OK, "%s: %s", fault.path, fault.why);
    return r;
}

static void check_found(const char *dir, const char *part)
{
    ck_assert_uint_gt(check(dir).findings, 0);
    ck_assert_msg(strstr(found, part) != NULL, "\"%s\" is not in:\n%s", part, found);
}

TEST(a_sound_store_has_no_findings)
{
    struct temp_dir d = temp_dir_make();

    kit_make_store(d.path, 500);
    struct store_report r = check(d.path);
    ck_assert_msg(r.findings == 0, "%s", found);
    ck_assert_uint_eq(r.pending, 500 + 3); /* again, large, cleared */
    ck_assert_uint_eq(r.checkpoints, 500 + 6);
    ck_assert_uint_eq(r.dead, 1);
    ck_assert_uint_gt(r.pending_bytes, (size_t)500 * 300);
    temp_dir_remove(&d);
}

TEST(no_store_is_said)
{
    struct temp_dir d = temp_dir_make();
    struct store_report r;
    struct fault fault = {0};

    ck_assert_int_eq(store_check(d.path, NULL, NULL, &r, &fault), ERR_NOT_FOUND);
    ck_assert_str_eq(fault.why, "No such file or directory");
    temp_dir_remove(&d);
}

/* ---- what the records say, made wrong by LMDB itself ---------------------- */

static struct store *open_raw(const char *dir)
{
    struct store *s = NULL;
    struct fault fault = {0};

    ck_assert_int_eq(store_open(dir, 1 << 24, &s, &fault), ERR_OK);
    ck_assert_int_eq(store_begin(s), ERR_OK);
    return s;
}

static void close_raw(struct store *s)
{
    ck_assert_int_eq(store_commit(s), ERR_OK);
    store_close(s);
}

static void put_raw(const char *dir, enum store_table t, struct slice key, struct buf *value)
{
    struct store *s = open_raw(dir);

    ck_assert_int_eq(store_put(s, t, key, buf_view(value)), ERR_OK);
    close_raw(s);
    buf_free(value);
}

/* What is changed, and what the check says. */
struct wrong {
    const char *id, *part;
    kit_change *how;
};

static void no_pending(struct checkpoint_record *c, struct pending *p, void *arg)
{
    (void)p;
    (void)arg;
    c->cp.has_pending = false;
    c->cp.pending_no = 0;
}

static void high_revision(struct checkpoint_record *c, struct pending *p, void *arg)
{
    (void)c;
    (void)arg;
    p->version.revision += 1000;
}

static void other_number(struct checkpoint_record *c, struct pending *p, void *arg)
{
    (void)p;
    (void)arg;
    c->cp.pending_no += 1000;
}

static void other_document(struct checkpoint_record *c, struct pending *p, void *arg)
{
    (void)c;
    (void)arg;
    p->document += 1000;
}

static void no_letter(struct checkpoint_record *c, struct pending *p, void *arg)
{
    (void)p;
    (void)arg;
    c->cp.is_dead = !c->cp.is_dead;
}

static void too_early(struct checkpoint_record *c, struct pending *p, void *arg)
{
    (void)p;
    (void)arg;
    c->cp.last_projected_us = 1;
}

static void standing_still(struct checkpoint_record *c, struct pending *p, void *arg)
{
    (void)arg;
    c->cp.delivered.projected_at_us = p->version.projected_at_us;
}

static void falling(struct checkpoint_record *c, struct pending *p, void *arg)
{
    (void)arg;
    c->cp.delivered.revision = p->version.revision;
}

TEST(links_and_invariants_are_checked)
{
    static const struct wrong cases[] = {
        {"large", "no checkpoint names it", no_pending},
        {"large", "revision 10", high_revision},
        {"large", "is in use, the next one is", high_revision},
        {"large", "is not there", other_number},
        {"large", "is not there", other_document},
        {"dead", "a letter is there that no checkpoint names", no_letter},
        {"done", "its dead letter is not there", no_letter},
        {"again", "later than the last one", too_early},
        {"again", "projected_at does not rise", standing_still},
        {"again", "older than what is delivered", falling},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct temp_dir d = temp_dir_make();
        kit_make_store(d.path, 3);
        kit_rewrite(d.path, cases[i].id, cases[i].how, NULL);
        check_found(d.path, cases[i].part);
        temp_dir_remove(&d);
    }
}

TEST(an_id_leads_to_its_document)
{
    struct temp_dir d = temp_dir_make();
    struct buf value = {0};

    kit_make_store(d.path, 3);
    record_put_id(&value, slice_str("done"), 777);
    put_raw(d.path, STORE_IDS, slice_str("done"), &value);
    check_found(d.path, "checkpoints/done: its id does not lead to its number, ");
    check_found(d.path, "ids/done: its checkpoint, number 777, is damaged or not there");
    check_found(d.path, "document 777 is in use, the next one is ");
    temp_dir_remove(&d);
}

TEST(damaged_records_and_counters_are_found)
{
    struct temp_dir d = temp_dir_make();
    struct buf value = {0};
    struct counters c = record_first_counters();
    uint64_t no = 77;

    kit_make_store(d.path, 3);
    record_put_counters(&value, &c);
    put_raw(d.path, STORE_META, slice_str("counters"), &value);
    check_found(d.path, "number ");
    check_found(d.path, "bytes pending and 0 dead, it is ");
    buf_str(&value, "noise");
    put_raw(d.path, STORE_PENDING, slice_of(&no, sizeof no), &value);
    check_found(d.path, "pending/77: damaged record");
    buf_str(&value, "noise");
    put_raw(d.path, STORE_DEAD, slice_of(&no, sizeof no), &value);
    check_found(d.path, "dead/77: damaged record");
    buf_str(&value, "noise");
    put_raw(d.path, STORE_CHECKPOINTS, slice_of(&no, sizeof no), &value);
    check_found(d.path, "checkpoints/77: damaged record");
    buf_str(&value, "noise");
    put_raw(d.path, STORE_IDS, slice_str("done"), &value);
    check_found(d.path, "ids/done: damaged record");
    buf_str(&value, "noise");
    put_raw(d.path, STORE_META, slice_str("destination"), &value);
    check_found(d.path, "meta/destination: damaged record");
    buf_str(&value, "noise");
    put_raw(d.path, STORE_META, slice_str("format"), &value);
    check_found(d.path, "not a store of the sidecar");
    temp_dir_remove(&d);
}

/* Moved to quarantine it is listed, and the store is sound; where it was is told as well. */
TEST(what_stands_in_quarantine_is_listed)
{
    struct temp_dir d = temp_dir_make();
    struct buf value = {0};
    struct outbox *o;

    kit_make_store(d.path, 3);
    o = kit_outbox(d.path);
    uint64_t number = do_look(o, "done").document;
    outbox_close(o);
    buf_str(&value, "noise");
    put_raw(d.path, STORE_CHECKPOINTS, slice_of(&number, sizeof number), &value);
    o = kit_outbox(d.path);
    kit_put_real(o, "done", 7, 10);
    outbox_close(o);
    struct store_report r = check(d.path);
    ck_assert_msg(r.findings == 0, "%s", found);
    ck_assert_uint_eq(r.quarantined, 1);
    ck_assert_ptr_nonnull(strstr(found, "quarantine/1: checkpoints/"));
    ck_assert_ptr_nonnull(strstr(found, "its checksum is another one"));
    temp_dir_remove(&d);
}

TEST(a_document_whose_checkpoint_is_damaged_is_named)
{
    struct temp_dir d = temp_dir_make();
    struct buf value = {0};
    struct outbox *o;

    kit_make_store(d.path, 3);
    o = kit_outbox(d.path);
    uint64_t number = do_look(o, "done").document;
    outbox_close(o);
    buf_str(&value, "noise");
    put_raw(d.path, STORE_CHECKPOINTS, slice_of(&number, sizeof number), &value);
    check_found(d.path, "ids/done: its checkpoint, number 1, is damaged or not there");
    temp_dir_remove(&d);
}

/* The first place of ${text} in the file, in the newest committed page of many. */
static uint64_t place_of(const char *dir, const char *text)
{
    uint8_t page[KIT_PAGE];

    for (uint64_t no = kit_pages(dir); no-- > 2;) {
        kit_read_page(dir, no, page);
        uint8_t *at = memmem(page, sizeof page, text, strlen(text));
        if (at != NULL)
            return no * KIT_PAGE + (uint64_t)(at - page);
    }
    ck_abort_msg("%s is not in the file", text);
}

TEST(one_changed_letter_of_a_document_is_found)
{
    struct temp_dir d = temp_dir_make();

    kit_make_store(d.path, 200);
    kit_write(d.path, place_of(d.path, "{\"id\":\"many:0100\"") + 8, "M", 1);
    check_found(d.path, ": damaged record: its checksum is another one");
    check_found(d.path, "checkpoints/many:0100: its pending version, number ");
    ck_assert_uint_eq(check(d.path).findings, 3); /* and the sum of all bytes */
    temp_dir_remove(&d);
}

TEST(damaged_pages_are_found_and_the_rest_is_read)
{
    static const uint8_t zeros[KIT_PAGE];
    struct temp_dir d = temp_dir_make();

    kit_make_store(d.path, 500);
    uint64_t place = place_of(d.path, "{\"id\":\"many:0100\"");
    kit_write(d.path, place / KIT_PAGE * KIT_PAGE, zeros, sizeof zeros);
    check_found(d.path, "is not the page it should be");
    struct store_report r = check(d.path);
    ck_assert_uint_gt(r.pending, 480);
    ck_assert_uint_lt(r.pending, 503);
    ck_assert_uint_eq(r.checkpoints, 506);

    int fd = kit_open_file(d.path);
    ck_assert_int_eq(ftruncate(fd, (off_t)(kit_pages(d.path) / 2 * KIT_PAGE + 17)), 0);
    close(fd);
    check_found(d.path, "lies behind the end of the file");
    temp_dir_remove(&d);
}

static void no_utf8(struct checkpoint_record *c, struct pending *p, void *arg)
{
    (void)arg;
    c->id = p->id = slice_str("bad:\xff");
}

/* A right checksum does not make a document what it was. */
static void other_hash(struct checkpoint_record *c, struct pending *p, void *arg)
{
    (void)c;
    (void)arg;
    p->version.hash[0] ^= 1;
}

TEST(a_document_under_another_hash_is_found)
{
    struct temp_dir d = temp_dir_make();

    kit_make_store(d.path, 20);
    kit_rewrite(d.path, "many:0010", other_hash, NULL);
    check_found(d.path, "pending: many:0010: the document is not what its hash says");
    ck_assert_uint_eq(check(d.path).findings, 1);
    temp_dir_remove(&d);
}

/* What 0.1.0 let in: clears whose id is not UTF-8, or whose time lies beyond the year 9999. */
TEST(a_version_that_cannot_be_sent_is_named)
{
    struct temp_dir d = temp_dir_make();
    struct outbox *o = kit_outbox(d.path);

    ck_assert_int_eq(do_simple(o, fn_clear, "bad:~"), ERR_OK);
    ck_assert_int_eq(do_simple(o, fn_clear, "good"), ERR_OK);
    outbox_close(o);
    kit_rewrite(d.path, "bad:~", no_utf8, NULL);
    struct store_report r = check(d.path);
    ck_assert_ptr_nonnull(
        strstr(found, "it cannot be sent (document_id is not UTF-8: byte 4 is 0xff)"));
    ck_assert_uint_eq(r.unsendable, 1);
    ck_assert_uint_eq(r.findings, 0);
    temp_dir_remove(&d);
}
