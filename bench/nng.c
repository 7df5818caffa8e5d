/* The rival NNG, with its default settings (its own threads, TCP_NODELAY on, its own
 * queue lengths; a sender that finds them full waits, so nothing is dropped).
 *
 * Patterns: rtt over pair0, oneway and paced over push0/pull0; --pattern pair0|pair1|push tries
 * another.  Messages move by nng_sendmsg() and nng_recvmsg(), which hand memory over
 * without copying; rtt sends the very message that came back.  A sender has to allocate
 * each message, because the library frees what it has sent; it does not fill them. */
#include "report.h"
#include <malloc.h>
#include <nng/nng.h>
#include <nng/protocol/pair0/pair.h>
#include <nng/protocol/pair1/pair.h>
#include <nng/protocol/pipeline0/pull.h>
#include <nng/protocol/pipeline0/push.h>
#include <stdio.h>
#include <string.h>

typedef int (*rival_open_fn)(nng_socket *);

/* How to open the two ends: the measuring process, the other. */
static const struct {
    const char *name;
    rival_open_fn open[2];
    bool both_ways;
} rival_patterns[] = {
    {"pair0", {nng_pair0_open, nng_pair0_open}, true},
    {"pair1", {nng_pair1_open, nng_pair1_open}, true},
    {"push", {nng_pull0_open, nng_push0_open}, false},
};

static void rival_check(int err, const char *what)
{
    if (err != 0)
        bench_die(what, nng_strerror(err));
}

static nng_socket rival_open(const struct bench_opts *opts, int end)
{
    nng_socket sock = NNG_SOCKET_INITIALIZER;

    for (size_t i = 0; i < sizeof(rival_patterns) / sizeof(rival_patterns[0]); i++) {
        if (strcmp(rival_patterns[i].name, opts->pattern) != 0 ||
            (!rival_patterns[i].both_ways && opts->job == BENCH_RTT))
            continue;
        rival_check(rival_patterns[i].open[end](&sock), "open");
        /* Not every pattern has both queues: what it does not have it need not set. */
        if (opts->buffer >= 0) {
            (void)nng_socket_set_int(sock, NNG_OPT_SENDBUF, opts->buffer);
            (void)nng_socket_set_int(sock, NNG_OPT_RECVBUF, opts->buffer);
        }
        /* Its default refuses messages above 1 MiB (0 = no limit). */
        rival_check(nng_socket_set_size(sock, NNG_OPT_RECVMAXSZ, 0), "receive limit");
        return sock;
    }
    bench_die("--pattern", "not pair0, pair1 or (not rtt) push");
}

static void rival_send(nng_socket sock, nng_msg *msg)
{
    rival_check(nng_sendmsg(sock, msg, 0), "nng_sendmsg");
}

static nng_msg *rival_alloc(const struct bench_opts *opts)
{
    nng_msg *msg = NULL;

    rival_check(nng_msg_alloc(&msg, opts->size), "nng_msg_alloc");
    return msg;
}

static nng_msg *rival_recv(const struct bench_opts *opts, nng_socket sock)
{
    nng_msg *msg = NULL;

    rival_check(nng_recvmsg(sock, &msg, 0), "nng_recvmsg");
    if (nng_msg_len(msg) != opts->size)
        bench_die("message", "has the wrong size");
    return msg;
}

/* Large messages stay on the heap: an mmap for each of them would be the allocator's
 * cost, not the rival's. */
static void rival_heap(void)
{
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
}

/* ---- the other process ------------------------------------------------------------- */

static void rival_peer(const struct bench_opts *opts, int fd, void *arg)
{
    nng_socket sock;
    char addr[BENCH_PATH_MAX], done;

    (void)arg;
    rival_heap();
    sock = rival_open(opts, 1);
    bench_hear(fd, addr, sizeof(addr));
    rival_check(nng_dial(sock, addr, NULL, 0), addr);
    for (uint64_t i = 0; i < opts->warmup + opts->count; i++) {
        bench_due(opts, i, 1);
        rival_send(sock, opts->job == BENCH_RTT ? rival_recv(opts, sock) : rival_alloc(opts));
    }
    bench_hear(fd, &done, 1); /* all of it has arrived: closing would drop the rest */
    nng_close(sock);
}

/* ---- the measuring process ------------------------------------------------------------ */

static void rival_rtt(const struct bench_opts *opts, nng_socket sock, struct bench_result *result)
{
    nng_msg *msg = rival_alloc(opts);
    int64_t start = 0, last = 0;

    memset(nng_msg_body(msg), 7, opts->size);
    for (uint64_t i = 0; i < opts->warmup + opts->count; i++) {
        int64_t now;

        if (i == opts->warmup)
            start = last = bench_now_ns();
        rival_send(sock, msg);
        msg = rival_recv(opts, sock);
        if (i < opts->warmup)
            continue;
        now = bench_now_ns();
        bench_samples_add(result->samples, now - last);
        last = now;
    }
    nng_msg_free(msg);
    result->seconds = (double)(last - start) / 1e9;
    result->messages = opts->count;
}

static void rival_oneway(const struct bench_opts *opts, nng_socket sock,
                         struct bench_result *result)
{
    int64_t start = 0;

    for (uint64_t i = 0; i < opts->warmup + opts->count; i++) {
        if (i == opts->warmup)
            start = bench_now_ns();
        nng_msg_free(rival_recv(opts, sock));
        bench_arrived(opts, result, i);
    }
    result->seconds = (double)(bench_now_ns() - start) / 1e9;
    result->messages = opts->count;
}

int main(int argc, char **argv)
{
    struct bench_opts opts;
    struct bench_samples samples;
    struct bench_result result = {.program = "nng"};
    struct bench_peer peer;
    nng_listener listener;
    nng_socket sock;
    char addr[BENCH_PATH_MAX] = {0};
    int port = 0;

    bench_options(&opts, "nng",
                  BENCH_OPT_PATTERN | BENCH_OPT_BUFFER | BENCH_OPT_PATH | BENCH_OPT_PACED, argc,
                  argv);
    if (!opts.pattern)
        opts.pattern = opts.job == BENCH_RTT ? "pair0" : "push";
    peer = bench_peer_start(&opts, rival_peer, NULL);
    rival_heap();
    sock = rival_open(&opts, 0);
    snprintf(addr, sizeof(addr), "%s%s", opts.path ? "ipc://" : "tcp://127.0.0.1:0",
             opts.path ? opts.path : "");
    rival_check(nng_listen(sock, addr, &listener, 0), "nng_listen");
    if (!opts.path) {
        rival_check(nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port), "port");
        snprintf(addr, sizeof(addr), "tcp://127.0.0.1:%d", port);
    }
    bench_tell(peer.fd, addr, sizeof(addr));
    snprintf(result.settings, sizeof(result.settings), "%s, queues %s", opts.pattern,
             opts.buffer < 0 ? "default" : "set");
    if (opts.job != BENCH_ONEWAY) {
        bench_samples_init(&samples, opts.count);
        result.samples = &samples;
    }
    bench_cpu_start();
    if (opts.job == BENCH_RTT)
        rival_rtt(&opts, sock, &result);
    else
        rival_oneway(&opts, sock, &result);
    bench_tell(peer.fd, "d", 1);
    bench_peer_wait(&peer);
    nng_close(sock);
    bench_print(&opts, &result);
    return 0;
}
