/* Preloaded into a writer: logs what it writes and syncs below one directory, so that power cuts can be played back, and
 * fails chosen calls as a broken disk would.
 *
 *   CUTPOWER_ROOT=/data CUTPOWER_LOG=/tmp/log LD_PRELOAD=./cutpower.so python writer.py
 *
 * Each change of a file or a directory below the root becomes one record (see `struct record`) in the order in which the
 * calls were carried out; cutlog.py reads them. Writes are made and logged under one lock. A sync is logged twice, before
 * and after: it covers the writes logged before its beginning. A write through O_DSYNC is synced when it returns.
 * What is written through a writable mapping is not seen: segidx maps only the reader table of LMDB so, which every
 * first opening makes anew.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_FD 65536
#define EXPORT __attribute__((visibility("default")))

/* One record of the log: this header, then `length` bytes (data, or a path below the root), then `length2` bytes (the
 * new path of a rename). Little-endian, as the machine is. */
struct record {
    uint8_t kind;
    uint8_t synced; /* of a write: durable on return. Of the end of a sync: it succeeded */
    uint16_t unused;
    uint32_t length;
    uint64_t inode;
    int64_t offset; /* of a write; the new length of a truncation; the number of a sync */
    uint32_t length2;
    uint32_t unused2;
};

enum {
    FILE_MADE = 'C', DIRECTORY_MADE = 'D', RENAMED = 'R', REMOVED = 'U', WRITTEN = 'W', TRUNCATED = 'T',
    SYNC_BEGINS = 's', SYNC_ENDS = 'S', MARK = 'M',
};

/* What a descriptor stands for, where its file lies below the root. */
static struct { uint64_t inode; uint8_t tracked, dsync; } files[MAX_FD];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static size_t root_length;
static int log_handle = -1;
static int64_t syncs;
static int honour_syncs = 1, honour_dsync = 1;

/* What calls are to fail. */
static struct { enum { ANY_WRITE, SYNCED_WRITE, ANY_SYNC } kind; int error; long after, times, fired; } fault;

#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) { fprintf(stderr, "cutpower: there is no %s\n", name); abort(); }
    return found;
}

