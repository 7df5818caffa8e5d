/* Certificates and keys of an endpoint: what transport_x509.h makes of the options and their files,
 * and what each context has besides. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tcp_tls.h"

static const unsigned char store_alpn[] = {3, 'n', 'q', '1'};

struct tcp_tls_store {
    BIO_METHOD *bio;
    struct nqt_x509_store files;
};

/* ---- the context ------------------------------------------------------------------------ */

/* Who offers protocols must offer ours: what is meant for another one is not led astray here. */
static int store_choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *len,
                             const unsigned char *in, unsigned inlen, void *arg)
{
    (void)ssl;
    (void)arg;
    if (SSL_select_next_proto((unsigned char **)(uintptr_t)out, len, store_alpn, sizeof(store_alpn),
                              in, inlen) == OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_OK;
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

#ifdef TCP_TLS_KEYLOG
/* For looking at recorded connections while debugging; no build that anybody ships has it. */
static void store_log_key(const SSL *ssl, const char *line)
{
    const char *path = secure_getenv("SSLKEYLOGFILE");
    FILE *file = path ? fopen(path, "ae") : NULL;

    (void)ssl;
    if (!file)
        return;
    fprintf(file, "%s\n", line);
    fclose(file);
}
#endif

static int store_configure(SSL_CTX *ctx, const struct nqt_tls_opts *opts)
{
    const int version = opts->version == NQT_TLS_1_2 ? TLS1_2_VERSION : TLS1_3_VERSION;

    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    /* An idle link needs no room for records. */
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_alpn_select_cb(ctx, store_choose_alpn, NULL);
    SSL_CTX_set_info_callback(ctx, tcp_tls_on_step);
#ifdef TCP_TLS_KEYLOG
    SSL_CTX_set_keylog_callback(ctx, store_log_key);
#endif
    return SSL_CTX_set_num_tickets(ctx, 0) == 1 &&
           SSL_CTX_set_min_proto_version(ctx, version) == 1 &&
           SSL_CTX_set_cipher_list(ctx, NQT_TLS_CIPHERS_1_2) == 1 &&
           SSL_CTX_set_alpn_protos(ctx, store_alpn, sizeof(store_alpn)) == 0;
}

int tcp_tls_check(const struct tcp_opts *opts, struct nqt_error *err)
{
    SSL_CTX *ctx = NULL;
    int rc = opts->tls.on ? nqt_x509_load(&opts->tls, store_configure, NULL, &ctx, err) : NQT_OK;

    SSL_CTX_free(ctx);
    return rc;
}

/* ---- change ----------------------------------------------------------------------------- */

/* Under lock. */
static void store_refresh(const struct nqtp_ep *ep, struct nqt_x509_store *files)
{
    const struct nqtp_mod *mod = ep->mod;
    struct nqt_error err = {.size = sizeof(err)};
    int rc = nqt_x509_refresh(files, mod->host->now_ns(mod->core), &err);

    if (rc < 0)
        nqt_log(mod->host, mod->core, NQT_LOG_WARN, NQT_X509_OLD, err.text);
    else if (rc)
        nqt_log(mod->host, mod->core, NQT_LOG_INFO, NQT_X509_NEW);
}

SSL *tcp_tls_store_new_ssl(struct nqtp_ep *ep)
{
    struct tcp_tls_store *store = ep->store;
    SSL *ssl;

    pthread_mutex_lock(&store->files.lock);
    store_refresh(ep, &store->files);
    ssl = SSL_new(store->files.ctx);
    pthread_mutex_unlock(&store->files.lock);
    if (ssl && ep->opts.plain)
        (void)SSL_set_alpn_protos(ssl, NULL, 0);
    return ssl;
}

const BIO_METHOD *tcp_tls_store_bio(const struct nqtp_ep *ep)
{
    return ep->store->bio;
}

/* ---- life ------------------------------------------------------------------------------- */

int tcp_tls_store_open(struct nqtp_ep *ep, struct nqt_error *err)
{
    struct tcp_tls_store *store;
    int rc = NQT_OK;

    if (!ep->opts.tls.on)
        return NQT_OK;
    if (ep->listen)
        rc = nqt_tls_check_server(&ep->opts.tls, err);
    if (rc)
        return rc;
    store = nqt_alloc(ep->mod->host, ep->mod->core, sizeof(*store));
    if (!store)
        return nqt_fail(err, NQT_E_NOMEM, "tls: no memory");
    ep->store = store;
    rc = nqt_x509_open(&store->files, &ep->opts.tls, store_configure, false,
                       ep->mod->host->now_ns(ep->mod->core), err);
    store->bio = rc ? NULL : tcp_tls_bio_new();
    if (!rc && !store->bio)
        rc = nqt_fail(err, NQT_E_NOMEM, "tls: no memory");
    if (rc)
        tcp_tls_store_close(ep);
    return rc;
}

void tcp_tls_store_close(struct nqtp_ep *ep)
{
    struct tcp_tls_store *store = ep->store;

    if (!store)
        return;
    ep->store = NULL;
    nqt_x509_close(&store->files);
    BIO_meth_free(store->bio);
    nqt_free(ep->mod->host, ep->mod->core, store);
}
