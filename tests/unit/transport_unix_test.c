/* include/netqueue/transport_unix.h: who listens at a path, and what stood there before.  What the
 * core asks for beyond that is in local_test.c, what shm does in shm_path_test.c. */
#include <check.h>
#include <netqueue/transport_unix.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#define LEN(array) (sizeof(array) / sizeof((array)[0]))

static char folder[32], path[NQT_UNIX_PATH];
static struct nqt_unix_id id;

static void setup(void)
{
    snprintf(folder, sizeof(folder), "/tmp/nqunix-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/socket", folder);
}

static void teardown(void)
{
    (void)unlink(path);
    ck_assert_int_eq(rmdir(folder), 0);
}

/* As the header says to do it.  @return descriptor or -errno */
static int listen_at(int type, mode_t mode)
{
    int lock = nqt_unix_lock(path);
    int fd = lock < 0 ? lock : nqt_unix_listen(path, type, mode, 4, &id);

    if (lock >= 0)
        close(lock);
    return fd;
}

static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET};

START_TEST(who_listens_is_found)
{
    int fd = listen_at(types[_i], 0600), client, server;
    struct nqt_unix_peer who;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
    ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    client = nqt_unix_connect(path, types[_i]);
    ck_assert_int_ge(client, 0);
    ck_assert_int_eq(nqt_unix_peer(client, &who), 0);
    ck_assert_int_eq(who.pid, getpid());
    ck_assert_uint_eq(who.uid, geteuid());
    ck_assert_uint_eq(who.gid, getegid());
    server = accept(fd, NULL, NULL);
    ck_assert_int_ge(server, 0);
    ck_assert_int_eq(send(client, "x", 1, 0), 1);
    close(server), close(client), close(fd);
    ck_assert_int_lt(nqt_unix_peer(-1, &who), 0);
    ck_assert_int_eq(who.pid, 0);
    ck_assert_uint_eq(who.uid, (uid_t)-1);
}
END_TEST

static const mode_t modes[] = {0600, 0660, 0666, 0, 0200};

START_TEST(the_mode_is_the_one_that_was_asked_for)
{
    static const mode_t umasks[] = {0, 022, 0177, 0777};
    mode_t mode = modes[_i / 4], before = umask(umasks[_i % 4]);
    int fd = listen_at(SOCK_STREAM, mode);
    struct stat st;

    umask(before);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(lstat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode, S_IFSOCK | mode);
    close(fd);
}
END_TEST

START_TEST(nobody_is_replaced_who_lives)
{
    int fd = listen_at(types[_i], 0600), client;

    ck_assert_int_eq(listen_at(types[_i], 0600), -EADDRINUSE);
    ck_assert_int_eq(listen_at(types[!_i], 0600), -EADDRINUSE); /* another program's */
    client = nqt_unix_connect(path, types[_i]);
    ck_assert_int_ge(client, 0);
    close(client), close(fd);
}
END_TEST

START_TEST(who_has_no_time_to_answer_lives)
{
    int lock = nqt_unix_lock(path), fd, clients[8], n = 0;

    fd = nqt_unix_listen(path, SOCK_STREAM, 0600, 0, &id);
    close(lock);
    while (n < 8 && (clients[n] = nqt_unix_connect(path, SOCK_STREAM)) >= 0)
        n++;
    ck_assert_int_lt(n, 8);
    ck_assert_int_eq(clients[n], -EAGAIN);
    ck_assert_int_eq(listen_at(SOCK_STREAM, 0600), -EADDRINUSE);
    while (n)
        close(clients[--n]);
    close(fd);
}
END_TEST

START_TEST(the_dead_are_replaced)
{
    int fd = listen_at(types[_i], 0600), client;

    close(fd);
    ck_assert_int_eq(nqt_unix_connect(path, types[_i]), -ECONNREFUSED);
    fd = listen_at(types[_i], 0600);
    client = nqt_unix_connect(path, types[_i]);
    ck_assert_int_ge(client, 0);
    close(client), close(fd);
}
END_TEST

/* A child that outlives its parent has the socket, and does not serve it. */
START_TEST(the_dead_are_replaced_though_a_child_has_their_socket)
{
    int go[2], gone[2], fd;
    char byte;
    pid_t parent;

    ck_assert_int_eq(pipe(go) | pipe(gone), 0);
    parent = fork();
    if (!parent) {
        if (listen_at(types[_i], 0600) < 0)
            _exit(1);
        if (!fork()) {
            close(go[1]), close(gone[0]);
            (void)!write(gone[1], "x", 1);
            (void)!read(go[0], &byte, 1); /* until the test has ended */
        }
        _exit(0);
    }
    close(gone[1]);
    ck_assert_int_eq(read(gone[0], &byte, 1), 1);
    ck_assert_int_eq(waitpid(parent, NULL, 0), parent);
    fd = nqt_unix_connect(path, types[_i]);
    ck_assert_int_ge(fd, 0); /* it seems to be there */
    close(fd);
    fd = listen_at(types[_i], 0600);
    ck_assert_int_ge(fd, 0);
    close(fd), close(go[1]), close(go[0]);
    ck_assert_int_eq(read(gone[0], &byte, 1), 0);
    close(gone[0]);
}
END_TEST

