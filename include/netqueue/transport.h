/**
 * @file
 * The transport ABI, major 0: all that a transport plugin must include.  What most plugins need
 * beside it stands in transport_kit.h, ready made.
 *
 * A plugin exports one constant, NQT_MODULE(name), and has no undefined symbol of
 * the library: every service comes through `struct nqt_host`.
 *
 *     module    one .so, serves any number of queues
 *       endpoint  one local attachment: listening sockets, a broker session, ...
 *         link      one ordered path to one peer; serves one epoch, from LINK_UP to
 *                   LINK_DOWN
 *
 * Delivery: between LINK_UP and LINK_DOWN the receiver gets a prefix of what the
 * sender handed over: in order, no gap, no duplicate, no merge of two buffers on
 * MESSAGE transports.  What cannot be kept ends the epoch, before anything later is
 * delivered.  A link of messages that may lose, double or reorder them, each whole or
 * not at all and never one of another epoch, declares LOSSY: the core then repeats what
 * does not arrive.  Retry, back-off, framing, negotiation and resume are the core's.
 *
 * Serials: every endpoint and every link has a serial.  The core calls slots, and
 * the callbacks of watches, timers and posts, inside the serial of their object: one
 * at a time, on any thread.  A slot never blocks.  Calls marked "in serial" are legal
 * only there; calls marked "any" on every thread.  An emit() inside the serial is
 * handled after the slot returned, elsewhere later.  No plugin lock may be held
 * across a call of the host, except log, mem, buf_new, now_ns, count, emit, post, health.
 *
 * Growth: every struct begins with its size; the reader uses NQT_HAS() for whatever
 * came after minor 0 and for optional slots.  A slot is never changed, only
 * followed by another.
 *
 * The promise: a transport that passes `netqueue conform` for ABI 1.N loads and works in
 * every libnetqueue whose transport ABI is 1.M with M >= N, for as long as major 1 is
 * supported: for at least two stable releases of Debian after major 2 appears.
 */
#ifndef NETQUEUE_TRANSPORT_H
#define NETQUEUE_TRANSPORT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NQT_ABI_MAJOR 1
#define NQT_ABI_MINOR 0
#define NQT_MAGIC UINT32_C(0x4e515400)

/** True when the producer of *p knew this slot and filled it. */
#define NQT_HAS(type, p, slot) ((p)->size >= offsetof(type, slot) + sizeof((p)->slot) && (p)->slot)

/* ---- handles ---------------------------------------------------------------------------- */

typedef struct nqt_core nqt_core;     /* one queue's use of one module; the core's */
typedef struct nqt_serial nqt_serial; /* the core's */
typedef struct nqt_cfg nqt_cfg;       /* checked options; the core's */
typedef struct nqt_watch nqt_watch;   /* a descriptor or timer in a loop; the core's */
typedef struct nqt_ep nqt_ep;         /* the core's cookie for an endpoint */
typedef struct nqt_link nqt_link;     /* the core's cookie for a link */
struct nqt_module;                    /* below */
struct nqtp_mod;                      /* the plugin defines these three */
struct nqtp_ep;
struct nqtp_link;

/* ---- errors: 0 is success, these are negative ------------------------------------------- */

#define NQT_OK 0
#define NQT_E_NOMEM (-1)
#define NQT_E_CONFIG (-2)      /* an option, or a file that it names, is wrong: see below */
#define NQT_E_SYS (-3)         /* the system refused; `native` is the errno */
#define NQT_E_REFUSED (-4)     /* the other side refused */
#define NQT_E_UNREACHABLE (-5) /* no way there, no such host */
#define NQT_E_LOST (-6)        /* the connection broke or went silent */
#define NQT_E_EOF (-7)         /* the other side ended it in good order */
#define NQT_E_PROTOCOL (-8)    /* the other side broke the transport's protocol */
#define NQT_E_AUTH (-9)        /* identity not proven, of either side: see below */
#define NQT_E_UNSUPPORTED (-10)
#define NQT_E_CLOSED (-11) /* closed by this side */
#define NQT_E_INVAL (-12)  /* a rule of this header is broken */

