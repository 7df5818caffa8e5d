/* A whole link of shm against a peer made of bytes: what it says over the socket, which descriptors
 * it passes, what it writes into its memory, and what it changes there right behind each look.
 *
 *     byte 0     bit 0: the peer is the server, 1: its greeting is changed
 *     then       with bit 1: u8 place, u8 bits; and u8: which descriptor goes with the greeting
 *     then       operations: a byte, and what it needs (enum below)
 *
 * The plugin runs in the host of the tests, on real sockets and memory.  It never crashes or
 * blocks; memory that could change its size is not taken; and when the link is closed nothing of it
 * is left. */
#include "tests/fuzz/fuzz.h"
#include "tests/plugins/shm_rig.h"
#include "tools/conform/host_in.h"
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEGMENT 8192u
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)
#define LOOKS 48u       /* at the peer's memory in the conversation of the seeds, and some */
#define MAPS_EVERY 256u /* inputs: to read the list of mappings takes as long as some of them */

enum {
    OP_SAY,     /* u8 length, bytes, u8 descriptor: a datagram */
    OP_SEGMENT, /* u8 number, u8 descriptor: a segment, as it should be said */
    OP_CELL,    /* u8 kind, u16, u16: the next cell */
    OP_BLOCK,   /* u8 segment, u16 place, u16 length: the same, of a block */
    OP_WRITE,   /* u16 place, u8 length, bytes: into the peer's outbox */
    OP_CREDIT,  /* u8: so many cells more are done with */
    OP_WAIT,    /* u8: the wait word */
    OP_END,     /* u8: the end word, from what was sent */
    OP_TOKEN,   /* u8 lease, u8 nonce */
    OP_MUTATE,  /* u8 n, u8 bits: the n-th look from now is followed by a change of what was read */
    OP_PUSH,    /* u16: the victim sends so many bytes */
    OP_LOAN,    /* u16: and so many that it filled in place, in units of 16 */
    OP_HOLD,    /* u8: it stops to receive, or goes on */
    OP_POLL,    /* the core asks */
    OP_TURN,
    OP_HANG_UP,
    OPS
};

enum { FD_GOOD, FD_NONE, FD_TWO, FD_UNSEALED, FD_SPARSE, FD_SHORT, FD_LONG, FD_PIPE, FDS };

void (*shm_peer_mutate)(const void *at, size_t len);

struct link_fuzz {
    struct nqi_buf in;
    bool serves; /* the peer is the server */
    struct nqtest_host *host;
    struct nqtest_ep *ep;
    struct nqtest_link *link; /* the victim's; NULL = none yet */
    int listener, fd;         /* -1 = none */
    struct shm_sizes sizes;
    struct shm_memory memory; /* the peer's own, to write */
    int memfd;
    struct shm_outbox box;
    uint64_t cells;
    struct shm_token_tx tokens;
    unsigned mutate_in;
    uint8_t mutate_bits;
    bool refused; /* what was said must not be taken */
};

static struct link_fuzz fuzz;

/* The victim sees the peer's outbox in a mapping of its own: find the place in ours. */
static void link_mutate(const void *at, size_t len)
{
    const struct shm_memory *seen =
        fuzz.link && fuzz.link->plugin ? &fuzz.link->plugin->their_memory : &(struct shm_memory){0};
    size_t offset = (size_t)((const uint8_t *)at - (const uint8_t *)seen->at);

    if (!fuzz.mutate_in || --fuzz.mutate_in)
        return;
    if (!seen->at || (const uint8_t *)at < (const uint8_t *)seen->at || offset >= seen->len)
        return; /* in a segment */
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)fuzz.memory.at)[offset + i] ^= fuzz.mutate_bits;
}

static void link_turn(void)
{
    for (int i = 0; i < 3; i++)
        (void)nqtest_turn(0);
    if (!fuzz.link && !fuzz.serves && fuzz.ep->naccepted)
        fuzz.link = fuzz.ep->accepted[0];
}

/* ---- descriptors ---- */

static int fd_memory(size_t size, bool allocate, int seals)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    MUST(fd >= 0 && !ftruncate(fd, (off_t)size));
    MUST(!allocate || !fallocate(fd, 0, 0, (off_t)size));
    MUST(!fcntl(fd, F_ADD_SEALS, seals));
    return fd;
}

static int fd_pipe(void)
{
    int fds[2];

    MUST(!pipe2(fds, O_CLOEXEC));
    close(fds[1]);
    return fds[0];
}

