/* What 1,000 idle clients cost, or over tcp as many as are asked for: memory, processor time,
 * wake-ups.  Over tcp, and over shm as it is usually and with the smallest rings.
 *
 *     parent: the server, and the measurements
 *     four children: a quarter of the clients each, in mode `manual`: no thread, one epoll set
 *
 * Memory is what malloc and the kernel say before and after the clients came; it includes
 * what the transport needs for a link, though only the core's part is promised.  For shm,
 * whose links are memory of both sides, it is the proportional share (PSS) of all processes.  A few
 * clients come first, so that pools, tables and threads are there before the first look.
 *
 * Wake-ups are the voluntary context switches of every thread of the server but the one
 * that measures. */
#include "tests/long/long.h"
#include <dirent.h>
#include <malloc.h>
#include <netqueue/netqueue.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define IDLE_CHILDREN 4
#define IDLE_CLIENTS 1000      /* over shm; over tcp unless other numbers are asked for */
#define IDLE_CLIENTS_MAX 16000 /* limits.peers */
#define IDLE_FIRST 8           /* clients before the first look */
#define IDLE_FILES 7           /* open files for one client in mode manual, at most */
#define IDLE_CONNECT_S 60
#define IDLE_MEMORY 8192 /* bytes that one client may cost */
#define IDLE_SHM_MEMORY (200 * NQTEST_MIB)
#define IDLE_PERCENT 1.0 /* of a core, with keep-alive */
/* A greeting has 10 s; its timer is not moved back when it was in time, but fires once more and
 * finds nothing.  That is the end of connecting, not idleness. */
#define IDLE_GREETING_S 12

struct idle_child {
    pid_t pid;
    int fd; /* we write how many clients to open next; closed = end */
};

/* @param place  members of a transport's object */
static nq_queue *idle_open(const char *purpose, const char *mode, const char *place,
                           const char *keepalive)
{
    nq_queue *queue = NULL;
    char json[512];
    int len = snprintf(json, sizeof(json),
                       "{\"purpose\": \"%s\", %s, \"session\": {\"keepalive\": \"%s\"}, "
                       "\"progress\": {\"mode\": \"%s\"}}",
                       purpose, place, keepalive, mode);

    if (nq_open_json(json, (size_t)len, &queue) != NQ_OK)
        nqtest_bail(purpose, nq_error());
    return queue;
}

/* ---- the clients ----------------------------------------------------------------------- */

static void idle_serve(nq_queue *queue)
{
    struct nq_event event;

    if (nq_poll(queue) < 0)
        nqtest_bail("client", nq_error());
    while (nq_event_get(queue, 0, &event) == NQ_OK)
        if (event.kind == NQ_EVENT_PEER_GONE)
            nqtest_note("a client lost its server: %s %s", nq_reason_text(event.reason),
                        event.text);
}

static void idle_watch(int set, int fd, void *queue)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = queue};

    if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) != 0)
        nqtest_bail("epoll_ctl", NULL);
}

static void idle_child(int orders, const char *place, const char *keepalive)
{
    int set = epoll_create1(EPOLL_CLOEXEC);

    idle_watch(set, orders, NULL);
    for (;;) {
        struct epoll_event events[64];
        int n = epoll_wait(set, events, 64, -1), more = 0;

        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr)
                idle_serve(events[i].data.ptr);
            else if (read(orders, &more, sizeof(more)) != (ssize_t)sizeof(more))
                _exit(0); /* the kernel closes everything: the server sees them go */
        }
        for (; more > 0; more--) {
            nq_queue *queue = idle_open("client", "manual", place, keepalive);

            if (nq_fd(queue) < 0)
                nqtest_bail("nq_fd", nq_error());
            idle_watch(set, nq_fd(queue), queue);
            idle_serve(queue);
        }
    }
}

static void idle_fork(struct idle_child children[IDLE_CHILDREN], const char *place,
                      const char *keepalive)
{
    pid_t parent = getpid();

    fflush(stdout);
    for (int i = 0; i < IDLE_CHILDREN; i++) {
        int fds[2];

        if (pipe(fds) != 0)
            nqtest_bail("pipe", NULL);
        children[i].pid = fork();
        if (children[i].pid < 0)
            nqtest_bail("fork", NULL);
        if (children[i].pid == 0) {
            nqtest_die_with(parent);
            close(fds[1]);
            for (int k = 0; k < i; k++)
                close(children[k].fd);
            idle_child(fds[0], place, keepalive);
        }
        close(fds[0]);
        children[i].fd = fds[1];
    }
}

