/* What the files of the grpc plugin share; README.md has threads, states and invariants.
 *
 *   grpc.c          the table and the module
 *   grpc_opts.c     options, channel arguments, errors
 *   grpc_drive.c    the completion queue and its thread
 *   grpc_poll.c     who waits in it
 *   grpc_room.c     what an endpoint has in the library
 *   grpc_stream.c   one call
 *   grpc_link.c     life of a link
 *   grpc_rounds.h   links of the plain wire, whose calls are rounds
 *   grpc_rx.c       from messages to the core's room
 *   grpc_listen.c   endpoints, where they listen
 *   grpc_server.c   servers, the calls that come
 *   grpc_lease.c    buffers of the core as slices
 *   grpc_connect.c  calls of a client
 *   grpc_tls.c      certificates and keys
 *   grpc_cert.c     the verdict on the other side's
 *
 * Names that begin with grpc_ are the library's, with ngrpc_ ours.
 *
 * Locks: drive, then room or stream; never room and stream together.  None is held across what may
 * run callbacks of gRPC.  Under room or stream, post(), emit() and count() of the host only. */
#ifndef NGRPC_H
#define NGRPC_H

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/slice_buffer.h>
#include <netqueue/transport_tls.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define NGRPC_METHOD "/netqueue.Transport/Link"
#define NGRPC_ROUND "/grpc/comm"        /* of the plain wire: a call is one round */
#define NGRPC_MARK "netqueue-transport" /* initial metadata of a server of ours */
#define NGRPC_MARK_VALUE "0"
#define NGRPC_MESSAGE_MAX (4 << 20) /* bytes of a message that is received */
#define NGRPC_PIECE_MAX (64 << 20)  /* the same where the plain wire is spoken, which has 16 MiB */

#define NGRPC_HOST_MAX 256
#define NGRPC_NAME_MAX 288 /* "[host]:port" and a NUL */
#define NGRPC_REASON_MAX 400
#define NGRPC_WHY_MAX 160 /* why a certificate is refused */
#define NGRPC_IDENTITY_MAX 48
#define NGRPC_ADDRS_MAX 16

#define NGRPC_DRAIN_NS INT64_C(2000000000)   /* shutdown() waits so long for the peer's end */
#define NGRPC_LINGER_NS INT64_C(500000000)   /* close(): to send what was taken */
#define NGRPC_ABANDON_NS INT64_C(2000000000) /* ep_close(): for the library to let go */
#define NGRPC_TICK_NS INT64_C(10000000)      /* what is late is looked at so often */

#define NGRPC_RX_SLOTS 8u         /* messages, and */
#define NGRPC_RX_BYTES (1u << 20) /* bytes that wait for the core; then nothing is received */

struct ngrpc_opts {
    char host[NGRPC_HOST_MAX];
    uint16_t port;
    int64_t connect_timeout_ns, idle_timeout_ns;
    int64_t wire;                       /* NQT_WIRE_ */
    size_t message, send_queue, memory; /* bytes */
    uint32_t backlog;
    struct nqt_tls_opts tls;
};

/* What gRPC gives back when an operation completed. */
struct ngrpc_tag {
    void (*done)(struct ngrpc_tag *tag, bool ok); /* on the drive */
};

/* One queue's completion queue and its thread. */
struct ngrpc_drive {
    grpc_completion_queue *cq;
    pthread_t thread;
    grpc_channel *lame; /* for `waker` */
    grpc_call *waker;   /* its empty batches wake the thread */
    struct ngrpc_tag on_wake;
    /* Operations: what was written before one started is seen where it completes.  gRPC sees to
     * that itself; this says so to those who cannot look into it, like thread sanitizers. */
    _Atomic uint64_t started;
    _Atomic bool late; /* something has a deadline, or waits for memory: look every NGRPC_TICK_NS */
    pthread_mutex_t look_mtx; /* who holds it looks; nobody waits for it */
    int64_t looked_ns;        /* under it */

