/**
 * @file
 * For transports that accept() connections themselves: what to do when descriptors or memory run
 * out.
 *
 * A listening socket whose backlog is not empty stays readable, so a server that cannot accept
 * would turn in circles, and who waits in the backlog would hang.  A door keeps a descriptor in
 * reserve: without another one it gives that up, accepts and closes one connection, and takes a new
 * one in reserve.  Then it rests: nobody watches the sockets until a timer opens it again.
 *
 *     open --nqt_door_failed(), nqt_door_rest()--> resting --NQT_DOOR_REST_NS--> open
 *
 * As transport_kit.h: no part of the ABI, all `static inline`.
 *
 * Thread: in the serial of the endpoint.  Nothing blocks, as long as the listening socket does not.
 */
#ifndef NETQUEUE_TRANSPORT_ACCEPT_H
#define NETQUEUE_TRANSPORT_ACCEPT_H

#include <errno.h>
#include <netqueue/transport_kit.h>
#include <sys/socket.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

/** How long a door rests. */
#define NQT_DOOR_REST_NS INT64_C(100000000)
/** At most one line is logged in so long. */
#define NQT_DOOR_SAY_NS INT64_C(10000000000)

/** One for all listening sockets of an endpoint. */
struct nqt_door {
    const struct nqt_host *host;
    nqt_core *core;
    void (*watch)(void *arg, int on); /* have the sockets watched again, or no longer */
    void *arg;
    nqt_watch *timer;
    int spare;   /* given up to accept, and so refuse; -1 = there was none to be had */
    int resting; /* not 0: do not accept */
    int64_t said_ns;
};

static inline void nqt_door_take_spare(struct nqt_door *door)
{
    if (door->spare < 0) /* a socket needs no file to open */
        door->spare = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

static inline void nqt_door_on_timer(void *arg)
{
    struct nqt_door *door = (struct nqt_door *)arg;

    nqt_door_take_spare(door);
    door->resting = 0;
    door->watch(door->arg, 1);
}

/** Before the first accept().
 *
 * @param door   must be in one place from here on
 * @param watch  called with `arg`; not after nqt_door_close()
 * @return       0, or NQT_E_*: no timer, and nothing to close */
static inline int nqt_door_open(struct nqt_door *door, const struct nqt_host *host, nqt_core *core,
                                nqt_serial *serial, void (*watch)(void *arg, int on), void *arg)
{
    int rc;

    memset(door, 0, sizeof(*door));
    door->spare = -1;
    rc = host->timer_add(serial, nqt_door_on_timer, door, &door->timer);
    if (rc) {
        door->timer = NULL;
        return rc;
    }
    door->host = host;
    door->core = core;
    door->watch = watch;
    door->arg = arg;
    nqt_door_take_spare(door);
    return NQT_OK;
}

/** Twice is allowed, and of one that is all zeros. */
static inline void nqt_door_close(struct nqt_door *door)
{
    if (!door->host)
        return;
    nqt_timer_stop(door->host, &door->timer);
    if (door->spare >= 0)
        close(door->spare);
    memset(door, 0, sizeof(*door));
}

/** Accept nothing for a while.  @param cause  for the log, and what to do about it */
static inline void nqt_door_rest(struct nqt_door *door, const char *cause)
{
    int64_t now = door->host->now_ns(door->core);

    if (!door->said_ns || now - door->said_ns > NQT_DOOR_SAY_NS) {
        door->said_ns = now;
        nqt_log(door->host, door->core, NQT_LOG_WARN, "connections cannot be accepted: %s", cause);
    }
    door->resting = 1;
    door->watch(door->arg, 0);
    door->host->timer_set(door->timer, now + NQT_DOOR_REST_NS);
}

/** Who waits for longest learns that he is refused, rather than hang. */
static inline void nqt_door_turn_away(struct nqt_door *door, int listener)
{
    int fd;

    if (door->spare < 0)
        return;
    close(door->spare);
    door->spare = -1;
    fd = accept(listener, NULL, NULL);
    if (fd >= 0)
        close(fd);
    nqt_door_take_spare(door);
}

/** accept() has failed.
 *
 * @param listener  that it was called with; does not block
 * @param error     errno
 * @return          not 0: it may be called again at once, only that one connection was lost; 0: not
 *                  before the socket is readable again, or the door has rested */
static inline int nqt_door_failed(struct nqt_door *door, int listener, int error)
{
    switch (error) {
    case EMFILE:
    case ENFILE:
        nqt_door_turn_away(door, listener);
        nqt_door_rest(door, error == EMFILE
                                ? "too many open files; raise the limit of this process (ulimit -n)"
                                : "too many open files in the system; raise fs.file-max");
        return 0;
    case ENOBUFS:
    case ENOMEM:
        nqt_door_rest(door, "the system has no memory for sockets");
        return 0;
    case EAGAIN:
        return 0;
    default:
        return 1; /* ECONNABORTED and the like */
    }
}

#ifdef __cplusplus
}
#endif
#endif
