/* What the files of the shm plugin share.
 *
 *   shm.c          the table and the module
 *   shm_opts.c     options
 *   shm_say.c      what people are told about a path that does not work
 *   shm_memory.c   sealed memory: made here, or checked when it came
 *   shm_blocks.c   memory to fill in place
 *   shm_views.c    the peer's, to be read where it lies
 *   shm_socket.c   the unix socket: path, greeting, rings
 *   shm_bell.c     a pipe that wakes, for who sleeps often
 *   shm_listen.c   endpoints: listen, accept, greet
 *   shm_connect.c  the connecting side
 *   shm_link.c     life of a link: up, hold, shutdown, down, close
 *   shm_io.c       turns: wake and sleep, send
 *   shm_loan.c     memory that is lent, and taken back
 *   shm_rx.c       receive
 *   shm_retire.c   memory that was lent is given up
 *
 * and the pure parts, which make no system call: shm_layout.h, shm_peer.h, shm_ring, shm_lease,
 * shm_pool.  README.md has the bytes in the memory and the states of a link.
 *
 * Threads: none of its own.  A link is touched in its serial, an endpoint in its own; what they
 * share is fixed by ep_open, or atomic. */
#ifndef SHM_H
#define SHM_H

#include "shm_blocks.h"
#include "shm_ring.h"
#include "shm_views.h"
#include <netqueue/transport_accept.h>
#include <netqueue/transport_kit.h>
#include <netqueue/transport_unix.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#define SHM_PATH_MAX 108u /* of a unix socket, with its NUL */
#define SHM_NAME_MAX 128u
#define SHM_GREETINGS 64u /* connections of an endpoint that have not said HELLO */

#define SHM_DRAIN_NS INT64_C(2000000000) /* shutdown() waits so long for the peer's end */
#define SHM_RETRY_NS INT64_C(10000000)   /* until connect() is tried again */

/* ---- options ------------------------------------------------------------------------------ */

#define SHM_OPTIONS 10u
extern const struct nqt_opt shm_opt_table[SHM_OPTIONS];

struct shm_opts {
    char path[SHM_PATH_MAX];
    mode_t mode;            /* of the socket's file */
    struct shm_sizes sizes; /* of this side's outboxes */
    size_t pool;            /* bytes of segments; 0 = nothing is lent */
    size_t keep;            /* bytes of the peer's in which messages may stay */
    int64_t reclaim_ns;
    int64_t connect_timeout_ns;
    int backlog;
};

/* Read and check; 0 or NQT_E_CONFIG with *err. */
int shm_opts_read(const struct nqt_host *host, nqt_cfg *cfg, struct shm_opts *out,
                  struct nqt_error *err);

/* ---- shm_socket.c ------------------------------------------------------------------------- */

/* Bind to the path of `opts` and listen.  Takes the place of a server that is no more.
 * @param id  what nqt_unix_remove() wants  @return descriptor, or NQT_E_* with *err */
int shm_socket_listen(const struct shm_opts *opts, struct nqt_unix_id *id, struct nqt_error *err);
/* @return descriptor, or -errno: EAGAIN = the server has its hands full, try again */
int shm_socket_connect(const char *path);
/* Who is at the other end, for people. */
void shm_socket_peer(int fd, char out[SHM_NAME_MAX]);

/* Say HELLO: `sizes` of the outbox behind `memfd`.  @return 0 or an errno */
int shm_socket_say_hello(int fd, const struct shm_sizes *sizes, int memfd);
/* Hear it.  @return 0: *sizes is checked and *memfd open; EAGAIN: nothing yet; ECONNRESET: the
 * other side has gone; EPROTO: it says something else; EMFILE: we may have no more descriptors */
int shm_socket_hear_hello(int fd, struct shm_sizes *sizes, int *memfd);

/* Wake the peer.  What cannot be sent is not missed: its socket is full of such bytes, or gone. */
void shm_socket_ring(int fd);
/* Pass a segment on, before a cell names it.  @return 0 or an errno */
int shm_socket_say_segment(int fd, uint32_t number, size_t len, int memfd);

