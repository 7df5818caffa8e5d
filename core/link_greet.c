/* A server's link before it has a session: HELLO, CHALLENGE, AUTH, and the way into the strand of
 * the session that it asks for. */
#include "core/link_inside.h"

#include "core/err.h"
#include "core/log.h"
#include "core/pool.h"
#include "core/random.h"
#include "core/txbuf.h"
#include <stdio.h>
#include <string.h>

void nqi_link_end_greeting(struct nqi_link *link)
{
    nqi_pool_free(link->greeting, sizeof(*link->greeting));
    link->greeting = NULL;
}

/* It was to move, and it is lost: whoever waits for it is told. */
void nqi_link_stop_moving(struct nqi_link *link)
{
    struct link_greeting *greeting = link->greeting;

    if (link->state != LINK_MOVING)
        return;
    nqi_strand_on_settle(nqi_link_strand(link), NULL, NULL);
    nqi_strand_unref(greeting->strand);
    greeting->moved(greeting->arg, NULL, NULL);
}

/* ---- the greeting ----------------------------------------------------------------------- */

/* Send one record of the greeting, with the reference; a link that takes it not at once is not
 * worth waiting for. */
static void link_send_record(struct nqi_link *link, struct nqi_txbuf *txbuf)
{
    uint32_t taken = 0;

    if (nqi_link_send(link, (struct nqt_buf *[]){&txbuf->buf}, 1, &taken) || !taken)
        nqi_log(NQ_LOG_DEBUG, "%s: an answer could not be sent", link->address);
}

