/* What many peers cost a server: netqueue, or with --bare the sockets and nothing else.
 *
 *   spread     a message to one client, which sends it back; then to another one far away in the
 *              list: the cost of a message among many peers
 *   broadcast  a message to all of them; the last one that gets it sends it back
 *   idle       nobody says anything, and the server waits for a message: what is left is
 *              keep-alive
 *
 * Nobody spins, but for the server that is idle and waits as it does by default.  The figures: how
 * long a round took, processor time of the server alone for each message or of each second, how
 * long it took until all were attached, and what one more of them cost the server's heap. */
#include "bench/peers.h"
#include "bench/report.h"
#include <arpa/inet.h>
#include <getopt.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netqueue/netqueue.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PEERS_FIRST 16 /* clients before the first look at memory */
#define PEERS_WARM_ROUNDS UINT64_C(20)
#define PEERS_WARM_MOST 20000
#define PEERS_STRIDE 7919    /* a prime: from one client to the next */
#define PEERS_PATIENCE_S 120 /* until all have come */
#define PEERS_WAIT_NS (10 * INT64_C(1000000000))
/* The timer of a greeting is not taken back when it was in time, but fires and finds nothing.  That
 * is the end of connecting, not idleness. */
#define PEERS_GREETING_S 12

struct server {
    const struct peers *peers;
    int listener, set; /* bare: and the clients' sockets */
    int *fds;
    nq_queue *queue; /* else: and the clients' ids */
    nq_uuid *ids;
    unsigned there; /* clients that have come */
    char *buf;      /* of the size of a message */
};

void peers_pin(const struct peers *peers, int end)
{
    cpu_set_t set;

    if (peers->cpu[end] < 0)
        return;
    CPU_ZERO(&set);
    CPU_SET((size_t)peers->cpu[end], &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0)
        bench_die("--pin", NULL);
}

void peers_config(const struct peers *peers, const char *purpose, const char *more,
                  char text[PEERS_CONFIG])
{
    snprintf(text, PEERS_CONFIG,
             "{\"purpose\": \"%s\", \"transports\": [{\"transport\": \"%s\", %s}], "
             "\"session\": {\"keepalive\": \"%s\"}%s}",
             purpose, peers->transport, peers->place, peers->keepalive, more);
}

/* ---- the server of sockets --------------------------------------------------------------- */

static int bare_listen(struct peers *peers)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, len) != 0 || listen(fd, 4096) != 0 ||
        getsockname(fd, (struct sockaddr *)&addr, &len) != 0)
        bench_die("listen", NULL);
    peers->port = ntohs(addr.sin_port);
    return fd;
}

static void bare_accept(struct server *server, unsigned count)
{
    for (int one = 1; server->there < count; server->there++) {
        int fd = accept(server->listener, NULL, NULL);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

        if (fd < 0 || epoll_ctl(server->set, EPOLL_CTL_ADD, fd, &event) != 0)
            bench_die("accept", NULL);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        server->fds[server->there] = fd;
    }
}

static void bare_send(const struct server *server, unsigned peer)
{
    size_t size = server->peers->size;

    if (send(server->fds[peer], server->buf, size, MSG_NOSIGNAL) != (ssize_t)size)
        bench_die("send", NULL);
}

static void bare_hear(const struct server *server)
{
    struct epoll_event event;
    size_t size = server->peers->size;

    if (epoll_wait(server->set, &event, 1, (int)(PEERS_WAIT_NS / 1000000)) != 1 ||
        recv(event.data.fd, server->buf, size, MSG_WAITALL) != (ssize_t)size)
        bench_die("answer", "did not come");
}

/* ---- the server of netqueue --------------------------------------------------------------- */

static void queue_open(struct server *server)
{
    char text[PEERS_CONFIG];

    peers_config(server->peers, "server",
                 server->peers->job == PEERS_IDLE ? "" : ", \"progress\": {\"spin\": \"off\"}",
                 text);
    if (nq_open_json(text, strlen(text), &server->queue) != NQ_OK)
        bench_die("server", nq_error());
}

static void queue_accept(struct server *server, unsigned count)
{
    int64_t until = bench_now_ns() + PEERS_PATIENCE_S * INT64_C(1000000000);
    struct nq_event event;

    for (; server->there < count; server->there += event.kind == NQ_EVENT_PEER_UP) {
        nq_err err = nq_event_get(server->queue, PEERS_WAIT_NS, &event);

        if (err < 0 || err == NQ_END || bench_now_ns() > until)
            bench_die("clients", err < 0 ? nq_error() : "do not come");
        if (err != NQ_OK)
            event.kind = NQ_EVENT_PEER_GONE;
    }
}