    /* grpc_poll.c; atomic */
    _Atomic uint32_t watch;  /* its state */
    _Atomic bool parked;     /* it waits in the queue, or is about to; written under mtx or by it */
    _Atomic bool hurry;      /* the next tick is the last */
    _Atomic uint32_t inside; /* callers in poll() */
    _Atomic uint32_t looks;  /* of callers since the thread came back to the queue */
    _Atomic uint64_t polls;  /* that there have been */
    _Atomic uint64_t news;   /* posts and events: a poll() shall return */
    _Atomic(struct ngrpc_stream *) owed; /* whose receives are to be started before the next wait */

    pthread_mutex_t mtx;
    pthread_cond_t unparked, rest; /* with mtx */
    /* under mtx */
    struct ngrpc_stream *streams;
    struct ngrpc_room *rooms;
    bool left;     /* mod_close() did not wait: the thread ends and frees by itself */
    bool stopping; /* the completion queue was shut down */
};

struct nqtp_mod {
    const struct nqt_host *host;
    nqt_core *core;
    struct ngrpc_drive *drive;
    _Atomic uint64_t epochs; /* the last one given out */
};

/* What an endpoint has in the library; lives until that is gone. */
struct ngrpc_room {
    /* fixed */
    struct ngrpc_drive *drive;
    struct nqtp_mod *mod; /* valid while `ep` is set */

    struct ngrpc_room *next, **at; /* under the drive's mutex: its list */

    pthread_mutex_t mtx;
    /* under mtx */
    struct nqtp_ep *ep;  /* NULL: EP_CLOSED was emitted, or ep_open() failed */
    uint32_t holds;      /* ep_close() is to come, links, posts and questions on their way */
    uint32_t busy;       /* streams and servers */
    bool closing;        /* ep_close() was called */
    bool overdue;        /* wait for them no longer */
    int64_t deadline_ns; /* when that is so; 0 = not closing */

    /* a server's */
    struct ngrpc_stream *arrived, **arrived_tail; /* for the endpoint's serial to announce */
    struct ngrpc_stream *plain;                   /* of the plain wire, the newest first */
    bool posted;                                  /* a post is on its way there */
    bool owes_post;                               /* it was refused: the drive tries again */
    bool asked;                                   /* a request for the next call is outstanding */
    uint32_t waiting;                             /* calls that came and are not attached */
};

/* gRPC's server and our request for the next call; lives until its shutdown has completed. */
struct ngrpc_server {
    struct ngrpc_room *room; /* one `busy` */
    grpc_server *server;
    const struct ngrpc_opts opts;
    struct ngrpc_tls *tls; /* NULL = without */
    _Atomic uint32_t refs; /* the endpoint or the shutdown; the request */
    struct ngrpc_tag on_call, on_shutdown;
    /* the request's outputs */
    grpc_call *call;
    grpc_call_details details;
    grpc_metadata_array metadata;
};

struct nqtp_ep {
    /* fixed by ep_open */
    struct nqtp_mod *mod;
    nqt_ep *cookie;
    nqt_serial *serial;
    struct ngrpc_room *room;
    struct ngrpc_opts opts;
    bool listen;
    char name[NGRPC_NAME_MAX]; /* a server's address */
    struct ngrpc_tls *tls;     /* NULL = without */

    _Atomic bool woken; /* its poll(), or the next one */

    /* in the endpoint's serial; room->mtx when others read it */
    struct ngrpc_server *server; /* NULL: none yet, or closed */
};

/* One call. */
struct ngrpc_stream {
    /* fixed */
    struct ngrpc_drive *drive;
    struct ngrpc_room *room; /* one `busy` */
    grpc_call *call;
    grpc_channel *channel; /* a client's, for this call alone; else NULL */
    struct ngrpc_tls *tls; /* a client's, until the call ended; else NULL */
    size_t message;        /* bytes in one */
    _Atomic uint32_t refs; /* one while there are users, one a slice of the core's memory */