static void idle_order(const struct idle_child *child, int count)
{
    if (write(child->fd, &count, sizeof(count)) != (ssize_t)sizeof(count))
        nqtest_bail("clients", NULL);
}

static void idle_end(struct idle_child children[IDLE_CHILDREN])
{
    for (int i = 0; i < IDLE_CHILDREN; i++)
        close(children[i].fd);
    for (int i = 0; i < IDLE_CHILDREN; i++)
        waitpid(children[i].pid, NULL, 0);
}

/* ---- looking at the server ---------------------------------------------------------------- */

static struct nq_stats idle_stats(nq_queue *queue)
{
    struct nq_stats stats = {0};

    if (nq_stats(queue, &stats) != NQ_OK)
        nqtest_bail("nq_stats", nq_error());
    return stats;
}

/* Wait until `count` peers are there, for at most a minute. */
static bool idle_peers(nq_queue *queue, uint64_t count)
{
    int64_t until = nqtest_now_ns() + IDLE_CONNECT_S * NQTEST_S;
    struct nq_event event;

    while (idle_stats(queue).peers < count && nqtest_now_ns() < until)
        if (nq_event_get(queue, NQTEST_S / 10, &event) < 0)
            nqtest_bail("server", nq_error());
    while (nq_event_get(queue, 0, &event) == NQ_OK)
        ;
    return idle_stats(queue).peers == count;
}

/* Voluntary context switches of all threads but the calling one. */
static int64_t idle_switches(void)
{
    DIR *dir = opendir("/proc/self/task");
    long self = syscall(SYS_gettid);
    int64_t sum = 0;

    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char path[sizeof("/proc/self/task//status") + sizeof(entry->d_name)];
        int64_t n;

        if (entry->d_name[0] == '.' || atol(entry->d_name) == self)
            continue;
        snprintf(path, sizeof(path), "/proc/self/task/%s/status", entry->d_name);
        n = nqtest_proc_value(path, "voluntary_ctxt_switches:");
        sum += n > 0 ? n : 0;
    }
    if (dir)
        closedir(dir);
    return sum;
}

/* Time itself is what is measured: that in so much of it nothing happens.  No event ends it, and a
 * wait of the library's would be one of the wake-ups that are counted. */
static void idle_pass(int64_t ns)
{
    struct timespec ts = {.tv_sec = ns / NQTEST_S, .tv_nsec = ns % NQTEST_S};

    while (nanosleep(&ts, &ts) != 0 && errno == EINTR)
        ;
}

/* Until nothing has woken for half a second, at most for 10 s. */
static void idle_settle(void)
{
    for (int i = 0; i < 20; i++) {
        int64_t before = idle_switches();

        idle_pass(NQTEST_S / 2);
        if (idle_switches() == before)
            return;
    }
}

struct idle_memory {
    int64_t heap, resident; /* bytes: given out by malloc, and private pages in memory */
};

static struct idle_memory idle_memory(void)
{
    struct mallinfo2 info = mallinfo2();

    return (struct idle_memory){
        .heap = (int64_t)(info.uordblks + info.hblkhd),
        .resident = 1024 * nqtest_proc_value("/proc/self/status", "RssAnon:"),
    };
}

