/**
 * @file
 * For transports that meet at a path: a unix socket in the file system, and what stands there
 * before it.
 *
 * The file of a process that died stays, and nobody can listen there until it is removed.  Two that
 * find it at the same time would both remove it, and the second one what the first has made; and a
 * socket that does not listen yet looks dead.  So whoever listens holds a lock on the folder
 * meanwhile:
 *
 *     lock = nqt_unix_lock(path);
 *     fd = lock < 0 ? lock : nqt_unix_listen(path, SOCK_STREAM, 0600, 128, &id);
 *     if (lock >= 0)
 *         close(lock);
 *
 * The file has its mode from its first moment on, and nobody is let in before listen().  What is no
 * socket, and what somebody listens at, is left alone.
 *
 * As transport_kit.h: no part of the ABI, all `static inline`; the core uses it, too.  It wants
 * _DEFAULT_SOURCE or _GNU_SOURCE.  Results that are negative are an errno.
 *
 * Thread: any.  Nothing blocks; a lock of somebody else is tried for some microseconds.
 */
#ifndef NETQUEUE_TRANSPORT_UNIX_H
#define NETQUEUE_TRANSPORT_UNIX_H

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

#ifdef __cplusplus
extern "C" {
#endif

/** Bytes of a path, with its NUL. */
#define NQT_UNIX_PATH sizeof(((struct sockaddr_un *)0)->sun_path)
#define NQT_UNIX_LOCK_TRIES 1000

/** Which file a socket is, so that another one in its place is left alone. */
struct nqt_unix_id {
    dev_t dev;
    ino_t ino;
};

/** Who is at the other end of a unix socket, or listened at it, as this process sees it. */
struct nqt_unix_peer {
    pid_t pid; /* 0 = of another namespace */
    uid_t uid;
    gid_t gid;
};

/** @param out  [out] after a failure: nobody, who has the highest numbers
 *  @return     0 or -errno */
static inline int nqt_unix_peer(int fd, struct nqt_unix_peer *out)
{
    struct nqt_unix_peer nobody = {0, (uid_t)-1, (gid_t)-1};
    socklen_t len = sizeof(*out);

    *out = nobody;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, out, &len) ? -errno : 0;
}

/** @return 0, or -ENAMETOOLONG */
static inline int nqt_unix_address(const char *path, struct sockaddr_un *out)
{
    memset(out, 0, sizeof(*out));
    out->sun_family = AF_UNIX;
    if (strlen(path) >= NQT_UNIX_PATH)
        return -ENAMETOOLONG;
    memcpy(out->sun_path, path, strlen(path) + 1);
    return 0;
}

/** @param type  SOCK_STREAM, SOCK_SEQPACKET
 *  @return a socket that does not block and is closed by exec, owned by the caller; or -errno */
static inline int nqt_unix_socket(int type)
{
    int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    return fd < 0 ? -errno : fd;
}

/** @return a socket that is connected, as above; or -errno, as ECONNREFUSED: nobody listens, and
 *          EAGAIN: somebody does, and is busy */
static inline int nqt_unix_connect(const char *path, int type)
{
    struct sockaddr_un addr;
    int rc = nqt_unix_address(path, &addr), fd = rc ? rc : nqt_unix_socket(type);

    if (fd < 0)
        return fd;
    do
        rc = connect(fd, (struct sockaddr *)&addr, sizeof(addr)) ? errno : 0;
    while (rc == EINTR);
    if (!rc)
        return fd;
    close(fd);
    return -rc;
}

/** The folder of `path`: "." when it names none.
 *  @param out  strlen(path) + 1 bytes, 2 at least */
static inline void nqt_unix_folder(const char *path, char *out)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash == path ? 1 : slash ? (size_t)(slash - path) : 0;

    memcpy(out, len ? path : ".", len ? len : 1);
    out[len ? len : 1] = '\0';
}

