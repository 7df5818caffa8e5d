/* A host for transport plugins without the core: it runs a plugin in a plain poll() loop on one
 * thread, records what the plugin emits, and checks the rules of <netqueue/transport.h> on the
 * way: calls outside of the serial, rx_space() without rx_commit(), events after the last one,
 * calls after mod_close(), memory, buffers and watches that stay behind.  A broken rule ends in
 * nqtest_broken().
 *
 * Several hosts may live on one thread; whoever waits runs them all.  Time is real plus what
 * nqtest_advance() adds, or that alone from nqtest_hold_time() on; from nqtest_slow_time() on it
 * passes more slowly. */
#ifndef NQTEST_HOST_H
#define NQTEST_HOST_H

#include "tools/conform/rule.h"
#include <netqueue/transport.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct nqtest_host;
struct nqtest_serial;
struct nqtest_watch;
struct nqtest_call;

/* One option of a configuration; a list ends with name NULL.  What is not there has the default
 * of the module's table. */
struct nqtest_opt {
    const char *name, *value;
};

enum nqtest_accept {
    NQTEST_ATTACH, /* at once */
    NQTEST_KEEP,   /* into ep->waiting */
    NQTEST_REFUSE, /* close at once */
};

struct nqtest_ep {
    struct nqtest_host *host;
    struct nqtest_ep *next;
    struct nqtest_serial *serial;
    struct nqtp_ep *plugin; /* NULL once closed */
    unsigned ups, downs, closed;
    char name[128]; /* of EP_UP */
    struct nqt_error err;
    /* what health() told last; under the host's mtx */
    uint32_t health;
    char health_text[216];
    enum nqtest_accept accept;
    unsigned naccepted;
    struct nqtest_link *accepted[64]; /* attached, in order */
    struct nqtp_link *waiting[64];    /* not attached */
    unsigned nwaiting;
};

/* What is still to be sent, by nqtest_push(): bytes of the pattern in buffers of `buf_len` bytes
 * and `nseg` segments, `batch` buffers a call. */
struct nqtest_tx {
    uint64_t done, end;
    size_t buf_len;
    uint32_t nseg, batch;
};

struct nqtest_link {
    struct nqtest_host *host;
    struct nqtest_ep *ep;
    struct nqtest_link *next;
    struct nqtest_serial *serial;
    struct nqtp_link *plugin;
    unsigned ups, downs, closed, writables;
    bool close_called;
    uint64_t epoch;
    char peer[128];
    struct nqt_error err;

    struct nqtest_tx tx;
    unsigned sends;  /* calls of send() */
    bool short_send; /* it took less than it was given: WRITABLE must come */

    /* receiving; the pattern is checked as it comes unless `raw` */
    uint64_t received;
    unsigned messages; /* MESSAGE transports */
    uint64_t last_len; /* of the last message */
    bool raw;
    char head[256];      /* the first bytes */
    size_t space;        /* what rx_space() gives in all */
    uint32_t space_segs; /* in how many segments */
    int space_refusal;   /* NQT_E_*: rx_space() answers with this */
    uint64_t stop_at;    /* rx_commit() is negative from so many bytes on; 0 = never */
    bool close_inside;   /* close() from inside the commit (or RX event) */
    bool hold_inside;    /* rx_bytes() holds */
    uint64_t refill;     /* until so many bytes came, as many as are committed are written */
    int refill_fd;       /* here: there is always more to receive */
    unsigned views;      /* buffers that came by rx_give() ... */
    bool keep;           /* ... which are kept ... */
    unsigned nkept;      /* ... for the test to unreference */
    struct nqt_buf *kept[64];
    bool in_rx; /* between rx_space() and rx_commit() */
    struct iovec given[8];
    uint32_t ngiven;
};

