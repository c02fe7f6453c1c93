/* store_dir.h - the directory of a store, and who may be in it. */

#ifndef STORE_DIR_H
#define STORE_DIR_H

#include "ground/base.h"

/**
 * store_dir_open(dir, fd, fault):
 * Open ${dir}, made when absent, its parents too, mode 0700; ${fd} is the caller's.  ERR_STORE:
 * it is another user's, or others may write to it.
 */
enum err store_dir_open(const char *dir, int *fd, struct fault *fault) MUST_CHECK;

/** store_dir_check(dir, dir_fd, fault): Whether each file that LMDB will open is regular or absent.
 */
enum err store_dir_check(const char *dir, int dir_fd, struct fault *fault) MUST_CHECK;

/**
 * store_dir_lock(dir, dir_fd, fd, fault):
 * Hold ${dir} until close(${fd}), which is the caller's, if it is not -1, in case of an error too.
 * ERR_STORE: another process has it, ${fault} names it.
 */
enum err store_dir_lock(const char *dir, int dir_fd, int *fd, struct fault *fault) MUST_CHECK;

/**
 * store_hold(dir, fd, fault):
 * Hold ${dir}, which must exist, against a sidecar and other tools without opening the store in it;
 * close(${fd}) releases it (-1: it cannot be written to, so nobody can open it).  ERR_STORE: in
 * use by another process, which ${fault} names.
 */
enum err store_hold(const char *dir, int *fd, struct fault *fault) MUST_CHECK;

/** store_dir_sync(dir, dir_fd): Sync the names that a power cut could lose: those in ${dir} and its
 * own. Returns 0 or errno. */
int store_dir_sync(const char *dir, int dir_fd);

/**
 * store_dir_make_lock_file(dir_fd):
 * LMDB writes to its lock file through a memory map, where a full disk is a bus error: allocate its
 * blocks beforehand.  Returns 0 or errno.
 */
int store_dir_make_lock_file(int dir_fd);

#endif
