/* The unix socket of a link: a path to meet at, one datagram with memory from each side, and bytes
 * that wake.
 *
 *     HELLO    40 bytes and one descriptor: "nqshm", zeros up to 8; version (u32),
 *              bytes of a cell (u32), cells (u32), tokens (u32), bytes of the
 *              inline ring (u32), 0 (u32), bytes of the outbox (u64)
 *     RING     one byte, 1: look again
 *     SEGMENT  16 bytes and one descriptor: 2 (u32), number (u32), bytes (u64)
 *     BELL   16 bytes and one descriptor: 3 (u32), 0 (u32), 0 (u64); a ring, too
 *
 * SOCK_SEQPACKET keeps them apart.  Nobody waits here. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "shm.h"
#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SOCKET_NOBODY 65534u /* whoever has no number in our namespace of users is that */

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

#define SOCKET_MAGIC "nqshm\0\0"
#define SOCKET_RING 1u
#define SOCKET_SEGMENT 2u
#define SOCKET_BELL 3u

_Static_assert(SHM_PATH_MAX == NQT_UNIX_PATH, "of a unix socket");

struct socket_hello {
    char magic[8];
    uint32_t version, cell;
    struct shm_sizes sizes;
    uint32_t zero;
    uint64_t len;
};

struct socket_segment {
    uint32_t kind, number;
    uint64_t len;
};

_Static_assert(sizeof(struct socket_hello) == 40 && sizeof(struct socket_segment) == 16,
               "as they travel");

/* ---- the path ---------------------------------------------------------------------------- */

int shm_socket_connect(const char *path)
{
    return nqt_unix_connect(path, SOCK_SEQPACKET);
}

int shm_socket_listen(const struct shm_opts *opts, struct nqt_unix_id *id, struct nqt_error *err)
{
    int lock = nqt_unix_lock(opts->path), fd;

    if (lock < 0)
        return shm_say_listen(opts->path, -lock, err);
    fd = nqt_unix_listen(opts->path, SOCK_SEQPACKET, opts->mode, opts->backlog, id);
    close(lock);
    return fd < 0 ? shm_say_listen(opts->path, -fd, err) : fd;
}

void shm_socket_peer(int fd, char out[SHM_NAME_MAX])
{
    struct nqt_unix_peer who;

    if (nqt_unix_peer(fd, &who))
        snprintf(out, SHM_NAME_MAX, "a process");
    else
        snprintf(out, SHM_NAME_MAX, "process %ld of user %lu", (long)who.pid,
                 (unsigned long)who.uid);
}

/* A socket hangs up when the last process that has it is gone, and a forked child has it too.
 * SO_PEERPIDFD knows the process itself; before Linux 6.5 there is but its number, which may be
 * another one's by now: then this tells nothing, and the socket does.  In another namespace of
 * processes it has no number. */
int shm_socket_process(int fd)
{
    struct nqt_unix_peer who;
    int process = -1;
    socklen_t len = sizeof(process);

    if (nqt_unix_peer(fd, &who) || who.pid == getpid())
        return -1;
    if (!getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &process, &len))
        return process;
    return who.pid > 0 ? (int)syscall(SYS_pidfd_open, who.pid, 0) : -1;
}

/* Its namespace of processes is ours.  Of one that may not be looked at, too little is known. */
static bool socket_is_beside_us(pid_t process)
{
    char path[32];
    struct stat ours, theirs;

    snprintf(path, sizeof(path), "/proc/%ld/ns/pid", (long)process);
    return !stat("/proc/self/ns/pid", &ours) && !stat(path, &theirs) &&
           ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

bool shm_socket_is_ours(int fd)
{
    struct nqt_unix_peer who;

    return !nqt_unix_peer(fd, &who) && who.uid == geteuid() && who.uid != SOCKET_NOBODY &&
           who.pid > 0 && socket_is_beside_us(who.pid);
}

/* ---- the greeting ------------------------------------------------------------------------ */

union socket_control {
    struct cmsghdr head;
    char room[CMSG_SPACE(sizeof(int))];
};

/* @return 0 or an errno */
static int socket_say(int fd, void *data, size_t len, int memfd)
{
    struct iovec iov = {data, len};
    union socket_control control = {0};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.room,
                         .msg_controllen = sizeof(control.room)};
    ssize_t n;

    control.head = (struct cmsghdr){
        .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.head), &memfd, sizeof(memfd));
    do
        n = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? errno : 0;
}

int shm_socket_say_hello(int fd, const struct shm_sizes *sizes, int memfd)
{
    struct socket_hello hello = {.magic = SOCKET_MAGIC,
                                 .version = SHM_VERSION,
                                 .cell = SHM_CELL,
                                 .sizes = *sizes,
                                 .len = shm_outbox_size(sizes)};

    return socket_say(fd, &hello, sizeof(hello), memfd);
}

/* The one descriptor that came, or -1.  There was room for no other, so none is left open. */
static int socket_descriptor(struct msghdr *msg)
{
    struct cmsghdr *head = CMSG_FIRSTHDR(msg);
    int fd = -1;

    if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS &&
        head->cmsg_len == CMSG_LEN(sizeof(fd)))
        memcpy(&fd, CMSG_DATA(head), sizeof(fd));
    return fd;
}