static void queue_list(struct server *server)
{
    struct nq_peer_info *infos = calloc(server->there, sizeof(*infos));
    size_t n = 0;

    if (!infos || nq_peers(server->queue, infos, server->there, &n) != NQ_OK || n != server->there)
        bench_die("peers", "are not all there");
    for (size_t i = 0; i < n; i++)
        server->ids[i] = infos[i].id;
    free(infos);
}

/* @param id  NULL = all of them */
static void queue_send(const struct server *server, const nq_uuid *id)
{
    nq_msg *msg = NULL;

    if (nq_msg_new(server->buf, server->peers->size, &msg) != NQ_OK ||
        nq_put(server->queue, msg, id, id ? 1 : 0, NULL) != NQ_OK)
        bench_die("put", nq_error());
}

static void queue_hear(const struct server *server)
{
    nq_msg *msg = NULL;

    if (nq_get(server->queue, NULL, 0, PEERS_WAIT_NS, &msg) != NQ_OK)
        bench_die("answer", "did not come");
    nq_msg_free(msg);
}

/* As a server does that has nothing to do. */
static void queue_rest(const struct server *server, unsigned seconds)
{
    nq_msg *msg = NULL;

    if (nq_get(server->queue, NULL, 0, seconds * INT64_C(1000000000), &msg) != NQ_AGAIN)
        bench_die("idle", "something came");
}

/* ---- either ------------------------------------------------------------------------------- */

static void server_accept(struct server *server, unsigned count)
{
    peers_order(server->peers, count - server->there);
    (server->peers->bare ? bare_accept : queue_accept)(server, count);
}

static void server_round(const struct server *server, uint64_t number)
{
    const struct peers *peers = server->peers;
    unsigned to = (unsigned)(number * PEERS_STRIDE % peers->peers);

    if (peers->bare && peers->job == PEERS_SPREAD)
        bare_send(server, to);
    else if (peers->bare)
        for (unsigned i = 0; i < peers->peers; i++)
            bare_send(server, i);
    else
        queue_send(server, peers->job == PEERS_SPREAD ? &server->ids[to] : NULL);
    (peers->bare ? bare_hear : queue_hear)(server);
}