struct nqtest_host {
    struct nqt_host table;   /* what the plugin sees ... */
    void (*beyond[8])(void); /* ... and what a newer one would have behind it */
    struct nqtest_host *next;
    const struct nqt_module *module;
    struct nqtp_mod *mod;
    pthread_t thread;
    struct nqtest_ep *eps;
    struct nqtest_link *links;
    struct nqtest_watch *watches;
    bool raw;     /* links begin with that */
    bool closing; /* nqtest_host_close() */
    bool gone;    /* mod_close() has returned */
    unsigned depth;
    bool handling;
    int64_t shift; /* nqtest_advance() */
    bool held;     /* nqtest_hold_time(): `shift` is the time */
    int64_t slow;  /* nqtest_slow_time(): when that began, or 0 */

    bool resolve_held;          /* questions stay open */
    struct nqtest_opt names[8]; /* "a.test" -> "127.0.0.2,::1"; "" = unknown */
    struct nqtest_call *questions;

    /* under mtx: any thread */
    pthread_mutex_t mtx;
    int wake[2];
    struct nqtest_call *posts, **posts_tail;
    struct nqtest_queued *events, **events_tail;
    char log[4096];

    _Atomic long blocks;     /* of mem(), not freed */
    _Atomic long fail_mem;   /* the n-th allocation from now fails, and no other; 0 = none */
    _Atomic long fail_other; /* the same for post, timer_add, fd_add, resolve */
    _Atomic long send_calls, recv_calls;
};

/* What options of type TRANSPORT name, whatever they say: the plugin under test stands on it. */
extern const struct nqt_module *nqtest_inner;

/* What must not stand in any text that the plugin writes; NULL = nothing. */
extern const char *nqtest_secret;
void nqtest_look_for_secret(const char *text, const char *where);

/* Of a module's option.  @return false: the text is no value of its type */
bool nqtest_read_number(const struct nqt_opt *opt, const char *text, int64_t *ret);

/* Buffers of ours that are referenced, in all hosts. */
extern _Atomic long nqtest_bufs;

/* Whose table hosts have from now on: this ABI's, the oldest that the module needs, or a longer one
 * than there is. */
enum nqtest_table { NQTEST_TABLE_USUAL, NQTEST_TABLE_OLDEST, NQTEST_TABLE_LONGER };
extern enum nqtest_table nqtest_table;

/* mod_open(); NULL: it failed.  @param fail_mem  as in the struct */
struct nqtest_host *nqtest_host_new(const struct nqt_module *module, long fail_mem);
/* Close what is open.  For hosts that have links with each other: none then waits in vain for the
 * other's answer to its end, for as long as the transport allows. */
void nqtest_host_close(struct nqtest_host *host);
/* The same unless it was done, wait for the last events, mod_close(), check that nothing stays
 * behind. */
void nqtest_host_free(struct nqtest_host *host);

/* check(), if the module has it; 0 or the plugin's error. */
int nqtest_check(struct nqtest_host *host, const struct nqtest_opt *opts, struct nqt_error *err);
/* ep_open(); 0 or the plugin's error, then *ret is untouched. */
int nqtest_ep_open(struct nqtest_host *host, bool listen, const struct nqtest_opt *opts,
                   struct nqtest_ep **ret, struct nqt_error *err);
/* ep_open() on a host of its own must fail with `code` and a text that has `part` in it (NULL =
 * any), and nothing stays behind. */
void nqtest_open_is_refused(const struct nqt_module *module, bool listen,
                            const struct nqtest_opt *opts, int code, const char *part);
void nqtest_ep_close(struct nqtest_ep *ep);
/* connect(); NULL: it failed, with *err. */
struct nqtest_link *nqtest_connect(struct nqtest_ep *ep, struct nqt_error *err);
/* attach() the first of ep->waiting. */
struct nqtest_link *nqtest_attach(struct nqtest_ep *ep);
/* close() the first of ep->waiting. */
void nqtest_refuse(struct nqtest_ep *ep);
void nqtest_close(struct nqtest_link *link);
int nqtest_hold(struct nqtest_link *link, int hold);
int nqtest_shutdown(struct nqtest_link *link);
int nqtest_rx_poll(struct nqtest_link *link);
int nqtest_rx_arm(struct nqtest_link *link, int on);
/* send_bytes() of the `len` <= 4096 bytes of the pattern from stream offset `at` on. */
int nqtest_send_bytes(struct nqtest_link *link, uint64_t at, size_t len);

