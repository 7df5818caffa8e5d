/* plugins/shm: sleeping and waking on two threads; the socket's path; options.
 */
#include "tests/plugins/shm_rig.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEN(array) (sizeof(array) / sizeof((array)[0]))

static const struct nqtest_transport shm = {
    .module = &shm_LTX_nqt1_module,
    .server = nqtest_shm_usual,
    .client = nqtest_shm_usual,
    .tiny_server = nqtest_shm_tiny,
    .tiny_client = nqtest_shm_tiny,
};

/* ---- two threads ---------------------------------------------------------------------------- */

#define BYTES (256u << 10)

static const struct {
    const struct nqtest_opt *opts;
    size_t len;
    uint32_t batch;
} shapes[] = {
    {nqtest_shm_tiny, 10, 1},  {nqtest_shm_tiny, 57, 7},     {nqtest_shm_tiny, 300, 3},
    {nqtest_shm_usual, 40, 1}, {nqtest_shm_usual, 3000, 64}, {nqtest_shm_usual, 100000, 1},
};

struct side {
    int shape;
    _Atomic bool *listening;
    _Atomic unsigned *ready;
};

/* Send as much as comes; end when both directions are through. */
static void both_ways(struct nqtest_link *link, struct side *side)
{
    nqtest_push(link, BYTES, shapes[side->shape].len, 1, shapes[side->shape].batch);
    nqtest_until_received(link, BYTES);
    atomic_fetch_add(side->ready, 1);
    while (link->tx.done < BYTES || atomic_load(side->ready) < 2)
        nqtest_turn(1);
}

static void *serve(void *arg)
{
    struct side *side = arg;
    struct nqtest_host *host = nqtest_host_new(&shm_LTX_nqt1_module, 0);
    struct nqtest_ep *ep;

    ck_assert_int_eq(nqtest_ep_open(host, true, shapes[side->shape].opts, &ep, NULL), 0);
    atomic_store(side->listening, true);
    NQTEST_UNTIL(nqtest_has_accepted, ep);
    both_ways(ep->accepted[0], side);
    nqtest_host_free(host);
    return NULL;
}

static bool is_set(const void *arg)
{
    return atomic_load((_Atomic bool *)(uintptr_t)arg);
}

/* A wake-up that is lost leaves both asleep, and the test never ends. */
START_TEST(two_threads_that_sleep_and_wake_lose_nothing)
{
    _Atomic bool listening = false;
    _Atomic unsigned ready = 0;
    struct side side = {.shape = _i, .listening = &listening, .ready = &ready};
    struct nqtest_host *host;
    struct nqtest_link *link;
    struct nqtest_ep *ep;
    pthread_t thread;

    pthread_create(&thread, NULL, serve, &side);
    nqtest_until(is_set, &listening, "the server");
    host = nqtest_host_new(&shm_LTX_nqt1_module, 0);
    ck_assert_int_eq(nqtest_ep_open(host, false, shapes[_i].opts, &ep, NULL), 0);
    link = nqtest_connect(ep, NULL);
    NQTEST_UNTIL(nqtest_is_up, link);
    both_ways(link, &side);
    pthread_join(thread, NULL);
    nqtest_host_free(host);
}
END_TEST

