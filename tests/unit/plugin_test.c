/* core/plugin.c, plugin_file.c: search, trust, and each way to fail told apart. */
#include "core/err.h"
#include "core/plugin.h"
#include "core/plugin_file.h"
#include "tests/support/alloc.h"
#include <check.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char stubs[PATH_MAX]; /* where the stub plugins of tests/support/plugins lie */
static char top[64];         /* a folder of our own, removed afterwards */

static void setup(void)
{
    const char *dir = getenv("NQTEST_PLUGINS"), *build = getenv("top_builddir");

    if (dir)
        snprintf(stubs, sizeof(stubs), "%s", dir);
    else
        snprintf(stubs, sizeof(stubs), "%s/tests/support/plugins/.libs", build ? build : ".");
    setenv("NETQUEUE_PLUGIN_PATH", stubs, 1);
    setenv("NETQUEUE_PLUGIN_UNSAFE", "1", 1);
    strcpy(top, "/tmp/nqtest-plugin-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(top));
    ck_assert_int_eq(chmod(top, 0755), 0);
}

static void teardown(void)
{
    char command[96];

    snprintf(command, sizeof(command), "rm -rf %s", top);
    ck_assert_int_eq(system(command), 0);
}

/* Write `len` bytes to TOP/NAME; the path stays valid until the next call. */
static const char *write_file(const char *name, const void *data, size_t len)
{
    static char path[128];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", top, name);
    file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(data, 1, len, file), len);
    ck_assert_int_eq(fclose(file), 0);
    return path;
}

/* Copy the stub `from` to TOP/NAME, with each "libc.so.6" in it replaced by `libc`. */
static const char *copy_stub(const char *from, const char *name, const char *libc)
{
    static char data[1 << 21];
    char path[PATH_MAX + 32], *at = data;
    size_t len;
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s.so", stubs, from);
    file = fopen(path, "r");
    ck_assert_msg(file != NULL, "%s is missing", path);
    len = fread(data, 1, sizeof(data), file);
    fclose(file);
    while (libc && (at = memmem(at, len - (size_t)(at - data), "libc.so.6", 10)))
        memcpy(at, libc, 10);
    return write_file(name, data, len);
}

static nq_err load(const char *name, const struct nqt_module **ret)
{
    return nqi_plugin_load(name, NULL, 0, ret);
}

static nq_err load_from_top(const char *name, const struct nqt_module **ret)
{
    const char *const paths[] = {top};

    return nqi_plugin_load(name, paths, 1, ret);
}

/* Loading `name` fails and leaves `ret` alone; the text has `part`. */
static void expect_refused(const char *name, const char *part)
{
    const struct nqt_module *module = (const struct nqt_module *)top;

    ck_assert_int_eq(load_from_top(name, &module), NQ_ERR_PLUGIN);
    ck_assert_msg(strstr(nq_error(), part) != NULL, "%s", nq_error());
    ck_assert_ptr_eq(module, (const struct nqt_module *)top);
}

/* ---- loading --------------------------------------------------------------------------------- */

START_TEST(a_good_transport_is_loaded_once)
{
    const struct nqt_module *first = NULL, *second = NULL;
    char path[PATH_MAX + 32], *real;

    ck_assert_int_eq(load("good", &first), NQ_OK);
    ck_assert_str_eq(first->name, "good");
    ck_assert_int_eq(load("good", &second), NQ_OK);
    ck_assert_ptr_eq(first, second);
    snprintf(path, sizeof(path), "%s/good.so", stubs);
    real = realpath(path, NULL);
    ck_assert_str_eq(nqi_plugin_file(first), real);
    free(real);
}
END_TEST

START_TEST(two_transports_lie_side_by_side)
{
    const struct nqt_module *good = NULL, *twin = NULL;

    ck_assert_int_eq(load("good", &good), NQ_OK);
    ck_assert_int_eq(load("twin", &twin), NQ_OK);
    ck_assert_str_eq(good->name, "good");
    ck_assert_str_eq(twin->name, "twin");
}
END_TEST

static void *load_in_thread(void *arg)
{
    const struct nqt_module *module = NULL;

    (void)arg;
    return load("good", &module) ? NULL : (void *)(uintptr_t)module;
}

