/* What the files of the mqtt plugin share.
 *
 *   mqtt.c         the table, the module, endpoints
 *   mqtt_opts.c    options
 *   mqtt_wire.c    heads, bodies, topics
 *   mqtt_broker.c  the connection to the broker: a thread of each endpoint; see mqtt_broker.h
 *   mqtt_in.c      what arrives, on paho's thread
 *   mqtt_rx.c      bodies into buffers
 *   mqtt_table.c   links of an endpoint
 *   mqtt_link.c    life of a link
 *   mqtt_out.c     sending
 *   mqtt_plain.c   the wire of the Python library net-queue: bare bytes, other topics
 *
 * Three kinds of threads meet under an endpoint's mutex: the core's, in a link's serial; paho's, in
 * callbacks, which hold paho's lock; the endpoint's own.  The mutex is a leaf but for host->mem,
 * emit and post: paho is never called under it. */
#ifndef MQTT_H
#define MQTT_H

#include <MQTTAsync.h>
#include <netqueue/transport_tls.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define MQTT_NAME_MAX 64 /* of a server, with its NUL */
#define MQTT_HOST_MAX 256
#define MQTT_SECRET_MAX 256
#define MQTT_TOPIC_MAX 128
#define MQTT_PLACE_MAX (MQTT_HOST_MAX + MQTT_NAME_MAX + 16)
#define MQTT_TEXT_MAX (MQTT_PLACE_MAX + 40) /* of an address for people */
#define MQTT_CAUSE_MAX 160                  /* of an error's cause */
#define MQTT_BUCKETS 64u                    /* of an endpoint's table of links */
#define MQTT_STRANGERS 256u                 /* links of a server that are not attached */

#define MQTT_CREDIT 32u              /* publishes without acknowledgement, at most */
#define MQTT_CREDIT_ALL 512u         /* what a server grants to all its links together ... */
#define MQTT_CREDIT_LEAST 4u         /* ... unless that is less than this for each */
#define MQTT_EP_FLIGHT (32u << 20)   /* bytes that an endpoint has under way, shared out ... */
#define MQTT_PACKET_LEAST 1024u      /* ... but a publish of this size passes always */
#define MQTT_MESSAGE_MAX (32u << 20) /* largest buffer ... */
#define MQTT_PIECES (MQTT_MESSAGE_MAX / 128u) /* ... in so many pieces: none sends shorter ones */

#define MQTT_RX_COST 256u     /* of a record that is kept, beside its body */
#define MQTT_UNATTACHED 2048u /* bytes that may be kept of a link before the core has it */

#define MQTT_NS_PER_S INT64_C(1000000000)
#define MQTT_DRAIN_NS (2 * MQTT_NS_PER_S) /* shutdown() waits so long for the peer's end */
#define MQTT_OPEN_NS MQTT_NS_PER_S        /* OPEN is said again */
#define MQTT_HERE_NS (2 * MQTT_NS_PER_S)  /* a client waits for its server on the broker */
#define MQTT_PROBE_NS (2 * MQTT_NS_PER_S)
#define MQTT_PROBES 5u /* without an answer: the peer is lost */

/* ---- the wire --------------------------------------------------------------------------- */

enum mqtt_type {
    MQTT_OPEN = 1,
    MQTT_ACCEPT,
    MQTT_DATA,
    MQTT_ACK,
    MQTT_PROBE,
    MQTT_END,
    MQTT_GONE,
    MQTT_HERE,
    MQTT_CLAIM,
};

#define MQTT_HEAD 32u
#define MQTT_PIECE 4u
#define MQTT_LAST UINT32_C(0x80000000) /* in a piece's length: it ends a buffer */
#define MQTT_CONTROL 256u              /* largest record but DATA */

struct mqtt_head {
    enum mqtt_type type;
    bool ack_now;
    uint16_t credit;
    uint32_t number;
    uint64_t client, server;
    uint32_t seq, ack;
};

/* Pure.  `at` has room for MQTT_HEAD, MQTT_CONTROL bytes. */
void mqtt_head_write(uint8_t *at, const struct mqtt_head *head);
/* False: it makes no sense. */
bool mqtt_head_read(const uint8_t *at, size_t len, struct mqtt_head *ret);
uint32_t mqtt_load_u32(const uint8_t *at);
void mqtt_store_u32(uint8_t *at, uint32_t value);
/* A body of END or GONE.  @return its length */
size_t mqtt_reason_write(uint8_t *at, int code, const char *text);
/* `text` has room for MQTT_CAUSE_MAX bytes; what is not printable becomes '?'. */
void mqtt_reason_read(const uint8_t *at, size_t len, int *code, char *text);
void mqtt_topic(char topic[MQTT_TOPIC_MAX], const char *server, const char *way, uint64_t id);
/* The ID at the end of a topic.  False: there is none. */
bool mqtt_topic_id(const char *topic, size_t len, uint64_t *ret);

