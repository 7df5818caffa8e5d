/* See python_peer.h.  Commands and events are lines on two pipes; events are kept until they are
 * asked for, since those of several ends come in any order. */
#include "tests/interop/python_peer.h"
#include "tests/support/queue.h"
#include <check.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK ((size_t)65521) /* of payload.py */
#define COMMAND_MAX 4096

static struct {
    pid_t pid; /* 0 = none runs */
    int in;
    FILE *out;
    json_t *events; /* array, in the order they came */
} python;

/* ---- the process ---- */

/* That of the distribution has its packages; another may come first in the path. */
static const char *const pythons[] = {"python3", "/usr/bin/python3"};
static const char *python_name;

static bool python_can(const char *name, const char *modules)
{
    char command[256];

    snprintf(command, sizeof(command), "%s -c 'import sys%s%s' >/dev/null 2>&1", name,
             *modules ? ", " : "", modules);
    return system(command) == 0;
}

bool nqtest_python_has(const char *modules)
{
    for (size_t i = 0; i < sizeof(pythons) / sizeof(*pythons); i++)
        if (python_can(pythons[i], modules)) {
            /* What can do more stays. */
            if (!python_name || *modules)
                python_name = pythons[i];
            return true;
        }
    return false;
}

static const char *python_script(void)
{
    static char path[1024];
    const char *top = getenv("top_srcdir");

    snprintf(path, sizeof(path), "%s/tests/interop/net_queue/peer.py", top ? top : ".");
    return path;
}

/* In the child; only what is safe there. */
__attribute__((noreturn)) static void python_exec(const char *script, int in, int out, pid_t parent)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(in, 0);
    dup2(out, 1);
    if (getppid() == parent)
        execlp(python_name, python_name, "-B", script, (char *)NULL);
    _exit(127);
}

void nqtest_python_start(void)
{
    const char *script = python_script();
    pid_t parent = getpid();
    int in[2], out[2];

    ck_assert_ptr_nonnull(python_name);
    ck_assert_int_eq(pipe2(in, O_CLOEXEC), 0);
    ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
    python.pid = fork();
    if (!python.pid)
        python_exec(script, in[0], out[1], parent);
    ck_assert_int_gt(python.pid, 0);
    close(in[0]);
    close(out[1]);
    python.in = in[1];
    python.out = fdopen(out[0], "r");
    ck_assert_ptr_nonnull(python.out);
    setvbuf(python.out, NULL, _IONBF, 0); /* poll() sees what stdio does not have */
    python.events = json_array();
}

static void python_reap(void)
{
    close(python.in);
    fclose(python.out);
    json_decref(python.events);
    ck_assert_int_eq(waitpid(python.pid, NULL, 0), python.pid);
    python.pid = 0;
}

void nqtest_python_end(void)
{
    if (python.pid)
        python_reap();
}

void nqtest_python_kill(void)
{
    ck_assert_int_gt(python.pid, 0);
    kill(python.pid, SIGKILL);
    python_reap();
}

/* ---- lines ---- */

void nqtest_python_say(const char *format, ...)
{
    char text[COMMAND_MAX];
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(text, sizeof(text) - 1, format, args);
    va_end(args);
    ck_assert(len > 0 && (size_t)len < sizeof(text) - 1);
    for (char *at = text; *at; at++)
        if (*at == '\'')
            *at = '"';
    text[len++] = '\n';
    ck_assert_int_eq(write(python.in, text, (size_t)len), len);
}

/* Read one more event.  Fails the test when none comes in time: `end` and `event` were waited for.
 */
static void python_read(int64_t until, const char *end, const char *event)
{
    struct pollfd pfd = {.fd = fileno(python.out), .events = POLLIN};
    int64_t left = (until - nqtest_clock()) / NQTEST_MS;
    char *line = NULL;
    size_t size = 0;
    json_t *came;

    ck_assert_msg(left > 0 && poll(&pfd, 1, (int)left) == 1, "no event %s at %s", event, end);
    ck_assert_msg(getline(&line, &size, python.out) > 0, "the peer in Python has ended");
    came = json_loads(line, 0, NULL);
    ck_assert_msg(came && strcmp(json_string_value(json_object_get(came, "event")), "failed") != 0,
                  "%s", line);
    json_array_append_new(python.events, came);
    free(line);
}

static bool python_is(const json_t *event, const char *key, const char *value)
{
    const char *text = json_string_value(json_object_get(event, key));

    return text && strcmp(text, value) == 0;
}

/* Take the first event at `end` out of those that came. */
static json_t *python_take(const char *end)
{
    json_t *event;
    size_t i;

    json_array_foreach(python.events, i, event) if (python_is(event, "end", end))
    {
        json_incref(event);
        json_array_remove(python.events, i);
        return event;
    }
    return NULL;
}

json_t *nqtest_python_event(const char *end, const char *event)
{
    int64_t until = nqtest_clock() + NQTEST_WAIT;

    for (;;) {
        json_t *came = python_take(end);

        if (!came)
            python_read(until, end, event);
        else if (python_is(came, "event", event))
            return came;
        json_decref(came);
    }
}

void nqtest_python_await(const char *end, const char *event)
{
    json_decref(nqtest_python_event(end, event));
}

void nqtest_python_sync(void)
{
    nqtest_python_say("{'do': 'echo', 'end': ''}");
    nqtest_python_await("", "echo");
}

/* ---- messages ---- */

void nqtest_python_expect(const char *end, const void *data, size_t len)
{
    json_t *event = nqtest_python_event(end, "data");
    uint8_t digest[SHA256_DIGEST_SIZE];
    char text[2 * SHA256_DIGEST_SIZE + 1];
    struct sha256_ctx sha;

    sha256_init(&sha);
    sha256_update(&sha, len, data);
    sha256_digest(&sha, sizeof(digest), digest);
    for (size_t i = 0; i < sizeof(digest); i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    ck_assert_uint_eq((size_t)json_integer_value(json_object_get(event, "size")), len);
    ck_assert_str_eq(json_string_value(json_object_get(event, "sha256")), text);
    json_decref(event);
}

/* One block of noise, again and again. */
static unsigned char *python_fill(unsigned char *data, size_t size, unsigned seed)
{
    nq_msg *msg = nqtest_noise(size < BLOCK ? size : BLOCK, seed);
    const void *block;
    size_t len;

    ck_assert_int_eq(nq_msg_data(msg, &block, &len), NQ_OK);
    for (size_t at = 0; at < size; at += BLOCK)
        memcpy(data + at, block, size - at < BLOCK ? size - at : BLOCK);
    nq_msg_free(msg);
    return data;
}

nq_msg *nqtest_python_noise(size_t size, unsigned seed)
{
    nq_msg *msg = NULL;
    void *data;

    ck_assert_int_eq(nq_msg_alloc(size, &data, &msg), NQ_OK);
    python_fill(data, size, seed);
    return msg;
}

void nqtest_python_check_noise(nq_msg *msg, size_t size, unsigned seed)
{
    unsigned char *want = malloc(size + 1);
    const void *data;
    size_t len;

    ck_assert_ptr_nonnull(want);
    python_fill(want, size, seed);
    ck_assert_int_eq(nq_msg_data(msg, &data, &len), NQ_OK);
    ck_assert_uint_eq(len, size);
    ck_assert_int_eq(size ? memcmp(data, want, size) : 0, 0);
    free(want);
}

void nqtest_python_expect_noise(const char *end, size_t size, unsigned seed)
{
    unsigned char *want = malloc(size + 1);

    ck_assert_ptr_nonnull(want);
    nqtest_python_expect(end, python_fill(want, size, seed), size);
    free(want);
}
