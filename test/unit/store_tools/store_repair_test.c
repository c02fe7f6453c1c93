/* store_repair_test.c - damage of every kind: what opens, what is refused, what a repair saves. */

#include "store_tools/store_repair.h"
#include "store/format.h"
#include "store/crash_mark.h"
#include "store/record.h"
#include "store/kept_for.h"
#include "store_tools/store_check.h"
#include "store_tools/store_dump.h"

#include "test.h"
#include "ground/fake_log.c"
#include "store/store_kit.h"
#include "temp_dir.h"

#include <sys/resource.h>
#include <sys/wait.h>

static char told[1 << 16];

static void tell_test(void *arg, const char *text)
{
    (void)arg;
    size_t len = strlen(told);
    snprintf(told + len, sizeof told - len, "%s\n", text);
}

/* ---- places --------------------------------------------------------------- */

/* The store of a test, and what a repair puts beside it. */
struct place {
    struct temp_dir d;
    char dir[100];
    struct repair_places places;
    struct salvage_report report;
};

static struct place place_make(int64_t n)
{
    struct place p = {.d = temp_dir_make()};

    snprintf(p.dir, sizeof p.dir, "%s/store", p.d.path);
    kit_make_store(p.dir, n);
    return p;
}

static void remove_store(const char *path)
{
    if (access(path, F_OK) != 0)
        return;
    temp_dir_empty(path);
    ck_assert_int_eq(rmdir(path), 0);
}

static void place_remove(struct place *p)
{
    DIR *dir = opendir(p->d.path);
    char path[400];

    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        if (e->d_name[0] != '.') {
            snprintf(path, sizeof path, "%s/%s", p->d.path, e->d_name);
            remove_store(path);
        }
    closedir(dir);
    temp_dir_remove(&p->d);
}

static enum err try_repair(struct place *p, struct fault *fault)
{
    told[0] = '\0';
    return store_repair(p->dir, tell_test, NULL, &p->report, &p->places, fault);
}

static void repair(struct place *p)
{
    struct fault fault = {0};
    struct store_report r;
    enum err e = try_repair(p, &fault);

    ck_assert_msg(e == ERR_OK, "%s: %s", fault.path, fault.why);
    ck_assert_int_eq(store_check(p->dir, tell_test, NULL, &r, &fault), ERR_OK);
    ck_assert_msg(r.findings == 0, "%s", told);
    ck_assert_uint_eq(r.pending, p->report.pending);
    ck_assert_uint_eq(r.checkpoints, p->report.checkpoints);
    ck_assert_uint_eq(r.dead, p->report.dead);
}

/* The old store takes its place again. */
static void put_back(const struct place *p)
{
    char old[200], data[200];

    snprintf(old, sizeof old, "%s/%s", p->dir, p->places.broken);
    snprintf(data, sizeof data, "%s/data.mdb", p->dir);
    ck_assert_int_eq(rename(old, data), 0);
}

/* The repaired store takes documents and gives what it has. */
static size_t pending_when_opened(const struct place *p)
{
    struct outbox *o = NULL;
    struct fault fault = {0};
    enum err e = kit_open(p->dir, 1 << 28, 100, &o, &fault);

    ck_assert_msg(e == ERR_OK, "%s: %s", fault.path, fault.why);
    size_t n = kit_count_pending(o);
    kit_put_real(o, "after the repair", 1, 10);
    ck_assert_uint_eq(kit_count_pending(o), n + 1);
    outbox_close(o);
    return n;
}

/* ---- pages of a kind ------------------------------------------------------ */

/* Every page of the file that is a leaf (2) or branch (1) and has ${text} in it; the newest. */
static uint64_t page_with(const char *dir, unsigned kind, const char *text)
{
    uint8_t page[KIT_PAGE];

    for (uint64_t no = kit_pages(dir); no-- > 2;) {
        kit_read_page(dir, no, page);
        if (page[10] == kind && page[11] == 0 &&
            memmem(page, sizeof page, text, strlen(text)) != NULL)
            return no;
    }
    ck_abort_msg("no page with %s", text);
}

