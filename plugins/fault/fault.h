/* What the files of the fault plugin share: a transport that wraps another one and does harm.
 *
 *   fault.c        the table, the module, endpoints
 *   fault_opts.c   options, the generator, the plan of a link
 *   fault_host.c   the host that the inner transport sees: its events and reads
 *   fault_link.c   the slots that the core calls, life of a link
 *   fault_run.c    what is done outside of the inner transport's frames: cut, go on, hand up
 *   fault_queue.c  messages that came and are not handed up yet
 *
 * Data flow.  The plugin is a man in the middle of both tables: to the core it is a transport
 * (nqt_ops), to the inner transport it is the core (nqt_host).
 *
 *   core   --send()--------->  fault_link.c  --send()------------------>  inner
 *   core  <--rx_space/commit-  fault_host.c <--rx_space/commit---------   inner, STREAM
 *   core  <--rx_space/commit-  fault_run.c  <--queue-- fault_host.c <--RX- inner, MESSAGE
 *   core  <--other events----  fault_host.c <--emit()------------------   inner
 *
 * To the core it is always a STREAM, so that it can cut at any byte.  The cookies that the inner
 * transport holds are ours: nqt_core is a fault_use, nqt_ep an nqtp_ep, nqt_link an nqtp_link;
 * serials, watches and options are the core's own and go through untouched.  The inner transport's
 * objects are kept as void *, since both plugins use the same three tags.
 *
 * Faults.  Every link draws its plan when it is made: at most one of CUT, TRUNCATE, HALF_OPEN,
 * PAUSE, one way (send or receive) and a number of bytes.  When so many bytes have gone that way
 * the plan strikes.  Beside it each call draws for itself: short reads and writes, flipped bits,
 * lost messages.  The three generators of a link (plan, send, receive) are seeded with the option
 * `seed` and the link's number in its endpoint, so links and ways do not disturb each other, and
 * the same seed and the same sequence of calls gives the same faults.  Nothing is drawn for a
 * fault that is off.
 *
 *    connect()  OPENING --LINK_UP--> UP --shutdown()--> DRAINING
 *    ACCEPT --> ACCEPTED --attach()--> OPENING    |         |
 *                                                 +---------+--> DOWN --close()--> CLOSED
 *
 *   state      what the core knows                    the inner link
 *   ACCEPTED   it may attach                          is there, has no cookie
 *   OPENING    UP or DOWN follows                     is there (not yet inside connect())
 *   UP         may send, is handed bytes              is up, or down behind `queue` (`end_due`)
 *   DRAINING   as UP, sends nothing more              as UP
 *   DOWN       was told LINK_DOWN                     is down by itself, closing after a cut, or
 *                                                     `sinking`: it sends what it took, and what
 *                                                     it receives is thrown away
 *   CLOSED     waits for LINK_CLOSED                  closing, or still sinking
 *
 * Invariants
 *   - No slot of the inner transport is called from inside its own emit(), rx_space() or
 *     rx_commit(): what must be done then is posted (fault_kick) and done by fault_run().
 *   - A link with any fault on has a timer; a refused post becomes a timer that is due at once, so
 *     fault_kick() fails only for a link without faults, which can do without.
 *   - Memory of a link goes when the core closed it, the inner link is closed, no post is on its
 *     way and no frame of ours is on the stack (`inside`).  LINK_CLOSED follows, then the
 *     endpoint's reference.
 *   - EP_CLOSED goes up when the inner endpoint has said it and no link is left.
 *   - WRITABLE goes up only while `tx_owed`, so once for each send() that took too little.
 *   - Everything of a link is touched in its serial only; events of transports with threads of
 *     their own are carried there first.  An endpoint is fixed by ep_open, but for its atomics. */
#ifndef FAULT_H
#define FAULT_H

#include <netqueue/transport_kit.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define FAULT_NAME_MAX 128
#define FAULT_LATE_NS INT64_C(10000000) /* a message is held back for a later one so long */
#define FAULT_SLICES 50u                /* with `rate`, one read is 1/50 s worth of bytes */

/* Of struct nqt_ops `ops`: is the slot there? */
#define FAULT_CAN(ops, slot) NQT_HAS(struct nqt_ops, ops, slot)

enum fault_kind { FAULT_NONE, FAULT_CUT, FAULT_TRUNCATE, FAULT_HALF_OPEN, FAULT_PAUSE };
enum fault_direction { FAULT_BOTH, FAULT_SEND, FAULT_RECEIVE };

/* Checked options of an endpoint; odds are of a thousand. */
struct fault_opts {
    uint64_t seed;
    uint32_t refuse;                          /* of connects and accepts */
    uint32_t cut, truncate, half_open, pause; /* of links; at most 1000 together */
    uint64_t after_min, after_max;            /* bytes until the plan strikes */
    enum fault_direction direction;
    int64_t dead_ns;
    uint32_t short_read, short_write;  /* at most so many bytes, buffers; 0 = off */
    uint64_t rate;                     /* bytes a second each way; 0 = off */
    uint32_t corrupt;                  /* of reads */
    uint32_t drop, duplicate, reorder; /* of messages */
};

