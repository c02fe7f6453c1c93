/*
 * ahead_test.c - pending versions that stand for their checkpoint: after a kill, a stop, and in
 * the tools.
 *
 * A copy of the file of an outbox that is open and at rest is what a kill would leave.
 */

#include "outbox/outbox.h"
#include "store/migrate.h"
#include "store_tools/store_check.h"
#include "store_tools/store_repair.h"

#include "test.h"
#include "store/store_kit.h"
#include "temp_dir.h"

#define LATE_FOLD "as of the second version"

/* What is stored of a document, without the outbox. */
struct stored {
    struct checkpoint_record c;
    struct pending p;
    char fold[64], late_fold[64];
    uint64_t ahead_from;
};

static void keep_text(char *out, size_t size, struct slice s)
{
    snprintf(out, size, "%.*s", SLICE_ARG(s));
}

static struct stored read_stored(const char *dir, const char *id)
{
    struct stored found = {0};
    struct store *s;
    struct fault fault = {0};
    struct slice value, key = slice_str(id);
    struct counters n;
    uint64_t number, no = 0;

    ck_assert_int_eq(store_open(dir, 1 << 28, &s, &fault), ERR_OK);
    ck_assert_int_eq(store_begin(s), ERR_OK);
    ck_assert_int_eq(store_get(s, STORE_META, slice_str("counters"), &value), ERR_OK);
    ck_assert_int_eq(record_get_counters(value, &n, &fault), ERR_OK);
    found.ahead_from = n.ahead_from;
    ck_assert_int_eq(store_get(s, STORE_IDS, key, &value), ERR_OK);
    ck_assert_int_eq(record_get_id(key, value, &number, &fault), ERR_OK);
    ck_assert_int_eq(store_get(s, STORE_CHECKPOINTS, kit_key(&number), &value), ERR_OK);
    ck_assert_int_eq(record_get_checkpoint(kit_key(&number), value, &found.c, &fault), ERR_OK);
    keep_text(found.fold, sizeof found.fold, found.c.cp.fold);
    while (found.p.document != number &&
           store_seek(s, STORE_PENDING, kit_key(&no), true, &key, &value) == ERR_OK) {
        memcpy(&no, key.data, sizeof no);
        ck_assert_int_eq(record_get_pending(key, value, &found.p, &fault), ERR_OK);
    }
    keep_text(found.late_fold, sizeof found.late_fold, found.p.fold);
    store_close(s);
    return found;
}

/* "a" is delivered as of 1, and 2 of it waits. */
static struct outbox *with_two_versions(const char *dir)
{
    struct outbox *o = kit_outbox(dir);
    struct op second = {.fn = fn_put, .id = "a", .seq = 2, .fold = LATE_FOLD};
    struct op first = {.fn = fn_put, .id = "a", .seq = 1, .fold = "early"};

    ck_assert_int_eq(kit_do(o, &first), ERR_OK);
    kit_done(o, "a");
    ck_assert_int_eq(kit_do(o, &second), ERR_OK);
    return o;
}

/* As after a kill. */
static struct temp_dir killed(struct outbox *o, const char *dir)
{
    struct temp_dir copy = temp_dir_make();
    char command[400];

    do_look(o, "a"); /* no round is under way */
    snprintf(command, sizeof command, "cp %s/data.mdb %s/data.mdb", dir, copy.path);
    ck_assert_int_eq(system(command), 0);
    return copy;
}

static uint64_t findings(const char *dir)
{
    struct store_report report;
    struct fault fault = {0};

    ck_assert_int_eq(store_check(dir, NULL, NULL, &report, &fault), ERR_OK);
    return report.findings;
}

TEST(a_further_version_leaves_its_checkpoint_alone)
{
    struct temp_dir dir = temp_dir_make(), copy;
    struct outbox *o = with_two_versions(dir.path);

    copy = killed(o, dir.path);
    struct stored s = read_stored(copy.path, "a");
    ck_assert(!s.c.cp.has_pending && s.c.cp.has_delivered);
    ck_assert_str_eq(s.fold, "early");
    ck_assert_str_eq(s.late_fold, LATE_FOLD);
    ck_assert_uint_eq(s.ahead_from, lane_arrival(s.p.no));

    /* What is kept of it knows of what waits. */
    struct op look = {.fn = fn_look, .id = "a"};
    ck_assert_int_eq(kit_do(o, &look), ERR_OK);
    ck_assert(look.cp.has_pending && look.cp.pending.seq == 2 && look.cp.delivered.seq == 1);
    ck_assert_str_eq(look.fold_found, LATE_FOLD);
    ck_assert(do_put(o, "a", 3, 0).coalesced);
    kit_done(o, "a");
    outbox_close(o);
    s = read_stored(dir.path, "a");
    ck_assert(!s.c.cp.has_pending && s.c.cp.delivered.seq == 3);
    temp_dir_remove(&dir);
    temp_dir_remove(&copy);
}

