/* plugins/shm against a peer that breaks its rules: what it passes, what it says, what it writes.
 * The link ends, or never begins; nothing of it stays, and others do not notice. */
#include "tests/plugins/shm_rig.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define LEN(array) (sizeof(array) / sizeof((array)[0]))

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)

/* ---- memory that is not what it should be -------------------------------------------------- */

static size_t box_size(void)
{
    return (nqtest_shm_hello().len + 4095) & ~UINT64_C(4095);
}

/* The first `pages` of it exist. */
static int memory_in_part(size_t size, size_t pages, int seals)
{
    static const uint8_t zeros[4096];
    int fd = memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
    for (size_t i = 0; i < pages; i++)
        ck_assert_int_eq(pwrite(fd, zeros, sizeof(zeros), (off_t)(i * sizeof(zeros))),
                         sizeof(zeros));
    ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static int memory(size_t size, bool whole, int seals)
{
    return memory_in_part(size, whole ? (size + 4095) / 4096 : 0, seals);
}

/* Reading would allocate the page that is missing, though as many blocks as it has are counted. */
static int blocks_behind_the_end(void)
{
    size_t pages = box_size() / 4096;
    int fd = memory_in_part(box_size(), pages - 1, 0);

    ck_assert_int_eq(fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)box_size(), 4096), 0);
    ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, SEALS), 0);
    return fd;
}

static int unsealable(void)
{
    int fd = memfd_create("hostile", MFD_CLOEXEC);

    ck_assert_int_eq(ftruncate(fd, (off_t)box_size()), 0);
    return fd;
}

static int a_pipe(void)
{
    int fds[2];

    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    close(fds[1]);
    return fds[0];
}

static int hostile_fd(int which)
{
    static const int lacking[] = {F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_FUTURE_WRITE, F_SEAL_SEAL};
    char file[80];
    int fd;

    switch (which) {
    case 0:
    case 1:
    case 2:
    case 3:
        return memory(box_size(), true, SEALS & ~lacking[which]);
    case 4:
        return memory(box_size(), false, SEALS); /* reading would allocate */
    case 5:
        return memory(box_size() - 4096, true, SEALS);
    case 6:
        return memory(box_size() + 4096, true, SEALS);
    case 7:
        return memory(0, false, SEALS);
    case 8:
        return unsealable();
    case 9:
        return a_pipe();
    case 10:
        return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    case 11:
        return open("/dev/zero", O_RDWR | O_CLOEXEC);
    case 12:
        return blocks_behind_the_end();
    default:
        snprintf(file, sizeof(file), "%s.file", nqtest_shm_path);
        fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        ck_assert_int_eq(unlink(file), 0);
        ck_assert_int_eq(fallocate(fd, 0, 0, (off_t)box_size()), 0);
        return fd;
    }
}

#define HOSTILE_FDS 14

