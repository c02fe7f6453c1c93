/* command.h - the command line before a word's own arguments. */

#ifndef COMMAND_H
#define COMMAND_H

#include "ground/base.h"

/* What comes before and around the word's own arguments; the strings are argv's. */
struct command {
    const char *word;
    const char *config_file, *store_dir; /* NULL: not given */
    bool managed;
    int argc; /* what is left for the word */
    char **argv;
};

/**
 * command_read(argc, argv, k, status):
 * Sort the program's arguments into ${k} (${argv} is rearranged).  False: nothing is left to do,
 * and ${status} is the exit status: help or the version was asked for and is printed, or the usage
 * is wrong and that is reported on standard error.
 */
bool command_read(int argc, char **argv, struct command *k, int *status) MUST_CHECK;

/** command_is(k, word): Whether ${word} is the word. */
bool command_is(const struct command *k, const char *word);

#endif
