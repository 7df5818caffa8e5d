/* Between the transport and the owner of a link: the greeting, where bytes are read to, and the
 * clock of the handshake.
 *
 * Reading: while the owner has room of its own for a large body, the transport reads straight into
 * it, and a little behind it for the next heads; else into a pooled staging buffer that lives for
 * one read. */
#include "core/link.h"

#include "core/err.h"
#include "core/log.h"
#include "core/pool.h"
#include "core/random.h"
#include "core/txbuf.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINK_STAGING ((size_t)64 << 10)
#define LINK_STAGING_LITTLE 4096u
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
    bool large; /* the last payload had room of its own: read little ahead */
    nqt_link *tlink;
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
};

nq_reason nqi_link_reason(const struct nqt_error *err)
{
    switch (err ? err->code : NQT_E_LOST) {
    case NQT_E_REFUSED:
    case NQT_E_UNREACHABLE:
    case NQT_E_AUTH:
    case NQT_E_CONFIG:
        return NQ_REASON_REFUSED;
    case NQT_E_NOMEM:
        return NQ_REASON_NO_MEMORY;
    case NQT_E_PROTOCOL:
        return NQ_REASON_PROTOCOL;
    default:
        return NQ_REASON_LINK_LOST;
    }
}

/* ---- life ------------------------------------------------------------------------------- */

static void link_stop_clock(struct nqi_link *link)
{
    nqi_watch_del(link->clock);
    link->clock = NULL;
}

static void link_end_greeting(struct nqi_link *link)
{
    nqi_pool_free(link->greeting, sizeof(*link->greeting));
    link->greeting = NULL;
}

/* It was to move, and it is lost: whoever waits for it is told. */
static void link_stop_moving(struct nqi_link *link)
{
    struct link_greeting *greeting = link->greeting;

    if (link->state != LINK_MOVING)
        return;
    nqi_strand_on_settle(nqi_link_strand(link), NULL, NULL);
    nqi_strand_unref(greeting->strand);
    greeting->moved(greeting->arg, NULL, NULL);
}

static void link_free(struct nqi_link *link)
{
    link_end_greeting(link);
    nqi_pool_free(link->staging, link->staging_size);
    free(link);
}

void nqi_link_close(struct nqi_link *link)
{
    if (link->closing)
        return;
    link->closing = true;
    link_stop_moving(link);
    link->state = LINK_DOWN;
    link_stop_clock(link);
    nqi_tlink_close(link->tlink);
}

/* Report once that the link is of no more use, and close it. */
static void link_fail(struct nqi_link *link, nq_reason reason, const char *text)
{
    bool told = link->state == LINK_DRAINING;

    if (link->state == LINK_DOWN)
        return;
    if (link->state == LINK_MOVING && link->greeting->joined) {
        link->greeting->lost = reason;
        return;
    }
    link_stop_moving(link);
    link->state = LINK_DOWN;
    link_stop_clock(link);
    if (!told)
        link->events->down(link->arg, link, reason, text);
    nqi_link_close(link);
}

static void link_on_clock(void *arg)
{
    struct nqi_link *link = arg;

    link_fail(link, NQ_REASON_TIMED_OUT,
              link->self ? "no hello within 10 s" : "no answer to the hello within 10 s");
}

static void link_start_clock(struct nqi_link *link, int64_t ns)
{
    if (!link->clock &&
        nqi_timer_add(nqi_tlink_serial(link->tlink), link_on_clock, link, &link->clock))
        return; /* without memory for a clock the transport's own time-outs remain */
    nqi_timer_set(link->clock, nqi_now() + ns);
}

void nqi_link_settled(struct nqi_link *link)
{
    link_stop_clock(link);
}

void nqi_link_drain(struct nqi_link *link)
{
    if (link->state == LINK_DOWN || link->state == LINK_DRAINING)
        return;
    link->state = LINK_DRAINING;
    link_start_clock(link, NQI_DRAIN_NS);
    if (!nqi_tlink_shutdown(link->tlink))
        nqi_link_close(link);
}

/* ---- the greeting ----------------------------------------------------------------------- */

/* Send one record of the greeting, with the reference; a link that takes it not at once is not
 * worth waiting for. */
static void link_send_record(struct nqi_link *link, struct nqi_txbuf *txbuf)
{
    uint32_t taken = 0;

    if (nqi_tlink_send(link->tlink, (struct nqt_buf *[]){&txbuf->buf}, 1, &taken) || !taken)
        nqi_log(NQ_LOG_DEBUG, "%s: an answer could not be sent", link->address);
}

