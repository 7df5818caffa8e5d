/* See port.h.  Between the choice of a port and its use others could choose it as well: a client
 * may be there long before its server.  So each process has a block of ports to itself, below the
 * range that the system hands out (and that of the scripts, support/tap.sh); a name in the abstract
 * namespace is its claim, which ends with the process. */
#include "tests/support/port.h"
#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { FIRST = 12000, BLOCK = 50, BLOCKS = 180 };

static unsigned block, turn;
static pid_t owner;

static bool port_claim(unsigned wanted)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int len = snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1, "nqtest-ports-%u", wanted);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);

    ck_assert_int_ge(fd, 0);
    if (bind(fd, (struct sockaddr *)&addr, size) == 0)
        return true; /* it stays open */
    close(fd);
    return false;
}

static void port_claim_block(void)
{
    unsigned tries = 0;

    owner = getpid();
    block = (unsigned)owner % BLOCKS;
    while (!port_claim(block)) {
        ck_assert_uint_lt(++tries, BLOCKS);
        block = (block + 1) % BLOCKS;
    }
}

static bool port_is_free(unsigned port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_free;

    ck_assert_int_ge(fd, 0);
    is_free = bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0;
    close(fd);
    return is_free;
}

unsigned nqtest_free_port(void)
{
    unsigned port, tries = 0;

    if (owner != getpid())
        port_claim_block();
    do {
        ck_assert_uint_le(++tries, BLOCK);
        port = FIRST + block * BLOCK + turn++ % BLOCK;
    } while (!port_is_free(port));
    return port;
}
