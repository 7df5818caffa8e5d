/* plugins/shm when a process is killed at any moment: the other one goes on, gets everything back,
 * and maps, descriptors and /dev/shm are as before.
 *
 * The processes are made before there is a queue, and wait until they are let go. */
#include "tests/plugins/shm_rig.h"
#include "tests/support/queue.h"
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 12u
#define PLACE "'transport': 'shm', 'path': '%s'"
#define CLIENT "{'purpose': 'client', 'id': '" NQTEST_ID "', " PLACE "}"
#define SERVER "{'purpose': 'server', 'id': '" NQTEST_SERVER "', " PLACE "}"

struct child {
    pid_t pid;
    int go; /* our end of a pipe: a byte lets it go */
};

static size_t size_of(unsigned number)
{
    return number % 32 == 9 ? 300000 : number % 8 ? 40 : 3000;
}

/* Put what the queue takes and get what there is, for ever. */
static _Noreturn void talk(nq_queue *queue)
{
    nq_msg *msg;

    for (unsigned number = 0;; number++) {
        msg = nqtest_noise(size_of(number), number);
        if (nq_put(queue, msg, NULL, 0, NULL))
            nq_msg_free(msg);
        while (nq_get(queue, NULL, 0, number % 16 ? 0 : NQTEST_MS, &msg) == NQ_OK)
            nq_msg_free(msg);
    }
}

static struct child child_new(unsigned number, bool server)
{
    struct child child;
    int pipes[2];
    char byte;

    ck_assert_int_eq(pipe(pipes), 0);
    child.pid = fork();
    child.go = pipes[1];
    if (child.pid) {
        close(pipes[0]);
        return child;
    }
    close(pipes[1]);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (read(pipes[0], &byte, 1) != 1)
        _exit(0);
    if (server)
        talk(nqtest_open(SERVER, nqtest_shm_path));
    talk(nqtest_open(CLIENT, number, nqtest_shm_path));
}

static void child_go(struct child *child)
{
    ck_assert_int_eq(write(child->go, "", 1), 1);
    close(child->go);
}

static void child_kill(struct child *child)
{
    int status;

    ck_assert_int_eq(kill(child->pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(child->pid, &status, 0), child->pid);
    ck_assert(WIFSIGNALED(status));
}

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

/* Some messages, while as many are put, so that it is killed amid both. */
static void exchange(nq_queue *queue, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        nq_msg *msg = nqtest_noise(size_of(i), i);

        if (nq_put(queue, msg, NULL, 0, NULL))
            nq_msg_free(msg);
        nq_msg_free(nqtest_get(queue));
    }
}

START_TEST(clients_that_are_killed_leave_nothing_at_the_server)
{
    struct child children[ROUNDS];
    unsigned seed = (unsigned)_i + 1, shm = dev_shm();
    nq_queue *server;
    unsigned fds;

    for (unsigned i = 0; i < ROUNDS; i++)
        children[i] = child_new(i + 1, false);
    server = nqtest_open(SERVER, nqtest_shm_path);
    fds = nqtest_descriptors();
    for (unsigned i = 0; i < ROUNDS; i++) {
        child_go(&children[i]);
        fds--; /* that end of its pipe */
        nqtest_event(server, NQ_EVENT_PEER_UP);
        ck_assert_uint_eq(nqtest_shm_maps(), 2);
        exchange(server, 1 + (unsigned)rand_r(&seed) % 200);
        child_kill(&children[i]);
        nqtest_event(server, NQ_EVENT_PEER_DOWN);
        nqtest_shm_until_no_maps();
        nqtest_until_descriptors(fds);
    }
    nq_free(server);
    ck_assert_uint_eq(dev_shm(), shm);
}
END_TEST

START_TEST(a_server_that_is_killed_leaves_nothing_at_its_client)
{
    struct child children[ROUNDS];
    unsigned seed = (unsigned)_i + 1, shm = dev_shm();
    nq_queue *client;
    unsigned fds;

    for (unsigned i = 0; i < ROUNDS; i++)
        children[i] = child_new(0, true);
    client = nqtest_open(CLIENT, 1, nqtest_shm_path);
    fds = nqtest_descriptors();
    for (unsigned i = 0; i < ROUNDS; i++) {
        child_go(&children[i]);
        fds--;
        nqtest_event(client, NQ_EVENT_PEER_UP);
        exchange(client, 1 + (unsigned)rand_r(&seed) % 200);
        child_kill(&children[i]);
        nqtest_event(client, NQ_EVENT_PEER_DOWN);
        nqtest_shm_until_no_maps();
        nqtest_until_descriptors(fds);
    }
    nq_free(client);
    ck_assert_uint_eq(dev_shm(), shm);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("shm, crashes");
    TCase *tc = tcase_create("crashes");

    nqtest_shm_folder();
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, clients_that_are_killed_leave_nothing_at_the_server, 0, 3);
    tcase_add_loop_test(tc, a_server_that_is_killed_leaves_nothing_at_its_client, 0, 3);
    suite_add_tcase(suite, tc);
    return suite;
}