/* After CONFIG and AUTH the next try fails likewise, until somebody mends a file or the other side,
 * of which nobody is told: a client goes on with the next transport of its list at once, and comes
 * back to this one after 10 s at the soonest. */

/** Details of a failure; the caller sets `size`, the callee fills what fits. */
struct nqt_error {
    uint32_t size;
    int32_t code; /* NQT_E_*, never an errno */
    /* Of connect() and LINK_DOWN: least pause before this endpoint connects again, at most an hour;
     * 0 = no opinion. */
    uint32_t retry_ms;
    uint32_t rsv;
    int64_t native;  /* errno, MQTT reason code, gRPC status ... */
    char domain[16]; /* "errno", "mqtt", "grpc" ... */
    char text[216];  /* UTF-8 and a NUL: what and where */
};

/* ---- buffers ---------------------------------------------------------------------------- */

struct nqt_buf;
struct nqt_buf_ops {
    uint32_t size, rsv;
    void (*ref)(struct nqt_buf *);   /* any thread, never blocks */
    void (*unref)(struct nqt_buf *); /* any thread, never calls the host */
};

#define NQT_BUF_SCARCE 0x1u /* from a small pool: copy before keeping it long */

/** Bytes in segments; read-only once handed over, shared by reference. */
struct nqt_buf {
    uint32_t size, flags;
    uint32_t nseg, rsv;
    uint64_t len; /* sum of the segments */
    const struct iovec *seg;
    const struct nqt_buf_ops *ops;
};

/* ---- options: what the configuration may say about this transport ----------------------- */

#define NQT_OPT_BOOL 1u
#define NQT_OPT_INT 2u
#define NQT_OPT_SIZE 3u     /* bytes; suffixes KiB MiB GiB */
#define NQT_OPT_DURATION 4u /* ns; suffixes ns us ms s min h */
#define NQT_OPT_STR 5u
#define NQT_OPT_ENUM 6u
#define NQT_OPT_PATH 7u /* made absolute, from the configuration's folder */
#define NQT_OPT_LIST 8u /* of strings */
/* Name of another transport that this one stands on; at most one in a table.  Keys that
 * are no option of ours are then that transport's, whose own table checks them. */
#define NQT_OPT_TRANSPORT 9u

#define NQT_OPT_REQUIRED 0x1u
#define NQT_OPT_SECRET 0x2u /* never printed */

/** A name "group.member" is a member of the object `group` of the entry, or stands there itself. */
struct nqt_opt {
    const char *name, *def, *unit, *help; /* def: as text, NULL = none */
    const char *const *choices;           /* ENUM: NULL-terminated */
    int64_t min, max;                     /* numbers; both 0 = no range */
    uint32_t type, flags;
    uint32_t since_minor, rsv;
};

/* ---- events: plugin -> core ------------------------------------------------------------- */

#define NQT_EV_EP_UP 1u
#define NQT_EV_EP_DOWN 2u     /* err: the endpoint cannot work now; its links go down too */
#define NQT_EV_EP_CLOSED 3u   /* the last event of this endpoint */
#define NQT_EV_ACCEPT 4u      /* plink, peer_name: answer with attach() or close() */
#define NQT_EV_LINK_UP 5u     /* epoch */
#define NQT_EV_WRITABLE 6u    /* after send() took less than it was given */
#define NQT_EV_RX 7u          /* MESSAGE links: nbuf buffers, one reference each moves up */
#define NQT_EV_LINK_DOWN 8u   /* err; once, nothing of this epoch follows */
#define NQT_EV_LINK_CLOSED 9u /* after close(); the last event of this link */

struct nqt_event {
    uint32_t size, kind; /* NQT_EV_* */
    nqt_ep *ep;          /* always */
    nqt_link *link;      /* link events */
    uint64_t epoch;
    uint32_t nbuf, rsv;
    struct nqt_buf *const *buf;
    struct nqtp_link *plink;
    const char *peer_name; /* for people and logs: "127.0.0.1:4711" */
    const struct nqt_error *err;
};

