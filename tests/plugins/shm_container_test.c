/* plugins/shm between containers that share the socket's folder and nothing else: namespaces of
 * their own for processes, mounts, IPC, network and host name, and another /dev/shm.
 *
 *     test ---- fork ---- keeper: makes the namespaces ---- fork ---- echo: process 1 of them
 *      ^                     its number, as it is here                      |
 *      +----------------------------------------------------- queue -------+
 *
 * Skipped where a process may not make namespaces. */
#include "tests/plugins/shm_rig.h"
#include "tests/support/queue.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define SPACES (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWUTS)
#define LENT 100000u

#define COMMON "'transport': 'shm', 'path': '%s', 'session': {'keepalive': 'off', 'expiry': 'off'}"
#define CLIENT "{'purpose': 'client', 'id': '" NQTEST_ID "', " COMMON "}"
#define SERVER "{'purpose': 'server', " COMMON "}"

struct container {
    pid_t keeper, echo;
    int go;
};

/* ---- inside ---------------------------------------------------------------------------------- */

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    (void)!write(fd, text, strlen(text));
    close(fd);
}

/* As nobody special: in a namespace of users where we are the same one.  @return 0 or an errno */
static int enter_as_user(void)
{
    char text[64];
    uid_t uid = geteuid();
    gid_t gid = getegid();

    if (unshare(SPACES | CLONE_NEWUSER))
        return errno;
    write_file("/proc/self/setgroups", "deny");
    snprintf(text, sizeof(text), "%lu %lu 1", (unsigned long)uid, (unsigned long)uid);
    write_file("/proc/self/uid_map", text);
    snprintf(text, sizeof(text), "%lu %lu 1", (unsigned long)gid, (unsigned long)gid);
    write_file("/proc/self/gid_map", text);
    return 0;
}

static int enter(void)
{
    int rc = unshare(SPACES) ? enter_as_user() : 0;

    if (rc)
        return rc;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("none", "/dev/shm", "tmpfs", 0, "size=4k"))
        return errno;
    return 0;
}

static _Noreturn void echo_run(bool server)
{
    nq_queue *queue =
        server ? nqtest_open(SERVER, nqtest_shm_path) : nqtest_open(CLIENT, 1, nqtest_shm_path);
    nq_msg *msg;

    for (;;)
        if (nq_get(queue, NULL, 0, NQ_FOREVER, &msg) || nq_put(queue, msg, NULL, 0, NULL))
            _exit(1);
}

static _Noreturn void keeper_run(bool server, int go, int told)
{
    char byte;
    int rc = read(go, &byte, 1) == 1 ? enter() : EPIPE;
    pid_t echo = rc ? -rc : fork();

    if (!echo) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        echo_run(server);
    }
    (void)!write(told, &echo, sizeof(echo));
    while (wait(NULL) > 0)
        ;
    _exit(0);
}

/* ---- outside --------------------------------------------------------------------------------- */

/* `told` has its number once it goes. */
static struct container container_new(bool server, int *told)
{
    struct container container;
    int go[2], answer[2];

    ck_assert(!pipe(go) && !pipe(answer));
    container = (struct container){.go = go[1], .keeper = fork()};
    ck_assert_int_ge(container.keeper, 0);
    if (!container.keeper) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(go[1]);
        keeper_run(server, go[0], answer[1]);
    }
    close(go[0]);
    close(answer[1]);
    *told = answer[0];
    return container;
}

/* False: it may not. */
static bool container_go(struct container *container, int told)
{
    ck_assert_int_eq(write(container->go, "", 1), 1);
    ck_assert_int_eq(read(told, &container->echo, sizeof(container->echo)),
                     (ssize_t)sizeof(container->echo));
    close(container->go);
    close(told);
    if (container->echo > 0)
        return true;
    printf("# no namespaces here: %s\n", strerror((int)-container->echo));
    return false;
}

static void there_and_back(nq_queue *queue, const nq_uuid *peer)
{
    static const size_t sizes[] = {40, 3000, LENT};

    for (unsigned i = 0; i < 3; i++) {
        nq_msg *noise = nqtest_noise(sizes[i], i), *msg = NULL;
        const void *from;
        void *data;
        size_t len;

        ck_assert_int_eq(nq_msg_data(noise, &from, &len), NQ_OK);
        ck_assert_int_eq(nq_loan(queue, peer, 1, len, &data, &msg), NQ_OK);
        memcpy(data, from, len);
        nq_msg_free(noise);
        ck_assert_int_eq(nq_put(queue, msg, peer, 1, NULL), NQ_OK);
        msg = nqtest_get(queue);
        nqtest_check_noise(msg, len, i);
        ck_assert_int_eq(nq_msg_data(msg, &from, &len), NQ_OK);
        ck_assert(!nqtest_shm_holds(from, len)); /* the same user, who can do nothing else here */
        nq_msg_free(msg);
    }
}

/* _i: the client, or the server is in the container. */
START_TEST(containers_share_the_socket_alone)
{
    int told;
    struct container container = container_new(_i, &told);
    nq_queue *queue = _i ? NULL : nqtest_open(SERVER, nqtest_shm_path);
    struct nq_event event;

    if (container_go(&container, told)) {
        if (_i)
            queue = nqtest_open(CLIENT, 1, nqtest_shm_path);
        event = nqtest_event(queue, NQ_EVENT_PEER_UP);
        there_and_back(queue, &event.peer);
        ck_assert_uint_ge(nqtest_shm_maps(), 3); /* two rings, and a segment at least */
        ck_assert_int_eq(kill(container.echo, SIGKILL), 0);
        nqtest_event(queue, NQ_EVENT_PEER_GONE);
        nqtest_shm_until_no_maps();
    }
    ck_assert_int_eq(waitpid(container.keeper, NULL, 0), container.keeper);
    nq_free(queue);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("shm, containers");
    TCase *tc = tcase_create("containers");

    nqtest_shm_folder();
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, containers_share_the_socket_alone, 0, 2);
    suite_add_tcase(suite, tc);
    return suite;
}
