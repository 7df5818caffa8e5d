/* What the files of the tcp plugin share.
 *
 *   tcp.c          the table and the module
 *   tcp_opts.c     options, and what they do to a socket
 *   tcp_addr.c     addresses as text, error codes
 *   tcp_listen.c   endpoints: listen, accept
 *   tcp_connect.c  resolve, connect, time-outs
 *   tcp_link.c     life of a link: up, hold, shutdown, down, close
 *   tcp_io.c       send and receive
 *   tcp_tls*.c     encrypted connections; tcp_tls.h has their map
 *
 * Threads: none of its own.  A link is touched in its serial, an endpoint in its own; what they
 * share is fixed by ep_open, or atomic. */
#ifndef TCP_H
#define TCP_H

#include <netinet/in.h>
#include <netqueue/transport_accept.h>
#include <netqueue/transport_tls.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/socket.h>

#define TCP_LISTENERS_MAX 16
#define TCP_ADDRS_MAX 16
#define TCP_NAME_MAX 80 /* "[address%scope]:port" and a NUL */
#define TCP_CC_MAX 16   /* name of a congestion control, as the kernel limits it */
#define TCP_HOST_MAX 256

#define TCP_DRAIN_NS INT64_C(2000000000) /* shutdown() waits so long for the peer's end */

struct tcp_addr {
    socklen_t len;
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } u;
};

/* Checked options of an endpoint. */
struct tcp_opts {
    char host[TCP_HOST_MAX];
    char congestion[TCP_CC_MAX]; /* "auto", "system" or a name */
    uint16_t port;
    int family; /* AF_UNSPEC, AF_INET, AF_INET6 */
    bool reuse_port;
    int keepalive_s;          /* 0 = off */
    unsigned user_timeout_ms; /* 0 = the system's */
    int64_t connect_timeout_ns;
    int send_buffer, receive_buffer; /* bytes; 0 = the system's */
    int backlog;
    struct nqt_tls_opts tls;
    bool plain; /* a client's: the other side is no netqueue, so ALPN says nothing */
};

struct tcp_tls;
struct tcp_tls_store;

struct nqtp_mod {
    const struct nqt_host *host;
    nqt_core *core;
    _Atomic uint64_t epochs; /* the last one given out */
};

struct tcp_listener {
    struct nqtp_ep *ep;
    int fd;
    nqt_watch *watch;
};

struct nqtp_ep {
    /* fixed by ep_open */
    struct nqtp_mod *mod;
    nqt_ep *cookie;
    nqt_serial *serial;
    struct tcp_opts opts;
    struct tcp_tls_store *store; /* NULL = without TLS */
    bool listen;

    /* One until ep_close, one a link, one an open question to the resolver.  The last one
     * frees the endpoint and emits EP_CLOSED. */
    _Atomic uint32_t refs;

    /* in the endpoint's serial */
    bool closed;
    struct tcp_listener listener[TCP_LISTENERS_MAX];
    uint32_t nlistener;
    struct nqt_door door;
};

/*
 *    connect()                                      peer ends, error
 *   RESOLVING --> CONNECTING --> UP ---------------------------------> DOWN
 *       |             |          |  \                                   ^
 *       |             |          |   shutdown() --> DRAINING -----------+
 *       +-------------+----------+------------------------- close() --> CLOSED
 *   ACCEPTED --attach()--> UP
 *
 *   With TLS there is SECURING before UP.
 *
 *   state       what holds in it
 *   ACCEPTED    socket connected, no watch, no cookie, no serial
 *   RESOLVING   question open, timer armed, no socket
 *   CONNECTING  socket connecting, timer armed; watched for POLLOUT
 *   SECURING    socket connected, `tls` there, timer armed
 *   UP          socket connected
 *   DRAINING    as UP; nothing more is taken, ends when `left` is sent and the peer ended
 *   DOWN        no socket, no watch, no timer; waits for close()
 *   CLOSED      as DOWN; LINK_CLOSED comes or came
 */
enum tcp_state {
    TCP_ACCEPTED,
    TCP_RESOLVING,
    TCP_CONNECTING,
    TCP_SECURING,
    TCP_UP,
    TCP_DRAINING,
    TCP_DOWN,
    TCP_CLOSED
};

