/* Two sessions that talk through memory, with a clock that stands still until it is moved.
 *
 *     put -> session a --pull--> wire of a --feed--> session b -> delivered, checked, taken
 *
 * `a` is the client, `b` the server, and both directions work alike.  The rig plays both links: it
 * copies what a session gives out to the wire, challenges the HELLO, has b's session begin or go on
 * when AUTH is there, and loses what it is told to lose.  It does what a peer does when a link is
 * lost: a session that cannot be resumed ends.
 *
 * Every message carries its number and a pattern.  nqtest_rig_end() holds the outcomes against what
 * arrived: each put settled exactly once; delivered = arrived once; not delivered, expired,
 * cancelled = never; unknown = at most once, not counting what is marked as redelivered.  A broken
 * rule fails the running test. */
#ifndef NQTEST_SESSION_RIG_H
#define NQTEST_SESSION_RIG_H

#include "core/session.h"
#include <check.h>

/* As ck_assert(), which writes to a file each time: too slow for what is asked a million times. */
#define NQTEST_MUST(x)              \
    do {                            \
        if (!(x))                   \
            ck_abort_msg("%s", #x); \
    } while (0)

/* One message on its way; lives until nqtest_rig_end(). */
struct nqtest_rig_put {
    struct nqi_tx tx;
    size_t size;
    bool put;
    bool tracked;   /* with a tx of its own, not counted only */
    bool cancelled; /* events->begin answers false */
    unsigned begun, settled, arrived;
    unsigned again; /* arrived marked as redelivered */
    nq_outcome outcome;
    nq_reason reason;
};

struct nqtest_side {
    struct nqtest_rig *rig;
    struct nqtest_side *other;
    struct nqi_session_conf conf;
    struct nqi_session session;
    nq_err err; /* why the session ended the link */

    /* sending */
    struct nqtest_rig_put **puts; /* by number, from 0 */
    size_t nputs, puts_cap;
    uint64_t untracked, untracked_outcomes[NQ_UNKNOWN + 1]; /* put; settled */
    uint8_t *wire;                                          /* what left and did not arrive */
    size_t wire_len, wire_cap;
    uint64_t wire_total;
    uint32_t pull_cap;    /* buffers in one pull */
    bool slow;            /* the link takes a random part of what is pulled */
    bool refuses;         /* the link has no room for an acknowledgement before the stage */
    struct nqt_buf *kept; /* one reference that the link keeps for long */

    /* receiving */
    struct nqi_fifo inbox; /* delivered and not taken */
    uint64_t inbox_count;  /* messages in there */
    uint64_t delivered;    /* messages, ever */
    uint64_t last[2];      /* number + 1 of the last bulk, control message */
    size_t last_size;      /* its payload */
    size_t last_meta;      /* bytes of its encoded metadata */
    uint64_t last_correlation;
    bool take;                   /* the user takes each message at once */
    uint64_t taken, taken_bytes; /* of this session */
    unsigned sessions;           /* counts those that ended */
    bool refuse;                 /* events->reserve answers no */
    uint64_t reserved;           /* set aside now */
    unsigned reservations;       /* asked for */
};

enum nqtest_split {
    NQTEST_WHOLE,  /* all there is, in one call */
    NQTEST_BYTES,  /* one at a time */
    NQTEST_PIECES, /* of random size */
    NQTEST_SPACE,  /* all, through nqi_session_space() where there is some */
    NQTEST_MIXED,  /* random pieces, sometimes through the space */
    NQTEST_SPLITS
};

/* The link's part at b. */
struct nqtest_greeting {
    enum { NQTEST_AWAIT_HELLO, NQTEST_AWAIT_AUTH, NQTEST_GREETED } step;
    size_t filled; /* bytes of the record that is awaited */
    uint8_t hello[NQI_HELLO_RECORD];
    struct nqi_attach attach;
};

struct nqtest_rig {
    struct nqtest_side a, b;
    int64_t now;
    enum nqtest_split split;
    struct nqtest_greeting greeting;
    bool dead;   /* this link is of no more use */
    bool resume; /* b keeps its session when the link is lost; else it does not know it any more */
    bool remember; /* ... but that it had it: `tomb` */
    struct nqi_session_name tomb;
    uint64_t tomb_received;
    uint64_t fuse;      /* bytes that still arrive, of both, before the link is lost */
    nq_uuid opening;    /* what b's session was asked for with */
    const uint8_t *psk; /* b's pre-shared key, and a's; NULL = none */
    const uint8_t *a_psk;
    uint64_t a_features, b_features;
    uint64_t random;
};

/* Options as the configuration's defaults, expiry after 300 s; change a.conf and b.conf before
 * nqtest_rig_attach(). */
void nqtest_rig_init(struct nqtest_rig *rig);

/* End both sessions, hold outcomes against arrivals, release everything. */
void nqtest_rig_end(struct nqtest_rig *rig);

/* A number below `n`. */
uint64_t nqtest_random(struct nqtest_rig *rig, uint64_t n);

/* A link is there; both come UP, if need be in a new session. */
void nqtest_rig_attach(struct nqtest_rig *rig);
/* The same, but nothing is sent yet. */
void nqtest_rig_connect(struct nqtest_rig *rig);
/* The same, and both are UP, with nothing but the greeting and the ACKs behind it sent. */
void nqtest_rig_greet(struct nqtest_rig *rig);
/* The link is lost: up to `a_bytes` and `b_bytes` of what a and b sent still arrive. */
void nqtest_rig_lose(struct nqtest_rig *rig, size_t a_bytes, size_t b_bytes);
/* While DOWN: the side's session is over, and another may begin. */
void nqtest_restart(struct nqtest_side *side, nq_reason reason);

/* A message of `size` bytes in `views` pieces; numbered, not put. */
struct nqtest_rig_put *nqtest_make(struct nqtest_side *side, size_t size, size_t views);
/* Make and queue one. */
struct nqtest_rig_put *nqtest_rig_put(struct nqtest_side *side, size_t size);
/* Queue one that was made. */
void nqtest_queue(struct nqtest_side *side, struct nqtest_rig_put *put);
/* Put one that was made straight into the stage, with or without a tx.  False: not possible now,
 * nothing was put. */
bool nqtest_put_now(struct nqtest_side *side, struct nqtest_rig_put *put, bool tracked);

/* The stage goes to the link by itself, or behind an acknowledgement, if nothing else is to be
 * sent.
 * @return false: not so */
bool nqtest_send_stage(struct nqtest_side *side);

/* Put one that was made straight to the link, untracked.  False: not possible now, nothing was put.
 */
bool nqtest_put_straight(struct nqtest_side *side, struct nqtest_rig_put *put);

/* One pull.  @return buffers that the link took */
uint32_t nqtest_pull(struct nqtest_side *side, bool seal);
/* Until there is no more. */
void nqtest_pull_all(struct nqtest_side *side);
/* `side` gives buffers out and the link takes none. */
void nqtest_pull_nothing(struct nqtest_side *side);
/* Records of `type` on the way from `side`; what is on the wire must be whole records. */
unsigned nqtest_on_wire(const struct nqtest_side *side, uint8_t type);
/* Up to `len` bytes of what `side` sent arrive.  @return NQ_OK, or what ended the link */
nq_err nqtest_feed(struct nqtest_side *side, size_t len);
/* Pull and feed both ways until nothing moves; both sessions must be content. */
void nqtest_flow(struct nqtest_rig *rig);
/* The same, and the sessions may end the link: look at a.err, b.err. */
void nqtest_flow_any(struct nqtest_rig *rig);
/* Put raw bytes behind what `side` sent. */
void nqtest_inject(struct nqtest_side *side, const void *data, size_t len);
/* The user takes up to `n` messages. */
void nqtest_take(struct nqtest_side *side, uint64_t n);
/* Time passes; both tick when they are due. */
void nqtest_pass(struct nqtest_rig *rig, int64_t ns);
/* Flow, take and pass time until both have nothing left to send and everything is acknowledged. */
void nqtest_finish(struct nqtest_rig *rig);

/* Put a record behind what `side` sent; `body_len` may differ from `length`. */
void nqtest_inject_record(struct nqtest_side *side, uint8_t type, uint8_t flags, uint16_t aux,
                          uint32_t length, uint64_t total, const void *body, size_t body_len);

#endif
