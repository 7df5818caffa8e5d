/* Two processes that find a dead one's socket at the same time would both remove it, and the second
 * one what the first has made: so whoever listens holds a lock on the folder while it does.  It is
 * held for some system calls, and tried a few times only: nobody waits for somebody else's lock. */
#include "core/local.h"

#include "core/err.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LOCAL_LOCK_TRIES 1000

static_assert(sizeof(((struct sockaddr_un *)NULL)->sun_path) == NQI_LOCAL_PATH + 1,
              "a path has room for its NUL");

static void local_closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

/* As NQI_STEAL(), of a descriptor. */
static int local_steal(int *fd)
{
    int stolen = *fd;

    *fd = -1;
    return stolen;
}

static int local_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static struct sockaddr_un local_address(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    memcpy(addr.sun_path, path, strlen(path) + 1);
    return addr;
}

/* ---- the folder ------------------------------------------------------------------------- */

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

static nq_err local_lock_folder(const char *path, int *ret)
{
    char name[NQI_LOCAL_PATH + 1];
    NQI_CLEANUP(local_closep) int fd = -1;
    char *slash;
    nq_err err;

    memcpy(name, path, strlen(path) + 1);
    slash = strrchr(name, '/');
    if (slash)
        slash[slash == name] = '\0';
    fd = open(slash ? name : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return nqi_fail_errno("cannot open the folder of %s", path);
    err = local_check_folder(fd, path);
    if (err)
        return err;
    for (int i = 0; flock(fd, LOCK_EX | LOCK_NB); i++) {
        if (i == LOCAL_LOCK_TRIES)
            return nqi_fail_errno("cannot lock the folder of %s", path);
        (void)sched_yield();
    }
    *ret = local_steal(&fd);
    return NQ_OK;
}

/* ---- who was here before ---------------------------------------------------------------- */

/* What listens there belongs to a process that has ended: a child that it forked holds its socket
 * open, and answers nobody. */
static bool local_is_orphan(int fd, pid_t *process)
{
    struct ucred who = {.pid = 0};
    socklen_t len = sizeof(who);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len))
        return false;
    *process = who.pid;
    return who.pid > 0 && kill(who.pid, 0) && errno == ESRCH;
}

/* @return NQ_OK: it is a dead process's socket, and may be removed */
static nq_err local_check_stale(const char *path)
{
    struct sockaddr_un addr = local_address(path);
    NQI_CLEANUP(local_closep) int fd = -1;
    pid_t process = 0;
    struct stat st;

    if (lstat(path, &st))
        return nqi_fail_errno("cannot look at %s", path);
    if (!S_ISSOCK(st.st_mode))
        return nqi_fail(NQ_ERR_SYS, "%s is there, and is no socket", path);
    if (st.st_uid != geteuid())
        return nqi_fail(NQ_ERR_SYS, "the socket %s belongs to user %lu", path,
                        (unsigned long)st.st_uid);
    fd = local_socket();
    if (fd < 0)
        return nqi_fail_errno("cannot open a socket");
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
        if (errno == ECONNREFUSED)
            return NQ_OK;
        if (errno != EAGAIN) /* else somebody listens, and is busy */
            return nqi_fail_errno("cannot find out whose socket %s is", path);
    } else if (local_is_orphan(fd, &process)) {
        return NQ_OK;
    }
    return nqi_fail(NQ_ERR_SYS, "process %ld listens at %s: each queue needs a socket of its own",
                    (long)process, path);
}

/* ---- listening -------------------------------------------------------------------------- */

static nq_err local_bind(int fd, const char *path)
{
    struct sockaddr_un addr = local_address(path);
    nq_err err;

    /* The file takes its mode from the descriptor, less the umask: nobody ever sees it wider. */
    if (fchmod(fd, S_IRUSR | S_IWUSR))
        return nqi_fail_errno("cannot set the mode of %s", path);
    if (!bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
        return NQ_OK;
    if (errno != EADDRINUSE)
        return nqi_fail_errno("cannot make the socket %s", path);
    err = local_check_stale(path);
    if (err)
        return err;
    if (unlink(path) || bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
        return nqi_fail_errno("cannot replace the socket %s", path);
    return NQ_OK;
}

static nq_err local_listen(int fd, const char *path, int backlog, struct nqi_local_id *id)
{
    nq_err err = local_bind(fd, path);
    struct stat st;

    if (err)
        return err;
    if (listen(fd, backlog) || lstat(path, &st)) {
        err = nqi_fail_errno("cannot listen at %s", path);
        unlink(path);
        return err;
    }
    *id = (struct nqi_local_id){.dev = st.st_dev, .ino = st.st_ino};
    return NQ_OK;
}

nq_err nqi_local_listen(const char *path, int backlog, struct nqi_local_id *id, int *ret)
{
    NQI_CLEANUP(local_closep) int folder = -1;
    NQI_CLEANUP(local_closep) int fd = -1;
    nq_err err;

    if (strlen(path) > NQI_LOCAL_PATH)
        return nqi_fail(NQ_ERR_SYS, "%s is longer than %d bytes, too long for a socket", path,
                        NQI_LOCAL_PATH);
    err = local_lock_folder(path, &folder);
    if (err)
        return err;
    fd = local_socket();
    if (fd < 0)
        return nqi_fail_errno("cannot open a socket");
    err = local_listen(fd, path, backlog, id);
    if (err)
        return err;
    *ret = local_steal(&fd);
    return NQ_OK;
}

static bool local_is_allowed(int fd)
{
    struct ucred who;
    socklen_t len = sizeof(who);

    return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) &&
           (who.uid == geteuid() || who.uid == 0);
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

void nqi_local_remove(const char *path, const struct nqi_local_id *id)
{
    struct stat st;

    if (!lstat(path, &st) && st.st_dev == id->dev && st.st_ino == id->ino)
        unlink(path);
}
