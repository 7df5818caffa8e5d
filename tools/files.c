/* Files into messages, and messages into files.
 *
 * Relies on openat() with O_NOFOLLOW, one component at a time: no check of a path as text
 * can know what a symbolic link will say by the time the path is used. */
#include "tools/files.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES_PIECE (1u << 20) /* bytes of one read from something that cannot be mapped */
#define FILES_VECTOR 64        /* segments of one write */
#define FILES_TRIES 100        /* names tried for a temporary file */

static void files_closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static int files_steal_fd(int *fd)
{
    int kept = *fd;

    *fd = -1;
    return kept;
}

static int files_err(nq_err err)
{
    return err == NQ_OK ? 0 : -ENOMEM; /* all that messages and streams can fail with */
}

/* ---- reading ------------------------------------------------------------------------- */

static void files_unmap(void *arg, void *data, size_t len)
{
    (void)arg;
    munmap(data, len);
}

static int files_map(int fd, size_t len, nq_msg **ret)
{
    void *data = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);

    if (data == MAP_FAILED)
        return -errno;
    (void)madvise(data, len, MADV_SEQUENTIAL);
    if (nq_msg_wrap(data, len, files_unmap, NULL, ret) != NQ_OK) {
        munmap(data, len);
        return -ENOMEM;
    }
    return 0;
}

/* Fill `buf`, or as much of it as there is. */
static ssize_t files_fill(int fd, unsigned char *buf, size_t len)
{
    size_t have = 0;

    while (have < len) {
        ssize_t n = read(fd, buf + have, len - have);

        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        have += (size_t)n;
    }
    return (ssize_t)have;
}

/* Read one piece to the end of `stream`.  @return bytes, 0 at the end */
static ssize_t files_piece(int fd, nq_stream *stream)
{
    nq_chunk *chunk = NULL;
    nq_view view;
    ssize_t n;
    int err;

    if (nq_chunk_new(FILES_PIECE, &chunk) != NQ_OK)
        return -ENOMEM;
    n = files_fill(fd, nq_chunk_data(chunk), FILES_PIECE);
    if (n <= 0) {
        nq_chunk_unref(chunk);
        return n;
    }
    view = nq_chunk_view(chunk, 0, (size_t)n);
    nq_chunk_unref(chunk); /* the view holds it now */
    err = files_err(nq_stream_writechunk(stream, &view));
    nq_view_release(&view);
    return err ? err : n;
}

static int files_slurp(int fd, nq_msg **ret)
{
    NQI_CLEANUP(nqi_stream_freep) nq_stream *stream = NULL;
    ssize_t n;

    if (nq_stream_new(&stream) != NQ_OK)
        return -ENOMEM;
    do
        n = files_piece(fd, stream);
    while (n > 0);
    if (n < 0)
        return (int)n;
    return files_err(nq_msg_from_stream(stream, ret));
}

int nqi_files_read(const char *path, nq_msg **ret)
{
    NQI_CLEANUP(files_closep) int fd = -1;
    struct stat info;

    if (strcmp(path, "-") == 0)
        return files_slurp(STDIN_FILENO, ret);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &info) != 0)
        return -errno;
    if (S_ISDIR(info.st_mode))
        return -EISDIR;
    /* Size 0 may be an empty file or one of the kernel's that only reading fills. */
    if (!S_ISREG(info.st_mode) || info.st_size == 0)
        return files_slurp(fd, ret);
    return files_map(fd, (size_t)info.st_size, ret);
}

/* ---- names ------------------------------------------------------------------------------ */

const char *nqi_files_name_fault(const char *name, size_t len)
{
    size_t start = 0;

    if (len == 0)
        return "it is empty";
    if (len >= PATH_MAX)
        return "it is too long";
    if (memchr(name, 0, len))
        return "it contains a NUL byte";
    if (name[0] == '/')
        return "it is absolute";
    for (size_t i = 0; i <= len; i++) {
        if (i < len && name[i] != '/')
            continue;
        if (i == start)
            return "a part of it is empty";
        if (i - start > NAME_MAX)
            return "a part of it is too long";
        if (name[start] == '.' && (i - start == 1 || (i - start == 2 && name[start + 1] == '.')))
            return "it contains \".\" or \"..\"";
        start = i + 1;
    }
    return NULL;
}

/* ---- storing ---------------------------------------------------------------------------- */

int nqi_files_open_dir(const char *path, int *ret)
{
    int fd;

    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        return -errno;
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    *ret = fd;
    return 0;
}

