/* Rows of bench_wait with traffic: round trips, and puts beside a sleeping getter. */
#include "bench/bench_wait.h"

#include "core/wait_room.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- round trips -------------------------------------------------------------------------- */

static bool raw_get(int fd, bool spin)
{
    char message[WAIT_SIZE];
    ssize_t n = 0, got;

    while (n < WAIT_SIZE) {
        got = recv(fd, message + n, (size_t)(WAIT_SIZE - n), spin ? MSG_DONTWAIT : 0);
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
    static const char message[WAIT_SIZE];
    struct wait_rtt *rtt = arg;
    int fd = wait_connect(&rtt->addr);
    struct wait_link link;

    (void)opts;
    (void)pipe;
    if (rtt->raw) {
        while (raw_get(fd, rtt->spin_ns))
            if (send(fd, message, WAIT_SIZE, MSG_NOSIGNAL) != WAIT_SIZE)
                bench_die("send", NULL);
        close(fd);
        return;
    }
    wait_link_open(&link, fd, NQI_ROOM_AUTO, rtt->spin_ns);
    while (wait_link_get(&link))
        wait_link_put(&link, message);
    wait_link_close(&link);
}

static void rtt_once(struct wait_rtt *rtt, struct wait_link *link)
{
    static const char message[WAIT_SIZE];

    if (!rtt->raw) {
        wait_link_put(link, message);
        if (!wait_link_get(link))
            bench_die("get", "the partner is gone");
    } else if (send(link->fd, message, WAIT_SIZE, MSG_NOSIGNAL) != WAIT_SIZE ||
               !raw_get(link->fd, rtt->spin_ns)) {
        bench_die("round trip", NULL);
    }
}

static void rtt_print(const struct wait_rtt *rtt, struct bench_samples *samples, double seconds,
                      const struct nqi_room_counts *was, const struct nqi_room_counts *is)
{
    printf("{\"bench\":\"wait\",\"row\":\"rtt\",\"setting\":\"%s\",\"round_trips\":%llu,"
           "\"mean_us\":%.2f,\"p50_us\":%.2f,\"p99_us\":%.2f",
           rtt->name, (unsigned long long)wait_count, seconds * 1e6 / (double)wait_count,
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

void wait_run_rtt(void *arg)
{
    struct wait_rtt *rtt = arg;
    struct bench_opts opts = {.cpu = {-1, -1}};
    struct nqi_room_counts was = {0}, is = {0};
    struct bench_samples samples;
    struct bench_peer peer;
    struct wait_link link = {0};
    int64_t start, last;
    int listener = wait_listen(&rtt->addr);

    if (rtt->one_core)
        opts.cpu[0] = opts.cpu[1] = sched_getcpu();
    peer = bench_peer_start(&opts, rtt_answer, rtt);
    link.fd = wait_accept(listener);
    if (!rtt->raw)
        wait_link_open(&link, link.fd, NQI_ROOM_AUTO, rtt->spin_ns);
    bench_samples_init(&samples, wait_count);
    for (uint64_t i = 0; i < wait_count / 10 + 100; i++)
        rtt_once(rtt, &link);
    if (!rtt->raw)
        nqi_room_count(link.room, &was);
    start = last = bench_now_ns();
    for (uint64_t i = 0; i < wait_count; i++) {
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
        wait_link_close(&link);
    bench_peer_wait(&peer);
    bench_samples_fini(&samples);
}

/* ---- put beside a sleeping getter ----------------------------------------------------------- */

static void put_drain(const struct bench_opts *opts, int pipe, void *arg)
{
    int fds[2] = {wait_connect(arg), wait_connect(arg)};
    struct pollfd pollers[2] = {{.fd = fds[0], .events = POLLIN}, {.fd = fds[1], .events = POLLIN}};
    char bytes[4096];

    (void)opts;
    (void)pipe;
    while (poll(pollers, 2, -1) > 0)
        for (int i = 0; i < 2; i++)
            if (pollers[i].revents && recv(fds[i], bytes, sizeof(bytes), 0) <= 0)
                return;
}

void wait_run_put(void *arg)
{
    static const char message[WAIT_SIZE];
    struct bench_opts opts = {.cpu = {-1, -1}};
    struct nqi_room_counts was, is;
    struct bench_samples puts, sends;
    struct sockaddr_in addr;
    struct bench_peer peer;
    struct wait_link link;
    pthread_t getter;
    int listener = wait_listen(&addr), fd;

    (void)arg;
    peer = bench_peer_start(&opts, put_drain, &addr);
    wait_link_open(&link, wait_accept(listener), NQI_ROOM_AUTO, 0);
    fd = wait_accept(listener);
    if (pthread_create(&getter, NULL, wait_getter, &link))
        bench_die("thread", NULL);
    while (atomic_load(&link.room->token) != TOKEN_SLEEP)
        sched_yield();
    bench_samples_init(&puts, wait_count);
    bench_samples_init(&sends, wait_count);
    nqi_room_count(link.room, &was);
    for (uint64_t i = 0; i < wait_count; i++) {
        int64_t start = bench_now_ns(), middle, end;

        wait_link_put(&link, message);
        middle = bench_now_ns();
        if (send(fd, message, WAIT_SIZE, MSG_NOSIGNAL | MSG_DONTWAIT) != WAIT_SIZE)
            bench_die("send", NULL);
        end = bench_now_ns();
        bench_samples_add(&puts, middle - start);
        bench_samples_add(&sends, end - middle);
        /* The receiver sleeps again, so that each of the two wakes it as often. */
        if (i % 2)
            wait_link_put(&link, message);
    }
    nqi_room_count(link.room, &is);
    printf("{\"bench\":\"wait\",\"row\":\"put\",\"setting\":\"beside a sleeping getter\","
           "\"puts\":%llu,\"put_p50_us\":%.2f,\"put_p99_us\":%.2f,\"raw_send_p50_us\":%.2f,"
           "\"raw_send_p99_us\":%.2f,\"kicks\":%llu,\"getter_turns\":%llu}\n",
           (unsigned long long)wait_count, bench_percentile_us(&puts, 0.5),
           bench_percentile_us(&puts, 0.99), bench_percentile_us(&sends, 0.5),
           bench_percentile_us(&sends, 0.99), (unsigned long long)(is.kicks - was.kicks),
           (unsigned long long)(is.turns - was.turns));
    close(fd);
    shutdown(link.fd, SHUT_RDWR);
    pthread_join(getter, NULL);
    wait_link_close(&link);
    bench_peer_wait(&peer);
    bench_samples_fini(&puts);
    bench_samples_fini(&sends);
}
