/* plugins/shm: bells.  Who is woken often is woken by a pipe, and nobody is harmed or left asleep
 * by one that is filled, closed, refused or no pipe at all. */
#include "tests/plugins/shm_rig.h"
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct nqtest_transport shm = {.module = &shm_LTX_nqt1_module};

#define BEFORE 16u      /* rings over the socket */
#define CAPACITY 2048u  /* rings of one pipe */
#define FILES 1024u     /* that the process may open */
#define LINKS 32u       /* that may have one then */
#define BELL_DATAGRAM 3 /* its kind */

struct bell_said {
    uint32_t kind, number;
    uint64_t len;
};

/* ---- both sides are ours ------------------------------------------------------------------- */

/* One message to a side that sleeps. */
static void wake_once(struct nqtest_rig *rig)
{
    nqtest_push(rig->c, 40, 40, 1, 1);
    nqtest_until_received(rig->s, rig->c->tx.done);
}

START_TEST(who_is_woken_often_has_nothing_to_read)
{
    struct nqtest_rig rig = nqtest_rig_up(nqtest_shm_usual, nqtest_shm_usual);
    long reads, wakes = rig.client_host->send_calls;

    for (unsigned i = 0; i < BEFORE + 1; i++)
        wake_once(&rig);
    reads = rig.server_host->recv_calls;
    ck_assert_int_ge(reads, BEFORE);
    for (unsigned i = 0; i < 100; i++)
        wake_once(&rig);
    ck_assert_int_eq(rig.server_host->recv_calls, reads);
    ck_assert_int_eq(rig.client_host->send_calls, wakes + BEFORE + 1 + 100); /* one a sleep */
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_pipe_that_may_be_full_makes_room_for_another)
{
    struct nqtest_rig rig = nqtest_rig_up(nqtest_shm_usual, nqtest_shm_usual);
    long reads;
    int fds;

    for (unsigned i = 0; i < BEFORE + 1; i++)
        wake_once(&rig);
    fds = nqtest_fds();
    reads = rig.server_host->recv_calls;
    for (unsigned i = 0; i < 3 * (CAPACITY + 1); i++)
        wake_once(&rig);
    ck_assert_int_eq(rig.server_host->recv_calls, reads + 3); /* one datagram each */
    ck_assert_int_eq(nqtest_fds(), fds);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(who_cannot_watch_a_pipe_is_woken_by_the_socket)
{
    struct nqtest_rig rig = nqtest_rig_up(nqtest_shm_usual, nqtest_shm_usual);
    int fds = nqtest_fds();

    for (unsigned i = 0; i < BEFORE; i++)
        wake_once(&rig);
    ck_assert_int_eq(nqtest_fds(), fds);
    rig.server_host->fail_other = 1;
    for (unsigned i = 0; i < 200; i++)
        wake_once(&rig);
    ck_assert_int_eq(rig.server_host->fail_other, 0); /* it was tried */
    ck_assert_int_eq(nqtest_fds(), fds + 2);
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- the sleeper is made by hand ----------------------------------------------------------- */

struct sleeper {
    struct nqtest_rig rig;
    struct nqtest_shm_peer peer;
    struct nqtest_link *waker;
    uint64_t epoch, sent;
};

static struct sleeper sleeper_up(void)
{
    struct sleeper sleeper = {.epoch = 0};

    sleeper.rig = nqtest_rig_endpoints(nqtest_shm_usual, nqtest_shm_usual);
    nqtest_shm_join(&sleeper.peer, sleeper.rig.server);
    sleeper.waker = sleeper.rig.server->accepted[0];
    return sleeper;
}

static void sleeper_free(struct sleeper *sleeper)
{
    nqtest_shm_leave(&sleeper->peer);
    nqtest_rig_free(&sleeper->rig);
}

/* It sleeps and is sent something, and takes that. */
static void sleeper_is_woken(struct sleeper *sleeper, uint64_t bits)
{
    struct nqt_buf *buf = nqtest_buf(sleeper->sent * 10, 10, 1);
    uint32_t n;

    atomic_store(sleeper->peer.ours.wait, ++sleeper->epoch << SHM_EPOCH_SHIFT | SHM_ASLEEP | bits);
    ck_assert_int_eq(nqtest_send(sleeper->waker, &buf, 1, &n), NQT_OK);
    ck_assert_uint_eq(n, 1);
    atomic_store(sleeper->peer.ours.credit, ++sleeper->sent);
}

/* The pipe it is passed after many rings. */
static int sleeper_bell(struct sleeper *sleeper)
{
    struct shm_said said = {.kind = SHM_SAID_RING};

    for (unsigned i = 0; i < BEFORE; i++) {
        sleeper_is_woken(sleeper, 0);
        ck_assert_int_eq(shm_socket_hear(sleeper->peer.fd, &said), 0);
        ck_assert_int_eq(said.kind, SHM_SAID_RING);
    }
    sleeper_is_woken(sleeper, 0);
    ck_assert_int_eq(shm_socket_hear(sleeper->peer.fd, &said), 0);
    ck_assert_int_eq(said.kind, SHM_SAID_BELL);
    ck_assert_int_ge(said.fd, 0);
    return said.fd;
}

START_TEST(a_pipe_is_used_once_the_sleeper_says_that_he_hears_it)
{
    struct sleeper sleeper = sleeper_up();
    struct shm_said said;
    int bell = sleeper_bell(&sleeper);
    char bytes[8];

    sleeper_is_woken(&sleeper, 0);
    ck_assert_int_eq(shm_socket_hear(sleeper.peer.fd, &said), 0);
    ck_assert_int_eq(read(bell, bytes, sizeof(bytes)), -1);
    sleeper_is_woken(&sleeper, SHM_HEARS_BELL);
    ck_assert_int_eq(read(bell, bytes, sizeof(bytes)), 1);
    ck_assert_int_ne(shm_socket_hear(sleeper.peer.fd, &said), 0);
    close(bell);
    sleeper_free(&sleeper);
}
END_TEST

/* Who writes to it must neither be stopped, nor end by a signal. */
START_TEST(a_pipe_that_the_peer_closed_harms_nobody)
{
    struct sleeper sleeper = sleeper_up();

    close(sleeper_bell(&sleeper));
    for (unsigned i = 0; i < 10; i++)
        sleeper_is_woken(&sleeper, SHM_HEARS_BELL);
    ck_assert_uint_eq(sleeper.waker->downs, 0);
    sleeper_free(&sleeper);
}
END_TEST

static void fill(int bell)
{
    static const char zeros[4096];
    char path[64];
    int fd;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", bell);
    fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    while (write(fd, zeros, sizeof(zeros)) > 0)
        continue;
    while (write(fd, zeros, 1) > 0)
        continue;
    ck_assert_int_eq(fcntl(bell, F_SETFL, 0), 0); /* its reading end blocks */
    close(fd);
}

START_TEST(a_pipe_that_the_peer_filled_blocks_nobody_and_the_socket_wakes)
{
    struct sleeper sleeper = sleeper_up();
    struct shm_said said;
    int bell = sleeper_bell(&sleeper);

    fill(bell);
    sleeper_is_woken(&sleeper, SHM_HEARS_BELL);
    ck_assert_int_eq(shm_socket_hear(sleeper.peer.fd, &said), 0);
    ck_assert_int_eq(said.kind, SHM_SAID_RING);
    close(bell);
    close(sleeper_bell(&sleeper)); /* another one, in time */
    sleeper_free(&sleeper);
}
END_TEST

START_TEST(a_peer_that_hears_what_it_was_never_passed_is_woken_by_the_socket)
{
    struct sleeper sleeper = sleeper_up();
    struct shm_said said;

    sleeper_is_woken(&sleeper, SHM_HEARS_BELL);
    ck_assert_int_eq(shm_socket_hear(sleeper.peer.fd, &said), 0);
    ck_assert_int_eq(said.kind, SHM_SAID_RING);
    sleeper_free(&sleeper);
}
END_TEST

static void files_limit(rlim_t files)
{
    struct rlimit limit;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = files;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* A program's descriptors are for more than this. */
START_TEST(only_some_links_have_a_pipe)
{
    struct sleeper sleeper = sleeper_up();
    _Atomic uint32_t *bells = &((struct nqtp_link *)sleeper.waker->plugin)->ep->mod->bells;
    struct shm_said said;

    files_limit(FILES);
    atomic_store(bells, LINKS);
    for (unsigned i = 0; i < 3 * (BEFORE + 1); i++) {
        sleeper_is_woken(&sleeper, 0);
        ck_assert_int_eq(shm_socket_hear(sleeper.peer.fd, &said), 0);
        ck_assert_int_eq(said.kind, SHM_SAID_RING);
    }
    ck_assert_uint_eq(atomic_load(bells), LINKS);
    atomic_store(bells, LINKS - 1);
    close(sleeper_bell(&sleeper));
    ck_assert_uint_eq(atomic_load(bells), LINKS);
    sleeper_free(&sleeper);
}
END_TEST

START_TEST(who_may_open_more_has_more_pipes)
{
    struct sleeper sleeper = sleeper_up();
    _Atomic uint32_t *bells = &((struct nqtp_link *)sleeper.waker->plugin)->ep->mod->bells;

    files_limit(2 * FILES);
    atomic_store(bells, 2 * LINKS - 1);
    close(sleeper_bell(&sleeper));
    ck_assert_uint_eq(atomic_load(bells), 2 * LINKS);
    sleeper_free(&sleeper);
}
END_TEST

/* ---- the waker is made by hand ------------------------------------------------------------- */

static void say_bell(const struct sleeper *by_hand, int fd)
{
    const struct bell_said said = {.kind = BELL_DATAGRAM};

    nqtest_shm_say(by_hand->peer.fd, &said, sizeof(said), &fd, fd >= 0);
}

static void one_cell(struct sleeper *by_hand)
{
    struct shm_words words = {
        .kind = SHM_INLINE, .len = 1, .body = {nqtest_pattern(by_hand->sent)}};

    nqtest_shm_commit(&by_hand->peer, by_hand->sent++, &words);
}

static bool hears(const void *arg)
{
    const struct sleeper *by_hand = arg;
    uint64_t word = atomic_load(by_hand->peer.theirs.wait);

    return word & SHM_HEARS_BELL && word & SHM_ASLEEP;
}

START_TEST(a_byte_in_the_pipe_wakes_and_is_left_there)
{
    struct sleeper by_hand = sleeper_up();
    int ends[2], fds = nqtest_fds(), unread;

    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0); /* its reading end blocks */
    for (int turn = 0; turn < 2; turn++) {       /* the second time it takes the place of itself */
        say_bell(&by_hand, ends[0]);
        nqtest_settle(1);
        nqtest_until(hears, &by_hand, "the sleeper to hear the bell");
        ck_assert_int_eq(nqtest_fds(), fds + 2 + 2); /* and the set of the test's host */
        for (int i = 0; i < 10; i++) {
            one_cell(&by_hand);
            ck_assert_int_eq(write(ends[1], "", 1), 1);
            nqtest_until_received(by_hand.waker, by_hand.sent);
        }
    }
    ck_assert_int_eq(ioctl(ends[0], FIONREAD, &unread), 0);
    ck_assert_int_eq(unread, 20);
    close(ends[0]);
    close(ends[1]);
    ck_assert_uint_eq(by_hand.waker->downs, 0);
    sleeper_free(&by_hand);
}
END_TEST

/* 0: memory, 1: the writing end, 2: a socket, 3: nothing at all */
static int no_bell(int which)
{
    int ends[2];

    switch (which) {
    case 0:
        return memfd_create("hostile", MFD_CLOEXEC);
    case 1:
        ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
        close(ends[0]);
        return ends[1];
    case 2:
        return socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    default:
        return -1;
    }
}

START_TEST(a_bell_that_is_no_pipe_to_read_ends_the_link_and_does_not_stay_open)
{
    struct sleeper by_hand = sleeper_up();
    int fd = no_bell(_i), fds = nqtest_fds();

    say_bell(&by_hand, fd);
    NQTEST_UNTIL(nqtest_is_down, by_hand.waker);
    ck_assert_int_eq(by_hand.waker->err.code, NQT_E_PROTOCOL);
    ck_assert_int_eq(nqtest_fds(), fds - 1); /* its socket is closed */
    if (fd >= 0)
        close(fd);
    sleeper_free(&by_hand);
}
END_TEST

START_TEST(who_has_no_descriptors_left_goes_without)
{
    struct sleeper by_hand = sleeper_up();
    struct rlimit limit, none;
    int ends[2];

    ck_assert_int_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = (struct rlimit){.rlim_cur = 3, .rlim_max = limit.rlim_max};
    say_bell(&by_hand, ends[0]);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    ck_assert_int_eq(shm_rx_hear((struct nqtp_link *)by_hand.waker->plugin), true);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    one_cell(&by_hand);
    shm_socket_ring(by_hand.peer.fd);
    nqtest_until_received(by_hand.waker, 1);
    ck_assert(!hears(&by_hand));
    close(ends[0]);
    close(ends[1]);
    sleeper_free(&by_hand);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("shm, bells");
    TCase *tc = tcase_create("bells");

    nqtest_tested = &shm;
    nqtest_shm_folder();
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, who_is_woken_often_has_nothing_to_read);
    tcase_add_test(tc, a_pipe_that_may_be_full_makes_room_for_another);
    tcase_add_test(tc, who_cannot_watch_a_pipe_is_woken_by_the_socket);
    tcase_add_test(tc, a_pipe_is_used_once_the_sleeper_says_that_he_hears_it);
    tcase_add_test(tc, a_pipe_that_the_peer_closed_harms_nobody);
    tcase_add_test(tc, a_pipe_that_the_peer_filled_blocks_nobody_and_the_socket_wakes);
    tcase_add_test(tc, a_peer_that_hears_what_it_was_never_passed_is_woken_by_the_socket);
    tcase_add_test(tc, only_some_links_have_a_pipe);
    tcase_add_test(tc, who_may_open_more_has_more_pipes);
    tcase_add_test(tc, a_byte_in_the_pipe_wakes_and_is_left_there);
    tcase_add_loop_test(tc, a_bell_that_is_no_pipe_to_read_ends_the_link_and_does_not_stay_open, 0,
                        4);
    tcase_add_test(tc, who_has_no_descriptors_left_goes_without);
    suite_add_tcase(suite, tc);
    return suite;
}