static int files_step(int dir, const char *part, int *ret)
{
    int fd;

    if (mkdirat(dir, part, 0777) != 0 && errno != EEXIST)
        return -errno;
    fd = openat(dir, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    *ret = fd;
    return 0;
}

/* Walk to the folder of `path`, which is cut into parts on the way.
 * @param ret   [out] descriptor, owned
 * @param last  [out] the last part, inside `path` */
static int files_walk(int dir, char *path, int *ret, char **last)
{
    NQI_CLEANUP(files_closep) int fd = fcntl(dir, F_DUPFD_CLOEXEC, 0);
    char *part = path;
    char *slash;

    if (fd < 0)
        return -errno;
    while ((slash = strchr(part, '/'))) {
        int next = -1;
        int err;

        *slash = 0;
        err = files_step(fd, part, &next);
        if (err)
            return err;
        close(fd);
        fd = next;
        part = slash + 1;
    }
    *ret = files_steal_fd(&fd);
    *last = part;
    return 0;
}

static int files_temp(int dir, char name[64], int *ret)
{
    static unsigned count;

    for (int i = 0; i < FILES_TRIES; i++) {
        int fd;

        snprintf(name, 64, ".netqueue-%ld-%u.part", (long)getpid(), count++);
        fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (fd >= 0) {
            *ret = fd;
            return 0;
        }
        if (errno != EEXIST)
            return -errno;
    }
    return -EEXIST;
}

/* Write all of `iov`, which is used up. */
static int files_writev(int fd, struct iovec *iov, int n)
{
    while (n > 0) {
        ssize_t done = writev(fd, iov, n);

        if (done < 0 && errno != EINTR)
            return -errno;
        for (; n > 0 && done > 0; iov++, n--) {
            if ((size_t)done < iov->iov_len) {
                iov->iov_base = (char *)iov->iov_base + done;
                iov->iov_len -= (size_t)done;
                break;
            }
            done -= (ssize_t)iov->iov_len;
        }
    }
    return 0;
}

/* Write the content of `stream`, which is used up. */
static int files_drain(int fd, nq_stream *stream)
{
    struct iovec iov[FILES_VECTOR];
    nq_view views[FILES_VECTOR];
    size_t n;
    int err = 0;

    while (!err && nq_stream_readchunks(stream, views, FILES_VECTOR, &n) == NQ_OK) {
        for (size_t i = 0; i < n; i++) {
            iov[i].iov_base = (void *)(uintptr_t)views[i].data; /* writev only reads */
            iov[i].iov_len = views[i].len;
        }
        err = files_writev(fd, iov, (int)n);
        for (size_t i = 0; i < n; i++)
            nq_view_release(&views[i]);
    }
    return err;
}

int nqi_files_write(int fd, nq_msg *msg)
{
    return files_drain(fd, nq_msg_stream(msg));
}

static int files_fill_temp(int fd, nq_msg *msg)
{
    NQI_CLEANUP(nqi_stream_freep) nq_stream *copy = NULL;

    if (nq_stream_copy(nq_msg_stream(msg), &copy) != NQ_OK)
        return -ENOMEM;
    return files_drain(fd, copy);
}

/* Take the name with an empty file, so that the rename cannot replace another's. */
static int files_reserve(int dir, const char *name)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);

    if (fd < 0)
        return -errno;
    close(fd);
    return 0;
}

/* Write a temporary file in `dir` and give it its name. */
static int files_publish(int dir, const char *name, nq_msg *msg)
{
    char temp[64];
    int fd = -1;
    int err = files_temp(dir, temp, &fd);

    if (err)
        return err;
    err = files_fill_temp(fd, msg);
    if (close(fd) != 0 && !err)
        err = -errno;
    if (!err && renameat(dir, temp, dir, name) != 0)
        err = -errno;
    if (err)
        unlinkat(dir, temp, 0);
    return err;
}

int nqi_files_store(int dir, const char *name, size_t len, nq_msg *msg, enum nqi_store how)
{
    NQI_CLEANUP(files_closep) int folder = -1;
    char path[PATH_MAX];
    char *last = path;
    int err;

    if (nqi_files_name_fault(name, len))
        return -EINVAL;
    memcpy(path, name, len);
    path[len] = 0;
    err = files_walk(dir, path, &folder, &last);
    if (err)
        return err;
    if (how == NQI_STORE_NEW) {
        err = files_reserve(folder, last);
        if (err)
            return err;
    }
    err = files_publish(folder, last, msg);
    if (err && how == NQI_STORE_NEW)
        unlinkat(folder, last, 0);
    return err;
}
