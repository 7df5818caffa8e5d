/* Error texts: one static line per code, and the last failure of each thread.
 *
 * The first failure of a thread sets memory aside for the text, which lives as long as the
 * thread; without memory the static line of the code tells it. */
#include "core/err.h"
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERR_TEXT 1024

static NQI_THREAD_LOCAL const char *err_last; /* NULL = nothing failed yet */
static NQI_THREAD_LOCAL char *err_room;       /* ERR_TEXT bytes; NULL = not yet */
static pthread_once_t err_once = PTHREAD_ONCE_INIT;
static pthread_key_t err_key; /* fixed by err_init() */
static bool err_has_key;

const char *nq_strerror(nq_err err)
{
    switch (err) {
    case NQ_ERR_DEADLOCK:
        return "the call would wait for itself";
    case NQ_ERR_NO_PEER:
        return "no such peer";
    case NQ_ERR_TOO_BIG:
        return "larger than a limit allows";
    case NQ_ERR_UNSUPPORTED:
        return "not supported here";
    case NQ_ERR_CONFIG:
        return "the configuration is wrong";
    case NQ_ERR_PLUGIN:
        return "the transport cannot be used";
    case NQ_ERR_PROTO:
        return "the peer broke the protocol";
    case NQ_ERR_LINK:
        return "the peer cannot be reached";
    case NQ_ERR_CLOSED:
        return "closed";
    case NQ_ERR_SYS:
        return "the operating system refused";
    case NQ_ERR_NOMEM:
        return "out of memory";
    case NQ_ERR_INVAL:
        return "invalid argument";
    case NQ_OK:
        return "success";
    case NQ_AGAIN:
        return "not now";
    case NQ_END:
        return "closed and nothing is left";
    }
    return "unknown result";
}

const char *nq_error(void)
{
    return err_last ? err_last : "";
}

/* ---- the thread's text ------------------------------------------------------------------ */

static void err_thread_end(void *room)
{
    err_last = NULL;
    err_room = NULL;
    free(room);
}

static void err_init(void)
{
    err_has_key = pthread_key_create(&err_key, err_thread_end) == 0;
}

/* The thread's memory, or NULL. */
static char *err_get_room(void)
{
    char *room;

    if (err_room)
        return err_room;
    pthread_once(&err_once, err_init);
    room = err_has_key ? malloc(ERR_TEXT) : NULL;
    if (room && pthread_setspecific(err_key, room) != 0) {
        free(room);
        room = NULL;
    }
    err_room = room;
    return room;
}

/* Append what fits of `text`; returns the new length. */
static size_t err_append(char out[ERR_TEXT], size_t len, const char *text)
{
    size_t n = strnlen(text, ERR_TEXT - 1 - len);

    memcpy(out + len, text, n);
    return len + n;
}

/* Store "<before><separator><after>", cut to fit.  Built aside first: the parts may point
 * into the text that is being replaced. */
static void err_store(nq_err err, const char *before, const char *separator, const char *after)
{
    char text[ERR_TEXT], *room = err_get_room();
    size_t len = err_append(text, 0, before);

    if (!room) {
        err_last = nq_strerror(err);
        return;
    }
    len = err_append(text, len, separator);
    len = err_append(text, len, after);
    memcpy(room, text, len);
    room[len] = '\0';
    err_last = room;
}

/* The same, with a first part that is formatted; errno stays. */
static void err_set(nq_err err, const char *format, va_list args, const char *separator,
                    const char *after)
{
    char text[ERR_TEXT];
    int saved = errno;

    vsnprintf(text, sizeof(text), format, args);
    err_store(err, text, separator, after);
    errno = saved;
}

#undef nqi_fail
#undef nqi_fail_in
#undef nqi_fail_errno
#undef nqi_fail_too_big

nq_err nqi_fail(nq_err err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    err_set(err, format, args, "", "");
    va_end(args);
    return err;
}

nq_err nqi_fail_in(nq_err err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    err_set(err, format, args, ": ", nq_error());
    va_end(args);
    return err;
}

nq_err nqi_fail_errno(const char *format, ...)
{
    char reason[128];
    va_list args;

    va_start(args, format);
    /* The GNU form: it may answer with a static string instead of filling `reason`. */
    err_set(NQ_ERR_SYS, format, args, ": ", strerror_r(errno, reason, sizeof(reason)));
    va_end(args);
    return NQ_ERR_SYS;
}

nq_err nqi_fail_too_big(const char *what, uint64_t bytes, uint64_t most)
{
    return nqi_fail(NQ_ERR_TOO_BIG, "a %s of %llu bytes exceeds limits.max_message, which is %llu",
                    what, (unsigned long long)bytes, (unsigned long long)most);
}