static nq_err link_challenge(struct nqi_link *link, const struct nqi_hello *theirs)
{
    struct nqi_txbuf *txbuf = nqi_txbuf_new(1, NQI_HELLO_RECORD);
    struct nqi_hello hello = *link->self;
    nq_err err = NQ_OK;

    if (!txbuf)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for a greeting");
    if (!nqi_hello_agree(theirs, &hello))
        err = nqi_fail(NQ_ERR_PROTO, "no version in common");
    if (!err)
        err = nqi_random(hello.nonce, sizeof(hello.nonce));
    if (err) {
        nqi_txbuf_unref(txbuf);
        return err;
    }
    nqi_hello_write(txbuf->room, NQI_CHALLENGE, &hello);
    nqi_txbuf_add(txbuf, txbuf->room, NQI_HELLO_RECORD);
    nqi_transcript(link->greeting->hello, txbuf->room, link->greeting->attach.transcript);
    link_send_record(link, txbuf);
    return NQ_OK;
}

static nq_err link_on_hello(struct nqi_link *link)
{
    struct link_greeting *greeting = link->greeting;
    struct nqi_hello *hello = &greeting->attach.hello;
    nq_err err = nqi_hello_read(greeting->hello + NQI_HEAD, hello);
    nq_reason reason;

    if (err)
        return err;
    reason = link->events->hello(link->arg, link, hello);
    if (link->state != LINK_HELLO)
        return NQ_ERR_CLOSED;
    if (reason) {
        nqi_link_reject(link, reason);
        return NQ_OK;
    }
    err = link_challenge(link, hello);
    if (err)
        return err;
    link->state = LINK_AUTH;
    greeting->filled = 0;
    return NQ_OK;
}

static nq_err link_on_auth(struct nqi_link *link)
{
    struct nqi_attach *attach = &link->greeting->attach;
    nq_err err = nqi_auth_read(attach->auth_record, &attach->auth);

    if (err)
        return err;
    link->events->auth(link->arg, link, attach);
    if (link->state == LINK_AUTH)
        link->state = LINK_UP;
    if (link->state != LINK_MOVING)
        link_end_greeting(link);
    return link->state == LINK_DOWN ? NQ_ERR_CLOSED : NQ_OK;
}

/* Collect the record that is awaited.  @return bytes used; *whole: it is there */
static size_t link_collect(struct link_greeting *greeting, uint8_t *into, size_t want,
                           const uint8_t *data, size_t len, bool *whole)
{
    size_t n = NQI_MIN(len, want - greeting->filled);

    memcpy(into + greeting->filled, data, n);
    greeting->filled += n;
    *whole = greeting->filled == want;
    return n;
}

/* Tell a stranger by its first bytes, not by its silence. */
static nq_err link_check_head(const struct link_greeting *greeting, const uint8_t *record,
                              enum nqi_record_type type)
{
    struct nqi_head head;
    nq_err err;

    if (greeting->filled < NQI_HEAD)
        return NQ_OK;
    if (record[0] != type) /* other heads may be longer than what has come */
        return nqi_fail(NQ_ERR_PROTO, "the first record is no %s",
                        type == NQI_HELLO ? "hello" : "answer to the challenge");
    err = nqi_head_read(record, &head);
    return err;
}

static nq_err link_greet(struct nqi_link *link, const uint8_t *data, size_t len)
{
    struct link_greeting *greeting = link->greeting;
    bool auth = link->state == LINK_AUTH, whole;
    uint8_t *record = auth ? greeting->attach.auth_record : greeting->hello;
    size_t n = link_collect(greeting, record, auth ? NQI_AUTH_RECORD : NQI_HELLO_RECORD, data, len,
                            &whole);
    nq_err err = link_check_head(greeting, record, auth ? NQI_AUTH : NQI_HELLO);

    if (!err && n < len)
        err = nqi_fail(NQ_ERR_PROTO, "bytes that nobody asked for in the greeting");
    if (err || !whole)
        return err;
    return auth ? link_on_auth(link) : link_on_hello(link);
}

/* ---- to another strand ------------------------------------------------------------------ */

/* Inside the new strand. */
static void link_moved(struct nqi_work *work)
{
    struct link_greeting *greeting = NQI_CONTAINER(work, struct link_greeting, work);
    struct nqi_link *link = greeting->link;

    link->state = LINK_UP;
    nqi_strand_unref(greeting->strand); /* the join has its own */
    if (greeting->lost) {
        greeting->moved(greeting->arg, NULL, NULL);
        link_fail(link, greeting->lost, "lost before the welcome");
        return;
    }
    greeting->moved(greeting->arg, link, &greeting->attach);
    link_end_greeting(link);
}

