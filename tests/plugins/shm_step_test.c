/* plugins/shm when a process is killed at each step of what it does: connecting, a loan that needs
 * a new segment, puts, gets, giving back, closing.
 *
 * The one that lives must go on while the other stands there, never see half a message, and have
 * its maps and descriptors back when it is gone. */
#include "tests/plugins/shm_rig.h"
#include "tests/support/queue.h"
#include "tests/support/stepper.h"
#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { AS_CLIENT, AS_SERVER }; /* what the program is */

#define COMMON                                                                                 \
    "'transport': 'shm', 'path': '%s', 'cells': 8, 'ring': 4096, 'leases': 8, 'pool': '2MiB'," \
    "'session': {'expiry': 'off', 'keepalive': 'off'}"
#define CLIENT "{'purpose': 'client', 'id': '" NQTEST_ID "', " COMMON "%s}"
#define SERVER "{'purpose': 'server', 'id': '" NQTEST_SERVER "', " COMMON "%s}"
#define ALONE ", 'progress': {'mode': 'manual'}"

/* What each message holds follows from its size. */
static const size_t sizes[] = {40, 3000, 20000};
enum { SMALL, COPIED, LOANED, SIZES };

static nq_uuid server_id;
static struct nqtest_stepper stepper;

static nq_queue *open_as(unsigned what, const char *more)
{
    return what == AS_SERVER ? nqtest_open(SERVER, nqtest_shm_path, more)
                             : nqtest_open(CLIENT, 1, nqtest_shm_path, more);
}

/* The other one of the two: the program's and that of the one who lives. */
static nq_uuid id_of(unsigned what)
{
    return what == AS_SERVER ? server_id : nqtest_id(1);
}

/* Made beforehand: many steps, none of which is of interest. */
static uint8_t noise[SIZES][20000];

static void make_noise(void)
{
    for (unsigned kind = 0; kind < SIZES; kind++) {
        nq_msg *msg = nqtest_noise(sizes[kind], kind);
        const void *data;
        size_t len;

        ck_assert_int_eq(nq_msg_data(msg, &data, &len), NQ_OK);
        memcpy(noise[kind], data, len);
        nq_msg_free(msg);
    }
}

static nq_msg *message(unsigned kind)
{
    nq_msg *msg = NULL;

    ck_assert_int_eq(nq_msg_new(noise[kind], sizes[kind], &msg), NQ_OK);
    return msg;
}

static nq_msg *loan(nq_queue *queue, const nq_uuid *peer)
{
    nq_msg *msg = NULL;
    void *data;

    ck_assert_int_eq(nq_loan(queue, peer, 1, sizes[LOANED], &data, &msg), NQ_OK);
    memcpy(data, noise[LOANED], sizes[LOANED]);
    return msg;
}

static void put(nq_queue *queue, const nq_uuid *peer, nq_msg *msg)
{
    if (nq_put(queue, msg, peer, 1, NULL))
        nq_msg_free(msg);
}

/* Half a message would be told by its size. */
static void check(nq_msg *msg)
{
    const void *data;
    unsigned kind = 0;
    size_t len;

    ck_assert_int_eq(nq_msg_data(msg, &data, &len), NQ_OK);
    while (kind < SIZES && sizes[kind] != len)
        kind++;
    ck_assert_uint_lt(kind, SIZES);
    ck_assert_int_eq(memcmp(data, noise[kind], len), 0);
}

/* ---- the program ----------------------------------------------------------------------------- */

#define WINDOWS 9u
#define POINTS_LEAST 8u /* of a window, at which it was killed */
enum { CONNECTS };      /* the first window */

static void drive(nq_queue *queue)
{
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_ge(nq_poll(queue), 0);
}

static void program(unsigned what)
{
    const nq_uuid peer = id_of(!what);
    nq_queue *queue = open_as(what, ALONE);
    nq_msg *msg;

    nqtest_step_mark(); /* it connects, or is connected to */
    nqtest_event(queue, NQ_EVENT_PEER_UP);
    nqtest_step_mark(); /* a segment is made and passed on */
    msg = loan(queue, &peer);
    nqtest_step_mark();
    put(queue, &peer, msg);
    drive(queue);
    nqtest_step_mark();
    put(queue, &peer, message(SMALL));
    put(queue, &peer, message(COPIED));
    drive(queue);
    nqtest_step_mark();
    nq_msg_free(nqtest_get(queue));
    nqtest_step_mark(); /* what comes is a view */
    msg = nqtest_get(queue);
    nqtest_step_mark(); /* and goes back */
    nq_msg_free(msg);
    drive(queue);
    nqtest_step_mark(); /* a token may be there */
    put(queue, &peer, loan(queue, &peer));
    drive(queue);
    nqtest_step_mark();
    ck_assert_int_ge(nq_close(queue, NQTEST_MS, NULL), 0);
    nq_free(queue);
    nqtest_step_mark();
}

/* ---- who lives ------------------------------------------------------------------------------- */

struct before {
    unsigned maps, shm;
    int fds;
    unsigned bells; /* that may yet come to links that stay */
};

