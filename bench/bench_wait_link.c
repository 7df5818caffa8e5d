/* A link over plain tcp on loopback, as the rows of bench_wait use it. */
#include "bench/bench_wait.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <netqueue/future.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void wait_need(nq_err err)
{
    if (err)
        bench_die("netqueue", nq_error());
}

int wait_listen(struct sockaddr_in *addr)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof(*addr);

    *addr = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || bind(fd, (struct sockaddr *)addr, len) || listen(fd, 4) ||
        getsockname(fd, (struct sockaddr *)addr, &len))
        bench_die("listen", NULL);
    return fd;
}

static int no_delay(int fd)
{
    int on = 1;

    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
        bench_die("connect", NULL);
    return fd;
}

int wait_connect(const struct sockaddr_in *addr)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (const struct sockaddr *)addr, sizeof(*addr)))
        bench_die("connect", NULL);
    return no_delay(fd);
}

int wait_accept(int listener)
{
    return no_delay(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
}

static int link_receive(void *arg)
{
    struct wait_link *link = arg;
    char bytes[16 * WAIT_SIZE];
    ssize_t n = recv(link->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n <= 0) {
        atomic_store(&link->closed, true);
        return 0;
    }
    link->have += (size_t)n;
    atomic_fetch_add(&link->unread, link->have / WAIT_SIZE);
    link->have %= WAIT_SIZE;
    nqi_hot_touch(nqi_loop_hot(link->loop), &link->hot);
    return 1;
}

static void link_on_fd(void *arg, uint32_t events)
{
    (void)events;
    link_receive(arg);
}

static int link_arm(void *arg, int on)
{
    struct wait_link *link = arg;

    wait_need(nqi_fd_mod(link->watch, on ? POLLIN : 0));
    return 0;
}

void wait_link_open(struct wait_link *link, int fd, enum nqi_room_mode mode, int64_t spin_ns)
{
    memset(link, 0, sizeof(*link));
    link->fd = fd;
    wait_need(nqi_loop_new(&link->loop));
    wait_need(nqi_room_new(link->loop, mode, spin_ns, &link->room));
    link->serial = (struct nqi_serial){.strand = nqi_strand_new(), .loop = link->loop};
    if (!link->serial.strand)
        bench_die("strand", NULL);
    link->hot = (struct nqi_hot){
        .poll = link_receive, .arm = link_arm, .arg = link, .strand = link->serial.strand};
    nqi_strand_enter_new(link->serial.strand);
    wait_need(nqi_fd_add(&link->serial, fd, POLLIN, link_on_fd, link, &link->watch));
    nqi_strand_leave(link->serial.strand);
}

void wait_link_close(struct wait_link *link)
{
    while (!nqi_strand_try(link->serial.strand))
        sched_yield();
    nqi_hot_del(nqi_loop_hot(link->loop), &link->hot);
    nqi_watch_del(link->watch);
    nqi_strand_leave(link->serial.strand);
    nqi_strand_unref(link->serial.strand);
    nqi_room_free(link->room);
    nqi_loop_free(link->loop);
    close(link->fd);
}

void wait_link_put(struct wait_link *link, const char *message)
{
    while (!nqi_strand_try(link->serial.strand))
        nqi_relax();
    if (send(link->fd, message, WAIT_SIZE, MSG_NOSIGNAL | MSG_DONTWAIT) != WAIT_SIZE)
        bench_die("send", NULL);
    nqi_strand_leave(link->serial.strand);
}

static bool link_ready(void *arg)
{
    struct wait_link *link = arg;

    if (!atomic_load(&link->unread))
        return atomic_load(&link->closed);
    atomic_fetch_sub(&link->unread, 1);
    return true;
}

bool wait_link_get(struct wait_link *link)
{
    wait_need(nqi_room_wait(link->room, link_ready, link, NQ_FOREVER));
    return !atomic_load(&link->closed);
}

void *wait_getter(void *arg)
{
    struct wait_link *link = arg;

    while (wait_link_get(link))
        ;
    return NULL;
}
