/* What the files of the simulation share: the world of one seed, chance, and what a node and a
 * letter can do. */
#ifndef NQSIM_SIM_H
#define NQSIM_SIM_H

#include "core/base.h"
#include "tests/sim/simnet.h"
#include <netqueue/queue.h>

#define MAX_CLIENTS 3
#define MAX_NODES (MAX_CLIENTS + 1)
#define MS NQI_NS_PER_MS
#define S NQI_NS_PER_S

struct letter {
    uint32_t from, to, life, to_life; /* life of the receiver when it was put */
    uint64_t number;
    uint32_t size, arrived, again; /* came; of those, marked as redelivered */
    nq_future *future;             /* NULL = not asked for, or the sender died */
    bool asked, cancelled;
    nq_outcome outcome; /* PENDING = not settled (the sender died) */
};

struct node {
    nq_queue *queue;
    char name[16];
    nq_uuid id;
    uint32_t life;
    uint64_t number;              /* of the last letter of this life */
    uint64_t seen[MAX_NODES][64]; /* by sender and life: the last number that arrived here */
    bool asleep;                  /* not polled: stopped, or busy */
};

/* The world. */
struct sim {
    uint64_t seed, random, hash;
    int64_t now, pace;
    uint64_t bytes; /* that had arrived when time last passed */
    bool verbose, quiet_net;
    unsigned nnodes, step, steps, depth;
    struct node node[MAX_NODES];
    struct letter *letters;
    size_t nletters, cap;
    char options[640];
    const char *policy;
    uint64_t credit, messages, server_messages; /* of the options */
    bool keeps;                                 /* sessions outlive their links */
    bool large;                                 /* many letters are: the credit is soon used up */
    bool lazy;                                  /* readers are */
    bool consumed; /* acknowledged when get() returned it: delivered is true whoever dies */
    bool keyed;    /* with pre-shared keys, and somebody in the middle */
    bool resends;  /* what may have arrived is sent again in the next session, marked */
    unsigned resumed, downs, gone, ups, crashes, delivered, unknown, intrusions, tampered;
};

extern struct sim sim;
extern const struct nqsim_net *sim_net;

/* sim.c */
uint64_t sim_draw(uint64_t n);     /* from 0 to n - 1 */
bool sim_chance(unsigned of_1000); /* so many times of a thousand */
void sim_note(uint64_t what);      /* into the hash of the run */
__attribute__((format(printf, 1, 2))) void sim_say(const char *format, ...);
/* The run is not as it was said to be: tell how to see it, and exit. */
__attribute__((format(printf, 1, 2), noreturn)) void sim_broken(const char *format, ...);

/* sim_node.c */
void sim_node_open(unsigned i); /* its next life */
void sim_node_poll(unsigned i);
/* The longer nothing arrives anywhere the faster, up to `most` ns. */
void sim_let_time_pass(int64_t most);
void sim_poll_all(void);

/* sim_letter.c */
void sim_put_letter(unsigned from, unsigned to, bool asked);
void sim_put(void);
void sim_cancel(void);
bool sim_get_one(unsigned to); /* false: nothing came */
void sim_look_at_futures(void);
void sim_forget_futures(unsigned from); /* what a dead queue leaves behind */
void sim_check_letters(void);           /* at the end: all that was put came to what it says */

/* sim_step.c */
void sim_change_weather(void);
void sim_one_step(void);

/* sim_end.c */
void sim_heal(void);
void sim_close_all(void);

#endif
