/* What bench/gate counts the instructions of: both ends of a link in one process and, but for the
 * library's own keepers, on one thread, so that a message takes the same way every time.
 *
 *     gate_steps JOB SIZE COUNT TRANSPORT      TRANSPORT: an entry of "transports", for both ends
 *
 *   rtt     one message there and back
 *   oneway  GATE_BATCH messages are put, then got
 *   loan    as rtt, in memory that the transport lends; only the ends are written
 *
 * Each step is a function of its own, which the counting is limited to: gate_make, gate_put,
 * gate_get, gate_free.  The first GATE_WARM rounds go past them. */
#include "core/queue.h"
#include "core/wait_room.h"
#include <netqueue/netqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GATE_BATCH 64
#define GATE_WARM 200
#define GATE_PACE 64 /* as core/wait_spin.c has it at the most */
#define GATE_WAIT_NS INT64_C(60000000000)
#define GATE_SIZE_MAX (4u << 20)

struct gate_end {
    nq_queue *queue;
    const nq_uuid *peer; /* NULL: the server */
};

static unsigned char gate_data[GATE_SIZE_MAX];
static bool gate_loans;

static _Noreturn void gate_die(const char *what)
{
    fprintf(stderr, "gate: %s: %s\n", what, nq_error());
    exit(1);
}

/* ---- the steps --------------------------------------------------------------------------- */

static nq_msg *step_make(const struct gate_end *end, size_t size)
{
    unsigned char *data;
    void *memory;
    nq_msg *msg;

    if (!gate_loans) {
        if (nq_msg_new(gate_data, size, &msg))
            gate_die("make");
        return msg;
    }
    if (nq_loan(end->queue, end->peer, end->peer != NULL, size, &memory, &msg))
        gate_die("loan");
    data = memory;
    data[0] = data[size - 1] = 1;
    return msg;
}

static void step_put(const struct gate_end *end, nq_msg *msg)
{
    if (nq_put(end->queue, msg, end->peer, end->peer != NULL, NULL))
        gate_die("put");
}

static nq_msg *step_get(const struct gate_end *end)
{
    nq_msg *msg;

    if (nq_get(end->queue, NULL, 0, GATE_WAIT_NS, &msg))
        gate_die("get");
    return msg;
}

/* What was gathered leaves, as it does before its putter waits for something. */
static void step_flush(const struct gate_end *end)
{
    nq_msg *msg;

    if (nq_get(end->queue, NULL, 0, 0, &msg) != NQ_AGAIN)
        gate_die("flush");
}

/* Not static, and never inlined: valgrind is told their names. */
__attribute__((noinline)) nq_msg *gate_make(const struct gate_end *end, size_t size);
__attribute__((noinline)) void gate_put(const struct gate_end *end, nq_msg *msg);
__attribute__((noinline)) nq_msg *gate_get(const struct gate_end *end);
__attribute__((noinline)) void gate_free(nq_msg *msg);

nq_msg *gate_make(const struct gate_end *end, size_t size)
{
    return step_make(end, size);
}

void gate_put(const struct gate_end *end, nq_msg *msg)
{
    step_put(end, msg);
}

nq_msg *gate_get(const struct gate_end *end)
{
    return step_get(end);
}

void gate_free(nq_msg *msg)
{
    nq_msg_free(msg);
}

/* ---- rounds ------------------------------------------------------------------------------ */

static void round_batch(const struct gate_end *from, const struct gate_end *to, size_t size,
                        unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        gate_put(from, gate_make(from, size));
    if (n > 1)
        step_flush(from);
    for (unsigned i = 0; i < n; i++)
        gate_free(gate_get(to));
}

static void round_warm(const struct gate_end *from, const struct gate_end *to, size_t size,
                       unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        step_put(from, step_make(from, size));
    if (n > 1)
        step_flush(from);
    for (unsigned i = 0; i < n; i++)
        nq_msg_free(step_get(to));
}

/* As after a while of spinning: links that receive are looked at directly, and everything else is
 * looked at now and then.  Under valgrind, where all takes long, it would not come to that. */
static void gate_heat(const struct gate_end *end)
{
    nqi_hot_open(nqi_loop_hot(end->queue->loops[0]), true);
    end->queue->rooms[0]->spin.pace = GATE_PACE;
}

/* ---- all --------------------------------------------------------------------------------- */

static nq_queue *gate_open(const char *purpose, const char *transport)
{
    char text[1024];
    nq_queue *queue;

    snprintf(text, sizeof(text),
             "{\"purpose\": \"%s\", \"transports\": [%s], \"progress\": {\"spin\": \"1s\"}}",
             purpose, transport);
    if (nq_open_json(text, strlen(text), &queue))
        gate_die("open");
    return queue;
}

static nq_uuid gate_meet(const struct gate_end *client, const struct gate_end *server)
{
    nq_uuid id;
    nq_msg *msg;

    step_put(client, step_make(client, 1));
    msg = step_get(server);
    id = *nq_msg_sender(msg);
    nq_msg_free(msg);
    return id;
}

int main(int argc, char **argv)
{
    struct gate_end client = {0}, server = {0};
    bool oneway = argc == 5 && strcmp(argv[1], "oneway") == 0;
    size_t size = argc == 5 ? strtoul(argv[2], NULL, 0) : 0;
    unsigned long count = argc == 5 ? strtoul(argv[3], NULL, 0) : 0;
    unsigned batch = oneway ? GATE_BATCH : 1;
    nq_uuid id;

    if (!size || size > GATE_SIZE_MAX) {
        fprintf(stderr, "use: gate_steps rtt|oneway|loan SIZE COUNT TRANSPORT\n");
        return 2;
    }
    server.queue = gate_open("server", argv[4]);
    client.queue = gate_open("client", argv[4]);
    id = gate_meet(&client, &server);
    server.peer = &id;
    gate_heat(&client);
    gate_heat(&server);
    gate_loans = strcmp(argv[1], "loan") == 0;
    for (unsigned i = 0; i < GATE_WARM; i++) {
        round_warm(&client, &server, size, batch);
        if (!oneway)
            round_warm(&server, &client, size, batch);
    }
    for (unsigned long i = 0; i < count / batch; i++) {
        round_batch(&client, &server, size, batch);
        if (!oneway)
            round_batch(&server, &client, size, batch);
    }
    nq_free(client.queue);
    nq_free(server.queue);
    return 0;
}