static void zero_page(const char *dir, uint64_t no)
{
    static const uint8_t zeros[KIT_PAGE];

    kit_write(dir, no * KIT_PAGE, zeros, sizeof zeros);
}

/* ---- repair --------------------------------------------------------------- */

TEST(a_damaged_page_costs_its_records_and_nothing_else)
{
    struct place p = place_make(1000);
    struct fault fault = {0};

    zero_page(p.dir, page_with(p.dir, 2, "{\"id\":\"many:0500\""));
    repair(&p);
    ck_assert_uint_ge(p.report.pending, 1003 - 12);
    ck_assert_uint_eq(p.report.pending + p.report.pending_lost, 1003);
    ck_assert_uint_eq(p.report.checkpoints, 1006);
    ck_assert_ptr_nonnull(strstr(told, "\"many:0500\": the version not yet delivered is lost"));
    ck_assert_uint_eq(pending_when_opened(&p), p.report.pending);
    put_back(&p); /* as it was: not sound */
    struct store_report r;
    ck_assert_int_eq(store_check(p.dir, NULL, NULL, &r, &fault), ERR_OK);
    ck_assert_uint_gt(r.findings, 0);
    place_remove(&p);
}

TEST(a_damaged_branch_costs_nothing)
{
    struct place p = place_make(1000);

    /* Branch keys of pending are numbers: take those of the root that no checkpoint id is in. */
    uint8_t page[KIT_PAGE];
    unsigned branches = 0;
    for (uint64_t no = kit_pages(p.dir); no-- > 2;) {
        kit_read_page(p.dir, no, page);
        if (page[10] != 1 || page[11] != 0)
            continue;
        branches++;
        zero_page(p.dir, no);
    }
    ck_assert_uint_ge(branches, 2); /* of pending and of checkpoints */
    repair(&p);
    ck_assert_uint_eq(p.report.pending, 1003);
    ck_assert_uint_eq(p.report.checkpoints, 1006);
    ck_assert_uint_eq(p.report.dead, 1);
    ck_assert_uint_eq(p.report.pending_lost, 0);
    ck_assert_uint_eq(pending_when_opened(&p), 1003);
    place_remove(&p);
}

/* The version pending for ${id}; 0: none. */
static int64_t pending_seq(struct outbox *o, const char *id, enum outbox_op *op)
{
    struct settlement *s = kit_send(o, id);
    int64_t seq = s != NULL ? s->sent.seq : 0;

    *op = s != NULL ? s->sent.op : OUTBOX_UPSERT;
    settlement_free(s);
    return seq;
}

/* Without branches and without the list of free pages, pages of the past look like lost ones. */
TEST(what_is_outdated_stays_so)
{
    struct place p = place_make(1000);
    struct outbox *o = NULL;
    struct fault fault = {0};
    uint8_t page[KIT_PAGE], meta[2][KIT_PAGE];
    enum outbox_op op;
    uint64_t root;

    kit_read_page(p.dir, 0, meta[0]);
    kit_read_page(p.dir, 1, meta[1]);
    unsigned newer = memcmp(meta[0] + 16 + 128, meta[1] + 16 + 128, 1) > 0 ? 0 : 1;
    memcpy(&root, meta[newer] + 16 + 24 + 40, sizeof root); /* MDB_meta, dbs[0].md_root */
    for (uint64_t no = kit_pages(p.dir); no-- > 2;) {
        kit_read_page(p.dir, no, page);
        if (page[10] == 1 && page[11] == 0)
            zero_page(p.dir, no);
    }
    zero_page(p.dir, root);
    repair(&p);
    ck_assert_uint_eq(p.report.pending, 1003);
    ck_assert_uint_eq(p.report.dead, 1);
    ck_assert_int_eq(kit_open(p.dir, 1 << 28, 100, &o, &fault), ERR_OK);
    ck_assert_int_eq(pending_seq(o, "done", &op), 0);
    ck_assert_int_eq(pending_seq(o, "dead", &op), 0);
    ck_assert_int_eq(pending_seq(o, "gone", &op), 0);
    ck_assert_int_eq(pending_seq(o, "again", &op), 2);
    ck_assert_int_eq(pending_seq(o, "cleared", &op), 0);
    ck_assert_int_eq(op, OUTBOX_REMOVE);
    ck_assert(do_look(o, "done").has_delivered);
    ck_assert(!do_look(o, "gone").has_delivered);
    outbox_close(o);
    place_remove(&p);
}

