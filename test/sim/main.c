/* main.c - make sim SEEDS=n FROM=m: so many scripts of sim.c; the seeds that fail, with their last
 * events. */

#include "sim.c"

#define EXCUSED_ONE_IN 400 /* scripts, at most, in which two faults bury a healthy document */

int main(int argc, char **argv)
{
    uint64_t seeds = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000;
    uint64_t from = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    uint64_t failed = 0;
    struct sim_counts counts = {0};

    PRE(freopen("/dev/null", "w", stderr) != NULL); /* what delivery logs */
    for (uint64_t i = from; i < from + seeds && failed < 5; i++)
        failed += !sim_run(i, stdout, &counts);
    printf(
        "%llu seeds, %llu failed; %u healthy documents buried by two separate faults, all healed; "
        "%u dead letters healed, %u documents went from bulk to live\n",
        (unsigned long long)seeds, (unsigned long long)failed, counts.excused, counts.healed,
        counts.moves);
    return failed == 0 && counts.moves >= seeds / 10 && counts.excused <= 2 + seeds / EXCUSED_ONE_IN
               ? 0
               : 1;
}