/* The server ended that connection, and another client is none the worse. */
static void check_refused(struct nqtest_rig *rig, int fd, unsigned maps)
{
    char byte;
    struct nqtest_link *link;

    nqtest_settle(2);
    ck_assert_int_eq(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
    close(fd);
    ck_assert_uint_eq(rig->server->naccepted, 0);
    ck_assert_uint_eq(nqtest_shm_maps(), maps);
    link = nqtest_connect(rig->client, NULL);
    NQTEST_UNTIL(nqtest_is_up, link);
    NQTEST_UNTIL(nqtest_has_accepted, rig->server);
    nqtest_push(link, 1000, 100, 1, 4);
    nqtest_until_received(rig->server->accepted[0], 1000);
}

START_TEST(memory_that_could_change_is_refused)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(nqtest_shm_usual, nqtest_shm_usual);
    struct nqtest_hello hello = nqtest_shm_hello();
    int fd = nqtest_shm_knock(), passed = hostile_fd(_i);

    nqtest_shm_say(fd, &hello, sizeof(hello), &passed, 1);
    close(passed);
    check_refused(&rig, fd, nqtest_shm_maps());
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- a greeting that is none --------------------------------------------------------------- */

static size_t bad_hello(int which, struct nqtest_hello *hello)
{
    *hello = nqtest_shm_hello();
    switch (which) {
    case 0:
        hello->magic[0] = 'x';
        break;
    case 1:
        hello->magic[7] = 1;
        break;
    case 2:
        hello->version++;
        break;
    case 3:
        hello->cell = 128;
        break;
    case 4:
        hello->ncell = 15;
        break;
    case 5:
        hello->ncell = 0;
        break;
    case 6:
        hello->ncell = UINT32_MAX;
        break;
    case 7:
        hello->ntoken = 0;
        break;
    case 8:
        hello->nbyte = UINT32_C(1) << 31;
        break;
    case 9:
        hello->zero = 1;
        break;
    case 10:
        hello->len--;
        break;
    case 11:
        hello->len = UINT64_MAX;
        break;
    case 12:
        return sizeof(*hello) - 1;
    case 13:
        return 1;
    default:
        return 0;
    }
    return sizeof(*hello);
}

#define BAD_HELLOS 15

START_TEST(a_greeting_that_makes_no_sense_is_refused)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(nqtest_shm_usual, nqtest_shm_usual);
    int fd = nqtest_shm_knock(), passed = memory(box_size(), true, SEALS);
    struct nqtest_hello hello;
    size_t len = bad_hello(_i, &hello);

    nqtest_shm_say(fd, &hello, len, &passed, 1);
    close(passed);
    check_refused(&rig, fd, nqtest_shm_maps());
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(no_descriptor_and_two_are_refused_and_none_stays_open)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(nqtest_shm_usual, nqtest_shm_usual);
    struct nqtest_hello hello = nqtest_shm_hello();
    int passed = memory(box_size(), true, SEALS), fds[2] = {passed, passed};
    int fd = nqtest_shm_knock(), open_before = nqtest_fds();

    nqtest_shm_say(fd, &hello, sizeof(hello), fds, _i ? 2 : 0);
    nqtest_settle(2);
    ck_assert_int_eq(nqtest_fds(), open_before);
    close(passed);
    check_refused(&rig, fd, nqtest_shm_maps());
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_greeting_that_is_too_long_is_refused)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(nqtest_shm_usual, nqtest_shm_usual);
    int fd = nqtest_shm_knock(), passed = memory(box_size(), true, SEALS);
    struct {
        struct nqtest_hello hello;
        char more[8];
    } longer = {.hello = nqtest_shm_hello()};

    nqtest_shm_say(fd, &longer, sizeof(longer), &passed, 1);
    close(passed);
    check_refused(&rig, fd, nqtest_shm_maps());
    nqtest_rig_free(&rig);
}
END_TEST

/* _i: because others come, or because its time is over. */
START_TEST(who_says_nothing_is_sent_away_and_others_get_in)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(nqtest_shm_usual, nqtest_shm_usual);
    int fds[SHM_GREETINGS + 40], before = nqtest_fds();
    unsigned n = _i ? SHM_GREETINGS : LEN(fds);
    struct nqtest_link *link;

    for (unsigned i = 0; i < n; i++)
        fds[i] = nqtest_shm_knock();
    nqtest_settle(2);
    if (_i)
        nqtest_advance(rig.server_host, INT64_C(10000000000));
    nqtest_settle(2);
    ck_assert_int_eq(nqtest_fds() - before, (int)(_i ? n : n + SHM_GREETINGS));
    link = nqtest_connect(rig.client, NULL);
    NQTEST_UNTIL(nqtest_is_up, link);
    for (unsigned i = 0; i < n; i++)
        close(fds[i]);
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- a link that is up --------------------------------------------------------------------- */

struct victim {
    struct nqtest_rig rig;
    struct nqtest_shm_peer peer;
    struct nqtest_link *link;
    unsigned maps;
};

static struct victim victim_up_with(const struct nqtest_opt *opts)
{
    struct victim victim = {.maps = nqtest_shm_maps()};

    victim.rig = nqtest_rig_endpoints(opts, opts);
    nqtest_shm_join(&victim.peer, victim.rig.server);
    victim.link = victim.rig.server->accepted[0];
    return victim;
}

