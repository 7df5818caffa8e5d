/* Strangers by the thousand: a server that is flooded with connections which never say who they are
 * still lets a client in at once, needs no more memory than it may, and does not turn in circles
 * when it has no descriptor left.
 *
 *     parent: strangers, and clients that want in         child: the server
 *       5,000 connections from 127.x.y.z, silent    --->    limits of strangers
 *       100 connections that write byte by byte     --->
 *       a client, which must be up within a second  --->    memory of the process, descriptors, CPU
 *
 * Whom the server ends comes again at once, so it is under attack all the time.  Takes about 10 s.
 */
#include "tests/long/long.h"
#include <fcntl.h>
#include <netqueue/netqueue.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

#define FLOOD_SILENT 5000
#define FLOOD_SLOW 100
#define FLOOD_CLIENTS 5
#define FLOOD_ATTACH_NS NQTEST_S
#define FLOOD_PATIENCE_NS (20 * NQTEST_S)
#define FLOOD_SLOWLY_NS (NQTEST_S / 10) /* between two bytes */
#define FLOOD_MEMORY (8 * NQTEST_MIB)   /* more than without strangers */
#define FLOOD_FILES 64                  /* of the server that has few */
#define FLOOD_SERVER_FILES 600          /* twice the strangers that it lets in, and its own */
#define FLOOD_SPARE 100                 /* of ours */

/* ---- the server ---------------------------------------------------------------------------- */

struct flood_server {
    pid_t pid;
    unsigned port;
};

static nq_queue *flood_open(const char *purpose, unsigned port)
{
    char json[256];
    nq_queue *queue;

    snprintf(json, sizeof(json),
             "{\"purpose\": \"%s\", \"transport\": \"tcp\", \"host\": \"127.0.0.1\", \"port\": %u}",
             purpose, port);
    if (nq_open_json(json, strlen(json), &queue) < 0)
        nqtest_bail("open", nq_error());
    return queue;
}

static void flood_limit_files(rlim_t files)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        nqtest_bail("getrlimit", NULL);
    limit.rlim_cur = files;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        nqtest_bail("setrlimit", NULL);
}

/* Takes messages until it is killed. */
static _Noreturn void flood_serve(unsigned port, rlim_t files, int ready)
{
    nq_queue *queue;
    nq_msg *msg;

    flood_limit_files(files);
    queue = flood_open("server", port);
    if (write(ready, "", 1) != 1)
        _exit(1);
    while (!nq_get(queue, NULL, 0, NQ_FOREVER, &msg))
        nq_msg_free(msg);
    _exit(1);
}

static struct flood_server flood_start(rlim_t files)
{
    struct flood_server server = {.port = nqtest_free_port()};
    pid_t parent = getpid();
    int ready[2];
    char byte;

    if (pipe(ready) != 0)
        nqtest_bail("pipe", NULL);
    server.pid = fork();
    if (server.pid < 0)
        nqtest_bail("fork", NULL);
    if (!server.pid) {
        nqtest_die_with(parent);
        close(ready[0]);
        flood_serve(server.port, files, ready[1]);
    }
    close(ready[1]);
    if (read(ready[0], &byte, 1) != 1)
        nqtest_bail("server", "it did not start");
    close(ready[0]);
    return server;
}

static void flood_stop(const struct flood_server *server)
{
    kill(server->pid, SIGKILL);
    waitpid(server->pid, NULL, 0);
}

static int64_t flood_memory(const struct flood_server *server)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%ld/status", (long)server->pid);
    return 1024 * nqtest_proc_value(path, "VmRSS:");
}

/* CPU time that it has used. */
static int64_t flood_cpu(const struct flood_server *server)
{
    clockid_t clock;
    struct timespec ts;

    if (clock_getcpuclockid(server->pid, &clock) || clock_gettime(clock, &ts))
        nqtest_bail("clock", NULL);
    return (int64_t)ts.tv_sec * NQTEST_S + ts.tv_nsec;
}