static double server_cpu_s(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static size_t server_heap(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

struct figures {
    double attach_s, seconds, cpu_s, heap; /* bytes for one more client; below 0 = not known */
    struct bench_samples samples;
};

/* A few come first, so that pools and tables are there when memory is looked at. */
static void server_attach(struct server *server, struct figures *figures)
{
    unsigned peers = server->peers->peers, first = peers > 2 * PEERS_FIRST ? PEERS_FIRST : 0;
    int64_t start = bench_now_ns();
    size_t heap;

    server_accept(server, first);
    heap = server_heap();
    server_accept(server, peers);
    figures->heap = first ? ((double)server_heap() - (double)heap) / (peers - first) : -1;
    figures->attach_s = (double)(bench_now_ns() - start) / 1e9;
    if (!server->peers->bare)
        queue_list(server);
}

static void server_run(struct server *server, struct figures *figures)
{
    const struct peers *peers = server->peers;
    int64_t start = 0, last = 0;

    bench_samples_init(&figures->samples, peers->count);
    for (uint64_t i = 0; i < peers->warmup + peers->count; i++) {
        if (i == peers->warmup) {
            start = last = bench_now_ns();
            figures->cpu_s = server_cpu_s();
        }
        server_round(server, i);
        if (i >= peers->warmup) {
            int64_t now = bench_now_ns();

            bench_samples_add(&figures->samples, now - last);
            last = now;
        }
    }
    figures->seconds = (double)(last - start) / 1e9;
    figures->cpu_s = server_cpu_s() - figures->cpu_s;
}

struct idleness {
    double cpu_s, seconds;
    struct nq_stats stats; /* of the time before, while it goes on; then of it */
};

static struct nq_stats idle_stats(const struct server *server)
{
    struct nq_stats stats = {0};

    if (nq_stats(server->queue, &stats) != NQ_OK || stats.peers != server->peers->peers)
        bench_die("clients", "went away");
    return stats;
}

static void idle_run(const struct server *server, struct idleness *idle)
{
    struct nq_stats after;
    int64_t start;

    queue_rest(server, PEERS_GREETING_S);
    idle->stats = idle_stats(server);
    idle->cpu_s = server_cpu_s();
    start = bench_now_ns();
    queue_rest(server, server->peers->seconds);
    idle->cpu_s = server_cpu_s() - idle->cpu_s;
    idle->seconds = (double)(bench_now_ns() - start) / 1e9;
    after = idle_stats(server);
    idle->stats.send_calls = after.send_calls - idle->stats.send_calls;
    idle->stats.recv_calls = after.recv_calls - idle->stats.recv_calls;
    idle->stats.sleeps = after.sleeps - idle->stats.sleeps;
}

static void idle_print(const struct peers *peers, const struct figures *figures,
                       const struct idleness *idle)
{
    printf("{\"program\": \"peers\", \"job\": \"idle\", \"settings\": \"%s, keepalive %s\", "
           "\"peers\": %u, \"seconds\": %.3f, \"cpu_percent\": %.4f, \"cpu_us_per_send\": %.2f, "
           "\"sends\": %llu, \"receives\": %llu, \"sleeps\": %llu, \"attach_s\": %.4f}\n",
           peers->transport, peers->keepalive, peers->peers, idle->seconds,
           100 * idle->cpu_s / idle->seconds,
           idle->stats.send_calls ? 1e6 * idle->cpu_s / (double)idle->stats.send_calls : 0,
           (unsigned long long)idle->stats.send_calls, (unsigned long long)idle->stats.recv_calls,
           (unsigned long long)idle->stats.sleeps, figures->attach_s);
}

static void server_print(const struct peers *peers, struct figures *figures)
{
    double round = peers->job == PEERS_SPREAD ? 2 : (double)peers->peers + 1;
    double messages = round * (double)peers->count;
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    printf("{\"program\": \"peers\", \"job\": \"%s\", \"settings\": \"%s\", \"peers\": %u, "
           "\"size\": %zu, \"messages\": %.0f, \"seconds\": %.6f, \"messages_per_s\": %.1f, "
           "\"bytes_per_s\": %.0f, ",
           peers->job == PEERS_SPREAD ? "spread" : "broadcast",
           peers->bare ? "bare" : peers->transport, peers->peers, peers->size, messages,
           figures->seconds, messages / figures->seconds,
           messages * (double)peers->size / figures->seconds);
    printf("\"p50_us\": %.2f, \"p99_us\": %.2f, \"p999_us\": %.2f, \"cpu_us_per_message\": %.4f, "
           "\"peak_rss_bytes\": %ld, \"attach_s\": %.4f, \"heap_bytes_per_peer\": ",
           bench_percentile_us(&figures->samples, 0.5),
           bench_percentile_us(&figures->samples, 0.99),
           bench_percentile_us(&figures->samples, 0.999), figures->cpu_s * 1e6 / messages,
           1024 * use.ru_maxrss, figures->attach_s);
    printf(figures->heap < 0 ? "null}\n" : "%.0f}\n", figures->heap);
}

/* ---- the program ---------------------------------------------------------------------------- */

static uint64_t peers_number(const char *name, const char *text, uint64_t min, uint64_t max)
{
    char *end = NULL;
    uint64_t value = strtoull(text, &end, 10);

    if (end == text || *end || value < min || value > max)
        bench_die(name, "not a number in its range");
    return value;
}

static bool peers_job(const char *name, enum peers_job *ret)
{
    static const char *const names[] = {"spread", "broadcast", "idle"};

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(name, names[i]) == 0) {
            *ret = (enum peers_job)i;
            return true;
        }
    return false;
}

/* Everybody has had messages before one is measured: what the first ones cost (memory that is
 * touched for the first time, a better way to be woken) is no cost of many peers. */
static uint64_t peers_warmup(const struct peers *peers)
{
    uint64_t warmup = peers->count / 10 + 1;

    if (peers->job != PEERS_SPREAD)
        return warmup;
    if (warmup < PEERS_WARM_ROUNDS * peers->peers)
        warmup = PEERS_WARM_ROUNDS * peers->peers;
    if (warmup > PEERS_WARM_MOST)
        warmup = PEERS_WARM_MOST;
    return warmup < peers->peers ? peers->peers : warmup;
}

static void peers_options(struct peers *peers, int argc, char **argv)
{
    static const struct option table[] = {
        {"peers", required_argument, NULL, 'p'},
        {"count", required_argument, NULL, 'n'},
        {"size", required_argument, NULL, 's'},
        {"pin", required_argument, NULL, 'c'},
        {"transport", required_argument, NULL, 't'},
        {"seconds", required_argument, NULL, 'l'},
        {"keepalive", required_argument, NULL, 'k'},
        {"bare", no_argument, NULL, 'b'},
        {NULL, 0, NULL, 0},
    };
    int key;

    *peers = (struct peers){.transport = "tcp",
                            .peers = 100,
                            .size = 64,
                            .count = 1000,
                            .seconds = 30,
                            .keepalive = "off",
                            .cpu = {-1, -1}};
    while ((key = getopt_long(argc, argv, "", table, NULL)) != -1) {
        if (key == 'p')
            peers->peers = (unsigned)peers_number("--peers", optarg, 1, PEERS_MAX);
        else if (key == 'n')
            peers->count = peers_number("--count", optarg, 1, 1u << 30);
        else if (key == 's')
            peers->size = peers_number("--size", optarg, 1, 1u << 20);
        else if (key == 'c' && sscanf(optarg, "%d,%d", &peers->cpu[0], &peers->cpu[1]) != 2)
            bench_die("--pin", "two CPU numbers are needed, as 0,1");
        else if (key == 't')
            peers->transport = optarg;
        else if (key == 'l')
            peers->seconds = (unsigned)peers_number("--seconds", optarg, 1, 3600);
        else if (key == 'k')
            peers->keepalive = optarg;
        else if (key == 'b')
            peers->bare = true;
        else if (key == '?')
            exit(2);
    }
    if (optind + 1 != argc || !peers_job(argv[optind], &peers->job) ||
        (peers->job == PEERS_IDLE && peers->bare))
        bench_die("usage", "peers spread|broadcast [--peers N] [--count N] [--size BYTES] "
                           "[--transport tcp|shm] [--bare] [--pin A,B]\n"
                           "       peers idle [--peers N] [--seconds N] [--keepalive TIME] "
                           "[--transport tcp|shm] [--pin A,B]");
    peers->warmup = peers_warmup(peers);
}

/* Where the server is, once somebody has listened there. */
static void peers_place(struct peers *peers, const char *folder)
{
    if (strcmp(peers->transport, "shm") == 0)
        snprintf(peers->place, sizeof(peers->place), "\"path\": \"%s/queue.sock\"", folder);
    else
        snprintf(peers->place, sizeof(peers->place), "\"host\": \"127.0.0.1\", \"port\": %u",
                 peers->port);
}

static void peers_raise_files(const struct peers *peers)
{
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < 4 * peers->peers + 64 && limit.rlim_cur < peers->peers + 1024)
        bench_die("open files", "the hard limit is too low (ulimit -Hn)");
}

