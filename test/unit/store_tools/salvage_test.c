/* salvage_test.c - records made by hand, and the whole store that a repair makes of them. */

#include "store_tools/salvage.h"

#include "test.h"
#include "ground/fake_log.c"
#include "projection/rehash.h"
#include "store/store_kit.h"
#include "store_tools/store_dump.h"
#include "store_tools/store_repair.h"
#include "temp_dir.h"

/* 2026-11-29T01:02:00.000000Z, and seconds after it. */
#define AT 1795914120000000
#define S  1000000

static char told[8192];
static struct salvage_report report;
static struct repair_places places;

static void note(void *arg, const char *text)
{
    (void)arg;
    snprintf(told + strlen(told), sizeof told - strlen(told), "%s\n", text);
}

/* ---- records by hand -------------------------------------------------------- */

static struct store *store_of(const char *dir)
{
    struct store *s = NULL;
    struct fault fault = {0};

    outbox_close(kit_outbox(dir));
    ck_assert_int_eq(store_open(dir, 1 << 24, &s, &fault), ERR_OK);
    ck_assert_int_eq(store_begin(s), ERR_OK);
    return s;
}

static void end(struct store *s)
{
    ck_assert_int_eq(store_commit(s), ERR_OK);
    store_close(s);
}

static void put(struct store *s, enum store_table t, struct slice key, struct buf *value)
{
    ck_assert_int_eq(store_put(s, t, key, buf_view(value)), ERR_OK);
    buf_free(value);
}

static void put_noise(struct store *s, enum store_table t, uint64_t no)
{
    struct buf b = {0};

    buf_str(&b, "noise");
    put(s, t, kit_key(&no), &b);
}

static struct outbox_version version_of(uint64_t revision, int64_t second, const char *json)
{
    struct outbox_version v = {.op = json ? OUTBOX_UPSERT : OUTBOX_REMOVE,
                               .seq = (int64_t)revision,
                               .projected_at_us = AT + second * S,
                               .revision = revision,
                               .version = slice_str("v")};

    if (json)
        ck_assert(rehash_json(slice_str(json), v.hash));
    return v;
}

/* A pending version of ${json}; NULL: a removal. */
static void put_pending(struct store *s, uint64_t no, uint64_t document, const char *id,
                        struct outbox_version v, const char *json)
{
    struct buf b = {0};
    struct pending p = {.no = no,
                        .document = document,
                        .id = slice_str(id),
                        .kind = slice_str("k"),
                        .json = slice_str(json ? json : ""),
                        .version = v,
                        .kept_at_us = AT};

    record_put_pending(&b, &p);
    put(s, STORE_PENDING, kit_key(&no), &b);
}

static void put_dead(struct store *s, uint64_t document, const char *id, struct outbox_version v,
                     const char *json)
{
    struct buf b = {0};
    struct dead_letter d = {.document = document,
                            .id = slice_str(id),
                            .kind = slice_str("k"),
                            .json = slice_str(json),
                            .version = v,
                            .why = slice_str("refused"),
                            .died_at_us = AT,
                            .attempts = 1};

    record_put_dead(&b, &d);
    put(s, STORE_DEAD, kit_key(&document), &b);
}

static void put_checkpoint(struct store *s, const char *id, struct checkpoint_record c)
{
    struct buf b = {0};
    uint64_t document = c.cp.document;

    c.id = slice_str(id);
    c.cp.kind = slice_str("k");
    c.cp.has_pending = c.cp.pending_no != 0;
    record_put_checkpoint(&b, &c);
    put(s, STORE_CHECKPOINTS, kit_key(&document), &b);
    record_put_id(&b, slice_str(id), document);
    put(s, STORE_IDS, slice_str(id), &b);
}

static void put_counters(struct store *s, uint64_t next)
{
    struct buf b = {0};
    struct counters c = {.next_no = next,
                         .next_document = next,
                         .next_revision = next,
                         .next_quarantine = next,
                         .tail = slice_str("")};

    record_put_counters(&b, &c);
    put(s, STORE_META, slice_str("counters"), &b);
}

