/* What plugins/shm says of paths that do not do: what is wrong, where, and what to do.
 *
 * What a user may not do is tried as another one than root, which may do all. */
#include "tests/plugins/shm_rig.h"
#include "tests/support/queue.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define NOBODY 65534

static char folder[SHM_PATH_MAX];

static void setup(void)
{
    nqt_unix_folder(nqtest_shm_path, folder);
}

static void teardown(void)
{
    ck_assert_int_eq(seteuid(getuid()), 0);
    ck_assert_int_eq(chmod(folder, 0700), 0);
    (void)unlink(nqtest_shm_path);
}

static void be_somebody_else(void)
{
    if (!getuid())
        ck_assert_int_eq(seteuid(NOBODY), 0);
}

static void expect(const char *text, const char *where, const char *what)
{
    ck_assert_msg(strstr(text, where) != NULL, "\"%s\" is not in \"%s\"", where, text);
    ck_assert_msg(strstr(text, what) != NULL, "\"%s\" is not in \"%s\"", what, text);
}

/* A server there does not open. */
static void refused(const char *path, int code, const char *what)
{
    const struct nqtest_opt opts[] = {{"path", path}, {NULL, NULL}};
    struct nqtest_host *host = nqtest_host_new(&shm_LTX_nqt1_module, 0);
    struct nqt_error err = {.size = sizeof(err)};
    struct nqtest_ep *ep;

    ck_assert_int_eq(nqtest_ep_open(host, true, opts, &ep, &err), code);
    expect(err.text, code == NQT_E_SYS ? path : "path: ", what);
    nqtest_host_free(host);
}

/* A client does not get in, and is told why. */
static void not_let_in(const char *what)
{
    nq_queue *queue = nqtest_open(
        "{'purpose': 'client', 'transport': 'shm', 'path': '%s', 'connect_timeout': '10ms'}",
        nqtest_shm_path);
    struct nq_event event = nqtest_event(queue, NQ_EVENT_REFUSED);

    expect(event.text, nqtest_shm_path, what);
    nq_free(queue);
}

/* A socket of that type at the path; it listens unless `dead`. */
static int stand(int type, bool dead)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

    memcpy(addr.sun_path, nqtest_shm_path, strlen(nqtest_shm_path));
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    if (!dead)
        ck_assert_int_eq(listen(fd, 4), 0);
    return fd;
}

/* ---- servers ----------------------------------------------------------------------------- */

START_TEST(a_path_that_is_too_long_is_told_its_length)
{
    char path[200];

    memset(path, 'x', sizeof(path));
    path[0] = '/';
    path[sizeof(path) - 1] = '\0';
    refused(path, NQT_E_CONFIG, "has 199 bytes, and that of a socket at most 107: choose");
    path[108] = '\0';
    refused(path, NQT_E_CONFIG, "has 108 bytes");
}
END_TEST

START_TEST(a_folder_that_is_missing_is_to_be_created)
{
    refused("/nonexistent-folder/socket", NQT_E_SYS, "the folder does not exist: create it");
    refused("/dev/null/socket", NQT_E_SYS, "the folder does not exist");
}
END_TEST

START_TEST(a_folder_that_the_user_may_not_use_names_the_user)
{
    char text[64];

    ck_assert_int_eq(chmod(folder, getuid() ? 0 : 0700), 0);
    be_somebody_else();
    snprintf(text, sizeof(text), "user %u may not read, write and enter the folder",
             (unsigned)geteuid());
    refused(nqtest_shm_path, NQT_E_SYS, text);
}
END_TEST

START_TEST(a_path_in_use_names_who_uses_it)
{
    int fd = stand(SOCK_SEQPACKET, false);
    char text[64];

    snprintf(text, sizeof(text), "in use: process %d of user %u listens there", (int)getpid(),
             (unsigned)geteuid());
    refused(nqtest_shm_path, NQT_E_SYS, text);
    close(fd);
}
END_TEST