TEST(a_kill_forgets_nothing_of_it)
{
    struct temp_dir dir = temp_dir_make();
    struct outbox *o = with_two_versions(dir.path);
    struct temp_dir copy = killed(o, dir.path);

    outbox_close(o);
    o = kit_outbox(copy.path);
    struct op look = {.fn = fn_look, .id = "a"};
    ck_assert_int_eq(kit_do(o, &look), ERR_OK);
    ck_assert(look.cp.has_pending && look.cp.pending.seq == 2 && look.cp.delivered.seq == 1);
    ck_assert_str_eq(look.fold_found, LATE_FOLD);
    ck_assert(!do_put(o, "a", 2, 0).write);
    ck_assert_uint_eq(kit_count_pending(o), 1);
    kit_done(o, "a");
    ck_assert_uint_eq(kit_count_pending(o), 0);
    ck_assert_int_eq(do_look(o, "a").delivered.seq, 2);
    outbox_close(o);
    ck_assert_uint_eq(findings(copy.path), 0);
    temp_dir_remove(&dir);
    temp_dir_remove(&copy);
}

TEST(a_stop_leaves_what_an_older_program_knows)
{
    struct temp_dir dir = temp_dir_make();

    outbox_close(with_two_versions(dir.path));
    struct stored s = read_stored(dir.path, "a");
    ck_assert(s.c.cp.has_pending && s.c.cp.pending_no == s.p.no);
    ck_assert_int_eq(s.c.cp.last_projected_us, s.p.version.projected_at_us);
    ck_assert_str_eq(s.fold, LATE_FOLD);
    ck_assert_uint_eq(s.ahead_from, 0);
    temp_dir_remove(&dir);
}

/* A fold is changed without a version: the checkpoint is written, and counts. */
TEST(the_checkpoint_counts_once_it_is_written)
{
    struct temp_dir dir = temp_dir_make();
    struct outbox *o = with_two_versions(dir.path);
    struct op same = {.fn = fn_put, .id = "a", .seq = 2, .fold = "later still"};

    ck_assert_int_eq(kit_do(o, &same), ERR_OK);
    ck_assert(!same.decision.write);
    struct temp_dir copy = killed(o, dir.path);
    outbox_close(o);
    o = kit_outbox(copy.path);
    struct op look = {.fn = fn_look, .id = "a"};
    ck_assert_int_eq(kit_do(o, &look), ERR_OK);
    ck_assert_str_eq(look.fold_found, "later still");
    ck_assert(look.cp.has_pending);
    outbox_close(o);
    temp_dir_remove(&dir);
    temp_dir_remove(&copy);
}

/* So that a start has not far to look. */
TEST(one_that_waits_long_is_named)
{
    struct temp_dir dir = temp_dir_make();
    struct outbox *o;
    struct fault fault = {0};

    ck_assert_int_eq(kit_open(dir.path, 1 << 28, 3, &o, &fault), ERR_OK);
    kit_put_real(o, "a", 1, 10);
    kit_done(o, "a");
    kit_put_real(o, "a", 2, 10);
    for (int i = 0; i < 4; i++) {
        char prefix[8];
        snprintf(prefix, sizeof prefix, "%d:", i);
        struct op many = {.fn = fn_put_many, .id = prefix, .seq = 9999, .json_len = 10};
        ck_assert_int_eq(kit_do(o, &many), ERR_OK);
    }
    struct temp_dir copy = killed(o, dir.path);
    struct stored s = read_stored(copy.path, "a");
    ck_assert(s.c.cp.has_pending && s.c.cp.pending_no == s.p.no);
    ck_assert_uint_eq(s.ahead_from, 0);
    outbox_close(o);
    temp_dir_remove(&dir);
    temp_dir_remove(&copy);
}

/* ---- the tools ------------------------------------------------------------ */

/* "a" as in with_two_versions, of a real document. */
static struct temp_dir killed_real(void)
{
    struct temp_dir dir = temp_dir_make(), copy;
    struct outbox *o = kit_outbox(dir.path);

    kit_put_real(o, "a", 1, 10);
    kit_done(o, "a");
    kit_put_real(o, "a", 2, 10);
    copy = killed(o, dir.path);
    outbox_close(o);
    temp_dir_remove(&dir);
    return copy;
}

TEST(check_finds_nothing_wrong_after_a_kill)
{
    struct temp_dir copy = killed_real();

    ck_assert_uint_eq(findings(copy.path), 0);
    temp_dir_remove(&copy);
}

static char told[4096];

static void tell(void *arg, const char *text)
{
    (void)arg;
    snprintf(told + strlen(told), sizeof told - strlen(told), "%s\n", text);
}

