/* core/local.c: whose socket it is, who may come, and what stands at its place before. */
#include "core/err.h"
#include "core/local.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534u

static char folder[32], path[64];
static struct nqt_unix_id id;

static void setup(void)
{
    snprintf(folder, sizeof(folder), "/tmp/nqlocal-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/socket", folder);
}

static void teardown(void)
{
    (void)unlink(path);
    ck_assert_int_eq(rmdir(folder), 0);
}

static int listen_here(void)
{
    int fd = -1;

    ck_assert_msg(nqi_local_listen(path, 4, &id, &fd) == NQ_OK, "%s", nq_error());
    ck_assert_int_ge(fd, 0);
    return fd;
}

static void refused(const char *why)
{
    int fd = -2;

    ck_assert_int_eq(nqi_local_listen(path, 4, &id, &fd), NQ_ERR_SYS);
    ck_assert_int_eq(fd, -2);
    ck_assert_msg(strstr(nq_error(), why) && strstr(nq_error(), folder), "%s", nq_error());
}

static int come(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(addr.sun_path, path, strlen(path) + 1);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
        return fd;
    close(fd);
    return -1;
}

/* Run `fn` in a child as user `uid`; what it returns. */
static int as_user(uid_t uid, int (*fn)(void))
{
    pid_t child = fork();
    int status;

    ck_assert_int_ge(child, 0);
    if (!child)
        _exit(uid != geteuid() && setuid(uid) ? 99 : fn());
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static bool is_root(void)
{
    if (geteuid() == 0)
        return true;
    puts("# not root: other users are not tried");
    return false;
}

static const mode_t umasks[] = {0, 022, 077, 0177};

START_TEST(the_file_is_the_owners_whatever_the_umask)
{
    mode_t before = umask(umasks[_i]);
    struct stat st;
    int fd = listen_here();

    umask(before);
    ck_assert_int_eq(lstat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode, S_IFSOCK | 0600);
    ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
    ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    close(fd);
}
END_TEST

START_TEST(who_comes_is_taken_and_nobody_is_waited_for)
{
    int fd = listen_here(), client, server;

    ck_assert_int_lt(nqi_local_accept(fd), 0);
    ck_assert_int_eq(errno, EAGAIN);
    client = come();
    server = nqi_local_accept(fd);
    ck_assert_int_ge(server, 0);
    ck_assert_int_eq(fcntl(server, F_GETFD), FD_CLOEXEC);
    ck_assert_int_ne(fcntl(server, F_GETFL) & O_NONBLOCK, 0);
    close(server);
    close(client);
    close(fd);
}
END_TEST

static int come_and_hear(void)
{
    char byte;
    int fd = come();

    return fd < 0 ? 1 : read(fd, &byte, 1) == 0 ? 2 : 3;
}

static int only_come(void)
{
    return come() < 0 ? 1 : 2;
}

START_TEST(another_user_does_not_get_in)
{
    int fd;

    if (!is_root())
        return;
    fd = listen_here();
    ck_assert_int_eq(chmod(folder, 0755), 0);
    ck_assert_int_eq(as_user(NOBODY, come_and_hear), 1);
    /* Should the mode be changed, the credentials keep him out. */
    ck_assert_int_eq(chmod(path, 0666), 0);
    ck_assert_int_eq(as_user(NOBODY, only_come), 2);
    ck_assert_int_lt(nqi_local_accept(fd), 0);
    ck_assert_int_eq(errno, EAGAIN);
    close(fd);
}
END_TEST

START_TEST(a_strangers_place_in_the_line_holds_up_nobody)
{
    int fd, client, server;

    if (!is_root())
        return;
    fd = listen_here();
    ck_assert_int_eq(chmod(folder, 0755) | chmod(path, 0666), 0);
    ck_assert_int_eq(as_user(NOBODY, only_come), 2);
    client = come();
    server = nqi_local_accept(fd);
    ck_assert_int_ge(server, 0);
    close(server);
    close(client);
    close(fd);
}
END_TEST

static int root_is_taken(void)
{
    int fd, client, server;

    return nqi_local_listen(path, 4, &id, &fd)   ? 1
           : (client = come()) < 0               ? 2
           : (server = nqi_local_accept(fd)) < 0 ? 3
                                                 : 4;
}

START_TEST(root_may_come_to_every_user)
{
    if (!is_root())
        return;
    ck_assert_int_eq(chown(folder, NOBODY, (gid_t)-1), 0);
    ck_assert_int_eq(as_user(NOBODY, root_is_taken), 4);
}
END_TEST

/* ---- what stands there ---- */

static int listen_and_die(void)
{
    int fd;

    return nqi_local_listen(path, 4, &id, &fd);
}

START_TEST(a_dead_ones_socket_is_taken_over)
{
    int fd, client;

    ck_assert_int_eq(as_user(geteuid(), listen_and_die), 0);
    fd = listen_here();
    client = come();
    ck_assert_int_ge(client, 0);
    close(client);
    close(fd);
}
END_TEST

START_TEST(a_living_ones_is_refused_and_goes_on)
{
    char mine[128];
    int fd = listen_here(), client;

    snprintf(mine, sizeof(mine), "process %ld listens at %s", (long)getpid(), path);
    refused(mine);
    client = come();
    ck_assert_int_ge(client, 0);
    close(client);
    close(fd);
}
END_TEST

START_TEST(one_that_is_too_busy_to_be_asked_is_alive)
{
    int fd, clients[8], n = 0;

    ck_assert_int_eq(nqi_local_listen(path, 0, &id, &fd), NQ_OK);
    for (; n < 2; n++)
        if ((clients[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)) >= 0) {
            struct sockaddr_un addr = {.sun_family = AF_UNIX};

            memcpy(addr.sun_path, path, strlen(path) + 1);
            (void)!connect(clients[n], (struct sockaddr *)&addr, sizeof(addr));
        }
    refused("listens at");
    while (n)
        close(clients[--n]);
    close(fd);
}
END_TEST

/* A child that outlives its parent has the socket, and does not serve it. */
START_TEST(a_dead_ones_socket_that_its_child_still_has_is_taken_over)
{
    int go[2], gone[2], fd;
    char byte;
    pid_t parent;

    ck_assert_int_eq(pipe(go) | pipe(gone), 0);
    parent = fork();
    if (!parent) {
        if (listen_and_die())
            _exit(1);
        if (!fork()) {
            close(go[1]);
            close(gone[0]);
            (void)!write(gone[1], "x", 1);
            (void)!read(go[0], &byte, 1); /* until the test has ended */
        }
        _exit(0);
    }
    close(gone[1]);
    ck_assert_int_eq(read(gone[0], &byte, 1), 1);
    ck_assert_int_eq(waitpid(parent, NULL, 0), parent);
    ck_assert_int_ge(fd = come(), 0); /* it seems to be there */
    close(fd);
    close(listen_here());
    close(go[1]);
    close(go[0]);
    ck_assert_int_eq(read(gone[0], &byte, 1), 0);
    close(gone[0]);
}
END_TEST

START_TEST(what_is_no_socket_is_left_alone)
{
    char target[64];
    struct stat st;

    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    refused("is no socket");
    ck_assert_int_eq(lstat(path, &st), 0);
    ck_assert(S_ISREG(st.st_mode));
    unlink(path);

    /* Where a link leads to is not looked at. */
    snprintf(target, sizeof(target), "%s/elsewhere", folder);
    ck_assert_int_eq(symlink(target, path), 0);
    refused("is no socket");
    ck_assert_int_lt(lstat(target, &st), 0);
}
END_TEST

START_TEST(another_users_socket_is_left_alone)
{
    if (!is_root())
        return;
    ck_assert_int_eq(as_user(geteuid(), listen_and_die), 0);
    ck_assert_int_eq(lchown(path, NOBODY, (gid_t)-1), 0);
    refused("belongs to user 65534");
}
END_TEST

/* ---- the folder ---- */

START_TEST(a_folder_where_others_replace_files_is_refused)
{
    ck_assert_int_eq(chmod(folder, 0777), 0);
    refused("chmod go-w");
    ck_assert_int_eq(chmod(folder, 0770), 0);
    refused("chmod go-w");
    ck_assert_int_eq(chmod(folder, 01777), 0); /* as /tmp is */
    close(listen_here());
    if (!is_root())
        return;
    ck_assert_int_eq(chmod(folder, 0700) | chown(folder, NOBODY, (gid_t)-1), 0);
    refused("belongs to user 65534");
}
END_TEST

START_TEST(a_folder_that_is_not_there_is_named)
{
    char whole[64];

    memcpy(whole, path, sizeof(whole));
    snprintf(path, sizeof(path), "%s/nowhere/socket", folder);
    refused("cannot open the folder");
    memcpy(path, whole, sizeof(path));
}
END_TEST

START_TEST(a_path_that_is_too_long_is_refused)
{
    char deep[NQI_LOCAL_PATH + 2];
    int fd = -2;

    memset(deep, 'x', sizeof(deep) - 1);
    deep[sizeof(deep) - 1] = '\0';
    ck_assert_int_eq(nqi_local_listen(deep, 4, &id, &fd), NQ_ERR_SYS);
    ck_assert_ptr_nonnull(strstr(nq_error(), "longer than 107 bytes"));
}
END_TEST

START_TEST(the_longest_path_works)
{
    char deep[256], name[NQI_LOCAL_PATH + 1];
    int fd = -1, n = snprintf(deep, sizeof(deep), "%s/", folder);

    memset(deep + n, 'x', sizeof(deep) - (size_t)n);
    deep[NQI_LOCAL_PATH] = '\0';
    memcpy(name, deep, sizeof(name));
    ck_assert_int_eq(nqi_local_listen(name, 4, &id, &fd), NQ_OK);
    nqt_unix_remove(name, &id);
    close(fd);
}
END_TEST

START_TEST(a_folder_that_somebody_locks_is_not_waited_for)
{
    int hands[2];
    char byte;
    pid_t child;

    ck_assert_int_eq(pipe(hands), 0);
    child = fork();
    if (!child) {
        int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct pollfd pollfd = {.fd = hands[1]};

        if (flock(fd, LOCK_EX))
            _exit(1);
        (void)!write(hands[1], "x", 1);
        close(hands[0]);
        poll(&pollfd, 1, -1); /* POLLERR: nobody reads any more */
        _exit(0);
    }
    ck_assert_int_eq(read(hands[0], &byte, 1), 1);
    refused("cannot lock the folder");
    close(hands[0]);
    close(hands[1]);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    close(listen_here());
}
END_TEST

/* ---- the end ---- */

START_TEST(only_ones_own_file_is_removed)
{
    struct nqt_unix_id first;
    struct stat st;
    int fd = listen_here(), second;

    first = id;
    ck_assert_int_eq(unlink(path), 0);
    second = listen_here();
    if (first.ino != id.ino) /* some file systems give the number again at once */
        nqt_unix_remove(path, &first);
    ck_assert_int_eq(lstat(path, &st), 0);
    nqt_unix_remove(path, &id);
    ck_assert_int_lt(lstat(path, &st), 0);
    nqt_unix_remove(path, &id);
    close(fd);
    close(second);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("local");
    TCase *tc = tcase_create("local");

    tcase_set_timeout(tc, 20);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, the_file_is_the_owners_whatever_the_umask, 0, NQI_LEN(umasks));
    tcase_add_test(tc, who_comes_is_taken_and_nobody_is_waited_for);
    tcase_add_test(tc, another_user_does_not_get_in);
    tcase_add_test(tc, a_strangers_place_in_the_line_holds_up_nobody);
    tcase_add_test(tc, root_may_come_to_every_user);
    tcase_add_test(tc, a_dead_ones_socket_is_taken_over);
    tcase_add_test(tc, a_living_ones_is_refused_and_goes_on);
    tcase_add_test(tc, one_that_is_too_busy_to_be_asked_is_alive);
    tcase_add_test(tc, a_dead_ones_socket_that_its_child_still_has_is_taken_over);
    tcase_add_test(tc, what_is_no_socket_is_left_alone);
    tcase_add_test(tc, another_users_socket_is_left_alone);
    tcase_add_test(tc, a_folder_where_others_replace_files_is_refused);
    tcase_add_test(tc, a_folder_that_is_not_there_is_named);
    tcase_add_test(tc, a_path_that_is_too_long_is_refused);
    tcase_add_test(tc, the_longest_path_works);
    tcase_add_test(tc, a_folder_that_somebody_locks_is_not_waited_for);
    tcase_add_test(tc, only_ones_own_file_is_removed);
    suite_add_tcase(suite, tc);
    return suite;
}
