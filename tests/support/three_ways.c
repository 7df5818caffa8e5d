/* One process with three transports, and another one: for tools that watch a whole process to its
 * end, like valgrind.
 *
 *     three_ways server TCP GRPC MQTT    ports; serves over all three under one handle, echoes
 *                                        COUNT messages of each of three clients, closes, frees
 *     three_ways client TCP GRPC MQTT    three queues, one for each transport, at the same time
 *     three_ways quit TCP GRPC MQTT      three clients of nobody; the process ends while they try
 *
 * The exit code is 0 when every message came back as it was sent and every put was delivered. */
#include <netqueue/netqueue.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAYS 3
#define COUNT 12
#define WAIT_NS INT64_C(60000000000)

static const char *const transports[WAYS] = {"tcp", "grpc", "mqtt"};
static const char *const *ports;

static void must(bool fine, const char *what)
{
    if (fine)
        return;
    fprintf(stderr, "three_ways: %s: %s\n", what, nq_error());
    exit(1);
}

/* Some of them go in one record, some in many; the first in none of their own. */
static size_t size_of(unsigned i)
{
    return i % 4 == 3 ? 700000 + i : i * 1000;
}

static nq_msg *message(unsigned way, unsigned i)
{
    nq_msg *msg = NULL;
    void *data;

    must(nq_msg_alloc(size_of(i), &data, &msg) == NQ_OK, "memory for a message");
    memset(data, (int)(way * COUNT + i + 1), size_of(i));
    return msg;
}

static void check_message(nq_msg *msg, unsigned way, unsigned i)
{
    nq_msg *want = message(way, i);
    const void *a, *b;
    size_t alen = 0, blen = 0;

    must(nq_msg_data(msg, &a, &alen) == NQ_OK && nq_msg_data(want, &b, &blen) == NQ_OK, "reading");
    must(alen == blen && (alen == 0 || memcmp(a, b, alen) == 0), "comparing");
    nq_msg_free(msg);
    nq_msg_free(want);
}

static nq_msg *get(nq_queue *queue)
{
    nq_msg *msg = NULL;

    must(nq_get(queue, NULL, 0, WAIT_NS, &msg) == NQ_OK, "getting");
    return msg;
}

static void end(nq_queue *queue)
{
    must(nq_close(queue, WAIT_NS, NULL) == NQ_OK, "closing");
    nq_free(queue);
}

/* ---- server ----------------------------------------------------------------------------- */

static nq_queue *open_server(void)
{
    char text[512];
    nq_queue *queue = NULL;
    int len = snprintf(text, sizeof(text),
                       "{\"purpose\": \"server\", \"transports\": ["
                       "{\"transport\": \"tcp\", \"port\": %s}, "
                       "{\"transport\": \"grpc\", \"port\": %s}, "
                       "{\"transport\": \"mqtt\", \"port\": %s}]}",
                       ports[0], ports[1], ports[2]);

    must(nq_open_json(text, (size_t)len, &queue) == NQ_OK, "opening the server");
    return queue;
}

static void serve(void)
{
    nq_queue *queue = open_server();

    for (unsigned i = 0; i < WAYS * COUNT; i++) {
        nq_msg *msg = get(queue);
        nq_uuid from = *nq_msg_sender(msg);

        must(nq_put(queue, msg, &from, 1, NULL) == NQ_OK, "putting back");
    }
    end(queue);
}

/* ---- clients ---------------------------------------------------------------------------- */

static nq_queue *open_client(unsigned way)
{
    char text[256];
    nq_queue *queue = NULL;
    int len = snprintf(text, sizeof(text),
                       "{\"purpose\": \"client\", \"transport\": \"%s\", \"port\": %s}",
                       transports[way], ports[way]);

    must(nq_open_json(text, (size_t)len, &queue) == NQ_OK, transports[way]);
    return queue;
}

static void call(void)
{
    nq_queue *queues[WAYS];

    for (unsigned way = 0; way < WAYS; way++)
        queues[way] = open_client(way);
    for (unsigned way = 0; way < WAYS; way++)
        for (unsigned i = 0; i < COUNT; i++)
            must(nq_put(queues[way], message(way, i), NULL, 0, NULL) == NQ_OK, "putting");
    for (unsigned way = 0; way < WAYS; way++)
        for (unsigned i = 0; i < COUNT; i++)
            check_message(get(queues[way]), way, i);
    for (unsigned way = 0; way < WAYS; way++)
        end(queues[way]);
}

static void quit(void)
{
    struct nq_event event;

    for (unsigned way = 0; way < WAYS; way++) {
        nq_queue *queue = open_client(way);

        must(nq_event_get(queue, WAIT_NS, &event) == NQ_OK && event.kind == NQ_EVENT_REFUSED,
             "being refused");
    }
}

int main(int argc, char **argv)
{
    if (argc != 2 + WAYS) {
        fprintf(stderr, "usage: three_ways server|client|quit TCP GRPC MQTT\n");
        return 2;
    }
    ports = (const char *const *)argv + 2;
    if (strcmp(argv[1], "server") == 0)
        serve();
    else if (strcmp(argv[1], "client") == 0)
        call();
    else
        quit();
    return 0;
}