/* ---- options ---------------------------------------------------------------------------- */

#define MQTT_OPTIONS 19u
extern const struct nqt_opt mqtt_opt_table[MQTT_OPTIONS];

struct mqtt_opts {
    char host[MQTT_HOST_MAX];
    uint16_t port;
    char server[MQTT_NAME_MAX];
    char user[MQTT_SECRET_MAX], password[MQTT_SECRET_MAX]; /* "" = none */
    int version; /* MQTTVERSION_*; DEFAULT = 5, then 3.1.1 */
    int qos;
    uint32_t packet, window;
    int keepalive_s;
    int64_t connect_timeout_ns;
    struct nqt_tls_opts tls;
    int64_t wire;  /* NQT_WIRE_* */
    char name[33]; /* our UUID's 32 digits: in the topics of the plain wire */
};

int mqtt_opts_read(const struct nqt_host *host, nqt_cfg *cfg, struct mqtt_opts *out,
                   struct nqt_error *err);
/* The files of `tls` can be read and used, as they are now; 0 or NQT_E_CONFIG.  Blocks: for them.
 */
int mqtt_tls_check(const struct mqtt_opts *opts, struct nqt_error *err);

/* ---- objects ---------------------------------------------------------------------------- */

struct nqtp_mod {
    const struct nqt_host *host;
    nqt_core *core;
};

/* What the endpoint's thread asked paho for. */
enum mqtt_step { MQTT_STEP_NONE, MQTT_STEP_ASKED, MQTT_STEP_DONE, MQTT_STEP_FAILED };

struct nqtp_ep {
    /* fixed by ep_open */
    struct nqtp_mod *mod;
    nqt_ep *cookie;
    nqt_serial *serial;
    struct mqtt_opts opts;
    bool listen;
    uint64_t id; /* in topics and in the MQTT client's name */
    char own_topic[MQTT_TOPIC_MAX], server_topic[MQTT_TOPIC_MAX];
    char place[MQTT_PLACE_MAX]; /* "mqtt:host:port/server" */

    /* One until ep_close, one a link, one the thread's.  The last one frees it and emits
     * EP_CLOSED. */
    _Atomic uint32_t refs;

    bool closed; /* in the endpoint's serial */

    struct nqtp_ep *next_up; /* under the list's mutex */

    pthread_mutex_t mtx;
    pthread_cond_t cond; /* the thread waits */
    /* under mtx */
    bool started, closing;
    pthread_t thread;
    bool wanted;         /* client: a link waits for the broker */
    bool repost;         /* a post failed for lack of memory: try again */
    bool up;             /* links may publish ... */
    MQTTAsync client;    /* ... here; only the thread makes and ends it */
    uint64_t tag;        /* of this connection */
    uint64_t server_tag; /* of the server that says it is there; a server's: of another one */
    bool rival;          /* server: another one lives */
    unsigned users;      /* calls of paho that run */
    uint32_t packet;     /* largest payload now */
    bool joined;         /* the broker has taken this connection */
    bool lost;           /* leave it ... */
    bool broken;         /* ... which is no more */
    bool here;           /* server: it has said that it is */
    enum mqtt_step step;
    int step_code, step_reason, step_version;
    uint32_t step_packet;        /* what CONNACK allows; 0 = anything */
    uint64_t plain_flight;       /* bytes of the plain wire that paho has, in ... */
    struct mqtt_flight *flights; /* ... these publishes */
    bool step_qos, step_retain;  /* it allows QoS 1, retained records */
    char step_text[MQTT_CAUSE_MAX];
    char step_tls[MQTT_CAUSE_MAX]; /* what OpenSSL said last */
    uint32_t numbers;              /* of links, the last one given out */
    struct nqtp_link *links[MQTT_BUCKETS];
    uint32_t nlinks, nstrangers;
};

/* A record with a body that came; one reference each buffer made of it, one the inbox's. */
struct mqtt_rx {
    struct mqtt_rx *next;
    _Atomic uint32_t refs;
    MQTTAsync_message *msg;
    const uint8_t *body;
    size_t len;
    uint32_t seq;
    bool ack_now;
};

/* A buffer that comes in pieces. */
struct mqtt_part {
    uint32_t n, cap;
    struct iovec *seg;
    struct mqtt_rx **rx; /* of each segment, one reference */
    uint64_t len;
    uint64_t cost; /* mqtt_rx_cost() of all `rx` */
};

enum mqtt_state {
    MQTT_WAITING,
    MQTT_OPENING,
    MQTT_ACCEPTED,
    MQTT_UP,
    MQTT_DRAINING,
    MQTT_DOWN,
    MQTT_CLOSED
};

