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

static struct checkpoint_record get_checkpoint(struct store *s, const char *id)
{
    struct checkpoint_record c;
    struct slice value;
    struct fault fault;

    ck_assert_int_eq(store_get(s, STORE_CHECKPOINTS, slice_str(id), &value), ERR_OK);
    ck_assert_int_eq(record_get_checkpoint(slice_str(id), value, &c, &fault), ERR_OK);
    return c;
}

/* Change the checkpoint of ${id} by ${change}. */
static void change(const char *dir, const char *id, void (*how)(struct checkpoint_record *))
{
    struct store *s = open_raw(dir);
    struct buf value = {0};
    struct checkpoint_record c = get_checkpoint(s, id);

    how(&c);
    record_put_checkpoint(&value, &c);
    store_abort(s);
    store_close(s);
    put_raw(dir, STORE_CHECKPOINTS, slice_str(id), &value);
}

static void no_pending(struct checkpoint_record *c)
{
    c->cp.has_pending = false;
    c->cp.pending_no = 0;
}

static void other_revision(struct checkpoint_record *c)
{
    c->cp.pending.revision += 1000;
}

static void other_size(struct checkpoint_record *c)
{
    c->pending_bytes++;
}

static void other_number(struct checkpoint_record *c)
{
    c->cp.pending_no += 1000;
}

static void no_letter(struct checkpoint_record *c)
{
    c->cp.is_dead = !c->cp.is_dead;
}

static void too_early(struct checkpoint_record *c)
{
    c->cp.last_projected_us = 1;
}

static void standing_still(struct checkpoint_record *c)
{
    c->cp.delivered.projected_at_us = c->cp.pending.projected_at_us;
}

static void falling(struct checkpoint_record *c)
{
    c->cp.delivered.revision = c->cp.pending.revision;
}

TEST(links_and_invariants_are_checked)
{
    static const struct {
        const char *id;
        void (*how)(struct checkpoint_record *);
        const char *part;
    } cases[] = {
        {"large", no_pending, "no checkpoint names it"},
        {"large", other_revision, "should be pending"},
        {"large", other_revision, "is in use, the next one is"},
        {"large", other_size, "size or time"},
        {"large", other_number, "is not there"},
        {"dead", no_letter, "a letter is there that no checkpoint names"},
        {"done", no_letter, "its dead letter is not there"},
        {"again", too_early, "later than the last one"},
        {"again", standing_still, "projected_at does not rise"},
        {"again", falling, "older than what is delivered"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct temp_dir d = temp_dir_make();
        kit_make_store(d.path, 3);
        change(d.path, cases[i].id, cases[i].how);
        check_found(d.path, cases[i].part);
        temp_dir_remove(&d);
    }
}

TEST(damaged_records_and_counters_are_found)
{
    struct temp_dir d = temp_dir_make();
    struct buf value = {0};
    struct counters c = {1, 1, 0, 0};
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
    put_raw(d.path, STORE_DEAD, slice_str("dead"), &value);
    check_found(d.path, "dead/dead: damaged record");
    buf_str(&value, "noise");
    put_raw(d.path, STORE_CHECKPOINTS, slice_str("done"), &value);
    check_found(d.path, "checkpoints/done: damaged record");
    buf_str(&value, "noise");
    put_raw(d.path, STORE_META, slice_str("format"), &value);
    check_found(d.path, "not a store of the sidecar");
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
    check_found(d.path, "pending: many:0100: the document is not what its hash says");
    ck_assert_uint_eq(check(d.path).findings, 1);
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

/* What 0.1.0 let in: clears whose id is not UTF-8, or whose time lies beyond the year 9999. */
TEST(a_version_that_cannot_be_sent_is_named)
{
    struct temp_dir d = temp_dir_make();
    struct outbox *o = kit_outbox(d.path);

    ck_assert_int_eq(do_simple(o, fn_clear, "bad:~"), ERR_OK);
    ck_assert_int_eq(do_simple(o, fn_clear, "good"), ERR_OK);
    outbox_close(o);
    kit_replace(d.path, slice_str("bad:~"), slice_str("bad:\xff"));
    struct store_report r = check(d.path);
    ck_assert_ptr_nonnull(
        strstr(found, "it cannot be sent (document_id is not UTF-8: byte 4 is 0xff)"));
    ck_assert_uint_eq(r.unsendable, 1);
    ck_assert_uint_eq(r.findings, 0);
    temp_dir_remove(&d);
}