/* ---- what comes of it ------------------------------------------------------- */

/* The dump of the repaired store, its lines in short words. */
static char *repaired(const char *dir)
{
    static char out[1 << 20];
    struct fault fault = {0};
    uint64_t damaged = 99;
    char *text = NULL;
    size_t len = 0, n = 0;

    told[0] = '\0';
    enum err e = store_repair(dir, note, NULL, &report, &places, &fault);
    ck_assert_msg(e == ERR_OK, "%s: %s", fault.path, fault.why);
    FILE *f = open_memstream(&text, &len);
    ck_assert_int_eq(store_dump(dir, f, &damaged, &fault), ERR_OK);
    fclose(f);
    ck_assert_uint_eq(damaged, 0);
    static const char *const words[][2] = {
        {"{\"table\":\"", ""},
        {"\"projection_hash\":\"", NULL},
        {"\"2026-11-29T01:02:", "T"},
        {".000000Z\"", ""},
        {"\"projection_version\":\"v\"", "v"},
        {"\"event_count\":0,", ""},
        {"\"reset\":false,", ""},
        {"\"kind\":\"k\",", ""},
        {"\"store_id\":\"", NULL},
        {"\"attempts\":1,\"tries\":0,\"why\":\"refused\",\"answer\":\"\",", ""},
        {"\"lane\":\"bulk\",\"origin\":\"live\",", ""},
        {"\"next_try_at\":null,", ""},
        {",\"fold\":{\"$bytes\":\"\"}", ""}};
    for (const char *at = text; *at != '\0';) {
        size_t i = 0, many = sizeof words / sizeof *words;
        for (; i < many && strncmp(at, words[i][0], strlen(words[i][0])) != 0; i++)
            ;
        if (i == many) {
            if (*at != '"')
                out[n++] = *at;
            at++;
        } else {
            at += strlen(words[i][0]);
            if (words[i][1] == NULL)
                at += strcspn(at, ",") + 1;
            else
                n += (size_t)sprintf(out + n, "%s", words[i][1]);
        }
    }
    out[n] = '\0';
    free(text);
    return out;
}

/* The whole dump, what was told, and the report's numbers in their order. */
static void becomes(const char *dir, const char *dump, const char *says, const char *numbers)
{
    char got[100];

    ck_assert_str_eq(repaired(dir), dump);
    ck_assert_str_eq(told, says);
    snprintf(got, sizeof got, "%d %d %d, %d lost %d overtaken, %d made %d mended, %d quarantined",
             (int)report.pending, (int)report.dead, (int)report.checkpoints,
             (int)report.pending_lost, (int)report.pending_overtaken, (int)report.checkpoints_made,
             (int)report.checkpoints_mended, (int)report.quarantined);
    ck_assert_str_eq(got, numbers);
}

static char *quarantine(const char *dir)
{
    static char text[8192];
    char path[300];

    snprintf(path, sizeof path, "%s/%s", dir, places.quarantine);
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = '\0';
    if (f)
        fclose(f);
    return text;
}