/* ---- strangers ----------------------------------------------------------------------------- */

static struct pollfd flood_fds[FLOOD_SILENT + FLOOD_SLOW]; /* the slow ones last */
static uint64_t flood_ended;                               /* by the server */
static int64_t flood_say_at;                               /* when the slow ones say a byte */

/* Another source for each of them, so that no source has too many. */
static int flood_knock(unsigned port, unsigned number)
{
    const struct sockaddr_in from = {.sin_family = AF_INET,
                                     .sin_addr.s_addr = htonl(0x7f020001u + number * 3)},
                             to = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || bind(fd, (const struct sockaddr *)&from, sizeof(from)))
        nqtest_bail("socket", NULL);
    if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) && errno != EINPROGRESS)
        nqtest_bail("connect", NULL);
    return fd;
}

/* One byte more of a HELLO that will not be over in time. */
static void flood_say(int fd, unsigned *said)
{
    static const uint8_t head[8] = {0, 0, 0, 0, 0, 0, 1, 0};
    const uint8_t byte = *said < sizeof(head) ? head[*said] : 0xff;

    if (send(fd, &byte, 1, MSG_NOSIGNAL) == 1)
        ++*said;
}

/* Whom the server has ended comes again; now and then the slow ones say a byte. */
static void flood_turn(unsigned port, unsigned count)
{
    static unsigned said[FLOOD_SILENT + FLOOD_SLOW];
    bool say = nqtest_now_ns() >= flood_say_at;

    if (say)
        flood_say_at = nqtest_now_ns() + FLOOD_SLOWLY_NS;
    if (poll(flood_fds, count, 0) < 0)
        nqtest_bail("poll", NULL);
    for (unsigned i = 0; i < count; i++) {
        if (flood_fds[i].revents) {
            close(flood_fds[i].fd);
            flood_fds[i].fd = flood_knock(port, i);
            flood_ended++;
            said[i] = 0;
        } else if (say && i >= FLOOD_SILENT) {
            flood_say(flood_fds[i].fd, &said[i]);
        }
    }
}

static void flood_begin(unsigned port, unsigned count)
{
    flood_ended = 0;
    for (unsigned i = 0; i < count; i++)
        flood_fds[i] = (struct pollfd){.fd = flood_knock(port, i), .events = POLLIN};
}

static void flood_end(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        close(flood_fds[i].fd);
}

/* Until that time, a byte is to be said, or the server sends somebody away. */
static void flood_wait(unsigned count, int64_t until)
{
    int64_t left_ns = (until < flood_say_at ? until : flood_say_at) - nqtest_now_ns();

    (void)poll(flood_fds, count, left_ns > 0 ? (int)(left_ns / 1000000 + 1) : 0);
}

static void flood_go_on(unsigned port, unsigned count, int64_t ns)
{
    int64_t until = nqtest_now_ns() + ns;

    while (nqtest_now_ns() < until) {
        flood_turn(port, count);
        flood_wait(count, until);
    }
}

/* ---- who wants in -------------------------------------------------------------------------- */

struct flood_client {
    unsigned port;
    _Atomic int64_t took; /* until its message is acknowledged; 0 = not yet */
};

static void *flood_run_client(void *arg)
{
    struct flood_client *client = arg;
    int64_t start = nqtest_now_ns();
    nq_queue *queue = flood_open("client", client->port);
    nq_future *future;
    nq_msg *msg;

    if (nq_msg_new("x", 1, &msg) < 0 || nq_put(queue, msg, NULL, 0, &future) < 0)
        nqtest_bail("put", nq_error());
    if (nq_future_wait(future, FLOOD_PATIENCE_NS) < 0)
        nqtest_bail("wait", nq_error());
    atomic_store(&client->took, nqtest_now_ns() - start);
    nq_future_free(future);
    nq_free(queue);
    return NULL;
}

/* @return how long it takes a client to get a message to the server, which is under attack
 * meanwhile */
