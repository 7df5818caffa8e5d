/* See shm_rig.h. */
#include "tests/plugins/shm_rig.h"
#include "tests/support/queue.h"
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

char nqtest_shm_path[64];
static char folder[] = "/tmp/nqtest-shm-XXXXXX";
static pid_t owner;

const struct nqtest_opt nqtest_shm_usual[] = {{"path", nqtest_shm_path}, {NULL, NULL}};
const struct nqtest_opt nqtest_shm_tiny[] = {
    {"path", nqtest_shm_path}, {"cells", "8"}, {"ring", "1024"}, {NULL, NULL}};

static void remove_folder(void)
{
    if (getpid() != owner)
        return;
    (void)unlink(nqtest_shm_path);
    (void)rmdir(folder);
}

void nqtest_shm_folder(void)
{
    owner = getpid();
    if (!mkdtemp(folder))
        abort(); /* no test is running that could fail */
    snprintf(nqtest_shm_path, sizeof(nqtest_shm_path), "%s/socket", folder);
    atexit(remove_folder);
}

/* ---- a peer made by hand ------------------------------------------------------------------- */

static const struct shm_sizes sizes = {.ncell = 16, .ntoken = 8, .nbyte = 4096};

struct nqtest_hello nqtest_shm_hello(void)
{
    return (struct nqtest_hello){.magic = "nqshm",
                                 .version = SHM_VERSION,
                                 .cell = SHM_CELL,
                                 .ncell = sizes.ncell,
                                 .ntoken = sizes.ntoken,
                                 .nbyte = sizes.nbyte,
                                 .len = shm_outbox_size(&sizes)};
}

void nqtest_shm_say(int fd, const void *data, size_t len, const int *fds, unsigned n)
{
    struct iovec iov = {(void *)(uintptr_t)data, len};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(2 * sizeof(int))];
    } control = {0};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (n) {
        msg.msg_control = control.room;
        msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
        control.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(n * sizeof(int)),
                                        .cmsg_level = SOL_SOCKET,
                                        .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.head), fds, n * sizeof(int));
    }
    ck_assert_int_eq(sendmsg(fd, &msg, MSG_NOSIGNAL), (ssize_t)len);
}

static struct sockaddr_un rig_address(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    memcpy(addr.sun_path, nqtest_shm_path, strlen(nqtest_shm_path));
    return addr;
}

static int rig_socket(void)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    return fd;
}

int nqtest_shm_knock(void)
{
    struct sockaddr_un addr = rig_address();
    int fd = rig_socket();

    ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

int nqtest_shm_serve(void)
{
    struct sockaddr_un addr = rig_address();
    int fd = rig_socket();

    ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    ck_assert_int_eq(listen(fd, 8), 0);
    return fd;
}

struct accepting {
    const struct nqtest_ep *ep;
    unsigned before;
};

static bool has_accepted_more(const void *arg)
{
    const struct accepting *accepting = arg;

    return accepting->ep->naccepted > accepting->before;
}

void nqtest_shm_join(struct nqtest_shm_peer *peer, struct nqtest_ep *server)
{
    const struct accepting accepting = {server, server->naccepted};
    struct shm_sizes their_sizes;
    int memfd;

    peer->fd = nqtest_shm_knock();
    ck_assert_int_eq(shm_memory_make(shm_outbox_size(&sizes), &peer->memory[0], &memfd), 0);
    peer->ours = shm_outbox_at(peer->memory[0].at, &sizes);
    ck_assert_int_eq(shm_socket_say_hello(peer->fd, &sizes, memfd), 0);
    close(memfd);
    NQTEST_UNTIL(has_accepted_more, &accepting);
    ck_assert_int_eq(shm_socket_hear_hello(peer->fd, &their_sizes, &memfd), 0);
    ck_assert_int_eq(shm_memory_adopt(memfd, shm_outbox_size(&their_sizes), &peer->memory[1]), 0);
    peer->theirs = shm_outbox_at(peer->memory[1].at, &their_sizes);
    nqtest_settle(2);
}

void nqtest_shm_commit(struct nqtest_shm_peer *peer, uint64_t position,
                       const struct shm_words *words)
{
    struct shm_cell *cell = &peer->ours.cells[position % sizes.ncell];

    cell->words = *words;
    atomic_store(&cell->commit, (uint32_t)(position / sizes.ncell + 1));
    shm_socket_ring(peer->fd);
}

void nqtest_shm_leave(struct nqtest_shm_peer *peer)
{
    shm_memory_free(&peer->memory[0]);
    shm_memory_free(&peer->memory[1]);
    if (peer->fd >= 0)
        close(peer->fd);
    peer->fd = -1;
}

unsigned nqtest_shm_maps(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    unsigned n = 0;

    ck_assert_ptr_nonnull(maps);
    while (fgets(line, sizeof(line), maps))
        n += strstr(line, "memfd:netqueue") != NULL;
    fclose(maps);
    return n;
}

void nqtest_shm_until_no_maps(void)
{
    int64_t end = nqtest_clock() + NQTEST_WAIT;

    while (nqtest_shm_maps() && nqtest_clock() < end)
        sched_yield();
    ck_assert_uint_eq(nqtest_shm_maps(), 0);
}

bool nqtest_shm_holds(const void *data, size_t len)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    unsigned long from, to;
    bool found = false;
    char line[512];

    ck_assert_ptr_nonnull(maps);
    while (fgets(line, sizeof(line), maps))
        if (strstr(line, "memfd:netqueue") && sscanf(line, "%lx-%lx", &from, &to) == 2)
            found |= (unsigned long)data >= from && (unsigned long)data + len <= to;
    fclose(maps);
    return found;
}