int main(int argc, char **argv)
{
    char folder[] = "/tmp/netqueue-peers-XXXXXX";
    struct server server = {.set = epoll_create1(EPOLL_CLOEXEC)};
    struct figures figures = {0};
    struct idleness idle = {0};
    struct peers peers;

    peers_options(&peers, argc, argv);
    peers_raise_files(&peers);
    server.peers = &peers;
    server.fds = calloc(peers.peers, sizeof(*server.fds));
    server.ids = calloc(peers.peers, sizeof(*server.ids));
    server.buf = bench_pages(peers.size);
    peers.heard =
        mmap(NULL, sizeof(*peers.heard), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!server.fds || !server.ids || peers.heard == MAP_FAILED || !mkdtemp(folder))
        bench_die("memory or a folder", NULL);
    server.listener = bare_listen(&peers);
    if (!peers.bare)
        close(server.listener); /* the port is netqueue's then */
    peers_place(&peers, folder);
    peers_fork(&peers);
    peers_pin(&peers, 0);
    if (!peers.bare)
        queue_open(&server);
    server_attach(&server, &figures);
    if (peers.job == PEERS_IDLE)
        idle_run(&server, &idle);
    else
        server_run(&server, &figures);
    peers_end(&peers);
    nq_free(server.queue);
    rmdir(folder);
    free(server.fds);
    free(server.ids);
    if (peers.job == PEERS_IDLE)
        idle_print(&peers, &figures, &idle);
    else
        server_print(&peers, &figures);
    return 0;
}
