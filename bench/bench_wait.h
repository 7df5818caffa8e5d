/* What the rows of bench_wait share: loopback, the link that they wait for, and the rows. */
#ifndef NQ_BENCH_WAIT_H
#define NQ_BENCH_WAIT_H

#include "bench/report.h"
#include "core/hot.h"
#include "core/loop.h"
#include "core/wait.h"
#include <netinet/in.h>
#include <stdatomic.h>

#define WAIT_SIZE 64 /* bytes of a message */

extern uint64_t wait_count;  /* round trips, or puts, of a row */
extern unsigned wait_idle_s; /* that the idle rows last */

/* A failure of the core ends the program. */
void wait_need(nq_err err);

int wait_listen(struct sockaddr_in *addr);
int wait_connect(const struct sockaddr_in *addr);
int wait_accept(int listener);

/* What a transport's link is: a watch, and a part in the hot set (poll = recv without waiting, arm
 * = change what epoll reports). */
struct wait_link {
    struct nqi_loop *loop;
    struct nqi_room *room;
    struct nqi_serial serial;
    struct nqi_watch *watch;
    struct nqi_hot hot;
    int fd;
    size_t have;             /* bytes of the next message; inside the strand */
    _Atomic uint64_t unread; /* messages */
    _Atomic bool closed;
};

void wait_link_open(struct wait_link *link, int fd, enum nqi_room_mode mode, int64_t spin_ns);
void wait_link_close(struct wait_link *link);
void wait_link_put(struct wait_link *link, const char *message);
bool wait_link_get(struct wait_link *link); /* false: the other side is gone */
void *wait_getter(void *link);              /* a thread that gets until then */

/* The rows.  `arg`: struct wait_rtt, nothing, nothing, struct wait_idle. */
struct wait_rtt {
    const char *name;
    bool raw;
    int64_t spin_ns; /* raw: anything but 0 spins for ever */
    bool one_core;
    struct sockaddr_in addr;
};

struct wait_idle {
    const char *name;
    enum nqi_room_mode mode;
    bool getter;
};

void wait_run_rtt(void *arg);
void wait_run_put(void *arg);
void wait_run_words(void *arg);
void wait_run_idle(void *arg);

#endif