struct nqtp_link {
    struct nqtp_ep *ep; /* one reference */
    nqt_link *cookie;   /* NULL until attached */
    nqt_serial *serial; /* the endpoint's until attached */
    enum tcp_state state;
    int fd; /* -1 = none */
    nqt_watch *watch;
    uint32_t watched;    /* the events that `watch` has */
    nqt_watch *timer;    /* of connect and shutdown */
    uint32_t inside;     /* our frames on the stack that may call rx_commit() */
    bool asked;          /* the resolver's answer is to come */
    bool finished;       /* LINK_CLOSED was emitted; lives on only for that answer */
    bool finish_late;    /* post() refused: finish when nobody is inside */
    bool held;           /* rx_hold(1) */
    bool rx_paused;      /* rx_space() refused; until rx_hold(0) */
    bool asked_only;     /* rx_arm(0): the core asks by rx_poll(), epoll need not tell */
    bool hung_up;        /* both directions have ended, but what came is not read yet */
    bool blocked;        /* the socket is full, or broken for sending */
    bool writable_due;   /* send() took less than it was given */
    int tx_errno;        /* why sending broke; reading goes on to the end */
    bool fresh;          /* without TLS: nothing came yet */
    struct tcp_tls *tls; /* NULL = without */

    struct nqt_buf *left; /* taken and partly sent; one reference */
    uint32_t left_seg;    /* its first segment that is not sent whole, */
    size_t left_off;      /* and how much of that one is */

    struct tcp_addr *addrs; /* to try; while connecting */
    uint32_t naddr, next_addr;
    int64_t deadline_ns;
    int last_errno; /* why the last address failed */

    uint64_t epoch;
    char local[TCP_NAME_MAX], peer[TCP_NAME_MAX];
};

/* ---- tcp_addr.c ------------------------------------------------------------------------- */

/* "1.2.3.4:5" or "[1::2]:5". */
void tcp_addr_text(const struct tcp_addr *addr, char out[TCP_NAME_MAX]);
/* From sockaddr bytes; false: not an IP address. */
bool tcp_addr_from(const void *sa, size_t len, struct tcp_addr *out);
/* Numeric `host`; false: it is a name. */
bool tcp_addr_numeric(const char *host, uint16_t port, struct tcp_addr *out);
/* The addresses that need no resolver: a numeric host, "localhost", and "*", which is every address
 * for a listener and loopback for others.  Returns how many of `out`; 0: ask. */
uint32_t tcp_addr_known(const struct tcp_opts *opts, bool listen, struct tcp_addr out[2]);
void tcp_addr_set_port(struct tcp_addr *addr, uint16_t port);
uint16_t tcp_addr_port(const struct tcp_addr *addr);
bool tcp_addr_is_loopback(const struct tcp_addr *addr);
bool tcp_addr_is_any(const struct tcp_addr *addr);
bool tcp_addr_equal(const struct tcp_addr *a, const struct tcp_addr *b);

/* NQT_E_* for an errno of connect() or bind(). */
int tcp_code(int error);

/* ---- tcp_opts.c ------------------------------------------------------------------------- */

#define TCP_OPTIONS 18u
extern const struct nqt_opt tcp_opt_table[TCP_OPTIONS];

/* Read and check; 0 or NQT_E_CONFIG with *err. */
int tcp_opts_read(const struct nqt_host *host, nqt_cfg *cfg, struct tcp_opts *out,
                  struct nqt_error *err);
/* Before bind() or connect(): what must be set that early.  `near` = the peer may be on
 * loopback.  0 or an errno. */
int tcp_opts_early(const struct tcp_opts *opts, int fd, bool near);
/* An accepted socket inherits the listener's; put right what depends on the peer. */
void tcp_opts_accepted(const struct tcp_opts *opts, int fd, bool near);

/* ---- tcp_listen.c ----------------------------------------------------------------------- */

int tcp_ep_open(struct nqtp_mod *mod, nqt_ep *cookie, nqt_serial *serial, nqt_cfg *cfg, int listen,
                struct nqtp_ep **out, struct nqt_error *err);
void tcp_ep_close(struct nqtp_ep *ep);
void tcp_ep_ref(struct nqtp_ep *ep);
/* May emit EP_CLOSED: touch neither the endpoint nor the module afterwards.  Thread: any. */
void tcp_ep_unref(struct nqtp_ep *ep);

/* ---- tcp_connect.c ---------------------------------------------------------------------- */

int tcp_connect(struct nqtp_ep *ep, nqt_link *cookie, nqt_serial *serial, struct nqtp_link **out,
                struct nqt_error *err);
/* The socket of a CONNECTING link became writable or failed. */
void tcp_connect_event(struct nqtp_link *link);

/* ---- tcp_link.c ------------------------------------------------------------------------- */