/* What is passed for `good`, which has `len` bytes.  @return how many, in fds; they are to be
 * closed */
static unsigned fd_choose(uint8_t kind, int good, size_t len, int fds[2])
{
    switch (kind % FDS) {
    case FD_GOOD:
        fds[0] = dup(good);
        break;
    case FD_NONE:
        return 0;
    case FD_TWO:
        fds[0] = dup(good);
        fds[1] = dup(good);
        return 2;
    case FD_UNSEALED:
        fds[0] = fd_memory(len, true, SEALS & ~(kind & 64 ? F_SEAL_SHRINK : F_SEAL_FUTURE_WRITE));
        break;
    case FD_SPARSE:
        fds[0] = fd_memory(len, false, SEALS);
        break;
    case FD_SHORT:
        fds[0] = fd_memory(len - 4096, true, SEALS);
        break;
    case FD_LONG:
        fds[0] = fd_memory(len + 4096, true, SEALS);
        break;
    default:
        fds[0] = fd_pipe();
        break;
    }
    return 1;
}

/* A datagram that may find no reader, or no room. */
static void peer_say(const void *data, size_t len, uint8_t kind, int good, size_t size)
{
    int fds[2], n = (int)fd_choose(kind, good, size, fds);
    struct iovec iov = {(void *)(uintptr_t)data, len};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(fds))];
    } control = {0};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (n) {
        msg.msg_control = control.room;
        msg.msg_controllen = CMSG_SPACE((size_t)n * sizeof(int));
        control.head = (struct cmsghdr){.cmsg_len = CMSG_LEN((size_t)n * sizeof(int)),
                                        .cmsg_level = SOL_SOCKET,
                                        .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.head), fds, (size_t)n * sizeof(int));
    }
    (void)!sendmsg(fuzz.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n)
        close(fds[--n]);
}

/* ---- the beginning ---- */