TEST(a_damaged_checkpoint_page_keeps_every_pending_version)
{
    struct place p = place_make(1000);
    uint8_t page[KIT_PAGE];
    unsigned zeroed = 0;

    /* Leaves of checkpoints have ids but no documents. */
    for (uint64_t no = kit_pages(p.dir); no-- > 2;) {
        kit_read_page(p.dir, no, page);
        if (page[10] == 2 && page[11] == 0 && memmem(page, KIT_PAGE, "many:", 5) &&
            !memmem(page, KIT_PAGE, "{\"id\"", 5)) {
            zero_page(p.dir, no);
            zeroed++;
        }
    }
    ck_assert_uint_gt(zeroed, 10);
    repair(&p);
    ck_assert_uint_eq(p.report.pending, 1003);
    ck_assert_uint_ge(p.report.checkpoints_made, 1000);
    ck_assert_uint_eq(pending_when_opened(&p), 1003);
    place_remove(&p);
}

TEST(a_damaged_document_is_quarantined_with_its_bytes)
{
    struct place p = place_make(100);
    char text[1 << 14];
    uint8_t page[KIT_PAGE];
    uint64_t no = page_with(p.dir, 2, "{\"id\":\"many:0050\"");

    kit_read_page(p.dir, no, page);
    uint8_t *at = memmem(page, sizeof page, "{\"id\":\"many:0050\"", 17);
    kit_write(p.dir, no * KIT_PAGE + (uint64_t)(at - page) + 20, "\xff", 1);
    repair(&p);
    ck_assert_uint_eq(p.report.pending, 102);
    ck_assert_uint_eq(p.report.quarantined, 1);
    ck_assert_ptr_nonnull(strstr(told, "many:0050"));
    char path[200];
    snprintf(path, sizeof path, "%s/%s", p.dir, p.places.quarantine);
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    size_t n = fread(text, 1, sizeof text - 1, f);
    text[n] = '\0';
    fclose(f);
    ck_assert_ptr_nonnull(strstr(text, "its checksum is another one"));
    ck_assert_ptr_nonnull(strstr(text, "\"bytes\":{\"$bytes\":\"m"));
    ck_assert_uint_eq(pending_when_opened(&p), 102);
    place_remove(&p);
}

TEST(a_repair_without_room_leaves_all_as_it_was)
{
    struct place p = place_make(1000);
    struct fault fault = {0};
    struct store_report before, after;
    char fresh[200];

    zero_page(p.dir, page_with(p.dir, 2, "{\"id\":\"many:0500\""));
    ck_assert_int_eq(store_check(p.dir, NULL, NULL, &before, &fault), ERR_OK);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit old, tight = {65536, 65536};
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    tight.rlim_max = old.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &tight), 0);
    enum err e = try_repair(&p, &fault);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    ck_assert_int_eq(e, ERR_STORE);
    ck_assert_str_eq(fault.path, p.dir); /* it says where */
    snprintf(fresh, sizeof fresh, "%s/data.mdb.new", p.dir);
    ck_assert_int_ne(access(fresh, F_OK), 0);
    ck_assert_int_eq(store_check(p.dir, NULL, NULL, &after, &fault), ERR_OK);
    ck_assert_mem_eq(&before, &after, sizeof before);
    repair(&p);
    place_remove(&p);
}