static struct victim victim_up(void)
{
    return victim_up_with(nqtest_shm_usual);
}

/* It is down for that reason, and nothing of it is mapped any more. */
static void victim_ends(struct victim *victim, int code)
{
    NQTEST_UNTIL(nqtest_is_down, victim->link);
    ck_assert_int_eq(victim->link->err.code, code);
    nqtest_shm_leave(&victim->peer);
    ck_assert_uint_eq(nqtest_shm_maps(), victim->maps);
    nqtest_rig_free(&victim->rig);
}

static struct shm_words byte_words(uint64_t at)
{
    return (struct shm_words){.kind = SHM_INLINE, .len = 1, .body = {nqtest_pattern(at)}};
}

START_TEST(a_peer_by_hand_that_keeps_the_rules_is_heard)
{
    struct victim victim = victim_up();

    for (uint64_t i = 0; i < 100; i++) {
        struct shm_words words = byte_words(i);

        nqtest_shm_commit(&victim.peer, i, &words);
        nqtest_until_received(victim.link, i + 1);
    }
    ck_assert_uint_eq(atomic_load(victim.peer.theirs.credit), 100);
    atomic_store(victim.peer.ours.end, 101);
    shm_socket_ring(victim.peer.fd);
    victim_ends(&victim, NQT_E_EOF);
}
END_TEST

static const struct shm_words bad_cells[] = {
    {.kind = 0, .len = 1},
    {.kind = SHM_INLINE, .len = 0},
    {.kind = SHM_INLINE, .len = SHM_BODY + 1},
    {.kind = SHM_INLINE, .len = 1, .zero = 1},
    {.kind = SHM_RING},                                           /* of no bytes */
    {.kind = SHM_RING, .body = {0, 0, 0, 0, 0, 0, 1, 0}},         /* beyond the ring */
    {.kind = SHM_RING, .body = {255, 255, 255, 255, 1, 0, 0, 0}}, /* far from it */
    {.kind = SHM_BLOCK, .body = {0}},                             /* of no segment */
};

START_TEST(a_cell_that_makes_no_sense_ends_the_link_behind_what_came_before)
{
    struct victim victim = victim_up();
    struct shm_words words = byte_words(0);

    nqtest_shm_commit(&victim.peer, 0, &words);
    nqtest_shm_commit(&victim.peer, 1, &bad_cells[_i]);
    NQTEST_UNTIL(nqtest_is_down, victim.link);
    ck_assert_uint_eq(victim.link->received, 1);
    victim_ends(&victim, NQT_E_PROTOCOL);
}
END_TEST

START_TEST(a_credit_that_makes_no_sense_ends_the_link)
{
    struct victim victim = victim_up();

    atomic_store(victim.peer.ours.credit, _i ? UINT64_MAX : UINT64_C(1) << 40);
    nqtest_push(victim.link, 100000, 1000, 1, 4);
    victim_ends(&victim, NQT_E_PROTOCOL);
}
END_TEST

START_TEST(a_credit_that_goes_back_ends_the_link)
{
    struct victim victim = victim_up();

    nqtest_push(victim.link, 1 << 20, 1000, 1, 4);
    nqtest_settle(2);
    ck_assert(victim.link->short_send);
    atomic_store(victim.peer.ours.credit, 64);
    shm_socket_ring(victim.peer.fd);
    nqtest_settle(2);
    atomic_store(victim.peer.ours.credit, 1);
    shm_socket_ring(victim.peer.fd);
    victim_ends(&victim, NQT_E_PROTOCOL);
}
END_TEST

static const struct {
    uint8_t bytes[4];
    size_t len;
} bad_rings[] = {{{0}, 1}, {{2}, 1}, {{1, 1}, 2}, {{1, 1, 1, 1}, 4}};

START_TEST(a_datagram_that_is_no_ring_ends_the_link)
{
    struct victim victim = victim_up();

    nqtest_shm_say(victim.peer.fd, bad_rings[_i].bytes, bad_rings[_i].len, NULL, 0);
    victim_ends(&victim, NQT_E_PROTOCOL);
}
END_TEST