TEST(what_is_sound_stays)
{
    struct temp_dir d = temp_dir_make();
    struct store *s = store_of(d.path);
    struct buf b = {0};
    uint64_t three = 3;

    put_counters(s, 50);
    record_put_destination(&b, &(struct destination){.sink = slice_str("odd"),
                                                     .address = slice_str("a"),
                                                     .deployment = slice_str("d"),
                                                     .mark = 1,
                                                     .mark_wanted = 2,
                                                     .functions = 2});
    put(s, STORE_META, slice_str("destination"), &b);
    record_put_doubt(&b,
                     &(struct doubt){.from = 1, .to = 2, .since_us = AT, .why = slice_str("w")});
    put(s, STORE_META, slice_str("doubt"), &b);
    record_put_quarantined(&b, &(struct quarantined){.no = 3,
                                                     .table = STORE_DEAD,
                                                     .key = kit_key(&three),
                                                     .value = slice_str("noise"),
                                                     .why = slice_str("w"),
                                                     .at_us = AT});
    put(s, STORE_QUARANTINE, kit_key(&three), &b);
    put_pending(s, 7, 1, "a:1", version_of(5, 5, "{\"x\":1}"), "{\"x\":1}");
    put_checkpoint(s, "a:1",
                   (struct checkpoint_record){.cp = {.document = 1,
                                                     .pending_no = 7,
                                                     .has_delivered = true,
                                                     .delivered = version_of(4, 4, "{\"x\":0}"),
                                                     .delivered_mark = 9,
                                                     .fold = slice_str("abc"),
                                                     .last_projected_us = AT + 5 * S}});
    put_dead(s, 2, "a:2", version_of(6, 6, "{\"x\":2}"), "{\"x\":2}");
    put_checkpoint(s, "a:2",
                   (struct checkpoint_record){
                       .cp = {.document = 2, .is_dead = true, .last_projected_us = AT + 6 * S}});
    end(s);
    becomes(
        d.path,
        "meta,next_no:50,next_revision:50,next_document:3,next_quarantine:50,pending_bytes:7,dead_"
        "bytes:7}\n"
        "meta,sink:odd,address:a,deployment:d,mark:1,mark_wanted:2,functions:2,raised_at:null}\n"
        "meta,doubt_from:1,doubt_to:2,swept:false,since:T00,why:w}\n"
        "meta,format:2}\n"
        "pending,no:7,number:1,id:a:1,kept_at:T00,version:{op:upsert,seq:5,projected_at:T05,"
        "revision:5,v},document:{x:1}}\n"
        "dead,number:2,id:a:2,died_at:T00,version:{op:upsert,seq:6,projected_at:T06,revision:6,v},"
        "document:{x:2}}\n"
        "checkpoints,number:1,id:a:1,last_projected_at:T05,reset_revision:0,dead:false,pending_no:"
        "7,delivered:{op:upsert,seq:4,projected_at:T04,revision:4,v},mark:9,fold:{$bytes:YWJj}}\n"
        "checkpoints,number:2,id:a:2,last_projected_at:T06,reset_revision:0,dead:true,pending_no:0,"
        "delivered:null}\n"
        "ids,id:a:1,document:1}\n"
        "ids,id:a:2,document:2}\n"
        "quarantine,number:3,record:dead/3,why:w,at:T00,bytes:{$bytes:bm9pc2U=}}\n",
        "", "1 1 2, 0 lost 0 overtaken, 0 made 0 mended, 0 quarantined");
    /* Nothing was quarantined: no file of it is left. */
    ck_assert_str_eq(places.quarantine, "");
    DIR *dir = opendir(d.path);
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        ck_assert_msg(strncmp(e->d_name, "quarantine", 10) != 0, "%s", e->d_name);
    closedir(dir);
    temp_dir_remove(&d);
}

