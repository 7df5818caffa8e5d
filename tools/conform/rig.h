/* A server and a client of the tested transport, in two hosts: what nearly every try begins with.
 */
#ifndef NQTEST_RIG_H
#define NQTEST_RIG_H

#include "tools/conform/host.h"

struct nqtest_transport {
    const struct nqt_module *module;
    /* Where to listen and where to connect, when the system's buffers are as they are, and when
     * they are so small that most sends are partial. */
    const struct nqtest_opt *server, *client;
    const struct nqtest_opt *tiny_server, *tiny_client;
    /* The option whose value is what follows the last ':' of the name in EP_UP; NULL = the options
     * above say all. */
    const char *port;
};

#define NQTEST_OPTS_MOST 40 /* options of one side, and the end of the list */

extern const struct nqtest_transport *nqtest_tested;

/* It has one of these NQT_CAP_*. */
bool nqtest_can(uint64_t caps);

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
