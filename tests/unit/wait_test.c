/* core/wait.c, wait_keeper.c, wait_spin.c: whoever waits is woken, somebody drives, nobody spins
 * for nothing.  A lost wake-up shows as a test that does not end: Check's time limit fails it. */
#include "core/wait.h"
#include "core/wait_room.h"
#include <check.h>
#include <netqueue/future.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

static struct nqi_loop *loop;
static struct nqi_room *room;
static struct nqi_serial serial;
static atomic_int items; /* what most conditions wait for */

static void open_room(enum nqi_room_mode mode, int64_t spin_ns)
{
    ck_assert_int_eq(nqi_loop_new(&loop), NQ_OK);
    ck_assert_int_eq(nqi_room_new(loop, mode, spin_ns, &room), NQ_OK);
    serial.strand = nqi_strand_new();
    serial.loop = loop;
    ck_assert_ptr_nonnull(serial.strand);
}

static void close_room(void)
{
    nqi_room_free(room);
    nqi_loop_free(loop);
    nqi_strand_unref(serial.strand);
}

/* Be inside the strand; others are there for moments only. */
static void go_inside(void)
{
    while (!nqi_strand_try(serial.strand))
        sched_yield();
}

/* Until another thread has come so far; there is no event for it. */
#define UNTIL(condition)     \
    do {                     \
        while (!(condition)) \
            sched_yield();   \
    } while (0)

/* A condition: takes one of the items. */
static bool take(void *arg)
{
    atomic_int *n = arg;
    int have = atomic_load(n);

    while (have > 0 && !atomic_compare_exchange_weak(n, &have, have - 1))
        ;
    return have > 0;
}

static bool never(void *arg)
{
    (void)arg;
    return false;
}