TEST(what_is_damaged_is_quarantined_with_its_bytes)
{
    struct temp_dir d = temp_dir_make();
    struct store *s = store_of(d.path);
    static const char *const metas[] = {"counters", "destination", "doubt"};

    for (size_t i = 0; i < 3; i++) {
        struct buf b = {0};
        buf_str(&b, "noise");
        put(s, STORE_META, slice_str(metas[i]), &b);
    }
    put_noise(s, STORE_PENDING, 1);
    put_noise(s, STORE_CHECKPOINTS, 2);
    put_noise(s, STORE_DEAD, 3);
    put_noise(s, STORE_QUARANTINE, 4);
    put_pending(s, 7, 1, "a:1", version_of(5, 5, "{\"x\":1}"), "{\"x\":2}");
    put_dead(s, 2, "a:2", version_of(6, 6, "{\"x\":2}"), "{\"x\":1}");
    end(s);
    becomes(d.path,
            "meta,next_no:8,next_revision:7,next_document:1,next_quarantine:1,pending_bytes:0,dead_"
            "bytes:0}\n"
            "meta,sink:http,address:,deployment:,mark:0,mark_wanted:0,functions:0,raised_at:null}\n"
            "meta,format:2}\n",
            "", "0 0 0, 0 lost 0 overtaken, 0 made 0 mended, 9 quarantined");
    static const char *const lines[] = {
        "{\"table\":\"meta\",\"damaged\":\"damaged record: its checksum is another "
        "one\",\"key\":\"counters\",\"bytes\":{\"$bytes\":\"bm9pc2U=\"}}\n",
        ",\"key\":\"destination\",\"bytes\":{\"$bytes\":\"bm9pc2U=\"}}\n",
        ",\"key\":\"doubt\",\"bytes\":{\"$bytes\":\"bm9pc2U=\"}}\n",
        "{\"table\":\"quarantine\",\"damaged\":\"damaged record: its checksum is another "
        "one\",\"key\":\"\\u0004\\u0000",
        "{\"table\":\"pending\",\"damaged\":\"damaged record: its checksum is another "
        "one\",\"key\":\"\\u0001\\u0000",
        "{\"table\":\"pending\",\"damaged\":\"the document is not what its hash "
        "says\",\"key\":\"a:1\",",
        "{\"table\":\"checkpoints\",\"damaged\":\"damaged record: its checksum is another "
        "one\",\"key\":\"\\u0002\\u0000",
        "{\"table\":\"dead\",\"damaged\":\"the document is not what its hash "
        "says\",\"key\":\"a:2\",",
        "{\"table\":\"dead\",\"damaged\":\"damaged record: its checksum is another "
        "one\",\"key\":\"\\u0003\\u0000"};
    const char *text = quarantine(d.path);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        ck_assert_msg(strstr(text, lines[i]) != NULL, "%s is not in %s", lines[i], text);
    int count = 0;
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++)
        count++;
    ck_assert_int_eq(count, 9);
    temp_dir_remove(&d);
}

