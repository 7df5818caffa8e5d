/* A connection of TCP over loopback whose ends go to two processes, with the best settings known,
 * and the count of what comes in at one of them. */
#ifndef NQ_BENCH_PAIR_H
#define NQ_BENCH_PAIR_H

#include <stddef.h>

struct bench_opts;
struct bench_result;

struct bench_pair {
    int fd[2]; /* of the measuring process, of the other */
};

/* Blocking sockets with TCP_NODELAY, and cubic where the kernel has it (bbr paces loopback). Before
 * bench_peer_start(); each process then closes the other's end.  A failure ends the program. */
struct bench_pair bench_pair_connect(void);

/* The same of a pair of unix sockets. */
struct bench_pair bench_pair_unix(void);

/* One read of at most `len` bytes, at least one; 0 = the other side has gone. */
typedef size_t (*bench_receive_fn)(void *arg, char *buf, size_t len);

/* The receiving side of oneway without headers: `receive(arg)` into one buffer of opts->read_size
 * until warm-up and measured messages are there, only counted.  Sets result->seconds and
 * ->messages.
 */
void bench_count_bytes(const struct bench_opts *opts, bench_receive_fn receive, void *arg,
                       struct bench_result *result);

#endif
