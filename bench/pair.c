/* See pair.h. */
#include "pair.h"
#include "report.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

static void pair_tune(int fd)
{
    int one = 1;

    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0)
        bench_die("TCP_NODELAY", NULL);
    /* Not loaded or not allowed: the system's default it is; the report names it. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
}

struct bench_pair bench_pair_connect(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    struct bench_pair pair;
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    if (listener < 0)
        bench_die("socket", NULL);
    pair_tune(listener);
    if (bind(listener, (struct sockaddr *)&addr, len) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&addr, &len) != 0)
        bench_die("listen", NULL);

    pair.fd[0] = socket(AF_INET, SOCK_STREAM, 0);
    if (pair.fd[0] < 0)
        bench_die("socket", NULL);
    pair_tune(pair.fd[0]);
    if (connect(pair.fd[0], (struct sockaddr *)&addr, len) != 0)
        bench_die("connect", NULL);
    pair.fd[1] = accept(listener, NULL, NULL);
    if (pair.fd[1] < 0)
        bench_die("accept", NULL);
    pair_tune(pair.fd[1]);
    close(listener);
    return pair;
}

struct bench_pair bench_pair_unix(void)
{
    struct bench_pair pair;

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair.fd) != 0)
        bench_die("socketpair", NULL);
    return pair;
}

void bench_count_bytes(const struct bench_opts *opts, bench_receive_fn receive, void *arg,
                       struct bench_result *result)
{
    uint64_t skip = opts->warmup * opts->size, total = skip + opts->count * opts->size;
    uint64_t got = 0, first = 0;
    char *buf = bench_pages(opts->read_size);
    int64_t start = 0;

    while (got < total) {
        size_t n = receive(arg, buf, opts->read_size);

        if (n == 0)
            bench_die("receive", "the other side has gone");
        got += n;
        if (start == 0 && got >= skip) {
            start = bench_now_ns();
            first = got;
        }
    }
    result->seconds = (double)(bench_now_ns() - start) / 1e9;
    result->messages = (total - first) / opts->size;
}
