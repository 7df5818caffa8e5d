/* The greeting: which links become peers, which go to one that is there, and which are refused;
 * and the endpoints that the links come from. */
#include "core/queue.h"

#include "core/err.h"
#include "core/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the greeting: in the link's strand ------------------------------------------------- */

/* Why whoever says this is not even challenged; NONE = it is.  A queue that closes still waits for
 * those whose links were lost. */
static nq_reason greeting_objection(nq_queue *queue, const struct nqi_link *link,
                                    const struct nqi_hello *hello)
{
    struct nqi_hello agreed;

    if (!nqi_link_may_be(link, &hello->id))
        return NQ_REASON_IDENTITY;
    if (atomic_load(&queue->closing) && nq_uuid_is_nil(&hello->session))
        return NQ_REASON_PEER_CLOSED;
    if (!nqi_hello_agree(hello, &agreed))
        return NQ_REASON_VERSION;
    if (nq_uuid_equal(&hello->id, &queue->conf->id))
        return NQ_REASON_DUPLICATE;
    return NQ_REASON_NONE;
}

static nq_reason greeting_on_hello(void *arg, struct nqi_link *link, const struct nqi_hello *hello)
{
    nq_queue *queue = arg;
    nq_reason reason = greeting_objection(queue, link, hello);

    if (!reason)
        return NQ_REASON_NONE;
    nqi_queue_stranger_leave(queue, link);
    nqi_queue_refused(queue, link, &hello->id, reason, nq_reason_text(reason));
    return reason;
}

/* The client asks for the session that it has: WELCOME was lost. */
static bool greeting_repeats(const struct nqi_peer *peer, const struct nqi_attach *attach,
                             const struct nqi_psk *psk)
{
    return !nq_uuid_is_nil(&attach->auth.opening) &&
           nq_uuid_equal(&attach->auth.opening, &peer->opening) && peer->name.circle == psk->circle;
}

/* AUTH is from whoever has this session, and it may go on over a link that goes by these keys. */
static bool greeting_owns(const struct nqi_peer *peer, const struct nqi_attach *attach,
                          const struct nqi_psk *psk)
{
    if (nq_uuid_is_nil(&peer->name.id)) /* a session of the older wire */
        return false;
    return nqi_session_is_proven(&peer->name, attach) && nqi_session_fits(&peer->name, psk->circle);
}

/* What is to be done with a link whose AUTH came. */
struct greeting_answer {
    nq_reason reason;       /* NONE, or it is rejected */
    struct nqi_peer *fresh; /* a new one, which is the table's; or NULL */
    struct nqi_peer *known; /* one reference: the link goes to this one's strand, to `moved` */
    nqi_link_moved_fn moved;
    bool ended; /* the session that is asked for, with `final` of its records received */
    uint8_t key[NQI_KEY];
    uint64_t final;
    struct nqi_keys keys; /* of the id that AUTH says, as they are now */
    struct nqi_psk psk;   /* of those, which AUTH proved */
    const char *text;     /* of `reason`, for this side only; NULL = its own */
};

static const char *answer_text(const struct greeting_answer *answer)
{
    return answer->text ? answer->text : nq_reason_text(answer->reason);
}

static void greeting_forget(struct greeting_answer *answer)
{
    explicit_bzero(answer->key, sizeof(answer->key));
    explicit_bzero(&answer->keys, sizeof(answer->keys));
}

/* The key that AUTH proves, of those for the id that says so.  NULL = none; also an id without keys
 * is put to the test, so that nobody learns from the time it takes which ones there are. */
static const uint8_t *greeting_psk(const struct nqi_keys *keys, const struct nqi_attach *attach)
{
    const uint8_t *found = NULL;

    for (unsigned i = 0; i < NQI_LEN(keys->key); i++)
        if (nqi_auth_has_psk(attach->auth_record, keys->key[i], attach->transcript))
            found = keys->key[i];
    return keys->known ? found : NULL;
}

/* With keys everybody proves one of his; without, nobody can. */
static bool greeting_is_proven(const struct nqi_link *link, const struct nqi_attach *attach,
                               struct greeting_answer *answer)
{
    struct nqi_keystore *keys = nqi_queue_keys(link, &answer->psk.circle);
    bool wants = attach->auth.method == NQI_AUTH_PSK;

    if (keys) {
        nqi_keystore_find(keys, &attach->hello.id, nqi_now(), &answer->keys);
        answer->psk.key = greeting_psk(&answer->keys, attach);
    }
    if (keys ? answer->psk.key && attach->auth.method != NQI_AUTH_OPEN : !wants)
        return true;
    answer->reason = NQ_REASON_AUTH;
    answer->text =
        keys ? "it proves no key of its id" : "it has a pre-shared key, and this server has none";
    return false;
}

/* Under lock: a new peer. */
static nq_reason greeting_admit(nq_queue *queue, struct nqi_link *link,
                                const struct nqi_attach *attach, const struct nqi_psk *psk,
                                struct nqi_peer **ret)
{
    struct nqi_peer *peer;

