/* Between the files of the network: simnet.c, simnet_wire.c, simnet_link.c. */
#ifndef NQSIM_NET_INSIDE_H
#define NQSIM_NET_INSIDE_H

#include "tests/sim/simnet.h"
#include <netqueue/transport.h>

#define NAME_MAX_ 32
#define NEVER INT64_MAX
#define US INT64_C(1000)
#define NQSIM_SAID (264 + 136) /* HELLO and AUTH */

struct nqtp_mod {
    const struct nqt_host *host;
    nqt_core *core;
};

struct nqtp_ep {
    struct nqtp_mod *mod;
    nqt_ep *cookie;
    nqt_serial *serial;
    char node[NAME_MAX_];
    bool listen, closed;
    unsigned refs; /* one until ep_close, one a link */
    struct nqtp_ep *next;
};

struct packet {
    struct packet *next;
    int64_t due;
    size_t len, off;
    unsigned char data[];
};

enum link_state { ACCEPTED, UP, DRAINING, DOWN, CLOSED };

struct wire;

struct nqtp_link {
    struct nqtp_ep *ep;
    struct wire *wire;
    unsigned side; /* 0 the client's end */
    nqt_link *cookie;
    nqt_serial *serial;
    enum link_state state;
    nqt_watch *timer;
    bool posted, finished, held, wants_room, mute;
    struct packet *first, **last; /* the flight towards this end */
    size_t flying;
    bool ended;      /* the other end sends no more */
    int64_t down_at; /* when this end learns that the wire is cut */
    int down_code;
    bool intruder;                  /* nobody's link is at its other end */
    unsigned char said[NQSIM_SAID]; /* the first that this end said */
    size_t nsaid;
    char peer[NAME_MAX_ * 2], local[NAME_MAX_ * 2];
};

struct wire {
    struct nqtp_link *end[2]; /* NULL: freed */
    uint64_t left;            /* bytes until it is cut */
    bool cut;
    struct wire *next;
};

/* The network of this process. */
struct nqsim_state {
    uint64_t random, bytes;
    uint64_t lossy; /* bytes that a message may have; 0 = streams */
    unsigned ncuts;
    int64_t now; /* the last that anybody saw */
    struct nqsim_weather weather;
    struct nqtp_ep *servers;
    struct wire *wires;
};

extern struct nqsim_state nqsim_state;

/* simnet.c */
uint64_t nqsim_draw(uint64_t n); /* from 0 to n - 1 */
int64_t nqsim_now(const struct nqtp_link *link);
void *nqsim_mem(const struct nqtp_mod *mod, void *old, size_t len); /* zeroed; len 0 frees */
void nqsim_ep_unref(struct nqtp_ep *ep);

/* simnet_wire.c */
int nqsim_emit(struct nqtp_link *link, uint32_t kind, const struct nqt_error *err);
void nqsim_poke(struct nqtp_link *link); /* nqsim_link_run() by a post; NULL = nothing */
void nqsim_link_run(void *arg);          /* the post */
void nqsim_link_tick(void *arg);         /* all that is due at this end; the timer */
struct nqtp_link *nqsim_other_end(const struct nqtp_link *link);
void nqsim_drop_flight(struct nqtp_link *link);
struct wire *nqsim_wire_new(struct nqtp_link *client, struct nqtp_link *server);
void nqsim_wire_leave(struct nqtp_link *link);
/* Nothing more arrives.  The ends learn of it, at different times, or not. */
void nqsim_wire_cut(struct wire *wire, bool silent);
void nqsim_link_down(struct nqtp_link *link, int code, const char *text);
void nqsim_set_timer(struct nqtp_link *link);

/* simnet_link.c */
void nqsim_link_free(struct nqtp_link *link);
int nqsim_connect(struct nqtp_ep *ep, nqt_link *cookie, nqt_serial *serial, struct nqtp_link **out,
                  struct nqt_error *err);
int nqsim_attach(struct nqtp_link *link, nqt_link *cookie, nqt_serial *serial);
void nqsim_close(struct nqtp_link *link);
int nqsim_shutdown(struct nqtp_link *link);
int nqsim_send(struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t n, uint32_t flags,
               uint32_t *taken);
int nqsim_rx_hold(struct nqtp_link *link, int hold);
int nqsim_info(struct nqtp_link *link, struct nqt_info *out);
/* The server accepts a link of whom nobody knows; NULL = there is no server, or no memory. */
struct nqtp_link *nqsim_accept_from(const char *node);

/* simnet_tamper.c */
enum nqsim_fate { NQSIM_GOES, NQSIM_GOES_TWICE, NQSIM_OVERTAKES, NQSIM_IS_LOST };
void nqsim_tamper_begin(void);
enum nqsim_fate nqsim_tamper(struct packet *packet); /* it may be changed; it does not grow */
unsigned nqsim_tampered(void);

/* simnet_intruder.c */
void nqsim_intruder_begin(void);
void nqsim_overhear(struct nqtp_link *link, const struct nqt_buf *buf); /* what it sends */
bool nqsim_intrude(enum nqsim_intrusion what, const uint8_t victim[16]);
void nqsim_withdraw(void);
unsigned nqsim_intruders(unsigned *attempts);

#endif