TEST(an_interrupted_repair_is_cleared_and_a_mark_goes_with_its_reason)
{
    struct place p = place_make(10);
    char path[200], why[64];

    kit_write(p.dir, 0, "x", 1); /* the first meta page */
    snprintf(path, sizeof path, "%s/data.mdb.new", p.dir);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/data.mdb.new/data.mdb", p.dir);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    ck_assert_int_ge(fd, 0);
    close(fd);
    crash_mark_leave(p.dir, "SIGBUS");
    ck_assert_int_eq(crash_mark_read(p.dir, why), CRASH_MARKED);
    ck_assert_str_eq(why, "SIGBUS");
    repair(&p);
    ck_assert_int_eq(crash_mark_read(p.dir, why), CRASH_NONE);
    ck_assert_uint_eq(pending_when_opened(&p), 13);
    place_remove(&p);
}

/* The destination of ${p}; its texts are good until the next. */
static struct destination destination_of(const struct place *p)
{
    static struct buf value;
    struct fault fault = {0};
    struct destination d;
    struct store *s;
    bool is_sound;

    ck_assert_int_eq(store_open(p->dir, 1 << 24, &s, &fault), ERR_OK);
    ck_assert_int_eq(store_begin(s), ERR_OK);
    ck_assert_int_eq(format_destination(s, &value, &d, &is_sound), ERR_OK);
    ck_assert(is_sound);
    store_close(s);
    return d;
}

static void put_destination(const struct place *p, const struct destination *d)
{
    struct fault fault = {0};
    struct store *s;

    ck_assert_int_eq(store_open(p->dir, 1 << 24, &s, &fault), ERR_OK);
    ck_assert_int_eq(store_begin(s), ERR_OK);
    ck_assert_int_eq(format_put_destination(s, d), ERR_OK);
    ck_assert_int_eq(store_commit(s), ERR_OK);
    store_close(s);
}

TEST(where_documents_went_survives_a_repair)
{
    struct place p = place_make(20);
    struct fault fault = {0};
    struct store_report r;
    uint64_t damaged = 1;
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    struct destination d = destination_of(&p), after;
    uint8_t store_id[16];

    memcpy(store_id, d.store_id, sizeof store_id);
    d.sink = slice_str("file");
    d.mark = d.mark_wanted = 9;
    put_destination(&p, &d);
    ck_assert_int_eq(store_check(p.dir, NULL, NULL, &r, &fault), ERR_OK);
    ck_assert_uint_eq(r.findings, 0);
    ck_assert_int_eq(store_dump(p.dir, f, &damaged, &fault), ERR_OK);
    fclose(f);
    ck_assert_ptr_nonnull(strstr(text, "{\"table\":\"meta\",\"sink\":\"file\",\"address\":\"\""));
    free(text);
    zero_page(p.dir, page_with(p.dir, 2, "{\"id\":\"many:0010\""));
    repair(&p);
    after = destination_of(&p);
    ck_assert_slice(after.sink, "file");
    ck_assert_mem_eq(after.store_id, store_id, sizeof store_id);
    ck_assert_uint_eq(after.mark, 9);
    place_remove(&p);

    p = place_make(20);
    d = destination_of(&p);
    d.sink = slice_str("fi\x01e");
    put_destination(&p, &d);
    told[0] = '\0';
    ck_assert_int_eq(store_check(p.dir, tell_test, NULL, &r, &fault), ERR_OK);
    ck_assert_ptr_nonnull(strstr(told, "meta/destination: no sink has this name"));
    repair(&p);
    ck_assert_slice(destination_of(&p).sink, "http");
    place_remove(&p);
}

/* A store of a newer sidecar has tables and keys of its own: that is no damage, and no repair may
 * touch it. */
