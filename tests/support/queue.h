/* For tests of whole queues: open, put, get, and wait for what must come.
 *
 * Everything fails the test with Check when it does not go well.  Nothing sleeps: each wait is for
 * an event, a message or an outcome, and ends after NQTEST_WAIT at the latest. */
#ifndef NQTEST_QUEUE_H
#define NQTEST_QUEUE_H

#include "tests/support/broker.h"
#include <netqueue/netqueue.h>
#include <pthread.h>
#include <stdarg.h>

#define NQTEST_MS INT64_C(1000000)
#define NQTEST_WAIT (20000 * NQTEST_MS) /* "must come": far beyond what anything takes */
#define NQTEST_SERVER "11111111-1111-4111-8111-111111111111"

/* nqtest_each() adds a test that runs over each of these as `_i`, nqtest_each_of() one that runs
 * `variants` times over each: the transport is `_i % NQTEST_TRANSPORTS`. */
enum { NQTEST_OUTSIDE = -1, NQTEST_LOOP, NQTEST_TCP };
#define NQTEST_TRANSPORTS nqtest_transports()
/* NQTEST_OUTSIDE, that of tests/outside/, is for those who name it.
 * Without shm, grpc and mqtt where they are not built, or have no broker; the last one is tcp with
 * TLS. */
int nqtest_transports(void);
int nqtest_transport_of(const char *name); /* its number; -1 = not here */
/* What a configuration calls it. */
const char *nqtest_transport_name(int transport);
#define nqtest_each(tc, test) nqtest_each_of(tc, test, 1)
#define nqtest_each_of(tc, test, variants)                           \
    (tcase_add_checked_fixture(tc, NULL, nqtest_broker_threads_end), \
     tcase_add_loop_test(tc, test, 0, NQTEST_TRANSPORTS * (variants)))

/* Open a queue from a format of JSON with ' for ". */
__attribute__((format(printf, 1, 2))) nq_queue *nqtest_open(const char *format, ...);
__attribute__((format(printf, 2, 3))) nq_err nqtest_try_open(nq_queue **ret, const char *format,
                                                             ...);

/* A server with the id NQTEST_SERVER on a free place of transport `transport`; `more` is more of
 * the object, beginning with a comma, or "".  It is where nqtest_client() goes. */
nq_queue *nqtest_server(int transport, const char *more);

/* A server at the place where the last one was. */
nq_queue *nqtest_server_again(const char *more);

/* A client of the last server; not necessarily connected. */
nq_queue *nqtest_client(const char *more);

/* The same, and wait until both sides say that it is there. */
nq_queue *nqtest_join(nq_queue *server, const char *more);

/* How to reach the last server: members of a transport's object. */
const char *nqtest_place(void);

/* Choose a place, of which nothing listens yet. */
void nqtest_choose_place(int transport);

/* Connect to the last server as a stranger, over tcp.  @return a descriptor that blocks */
int nqtest_knock(void);
/* The same from an address of this host: 0x7f000002 is 127.0.0.2. */
int nqtest_knock_from(uint32_t source);

/* The id of queue `n` of a test: "id" for JSON is NQTEST_ID. */
#define NQTEST_ID "00000000-0000-4000-8000-%012x"
nq_uuid nqtest_id(unsigned n);

/* ---- messages ---- */

nq_msg *nqtest_msg(const char *text);
nq_msg *nqtest_noise(size_t size, uint64_t seed); /* `size` bytes that depend on `seed` */
void nqtest_check_noise(nq_msg *msg, size_t size, uint64_t seed);
nq_msg *nqtest_number(uint64_t number); /* 8 bytes */
uint64_t nqtest_number_of(nq_msg *msg);

/* Put to everybody (the server, all clients). */
void nqtest_put(nq_queue *queue, nq_msg *msg);
nq_future *nqtest_put_future(nq_queue *queue, nq_msg *msg);
nq_msg *nqtest_get(nq_queue *queue);
void nqtest_get_text(nq_queue *queue, const char *text); /* and free it */
uint64_t nqtest_get_number(nq_queue *queue);

/* Wait until `future` is settled, free it, say how. */
nq_outcome nqtest_outcome(nq_future *future, nq_reason *reason);

/* ---- events and counters ---- */

/* Wait for the next event of `kind`; others are dropped. */
struct nq_event nqtest_event(nq_queue *queue, nq_event_kind kind);
unsigned nqtest_drain_events(nq_queue *queue, nq_event_kind kind); /* how many of them were there */
struct nq_stats nqtest_stats(nq_queue *queue);

/* Drive `queue` until a counter that `look` reads off is at least `value`. */
void nqtest_drive_until(nq_queue *queue, uint64_t (*look)(nq_queue *queue), uint64_t value);

/* Close within NQTEST_WAIT, and free. */
void nqtest_end(nq_queue *queue);

/* Close and free a client whose server nobody else drives, which so could not answer its good-bye.
 */
void nqtest_part(nq_queue *server, nq_queue *client);

/* ---- memory that tells when it is released ---- */

struct nqtest_block {
    unsigned char *data;
    size_t size;
    _Atomic unsigned released;
};

void nqtest_block_init(struct nqtest_block *block, size_t size);
nq_msg *nqtest_block_msg(struct nqtest_block *block);
void nqtest_block_fini(struct nqtest_block *block);

/* Join a thread that must end soon: in less time than any clock of the library takes to hide a
 * wake-up that was lost. */
void nqtest_end_thread(pthread_t thread);

/* Until that thread, which stores its number before it calls what waits, sleeps in the kernel. */
void nqtest_until_asleep(const _Atomic pid_t *thread);

/* Descriptors that this process has open. */
unsigned nqtest_descriptors(void);
/* There are no more than that; a library with threads of its own may close some a moment later. */
void nqtest_until_descriptors(unsigned most);
int64_t nqtest_clock(void);

#endif