static void give(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

static void give_and_tell(void *arg)
{
    give(arg);
    nqi_room_notify(room);
}

static void post(void (*fn)(void *), void *arg)
{
    ck_assert_int_eq(nqi_post(&serial, fn, arg), NQ_OK);
}

static void post_semaphore(void *arg)
{
    sem_post(arg);
}

/* A descriptor that gives one item each time it is rung. */
struct bell {
    int fd;
    struct nqi_watch *watch;
    atomic_int *gives;
};

static void bell_on_fd(void *arg, uint32_t events)
{
    struct bell *bell = arg;
    uint64_t count = 0;

    (void)events;
    if (read(bell->fd, &count, sizeof(count)) == sizeof(count))
        atomic_fetch_add(bell->gives, (int)count);
}

static void bell_open(struct bell *bell, atomic_int *gives)
{
    bell->gives = gives;
    bell->fd = eventfd(0, EFD_NONBLOCK);
    ck_assert_int_ge(bell->fd, 0);
    go_inside();
    ck_assert_int_eq(nqi_fd_add(&serial, bell->fd, POLLIN, bell_on_fd, bell, &bell->watch), NQ_OK);
    nqi_strand_leave(serial.strand);
}

static void bell_ring(struct bell *bell)
{
    uint64_t one = 1;

    ck_assert_int_eq(write(bell->fd, &one, sizeof(one)), sizeof(one));
}

static void bell_close(struct bell *bell)
{
    go_inside();
    nqi_watch_del(bell->watch);
    nqi_strand_leave(serial.strand);
    close(bell->fd);
}

/* A thread that waits once. */
struct getter {
    pthread_t thread;
    nqi_ready_fn ready;
    void *arg;
    int64_t timeout_ns;
    nq_err err;
};

static void *getter_main(void *arg)
{
    struct getter *getter = arg;

    getter->err = nqi_room_wait(room, getter->ready, getter->arg, getter->timeout_ns);
    return NULL;
}

static void getter_start(struct getter *getter, nqi_ready_fn ready, void *arg, int64_t timeout_ns)
{
    getter->ready = ready;
    getter->arg = arg;
    getter->timeout_ns = timeout_ns;
    ck_assert_int_eq(pthread_create(&getter->thread, NULL, getter_main, getter), 0);
}

static nq_err getter_join(struct getter *getter)
{
    ck_assert_int_eq(pthread_join(getter->thread, NULL), 0);
    return getter->err;
}

/* A user's callback that counts, and waits when told to. */
struct call {
    struct nqi_callback callback;
    atomic_int *inside; /* how many run now */
    sem_t started, go;
    bool waits;
};

static void call_run(struct nqi_callback *callback)
{
    struct call *call = NQI_CONTAINER(callback, struct call, callback);

    ck_assert(nqi_room_in_callback());
    sem_post(&call->started);
    if (call->waits)
        sem_wait(&call->go);
}

static void call_init(struct call *call, bool waits)
{
    call->callback.run = call_run;
    call->waits = waits;
    sem_init(&call->started, 0, 0);
    sem_init(&call->go, 0, 0);
}

/* ---- waiting ------------------------------------------------------------------------------ */

START_TEST(a_condition_that_holds_needs_no_wait)
{
    open_room(NQI_ROOM_AUTO, 0);
    give(&items);
    ck_assert_int_eq(nqi_room_wait(room, take, &items, NQ_FOREVER), NQ_OK);
    ck_assert_int_eq(atomic_load(&items), 0);
    close_room();
}
END_TEST

START_TEST(a_time_out_ends_a_wait)
{
    static const enum nqi_room_mode modes[] = {NQI_ROOM_AUTO, NQI_ROOM_THREAD, NQI_ROOM_MANUAL};

    for (size_t i = 0; i < NQI_LEN(modes); i++) {
        int64_t before;

        open_room(modes[i], 0);
        ck_assert_int_eq(nqi_room_wait(room, never, NULL, 0), NQ_AGAIN);
        before = nqi_now();
        ck_assert_int_eq(nqi_room_wait(room, never, NULL, 2 * NQI_NS_PER_MS), NQ_AGAIN);
        ck_assert_int_ge(nqi_now() - before, 2 * NQI_NS_PER_MS);
        close_room();
    }
}
END_TEST

START_TEST(the_caller_drives_until_its_condition_holds)
{
    static const enum nqi_room_mode modes[] = {NQI_ROOM_AUTO, NQI_ROOM_THREAD, NQI_ROOM_MANUAL};

    for (size_t i = 0; i < NQI_LEN(modes); i++) {
        struct bell bell;

        open_room(modes[i], 0);
        bell_open(&bell, &items);
        for (int n = 0; n < 100; n++) {
            bell_ring(&bell);
            ck_assert_int_eq(nqi_room_wait(room, take, &items, NQ_FOREVER), NQ_OK);
        }
        bell_close(&bell);
        close_room();
    }
}
END_TEST

START_TEST(one_drives_and_the_others_get_theirs)
{
    struct getter getters[4];
    struct bell bell;

    open_room(NQI_ROOM_AUTO, 0);
    bell_open(&bell, &items);
    for (size_t i = 0; i < NQI_LEN(getters); i++)
        getter_start(&getters[i], take, &items, NQ_FOREVER);
    UNTIL(atomic_load(&room->nwaiters) == NQI_LEN(getters));
    for (size_t i = 0; i < NQI_LEN(getters); i++)
        bell_ring(&bell);
    for (size_t i = 0; i < NQI_LEN(getters); i++)
        ck_assert_int_eq(getter_join(&getters[i]), NQ_OK);
    ck_assert_int_eq(atomic_load(&items), 0);
    ck_assert_uint_eq(atomic_load(&room->nwaiters), 0);
    bell_close(&bell);
    close_room();
}
END_TEST

/* The post saw a driver and kicked nobody; the driver leaves without another turn. */
START_TEST(a_post_to_a_leaving_driver_is_run)
{
    sem_t ran;

    sem_init(&ran, 0, 0);
    open_room(NQI_ROOM_AUTO, 0);
    UNTIL(nqi_token_try(room));
    post(post_semaphore, &ran);
    nqi_token_leave(room);
    sem_wait(&ran);
    close_room();
}
END_TEST

static bool readable(int fd)
{
    struct pollfd poller = {.fd = fd, .events = POLLIN};

    return poll(&poller, 1, 0) == 1;
}

START_TEST(a_post_to_a_leaving_driver_makes_the_manual_descriptor_readable)
{
    open_room(NQI_ROOM_MANUAL, 0);
    nqi_room_poll(room);
    ck_assert(!readable(nqi_loop_fd(loop)));
    ck_assert(nqi_token_try(room));
    post(give, &items);
    nqi_token_leave(room);
    ck_assert(readable(nqi_loop_fd(loop)));
    nqi_room_poll(room);
    ck_assert_int_eq(atomic_load(&items), 1);
    ck_assert(!readable(nqi_loop_fd(loop)));
    close_room();
}
END_TEST

static void post_the_semaphore(void *arg)
{
    post(post_semaphore, arg);
}

START_TEST(a_post_made_in_the_keepers_last_turn_is_run)
{
    sem_t ran;

    sem_init(&ran, 0, 0);
    open_room(NQI_ROOM_AUTO, 0);
    post(post_the_semaphore, &ran); /* the keeper runs it, past its look at the inbox */
    sem_wait(&ran);
    close_room();
}
END_TEST

/* A link of a transport without a descriptor of its own, like a ring in shared memory: arming it
 * answers that data is there, as often as `data` says. */
struct ring {
    struct nqi_hot hot;
    atomic_int data, *gives;
    bool endless;
};

static int ring_poll(void *arg)
{
    struct ring *ring = arg;

    if (!take(&ring->data))
        return ring->endless;
    give(ring->gives);
    return 1;
}

static int ring_arm(void *arg, int on)
{
    struct ring *ring = arg;

    return on && atomic_load(&ring->data) > 0;
}

static void ring_open(struct ring *ring, atomic_int *gives, int (*poll_fn)(void *),
                      int (*arm_fn)(void *, int))
{
    *ring = (struct ring){
        .hot = {.poll = poll_fn, .arm = arm_fn, .arg = ring, .strand = serial.strand},
        .gives = gives,
    };
    go_inside();
    nqi_hot_open(nqi_loop_hot(loop), true);
    nqi_hot_touch(nqi_loop_hot(loop), &ring->hot);
    nqi_hot_open(nqi_loop_hot(loop), false);
    nqi_strand_leave(serial.strand);
}

static void ring_close(struct ring *ring)
{
    go_inside();
    nqi_hot_del(nqi_loop_hot(loop), &ring->hot);
    nqi_strand_leave(serial.strand);
}

/* Data comes between the last look and the arming. */
static int ring_arm_late(void *arg, int on)
{
    struct ring *ring = arg;

    if (on)
        ring->hot.arm = ring_arm;
    if (on)
        give(&ring->data);
    return ring_arm(arg, on);
}

START_TEST(data_that_comes_while_a_link_is_armed_is_received)
{
    static const enum nqi_room_mode modes[] = {NQI_ROOM_AUTO, NQI_ROOM_THREAD, NQI_ROOM_MANUAL};

    for (size_t i = 0; i < NQI_LEN(modes); i++) {
        struct ring ring;

        open_room(modes[i], 0);
        ring_open(&ring, &items, ring_poll, ring_arm_late);
        nqi_room_kick(room);
        ck_assert_int_eq(nqi_room_wait(room, take, &items, NQ_FOREVER), NQ_OK);
        ring_close(&ring);
        close_room();
    }
}
END_TEST

START_TEST(the_keeper_receives_what_comes_while_it_arms_a_link)
{
    struct ring ring;

    open_room(NQI_ROOM_AUTO, 0);
    ring_open(&ring, &items, ring_poll, ring_arm_late);
    nqi_room_kick(room);
    UNTIL(atomic_load(&items) == 1);
    ring_close(&ring);
    close_room();
}
END_TEST

/* Whoever goes inside to cool a link also runs what others left there, and that may be what the
 * driver, or another waiter, waits for. */
static int ring_arm_gives(void *arg, int on)
{
    struct ring *ring = arg;

    if (on)
        give(ring->gives);
    return 0;
}

START_TEST(what_is_delivered_while_a_driver_cools_links_ends_its_wait)
{
    struct ring ring;

    open_room(NQI_ROOM_AUTO, 0);
    ring_open(&ring, &items, ring_poll, ring_arm_gives);
    ck_assert_int_eq(nqi_room_wait(room, take, &items, NQ_FOREVER), NQ_OK);
    ring_close(&ring);
    close_room();
}
END_TEST

START_TEST(what_is_delivered_while_a_driver_cools_links_ends_the_waits_of_others)
{
    struct getter follower;
    struct ring ring;
    atomic_int mine = 0;

    open_room(NQI_ROOM_AUTO, 0);
    ring_open(&ring, &items, ring_poll, ring_arm_gives);
    UNTIL(nqi_token_try(room));
    getter_start(&follower, take, &items, NQ_FOREVER);
    UNTIL(atomic_load(&room->nwaiters) == 1);
    nqi_token_leave(room); /* somebody waits, so the links are cooled */
    ck_assert_int_eq(getter_join(&follower), NQ_OK);
    ck_assert_int_eq(nqi_room_wait(room, take, &mine, 0), NQ_AGAIN);
    ring_close(&ring);
    close_room();
}
END_TEST

static void work_gives(struct nqi_work *work)
{
    (void)work;
    give(&items);
}

/* What a putter left with the strand is run by whoever leaves it next. */
static int ring_poll_pushes(void *arg)
{
    static struct nqi_work left = {.run = work_gives};
    struct ring *ring = arg;

    ring->hot.poll = ring_poll;
    nqi_strand_run(serial.strand, &left);
    return 0;
}

START_TEST(what_a_look_at_a_hot_link_runs_for_others_wakes_who_waits_for_it)
{
    struct getter follower;
    struct ring ring;
    atomic_int other = 0;

    open_room(NQI_ROOM_MANUAL, 0);
    ring_open(&ring, &other, ring_poll_pushes, ring_arm);
    ck_assert(nqi_token_try(room));
    getter_start(&follower, take, &items, NQ_FOREVER);
    UNTIL(atomic_load(&room->nwaiters) == 1);
    nqi_room_turn(room, true);
    ck_assert_int_eq(getter_join(&follower), NQ_OK);
    nqi_token_leave(room);
    ring_close(&ring);
    close_room();
}
END_TEST

static void *poll_main(void *arg)
{
    (void)arg;
    nqi_room_poll(room);
    return NULL;
}

START_TEST(a_slow_callback_with_another_behind_it_stops_no_driver)
{
    struct call slow, next;
    struct bell bell;
    pthread_t caller;

    open_room(NQI_ROOM_MANUAL, 0);
    bell_open(&bell, &items);
    call_init(&slow, true);
    call_init(&next, false);
    nqi_room_defer(room, &slow.callback);
    nqi_room_defer(room, &next.callback);
    ck_assert_int_eq(pthread_create(&caller, NULL, poll_main, NULL), 0);
    sem_wait(&slow.started);
    bell_ring(&bell);
    ck_assert_int_eq(nqi_room_wait(room, take, &items, NQ_FOREVER), NQ_OK);
    ck_assert(!nqi_room_has_work(room)); /* nothing that keeps a driver from sleeping */
    sem_post(&slow.go);
    sem_wait(&next.started);
    pthread_join(caller, NULL);
    bell_close(&bell);
    close_room();
}
END_TEST

static struct nqi_room *inner_room;

static void call_poll_inner(struct nqi_callback *callback)
{
    (void)callback;
    nqi_room_poll(inner_room);
}

static struct call inner_call;

static void defer_inner(void *arg)
{
    (void)arg;
    nqi_room_defer(inner_room, &inner_call.callback);
}

START_TEST(a_callback_that_arises_inside_the_callback_of_another_queue_is_run)
{
    struct nqi_callback outer_call = {.run = call_poll_inner};
    struct nqi_loop *inner_loop;
    struct nqi_serial inner_serial;

    open_room(NQI_ROOM_MANUAL, 0);
    ck_assert_int_eq(nqi_loop_new(&inner_loop), NQ_OK);
    ck_assert_int_eq(nqi_room_new(inner_loop, NQI_ROOM_AUTO, 0, &inner_room), NQ_OK);
    inner_serial = (struct nqi_serial){.strand = serial.strand, .loop = inner_loop};
    call_init(&inner_call, false);
    UNTIL(nqi_token_try(inner_room)); /* no kick for the post: the callback's poll finds it */
    ck_assert_int_eq(nqi_post(&inner_serial, defer_inner, NULL), NQ_OK);
    atomic_store(&inner_room->token, TOKEN_FREE);
    nqi_room_defer(room, &outer_call);
    nqi_room_poll(room);
    sem_wait(&inner_call.started);
    nqi_room_free(inner_room);
    nqi_loop_free(inner_loop);
    close_room();
}
END_TEST

static void call_again(struct nqi_callback *callback)
{
    nqi_room_defer(room, callback);
}

START_TEST(callbacks_without_end_do_not_keep_a_caller)
{
    struct nqi_callback again = {.run = call_again};

    open_room(NQI_ROOM_MANUAL, 0);
    nqi_room_defer(room, &again);
    nqi_room_poll(room);
    ck_assert(readable(nqi_loop_fd(loop))); /* the rest is not forgotten */
    give(&items);
    ck_assert_int_eq(nqi_room_wait(room, take, &items, NQ_FOREVER), NQ_OK);
    ck_assert_int_eq(nqi_room_wait(room, take, &items, 2 * NQI_NS_PER_MS), NQ_AGAIN);
    close_room();
}
END_TEST

START_TEST(a_hot_link_that_always_has_data_does_not_starve_a_descriptor)
{
    struct ring ring;
    struct bell bell;
    atomic_int other = 0;

    open_room(NQI_ROOM_MANUAL, 0);
    bell_open(&bell, &items);
    ring_open(&ring, &other, ring_poll, ring_arm);
    ring.endless = true;
    bell_ring(&bell);
    ck_assert_int_eq(nqi_room_wait(room, take, &items, NQ_FOREVER), NQ_OK);
    ring_close(&ring);
    bell_close(&bell);
    close_room();
}
END_TEST

START_TEST(a_time_out_is_kept_while_others_have_traffic_without_end)
{
    struct ring ring;
    atomic_int other = 0;

    open_room(NQI_ROOM_MANUAL, 0);
    ring_open(&ring, &other, ring_poll, ring_arm);
    ring.endless = true;
    ck_assert_int_eq(nqi_room_wait(room, take, &items, 2 * NQI_NS_PER_MS), NQ_AGAIN);
    ring_close(&ring);
    close_room();
}
END_TEST

START_TEST(an_end_that_comes_before_the_last_look_is_not_slept_through)
{
    open_room(NQI_ROOM_MANUAL, 0);
    ck_assert(nqi_token_try(room)); /* as the library's thread would */
    atomic_store(&room->stop, true);
    nqi_loop_wake(loop);
    nqi_room_turn(room, false); /* takes the wake-up away */
    nqi_room_sleep(room, NULL, NQI_NEVER);
    nqi_token_leave(room);
    close_room();
}
END_TEST

START_TEST(rooms_end_whenever_they_are_told_to)
{
    static const enum nqi_room_mode modes[] = {NQI_ROOM_AUTO, NQI_ROOM_THREAD, NQI_ROOM_MANUAL};

    for (size_t i = 0; i < 600; i++) {
        open_room(modes[i % NQI_LEN(modes)], 0);
        if (i / 3 % 2)
            post(give, &items);
        close_room();
    }
    ck_assert_int_eq(atomic_load(&items), 300);
}
END_TEST

static atomic_bool hold_lock; /* `stay` keeps the room's lock until the time has come */
static atomic_llong hold_until;

static bool stay(void *arg)
{
    (void)arg;
    if (atomic_load(&hold_lock))
        UNTIL(nqi_now() > atomic_load(&hold_until));
    return false;
}

/* The first follower is promoted in the moment in which its time is over. */
START_TEST(a_promotion_that_comes_too_late_is_handed_on)
{
    for (int i = 0; i < 5; i++) {
        struct getter late, other;
        struct bell bell;

        open_room(NQI_ROOM_MANUAL, 0);
        bell_open(&bell, &items);
        ck_assert(nqi_token_try(room));
        getter_start(&late, stay, NULL, 20 * NQI_NS_PER_MS);
        atomic_store(&hold_until, nqi_now() + 30 * NQI_NS_PER_MS);
        UNTIL(atomic_load(&room->nwaiters) == 1 || nqi_now() > atomic_load(&hold_until));
        getter_start(&other, take, &items, NQ_FOREVER);
        UNTIL(atomic_load(&room->nwaiters) == 2 || nqi_now() > atomic_load(&hold_until));
        atomic_store(&hold_lock, true);
        nqi_room_notify(room);
        atomic_store(&hold_lock, false);
        nqi_token_leave(room);
        bell_ring(&bell);
        ck_assert_int_eq(getter_join(&late), NQ_AGAIN);
        ck_assert_int_eq(getter_join(&other), NQ_OK);
        bell_close(&bell);
        close_room();
    }
}
END_TEST

static void *cancelled_main(void *arg)
{
    int64_t timeout_ns = *(int64_t *)arg;

    pthread_cancel(pthread_self()); /* acted upon at the first cancellation point */
    if (timeout_ns < 0)
        nqi_room_poll(room);
    else
        (void)!nqi_room_wait(room, never, NULL, timeout_ns);
    nqi_room_kick(room);
    pthread_testcancel();
    return NULL;
}

START_TEST(a_cancelled_thread_leaves_the_token)
{
    static const int64_t timeouts[] = {-1, 0, NQI_NS_PER_MS};

    for (size_t i = 0; i < NQI_LEN(timeouts); i++) {
        int64_t timeout_ns = timeouts[i];
        pthread_t thread;
        void *result;

        open_room(NQI_ROOM_MANUAL, 0);
        ck_assert_int_eq(pthread_create(&thread, NULL, cancelled_main, &timeout_ns), 0);
        ck_assert_int_eq(pthread_join(thread, &result), 0);
        ck_assert_ptr_eq(result, PTHREAD_CANCELED);
        ck_assert_uint_eq(atomic_load(&room->token), TOKEN_FREE);
        ck_assert_uint_eq(atomic_load(&room->nwaiters), 0);
        close_room();
    }
}
END_TEST

static void *cancelled_kicker_main(void *arg)
{
    pthread_cancel(pthread_self());
    (void)!nqi_post(&serial, post_semaphore, arg); /* ck_assert would be a cancellation point */
    pthread_testcancel();
    return NULL;
}

START_TEST(a_cancelled_thread_still_wakes_the_sleeper_it_promised_to)
{
    struct getter getter;
    pthread_t kicker;
    sem_t ran;

    sem_init(&ran, 0, 0);
    open_room(NQI_ROOM_MANUAL, 0);
    getter_start(&getter, take, &items, NQ_FOREVER);
    UNTIL(atomic_load(&room->token) == TOKEN_SLEEP);
    ck_assert_int_eq(pthread_create(&kicker, NULL, cancelled_kicker_main, &ran), 0);
    pthread_join(kicker, NULL);
    sem_wait(&ran);
    give_and_tell(&items);
    ck_assert_int_eq(getter_join(&getter), NQ_OK);
    close_room();
}
END_TEST

START_TEST(a_cancelled_getter_takes_its_item_first)
{
    struct getter getter;
    void *result;

    open_room(NQI_ROOM_AUTO, 0);
    getter_start(&getter, take, &items, NQ_FOREVER);
    UNTIL(atomic_load(&room->token) == TOKEN_SLEEP);
    pthread_cancel(getter.thread);
    give_and_tell(&items);
    ck_assert_int_eq(pthread_join(getter.thread, &result), 0);
    ck_assert_int_eq(atomic_load(&items), 0);
    ck_assert_int_eq(nqi_room_wait(room, take, &items, 0), NQ_AGAIN);
    close_room();
}
END_TEST

/* The callback may itself wait for a lock of the user's that the second getter holds. */
START_TEST(a_slow_callback_on_the_keeper_leaves_no_getter_without_a_driver)
{
    struct getter first, second;
    struct bell bells[2];
    atomic_int given[2] = {0, 0};
    struct call slow;

    open_room(NQI_ROOM_AUTO, 0);
    bell_open(&bells[0], &given[0]);
    bell_open(&bells[1], &given[1]);
    call_init(&slow, true);
    nqi_room_defer(room, &slow.callback);
    sem_wait(&slow.started);
    getter_start(&first, take, &given[0], NQ_FOREVER);
    UNTIL(atomic_load(&room->nwaiters) == 1);
    getter_start(&second, take, &given[1], NQ_FOREVER);
    UNTIL(atomic_load(&room->nwaiters) == 2);
    bell_ring(&bells[0]);
    ck_assert_int_eq(getter_join(&first), NQ_OK);
    bell_ring(&bells[1]);
    ck_assert_int_eq(getter_join(&second), NQ_OK);
    sem_post(&slow.go);
    bell_close(&bells[0]);
    bell_close(&bells[1]);
    close_room();
}
END_TEST

START_TEST(a_slow_callback_on_the_library_thread_leaves_no_getter_without_a_driver)
{
    struct getter first, second;
    struct bell bells[2];
    atomic_int given[2] = {0, 0};
    struct call slow;

    open_room(NQI_ROOM_THREAD, 0);
    bell_open(&bells[0], &given[0]);
    bell_open(&bells[1], &given[1]);
    call_init(&slow, true);
    getter_start(&first, take, &given[0], NQ_FOREVER);
    getter_start(&second, take, &given[1], NQ_FOREVER);
    UNTIL(atomic_load(&room->nwaiters) == 2);
    nqi_room_defer(room, &slow.callback);
    sem_wait(&slow.started);
    bell_ring(&bells[0]);
    ck_assert_int_eq(getter_join(&first), NQ_OK);
    bell_ring(&bells[1]);
    ck_assert_int_eq(getter_join(&second), NQ_OK);
    sem_post(&slow.go);
    bell_ring(&bells[0]); /* and the library's thread goes on */
    UNTIL(atomic_load(&given[0]) == 1);
    bell_close(&bells[0]);
    bell_close(&bells[1]);
    close_room();
}
END_TEST

START_TEST(joined_rooms_end_one_after_the_other)
{
    struct nqi_loop *other_loop;
    struct nqi_room *other;

    open_room(NQI_ROOM_AUTO, 0);
    ck_assert_int_eq(nqi_loop_new(&other_loop), NQ_OK);
    ck_assert_int_eq(nqi_room_new(other_loop, NQI_ROOM_AUTO, 0, &other), NQ_OK);
    nqi_room_join(room, other);
    nqi_room_join(other, room); /* twice does no harm */
    nqi_room_notify(room);
    nqi_room_free(other);
    nqi_loop_free(other_loop);
    nqi_room_notify(room);
    close_room();
}
END_TEST

START_TEST(a_spinning_driver_looks_at_its_own_condition)
{
    struct getter getter;

    open_room(NQI_ROOM_MANUAL, 3600 * NQI_NS_PER_S);
    getter_start(&getter, take, &items, NQ_FOREVER);
    UNTIL(atomic_load(&room->token) != TOKEN_FREE);
    give_and_tell(&items);
    ck_assert_int_eq(getter_join(&getter), NQ_OK);
    close_room();
}
END_TEST

START_TEST(spinning_stops_while_it_does_not_pay)
{
    struct nqi_room_counts counts;
    struct nqi_watch *timer;

    open_room(NQI_ROOM_MANUAL, NQI_SPIN_AUTO);
    go_inside();
    ck_assert_int_eq(nqi_timer_add(&serial, give, &items, &timer), NQ_OK);
    nqi_strand_leave(serial.strand);
    for (int i = 0; i < 40; i++) {
        go_inside();
        nqi_timer_set(timer, nqi_now() + NQI_NS_PER_MS);
        nqi_strand_leave(serial.strand);
        ck_assert_int_eq(nqi_room_wait(room, take, &items, NQ_FOREVER), NQ_OK);
    }
    nqi_room_count(room, &counts);
    ck_assert_uint_lt(counts.spins_lost, 10);
    go_inside();
    nqi_watch_del(timer);
    nqi_strand_leave(serial.strand);
    close_room();
}
END_TEST

START_TEST(a_caller_that_polls_sends_the_keeper_to_its_timer)
{
    open_room(NQI_ROOM_AUTO, 0);
    ck_assert_uint_eq(atomic_load(&room->keeper), KEEPER_ARMED);
    nqi_room_poll(room);
    ck_assert_uint_ne(atomic_load(&room->keeper), KEEPER_ARMED);
    UNTIL(atomic_load(&room->keeper) == KEEPER_ARMED); /* and it comes back */
    close_room();
}
END_TEST

static struct call helped_call;

static void defer_helped(void *arg)
{
    (void)arg;
    nqi_room_defer(room, &helped_call.callback);
}

START_TEST(a_callback_that_arises_in_a_helpers_turn_is_run)
{
    open_room(NQI_ROOM_AUTO, 0);
    call_init(&helped_call, false);
    UNTIL(nqi_token_try(room)); /* no kick for the post: the helper finds it */
    post(defer_helped, NULL);
    atomic_store(&room->token, TOKEN_FREE);
    nqi_room_help(room);
    sem_wait(&helped_call.started);
    close_room();
}
END_TEST

START_TEST(the_shortest_time_out_has_one_look)
{
    struct bell bell;

    open_room(NQI_ROOM_MANUAL, 0);
    bell_open(&bell, &items);
    bell_ring(&bell);
    ck_assert_int_eq(nqi_room_wait(room, take, &items, 1), NQ_OK);
    bell_close(&bell);
    close_room();
}
END_TEST

/* The owner of the strand may have lost the processor, and the keeper must not take it too. */
START_TEST(the_keeper_waits_for_a_hot_link_whose_strand_is_taken)
{
    struct ring ring;
    int64_t before;

    open_room(NQI_ROOM_AUTO, 0);
    ring_open(&ring, &items, ring_poll, ring_arm);
    go_inside();
    before = nqi_now();
    nqi_room_kick(room);
    UNTIL(atomic_load(&room->keeper_turns) >= 5); /* it looks again, but not at once */
    ck_assert_int_ge(nqi_now() - before, 10 * NQI_NS_PER_MS);
    nqi_strand_leave(serial.strand);
    UNTIL(!nqi_hot_any(nqi_loop_hot(loop)));
    ring_close(&ring);
    close_room();
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("wait");
    TCase *tc = tcase_create("wait");

    tcase_set_timeout(tc, 10);
    tcase_add_test(tc, a_condition_that_holds_needs_no_wait);
    tcase_add_test(tc, a_time_out_ends_a_wait);
    tcase_add_test(tc, the_caller_drives_until_its_condition_holds);
    tcase_add_test(tc, one_drives_and_the_others_get_theirs);
    tcase_add_test(tc, a_post_to_a_leaving_driver_is_run);
    tcase_add_test(tc, a_post_to_a_leaving_driver_makes_the_manual_descriptor_readable);
    tcase_add_test(tc, a_post_made_in_the_keepers_last_turn_is_run);
    tcase_add_test(tc, data_that_comes_while_a_link_is_armed_is_received);
    tcase_add_test(tc, the_keeper_receives_what_comes_while_it_arms_a_link);
    tcase_add_test(tc, what_is_delivered_while_a_driver_cools_links_ends_its_wait);
    tcase_add_test(tc, what_is_delivered_while_a_driver_cools_links_ends_the_waits_of_others);
    tcase_add_test(tc, what_a_look_at_a_hot_link_runs_for_others_wakes_who_waits_for_it);
    tcase_add_test(tc, a_slow_callback_with_another_behind_it_stops_no_driver);
    tcase_add_test(tc, a_callback_that_arises_inside_the_callback_of_another_queue_is_run);
    tcase_add_test(tc, callbacks_without_end_do_not_keep_a_caller);
    tcase_add_test(tc, a_hot_link_that_always_has_data_does_not_starve_a_descriptor);
    tcase_add_test(tc, a_time_out_is_kept_while_others_have_traffic_without_end);
    tcase_add_test(tc, an_end_that_comes_before_the_last_look_is_not_slept_through);
    tcase_add_test(tc, rooms_end_whenever_they_are_told_to);
    tcase_add_test(tc, a_promotion_that_comes_too_late_is_handed_on);
    tcase_add_test(tc, a_cancelled_thread_leaves_the_token);
    tcase_add_test(tc, a_cancelled_thread_still_wakes_the_sleeper_it_promised_to);
    tcase_add_test(tc, a_cancelled_getter_takes_its_item_first);
    tcase_add_test(tc, a_slow_callback_on_the_keeper_leaves_no_getter_without_a_driver);
    tcase_add_test(tc, a_slow_callback_on_the_library_thread_leaves_no_getter_without_a_driver);
    tcase_add_test(tc, joined_rooms_end_one_after_the_other);
    tcase_add_test(tc, a_spinning_driver_looks_at_its_own_condition);
    tcase_add_test(tc, spinning_stops_while_it_does_not_pay);
    tcase_add_test(tc, a_caller_that_polls_sends_the_keeper_to_its_timer);
    tcase_add_test(tc, a_callback_that_arises_in_a_helpers_turn_is_run);
    tcase_add_test(tc, the_shortest_time_out_has_one_look);
    tcase_add_test(tc, the_keeper_waits_for_a_hot_link_whose_strand_is_taken);
    suite_add_tcase(suite, tc);
    return suite;
}