static void fuzz_open_victim(void)
{
    fuzz.host = nqtest_host_new(&shm_LTX_nqt1_module, 0);
    if (fuzz.serves)
        fuzz.listener = nqtest_shm_serve();
    MUST(!nqtest_ep_open(fuzz.host, !fuzz.serves, nqtest_shm_usual, &fuzz.ep, NULL));
    if (!fuzz.serves) {
        fuzz.fd = nqtest_shm_knock();
        return;
    }
    fuzz.link = nqtest_connect(fuzz.ep, NULL);
    MUST(fuzz.link);
    link_turn();
    fuzz.fd = accept4(fuzz.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    MUST(fuzz.fd >= 0);
}

static void fuzz_greet(bool changed)
{
    struct nqtest_hello hello = nqtest_shm_hello();
    uint8_t place = changed ? nqi_buf_u8(&fuzz.in) : 0, bits = changed ? nqi_buf_u8(&fuzz.in) : 0;
    uint8_t kind = nqi_buf_u8(&fuzz.in);

    ((uint8_t *)&hello)[place % sizeof(hello)] ^= bits;
    peer_say(&hello, sizeof(hello), kind, fuzz.memfd, fuzz.memory.len);
    link_turn();
    if (bits || kind % FDS)
        MUST(fuzz.serves ? !fuzz.link->ups : !fuzz.ep->naccepted);
    else
        MUST(fuzz.serves ? fuzz.link->ups : fuzz.ep->naccepted);
    fuzz.refused = bits || kind % FDS;
    if (fuzz.link)
        fuzz.link->raw = true;
}

static void fuzz_open(uint8_t how)
{
    const struct nqtest_hello hello = nqtest_shm_hello();

    fuzz.serves = how & 1;
    fuzz.listener = fuzz.fd = -1;
    fuzz.sizes =
        (struct shm_sizes){.ncell = hello.ncell, .ntoken = hello.ntoken, .nbyte = hello.nbyte};
    MUST(!shm_memory_make(shm_outbox_size(&fuzz.sizes), &fuzz.memory, &fuzz.memfd));
    fuzz.box = shm_outbox_at(fuzz.memory.at, &fuzz.sizes);
    shm_token_tx_init(&fuzz.tokens, &fuzz.box);
    fuzz_open_victim();
    shm_peer_mutate = link_mutate;
    fuzz_greet(how & 2);
}

static void fuzz_close(void)
{
    shm_peer_mutate = NULL;
    if (fuzz.fd >= 0)
        close(fuzz.fd);
    if (fuzz.listener >= 0) {
        close(fuzz.listener);
        unlink(nqtest_shm_path);
    }
    nqtest_host_free(fuzz.host);
    close(fuzz.memfd);
    shm_memory_free(&fuzz.memory);
}

/* ---- the peer ---- */

static void peer_say_bytes(void)
{
    size_t len = nqi_buf_u8(&fuzz.in);
    uint8_t *bytes = fuzz_exact(&fuzz.in, &len);

    peer_say(bytes, len, nqi_buf_u8(&fuzz.in), fuzz.memfd, fuzz.memory.len);
    free(bytes);
}

static void peer_segment(void)
{
    struct {
        uint32_t kind, number;
        uint64_t len;
    } said = {.kind = 2, .number = nqi_buf_u8(&fuzz.in), .len = SEGMENT};
    int good = fd_memory(SEGMENT, true, SEALS);

    peer_say(&said, sizeof(said), nqi_buf_u8(&fuzz.in), good, SEGMENT);
    close(good);
}

static void peer_commit(const struct shm_words *words)
{
    struct shm_cell *cell = &fuzz.box.cells[fuzz.cells % fuzz.sizes.ncell];

    cell->words = *words;
    atomic_store(&cell->commit, (uint32_t)(fuzz.cells / fuzz.sizes.ncell + 1));
    fuzz.cells++;
    shm_socket_ring(fuzz.fd);
}

static void peer_cell(void)
{
    struct shm_words words = {.kind = nqi_buf_u8(&fuzz.in) % 5};
    uint16_t a = nqi_buf_u16(&fuzz.in), b = nqi_buf_u16(&fuzz.in);

    if (words.kind == SHM_INLINE)
        words.len = a % (SHM_BODY + 2);
    else
        memcpy(words.body, &(struct shm_range){.offset = a, .len = b}, sizeof(struct shm_range));
    peer_commit(&words);
}

static void peer_block(void)
{
    struct shm_words words = {.kind = SHM_BLOCK};
    struct shm_block block = {.segment = nqi_buf_u8(&fuzz.in) % (SHM_POOL_SEGMENTS + 1)};

    block.lease = (uint32_t)fuzz.cells;
    block.nonce = 1;
    block.offset = nqi_buf_u16(&fuzz.in);
    block.len = nqi_buf_u16(&fuzz.in);
    words.len = (uint16_t)(block.offset % (SHM_BLOCK_HEAD + 2));
    memcpy(words.body, &block, sizeof(block));
    peer_commit(&words);
}

static void peer_write(void)
{
    size_t at = nqi_buf_u16(&fuzz.in) % shm_outbox_size(&fuzz.sizes);
    size_t len = nqi_buf_u8(&fuzz.in);

    len = NQI_MIN(NQI_MIN(len, fuzz.memory.len - at), nqi_buf_left(&fuzz.in));
    if (len)
        memcpy((uint8_t *)fuzz.memory.at + at, nqi_buf_span(&fuzz.in, len), len);
}

static void peer_step(uint8_t op)
{
    uint8_t a, b;

    switch (op) {
    case OP_SAY:
        peer_say_bytes();
        break;
    case OP_SEGMENT:
        peer_segment();
        break;
    case OP_CELL:
        peer_cell();
        break;
    case OP_BLOCK:
        peer_block();
        break;
    case OP_WRITE:
        peer_write();
        break;
    case OP_CREDIT:
        atomic_fetch_add(fuzz.box.credit, nqi_buf_u8(&fuzz.in));
        break;
    case OP_WAIT:
        atomic_store(fuzz.box.wait, nqi_buf_u8(&fuzz.in));
        break;
    case OP_END:
        atomic_store(fuzz.box.end, fuzz.cells + nqi_buf_u8(&fuzz.in));
        break;
    case OP_TOKEN:
        a = nqi_buf_u8(&fuzz.in);
        b = nqi_buf_u8(&fuzz.in);
        shm_token_put(&fuzz.tokens, (struct shm_lease_id){.index = a, .nonce = b});
        break;
    case OP_MUTATE:
        fuzz.mutate_in = nqi_buf_u8(&fuzz.in);
        fuzz.mutate_bits = nqi_buf_u8(&fuzz.in);
        break;
    default:
        close(fuzz.fd);
        fuzz.fd = -1;
        break;
    }
}

/* ---- the victim ---- */

static void victim_loan(size_t len)
{
    struct nqt_buf *buf;
    uint32_t taken;
    int rc;

    nqtest_enter(fuzz.host, "loan()");
    rc = shm_loan(fuzz.link->plugin, len, &buf);
    nqtest_leave(fuzz.host);
    if (rc)
        return;
    memset(buf->seg[0].iov_base, 1, len);
    (void)nqtest_send(fuzz.link, &buf, 1, &taken);
}

static void victim_step(uint8_t op)
{
    bool can_send = !fuzz.link->short_send;
    size_t len;

    switch (op) {
    case OP_PUSH:
        len = nqi_buf_u16(&fuzz.in);
        if (can_send && len)
            nqtest_push(fuzz.link, len, NQI_MIN(len, (size_t)700), 3, 4);
        break;
    case OP_LOAN:
        len = 16u * nqi_buf_u16(&fuzz.in) + 1;
        if (can_send)
            victim_loan(len);
        break;
    case OP_HOLD:
        (void)nqtest_hold(fuzz.link, nqi_buf_u8(&fuzz.in) & 1);
        break;
    case OP_POLL:
        (void)nqtest_rx_poll(fuzz.link);
        break;
    default:
        link_turn();
        break;
    }
}

static void fuzz_step(void)
{
    uint8_t op = nqi_buf_u8(&fuzz.in) % OPS;

    if (op < OP_PUSH || op == OP_HANG_UP)
        peer_step(op);
    else if (!fuzz.refused)
        victim_step(op);
    else
        link_turn();
}

static bool fuzz_goes_on(void)
{
    return nqi_buf_left(&fuzz.in) && fuzz.fd >= 0 &&
           (fuzz.refused || (fuzz.link->ups && !fuzz.link->downs));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static unsigned inputs;
    int before = dup(0);

    if (!*nqtest_shm_path)
        nqtest_shm_folder();
    nqtest_fds_of_library = true; /* the fuzzer has some of its own, of any kind */
    close(before);
    memset(&fuzz, 0, sizeof(fuzz));
    fuzz.in = nqi_buf_over(data, len);
    fuzz_open(nqi_buf_u8(&fuzz.in));
    while (fuzz_goes_on())
        fuzz_step();
    link_turn();
    if (fuzz.refused)
        MUST(fuzz.serves ? !fuzz.link->ups : !fuzz.ep->naccepted);
    fuzz_close();
    MUST(dup(0) == before); /* no descriptor stays open */
    close(before);
    MUST(inputs++ % MAPS_EVERY || !nqtest_shm_maps());
    return 0;
}

/* ---- seeds ---- */

static void seed_traffic(void)
{
    static const uint8_t traffic[] = {
        OP_SEGMENT, 0,        FD_GOOD,  OP_CELL, SHM_INLINE, 0,         9,        0,       0,
        OP_CELL,    SHM_RING, 0,        64,      0,          200,       OP_BLOCK, 0,       0,
        16,         16,       0,        OP_TURN, OP_PUSH,    1,         200,      OP_LOAN, 8,
        0,          OP_TURN,  OP_TOKEN, 0,       1,          OP_CREDIT, 1,        OP_WAIT, 5,
        OP_TURN,    OP_POLL,  OP_HOLD,  1,       OP_TURN,    OP_HOLD,   0,        OP_TURN};

    fuzz_add(traffic, sizeof(traffic));
}

/* Each look of that conversation, and a change right behind it. */
static void seed_looks(unsigned serves)
{
    static const uint8_t bits[] = {0x01, 0x80, 0xff};

    for (unsigned look = 1; look <= LOOKS; look++)
        for (size_t i = 0; i < sizeof(bits); i++) {
            fuzz_add_u8(serves);
            fuzz_add_u8(FD_GOOD);
            fuzz_add_u8(OP_MUTATE);
            fuzz_add_u8(look);
            fuzz_add_u8(bits[i]);
            seed_traffic();
            fuzz_add_u8(OP_HANG_UP);
            fuzz_seed();
        }
}

void fuzz_seeds(void)
{
    for (unsigned serves = 0; serves < 2; serves++) {
        for (unsigned kind = 0; kind < FDS; kind++) {
            fuzz_add_u8(serves);
            fuzz_add_u8(kind);
            seed_traffic();
            fuzz_add_u8(OP_END);
            fuzz_add_u8(1);
            fuzz_add_u8(OP_TURN);
            fuzz_seed();
        }
        for (unsigned place = 0; place < 40; place += 4) {
            fuzz_add_u8(serves | 2);
            fuzz_add_u8(place);
            fuzz_add_u8(1);
            fuzz_add_u8(FD_GOOD);
            fuzz_seed();
        }
        seed_looks(serves);
    }
}
