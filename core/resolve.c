/* Host names -> addresses: one helper thread that calls getaddrinfo(), the only call of the
 * library that blocks for as long as a name server likes.
 *
 * Nobody waits for getaddrinfo() itself: who cancels while it runs only marks the question, and
 * the helper throws the answer away. */
#include "core/resolve.h"
#include "core/err.h"
#include "core/list.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netqueue/transport_thread.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define RESOLVE_IDLE_S 1
#define RESOLVE_ADDRS_MAX 64

struct resolve_question {
    struct nqi_node node;
    nqi_resolve_fn fn;
    void *arg;
    uint32_t flags;
    uint16_t port;
    bool cancelled; /* under mtx: the answer is not wanted any more */
    char host[];
};

static struct {
    pthread_mutex_t mtx;
    /* under mtx */
    pthread_cond_t asked;          /* a question was added */
    pthread_cond_t answered;       /* `answering` changed */
    struct nqi_fifo open;          /* questions that nobody works on */
    struct resolve_question *asks; /* the helper is inside getaddrinfo() for it */
    void *answering;               /* the helper is inside fn() with this arg */
    bool busy;                     /* `answering` holds, NULL being an arg like any other */
    pid_t helper_of;               /* whose helper runs, 0 = none: a forked child has none */
} resolve = {
    .mtx = PTHREAD_MUTEX_INITIALIZER,
    .answered = PTHREAD_COND_INITIALIZER,
    .open = {.head = NULL, .tail = &resolve.open.head},
};

/* ---- asking the system ------------------------------------------------------------------ */

static int resolve_code(int eai)
{
    switch (eai) {
    case EAI_MEMORY:
        return NQT_E_NOMEM;
    case EAI_SYSTEM:
        return NQT_E_SYS;
    default:
        return NQT_E_UNREACHABLE;
    }
}

static int resolve_ask(const char *host, uint16_t port, uint32_t flags, int more,
                       struct addrinfo **ret)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    char service[8];

    hints.ai_flags = AI_NUMERICSERV | more;
    if (flags & NQT_RESOLVE_PASSIVE)
        hints.ai_flags |= AI_PASSIVE;
    snprintf(service, sizeof(service), "%u", port);
    return getaddrinfo(host, service, &hints, ret);
}

static void resolve_tell(nqi_resolve_fn fn, void *arg, const struct addrinfo *found)
{
    struct nqt_addr addrs[RESOLVE_ADDRS_MAX];
    uint32_t n = 0;

    for (; found && n < RESOLVE_ADDRS_MAX; found = found->ai_next)
        addrs[n++] = (struct nqt_addr){
            .size = sizeof(addrs[0]), .len = found->ai_addrlen, .addr = found->ai_addr};
    fn(arg, addrs, n, NULL);
}

static void resolve_tell_failure(nqi_resolve_fn fn, void *arg, const char *host, int eai, int sys)
{
    struct nqt_error err = {.size = sizeof(err), .code = resolve_code(eai), .native = eai};
    const char *cause = gai_strerror(eai);

    memcpy(err.domain, "resolver", sizeof("resolver"));
    if (eai == EAI_SYSTEM) {
        err.native = sys;
        memcpy(err.domain, "errno", sizeof("errno"));
        cause = strerror(sys);
    }
    snprintf(err.text, sizeof(err.text), "resolve %.140s: %s", host ? host : "(any)", cause);
    fn(arg, NULL, 0, &err);
}

/* ---- the helper ------------------------------------------------------------------------- */

/* Under mtx.  The next question, or NULL after an idle second. */
static struct resolve_question *resolve_next(void)
{
    struct nqi_node *node;
    struct timespec until;
    int rc = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += RESOLVE_IDLE_S;
    for (;;) {
        node = nqi_fifo_pop(&resolve.open);
        if (node)
            return NQI_CONTAINER(node, struct resolve_question, node);
        if (rc == ETIMEDOUT)
            return NULL;
        rc = pthread_cond_timedwait(&resolve.asked, &resolve.mtx, &until);
    }
}

