/* What waiting costs: round trips over a plain tcp socket through loop and room, put beside a
 * sleeping getter, the state words alone, and idleness.  One line of JSON each.
 *
 *     bench_wait [--count N] [--idle SECONDS] [--only NAME]
 *
 * N round trips per row (20000; a million for the real thing).  Names: rtt put words idle.  Each
 * row runs in processes of its own, so that nothing of one is left in the next.  The rows that
 * begin with raw do the same with nothing but system calls.
 *
 * A link here is what a transport's is: a watch, and a part in the hot set (poll = recv without
 * waiting, arm = change what epoll reports). */
#include "bench/report.h"
#include "core/hot.h"
#include "core/loop.h"
#include "core/wait.h"
#include "core/wait_room.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netqueue/future.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE 64 /* bytes of a message */

static uint64_t count = 20000;
static unsigned idle_s = 10;

static void need(nq_err err)
{
    if (err)
        bench_die("netqueue", nq_error());
}

/* ---- a connection ------------------------------------------------------------------------------
 */

static int listen_on_loopback(struct sockaddr_in *addr)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof(*addr);

    *addr = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || bind(fd, (struct sockaddr *)addr, len) || listen(fd, 4) ||
        getsockname(fd, (struct sockaddr *)addr, &len))
        bench_die("listen", NULL);
    return fd;
}

static int no_delay(int fd)
{
    int on = 1;

    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
        bench_die("connect", NULL);
    return fd;
}

static int connect_to(const struct sockaddr_in *addr)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (const struct sockaddr *)addr, sizeof(*addr)))
        bench_die("connect", NULL);
    return no_delay(fd);
}