/* Pass the reading end of a pipe; this rings, too.  @return 0 or an errno */
int shm_socket_say_bell(int fd, int pipe);

/* What the peer said. */
struct shm_said {
    enum { SHM_SAID_RING, SHM_SAID_SEGMENT, SHM_SAID_BELL } kind;
    int fd;          /* SEGMENT: its memory; BELL: the pipe, -1 = we may have no more descriptors */
    uint32_t number; /* of the segment */
    size_t len;
};
/* @return 0: *ret is set; EAGAIN, ECONNRESET, EPROTO as above; EMFILE: we may have no more
 * descriptors */
int shm_socket_hear(int fd, struct shm_said *ret);
/* A descriptor that is readable once the process at the other end is gone; -1 = it is this one, or
 * cannot be had. */
int shm_socket_process(int fd);
/* The process at the other end is of our user, and in our namespace of processes: it could do worse
 * than change what we look at. */
bool shm_socket_is_ours(int fd);

/* ---- objects ------------------------------------------------------------------------------- */

struct nqtp_mod {
    const struct nqt_host *host;
    nqt_core *core;
    _Atomic uint64_t epochs; /* the last one given out */
    _Atomic uint32_t bells;  /* pipes of ours */
};

struct nqtp_ep {
    /* fixed by ep_open */
    struct nqtp_mod *mod;
    nqt_ep *cookie;
    nqt_serial *serial;
    struct shm_opts opts;
    bool listen;

    /* One until ep_close, one a link.  The last one frees the endpoint and emits EP_CLOSED. */
    _Atomic uint32_t refs;

    /* in the endpoint's serial */
    bool closed;
    int fd; /* -1 = none */
    struct nqt_unix_id id;
    nqt_watch *watch;
    struct nqt_door door;
    struct nqtp_link *greetings; /* links in state GREETING */
    uint32_t ngreeting;
};

enum shm_state {
    SHM_GREETING,
    SHM_ACCEPTED,
    SHM_CONNECTING,
    SHM_UP,
    SHM_DRAINING,
    SHM_DOWN,
    SHM_CLOSED
};

struct nqtp_link {
    struct nqtp_ep *ep; /* one reference */
    nqt_link *cookie;   /* NULL until attached */
    nqt_serial *serial; /* the endpoint's until attached */
    enum shm_state state;
    int fd; /* -1 = none */
    nqt_watch *watch;
    uint32_t watched; /* the events that `watch` has */
    int process;      /* readable once the peer's process is gone; -1 = none */
    nqt_watch *process_watch;
    nqt_watch *timer; /* of greeting, connect and shutdown */
    int64_t deadline_ns;
    struct nqtp_link *next, **at; /* GREETING: in the endpoint's list */
    uint32_t inside;              /* our frames on the stack that may call rx_commit() */
    bool finish_late;             /* post() refused: finish when nobody is inside */
    bool held;                    /* rx_hold(1) */
    bool rx_paused;               /* rx_space() refused; until rx_hold(0) */
    bool polled;                  /* rx_arm(0): the core asks by rx_poll() */
    bool again;                   /* there is more to do than one turn may take */
    bool hung_up;                 /* the peer's socket is closed */
    bool dead;                    /* the peer's process is gone, whoever has its socket */
    bool blocked;                 /* the ring is full */
    bool writable_due;            /* send() took less than it was given */

    struct shm_memory our_memory, their_memory;
    struct shm_outbox ours, theirs;
    uint64_t *ends; /* of `tx` */
    struct shm_tx tx;
    struct shm_rx rx;

    uint64_t sleeps; /* epoch of our wait word */
    uint64_t rung;   /* epoch of the peer's that has had its byte */
    uint64_t told;   /* rx.told when it was last looked whether the peer waits for that */

    int bell, bell_end;    /* our pipe: written to, and its other end; -1 = none */
    uint32_t rings;        /* bytes in it; without one, rings over the socket since it was tried */
    int heard;             /* the peer's pipe; -1 = none */
    nqt_watch *bell_watch; /* of `heard` */

