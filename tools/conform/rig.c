/* A server and a client of the tested transport, in two fake hosts.  See rig.h. */
#include "tools/conform/rig.h"
#include <stdio.h>
#include <string.h>

#define LEN(array) (sizeof(array) / sizeof((array)[0]))

const struct nqtest_transport *nqtest_tested;

const struct nqtest_opt *nqtest_with_port(const struct nqtest_opt *base,
                                          const struct nqtest_ep *server)
{
    static struct nqtest_opt opts[NQTEST_OPTS_MOST];
    static char port[16];
    const char *colon = strrchr(server->name, ':');
    size_t n = 0;

    for (; base && base->name; base++)
        if (!nqtest_tested->port || strcmp(base->name, nqtest_tested->port) != 0) {
            NQTEST_COMPARE(NONE, n, <, LEN(opts) - 2);
            opts[n++] = *base;
        }
    if (nqtest_tested->port && colon) {
        snprintf(port, sizeof(port), "%.*s", (int)strcspn(colon + 1, "/"), colon + 1);
        opts[n++] = (struct nqtest_opt){nqtest_tested->port, port};
    }
    opts[n] = (struct nqtest_opt){NULL, NULL};
    return opts;
}

struct nqtest_rig nqtest_rig_endpoints(const struct nqtest_opt *server,
                                       const struct nqtest_opt *client)
{
    struct nqtest_rig rig = {.fds = nqtest_fds()};

    rig.server_host = nqtest_host_new(nqtest_tested->module, 0);
    rig.client_host = nqtest_host_new(nqtest_tested->module, 0);
    NQTEST_MUST(NONE, rig.server_host && rig.client_host, "mod_open() failed");
    NQTEST_COMPARE(OPEN, nqtest_ep_open(rig.server_host, true, server, &rig.server, NULL), ==, 0);
    NQTEST_UNTIL(nqtest_is_ep_up, rig.server);
    NQTEST_COMPARE(OPEN,
                   nqtest_ep_open(rig.client_host, false, nqtest_with_port(client, rig.server),
                                  &rig.client, NULL),
                   ==, 0);
    NQTEST_UNTIL(nqtest_is_ep_up, rig.client);
    return rig;
}

struct nqtest_rig nqtest_rig_up(const struct nqtest_opt *server, const struct nqtest_opt *client)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(server, client);

    rig.c = nqtest_connect(rig.client, NULL);
    NQTEST_MUST(UP, rig.c, "connect() failed");
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
    NQTEST_MUST(BUFFERS, !nqtest_bufs, "%ld buffers are still referenced", nqtest_bufs);
    nqtest_check_retired();
    nqtest_until_fds(rig->fds);
}

static bool fds_are_back(const void *fds)
{
    return nqtest_fds() <= *(const int *)fds;
}

/* What a library's threads close they close when they please: some of what was there before may
 * have been about to go, too. */
void nqtest_until_fds(int fds)
{
    bool own = nqtest_tested->module->threading == NQT_THREADING_OWN;
    char text[400];

    if (own ? nqtest_comes(fds_are_back, &fds) : nqtest_fds() == fds)
        return;
    nqtest_fds_text(text, sizeof(text));
    nqtest_broken(NQTEST_RULE_FDS, __FILE__, __LINE__, "%s%d descriptors are open, %d were: %s",
                  own ? "in vain waited: " : "", nqtest_fds(), fds, text);
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

/* Each time that something comes is one more to be patient: what is slow does come. */
void nqtest_until_received(const struct nqtest_link *link, uint64_t len)
{
    while (link->received < len) {
        const struct awaited more = {link, link->received + 1};

        nqtest_until_or(NQTEST_RULE_BYTES, has_received, &more, "what was sent");
    }
    NQTEST_COMPARE(BYTES, link->received, ==, len);
}

bool nqtest_can(uint64_t which)
{
    return nqtest_tested->module->caps & which;
}

struct nqtest_rig nqtest_rig_usual(void)
{
    return nqtest_rig_up(nqtest_tested->server, nqtest_tested->client);
}

struct nqtest_rig nqtest_rig_tiny(void)
{
    return nqtest_rig_up(nqtest_tested->tiny_server, nqtest_tested->tiny_client);
}
