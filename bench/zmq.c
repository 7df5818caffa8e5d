/* The rival ZeroMQ, with its default settings: one I/O thread, high-water marks of 1000
 * (a sender that reaches one waits, so nothing is dropped).
 *
 * Patterns: rtt over PAIR, oneway and paced over PUSH/PULL, the ones that were fastest where this
 * was written; --pattern pair|push|dealer tries another.  Sends hand over memory
 * that never changes (zmq_send_const: no copy, no allocation in the call), the echo sends
 * the received message itself, so nobody copies outside the library. */
#include "report.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

#define RIVAL_ADDR BENCH_PATH_MAX /* bytes of an address, with its NUL */

static const struct rival_pattern {
    const char *name;
    int type[2]; /* of the measuring process's end, of the other */
    bool both_ways;
} rival_patterns[] = {
    {"pair", {ZMQ_PAIR, ZMQ_PAIR}, true},
    {"push", {ZMQ_PULL, ZMQ_PUSH}, false},
    {"dealer", {ZMQ_DEALER, ZMQ_DEALER}, true},
};

static int rival_type(const struct bench_opts *opts, int end)
{
    for (size_t i = 0; i < sizeof(rival_patterns) / sizeof(rival_patterns[0]); i++) {
        const struct rival_pattern *pattern = &rival_patterns[i];

        if (strcmp(pattern->name, opts->pattern) == 0 &&
            (pattern->both_ways || opts->job != BENCH_RTT))
            return pattern->type[end];
    }
    bench_die("--pattern", "not pair, dealer or (not rtt) push");
}

static void rival_check(bool good, const char *what)
{
    if (!good)
        bench_die(what, zmq_strerror(errno));
}

static void *rival_open(const struct bench_opts *opts, void *ctx, int end)
{
    void *sock = zmq_socket(ctx, rival_type(opts, end));
    const int marks[] = {ZMQ_SNDHWM, ZMQ_RCVHWM};

    rival_check(sock, "zmq_socket");
    for (size_t i = 0; opts->buffer >= 0 && i < 2; i++)
        rival_check(zmq_setsockopt(sock, marks[i], &opts->buffer, sizeof(opts->buffer)) == 0,
                    "high-water mark");
    return sock;
}

static void rival_send(void *sock, const char *data, size_t len)
{
    while (zmq_send_const(sock, data, len, 0) < 0)
        rival_check(errno == EINTR, "zmq_send_const");
}

static void rival_recv(const struct bench_opts *opts, void *sock, zmq_msg_t *msg)
{
    while (zmq_msg_recv(msg, sock, 0) < 0)
        rival_check(errno == EINTR, "zmq_msg_recv");
    if (zmq_msg_size(msg) != opts->size)
        bench_die("message", "has the wrong size");
}

/* ---- the other process ------------------------------------------------------------- */

static void rival_echo(const struct bench_opts *opts, void *sock)
{
    zmq_msg_t msg;

    zmq_msg_init(&msg);
    for (uint64_t i = 0; i < opts->warmup + opts->count; i++) {
        rival_recv(opts, sock, &msg);
        while (zmq_msg_send(&msg, sock, 0) < 0)
            rival_check(errno == EINTR, "zmq_msg_send");
    }
    zmq_msg_close(&msg);
}

static void rival_peer(const struct bench_opts *opts, int fd, void *arg)
{
    void *ctx = zmq_ctx_new(), *sock = rival_open(opts, ctx, 1);
    char addr[RIVAL_ADDR], done;

    (void)arg;
    bench_hear(fd, addr, sizeof(addr));
    rival_check(zmq_connect(sock, addr) == 0, addr);
    if (opts->job == BENCH_RTT) {
        rival_echo(opts, sock);
    } else {
        const char *payload = bench_pages(opts->size);

        for (uint64_t i = 0; i < opts->warmup + opts->count; i++) {
            bench_due(opts, i, 1);
            rival_send(sock, payload, opts->size);
        }
    }
    bench_hear(fd, &done, 1); /* all of it has arrived */
    zmq_close(sock);
    zmq_ctx_term(ctx);
}

/* ---- the measuring process ------------------------------------------------------------ */

static void rival_measure(const struct bench_opts *opts, void *sock, struct bench_result *result)
{
    const char *payload = bench_pages(opts->size);
    int64_t start = 0, last = 0;
    zmq_msg_t msg;

    zmq_msg_init(&msg);
    for (uint64_t i = 0; i < opts->warmup + opts->count; i++) {
        int64_t now;

        if (i == opts->warmup)
            start = last = bench_now_ns();
        if (opts->job == BENCH_RTT)
            rival_send(sock, payload, opts->size);
        rival_recv(opts, sock, &msg);
        bench_arrived(opts, result, i);
        if (opts->job != BENCH_RTT || i < opts->warmup)
            continue;
        now = bench_now_ns();
        bench_samples_add(result->samples, now - last);
        last = now;
    }
    result->seconds = (double)(bench_now_ns() - start) / 1e9;
    result->messages = opts->count;
    zmq_msg_close(&msg);
}

int main(int argc, char **argv)
{
    struct bench_opts opts;
    struct bench_samples samples;
    struct bench_result result = {.program = "zmq"};
    struct bench_peer peer;
    char addr[RIVAL_ADDR] = {0};
    size_t len = sizeof(addr);
    void *ctx, *sock;

    bench_options(&opts, "zmq",
                  BENCH_OPT_PATTERN | BENCH_OPT_BUFFER | BENCH_OPT_PATH | BENCH_OPT_PACED, argc,
                  argv);
    if (!opts.pattern)
        opts.pattern = opts.job == BENCH_RTT ? "pair" : "push";
    peer = bench_peer_start(&opts, rival_peer, NULL);
    ctx = zmq_ctx_new();
    sock = rival_open(&opts, ctx, 0);
    snprintf(addr, sizeof(addr), "%s%s", opts.path ? "ipc://" : "tcp://127.0.0.1:*",
             opts.path ? opts.path : "");
    rival_check(zmq_bind(sock, addr) == 0, "zmq_bind");
    rival_check(zmq_getsockopt(sock, ZMQ_LAST_ENDPOINT, addr, &len) == 0, "address");
    bench_tell(peer.fd, addr, sizeof(addr));
    if (opts.job != BENCH_ONEWAY) {
        bench_samples_init(&samples, opts.count);
        result.samples = &samples;
    }
    snprintf(result.settings, sizeof(result.settings), "%s, high-water mark %d", opts.pattern,
             opts.buffer < 0 ? 1000 : opts.buffer);
    bench_cpu_start();
    rival_measure(&opts, sock, &result);
    bench_tell(peer.fd, "d", 1);
    bench_peer_wait(&peer);
    zmq_close(sock);
    zmq_ctx_term(ctx);
    bench_print(&opts, &result);
    return 0;
}
