/* One sink for the log lines of the whole process.
 *
 * Function, argument and level belong together but change without a lock, because log
 * lines come from every thread: a sequence count, odd while somebody writes, lets a
 * reader see that it caught half of a change and look again. */
#include "core/log.h"
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_LINE 1024
#define LOG_NONE (-1)

static const char *const log_names[] = {"error", "warn", "info", "debug"};

/* atomic: read by any thread at any time; acquire and release around `log_seq` */
static _Atomic unsigned log_seq;
static _Atomic nq_log_fn log_fn;
static void *_Atomic log_arg;
static _Atomic int log_level = LOG_NONE;
static pthread_once_t log_once = PTHREAD_ONCE_INIT;

static int log_env_level(void)
{
    const char *name = getenv("NETQUEUE_LOG");

    if (!name)
        return NQ_LOG_WARN;
    if (strcmp(name, "none") == 0)
        return LOG_NONE;
    for (int i = 0; i < (int)NQI_LEN(log_names); i++)
        if (strcmp(name, log_names[i]) == 0)
            return i;
    return NQ_LOG_WARN;
}

/* One write, so that lines of several threads or processes do not mix. */
static void log_stderr(void *arg, nq_log_level level, const char *line)
{
    char text[LOG_LINE + 32];
    ssize_t done;
    int len;

    (void)arg;
    len = snprintf(text, sizeof(text), "netqueue: %s: %s\n", log_names[level], line);
    done = write(STDERR_FILENO, text, (size_t)len);
    (void)done; /* there is nobody left to tell */
}

static void log_store(nq_log_fn fn, void *arg, int level)
{
    unsigned seq = atomic_load(&log_seq);

    while ((seq & 1) || !atomic_compare_exchange_weak(&log_seq, &seq, seq + 1)) {
        nqi_relax();
        seq = atomic_load(&log_seq);
    }
    atomic_store(&log_fn, fn);
    atomic_store(&log_arg, arg);
    atomic_store(&log_level, level);
    atomic_store(&log_seq, seq + 2);
}

static void log_init(void)
{
    log_store(log_stderr, NULL, log_env_level());
}

void nq_log_set(nq_log_fn fn, void *arg, nq_log_level level)
{
    /* First, or the default would later replace what is set here. */
    pthread_once(&log_once, log_init);
    if (fn)
        log_store(fn, arg, (int)level);
    else
        log_init();
}

bool nqi_log_on(nq_log_level level)
{
    pthread_once(&log_once, log_init);
    return (int)level <= atomic_load_explicit(&log_level, memory_order_relaxed);
}

static void log_load(nq_log_fn *fn, void **arg, int *level)
{
    unsigned seq;

    do {
        while ((seq = atomic_load(&log_seq)) & 1)
            nqi_relax();
        *fn = atomic_load(&log_fn);
        *arg = atomic_load(&log_arg);
        *level = atomic_load(&log_level);
    } while (atomic_load(&log_seq) != seq);
}

void nqi_log(nq_log_level level, const char *format, ...)
{
    char line[LOG_LINE];
    int saved = errno;
    nq_log_fn fn;
    void *arg;
    va_list args;
    int most;

    pthread_once(&log_once, log_init);
    log_load(&fn, &arg, &most);
    if ((int)level > most)
        return;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    /* A text of several lines, as nq_error() may give, is still one line of the log. */
    for (char *at = line; (at = strchr(at, '\n'));)
        *at = ' ';
    fn(arg, level, line);
    errno = saved;
}

char *nqi_log_escape(const char *text, char *out, size_t cap)
{
    static const char hex[] = "0123456789abcdef";
    size_t n = 0;

    if (!cap)
        return out;
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        bool plain = byte >= 0x20 && byte < 0x7f;

        if (cap - n <= (plain ? 1u : 4u)) /* whole or not at all, and the NUL */
            break;
        if (plain) {
            out[n++] = (char)byte;
            continue;
        }
        out[n++] = '\\';
        out[n++] = 'x';
        out[n++] = hex[byte >> 4];
        out[n++] = hex[byte & 15];
    }
    out[n] = '\0';
    return out;
}
