/* See broker.h. */
#include "tests/support/broker.h"
#include "tests/support/port.h"
#include <arpa/inet.h>
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const broker_paths[] = {"/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto",
                                           "/usr/bin/mosquitto", NULL};
static pid_t broker_pid; /* 0 = none runs */
static unsigned broker_port;

static const char *broker_path(void)
{
    for (size_t i = 0; broker_paths[i]; i++)
        if (access(broker_paths[i], X_OK) == 0)
            return broker_paths[i];
    return NULL;
}

bool nqtest_broker_installed(void)
{
    return broker_path();
}

static int broker_socket(struct sockaddr_in *addr)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    *addr = (struct sockaddr_in){.sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)broker_port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return fd;
}

/* It reads its configuration from a file that has no name any more. */
static int broker_config(const char *more)
{
    const char *folder = getenv("TMPDIR");
    char path[256], text[1024];
    int fd, len;

    snprintf(path, sizeof(path), "%.200s/nq-broker-XXXXXX", folder ? folder : "/tmp");
    fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    unlink(path);
    len = snprintf(text, sizeof(text),
                   "listener %u 127.0.0.1\nallow_anonymous true\npersistence false\n"
                   "set_tcp_nodelay true\nlog_dest none\n%s\n",
                   broker_port, more);
    ck_assert_int_eq(write(fd, text, (size_t)len), len);
    return fd;
}

/* In the child; only what is safe there. */
__attribute__((noreturn)) static void broker_exec(const char *path, int config, pid_t parent)
{
    static const char file[] = "/proc/self/fd/3";
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (config != 3)
        dup2(config, 3);
    else
        fcntl(config, F_SETFD, 0);
    if (getppid() == parent)
        execl(path, path, "-c", file, (char *)NULL);
    _exit(127);
}

static bool broker_accepts(void)
{
    struct sockaddr_in addr;
    int fd = broker_socket(&addr);
    bool fine = connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0;

    close(fd);
    return fine;
}

unsigned nqtest_broker(const char *more)
{
    const char *path = broker_path();
    pid_t parent = getpid();
    int config;

    if (broker_pid)
        return broker_port;
    if (!broker_port)
        broker_port = nqtest_free_port();
    config = broker_config(more);
    broker_pid = fork();
    if (!broker_pid) /* before any assertion: its lock may have been taken at the fork */
        broker_exec(path, config, parent);
    ck_assert_int_gt(broker_pid, 0);
    close(config);
    while (!broker_accepts()) {
        ck_assert_msg(waitpid(broker_pid, NULL, WNOHANG) == 0, "mosquitto has ended");
        poll(NULL, 0, 1);
    }
    return broker_port;
}

static void broker_end(int number)
{
    ck_assert_int_gt(broker_pid, 0);
    kill(broker_pid, number);
    ck_assert_int_eq(waitpid(broker_pid, NULL, 0), broker_pid);
    broker_pid = 0;
}

void nqtest_broker_kill(void)
{
    broker_end(SIGKILL);
}

void nqtest_broker_end(void)
{
    broker_end(SIGTERM);
}

void nqtest_broker_pause(bool pause)
{
    ck_assert_int_gt(broker_pid, 0);
    kill(broker_pid, pause ? SIGSTOP : SIGCONT);
}

/* The kernel knows them by the name that paho gives them. */
static bool broker_thread_of_paho(const char *task)
{
    static const char name[] = "MQTTAsync";
    char path[64], comm[sizeof(name)] = "";
    FILE *file;

    snprintf(path, sizeof(path), "/proc/self/task/%.20s/comm", task);
    file = fopen(path, "re");
    if (!file) /* it has just ended */
        return false;
    if (!fgets(comm, sizeof(comm), file))
        comm[0] = '\0';
    fclose(file);
    return !strcmp(comm, name);
}

static bool broker_threads_run(void)
{
    DIR *dir = opendir("/proc/self/task");
    struct dirent *entry;
    bool found = false;

    ck_assert_ptr_nonnull(dir);
    while (!found && (entry = readdir(dir)))
        found = broker_thread_of_paho(entry->d_name);
    closedir(dir);
    return found;
}

void nqtest_broker_threads_end(void)
{
    while (broker_threads_run()) /* no longer than the test may take */
        sched_yield();
}