/** Lock the folder of `path` against others that would listen there.
 *  @return a descriptor of the folder, whose close() ends it; or -errno, EAGAIN: somebody has the
 *          lock */
static inline int nqt_unix_lock(const char *path)
{
    char folder[NQT_UNIX_PATH];
    int fd, rc = -1;

    if (strlen(path) >= NQT_UNIX_PATH)
        return -ENAMETOOLONG;
    nqt_unix_folder(path, folder);
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    for (int i = 0; rc && i < NQT_UNIX_LOCK_TRIES; i++) {
        rc = flock(fd, LOCK_EX | LOCK_NB) ? errno : 0;
        if (rc)
            (void)sched_yield();
    }
    if (!rc)
        return fd;
    close(fd);
    return -rc;
}

/** What listens there belongs to a process that has ended: a child that it forked holds its socket
 *  open, and answers nobody.  @param fd  connected to it */
static inline int nqt_unix_is_orphan(int fd)
{
    struct nqt_unix_peer peer;

    return !nqt_unix_peer(fd, &peer) && peer.pid > 0 && kill(peer.pid, 0) && errno == ESRCH;
}

/** Not 0: the file is a socket, and whoever listened there is dead. */
static inline int nqt_unix_is_stale(const char *path, int type)
{
    struct stat st;
    int fd, stale;

    if (lstat(path, &st) || !S_ISSOCK(st.st_mode))
        return 0;
    fd = nqt_unix_connect(path, type);
    stale = fd < 0 ? fd == -ECONNREFUSED : nqt_unix_is_orphan(fd);
    if (fd >= 0)
        close(fd);
    return stale;
}

/** bind(), in the place of a dead one's.  @return 0 or -errno */
static inline int nqt_unix_bind(int fd, const char *path, int type)
{
    struct sockaddr_un addr;
    int rc = nqt_unix_address(path, &addr);

    if (rc || !bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
        return rc;
    if (errno != EADDRINUSE)
        return -errno;
    if (!nqt_unix_is_stale(path, type))
        return -EADDRINUSE;
    return unlink(path) || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) ? -errno : 0;
}

/** Let others in, once the file is as it is to be; else it is removed.  @return 0 or -errno */
static inline int nqt_unix_publish(int fd, const char *path, mode_t mode, int backlog,
                                   struct nqt_unix_id *id)
{
    struct stat st;
    int rc;

    if (chmod(path, mode) || lstat(path, &st) || listen(fd, backlog)) {
        rc = -errno;
        unlink(path);
        return rc;
    }
    id->dev = st.st_dev;
    id->ino = st.st_ino;
    return 0;
}

/** Listen at `path`, which nqt_unix_lock() has locked.
 *
 * @param mode     of the file, whatever the umask is
 * @param backlog  connections that may wait for accept()
 * @param id       [out] for nqt_unix_remove()
 * @return         a socket as nqt_unix_socket()'s, owned by the caller; or -errno, EADDRINUSE:
 *                 something else is there */
static inline int nqt_unix_listen(const char *path, int type, mode_t mode, int backlog,
                                  struct nqt_unix_id *id)
{
    int fd = nqt_unix_socket(type), rc;

    if (fd < 0)
        return fd;
    /* The file takes its mode from the descriptor, less the umask: nobody ever sees it wider. */
    rc = fchmod(fd, mode) ? -errno : nqt_unix_bind(fd, path, type);
    if (!rc)
        rc = nqt_unix_publish(fd, path, mode, backlog, id);
    if (!rc)
        return fd;
    close(fd);
    return rc;
}

/** Remove the file at `path`, if it is that one. */
static inline void nqt_unix_remove(const char *path, const struct nqt_unix_id *id)
{
    struct stat st;

    if (!lstat(path, &st) && st.st_dev == id->dev && st.st_ino == id->ino)
        unlink(path);
}

#ifdef __cplusplus
}
#endif
#endif
