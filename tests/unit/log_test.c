/* core/log.c: levels, the default sink, a sink of one's own, escaping. */
#include "core/log.h"
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct sink {
    int lines;
    nq_log_level level;
    char line[2048];
};

static void sink_log(void *arg, nq_log_level level, const char *line)
{
    struct sink *sink = arg;

    sink->lines++;
    sink->level = level;
    snprintf(sink->line, sizeof(sink->line), "%s", line);
    errno = ENOTTY;
}

START_TEST(own_sink_gets_finished_lines)
{
    struct sink sink = {0};

    nq_log_set(sink_log, &sink, NQ_LOG_INFO);
    errno = EBUSY;
    nqi_log(NQ_LOG_INFO, "peer %s has %d", "a", 3);
    ck_assert_int_eq(errno, EBUSY);
    ck_assert_int_eq(sink.lines, 1);
    ck_assert_int_eq(sink.level, NQ_LOG_INFO);
    ck_assert_str_eq(sink.line, "peer a has 3");
}
END_TEST

START_TEST(less_important_lines_go_nowhere)
{
    struct sink sink = {0};

    nq_log_set(sink_log, &sink, NQ_LOG_WARN);
    ck_assert(nqi_log_on(NQ_LOG_ERROR));
    ck_assert(nqi_log_on(NQ_LOG_WARN));
    ck_assert(!nqi_log_on(NQ_LOG_INFO));
    nqi_log(NQ_LOG_INFO, "x");
    nqi_log(NQ_LOG_DEBUG, "x");
    ck_assert_int_eq(sink.lines, 0);
    nqi_log(NQ_LOG_ERROR, "x");
    ck_assert_int_eq(sink.lines, 1);
}
END_TEST

START_TEST(several_lines_become_one_and_long_ones_are_cut)
{
    struct sink sink = {0};
    char text[3000];

    nq_log_set(sink_log, &sink, NQ_LOG_WARN);
    nqi_log(NQ_LOG_WARN, "a\nb\nc");
    ck_assert_str_eq(sink.line, "a b c");
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    nqi_log(NQ_LOG_WARN, "%s", text);
    ck_assert_uint_eq(strlen(sink.line), 1023);
}
END_TEST

/* What the environment says, and the least important level that still goes out. */
static const struct {
    const char *name;
    int most;
} levels[] = {{NULL, NQ_LOG_WARN},       {"error", NQ_LOG_ERROR}, {"warn", NQ_LOG_WARN},
              {"info", NQ_LOG_INFO},     {"debug", NQ_LOG_DEBUG}, {"none", -1},
              {"nonsense", NQ_LOG_WARN}, {"", NQ_LOG_WARN}};

START_TEST(environment_sets_the_default_level)
{
    if (levels[_i].name)
        setenv("NETQUEUE_LOG", levels[_i].name, 1);
    else
        unsetenv("NETQUEUE_LOG");
    for (int i = NQ_LOG_ERROR; i <= NQ_LOG_DEBUG; i++)
        ck_assert_int_eq(nqi_log_on((nq_log_level)i), i <= levels[_i].most);
}
END_TEST

/* Run `fn` with stderr going to a pipe, and read what it wrote. */
static void capture(void (*fn)(void), char *out, size_t cap)
{
    int ends[2], saved = dup(STDERR_FILENO);
    ssize_t n;

    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_ge(dup2(ends[1], STDERR_FILENO), 0);
    close(ends[1]);
    fn();
    ck_assert_int_ge(dup2(saved, STDERR_FILENO), 0);
    close(saved);
    n = read(ends[0], out, cap - 1);
    close(ends[0]);
    ck_assert_int_ge(n, 0);
    out[n] = '\0';
}

static void log_two(void)
{
    nqi_log(NQ_LOG_ERROR, "bad %d", 1);
    nqi_log(NQ_LOG_WARN, "odd");
    nqi_log(NQ_LOG_INFO, "unseen");
}