    struct ngrpc_stream *next, **at; /* under the drive's mutex: its list */
    struct ngrpc_stream *arrived;    /* under the room's: the next to be announced */
    struct ngrpc_stream *owed;       /* in drive->owed: the next there */

    bool plain; /* fixed: calls come one after the other, each a round; else one call is all */
    /* a server's plain one, in the room's list of them; under the room's mutex */
    struct ngrpc_stream *plain_next, **plain_at;
    char peer[NGRPC_NAME_MAX]; /* fixed: whose connection it is */

    pthread_mutex_t mtx;
    /* under mtx */
    uint32_t users;         /* the link, operations outstanding */
    struct nqtp_link *link; /* NULL: closed, or not made yet */
    bool closed;            /* no link will have it any more: what comes is dropped */
    bool attached;          /* the link has its own serial and may be posted to */
    bool posted;            /* a post is on its way */
    bool owes_post;         /* it was refused: the drive tries again */
    int64_t deadline_ns;    /* cancelled then; 0 = never */
    bool counted;           /* in room->waiting */

    /* What came to pass */
    char identity[NGRPC_IDENTITY_MAX]; /* "urn:uuid:..." that the other side has proven; or "" */
    char refused[NGRPC_WHY_MAX];       /* why its certificate is not accepted; or "" */
    bool opened;                       /* the other side is a netqueue server, or we are */
    bool rx_fin;                       /* the peer's empty message */
    bool rx_ended;                     /* nothing more comes */
    bool over;                         /* the call ended: */
    grpc_status_code status;
    char reason[NGRPC_REASON_MAX];

    /* plain */
    bool round;           /* one goes on, and `call` is it; else that is NULL */
    bool first;           /* none was whole yet */
    bool filled;          /* what this one sends is known */
    bool moved;           /* it sent or brought something */
    bool failed;          /* one was not whole: `status` and `reason` of that stay */
    bool announced;       /* a server's: the first piece came */
    uint32_t starts;      /* outstanding at its beginning: metadata */
    size_t quota;         /* bytes that it still sends */
    int64_t moved_ns;     /* when something last happened */
    grpc_call *next_call; /* a server's: came before this one was over */

    bool rx_busy;
    uint32_t rx_first, rx_count;
    size_t rx_bytes;
    grpc_byte_buffer *rx[NGRPC_RX_SLOTS];

    bool tx_busy;
    bool tx_broken;            /* nothing can be sent any more */
    bool tx_wanted;            /* send() took less than it was given */
    bool tx_room;              /* WRITABLE is due */
    bool fin, fin_sent;        /* the empty message behind everything */
    bool end, end_sent;        /* half-close or status behind that */
    grpc_slice_buffer tx_wait; /* not yet in a message */
    size_t tx_limit;           /* bytes there */

    /* outputs of operations, theirs while outstanding */
    bool watched; /* the last user's: `on_watch` was started */
    grpc_metadata_array initial, trailing;
    grpc_slice details;
    int cancelled;
    grpc_byte_buffer *rx_out, *tx_out;
    struct ngrpc_tag on_open, on_answer, on_close, on_recv, on_send, on_watch;
};

enum ngrpc_state {
    NGRPC_ACCEPTED, /* no cookie, the endpoint's serial */
    NGRPC_OPENING,  /* a client's call is not answered yet; timer armed */
    NGRPC_UP,
    NGRPC_DRAINING, /* takes nothing more; ends with the peer's end; timer armed */
    NGRPC_DOWN,     /* waits for close() */
    NGRPC_CLOSED    /* LINK_CLOSED comes or came */
};

struct nqtp_link {
    /* fixed */
    struct nqtp_mod *mod;
    struct nqtp_ep *ep;
    struct ngrpc_room *room;     /* one `hold` */
    struct ngrpc_stream *stream; /* one user until close(), one reference */
    char local[NGRPC_NAME_MAX], peer[NGRPC_NAME_MAX];

