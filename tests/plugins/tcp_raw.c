/* See tcp_raw.h. */
#include "tests/plugins/tcp_raw.h"
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct nqtest_opt server[] = {{"host", "127.0.0.1"}, {"port", "0"}, {NULL, NULL}};
static const struct nqtest_opt client[] = {{"host", "127.0.0.1"}, {NULL, NULL}};
static const struct nqtest_opt tiny_server[] = {
    {"host", "127.0.0.1"}, {"port", "0"}, {"receive_buffer", "2048"}, {NULL, NULL}};
static const struct nqtest_opt tiny_client[] = {
    {"host", "127.0.0.1"}, {"send_buffer", "4096"}, {NULL, NULL}};

const struct nqtest_transport nqtest_tcp = {
    .module = &tcp_LTX_nqt1_module,
    .server = server,
    .client = client,
    .tiny_server = tiny_server,
    .tiny_client = tiny_client,
    .port = "port",
};

uint16_t nqtest_port(const struct nqtest_ep *ep)
{
    return (uint16_t)atoi(strrchr(ep->name, ':') + 1);
}

struct sockaddr_in nqtest_address(const char *host, uint16_t port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};

    ck_assert_int_eq(inet_pton(AF_INET, host, &in.sin_addr), 1);
    return in;
}

int nqtest_socket(int more)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | more, 0);

    ck_assert_int_ge(fd, 0);
    return fd;
}

int nqtest_raw_connect(const char *host, uint16_t port)
{
    struct sockaddr_in in = nqtest_address(host, port);
    int fd = nqtest_socket(0);

    ck_assert_int_eq(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    return fd;
}

void nqtest_raw_reset(int fd)
{
    const struct linger hard = {.l_onoff = 1};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(fd);
}

/* A listener that answers nobody any more: its backlog is full.  `fds` gets 8 descriptors. */
uint16_t nqtest_black_hole(const char *host, int fds[8])
{
    struct sockaddr_in in = nqtest_address(host, 0);
    socklen_t len = sizeof(in);

    fds[0] = nqtest_socket(0);
    ck_assert_int_eq(bind(fds[0], (struct sockaddr *)&in, sizeof(in)), 0);
    ck_assert_int_eq(listen(fds[0], 0), 0);
    getsockname(fds[0], (struct sockaddr *)&in, &len);
    for (int i = 1; i < 8; i++) {
        fds[i] = nqtest_socket(SOCK_NONBLOCK);
        (void)!connect(fds[i], (struct sockaddr *)&in, sizeof(in));
    }
    return ntohs(in.sin_port);
}

/* A server of ours and a raw socket as its peer. */
struct nqtest_rig nqtest_raw_rig(int *fd)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(nqtest_tcp.server, nqtest_tcp.client);

    *fd = nqtest_raw_connect("127.0.0.1", nqtest_port(rig.server));
    NQTEST_UNTIL(nqtest_has_accepted, rig.server);
    rig.s = rig.server->accepted[0];
    return rig;
}

bool nqtest_has_ipv6(void)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool has = fd >= 0 && !bind(fd, (struct sockaddr *)&in6, sizeof(in6));

    if (fd >= 0)
        close(fd);
    return has;
}