START_TEST(what_is_no_socket_is_left_alone)
{
    struct stat st;

    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    ck_assert_int_eq(listen_at(SOCK_STREAM, 0600), -EADDRINUSE);
    ck_assert_int_eq(lstat(path, &st), 0);
    ck_assert(S_ISREG(st.st_mode));
    unlink(path);
    ck_assert_int_eq(symlink("elsewhere", path), 0); /* where it leads to is not looked at */
    ck_assert_int_eq(listen_at(SOCK_STREAM, 0600), -EADDRINUSE);
}
END_TEST

START_TEST(a_locked_folder_is_not_waited_for)
{
    int lock = nqt_unix_lock(path), fd;

    ck_assert_int_ge(lock, 0);
    ck_assert_int_eq(fcntl(lock, F_GETFD), FD_CLOEXEC);
    ck_assert_int_eq(nqt_unix_lock(path), -EAGAIN);
    close(lock);
    fd = listen_at(SOCK_STREAM, 0600);
    ck_assert_int_ge(fd, 0);
    close(fd);
}
END_TEST

START_TEST(only_the_own_file_is_removed)
{
    struct nqt_unix_id first;
    struct stat st;
    int fd = listen_at(SOCK_STREAM, 0600), second;

    first = id;
    ck_assert_int_eq(unlink(path), 0);
    second = listen_at(SOCK_STREAM, 0600);
    if (first.ino != id.ino) /* some file systems give the number again at once */
        nqt_unix_remove(path, &first);
    ck_assert_int_eq(lstat(path, &st), 0);
    nqt_unix_remove(path, &id);
    ck_assert_int_lt(lstat(path, &st), 0);
    nqt_unix_remove(path, &id);
    close(fd), close(second);
}
END_TEST

static const struct {
    const char *path, *folder;
} folders[] = {{"/a/b", "/a"}, {"/a/b/c", "/a/b"}, {"/a", "/"}, {"a/b", "a"},
               {"a", "."},     {"./a", "."},       {"", "."},   {"//a", "/"}};

START_TEST(the_folder_is_what_stands_before_the_last_slash)
{
    char out[16];

    nqt_unix_folder(folders[_i].path, out);
    ck_assert_str_eq(out, folders[_i].folder);
}
END_TEST

START_TEST(a_path_is_as_long_as_the_system_allows)
{
    char deep[NQT_UNIX_PATH + 1];
    size_t n = strlen(folder);
    int fd;

    memset(deep, 'x', sizeof(deep));
    memcpy(deep, path, n + 1);
    deep[NQT_UNIX_PATH] = '\0';
    ck_assert_int_eq(nqt_unix_lock(deep), -ENAMETOOLONG);
    ck_assert_int_eq(nqt_unix_connect(deep, SOCK_STREAM), -ENAMETOOLONG);
    ck_assert_int_eq(nqt_unix_listen(deep, SOCK_STREAM, 0600, 1, &id), -ENAMETOOLONG);
    deep[NQT_UNIX_PATH - 1] = '\0';
    fd = nqt_unix_listen(deep, SOCK_STREAM, 0600, 1, &id);
    ck_assert_int_ge(fd, 0);
    nqt_unix_remove(deep, &id);
    close(fd);
    snprintf(deep, sizeof(deep), "%s/nowhere/socket", folder);
    ck_assert_int_eq(nqt_unix_lock(deep), -ENOENT);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("transport_unix");
    TCase *tc = tcase_create("transport_unix");

    tcase_set_timeout(tc, 20);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, who_listens_is_found, 0, LEN(types));
    tcase_add_loop_test(tc, the_mode_is_the_one_that_was_asked_for, 0, 4 * LEN(modes));
    tcase_add_loop_test(tc, nobody_is_replaced_who_lives, 0, LEN(types));
    tcase_add_test(tc, who_has_no_time_to_answer_lives);
    tcase_add_loop_test(tc, the_dead_are_replaced, 0, LEN(types));
    tcase_add_loop_test(tc, the_dead_are_replaced_though_a_child_has_their_socket, 0, LEN(types));
    tcase_add_test(tc, what_is_no_socket_is_left_alone);
    tcase_add_test(tc, a_locked_folder_is_not_waited_for);
    tcase_add_test(tc, only_the_own_file_is_removed);
    tcase_add_loop_test(tc, the_folder_is_what_stands_before_the_last_slash, 0, LEN(folders));
    tcase_add_test(tc, a_path_is_as_long_as_the_system_allows);
    suite_add_tcase(suite, tc);
    return suite;
}