static int accept_from(int listener)
{
    return no_delay(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
}

/* ---- a link
 * --------------------------------------------------------------------------------------- */

struct link {
    struct nqi_loop *loop;
    struct nqi_room *room;
    struct nqi_serial serial;
    struct nqi_watch *watch;
    struct nqi_hot hot;
    int fd;
    size_t have;             /* bytes of the next message; inside the strand */
    _Atomic uint64_t unread; /* messages */
    _Atomic bool closed;
};

static int link_receive(void *arg)
{
    struct link *link = arg;
    char bytes[16 * SIZE];
    ssize_t n = recv(link->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n <= 0) {
        atomic_store(&link->closed, true);
        return 0;
    }
    link->have += (size_t)n;
    atomic_fetch_add(&link->unread, link->have / SIZE);
    link->have %= SIZE;
    nqi_hot_touch(nqi_loop_hot(link->loop), &link->hot);
    return 1;
}

static void link_on_fd(void *arg, uint32_t events)
{
    (void)events;
    link_receive(arg);
}

static int link_arm(void *arg, int on)
{
    struct link *link = arg;

    need(nqi_fd_mod(link->watch, on ? POLLIN : 0));
    return 0;
}

static void link_open(struct link *link, int fd, enum nqi_room_mode mode, int64_t spin_ns)
{
    memset(link, 0, sizeof(*link));
    link->fd = fd;
    need(nqi_loop_new(&link->loop));
    need(nqi_room_new(link->loop, mode, spin_ns, &link->room));
    link->serial = (struct nqi_serial){.strand = nqi_strand_new(), .loop = link->loop};
    if (!link->serial.strand)
        bench_die("strand", NULL);
    link->hot = (struct nqi_hot){
        .poll = link_receive, .arm = link_arm, .arg = link, .strand = link->serial.strand};
    nqi_strand_enter_new(link->serial.strand);
    need(nqi_fd_add(&link->serial, fd, POLLIN, link_on_fd, link, &link->watch));
    nqi_strand_leave(link->serial.strand);
}

static void link_close(struct link *link)
{
    while (!nqi_strand_try(link->serial.strand))
        sched_yield();
    nqi_hot_del(nqi_loop_hot(link->loop), &link->hot);
    nqi_watch_del(link->watch);
    nqi_strand_leave(link->serial.strand);
    nqi_strand_unref(link->serial.strand);
    nqi_room_free(link->room);
    nqi_loop_free(link->loop);
    close(link->fd);
}

static void link_put(struct link *link, const char *message)
{
    while (!nqi_strand_try(link->serial.strand))
        nqi_relax();
    if (send(link->fd, message, SIZE, MSG_NOSIGNAL | MSG_DONTWAIT) != SIZE)
        bench_die("send", NULL);
    nqi_strand_leave(link->serial.strand);
}

static bool link_ready(void *arg)
{
    struct link *link = arg;

    if (!atomic_load(&link->unread))
        return atomic_load(&link->closed);
    atomic_fetch_sub(&link->unread, 1);
    return true;
}

/* False: the other side is gone. */
static bool link_get(struct link *link)
{
    need(nqi_room_wait(link->room, link_ready, link, NQ_FOREVER));
    return !atomic_load(&link->closed);
}

/* ---- rtt
 * ------------------------------------------------------------------------------------------ */

struct rtt {
    const char *name;
    bool raw;
    int64_t spin_ns; /* raw: anything but 0 spins for ever */
    bool one_core;
    struct sockaddr_in addr;
};

static bool raw_get(int fd, bool spin)
{
    char message[SIZE];
    ssize_t n = 0, got;

    while (n < SIZE) {
        got = recv(fd, message + n, (size_t)(SIZE - n), spin ? MSG_DONTWAIT : 0);
        if (got == 0 || (got < 0 && errno != EAGAIN))
            return false;
        n += NQI_MAX(got, 0);
        if (got < 0)
            nqi_relax();
    }
    return true;
}

static void rtt_answer(const struct bench_opts *opts, int pipe, void *arg)
{
    static const char message[SIZE];
    struct rtt *rtt = arg;
    int fd = connect_to(&rtt->addr);
    struct link link;

    (void)opts;
    (void)pipe;
    if (rtt->raw) {
        while (raw_get(fd, rtt->spin_ns))
            if (send(fd, message, SIZE, MSG_NOSIGNAL) != SIZE)
                bench_die("send", NULL);
        close(fd);
        return;
    }
    link_open(&link, fd, NQI_ROOM_AUTO, rtt->spin_ns);
    while (link_get(&link))
        link_put(&link, message);
    link_close(&link);
}

static void rtt_once(struct rtt *rtt, struct link *link)
{
    static const char message[SIZE];

    if (!rtt->raw) {
        link_put(link, message);
        if (!link_get(link))
            bench_die("get", "the partner is gone");
    } else if (send(link->fd, message, SIZE, MSG_NOSIGNAL) != SIZE ||
               !raw_get(link->fd, rtt->spin_ns)) {
        bench_die("round trip", NULL);
    }
}

static void rtt_print(const struct rtt *rtt, struct bench_samples *samples, double seconds,
                      const struct nqi_room_counts *was, const struct nqi_room_counts *is)
{
    printf("{\"bench\":\"wait\",\"row\":\"rtt\",\"setting\":\"%s\",\"round_trips\":%llu,"
           "\"mean_us\":%.2f,\"p50_us\":%.2f,\"p99_us\":%.2f",
           rtt->name, (unsigned long long)count, seconds * 1e6 / (double)count,
           bench_percentile_us(samples, 0.5), bench_percentile_us(samples, 0.99));
    if (!rtt->raw)
        printf(",\"sleeps\":%llu,\"spins_paid\":%llu,\"spins_lost\":%llu,\"kicks\":%llu,"
               "\"keeper_ticks\":%llu,\"keeper_turns\":%llu",
               (unsigned long long)(is->sleeps - was->sleeps),
               (unsigned long long)(is->spins_paid - was->spins_paid),
               (unsigned long long)(is->spins_lost - was->spins_lost),
               (unsigned long long)(is->kicks - was->kicks),
               (unsigned long long)(is->keeper_ticks - was->keeper_ticks),
               (unsigned long long)(is->keeper_turns - was->keeper_turns));
    printf("}\n");
}

static void rtt_run(void *arg)
{
    struct rtt *rtt = arg;
    struct bench_opts opts = {.cpu = {-1, -1}};
    struct nqi_room_counts was = {0}, is = {0};
    struct bench_samples samples;
    struct bench_peer peer;
    struct link link = {0};
    int64_t start, last;
    int listener = listen_on_loopback(&rtt->addr);

    if (rtt->one_core)
        opts.cpu[0] = opts.cpu[1] = sched_getcpu();
    peer = bench_peer_start(&opts, rtt_answer, rtt);
    link.fd = accept_from(listener);
    if (!rtt->raw)
        link_open(&link, link.fd, NQI_ROOM_AUTO, rtt->spin_ns);
    bench_samples_init(&samples, count);
    for (uint64_t i = 0; i < count / 10 + 100; i++)
        rtt_once(rtt, &link);
    if (!rtt->raw)
        nqi_room_count(link.room, &was);
    start = last = bench_now_ns();
    for (uint64_t i = 0; i < count; i++) {
        int64_t now;

        rtt_once(rtt, &link);
        now = bench_now_ns();
        bench_samples_add(&samples, now - last);
        last = now;
    }
    if (!rtt->raw)
        nqi_room_count(link.room, &is);
    rtt_print(rtt, &samples, (double)(last - start) * 1e-9, &was, &is);
    if (rtt->raw)
        close(link.fd);
    else
        link_close(&link);
    bench_peer_wait(&peer);
    bench_samples_fini(&samples);
}

/* ---- put beside a sleeping getter
 * ----------------------------------------------------------------- */

static void put_drain(const struct bench_opts *opts, int pipe, void *arg)
{
    int fds[2] = {connect_to(arg), connect_to(arg)};
    struct pollfd pollers[2] = {{.fd = fds[0], .events = POLLIN}, {.fd = fds[1], .events = POLLIN}};
    char bytes[4096];

    (void)opts;
    (void)pipe;
    while (poll(pollers, 2, -1) > 0)
        for (int i = 0; i < 2; i++)
            if (pollers[i].revents && recv(fds[i], bytes, sizeof(bytes), 0) <= 0)
                return;
}

static void *put_getter(void *arg)
{
    struct link *link = arg;

    while (link_get(link))
        ;
    return NULL;
}

static void put_run(void *arg)
{
    static const char message[SIZE];
    struct bench_opts opts = {.cpu = {-1, -1}};
    struct nqi_room_counts was, is;
    struct bench_samples puts, sends;
    struct sockaddr_in addr;
    struct bench_peer peer;
    struct link link;
    pthread_t getter;
    int listener = listen_on_loopback(&addr), fd;

    (void)arg;
    peer = bench_peer_start(&opts, put_drain, &addr);
    link_open(&link, accept_from(listener), NQI_ROOM_AUTO, 0);
    fd = accept_from(listener);
    if (pthread_create(&getter, NULL, put_getter, &link))
        bench_die("thread", NULL);
    while (atomic_load(&link.room->token) != TOKEN_SLEEP)
        sched_yield();
    bench_samples_init(&puts, count);
    bench_samples_init(&sends, count);
    nqi_room_count(link.room, &was);
    for (uint64_t i = 0; i < count; i++) {
        int64_t start = bench_now_ns(), middle, end;

        link_put(&link, message);
        middle = bench_now_ns();
        if (send(fd, message, SIZE, MSG_NOSIGNAL | MSG_DONTWAIT) != SIZE)
            bench_die("send", NULL);
        end = bench_now_ns();
        bench_samples_add(&puts, middle - start);
        bench_samples_add(&sends, end - middle);
        /* The receiver sleeps again, so that each of the two wakes it as often. */
        if (i % 2)
            link_put(&link, message);
    }
    nqi_room_count(link.room, &is);
    printf("{\"bench\":\"wait\",\"row\":\"put\",\"setting\":\"beside a sleeping getter\","
           "\"puts\":%llu,\"put_p50_us\":%.2f,\"put_p99_us\":%.2f,\"raw_send_p50_us\":%.2f,"
           "\"raw_send_p99_us\":%.2f,\"kicks\":%llu,\"getter_turns\":%llu}\n",
           (unsigned long long)count, bench_percentile_us(&puts, 0.5),
           bench_percentile_us(&puts, 0.99), bench_percentile_us(&sends, 0.5),
           bench_percentile_us(&sends, 0.99), (unsigned long long)(is.kicks - was.kicks),
           (unsigned long long)(is.turns - was.turns));
    close(fd);
    shutdown(link.fd, SHUT_RDWR);
    pthread_join(getter, NULL);
    link_close(&link);
    bench_peer_wait(&peer);
    bench_samples_fini(&puts);
    bench_samples_fini(&sends);
}

/* ---- the words alone
 * ------------------------------------------------------------------------------- */

static struct nqi_loop *words_loop;
static struct nqi_room *words_room;
static struct nqi_strand *words_strand;

static void word_nothing(struct nqi_work *work)
{
    (void)work;
}

static bool word_ready(void *arg)
{
    (void)arg;
    return true;
}

static void word_strand(void)
{
    if (nqi_strand_try(words_strand))
        nqi_strand_leave(words_strand);
}

static void word_run(void)
{
    struct nqi_work work = {.run = word_nothing};

    nqi_strand_run(words_strand, &work);
}

static void word_push(void)
{
    struct nqi_work work = {.run = word_nothing};

    if (!nqi_strand_try(words_strand))
        return;
    nqi_strand_run(words_strand, &work);
    nqi_strand_leave(words_strand);
}

static void word_token(void)
{
    if (!nqi_token_try(words_room))
        return;
    nqi_keeper_stand_down(words_room);
    nqi_token_leave(words_room);
}

static void word_notify(void)
{
    nqi_room_notify(words_room);
}

static void word_wait(void)
{
    need(nqi_room_wait(words_room, word_ready, NULL, NQ_FOREVER));
}

static void word_poll(void)
{
    nqi_room_poll(words_room);
}

static int double_order(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Median of nine runs. */
static double word_ns(void (*fn)(void))
{
    enum { RUNS = 9, CALLS = 100000 };
    double ns[RUNS];

    for (int i = 0; i < RUNS; i++) {
        int64_t start = bench_now_ns();

        for (int n = 0; n < CALLS; n++)
            fn();
        ns[i] = (double)(bench_now_ns() - start) / CALLS;
    }
    qsort(ns, RUNS, sizeof(ns[0]), double_order);
    return ns[RUNS / 2];
}

static void words_run(void *arg)
{
    (void)arg;
    need(nqi_loop_new(&words_loop));
    need(nqi_room_new(words_loop, NQI_ROOM_AUTO, 0, &words_room));
    words_strand = nqi_strand_new();
    if (!words_strand)
        bench_die("strand", NULL);
    printf("{\"bench\":\"wait\",\"row\":\"words\",\"strand_ns\":%.1f,\"strand_run_ns\":%.1f,"
           "\"strand_push_ns\":%.1f,\"token_ns\":%.1f,\"notify_ns\":%.1f,\"wait_ready_ns\":%.1f,"
           "\"poll_ns\":%.1f}\n",
           word_ns(word_strand), word_ns(word_run), word_ns(word_push), word_ns(word_token),
           word_ns(word_notify), word_ns(word_wait), word_ns(word_poll));
    nqi_strand_unref(words_strand);
    nqi_room_free(words_room);
    nqi_loop_free(words_loop);
}

/* ---- idleness
 * ---------------------------------------------------------------------------------------- */

struct idle {
    const char *name;
    enum nqi_room_mode mode;
    bool getter;
};

/* Times that threads of this process, but not this one, came to a processor. */
static uint64_t idle_switches(unsigned *threads)
{
    DIR *dir = opendir("/proc/self/task");
    uint64_t sum = 0;

    if (!dir)
        bench_die("/proc/self/task", NULL);
    *threads = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[300], line[200];
        unsigned long long n;
        FILE *status;

        if (entry->d_name[0] == '.' || atol(entry->d_name) == syscall(SYS_gettid))
            continue;
        snprintf(path, sizeof(path), "/proc/self/task/%s/status", entry->d_name);
        status = fopen(path, "re");
        if (!status)
            continue;
        ++*threads;
        while (fgets(line, sizeof(line), status))
            if (sscanf(line, "voluntary_ctxt_switches: %llu", &n) == 1 ||
                sscanf(line, "nonvoluntary_ctxt_switches: %llu", &n) == 1)
                sum += n;
        fclose(status);
    }
    closedir(dir);
    return sum;
}

static void idle_wait(double seconds)
{
    struct timespec ts = {.tv_sec = (time_t)seconds,
                          .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};

    while (nanosleep(&ts, &ts))
        ;
}

static void idle_run(void *arg)
{
    struct idle *idle = arg;
    struct sockaddr_in addr;
    int listener = listen_on_loopback(&addr), other;
    struct rusage was, is;
    uint64_t before, after;
    struct link link;
    pthread_t getter;
    unsigned threads;
    double cpu_ms;

    link_open(&link, connect_to(&addr), idle->mode, NQI_SPIN_AUTO);
    other = accept_from(listener);
    if (idle->getter && pthread_create(&getter, NULL, put_getter, &link))
        bench_die("thread", NULL);
    for (int i = 0; i < 100; i++) /* some traffic, so that the keeper has been up */
        if (send(other, &link, SIZE, MSG_NOSIGNAL) != SIZE)
            bench_die("send", NULL);
    idle_wait(0.3); /* spin, tick, and come to rest */
    before = idle_switches(&threads);
    getrusage(RUSAGE_SELF, &was);
    idle_wait(idle_s);
    getrusage(RUSAGE_SELF, &is);
    after = idle_switches(&threads);
    cpu_ms = (double)(is.ru_utime.tv_sec - was.ru_utime.tv_sec) * 1e3 +
             (double)(is.ru_utime.tv_usec - was.ru_utime.tv_usec) * 1e-3 +
             (double)(is.ru_stime.tv_sec - was.ru_stime.tv_sec) * 1e3 +
             (double)(is.ru_stime.tv_usec - was.ru_stime.tv_usec) * 1e-3;
    printf("{\"bench\":\"wait\",\"row\":\"idle\",\"setting\":\"%s\",\"seconds\":%u,\"threads\":%u,"
           "\"wake_ups\":%llu,\"cpu_ms\":%.2f}\n",
           idle->name, idle_s, threads, (unsigned long long)(after - before), cpu_ms);
    shutdown(link.fd, SHUT_RDWR);
    if (idle->getter)
        pthread_join(getter, NULL);
    link_close(&link);
    close(other);
}

/* ---- main
 * -----------------------------------------------------------------------------------------------
 */

static const char *only = "";

/* In a process of its own. */
static void row(const char *name, void (*fn)(void *arg), void *arg)
{
    int status;
    pid_t pid;

    if (*only && strcmp(only, name))
        return;
    fflush(stdout);
    pid = fork();
    if (pid < 0)
        bench_die("fork", NULL);
    if (!pid) {
        fn(arg);
        exit(EXIT_SUCCESS);
    }
    if (waitpid(pid, &status, 0) != pid || status)
        exit(EXIT_FAILURE);
}

static void options(int argc, char **argv)
{
    static const struct option known[] = {{"count", required_argument, NULL, 'c'},
                                          {"idle", required_argument, NULL, 'i'},
                                          {"only", required_argument, NULL, 'o'},
                                          {0}};

    for (int key; (key = getopt_long(argc, argv, "", known, NULL)) >= 0;) {
        if (key == 'c') {
            count = strtoull(optarg, NULL, 10);
        } else if (key == 'i') {
            idle_s = (unsigned)strtoul(optarg, NULL, 10);
        } else if (key == 'o') {
            only = optarg;
        } else {
            fprintf(stderr, "usage: bench_wait [--count N] [--idle SECONDS] [--only NAME]\n");
            exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    static struct rtt rtts[] = {
        {.name = "raw, sleeping", .raw = true},
        {.name = "sleeping"},
        {.name = "raw, spinning", .raw = true, .spin_ns = 1},
        {.name = "spinning", .spin_ns = 10 * NQI_NS_PER_MS},
        {.name = "adaptive", .spin_ns = NQI_SPIN_AUTO},
        {.name = "raw, sleeping, one core", .raw = true, .one_core = true},
        {.name = "adaptive, one core", .spin_ns = NQI_SPIN_AUTO, .one_core = true},
    };
    static struct idle idles[] = {
        {"auto, a sleeping getter", NQI_ROOM_AUTO, true},
        {"auto, nobody waits", NQI_ROOM_AUTO, false},
        {"thread, nobody waits", NQI_ROOM_THREAD, false},
        {"manual, a sleeping getter", NQI_ROOM_MANUAL, true},
    };

    options(argc, argv);
    for (size_t i = 0; i < NQI_LEN(rtts); i++)
        row("rtt", rtt_run, &rtts[i]);
    row("put", put_run, NULL);
    row("words", words_run, NULL);
    for (size_t i = 0; i < NQI_LEN(idles); i++)
        row("idle", idle_run, &idles[i]);
    return EXIT_SUCCESS;
}
