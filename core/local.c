/* How a socket comes to its place is in <netqueue/transport_unix.h>; here is who may, and in words
 * what stands in the way. */
#include "core/local.h"

#include "core/err.h"
#include <errno.h>
#include <unistd.h>

static_assert(NQT_UNIX_PATH == NQI_LOCAL_PATH + 1, "a path has room for its NUL");

static void local_closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static nq_err local_fail(int rc, const char *path, const char *what)
{
    errno = -rc;
    return nqi_fail_errno("cannot %s %s", what, path);
}

/* In a folder that others may write to, the sticky bit keeps them from our files. */
static nq_err local_check_folder(int folder, const char *path)
{
    struct stat st;

    if (fstat(folder, &st))
        return nqi_fail_errno("cannot look at the folder of %s", path);
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return nqi_fail(NQ_ERR_SYS,
                        "the folder of %s belongs to user %lu, neither to us nor to root", path,
                        (unsigned long)st.st_uid);
    if (st.st_mode & (S_IWGRP | S_IWOTH) && !(st.st_mode & S_ISVTX))
        return nqi_fail(NQ_ERR_SYS,
                        "other users may replace files in the folder of %s (mode %03o): chmod go-w "
                        "on it",
                        path, (unsigned)st.st_mode & 07777u);
    return NQ_OK;
}

/* What stands there is no other user's: root might remove that, and shall not. */
static nq_err local_check_owner(const char *path)
{
    struct stat st;

    if (lstat(path, &st) || st.st_uid == geteuid())
        return NQ_OK;
    return nqi_fail(NQ_ERR_SYS, "the socket %s belongs to user %lu", path,
                    (unsigned long)st.st_uid);
}

/* Something is there that is not to be replaced: what? */
static nq_err local_tell_in_use(const char *path)
{
    struct nqt_unix_peer who = {.pid = 0};
    NQI_CLEANUP(local_closep) int fd = -1;
    struct stat st;

    if (lstat(path, &st) || !S_ISSOCK(st.st_mode))
        return nqi_fail(NQ_ERR_SYS, "%s is there, and is no socket", path);
    fd = nqt_unix_connect(path, SOCK_STREAM);
    if (fd < 0 && fd != -EAGAIN) /* else somebody listens, and is busy */
        return local_fail(fd, path, "find out whose is the socket");
    if (fd >= 0)
        (void)nqt_unix_peer(fd, &who);
    return nqi_fail(NQ_ERR_SYS, "process %ld listens at %s: each queue needs a socket of its own",
                    (long)who.pid, path);
}

nq_err nqi_local_listen(const char *path, int backlog, struct nqt_unix_id *id, int *ret)
{
    NQI_CLEANUP(local_closep) int folder = nqt_unix_lock(path);
    nq_err err;
    int fd;

    if (folder == -ENAMETOOLONG)
        return nqi_fail(NQ_ERR_SYS, "%s is longer than %d bytes, too long for a socket", path,
                        NQI_LOCAL_PATH);
    if (folder < 0)
        return local_fail(folder, path,
                          folder == -EAGAIN ? "lock the folder of" : "open the folder of");
    err = local_check_folder(folder, path);
    if (!err)
        err = local_check_owner(path);
    if (err)
        return err;
    fd = nqt_unix_listen(path, SOCK_STREAM, S_IRUSR | S_IWUSR, backlog, id);
    if (fd < 0)
        return fd == -EADDRINUSE ? local_tell_in_use(path) : local_fail(fd, path, "listen at");
    *ret = fd;
    return NQ_OK;
}

static bool local_is_allowed(int fd)
{
    struct nqt_unix_peer who;

    return !nqt_unix_peer(fd, &who) && (who.uid == geteuid() || who.uid == 0);
}

int nqi_local_accept(int fd)
{
    for (;;) {
        int got = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (got < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (got < 0 || local_is_allowed(got))
            return got;
        close(got);
    }
}
