/*
 * process.c - the resources that this process uses, from /proc/self.
 *
 * What can go wrong: there is no /proc, or no descriptor is left to read it with.  Then the numbers
 * are zero: a status page is not worth failing for.
 */

#include "ground/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* Indexes of the numbers in /proc/self/stat after the name, which may hold anything (proc(5)). */
enum { STAT_UTIME = 11, STAT_STIME, STAT_THREADS = 17, STAT_START = 19, STAT_VSIZE, STAT_RSS };
enum { STAT_FIELDS = STAT_RSS + 1 };

static bool read_stat(unsigned long long field[STAT_FIELDS])
{
    char text[1024];
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;

    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    char *at = strrchr(text, ')');
    if (at == NULL || at[1] != ' ' || at[2] == '\0')
        return false;
    at += 3; /* after the state, which is a letter */
    for (int i = 1; i < STAT_FIELDS; i++)
        field[i] = strtoull(at, &at, 10);
    return true;
}

static uint64_t count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    uint64_t count = 0;

    if (dir == NULL)
        return 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count > 0 ? count - 1 : 0; /* without the descriptor that reads the folder */
}

static double seconds_of(clockid_t clock)
{
    struct timespec now = {0};

    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void process_read(struct process_facts *facts)
{
    unsigned long long field[STAT_FIELDS] = {0};
    struct rlimit limit;
    double hz = (double)sysconf(_SC_CLK_TCK);

    *facts = (struct process_facts){.open_fds = count_fds()};
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        facts->max_fds = limit.rlim_cur;
    if (!read_stat(field) || hz <= 0)
        return;
    facts->cpu_seconds = (double)(field[STAT_UTIME] + field[STAT_STIME]) / hz;
    facts->start_seconds =
        seconds_of(CLOCK_REALTIME) - seconds_of(CLOCK_BOOTTIME) + (double)field[STAT_START] / hz;
    facts->threads = field[STAT_THREADS];
    facts->virtual_bytes = field[STAT_VSIZE];
    facts->resident_bytes = field[STAT_RSS] * (uint64_t)sysconf(_SC_PAGESIZE);
}