/* A datagram of `len` bytes at most, and a descriptor or -1.  CMSG_LEN and not CMSG_SPACE: behind
 * one descriptor the latter has room for a second.  A peer that ended with bytes unread is told
 * first, once; what it had sent before is still there behind that.
 * @param cut [out] a descriptor was sent and is not here: this process may have no more
 * @return bytes, or -errno */
static ssize_t socket_receive(int fd, void *data, size_t len, int *passed, bool *cut)
{
    struct iovec iov = {data, len};
    union socket_control control;
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.room,
                         .msg_controllen = CMSG_LEN(sizeof(int))};
    unsigned resets = 0;
    ssize_t n;

    do
        n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (n < 0 && (errno == EINTR || (errno == ECONNRESET && !resets++)));
    if (n < 0)
        return -errno;
    *passed = socket_descriptor(&msg);
    *cut = msg.msg_flags & MSG_CTRUNC;
    if (!(msg.msg_flags & ((*passed < 0 ? 0 : MSG_CTRUNC) | MSG_TRUNC)))
        return n;
    if (*passed >= 0)
        close(*passed);
    *passed = -1;
    return -EPROTO;
}

static bool socket_hello_ok(const struct socket_hello *hello)
{
    return memcmp(hello->magic, SOCKET_MAGIC, sizeof(hello->magic)) == 0 &&
           hello->version == SHM_VERSION && hello->cell == SHM_CELL && !hello->zero &&
           shm_sizes_ok(&hello->sizes) && hello->len == shm_outbox_size(&hello->sizes);
}

int shm_socket_hear_hello(int fd, struct shm_sizes *sizes, int *memfd)
{
    struct socket_hello hello = {.version = 0};
    int passed = -1;
    bool cut = false;
    ssize_t n = socket_receive(fd, &hello, sizeof(hello), &passed, &cut);

    if (n == -EAGAIN || n == -EWOULDBLOCK)
        return EAGAIN;
    if (n < 0)
        return n == -EPROTO ? EPROTO : ECONNRESET;
    if (n == sizeof(hello) && socket_hello_ok(&hello) && (passed >= 0 || cut)) {
        *sizes = hello.sizes;
        *memfd = passed;
        return cut ? EMFILE : 0;
    }
    if (passed >= 0)
        close(passed);
    return n || passed >= 0 ? EPROTO : ECONNRESET;
}

/* ---- rings and segments -------------------------------------------------------------------- */

void shm_socket_ring(int fd)
{
    const uint8_t byte = SOCKET_RING;
    ssize_t n;

    do
        n = send(fd, &byte, sizeof(byte), MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
}

int shm_socket_say_segment(int fd, uint32_t number, size_t len, int memfd)
{
    struct socket_segment segment = {.kind = SOCKET_SEGMENT, .number = number, .len = len};

    return socket_say(fd, &segment, sizeof(segment), memfd);
}

int shm_socket_say_bell(int fd, int pipe)
{
    struct socket_segment bell = {.kind = SOCKET_BELL};

    return socket_say(fd, &bell, sizeof(bell), pipe);
}

static bool socket_segment_ok(const struct socket_segment *segment)
{
    return segment->kind == SOCKET_SEGMENT && segment->len && segment->len <= SHM_SEGMENT_MAX;
}

static bool socket_bell_ok(const struct socket_segment *bell)
{
    return bell->kind == SOCKET_BELL && !bell->number && !bell->len;
}

/* What `n` bytes say that came with a descriptor, or without.  False: nothing that makes sense. */
static bool socket_understand(const struct socket_segment *said, ssize_t n, int passed, bool cut,
                              struct shm_said *ret)
{
    *ret = (struct shm_said){.kind = SHM_SAID_RING, .fd = passed};
    if (n == 1)
        return passed < 0 && !cut && said->kind == SOCKET_RING;
    if (n != sizeof(*said))
        return false;
    if (socket_bell_ok(said)) {
        ret->kind = SHM_SAID_BELL;
        return passed >= 0 || cut;
    }
    ret->kind = SHM_SAID_SEGMENT;
    ret->number = said->number;
    ret->len = (size_t)said->len;
    return passed >= 0 && socket_segment_ok(said);
}

int shm_socket_hear(int fd, struct shm_said *ret)
{
    struct socket_segment said = {.kind = 0};
    bool cut = false;
    int passed = -1;
    ssize_t n = socket_receive(fd, &said, sizeof(said), &passed, &cut);

    if (n == -EAGAIN || n == -EWOULDBLOCK)
        return EAGAIN;
    if (n < 0)
        return n == -EPROTO ? EPROTO : ECONNRESET;
    if (!n && passed < 0 && !cut)
        return ECONNRESET;
    if (socket_understand(&said, n, passed, cut, ret))
        return 0;
    if (passed >= 0)
        close(passed);
    return cut && n == sizeof(said) && socket_segment_ok(&said) ? EMFILE : EPROTO;
}