static int64_t flood_attach(unsigned port, unsigned count)
{
    struct flood_client client = {.port = port};
    pthread_t thread;

    if (pthread_create(&thread, NULL, flood_run_client, &client))
        nqtest_bail("thread", NULL);
    while (!atomic_load(&client.took))
        flood_go_on(port, count, NQTEST_S / 1000);
    pthread_join(thread, NULL);
    return client.took;
}

static int64_t flood_slowest(unsigned port, unsigned count)
{
    int64_t slowest = 0;

    for (int i = 0; i < FLOOD_CLIENTS; i++) {
        int64_t took = flood_attach(port, count);

        slowest = took > slowest ? took : slowest;
        flood_go_on(port, count, NQTEST_S / 10);
    }
    return slowest;
}

/* ---- tests --------------------------------------------------------------------------------- */

static void flood_test_strangers(struct nqtest_tap *tap, const struct flood_server *server)
{
    const unsigned count = FLOOD_SILENT + FLOOD_SLOW;
    int64_t before, memory, slowest;

    (void)flood_attach(server->port, 0);
    before = flood_memory(server);
    flood_begin(server->port, count);
    flood_go_on(server->port, count, 2 * NQTEST_S);
    slowest = flood_slowest(server->port, count);
    memory = flood_memory(server) - before;
    nqtest_note("%d clients, the slowest is in after %lld ms; %llu strangers were ended; %lld KiB "
                "more, of %lld",
                FLOOD_CLIENTS, (long long)(slowest / 1000000), (unsigned long long)flood_ended,
                (long long)(memory / 1024), (long long)(before / 1024));
    nqtest_ok(tap, flood_ended > FLOOD_SILENT / 2, "the server ends strangers that are too many");
    nqtest_ok(tap, slowest <= FLOOD_ATTACH_NS,
              "among %d silent and %d slow connections a client is in within a second",
              FLOOD_SILENT, FLOOD_SLOW);
    nqtest_ok(tap, memory <= FLOOD_MEMORY, "they cost at most %d MiB",
              (int)(FLOOD_MEMORY / NQTEST_MIB));
    flood_end(count);
}

/* Fewer descriptors than the strangers that it lets in. */
static void flood_test_descriptors(struct nqtest_tap *tap, const struct flood_server *server)
{
    const unsigned count = 4 * FLOOD_FILES;
    int64_t cpu, took;

    flood_begin(server->port, count);
    flood_go_on(server->port, count, NQTEST_S);
    cpu = flood_cpu(server);
    flood_go_on(server->port, count, 2 * NQTEST_S);
    cpu = flood_cpu(server) - cpu;
    nqtest_note("without descriptors: %lld ms of CPU in 2 s; %llu strangers were ended",
                (long long)(cpu / 1000000), (unsigned long long)flood_ended);
    nqtest_ok(tap, cpu <= NQTEST_S / 5, "a server without descriptors does not turn in circles");
    nqtest_ok(tap, flood_ended > 0, "who comes then is ended, and does not hang");
    flood_end(count);
    took = flood_attach(server->port, 0);
    nqtest_note("in after %lld ms", (long long)(took / 1000000));
    nqtest_ok(tap, took <= FLOOD_ATTACH_NS,
              "with descriptors again a client is in within a second");
}

int main(void)
{
    struct nqtest_tap tap = {0};
    struct flood_server many, few;

    signal(SIGPIPE, SIG_IGN);
    if (nqtest_raise_files() < FLOOD_SILENT + FLOOD_SLOW + FLOOD_SPARE)
        nqtest_skip_all("the hard limit of open files is too low (ulimit -Hn)");
    many = flood_start(FLOOD_SERVER_FILES);
    few = flood_start(FLOOD_FILES);
    flood_test_strangers(&tap, &many);
    flood_test_descriptors(&tap, &few);
    flood_stop(&many);
    flood_stop(&few);
    return nqtest_done(&tap);
}
