#include "tests/support/stats_reader.h"
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char folder[32], path[64], key[128];

void nqtest_stats_setup(void)
{
    snprintf(folder, sizeof(folder), "/tmp/nqstats-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/socket", folder);
    snprintf(key, sizeof(key), ", 'stats': {'socket': '%s'}", path);
}

void nqtest_stats_teardown(void)
{
    (void)unlink(path);
    ck_assert_int_eq(rmdir(folder), 0);
}

const char *nqtest_stats_path(void)
{
    return path;
}

const char *nqtest_stats_folder(void)
{
    return folder;
}

const char *nqtest_stats_key(void)
{
    return key;
}

int nqtest_stats_connect(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    memcpy(addr.sun_path, path, strlen(path) + 1);
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
        return fd;
    close(fd);
    return -1;
}

/* Drives `queue`, or just waits. */
static bool reader_is_ready(int fd, nq_queue *queue)
{
    struct pollfd pollfds[2] = {{.fd = fd, .events = POLLIN},
                                {.fd = queue ? nq_fd(queue) : -1, .events = POLLIN}};

    ck_assert_int_gt(poll(pollfds, 2, (int)(NQTEST_WAIT / NQTEST_MS)), 0);
    if (pollfds[1].revents)
        ck_assert_int_ge(nq_poll(queue), 0);
    return pollfds[0].revents;
}

char *nqtest_stats_rest(int fd, nq_queue *queue)
{
    size_t len = 0, cap = 1 << 16;
    char *text = malloc(cap);

    for (;;) {
        ssize_t n;

        ck_assert_ptr_nonnull(text);
        if (!reader_is_ready(fd, queue))
            continue;
        n = read(fd, text + len, cap - len - 1);
        if (n <= 0) {
            ck_assert(n == 0 || errno == ECONNRESET);
            text[len] = '\0';
            return text;
        }
        len += (size_t)n;
        if (cap - len < 2)
            text = realloc(text, cap *= 2);
    }
}

json_t *nqtest_stats_read(int fd, nq_queue *queue)
{
    char *text = nqtest_stats_rest(fd, queue);
    json_error_t error;
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, &error);

    ck_assert_msg(json != NULL, "%s in: %s", error.text, text);
    free(text);
    close(fd);
    return json;
}

json_t *nqtest_stats_ask(nq_queue *queue)
{
    int fd = nqtest_stats_connect();

    ck_assert_int_ge(fd, 0);
    return nqtest_stats_read(fd, queue);
}
