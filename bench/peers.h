/* The two halves of the program peers: one server, and processes that hold its many clients. */
#ifndef NQ_BENCH_PEERS_H
#define NQ_BENCH_PEERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define PEERS_MAX 10000
#define PEERS_PROCESSES                                                      \
    8 /* that hold the clients: a process may not have files for all of them \
       */
#define PEERS_CONFIG 512

enum peers_job { PEERS_SPREAD, PEERS_BROADCAST, PEERS_IDLE };

/* What was asked for, and where the server is. */
struct peers {
    enum peers_job job;
    bool bare; /* sockets and nothing else */
    const char *transport;
    unsigned peers;
    size_t size; /* bytes of a message */
    uint64_t count, warmup;
    unsigned seconds;                 /* idle: so long the server is watched */
    const char *keepalive;            /* of both sides' sessions */
    int cpu[2];                       /* of the server, of all clients; -1 = wherever */
    unsigned port;                    /* of the server */
    char place[PEERS_CONFIG / 2];     /* the members of the transport's object */
    _Atomic uint64_t *heard;          /* broadcast: messages that clients got; shared */
    pid_t processes[PEERS_PROCESSES]; /* the clients' */
    int orders[PEERS_PROCESSES];      /* we write how many clients to open next; closed = end */
};

/* Stay on one of the two processors, with the threads that come later. */
void peers_pin(const struct peers *peers, int end);

/* The configuration of a "server" or "client", with further members. */
void peers_config(const struct peers *peers, const char *purpose, const char *more,
                  char text[PEERS_CONFIG]);

/* Start the processes that hold the clients; they open none yet. */
void peers_fork(struct peers *peers);
/* Have them open `count` clients more, spread over all of them; at once, they come as they can. */
void peers_order(const struct peers *peers, unsigned count);
/* End them, and wait until they have. */
void peers_end(struct peers *peers);

#endif