START_TEST(a_descriptor_that_comes_with_a_ring_ends_the_link_and_does_not_stay_open)
{
    struct victim victim = victim_up();
    int passed = memory(4096, true, SEALS), before = nqtest_fds();
    const uint8_t ring = 1;

    nqtest_shm_say(victim.peer.fd, &ring, 1, &passed, 1);
    NQTEST_UNTIL(nqtest_is_down, victim.link);
    ck_assert_int_eq(nqtest_fds(), before - 1); /* its socket is closed */
    close(passed);
    victim_ends(&victim, NQT_E_PROTOCOL);
}
END_TEST

/* ---- segments and blocks ------------------------------------------------------------------- */

struct segment_said {
    uint32_t kind, number;
    uint64_t len;
};

/* Pass a good segment with that number.  @return its memory, in this process for reading */
static void say_segment(struct victim *victim, uint32_t number, size_t len)
{
    const struct segment_said said = {.kind = 2, .number = number, .len = len};
    int passed = memory(len, true, SEALS);

    nqtest_shm_say(victim->peer.fd, &said, sizeof(said), &passed, 1);
    close(passed);
}

static struct shm_words block_words(const struct shm_block *block)
{
    struct shm_words words = {.kind = SHM_BLOCK};

    memcpy(words.body, block, sizeof(*block));
    return words;
}

#define SEGMENT 8192u

static const struct shm_block bad_blocks[] = {
    {.segment = 1, .len = 1}, /* never passed */
    {.segment = SHM_POOL_SEGMENTS, .len = 1},
    {.segment = UINT32_MAX, .len = 1},
    {.len = 0},
    {.len = SEGMENT + 1},
    {.len = UINT64_MAX},
    {.offset = SEGMENT, .len = 1},
    {.offset = 1, .len = SEGMENT},
    {.offset = 1, .len = UINT64_MAX},
    {.offset = UINT64_MAX, .len = 2},
    {.len = 1, .zero = 1},
};

START_TEST(a_block_that_is_nowhere_ends_the_link)
{
    struct victim victim = victim_up();
    struct shm_words words = block_words(&bad_blocks[_i]);

    victim.link->raw = true;
    say_segment(&victim, 0, SEGMENT);
    nqtest_shm_commit(&victim.peer, 0, &words);
    NQTEST_UNTIL(nqtest_is_down, victim.link);
    ck_assert_uint_eq(victim.link->received, 0);
    victim_ends(&victim, NQT_E_PROTOCOL);
}
END_TEST

/* _i: handed up where it lies, or copied. */
START_TEST(a_block_is_read_and_given_back_once)
{
    struct victim victim = victim_up();
    const struct shm_block block = {.lease = 5, .nonce = 6, .offset = 4000, .len = SEGMENT - 4000};
    struct shm_words words = block_words(&block);
    struct shm_token_rx tokens;
    struct shm_lease_id id;

    shm_token_rx_init(&tokens, &victim.peer.theirs);
    victim.link->raw = true;
    if (_i)
        victim.rig.server_host->table.rx_give = NULL;
    say_segment(&victim, 0, SEGMENT);
    nqtest_shm_commit(&victim.peer, 0, &words);
    nqtest_until_received(victim.link, SEGMENT - 4000);
    ck_assert_uint_eq(victim.link->views, !_i);
    ck_assert_int_eq(shm_token_take(&tokens, &id), 1);
    ck_assert_uint_eq(id.index, 5);
    ck_assert_uint_eq(id.nonce, 6);
    ck_assert_int_eq(shm_token_take(&tokens, &id), 0);
    close(victim.peer.fd);
    victim.peer.fd = -1;
    victim_ends(&victim, NQT_E_LOST);
}
END_TEST

