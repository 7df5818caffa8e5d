/* Between the files of the link: link.c, link_greet.c.  In strand. */
#ifndef NQ_CORE_LINK_INSIDE_H
#define NQ_CORE_LINK_INSIDE_H

#include "core/link.h"
#include "core/lossy.h"

#define LINK_ADDRESS 96

enum link_state {
    LINK_OPENING,
    LINK_HELLO,
    LINK_AUTH,
    LINK_MOVING,
    LINK_UP,
    LINK_DRAINING,
    LINK_DOWN
};

/* A server's link, until a session has it. */
struct link_greeting {
    uint8_t hello[NQI_HELLO_RECORD];
    size_t filled; /* bytes of the record that is awaited */
    struct nqi_attach attach;
    /* MOVING */
    struct nqi_strand *strand; /* one reference */
    nqi_link_moved_fn moved;
    void *arg;
    struct nqi_work work;
    struct nqi_link *link;
    bool joined; /* `work` is on its way: the link lives until it has run */
    nq_reason lost;
};

struct nqi_link {
    struct nqi_list list;
    enum link_state state;
    bool closing;
    bool older; /* UP, and its bytes are the older wire's */
    bool large; /* the last payload had room of its own: read little ahead */
    nqt_link *tlink;
    struct nqi_lossy *lossy; /* between us and `tlink`; NULL = that is whole by itself */
    nqt_ep *ep;
    const struct nqi_link_events *events;
    void *arg;
    struct nqi_watch *clock;        /* of the handshake; NULL = stopped */
    const struct nqi_hello *self;   /* CHALLENGE, but for what is this link's; NULL: a client's */
    struct link_greeting *greeting; /* pooled; NULL = over */
    /* between space and commit */
    size_t body; /* bytes that the owner's room has in this read */
    uint8_t *staging;
    size_t staging_size;
    char address[LINK_ADDRESS];
    struct nqi_source source; /* a server's: where it came from */
};

/* link.c */
/* Report once that the link is of no more use, and close it. */
void nqi_link_fail(struct nqi_link *link, nq_reason reason, const char *text);
/* The other end is a peer, and no stranger that gets the least of everything. */
void nqi_link_rise(struct nqi_link *link);

/* link_greet.c */
/* Bytes in HELLO or AUTH.  @return negative: the link is to fail */
NQ_MUST_CHECK nq_err nqi_link_greet(struct nqi_link *link, const uint8_t *data, size_t len);
void nqi_link_end_greeting(struct nqi_link *link);
/* It was to move, and it is lost: whoever waits for it is told. */
void nqi_link_stop_moving(struct nqi_link *link);

#endif
