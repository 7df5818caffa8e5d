/* What modules ask the resolver: a question of an object is answered once, in the object's strand,
 * with what was found, or with NQT_E_CLOSED when the object ends before.
 *
 *     module --nqi_host_resolve()--> the object's list --> resolver's thread --post--> its strand
 */
#include "core/transport_inside.h"

#include "core/resolve.h"
#include <stdlib.h>
#include <string.h>

/* One question.  It is in its object's list until it is answered or cancelled, and outlives both
 * while the resolver still works on it. */
struct nqi_request {
    struct nqi_request *next, **at; /* in serial: the object's list; at = NULL: not in it */
    struct nqi_serial *serial;      /* under request_lock: NULL once cancelled */
    nqt_resolved_fn fn;
    void *arg;
    _Atomic uint32_t refs; /* the list's, the resolver's */
    struct nqt_error err;
    struct nqt_addr *addrs;
    uint32_t n;
};

/* Between the resolver's thread, which posts to a serial, and the serial's end.  A leaf but for
 * nqi_post(). */
static pthread_mutex_t request_lock = PTHREAD_MUTEX_INITIALIZER;

static void request_unref(struct nqi_request *request)
{
    if (atomic_fetch_sub(&request->refs, 1) != 1)
        return;
    for (uint32_t i = 0; i < request->n; i++)
        free((void *)(uintptr_t)request->addrs[i].addr);
    free(request->addrs);
    free(request);
}

/* In serial: take it off the list and answer. */
static void request_answer(struct nqi_request *request)
{
    if (!request->at)
        return;
    *request->at = request->next;
    if (request->next)
        request->next->at = request->at;
    request->at = NULL;
    request->fn(request->arg, request->addrs, request->n, request->n ? NULL : &request->err);
    request_unref(request);
}

static void request_run(void *arg)
{
    struct nqi_request *request = arg;

    request_answer(request);
    request_unref(request);
}

/* Keep what was found; running out of memory turns it into an error. */
static void request_keep(struct nqi_request *request, const struct nqt_addr *addrs, uint32_t n,
                         const struct nqt_error *err)
{
    if (err)
        request->err = *err;
    request->addrs = n ? calloc(n, sizeof(*addrs)) : NULL;
    for (uint32_t i = 0; i < n && request->addrs; i++) {
        void *copy = malloc(addrs[i].len);

        if (!copy)
            break;
        memcpy(copy, addrs[i].addr, addrs[i].len);
        request->addrs[request->n++] =
            (struct nqt_addr){.size = sizeof(*addrs), .len = addrs[i].len, .addr = copy};
    }
    if (!request->n && !err)
        request->err = (struct nqt_error){
            .size = sizeof(request->err), .code = NQT_E_NOMEM, .text = "no memory for addresses"};
}

static void request_resolved(void *arg, const struct nqt_addr *addrs, uint32_t n,
                             const struct nqt_error *err)
{
    struct nqi_request *request = arg;
    bool posted = false;

    request_keep(request, addrs, n, err);
    pthread_mutex_lock(&request_lock);
    if (request->serial)
        posted = nqi_post(request->serial, request_run, request) == NQ_OK;
    pthread_mutex_unlock(&request_lock);
    if (!posted)
        request_unref(request);
}

void nqi_requests_cancel(struct nqi_serial *serial)
{
    struct nqi_request **requests = &serial->requests;

    while (*requests) {
        struct nqi_request *request = *requests;

        pthread_mutex_lock(&request_lock);
        request->serial = NULL;
        pthread_mutex_unlock(&request_lock);
        *requests = request->next;
        if (request->next)
            request->next->at = requests;
        request->at = NULL;
        request->fn(request->arg, NULL, 0,
                    &(struct nqt_error){
                        .size = sizeof(struct nqt_error), .code = NQT_E_CLOSED, .text = "closed"});
        request_unref(request);
    }
}

int nqi_host_resolve(nqt_serial *serial, const char *host, uint16_t port, uint32_t flags,
                     nqt_resolved_fn fn, void *arg)
{
    struct nqi_request *request = calloc(1, sizeof(*request));
    struct nqi_request **list;
    nq_err err;

    if (!request)
        return NQT_E_NOMEM;
    request->serial = nqi_host_serial(serial);
    list = &request->serial->requests;
    request->fn = fn;
    request->arg = arg;
    atomic_init(&request->refs, 2);
    request->next = *list;
    if (*list)
        (*list)->at = &request->next;
    request->at = list;
    *list = request;
    err = nqi_resolve(host, port, flags, request_resolved, request);
    if (!err)
        return NQT_OK;
    *list = request->next;
    if (*list)
        (*list)->at = list;
    free(request);
    return nqi_host_rc(err);
}