/* ---- counters that plugins keep through host->count ------------------------------------- */

#define NQT_COUNT_SEND_CALLS 1u /* system calls (or library calls) that sent */
#define NQT_COUNT_RECV_CALLS 2u
#define NQT_COUNT_SHARED_BYTES 3u /* memory of links that peers can see, now */

/* ---- health of what lies below an endpoint ----------------------------------------------- */

#define NQT_HEALTH_IDLE 0u       /* nothing is asked of it */
#define NQT_HEALTH_CONNECTING 1u /* it is on its way up */
#define NQT_HEALTH_READY 2u
#define NQT_HEALTH_FAILING 3u /* the last attempt failed or it broke; it is tried again */
#define NQT_HEALTH_CLOSED 4u  /* it does not come back */

struct nqt_health {
    uint32_t size, state; /* NQT_HEALTH_* */
    /* One line for people: what it is connected to, or why it is not; NULL = nothing to say. */
    const char *text;
};

/* ---- services: core -> plugin ----------------------------------------------------------- */

#define NQT_LOG_ERROR 0u
#define NQT_LOG_WARN 1u
#define NQT_LOG_INFO 2u
#define NQT_LOG_DEBUG 3u

#define NQT_RESOLVE_PASSIVE 0x1u /* for listening */

/** An address that was found; `addr` is a struct sockaddr of `len` bytes. */
struct nqt_addr {
    uint32_t size, len;
    const void *addr;
};

/** The answer of resolve(): `n` addresses in order of preference, or `err` (then
 *  n = 0).  Both are borrowed until it returns.  Called in serial. */
typedef void (*nqt_resolved_fn)(void *arg, const struct nqt_addr *addrs, uint32_t n,
                                const struct nqt_error *err);

/* fd_add: report each time that something came, and not again for what was not read.  A
 * descriptor that only wakes need not be read then. */
#define NQT_POLL_EDGE (UINT32_C(1) << 30)

/* Names that cfg_int answers besides the options: facts of the queue.  Earlier cores say
 * NQT_E_CONFIG. */
#define NQT_FACT_PROVEN "core.proven" /* 1: nobody on the way can forge what passes unnoticed */
/* Which wires the endpoint's links are for: NQT_WIRE_; other than NATIVE only where the module has
 * PLAIN. */
#define NQT_FACT_WIRE "core.wire"
#define NQT_FACT_ID "core.id" /* by cfg_str: this side's UUID, 36 characters */
#define NQT_WIRE_NATIVE 0
#define NQT_WIRE_PLAIN 1 /* the one of the Python library net-queue: docs/interop.md */
#define NQT_WIRE_BOTH 2  /* a listener's */

struct nqt_host {
    uint32_t size;
    uint16_t abi_major, abi_minor;

    /* any thread */
    /* One finished line; the core puts the transport's name before it. */
    void (*log)(nqt_core *, uint32_t level, const char *text);
    void *(*mem)(nqt_core *, void *old, size_t len); /* realloc; len 0 frees */
    /* A buffer of one segment of `len` bytes to fill and emit; NULL = no memory.  The
     * caller owns one reference. */
    struct nqt_buf *(*buf_new)(nqt_core *, size_t len);
    int64_t (*now_ns)(nqt_core *); /* monotonic */
    /* Run fn(arg) in the serial, later.  Accepted posts always run, also after close. */
    int (*post)(nqt_serial *, void (*fn)(void *), void *arg);
    int (*in_serial)(nqt_serial *);
    int (*emit)(nqt_core *, const struct nqt_event *, uint32_t n);
    void (*count)(nqt_core *, uint32_t id, int64_t delta);
    const void *(*ext)(nqt_core *, const char *id); /* families of features, by name */

