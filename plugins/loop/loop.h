/* What the files of the loop plugin share.
 *
 *   loop.c        the table, the module, endpoints and the registry
 *   loop_link.c   links: send, deliver, hold, end
 *
 * Two links make a pair.  A link is touched in its serial only; what both ends need lies in the
 * pair, under its mutex, which is a leaf but for post() and emit(). */
#ifndef LOOP_H
#define LOOP_H

#include <netqueue/transport_kit.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define LOOP_NAME_MAX 64
#define LOOP_TEXT_MAX 96
#define LOOP_DRAIN_NS INT64_C(2000000000) /* shutdown() waits so long for the peer's end */

struct loop_opts {
    char name[LOOP_NAME_MAX];
    uint32_t slots; /* buffers that may wait for one link */
};

struct nqtp_mod {
    const struct nqt_host *host;
    nqt_core *core;
};

struct nqtp_ep {
    /* fixed by ep_open */
    struct nqtp_mod *mod;
    nqt_ep *cookie;
    nqt_serial *serial;
    struct loop_opts opts;
    bool listen;

    /* One until ep_close, one a link.  The last one frees it and emits EP_CLOSED. */
    _Atomic uint32_t refs;

    bool closed;          /* in the endpoint's serial */
    struct nqtp_ep *next; /* under the registry's mutex: the next server */
};

/* One end of a pair, and what is on its way to it. */
struct loop_end {
    struct nqtp_link *link; /* NULL: it is down or closed, nothing may reach it any more */
    bool attached;          /* has a serial, may be posted to */
    bool posted;            /* a post is on its way */
    bool ended;             /* the other end sends nothing more */
    bool sender_waits;      /* the other end's send() found no room */
    bool room;              /* for the end itself: WRITABLE is due */
    uint32_t slots, first, count;
    struct nqt_buf **ring; /* `slots` of them; one reference each */
};

struct loop_pair {
    _Atomic uint32_t refs; /* one a link */
    pthread_mutex_t mtx;
    struct loop_end end[2]; /* under mtx */
};

enum loop_state { LOOP_ACCEPTED, LOOP_UP, LOOP_DRAINING, LOOP_DOWN, LOOP_CLOSED };

struct nqtp_link {
    /* fixed */
    struct nqtp_ep *ep; /* one reference */
    struct loop_pair *pair;
    unsigned side; /* index of our end */
    char local[LOOP_TEXT_MAX], peer[LOOP_TEXT_MAX];

    /* in the link's serial; the endpoint's until attached */
    nqt_link *cookie;
    nqt_serial *serial;
    enum loop_state state;
    bool held;
    bool finished; /* LINK_CLOSED was emitted; lives on for a post that is on its way */
    nqt_watch *timer;
    uint64_t epoch;
};

/* ---- loop.c ----------------------------------------------------------------------------- */

void loop_ep_ref(struct nqtp_ep *ep);
/* May emit EP_CLOSED: touch neither the endpoint nor the module afterwards.  Thread: any. */
void loop_ep_unref(struct nqtp_ep *ep);
/* Call `fn` for the server of that name, which cannot close meanwhile.  False: there is none. */
bool loop_with_server(const char *name, int (*fn)(struct nqtp_ep *server, void *arg), void *arg,
                      int *ret);

/* ---- loop_link.c ------------------------------------------------------------------------ */

int loop_connect(struct nqtp_ep *ep, nqt_link *cookie, nqt_serial *serial, struct nqtp_link **out,
                 struct nqt_error *err);
int loop_attach(struct nqtp_link *link, nqt_link *cookie, nqt_serial *serial);
int loop_send(struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t n, uint32_t flags,
              uint32_t *taken);
int loop_rx_hold(struct nqtp_link *link, int hold);
int loop_shutdown(struct nqtp_link *link);
void loop_close(struct nqtp_link *link);
int loop_info(struct nqtp_link *link, struct nqt_info *out);

#define LOOP_CAPS                                                                                  \
    (NQT_CAP_MESSAGE | NQT_CAP_LISTEN | NQT_CAP_CONNECT | NQT_CAP_PEER_PRESENCE | NQT_CAP_GATHER | \
     NQT_CAP_RX_HOLD | NQT_CAP_DRAIN | NQT_CAP_LOCAL_ONLY)

#endif
