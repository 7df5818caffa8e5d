/* One queue's use of the fake module, an endpoint of it and one link, and what came up of them. For
 * the tests of core/transport*.c. */
#ifndef NQTEST_TRANSPORT_RIG_H
#define NQTEST_TRANSPORT_RIG_H

#include "core/transport.h"
#include "tests/support/fake_module.h"

/* What came up of one object. */
struct nqtest_seen {
    unsigned ups, writables, messages, spaces, commits, gives, downs, closed, accepted;
    int code; /* of down */
    char text[216];
    struct nqtp_link *plink;
    uint8_t bytes[256]; /* of messages, commits and gives */
    size_t nbytes;
    size_t room;            /* what space gives, in segments of `piece`; 0 = CLOSED */
    size_t piece;           /* 0 = in one */
    nq_err space_err;       /* what space answers, when not 0 */
    nq_err err;             /* what message, commit and give answer */
    nqt_link *close;        /* closed inside down */
    bool close_inside;      /* `close` is closed inside message, commit and give, too */
    unsigned order, downed; /* order: counts all events; downed: `order` at down */
    uint8_t memory[256];
};

struct nqtest_transport {
    struct nqi_loop *loop;
    nqt_core *core;
    nqt_ep *ep;
    struct nqi_strand *strand; /* of the link */
    nqt_link *tlink;
    struct nqtp_link *plink; /* the module's side of it */
    struct nqtest_seen on_ep, on_link;
    unsigned complaints; /* lines of the log that are errors */
    char complaint[256]; /* the last one */
};

extern struct nqtest_transport nqtest_transport;
extern const struct nqi_ep_events nqtest_transport_ep_events;
extern const struct nqi_tlink_events nqtest_transport_events;

/* Fixtures: a module can be opened; it has an endpoint; that has a link, which is up. */
void nqtest_transport_setup_module(void);
void nqtest_transport_teardown_module(void);
void nqtest_transport_setup_endpoint(void);
void nqtest_transport_teardown_endpoint(void);
void nqtest_transport_setup_link(void);
void nqtest_transport_teardown_link(void);

void nqtest_transport_open(bool bare);
void nqtest_transport_open_endpoint(void);
/* Turn the loop until nothing waits. */
void nqtest_transport_turn(void);
/* Go into the link's strand, and out. */
void nqtest_transport_enter(void);
void nqtest_transport_leave(void);
nq_err nqtest_transport_connect(void);
void nqtest_transport_up(void); /* the module says so */
void nqtest_transport_close(void);

/* The module has broken the contract: that was told, and its link has ended, and it alone. */
void nqtest_transport_check_breach(void);

#endif
