/* Certificates and keys: from the options `tls.*` to credentials of gRPC.
 *
 * gRPC says of files that do not fit, and of certificates that it refuses, only that a connection
 * cannot be had, and a server says nothing at all.  So the files are read here, and gRPC passes on
 * every certificate: grpc_cert.c has the verdict, a client's before the first byte goes out, a
 * server's before the core hears of the call. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "grpc_tls.h"
#include <grpc/support/alloc.h>
#include <grpc/support/string_util.h>
#include <stdlib.h>

/* ---- options ---------------------------------------------------------------------------- */

/* What counts on a channel is the oldest version that gRPC speaks. */
static int tls_check_version(const struct nqt_tls_opts *opts, struct nqt_error *err)
{
    if (opts->version != NQT_TLS_1_3)
        return NQT_OK;
    return nqt_fail(err, NQT_E_CONFIG,
                    "tls.version: gRPC speaks TLS 1.2 with who has no 1.3, and cannot be told "
                    "otherwise: say \"1.2\", or use the transport tcp");
}

int ngrpc_tls_check(const struct ngrpc_opts *opts, struct nqt_error *err)
{
    SSL_CTX *ctx = NULL;
    int rc = opts->tls.on ? tls_check_version(&opts->tls, err) : NQT_OK;

    if (opts->tls.on && !rc)
        rc = nqt_x509_load(&opts->tls, NULL, NULL, &ctx, err);
    SSL_CTX_free(ctx);
    return rc;
}

/* ---- files ------------------------------------------------------------------------------ */

void ngrpc_tls_unref(struct ngrpc_tls *tls)
{
    if (!tls || atomic_fetch_sub(&tls->refs, 1) != 1)
        return;
    nqt_x509_close(&tls->files);
    free(tls);
}

struct ngrpc_tls *ngrpc_tls_ref(struct ngrpc_tls *tls)
{
    if (tls)
        atomic_fetch_add(&tls->refs, 1);
    return tls;
}

int ngrpc_tls_open(struct nqtp_ep *ep, struct nqt_error *err)
{
    struct ngrpc_tls *tls;
    int rc = tls_check_version(&ep->opts.tls, err);

    if (rc || !ep->opts.tls.on)
        return rc;
    if (ep->listen)
        rc = nqt_tls_check_server(&ep->opts.tls, err);
    if (rc)
        return rc;
    tls = calloc(1, sizeof(*tls));
    if (!tls)
        return nqt_fail(err, NQT_E_NOMEM, "tls: no memory");
    atomic_init(&tls->refs, 1);
    tls->opts = ep->opts.tls;
    snprintf(tls->name, sizeof(tls->name), "%s", nqt_tls_name(&ep->opts.tls, ep->opts.host));
    rc = nqt_x509_open(&tls->files, &tls->opts, NULL, true, ngrpc_now(), err);
    if (rc)
        ngrpc_tls_unref(tls);
    else
        ep->tls = tls;
    return rc;
}

/* A line in the log, unless the endpoint is gone. */
static void tls_say(struct ngrpc_room *room, int rc, const char *why)
{
    struct nqtp_ep *ep;

    pthread_mutex_lock(&room->mtx);
    ep = room->ep;
    room->holds += ep ? 1 : 0;
    pthread_mutex_unlock(&room->mtx);
    if (!ep)
        return;
    if (rc < 0)
        nqt_log(ep->mod->host, ep->mod->core, NQT_LOG_WARN, NQT_X509_OLD, why);
    else
        nqt_log(ep->mod->host, ep->mod->core, NQT_LOG_INFO, NQT_X509_NEW);
    ngrpc_room_drop(room);
}

/* ---- a server's credentials ------------------------------------------------------------- */

/* For gRPC.  Its 1.51 ends the program without anybody to trust, also where it asks nobody for a
 * certificate: our own fills the place. */
static grpc_ssl_server_certificate_config *tls_config(const struct nqt_tls_texts *texts)
{
    const grpc_ssl_pem_key_cert_pair pair = {.private_key = texts->key, .cert_chain = texts->cert};

    return grpc_ssl_server_certificate_config_create(texts->ca ? texts->ca : texts->cert, &pair, 1);
}

/* gRPC asks when a connection begins. */
static grpc_ssl_certificate_config_reload_status
tls_fetch(void *arg, grpc_ssl_server_certificate_config **config)
{
    struct ngrpc_tls *tls = arg;
    struct nqt_error err = {.size = sizeof(err)};
    bool give;
    int rc;

    pthread_mutex_lock(&tls->files.lock);
    rc = nqt_x509_refresh(&tls->files, ngrpc_now(), &err);
    give = rc > 0 || !tls->given;
    if (give)
        *config = tls_config(&tls->files.texts);
    tls->given = true;
    pthread_mutex_unlock(&tls->files.lock);
    if (rc)
        tls_say(atomic_load_explicit(&tls->room, memory_order_acquire), rc, err.text);
    return give ? GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW
                : GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
}

/* gRPC has let go of the credentials. */
static void tls_drop(void *arg)
{
    struct ngrpc_tls *tls = arg;
    struct ngrpc_room *room = atomic_load_explicit(&tls->room, memory_order_acquire);

    ngrpc_tls_unref(tls);
    ngrpc_room_leave(room);
}

