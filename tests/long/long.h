/* Helpers of the long tests: TAP lines, limits, ports.  Header only: each long test is a
 * program of its own, two or more processes that talk over loopback. */
#ifndef NQ_TESTS_LONG_H
#define NQ_TESTS_LONG_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NQTEST_MIB (INT64_C(1) << 20)
#define NQTEST_GIB (INT64_C(1) << 30)
#define NQTEST_S INT64_C(1000000000)

/* How many tests were reported, and how many of them failed. */
struct nqtest_tap {
    unsigned n, failed;
};

__attribute__((format(printf, 3, 4))) static inline bool nqtest_ok(struct nqtest_tap *tap,
                                                                   bool good, const char *fmt, ...)
{
    va_list args;

    printf("%sok %u - ", good ? "" : "not ", ++tap->n);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
    tap->failed += !good;
    return good;
}

__attribute__((format(printf, 1, 2))) static inline void nqtest_note(const char *fmt, ...)
{
    va_list args;

    printf("# ");
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
}

/* Nothing can be tested here: one TAP line says why. */
static inline _Noreturn void nqtest_skip_all(const char *why)
{
    printf("1..0 # SKIP %s\n", why);
    exit(0);
}

/* Something that is not under test failed. */
static inline _Noreturn void nqtest_bail(const char *what, const char *why)
{
    printf("Bail out! %s: %s\n", what, why && *why ? why : strerror(errno));
    fflush(stdout);
    exit(99);
}

/* The plan, and the exit code. */
static inline int nqtest_done(const struct nqtest_tap *tap)
{
    printf("1..%u\n", tap->n);
    return tap->failed ? 1 : 0;
}

static inline int64_t nqtest_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * NQTEST_S + ts.tv_nsec;
}

/* As many open files as the system allows; returns how many that is. */
static inline uint64_t nqtest_raise_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        nqtest_bail("getrlimit", NULL);
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        nqtest_bail("setrlimit", NULL);
    return limit.rlim_cur;
}

/* A port of 127.0.0.1 that nobody listened on a moment ago. */
static inline unsigned nqtest_free_port(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, len) != 0 ||
        getsockname(fd, (struct sockaddr *)&addr, &len) != 0)
        nqtest_bail("port", NULL);
    close(fd);
    return ntohs(addr.sin_port);
}

/* The number behind `key` ("MemAvailable:") in a file of /proc, as it stands there; -1 =
 * not found. */
static inline int64_t nqtest_proc_value(const char *path, const char *key)
{
    FILE *file = fopen(path, "re");
    char line[256];
    long long value = -1;

    while (file && fgets(line, sizeof(line), file))
        if (strncmp(line, key, strlen(key)) == 0) {
            (void)sscanf(line + strlen(key), "%lld", &value);
            break;
        }
    if (file)
        fclose(file);
    return value;
}

/* To be called first in a child: it ends with its parent. */
static inline void nqtest_die_with(pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
}

#endif
