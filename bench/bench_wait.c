/* What waiting costs: round trips over a plain tcp socket through loop and room, put beside a
 * sleeping getter, the state words alone, and idleness.  One line of JSON each.
 *
 *     bench_wait [--count N] [--idle SECONDS] [--only NAME]
 *
 * N round trips per row (20000; a million for the real thing).  Names: rtt put words idle.  Each
 * row runs in processes of its own, so that nothing of one is left in the next.  The rows that
 * begin with raw do the same with nothing but system calls. */
#include "bench/bench_wait.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

uint64_t wait_count = 20000;
unsigned wait_idle_s = 10;

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
            wait_count = strtoull(optarg, NULL, 10);
        } else if (key == 'i') {
            wait_idle_s = (unsigned)strtoul(optarg, NULL, 10);
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
    static struct wait_rtt rtts[] = {
        {.name = "raw, sleeping", .raw = true},
        {.name = "sleeping"},
        {.name = "raw, spinning", .raw = true, .spin_ns = 1},
        {.name = "spinning", .spin_ns = 10 * NQI_NS_PER_MS},
        {.name = "adaptive", .spin_ns = NQI_SPIN_AUTO},
        {.name = "raw, sleeping, one core", .raw = true, .one_core = true},
        {.name = "adaptive, one core", .spin_ns = NQI_SPIN_AUTO, .one_core = true},
    };
    static struct wait_idle idles[] = {
        {"auto, a sleeping getter", NQI_ROOM_AUTO, true},
        {"auto, nobody waits", NQI_ROOM_AUTO, false},
        {"thread, nobody waits", NQI_ROOM_THREAD, false},
        {"manual, a sleeping getter", NQI_ROOM_MANUAL, true},
    };

    options(argc, argv);
    for (size_t i = 0; i < NQI_LEN(rtts); i++)
        row("rtt", wait_run_rtt, &rtts[i]);
    row("put", wait_run_put, NULL);
    row("words", wait_run_words, NULL);
    for (size_t i = 0; i < NQI_LEN(idles); i++)
        row("idle", wait_run_idle, &idles[i]);
    return EXIT_SUCCESS;
}