START_TEST(more_leases_than_can_be_given_back_end_the_link)
{
    static const struct nqtest_opt few[] = {
        {"path", nqtest_shm_path}, {"leases", "8"}, {NULL, NULL}};
    struct victim victim = victim_up_with(few);
    const uint32_t most = 8;
    const struct shm_block block = {.len = 1};
    struct shm_words words = block_words(&block);

    victim.link->raw = victim.link->keep = true;
    say_segment(&victim, 0, SEGMENT);
    for (uint32_t i = 0; i <= most; i++) {
        ck_assert_uint_eq(victim.link->downs, 0);
        nqtest_shm_commit(&victim.peer, i, &words);
        nqtest_settle(1);
    }
    NQTEST_UNTIL(nqtest_is_down, victim.link);
    ck_assert_uint_eq(victim.link->nkept, most);
    while (victim.link->nkept--)
        victim.link->kept[victim.link->nkept]->ops->unref(victim.link->kept[victim.link->nkept]);
    victim_ends(&victim, NQT_E_PROTOCOL);
}
END_TEST

/* What a peer sent before it died is delivered, also when it died with our rings unread: of that
 * the socket tells first. */
START_TEST(a_segment_of_a_peer_that_died_is_still_adopted)
{
    struct victim victim = victim_up();
    const struct shm_block block = {.len = SEGMENT};
    struct shm_words words = block_words(&block);

    victim.link->raw = true;
    atomic_store(victim.peer.ours.wait, 1 << SHM_EPOCH_SHIFT | SHM_ASLEEP); /* asleep: it is rung */
    nqtest_push(victim.link, 10, 10, 1, 1);
    say_segment(&victim, 0, SEGMENT);
    nqtest_shm_commit(&victim.peer, 0, &words);
    close(victim.peer.fd);
    victim.peer.fd = -1;
    NQTEST_UNTIL(nqtest_is_down, victim.link);
    ck_assert_uint_eq(victim.link->received, SEGMENT);
    victim_ends(&victim, NQT_E_LOST);
}
END_TEST

static const struct segment_said bad_segments[] = {
    {.kind = 3, .number = 0, .len = SEGMENT},
    {.kind = 2, .number = SHM_POOL_SEGMENTS, .len = SEGMENT},
    {.kind = 2, .number = UINT32_MAX, .len = SEGMENT},
    {.kind = 2, .number = 7, .len = SEGMENT}, /* there is one */
    {.kind = 2, .number = 0, .len = 0},
    {.kind = 2, .number = 0, .len = SEGMENT - 1},
    {.kind = 2, .number = 0, .len = SEGMENT + 4096},
    {.kind = 2, .number = 0, .len = SHM_SEGMENT_MAX + 4096},
    {.kind = 2, .number = 0, .len = UINT64_MAX},
};

START_TEST(a_segment_that_makes_no_sense_ends_the_link)
{
    struct victim victim = victim_up();
    int passed = memory(SEGMENT, true, SEALS);

    say_segment(&victim, 7, SEGMENT);
    nqtest_settle(1);
    nqtest_shm_say(victim.peer.fd, &bad_segments[_i], sizeof(bad_segments[_i]), &passed, 1);
    close(passed);
    victim_ends(&victim, NQT_E_PROTOCOL);
}
END_TEST

START_TEST(a_segment_that_could_change_ends_the_link)
{
    struct victim victim = victim_up();
    const struct segment_said said = {.kind = 2, .len = box_size()};
    int passed = hostile_fd(_i);

    nqtest_shm_say(victim.peer.fd, &said, sizeof(said), &passed, 1);
    close(passed);
    victim_ends(&victim, NQT_E_PROTOCOL);
}
END_TEST

static const struct shm_lease_id bad_tokens[] = {{0, 0}, {0, 2}, {1, 1}, {UINT32_MAX, 1}};

START_TEST(a_token_for_what_was_not_lent_ends_the_link)
{
    struct victim victim = victim_up();
    struct shm_token_tx tokens;
    struct nqt_buf *buf;
    uint32_t taken;

    shm_token_tx_init(&tokens, &victim.peer.ours);
    ck_assert_int_eq(shm_loan(victim.link->plugin, 100000, &buf), NQT_OK);
    ck_assert_int_eq(nqtest_send(victim.link, &buf, 1, &taken), NQT_OK); /* lease 0, nonce 1 */
    ck_assert_uint_eq(taken, 1);
    shm_token_put(&tokens, bad_tokens[_i]);
    shm_socket_ring(victim.peer.fd);
    victim_ends(&victim, NQT_E_PROTOCOL);
}
END_TEST