static nq_err link_challenge(struct nqi_link *link, const struct nqi_hello *theirs)
{
    struct nqi_txbuf *txbuf = nqi_txbuf_new(1, NQI_HELLO_RECORD);
    struct nqi_hello hello = *link->self;
    nq_err err = NQ_OK;

    if (!txbuf)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for a greeting");
    hello.features = nqi_link_features(link);
    if (!nqi_hello_agree(theirs, &hello))
        err = nqi_fail(NQ_ERR_PROTO, "no version in common");
    if (!err)
        err = nqi_random(hello.nonce, sizeof(hello.nonce));
    if (err) {
        nqi_txbuf_unref(txbuf);
        return err;
    }
    link->greeting->attach.features = hello.features;
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
        nqi_link_reject(link, reason, NULL);
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
        nqi_link_rise(link);
    if (link->state != LINK_MOVING)
        nqi_link_end_greeting(link);
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

/* A client that does not want this server says why.  What it says is no more than a claim: it is
 * the reason that this side's event has, and nothing follows from it. */
static nq_err link_on_refusal(struct nqi_link *link, const uint8_t *record)
{
    unsigned said = nqi_load_u16(record + 2);
    nq_reason reason =
        said > NQ_REASON_NONE && said < NQ_REASONS ? (nq_reason)said : NQ_REASON_PROTOCOL;
    char text[96];

    snprintf(text, sizeof(text), "the client refuses: %s", nq_reason_text(reason));
    nqi_link_fail(link, reason, text);
    return NQ_ERR_CLOSED;
}

/* Tell a stranger by its first bytes, not by its silence. */
static nq_err link_check_head(struct nqi_link *link, const uint8_t *record,
                              enum nqi_record_type type)
{
    struct nqi_head head;

    if (link->greeting->filled < NQI_HEAD)
        return NQ_OK;
    if (record[0] == NQI_REJECT)
        return link_on_refusal(link, record);
    if (record[0] != type) /* other heads may be longer than what has come */
        return nqi_fail(NQ_ERR_PROTO, "the first record is no %s",
                        type == NQI_HELLO ? "hello" : "answer to the challenge");
    return nqi_head_read(record, &head);
}

static nq_err link_greet_native(struct nqi_link *link, const uint8_t *data, size_t len)
{
    struct link_greeting *greeting = link->greeting;
    bool auth = link->state == LINK_AUTH, whole;
    uint8_t *record = auth ? greeting->attach.auth_record : greeting->hello;
    size_t n = link_collect(greeting, record, auth ? NQI_AUTH_RECORD : NQI_HELLO_RECORD, data, len,
                            &whole);
    nq_err err = link_check_head(link, record, auth ? NQI_AUTH : NQI_HELLO);

    if (!err && n < len)
        err = nqi_fail(NQ_ERR_PROTO, "bytes that nobody asked for in the greeting");
    if (err || !whole)
        return err;
    return auth ? link_on_auth(link) : link_on_hello(link);
}

/* ---- the older wire --------------------------------------------------------------------- */

/* Only that, both, or only ours?  A link of messages is for one of them. */
static enum nqi_wire link_wire(const struct nqi_link *link)
{
    uint64_t caps = nqi_tlink_caps(link->tlink);

    if (!(caps & NQT_CAP_PLAIN))
        return NQI_WIRE_NATIVE;
    return caps & NQT_CAP_MESSAGE ? NQI_WIRE_OLDER : nqi_ep_wire(link->ep);
}

static nq_err link_refuse_wire(struct nqi_link *link, const char *text)
{
    nqi_link_fail(link, NQ_REASON_WIRE, text);
    return NQ_ERR_CLOSED;
}

/* Its owner has it, and what came behind the ini. */
static nq_err link_on_ini(struct nqi_link *link, const uint8_t *data, size_t len)
{
    nq_uuid id;

    memcpy(id.bytes, link->greeting->hello + NQI_HEAD, sizeof(id.bytes));
    link->events->older(link->arg, link, &id);
    if (link->state == LINK_DOWN)
        return NQ_ERR_CLOSED;
    link->older = true;
    nqi_link_rise(link);
    nqi_link_settled(link);
    nqi_link_end_greeting(link);
    return len ? link->events->receive(link->arg, data, len) : NQ_OK;
}

/* The first eight bytes say whether this is an ini: *native, no. */
static nq_err link_greet_older(struct nqi_link *link, const uint8_t *data, size_t len, bool *native)
{
    struct link_greeting *greeting = link->greeting;
    enum nqi_wire wire = link_wire(link), asked = nqi_ep_wire(link->ep);
    uint8_t head[NQI_HEAD];
    size_t n = greeting->filled;
    bool whole;

    *native = false;
    memcpy(head, greeting->hello, NQI_MIN(n, sizeof(head)));
    if (n < sizeof(head))
        memcpy(head + n, data, NQI_MIN(len, sizeof(head) - n));
    if (n + len < sizeof(head)) {
        link_collect(greeting, greeting->hello, NQI_HELLO_RECORD, data, len, &whole);
        return NQ_OK;
    }
    if (nqi_load_u64(head) != sizeof(nq_uuid)) {
        if (wire == NQI_WIRE_OLDER || asked == NQI_WIRE_OLDER)
            return link_refuse_wire(link,
                                    "the first frame is no ini of the wire \"net-queue\", which "
                                    "is all that is spoken here");
        *native = true;
        return NQ_OK;
    }
    if (wire == NQI_WIRE_NATIVE)
        return link_refuse_wire(link, "the client speaks the wire \"net-queue\", and only "
                                      "\"netqueue\" is spoken here");
    n = link_collect(greeting, greeting->hello, NQI_HEAD + sizeof(nq_uuid), data, len, &whole);
    return whole ? link_on_ini(link, data + n, len - n) : NQ_OK;
}

nq_err nqi_link_greet(struct nqi_link *link, const uint8_t *data, size_t len)
{
    bool native = true;
    nq_err err = NQ_OK;

    if (link->state == LINK_HELLO)
        err = link_greet_older(link, data, len, &native);
    return native ? link_greet_native(link, data, len) : err;
}

/* ---- to another strand ------------------------------------------------------------------ */

/* Inside the new strand. */
static void link_moved(struct nqi_work *work)
{
    struct link_greeting *greeting = NQI_CONTAINER(work, struct link_greeting, work);
    struct nqi_link *link = greeting->link;

    nqi_link_rise(link);
    nqi_strand_unref(greeting->strand); /* the join has its own */
    if (greeting->lost) {
        greeting->moved(greeting->arg, NULL, NULL);
        nqi_link_fail(link, greeting->lost, "lost before the welcome");
        return;
    }
    greeting->moved(greeting->arg, link, &greeting->attach);
    nqi_link_end_greeting(link);
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

/* ---- an answer that ends it ------------------------------------------------------------- */

/* @param txbuf [take] */
static struct nqi_txbuf *link_guard(struct nqi_guard *guard, struct nqi_txbuf *txbuf)
{
    struct nqi_txbuf *frame = nqi_guard_frame(guard, &txbuf->buf, NULL, 0, 0);

    nqi_txbuf_unref(txbuf);
    return frame;
}

void nqi_link_reject(struct nqi_link *link, nq_reason reason, struct nqi_guard *guard)
{
    const char *text = nq_reason_text(reason);
    size_t len = NQI_MIN(strlen(text), (size_t)NQI_CONTROL_MAX);
    struct nqi_txbuf *txbuf = nqi_txbuf_new(1, (uint32_t)(NQI_HEAD + len));

    if (txbuf) {
        nqi_head_write(txbuf->room, NQI_REJECT, 0, (uint16_t)reason, (uint32_t)len, 0);
        memcpy(txbuf->room + NQI_HEAD, text, len);
        nqi_txbuf_add(txbuf, txbuf->room, NQI_HEAD + len);
        if (guard)
            txbuf = link_guard(guard, txbuf);
    }
    if (txbuf)
        link_send_record(link, txbuf);
    nqi_link_drain(link);
}

static void link_tell(struct nqi_link *link, const struct nqi_attach *attach,
                      enum nqi_welcome_kind kind, const uint8_t *key, uint64_t received)
{
    struct nqi_welcome welcome = {
        .kind = kind, .session = attach->hello.session, .received = received};
    struct nqi_txbuf *txbuf = nqi_txbuf_new(1, NQI_WELCOME_RECORD);

    if (txbuf) {
        nqi_welcome_write(txbuf->room, &welcome, key, attach->transcript, attach->auth.proof);
        nqi_txbuf_add(txbuf, txbuf->room, NQI_WELCOME_RECORD);
        link_send_record(link, txbuf);
    }
    nqi_link_drain(link);
}

void nqi_link_tell_end(struct nqi_link *link, const struct nqi_attach *attach, const uint8_t *key,
                       uint64_t received)
{
    link_tell(link, attach, NQI_WELCOME_ENDED, key, received);
}

void nqi_link_tell_unknown(struct nqi_link *link, const struct nqi_attach *attach,
                           const uint8_t *psk)
{
    link_tell(link, attach, NQI_WELCOME_UNKNOWN, psk, 0);
}
