/* tools/files.c: a received name never leaves the directory; files go in and out whole. */
#include "tools/files.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char top[64]; /* a folder of this test's own */
static int dir = -1; /* top/in: what names must not leave */

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info;
    (void)type;
    (void)walk;
    return remove(path);
}

static void setup(void)
{
    snprintf(top, sizeof(top), "/tmp/nqtest-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(top));
    ck_assert_int_eq(chdir(top), 0);
    ck_assert_int_eq(nqi_files_open_dir("in", &dir), 0);
}

static void teardown(void)
{
    close(dir);
    ck_assert_int_eq(chdir("/"), 0);
    ck_assert_int_eq(nftw(top, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static nq_msg *message(const char *text, size_t len)
{
    nq_msg *msg = NULL;

    ck_assert_int_eq(nq_msg_new(text, len, &msg), NQ_OK);
    return msg;
}

static void write_file(const char *path, const void *data, size_t len)
{
    FILE *out = fopen(path, "w");

    ck_assert_ptr_nonnull(out);
    ck_assert_uint_eq(fwrite(data, 1, len, out), len);
    ck_assert_int_eq(fclose(out), 0);
}

/* True when the file `path` holds exactly `text`. */
static bool holds(const char *path, const char *text)
{
    char have[256] = "";
    FILE *in = fopen(path, "r");
    size_t n = in ? fread(have, 1, sizeof(have) - 1, in) : 0;

    if (!in)
        return false;
    fclose(in);
    return n == strlen(text) && memcmp(have, text, n) == 0;
}

static size_t count_entries(void)
{
    size_t n = 0;
    FILE *list = popen("find . -mindepth 1 | wc -l", "r");

    ck_assert_ptr_nonnull(list);
    ck_assert_int_eq(fscanf(list, "%zu", &n), 1);
    pclose(list);
    return n;
}

static int store(const char *name, const char *text, enum nqi_store how)
{
    nq_msg *msg = message(text, strlen(text));
    int err = nqi_files_store(dir, name, strlen(name), msg, how);

    ck_assert_uint_eq(nq_msg_size(msg), strlen(text)); /* the message keeps its payload */
    nq_msg_free(msg);
    return err;
}

/* Store "x" while no file may grow beyond ten bytes.  Nothing is asserted meanwhile: Check
 * writes a file itself. */
static int store_on_full_disk(enum nqi_store how)
{
    nq_msg *msg = message("more than ten bytes", 19);
    struct rlimit old, limit;
    int err;

    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = old;
    limit.rlim_cur = 10;
    setrlimit(RLIMIT_FSIZE, &limit);
    err = nqi_files_store(dir, "x", 1, msg, how);
    setrlimit(RLIMIT_FSIZE, &old);
    nq_msg_free(msg);
    return err;
}

/* ---- names ------------------------------------------------------------------------------ */

#define NAME(text)             \
    {                          \
        text, sizeof(text) - 1 \
    }

static const struct {
    const char *name;
    size_t len;
} hostile[] = {
    NAME(""),       NAME("/etc/passwd"), NAME(".."),     NAME("../x"),   NAME("a/../../x"),
    NAME("a/.."),   NAME("."),           NAME("./x"),    NAME("a/./b"),  NAME("a//b"),
    NAME("a/"),     NAME("/"),           NAME("//x"),    NAME("a\0b"),   NAME("\0"),
    NAME("x\0/.."), NAME("..\0"),        NAME("a/..//"), NAME("../../"),
};

START_TEST(a_hostile_name_is_refused)
{
    nq_msg *msg = message("x", 1);

    ck_assert_ptr_nonnull(nqi_files_name_fault(hostile[_i].name, hostile[_i].len));
    ck_assert_int_eq(
        nqi_files_store(dir, hostile[_i].name, hostile[_i].len, msg, NQI_STORE_REPLACE), -EINVAL);
    ck_assert_uint_eq(count_entries(), 1); /* in/ and nothing else */
    nq_msg_free(msg);
}
END_TEST

static const char *const harmless[] = {
    "a",          "a/b/c", "...",  "..a",      "a..",      ".hidden",
    "with space", "-rf",   "a\nb", "\xff\xfe", "a\\..\\b",
};

START_TEST(a_harmless_name_is_used_as_it_is)
{
    char path[64];

    ck_assert_ptr_null(nqi_files_name_fault(harmless[_i], strlen(harmless[_i])));
    ck_assert_int_eq(store(harmless[_i], "text", NQI_STORE_REPLACE), 0);
    snprintf(path, sizeof(path), "in/%s", harmless[_i]);
    ck_assert(holds(path, "text"));
}
END_TEST

START_TEST(a_name_that_is_too_long_is_refused)
{
    char name[PATH_MAX + 1];

    memset(name, 'a', sizeof(name));
    ck_assert_ptr_null(nqi_files_name_fault(name, NAME_MAX));
    ck_assert_ptr_nonnull(nqi_files_name_fault(name, NAME_MAX + 1));
    for (size_t i = 1; i < sizeof(name); i += 2)
        name[i] = '/';
    ck_assert_ptr_null(nqi_files_name_fault(name, PATH_MAX - 1));
    ck_assert_ptr_nonnull(nqi_files_name_fault(name, PATH_MAX));
}
END_TEST

/* ---- storing ---------------------------------------------------------------------------- */

START_TEST(sub_folders_are_made)
{
    ck_assert_int_eq(store("x/y/z", "deep", NQI_STORE_REPLACE), 0);
    ck_assert_int_eq(store("x/y/w", "beside", NQI_STORE_REPLACE), 0);
    ck_assert(holds("in/x/y/z", "deep"));
    ck_assert(holds("in/x/y/w", "beside"));
}
END_TEST

START_TEST(a_symbolic_link_to_a_folder_is_not_followed)
{
    ck_assert_int_eq(mkdir("out", 0777), 0);
    ck_assert_int_eq(symlink("../out", "in/link"), 0);
    ck_assert_int_eq(mkdir("in/real", 0777), 0);
    ck_assert_int_eq(symlink("../../out", "in/real/link"), 0);
    ck_assert_int_lt(store("link/x", "text", NQI_STORE_REPLACE), 0);
    ck_assert_int_lt(store("link/sub/x", "text", NQI_STORE_REPLACE), 0);
    ck_assert_int_lt(store("real/link/x", "text", NQI_STORE_REPLACE), 0);
    ck_assert_int_eq(rmdir("out"), 0); /* still empty */
}
END_TEST

START_TEST(a_symbolic_link_in_the_last_place_is_replaced)
{
    struct stat info;

    write_file("outside", "old", 3);
    ck_assert_int_eq(symlink("../outside", "in/x"), 0);
    ck_assert_int_eq(store("x", "new", NQI_STORE_REPLACE), 0);
    ck_assert(holds("outside", "old"));
    ck_assert(holds("in/x", "new"));
    ck_assert_int_eq(lstat("in/x", &info), 0);
    ck_assert(S_ISREG(info.st_mode));
}
END_TEST

START_TEST(a_dangling_link_is_not_written_through)
{
    ck_assert_int_eq(symlink("../outside", "in/x"), 0);
    ck_assert_int_eq(store("x", "new", NQI_STORE_NEW), -EEXIST);
    ck_assert_int_ne(access("outside", F_OK), 0);
    ck_assert_int_eq(store("x", "new", NQI_STORE_REPLACE), 0);
    ck_assert_int_ne(access("outside", F_OK), 0);
}
END_TEST

START_TEST(a_file_in_the_place_of_a_folder_is_an_error)
{
    write_file("in/file", "old", 3);
    ck_assert_int_eq(store("file/x", "text", NQI_STORE_REPLACE), -ENOTDIR);
    ck_assert(holds("in/file", "old"));
}
END_TEST

START_TEST(a_folder_is_not_replaced)
{
    ck_assert_int_eq(mkdir("in/folder", 0777), 0);
    ck_assert_int_eq(store("folder", "text", NQI_STORE_REPLACE), -EISDIR);
    ck_assert_uint_eq(count_entries(), 2); /* no temporary file is left */
}
END_TEST

START_TEST(replace_replaces_and_new_does_not)
{
    ck_assert_int_eq(store("x", "first, and longer", NQI_STORE_NEW), 0);
    ck_assert_int_eq(store("x", "second", NQI_STORE_NEW), -EEXIST);
    ck_assert(holds("in/x", "first, and longer"));
    ck_assert_int_eq(store("x", "third", NQI_STORE_REPLACE), 0);
    ck_assert(holds("in/x", "third"));
}
END_TEST

START_TEST(an_empty_message_makes_an_empty_file)
{
    ck_assert_int_eq(store("empty", "", NQI_STORE_REPLACE), 0);
    ck_assert(holds("in/empty", ""));
}
END_TEST

START_TEST(modes_follow_the_umask_and_nothing_else)
{
    struct stat info;

    umask(027);
    ck_assert_int_eq(store("d/x", "text", NQI_STORE_REPLACE), 0);
    ck_assert_int_eq(stat("in/d/x", &info), 0);
    ck_assert_uint_eq(info.st_mode & 07777, 0640);
    ck_assert_int_eq(stat("in/d", &info), 0);
    ck_assert_uint_eq(info.st_mode & 07777, 0750);
}
END_TEST

START_TEST(a_payload_of_many_chunks_is_written_in_order)
{
    NQI_CLEANUP(nqi_stream_freep) nq_stream *stream = NULL;
    NQI_CLEANUP(nqi_msg_freep) nq_msg *msg = NULL;
    char text[201] = "";

    ck_assert_int_eq(nq_stream_new(&stream), NQ_OK);
    for (size_t i = 0; i < 200; i++) {
        nq_chunk *chunk = NULL;
        nq_view view;

        text[i] = (char)('a' + i % 26);
        ck_assert_int_eq(nq_chunk_new(1, &chunk), NQ_OK);
        memcpy(nq_chunk_data(chunk), &text[i], 1);
        view = nq_chunk_view(chunk, 0, 1);
        nq_chunk_unref(chunk);
        ck_assert_int_eq(nq_stream_writechunk(stream, &view), NQ_OK);
    }
    ck_assert_int_eq(nq_msg_from_stream(stream, &msg), NQ_OK);
    ck_assert_int_eq(nqi_files_store(dir, "x", 1, msg, NQI_STORE_NEW), 0);
    ck_assert(holds("in/x", text));
}
END_TEST

START_TEST(a_write_that_fails_leaves_nothing_behind)
{
    ck_assert_int_eq(store_on_full_disk(NQI_STORE_REPLACE), -EFBIG);
    ck_assert_int_eq(store_on_full_disk(NQI_STORE_NEW), -EFBIG);
    ck_assert_uint_eq(count_entries(), 1);
}
END_TEST

START_TEST(an_existing_file_survives_a_write_that_fails)
{
    write_file("in/x", "old", 3);
    ck_assert_int_eq(store_on_full_disk(NQI_STORE_REPLACE), -EFBIG);
    ck_assert(holds("in/x", "old"));
}
END_TEST

/* ---- reading ------------------------------------------------------------------------------ */

static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 3 << 20};

START_TEST(a_file_is_read_whole)
{
    NQI_CLEANUP(nqi_msg_freep) nq_msg *msg = NULL;
    size_t len = sizes[_i], got = 0;
    char *data = malloc(len + 1);
    const void *have = NULL;

    for (size_t i = 0; i < len; i++)
        data[i] = (char)(i * 7 + i / 256);
    write_file("file", data, len);
    ck_assert_int_eq(nqi_files_read("file", &msg), 0);
    ck_assert_uint_eq(nq_msg_size(msg), len);
    ck_assert_int_eq(nq_msg_data(msg, &have, &got), NQ_OK);
    ck_assert_uint_eq(got, len);
    ck_assert(len == 0 || memcmp(have, data, len) == 0);
    free(data);
}
END_TEST

START_TEST(a_pipe_is_read_to_its_end)
{
    NQI_CLEANUP(nqi_msg_freep) nq_msg *msg = NULL;
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(write(ends[1], "some text", 9), 9);
    close(ends[1]);
    ck_assert_int_eq(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
    ck_assert_int_eq(nqi_files_read("-", &msg), 0);
    ck_assert_uint_eq(nq_msg_size(msg), 9);
}
END_TEST

START_TEST(a_file_of_the_kernel_without_a_size_is_read)
{
    NQI_CLEANUP(nqi_msg_freep) nq_msg *msg = NULL;

    ck_assert_int_eq(nqi_files_read("/proc/self/status", &msg), 0);
    ck_assert_uint_gt(nq_msg_size(msg), 100);
}
END_TEST

START_TEST(what_cannot_be_read_is_an_error_and_no_message)
{
    nq_msg *msg = NULL;

    ck_assert_int_eq(nqi_files_read("in", &msg), -EISDIR);
    ck_assert_int_eq(nqi_files_read("missing", &msg), -ENOENT);
    ck_assert_int_eq(nqi_files_read("missing/file", &msg), -ENOENT);
    ck_assert_ptr_null(msg);
}
END_TEST

START_TEST(a_stored_file_equals_the_one_that_was_read)
{
    NQI_CLEANUP(nqi_msg_freep) nq_msg *msg = NULL;

    write_file("file", "round trip", 10);
    ck_assert_int_eq(nqi_files_read("file", &msg), 0);
    ck_assert_int_eq(nqi_files_store(dir, "copy", 4, msg, NQI_STORE_NEW), 0);
    ck_assert(holds("in/copy", "round trip"));
}
END_TEST

START_TEST(write_tells_of_a_closed_pipe)
{
    NQI_CLEANUP(nqi_msg_freep) nq_msg *msg = message("text", 4);
    int ends[2];

    signal(SIGPIPE, SIG_IGN);
    ck_assert_int_eq(pipe(ends), 0);
    close(ends[0]);
    ck_assert_int_eq(nqi_files_write(ends[1], msg), -EPIPE);
}
END_TEST

START_TEST(open_dir_makes_one_folder_and_refuses_a_file)
{
    int fd = -1;

    ck_assert_int_eq(nqi_files_open_dir("new", &fd), 0);
    close(fd);
    ck_assert_int_eq(nqi_files_open_dir("new", &fd), 0);
    close(fd);
    write_file("file", "x", 1);
    ck_assert_int_eq(nqi_files_open_dir("file", &fd), -ENOTDIR);
    ck_assert_int_eq(nqi_files_open_dir("a/b", &fd), -ENOENT);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("tool_files");
    TCase *tc = tcase_create("files");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, a_hostile_name_is_refused, 0, NQI_LEN(hostile));
    tcase_add_loop_test(tc, a_harmless_name_is_used_as_it_is, 0, NQI_LEN(harmless));
    tcase_add_test(tc, a_name_that_is_too_long_is_refused);
    tcase_add_test(tc, sub_folders_are_made);
    tcase_add_test(tc, a_symbolic_link_to_a_folder_is_not_followed);
    tcase_add_test(tc, a_symbolic_link_in_the_last_place_is_replaced);
    tcase_add_test(tc, a_dangling_link_is_not_written_through);
    tcase_add_test(tc, a_file_in_the_place_of_a_folder_is_an_error);
    tcase_add_test(tc, a_folder_is_not_replaced);
    tcase_add_test(tc, replace_replaces_and_new_does_not);
    tcase_add_test(tc, an_empty_message_makes_an_empty_file);
    tcase_add_test(tc, modes_follow_the_umask_and_nothing_else);
    tcase_add_test(tc, a_payload_of_many_chunks_is_written_in_order);
    tcase_add_test(tc, a_write_that_fails_leaves_nothing_behind);
    tcase_add_test(tc, an_existing_file_survives_a_write_that_fails);
    tcase_add_loop_test(tc, a_file_is_read_whole, 0, NQI_LEN(sizes));
    tcase_add_test(tc, a_pipe_is_read_to_its_end);
    tcase_add_test(tc, a_file_of_the_kernel_without_a_size_is_read);
    tcase_add_test(tc, what_cannot_be_read_is_an_error_and_no_message);
    tcase_add_test(tc, a_stored_file_equals_the_one_that_was_read);
    tcase_add_test(tc, write_tells_of_a_closed_pipe);
    tcase_add_test(tc, open_dir_makes_one_folder_and_refuses_a_file);
    suite_add_tcase(suite, tc);
    return suite;
}
