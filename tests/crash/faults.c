/* Preloaded into the gateway: writes and syncs of files under FAULT_UNDER fail as the file FAULT_PLAN says.
 *
 * FAULT_PLAN: an errno, and the share of calls in percent ("5 30"); nothing fails while it is not there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int fault(int fd)
{
    const char *plan = getenv("FAULT_PLAN"), *under = getenv("FAULT_UNDER");
    char text[32], name[64], path[4096];
    int code, share;
    if (!plan || !under)
        return 0;
    int saved = errno;
    int file = open(plan, O_RDONLY | O_CLOEXEC);
    errno = saved;
    if (file < 0)
        return 0;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    if (length <= 0)
        return 0;
    text[length] = 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    length = readlink(name, path, sizeof path - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    if (strncmp(path, under, strlen(under)) || strstr(path, "-shm"))
        return 0;
    if (sscanf(text, "%d %d", &code, &share) != 2 || random() % 100 >= share)
        return 0;
    errno = code;
    return 1;
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) \
        real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

int fdatasync(int fd)
{
    REAL(fdatasync);
    return fault(fd) ? -1 : real(fd);
}

int fsync(int fd)
{
    REAL(fsync);
    return fault(fd) ? -1 : real(fd);
}

ssize_t pwrite64(int fd, const void *buffer, size_t size, off64_t offset)
{
    REAL(pwrite64);
    return fault(fd) ? -1 : real(fd, buffer, size, offset);
}

ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t offset, int flags)
{
    REAL(pwritev2);
    return fault(fd) ? -1 : real(fd, parts, count, offset, flags);
}

ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off64_t offset, int flags)
{
    REAL(pwritev64v2);
    return fault(fd) ? -1 : real(fd, parts, count, offset, flags);
}
