/*
 * reached.c - which functions of libsidecar.so a test enters.
 *
 * MUTANTS_REACHED names a file of a byte for each byte of the library; the byte of a function's first is 1 once
 * it was entered, by whichever process.  Without it nothing is noted.  run.mjs reads the file.
 */

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define ALONE __attribute__((no_instrument_function))
#define BYTES (8u << 20)

extern const char __ehdr_start[] __attribute__((visibility("hidden")));
static unsigned char *reached;

ALONE __attribute__((constructor)) static void reached_open(void)
{
    const char *path = getenv("MUTANTS_REACHED");
    int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666) : -1;

    if (fd < 0)
        return;
    void *map = ftruncate(fd, BYTES) == 0 ? mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    reached = map == MAP_FAILED ? NULL : map;
    close(fd);
}

ALONE void __cyg_profile_func_enter(void *function, void *caller);
ALONE void __cyg_profile_func_enter(void *function, void *caller)
{
    (void)caller;
    size_t at = (size_t)((uintptr_t)function - (uintptr_t)__ehdr_start);

    if (reached != NULL && at < BYTES && reached[at] == 0)
        reached[at] = 1;
}

ALONE void __cyg_profile_func_exit(void *function, void *caller);
ALONE void __cyg_profile_func_exit(void *function, void *caller)
{
    (void)function, (void)caller;
}