    /* only during the call that received the nqt_cfg; strings live until it returns.
     * 0 = found (or its default), NQT_E_CONFIG = not set and no default.
     * cfg_int also answers to the names NQT_FACT_. */
    int (*cfg_int)(nqt_cfg *, const char *name, int64_t *out); /* BOOL INT SIZE DURATION */
    int (*cfg_str)(nqt_cfg *, const char *name, const char **out);
    int (*cfg_list)(nqt_cfg *, const char *name, uint32_t i, const char **out);

    /* in serial */
    /* Watch `fd`, level-triggered; `events` as in poll(): POLLIN, POLLOUT, and NQT_POLL_EDGE.
     * The core never closes the descriptor; delete the watch first. */
    int (*fd_add)(nqt_serial *, int fd, uint32_t events, void (*fn)(void *arg, uint32_t events),
                  void *arg, nqt_watch **out);
    int (*fd_mod)(nqt_watch *, uint32_t events);
    void (*fd_del)(nqt_watch *); /* no callback starts after this */
    int (*timer_add)(nqt_serial *, void (*fn)(void *), void *arg, nqt_watch **out);
    void (*timer_set)(nqt_watch *, int64_t at_ns); /* one shot; < 0 stops */
    void (*timer_del)(nqt_watch *);
    /* Find the addresses of a host name off the loop; `fn` is called later, always and
     * once, in serial.  host NULL = any address (with PASSIVE) or loopback. */
    int (*resolve)(nqt_serial *, const char *host, uint16_t port, uint32_t flags,
                   nqt_resolved_fn fn, void *arg);
    /* STREAM transports: where to read into.  Up to 8 segments, at most `want` bytes in
     * all unless want = 0.  0, or NQT_E_* (hold or closing: do not read now). */
    int (*rx_space)(nqt_link *, size_t want, struct iovec *iov, uint32_t *niov);
    /* `n` bytes of that space are filled (0 = the space goes unused).  Must follow every
     * successful rx_space().  Negative: the core closes the link, stop reading. */
    int (*rx_commit)(nqt_link *, size_t n);

    /* The transport that an option of type TRANSPORT names, and its options for the slots of that
     * module.  The module is never unloaded; otherwise as cfg_int.  A plugin cannot load another
     * one by itself: where they lie, and which may be trusted, only the core knows. */
    int (*cfg_inner)(nqt_cfg *, const char *name, const struct nqt_module **module, nqt_cfg **out);

    /* How the endpoint's medium is now: a channel, the session with a broker.  Without it the core
     * goes by the events of the endpoint and its links; from the first call on it shows what it is
     * told here, and that alone.  Any thread, also under a plugin's lock; from ep_open() on until
     * EP_CLOSED is emitted.  Copied, never blocks. */
    void (*health)(nqt_ep *, const struct nqt_health *);

    /* STREAM transports: the bytes that come next, by reference, for those that have them in memory
     * already; not between rx_space() and rx_commit().  In serial.  One reference moves up in any
     * case. Negative: the core closes the link, stop reading. */
    int (*rx_give)(nqt_link *, struct nqt_buf *);

    /* STREAM transports: the bytes that come next, for those that have a few of them in memory
     * already; not between rx_space() and rx_commit().  In serial.  Nobody else writes there
     * meanwhile, and what the core keeps it copies.  Negative: the core closes the link, stop
     * reading. */
    int (*rx_bytes)(nqt_link *, const void *data, size_t len);
};

/* ---- capabilities ----------------------------------------------------------------------- */

