/* Kill the process group before its N-th call that renames, links, unlinks or makes a folder.

   LD_PRELOAD this; KILL_POINTS names a file of two int64: the calls that are left (0: none is counted) and flags:
   1: paths can't be exchanged; 2: files can't be linked. Processes share the file, so calls of workers count, too. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static long *shared;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("KILL_POINTS");
    int file = path ? open(path, O_RDWR) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, 2 * sizeof(long), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) shared = mapped;
    close(file);
}

static void count(void) {
    if (shared && __atomic_load_n(&shared[0], __ATOMIC_SEQ_CST) > 0 &&
        __atomic_sub_fetch(&shared[0], 1, __ATOMIC_SEQ_CST) == 0) {
        kill(0, SIGKILL);
        for (;;) pause();
    }
}

static int refused(long flag, int code) {
    if (!shared || !(shared[1] & flag)) return 0;
    errno = code;
    return 1;
}

#define REAL(name, ...) ((int (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))

int rename(const char *a, const char *b) { count(); return REAL(rename, const char *, const char *)(a, b); }
int renameat(int i, const char *a, int j, const char *b) {
    count();
    return REAL(renameat, int, const char *, int, const char *)(i, a, j, b);
}
int renameat2(int i, const char *a, int j, const char *b, unsigned flags) {
    if (refused(1, EINVAL)) return -1;
    count();
    return REAL(renameat2, int, const char *, int, const char *, unsigned)(i, a, j, b, flags);
}
int link(const char *a, const char *b) {
    if (refused(2, EPERM)) return -1;
    count();
    return REAL(link, const char *, const char *)(a, b);
}
int linkat(int i, const char *a, int j, const char *b, int flags) {
    if (refused(2, EPERM)) return -1;
    count();
    return REAL(linkat, int, const char *, int, const char *, int)(i, a, j, b, flags);
}
int symlink(const char *a, const char *b) { count(); return REAL(symlink, const char *, const char *)(a, b); }
int unlink(const char *a) { count(); return REAL(unlink, const char *)(a); }
int unlinkat(int i, const char *a, int flags) { count(); return REAL(unlinkat, int, const char *, int)(i, a, flags); }
int remove(const char *a) { count(); return REAL(remove, const char *)(a); }
int rmdir(const char *a) { count(); return REAL(rmdir, const char *)(a); }
int mkdir(const char *a, mode_t mode) { count(); return REAL(mkdir, const char *, mode_t)(a, mode); }
int mkdirat(int i, const char *a, mode_t mode) { count(); return REAL(mkdirat, int, const char *, mode_t)(i, a, mode); }
