/* A connection of TCP over loopback whose ends go to two processes, with the best settings known.
 */
#ifndef NQ_BENCH_PAIR_H
#define NQ_BENCH_PAIR_H

struct bench_pair {
    int fd[2]; /* of the measuring process, of the other */
};

/* Blocking sockets with TCP_NODELAY, and cubic where the kernel has it (bbr paces loopback). Before
 * bench_peer_start(); each process then closes the other's end.  A failure ends the program. */
struct bench_pair bench_pair_connect(void);

#endif
