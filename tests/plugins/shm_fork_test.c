/* plugins/shm and fork(): a child has copies of its parent's sockets and queues.  Its parent's
 * death is noticed all the same, and what the child does with those copies disturbs nobody. */
#include "tests/plugins/shm_rig.h"
#include "tests/support/queue.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE 100000u /* of a message that is lent */

#define COMMON "'transport': 'shm', 'path': '%s', 'session': {'keepalive': 'off', 'expiry': 'off'}"
#define CLIENT "{'purpose': 'client', 'id': '" NQTEST_ID "', " COMMON "}"
/* Without a thread: not every tool that watches threads can go on with them in a child. */
#define ALONE \
    "{'purpose': 'client', 'id': '" NQTEST_ID "', 'progress': {'mode': 'manual'}, " COMMON "}"
#define SERVER "{'purpose': 'server', 'id': '" NQTEST_SERVER "', " COMMON "}"

static nq_queue *open_one(bool server)
{
    return server ? nqtest_open(SERVER, nqtest_shm_path)
                  : nqtest_open(CLIENT, getpid(), nqtest_shm_path);
}

/* ---- a socket that a child has -----------------------------------------------------------------
 */

struct family {
    pid_t parent;
    int go;       /* a byte lets the parent begin */
    int children; /* a byte from it: the child is there, and has all that its parent has */
    int end;      /* closed: the child ends */
};

/* Connect, have a child, and wait to be killed. */
static _Noreturn void family_run(bool server, int go, int told, int end)
{
    nq_queue *queue;
    char byte;

    if (read(go, &byte, 1) != 1)
        _exit(0);
    queue = open_one(server);
    nqtest_event(queue, NQ_EVENT_PEER_UP);
    if (fork() == 0) {
        (void)!write(told, "", 1);
        (void)!read(end, &byte, 1);
        _exit(0);
    }
    for (;;)
        pause();
}

static struct family family_new(bool server)
{
    int go[2], told[2], end[2];
    struct family family;

    ck_assert(!pipe(go) && !pipe(told) && !pipe(end));
    family = (struct family){.go = go[1], .children = told[0], .end = end[1], .parent = fork()};
    ck_assert_int_ge(family.parent, 0);
    if (!family.parent) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(go[1]);
        close(end[1]);
        family_run(server, go[0], told[1], end[0]);
    }
    close(go[0]);
    close(told[1]);
    close(end[0]);
    return family;
}

/* _i: the server, or the client is killed. */
START_TEST(a_death_is_noticed_though_a_child_has_the_socket)
{
    struct family family;
    nq_queue *queue;
    char byte;
    int probe = (int)syscall(SYS_pidfd_open, getpid(), 0);

    if (probe < 0) {
        puts("# no descriptors of processes here");
        return;
    }
    close(probe);
    family = family_new(_i == 0);
    if (_i)
        queue = open_one(true);
    ck_assert_int_eq(write(family.go, "", 1), 1);
    if (!_i)
        queue = open_one(false);
    nqtest_event(queue, NQ_EVENT_PEER_UP);
    ck_assert_int_eq(read(family.children, &byte, 1), 1);
    ck_assert_int_eq(kill(family.parent, SIGKILL), 0);
    nqtest_event(queue, NQ_EVENT_PEER_GONE); /* the child lives until `end` is closed */
    nqtest_shm_until_no_maps();
    close(family.end);
    close(family.go);
    close(family.children);
    ck_assert_int_eq(waitpid(family.parent, NULL, 0), family.parent);
    nq_free(queue);
}
END_TEST

/* ---- queues that a child has -------------------------------------------------------------------
 */

static nq_msg *loan(nq_queue *queue)
{
    nq_msg *msg = NULL;
    void *data;

    ck_assert_int_eq(nq_loan(queue, NULL, 0, SIZE, &data, &msg), NQ_OK);
    memset(data, 7, SIZE);
    return msg;
}

