/* The tcp transport as a rig sees it, and plain sockets to play its peer. */
#ifndef NQTEST_TCP_RAW_H
#define NQTEST_TCP_RAW_H

#include "tools/conform/rig.h"
#include <check.h>
#include <netinet/in.h>

extern const struct nqt_module tcp_LTX_nqt1_module;
extern const struct nqtest_transport nqtest_tcp;

uint16_t nqtest_port(const struct nqtest_ep *ep); /* where it listens */
struct sockaddr_in nqtest_address(const char *host, uint16_t port);
int nqtest_socket(int more); /* close-on-exec, and `more` SOCK_* */
int nqtest_raw_connect(const char *host, uint16_t port);
void nqtest_raw_reset(int fd); /* close with a reset */

/* A listener that answers nobody any more: its backlog is full.  `fds` gets 8 descriptors; the
 * answer is its port. */
uint16_t nqtest_black_hole(const char *host, int fds[8]);

/* A server of ours, and in *fd a plain socket that is its peer; rig.c is not there. */
struct nqtest_rig nqtest_raw_rig(int *fd);
bool nqtest_has_ipv6(void);

#endif
