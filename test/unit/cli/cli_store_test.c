/* cli_store_test.c - store check, dump and repair as they are typed. */

#include "cli/cli_store.h"

#include "test.h"
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
