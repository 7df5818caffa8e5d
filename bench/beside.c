/* What somebody who behaves badly costs those who do not: the round trips of one client while
 * another process is beside it.
 *
 *   nobody   for comparison
 *   stalled  a client that is stopped (SIGSTOP) when it has attached; the server puts to it until
 * its queue is full, and tries again with each message of the other slow     a client that takes a
 * message each 10 ms, of a server that puts as much as it can hostile  a stranger who connects a
 * thousand times a second, sends what is no greeting or nothing at all, and keeps the last 64
 * connections open
 *
 * The server is one process and one thread, the two others share the second processor; nobody
 * spins. */
#include "bench/report.h"
#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netqueue/netqueue.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BESIDE_WAIT_NS (INT64_C(100) * 1000000)
#define BESIDE_PATIENCE 300 /* of these waits without any message: something is broken */
#define BESIDE_SLOW_NS (10 * 1000000)
#define BESIDE_HOSTILE_NS 1000000
#define BESIDE_HELD 64
#define BESIDE_BULK 65536 /* bytes of a message for the neighbour */
#define BESIDE_GARBAGE 4096
#define BESIDE_CONFIG 512

enum beside_kind { BESIDE_NOBODY, BESIDE_STALLED, BESIDE_SLOW, BESIDE_HOSTILE, BESIDE_KINDS };

static const char *const beside_kinds[] = {"nobody", "stalled", "slow", "hostile"};

struct beside {
    enum beside_kind kind;
    const char *transport;
    size_t size;
    uint64_t count, warmup;
    int cpu[2]; /* of the server, of the others; -1 = wherever */
    char path[108];
    unsigned port;
};

static void beside_pin(const struct beside *beside, int end)
{
    cpu_set_t set;

    if (beside->cpu[end] < 0)
        return;
    CPU_ZERO(&set);
    CPU_SET((size_t)beside->cpu[end], &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0)
        bench_die("--pin", NULL);
}

static void beside_sleep(int64_t ns)
{
    struct timespec ts = {.tv_nsec = ns};

    nanosleep(&ts, NULL);
}

static nq_queue *beside_open(const struct beside *beside, const char *purpose)
{
    char text[BESIDE_CONFIG], place[256];
    nq_queue *queue = NULL;

    if (beside->path[0])
        snprintf(place, sizeof(place), "\"path\": \"%s\"", beside->path);
    else
        snprintf(place, sizeof(place), "\"host\": \"127.0.0.1\", \"port\": %u", beside->port);
    snprintf(text, sizeof(text),
             "{\"purpose\": \"%s\", \"transports\": [{\"transport\": \"%s\", %s}], "
             "\"queue\": {\"policy\": \"fail\", \"bytes\": \"8MiB\"}, "
             "\"progress\": {\"spin\": \"off\"}}",
             purpose, beside->transport, place);
    if (nq_open_json(text, strlen(text), &queue) != NQ_OK)
        bench_die(purpose, nq_error());
    return queue;
}

/* The first byte says who it is from: 'm' is measured. */
static void beside_put(nq_queue *queue, char who, size_t size)
{
    nq_msg *msg = NULL;
    void *data;

    if (nq_msg_alloc(size, &data, &msg) != NQ_OK)
        bench_die("memory", NULL);
    memset(data, who, size);
    if (nq_put(queue, msg, NULL, 0, NULL) != NQ_OK)
        bench_die("put", nq_error());
}

static void beside_take(nq_queue *queue)
{
    nq_msg *msg = NULL;

    if (nq_get(queue, NULL, 0, BESIDE_PATIENCE * BESIDE_WAIT_NS, &msg) != NQ_OK)
        bench_die("get", "nothing came");
    nq_msg_free(msg);
}

/* ---- the client that is measured ------------------------------------------------------------ */

