/* The inside of endpoints and links, shared by the files transport*.c only. */
#ifndef NQ_CORE_TRANSPORT_INSIDE_H
#define NQ_CORE_TRANSPORT_INSIDE_H

#include "core/ration.h"
#include "core/transport.h"
#include <pthread.h>
#include <stdatomic.h>

#define NQI_EVENT_NAME 128
#define NQI_EVENT_SPARES 8
#define NQI_HEALTH_TEXT 192

/* An event between the module that emits it and the strand that it is for. */
struct nqi_transport_event {
    struct nqi_work work;
    struct nqt_event event;
    struct nqt_error err;
    char name[NQI_EVENT_NAME];
    size_t size; /* with the list of buffers behind it; 0: one of the core's spares */
};

/* For when there is no memory: a link's coming and going must not get lost. */
struct nqi_spare_event {
    struct nqi_transport_event event;
    atomic_flag taken;
};

#define NQI_TRANSPORT_SAID 10 /* lines of level INFO in the log within a second */

struct nqt_core {
    const struct nqt_module *module;
    struct nqi_options *options; /* borrowed from the configuration */
    struct nqtp_mod *mod;
    _Atomic int64_t counts[4]; /* by NQT_COUNT_* */
    pthread_mutex_t log_lock;  /* a leaf */
    struct nqi_ration said;    /* under log_lock: of level INFO */
    struct nqi_spare_event spares[NQI_EVENT_SPARES];
};

/* What nq_health() shows of an endpoint; two may write it: the transport, which knows best, and
 * until it does so, the core by the events it sees. */
struct nqi_ep_health {
    pthread_mutex_t lock; /* a leaf */
    bool told;            /* by the transport */
    nq_health_state state;
    int64_t since; /* ns, as nqi_now() */
    uint64_t connects, failures;
    char text[NQI_HEALTH_TEXT];
};

struct nqt_ep {
    struct nqi_serial serial;
    struct nqi_post closing;
    nqt_core *core;
    bool listen;
    int64_t rests_until; /* a client's; in the strand of its links */
    struct nqi_ep_health health;
    struct nqtp_ep *plug;
    const struct nqi_ep_events *events;
    void *arg;
};

/* What a link takes in one send(), and the buffer that goes there in pieces; transport_cut.c. */
struct nqi_cut {
    struct nqt_buf *rest; /* one reference; NULL = none */
    uint64_t offset;      /* so many of its bytes are sent */
    uint64_t bytes;       /* in one buffer; UINT64_MAX = any */
    uint32_t per_buf;     /* segments; UINT32_MAX = any */
    uint32_t per_send;
    bool whole; /* a buffer must not be cut */
    bool shut;  /* shutdown() follows `rest` */
};

struct nqt_link {
    struct nqi_serial serial;
    nqt_ep *ep;
    struct nqtp_link *plug;
    const struct nqi_tlink_events *events;
    void *arg;
    struct nqi_hot hot;
    int (*send_bytes)(struct nqtp_link *, const void *data, size_t len); /* NULL = it has none */
    bool cuts; /* it does not take just any buffer */
    struct nqi_cut cut;
    bool up;             /* between LINK_UP and LINK_DOWN or close */
    bool down;           /* LINK_DOWN was reported */
    bool closing;        /* the close slot was called */
    bool gone;           /* LINK_CLOSED came before that */
    bool reading;        /* between rx_space() and rx_commit() ... */
    size_t room;         /* ... of so many bytes */
    struct nqi_work end; /* once gone and closing */
};

extern const struct nqt_host nqi_transport_host;

static inline struct nqi_serial *nqi_host_serial(nqt_serial *serial)
{
    return (struct nqi_serial *)serial;
}

/* Ours, as modules get it.  @return NQT_OK, NQT_E_NOMEM, NQT_E_SYS */
static inline int nqi_host_rc(nq_err err)
{
    if (err >= 0)
        return NQT_OK;
    return err == NQ_ERR_NOMEM ? NQT_E_NOMEM : NQT_E_SYS;
}

/* transport_health.c; thread: any */
void nqi_ep_health_init(nqt_ep *ep);
void nqi_ep_health_fini(nqt_ep *ep);
/* The core sees how it goes, from an event or an answer of the module. */
void nqi_ep_health_seen(nqt_ep *ep, nq_health_state state, const char *text);
/* The host's service `health`. */
void nqi_ep_health_told(nqt_ep *ep, const struct nqt_health *health);

/* The text of a module's failure, as nqi_fail() keeps it.  @param rc  NQT_E_*  @return ours */
nq_err nqi_transport_err(const char *name, int rc, const struct nqt_error *err);

/* One event, in its object's serial. */
void nqi_ep_on_event(nqt_ep *ep, const struct nqt_event *event);
void nqi_tlink_on_event(nqt_link *link, const struct nqt_event *event);

/* Have LINK_DOWN reported, after the slot that is running.  In serial. */
void nqi_tlink_end(nqt_link *link, int code, const char *text);

/* The slot send(): those not taken stay the caller's.  @param taken [out] always set */
nq_err nqi_tlink_hand_over(nqt_link *link, struct nqt_buf *const *bufs, uint32_t n,
                           uint32_t *taken);

/* transport_cut.c; in serial */
void nqi_cut_init(nqt_link *link, const struct nqt_info *info); /* sets link->cuts, too */
void nqi_cut_fini(nqt_link *link);
/* As nqi_tlink_hand_over(), for a link that cuts.  @param taken  0 before */
nq_err nqi_cut_send(nqt_link *link, struct nqt_buf *const *bufs, uint32_t n, uint32_t *taken);
/* WRITABLE came.  False: it is not for the owner, since the link is full again, or lost. */
bool nqi_cut_writable(nqt_link *link);

/* The module broke a rule of <netqueue/transport.h>: say so and take the link down, after the slot
 * that is running.  In serial. */
void nqi_tlink_breach(nqt_link *link, const char *rule);

/* transport_resolve.c: the host's service `resolve`. */
int nqi_host_resolve(nqt_serial *serial, const char *host, uint16_t port, uint32_t flags,
                     nqt_resolved_fn fn, void *arg);
/* Answer all open questions with NQT_E_CLOSED.  In serial. */
void nqi_requests_cancel(struct nqi_serial *serial);

#endif
