/* For tests of the net-queue wire: a server or client of ours, and the Python peer's at the same
 * place.
 *
 * A test runs over each place as `_i`: tcp, tcp with TLS, and mqtt and grpc where the plugin, the
 * Python package and the broker are there. */
#ifndef NQTEST_NET_QUEUE_RIG_H
#define NQTEST_NET_QUEUE_RIG_H

#include "tests/interop/python_peer.h"
#include "tests/support/queue.h"
#include <check.h>

/* Places that tests can run at; says which are missing, and why. */
int nqtest_old_places(void);
bool nqtest_old_is(int place, const char *transport); /* "tcp", "tls", "mqtt", "grpc" */

/* A case whose tests have the Python peer running. */
TCase *nqtest_old_case(Suite *suite, const char *name, double seconds);

/* Choose the place: what follows is there. */
void nqtest_old_choose(int place);

/* Queues of ours with "wire": "net-queue"; `more` begins with a comma, or "".  The server has the
 * id NQTEST_SERVER. */
nq_queue *nqtest_old_server(const char *more);
nq_queue *nqtest_old_client(const char *more);
/* The same with another wire. */
nq_queue *nqtest_old_open(const char *purpose, const char *wire, const char *more);

/* Ends of the peer's.  On return its server listens; its client connects.  `more` begins with a
 * comma, or "", and has ' for ". */
void nqtest_python_server(const char *end, const char *more);
void nqtest_python_client(const char *end, const char *more);

/* Both sides know each other when this returns. */
void nqtest_python_joined(nq_queue *server, const char *end, const char *more);
nq_queue *nqtest_old_joined(const char *end, const char *more);

/* A put whose outcome says that it was handed to the transport, and no more. */
void nqtest_old_put(nq_queue *queue, nq_msg *msg);

#endif