__attribute__((constructor)) static void start(void)
{
    const char *directory = getenv("CUTPOWER_ROOT"), *path = getenv("CUTPOWER_LOG");
    if (!directory || !path) return;
    root_length = strlen(directory);
    if (root_length == 0 || root_length >= sizeof root) { fprintf(stderr, "cutpower: bad CUTPOWER_ROOT\n"); abort(); }
    memcpy(root, directory, root_length + 1);
    int handle = REAL(open)(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    log_handle = handle < 0 ? -1 : fcntl(handle, F_DUPFD_CLOEXEC, 900); /* out of the way of low numbers */
    if (log_handle < 0) { perror("cutpower: log"); abort(); }
    REAL(close)(handle);
}

/* --- the log: call with the lock held --- */

static void append(struct record head, const void *bytes, const void *more)
{
    struct iovec parts[3] = {
        {&head, sizeof head}, {(void *)bytes, head.length}, {(void *)more, head.length2},
    };
    size_t whole = sizeof head + head.length + head.length2;
    ssize_t done = REAL(writev)(log_handle, parts, 3);
    if (done < 0 || (size_t)done != whole) { perror("cutpower: log"); abort(); }
}

static void append_path(int kind, uint64_t inode, const char *path)
{
    append((struct record){.kind = kind, .inode = inode, .length = strlen(path)}, path, NULL);
}

/* --- paths --- */

/* The part of a path below the root ("" for the root itself), or NULL. `full` has PATH_MAX bytes. */
static const char *below_root(int directory, const char *path, char *full)
{
    if (log_handle < 0 || !path) return NULL;
    if (path[0] == '/') {
        snprintf(full, PATH_MAX, "%s", path);
    } else {
        char start_at[PATH_MAX - 300];
        if (directory == AT_FDCWD) {
            if (!getcwd(start_at, sizeof start_at)) return NULL;
        } else {
            char link[64];
            snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
            ssize_t n = readlink(link, start_at, sizeof start_at - 1);
            if (n < 0) return NULL;
            start_at[n] = 0;
        }
        if (snprintf(full, PATH_MAX, "%s/%s", start_at, path) >= PATH_MAX) return NULL;
    }
    if (strncmp(full, root, root_length)) return NULL;
    if (full[root_length] == 0) return full + root_length;
    return full[root_length] == '/' ? full + root_length + 1 : NULL;
}

static int tracked(int fd) { return fd >= 0 && fd < MAX_FD && files[fd].tracked; }

/* --- faults --- */

/* Whether this call is one that is to fail; call with the lock held. */
static int fails(int is_sync, int dsync)
{
    if (!fault.times || (fault.kind == ANY_SYNC) != is_sync || (fault.kind == SYNCED_WRITE && !dsync)) return 0;
    if (fault.after > 0) { fault.after--; return 0; }
    fault.times--;
    fault.fired++;
    return 1;
}

/* After `after` more calls of the kind ("write", "synced write": through O_DSYNC, or "sync") on files below the root, the next `times` fail with `error`;
 * error 0 makes a write stop half-way. */
EXPORT void cutpower_fail(const char *kind, long after, int error, long times)
{
    pthread_mutex_lock(&lock);
    fault.kind = !strcmp(kind, "sync") ? ANY_SYNC : !strcmp(kind, "synced write") ? SYNCED_WRITE : ANY_WRITE;
    fault.after = after;
    fault.error = error;
    fault.times = times;
    fault.fired = 0;
    pthread_mutex_unlock(&lock);
}

/* How many calls failed since the last cutpower_fail. */
EXPORT long cutpower_failed(void)
{
    pthread_mutex_lock(&lock);
    long fired = fault.fired;
    pthread_mutex_unlock(&lock);
    return fired;
}

/* Whether syncs, and O_DSYNC, are carried out from now on; not carried out they report success and sync nothing. */
EXPORT void cutpower_honour(int sync_calls, int dsync)
{
    pthread_mutex_lock(&lock);
    honour_syncs = sync_calls;
    honour_dsync = dsync;
    pthread_mutex_unlock(&lock);
}

/* A line of the writer's in the log: what came before it in this process is logged before it. */
EXPORT void cutpower_mark(const char *bytes, size_t length)
{
    pthread_mutex_lock(&lock);
    append((struct record){.kind = MARK, .length = length}, bytes, NULL);
    pthread_mutex_unlock(&lock);
}

/* --- opening and closing --- */

static int do_open(int directory, const char *path, int flags, mode_t mode)
{
    char full[PATH_MAX];
    const char *name = below_root(directory, path, full);
    if (!name) return REAL(openat)(directory, path, flags, mode);
    pthread_mutex_lock(&lock);
    struct stat before, now;
    int existed = fstatat(directory, path, &before, 0) == 0;
    int fd = REAL(openat)(directory, path, flags, mode);
    int error = errno;
    if (fd >= 0 && fd < MAX_FD && fstat(fd, &now) == 0) {
        files[fd].inode = now.st_ino;
        files[fd].dsync = (flags & O_DSYNC) != 0; /* O_SYNC contains it */
        files[fd].tracked = 1;
        if (!existed)
            append_path(FILE_MADE, now.st_ino, name);
        else if ((flags & O_TRUNC) && S_ISREG(now.st_mode) && before.st_size)
            append((struct record){.kind = TRUNCATED, .inode = now.st_ino}, NULL, NULL);
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

#define MODE_OF(flags, last) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, last); mode = va_arg(rest, int); va_end(rest); }

EXPORT int open(const char *path, int flags, ...) { MODE_OF(flags, flags) return do_open(AT_FDCWD, path, flags, mode); }
EXPORT int open64(const char *path, int flags, ...) { MODE_OF(flags, flags) return do_open(AT_FDCWD, path, flags, mode); }
EXPORT int openat(int at, const char *path, int flags, ...) { MODE_OF(flags, flags) return do_open(at, path, flags, mode); }
EXPORT int openat64(int at, const char *path, int flags, ...) { MODE_OF(flags, flags) return do_open(at, path, flags, mode); }
EXPORT int __open_2(const char *path, int flags) { return do_open(AT_FDCWD, path, flags, 0); }
EXPORT int __open64_2(const char *path, int flags) { return do_open(AT_FDCWD, path, flags, 0); }
EXPORT int creat(const char *path, mode_t mode) { return do_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

EXPORT int close(int fd)
{
    if (fd == log_handle && fd >= 0) return 0; /* of a program that closes all it did not open */
    if (tracked(fd)) files[fd].tracked = 0;
    return REAL(close)(fd);
}

/* --- writing --- */

/* Write `count` parts at `offset`, or at the file's position if that is negative, and log what was written. */
static ssize_t do_write(int fd, const struct iovec *parts, int count, off_t offset)
{
    size_t whole = 0;
    for (int i = 0; i < count; i++) whole += parts[i].iov_len;
    pthread_mutex_lock(&lock);
    int at_position = offset < 0, failing = fails(0, files[fd].dsync);
    if (failing && fault.error) {
        pthread_mutex_unlock(&lock);
        errno = fault.error;
        return -1;
    }
    char *bytes = malloc(whole ? whole : 1);
    if (!bytes) abort();
    size_t filled = 0;
    for (int i = 0; i < count; i++) {
        memcpy(bytes + filled, parts[i].iov_base, parts[i].iov_len);
        filled += parts[i].iov_len;
    }
    if (at_position) {
        int flags = fcntl(fd, F_GETFL);
        offset = lseek(fd, 0, flags >= 0 && (flags & O_APPEND) ? SEEK_END : SEEK_CUR);
    }
    if (failing) whole /= 2;
    ssize_t done = REAL(pwrite)(fd, bytes, whole, offset);
    int error = errno;
    if (done > 0) {
        if (at_position) lseek(fd, offset + done, SEEK_SET);
        append((struct record){.kind = WRITTEN, .synced = files[fd].dsync && honour_dsync, .inode = files[fd].inode,
                               .offset = offset, .length = done}, bytes, NULL);
    }
    free(bytes);
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

EXPORT ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
    if (!tracked(fd)) return REAL(pwrite)(fd, bytes, length, offset);
    return do_write(fd, &(struct iovec){(void *)bytes, length}, 1, offset);
}
EXPORT ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset) { return pwrite(fd, bytes, length, offset); }

EXPORT ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    if (!tracked(fd)) return REAL(pwritev)(fd, parts, count, offset);
    return do_write(fd, parts, count, offset);
}
EXPORT ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset) { return pwritev(fd, parts, count, offset); }

EXPORT ssize_t write(int fd, const void *bytes, size_t length)
{
    if (!tracked(fd)) return REAL(write)(fd, bytes, length);
    return do_write(fd, &(struct iovec){(void *)bytes, length}, 1, -1);
}

EXPORT ssize_t writev(int fd, const struct iovec *parts, int count)
{
    if (!tracked(fd)) return REAL(writev)(fd, parts, count);
    return do_write(fd, parts, count, -1);
}

EXPORT int ftruncate(int fd, off_t length)
{
    if (!tracked(fd)) return REAL(ftruncate)(fd, length);
    pthread_mutex_lock(&lock);
    int result = REAL(ftruncate)(fd, length), error = errno;
    if (result == 0)
        append((struct record){.kind = TRUNCATED, .inode = files[fd].inode, .offset = length}, NULL, NULL);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}
EXPORT int ftruncate64(int fd, off_t length) { return ftruncate(fd, length); }

/* Space given to a file shows as a longer file of zeros. */
EXPORT int posix_fallocate(int fd, off_t offset, off_t length)
{
    if (!tracked(fd)) return REAL(posix_fallocate)(fd, offset, length);
    pthread_mutex_lock(&lock);
    struct stat before;
    int result = fstat(fd, &before) ? errno : REAL(posix_fallocate)(fd, offset, length);
    if (result == 0 && offset + length > before.st_size)
        append((struct record){.kind = TRUNCATED, .inode = files[fd].inode, .offset = offset + length}, NULL, NULL);
    pthread_mutex_unlock(&lock);
    return result;
}
EXPORT int posix_fallocate64(int fd, off_t offset, off_t length) { return posix_fallocate(fd, offset, length); }

/* --- syncing --- */

static int do_sync(int fd, int (*call)(int))
{
    pthread_mutex_lock(&lock);
    int failing = fails(1, 0), honoured = honour_syncs, result = 0, error = 0;
    struct record head = {.kind = SYNC_BEGINS, .inode = files[fd].inode, .offset = ++syncs};
    if (honoured) append(head, NULL, NULL);
    pthread_mutex_unlock(&lock);
    if (failing) {
        result = -1;
        error = fault.error;
    } else if (honoured) {
        result = call(fd);
        error = errno;
    }
    pthread_mutex_lock(&lock);
    head.kind = SYNC_ENDS;
    head.synced = result == 0;
    if (honoured) append(head, NULL, NULL);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

EXPORT int fsync(int fd) { return tracked(fd) ? do_sync(fd, REAL(fsync)) : REAL(fsync)(fd); }
EXPORT int fdatasync(int fd) { return tracked(fd) ? do_sync(fd, REAL(fdatasync)) : REAL(fdatasync)(fd); }

EXPORT int msync(void *address, size_t length, int flags)
{
    pthread_mutex_lock(&lock);
    int failing = log_handle >= 0 && fails(1, 0), error = fault.error;
    pthread_mutex_unlock(&lock);
    if (!failing) return REAL(msync)(address, length, flags);
    errno = error;
    return -1;
}

/* --- names --- */

static int do_mkdir(int at, const char *path, mode_t mode)
{
    char full[PATH_MAX];
    const char *name = below_root(at, path, full);
    if (!name) return REAL(mkdirat)(at, path, mode);
    pthread_mutex_lock(&lock);
    int result = REAL(mkdirat)(at, path, mode), error = errno;
    struct stat now;
    if (result == 0 && fstatat(at, path, &now, 0) == 0) append_path(DIRECTORY_MADE, now.st_ino, name);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}
EXPORT int mkdir(const char *path, mode_t mode) { return do_mkdir(AT_FDCWD, path, mode); }
EXPORT int mkdirat(int at, const char *path, mode_t mode) { return do_mkdir(at, path, mode); }

static int do_rename(int from_at, const char *from, int to_at, const char *to)
{
    char full_from[PATH_MAX], full_to[PATH_MAX];
    const char *old = below_root(from_at, from, full_from), *new = below_root(to_at, to, full_to);
    if (!old && !new) return REAL(renameat)(from_at, from, to_at, to);
    if (!old || !new) { fprintf(stderr, "cutpower: a rename over the edge: %s to %s\n", from, to); abort(); }
    pthread_mutex_lock(&lock);
    int result = REAL(renameat)(from_at, from, to_at, to), error = errno;
    if (result == 0)
        append((struct record){.kind = RENAMED, .length = strlen(old), .length2 = strlen(new)}, old, new);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}
EXPORT int rename(const char *from, const char *to) { return do_rename(AT_FDCWD, from, AT_FDCWD, to); }
EXPORT int renameat(int from_at, const char *from, int to_at, const char *to) { return do_rename(from_at, from, to_at, to); }

static int do_unlink(int at, const char *path, int flags)
{
    char full[PATH_MAX];
    const char *name = below_root(at, path, full);
    if (!name) return REAL(unlinkat)(at, path, flags);
    pthread_mutex_lock(&lock);
    int result = REAL(unlinkat)(at, path, flags), error = errno;
    if (result == 0) append_path(REMOVED, 0, name);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}
EXPORT int unlink(const char *path) { return do_unlink(AT_FDCWD, path, 0); }
EXPORT int rmdir(const char *path) { return do_unlink(AT_FDCWD, path, AT_REMOVEDIR); }
EXPORT int unlinkat(int at, const char *path, int flags) { return do_unlink(at, path, flags); }