TEST(what_names_what_is_put_right)
{
    struct temp_dir d = temp_dir_make();
    struct store *s = store_of(d.path);

    put_counters(s, 10);
    /* two versions of one document: the newer stays, whichever comes first */
    put_pending(s, 20, 1, "a:1", version_of(21, 21, "{\"x\":1}"), "{\"x\":1}");
    put_pending(s, 22, 1, "a:1", version_of(20, 20, "{\"x\":2}"), "{\"x\":2}");
    put_pending(s, 23, 2, "a:2", version_of(23, 23, "{\"x\":1}"), "{\"x\":1}");
    put_pending(s, 24, 2, "a:2", version_of(24, 24, NULL), NULL);
    /* one without a checkpoint, one that was confirmed already */
    put_checkpoint(s, "a:1",
                   (struct checkpoint_record){
                       .cp = {.document = 1, .pending_no = 20, .last_projected_us = AT + 21 * S}});
    put_pending(s, 25, 4, "a:4", version_of(25, 25, "{\"x\":4}"), "{\"x\":4}");
    put_checkpoint(s, "a:4",
                   (struct checkpoint_record){.cp = {.document = 4,
                                                     .has_delivered = true,
                                                     .delivered = version_of(25, 25, "{\"x\":4}"),
                                                     .last_projected_us = AT + 25 * S}});
    /* what is named and is not there */
    put_checkpoint(s, "a:5",
                   (struct checkpoint_record){.cp = {.document = 5,
                                                     .pending_no = 30,
                                                     .has_delivered = true,
                                                     .delivered = version_of(40, 26, "{\"x\":5}"),
                                                     .last_projected_us = AT + 27 * S}});
    put_checkpoint(s, "a:6",
                   (struct checkpoint_record){
                       .cp = {.document = 6, .is_dead = true, .last_projected_us = AT + 28 * S}});
    /* a removal is delivered for ever; what is delivered is later than what waits */
    put_checkpoint(s, "a:7",
                   (struct checkpoint_record){.reset_revision = 51,
                                              .cp = {.document = 7,
                                                     .has_delivered = true,
                                                     .delivered = version_of(29, 29, NULL),
                                                     .last_projected_us = AT + 29 * S}});
    put_pending(s, 31, 8, "a:8", version_of(31, 31, "{\"x\":8}"), "{\"x\":8}");
    put_checkpoint(s, "a:8",
                   (struct checkpoint_record){.cp = {.document = 8,
                                                     .pending_no = 31,
                                                     .has_delivered = true,
                                                     .delivered = version_of(30, 35, "{\"x\":4}"),
                                                     .last_projected_us = AT + 3 * S}});
    /* letters without a checkpoint, and with one that does not name it */
    put_dead(s, 9, "a:9", version_of(33, 33, "{\"x\":9}"), "{\"x\":9}");
    put_dead(s, 10, "a:10", version_of(34, 34, "{\"x\":9}"), "{\"x\":9}");
    put_checkpoint(
        s, "a:10",
        (struct checkpoint_record){.cp = {.document = 10, .last_projected_us = AT + 34 * S}});
    end(s);
    becomes(d.path,
            "meta,next_no:32,next_revision:51,next_document:10,next_quarantine:10,pending_bytes:14,"
            "dead_bytes:14}\n"
            "meta,sink:,address:,deployment:,mark:0,mark_wanted:0,functions:0,raised_at:null}\n"
            "meta,format:2}\n"
            "pending,no:20,number:1,id:a:1,kept_at:T00,version:{op:upsert,seq:21,projected_at:T21,"
            "revision:21,v},document:{x:1}}\n"
            "pending,no:24,number:2,id:a:2,kept_at:T00,version:{op:remove,seq:24,projected_at:T24,"
            "revision:24,v},document:null}\n"
            "pending,no:31,number:4,id:a:8,kept_at:T00,version:{op:upsert,seq:31,projected_at:T31,"
            "revision:31,v},document:{x:8}}\n"
            "dead,number:8,id:a:10,died_at:T00,version:{op:upsert,seq:34,projected_at:T34,revision:"
            "34,v},document:{x:9}}\n"
            "dead,number:9,id:a:9,died_at:T00,version:{op:upsert,seq:33,projected_at:T33,revision:"
            "33,v},document:{x:9}}\n"
            "checkpoints,number:1,id:a:1,last_projected_at:T21,reset_revision:0,dead:false,pending_"
            "no:20,delivered:null}\n"
            "checkpoints,number:2,id:a:2,last_projected_at:T24,reset_revision:0,dead:false,pending_"
            "no:24,delivered:null}\n"
            "checkpoints,number:3,id:a:4,last_projected_at:T25,reset_revision:0,dead:false,pending_"
            "no:0,delivered:{op:upsert,seq:25,projected_at:T25,revision:25,v},mark:0}\n"
            "checkpoints,number:4,id:a:8,last_projected_at:T35,reset_revision:0,dead:false,pending_"
            "no:31,delivered:null}\n"
            "checkpoints,number:5,id:a:5,last_projected_at:T27,reset_revision:51,dead:false,"
            "pending_no:0,delivered:null}\n"
            "checkpoints,number:6,id:a:6,last_projected_at:T28,reset_revision:0,dead:false,pending_"
            "no:0,delivered:null}\n"
            "checkpoints,number:7,id:a:7,last_projected_at:T29,reset_revision:51,dead:false,"
            "pending_no:0,delivered:null}\n"
            "checkpoints,number:8,id:a:10,last_projected_at:T34,reset_revision:0,dead:true,pending_"
            "no:0,delivered:null}\n"
            "checkpoints,number:9,id:a:9,last_projected_at:T33,reset_revision:0,dead:true,pending_"
            "no:0,delivered:null}\n"
            "ids,id:a:1,document:1}\n"
            "ids,id:a:10,document:8}\n"
            "ids,id:a:2,document:2}\n"
            "ids,id:a:4,document:3}\n"
            "ids,id:a:5,document:5}\n"
            "ids,id:a:6,document:6}\n"
            "ids,id:a:7,document:7}\n"
            "ids,id:a:8,document:4}\n"
            "ids,id:a:9,document:9}\n",
            "\"a:5\": the version not yet delivered is lost: project it again, or clear it again "
            "if that was what it did\n"
            "\"a:6\": its dead letter is lost: project it again\n",
            "3 2 9, 1 lost 3 overtaken, 2 made 2 mended, 0 quarantined");
    temp_dir_remove(&d);
}