TEST(a_newer_store_is_named_before_anything_is_called_damage)
{
    struct place p = place_make(5);
    struct fault fault = {0};
    struct store *s;
    struct store_report r;

    ck_assert_int_eq(store_open(p.dir, 1 << 24, &s, &fault), ERR_OK);
    ck_assert_int_eq(store_begin(s), ERR_OK);
    ck_assert_int_eq(
        store_put(s, STORE_META, slice_str("format"), slice_str("convex-sidecar outbox 3")),
        ERR_OK);
    ck_assert_int_eq(store_commit(s), ERR_OK);
    store_close(s);
    kit_replace(p.dir, slice_str("pending"), slice_str("pendinG"));
    for (int i = 0; i < 3; i++) {
        told[0] = fault.why[0] = '\0';
        enum err e = i == 0   ? store_open(p.dir, 1 << 24, &s, &fault)
                     : i == 1 ? store_check(p.dir, tell_test, NULL, &r, &fault)
                              : try_repair(&p, &fault);
        ck_assert_int_eq(e, ERR_STORE);
        ck_assert_str_eq(told, "");
        ck_assert_ptr_nonnull(
            strstr(fault.why, "format 3 is of a newer sidecar; this one knows up"));
        ck_assert_ptr_nonnull(strstr(fault.why, "store migrate --to"));
    }
    place_remove(&p);
}

/* ---- dump ----------------------------------------------------------------- */

TEST(a_dump_has_a_line_for_each_record)
{
    struct place p = place_make(20);
    struct fault fault = {0};
    uint64_t damaged = 1;
    char *text = NULL;
    size_t len = 0, lines = 0;
    FILE *f = open_memstream(&text, &len);

    ck_assert_int_eq(store_dump(p.dir, f, &damaged, &fault), ERR_OK);
    fclose(f);
    ck_assert_uint_eq(damaged, 0);
    for (size_t i = 0; i < len; i++)
        lines += text[i] == '\n';
    ck_assert_uint_eq(lines, 3 + 23 + 1 + 26 + 26);
    ck_assert_ptr_nonnull(strstr(text, "{\"table\":\"meta\",\"format\":2}\n"));
    ck_assert_ptr_nonnull(
        strstr(text, "\"id\":\"large\",\"kind\":\"run_summary\",\"kept_at\":\"20"));
    ck_assert_ptr_nonnull(strstr(text, "\"document\":{\"id\":\"large\""));
    ck_assert_ptr_nonnull(strstr(text, "\"why\":\"no such field\",\"answer\":\"the answer\""));
    ck_assert_ptr_nonnull(strstr(text, "\"op\":\"remove\""));
    free(text);

    zero_page(p.dir, page_with(p.dir, 2, "{\"id\":\"many:0010\""));
    f = open_memstream(&text, &len);
    ck_assert_int_eq(store_dump(p.dir, f, &damaged, &fault), ERR_OK);
    fclose(f);
    ck_assert_uint_gt(damaged, 0);
    ck_assert_ptr_nonnull(strstr(text, "{\"damaged\":\"pending: page "));
    free(text);
    place_remove(&p);
}

/* ---- any damage ----------------------------------------------------------- */

static uint64_t random_state;

static uint64_t pick(uint64_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % n;
}

/* Bits, runs of bytes, a page of zeros, a page in the place of another, a cut. */
static void damage(const char *dir)
{
    uint64_t pages = kit_pages(dir), bytes = pages * KIT_PAGE;
    uint8_t page[KIT_PAGE], byte;

    switch (pick(6)) {
    case 0:
        for (uint64_t i = 0; i < 1 + pick(20); i++) {
            byte = (uint8_t)pick(256);
            kit_write(dir, pick(bytes), &byte, 1);
        }
        break;
    case 1: /* where the trees are told */
        byte = (uint8_t)pick(256);
        kit_write(dir, pick(2) * KIT_PAGE + 16 + pick(136), &byte, 1);
        break;
    case 2: /* heads of pages */
        for (uint64_t i = 0; i < 1 + pick(3); i++) {
            byte = (uint8_t)pick(256);
            kit_write(dir, pick(pages) * KIT_PAGE + pick(64), &byte, 1);
        }
        break;
    case 3:
        zero_page(dir, pick(pages));
        break;
    case 4:
        kit_read_page(dir, pick(pages), page);
        kit_write(dir, pick(pages) * KIT_PAGE, page, sizeof page);
        break;
    default: {
        int fd = kit_open_file(dir);
        ck_assert_int_eq(ftruncate(fd, (off_t)pick(bytes)), 0);
        close(fd);
    }
    }
}

enum opened { OPENED, REFUSED, CRASHED };

