/* Logs what a process does to the files below $CUT_ROOT, so that a power cut can be played at any moment of it.
 *
 * Preloaded. Each entry of $CUT_LOG, written before the call returns: one byte of kind, one of fd, a time in ns
 * (CLOCK_MONOTONIC), an offset or size, a length, and so many bytes: a path, two with a NUL between them, or data.
 * Whatever changes a file or a name is done and logged under one lock, so the log's order is the order of doing. A
 * sync is logged when it begins and when it has ended. With $CUT_NO_SYNC it is neither done nor logged: a machine
 * whose syncs do nothing, for the test of the test.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *root;
static int log_fd = -1;
static unsigned char tracked[256];

__attribute__((constructor)) static void begin(void) {
    root = getenv("CUT_ROOT");
    const char *path = getenv("CUT_LOG");
    if (root && path) log_fd = NEXT(open)(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int ours(const char *path) { return log_fd >= 0 && path && !strncmp(path, root, strlen(root)); }
static int is_tracked(int fd) { return fd >= 0 && fd < 256 && tracked[fd]; }

static void note(char kind, int fd, int64_t offset, const void *data, uint32_t length) {
    struct __attribute__((packed)) { char kind; unsigned char fd; int64_t ns, offset; uint32_t length; } head;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    head.kind = kind, head.fd = (unsigned char)fd, head.offset = offset, head.length = length;
    head.ns = now.tv_sec * 1000000000LL + now.tv_nsec;
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)data, length}};
    if (writev(log_fd, parts, 2) != (ssize_t)(sizeof head + length)) abort();
}

static int opened(int fd, const char *path, int flags) {
    if (fd >= 256) abort();
    if (fd >= 0 && (tracked[fd] = ours(path))) note('o', fd, flags & (O_CREAT | O_TRUNC), path, strlen(path));
    return fd;
}

#define OPEN(name, before, ...)                                                   \
    {                                                                             \
        va_list more;                                                             \
        va_start(more, flags);                                                    \
        int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, int) : 0;         \
        va_end(more);                                                             \
        pthread_mutex_lock(&lock);                                                \
        int fd = opened(NEXT(name)(__VA_ARGS__), path, flags);                    \
        pthread_mutex_unlock(&lock);                                              \
        return fd;                                                                \
    }

int open(const char *path, int flags, ...) OPEN(open, , path, flags, mode)
int open64(const char *path, int flags, ...) OPEN(open64, , path, flags, mode)
int openat(int at, const char *path, int flags, ...) OPEN(openat, , at, path, flags, mode)
int openat64(int at, const char *path, int flags, ...) OPEN(openat64, , at, path, flags, mode)

static ssize_t wrote(int fd, ssize_t done, int64_t at, const void *data) {
    if (done > 0 && is_tracked(fd)) note('w', fd, at, data, done);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t write(int fd, const void *data, size_t length) {
    if (!is_tracked(fd)) return NEXT(write)(fd, data, length);
    pthread_mutex_lock(&lock);
    struct stat stat;
    int64_t at = fcntl(fd, F_GETFL) & O_APPEND && !fstat(fd, &stat) ? stat.st_size : lseek(fd, 0, SEEK_CUR);
    return wrote(fd, NEXT(write)(fd, data, length), at, data);
}

#define PWRITE(name)                                                   \
    ssize_t name(int fd, const void *data, size_t length, off_t at) {  \
        if (!is_tracked(fd)) return NEXT(name)(fd, data, length, at);  \
        pthread_mutex_lock(&lock);                                     \
        return wrote(fd, NEXT(name)(fd, data, length, at), at, data);  \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

#define RESIZE(name, size, ...)                                          \
    {                                                                    \
        pthread_mutex_lock(&lock);                                       \
        int result = NEXT(name)(__VA_ARGS__);                            \
        if (!result && is_tracked(fd)) note(#name[0], fd, size, "", 0);  \
        pthread_mutex_unlock(&lock);                                     \
        return result;                                                   \
    }
int ftruncate(int fd, off_t size) RESIZE(ftruncate, size, fd, size)
int ftruncate64(int fd, off_t size) RESIZE(ftruncate64, size, fd, size)
int posix_fallocate(int fd, off_t at, off_t size) RESIZE(posix_fallocate, at + size, fd, at, size)
int posix_fallocate64(int fd, off_t at, off_t size) RESIZE(posix_fallocate64, at + size, fd, at, size)

static int synced(int fd, int (*sync)(int)) {
    if (!is_tracked(fd)) return sync(fd);
    if (getenv("CUT_NO_SYNC")) return 0;
    pthread_mutex_lock(&lock);
    note('s', fd, 0, "", 0);
    pthread_mutex_unlock(&lock);
    int result = sync(fd);
    if (!result) {
        pthread_mutex_lock(&lock);
        note('S', fd, 0, "", 0);
        pthread_mutex_unlock(&lock);
    }
    return result;
}

int fsync(int fd) { return synced(fd, NEXT(fsync)); }
int fdatasync(int fd) { return synced(fd, NEXT(fdatasync)); }

int rename(const char *from, const char *to) {
    pthread_mutex_lock(&lock);
    int result = NEXT(rename)(from, to);
    if (!result && ours(from) && ours(to)) {
        char both[8192];
        size_t first = strlen(from) + 1, second = strlen(to);
        if (first + second > sizeof both) abort();
        memcpy(both, from, first), memcpy(both + first, to, second);
        note('r', 0, 0, both, first + second);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int unlink(const char *path) {
    pthread_mutex_lock(&lock);
    int result = NEXT(unlink)(path);
    if (!result && ours(path)) note('u', 0, 0, path, strlen(path));
    pthread_mutex_unlock(&lock);
    return result;
}

int close(int fd) {
    if (!is_tracked(fd)) return NEXT(close)(fd);
    pthread_mutex_lock(&lock);
    tracked[fd] = 0;
    int result = NEXT(close)(fd);
    pthread_mutex_unlock(&lock);
    return result;
}