START_TEST(threads_that_load_at_once_get_the_same_module)
{
    pthread_t threads[8];
    void *first = NULL, *module;

    for (size_t i = 0; i < NQI_LEN(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, load_in_thread, NULL), 0);
    for (size_t i = 0; i < NQI_LEN(threads); i++) {
        pthread_join(threads[i], &module);
        ck_assert_ptr_nonnull(module);
        ck_assert(!first || first == module);
        first = module;
    }
}
END_TEST

START_TEST(lack_of_memory_is_told_and_a_later_try_succeeds)
{
    const struct nqt_module *module = NULL;
    nq_err err = NQ_ERR_NOMEM;

    for (unsigned n = 1; err; n++) {
        nqtest_alloc_fail_at(n);
        err = load("good", &module);
        ck_assert_int_eq(nqtest_alloc_disarm(), err != NQ_OK);
        ck_assert(err == NQ_OK || err == NQ_ERR_NOMEM);
        ck_assert_int_eq(err == NQ_OK, module != NULL);
    }
}
END_TEST

/* ---- descriptors ------------------------------------------------------------------------------
 */

static const struct {
    const char *name, *part;
} bad[] = {
    {"bad_magic", "is not a netqueue transport: its descriptor has magic 0x7"},
    {"bad_size", "is not a netqueue transport: its descriptor has magic 0x4e515400, size 16"},
    {"bad_major",
     "has ABI major 9, this netqueue speaks 1: install a matching netqueue-transport-"},
    {"other_major", "has ABI major 3, this netqueue speaks 1"},
    {"bad_minor", "needs a newer netqueue: ABI 1.99, this one has 1."},
    {"bad_name", "bad_name.so calls itself \"another\" inside"},
    {"no_symbol", "has no symbol no_symbol_LTX_nqt1_module"},
    {"no_slot", "required slot is missing: send, close or info"},
    {"no_kind", "neither STREAM nor MESSAGE"},
    {"no_direction", "neither LISTEN nor CONNECT"},
    {"bad_threading", "neither LOOP nor OWN"},
    {"bad_option", "the default of option \"count\" must be 1 to 9, not 70"},
    {"bad_caps", "loan, which LOAN_TX needs"},
    {"undefined", "undefined symbol: nqtest_nobody_defines_this"},
};

START_TEST(a_bad_transport_is_refused_with_file_and_reason_each_time)
{
    expect_refused(bad[_i].name, bad[_i].part);
    ck_assert_ptr_nonnull(strstr(nq_error(), ".so"));
    expect_refused(bad[_i].name, bad[_i].part);
}
END_TEST

/* ---- files ------------------------------------------------------------------------------------
 */

START_TEST(a_missing_transport_names_its_package_and_the_folders)
{
    expect_refused("pigeon", "\"pigeon\" is not installed: install the package "
                             "netqueue-transport-pigeon (there is no pigeon.so in ");
    ck_assert_ptr_nonnull(strstr(nq_error(), top));
    ck_assert_ptr_nonnull(strstr(nq_error(), stubs));
    ck_assert_ptr_nonnull(strstr(nq_error(), "/transport-1)"));
}
END_TEST

START_TEST(a_mistyped_transport_is_told_the_nearest_that_is_there)
{
    expect_refused("goood", "there is no transport \"goood\"; the nearest is \"good\" (there is no "
                            "goood.so in ");
    expect_refused("god", "the nearest is \"good\"");
    expect_refused("ogod", "the nearest is \"good\"");
    expect_refused("gold-fish", "\"gold-fish\" is not installed");
}
END_TEST

START_TEST(a_missing_library_is_named)
{
    copy_stub("good", "needy.so", "libx.so.6");
    expect_refused("needy", "needs a library that cannot be loaded, libx.so.6: ");
    ck_assert_ptr_nonnull(strstr(nq_error(), "needy.so"));
    ck_assert_ptr_nonnull(strstr(nq_error(), "netqueue-transport-needy"));
}
END_TEST

START_TEST(a_file_that_is_no_library_is_told_so)
{
    write_file("text.so", "#!/bin/sh\n", 10);
    expect_refused("text", "text.so is not a transport, and no ELF file at all");
    write_file("empty.so", "", 0);
    expect_refused("empty", "no ELF file at all");
    write_file("torn.so", "\177ELF\2\1\1", 7);
    expect_refused("torn", "torn.so cannot be loaded: ");
}
END_TEST

