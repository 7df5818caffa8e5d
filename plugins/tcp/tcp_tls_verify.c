/* Whom we trust, and why a connection ended, in words for people.
 *
 * Each side of a handshake that fails knows one half: who checked a certificate has the library's
 * verdict, the other one an alert of one byte.  Both become a sentence here. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tcp_tls.h"
#include <stdio.h>
#include <string.h>

/* ---- the verdict ------------------------------------------------------------------------ */

/* The library has looked at each certificate of the chain; ours is the last word on the first. */
static int verify_callback(int ok, X509_STORE_CTX *ctx)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(ctx, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tcp_tls *tls = BIO_get_data(SSL_get_rbio(ssl));

    if (!ok || X509_STORE_CTX_get_error_depth(ctx) != 0 || !tls->link->ep->opts.tls.uuid)
        return ok;
    if (nqt_x509_find_uuid(X509_STORE_CTX_get_current_cert(ctx), tls->identity))
        return 1;
    tls->objection = NQT_X509_NO_UUID;
    X509_STORE_CTX_set_error(ctx, X509_V_ERR_CERT_REJECTED);
    return 0;
}

/* ---- the name of a server --------------------------------------------------------------- */

static const char *verify_name(const struct tcp_opts *opts)
{
    return nqt_tls_name(&opts->tls, opts->host);
}

/* A name that is no address is asked for. */
static bool verify_expect(SSL *ssl, const char *name)
{
    int kind = nqt_x509_expect(SSL_get0_param(ssl), name);

    return kind >= 0 && (!kind || SSL_set_tlsext_host_name(ssl, name) == 1);
}

bool tcp_tls_verify_setup(struct tcp_tls *tls)
{
    const struct nqtp_ep *ep = tls->link->ep;

    if (!ep->listen) {
        SSL_set_connect_state(tls->ssl);
        SSL_set_verify(tls->ssl, SSL_VERIFY_PEER, verify_callback);
        return verify_expect(tls->ssl, verify_name(&ep->opts));
    }
    SSL_set_accept_state(tls->ssl);
    if (*ep->opts.tls.files.ca)
        SSL_set_verify(tls->ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                       verify_callback);
    return true;
}

/* ---- reasons ---------------------------------------------------------------------------- */

static void verify_say(struct tcp_tls *tls, int code, int native, const char *text,
                       const char *more)
{
    tls->end.code = code;
    tls->end.native = native;
    snprintf(tls->end.text, sizeof(tls->end.text), "%s%s", text, more);
}

/* Our own verdict on the other side's certificate. */
static void verify_say_refused(struct tcp_tls *tls, long verdict)
{
    const struct nqtp_ep *ep = tls->link->ep;

    tls->end.code = NQT_E_AUTH;
    nqt_x509_refusal(tls->end.text, sizeof(tls->end.text), ep->listen ? "client" : "server",
                     verdict, tls->objection, verify_name(&ep->opts));
}

/* What the other side said; "certificate" is ours then. */
static const struct {
    int alert, code;
    const char *text;
} verify_alerts[] = {
    {SSL_AD_BAD_CERTIFICATE, NQT_E_AUTH,
     "this side's certificate is refused: it is not valid yet, or for another name or UUID"},
    {SSL_AD_CERTIFICATE_EXPIRED, NQT_E_AUTH, "this side's certificate is refused: it has expired"},
    {SSL_AD_CERTIFICATE_REVOKED, NQT_E_AUTH, "this side's certificate is refused: it was revoked"},
    {SSL_AD_UNKNOWN_CA, NQT_E_AUTH,
     "this side's certificate is refused: nobody that the other side trusts has signed it"},
    {SSL_AD_UNSUPPORTED_CERTIFICATE, NQT_E_AUTH,
     "this side's certificate is refused: it is for another purpose"},
    {SSL_AD_CERTIFICATE_UNKNOWN, NQT_E_AUTH, "this side's certificate is refused"},
    {SSL_AD_DECRYPT_ERROR, NQT_E_AUTH, "this side's certificate is refused: a wrong signature"},
    {SSL_AD_CERTIFICATE_REQUIRED, NQT_E_AUTH,
     "the other side wants a certificate: \"tls\" needs \"cert\" and \"key\""},
    {SSL_AD_PROTOCOL_VERSION, NQT_E_PROTOCOL,
     "no version of TLS in common (\"tls\".\"version\" is the oldest that is spoken)"},
    {SSL_AD_HANDSHAKE_FAILURE, NQT_E_AUTH,
     "the other side ended the handshake: no cipher in common, or it wants a certificate"},
    {SSL_AD_NO_APPLICATION_PROTOCOL, NQT_E_PROTOCOL, "the other side is no netqueue"},
};

