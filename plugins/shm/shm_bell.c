/* Bells: who is woken often is woken by a pipe, at half of what the socket costs.
 *
 *     who wakes                                        who sleeps
 *     rings over the socket, again and again
 *     a pipe; its reading end over the socket  ----->  watched for what comes (NQT_POLL_EDGE),
 *                                              <-----  and said so in the wait word
 *     a byte a sleep                           ----->  the watch calls; nothing is read
 *     so many that it may be full: a new one   ----->  takes the place of the last
 *
 * The flags of a descriptor belong to everybody who has it: who can make it block for one makes it
 * block for the other.  So what is written to must be the writer's alone, as the end of a pipe is
 * (an eventfd is not), and what is read from would have to be the reader's: nobody reads.  The
 * writer keeps the reading end, too: else a peer that closed it would have the system send SIGPIPE.
 *
 * Nothing is lost while a new pipe is on its way: the datagram that brings it wakes, as long as it
 * is unread.  Who has no descriptors left, or a system that does not report each byte, goes
 * without.
 *
 * Three descriptors a bell, and one at the reader, of which a program needs others: so no more
 * links of a queue have one than leave nine tenths of those that the process may open. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "shm.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#define BELL_SHARE 32    /* of the descriptors: one bell for so many */
#define BELL_AFTER 16u   /* rings over the socket: a bell spares about what it costs in so many */
#define BELL_BYTES 2048u /* the least that fits: a pipe has a page, when its user has very many */

void shm_bell_init(struct nqtp_link *link)
{
    link->bell = link->bell_end = link->heard = -1;
}

static void bell_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* ---- who wakes ----------------------------------------------------------------------------- */

static void bell_give_up(struct nqtp_link *link)
{
    if (link->bell >= 0)
        atomic_fetch_sub(&link->ep->mod->bells, 1);
    bell_close(&link->bell);
    bell_close(&link->bell_end);
    link->rings = 0;
}

static rlim_t bell_most(void)
{
    struct rlimit files;

    return getrlimit(RLIMIT_NOFILE, &files) ? 0 : files.rlim_cur / BELL_SHARE;
}

/* False: there are enough, or the system has no more. */
static bool bell_make(struct nqtp_link *link)
{
    _Atomic uint32_t *bells = &link->ep->mod->bells;
    int ends[2];

    if (atomic_fetch_add(bells, 1) >= bell_most() || pipe2(ends, O_CLOEXEC | O_NONBLOCK)) {
        atomic_fetch_sub(bells, 1);
        return false;
    }
    link->bell_end = ends[0];
    link->bell = ends[1];
    return true;
}

/* What brings it rings. */
static bool bell_pass(struct nqtp_link *link)
{
    bell_give_up(link);
    if (!bell_make(link))
        return false;
    if (!shm_socket_say_bell(link->fd, link->bell_end))
        return true;
    bell_give_up(link);
    return false;
}

/* A pipe that the peer filled wakes him no more: the socket does, and after a while another one. */
static bool bell_strike(struct nqtp_link *link)
{
    const uint8_t byte = 1;

    link->rings++;
    if (write(link->bell, &byte, sizeof(byte)) == (ssize_t)sizeof(byte))
        return true;
    bell_give_up(link);
    return false;
}

static void bell_ring(struct nqtp_link *link, bool hears)
{
    bool has = link->bell >= 0;
    bool due = has ? hears && link->rings >= BELL_BYTES : ++link->rings > BELL_AFTER;

    if (has && hears && !due && bell_strike(link))
        return;
    if (due && bell_pass(link))
        return;
    shm_socket_ring(link->fd);
}

/* Whoever puts may be here, and a thread that was cancelled here would stay in the serial. */
void shm_bell_ring(struct nqtp_link *link, bool hears)
{
    int cancel;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    bell_ring(link, hears);
    pthread_setcancelstate(cancel, NULL);
}

/* ---- who sleeps ---------------------------------------------------------------------------- */

static bool bell_reports; /* fixed by bell_try() */

/* Some systems report only the first byte that nobody read (Linux 5.5 to 5.13, without later
 * mending). */
static void bell_try(void)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    int ends[2], set = epoll_create1(EPOLL_CLOEXEC);

    if (set >= 0 && !pipe2(ends, O_CLOEXEC | O_NONBLOCK)) {
        bell_reports = !epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &event);
        for (int i = 0; i < 2; i++)
            bell_reports = bell_reports && write(ends[1], "", 1) == 1 &&
                           epoll_wait(set, &event, 1, 0) == 1 && !epoll_wait(set, &event, 1, 0);
        close(ends[0]);
        close(ends[1]);
    }
    bell_close(&set);
}

static bool bell_is_of_use(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, bell_try);
    return bell_reports;
}

/* F_GETPIPE_SZ fails for whatever is no pipe, and asks nobody's file system. */
static bool bell_is_pipe(int fd)
{
    return fcntl(fd, F_GETPIPE_SZ) > 0 && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY;
}

static void bell_unhear(struct nqtp_link *link)
{
    if (link->bell_watch)
        link->ep->mod->host->fd_del(link->bell_watch);
    link->bell_watch = NULL;
    bell_close(&link->heard);
}

static void bell_rang(void *arg, uint32_t events)
{
    struct nqtp_link *link = arg;

    (void)events;
    shm_link_enter(link);
    if (shm_link_open(link))
        shm_io_event(link, 0);
    shm_link_leave(link);
}

int shm_bell_hear(struct nqtp_link *link, int fd)
{
    bell_unhear(link);
    if (fd < 0)
        return 0;
    if (!bell_is_pipe(fd)) {
        close(fd);
        return EPERM;
    }
    link->heard = fd;
    if (bell_is_of_use() && !link->ep->mod->host->fd_add(link->serial, fd, POLLIN | NQT_POLL_EDGE,
                                                         bell_rang, link, &link->bell_watch))
        return 0;
    link->bell_watch = NULL;
    bell_unhear(link);
    return 0;
}

void shm_bell_end(struct nqtp_link *link)
{
    bell_give_up(link);
    bell_unhear(link);
}