/* What a link carries: exactly one of these.  A module has both when its links differ. */
#define NQT_CAP_STREAM (UINT64_C(1) << 0)
#define NQT_CAP_MESSAGE (UINT64_C(1) << 1)
#define NQT_CAP_LISTEN (UINT64_C(1) << 2)
#define NQT_CAP_CONNECT (UINT64_C(1) << 3)
#define NQT_CAP_BROKERED (UINT64_C(1) << 4)      /* no direct connection of the peers */
#define NQT_CAP_PEER_PRESENCE (UINT64_C(1) << 5) /* LINK_DOWN when the peer goes away */
#define NQT_CAP_PEER_IDENTITY (UINT64_C(1) << 6) /* info().peer_identity is proven */
#define NQT_CAP_CONFIDENTIAL (UINT64_C(1) << 7)  /* encrypted on the way */
#define NQT_CAP_GATHER (UINT64_C(1) << 8)        /* buffers of many segments; else of one each */
#define NQT_CAP_LOAN_TX (UINT64_C(1) << 9)
#define NQT_CAP_RX_HOLD (UINT64_C(1) << 10)    /* receiving can be stopped */
#define NQT_CAP_DRAIN (UINT64_C(1) << 11)      /* shutdown() delivers everything taken */
#define NQT_CAP_LOCAL_ONLY (UINT64_C(1) << 12) /* peers are on this host */
#define NQT_CAP_LOSSY (UINT64_C(1) << 13)      /* may lose, double, reorder messages */
/* A module's: its links can carry a bare stream of bytes as the Python library net-queue does over
 * the same medium (NQT_FACT_WIRE).  A link's: it may, and if it is one of MESSAGE, it does. */
#define NQT_CAP_PLAIN (UINT64_C(1) << 14)

/** Facts of a link, valid from LINK_UP on; the caller sets `size`. */
struct nqt_info {
    uint32_t size, max_seg;    /* segments in one send(), all buffers; 0 = no limit */
    uint64_t caps;             /* of this link, a subset of the module's */
    uint64_t max_message;      /* bytes in one buffer; 0 = no limit */
    const char *local, *peer;  /* for people; live as long as the link */
    const char *peer_identity; /* "urn:uuid:..."; without PEER_IDENTITY unproven; NULL = none */
};

/* ---- the transport ---------------------------------------------------------------------- */

#define NQT_SEND_MORE 0x1u /* hint: more follows at once */

struct nqt_ops {
    uint32_t size, rsv;

    /* A queue begins to use the module.  `core` stays valid until mod_close returns.
     * Any thread, one call at a time.  0 or NQT_E_* with *err filled. */
    int (*mod_open)(const struct nqt_host *host, nqt_core *core, struct nqtp_mod **out,
                    struct nqt_error *err);
    /* All its endpoints are closed.  No call of the host may follow its return. */
    void (*mod_close)(struct nqtp_mod *);

    /* Optional: rules between options, and what the files have that they name; touches no
     * network.  `core` may have no module: not opened yet.  Any thread. */
    int (*check)(const struct nqt_host *host, nqt_core *core, nqt_cfg *cfg, struct nqt_error *err);

    /* A new endpoint; with `listen` it accepts links: ACCEPT events, addresses in use
     * are a failure of this call where it can be known at once, EP_DOWN later.  In
     * serial.  On failure nothing is left behind. */
    int (*ep_open)(struct nqtp_mod *, nqt_ep *ep, nqt_serial *serial, nqt_cfg *cfg, int listen,
                   struct nqtp_ep **out, struct nqt_error *err);
    /* Stop accepting and end the endpoint: EP_CLOSED follows, after its links' CLOSED.
     * The core has closed its links before.  In serial. */
    void (*ep_close)(struct nqtp_ep *);

    /* Begin to connect where the endpoint's options say: LINK_UP or LINK_DOWN follows.
     * In the link's serial. */
    int (*connect)(struct nqtp_ep *, nqt_link *link, nqt_serial *serial, struct nqtp_link **out,
                   struct nqt_error *err);
    /* Adopt an ACCEPTed link: LINK_UP follows, possibly at once.  In the link's serial. */
    int (*attach)(struct nqtp_link *, nqt_link *link, nqt_serial *serial);