static double idle_cpu_s(void)
{
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

/* ---- a thread that waits in get, as servers do ------------------------------------------------
 */

struct idle_getter {
    nq_queue *queue;
    pthread_t thread;
    _Atomic nq_err err;
};

static void *idle_get(void *arg)
{
    struct idle_getter *getter = arg;
    nq_msg *msg = NULL;
    nq_err err = nq_get(getter->queue, NULL, 0, NQ_FOREVER, &msg);

    if (err == NQ_OK)
        nq_msg_free(msg);
    atomic_store(&getter->err, err);
    return NULL;
}

static void idle_getter_start(struct idle_getter *getter, nq_queue *queue)
{
    getter->queue = queue;
    atomic_init(&getter->err, NQ_AGAIN);
    if (pthread_create(&getter->thread, NULL, idle_get, getter) != 0)
        nqtest_bail("pthread_create", NULL);
}

/* ---- the tests
 * ------------------------------------------------------------------------------------ */

static void idle_test_memory(struct nqtest_tap *tap, const struct idle_memory *before, int clients)
{
    struct idle_memory after = idle_memory();
    int64_t heap = (after.heap - before->heap) / clients;
    int64_t resident = (after.resident - before->resident) / clients;

    nqtest_note("each client: %lld bytes given out by malloc, %lld bytes of memory",
                (long long)heap, (long long)resident);
    nqtest_ok(tap, heap <= IDLE_MEMORY && resident <= IDLE_MEMORY,
              "an idle client costs its server at most %d bytes", IDLE_MEMORY);
}

static void idle_test_cpu(struct nqtest_tap *tap, nq_queue *queue, int clients, int64_t seconds)
{
    struct nq_stats before = idle_stats(queue), after;
    double cpu = idle_cpu_s(), percent;

    idle_pass(seconds * NQTEST_S);
    percent = 100 * (idle_cpu_s() - cpu) / (double)seconds;
    after = idle_stats(queue);
    nqtest_note("%.3f %% of a core; %llu sends, %llu receives in %lld s", percent,
                (unsigned long long)(after.send_calls - before.send_calls),
                (unsigned long long)(after.recv_calls - before.recv_calls), (long long)seconds);
    nqtest_ok(tap, percent < IDLE_PERCENT, "with keep-alive they cost less than %.0f %% of a core",
              IDLE_PERCENT);
    nqtest_ok(tap, after.peers == (uint64_t)clients + IDLE_FIRST, "all of them are still there");
}

/* Everything that counts when the server wakes. */
static uint64_t idle_wakes(nq_queue *queue)
{
    struct nq_stats stats = idle_stats(queue);

    return stats.turns + stats.sleeps + stats.kicks + stats.keeper_ticks + stats.keeper_turns;
}

static void idle_test_silence(struct nqtest_tap *tap, nq_queue *queue, int64_t seconds,
                              const char *when)
{
    uint64_t wakes;
    int64_t switches;

    idle_settle();
    wakes = idle_wakes(queue);
    switches = idle_switches();
    idle_pass(seconds * NQTEST_S);
    switches = idle_switches() - switches;
    wakes = idle_wakes(queue) - wakes;
    nqtest_note("%lld switches, %llu turns, sleeps and kicks in %lld s", (long long)switches,
                (unsigned long long)wakes, (long long)seconds);
    nqtest_ok(tap, switches == 0 && wakes == 0, "without keep-alive nothing ever wakes, %s", when);
}

/* ---- shared memory ------------------------------------------------------------------------- */

static int64_t idle_pss(pid_t pid)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%ld/smaps_rollup", (long)pid);
    return 1024 * nqtest_proc_value(path, "Pss:");
}

/* All of it is counted: programs, libraries, heaps, rings. */
static int64_t idle_pss_of_all(const struct idle_child children[IDLE_CHILDREN])
{
    int64_t sum = idle_pss(getpid());

    for (int i = 0; i < IDLE_CHILDREN; i++)
        sum += idle_pss(children[i].pid);
    return sum;
}

/* Memory of links in this process: how many pieces, and how many bytes. */
static int64_t idle_rings(unsigned *count)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    unsigned long from, to;
    int64_t sum = 0;
    char line[512];

    *count = 0;
    while (maps && fgets(line, sizeof(line), maps))
        if (strstr(line, "memfd:netqueue") && sscanf(line, "%lx-%lx", &from, &to) == 2) {
            sum += (int64_t)(to - from);
            ++*count;
        }
    if (maps)
        fclose(maps);
    return sum;
}

static void idle_test_shm(struct nqtest_tap *tap, const struct idle_child children[IDLE_CHILDREN],
                          bool small)
{
    int64_t all = idle_pss_of_all(children), rings;
    unsigned count;

    rings = idle_rings(&count);
    nqtest_note("%.1f MiB in all processes; %u rings of %lld bytes", (double)all / NQTEST_MIB,
                count, count ? (long long)(rings / count) : 0);
    nqtest_ok(tap, all <= IDLE_SHM_MEMORY, "%d idle links cost at most %d MiB in all", IDLE_CLIENTS,
              (int)(IDLE_SHM_MEMORY / NQTEST_MIB));
    nqtest_ok(tap, count >= 2 * IDLE_CLIENTS && (!small || rings == count * sysconf(_SC_PAGESIZE)),
              small ? "a small ring is one page" : "each has two rings");
}