/* The strand's settle: nothing else is done inside it, and nobody touches the link any more. */
static void link_move(void *arg)
{
    struct nqi_link *link = arg;
    struct link_greeting *greeting = link->greeting;
    struct nqi_strand *strand = greeting->strand;

    greeting->joined = true;
    nqi_strand_join(nqi_link_strand(link), strand);
    /* From here on others may be inside it with an event of the link's, before the work. */
    nqi_strand_run(strand, &greeting->work);
}

void nqi_link_hand_over(struct nqi_link *link, struct nqi_strand *strand, nqi_link_moved_fn fn,
                        void *arg)
{
    struct link_greeting *greeting = link->greeting;

    assert(link->state == LINK_AUTH);
    greeting->strand = nqi_strand_ref(strand);
    greeting->moved = fn;
    greeting->arg = arg;
    greeting->link = link;
    greeting->work.run = link_moved;
    greeting->joined = false;
    greeting->lost = NQ_REASON_NONE;
    link->state = LINK_MOVING;
    nqi_strand_on_settle(nqi_link_strand(link), link_move, link);
}

/* ---- refusal ---------------------------------------------------------------------------- */

void nqi_link_reject(struct nqi_link *link, nq_reason reason)
{
    const char *text = nq_reason_text(reason);
    size_t len = NQI_MIN(strlen(text), (size_t)NQI_CONTROL_MAX);
    struct nqi_txbuf *txbuf = nqi_txbuf_new(1, (uint32_t)(NQI_HEAD + len));

    if (txbuf) {
        nqi_head_write(txbuf->room, NQI_REJECT, 0, (uint16_t)reason, (uint32_t)len, 0);
        memcpy(txbuf->room + NQI_HEAD, text, len);
        nqi_txbuf_add(txbuf, txbuf->room, NQI_HEAD + len);
        link_send_record(link, txbuf);
    }
    nqi_link_drain(link);
}

/* A link that drains is read on, for its end. */
static nq_err link_received(const struct nqi_link *link, nq_err err)
{
    return link->state == LINK_DRAINING ? NQ_OK : err;
}

static nq_err link_receive(struct nqi_link *link, const uint8_t *data, size_t len)
{
    nq_err err;

    if (link->state == LINK_DOWN)
        return NQ_ERR_CLOSED;
    if (link->state == LINK_DRAINING)
        return NQ_OK;
    if (link->state == LINK_UP)
        return link_received(link, link->events->receive(link->arg, data, len));
    if (link->state == LINK_MOVING)
        err = nqi_fail(NQ_ERR_PROTO, "bytes before the welcome");
    else
        err = link_greet(link, data, len);
    if (err < 0 && link->state != LINK_DOWN)
        link_fail(link, err == NQ_ERR_PROTO ? NQ_REASON_PROTOCOL : NQ_REASON_NO_MEMORY, nq_error());
    return err;
}

/* ---- the transport's events ------------------------------------------------------------- */

static void link_on_up(void *arg)
{
    struct nqi_link *link = arg;

    if (!link->address[0])
        snprintf(link->address, sizeof(link->address), "%s", nqi_tlink_peer(link->tlink));
    link->state = link->self ? LINK_HELLO : LINK_UP;
    if (link->self)
        return;                              /* the client speaks first */
    link_start_clock(link, NQI_GREETING_NS); /* for WELCOME */
    link->events->up(link->arg, link);
}

static void link_on_writable(void *arg)
{
    struct nqi_link *link = arg;

    if (link->state == LINK_UP)
        link->events->writable(link->arg);
}

static nq_err link_on_message(void *arg, const struct nqt_buf *buf)
{
    struct nqi_link *link = arg;
    nq_err err = NQ_OK;

    for (uint32_t i = 0; i < buf->nseg && !err; i++)
        err = link_receive(link, buf->seg[i].iov_base, buf->seg[i].iov_len);
    return err;
}

static nq_err link_on_space(void *arg, struct iovec *iov, uint32_t *niov)
{
    struct nqi_link *link = arg;
    unsigned char *room;
    uint32_t n = 0;

    if (link->state == LINK_DOWN)
        return NQ_ERR_CLOSED;
    link->body = link->state == LINK_UP ? link->events->space(link->arg, &room) : 0;
    if (link->body)
        iov[n++] = (struct iovec){.iov_base = room, .iov_len = link->body};
    link->staging_size = link->body || link->large ? LINK_STAGING_LITTLE : LINK_STAGING;
    link->staging = nqi_pool_alloc(link->staging_size);
    if (link->staging)
        iov[n++] = (struct iovec){.iov_base = link->staging, .iov_len = link->staging_size};
    link->large = link->body;
    *niov = n;
    return n ? NQ_OK : nqi_fail(NQ_ERR_NOMEM, "no memory to read into");
}

