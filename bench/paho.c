/* The rival paho: Eclipse paho's asynchronous client through an MQTT broker, used directly.
 *
 * Bare QoS 0 loses messages and stalls for up to a second behind a partial write, so this program
 * does the least that makes it run well: the receiver tells every quarter of a window how far it
 * is (--buffer messages; default: 2 MiB of them, 4 to 800), the sender waits for that, and both
 * set TCP_NODELAY behind paho's back.  Each message carries its number, which the receiver checks.
 *
 * rtt: the other process answers from paho's callback; this one waits by --wait. */
#include "report.h"
#include <dirent.h>
#include <errno.h>
#include <MQTTAsync.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAHO_BUFFERED 65535

static struct {
    const struct bench_opts *opts;
    struct bench_result *result; /* of the measuring process */
    MQTTAsync client;
    unsigned window;
    bool measures; /* this process is the one that measures */
    char to_other[64], to_us[64];
    pthread_mutex_t mtx;
    pthread_cond_t cond;
    _Atomic uint64_t heard; /* messages, or what the receiver told of them */
    _Atomic bool ready;     /* the last thing that paho was asked for is done */
} paho = {.mtx = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};

/* ---- waiting ------------------------------------------------------------------------------ */

static void paho_set(_Atomic uint64_t *what, uint64_t value)
{
    pthread_mutex_lock(&paho.mtx);
    atomic_store(what, value);
    pthread_cond_broadcast(&paho.cond);
    pthread_mutex_unlock(&paho.mtx);
}

/* Until paho.heard is `least`, as --wait says. */
static void paho_await(uint64_t least)
{
    int64_t end = bench_now_ns() + paho.opts->spin_ns;

    while (paho.opts->wait != BENCH_SLEEP && atomic_load(&paho.heard) < least &&
           (paho.opts->wait == BENCH_SPIN || bench_now_ns() < end))
        bench_relax();
    if (atomic_load(&paho.heard) >= least)
        return;
    pthread_mutex_lock(&paho.mtx);
    while (atomic_load(&paho.heard) < least)
        pthread_cond_wait(&paho.cond, &paho.mtx);
    pthread_mutex_unlock(&paho.mtx);
}

/* ---- paho's callbacks --------------------------------------------------------------------- */

static void paho_done(void *context, MQTTAsync_successData *data)
{
    (void)context;
    (void)data;
    pthread_mutex_lock(&paho.mtx);
    atomic_store(&paho.ready, true);
    pthread_cond_broadcast(&paho.cond);
    pthread_mutex_unlock(&paho.mtx);
}

static void paho_failed(void *context, MQTTAsync_failureData *data)
{
    (void)context;
    bench_die("paho", data && data->message ? data->message : "the broker refuses");
}

static void paho_lost(void *context, char *cause)
{
    (void)context;
    bench_die("paho", cause ? cause : "the broker is lost");
}

static void paho_publish(const void *data, size_t len)
{
    int rc = MQTTAsync_send(paho.client, paho.to_other, (int)len, data, 0, 0, NULL);

    if (rc != MQTTASYNC_SUCCESS)
        bench_die("MQTTAsync_send", MQTTAsync_strerror(rc));
}

/* oneway, receiver: a message. */
static void paho_take(const MQTTAsync_message *msg)
{
    uint64_t seq = atomic_load_explicit(&paho.heard, memory_order_relaxed), number;
    uint64_t total = paho.opts->warmup + paho.opts->count;

    if ((size_t)msg->payloadlen != paho.opts->size)
        bench_die("message", "has the wrong size");
    memcpy(&number, msg->payload, sizeof(number));
    if (number != seq)
        bench_die("message", "lost or doubled");
    bench_arrived(paho.opts, paho.result, seq++);
    if (seq % (paho.window / 4) == 0)
        paho_publish(&seq, sizeof(seq));
    if (seq == paho.opts->warmup || seq == total)
        paho_set(&paho.heard, seq);
    else
        atomic_store_explicit(&paho.heard, seq, memory_order_release);
}

static int paho_arrived(void *context, char *topic, int topic_len, MQTTAsync_message *msg)
{
    uint64_t seq;

    (void)context;
    (void)topic_len;
    if (paho.opts->job == BENCH_RTT && !paho.measures) {
        paho_publish(msg->payload, (size_t)msg->payloadlen);
    } else if (paho.opts->job == BENCH_RTT) {
        paho_set(&paho.heard, atomic_load(&paho.heard) + 1);
    } else if (paho.measures) {
        paho_take(msg);
    } else {
        memcpy(&seq, msg->payload, sizeof(seq));
        paho_set(&paho.heard, seq);
    }
    MQTTAsync_freeMessage(&msg);
    MQTTAsync_free(topic);
    return 1;
}

/* ---- connecting --------------------------------------------------------------------------- */

static void paho_await_ready(int rc, const char *what)
{
    if (rc != MQTTASYNC_SUCCESS)
        bench_die(what, MQTTAsync_strerror(rc));
    pthread_mutex_lock(&paho.mtx);
    while (!atomic_load(&paho.ready))
        pthread_cond_wait(&paho.cond, &paho.mtx);
    atomic_store(&paho.ready, false);
    pthread_mutex_unlock(&paho.mtx);
}

/* paho has no option for it. */
static void paho_set_nodelay(unsigned port)
{
    const int on = 1, room = 4 << 20;
    DIR *dir = opendir("/proc/self/fd");
    const struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        struct sockaddr_in peer = {0};
        socklen_t len = sizeof(peer);
        int fd = atoi(entry->d_name);

        if (entry->d_name[0] == '.' || getpeername(fd, (struct sockaddr *)&peer, &len) ||
            peer.sin_family != AF_INET || ntohs(peer.sin_port) != port)
            continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    }
    if (dir)
        closedir(dir);
}

