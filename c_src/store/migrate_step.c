/*
 * migrate_step.c - the moments of a migration, for the tests: they link another one, which ends
 * the process at the n-th.
 */

#include "store/migrate_inside.h"

void migrate_step(unsigned step)
{
    (void)step;
}