START_TEST(a_renamed_file_is_told_so)
{
    copy_stub("good", "renamed.so", NULL);
    expect_refused("renamed", "has no symbol renamed_LTX_nqt1_module (was the file renamed?)");
}
END_TEST

START_TEST(a_link_to_another_name_is_refused_and_one_to_its_own_followed)
{
    const struct nqt_module *module = NULL;
    char link[128], target[PATH_MAX + 32];

    snprintf(target, sizeof(target), "%s/good.so", stubs);
    snprintf(link, sizeof(link), "%s/alias.so", top);
    ck_assert_int_eq(symlink(target, link), 0);
    expect_refused("alias", "calls itself \"good\" inside");
    ck_assert_int_eq(load("good", &module), NQ_OK);
    expect_refused("alias", "calls itself \"good\" inside");
    copy_stub("good", "good.so.1.0", NULL);
    snprintf(link, sizeof(link), "%s/good.so", top);
    ck_assert_int_eq(symlink("good.so.1.0", link), 0);
    ck_assert_int_eq(load_from_top("good", &module), NQ_OK);
    ck_assert_ptr_nonnull(strstr(nqi_plugin_file(module), "/good.so.1.0"));
}
END_TEST

START_TEST(a_folder_and_a_dangling_link_are_no_transports)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/folder.so", top);
    ck_assert_int_eq(mkdir(path, 0755), 0);
    expect_refused("folder", "folder.so is not a regular file");
    snprintf(path, sizeof(path), "%s/dangling.so", top);
    ck_assert_int_eq(symlink("nowhere", path), 0);
    expect_refused("dangling", "is not installed");
}
END_TEST

START_TEST(the_first_file_that_exists_decides)
{
    write_file("good.so", "no", 2);
    expect_refused("good", "no ELF file at all");
}
END_TEST

START_TEST(relative_folders_are_not_searched)
{
    ck_assert_int_eq(chdir(stubs), 0);
    setenv("NETQUEUE_PLUGIN_PATH", ":.::./", 1);
    expect_refused("good", "is not installed");
}
END_TEST

static const char *const names[] = {
    "",      "../good", "good.so", "/tmp/x", "Good",     "1good",
    "_good", "-good",   "go od",   "good\n", "g\x1b[2J", "a23456789012345678901234567890123",
};

START_TEST(what_is_no_name_is_not_searched)
{
    expect_refused(names[_i], "is no name of a transport");
    ck_assert_ptr_null(strchr(nq_error(), '\x1b'));
}
END_TEST

/* ---- trust ------------------------------------------------------------------------------------
 */

START_TEST(a_file_that_everybody_may_write_is_refused)
{
    const char *path = copy_stub("good", "good.so", NULL);

    unsetenv("NETQUEUE_PLUGIN_UNSAFE");
    ck_assert_int_eq(chmod(path, 0666), 0);
    expect_refused("good", "good.so is writable by everybody (owner ");
    ck_assert_ptr_nonnull(strstr(nq_error(), "mode 0666"));
}
END_TEST

START_TEST(a_folder_that_everybody_may_write_is_refused)
{
    char part[128];

    copy_stub("good", "good.so", NULL);
    unsetenv("NETQUEUE_PLUGIN_UNSAFE");
    snprintf(part, sizeof(part), "%s is writable by everybody", top);
    ck_assert_int_eq(chmod(top, 0777), 0);
    expect_refused("good", part);
    ck_assert_int_eq(chmod(top, 01777), 0);
    expect_refused("good", part);
}
END_TEST

START_TEST(a_folder_far_above_counts_too)
{
    struct stat info;

    if (stat("/tmp", &info) || !(info.st_mode & S_IWOTH))
        return;
    copy_stub("good", "good.so", NULL);
    unsetenv("NETQUEUE_PLUGIN_UNSAFE");
    expect_refused("good", "/tmp is writable by everybody");
}
END_TEST

START_TEST(a_file_of_another_user_is_refused)
{
    const char *path = copy_stub("good", "good.so", NULL);

    unsetenv("NETQUEUE_PLUGIN_UNSAFE");
    if (chown(path, 65534, (gid_t)-1))
        return; /* only root may give files away */
    expect_refused("good", "good.so belongs to another user (owner 65534");
}
END_TEST

START_TEST(files_of_the_system_are_trusted)
{
    char *path = realpath("/bin/sh", NULL);

    unsetenv("NETQUEUE_PLUGIN_UNSAFE");
    ck_assert_ptr_nonnull(path);
    ck_assert_msg(nqi_plugin_check_file(path) == NQ_OK, "%s", nq_error());
    free(path);
}
END_TEST