static void measured_run(const struct beside *beside)
{
    nq_queue *queue = beside_open(beside, "client");
    struct bench_samples samples;
    int64_t start = 0, last = 0;

    bench_samples_init(&samples, beside->count);
    for (uint64_t i = 0; i < beside->warmup + beside->count; i++) {
        int64_t now;

        if (i == beside->warmup)
            start = last = bench_now_ns();
        beside_put(queue, 'm', beside->size);
        beside_take(queue);
        if (i < beside->warmup)
            continue;
        now = bench_now_ns();
        bench_samples_add(&samples, now - last);
        last = now;
    }
    printf("{\"program\": \"beside\", \"job\": \"%s\", \"settings\": \"%s\", \"size\": %zu, "
           "\"messages\": %llu, \"seconds\": %.6f, \"messages_per_s\": %.1f, \"p50_us\": %.2f, "
           "\"p99_us\": %.2f, \"p999_us\": %.2f}\n",
           beside_kinds[beside->kind], beside->transport, beside->size,
           (unsigned long long)beside->count, (double)(last - start) / 1e9,
           (double)beside->count * 1e9 / (double)(last - start), bench_percentile_us(&samples, 0.5),
           bench_percentile_us(&samples, 0.99), bench_percentile_us(&samples, 0.999));
    fflush(stdout);
    _exit(nq_close(queue, BESIDE_WAIT_NS, NULL) < 0);
}

/* ---- its neighbour ------------------------------------------------------------------------ */

static void neighbour_stall(const struct beside *beside)
{
    nq_queue *queue = beside_open(beside, "client");

    beside_put(queue, 'n', 1);
    beside_take(queue); /* it has attached, and is known */
    raise(SIGSTOP);
}

static void neighbour_dawdle(const struct beside *beside)
{
    nq_queue *queue = beside_open(beside, "client");

    for (beside_put(queue, 'n', 1);; beside_sleep(BESIDE_SLOW_NS))
        beside_take(queue);
}

static int neighbour_connect(const struct beside *beside)
{
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)beside->port)};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    const struct sockaddr *to = beside->path[0] ? (void *)&un : (void *)&in;
    int fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);

    memcpy(un.sun_path, beside->path, sizeof(un.sun_path));
    if (fd >= 0)
        (void)connect(fd, to, beside->path[0] ? sizeof(un) : sizeof(in));
    return fd;
}

/* Nothing of it has to succeed: the server may refuse as it likes. */
static void neighbour_attack(const struct beside *beside)
{
    static char garbage[BESIDE_GARBAGE];
    int held[BESIDE_HELD];

    for (size_t i = 0; i < sizeof(garbage); i++)
        garbage[i] = (char)(i * 2654435761u >> 13);
    memset(held, -1, sizeof(held));
    for (unsigned i = 0;; i++) {
        int *fd = &held[i % BESIDE_HELD];

        if (*fd >= 0)
            close(*fd);
        *fd = neighbour_connect(beside);
        beside_sleep(BESIDE_HOSTILE_NS / 2);
        /* Of each four: a lot of nonsense, a few bytes, one byte, nothing. */
        if (*fd >= 0 && i % 4 != 3)
            (void)send(*fd, garbage + i % 64,
                       i % 4 == 0   ? 2048
                       : i % 4 == 1 ? 16
                                    : 1,
                       MSG_NOSIGNAL | MSG_DONTWAIT);
        beside_sleep(BESIDE_HOSTILE_NS / 2);
    }
}

static void neighbour_run(const struct beside *beside)
{
    if (beside->kind == BESIDE_STALLED)
        neighbour_stall(beside);
    else if (beside->kind == BESIDE_SLOW)
        neighbour_dawdle(beside);
    else
        neighbour_attack(beside);
}

static pid_t beside_fork(const struct beside *beside, void (*run)(const struct beside *beside))
{
    pid_t parent = getpid(), pid = fork();

    if (pid < 0)
        bench_die("fork", NULL);
    if (pid != 0)
        return pid;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        _exit(1);
    beside_pin(beside, 1);
    run(beside);
    _exit(0);
}

/* ---- the server ----------------------------------------------------------------------------- */

struct server {
    nq_queue *queue;
    nq_uuid neighbour;
    bool known;   /* the neighbour has said something */
    nq_msg *next; /* what it is to get when it has room */
};

/* As much as there is room for, but not so much that the other one would wait for that. */
static void server_feed(struct server *server)
{
    nq_err err = NQ_OK;

    for (int i = 0; i < 4 && err == NQ_OK; i++) {
        void *data;

        if (!server->next && nq_msg_alloc(BESIDE_BULK, &data, &server->next) != NQ_OK)
            bench_die("memory", NULL);
        err = nq_put(server->queue, server->next, &server->neighbour, 1, NULL);
        if (err == NQ_OK)
            server->next = NULL;
    }
    if (err < 0)
        bench_die("neighbour", nq_error());
}

