#include "tests/support/room.h"

#include <check.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct nqtest_room nqtest;

void nqtest_room_open(enum nqi_room_mode mode, int64_t spin_ns)
{
    ck_assert_int_eq(nqi_loop_new(&nqtest.loop), NQ_OK);
    ck_assert_int_eq(nqi_room_new(nqtest.loop, mode, spin_ns, &nqtest.room), NQ_OK);
    nqtest.serial.strand = nqi_strand_new();
    nqtest.serial.loop = nqtest.loop;
    ck_assert_ptr_nonnull(nqtest.serial.strand);
}

void nqtest_room_close(void)
{
    nqi_room_free(nqtest.room);
    nqi_loop_free(nqtest.loop);
    nqi_strand_unref(nqtest.serial.strand);
}

void nqtest_go_inside(void)
{
    while (!nqi_strand_try(nqtest.serial.strand))
        sched_yield();
}

bool nqtest_claim(void *arg)
{
    atomic_int *n = arg;
    int have = atomic_load(n);

    while (have > 0 && !atomic_compare_exchange_weak(n, &have, have - 1))
        ;
    return have > 0;
}

bool nqtest_never(void *arg)
{
    (void)arg;
    return false;
}

void nqtest_give(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

void nqtest_give_and_tell(void *arg)
{
    nqtest_give(arg);
    nqi_room_notify(nqtest.room);
}

void nqtest_post(void (*fn)(void *), void *arg)
{
    ck_assert_int_eq(nqi_post(&nqtest.serial, fn, arg), NQ_OK);
}

void nqtest_post_semaphore(void *arg)
{
    sem_post(arg);
}

static void bell_on_fd(void *arg, uint32_t events)
{
    struct nqtest_bell *bell = arg;
    uint64_t count = 0;

    (void)events;
    if (read(bell->fd, &count, sizeof(count)) == sizeof(count))
        atomic_fetch_add(bell->gives, (int)count);
}

void nqtest_bell_open(struct nqtest_bell *bell, atomic_int *gives)
{
    bell->gives = gives;
    bell->fd = eventfd(0, EFD_NONBLOCK);
    ck_assert_int_ge(bell->fd, 0);
    nqtest_go_inside();
    ck_assert_int_eq(nqi_fd_add(&nqtest.serial, bell->fd, POLLIN, bell_on_fd, bell, &bell->watch),
                     NQ_OK);
    nqi_strand_leave(nqtest.serial.strand);
}

void nqtest_bell_ring(struct nqtest_bell *bell)
{
    uint64_t one = 1;

    ck_assert_int_eq(write(bell->fd, &one, sizeof(one)), sizeof(one));
}

void nqtest_bell_close(struct nqtest_bell *bell)
{
    nqtest_go_inside();
    nqi_watch_del(bell->watch);
    nqi_strand_leave(nqtest.serial.strand);
    close(bell->fd);
}

static void *getter_main(void *arg)
{
    struct nqtest_getter *getter = arg;

    getter->err = nqi_room_wait(nqtest.room, getter->ready, getter->arg, getter->timeout_ns);
    return NULL;
}

void nqtest_getter_start(struct nqtest_getter *getter, nqi_ready_fn ready, void *arg,
                         int64_t timeout_ns)
{
    getter->ready = ready;
    getter->arg = arg;
    getter->timeout_ns = timeout_ns;
    ck_assert_int_eq(pthread_create(&getter->thread, NULL, getter_main, getter), 0);
}

nq_err nqtest_getter_join(struct nqtest_getter *getter)
{
    ck_assert_int_eq(pthread_join(getter->thread, NULL), 0);
    return getter->err;
}

static void callback_run(struct nqi_callback *callback)
{
    struct nqtest_callback *call = NQI_CONTAINER(callback, struct nqtest_callback, callback);

    ck_assert(nqi_room_in_callback());
    sem_post(&call->started);
    if (call->waits)
        sem_wait(&call->go);
}

void nqtest_callback_init(struct nqtest_callback *call, bool waits)
{
    call->callback.run = callback_run;
    call->waits = waits;
    sem_init(&call->started, 0, 0);
    sem_init(&call->go, 0, 0);
}

int nqtest_ring_poll(void *arg)
{
    struct nqtest_ring *ring = arg;

    if (!nqtest_claim(&ring->data))
        return ring->endless;
    nqtest_give(ring->gives);
    return 1;
}

int nqtest_ring_arm(void *arg, int on)
{
    struct nqtest_ring *ring = arg;

    return on && atomic_load(&ring->data) > 0;
}

int nqtest_ring_arm_late(void *arg, int on)
{
    struct nqtest_ring *ring = arg;

    if (on)
        ring->hot.arm = nqtest_ring_arm;
    if (on)
        nqtest_give(&ring->data);
    return nqtest_ring_arm(arg, on);
}

void nqtest_ring_open(struct nqtest_ring *ring, atomic_int *gives, int (*poll_fn)(void *),
                      int (*arm_fn)(void *, int))
{
    *ring = (struct nqtest_ring){
        .hot = {.poll = poll_fn, .arm = arm_fn, .arg = ring, .strand = nqtest.serial.strand},
        .gives = gives,
    };
    nqtest_go_inside();
    nqi_hot_open(nqi_loop_hot(nqtest.loop), true);
    nqi_hot_touch(nqi_loop_hot(nqtest.loop), &ring->hot);
    nqi_hot_open(nqi_loop_hot(nqtest.loop), false);
    nqi_strand_leave(nqtest.serial.strand);
}

void nqtest_ring_close(struct nqtest_ring *ring)
{
    nqtest_go_inside();
    nqi_hot_del(nqi_loop_hot(nqtest.loop), &ring->hot);
    nqi_strand_leave(nqtest.serial.strand);
}
