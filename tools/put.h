/* What the parts of `netqueue put` share.
 *
 *     cmd_put.c     options, inputs, peers, the end
 *     put_flight.c  the puts in flight and what became of them */
#ifndef NQ_TOOLS_PUT_H
#define NQ_TOOLS_PUT_H

#include "tools/inputs.h"
#include "tools/opts.h"
#include "tools/peers.h"
#include "tools/progress.h"
#include <stdio.h>

/* Puts in flight: enough that the queue never runs dry, and less than the default limits
 * of a queue, so that a policy that drops finds nothing to drop. */
#define NQI_PUT_WINDOW 4096
#define NQI_PUT_WINDOW_BYTES (UINT64_C(32) << 20)
#define NQI_PUT_SAID 100 /* failures that are printed one by one */

/* One put in flight. */
struct nqi_put_part {
    nq_future *future; /* owned */
    const char *name;  /* of the input; borrowed */
    uint64_t line;     /* of the input; 0 = all of it */
    uint64_t size;     /* bytes */
};

struct nqi_put {
    /* options */
    const char *config;
    const char *value; /* the kind of value to make of JSON; NULL = bytes as they are */
    struct nqi_texts to;
    int64_t timeout_ns;
    uint64_t wait_peers;
    bool lines, json, recursive, quiet;

    nq_queue *queue;
    nq_uuid *peers; /* from --to; owned */
    size_t npeers;
    nq_uuid *up; /* who was there at up_ns; owned */
    size_t nup;
    int64_t up_ns;
    struct nqi_inputs inputs;
    struct nqi_news news;
    struct nqi_progress progress;

    /* puts in flight: the oldest is parts[head % NQI_PUT_WINDOW] */
    struct nqi_put_part parts[NQI_PUT_WINDOW];
    size_t head, tail;
    uint64_t in_flight; /* bytes */

    /* progress that the time-out looks for */
    int64_t moved_ns, looked_ns;
    uint64_t moved_mark;

    /* results */
    uint64_t messages, bytes, delivered, handed, failed;
    char *failures; /* for --json: list elements; owned by `failures_out` */
    size_t failures_len;
    FILE *failures_out;
    bool timed_out, broken;
    int code; /* the first failure that is not about one message */
};

/* True when the command is to end now: interrupted, broken, or nothing moved for the whole
 * time-out.  Draws the progress bar. */
bool nqi_put_stopped(struct nqi_put *put);

/* How long one wait may take: a slice, or what is left of the time-out. */
int64_t nqi_put_slice(const struct nqi_put *put);

/* Put `msg`, which is taken in any case, to one peer or (NULL) to where messages go.  Waits
 * for room; a failure is noted. */
void nqi_put_message(struct nqi_put *put, nq_msg *msg, const nq_uuid *peer,
                     struct nqi_put_part part);

/* Wait for all that is in flight, or until the command is to end. */
void nqi_put_settle_all(struct nqi_put *put);

/* Close the queue; whatever was still in flight is settled and noted after that. */
void nqi_put_close(struct nqi_put *put);

#endif