/* In a process of its own: open as the sidecar does, read all, keep something. */
static enum opened open_and_walk(const char *dir)
{
    pid_t pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct outbox *o = NULL;
        struct fault fault = {0};
        struct op op = {.fn = fn_put_real, .id = "one more", .seq = 1, .json_len = 100};
        alarm(20); /* a walk in a circle is a crash, too */
        crash_mark_begin(dir);
        if (freopen("/dev/null", "w", stderr) == NULL || kit_open(dir, 1 << 28, 100, &o, &fault))
            _exit(fault.why[0] != '\0' ? REFUSED : CRASHED);
        kit_count_pending(o);
        enum err e = kit_do(o, &op);
        if (e != ERR_OK)
            _exit(REFUSED);
        e = do_simple(o, fn_look, "done");
        outbox_close(o);
        _exit(e == ERR_STORE ? REFUSED : OPENED);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return !WIFEXITED(status) || WEXITSTATUS(status) > REFUSED ? CRASHED
                                                               : (enum opened)WEXITSTATUS(status);
}

/* A crash leaves its mark, and what the next start makes of the store is served. */
static void rescue(struct place *q)
{
    struct fault fault = {0};
    struct store_report r;

    if (store_check(q->dir, NULL, NULL, &r, &fault) != ERR_OK)
        return; /* nothing can be read at all */
    ck_assert_int_eq(store_repair(q->dir, tell_test, NULL, &q->report, &q->places, &fault), ERR_OK);
    ck_assert_int_eq(open_and_walk(q->dir), OPENED);
}

#define ROUNDS 200

TEST(any_damage_is_found_served_or_marked_and_can_be_repaired)
{
    struct place p = place_make(150);
    char copy[90];
    unsigned counts[3] = {0}, repaired = 0, sound = 0;
    uint64_t first = getenv("SEED") != NULL ? strtoull(getenv("SEED"), NULL, 10) : 1;

    snprintf(copy, sizeof copy, "%s/copy", p.d.path);
    for (uint64_t seed = first; seed < first + ROUNDS; seed++) {
        struct place q = {.d = p.d};
        struct fault fault = {0};
        struct store_report r;

        random_state = seed * 0x9e3779b97f4a7c15u;
        kit_copy_store(p.dir, copy);
        snprintf(q.dir, sizeof q.dir, "%s", copy);
        damage(copy);
        enum err e = store_check(copy, NULL, NULL, &r, &fault);
        bool is_sound = e == ERR_OK && r.findings == 0;
        sound += is_sound;
        if (e == ERR_OK && !is_sound) {
            fault = (struct fault){0};
            told[0] = '\0';
            e = store_repair(copy, tell_test, NULL, &q.report, &q.places, &fault);
            ck_assert_msg(e == ERR_OK, "seed %llu: %s: %s", (unsigned long long)seed, fault.path,
                          fault.why);
            put_back(&q);
            repaired++;
        }
        enum opened outcome = open_and_walk(copy);
        char why[64];
        counts[outcome]++;
        ck_assert_msg(!is_sound || outcome == OPENED, "seed %llu is no sound store",
                      (unsigned long long)seed);
        bool is_marked = crash_mark_read(copy, why) == CRASH_MARKED;
        ck_assert_msg(is_marked || outcome != CRASHED, "seed %llu leaves no mark",
                      (unsigned long long)seed);
        if (is_marked || outcome != OPENED)
            rescue(&q);
        remove_store(copy);
    }
    /* The damage is neither trifling nor total. */
    ck_assert_uint_gt(counts[REFUSED] + counts[CRASHED], ROUNDS / 20);
    ck_assert_uint_gt(counts[OPENED], ROUNDS / 10);
    ck_assert_uint_gt(repaired, ROUNDS / 4);
    if (getenv("VERBOSE") != NULL)
        printf("opened %u, refused %u, crashed %u; repaired %u, sound %u\n", counts[OPENED],
               counts[REFUSED], counts[CRASHED], repaired, sound);
    place_remove(&p);
}