START_TEST(default_sink_is_stderr_also_after_a_sink_of_ones_own)
{
    struct sink sink = {0};
    char text[256];

    unsetenv("NETQUEUE_LOG");
    capture(log_two, text, sizeof(text));
    ck_assert_str_eq(text, "netqueue: error: bad 1\nnetqueue: warn: odd\n");
    nq_log_set(sink_log, &sink, NQ_LOG_DEBUG);
    capture(log_two, text, sizeof(text));
    ck_assert_str_eq(text, "");
    ck_assert_int_eq(sink.lines, 3);
    nq_log_set(NULL, NULL, NQ_LOG_DEBUG);
    capture(log_two, text, sizeof(text));
    ck_assert_str_eq(text, "netqueue: error: bad 1\nnetqueue: warn: odd\n");
}
END_TEST

/* Two sinks, each with an argument that belongs to it alone. */
static int arg_a, arg_b;
static _Atomic int seen;
static _Atomic bool mixed, stop;

static void sink_a(void *arg, nq_log_level level, const char *line)
{
    (void)level;
    (void)line;
    if (arg != &arg_a)
        atomic_store(&mixed, true);
    atomic_fetch_add(&seen, 1);
}

static void sink_b(void *arg, nq_log_level level, const char *line)
{
    (void)level;
    (void)line;
    if (arg != &arg_b)
        atomic_store(&mixed, true);
    atomic_fetch_add(&seen, 1);
}

static void *swap_sinks(void *arg)
{
    while (!atomic_load(&stop)) {
        nq_log_set(sink_a, &arg_a, NQ_LOG_WARN);
        nq_log_set(sink_b, &arg_b, NQ_LOG_WARN);
    }
    return arg;
}

START_TEST(function_and_argument_change_together)
{
    pthread_t thread;

    nq_log_set(sink_a, &arg_a, NQ_LOG_WARN);
    ck_assert_int_eq(pthread_create(&thread, NULL, swap_sinks, NULL), 0);
    for (int i = 0; i < 20000; i++)
        nqi_log(NQ_LOG_WARN, "x");
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    ck_assert(!atomic_load(&mixed));
    ck_assert_int_eq(atomic_load(&seen), 20000);
}
END_TEST

static const struct {
    const char *in;
    size_t cap;
    const char *out;
} escapes[] = {{"plain ~text", 64, "plain ~text"},
               {"a\nb", 64, "a\\x0ab"},
               {"\x1b[2J\x7f", 64, "\\x1b[2J\\x7f"},
               {"\xc3\xa4", 64, "\\xc3\\xa4"},
               {"", 64, ""},
               {"abcdef", 4, "abc"},
               {"abc\n", 8, "abc\\x0a"},
               {"abc\n", 7, "abc"},
               {"\n", 5, "\\x0a"},
               {"\n", 4, ""},
               {"a", 1, ""}};

START_TEST(escape_leaves_only_printable_ascii_and_cuts_whole)
{
    char out[64];

    memset(out, '#', sizeof(out));
    ck_assert_ptr_eq(nqi_log_escape(escapes[_i].in, out, escapes[_i].cap), out);
    ck_assert_str_eq(out, escapes[_i].out);
}
END_TEST

START_TEST(escape_without_room_writes_nothing)
{
    char out = '#';

    nqi_log_escape("abc", &out, 0);
    ck_assert_int_eq(out, '#');
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("log");
    TCase *tc = tcase_create("log");

    tcase_add_test(tc, own_sink_gets_finished_lines);
    tcase_add_test(tc, less_important_lines_go_nowhere);
    tcase_add_test(tc, several_lines_become_one_and_long_ones_are_cut);
    tcase_add_loop_test(tc, environment_sets_the_default_level, 0, NQI_LEN(levels));
    tcase_add_test(tc, default_sink_is_stderr_also_after_a_sink_of_ones_own);
    tcase_add_test(tc, function_and_argument_change_together);
    tcase_add_loop_test(tc, escape_leaves_only_printable_ascii_and_cuts_whole, 0, NQI_LEN(escapes));
    tcase_add_test(tc, escape_without_room_writes_nothing);
    suite_add_tcase(suite, tc);
    return suite;
}