/* A bit of its projection_version flips, in the pending record alone. */
static void damage_pending(const char *dir)
{
    const struct stored s = read_stored(dir, "a");
    const uint64_t no = s.p.no;
    struct store *store;
    struct fault fault = {0};
    struct slice value;
    struct buf copy = {0};

    ck_assert_int_eq(store_open(dir, 1 << 28, &store, &fault), ERR_OK);
    ck_assert_int_eq(store_begin(store), ERR_OK);
    ck_assert_int_eq(store_get(store, STORE_PENDING, kit_key(&no), &value), ERR_OK);
    buf_slice(&copy, value);
    copy.data[copy.len - 8] ^= 0x80;
    ck_assert_int_eq(store_put(store, STORE_PENDING, kit_key(&no), buf_view(&copy)), ERR_OK);
    ck_assert_int_eq(store_commit(store), ERR_OK);
    store_close(store);
    buf_free(&copy);
}

/* Its checkpoint does not name it, and yet everybody says of what document it was. */
TEST(a_damaged_one_is_told_by_its_document)
{
    struct temp_dir copy = killed_real();
    struct store_report report;
    struct fault fault = {0};

    damage_pending(copy.path);
    told[0] = '\0';
    ck_assert_int_eq(store_check(copy.path, tell, NULL, &report, &fault), ERR_OK);
    ck_assert_msg(strstr(told, "checkpoints/a: its pending version, number 2, is damaged") != NULL,
                  "%s", told);
    temp_dir_remove(&copy);
}

TEST(the_document_of_a_damaged_one_is_written_again)
{
    struct temp_dir copy = killed_real();

    damage_pending(copy.path);
    struct outbox *o = kit_outbox(copy.path);
    ck_assert(do_look(o, "a").has_delivered);
    ck_assert(!do_look(o, "a").has_pending);
    kit_put_real(o, "a", 1, 10); /* what is delivered, by what is known */
    ck_assert_uint_eq(kit_count_pending(o), 1);
    outbox_close(o);
    temp_dir_remove(&copy);
}

TEST(a_repair_says_that_a_damaged_one_is_lost)
{
    struct temp_dir copy = killed_real();
    struct salvage_report report;
    struct repair_places places;
    struct fault fault = {0};

    damage_pending(copy.path);
    told[0] = '\0';
    ck_assert_int_eq(store_repair(copy.path, tell, NULL, &report, &places, &fault), ERR_OK);
    ck_assert_uint_eq(report.pending_lost, 1);
    ck_assert_msg(strstr(told, "\"a\": the version not yet delivered is lost") != NULL, "%s", told);
    ck_assert_uint_ne(read_stored(copy.path, "a").c.reset_revision, 0);
    temp_dir_remove(&copy);
}

static void say_nothing(void *arg, const char *text)
{
    (void)arg;
    (void)text;
}

TEST(a_repair_takes_the_fold_along)
{
    struct temp_dir copy = killed_real();
    struct salvage_report report;
    struct repair_places places;
    struct fault fault = {0};

    ck_assert_int_eq(store_repair(copy.path, say_nothing, NULL, &report, &places, &fault), ERR_OK);
    ck_assert_uint_eq(report.pending, 1);
    ck_assert_uint_eq(report.checkpoints_mended, 0);
    struct stored s = read_stored(copy.path, "a");
    ck_assert(s.c.cp.has_pending && s.c.cp.pending_no == s.p.no && s.c.cp.has_delivered);
    ck_assert_str_eq(s.fold, "fold");
    ck_assert_int_eq(s.c.cp.last_projected_us, s.p.version.projected_at_us);
    ck_assert_uint_eq(findings(copy.path), 0);
    temp_dir_remove(&copy);
}

/* Format 1 has no such versions: its checkpoint has what they carry. */
TEST(the_way_back_takes_the_fold_along)
{
    struct temp_dir dir = temp_dir_make();
    struct outbox *o = with_two_versions(dir.path);
    struct temp_dir copy = killed(o, dir.path);
    const struct migrate_wires wires = {0};
    struct migrate_report report;
    struct fault fault = {0};

    outbox_close(o);
    ck_assert_int_eq(migrate(copy.path, 1, &wires, &report, &fault), ERR_OK);
    ck_assert_int_eq(migrate(copy.path, STORE_FORMAT, &wires, &report, &fault), ERR_OK);
    o = kit_outbox(copy.path);
    struct op look = {.fn = fn_look, .id = "a"};
    ck_assert_int_eq(kit_do(o, &look), ERR_OK);
    ck_assert_str_eq(look.fold_found, LATE_FOLD);
    ck_assert(look.cp.has_pending && look.cp.pending.seq == 2 && look.cp.delivered.seq == 1);
    outbox_close(o);
    temp_dir_remove(&dir);
    temp_dir_remove(&copy);
}
