/* The peer in Python (net_queue/peer.py, which has the list of commands and events) as a process of
 * a test.
 *
 * One at a time in a process.  It ends when the test's process does, however that ends.  Everything
 * fails the test with Check when it does not go well; each wait ends after NQTEST_WAIT. */
#ifndef NQTEST_PYTHON_PEER_H
#define NQTEST_PYTHON_PEER_H

#include <jansson.h>
#include <netqueue/netqueue.h>
#include <stdbool.h>

/* There is a Python that can import `modules` ("grpc", or "" for none but its own). */
bool nqtest_python_has(const char *modules);

void nqtest_python_start(void);
void nqtest_python_end(void);  /* its input is closed; it is gone on return */
void nqtest_python_kill(void); /* SIGKILL; the same */

/* Give it a command: a format of a JSON object with ' for ". */
__attribute__((format(printf, 1, 2))) void nqtest_python_say(const char *format, ...);

/* The next event of that kind at that end; what came there before it is dropped.  @return owned by
 * the caller, ends with json_decref() */
json_t *nqtest_python_event(const char *end, const char *event);

/* The same, when its members do not matter. */
void nqtest_python_await(const char *end, const char *event);

/* The next message at `end` is `len` bytes `data`. */
void nqtest_python_expect(const char *end, const void *data, size_t len);

/* Until all that was said has been done. */
void nqtest_python_sync(void);

/* The message that {"noise": [size, seed]} stands for. */
nq_msg *nqtest_python_noise(size_t size, unsigned seed);
/* `msg` is that one. */
void nqtest_python_check_noise(nq_msg *msg, size_t size, unsigned seed);
/* The next message at `end` is. */
void nqtest_python_expect_noise(const char *end, size_t size, unsigned seed);

#endif