    if (atomic_load(&queue->closing))
        return NQ_REASON_PEER_CLOSED;
    if (nqi_queue_find_locked(queue, &attach->hello.id))
        return NQ_REASON_DUPLICATE;
    if (queue->npeers >= queue->conf->max_peers)
        return NQ_REASON_LIMIT;
    if (nqi_queue_grow_locked(queue) ||
        nqi_peer_accept(&queue->peer_conf, link, attach, psk, &peer))
        return NQ_REASON_NO_MEMORY;
    nqi_queue_admit_locked(queue, peer, &attach->hello.id);
    nqi_peer_unref(nqi_queue_inherit(queue, peer));
    *ret = peer;
    return NQ_REASON_NONE;
}

static void greeting_give(nq_queue *queue, struct nqi_link *link, const struct nqi_attach *attach,
                          const struct greeting_answer *answer)
{
    nq_reason reason = answer->reason;

    if (answer->ended) {
        nqi_link_tell_end(link, attach, answer->key, answer->final);
    } else if (reason) {
        nqi_queue_refused(queue, link, &attach->hello.id, reason, answer_text(answer));
        if (reason == NQ_REASON_NO_SESSION && answer->psk.key)
            nqi_link_tell_unknown(link, attach, answer->psk.key);
        else
            nqi_link_reject(link, reason, NULL);
    } else if (answer->known) {
        nqi_link_hand_over(link, answer->known->serial.strand, answer->moved, answer->known);
    } else {
        nqi_peer_announce(answer->fresh);
    }
}

/* Inside the peer's strand, unless the link was lost: its session goes on. */
static void greeting_go_on(void *arg, struct nqi_link *link, const struct nqi_attach *attach)
{
    struct nqi_peer *peer = arg;

    if (link)
        nqi_peer_attach(peer, link, attach);
    nqi_peer_unref(peer);
}

/* How many records of this session AUTH says that its client had.  With a pre-shared key, or a
 * certificate, a client that was restarted may begin without knowing of it. */
static uint64_t greeting_received(const struct nqi_peer *peer, const struct nqi_attach *attach)
{
    return nq_uuid_equal(&peer->name.id, &attach->hello.session) ? attach->auth.received : 0;
}

/* The same: its session ends, and another begins. */
static void greeting_replace(void *arg, struct nqi_link *link, const struct nqi_attach *attach)
{
    struct nqi_peer *old = arg;
    nq_queue *queue = old->conf->arg;
    struct greeting_answer answer = {0};

    if (link) {
        if (greeting_is_proven(link, attach, &answer)) { /* it was; the keys may be others now */
            nqi_peer_supersede(old, greeting_received(old, attach));
            pthread_mutex_lock(&queue->lock);
            answer.reason = greeting_admit(queue, link, attach, &answer.psk, &answer.fresh);
            pthread_mutex_unlock(&queue->lock);
        }
        greeting_give(queue, link, attach, &answer);
        greeting_forget(&answer);
    }
    nqi_peer_unref(old);
}

/* Under lock: RESUME of a session that no peer has. */
static void greeting_look_back(nq_queue *queue, const struct nqi_attach *attach,
                               struct greeting_answer *answer)
{
    const struct nqi_tomb *tomb = nqi_tombs_find(&queue->tombs, &attach->hello.session, nqi_now());
    struct nqi_session_name name = {0};

    if (tomb) {
        name.id = tomb->id;
        memcpy(name.key, tomb->key, NQI_KEY);
        answer->final = tomb->received;
    }
    answer->ended = nqi_session_is_proven(&name, attach) && tomb;
    if (answer->ended)
        memcpy(answer->key, name.key, NQI_KEY);
    else
        answer->reason = NQ_REASON_NO_SESSION;
    explicit_bzero(&name, sizeof(name));
}

/* Under lock: RESUME.  Whether the session is unknown or not proven must look the same. */
static void greeting_resume(nq_queue *queue, const struct nqi_attach *attach,
                            struct greeting_answer *answer)
{
    struct nqi_peer *peer = nqi_queue_find_locked(queue, &attach->hello.id);

    if (!peer || !nq_uuid_equal(&peer->name.id, &attach->hello.session)) {
        greeting_look_back(queue, attach, answer);
    } else if (greeting_owns(peer, attach, &answer->psk)) {
        answer->known = nqi_peer_ref(peer);
        answer->moved = greeting_go_on;
    } else {
        answer->reason = NQ_REASON_NO_SESSION;
    }
}

/* AUTH is from whoever has this id: he proves a key of it, or the transport has proven it. */
static bool greeting_is(const struct nqi_link *link, const struct nqi_attach *attach,
                        const struct greeting_answer *answer)
{
    return answer->psk.key || nqi_link_is(link, &attach->hello.id);
}

/* Under lock: OPEN or PSK.  Who has a session may ask for it once more, because WELCOME was lost,
 * or prove that it was his, or that he is who it belongs to, and have another. */
static void greeting_open(nq_queue *queue, struct nqi_link *link, const struct nqi_attach *attach,
                          struct greeting_answer *answer)
{
    struct nqi_peer *peer = nqi_queue_find_locked(queue, &attach->hello.id);