    /* in the link's serial; the endpoint's until attached */
    nqt_link *cookie;
    nqt_serial *serial;
    enum ngrpc_state state;
    uint64_t epoch;
    nqt_watch *timer;
    bool held;        /* rx_hold(1) */
    bool paused;      /* the core had no room; until rx_hold(0) */
    uint32_t inside;  /* our frames on the stack */
    bool finished;    /* LINK_CLOSED was emitted; lives on for a post that is on its way */
    bool finish_late; /* post() refused: finish when nobody is inside */

    /* plain */
    nqt_watch *tick;  /* the next round, or patience with this one */
    bool rounding;    /* as far as the serial knows */
    int64_t pause_ns; /* between rounds, and */
    int64_t due_ns;   /* when the next one begins; 0 = not known yet */

    grpc_byte_buffer *message; /* partly handed up; NULL = none */
    grpc_byte_buffer_reader reader;
    grpc_slice slice; /* of it, */
    size_t used;      /* and how much of the slice is handed up */
    size_t left;      /* bytes of the message after that */
};

/* ---- grpc_opts.c ------------------------------------------------------------------------ */

#define NGRPC_OPTIONS 15u
extern const struct nqt_opt ngrpc_opt_table[NGRPC_OPTIONS];

int ngrpc_opts_read(const struct nqt_host *host, nqt_cfg *cfg, struct ngrpc_opts *out,
                    struct nqt_error *err);
/* Arguments of a channel or a server. */
grpc_channel *ngrpc_opts_channel(const struct ngrpc_opts *opts, const char *target,
                                 grpc_channel_credentials *creds);
grpc_server *ngrpc_opts_server(const struct ngrpc_opts *opts);

int64_t ngrpc_now(void);
/* "host:port", "[1::2]:port". */
void ngrpc_address(char out[NGRPC_NAME_MAX], const char *host, unsigned port);
/* "ipv4:1.2.3.4:5" -> "1.2.3.4:5" and the like.  Thread: any. */
void ngrpc_peer_name(grpc_call *call, char out[NGRPC_NAME_MAX]);

/* ---- grpc_drive.c ----------------------------------------------------------------------- */

int ngrpc_drive_new(struct ngrpc_drive **out, struct nqt_error *err);
/* The queue is done with it.  Blocks until the thread has ended, unless something is left. */
void ngrpc_drive_leave(struct ngrpc_drive *drive);
/* Something got a deadline or waits for memory, in a room that is not gone: look at it.  Thread:
 * any, without locks. */
void ngrpc_drive_late(struct ngrpc_drive *drive);
/* Whoever waits in the queue comes back.  Thread: any. */
void ngrpc_drive_wake(struct ngrpc_drive *drive);
/* Look at what has a deadline, if the last look was long enough ago and nobody else looks. */
void ngrpc_drive_look(struct ngrpc_drive *drive);
static inline void ngrpc_drive_news(struct ngrpc_drive *drive)
{
    atomic_fetch_add_explicit(&drive->news, 1, memory_order_relaxed);
}
void ngrpc_drive_add_stream(struct ngrpc_stream *stream);
void ngrpc_drive_del_stream(struct ngrpc_stream *stream);
void ngrpc_drive_add_room(struct ngrpc_room *room);
void ngrpc_drive_del_room(struct ngrpc_room *room);

/* ---- grpc_poll.c ------------------------------------------------------------------------ */

void ngrpc_poll_init(struct ngrpc_drive *drive);
void ngrpc_poll_fini(struct ngrpc_drive *drive);
/* What the drive's thread does, until the queue has ended. */
void ngrpc_poll_run(struct ngrpc_drive *drive);
/* No caller comes any more, or not soon: the thread is to wait in the queue. */
void ngrpc_poll_recall(struct ngrpc_drive *drive);
/* Start a receive before the next wait; one user is raised for it.  Thread: the poller's. */
void ngrpc_poll_owe(struct ngrpc_stream *stream);
int ngrpc_poll(struct nqtp_ep *ep, int64_t timeout_ns);
void ngrpc_poll_wake(struct nqtp_ep *ep);

/* ---- grpc_room.c ------------------------------------------------------------------------ */

