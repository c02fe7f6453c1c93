/* rescue_test.c - what a start does about the mark of the last one. */

#include "sidecar/rescue.h"
#include "store/crash_mark.h"

#include "test.h"
#include "ground/fake_log.c"
#include "temp_dir.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

/* A store's directory, and a program that stands for ours. */
struct place {
    struct temp_dir d;
    char program[200], said[200];
};

static void write_file(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

/* It notes how it is called, and does ${what}. */
static struct place place_make(const char *what)
{
    struct place p = {.d = temp_dir_make()};
    char text[600], data[200];

    snprintf(p.program, sizeof p.program, "%s/program", p.d.path);
    snprintf(p.said, sizeof p.said, "%s/said", p.d.path);
    snprintf(text, sizeof text, "#!/bin/sh\necho \"$@\" >%s\n%s\n", p.said, what);
    write_file(p.program, text, 0700);
    snprintf(data, sizeof data, "%s/data.mdb", p.d.path);
    write_file(data, "data", 0600);
    return p;
}

static void check_called(const struct place *p, const char *as)
{
    char text[300] = "", want[300];
    FILE *f = fopen(p->said, "r");

    if (as == NULL) {
        ck_assert_ptr_null(f);
        return;
    }
    ck_assert_ptr_nonnull(f);
    ck_assert_ptr_nonnull(fgets(text, sizeof text, f));
    fclose(f);
    snprintf(want, sizeof want, "store repair --store %s%s\n", p->d.path, as);
    ck_assert_str_eq(text, want);
}

static enum err rescue(const struct place *p, int signals, struct fault *fault)
{
    *fault = (struct fault){0};
    return rescue_store(p->program, p->d.path, signals, fault);
}

static void place_remove(struct place *p)
{
    temp_dir_empty(p->d.path);
    temp_dir_remove(&p->d);
}

TEST(without_a_mark_nothing_is_done)
{
    struct place p = place_make("");
    struct fault fault;

    ck_assert_int_eq(rescue(&p, -1, &fault), ERR_OK);
    check_called(&p, NULL);
    place_remove(&p);
}

TEST(a_mark_has_the_store_copied_and_goes)
{
    struct place p = place_make("");
    struct fault fault;
    char why[64];

    crash_mark_leave(p.d.path, "SIGBUS");
    ck_assert_int_eq(rescue(&p, -1, &fault), ERR_OK);
    check_called(&p, " --anyway");
    ck_assert_int_eq(crash_mark_read(p.d.path, why), CRASH_NONE);
    place_remove(&p);
}

TEST(a_copy_has_the_time_that_it_takes)
{
    struct place p = place_make("sleep 0.3");
    struct fault fault;

    crash_mark_leave(p.d.path, "SIGBUS");
    ck_assert_msg(rescue(&p, -1, &fault) == ERR_OK, "%s", fault.why);
    place_remove(&p);
}

TEST(a_copy_that_fails_ends_the_start_and_leaves_the_mark)
{
    static const char *const ends[][2] = {{"exit 1", "the lines above say why (status 1)"},
                                          {"kill -SEGV $$", "Segmentation fault"}};
    struct fault fault;
    char why[64];

    for (size_t i = 0; i < 2; i++) {
        struct place p = place_make(ends[i][0]);
        crash_mark_leave(p.d.path, "SIGBUS");
        ck_assert_int_eq(rescue(&p, -1, &fault), ERR_STORE);
        ck_assert_msg(strstr(fault.why, ends[i][1]) != NULL, "%s", fault.why);
        ck_assert_int_eq(crash_mark_read(p.d.path, why), CRASH_MARKED);
        place_remove(&p);
    }
}

TEST(who_asks_for_the_end_need_not_wait_for_the_copy)
{
    struct place p = place_make("exec sleep 1000");
    struct fault fault;
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(write(ends[1], "x", 1), 1);
    crash_mark_leave(p.d.path, "SIGBUS");
    ck_assert_int_eq(rescue(&p, ends[0], &fault), ERR_STORE);
    ck_assert_ptr_nonnull(strstr(fault.why, "Killed"));
    close(ends[0]);
    close(ends[1]);
    place_remove(&p);
}

TEST(a_store_that_is_not_there_needs_no_copy)
{
    struct place p = place_make("");
    struct fault fault;
    char data[200], why[64];

    snprintf(data, sizeof data, "%s/data.mdb", p.d.path);
    ck_assert_int_eq(unlink(data), 0);
    crash_mark_leave(p.d.path, "SIGBUS");
    ck_assert_int_eq(rescue(&p, -1, &fault), ERR_OK);
    check_called(&p, NULL);
    ck_assert_int_eq(crash_mark_read(p.d.path, why), CRASH_NONE);
    place_remove(&p);
}

/* It begins as a program of a shell does, whatever the sidecar blocks and ignores. */
TEST(the_copy_begins_with_a_clean_slate)
{
    struct place p = place_make(
        "cd \"$(dirname \"$0\")\"\n"
        "{ grep -E 'SigBlk|SigIgn' /proc/self/status; readlink /proc/self/fd/0; } >seen\n"
        "echo to standard output\n");
    struct fault fault;
    char seen[300] = "", path[200], out[200] = "";
    sigset_t some;
    int ends[2], err = dup(STDERR_FILENO);

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&some);
    sigaddset(&some, SIGTERM);
    sigprocmask(SIG_BLOCK, &some, NULL);
    ck_assert_int_eq(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    crash_mark_leave(p.d.path, "SIGBUS");
    enum err e = rescue(&p, -1, &fault);
    dup2(err, STDERR_FILENO);
    close(ends[1]);
    ck_assert_int_eq(e, ERR_OK);
    ck_assert_int_gt(read(ends[0], out, sizeof out - 1), 0); /* what it says is a line of the log */
    ck_assert_str_eq(out, "to standard output\n");
    snprintf(path, sizeof path, "%s/seen", p.d.path);
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_gt(fread(seen, 1, sizeof seen - 1, f), 0);
    fclose(f);
    unsigned long long blocked = 1, ignored = ~0ULL;
    char in[20];
    ck_assert_int_eq(sscanf(seen, "SigBlk: %llx SigIgn: %llx %19s", &blocked, &ignored, in), 3);
    ck_assert_uint_eq(blocked, 0);
    ck_assert_uint_eq(ignored & 0x7fffffff, 0); /* 32 and 33 are the C library's */
    ck_assert_str_eq(in, "/dev/null");
    place_remove(&p);
}

TEST(an_empty_file_is_no_store)
{
    struct place p = place_make("");
    struct fault fault;
    char data[200], why[64];

    snprintf(data, sizeof data, "%s/data.mdb", p.d.path);
    ck_assert_int_eq(truncate(data, 0), 0);
    crash_mark_leave(p.d.path, "SIGBUS");
    ck_assert_int_eq(rescue(&p, -1, &fault), ERR_OK);
    check_called(&p, NULL);
    ck_assert_int_eq(crash_mark_read(p.d.path, why), CRASH_NONE);
    place_remove(&p);
}

TEST(a_program_that_is_not_there_is_said)
{
    struct place p = place_make("");
    struct fault fault;

    crash_mark_leave(p.d.path, "SIGBUS");
    ck_assert_int_eq(unlink(p.program), 0);
    ck_assert_int_eq(rescue(&p, -1, &fault), ERR_STORE);
    ck_assert_str_eq(fault.why,
                     "damaged, and no process can be had to repair it: No such file or directory");
    place_remove(&p);
}
