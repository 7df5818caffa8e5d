/* Certificates and keys: from the options `tls.*` to credentials of gRPC.
 *
 * gRPC says of files that do not fit only that a connection or an address cannot be had.  So they
 * are read and looked at here first, for the reason. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "grpc.h"
#include <netqueue/transport_tls.h>

bool ngrpc_tls_is_on(const struct ngrpc_opts *opts)
{
    return *opts->tls.ca || *opts->tls.cert;
}

int ngrpc_tls_check(const struct ngrpc_opts *opts, struct nqt_error *err)
{
    struct nqt_tls_texts texts = {0};
    int rc = nqt_tls_load_all(&opts->tls, &texts, err);

    nqt_tls_forget(&texts);
    return rc;
}

int ngrpc_tls_check_client(const struct ngrpc_opts *opts, struct nqt_error *err)
{
    if (!ngrpc_tls_is_on(opts) || *opts->tls.ca)
        return NQT_OK;
    return nqt_fail(err, NQT_E_CONFIG, "tls: there is no \"ca\" to know the server by");
}

/* ---- credentials ------------------------------------------------------------------------ */

int ngrpc_tls_channel(const struct ngrpc_opts *opts, grpc_channel_credentials **out,
                      struct nqt_error *err)
{
    struct nqt_tls_texts texts = {0};
    grpc_ssl_pem_key_cert_pair pair;
    int rc;

    if (!ngrpc_tls_is_on(opts)) {
        *out = grpc_insecure_credentials_create();
        return NQT_OK;
    }
    rc = ngrpc_tls_check_client(opts, err);
    if (!rc)
        rc = nqt_tls_load_all(&opts->tls, &texts, err);
    pair = (grpc_ssl_pem_key_cert_pair){.private_key = texts.key, .cert_chain = texts.cert};
    if (!rc)
        *out = grpc_ssl_credentials_create_ex(texts.ca, texts.key ? &pair : NULL, NULL, NULL);
    nqt_tls_forget(&texts);
    return rc;
}

int ngrpc_tls_server(const struct ngrpc_opts *opts, grpc_server_credentials **out,
                     struct nqt_error *err)
{
    struct nqt_tls_texts texts = {0};
    grpc_ssl_pem_key_cert_pair pair;
    int rc;

    if (!ngrpc_tls_is_on(opts)) {
        *out = grpc_insecure_server_credentials_create();
        return NQT_OK;
    }
    rc = nqt_tls_check_server(&opts->tls, err);
    if (!rc)
        rc = nqt_tls_load_all(&opts->tls, &texts, err);
    pair = (grpc_ssl_pem_key_cert_pair){.private_key = texts.key, .cert_chain = texts.cert};
    if (!rc)
        *out = grpc_ssl_server_credentials_create_ex(
            texts.ca, &pair, 1,
            texts.ca ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                     : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
            NULL);
    nqt_tls_forget(&texts);
    return rc;
}