/* With one hold, the endpoint's.  NULL = no memory. */
struct ngrpc_room *ngrpc_room_new(struct nqtp_ep *ep);
void ngrpc_room_hold(struct ngrpc_room *room);
void ngrpc_room_enter(struct ngrpc_room *room); /* busy, one more */
/* May emit EP_CLOSED: touch neither the endpoint nor the module afterwards.  Thread: any. */
void ngrpc_room_drop(struct ngrpc_room *room);
void ngrpc_room_leave(struct ngrpc_room *room);
/* ep_open() failed: nobody is told of the end. */
void ngrpc_room_forget(struct ngrpc_room *room);
/* The drive looks: true when it must look again. */
bool ngrpc_room_look(struct ngrpc_room *room, int64_t now, bool *pinned);

/* ---- grpc_stream.c ---------------------------------------------------------------------- */

/* Takes `call` and `channel`; NULL = no memory, then they are ended.  It has one user, the link
 * to be. */
struct ngrpc_stream *ngrpc_stream_new(struct ngrpc_room *room, const struct ngrpc_opts *opts,
                                      grpc_call *call, grpc_channel *channel);
/* Start what every call has outstanding. */
void ngrpc_stream_open(struct ngrpc_stream *stream);
/* One user less: a link lets go. */
void ngrpc_stream_put(struct ngrpc_stream *stream);
void ngrpc_stream_unref(struct ngrpc_stream *stream);
/* Start the next send or receive if it is its turn. */
void ngrpc_stream_pump_tx(struct ngrpc_stream *stream);
void ngrpc_stream_pump_rx(struct ngrpc_stream *stream);
/* Start a receive for which `rx_busy` was set and a user raised.  Thread: any, without locks. */
void ngrpc_stream_receive(struct ngrpc_stream *stream);
/* Under the stream's mutex: have the link's serial look at it. */
void ngrpc_stream_poke(struct ngrpc_stream *stream);
/* No link has it any more: send what was taken and end, or end at once. */
void ngrpc_stream_close(struct ngrpc_stream *stream, bool linger);
/* End the call that goes on, if one does.  Thread: any, without locks. */
void ngrpc_stream_cancel(struct ngrpc_stream *stream);
/* Start operations for which `users` was raised. */
void ngrpc_stream_start(struct ngrpc_stream *stream, const grpc_op *ops, size_t n,
                        struct ngrpc_tag *tag);
/* Leave the mutex; with `poke` the link shall look.  A post that was refused is tried again. */
void ngrpc_stream_unlock(struct ngrpc_stream *stream, bool poke);
/* Under the mutex: forget what came and was not handed up. */
void ngrpc_stream_drop_rx(struct ngrpc_stream *stream);
/* The drive looks: true when it must look again. */
bool ngrpc_stream_look(struct ngrpc_stream *stream, int64_t now, bool *cancel);

/* ---- grpc_lease.c ----------------------------------------------------------------------- */

/* Under the stream's mutex: append a buffer; its reference is ours from now on. */
void ngrpc_stream_take(struct ngrpc_stream *stream, struct nqt_buf *buf);

/* ---- grpc_link.c ------------------------------------------------------------------------ */

