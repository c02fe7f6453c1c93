/* cli_store_test.c - store check, dump and repair as they are typed. */

#include "cli/cli_store.h"

#include "cli/cli.h"
#include "cli_kit.h"

#include "ground/fake_log.c"
#include "store/store_kit.h"
#include "temp_dir.h"

/* The word with standard output and error caught in ${said}; its exit status. */
static int run_word(const char *dir, const char *word, char said[1 << 16])
{
    char *argv[] = {(char *)(uintptr_t)word};
    FILE *f = tmpfile();
    int out = dup(STDOUT_FILENO), err = dup(STDERR_FILENO);

    ck_assert_ptr_nonnull(f);
    fflush(stdout);
    fflush(stderr);
    ck_assert_int_ge(dup2(fileno(f), STDOUT_FILENO), 0);
    ck_assert_int_ge(dup2(fileno(f), STDERR_FILENO), 0);
    int status = cli_store_run(dir, word == NULL ? 0 : 1, argv);
    fflush(stdout);
    fflush(stderr);
    ck_assert_int_ge(dup2(out, STDOUT_FILENO), 0);
    ck_assert_int_ge(dup2(err, STDERR_FILENO), 0);
    close(out);
    close(err);
    rewind(f);
    size_t n = fread(said, 1, (1 << 16) - 1, f);
    said[n] = '\0';
    fclose(f);
    return status;
}

static void expect(const char *dir, const char *word, int status, const char *part)
{
    static char said[1 << 16];
    int got = run_word(dir, word, said);

    ck_assert_msg(got == status, "%d: %s", got, said);
    ck_assert_msg(strstr(said, part) != NULL, "\"%s\" is not in \"%s\"", part, said);
}

TEST(a_sound_store_is_checked_dumped_and_left_alone)
{
    struct temp_dir d = temp_dir_make();

    kit_make_store(d.path, 5);
    expect(d.path, "check", 0, "8 pending (");
    expect(d.path, "check", 0, "11 checkpoints: sound\n");
    expect(d.path, "dump", 0, "{\"table\":\"pending\",\"no\":");
    expect(d.path, "repair", 0, "sound; nothing was changed\n");
    temp_dir_remove(&d);
}

TEST(a_store_in_use_is_left_alone)
{
    struct temp_dir d = temp_dir_make();
    struct outbox *o = kit_outbox(d.path);
    char pid[100];

    snprintf(pid, sizeof pid, "in use by process %ld; next: stop that one, or use another store\n",
             (long)getpid());
    expect(d.path, "check", 4, pid);
    expect(d.path, "dump", 1, pid);
    expect(d.path, "repair", 1, pid);
    outbox_close(o);
    temp_dir_remove(&d);
}

TEST(a_damaged_store_is_told_and_repaired)
{
    struct temp_dir d = temp_dir_make();
    char dir[100], path[400];
    uint8_t page[KIT_PAGE];

    snprintf(dir, sizeof dir, "%s/store", d.path);
    kit_make_store(dir, 100);
    for (uint64_t no = kit_pages(dir); no-- > 2;) {
        kit_read_page(dir, no, page);
        uint8_t *at = memmem(page, sizeof page, "{\"id\":\"many:0050\"", 17);
        if (at != NULL)
            kit_write(dir, no * KIT_PAGE + (uint64_t)(at - page) + 9, "\033", 1);
    }
    expect(dir, "check", 1, "checkpoints/many:0050: its pending version, number ");
    expect(dir, "check", 1, "damaged, 3 findings");
    expect(dir, "dump", 1, "\"damaged\":\"damaged record: its checksum is another one\"");
    expect(dir, "repair", 0, "\"many:0050\": the version not yet delivered is lost: ");
    expect(dir, "check", 0, "102 pending");
    /* The repair again, of what it kept, to see where things are. */
    DIR *places = opendir(dir);
    bool found = false;
    for (struct dirent *e; (e = readdir(places)) != NULL;)
        if (strncmp(e->d_name, "data.mdb.broken-", 16) == 0) {
            char data[200];
            snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
            snprintf(data, sizeof data, "%s/data.mdb", dir);
            ck_assert_int_eq(rename(path, data), 0);
            found = true;
            break;
        }
    closedir(places);
    ck_assert(found);
    expect(dir, "check", 1, "damaged, 3 findings");
    temp_dir_empty(dir);
    ck_assert_int_eq(rmdir(dir), 0);
    temp_dir_remove(&d);
}

