/* The measure for netqueue over tcp: the least that a C program can do with sockets; with
 * --pattern unix a pair of unix sockets, which is what processes of one host have without shared
 * memory.
 *
 *   rtt     one message there and back, a send() and a recv() on each side
 *   oneway  below 4 KiB: a 16-byte header (length, sequence number) and the payload,
 *           --batch of them copied into one page-aligned buffer and written at once;
 *           the receiver walks the headers of whatever a read brought and checks them.
 *           From 4 KiB on: no header, the pages of --batch messages in one writev();
 *           the receiver counts bytes.
 *   paced   as oneway with headers; what is due goes in one write
 *
 * Best settings known: TCP_NODELAY, cubic where the kernel has it (bbr paces loopback),
 * buffers that begin on a page on both sides (some copies in the kernel are slow in other
 * positions), blocking calls where the job sleeps: one system call less than poll. */
#include "pair.h"
#include "report.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define RAW_FRAMED 4096 /* below this size messages have headers */

struct raw_header {
    uint64_t len, seq;
};

/* ---- sockets ------------------------------------------------------------------------ */

static const char *raw_congestion(int fd, char name[static 16])
{
    socklen_t len = 15;

    if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len) != 0)
        return "unknown";
    name[len] = '\0';
    return name;
}

static void raw_send(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

        if (n < 0 && errno != EINTR)
            bench_die("send", NULL);
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
}

/* One read of at most `len` bytes, waiting as the options say; 0 at the end. */
static size_t raw_recv(const struct bench_opts *opts, int fd, char *data, size_t len)
{
    int64_t until = 0;
    int flags = opts->wait == BENCH_SLEEP ? 0 : MSG_DONTWAIT;

    for (;;) {
        ssize_t n = recv(fd, data, len, flags);

        if (n >= 0)
            return (size_t)n;
        if (errno != EAGAIN && errno != EINTR)
            bench_die("recv", NULL);
        if (opts->wait == BENCH_SPIN || flags == 0)
            continue;
        if (until == 0)
            until = bench_now_ns() + opts->spin_ns;
        else if (bench_now_ns() >= until)
            flags = 0;
    }
}

static void raw_recv_all(const struct bench_opts *opts, int fd, char *data, size_t len)
{
    while (len > 0) {
        size_t n = raw_recv(opts, fd, data, len);

        if (n == 0)
            bench_die("recv", "the other side has gone");
        data += n;
        len -= n;
    }
}

/* ---- rtt ---------------------------------------------------------------------------- */

static void raw_echo(const struct bench_opts *opts, int fd, void *arg)
{
    struct bench_pair *pair = arg;
    char *buf = bench_pages(opts->size);

    (void)fd;
    close(pair->fd[0]);
    for (uint64_t i = 0; i < opts->warmup + opts->count; i++) {
        raw_recv_all(opts, pair->fd[1], buf, opts->size);
        raw_send(pair->fd[1], buf, opts->size);
    }
}

static void raw_rtt(const struct bench_opts *opts, int fd, struct bench_result *result)
{
    char *buf = bench_pages(opts->size);
    int64_t start = 0, last = 0;

    for (uint64_t i = 0; i < opts->warmup + opts->count; i++) {
        int64_t now;

        if (i == opts->warmup)
            start = last = bench_now_ns();
        raw_send(fd, buf, opts->size);
        raw_recv_all(opts, fd, buf, opts->size);
        if (i < opts->warmup)
            continue;
        now = bench_now_ns();
        bench_samples_add(result->samples, now - last);
        last = now;
    }
    result->messages = opts->count;
    result->seconds = (double)(last - start) / 1e9;
}

/* ---- oneway: small messages ----------------------------------------------------------- */

static void raw_send_framed(const struct bench_opts *opts, int fd)
{
    size_t record = sizeof(struct raw_header) + opts->size;
    uint64_t total = opts->warmup + opts->count;
    char *buf = bench_pages(record * opts->batch);
    char *payload = bench_pages(opts->size);

    for (uint64_t seq = 0; seq < total;) {
        uint64_t left = total - seq < opts->batch ? total - seq : opts->batch;
        uint64_t n = bench_due(opts, seq, left);

        for (uint64_t i = 0; i < n; i++, seq++) {
            struct raw_header header = {.len = opts->size, .seq = seq};

            memcpy(buf + i * record, &header, sizeof(header));
            memcpy(buf + i * record + sizeof(header), payload, opts->size);
        }
        raw_send(fd, buf, n * record);
    }
}

/* Walk the whole records in `len` bytes.  @return bytes used up */
static size_t raw_walk(const struct bench_opts *opts, const char *buf, size_t len, uint64_t *seq,
                       struct bench_result *result)
{
    size_t at = 0;

    for (;;) {
        struct raw_header header;

        if (len - at < sizeof(header))
            return at;
        memcpy(&header, buf + at, sizeof(header));
        if (header.len != opts->size || header.seq != *seq)
            bench_die("oneway", "a message is wrong, lost or doubled");
        if (len - at - sizeof(header) < header.len)
            return at;
        at += sizeof(header) + header.len;
        bench_arrived(opts, result, (*seq)++);
    }
}

