/* Error texts: one static line per code, and the last failure of each thread.
 *
 * The text lies in thread-local storage so that keeping it needs no lock and no memory
 * of its own: a failure for want of memory can still be told. */
#include "core/err.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ERR_TEXT 1024

static _Thread_local char err_text[ERR_TEXT];

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
    return err_text;
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
static void err_store(const char *before, const char *separator, const char *after)
{
    char text[ERR_TEXT];
    size_t len = err_append(text, 0, before);

    len = err_append(text, len, separator);
    len = err_append(text, len, after);
    memcpy(err_text, text, len);
    err_text[len] = '\0';
}

/* The same, with a first part that is formatted; errno stays. */
static void err_set(const char *format, va_list args, const char *separator, const char *after)
{
    char text[ERR_TEXT];
    int saved = errno;

    vsnprintf(text, sizeof(text), format, args);
    err_store(text, separator, after);
    errno = saved;
}

#undef nqi_fail
#undef nqi_fail_in
#undef nqi_fail_errno

nq_err nqi_fail(nq_err err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    err_set(format, args, "", "");
    va_end(args);
    return err;
}

nq_err nqi_fail_in(nq_err err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    err_set(format, args, ": ", err_text);
    va_end(args);
    return err;
}

nq_err nqi_fail_errno(const char *format, ...)
{
    char reason[128];
    va_list args;

    va_start(args, format);
    /* The GNU form: it may answer with a static string instead of filling `reason`. */
    err_set(format, args, ": ", strerror_r(errno, reason, sizeof(reason)));
    va_end(args);
    return NQ_ERR_SYS;
}