START_TEST(a_file_and_a_socket_of_another_kind_are_left_alone)
{
    int fd = open(nqtest_shm_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

    ck_assert_int_ge(fd, 0);
    close(fd);
    refused(nqtest_shm_path, NQT_E_SYS, "a file that is no socket is there: name another path");
    unlink(nqtest_shm_path);
    fd = stand(SOCK_STREAM, false);
    refused(nqtest_shm_path, NQT_E_SYS, "in use; is another server running?");
    close(fd);
}
END_TEST

START_TEST(another_users_socket_names_both_users)
{
    int fd = stand(SOCK_SEQPACKET, false);
    char text[100];

    if (!getuid()) { /* else there is no other user to be */
        ck_assert_int_eq(chmod(nqtest_shm_path, 0600), 0);
        ck_assert_int_eq(chmod(folder, 01777), 0);
        be_somebody_else();
        snprintf(text, sizeof(text), "socket of user 0 is there, which user %d may not use",
                 NOBODY);
        refused(nqtest_shm_path, NQT_E_SYS, text);
        ck_assert_int_eq(seteuid(0), 0);
        close(fd);
        ck_assert_int_eq(chmod(nqtest_shm_path, 0666), 0);
        be_somebody_else();
        snprintf(text, sizeof(text), "dead server's socket is there, which user %d may not",
                 NOBODY);
        refused(nqtest_shm_path, NQT_E_SYS, text);
    } else {
        close(fd);
    }
}
END_TEST

START_TEST(a_folder_that_everybody_may_write_to_is_warned_of)
{
    ck_assert(!shm_say_open_folder(nqtest_shm_path));
    ck_assert_int_eq(chmod(folder, 0777), 0);
    ck_assert(shm_say_open_folder(nqtest_shm_path));
    ck_assert_int_eq(chmod(folder, 01777), 0);
    ck_assert(!shm_say_open_folder(nqtest_shm_path));
    ck_assert(!shm_say_open_folder("/nonexistent-folder/socket"));
}
END_TEST

/* ---- clients ----------------------------------------------------------------------------- */

START_TEST(where_nobody_listens_it_is_asked_for_the_server)
{
    not_let_in("there is no socket; is the server running?");
    close(stand(SOCK_SEQPACKET, false));
    not_let_in("nobody listens there any more; is the server running?");
}
END_TEST

START_TEST(who_may_not_connect_is_told_of_the_mode)
{
    int fd = stand(SOCK_SEQPACKET, false);

    ck_assert_int_eq(chmod(nqtest_shm_path, getuid() ? 0 : 0600), 0);
    ck_assert_int_eq(chmod(folder, 0755), 0);
    be_somebody_else();
    not_let_in("may not write to it, or not enter its folder; the server's option \"mode\"");
    close(fd);
}
END_TEST

START_TEST(what_is_no_server_is_called_so)
{
    int fd = stand(SOCK_STREAM, false), link;

    not_let_in("the socket of another program is there");
    close(fd);
    unlink(nqtest_shm_path);
    fd = stand(SOCK_SEQPACKET, false);
    not_let_in("no answer within connect_timeout");
    link = accept(fd, NULL, NULL);
    ck_assert_int_ge(link, 0);
    close(link);
    close(fd);
    expect(shm_say_connect(EPERM), "sealed", "memory");
    expect(shm_say_connect(EPROTO), "greet", "version");
    ck_assert_str_eq(shm_say_connect(EMFILE), strerror(EMFILE));
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("shm, paths");
    TCase *tc = tcase_create("paths");

    nqtest_shm_folder();
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_path_that_is_too_long_is_told_its_length);
    tcase_add_test(tc, a_folder_that_is_missing_is_to_be_created);
    tcase_add_test(tc, a_folder_that_the_user_may_not_use_names_the_user);
    tcase_add_test(tc, a_path_in_use_names_who_uses_it);
    tcase_add_test(tc, a_file_and_a_socket_of_another_kind_are_left_alone);
    tcase_add_test(tc, another_users_socket_names_both_users);
    tcase_add_test(tc, a_folder_that_everybody_may_write_to_is_warned_of);
    tcase_add_test(tc, where_nobody_listens_it_is_asked_for_the_server);
    tcase_add_test(tc, who_may_not_connect_is_told_of_the_mode);
    tcase_add_test(tc, what_is_no_server_is_called_so);
    suite_add_tcase(suite, tc);
    return suite;
}