struct nqtp_link {
    /* fixed */
    struct nqtp_ep *ep; /* one reference */
    uint32_t number;
    uint64_t id;                /* the client's, as in its topics */
    char topic[MQTT_TOPIC_MAX]; /* to the peer */
    bool plain;                 /* the bare stream of the plain wire */
    char named[46];             /* a server's, plain: "urn:uuid:" and the client, as in its topic */
    char local[MQTT_TEXT_MAX], peer[MQTT_TEXT_MAX];

    /* in the link's serial; the endpoint's until attached */
    nqt_link *cookie;
    nqt_serial *serial;
    enum mqtt_state state;
    bool held, finished;
    bool short_send; /* WRITABLE is due when there is room */
    bool end_sent;
    bool watching; /* the timer runs for what is unacknowledged */
    uint32_t seen; /* tx_acked when it last looked */
    nqt_watch *timer;
    int64_t deadline; /* of connecting, of draining */
    int64_t here_by;  /* the server must be, 0 = not known yet */
    unsigned probes;  /* without an answer */
    uint64_t epoch;
    struct mqtt_part part;
    struct nqt_buf *pending; /* begun, one reference; NULL = none */
    uint32_t pending_seg;
    size_t pending_off;
    uint64_t pending_left;
    uint32_t mark_count; /* since an acknowledgement was asked for */
    uint64_t mark_bytes;

    /* under the endpoint's mutex */
    struct nqtp_link *next;
    bool listed, attached, posted;
    bool accepted; /* client: the answer came */
    bool call;     /* client: the server has come, OPEN is due */
    bool waits;    /* an acknowledgement lets it go on */
    bool heard;    /* since the last look */
    bool ack_due;
    uint64_t client_tag, server_tag;
    struct mqtt_rx *in_first, *in_last;
    uint64_t in_bytes, in_cost; /* bodies; with what comes on top */
    size_t rx_limit;            /* most of in_cost, and of part.cost; 0 = none */
    uint32_t rx_seq;            /* the last that came */
    uint32_t rx_up;             /* the last that was handed up */
    uint32_t tx_seq;            /* the last that was sent */
    uint32_t tx_acked;
    uint64_t flight; /* bytes from tx_acked to tx_seq */
    uint32_t sizes[MQTT_CREDIT];
    uint32_t credit, window, peer_packet; /* what the peer takes */
    int end_code;    /* != 0: what comes after the inbox; nothing more is put there */
    bool end_theirs; /* the peer knows */
    char end_text[MQTT_CAUSE_MAX];
};

#define MQTT_PLAIN_PIECE (1u << 20)    /* most bytes of one publish of the plain wire */
#define MQTT_PLAIN_FLIGHT (4u << 20)   /* bytes that paho may have of it, for all links */
#define MQTT_PLAIN_INBOX (64u << 20)   /* that wait for the core, of one link ... */
#define MQTT_PLAIN_STRANGER (4u << 20) /* ... or one piece, before it is attached */

#define MQTT_CAPS                                                            \
    (NQT_CAP_MESSAGE | NQT_CAP_LISTEN | NQT_CAP_CONNECT | NQT_CAP_BROKERED | \
     NQT_CAP_PEER_PRESENCE | NQT_CAP_GATHER | NQT_CAP_RX_HOLD | NQT_CAP_DRAIN)

/* ---- mqtt.c ----------------------------------------------------------------------------- */

void mqtt_ep_ref(struct nqtp_ep *ep);
/* May emit EP_CLOSED: touch neither the endpoint nor the module afterwards.  Thread: any. */
void mqtt_ep_unref(struct nqtp_ep *ep);
uint64_t mqtt_random(void); /* never 0 */

/* ---- mqtt_broker.c ---------------------------------------------------------------------- */

/* Start the thread, or have it connect when it does not.  Under mtx.  False: no thread. */
bool mqtt_broker_want(struct nqtp_ep *ep);
/* Publish over the connection `tag`, unless that is over.  Not under mtx.  @return 0 or NQT_E_LOST.
 * Thread: any. */
int mqtt_publish(struct nqtp_ep *ep, uint64_t tag, const char *topic, const void *payload,
                 size_t len, bool retain);
/* Under mtx: have it connect anew. */
void mqtt_broker_leave(struct nqtp_ep *ep, int code, const char *text);

/* ---- mqtt_in.c -------------------------------------------------------------------------- */

/* paho's callback; the context is the endpoint. */
int mqtt_on_message(void *context, char *topic, int topic_len, MQTTAsync_message *msg);
void mqtt_rx_unref(struct mqtt_rx *rx);

