/* Faults below Python: preloaded, it counts what a process asks of the disk within one folder, and disturbs it there.

   Until faults_arm is called it does nothing, but that fsync never waits: tests stop processes, not machines. What is counted: files opened to be created or emptied, write, fsync,
   rename, mkdir, unlink, rmdir, truncate. tests/faults.py says what the kinds of faults are. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static char folder[PATH_MAX];
static size_t folder_length;
static int kind; /* 0: not armed */
static long nth, count;
static int flock_error;

EXPORT void faults_arm(const char *within, int kind_, long nth_, int flock_error_) {
    if (strlen(within) >= sizeof folder) return;
    strcpy(folder, within);
    folder_length = strlen(folder);
    nth = nth_;
    count = 0;
    flock_error = flock_error_;
    kind = kind_;
}

EXPORT long faults_count(void) { return count; }

static int inside(const char *path) {
    return !strncmp(path, folder, folder_length) && (path[folder_length] == '/' || !path[folder_length]);
}

static int descriptor_inside(int descriptor) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return inside(path);
}

static int path_inside(int directory, const char *path) {
    char cwd[PATH_MAX];
    if (path[0] == '/') return inside(path);
    if (directory != AT_FDCWD) return descriptor_inside(directory);
    return getcwd(cwd, sizeof cwd) && inside(cwd);
}

static int exists(int directory, const char *path) {
    struct stat state;
    int before = errno, found = !fstatat(directory, path, &state, AT_SYMLINK_NOFOLLOW);
    errno = before;
    return found;
}

/* Whether the call that is about to be made fails; errno is set. 2: only half of the bytes are written. */
static int disturbed(int is_write) {
    long number = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
    int hit = number == nth;
    switch (kind) {
        case 'f': if (hit) { errno = ENOSPC; return 1; } break;
        case 'F': if (number >= nth) { errno = ENOSPC; return 1; } break;
        case 'e': if (hit) { errno = EIO; return 1; } break;
        case 's': if (hit && is_write) return 2; break;
        case 'k': if (hit) { kill(getpid(), SIGKILL); pause(); } break;
        case 't': if (hit) kill(getpid(), SIGTERM); break;
        case 'i': if (hit) kill(getpid(), SIGINT); break;
        case 'I': if (hit || number == nth + 1) kill(getpid(), SIGINT); break;
    }
    return 0;
}

#define PATH_CALL(condition, ...) \
    if (kind && (condition) && disturbed(0)) return -1; \
    return real(__VA_ARGS__)

#define OPEN(name, directory, arguments, ...) \
    EXPORT int name arguments { \
        REAL(name); \
        mode_t mode = 0; \
        if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE) { \
            va_list more; \
            va_start(more, flags); \
            mode = va_arg(more, mode_t); \
            va_end(more); \
        } \
        PATH_CALL((flags & (O_CREAT | O_TRUNC)) && path_inside(directory, path), __VA_ARGS__); \
    }
OPEN(open, AT_FDCWD, (const char *path, int flags, ...), path, flags, mode)
OPEN(open64, AT_FDCWD, (const char *path, int flags, ...), path, flags, mode)
OPEN(openat, at, (int at, const char *path, int flags, ...), at, path, flags, mode)
OPEN(openat64, at, (int at, const char *path, int flags, ...), at, path, flags, mode)

EXPORT ssize_t write(int descriptor, const void *data, size_t size) {
    REAL(write);
    if (kind && descriptor > 2 && descriptor_inside(descriptor)) {
        int how = disturbed(size > 1);
        if (how == 1) return -1;
        if (how == 2) size /= 2;
    }
    return real(descriptor, data, size);
}

#define WRITE(name, arguments, ...) \
    EXPORT ssize_t name arguments { REAL(name); PATH_CALL(descriptor > 2 && descriptor_inside(descriptor), __VA_ARGS__); }
WRITE(writev, (int descriptor, const struct iovec *parts, int number), descriptor, parts, number)
WRITE(pwrite, (int descriptor, const void *data, size_t size, off_t at), descriptor, data, size, at)
WRITE(pwrite64, (int descriptor, const void *data, size_t size, off64_t at), descriptor, data, size, at)

static int synced(int descriptor) { return kind && descriptor_inside(descriptor) && disturbed(0) ? -1 : 0; }
EXPORT int fsync(int descriptor) { return synced(descriptor); }
EXPORT int fdatasync(int descriptor) { return synced(descriptor); }

#define ON_DESCRIPTOR(name, arguments, ...) \
    EXPORT int name arguments { REAL(name); PATH_CALL(descriptor_inside(descriptor), __VA_ARGS__); }
ON_DESCRIPTOR(ftruncate, (int descriptor, off_t size), descriptor, size)
ON_DESCRIPTOR(ftruncate64, (int descriptor, off64_t size), descriptor, size)

EXPORT int rename(const char *from, const char *to) {
    REAL(rename);
    PATH_CALL(path_inside(AT_FDCWD, to), from, to);
}
EXPORT int renameat(int from_at, const char *from, int to_at, const char *to) {
    REAL(renameat);
    PATH_CALL(path_inside(to_at, to), from_at, from, to_at, to);
}
EXPORT int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    PATH_CALL(path_inside(AT_FDCWD, path) && !exists(AT_FDCWD, path), path, mode);
}
EXPORT int mkdirat(int at, const char *path, mode_t mode) {
    REAL(mkdirat);
    PATH_CALL(path_inside(at, path) && !exists(at, path), at, path, mode);
}
EXPORT int unlink(const char *path) {
    REAL(unlink);
    PATH_CALL(path_inside(AT_FDCWD, path) && exists(AT_FDCWD, path), path);
}
EXPORT int unlinkat(int at, const char *path, int flags) {
    REAL(unlinkat);
    PATH_CALL(path_inside(at, path) && exists(at, path), at, path, flags);
}
EXPORT int rmdir(const char *path) {
    REAL(rmdir);
    PATH_CALL(path_inside(AT_FDCWD, path) && exists(AT_FDCWD, path), path);
}

EXPORT int flock(int descriptor, int operation) {
    REAL(flock);
    if (kind && flock_error && descriptor_inside(descriptor)) { errno = flock_error; return -1; }
    return real(descriptor, operation);
}