static void verify_say_alert(struct tcp_tls *tls, int alert)
{
    /* A server without TLS of ours answers so, and before any handshake nobody else does. */
    if (alert == SSL_AD_UNEXPECTED_MESSAGE && !tls->secure) {
        verify_say(tls, NQT_E_PROTOCOL, 0,
                   "the server does not speak TLS: its configuration has no \"tls\"", "");
        return;
    }
    for (size_t i = 0; i < sizeof(verify_alerts) / sizeof(verify_alerts[0]); i++)
        if (verify_alerts[i].alert == alert) {
            verify_say(tls, verify_alerts[i].code, 0, verify_alerts[i].text, "");
            return;
        }
    verify_say(tls, NQT_E_PROTOCOL, 0,
               "the other side ended it: ", SSL_alert_desc_string_long(alert));
}

static void verify_say_library(struct tcp_tls *tls)
{
    unsigned long error = ERR_peek_error();
    int reason = ERR_GET_REASON(error);
    const char *text = ERR_reason_error_string(error);

    if (ERR_GET_LIB(error) == ERR_LIB_SSL && reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
        verify_say_refused(tls, SSL_get_verify_result(tls->ssl));
    else if (ERR_GET_LIB(error) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET)
        verify_say_alert(tls, reason - SSL_AD_REASON_OFFSET);
    else if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
        verify_say(tls, NQT_E_AUTH, 0, NQT_X509_NO_CERTIFICATE, "");
    else if (reason == ERR_R_MALLOC_FAILURE)
        verify_say(tls, NQT_E_NOMEM, 0, "no memory for TLS", "");
    else
        verify_say(tls, NQT_E_PROTOCOL, 0, "TLS: ", text ? text : "broken by the other side");
}

static void verify_say_eof(struct tcp_tls *tls)
{
    if (tls->secure)
        verify_say(tls, NQT_E_LOST, 0, "cut off by the other side, or by somebody between", "");
    else
        verify_say(tls, NQT_E_LOST, 0, "closed by the other side in the TLS handshake",
                   tls->greeted ? "" : "; does it speak TLS?");
}

void tcp_tls_judge(struct tcp_tls *tls, int state)
{
    if (tls->end.code)
        return;
    if (state == SSL_ERROR_ZERO_RETURN)
        verify_say(tls, NQT_E_EOF, 0, "closed by the other side", "");
    else if (tls->stranger)
        verify_say(tls, NQT_E_PROTOCOL, 0, "the other side does not speak TLS",
                   tls->link->ep->listen ? ": its configuration has no \"tls\"" : "");
    else if (state == SSL_ERROR_NONE || state == SSL_ERROR_WANT_READ)
        verify_say(tls, NQT_E_PROTOCOL, 0, "the other side changes keys without end", "");
    else if (tls->rx_errno)
        verify_say(tls, tcp_code(tls->rx_errno), tls->rx_errno, strerror(tls->rx_errno), "");
    else if (tls->eof)
        verify_say_eof(tls);
    else
        verify_say_library(tls);
    ERR_clear_error();
}
