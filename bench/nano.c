/* The rival nanomsg, with its default settings but for TCP_NODELAY, which it leaves off (its own
 * threads; a sender that finds its queues full waits, so nothing is dropped).
 *
 * Patterns: rtt over PAIR, oneway and paced over PUSH/PULL; --pattern pair|push tries another.
 * Messages are the library's own memory (NN_MSG), which changes hands without a copy; rtt sends the
 * very message that came back.  A sender has to allocate each, because the library frees what it
 * has sent; it does not fill them. */
#include "report.h"
#include <errno.h>
#include <nanomsg/nn.h>
#include <nanomsg/pair.h>
#include <nanomsg/pipeline.h>
#include <nanomsg/tcp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void rival_check(bool good, const char *what)
{
    if (!good)
        bench_die(what, nn_strerror(nn_errno()));
}

static void rival_set(int sock, int level, int option, int value)
{
    rival_check(nn_setsockopt(sock, level, option, &value, sizeof(value)) == 0, "nn_setsockopt");
}

/* @param end  0 = the measuring process, 1 = the other */
static int rival_open(const struct bench_opts *opts, int end)
{
    bool push = strcmp(opts->pattern, "push") == 0;
    int sock;

    if ((!push && strcmp(opts->pattern, "pair") != 0) || (push && opts->job == BENCH_RTT))
        bench_die("--pattern", "not pair or (not rtt) push");
    sock = nn_socket(AF_SP, !push ? NN_PAIR : end ? NN_PUSH : NN_PULL);
    rival_check(sock >= 0, "nn_socket");
    if (!opts->path)
        rival_set(sock, NN_TCP, NN_TCP_NODELAY, 1);
    if (end == 0 || !push)
        rival_set(sock, NN_SOL_SOCKET, NN_RCVMAXSIZE, -1);
    /* In bytes; its default is 128 KiB. */
    if (opts->buffer >= 0 && (end == 1 || !push))
        rival_set(sock, NN_SOL_SOCKET, NN_SNDBUF, opts->buffer);
    if (opts->buffer >= 0 && (end == 0 || !push))
        rival_set(sock, NN_SOL_SOCKET, NN_RCVBUF, opts->buffer);
    return sock;
}

/* A port that nobody has now: nanomsg chooses one, but does not say which. */
static unsigned rival_free_port(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, len) != 0 ||
        getsockname(fd, (struct sockaddr *)&addr, &len) != 0)
        bench_die("port", NULL);
    close(fd);
    return ntohs(addr.sin_port);
}

static void *rival_alloc(const struct bench_opts *opts)
{
    void *msg = nn_allocmsg(opts->size, 0);

    rival_check(msg, "nn_allocmsg");
    return msg;
}

static void rival_send(int sock, void *msg)
{
    while (nn_send(sock, &msg, NN_MSG, 0) < 0)
        rival_check(nn_errno() == EINTR, "nn_send");
}

static void *rival_recv(const struct bench_opts *opts, int sock)
{
    void *msg = NULL;
    int len;

    while ((len = nn_recv(sock, &msg, NN_MSG, 0)) < 0)
        rival_check(nn_errno() == EINTR, "nn_recv");
    if ((size_t)len != opts->size)
        bench_die("message", "has the wrong size");
    return msg;
}

/* ---- the other process ------------------------------------------------------------- */

static void rival_peer(const struct bench_opts *opts, int fd, void *arg)
{
    int sock = rival_open(opts, 1);
    char addr[BENCH_PATH_MAX], done;

    (void)arg;
    bench_hear(fd, addr, sizeof(addr));
    rival_check(nn_connect(sock, addr) >= 0, addr);
    for (uint64_t i = 0; i < opts->warmup + opts->count; i++) {
        bench_due(opts, i, 1);
        rival_send(sock, opts->job == BENCH_RTT ? rival_recv(opts, sock) : rival_alloc(opts));
    }
    bench_hear(fd, &done, 1); /* all of it has arrived: closing would drop the rest */
    nn_close(sock);
}

/* ---- the measuring process ------------------------------------------------------------ */

static void rival_measure(const struct bench_opts *opts, int sock, struct bench_result *result)
{
    void *msg = opts->job == BENCH_RTT ? rival_alloc(opts) : NULL;
    int64_t start = 0, last = 0;

    for (uint64_t i = 0; i < opts->warmup + opts->count; i++) {
        int64_t now;

        if (i == opts->warmup)
            start = last = bench_now_ns();
        if (msg)
            rival_send(sock, msg);
        msg = rival_recv(opts, sock);
        bench_arrived(opts, result, i);
        if (opts->job != BENCH_RTT) {
            nn_freemsg(msg);
            msg = NULL;
        } else if (i >= opts->warmup) {
            now = bench_now_ns();
            bench_samples_add(result->samples, now - last);
            last = now;
        }
    }
    result->seconds = (double)(bench_now_ns() - start) / 1e9;
    result->messages = opts->count;
    if (msg)
        nn_freemsg(msg);
}

int main(int argc, char **argv)
{
    struct bench_opts opts;
    struct bench_samples samples;
    struct bench_result result = {.program = "nano"};
    struct bench_peer peer;
    char addr[BENCH_PATH_MAX] = {0};
    int sock;

    bench_options(&opts, "nano",
                  BENCH_OPT_PATTERN | BENCH_OPT_BUFFER | BENCH_OPT_PATH | BENCH_OPT_PACED, argc,
                  argv);
    if (!opts.pattern)
        opts.pattern = opts.job == BENCH_RTT ? "pair" : "push";
    peer = bench_peer_start(&opts, rival_peer, NULL);
    sock = rival_open(&opts, 0);
    if (opts.path)
        snprintf(addr, sizeof(addr), "ipc://%s", opts.path);
    else
        snprintf(addr, sizeof(addr), "tcp://127.0.0.1:%u", rival_free_port());
    rival_check(nn_bind(sock, addr) >= 0, "nn_bind");
    bench_tell(peer.fd, addr, sizeof(addr));
    snprintf(result.settings, sizeof(result.settings), "%s, buffers %s", opts.pattern,
             opts.buffer < 0 ? "default" : "set");
    if (opts.job != BENCH_ONEWAY) {
        bench_samples_init(&samples, opts.count);
        result.samples = &samples;
    }
    bench_cpu_start();
    rival_measure(&opts, sock, &result);
    bench_tell(peer.fd, "d", 1);
    bench_peer_wait(&peer);
    nn_close(sock);
    bench_print(&opts, &result);
    return 0;
}