static nq_err link_on_commit(void *arg, size_t len)
{
    struct nqi_link *link = arg;
    size_t body = NQI_MIN(len, link->body);
    uint8_t *staging = NQI_STEAL(link->staging);
    nq_err err = NQ_OK;

    if (body)
        err = link_received(link, link->events->commit(link->arg, body));
    if (!err && len > body)
        err = link_receive(link, staging, len - body);
    nqi_pool_free(staging, link->staging_size);
    return err;
}

static void link_on_down(void *arg, const struct nqt_error *err)
{
    link_fail(arg, nqi_link_reason(err), err->text);
}

static void link_on_closed(void *arg)
{
    struct nqi_link *link = arg;
    const struct nqi_link_events *events = link->events;
    void *owner = link->arg;

    link_stop_clock(link);
    link_free(link);
    events->closed(owner);
}

static const struct nqi_tlink_events link_tlink_events = {
    .up = link_on_up,
    .writable = link_on_writable,
    .message = link_on_message,
    .space = link_on_space,
    .commit = link_on_commit,
    .down = link_on_down,
    .closed = link_on_closed,
};

/* ---- making ----------------------------------------------------------------------------- */

static struct nqi_link *link_new(nqt_ep *ep, const struct nqi_hello *self,
                                 const struct nqi_link_events *events, void *arg)
{
    struct nqi_link *link = calloc(1, sizeof(*link));

    if (link && self) {
        link->greeting = nqi_pool_alloc(sizeof(*link->greeting));
        if (!link->greeting) {
            free(link);
            link = NULL;
        }
    }
    if (!link) {
        nqi_fail(NQ_ERR_NOMEM, "no memory for a link");
        return NULL;
    }
    if (self)
        link->greeting->filled = 0;
    link->self = self;
    nqi_list_init(&link->list);
    link->ep = ep;
    link->events = events;
    link->arg = arg;
    return link;
}

nq_err nqi_link_connect(nqt_ep *ep, struct nqi_strand *strand, struct nqi_loop *loop,
                        const struct nqi_link_events *events, void *arg, struct nqi_link **ret)
{
    struct nqi_link *link = link_new(ep, NULL, events, arg);
    nq_err err;

    if (!link)
        return NQ_ERR_NOMEM;
    err = nqi_tlink_connect(ep, strand, loop, &link_tlink_events, link, &link->tlink);
    if (err) {
        link_free(link);
        return err;
    }
    *ret = link;
    return NQ_OK;
}

nq_err nqi_link_accept(nqt_ep *ep, struct nqtp_link *plink, const char *address,
                       struct nqi_loop *loop, const struct nqi_hello *self,
                       const struct nqi_link_events *events, void *arg)
{
    struct nqi_link *link = link_new(ep, self, events, arg);
    struct nqi_strand *strand = nqi_strand_new();
    nq_err err = NQ_ERR_NOMEM;

    if (link && strand) {
        snprintf(link->address, sizeof(link->address), "%s", address);
        nqi_strand_enter_new(strand);
        err = nqi_tlink_accept(ep, plink, strand, loop, &link_tlink_events, link, &link->tlink);
        if (!err) {
            link_start_clock(link, NQI_GREETING_NS);
            events->opened(arg, link);
        }
        nqi_strand_leave(strand);
    }
    nqi_strand_unref(strand);
    if (err) {
        nqi_tlink_refuse(ep, plink);
        if (link)
            link_free(link);
    }
    return err;
}

void nqi_link_bind(struct nqi_link *link, const struct nqi_link_events *events, void *arg)
{
    link->events = events;
    link->arg = arg;
}

nq_err nqi_link_send(struct nqi_link *link, struct nqt_buf *const *bufs, uint32_t n,
                     uint32_t *taken)
{
    return nqi_tlink_send(link->tlink, bufs, n, taken);
}

const char *nqi_link_transport(const struct nqi_link *link)
{
    return nqi_transport_name(nqi_ep_core(link->ep));
}

const char *nqi_link_address(const struct nqi_link *link)
{
    return link->address;
}

struct nqi_list *nqi_link_list(struct nqi_link *link)
{
    return &link->list;
}

struct nqi_link *nqi_link_of_list(struct nqi_list *list)
{
    return NQI_CONTAINER(list, struct nqi_link, list);
}

struct nqi_serial *nqi_link_serial(struct nqi_link *link)
{
    return nqi_tlink_serial(link->tlink);
}

struct nqi_strand *nqi_link_strand(struct nqi_link *link)
{
    return nqi_tlink_serial(link->tlink)->strand;
}

struct nqi_loop *nqi_link_loop(struct nqi_link *link)
{
    return nqi_tlink_serial(link->tlink)->loop;
}
