/* plugins/shm: what keeps peers apart.  Nobody writes what is not his, and nobody sees, ends or
 * holds up what belongs to another link. */
#include "tests/plugins/shm_rig.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOAN ((size_t)100000)

static struct nqtest_rig rig;
static struct nqtest_shm_peer peers[2];
static struct nqtest_link *links[2]; /* the server's end of each */

static void setup(void)
{
    rig = nqtest_rig_endpoints(nqtest_shm_usual, nqtest_shm_usual);
    for (unsigned i = 0; i < 2; i++) {
        nqtest_shm_join(&peers[i], rig.server);
        links[i] = rig.server->accepted[i];
        links[i]->raw = true;
    }
}

static void teardown(void)
{
    nqtest_shm_leave(&peers[0]);
    nqtest_shm_leave(&peers[1]);
    nqtest_rig_free(&rig);
}

/* The server sends `to` a block that it filled with that byte; lease 0 with nonce 1. */
static void lend(unsigned to, int byte)
{
    struct nqt_buf *buf;
    uint32_t taken;

    ck_assert_int_eq(shm_loan(links[to]->plugin, LOAN, &buf), NQT_OK);
    memset(buf->seg[0].iov_base, byte, LOAN);
    ck_assert_int_eq(nqtest_send(links[to], &buf, 1, &taken), NQT_OK);
    ck_assert_uint_eq(taken, 1);
}

/* The descriptor of the segment that was passed to that peer, as it came. */
static struct shm_said segment_of(unsigned peer)
{
    struct shm_said said = {.fd = -1};

    while (said.fd < 0)
        ck_assert_int_eq(shm_socket_hear(peers[peer].fd, &said), 0);
    return said;
}

/* ---- memory of ours in the hands of a peer ----------------------------------------------- */

static void check_refuses(bool done)
{
    ck_assert(!done);
    ck_assert_int_eq(errno, EPERM);
}

