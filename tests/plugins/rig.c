/* A server and a client of the tested transport, in two fake hosts.  See contract.h. */
#include "tests/plugins/contract.h"
#include <string.h>

#define LEN(array) (sizeof(array) / sizeof((array)[0]))

const struct nqtest_transport *nqtest_tested;

const struct nqtest_opt *nqtest_with_port(const struct nqtest_opt *base,
                                          const struct nqtest_ep *server)
{
    static struct nqtest_opt opts[16];
    static char port[16];
    const char *colon = strrchr(server->name, ':');
    size_t n = 0;

    for (; base && base->name; base++)
        if (!nqtest_tested->port || strcmp(base->name, nqtest_tested->port) != 0)
            opts[n++] = *base;
    if (nqtest_tested->port && colon) {
        strncpy(port, colon + 1, sizeof(port) - 1);
        opts[n++] = (struct nqtest_opt){nqtest_tested->port, port};
    }
    ck_assert_uint_lt(n, LEN(opts));
    opts[n] = (struct nqtest_opt){NULL, NULL};
    return opts;
}

struct nqtest_rig nqtest_rig_endpoints(const struct nqtest_opt *server,
                                       const struct nqtest_opt *client)
{
    struct nqtest_rig rig = {.fds = nqtest_fds()};

    rig.server_host = nqtest_host_new(nqtest_tested->module, 0);
    rig.client_host = nqtest_host_new(nqtest_tested->module, 0);
    ck_assert_int_eq(nqtest_ep_open(rig.server_host, true, server, &rig.server, NULL), 0);
    NQTEST_UNTIL(nqtest_is_ep_up, rig.server);
    ck_assert_int_eq(nqtest_ep_open(rig.client_host, false, nqtest_with_port(client, rig.server),
                                    &rig.client, NULL),
                     0);
    NQTEST_UNTIL(nqtest_is_ep_up, rig.client);
    return rig;
}

struct nqtest_rig nqtest_rig_up(const struct nqtest_opt *server, const struct nqtest_opt *client)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(server, client);

    rig.c = nqtest_connect(rig.client, NULL);
    ck_assert_ptr_nonnull(rig.c);
    NQTEST_UNTIL(nqtest_is_up, rig.c);
    NQTEST_UNTIL(nqtest_has_accepted, rig.server);
    rig.s = rig.server->accepted[0];
    return rig;
}

void nqtest_rig_free(struct nqtest_rig *rig)
{
    nqtest_host_close(rig->client_host);
    nqtest_host_close(rig->server_host);
    nqtest_host_free(rig->client_host);
    nqtest_host_free(rig->server_host);
    ck_assert_int_eq(nqtest_bufs, 0);
    nqtest_until_fds(rig->fds);
}

static bool fds_are(const void *fds)
{
    return nqtest_fds() == *(const int *)fds;
}

void nqtest_until_fds(int fds)
{
    if (nqtest_tested->module->threading == NQT_THREADING_OWN)
        NQTEST_UNTIL(fds_are, &fds);
    ck_assert_int_eq(nqtest_fds(), fds);
}

struct awaited {
    const struct nqtest_link *link;
    uint64_t len;
};

static bool has_received(const void *arg)
{
    const struct awaited *awaited = arg;

    return awaited->link->received >= awaited->len;
}

void nqtest_until_received(const struct nqtest_link *link, uint64_t len)
{
    const struct awaited awaited = {link, len};

    NQTEST_UNTIL(has_received, &awaited);
    ck_assert_uint_eq(link->received, len);
}

bool nqtest_can(uint64_t which)
{
    return nqtest_tested->module->caps & which;
}

bool nqtest_can_poll(void)
{
    return nqtest_tested->module->ops->rx_poll && !nqtest_tested->polls_nothing;
}

struct nqtest_rig nqtest_rig_usual(void)
{
    return nqtest_rig_up(nqtest_tested->server, nqtest_tested->client);
}

struct nqtest_rig nqtest_rig_tiny(void)
{
    return nqtest_rig_up(nqtest_tested->tiny_server, nqtest_tested->tiny_client);
}