static void raw_recv_framed(const struct bench_opts *opts, int fd, struct bench_result *result)
{
    size_t cap = opts->read_size + sizeof(struct raw_header) + opts->size, have = 0;
    uint64_t seq = 0, first = 0, total = opts->warmup + opts->count;
    char *buf = bench_pages(cap);
    int64_t start = 0;

    while (seq < total) {
        size_t n = raw_recv(opts, fd, buf + have, opts->read_size), used;

        if (n == 0)
            bench_die("recv", "the other side has gone");
        used = raw_walk(opts, buf, have + n, &seq, result);
        have = have + n - used;
        memmove(buf, buf + used, have);
        if (start == 0 && seq >= opts->warmup) {
            start = bench_now_ns();
            first = seq;
        }
    }
    result->seconds = (double)(bench_now_ns() - start) / 1e9;
    result->messages = total - first;
}

/* ---- oneway: large messages ------------------------------------------------------------ */

static void raw_writev_all(int fd, struct iovec *iov, int n)
{
    while (n > 0) {
        ssize_t sent = writev(fd, iov, n);

        if (sent < 0 && errno != EINTR)
            bench_die("writev", NULL);
        for (size_t left = sent < 0 ? 0 : (size_t)sent; n > 0 && left > 0;) {
            size_t step = left < iov->iov_len ? left : iov->iov_len;

            iov->iov_base = (char *)iov->iov_base + step;
            iov->iov_len -= step;
            left -= step;
            if (iov->iov_len == 0) {
                iov++;
                n--;
            }
        }
    }
}

static void raw_send_plain(const struct bench_opts *opts, int fd)
{
    uint64_t total = opts->warmup + opts->count;
    char *payload = bench_pages(opts->size);
    struct iovec iov[1024] = {0};

    for (uint64_t seq = 0; seq < total;) {
        int n = 0;

        for (; n < (int)opts->batch && seq < total; n++, seq++)
            iov[n] = (struct iovec){.iov_base = payload, .iov_len = opts->size};
        raw_writev_all(fd, iov, n);
    }
}

struct raw_source {
    const struct bench_opts *opts;
    int fd;
};

static size_t raw_recv_some(void *arg, char *buf, size_t len)
{
    const struct raw_source *source = arg;

    return raw_recv(source->opts, source->fd, buf, len);
}

static void raw_recv_plain(const struct bench_opts *opts, int fd, struct bench_result *result)
{
    struct raw_source source = {opts, fd};

    bench_count_bytes(opts, raw_recv_some, &source, result);
}

static void raw_sender(const struct bench_opts *opts, int fd, void *arg)
{
    struct bench_pair *pair = arg;

    (void)fd;
    close(pair->fd[0]);
    if (opts->size < RAW_FRAMED)
        raw_send_framed(opts, pair->fd[1]);
    else
        raw_send_plain(opts, pair->fd[1]);
}

/* ---- the program -------------------------------------------------------------------------- */

static void raw_settings(const struct bench_opts *opts, int fd, struct bench_result *result)
{
    static const char *const waits[] = {"sleep", "spin", "adaptive"};
    char name[16];
    int n = snprintf(result->settings, sizeof(result->settings), "%s, %s",
                     opts->pattern ? opts->pattern : raw_congestion(fd, name), waits[opts->wait]);
    char *at = result->settings + n;
    size_t room = sizeof(result->settings) - (size_t)n;

    if (opts->job != BENCH_RTT)
        snprintf(at, room, ", batch %u, read %zu", opts->batch, opts->read_size);
    else if (opts->wait == BENCH_ADAPTIVE)
        snprintf(at, room, " %lld us", (long long)opts->spin_ns / 1000);
}

int main(int argc, char **argv)
{
    struct bench_opts opts;
    struct bench_samples samples;
    struct bench_result result = {.program = "raw"};
    struct bench_peer peer;
    struct bench_pair pair;

    bench_options(&opts, "raw_tcp",
                  BENCH_OPT_WAIT | BENCH_OPT_BATCH | BENCH_OPT_READ | BENCH_OPT_PATTERN |
                      BENCH_OPT_PACED,
                  argc, argv);
    if (opts.pattern && strcmp(opts.pattern, "unix") != 0)
        bench_die("--pattern", "only unix");
    if (opts.job == BENCH_PACED && opts.size >= RAW_FRAMED)
        bench_die("--size", "less than 4096 by schedule");
    pair = opts.pattern ? bench_pair_unix() : bench_pair_connect();
    raw_settings(&opts, pair.fd[0], &result);
    peer = bench_peer_start(&opts, opts.job == BENCH_RTT ? raw_echo : raw_sender, &pair);
    close(pair.fd[1]);
    if (opts.job != BENCH_ONEWAY) {
        bench_samples_init(&samples, opts.count);
        result.samples = &samples;
    }
    bench_cpu_start();
    if (opts.job == BENCH_RTT)
        raw_rtt(&opts, pair.fd[0], &result);
    else if (opts.size < RAW_FRAMED)
        raw_recv_framed(&opts, pair.fd[0], &result);
    else
        raw_recv_plain(&opts, pair.fd[0], &result);
    bench_peer_wait(&peer);
    bench_print(&opts, &result);
    return 0;
}