/* Our use of one inner module: the nqt_core that it knows. */
struct fault_use {
    struct nqt_host table; /* the host that it sees */
    struct nqtp_mod *mod;
    const struct nqt_module *module;
    void *inner; /* its struct nqtp_mod */
    struct fault_use *next;
};

struct nqtp_mod {
    const struct nqt_host *host;
    nqt_core *core;
    pthread_mutex_t mtx;
    struct fault_use *uses; /* under mtx */
};

struct nqtp_ep {
    /* fixed by ep_open */
    struct nqtp_mod *mod;
    struct fault_use *use;
    const struct nqt_ops *ops; /* the inner module's */
    void *inner;               /* its struct nqtp_ep */
    nqt_ep *cookie;
    nqt_serial *serial;
    struct fault_opts opts;
    bool message; /* the inner transport carries messages */
    bool lossy;   /* so do we, and lose them: the core repeats those */
    bool active;  /* any fault is on */

    _Atomic uint32_t refs;             /* one until the inner EP_CLOSED, one a link */
    _Atomic uint64_t links;            /* made so far */
    _Atomic(struct nqtp_link *) spare; /* for an ACCEPT without memory */
};

/* One way of a link. */
struct fault_way {
    uint64_t bytes;
    uint64_t rng;
    int64_t next_ns; /* with `rate`: nothing moves before */
    bool dead;       /* until link->dead_until */
};

struct fault_plan {
    enum fault_kind kind;
    bool send; /* counts bytes sent, else received */
    uint64_t after;
};

/* Messages in order, one reference each. */
struct fault_queue {
    struct nqt_buf **ring;
    uint32_t cap, first, count;
    uint64_t off;         /* so much of the first is handed up */
    struct nqt_buf *late; /* held back, to come after the next one */
    int64_t late_ns;      /* or at this time */
};

enum fault_state {
    FAULT_ACCEPTED,
    FAULT_OPENING,
    FAULT_UP,
    FAULT_DRAINING,
    FAULT_DOWN,
    FAULT_CLOSED
};

struct nqtp_link {
    /* fixed */
    struct nqtp_ep *ep; /* one reference */
    uint64_t number;    /* in the endpoint, from 1 */

    /* in the link's serial; the endpoint's until attached */
    nqt_link *cookie;
    nqt_serial *serial;
    enum fault_state state;
    uint64_t epoch;
    struct fault_plan plan;
    struct fault_way tx, rx;
    int64_t dead_until;
    nqt_watch *timer; /* NULL: no fault is on */
    uint32_t inside;  /* our frames on the stack */
    bool posted;      /* fault_run() is on its way */
    bool hurry;       /* no memory to post: the timer is due at once */
    bool due;         /* the plan struck: cut it */

    bool held;       /* the core's rx_hold(1) */
    bool rx_refused; /* we gave no space: have it asked again */
    bool rx_blocked; /* MESSAGE: the core gave no space; until rx_hold(0) */
    bool tx_full;    /* the inner send() took too little; until its WRITABLE */
    bool tx_owed;    /* our send() did */

    void *inner;        /* its struct nqtp_link; NULL inside connect() and when refused */
    bool inner_down;    /* LINK_DOWN came */
    bool inner_closing; /* its close() was called */
    bool inner_closed;  /* LINK_CLOSED came, or there is none */
    bool sinking;
    bool end_due; /* `end` goes up when the queue is empty */
    struct nqt_error end;

    struct fault_queue queue;
    struct iovec given[8]; /* of the last rx_space(), for flips */
    uint32_t ngiven;
    char local[FAULT_NAME_MAX], peer[FAULT_NAME_MAX];
    char sink[1024];
};

/* ---- fault.c ---------------------------------------------------------------------------- */

int64_t fault_now(const struct nqtp_link *link);
void fault_ep_ref(struct nqtp_ep *ep);
/* May emit EP_CLOSED: touch neither the endpoint nor the module afterwards.  Thread: any. */
void fault_ep_unref(struct nqtp_ep *ep);

/* ---- fault_opts.c ----------------------------------------------------------------------- */

#define FAULT_OPTIONS 18u
extern const struct nqt_opt fault_opt_table[FAULT_OPTIONS];

/* Read and check them and find the inner module and its options.  0 or NQT_E_* with *err. */
int fault_opts_read(const struct nqt_host *host, nqt_cfg *cfg, struct fault_opts *out,
                    const struct nqt_module **inner, nqt_cfg **inner_cfg, struct nqt_error *err);
/* Is any fault on? */
bool fault_opts_active(const struct fault_opts *opts);