    /* Hand `n` buffers over.  The first *taken hold one reference that is the
     * transport's, and are sent whole or the link goes down.  *taken < n: WRITABLE
     * follows.  In serial. */
    int (*send)(struct nqtp_link *, struct nqt_buf *const *bufs, uint32_t n, uint32_t flags,
                uint32_t *taken);
    /* Optional (LOAN_TX): `len` bytes of writable memory, one segment, 64-byte aligned, one
     * reference: what is sent of them later, over this link and in whatever buffer, need not be
     * copied.  They are memory like any other, and may outlive link and queue.  Negative: none;
     * NQT_E_NOMEM: all of it is lent, and the core may ask again soon.  In serial. */
    int (*loan)(struct nqtp_link *, size_t len, struct nqt_buf **out);
    /* Optional (RX_HOLD): 1 = receive nothing more until 0.  In serial. */
    int (*rx_hold)(struct nqtp_link *, int hold);
    /* Optional (DRAIN): send what was taken, then end the link: LINK_DOWN(EOF). */
    int (*shutdown)(struct nqtp_link *);
    /* End the link: LINK_CLOSED follows, unless it was never attached: then it has no
     * cookie and ends in silence.  Legal at any time, also before attach().  Twice is
     * allowed.  In serial. */
    void (*close)(struct nqtp_link *);
    int (*info)(struct nqtp_link *, struct nqt_info *out);
    const void *(*ext)(struct nqtp_mod *, const char *id);

    /* Optional, both or none: where the endpoint's loop may sleep (a completion queue).
     * poll() waits up to timeout_ns (0 = look, negative = for ever) and runs callbacks;
     * it returns as soon as one of them has posted or emitted.  One thread at a time, in
     * no serial; never before ep_open() has returned nor while or after ep_close() is
     * called.  The loop sleeps there only while it watches no descriptor and the program
     * has no loop of its own: the transport must do without.  poll_wake(), on any
     * thread, ends the poll() that goes on or the next one. */
    int (*poll)(struct nqtp_ep *, int64_t timeout_ns);
    void (*poll_wake)(struct nqtp_ep *);

    /* Optional, both or none: links worth looking at between sleeps.  rx_poll() receives
     * what is there: 1 = something, 0 = nothing, in serial.  rx_arm(1) before a sleep: from
     * then on the endpoint's descriptor wakes; answers 1 when data is there already. */
    int (*rx_poll)(struct nqtp_link *);
    int (*rx_arm)(struct nqtp_link *, int on);

    /* Optional, for transports that keep what came until it is whole: from now on keep at
     * most about `len` bytes of this link's that are not handed up; more ends it, PROTOCOL.  0 = as
     * without this call.  So long as the other end is a stranger the core allows it but a greeting.
     * In serial. */
    int (*rx_limit)(struct nqtp_link *, size_t len);

    /* Optional: what send() of one buffer with these bytes would do, all at once, without
     * a reference: they are copied.  1 = done; 0 = not now, and nothing has happened: send() tells
     * more.  For a transport that sends many small buffers as quickly as their bytes in a large
     * one; the core gathers for the others.  len > 0.  In serial. */
    int (*send_bytes)(struct nqtp_link *, const void *data, size_t len);
};

/* ---- what the .so exports --------------------------------------------------------------- */

#define NQT_THREADING_LOOP 1u /* starts no thread */
#define NQT_THREADING_OWN 2u  /* has threads of its own */

struct nqt_module {
    uint32_t magic, size;
    uint16_t abi_major, needs_minor; /* literal numbers, typed by the author */
    uint32_t threading;
    uint32_t nopt, opt_size; /* opt_size = sizeof(struct nqt_opt) */
    uint64_t caps;           /* the most that a link can have */
    const char *name;        /* equals the file's name */
    const char *version, *wire, *license, *summary;
    const struct nqt_opt *opt;
    const struct nqt_ops *ops;
};

/** Defines the one symbol that the plugin `id` exports. */
#define NQT_MODULE(id)                                                                          \
    extern __attribute__((visibility("default"))) const struct nqt_module id##_LTX_nqt1_module; \
    __attribute__((visibility("default"), used)) const struct nqt_module id##_LTX_nqt1_module

#ifdef __cplusplus
}
#endif
#endif