START_TEST(only_the_value_1_lifts_the_check)
{
    const char *path = copy_stub("good", "good.so", NULL);

    ck_assert_int_eq(chmod(path, 0666), 0);
    setenv("NETQUEUE_PLUGIN_UNSAFE", "0", 1);
    expect_refused("good", "writable by everybody");
    setenv("NETQUEUE_PLUGIN_UNSAFE", "", 1);
    expect_refused("good", "writable by everybody");
}
END_TEST

/* ---- listing ------------------------------------------------------------------------------------
 */

struct listed {
    size_t count;
    char names[8][64], dirs[8][128];
};

static void take_name(void *arg, const char *dir, const char *name)
{
    struct listed *list = arg;

    ck_assert_uint_lt(list->count, NQI_LEN(list->names));
    snprintf(list->names[list->count], sizeof(list->names[0]), "%s", name);
    snprintf(list->dirs[list->count++], sizeof(list->dirs[0]), "%s", dir);
}

START_TEST(each_name_is_listed_once_in_order)
{
    struct listed list = {0};
    char sub[80], dirs[256], path[128];

    write_file("zebra.so", "", 0);
    write_file("ant.so", "", 0);
    write_file("libant.so.1", "", 0);
    write_file("Ant.so", "", 0);
    write_file("notes.txt", "", 0);
    write_file("so", "", 0);
    snprintf(sub, sizeof(sub), "%s/sub", top);
    ck_assert_int_eq(mkdir(sub, 0755), 0);
    snprintf(path, sizeof(path), "%s/ant.so", sub);
    fclose(fopen(path, "w"));
    snprintf(path, sizeof(path), "%s/bee.so", sub);
    fclose(fopen(path, "w"));
    snprintf(dirs, sizeof(dirs), "/nonexistent:%s:%s", top, sub);
    ck_assert_int_eq(nqi_plugin_list_dirs(dirs, take_name, &list), NQ_OK);
    ck_assert_uint_eq(list.count, 3);
    ck_assert_str_eq(list.names[0], "ant");
    ck_assert_str_eq(list.dirs[0], top);
    ck_assert_str_eq(list.names[1], "zebra");
    ck_assert_str_eq(list.names[2], "bee");
    ck_assert_str_eq(list.dirs[2], sub);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("plugin");
    TCase *tc = tcase_create("plugin");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_good_transport_is_loaded_once);
    tcase_add_test(tc, two_transports_lie_side_by_side);
    tcase_add_test(tc, threads_that_load_at_once_get_the_same_module);
    tcase_add_test(tc, lack_of_memory_is_told_and_a_later_try_succeeds);
    tcase_add_loop_test(tc, a_bad_transport_is_refused_with_file_and_reason_each_time, 0,
                        (int)NQI_LEN(bad));
    tcase_add_test(tc, a_missing_transport_names_its_package_and_the_folders);
    tcase_add_test(tc, a_mistyped_transport_is_told_the_nearest_that_is_there);
    tcase_add_test(tc, a_missing_library_is_named);
    tcase_add_test(tc, a_file_that_is_no_library_is_told_so);
    tcase_add_test(tc, a_renamed_file_is_told_so);
    tcase_add_test(tc, a_link_to_another_name_is_refused_and_one_to_its_own_followed);
    tcase_add_test(tc, a_folder_and_a_dangling_link_are_no_transports);
    tcase_add_test(tc, the_first_file_that_exists_decides);
    tcase_add_test(tc, relative_folders_are_not_searched);
    tcase_add_loop_test(tc, what_is_no_name_is_not_searched, 0, (int)NQI_LEN(names));
    tcase_add_test(tc, a_file_that_everybody_may_write_is_refused);
    tcase_add_test(tc, a_folder_that_everybody_may_write_is_refused);
    tcase_add_test(tc, a_folder_far_above_counts_too);
    tcase_add_test(tc, a_file_of_another_user_is_refused);
    tcase_add_test(tc, files_of_the_system_are_trusted);
    tcase_add_test(tc, only_the_value_1_lifts_the_check);
    tcase_add_test(tc, each_name_is_listed_once_in_order);
    suite_add_tcase(suite, tc);
    return suite;
}