    struct shm_piece piece; /* begun ... */
    uint32_t piece_at;      /* ... and so many bytes of it are handed up; 0 = not begun */
    bool has_piece;

    struct shm_blocks *blocks; /* NULL = nothing was ever lent */
    struct shm_token_rx returned;
    uint32_t lent;           /* leases that are out */
    nqt_watch *sweep;        /* timer, while there is more than one segment; NULL = never was */
    int64_t sweep_ns;        /* its span */
    int64_t pressed_ns;      /* since then there was no room to lend ...; 0 = there was */
    size_t pressed_len;      /* ... so many bytes */
    size_t counted;          /* bytes of ours that the peer can see, as the core was told */
    struct shm_views *views; /* NULL = no segment came */
    bool trusted;            /* views may be handed up: the peer is of our user */

    struct nqt_buf *left; /* taken and partly sent; one reference */
    struct shm_source rest;
    uint64_t want; /* blocked: for so many bytes there was no room */

    uint64_t epoch;
    char local[SHM_NAME_MAX], peer[SHM_NAME_MAX];
};

#define SHM_CAPS                                                                                   \
    (NQT_CAP_STREAM | NQT_CAP_LOAN_TX | NQT_CAP_LISTEN | NQT_CAP_CONNECT | NQT_CAP_PEER_PRESENCE | \
     NQT_CAP_GATHER | NQT_CAP_RX_HOLD | NQT_CAP_DRAIN | NQT_CAP_LOCAL_ONLY)

/* ---- shm_listen.c -------------------------------------------------------------------------- */

int shm_ep_open(struct nqtp_mod *mod, nqt_ep *cookie, nqt_serial *serial, nqt_cfg *cfg, int listen,
                struct nqtp_ep **out, struct nqt_error *err);
void shm_ep_close(struct nqtp_ep *ep);
void shm_ep_ref(struct nqtp_ep *ep);
/* May emit EP_CLOSED: touch neither the endpoint nor the module afterwards.  Thread: any. */
void shm_ep_unref(struct nqtp_ep *ep);

/* ---- shm_connect.c ------------------------------------------------------------------------- */

int shm_connect(struct nqtp_ep *ep, nqt_link *cookie, nqt_serial *serial, struct nqtp_link **out,
                struct nqt_error *err);
/* The socket of a CONNECTING link has something, or has hung up. */
void shm_connect_event(struct nqtp_link *link);

/* ---- shm_say.c ----------------------------------------------------------------------------- */

/* Why a path cannot be connected to; static or strerror()'s. */
const char *shm_say_connect(int error);
/* The same for listening, and for a path that no socket can have, as *err.  @return its code */
int shm_say_listen(const char *path, int error, struct nqt_error *err);
int shm_say_long(const char *path, struct nqt_error *err);
/* Everybody may put another socket in the place of this one. */
bool shm_say_open_folder(const char *path);

/* ---- shm_link.c ---------------------------------------------------------------------------- */

/* A link without a socket; refers to the endpoint.  NULL = no memory. */
struct nqtp_link *shm_link_new(struct nqtp_ep *ep, enum shm_state state);
/* Make our outbox.  @param memfd  to be passed on and closed  @return 0 or an errno */
int shm_link_make(struct nqtp_link *link, int *memfd);
/* Adopt the peer's: from now on both rings work.  Closes `memfd`.  @return 0 or an errno */
int shm_link_adopt(struct nqtp_link *link, const struct shm_sizes *sizes, int memfd);
int shm_attach(struct nqtp_link *link, nqt_link *cookie, nqt_serial *serial);
int shm_rx_hold(struct nqtp_link *link, int hold);
int shm_shutdown(struct nqtp_link *link);
void shm_close(struct nqtp_link *link);
int shm_info(struct nqtp_link *link, struct nqt_info *out);