/* A link without a socket; refers to the endpoint.  NULL = no memory. */
struct nqtp_link *tcp_link_new(struct nqtp_ep *ep, enum tcp_state state);
int tcp_attach(struct nqtp_link *link, nqt_link *cookie, nqt_serial *serial);
int tcp_rx_hold(struct nqtp_link *link, int hold);
int tcp_shutdown(struct nqtp_link *link);
void tcp_close(struct nqtp_link *link);
int tcp_info(struct nqtp_link *link, struct nqt_info *out);

/* Watch what the state asks for; a failure takes the link down. */
void tcp_link_watch(struct nqtp_link *link);
/* Stop watching. */
void tcp_link_unwatch(struct nqtp_link *link);
/* The socket is connected: LINK_UP, with TLS after its handshake. */
void tcp_link_connected(struct nqtp_link *link);
/* LINK_UP. */
void tcp_link_up(struct nqtp_link *link);
/* A new timer of the link; what it had ends.  False: no memory, and the link is down. */
bool tcp_link_set_timer(struct nqtp_link *link, void (*fn)(void *), int64_t after_ns);
/* End it, once: LINK_DOWN with this reason. */
void tcp_link_down(struct nqtp_link *link, int code, int native, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* DRAINING and nothing left: end our direction. */
void tcp_link_drained(struct nqtp_link *link);
/* CLOSED: LINK_CLOSED if it was not emitted; free, unless the resolver still has it. */
void tcp_link_finish(void *arg);
/* Bracket whatever may call rx_commit(). */
void tcp_link_enter(struct nqtp_link *link);
void tcp_link_leave(struct nqtp_link *link);

static inline bool tcp_link_open(const struct nqtp_link *link)
{
    return link->state == TCP_UP || link->state == TCP_DRAINING;
}

/* ---- tcp_io.c --------------------------------------------------------------------------- */

int tcp_send(struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t n, uint32_t flags,
             uint32_t *taken);
int tcp_rx_poll(struct nqtp_link *link);
int tcp_rx_arm(struct nqtp_link *link, int on);
/* The watch of an open link fired. */
void tcp_io_event(struct nqtp_link *link, uint32_t events);

/* ---- tcp_tls*.c ------------------------------------------------------------------------- */

/* Read the files of the options; 0 or NQT_E_CONFIG with *err. */
int tcp_tls_check(const struct tcp_opts *opts, struct nqt_error *err);
/* An endpoint's certificates, if its options have any; 0 or NQT_E_* with *err. */
int tcp_tls_store_open(struct nqtp_ep *ep, struct nqt_error *err);
void tcp_tls_store_close(struct nqtp_ep *ep); /* none of its links is left */

/* The socket is connected, the endpoint has a store: begin the handshake; UP or DOWN follows. */
void tcp_tls_begin(struct nqtp_link *link);
/* What came first from the other side is TLS: a record of the handshake, or an alert. */
bool tcp_tls_is_first(const void *data, size_t len);
/* Say that what came is not what was expected, in words that both kinds of side know. */
void tcp_tls_say_unexpected(const struct nqtp_link *link);
/* The watch of a SECURING link fired. */
void tcp_tls_handshake(struct nqtp_link *link);
/* Say close_notify.  True: all is sent.  False: not yet, or never, which sending again tells. */
bool tcp_tls_goodbye(struct nqtp_link *link);
/* Give back all but what info() shows. */
void tcp_tls_release(struct nqtp_link *link);
/* Run the reader soon if the library may hold data that it is allowed to give. */
void tcp_tls_resume(struct nqtp_link *link);
/* Something waits in the library: no readiness will tell. */
bool tcp_tls_has_more(const struct nqtp_link *link);
/* Records wait for the socket. */
bool tcp_tls_is_full(const struct nqtp_link *link);
/* Both sides said by ALPN that they speak nq1. */
bool tcp_tls_chose(const struct nqtp_link *link);
/* The UUID that the other side has proven, as text; NULL = none. */
const char *tcp_tls_identity(const struct nqtp_link *link);

/* As writev(): bytes that are encrypted and will be sent, or -1 with errno.  Less than all: the
 * socket is full or broken.  tcp_tls_is_full() tells what waits. */
ssize_t tcp_tls_write(struct nqtp_link *link, const struct iovec *iov, size_t n);
/* As readv(); 0 or -1 without EAGAIN: it is over, tcp_tls_ended() knows why. */
ssize_t tcp_tls_read(struct nqtp_link *link, const struct iovec *iov, uint32_t n, bool polled);
/* Take the link down with the reason.  @param tx_errno  why sending broke before; 0 = it did not */
void tcp_tls_ended(struct nqtp_link *link, int tx_errno);

#endif
