/* A room to wait in, and who and what comes there: for the tests of core/wait*.c. */
#ifndef NQTEST_ROOM_H
#define NQTEST_ROOM_H

#include "core/wait.h"
#include "tests/support/loop_rig.h"
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>

/* The room of the test that runs, with one strand. */
extern struct nqtest_room {
    struct nqi_loop *loop;
    struct nqi_room *room;
    struct nqi_serial serial;
    atomic_int items; /* what most conditions wait for */
} nqtest;

void nqtest_room_open(enum nqi_room_mode mode, int64_t spin_ns);
void nqtest_room_close(void);

/* Be inside the strand; others are there for moments only.  nqi_strand_leave() ends it. */
void nqtest_go_inside(void);

/* Until another thread has come so far; there is no event for it. */
#define NQTEST_UNTIL(condition) \
    do {                        \
        while (!(condition))    \
            sched_yield();      \
    } while (0)

/* Conditions: takes one of the items that the atomic_int `arg` counts; never holds. */
bool nqtest_claim(void *arg);
bool nqtest_never(void *arg);

/* One item more of the atomic_int `arg`; and tell the room; post `fn`, post a semaphore. */
void nqtest_give(void *arg);
void nqtest_give_and_tell(void *arg);
void nqtest_post(void (*fn)(void *), void *arg);
void nqtest_post_semaphore(void *arg);

/* A descriptor that gives one item each time it is rung. */
struct nqtest_bell {
    int fd;
    struct nqi_watch *watch;
    atomic_int *gives;
};
void nqtest_bell_open(struct nqtest_bell *bell, atomic_int *gives);
void nqtest_bell_ring(struct nqtest_bell *bell);
void nqtest_bell_close(struct nqtest_bell *bell);

/* A thread that waits once. */
struct nqtest_getter {
    pthread_t thread;
    nqi_ready_fn ready;
    void *arg;
    int64_t timeout_ns;
    nq_err err;
};
void nqtest_getter_start(struct nqtest_getter *getter, nqi_ready_fn ready, void *arg,
                         int64_t timeout_ns);
nq_err nqtest_getter_join(struct nqtest_getter *getter);

/* A user's callback that says when it runs, and waits for `go` when it is told to. */
struct nqtest_callback {
    struct nqi_callback callback;
    sem_t started, go;
    bool waits;
};
void nqtest_callback_init(struct nqtest_callback *call, bool waits);

/* A link of a transport without a descriptor of its own, like a ring in shared memory: arming it
 * answers that data is there, as often as `data` says. */
struct nqtest_ring {
    struct nqi_hot hot;
    atomic_int data, *gives;
    bool endless;
};

int nqtest_ring_poll(void *arg);
int nqtest_ring_arm(void *arg, int on);

/* The same, but data comes in the moment of the first arming. */
int nqtest_ring_arm_late(void *arg, int on);

/* Open, and hot. */
void nqtest_ring_open(struct nqtest_ring *ring, atomic_int *gives, int (*poll_fn)(void *),
                      int (*arm_fn)(void *, int));
void nqtest_ring_close(struct nqtest_ring *ring);

#endif
