/* The suite that every transport passes: the sentences of <netqueue/transport.h>, tried through the
 * fake host. */
#ifndef NQTEST_CONTRACT_H
#define NQTEST_CONTRACT_H

#include "tests/support/fake_host.h"
#include <check.h>

struct nqtest_transport {
    const struct nqt_module *module;
    /* Where to listen and where to connect, when the system's buffers are as they are, and when
     * they are so small that most sends are partial. */
    const struct nqtest_opt *server, *client;
    const struct nqtest_opt *tiny_server, *tiny_client;
    /* The option whose value is what follows the last ':' of the name in EP_UP; NULL = the options
     * above say all. */
    const char *port;
    /* That an address is in use is known only after ep_open(): EP_DOWN, and EP_UP once it is free.
     */
    bool in_use_later;
    /* rx_poll() is there, but below it nothing can be asked. */
    bool polls_nothing;
    /* A client's link is up only when the other side has attached its own. */
    bool up_when_attached;
};

/* Adds the suite's tests to `suite`; only one transport a program.  `setup` (may be NULL) runs
 * before each test, in its process. */
void nqtest_contract(Suite *suite, const struct nqtest_transport *transport, void (*setup)(void));

/* Its half about bytes, in contract_delivery.c. */
void nqtest_contract_delivery(TCase *tc);

extern const struct nqtest_transport *nqtest_tested;

/* It has one of these NQT_CAP_*; a test of what is not there passes. */
bool nqtest_can(uint64_t caps);
bool nqtest_can_poll(void);

/* ---- for the tests of one transport ------------------------------------------------- */

/* A server and a client in two hosts, usually with one link between them. */
struct nqtest_rig {
    struct nqtest_host *server_host, *client_host;
    struct nqtest_ep *server, *client;
    struct nqtest_link *c, *s; /* the client's and the server's end */
    int fds;                   /* open before */
};

/* Options of `base` and, where the transport has one, the port of `server`, in static memory. */
const struct nqtest_opt *nqtest_with_port(const struct nqtest_opt *base,
                                          const struct nqtest_ep *server);
/* Hosts and endpoints, no link. */
struct nqtest_rig nqtest_rig_endpoints(const struct nqtest_opt *server,
                                       const struct nqtest_opt *client);
/* And a link that is up on both sides. */
struct nqtest_rig nqtest_rig_up(const struct nqtest_opt *server, const struct nqtest_opt *client);
/* The same for the tested transport's usual and small buffers. */
struct nqtest_rig nqtest_rig_usual(void);
struct nqtest_rig nqtest_rig_tiny(void);
/* Close all; nothing may stay behind. */
void nqtest_rig_free(struct nqtest_rig *rig);
/* No more descriptors are open than those; a transport whose library has threads of its own may
 * close the last ones a moment later. */
void nqtest_until_fds(int fds);
/* Until the link has received `len` bytes. */
void nqtest_until_received(const struct nqtest_link *link, uint64_t len);

#endif