START_TEST(who_is_awake_costs_no_system_call)
{
    struct nqtest_rig rig = nqtest_rig_up(nqtest_shm_usual, nqtest_shm_usual);
    long calls;

    ck_assert_int_eq(nqtest_rx_arm(rig.s, 0), 0);
    calls = rig.client_host->send_calls;
    for (int i = 0; i < 50; i++) {
        nqtest_push(rig.c, 40, 40, 1, 1);
        while (rig.s->received < rig.c->tx.done)
            nqtest_rx_poll(rig.s);
    }
    ck_assert_int_eq(rig.client_host->send_calls, calls);
    ck_assert_int_eq(nqtest_rx_arm(rig.s, 1), 0);
    nqtest_push(rig.c, 40, 40, 1, 1); /* one a sleep */
    nqtest_push(rig.c, 40, 40, 1, 1);
    ck_assert_int_eq(rig.client_host->send_calls, calls + 1);
    nqtest_until_received(rig.s, rig.c->tx.done);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(who_goes_to_sleep_with_data_there_is_told)
{
    struct nqtest_rig rig = nqtest_rig_up(nqtest_shm_usual, nqtest_shm_usual);

    ck_assert_int_eq(nqtest_rx_arm(rig.s, 0), 0);
    nqtest_push(rig.c, 40, 40, 1, 1);
    ck_assert_int_eq(nqtest_rx_arm(rig.s, 1), 1); /* it stays awake */
    ck_assert_int_eq(nqtest_rx_poll(rig.s), 1);
    ck_assert_int_eq(nqtest_rx_arm(rig.s, 1), 0);
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- the path -------------------------------------------------------------------------------- */

START_TEST(the_socket_has_the_mode_of_the_option_and_goes_with_its_server)
{
    static const struct nqtest_opt opts[] = {
        {"path", nqtest_shm_path}, {"mode", "0640"}, {NULL, NULL}};
    struct nqtest_rig rig = nqtest_rig_endpoints(opts, opts);
    struct stat st;

    ck_assert_int_eq(lstat(nqtest_shm_path, &st), 0);
    ck_assert_uint_eq(st.st_mode, S_IFSOCK | 0640);
    nqtest_rig_free(&rig);
    ck_assert_int_lt(lstat(nqtest_shm_path, &st), 0);
}
END_TEST

START_TEST(the_socket_of_a_dead_server_is_taken_over)
{
    struct nqtest_rig rig;

    close(nqtest_shm_serve()); /* the file stays */
    rig = nqtest_rig_up(nqtest_shm_usual, nqtest_shm_usual);
    nqtest_push(rig.c, 100, 100, 1, 1);
    nqtest_until_received(rig.s, 100);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_file_that_is_no_socket_is_left_alone)
{
    struct nqtest_host *host = nqtest_host_new(&shm_LTX_nqt1_module, 0);
    struct nqt_error err = {.size = sizeof(err)};
    struct nqtest_ep *ep;
    struct stat st;
    int fd = open(nqtest_shm_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

    close(fd);
    ck_assert_int_eq(nqtest_ep_open(host, true, nqtest_shm_usual, &ep, &err), NQT_E_SYS);
    ck_assert_ptr_nonnull(strstr(err.text, nqtest_shm_path));
    ck_assert_int_eq(lstat(nqtest_shm_path, &st), 0);
    ck_assert(S_ISREG(st.st_mode));
    unlink(nqtest_shm_path);
    nqtest_host_free(host);
}
END_TEST

START_TEST(a_server_removes_no_other_ones_socket)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(nqtest_shm_usual, nqtest_shm_usual);
    struct stat st;

    ck_assert_int_eq(unlink(nqtest_shm_path), 0);
    close(nqtest_shm_serve()); /* the file stays */
    nqtest_rig_free(&rig);
    ck_assert_int_eq(lstat(nqtest_shm_path, &st), 0);
    unlink(nqtest_shm_path);
}
END_TEST

START_TEST(the_folder_that_somebody_keeps_locked_is_an_error_and_no_hang)
{
    struct nqtest_host *host = nqtest_host_new(&shm_LTX_nqt1_module, 0);
    struct nqt_error err = {.size = sizeof(err)};
    struct nqtest_ep *ep;
    char folder[64];
    int fd;

    memcpy(folder, nqtest_shm_path, sizeof(folder));
    *strrchr(folder, '/') = '\0';
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_eq(flock(fd, LOCK_EX), 0);
    ck_assert_int_eq(nqtest_ep_open(host, true, nqtest_shm_usual, &ep, &err), NQT_E_SYS);
    ck_assert_int_eq(err.native, EWOULDBLOCK);
    close(fd);
    ck_assert_int_eq(nqtest_ep_open(host, true, nqtest_shm_usual, &ep, &err), 0);
    nqtest_host_free(host);
}
END_TEST

START_TEST(a_full_backlog_is_waited_for)
{
    struct nqtest_host *host = nqtest_host_new(&shm_LTX_nqt1_module, 0);
    int listener = nqtest_shm_serve(), knocks[32], fd;
    struct nqtest_link *link;
    struct nqtest_ep *ep;

    for (unsigned i = 0; i < 9; i++) /* as many as its backlog has, and one */
        knocks[i] = nqtest_shm_knock();
    ck_assert_int_eq(nqtest_ep_open(host, false, nqtest_shm_usual, &ep, NULL), 0);
    link = nqtest_connect(ep, NULL);
    nqtest_advance(host, SHM_RETRY_NS);
    nqtest_settle(1);
    ck_assert_uint_eq(link->downs, 0);
    for (unsigned i = 0; i < 9; i++) {
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        ck_assert_int_ge(fd, 0);
        close(fd);
        close(knocks[i]);
    }
    nqtest_advance(host, SHM_RETRY_NS);
    nqtest_settle(1);
    fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    close(fd);
    NQTEST_UNTIL(nqtest_is_down, link);
    ck_assert_int_eq(link->err.code, NQT_E_REFUSED);
    close(listener);
    unlink(nqtest_shm_path);
    nqtest_host_free(host);
}
END_TEST

/* ---- options --------------------------------------------------------------------------------- */

static const struct {
    struct nqtest_opt opt[3];
    const char *text;
} wrong[] = {
    {{{"path", ""}}, "path: no value"},
    {{{"path",
       "/tmp/a-path-that-is-longer-than-the-address-of-a-unix-socket-has-room-for-which-is-one"
       "-hundred-and-seven-bytes"}},
     "path: has "},
    {{{"path", nqtest_shm_path}, {"mode", "0888"}}, "mode: \"0888\""},
    {{{"path", nqtest_shm_path}, {"mode", "01777"}}, "mode: \"01777\""},
    {{{"path", "/no/such/folder/socket"}}, "/no/such/folder/socket"},
};

START_TEST(a_wrong_option_is_an_error_that_names_it)
{
    int fds = nqtest_fds();
    struct nqtest_host *host = nqtest_host_new(&shm_LTX_nqt1_module, 0);
    struct nqt_error err = {.size = sizeof(err)};
    struct nqtest_ep *ep;

    ck_assert_int_lt(nqtest_ep_open(host, true, wrong[_i].opt, &ep, &err), 0);
    ck_assert_msg(strstr(err.text, wrong[_i].text), "%s", err.text);
    nqtest_host_free(host);
    ck_assert_int_eq(nqtest_fds(), fds);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("shm");
    TCase *waking = tcase_create("waking"), *path = tcase_create("path");

    nqtest_shm_folder();
    nqtest_tested = &shm;
    tcase_set_timeout(waking, 60);
    tcase_add_loop_test(waking, two_threads_that_sleep_and_wake_lose_nothing, 0, LEN(shapes));
    tcase_add_test(waking, who_is_awake_costs_no_system_call);
    tcase_add_test(waking, who_goes_to_sleep_with_data_there_is_told);
    suite_add_tcase(suite, waking);
    tcase_add_test(path, the_socket_has_the_mode_of_the_option_and_goes_with_its_server);
    tcase_add_test(path, the_socket_of_a_dead_server_is_taken_over);
    tcase_add_test(path, a_file_that_is_no_socket_is_left_alone);
    tcase_add_test(path, a_server_removes_no_other_ones_socket);
    tcase_add_test(path, the_folder_that_somebody_keeps_locked_is_an_error_and_no_hang);
    tcase_add_test(path, a_full_backlog_is_waited_for);
    tcase_add_loop_test(path, a_wrong_option_is_an_error_that_names_it, 0, LEN(wrong));
    suite_add_tcase(suite, path);
    return suite;
}