TEST(a_store_of_0_bytes_is_named)
{
    struct temp_dir d = temp_dir_make();
    static const char *const words[] = {"check", "dump", "repair"};
    char path[100];

    snprintf(path, sizeof path, "%s/data.mdb", d.path);
    fclose(fopen(path, "w"));
    for (size_t i = 0; i < 3; i++)
        expect(d.path, words[i], 1, "data.mdb: is empty (0 bytes)");
    temp_dir_remove(&d);
}

TEST(wrong_usage_and_no_store)
{
    struct temp_dir d = temp_dir_make();

    expect(d.path, "mend", 2, "check, dump, repair [--anyway], export [FILE], ");
    expect(d.path, NULL, 2, "check, dump, repair [--anyway], export [FILE], ");
    expect(d.path, "check", 4, "there is no store in");
    expect("/nonexistent/store", "repair", 1, "No such file or directory");
    temp_dir_remove(&d); /* nothing was made in it */
}

/* ---- what is said, whole ------------------------------------------------------------- */

struct call {
    const char *dir;
    int argc;
    char *argv[8];
};

static int run_call(void *arg)
{
    struct call *c = arg;

    return cli_store_run(c->dir, c->argc, c->argv);
}

static struct call call_of(const char *dir, char *line)
{
    struct call c = {.dir = dir};

    for (char *word; (word = strsep(&line, " ")) != NULL;)
        c.argv[c.argc++] = word;
    return c;
}

/* The words of ${line} about ${dir}: the status, and the whole of what is said, DIR for the folder.
 */
static void says(const char *dir, const char *line, int status, const char *wanted)
{
    static char said[KIT_SCREEN], plain[KIT_SCREEN];
    char words[300];
    size_t n = 0;

    snprintf(words, sizeof words, "%s", line);
    struct call c = call_of(dir, words);
    int got = kit_caught(run_call, &c, said);
    for (const char *at = said; *at != '\0';) {
        if (strncmp(at, dir, strlen(dir)) == 0) {
            n += (size_t)sprintf(plain + n, "DIR");
            at += strlen(dir);
        } else {
            plain[n++] = *at++;
        }
    }
    plain[n] = '\0';
    ck_assert_str_eq(plain, wanted);
    ck_assert_int_eq(got, status);
}

TEST(each_word_of_a_sound_store)
{
    struct temp_dir d = temp_dir_make();
    char file[200], line[300];

    kit_make_store(d.path, 2);
    says(d.path, "check", CLI_DONE,
         "DIR: 5 pending (8918 bytes), 1 dead letters (84 bytes), 8 checkpoints: sound\n");
    says(d.path, "repair", CLI_DONE, "DIR: sound; nothing was changed\n");
    says(d.path, "migrate", CLI_DONE, "DIR: format 2 already; nothing was changed\n");
    says(d.path, "drop-old", CLI_DONE, "DIR: no old store is kept here\n");
    snprintf(file, sizeof file, "%s/export", d.path);
    snprintf(line, sizeof line, "export %s", file);
    says(d.path, line, CLI_DONE, "5 pending, 1 dead letters, 0 left out\n");
    says(d.path, line, CLI_ERROR, "convex_sidecar store: DIR/export: File exists\n");
    snprintf(line, sizeof line, "import %s --timeout 1", file);
    says(
        d.path, line, CLI_ABSENT,
        "convex_sidecar: no sidecar answers in DIR: is it running? next: start it, or give another "
        "store (--store DIR or "
        "--config FILE); if it runs, its log says why there is no control.sock\n");
    says(d.path, "import /nonexistent/x", CLI_ERROR,
         "convex_sidecar store import: /nonexistent/x: No such file or directory\n");
    temp_dir_remove(&d);
}