static unsigned dev_shm(void)
{
    DIR *dir = opendir("/dev/shm");
    unsigned n = 0;

    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

static struct before look(void)
{
    return (struct before){.maps = nqtest_shm_maps(), .fds = nqtest_fds(), .shm = dev_shm()};
}

static void take_all(nq_queue *queue)
{
    nq_msg *msg;

    while (nq_get(queue, NULL, 0, 0, &msg) == NQ_OK) {
        check(msg);
        nq_msg_free(msg);
    }
}

/* A side that was woken often is passed a bell, which stays: three descriptors, here at both ends.
 */
static void count_bells(struct before *before, int fds)
{
    for (; before->bells && fds > before->fds; before->bells--)
        before->fds += 3;
}

/* Until what it cost is given back. */
static void settle(nq_queue *queue, struct before *before)
{
    int64_t until = nqtest_clock() + NQTEST_WAIT;
    struct nq_event event;
    struct before now;

    do {
        take_all(queue);
        ck_assert_int_ge(nq_event_get(queue, NQTEST_MS, &event), 0);
        now = look();
        if (now.maps == before->maps && (now.fds - before->fds) % 3 == 0)
            count_bells(before, now.fds);
        ck_assert_msg(nqtest_clock() < until, "%u maps, %d descriptors; before: %u, %d", now.maps,
                      now.fds, before->maps, before->fds);
    } while (now.maps != before->maps || now.fds != before->fds);
    ck_assert_uint_eq(now.shm, before->shm);
    (void)nqtest_drain_events(queue, NQ_EVENT_PEER_UP);
}

/* Messages of both kinds between the one who lives and a third. */
static void others_go_on(nq_queue *queue, nq_queue *third)
{
    const nq_uuid id = nqtest_id(2);
    nq_msg *msg;

    put(queue, &id, message(SMALL));
    put(queue, &id, loan(queue, &id));
    for (unsigned i = 0; i < 2; i++) {
        msg = nqtest_get(third);
        check(msg);
        nqtest_put(third, msg);
        ck_assert_int_eq(nq_get(queue, &id, 1, NQTEST_WAIT, &msg), NQ_OK);
        check(msg);
        nq_msg_free(msg);
    }
}

/* Who lives, and what is so while nobody is connected to him but the third. */
struct living {
    unsigned program; /* what the other one is */
    nq_queue *queue, *third;
    struct before before;
};

/* From here on there is a program.  A client comes when its server listens: it would wait long
 * before it tried again. */
static void begin(struct living *living, const struct nqtest_order *order)
{
    if (living->program == AS_SERVER)
        (void)unlink(nqtest_shm_path);
    nqtest_stepper_order(&stepper, order);
    if (living->program == AS_CLIENT)
        return;
    while (access(nqtest_shm_path, F_OK) != 0)
        sched_yield();
    living->queue = open_as(AS_CLIENT, "");
}

/* And here it is dead.  What a client had put for it would wait for the next one. */
static void end(struct living *living)
{
    if (living->program == AS_SERVER)
        ck_assert_int_le(nq_disconnect(living->queue, &server_id), NQ_OK);
    settle(living->queue, &living->before);
    if (living->program == AS_SERVER)
        nq_free(living->queue);
}

/* One run: to a point, on with the others, and the end. */
static struct nqtest_arrival run(struct living *living, const struct nqtest_order *order)
{
    const nq_uuid peer = id_of(living->program);
    struct nqtest_arrival arrival;

    begin(living, order);
    if (order->window != CONNECTS) {
        nqtest_event(living->queue, NQ_EVENT_PEER_UP);
        put(living->queue, &peer, message(SMALL));
        put(living->queue, &peer, loan(living->queue, &peer));
    }
    arrival = nqtest_stepper_arrived(&stepper);
    if (arrival.there) {
        if (living->third)
            others_go_on(living->queue, living->third);
        put(living->queue, &peer, message(COPIED));
        take_all(living->queue);
        nqtest_stepper_kill(&stepper);
    }
    end(living);
    return arrival;
}

/* All points of all windows.  Some are missed: whether a look finds something is the clock's
 * matter. */
static void run_all(struct living *living)
{
    for (unsigned window = 0; window < WINDOWS; window++) {
        struct nqtest_order order = {.number = living->program, .window = window, .survey = true};
        struct nqtest_arrival found = run(living, &order);
        unsigned there = 0;

        order.survey = false;
        for (; order.point < found.points; order.point++)
            there += run(living, &order).there;
        printf("# window %u: %u steps, killed at %u of %u points\n", window, found.steps, there,
               found.points);
        ck_assert_uint_ge(there, POINTS_LEAST);
    }
}

START_TEST(a_client_is_killed_at_each_step)
{
    struct living living = {.program = AS_CLIENT};

    make_noise();
    nqtest_stepper_start(&stepper, program);
    living.queue = open_as(AS_SERVER, "");
    living.third = nqtest_open(CLIENT, 2, nqtest_shm_path, "");
    nqtest_event(living.queue, NQ_EVENT_PEER_UP);
    others_go_on(living.queue, living.third);
    living.before = look();
    living.before.bells = 2; /* of the two that stay */
    run_all(&living);
    nqtest_stepper_end(&stepper);
    nq_free(living.third);
    nq_free(living.queue);
    ck_assert_uint_eq(nqtest_shm_maps(), 0);
}
END_TEST

START_TEST(a_server_is_killed_at_each_step)
{
    struct living living = {.program = AS_SERVER};
    nq_queue *alone;

    make_noise();
    nqtest_stepper_start(&stepper, program);
    alone = open_as(AS_CLIENT, "");
    living.before = look();
    nq_free(alone);
    run_all(&living);
    nqtest_stepper_end(&stepper);
    ck_assert_uint_eq(nqtest_shm_maps(), 0);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("shm, steps");
    TCase *tc = tcase_create("steps");

    nqtest_shm_folder();
    if (nq_uuid_parse(NQTEST_SERVER, &server_id))
        abort(); /* no test is running that could fail */
    tcase_set_timeout(tc, 120);
    if (NQTEST_STEPS) {
        tcase_add_test(tc, a_client_is_killed_at_each_step);
        tcase_add_test(tc, a_server_is_killed_at_each_step);
    } else {
        puts("# no steps are taken on this processor");
    }
    suite_add_tcase(suite, tc);
    return suite;
}