uint64_t fault_draw(uint64_t *rng);
uint64_t fault_below(uint64_t *rng, uint64_t n); /* 0 to n - 1 */
bool fault_hit(uint64_t *rng, uint32_t odds);    /* of a thousand; draws nothing for 0 */

/* Seed the link's ways and draw its plan.  True: refuse it. */
bool fault_plan_draw(struct nqtp_link *link);
/* "cut", "truncated" ... */
const char *fault_kind_name(enum fault_kind kind);
/* Bytes that may go that way before the plan strikes; UINT64_MAX = any. */
uint64_t fault_plan_left(const struct nqtp_link *link, bool send);
/* So many have gone: strike when it is time.  True: the link is about to be cut. */
bool fault_plan_count(struct nqtp_link *link, bool send, uint64_t n);
void fault_plan_strike(struct nqtp_link *link);

/* ---- fault_host.c ----------------------------------------------------------------------- */

/* What an inner transport sees instead of `host`. */
struct nqt_host fault_host_table(const struct nqt_host *host);

/* ---- fault_link.c ----------------------------------------------------------------------- */

/* A link that is not drawn for yet; refers to the endpoint.  NULL = no memory. */
struct nqtp_link *fault_link_new(struct nqtp_ep *ep);
/* The same in memory that is zeroed; NULL stays NULL. */
struct nqtp_link *fault_link_begin(struct nqtp_ep *ep, struct nqtp_link *link);
/* Without any event; gives the endpoint's reference back. */
void fault_link_free(struct nqtp_link *link);
/* RX with this message, whose reference moves up. */
void fault_link_emit_message(struct nqtp_link *link, struct nqt_buf *buf);
/* Have fault_run() called soon.  False: no memory, and no timer. */
bool fault_kick(struct nqtp_link *link);
/* Bracket whatever may free the link; leave() does that. */
void fault_enter(struct nqtp_link *link);
void fault_leave(struct nqtp_link *link);
/* Call the inner close(), once. */
void fault_inner_close(struct nqtp_link *link);

static inline bool fault_open(const struct nqtp_link *link)
{
    return link->state == FAULT_UP || link->state == FAULT_DRAINING;
}

int fault_connect(struct nqtp_ep *ep, nqt_link *cookie, nqt_serial *serial, struct nqtp_link **out,
                  struct nqt_error *err);
int fault_attach(struct nqtp_link *link, nqt_link *cookie, nqt_serial *serial);
int fault_send(struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t n, uint32_t flags,
               uint32_t *taken);
int fault_rx_hold(struct nqtp_link *link, int hold);
int fault_shutdown(struct nqtp_link *link);
void fault_close(struct nqtp_link *link);
int fault_info(struct nqtp_link *link, struct nqt_info *out);
int fault_rx_poll(struct nqtp_link *link);
int fault_rx_arm(struct nqtp_link *link, int on);
int fault_limit_rx(struct nqtp_link *link, size_t len);

#define FAULT_CAPS                                                                                 \
    (NQT_CAP_STREAM | NQT_CAP_MESSAGE | NQT_CAP_LISTEN | NQT_CAP_CONNECT | NQT_CAP_PEER_PRESENCE | \
     NQT_CAP_GATHER | NQT_CAP_RX_HOLD | NQT_CAP_DRAIN | NQT_CAP_LOSSY)

/* ---- fault_run.c ------------------------------------------------------------------------ */

/* Do what is due: posted by fault_kick(), and the callback of the timer. */
void fault_run(void *arg);
void fault_tick(void *arg);
/* Set the timer to what comes next. */
void fault_arm(struct nqtp_link *link);
/* Bytes that may be received now; 0 = none, UINT64_MAX = any. */
uint64_t fault_rx_limit(struct nqtp_link *link);
/* May buffers be sent now? */
bool fault_tx_open(const struct nqtp_link *link);
/* After so many bytes that way: with `rate`, when the next may go. */
void fault_pace(struct nqtp_link *link, struct fault_way *way, uint64_t n);
/* Flip a bit of the `n` bytes that are about to be handed up, sometimes. */
void fault_corrupt(struct nqtp_link *link, uint64_t n);

/* ---- fault_queue.c ---------------------------------------------------------------------- */

/* Take the messages over, drawing for each; 0, or NQT_E_NOMEM: none was taken. */
int fault_queue_add(struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t n);
/* The one that was held back is late enough. */
void fault_queue_late(struct nqtp_link *link);
/* The front message, with its reference; there must be one. */
struct nqt_buf *fault_queue_pop(struct fault_queue *queue);
/* Copy up to `len` bytes out of the front; returns how many. */
size_t fault_queue_take(struct fault_queue *queue, char *to, size_t len);
/* Drop all and give the memory back. */
void fault_queue_free(struct nqtp_link *link);

#endif