#define USAGE                                                                                      \
    "convex_sidecar store: check, dump, repair [--anyway], export [FILE], import FILE, migrate "   \
    "[--to 1] or drop-old [--yes] is wanted; next: convex_sidecar store --help\n"

TEST(what_a_word_does_not_take_is_refused)
{
    static const char *const lines[] = {"check x",
                                        "check --yes",
                                        "dump --anyway",
                                        "repair --yes",
                                        "repair x",
                                        "export a b",
                                        "export --x",
                                        "import",
                                        "import a b",
                                        "import a --timeout",
                                        "import a --timeout 0",
                                        "import a --timeout 7201",
                                        "import a --timeout 5x",
                                        "import --timeout 5",
                                        "migrate --to",
                                        "migrate --to 0",
                                        "migrate --to 3",
                                        "migrate x",
                                        "migrate --yes",
                                        "drop-old --to 1",
                                        "drop-old x",
                                        "import a --to 1",
                                        "export a --timeout 1"};
    struct temp_dir d = temp_dir_make();

    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        says(d.path, lines[i], CLI_USAGE, USAGE);
    says("/nonexistent", "import a --timeout 7200", CLI_ERROR,
         "convex_sidecar store import: a: No such file or directory\n");
    says("/nonexistent", "import a --timeout 1", CLI_ERROR,
         "convex_sidecar store import: a: No such file or directory\n");
    says("/nonexistent", "check", CLI_UNKNOWN,
         "convex_sidecar store: there is no store in DIR: No such file or directory; next: give "
         "its folder (--store DIR or --config FILE)\n");
    says("/nonexistent", "migrate --to 1", CLI_ERROR,
         "convex_sidecar store: there is no store in DIR: No such file or directory; next: give "
         "its folder (--store DIR or --config FILE)\n");
    temp_dir_remove(&d);
}

/* The name of what is kept of an older store. */
static const char *kept(const char *dir)
{
    static char name[300];
    DIR *places = opendir(dir);

    name[0] = '\0';
    for (struct dirent *e; (e = readdir(places)) != NULL;)
        if (strncmp(e->d_name, "data.mdb.", 9) == 0)
            snprintf(name, sizeof name, "%s", e->d_name);
    closedir(places);
    return name;
}

TEST(a_way_back_and_what_is_kept_of_it)
{
    static char said[KIT_SCREEN];
    struct temp_dir d = temp_dir_make();
    char words[] = "migrate --to 1", drop[] = "drop-old", wanted[800], check[] = "check";
    struct call c = call_of(d.path, words);

    kit_make_store(d.path, 2);
    ck_assert_int_eq(kit_caught(run_call, &c, said), CLI_DONE);
    char *said_of =
        strstr(said, ": format 2 is format 1 now: 5 pending, 1 dead letters, 8 checkpoints, in ");
    ck_assert_msg(said_of != NULL, "%s", said);
    snprintf(
        wanted, sizeof wanted,
        " s\nthe old store is %s/%s; convex_sidecar store drop-old removes it when all is well\n",
        d.path, kept(d.path));
    ck_assert_msg(strstr(said_of, wanted) != NULL, "%s", said);
    c = call_of(d.path, check);
    ck_assert_int_eq(kit_caught(run_call, &c, said), CLI_DONE);
    ck_assert_ptr_nonnull(
        strstr(said, "meta/format: format 1; the sidecar brings it to 2 when it starts\n"));
    snprintf(wanted, sizeof wanted, ": sound\nkept: %s, ", kept(d.path));
    ck_assert_msg(strstr(said, wanted) != NULL, "%s", said);
    ck_assert_ptr_nonnull(strstr(said, " bytes, last written 0 days ago\n"));
    c = call_of(d.path, drop);
    ck_assert_int_eq(kit_caught(run_call, &c, said), CLI_USAGE);
    ck_assert_ptr_nonnull(
        strstr(said, "last written 0 days ago\nconvex_sidecar store drop-old: there is no way back "
                     "to them, and no terminal to ask on; nothing was done; next: give --yes\n"));
    ck_assert_int_eq(
        kit_terminal(run_call, &c, (const char *const[]){"[yes/no]: |no\n", NULL}, said),
        CLI_USAGE);
    ck_assert_str_ne(kept(d.path), "");
    ck_assert_int_eq(
        kit_terminal(run_call, &c, (const char *const[]){"[yes/no]: |\004", NULL}, said),
        CLI_USAGE);
    ck_assert_ptr_nonnull(
        strstr(said, "last written 0 days ago\nRemove? There is no way back to them [yes/no]: "));
    snprintf(wanted, sizeof wanted, "%s/%s: removed\n", d.path, kept(d.path));
    ck_assert_int_eq(
        kit_terminal(run_call, &c, (const char *const[]){"[yes/no]: |yes\n", NULL}, said),
        CLI_DONE);
    ck_assert_ptr_nonnull(strstr(said, wanted));
    ck_assert_str_eq(kept(d.path), "");
    temp_dir_remove(&d);
}