static void paho_connect(void)
{
    MQTTAsync_createOptions create = MQTTAsync_createOptions_initializer;
    MQTTAsync_connectOptions connect = MQTTAsync_connectOptions_initializer;
    MQTTAsync_responseOptions response = MQTTAsync_responseOptions_initializer;
    char uri[64], name[64];

    create.maxBufferedMessages = PAHO_BUFFERED;
    snprintf(uri, sizeof(uri), "tcp://127.0.0.1:%u", paho.opts->port);
    snprintf(name, sizeof(name), "bench-%ld", (long)getpid());
    if (MQTTAsync_createWithOptions(&paho.client, uri, name, MQTTCLIENT_PERSISTENCE_NONE, NULL,
                                    &create) ||
        MQTTAsync_setCallbacks(paho.client, NULL, paho_lost, paho_arrived, NULL))
        bench_die("paho", "no client");
    connect.onSuccess = paho_done;
    connect.onFailure = paho_failed;
    paho_await_ready(MQTTAsync_connect(paho.client, &connect), "MQTTAsync_connect");
    paho_set_nodelay(paho.opts->port);
    response.onSuccess = paho_done;
    response.onFailure = paho_failed;
    paho_await_ready(MQTTAsync_subscribe(paho.client, paho.to_us, 0, &response),
                     "MQTTAsync_subscribe");
}

/* ---- the other process -------------------------------------------------------------------- */

static void paho_send_all(void)
{
    uint64_t total = paho.opts->warmup + paho.opts->count;
    char *payload = bench_pages(paho.opts->size);

    for (uint64_t seq = 0; seq < total; seq++) {
        if (seq >= paho.window)
            paho_await(seq - paho.window + 1);
        bench_due(paho.opts, seq, 1);
        memcpy(payload, &seq, sizeof(seq));
        paho_publish(payload, paho.opts->size);
    }
}

static void paho_other(const struct bench_opts *opts, int fd, void *arg)
{
    char topic[64], go = 1;

    (void)arg;
    memcpy(topic, paho.to_us, sizeof(topic));
    memcpy(paho.to_us, paho.to_other, sizeof(topic));
    memcpy(paho.to_other, topic, sizeof(topic));
    paho.measures = false;
    paho_connect();
    bench_tell(fd, &go, 1);
    bench_hear(fd, &go, 1);
    if (opts->job != BENCH_RTT)
        paho_send_all();
    bench_hear(fd, &go, 1); /* the end */
    _exit(0);               /* paho's threads have nothing left to say */
}

/* ---- the program -------------------------------------------------------------------------- */

static void paho_rtt(struct bench_result *result)
{
    uint64_t total = paho.opts->warmup + paho.opts->count;
    char *payload = bench_pages(paho.opts->size);
    int64_t start = 0;

    for (uint64_t i = 0; i < total; i++) {
        int64_t at = bench_now_ns();

        if (i == paho.opts->warmup)
            start = at;
        paho_publish(payload, paho.opts->size);
        paho_await(i + 1);
        if (i >= paho.opts->warmup)
            bench_samples_add(result->samples, bench_now_ns() - at);
    }
    result->seconds = (double)(bench_now_ns() - start) / 1e9;
    result->messages = paho.opts->count;
}

static void paho_oneway(struct bench_result *result)
{
    uint64_t first;
    int64_t start;

    paho_await(paho.opts->warmup);
    start = bench_now_ns();
    first = atomic_load(&paho.heard);
    paho_await(paho.opts->warmup + paho.opts->count);
    result->seconds = (double)(bench_now_ns() - start) / 1e9;
    result->messages = paho.opts->warmup + paho.opts->count - first;
}

int main(int argc, char **argv)
{
    struct bench_opts opts;
    struct bench_samples samples;
    struct bench_result result = {.program = "paho"};
    struct bench_peer peer;
    char go = 1;

    bench_options(&opts, "paho",
                  BENCH_OPT_WAIT | BENCH_OPT_BUFFER | BENCH_OPT_PORT | BENCH_OPT_PACED, argc, argv);
    if (opts.size < sizeof(uint64_t))
        bench_die("--size", "at least 8");
    paho.opts = &opts;
    paho.measures = true;
    paho.window = opts.buffer > 0 ? (unsigned)opts.buffer : (unsigned)((2 << 20) / opts.size);
    paho.window = paho.window < 4 ? 4 : paho.window > 800 && opts.buffer < 0 ? 800 : paho.window;
    snprintf(paho.to_other, sizeof(paho.to_other), "bench/%ld/a", (long)getpid());
    snprintf(paho.to_us, sizeof(paho.to_us), "bench/%ld/b", (long)getpid());
    snprintf(result.settings, sizeof(result.settings), "QoS 0, 3.1.1, nodelay, window %u",
             paho.window);
    if (opts.job != BENCH_ONEWAY) {
        bench_samples_init(&samples, opts.count);
        result.samples = &samples;
    }
    paho.result = &result;
    peer = bench_peer_start(&opts, paho_other, NULL);
    paho_connect();
    bench_hear(peer.fd, &go, 1);
    bench_cpu_start();
    bench_tell(peer.fd, &go, 1);
    if (opts.job == BENCH_RTT)
        paho_rtt(&result);
    else
        paho_oneway(&result);
    bench_tell(peer.fd, &go, 1);
    bench_peer_wait(&peer);
    bench_print(&opts, &result);
    return 0;
}