    if (peer && greeting_repeats(peer, attach, &answer->psk))
        answer->moved = greeting_go_on;
    else if (peer &&
             (greeting_is(link, attach, answer) || greeting_owns(peer, attach, &answer->psk)))
        answer->moved = greeting_replace;
    else
        answer->reason = greeting_admit(queue, link, attach, &answer->psk, &answer->fresh);
    if (answer->moved)
        answer->known = nqi_peer_ref(peer);
}

static void greeting_on_auth(void *arg, struct nqi_link *link, const struct nqi_attach *attach)
{
    nq_queue *queue = arg;
    struct greeting_answer answer = {0};

    nqi_queue_stranger_leave(queue, link);
    if (greeting_is_proven(link, attach, &answer)) {
        pthread_mutex_lock(&queue->lock);
        if (attach->auth.method == NQI_AUTH_RESUME)
            greeting_resume(queue, attach, &answer);
        else
            greeting_open(queue, link, attach, &answer);
        pthread_mutex_unlock(&queue->lock);
    }
    greeting_give(queue, link, attach, &answer);
    greeting_forget(&answer);
}

static void greeting_on_opened(void *arg, struct nqi_link *link)
{
    if (!nqi_queue_stranger_come(arg, link))
        nqi_link_close(link);
}

static nq_err greeting_on_receive(void *arg, const uint8_t *data, size_t len)
{
    (void)arg;
    (void)data;
    (void)len; /* refused, and still talking */
    return NQ_ERR_CLOSED;
}

static size_t greeting_on_space(void *arg, unsigned char **ret)
{
    (void)arg;
    (void)ret;
    return 0;
}

static nq_err greeting_on_commit(void *arg, size_t len)
{
    return greeting_on_receive(arg, NULL, len);
}

static void greeting_on_writable(void *arg)
{
    (void)arg; /* nothing but a refusal is ever sent */
}

static void greeting_on_down(void *arg, struct nqi_link *link, nq_reason reason, const char *text)
{
    nq_queue *queue = arg;

    nqi_queue_stranger_leave(queue, link);
    nqi_queue_refused(queue, link, NULL, reason, text);
}

static void greeting_on_closed(void *arg)
{
    nqi_queue_on_links(arg, -1);
}

static const struct nqi_link_events greeting_events = {
    .opened = greeting_on_opened,
    .hello = greeting_on_hello,
    .auth = greeting_on_auth,
    .older = nqi_queue_on_older,
    .receive = greeting_on_receive,
    .space = greeting_on_space,
    .commit = greeting_on_commit,
    .writable = greeting_on_writable,
    .down = greeting_on_down,
    .closed = greeting_on_closed,
};

/* ---- endpoints: in their serials -------------------------------------------------------- */

static void ep_on_up(void *arg, const char *address)
{
    struct nqi_queue_ep *ep = arg;

    if (address[0]) /* a client's endpoint is up without one */
        nqi_log(NQ_LOG_INFO, "transport %s: listening on %s", nqi_transport_name(ep->core),
                address);
}

static void ep_on_down(void *arg, const struct nqt_error *err)
{
    struct nqi_queue_ep *ep = arg;
    struct nq_event event = {.kind = NQ_EVENT_REFUSED, .reason = nqi_link_reason(err)};

    snprintf(event.transport, sizeof(event.transport), "%s", nqi_transport_name(ep->core));
    snprintf(event.text, sizeof(event.text), "%.*s", (int)sizeof(event.text) - 1, err->text);
    nqi_queue_on_event(ep->queue, &event);
}

static void ep_on_closed(void *arg)
{
    nq_queue *queue = ((struct nqi_queue_ep *)arg)->queue;

    atomic_fetch_sub(&queue->open_eps, 1); /* from here on the endpoint may be gone */
    nqi_queue_on_changed(queue);
}

static void ep_on_accepted(void *arg, struct nqtp_link *plink, const char *peer_name)
{
    struct nqi_queue_ep *ep = arg;
    nq_queue *queue = ep->queue;
    uint32_t loop = atomic_fetch_add(&queue->next_loop, 1) % queue->nloops;
    const char *refusal = nqi_queue_stranger_refusal(queue, peer_name);

    if (refusal) {
        nqi_log(NQ_LOG_DEBUG, "%s: refused: %s", peer_name, refusal);
        nqi_tlink_refuse(ep->ep, plink);
        return;
    }
    nqi_queue_on_links(queue, 1);
    if (nqi_link_accept(ep->ep, plink, peer_name, queue->loops[loop], &queue->hello,
                        &greeting_events, queue)) {
        nqi_log(NQ_LOG_WARN, "%s: %s", peer_name, nq_error());
        nqi_queue_on_links(queue, -1);
    }
}

const struct nqi_ep_events nqi_queue_ep_events = {
    .up = ep_on_up,
    .down = ep_on_down,
    .closed = ep_on_closed,
    .accepted = ep_on_accepted,
};