TEST(old_stores_are_dropped_without_a_question_when_that_is_said)
{
    struct temp_dir d = temp_dir_make();
    static char said[KIT_SCREEN];
    char words[] = "migrate --to 1", drop[] = "drop-old --yes", again[] = "migrate";
    struct call c = call_of(d.path, words);

    kit_make_store(d.path, 2);
    ck_assert_int_eq(kit_caught(run_call, &c, said), CLI_DONE);
    c = call_of(d.path, again);
    ck_assert_int_eq(kit_caught(run_call, &c, said), CLI_DONE);
    ck_assert_ptr_nonnull(
        strstr(said, ": format 1 is format 2 now: 5 pending, 1 dead letters, 8 checkpoints, in "));
    c = call_of(d.path, drop);
    ck_assert_int_eq(kit_caught(run_call, &c, said), CLI_DONE);
    ck_assert_ptr_nonnull(strstr(said, ": removed\n"));
    ck_assert_ptr_nonnull(strstr(strstr(said, ": removed\n") + 1, ": removed\n"));
    ck_assert_str_eq(kept(d.path), "");
    temp_dir_remove(&d);
}

TEST(a_hundred_findings_are_listed_the_rest_is_counted)
{
    struct temp_dir d = temp_dir_make();
    static char said[KIT_SCREEN];
    char words[] = "check";
    struct call c = call_of(d.path, words);
    int lines = 0;

    kit_make_store(d.path, 120);
    kit_replace(d.path, slice_str("{\"id\":\"many"), slice_str("{\"id\":\"meny"));
    ck_assert_int_eq(kit_caught(run_call, &c, said), CLI_ERROR);
    for (const char *at = said; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    ck_assert_int_eq(lines, 102);
    ck_assert_ptr_nonnull(strstr(said, "\n... and 141 more\n"));
    ck_assert_ptr_nonnull(
        strstr(said, "damaged, 241 findings; next: convex_sidecar store repair\n"));
    temp_dir_remove(&d);
}

/* A name of ours has 63 bytes at most: what is longer is somebody's, and stays. */
TEST(files_with_longer_names_are_not_ours)
{
    struct temp_dir d = temp_dir_make();
    char path[200], drop[] = "drop-old --yes";
    static char said[KIT_SCREEN];
    struct call c = call_of(d.path, drop);

    kit_make_store(d.path, 2);
    for (int len = 63; len <= 64; len++) {
        int n = snprintf(path, sizeof path, "%s/", d.path);
        snprintf(path + n, sizeof path - (size_t)n, "data.mdb.format-%0*d", len - 16, 1);
        fclose(fopen(path, "w"));
    }
    ck_assert_int_eq(kit_caught(run_call, &c, said), CLI_DONE);
    ck_assert_int_eq(access(path, F_OK), 0);
    ck_assert_ptr_nonnull(strstr(said, "1: removed\n"));
    ck_assert_ptr_null(strstr(strstr(said, "removed") + 1, "removed"));
    temp_dir_remove(&d);
}