struct nqtp_link *ngrpc_link_new(struct nqtp_ep *ep, enum ngrpc_state state);
void ngrpc_link_free(struct nqtp_link *link);
/* End it, once: LINK_DOWN with this reason. */
void ngrpc_link_down(struct nqtp_link *link, int code, int status, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* End it with what its call, or its round, came to. */
void ngrpc_link_status_down(struct nqtp_link *link);
/* What the stream posts. */
void ngrpc_link_work(void *arg);
int ngrpc_attach(struct nqtp_link *link, nqt_link *cookie, nqt_serial *serial);
int ngrpc_send(struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t n, uint32_t flags,
               uint32_t *taken);
int ngrpc_rx_hold(struct nqtp_link *link, int hold);
int ngrpc_shutdown(struct nqtp_link *link);
void ngrpc_close(struct nqtp_link *link);
int ngrpc_info(struct nqtp_link *link, struct nqt_info *out);

static inline bool ngrpc_link_open(const struct nqtp_link *link)
{
    return link->state == NGRPC_UP || link->state == NGRPC_DRAINING;
}

/* ---- grpc_rx.c -------------------------------------------------------------------------- */

/* Hand up what came, as far as the core takes it. */
void ngrpc_rx(struct nqtp_link *link);
/* Forget a message that is partly handed up. */
void ngrpc_rx_drop(struct nqtp_link *link);

/* ---- grpc_listen.c, grpc_connect.c ------------------------------------------------------ */

int ngrpc_ep_open(struct nqtp_mod *mod, nqt_ep *cookie, nqt_serial *serial, nqt_cfg *cfg,
                  int listen, struct nqtp_ep **out, struct nqt_error *err);
void ngrpc_ep_close(struct nqtp_ep *ep);
int ngrpc_connect(struct nqtp_ep *ep, nqt_link *cookie, nqt_serial *serial, struct nqtp_link **out,
                  struct nqt_error *err);

/* ---- grpc_server.c ---------------------------------------------------------------------- */

/* It listens nowhere yet.  NULL = no memory. */
struct ngrpc_server *ngrpc_server_new(struct nqtp_ep *ep);
/* Have the next call come, unless enough wait. */
void ngrpc_server_ask(struct ngrpc_server *server);
/* The caller's reference is the shutdown's now.  Streams that linger end first. */
void ngrpc_server_shutdown(struct ngrpc_server *server);
/* A call is attached, or gone before: there is room for another one. */
void ngrpc_server_settled(struct ngrpc_stream *stream);
/* For the endpoint's serial to announce; when the endpoint is closing, the stream is closed. */
void ngrpc_server_arrived(struct ngrpc_stream *stream);
/* Post to announce what arrived.  Under the room's mutex. */
void ngrpc_server_poke(struct ngrpc_room *room);

/* ---- grpc_tls.c, grpc_cert.c ------------------------------------------------------------ */

/* The options can be had, and the files be read and used.  Blocks: for them. */
int ngrpc_tls_check(const struct ngrpc_opts *opts, struct nqt_error *err);
/* An endpoint's files, if its options have any: ep->tls.  0 or NQT_E_* with *err.  Blocks: for
 * them. */
int ngrpc_tls_open(struct nqtp_ep *ep, struct nqt_error *err);
/* NULL is taken by both. */
struct ngrpc_tls *ngrpc_tls_ref(struct ngrpc_tls *tls);
void ngrpc_tls_unref(struct ngrpc_tls *tls);
/* Credentials, insecure ones without `tls`; owned, NULL = no memory for a client's.  A server's
 * look at the files again whenever a connection begins, a client's are of this moment; at most once
 * a second. */
grpc_channel_credentials *ngrpc_tls_channel(struct nqtp_ep *ep);
grpc_server_credentials *ngrpc_tls_server(struct nqtp_ep *ep);
/* May the client of this call come in?
 *
 * @param identity  NGRPC_IDENTITY_MAX bytes: whom its certificate names, when that was asked for
 * @param why       NGRPC_WHY_MAX bytes: written when it may not */
bool ngrpc_tls_admit(struct ngrpc_tls *tls, grpc_call *call, char *identity, char *why);
/* Whom the server's certificate names, which was accepted; false: nobody, though that was asked
 * for. */
bool ngrpc_tls_recognize(const struct ngrpc_tls *tls, grpc_call *call, char *identity);

#define NGRPC_CAPS                                                                                \
    (NQT_CAP_STREAM | NQT_CAP_LISTEN | NQT_CAP_CONNECT | NQT_CAP_PEER_PRESENCE | NQT_CAP_GATHER | \
     NQT_CAP_RX_HOLD | NQT_CAP_DRAIN | NQT_CAP_CONFIDENTIAL | NQT_CAP_PEER_IDENTITY)

#endif
