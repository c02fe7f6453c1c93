/*
 * migrate_step.c - the steps of a migration: the tests link another version, which ends the process
 * at the n-th step.
 */

#include "store/migrate_inside.h"

void migrate_step(unsigned step)
{
    (void)step;
}