/* Watch what the state asks for; a failure takes the link down. */
void shm_link_watch(struct nqtp_link *link);
void shm_link_unwatch(struct nqtp_link *link);
/* What the peer can see became more or less: count it. */
void shm_link_count(struct nqtp_link *link);
/* Both outboxes are there: LINK_UP. */
void shm_link_up(struct nqtp_link *link);
/* End it, once: LINK_DOWN with this reason; `native` is an errno or 0. */
void shm_link_down(struct nqtp_link *link, int code, int native, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* DRAINING and nothing left: end our direction. */
void shm_link_drained(struct nqtp_link *link);
/* Give back all but the memory of the link itself. */
void shm_link_release(struct nqtp_link *link);
/* The core does not know the link: end it in silence. */
void shm_link_undo(struct nqtp_link *link);
/* Bracket whatever may call rx_commit().  leave() may free the link. */
void shm_link_enter(struct nqtp_link *link);
void shm_link_leave(struct nqtp_link *link);

static inline bool shm_link_open(const struct nqtp_link *link)
{
    return link->state == SHM_UP || link->state == SHM_DRAINING;
}

/* ---- shm_io.c ------------------------------------------------------------------------------ */

int shm_send(struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t n, uint32_t flags,
             uint32_t *taken);
int shm_send_bytes(struct nqtp_link *link, const void *data, size_t len);
int shm_rx_poll(struct nqtp_link *link);
int shm_rx_arm(struct nqtp_link *link, int on);
/* The watch of an open link fired. */
void shm_io_event(struct nqtp_link *link, uint32_t events);
/* Nothing more will be sent: say so. */
void shm_io_end(struct nqtp_link *link);
/* What the peer wrote makes no sense: the link is down. */
void shm_io_broken(struct nqtp_link *link);

/* After a store that the peer may wait for: wake it, once a sleep.  `room`: it was room for it. */
void shm_io_wake(struct nqtp_link *link, bool room);

/* ---- shm_loan.c ---------------------------------------------------------------------------- */

int shm_loan(struct nqtp_link *link, size_t len, struct nqt_buf **out);
/* Take back what the peer has given back.  The link may be down then. */
void shm_loan_take_back(struct nqtp_link *link);
/* The same, and give up what was not used for a while. */
void shm_loan_sweep(struct nqtp_link *link);

/* ---- shm_bell.c ---------------------------------------------------------------------------- */

void shm_bell_init(struct nqtp_link *link);
/* Wake the peer.  `hears`: it said that it watches the pipe it has. */
void shm_bell_ring(struct nqtp_link *link, bool hears);
/* The peer passed a pipe, or could not (-1).  Takes `fd`.  @return 0 or an errno: EPERM = it is
 * none
 */
int shm_bell_hear(struct nqtp_link *link, int fd);
/* The link is over. */
void shm_bell_end(struct nqtp_link *link);

/* ---- shm_retire.c -------------------------------------------------------------------------- */

/* There is a segment more. */
void shm_retire_watch(struct nqtp_link *link);
/* Give up what was not used since the last time. */
void shm_retire_idle(struct nqtp_link *link);
/* There is no room to lend `len` bytes: what a peer keeps for too long is left to it, as much of it
 * as that needs.  The link may be down then.  @return there may be room now */
bool shm_retire_kept(struct nqtp_link *link, size_t len);
/* So many bytes were lent.  If that is what there was no room for, the shortage is over. */
void shm_retire_eased(struct nqtp_link *link, size_t len);

/* ---- shm_rx.c ------------------------------------------------------------------------------ */

enum shm_got {
    SHM_GOT_NOTHING, /* nothing is there, or nothing may be received now */
    SHM_GOT_SOME,    /* there may be more */
    SHM_GOT_STOP,    /* the link is down, or the core is about to close it */
};

/* Fill one place of the core's, or hand one view up.  @param cost [out] how much of a turn it was
 */
enum shm_got shm_rx_some(struct nqtp_link *link, size_t *cost);
/* Hear one thing over the socket.  False: there was nothing, the peer hung up, or the link is down
 */
bool shm_rx_hear(struct nqtp_link *link);

static inline bool shm_link_receives(const struct nqtp_link *link)
{
    return !link->held && !link->rx_paused;
}

#endif