START_TEST(an_end_that_is_not_reached_is_none)
{
    struct victim victim = victim_up();
    struct shm_words words = byte_words(0);

    atomic_store(victim.peer.ours.end, 7);
    nqtest_shm_commit(&victim.peer, 0, &words);
    nqtest_until_received(victim.link, 1);
    nqtest_settle(2);
    ck_assert_uint_eq(victim.link->downs, 0);
    close(victim.peer.fd);
    victim.peer.fd = -1;
    victim_ends(&victim, NQT_E_LOST);
}
END_TEST

/* Always asleep with a new epoch: each store that could wake it rings, and it never listens. */
START_TEST(a_peer_that_is_always_asleep_and_never_listens_blocks_nobody)
{
    struct victim victim = victim_up();
    uint64_t taken = 0;

    for (uint64_t epoch = 1; epoch < 5000; epoch++) {
        struct nqt_buf *buf = nqtest_buf(taken, 10, 1);
        uint32_t n;

        atomic_store(victim.peer.ours.wait, epoch << SHM_EPOCH_SHIFT | SHM_ASLEEP | SHM_WANTS_ROOM);
        ck_assert_int_eq(nqtest_send(victim.link, &buf, 1, &n), NQT_OK);
        taken += n * 10;
        atomic_store(victim.peer.ours.credit, taken / 10);
    }
    ck_assert_uint_eq(taken, 49990);
    close(victim.peer.fd);
    victim.peer.fd = -1;
    victim_ends(&victim, NQT_E_LOST);
}
END_TEST

/* ---- a hostile server ---------------------------------------------------------------------- */

static int accepted(const struct nqtest_link *link, int listener)
{
    int fd;

    ck_assert_uint_eq(link->downs, 0);
    fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    return fd;
}

START_TEST(a_server_that_answers_nonsense_is_left)
{
    struct nqtest_host *host = nqtest_host_new(&shm_LTX_nqt1_module, 0);
    struct nqtest_hello hello;
    size_t len = bad_hello(_i, &hello);
    struct nqtest_link *link;
    struct nqtest_ep *ep;
    int listener = nqtest_shm_serve(), fd, passed = memory(box_size(), true, SEALS);

    ck_assert_int_eq(nqtest_ep_open(host, false, nqtest_shm_usual, &ep, NULL), 0);
    link = nqtest_connect(ep, NULL);
    fd = accepted(link, listener);
    nqtest_shm_say(fd, &hello, len, &passed, 1);
    NQTEST_UNTIL(nqtest_is_down, link);
    ck_assert_int_eq(link->err.code, NQT_E_PROTOCOL);
    ck_assert_uint_eq(nqtest_shm_maps(), 0);
    close(passed);
    close(fd);
    close(listener);
    unlink(nqtest_shm_path);
    nqtest_host_free(host);
}
END_TEST

START_TEST(a_server_that_passes_memory_that_could_change_is_left)
{
    struct nqtest_host *host = nqtest_host_new(&shm_LTX_nqt1_module, 0);
    struct nqtest_hello hello = nqtest_shm_hello();
    struct nqtest_link *link;
    struct nqtest_ep *ep;
    int listener = nqtest_shm_serve(), fd, passed = hostile_fd(_i);

    ck_assert_int_eq(nqtest_ep_open(host, false, nqtest_shm_usual, &ep, NULL), 0);
    link = nqtest_connect(ep, NULL);
    fd = accepted(link, listener);
    nqtest_shm_say(fd, &hello, sizeof(hello), &passed, 1);
    NQTEST_UNTIL(nqtest_is_down, link);
    ck_assert_int_eq(link->err.code, NQT_E_PROTOCOL);
    ck_assert_uint_eq(nqtest_shm_maps(), 0);
    close(passed);
    close(fd);
    close(listener);
    unlink(nqtest_shm_path);
    nqtest_host_free(host);
}
END_TEST