/* Through the descriptor that came, and through one that is opened anew. */
static void check_not_writable(int fd, size_t len)
{
    void *at = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);

    ck_assert_ptr_ne(at, MAP_FAILED);
    ck_assert_int_eq(mprotect(at, len, PROT_READ | PROT_WRITE), -1);
    ck_assert_int_eq(madvise(at, len, MADV_REMOVE), -1);
    munmap(at, len);
    at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    check_refuses(at != MAP_FAILED);
    check_refuses(write(fd, "x", 1) == 1);
    check_refuses(!ftruncate(fd, (off_t)len / 2));
    check_refuses(!ftruncate(fd, (off_t)len * 2));
    check_refuses(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
    check_refuses(!fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
}

static void check_not_writable_again(int fd, size_t len)
{
    char name[64];
    int again;

    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    again = open(name, O_RDWR | O_CLOEXEC);
    check_not_writable(fd, len);
    if (again < 0)
        return; /* as good */
    check_not_writable(again, len);
    close(again);
}

START_TEST(a_peer_cannot_write_into_what_the_rings_are_made_of)
{
    struct shm_sizes sizes;
    struct nqtest_hello hello = nqtest_shm_hello();
    size_t len = (size_t)(hello.len + 4095) & ~(size_t)4095;
    struct shm_memory memory;
    int fd = nqtest_shm_knock(), memfd;

    ck_assert_int_eq(shm_memory_make(hello.len, &memory, &memfd), 0);
    nqtest_shm_say(fd, &hello, sizeof(hello), &memfd, 1);
    close(memfd);
    nqtest_settle(2);
    ck_assert_int_eq(shm_socket_hear_hello(fd, &sizes, &memfd), 0);
    len = (shm_outbox_size(&sizes) + 4095) & ~(size_t)4095;
    check_not_writable_again(memfd, len);
    close(memfd);
    close(fd);
    shm_memory_free(&memory);
}
END_TEST

START_TEST(a_peer_cannot_write_into_a_message)
{
    struct shm_said said;

    lend(0, 'm');
    said = segment_of(0);
    check_not_writable_again(said.fd, said.len);
    close(said.fd);
}
END_TEST

/* ---- what is another peer's -------------------------------------------------------------- */

/* All that a peer can read of a link, and whether a marker stands in it. */
static bool sees(unsigned peer, int byte)
{
    const struct shm_memory *theirs = &peers[peer].memory[1];
    uint8_t marker[64];

    memset(marker, byte, sizeof(marker));
    return memmem(theirs->at, theirs->len, marker, sizeof(marker));
}

START_TEST(a_peer_is_passed_nothing_of_what_another_is_sent)
{
    struct shm_said said;
    struct nqt_buf *buf = nqtest_buf(0, 3000, 1);
    uint32_t taken;

    memset(buf->seg[0].iov_base, 'c', 3000); /* copied */
    ck_assert_int_eq(nqtest_send(links[0], &buf, 1, &taken), NQT_OK);
    lend(0, 'm');
    ck_assert(sees(0, 'c'));
    ck_assert(!sees(1, 'c'));
    ck_assert(!sees(1, 'm'));
    ck_assert_int_eq(shm_socket_hear(peers[1].fd, &said), EAGAIN); /* and no segment */
}
END_TEST

/* Index and nonce are right, of the other link's lease. */
START_TEST(a_peer_cannot_give_back_what_was_lent_to_another)
{
    struct shm_token_tx tokens;
    struct shm_blocks *blocks;
    struct nqt_buf *buf;

    lend(0, 'm');
    blocks = links[0]->plugin->blocks;
    ck_assert_uint_eq(blocks->leases.used, 1);
    ck_assert_int_eq(shm_loan(links[1]->plugin, LOAN, &buf), NQT_OK);
    buf->ops->unref(buf);       /* nothing of it is lent to peer 1 */
    links[1]->plugin->lent = 1; /* so that its tokens are looked at all the same */
    shm_token_tx_init(&tokens, &peers[1].ours);
    shm_token_put(&tokens, (struct shm_lease_id){.index = 0, .nonce = 1});
    shm_socket_ring(peers[1].fd);
    NQTEST_UNTIL(nqtest_is_down, links[1]);
    ck_assert_int_eq(links[1]->err.code, NQT_E_PROTOCOL);
    ck_assert_uint_eq(blocks->leases.used, 1);
    ck_assert_uint_eq(links[0]->downs, 0);
}
END_TEST

START_TEST(a_lease_cannot_be_given_back_twice)
{
    struct shm_token_tx tokens;

    lend(0, 'm');
    lend(0, 'n'); /* lease 1, nonce 2 */
    shm_token_tx_init(&tokens, &peers[0].ours);
    shm_token_put(&tokens, (struct shm_lease_id){.index = 0, .nonce = 1});
    shm_socket_ring(peers[0].fd);
    nqtest_settle(1);
    ck_assert_uint_eq(links[0]->downs, 0);
    ck_assert_uint_eq(links[0]->plugin->blocks->leases.used, 1);
    shm_token_put(&tokens, (struct shm_lease_id){.index = 0, .nonce = 1});
    shm_socket_ring(peers[0].fd);
    NQTEST_UNTIL(nqtest_is_down, links[0]);
    ck_assert_int_eq(links[0]->err.code, NQT_E_PROTOCOL);
}
END_TEST

/* Its rings are full, its leases out, its socket is full of rings: the others go on. */
START_TEST(a_peer_that_takes_nothing_holds_up_nobody_else)
{
    struct nqtest_link *link = nqtest_connect(rig.client, NULL);

    NQTEST_UNTIL(nqtest_is_up, link);
    nqtest_settle(1);
    ck_assert_uint_eq(rig.server->naccepted, 3);
    nqtest_push(links[0], 1 << 20, 1000, 1, 4);
    for (uint64_t epoch = 1; epoch < 3000; epoch++) {
        atomic_store(peers[0].ours.wait, epoch << SHM_EPOCH_SHIFT | SHM_ASLEEP | SHM_WANTS_ROOM);
        nqtest_rx_poll(links[0]);
    }
    nqtest_settle(1);
    ck_assert(links[0]->short_send);
    nqtest_push(link, 1 << 20, 1000, 1, 4);
    nqtest_until_received(rig.server->accepted[2], 1 << 20);
    nqtest_push(rig.server->accepted[2], 1 << 20, 1000, 1, 4);
    nqtest_until_received(link, 1 << 20);
    ck_assert_uint_eq(links[0]->downs, 0);
}
END_TEST

/* A sender with leases out for ever gets copies through, and its pool does not grow. */
START_TEST(a_peer_that_gives_nothing_back_costs_what_the_options_say)
{
    struct nqtp_link *plugin = links[0]->plugin;
    const size_t pool = (size_t)64 << 20;
    unsigned lent = 0;
    struct nqt_buf *buf;
    uint32_t taken;

    while (lent < 1000 && shm_loan(plugin, LOAN, &buf) == NQT_OK) {
        (void)nqtest_send(links[0], &buf, 1, &taken);
        lent++;
        atomic_store(peers[0].ours.credit, plugin->tx.sent);
    }
    ck_assert_uint_le(plugin->blocks->leases.used, plugin->blocks->leases.n);
    ck_assert_uint_le(plugin->blocks->total, pool);
    ck_assert_uint_eq(links[0]->downs, 0);
}
END_TEST

Suite *nqtest_suite(void)
{
    static const struct nqtest_transport shm = {
        .module = &shm_LTX_nqt1_module, .server = nqtest_shm_usual, .client = nqtest_shm_usual};
    Suite *suite = suite_create("shm apart");
    TCase *tc = tcase_create("apart");

    nqtest_shm_folder();
    nqtest_tested = &shm;
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, a_peer_cannot_write_into_what_the_rings_are_made_of);
    tcase_add_test(tc, a_peer_cannot_write_into_a_message);
    tcase_add_test(tc, a_peer_is_passed_nothing_of_what_another_is_sent);
    tcase_add_test(tc, a_peer_cannot_give_back_what_was_lent_to_another);
    tcase_add_test(tc, a_lease_cannot_be_given_back_twice);
    tcase_add_test(tc, a_peer_that_takes_nothing_holds_up_nobody_else);
    tcase_add_test(tc, a_peer_that_gives_nothing_back_costs_what_the_options_say);
    suite_add_tcase(suite, tc);
    return suite;
}