/* Bytes of memory that it takes, about. */
static inline uint64_t mqtt_rx_cost(const struct mqtt_rx *rx)
{
    return rx->len + MQTT_RX_COST;
}

/* ---- mqtt_rx.c -------------------------------------------------------------------------- */

/* Cut a body up: whole buffers into `out` (room for `cap`), the rest into link->part; *at goes on.
 * @return how many buffers, or NQT_E_* */
int mqtt_unpack(struct nqtp_link *link, struct mqtt_rx *rx, size_t *at, struct nqt_buf **out,
                int cap);
/* The whole body as one buffer.  NULL = no memory. */
struct nqt_buf *mqtt_whole(struct mqtt_rx *rx);
void mqtt_part_drop(struct nqtp_link *link);

/* ---- mqtt_link.c ------------------------------------------------------------------------ */

int mqtt_connect(struct nqtp_ep *ep, nqt_link *cookie, nqt_serial *serial, struct nqtp_link **out,
                 struct nqt_error *err);
int mqtt_attach(struct nqtp_link *link, nqt_link *cookie, nqt_serial *serial);
int mqtt_rx_hold(struct nqtp_link *link, int hold);
int mqtt_rx_limit(struct nqtp_link *link, size_t len);
int mqtt_shutdown(struct nqtp_link *link);
void mqtt_close(struct nqtp_link *link);
int mqtt_info(struct nqtp_link *link, struct nqt_info *out);
void mqtt_link_down(struct nqtp_link *link, int code, bool tell, const char *cause);
extern const char mqtt_too_much[];            /* why a link ends that keeps more than rx_limit */
void mqtt_link_watch(struct nqtp_link *link); /* something is under way: have the timer run */

void mqtt_link_work(void *arg); /* as posted: the link looks what there is to do */

/* ---- mqtt_table.c ----------------------------------------------------------------------- */

/* Refers to the endpoint; in no table yet.  NULL = no memory. */
struct nqtp_link *mqtt_link_new(struct nqtp_ep *ep, uint64_t id, uint32_t number);
void mqtt_link_free(struct nqtp_link *link); /* out of the table; not under mtx */

/* Under mtx, any thread. */
void mqtt_link_list(struct nqtp_link *link);
void mqtt_link_unlist(struct nqtp_link *link);
struct nqtp_link *mqtt_link_find(struct nqtp_ep *ep, uint64_t id, uint32_t number);
/* A server's link, in the table; NULL = no memory. */
struct nqtp_link *mqtt_link_accept(struct nqtp_ep *ep, uint64_t id, const struct mqtt_head *head);
void mqtt_link_refuse(struct nqtp_link *link); /* that one, when the core does not hear of it */
void mqtt_link_poke(struct nqtp_link *link);
void mqtt_link_end(struct nqtp_link *link, int code, bool theirs, const char *text);
void mqtt_links_end(struct nqtp_ep *ep, int code, const char *text);

/* ---- mqtt_plain.c ----------------------------------------------------------------------- */

/* Topics of the plain wire: "c2s/" and "s2c/" with the client's name. */
bool mqtt_plain_is_topic(const struct nqtp_ep *ep, const char *topic, size_t len);
/* A publish of it came; under mtx.  True: the message is a link's now. */
bool mqtt_plain_in(struct nqtp_ep *ep, const char *topic, MQTTAsync_message *msg);
/* The topic that this side hears. */
void mqtt_plain_hears(const struct nqtp_ep *ep, char topic[MQTT_TOPIC_MAX]);
/* A client's link is one of it. */
void mqtt_plain_name(struct nqtp_link *link, const char *client);
/* As mqtt_publish(), and counted in plain_flight until paho has sent it. */
int mqtt_plain_publish(struct nqtp_ep *ep, uint64_t tag, const char *topic, const void *payload,
                       size_t len);
/* paho's client is gone, and what it had with it. */
void mqtt_plain_forget(struct nqtp_ep *ep);

/* ---- mqtt_out.c ------------------------------------------------------------------------- */

int mqtt_send(struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t n, uint32_t flags,
              uint32_t *taken);
/* Go on with what was begun, and say that there is room. */
void mqtt_out_pump(struct nqtp_link *link);
void mqtt_out_drop(struct nqtp_link *link);
/* A record without DATA of an open link. */
void mqtt_out_control(struct nqtp_link *link, enum mqtt_type type, int code, const char *text);
/* Under mtx: the head of a record to the peer. */
struct mqtt_head mqtt_out_head(const struct nqtp_link *link, enum mqtt_type type);
/* Under mtx: the peer has all up to `ack`. */
void mqtt_out_acked(struct nqtp_link *link, const struct mqtt_head *head);
uint16_t mqtt_credit(const struct nqtp_ep *ep); /* under mtx: what a link is granted now */

#endif
