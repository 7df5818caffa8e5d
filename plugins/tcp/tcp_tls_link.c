/* Life of a link's TLS: the handshake, close_notify, and what no readiness tells.
 *
 * The handshake goes on in the link's own serial, so that a silent stranger holds up nobody, and
 * has `connect_timeout` in all.  On a server the core counts such links among those that have not
 * said hello yet: its limits hold for both. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tcp_tls.h"
#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define LINK_JUNK_READS 16                             /* of what a stranger still says */
#define LINK_READ ((size_t)4 * (TCP_TLS_RECORD + 256)) /* records that one recv() may bring */

/* ---- reading on ------------------------------------------------------------------------- */

static void link_resume(void *arg)
{
    struct nqtp_link *link = arg;

    tcp_link_enter(link);
    if (tcp_link_open(link))
        tcp_io_event(link, POLLIN);
    tcp_link_leave(link);
}

/* A timer and no post, since a timer can be taken back when the link ends. */
void tcp_tls_resume(struct nqtp_link *link)
{
    struct tcp_tls *tls = link->tls;

    if (tls->more && !link->held && !link->rx_paused && tls->resume)
        link->ep->mod->host->timer_set(tls->resume, 0);
}

/* ---- the handshake ---------------------------------------------------------------------- */

/* What the other side said and nobody read would turn our last words into a reset. */
static void link_last_words(struct nqtp_link *link)
{
    char junk[4096];

    (void)tcp_tls_flush(link->tls);
    (void)shutdown(link->fd, SHUT_WR);
    for (int i = 0; i < LINK_JUNK_READS && recv(link->fd, junk, sizeof(junk), 0) > 0; i++)
        continue;
}

/* A client without TLS knows an alert by its first bytes. */
void tcp_tls_say_unexpected(const struct nqtp_link *link)
{
    static const unsigned char alert[] = {
        SSL3_RT_ALERT, 3, 3, 0, 2, SSL3_AL_FATAL, SSL_AD_UNEXPECTED_MESSAGE};

    (void)!send(link->fd, alert, sizeof(alert), MSG_NOSIGNAL);
}

static void link_refuse(struct nqtp_link *link, int state)
{
    struct tcp_tls *tls = link->tls;

    tcp_tls_judge(tls, state);
    if (tls->stranger && link->ep->listen)
        tcp_tls_say_unexpected(link);
    link_last_words(link);
    tcp_tls_ended(link, 0);
}

static void link_secured(struct nqtp_link *link)
{
    const unsigned char *alpn;
    unsigned len = 0;

    SSL_get0_alpn_selected(link->tls->ssl, &alpn, &len);
    link->tls->chosen = len;
    SSL_set_default_read_buffer_len(link->tls->ssl, LINK_READ); /* a stranger gets one record's */
    link->tls->secure = true;
    link->tls->more = true; /* the other side may have gone on at once */
    link->blocked = tcp_tls_is_full(link);
    /* Another thread may have seen the socket readable meanwhile and left that to this one, which
     * would come to it before LINK_UP: a new watch tells later. */
    tcp_link_unwatch(link);
    tcp_link_up(link);
    if (tcp_link_open(link))
        tcp_tls_resume(link);
}

void tcp_tls_handshake(struct nqtp_link *link)
{
    struct tcp_tls *tls = link->tls;
    int rc, state;

    tls->drained = false;
    ERR_clear_error();
    rc = SSL_do_handshake(tls->ssl);
    state = SSL_get_error(tls->ssl, rc);
    if (!tcp_tls_flush(tls) && errno != EAGAIN && errno != EWOULDBLOCK && state == SSL_ERROR_NONE) {
        tls->rx_errno = errno;
        state = SSL_ERROR_SYSCALL;
    }
    if (state == SSL_ERROR_NONE)
        link_secured(link);
    else if (state == SSL_ERROR_WANT_READ)
        tcp_link_watch(link);
    else
        link_refuse(link, state);
}

static void link_timed_out(void *arg)
{
    struct nqtp_link *link = arg;

    tcp_link_down(link, NQT_E_UNREACHABLE, ETIMEDOUT,
                  "%s: the TLS handshake was not over within connect_timeout%s", link->peer,
                  link->tls->greeted ? "" : "; the other side said nothing");
}

/* False: no memory. */
static bool link_tls_new(struct nqtp_link *link)
{
    const struct nqtp_mod *mod = link->ep->mod;
    struct tcp_tls *tls = nqt_alloc(mod->host, mod->core, sizeof(*tls));
    BIO *bio;

    if (!tls)
        return false;
    link->tls = tls;
    tls->link = link;
    if (mod->host->timer_add(link->serial, link_resume, link, &tls->resume)) {
        tls->resume = NULL;
        return false;
    }
    tls->ssl = tcp_tls_store_new_ssl(link->ep);
    bio = tls->ssl ? BIO_new(tcp_tls_store_bio(link->ep)) : NULL;
    if (!bio)
        return false;
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
    return tcp_tls_verify_setup(tls);
}

void tcp_tls_begin(struct nqtp_link *link)
{
    const struct nqtp_mod *mod = link->ep->mod;
    int64_t left = link->ep->opts.connect_timeout_ns;

    if (link->deadline_ns) /* a client's, from connect() on */
        left = link->deadline_ns - mod->host->now_ns(mod->core);
    link->state = TCP_SECURING;
    if (!tcp_link_set_timer(link, link_timed_out, left))
        return;
    if (!link_tls_new(link)) {
        ERR_clear_error();
        tcp_link_down(link, NQT_E_NOMEM, 0, "%s: no memory for TLS", link->peer);
        return;
    }
    if (link->ep->listen)
        tcp_link_watch(link); /* the client speaks first, and until then costs little */
    else
        tcp_tls_handshake(link);
}

/* ---- the end ---------------------------------------------------------------------------- */

bool tcp_tls_goodbye(struct nqtp_link *link)
{
    struct tcp_tls *tls = link->tls;

    if (!tls->bye) {
        tls->bye = true;
        ERR_clear_error();
        (void)SSL_shutdown(tls->ssl);
        ERR_clear_error();
    }
    return tcp_tls_flush(tls);
}

void tcp_tls_ended(struct nqtp_link *link, int tx_errno)
{
    struct tcp_tls *tls = link->tls;
    int code = tls->end.code;

    if (code == NQT_E_EOF)
        (void)tcp_tls_goodbye(link); /* or the other side would take our end for a cut */
    /* That the other side cut it off is known better by what sending met before. */
    if (tx_errno && code == NQT_E_LOST)
        tcp_link_down(link, NQT_E_LOST, tx_errno, "%s: %s", link->peer, strerror(tx_errno));
    else
        tcp_link_down(link, code, tls->end.native, "%s: %s", link->peer, tls->end.text);
}

void tcp_tls_release(struct nqtp_link *link)
{
    struct tcp_tls *tls = link->tls;
    const struct nqtp_mod *mod = link->ep->mod;

    nqt_timer_stop(mod->host, &tls->resume);
    SSL_free(tls->ssl);
    tls->ssl = NULL;
    nqt_free(mod->host, mod->core, tls->out);
    tls->out = NULL;
    tls->out_at = tls->out_len = tls->out_cap = 0;
}

bool tcp_tls_chose(const struct nqtp_link *link)
{
    return link->tls->chosen;
}

const char *tcp_tls_identity(const struct nqtp_link *link)
{
    return *link->tls->identity ? link->tls->identity : NULL;
}
