/* A transport module without a transport: its slots record how they are called and answer what the
 * test wants, and the test emits the events.  For tests of core/transport.c and what stands on it.
 *
 * One module, one queue's use of it at a time; nqtest_fake_reset() between tests. */
#ifndef NQTEST_FAKE_MODULE_H
#define NQTEST_FAKE_MODULE_H

#include "core/transport.h"

#define NQTEST_FAKE_LINKS 16

struct nqtp_ep {
    nqt_ep *cookie;
    nqt_serial *serial;
    bool listen;
    unsigned closes;
};

struct nqtp_link {
    nqt_link *cookie; /* NULL before attach() */
    nqt_serial *serial;
    unsigned closes, shutdowns;
    int held;
    size_t limit;
    uint8_t sent[4096]; /* the first bytes that were sent */
    size_t nsent;
};

struct nqtest_fake {
    /* what slots answer; 0 after a reset */
    int mod_rc, check_rc, ep_rc, connect_rc, attach_rc, send_rc, shutdown_rc;
    const char *text;           /* of the error; NULL = none */
    uint32_t retry_ms;          /* of each error */
    uint64_t caps, max_message; /* of info(); caps after a reset: NQT_CAP_GATHER */
    uint32_t max_seg;           /* the same */
    uint32_t take;              /* buffers that send() says it took; UINT32_MAX = all */
    struct nqt_buf *loan;       /* of loan(): one reference; NULL = it lends nothing */
    int bytes_rc;               /* of send_bytes() */
    bool keep_open;             /* close slots emit no CLOSED */
    void (*inside)(void *arg);  /* called in ep_open, connect, attach, close, send */
    void *inside_arg;

    /* what was called */
    unsigned mod_opens, mod_closes, checks, ep_opens, connects, attaches, sends;
    const struct nqt_host *host;
    nqt_core *core;
    struct nqtp_ep ep;
    struct nqtp_link links[NQTEST_FAKE_LINKS]; /* used again after so many */
    unsigned nlinks;
    bool in_slot;
};

extern struct nqtest_fake nqtest_fake;

/* The module; without the optional slots when `bare`. */
const struct nqt_module *nqtest_fake_module(bool bare);

void nqtest_fake_reset(void);

/* A loop, one queue's use of the module, and an endpoint; the end of it checks that nothing stays.
 */
struct nqtest_fake_room {
    struct nqi_loop *loop;
    nqt_core *core;
    nqt_ep *ep;
    struct nqtp_link *accepted; /* what the last ACCEPT brought */
    bool closed;
};

extern struct nqtest_fake_room nqtest_fake_room;

void nqtest_fake_open(bool bare);
void nqtest_fake_open_client(void); /* its endpoint does not listen */
void nqtest_fake_close(void);
/* Turn the loop until nothing happens any more. */
void nqtest_fake_turn(void);

/* Time, for programs that are linked with -Wl,--wrap=clock_gettime: the monotonic clock stands
 * still but for this. */
void nqtest_fake_pass(int64_t ns);

/* A link that was accepted: emit ACCEPT for it, in the endpoint's strand. */
struct nqtp_link *nqtest_fake_accept(const char *peer);

/* host->emit() of one event of a link or the endpoint (`link` NULL), on this thread, inside the
 * strand if it is this thread's. */
int nqtest_fake_emit(struct nqtp_link *link, uint32_t kind, int code, const char *text);

/* The same, called inside the object's strand. */
void nqtest_fake_emit_inside(struct nqtp_link *link, uint32_t kind, int code, const char *text);

/* An RX event with `len` bytes in one buffer, inside the strand. */
void nqtest_fake_rx(struct nqtp_link *link, const void *data, size_t len);

/* Bytes as a STREAM transport reads them: rx_space(), fill, rx_commit(), in the strand, until all
 * are up.  @return the last answer of rx_space() or rx_commit() */
int nqtest_fake_read(struct nqtp_link *link, const void *data, size_t len);

/* Run `fn(arg)` inside the strand of a serial, which may be this thread's. */
void nqtest_fake_run(nqt_serial *serial, void (*fn)(void *arg), void *arg);

#endif
