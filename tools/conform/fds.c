/* Which descriptors are open.  See host.h. */
#include "tools/conform/host_in.h"
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FDS_KNOWN 4096

bool nqtest_fds_of_library;
static pthread_mutex_t fds_mtx = PTHREAD_MUTEX_INITIALIZER;
static bool fds_known[FDS_KNOWN], fds_again; /* under fds_mtx */

/* The threads of a library look up what the machine is like when they please: gRPC's measures the
 * clock.  Such a file is open for a moment and nobody's leak; no plugin reads one. */
static bool fd_is_about_the_machine(int dir, const char *fd)
{
    static const char below[] = "/sys/";
    char target[sizeof(below)];
    ssize_t len = readlinkat(dir, fd, target, sizeof(target));

    return len > 0 && !strncmp(target, below, strlen(below));
}

/* A library may make a descriptor in two steps, socket() and fcntl(), on a thread of its own: who
 * looks between them looks again, for a second.  Closed meanwhile is fine, too. */
static bool fd_is_close_on_exec(int fd)
{
    int64_t deadline = nqtest_clock_ms() + 1000;
    int flags;

    do {
        flags = fcntl(fd, F_GETFD);
        if (flags < 0 || (flags & FD_CLOEXEC))
            return true;
        sched_yield();
    } while (nqtest_clock_ms() < deadline);
    return false;
}

/* The next of those that are looked at; -1 = no more. */
static int next_fd(DIR *dir)
{
    struct dirent *entry;

    while ((entry = readdir(dir))) {
        int fd = atoi(entry->d_name);

        if (entry->d_name[0] != '.' && fd != dirfd(dir) && fd < FDS_KNOWN &&
            !fd_is_about_the_machine(dirfd(dir), entry->d_name))
            return fd;
    }
    return -1;
}

static DIR *open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");

    NQTEST_MUST(NONE, dir, "/proc/self/fd cannot be read");
    return dir;
}

int nqtest_fds(void)
{
    DIR *dir = open_fds();
    int n = 0, fd;

    pthread_mutex_lock(&fds_mtx);
    for (; (fd = next_fd(dir)) >= 0; n++) {
        if (!fds_again)
            fds_known[fd] = true;
        NQTEST_MUST(FDS, fds_known[fd] || nqtest_fds_of_library || fd_is_close_on_exec(fd),
                    "descriptor %d is not close-on-exec", fd);
    }
    fds_again = true;
    pthread_mutex_unlock(&fds_mtx);
    closedir(dir);
    return n;
}

/* ---- for people ------------------------------------------------------------------------- */

/* What a socket is connected to, and how TCP's connection is; "" = nothing is known. */
static void say_socket(int fd, char *ret, size_t cap)
{
    struct sockaddr_in ends[2] = {{0}, {0}};
    socklen_t len = sizeof(ends[0]);
    struct tcp_info info = {0};

    *ret = '\0';
    if (getsockname(fd, (struct sockaddr *)&ends[0], &len) || ends[0].sin_family != AF_INET)
        return;
    len = sizeof(ends[1]);
    (void)getpeername(fd, (struct sockaddr *)&ends[1], &len);
    len = sizeof(info);
    (void)getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len);
    snprintf(ret, cap, " port %u to %u, state %u", ntohs(ends[0].sin_port), ntohs(ends[1].sin_port),
             info.tcpi_state);
}

void nqtest_fds_text(char *ret, size_t cap)
{
    DIR *dir = open_fds();
    size_t used = 0;
    int fd;

    *ret = '\0';
    pthread_mutex_lock(&fds_mtx);
    while ((fd = next_fd(dir)) >= 0 && used < cap) {
        char name[32], target[64] = "", about[64];

        if (fds_known[fd])
            continue;
        snprintf(name, sizeof(name), "%d", fd);
        if (readlinkat(dirfd(dir), name, target, sizeof(target) - 1) < 0)
            continue; /* closed meanwhile */
        say_socket(fd, about, sizeof(about));
        used += (size_t)snprintf(ret + used, cap - used, "%s%d = %s%s", used ? "; " : "", fd,
                                 target, about);
    }
    pthread_mutex_unlock(&fds_mtx);
    closedir(dir);
}