/* _i: it hangs up, or says nothing. */
START_TEST(a_server_that_does_not_greet_is_left)
{
    struct nqtest_host *host = nqtest_host_new(&shm_LTX_nqt1_module, 0);
    struct nqtest_link *link;
    struct nqtest_ep *ep;
    int listener = nqtest_shm_serve(), fd;

    ck_assert_int_eq(nqtest_ep_open(host, false, nqtest_shm_usual, &ep, NULL), 0);
    link = nqtest_connect(ep, NULL);
    fd = accepted(link, listener);
    if (_i)
        nqtest_advance(host, INT64_C(10000000000));
    else
        close(fd);
    NQTEST_UNTIL(nqtest_is_down, link);
    ck_assert_int_eq(link->err.code, _i ? NQT_E_UNREACHABLE : NQT_E_REFUSED);
    if (_i)
        close(fd);
    close(listener);
    unlink(nqtest_shm_path);
    nqtest_host_free(host);
}
END_TEST

Suite *nqtest_suite(void)
{
    static const struct nqtest_transport shm = {
        .module = &shm_LTX_nqt1_module, .server = nqtest_shm_usual, .client = nqtest_shm_usual};
    Suite *suite = suite_create("shm, hostile peers");
    TCase *greeting = tcase_create("greeting"), *up = tcase_create("up");
    TCase *server = tcase_create("server"), *blocks = tcase_create("blocks");

    nqtest_shm_folder();
    nqtest_tested = &shm;
    tcase_add_loop_test(greeting, memory_that_could_change_is_refused, 0, HOSTILE_FDS);
    tcase_add_loop_test(greeting, a_greeting_that_makes_no_sense_is_refused, 0, BAD_HELLOS);
    tcase_add_loop_test(greeting, no_descriptor_and_two_are_refused_and_none_stays_open, 0, 2);
    tcase_add_test(greeting, a_greeting_that_is_too_long_is_refused);
    tcase_add_loop_test(greeting, who_says_nothing_is_sent_away_and_others_get_in, 0, 2);
    suite_add_tcase(suite, greeting);
    tcase_add_test(up, a_peer_by_hand_that_keeps_the_rules_is_heard);
    tcase_add_loop_test(up, a_cell_that_makes_no_sense_ends_the_link_behind_what_came_before, 0,
                        LEN(bad_cells));
    tcase_add_loop_test(up, a_credit_that_makes_no_sense_ends_the_link, 0, 2);
    tcase_add_test(up, a_credit_that_goes_back_ends_the_link);
    tcase_add_loop_test(up, a_datagram_that_is_no_ring_ends_the_link, 0, LEN(bad_rings));
    tcase_add_test(up, a_descriptor_that_comes_with_a_ring_ends_the_link_and_does_not_stay_open);
    tcase_add_test(up, an_end_that_is_not_reached_is_none);
    tcase_add_test(up, a_peer_that_is_always_asleep_and_never_listens_blocks_nobody);
    suite_add_tcase(suite, up);
    tcase_add_loop_test(blocks, a_block_that_is_nowhere_ends_the_link, 0, LEN(bad_blocks));
    tcase_add_loop_test(blocks, a_block_is_read_and_given_back_once, 0, 2);
    tcase_add_test(blocks, a_segment_of_a_peer_that_died_is_still_adopted);
    tcase_add_test(blocks, more_leases_than_can_be_given_back_end_the_link);
    tcase_add_loop_test(blocks, a_segment_that_makes_no_sense_ends_the_link, 0, LEN(bad_segments));
    tcase_add_loop_test(blocks, a_segment_that_could_change_ends_the_link, 0, HOSTILE_FDS);
    tcase_add_loop_test(blocks, a_token_for_what_was_not_lent_ends_the_link, 0, LEN(bad_tokens));
    suite_add_tcase(suite, blocks);
    tcase_add_loop_test(server, a_server_that_answers_nonsense_is_left, 0, BAD_HELLOS);
    tcase_add_loop_test(server, a_server_that_passes_memory_that_could_change_is_left, 0,
                        HOSTILE_FDS);
    tcase_add_loop_test(server, a_server_that_does_not_greet_is_left, 0, 2);
    suite_add_tcase(suite, server);
    return suite;
}
