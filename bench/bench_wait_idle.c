/* Row of bench_wait: what a process costs in which nothing happens. */
#include "bench/bench_wait.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

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

void wait_run_idle(void *arg)
{
    struct wait_idle *idle = arg;
    struct sockaddr_in addr;
    int listener = wait_listen(&addr), other;
    struct rusage was, is;
    uint64_t before, after;
    struct wait_link link;
    pthread_t getter;
    unsigned threads;
    double cpu_ms;

    wait_link_open(&link, wait_connect(&addr), idle->mode, NQI_SPIN_AUTO);
    other = wait_accept(listener);
    if (idle->getter && pthread_create(&getter, NULL, wait_getter, &link))
        bench_die("thread", NULL);
    for (int i = 0; i < 100; i++) /* some traffic, so that the keeper has been up */
        if (send(other, &link, WAIT_SIZE, MSG_NOSIGNAL) != WAIT_SIZE)
            bench_die("send", NULL);
    idle_wait(0.3); /* spin, tick, and come to rest */
    before = idle_switches(&threads);
    getrusage(RUSAGE_SELF, &was);
    idle_wait(wait_idle_s);
    getrusage(RUSAGE_SELF, &is);
    after = idle_switches(&threads);
    cpu_ms = (double)(is.ru_utime.tv_sec - was.ru_utime.tv_sec) * 1e3 +
             (double)(is.ru_utime.tv_usec - was.ru_utime.tv_usec) * 1e-3 +
             (double)(is.ru_stime.tv_sec - was.ru_stime.tv_sec) * 1e3 +
             (double)(is.ru_stime.tv_usec - was.ru_stime.tv_usec) * 1e-3;
    printf("{\"bench\":\"wait\",\"row\":\"idle\",\"setting\":\"%s\",\"seconds\":%u,\"threads\":%u,"
           "\"wake_ups\":%llu,\"cpu_ms\":%.2f}\n",
           idle->name, wait_idle_s, threads, (unsigned long long)(after - before), cpu_ms);
    shutdown(link.fd, SHUT_RDWR);
    if (idle->getter)
        pthread_join(getter, NULL);
    wait_link_close(&link);
    close(other);
}