grpc_server_credentials *ngrpc_tls_server(struct nqtp_ep *ep)
{
    struct ngrpc_tls *tls = ep->tls;
    grpc_server_credentials *creds;

    if (!tls)
        return grpc_insecure_server_credentials_create();
    atomic_store_explicit(&tls->room, ep->room, memory_order_release);
    ngrpc_room_enter(ep->room);
    creds = grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(
            *tls->opts.files.ca ? GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_BUT_DONT_VERIFY
                                : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
            tls_fetch, tls));
    /* It processes nothing: its end is that of the credentials. */
    grpc_server_credentials_set_auth_metadata_processor(
        creds, (grpc_auth_metadata_processor){.destroy = tls_drop, .state = ngrpc_tls_ref(tls)});
    return creds;
}

/* ---- a client's credentials ------------------------------------------------------------- */

/* What a channel holds the server's certificate against. */
struct tls_verifier {
    grpc_tls_certificate_verifier_external external;
    SSL_CTX *ctx; /* as the files were when it connected */
    /* Written last and read first: gRPC lets any thread of its own have the last word, in order;
     * this says so to those who cannot look into it, like thread sanitizers. */
    _Atomic(struct ngrpc_tls *) tls;
};

/* Between the handshake and the first byte of HTTP/2. */
static int tls_verify(void *arg, grpc_tls_custom_verification_check_request *request,
                      grpc_tls_on_custom_verification_check_done_cb callback, void *callback_arg,
                      grpc_status_code *status, char **details)
{
    const struct tls_verifier *verifier = arg;
    const struct ngrpc_tls *tls = atomic_load_explicit(&verifier->tls, memory_order_acquire);
    const struct ngrpc_cert cert = {.leaf = request->peer_info.peer_cert,
                                    .chain = request->peer_info.peer_cert_full_chain};
    char why[NGRPC_WHY_MAX], identity[NQT_X509_IDENTITY];
    bool ok = ngrpc_cert_judge(verifier->ctx, tls, &cert, false, identity, why);

    (void)callback;
    (void)callback_arg;
    *status = ok ? GRPC_STATUS_OK : GRPC_STATUS_UNAUTHENTICATED;
    *details = ok ? NULL : gpr_strdup(why);
    return 1;
}

static void tls_cancel(void *arg, grpc_tls_custom_verification_check_request *request)
{
    (void)arg;
    (void)request;
}

static void tls_destruct(void *arg)
{
    struct tls_verifier *verifier = arg;
    struct ngrpc_tls *tls = atomic_load_explicit(&verifier->tls, memory_order_acquire);

    SSL_CTX_free(verifier->ctx);
    ngrpc_tls_unref(tls);
    free(verifier);
}

/* Under the files' lock.  NULL = no memory. */
static grpc_tls_certificate_verifier *tls_verifier_new(struct ngrpc_tls *tls)
{
    struct tls_verifier *verifier = calloc(1, sizeof(*verifier));

    if (!verifier)
        return NULL;
    verifier->ctx = tls->files.ctx;
    (void)SSL_CTX_up_ref(verifier->ctx);
    verifier->external = (grpc_tls_certificate_verifier_external){.user_data = verifier,
                                                                  .verify = tls_verify,
                                                                  .cancel = tls_cancel,
                                                                  .destruct = tls_destruct};
    atomic_store_explicit(&verifier->tls, ngrpc_tls_ref(tls), memory_order_release);
    return grpc_tls_certificate_verifier_external_create(&verifier->external);
}

/* Under the files' lock: our own certificate, and whom gRPC is to name as trusted. */
static void tls_provide(const struct nqt_tls_texts *texts, grpc_tls_credentials_options *options)
{
    grpc_tls_identity_pairs *pairs = texts->cert ? grpc_tls_identity_pairs_create() : NULL;
    grpc_tls_certificate_provider *provider;

    if (!texts->ca && !pairs)
        return;
    if (pairs)
        grpc_tls_identity_pairs_add_pair(pairs, texts->key, texts->cert);
    provider = grpc_tls_certificate_provider_static_data_create(texts->ca, pairs);
    grpc_tls_credentials_options_set_certificate_provider(options, provider);
    grpc_tls_certificate_provider_release(provider);
    if (texts->ca)
        grpc_tls_credentials_options_watch_root_certs(options);
    if (pairs)
        grpc_tls_credentials_options_watch_identity_key_cert_pairs(options);
}

grpc_channel_credentials *ngrpc_tls_channel(struct nqtp_ep *ep)
{
    struct ngrpc_tls *tls = ep->tls;
    struct nqt_error err = {.size = sizeof(err)};
    grpc_tls_certificate_verifier *verifier;
    grpc_tls_credentials_options *options;
    int rc;

    if (!tls)
        return grpc_insecure_credentials_create();
    pthread_mutex_lock(&tls->files.lock);
    rc = nqt_x509_refresh(&tls->files, ngrpc_now(), &err);
    verifier = tls_verifier_new(tls);
    options = verifier ? grpc_tls_credentials_options_create() : NULL;
    if (options)
        tls_provide(&tls->files.texts, options);
    pthread_mutex_unlock(&tls->files.lock);
    if (rc)
        tls_say(ep->room, rc, err.text);
    if (!options)
        return NULL;
    grpc_tls_credentials_options_set_verify_server_cert(options, 0);
    grpc_tls_credentials_options_set_check_call_host(options, 0);
    grpc_tls_credentials_options_set_certificate_verifier(options, verifier);
    grpc_tls_certificate_verifier_release(verifier);
    return grpc_tls_credentials_create(options);
}