/* projected_at rises from what is delivered to what waits: else nobody knows what stands. */
TEST(what_is_delivered_is_older_than_what_waits)
{
    for (int64_t second = 30; second <= 32; second++) {
        struct temp_dir d = temp_dir_make();
        struct store *s = store_of(d.path);

        put_counters(s, 50);
        put_pending(s, 31, 1, "a:1", version_of(31, second, "{\"x\":8}"), "{\"x\":8}");
        put_checkpoint(
            s, "a:1",
            (struct checkpoint_record){.cp = {.document = 1,
                                              .pending_no = 31,
                                              .has_delivered = true,
                                              .delivered = version_of(30, 31, "{\"x\":4}"),
                                              .last_projected_us = AT + 32 * S}});
        end(s);
        char *dump = repaired(d.path);
        ck_assert_msg((strstr(dump, "delivered:null") == NULL) == (second == 32), "%s", dump);
        temp_dir_remove(&d);
    }
}

static int open_files(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

TEST(a_damaged_page_is_told_and_nothing_is_left_open)
{
    static const uint8_t zeros[KIT_PAGE];
    struct temp_dir d = temp_dir_make();
    uint8_t page[KIT_PAGE];
    int before = open_files();

    kit_make_store(d.path, 200);
    for (uint64_t no = kit_pages(d.path); no-- > 2;) {
        kit_read_page(d.path, no, page);
        if (memmem(page, sizeof page, "{\"id\":\"many:0100\"", 17) != NULL)
            kit_write(d.path, no * KIT_PAGE, zeros, sizeof zeros);
    }
    (void)repaired(d.path);
    ck_assert_msg(strstr(told, "is not the page it should be\n") != NULL, "%s", told);
    ck_assert_int_eq(open_files(), before);
    temp_dir_remove(&d);
}

/* The pages below a branch that is gone are read all the same: of each table. */
TEST(a_damaged_branch_costs_no_record_of_any_table)
{
    static const uint8_t zeros[KIT_PAGE];
    struct temp_dir d = temp_dir_make();
    struct store *s = store_of(d.path);
    char json[600], id[20], old[400], data[200];
    uint8_t page[KIT_PAGE];
    int branches = 0;

    snprintf(json, sizeof json, "{\"x\":\"%0500d\"}", 0);
    put_counters(s, 500);
    for (uint64_t i = 1; i <= 100; i++) {
        snprintf(id, sizeof id, "a:%03d", (int)i);
        struct checkpoint_record c = {.cp = {.document = i,
                                             .fold = slice_of(json, 200),
                                             .last_projected_us = AT + (int64_t)i * S}};
        if (i <= 50) {
            put_pending(s, 100 + i, i, id, version_of(i, (int64_t)i, json), json);
            c.cp.pending_no = 100 + i;
        } else {
            put_dead(s, i, id, version_of(i, (int64_t)i, json), json);
            c.cp.is_dead = true;
        }
        put_checkpoint(s, id, c);
    }
    end(s);
    snprintf(data, sizeof data, "%s/data.mdb", d.path);
    for (uint64_t no = 2; no < kit_pages(d.path); no++) {
        kit_read_page(d.path, no, page);
        if (page[10] != 1 || page[11] != 0)
            continue;
        kit_write(d.path, no * KIT_PAGE, zeros, sizeof zeros);
        (void)repaired(d.path);
        ck_assert_msg(report.pending == 50 && report.dead == 50 && report.checkpoints == 100 &&
                          report.pending_lost == 0,
                      "page %d: %d %d %d %d\n%s", (int)no, (int)report.pending, (int)report.dead,
                      (int)report.checkpoints, (int)report.pending_lost, told);
        snprintf(old, sizeof old, "%s/%s", d.path, places.broken);
        ck_assert_int_eq(rename(old, data), 0);
        kit_write(d.path, no * KIT_PAGE, page, sizeof page);
        branches++;
    }
    ck_assert_int_ge(branches, 3);
    temp_dir_remove(&d);
}