/* @return the number of the first call that is not refused, 0 = all are */
static int refused(nq_queue *queue, nq_msg *msg)
{
    const nq_uuid id = nqtest_id(1);
    struct nq_event event;
    struct nq_stats stats;
    size_t count;
    nq_msg *got;
    void *data;
    const nq_err rcs[] = {nq_put(queue, msg, NULL, 0, NULL),
                          nq_get(queue, NULL, 0, NQ_FOREVER, &got),
                          nq_get_many(queue, &got, 1, NQ_FOREVER, &count),
                          nq_loan(queue, NULL, 0, SIZE, &data, &got),
                          nq_event_get(queue, NQ_FOREVER, &event),
                          nq_peers(queue, NULL, 0, &count),
                          nq_disconnect(queue, &id),
                          nq_health(queue, NULL, 0, &count),
                          nq_poll(queue),
                          nq_stats(queue, &stats),
                          nq_close(queue, NQ_FOREVER, NULL)};

    for (unsigned i = 0; i < sizeof(rcs) / sizeof(rcs[0]); i++)
        if (rcs[i] != NQ_ERR_CLOSED)
            return (int)i + 1;
    return 0;
}

/* All that a child could do, ending with a queue of its own. */
static int child_run(nq_queue *server, nq_queue *client, nq_msg *view, nq_msg *lent)
{
    int rc = refused(server, view);
    nq_queue *own;

    if (!rc)
        rc = refused(client, lent);
    if (rc)
        return rc;
    nq_msg_free(view);
    nq_msg_free(lent);
    nq_free(client);
    nq_free(server);
    own = nqtest_open(ALONE, getpid(), nqtest_shm_path);
    nqtest_put(own, nqtest_noise(SIZE, 1));
    nqtest_end(own);
    return 0;
}

/* It would wait for ever, and drive the parent's queue meanwhile. */
START_TEST(a_child_does_not_wait_for_the_futures_of_its_parent)
{
    nq_queue *queue = nqtest_open("{'purpose': 'client', 'transport': 'shm', 'path': '%s.none', "
                                  "'progress': {'mode': 'manual'}}",
                                  nqtest_shm_path);
    nq_future *future = nqtest_put_future(queue, nqtest_number(1));
    pid_t child = fork();
    int status;

    ck_assert_int_ge(child, 0);
    if (!child) {
        bool refused = nq_future_wait(future, NQ_FOREVER) == NQ_ERR_CLOSED &&
                       nq_future_cancel(future) == NQ_ERR_CLOSED &&
                       nq_future_poll(future) == NQ_AGAIN;

        nq_future_free(future);
        nq_free(queue);
        _exit(!refused);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(nq_future_cancel(future), NQ_OK);
    ck_assert_int_eq(nqtest_outcome(future, NULL), NQ_CANCELLED);
    nqtest_end(queue);
}
END_TEST

START_TEST(a_child_is_refused_and_disturbs_nobody)
{
    nq_queue *server = open_one(true), *client = open_one(false);
    nq_msg *view, *lent, *msg;
    const void *data;
    pid_t child;
    size_t len;
    int status;

    nqtest_event(server, NQ_EVENT_PEER_UP);
    nqtest_event(client, NQ_EVENT_PEER_UP);
    nqtest_put(client, loan(client));
    view = nqtest_get(server);
    lent = loan(client);
    child = fork();
    ck_assert_int_ge(child, 0);
    if (!child)
        _exit(child_run(server, client, view, lent));
    msg = nqtest_get(server);
    nqtest_check_noise(msg, SIZE, 1); /* of the child's own queue */
    nq_msg_free(msg);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(nq_msg_data(view, &data, &len), NQ_OK);
    ck_assert(((const uint8_t *)data)[SIZE - 1] == 7);
    nq_msg_free(view);
    nqtest_put(client, lent);
    nq_msg_free(nqtest_get(server));
    nqtest_put(server, nqtest_noise(40, 2));
    nq_msg_free(nqtest_get(client));
    ck_assert_uint_eq(nqtest_drain_events(client, NQ_EVENT_PEER_DOWN), 0);
    ck_assert_uint_eq(nqtest_drain_events(client, NQ_EVENT_PEER_GONE), 0);
    nqtest_end(client);
    nq_free(server);
    ck_assert_uint_eq(nqtest_shm_maps(), 0);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("shm, forks");
    TCase *tc = tcase_create("forks");

    nqtest_shm_folder();
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, a_death_is_noticed_though_a_child_has_the_socket, 0, 2);
    tcase_add_test(tc, a_child_does_not_wait_for_the_futures_of_its_parent);
    tcase_add_test(tc, a_child_is_refused_and_disturbs_nobody);
    suite_add_tcase(suite, tc);
    return suite;
}