static void server_answer(struct server *server, nq_msg *msg)
{
    nq_uuid from = *nq_msg_sender(msg);
    const void *data;
    size_t len;

    if (nq_msg_data(msg, &data, &len) != NQ_OK)
        bench_die("message", nq_error());
    if (*(const char *)data == 'n') {
        server->neighbour = from;
        server->known = true;
    }
    if (nq_put(server->queue, msg, &from, 1, NULL) != NQ_OK)
        bench_die("put", nq_error());
}

/* Until it knows the neighbour, or (`client` > 0) until that process has ended.
 * @return whether that went well */
static bool server_run(struct server *server, pid_t client)
{
    int status = 0, silence = 0;

    while (client ? waitpid(client, &status, WNOHANG) == 0 : !server->known) {
        nq_msg *msg = NULL;
        nq_err err = nq_get(server->queue, NULL, 0, BESIDE_WAIT_NS, &msg);

        if (err < 0 || ++silence > BESIDE_PATIENCE)
            bench_die("server", err < 0 ? nq_error() : "nothing comes any more");
        if (err == NQ_OK) {
            silence = 0;
            server_answer(server, msg);
        }
        if (server->known)
            server_feed(server);
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* ---- the program ---------------------------------------------------------------------------- */

static unsigned beside_free_port(void)
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

static void beside_options(struct beside *beside, int argc, char **argv)
{
    static const struct option table[] = {
        {"count", required_argument, NULL, 'n'},
        {"size", required_argument, NULL, 's'},
        {"transport", required_argument, NULL, 't'},
        {"pin", required_argument, NULL, 'c'},
        {NULL, 0, NULL, 0},
    };
    int key;

    *beside = (struct beside){.transport = "tcp", .size = 64, .count = 10000, .cpu = {-1, -1}};
    while ((key = getopt_long(argc, argv, "", table, NULL)) != -1) {
        if (key == 'n')
            beside->count = strtoull(optarg, NULL, 10);
        else if (key == 's')
            beside->size = strtoull(optarg, NULL, 10);
        else if (key == 't')
            beside->transport = optarg;
        else if (key != 'c' || sscanf(optarg, "%d,%d", &beside->cpu[0], &beside->cpu[1]) != 2)
            exit(2);
    }
    while (optind + 1 == argc && beside->kind < BESIDE_KINDS &&
           strcmp(argv[optind], beside_kinds[beside->kind]) != 0)
        beside->kind++;
    if (optind + 1 != argc || beside->kind == BESIDE_KINDS || !beside->count || !beside->size)
        bench_die("usage", "beside nobody|stalled|slow|hostile [--count N] [--size BYTES] "
                           "[--transport tcp|shm] [--pin A,B]");
    beside->warmup = beside->count / 10 + 1;
}

int main(int argc, char **argv)
{
    char folder[] = "/tmp/netqueue-beside-XXXXXX";
    pid_t client, neighbour = 0;
    struct server server = {.known = false};
    struct beside beside;
    bool good;

    beside_options(&beside, argc, argv);
    if (!mkdtemp(folder))
        bench_die("folder", NULL);
    if (strcmp(beside.transport, "shm") == 0)
        snprintf(beside.path, sizeof(beside.path), "%s/queue.sock", folder);
    else
        beside.port = beside_free_port();
    /* Before the library has threads. */
    if (beside.kind != BESIDE_NOBODY)
        neighbour = beside_fork(&beside, neighbour_run);
    client = beside_fork(&beside, measured_run);
    beside_pin(&beside, 0);
    server.queue = beside_open(&beside, "server");
    if (beside.kind == BESIDE_STALLED || beside.kind == BESIDE_SLOW)
        server_run(&server, 0);
    good = server_run(&server, client);
    if (neighbour) {
        kill(neighbour, SIGKILL);
        waitpid(neighbour, NULL, 0);
    }
    nq_msg_free(server.next);
    nq_free(server.queue);
    rmdir(folder);
    return good ? 0 : 1;
}
