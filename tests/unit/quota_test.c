/* core/quota.c, over trees of files made here. */
#include "core/base.h"
#include "core/quota.h"
#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = "/tmp/nqtest-quota-XXXXXX";

static void setup(void)
{
    memcpy(strrchr(root, '-'), "-XXXXXX", 7);
    ck_assert_ptr_nonnull(mkdtemp(root));
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info;
    (void)kind;
    (void)walk;
    return remove(path);
}

static void teardown(void)
{
    ck_assert_int_eq(nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* A file below the root, with the folders that it is in. */
static void put_file(const char *name, const char *text)
{
    char path[512];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", root, name);
    for (char *at = strchr(path + strlen(root) + 1, '/'); at; at = strchr(at + 1, '/')) {
        *at = '\0';
        (void)mkdir(path, 0700);
        *at = '/';
    }
    file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    fclose(file);
}

/* `top`, `middle` and `own` are cpu.max of /, /app.slice and /app.slice/app; NULL = no such file.
 */
static const struct {
    const char *group, *top, *middle, *own;
    int cpus;
} trees[] = {
    {"0::/app.slice/app\n", NULL, "max 100000\n", "150000 100000\n", 1},
    {"0::/app.slice/app\n", NULL, "300000 100000\n", "max 100000\n", 3},
    {"0::/app.slice/app\n", NULL, "200000 100000\n", "800000 100000\n", 2},
    {"0::/app.slice/app\n", NULL, "800000 100000\n", "200000 100000\n", 2},
    {"0::/app.slice/app\n", "50000 100000\n", "800000 100000\n", "200000 100000\n", 0},
    {"0::/app.slice/app\n", NULL, "max 100000\n", "max 100000\n", NQI_QUOTA_NONE},
    {"0::/app.slice/app\n", NULL, NULL, NULL, NQI_QUOTA_NONE},
    {"0::/app.slice\n", NULL, "400000 100000\n", "200000 100000\n", 4},
    {"0::/app.slice/gone (deleted)\n", NULL, "400000 100000\n", NULL, 4},
    {"12:cpu:/other\n1:name=systemd:/\n0::/app.slice/app\n", NULL, NULL, "200000 100000\n", 2},
    {"12:cpu:/app.slice/app\n", NULL, NULL, "200000 100000\n", NQI_QUOTA_NONE},
    {"0::/\n", "200000 100000\n", "100000 100000\n", NULL, 2}, /* in a container */
    {"0::/the/one/of/the/host\n", "200000 100000\n", NULL, NULL, 2},
    {NULL, "200000 100000\n", NULL, NULL, 2},
    {"", "200000 100000\n", NULL, NULL, 2},
    {"0::", "200000 100000\n", NULL, NULL, 2},
    {"0::/app.slice/app", NULL, NULL, "200000 0\n", NQI_QUOTA_NONE},
    {"0::/app.slice/app", NULL, NULL, "-1 100000\n", NQI_QUOTA_NONE},
    {"0::/app.slice/app", NULL, NULL, "9000000000000000 1\n", NQI_QUOTA_NONE},
    {"0::/app.slice/app", NULL, NULL, "", NQI_QUOTA_NONE},
    {"0::/app.slice/app", NULL, NULL, "200000", NQI_QUOTA_NONE},
};

START_TEST(the_least_quota_from_the_group_to_the_root_counts)
{
    const char *const files[][2] = {
        {"proc/self/cgroup", trees[_i].group},
        {"sys/fs/cgroup/cpu.max", trees[_i].top},
        {"sys/fs/cgroup/app.slice/cpu.max", trees[_i].middle},
        {"sys/fs/cgroup/app.slice/app/cpu.max", trees[_i].own},
    };

    for (size_t i = 0; i < NQI_LEN(files); i++)
        if (files[i][1])
            put_file(files[i][0], files[i][1]);
    ck_assert_int_eq(nqi_quota_cpus(root), trees[_i].cpus);
}
END_TEST

START_TEST(a_path_that_is_cut_short_harms_nobody)
{
    char text[9000] = "0::";

    memset(text + 3, '/', sizeof(text) - 4);
    put_file("proc/self/cgroup", text);
    put_file("sys/fs/cgroup/cpu.max", "200000 100000\n");
    ck_assert_int_eq(nqi_quota_cpus(root), 2);
}
END_TEST

START_TEST(this_process_has_one_or_none)
{
    ck_assert_int_ge(nqi_quota_cpus(""), 0);
    ck_assert_int_le(nqi_quota_cpus(""), NQI_QUOTA_NONE);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("quota");
    TCase *tc = tcase_create("trees");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, the_least_quota_from_the_group_to_the_root_counts, 0,
                        (int)NQI_LEN(trees));
    tcase_add_test(tc, a_path_that_is_cut_short_harms_nobody);
    tcase_add_test(tc, this_process_has_one_or_none);
    suite_add_tcase(suite, tc);
    return suite;
}