static void idle_run_shm(struct nqtest_tap *tap, bool small, int64_t seconds)
{
    char folder[] = "/tmp/nqtest-idle-XXXXXX", place[256];
    struct idle_child children[IDLE_CHILDREN];
    struct idle_getter getter;
    nq_queue *queue;

    if (!mkdtemp(folder))
        nqtest_bail("mkdtemp", NULL);
    snprintf(place, sizeof(place), "\"transport\": \"shm\", \"path\": \"%s/socket\"%s", folder,
             small ? ", \"cells\": 8, \"ring\": \"1KiB\", \"leases\": 8" : "");
    idle_fork(children, place, "off");
    queue = idle_open("server", "auto", place, "off");
    for (int i = 0; i < IDLE_CHILDREN; i++)
        idle_order(&children[i], IDLE_CLIENTS / IDLE_CHILDREN);
    nqtest_ok(tap, idle_peers(queue, IDLE_CLIENTS), "%d clients come over shm, %s", IDLE_CLIENTS,
              small ? "with the smallest rings" : "as usual");
    idle_settle();
    idle_test_shm(tap, children, small);
    idle_pass(IDLE_GREETING_S * NQTEST_S);
    idle_test_silence(tap, queue, seconds, "while nobody drives");
    idle_getter_start(&getter, queue);
    idle_test_silence(tap, queue, seconds, "while a thread waits in get");
    idle_end(children);
    if (nq_close(queue, 0, NULL) < 0)
        nqtest_bail("close", nq_error());
    pthread_join(getter.thread, NULL);
    nq_free(queue);
    rmdir(folder);
}

/* ---- tcp ------------------------------------------------------------------------------------- */

static void idle_run(struct nqtest_tap *tap, bool alive, int clients, int64_t seconds)
{
    const char *keepalive = alive ? "15s" : "off";
    struct idle_child children[IDLE_CHILDREN];
    struct idle_memory before;
    struct idle_getter getter;
    char place[128];
    nq_queue *queue;
    int64_t start;
    bool came;

    snprintf(place, sizeof(place), "\"transport\": \"tcp\", \"host\": \"127.0.0.1\", \"port\": %u",
             nqtest_free_port());
    idle_fork(children, place, keepalive);
    queue = idle_open("server", "auto", place, keepalive);
    idle_order(&children[0], IDLE_FIRST);
    if (!idle_peers(queue, IDLE_FIRST))
        nqtest_bail("server", "the first clients did not come");
    idle_settle();
    before = idle_memory();
    start = nqtest_now_ns();
    for (int i = 0; i < IDLE_CHILDREN; i++)
        idle_order(&children[i], clients / IDLE_CHILDREN);
    came = idle_peers(queue, (uint64_t)clients + IDLE_FIRST);
    nqtest_note("they took %.1f s to come", (double)(nqtest_now_ns() - start) / NQTEST_S);
    nqtest_ok(tap, came, "%d clients come, keep-alive %s", clients, keepalive);
    idle_settle();
    idle_test_memory(tap, &before, clients);

    if (!alive) {
        idle_pass(IDLE_GREETING_S * NQTEST_S);
        idle_test_silence(tap, queue, seconds, "while nobody drives");
    }
    idle_getter_start(&getter, queue);
    if (alive)
        idle_test_cpu(tap, queue, clients, 2 * seconds); /* longer than one keep-alive interval */
    else
        idle_test_silence(tap, queue, seconds, "while a thread waits in get");
    nqtest_ok(tap, atomic_load(&getter.err) == NQ_AGAIN, "and get still waits");

    idle_end(children);
    if (nq_close(queue, 0, NULL) < 0) /* wakes the getter; nothing is left to flush */
        nqtest_bail("close", nq_error());
    pthread_join(getter.thread, NULL);
    nq_free(queue);
}

int main(int argc, char **argv)
{
    struct nqtest_tap tap = {0};
    int64_t seconds = argc > 1 ? atol(argv[1]) : 10;
    int clients = argc > 2 ? atoi(argv[2]) : IDLE_CLIENTS;
    uint64_t files;

    if (seconds < 1 || clients < IDLE_CHILDREN || clients > IDLE_CLIENTS_MAX ||
        clients % IDLE_CHILDREN)
        nqtest_bail("usage", "idle_clients [SECONDS [CLIENTS]], of whom each child has as many");
    files = nqtest_raise_files();
    if (files < (uint64_t)(clients / IDLE_CHILDREN) * IDLE_FILES + 64 ||
        files < (uint64_t)clients + 64)
        nqtest_skip_all("the hard limit of open files is too low (ulimit -Hn)");
    idle_run(&tap, true, clients, seconds);
    idle_run(&tap, false, clients, seconds);
    if (clients != IDLE_CLIENTS)
        return nqtest_done(&tap);
    idle_run_shm(&tap, false, seconds);
    idle_run_shm(&tap, true, seconds);
    return nqtest_done(&tap);
}