/* A buffer of `len` bytes of the pattern from stream offset `at` on, in `nseg` segments; the
 * caller owns one reference. */
struct nqt_buf *nqtest_buf(uint64_t at, size_t len, uint32_t nseg);
uint8_t nqtest_pattern(uint64_t at);
/* Look at what was given back: nobody has written to it since. */
void nqtest_check_retired(void);
/* One send() call; buffers that are not taken are unreferenced.  Returns what send() did. */
int nqtest_send(struct nqtest_link *link, struct nqt_buf **bufs, uint32_t n, uint32_t *taken);
/* The same for loan(). */
int nqtest_loan(struct nqtest_link *link, size_t len, struct nqt_buf **ret);
/* Send link->tx as far as it goes now; WRITABLE goes on with it. */
void nqtest_push(struct nqtest_link *link, uint64_t len, size_t buf_len, uint32_t nseg,
                 uint32_t batch);

/* How long to wait in vain, in ms; 20 s unless told. */
extern int64_t nqtest_patience;
/* Which slot or callback is running, for whoever looks from outside; a static text, NULL = none. */
extern const char *_Atomic *nqtest_running;

/* Run all hosts of this thread until `cond(arg)`; waiting in vain breaks the rule that belongs to
 * the condition. */
void nqtest_until(bool (*cond)(const void *arg), const void *arg, const char *what);
void nqtest_until_or(enum nqtest_rule rule, bool (*cond)(const void *arg), const void *arg,
                     const char *what);
/* The same without a rule.  @return false: it waited in vain */
bool nqtest_comes(bool (*cond)(const void *arg), const void *arg);
/* Run all hosts of this thread until nothing happens for `ms` milliseconds. */
void nqtest_settle(int ms);
unsigned nqtest_watched(const struct nqtest_host *host); /* descriptors, not timers */
/* One round of all hosts; waits up to `ms`.  Returns how many things happened. */
unsigned nqtest_turn(int ms);
/* Let a thread of its own run the hosts of this one, while fn(arg) goes on there. */
void nqtest_on_thread(void (*fn)(void *arg), void *arg);
void nqtest_advance(struct nqtest_host *host, int64_t ns);
void nqtest_hold_time(struct nqtest_host *host);
/* A twentieth of real time, for what must be done before a plugin loses patience: threads may be
 * stopped, or slow, and the plugin's clocks go on all the same. */
void nqtest_slow_time(struct nqtest_host *host);

/* What the plugin told last of the endpoint's health: NQT_HEALTH_*, and whether its text has `part`
 * in it (NULL = any).  Nothing told: NQT_HEALTH_IDLE. */
bool nqtest_health_is(const struct nqtest_ep *ep, uint32_t state, const char *part);

/* Conditions of nqtest_until(). */
bool nqtest_is_up(const void *link);
bool nqtest_is_down(const void *link);
bool nqtest_is_closed(const void *link);
bool nqtest_is_close_called(const void *link);
bool nqtest_is_ep_up(const void *ep);
bool nqtest_is_ep_down(const void *ep);
bool nqtest_has_accepted(const void *ep); /* at least one, and it is up */
bool nqtest_has_waiting(const void *ep);
#define NQTEST_UNTIL(cond, arg) nqtest_until(cond, arg, #cond)

/* Descriptors that are open now, without files below /sys; each must be close-on-exec unless it was
 * open at the first call, or a library opens some that a plugin finds only later. */
int nqtest_fds(void);
extern bool nqtest_fds_of_library;
/* Those that were not open at the first call, and what each is, in `cap` bytes. */
void nqtest_fds_text(char *ret, size_t cap);

#endif