/* Under mtx, which is given up while the system and `fn` work. */
static void resolve_answer(struct resolve_question *q)
{
    struct addrinfo *found = NULL;
    int eai, sys;

    resolve.asks = q;
    pthread_mutex_unlock(&resolve.mtx);
    eai = resolve_ask(q->host, q->port, q->flags, 0, &found);
    sys = errno;
    pthread_mutex_lock(&resolve.mtx);
    resolve.asks = NULL;
    if (!q->cancelled) {
        resolve.answering = q->arg;
        resolve.busy = true;
        pthread_mutex_unlock(&resolve.mtx);
        if (eai)
            resolve_tell_failure(q->fn, q->arg, q->host, eai, sys);
        else
            resolve_tell(q->fn, q->arg, found);
        pthread_mutex_lock(&resolve.mtx);
        resolve.busy = false;
        pthread_cond_broadcast(&resolve.answered);
    }
    if (!eai)
        freeaddrinfo(found);
    free(q);
}

static void *resolve_main(void *unused)
{
    struct resolve_question *q;

    (void)unused;
    pthread_mutex_lock(&resolve.mtx);
    while ((q = resolve_next()))
        resolve_answer(q);
    resolve.helper_of = 0;
    pthread_mutex_unlock(&resolve.mtx);
    return NULL;
}

static void resolve_init(void)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&resolve.asked, &attr);
    pthread_condattr_destroy(&attr);
}

/* Under mtx.  Start the helper, which takes no signals: they are for the user's threads. */
static int resolve_start(void)
{
    pthread_attr_t attr;
    pthread_t thread;
    int rc;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    rc = nqt_thread_start(&thread, &attr, resolve_main, NULL);
    if (!rc) {
        pthread_setname_np(thread, "nq-resolve");
        resolve.helper_of = getpid();
    }
    pthread_attr_destroy(&attr);
    return rc;
}

/* ---- questions -------------------------------------------------------------------------- */

static nq_err resolve_push(struct resolve_question *q)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    int rc = 0;

    pthread_once(&once, resolve_init);
    pthread_mutex_lock(&resolve.mtx);
    if (resolve.helper_of != getpid())
        rc = resolve_start();
    if (!rc) {
        nqi_fifo_push(&resolve.open, &q->node);
        pthread_cond_signal(&resolve.asked);
    }
    pthread_mutex_unlock(&resolve.mtx);
    if (!rc)
        return NQ_OK;
    return nqi_fail(NQ_ERR_SYS, "cannot start the thread that resolves host names: %s",
                    strerror(rc));
}

/* Answer at once what needs no name server.  False: it is a name. */
static bool resolve_numeric(const char *host, uint16_t port, uint32_t flags, nqi_resolve_fn fn,
                            void *arg)
{
    struct addrinfo *found = NULL;
    int eai = resolve_ask(host, port, flags, AI_NUMERICHOST, &found);

    if (!eai) {
        resolve_tell(fn, arg, found);
        freeaddrinfo(found);
        return true;
    }
    if (host)
        return false;
    resolve_tell_failure(fn, arg, host, eai, errno);
    return true;
}

nq_err nqi_resolve(const char *host, uint16_t port, uint32_t flags, nqi_resolve_fn fn, void *arg)
{
    struct resolve_question *q;
    size_t len;
    nq_err err;

    if (resolve_numeric(host, port, flags, fn, arg))
        return NQ_OK;
    len = strlen(host) + 1;
    q = malloc(sizeof(*q) + len);
    if (!q)
        return nqi_fail(NQ_ERR_NOMEM, "resolve %s: no memory", host);
    *q = (struct resolve_question){.fn = fn, .arg = arg, .flags = flags, .port = port};
    memcpy(q->host, host, len);
    err = resolve_push(q);
    if (err)
        free(q);
    return err;
}

void nqi_resolve_cancel(void *arg)
{
    struct nqi_fifo keep;
    struct nqi_node *node;

    nqi_fifo_init(&keep);
    pthread_mutex_lock(&resolve.mtx);
    while ((node = nqi_fifo_pop(&resolve.open))) {
        struct resolve_question *q = NQI_CONTAINER(node, struct resolve_question, node);

        if (q->arg == arg)
            free(q);
        else
            nqi_fifo_push(&keep, node);
    }
    while ((node = nqi_fifo_pop(&keep)))
        nqi_fifo_push(&resolve.open, node);
    if (resolve.asks && resolve.asks->arg == arg)
        resolve.asks->cancelled = true;
    while (resolve.busy && resolve.answering == arg)
        pthread_cond_wait(&resolve.answered, &resolve.mtx);
    pthread_mutex_unlock(&resolve.mtx);
}
